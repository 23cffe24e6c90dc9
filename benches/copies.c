/* Copies a fresh token a given number of times in one thread, so that callgrind can count the instructions. */
#include <stdio.h>
#include <stdlib.h>

#include <paymentsgate_auth.h>

int main(int count, char **arguments)
{
    static char buffer[8192];
    pg_error *error = NULL;
    pg_config *config = pg_config_new();
    pg_client *client;
    pg_session *session;
    size_t length = 0;
    long copies = count > 1 ? atol(arguments[1]) : 1;

    if (pg_config_set_from_env(config, &error) != PG_OK || pg_client_new(config, &client, &error) != PG_OK ||
        pg_session_open(client, config, &session, &error) != PG_OK)
        goto failed;
    for (long i = 0; i < copies; i++)
        if (pg_session_copy_access_token(session, PG_TIMEOUT_DEFAULT, buffer, sizeof buffer, &length, &error) != PG_OK)
            goto failed;
    printf("%zu bytes\n", length);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    return 0;
failed:
    fprintf(stderr, "%s\n", pg_error_text(error));
    return 1;
}
