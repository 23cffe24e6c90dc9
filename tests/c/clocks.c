/*
* A system without CLOCK_BOOTTIME, such as gVisor, old kernels and strict sandboxes: tokens still age and are replaced.
 * Needs the emulator's variables.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>

#include "fixture.h"

enum { PATIENCE_S = 20 };

/* For callers its pairs live for 2 s. */
#define SHORT_LIVES "{\"access_lifetime_s\": 7}"

static int refused;

/* Replaces the function of the C library, which makes no system call. */
int clock_gettime(clockid_t clock, struct timespec *time)
{
    if (clock == CLOCK_BOOTTIME) {
        refused++;
        errno = EINVAL;
        return -1;
    }
    return (int)syscall(SYS_clock_gettime, clock, time);
}

static void refuse_timers(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_timerfd_create, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof filter / sizeof filter[0], filter };
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    CHECK(timerfd_create(CLOCK_BOOTTIME, 0) == -1 && errno == EINVAL);
}

int main(void)
{
    alarm(PATIENCE_S);
    refuse_timers();
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    begin(SHORT_LIVES, NULL);
    pg_session *session = new_session();
    const volatile uint64_t *word = pg_session_generation_word(session);
    pg_token *first = token_of(session);
    CHECK(refused > 0);
    int64_t remaining = pg_token_remaining_ms(first);
    while (pg_token_remaining_ms(first) >= remaining)
        usleep(1000);

    /* The library's thread replaces or withdraws it in time, by other timers. */
    CHECK(pg_session_generation_word(session) == word);
    uint64_t number = *word;
    CHECK(number != 0);
    while (*word == number)
        usleep(1000);
    pg_token *second = token_of(session);
    while (pg_token_generation(second) == pg_token_generation(first)) {
        pg_token_free(second);
        usleep(1000);
        second = token_of(session);
    }
    CHECK(pg_token_generation(second) == pg_token_generation(first) + 1);
    pg_token_free(second);
    pg_token_free(first);
    pg_session_free(session);
    begin(NULL, NULL);
    curl_global_cleanup();
    printf("ok clocks: %d checks\n", checks);
    return EXIT_SUCCESS;
}
