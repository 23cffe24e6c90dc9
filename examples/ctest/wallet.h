/* The part of a program that uses a session. Its tests pass a session of their own. */

#ifndef WALLET_H
#define WALLET_H

#include <stdbool.h>
#include <stddef.h>

#include <paymentsgate_auth.h>

/* Writes the header with the current token, for the program's HTTP client. On failure *error is set, unless the header does
 * not fit. */
bool write_authorization(const pg_session *session, char *header, size_t size, pg_error **error);

/* The HTTP status of a request for the wallet. 0: there was no answer, and *error is set. */
int wallet_status(const pg_session *session, pg_error **error);

#endif
