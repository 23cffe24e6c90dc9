/*
* A program that has closed its standard streams: no descriptor of the library takes their numbers, where the program
 * would read from it or print into it. Needs the emulator's variables.
 */

#define _GNU_SOURCE

#include <fcntl.h>

#include "fixture.h"

enum { PATIENCE_S = 20, STREAMS = 3, RESPONSE = 1 };

static void close_streams(void)
{
    for (int fd = 0; fd < STREAMS; fd++)
        close(fd);
}

/* Closed again for programs that this program executes. */
static void check_streams_are_null(void)
{
    for (int fd = 0; fd < STREAMS; fd++) {
        char path[32], target[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = '\0';
        if (strcmp(target, "/dev/null") != 0)
            fprintf(stderr, "%d is %s\n", fd, target);
        CHECK(strcmp(target, "/dev/null") == 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    }
}

static void use(const pg_session *session)
{
    pg_error *error = NULL;
    pg_response *response = NULL;
    pg_token *token = token_of(session);
    OK(pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, PG_TIMEOUT_DEFAULT, &response, &error));
    CHECK(pg_response_status(response) == 200);
    pg_response_free(response);
    pg_token_free(token);
}

/* With a file store, which opens and closes files. */
static pg_session *session_in(const char *folder)
{
    pg_error *error = NULL;
    pg_session *session = NULL;
    char store[128];
    pg_config *config = new_config();
    pg_client *client = new_client();
    snprintf(store, sizeof store, "file:%s/store", folder);
    OK(pg_config_set(config, "store", store, &error));
    OK(pg_session_open(client, config, &session, &error));
    pg_client_free(client);
    pg_config_free(config);
    return session;
}

/* The program's own streams stay open, and its output goes there. */
static void print_into(const char *path, const pg_session *session)
{
    char text[64] = "";
    int own = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(own >= STREAMS && dup2(own, STDOUT_FILENO) == STDOUT_FILENO);
    printf("printed\n");
    CHECK(fflush(stdout) == 0);
    use(session);
    printf("again\n");
    CHECK(fflush(stdout) == 0);
    CHECK(pread(own, text, sizeof text - 1, 0) == 14 && strcmp(text, "printed\nagain\n") == 0);
    CHECK(close(own) == 0);
}

static void remove_all(const char *folder)
{
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CHECK(system(command) == 0);
}

int main(void)
{
    char folder[] = "/tmp/pg-streams-XXXXXX", path[64];
    pg_error *error = NULL;
    int32_t fd = -1;
    alarm(PATIENCE_S);
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    CHECK(mkdtemp(folder) != NULL);
    begin(NULL, NULL);
    snprintf(path, sizeof path, "%s/printed", folder);
    int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STREAMS), errors = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STREAMS);
    CHECK(out != -1 && errors != -1);
    /* Makes a failure visible. */
    stderr = fdopen(errors, "w");
    CHECK(stderr != NULL);

    /* Before the first call; then between calls, each time before a different use of a descriptor. */
    close_streams();
    pg_session *session = new_session();
    use(session);
    check_streams_are_null();
    print_into(path, session);
    close_streams();
    pg_session *other = new_session();
    close_streams();
    use(other);
    check_streams_are_null();
    pg_session *shared = session_in(folder);
    close_streams();
    use(shared);
    check_streams_are_null();
    pg_queue *queue = new_queue();
    close_streams();
    OK(pg_queue_fd(queue, &fd, &error));
    check_streams_are_null();
    start_wallet(shared, queue, RESPONSE);
    pass(queue, RESPONSE, PG_EVENT_RESPONSE, PG_OK);
    print_into(path, shared);

    pg_queue_free(queue);
    pg_session_free(shared);
    pg_session_free(other);
    pg_session_free(session);
    begin(NULL, NULL);
    curl_global_cleanup();
    remove_all(folder);
    CHECK(dup2(out, STDOUT_FILENO) == STDOUT_FILENO);
    printf("ok streams: %d checks\n", checks);
    return EXIT_SUCCESS;
}
