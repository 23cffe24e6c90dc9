#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "way_curl.h"

size_t keep_answer(char *bytes, size_t size, size_t count, void *sink)
{
    struct answer *answer = sink;
    size_t length = size * count, room = sizeof answer->text - answer->length;
    if (length > room)
        return 0;
    memcpy(answer->text + answer->length, bytes, length);
    answer->length += length;
    return length;
}

void must_be_pair(CURL *easy, CURLcode code, const struct answer *answer)
{
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK || status != 200 || answer->length == 0) {
        fprintf(stderr, "libcurl: %s, HTTP %ld\n", curl_easy_strerror(code), status);
        exit(EXIT_FAILURE);
    }
}

CURL *new_easy(const char *base_url, struct answer *answer)
{
    char url[256];
    CURL *easy = curl_easy_init();
    snprintf(url, sizeof url, "%s/auth/token/refresh", base_url);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_CAINFO, getenv("PAYMENTSGATE_TLS_CA_FILE"));
    curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 10000L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep_answer);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, answer);
    return easy;
}

struct curl_slist *set_request(CURL *easy, const char *access_token, const char *refresh_token)
{
    char line[1024], body[1024];
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Accept: application/json");
    snprintf(line, sizeof line, "Authorization: Bearer %s", access_token);
    headers = curl_slist_append(headers, line);
    snprintf(body, sizeof body, "{\"refresh_token\":\"%s\"}", refresh_token);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body);
    return headers;
}

struct client {
    CURL *easy;
    struct answer answer;
};

static void *open_client(const char *base_url)
{
    static int is_ready;
    struct client *client = malloc(sizeof *client);
    if (!is_ready)
        is_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    client->easy = new_easy(base_url, &client->answer);
    return client;
}

static void refresh(void *opaque, const char *access_token, const char *refresh_token)
{
    struct client *client = opaque;
    struct curl_slist *headers = set_request(client->easy, access_token, refresh_token);
    client->answer.length = 0;
    must_be_pair(client->easy, curl_easy_perform(client->easy), &client->answer);
    curl_slist_free_all(headers);
}

static void close_client(void *opaque)
{
    struct client *client = opaque;
    curl_easy_cleanup(client->easy);
    free(client);
}

const struct way curl_way = {"libcurl", open_client, refresh, close_client};
