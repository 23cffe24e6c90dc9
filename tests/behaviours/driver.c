/*
 * Plays the behaviour tables through the C interface.
 *
 * Commands come on standard input, one a line, their words separated by tabs:
 *
 *   set NAME VALUE · env · client · issue ACCOUNT KEY TIMEOUT_MS · refresh ACCESS REFRESH TIMEOUT_MS ·
 *   open · open_pair ACCESS REFRESH EXPIRES_IN_S · token TIMEOUT_MS MIN_REMAINING_MS · reject HTTP_STATUS ·
 *   credentials ACCOUNT KEY · request METHOD PATH HEADERS BODY TIMEOUT_MS · subscribe LEVEL · events · health ·
 *   close TIMEOUT_MS · raw WHAT
 *
 * A text is `-` for NULL, `x` and the hex of its bytes, or `@access` and `@refresh` for those of the last token.
 * Each answer is a block of lines `key<TAB>hex of the value` that ends in an empty line.
 */

#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <paymentsgate_auth.h>

enum { MOST_WORDS = 6, MOST_HEADERS = 32, NEWS = 7 };

struct state {
    pg_config *config;
    pg_config *without_credentials;
    pg_client *client;
    pg_token *token;
    pg_session *session;
    pg_queue *news;
};

struct text {
    const char *bytes; /* NULL: not given */
    size_t length;
};

static void give_up(const char *why)
{
    fprintf(stderr, "driver: %s\n", why);
    exit(2);
}

/* Answers. What is NULL is left out. */

static void put_bytes(const char *key, const void *value, size_t length)
{
    const unsigned char *bytes = value;
    printf("%s\t", key);
    for (size_t i = 0; i < length; i++)
        printf("%02x", (unsigned)bytes[i]);
    putchar('\n');
}

static void put_text(const char *key, const char *value)
{
    if (value != NULL)
        put_bytes(key, value, strlen(value));
}

static void put_number(const char *key, int64_t value)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRId64, value);
    put_text(key, digits);
}

/* Frees the error, which is NULL where nobody asked for it. */
static void put_status(pg_status status, pg_error *error)
{
    put_text("status", pg_status_name(status));
    if (error == NULL)
        return;
    put_text("text", pg_error_text(error));
    if (pg_error_http_status(error) != 0)
        put_number("http_status", pg_error_http_status(error));
    put_text("server_code", pg_error_server_code(error));
    put_text("server_message", pg_error_server_message(error));
    put_text("server_details", pg_error_server_details(error));
    if (pg_error_retry_after_ms(error) != -1)
        put_number("retry_after_ms", pg_error_retry_after_ms(error));
    put_number("retryable", pg_error_is_retryable(error));
    put_number("needs_credentials", pg_error_needs_credentials(error));
    put_number("fate", pg_error_refresh_token_fate(error));
    if (pg_error_status(error) != status)
        put_text("status", "the error has another status than the call");
    pg_error_free(error);
}

/* Takes the new token over. */
static void put_token(struct state *state, pg_token *token)
{
    put_text("fingerprint", pg_token_fingerprint(token));
    put_number("access_length", (int64_t)pg_token_access_token_length(token));
    put_number("refresh_length", (int64_t)pg_token_refresh_token_length(token));
    put_number("lifetime_ms", pg_token_lifetime_ms(token));
    put_number("disagreement_ms", pg_token_lifetime_disagreement_ms(token));
    put_number("remaining_ms", pg_token_remaining_ms(token));
    pg_token_free(state->token);
    state->token = token;
}

/* Words. */

static int digit(char c)
{
    static const char DIGITS[] = "0123456789abcdef";
    const char *found = c == '\0' ? NULL : strchr(DIGITS, c);
    if (found == NULL)
        give_up("a text is not in hexadecimal digits");
    return (int)(found - DIGITS);
}

/* Decodes into the word itself: the bytes take less room than their digits. */
static struct text text_of(char *word, const struct state *state)
{
    struct text text = { NULL, 0 };
    if (strcmp(word, "@access") == 0) {
        text.bytes = pg_token_access_token(state->token);
        text.length = pg_token_access_token_length(state->token);
    } else if (strcmp(word, "@refresh") == 0) {
        text.bytes = pg_token_refresh_token(state->token);
        text.length = pg_token_refresh_token_length(state->token);
    } else if (word[0] == 'x') {
        size_t digits = strlen(word + 1);
        if (digits % 2 != 0)
            give_up("a text has half a byte");
        for (size_t i = 0; i < digits / 2; i++)
            word[i] = (char)(digit(word[1 + 2 * i]) * 16 + digit(word[2 + 2 * i]));
        word[digits / 2] = '\0';
        text.bytes = word;
        text.length = digits / 2;
    } else if (strcmp(word, "-") != 0) {
        give_up("a text is none of -, x…, @access, @refresh");
    }
    return text;
}

/* Only the sized functions can be given a NUL. */
static bool has_nul(struct text text)
{
    return text.bytes != NULL && memchr(text.bytes, '\0', text.length) != NULL;
}

static int64_t number_of(const char *word)
{
    char *end;
    int64_t number = strtoll(word, &end, 10);
    if (end == word || *end != '\0')
        give_up("a number is none");
    return number;
}

/* Commands. */

static bool is_credential(const char *name)
{
    return strcmp(name, "credentials_file") == 0 || strcmp(name, "account_id") == 0 ||
           strncmp(name, "public_key", strlen("public_key")) == 0;
}

static void set(struct state *state, struct text name, struct text value)
{
    pg_error *error = NULL;
    pg_status status = has_nul(value)
        ? pg_config_set_sized(state->config, name.bytes, value.bytes, value.length, &error)
        : pg_config_set(state->config, name.bytes, value.bytes, &error);
    if (status == PG_OK && !is_credential(name.bytes))
        status = pg_config_set(state->without_credentials, name.bytes, value.bytes, &error);
    put_status(status, error);
}

static void env(struct state *state)
{
    pg_error *error = NULL;
    pg_status status = pg_config_set_from_env(state->config, &error);
    if (status == PG_OK)
        status = pg_config_set_from_env(state->without_credentials, &error);
    put_status(status, error);
}

static void client(struct state *state)
{
    pg_error *error = NULL;
    pg_client_free(state->client);
    pg_status status = pg_client_new(state->config, &state->client, &error);
    put_status(status, error);
}

static void issue(struct state *state, struct text account, struct text key, int64_t timeout_ms)
{
    pg_token *token = NULL;
    pg_error *error = NULL;
    pg_status status = has_nul(account) || has_nul(key)
        ? pg_issue_token_sized(state->client, account.bytes, account.length, key.bytes, key.length, timeout_ms,
                               &token, &error)
        : pg_issue_token(state->client, account.bytes, key.bytes, timeout_ms, &token, &error);
    put_status(status, error);
    if (status == PG_OK)
        put_token(state, token);
}

static void refresh(struct state *state, struct text access, struct text refresh, int64_t timeout_ms)
{
    pg_token *token = NULL;
    pg_error *error = NULL;
    pg_status status = has_nul(access) || has_nul(refresh)
        ? pg_refresh_token_sized(state->client, access.bytes, access.length, refresh.bytes, refresh.length,
                                 timeout_ms, &token, &error)
        : pg_refresh_token(state->client, access.bytes, refresh.bytes, timeout_ms, &token, &error);
    put_status(status, error);
    if (status == PG_OK)
        put_token(state, token);
}

static void open_session(struct state *state)
{
    pg_error *error = NULL;
    pg_session_free(state->session);
    pg_status status = pg_session_open(state->client, state->config, &state->session, &error);
    put_status(status, error);
}

/* Its client has no credentials either, which would do for the session. */
static void open_pair(struct state *state, struct text access, struct text refresh, struct text expires_in_s)
{
    pg_config *config = state->without_credentials;
    pg_client *client = NULL;
    pg_error *error = NULL;
    pg_session_free(state->session);
    state->session = NULL;
    pg_status status = pg_config_set(config, "access_token", access.bytes, &error);
    if (status == PG_OK)
        status = pg_config_set(config, "refresh_token", refresh.bytes, &error);
    if (status == PG_OK && expires_in_s.bytes != NULL)
        status = pg_config_set(config, "access_token_expires_in_s", expires_in_s.bytes, &error);
    if (status == PG_OK)
        status = pg_client_new(config, &client, &error);
    if (status == PG_OK)
        status = pg_session_open(client, config, &state->session, &error);
    put_status(status, error);
    pg_client_free(client);
}

static void token(struct state *state, int64_t timeout_ms, int64_t min_remaining_ms)
{
    pg_token *token = NULL;
    pg_error *error = NULL;
    pg_status status = min_remaining_ms == 0
        ? pg_session_token(state->session, timeout_ms, &token, &error)
        : pg_session_token_lasting(state->session, min_remaining_ms, timeout_ms, &token, &error);
    put_status(status, error);
    if (status == PG_OK) {
        put_token(state, token);
        put_number("generation", (int64_t)pg_token_generation(token));
    }
}

static void reject(struct state *state, int64_t http_status)
{
    pg_error *error = NULL;
    pg_status status = pg_session_reject(state->session, state->token, (int32_t)http_status, &error);
    put_status(status, error);
}

static void credentials(struct state *state, struct text account, struct text key)
{
    pg_error *error = NULL;
    pg_status status = pg_session_set_credentials(state->session, account.bytes, key.bytes, &error);
    put_status(status, error);
}

/* Cuts the text into its lines, and ends them with NULL. */
static void lines_of(struct text text, const char *lines[MOST_HEADERS + 1])
{
    int count = 0;
    for (char *rest = (char *)text.bytes; rest != NULL && count < MOST_HEADERS; count++) {
        lines[count] = rest;
        rest = strchr(rest, '\n');
        if (rest != NULL)
            *rest++ = '\0';
    }
    lines[count] = NULL;
}

static void request(struct state *state, struct text method, struct text path, struct text headers, struct text body,
                    int64_t timeout_ms)
{
    const char *lines[MOST_HEADERS + 1];
    pg_response *response = NULL;
    pg_error *error = NULL;
    lines_of(headers, lines);
    pg_status status = pg_session_request(state->session, method.bytes, path.bytes, headers.bytes == NULL ? NULL : lines,
                                          (const uint8_t *)body.bytes, body.length, timeout_ms, &response, &error);
    put_status(status, error);
    if (status == PG_OK) {
        put_number("response_status", pg_response_status(response));
        put_text("response_type", pg_response_header(response, "Content-Type"));
        put_bytes("response_body", pg_response_body(response), pg_response_body_length(response));
    }
    pg_response_free(response);
}

static void subscribe(struct state *state, int64_t level)
{
    pg_error *error = NULL;
    pg_queue_free(state->news);
    pg_status status = pg_queue_new(&state->news, &error);
    if (status == PG_OK)
        status = pg_session_subscribe(state->session, state->news, NEWS, (int32_t)level, &error);
    put_status(status, error);
}

static const char *name_of(pg_kind kind)
{
    switch (kind) {
    case PG_EVENT_ROTATED: return "rotated";
    case PG_EVENT_REFRESH_FAILED: return "refresh_failed";
    case PG_EVENT_AMBIGUOUS: return "ambiguous";
    case PG_EVENT_CREDENTIALS_REJECTED: return "credentials_rejected";
    case PG_EVENT_DEGRADED: return "degraded";
    case PG_EVENT_RECOVERED: return "recovered";
    case PG_EVENT_LOG: return "log";
    case PG_EVENT_ENDED: return "ended";
    default: return "unknown";
    }
}

/* All that wait. */
static void events(struct state *state)
{
    char kinds[1024] = "";
    size_t length = 0;
    int64_t kept = 0;
    pg_event *event = NULL;
    pg_error *error = NULL;
    pg_status status;
    while ((status = pg_queue_poll(state->news, 0, &event, &error)) == PG_OK && event != NULL) {
        length += (size_t)snprintf(kinds + length, sizeof kinds - length, "%s%s", length == 0 ? "" : ",",
                                   name_of(pg_event_kind(event)));
        if (length >= sizeof kinds)
            give_up("there are more events than one answer can hold");
        kept += pg_token_refresh_token(pg_event_token(event)) != NULL;
        pg_event_free(event);
    }
    put_status(status, error);
    put_text("events", kinds);
    put_number("kept", kept);
}

static void health(struct state *state)
{
    char *json = NULL;
    pg_error *error = NULL;
    pg_status status = pg_session_health(state->session, &json, &error);
    put_status(status, error);
    put_text("health", json);
    pg_text_free(json);
}

static void close_session(struct state *state, int64_t timeout_ms)
{
    pg_error *error = NULL;
    pg_status status = pg_session_close(state->session, timeout_ms, &error);
    put_status(status, error);
}

/* Every _free and every getter takes NULL; answers PG_OK or what does not hold. */
#define HOLDS(condition) \
    do { \
        if (!(condition)) { \
            put_text("status", "does not hold: " #condition); \
            return; \
        } \
    } while (0)

static void free_nulls(void)
{
    pg_config_free(NULL);
    pg_client_free(NULL);
    pg_token_free(NULL);
    pg_error_free(NULL);
    pg_session_free(NULL);
    pg_text_free(NULL);
    HOLDS(pg_error_status(NULL) == PG_OK);
    HOLDS(strcmp(pg_error_text(NULL), "") == 0);
    HOLDS(pg_error_http_status(NULL) == 0);
    HOLDS(pg_error_server_code(NULL) == NULL);
    HOLDS(pg_error_server_message(NULL) == NULL);
    HOLDS(pg_error_server_details(NULL) == NULL);
    HOLDS(pg_error_retry_after_ms(NULL) == -1);
    HOLDS(!pg_error_is_retryable(NULL));
    HOLDS(!pg_error_needs_credentials(NULL));
    HOLDS(pg_error_refresh_token_fate(NULL) == PG_FATE_NONE);
    HOLDS(pg_token_ref(NULL) == NULL);
    HOLDS(pg_token_access_token(NULL) == NULL);
    HOLDS(pg_token_access_token_length(NULL) == 0);
    HOLDS(pg_token_refresh_token(NULL) == NULL);
    HOLDS(pg_token_refresh_token_length(NULL) == 0);
    HOLDS(pg_token_fingerprint(NULL) == NULL);
    HOLDS(pg_token_lifetime_ms(NULL) == 0);
    HOLDS(pg_token_lifetime_disagreement_ms(NULL) == 0);
    HOLDS(pg_token_remaining_ms(NULL) == 0);
    HOLDS(pg_token_generation(NULL) == 0);
    HOLDS(pg_session_ref(NULL) == NULL);
    pg_queue_free(NULL);
    pg_event_free(NULL);
    pg_response_free(NULL);
    HOLDS(pg_event_kind(NULL) == PG_EVENT_NONE);
    HOLDS(pg_event_id(NULL) == 0);
    HOLDS(pg_event_status(NULL) == PG_OK);
    HOLDS(pg_event_error(NULL) == NULL);
    HOLDS(pg_event_token(NULL) == NULL);
    HOLDS(pg_event_response(NULL) == NULL);
    HOLDS(pg_event_log_level(NULL) == PG_LOG_NONE);
    HOLDS(pg_event_text(NULL) == NULL);
    HOLDS(pg_response_ref(NULL) == NULL);
    HOLDS(pg_response_status(NULL) == 0);
    HOLDS(pg_response_body(NULL) == NULL);
    HOLDS(pg_response_body_length(NULL) == 0);
    HOLDS(pg_response_header(NULL, "date") == NULL);
    HOLDS(pg_response_header_count(NULL) == 0);
    HOLDS(pg_response_header_name(NULL, 0) == NULL);
    HOLDS(pg_response_header_value(NULL, 0) == NULL);
    put_status(PG_OK, NULL);
}

/* Pointers of queues and requests that the other commands cannot express. */
static bool raw_queue(struct state *state, const char *what, pg_status *status, pg_error **error)
{
    const pg_session *session = state->session;
    pg_queue *queue = NULL;
    pg_event *event = NULL;
    pg_response *response = NULL;
    int32_t fd = 0;
    bool known = true;
    if (pg_queue_new(&queue, NULL) != PG_OK)
        give_up("there is no queue");

    if (strcmp(what, "queue-new-null-out") == 0)
        *status = pg_queue_new(NULL, error);
    else if (strcmp(what, "queue-fd-null-queue") == 0)
        *status = pg_queue_fd(NULL, &fd, error);
    else if (strcmp(what, "queue-fd-null-out") == 0)
        *status = pg_queue_fd(queue, NULL, error);
    else if (strcmp(what, "queue-poll-null-queue") == 0)
        *status = pg_queue_poll(NULL, 0, &event, error);
    else if (strcmp(what, "queue-poll-null-out") == 0)
        *status = pg_queue_poll(queue, 0, NULL, error);
    else if (strcmp(what, "queue-cancel-null-queue") == 0)
        *status = pg_queue_cancel(NULL, 1, error);
    else if (strcmp(what, "token-start-null-session") == 0)
        *status = pg_session_token_start(NULL, queue, 1, 0, 0, error);
    else if (strcmp(what, "token-start-null-queue") == 0)
        *status = pg_session_token_start(session, NULL, 1, 0, 0, error);
    else if (strcmp(what, "subscribe-null-session") == 0)
        *status = pg_session_subscribe(NULL, queue, 1, PG_LOG_NONE, error);
    else if (strcmp(what, "subscribe-null-queue") == 0)
        *status = pg_session_subscribe(session, NULL, 1, PG_LOG_NONE, error);
    else if (strcmp(what, "request-null-session") == 0)
        *status = pg_session_request(NULL, "GET", "/wallet", NULL, NULL, 0, 0, &response, error);
    else if (strcmp(what, "request-null-method") == 0)
        *status = pg_session_request(session, NULL, "/wallet", NULL, NULL, 0, 0, &response, error);
    else if (strcmp(what, "request-null-path") == 0)
        *status = pg_session_request(session, "GET", NULL, NULL, NULL, 0, 0, &response, error);
    else if (strcmp(what, "request-null-body") == 0)
        *status = pg_session_request(session, "POST", "/deals/payin", NULL, NULL, 1, 0, &response, error);
    else if (strcmp(what, "request-null-out") == 0)
        *status = pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, 0, NULL, error);
    else if (strcmp(what, "request-start-null-session") == 0)
        *status = pg_session_request_start(NULL, queue, 1, "GET", "/wallet", NULL, NULL, 0, 0, error);
    else if (strcmp(what, "request-start-null-queue") == 0)
        *status = pg_session_request_start(session, NULL, 1, "GET", "/wallet", NULL, NULL, 0, 0, error);
    else
        known = false;
    pg_response_free(response);
    pg_event_free(event);
    pg_queue_free(queue);
    return known;
}

/* Pointers that the other commands cannot express. */
static void raw(struct state *state, const char *what)
{
    pg_client *made = NULL;
    pg_session *opened = NULL;
    pg_token *token = NULL;
    pg_error *error = NULL;
    pg_status status = PG_OK;
    char small[8];

    if (strcmp(what, "free-nulls") == 0) {
        free_nulls();
        return;
    }
    if (strcmp(what, "set-null-config") == 0)
        status = pg_config_set(NULL, "user_agent", "shop", &error);
    else if (strcmp(what, "set-null-name") == 0)
        status = pg_config_set(state->config, NULL, "shop", &error);
    else if (strcmp(what, "set-null-value") == 0)
        status = pg_config_set(state->config, "user_agent", NULL, &error);
    else if (strcmp(what, "client-null-config") == 0)
        status = pg_client_new(NULL, &made, &error);
    else if (strcmp(what, "client-null-out") == 0)
        status = pg_client_new(state->config, NULL, &error);
    else if (strcmp(what, "issue-null-client") == 0)
        status = pg_issue_token(NULL, NULL, NULL, PG_TIMEOUT_DEFAULT, &token, &error);
    else if (strcmp(what, "issue-null-out") == 0)
        status = pg_issue_token(state->client, NULL, NULL, PG_TIMEOUT_DEFAULT, NULL, &error);
    else if (strcmp(what, "refresh-null-client") == 0)
        status = pg_refresh_token(NULL, NULL, "r", PG_TIMEOUT_DEFAULT, &token, &error);
    else if (strcmp(what, "refresh-null-out") == 0)
        status = pg_refresh_token(state->client, NULL, "r", PG_TIMEOUT_DEFAULT, NULL, &error);
    else if (strcmp(what, "refresh-null-refresh") == 0)
        status = pg_refresh_token(state->client, NULL, NULL, PG_TIMEOUT_DEFAULT, &token, &error);
    else if (strcmp(what, "session-open-null-client") == 0)
        status = pg_session_open(NULL, state->config, &opened, &error);
    else if (strcmp(what, "session-open-null-config") == 0)
        status = pg_session_open(state->client, NULL, &opened, &error);
    else if (strcmp(what, "session-open-null-out") == 0)
        status = pg_session_open(state->client, state->config, NULL, &error);
    else if (strcmp(what, "session-token-null-session") == 0)
        status = pg_session_token(NULL, PG_TIMEOUT_DEFAULT, &token, &error);
    else if (strcmp(what, "session-token-null-out") == 0)
        status = pg_session_token(state->session, PG_TIMEOUT_DEFAULT, NULL, &error);
    else if (strcmp(what, "session-reject-null-token") == 0)
        status = pg_session_reject(state->session, NULL, 401, &error);
    else if (strcmp(what, "session-health-null-out") == 0)
        status = pg_session_health(state->session, NULL, &error);
    else if (strcmp(what, "copy-null-buffer") == 0)
        status = pg_session_copy_access_token(state->session, PG_TIMEOUT_DEFAULT, NULL, 0, NULL, &error);
    else if (strcmp(what, "copy-small-buffer") == 0)
        status = pg_session_copy_access_token(state->session, PG_TIMEOUT_DEFAULT, small, sizeof small, NULL, &error);
    else if (strcmp(what, "error-out-null") == 0)
        status = pg_config_set(state->config, "no.such.setting", "1", NULL);
    else if (!raw_queue(state, what, &status, &error))
        give_up("raw does not know this word");
    put_status(status, error);
    pg_client_free(made);
    pg_session_free(opened);
    pg_token_free(token);
}

/* Splits a line at its tabs; answers how many words it has. */
static int split(char *line, char *words[MOST_WORDS])
{
    int count = 0;
    line[strcspn(line, "\n")] = '\0';
    for (char *rest = line; rest != NULL && count < MOST_WORDS; count++) {
        words[count] = rest;
        rest = strchr(rest, '\t');
        if (rest != NULL)
            *rest++ = '\0';
    }
    return count;
}

int main(void)
{
    struct state state = { pg_config_new(), pg_config_new(), NULL, NULL, NULL, NULL };
    char *line = NULL, *words[MOST_WORDS];
    size_t room = 0;

    while (getline(&line, &room, stdin) != -1) {
        int count = split(line, words);
        const char *command = words[0];
        if (strcmp(command, "set") == 0 && count == 3)
            set(&state, text_of(words[1], &state), text_of(words[2], &state));
        else if (strcmp(command, "env") == 0 && count == 1)
            env(&state);
        else if (strcmp(command, "client") == 0 && count == 1)
            client(&state);
        else if (strcmp(command, "issue") == 0 && count == 4)
            issue(&state, text_of(words[1], &state), text_of(words[2], &state), number_of(words[3]));
        else if (strcmp(command, "refresh") == 0 && count == 4)
            refresh(&state, text_of(words[1], &state), text_of(words[2], &state), number_of(words[3]));
        else if (strcmp(command, "open") == 0 && count == 1)
            open_session(&state);
        else if (strcmp(command, "open_pair") == 0 && count == 4)
            open_pair(&state, text_of(words[1], &state), text_of(words[2], &state), text_of(words[3], &state));
        else if (strcmp(command, "token") == 0 && count == 3)
            token(&state, number_of(words[1]), number_of(words[2]));
        else if (strcmp(command, "reject") == 0 && count == 2)
            reject(&state, number_of(words[1]));
        else if (strcmp(command, "credentials") == 0 && count == 3)
            credentials(&state, text_of(words[1], &state), text_of(words[2], &state));
        else if (strcmp(command, "request") == 0 && count == 6)
            request(&state, text_of(words[1], &state), text_of(words[2], &state), text_of(words[3], &state),
                    text_of(words[4], &state), number_of(words[5]));
        else if (strcmp(command, "subscribe") == 0 && count == 2)
            subscribe(&state, number_of(words[1]));
        else if (strcmp(command, "events") == 0 && count == 1)
            events(&state);
        else if (strcmp(command, "health") == 0 && count == 1)
            health(&state);
        else if (strcmp(command, "close") == 0 && count == 2)
            close_session(&state, number_of(words[1]));
        else if (strcmp(command, "raw") == 0 && count == 2)
            raw(&state, words[1]);
        else
            give_up("a line is not a command with its words");
        putchar('\n');
        fflush(stdout);
    }
    free(line);
    pg_token_free(state.token);
    pg_session_free(state.session);
    pg_queue_free(state.news);
    pg_client_free(state.client);
    pg_config_free(state.without_credentials);
    pg_config_free(state.config);
    return EXIT_SUCCESS;
}
