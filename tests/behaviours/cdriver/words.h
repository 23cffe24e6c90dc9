/* Decodes the words of a command into texts and numbers. */

#ifndef CDRIVER_WORDS_H
#define CDRIVER_WORDS_H

#include <string.h>

#include "state.h"

static int digit(char c)
{
    static const char DIGITS[] = "0123456789abcdef";
    const char *found = c == '\0' ? NULL : strchr(DIGITS, c);
    if (found == NULL)
        give_up("a text is not in hexadecimal digits");
    return (int)(found - DIGITS);
}

/* Decodes in place, since the bytes need less space than their digits. */
static struct text text_of(char *word, const struct state *state)
{
    struct text text = { NULL, 0 };
    if (strcmp(word, "@access") == 0) {
        text.bytes = pg_token_access_token(state->token);
        text.length = pg_token_access_token_length(state->token);
    } else if (strcmp(word, "@refresh") == 0) {
        text.bytes = pg_token_refresh_token(state->token);
        text.length = pg_token_refresh_token_length(state->token);
    } else if (word[0] == 'x') {
        size_t digits = strlen(word + 1);
        if (digits % 2 != 0)
            give_up("a text has half a byte");
        for (size_t i = 0; i < digits / 2; i++)
            word[i] = (char)(digit(word[1 + 2 * i]) * 16 + digit(word[2 + 2 * i]));
        word[digits / 2] = '\0';
        text.bytes = word;
        text.length = digits / 2;
    } else if (strcmp(word, "-") != 0) {
        give_up("a text is none of -, x…, @access, @refresh");
    }
    return text;
}

/* Only the sized functions can be given a NUL. */
static bool has_nul(struct text text)
{
    return text.bytes != NULL && memchr(text.bytes, '\0', text.length) != NULL;
}

static int64_t number_of(const char *word)
{
    char *end;
    int64_t number = strtoll(word, &end, 10);
    if (end == word || *end != '\0')
        give_up("a number is none");
    return number;
}

/* Splits the text into lines, followed by NULL. */
static void lines_of(struct text text, const char *lines[MOST_HEADERS + 1])
{
    int count = 0;
    for (char *rest = (char *)text.bytes; rest != NULL && count < MOST_HEADERS; count++) {
        lines[count] = rest;
        rest = strchr(rest, '\n');
        if (rest != NULL)
            *rest++ = '\0';
    }
    lines[count] = NULL;
}

/* Splits a line at its tabs; returns the number of words. */
static int split(char *line, char *words[MOST_WORDS])
{
    int count = 0;
    line[strcspn(line, "\n")] = '\0';
    for (char *rest = line; rest != NULL && count < MOST_WORDS; count++) {
        words[count] = rest;
        rest = strchr(rest, '\t');
        if (rest != NULL)
            *rest++ = '\0';
    }
    return count;
}

#endif
