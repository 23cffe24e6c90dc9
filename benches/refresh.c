/*
 * A plain refresh compared with the same call in libcurl, alternately in one process: warm (the connection is kept) and
 * cold (a new client and a new connection for each call), over HTTP/2 and HTTP/1.1.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>

#include "measure.h"
#include "way.h"

enum { WAYS = 2, ROUNDS = 21, WARM_CALLS = 100, COLD_CALLS = 151, HANDOVERS = 2000 };

static const struct way *const ways[WAYS] = {&pg_way, &curl_way};

static void compare(const char *what, double medians[WAYS])
{
    printf("%-28s %9.1f us  %9.1f us  %5.2fx\n", what, medians[0] / 1e3, medians[1] / 1e3, medians[0] / medians[1]);
}

static void warm(const char *what, const char *url)
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
    compare(what, medians);
}

static void cold(const char *what, const char *url)
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
    compare(what, medians);
}

static sem_t there, back;

static void *answer(void *unused)
{
    for (int i = 0; i < ROUNDS * HANDOVERS; i++) {
        sem_wait(&there);
        sem_post(&back);
    }
    return unused;
}

/* The time to hand work to another thread and back, as the library does and libcurl does not. */
static void hand_over(void)
{
    double times[ROUNDS];
    pthread_t other;
    if (sem_init(&there, 0, 0) != 0 || sem_init(&back, 0, 0) != 0 || pthread_create(&other, NULL, answer, NULL) != 0)
        exit(1);
    for (int round = 0; round < ROUNDS; round++) {
        double begin = now_ns();
        for (int i = 0; i < HANDOVERS; i++) {
            sem_post(&there);
            sem_wait(&back);
        }
        times[round] = (now_ns() - begin) / HANDOVERS;
    }
    pthread_join(other, NULL);
    printf("%-28s %9.1f us\n", "to another thread and back", median(times, ROUNDS) / 1e3);
}

int main(void)
{
    const char *http2 = getenv("PG_SANDBOX_FIXED"), *http1 = getenv("PG_SANDBOX_FIXED_HTTP1");
    printf("one refresh, median; ratio to libcurl %21s\n%-28s %12s  %12s\n", "", "", pg_way.name, curl_way.name);
    warm("warm, HTTP/2", http2);
    warm("warm, HTTP/1.1", http1);
    cold("cold, HTTP/2", http2);
    cold("cold, HTTP/1.1", http1);
    hand_over();
    return 0;
}
