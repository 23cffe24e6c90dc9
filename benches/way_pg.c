#include <stdio.h>
#include <stdlib.h>

#include <paymentsgate_auth.h>

#include "way.h"

static void must(pg_status status, pg_error *error)
{
    if (status != PG_OK) {
        fprintf(stderr, "paymentsgate-auth: %s\n", pg_error_text(error));
        exit(EXIT_FAILURE);
    }
}

static void *open_client(const char *base_url)
{
    pg_error *error = NULL;
    pg_client *client = NULL;
    pg_config *config = pg_config_new();
    must(pg_config_set(config, "base_url", base_url, &error), error);
    must(pg_config_set(config, "tls.ca_file", getenv("PAYMENTSGATE_TLS_CA_FILE"), &error), error);
    must(pg_config_set(config, "tls.system_roots", "false", &error), error);
    must(pg_config_set(config, "proxy", "none", &error), error);
    must(pg_client_new(config, &client, &error), error);
    pg_config_free(config);
    return client;
}

static void refresh(void *client, const char *access_token, const char *refresh_token)
{
    pg_error *error = NULL;
    pg_token *token = NULL;
    must(pg_refresh_token(client, access_token, refresh_token, 10000, &token, &error), error);
    pg_token_free(token);
}

static void close_client(void *client)
{
    pg_client_free(client);
}

const struct way pg_way = {"paymentsgate-auth", open_client, refresh, close_client};
