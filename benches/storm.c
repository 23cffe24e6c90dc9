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

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int waiting, is_there;

static void *wait_in_c(void *slot)
{
    pthread_mutex_lock(&mutex);
    for (waiting++; !is_there;)
        pthread_cond_wait(&condition, &mutex);
    pthread_mutex_unlock(&mutex);
    *(double *)slot = now_ns();
    return NULL;
}

/* How long after the first one the last of as many threads runs that wait for one condition variable, in milliseconds. */
static double woken_spread(const pthread_attr_t *attributes)
{
    pthread_t threads[THREADS];
    double spreads[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        waiting = is_there = 0;
        for (int i = 0; i < THREADS; i++)
            if (pthread_create(&threads[i], attributes, wait_in_c, &served[i]) != 0)
                exit(EXIT_FAILURE);
        for (int all = 0; !all; usleep(1000)) {
            pthread_mutex_lock(&mutex);
            all = is_there = waiting == THREADS;
            pthread_mutex_unlock(&mutex);
        }
        pthread_cond_broadcast(&condition);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        qsort(served, THREADS, sizeof served[0], ascending);
        spreads[round] = served[THREADS - 1] - served[0];
    }
    return median(spreads, ROUNDS) / 1e6;
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
    print_row("1,000 threads at an expired token: calls to the service", "one", "", (double)most_calls, 1, 0, 1);
    print_row("1,000 threads at an expired token: from the first to the last one served", "a condition variable", "ms",
              median(spreads, ROUNDS) / 1e6, woken_spread(&small), woken_spread(&small), 0);

    pg_session_free(session);
    pg_client_free(client);
    pg_config_free(config);
    return 0;
}
