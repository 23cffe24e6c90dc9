/*
 * The time to read a fresh token, compared with the minimum of a C program: load a pointer, read a coarse clock, copy the
 * text from memory with the same alignment. All run alternately, in one process, several times; the ratios are of the
 * medians. `make bench` runs it against the emulator.
 */
#define _GNU_SOURCE
#include <math.h>
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
    double begin, end, processor;
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

static double nanoseconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
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
    job->begin = nanoseconds(CLOCK_MONOTONIC);
    job->processor = -nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    job->loop(job->buffer);
    job->processor += nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    job->end = nanoseconds(CLOCK_MONOTONIC);
    return NULL;
}

/* Times for each read of one thread; the processor time is the mean of the threads. */
static double nanoseconds_each(void (*loop)(char *), unsigned threads, double *processor)
{
    pthread_t ids[MOST_THREADS];
    pthread_barrier_t together;
    struct job jobs[MOST_THREADS];
    double begin = INFINITY, end = 0;
    *processor = 0;
    pthread_barrier_init(&together, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        jobs[i] = (struct job){loop, buffers[i], &together, i, 0, 0, 0};
        if (pthread_create(&ids[i], NULL, work, &jobs[i]) != 0)
            exit(1);
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        begin = fmin(begin, jobs[i].begin);
        end = fmax(end, jobs[i].end);
        *processor += jobs[i].processor / threads / READS;
    }
    pthread_barrier_destroy(&together);
    return (end - begin) / READS;
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
        void (*loop)(char *);
    } ways[] = {
        {"C: load + coarse clock + memcpy", floor_loop},
        {"pg_session_copy_access_token", copy_loop},
        {"pg_session_token + pg_token_free", counted_loop},
    };
    static const unsigned threads[] = {1, 2, MOST_THREADS};
    enum { WAYS = sizeof ways / sizeof ways[0], CROWDS = sizeof threads / sizeof threads[0] };
    static double times[WAYS][CROWDS][ROUNDS], processor[WAYS][CROWDS][ROUNDS];
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
        for (int way = 0; way < WAYS; way++)
            for (int crowd = 0; crowd < CROWDS; crowd++)
                times[way][crowd][round] =
                    nanoseconds_each(ways[way].loop, threads[crowd], &processor[way][crowd][round]);

    for (int way = 0; way < WAYS; way++)
        for (int crowd = 0; crowd < CROWDS; crowd++) {
            qsort(times[way][crowd], ROUNDS, sizeof times[way][crowd][0], ascending);
            qsort(processor[way][crowd], ROUNDS, sizeof processor[way][crowd][0], ascending);
        }
    printf("a token of %zu bytes; each read of one thread, median of %d rounds; beside one thread of C, and beside one "
           "thread of its own\n%-34s %7s %22s %30s\n",
           shared_length, ROUNDS, "", "threads", "elapsed", "processor time");
    for (int way = 0; way < WAYS; way++)
        for (int crowd = 0; crowd < CROWDS; crowd++) {
            double elapsed = times[way][crowd][ROUNDS / 2], used = processor[way][crowd][ROUNDS / 2];
            printf("%-34s %7u %8.1f ns  %5.2fx %5.2fx %8.1f ns  %5.2fx %5.2fx\n", crowd == 0 ? ways[way].name : "",
                   threads[crowd], elapsed, elapsed / times[0][0][ROUNDS / 2], elapsed / times[way][0][ROUNDS / 2],
                   used, used / processor[0][0][ROUNDS / 2], used / processor[way][0][ROUNDS / 2]);
        }

    pg_token_free(token);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    return 0;
}
