/* Requests with libcurl: each thread has an easy handle with its connection. The headers are made once, and not for each token. */
#define _GNU_SOURCE
#include "request.h"

#include <stdio.h>
#include <stdlib.h>

#include "way_curl.h"

struct caller {
    CURL *easy;
    struct curl_slist *headers;
    struct answer answer;
};

static const char *service;

void open_service(const char *base_url)
{
    service = base_url;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        exit(EXIT_FAILURE);
}

void close_service(void)
{
    curl_global_cleanup();
}

void *enter(void)
{
    char url[256];
    struct caller *caller = calloc(1, sizeof *caller);
    caller->easy = new_easy(service, &caller->answer);
    snprintf(url, sizeof url, "%s/wallet", service);
    curl_easy_setopt(caller->easy, CURLOPT_URL, url);
    caller->headers = curl_slist_append(NULL, "Accept: application/json");
    caller->headers = curl_slist_append(caller->headers, "Authorization: Bearer " ACCESS_TOKEN);
    curl_easy_setopt(caller->easy, CURLOPT_HTTPHEADER, caller->headers);
    return caller;
}

void ask(void *opaque)
{
    struct caller *caller = opaque;
    caller->answer.length = 0;
    must_be_pair(caller->easy, curl_easy_perform(caller->easy), &caller->answer);
}

void leave(void *opaque)
{
    struct caller *caller = opaque;
    curl_easy_cleanup(caller->easy);
    curl_slist_free_all(caller->headers);
    free(caller);
}
