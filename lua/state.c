/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * state - one script's Lua state: its memory ceiling, loading, protected calls, collection, error reports.
 *
 * The collector stands still while callbacks run, and works between them in steps that the host defers until the reply
 * is sent. Runs on the script's thread.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lua/binding.h"

#define GC_SLACK ((size_t)256 << 10) /* growth before a collection is worth while */
#define GC_OWED_LOG2 10              /* of the allocation in bytes that one step makes up for */
#define GC_STEP_LOG2 9               /* Lua's unit for its work */
#define GC_STEP_MUL 12               /* Lua's: 2^GC_STEP_LOG2 / 16 times this are a step's units of work */
#define GC_TURN 4u                   /* steps before others have their turn */

#define SCRIPT_FILE_MAX (16u << 20)

#define REPORT_BURST 4u
#define REPORT_WINDOW UINT64_C(1000000000)

void *state_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    struct script *s = ud;
    size_t old = ptr ? osize : 0;
    void *p;

    if (!nsize) {
        free(ptr);
        s->used -= old;
        return NULL;
    }
    /* Shrinking must never fail, says the manual. */
    if (nsize > old && (nsize - old > s->limit || s->used > s->limit - (nsize - old)))
        return NULL;
    p = realloc(ptr, nsize);
    if (!p)
        return nsize <= old ? ptr : NULL;
    s->used += nsize - old;
    return p;
}

/* ---- require ---- */

/* As luaL_loadfilex, of text; its word on binary chunks names no file. */
static int load_text(lua_State *L, const char *file)
{
    const char *objection = util_no_file(file, SCRIPT_FILE_MAX);
    int rc;

    if (objection) {
        lua_pushfstring(L, "cannot read %s: %s", file, objection);
        return LUA_ERRFILE;
    }
    rc = luaL_loadfilex(L, file, "t");
    if (rc == LUA_ERRSYNTAX && strstr(lua_tostring(L, -1), "binary chunk")) {
        lua_pop(L, 1);
        lua_pushfstring(L, "%s is compiled; a script is Lua source", file);
    }
    return rc;
}

/* Pushes where modules that come with the binding are: beside it, or in the folder that it was built in. */
static const char *push_shipped(lua_State *L, const char *relative, bool built)
{
    static const char here;
    const char *slash;
    Dl_info info;

    if (!dladdr(&here, &info) || !info.dli_fname || !(slash = strrchr(info.dli_fname, '/')))
        return NULL;
    lua_pushlstring(L, info.dli_fname, (size_t)(slash - info.dli_fname));
    return lua_pushfstring(L, "%s/%s/%s", lua_tostring(L, -1), built ? ".." : "lua", relative);
}

/* The module's file at the top: beside the script, or among those shipped. LUA_ERRFILE: none, and the first's error. */
static int find_module(lua_State *L, const char *relative)
{
    int rc, file = lua_gettop(L);

    rc = load_text(L, lua_tostring(L, file));
    for (int built = 0; built < 2 && rc == LUA_ERRFILE; built++) {
        const char *shipped = push_shipped(L, relative, built);

        if (shipped && access(shipped, R_OK) == 0) {
            lua_replace(L, file);
            lua_settop(L, file);
            rc = load_text(L, lua_tostring(L, file));
        }
    }
    return rc;
}

void state_watch(struct script *s, const char *path)
{
    const struct vfu_host_reload *reload = s->host->extension(s->host, VFU_EXT_RELOAD);

    if (reload && VFU_HAS(reload, watch))
        reload->watch(s->host, path);
}

/* What `require` looks for: a text file beside the script, or one of ours; dots are folders. */
static int load_module(lua_State *L, const char *name)
{
    struct script *s = script_of(L);
    const char *slash = strrchr(s->path, '/'), *file, *relative;

    for (const char *p = name; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.", *p) ||
            (*p == '.' && p[1] == '.'))
            return luaL_error(L, "bad module name \"%s\"", name);
    luaL_gsub(L, name, ".", "/");
    relative = lua_pushfstring(L, "%s.lua", lua_tostring(L, -1));
    lua_pushlstring(L, s->path, slash ? (size_t)(slash + 1 - s->path) : 0);
    lua_pushvalue(L, -2);
    lua_concat(L, 2);
    file = lua_tostring(L, -1);
    state_watch(s, file);

    int top = lua_gettop(L), rc = find_module(L, relative);
    if (rc == LUA_ERRFILE)
        return luaL_error(L, "no module \"%s\": %s, and none of that name comes with vfu-host", name,
                          lua_tostring(L, top + 1));
    if (rc != LUA_OK)
        return lua_error(L);
    file = lua_tostring(L, top);
    lua_pushstring(L, name);
    lua_pushstring(L, file);
    lua_call(L, 2, 1);
    return 1;
}

int state_require(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);

    lua_settop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, 2, name) != LUA_TNIL)
        return 1;
    if (!strcmp(name, "vfu.test"))
        return luaL_error(L, "vfu.test is for the scripts of vfu-client test, not for devices");
    if (!strcmp(name, "ffi"))
        module_open(L);
    else if (!strcmp(name, "vfu.virtio"))
        virtio_open(L);
    else
        load_module(L, name);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushboolean(L, 1);
    }
    lua_pushvalue(L, -1);
    lua_setfield(L, 2, name);
    return 1;
}

static void warn_part(void *ud, const char *text, int to_be_continued)
{
    struct script *s = ud;

    (void)to_be_continued;
    s->host->log(s->host, VFU_LOG_WARN, text);
}

static int missing_function(lua_State *L)
{
    const char *name = luaL_tolstring(L, 2, NULL);

    util_push_suggestion(L, 1, name);
    return luaL_error(L, "vfu has no %s%s", name, lua_tostring(L, -1));
}

static void open_vfu(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "device", declare_device },
        { "reg", map_reg },
        { "flag", map_flag },
        { "field", map_field },
        { "group", map_group },
        { "buffer", buffer_new },
        { "sleep", task_sleep },
        { "plugin", wrap_plugin },
        { "crc32", crc_crc32 },
        { "qmp", qmp_new },
        { "stream", stream_new },
        { "display", display_declare },
        { NULL, NULL },
    };

    map_open(L);
    buffer_open(L);
    display_setup(L);
    dma_open(L);
    event_open(L);
    object_open(L);
    qmp_open(L);
    stream_open_type(L);
    luaL_newlib(L, functions);
    log_open(L);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, missing_function);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "vfu");
    lua_pop(L, 2);
}

/* ---- errors ---- */

/* The message handler of every call on the main stack: the message as text, and where it comes from. */
static int add_traceback(lua_State *L)
{
    const char *text = lua_tostring(L, 1);

    if (!text)
        text = luaL_tolstring(L, 1, NULL);
    luaL_traceback(L, L, text, 1);
    return 1;
}

static int push_dead_traceback(lua_State *L)
{
    lua_State *co = lua_touserdata(L, 1);
    const char *text = lua_touserdata(L, 2);

    if (!text)
        text = lua_tostring(co, -1);
    if (!text) {
        lua_pushvalue(co, -1);
        lua_xmove(co, L, 1);
        text = luaL_tolstring(L, -1, NULL);
    }
    luaL_traceback(L, co, text, 0);
    return 1;
}

static bool report_allowed(struct script *s)
{
    uint64_t now = VFU_HAS(s->host, now) ? s->host->now(s->host) : 0;

    if (now - s->report_window >= REPORT_WINDOW) {
        if (s->report_dropped)
            vfu_logf(s->host, VFU_LOG_ERROR, "%u more errors of the script are not shown", s->report_dropped);
        s->report_window = now;
        s->report_count = s->report_dropped = 0;
    }
    if (s->report_count++ < REPORT_BURST)
        return true;
    s->report_dropped++;
    return false;
}

void state_report_text(struct script *s, const char *what, const char *text)
{
    size_t n;
    char *line;

    if (!report_allowed(s))
        return;
    n = strlen(what) + strlen(text) + 3;
    line = malloc(n);
    if (!line) {
        s->host->log(s->host, VFU_LOG_ERROR, text);
        return;
    }
    snprintf(line, n, "%s%s%s", what, *what ? ": " : "", text);
    s->host->log(s->host, VFU_LOG_ERROR, line);
    free(line);
}

void state_report_result(struct script *s, const char *what, int ref, const char *text)
{
    char line[LUA_IDSIZE + 160];
    lua_Debug ar;

    lua_rawgeti(s->L, LUA_REGISTRYINDEX, ref);
    lua_getinfo(s->L, ">S", &ar);
    snprintf(line, sizeof line, "%s:%d: %s", ar.short_src, ar.linedefined, text);
    state_report_text(s, what, line);
}

void state_report(struct script *s, lua_State *co, const char *what, const char *problem)
{
    lua_State *L = s->L;
    const char *text;

    if (co != L) {
        lua_pushcfunction(L, push_dead_traceback);
        lua_pushlightuserdata(L, co);
        lua_pushlightuserdata(L, (void *)(uintptr_t)problem);
        state_enter(s); /* the error may be an object with a __tostring of the script's */
        lua_pcall(L, 2, 1, 0);
        state_leave(s);
    }
    text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error that is no text";
    if (!strcmp(text, "not enough memory")) { /* Lua has no place left to say where */
        char more[256];

        snprintf(more, sizeof more,
                 "%.100s: not enough memory: a script has %zu MiB; is there an endless recursion or table?", s->path,
                 s->limit >> 20);
        state_report_text(s, what, more);
    } else {
        state_report_text(s, what, text);
    }
    if (co != L)
        lua_pop(L, 1);
}

/* ---- calls ---- */

void state_enter(struct script *s)
{
    uint64_t epoch = atomic_load_explicit(&s->epoch, memory_order_relaxed);

    if (s->depth++)
        return;
    atomic_store_explicit(&s->epoch, epoch + 1, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst); /* the processor's part of it is the ticker's: see budget.c */
    if (atomic_load_explicit(&budget_asleep, memory_order_relaxed))
        budget_wake();
}

/*
 * Lua begins to sweep by freeing, in one go, whatever is newer than the newest object that lives: all the garbage of the
 * time that marking took. A new object before each step leaves nothing for that; all is swept in steps. It is in a table
 * of its own, which then is all that has to be looked at again.
 */
static int put_fence(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, script_of(L)->fence_ref);
    lua_createtable(L, 0, 0);
    lua_rawseti(L, -2, 1);
    return 0;
}

static void new_fence(struct script *s)
{
    lua_pushcfunction(s->L, put_fence);
    if (lua_pcall(s->L, 0, 0, 0)) /* no memory: if this step begins to sweep, it takes its time */
        lua_pop(s->L, 1);
}

/*
 * A step is some 400 objects looked at or freed, about 10 us, and there is one for each KiB that was allocated: who
 * allocates much owes much. What is owed is worked off in turns of a few steps, with the client's next requests in between.
 * A step of size 0 is Lua's basic one; with another size it would at once work off all that was allocated while the
 * collector stood still, which is most of a cycle. True at the end of a cycle.
 */
static bool collect_steps(struct script *s, uint32_t most)
{
    bool done = false;

    if (s->used > s->gc_seen)
        s->gc_owed += (s->used - s->gc_seen) >> GC_OWED_LOG2;
    new_fence(s);
    for (uint32_t n = 0; n < most && !done && (n == 0 || s->gc_owed); n++) {
        done = lua_gc(s->L, LUA_GCSTEP, 0);
        s->gc_owed -= s->gc_owed > 0;
    }
    s->gc_seen = s->used;
    return done;
}

/* A cycle goes on with the next callback, which makes more garbage: a device that is left alone has nothing to collect, and
 * one that collected all by itself would keep the core from a client that shares it. */
static void collect_step(void *arg)
{
    struct script *s = arg;
    bool done;

    state_enter(s);
    done = collect_steps(s, GC_TURN);
    s->gc_mark = done ? s->used + s->used / 2 + GC_SLACK : 0;
    s->gc_owed = done ? 0 : s->gc_owed;
    state_leave(s); /* still armed: it does not arm the next turn */
    s->gc_armed = s->gc_owed && s->host->defer(s->host, collect_step, s) == 0;
}

static void collect_some(struct script *s)
{
    /* What the steps cannot keep up with is collected at once, before callbacks begin to fail. */
    if (s->used > s->limit - s->limit / 4) {
        lua_gc(s->L, LUA_GCCOLLECT);
        s->gc_mark = s->used + s->used / 2 + GC_SLACK;
        if (s->gc_mark > s->limit - s->limit / 4)
            s->gc_mark = s->limit - s->limit / 8; /* live data: do not collect after each call */
        return;
    }
    if (s->gc_armed)
        return;
    if (s->gc_mark)
        s->gc_seen = s->used;
    if (s->host->defer(s->host, collect_step, s) == 0) {
        s->gc_armed = true;
    } else {
        collect_steps(s, GC_TURN);
        s->gc_mark = s->used + GC_SLACK / 4;
    }
}

void state_leave(struct script *s)
{
    uint64_t epoch = atomic_load_explicit(&s->epoch, memory_order_relaxed);

    if (--s->depth > 0)
        return;
    atomic_store_explicit(&s->epoch, epoch + 1, memory_order_relaxed);
    if (s->tripped) {
        s->tripped = false;
        budget_arm(s->L);
    }
    if (s->used > s->gc_mark)
        collect_some(s);
}

int state_call(struct script *s, int nargs, int nresults, const char *what)
{
    int handler = s->depth ? 0 : STACK_TRACEBACK; /* inside of another call the bottom of the stack is that one's */
    int rc;

    state_enter(s);
    rc = lua_pcall(s->L, nargs, nresults, handler);
    state_leave(s);
    if (rc == LUA_OK)
        return 0;
    if (!s->result)
        state_report(s, s->L, what, NULL);
    lua_pop(s->L, 1);
    return -EIO;
}

/* ---- life ---- */

static int panic(lua_State *L)
{
    struct script *s = script_of(L);

    s->host->log(s->host, VFU_LOG_ERROR, "Lua has raised outside of a protected call; this is a fault of the binding");
    return 0; /* Lua aborts */
}

static int open_all(lua_State *L)
{
    sandbox_open(L);
    open_vfu(L);
    lua_newtable(L);
    script_of(L)->fence_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

int state_new(struct script *s)
{
    lua_State *L = lua_newstate(state_alloc, s);

    if (!L) {
        s->host->log(s->host, VFU_LOG_ERROR, "not enough memory for a Lua state");
        return -ENOMEM;
    }
    s->L = L;
    s->gc_mark = SIZE_MAX; /* while the script loads, Lua collects as it likes */
    *(struct script **)lua_getextraspace(L) = s;
    lua_atpanic(L, panic);
    lua_setwarnf(L, warn_part, s);
    budget_arm(L);
    s->dev_ref = s->members_ref = s->regs_ref = s->state_ref = LUA_NOREF;
    s->events_ref = s->calls_ref = s->names_ref = s->unpack_ref = s->eval_ref = LUA_NOREF;
    for (int i = 0; i < HOOKS; i++)
        s->on[i] = LUA_NOREF;
    lua_pushcfunction(L, add_traceback); /* STACK_TRACEBACK */
    lua_pushcfunction(L, open_all);
    return state_call(s, 0, 0, "") ? -ENOMEM : 0;
}

static int run_file(lua_State *L)
{
    struct script *s = script_of(L);

    if (load_text(L, s->path) != LUA_OK)
        return lua_error(L);
    lua_call(L, 0, 1);
    if (!s->declared)
        return luaL_error(L, "%s: no device: call %s and return what it returns", s->path,
                          s->wrap ? "inner:wrap" : "vfu.device");
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->dev_ref);
    if (!lua_rawequal(L, -1, -2))
        return luaL_error(L, "%s: the script must return its device, not %s", s->path, luaL_typename(L, -2));
    declare_finish(L, lua_touserdata(L, 1));
    s->sealed = true;
    return 0;
}

int state_run(struct script *s)
{
    lua_State *L = s->L;

    lua_pushcfunction(L, run_file);
    lua_pushlightuserdata(L, &s->d);
    if (state_call(s, 1, 0, ""))
        return s->result ? s->result : -ENOEXEC;
    if (s->result)
        return s->result;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->dev_ref); /* STACK_DEVICE */
    lua_gc(L, LUA_GCINC, 0, GC_STEP_MUL, GC_STEP_LOG2);
    lua_gc(L, LUA_GCCOLLECT);
    lua_gc(L, LUA_GCSTOP);
    s->gc_mark = s->used + GC_SLACK;
    return 0;
}

void state_close(struct script *s)
{
    if (s->L) {
        state_enter(s);
        lua_close(s->L);
    }
    s->L = NULL;
}
