/*
 * Calls the API without blocking. Each operation ends in an event on a queue, whose descriptor the program adds to its
 * poll(2), epoll or libuv. The session's events come on the same queue.
 *
 *   cc -std=c99 queue.c $(pkg-config --cflags --libs paymentsgate_auth) -o queue
 *   PAYMENTSGATE_BASE_URL=https://… PAYMENTSGATE_CREDENTIALS_FILE=credentials.json ./queue
 *
 * PAYMENTSGATE_TLS_CA_FILE names an additional certificate authority, for example the emulator's.
 */

#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <paymentsgate_auth.h>

/* The ids that the program gives its operations. The subscription continues, the other two end. */
enum { EVENTS = 1, WALLET = 2, FX = 3 };

enum { TIMEOUT_MS = 30000 };

static int start_all(const pg_session *session, const pg_queue *queue, pg_error **error)
{
    static const char FX_PATH[] = "/fx/calculation?currencyFrom=EUR&currencyTo=USDT&amount=100";
    return pg_session_subscribe(session, queue, EVENTS, PG_LOG_INFO, error) == PG_OK &&
           pg_session_request_start(session, queue, WALLET, "GET", "/wallet", NULL, NULL, 0, TIMEOUT_MS, error) ==
               PG_OK &&
           pg_session_request_start(session, queue, FX, "GET", FX_PATH, NULL, NULL, 0, TIMEOUT_MS, error) == PG_OK;
}

static void show_response(const char *name, const pg_event *event)
{
    const pg_response *response = pg_event_response(event);
    if (response == NULL) {
        printf("%-8s %s\n", name, pg_error_text(pg_event_error(event)));
        return;
    }
    printf("%-8s HTTP %" PRId32 "  ", name, pg_response_status(response));
    fwrite(pg_response_body(response), 1, pg_response_body_length(response), stdout);
    putchar('\n');
}

static void show_event(const pg_event *event)
{
    if (pg_event_kind(event) == PG_EVENT_LOG)
        printf("%-8s %s\n", "log", pg_event_text(event));
    else if (pg_event_kind(event) == PG_EVENT_ROTATED)
        printf("%-8s there is a token %s\n", "event", pg_token_fingerprint(pg_event_token(event)));
    else if (pg_event_error(event) != NULL)
        printf("%-8s %s\n", "event", pg_error_text(pg_event_error(event)));
}

/* The program's event loop, here with one descriptor. It ends when both requests have ended. */
static int run(const pg_queue *queue, pg_error **error)
{
    struct pollfd waiting = { -1, POLLIN, 0 };
    int pending = 2;
    if (pg_queue_fd(queue, &waiting.fd, error) != PG_OK)
        return EXIT_FAILURE;
    while (pending > 0) {
        pg_event *event = NULL;
        if (poll(&waiting, 1, TIMEOUT_MS) == -1)
            return EXIT_FAILURE;
        /* The descriptor may be readable without an event. Then the event is NULL, which every getter accepts. */
        if (pg_queue_poll(queue, 0, &event, error) != PG_OK)
            return EXIT_FAILURE;
        switch (pg_event_id(event)) {
        case WALLET:
            show_response("wallet", event);
            pending--;
            break;
        case FX:
            show_response("fx", event);
            pending--;
            break;
        case EVENTS: show_event(event); break;
        }
        pg_event_free(event);
    }
    return EXIT_SUCCESS;
}

int main(void)
{
    pg_config *config = pg_config_new();
    pg_client *client = NULL;
    pg_session *session = NULL;
    pg_queue *queue = NULL;
    pg_error *error = NULL;
    int result = EXIT_FAILURE;

    if (pg_config_set_from_env(config, &error) == PG_OK &&
        pg_client_new(config, &client, &error) == PG_OK &&
        pg_session_open(client, config, &session, &error) == PG_OK &&
        pg_queue_new(&queue, &error) == PG_OK &&
        start_all(session, queue, &error))
        result = run(queue, &error);
    if (error != NULL)
        fprintf(stderr, "%s: %s\n", pg_status_name(pg_error_status(error)), pg_error_text(error));

    /* Freeing the last handle ends the session. Freeing the queue abandons the operations on it. */
    pg_error_free(error);
    pg_session_free(session);
    pg_queue_free(queue);
    pg_client_free(client);
    pg_config_free(config);
    return result;
}
