/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vnc - VNC viewers of a picture: see vnc.h.
 *
 * libvncserver is used in its single-threaded way, by each viewer's thread for a screen of its own: it blocks in reads
 * and writes of a viewer that stalls, and its own threads share what they should not. Making a screen touches a lock of
 * all screens, so they are made once, before there are viewers, and used again.
 *
 * Locks: the picture's guards the viewers' lists of lines; vnc->lock the list of viewers. The first may be held when the
 * second is taken, not the other way round.
 */
#include "core/outside/vnc.h"

#include <errno.h>
#include <stdlib.h>

#include "config.h"
#include "core/base/log.h"

#ifdef HAVE_VNC
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <rfb/rfb.h>

#include "core/base/lazy.h"
#include "core/session/server.h"

#define LINES_MAX 8192u
#define LINE_WORDS (LINES_MAX / 64u)
#define HANDSHAKE_NS UINT64_C(10000000000) /* a viewer that has not said by then what it is goes */

struct viewer {
    struct viewer *next;
    struct vnc *vnc;
    pthread_t thread;
    int socket; /* ours; libvncserver has another descriptor of it, which it closes */
    int wake;   /* an eventfd: lines have changed, or it is over */
    _Atomic bool stop, ended;
    rfbScreenInfoPtr screen; /* of the pool */
    rfbClientPtr client;     /* NULL: gone */
    uint32_t *pixels;        /* in the server's format */
    uint32_t width, height;
    uint64_t size_number;
    uint64_t lines[LINE_WORDS]; /* changed since they were copied */
};

struct vnc {
    const char *who;
    char *title;
    char *path; /* of a UNIX socket, or NULL */
    int listening, wake;
    pthread_t thread;
    struct picture *picture;
    void (*looked)(void *ctx);
    void *ctx;
    _Atomic bool stop;
    _Atomic uint32_t watching;
    _Atomic bool changed; /* since viewers were told last */
    pthread_mutex_t lock;
    struct viewer *viewers;
    struct log_limit limit;
};

static struct {
    pthread_mutex_t lock;
    rfbScreenInfoPtr screens[VNC_VIEWERS_MAX];
    bool used[VNC_VIEWERS_MAX], made;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* What is called of the library; rfbLog and rfbErr are variables, which hold pointers to functions. */
#define SYMBOLS(S)                                                                                                     \
    S(rfbClientConnectionGone)                                                                                         \
    S(rfbCloseClient)                                                                                                  \
    S(rfbErr)                                                                                                          \
    S(rfbGetScreen)                                                                                                    \
    S(rfbLog)                                                                                                          \
    S(rfbMarkRectAsModified)                                                                                           \
    S(rfbNewClient)                                                                                                    \
    S(rfbNewFramebuffer)                                                                                               \
    S(rfbProcessEvents)

static struct {
#define MEMBER(name) __typeof__(name) *name;
    SYMBOLS(MEMBER)
#undef MEMBER
} lib;

const char *vnc_missing(void)
{
    static struct lazy library = { "libvncserver.so.1", "libvncserver1", NULL, "" };
    static const struct lazy_symbol symbols[] = {
#define SYMBOL(name) { #name, &lib.name },
        SYMBOLS(SYMBOL)
#undef SYMBOL
    };

    return lazy_load(&library, symbols, sizeof symbols / sizeof symbols[0]);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void ring(int fd)
{
    uint64_t one = 1;
    ssize_t n = write(fd, &one, sizeof one);

    (void)n; /* a full counter is as good */
}

/* ---- screens ----------------------------------------------------------------------------------------------------- */

static void say_nothing(const char *format, ...)
{
    (void)format;
}

static void ignore_key(rfbBool down, rfbKeySym key, rfbClientPtr client)
{
    (void)down, (void)key, (void)client;
}

static void ignore_pointer(int buttons, int x, int y, rfbClientPtr client)
{
    (void)buttons, (void)x, (void)y, (void)client;
}

static rfbScreenInfoPtr make_screen(void)
{
    rfbScreenInfoPtr screen = lib.rfbGetScreen(NULL, NULL, 64, 64, 8, 3, 4);

    if (!screen)
        return NULL;
    screen->cursor = NULL;
    screen->alwaysShared = TRUE;
    screen->deferUpdateTime = 0;
    screen->kbdAddEvent = ignore_key;
    screen->ptrAddEvent = ignore_pointer;
    return screen;
}

static int make_pool(void)
{
    int error = 0;

    pthread_mutex_lock(&pool.lock);
    if (!pool.made) {
        *lib.rfbLog = *lib.rfbErr = say_nothing;
        for (uint32_t i = 0; i < VNC_VIEWERS_MAX && !error; i++) {
            if (!pool.screens[i])
                pool.screens[i] = make_screen();
            error = pool.screens[i] ? 0 : -ENOMEM;
        }
        pool.made = error == 0;
    }
    pthread_mutex_unlock(&pool.lock);
    return error;
}

static rfbScreenInfoPtr take_screen(void)
{
    rfbScreenInfoPtr screen = NULL;

    pthread_mutex_lock(&pool.lock);
    for (uint32_t i = 0; i < VNC_VIEWERS_MAX && !screen; i++) {
        if (!pool.used[i]) {
            screen = pool.screens[i];
            pool.used[i] = true;
        }
    }
    pthread_mutex_unlock(&pool.lock);
    return screen;
}

static void give_screen(rfbScreenInfoPtr screen)
{
    /* What a viewer has asked to be scaled: rfbScreenCleanup would free these, and the screen. */
    while (screen->scaledScreenNext) {
        rfbScreenInfoPtr scaled = screen->scaledScreenNext;

        screen->scaledScreenNext = scaled->scaledScreenNext;
        free(scaled->frameBuffer);
        free(scaled);
    }
    screen->frameBuffer = NULL;
    screen->desktopName = NULL;
    pthread_mutex_lock(&pool.lock);
    for (uint32_t i = 0; i < VNC_VIEWERS_MAX; i++)
        pool.used[i] = pool.used[i] && pool.screens[i] != screen;
    pthread_mutex_unlock(&pool.lock);
}

/* ---- a viewer: its thread ---------------------------------------------------------------------------------------- */

static void client_gone(rfbClientPtr client)
{
    ((struct viewer *)client->clientData)->client = NULL;
}

/* The picture has another size: the buffer gets it too, before libvncserver knows. False: no memory. */
static bool grow(struct viewer *v, uint32_t width, uint32_t height)
{
    uint32_t *pixels = calloc((size_t)width * height, sizeof *pixels), *before = v->pixels;

    if (!pixels)
        return false;
    v->pixels = pixels;
    v->width = width;
    v->height = height;
    lib.rfbNewFramebuffer(v->screen, (char *)pixels, (int)width, (int)height, 8, 3, 4);
    free(before);
    return true;
}

static void copy_line(struct viewer *v, uint32_t y)
{
    const rfbPixelFormat *format = &v->screen->serverFormat;
    const uint32_t *from = v->vnc->picture->pixels + (size_t)y * v->width;
    uint32_t *to = v->pixels + (size_t)y * v->width;

    for (uint32_t x = 0; x < v->width; x++)
        to[x] = (from[x] >> 16 & 0xff) << format->redShift | (from[x] >> 8 & 0xff) << format->greenShift |
                (from[x] & 0xff) << format->blueShift;
}

/* Copies what has changed, a run of lines at a time. */
static bool take_changes(struct viewer *v)
{
    struct picture *picture = v->vnc->picture;
    uint64_t lines[LINE_WORDS], number;
    uint32_t width, height;
    bool same;

    pthread_mutex_lock(&picture->lock);
    width = picture->width;
    height = picture->height;
    number = picture->size_number;
    memcpy(lines, v->lines, sizeof lines);
    memset(v->lines, 0, sizeof v->lines);
    pthread_mutex_unlock(&picture->lock);
    if (number != v->size_number) {
        if (!grow(v, width, height))
            return false;
        v->size_number = number;
        memset(lines, 0xff, sizeof lines);
    }
    for (uint32_t y = 0; y < v->height; y++) {
        if (!(lines[y / 64] >> y % 64 & 1))
            continue;
        pthread_mutex_lock(&picture->lock);
        same = picture->size_number == v->size_number; /* else all of it comes again */
        if (same)
            copy_line(v, y);
        pthread_mutex_unlock(&picture->lock);
        if (!same)
            break;
        lib.rfbMarkRectAsModified(v->screen, 0, (int)y, (int)v->width, (int)y + 1);
    }
    return true;
}

/* Somebody who is no viewer, or wants what is not there. */
static bool unwanted(const struct viewer *v, uint64_t since)
{
    return v->client->scaledScreen != v->screen || (v->client->state != RFB_NORMAL && now_ns() - since > HANDSHAKE_NS);
}

static void serve(struct viewer *v)
{
    struct pollfd fds[] = { { .fd = v->socket, .events = POLLIN }, { .fd = v->wake, .events = POLLIN } };
    uint64_t since = now_ns(), count;

    while (v->client && !v->stop && take_changes(v)) {
        lib.rfbProcessEvents(v->screen, 0);
        if (!v->client || unwanted(v, since))
            return;
        poll(fds, 2, v->client->state == RFB_NORMAL ? -1 : 1000);
        if (fds[1].revents && read(v->wake, &count, sizeof count) < 0)
            continue;
    }
}

/*
 * libvncserver looks at what a new connection says first, waits for that, and takes up TLS and web sockets with those who
 * want it: neither is offered here. So it is introduced to a socket pair that says what a viewer does, and the viewer's
 * own socket takes that place under the same number.
 */
static void begin(struct viewer *v)
{
    char version[sz_rfbProtocolVersionMsg];
    int pair[2], one = 1;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return;
    /* libvncserver keeps its descriptors in an fd_set. */
    if (pair[0] >= FD_SETSIZE || write(pair[1], "RFB ", 4) != 4) {
        log_limited(&v->vnc->limit, v->vnc->who, LOG_WARN, "display: too many open files for one more VNC viewer");
        close(pair[0]);
        close(pair[1]);
        return;
    }
    v->screen->desktopName = v->vnc->title;
    v->client = lib.rfbNewClient(v->screen, pair[0]);
    if (v->client) {
        v->client->clientData = v;
        v->client->clientGoneHook = client_gone;
        v->client->viewOnly = TRUE;
        setsockopt(v->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (read(pair[1], version, sizeof version) != sizeof version ||
            send(v->socket, version, sizeof version, MSG_NOSIGNAL) != sizeof version ||
            dup3(v->socket, pair[0], O_CLOEXEC) < 0)
            v->stop = true;
    }
    close(pair[1]);
}

static void *run_viewer(void *arg)
{
    struct viewer *v = arg;

    setpriority(PRIO_PROCESS, (id_t)gettid(), 10); /* its compression must not cost the devices */
    if (take_changes(v))
        begin(v);
    serve(v);
    if (v->client) {
        rfbClientPtr client = v->client;

        lib.rfbCloseClient(client);
        lib.rfbClientConnectionGone(client);
    }
    v->vnc->watching--;
    v->ended = true;
    ring(v->vnc->wake);
    return NULL;
}

static void free_viewer(struct viewer *v)
{
    give_screen(v->screen);
    close(v->socket);
    close(v->wake);
    free(v->pixels);
    free(v);
}

/* ---- the thread that listens ------------------------------------------------------------------------------------- */

/* Takes viewers out of the list and waits for them: those that have ended, or all. */
static void reap(struct vnc *vnc, bool all)
{
    struct viewer **link, *v, *gone = NULL;

    pthread_mutex_lock(&vnc->picture->lock);
    pthread_mutex_lock(&vnc->lock);
    for (link = &vnc->viewers; (v = *link);) {
        if (all || v->ended) {
            *link = v->next;
            v->next = gone;
            gone = v;
        } else {
            link = &v->next;
        }
    }
    pthread_mutex_unlock(&vnc->lock);
    pthread_mutex_unlock(&vnc->picture->lock);
    while ((v = gone)) {
        gone = v->next;
        v->stop = true;
        shutdown(v->socket, SHUT_RDWR);
        ring(v->wake);
        pthread_join(v->thread, NULL);
        free_viewer(v);
    }
}

static int start_viewer(struct vnc *vnc, int fd)
{
    struct viewer *v = calloc(1, sizeof *v);
    int error;

    if (!v)
        return -ENOMEM;
    v->vnc = vnc;
    v->socket = fd;
    v->screen = take_screen();
    v->wake = v->screen ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    if (!v->screen || v->wake < 0) {
        error = v->screen ? -errno : -EUSERS;
        if (v->screen)
            give_screen(v->screen);
        free(v);
        return error;
    }
    vnc->watching++;
    error = -pthread_create(&v->thread, NULL, run_viewer, v);
    if (error) {
        vnc->watching--;
        v->socket = -1;
        free_viewer(v);
        return error;
    }
    pthread_mutex_lock(&vnc->picture->lock);
    pthread_mutex_lock(&vnc->lock);
    v->next = vnc->viewers;
    vnc->viewers = v;
    pthread_mutex_unlock(&vnc->lock);
    memset(v->lines, 0xff, sizeof v->lines);
    pthread_mutex_unlock(&vnc->picture->lock);
    ring(v->wake);
    vnc->looked(vnc->ctx);
    return 0;
}

static void take_viewer(struct vnc *vnc)
{
    int fd = accept4(vnc->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), error;

    if (fd < 0) {
        /* Without a descriptor to take it with it would stay, and poll would not wait. */
        if (errno == EMFILE || errno == ENFILE)
            usleep(100000);
        return;
    }
    error = start_viewer(vnc, fd);
    if (!error)
        return;
    close(fd);
    log_limited(&vnc->limit, vnc->who, LOG_WARN, "display: a VNC viewer is refused: %s",
                error == -EUSERS ? "there are 16 already" : strerror(-error));
}

static void *listen_for_viewers(void *arg)
{
    struct vnc *vnc = arg;
    struct pollfd fds[] = { { .fd = vnc->listening, .events = POLLIN }, { .fd = vnc->wake, .events = POLLIN } };
    uint64_t count;

    while (!vnc->stop) {
        poll(fds, 2, -1);
        if (fds[1].revents && read(vnc->wake, &count, sizeof count) == sizeof count)
            reap(vnc, false);
        if (fds[0].revents && !vnc->stop)
            take_viewer(vnc);
    }
    return NULL;
}

/* ---- where it listens -------------------------------------------------------------------------------------------- */

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
    return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* "HOST:PORT", ":PORT", "PORT", "[ADDRESS]:PORT" cut in two; false: there is no port. */
static bool split(char *where, const char **host, const char **port)
{
    char *colon = strrchr(where, ':');
    size_t n;

    *host = "127.0.0.1";
    *port = colon ? colon + 1 : where;
    n = strlen(*port);
    if (!n || n > 5 || strspn(*port, "0123456789") != n || atoi(*port) > 65535)
        return false;
    if (!colon || colon == where)
        return true;
    *colon = 0;
    if (*where == '[' && colon[-1] == ']') {
        colon[-1] = 0;
        where++;
    }
    *host = where;
    return true;
}

static int listen_at(struct vnc *vnc, const struct addrinfo *found)
{
    int one = 1, fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, 16)) {
        int error = -errno;

        close(fd);
        return error;
    }
    vnc->listening = fd;
    return 0;
}

/* Where it came to listen: port 0 is any free one. */
static char *name_address(struct vnc *vnc)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    char host[64], port[8], *text = NULL;
    bool six;

    if (getsockname(vnc->listening, (struct sockaddr *)&address, &size) ||
        getnameinfo((struct sockaddr *)&address, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV))
        return NULL;
    six = address.ss_family == AF_INET6;
    if (!is_loopback((struct sockaddr *)&address))
        log_warn(vnc->who, "display: whoever reaches %s port %s sees the screen: there is no password", host, port);
    return asprintf(&text, "%s%s%s:%s", six ? "[" : "", host, six ? "]" : "", port) < 0 ? NULL : text;
}

static int listen_tcp(struct vnc *vnc, char *where, char **at)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found = NULL;
    const char *host, *port;
    int error;

    if (!split(where, &host, &port)) {
        log_error(vnc->who, "display vnc:%s: that is no HOST:PORT, PORT or unix:PATH", where);
        return -EINVAL;
    }
    error = getaddrinfo(host, port, &hints, &found);
    if (error) {
        log_error(vnc->who, "display vnc:%s:%s: %s", host, port, gai_strerror(error));
        return -EINVAL;
    }
    error = listen_at(vnc, found);
    freeaddrinfo(found);
    if (error) {
        log_error(vnc->who, "display vnc:%s:%s: cannot listen there: %s", host, port, strerror(-error));
        return error;
    }
    *at = name_address(vnc);
    return *at ? 0 : -ENOMEM;
}

static int listen_unix(struct vnc *vnc, const char *path, char **at)
{
    int fd = *path ? server_listen(path) : -EINVAL;

    if (!*path)
        log_error(vnc->who, "display vnc:unix: the socket's path is missing behind the colon");
    if (fd < 0)
        return fd;
    vnc->listening = fd;
    vnc->path = strdup(path);
    return vnc->path && asprintf(at, "%s", path) >= 0 ? 0 : -ENOMEM;
}

/* ---- making and unmaking ----------------------------------------------------------------------------------------- */

static void free_vnc(struct vnc *vnc)
{
    if (vnc->listening >= 0)
        close(vnc->listening);
    if (vnc->wake >= 0)
        close(vnc->wake);
    if (vnc->path)
        unlink(vnc->path);
    pthread_mutex_destroy(&vnc->lock);
    free(vnc->path);
    free(vnc->title);
    free(vnc);
}

int vnc_open(struct vnc **out, const char *who, const char *title, const char *where, struct picture *picture,
             void (*looked)(void *ctx), void *ctx, char **at)
{
    struct vnc *vnc = calloc(1, sizeof *vnc);
    char *copy = strdup(where);
    const char *missing = vnc_missing();
    int error = missing ? -EINVAL : vnc && copy ? make_pool() : -ENOMEM;

    *at = NULL;
    if (missing)
        log_error(who, "display vnc:%s: %s", where, missing);
    if (vnc) {
        vnc->who = who;
        vnc->title = strdup(title);
        vnc->picture = picture;
        vnc->looked = looked;
        vnc->ctx = ctx;
        vnc->listening = -1;
        vnc->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        pthread_mutex_init(&vnc->lock, NULL);
        if (!error && (!vnc->title || vnc->wake < 0))
            error = vnc->title ? -errno : -ENOMEM;
    }
    if (!error)
        error = strncmp(where, "unix:", 5) ? listen_tcp(vnc, copy, at) : listen_unix(vnc, where + 5, at);
    free(copy);
    if (!error)
        error = -pthread_create(&vnc->thread, NULL, listen_for_viewers, vnc);
    if (!error) {
        *out = vnc;
        return 0;
    }
    free(*at);
    *at = NULL;
    if (vnc)
        free_vnc(vnc);
    return error;
}

void vnc_close(struct vnc *vnc)
{
    vnc->stop = true;
    ring(vnc->wake);
    pthread_join(vnc->thread, NULL);
    reap(vnc, true);
    free_vnc(vnc);
}

bool vnc_watched(struct vnc *vnc)
{
    return vnc->watching != 0;
}

void vnc_changed(struct vnc *vnc, uint32_t y, uint32_t height)
{
    vnc->changed = true;
    pthread_mutex_lock(&vnc->lock);
    for (struct viewer *v = vnc->viewers; v; v = v->next) {
        for (uint32_t i = y; i < y + height && i < LINES_MAX; i++)
            v->lines[i / 64] |= UINT64_C(1) << i % 64;
    }
    pthread_mutex_unlock(&vnc->lock);
}

void vnc_wake(struct vnc *vnc)
{
    if (!atomic_exchange(&vnc->changed, false))
        return;
    pthread_mutex_lock(&vnc->lock);
    for (struct viewer *v = vnc->viewers; v; v = v->next)
        ring(v->wake);
    pthread_mutex_unlock(&vnc->lock);
}

#else

const char *vnc_missing(void)
{
    return "this build has no libvncserver";
}

int vnc_open(struct vnc **out, const char *who, const char *title, const char *where, struct picture *picture,
             void (*looked)(void *ctx), void *ctx, char **at)
{
    (void)out, (void)title, (void)picture, (void)looked, (void)ctx, (void)at;
    log_error(who, "display vnc:%s: %s", where, vnc_missing());
    return -EINVAL;
}

void vnc_close(struct vnc *vnc)
{
    (void)vnc;
}

bool vnc_watched(struct vnc *vnc)
{
    (void)vnc;
    return false;
}

void vnc_changed(struct vnc *vnc, uint32_t y, uint32_t height)
{
    (void)vnc, (void)y, (void)height;
}

void vnc_wake(struct vnc *vnc)
{
    (void)vnc;
}

#endif
