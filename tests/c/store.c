/*
 * A store of the program's own: what pg_config_set_store takes, who frees what, failures, and a forked child. Needs the
 * emulator's variables.
 */

#define _GNU_SOURCE

#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "bench.h"

enum { ROWS = 256, NAME = 80, ROOM = 1 << 16 };

/* In memory that a forked child shares. */
struct row {
    char key[NAME], owner[NAME];
    int64_t until_ms;
    uint64_t version;
    size_t length;
    uint8_t bytes[ROOM];
};

struct table {
    pthread_mutex_t mutex;
    int frees, calls, answer;
    const char *failure;
    bool is_stale;
    int rows;
    struct row row[ROWS];
};

static struct table *new_table(void)
{
    struct table *table = mmap(NULL, sizeof *table, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t shared;
    CHECK(table != MAP_FAILED);
    CHECK(pthread_mutexattr_init(&shared) == 0);
    CHECK(pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED) == 0);
    CHECK(pthread_mutex_init(&table->mutex, &shared) == 0);
    pthread_mutexattr_destroy(&shared);
    return table;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The row of a key, with the table locked; an empty one is made where there is none. */
static struct row *begin_call(struct table *table, const char *key)
{
    pthread_mutex_lock(&table->mutex);
    table->calls++;
    for (int i = 0; i < table->rows; i++)
        if (strcmp(table->row[i].key, key) == 0)
            return &table->row[i];
    CHECK(table->rows < ROWS && strlen(key) < NAME);
    return strcpy(table->row[table->rows++].key, key), &table->row[table->rows - 1];
}

static int32_t end_call(struct table *table, int32_t answer, pg_reply *reply)
{
    if (table->failure != NULL)
        answer = pg_reply_failure(reply, table->failure);
    else if (table->answer != 0)
        answer = table->answer;
    pthread_mutex_unlock(&table->mutex);
    return answer;
}

static int32_t lock(void *context, const char *key, const char *owner, uint32_t lease_ms, pg_reply *reply)
{
    struct row *row = begin_call(context, key);
    bool may = row->until_ms <= now_ms() || strcmp(row->owner, owner) == 0;
    if (may) {
        strcpy(row->owner, owner);
        row->until_ms = now_ms() + lease_ms;
    }
    return end_call(context, may, reply);
}

static int32_t unlock(void *context, const char *key, const char *owner, pg_reply *reply)
{
    struct row *row = begin_call(context, key);
    bool may = strcmp(row->owner, owner) == 0;
    if (may)
        row->until_ms = 0;
    return end_call(context, may, reply);
}

static int32_t load(void *context, const char *key, pg_reply *reply)
{
    struct row *row = begin_call(context, key);
    return end_call(context, row->version == 0 ? 0 : pg_reply_record(reply, row->version, row->bytes, row->length), reply);
}

static int32_t save(void *context, const char *key, uint64_t expected_version, uint64_t version, const uint8_t *bytes,
                    size_t length, pg_reply *reply)
{
    struct table *table = context;
    struct row *row = begin_call(table, key);
    bool may = length <= ROOM && (table->is_stale || row->version == expected_version);
    if (may) {
        row->version = version;
        row->length = length;
        memcpy(row->bytes, bytes, length);
    }
    return end_call(table, may, reply);
}

static void count_free(void *context)
{
    struct table *table = context;
    __atomic_add_fetch(&table->frees, 1, __ATOMIC_SEQ_CST);
}

static pg_store store_of(struct table *table)
{
    return (pg_store){ sizeof(pg_store), table, lock, unlock, load, save, count_free };
}

static pg_config *config_with(struct table *table)
{
    pg_error *error = NULL;
    pg_store store = store_of(table);
    pg_config *config = new_config();
    OK(pg_config_set_store(config, &store, &error));
    /* The table is copied. */
    memset(&store, 0, sizeof store);
    return config;
}

static pg_session *open_with(const pg_config *config)
{
    pg_error *error = NULL;
    pg_session *session = NULL;
    pg_client *client = new_client();
    OK(pg_session_open(client, config, &session, &error));
    pg_client_free(client);
    return session;
}

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

static void test_what_is_no_store(void)
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

/* One that is larger than the library knows, and one from before `free`. */
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

    /* The settings alone; and another store in the place of the first. */
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

/* Parent and child share the store, and so one pair. */
static void test_fork(void)
{
    struct table *table = new_table();
    pg_config *config = config_with(table);
    pg_session *session = open_with(config);
    pg_error *error = NULL;
    int status = 0;

    begin(NULL, NULL);
    pg_token *first = token_of(session);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        pg_session *other = open_with(config);
        pg_token *same = token_of(other), *inherited = token_of(session);
        CHECK(strcmp(pg_token_fingerprint(same), pg_token_fingerprint(first)) == 0);
        CHECK(strcmp(pg_token_fingerprint(inherited), pg_token_fingerprint(first)) == 0);
        OK(pg_session_reject(session, inherited, 401, &error));
        pg_token *second = token_of(session);
        CHECK(pg_token_generation(second) == 2);
        pg_session_free(other);
        pg_session_free(session);
        _exit(EXIT_SUCCESS);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    OK(pg_session_reject(session, first, 401, &error));
    pg_token *second = token_of(session);
    CHECK(pg_token_generation(second) == 2);
    /* The first pair, and the one of the child. */
    CHECK(count_of(ISSUES) + count_of(REFRESHES) == 2 && count_of(MOST_PRESENTATIONS) <= 1);
    pg_token_free(second);
    pg_token_free(first);
    pg_session_free(session);
    pg_config_free(config);
    munmap(table, sizeof *table);
}

int main(void)
{
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    test_what_is_no_store();
    test_other_sizes();
    test_the_check();
    test_freed_once();
    test_failures_are_quoted();
    test_fork();
    curl_global_cleanup();
    printf("ok store: %d checks\n", checks);
    return EXIT_SUCCESS;
}
