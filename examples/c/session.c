/*
 * Calls the API a few times with a session, which manages the tokens.
 *
 *   cc -std=c99 session.c $(pkg-config --cflags --libs paymentsgate_auth) -o session
 *   PAYMENTSGATE_BASE_URL=https://… PAYMENTSGATE_CREDENTIALS_FILE=credentials.json ./session
 *
 * PAYMENTSGATE_TLS_CA_FILE names an additional certificate authority, for example the emulator's.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <paymentsgate_auth.h>

enum { REQUESTS = 3, TIMEOUT_MS = 30000 };

/* Any complete answer is a response, whatever its HTTP status. */
static int show_wallet(const pg_session *session, pg_error **error)
{
    pg_response *response = NULL;
    if (pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, TIMEOUT_MS, &response, error) != PG_OK)
        return EXIT_FAILURE;
    printf("%-8s HTTP %" PRId32 "  ", "wallet", pg_response_status(response));
    /* The body has a length, and is not NUL-terminated. */
    fwrite(pg_response_body(response), 1, pg_response_body_length(response), stdout);
    putchar('\n');
    int result = pg_response_status(response) == 200 ? EXIT_SUCCESS : EXIT_FAILURE;
    pg_response_free(response);
    return result;
}

/* For programs with their own HTTP client: only the token. A fresh token comes from memory, so there is no need to cache it.
 * After a 401 call pg_session_reject(session, token, 401, error). */
static int show_token(const pg_session *session, pg_error **error)
{
    pg_token *token = NULL;
    if (pg_session_token(session, TIMEOUT_MS, &token, error) != PG_OK)
        return EXIT_FAILURE;
    /* A token is shown by its fingerprint, never by its text. */
    printf("%-8s %s  generation %" PRIu64 "  %" PRId64 " s left\n", "token", pg_token_fingerprint(token),
           pg_token_generation(token), pg_token_remaining_ms(token) / 1000);
    pg_token_free(token);
    return EXIT_SUCCESS;
}

static int show_health(const pg_session *session, pg_error **error)
{
    char *health = NULL;
    if (pg_session_health(session, &health, error) != PG_OK)
        return EXIT_FAILURE;
    printf("%-8s %s\n", "health", health);
    pg_text_free(health);
    return EXIT_SUCCESS;
}

int main(void)
{
    pg_config *config = pg_config_new();
    pg_client *client = NULL;
    pg_session *session = NULL;
    pg_error *error = NULL;
    int result = EXIT_FAILURE;

    /* A program opens one session for an account, and its threads share it. */
    if (pg_config_set_from_env(config, &error) == PG_OK &&
        pg_client_new(config, &client, &error) == PG_OK &&
        pg_session_open(client, config, &session, &error) == PG_OK) {
        result = EXIT_SUCCESS;
        for (int i = 0; i < REQUESTS && result == EXIT_SUCCESS; i++)
            result = show_wallet(session, &error);
        if (result == EXIT_SUCCESS)
            result = show_token(session, &error);
        if (result == EXIT_SUCCESS)
            result = show_health(session, &error);
        if (result == EXIT_SUCCESS && pg_session_close(session, TIMEOUT_MS, &error) != PG_OK)
            result = EXIT_FAILURE;
    }
    if (error != NULL)
        fprintf(stderr, "%s: %s\n", pg_status_name(pg_error_status(error)), pg_error_text(error));

    /* Every _free accepts NULL. */
    pg_error_free(error);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    return result;
}
