/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * server - one device's socket and thread. Functions run on main's thread but for those named device_*, which run on
 * the device's.
 */
#include "core/session/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/base/crash.h"

#define REFUSALS_MAX 16u
#define REFUSAL_NS UINT64_C(1000000000)
#define STOP_SECONDS 5

/* ---- listening */

static int make_address(struct sockaddr_un *address, const char *path, const char *option)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address->sun_path) {
        log_error(NULL, "the socket path %s is too long: a UNIX socket's has at most %zu bytes; choose a shorter %s", path,
                  sizeof address->sun_path - 1, option);
        return -ENAMETOOLONG;
    }
    strcpy(address->sun_path, path);
    return 0;
}

static bool somebody_answers(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool answers = fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN);

    if (fd >= 0)
        close(fd);
    return answers;
}

/* Whatever else stands at the path is no leftover of a server, and not ours to replace. */
static bool something_else(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode);
}

static int check_path(const char *path, const char *option)
{
    struct sockaddr_un address;
    int error = make_address(&address, path, option);

    if (error)
        return error;
    if (something_else(path)) {
        log_error(NULL, "%s is no socket, and is left as it is. Remove it, or choose another %s", path, option);
        return -EEXIST;
    }
    if (somebody_answers(&address)) {
        log_error(NULL, "%s is in use: a server answers there. Stop it, or choose another %s", path, option);
        return -EADDRINUSE;
    }
    return 0;
}

static int cannot_listen(const char *path, const char *name, int fd)
{
    int error = -errno;

    log_error(NULL, "cannot listen at %s: %s", path, strerror(-error));
    unlink(name);
    close(fd);
    return error;
}

/* Bound to a name beside it, listening, and only then moved into place: who finds the path can connect to it. */
static int prepare(const char *path, const char *option, bool restricted, char name[SERVER_NAME_MAX])
{
    struct sockaddr_un beside;
    int fd, error = check_path(path, option);

    if (error)
        return error;
    if (snprintf(name, SERVER_NAME_MAX, "%s.%d", path, (int)getpid()) >= (int)sizeof beside.sun_path)
        snprintf(name, SERVER_NAME_MAX, "%s", path);
    error = make_address(&beside, name, option);
    if (error)
        return error;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    unlink(name);
    /* bind makes the file with the socket's own mode, as far as the umask allows. */
    if ((restricted && fchmod(fd, 0600) < 0) || bind(fd, (struct sockaddr *)&beside, sizeof beside) < 0 ||
        listen(fd, 16) < 0)
        return cannot_listen(path, name, fd);
    return fd;
}

int server_prepare(const char *path, char name[SERVER_NAME_MAX])
{
    return prepare(path, "--socket-path", false, name);
}

int server_publish(const char *path, const char *name, int fd)
{
    return strcmp(name, path) != 0 && rename(name, path) < 0 ? cannot_listen(path, name, fd) : fd;
}

int server_listen(const char *path)
{
    char name[SERVER_NAME_MAX];
    int fd = server_prepare(path, name);

    return fd < 0 ? fd : server_publish(path, name, fd);
}

int server_listen_control(const char *path)
{
    char name[SERVER_NAME_MAX];
    int fd = prepare(path, "--control", true, name);

    return fd < 0 ? fd : server_publish(path, name, fd);
}

/* ---- a second client: its first message is answered EBUSY, then it is closed */

struct refusal {
    struct loop_watch watch; /* first */
    struct loop_timer timer;
    struct server *server;
    struct refusal *next;
};

static void device_end_refusal(struct refusal *refusal)
{
    struct loop *loop = &refusal->server->dev->loop;
    struct refusal **link = &refusal->server->refused;

    while (*link != refusal)
        link = &(*link)->next;
    *link = refusal->next;
    loop_remove(loop, &refusal->watch);
    loop_disarm(loop, &refusal->timer);
    close(refusal->watch.fd);
    refusal->server->refusals--;
    free(refusal);
}

static void device_refusal_late(struct loop_timer *timer)
{
    device_end_refusal((struct refusal *)((char *)timer - offsetof(struct refusal, timer)));
}

static void device_refusal_ready(struct loop_watch *watch, uint32_t ready)
{
    struct vfu_msg_header header;
    ssize_t n = recv(watch->fd, &header, sizeof header, MSG_PEEK | MSG_DONTWAIT);

    if (n == (ssize_t)sizeof header) {
        struct vfu_msg_header reply = {
            .id = header.id,
            .command = header.command,
            .size = sizeof reply,
            .flags = VFU_MSG_REPLY | VFU_MSG_ERROR,
            .error = EBUSY,
        };

        (void)!send(watch->fd, &reply, sizeof reply, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else if (!(ready & (EPOLLHUP | EPOLLERR)) && n != 0) {
        return;
    }
    device_end_refusal((struct refusal *)watch);
}

static void device_refuse(struct server *server, int fd)
{
    struct loop *loop = &server->dev->loop;
    struct refusal *refusal = NULL;

    log_limited(&server->refusing, server->dev->name, LOG_WARN, "a second client is refused (EBUSY): one is attached");
    if (server->refusals < REFUSALS_MAX)
        refusal = calloc(1, sizeof *refusal);
    if (!refusal) {
        close(fd);
        return;
    }
    refusal->server = server;
    refusal->watch = (struct loop_watch){ .fd = fd, .events = EPOLLIN, .fn = device_refusal_ready };
    refusal->timer.fn = device_refusal_late;
    refusal->next = server->refused;
    server->refused = refusal;
    server->refusals++;
    if (loop_add(loop, &refusal->watch) || loop_arm(loop, &refusal->timer, loop_now() + REFUSAL_NS))
        device_end_refusal(refusal);
}

/* ---- clients */

struct arrival {
    struct server *server;
    int fd;
};

static void tell_gone(void *arg)
{
    struct server *server = arg;

    if (server->client_gone)
        server->client_gone(server);
}

static void device_client_gone(void *ctx)
{
    struct server *server = ctx;

    log_info(server->dev->name, "the client has gone");
    server->session = NULL;
    (void)loop_post(server->main_loop, tell_gone, server);
}

static void device_arrival(void *arg)
{
    struct arrival arrival = *(struct arrival *)arg;
    struct server *server = arrival.server;

    free(arg);
    /* The client before may have gone already, its end of stream unread. */
    if (server->session && !session_drain(server->session)) {
        device_refuse(server, arrival.fd);
        return;
    }
    log_info(server->dev->name, "a client has connected");
    (void)session_open(&server->session, server->dev, arrival.fd, device_client_gone, server);
}

static void hand_over(struct server *server, int fd)
{
    struct arrival *arrival = malloc(sizeof *arrival);

    if (arrival) {
        *arrival = (struct arrival){ server, fd };
        if (loop_post(&server->dev->loop, device_arrival, arrival) == 0)
            return;
        free(arrival);
    }
    close(fd);
}

/* Without a descriptor left accept would fail for ever on the same connection: the spare one makes room to drop it. */
static void drop_one(struct server *server)
{
    log_limited(&server->dropping, server->dev->name, LOG_ERROR,
                "a client is dropped: this process has no file descriptor left (raise ulimit -n)");
    close(server->spare);
    close(accept4(server->fd, NULL, NULL, SOCK_CLOEXEC));
    server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void accept_ready(struct loop_watch *watch, uint32_t ready)
{
    struct server *server = (struct server *)((char *)watch - offsetof(struct server, watch));
    int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)ready;
    if (fd >= 0)
        hand_over(server, fd);
    else if (errno == EMFILE || errno == ENFILE)
        drop_one(server);
}

/* ---- the device's thread */

static int start_thread(struct server *server, pthread_t *thread, void *(*run)(void *))
{
    pthread_attr_t attributes;
    char name[16];
    int error;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 512 * 1024);
    error = pthread_create(thread, &attributes, run, server);
    pthread_attr_destroy(&attributes);
    if (error)
        return -error;
    snprintf(name, sizeof name, "%s", server->dev->name);
    pthread_setname_np(*thread, name);
    return 0;
}

static void *device_thread(void *arg)
{
    struct server *server = arg;

    crash_blame(server->dev->name);
    if (server->neighbours)
        fair_start(&server->fair);
    loop_run(&server->dev->loop);
    crash_blame(NULL);
    return NULL;
}

static void *device_successor(void *arg)
{
    struct server *server = arg;

    pthread_join(server->former, NULL);
    return device_thread(server);
}

static void device_leave(void *arg)
{
    loop_leave(arg);
}

/* The device's thread has asked for another one: see fair.c. Without one it goes on as it is. */
static void replace_thread(void *arg)
{
    struct server *server = arg;

    if (!server->started)
        return;
    server->former = server->thread;
    if (start_thread(server, &server->thread, device_successor))
        server->thread = server->former;
    else
        (void)loop_post(&server->dev->loop, device_leave, &server->dev->loop);
}

static void device_round(void *ctx)
{
    struct server *server = ctx;

    if (fair_round(&server->fair))
        (void)loop_post(server->main_loop, replace_thread, server);
}

static uint64_t device_errors(void *ctx)
{
    const struct device *dev = ctx;

    return dev->refusals + __atomic_load_n(&dev->guest_errors, __ATOMIC_RELAXED) + regmap_failures(dev->map);
}

/* A plugin with threads of its own may know its device's by its id: that one stays. */
static void watch_fairness(struct server *server)
{
    server->fair.who = server->dev->name;
    server->fair.errors = device_errors;
    server->fair.ctx = server->dev;
    server->fair.replaceable = !(server->dev->description.caps & VFU_CAP_THREADS);
    server->dev->loop.round = device_round;
    server->dev->loop.round_ctx = server;
}

/* ---- life */

/* Bytes in order, and somebody at the other end or to come. */
static int check_kind(const char *who, int fd, bool listening)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof(int);
    int type = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type != SOCK_STREAM) {
        log_error(who, "descriptor %d is a socket, but no stream socket (SOCK_STREAM)", fd);
        return -EPROTOTYPE;
    }
    size = sizeof peer;
    if (!listening && getpeername(fd, (struct sockaddr *)&peer, &size) < 0 && errno == ENOTCONN) {
        log_error(who, "descriptor %d is a socket that neither listens nor is connected", fd);
        return -ENOTCONN;
    }
    return 0;
}

int server_start(struct server *server, struct loop *main_loop, int fd)
{
    int listening = 0, error;
    socklen_t size = sizeof listening;

    server->main_loop = main_loop;
    server->fd = server->spare = -1;
    if (server->path)
        socketpath_look(server->path, &server->file);
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0) {
        log_error(server->dev->name, "descriptor %d is no socket: %s", fd, strerror(errno));
        return -ENOTSOCK;
    }
    error = check_kind(server->dev->name, fd, listening != 0);
    if (error)
        return error;
    if (server->neighbours)
        watch_fairness(server);
    error = start_thread(server, &server->thread, device_thread);
    if (error)
        return error;
    server->started = true;
    if (!listening) {
        hand_over(server, fd);
        return 0;
    }
    server->fd = fd;
    server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    server->watch = (struct loop_watch){ .fd = fd, .events = EPOLLIN, .fn = accept_ready };
    return loop_add(main_loop, &server->watch);
}

static void device_stop(void *arg)
{
    struct server *server = arg;

    if (server->session)
        session_close(server->session);
    while (server->refused)
        device_end_refusal(server->refused);
    loop_stop(&server->dev->loop);
}

bool server_stop(struct server *server)
{
    struct timespec until;

    if (server->fd >= 0) {
        loop_remove(server->main_loop, &server->watch);
        if (server->path)
            socketpath_remove(server->path, &server->file);
        close(server->fd);
        close(server->spare);
        server->fd = -1;
    }
    if (!server->started)
        return true;
    hold_leave(server->dev);
    if (loop_post(&server->dev->loop, device_stop, server))
        loop_stop(&server->dev->loop);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_SECONDS;
    if (pthread_timedjoin_np(server->thread, NULL, &until)) {
        log_error(server->dev->name, "the device's thread does not end: a callback has not returned for %d s", STOP_SECONDS);
        return false;
    }
    server->started = false;
    return true;
}
