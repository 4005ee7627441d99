/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * session - one connected client's stream: bytes come in bulk, whole messages are handled in order, replies leave in
 * one send. Runs on its device's thread; no locks.
 *
 * The socket is watched edge-triggered: a receive that fell short of what it asked for means that the next edge will
 * come, unless the peer's hangup was part of this one. While replies wait for a client that does not read, none of its
 * commands are taken.
 */
#include "core/session/session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/session/command.h"
#include "core/session/lane.h"
#include "core/base/origin.h"

/* Receives of one client before timers and other work get a turn. */
#define RECEIVES_A_TURN 16
/* Of a client that may have gone, when another is at the door. */
#define TURNS_TO_THE_END 64
#define HEADER sizeof(struct vfu_msg_header)
#define HANGUP (EPOLLRDHUP | EPOLLHUP | EPOLLERR)

static void end(struct session *s);

/* ---- for handlers */

void *session_reply_raw(struct session *s, uint32_t size)
{
    s->reply_size = size;
    return s->reply;
}

void *session_reply(struct session *s, uint32_t size)
{
    s->reply_size = size;
    return memset(s->reply, 0, size);
}

void session_carry(struct session *s, const int *fds, uint32_t n, bool close_after)
{
    memcpy(s->carry, fds, n * sizeof(int));
    s->ncarry = n;
    s->carry_close = close_after;
}

int session_refuse(struct session *s, int error, const struct message *m, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    s->dev->refusals++;
    log_limited(&s->limit, s->dev->name, LOG_WARN, "%s: %s", command_of(m->header.command)->name, text);
    return error;
}

/* ---- output */

static void flush_twin(struct session *s)
{
    int error;

    if (s->twin.fd < 0)
        return;
    error = transport_flush(&s->twin);
    if (error == 0 && s->dev->transfer.starved) {
        transfer_pump(&s->dev->transfer);
        error = s->dead || s->twin.fd < 0 ? -EBADF : transport_flush(&s->twin);
    }
    if (error == 0 || error == -EAGAIN)
        loop_change(&s->dev->loop, &s->twin_watch, EPOLLIN | EPOLLRDHUP | EPOLLET | (error ? EPOLLOUT : 0u));
}

static bool flush_ends(struct session *s, int error);

/* False: the session has ended. */
static inline bool flush(struct session *s)
{
    int error = transport_flush(&s->main);

    return !(error || s->blocked || s->dev->transfer.starved) || flush_ends(s, error);
}

/* What there is to do when output does not leave, or does so again. */
static bool flush_ends(struct session *s, int error)
{
    if (error == 0 && s->twin.fd < 0 && s->dev->transfer.starved) {
        transfer_pump(&s->dev->transfer); /* message DMA that found no room before */
        if (s->dead)
            return false;
        error = transport_flush(&s->main);
    }
    if (error && error != -EAGAIN) {
        log_debug(s->dev->name, "the client is gone: %s", strerror(-error));
        end(s);
        return false;
    }
    if (error || s->blocked) {
        s->blocked = error != 0;
        loop_change(&s->dev->loop, &s->main_watch, EPOLLIN | EPOLLRDHUP | EPOLLET | (error ? EPOLLOUT : 0u));
    }
    return true;
}

static void deferred_turn(void *arg);
static void twin_turn(struct session *s);

static void come_back(struct session *s)
{
    if (!s->again && loop_defer(&s->dev->loop, deferred_turn, s) == 0)
        s->again = true;
}

/* Output of the device's own: message DMA. */
static void kick(void *ctx)
{
    struct session *s = ctx;

    if (s->twin.fd >= 0)
        flush_twin(s);
    else if (!s->busy && !s->dead)
        flush(s);
}

int session_attach(struct session *s, const struct vfu_client *client)
{
    int error = device_attach(s->dev, client, s->twin.fd >= 0 ? &s->twin : &s->main, kick, s);

    s->negotiated = error == 0;
    return error;
}

/* ---- commands */

/* The room of a reply with `payload` bytes, made free if need be. False: the client has to read first. */
static bool reply_room(struct session *s, uint32_t payload, uint8_t **room)
{
    *room = transport_room(&s->main, HEADER + payload);
    if (*room)
        return true;
    return transport_flush(&s->main) == 0 && (*room = transport_room(&s->main, HEADER + payload)) != NULL;
}

static void put_header(uint8_t *room, const struct vfu_msg_header *request, uint32_t payload, int error)
{
    struct vfu_msg_header header = {
        .id = request->id,
        .command = request->command,
        .size = (uint32_t)HEADER + payload,
        .flags = VFU_MSG_REPLY | (error ? VFU_MSG_ERROR : 0),
        .error = (uint32_t)-error,
    };

    memcpy(room, &header, HEADER);
}

/* Completes the reply that a handler has left in s->reply. */
static void answer(struct session *s, const struct message *m, uint8_t *room, int error)
{
    bool wanted = !(m->header.flags & VFU_MSG_NO_REPLY);
    uint32_t payload = error ? 0 : s->reply_size;

    if (!wanted || error) {
        for (uint32_t i = 0; s->carry_close && i < s->ncarry; i++)
            close(s->carry[i]);
        s->ncarry = 0;
        if (!wanted)
            return;
    }
    put_header(room, &m->header, payload + (error ? 0 : s->direct_size), error);
    if (s->ncarry)
        transport_carry(&s->main, HEADER + payload, s->carry, s->ncarry, s->carry_close);
    transport_commit(&s->main, HEADER + payload);
    if (!error && s->direct_size)
        transport_append_memory(&s->main, s->direct, s->direct_size);
}

static int run_command(struct session *s, struct message *m)
{
    const struct command *command = command_of(m->header.command);

    if (!command->handle)
        return session_refuse(s, m->header.command > VFU_CMD_LAST || m->header.command == 0 ? -EINVAL : -ENOTSUP, m,
                              "command %u is not one that this device takes", m->header.command);
    if (!s->negotiated && !command->before_version)
        return session_refuse(s, -EINVAL, m, "it comes before VERSION");
    if (m->size < command->min_size)
        return session_refuse(s, -EINVAL, m, "its body has %u bytes, it needs %u", m->size, command->min_size);
    return command->handle(s, m);
}

/* One whole message. False: there is no room for its reply now, or the session has ended. */
static bool handle(struct session *s, struct message *m)
{
    uint32_t type = m->header.flags & VFU_MSG_TYPE_MASK;
    uint8_t *room;
    int error;

    /* The room comes last: a flush moves it. */
    if ((!transport_can_carry(&s->main) && !flush(s)) || !transport_can_carry(&s->main) ||
        !reply_room(s, type == VFU_MSG_REPLY ? 0 : command_reply_bound(m), &room))
        return false;
    s->reply = room + HEADER;
    s->reply_size = s->direct_size = s->ncarry = 0;
    if (type == VFU_MSG_COMMAND) {
        error = run_command(s, m);
    } else if (type == VFU_MSG_REPLY) {
        /* Answered only if it answers nothing. It may have filled the room with the next DMA message. */
        error = s->twin.fd < 0 ? transfer_reply(&s->dev->transfer, m)
                               : session_refuse(s, -EINVAL, m, "a reply (id %u) came on the main socket, where nothing was "
                                                "asked", m->header.id);
        if (!error || s->dead)
            return !s->dead;
        if (!reply_room(s, 0, &room))
            return true;
    } else {
        error = session_refuse(s, -EINVAL, m, "message type %u; there are 0 (command) and 1 (reply)", type);
    }
    if (s->dead)
        return false;
    answer(s, m, room, error);
    return true;
}

/* A large write to plain memory whose data is still on its way: the rest goes to its place as it comes. */
static void try_sink(struct session *s)
{
    struct vfu_msg_region_access access;
    struct vfu_msg_header header;
    struct region *region;
    const uint8_t *body;
    uint8_t *plain;
    size_t have;

    if (transport_traced(&s->main) || !transport_peek(&s->main, &header, &body, &have) || have < sizeof access || !s->negotiated ||
        header.command != VFU_CMD_REGION_WRITE || (header.flags & VFU_MSG_TYPE_MASK) != VFU_MSG_COMMAND ||
        header.size < HEADER + sizeof access + SESSION_DIRECT_MIN)
        return;
    memcpy(&access, body, sizeof access);
    region = device_region(s->dev, access.region);
    if (!region || access.count != header.size - HEADER - sizeof access || access.offset > region->size ||
        access.count > region->size - access.offset || access.count > TRANSPORT_MAX_DATA)
        return;
    plain = region_plain(region, access.offset, access.count, true);
    if (!plain || s->dev->stopped)
        return;
    s->sinking = true;
    s->sink_header = header;
    s->sink_access = access;
    transport_sink(&s->main, HEADER + sizeof access, plain, access.count);
}

/* The data of such a write is complete: its reply. False: no room now. */
static bool finish_sink(struct session *s)
{
    uint8_t *room;

    if (s->sink_header.flags & VFU_MSG_NO_REPLY) {
        s->sinking = false;
        return true;
    }
    if (!reply_room(s, sizeof s->sink_access, &room))
        return false;
    put_header(room, &s->sink_header, sizeof s->sink_access, 0);
    memcpy(room + HEADER, &s->sink_access, sizeof s->sink_access);
    transport_commit(&s->main, HEADER + sizeof s->sink_access);
    s->sinking = false;
    return true;
}

/* What cannot be a message: its error, and the end. Nothing behind it is looked at. */
static void refuse_stream(struct session *s, const struct message *m)
{
    uint8_t *room;

    session_refuse(s, -EINVAL, m, "message size %u; %zu to %u make sense; the connection is closed", m->header.size, HEADER,
                   TRANSPORT_MAX_MESSAGE);
    if (reply_room(s, 0, &room)) {
        put_header(room, &m->header, 0, -EINVAL);
        transport_commit(&s->main, HEADER);
        transport_flush(&s->main);
    }
    end(s);
}

/* Every whole message that the lane leaves, and those behind it. False: stop for now, blocked or dead. */
static __attribute__((noinline)) bool handle_rest(struct session *s)
{
    struct message m;
    int found;

    if (s->sinking && (!transport_sunk(&s->main) || !finish_sink(s)))
        return !transport_sunk(&s->main);
    while ((found = transport_next(&s->main, &m)) > 0) {
        bool handled = handle(s, &m);

        if (s->dead) {
            for (uint32_t i = 0; i < m.nfds; i++)
                if (m.fds[i] >= 0)
                    origin_close(m.fds[i]);
            return false;
        }
        if (!handled) {
            transport_put_back(&s->main, &m);
            return false;
        }
        transport_done(&s->main, &m);
        if (transport_taken(&s->main))
            return true;
        lane_run(s);
    }
    if (found < 0) {
        refuse_stream(s, &m);
        return false;
    }
    try_sink(s);
    return true;
}

/* Every whole message in the buffer. False: stop for now, blocked or dead. */
static inline bool handle_all(struct session *s)
{
    lane_run(s); /* nearly always that is all */
    return (transport_taken(&s->main) && !s->sinking) || handle_rest(s);
}

/* Receives and handles until nothing is left, output blocks, or the turn is over. True: more may be waiting. */
static bool turn(struct session *s)
{
    for (int i = 0; i < RECEIVES_A_TURN; i++) {
        bool all;
        int got;

        if (s->blocked && (!flush(s) || s->blocked))
            return false;
        got = transport_receive(&s->main);
        do {
            all = handle_all(s);
            if (s->dead || !flush(s))
                return false;
        } while (!all && !s->blocked);
        if (got == TRANSPORT_EOF || got < 0) {
            end(s);
            return false;
        }
        if (got == TRANSPORT_EMPTY && !s->blocked && !s->ending)
            return false;
    }
    return true;
}

static void run(struct session *s)
{
    bool more;

    if (s->dead || s->busy)
        return;
    s->busy = true;
    more = turn(s);
    s->busy = false;
    if (more && !s->dead)
        come_back(s);
}

static void deferred_turn(void *arg)
{
    struct session *s = arg;

    s->again = false;
    if (s->dead) {
        free(s);
        return;
    }
    if (s->twin_more)
        twin_turn(s);
    run(s);
}

static void main_ready(struct loop_watch *watch, uint32_t ready)
{
    struct session *s = (struct session *)((char *)watch - offsetof(struct session, main_watch));

    s->ending |= (ready & HANGUP) != 0;
    run(s);
}

/* ---- the twin socket carries replies to our DMA messages, nothing else */

static bool twin_message(struct session *s, struct message *m)
{
    uint8_t *room;
    int error = -EINVAL;

    if ((m->header.flags & VFU_MSG_TYPE_MASK) == VFU_MSG_REPLY)
        error = transfer_reply(&s->dev->transfer, m);
    else
        session_refuse(s, -EINVAL, m, "a command came on the twin socket, which takes replies");
    if (s->dead)
        return false;
    if (error && !(m->header.flags & VFU_MSG_NO_REPLY) && (room = transport_room(&s->twin, HEADER))) {
        put_header(room, &m->header, 0, error);
        transport_commit(&s->twin, HEADER);
    }
    return true;
}

static void close_twin(struct session *s, const char *why)
{
    log_limited(&s->limit, s->dev->name, LOG_WARN, "the twin socket %s; message DMA fails from now on", why);
    transfer_lose(&s->dev->transfer, -EFAULT);
    loop_remove(&s->dev->loop, &s->twin_watch);
    transport_close(&s->twin);
}

/* Every whole message in the buffer; *found as of transport_next. False: the session has ended. */
static bool twin_messages(struct session *s, int *found)
{
    struct message m;

    while ((*found = transport_next(&s->twin, &m)) > 0) {
        bool alive = twin_message(s, &m);

        if (!alive) {
            for (uint32_t i = 0; i < m.nfds; i++)
                origin_close(m.fds[i]);
            return false;
        }
        transport_done(&s->twin, &m);
    }
    return true;
}

static void twin_turn(struct session *s)
{
    int got = TRANSPORT_MORE, found;

    s->twin_more = false;
    for (int i = 0; i < RECEIVES_A_TURN && (got == TRANSPORT_MORE || s->twin_ending) && s->twin.fd >= 0; i++) {
        got = transport_receive(&s->twin);
        if (!twin_messages(s, &found))
            return;
        if (found < 0 || got == TRANSPORT_EOF || got < 0) {
            close_twin(s, found < 0 ? "carries garbage" : "is closed");
            return;
        }
    }
    flush_twin(s);
    if ((got == TRANSPORT_MORE || s->twin_ending) && s->twin.fd >= 0) {
        s->twin_more = true;
        come_back(s);
    }
}

static void twin_ready(struct loop_watch *watch, uint32_t ready)
{
    struct session *s = (struct session *)((char *)watch - offsetof(struct session, twin_watch));

    s->twin_ending |= (ready & HANGUP) != 0;
    twin_turn(s);
}

/* ---- life */

static void end(struct session *s)
{
    struct device *dev = s->dev;

    if (s->dead)
        return;
    s->dead = true;
    dev->client_fd = -1;
    loop_remove(&dev->loop, &s->main_watch);
    if (s->twin.fd >= 0)
        loop_remove(&dev->loop, &s->twin_watch);
    if (s->negotiated)
        device_detach(dev);
    transport_close(&s->main);
    if (s->twin.fd >= 0)
        transport_close(&s->twin);
    s->gone(s->ctx);
    /* Whoever called is still looking at it: it goes after this round. */
    come_back(s);
}

int session_open(struct session **out, struct device *dev, int fd, void (*gone)(void *ctx), void *ctx)
{
    struct session *s = calloc(1, sizeof *s);
    int error;

    if (!s) {
        close(fd);
        return -ENOMEM;
    }
    s->dev = dev;
    s->twin.fd = -1;
    s->gone = gone;
    s->ctx = ctx;
    s->main_watch = (struct loop_watch){ .fd = fd, .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .fn = main_ready };
    s->twin_watch.fn = twin_ready;
    error = transport_open(&s->main, fd);
    s->main.tap = dev->tap;
    if (!error)
        error = loop_add(&dev->loop, &s->main_watch);
    if (error) {
        log_error(dev->name, "cannot serve a client: %s", strerror(-error));
        if (s->main.fd >= 0)
            transport_close(&s->main);
        else
            close(fd);
        free(s);
        return error;
    }
    dev->client_fd = fd;
    *out = s;
    return 0;
}

bool session_drain(struct session *s)
{
    int rests = 0;

    if (s->busy)
        return false;
    /* A receive that falls short says that the stream is empty for now: only one more tells whether it has ended. */
    for (int i = 0; i < TURNS_TO_THE_END && rests < 2 && !s->dead; i++) {
        s->busy = true;
        rests += !turn(s);
        s->busy = false;
    }
    return s->dead;
}

void session_close(struct session *s)
{
    if (!s->dead)
        transport_flush(&s->main);
    end(s);
}
