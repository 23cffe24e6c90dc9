/* Copies a fresh token a given number of times in one thread, and its text with the least that C can do, so that callgrind can count
 * the instructions of each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <paymentsgate_auth.h>

static char *volatile shared;

__attribute__((noinline)) void copy_in_c(char *buffer, size_t length)
{
    struct timespec now;
    const char *text = shared;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec != 0)
        memcpy(buffer, text, length + 1);
}

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
    shared = buffer;
    for (long i = 0; i < copies; i++)
        copy_in_c(buffer, length);
    printf("%zu bytes\n", length);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    return 0;
failed:
    fprintf(stderr, "%s\n", pg_error_text(error));
    return 1;
}
