/* Concurrent refreshes with libcurl's multi interface. It shares connections, and waits for one rather than opening more. */
#define _GNU_SOURCE
#include "crowd.h"
#include "way_curl.h"

static struct call {
    CURL *easy;
    struct curl_slist *headers;
    struct answer answer;
} calls[AT_ONCE];

static void begin_call(CURLM *multi, struct call *call)
{
    call->answer.length = 0;
    call->headers = set_request(call->easy, ACCESS_TOKEN, REFRESH_TOKEN);
    curl_multi_add_handle(multi, call->easy);
}

static struct call *end_call(CURLM *multi, const CURLMsg *message)
{
    struct call *call = NULL;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call);
    must_be_pair(call->easy, message->data.result, &call->answer);
    curl_multi_remove_handle(multi, call->easy);
    curl_slist_free_all(call->headers);
    return call;
}

int main(void)
{
    int left = CALLS - AT_ONCE, running = AT_ONCE, queued;
    double begin = now_ns();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURLM *multi = curl_multi_init();
    curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, 2L);
    curl_multi_setopt(multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)AT_ONCE);
    for (int i = 0; i < AT_ONCE; i++) {
        calls[i].easy = new_easy(getenv("PG_SANDBOX_FIXED"), &calls[i].answer);
        curl_easy_setopt(calls[i].easy, CURLOPT_PIPEWAIT, 1L);
        curl_easy_setopt(calls[i].easy, CURLOPT_PRIVATE, &calls[i]);
        begin_call(multi, &calls[i]);
    }
    while (running > 0) {
        curl_multi_perform(multi, &running);
        for (const CURLMsg *message; (message = curl_multi_info_read(multi, &queued)) != NULL;) {
            struct call *call = end_call(multi, message);
            if (left > 0) {
                begin_call(multi, call);
                left--;
                running++;
            }
        }
        if (running > 0)
            curl_multi_poll(multi, NULL, 0, 1000, NULL);
    }
    report(begin);
    for (int i = 0; i < AT_ONCE; i++)
        curl_easy_cleanup(calls[i].easy);
    curl_multi_cleanup(multi);
    return 0;
}
