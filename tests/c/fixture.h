/*
* Shared by the C tests: checks, objects made from the PAYMENTSGATE_ variables, and the emulator's admin port,
 * whose address is in PG_SANDBOX_ADMIN.
 */

#ifndef FIXTURE_H
#define FIXTURE_H

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <paymentsgate_auth.h>

static int checks = 0;

#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)

/* Ends without exit handlers, so that it works in a forked child too. */
static inline void check(bool holds, const char *condition, const char *file, int line)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
        _exit(EXIT_FAILURE);
    }
}

/* For calls that must succeed. */
#define OK(status) ok((status), &error, __FILE__, __LINE__)

static inline void ok(pg_status status, pg_error **error, const char *file, int line)
{
    if (status != PG_OK)
        fprintf(stderr, "%s:%d: %s: %s\n", file, line, pg_status_name(status), pg_error_text(*error));
    check(status == PG_OK, "the call succeeds", file, line);
    check(*error == NULL, "there is no error after a success", file, line);
}

static inline pg_config *new_config(void)
{
    pg_error *error = NULL;
    pg_config *config = pg_config_new();
    CHECK(config != NULL);
    OK(pg_config_set_from_env(config, &error));
    return config;
}

static inline pg_client *new_client(void)
{
    pg_error *error = NULL;
    pg_client *client = NULL;
    pg_config *config = new_config();
    OK(pg_client_new(config, &client, &error));
    pg_config_free(config);
    return client;
}

/* Its client and its settings are already freed. */
static inline pg_session *new_session(void)
{
    pg_error *error = NULL;
    pg_session *session = NULL;
    pg_config *config = new_config();
    pg_client *client = new_client();
    OK(pg_session_open(client, config, &session, &error));
    pg_client_free(client);
    pg_config_free(config);
    return session;
}

static inline pg_token *token_of(const pg_session *session)
{
    pg_error *error = NULL;
    pg_token *token = NULL;
    OK(pg_session_token(session, PG_TIMEOUT_DEFAULT, &token, &error));
    return token;
}

/* The number after a piece of JSON; 0 if the piece is missing. */
static inline long number_after(const char *piece, const char *json)
{
    const char *found = strstr(json, piece);
    return found == NULL ? 0 : strtol(found + strlen(piece), NULL, 10);
}

static inline long health_of(const pg_session *session, const char *piece)
{
    pg_error *error = NULL;
    char *json = NULL;
    OK(pg_session_health(session, &json, &error));
    long number = number_after(piece, json);
    pg_text_free(json);
    return number;
}

/* One request to the admin port; the answer is the caller's. */
static inline char *ask_emulator(const char *method, const char *path, const char *body)
{
    char url[256], *answer = NULL;
    size_t length = 0;
    long status = 0;
    const char *admin = getenv("PG_SANDBOX_ADMIN");
    CURL *curl = curl_easy_init();
    FILE *sink = open_memstream(&answer, &length);

    CHECK(admin != NULL && curl != NULL && sink != NULL);
    snprintf(url, sizeof url, "%s%s", admin, path);
    CHECK(curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK);
    CHECK(curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK);
    CHECK(body == NULL || curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body) == CURLE_OK);
    CHECK(curl_easy_setopt(curl, CURLOPT_WRITEDATA, sink) == CURLE_OK);
    CHECK(curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 10000L) == CURLE_OK);
    CHECK(curl_easy_perform(curl) == CURLE_OK);
    CHECK(curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK);
    CHECK(status == 200);
    curl_easy_cleanup(curl);
    CHECK(fclose(sink) == 0);
    return answer;
}

static inline void tell_emulator(const char *method, const char *path, const char *body)
{
    free(ask_emulator(method, path, body));
}

/* One of the emulator's counters. */
static inline long count_of(const char *piece)
{
    char *counters = ask_emulator("GET", "/counters", NULL);
    long number = number_after(piece, counters);
    free(counters);
    return number;
}

#define ISSUES "\"issue\":{\"calls\":"
#define REFRESHES "\"refresh\":{\"calls\":"
#define WALLETS "\"wallet\":{\"calls\":"
#define PAYINS "\"payin\":{\"calls\":"
#define OTHERS "\"other\":{\"calls\":"
#define FOREIGN "\"foreign\":"
#define MOST_PRESENTATIONS "\"most_presentations\":"

/* Resets the emulator, and then sets the switches and the fault, which may be NULL. */
static inline void begin(const char *switches, const char *fault)
{
    tell_emulator("POST", "/reset", NULL);
    if (switches != NULL)
        tell_emulator("PATCH", "/switches", switches);
    if (fault != NULL)
        tell_emulator("POST", "/faults", fault);
}

/* Queues. */

static inline pg_queue *new_queue(void)
{
    pg_error *error = NULL;
    pg_queue *queue = NULL;
    OK(pg_queue_new(&queue, &error));
    return queue;
}

/* Takes the next event, which must be this one. */
static inline pg_event *take(const pg_queue *queue, uint64_t id, pg_kind kind, pg_status status)
{
    pg_error *error = NULL;
    pg_event *event = NULL;
    OK(pg_queue_poll(queue, PG_TIMEOUT_DEFAULT, &event, &error));
    if (pg_event_kind(event) != kind || pg_event_id(event) != id || pg_event_status(event) != status)
        fprintf(stderr, "event of kind %d, id %d, %s: %s\n", (int)pg_event_kind(event), (int)pg_event_id(event),
                pg_status_name(pg_event_status(event)), pg_error_text(pg_event_error(event)));
    CHECK(pg_event_id(event) == id && pg_event_kind(event) == kind && pg_event_status(event) == status);
    CHECK(pg_error_status(pg_event_error(event)) == status && (pg_event_error(event) == NULL) == (status == PG_OK));
    return event;
}

static inline void pass(const pg_queue *queue, uint64_t id, pg_kind kind, pg_status status)
{
    pg_event_free(take(queue, id, kind, status));
}

/* Takes the next event, if one waits. */
static inline bool is_empty(const pg_queue *queue)
{
    pg_error *error = NULL;
    pg_event *event = NULL;
    OK(pg_queue_poll(queue, 0, &event, &error));
    bool empty = event == NULL;
    pg_event_free(event);
    return empty;
}

static inline void start_token(const pg_session *session, const pg_queue *queue, uint64_t id)
{
    pg_error *error = NULL;
    OK(pg_session_token_start(session, queue, id, 0, PG_TIMEOUT_DEFAULT, &error));
}

static inline void start_wallet(const pg_session *session, const pg_queue *queue, uint64_t id)
{
    pg_error *error = NULL;
    OK(pg_session_request_start(session, queue, id, "GET", "/wallet", NULL, NULL, 0, PG_TIMEOUT_DEFAULT, &error));
}

static inline void subscribe(const pg_session *session, const pg_queue *queue, uint64_t id, pg_log_level level)
{
    pg_error *error = NULL;
    OK(pg_session_subscribe(session, queue, id, level, &error));
}

#endif
