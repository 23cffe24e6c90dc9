/*
* The events that a session sends its subscribers, their order, and that none contains a secret. Needs the emulator's variables.
 */

#define _GNU_SOURCE

#include "fixture.h"

enum { PATIENCE_S = 300, NEWS = 7, ENOUGH_MS = 6000, WINDOW = 20, MOST_SECRETS = 64 };

/* For callers its pairs live for 2 s, and can be replaced after one. */
#define SHORT_LIVES "{\"access_lifetime_s\": 7}"
#define ISSUE_IS_BLOCKED "{\"route\": \"issue\", \"action\": {\"kind\": \"status\", \"status\": 403, \"body\": \"no\"}}"
#define ISSUE_IS_REFUSED "{\"route\": \"issue\", \"action\": {\"kind\": \"status\", \"status\": 401}}"
#define ANSWER_IS_SLOW "{\"route\": \"refresh\", \"action\": {\"kind\": \"delay\", \"ms\": 1500}}"
#define ANSWER_IS_LOST "{\"route\": \"refresh\", \"point\": \"after\", \"times\": %d, \"action\": {\"kind\": \"reset\"}}"

static char *secrets[MOST_SECRETS];
static size_t secret_count;

static void keep_secret(const char *secret, size_t length)
{
    CHECK(secret_count < MOST_SECRETS && length >= WINDOW);
    secrets[secret_count] = strndup(secret, length);
    CHECK(secrets[secret_count++] != NULL);
}

/* The text between two pieces, wherever they are. */
static void keep_secrets_of(const char *text, const char *before, const char *after)
{
    for (const char *found = text; (found = strstr(found, before)) != NULL;) {
        found += strlen(before);
        const char *end = strstr(found, after);
        CHECK(end != NULL);
        keep_secret(found, (size_t)(end - found));
    }
}

/* Secrets that the emulator received, complete or in part. */
static void keep_what_was_sent(void)
{
    char *counters = ask_emulator("GET", "/counters", NULL);
    keep_secrets_of(counters, "Bearer ", "\"");
    keep_secrets_of(counters, "refresh_token\\\":\\\"", "\\\"");
    keep_secrets_of(counters, "public_key\\\":\\\"", "\\\"");
    free(counters);
}

/* Even twenty characters of a secret count as shown. */
static bool is_shown(const char *secret, const char *text)
{
    char piece[WINDOW + 1];
    for (size_t i = 0; secret[i + WINDOW - 1] != '\0'; i++) {
        memcpy(piece, secret + i, WINDOW);
        piece[WINDOW] = '\0';
        if (strstr(text, piece) != NULL)
            return true;
    }
    return false;
}

/* All texts so far, for the search at the end. */
static char *told;
static size_t told_length;
static FILE *telling;

static pg_event *next(const pg_queue *queue)
{
    pg_error *error = NULL;
    pg_event *event = NULL;
    OK(pg_queue_poll(queue, PG_TIMEOUT_DEFAULT, &event, &error));
    CHECK(pg_event_id(event) == NEWS);
    const char *text = pg_event_text(event);
    CHECK((text != NULL) == (pg_event_kind(event) == PG_EVENT_LOG));
    CHECK((pg_event_log_level(event) != PG_LOG_NONE) == (text != NULL));
    CHECK(text == NULL || (text[0] != '\0' && strchr(text, '\n') == NULL));
    fprintf(telling, "%s\n%s\n", text == NULL ? "" : text, pg_error_text(pg_event_error(event)));
    const pg_token *token = pg_event_token(event);
    if (token != NULL) {
        keep_secret(pg_token_access_token(token), pg_token_access_token_length(token));
        if (pg_token_refresh_token(token) != NULL)
            keep_secret(pg_token_refresh_token(token), pg_token_refresh_token_length(token));
    }
    return event;
}

/* The next event that is not a log line. */
static pg_event *news(const pg_queue *queue, pg_kind wanted, pg_status status)
{
    pg_event *event;
    while (pg_event_kind(event = next(queue)) == PG_EVENT_LOG)
        pg_event_free(event);
    if (pg_event_kind(event) != wanted)
        fprintf(stderr, "kind %d where %d is due\n", (int)pg_event_kind(event), (int)wanted);
    CHECK(pg_event_kind(event) == wanted && pg_event_status(event) == status);
    CHECK((pg_event_token(event) != NULL) == (wanted == PG_EVENT_ROTATED));
    return event;
}

static void hears(const pg_queue *queue, pg_kind wanted, pg_status status)
{
    pg_event_free(news(queue, wanted, status));
}

static void hears_of_generation(const pg_queue *queue, uint64_t generation)
{
    pg_event *event = news(queue, PG_EVENT_ROTATED, PG_OK);
    CHECK(pg_token_generation(pg_event_token(event)) == generation);
    /* The session has credentials to start again, so the host need not keep the refresh token. */
    CHECK(pg_token_refresh_token(pg_event_token(event)) == NULL);
    pg_event_free(event);
}

/* A token of this generation, as soon as it is due. */
static void reach(const pg_session *session, uint64_t wanted)
{
    for (uint64_t generation = 0; generation != wanted;) {
        pg_error *error = NULL;
        pg_token *token = NULL;
        OK(pg_session_token_lasting(session, ENOUGH_MS, PG_TIMEOUT_DEFAULT, &token, &error));
        generation = pg_token_generation(token);
        CHECK(generation <= wanted);
        pg_token_free(token);
        usleep(10000);
    }
}

static void closes(const pg_session *session, const pg_queue *queue)
{
    pg_error *error = NULL;
    OK(pg_session_close(session, PG_TIMEOUT_DEFAULT, &error));
    hears(queue, PG_EVENT_ENDED, PG_ERR_CLOSED);
    CHECK(is_empty(queue));
}

static void test_generations_rise(void)
{
    begin(SHORT_LIVES, NULL);
    pg_session *session = new_session();
    pg_queue *queue = new_queue(), *other = new_queue();
    subscribe(session, queue, NEWS, PG_LOG_DEBUG);
    subscribe(session, other, NEWS, PG_LOG_NONE);
    for (uint64_t generation = 1; generation <= 3; generation++) {
        reach(session, generation);
        hears_of_generation(queue, generation);
        hears_of_generation(other, generation);
    }
    CHECK(is_empty(other));
    keep_what_was_sent();
    closes(session, queue);
    closes(session, other);
    pg_queue_free(other);
    pg_queue_free(queue);
    pg_session_free(session);
}

static void test_degraded_and_recovered(void)
{
    begin(NULL, ISSUE_IS_BLOCKED);
    pg_session *session = new_session();
    pg_queue *queue = new_queue();
    pg_token *token = NULL;
    subscribe(session, queue, NEWS, PG_LOG_DEBUG);
    CHECK(pg_session_token(session, PG_TIMEOUT_DEFAULT, &token, NULL) == PG_ERR_BLOCKED);
    hears(queue, PG_EVENT_REFRESH_FAILED, PG_ERR_BLOCKED);
    hears(queue, PG_EVENT_DEGRADED, PG_ERR_BLOCKED);
    while (pg_session_token(session, PG_TIMEOUT_DEFAULT, &token, NULL) != PG_OK)
        usleep(10000);
    pg_token_free(token);
    hears_of_generation(queue, 1);
    hears(queue, PG_EVENT_RECOVERED, PG_OK);
    closes(session, queue);
    pg_queue_free(queue);
    pg_session_free(session);
}

static void test_refused_credentials(void)
{
    begin(NULL, ISSUE_IS_REFUSED);
    pg_session *session = new_session();
    pg_queue *queue = new_queue();
    pg_token *none = NULL;
    const char *key = getenv("PG_SANDBOX_KEY");
    CHECK(key != NULL);
    keep_secret(key, strlen(key));
    subscribe(session, queue, NEWS, PG_LOG_DEBUG);
    CHECK(pg_session_token(session, PG_TIMEOUT_DEFAULT, &none, NULL) == PG_ERR_REFUSED);
    keep_what_was_sent();
    pg_event *event = news(queue, PG_EVENT_CREDENTIALS_REJECTED, PG_ERR_REFUSED);
    CHECK(pg_error_needs_credentials(pg_event_error(event)) && pg_error_http_status(pg_event_error(event)) == 401);
    pg_event_free(event);
    hears(queue, PG_EVENT_REFRESH_FAILED, PG_ERR_REFUSED);
    hears(queue, PG_EVENT_DEGRADED, PG_ERR_REFUSED);
    closes(session, queue);
    pg_queue_free(queue);
    pg_session_free(session);
}

static void test_a_lost_answer(void)
{
    begin(SHORT_LIVES, NULL);
    char fault[160];
    pg_session *session = new_session();
    pg_queue *queue = new_queue();
    snprintf(fault, sizeof fault, ANSWER_IS_LOST, 1);
    tell_emulator("POST", "/faults", fault);
    subscribe(session, queue, NEWS, PG_LOG_DEBUG);
    reach(session, 2);
    hears_of_generation(queue, 1);
    pg_event *event = news(queue, PG_EVENT_AMBIGUOUS, PG_ERR_CONNECTION_LOST);
    CHECK(pg_error_refresh_token_fate(pg_event_error(event)) == PG_FATE_UNKNOWN);
    pg_event_free(event);
    hears_of_generation(queue, 2);
    keep_what_was_sent();
    CHECK(count_of(MOST_PRESENTATIONS) == 1);
    closes(session, queue);
    pg_queue_free(queue);
    pg_session_free(session);
}

/* The host of such a session keeps the refresh tokens: every new one comes with its event, and works. */
static void test_a_pair_is_kept_by_its_host(void)
{
    begin(SHORT_LIVES, NULL);
    pg_error *error = NULL;
    pg_client *client = new_client();
    pg_session *session = NULL;
    pg_token *pair = NULL, *next_pair = NULL;
    pg_queue *queue = new_queue();
    pg_config *config = new_config();
    OK(pg_issue_token(client, NULL, NULL, PG_TIMEOUT_DEFAULT, &pair, &error));
    keep_secret(pg_token_refresh_token(pair), pg_token_refresh_token_length(pair));
    OK(pg_config_set(config, "access_token", pg_token_access_token(pair), &error));
    OK(pg_config_set(config, "refresh_token", pg_token_refresh_token(pair), &error));
    OK(pg_session_open(client, config, &session, &error));
    subscribe(session, queue, NEWS, PG_LOG_DEBUG);

    pg_token *token = token_of(session);
    CHECK(pg_token_refresh_token(token) == NULL);
    pg_event *event = news(queue, PG_EVENT_ROTATED, PG_OK);
    const pg_token *kept = pg_event_token(event);
    CHECK(strcmp(pg_token_fingerprint(kept), pg_token_fingerprint(token)) == 0 && pg_token_generation(kept) == 2);
    CHECK(pg_token_refresh_token(kept) != NULL);
    keep_what_was_sent();
    closes(session, queue);
    /* After the close of the session only the host uses it. */
    OK(pg_refresh_token(client, NULL, pg_token_refresh_token(kept), PG_TIMEOUT_DEFAULT, &next_pair, &error));
    CHECK(count_of(MOST_PRESENTATIONS) == 1 && count_of(ISSUES) == 1);

    pg_event_free(event);
    pg_token_free(next_pair);
    pg_token_free(token);
    pg_token_free(pair);
    pg_queue_free(queue);
    pg_session_free(session);
    pg_config_free(config);
    pg_client_free(client);
}

/* The session ends while its pair is replaced: the subscriber gets the new pair, and then the end. */
static void test_a_pair_that_arrives_after_close_is_emitted(bool is_closed)
{
    begin(NULL, ANSWER_IS_SLOW);
    pg_error *error = NULL;
    pg_client *client = new_client();
    pg_session *session = NULL;
    pg_token *pair = NULL, *next_pair = NULL;
    pg_queue *queue = new_queue(), *operations = new_queue();
    pg_config *config = new_config();
    OK(pg_issue_token(client, NULL, NULL, PG_TIMEOUT_DEFAULT, &pair, &error));
    keep_secret(pg_token_refresh_token(pair), pg_token_refresh_token_length(pair));
    OK(pg_config_set(config, "access_token", pg_token_access_token(pair), &error));
    OK(pg_config_set(config, "refresh_token", pg_token_refresh_token(pair), &error));
    OK(pg_config_set(config, "access_token_expires_in_s", "3600", &error));
    OK(pg_session_open(client, config, &session, &error));
    subscribe(session, queue, NEWS, PG_LOG_DEBUG);

    OK(pg_session_refresh_start(session, operations, 1, PG_TIMEOUT_DEFAULT, &error));
    while (count_of(REFRESHES) == 0)
        usleep(1000);
    if (is_closed)
        CHECK(pg_session_close(session, 0, NULL) == PG_ERR_TIMEOUT);
    pg_session_free(session);
    pass(operations, 1, PG_EVENT_TOKEN, PG_ERR_CLOSED);
    pg_event *event = news(queue, PG_EVENT_ROTATED, PG_OK);
    const char *kept = pg_token_refresh_token(pg_event_token(event));
    CHECK(kept != NULL && strcmp(kept, pg_token_refresh_token(pair)) != 0);
    hears(queue, PG_EVENT_ENDED, PG_ERR_CLOSED);
    CHECK(is_empty(queue));
    OK(pg_refresh_token(client, NULL, kept, PG_TIMEOUT_DEFAULT, &next_pair, &error));
    CHECK(count_of(MOST_PRESENTATIONS) == 1 && count_of(ISSUES) == 1);

    pg_event_free(event);
    pg_token_free(next_pair);
    pg_token_free(pair);
    pg_queue_free(operations);
    pg_queue_free(queue);
    pg_config_free(config);
    pg_client_free(client);
}

static void test_levels(void)
{
    begin(NULL, NULL);
    pg_error *error = NULL;
    pg_session *session = new_session();
    pg_queue *queues[PG_LOG_DEBUG + 1];
    int lines[PG_LOG_DEBUG + 1] = { 0 };
    for (int level = PG_LOG_NONE; level <= PG_LOG_DEBUG; level++)
        subscribe(session, queues[level] = new_queue(), NEWS, level);
    CHECK(pg_session_subscribe(session, queues[0], 1, PG_LOG_DEBUG + 1, NULL) == PG_ERR_INVALID_ARGUMENT);
    CHECK(pg_session_subscribe(session, queues[0], 1, -1, NULL) == PG_ERR_INVALID_ARGUMENT);
    pg_token *token = token_of(session);
    /* A warning, since the service is not expected to do that. */
    OK(pg_session_reject(session, token, 401, &error));
    pg_token_free(token);
    pg_token_free(token_of(session));
    OK(pg_session_close(session, PG_TIMEOUT_DEFAULT, &error));
    for (int level = PG_LOG_NONE; level <= PG_LOG_DEBUG; level++) {
        pg_event *event;
        while (pg_event_kind(event = next(queues[level])) != PG_EVENT_ENDED) {
            CHECK((int)pg_event_log_level(event) <= level);
            lines[level] += pg_event_kind(event) == PG_EVENT_LOG;
            pg_event_free(event);
        }
        pg_event_free(event);
        CHECK(is_empty(queues[level]) && (level == PG_LOG_NONE || lines[level] >= lines[level - 1]));
        pg_queue_free(queues[level]);
    }
    CHECK(lines[PG_LOG_NONE] == 0 && lines[PG_LOG_WARN] == 1 && lines[PG_LOG_INFO] > lines[PG_LOG_WARN]);
    pg_session_free(session);
}

/* An unpolled queue keeps all events, but only a limited number of log lines. */
static void test_unread_log_lines_are_bounded(void)
{
    begin(NULL, NULL);
    pg_error *error = NULL;
    pg_session *session = new_session();
    pg_queue *queue = new_queue();
    pg_client *client = new_client();
    /* More tokens than the session remembers: one token would give only one line. */
    pg_token *tokens[12] = { NULL }, *newer = NULL;
    const int most = sizeof tokens / sizeof *tokens;
    int lines = 0;
    pg_token_free(token_of(session));
    for (int i = 0; i < most; i++)
        OK(pg_issue_token(client, NULL, NULL, PG_TIMEOUT_DEFAULT, &tokens[i], &error));
    subscribe(session, queue, NEWS, PG_LOG_DEBUG);
    for (int i = 0; i < 10000; i++)
        OK(pg_session_reject(session, tokens[i % most], 401, &error));
    OK(pg_session_refresh(session, PG_TIMEOUT_DEFAULT, &newer, &error));
    pg_token_free(newer);
    for (int i = 0; i < most; i++)
        pg_token_free(tokens[i]);
    pg_client_free(client);
    OK(pg_session_close(session, PG_TIMEOUT_DEFAULT, &error));
    pg_event *event;
    int rotated = 0;
    while (pg_event_kind(event = next(queue)) != PG_EVENT_ENDED) {
        lines += pg_event_kind(event) == PG_EVENT_LOG;
        rotated += pg_event_kind(event) == PG_EVENT_ROTATED;
        pg_event_free(event);
    }
    pg_event_free(event);
    CHECK(rotated == 1 && lines > 4000 && lines < 5000);
    pg_queue_free(queue);
    pg_session_free(session);
}

static void test_no_event_contains_a_secret(void)
{
    CHECK(fclose(telling) == 0);
    CHECK(secret_count > 10 && strstr(told, "generation 2") != NULL);
    /* Checks that the search finds a secret. */
    CHECK(is_shown("0123456789abcdefghijklmn", "a 3456789abcdefghijklmn b"));
    for (size_t i = 0; i < secret_count; i++) {
        CHECK(!is_shown(secrets[i], told));
        free(secrets[i]);
    }
    free(told);
}

int main(void)
{
    alarm(PATIENCE_S);
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    telling = open_memstream(&told, &told_length);
    CHECK(telling != NULL);
    test_generations_rise();
    test_degraded_and_recovered();
    test_refused_credentials();
    test_a_lost_answer();
    test_a_pair_is_kept_by_its_host();
    test_a_pair_that_arrives_after_close_is_emitted(true);
    test_a_pair_that_arrives_after_close_is_emitted(false);
    test_levels();
    test_unread_log_lines_are_bounded();
    test_no_event_contains_a_secret();
    begin(NULL, NULL);
    curl_global_cleanup();
    printf("ok news: %d checks\n", checks);
    return EXIT_SUCCESS;
}
