/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regtext - texts of scripts made fit for the formats of regdump. Any thread; a regtext_names is of one.
 */
#define _GNU_SOURCE
#include "core/regmap/regtext.h"

#include <search.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NO_CHARACTER UINT32_C(0xfffd)

/* The next character. Bytes that begin none are passed over one by one, each as U+FFFD. Never reads beyond the NUL. */
static uint32_t next(const char **text)
{
    static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
    const unsigned char *p = (const unsigned char *)*text;
    uint32_t more, c;

    (*text)++;
    if (p[0] < 0x80)
        return p[0];
    if (p[0] < 0xc2 || p[0] >= 0xf5) /* in the middle of a character, or in none at all */
        return NO_CHARACTER;
    more = p[0] < 0xe0 ? 1 : p[0] < 0xf0 ? 2 : 3;
    c = p[0] & (0x3fu >> more);
    for (uint32_t i = 1; i <= more; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return NO_CHARACTER;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return NO_CHARACTER;
    *text += more;
    return c;
}

static int encode(uint32_t c, char bytes[5])
{
    int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    for (int i = n - 1; i > 0; i--) {
        bytes[i] = (char)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    bytes[0] = (char)(n == 1 ? c : (0xf00u >> n & 0xff) | c);
    bytes[n] = 0;
    return n;
}

static bool space(uint32_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0x2028 || c == 0x2029;
}

static bool alnum(uint32_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Control characters (XML forbids most), what is no character at all, and the marks that reorder the text around them,
 * which compilers warn of. */
static bool unprintable(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c & 0xfffe) == 0xfffe || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

static void print_xml(FILE *out, uint32_t c, const char *bytes)
{
    switch (c) {
    case '<': fputs("&lt;", out); return;
    case '>': fputs("&gt;", out); return;
    case '&': fputs("&amp;", out); return;
    case '"': fputs("&quot;", out); return;
    case '\'': fputs("&apos;", out); return;
    default: fputs(bytes, out);
    }
}

/* An underscore inside of a word is no markup, and words with one are common. */
static void print_markdown(FILE *out, uint32_t before, uint32_t c, uint32_t after, const char *bytes)
{
    if (c == '<' || c == '>' || c == '&') {
        print_xml(out, c, bytes);
        return;
    }
    if ((c < 0x80 && strchr("\\`*[]|~$#", (int)c)) || (c == '_' && !(alnum(before) && alnum(after))))
        fputc('\\', out);
    fputs(bytes, out);
}

/* A space keeps the ends of comments, and beginnings, which compilers warn of, from being made. */
static void print_comment(FILE *out, uint32_t before, uint32_t c, const char *bytes)
{
    if ((before == '*' && c == '/') || (before == '/' && c == '*'))
        fputc(' ', out);
    fputs(bytes, out);
}

static const char *skip_space(const char *text)
{
    const char *at = text;

    while (*at && space(next(&at)))
        text = at;
    return text;
}

bool regtext_blank(const char *text)
{
    return !text || !*skip_space(text);
}

void regtext_print(FILE *out, const char *text, enum regtext_style style)
{
    uint32_t before = 0;

    if (!text)
        return;
    text = skip_space(text);
    while (*text) {
        uint32_t c = next(&text);
        char bytes[5];

        if (space(c)) {
            text = skip_space(text);
            if (!*text)
                return;
            c = ' ';
        } else if (unprintable(c)) {
            c = NO_CHARACTER;
        }
        encode(c, bytes);
        if (style == REGTEXT_XML)
            print_xml(out, c, bytes);
        else if (style == REGTEXT_MARKDOWN)
            print_markdown(out, before, c, (unsigned char)*text, bytes);
        else
            print_comment(out, before, c, bytes);
        before = c;
    }
}

char *regtext_utf8(const char *text)
{
    size_t len = strlen(text);
    /* One bad byte becomes three. */
    char *copy = len < SIZE_MAX / 4 ? malloc(3 * len + 5) : NULL, *end = copy;

    if (!copy)
        return NULL;
    while (*text)
        end += encode(next(&text), end);
    *end = 0;
    return copy;
}

char *regtext_identifier(const char *text, bool upper)
{
    char *copy = malloc(strlen(text) + 1), *end = copy;

    if (!copy)
        return NULL;
    while (*text) {
        uint32_t c = next(&text);

        if (!alnum(c))
            c = '_';
        *end++ = (char)(upper && c >= 'a' ? c - 'a' + 'A' : c);
    }
    *end = 0;
    return copy;
}

/* ---- names used once ---------------------------------------------------------------------------------------- */

struct used {
    uint64_t last; /* the number behind the last name made of this one */
    char name[];
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct used *)a)->name, ((const struct used *)b)->name);
}

/* The entry of the name; *added tells if it is new. NULL: no memory. */
static struct used *enter(struct regtext_names *names, const char *name, bool *added)
{
    struct used *entry = malloc(sizeof *entry + strlen(name) + 1);
    struct used **found;

    if (!entry)
        return NULL;
    entry->last = 1;
    strcpy(entry->name, name);
    found = tsearch(entry, &names->root, compare);
    *added = found && *found == entry;
    if (*added)
        return entry;
    free(entry);
    return found ? *found : NULL;
}

const char *regtext_take(struct regtext_names *names, const char *format, ...)
{
    struct used *first, *entry;
    char *name, *numbered;
    bool added;
    va_list args;
    int n;

    va_start(args, format);
    n = vasprintf(&name, format, args);
    va_end(args);
    if (n < 0)
        return NULL;
    first = entry = enter(names, name, &added);
    free(name);
    while (entry && !added) {
        if (asprintf(&numbered, "%s_%llu", first->name, (unsigned long long)++first->last) < 0)
            return NULL;
        entry = enter(names, numbered, &added);
        free(numbered);
    }
    return entry ? entry->name : NULL;
}

void regtext_forget(struct regtext_names *names)
{
    tdestroy(names->root, free);
    names->root = NULL;
}
