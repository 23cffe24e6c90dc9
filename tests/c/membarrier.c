/*
* Reads and rotations if the system refuses membarrier, as old kernels and strict sandboxes do: readers then use
 * an ordinary fence. Needs the emulator's variables.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "fixture.h"

enum { READERS = 4, ROUNDS = 5, ROOM = 8192 };

static atomic_bool stop;

static void refuse_membarrier(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof filter / sizeof filter[0], filter };
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    CHECK(syscall(SYS_membarrier, 0, 0, 0) == -1 && errno == EPERM);
}

static void *read_all_the_time(void *session)
{
    char room[ROOM];
    size_t length = 0;
    while (!atomic_load(&stop))
        if (pg_session_copy_access_token(session, PG_TIMEOUT_DEFAULT, room, sizeof room, &length, NULL) != PG_OK ||
            strlen(room) != length)
            return NULL;
    return session;
}

static void rotate_under_readers(void)
{
    pthread_t readers[READERS];
    pg_error *error = NULL;
    void *result = NULL;
    pg_session *session = new_session();

    atomic_store(&stop, false);
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_create(&readers[i], NULL, read_all_the_time, session) == 0);
    pg_token *first = token_of(session);
    OK(pg_session_reject(session, first, 401, &error));
    pg_token *second = token_of(session);
    CHECK(pg_token_generation(second) == 2);
    usleep(10000);
    atomic_store(&stop, true);
    for (int i = 0; i < READERS; i++)
        CHECK(pthread_join(readers[i], &result) == 0 && result == session);
    pg_token_free(second);
    pg_token_free(first);
    pg_session_free(session);
}

int main(void)
{
    refuse_membarrier();
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    tell_emulator("POST", "/reset", NULL);
    for (int i = 0; i < ROUNDS; i++)
        rotate_under_readers();
    tell_emulator("POST", "/reset", NULL);
    curl_global_cleanup();
    printf("ok membarrier: %d checks\n", checks);
    return EXIT_SUCCESS;
}
