/* The answers of driver.c. A value that is NULL is left out. */

#ifndef CDRIVER_ANSWERS_H
#define CDRIVER_ANSWERS_H

#include <inttypes.h>
#include <string.h>

#include "state.h"

static void put_bytes(const char *key, const void *value, size_t length)
{
    const unsigned char *bytes = value;
    printf("%s\t", key);
    for (size_t i = 0; i < length; i++)
        printf("%02x", (unsigned)bytes[i]);
    putchar('\n');
}

static void put_text(const char *key, const char *value)
{
    if (value != NULL)
        put_bytes(key, value, strlen(value));
}

static void put_number(const char *key, int64_t value)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRId64, value);
    put_text(key, digits);
}

/* The error is NULL if the caller did not ask for it. */
static void put_outcome(pg_status status, const pg_error *error)
{
    put_text("status", pg_status_name(status));
    if (error == NULL)
        return;
    put_text("text", pg_error_text(error));
    if (pg_error_http_status(error) != 0)
        put_number("http_status", pg_error_http_status(error));
    put_text("server_code", pg_error_server_code(error));
    put_text("server_message", pg_error_server_message(error));
    put_text("server_details", pg_error_server_details(error));
    if (pg_error_retry_after_ms(error) != -1)
        put_number("retry_after_ms", pg_error_retry_after_ms(error));
    if (pg_error_cause(error) != PG_OK)
        put_text("cause", pg_status_name(pg_error_cause(error)));
    put_number("retryable", pg_error_is_retryable(error));
    put_number("needs_credentials", pg_error_needs_credentials(error));
    put_number("fate", pg_error_refresh_token_fate(error));
    if (pg_error_status(error) != status)
        put_text("status", "the error has another status than the call");
}

/* Frees the error. */
static void put_status(pg_status status, pg_error *error)
{
    put_outcome(status, error);
    pg_error_free(error);
}

/* Takes ownership of the new token. */
static void put_token(struct state *state, pg_token *token)
{
    put_text("fingerprint", pg_token_fingerprint(token));
    put_number("access_length", (int64_t)pg_token_access_token_length(token));
    put_number("refresh_length", (int64_t)pg_token_refresh_token_length(token));
    put_number("lifetime_ms", pg_token_lifetime_ms(token));
    put_number("disagreement_ms", pg_token_lifetime_disagreement_ms(token));
    put_number("remaining_ms", pg_token_remaining_ms(token));
    put_number("generation", (int64_t)pg_token_generation(token));
    pg_token_free(state->token);
    state->token = token;
}

static int by_text(const void *one, const void *other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

/* In alphabetical order, since languages keep headers in different orders. */
static void put_headers(const pg_response *response)
{
    char *lines[MOST_HEADERS], all[4096] = "";
    size_t count = pg_response_header_count(response), length = 0;
    if (count > MOST_HEADERS)
        give_up("there are more headers than one answer can hold");
    for (size_t i = 0; i < count; i++)
        if (asprintf(&lines[i], "%s: %s", pg_response_header_name(response, i), pg_response_header_value(response, i)) < 0)
            give_up("there is no memory");
    qsort(lines, count, sizeof *lines, by_text);
    for (size_t i = 0; i < count; i++) {
        length += (size_t)snprintf(all + length, sizeof all - length, "%s%s", i == 0 ? "" : "\n", lines[i]);
        if (length >= sizeof all)
            give_up("the headers are longer than one answer can hold");
        free(lines[i]);
    }
    put_text("response_headers", all);
}

static void put_response(const pg_response *response)
{
    put_number("response_status", pg_response_status(response));
    put_text("response_type", pg_response_header(response, "Content-Type"));
    put_headers(response);
    put_bytes("response_body", pg_response_body(response), pg_response_body_length(response));
}

#endif
