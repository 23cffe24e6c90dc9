/*
 * What only a C program can ask of a session: owners, threads, buffers, its end. Needs the emulator's variables.
 */

#define _GNU_SOURCE

#include <pthread.h>

#include "bench.h"

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

static void test_a_crowd_makes_one_call(void)
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
    /* There is a NUL besides. */
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
    /* The successor of a token that was refused when new comes from Issue, and is the last of its kind. */
    CHECK(count_of(ISSUES) == 1 && count_of(REFRESHES) == 0);
    CHECK(pg_session_reject(session, second, 401, NULL) == PG_ERR_REJECTED_FRESH);
    pg_token *served = token_of(session);
    CHECK(served == second);
    pg_token_free(served);
    pg_token_free(second);
    pg_token_free(first);
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
    CHECK(strstr(text, "session=") == NULL); /* Nothing was asked of either so far. */
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

static void test_close_tells_who_waits(void)
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
    /* The call hangs for longer than that, and the session is closed all the same. */
    CHECK(pg_session_close(session, 10, NULL) == PG_ERR_TIMEOUT);
    CHECK(pthread_join(waiting, &result) == 0 && result == session);

    CHECK(pg_session_token(session, PG_TIMEOUT_DEFAULT, &none, NULL) == PG_ERR_CLOSED && none == NULL);
    CHECK(pg_session_token_lasting(session, 1, PG_TIMEOUT_DEFAULT, &none, NULL) == PG_ERR_CLOSED && none == NULL);
    CHECK(pg_session_copy_access_token(session, 0, room, sizeof room, NULL, NULL) == PG_ERR_CLOSED);
    CHECK(pg_session_reject(session, token, 401, NULL) == PG_ERR_CLOSED);
    CHECK(pg_session_health(session, &json, NULL) == PG_ERR_CLOSED && json == NULL);
    CHECK(pg_session_close(session, 0, NULL) == PG_ERR_TIMEOUT);

    /* With no call under way there is nothing to wait for. */
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
    test_a_crowd_makes_one_call();
    test_a_token_outlives_its_session();
    test_copies();
    test_reports();
    test_health_holds_no_secret();
    test_metrics_are_of_the_client_and_its_open_sessions();
    test_generation_word();
    test_close_tells_who_waits();
    tell_emulator("POST", "/reset", NULL);
    curl_global_cleanup();
    printf("ok session: %d checks\n", checks);
    return EXIT_SUCCESS;
}
