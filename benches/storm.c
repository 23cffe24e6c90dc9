/*
 * Many threads ask at the same time for an expired token: how many calls the service gets, and how long after the first
 * thread the last one has its token. The emulator issues short-lived tokens for this.
 */
#define _GNU_SOURCE
#include <curl/curl.h>
#include <pthread.h>

#include "measure.h"

#include <paymentsgate_auth.h>

enum { THREADS = 1000, ROUNDS = 3, LIFETIME_S = 8 };

static pg_session *session;
static pthread_barrier_t together;
static double served[THREADS];

static void must(pg_status status, pg_error *error)
{
    if (status != PG_OK) {
        fprintf(stderr, "%s\n", pg_error_text(error));
        exit(EXIT_FAILURE);
    }
}

/* One request to the admin port. The answer is valid until the next request. */
static const char *ask_emulator(const char *method, const char *path, const char *body)
{
    static char *answer;
    char url[256];
    size_t length = 0;
    CURL *curl = curl_easy_init();
    free(answer);
    FILE *sink = open_memstream(&answer, &length);
    snprintf(url, sizeof url, "%s%s", getenv("PG_SANDBOX_ADMIN"), path);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, sink);
    if (body != NULL)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    if (curl_easy_perform(curl) != CURLE_OK)
        exit(EXIT_FAILURE);
    curl_easy_cleanup(curl);
    fclose(sink);
    return answer;
}

/* The number of Issue and Refresh calls that the service got. */
static long calls(void)
{
    const char *counters = ask_emulator("GET", "/counters", NULL);
    long sum = 0;
    static const char *const routes[] = {"\"issue\":{\"calls\":", "\"refresh\":{\"calls\":"};
    for (int i = 0; i < 2; i++) {
        const char *found = strstr(counters, routes[i]);
        sum += found == NULL ? 0 : strtol(found + strlen(routes[i]), NULL, 10);
    }
    return sum;
}

static void *arrive(void *slot)
{
    pg_error *error = NULL;
    pg_token *token = NULL;
    pthread_barrier_wait(&together);
    must(pg_session_token(session, 10000, &token, &error), error);
    *(double *)slot = now_ns();
    pg_token_free(token);
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    pthread_attr_t small;
    double spreads[ROUNDS];
    long most_calls = 0;
    char switches[64];
    pg_error *error = NULL;
    pg_client *client = NULL;
    pg_token *token = NULL;
    pg_config *config = pg_config_new();

    snprintf(switches, sizeof switches, "{\"access_lifetime_s\":%d}", LIFETIME_S);
    ask_emulator("PATCH", "/switches", switches);
    must(pg_config_set_from_env(config, &error), error);
    must(pg_client_new(config, &client, &error), error);
    must(pg_session_open(client, config, &session, &error), error);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 * 1024);

    for (int round = 0; round < ROUNDS; round++) {
        must(pg_session_token(session, 10000, &token, &error), error);
        pg_token_free(token);
        pthread_barrier_init(&together, NULL, THREADS + 1);
        for (int i = 0; i < THREADS; i++)
            if (pthread_create(&threads[i], &small, arrive, &served[i]) != 0)
                return EXIT_FAILURE;
        /* The library renews the token in time, until no caller has asked for a whole token lifetime. */
        sleep(3 * LIFETIME_S);
        long before = calls();
        pthread_barrier_wait(&together);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        long made = calls() - before;
        most_calls = made > most_calls ? made : most_calls;
        qsort(served, THREADS, sizeof served[0], ascending);
        spreads[round] = served[THREADS - 1] - served[0];
        pthread_barrier_destroy(&together);
    }
    printf("%d threads at an expired token: %ld call(s) to the service; the last one served %.1f ms after the first\n",
           THREADS, most_calls, median(spreads, ROUNDS) / 1e6);

    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    return 0;
}
