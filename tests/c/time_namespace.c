/*
 * Two processes with one store whose boot clocks are shifted against each other, as in containers that came from a checkpoint:
 * a token has the same age for both. Needs the emulator's variables, and root for time namespaces.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/wait.h>

#include "fixture.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

enum { PATIENCE_S = 20, TOLERANCE_MS = 15000, NO_NAMESPACES = 77 };

static pg_session *session_in(const char *folder)
{
    pg_error *error = NULL;
    pg_session *session = NULL;
    char store[64];
    pg_config *config = new_config();
    pg_client *client = new_client();
    snprintf(store, sizeof store, "file:%s", folder);
    OK(pg_config_set(config, "store", store, &error));
    OK(pg_session_open(client, config, &session, &error));
    pg_client_free(client);
    pg_config_free(config);
    return session;
}

static int status_of(pid_t child)
{
    int status = 0;
    CHECK(child != -1 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* The token of the record is adopted. */
static void compare(const char *folder, const char *fingerprint, int64_t remaining)
{
    pg_session *session = session_in(folder);
    pg_token *token = token_of(session);
    int64_t apart = remaining - pg_token_remaining_ms(token);
    CHECK(strcmp(pg_token_fingerprint(token), fingerprint) == 0);
    CHECK(apart >= 0 && apart < TOLERANCE_MS);
    pg_token_free(token);
    pg_session_free(session);
}

/* The offset holds for the children of the process that sets it. */
static int in_namespace(const char *offset, const char *folder, const char *fingerprint, int64_t remaining)
{
    alarm(PATIENCE_S);
    if (unshare(CLONE_NEWTIME) != 0)
        return (errno == EPERM && geteuid() != 0) || errno == EINVAL ? NO_NAMESPACES : EXIT_FAILURE;
    int offsets = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    CHECK(offsets != -1 && write(offsets, offset, strlen(offset)) == (ssize_t)strlen(offset) && close(offsets) == 0);
    pid_t child = fork();
    if (child == 0) {
        alarm(PATIENCE_S);
        compare(folder, fingerprint, remaining);
        _exit(EXIT_SUCCESS);
    }
    return status_of(child);
}

int main(void)
{
    static const char *const OFFSETS[] = { "boottime 1000 0", "boottime 100000 0", "boottime -5 0" };
    char folder[] = "/tmp/pg-time-XXXXXX", command[64];
    bool has_namespaces = true;
    alarm(PATIENCE_S);
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    CHECK(mkdtemp(folder) != NULL);
    begin(NULL, NULL);
    pg_session *session = session_in(folder);
    pg_token *token = token_of(session);
    for (size_t i = 0; i < sizeof OFFSETS / sizeof OFFSETS[0] && has_namespaces; i++) {
        int64_t remaining = pg_token_remaining_ms(token);
        fflush(stdout);
        pid_t child = fork();
        if (child == 0)
            _exit(in_namespace(OFFSETS[i], folder, pg_token_fingerprint(token), remaining));
        int status = status_of(child);
        has_namespaces = status != NO_NAMESPACES;
        CHECK(status == EXIT_SUCCESS || !has_namespaces);
    }
    CHECK(count_of(ISSUES) == 1 && count_of(REFRESHES) == 0);
    pg_token_free(token);
    pg_session_free(session);
    begin(NULL, NULL);
    curl_global_cleanup();
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CHECK(system(command) == 0);
    if (!has_namespaces)
        fprintf(stderr, "time_namespace: NOT TESTED; it takes root and Linux 5.6\n");
    /* In CI each test runs as root. */
    CHECK(has_namespaces || getenv("CI") == NULL);
    printf("ok time_namespace: %d checks%s\n", checks, has_namespaces ? "" : ", BUT NO TIME NAMESPACES: they take root");
    return EXIT_SUCCESS;
}
