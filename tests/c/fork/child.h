/* Shared by the fork tests: children that end in time, with or without exit handlers. */

#ifndef CHILD_H
#define CHILD_H

#include <signal.h>
#include <sys/wait.h>

#include "../fixture.h"

enum { PATIENCE_S = 20 };

typedef void (*ending)(int);
static const ending ENDINGS[] = { exit, _exit };
enum { ENDING_COUNT = sizeof ENDINGS / sizeof ENDINGS[0] };

/* A fork does not inherit the alarm. */
static inline pid_t fork_with_alarm(void)
{
    fflush(stdout);
    pid_t child = fork();
    CHECK(child != -1);
    if (child == 0)
        alarm(PATIENCE_S);
    return child;
}

static inline void join_child(pid_t child)
{
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(!WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);
}

#endif
