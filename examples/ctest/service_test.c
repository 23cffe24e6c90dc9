/* Tests of wallet.c against the emulator, whose address is in the environment: pg-sandbox -- service_test_c */

#include <stdio.h>
#include <stdlib.h>

#include "wallet.h"

int main(void)
{
    pg_config *config = pg_config_new();
    pg_client *client = NULL;
    pg_session *session = NULL;
    pg_error *error = NULL;
    int status = 0;

    if (pg_config_set_from_env(config, &error) == PG_OK &&
        pg_client_new(config, &client, &error) == PG_OK &&
        pg_session_open(client, config, &session, &error) == PG_OK)
        status = wallet_status(session, &error);
    if (error != NULL)
        fprintf(stderr, "failed: %s\n", pg_error_text(error));
    else if (status != 200)
        fprintf(stderr, "failed: the wallet is answered with %d\n", status);

    pg_error_free(error);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    return status == 200 ? EXIT_SUCCESS : EXIT_FAILURE;
}
