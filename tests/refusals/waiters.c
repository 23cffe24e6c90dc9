/*
* A program whose callers wait for the library in all ways of C, and reports when each was answered. Commands on
* stdin, lines of tab-separated words on stdout, a line "done" after each command. README.md has the commands.
 */

#define _GNU_SOURCE

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <paymentsgate_auth.h>

/* A call that is later than this hangs. */
enum { HANGS_MS = 3000, AGES_MS = 8000, ID = 7, RETRY_MS = 50 };

static pg_client *client;
static pg_session *session;
static pg_token *last;

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static void sleep_ms(double ms)
{
    struct timespec time = { (time_t)(ms / 1e3), (long)(ms * 1e6) % 1000000000 };
    nanosleep(&time, NULL);
}

/* How a call ended. */
struct end {
    pg_status status;
    char text[400];
};

static struct end ended(pg_status status, pg_error *error)
{
    struct end end = { status, "" };
    if (error != NULL)
        snprintf(end.text, sizeof end.text, "%s", pg_error_text(error));
    pg_error_free(error);
    for (char *c = end.text; *c != 0; c++)
        if (*c == '\t' || *c == '\n')
            *c = ' ';
    return end;
}

static void tell(const char *who, double deadline_ms, double took_ms, struct end end)
{
    const char *name = pg_status_name(end.status);
    printf("%s\t%.0f\t%.1f\t%s\t%s\n", who, deadline_ms, took_ms, name != NULL ? name : "?", end.text);
}

/* ---- The ways to wait ---- */

static struct end block_for_token(double ms)
{
    pg_token *token = NULL;
    pg_error *error = NULL;
    pg_status status = pg_session_token(session, (int64_t)ms, &token, &error);
    pg_token_free(token);
    return ended(status, error);
}

static struct end block_for_request(double ms)
{
    pg_response *response = NULL;
    pg_error *error = NULL;
    pg_status status = pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, (int64_t)ms, &response, &error);
    pg_response_free(response);
    return ended(status, error);
}

static struct end block_for_issue(double ms)
{
    pg_token *token = NULL;
    pg_error *error = NULL;
    pg_status status = pg_issue_token(client, NULL, NULL, (int64_t)ms, &token, &error);
    pg_token_free(token);
    return ended(status, error);
}

/* The end of an operation on a queue, awaited by the descriptor or by the waiting call. */
static struct end end_on(pg_queue *queue, bool by_descriptor)
{
    pg_event *event = NULL;
    pg_error *error = NULL;
    pg_status status = PG_OK;
    int32_t fd = -1;
    if (by_descriptor && pg_queue_fd(queue, &fd, NULL) == PG_OK) {
        struct pollfd polled = { fd, POLLIN, 0 };
        poll(&polled, 1, -1);
        status = pg_queue_poll(queue, 0, &event, &error);
    } else {
        status = pg_queue_poll(queue, PG_TIMEOUT_DEFAULT, &event, &error);
    }
    struct end end = ended(status, error);
    if (status == PG_OK && event == NULL)
        end = (struct end){ PG_ERR_INTERNAL, "the queue's descriptor is readable and there is no event" };
    if (event != NULL) {
        end = ended(pg_event_status(event), NULL);
        if (pg_event_error(event) != NULL)
            snprintf(end.text, sizeof end.text, "%s", pg_error_text(pg_event_error(event)));
        if (pg_event_id(event) != ID)
            end = (struct end){ PG_ERR_INTERNAL, "an event of another number" };
        pg_event_free(event);
    }
    return end;
}

static struct end start(bool request, bool by_descriptor, double ms)
{
    pg_queue *queue = NULL;
    pg_error *error = NULL;
    pg_status status = pg_queue_new(&queue, &error);
    if (status != PG_OK)
        return ended(status, error);
    if (request)
        status = pg_session_request_start(session, queue, ID, "GET", "/wallet", NULL, NULL, 0, (int64_t)ms, &error);
    else
        status = pg_session_token_start(session, queue, ID, 0, (int64_t)ms, &error);
    struct end end = status == PG_OK ? end_on(queue, by_descriptor) : ended(status, error);
    pg_queue_free(queue);
    return end;
}

static struct end token_by_descriptor(double ms) { return start(false, true, ms); }
static struct end token_by_poll(double ms) { return start(false, false, ms); }
static struct end request_by_descriptor(double ms) { return start(true, true, ms); }

/* Calls that do not wait. */
static struct end look_at_health(double ms)
{
    char *json = NULL;
    pg_error *error = NULL;
    (void)ms;
    pg_status status = pg_session_health(session, &json, &error);
    pg_text_free(json);
    return ended(status, error);
}

/* A subscription to the session, started and canceled. */
static struct end subscribe(double ms)
{
    pg_queue *queue = NULL;
    pg_error *error = NULL;
    (void)ms;
    pg_status status = pg_queue_new(&queue, &error);
    if (status == PG_OK)
        status = pg_session_subscribe(session, queue, ID, PG_LOG_DEBUG, &error);
    if (status == PG_OK)
        status = pg_queue_cancel(queue, ID, &error);
    pg_queue_free(queue);
    return ended(status, error);
}

/* Another session, opened and closed during the refusal. */
static struct end open_and_close(double ms)
{
    pg_config *config = pg_config_new();
    pg_session *other = NULL;
    pg_token *token = NULL;
    pg_error *error = NULL;
    pg_status status = pg_config_set_from_env(config, &error);
    if (status == PG_OK)
        status = pg_session_open(client, config, &other, &error);
    pg_config_free(config);
    if (status != PG_OK)
        return ended(status, error);
    /* Running operations are not awaited. */
    status = pg_session_token(other, 0, &token, &error);
    pg_token_free(token);
    pg_error_free(error);
    error = NULL;
    status = pg_session_close(other, (int64_t)ms, &error);
    pg_session_free(other);
    return ended(status, error);
}

struct waiter {
    const char *name;
    struct end (*wait)(double ms);
    double deadline_ms;
    pthread_t thread;
    double took_ms;
    struct end end;
    atomic_bool answered;
};

static struct waiter waiters[] = {
    { .name = "token", .wait = block_for_token, .deadline_ms = 300 },
    { .name = "token", .wait = block_for_token, .deadline_ms = 500 },
    { .name = "token at once", .wait = block_for_token, .deadline_ms = 0 },
    { .name = "token by descriptor", .wait = token_by_descriptor, .deadline_ms = 300 },
    { .name = "token by descriptor", .wait = token_by_descriptor, .deadline_ms = 500 },
    { .name = "token by poll", .wait = token_by_poll, .deadline_ms = 400 },
    { .name = "request", .wait = block_for_request, .deadline_ms = 400 },
    { .name = "request by descriptor", .wait = request_by_descriptor, .deadline_ms = 500 },
    { .name = "issue", .wait = block_for_issue, .deadline_ms = 400 },
    { .name = "health", .wait = look_at_health, .deadline_ms = 0 },
    { .name = "subscription", .wait = subscribe, .deadline_ms = 0 },
    { .name = "close", .wait = open_and_close, .deadline_ms = 300 },
};
enum { WAITERS = sizeof waiters / sizeof *waiters };

/* The time that each caller has in addition, if it waits at all. */
static double spare_ms;

static double deadline_ms(const struct waiter *waiter)
{
    return waiter->deadline_ms > 0 ? waiter->deadline_ms + spare_ms : 0;
}

static void *wait_for_it(void *given)
{
    struct waiter *waiter = given;
    double begun = now_ms();
    waiter->end = waiter->wait(deadline_ms(waiter));
    waiter->took_ms = now_ms() - begun;
    atomic_store(&waiter->answered, true);
    return NULL;
}

static atomic_bool is_over;
static double lag_ms;

/* How late this machine wakes a thread now, whatever the library does. */
static void *measure_lag(void *unused)
{
    (void)unused;
    lag_ms = 0;
    while (!atomic_load(&is_over)) {
        double begun = now_ms();
        sleep_ms(2);
        double late = now_ms() - begun - 2;
        lag_ms = late > lag_ms ? late : lag_ms;
    }
    return NULL;
}

static void wait_in_all_ways(void)
{
    pthread_t lag;
    double until = now_ms() + 500 + spare_ms + HANGS_MS;
    bool hangs = false;

    atomic_store(&is_over, false);
    pthread_create(&lag, NULL, measure_lag, NULL);
    for (int i = 0; i < WAITERS; i++) {
        atomic_store(&waiters[i].answered, false);
        pthread_create(&waiters[i].thread, NULL, wait_for_it, &waiters[i]);
    }
    for (int i = 0; i < WAITERS; i++) {
        while (!atomic_load(&waiters[i].answered) && now_ms() < until)
            sleep_ms(1);
        if (!atomic_load(&waiters[i].answered)) {
            printf("%s\t%.0f\thangs\t\t\n", waiters[i].name, deadline_ms(&waiters[i]));
            hangs = true;
        } else {
            pthread_join(waiters[i].thread, NULL);
            tell(waiters[i].name, deadline_ms(&waiters[i]), waiters[i].took_ms, waiters[i].end);
        }
    }
    atomic_store(&is_over, true);
    pthread_join(lag, NULL);
    printf("lag\t0\t%.1f\t\t\n", lag_ms);
    if (hangs) {
        printf("done\n");
        fflush(stdout);
        _exit(9);
    }
}

/* ---- The session's life ---- */

static struct end open_session(void)
{
    pg_error *error = NULL;
    pg_config *config = pg_config_new();
    pg_status status = pg_config_set_from_env(config, &error);
    if (status == PG_OK && client == NULL)
        status = pg_client_new(config, &client, &error);
    if (status == PG_OK && session == NULL)
        status = pg_session_open(client, config, &session, &error);
    pg_config_free(config);
    return ended(status, error);
}

/* Asks until there is a token. */
static void recover(double patience_ms)
{
    double begun = now_ms();
    struct end end = { PG_ERR_TIMEOUT, "" };
    while (now_ms() < begun + patience_ms) {
        pg_token *token = NULL;
        pg_error *error = NULL;
        pg_status status = pg_session_token(session, 1000, &token, &error);
        end = ended(status, error);
        if (status == PG_OK) {
            pg_token_free(last);
            last = token;
            break;
        }
        sleep_ms(RETRY_MS);
    }
    tell("recover", patience_ms, now_ms() - begun, end);
}

/* Waits until the token has no more than this left. */
static struct end age(double left_ms)
{
    double until = now_ms() + AGES_MS;
    while (last != NULL && pg_token_remaining_ms(last) >= (int64_t)left_ms) {
        if (now_ms() > until)
            return (struct end){ PG_ERR_INTERNAL, "the token does not age" };
        sleep_ms(10);
    }
    return (struct end){ PG_OK, "" };
}

/* A child continues in place of this program, with the inherited session; the parent only reports its end. */
static void go_on_in_a_child(void)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        return;
    if (child < 0 || waitpid(child, &status, 0) != child)
        _exit(71);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int main(void)
{
    char line[100], command[50];
    double number;

    while (number = 0, fgets(line, sizeof line, stdin) != NULL && sscanf(line, "%49s %lf", command, &number) >= 1) {
        double begun = now_ms();
        if (strcmp(command, "open") == 0) {
            struct end end = open_session();
            tell("open", 0, now_ms() - begun, end);
        } else if (strcmp(command, "wait") == 0) {
            spare_ms = number;
            wait_in_all_ways();
        } else if (strcmp(command, "recover") == 0) {
            recover(number);
        } else if (strcmp(command, "age") == 0) {
            struct end end = age(number);
            tell("age", number, now_ms() - begun, end);
        } else if (strcmp(command, "fork") == 0) {
            go_on_in_a_child();
        } else if (strcmp(command, "request") == 0) {
            struct end end = block_for_request(number);
            tell("request", number, now_ms() - begun, end);
        } else if (strcmp(command, "close") == 0) {
            pg_error *error = NULL;
            struct end end = ended(pg_session_close(session, (int64_t)number, &error), error);
            tell("close", number, now_ms() - begun, end);
        }
        printf("done\n");
        fflush(stdout);
    }
    pg_token_free(last);
    pg_session_free(session);
    pg_client_free(client);
    return 0;
}
