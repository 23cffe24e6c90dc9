/* The part of a program that uses a session, in C. */

#include "wallet.h"

#include <stdio.h>

enum { TIMEOUT_MS = 10000 };

bool write_authorization(const pg_session *session, char *header, size_t size, pg_error **error)
{
    pg_token *token = NULL;
    if (pg_session_token(session, TIMEOUT_MS, &token, error) != PG_OK)
        return false;
    int length = snprintf(header, size, "Authorization: Bearer %s", pg_token_access_token(token));
    pg_token_free(token);
    return length > 0 && (size_t)length < size;
}

int wallet_status(const pg_session *session, pg_error **error)
{
    pg_response *response = NULL;
    if (pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, TIMEOUT_MS, &response, error) != PG_OK)
        return 0;
    int status = pg_response_status(response);
    pg_response_free(response);
    return status;
}
