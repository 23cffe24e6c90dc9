/* Many independent concurrent refreshes with one client. */
#ifndef CROWD_H
#define CROWD_H

#include <sys/resource.h>

#include "measure.h"
#include "way.h"

enum { CALLS = 10000, AT_ONCE = 256 };

/* Prints milliseconds, those of the processors (of this process alone), the peak memory in kB, and connections. */
static inline void report(double begin)
{
    double wall = (now_ns() - begin) / 1e6;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double processor = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e3 +
                       (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e3;
    printf("%.1f %.1f %ld %ld\n", wall, processor, status_of("VmHWM:"), open_sockets());
}

#endif
