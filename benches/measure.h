/* Measures time, medians and the resources of a process, and prints rows for benches/table.py. */
#ifndef MEASURE_H
#define MEASURE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static inline double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static inline int ascending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static inline double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, ascending);
    return values[count / 2];
}

/* How this library compares with `beside`, whose figure `again` is measured once more in the same run, or 0 if it is exact. `goal` is
 * the ratio that is wanted at most, or 0. */
static inline void print_row(const char *what, const char *beside, const char *unit, double ours, double theirs,
                             double again, double goal)
{
    printf("row\t%s\t%s\t%s\t%.6g\t%.6g\t%.6g\t%.4g\n", what, beside, unit, ours, theirs, again, goal);
    fflush(stdout);
}

/* The number in a line of /proc/self/status, for example "VmHWM:" (peak memory in kB) or "Threads:". */
static inline long status_of(const char *name)
{
    char line[256];
    long number = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            number = strtol(line + strlen(name), NULL, 10);
    if (status != NULL)
        fclose(status);
    return number;
}

/* The open sockets of this process. All of them are connections. */
static inline long open_sockets(void)
{
    char path[300], target[64];
    long count = 0;
    DIR *folder = opendir("/proc/self/fd");
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        ssize_t length = readlink(path, target, sizeof target);
        count += length > 7 && memcmp(target, "socket:", 7) == 0;
    }
    if (folder != NULL)
        closedir(folder);
    return count;
}

#endif
