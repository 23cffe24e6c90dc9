/* For programs of the tests, before every other header: makes the library panic. */

#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Takes the place of libc's. An impossible time is a panic in Rust. */
static __thread int clock_is_broken;
int clock_gettime(clockid_t clock, struct timespec *now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock_is_broken)
        now->tv_nsec = 2000000000;
    return result;
}
