/* The commands of driver.c that use a queue: started calls and events. */

#ifndef CDRIVER_QUEUE_H
#define CDRIVER_QUEUE_H

#include <poll.h>

#include "answers.h"
#include "words.h"

/* Starts a call. Its words are those of the waiting command. */
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

/* Takes all waiting events. A pair that the host keeps becomes the last token. */
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

#endif
