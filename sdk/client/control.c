/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control - the control socket of vfu-host, for the library: JSON lines out and in, events kept until they are asked for.
 * One thread for each connection.
 */
#include <vfu/client.h>

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONTROL_SUFFIX ".control"
#define CONTROL_SECONDS 5
#define CONTROL_TIMEOUT (UINT64_C(1000000000) * CONTROL_SECONDS)
#define CONTROL_EVENTS 1024u
#define CONTROL_LINE (64u << 20) /* bytes of a line; a host's own have a few at most */

struct vfuc_control {
    int fd;
    uint64_t timeout_ns;
    char error[512];
    char *in; /* what has come and was not taken yet */
    size_t used, room, looked; /* no line ends in the first `looked` of them */
    uint64_t owed;             /* answers that nobody waits for any more */
    char *answer; /* given out last */
    char **events;
    size_t nevents;
};

static uint64_t control_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

__attribute__((format(printf, 3, 4))) static int control_fail(struct vfuc_control *c, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(c->error, sizeof c->error, format, args);
    va_end(args);
    return error;
}

const char *vfuc_control_error(const struct vfuc_control *c)
{
    return c ? c->error : "out of memory";
}

void vfuc_control_timeout(struct vfuc_control *c, uint64_t timeout_ns)
{
    c->timeout_ns = timeout_ns;
}

static int control_connect(struct vfuc_control *c, const char *socket_path, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval limit = { CONTROL_SECONDS, 0 };
    int error;

    if (strlen(path) >= sizeof address.sun_path)
        return control_fail(c, -ENAMETOOLONG, "%s is too long for a UNIX socket", path);
    strcpy(address.sun_path, path);
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* Where many wait to be accepted, connect sleeps; this is the limit that it knows. */
    if (c->fd >= 0 && setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0 &&
        connect(c->fd, (struct sockaddr *)&address, sizeof address) == 0)
        return 0;
    error = -errno;
    if (error == -EAGAIN)
        return control_fail(c, -ETIMEDOUT, "%s: nobody has taken the connection within %d s", path, CONTROL_SECONDS);
    if (error == -ENOENT)
        return control_fail(c, error, "there is no control socket %s: either the server of %s is not vfu-host, or its "
                            "--control names another place", path, socket_path);
    if (error == -ECONNREFUSED)
        return control_fail(c, error, "nobody answers at %s: its vfu-host has ended", path);
    return control_fail(c, error, "cannot connect to %s: %s", path, strerror(-error));
}

int vfuc_control_open(const char *path, struct vfuc_control **out)
{
    struct vfuc_control *c = calloc(1, sizeof *c);
    size_t n = strlen(path), suffix = strlen(CONTROL_SUFFIX);
    bool named = n > suffix && strcmp(path + n - suffix, CONTROL_SUFFIX) == 0;
    char *full = malloc(n + suffix + 1);
    int error = -ENOMEM;

    *out = c;
    if (c && full) {
        c->fd = -1;
        c->timeout_ns = CONTROL_TIMEOUT;
        sprintf(full, "%s%s", path, named ? "" : CONTROL_SUFFIX);
        error = control_connect(c, path, full);
    }
    free(full);
    return error;
}

void vfuc_control_close(struct vfuc_control *c)
{
    if (!c)
        return;
    if (c->fd >= 0)
        close(c->fd);
    for (size_t i = 0; i < c->nevents; i++)
        free(c->events[i]);
    free(c->events);
    free(c->in);
    free(c->answer);
    free(c);
}

/* Milliseconds until then for poll(2), rounded up; deadline 0: none, -1. */
static int control_left(uint64_t deadline)
{
    uint64_t now = control_clock();

    if (!deadline)
        return -1;
    if (now >= deadline)
        return 0;
    return deadline - now > UINT64_C(3600000000000) ? 3600000 : (int)((deadline - now + 999999) / 1000000);
}

static int control_gone(struct vfuc_control *c, int error)
{
    return control_fail(c, error, "the control socket has closed the connection");
}

/* What there is: 0, -EAGAIN, or what is wrong. */
static int control_read(struct vfuc_control *c)
{
    ssize_t n;

    if (c->room - c->used < 16384) {
        size_t room = c->room ? 2 * c->room : 65536;
        char *in = room > CONTROL_LINE ? NULL : realloc(c->in, room);

        if (!in)
            return room > CONTROL_LINE
                       ? control_fail(c, -EPROTO, "the control socket sends a line without an end (%zu bytes so far)", c->used)
                       : control_fail(c, -ENOMEM, "out of memory");
        c->in = in;
        c->room = room;
    }
    n = recv(c->fd, c->in + c->used, c->room - c->used, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return -EAGAIN;
    if (n <= 0)
        return control_gone(c, n ? -errno : -EPIPE);
    c->used += (size_t)n;
    return 0;
}

/* One who takes a byte now and then does not move the end of the time, nor does one who never stops talking. */
static int control_send(struct vfuc_control *c, const char *bytes, size_t size, uint64_t deadline)
{
    while (size) {
        struct pollfd pfd = { .fd = c->fd, .events = POLLIN | POLLOUT };
        ssize_t n = send(c->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        int error = 0;

        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return control_fail(c, -errno, "the control socket is gone: %s", strerror(errno));
        if (n >= 0) {
            bytes += n;
            size -= (size_t)n;
            continue;
        }
        if (!control_left(deadline))
            return -ETIMEDOUT;
        /* Two sides that both send do not wait for each other. */
        if (poll(&pfd, 1, control_left(deadline)) > 0 && pfd.revents & (POLLIN | POLLHUP))
            error = control_read(c);
        if (error && error != -EAGAIN)
            return error;
    }
    return 0;
}

/* The first whole line, the caller's to free; NULL: none has come. */
static char *control_line(struct vfuc_control *c)
{
    char *end = c->used > c->looked ? memchr(c->in + c->looked, '\n', c->used - c->looked) : NULL, *line;
    size_t n;

    c->looked = end ? 0 : c->used;
    if (!end)
        return NULL;
    n = (size_t)(end - c->in);
    line = malloc(n + 1);
    if (!line)
        return NULL;
    memcpy(line, c->in, n);
    line[n] = '\0';
    c->used -= n + 1;
    memmove(c->in, end + 1, c->used);
    return line;
}

static int control_keep(struct vfuc_control *c, char *event)
{
    char **events;

    if (c->nevents == CONTROL_EVENTS) { /* the oldest goes */
        free(c->events[0]);
        memmove(c->events, c->events + 1, --c->nevents * sizeof *c->events);
    }
    events = realloc(c->events, (c->nevents + 1) * sizeof *events);
    if (!events) {
        free(event);
        return control_fail(c, -ENOMEM, "out of memory");
    }
    c->events = events;
    c->events[c->nevents++] = event;
    return 0;
}

/* Takes lines: an answer ends up in c->answer, 1; events are kept. 0: nothing more is there. Answers come in the order of
 * their requests, so that those which were given up are the first. */
static int control_take(struct vfuc_control *c, json_t **answer)
{
    char *line;

    while ((line = control_line(c))) {
        json_t *value = json_loads(line, 0, NULL);
        int error;

        if (!json_is_object(value)) {
            json_decref(value);
            free(line);
            return control_fail(c, -EPROTO, "what answers here is no control socket of vfu-host");
        }
        if (!json_object_get(value, "event") && c->owed) {
            c->owed--;
            json_decref(value);
            free(line);
            continue;
        }
        if (!json_object_get(value, "event")) {
            free(c->answer);
            c->answer = line;
            *answer = value;
            return 1;
        }
        json_decref(value);
        error = control_keep(c, line);
        if (error)
            return error;
    }
    return 0;
}

/* Waits for more, and takes it; 0: go on. Whatever comes, and however much of it, does not move the end of the time. */
static int control_await(struct vfuc_control *c, uint64_t deadline, json_t **answer)
{
    struct pollfd pfd = { .fd = c->fd, .events = POLLIN };
    int left = control_left(deadline), ready = poll(&pfd, 1, left), result = ready > 0 ? control_read(c) : 0;

    if (ready < 0 && errno != EINTR)
        return control_fail(c, -errno, "the control socket cannot be waited for: %s", strerror(errno));
    if (result && result != -EAGAIN)
        return result;
    result = control_take(c, answer);
    return result || left ? result : -ETIMEDOUT;
}

static uint64_t control_deadline(uint64_t timeout_ns)
{
    uint64_t now = control_clock();

    return timeout_ns > UINT64_MAX - now ? 0 : now + timeout_ns;
}

static int control_errno(const json_t *answer)
{
    const char *name = json_string_value(json_object_get(answer, "errno"));

    for (int i = 1; name && i < 134; i++) {
        if (strerrorname_np(i) && strcmp(strerrorname_np(i), name) == 0)
            return -i;
    }
    return name && strcmp(name, "ENOTSUP") == 0 ? -ENOTSUP : -EIO;
}

static int control_judge(struct vfuc_control *c, json_t *answer)
{
    const char *text = json_string_value(json_object_get(answer, "error"));
    int error = json_is_true(json_object_get(answer, "ok")) ? 0 : control_errno(answer);

    if (error)
        control_fail(c, error, "%s", text ? text : "the command has failed");
    json_decref(answer);
    return error;
}

int vfuc_control_call(struct vfuc_control *c, const char *request, const char **reply)
{
    uint64_t deadline = c->timeout_ns ? control_deadline(c->timeout_ns) : 0;
    char *line = strdup(request);
    json_t *answer = NULL;
    size_t n = strlen(request);
    int result;

    c->error[0] = '\0';
    if (reply)
        *reply = NULL;
    if (!line)
        return control_fail(c, -ENOMEM, "out of memory");
    if (strspn(request, " \t\r\n") == n) {
        free(line);
        return control_fail(c, -EINVAL, "an empty request has no answer");
    }
    /* JSON has newlines between its words only; here one ends the request. */
    for (char *p = line; *p; p++)
        *p = *p == '\n' || *p == '\r' ? ' ' : *p;
    line[n] = '\n';
    result = c->fd < 0 ? control_fail(c, -ENOTCONN, "not connected") : control_send(c, line, n + 1, deadline);
    free(line);
    if (result == -ETIMEDOUT) { /* half a request: nothing can follow it */
        close(c->fd);
        c->fd = -1;
        return control_fail(c, result, "the request was not taken within %.3g s", (double)c->timeout_ns / 1e9);
    }
    if (!result)
        result = control_take(c, &answer);
    while (!result)
        result = control_await(c, deadline, &answer);
    if (result == -ETIMEDOUT) {
        c->owed++;
        return control_fail(c, result, "no answer within %.3g s", (double)c->timeout_ns / 1e9);
    }
    if (result != 1)
        return result;
    if (reply)
        *reply = c->answer;
    return control_judge(c, answer);
}

int vfuc_control_event(struct vfuc_control *c, uint64_t timeout_ns, const char **event)
{
    uint64_t deadline = control_deadline(timeout_ns);
    json_t *answer = NULL;
    int result = c->fd < 0 ? control_fail(c, -ENOTCONN, "not connected") : 0;

    if (!result) {
        c->error[0] = '\0';
        result = control_take(c, &answer);
    }
    while (!c->nevents && result >= 0) {
        json_decref(answer); /* one that came too late */
        answer = NULL;
        result = control_await(c, deadline, &answer);
        if (result > 0 && !control_left(deadline))
            result = -ETIMEDOUT;
    }
    json_decref(answer);
    if (!c->nevents)
        return result == -ETIMEDOUT ? 0 : result;
    free(c->answer);
    c->answer = c->events[0];
    memmove(c->events, c->events + 1, --c->nevents * sizeof *c->events);
    *event = c->answer;
    return 1;
}
