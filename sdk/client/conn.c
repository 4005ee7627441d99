/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conn - a connection's life, its time limits and its errors. The thread of its connection.
 */
#define _GNU_SOURCE
#include "sdk/client/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)

uint64_t conn_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static uint64_t conn_after(uint64_t ns)
{
    uint64_t now = conn_now();

    return ns > UINT64_MAX - now ? VFUC_FOREVER : now + ns;
}

uint64_t conn_deadline(const struct vfuc *c)
{
    return conn_after(c->options.timeout_ns);
}

int conn_left(uint64_t deadline)
{
    uint64_t now, ms;

    if (deadline == VFUC_FOREVER)
        return -1;
    now = conn_now();
    if (now >= deadline)
        return 0;
    ms = (deadline - now + VFUC_NS_PER_MS - 1) / VFUC_NS_PER_MS;
    return ms > 1000000000 ? 1000000000 : (int)ms;
}

bool conn_late(uint64_t deadline)
{
    return deadline != VFUC_FOREVER && conn_now() >= deadline;
}

/* With a broken protocol, the message at fault is what one wants to see. */
static void conn_show(const struct vfuc *c, char *text, size_t room)
{
    const uint8_t *byte = (const uint8_t *)&c->seen;
    size_t n = strlen(text);

    if (!c->met || n + 80 > room)
        return;
    n += (size_t)snprintf(text + n, room - n, "; the last message's header:");
    for (size_t i = 0; i < sizeof c->seen; i++)
        n += (size_t)snprintf(text + n, room - n, " %s%02x", i && i % 4 == 0 ? " " : "", byte[i]);
}

static void conn_text(struct vfuc *c, int err, const char *format, va_list args)
{
    /* The buffer may be among the arguments. */
    char text[sizeof c->error];

    vsnprintf(text, sizeof text, format, args);
    if (err == -EPROTO)
        conn_show(c, text, sizeof text);
    memcpy(c->error, text, sizeof text);
}

int conn_error(struct vfuc *c, int err, const char *format, ...)
{
    va_list args;

    if (c->broken)
        return err;
    va_start(args, format);
    conn_text(c, err, format, args);
    va_end(args);
    return err;
}

int conn_broken(struct vfuc *c, int err, const char *format, ...)
{
    va_list args;

    if (!c->broken) {
        va_start(args, format);
        conn_text(c, err, format, args);
        va_end(args);
        c->broken = err;
    }
    return err;
}

int conn_ready(struct vfuc *c)
{
    if (c->broken)
        return c->broken;
    if (c->main.fd < 0)
        return conn_error(c, -ENOTCONN, "not connected");
    if (!c->negotiated)
        return conn_error(c, -ENOTCONN, "not negotiated: only raw messages work on this connection");
    return 0;
}

static bool conn_options(struct vfuc_options *o, const struct vfuc_options *given)
{
    memset(o, 0, sizeof *o);
    if (given) {
        if (given->struct_size < sizeof(size_t) + sizeof(uint64_t))
            return false;
        memcpy(o, given, given->struct_size < sizeof *o ? given->struct_size : sizeof *o);
    }
    o->struct_size = sizeof *o;
    if (!o->timeout_ns)
        o->timeout_ns = 5 * SECOND;
    if (!o->max_msg_fds)
        o->max_msg_fds = 16;
    if (!o->max_data_xfer_size)
        o->max_data_xfer_size = MIB;
    if (!o->max_dma_maps)
        o->max_dma_maps = 65535;
    if (!o->pgsizes)
        o->pgsizes = 4096;
    if (!o->migration_pgsize)
        o->migration_pgsize = 4096;
    if (!o->migration_max_bitmap_size)
        o->migration_max_bitmap_size = o->max_data_xfer_size;
    return o->max_msg_fds <= WIRE_FDS && o->max_data_xfer_size <= UINT64_C(64) * MIB && o->flags < VFUC_NO_MIGRATION << 1;
}

struct vfuc *vfuc_new(const struct vfuc_options *options)
{
    struct vfuc *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->main.fd = c->twin.fd = -1;
    c->tx = malloc(TX_SIZE);
    if (!c->tx || !conn_options(&c->options, options))
        goto fail;
    if (c->options.json) {
        char *copy = strdup(c->options.json);

        c->options.json = copy;
        if (!copy)
            goto fail;
    }
    return c;
fail:
    free(c->tx);
    free(c);
    return NULL;
}

void vfuc_free(struct vfuc *c)
{
    if (!c)
        return;
    vfuc_close(c);
    free((char *)c->options.json);
    free(c->memory);
    free(c->tx);
    free(c);
}

void vfuc_close(struct vfuc *c)
{
    wire_close(&c->main);
    wire_close(&c->twin);
    intr_close(c);
    memory_close(c);
    map_close(c);
    bell_close(c);
    free(c->server_json);
    free(c->scratch);
    c->server_json = NULL;
    c->scratch = NULL;
    memset(&c->server, 0, sizeof c->server);
    memset(c->slots, 0, sizeof c->slots);
    c->negotiated = false;
    c->broken = 0;
    c->tx_len = 0;
    c->waiting = c->special = 0;
    c->due = c->kept = 0;
    c->drain_error = 0;
    c->oldest_id = c->next_id;
    c->met = false;
}

const char *vfuc_error(const struct vfuc *c)
{
    return c->error;
}

int vfuc_fd(const struct vfuc *c)
{
    return c->main.fd;
}

int vfuc_twin_fd(const struct vfuc *c)
{
    return c->twin.fd;
}

const struct vfuc_server *vfuc_server(const struct vfuc *c)
{
    return c->negotiated ? &c->server : NULL;
}

static int conn_socket_limit(struct vfuc *c, int fd, int which)
{
    struct timeval t = { 0, 0 };

    if (c->options.timeout_ns != VFUC_FOREVER) {
        t.tv_sec = (time_t)(c->options.timeout_ns / SECOND);
        t.tv_usec = (suseconds_t)(c->options.timeout_ns % SECOND / 1000);
        if (!t.tv_sec && !t.tv_usec)
            t.tv_usec = 1;
    }
    if (setsockopt(fd, SOL_SOCKET, which, &t, sizeof t) < 0)
        return conn_error(c, -errno, "cannot set the socket's time limit: %s", strerror(errno));
    return 0;
}

/* The first receive of a wait is a blocking one, which saves a system call on every access. */
static int conn_socket_timeout(struct vfuc *c, int fd)
{
    return conn_socket_limit(c, fd, SO_RCVTIMEO);
}

int vfuc_timeout(struct vfuc *c, uint64_t timeout_ns)
{
    c->options.timeout_ns = timeout_ns ? timeout_ns : 5 * SECOND;
    return c->main.fd >= 0 ? conn_socket_timeout(c, c->main.fd) : 0;
}

int vfuc_attach(struct vfuc *c, int fd)
{
    size_t largest = (c->options.max_data_xfer_size > MIB ? c->options.max_data_xfer_size : MIB) + 4096;
    int err;

    if (c->main.fd >= 0) {
        close(fd);
        return conn_error(c, -EISCONN, "already connected");
    }
    vfuc_close(c);
    err = conn_socket_timeout(c, fd);
    if (!err && wire_open(&c->main, fd, largest) < 0)
        err = conn_error(c, -ENOMEM, "out of memory");
    if (err) {
        close(fd);
        return err;
    }
    if (!(c->options.flags & VFUC_NO_VERSION))
        err = hello_negotiate(c);
    if (err)
        vfuc_close(c);
    return err;
}

/* -ENOENT: no socket there yet; -ECONNREFUSED: nobody behind it yet. */
static bool conn_not_yet(int err)
{
    return err == -ENOENT || err == -ECONNREFUSED;
}

static int conn_dial(struct vfuc *c, const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int err;

    if (fd < 0)
        return -errno;
    /* Where many wait to be accepted, connect sleeps, and this is the limit it knows. */
    err = conn_socket_limit(c, fd, SO_SNDTIMEO);
    while (!err && connect(fd, (const struct sockaddr *)address, sizeof *address) < 0) {
        if (errno != EINTR)
            err = errno == EAGAIN ? -ETIMEDOUT : -errno;
    }
    if (err == -EISCONN)
        err = 0;
    if (err) {
        close(fd);
        return err;
    }
    return fd;
}

int vfuc_connect(struct vfuc *c, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    uint64_t deadline = conn_deadline(c);
    int fd;

    if (c->main.fd >= 0)
        return conn_error(c, -EISCONN, "already connected");
    if (strlen(path) >= sizeof address.sun_path)
        return conn_error(c, -ENAMETOOLONG, "%.60s...: longer than a socket's path can be (%zu bytes)", path,
                          sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    while ((fd = conn_dial(c, &address)) < 0) {
        if (!(c->options.flags & VFUC_WAIT) || !conn_not_yet(fd) || conn_now() >= deadline)
            return conn_error(c, fd, "%s: %s", path, strerror(-fd));
        nanosleep(&(struct timespec){ 0, 2000000 }, NULL);
    }
    return vfuc_attach(c, fd);
}
