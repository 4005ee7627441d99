/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * streamkind - what a stream can be: "pty[:LINK]", "unix:PATH[,connect]", "file:PATH[,truncate]", "null". Part of
 * stream.h: `start` runs on main's thread before the device's loop does, or on the device's; all else on the device's.
 *
 * What stands at a path already is replaced only where it is a leftover: a socket at which nobody answers, a link to a
 * terminal. And only what is still the one made here is removed at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "core/outside/stream_private.h"

#define PTS "/dev/pts/"
#define RETRY_FIRST UINT64_C(100000000)
#define RETRY_MOST UINT64_C(2000000000)

static struct stream *of_door(struct loop_watch *door)
{
    return (struct stream *)((char *)door - offsetof(struct stream, door));
}

static struct stream *of_retry(struct loop_timer *retry)
{
    return (struct stream *)((char *)retry - offsetof(struct stream, retry));
}

static void try_later(struct stream *s, void (*fn)(struct loop_timer *timer))
{
    s->retry_ns = s->retry_ns ? s->retry_ns * 2 : RETRY_FIRST;
    if (s->retry_ns > RETRY_MOST)
        s->retry_ns = RETRY_MOST;
    s->retry.fn = fn;
    if (loop_arm(s->all->loop, &s->retry, loop_now() + s->retry_ns))
        log_error(s->all->who, "no memory to try the stream %s again", s->spec);
}

static void drop(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- pty: a terminal; its peer is whoever has it open --------------------------------------------------------------- */

/* Bytes pass through as they are. What a user has set goes when he does. */
static void make_raw(int fd)
{
    struct termios settings;

    if (tcgetattr(fd, &settings) < 0)
        return;
    cfmakeraw(&settings);
    (void)tcsetattr(fd, TCSANOW, &settings);
}

static bool somebody_has_it(int master)
{
    struct pollfd poll_for = { .fd = master };

    return poll(&poll_for, 1, 0) >= 0 && !(poll_for.revents & POLLHUP);
}

static int pty_master(const struct stream *s)
{
    return s->watch.fd;
}

/* inotify tells of an open; that the last one has closed it is EPOLLHUP of the other side. */
static void pty_opened(struct loop_watch *door, uint32_t events)
{
    struct stream *s = of_door(door);
    char told[4096] __attribute__((aligned(8)));

    (void)events;
    while (read(door->fd, told, sizeof told) > 0)
        ;
    if (!s->peer && somebody_has_it(pty_master(s)))
        stream_came(s, pty_master(s));
}

/* A moment later: where inotify is not to be had. */
static void pty_look(struct loop_timer *timer)
{
    struct stream *s = of_retry(timer);

    if (s->peer)
        return;
    if (somebody_has_it(pty_master(s))) {
        stream_came(s, pty_master(s));
        return;
    }
    s->retry_ns = 0;
    try_later(s, pty_look);
}

static void pty_lost(struct stream *s)
{
    make_raw(pty_master(s));
    if (somebody_has_it(pty_master(s)))
        stream_came(s, pty_master(s));
    else if (!s->door_watched)
        pty_look(&s->retry);
}

/* A link to some terminal, as a host that was killed leaves it behind. */
static bool is_leftover(const char *path)
{
    char points[sizeof PTS] = "";

    return readlink(path, points, sizeof points - 1) > 0 && !strcmp(points, PTS);
}

/* The link stands in place at once, over one that was left behind. */
static int make_link(const struct stream *s)
{
    char beside[4096];
    struct stat st;
    int error;

    if (lstat(s->path, &st) == 0 && !is_leftover(s->path)) {
        log_error(s->all->who, "%s is no link to a terminal, and is left as it is: choose another path for the link", s->path);
        return -EEXIST;
    }
    if (snprintf(beside, sizeof beside, "%s.%d", s->path, (int)getpid()) >= (int)sizeof beside)
        return -ENAMETOOLONG;
    unlink(beside);
    if (symlink(s->tty, beside) == 0 && rename(beside, s->path) == 0)
        return 0;
    error = -errno;
    log_error(s->all->who, "cannot make the link %s to the terminal %s: %s", s->path, s->tty, strerror(-error));
    unlink(beside);
    return error;
}

static void pty_stop(struct stream *s)
{
    char points[sizeof s->tty] = "";

    if (*s->path && *s->tty && readlink(s->path, points, sizeof points - 1) > 0 && !strcmp(points, s->tty))
        unlink(s->path);
    drop(&s->door.fd);
    drop(&s->watch.fd);
}

/* Opened and closed once: from then on a terminal without users says that it has hung up. */
static int open_pty(struct stream *s)
{
    int slave;

    s->watch.fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (s->watch.fd < 0 || grantpt(s->watch.fd) < 0 || unlockpt(s->watch.fd) < 0)
        return -errno;
    if (ptsname_r(s->watch.fd, s->tty, sizeof s->tty))
        return -ENOTTY;
    make_raw(s->watch.fd);
    slave = open(s->tty, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return -errno;
    close(slave);
    return 0;
}

static int pty_start(struct stream *s)
{
    int error = open_pty(s);

    if (error)
        log_error(s->all->who, "no terminal can be had: %s", strerror(-error));
    if (!error && *s->path)
        error = make_link(s);
    if (error) {
        *s->tty = 0;
        drop(&s->watch.fd);
        return error;
    }
    s->door = (struct loop_watch){ .fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), .events = EPOLLIN, .fn = pty_opened };
    if (s->door.fd >= 0 && inotify_add_watch(s->door.fd, s->tty, IN_OPEN) >= 0)
        stream_watch_door(s, true);
    log_info(s->all->who, "its terminal is %s", s->tty);
    pty_lost(s);
    return 0;
}

/* ---- unix: a socket; one peer at a time ----------------------------------------------------------------------------- */

static int make_address(const struct stream *s, struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address->sun_path) {
        log_error(s->all->who, "the socket path %s is too long: a UNIX socket's has at most %zu bytes", path,
                  sizeof address->sun_path - 1);
        return -ENAMETOOLONG;
    }
    strcpy(address->sun_path, path);
    return 0;
}

static int new_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static bool somebody_answers(const struct sockaddr_un *address)
{
    int fd = new_socket();
    bool answers = fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN);

    drop(&fd);
    return answers;
}

static int check_place(const struct stream *s, const struct sockaddr_un *address)
{
    struct stat st;

    if (lstat(s->path, &st) < 0)
        return 0;
    if (!S_ISSOCK(st.st_mode)) {
        log_error(s->all->who, "%s is no socket, and is left as it is: choose another path for the stream", s->path);
        return -EEXIST;
    }
    if (somebody_answers(address)) {
        log_error(s->all->who, "%s is in use: somebody answers there. Choose another path for the stream", s->path);
        return -EADDRINUSE;
    }
    return 0;
}

static void unix_accept_later(struct loop_timer *timer)
{
    stream_watch_door(of_retry(timer), true);
}

/* Later ones wait in the socket's queue. */
static void unix_accept(struct loop_watch *door, uint32_t events)
{
    struct stream *s = of_door(door);
    int fd = accept4(door->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)events;
    if (fd >= 0) {
        s->retry_ns = 0;
        stream_watch_door(s, false);
        stream_came(s, fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        log_limited(&s->limit, s->all->who, LOG_WARN, "a peer of the stream %s has to wait: %s", s->spec, strerror(errno));
        stream_watch_door(s, false);
        try_later(s, unix_accept_later);
    }
}

static void unix_lost(struct stream *s)
{
    drop(&s->watch.fd);
    stream_watch_door(s, true);
}

static void unix_stop(struct stream *s)
{
    struct stat st;

    if (s->door.fd >= 0 && lstat(s->path, &st) == 0 && st.st_dev == s->socket.st_dev && st.st_ino == s->socket.st_ino)
        unlink(s->path);
    drop(&s->watch.fd);
    drop(&s->door.fd);
}

/* Bound to a name beside it, listening, and only then moved into place: who finds the path can connect to it. */
static int unix_start(struct stream *s)
{
    struct sockaddr_un address, beside;
    char name[sizeof beside.sun_path + 32];
    int fd, error = make_address(s, &address, s->path);

    if (!error)
        error = check_place(s, &address);
    if (error)
        return error;
    if (snprintf(name, sizeof name, "%s.%d", s->path, (int)getpid()) >= (int)sizeof beside.sun_path)
        snprintf(name, sizeof name, "%s", s->path);
    error = make_address(s, &beside, name);
    fd = new_socket();
    if (error || fd < 0) {
        drop(&fd);
        return error ? error : -errno;
    }
    unlink(name);
    if (bind(fd, (struct sockaddr *)&beside, sizeof beside) < 0 || listen(fd, 8) < 0 || lstat(name, &s->socket) < 0 ||
        (strcmp(name, s->path) != 0 && rename(name, s->path) < 0)) {
        error = -errno;
        log_error(s->all->who, "cannot listen at %s: %s", s->path, strerror(-error));
        unlink(name);
        drop(&fd);
        return error;
    }
    s->door = (struct loop_watch){ .fd = fd, .events = EPOLLIN, .fn = unix_accept };
    stream_watch_door(s, true);
    log_info(s->all->who, "its stream is at the socket %s", s->path);
    return 0;
}

/* ---- unix:PATH,connect ---------------------------------------------------------------------------------------------- */

static void connect_now(struct loop_timer *timer)
{
    struct stream *s = of_retry(timer);
    struct sockaddr_un address;
    int fd = new_socket();

    if (fd >= 0 && make_address(s, &address, s->path) == 0 &&
        connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        s->retry_ns = 0;
        log_info(s->all->who, "its stream is connected to %s", s->path);
        stream_came(s, fd);
        return;
    }
    if (!s->tried)
        log_warn(s->all->who, "cannot connect to %s: %s; it is tried again", s->path, strerror(errno));
    s->tried = true;
    drop(&fd);
    try_later(s, connect_now);
}

static void connect_lost(struct stream *s)
{
    drop(&s->watch.fd);
    s->retry_ns = 0;
    try_later(s, connect_now);
}

static int connect_start(struct stream *s)
{
    struct sockaddr_un address;
    int error = make_address(s, &address, s->path);

    if (!error)
        connect_now(&s->retry);
    return error;
}

static void connect_stop(struct stream *s)
{
    drop(&s->watch.fd);
}

/* ---- file, null ----------------------------------------------------------------------------------------------------- */

static int file_start(struct stream *s)
{
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (s->option ? O_TRUNC : 0);
    int fd = open(s->path, flags, 0666), error = fd < 0 ? -errno : 0;
    struct stat st;

    /* ENXIO: a FIFO that nobody reads, or a socket */
    if (error == -ENXIO || error == -EISDIR || (!error && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))) {
        log_error(s->all->who, "%s is no plain file: a stream that is something else is pty or unix:PATH", s->path);
        drop(&fd);
        return -EINVAL;
    }
    if (error) {
        log_error(s->all->who, "cannot open %s: %s", s->path, strerror(-error));
        return error;
    }
    s->file = true;
    stream_came(s, fd);
    return 0;
}

static int null_start(struct stream *s)
{
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    s->file = true;
    stream_came(s, fd);
    return 0;
}

static void file_lost(struct stream *s)
{
    (void)s;
}

static void file_stop(struct stream *s)
{
    drop(&s->watch.fd);
}

/* ---- words ---------------------------------------------------------------------------------------------------------- */

static const struct stream_kind kinds[] = {
    { "pty", true, { "marks" }, pty_start, pty_stop, pty_lost },
    { "unix:", false, { "marks", "connect" }, unix_start, unix_stop, unix_lost },
    { "file:", false, { "truncate" }, file_start, file_stop, file_lost },
    { "null", true, { NULL }, null_start, file_stop, file_lost },
};
static const struct stream_kind connecting = {
    "unix:", false, { "marks", "connect" }, connect_start, connect_stop, connect_lost,
};

static bool take_option(struct stream *s, const char *word)
{
    for (unsigned i = 0; i < 3 && s->kind->options[i]; i++) {
        if (strcmp(word, s->kind->options[i]) != 0)
            continue;
        if (!strcmp(word, "marks"))
            s->marks = true;
        else
            s->option = i + 1;
        if (!strcmp(word, "connect"))
            s->kind = &connecting;
        return true;
    }
    return false;
}

/* Words behind commas are options: a path has no commas, so that a slip of the pen makes no file of that name. */
static bool take_options(struct stream *s)
{
    for (char *comma = strrchr(s->path, ','); comma; comma = strrchr(s->path, ',')) {
        if (!take_option(s, comma + 1))
            return false;
        *comma = 0;
    }
    return true;
}

int streamkind_parse(struct stream *s)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = strlen(kinds[i].prefix);
        const char *rest = s->spec + n;

        if (strncmp(s->spec, kinds[i].prefix, n) != 0)
            continue;
        if (kinds[i].alone && *rest && (!kinds[i].options[0] || (*rest != ':' && *rest != ',')))
            continue;
        s->kind = &kinds[i];
        free(s->path);
        s->path = strdup(kinds[i].alone && *rest == ':' ? rest + 1 : rest);
        if (!s->path)
            return -ENOMEM;
        if (take_options(s) && (kinds[i].alone ? *rest != ':' || *s->path : *s->path != 0))
            return 0;
    }
    log_error(s->all->who, "there is no stream \"%s\": there are pty, pty:LINK, unix:PATH, unix:PATH,connect, file:PATH, "
              "file:PATH,truncate and null; pty and unix also with ,marks behind it", s->spec);
    return -EINVAL;
}
