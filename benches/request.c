/*
 * Requests from several threads with the client that it is linked with: request_WAY BASE_URL THREADS SECONDS. Prints
 * requests per second, the median and the 99th percentile of an answer and the processor time of a request, all in
 * microseconds. The first requests of each thread, which connect, do not count.
 */
#define _GNU_SOURCE
#include "request.h"

#include <pthread.h>
#include <sys/resource.h>

#include "measure.h"

enum { MOST_SAMPLES = 2000000, FIRST = 20 };

static pthread_barrier_t together;
static double seconds;

struct worker {
    pthread_t thread;
    double *samples;
    size_t count, room;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    void *caller = enter();
    for (int i = 0; i < FIRST; i++)
        ask(caller);
    /* Between the two the main thread reads its clocks. */
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
    double until = now_ns() + seconds * 1e9;
    for (double began = now_ns(); began < until && worker->count < worker->room;) {
        ask(caller);
        double ended = now_ns();
        worker->samples[worker->count++] = (ended - began) / 1000;
        began = ended;
    }
    pthread_barrier_wait(&together);
    leave(caller);
    return NULL;
}

static double processor_us(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

int main(int count, char **words)
{
    if (count != 4)
        return 2;
    size_t threads = (size_t)atoi(words[2]), total = 0;
    seconds = atof(words[3]);
    struct worker *workers = calloc(threads, sizeof *workers);
    double *samples = calloc(MOST_SAMPLES, sizeof *samples);
    pthread_barrier_init(&together, NULL, (unsigned)threads + 1);
    open_service(words[1]);
    for (size_t i = 0; i < threads; i++) {
        workers[i].room = MOST_SAMPLES / threads;
        workers[i].samples = samples + i * workers[i].room;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            return EXIT_FAILURE;
    }
    pthread_barrier_wait(&together);
    double began = now_ns(), processor = processor_us();
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
    double took = (now_ns() - began) / 1e9;
    processor = processor_us() - processor;
    for (size_t i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        memmove(samples + total, workers[i].samples, workers[i].count * sizeof *samples);
        total += workers[i].count;
    }
    close_service();
    double middle = median(samples, total);
    printf("%.0f %.1f %.1f %.1f\n", (double)total / took, middle, samples[total * 99 / 100], processor / (double)total);
    return 0;
}
