/* No token and no key is left in the process's memory once the caller has freed what it got. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <paymentsgate_auth.h>

enum { MOST = 8192, SECRETS = 8 };

/* What to look for, masked so that the search does not find its own notes. */
static struct {
    const char *name;
    unsigned char masked[MOST];
    size_t length;
} secrets[SECRETS];
static size_t count;

static void note(const char *name, const char *secret)
{
    secrets[count].name = name;
    secrets[count].length = strlen(secret);
    for (size_t i = 0; i < secrets[count].length; i++)
        secrets[count].masked[i] = (unsigned char)(secret[i] ^ 0x5a);
    count++;
}

static int matches(const unsigned char *at, size_t secret)
{
    for (size_t i = 0; i < secrets[secret].length; i++)
        if ((at[i] ^ 0x5a) != secrets[secret].masked[i])
            return 0;
    return 1;
}

/* Every writable mapping of the process, as a core dump would have it. */
static unsigned search(bool tell)
{
    unsigned found = 0;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        unsigned long begin, end;
        char mode[5];
        if (sscanf(line, "%lx-%lx %4s", &begin, &end, mode) != 3 || strncmp(mode, "rw", 2) != 0 ||
            strstr(line, "[v") != NULL)
            continue;
        for (size_t secret = 0; secret < count; secret++)
            for (const unsigned char *at = (const unsigned char *)begin;
                 at + secrets[secret].length <= (const unsigned char *)end; at++)
                if (matches(at, secret)) {
                    if (tell)
                        printf("found the %s at %p in %s", secrets[secret].name, (const void *)at, line);
                    found++;
                }
    }
    if (maps != NULL)
        fclose(maps);
    return found;
}

static void die(const char *what, pg_error *error)
{
    fprintf(stderr, "%s: %s\n", what, pg_error_text(error));
    exit(1);
}

int main(void)
{
    pg_error *error = NULL;
    pg_config *config = pg_config_new();
    pg_client *client;
    pg_token *first, *second;

    if (pg_config_set_from_env(config, &error) != PG_OK || pg_client_new(config, &client, &error) != PG_OK)
        die("client", error);
    if (pg_issue_token(client, NULL, NULL, 10000, &first, &error) != PG_OK)
        die("issue", error);
    if (pg_refresh_token(client, pg_token_access_token(first), pg_token_refresh_token(first), 10000, &second,
                         &error) != PG_OK)
        die("refresh", error);
    note("first access token", pg_token_access_token(first));
    note("first refresh token", pg_token_refresh_token(first));
    note("second access token", pg_token_access_token(second));
    note("second refresh token", pg_token_refresh_token(second));
    if (search(false) < 4) {
        fprintf(stderr, "the search does not find what is there\n");
        return 1;
    }
    pg_token_free(first);
    pg_token_free(second);
    pg_client_free(client);
    pg_config_free(config);
    /* The library's thread closes the connection in its own time. */
    for (int tries = 0; tries < 100 && search(false) != 0; tries++)
        usleep(100000);
    unsigned left = search(true);
    if (left == 0)
        printf("ok wiped: %zu secrets, none left\n", count);
    return left != 0;
}
