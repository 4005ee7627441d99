/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ffi_cexpr - constant expressions in C declarations: 64-bit integers, as they come in array sizes and enums.
 *
 * Runs on the script's thread; errors raise.
 */
#include <string.h>

#include "lua/ffi_private.h"

static int64_t ternary(struct lex *lx);

static int64_t size_of(struct lex *lx)
{
    bool is_const, align = lex_is(lx, "_Alignof");
    struct ctype *t;

    lex_next(lx);
    lex_expect(lx, "(");
    if (!cdecl_is_type(lx))
        lex_error(lx, "a type expected");
    t = cdecl_type(lx, &is_const);
    if (!t->complete)
        lex_error(lx, "the size of a type that has none");
    lex_expect(lx, ")");
    return align ? (int64_t)t->align : (int64_t)t->size;
}

static int64_t named(struct lex *lx)
{
    struct cname *name;

    name = cdecl_lookup(lx->L, ctype_keep(lx->L, lx->text, lx->len));
    if (!name || name->kind != CNAME_CONSTANT)
        lex_error(lx, "a constant expected");
    lex_next(lx);
    return name->value;
}

static int64_t unary(struct lex *lx)
{
    int64_t v = lx->value;

    lex_deeper(lx);
    if (lx->token == TOKEN_NUMBER) {
        lex_next(lx);
    } else if (lex_accept(lx, "(")) {
        if (cdecl_is_type(lx))
            lex_error(lx, "casts in constants are not supported");
        v = ternary(lx);
        lex_expect(lx, ")");
    } else if (lex_accept(lx, "-")) {
        v = (int64_t)(0 - (uint64_t)unary(lx));
    } else if (lex_accept(lx, "+")) {
        v = unary(lx);
    } else if (lex_accept(lx, "~")) {
        v = ~unary(lx);
    } else if (lex_accept(lx, "!")) {
        v = !unary(lx);
    } else if (lex_is(lx, "sizeof") || lex_is(lx, "_Alignof")) {
        v = size_of(lx);
    } else if (lx->token == TOKEN_NAME) {
        v = named(lx);
    } else {
        lex_error(lx, "a constant expected");
    }
    lx->depth--;
    return v;
}

static int64_t divide(struct lex *lx, int64_t a, int64_t b, bool rest)
{
    if (!b || (a == INT64_MIN && b == -1))
        lex_error(lx, "a division that has no result");
    return rest ? a % b : a / b;
}

static int64_t shift(struct lex *lx, int64_t a, int64_t b, bool right)
{
    if (b < 0 || b > 63)
        lex_error(lx, "a shift by %lld bits", (long long)b);
    return right ? a >> b : (int64_t)((uint64_t)a << b);
}

static int64_t apply(struct lex *lx, const char *op, int64_t a, int64_t b)
{
    switch (op[0]) {
    case '*':
        return (int64_t)((uint64_t)a * (uint64_t)b);
    case '/':
    case '%':
        return divide(lx, a, b, op[0] == '%');
    case '+':
        return (int64_t)((uint64_t)a + (uint64_t)b);
    case '-':
        return (int64_t)((uint64_t)a - (uint64_t)b);
    case '<':
        return op[1] == '<' ? shift(lx, a, b, false) : op[1] == '=' ? a <= b : a < b;
    case '>':
        return op[1] == '>' ? shift(lx, a, b, true) : op[1] == '=' ? a >= b : a > b;
    case '=':
        return a == b;
    case '!':
        return a != b;
    case '&':
        return op[1] ? a && b : a & b;
    case '|':
        return op[1] ? a || b : a | b;
    default:
        return a ^ b;
    }
}

/* Operators of two sides, those that bind less first. */
static const char *const levels[][5] = {
    { "||" }, { "&&" }, { "|" }, { "^" }, { "&" }, { "==", "!=" }, { "<=", ">=", "<", ">" }, { "<<", ">>" },
    { "+", "-" }, { "*", "/", "%" },
};

static int64_t binary(struct lex *lx, size_t level)
{
    int64_t v;

    if (level == sizeof levels / sizeof levels[0])
        return unary(lx);
    v = binary(lx, level + 1);
    for (size_t i = 0; levels[level][i];) {
        if (!lex_accept(lx, levels[level][i])) {
            i++;
            continue;
        }
        v = apply(lx, levels[level][i], v, binary(lx, level + 1));
        i = 0;
    }
    return v;
}

static int64_t ternary(struct lex *lx)
{
    int64_t v = binary(lx, 0), yes, no;

    if (!lex_accept(lx, "?"))
        return v;
    lex_deeper(lx);
    yes = ternary(lx);
    lex_expect(lx, ":");
    no = ternary(lx);
    lx->depth--;
    return v ? yes : no;
}

int64_t cexpr_parse(struct lex *lx)
{
    return ternary(lx);
}
