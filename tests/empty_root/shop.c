/* A program of the tests: issues a pair, then opens a session and gets a token from it. Prints "a token" and the health of
 * the session, or the error. */

#include <stdio.h>
#include <stdlib.h>

#include <paymentsgate_auth.h>

enum { TIMEOUT_MS = 60000 };

int main(void)
{
    pg_config *config = pg_config_new();
    pg_client *client = NULL;
    pg_session *session = NULL;
    pg_token *pair = NULL, *token = NULL;
    pg_error *error = NULL;
    char *health = NULL;
    int result = EXIT_FAILURE;

    if (pg_config_set_from_env(config, &error) == PG_OK &&
        pg_client_new(config, &client, &error) == PG_OK &&
        pg_issue_token(client, NULL, NULL, TIMEOUT_MS, &pair, &error) == PG_OK &&
        pg_session_open(client, config, &session, &error) == PG_OK &&
        pg_session_token(session, TIMEOUT_MS, &token, &error) == PG_OK &&
        pg_session_health(session, &health, &error) == PG_OK &&
        pg_session_close(session, TIMEOUT_MS, &error) == PG_OK) {
        printf("a token: %s\n%s\n", pg_token_fingerprint(token), health);
        result = EXIT_SUCCESS;
    } else {
        printf("%s: %s\n", pg_status_name(pg_error_status(error)), pg_error_text(error));
    }

    pg_text_free(health);
    pg_error_free(error);
    pg_token_free(pair);
    pg_token_free(token);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    return result;
}
