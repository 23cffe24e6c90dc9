/* The state of the driver between two commands, and its end after a wrong command. */

#ifndef CDRIVER_STATE_H
#define CDRIVER_STATE_H

#include <stdio.h>
#include <stdlib.h>

#include <paymentsgate_auth.h>

enum { MOST_WORDS = 7, MOST_HEADERS = 32, NEWS = 7, STARTED = 8 };

struct state {
    pg_config *config;
    pg_config *without_credentials;
    pg_client *client;
    pg_token *token;
    pg_session *session;
    pg_queue *news;
    pg_queue *under_way;
};

struct text {
    const char *bytes; /* NULL: not given */
    size_t length;
};

static void give_up(const char *why)
{
    fprintf(stderr, "driver: %s\n", why);
    exit(2);
}

#endif
