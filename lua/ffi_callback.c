/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ffi_callback - Lua functions that C can call.
 *
 * A callback runs protected, on the Lua thread that has called C. What it raises ends there: C gets 0, the caller gets
 * the error once C has returned, and no further callback runs until then. A call from another thread, or while no
 * call of the script is running, is refused: `current` says what is running on this thread, and nothing of Lua is
 * touched before it has been looked at.
 *
 * Closures are never given back before the script ends, only disarmed and used again for the same type: a callback
 * that C calls after it was freed is an error and not a jump into freed memory.
 */
#include <stdatomic.h>
#include <string.h>

#include "lua/ffi_private.h"

#define CLOSURES_MAX 1024u

struct closure {
    struct closure *next;
    struct ffi_room *room;
    ffi_closure *ffi;
    void *code;
    struct ctype *type; /* the function's */
    bool armed;
    atomic_bool complained;
};

static _Thread_local struct ccall *current;

bool callback_enter(struct ccall *call)
{
    call->outer = current;
    call->depth = current ? current->depth + 1 : 1;
    if (call->depth > CCALL_DEPTH)
        return false;
    current = call;
    return true;
}

void callback_leave(struct ccall *call)
{
    current = call->outer;
}

/* ---- called by C ---- */

struct job {
    struct closure *closure;
    void *result;
    void **args;
};

/* Small integers are returned as whole words. */
static void widen(const struct ctype *t, void *result, uint64_t bits)
{
    ffi_arg word;

    if (t->size > sizeof word) {
        memcpy(result, &bits, sizeof bits);
        return;
    }
    if (t->is_signed && t->size < 8 && bits >> (t->size * 8 - 1) & 1)
        bits |= UINT64_MAX << (t->size * 8);
    word = (ffi_arg)bits;
    memcpy(result, &word, sizeof word);
}

/* Why is at the top. The function that gave the result has returned: its first line is what can be said of it. */
static int bad_result(lua_State *L, int function)
{
    const char *why = lua_tostring(L, -1);
    lua_Debug info;

    lua_pushvalue(L, function);
    if (lua_isfunction(L, -1) && lua_getinfo(L, ">S", &info) && info.linedefined > 0)
        return luaL_error(L, "%s:%d: the callback's result: %s", info.short_src, info.linedefined, why);
    return luaL_error(L, "the callback's result: %s", why);
}

static void take_result(lua_State *L, const struct job *job, int function)
{
    struct ctype *t = job->closure->type->elem;
    uint8_t bytes[8] = { 0 };
    uint64_t bits = 0;
    bool integer = t->kind == CTYPE_BOOL || t->kind == CTYPE_INT || t->kind == CTYPE_ENUM;

    if (!conv_put(L, t, integer ? bytes : job->result, -1, CONV_STORE))
        bad_result(L, function);
    if (!integer)
        return;
    for (uint64_t i = 0; i < t->size; i++)
        memcpy((uint8_t *)&bits + (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? i : 8 - t->size + i), bytes + i, 1);
    widen(t, job->result, bits);
}

static int run(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);
    struct closure *cl = job->closure;
    struct ctype *f = cl->type;
    int function;

    lua_rawgeti(L, LUA_REGISTRYINDEX, cl->room->callbacks_ref);
    if (!cl->armed || lua_rawgetp(L, -1, cl) == LUA_TNIL)
        return luaL_error(L, "a callback was called after it was freed or collected: keep it as long as C may call it");
    lua_getiuservalue(L, -1, CDATA_ANCHOR);
    luaL_checkstack(L, (int)f->n + 11, "a callback");
    function = lua_gettop(L);
    lua_pushvalue(L, function);
    for (uint32_t i = 0; i < f->n; i++) {
        struct ctype *t = f->fields[i].type;

        if (t->kind == CTYPE_STRUCT) /* the caller's copy ends with the call */
            memcpy(cdata_own(L, t, t->size)->data, job->args[i], t->size);
        else
            conv_push(L, t, job->args[i], false, 0);
    }
    lua_call(L, (int)f->n, f->elem->kind != CTYPE_VOID);
    if (f->elem->kind != CTYPE_VOID)
        take_result(L, job, function);
    return 0;
}

static void clear_result(const struct ctype *t, void *result)
{
    if (t->kind != CTYPE_VOID)
        memset(result, 0, t->size < sizeof(ffi_arg) ? sizeof(ffi_arg) : t->size);
}

static void on_call(ffi_cif *cif, void *result, void **args, void *user)
{
    struct closure *cl = user;
    struct ccall *call = current;
    struct job job = { cl, result, args };

    (void)cif;
    clear_result(cl->type->elem, result);
    if (!call || call->room != cl->room) {
        const struct vfu_host *host = cl->room->script->host;

        if (!atomic_exchange(&cl->complained, true))
            host->log(host, VFU_LOG_ERROR,
                      "ffi: a callback was called on a thread that is not the device's, or while no call of the script "
                      "was running: it is refused, and C gets 0");
        return;
    }
    if (call->error)
        return;
    if (!lua_checkstack(call->L, 4)) /* the caller's own reserve is used up by errors of before: there is one at most */
        return;
    lua_pushcfunction(call->L, run);
    lua_pushlightuserdata(call->L, &job);
    if (lua_pcall(call->L, 1, 0, 0) != LUA_OK) {
        call->error = lua_gettop(call->L); /* it stays there, for the caller to raise */
        clear_result(cl->type->elem, result);
    }
}

/* ---- made and freed by scripts ---- */

static struct closure *find_idle(struct ffi_room *room, struct ctype *f)
{
    for (struct closure *cl = room->closures; cl; cl = cl->next)
        if (!cl->armed && ctype_same(cl->type, f))
            return cl;
    return NULL;
}

static struct closure *make(lua_State *L, struct ctype *f)
{
    struct ffi_room *room = room_of(L);
    struct closure *cl;
    ffi_cif *cif;
    ffi_type **types, *ret;

    if (f->variadic)
        luaL_error(L, "a callback cannot be variadic: '%s'", ctype_name(L, f, false));
    if (room->nclosures >= CLOSURES_MAX)
        luaL_error(L, "over %d callbacks: free those that are done with", (int)CLOSURES_MAX);
    ret = ctype_ffi(L, f->elem);
    types = util_alloc(L, (f->n + 1) * sizeof *types);
    for (uint32_t i = 0; i < f->n; i++)
        types[i] = ctype_ffi(L, f->fields[i].type);
    cif = util_alloc(L, sizeof *cif);
    cl = util_alloc(L, sizeof *cl);
    cl->room = room;
    cl->type = f;
    if (ffi_prep_cif(cif, FFI_DEFAULT_ABI, f->n, ret, types) != FFI_OK)
        luaL_error(L, "libffi does not take '%s'", ctype_name(L, f, false));
    cl->ffi = ffi_closure_alloc(sizeof *cl->ffi, &cl->code);
    if (!cl->ffi)
        luaL_error(L, "no memory for a callback, or none that may be executed");
    if (ffi_prep_closure_loc(cl->ffi, cif, on_call, cl, cl->code) != FFI_OK) {
        ffi_closure_free(cl->ffi);
        luaL_error(L, "libffi makes no callback of '%s'", ctype_name(L, f, false));
    }
    cl->next = room->closures;
    room->closures = cl;
    room->nclosures++;
    return cl;
}

void callback_new(lua_State *L, struct ctype *t, int i)
{
    struct ffi_room *room = room_of(L);
    struct closure *cl;
    struct cdata *c;

    i = lua_absindex(L, i);
    luaL_checkstack(L, 10, "a callback");
    cl = find_idle(room, t->elem);
    if (!cl)
        cl = make(L, t->elem);
    c = cdata_push(L, t, cl->code, 0);
    c->callback = true;
    lua_pushvalue(L, i);
    lua_setiuservalue(L, -2, CDATA_ANCHOR);
    /* Weak: a function that refers to its own callback is garbage together with it. */
    lua_rawgeti(L, LUA_REGISTRYINDEX, room->callbacks_ref);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, cl);
    lua_pop(L, 1);
    cdata_finalized(L, -1);
    c->closure = cl;
    cl->armed = true;
}

void callback_free(struct cdata *c)
{
    c->closure->armed = false;
    c->closure = NULL;
}

static struct cdata *check(lua_State *L)
{
    struct cdata *c = cdata_test(L, 1);

    if (!c || !c->callback)
        luaL_error(L, "a callback expected: call it with a colon");
    if (!c->closure)
        luaL_error(L, "the callback is freed");
    return c;
}

int callback_release(lua_State *L)
{
    callback_free(check(L));
    return 0;
}

int callback_set(lua_State *L)
{
    check(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, CDATA_ANCHOR);
    return 0;
}

void callback_close(struct ffi_room *room)
{
    for (struct closure *cl = room->closures; cl; cl = cl->next)
        ffi_closure_free(cl->ffi);
    room->closures = NULL;
}
