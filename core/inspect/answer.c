/* SPDX-License-Identifier: BSD-3-Clause */
/* answer - what a control socket's connections are sent: lines, and the buffer they wait in. Main's thread. */
#include "core/inspect/control_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/device/device.h"

bool answer_send(struct connection *c)
{
    while (c->out_at < c->out_used) {
        ssize_t n = send(c->watch.fd, c->out + c->out_at, c->out_used - c->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            control_drop(c);
            return false;
        }
        c->out_at += (size_t)n;
    }
    if (c->out_at == c->out_used) {
        if (c->ending) {
            control_drop(c);
            return false;
        }
        free(c->out); /* a map may have been large */
        c->out = NULL;
        c->out_at = c->out_used = c->out_room = 0;
    }
    return true;
}

void answer_watch(struct connection *c)
{
    bool read = !c->job && !c->out_used && !c->ending;

    loop_change(c->control->loop, &c->watch, (read ? EPOLLIN : 0u) | (c->out_used ? EPOLLOUT : 0u));
}

/* For so many bytes more. What has been sent makes room first: a reader who is never quite done costs no more for that. */
static bool make_room(struct connection *c, size_t size)
{
    size_t room = c->out_room ? c->out_room : 256;
    char *out;

    if (c->out_at > c->out_used / 2) {
        c->out_used -= c->out_at;
        memmove(c->out, c->out + c->out_at, c->out_used);
        c->out_at = 0;
    }
    while (room - c->out_used < size)
        room *= 2;
    out = room == c->out_room ? c->out : realloc(c->out, room);
    if (!out)
        return false;
    c->out = out;
    c->out_room = room;
    return true;
}

bool answer_line(struct connection *c, const json_t *value)
{
    size_t size = json_dumpb(value, NULL, 0, JSON_COMPACT);

    if (!size || !make_room(c, size + 1)) {
        log_limited(&c->control->limit, c->control->dev->name, LOG_ERROR, "control: no memory for an answer");
        control_drop(c);
        return false;
    }
    json_dumpb(value, c->out + c->out_used, size, JSON_COMPACT);
    c->out[c->out_used + size] = '\n';
    c->out_used += size + 1;
    return answer_send(c);
}

/* Two names for one number: this is the one that the manual pages have. */
static const char *error_name(int error)
{
    const char *name = error == ENOTSUP ? "ENOTSUP" : strerrorname_np(error);

    return name ? name : "EIO";
}

bool answer_reply(struct connection *c, const json_t *id, json_t *reply, int result)
{
    json_t *line = json_object();
    bool open;

    if (id)
        json_object_set(line, "id", (json_t *)(uintptr_t)id);
    json_object_set_new(line, "ok", json_boolean(result == 0));
    if (result && !json_object_get(reply, "error"))
        json_object_set_new(reply, "error", json_string(strerror(-result)));
    if (result)
        json_object_set_new(reply, "errno", json_string(error_name(-result)));
    json_object_update(line, reply);
    open = answer_line(c, line);
    json_decref(line);
    return open;
}

bool answer_refuse(struct connection *c, const json_t *id, int error, const char *format, ...)
{
    json_t *reply = json_object();
    char text[256];
    va_list args;
    bool open;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    control_error(reply, error, "%s", text);
    open = answer_reply(c, id, reply, error);
    json_decref(reply);
    return open;
}
