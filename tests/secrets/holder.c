/* The program of the tests in C: it uses a session from a pair and closes it. Each secret is written to the output without a
 * copy, as "NAME TEXT"; at each "stage NAME" it waits for a line of the input. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <paymentsgate_auth.h>

enum { TIMEOUT_MS = 15000, NEWS = 1 };

static void put(const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        ssize_t written = write(STDOUT_FILENO, text, left);
        if (written < 0)
            _exit(3);
        text += written;
        left -= (size_t)written;
    }
}

static void tell(const char *name, const char *secret)
{
    put(name);
    put(" ");
    put(secret);
    put("\n");
}

static void wait_at(const char *stage)
{
    char byte = 0;
    tell("stage", stage);
    while (byte != '\n')
        if (read(STDIN_FILENO, &byte, 1) != 1)
            _exit(3);
}

/* A line of the input. */
static void receive(char *text, size_t size)
{
    for (size_t length = 0; length < size; length++) {
        if (read(STDIN_FILENO, text + length, 1) != 1)
            _exit(3);
        if (text[length] == '\n') {
            text[length] = '\0';
            return;
        }
    }
    _exit(3);
}

static void need(pg_status status, pg_error *error)
{
    if (status == PG_OK)
        return;
    fprintf(stderr, "%s\n", pg_error_text(error));
    _exit(3);
}

/* Tells the pair of the next event. */
static void tell_rotated(const pg_queue *queue, const char *access, const char *refresh)
{
    pg_error *error = NULL;
    pg_event *event = NULL;
    need(pg_queue_poll(queue, TIMEOUT_MS, &event, &error), error);
    if (event == NULL || pg_event_kind(event) != PG_EVENT_ROTATED)
        _exit(3);
    tell(access, pg_token_access_token(pg_event_token(event)));
    tell(refresh, pg_token_refresh_token(pg_event_token(event)));
    pg_event_free(event);
}

static pg_session *open_from_pair(const pg_client *client)
{
    pg_error *error = NULL;
    pg_session *session = NULL;
    pg_token *pair = NULL;
    pg_config *config = pg_config_new();

    need(pg_config_set_from_env(config, &error), error);
    need(pg_issue_token(client, NULL, NULL, TIMEOUT_MS, &pair, &error), error);
    tell("first-access", pg_token_access_token(pair));
    tell("first-refresh", pg_token_refresh_token(pair));
    need(pg_config_set(config, "access_token", pg_token_access_token(pair), &error), error);
    need(pg_config_set(config, "refresh_token", pg_token_refresh_token(pair), &error), error);
    pg_token_free(pair);
    need(pg_session_open(client, config, &session, &error), error);
    pg_config_free(config);
    return session;
}

static void request(const pg_session *session)
{
    char header[128], body[128];
    const char *headers[] = { "X-Secret", header, NULL };
    pg_error *error = NULL;
    pg_response *response = NULL;

    receive(header, sizeof header);
    receive(body, sizeof body);
    need(pg_session_request(session, "POST", "/deals/payin", headers, (const uint8_t *)body, strlen(body), TIMEOUT_MS,
                            &response, &error),
         error);
    pg_response_free(response);
    explicit_bzero(header, sizeof header);
    explicit_bzero(body, sizeof body);
}

int main(void)
{
    pg_error *error = NULL;
    pg_client *client = NULL;
    pg_queue *queue = NULL;
    pg_token *token = NULL;
    pg_config *config = pg_config_new();

    need(pg_config_set_from_env(config, &error), error);
    need(pg_client_new(config, &client, &error), error);
    pg_config_free(config);
    pg_session *session = open_from_pair(client);
    need(pg_queue_new(&queue, &error), error);
    need(pg_session_subscribe(session, queue, NEWS, PG_LOG_NONE, &error), error);
    need(pg_session_token(session, TIMEOUT_MS, &token, &error), error);
    pg_token_free(token);
    tell_rotated(queue, "second-access", "second-refresh");
    need(pg_session_refresh(session, TIMEOUT_MS, &token, &error), error);
    pg_token_free(token);
    tell_rotated(queue, "access", "refresh");
    request(session);
    wait_at("active");
    pg_session_free(session);
    pg_queue_free(queue);
    pg_client_free(client);
    wait_at("closed");
    return EXIT_SUCCESS;
}
