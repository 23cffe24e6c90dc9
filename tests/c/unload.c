/*
* A host that loads the library at run time and unloads it after a call. The library must stay, since its thread still
* runs in it. Takes the path of the library, and is not linked with it.
 */

#define _POSIX_C_SOURCE 200809L

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <paymentsgate_auth.h>

static int checks = 0;

#define CHECK(condition) check((condition), #condition, __LINE__)

static void check(bool holds, const char *condition, int line)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "unload.c:%d: does not hold: %s\n", line, condition);
        exit(EXIT_FAILURE);
    }
}

/* ISO C has no cast from an object pointer to a function pointer; POSIX guarantees the same bytes. */
#define FIND(function) find(library, #function, &function, sizeof function)

static void find(void *library, const char *name, void *function, size_t size)
{
    void *address = dlsym(library, name);
    CHECK(address != NULL && size == sizeof address);
    memcpy(function, &address, size);
}

int main(int count, char **arguments)
{
    uint32_t (*pg_abi_version)(void);
    pg_config *(*pg_config_new)(void);
    pg_status (*pg_config_set_from_env)(pg_config *, pg_error **);
    pg_status (*pg_client_new)(const pg_config *, pg_client **, pg_error **);
    pg_status (*pg_issue_token)(const pg_client *, const char *, const char *, int64_t, pg_token **, pg_error **);
    int64_t (*pg_token_remaining_ms)(const pg_token *);
    void (*pg_token_free)(pg_token *);
    void (*pg_client_free)(pg_client *);
    void (*pg_config_free)(pg_config *);
    pg_client *client = NULL;
    pg_token *token = NULL;

    CHECK(count == 2);
    void *library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL);
    FIND(pg_abi_version);
    CHECK(pg_abi_version() == PG_ABI_VERSION);
    FIND(pg_config_new);
    FIND(pg_config_set_from_env);
    FIND(pg_client_new);
    FIND(pg_issue_token);
    FIND(pg_token_remaining_ms);
    FIND(pg_token_free);
    FIND(pg_client_free);
    FIND(pg_config_free);

    pg_config *config = pg_config_new();
    CHECK(pg_config_set_from_env(config, NULL) == PG_OK);
    CHECK(pg_client_new(config, &client, NULL) == PG_OK);
    CHECK(pg_issue_token(client, NULL, NULL, PG_TIMEOUT_DEFAULT, &token, NULL) == PG_OK);
    CHECK(dlclose(library) == 0);

    /* The library's thread wakes meanwhile, and its functions still work. */
    nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
    CHECK(pg_token_remaining_ms(token) > 0);
    pg_token_free(token);
    CHECK(pg_issue_token(client, NULL, NULL, PG_TIMEOUT_DEFAULT, &token, NULL) == PG_OK);
    pg_token_free(token);
    pg_client_free(client);
    pg_config_free(config);
    CHECK(dlopen(arguments[1], RTLD_NOW | RTLD_NOLOAD) != NULL);
    printf("ok unload: %d checks\n", checks);
    return EXIT_SUCCESS;
}
