/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stream - buffers, owners and events of streams: see stream.h. What a terminal or a socket is, is in streamkind.c.
 *
 * Bytes are read from the peer only while there is room for them, so one that floods is held up where it writes. What
 * the device writes leaves behind the present round of the loop; a peer that does not read fills the buffer, and write
 * takes no more. A descriptor that has hung up leaves the loop until its last bytes have been taken: its EPOLLHUP cannot
 * be masked, and would keep the loop awake.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/outside/stream_private.h"

#define STREAMS_MAX 64u
#define TELL_MAX 64 /* events told in one go */

struct vfu_stream {
    struct vfu_stream *next;
    struct stream *stream;
    const void *owner;
    void (*fn)(void *arg, uint32_t events);
    void *arg;
};

/* ---- rings --------------------------------------------------------------------------------------------------------- */

static uint32_t ring_put(struct ring *ring, uint32_t size, const uint8_t *bytes, uint64_t len)
{
    uint32_t n = len < size - ring->used ? (uint32_t)len : size - ring->used, at = (ring->head + ring->used) % size;
    uint32_t first = n < size - at ? n : size - at;

    memcpy(ring->bytes + at, bytes, first);
    memcpy(ring->bytes, bytes + first, n - first);
    ring->used += n;
    return n;
}

static uint8_t ring_at(const struct ring *ring, uint32_t size, uint32_t i)
{
    return ring->bytes[(ring->head + i) % size];
}

static void ring_drop(struct ring *ring, uint32_t size, uint32_t n)
{
    ring->head = (ring->head + n) % size;
    ring->used -= n;
}

static uint32_t ring_take(struct ring *ring, uint32_t size, uint8_t *bytes, uint64_t len)
{
    uint32_t n = len < ring->used ? (uint32_t)len : ring->used;
    uint32_t first = n < size - ring->head ? n : size - ring->head;

    memcpy(bytes, ring->bytes + ring->head, first);
    memcpy(bytes + first, ring->bytes, n - first);
    ring_drop(ring, size, n);
    return n;
}

/* The parts of a ring that are filled, or free. */
static int ring_parts(struct ring *ring, uint32_t size, bool filled, struct iovec parts[2])
{
    uint32_t at = filled ? ring->head : (ring->head + ring->used) % size, n = filled ? ring->used : size - ring->used;
    uint32_t first = n < size - at ? n : size - at;

    parts[0] = (struct iovec){ ring->bytes + at, first };
    parts[1] = (struct iovec){ ring->bytes, n - first };
    return first < n ? 2 : 1;
}

/* ---- the descriptor ------------------------------------------------------------------------------------------------ */

static void unwatch(struct stream *s)
{
    if (s->watched)
        loop_remove(s->all->loop, &s->watch);
    s->watched = false;
}

/* The loop has the descriptor for what can be done with it now. */
static void watch_again(struct stream *s)
{
    uint32_t events = 0;

    if (!s->peer || s->file || s->hung)
        return;
    if (!s->all->frozen && !s->ended && s->in.used < STREAM_IN)
        events |= EPOLLIN;
    if (s->out.used)
        events |= EPOLLOUT;
    if (s->watched && s->watch.events == events)
        return;
    if (s->watched) {
        loop_change(s->all->loop, &s->watch, events);
        s->watch.events = events;
        return;
    }
    s->watch.events = events;
    s->watched = loop_add(s->all->loop, &s->watch) == 0;
}

static void lose(struct stream *s)
{
    unwatch(s);
    s->peer = s->ended = s->hung = false;
    s->pending |= VFU_STREAM_PEER;
    s->out.head = s->out.used = 0;
    if (s->full)
        s->pending |= VFU_STREAM_WRITABLE;
    s->full = false;
    s->kind->lost(s);
    stream_schedule(s->all);
}

/* EIO is a terminal that nobody has open. */
static void pull(struct stream *s)
{
    struct iovec parts[2];
    ssize_t n;

    if (!s->peer || s->file || s->ended || s->all->frozen || s->in.used == STREAM_IN)
        return;
    n = readv(s->watch.fd, parts, ring_parts(&s->in, STREAM_IN, false, parts));
    if (n > 0) {
        s->in.used += (uint32_t)n;
        s->pending |= VFU_STREAM_READABLE;
        stream_schedule(s->all);
    } else if (n == 0) {
        s->ended = true;
        if (s->hung)
            lose(s);
    } else if (errno != EAGAIN && errno != EINTR) {
        lose(s);
    } else if (s->hung) {
        lose(s); /* it has hung up, and left nothing */
    }
}

static void push(struct stream *s)
{
    struct iovec parts[2];
    ssize_t n;

    if (!s->peer || !s->out.used)
        return;
    n = writev(s->watch.fd, parts, ring_parts(&s->out, STREAM_OUT, true, parts));
    if (n < 0 && s->file && errno != EINTR) {
        log_limited(&s->limit, s->all->who, LOG_ERROR, "cannot write to %s: %s; what does not fit is lost", s->path,
                    strerror(errno));
        n = s->out.used;
    }
    if (n > 0)
        ring_drop(&s->out, STREAM_OUT, (uint32_t)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        lose(s);
    if (s->full && s->out.used <= STREAM_OUT / 2) {
        s->full = false;
        s->pending |= VFU_STREAM_WRITABLE;
    }
}

static void ready(struct loop_watch *watch, uint32_t events)
{
    struct stream *s = (struct stream *)((char *)watch - offsetof(struct stream, watch));

    if (events & EPOLLIN)
        pull(s);
    if (s->peer && (events & EPOLLOUT))
        push(s);
    if (s->peer && (events & (EPOLLHUP | EPOLLERR))) {
        unwatch(s);
        s->hung = true;
        if (s->ended)
            lose(s);
        else
            pull(s);
    }
    watch_again(s);
    if (s->pending)
        stream_schedule(s->all);
}

void stream_came(struct stream *s, int fd)
{
    s->watch.fd = fd;
    s->watch.fn = ready;
    s->peer = true;
    s->ended = s->hung = s->tried = false;
    s->pending |= VFU_STREAM_PEER;
    watch_again(s);
    stream_schedule(s->all);
}

void stream_watch_door(struct stream *s, bool on)
{
    if (s->door_watched == on || s->door.fd < 0)
        return;
    if (!on)
        loop_remove(s->all->loop, &s->door);
    s->door_watched = on && loop_add(s->all->loop, &s->door) == 0;
}

/* ---- behind each round of the loop --------------------------------------------------------------------------------- */

static struct stream *next_to_tell(const struct streams *all)
{
    struct stream *s = all->frozen ? NULL : all->first;

    while (s && !(s->pending && s->handles))
        s = s->next;
    return s;
}

/* Whoever is told may close streams, and open others. */
static void run(void *arg)
{
    struct streams *all = arg;
    struct stream *s;

    all->scheduled = false;
    for (s = all->first; s; s = s->next) {
        if (s->hung)
            pull(s);
        push(s);
        watch_again(s);
    }
    for (int i = 0; i < TELL_MAX && (s = next_to_tell(all)); i++) {
        struct vfu_stream *handle = s->handles;
        uint32_t events = s->pending;

        s->pending = 0;
        handle->fn(handle->arg, events);
    }
    if (next_to_tell(all))
        stream_schedule(all);
}

void stream_schedule(struct streams *all)
{
    if (!all->scheduled)
        all->scheduled = loop_defer(all->loop, run, all) == 0;
}

/* ---- opening, closing ---------------------------------------------------------------------------------------------- */

static void no_door(struct loop_watch *watch, uint32_t events)
{
    (void)watch;
    (void)events;
}

static void free_stream(struct stream *s)
{
    struct stream **link = &s->all->first;

    while (*link && *link != s)
        link = &(*link)->next;
    if (*link)
        *link = s->next;
    if (s->started) {
        push(s);
        unwatch(s);
        stream_watch_door(s, false);
        loop_disarm(s->all->loop, &s->retry);
        s->kind->stop(s);
    }
    free(s->spec);
    free(s->path);
    free(s);
}

static int start(struct stream *s)
{
    int error = s->kind->start(s);

    s->started = error == 0;
    return error;
}

static int new_stream(struct streams *all, const char *spec, struct stream **out)
{
    struct stream *s = calloc(1, sizeof *s);
    int error = s && (s->spec = strdup(spec)) ? 0 : -ENOMEM;

    if (!s)
        return error;
    s->all = all;
    s->watch.fd = s->door.fd = -1;
    s->door.fn = no_door;
    if (!error)
        error = streamkind_parse(s);
    if (!error && all->started)
        error = start(s);
    if (error) {
        free_stream(s);
        return error;
    }
    s->next = all->first;
    all->first = s;
    *out = s;
    return 0;
}

/* The same words name the same stream, but where there is nothing to share. */
static struct stream *find(struct streams *all, const char *spec)
{
    struct stream *s = all->first;

    while (s && (strcmp(s->spec, spec) != 0 || !strcmp(spec, "null")))
        s = s->next;
    return s;
}

int stream_open(struct streams *all, const void *owner, const struct vfu_stream_spec *spec, struct vfu_stream **out)
{
    struct vfu_stream *handle;
    struct stream *s;
    uint32_t n = 0;
    int error = 0;

    for (s = all->first; s; s = s->next)
        n++;
    s = find(all, spec->spec);
    for (handle = s ? s->handles : NULL; handle; handle = handle->next) {
        if (handle->owner == owner) {
            log_error(all->who, "the stream %s is open already", spec->spec);
            return -EBUSY;
        }
    }
    if (!s && n >= STREAMS_MAX)
        return -ENOSPC;
    handle = calloc(1, sizeof *handle);
    if (!handle)
        return -ENOMEM;
    if (!s)
        error = new_stream(all, spec->spec, &s);
    if (error) {
        free(handle);
        return error;
    }
    *handle = (struct vfu_stream){ s->handles, s, owner, spec->fn, spec->arg };
    s->handles = handle;
    if (s->in.used)
        s->pending |= VFU_STREAM_READABLE;
    if (s->peer)
        s->pending |= VFU_STREAM_PEER;
    if (all->started)
        stream_schedule(all);
    *out = handle;
    return 0;
}

static struct stream *stream_of(const struct streams *all, const struct vfu_stream *handle)
{
    for (struct stream *s = all->first; s; s = s->next) {
        for (const struct vfu_stream *h = s->handles; h; h = h->next) {
            if (h == handle)
                return s;
        }
    }
    return NULL;
}

int stream_close(struct streams *all, struct vfu_stream *handle)
{
    struct stream *s = stream_of(all, handle);
    struct vfu_stream **link;

    if (!s)
        return -EBADF;
    for (link = &s->handles; *link != handle; link = &(*link)->next)
        ;
    *link = handle->next;
    free(handle);
    if (!s->handles) {
        free_stream(s);
        return 0;
    }
    s->pending |= VFU_STREAM_PEER | (s->in.used ? VFU_STREAM_READABLE : 0);
    stream_schedule(all);
    return 0;
}

void streams_forget(struct streams *all, const void *owner)
{
    for (struct stream *s = all->first, *next; s; s = next) {
        struct vfu_stream *handle = s->handles;

        next = s->next;
        while (handle && handle->owner != owner)
            handle = handle->next;
        if (handle)
            (void)stream_close(all, handle);
    }
}

/* ---- bytes --------------------------------------------------------------------------------------------------------- */

/* Of a stream with marks: 0xff 0xff is 0xff, 0xff 0 0 a break, 0xff 0 X a damaged X. */
static int64_t take_marked(struct stream *s, uint8_t *bytes, uint64_t len)
{
    uint64_t n = 0;

    while (n < len && s->in.used) {
        uint8_t byte = ring_at(&s->in, STREAM_IN, 0);
        uint32_t size = 1;

        if (byte == 0xff) {
            size = s->in.used > 1 && ring_at(&s->in, STREAM_IN, 1) ? 2 : 3;
            if (s->in.used < size)
                break;
            byte = ring_at(&s->in, STREAM_IN, size - 1);
            if (size == 3 && !byte) {
                if (n)
                    break;
                ring_drop(&s->in, STREAM_IN, 3);
                return -EINTR;
            }
        }
        ring_drop(&s->in, STREAM_IN, size);
        bytes[n++] = byte;
    }
    return (int64_t)n;
}

int64_t stream_read(struct streams *all, struct vfu_stream *handle, void *bytes, uint64_t len)
{
    struct stream *s = stream_of(all, handle);
    bool was_full;
    int64_t n;

    if (!s)
        return -EBADF;
    if (handle != s->handles)
        return 0;
    was_full = s->in.used == STREAM_IN;
    n = s->marks ? take_marked(s, bytes, len) : ring_take(&s->in, STREAM_IN, bytes, len);
    if (was_full || s->hung)
        stream_schedule(all);
    return n;
}

/* Where nobody listens, bytes go as on a wire that ends in the air. */
int64_t stream_write(struct streams *all, struct vfu_stream *handle, const void *bytes, uint64_t len)
{
    struct stream *s = stream_of(all, handle);
    const uint8_t *from = bytes;
    uint64_t n = 0;

    if (!s)
        return -EBADF;
    if (!s->peer || handle != s->handles)
        return (int64_t)len;
    if (!s->marks)
        n = ring_put(&s->out, STREAM_OUT, from, len);
    for (; s->marks && n < len && s->out.used + 2 <= STREAM_OUT; n++)
        ring_put(&s->out, STREAM_OUT, from[n] == 0xff ? (const uint8_t *)"\xff\xff" : &from[n], from[n] == 0xff ? 2 : 1);
    if (n < len)
        s->full = true;
    if (n && !(s->watched && s->watch.events & EPOLLOUT))
        stream_schedule(all);
    return (int64_t)n;
}

int stream_send_break(struct streams *all, struct vfu_stream *handle)
{
    struct stream *s = stream_of(all, handle);

    if (!s)
        return -EBADF;
    if (!s->marks)
        return -ENOTSUP;
    if (!s->peer || handle != s->handles)
        return 0;
    if (s->out.used + 3 > STREAM_OUT) {
        s->full = true;
        return -EAGAIN;
    }
    ring_put(&s->out, STREAM_OUT, (const uint8_t *)"\xff\0\0", 3);
    stream_schedule(all);
    return 0;
}

/* A terminal has no way to throw its user out. */
int stream_hang_up(struct streams *all, struct vfu_stream *handle)
{
    struct stream *s = stream_of(all, handle);

    if (!s)
        return -EBADF;
    if (strncmp(s->kind->prefix, "unix:", 5) != 0)
        return -ENOTSUP;
    if (!s->peer || handle != s->handles)
        return 0;
    push(s);
    if (s->peer)
        lose(s);
    return 0;
}

int stream_look(struct streams *all, struct vfu_stream *handle, struct vfu_stream_state *state)
{
    const struct stream *s = stream_of(all, handle);
    struct vfu_stream_state now = { .struct_size = state->struct_size };
    uint32_t size = state->struct_size < sizeof now ? state->struct_size : (uint32_t)sizeof now;

    if (!s)
        return -EBADF;
    now.flags = s->peer ? VFU_STREAM_CONNECTED : 0;
    now.readable = s->in.used;
    now.room = s->peer ? STREAM_OUT - s->out.used : STREAM_OUT;
    memcpy(state, &now, size);
    return 0;
}

/* ---- all of a device ----------------------------------------------------------------------------------------------- */

void streams_init(struct streams *all, struct loop *loop, const char *who)
{
    *all = (struct streams){ .loop = loop, .who = who };
}

void streams_fini(struct streams *all)
{
    while (all->first) {
        struct vfu_stream *handle = all->first->handles;

        if (handle)
            (void)stream_close(all, handle);
        else
            free_stream(all->first);
    }
}

int streams_start(struct streams *all)
{
    all->started = true;
    for (struct stream *s = all->first; s; s = s->next) {
        int error = s->started ? 0 : start(s);

        if (error)
            return error;
    }
    return 0;
}

void streams_freeze(struct streams *all, bool frozen)
{
    if (all->frozen == frozen)
        return;
    all->frozen = frozen;
    if (all->first)
        stream_schedule(all);
}

void streams_print(const struct streams *all, FILE *out)
{
    for (const struct stream *s = all->first; s; s = s->next)
        fprintf(out, "  stream      %s%s%s\n", s->spec, *s->tty ? ": the terminal " : "", s->tty);
}
