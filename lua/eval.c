/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * eval - looks into a running script: vfu.introspect/1. A text is an expression, or else a statement, run like a callback
 * that may not wait, with the script's globals and `self`; globals that it sets are its own. Values are printed for
 * people. Runs on the device's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lua/binding.h"

#define DEPTH_MAX 4
#define ENTRIES_MAX 100
#define BYTES_MAX 32

/* What is printed goes straight to its place; what has none left is dropped. */
struct out {
    char *at;
    size_t left; /* with the NUL */
};

static void put(struct out *o, const char *text, size_t n)
{
    if (n >= o->left)
        n = o->left - 1;
    memcpy(o->at, text, n);
    o->at += n;
    o->left -= n;
    *o->at = '\0';
}

static void puts_to(struct out *o, const char *text)
{
    put(o, text, strlen(text));
}

__attribute__((format(printf, 2, 3))) static void print(struct out *o, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    puts_to(o, text);
}

/* ---- values ---- */

static void show(lua_State *L, int i, int depth, struct out *o);

static void show_string(struct out *o, const char *text, size_t n)
{
    puts_to(o, "\"");
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '"' || c == '\\')
            print(o, "\\%c", c);
        else if (c == '\n')
            puts_to(o, "\\n");
        else if (c < 0x20 || c >= 0x7f)
            print(o, "\\x%02x", c);
        else
            put(o, text + i, 1);
    }
    puts_to(o, "\"");
}

static void show_integer(struct out *o, lua_Integer v, int depth)
{
    print(o, "%" PRId64, (int64_t)v);
    if (depth == 0 && (v < 0 || v > 9))
        print(o, " (0x%" PRIx64 ")", (uint64_t)v);
}

static void show_register(struct out *o, const struct reg_decl *reg, uint64_t value)
{
    print(o, "0x%" PRIx64, value);
    for (uint32_t i = 0; i < reg->r.nfields; i++) {
        const struct vfu_field *f = &reg->r.fields[i];
        uint64_t v = value >> f->lsb & (f->width >= 64 ? UINT64_MAX : (UINT64_C(1) << f->width) - 1);
        const char *name = NULL;

        for (uint32_t k = 0; k < f->nenums && !name; k++)
            name = f->enums[k].value == v ? f->enums[k].name : NULL;
        print(o, "%s%.127s = ", i ? ", " : " (", f->name);
        if (reg->info[i].flag)
            puts_to(o, v ? "true" : "false");
        else if (name)
            show_string(o, name, strlen(name));
        else
            print(o, "%" PRIu64, v);
    }
    if (reg->r.nfields)
        puts_to(o, ")");
}

static void show_buffer(struct out *o, const struct buffer *b)
{
    print(o, "buffer of %" PRIu64 " bytes", b->size);
    for (uint64_t i = 0; b->data && i < b->size && i < BYTES_MAX; i++)
        print(o, "%s%02x", i ? " " : ": ", b->data[i]);
    if (b->data && b->size > BYTES_MAX)
        puts_to(o, " ...");
}

/* Keys in an order that does not change: the list first, then texts by their bytes, then what else there is. */
static bool key_before(lua_State *L, int a, int b)
{
    bool x = lua_type(L, a) == LUA_TSTRING, y = lua_type(L, b) == LUA_TSTRING;

    if (x && y)
        return strcmp(lua_tostring(L, a), lua_tostring(L, b)) < 0;
    if (lua_isinteger(L, a) && lua_isinteger(L, b))
        return lua_tointeger(L, a) < lua_tointeger(L, b);
    return x && !y;
}

static void swap(lua_State *L, int a, int b)
{
    lua_pushvalue(L, a);
    lua_copy(L, b, a);
    lua_replace(L, b);
}

/* Pushes up to ENTRIES_MAX keys beside the list 1 to n of the table at i, sorted; the result is how many. */
static int push_keys(lua_State *L, int i, lua_Integer n, bool *more)
{
    int first = lua_gettop(L) + 1, keys = 0;

    lua_pushnil(L);
    while (lua_next(L, i)) {
        lua_pop(L, 1);
        if (lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 1 && lua_tointeger(L, -1) <= n)
            continue;
        if (keys == ENTRIES_MAX) {
            *more = true;
            lua_pop(L, 1);
            break;
        }
        keys++;
        lua_pushvalue(L, -1); /* one stays, the other leads on */
    }
    for (int a = first + 1; a < first + keys; a++) {
        for (int b = a; b > first && key_before(L, b, b - 1); b--)
            swap(L, b, b - 1);
    }
    return keys;
}

static void show_table(lua_State *L, int i, int depth, struct out *o)
{
    lua_Integer n = (lua_Integer)lua_rawlen(L, i);
    bool more = n > ENTRIES_MAX;
    int first, keys;

    luaL_checkstack(L, ENTRIES_MAX + 8, "a table to print");
    if (more)
        n = ENTRIES_MAX;
    puts_to(o, "{");
    for (lua_Integer k = 1; k <= n; k++) {
        puts_to(o, k > 1 ? ", " : " ");
        lua_rawgeti(L, i, k);
        show(L, lua_gettop(L), depth + 1, o);
        lua_pop(L, 1);
    }
    first = lua_gettop(L) + 1;
    keys = push_keys(L, i, (lua_Integer)lua_rawlen(L, i), &more);
    for (int k = 0; k < keys; k++) {
        puts_to(o, n || k ? ", " : " ");
        if (lua_type(L, first + k) == LUA_TSTRING) {
            puts_to(o, lua_tostring(L, first + k));
        } else {
            puts_to(o, "[");
            show(L, first + k, DEPTH_MAX, o);
            puts_to(o, "]");
        }
        puts_to(o, " = ");
        lua_pushvalue(L, first + k);
        lua_rawget(L, i);
        show(L, lua_gettop(L), depth + 1, o);
        lua_pop(L, 1);
    }
    lua_settop(L, first - 1);
    puts_to(o, more ? ", ... }" : n || keys ? " }" : "}");
}

static void show_other(lua_State *L, int i, struct out *o)
{
    size_t n;
    const char *text;

    /* The device's groups and arrays have a name, and an address that says nothing. */
    if (lua_istable(L, i) && luaL_getmetafield(L, i, "__tostring") == LUA_TNIL &&
        luaL_getmetafield(L, i, "__name") == LUA_TSTRING) {
        puts_to(o, lua_tostring(L, -1));
    } else {
        text = luaL_tolstring(L, i, &n);
        put(o, text, n);
    }
    lua_pop(L, 1);
}

static void show(lua_State *L, int i, int depth, struct out *o)
{
    const struct reg_decl *reg;
    const struct buffer *buffer;
    uint64_t value;
    size_t n;
    const char *text;
    int top = lua_gettop(L);

    luaL_checkstack(L, 8, "a value to print");
    if (lua_type(L, i) == LUA_TSTRING) {
        text = lua_tolstring(L, i, &n);
        show_string(o, text, n);
    } else if (lua_isinteger(L, i)) {
        show_integer(o, lua_tointeger(L, i), depth);
    } else if (object_test_reg(L, i, &reg, &value)) {
        show_register(o, reg, value);
    } else if ((buffer = buffer_test(L, i))) {
        show_buffer(o, buffer);
    } else if (lua_istable(L, i) && !lua_getmetatable(L, i)) {
        if (depth < DEPTH_MAX)
            show_table(L, i, depth, o);
        else
            puts_to(o, "{...}");
    } else {
        show_other(L, i, o);
    }
    lua_settop(L, top);
}

/* ---- running ---- */

/* Pushes the globals of what is evaluated: `self`, what it has set itself, and behind them the script's. */
static void push_globals(lua_State *L, struct script *s)
{
    if (lua_rawgeti(L, LUA_REGISTRYINDEX, s->eval_ref) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 4);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->dev_ref);
    lua_setfield(L, -2, "self");
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "vfu");
    lua_setfield(L, -3, "vfu");
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushglobaltable(L);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    s->eval_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* An expression if it can be one. Of two complaints the one that knows more of the text is raised. */
static void compile(lua_State *L, const char *expr)
{
    lua_pushfstring(L, "return %s", expr);
    if (luaL_loadbufferx(L, lua_tostring(L, -1), lua_rawlen(L, -1), "=eval", "t") == LUA_OK)
        return;
    if (luaL_loadbufferx(L, expr, strlen(expr), "=eval", "t") == LUA_OK)
        return;
    if (strstr(lua_tostring(L, -1), "unexpected symbol near") || strstr(lua_tostring(L, -1), "syntax error near"))
        lua_pop(L, 1);
    lua_error(L);
}

struct asked {
    const char *expr;
    struct out out;
};

static int evaluate(lua_State *L)
{
    struct asked *asked = lua_touserdata(L, 1);
    int base = lua_gettop(L);

    compile(L, asked->expr);
    push_globals(L, script_of(L));
    lua_setupvalue(L, -2, 1);
    lua_insert(L, base + 1);
    lua_settop(L, base + 1);
    lua_call(L, 0, LUA_MULTRET);
    for (int i = base + 1, n = lua_gettop(L); i <= n; i++) {
        if (i > base + 1)
            puts_to(&asked->out, ", ");
        show(L, i, 0, &asked->out);
    }
    return 0;
}

int32_t eval_eval(void *self, const char *expr, char *out, uint32_t size)
{
    struct script *s = self;
    struct asked asked = { .expr = expr, .out = { .at = out, .left = size } };
    const char *text;
    int rc;

    out[0] = '\0';
    lua_pushcfunction(s->L, evaluate);
    lua_pushlightuserdata(s->L, &asked);
    state_enter(s);
    rc = lua_pcall(s->L, 1, 0, STACK_TRACEBACK);
    state_leave(s);
    if (rc == LUA_OK)
        return 0;
    text = lua_type(s->L, -1) == LUA_TSTRING ? lua_tostring(s->L, -1) : "an error that is no text";
    snprintf(out, size, "%s", text);
    lua_pop(s->L, 1);
    return rc == LUA_ERRMEM ? -ENOMEM : -EINVAL;
}
