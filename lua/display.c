/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * display - vfu.display(outputs): what the device shows to people (vfu.display/1).
 *
 * It is declared while the script loads and opened in create. What a guest has set up, and no host could show, is a
 * predictable fault: nil, message, and a blank screen. Runs on the script's thread.
 */
#include <errno.h>
#include <string.h>

#include "lua/binding.h"

#define DISPLAY_TYPE "display"
#define COLOURS 256

static const struct {
    const char *name;
    uint32_t code;
} formats[] = {
    { "XRGB8888", VFU_DISPLAY_XRGB8888 }, { "XBGR8888", VFU_DISPLAY_XBGR8888 }, { "RGB888", VFU_DISPLAY_RGB888 },
    { "BGR888", VFU_DISPLAY_BGR888 },     { "RGB565", VFU_DISPLAY_RGB565 },     { "XRGB1555", VFU_DISPLAY_XRGB1555 },
    { "C8", VFU_DISPLAY_C8 },             { "R8", VFU_DISPLAY_R8 },
};

/* vfu.display([outputs]) */
int display_declare(lua_State *L)
{
    struct script *s = script_of(L);
    const char *outputs = luaL_optstring(L, 1, "");
    struct display_decl *display, **link = &s->displays;

    if (s->sealed)
        return luaL_error(L, "vfu.display declares, so it belongs to the script's own lines, not into a hook");
    display = util_alloc(L, sizeof *display);
    display->outputs = util_strdup(L, outputs);
    display->memory_ref = LUA_NOREF;
    while (*link)
        link = &(*link)->next;
    *link = display;
    *(struct display_decl **)lua_newuserdatauv(L, sizeof display, 0) = display;
    luaL_setmetatable(L, DISPLAY_TYPE);
    return 1;
}

int display_create(struct script *s)
{
    if (!s->displays)
        return 0;
    s->display = s->host->extension(s->host, VFU_EXT_DISPLAY);
    if (!s->display) {
        s->host->log(s->host, VFU_LOG_ERROR, "this host has no displays, and the script asks for one");
        return -ENOTSUP;
    }
    for (struct display_decl *display = s->displays; display; display = display->next) {
        display->number = s->display->open(s->host, display->outputs);
        if (display->number < 0)
            return display->number;
    }
    return 0;
}

static struct display_decl *check_display(lua_State *L, const char *method)
{
    struct display_decl *display = *(struct display_decl **)luaL_checkudata(L, 1, DISPLAY_TYPE);

    if (!script_of(L)->display)
        luaL_error(L, "display:%s: it is there once the device runs, not while the script loads", method);
    return display;
}

/* What a guest may have written: outside of 32 bits it fits no screen, and 0 does neither. */
static uint64_t number(lua_State *L, int i, const char *key, lua_Integer fallback, uint64_t most)
{
    lua_Integer v = fallback;

    if (lua_getfield(L, i, key) != LUA_TNIL)
        v = util_check_integer(L, -1, key);
    lua_pop(L, 1);
    return v < 0 || (uint64_t)v > most ? most : (uint64_t)v;
}

static uint32_t format(lua_State *L, int i)
{
    uint32_t code = VFU_DISPLAY_XRGB8888;

    if (lua_getfield(L, i, "format") != LUA_TNIL) {
        const char *name = luaL_checkstring(L, -1);
        size_t k = 0;

        while (k < sizeof formats / sizeof *formats && strcmp(formats[k].name, name))
            k++;
        if (k == sizeof formats / sizeof *formats)
            luaL_error(L, "display:show: there is no format %s; there are XRGB8888, XBGR8888, RGB888, BGR888, RGB565, "
                       "XRGB1555, C8 and R8", name);
        code = formats[k].code;
    }
    lua_pop(L, 1);
    return code;
}

/* A list of 256 colours, which one with fewer is filled up to with black. */
static void palette(lua_State *L, int i, struct vfu_display_frame *frame, uint32_t colours[COLOURS])
{
    memset(colours, 0, COLOURS * sizeof *colours);
    if (lua_getfield(L, i, "palette") != LUA_TNIL) {
        luaL_checktype(L, -1, LUA_TTABLE);
        for (int k = 0; k < COLOURS; k++) {
            if (lua_rawgeti(L, -1, k + 1) != LUA_TNIL)
                colours[k] = (uint32_t)util_check_integer(L, -1, "display:show: a colour");
            lua_pop(L, 1);
        }
        frame->palette = colours;
    } else if (frame->format == VFU_DISPLAY_C8) {
        luaL_error(L, "display:show: C8 needs a palette, a list of 256 colours");
    }
    lua_pop(L, 1);
}

/* Of the table at i; leaves the memory's object on the stack. */
static void memory(lua_State *L, int i, struct vfu_display_frame *frame)
{
    struct script *s = script_of(L);
    struct buffer *buffer;

    lua_getfield(L, i, "memory");
    buffer = buffer_test(L, -1);
    if (!buffer)
        luaL_error(L, "display:show: memory is a BAR's ram or a buffer, not %s", luaL_typename(L, -1));
    frame->bar = VFU_NONE;
    frame->memory = buffer->data;
    frame->size = buffer->size;
    for (uint32_t bar = 0; bar < 6; bar++) {
        if (s->bars[bar] && s->bars[bar]->ram == buffer)
            frame->bar = bar;
    }
}

/* What is kept, as long as it is shown. */
static void keep(lua_State *L, struct display_decl *display, int memory_ref)
{
    luaL_unref(L, LUA_REGISTRYINDEX, display->memory_ref);
    display->memory_ref = memory_ref;
}

static int result(lua_State *L, int32_t error, const char *why)
{
    if (error >= 0) {
        lua_pushboolean(L, 1);
        return 1;
    }
    luaL_pushfail(L);
    lua_pushstring(L, error == -EINVAL || error == -ENODATA ? why : strerror(-error));
    return 2;
}

/* display:show{memory =, width =, height = [, offset =] [, stride =] [, format =] ...} */
static int display_show(lua_State *L)
{
    static const char *const options[] = { "memory", "offset", "width", "height", "stride", "format", "palette",
                                           "big_endian", "marked", NULL };
    struct display_decl *display = check_display(L, "show");
    struct script *s = script_of(L);
    struct vfu_display_frame frame = { .struct_size = sizeof frame };
    uint32_t colours[COLOURS];
    int32_t error;
    int ref;

    luaL_checktype(L, 2, LUA_TTABLE);
    util_keys(L, 2, "display:show", options, false);
    frame.width = (uint32_t)number(L, 2, "width", 0, UINT32_MAX);
    frame.height = (uint32_t)number(L, 2, "height", 0, UINT32_MAX);
    frame.offset = number(L, 2, "offset", 0, UINT64_MAX);
    frame.stride = number(L, 2, "stride", 0, UINT64_MAX);
    frame.format = format(L, 2);
    if (util_opt_bool(L, 2, "display:show", "big_endian"))
        frame.flags |= VFU_DISPLAY_BIG_ENDIAN;
    if (util_opt_bool(L, 2, "display:show", "marked"))
        frame.flags |= VFU_DISPLAY_MARKED;
    palette(L, 2, &frame, colours);
    memory(L, 2, &frame);
    ref = luaL_ref(L, LUA_REGISTRYINDEX); /* may raise: before the host has it */
    error = s->display->show(s->host, display->number, &frame);
    if (error < 0)
        luaL_unref(L, LUA_REGISTRYINDEX, ref);
    keep(L, display, error < 0 ? LUA_NOREF : ref);
    return result(L, error, "the frame does not fit: its size, or the memory that it is in");
}

static int display_blank(lua_State *L)
{
    struct display_decl *display = check_display(L, "blank");
    struct script *s = script_of(L);

    s->display->show(s->host, display->number, NULL);
    keep(L, display, LUA_NOREF);
    return 0;
}

/* display:changed([x, y, width, height]) */
static int display_changed(lua_State *L)
{
    struct display_decl *display = check_display(L, "changed");
    struct script *s = script_of(L);
    uint32_t n[4] = { 0, 0, VFU_DISPLAY_SIDE_MAX, VFU_DISPLAY_SIDE_MAX };

    for (int i = 0; i < 4 && !lua_isnoneornil(L, 2); i++) {
        lua_Integer v = util_check_integer(L, i + 2, "display:changed: x, y, width and height");

        n[i] = v < 0 || v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
    }
    return result(L, s->display->changed(s->host, display->number, n[0], n[1], n[2], n[3]), "nothing is shown");
}

void display_setup(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "show", display_show }, { "blank", display_blank }, { "changed", display_changed }, { NULL, NULL },
    };

    luaL_newmetatable(L, DISPLAY_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, DISPLAY_TYPE);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}
