/*
* Authenticated requests from C: valid arguments, responses, and when a request is repeated, over HTTP/1.1 and
 * HTTP/2. Needs the emulator's variables.
 */

#define _GNU_SOURCE

#include "fixture.h"

enum { PATIENCE_S = 300, PATIENCE_MS = 20000, SHORT_MS = 500, CONNECT_TIMEOUT_MS = 5000, BIG = 1024 * 1024 };

#define HTTP1 "{\"http2\": false}"
#define FAULT(route, point, action) \
    "{\"route\": \"" route "\", \"point\": \"" point "\", \"action\": {\"kind\": " action "}}"
#define PAYIN "/deals/payin"

/* A session with a token and its own client, whose connection is already open. */
static pg_session *warm_session(const char *name, const char *value)
{
    pg_error *error = NULL;
    pg_client *client = NULL;
    pg_session *session = NULL;
    pg_config *config = new_config();
    if (name != NULL)
        OK(pg_config_set(config, name, value, &error));
    OK(pg_client_new(config, &client, &error));
    OK(pg_session_open(client, config, &session, &error));
    pg_client_free(client);
    pg_config_free(config);
    pg_token_free(token_of(session));
    return session;
}

/* A request and its expected result: a status, and the HTTP status of the answer or 0. */
static pg_response *ask(const pg_session *session, const char *method, const char *path, const char *const *headers,
                        const void *body, size_t length, pg_status wanted, int32_t http_status)
{
    pg_error *error = NULL;
    pg_response *response = NULL;
    pg_status status = pg_session_request(session, method, path, headers, body, length, PATIENCE_MS, &response, &error);
    if (status != wanted || pg_response_status(response) != http_status)
        fprintf(stderr, "%s %.100s with %s (%s, HTTP %d): %s, HTTP %d: %s\n", method, path,
                headers == NULL ? "no header" : headers[0], pg_status_name(wanted),
                (int)http_status, pg_status_name(status),
                (int)pg_response_status(response), pg_error_text(error));
    CHECK(status == wanted && pg_response_status(response) == http_status);
    CHECK(pg_error_status(error) == status && (error == NULL) == (response != NULL));
    pg_error_free(error);
    return response;
}

static void asks(const pg_session *session, const char *method, const char *path, pg_status wanted, int32_t http_status)
{
    pg_response_free(ask(session, method, path, NULL, NULL, 0, wanted, http_status));
}

/* One call that the emulator breaks, on an open connection. Returns whether the error is retryable. */
static bool spoilt(const char *switches, const char *fault, const char *method, const char *path, const void *body,
                   size_t length, pg_status wanted)
{
    begin(switches, NULL);
    pg_error *error = NULL;
    pg_response *response = NULL;
    pg_session *session = warm_session(NULL, NULL);
    tell_emulator("POST", "/faults", fault);
    pg_status status = pg_session_request(session, method, path, NULL, body, length, PATIENCE_MS, &response, &error);
    if (status != wanted)
        fprintf(stderr, "%s %s with %s: %s: %s\n", method, path, fault, pg_status_name(status), pg_error_text(error));
    CHECK(status == wanted);
    bool again = pg_error_is_retryable(error);
    pg_error_free(error);
    pg_response_free(response);
    pg_session_free(session);
    return again;
}

static void test_a_request_and_its_response(const char *switches)
{
    static const char *const HEADERS[] = { "X-Trace", "7", "accept", "text/plain", "x-trace", "eight", NULL };
    begin(switches, NULL);
    pg_session *session = warm_session(NULL, NULL);
    pg_token *token = token_of(session);
    pg_response *response = ask(session, "GET", "/wallet?currency=USDT", HEADERS, NULL, 0, PG_OK, 200);

    char *counters = ask_emulator("GET", "/counters", NULL), wanted[2048];
    snprintf(wanted, sizeof wanted, "\"authorization\":\"Bearer %s\"", pg_token_access_token(token));
    CHECK(number_after(WALLETS, counters) == 1 && strstr(counters, "\"query\":\"currency=USDT\"") != NULL);
    CHECK(strstr(counters, wanted) != NULL && strstr(counters, "\"accept\":\"text/plain\"") != NULL);
    CHECK(strstr(counters, "\"x-trace\":\"7") != NULL);
    free(counters);

    CHECK(pg_response_body_length(response) > 2 && pg_response_body(response)[0] == '{');
    CHECK(strcmp(pg_response_header(response, "Content-TYPE"), "application/json") == 0);
    CHECK(pg_response_header(response, "content-type") == pg_response_header(response, "Content-Type"));
    CHECK(pg_response_header(response, "x-no-such") == NULL && pg_response_header(response, NULL) == NULL);
    CHECK(pg_response_header(response, "\xff") == NULL);
    size_t count = pg_response_header_count(response);
    CHECK(count >= 2 && pg_response_header_name(response, count) == NULL);
    CHECK(pg_response_header_value(response, SIZE_MAX) == NULL);
    for (size_t i = 0; i < count; i++) {
        const char *name = pg_response_header_name(response, i);
        CHECK(strcmp(pg_response_header(response, name), pg_response_header_value(response, i)) == 0);
    }
    pg_response *same = pg_response_ref(response);
    pg_session_free(session);
    pg_response_free(response);
    CHECK(same == response && pg_response_status(same) == 200);
    pg_response_free(same);
    pg_token_free(token);
}

static void test_functions_accept_no_response(void)
{
    CHECK(pg_response_status(NULL) == 0 && pg_response_body(NULL) == NULL && pg_response_body_length(NULL) == 0);
    CHECK(pg_response_header(NULL, "date") == NULL && pg_response_header_count(NULL) == 0);
    CHECK(pg_response_header_name(NULL, 0) == NULL && pg_response_header_value(NULL, 0) == NULL);
    CHECK(pg_response_ref(NULL) == NULL);
    pg_response_free(NULL);
}

static void test_reserved_headers_are_refused(void)
{
    static const char *const REFUSED[][3] = {
        { "Authorization", "Bearer mine", NULL }, { "HOST", "example.org", NULL }, { "content-length", "5", NULL },
        { "Transfer-Encoding", "chunked", NULL }, { "Connection", "close", NULL },
        { "Proxy-Authorization", "Basic eDp5", NULL }, { "te", "trailers", NULL }, { "Upgrade", "h2c", NULL },
        { "Expect", "100-continue", NULL }, { "", "1", NULL }, { "a b", "1", NULL }, { ":path", "/admin", NULL },
        { "x-split", "1\r\nAuthorization: Bearer mine", NULL }, { "x\r\ny", "1", NULL }, { "x-bell", "\a", NULL },
        { "x-odd", NULL, NULL },
    };
    static const char *const NO_TEXT[] = { "x-no-text", "\xff", NULL };
    begin(NULL, NULL);
    pg_session *session = warm_session(NULL, NULL);
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++)
        ask(session, "GET", "/wallet", REFUSED[i], NULL, 0, PG_ERR_INVALID_ARGUMENT, 0);
    ask(session, "GET", "/wallet", NO_TEXT, NULL, 0, PG_ERR_INVALID_UTF8, 0);
    CHECK(count_of(WALLETS) == 0);
    pg_session_free(session);
}

static void test_invalid_methods_and_arguments_are_refused(void)
{
    static const char *const METHODS[] = { "", "get", "GET /x", "CONNECT", "TRACE", "GE\r\nT", "G\xc3\x89T" };
    begin(NULL, NULL);
    pg_session *session = warm_session(NULL, NULL);
    pg_response *response = NULL;
    for (size_t i = 0; i < sizeof METHODS / sizeof METHODS[0]; i++)
        asks(session, METHODS[i], "/wallet", PG_ERR_INVALID_ARGUMENT, 0);
    asks(session, "G\xff", "/wallet", PG_ERR_INVALID_UTF8, 0);
    asks(session, NULL, "/wallet", PG_ERR_NULL_POINTER, 0);
    asks(session, "GET", NULL, PG_ERR_NULL_POINTER, 0);
    asks(NULL, "GET", "/wallet", PG_ERR_NULL_POINTER, 0);
    ask(session, "POST", PAYIN, NULL, NULL, 1, PG_ERR_NULL_POINTER, 0);
    ask(session, "POST", PAYIN, NULL, "", SIZE_MAX, PG_ERR_INVALID_ARGUMENT, 0);
    CHECK(pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, 0, NULL, NULL) == PG_ERR_NULL_POINTER);
    CHECK(pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, -2, &response, NULL) ==
          PG_ERR_INVALID_ARGUMENT);
    CHECK(pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, 0, &response, NULL) == PG_ERR_TIMEOUT);
    CHECK(response == NULL && count_of(WALLETS) == 0);
    pg_session_free(session);
}

/* Any path leads to the service or is refused. */
static void test_paths_that_lead_to_another_host_are_refused(void)
{
    static const char *const REFUSED[] = {
        "", "wallet", "http://127.0.0.1/wallet", "https:/wallet", "@127.0.0.1/wallet", "..", "/..", "/../wallet", "/.",
        "/a/./wallet", "/a/../wallet", "/%2e%2e/wallet", "/%2E./wallet", "/.%2e", "/a\\..\\wallet", "/wallet#a",
        "/wal let", "/wallet?a b", "/wallet\n", "/wallet\r\nX-Injected: 1", "/\x01", "/\x7f", "/wall\xc3\xa9t",
    };
    /* Odd, but below base_url. */
    static const char *const ODD[] = {
        "/", "//", "//127.0.0.1:1/wallet", "/@127.0.0.1/wallet", "/http://127.0.0.1/wallet", "/:80", "/%", "/%00",
        "/...", "/..a/", "/a;..", "/\"<>`{}|^[]", "/?", "/?/../..", "/?http://127.0.0.1", "/%252e%252e/",
    };
    begin(NULL, NULL);
    pg_session *session = warm_session(NULL, NULL);
    char *longest = malloc(BIG + 1);
    CHECK(longest != NULL);
    memset(longest, 'a', BIG);
    longest[0] = '/';
    longest[BIG] = '\0';

    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++)
        asks(session, "GET", REFUSED[i], PG_ERR_INVALID_ARGUMENT, 0);
    asks(session, "GET", longest, PG_ERR_INVALID_ARGUMENT, 0);
    CHECK(count_of(WALLETS) == 0 && count_of(OTHERS) == 0);
    for (size_t i = 0; i < sizeof ODD / sizeof ODD[0]; i++)
        asks(session, "GET", ODD[i], PG_OK, 404);
    CHECK(count_of(OTHERS) == sizeof ODD / sizeof ODD[0] && count_of(FOREIGN) == 0);
    free(longest);
    pg_session_free(session);
}

static void test_a_redirect_is_an_answer(const char *switches)
{
    begin(switches, NULL);
    pg_session *session = warm_session(NULL, NULL);
    static const char *const STATUSES[] = { "301", "302", "303", "307", "308" };
    for (size_t i = 0; i < sizeof STATUSES / sizeof STATUSES[0]; i++) {
        char fault[128];
        snprintf(fault, sizeof fault, "{\"route\": \"wallet\", \"action\": {\"kind\": \"redirect\", \"status\": %s}}",
                 STATUSES[i]);
        tell_emulator("POST", "/faults", fault);
        pg_response *response = ask(session, "GET", "/wallet", NULL, NULL, 0, PG_OK, atoi(STATUSES[i]));
        CHECK(pg_response_header(response, "location") != NULL);
        pg_response_free(response);
    }
    CHECK(count_of(FOREIGN) == 0 && count_of(WALLETS) == sizeof STATUSES / sizeof STATUSES[0]);
    pg_session_free(session);
}

static void test_a_refused_token_is_replaced_once(const char *switches)
{
    char revoked[2048];
    begin(switches, NULL);
    pg_session *session = warm_session(NULL, NULL);
    pg_token *first = token_of(session);
    snprintf(revoked, sizeof revoked, "{\"access_token\": \"%s\"}", pg_token_access_token(first));
    tell_emulator("POST", "/revoke", revoked);
    asks(session, "GET", "/wallet", PG_OK, 200);
    pg_token *second = token_of(session);
    CHECK(pg_token_generation(second) == 2 && count_of(WALLETS) == 2);
    pg_token_free(second);
    pg_token_free(first);
    pg_session_free(session);

    /* A POST is repeated too: the service did not process it. */
    begin(switches, NULL);
    session = warm_session(NULL, NULL);
    tell_emulator("POST", "/revoke", "{\"all\": true}");
    pg_response_free(ask(session, "POST", PAYIN, NULL, "{}", 2, PG_OK, 400));
    CHECK(count_of(PAYINS) == 2 && count_of(ISSUES) == 2);
    pg_session_free(session);

    /* Another token would not help: the caller gets the answer, and no further call is made. */
    begin(switches, NULL);
    session = warm_session(NULL, NULL);
    tell_emulator("POST", "/faults", "{\"route\": \"wallet\", \"times\": null, \"action\": {\"kind\": \"status\", "
                                     "\"status\": 401}}");
    asks(session, "GET", "/wallet", PG_OK, 401);
    CHECK(count_of(WALLETS) == 2 && count_of(ISSUES) == 2);
    asks(session, "GET", "/wallet", PG_OK, 401);
    CHECK(count_of(WALLETS) == 3 && count_of(ISSUES) == 2 && count_of(REFRESHES) == 0);
    /* Any other refusal is not about the token. */
    begin(switches, FAULT("wallet", "before", "\"status\", \"status\": 403"));
    asks(session, "GET", "/wallet", PG_OK, 403);
    CHECK(count_of(WALLETS) == 1 && count_of(ISSUES) == 0);
    pg_session_free(session);
}

static void test_requests_that_are_repeated(const char *switches)
{
    static const char *const BREAKS[] = {
        FAULT("wallet", "before", "\"reset\""), FAULT("wallet", "before", "\"close\""),
        FAULT("wallet", "after", "\"reset\""), FAULT("wallet", "after", "\"cut\", \"bytes\": 20"),
    };
    for (size_t i = 0; i < sizeof BREAKS / sizeof BREAKS[0]; i++) {
        spoilt(switches, BREAKS[i], "GET", "/wallet", NULL, 0, PG_OK);
        CHECK(count_of(WALLETS) == 2);
    }
    /* It is repeated once, not twice. The error is still retryable. */
    CHECK(spoilt(switches, "{\"route\": \"wallet\", \"times\": 2, \"action\": {\"kind\": \"reset\"}}", "GET", "/wallet",
                 NULL, 0, PG_ERR_CONNECTION_LOST));
    CHECK(count_of(WALLETS) == 2);
    /* A missing answer is not a broken connection. */
    CHECK(!spoilt(switches, FAULT("wallet", "before", "\"status\", \"status\": 503"), "GET", "/wallet", NULL, 0, PG_OK));
    CHECK(count_of(WALLETS) == 1);
}

/* The emulator answers 400, since the body is not a pay-in; only the number of calls counts here. */
static void test_requests_that_are_not_repeated(const char *switches)
{
    static const char *const BREAKS[] = {
        FAULT("payin", "head", "\"reset\""), FAULT("payin", "before", "\"reset\""),
        FAULT("payin", "before", "\"close\""), FAULT("payin", "after", "\"reset\""),
    };
    for (size_t i = 0; i < sizeof BREAKS / sizeof BREAKS[0]; i++) {
        CHECK(!spoilt(switches, BREAKS[i], "POST", PAYIN, "{}", 2, PG_ERR_CONNECTION_LOST));
        CHECK(count_of(PAYINS) == 1);
        /* An empty body, and no body. */
        CHECK(!spoilt(switches, BREAKS[i], "POST", PAYIN, "", 0, PG_ERR_CONNECTION_LOST));
        CHECK(count_of(PAYINS) == 1);
        CHECK(!spoilt(switches, BREAKS[i], "POST", PAYIN, NULL, 0, PG_ERR_CONNECTION_LOST));
        CHECK(count_of(PAYINS) == 1);
    }
}

static void test_a_refused_stream_was_not_processed(void)
{
    static const char REFUSED[] = FAULT("payin", "before", "\"refuse_stream\"");
    spoilt(NULL, REFUSED, "POST", PAYIN, "{}", 2, PG_OK);
    CHECK(count_of(PAYINS) == 2);
    spoilt(NULL, REFUSED, "POST", PAYIN, NULL, 0, PG_OK);
    CHECK(count_of(PAYINS) == 2);
    CHECK(spoilt(NULL, "{\"route\": \"payin\", \"times\": 2, \"action\": {\"kind\": \"refuse_stream\"}}", "POST", PAYIN,
                 "{}", 2, PG_ERR_STREAM_REFUSED));
    CHECK(count_of(PAYINS) == 2);
}

static void test_deadlines(const char *switches)
{
    begin(switches, NULL);
    pg_session *session = warm_session("request_timeout_ms", "500");
    static const char *const CALLS[][2] = { { "GET", "/wallet" }, { "POST", PAYIN } };
    for (size_t i = 0; i < 2; i++)
        for (int64_t timeout_ms = PG_TIMEOUT_DEFAULT; timeout_ms <= SHORT_MS; timeout_ms += SHORT_MS + 1) {
            pg_error *error = NULL;
            pg_response *response = NULL;
            tell_emulator("POST", "/faults", "{\"action\": {\"kind\": \"hang\"}}");
            CHECK(pg_session_request(session, CALLS[i][0], CALLS[i][1], NULL, NULL, 0, timeout_ms, &response, &error) ==
                  PG_ERR_TIMEOUT);
            CHECK(response == NULL && strstr(pg_error_text(error), CALLS[i][1]) != NULL);
            /* A request that the service may have processed is not repeated. */
            CHECK(pg_error_is_retryable(error) == (i == 0));
            pg_error_free(error);
        }
    CHECK(count_of(WALLETS) == 2 && count_of(PAYINS) == 2);
    pg_session_free(session);
}

/* A slow request does not delay others. */
static void test_a_slow_answer(const char *switches)
{
    begin(switches, FAULT("wallet", "before", "\"hang\""));
    pg_session *session = warm_session(NULL, NULL);
    pg_queue *queue = new_queue();
    pg_error *error = NULL;
    pg_response *response = NULL;
    start_wallet(session, queue, 1);
    while (count_of(WALLETS) == 0)
        usleep(1000);
    OK(pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, CONNECT_TIMEOUT_MS / 2, &response, &error));
    CHECK(pg_response_status(response) == 200 && is_empty(queue));
    pg_response_free(response);
    pg_queue_free(queue);
    pg_session_free(session);
}

static void test_sizes(const char *switches)
{
    begin(switches, NULL);
    pg_session *session = warm_session("request_max_response_bytes", "1048576");
    char *body = malloc(BIG);
    CHECK(body != NULL);
    memset(body, 'x', BIG);
    body[0] = '"';
    body[BIG - 1] = '"';
    /* It is not a pay-in, and the emulator says so after it has read all of it. */
    pg_response_free(ask(session, "POST", PAYIN, NULL, body, BIG, PG_OK, 400));
    free(body);
    char *counters = ask_emulator("GET", "/counters", NULL);
    CHECK(strstr(counters, "\"content-length\":\"1048576\"") != NULL);
    CHECK(strstr(counters, "\"content-type\":\"application/json\"") != NULL);
    free(counters);

    tell_emulator("POST", "/faults", FAULT("wallet", "after", "\"body\", \"form\": \"huge\", \"mib\": 1"));
    asks(session, "GET", "/wallet", PG_ERR_ANSWER_TOO_LARGE, 0);
    asks(session, "GET", "/wallet", PG_OK, 200);
    CHECK(count_of(WALLETS) == 2);
    pg_session_free(session);

    CHECK(!spoilt(switches, FAULT("payin", "after", "\"body\", \"form\": \"huge\", \"mib\": 9"), "POST", PAYIN, "{}", 2,
                  PG_ERR_ANSWER_TOO_LARGE));
    CHECK(count_of(PAYINS) == 1);
    /* The default limit is larger. */
    spoilt(switches, FAULT("wallet", "after", "\"body\", \"form\": \"huge\", \"mib\": 4"), "GET", "/wallet", NULL, 0,
           PG_OK);
}

static void test_a_body_of_no_bytes(const char *switches)
{
    begin(switches, NULL);
    pg_session *session = warm_session(NULL, NULL);
    pg_response_free(ask(session, "POST", PAYIN, NULL, "", 0, PG_OK, 400));
    pg_response_free(ask(session, "POST", PAYIN, NULL, NULL, 0, PG_OK, 400));
    asks(session, "DELETE", "/deals/1", PG_OK, 404);
    CHECK(count_of(PAYINS) == 2);
    pg_session_free(session);
}

int main(void)
{
    static const char *const VERSIONS[] = { NULL, HTTP1 };

    alarm(PATIENCE_S);
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    for (size_t i = 0; i < sizeof VERSIONS / sizeof VERSIONS[0]; i++) {
        test_a_request_and_its_response(VERSIONS[i]);
        test_a_redirect_is_an_answer(VERSIONS[i]);
        test_a_refused_token_is_replaced_once(VERSIONS[i]);
        test_requests_that_are_repeated(VERSIONS[i]);
        test_requests_that_are_not_repeated(VERSIONS[i]);
        test_deadlines(VERSIONS[i]);
        test_a_slow_answer(VERSIONS[i]);
        test_sizes(VERSIONS[i]);
        test_a_body_of_no_bytes(VERSIONS[i]);
    }
    test_functions_accept_no_response();
    test_reserved_headers_are_refused();
    test_invalid_methods_and_arguments_are_refused();
    test_paths_that_lead_to_another_host_are_refused();
    test_a_refused_stream_was_not_processed();
    begin(NULL, NULL);
    curl_global_cleanup();
    printf("ok request: %d checks\n", checks);
    return EXIT_SUCCESS;
}
