/*
 * What a fresh token costs, next to the least that a C program could do: load a pointer, look at a coarse clock, copy
 * the text. All are run in turn, in one process, several times; the ratios are of the medians. `make bench` runs it
 * against the emulator.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <paymentsgate_auth.h>

enum { READS = 1000000, ROUNDS = 9, MOST_THREADS = 8, ROOM = 4096 };

static pg_session *session;
static char *_Atomic shared;
static size_t shared_length;

static void die(const char *what, pg_error *error)
{
    fprintf(stderr, "%s: %s\n", what, pg_error_text(error));
    exit(1);
}

static void floor_loop(void)
{
    char buffer[ROOM];
    for (int i = 0; i < READS; i++) {
        struct timespec now;
        const char *text = atomic_load_explicit(&shared, memory_order_acquire);
        clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
        if (now.tv_sec != 0)
            memcpy(buffer, text, shared_length + 1);
        __asm__ volatile("" : : "r"(buffer) : "memory");
    }
}

static void copy_loop(void)
{
    char buffer[ROOM];
    size_t length;
    pg_error *error = NULL;
    for (int i = 0; i < READS; i++) {
        if (pg_session_copy_access_token(session, 0, buffer, sizeof buffer, &length, &error) != PG_OK)
            die("copy", error);
        __asm__ volatile("" : : "r"(buffer) : "memory");
    }
}

static void counted_loop(void)
{
    pg_error *error = NULL;
    for (int i = 0; i < READS; i++) {
        pg_token *token;
        if (pg_session_token(session, 0, &token, &error) != PG_OK)
            die("token", error);
        pg_token_free(token);
    }
}

struct job {
    void (*loop)(void);
    pthread_barrier_t *together;
};

static void *work(void *argument)
{
    struct job *job = argument;
    pthread_barrier_wait(job->together);
    job->loop();
    return NULL;
}

static double nanoseconds_each(void (*loop)(void), unsigned threads)
{
    pthread_t ids[MOST_THREADS];
    pthread_barrier_t together;
    struct job job = {loop, &together};
    struct timespec begin, end;
    pthread_barrier_init(&together, NULL, threads + 1);
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, work, &job) != 0)
            exit(1);
    pthread_barrier_wait(&together);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (unsigned i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    pthread_barrier_destroy(&together);
    return ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) / READS;
}

static int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

int main(void)
{
    static const struct {
        const char *name;
        void (*loop)(void);
        unsigned threads;
    } runs[] = {
        {"C: load + coarse clock + memcpy", floor_loop, 1},
        {"pg_session_copy_access_token", copy_loop, 1},
        {"  the same, two threads", copy_loop, 2},
        {"  the same, eight threads", copy_loop, 8},
        {"pg_session_token + pg_token_free", counted_loop, 1},
        {"  the same, two threads", counted_loop, 2},
    };
    enum { RUNS = sizeof runs / sizeof runs[0] };
    double times[RUNS][ROUNDS];
    pg_error *error = NULL;
    pg_config *config = pg_config_new();
    pg_client *client;
    pg_token *token;

    if (pg_config_set_from_env(config, &error) != PG_OK || pg_client_new(config, &client, &error) != PG_OK ||
        pg_session_open(client, config, &session, &error) != PG_OK ||
        pg_session_token(session, 10000, &token, &error) != PG_OK)
        die("start", error);
    shared_length = pg_token_access_token_length(token);
    atomic_store(&shared, strdup(pg_token_access_token(token)));

    for (int round = 0; round < ROUNDS; round++)
        for (int run = 0; run < RUNS; run++)
            times[run][round] = nanoseconds_each(runs[run].loop, runs[run].threads);

    printf("a token of %zu bytes; ns for each read of one thread, median of %d rounds; ratio to the first line\n",
           shared_length, ROUNDS);
    for (int run = 0; run < RUNS; run++)
        qsort(times[run], ROUNDS, sizeof times[run][0], ascending);
    for (int run = 0; run < RUNS; run++)
        printf("%-36s %8.1f ns  %5.2fx\n", runs[run].name, times[run][ROUNDS / 2],
               times[run][ROUNDS / 2] / times[0][ROUNDS / 2]);

    pg_token_free(token);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    free(atomic_load(&shared));
    return 0;
}
