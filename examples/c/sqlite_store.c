/*
 * Stores the pair of a session in a SQLite database that any number of processes share.
 *
 *   cc -std=c99 sqlite_store.c $(pkg-config --cflags --libs paymentsgate_auth sqlite3) -o sqlite_store
 *   ./sqlite_store FILE          a token, from the database if it has a fresh one
 *   ./sqlite_store FILE check    whether the store fulfils the library's contract
 *
 * The service and the credentials come from the environment, as for session.c. A database on a server needs the same four
 * statements: docs/custom-store.md has them for PostgreSQL.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <paymentsgate_auth.h>
#include <sqlite3.h>

/* How long to wait for other writers: less than the library waits for a callback. */
enum { BUSY_MS = 4000, TIMEOUT_MS = 30000 };

static const char SCHEMA[] =
    "PRAGMA journal_mode = WAL;"
    "CREATE TABLE IF NOT EXISTS paymentsgate_record (key TEXT PRIMARY KEY, version INTEGER NOT NULL, bytes BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS paymentsgate_lock (key TEXT PRIMARY KEY, owner TEXT NOT NULL, until_ms INTEGER NOT NULL);";

/* SQLite 3.42 has unixepoch('subsec'). */
#define NOW_MS "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"

static const char LOCK[] =
    "INSERT INTO paymentsgate_lock AS held VALUES (?1, ?2, " NOW_MS " + ?3) "
    "ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, until_ms = excluded.until_ms "
    "WHERE held.owner = excluded.owner OR held.until_ms <= " NOW_MS;
static const char UNLOCK[] = "DELETE FROM paymentsgate_lock WHERE key = ?1 AND owner = ?2";
static const char LOAD[] = "SELECT version, bytes FROM paymentsgate_record WHERE key = ?1";
static const char SAVE_FIRST[] = "INSERT INTO paymentsgate_record VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
static const char SAVE[] = "UPDATE paymentsgate_record SET version = ?2, bytes = ?3 WHERE key = ?1 AND version = ?4";

/* One statement, and so atomic, on its own connection: safe in any thread, and in a forked child. */
struct call {
    sqlite3 *database;
    sqlite3_stmt *statement;
};

static void begin(struct call *call, const char *path, const char *sql, const char *key)
{
    call->statement = NULL;
    if (sqlite3_open(path, &call->database) != SQLITE_OK)
        return;
    sqlite3_busy_timeout(call->database, BUSY_MS);
    /* Saved data survives a power failure. */
    sqlite3_exec(call->database, "PRAGMA synchronous = FULL", NULL, NULL, NULL);
    if (sqlite3_prepare_v2(call->database, sql, -1, &call->statement, NULL) == SQLITE_OK)
        sqlite3_bind_text(call->statement, 1, key, -1, SQLITE_STATIC);
}

static int32_t end(struct call *call, int32_t answer, pg_reply *reply)
{
    if (answer < 0 && sqlite3_errcode(call->database) != SQLITE_OK)
        pg_reply_failure(reply, sqlite3_errmsg(call->database));
    sqlite3_finalize(call->statement);
    sqlite3_close(call->database);
    return answer;
}

/* Whether the statement changed a row. */
static int32_t end_changed(struct call *call, pg_reply *reply)
{
    bool done = sqlite3_step(call->statement) == SQLITE_DONE;
    return end(call, done ? sqlite3_changes(call->database) > 0 : -1, reply);
}

static int32_t lock(void *path, const char *key, const char *owner, uint32_t lease_ms, pg_reply *reply)
{
    struct call call;
    begin(&call, path, LOCK, key);
    sqlite3_bind_text(call.statement, 2, owner, -1, SQLITE_STATIC);
    sqlite3_bind_int64(call.statement, 3, lease_ms);
    return end_changed(&call, reply);
}

static int32_t unlock(void *path, const char *key, const char *owner, pg_reply *reply)
{
    struct call call;
    begin(&call, path, UNLOCK, key);
    sqlite3_bind_text(call.statement, 2, owner, -1, SQLITE_STATIC);
    return end_changed(&call, reply);
}

static int32_t load(void *path, const char *key, pg_reply *reply)
{
    struct call call;
    begin(&call, path, LOAD, key);
    int result = sqlite3_step(call.statement);
    if (result != SQLITE_ROW)
        return end(&call, result == SQLITE_DONE ? 0 : -1, reply);
    sqlite3_int64 version = sqlite3_column_int64(call.statement, 0);
    const void *bytes = sqlite3_column_blob(call.statement, 1);
    int length = sqlite3_column_bytes(call.statement, 1);
    return end(&call, pg_reply_record(reply, (uint64_t)version, bytes, (size_t)length), reply);
}

static int32_t save(void *path, const char *key, uint64_t expected_version, uint64_t version, const uint8_t *bytes,
                    size_t length, pg_reply *reply)
{
    struct call call;
    begin(&call, path, expected_version == 0 ? SAVE_FIRST : SAVE, key);
    sqlite3_bind_int64(call.statement, 2, (sqlite3_int64)version);
    sqlite3_bind_blob64(call.statement, 3, bytes, length, SQLITE_STATIC);
    if (expected_version != 0)
        sqlite3_bind_int64(call.statement, 4, (sqlite3_int64)expected_version);
    return end_changed(&call, reply);
}

static int create(const char *path)
{
    sqlite3 *database = NULL;
    int result = sqlite3_open(path, &database);
    if (result == SQLITE_OK) {
        sqlite3_busy_timeout(database, BUSY_MS);
        result = sqlite3_exec(database, SCHEMA, NULL, NULL, NULL);
    }
    if (result != SQLITE_OK)
        fprintf(stderr, "%s: %s\n", path, sqlite3_errmsg(database));
    sqlite3_close(database);
    return result == SQLITE_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int show_token(const pg_store *store, pg_error **error)
{
    pg_config *config = pg_config_new();
    pg_client *client = NULL;
    pg_session *session = NULL;
    pg_token *token = NULL;
    int result = EXIT_FAILURE;

    if (pg_config_set_from_env(config, error) == PG_OK &&
        pg_config_set_store(config, store, error) == PG_OK &&
        pg_client_new(config, &client, error) == PG_OK &&
        pg_session_open(client, config, &session, error) == PG_OK &&
        pg_session_token(session, TIMEOUT_MS, &token, error) == PG_OK) {
        printf("token %s  generation %" PRIu64 "  %" PRId64 " s left\n", pg_token_fingerprint(token),
               pg_token_generation(token), pg_token_remaining_ms(token) / 1000);
        result = pg_session_close(session, TIMEOUT_MS, error) == PG_OK ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    pg_token_free(token);
    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    return result;
}

static int check(const pg_store *store, pg_error **error)
{
    if (pg_store_check(store, error) != PG_OK)
        return EXIT_FAILURE;
    puts("the store keeps its contract");
    return EXIT_SUCCESS;
}

int main(int count, char **arguments)
{
    if (count < 2) {
        fprintf(stderr, "usage: %s FILE [check]\n", arguments[0]);
        return EXIT_FAILURE;
    }
    /* The path is valid until the program ends, so there is nothing to free. */
    pg_store store = { .size = sizeof store, .context = arguments[1],
                       .lock = lock, .unlock = unlock, .load = load, .save = save };
    pg_error *error = NULL;
    int result = create(arguments[1]);
    if (result == EXIT_SUCCESS)
        result = count > 2 && strcmp(arguments[2], "check") == 0 ? check(&store, &error) : show_token(&store, &error);
    if (error != NULL)
        fprintf(stderr, "%s: %s\n", pg_status_name(pg_error_status(error)), pg_error_text(error));
    pg_error_free(error);
    return result;
}
