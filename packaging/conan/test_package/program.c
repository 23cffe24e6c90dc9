/* Says the version of the library that it runs with. */

#include <stdio.h>

#include <paymentsgate_auth.h>

int main(void)
{
    printf("paymentsgate-auth %s\n", pg_version());
    return pg_abi_version() != PG_ABI_VERSION;
}
