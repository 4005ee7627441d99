/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ffi_ccall - calls of C functions. Arguments are checked against the prototype first; what a callback raised on the
 * way is raised after the function has returned, so that no frame of C is ever jumped over.
 *
 * A C function cannot be stopped: the time and memory limits of scripts end here. Runs on the script's thread.
 */
#include <errno.h>
#include <string.h>

#include "lua/ffi_private.h"

union slot {
    uint64_t u64;
    double d;
    void *p;
};

struct arguments {
    uint32_t n;
    ffi_type *types[CTYPE_ARGS];
    void *values[CTYPE_ARGS];
    union slot slots[CTYPE_ARGS];
};

/* libffi widens small integers to this. */
union result {
    ffi_arg word;
    uint64_t u64;
    float f;
    double d;
    void *p;
};

static void fail_argument(lua_State *L, const char *name, uint32_t i)
{
    luaL_error(L, "argument %d of %s: %s", (int)i + 1, name, lua_tostring(L, -1));
}

static void take_argument(lua_State *L, struct arguments *args, uint32_t i, struct ctype *t, int at, const char *name)
{
    args->types[i] = ctype_ffi(L, t);
    args->values[i] = &args->slots[i];
    if (t->kind == CTYPE_STRUCT)
        args->values[i] = cdata_own(L, t, t->size)->data;
    if (!conv_put(L, t, args->values[i], at, CONV_ARGUMENT))
        fail_argument(L, name, i);
}

/* An argument behind the "...": its type is what C's promotions would make of the Lua value. */
static void take_variadic(lua_State *L, struct arguments *args, uint32_t i, int at, const char *name)
{
    struct ffi_room *room = room_of(L);
    struct ctype *text = ctype_pointer(L, &room->basic[BASIC_CHAR], true), *t;
    const struct cdata *c = cdata_test(L, at);

    switch (lua_type(L, at)) {
    case LUA_TNUMBER:
        /* A whole word: printf's %d takes its lower half where longs are passed in words. */
        t = &room->basic[lua_isinteger(L, at) ? sizeof(long) == 8 ? BASIC_LONG : BASIC_LLONG : BASIC_DOUBLE];
        break;
    case LUA_TBOOLEAN:
        t = &room->basic[BASIC_INT];
        break;
    case LUA_TSTRING:
        t = text;
        break;
    default:
        t = ctype_pointer(L, &room->basic[BASIC_VOID], true);
        if (c && c->type->kind == CTYPE_STRUCT) {
            t = (struct ctype *)c->type;
        } else if (c) {
            /* As it is: there is no type to check it with. */
            if (c->callback && !c->closure)
                luaL_error(L, "argument %d of %s: the callback is freed", (int)i + 1, name);
            args->types[i] = &ffi_type_pointer;
            args->slots[i].p = c->data;
            args->values[i] = &args->slots[i];
            return;
        }
    }
    take_argument(L, args, i, t, at, name);
}

static void prepare(lua_State *L, struct ctype *f)
{
    ffi_cif *cif = util_alloc(L, sizeof *cif);
    ffi_type **types = util_alloc(L, (f->n + 1) * sizeof *types), *ret = ctype_ffi(L, f->elem);

    for (uint32_t i = 0; i < f->n; i++)
        types[i] = ctype_ffi(L, f->fields[i].type);
    if (ffi_prep_cif(cif, FFI_DEFAULT_ABI, f->n, ret, types) != FFI_OK)
        luaL_error(L, "libffi does not take '%s'", ctype_name(L, f, false));
    f->cif = cif;
}

static void push_result(lua_State *L, struct ctype *t, union result *r)
{
    uint8_t bytes[8];
    uint8_t u8 = (uint8_t)r->word;
    uint16_t u16 = (uint16_t)r->word;
    uint32_t u32 = (uint32_t)r->word;

    if (t->kind != CTYPE_BOOL && t->kind != CTYPE_INT && t->kind != CTYPE_ENUM) {
        conv_push(L, t, (uint8_t *)r, false, 0);
        return;
    }
    switch (t->size) {
    case 1:
        memcpy(bytes, &u8, 1);
        break;
    case 2:
        memcpy(bytes, &u16, 2);
        break;
    case 4:
        memcpy(bytes, &u32, 4);
        break;
    default:
        memcpy(bytes, &r->u64, 8);
    }
    conv_push(L, t, bytes, false, 0);
}

/* Callbacks that were made for this call alone. */
static void free_temporaries(lua_State *L, int from)
{
    for (int i = lua_gettop(L); i > from; i--) {
        struct cdata *c = cdata_test(L, i);

        if (c && c->closure)
            callback_free(c);
    }
}

static int invoke(lua_State *L, struct ctype *f, ffi_cif *cif, void *fn, struct arguments *args, int top,
                  bool callbacks)
{
    struct ffi_room *room = room_of(L);
    struct ccall call = { .room = callbacks ? room : NULL, .L = L };
    struct cdata *object = NULL;
    union result result = { .u64 = 0 };
    union {
        void *object;
        void (*function)(void);
    } code = { fn };

    if (f->elem->kind == CTYPE_STRUCT)
        object = cdata_own(L, f->elem, f->elem->size < sizeof result ? sizeof result : f->elem->size);
    int object_at = lua_gettop(L);

    luaL_checkstack(L, LUA_MINSTACK, "a call");
    if (!callback_enter(&call))
        return luaL_error(L, "calls of C are nested over %d deep, by callbacks that call C", (int)CCALL_DEPTH);
    errno = room->saved_errno;
    ffi_call(cif, code.function, object ? (void *)object->data : &result, args->values);
    room->saved_errno = errno;
    callback_leave(&call);
    free_temporaries(L, top);
    if (call.error) {
        lua_pushvalue(L, call.error);
        return lua_error(L);
    }
    if (f->elem->kind == CTYPE_VOID)
        return 0;
    if (object) {
        object->high = object->low + f->elem->size;
        lua_pushvalue(L, object_at);
    } else {
        push_result(L, f->elem, &result);
    }
    return 1;
}

int ccall_call(lua_State *L, struct ctype *f, void *fn, const char *name, int first, bool callbacks)
{
    int top = lua_gettop(L), n = top - first + 1;
    struct arguments args;
    ffi_cif variadic, *cif = f->cif;

    if (!name)
        name = "the function";
    if (n < (int)f->n || (n > (int)f->n && !f->variadic))
        return luaL_error(L, "%s takes %d argument%s%s, not %d", name, (int)f->n, f->n == 1 ? "" : "s",
                          f->variadic ? " or more" : "", n);
    if (n > (int)CTYPE_ARGS)
        return luaL_error(L, "%s: over %d arguments", name, (int)CTYPE_ARGS);
    luaL_checkstack(L, n + LUA_MINSTACK, "a call");
    for (uint32_t i = 0; i < f->n; i++)
        take_argument(L, &args, i, f->fields[i].type, first + (int)i, name);
    for (uint32_t i = f->n; i < (uint32_t)n; i++)
        take_variadic(L, &args, i, first + (int)i, name);
    if (f->variadic) {
        ffi_type *ret = ctype_ffi(L, f->elem);

        if (ffi_prep_cif_var(&variadic, FFI_DEFAULT_ABI, f->n, (unsigned)n, ret, args.types) != FFI_OK)
            return luaL_error(L, "libffi does not take these arguments of %s", name);
        cif = &variadic;
    } else if (!cif) {
        prepare(L, f);
        cif = f->cif;
    }
    return invoke(L, f, cif, fn, &args, top, callbacks);
}
