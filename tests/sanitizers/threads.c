/*
 * Threads that use one session, one queue and one client at once in every way, and one that ends the session meanwhile. It
 * checks little by itself: ThreadSanitizer finds the races. Needs the emulator's variables.
 */

#define _GNU_SOURCE

#include <pthread.h>

#include "../c/fixture.h"

enum { THREADS = 8, ROUNDS = 6, CALLS = 150, OPERATIONS = 40, ROOM = 4096 };

struct shared {
    pg_client *client;
    pg_session *session;
    pg_queue *queue;
    pthread_barrier_t together;
};

struct thread {
    struct shared *shared;
    int number;
    pthread_t id;
};

/* All that may fail here fails because the session was closed, or because the emulator refused the token. */
static void free_all(pg_error *error, pg_token *token, char *text)
{
    pg_error_free(error);
    pg_token_free(token);
    pg_text_free(text);
}

/* One call in a way that depends on its number. */
static void call(struct thread *thread, int number)
{
    struct shared *shared = thread->shared;
    pg_error *error = NULL;
    pg_token *token = NULL;
    pg_response *response = NULL;
    char *text = NULL, room[ROOM];
    uint64_t id = (uint64_t)thread->number * CALLS + (uint64_t)number;

    switch ((number + thread->number * 7) % 24) {
    case 0:
        if (pg_session_token(shared->session, PG_TIMEOUT_DEFAULT, &token, NULL) == PG_OK)
            pg_session_reject(shared->session, token, 401, &error);
        break;
    case 1: pg_session_health(shared->session, &text, &error); break;
    case 2: pg_client_metrics(shared->client, &text, &error); break;
    case 3: pg_session_refresh(shared->session, PG_TIMEOUT_DEFAULT, &token, &error); break;
    case 4: pg_session_token_start(shared->session, shared->queue, id, 0, PG_TIMEOUT_DEFAULT, &error); break;
    case 5: pg_session_token_start(shared->session, shared->queue, id, 0, 60000, &error); break;
    case 6: pg_queue_cancel(shared->queue, id - 1, &error); break;
    case 7: pg_session_subscribe(shared->session, shared->queue, id, PG_LOG_DEBUG, &error); break;
    case 8: pg_session_free(pg_session_ref(shared->session)); break;
    case 9: {
        pg_event *event = NULL;
        pg_queue_poll(shared->queue, 0, &event, &error);
        pg_event_free(event);
        break;
    }
    case 10:
        pg_session_request(shared->session, "GET", "/wallet", NULL, NULL, 0, PG_TIMEOUT_DEFAULT, &response, &error);
        pg_response_free(response);
        break;
    case 11: pg_session_token(shared->session, PG_TIMEOUT_DEFAULT, &token, &error); break;
    default: pg_session_copy_access_token(shared->session, 0, room, sizeof room, NULL, &error); break;
    }
    free_all(error, token, text);
}

static void *use(void *argument)
{
    struct thread *thread = argument;
    pthread_barrier_wait(&thread->shared->together);
    for (int number = 1; number <= CALLS; number++) {
        call(thread, number);
        /* The others go on with a session that is closed meanwhile. */
        if (thread->number == 0 && number == CALLS - 10)
            pg_session_close(thread->shared->session, 0, NULL);
    }
    return NULL;
}

static void play(void)
{
    pg_error *error = NULL;
    pg_config *config = new_config();
    struct shared shared = { .client = new_client() };
    struct thread threads[THREADS];

    OK(pg_session_open(shared.client, config, &shared.session, &error));
    OK(pg_queue_new(&shared.queue, &error));
    CHECK(pthread_barrier_init(&shared.together, NULL, THREADS) == 0);
    for (int i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){ .shared = &shared, .number = i };
        CHECK(pthread_create(&threads[i].id, NULL, use, &threads[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i].id, NULL) == 0);
    pg_queue_free(shared.queue);
    pg_session_free(shared.session);
    pg_client_free(shared.client);
    pg_config_free(config);
    CHECK(pthread_barrier_destroy(&shared.together) == 0);
}

/* `threads race`: two threads write to one number, so that a report proves that the sanitizer is on. */
static int raced;

static void *race(void *argument)
{
    for (int i = 0; i < 1000; i++)
        raced++;
    return argument;
}

int main(int count, char **arguments)
{
    CHECK(curl_global_init(CURL_GLOBAL_ALL) == CURLE_OK);
    if (count > 1 && strcmp(arguments[1], "race") == 0) {
        pthread_t other;
        CHECK(pthread_create(&other, NULL, race, NULL) == 0);
        race(NULL);
        CHECK(pthread_join(other, NULL) == 0);
        return raced == 0;
    }
    for (int round = 0; round < ROUNDS; round++)
        play();
    printf("ok threads: %d checks\n", checks);
    return 0;
}
