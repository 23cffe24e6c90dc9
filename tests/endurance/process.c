/*
 * A process with many threads that use one session as fast as a busy program does, and open and close others. Every five
 * seconds it prints what it has done and what it occupies, as a line of JSON. It ends with its standard input.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>

#include <paymentsgate_auth.h>

#include "../../benches/measure.h"

enum { THREADS = 64, READS = 100, PAUSE_US = 50000, REQUEST_EVERY = 20, SESSION_EVERY = 200, REPORT_S = 5, STACK = 256 << 10, PAGE = 4096 };

static pg_config *config;
static pg_client *client;
static pg_session *session;
static uint64_t reads, requests, sessions, operations, failures;
static bool is_over;

static void must(pg_status status, pg_error *error)
{
    if (status != PG_OK) {
        fprintf(stderr, "%s\n", pg_error_text(error));
        exit(EXIT_FAILURE);
    }
}

static void count(uint64_t *counter, uint64_t more)
{
    __atomic_add_fetch(counter, more, __ATOMIC_RELAXED);
}

/* A failure is no fault of this program: the incidents are. */
static void note(pg_error *error)
{
    if (error != NULL)
        count(&failures, 1);
    pg_error_free(error);
}

static void read_tokens(void)
{
    for (int i = 0; i < READS; i++) {
        pg_error *error = NULL;
        pg_token *token = NULL;
        if (pg_session_token(session, 2000, &token, &error) == PG_OK)
            count(&reads, 1);
        note(error);
        pg_token_free(token);
    }
}

static void request_wallet(void)
{
    pg_error *error = NULL;
    pg_response *response = NULL;
    if (pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, 2000, &response, &error) == PG_OK)
        count(&requests, 1);
    note(error);
    pg_response_free(response);
}

/* A session that lives for one token and one event, with operations that are canceled and abandoned. */
static void live_and_end(void)
{
    pg_error *error = NULL;
    pg_session *other = NULL;
    pg_queue *queue = NULL;
    pg_token *token = NULL;
    pg_event *event = NULL;
    must(pg_session_open(client, config, &other, &error), error);
    must(pg_queue_new(&queue, &error), error);
    must(pg_session_subscribe(other, queue, 1, PG_LOG_DEBUG, &error), error);
    must(pg_session_token_start(other, queue, 2, 0, 2000, &error), error);
    must(pg_session_request_start(other, queue, 3, "GET", "/wallet", NULL, NULL, 0, 2000, &error), error);
    must(pg_session_token_start(other, queue, 4, 0, 0, &error), error);
    must(pg_queue_cancel(queue, 3, &error), error);
    (void)pg_session_token(other, 2000, &token, &error);
    note(error);
    if (pg_queue_poll(queue, 0, &event, &error) == PG_OK)
        count(&operations, 1);
    note(error);
    pg_event_free(event);
    pg_token_free(token);
    pg_queue_free(queue);
    pg_session_free(other);
    count(&sessions, 1);
}

/* The deepest calls of a thread come rarely, and its stack stays resident as deep as it has ever been. So each touches more than these
 * need at first. */
static void touch_stack(void)
{
    volatile char deepest[STACK];
    for (size_t at = 0; at < sizeof deepest; at += PAGE)
        deepest[at] = 1;
}

static void *work(void *number)
{
    touch_stack();
    for (size_t turn = (size_t)number; !__atomic_load_n(&is_over, __ATOMIC_RELAXED); turn++) {
        read_tokens();
        if (turn % REQUEST_EVERY == 0)
            request_wallet();
        if (turn % SESSION_EVERY == 0)
            live_and_end();
        usleep(PAUSE_US);
    }
    return NULL;
}

static long descriptors(void)
{
    long count = -3; /* the folder that is read, `.` and `..` */
    DIR *folder = opendir("/proc/self/fd");
    while (folder != NULL && readdir(folder) != NULL)
        count++;
    if (folder != NULL)
        closedir(folder);
    return count;
}

static void report(void)
{
    struct mallinfo2 heap = mallinfo2();
    printf("{\"at\": %.1f, \"reads\": %ju, \"requests\": %ju, \"sessions\": %ju, \"operations\": %ju, \"failures\": %ju, "
           "\"heap\": %zu, \"resident\": %ld, \"descriptors\": %ld, \"threads\": %ld}\n",
           now_ns() / 1e9, (uintmax_t)reads, (uintmax_t)requests, (uintmax_t)sessions, (uintmax_t)operations,
           (uintmax_t)failures, heap.uordblks + heap.hblkhd, status_of("VmRSS:") * 1024, descriptors(),
           status_of("Threads:"));
    fflush(stdout);
}

int main(void)
{
    pg_error *error = NULL;
    pthread_t threads[THREADS];
    config = pg_config_new();
    must(pg_config_set_from_env(config, &error), error);
    must(pg_client_new(config, &client, &error), error);
    must(pg_session_open(client, config, &session, &error), error);
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
            exit(EXIT_FAILURE);
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    while (poll(&input, 1, REPORT_S * 1000) == 0)
        report();
    __atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    return EXIT_SUCCESS;
}
