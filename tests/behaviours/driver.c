/*
* Runs the table of behaviours through the C interface.
 *
* Commands come on standard input, one per line, with tabs between their words:
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

#include "cdriver/answers.h"
#include "cdriver/queue.h"
#include "cdriver/words.h"

#include "../c/memory_store.h"

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

/* Its client has no credentials either, since the session would use them. */
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

/* Called after the last use. */
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

#include "cdriver/raw.h"

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
