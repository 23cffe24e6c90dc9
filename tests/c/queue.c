/*
* Queues from C: the descriptor, one end for each operation, cancelling, closing, freeing. Needs the emulator's
 * variables.
 */

#define _GNU_SOURCE

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "fixture.h"

enum { PATIENCE_S = 300, THREADS = 4, EACH = 1500, CLOSES = 60, CROWD = 1000, PER_CLOSE = 16, SHORT_MS = 100 };

#define HANG(route) "{\"route\": \"" route "\", \"times\": null, \"action\": {\"kind\": \"hang\"}}"

/* Ids of the operations. */
enum { TOKEN = 1, RESPONSE = 2, NEWS = 3, OTHER = 4 };

static int fd_of(const pg_queue *queue)
{
    pg_error *error = NULL;
    int32_t fd = -1;
    OK(pg_queue_fd(queue, &fd, &error));
    return fd;
}

static bool is_readable(int fd)
{
    struct pollfd polled = { fd, POLLIN, 0 };
    return poll(&polled, 1, 0) == 1 && polled.revents == POLLIN;
}

static void wait_until_readable(int fd)
{
    struct pollfd polled = { fd, POLLIN, 0 };
    CHECK(poll(&polled, 1, -1) == 1 && polled.revents == POLLIN);
}

static void cancel(const pg_queue *queue, uint64_t id)
{
    pg_error *error = NULL;
    OK(pg_queue_cancel(queue, id, &error));
}

static pg_session *warm_session(void)
{
    pg_session *session = new_session();
    pg_token_free(token_of(session));
    return session;
}

static int count_descriptors(void)
{
    DIR *descriptors = opendir("/proc/self/fd");
    int count = 0;
    CHECK(descriptors != NULL);
    while (readdir(descriptors) != NULL)
        count++;
    closedir(descriptors);
    return count;
}

static void test_readable_exactly_while_an_event_waits(void)
{
    pg_session *session = warm_session();
    pg_queue *queue = new_queue();
    int fd = fd_of(queue);
    CHECK(!is_readable(fd) && is_empty(queue));
    start_token(session, queue, TOKEN);
    start_token(session, queue, OTHER);
    CHECK(is_readable(fd) && is_readable(fd) && fd_of(queue) == fd);
    pass(queue, TOKEN, PG_EVENT_TOKEN, PG_OK);
    CHECK(is_readable(fd));
    pass(queue, OTHER, PG_EVENT_TOKEN, PG_OK);
    CHECK(!is_readable(fd) && is_empty(queue));

    start_wallet(session, queue, RESPONSE);
    wait_until_readable(fd);
    pass(queue, RESPONSE, PG_EVENT_RESPONSE, PG_OK);
    CHECK(!is_readable(fd));
    pg_queue_free(queue);

    /* The descriptor is requested when an event already waits. */
    queue = new_queue();
    start_token(session, queue, TOKEN);
    CHECK(is_readable(fd_of(queue)));
    pass(queue, TOKEN, PG_EVENT_TOKEN, PG_OK);
    CHECK(!is_readable(fd_of(queue)));
    pg_queue_free(queue);
    pg_session_free(session);
}

/* First of all: the library has no thread yet, which would need descriptors too. */
static void test_no_descriptor_is_leaked(void)
{
    struct rlimit usual, none;
    pg_queue *queue = new_queue();
    pg_error *error = NULL;
    int32_t fd = 0;

    CHECK(getrlimit(RLIMIT_NOFILE, &usual) == 0);
    none = usual;
    none.rlim_cur = 0;
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    CHECK(pg_queue_fd(queue, &fd, &error) == PG_ERR_SYSTEM && fd == -1);
    CHECK(strstr(pg_error_text(error), "open files") != NULL);
    CHECK(setrlimit(RLIMIT_NOFILE, &usual) == 0);
    pg_error_free(error);
    CHECK(!is_readable(fd_of(queue)));
    pg_queue_free(queue);
}

static void test_each_operation_ends_in_its_event(void)
{
    begin(NULL, HANG("issue"));
    pg_error *error = NULL;
    pg_session *session = new_session();
    pg_queue *queue = new_queue();
    pg_event *event;

    /* Not canceled, and no operation gets the token of the other. */
    start_token(session, queue, TOKEN);
    OK(pg_session_token_start(session, queue, OTHER, 0, SHORT_MS, &error));
    pass(queue, OTHER, PG_EVENT_TOKEN, PG_ERR_TIMEOUT);
    CHECK(is_empty(queue));
    OK(pg_session_token_start(session, queue, OTHER, 0, 0, &error));
    pass(queue, OTHER, PG_EVENT_TOKEN, PG_ERR_TIMEOUT);
    cancel(queue, TOKEN);
    event = take(queue, TOKEN, PG_EVENT_TOKEN, PG_ERR_CANCELED);
    CHECK(pg_event_token(event) == NULL && pg_event_response(event) == NULL && pg_event_text(event) == NULL);
    pg_event_free(event);
    cancel(queue, TOKEN);
    cancel(queue, OTHER);
    CHECK(is_empty(queue));
    pg_session_free(session);

    /* A failure is an event, and the id of the operation can be used again. The call of the session before may still come. */
    begin(NULL, "{\"route\": \"issue\", \"times\": null, \"action\": {\"kind\": \"status\", \"status\": 403, \"body\": \"no\"}}");
    session = new_session();
    OK(pg_session_token_start(session, queue, TOKEN, 0, SHORT_MS * 100, &error));
    event = take(queue, TOKEN, PG_EVENT_TOKEN, PG_ERR_BLOCKED);
    CHECK(pg_error_http_status(pg_event_error(event)) == 403);
    pg_event_free(event);
    pg_session_free(session);

    /* From a flight, then from memory. A kept token outlives its event, its queue and its session. */
    begin(NULL, NULL);
    session = new_session();
    start_token(session, queue, TOKEN);
    event = take(queue, TOKEN, PG_EVENT_TOKEN, PG_OK);
    pg_token *kept = pg_token_ref(pg_event_token(event));
    CHECK(pg_token_generation(kept) == 1 && pg_token_refresh_token(kept) == NULL);
    CHECK(pg_event_log_level(event) == PG_LOG_NONE);
    pg_event_free(event);
    start_token(session, queue, TOKEN);
    event = take(queue, TOKEN, PG_EVENT_TOKEN, PG_OK);
    CHECK(pg_event_token(event) == kept);
    pg_event_free(event);
    start_wallet(session, queue, RESPONSE);
    event = take(queue, RESPONSE, PG_EVENT_RESPONSE, PG_OK);
    pg_response *response = pg_response_ref(pg_event_response(event));
    pg_event_free(event);
    pg_session_free(session);
    pg_queue_free(queue);
    CHECK(pg_token_remaining_ms(kept) > 0 && pg_response_status(response) == 200);
    pg_response_free(response);
    pg_token_free(kept);
}

/* The bare calls: the event has the fate of the refresh token. */
/* All callers that want a newer token share one call, and one that leaves does not stop it. */
static void test_a_newer_token_on_demand(void)
{
    begin(NULL, NULL);
    pg_error *error = NULL;
    pg_session *session = warm_session();
    pg_queue *queue = new_queue();
    tell_emulator("POST", "/faults", "{\"route\": \"refresh\", \"action\": {\"kind\": \"delay\", \"ms\": 300}}");
    for (uint64_t id = TOKEN; id <= OTHER; id++)
        OK(pg_session_refresh_start(session, queue, id, PG_TIMEOUT_DEFAULT, &error));
    CHECK(pg_session_refresh_start(session, queue, TOKEN, 0, &error) == PG_ERR_INVALID_ARGUMENT);
    pg_error_free(error);
    error = NULL;
    cancel(queue, OTHER);
    pass(queue, OTHER, PG_EVENT_TOKEN, PG_ERR_CANCELED);
    for (uint64_t id = TOKEN; id < OTHER; id++) {
        pg_event *event = NULL;
        OK(pg_queue_poll(queue, PG_TIMEOUT_DEFAULT, &event, &error));
        CHECK(pg_event_kind(event) == PG_EVENT_TOKEN && pg_event_status(event) == PG_OK);
        CHECK(pg_token_generation(pg_event_token(event)) == 2);
        pg_event_free(event);
    }
    CHECK(count_of(REFRESHES) == 1 && count_of(ISSUES) == 1);

    OK(pg_session_close(session, PG_TIMEOUT_DEFAULT, &error));
    OK(pg_session_refresh_start(session, queue, TOKEN, PG_TIMEOUT_DEFAULT, &error));
    pass(queue, TOKEN, PG_EVENT_TOKEN, PG_ERR_CLOSED);
    CHECK(is_empty(queue));
    pg_queue_free(queue);
    pg_session_free(session);
}

static void test_bare_calls(void)
{
    begin(NULL, NULL);
    pg_error *error = NULL;
    pg_client *client = new_client();
    pg_queue *queue = new_queue();
    OK(pg_issue_token_start(client, queue, TOKEN, NULL, NULL, PG_TIMEOUT_DEFAULT, &error));
    pg_event *issued = take(queue, TOKEN, PG_EVENT_TOKEN, PG_OK);
    const pg_token *pair = pg_event_token(issued);
    CHECK(pg_token_refresh_token(pair) != NULL);
    CHECK(pg_issue_token_start(client, queue, TOKEN, "a", NULL, 0, NULL) == PG_ERR_INVALID_ARGUMENT);
    CHECK(pg_refresh_token_start(client, queue, TOKEN, NULL, NULL, 0, NULL) == PG_ERR_NULL_POINTER);

    /* First nothing was sent, so the token may be presented again. Then the call is canceled while running: the token may be spent. */
    OK(pg_refresh_token_start(client, queue, TOKEN, NULL, pg_token_refresh_token(pair), 0, &error));
    pg_event *event = take(queue, TOKEN, PG_EVENT_TOKEN, PG_ERR_TIMEOUT);
    CHECK(pg_error_refresh_token_fate(pg_event_error(event)) == PG_FATE_UNSENT);
    pg_event_free(event);
    tell_emulator("POST", "/faults", HANG("refresh"));
    OK(pg_refresh_token_start(client, queue, TOKEN, NULL, pg_token_refresh_token(pair), PG_TIMEOUT_DEFAULT, &error));
    while (count_of(REFRESHES) == 0)
        usleep(1000);
    cancel(queue, TOKEN);
    event = take(queue, TOKEN, PG_EVENT_TOKEN, PG_ERR_CANCELED);
    CHECK(pg_error_refresh_token_fate(pg_event_error(event)) == PG_FATE_UNKNOWN);
    CHECK(pg_error_needs_credentials(pg_event_error(event)) && !pg_error_is_retryable(pg_event_error(event)));
    pg_event_free(event);

    OK(pg_refresh_token_start(client, queue, OTHER, NULL, "another-refresh-token", PG_TIMEOUT_DEFAULT, &error));
    pg_queue_free(queue);
    pg_client_free(client);
    CHECK(pg_token_remaining_ms(pair) > 0);
    pg_event_free(issued);
}

static void test_numbers(void)
{
    begin(NULL, HANG("issue"));
    pg_error *error = NULL;
    pg_session *session = new_session();
    pg_queue *queue = new_queue(), *other = new_queue();
    const uint64_t most = UINT64_MAX;

    start_token(session, queue, most);
    CHECK(pg_session_token_start(session, queue, most, 0, 0, &error) == PG_ERR_INVALID_ARGUMENT);
    CHECK(strstr(pg_error_text(error), "18446744073709551615") != NULL);
    pg_error_free(error);
    CHECK(pg_session_request_start(session, queue, most, "GET", "/wallet", NULL, NULL, 0, 0, NULL) ==
          PG_ERR_INVALID_ARGUMENT);
    CHECK(pg_session_subscribe(session, queue, most, PG_LOG_NONE, NULL) == PG_ERR_INVALID_ARGUMENT);
    CHECK(is_empty(queue));
    start_token(session, other, most);
    cancel(queue, most);
    /* Its event is not taken yet. */
    start_token(session, queue, most);
    pass(queue, most, PG_EVENT_TOKEN, PG_ERR_CANCELED);
    CHECK(is_empty(queue) && is_empty(other));
    cancel(queue, most);
    pass(queue, most, PG_EVENT_TOKEN, PG_ERR_CANCELED);
    subscribe(session, queue, most, PG_LOG_NONE);
    cancel(queue, most);
    pass(queue, most, PG_EVENT_ENDED, PG_ERR_CANCELED);
    pg_queue_free(other);
    pg_queue_free(queue);
    pg_session_free(session);
}

/* Thousands of operations of every kind: some threads start them, two cancel them, one takes their events. */
struct hammer {
    pg_session *warm, *cold;
    pg_queue *queue;
    pthread_barrier_t together;
    atomic_ullong started;
    atomic_bool over;
};

/* The session that waits for its first token never gets one. */
static void *start_all(void *argument)
{
    struct hammer *hammer = argument;
    bool good = true;
    pthread_barrier_wait(&hammer->together);
    for (int i = 0; i < EACH && good; i++) {
        uint64_t id = atomic_fetch_add(&hammer->started, 1) + 1;
        pg_session *session = i % 2 == 0 ? hammer->warm : hammer->cold;
        if (i % 16 < 2)
            start_wallet(session, hammer->queue, id);
        else /* No token lasts for two hours, so this is never answered from memory. */
            good = pg_session_token_start(session, hammer->queue, id, i % 4 == 0 ? 7200000 : 0, PG_TIMEOUT_DEFAULT,
                                          NULL) == PG_OK;
    }
    return good ? hammer : NULL;
}

/* This thread cancels operations that have just started or are about to start. */
static void *cancel_the_newest(void *argument)
{
    struct hammer *hammer = argument;
    pthread_barrier_wait(&hammer->together);
    while (!atomic_load(&hammer->over))
        cancel(hammer->queue, atomic_load(&hammer->started));
    return hammer;
}

/* Cancels everything, again and again: an operation without an answer must end too. */
static void *cancel_all(void *argument)
{
    struct hammer *hammer = argument;
    pthread_barrier_wait(&hammer->together);
    while (!atomic_load(&hammer->over)) {
        for (uint64_t id = atomic_load(&hammer->started); id > 0; id--)
            cancel(hammer->queue, id);
        usleep(10000);
    }
    return hammer;
}

static void test_a_cancel_at_any_moment_gives_one_end(void)
{
    begin(NULL, NULL);
    static unsigned char ends[THREADS * EACH + 1];
    static int endings[2];
    static const char *const patience[] = { "PAYMENTSGATE_ISSUE_TIMEOUT_MS", "PAYMENTSGATE_REFRESH_TIMEOUT_MS",
                                            "PAYMENTSGATE_REQUEST_TIMEOUT_MS", "PAYMENTSGATE_CONNECT_TIMEOUT_MS" };
    struct hammer hammer = { .queue = new_queue() };
    pthread_t threads[THREADS + 2];

    /* A hanging call must keep hanging, and no other call may reach its deadline, even under valgrind. */
    for (size_t i = 0; i < sizeof patience / sizeof *patience; i++)
        setenv(patience[i], "600000", 1);
    hammer.warm = warm_session();
    hammer.cold = new_session();
    for (size_t i = 0; i < sizeof patience / sizeof *patience; i++)
        unsetenv(patience[i]);
    tell_emulator("POST", "/faults", HANG("issue"));
    CHECK(pthread_barrier_init(&hammer.together, NULL, THREADS + 2) == 0);
    CHECK(pthread_create(&threads[THREADS], NULL, cancel_the_newest, &hammer) == 0);
    CHECK(pthread_create(&threads[THREADS + 1], NULL, cancel_all, &hammer) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, start_all, &hammer) == 0);
    for (int i = 0; i < THREADS * EACH; i++) {
        pg_error *error = NULL;
        pg_event *event = NULL;
        OK(pg_queue_poll(hammer.queue, PG_TIMEOUT_DEFAULT, &event, &error));
        pg_status status = pg_event_status(event);
        if (status != PG_OK && status != PG_ERR_CANCELED)
            fprintf(stderr, "%s: %s\n", pg_status_name(status), pg_error_text(pg_event_error(event)));
        CHECK(status == PG_OK || status == PG_ERR_CANCELED);
        CHECK((pg_event_token(event) != NULL) == (status == PG_OK && pg_event_kind(event) == PG_EVENT_TOKEN));
        CHECK((pg_event_response(event) != NULL) == (status == PG_OK && pg_event_kind(event) == PG_EVENT_RESPONSE));
        CHECK(ends[pg_event_id(event)]++ == 0);
        endings[status == PG_ERR_CANCELED]++;
        pg_event_free(event);
    }
    atomic_store(&hammer.over, true);
    for (int i = 0; i < THREADS + 2; i++) {
        void *result = NULL;
        CHECK(pthread_join(threads[i], &result) == 0 && result == &hammer);
    }
    CHECK(pthread_barrier_destroy(&hammer.together) == 0);
    /* Half of them can only be canceled, and some of the others cannot have been. */
    CHECK(endings[0] > 0 && endings[1] >= THREADS * EACH / 2);
    printf("%d operations ended by themselves, %d were canceled\n", endings[0], endings[1]);
    CHECK(pg_session_close(hammer.warm, PG_TIMEOUT_DEFAULT, NULL) == PG_OK);
    CHECK(is_empty(hammer.queue));
    pg_session_free(hammer.warm);
    pg_session_free(hammer.cold);
    pg_queue_free(hammer.queue);
}

static void test_close_ends_all(void)
{
    begin(NULL, HANG("wallet"));
    pg_error *error = NULL;
    pg_session *session = warm_session();
    pg_queue *queue = new_queue();
    int fd = fd_of(queue);

    start_wallet(session, queue, RESPONSE);
    subscribe(session, queue, NEWS, PG_LOG_NONE);
    while (count_of(WALLETS) == 0)
        usleep(1000);
    CHECK(!is_readable(fd));
    OK(pg_session_close(session, PG_TIMEOUT_DEFAULT, &error));
    uint64_t ended = 0;
    for (int i = 0; i < 2; i++) {
        pg_event *event = NULL;
        OK(pg_queue_poll(queue, 0, &event, &error));
        CHECK(pg_event_status(event) == PG_ERR_CLOSED && !pg_error_is_retryable(pg_event_error(event)));
        ended += pg_event_id(event);
        pg_event_free(event);
    }
    CHECK(ended == NEWS + RESPONSE && is_empty(queue) && !is_readable(fd));

    /* An operation that is started now ends at once. */
    start_token(session, queue, TOKEN);
    pass(queue, TOKEN, PG_EVENT_TOKEN, PG_ERR_CLOSED);
    start_wallet(session, queue, RESPONSE);
    pass(queue, RESPONSE, PG_EVENT_RESPONSE, PG_ERR_CLOSED);
    subscribe(session, queue, NEWS, PG_LOG_DEBUG);
    pass(queue, NEWS, PG_EVENT_ENDED, PG_ERR_CLOSED);
    CHECK(is_empty(queue));
    pg_session_free(session);

    /* The free by the last owner ends them too, without waiting. */
    begin(NULL, HANG("issue"));
    session = new_session();
    start_token(session, queue, TOKEN);
    subscribe(session, queue, NEWS, PG_LOG_NONE);
    pg_session_free(session);
    pass(queue, TOKEN, PG_EVENT_TOKEN, PG_ERR_CLOSED);
    pass(queue, NEWS, PG_EVENT_ENDED, PG_ERR_CLOSED);
    pg_queue_free(queue);
}

/* So many answers arrive that a close comes in between. After the close returns, no further answer arrives. */
static void test_no_token_comes_after_close(void)
{
    begin(NULL, NULL);
    for (int round = 0; round < CLOSES; round++) {
        pg_error *error = NULL;
        pg_session *session = new_session();
        pg_queue *queue = new_queue();
        for (uint64_t id = 0; id < CROWD; id++)
            start_token(session, queue, id);
        wait_until_readable(fd_of(queue));
        OK(pg_session_close(session, PG_TIMEOUT_DEFAULT, &error));
        for (int i = 0; i < CROWD; i++)
            CHECK(!is_empty(queue));
        CHECK(is_empty(queue));
        pg_queue_free(queue);
        pg_session_free(session);
    }
}

/* The same at every moment of a request. */
static void test_no_response_comes_after_close(void)
{
    begin(NULL, NULL);
    for (int round = 0; round < CLOSES; round++) {
        pg_error *error = NULL;
        pg_session *session = warm_session();
        pg_queue *queue = new_queue();
        for (uint64_t id = 1; id <= PER_CLOSE; id++)
            start_wallet(session, queue, id);
        subscribe(session, queue, PER_CLOSE + 1, PG_LOG_NONE);
        usleep((useconds_t)(round * 50));
        OK(pg_session_close(session, PG_TIMEOUT_DEFAULT, &error));
        for (int i = 0; i <= PER_CLOSE; i++)
            CHECK(!is_empty(queue));
        CHECK(is_empty(queue));
        pg_queue_free(queue);
        pg_session_free(session);
    }
}

static void test_freeing_a_queue_ends_its_operations(void)
{
    begin(NULL, HANG("wallet"));
    pg_error *error = NULL;
    pg_session *session = warm_session(), *waiting;
    pg_queue *queue = new_queue();
    /* The library already has its thread and its connection. */
    int before = count_descriptors();

    tell_emulator("POST", "/faults", HANG("issue"));
    waiting = new_session();
    CHECK(fd_of(queue) >= 0);
    start_wallet(session, queue, RESPONSE);
    start_token(waiting, queue, TOKEN);
    subscribe(session, queue, NEWS, PG_LOG_DEBUG);
    start_token(session, queue, OTHER);
    while (count_of(WALLETS) == 0)
        usleep(1000);
    pg_queue_free(queue);
    pg_session_free(waiting);

    /* Events of freed queues. */
    for (int i = 0; i < 20; i++) {
        queue = new_queue();
        CHECK(fd_of(queue) >= 0);
        subscribe(session, queue, NEWS, PG_LOG_DEBUG);
        pg_queue_free(queue);
    }
    CHECK(count_descriptors() <= before + 2);
    OK(pg_session_close(session, PG_TIMEOUT_DEFAULT, &error));
    pg_session_free(session);
}

static void *wait_for_an_event(void *queue)
{
    pg_event *event = NULL;
    pg_status status = pg_queue_poll(queue, PG_TIMEOUT_DEFAULT, &event, NULL);
    bool good = status == PG_OK && pg_event_status(event) == PG_ERR_CANCELED;
    pg_event_free(event);
    return good ? queue : NULL;
}

/* Many threads can wait on a queue: each event wakes one of them. */
static void test_threads_share_a_queue(void)
{
    begin(NULL, HANG("issue"));
    pg_error *error = NULL;
    pg_event *event = NULL;
    pg_session *session = new_session();
    pg_queue *queue = new_queue();
    pthread_t threads[THREADS];

    for (uint64_t i = 0; i < THREADS; i++) {
        start_token(session, queue, i);
        CHECK(pthread_create(&threads[i], NULL, wait_for_an_event, queue) == 0);
    }
    for (uint64_t i = 0; i < THREADS; i++)
        cancel(queue, i);
    for (int i = 0; i < THREADS; i++) {
        void *result = NULL;
        CHECK(pthread_join(threads[i], &result) == 0 && result == queue);
    }
    OK(pg_queue_poll(queue, SHORT_MS, &event, &error));
    CHECK(event == NULL);
    CHECK(pg_queue_poll(queue, -2, &event, NULL) == PG_ERR_INVALID_ARGUMENT && event == NULL);
    pg_queue_free(queue);
    pg_session_free(session);
}

int main(void)
{
    alarm(PATIENCE_S);
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    begin(NULL, NULL);
    test_no_descriptor_is_leaked();
    test_readable_exactly_while_an_event_waits();
    test_each_operation_ends_in_its_event();
    test_a_newer_token_on_demand();
    test_bare_calls();
    test_numbers();
    test_a_cancel_at_any_moment_gives_one_end();
    test_close_ends_all();
    test_no_token_comes_after_close();
    test_no_response_comes_after_close();
    test_freeing_a_queue_ends_its_operations();
    test_threads_share_a_queue();
    begin(NULL, NULL);
    curl_global_cleanup();
    printf("ok queue: %d checks\n", checks);
    return EXIT_SUCCESS;
}
