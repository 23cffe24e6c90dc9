/* The crowd through this library: a thread for each call in flight. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "crowd.h"

static atomic_int left = CALLS;

static void *work(void *client)
{
    while (atomic_fetch_sub(&left, 1) > 0)
        pg_way.refresh(client, ACCESS_TOKEN, REFRESH_TOKEN);
    return NULL;
}

int main(void)
{
    pthread_t threads[AT_ONCE];
    double begin = now_ns();
    void *client = pg_way.open(getenv("PG_SANDBOX_FIXED"));
    for (int i = 0; i < AT_ONCE; i++)
        if (pthread_create(&threads[i], NULL, work, client) != 0)
            return EXIT_FAILURE;
    for (int i = 0; i < AT_ONCE; i++)
        pthread_join(threads[i], NULL);
    report(begin);
    pg_way.close(client);
    return 0;
}
