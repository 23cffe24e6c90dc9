/* load PLACE SECONDS CONNECTIONS: asks one server from so many connections, a thread for each, and prints requests per
 * second and the median and 99th percentile of an answer in microseconds. PLACE is tcp:PORT/PATH or unix:SOCKET:/PATH. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "measure.h"

enum { MOST_SAMPLES = 4000000, BUFFER = 65536 };

static char request[4096];
static struct sockaddr_storage address;
static socklen_t address_length;
static double until;

struct worker {
    pthread_t thread;
    double *samples;
    size_t count, room;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void parse(const char *place)
{
    const char *path;
    if (strncmp(place, "tcp:", 4) == 0) {
        struct sockaddr_in *tcp = (struct sockaddr_in *)&address;
        tcp->sin_family = AF_INET;
        tcp->sin_port = htons((uint16_t)atoi(place + 4));
        tcp->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address_length = sizeof *tcp;
        path = strchr(place, '/');
    } else {
        struct sockaddr_un *local = (struct sockaddr_un *)&address;
        path = strrchr(place, ':') + 1;
        local->sun_family = AF_UNIX;
        snprintf(local->sun_path, sizeof local->sun_path, "%.*s", (int)(path - 1 - (place + 5)), place + 5);
        address_length = sizeof *local;
    }
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
}

/* Reads one answer with a Content-Length. */
static void read_answer(int connection, char *buffer)
{
    size_t had = 0, wanted = SIZE_MAX;
    while (had < wanted) {
        ssize_t length = read(connection, buffer + had, BUFFER - 1 - had);
        if (length <= 0)
            fail("read");
        had += (size_t)length;
        buffer[had] = 0;
        char *end = strstr(buffer, "\r\n\r\n"), *field = strcasestr(buffer, "content-length:");
        if (wanted == SIZE_MAX && end != NULL) {
            if (strncmp(buffer, "HTTP/1.1 200", 12) != 0 || field == NULL || field > end) {
                fprintf(stderr, "unexpected answer: %.200s\n", buffer);
                exit(1);
            }
            wanted = (size_t)(end + 4 - buffer) + strtoul(field + 15, NULL, 10);
        }
    }
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    static __thread char buffer[BUFFER];
    int on = 1, connection = socket(address.ss_family, SOCK_STREAM, 0);
    if (connection < 0 || connect(connection, (struct sockaddr *)&address, address_length) != 0)
        fail("connect");
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    size_t length = strlen(request);
    for (double began = now_ns(); began < until && worker->count < worker->room;) {
        if (write(connection, request, length) != (ssize_t)length)
            fail("write");
        read_answer(connection, buffer);
        double ended = now_ns();
        worker->samples[worker->count++] = (ended - began) / 1000;
        began = ended;
    }
    close(connection);
    return NULL;
}

int main(int count, char **words)
{
    if (count != 4)
        return 2;
    parse(words[1]);
    double seconds = atof(words[2]);
    size_t connections = (size_t)atoi(words[3]), total = 0;
    struct worker *workers = calloc(connections, sizeof *workers);
    double *samples = calloc(MOST_SAMPLES, sizeof *samples);
    double began = now_ns();
    until = began + seconds * 1e9;
    for (size_t i = 0; i < connections; i++) {
        workers[i].room = MOST_SAMPLES / connections;
        workers[i].samples = samples + i * workers[i].room;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            fail("pthread_create");
    }
    for (size_t i = 0; i < connections; i++) {
        pthread_join(workers[i].thread, NULL);
        memmove(samples + total, workers[i].samples, workers[i].count * sizeof *samples);
        total += workers[i].count;
    }
    double took = (now_ns() - began) / 1e9;
    double middle = median(samples, total);
    printf("%.0f %.1f %.1f\n", (double)total / took, middle, samples[total * 99 / 100]);
    return 0;
}
