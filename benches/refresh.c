/*
 * A plain refresh compared with the same call in libcurl, alternately in one process: warm (the connection is kept) and
 * cold (a new client and a new connection for each call), over HTTP/2 and HTTP/1.1.
 */
#define _GNU_SOURCE
#include "measure.h"
#include "way.h"

enum { WAYS = 3, ROUNDS = 21, WARM_CALLS = 100, COLD_CALLS = 151 };

/* libcurl twice: the difference is the noise. */
static const struct way *const ways[WAYS] = {&pg_way, &curl_way, &curl_way};

static void compare(const char *what, const double medians[WAYS], double goal)
{
    print_row(what, curl_way.name, "us", medians[0] / 1e3, medians[1] / 1e3, medians[2] / 1e3, goal);
}

static void warm(const char *what, const char *url, double goal)
{
    double times[WAYS][ROUNDS], medians[WAYS];
    void *clients[WAYS];
    for (int way = 0; way < WAYS; way++) {
        clients[way] = ways[way]->open(url);
        ways[way]->refresh(clients[way], ACCESS_TOKEN, REFRESH_TOKEN);
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int way = 0; way < WAYS; way++) {
            double begin = now_ns();
            for (int call = 0; call < WARM_CALLS; call++)
                ways[way]->refresh(clients[way], ACCESS_TOKEN, REFRESH_TOKEN);
            times[way][round] = (now_ns() - begin) / WARM_CALLS;
        }
    for (int way = 0; way < WAYS; way++) {
        ways[way]->close(clients[way]);
        medians[way] = median(times[way], ROUNDS);
    }
    compare(what, medians, goal);
}

static void cold(const char *what, const char *url, double goal)
{
    double times[WAYS][COLD_CALLS], medians[WAYS];
    for (int call = 0; call < COLD_CALLS; call++)
        for (int way = 0; way < WAYS; way++) {
            double begin = now_ns();
            void *client = ways[way]->open(url);
            ways[way]->refresh(client, ACCESS_TOKEN, REFRESH_TOKEN);
            times[way][call] = now_ns() - begin;
            ways[way]->close(client);
        }
    for (int way = 0; way < WAYS; way++)
        medians[way] = median(times[way], COLD_CALLS);
    compare(what, medians, goal);
}

int main(void)
{
    const char *http2 = getenv("PG_SANDBOX_FIXED"), *http1 = getenv("PG_SANDBOX_FIXED_HTTP1");
    warm("a warm refresh, HTTP/2", http2, 1.2);
    warm("a warm refresh, HTTP/1.1", http1, 1.2);
    cold("a cold refresh, HTTP/2", http2, 1);
    cold("a cold refresh, HTTP/1.1", http1, 1);
    return 0;
}
