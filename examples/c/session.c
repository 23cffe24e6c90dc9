/*
 * The way a program lives with a session: it asks for a token before each request, and reports the one that the
 * service refuses. Everything else is the session's work.
 *
 *   cc -std=c99 session.c $(pkg-config --cflags --libs paymentsgate_auth libcurl) -o session
 *   PAYMENTSGATE_BASE_URL=https://… PAYMENTSGATE_CREDENTIALS_FILE=credentials.json ./session
 *
 * The URL goes without a slash at its end. PAYMENTSGATE_TLS_CA_FILE names a further certificate authority, for
 * example the emulator's.
 */

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <paymentsgate_auth.h>

enum { REQUESTS = 3, PATIENCE_MS = 5000, UNAUTHORIZED = 401 };

static size_t ignore(char *data, size_t size, size_t length, void *unused)
{
    (void)data;
    (void)unused;
    return size * length;
}

/* GET /wallet; the HTTP status, or 0 if no answer came. */
static int32_t get_wallet(CURL *curl, const pg_token *token)
{
    const char *ca_file = getenv("PAYMENTSGATE_TLS_CA_FILE");
    long http_status = 0;
    char url[1024];

    int length = snprintf(url, sizeof url, "%s/wallet", getenv("PAYMENTSGATE_BASE_URL"));
    if (length < 0 || (size_t)length >= sizeof url) {
        fprintf(stderr, "PAYMENTSGATE_BASE_URL is too long\n");
        return 0;
    }
    CURLcode code = curl_easy_setopt(curl, CURLOPT_URL, url);
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, pg_token_access_token(token));
    if (code == CURLE_OK && ca_file != NULL)
        code = curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file);
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 15000L);
    if (code == CURLE_OK)
        code = curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore);
    if (code == CURLE_OK)
        code = curl_easy_perform(curl);
    if (code == CURLE_OK)
        code = curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http_status);
    if (code != CURLE_OK)
        fprintf(stderr, "GET %s: %s; check the address and the network\n", url, curl_easy_strerror(code));
    return (int32_t)http_status;
}

/* One request with the session's token; its HTTP status, 0 if there is none. */
static int32_t request_once(CURL *curl, const pg_session *session, pg_error **error)
{
    pg_token *token = NULL;

    /* Fresh, it comes from memory, so nothing is won by keeping it. */
    if (pg_session_token(session, PATIENCE_MS, &token, error) != PG_OK)
        return 0;
    int32_t http_status = get_wallet(curl, token);
    /* A token is shown by its fingerprint, never by its text. */
    printf("wallet     HTTP %" PRId32 " with %s, generation %" PRIu64 ", %" PRId64 " s left\n", http_status,
           pg_token_fingerprint(token), pg_token_generation(token), pg_token_remaining_ms(token) / 1000);
    /* Of a 401 the session makes a new token; every other status it leaves alone. */
    if (http_status != 0 && pg_session_reject(session, token, http_status, error) != PG_OK)
        http_status = 0;
    pg_token_free(token);
    return http_status;
}

/* A token may be withdrawn at any time, so a request is tried once more, but not again. */
static int request(CURL *curl, const pg_session *session, pg_error **error)
{
    int32_t http_status = request_once(curl, session, error);
    if (http_status == UNAUTHORIZED)
        http_status = request_once(curl, session, error);
    return http_status == 200 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int show_health(const pg_session *session, pg_error **error)
{
    char *health = NULL;
    if (pg_session_health(session, &health, error) != PG_OK)
        return EXIT_FAILURE;
    printf("health     %s\n", health);
    pg_text_free(health);
    return EXIT_SUCCESS;
}

int main(void)
{
    CURL *curl = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_easy_init() : NULL;
    if (curl == NULL) {
        fprintf(stderr, "libcurl cannot be used: it has no memory\n");
        return EXIT_FAILURE;
    }
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
            result = request(curl, session, &error);
        if (result == EXIT_SUCCESS)
            result = show_health(session, &error);
        if (result == EXIT_SUCCESS && pg_session_close(session, PATIENCE_MS, &error) != PG_OK)
            result = EXIT_FAILURE;
    }
    if (error != NULL)
        fprintf(stderr, "%s: %s\n", pg_status_name(pg_error_status(error)), pg_error_text(error));

    /* Every _free takes NULL. */
    pg_error_free(error);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    curl_easy_cleanup(curl);
    curl_global_cleanup();
    return result;
}
