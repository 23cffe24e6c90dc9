/* After the caller has freed its objects, no secret is left in the process's memory: no token, no header, no body. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <paymentsgate_auth.h>

enum { MOST = 8192, SECRETS = 16, PATIENCE_MS = 10000, NEWS = 1, RESPONSE = 2 };

/* The secrets to search for, masked so that the search does not find its own copies. */
static struct {
    const char *name;
    unsigned char masked[MOST];
    size_t length;
} secrets[SECRETS];
static size_t count;

static void note(const char *name, const char *secret)
{
    secrets[count].name = name;
    secrets[count].length = strlen(secret);
    for (size_t i = 0; i < secrets[count].length; i++)
        secrets[count].masked[i] = (unsigned char)(secret[i] ^ 0x5a);
    count++;
}

static int matches(const unsigned char *at, size_t secret)
{
    for (size_t i = 0; i < secrets[secret].length; i++)
        if ((at[i] ^ 0x5a) != secrets[secret].masked[i])
            return 0;
    return 1;
}

/* Every writable mapping of the process, as in a core dump. */
static unsigned search(bool tell)
{
    unsigned found = 0;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long begin, end;
        char mode[5];
        if (sscanf(line, "%lx-%lx %4s", &begin, &end, mode) != 3 || strncmp(mode, "rw", 2) != 0 ||
            strstr(line, "[v") != NULL)
            continue;
        for (size_t secret = 0; secret < count; secret++)
            for (const unsigned char *at = (const unsigned char *)begin;
                 at + secrets[secret].length <= (const unsigned char *)end; at++)
                if (matches(at, secret)) {
                    if (tell)
                        printf("found the %s at %p in %s", secrets[secret].name, (const void *)at, line);
                    found++;
                }
    }
    if (maps != NULL)
        fclose(maps);
    return found;
}

static void die(const char *what, pg_error *error)
{
    fprintf(stderr, "%s: %s\n", what, pg_error_text(error));
    exit(1);
}

/* Made at run time, so that the program file does not contain it. The caller wipes and frees it. */
static char *made_up(const char *name)
{
    static unsigned made = 0;
    char *secret = malloc(64);
    if (secret == NULL)
        exit(1);
    snprintf(secret, 64, "%s-%u-%lx-%lx", name, made++, (unsigned long)getpid(), (unsigned long)time(NULL));
    note(name, secret);
    return secret;
}

static void wipe(char *secret)
{
    volatile char *at = secret;
    while (*at != '\0')
        *at++ = '\0';
    free(secret);
}

static pg_event *next(const pg_queue *queue)
{
    pg_error *error = NULL;
    pg_event *event = NULL;
    if (pg_queue_poll(queue, PATIENCE_MS, &event, &error) != PG_OK || event == NULL)
        die("poll", error);
    return event;
}

/* A session from a pair, which it renews; its events, with the new pair; a request and its response. Some events are taken
* from the queue, and some are freed with it. */
static void live_with_a_pair(const pg_client *client, pg_config *config, const pg_token *pair)
{
    pg_error *error = NULL;
    pg_session *session = NULL;
    pg_token *token = NULL;
    pg_queue *queue = NULL, *unread = NULL;
    pg_response *response = NULL;
    char *header = made_up("header"), *body = made_up("body");
    const char *headers[] = { "X-Secret", header, NULL };

    if (pg_config_set(config, "access_token", pg_token_access_token(pair), &error) != PG_OK ||
        pg_config_set(config, "refresh_token", pg_token_refresh_token(pair), &error) != PG_OK ||
        pg_session_open(client, config, &session, &error) != PG_OK)
        die("open", error);
    if (pg_queue_new(&queue, &error) != PG_OK || pg_queue_new(&unread, &error) != PG_OK)
        die("queue", error);
    if (pg_session_subscribe(session, queue, NEWS, PG_LOG_NONE, &error) != PG_OK ||
        pg_session_subscribe(session, unread, NEWS, PG_LOG_DEBUG, &error) != PG_OK)
        die("subscribe", error);
    if (pg_session_token(session, PATIENCE_MS, &token, &error) != PG_OK)
        die("token", error);
    pg_event *rotated = next(queue);
    if (pg_token_refresh_token(pg_event_token(rotated)) == NULL)
        die("the new pair did not come", NULL);
    note("kept access token", pg_token_access_token(pg_event_token(rotated)));
    note("kept refresh token", pg_token_refresh_token(pg_event_token(rotated)));

    if (pg_session_request(session, "POST", "/deals/payin", headers, (const uint8_t *)body, strlen(body), PATIENCE_MS,
                           &response, &error) != PG_OK ||
        pg_session_request_start(session, queue, RESPONSE, "POST", "/deals/payin", headers, (const uint8_t *)body,
                                 strlen(body), PATIENCE_MS, &error) != PG_OK ||
        pg_session_token_start(session, unread, RESPONSE, 0, PATIENCE_MS, &error) != PG_OK)
        die("request", error);
    pg_event *answered = next(queue);
    if (search(false) < 2 * count)
        die("the search does not find what is there", NULL);
    wipe(header);
    wipe(body);
    pg_event_free(answered);
    pg_event_free(rotated);
    pg_response_free(response);
    pg_token_free(token);
    pg_queue_free(unread);
    pg_session_free(session);
    pg_queue_free(queue);
}

int main(void)
{
    pg_error *error = NULL;
    pg_config *config = pg_config_new();
    pg_client *client;
    pg_token *first, *second;

    if (pg_config_set_from_env(config, &error) != PG_OK || pg_client_new(config, &client, &error) != PG_OK)
        die("client", error);
    if (pg_issue_token(client, NULL, NULL, 10000, &first, &error) != PG_OK)
        die("issue", error);
    if (pg_refresh_token(client, pg_token_access_token(first), pg_token_refresh_token(first), 10000, &second,
                         &error) != PG_OK)
        die("refresh", error);
    note("first access token", pg_token_access_token(first));
    note("first refresh token", pg_token_refresh_token(first));
    note("second access token", pg_token_access_token(second));
    note("second refresh token", pg_token_refresh_token(second));
    if (search(false) < 4)
        die("the search does not find what is there", NULL);
    live_with_a_pair(client, config, second);
    pg_token_free(first);
    pg_token_free(second);
    pg_client_free(client);
    pg_config_free(config);
    /* The library's thread closes the connection a little later. */
    for (int tries = 0; tries < 100 && search(false) != 0; tries++)
        usleep(100000);
    unsigned left = search(true);
    if (left == 0)
        printf("ok wiped: %zu secrets, none left\n", count);
    return left != 0;
}
