/*
* Forks of a process with a session: a child serves the inherited token, then issues its own pair, so that parent
* and child never present the same refresh token. The alarm detects a hang. Needs the emulator's variables.
 */

#define _GNU_SOURCE

#include <pthread.h>
#include <stdatomic.h>

#include "child.h"

enum { FORKS = 10, ASKING = 4, CALLING = 6 };

/* For callers its pairs live for 2 s, and can be replaced after one. */
#define SHORT_LIVES "{\"access_lifetime_s\": 7}"
#define LONG_ENOUGH_MS 6000
/* The same for pairs that live for 10 s. */
#define LONG_MS 9000
#define SLOWLY(route, times) \
    "{\"route\": \"" route "\", \"times\": " #times ", \"action\": {\"kind\": \"delay\", \"ms\": 1000}}"

static void start_over(const char *switches, const char *fault)
{
    alarm(PATIENCE_S);
    begin(switches, fault);
}

/* No refresh token was presented twice, and the service refused none. */
static void check_presentations(void)
{
    char wanted[96], *counters = ask_emulator("GET", "/counters", NULL);
    long refreshes = number_after(REFRESHES, counters);
    CHECK(number_after(MOST_PRESENTATIONS, counters) == (refreshes > 0));
    snprintf(wanted, sizeof wanted, REFRESHES "%ld,\"outcomes\":{\"200\":%ld}", refreshes, refreshes);
    CHECK(refreshes == 0 || strstr(counters, wanted) != NULL);
    free(counters);
}

/* If the parent's token was also refused young, the next one is replaced after a pause. */
static void replace_young(const pg_session *session, const pg_token *token)
{
    pg_error *error = NULL;
    while (pg_session_reject(session, token, 401, &error) == PG_ERR_REJECTED_FRESH) {
        pg_error_free(error);
        error = NULL;
        usleep(10000);
    }
    CHECK(error == NULL);
}

/* Both sides serve the token from before the fork, then replace it by an Issue, as it is too young to refresh. */
static void go_on(const pg_session *session, const pg_token *inherited)
{
    long issues = health_of(session, "\"issues\":");
    pg_token *before = token_of(session);
    CHECK(strcmp(pg_token_fingerprint(before), pg_token_fingerprint(inherited)) == 0);
    CHECK(health_of(session, "\"issues\":") == issues);

    replace_young(session, before);
    pg_token *after = token_of(session);
    CHECK(strcmp(pg_token_fingerprint(after), pg_token_fingerprint(inherited)) != 0);
    CHECK(pg_token_generation(after) == pg_token_generation(inherited) + 1);
    CHECK(health_of(session, "\"issues\":") == issues + 1);
    pg_token_free(after);
    pg_token_free(before);
}

static void test_idle_session(ending leave)
{
    start_over(NULL, NULL);
    pg_session *session = new_session();
    pg_token *token = token_of(session);

    pid_t child = fork_with_alarm();
    if (child == 0) {
        CHECK(health_of(session, "\"issues\":") == 0);
        go_on(session, token);
        pg_token_free(token);
        pg_session_free(session);
        leave(EXIT_SUCCESS);
    }
    join_child(child);
    /* The child has freed and closed its objects; those of the parent must still work. */
    go_on(session, token);
    CHECK(count_of(ISSUES) == 3);
    check_presentations();
    pg_token_free(token);
    pg_session_free(session);
}

struct asking {
    const pg_session *session;
    atomic_bool stop;
    atomic_int answers;
};

/* From memory and, since no token lasts for two hours, past it. */
static void *ask_in_a_loop(void *argument)
{
    struct asking *asking = argument;
    while (!atomic_load(&asking->stop)) {
        pg_token *from_memory = NULL, *considered = NULL;
        bool good = pg_session_token(asking->session, PG_TIMEOUT_DEFAULT, &from_memory, NULL) == PG_OK &&
                    pg_session_token_lasting(asking->session, 7200000, PG_TIMEOUT_DEFAULT, &considered, NULL) == PG_OK;
        pg_token_free(considered);
        pg_token_free(from_memory);
        if (!good)
            return NULL;
        atomic_fetch_add(&asking->answers, 1);
    }
    return asking;
}

static void test_while_other_threads_ask(ending leave)
{
    start_over(NULL, NULL);
    pg_session *session = new_session();
    pg_token *token = token_of(session);
    struct asking asking = { .session = session };
    pthread_t threads[ASKING];

    for (int i = 0; i < ASKING; i++)
        CHECK(pthread_create(&threads[i], NULL, ask_in_a_loop, &asking) == 0);
    for (int i = 0; i < FORKS; i++) {
        /* At a different point of a call each time. */
        usleep((useconds_t)(i * 137));
        pid_t child = fork_with_alarm();
        if (child == 0) {
            go_on(session, token);
            leave(EXIT_SUCCESS);
        }
        join_child(child);
    }
    go_on(session, token);
    atomic_store(&asking.stop, true);
    for (int i = 0; i < ASKING; i++) {
        void *result = NULL;
        CHECK(pthread_join(threads[i], &result) == 0);
        CHECK(result == &asking);
    }
    CHECK(atomic_load(&asking.answers) > 0);
    CHECK(count_of(ISSUES) == 2 + FORKS);
    check_presentations();
    pg_token_free(token);
    pg_session_free(session);
}

/* The flight belongs to the parent: the child does not wait for it, and starts its own. */
static void test_during_the_first_flight(ending leave)
{
    start_over(NULL, SLOWLY("issue", 1));
    pg_session *session = new_session();
    pg_token *none = NULL;
    CHECK(pg_session_token(session, 0, &none, NULL) == PG_ERR_TIMEOUT);
    while (count_of(ISSUES) == 0)
        usleep(1000);

    pid_t child = fork_with_alarm();
    if (child == 0) {
        pg_token *own = token_of(session);
        go_on(session, own);
        pg_token_free(own);
        leave(EXIT_SUCCESS);
    }
    join_child(child);
    pg_token *token = token_of(session);
    go_on(session, token);
    CHECK(count_of(ISSUES) == 4);
    check_presentations();
    pg_token_free(token);
    pg_session_free(session);
}

/* Asks until the session has a pair. */
static void reach(const pg_session *session, uint64_t wanted)
{
    uint64_t generation;
    do {
        pg_error *error = NULL;
        pg_token *token = NULL;
        usleep(10000);
        OK(pg_session_token_lasting(session, LONG_ENOUGH_MS, PG_TIMEOUT_DEFAULT, &token, &error));
        generation = pg_token_generation(token);
        pg_token_free(token);
    } while (generation < wanted);
}

/* Pairs that expire: the parent keeps refreshing its pair, and so does the child after its own Issue. The fork comes
* while the parent's first refresh is running. */
static void test_refreshes_on_both_sides(ending leave)
{
    start_over(SHORT_LIVES, "{\"route\": \"refresh\", \"action\": {\"kind\": \"delay\", \"ms\": 300}}");
    pg_session *session = new_session();
    pg_token *token = token_of(session), *meanwhile = NULL;
    pg_error *error = NULL;
    CHECK(pg_token_generation(token) == 1);
    while (count_of(REFRESHES) == 0) {
        OK(pg_session_token_lasting(session, LONG_ENOUGH_MS, 0, &meanwhile, &error));
        pg_token_free(meanwhile);
        usleep(10000);
    }

    pid_t child = fork_with_alarm();
    if (child == 0) {
        reach(session, 3);
        CHECK(health_of(session, "\"issues\":") == 1 && health_of(session, "\"refreshes\":") >= 1);
        leave(EXIT_SUCCESS);
    }
    reach(session, 3);
    CHECK(health_of(session, "\"issues\":") == 1 && health_of(session, "\"refreshes\":") >= 2);
    join_child(child);
    CHECK(count_of(ISSUES) == 2);
    check_presentations();
    pg_token_free(token);
    pg_session_free(session);
}

static void test_child_of_a_child(ending leave)
{
    start_over(NULL, NULL);
    pg_session *session = new_session();
    pg_token *token = token_of(session);

    pid_t child = fork_with_alarm();
    if (child == 0) {
        /* Gets its own pair, so that the grandchild inherits that. */
        go_on(session, token);
        pg_token *own = token_of(session);
        pid_t grandchild = fork_with_alarm();
        if (grandchild == 0) {
            go_on(session, own);
            leave(EXIT_SUCCESS);
        }
        join_child(grandchild);
        pg_token *still = token_of(session);
        CHECK(still == own);
        leave(EXIT_SUCCESS);
    }
    join_child(child);
    go_on(session, token);
    CHECK(count_of(ISSUES) == 4);
    check_presentations();
    pg_token_free(token);
    pg_session_free(session);
}

/* The child's word is 0 until a thread there can withdraw it in time; then it stands for the inherited token. */
static void test_generation_word(ending leave)
{
    start_over(NULL, NULL);
    pg_session *session = new_session();
    pg_token *token = token_of(session), *meanwhile = NULL;
    const volatile uint64_t *word = pg_session_generation_word(session);
    uint64_t number = *word;
    CHECK(number != 0);

    pid_t child = fork_with_alarm();
    if (child == 0) {
        CHECK(*word == 0);
        while (*word == 0) {
            CHECK(pg_session_token(session, 0, &meanwhile, NULL) == PG_OK && meanwhile == token);
            pg_token_free(meanwhile);
            usleep(10000);
        }
        CHECK(*word == number);
        pid_t grandchild = fork_with_alarm();
        if (grandchild == 0) {
            CHECK(*word == 0 && *pg_session_generation_word(session) == number);
            leave(EXIT_SUCCESS);
        }
        join_child(grandchild);
        go_on(session, token);
        CHECK(*word != 0 && *word != number);
        leave(EXIT_SUCCESS);
    }
    join_child(child);
    CHECK(*word == number);
    pg_token_free(token);
    pg_session_free(session);
}

/* A caller of the parent: half of them wait for the flight, the others for the answers to their requests. */
static void *call_once(void *session)
{
    pg_response *response = NULL;
    bool good = pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, PG_TIMEOUT_DEFAULT, &response, NULL) ==
                    PG_OK && pg_response_status(response) == 200;
    pg_response_free(response);
    return good ? session : NULL;
}

static void *ask_once(void *session)
{
    pg_token *token = NULL;
    bool good = pg_session_token_lasting(session, LONG_MS, PG_TIMEOUT_DEFAULT, &token, NULL) == PG_OK;
    pg_token_free(token);
    return good ? session : NULL;
}

/* Threads, flight and requests belong to the parent. The child gets the inherited token, and makes requests
* with it over its own connections; the answers for the parent come to the parent. */
static void test_during_a_flight_and_requests(ending leave)
{
    start_over("{\"access_lifetime_s\": 10}", SLOWLY("refresh", 1));
    tell_emulator("POST", "/faults", SLOWLY("wallet", 3));
    pg_session *session = new_session();
    pg_token *token = token_of(session), *meanwhile = NULL;
    pg_error *error = NULL;
    pthread_t threads[CALLING];

    while (count_of(REFRESHES) == 0) {
        OK(pg_session_token_lasting(session, LONG_MS, 0, &meanwhile, &error));
        pg_token_free(meanwhile);
        usleep(10000);
    }
    for (int i = 0; i < CALLING; i++)
        CHECK(pthread_create(&threads[i], NULL, i % 2 == 0 ? call_once : ask_once, session) == 0);
    while (count_of(WALLETS) < CALLING / 2)
        usleep(1000);

    pid_t child = fork_with_alarm();
    if (child == 0) {
        go_on(session, token);
        CHECK(call_once(session) == session);
        pg_session_free(session);
        leave(EXIT_SUCCESS);
    }
    for (int i = 0; i < CALLING; i++) {
        void *result = NULL;
        CHECK(pthread_join(threads[i], &result) == 0 && result == session);
    }
    join_child(child);
    CHECK(count_of(ISSUES) == 2 && count_of(REFRESHES) == 1 && count_of(WALLETS) == CALLING / 2 + 1);
    check_presentations();
    pg_token_free(token);
    pg_session_free(session);
}

/* The child has no credentials to obtain its own pair. */
static void test_child_of_a_session_from_a_pair(ending leave)
{
    start_over(SHORT_LIVES, NULL);
    pg_error *error = NULL;
    pg_session *session = NULL;
    pg_config *config = pg_config_new();
    pg_client *issuing = new_client(), *client = NULL;
    pg_token *pair = NULL, *none = NULL;
    OK(pg_issue_token(issuing, NULL, NULL, PG_TIMEOUT_DEFAULT, &pair, &error));
    OK(pg_config_set(config, "base_url", getenv("PAYMENTSGATE_BASE_URL"), &error));
    OK(pg_config_set(config, "tls.ca_file", getenv("PAYMENTSGATE_TLS_CA_FILE"), &error));
    OK(pg_config_set(config, "access_token", pg_token_access_token(pair), &error));
    OK(pg_config_set(config, "refresh_token", pg_token_refresh_token(pair), &error));
    OK(pg_config_set(config, "access_token_expires_in_s", "7", &error));
    OK(pg_client_new(config, &client, &error));
    OK(pg_session_open(client, config, &session, &error));

    /* Before and after the first call of the parent. */
    for (uint64_t generation = 1; generation <= 2; generation++) {
        reach(session, generation);
        pg_token *token = token_of(session);
        pid_t child = fork_with_alarm();
        if (child == 0) {
            pg_token *inherited = token_of(session);
            CHECK(strcmp(pg_token_fingerprint(inherited), pg_token_fingerprint(token)) == 0);
            OK(pg_session_reject(session, inherited, 401, &error));
            CHECK(pg_session_token(session, PG_TIMEOUT_DEFAULT, &none, &error) == PG_ERR_NO_CREDENTIALS);
            CHECK(pg_error_needs_credentials(error));
            pg_error_free(error);
            leave(EXIT_SUCCESS);
        }
        join_child(child);
        pg_token_free(token);
    }
    reach(session, 3);
    CHECK(count_of(ISSUES) == 1 && count_of(REFRESHES) == 2);
    check_presentations();
    pg_token_free(pair);
    pg_session_free(session);
    pg_client_free(client);
    pg_client_free(issuing);
    pg_config_free(config);
}

int main(void)
{
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    for (int i = 0; i < ENDING_COUNT; i++) {
        test_idle_session(ENDINGS[i]);
        test_while_other_threads_ask(ENDINGS[i]);
        test_during_the_first_flight(ENDINGS[i]);
        test_refreshes_on_both_sides(ENDINGS[i]);
        test_child_of_a_child(ENDINGS[i]);
        test_generation_word(ENDINGS[i]);
        test_during_a_flight_and_requests(ENDINGS[i]);
        test_child_of_a_session_from_a_pair(ENDINGS[i]);
    }
    start_over(NULL, NULL);
    curl_global_cleanup();
    printf("ok session: %d checks\n", checks);
    return EXIT_SUCCESS;
}
