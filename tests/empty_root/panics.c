/* A program of the tests: a panic inside the library is an error, and a session that was open before still serves its token.
 * Prints "contained", or what was wrong. */

#include "broken_clock.h"

#include <stdio.h>
#include <stdlib.h>

#include <paymentsgate_auth.h>

enum { TIMEOUT_MS = 60000 };

int main(void)
{
    pg_config *config = pg_config_new(), *pair = pg_config_new();
    pg_client *client = NULL;
    pg_session *session = NULL, *none = NULL, *second = NULL;
    pg_token *token = NULL;
    pg_error *panic = NULL, *error = NULL;
    int result = EXIT_FAILURE;

    /* A session from a pair counts its age from now on. */
    pg_config_set(pair, "access_token", "a", NULL);
    pg_config_set(pair, "refresh_token", "r", NULL);
    if (pg_config_set_from_env(config, &error) == PG_OK &&
        pg_client_new(config, &client, &error) == PG_OK &&
        pg_session_open(client, config, &session, &error) == PG_OK) {
        clock_is_broken = 1;
        pg_status status = pg_session_open(client, pair, &none, &panic);
        clock_is_broken = 0;
        if (status != PG_ERR_INTERNAL || none != NULL)
            printf("a panic was to be PG_ERR_INTERNAL, and is %s\n", pg_status_name(status));
        else if (pg_session_token(session, TIMEOUT_MS, &token, &error) == PG_OK &&
                 pg_session_open(client, pair, &second, &error) == PG_OK)
            result = EXIT_SUCCESS;
    }
    if (error != NULL)
        printf("%s: %s\n", pg_status_name(pg_error_status(error)), pg_error_text(error));
    if (result == EXIT_SUCCESS)
        printf("contained: %s\n", pg_error_text(panic));

    pg_error_free(error);
    pg_error_free(panic);
    pg_token_free(token);
    pg_session_free(none);
    pg_session_free(second);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(pair);
    pg_config_free(config);
    return result;
}
