/*
* Children with the process id of their parent, and children that no fork handler sees: each makes its own thread and
* does not wait for a thread of the parent. Needs the emulator's variables, and root for process namespaces.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "child.h"

/* By the C library, which runs the fork handlers; or by a direct system call, which does not. */
enum way { ORDINARY, BARE };

static void too_late(int signal)
{
    (void)signal;
    static const char text[] = "a child hangs\n";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(EXIT_FAILURE);
}

/* The first process of a namespace ignores signals that it does not handle. */
static pid_t make_child(enum way way, unsigned long flags)
{
    fflush(stdout);
    pid_t child = way == ORDINARY ? fork() : (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        CHECK(signal(SIGALRM, too_late) != SIG_ERR);
        alarm(PATIENCE_S);
    }
    return child;
}

/* Each side serves the token from before the fork, and replaces it. */
static void go_on(const pg_session *session, const pg_token *inherited)
{
    pg_error *error = NULL;
    pg_response *response = NULL;
    pg_token *before = token_of(session);
    CHECK(strcmp(pg_token_fingerprint(before), pg_token_fingerprint(inherited)) == 0);
    OK(pg_session_reject(session, before, 401, &error));
    pg_token *after = token_of(session);
    CHECK(pg_token_generation(after) == pg_token_generation(inherited) + 1);
    OK(pg_session_request(session, "GET", "/wallet", NULL, NULL, 0, PG_TIMEOUT_DEFAULT, &response, &error));
    pg_response_free(response);
    pg_token_free(after);
    pg_token_free(before);
}

struct warm {
    pg_session *session;
    pg_token *token;
    const volatile uint64_t *word;
};

static struct warm warm_up(void)
{
    alarm(PATIENCE_S);
    begin(NULL, NULL);
    pg_session *session = new_session();
    pg_token *token = token_of(session);
    struct warm warm = { session, token, pg_session_generation_word(session) };
    CHECK(*warm.word != 0);
    return warm;
}

static void cool_down(struct warm warm)
{
    pg_token_free(warm.token);
    pg_session_free(warm.session);
}

static void in_child(struct warm warm)
{
    CHECK(*warm.word == 0);
    go_on(warm.session, warm.token);
    CHECK(*pg_session_generation_word(warm.session) != 0);
    _exit(EXIT_SUCCESS);
}

static void test_a_bare_clone(void)
{
    struct warm warm = warm_up();
    pid_t child = make_child(BARE, 0);
    CHECK(child != -1);
    if (child == 0)
        in_child(warm);
    join_child(child);
    go_on(warm.session, warm.token);
    CHECK(count_of(ISSUES) == 3);
    cool_down(warm);
}

/* The process is the first of a namespace, and so is its child: both have the id 1. */
static void be_number_one(enum way way)
{
    CHECK(getpid() == 1);
    struct warm warm = warm_up();
    if (way == ORDINARY)
        CHECK(unshare(CLONE_NEWPID) == 0);
    pid_t child = make_child(way, CLONE_NEWPID);
    CHECK(child != -1);
    if (child == 0) {
        CHECK(getpid() == 1);
        in_child(warm);
    }
    join_child(child);
    _exit(EXIT_SUCCESS);
}

/* Returns whether the system has such namespaces. */
static bool test_a_thread_id_that_is_used_again(enum way way)
{
    alarm(PATIENCE_S);
    pid_t first = make_child(BARE, CLONE_NEWPID);
    if (first == -1 && errno == EPERM && geteuid() != 0)
        return false;
    CHECK(first != -1);
    if (first == 0)
        be_number_one(way);
    join_child(first);
    return true;
}

/* A kernel without MADV_WIPEONFORK: only the fork handlers work. */
static void test_without_wiped_pages(void)
{
    pid_t first = fork_with_alarm();
    if (first == 0) {
        struct sock_filter filter[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_WIPEONFORK, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { sizeof filter / sizeof filter[0], filter };
        CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
        struct warm warm = warm_up();
        pid_t child = make_child(ORDINARY, 0);
        if (child == 0)
            in_child(warm);
        join_child(child);
        go_on(warm.session, warm.token);
        _exit(EXIT_SUCCESS);
    }
    join_child(first);
}

int main(void)
{
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    /* First, since the library must not have made its page yet. */
    test_without_wiped_pages();
    /* These too start in a process that has not used the library. */
    bool has_namespaces = test_a_thread_id_that_is_used_again(ORDINARY) && test_a_thread_id_that_is_used_again(BARE);
    test_a_bare_clone();
    begin(NULL, NULL);
    curl_global_cleanup();
    if (!has_namespaces)
        fprintf(stderr, "epoch: PROCESS NAMESPACES WERE NOT TESTED; they take root\n");
    /* In CI each test runs as root. */
    CHECK(has_namespaces || getenv("CI") == NULL);
    printf("ok epoch: %d checks%s\n", checks, has_namespaces ? "" : ", BUT NO PROCESS NAMESPACES: they take root");
    return EXIT_SUCCESS;
}
