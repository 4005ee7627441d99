/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control - a libFuzzer harness of the control socket: an input is a text, of lines that people send and of what happens
 * in between. Both loops take turns on one thread, with a clock that only the input moves; while the device is held, the
 * rest of the input is played from inside of the hold.
 *
 * The first byte chooses the device. A line that begins with '@' is one of the steps below, any other goes to the
 * connection at hand. Beside what the sanitizers see it is an error if a line that comes back is not an answer or an event,
 * if a request is not answered once, if a connection ends for no reason, or a descriptor is left open.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <jansson.h>

#include "core/inspect/control.h"
#include "tests/fuzz/host.h"

#define CONNECTIONS 4u
#define STEPS_MAX 400u
#define SETTLE_MAX 4000u
#define LINE_ROOM 4194304u

struct caller {
    int fd; /* -1: none */
    bool word; /* the line under way is not blank */
    bool broken; /* too long a line, or no more is said: it may end */
    bool lazy; /* does not read */
    uint32_t length; /* of the line under way */
    uint64_t asked, answered;
    size_t used;
};

struct play {
    struct device *dev;
    struct loop loop; /* main's */
    struct control *control;
    struct sockaddr_un address;
    socklen_t address_size;
    struct caller callers[CONNECTIONS];
    struct caller *at;
    const char *next, *end; /* of the input */
    uint32_t steps;
    bool no_turns;
    int client; /* the other end of the device's client */
};

static struct play play;
static char lines[CONNECTIONS][LINE_ROOM];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __real_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);

static void check(bool right, const char *what, const char *line)
{
    if (right)
        return;
    host_say("fuzz: %s: %.200s\n", what, line);
    abort();
}

/* ---- what comes back */

static void judge(struct caller *c, const char *line, size_t size)
{
    json_t *value = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);
    const json_t *ok = json_object_get(value, "ok"), *event = json_object_get(value, "event");

    check(value != NULL, "a line is no JSON", line);
    check(json_is_boolean(ok) != json_is_string(event), "a line is neither answer nor event", line);
    if (json_is_false(ok)) {
        check(json_string_length(json_object_get(value, "error")) > 0, "no error is given", line);
        check(json_string_length(json_object_get(value, "errno")) > 0, "no errno is given", line);
    }
    c->answered += ok != NULL;
    check(c->broken || c->answered <= c->asked, "an answer that nobody has asked for", line);
    json_decref(value);
}

static void hang_up(struct caller *c)
{
    if (c->fd >= 0)
        close(c->fd);
    *c = (struct caller){ .fd = -1 };
}

static void take_lines(struct caller *c, char *bytes)
{
    char *end;

    while ((end = memchr(bytes, '\n', c->used))) {
        size_t n = (size_t)(end + 1 - bytes);

        *end = '\0';
        judge(c, bytes, n - 1);
        c->used -= n;
        memmove(bytes, end + 1, c->used);
    }
}

/* True if there was something. */
static bool read_all(struct caller *c)
{
    char *bytes = lines[c - play.callers];
    bool any = false;

    while (c->fd >= 0) {
        ssize_t n = recv(c->fd, bytes + c->used, LINE_ROOM - 1 - c->used, MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            check(c->broken || c->lazy, "a connection ends for no reason", "");
            hang_up(c);
            break;
        }
        c->used += (size_t)n;
        any = true;
        take_lines(c, bytes);
        check(c->used < LINE_ROOM - 1, "a line has no end", "");
    }
    return any;
}

/* ---- what goes there */

static void dial(struct caller *c)
{
    if (c->fd >= 0)
        return;
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&play.address, play.address_size) < 0)
        hang_up(c); /* more than the queue holds */
}

static void say(struct caller *c, const char *bytes, size_t size)
{
    ssize_t n = c->fd < 0 ? 0 : send(c->fd, bytes, size, MSG_NOSIGNAL);

    for (ssize_t i = 0; i < n; i++) {
        c->length++;
        if (bytes[i] == '\n') {
            c->asked += c->word;
            c->word = false;
            c->length = 0;
        } else if (!strchr(" \t\r", bytes[i]) || !bytes[i]) {
            c->word = true;
        }
        c->broken |= c->length >= CONTROL_LINE_MAX;
    }
}

static void say_long(struct caller *c, uint64_t size)
{
    static char bytes[70000];

    memset(bytes, 'x', sizeof bytes);
    say(c, bytes, size % sizeof bytes);
}

/* ---- steps */

static void turn(void)
{
    loop_step(&play.loop);
    if (!play.dev->hold.held)
        loop_step(&play.dev->loop);
    loop_step(&play.loop);
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        if (!play.callers[i].lazy)
            read_all(&play.callers[i]);
}

static void hear(struct caller *c, bool lazy)
{
    c->lazy |= lazy;
    if (!lazy)
        read_all(c);
}

static void pass(uint64_t us)
{
    host_pass(play.dev, us % 20000000u * 1000);
    play.loop.alarm = UINT64_MAX;
}

static void access_bar(char what, uint64_t offset, uint64_t size, uint64_t value)
{
    uint8_t bytes[8];

    memcpy(bytes, &value, sizeof bytes);
    if (play.dev->hold.held)
        return;
    if (what == 'w')
        (void)device_write(play.dev, 0, offset, size % 8 + 1, bytes);
    else
        (void)device_read(play.dev, 0, offset, size % 8 + 1, bytes);
}

/* What is not the control socket's, and does not happen while the device is held. */
static void happen(char what, const uint64_t *n)
{
    if (play.dev->hold.held)
        return;
    if (what == 'R')
        (void)device_reset(play.dev, (uint32_t)n[0] % 3);
    else if (what == 'f')
        device_freeze(play.dev);
    else if (what == 'F')
        device_thaw(play.dev);
}

static void special(const char *text, const char *end)
{
    char copy[64] = "", *rest = copy + 1;
    uint64_t n[3];
    struct caller *c = play.at;

    memcpy(copy, text, (size_t)(end - text) < sizeof copy - 1 ? (size_t)(end - text) : sizeof copy - 1);
    for (int i = 0; i < 3; i++)
        n[i] = *copy ? strtoull(rest, &rest, 0) : 0;
    switch (*copy) {
    case 'c': play.at = &play.callers[n[0] % CONNECTIONS]; dial(play.at); break;
    case 'x': hang_up(c); break;
    case 'h': c->broken = true; shutdown(c->fd, SHUT_WR); break;
    case 'r': read_all(c); break;
    case 'q': hear(c, !c->lazy); break;
    case 'p': say(c, text + 1, (size_t)(end - text - 1)); break;
    case 'L': say_long(c, n[0]); break;
    case 't': pass(n[0]); break;
    case 'n': play.no_turns = !play.no_turns; break;
    case 'w':
    case 'g': access_bar(*copy, n[0], n[1], n[2]); break;
    case 'C': shutdown(play.client, SHUT_RDWR); break;
    default: happen(*copy, n); break;
    }
}

/* The next line of the input. False: there is none. */
static bool step(void)
{
    const char *line = play.next, *end;

    if (line == play.end || play.steps++ == STEPS_MAX)
        return false;
    end = memchr(line, '\n', (size_t)(play.end - line));
    play.next = end ? end + 1 : play.end;
    if (*line == '@')
        special(line + 1, end ? end : play.end);
    else
        say(play.at, line, (size_t)(play.next - line));
    if (!play.no_turns)
        turn();
    return true;
}

/* A held device waits: meanwhile the input goes on. At its end the device is let go. */
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
    if (!play.dev || n != 2 || fds[0].fd != play.dev->ask.wake)
        return __real_poll(fds, n, timeout);
    if (!step()) {
        hold_leave(play.dev);
        turn();
    }
    return __real_poll(fds, n, 0);
}

/* ---- an input */

static bool waiting(void)
{
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        const struct caller *c = &play.callers[i];

        if (c->fd >= 0 && !c->broken && c->answered < c->asked)
            return true;
    }
    return false;
}

/* All that was asked is answered, once everybody reads. What takes for ever is ended. */
static void settle(void)
{
    device_thaw(play.dev);
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        read_all(&play.callers[i]);
    for (uint32_t i = 0; i < SETTLE_MAX && waiting(); i++) {
        turn();
        for (uint32_t k = 0; k < CONNECTIONS; k++)
            read_all(&play.callers[k]);
        if (i > SETTLE_MAX / 2)
            advance_cancel(play.dev);
    }
    check(!waiting(), "a request is not answered", "");
}

static void open_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    play.address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    play.address_size = sizeof play.address;
    /* Without a name the kernel chooses one. */
    if (fd < 0 || bind(fd, (struct sockaddr *)&play.address, sizeof play.address.sun_family) < 0 || listen(fd, 16) < 0 ||
        getsockname(fd, (struct sockaddr *)&play.address, &play.address_size) < 0 || loop_init(&play.loop) ||
        control_start(&play.control, play.dev, &play.loop, fd, NULL))
        check(false, "no socket", strerror(errno));
}

static void begin(const uint8_t *data, size_t size)
{
    int pair[2];

    memset(&play, 0, sizeof play);
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        play.callers[i].fd = -1;
    play.at = &play.callers[0];
    play.next = (const char *)data + 1;
    play.end = (const char *)data + size;
    host_begin();
    play.dev = host_device(data[0] & 1 ? synthetic_plugin() : vfu_plugin_entry(), 0, 16);
    open_socket();
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "no socket pair", "");
    play.dev->client_fd = pair[0];
    play.client = pair[1];
    dial(play.at);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    host_setup();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t fds = host_open_fds();

    if (!size)
        return 0;
    begin(data, size);
    while (step())
        ;
    settle();
    control_stop(play.control);
    for (int i = 0; i < 4; i++)
        loop_step(&play.dev->loop);
    loop_step(&play.loop);
    control_free(play.control);
    close(play.dev->client_fd);
    play.dev->client_fd = -1;
    close(play.client);
    host_end(play.dev);
    play.dev = NULL;
    loop_fini(&play.loop);
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        hang_up(&play.callers[i]);
    check(host_open_fds() == fds, "descriptors are open that were not before", "");
    return 0;
}
