/*
 * Issues a pair, refreshes it, and calls the API with the new access token.
 *
 *   cc -std=c99 issue_refresh.c $(pkg-config --cflags --libs paymentsgate_auth libcurl) -o issue_refresh
 *   PAYMENTSGATE_BASE_URL=https://… PAYMENTSGATE_CREDENTIALS_FILE=credentials.json ./issue_refresh
 *
 * The URL must not end in a slash. PAYMENTSGATE_TLS_CA_FILE names an additional certificate authority, for example the
 * emulator's.
 */

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <paymentsgate_auth.h>

/* Prints what happened and what to do. Frees the error. */
static int failed(pg_error *error)
{
    int64_t wait_ms = pg_error_retry_after_ms(error);

    fprintf(stderr, "%s: %s\n", pg_status_name(pg_error_status(error)), pg_error_text(error));
    if (pg_error_needs_credentials(error))
        fprintf(stderr, "What to do: issue a new pair; if that was refused, get other credentials.\n");
    else if (pg_error_is_retryable(error))
        fprintf(stderr, "What to do: try again in %" PRId64 " ms.\n", wait_ms < 0 ? 1000 : wait_ms);
    else
        fprintf(stderr, "What to do: correct the setting or the call; the same call would fail again.\n");
    pg_error_free(error);
    return EXIT_FAILURE;
}

/* A token is shown by its fingerprint, never by its text. */
static void show(const char *step, const pg_token *token)
{
    printf("%-8s token %s  lives %" PRId64 " s  refresh token: %s\n", step, pg_token_fingerprint(token),
           pg_token_lifetime_ms(token) / 1000, pg_token_refresh_token(token) != NULL ? "yes" : "no");
}

/* GET /wallet; the body goes to standard output. */
static int show_wallet(const pg_token *token)
{
    const char *ca_file = getenv("PAYMENTSGATE_TLS_CA_FILE");
    long http_status = 0;
    char url[1024];

    int length = snprintf(url, sizeof url, "%s/wallet", getenv("PAYMENTSGATE_BASE_URL"));
    CURL *curl = curl_easy_init();
    if (length < 0 || (size_t)length >= sizeof url || curl == NULL) {
        fprintf(stderr, "PAYMENTSGATE_BASE_URL is too long, or libcurl has no memory\n");
        curl_easy_cleanup(curl);
        return EXIT_FAILURE;
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
    printf("%-8s ", "wallet");
    if (code == CURLE_OK)
        code = curl_easy_perform(curl);
    if (code == CURLE_OK)
        code = curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http_status);
    printf("\n%-8s HTTP %ld\n", "", http_status);
    if (code != CURLE_OK)
        fprintf(stderr, "GET %s: %s; check the address and the network\n", url, curl_easy_strerror(code));
    else if (http_status != 200)
        fprintf(stderr, "GET %s was refused; the body says why\n", url);
    curl_easy_cleanup(curl);
    return code == CURLE_OK && http_status == 200 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        fprintf(stderr, "libcurl cannot be used: curl_global_init failed\n");
        return EXIT_FAILURE;
    }
    pg_config *config = pg_config_new();
    pg_client *client = NULL;
    pg_token *first = NULL, *second = NULL;
    pg_error *error = NULL;
    int result = EXIT_FAILURE;

    /* The first call that fails sets `error`, and the remaining calls are skipped. Objects that were not made are NULL. */
    if (pg_config_set_from_env(config, &error) == PG_OK &&
        pg_client_new(config, &client, &error) == PG_OK &&
        pg_issue_token(client, NULL, NULL, PG_TIMEOUT_DEFAULT, &first, &error) == PG_OK) {
        show("issue", first);
        if (pg_refresh_token(client, pg_token_access_token(first), pg_token_refresh_token(first), PG_TIMEOUT_DEFAULT,
                             &second, &error) == PG_OK) {
            show("refresh", second);
            result = show_wallet(second);
        }
    }
    if (error != NULL)
        result = failed(error);

    /* Every _free accepts NULL. */
    pg_token_free(second);
    pg_token_free(first);
    pg_client_free(client);
    pg_config_free(config);
    curl_global_cleanup();
    return result;
}
