/*
* The parts of a session that only a C program can use: owners, threads, buffers, its end. Needs the emulator's variables.
 */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>

#include "fixture.h"

enum { CROWD = 64, REFERENCES = 2000, SMALL = 16, ROOM = 4096 };

struct crowd {
    pg_session *session;
    pthread_barrier_t together;
};

/* Every thread is an owner of its own. */
static void *ask_with_the_others(void *argument)
{
    struct crowd *crowd = argument;
    pg_session *session = pg_session_ref(crowd->session);
    pg_token *token = NULL;

    pthread_barrier_wait(&crowd->together);
    bool good = session == crowd->session &&
                pg_session_token(session, PG_TIMEOUT_DEFAULT, &token, NULL) == PG_OK &&
                pg_token_generation(token) == 1 && pg_token_refresh_token(token) == NULL;
    for (int i = 0; i < REFERENCES && good; i++) {
        pg_session_free(pg_session_ref(session));
        pg_token_free(pg_token_ref(token));
    }
    pg_session_free(session);
    pg_token_free(token);
    return good ? argument : NULL;
}

static void test_many_threads_make_one_call(void)
{
    struct crowd crowd = { .session = new_session() };
    pthread_t threads[CROWD];

    tell_emulator("POST", "/reset", NULL);
    CHECK(pthread_barrier_init(&crowd.together, NULL, CROWD) == 0);
    for (int i = 0; i < CROWD; i++)
        CHECK(pthread_create(&threads[i], NULL, ask_with_the_others, &crowd) == 0);
    for (int i = 0; i < CROWD; i++) {
        void *result = NULL;
        CHECK(pthread_join(threads[i], &result) == 0);
        CHECK(result == &crowd);
    }
    CHECK(pthread_barrier_destroy(&crowd.together) == 0);
    CHECK(count_of(ISSUES) == 1 && count_of(REFRESHES) == 0);
    pg_session_free(crowd.session);
}

/* No server listens there. */
static int closed_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, length) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &length) == 0 && close(fd) == 0);
    return ntohs(address.sin_port);
}

static bool has_failed(const pg_session *session)
{
    pg_error *error = NULL;
    char *json = NULL;
    OK(pg_session_health(session, &json, &error));
    bool failed = strstr(json, "\"last_error\":null") == NULL;
    pg_text_free(json);
    return failed;
}

static void test_a_token_outlives_its_session(void)
{
    pg_session *session = new_session();
    pg_token *token = token_of(session);
    pg_session_free(session);
    CHECK(strlen(pg_token_access_token(token)) == pg_token_access_token_length(token));
    CHECK(pg_token_remaining_ms(token) > 0 && pg_token_generation(token) == 1);
    pg_token_free(token);
}

static void test_copies(void)
{
    pg_error *error = NULL;
    pg_session *session = new_session();
    pg_token *token = token_of(session);
    size_t wanted = pg_token_access_token_length(token), length = 0;
    char small[SMALL] = "untouched", room[ROOM];

    CHECK(wanted > SMALL && wanted < ROOM);
    CHECK(pg_session_copy_access_token(session, 0, small, sizeof small, &length, &error) == PG_ERR_INVALID_ARGUMENT);
    CHECK(length == wanted && strcmp(small, "untouched") == 0);
    pg_error_free(error);
    /* There is a NUL in addition. */
    CHECK(pg_session_copy_access_token(session, 0, room, wanted, &length, NULL) == PG_ERR_INVALID_ARGUMENT);
    CHECK(length == wanted);
    OK(pg_session_copy_access_token(session, 0, room, wanted + 1, &length, &error));
    CHECK(length == wanted && strcmp(room, pg_token_access_token(token)) == 0);
    OK(pg_session_copy_access_token(session, 0, room, sizeof room, NULL, &error));

    CHECK(pg_session_copy_access_token(session, 0, NULL, sizeof room, &length, NULL) == PG_ERR_NULL_POINTER);
    CHECK(length == 0);
    length = wanted;
    CHECK(pg_session_copy_access_token(NULL, 0, room, sizeof room, &length, NULL) == PG_ERR_NULL_POINTER);
    CHECK(length == 0);
    pg_token_free(token);
    pg_session_free(session);
}

static void test_reports(void)
{
    pg_error *error = NULL;
    pg_session *session = new_session();
    pg_token *first = token_of(session);

    tell_emulator("POST", "/reset", NULL);
    OK(pg_session_reject(session, first, 403, &error));
    pg_token *same = token_of(session);
    CHECK(same == first && count_of(ISSUES) == 0);
    pg_token_free(same);

    OK(pg_session_reject(session, first, 401, &error));
    pg_token *second = token_of(session);
    CHECK(pg_token_generation(second) == 2);
    CHECK(strcmp(pg_token_fingerprint(second), pg_token_fingerprint(first)) != 0);
    OK(pg_session_reject(session, first, 401, &error));
    /* A token that is refused young is replaced by an Issue. */
    CHECK(count_of(ISSUES) == 1 && count_of(REFRESHES) == 0);
    pg_token_free(second);
    pg_token_free(first);
    pg_session_free(session);
}

/* Each is replaced after a longer pause than the one before it, and is served until then. */
static void test_tokens_that_are_refused_when_new(void)
{
    pg_error *error = NULL;
    pg_session *session = new_session();
    pg_token *token = token_of(session);
    pg_status status;

    CHECK(health_of(session, "\"refused_young\":") == 0);
    OK(pg_session_reject(session, token, 401, &error));
    do {
        /* On a slow machine the pause may be over before the report. */
        pg_token_free(token);
        token = token_of(session);
        status = pg_session_reject(session, token, 401, &error);
    } while (status == PG_OK);
    CHECK(status == PG_ERR_REJECTED_FRESH);
    CHECK(pg_error_retry_after_ms(error) > 0 && pg_error_retry_after_ms(error) <= 75000);
    CHECK(strstr(pg_error_text(error), "setting store") != NULL && pg_error_cause(error) == PG_OK);
    CHECK(health_of(session, "\"refused_young\":") >= 1);
    pg_token *served = token_of(session);
    CHECK(served == token);
    pg_token_free(served);

    usleep((useconds_t)(pg_error_retry_after_ms(error) + 1) * 1000);
    pg_error_free(error);
    error = NULL;
    OK(pg_session_reject(session, token, 401, &error));
    pg_token *next = token_of(session);
    CHECK(next != token && pg_token_generation(next) == pg_token_generation(token) + 1);
    pg_token_free(next);
    pg_token_free(token);
    pg_session_free(session);
}

static void test_a_newer_token_on_demand(void)
{
    static const char HANG[] = "{\"route\": \"refresh\", \"action\": {\"kind\": \"hang\"}}";
    pg_error *error = NULL;
    pg_session *session = new_session();
    pg_token *second = NULL, *none = NULL;

    tell_emulator("POST", "/reset", NULL);
    pg_token *first = token_of(session);
    OK(pg_session_refresh(session, PG_TIMEOUT_DEFAULT, &second, &error));
    CHECK(pg_token_generation(second) == 2 && pg_token_refresh_token(second) == NULL);
    CHECK(strcmp(pg_token_fingerprint(second), pg_token_fingerprint(first)) != 0);
    CHECK(count_of(ISSUES) == 1 && count_of(REFRESHES) == 1);

    /* A token that is not newer does not answer the call, but is still served. */
    tell_emulator("POST", "/faults", HANG);
    CHECK(pg_session_refresh(session, 10, &none, &error) == PG_ERR_TIMEOUT && none == NULL);
    CHECK(pg_error_cause(error) == PG_OK && pg_error_is_retryable(error));
    pg_error_free(error);
    pg_token *served = token_of(session);
    CHECK(served == second);
    pg_token_free(served);
    CHECK(pg_session_close(session, 0, NULL) == PG_ERR_TIMEOUT);
    CHECK(pg_session_refresh(session, PG_TIMEOUT_DEFAULT, &none, NULL) == PG_ERR_CLOSED && none == NULL);
    pg_token_free(second);
    pg_token_free(first);
    pg_session_free(session);
}

static void test_an_unreachable_service_is_named(void)
{
    char url[64];
    pg_error *error = NULL;
    pg_client *client = NULL;
    pg_session *session = NULL;
    pg_token *none = NULL;
    pg_config *config = new_config();
    pg_queue *queue = new_queue();

    snprintf(url, sizeof url, "https://127.0.0.1:%d", closed_port());
    OK(pg_config_set(config, "base_url", url, &error));
    OK(pg_client_new(config, &client, &error));
    OK(pg_session_open(client, config, &session, &error));
    OK(pg_session_refresh_start(session, queue, 1, 0, &error));
    while (!has_failed(session))
        usleep(1000);
    /* If the deadline passes between two tries, the error is a timeout; after the last try it is the failure. */
    for (int i = 0; i < 2; i++) {
        pg_status status = i == 0 ? pg_session_token(session, 20, &none, &error) : pg_session_refresh(session, 20, &none, &error);
        CHECK(none == NULL && (status == PG_ERR_TIMEOUT || status == PG_ERR_CONNECT));
        CHECK(pg_error_cause(error) == (status == PG_ERR_TIMEOUT ? PG_ERR_CONNECT : PG_OK));
        CHECK(strstr(pg_error_text(error), url + strlen("https://")) != NULL);
        pg_error_free(error);
        error = NULL;
    }
    pass(queue, 1, PG_EVENT_TOKEN, PG_ERR_TIMEOUT);
    pg_queue_free(queue);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
}

static void test_a_session_belongs_to_one_account(void)
{
    static const char KEY[] = "PG_SANDBOX_KEY";
    pg_error *error = NULL;
    pg_session *session = new_session();
    pg_token_free(token_of(session));
    CHECK(pg_session_set_credentials(session, "another-account", getenv(KEY), &error) == PG_ERR_INVALID_ARGUMENT);
    CHECK(strstr(pg_error_text(error), "open another session") != NULL);
    CHECK(strstr(pg_error_text(error), getenv(KEY)) == NULL);
    pg_error_free(error);
    pg_token *token = token_of(session);
    CHECK(pg_token_generation(token) == 1);
    pg_token_free(token);
    pg_session_free(session);
}

static void test_health_holds_no_secret(void)
{
    pg_error *error = NULL;
    char *json = NULL;
    pg_session *session = new_session();
    pg_token *token = token_of(session);
    OK(pg_session_health(session, &json, &error));
    CHECK(number_after("\"generation\":", json) == 1 && number_after("\"issues\":", json) == 1);
    CHECK(strstr(json, pg_token_fingerprint(token)) != NULL);
    CHECK(strstr(json, pg_token_access_token(token)) == NULL);
    pg_text_free(json);
    pg_token_free(token);
    pg_session_free(session);
}

static void test_metrics_are_of_the_client_and_its_open_sessions(void)
{
    pg_error *error = NULL;
    char *text = NULL, *of_other = NULL;
    pg_config *config = new_config();
    pg_client *client = new_client(), *other = new_client();
    pg_session *first = NULL, *second = NULL;
    OK(pg_session_open(client, config, &first, &error));
    OK(pg_session_open(client, config, &second, &error));
    OK(pg_client_metrics(client, &text, &error));
    CHECK(strstr(text, "paymentsgate_auth_build_info{") != NULL);
    CHECK(strstr(text, "session=") == NULL); /* No call was made on either so far. */
    pg_text_free(text);

    pg_token *token = token_of(first);
    pg_token_free(token_of(second));
    OK(pg_client_metrics(client, &text, &error));
    OK(pg_client_metrics(other, &of_other, &error));
    const char *issues = strstr(text, "# TYPE paymentsgate_auth_session_issues_total counter\n");
    CHECK(issues != NULL && strstr(of_other, "session=") == NULL);
    CHECK(number_after("} ", issues) == 1 && number_after("} ", strstr(issues, "} ") + 1) == 1);
    CHECK(strstr(text, pg_token_access_token(token)) == NULL);
    pg_text_free(of_other);
    pg_text_free(text);

    OK(pg_session_close(first, 0, &error));
    pg_session_free(second);
    OK(pg_client_metrics(client, &text, &error));
    CHECK(strstr(text, "session=") == NULL);
    pg_text_free(text);
    pg_token_free(token);
    pg_session_free(first);
    pg_client_free(other);
    pg_client_free(client);
    pg_config_free(config);
}

static void *wait_for_a_token(void *session)
{
    pg_token *token = NULL;
    pg_status status = pg_session_token(session, PG_TIMEOUT_DEFAULT, &token, NULL);
    return status == PG_ERR_CLOSED && token == NULL ? session : NULL;
}

static void test_close_wakes_the_waiters(void)
{
    static const char HANG[] = "{\"route\": \"issue\", \"action\": {\"kind\": \"hang\"}}";
    pg_session *session = new_session(), *other = new_session();
    pg_token *token = token_of(other), *none = NULL;
    pg_error *error = NULL;
    pthread_t waiting;
    void *result = NULL;
    char *json = NULL, room[ROOM];

    tell_emulator("POST", "/reset", NULL);
    tell_emulator("POST", "/faults", HANG);
    CHECK(pthread_create(&waiting, NULL, wait_for_a_token, session) == 0);
    while (count_of(ISSUES) == 0)
        usleep(1000);
    /* The call hangs for longer than that, and the session is closed anyway. */
    CHECK(pg_session_close(session, 10, NULL) == PG_ERR_TIMEOUT);
    CHECK(pthread_join(waiting, &result) == 0 && result == session);

    CHECK(pg_session_token(session, PG_TIMEOUT_DEFAULT, &none, NULL) == PG_ERR_CLOSED && none == NULL);
    CHECK(pg_session_token_lasting(session, 1, PG_TIMEOUT_DEFAULT, &none, NULL) == PG_ERR_CLOSED && none == NULL);
    CHECK(pg_session_copy_access_token(session, 0, room, sizeof room, NULL, NULL) == PG_ERR_CLOSED);
    CHECK(pg_session_reject(session, token, 401, NULL) == PG_ERR_CLOSED);
    CHECK(pg_session_health(session, &json, NULL) == PG_ERR_CLOSED && json == NULL);
    CHECK(pg_session_close(session, 0, NULL) == PG_ERR_TIMEOUT);

    /* Without a running call there is nothing to wait for. */
    OK(pg_session_close(other, 0, &error));
    OK(pg_session_close(other, PG_TIMEOUT_DEFAULT, &error));
    CHECK(pg_session_token(other, 0, &none, NULL) == PG_ERR_CLOSED && none == NULL);
    CHECK(pg_token_remaining_ms(token) > 0);
    CHECK(count_of(ISSUES) == 1);
    pg_token_free(token);
    pg_session_free(other);
    pg_session_free(session);
}

static void test_generation_word(void)
{
    pg_error *error = NULL;
    pg_session *session = new_session(), *other = new_session();
    const volatile uint64_t *word = pg_session_generation_word(session);
    const volatile uint64_t *other_word = pg_session_generation_word(other);

    CHECK(pg_session_generation_word(NULL) == NULL);
    CHECK(word == pg_session_generation_word(session) && word != other_word && (uintptr_t)word % 8 == 0);
    CHECK(*word == 0 && *other_word == 0);
    pg_token *first = token_of(session), *others = token_of(other);
    uint64_t number = *word;
    CHECK(number != 0 && *other_word != 0 && *other_word != number);
    pg_token_free(token_of(session));
    CHECK(*word == number);

    OK(pg_session_reject(session, first, 403, &error));
    CHECK(*word == number);
    OK(pg_session_reject(session, first, 401, &error));
    CHECK(*word != number);
    pg_token *second = token_of(session);
    CHECK(*word != 0 && *word != number);

    OK(pg_session_close(session, PG_TIMEOUT_DEFAULT, &error));
    CHECK(*word == 0 && *pg_session_generation_word(session) == 0 && *other_word != 0);
    pg_token_free(second);
    pg_token_free(others);
    pg_token_free(first);
    pg_session_free(other);
    pg_session_free(session);
}

int main(void)
{
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    test_many_threads_make_one_call();
    test_a_token_outlives_its_session();
    test_copies();
    test_reports();
    test_tokens_that_are_refused_when_new();
    test_a_newer_token_on_demand();
    test_an_unreachable_service_is_named();
    test_a_session_belongs_to_one_account();
    test_health_holds_no_secret();
    test_metrics_are_of_the_client_and_its_open_sessions();
    test_generation_word();
    test_close_wakes_the_waiters();
    tell_emulator("POST", "/reset", NULL);
    curl_global_cleanup();
    printf("ok session: %d checks\n", checks);
    return EXIT_SUCCESS;
}
