/*
* Custom stores: the arguments of pg_config_set_store, the owner of the context, and failures. Needs the emulator's variables.
 */

#define _GNU_SOURCE

#include <stddef.h>

#include "table.h"

static void wait_for_frees(struct table *table, int count)
{
    for (int i = 0; i < 10000 && __atomic_load_n(&table->frees, __ATOMIC_SEQ_CST) < count; i++)
        usleep(1000);
    CHECK(__atomic_load_n(&table->frees, __ATOMIC_SEQ_CST) == count);
}

static void refused(pg_store *store, pg_status status, const char *words)
{
    pg_error *error = NULL;
    pg_config *config = new_config();
    CHECK(pg_config_set_store(config, store, &error) == status);
    CHECK(strstr(pg_error_text(error), words) != NULL);
    pg_error_free(error);
    CHECK(pg_store_check(store, &error) == status);
    CHECK(strstr(pg_error_text(error), words) != NULL);
    pg_error_free(error);
    pg_config_free(config);
}

static void test_invalid_stores_are_refused(void)
{
    struct table *table = new_table();
    pg_store store = store_of(table);
    pg_config *config = new_config();

    refused(NULL, PG_ERR_NULL_POINTER, "`store`");
    CHECK(pg_config_set_store(NULL, &store, NULL) == PG_ERR_NULL_POINTER);
    store.size = offsetof(pg_store, save);
    refused(&store, PG_ERR_INVALID_ARGUMENT, "sizeof(pg_store)");
    store.size = 0;
    refused(&store, PG_ERR_INVALID_ARGUMENT, "`size` of 0");
    store = store_of(table);
    store.lock = NULL;
    refused(&store, PG_ERR_NULL_POINTER, "`store->lock`");
    store = store_of(table);
    store.unlock = NULL;
    refused(&store, PG_ERR_NULL_POINTER, "`store->unlock`");
    store = store_of(table);
    store.load = NULL;
    refused(&store, PG_ERR_NULL_POINTER, "`store->load`");
    store = store_of(table);
    store.save = NULL;
    refused(&store, PG_ERR_NULL_POINTER, "`store->save`");
    CHECK(table->frees == 0 && table->calls == 0);

    CHECK(pg_reply_failure(NULL, "why") == -1 && pg_reply_record(NULL, 1, NULL, 0) == -1);
    pg_config_free(config);
    munmap(table, sizeof *table);
}

/* A struct larger than the library knows, and one without the later field `free`. */
static void test_other_sizes(void)
{
    struct table *table = new_table();
    struct {
        pg_store known;
        void *more;
    } later = { store_of(table), table };
    pg_store earlier = store_of(table);
    pg_error *error = NULL;

    later.known.size = sizeof later;
    OK(pg_store_check(&later.known, &error));
    earlier.size = offsetof(pg_store, free);
    pg_config *config = new_config();
    OK(pg_config_set_store(config, &earlier, &error));
    pg_config_free(config);
    CHECK(table->frees == 0);
    munmap(table, sizeof *table);
}

static void test_the_check(void)
{
    struct table *table = new_table();
    pg_store store = store_of(table);
    pg_error *error = NULL;

    OK(pg_store_check(&store, &error));
    table->is_stale = true;
    CHECK(pg_store_check(&store, &error) == PG_ERR_INVALID_ARGUMENT);
    CHECK(strstr(pg_error_text(error), "`save`") != NULL);
    pg_error_free(error);
    table->answer = 5;
    CHECK(pg_store_check(&store, &error) == PG_ERR_STORE);
    CHECK(strstr(pg_error_text(error), "it answered 5, which is neither 1, 0 nor -1") != NULL);
    pg_error_free(error);
    CHECK(table->frees == 0);
    munmap(table, sizeof *table);
}

static void test_freed_once(void)
{
    struct table *table = new_table(), *other = new_table();
    pg_error *error = NULL;
    pg_store second = store_of(other);

    /* Only settings; and a second store that replaces the first. */
    pg_config *config = config_with(table);
    OK(pg_config_set_store(config, &second, &error));
    wait_for_frees(table, 1);
    pg_config_free(config);
    wait_for_frees(other, 1);

    /* A session that cannot be opened. */
    config = config_with(table);
    pg_client *client = new_client();
    pg_session *session = NULL;
    OK(pg_config_set(config, "store", "file:/nowhere", &error));
    CHECK(pg_session_open(client, config, &session, &error) == PG_ERR_CONFLICTING_SETTINGS);
    CHECK(strstr(pg_error_text(error), "pg_config_set_store") != NULL);
    pg_error_free(error);
    pg_client_free(client);
    CHECK(table->frees == 1);
    pg_config_free(config);
    wait_for_frees(table, 2);

    /* Sessions outlive the settings. */
    config = config_with(table);
    session = open_with(config);
    pg_session *unused = open_with(config);
    pg_config_free(config);
    pg_token_free(token_of(session));
    pg_session_free(unused);
    CHECK(table->frees == 2);
    pg_session_free(session);
    wait_for_frees(table, 3);
    munmap(table, sizeof *table);
    munmap(other, sizeof *other);
}

static void wait_until_health_says(const pg_session *session, const char *words)
{
    bool is_said = false;
    for (int i = 0; i < 10000 && !is_said; i++) {
        pg_error *error = NULL;
        char *json = NULL;
        OK(pg_session_health(session, &json, &error));
        is_said = strstr(json, words) != NULL;
        pg_text_free(json);
        usleep(1000);
    }
    CHECK(is_said);
}

static void test_failures_are_quoted(void)
{
    struct table *table = new_table();
    pg_error *error = NULL;
    pg_token *token = NULL;
    pg_config *config = config_with(table);
    OK(pg_config_set(config, "on_store_down", "fail", &error));

    table->failure = "the disk is full\nand so on";
    pg_session *session = open_with(config);
    CHECK(pg_session_token(session, 0, &token, NULL) == PG_ERR_TIMEOUT);
    wait_until_health_says(session, "`lock` failed: the disk is full;");
    table->failure = NULL;
    pg_session_free(session);

    session = open_with(config);
    token = token_of(session);
    CHECK(pg_token_generation(token) == 1);
    pg_token_free(token);
    pg_session_free(session);
    pg_config_free(config);
    wait_for_frees(table, 1);
    munmap(table, sizeof *table);
}

struct retirement {
    pg_store store;
    pg_status status;
};

static void *retire(void *argument)
{
    struct retirement *retirement = argument;
    pg_error *error = NULL;
    retirement->status = pg_store_retire(&retirement->store, PG_TIMEOUT_DEFAULT, &error);
    return NULL;
}

static int entered;

static int32_t counting_lock(void *context, const char *key, const char *owner, uint32_t lease_ms, pg_reply *reply)
{
    __atomic_add_fetch(&entered, 1, __ATOMIC_SEQ_CST);
    return store_of(context).lock(context, key, owner, lease_ms, reply);
}

/* After it nothing calls the store, not even to free its context. */
static void test_a_retired_store_is_not_called(void)
{
    struct table *table = new_table(), *other = new_table();
    pg_error *error = NULL;
    pg_token *token = NULL;
    pg_store store = store_of(table), invalid = store;
    invalid.size = 0;
    CHECK(pg_store_retire(NULL, 0, NULL) == PG_ERR_NULL_POINTER);
    CHECK(pg_store_retire(&invalid, 0, NULL) == PG_ERR_INVALID_ARGUMENT);
    CHECK(pg_store_retire(&store, -5, NULL) == PG_ERR_INVALID_ARGUMENT);

    store.lock = counting_lock;
    pg_config *config = new_config();
    OK(pg_config_set_store(config, &store, &error));
    OK(pg_config_set(config, "on_store_down", "fail", &error));
    pg_session *session = open_with(config), *second = open_with(config);
    pg_token_free(token_of(session));

    /* A call that waits for the table's mutex is in progress. */
    pthread_mutex_lock(&table->mutex);
    int before = entered;
    CHECK(pg_session_token(second, 0, &token, NULL) == PG_ERR_TIMEOUT);
    while (__atomic_load_n(&entered, __ATOMIC_SEQ_CST) == before)
        usleep(1000);
    CHECK(pg_store_retire(&store, 0, &error) == PG_ERR_TIMEOUT);
    CHECK(strstr(pg_error_text(error), "a callback of the store has not returned") != NULL);
    pg_error_free(error);
    struct retirement retirement = { store, PG_ERR_INTERNAL };
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, retire, &retirement) == 0);
    pthread_mutex_unlock(&table->mutex);
    pthread_join(thread, NULL);
    CHECK(retirement.status == PG_OK);
    int calls = table->calls;

    CHECK(pg_session_token(second, 5000, &token, &error) != PG_OK);
    pg_error_free(error);
    wait_until_health_says(second, "the program has retired it");
    OK(pg_store_retire(&store, 0, &error));
    pg_session_free(session);
    pg_session_free(second);
    pg_config_free(config);

    /* Another store goes on. */
    config = config_with(other);
    session = open_with(config);
    pg_token_free(token_of(session));
    pg_session_free(session);
    pg_config_free(config);
    wait_for_frees(other, 1);
    CHECK(table->calls == calls && table->frees == 0);
    munmap(other, sizeof *other);
}

int main(void)
{
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    test_invalid_stores_are_refused();
    test_other_sizes();
    test_the_check();
    test_freed_once();
    test_failures_are_quoted();
    test_a_retired_store_is_not_called();
    curl_global_cleanup();
    printf("ok store: %d checks\n", checks);
    return EXIT_SUCCESS;
}
