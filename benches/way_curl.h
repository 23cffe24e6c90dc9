/* A refresh as a careful program makes it with libcurl, for the single and the concurrent calls. */
#ifndef WAY_CURL_H
#define WAY_CURL_H

#include <curl/curl.h>

#include "way.h"

struct answer {
    size_t length;
    char text[4096];
};

CURL *new_easy(const char *base_url, struct answer *answer);
/* The headers must stay valid until the transfer ends. */
struct curl_slist *set_request(CURL *easy, const char *access_token, const char *refresh_token);
size_t keep_answer(char *bytes, size_t size, size_t count, void *sink);
void must_be_pair(CURL *easy, CURLcode code, const struct answer *answer);

#endif
