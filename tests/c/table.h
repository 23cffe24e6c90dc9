/* Sessions on the store of memory_store.h. */

#ifndef TABLE_H
#define TABLE_H

#include "fixture.h"
#include "memory_store.h"

static inline pg_config *config_with(struct table *table)
{
    pg_error *error = NULL;
    pg_store store = store_of(table);
    pg_config *config = new_config();
    OK(pg_config_set_store(config, &store, &error));
    /* The table is copied. */
    memset(&store, 0, sizeof store);
    return config;
}

static inline pg_session *open_with(const pg_config *config)
{
    pg_error *error = NULL;
    pg_session *session = NULL;
    pg_client *client = new_client();
    OK(pg_session_open(client, config, &session, &error));
    pg_client_free(client);
    return session;
}

#endif
