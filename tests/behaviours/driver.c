/*
 * Plays the behaviour tables through the C interface.
 *
 * Commands come on standard input, one a line, their words separated by tabs:
 *
 *   set NAME VALUE · env · client · issue ACCOUNT KEY TIMEOUT_MS · refresh ACCESS REFRESH TIMEOUT_MS ·
 *   open · open_pair ACCESS REFRESH EXPIRES_IN_S · token TIMEOUT_MS MIN_REMAINING_MS · renew TIMEOUT_MS ·
 *   reject HTTP_STATUS · credentials ACCOUNT KEY · request METHOD PATH HEADERS BODY TIMEOUT_MS · subscribe LEVEL · events · health · metrics ·
 *   close TIMEOUT_MS · start CALL… · cancel · end · store KIND · check_store KIND · version · settings · raw WHAT
 *
 * A text is `-` for NULL, `x` and the hex of its bytes, or `@access` and `@refresh` for those of the last token.
 * Each answer is a block of lines `key<TAB>hex of the value` that ends in an empty line.
 */

#define _GNU_SOURCE

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <paymentsgate_auth.h>

#include "../c/memory_store.h"

enum { MOST_WORDS = 7, MOST_HEADERS = 32, NEWS = 7, STARTED = 8 };

struct state {
    pg_config *config;
    pg_config *without_credentials;
    pg_client *client;
    pg_token *token;
    pg_session *session;
    pg_queue *news;
    pg_queue *under_way;
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

/* The error is NULL where nobody asked for it. */
static void put_outcome(pg_status status, const pg_error *error)
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
    if (pg_error_cause(error) != PG_OK)
        put_text("cause", pg_status_name(pg_error_cause(error)));
    put_number("retryable", pg_error_is_retryable(error));
    put_number("needs_credentials", pg_error_needs_credentials(error));
    put_number("fate", pg_error_refresh_token_fate(error));
    if (pg_error_status(error) != status)
        put_text("status", "the error has another status than the call");
}

/* Frees the error. */
static void put_status(pg_status status, pg_error *error)
{
    put_outcome(status, error);
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
    put_number("generation", (int64_t)pg_token_generation(token));
    pg_token_free(state->token);
    state->token = token;
}

static int by_text(const void *one, const void *other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

/* In the order of the alphabet: languages differ in how they keep headers. */
static void put_headers(const pg_response *response)
{
    char *lines[MOST_HEADERS], all[4096] = "";
    size_t count = pg_response_header_count(response), length = 0;
    if (count > MOST_HEADERS)
        give_up("there are more headers than one answer can hold");
    for (size_t i = 0; i < count; i++)
        if (asprintf(&lines[i], "%s: %s", pg_response_header_name(response, i), pg_response_header_value(response, i)) < 0)
            give_up("there is no memory");
    qsort(lines, count, sizeof *lines, by_text);
    for (size_t i = 0; i < count; i++) {
        length += (size_t)snprintf(all + length, sizeof all - length, "%s%s", i == 0 ? "" : "\n", lines[i]);
        if (length >= sizeof all)
            give_up("the headers are longer than one answer can hold");
        free(lines[i]);
    }
    put_text("response_headers", all);
}

static void put_response(const pg_response *response)
{
    put_number("response_status", pg_response_status(response));
    put_text("response_type", pg_response_header(response, "Content-Type"));
    put_headers(response);
    put_bytes("response_body", pg_response_body(response), pg_response_body_length(response));
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
    if (status == PG_OK)
        put_token(state, token);
}

static void renew(struct state *state, int64_t timeout_ms)
{
    pg_token *token = NULL;
    pg_error *error = NULL;
    pg_status status = pg_session_refresh(state->session, timeout_ms, &token, &error);
    put_status(status, error);
    if (status == PG_OK)
        put_token(state, token);
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
    if (status == PG_OK)
        put_response(response);
    pg_response_free(response);
}

/* A call that goes on under way: its words are those of the command that waits. */
static void start(struct state *state, char **words, int count)
{
    const char *call = words[0];
    const pg_queue *queue = state->under_way;
    const char *headers[MOST_HEADERS + 1];
    struct text texts[4] = { { NULL, 0 } };
    pg_error *error = NULL;
    pg_status status = PG_OK;
    if (strcmp(call, "token") == 0 && count == 3) {
        status = pg_session_token_start(state->session, queue, STARTED, number_of(words[2]), number_of(words[1]), &error);
        put_status(status, error);
        return;
    }
    int64_t timeout_ms = number_of(words[count - 1]);
    if (strcmp(call, "renew") == 0 && count == 2) {
        status = pg_session_refresh_start(state->session, queue, STARTED, timeout_ms, &error);
        put_status(status, error);
        return;
    }
    for (int i = 0; i < count - 2; i++)
        texts[i] = text_of(words[i + 1], state);
    lines_of(texts[2], headers);
    if (strcmp(call, "issue") == 0 && count == 4)
        status = pg_issue_token_start(state->client, queue, STARTED, texts[0].bytes, texts[1].bytes, timeout_ms, &error);
    else if (strcmp(call, "refresh") == 0 && count == 4)
        status = pg_refresh_token_start(state->client, queue, STARTED, texts[0].bytes, texts[1].bytes, timeout_ms, &error);
    else if (strcmp(call, "request") == 0 && count == 6)
        status = pg_session_request_start(state->session, queue, STARTED, texts[0].bytes, texts[1].bytes, headers,
                                          (const uint8_t *)texts[3].bytes, texts[3].length, timeout_ms, &error);
    else
        give_up("start does not know this call");
    put_status(status, error);
}

static void cancel(struct state *state)
{
    pg_error *error = NULL;
    pg_status status = pg_queue_cancel(state->under_way, STARTED, &error);
    put_status(status, error);
}

/* Waits for the descriptor, as a program with an event loop does. */
static void end(struct state *state)
{
    struct pollfd readable = { -1, POLLIN, 0 };
    pg_event *event = NULL;
    if (pg_queue_fd(state->under_way, &readable.fd, NULL) != PG_OK || poll(&readable, 1, -1) != 1)
        give_up("the queue cannot be waited for");
    if (pg_queue_poll(state->under_way, 0, &event, NULL) != PG_OK || pg_event_id(event) != STARTED)
        give_up("there is no event, or one of another number");
    put_outcome(pg_event_status(event), pg_event_error(event));
    if (pg_event_token(event) != NULL)
        put_token(state, pg_token_ref(pg_event_token(event)));
    if (pg_event_response(event) != NULL)
        put_response(pg_event_response(event));
    pg_event_free(event);
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

static const char *name_of_level(pg_log_level level)
{
    switch (level) {
    case PG_LOG_ERROR: return "error";
    case PG_LOG_WARN: return "warn";
    case PG_LOG_INFO: return "info";
    case PG_LOG_DEBUG: return "debug";
    default: return "unknown";
    }
}

/* All that wait. A pair that the host keeps is the last token. */
static void events(struct state *state)
{
    char kinds[1024] = "", log[16384] = "";
    size_t length = 0, log_length = 0;
    int64_t kept = 0;
    pg_event *event = NULL;
    pg_error *error = NULL;
    pg_status status;
    while ((status = pg_queue_poll(state->news, 0, &event, &error)) == PG_OK && event != NULL) {
        length += (size_t)snprintf(kinds + length, sizeof kinds - length, "%s%s", length == 0 ? "" : ",",
                                   name_of(pg_event_kind(event)));
        if (pg_event_kind(event) == PG_EVENT_LOG)
            log_length += (size_t)snprintf(log + log_length, sizeof log - log_length, "%s%s %s", log_length == 0 ? "" : "\n",
                                           name_of_level(pg_event_log_level(event)), pg_event_text(event));
        if (length >= sizeof kinds || log_length >= sizeof log)
            give_up("there are more events than one answer can hold");
        if (pg_token_refresh_token(pg_event_token(event)) != NULL) {
            pg_token_free(state->token);
            state->token = pg_token_ref(pg_event_token(event));
            kept++;
        }
        pg_event_free(event);
    }
    put_status(status, error);
    put_text("events", kinds);
    put_number("kept", kept);
    put_text("log", log);
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

static void metrics(struct state *state)
{
    char *text = NULL;
    pg_error *error = NULL;
    pg_status status = pg_client_metrics(state->client, &text, &error);
    put_status(status, error);
    put_text("metrics", text);
    pg_text_free(text);
}

static void close_session(struct state *state, int64_t timeout_ms)
{
    pg_error *error = NULL;
    pg_status status = pg_session_close(state->session, timeout_ms, &error);
    put_status(status, error);
}

/* Whoever uses it last frees it. */
static void free_table(void *table)
{
    munmap(table, sizeof(struct table));
}

static pg_store store_of_kind(const char *kind)
{
    struct table *table = new_table();
    pg_store store = store_of(table);
    table->is_stale = strcmp(kind, "forgetful") == 0;
    table->failure = strcmp(kind, "down") == 0 ? "the disk is full" : NULL;
    store.free = free_table;
    return store;
}

static void set_store(struct state *state, const char *kind)
{
    pg_error *error = NULL;
    pg_store store = store_of_kind(kind);
    pg_status status = pg_config_set_store(state->config, &store, &error);
    put_status(status, error);
    if (status != PG_OK)
        free_table(store.context);
}

static void check_store(const char *kind)
{
    pg_error *error = NULL;
    pg_store store = store_of_kind(kind);
    pg_status status = pg_store_check(&store, &error);
    put_status(status, error);
    free_table(store.context);
}

static void version(void)
{
    if (pg_abi_version() != PG_ABI_VERSION)
        give_up("the library has another ABI");
    put_status(PG_OK, NULL);
    put_text("version", pg_version());
}

static void settings(void)
{
    char all[32768] = "";
    size_t length = 0;
    for (size_t row = 0; row < pg_setting_count(); row++) {
        length += (size_t)snprintf(all + length, sizeof all - length, "%s%s\t%s\t%s\t%s\t%s", row == 0 ? "" : "\n",
                                   pg_setting_name(row), pg_setting_type(row), pg_setting_default(row),
                                   pg_setting_range(row), pg_setting_description(row));
        if (length >= sizeof all)
            give_up("the table is longer than one answer can hold");
    }
    put_status(PG_OK, NULL);
    put_text("settings", all);
}

#include "raw.h"

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
    struct state state = { pg_config_new(), pg_config_new(), NULL, NULL, NULL, NULL, NULL };
    char *line = NULL, *words[MOST_WORDS];
    size_t room = 0;
    if (pg_queue_new(&state.under_way, NULL) != PG_OK)
        give_up("there is no queue");

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
        else if (strcmp(command, "renew") == 0 && count == 2)
            renew(&state, number_of(words[1]));
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
        else if (strcmp(command, "metrics") == 0 && count == 1)
            metrics(&state);
        else if (strcmp(command, "close") == 0 && count == 2)
            close_session(&state, number_of(words[1]));
        else if (strcmp(command, "start") == 0 && count >= 3)
            start(&state, words + 1, count - 1);
        else if (strcmp(command, "cancel") == 0 && count == 1)
            cancel(&state);
        else if (strcmp(command, "end") == 0 && count == 1)
            end(&state);
        else if (strcmp(command, "store") == 0 && count == 2)
            set_store(&state, words[1]);
        else if (strcmp(command, "check_store") == 0 && count == 2)
            check_store(words[1]);
        else if (strcmp(command, "version") == 0 && count == 1)
            version();
        else if (strcmp(command, "settings") == 0 && count == 1)
            settings();
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
    pg_queue_free(state.under_way);
    pg_client_free(state.client);
    pg_config_free(state.without_credentials);
    pg_config_free(state.config);
    return EXIT_SUCCESS;
}
