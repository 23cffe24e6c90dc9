/* Many independent concurrent refreshes with one client. */
#ifndef CROWD_H
#define CROWD_H

#include "measure.h"
#include "way.h"

enum { CALLS = 10000, AT_ONCE = 256 };

/* Prints milliseconds, the peak memory in kB, and connections. */
static inline void report(double begin)
{
    printf("%.1f %ld %ld\n", (now_ns() - begin) / 1e6, status_of("VmHWM:"), open_sockets());
}

#endif
