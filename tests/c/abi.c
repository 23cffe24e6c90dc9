/*
* The parts of the interface that only a C program can use: outputs, owners, threads, signals. Needs the emulator's
* PAYMENTSGATE_ variables, with an IP address in the URL. Threads report their findings to main, which checks them.
 */

#define _GNU_SOURCE

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "threads.h"

enum { THREADS = 8, ROUNDS = 3, REFERENCES = 5000, LAST_SIGNAL = 64 };

static pg_token *new_token(const pg_client *client)
{
    pg_error *error = NULL;
    pg_token *token = NULL;
    OK(pg_issue_token(client, NULL, NULL, PG_TIMEOUT_DEFAULT, &token, &error));
    return token;
}

/* Threads that lost a race, or that have read a file, end by themselves. */
static struct census count_lasting(int wanted)
{
    for (int waits = 0; waits < 500 && count_threads().all > wanted; waits++)
        usleep(10000);
    return count_threads();
}

/* Runs the same function in several threads at once; returns how many succeeded. */
static int in_threads(void *(*work)(void *), void *argument)
{
    pthread_t threads[THREADS];
    int good = 0;
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, argument) == 0);
    for (int i = 0; i < THREADS; i++) {
        void *result = NULL;
        CHECK(pthread_join(threads[i], &result) == 0);
        good += result == argument;
    }
    return good;
}

static void *issue_once(void *client)
{
    pg_token *token = NULL;
    pg_status status = pg_issue_token(client, NULL, NULL, PG_TIMEOUT_DEFAULT, &token, NULL);
    pg_token_free(token);
    return status == PG_OK ? client : NULL;
}

/* In a child, so that the parent's first call is still to come. */
static void test_first_calls_race(void)
{
    int status = 0;
    pid_t child = fork();
    CHECK(child != -1);
    if (child == 0) {
        pg_client *client = new_client();
        CHECK(in_threads(issue_once, client) == THREADS);
        CHECK(count_lasting(2).all == 2 && count_threads().ours == 1);
        pg_client_free(client);
        exit(EXIT_SUCCESS);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
}

static void test_threads_of_the_library(void)
{
    int before = count_threads().all;
    pg_client *client = new_client();
    pg_session *first = new_session(), *second = new_session();
    CHECK(count_threads().all == before);
    pg_token_free(new_token(client));
    struct census after = count_lasting(before + 1);
    printf("threads: %d before the first call, %d after it\n", before, after.all);
    CHECK(after.all == before + 1);
    CHECK(after.ours == 1);
    pg_token_free(token_of(first));
    pg_token_free(token_of(second));
    CHECK(count_lasting(after.all).all == after.all && count_threads().ours == 1);
    pg_session_free(first);
    pg_session_free(second);
    pg_client_free(client);
}

/* SIGPIPE keeps its default, which ends the process; the library must neither cause it nor change any signal. */
static void test_signals_are_left_alone(void)
{
    struct sigaction actions[LAST_SIGNAL + 1], action;
    sigset_t mask, now;
    char status[4096], *line;
    unsigned long long blocked = 0;

    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    CHECK(pthread_sigmask(SIG_SETMASK, &mask, NULL) == 0);
    memset(actions, 0, sizeof actions);
    for (int number = 1; number <= LAST_SIGNAL; number++)
        sigaction(number, NULL, &actions[number]);

    pg_client *client = new_client();
    pg_token_free(new_token(client));
    pg_client_free(client);

    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &now) == 0);
    for (int number = 1; number <= LAST_SIGNAL; number++) {
        memset(&action, 0, sizeof action);
        sigaction(number, NULL, &action);
        CHECK(action.sa_handler == actions[number].sa_handler);
        CHECK(sigismember(&now, number) == sigismember(&mask, number));
    }
    read_task(count_threads().id, "status", status, sizeof status);
    line = strstr(status, "SigBlk:");
    CHECK(line != NULL && sscanf(line, "SigBlk: %llx", &blocked) == 1);
    static const int HOSTS[] = { SIGPIPE, SIGTERM, SIGINT, SIGCHLD, SIGALRM, SIGPROF, SIGUSR1 };
    for (size_t i = 0; i < sizeof HOSTS / sizeof HOSTS[0]; i++)
        CHECK((blocked >> (HOSTS[i] - 1) & 1) == 1);
}

/* Outputs start as an invalid pointer, so that an output that is not written is noticed. */
static void test_outputs_are_null_after_a_failure(void)
{
    static int nothing;
    pg_client *const no_client = (pg_client *)&nothing, *made;
    pg_token *const no_token = (pg_token *)&nothing, *token;
    pg_session *const no_session = (pg_session *)&nothing, *opened;
    char *const no_text = (char *)&nothing, *text;
    pg_error *error = (pg_error *)&nothing;
    pg_config *empty = pg_config_new(), *config = new_config();
    pg_client *client = new_client(), *bare = NULL;
    pg_session *session = new_session();

    OK(pg_config_set(empty, "user_agent", "shop/1.0", &error));
    OK(pg_config_set_sized(empty, "user_agent", "shop/1.1 and more", 8, &error));

#define FAILS(wanted, output, garbage, call) \
    do { \
        output = garbage; \
        error = (pg_error *)&nothing; \
        CHECK((call) == wanted); \
        CHECK(output == NULL); \
        CHECK(pg_error_status(error) == wanted); \
        CHECK(pg_error_text(error)[0] != '\0' && pg_error_cause(error) == PG_OK); \
        pg_error_free(error); \
    } while (0)

    FAILS(PG_ERR_MISSING_SETTING, made, no_client, pg_client_new(empty, &made, &error));
    FAILS(PG_ERR_NULL_POINTER, made, no_client, pg_client_new(NULL, &made, &error));
    FAILS(PG_ERR_NULL_POINTER, token, no_token, pg_issue_token(NULL, NULL, NULL, 0, &token, &error));
    FAILS(PG_ERR_TIMEOUT, token, no_token, pg_issue_token(client, NULL, NULL, 0, &token, &error));
    FAILS(PG_ERR_INVALID_ARGUMENT, token, no_token, pg_issue_token(client, NULL, NULL, -2, &token, &error));
    FAILS(PG_ERR_INVALID_ARGUMENT, token, no_token, pg_issue_token(client, "a", NULL, 0, &token, &error));
    FAILS(PG_ERR_INVALID_UTF8, token, no_token, pg_issue_token(client, "\xff", "k", 0, &token, &error));
    FAILS(PG_ERR_INVALID_UTF8, token, no_token, pg_issue_token_sized(client, "\xff", 1, "k", 1, 0, &token, &error));
    FAILS(PG_ERR_TIMEOUT, token, no_token, pg_refresh_token(client, NULL, "r", 0, &token, &error));
    FAILS(PG_ERR_INVALID_ARGUMENT, token, no_token, pg_refresh_token(client, NULL, "", 0, &token, &error));
    FAILS(PG_ERR_NULL_POINTER, token, no_token, pg_refresh_token(client, NULL, NULL, 0, &token, &error));
    FAILS(PG_ERR_INVALID_UTF8, token, no_token, pg_refresh_token(client, NULL, "\xff", 0, &token, &error));
    FAILS(PG_ERR_NULL_POINTER, token, no_token, pg_refresh_token_sized(client, NULL, 0, NULL, 0, 0, &token, &error));

    OK(pg_config_set(empty, "base_url", getenv("PAYMENTSGATE_BASE_URL"), &error));
    OK(pg_client_new(empty, &bare, &error));
    FAILS(PG_ERR_NULL_POINTER, opened, no_session, pg_session_open(NULL, config, &opened, &error));
    FAILS(PG_ERR_NULL_POINTER, opened, no_session, pg_session_open(client, NULL, &opened, &error));
    FAILS(PG_ERR_NO_CREDENTIALS, opened, no_session, pg_session_open(bare, empty, &opened, &error));
    FAILS(PG_ERR_NULL_POINTER, token, no_token, pg_session_token(NULL, 0, &token, &error));
    FAILS(PG_ERR_INVALID_ARGUMENT, token, no_token, pg_session_token(session, -2, &token, &error));
    FAILS(PG_ERR_TIMEOUT, token, no_token, pg_session_token(session, 0, &token, &error));
    FAILS(PG_ERR_NULL_POINTER, token, no_token, pg_session_token_lasting(NULL, 0, 0, &token, &error));
    FAILS(PG_ERR_INVALID_ARGUMENT, token, no_token, pg_session_token_lasting(session, -1, 0, &token, &error));
    FAILS(PG_ERR_NULL_POINTER, token, no_token, pg_session_refresh(NULL, 0, &token, &error));
    FAILS(PG_ERR_INVALID_ARGUMENT, token, no_token, pg_session_refresh(session, -2, &token, &error));
    FAILS(PG_ERR_TIMEOUT, token, no_token, pg_session_refresh(session, 0, &token, &error));
    FAILS(PG_ERR_NULL_POINTER, text, no_text, pg_session_health(NULL, &text, &error));
    FAILS(PG_ERR_NULL_POINTER, text, no_text, pg_client_metrics(NULL, &text, &error));

    /* These have no output besides the error. */
#define REFUSED(wanted, call) FAILS(wanted, text, NULL, call)

    REFUSED(PG_ERR_NULL_POINTER, pg_session_open(client, config, NULL, &error));
    REFUSED(PG_ERR_NULL_POINTER, pg_session_token(session, 0, NULL, &error));
    REFUSED(PG_ERR_NULL_POINTER, pg_session_token_lasting(session, 0, 0, NULL, &error));
    REFUSED(PG_ERR_NULL_POINTER, pg_session_refresh(session, 0, NULL, &error));
    REFUSED(PG_ERR_NULL_POINTER, pg_session_health(session, NULL, &error));
    REFUSED(PG_ERR_NULL_POINTER, pg_client_metrics(client, NULL, &error));
    REFUSED(PG_ERR_NULL_POINTER, pg_session_set_credentials(NULL, "a", "k", &error));
    REFUSED(PG_ERR_NULL_POINTER, pg_session_set_credentials(session, NULL, "k", &error));
    REFUSED(PG_ERR_NULL_POINTER, pg_session_set_credentials(session, "a", NULL, &error));
    REFUSED(PG_ERR_INVALID_UTF8, pg_session_set_credentials(session, "\xff", "k", &error));
    REFUSED(PG_ERR_NULL_POINTER, pg_session_set_credentials_sized(session, NULL, 1, "k", 1, &error));
    REFUSED(PG_ERR_INVALID_ARGUMENT, pg_session_set_credentials_sized(session, "a", 0, "k", 1, &error));
    REFUSED(PG_ERR_INVALID_ARGUMENT, pg_session_set_credentials_sized(session, "a\0b", 3, "k", 1, &error));
    REFUSED(PG_ERR_INVALID_ARGUMENT, pg_session_set_credentials(session, "", "k", &error));
    REFUSED(PG_ERR_INVALID_PEM, pg_session_set_credentials(session, "a", "k", &error));
    REFUSED(PG_ERR_NULL_POINTER, pg_session_reject(session, NULL, 401, &error));
    REFUSED(PG_ERR_NULL_POINTER, pg_session_close(NULL, 0, &error));
    REFUSED(PG_ERR_INVALID_ARGUMENT, pg_session_close(session, -2, &error));

    token = new_token(client);
    REFUSED(PG_ERR_NULL_POINTER, pg_session_reject(NULL, token, 401, &error));
    REFUSED(PG_ERR_INVALID_ARGUMENT, pg_session_reject(session, token, 0, &error));
    pg_token_free(token);

    token = no_token;
    CHECK(pg_issue_token(client, NULL, NULL, 0, &token, NULL) == PG_ERR_TIMEOUT);
    CHECK(token == NULL);
    CHECK(pg_session_ref(NULL) == NULL);
    pg_session_free(NULL);
    pg_text_free(NULL);
    pg_session_free(session);
    pg_client_free(bare);
    pg_client_free(client);
    pg_config_free(config);
    pg_config_free(empty);
}

static void *share(void *token)
{
    char first[17];
    snprintf(first, sizeof first, "%s", pg_token_fingerprint(token));
    for (int i = 0; i < REFERENCES; i++) {
        pg_token *mine = pg_token_ref(token);
        bool same = mine == token && strcmp(pg_token_fingerprint(mine), first) == 0;
        pg_token_free(mine);
        if (!same)
            return NULL;
    }
    return token;
}

static void test_tokens_are_counted_and_outlive_the_client(void)
{
    pg_client *client = new_client();
    pg_token *token = new_token(client);
    pg_client_free(client);

    CHECK(in_threads(share, token) == THREADS);
    CHECK(pg_token_ref(token) == token);
    pg_token_free(token);
    CHECK(strlen(pg_token_access_token(token)) == pg_token_access_token_length(token));
    CHECK(strlen(pg_token_refresh_token(token)) == pg_token_refresh_token_length(token));
    CHECK(strlen(pg_token_fingerprint(token)) == 16);
    CHECK(pg_token_remaining_ms(token) > 0 && pg_token_remaining_ms(token) <= pg_token_lifetime_ms(token));
    pg_token_free(token);
}

static void *live(void *client)
{
    bool good = true;
    for (int i = 0; i < ROUNDS && good; i++) {
        pg_token *first = NULL, *second = NULL;
        good = pg_issue_token(client, NULL, NULL, PG_TIMEOUT_DEFAULT, &first, NULL) == PG_OK &&
               pg_refresh_token(client, pg_token_access_token(first), pg_token_refresh_token(first),
                                PG_TIMEOUT_DEFAULT, &second, NULL) == PG_OK &&
               strcmp(pg_token_fingerprint(first), pg_token_fingerprint(second)) != 0;
        pg_token_free(second);
        pg_token_free(first);
    }
    return good ? client : NULL;
}

static void test_many_threads_use_one_client(void)
{
    pg_client *client = new_client();
    CHECK(in_threads(live, client) == THREADS);
    CHECK(count_threads().ours == 1);
    pg_client_free(client);
}

int main(void)
{
    /* These two need a process that has not called the library yet. */
    test_first_calls_race();
    test_threads_of_the_library();
    test_signals_are_left_alone();
    test_tokens_are_counted_and_outlive_the_client();
    test_many_threads_use_one_client();
    test_outputs_are_null_after_a_failure();
    printf("ok abi: %d checks\n", checks);
    return EXIT_SUCCESS;
}
