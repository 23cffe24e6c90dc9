/*
 * Callers whose threads drive the library's reactor while they wait: what may happen to such a thread, and what it finds
 * unchanged. Needs the emulator's variables.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>

#include "threads.h"

static void hang_the_next_issue(void)
{
    tell_emulator("POST", "/faults", "{\"route\": \"issue\", \"point\": \"after\", \"action\": {\"kind\": \"delay\", \"ms\": 500}}");
}

static void *token_for_long(void *session)
{
    pg_error *error = NULL;
    pg_token *token = NULL;
    pg_status status = pg_session_token(session, 20000, &token, &error);
    pg_error_free(error);
    pg_token_free(token);
    pthread_testcancel();
    return status == PG_OK ? session : NULL;
}

static void wait_for_issues(long count)
{
    for (int i = 0; i < 10000 && count_of(ISSUES) < count; i++)
        usleep(1000);
    CHECK(count_of(ISSUES) == count);
}

/* A thread that is canceled during its call ends after it, and not in the middle of it. */
static void test_a_canceled_thread(void)
{
    tell_emulator("POST", "/reset", NULL);
    pg_session *session = new_session();
    pthread_t thread;
    void *end = NULL;
    hang_the_next_issue();
    CHECK(pthread_create(&thread, NULL, token_for_long, session) == 0);
    wait_for_issues(1);
    CHECK(pthread_cancel(thread) == 0);
    CHECK(pthread_join(thread, &end) == 0 && end == PTHREAD_CANCELED);
    pg_token *token = token_of(session);
    CHECK(pg_token_generation(token) == 1);
    pg_token_free(token);
    pg_session_free(session);
}

static bool has_freed;

static void *free_while_canceled(void *session)
{
    CHECK(pthread_cancel(pthread_self()) == 0);
    pg_session_free(session);
    has_freed = true;
    pthread_testcancel();
    return NULL;
}

/* The end of a session closes sockets, which is where a canceled thread ends: after the call. */
static void test_a_canceled_thread_frees(void)
{
    tell_emulator("POST", "/reset", NULL);
    pg_session *session = new_session();
    pthread_t thread;
    void *end = NULL;
    pg_token_free(token_of(session));
    CHECK(pthread_create(&thread, NULL, free_while_canceled, session) == 0);
    CHECK(pthread_join(thread, &end) == 0 && end == PTHREAD_CANCELED && has_freed);
}

/* A caller that leaves at its deadline drives no more, and the call that it has begun goes on. */
static void test_a_call_outlives_the_caller_who_began_it(void)
{
    tell_emulator("POST", "/reset", NULL);
    pg_session *session = new_session();
    pg_token *token = NULL;
    hang_the_next_issue();
    CHECK(pg_session_token(session, 50, &token, NULL) == PG_ERR_TIMEOUT);
    for (int i = 0; i < 10000 && health_of(session, "\"generation\":") == 0; i++)
        usleep(1000);
    CHECK(health_of(session, "\"generation\":") == 1 && count_of(ISSUES) == 1);
    pg_session_free(session);
}

/* One caller drives; the second goes on with that when the first leaves. */
static void test_the_next_caller_goes_on(void)
{
    tell_emulator("POST", "/reset", NULL);
    pg_session *session = new_session();
    pg_token *token = NULL;
    pthread_t thread;
    void *end = NULL;
    hang_the_next_issue();
    CHECK(pthread_create(&thread, NULL, token_for_long, session) == 0);
    wait_for_issues(1);
    CHECK(pg_session_token(session, 20, &token, NULL) == PG_ERR_TIMEOUT);
    CHECK(pthread_join(thread, &end) == 0 && end == session);

    pg_session_free(session);
    tell_emulator("POST", "/reset", NULL);
    session = new_session();
    hang_the_next_issue();
    CHECK(pg_session_token(session, 20, &token, NULL) == PG_ERR_TIMEOUT);
    token = token_of(session);
    CHECK(pg_token_generation(token) == 1 && count_of(ISSUES) == 1);
    pg_token_free(token);
    pg_session_free(session);
}

/* Too little for a TLS handshake: our thread does it. */
static void test_a_small_stack(void)
{
    tell_emulator("POST", "/reset", NULL);
    pg_session *session = new_session();
    pthread_attr_t attributes;
    pthread_t thread;
    void *end = NULL;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN + (32 << 10)) == 0);
    CHECK(pthread_create(&thread, &attributes, token_for_long, session) == 0);
    CHECK(pthread_join(thread, &end) == 0 && end == session);
    pthread_attr_destroy(&attributes);
    pg_session_free(session);
}

static void test_the_thread_is_unchanged(void)
{
    sigset_t mask, after;
    int state = -1, type = -1;
    pg_session *session = new_session();
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    CHECK(pthread_sigmask(SIG_SETMASK, &mask, NULL) == 0);
    CHECK(pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type) == 0);
    pg_token_free(token_of(session));
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &after) == 0);
    for (int number = 1; number < 32; number++)
        CHECK(sigismember(&after, number) == (number == SIGUSR2));
    CHECK(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state) == 0 && state == PTHREAD_CANCEL_ENABLE);
    CHECK(pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type) == 0 && type == PTHREAD_CANCEL_DEFERRED);
    pg_session_free(session);
}

static pthread_key_t at_the_end;
static pg_status status_at_the_end;

static void request_at_the_end(void *session)
{
    pg_error *error = NULL;
    pg_response *response = NULL;
    status_at_the_end = pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, PG_TIMEOUT_DEFAULT, &response, &error);
    pg_error_free(error);
    pg_response_free(response);
}

static void *request_twice(void *session)
{
    request_at_the_end(session);
    CHECK(status_at_the_end == PG_OK && pthread_setspecific(at_the_end, session) == 0);
    return NULL;
}

/* The destructor of a key runs when the thread-local variables of the library are gone. Other calls are not disturbed. */
static void test_a_thread_that_ends(void)
{
    tell_emulator("POST", "/reset", NULL);
    pg_session *session = new_session();
    pg_client *client = new_client();
    pg_queue *queue = new_queue();
    pg_error *error = NULL;
    pthread_t thread;
    CHECK(pthread_key_create(&at_the_end, request_at_the_end) == 0);
    pg_token_free(token_of(session));
    hang_the_next_issue();
    OK(pg_issue_token_start(client, queue, 1, NULL, NULL, PG_TIMEOUT_DEFAULT, &error));
    wait_for_issues(2);
    CHECK(pthread_create(&thread, NULL, request_twice, session) == 0);
    CHECK(pthread_join(thread, NULL) == 0 && status_at_the_end == PG_OK);
    pass(queue, 1, PG_EVENT_TOKEN, PG_OK);
    CHECK(pthread_key_delete(at_the_end) == 0);
    pg_queue_free(queue);
    pg_client_free(client);
    pg_session_free(session);
}

/* How often the library's thread has slept. */
static long sleeps_of_ours(void)
{
    char status[4096];
    struct census census = count_threads();
    CHECK(census.ours == 1);
    read_task(census.id, "status", status, sizeof status);
    return number_after("\nvoluntary_ctxt_switches:", status);
}

/* Each wake of it would be a change of threads, twice. */
static void test_our_thread_sleeps_through_warm_calls(void)
{
    enum { CALLS = 200 };
    pg_session *session = new_session();
    pg_error *error = NULL;
    long before = 0;
    for (int i = -1; i < CALLS; i++) {
        pg_response *response = NULL;
        OK(pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, PG_TIMEOUT_DEFAULT, &response, &error));
        pg_response_free(response);
        if (i < 0)
            before = sleeps_of_ours();
    }
    /* It may look at the clock and at connections meanwhile. */
    CHECK(sleeps_of_ours() - before < CALLS / 10);
    pg_session_free(session);
}

int main(void)
{
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    test_a_canceled_thread();
    test_a_canceled_thread_frees();
    test_a_call_outlives_the_caller_who_began_it();
    test_the_next_caller_goes_on();
    test_a_small_stack();
    test_a_thread_that_ends();
    test_the_thread_is_unchanged();
    test_our_thread_sleeps_through_warm_calls();
    curl_global_cleanup();
    printf("ok driving: %d checks\n", checks);
    return EXIT_SUCCESS;
}
