/*
 * A program with its own HTTP client, libcurl: each request carries the session's token, and a 401 is reported to the
 * session.
 *
 *   cc -std=c99 curl.c $(pkg-config --cflags --libs paymentsgate_auth libcurl) -o curl
 *   PAYMENTSGATE_BASE_URL=https://… PAYMENTSGATE_CREDENTIALS_FILE=credentials.json ./curl
 *
 * The URL must not end in a slash. PAYMENTSGATE_TLS_CA_FILE names an additional certificate authority, for example the
 * emulator's.
 */

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#include <paymentsgate_auth.h>

enum { TIMEOUT_MS = 15000 };

/* GET /wallet with a token; the body goes to standard output. libcurl copies the token. By default it sends the token to no
 * other host: leave CURLOPT_UNRESTRICTED_AUTH off. */
static CURLcode get_wallet(CURL *curl, const pg_token *token, long *http_status)
{
    CURLcode code = curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, pg_token_access_token(token));
    if (code == CURLE_OK)
        code = curl_easy_perform(curl);
    if (code == CURLE_OK)
        code = curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, http_status);
    if (code == CURLE_OK)
        printf("\nHTTP %ld\n", *http_status);
    else
        fprintf(stderr, "wallet: %s; check the address and the network\n", curl_easy_strerror(code));
    return code;
}

/* After a 401, reports it to the session and repeats the request once. A second 401 has another cause than the token. */
static int show_wallet(CURL *curl, const pg_session *session, pg_error **error)
{
    long http_status = 401;
    for (int attempt = 1; attempt <= 2 && http_status == 401; attempt++) {
        pg_token *token = NULL;
        if (pg_session_token(session, TIMEOUT_MS, &token, error) != PG_OK)
            return EXIT_FAILURE;
        CURLcode code = get_wallet(curl, token, &http_status);
        pg_status reported = PG_OK;
        if (code == CURLE_OK && http_status == 401)
            reported = pg_session_reject(session, token, 401, error);
        pg_token_free(token);
        if (code != CURLE_OK || reported != PG_OK)
            return EXIT_FAILURE;
    }
    return http_status == 200 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The options that all requests share. */
static CURL *new_curl(void)
{
    const char *ca_file = getenv("PAYMENTSGATE_TLS_CA_FILE"), *base = getenv("PAYMENTSGATE_BASE_URL");
    char url[1024];
    CURL *curl = curl_easy_init();
    int length = snprintf(url, sizeof url, "%s/wallet", base == NULL ? "" : base);

    if (curl != NULL && length > 0 && (size_t)length < sizeof url &&
        curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS) == CURLE_OK &&
        (ca_file == NULL || curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file) == CURLE_OK))
        return curl;
    fprintf(stderr, "libcurl cannot be used: it lacks bearers (7.61 has them), or PAYMENTSGATE_BASE_URL is too long\n");
    curl_easy_cleanup(curl);
    return NULL;
}

int main(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        fprintf(stderr, "libcurl cannot be used: curl_global_init failed\n");
        return EXIT_FAILURE;
    }
    CURL *curl = new_curl();
    pg_config *config = pg_config_new();
    pg_client *client = NULL;
    pg_session *session = NULL;
    pg_error *error = NULL;
    int result = EXIT_FAILURE;

    if (curl != NULL &&
        pg_config_set_from_env(config, &error) == PG_OK &&
        pg_client_new(config, &client, &error) == PG_OK &&
        pg_session_open(client, config, &session, &error) == PG_OK)
        result = show_wallet(curl, session, &error);
    if (error != NULL)
        fprintf(stderr, "%s: %s\n", pg_status_name(pg_error_status(error)), pg_error_text(error));

    /* Every _free accepts NULL. */
    pg_error_free(error);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    curl_easy_cleanup(curl);
    curl_global_cleanup();
    return result;
}
