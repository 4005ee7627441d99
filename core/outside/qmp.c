/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * qmp - see qmp.h. A link is a connection and the commands for its address, of which the first is under way:
 *
 *   CLOSED -> GREETING -> NEGOTIATING -> READY, and gone with its last command.
 *
 * What the other side sends is whatever it likes: lines are limited, all that is waited for has a time limit, and a
 * line that is not expected ends the connection and all commands for it.
 */
#include "core/outside/qmp.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define COMMAND_MAX 255u
#define READ_SIZE 4096u
#define READS_A_ROUND 16           /* then the device's other business has its turn */
#define RETRY_NS UINT64_C(50000000) /* the server's backlog is full */
#define MS UINT64_C(1000000)

enum state { CLOSED, GREETING, NEGOTIATING, READY };

struct qmp_request {
    struct qmp_request *next;
    char *command;
    json_t *arguments;
    uint64_t id, deadline;
    uint32_t timeout_ms;
    void (*done)(void *arg, const struct vfu_qmp_result *result);
    void *arg;
    int status;
    char *text;
};

struct qmp_link {
    struct loop_watch watch; /* first; fd is -1 while CLOSED */
    struct loop_timer timer;
    struct qmp *qmp;
    struct qmp_link *next;
    struct qmp_request *first, **last;
    enum state state;
    bool watching;
    uint64_t retry; /* CLOSED: when to connect; 0: now */
    char *in, *out;
    size_t in_size, in_room, searched, out_size, out_sent;
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
};

static struct qmp_link *link_of_timer(struct loop_timer *timer)
{
    return (struct qmp_link *)((char *)timer - offsetof(struct qmp_link, timer));
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static void free_request(struct qmp_request *request)
{
    json_decref(request->arguments);
    free(request->command);
    free(request->text);
    free(request);
}

static void tell(struct qmp *qmp, struct qmp_request *request)
{
    struct vfu_qmp_result result = {
        .struct_size = sizeof result,
        .status = request->status,
        .text = request->text ? request->text : strerror(-request->status),
    };

    qmp->nrequests--;
    if (request->done)
        request->done(request->arg, &result);
    free_request(request);
}

/* What a `done` asks for comes behind. */
static void tell_all(struct loop_timer *timer)
{
    struct qmp *qmp = (struct qmp *)((char *)timer - offsetof(struct qmp, tell));
    struct qmp_request *request = qmp->ended;

    if (qmp->held)
        return;
    qmp->ended = NULL;
    qmp->last = &qmp->ended;
    while (request) {
        struct qmp_request *next = request->next;

        tell(qmp, request);
        request = next;
    }
}

static void soon(struct qmp *qmp)
{
    qmp->tell.fn = tell_all;
    if (qmp->ended && !qmp->held && loop_arm(qmp->loop, &qmp->tell, loop_now()))
        tell_all(&qmp->tell); /* no memory for a timer: we are in the loop, it is only less in order */
}

/* A command's time begins when its turn has come. */
static void start_time(struct qmp_link *link)
{
    if (link->first)
        link->first->deadline = loop_now() + link->first->timeout_ms * MS;
}

/* Takes the first command off; text is the caller's to give. */
static void end_first(struct qmp_link *link, int status, char *text)
{
    struct qmp *qmp = link->qmp;
    struct qmp_request *request = link->first;

    link->first = request->next;
    if (!link->first)
        link->last = &link->first;
    request->next = NULL;
    request->status = status;
    request->text = text;
    if (status && status != -ECANCELED)
        log_limited(&qmp->limit, qmp->who, LOG_WARN, "qmp: %s: %s", request->command, text ? text : strerror(-status));
    else if (!status)
        log_debug(qmp->who, "qmp: %s: %.200s", request->command, text ? text : "");
    *qmp->last = request;
    qmp->last = &request->next;
    start_time(link);
    soon(qmp);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void disconnect(struct qmp_link *link)
{
    if (link->watching)
        loop_remove(link->qmp->loop, &link->watch);
    if (link->watch.fd >= 0)
        close(link->watch.fd);
    link->watch.fd = -1;
    link->watching = false;
    link->state = CLOSED;
    link->retry = 0;
    link->in_size = link->searched = 0;
    free(link->out);
    link->out = NULL;
    link->out_size = link->out_sent = 0;
}

static void free_link(struct qmp_link *link)
{
    struct qmp_link **at = &link->qmp->links;

    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
    disconnect(link);
    loop_disarm(link->qmp->loop, &link->timer);
    free(link->in);
    free(link);
}

static void fail_all(struct qmp_link *link, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The connection ends, and what was asked of it. The link stays, for run(). */
static void fail_all(struct qmp_link *link, int status, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    disconnect(link);
    while (link->first)
        end_first(link, status, strdup(text));
}

static void want(struct qmp_link *link)
{
    uint32_t events = EPOLLIN | (link->out ? EPOLLOUT : 0u);

    if (events != link->watch.events && loop_change(link->qmp->loop, &link->watch, events) == 0)
        link->watch.events = events;
}

/* False: the connection has ended. */
static bool flush_out(struct qmp_link *link)
{
    while (link->out) {
        ssize_t n = send(link->watch.fd, link->out + link->out_sent, link->out_size - link->out_sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            fail_all(link, -ECONNRESET, "%s: the connection has ended: %s", link->path, strerror(errno));
            return false;
        }
        link->out_sent += (size_t)n;
        if (link->out_sent == link->out_size) {
            free(link->out);
            link->out = NULL;
            link->out_size = link->out_sent = 0;
        }
    }
    want(link);
    return true;
}

/* Takes the message. There is nothing on its way: a command waits for the reply to the one before. */
static bool send_message(struct qmp_link *link, json_t *message)
{
    char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    size_t n = text ? strlen(text) : 0;
    char *line = text ? realloc(text, n + 2) : NULL;

    json_decref(message);
    if (!line) {
        free(text);
        fail_all(link, -ENOMEM, "not enough memory");
        return false;
    }
    memcpy(line + n, "\n", 2);
    link->out = line;
    link->out_size = n + 1;
    return flush_out(link);
}

static bool send_first(struct qmp_link *link)
{
    const struct qmp_request *request = link->first;
    json_t *message = json_pack("{s:s, s:I}", "execute", request->command, "id", (json_int_t)request->id);

    if (message && request->arguments)
        json_object_set(message, "arguments", request->arguments);
    return send_message(link, message);
}

/* ---- what comes in ----------------------------------------------------------------------------------------------- */

static bool not_qmp(struct qmp_link *link, const char *why)
{
    fail_all(link, -EPROTO, "%s does not speak QMP: %s", link->path, why);
    return false;
}

/* One line, whatever they send: it becomes a line of the log. NULL: no memory. */
static char *description(const json_t *error)
{
    const char *text = json_string_value(json_object_get(error, "desc"));
    char *line = strdup(text ? text : "an error without a description");

    for (char *at = line; at && *at; at++) {
        if ((unsigned char)*at < 0x20)
            *at = ' ';
    }
    return line;
}

static bool take_answer(struct qmp_link *link, const json_t *message)
{
    const json_t *id = json_object_get(message, "id");
    json_t *value = json_object_get(message, "return"), *error = json_object_get(message, "error");

    if (!value && !error)
        return not_qmp(link, "a line is neither a reply nor an event");
    if (!json_is_integer(id) || (uint64_t)json_integer_value(id) != link->first->id)
        return not_qmp(link, "a reply to what was not asked");
    if (value) {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

        end_first(link, text ? 0 : -ENOMEM, text);
    } else {
        end_first(link, -EREMOTEIO, description(error));
    }
    return link->first ? send_first(link) : true;
}

/* True: go on with the connection. */
static bool take_message(struct qmp_link *link, const json_t *message)
{
    const json_t *error;
    char *text;

    if (link->state == GREETING) {
        if (!json_is_object(json_object_get(message, "QMP")))
            return not_qmp(link, "no greeting");
        link->state = NEGOTIATING;
        return send_message(link, json_pack("{s:s}", "execute", "qmp_capabilities"));
    }
    if (json_object_get(message, "event"))
        return true;
    if (link->state == READY)
        return take_answer(link, message);
    error = json_object_get(message, "error");
    if (error || !json_object_get(message, "return")) {
        text = error ? description(error) : NULL;
        (void)not_qmp(link, text ? text : "no reply to qmp_capabilities");
        free(text);
        return false;
    }
    link->state = READY;
    return send_first(link);
}

static bool take_line(struct qmp_link *link, const char *line, size_t size)
{
    json_error_t problem;
    json_t *message;
    bool on;

    while (size && strchr(" \t\r", line[size - 1]))
        size--;
    if (!size)
        return true;
    message = json_loadb(line, size, 0, &problem);
    if (!json_is_object(message)) {
        json_decref(message);
        return not_qmp(link, "a line is no JSON object");
    }
    on = take_message(link, message);
    json_decref(message);
    return on && link->first;
}

/* All lines that are there. */
static bool take_lines(struct qmp_link *link)
{
    size_t begin = 0;
    const char *end;

    while ((end = memchr(link->in + link->searched, '\n', link->in_size - link->searched))) {
        size_t at = (size_t)(end - link->in);

        if (!take_line(link, link->in + begin, at - begin))
            return false;
        begin = link->searched = at + 1;
    }
    link->in_size -= begin;
    memmove(link->in, link->in + begin, link->in_size);
    link->searched = link->in_size;
    return true;
}

static bool make_room(struct qmp_link *link)
{
    size_t room = link->in_room ? 2 * link->in_room : 2 * READ_SIZE;
    char *grown;

    if (link->in_size > QMP_LINE_MAX)
        return not_qmp(link, "a line of more than 1 MiB");
    if (link->in_room - link->in_size >= READ_SIZE)
        return true;
    grown = realloc(link->in, room);
    if (!grown) {
        fail_all(link, -ENOMEM, "not enough memory");
        return false;
    }
    link->in = grown;
    link->in_room = room;
    return true;
}

static void take_input(struct qmp_link *link)
{
    for (int i = 0; i < READS_A_ROUND; i++) {
        ssize_t n;

        if (!make_room(link))
            return;
        n = recv(link->watch.fd, link->in + link->in_size, READ_SIZE, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            fail_all(link, -ECONNRESET, "%s: the connection has ended%s%s", link->path, n ? ": " : "",
                     n ? strerror(errno) : "");
            return;
        }
        link->in_size += (size_t)n;
        if (!take_lines(link))
            return;
    }
}

/* ---- the way of a link ------------------------------------------------------------------------------------------- */

static void run(struct qmp_link *link);

static void link_ready(struct loop_watch *watch, uint32_t ready)
{
    struct qmp_link *link = (struct qmp_link *)watch;

    if (!(ready & EPOLLOUT) || flush_out(link)) {
        if (ready & (EPOLLIN | EPOLLHUP | EPOLLERR))
            take_input(link);
    }
    run(link);
}

static void connect_link(struct qmp_link *link)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error;

    memcpy(address.sun_path, link->path, sizeof address.sun_path);
    link->watch = (struct loop_watch){ .fd = fd, .events = EPOLLIN, .fn = link_ready };
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        error = errno;
        disconnect(link);
        if (fd >= 0 && error == EAGAIN) {
            link->retry = loop_now() + RETRY_NS;
            return;
        }
        fail_all(link, -error, "cannot connect to %s: %s; start QEMU with -qmp unix:%s,server=on,wait=off", link->path,
                 strerror(error), link->path);
        return;
    }
    error = loop_add(link->qmp->loop, &link->watch);
    if (error) {
        fail_all(link, error, "cannot watch the connection to %s: %s", link->path, strerror(-error));
        return;
    }
    link->watching = true;
    link->state = GREETING;
}

/* The first command's time is over; those behind it have a new connection. */
static void time_out(struct qmp_link *link)
{
    static const char *const waited_for[] = {
        [CLOSED] = "a place in its queue",
        [GREETING] = "its greeting; it talks to one at a time, is somebody else connected?",
        [NEGOTIATING] = "its capabilities",
        [READY] = "the reply",
    };
    char text[256 + sizeof link->path];

    snprintf(text, sizeof text, "%s: waited %" PRIu32 " ms for %s", link->path, link->first->timeout_ms,
             waited_for[link->state]);
    disconnect(link);
    end_first(link, -ETIMEDOUT, strdup(text));
}

/* Whatever is to be done now; then the link waits, or is gone. */
static void run(struct qmp_link *link)
{
    uint64_t now = loop_now(), wait;

    while (link->first && link->first->deadline <= now)
        time_out(link);
    if (link->first && link->state == CLOSED && link->retry <= now)
        connect_link(link);
    if (!link->first) {
        free_link(link);
        return;
    }
    wait = link->first->deadline;
    if (link->state == CLOSED && link->retry < wait)
        wait = link->retry;
    if (loop_arm(link->qmp->loop, &link->timer, wait)) {
        fail_all(link, -ENOMEM, "not enough memory");
        free_link(link);
    }
}

static void link_due(struct loop_timer *timer)
{
    run(link_of_timer(timer));
}

/* ---- for the rest of the host ------------------------------------------------------------------------------------ */

const char *qmp_path(const char *address)
{
    const char *path = address && strncmp(address, "unix:", 5) == 0 ? address + 5 : NULL;
    size_t n = path ? strlen(path) : 0;

    return n && n < sizeof((struct sockaddr_un *)0)->sun_path ? path : NULL;
}

static struct qmp_link *find_link(struct qmp *qmp, const char *path)
{
    struct qmp_link *link = qmp->links;

    while (link && strcmp(link->path, path))
        link = link->next;
    if (link)
        return link;
    link = calloc(1, sizeof *link);
    if (!link)
        return NULL;
    link->qmp = qmp;
    link->watch.fd = -1;
    link->last = &link->first;
    link->timer.fn = link_due;
    snprintf(link->path, sizeof link->path, "%s", path);
    link->next = qmp->links;
    qmp->links = link;
    return link;
}

/* -EINVAL: it is none. */
static int take_arguments(json_t **arguments, const char *text)
{
    *arguments = NULL;
    if (!text)
        return 0;
    if (strnlen(text, QMP_ARGUMENTS_MAX + 1) > QMP_ARGUMENTS_MAX)
        return -EINVAL;
    *arguments = json_loads(text, 0, NULL);
    if (json_is_object(*arguments))
        return 0;
    json_decref(*arguments);
    *arguments = NULL;
    return -EINVAL;
}

static int new_request(struct qmp_request **out, const struct vfu_qmp_command *command)
{
    struct qmp_request *request;
    json_t *text = json_string(command->command ? command->command : ""); /* NULL: not UTF-8 */
    size_t n = json_string_length(text);
    int error;

    json_decref(text);
    if (!n || n > COMMAND_MAX)
        return -EINVAL;
    request = calloc(1, sizeof *request);
    if (!request)
        return -ENOMEM;
    error = take_arguments(&request->arguments, command->arguments);
    request->command = strdup(command->command);
    if (!error && !request->command)
        error = -ENOMEM;
    if (error) {
        free_request(request);
        return error;
    }
    request->done = command->done;
    request->arg = command->arg;
    request->timeout_ms = command->timeout_ms ? command->timeout_ms : QMP_TIMEOUT_MS;
    *out = request;
    return 0;
}

int qmp_execute(struct qmp *qmp, struct loop *loop, const char *who, const struct vfu_qmp_command *command)
{
    struct vfu_qmp_command own = { 0 };
    struct qmp_request *request;
    struct qmp_link *link;
    int error;

    if (!command || command->struct_size < offsetof(struct vfu_qmp_command, arguments))
        return -EINVAL;
    memcpy(&own, command, command->struct_size < sizeof own ? command->struct_size : sizeof own);
    if (!qmp_path(own.address))
        return -EINVAL;
    if (qmp->closed)
        return -ESHUTDOWN;
    if (qmp->nrequests >= QMP_QUEUE_MAX)
        return -ENOSPC;
    error = new_request(&request, &own);
    if (error)
        return error;
    if (!qmp->last)
        qmp->last = &qmp->ended;
    qmp->loop = loop;
    snprintf(qmp->who, sizeof qmp->who, "%s", who);
    link = find_link(qmp, qmp_path(own.address));
    /* A new link starts from the loop, so that nothing ends within this call. One that is under way goes on. */
    error = !link ? -ENOMEM : link->first ? 0 : loop_arm(loop, &link->timer, loop_now());
    if (error) {
        if (link)
            free_link(link);
        free_request(request);
        return error;
    }
    request->id = ++qmp->next_id;
    *link->last = request;
    link->last = &request->next;
    if (link->first == request)
        start_time(link);
    qmp->nrequests++;
    return 0;
}

void qmp_hold(struct qmp *qmp, bool held)
{
    qmp->held = held;
    if (qmp->loop)
        soon(qmp);
}

void qmp_close(struct qmp *qmp)
{
    qmp->closed = true;
    if (!qmp->loop)
        return;
    qmp->held = true; /* results are told below */
    while (qmp->links) {
        struct qmp_link *link = qmp->links;

        while (link->first)
            end_first(link, -ECANCELED, NULL);
        free_link(link);
    }
    loop_disarm(qmp->loop, &qmp->tell);
    qmp->held = false;
    tell_all(&qmp->tell);
}
