/*
* A custom store and a forked child: both processes share the store and so one pair. Needs the emulator's variables.
 */

#define _GNU_SOURCE

#include "../table.h"
#include "child.h"

static void in_the_child(const pg_config *config, pg_session *session, const char *fingerprint, ending ending)
{
    pg_error *error = NULL;
    pg_session *other = open_with(config);
    pg_token *same = token_of(other), *inherited = token_of(session);
    CHECK(strcmp(pg_token_fingerprint(same), fingerprint) == 0);
    CHECK(strcmp(pg_token_fingerprint(inherited), fingerprint) == 0);
    OK(pg_session_reject(session, inherited, 401, &error));
    pg_token *second = token_of(session);
    CHECK(pg_token_generation(second) == 2);
    pg_token_free(second);
    pg_token_free(inherited);
    pg_token_free(same);
    pg_session_free(other);
    pg_session_free(session);
    ending(EXIT_SUCCESS);
}

static void test_parent_and_child_share_it(ending ending)
{
    struct table *table = new_table();
    pg_config *config = config_with(table);
    pg_session *session = open_with(config);
    pg_error *error = NULL;

    begin(NULL, NULL);
    pg_token *first = token_of(session);
    pid_t child = fork_with_alarm();
    if (child == 0)
        in_the_child(config, session, pg_token_fingerprint(first), ending);
    join_child(child);
    OK(pg_session_reject(session, first, 401, &error));
    pg_token *second = token_of(session);
    CHECK(pg_token_generation(second) == 2);
    /* The first pair, and the one of the child. */
    CHECK(count_of(ISSUES) + count_of(REFRESHES) == 2 && count_of(MOST_PRESENTATIONS) <= 1);
    pg_token_free(second);
    pg_token_free(first);
    pg_session_free(session);
    pg_config_free(config);
}

int main(void)
{
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    for (int i = 0; i < ENDING_COUNT; i++)
        test_parent_and_child_share_it(ENDINGS[i]);
    curl_global_cleanup();
    printf("ok fork_store: %d checks\n", checks);
    return EXIT_SUCCESS;
}
