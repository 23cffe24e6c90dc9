/* Concurrent refreshes with this library: asynchronous calls whose results come on one queue. */
#define _GNU_SOURCE
#include <paymentsgate_auth.h>

#include "crowd.h"

static void must(pg_status status, const pg_error *error)
{
    if (status != PG_OK) {
        fprintf(stderr, "paymentsgate-auth: %s\n", pg_error_text(error));
        exit(EXIT_FAILURE);
    }
}

static bool take(pg_queue *queue, int64_t patience_ms, pg_event **event)
{
    pg_error *error = NULL;
    must(pg_queue_poll(queue, patience_ms, event, &error), error);
    return *event != NULL;
}

int main(void)
{
    int started = 0;
    pg_error *error = NULL;
    pg_queue *queue = NULL;
    double begin = now_ns();
    void *client = pg_way.open(getenv("PG_SANDBOX_FIXED"));
    must(pg_queue_new(&queue, &error), error);
    for (int ended = 0; ended < CALLS;) {
        for (; started < CALLS && started - ended < AT_ONCE; started++)
            must(pg_refresh_token_start(client, queue, (uint64_t)started, ACCESS_TOKEN, REFRESH_TOKEN, 10000, &error),
                 error);
        /* Waits for one event, then takes all that are queued. */
        pg_event *event = NULL;
        for (int64_t patience_ms = 10000; take(queue, patience_ms, &event); patience_ms = 0) {
            must(pg_event_status(event), pg_event_error(event));
            pg_event_free(event);
            ended++;
        }
    }
    report(begin);
    pg_queue_free(queue);
    pg_way.close(client);
    return 0;
}
