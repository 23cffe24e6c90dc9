/* Uses the library a little, so that the linker needs it. */
#include <paymentsgate_auth.h>
#include <stdio.h>

int main(void)
{
    pg_config *config = pg_config_new();
    pg_error *error = NULL;
    pg_status status = pg_config_set(config, "base_url", "https://pay.example", &error);

    printf("%s %s\n", pg_version(), pg_status_name(status));
    pg_error_free(error);
    pg_config_free(config);
    return status != PG_OK;
}
