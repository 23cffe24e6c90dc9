/*
* The command `raw` of driver.c: NULL for required arguments, which the other commands and languages cannot express.
* Uses the driver's state and answers.
 */

/* Every _free and every getter accepts NULL; answers PG_OK or the condition that does not hold. */
#define HOLDS(condition) \
    do { \
        if (!(condition)) { \
            put_text("status", "does not hold: " #condition); \
            return; \
        } \
    } while (0)

static void free_nulls(void)
{
    pg_config_free(NULL);
    pg_client_free(NULL);
    pg_token_free(NULL);
    pg_error_free(NULL);
    pg_session_free(NULL);
    pg_text_free(NULL);
    HOLDS(pg_error_status(NULL) == PG_OK);
    HOLDS(strcmp(pg_error_text(NULL), "") == 0);
    HOLDS(pg_error_http_status(NULL) == 0);
    HOLDS(pg_error_server_code(NULL) == NULL);
    HOLDS(pg_error_server_message(NULL) == NULL);
    HOLDS(pg_error_server_details(NULL) == NULL);
    HOLDS(pg_error_retry_after_ms(NULL) == -1);
    HOLDS(pg_error_cause(NULL) == PG_OK);
    HOLDS(!pg_error_is_retryable(NULL));
    HOLDS(!pg_error_needs_credentials(NULL));
    HOLDS(pg_error_refresh_token_fate(NULL) == PG_FATE_NONE);
    HOLDS(pg_token_ref(NULL) == NULL);
    HOLDS(pg_token_access_token(NULL) == NULL);
    HOLDS(pg_token_access_token_length(NULL) == 0);
    HOLDS(pg_token_refresh_token(NULL) == NULL);
    HOLDS(pg_token_refresh_token_length(NULL) == 0);
    HOLDS(pg_token_fingerprint(NULL) == NULL);
    HOLDS(pg_token_lifetime_ms(NULL) == 0);
    HOLDS(pg_token_lifetime_disagreement_ms(NULL) == 0);
    HOLDS(pg_token_remaining_ms(NULL) == 0);
    HOLDS(pg_token_generation(NULL) == 0);
    HOLDS(pg_session_ref(NULL) == NULL);
    pg_queue_free(NULL);
    pg_event_free(NULL);
    pg_response_free(NULL);
    HOLDS(pg_event_kind(NULL) == PG_EVENT_NONE);
    HOLDS(pg_event_id(NULL) == 0);
    HOLDS(pg_event_status(NULL) == PG_OK);
    HOLDS(pg_event_error(NULL) == NULL);
    HOLDS(pg_event_token(NULL) == NULL);
    HOLDS(pg_event_response(NULL) == NULL);
    HOLDS(pg_event_log_level(NULL) == PG_LOG_NONE);
    HOLDS(pg_event_text(NULL) == NULL);
    HOLDS(pg_response_ref(NULL) == NULL);
    HOLDS(pg_response_status(NULL) == 0);
    HOLDS(pg_response_body(NULL) == NULL);
    HOLDS(pg_response_body_length(NULL) == 0);
    HOLDS(pg_response_header(NULL, "date") == NULL);
    HOLDS(pg_response_header_count(NULL) == 0);
    HOLDS(pg_response_header_name(NULL, 0) == NULL);
    HOLDS(pg_response_header_value(NULL, 0) == NULL);
    put_status(PG_OK, NULL);
}

/* Pointers of queues and requests that the other commands cannot express. */
static bool raw_queue(struct state *state, const char *what, pg_status *status, pg_error **error)
{
    const pg_session *session = state->session;
    pg_queue *queue = NULL;
    pg_event *event = NULL;
    pg_response *response = NULL;
    int32_t fd = 0;
    bool known = true;
    if (pg_queue_new(&queue, NULL) != PG_OK)
        give_up("there is no queue");

    if (strcmp(what, "queue-new-null-out") == 0)
        *status = pg_queue_new(NULL, error);
    else if (strcmp(what, "queue-fd-null-queue") == 0)
        *status = pg_queue_fd(NULL, &fd, error);
    else if (strcmp(what, "queue-fd-null-out") == 0)
        *status = pg_queue_fd(queue, NULL, error);
    else if (strcmp(what, "queue-poll-null-queue") == 0)
        *status = pg_queue_poll(NULL, 0, &event, error);
    else if (strcmp(what, "queue-poll-null-out") == 0)
        *status = pg_queue_poll(queue, 0, NULL, error);
    else if (strcmp(what, "queue-cancel-null-queue") == 0)
        *status = pg_queue_cancel(NULL, 1, error);
    else if (strcmp(what, "token-start-null-session") == 0)
        *status = pg_session_token_start(NULL, queue, 1, 0, 0, error);
    else if (strcmp(what, "token-start-null-queue") == 0)
        *status = pg_session_token_start(session, NULL, 1, 0, 0, error);
    else if (strcmp(what, "refresh-start-null-session") == 0)
        *status = pg_session_refresh_start(NULL, queue, 1, 0, error);
    else if (strcmp(what, "refresh-start-null-queue") == 0)
        *status = pg_session_refresh_start(session, NULL, 1, 0, error);
    else if (strcmp(what, "subscribe-null-session") == 0)
        *status = pg_session_subscribe(NULL, queue, 1, PG_LOG_NONE, error);
    else if (strcmp(what, "subscribe-null-queue") == 0)
        *status = pg_session_subscribe(session, NULL, 1, PG_LOG_NONE, error);
    else if (strcmp(what, "request-null-session") == 0)
        *status = pg_session_request(NULL, "GET", "/wallet", NULL, NULL, 0, 0, &response, error);
    else if (strcmp(what, "request-null-method") == 0)
        *status = pg_session_request(session, NULL, "/wallet", NULL, NULL, 0, 0, &response, error);
    else if (strcmp(what, "request-null-path") == 0)
        *status = pg_session_request(session, "GET", NULL, NULL, NULL, 0, 0, &response, error);
    else if (strcmp(what, "request-null-body") == 0)
        *status = pg_session_request(session, "POST", "/deals/payin", NULL, NULL, 1, 0, &response, error);
    else if (strcmp(what, "request-null-out") == 0)
        *status = pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, 0, NULL, error);
    else if (strcmp(what, "request-start-null-session") == 0)
        *status = pg_session_request_start(NULL, queue, 1, "GET", "/wallet", NULL, NULL, 0, 0, error);
    else if (strcmp(what, "request-start-null-queue") == 0)
        *status = pg_session_request_start(session, NULL, 1, "GET", "/wallet", NULL, NULL, 0, 0, error);
    else
        known = false;
    pg_response_free(response);
    pg_event_free(event);
    pg_queue_free(queue);
    return known;
}

/* Pointers that the other commands cannot express. */
static void raw(struct state *state, const char *what)
{
    pg_client *made = NULL;
    pg_session *opened = NULL;
    pg_token *token = NULL;
    pg_error *error = NULL;
    pg_status status = PG_OK;
    char small[8];

    if (strcmp(what, "free-nulls") == 0) {
        free_nulls();
        return;
    }
    if (strcmp(what, "set-null-config") == 0)
        status = pg_config_set(NULL, "user_agent", "shop", &error);
    else if (strcmp(what, "set-null-name") == 0)
        status = pg_config_set(state->config, NULL, "shop", &error);
    else if (strcmp(what, "set-null-value") == 0)
        status = pg_config_set(state->config, "user_agent", NULL, &error);
    else if (strcmp(what, "client-null-config") == 0)
        status = pg_client_new(NULL, &made, &error);
    else if (strcmp(what, "client-null-out") == 0)
        status = pg_client_new(state->config, NULL, &error);
    else if (strcmp(what, "issue-null-client") == 0)
        status = pg_issue_token(NULL, NULL, NULL, PG_TIMEOUT_DEFAULT, &token, &error);
    else if (strcmp(what, "issue-null-out") == 0)
        status = pg_issue_token(state->client, NULL, NULL, PG_TIMEOUT_DEFAULT, NULL, &error);
    else if (strcmp(what, "refresh-null-client") == 0)
        status = pg_refresh_token(NULL, NULL, "r", PG_TIMEOUT_DEFAULT, &token, &error);
    else if (strcmp(what, "refresh-null-out") == 0)
        status = pg_refresh_token(state->client, NULL, "r", PG_TIMEOUT_DEFAULT, NULL, &error);
    else if (strcmp(what, "refresh-null-refresh") == 0)
        status = pg_refresh_token(state->client, NULL, NULL, PG_TIMEOUT_DEFAULT, &token, &error);
    else if (strcmp(what, "session-open-null-client") == 0)
        status = pg_session_open(NULL, state->config, &opened, &error);
    else if (strcmp(what, "session-open-null-config") == 0)
        status = pg_session_open(state->client, NULL, &opened, &error);
    else if (strcmp(what, "session-open-null-out") == 0)
        status = pg_session_open(state->client, state->config, NULL, &error);
    else if (strcmp(what, "session-token-null-session") == 0)
        status = pg_session_token(NULL, PG_TIMEOUT_DEFAULT, &token, &error);
    else if (strcmp(what, "session-token-null-out") == 0)
        status = pg_session_token(state->session, PG_TIMEOUT_DEFAULT, NULL, &error);
    else if (strcmp(what, "session-refresh-null-session") == 0)
        status = pg_session_refresh(NULL, PG_TIMEOUT_DEFAULT, &token, &error);
    else if (strcmp(what, "session-refresh-null-out") == 0)
        status = pg_session_refresh(state->session, PG_TIMEOUT_DEFAULT, NULL, &error);
    else if (strcmp(what, "session-reject-null-token") == 0)
        status = pg_session_reject(state->session, NULL, 401, &error);
    else if (strcmp(what, "session-health-null-out") == 0)
        status = pg_session_health(state->session, NULL, &error);
    else if (strcmp(what, "copy-null-buffer") == 0)
        status = pg_session_copy_access_token(state->session, PG_TIMEOUT_DEFAULT, NULL, 0, NULL, &error);
    else if (strcmp(what, "copy-small-buffer") == 0)
        status = pg_session_copy_access_token(state->session, PG_TIMEOUT_DEFAULT, small, sizeof small, NULL, &error);
    else if (strcmp(what, "error-out-null") == 0)
        status = pg_config_set(state->config, "no.such.setting", "1", NULL);
    else if (!raw_queue(state, what, &status, &error))
        give_up("raw does not know this word");
    put_status(status, error);
    pg_client_free(made);
    pg_session_free(opened);
    pg_token_free(token);
}
