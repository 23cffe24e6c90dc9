/* A custom store in memory that forked children share. */

#ifndef MEMORY_STORE_H
#define MEMORY_STORE_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <paymentsgate_auth.h>

enum { ROWS = 256, NAME = 80, ROOM = 1 << 16 };

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

/* The tests cannot run without this memory. */
static inline void must(bool holds)
{
    if (!holds)
        abort();
}

static inline struct table *new_table(void)
{
    struct table *table = mmap(NULL, sizeof *table, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t shared;
    must(table != MAP_FAILED);
    must(pthread_mutexattr_init(&shared) == 0);
    must(pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED) == 0);
    must(pthread_mutex_init(&table->mutex, &shared) == 0);
    pthread_mutexattr_destroy(&shared);
    return table;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The row of a key, with the table locked. Adds an empty row if the key is new. */
static struct row *begin_call(struct table *table, const char *key)
{
    pthread_mutex_lock(&table->mutex);
    table->calls++;
    for (int i = 0; i < table->rows; i++)
        if (strcmp(table->row[i].key, key) == 0)
            return &table->row[i];
    must(table->rows < ROWS && strlen(key) < NAME);
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

static inline pg_store store_of(struct table *table)
{
    return (pg_store){ sizeof(pg_store), table, lock, unlock, load, save, count_free };
}

#endif
