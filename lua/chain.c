/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chain - a chain of buffers as the script sees it: chain:read, chain:write, chain:done; and the calls of dev.queue:NAME.
 *
 * Such a call is a task, which may wait; a chain outlives it, until it is done or a reset takes it away: then its methods
 * return nil and a message. Runs on the device's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lua/virtio_private.h"

#define CHAIN_TYPE "chain"
/* Calls that wait at one time. Chains beyond them wait in their place, and leave the hooks of registers some tasks. */
#define CALLS_MAX 2048u

struct chain {
    struct vfu_virtio_chain *c; /* NULL: done */
    struct vfu_virtq *q;
    uint32_t epoch; /* of the queue: another one, and the chain is gone */
    uint16_t head;
    uint64_t readable, writable, read_at, write_at;
    uint64_t written;           /* from the first byte on: what the driver may look at */
    uint64_t apart, apart_end;  /* and one part behind a gap */
};

/* One call of read or write, on the stack of its hook. */
struct chain_io {
    uint64_t offset, len, at;
    bool write;
    struct buffer *buffer; /* the script's, at `place`; or NULL, and it is here */
    uint64_t place;
    uint8_t data[];
};

static uint8_t *bytes_of(struct chain_io *io)
{
    return (io->buffer ? io->buffer->data + io->place : io->data) + io->at;
}

/* A chain that was taken from a hook which failed may be another one by now: its `user` is what it belongs to. */
static struct vfu_virtio_chain *alive(const struct chain *chain)
{
    return chain->c && chain->epoch == chain->q->epoch && chain->c->user == chain ? chain->c : NULL;
}

static void wrote(struct chain *chain, uint64_t from, uint64_t to)
{
    if (from <= chain->written) {
        chain->written = to > chain->written ? to : chain->written;
    } else if (!chain->apart_end) {
        chain->apart = from;
        chain->apart_end = to;
    } else if (from <= chain->apart_end && to >= chain->apart) {
        chain->apart = from < chain->apart ? from : chain->apart;
        chain->apart_end = to > chain->apart_end ? to : chain->apart_end;
    }
    if (chain->apart_end && chain->apart <= chain->written) {
        chain->written = chain->apart_end > chain->written ? chain->apart_end : chain->written;
        chain->apart_end = 0;
    }
}

static int push_gone(lua_State *L, const struct chain *chain)
{
    luaL_pushfail(L);
    lua_pushstring(L, chain->c ? "chain gone" : "chain done");
    return 2;
}

/* ---- read and write ---- */

static int chain_more(lua_State *L, int status, lua_KContext context);

/* Stack: the chain at 1, the struct chain_io at 2. */
static int chain_go(lua_State *L)
{
    struct chain *chain = luaL_checkudata(L, 1, CHAIN_TYPE);
    struct chain_io *io = lua_touserdata(L, 2);
    struct script *s = script_of(L);

    while (io->at < io->len) {
        struct vfu_virtio_chain *c = alive(chain);
        uint64_t addr;
        uint32_t n;
        int32_t err;

        if (!c)
            return push_gone(L, chain);
        n = vfu_virtio_find(c, io->write, io->offset + io->at, io->len - io->at, &addr);
        if (!n)
            return buffer_fault(L, 0, (lua_Integer)io->offset, (lua_Integer)io->len) ? 2 : 0;
        err = io->write ? s->host->dma_write(s->host, addr, bytes_of(io), n)
                        : s->host->dma_read(s->host, addr, bytes_of(io), n);
        if (err == -EWOULDBLOCK && task_may_wait(L)) {
            s->task->chained = true;
            return task_wait_for(L, s->host, addr, io->write ? bytes_of(io) : NULL, n,
                                 io->write ? VFU_DMA_WRITE : 0, 0, chain_more);
        }
        if (err) {
            luaL_pushfail(L);
            lua_pushstring(L, dma_message(err));
            return 2;
        }
        io->at += n;
    }
    if (io->write)
        wrote(chain, io->offset, io->offset + io->len);
    if (io->write || io->buffer)
        lua_pushboolean(L, 1);
    else
        lua_pushlstring(L, (const char *)io->data, io->len);
    return 1;
}

/* A message has brought or taken a piece. */
static int chain_more(lua_State *L, int status, lua_KContext context)
{
    struct task *t = (struct task *)context;
    struct chain_io *io = lua_touserdata(L, 2);
    int32_t err = t->status;

    (void)status;
    if (!err && !io->write)
        memcpy(bytes_of(io), t->op.buf, t->op.len);
    io->at += t->op.len;
    task_waited(t);
    if (err) {
        luaL_pushfail(L);
        lua_pushstring(L, dma_message(err));
        return 2;
    }
    lua_settop(L, 2);
    return chain_go(L);
}

/* Bytes are those of `data`, or of the buffer at 2, or they come. */
static int begin(lua_State *L, bool write, uint64_t offset, uint64_t len, const char *data, uint64_t place)
{
    struct buffer *buffer = buffer_test(L, 2);
    struct chain_io *io = lua_newuserdatauv(L, sizeof *io + (buffer ? 0 : len), 1);

    if (buffer) {
        lua_pushvalue(L, 2);
        lua_setiuservalue(L, -2, 1); /* it lives as long */
    }
    io->buffer = buffer;
    io->place = place;
    io->offset = offset;
    io->len = len;
    io->at = 0;
    io->write = write;
    if (data)
        memcpy(io->data, data, len);
    lua_replace(L, 2);
    lua_settop(L, 2);
    return chain_go(L);
}

/* The offset at i, or the cursor, which moves on; false after pushing nil, message. */
static bool place(lua_State *L, int i, uint64_t *cursor, uint64_t size, lua_Integer n, uint64_t *offset)
{
    lua_Integer at = lua_isnoneornil(L, i) ? (lua_Integer)*cursor : util_check_integer(L, i, "the offset");

    if (buffer_fault(L, size, at, n))
        return false;
    if (lua_isnoneornil(L, i))
        *cursor += (uint64_t)n;
    *offset = (uint64_t)at;
    return true;
}

/* chain:read([n [, offset]]) */
static int chain_read(lua_State *L)
{
    struct chain *chain = luaL_checkudata(L, 1, CHAIN_TYPE);
    uint64_t offset;
    lua_Integer n;

    if (!alive(chain))
        return push_gone(L, chain);
    lua_settop(L, 3);
    n = lua_isnil(L, 2) ? (lua_Integer)(chain->readable - chain->read_at) : util_check_integer(L, 2, "the length");
    if (!buffer_length(L, n) || !place(L, 3, &chain->read_at, chain->readable, n, &offset))
        return 2;
    return begin(L, false, offset, (uint64_t)n, NULL, 0);
}

/* chain:write(data [, offset]) */
static int chain_write(lua_State *L)
{
    struct chain *chain = luaL_checkudata(L, 1, CHAIN_TYPE);
    const char *data;
    uint64_t offset;
    size_t n;

    if (!alive(chain))
        return push_gone(L, chain);
    if (lua_type(L, 2) != LUA_TSTRING)
        return luaL_error(L, "chain:write takes a string, not %s", luaL_typename(L, 2));
    data = lua_tolstring(L, 2, &n);
    lua_settop(L, 3);
    if (!buffer_length(L, (lua_Integer)n) || !place(L, 3, &chain->write_at, chain->writable, (lua_Integer)n, &offset))
        return 2;
    return begin(L, true, offset, n, data, 0);
}

/* chain:read_into(buffer, at [, n [, offset]]), chain:write_from(buffer, at [, n [, offset]]): no string between. */
static int with_buffer(lua_State *L, bool write)
{
    struct chain *chain = luaL_checkudata(L, 1, CHAIN_TYPE);
    struct buffer *buffer = buffer_test(L, 2);
    uint64_t *cursor = write ? &chain->write_at : &chain->read_at, size = write ? chain->writable : chain->readable;
    lua_Integer at, n;
    uint64_t offset;

    if (!buffer || !buffer->data)
        return luaL_error(L, "chain:%s takes a buffer, not %s", write ? "write_from" : "read_into",
                          buffer ? "a BAR's ram while the script loads" : luaL_typename(L, 2));
    if (!alive(chain))
        return push_gone(L, chain);
    lua_settop(L, 5);
    at = util_check_integer(L, 3, "the place in the buffer");
    n = lua_isnil(L, 4) ? (lua_Integer)(size - *cursor) : util_check_integer(L, 4, "the length");
    if (buffer_fault(L, buffer->size, at, n) || !place(L, 5, cursor, size, n, &offset))
        return 2;
    return begin(L, write, offset, (uint64_t)n, NULL, (uint64_t)at);
}

static int chain_read_into(lua_State *L)
{
    return with_buffer(L, false);
}

static int chain_write_from(lua_State *L)
{
    return with_buffer(L, true);
}

/* chain:done([bytes written]) */
static int chain_done(lua_State *L)
{
    struct chain *chain = luaL_checkudata(L, 1, CHAIN_TYPE);
    lua_Integer n = luaL_optinteger(L, 2, (lua_Integer)chain->written);
    struct vfu_virtio_chain *c = alive(chain);

    if (!c)
        return push_gone(L, chain);
    if (n < 0 || (uint64_t)n > chain->writable)
        return luaL_error(L, "chain:done: the chain has %I bytes to write, not %I", (lua_Integer)chain->writable, n);
    chain->c = NULL;
    vfu_virtio_done(c, (uint32_t)n);
    lua_pushboolean(L, 1);
    return 1;
}

static int chain_index(lua_State *L)
{
    const struct chain *chain = lua_touserdata(L, 1);
    const char *name = luaL_tolstring(L, 2, NULL);

    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    if (!strcmp(name, "readable"))
        lua_pushinteger(L, (lua_Integer)chain->readable);
    else if (!strcmp(name, "writable"))
        lua_pushinteger(L, (lua_Integer)chain->writable);
    else if (!strcmp(name, "id"))
        lua_pushinteger(L, chain->head);
    else if (!strcmp(name, "alive"))
        lua_pushboolean(L, alive(chain) != NULL);
    else if (!strcmp(name, "queue"))
        lua_pushstring(L, chain->q->dev->model.queues[chain->q->index].name);
    else
        return luaL_error(L, "a chain has read, write, read_into, write_from, done, readable, writable, id, alive and "
                          "queue, not %s", name);
    return 1;
}

/* The script has let go of a chain that is still its own: the driver waits for ever. */
static int chain_gc(lua_State *L)
{
    const struct chain *chain = lua_touserdata(L, 1);
    struct script *s = script_of(L);

    if (!s->frozen && alive(chain) && !chain->q->dev->broken) /* frozen: the queues may be gone */
        vfu_logf(s->host, VFU_LOG_WARN, "lua: queue %s: a chain was forgotten without chain:done()",
                 chain->q->dev->model.queues[chain->q->index].name);
    return 0;
}

void chain_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "read", chain_read },           { "write", chain_write }, { "read_into", chain_read_into },
        { "write_from", chain_write_from }, { "done", chain_done },   { NULL, NULL }
    };

    luaL_newmetatable(L, CHAIN_TYPE);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, chain_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, chain_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushliteral(L, CHAIN_TYPE);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
}

/* ---- calls ---- */

static int push_chain(lua_State *L)
{
    struct vfu_virtio_chain *c = lua_touserdata(L, 1);
    struct chain *chain = lua_newuserdatauv(L, sizeof *chain, 0);

    memset(chain, 0, sizeof *chain);
    chain->c = c;
    chain->q = c->q;
    chain->epoch = c->q->epoch;
    chain->head = c->head;
    chain->readable = c->readable;
    chain->writable = c->writable;
    luaL_setmetatable(L, CHAIN_TYPE);
    c->user = chain;
    return 1;
}

void chain_come(void *self, struct vfu_virtq *q, struct vfu_virtio_chain *chain)
{
    struct script *s = self;
    struct task *t;

    if (s->virtio->ncalls >= CALLS_MAX) {
        chain->user = s; /* late */
        s->virtio->nlate++;
        return;
    }
    t = task_get(s, "queue");
    if (!t) {
        vfu_virtio_done(chain, 0);
        return;
    }
    t->kind = TASK_QUEUE;
    t->queued = true;
    s->virtio->ncalls++;
    t->index = q->index;
    t->group_index = q->epoch;
    t->value = chain->head;
    lua_pushcfunction(s->L, push_chain);
    lua_pushlightuserdata(s->L, chain);
    if (state_call(s, 1, 1, "queue")) {
        task_put(t);
        vfu_virtio_done(chain, 0);
        return;
    }
    lua_rawgeti(t->co, LUA_REGISTRYINDEX, s->virtio->hooks[q->index]);
    lua_rawgeti(t->co, LUA_REGISTRYINDEX, s->dev_ref);
    lua_xmove(s->L, t->co, 1);
    if (!task_run(t, 2))
        task_put(t);
}

static struct vfu_virtio_chain *find_late(const struct script *s)
{
    for (uint32_t i = 0; i < s->virtio->v.nqueues; i++)
        for (struct vfu_virtio_chain *c = s->virtio->v.queues[i].held; c; c = c->next)
            if (c->user == s)
                return c;
    return NULL;
}

static void come_late(void *arg)
{
    struct script *s = arg;
    struct vfu_virtio_chain *c;

    s->virtio->armed = false;
    while (!s->frozen && s->virtio->nlate && s->virtio->ncalls < CALLS_MAX && (c = find_late(s))) {
        c->user = NULL;
        s->virtio->nlate--;
        chain_come(s, c->q, c);
    }
}

/* After a call is over there is room for another one; not on the stack of whoever has ended it. */
void chain_resume(struct script *s)
{
    if (s->virtio->nlate && !s->virtio->armed && !s->frozen && !s->host->defer(s->host, come_late, s))
        s->virtio->armed = true;
}

void chain_over(struct task *t)
{
    t->queued = false;
    t->s->virtio->ncalls--;
    chain_resume(t->s);
}

/* The hook has failed: the guest gets its buffers back, with nothing in them, and the device goes on. */
void chain_failed(struct task *t)
{
    struct vfu_virtq *q = &t->s->virtio->v.queues[t->index];

    for (struct vfu_virtio_chain *c = q->held; c && q->epoch == t->group_index; c = c->next)
        if (c->head == t->value) {
            c->user = NULL;
            vfu_virtio_done(c, 0);
            return;
        }
}

void chain_describe(const struct task *t, char *text, size_t len)
{
    snprintf(text, len, "queue %s", t->s->virtio->v.model.queues[t->index].name);
}

void chain_reset(void *self, struct vfu_virtq *q)
{
    struct script *s = self;

    for (struct task *t = s->tasks; t;) {
        if (t->kind == TASK_QUEUE && (!q || t->index == q->index)) {
            task_close(t);
            t = s->tasks;
        } else {
            t = t->next;
        }
    }
    s->virtio->nlate = 0; /* the library calls for all queues */
}

void chain_hold(struct script *s)
{
    vfu_virtio_hold(&s->virtio->v);
}

void chain_release(struct script *s)
{
    vfu_virtio_release(&s->virtio->v);
}
