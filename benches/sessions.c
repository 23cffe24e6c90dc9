/*
 * Many idle sessions on one client, each with its own credentials and one token: the memory of each, compared with the
 * bytes that it must store, and the threads of the process.
 */
#define _GNU_SOURCE
#include "measure.h"

#include <paymentsgate_auth.h>

enum { SESSIONS = 100000, GOAL_BYTES = 1600 };

static pg_session *sessions[SESSIONS];

static void must(pg_status status, pg_error *error)
{
    if (status != PG_OK) {
        fprintf(stderr, "%s\n", pg_error_text(error));
        exit(EXIT_FAILURE);
    }
}

/* A public key in the vendor's format, from the account of the emulator. */
static char *public_key(void)
{
    static char json[8192];
    FILE *file = fopen(getenv("PAYMENTSGATE_CREDENTIALS_FILE"), "r");
    size_t length = file == NULL ? 0 : fread(json, 1, sizeof json - 1, file);
    char *key = strstr(json, "\"public_key\": \"");
    if (length == 0 || key == NULL)
        exit(EXIT_FAILURE);
    fclose(file);
    key += strlen("\"public_key\": \"");
    *strchr(key, '"') = '\0';
    return key;
}

int main(void)
{
    char account_id[40];
    pg_error *error = NULL;
    pg_client *client = NULL;
    pg_token *token = NULL;
    const char *key = public_key();
    pg_config *config = pg_config_new();
    must(pg_config_set(config, "base_url", getenv("PG_SANDBOX_FIXED"), &error), error);
    must(pg_config_set(config, "tls.ca_file", getenv("PAYMENTSGATE_TLS_CA_FILE"), &error), error);
    must(pg_config_set(config, "public_key", key, &error), error);
    must(pg_config_set(config, "account_id", "00000000-0000-4000-8000-000000000000", &error), error);
    must(pg_client_new(config, &client, &error), error);
    must(pg_issue_token(client, NULL, NULL, 10000, &token, &error), error);
    size_t payload = strlen(key) + 36 + pg_token_access_token_length(token) + pg_token_refresh_token_length(token);
    pg_token_free(token);

    long threads = status_of("Threads:"), before = status_of("VmRSS:");
    double begin = now_ns();
    for (int i = 0; i < SESSIONS; i++) {
        snprintf(account_id, sizeof account_id, "00000000-0000-4000-8000-%012d", i);
        must(pg_config_set(config, "account_id", account_id, &error), error);
        must(pg_session_open(client, config, &sessions[i], &error), error);
        must(pg_session_token(sessions[i], 10000, &token, &error), error);
        pg_token_free(token);
    }
    double each = (double)(status_of("VmRSS:") - before) * 1024 / SESSIONS;
    printf("%d sessions with a token, made in %.1f s; threads: %ld\n", SESSIONS, (now_ns() - begin) / 1e9,
           status_of("Threads:") - threads);
    print_row("memory of an idle session with a token", "key, account and pair", "B", each, (double)payload, 0,
              GOAL_BYTES / (double)payload);

    for (int i = 0; i < SESSIONS; i++)
        pg_session_free(sessions[i]);
    pg_client_free(client);
    pg_config_free(config);
    return 0;
}
