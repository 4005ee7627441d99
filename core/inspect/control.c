/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control - a device's control socket: connections, lines, and requests on their way to the device's thread and back.
 * What goes out is core/inspect/answer.c's.
 * Functions run on main's thread but for those named device_* and control_finish, which run on the device's.
 */
#include "core/inspect/control_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/device/device.h"
#include "core/regmap/regdump.h"
#include "core/wire/socketpath.h"

#define TICK_NS UINT64_C(250000000)
/* Waiting for so long to begin, or to end, is told the asker. */
#define BEGIN_NS UINT64_C(2000000000)
#define END_NS UINT64_C(10000000000)

int control_error(json_t *reply, int error, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* What a client has sent may be no UTF-8, and may be cut in the middle of a character. */
    json_object_set_new(reply, "error", regdump_text(text));
    return error;
}

uint64_t control_from(const json_t *request)
{
    return (uint64_t)json_integer_value(json_object_get(request, "\x01""from"));
}

/* ---- events of the device */

struct told {
    struct control *control;
    json_t *event;
};

static void deliver(void *arg)
{
    struct told told = *(struct told *)arg;
    struct control *control = told.control;

    free(arg);
    __atomic_fetch_sub(&control->waiting, 1, __ATOMIC_RELAXED);
    for (struct connection *c = control->connections, *next; c; c = next) {
        next = c->next;
        if (!c->subscribed || c->ending)
            continue;
        if (c->out_used - c->out_at > CONTROL_EVENTS_MAX) {
            log_limited(&control->limit, control->dev->name, LOG_WARN,
                        "control: a subscriber is dropped: it does not read its events");
            control_drop(c);
        } else if (answer_line(c, told.event)) {
            answer_watch(c);
        }
    }
    json_decref(told.event);
}

static void device_told(void *ctx, struct json_t *event)
{
    struct control *control = ctx;
    struct told *told = NULL;

    if (event && __atomic_load_n(&control->subscribers, __ATOMIC_RELAXED) > 0 &&
        __atomic_load_n(&control->waiting, __ATOMIC_RELAXED) < 4096)
        told = malloc(sizeof *told);
    if (told) {
        *told = (struct told){ control, event };
        __atomic_fetch_add(&control->waiting, 1, __ATOMIC_RELAXED);
        if (loop_post(control->loop, deliver, told) == 0)
            return;
        __atomic_fetch_sub(&control->waiting, 1, __ATOMIC_RELAXED);
        free(told);
    }
    json_decref(event);
}

/* Any thread. What the list of reports keeps stays its own. */
static void report_told(void *ctx, json_t *report)
{
    struct control *control = ctx;
    json_t *event;

    if (__atomic_load_n(&control->subscribers, __ATOMIC_RELAXED) == 0)
        return;
    event = json_deep_copy(report);
    if (event && json_object_set_new(event, "event", json_string("report"))) {
        json_decref(event);
        event = NULL;
    }
    device_told(control, event);
}

/* ---- requests on their way */

static void free_job(struct job *job)
{
    struct job **link = &job->control->jobs;

    while (*link && *link != job)
        link = &(*link)->next;
    if (*link)
        *link = job->next;
    json_decref(job->request);
    json_decref(job->reply);
    free(job);
}

static bool take_lines(struct connection *c);

static void job_finished(void *arg)
{
    struct job *job = arg;
    struct connection *c = job->from;
    bool open = c != NULL;

    if (c) {
        c->job = NULL;
        c->owner |= (job->command->flags & CONTROL_OWNS) != 0;
        open = answer_reply(c, json_object_get(job->request, "id"), job->reply, job->result);
    }
    free_job(job);
    if (open && take_lines(c))
        answer_watch(c);
}

static void device_job_done(struct job *job, int result)
{
    job->result = result;
    /* Without memory nobody is told; control_free takes it away. */
    (void)loop_post(job->control->loop, job_finished, job);
}

static void device_run_job(struct ask_item *item)
{
    struct job *job = (struct job *)item;
    struct device *dev = job->control->dev;
    int result;

    if (dev->hold.held && !(job->command->flags & CONTROL_HELD))
        result = control_error(job->reply, -EBUSY, "the device is held at %s: '%s' waits for 'continue'",
                               dev->hold.name, job->command->name);
    else
        result = job->command->fn(dev, job->request, job->reply);
    if (result == CONTROL_LATER) {
        job->later = job->control->later;
        job->control->later = job;
    } else {
        device_job_done(job, result);
    }
}

void control_finish(struct device *dev, json_t *reply, int result)
{
    struct control *control = dev->tell_ctx;
    struct job **link, *job;

    if (!control)
        return;
    link = &control->later;
    while (*link && (*link)->reply != reply)
        link = &(*link)->later;
    job = *link;
    if (!job)
        return;
    *link = job->later;
    device_job_done(job, result);
}

static struct job *post_job(struct control *control, const struct control_command *command, json_t *request)
{
    struct job *job = calloc(1, sizeof *job);

    if (!job)
        return NULL;
    *job = (struct job){
        .item.run = device_run_job,
        .next = control->jobs,
        .control = control,
        .command = command,
        .request = json_incref(request),
        .reply = json_object(),
        .asked = loop_now(),
    };
    control->jobs = job;
    if (ask_post(&control->dev->ask, &job->item)) {
        free_job(job);
        return NULL;
    }
    if (!control->tick.place)
        (void)loop_arm(control->loop, &control->tick, job->asked + TICK_NS);
    return job;
}

/* It will be answered "busy"; if it has begun, what it brings is dropped. */
static bool give_up(struct job *job, uint64_t waited)
{
    struct connection *c = job->from;
    const json_t *id = json_object_get(job->request, "id");
    bool begun = !ask_withdraw(&job->control->dev->ask, &job->item), open;

    if (begun && (waited < END_NS || (job->command->flags & CONTROL_LONG)))
        return false;
    c->job = NULL;
    job->from = NULL;
    c->owner |= begun && (job->command->flags & CONTROL_OWNS);
    open = answer_refuse(c, id, -EBUSY, begun ? "the device is busy for %u s: '%s' has not returned"
                                       : "the device is busy for %u s: a callback has not returned ('%s' was not done)",
                  (unsigned)(waited / 1000000000u), job->command->name);
    if (!begun)
        free_job(job);
    if (open && take_lines(c))
        answer_watch(c);
    return true;
}

static void tick(struct loop_timer *timer)
{
    struct control *control = (struct control *)((char *)timer - offsetof(struct control, tick));
    uint64_t now = loop_now();
    bool again = true;

    /* What is answered may take others' jobs away, and may bring new ones, asked later than `now`. */
    while (again) {
        again = false;
        for (struct job *job = control->jobs; job && !again; job = job->next)
            again = job->from && job->asked + BEGIN_NS <= now && give_up(job, now - job->asked);
    }
    if (control->jobs)
        (void)loop_arm(control->loop, timer, now + TICK_NS);
}

/* ---- input */

static bool subscribe(struct connection *c, const json_t *request)
{
    const json_t *on = json_object_get(request, "on");
    bool wanted = !json_is_false(on);
    json_t *reply;
    bool open;

    if (on && !json_is_boolean(on))
        return answer_refuse(c, json_object_get(request, "id"), -EINVAL, "\"on\" is true or false");
    reply = json_object();
    if (wanted != c->subscribed)
        __atomic_fetch_add(&c->control->subscribers, wanted ? 1 : -1, __ATOMIC_RELAXED);
    c->subscribed = wanted;
    open = answer_reply(c, json_object_get(request, "id"), reply, 0);
    json_decref(reply);
    return open;
}

static bool take_request(struct connection *c, json_t *request)
{
    const json_t *id = json_object_get(request, "id");
    const char *name = json_string_value(json_object_get(request, "cmd"));
    const struct control_command *command = name ? verbs_find(name) : NULL;

    if (!json_is_object(request))
        return answer_refuse(c, NULL, -EINVAL, "a request is an object, as in {\"id\": 1, \"cmd\": \"info\"}");
    if (!name)
        return answer_refuse(c, id, -EINVAL, "a request has a \"cmd\", a string; 'help' lists them");
    if (strcmp(name, "subscribe") == 0)
        return subscribe(c, request);
    if (!command)
        return answer_refuse(c, id, -ENOSYS, "there is no command '%.64s'; 'help' lists them", name);
    json_object_set_new(request, "\x01""from", json_integer((json_int_t)c->id));
    c->job = post_job(c->control, command, request);
    if (!c->job)
        return answer_refuse(c, id, -ENOMEM, "no memory for the request");
    c->job->from = c;
    return true;
}

/* False: it is closed. */
static bool take_line(struct connection *c, const char *line, size_t size)
{
    json_error_t error;
    json_t *request;
    bool open;

    if (strspn(line, " \t\r\n") >= size)
        return true;
    request = json_loadb(line, size, JSON_REJECT_DUPLICATES, &error);
    if (!request)
        return answer_refuse(c, NULL, -EINVAL, "not JSON: %s (column %d)", error.text, error.column);
    open = take_request(c, request);
    json_decref(request);
    return open;
}

/* Whole lines, until one is under way. False: it is closed. */
static bool take_lines(struct connection *c)
{
    size_t at = 0;
    bool open = true;

    while (open && !c->job && !c->ending && !c->out_used) {
        char *end = memchr(c->in + at, '\n', c->in_used - at);
        size_t start = at;

        if (!end)
            break;
        at = (size_t)(end + 1 - c->in);
        open = take_line(c, c->in + start, at - start);
    }
    if (!open)
        return false;
    c->in_used -= at;
    memmove(c->in, c->in + at, c->in_used);
    if (c->in_used < CONTROL_LINE_MAX || memchr(c->in, '\n', c->in_used))
        return true;
    c->ending = true;
    return answer_refuse(c, NULL, -EMSGSIZE, "a request has up to %u bytes; this connection is closed", CONTROL_LINE_MAX);
}

static void connection_ready(struct loop_watch *watch, uint32_t ready)
{
    struct connection *c = (struct connection *)watch;
    ssize_t n;

    if ((ready & EPOLLOUT) && !answer_send(c))
        return;
    if (ready & EPOLLIN) {
        n = recv(watch->fd, c->in + c->in_used, CONTROL_LINE_MAX - c->in_used, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            control_drop(c);
            return;
        }
        if (n > 0)
            c->in_used += (size_t)n;
    } else if (ready & (EPOLLHUP | EPOLLERR)) {
        control_drop(c);
        return;
    }
    if (take_lines(c))
        answer_watch(c);
}

/* ---- connections */

static void forget_breaks(struct control *control, uint64_t id);

void control_drop(struct connection *c)
{
    struct control *control = c->control;
    struct connection **link = &control->connections;

    while (*link != c)
        link = &(*link)->next;
    *link = c->next;
    control->nconnections--;
    if (c->subscribed)
        __atomic_fetch_sub(&control->subscribers, 1, __ATOMIC_RELAXED);
    if (c->job) {
        struct job *job = c->job;

        job->from = NULL;
        if (ask_withdraw(&control->dev->ask, &job->item))
            free_job(job);
        else
            c->owner |= (job->command->flags & CONTROL_OWNS) != 0;
    }
    loop_remove(control->loop, &c->watch);
    close(c->watch.fd);
    if (c->owner)
        forget_breaks(control, c->id);
    free(c->in);
    free(c->out);
    free(c);
}

static int forget(struct device *dev, const json_t *request, json_t *reply)
{
    (void)reply;
    hold_forget(dev, control_from(request));
    return 0;
}

/* Breaks go with the connection that has set them. */
static void forget_breaks(struct control *control, uint64_t id)
{
    static const struct control_command command = { "forget", forget, "", CONTROL_HELD };
    json_t *request;

    request = json_pack("{s:I}", "\x01""from", (json_int_t)id);
    (void)post_job(control, &command, request);
    json_decref(request);
}

static void refuse_connection(struct control *control, int fd)
{
    static const char text[] = "{\"ok\":false,\"error\":\"there are too many connections to this control socket\","
                               "\"errno\":\"EBUSY\"}\n";

    log_limited(&control->limit, control->dev->name, LOG_WARN, "control: a connection is refused: there are %u",
                control->nconnections);
    (void)!send(fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static void open_connection(struct control *control, int fd)
{
    struct connection *c = control->nconnections < CONTROL_CLIENTS_MAX ? calloc(1, sizeof *c) : NULL;

    if (c)
        c->in = malloc(CONTROL_LINE_MAX);
    if (!c || !c->in) {
        free(c);
        refuse_connection(control, fd);
        return;
    }
    c->control = control;
    c->id = ++control->next_id;
    c->watch = (struct loop_watch){ .fd = fd, .events = EPOLLIN, .fn = connection_ready };
    if (loop_add(control->loop, &c->watch)) {
        close(fd);
        free(c->in);
        free(c);
        return;
    }
    c->next = control->connections;
    control->connections = c;
    control->nconnections++;
}

/* Without a descriptor left accept would fail for ever on the same connection: the spare one makes room to drop it. */
static void drop_one(struct control *control)
{
    log_limited(&control->limit, control->dev->name, LOG_ERROR,
                "control: a connection is dropped: this process has no file descriptor left (raise ulimit -n)");
    close(control->spare);
    close(accept4(control->watch.fd, NULL, NULL, SOCK_CLOEXEC));
    control->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void accept_ready(struct loop_watch *watch, uint32_t ready)
{
    struct control *control = (struct control *)((char *)watch - offsetof(struct control, watch));
    int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)ready;
    if (fd >= 0)
        open_connection(control, fd);
    else if (errno == EMFILE || errno == ENFILE)
        drop_one(control);
}

/* ---- life */

int control_start(struct control **out, struct device *dev, struct loop *main_loop, int fd, const char *path)
{
    struct control *control = calloc(1, sizeof *control);
    int error = control ? 0 : -ENOMEM;

    if (!error) {
        *control = (struct control){ .dev = dev, .loop = main_loop, .tick.fn = tick };
        control->watch = (struct loop_watch){ .fd = fd, .events = EPOLLIN, .fn = accept_ready };
        control->path = path ? strdup(path) : NULL;
        if (path)
            socketpath_look(path, &control->file);
        control->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
        error = path && !control->path ? -ENOMEM : loop_add(main_loop, &control->watch);
    }
    if (error) {
        close(fd);
        if (control) {
            close(control->spare);
            free(control->path);
        }
        free(control);
        return error;
    }
    dev->tell_ctx = control;
    dev->tell = device_told;
    report_listen(&dev->report, report_told, control);
    *out = control;
    return 0;
}

void control_stop(struct control *control)
{
    if (!control)
        return;
    loop_remove(control->loop, &control->watch);
    if (control->path)
        socketpath_remove(control->path, &control->file);
    close(control->watch.fd);
    close(control->spare);
    while (control->connections)
        control_drop(control->connections);
    loop_disarm(control->loop, &control->tick);
}

void control_free(struct control *control)
{
    if (!control)
        return;
    report_listen(&control->dev->report, NULL, NULL);
    control->dev->tell = NULL;
    control->dev->tell_ctx = NULL;
    while (control->jobs)
        free_job(control->jobs);
    free(control->path);
    free(control);
}
