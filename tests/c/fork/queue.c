/*
* Forks of a process with a queue: a child finds it empty, with its own descriptor. The operations of either side end
* on that side, once. The alarm detects a hang. Needs the emulator's variables.
 */

#define _GNU_SOURCE

#include <poll.h>

#include "child.h"

/* Ids of the parent, which the child can use too. */
enum { TOKEN = 1, RESPONSE = 2, NEWS = 3, WAITING = 4 };

#define SLOW_WALLET "{\"route\": \"wallet\", \"action\": {\"kind\": \"delay\", \"ms\": 500}}"
#define ISSUE_HANGS "{\"route\": \"issue\", \"times\": null, \"action\": {\"kind\": \"hang\"}}"

static int fd_of(const pg_queue *queue)
{
    pg_error *error = NULL;
    int32_t fd = -1;
    OK(pg_queue_fd(queue, &fd, &error));
    return fd;
}

static bool is_readable_within(int fd, int timeout_ms)
{
    struct pollfd polled = { fd, POLLIN, 0 };
    return poll(&polled, 1, timeout_ms) == 1;
}

static void cancel(const pg_queue *queue, uint64_t id)
{
    pg_error *error = NULL;
    OK(pg_queue_cancel(queue, id, &error));
}

/* All four kinds, started and ended by the child on inherited objects. */
static void live(const pg_session *session, pg_queue *queue, int fd_of_parent)
{
    CHECK(is_empty(queue));
    int fd = fd_of(queue);
    CHECK(fd != fd_of_parent && !is_readable_within(fd, 0));
    /* No operation of the parent runs in the child. */
    for (uint64_t id = TOKEN; id <= WAITING; id++)
        cancel(queue, id);
    CHECK(is_empty(queue));

    start_token(session, queue, TOKEN);
    CHECK(is_readable_within(fd, -1));
    pass(queue, TOKEN, PG_EVENT_TOKEN, PG_OK);
    subscribe(session, queue, NEWS, PG_LOG_NONE);
    start_wallet(session, queue, RESPONSE);
    pass(queue, RESPONSE, PG_EVENT_RESPONSE, PG_OK);
    CHECK(is_empty(queue) && !is_readable_within(fd, 0));
    CHECK(pg_session_close(session, PG_TIMEOUT_DEFAULT, NULL) == PG_OK);
    pass(queue, NEWS, PG_EVENT_ENDED, PG_ERR_CLOSED);
    CHECK(is_empty(queue));
}

static void test_operations_of_both_sides(ending leave)
{
    alarm(PATIENCE_S);
    begin(NULL, SLOW_WALLET);
    pg_session *session = new_session(), *waiting;
    pg_queue *queue = new_queue();
    pg_token_free(token_of(session));
    tell_emulator("POST", "/faults", ISSUE_HANGS);
    waiting = new_session();
    int fd = fd_of(queue);

    /* One event waits, and two operations and a subscription are running. */
    start_token(session, queue, TOKEN);
    start_wallet(session, queue, RESPONSE);
    start_token(waiting, queue, WAITING);
    subscribe(session, queue, NEWS, PG_LOG_NONE);
    while (count_of(WALLETS) == 0 || count_of(ISSUES) == 0)
        usleep(1000);

    pid_t child = fork_with_alarm();
    if (child == 0) {
        live(session, queue, fd);
        pg_session_free(waiting);
        pg_session_free(session);
        pg_queue_free(queue);
        leave(EXIT_SUCCESS);
    }
    join_child(child);
    CHECK(is_readable_within(fd, 0) && fd_of(queue) == fd);
    pass(queue, TOKEN, PG_EVENT_TOKEN, PG_OK);
    pass(queue, RESPONSE, PG_EVENT_RESPONSE, PG_OK);
    CHECK(is_empty(queue) && !is_readable_within(fd, 0));
    cancel(queue, WAITING);
    pass(queue, WAITING, PG_EVENT_TOKEN, PG_ERR_CANCELED);
    CHECK(pg_session_close(session, PG_TIMEOUT_DEFAULT, NULL) == PG_OK);
    pass(queue, NEWS, PG_EVENT_ENDED, PG_ERR_CLOSED);
    CHECK(is_empty(queue) && !is_readable_within(fd, 0));
    CHECK(count_of(WALLETS) == 2);
    pg_session_free(waiting);
    pg_session_free(session);
    pg_queue_free(queue);
}

/* A queue that was not used yet belongs to no process yet. */
static void test_an_unused_queue(ending leave)
{
    alarm(PATIENCE_S);
    begin(NULL, NULL);
    pg_session *session = new_session();
    pg_queue *queue = new_queue();
    pid_t child = fork_with_alarm();
    if (child == 0) {
        live(session, queue, -1);
        pg_session_free(session);
        pg_queue_free(queue);
        leave(EXIT_SUCCESS);
    }
    live(session, queue, -1);
    join_child(child);
    CHECK(count_of(ISSUES) == 2);
    pg_session_free(session);
    pg_queue_free(queue);
}

int main(void)
{
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    for (int i = 0; i < ENDING_COUNT; i++) {
        test_an_unused_queue(ENDINGS[i]);
        test_operations_of_both_sides(ENDINGS[i]);
    }
    begin(NULL, NULL);
    curl_global_cleanup();
    printf("ok queue: %d checks\n", checks);
    return EXIT_SUCCESS;
}
