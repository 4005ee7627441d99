/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ffi_cdecl - specifiers and declarators of C: from "const char *(*name[4])(int)" to a type and a name.
 *
 * Runs on the script's thread; errors raise.
 */
#include <string.h>

#include "lua/ffi_private.h"

/* ---- identifiers ---- */

struct cname *cdecl_lookup(lua_State *L, const char *name)
{
    struct cname *found;

    lua_rawgeti(L, LUA_REGISTRYINDEX, room_of(L)->names_ref);
    lua_pushstring(L, name);
    lua_rawget(L, -2);
    found = lua_touserdata(L, -1);
    lua_pop(L, 2);
    return found;
}

/* The same declaration again is fine, another one is not. */
struct cname *cdecl_define(struct lex *lx, const char *name, enum cname_kind kind, struct ctype *type, int64_t value)
{
    lua_State *L = lx->L;
    struct cname *n = cdecl_lookup(L, name);

    if (n) {
        if (n->kind != kind || !ctype_same(n->type, type) || n->value != value)
            lex_error(lx, "%s is declared already, as something else,", name);
        return n;
    }
    n = util_alloc(L, sizeof *n);
    n->kind = kind;
    n->type = type;
    n->value = value;
    lua_rawgeti(L, LUA_REGISTRYINDEX, room_of(L)->names_ref);
    lua_pushlightuserdata(L, n);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
    return n;
}

/* ---- specifiers ---- */

enum {
    WORD_VOID = 1,
    WORD_BOOL = 2,
    WORD_CHAR = 4,
    WORD_SHORT = 8,
    WORD_INT = 16,
    WORD_LONG = 32,
    WORD_LLONG = 64,
    WORD_FLOAT = 128,
    WORD_DOUBLE = 256,
    WORD_SIGNED = 512,
    WORD_UNSIGNED = 1024,
};
enum { DO_WORD, DO_CONST, DO_NOTHING, DO_TYPEDEF, DO_EXTERN, DO_STATIC, DO_TAG, DO_REFUSE };

static const struct {
    const char *text;
    uint8_t what;
    uint16_t word;
} keywords[] = {
    { "void", DO_WORD, WORD_VOID },
    { "_Bool", DO_WORD, WORD_BOOL },
    { "bool", DO_WORD, WORD_BOOL },
    { "char", DO_WORD, WORD_CHAR },
    { "short", DO_WORD, WORD_SHORT },
    { "int", DO_WORD, WORD_INT },
    { "long", DO_WORD, WORD_LONG },
    { "float", DO_WORD, WORD_FLOAT },
    { "double", DO_WORD, WORD_DOUBLE },
    { "signed", DO_WORD, WORD_SIGNED },
    { "__signed__", DO_WORD, WORD_SIGNED },
    { "unsigned", DO_WORD, WORD_UNSIGNED },
    { "const", DO_CONST, 0 },
    { "__const", DO_CONST, 0 },
    { "volatile", DO_NOTHING, 0 },
    { "__volatile__", DO_NOTHING, 0 },
    { "restrict", DO_NOTHING, 0 },
    { "__restrict", DO_NOTHING, 0 },
    { "__restrict__", DO_NOTHING, 0 },
    { "__extension__", DO_NOTHING, 0 },
    { "register", DO_NOTHING, 0 },
    { "typedef", DO_TYPEDEF, 0 },
    { "extern", DO_EXTERN, 0 },
    { "static", DO_STATIC, 0 },
    { "struct", DO_TAG, 0 },
    { "union", DO_TAG, 0 },
    { "enum", DO_TAG, 0 },
    { "inline", DO_REFUSE, 0 },
    { "__inline", DO_REFUSE, 0 },
    { "__inline__", DO_REFUSE, 0 },
    { "_Complex", DO_REFUSE, 0 },
    { "_Atomic", DO_REFUSE, 0 },
    { "_Alignas", DO_REFUSE, 0 },
    { "_Thread_local", DO_REFUSE, 0 },
    { "_Noreturn", DO_REFUSE, 0 },
    { "_Static_assert", DO_REFUSE, 0 },
    { "__int128", DO_REFUSE, 0 },
    { "__attribute__", DO_REFUSE, 0 },
    { "__asm__", DO_REFUSE, 0 },
    { "asm", DO_REFUSE, 0 },
    { "auto", DO_REFUSE, 0 },
};
#define KEYWORDS (sizeof keywords / sizeof keywords[0])

/* What words together mean, `int` left out where there is a shorter way to say it. */
static const struct {
    uint16_t words;
    uint8_t basic;
} combinations[] = {
    { WORD_VOID, BASIC_VOID },
    { WORD_BOOL, BASIC_BOOL },
    { WORD_CHAR, BASIC_CHAR },
    { WORD_CHAR | WORD_SIGNED, BASIC_SCHAR },
    { WORD_CHAR | WORD_UNSIGNED, BASIC_UCHAR },
    { WORD_SHORT, BASIC_SHORT },
    { WORD_SHORT | WORD_SIGNED, BASIC_SHORT },
    { WORD_SHORT | WORD_UNSIGNED, BASIC_USHORT },
    { 0, BASIC_INT },
    { WORD_SIGNED, BASIC_INT },
    { WORD_UNSIGNED, BASIC_UINT },
    { WORD_LONG, BASIC_LONG },
    { WORD_LONG | WORD_SIGNED, BASIC_LONG },
    { WORD_LONG | WORD_UNSIGNED, BASIC_ULONG },
    { WORD_LLONG, BASIC_LLONG },
    { WORD_LLONG | WORD_SIGNED, BASIC_LLONG },
    { WORD_LLONG | WORD_UNSIGNED, BASIC_ULLONG },
    { WORD_FLOAT, BASIC_FLOAT },
    { WORD_DOUBLE, BASIC_DOUBLE },
};

static size_t find_keyword(const struct lex *lx)
{
    size_t i = 0;

    while (i < KEYWORDS && !lex_is(lx, keywords[i].text))
        i++;
    return i;
}

static struct ctype *type_named(struct lex *lx)
{
    struct cname *name = cdecl_lookup(lx->L, ctype_keep(lx->L, lx->text, lx->len));

    return name && name->kind == CNAME_TYPE ? name->type : NULL;
}

bool cdecl_is_type(struct lex *lx)
{
    return lx->token == TOKEN_NAME && (find_keyword(lx) < KEYWORDS || type_named(lx));
}

static struct ctype *combine(struct lex *lx, uint32_t words)
{
    uint32_t others = words;

    if (words == (WORD_LONG | WORD_DOUBLE))
        lex_error(lx, "long double is not supported");
    if (others & WORD_INT && !(others & (WORD_VOID | WORD_BOOL | WORD_CHAR | WORD_FLOAT | WORD_DOUBLE)))
        others &= ~(uint32_t)WORD_INT;
    for (size_t i = 0; i < sizeof combinations / sizeof combinations[0]; i++)
        if (combinations[i].words == others)
            return &room_of(lx->L)->basic[combinations[i].basic];
    lex_error(lx, "words that are no type together");
}

static void take_word(struct lex *lx, const struct cspec *spec, uint32_t *words, uint32_t word)
{
    if (spec->type)
        lex_error(lx, "a second type");
    if (word == WORD_LONG && *words & WORD_LONG) {
        *words &= ~(uint32_t)WORD_LONG;
        word = WORD_LLONG;
    }
    if (*words & word || (word == WORD_LONG && *words & WORD_LLONG))
        lex_error(lx, "the word twice");
    *words |= word;
    lex_next(lx);
}

static void take_keyword(struct lex *lx, struct cspec *spec, uint32_t *words, size_t i)
{
    switch (keywords[i].what) {
    case DO_WORD:
        take_word(lx, spec, words, keywords[i].word);
        return;
    case DO_TAG:
        if (spec->type || *words)
            lex_error(lx, "a second type");
        spec->type = cdef_tagged(lx, spec);
        return;
    case DO_REFUSE:
        lex_error(lx, "not supported:");
    case DO_CONST:
        spec->is_const = true;
        break;
    case DO_TYPEDEF:
        spec->is_typedef = true;
        break;
    case DO_EXTERN:
        spec->is_extern = true;
        break;
    case DO_STATIC:
        spec->is_static = true;
        break;
    default:
        break;
    }
    lex_next(lx);
}

void cdecl_specifiers(struct lex *lx, struct cspec *spec)
{
    struct lex first = *lx;
    uint32_t words = 0;

    memset(spec, 0, sizeof *spec);
    while (lx->token == TOKEN_NAME) {
        size_t i = find_keyword(lx);

        if (i < KEYWORDS) {
            take_keyword(lx, spec, &words, i);
            continue;
        }
        if (spec->type || words)
            break;
        spec->type = type_named(lx);
        if (!spec->type)
            break;
        lex_next(lx);
    }
    if (spec->type)
        return;
    if (!words) {
        if (lx->token == TOKEN_NAME)
            lex_error(lx, "not a type that is known:");
        lex_error(lx, "a type expected");
    }
    spec->type = combine(&first, words);
}

/* ---- declarators ---- */

static struct ctype *declarator(struct lex *lx, struct ctype *t, bool *is_const, const char **name);

static struct ctype *take_parameter(struct lex *lx)
{
    struct lex first = *lx;
    struct cspec spec;
    bool is_const;
    const char *name;
    struct ctype *t;

    cdecl_specifiers(lx, &spec);
    if (spec.is_typedef || spec.is_extern || spec.is_static)
        lex_error(&first, "not for a parameter:");
    t = cdecl_declarator(lx, &spec, &is_const, &name);
    if (t->kind == CTYPE_ARRAY)
        t = ctype_pointer(lx->L, t->elem, t->elem_const);
    else if (t->kind == CTYPE_FUNCTION)
        t = ctype_pointer(lx->L, t, false);
    if (t->kind == CTYPE_VOID)
        lex_error(&first, "a parameter of type void");
    if (t->complete && ctype_no_value(t))
        lex_error(&first, "a parameter of type '%.60s': %s:", ctype_name(lx->L, t, false), ctype_no_value(t));
    return t;
}

/* After "(". */
static struct ctype *function_suffix(struct lex *lx, struct ctype *ret)
{
    struct lex first = *lx;
    struct cfield params[CTYPE_ARGS] = { { 0 } };
    uint32_t n = 0;
    bool variadic = false;

    lex_deeper(lx);
    if (lex_is(lx, "void")) {
        struct lex ahead = *lx;

        lex_next(&ahead);
        if (lex_is(&ahead, ")"))
            *lx = ahead;
    }
    while (!lex_is(lx, ")")) {
        if (lex_accept(lx, "...")) {
            variadic = true;
            break;
        }
        if (n == CTYPE_ARGS)
            lex_error(lx, "over %u parameters", CTYPE_ARGS);
        params[n++].type = take_parameter(lx);
        if (!lex_is(lx, ")"))
            lex_expect(lx, ",");
    }
    lex_expect(lx, ")");
    lx->depth--;
    if (variadic && !n)
        lex_error(&first, "a function needs a parameter before");
    if (ret->kind == CTYPE_ARRAY || ret->kind == CTYPE_FUNCTION)
        lex_error(&first, "a function that returns '%.60s'", ctype_name(lx->L, ret, false));
    if (ret->complete && ctype_no_value(ret))
        lex_error(&first, "a function that returns '%.60s': %s:", ctype_name(lx->L, ret, false), ctype_no_value(ret));
    return ctype_function(lx->L, ret, params, n, variadic);
}

static struct ctype *suffixes(struct lex *lx, struct ctype *t, bool is_const)
{
    struct lex first = *lx;

    if (lex_accept(lx, "(")) {
        t = function_suffix(lx, t);
        if (lex_is(lx, "(") || lex_is(lx, "["))
            lex_error(lx, "a function that returns a function or an array");
        return t;
    }
    if (lex_accept(lx, "[")) {
        uint64_t count = CTYPE_OPEN;

        lex_deeper(lx);
        if (!lex_accept(lx, "?") && !lex_is(lx, "]")) {
            int64_t n = cexpr_parse(lx);

            if (n < 0 || (uint64_t)n > CTYPE_SIZE_MAX)
                lex_error(&first, "an array of %lld elements", (long long)n);
            count = (uint64_t)n;
        }
        lex_expect(lx, "]");
        t = suffixes(lx, t, is_const);
        lx->depth--;
        if (!t->complete || t->open)
            lex_error(&first, "an array of '%.60s', whose size is not known,", ctype_name(lx->L, t, false));
        if (count != CTYPE_OPEN && t->size && count > CTYPE_SIZE_MAX / t->size)
            lex_error(&first, "an array of over %u MiB", (unsigned)(CTYPE_SIZE_MAX >> 20));
        return ctype_array(lx->L, t, is_const && t->kind != CTYPE_ARRAY, count);
    }
    return t;
}

/* Does the "(" here put a declarator into parentheses, or does it begin the parameters of a function? */
static bool is_group(const struct lex *lx)
{
    struct lex ahead = *lx;

    lex_next(&ahead);
    return lex_is(&ahead, "*") || lex_is(&ahead, "(") || lex_is(&ahead, "[") ||
           (ahead.token == TOKEN_NAME && !cdecl_is_type(&ahead));
}

static void skip_group(struct lex *lx)
{
    uint32_t depth = 0;

    do {
        if (lex_is(lx, "("))
            depth++;
        else if (lex_is(lx, ")"))
            depth--;
        else if (lx->token == TOKEN_END)
            lex_error(lx, "')' expected");
        lex_next(lx);
    } while (depth);
}

static struct ctype *declarator(struct lex *lx, struct ctype *t, bool *is_const, const char **name)
{
    lex_deeper(lx);
    luaL_checkstack(lx->L, 10, "a declaration");
    while (lex_accept(lx, "*")) {
        t = ctype_pointer(lx->L, t, *is_const);
        *is_const = false;
        while (lx->token == TOKEN_NAME) {
            size_t i = find_keyword(lx);

            if (i == KEYWORDS || (keywords[i].what != DO_CONST && keywords[i].what != DO_NOTHING))
                break;
            *is_const |= keywords[i].what == DO_CONST;
            lex_next(lx);
        }
    }
    if (lex_is(lx, "(") && is_group(lx)) {
        /* What stands behind the parentheses comes first, what is inside is made of it. */
        struct lex inside = *lx;

        lex_next(&inside);
        skip_group(lx);
        t = suffixes(lx, t, *is_const);
        if (t->kind == CTYPE_FUNCTION)
            *is_const = false;
        t = declarator(&inside, t, is_const, name);
        lex_expect(&inside, ")");
        lx->depth--;
        return t;
    }
    if (lx->token == TOKEN_NAME && !cdecl_is_type(lx)) {
        *name = ctype_keep(lx->L, lx->text, lx->len);
        lex_next(lx);
    } else if (lx->token == TOKEN_NAME && find_keyword(lx) == KEYWORDS) {
        *name = ctype_keep(lx->L, lx->text, lx->len); /* a member or parameter may have the name of a type */
        lex_next(lx);
    }
    t = suffixes(lx, t, *is_const);
    lx->depth--;
    return t;
}

struct ctype *cdecl_declarator(struct lex *lx, const struct cspec *spec, bool *is_const, const char **name)
{
    *is_const = spec->is_const;
    *name = NULL;
    return declarator(lx, spec->type, is_const, name);
}

struct ctype *cdecl_type(struct lex *lx, bool *is_const)
{
    struct lex first = *lx;
    struct cspec spec;
    const char *name;
    struct ctype *t;

    cdecl_specifiers(lx, &spec);
    if (spec.is_typedef || spec.is_extern || spec.is_static)
        lex_error(&first, "a type expected");
    t = cdecl_declarator(lx, &spec, is_const, &name);
    if (name)
        lex_error(&first, "a type without a name expected, not one for %s,", name);
    return t;
}
