/* Tests of wallet.c with a static token: no emulator, no network, no credentials. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wallet.h"

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "failed: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

int main(void)
{
    pg_config *config = pg_config_new();
    pg_client *client = NULL;
    pg_session *session = NULL;
    pg_error *error = NULL;
    char header[64], small[16];

    check(pg_config_set(config, "static_token", "a-token", &error) == PG_OK &&
              pg_client_new(config, &client, &error) == PG_OK &&
              pg_session_open(client, config, &session, &error) == PG_OK,
          "a session on a static token is opened");

    check(write_authorization(session, header, sizeof header, &error), "the header is written");
    check(strcmp(header, "Authorization: Bearer a-token") == 0, "the header has the token");
    check(!write_authorization(session, small, sizeof small, &error), "a header that does not fit is noticed");

    check(wallet_status(session, &error) == 0, "there is no service");
    check(pg_error_status(error) == PG_ERR_MISSING_SETTING, "the error is that of the missing base_url");

    pg_error_free(error);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    return EXIT_SUCCESS;
}
