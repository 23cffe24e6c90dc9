/* Requests with this library: one session for all threads. */
#include "request.h"

#include <stdio.h>
#include <stdlib.h>

#include <paymentsgate_auth.h>

static pg_client *client;
static pg_session *session;

static void must(pg_status status, pg_error *error)
{
    if (status != PG_OK) {
        fprintf(stderr, "paymentsgate-auth: %s\n", pg_error_text(error));
        exit(EXIT_FAILURE);
    }
}

void open_service(const char *base_url)
{
    pg_error *error = NULL;
    pg_config *config = pg_config_new();
    must(pg_config_set_from_env(config, &error), error);
    must(pg_config_set(config, "base_url", base_url, &error), error);
    must(pg_config_set(config, "tls.system_roots", "false", &error), error);
    must(pg_config_set(config, "proxy", "none", &error), error);
    must(pg_client_new(config, &client, &error), error);
    must(pg_session_open(client, config, &session, &error), error);
    pg_config_free(config);
}

void close_service(void)
{
    pg_session_free(session);
    pg_client_free(client);
}

void *enter(void)
{
    return session;
}

void ask(void *caller)
{
    pg_error *error = NULL;
    pg_response *response = NULL;
    must(pg_session_request(caller, "GET", "/wallet", NULL, NULL, 0, 10000, &response, &error), error);
    if (pg_response_status(response) != 200 || pg_response_body_length(response) == 0)
        exit(EXIT_FAILURE);
    pg_response_free(response);
}

void leave(void *caller)
{
    (void)caller;
}
