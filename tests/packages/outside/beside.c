/* A program that links another archive in Rust beside this library. Both panic, and each catches its own. */

#include "broken_clock.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <paymentsgate_auth.h>

uint32_t other_panics(void);

int main(void)
{
    pg_config *config = pg_config_new(), *pair = pg_config_new();
    pg_client *client = NULL;
    pg_session *session = NULL, *none = NULL;
    pg_token *token = NULL;
    pg_error *error = NULL;
    uint32_t caught = other_panics();
    int32_t status = PG_OK;

    if (pg_config_set_from_env(config, &error) != PG_OK
        || pg_client_new(config, &client, &error) != PG_OK
        || pg_session_open(client, config, &session, &error) != PG_OK
        || pg_session_token(session, 10000, &token, &error) != PG_OK)
        fprintf(stderr, "%s\n", pg_error_text(error));
    /* A session from a pair counts its age from now on. */
    pg_config_set(pair, "access_token", "a", NULL);
    pg_config_set(pair, "refresh_token", "r", NULL);
    clock_is_broken = 1;
    status = pg_session_open(client, pair, &none, NULL);
    clock_is_broken = 0;
    caught += other_panics();

    int result = token != NULL && status == PG_ERR_INTERNAL && caught == 4 ? EXIT_SUCCESS : EXIT_FAILURE;
    fprintf(stderr, "status %d, %u panics of the other archive\n", (int)status, (unsigned)caught);
    pg_error_free(error);
    pg_token_free(token);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(pair);
    pg_config_free(config);
    return result;
}
