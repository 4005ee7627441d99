/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ffi_lex - the tokens of C declarations, and the errors that name them. A struct lex may be copied to come back to a
 * place later. Runs on the script's thread; errors raise.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/ffi_private.h"

#define LEX_DEPTH 60u /* of parentheses, structs and expressions within each other */

void lex_error(struct lex *lx, const char *format, ...)
{
    char text[256], near[48];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (lx->token == TOKEN_END)
        snprintf(near, sizeof near, "at the end");
    else
        snprintf(near, sizeof near, "near '%.*s'", lx->len > 32 ? 32 : (int)lx->len, lx->text);
    if (lx->what)
        luaL_error(lx->L, "type \"%s\": %s %s", lx->what, text, near);
    luaL_error(lx->L, "ffi.cdef, line %d: %s %s", (int)lx->token_line, text, near);
    abort(); /* luaL_error does not return */
}

void lex_deeper(struct lex *lx)
{
    if (++lx->depth > LEX_DEPTH)
        lex_error(lx, "nested too deep");
}

static void skip_blanks(struct lex *lx)
{
    for (; lx->p < lx->end; lx->p++) {
        if (*lx->p == '\n')
            lx->line++;
        if (isspace((unsigned char)*lx->p))
            continue;
        if (lx->end - lx->p < 2 || *lx->p != '/')
            return;
        if (lx->p[1] == '/') {
            const char *eol = memchr(lx->p, '\n', (size_t)(lx->end - lx->p));

            lx->p = eol ? eol - 1 : lx->end - 1;
        } else if (lx->p[1] == '*') {
            uint32_t first = lx->line;

            for (lx->p += 2; lx->end - lx->p >= 2 && (lx->p[0] != '*' || lx->p[1] != '/'); lx->p++)
                lx->line += *lx->p == '\n';
            if (lx->end - lx->p < 2) {
                lx->token = TOKEN_OTHER;
                lx->text = "/*";
                lx->len = 2;
                lx->token_line = first;
                lex_error(lx, "a comment without an end");
            }
            lx->p++;
        } else {
            return;
        }
    }
}

static void take_number(struct lex *lx)
{
    char digits[40], *end;
    size_t n = 0;

    lx->token = TOKEN_NUMBER;
    while (lx->p < lx->end && (isalnum((unsigned char)*lx->p) || *lx->p == '.'))
        lx->p++;
    lx->len = (size_t)(lx->p - lx->text);
    n = lx->len;
    while (n && strchr("uUlL", lx->text[n - 1]))
        n--;
    if (!n || n >= sizeof digits)
        lex_error(lx, "not an integer");
    memcpy(digits, lx->text, n);
    digits[n] = '\0';
    lx->value = (int64_t)strtoull(digits, &end, 0);
    if (*end)
        lex_error(lx, "not an integer");
}

static void take_character(struct lex *lx)
{
    static const char escapes[] = "n\nt\tr\r0\0\\\\'\'\"\"a\ab\bf\fv\v";
    const char *p = lx->p + 1;

    lx->token = TOKEN_NUMBER;
    lx->len = 1;
    if (lx->end - p >= 3 && *p == '\\' && p[2] == '\'') {
        const char *e = escapes;

        while (e < escapes + sizeof escapes - 1 && *e != p[1])
            e += 2;
        if (e >= escapes + sizeof escapes - 1)
            lex_error(lx, "a character constant that is not supported");
        lx->value = e[1];
        lx->p = p + 3;
    } else if (lx->end - p >= 2 && *p != '\\' && *p != '\'' && p[1] == '\'') {
        lx->value = *p;
        lx->p = p + 2;
    } else {
        lex_error(lx, "a character constant that is not supported");
    }
    lx->len = (size_t)(lx->p - lx->text);
}

static void take_other(struct lex *lx)
{
    static const char *const longer[] = { "...", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||" };
    size_t left = (size_t)(lx->end - lx->p);

    lx->token = TOKEN_OTHER;
    lx->len = 1;
    for (size_t i = 0; i < sizeof longer / sizeof longer[0]; i++) {
        size_t n = strlen(longer[i]);

        if (left >= n && !memcmp(lx->p, longer[i], n)) {
            lx->len = n;
            break;
        }
    }
    lx->p += lx->len;
    if (*lx->text == '#')
        lex_error(lx, "the preprocessor is not supported");
    if (!isprint((unsigned char)*lx->text))
        lex_error(lx, "a byte that is no part of C, 0x%02x,", (unsigned char)*lx->text);
}

void lex_next(struct lex *lx)
{
    skip_blanks(lx);
    lx->text = lx->p;
    lx->len = 0;
    lx->token_line = lx->line;
    if (lx->p >= lx->end) {
        lx->token = TOKEN_END;
    } else if (isalpha((unsigned char)*lx->p) || *lx->p == '_') {
        lx->token = TOKEN_NAME;
        while (lx->p < lx->end && (isalnum((unsigned char)*lx->p) || *lx->p == '_'))
            lx->p++;
        lx->len = (size_t)(lx->p - lx->text);
    } else if (isdigit((unsigned char)*lx->p)) {
        take_number(lx);
    } else if (*lx->p == '\'') {
        take_character(lx);
    } else {
        take_other(lx);
    }
}

void lex_start(struct lex *lx, lua_State *L, const char *text, size_t len, bool is_type)
{
    memset(lx, 0, sizeof *lx);
    lx->L = L;
    lx->p = text;
    lx->end = text + len;
    lx->what = is_type ? text : NULL;
    lx->line = 1;
    lex_next(lx);
}

bool lex_is(const struct lex *lx, const char *text)
{
    return lx->token != TOKEN_NUMBER && lx->len && strlen(text) == lx->len && !memcmp(lx->text, text, lx->len);
}

bool lex_accept(struct lex *lx, const char *text)
{
    if (!lex_is(lx, text))
        return false;
    lex_next(lx);
    return true;
}

void lex_expect(struct lex *lx, const char *text)
{
    if (!lex_accept(lx, text))
        lex_error(lx, "'%s' expected", text);
}
