/*
 * No descriptor is left when the library first needs some, or a program takes away those that it has: calls fail at once or
 * work, and work as soon as there are descriptors again. Needs the emulator's variables.
 */

#define _GNU_SOURCE

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "fixture.h"

enum { PATIENCE_S = 60, TOKEN = 1, RESPONSE = 2, BARE = 3, REFRESHED = 4, SHORT_MS = 50, CALL_MS = 5000 };

/* Opens descriptors up to the lowest free number; returns how many. */
static rlim_t leave_no_descriptor(void)
{
    struct rlimit limit;
    int first = dup(STDIN_FILENO);
    CHECK(first != -1 && close(first) == 0);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = (rlim_t)first;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    return before;
}

static void allow_descriptors(rlim_t count)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = count;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* The call is refused by the system: the error is retryable, and its text names what to check. */
static void check_refused(pg_status status, pg_error **error)
{
    if (status != PG_ERR_SYSTEM)
        fprintf(stderr, "%s: %s\n", pg_status_name(status), pg_error_text(*error));
    CHECK(status == PG_ERR_SYSTEM && pg_error_is_retryable(*error));
    CHECK(strstr(pg_error_text(*error), "limit") != NULL);
    pg_error_free(*error);
    *error = NULL;
}

/* Twice: a failure leaves nothing behind. */
static void test_at_the_first_call(void)
{
    pg_error *error = NULL;
    pg_event *event = NULL;
    pg_token *token = NULL;
    pg_response *response = NULL;
    int32_t fd = -1;
    begin(NULL, NULL);
    pg_session *session = new_session();
    pg_client *client = new_client();
    pg_queue *queue = new_queue();

    rlim_t count = leave_no_descriptor();
    for (int i = 0; i < 2; i++) {
        check_refused(pg_session_token_start(session, queue, TOKEN, 0, PG_TIMEOUT_DEFAULT, &error), &error);
        check_refused(pg_session_refresh_start(session, queue, TOKEN, PG_TIMEOUT_DEFAULT, &error), &error);
        check_refused(pg_session_request_start(session, queue, RESPONSE, "GET", "/wallet", NULL, NULL, 0,
                                               PG_TIMEOUT_DEFAULT, &error), &error);
        check_refused(pg_issue_token_start(client, queue, BARE, NULL, NULL, PG_TIMEOUT_DEFAULT, &error), &error);
        check_refused(pg_refresh_token_start(client, queue, REFRESHED, NULL, "x", PG_TIMEOUT_DEFAULT, &error), &error);
        check_refused(pg_session_token(session, PG_TIMEOUT_DEFAULT, &token, &error), &error);
        check_refused(pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, PG_TIMEOUT_DEFAULT, &response,
                                         &error), &error);
        check_refused(pg_issue_token(client, NULL, NULL, PG_TIMEOUT_DEFAULT, &token, &error), &error);
        check_refused(pg_queue_fd(queue, &fd, &error), &error);
        OK(pg_queue_poll(queue, SHORT_MS, &event, &error));
        CHECK(event == NULL && fd == -1);
    }
    allow_descriptors(count);

    OK(pg_queue_fd(queue, &fd, &error));
    start_token(session, queue, TOKEN);
    pass(queue, TOKEN, PG_EVENT_TOKEN, PG_OK);
    start_wallet(session, queue, RESPONSE);
    pass(queue, RESPONSE, PG_EVENT_RESPONSE, PG_OK);
    OK(pg_issue_token_start(client, queue, BARE, NULL, NULL, PG_TIMEOUT_DEFAULT, &error));
    pass(queue, BARE, PG_EVENT_TOKEN, PG_OK);
    CHECK(is_empty(queue));
    pg_queue_free(queue);
    pg_client_free(client);
    pg_session_free(session);
}

/* Replaces the descriptors that the library's thread waits on, as a program does that closes all descriptors. */
static void take_away_its_descriptor(void)
{
    char path[300], target[64];
    struct dirent *entry;
    int taken = 0, null = open("/dev/null", O_RDWR | O_CLOEXEC);
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL && null != -1);
    while ((entry = readdir(folder)) != NULL) {
        snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = '\0';
        if (strcmp(target, "anon_inode:[eventpoll]") == 0) {
            CHECK(dup2(null, atoi(entry->d_name)) != -1);
            taken++;
        }
    }
    CHECK(closedir(folder) == 0 && close(null) == 0 && taken > 0);
}

enum { MOST_DESCRIPTORS = 256 };

/* Those that the program had before it used the library. */
static bool is_ours[MOST_DESCRIPTORS];

static void note_our_descriptors(void)
{
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++)
        is_ours[fd] = fcntl(fd, F_GETFD) != -1;
}

/* What a program does that takes away all descriptors that it does not know. */
enum way { CLOSE, REPLACE };

/* A file of the program, and the numbers under which it then opens that file. */
static int file;
static bool is_file[MOST_DESCRIPTORS];

static void take_away_all_descriptors(enum way way)
{
    char path[] = "/tmp/pg-descriptors-file-XXXXXX";
    int taken = 0;
    file = mkstemp(path);
    CHECK(file != -1 && file < MOST_DESCRIPTORS && unlink(path) == 0);
    is_ours[file] = true;
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        is_file[fd] = false;
        if (is_ours[fd] || fcntl(fd, F_GETFD) == -1)
            continue;
        CHECK(way == CLOSE ? close(fd) == 0 : dup2(file, fd) == fd);
        is_file[fd] = way == REPLACE;
        taken++;
    }
    /* Of a canary, two reactors, a timer and a connection. */
    CHECK(taken >= 7);
}

static int count_closed(void)
{
    int closed = 0;
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++)
        closed += is_file[fd] && fcntl(fd, F_GETFD) == -1;
    return closed;
}

/* A thread that is called may write its wake-up. */
static void check_has_only_wake_ups(void)
{
    static const unsigned char one[8] = {1};
    unsigned char eight[8];
    ssize_t length;
    CHECK(lseek(file, 0, SEEK_SET) == 0);
    while ((length = read(file, eight, sizeof eight)) != 0)
        CHECK(length == sizeof eight && memcmp(eight, one, sizeof eight) == 0);
}

static void close_file(void)
{
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++)
        if (is_file[fd])
            close(fd);
    is_ours[file] = false;
    CHECK(close(file) == 0);
}

/* What the program does first after that. */
enum first_use { OPERATION, CALL, REPORT, END, FIRST_USES };

/* The library's thread sleeps, and nothing can wake it. No request is written to the program's file, and no number of it is closed. */
static void test_descriptors_that_are_taken_away_while_nothing_runs(enum way way, enum first_use first_use)
{
    pg_error *error = NULL;
    begin(NULL, NULL);
    pg_session *session = new_session();
    pg_client *client = new_client();
    pg_queue *queue = new_queue();
    pg_token *first = token_of(session), *bare = NULL;
    /* Its connection is kept. */
    OK(pg_issue_token(client, NULL, NULL, PG_TIMEOUT_DEFAULT, &bare, &error));
    pg_token_free(bare);
    take_away_all_descriptors(way);
    if (first_use == OPERATION) {
        OK(pg_issue_token_start(client, queue, BARE, NULL, NULL, PG_TIMEOUT_DEFAULT, &error));
        pass(queue, BARE, PG_EVENT_TOKEN, PG_OK);
    } else if (first_use == CALL) {
        OK(pg_issue_token(client, NULL, NULL, PG_TIMEOUT_DEFAULT, &bare, &error));
        pg_token_free(bare);
    }
    if (first_use != END) {
        OK(pg_session_reject(session, first, 401, &error));
        start_token(session, queue, TOKEN);
        pass(queue, TOKEN, PG_EVENT_TOKEN, PG_OK);
        start_wallet(session, queue, RESPONSE);
        pass(queue, RESPONSE, PG_EVENT_RESPONSE, PG_OK);
        CHECK(is_empty(queue));
    }
    pg_token_free(first);
    pg_queue_free(queue);
    pg_client_free(client);
    pg_session_free(session);
    check_has_only_wake_ups();
    CHECK(count_closed() == 0);
    close_file();
}

/* Operations that run end, and others begin. */
static void test_descriptors_that_are_taken_away_while_operations_run(void)
{
    pg_error *error = NULL;
    pg_event *event = NULL;
    begin(NULL, NULL);
    pg_session *session = new_session();
    pg_client *client = new_client();
    pg_queue *queue = new_queue();
    pg_token *token = token_of(session);
    tell_emulator("POST", "/faults", "{\"route\": \"issue\", \"action\": {\"kind\": \"hang\"}}");
    OK(pg_issue_token_start(client, queue, BARE, NULL, NULL, PG_TIMEOUT_DEFAULT, &error));
    while (count_of(ISSUES) < 2)
        usleep(1000);
    take_away_all_descriptors(REPLACE);
    OK(pg_session_reject(session, token, 401, &error));
    start_token(session, queue, TOKEN);
    for (int i = 0; i < 2; i++) {
        OK(pg_queue_poll(queue, PG_TIMEOUT_DEFAULT, &event, &error));
        CHECK(event != NULL);
        CHECK(pg_event_id(event) != TOKEN || pg_event_status(event) == PG_OK);
        pg_event_free(event);
    }
    CHECK(is_empty(queue));
    close_file();
    pg_token_free(token);
    pg_queue_free(queue);
    pg_client_free(client);
    pg_session_free(session);
}

static void *request_wallet(void *session)
{
    pg_error *error = NULL;
    pg_response *response = NULL;
    pg_status status = pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, CALL_MS, &response, &error);
    CHECK(status != PG_OK && response == NULL);
    pg_error_free(error);
    return NULL;
}

/* Calls end with an error or at their deadline, operations with an event; and later ones succeed. */
static void test_descriptors_that_are_taken_away_during_calls(enum way way)
{
    enum { CALLERS = 3 };
    pg_error *error = NULL;
    pg_event *event = NULL;
    pg_response *response = NULL;
    pthread_t callers[CALLERS];
    begin(NULL, "{\"route\": \"wallet\", \"action\": {\"kind\": \"hang\"}, \"times\": 4}");
    pg_session *session = new_session();
    pg_queue *queue = new_queue();
    pg_token_free(token_of(session));
    for (int i = 0; i < CALLERS; i++)
        CHECK(pthread_create(&callers[i], NULL, request_wallet, session) == 0);
    start_wallet(session, queue, RESPONSE);
    while (count_of(WALLETS) < CALLERS + 1)
        usleep(1000);
    take_away_all_descriptors(way);
    OK(pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, PG_TIMEOUT_DEFAULT, &response, &error));
    pg_response_free(response);
    for (int i = 0; i < CALLERS; i++)
        CHECK(pthread_join(callers[i], NULL) == 0);
    OK(pg_queue_poll(queue, PG_TIMEOUT_DEFAULT, &event, &error));
    CHECK(event != NULL && pg_event_id(event) == RESPONSE && pg_event_status(event) != PG_OK);
    pg_event_free(event);
    close_file();
    pg_queue_free(queue);
    pg_session_free(session);
}

/* A program that reads nothing but the generation word makes no call, by which the library would notice anything. Its thread notices
 * it at its next timer, and ends. */
static void test_a_reader_of_the_generation_word_alone(void)
{
    begin("{\"access_lifetime_s\": 7}", NULL);
    pg_session *session = new_session();
    const volatile uint64_t *word = pg_session_generation_word(session);
    pg_token *token = token_of(session);
    CHECK(*word != 0);
    take_away_all_descriptors(REPLACE);
    while (*word != 0)
        usleep(1000);
    check_has_only_wake_ups();
    /* Where tokio waits in vain it closes the number that it waits on. */
    CHECK(count_closed() <= 1);
    pg_token_free(token);
    token = token_of(session);
    CHECK(pg_session_generation_word(session) == word && *word != 0);
    close_file();
    pg_token_free(token);
    pg_session_free(session);
}

/* The running operations of the thread end; later ones get a new thread. */
static void test_a_thread_that_has_ended(void)
{
    pg_error *error = NULL;
    pg_event *event = NULL;
    pg_client *client = new_client();
    pg_queue *queue = new_queue();
    for (int i = 0; i < 2; i++) {
        begin(NULL, NULL);
        pg_session *session = new_session();
        const volatile uint64_t *word = pg_session_generation_word(session);
        pg_token *first = token_of(session);
        CHECK(pg_session_generation_word(session) == word && *word != 0);
        tell_emulator("POST", "/faults", "{\"route\": \"issue\", \"action\": {\"kind\": \"hang\"}}");
        OK(pg_issue_token_start(client, queue, BARE, NULL, NULL, PG_TIMEOUT_DEFAULT, &error));
        while (count_of(ISSUES) < 2)
            usleep(1000);

        take_away_its_descriptor();
        /* The thread wakes up for this at the latest. */
        OK(pg_refresh_token_start(client, queue, REFRESHED, NULL, "x", PG_TIMEOUT_DEFAULT, &error));
        OK(pg_queue_poll(queue, PG_TIMEOUT_DEFAULT, &event, &error));
        CHECK(event != NULL);
        pg_event_free(event);
        OK(pg_queue_poll(queue, PG_TIMEOUT_DEFAULT, &event, &error));
        CHECK(event != NULL);
        pg_event_free(event);
        CHECK(is_empty(queue));
        /* No thread would withdraw the token in time. */
        while (*word != 0)
            usleep(1000);

        OK(pg_session_reject(session, first, 401, &error));
        pg_token *second = token_of(session);
        CHECK(pg_token_generation(second) == pg_token_generation(first) + 1);
        pg_token_free(second);
        pg_token_free(first);
        start_wallet(session, queue, RESPONSE);
        pass(queue, RESPONSE, PG_EVENT_RESPONSE, PG_OK);
        CHECK(pg_session_generation_word(session) == word && *word != 0);
        pg_session_free(session);
    }
    pg_queue_free(queue);
    pg_client_free(client);
}

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

/* The session's flight still ends, the lock of its store is freed, and waiters get a token. */
static void test_a_flight_whose_thread_has_ended(const char *folder)
{
    pg_error *error = NULL;
    pg_token *token = NULL;
    begin(NULL, "{\"route\": \"issue\", \"action\": {\"kind\": \"hang\"}}");
    pg_session *session = folder == NULL ? new_session() : session_in(folder);
    pg_client *client = new_client();
    pg_queue *queue = new_queue(), *others = new_queue();
    start_token(session, queue, TOKEN);
    while (count_of(ISSUES) == 0)
        usleep(1000);
    take_away_its_descriptor();
    OK(pg_refresh_token_start(client, others, REFRESHED, NULL, "x", PG_TIMEOUT_DEFAULT, &error));
    pass(queue, TOKEN, PG_EVENT_TOKEN, PG_OK);
    OK(pg_session_token(session, 0, &token, &error));
    pg_token_free(token);
    OK(pg_session_close(session, PG_TIMEOUT_DEFAULT, &error));
    pg_queue_free(others);
    pg_queue_free(queue);
    pg_client_free(client);
    pg_session_free(session);
}

static void remove_all(const char *folder)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CHECK(system(command) == 0);
}

/* Each of these plays alone in a program: the thread of the dead reactor is still there, and waits for a while on a number that the next
 * test would give to another file. */
static void play(int number)
{
    if (number < FIRST_USES)
        test_descriptors_that_are_taken_away_while_nothing_runs(CLOSE, (enum first_use)number);
    else if (number < 2 * FIRST_USES)
        test_descriptors_that_are_taken_away_while_nothing_runs(REPLACE, (enum first_use)(number - FIRST_USES));
    else if (number == 2 * FIRST_USES)
        test_descriptors_that_are_taken_away_while_operations_run();
    else if (number <= 2 * FIRST_USES + 2)
        test_descriptors_that_are_taken_away_during_calls(number == 2 * FIRST_USES + 1 ? CLOSE : REPLACE);
    else
        test_a_reader_of_the_generation_word_alone();
}

static void play_each_in_a_program(void)
{
    char number[2] = "0";
    for (; number[0] <= '3' + 2 * FIRST_USES; number[0]++) {
        int status = -1;
        pid_t child = fork();
        CHECK(child != -1);
        if (child == 0) {
            execl("/proc/self/exe", "descriptors", number, (char *)NULL);
            _exit(EXIT_FAILURE);
        }
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
}

int main(int count, char **words)
{
    char folder[] = "/tmp/pg-descriptors-XXXXXX";
    alarm(PATIENCE_S);
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    note_our_descriptors();
    if (count == 2) {
        play(words[1][0] - '0');
        return EXIT_SUCCESS;
    }
    play_each_in_a_program();
    test_at_the_first_call();
    test_a_thread_that_has_ended();
    test_a_flight_whose_thread_has_ended(NULL);
    CHECK(mkdtemp(folder) != NULL);
    test_a_flight_whose_thread_has_ended(folder);
    remove_all(folder);
    begin(NULL, NULL);
    curl_global_cleanup();
    printf("ok descriptors: %d checks\n", checks);
    return EXIT_SUCCESS;
}
