/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ffi_cdef - declarations: structs, unions and enums with their layout, and what ffi.cdef takes at its top level.
 *
 * What is declared before an error stays declared. Runs on the script's thread; errors raise.
 */
#include <string.h>

#include "lua/ffi_private.h"

#define CACHED_MAX 4096u /* texts whose types are remembered */

/* ---- structs and unions ---- */

static bool accept_packed(struct lex *lx)
{
    if (!lex_is(lx, "__attribute__") && !lex_is(lx, "__attribute"))
        return false;
    lex_next(lx);
    lex_expect(lx, "(");
    lex_expect(lx, "(");
    if (!lex_is(lx, "packed") && !lex_is(lx, "__packed__"))
        lex_error(lx, "of the attributes only packed is supported, not the one");
    lex_next(lx);
    lex_expect(lx, ")");
    lex_expect(lx, ")");
    return true;
}

static void add_member(struct lex *lx, const struct lex *where, struct ctype *s, struct list *list, const char *name,
                       struct ctype *t, bool is_const)
{
    struct lex at = *where;
    struct cfield *f, other;

    if (list->n && ((struct cfield *)list->items[list->n - 1])->type->open && !s->is_union)
        lex_error(&at, "a member after an open array");
    if (t->kind == CTYPE_ARRAY && t->open) {
        if (s->is_union || !list->n)
            lex_error(&at, "an open array that is not the last of a struct's members");
    } else if (!t->complete || t->open) {
        lex_error(&at, "a member of type '%.60s', whose size is not known,", ctype_name(lx->L, t, false));
    }
    for (uint32_t i = 0; name && i < list->n; i++) {
        struct ctype one = { .kind = CTYPE_STRUCT, .n = 1, .fields = list->items[i] };

        if (ctype_find(&one, name, &other))
            lex_error(&at, "a second member %s", name);
    }
    f = util_alloc(lx->L, sizeof *f);
    f->name = name;
    f->type = t;
    f->readonly = is_const;
    util_append(lx->L, list, f);
}

static void take_members(struct lex *lx, struct ctype *s, struct list *list)
{
    while (!lex_accept(lx, "}")) {
        struct lex first = *lx;
        struct cspec spec;

        cdecl_specifiers(lx, &spec);
        if (spec.is_typedef || spec.is_extern || spec.is_static)
            lex_error(&first, "not for a member:");
        if (lex_is(lx, ";") && spec.untagged)
            add_member(lx, &first, s, list, NULL, spec.type, spec.is_const);
        while (!lex_is(lx, ";")) {
            struct lex at = *lx;
            const char *name;
            bool is_const;
            struct ctype *t;

            if (lex_is(lx, ":"))
                lex_error(lx, "bit fields are not supported:");
            t = cdecl_declarator(lx, &spec, &is_const, &name);
            if (lex_is(lx, ":"))
                lex_error(lx, "bit fields are not supported:");
            if (!name)
                lex_error(lx, "the name of a member expected");
            if (t->kind == CTYPE_FUNCTION)
                lex_error(&at, "a member that is a function");
            add_member(lx, &at, s, list, name, t, is_const);
            if (!lex_is(lx, ";"))
                lex_expect(lx, ",");
        }
        lex_expect(lx, ";");
    }
}

static uint64_t align_up(uint64_t size, uint32_t align)
{
    return (size + align - 1) / align * align;
}

static void lay_out(struct lex *lx, struct ctype *s, const struct list *list)
{
    uint64_t end = 0;

    s->fields = util_alloc(lx->L, (list->n + 1) * sizeof *s->fields);
    for (uint32_t i = 0; i < list->n; i++) {
        struct cfield *f = &s->fields[i];
        uint32_t align, depth;

        *f = *(struct cfield *)list->items[i];
        align = s->packed ? 1 : f->type->align;
        f->offset = s->is_union ? 0 : align_up(end, align);
        if (f->offset + f->type->size > end)
            end = f->offset + f->type->size;
        if (end > CTYPE_SIZE_MAX)
            lex_error(lx, "a struct of over %u MiB", (unsigned)(CTYPE_SIZE_MAX >> 20));
        if (align > s->align)
            s->align = align;
        depth = f->type->depth + 1;
        if (depth > CTYPE_DEPTH)
            lex_error(lx, "types are nested too deep");
        if (depth > s->depth)
            s->depth = depth;
        s->open |= f->type->open;
    }
    s->n = list->n;
    s->size = align_up(end, s->align);
    s->complete = true;
}

/* ---- enums ---- */

static void take_enumerators(struct lex *lx, struct ctype *e, struct list *list)
{
    int64_t value = 0, min = 0, max = 0;

    while (!lex_accept(lx, "}")) {
        struct lex at = *lx;
        struct cfield *f;
        const char *name;

        if (lx->token != TOKEN_NAME)
            lex_error(lx, "the name of a constant expected");
        name = ctype_keep(lx->L, lx->text, lx->len);
        lex_next(lx);
        if (lex_accept(lx, "="))
            value = cexpr_parse(lx);
        if (value < INT32_MIN || value > UINT32_MAX || (value < 0 && max > INT32_MAX) || (min < 0 && value > INT32_MAX))
            lex_error(&at, "an enum of over 32 bits");
        if (value < min)
            min = value;
        if (value > max)
            max = value;
        cdecl_define(&at, name, CNAME_CONSTANT, &room_of(lx->L)->basic[BASIC_INT], value);
        f = util_alloc(lx->L, sizeof *f);
        f->name = name;
        f->value = value++;
        util_append(lx->L, list, f);
        if (!lex_is(lx, "}"))
            lex_expect(lx, ",");
    }
    e->is_signed = min < 0;
    e->fields = util_alloc(lx->L, (list->n + 1) * sizeof *e->fields);
    for (uint32_t i = 0; i < list->n; i++)
        e->fields[i] = *(struct cfield *)list->items[i];
    e->n = list->n;
    e->complete = true;
}

/* ---- tags ---- */

static struct ctype *find_tag(struct lex *lx, const char *keyword, enum ctype_kind kind)
{
    lua_State *L = lx->L;
    const char *full;
    struct ctype *t;

    lua_pushlstring(L, lx->text, lx->len);
    lua_pushfstring(L, "%s %s", keyword, lua_tostring(L, -1));
    full = ctype_keep(L, lua_tostring(L, -1), lua_rawlen(L, -1));
    lua_pop(L, 2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, room_of(L)->tags_ref);
    lua_getfield(L, -1, full);
    t = lua_touserdata(L, -1);
    if (!t) {
        t = ctype_new(L, kind);
        t->name = full;
        lua_pushlightuserdata(L, t);
        lua_setfield(L, -3, full);
    }
    lua_pop(L, 2);
    return t;
}

/* At "struct", "union" or "enum". */
struct ctype *cdef_tagged(struct lex *lx, struct cspec *spec)
{
    const char *keyword = lex_is(lx, "struct") ? "struct" : lex_is(lx, "union") ? "union" : "enum";
    enum ctype_kind kind = *keyword == 'e' ? CTYPE_ENUM : CTYPE_STRUCT;
    struct list list = { NULL, 0, 0 };
    struct ctype *t;
    bool packed;

    lex_next(lx);
    packed = kind == CTYPE_STRUCT && accept_packed(lx);
    if (lx->token == TOKEN_NAME) {
        t = find_tag(lx, keyword, kind);
        lex_next(lx);
    } else if (lex_is(lx, "{")) {
        t = ctype_new(lx->L, kind);
        spec->untagged = kind == CTYPE_STRUCT;
        t->name = kind == CTYPE_ENUM ? "enum" : NULL;
    } else {
        lex_error(lx, "a name or '{' expected");
    }
    t->is_union = *keyword == 'u';
    if (kind == CTYPE_ENUM && !t->size) {
        t->size = sizeof(int);
        t->align = _Alignof(int);
    }
    if (!lex_is(lx, "{"))
        return t;
    if (t->complete)
        lex_error(lx, "'%.60s' is defined already", t->name ? t->name : keyword);
    lex_next(lx);
    lex_deeper(lx);
    if (kind == CTYPE_ENUM) {
        take_enumerators(lx, t, &list);
    } else {
        take_members(lx, t, &list);
        if (t->complete) /* by a member that defines it again */
            lex_error(lx, "'%.60s' is defined within itself", t->name ? t->name : keyword);
        t->packed = packed | accept_packed(lx);
        lay_out(lx, t, &list);
    }
    lx->depth--;
    return t;
}

/* ---- the top level ---- */

static void take_constant(struct lex *lx, const struct cspec *spec, struct ctype *t, bool is_const, const char *name)
{
    int64_t value;

    if (!spec->is_static || !is_const || t->kind != CTYPE_INT)
        lex_error(lx, "only 'static const' integers can be given a value:");
    lex_next(lx);
    value = cexpr_parse(lx);
    cdecl_define(lx, name, CNAME_CONSTANT, t, value);
}

static void take_declarator(struct lex *lx, const struct cspec *spec)
{
    struct lex at = *lx;
    const char *name;
    bool is_const;
    struct ctype *t = cdecl_declarator(lx, spec, &is_const, &name);

    if (lex_is(lx, ":"))
        lex_error(lx, "bit fields are not supported:");
    if (!name)
        lex_error(&at, "a name expected");
    if (spec->is_typedef) {
        if (t->kind == CTYPE_STRUCT && !t->name)
            t->name = name; /* for messages */
        cdecl_define(&at, name, CNAME_TYPE, t, 0);
    } else if (lex_is(lx, "=")) {
        take_constant(lx, spec, t, is_const, name);
    } else if (t->kind == CTYPE_FUNCTION) {
        if (lex_is(lx, "{"))
            lex_error(lx, "a function's body is not supported:");
        cdecl_define(&at, name, CNAME_FUNCTION, t, 0);
    } else {
        if (t->kind == CTYPE_VOID)
            lex_error(&at, "a variable of type void");
        cdecl_define(&at, name, CNAME_VARIABLE, t, 0)->readonly = is_const;
    }
}

void cdef_parse(lua_State *L, const char *text, size_t len)
{
    struct lex lx;

    for (lex_start(&lx, L, text, len, false); lx.token != TOKEN_END;) {
        struct cspec spec;

        if (lex_accept(&lx, ";"))
            continue;
        cdecl_specifiers(&lx, &spec);
        while (!lex_is(&lx, ";")) {
            take_declarator(&lx, &spec);
            if (!lex_is(&lx, ";"))
                lex_expect(&lx, ",");
        }
        lex_expect(&lx, ";");
    }
}

struct ctype *cdef_type(lua_State *L, int i)
{
    struct ffi_room *room = room_of(L);
    const char *text = lua_tostring(L, i);
    struct ctype *t;
    struct lex lx;
    bool is_const;

    i = lua_absindex(L, i);
    luaL_checkstack(L, 20, "a type");
    lua_rawgeti(L, LUA_REGISTRYINDEX, room->cache_ref);
    lua_pushvalue(L, i);
    if (lua_rawget(L, -2) == LUA_TLIGHTUSERDATA) {
        t = lua_touserdata(L, -1);
        lua_pop(L, 2);
        return t;
    }
    lua_pop(L, 1);
    lex_start(&lx, L, text, lua_rawlen(L, i), true);
    t = cdecl_type(&lx, &is_const);
    if (lx.token != TOKEN_END)
        lex_error(&lx, "the type is over, but not the text,");
    if (room->ncached++ < CACHED_MAX) {
        lua_pushvalue(L, i);
        lua_pushlightuserdata(L, t);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
    return t;
}
