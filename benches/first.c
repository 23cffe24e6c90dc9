/*
 * The first refreshes of a process, with the client that it is linked with: first COUNT BEGIN. Prints how many microseconds
 * after BEGIN (CLOCK_MONOTONIC, in nanoseconds) the first answer came.
 */
#define _GNU_SOURCE
#include "measure.h"
#include "way.h"

int main(int argc, char **argv)
{
    const struct way *way = &WAY;
    void *client = way->open(getenv("PG_SANDBOX_FIXED"));
    if (argc != 3)
        return EXIT_FAILURE;
    for (int left = atoi(argv[1]); left > 0; left--)
        way->refresh(client, ACCESS_TOKEN, REFRESH_TOKEN);
    printf("%.0f\n", (now_ns() - strtod(argv[2], NULL)) / 1e3);
    way->close(client);
    return 0;
}
