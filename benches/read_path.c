/*
 * The processor time to read a fresh token, compared with the minimum of a C program: load a pointer, read a coarse clock, copy the
 * text from memory with the same alignment. All run alternately, in one process, several times; the ratios are of the
 * medians. `make bench` runs it against the emulator.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <paymentsgate_auth.h>

#include "measure.h"

enum { FLOOR, FLOOR_AGAIN, COPY, COPY_2, COPY_8, COUNTED, COUNTED_AGAIN, COUNTED_2, COUNTED_8, RUNS };
enum { READS = 200000, ROUNDS = 51, MOST_THREADS = 8, PAGE = 4096, ROOM = 2 * PAGE };

static pg_session *session;
static char *_Atomic shared;
static size_t shared_length;

static void die(const char *what, pg_error *error)
{
    fprintf(stderr, "%s: %s\n", what, pg_error_text(error));
    exit(1);
}

static void floor_loop(char *buffer)
{
    for (int i = 0; i < READS; i++) {
        struct timespec now;
        const char *text = atomic_load_explicit(&shared, memory_order_acquire);
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
        if (now.tv_sec != 0)
            memcpy(buffer, text, shared_length + 1);
        __asm__ volatile("" : : "r"(buffer) : "memory");
    }
}

static void copy_loop(char *buffer)
{
    size_t length;
    pg_error *error = NULL;
    for (int i = 0; i < READS; i++) {
        if (pg_session_copy_access_token(session, 0, buffer, ROOM, &length, &error) != PG_OK)
            die("copy", error);
        __asm__ volatile("" : : "r"(buffer) : "memory");
    }
}

static void counted_loop(char *buffer)
{
    (void)buffer;
    pg_error *error = NULL;
    for (int i = 0; i < READS; i++) {
        pg_token *token;
        if (pg_session_token(session, 0, &token, &error) != PG_OK)
            die("token", error);
        pg_token_free(token);
    }
}

struct job {
    void (*loop)(char *buffer);
    char *buffer;
    pthread_barrier_t *together;
    unsigned number;
    double processor;
};

static char *buffers[MOST_THREADS];

/* The position of a copy and its source in their pages can triple the time to copy, so it must be the same for all. */
static char *room_at(uintptr_t offset)
{
    char *pages = aligned_alloc(PAGE, ROOM + PAGE);
    if (pages == NULL)
        exit(1);
    return pages + offset % PAGE;
}

static double processor_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Pins the threads to different processors: the system would move a thread only after the few milliseconds of a run. */
static void *work(void *argument)
{
    struct job *job = argument;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(job->number % (unsigned)sysconf(_SC_NPROCESSORS_ONLN), &one);
    pthread_setaffinity_np(pthread_self(), sizeof one, &one);
    pthread_barrier_wait(job->together);
    job->processor = -processor_ns();
    job->loop(job->buffer);
    job->processor += processor_ns();
    return NULL;
}

/* The processor time of a read: the mean of the threads. */
static double nanoseconds_each(void (*loop)(char *), unsigned threads)
{
    pthread_t ids[MOST_THREADS];
    pthread_barrier_t together;
    struct job jobs[MOST_THREADS];
    double sum = 0;
    pthread_barrier_init(&together, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        jobs[i] = (struct job){loop, buffers[i], &together, i, 0};
        if (pthread_create(&ids[i], NULL, work, &jobs[i]) != 0)
            exit(1);
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        sum += jobs[i].processor;
    }
    pthread_barrier_destroy(&together);
    return sum / threads / READS;
}

int main(void)
{
    static const struct {
        const char *name;
        void (*loop)(char *);
        unsigned threads;
    } runs[] = {
        [FLOOR] = {"load, coarse clock, memcpy in C", floor_loop, 1},
        [FLOOR_AGAIN] = {"", floor_loop, 1},
        [COPY] = {"pg_session_copy_access_token", copy_loop, 1},
        [COPY_2] = {"pg_session_copy_access_token, two threads", copy_loop, 2},
        [COPY_8] = {"pg_session_copy_access_token, eight threads", copy_loop, 8},
        [COUNTED] = {"pg_session_token + pg_token_free", counted_loop, 1},
        [COUNTED_AGAIN] = {"", counted_loop, 1},
        [COUNTED_2] = {"pg_session_token + pg_token_free, two threads", counted_loop, 2},
        [COUNTED_8] = {"pg_session_token + pg_token_free, eight threads", counted_loop, 8},
    };
    static const struct {
        int run, beside, again;
        double goal;
    } rows[] = {
        {COPY, FLOOR, FLOOR_AGAIN, 0},      {COPY_2, FLOOR, FLOOR_AGAIN, 0},
        {COPY_8, FLOOR, FLOOR_AGAIN, 0},    {COUNTED, FLOOR, FLOOR_AGAIN, 0},
        {COUNTED_2, COUNTED, COUNTED_AGAIN, 1.5}, {COUNTED_8, COUNTED, COUNTED_AGAIN, 0},
    };
    double processor[RUNS][ROUNDS], medians[RUNS];
    pg_error *error = NULL;
    pg_config *config = pg_config_new();
    pg_client *client;
    pg_token *token;

    if (pg_config_set_from_env(config, &error) != PG_OK || pg_client_new(config, &client, &error) != PG_OK ||
        pg_session_open(client, config, &session, &error) != PG_OK ||
        pg_session_token(session, 10000, &token, &error) != PG_OK)
        die("start", error);
    shared_length = pg_token_access_token_length(token);
    uintptr_t source = (uintptr_t)pg_token_access_token(token) % PAGE;
    for (int i = 0; i < MOST_THREADS; i++)
        buffers[i] = room_at(source < PAGE / 2 ? PAGE / 2 : 0);
    char *copy = room_at(source);
    strcpy(copy, pg_token_access_token(token));
    atomic_store(&shared, copy);

    for (int round = 0; round < ROUNDS; round++)
        for (int run = 0; run < RUNS; run++)
            processor[run][round] = nanoseconds_each(runs[run].loop, runs[run].threads);

    for (int run = 0; run < RUNS; run++)
        medians[run] = median(processor[run], ROUNDS);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char what[96], beside[96];
        snprintf(what, sizeof what, "%s, %zu bytes", runs[rows[i].run].name, shared_length);
        snprintf(beside, sizeof beside, "%s", rows[i].beside == FLOOR ? runs[FLOOR].name : "one thread");
        print_row(what, beside, "ns", medians[rows[i].run], medians[rows[i].beside], medians[rows[i].again], rows[i].goal);
    }

    pg_token_free(token);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    return 0;
}
