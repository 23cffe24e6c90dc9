/*
* Forks of a process that uses the library: a child keeps using the inherited client and token, and so does the
* parent. The alarm detects a hang; every pair is refreshed only once, which shows that nothing is shared.
 * Needs the emulator's PAYMENTSGATE_ variables.
 */

#define _GNU_SOURCE

#include <pthread.h>
#include <stdatomic.h>

#include "child.h"

enum { FORKS = 10 };

static pg_token *issue(const pg_client *client)
{
    pg_error *error = NULL;
    pg_token *token = NULL;
    OK(pg_issue_token(client, NULL, NULL, PG_TIMEOUT_DEFAULT, &token, &error));
    return token;
}

/* Both sides refresh a pair from before the fork, and issue another one. */
static void go_on(const pg_client *client, const pg_token *inherited)
{
    pg_error *error = NULL;
    pg_token *refreshed = NULL;
    CHECK(pg_token_remaining_ms(inherited) > 0);
    OK(pg_refresh_token(client, pg_token_access_token(inherited), pg_token_refresh_token(inherited),
                        PG_TIMEOUT_DEFAULT, &refreshed, &error));
    pg_token_free(refreshed);
    pg_token_free(issue(client));
}

static void test_idle_client(ending leave)
{
    pg_client *client = new_client();
    pg_token *for_child = issue(client), *for_parent = issue(client);

    pid_t child = fork_with_alarm();
    if (child == 0) {
        go_on(client, for_child);
        pg_token_free(for_child);
        pg_token_free(for_parent);
        pg_client_free(client);
        leave(EXIT_SUCCESS);
    }
    go_on(client, for_parent);
    join_child(child);
    /* The child has freed and closed its objects; those of the parent must still work. */
    pg_token_free(issue(client));
    pg_token_free(for_child);
    pg_token_free(for_parent);
    pg_client_free(client);
}

struct caller {
    const pg_client *client;
    atomic_bool stop;
    atomic_int calls;
};

static void *call_in_a_loop(void *argument)
{
    struct caller *caller = argument;
    while (!atomic_load(&caller->stop)) {
        pg_token *token = NULL;
        if (pg_issue_token(caller->client, NULL, NULL, PG_TIMEOUT_DEFAULT, &token, NULL) != PG_OK)
            return NULL;
        pg_token_free(token);
        atomic_fetch_add(&caller->calls, 1);
    }
    return caller;
}

static void test_while_another_thread_calls(ending leave)
{
    pg_client *client = new_client();
    struct caller caller = { .client = client };
    pthread_t thread;
    void *result = NULL;

    CHECK(pthread_create(&thread, NULL, call_in_a_loop, &caller) == 0);
    for (int i = 0; i < FORKS; i++) {
        pg_token *for_child = issue(client), *for_parent = issue(client);
        /* At a different point of a call each time. */
        usleep((useconds_t)(i * 137));
        pid_t child = fork_with_alarm();
        if (child == 0) {
            go_on(client, for_child);
            leave(EXIT_SUCCESS);
        }
        go_on(client, for_parent);
        join_child(child);
        pg_token_free(for_child);
        pg_token_free(for_parent);
    }
    atomic_store(&caller.stop, true);
    CHECK(pthread_join(thread, &result) == 0);
    CHECK(result == &caller && atomic_load(&caller.calls) > 0);
    pg_client_free(client);
}

/* In a child that has made no call yet, so that the grandchild can find the library half initialized. */
static void test_during_the_first_call(ending leave)
{
    for (int i = 0; i < FORKS; i++) {
        pid_t cold = fork_with_alarm();
        if (cold == 0) {
            pg_client *client = new_client();
            struct caller caller = { .client = client };
            pthread_t thread;
            CHECK(pthread_create(&thread, NULL, call_in_a_loop, &caller) == 0);
            usleep((useconds_t)(i * 173));
            pid_t child = fork_with_alarm();
            if (child == 0) {
                pg_token_free(issue(client));
                leave(EXIT_SUCCESS);
            }
            pg_token_free(issue(client));
            join_child(child);
            _exit(EXIT_SUCCESS);
        }
        join_child(cold);
    }
}

static void test_child_of_a_child(ending leave)
{
    pg_client *client = new_client();
    pg_token *for_parent = issue(client), *for_child = issue(client), *for_grandchild = issue(client);

    pid_t child = fork_with_alarm();
    if (child == 0) {
        /* Uses the library, so that the grandchild inherits a second runtime. */
        pg_token_free(issue(client));
        pid_t grandchild = fork_with_alarm();
        if (grandchild == 0) {
            go_on(client, for_grandchild);
            leave(EXIT_SUCCESS);
        }
        go_on(client, for_child);
        join_child(grandchild);
        leave(EXIT_SUCCESS);
    }
    go_on(client, for_parent);
    join_child(child);
    pg_token_free(for_parent);
    pg_token_free(for_child);
    pg_token_free(for_grandchild);
    pg_client_free(client);
}

int main(void)
{
    alarm(PATIENCE_S);
    for (int i = 0; i < ENDING_COUNT; i++)
        test_during_the_first_call(ENDINGS[i]);
    for (int i = 0; i < ENDING_COUNT; i++) {
        alarm(PATIENCE_S);
        test_idle_client(ENDINGS[i]);
        test_while_another_thread_calls(ENDINGS[i]);
        test_child_of_a_child(ENDINGS[i]);
    }
    printf("ok fork: %d checks\n", checks);
    return EXIT_SUCCESS;
}
