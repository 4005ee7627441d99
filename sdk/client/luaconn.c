/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * luaconn - a connection, and memory lent through it, as objects of Lua: vfu/client.h call by call. Registers, names and
 * everything that is nice to use are made of it by vfu.client. One thread.
 */
#define _GNU_SOURCE
#include "sdk/client/lua.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONN "vfu.client.conn"
#define MEMORY "vfu.client.memory"
#define BYTES_MAX (64u << 20) /* of one access by a script */

struct conn {
    struct vfuc *c;
    bool borrowed;
    uint32_t epoch; /* counts closings: memory of an older one is gone */
};

struct memory {
    struct conn *conn; /* kept by the user value */
    uint32_t epoch;
    uint8_t *bytes;
    uint64_t address, size;
};

static struct conn *conn_at(lua_State *L)
{
    struct conn *conn = luaL_checkudata(L, 1, CONN);

    if (!conn->c)
        luaL_error(L, "the connection is closed");
    return conn;
}

static int result(lua_State *L, const struct conn *conn, int err)
{
    if (err < 0)
        return lua_refused(L, err, vfuc_error(conn->c));
    lua_pushboolean(L, 1);
    return 1;
}

static size_t size_arg(lua_State *L, int at)
{
    lua_Integer n = luaL_checkinteger(L, at);

    luaL_argcheck(L, n >= 1 && n <= (lua_Integer)BYTES_MAX, at, "a size is 1 byte to 64 MiB");
    return (size_t)n;
}

struct vfuc *luaconn_get(lua_State *L, int at)
{
    return lua_isnoneornil(L, at) ? NULL : ((struct conn *)luaL_checkudata(L, at, CONN))->c;
}

/* ---- life ---- */

static struct conn *conn_push(lua_State *L)
{
    struct conn *conn = lua_newuserdatauv(L, sizeof *conn, 0);

    memset(conn, 0, sizeof *conn);
    luaL_setmetatable(L, CONN);
    return conn;
}

void luaconn_borrow(lua_State *L, struct vfuc *c)
{
    struct conn *conn = conn_push(L);

    conn->c = c;
    conn->borrowed = true;
}

static bool option(lua_State *L, const char *name)
{
    bool on;

    lua_getfield(L, 2, name);
    on = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

/* connect(path, {timeout =, twin =, wait =, no_multi =, no_version =, json =}) */
static int core_connect(lua_State *L)
{
    struct vfuc_options options = { .struct_size = sizeof options };
    const char *path = luaL_checkstring(L, 1);
    struct conn *conn;
    int err;

    luaL_checktype(L, 2, LUA_TTABLE);
    options.flags = (option(L, "twin") ? VFUC_TWIN_SOCKET : 0) | (option(L, "wait") ? VFUC_WAIT : 0) |
                    (option(L, "no_multi") ? VFUC_NO_WRITE_MULTI : 0) |
                    (option(L, "no_version") ? VFUC_NO_VERSION : 0);
    lua_getfield(L, 2, "timeout");
    options.timeout_ns = lua_seconds(L, -1, 0);
    lua_getfield(L, 2, "json");
    options.json = lua_tostring(L, -1);
    conn = conn_push(L);
    conn->c = vfuc_new(&options);
    if (!conn->c)
        return lua_refused(L, -ENOMEM, "out of memory");
    err = vfuc_connect(conn->c, path);
    return err ? lua_refused(L, err, vfuc_error(conn->c)) : 1;
}

static int conn_connect(lua_State *L)
{
    struct conn *conn = conn_at(L);

    return result(L, conn, vfuc_connect(conn->c, luaL_checkstring(L, 2)));
}

static int conn_close(lua_State *L)
{
    struct conn *conn = conn_at(L);

    conn->epoch++;
    vfuc_close(conn->c);
    return 0;
}

static int conn_gc(lua_State *L)
{
    struct conn *conn = luaL_checkudata(L, 1, CONN);

    if (conn->c && !conn->borrowed)
        vfuc_free(conn->c);
    conn->c = NULL;
    conn->epoch++;
    return 0;
}

static int conn_timeout(lua_State *L)
{
    struct conn *conn = conn_at(L);

    return result(L, conn, vfuc_timeout(conn->c, lua_seconds(L, 2, 0)));
}

static void field(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static void flag(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

static int conn_server(lua_State *L)
{
    const struct vfuc_server *server = vfuc_server(conn_at(L)->c);

    if (!server)
        return lua_refused(L, -ENOTCONN, "nothing is negotiated");
    lua_newtable(L);
    field(L, "major", server->major);
    field(L, "minor", server->minor);
    field(L, "max_msg_fds", server->max_msg_fds);
    field(L, "max_data_xfer_size", server->max_data_xfer_size);
    field(L, "max_dma_maps", server->max_dma_maps);
    field(L, "pgsizes", server->pgsizes);
    flag(L, "write_multiple", server->write_multiple);
    flag(L, "twin_socket", server->twin_socket);
    flag(L, "migration", server->migration);
    return 1;
}

/* ---- the device ---- */

static int conn_device(lua_State *L)
{
    struct conn *conn = conn_at(L);
    struct vfuc_device device;
    int err = vfuc_device_info(conn->c, &device);

    if (err < 0)
        return result(L, conn, err);
    lua_newtable(L);
    field(L, "regions", device.num_regions);
    field(L, "irqs", device.num_irqs);
    flag(L, "reset", device.flags & VFUC_DEVICE_RESET);
    return 1;
}

static int conn_region(lua_State *L)
{
    struct conn *conn = conn_at(L);
    struct vfuc_region region;
    int err = vfuc_region_info(conn->c, (uint32_t)luaL_checkinteger(L, 2), &region, NULL, 0);

    if (err < 0)
        return result(L, conn, err);
    if (region.fd >= 0)
        close(region.fd);
    lua_newtable(L);
    field(L, "size", region.size);
    flag(L, "read", region.flags & VFUC_REGION_READ);
    flag(L, "write", region.flags & VFUC_REGION_WRITE);
    flag(L, "mmap", region.flags & VFUC_REGION_MMAP);
    return 1;
}

static int conn_reset(lua_State *L)
{
    struct conn *conn = conn_at(L);

    return result(L, conn, vfuc_reset(conn->c));
}

/* ---- regions ---- */

static int conn_get(lua_State *L)
{
    struct conn *conn = conn_at(L);
    uint64_t value;
    int err = vfuc_get(conn->c, (uint32_t)luaL_checkinteger(L, 2), (uint64_t)luaL_checkinteger(L, 3),
                       (uint32_t)luaL_checkinteger(L, 4), &value);

    if (err < 0)
        return result(L, conn, err);
    lua_pushinteger(L, (lua_Integer)value);
    return 1;
}

static int conn_put(lua_State *L)
{
    struct conn *conn = conn_at(L);

    return result(L, conn, vfuc_put(conn->c, (uint32_t)luaL_checkinteger(L, 2), (uint64_t)luaL_checkinteger(L, 3),
                                    (uint32_t)luaL_checkinteger(L, 4), (uint64_t)luaL_checkinteger(L, 5)));
}

static int conn_read(lua_State *L)
{
    struct conn *conn = conn_at(L);
    uint32_t region = (uint32_t)luaL_checkinteger(L, 2);
    uint64_t offset = (uint64_t)luaL_checkinteger(L, 3);
    size_t size = size_arg(L, 4);
    luaL_Buffer buffer;
    char *data = luaL_buffinitsize(L, &buffer, size);
    int err = vfuc_read(conn->c, region, offset, data, size);

    luaL_pushresultsize(&buffer, err < 0 ? 0 : size);
    return err < 0 ? result(L, conn, err) : 1;
}

static int conn_write(lua_State *L)
{
    struct conn *conn = conn_at(L);
    size_t size;
    const char *data = luaL_checklstring(L, 4, &size);

    return result(L, conn, vfuc_write(conn->c, (uint32_t)luaL_checkinteger(L, 2), (uint64_t)luaL_checkinteger(L, 3),
                                      data, size));
}

static int conn_post(lua_State *L)
{
    struct conn *conn = conn_at(L);
    size_t size;
    const char *data = luaL_checklstring(L, 4, &size);

    return result(L, conn, vfuc_post(conn->c, (uint32_t)luaL_checkinteger(L, 2), (uint64_t)luaL_checkinteger(L, 3),
                                     data, size));
}

static int conn_flush(lua_State *L)
{
    struct conn *conn = conn_at(L);

    return result(L, conn, vfuc_flush(conn->c));
}

static lua_Integer item(lua_State *L, int at, lua_Integer i)
{
    lua_Integer value;
    int good;

    lua_rawgeti(L, at, i);
    value = lua_tointegerx(L, -1, &good);
    if (!good)
        luaL_error(L, "number %d of the list is no integer", (int)i);
    lua_pop(L, 1);
    return value;
}

/* read_many({region, offset, size, region, offset, size, ...}): strings, in order; all are on their way at once. */
static int conn_read_many(lua_State *L)
{
    struct conn *conn = conn_at(L);
    lua_Integer n = (luaL_checktype(L, 2, LUA_TTABLE), (lua_Integer)lua_rawlen(L, 2) / 3);
    size_t bytes = 0;
    uint8_t *data, *to;
    int err = 0;

    for (lua_Integer i = 0; i < n; i++) {
        lua_Integer size = item(L, 2, 3 * i + 3);

        if (size < 1 || size > (lua_Integer)(1 << 20) || bytes > BYTES_MAX)
            return luaL_error(L, "reads of 1 byte to 1 MiB, and of 64 MiB together, can be made at once");
        bytes += (size_t)size;
    }
    data = to = lua_newuserdatauv(L, bytes + 1, 0);
    for (lua_Integer i = 0; i < n && !err; i++) {
        uint32_t size = (uint32_t)item(L, 2, 3 * i + 3);

        err = vfuc_queue_read(conn->c, (uint32_t)item(L, 2, 3 * i + 1), (uint64_t)item(L, 2, 3 * i + 2), to, size,
                              NULL);
        to += size;
    }
    if (err < 0) {
        /* the buffer must outlive what is on its way */
        lua_pushstring(L, vfuc_error(conn->c));
        vfuc_drain(conn->c);
        return lua_refused(L, err, lua_tostring(L, -1));
    }
    err = vfuc_drain(conn->c);
    if (err < 0)
        return result(L, conn, err);
    lua_createtable(L, (int)n, 0);
    for (lua_Integer i = 0; i < n; i++) {
        size_t size = (size_t)item(L, 2, 3 * i + 3);

        lua_pushlstring(L, (const char *)data, size);
        lua_rawseti(L, -2, i + 1);
        data += size;
    }
    return 1;
}

/* write_multi({region, offset, size, value, ...}, posted) -> how many were done */
static int conn_write_multi(lua_State *L)
{
    struct conn *conn = conn_at(L);
    lua_Integer n = (luaL_checktype(L, 2, LUA_TTABLE), (lua_Integer)lua_rawlen(L, 2) / 4);
    struct vfuc_multi *writes;
    int err;

    luaL_argcheck(L, n >= 1 && n <= 65536, 2, "1 to 65536 writes can be made at once");
    writes = lua_newuserdatauv(L, (size_t)n * sizeof *writes, 0);
    for (lua_Integer i = 0; i < n; i++) {
        uint64_t value = (uint64_t)item(L, 2, 4 * i + 4);
        lua_Integer size = item(L, 2, 4 * i + 3);

        if (size < 1 || size > 8)
            return luaL_error(L, "write %d: 1 to 8 bytes", (int)i + 1);
        writes[i] = (struct vfuc_multi){ (uint64_t)item(L, 2, 4 * i + 2), (uint32_t)item(L, 2, 4 * i + 1),
                                         (uint32_t)size, { 0 } };
        memcpy(writes[i].data, &value, (size_t)size);
    }
    err = vfuc_write_multi(conn->c, writes, (uint32_t)n, lua_toboolean(L, 3));
    if (err < 0)
        return result(L, conn, err);
    lua_pushinteger(L, err);
    return 1;
}

/* ---- interrupts ---- */

static int conn_irq_info(lua_State *L)
{
    struct conn *conn = conn_at(L);
    struct vfuc_irq irq;
    int err = vfuc_irq_info(conn->c, (uint32_t)luaL_checkinteger(L, 2), &irq);

    if (err < 0)
        return result(L, conn, err);
    lua_pushinteger(L, irq.count);
    lua_pushboolean(L, irq.flags & VFUC_IRQ_AUTOMASKED);
    return 2;
}

static int conn_irq_arm(lua_State *L)
{
    struct conn *conn = conn_at(L);

    return result(L, conn, vfuc_irq_arm(conn->c, (uint32_t)luaL_checkinteger(L, 2), (uint32_t)luaL_checkinteger(L, 3)));
}

static int conn_irq_disarm(lua_State *L)
{
    struct conn *conn = conn_at(L);

    return result(L, conn, vfuc_irq_disarm(conn->c, (uint32_t)luaL_checkinteger(L, 2)));
}

static int conn_irq_wait(lua_State *L)
{
    struct conn *conn = conn_at(L);
    int n = vfuc_irq_wait(conn->c, (uint32_t)luaL_checkinteger(L, 2), (uint32_t)luaL_checkinteger(L, 3),
                          lua_seconds(L, 4, 0));

    if (n < 0)
        return result(L, conn, n);
    lua_pushinteger(L, n);
    return 1;
}

static int conn_irq_mask(lua_State *L)
{
    struct conn *conn = conn_at(L);
    uint32_t index = (uint32_t)luaL_checkinteger(L, 2), vector = (uint32_t)luaL_checkinteger(L, 3);

    return result(L, conn, lua_toboolean(L, 4) ? vfuc_irq_mask(conn->c, index, vector, 1)
                                               : vfuc_irq_unmask(conn->c, index, vector, 1));
}

/* ---- DMA ---- */

static int conn_serve(lua_State *L)
{
    struct conn *conn = conn_at(L);
    int n = vfuc_serve(conn->c, lua_seconds(L, 2, 0));

    if (n < 0)
        return result(L, conn, n);
    lua_pushinteger(L, n);
    return 1;
}

static int conn_dma_stats(lua_State *L)
{
    uint64_t requests, bytes;

    vfuc_dma_stats(conn_at(L)->c, &requests, &bytes);
    lua_pushinteger(L, (lua_Integer)requests);
    lua_pushinteger(L, (lua_Integer)bytes);
    return 2;
}

/* memory(address, size, flags) */
static int conn_memory(lua_State *L)
{
    struct conn *conn = conn_at(L);
    struct memory *memory = lua_newuserdatauv(L, sizeof *memory, 1);
    void *bytes;
    int err;

    memset(memory, 0, sizeof *memory);
    luaL_setmetatable(L, MEMORY);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    memory->conn = conn;
    memory->epoch = conn->epoch;
    memory->address = (uint64_t)luaL_checkinteger(L, 2);
    memory->size = (uint64_t)luaL_checkinteger(L, 3);
    err = vfuc_memory_new(conn->c, memory->address, memory->size, (uint32_t)luaL_checkinteger(L, 4), &bytes);
    if (err < 0)
        return result(L, conn, err);
    memory->bytes = bytes;
    return 1;
}

static struct memory *memory_at(lua_State *L)
{
    struct memory *memory = luaL_checkudata(L, 1, MEMORY);

    if (!memory->bytes || memory->epoch != memory->conn->epoch)
        luaL_error(L, "this memory is no longer lent to the device");
    return memory;
}

static uint8_t *memory_range(lua_State *L, const struct memory *memory, uint64_t offset, uint64_t size)
{
    if (offset > memory->size || size > memory->size - offset)
        luaL_error(L, "%I bytes at offset %I leave the memory of %I bytes", (LUAI_UACINT)size, (LUAI_UACINT)offset,
                   (LUAI_UACINT)memory->size);
    return memory->bytes + offset;
}

static int memory_read(lua_State *L)
{
    struct memory *memory = memory_at(L);
    uint64_t offset = (uint64_t)luaL_optinteger(L, 2, 0);
    uint64_t size = (uint64_t)luaL_optinteger(L, 3, (lua_Integer)(memory->size - offset));

    lua_pushlstring(L, (const char *)memory_range(L, memory, offset, size), (size_t)size);
    return 1;
}

static int memory_write(lua_State *L)
{
    size_t size;
    const char *data = luaL_checklstring(L, 3, &size);

    memcpy(memory_range(L, memory_at(L), (uint64_t)luaL_checkinteger(L, 2), size), data, size);
    return 0;
}

static int memory_fill(lua_State *L)
{
    struct memory *memory = memory_at(L);
    uint64_t offset = (uint64_t)luaL_optinteger(L, 3, 0);
    uint64_t size = (uint64_t)luaL_optinteger(L, 4, (lua_Integer)(memory->size - offset));

    memset(memory_range(L, memory, offset, size), (int)luaL_checkinteger(L, 2), (size_t)size);
    return 0;
}

static int memory_word(lua_State *L, size_t size)
{
    uint8_t *at = memory_range(L, memory_at(L), (uint64_t)luaL_checkinteger(L, 2), size);
    uint64_t value = 0;

    if (lua_isnoneornil(L, 3)) {
        memcpy(&value, at, size);
        lua_pushinteger(L, (lua_Integer)value);
        return 1;
    }
    value = (uint64_t)luaL_checkinteger(L, 3);
    memcpy(at, &value, size);
    return 0;
}

static int memory_u8(lua_State *L)
{
    return memory_word(L, 1);
}

static int memory_u16(lua_State *L)
{
    return memory_word(L, 2);
}

static int memory_u32(lua_State *L)
{
    return memory_word(L, 4);
}

static int memory_u64(lua_State *L)
{
    return memory_word(L, 8);
}

static int memory_address(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)memory_at(L)->address);
    return 1;
}

static int memory_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)memory_at(L)->size);
    return 1;
}

/* Takes it back from the device. */
static int memory_free(lua_State *L)
{
    struct memory *memory = memory_at(L);
    int err = vfuc_memory_free(memory->conn->c, memory->address);

    if (err < 0)
        luaL_error(L, "%s", vfuc_error(memory->conn->c));
    memory->bytes = NULL;
    return 0;
}

/* ---- migration ---- */

struct state {
    char *bytes;
    size_t size, room;
    const char *from; /* of a load: what is left */
    size_t left;
};

static int state_take(void *ctx, const void *data, size_t size)
{
    struct state *state = ctx;

    if (size > state->room - state->size) {
        size_t room = (state->size + size) * 2;
        char *bytes = realloc(state->bytes, room);

        if (!bytes)
            return -ENOMEM;
        state->bytes = bytes;
        state->room = room;
    }
    memcpy(state->bytes + state->size, data, size);
    state->size += size;
    return 0;
}

static int state_bring(void *ctx, void *data, size_t max)
{
    struct state *state = ctx;
    size_t n = state->left < max ? state->left : max;

    n = n < INT32_MAX ? n : INT32_MAX;
    memcpy(data, state->from, n);
    state->from += n;
    state->left -= n;
    return (int)n;
}

/* save(running): the state, with the device stopped afterwards, or running again. */
static int conn_save(lua_State *L)
{
    struct conn *conn = conn_at(L);
    struct vfuc_transfer transfer = { .struct_size = sizeof transfer, .limit = BYTES_MAX * 4u };
    struct state state = { 0 };
    int err = vfuc_save(conn->c, &transfer, state_take, &state);

    if (!err && lua_toboolean(L, 2))
        err = vfuc_migration_set(conn->c, VFUC_MIG_RUNNING);
    if (err < 0) {
        free(state.bytes);
        return result(L, conn, err);
    }
    lua_pushlstring(L, state.size ? state.bytes : "", state.size);
    free(state.bytes);
    return 1;
}

static int conn_load(lua_State *L)
{
    struct conn *conn = conn_at(L);
    struct state state = { 0 };
    int err;

    state.from = luaL_checklstring(L, 2, &state.left);
    err = vfuc_load(conn->c, NULL, state_bring, &state);
    if (!err)
        err = vfuc_migration_set(conn->c, VFUC_MIG_RUNNING);
    return result(L, conn, err);
}

/* ---- anything else ---- */

static int conn_request(lua_State *L)
{
    struct conn *conn = conn_at(L);
    struct vfuc_request request = { .command = (uint16_t)luaL_checkinteger(L, 2) };
    luaL_Buffer buffer;
    int err;

    request.body = luaL_optlstring(L, 3, "", &request.size);
    request.posted = lua_toboolean(L, 4);
    request.reply_max = 1u << 20;
    request.reply = luaL_buffinitsize(L, &buffer, request.reply_max);
    err = vfuc_request(conn->c, &request);
    luaL_pushresultsize(&buffer, err < 0 ? 0 : request.reply_size);
    return err < 0 ? result(L, conn, err) : 1;
}

static int conn_raw_send(lua_State *L)
{
    struct conn *conn = conn_at(L);
    size_t size;
    const char *bytes = luaL_checklstring(L, 2, &size);

    return result(L, conn, vfuc_raw_send(conn->c, bytes, size, (size_t)luaL_optinteger(L, 3, 0), NULL, 0));
}

/* One message, header included; "" where the server has closed. */
static int conn_raw_recv(lua_State *L)
{
    struct conn *conn = conn_at(L);
    size_t max = 1u << 20;
    luaL_Buffer buffer;
    char *message = luaL_buffinitsize(L, &buffer, max);
    int n = vfuc_raw_recv(conn->c, message, max, NULL, NULL, lua_seconds(L, 2, UINT64_C(1000000000)));

    luaL_pushresultsize(&buffer, n < 0 ? 0 : (size_t)n);
    return n < 0 ? result(L, conn, n) : 1;
}

void luaconn_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "connect", conn_connect },     { "close", conn_close },           { "timeout", conn_timeout },
        { "server", conn_server },       { "device", conn_device },         { "region", conn_region },
        { "reset", conn_reset },         { "get", conn_get },               { "put", conn_put },
        { "read", conn_read },           { "write", conn_write },           { "post", conn_post },
        { "flush", conn_flush },         { "read_many", conn_read_many },   { "write_multi", conn_write_multi },
        { "irq_info", conn_irq_info },   { "irq_arm", conn_irq_arm },       { "irq_disarm", conn_irq_disarm },
        { "irq_wait", conn_irq_wait },   { "irq_mask", conn_irq_mask },     { "serve", conn_serve },
        { "save", conn_save },           { "load", conn_load },
        { "dma_stats", conn_dma_stats }, { "memory", conn_memory },         { "request", conn_request },
        { "raw_send", conn_raw_send },   { "raw_recv", conn_raw_recv },     { "__gc", conn_gc },
        { NULL, NULL },
    };
    static const luaL_Reg memory[] = {
        { "read", memory_read }, { "write", memory_write }, { "fill", memory_fill },       { "u8", memory_u8 },
        { "u16", memory_u16 },   { "u32", memory_u32 },     { "u64", memory_u64 },         { "free", memory_free },
        { "__len", memory_len }, { "address", memory_address }, { NULL, NULL },
    };

    luaL_newmetatable(L, CONN);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newmetatable(L, MEMORY);
    luaL_setfuncs(L, memory, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_pushcfunction(L, core_connect);
    lua_setfield(L, -2, "connect");
}
