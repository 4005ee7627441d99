/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * spawn - a server of the client's own: its folder, its process, what it prints. Any thread, one at a time for each
 * struct; the server ends with the thread that has started it.
 */
#define _GNU_SOURCE
#include "sdk/client/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PLACE "{socket}"
#define SOCKET_NAME "/device.sock"
#define LOG_NAME "/log"
#define LOOK_NS 500000L /* between two looks for the socket */

struct vfuc_spawn {
    struct vfuc_spawn_options options;
    char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
    char socket[sizeof(((struct sockaddr_un *)0)->sun_path) + sizeof SOCKET_NAME];
    char error[512];
    pid_t pid;     /* 0: none */
    bool ended;    /* one has run; `status` is its */
    int status;
};

__attribute__((format(printf, 3, 4))) static int spawn_error(struct vfuc_spawn *s, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(s->error, sizeof s->error, format, args);
    va_end(args);
    return err;
}

const char *vfuc_spawn_error(const struct vfuc_spawn *s)
{
    return s->error;
}

const char *vfuc_spawn_socket(const struct vfuc_spawn *s)
{
    return s->socket;
}

int vfuc_spawn_pid(const struct vfuc_spawn *s)
{
    return s->pid;
}

const char *vfuc_spawn_status(int status, char *text, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(text, size, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(text, size, "status %d", WEXITSTATUS(status));
    return text;
}

/* A folder whose path leaves room for the socket's, and for the names that a server makes of it. */
static int spawn_folder(struct vfuc_spawn *s, const char *under)
{
    int n = snprintf(s->folder, sizeof s->folder, "%s/vfuc.XXXXXX", under);

    if (n < 0 || (size_t)n + sizeof SOCKET_NAME + 16 > sizeof s->folder || !mkdtemp(s->folder)) {
        s->folder[0] = '\0';
        return -1;
    }
    snprintf(s->socket, sizeof s->socket, "%s" SOCKET_NAME, s->folder);
    return 0;
}

struct vfuc_spawn *vfuc_spawn_new(const struct vfuc_spawn_options *options)
{
    struct vfuc_spawn *s = calloc(1, sizeof *s);
    const char *tmp = getenv("TMPDIR");

    if (!s)
        return NULL;
    if (options)
        memcpy(&s->options, options,
               options->struct_size < sizeof s->options ? options->struct_size : sizeof s->options);
    if (!s->options.timeout_ns)
        s->options.timeout_ns = UINT64_C(5000000000);
    if ((options && options->struct_size < offsetof(struct vfuc_spawn_options, folder)) ||
        (s->options.flags & ~(VFUC_SPAWN_ECHO | VFUC_SPAWN_NO_STDOUT)) || s->options.reserved ||
        (s->options.folder ? spawn_folder(s, s->options.folder)
                           : (!tmp || spawn_folder(s, tmp)) && spawn_folder(s, "/tmp"))) {
        free(s);
        return NULL;
    }
    s->options.folder = NULL; /* the caller's, and not needed any more */
    return s;
}

/* Of what a server leaves behind, its sockets and our log; anything else keeps the folder. */
static void spawn_clean(const struct vfuc_spawn *s)
{
    static const char *const names[] = { SOCKET_NAME, SOCKET_NAME ".control", LOG_NAME };
    char path[sizeof s->socket + 16];

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s%s", s->folder, names[i]);
        unlink(path);
    }
    rmdir(s->folder);
}

void vfuc_spawn_free(struct vfuc_spawn *s)
{
    if (!s)
        return;
    vfuc_spawn_stop(s, NULL);
    spawn_clean(s);
    free(s);
}

/* ---- the process ---- */

/* argv with the socket's path in it, in one block; to be freed. */
static char **spawn_argv(const struct vfuc_spawn *s, const char *const *argv)
{
    size_t n = 0, bytes = 0, room = strlen(s->socket);
    char **out, *to;

    for (; argv[n]; n++) {
        bytes += strlen(argv[n]) + 1;
        for (const char *at = argv[n]; (at = strstr(at, PLACE)); at += sizeof PLACE - 1)
            bytes += room;
    }
    out = malloc((n + 1) * sizeof *out + bytes);
    if (!out)
        return NULL;
    to = (char *)(out + n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *from = argv[i];

        out[i] = to;
        while (*from) {
            if (!strncmp(from, PLACE, sizeof PLACE - 1)) {
                to = mempcpy(to, s->socket, room);
                from += sizeof PLACE - 1;
            } else {
                *to++ = *from++;
            }
        }
        *to++ = '\0';
    }
    out[n] = NULL;
    return out;
}

/* In the child: only what is safe behind a fork. */
static void spawn_child(const struct vfuc_spawn *s, char **argv, pid_t parent, int log, int tell)
{
    sigset_t none;
    int err, null = open("/dev/null", O_RDWR | O_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    dup2(null, 0);
    if (log >= 0) {
        dup2(log, 1);
        dup2(log, 2);
    }
    if (s->options.flags & VFUC_SPAWN_NO_STDOUT)
        dup2(null, 1);
    execvp(argv[0], argv);
    err = errno;
    (void)!write(tell, &err, sizeof err);
    _exit(127);
}

/* The process, once it executes the program; else -errno. */
static int spawn_fork(struct vfuc_spawn *s, char **argv, int log)
{
    pid_t parent = getpid(), pid;
    int tell[2], err = 0;
    ssize_t n;

    if (pipe2(tell, O_CLOEXEC) < 0)
        return spawn_error(s, -errno, "no pipe: %s", strerror(errno));
    pid = fork();
    if (pid == 0)
        spawn_child(s, argv, parent, log, tell[1]);
    err = errno;
    close(tell[1]);
    if (pid < 0) {
        close(tell[0]);
        return spawn_error(s, -err, "cannot start a process: %s", strerror(err));
    }
    do {
        n = read(tell[0], &err, sizeof err);
    } while (n < 0 && errno == EINTR);
    close(tell[0]);
    if (n != (ssize_t)sizeof err) {
        s->pid = pid;
        s->ended = false;
        return 0;
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return spawn_error(s, -err, "cannot execute %s: %s", argv[0], strerror(err));
}

/* Whether it has ended until the deadline. */
static bool spawn_wait(struct vfuc_spawn *s, uint64_t deadline)
{
    int fd = deadline ? (int)syscall(SYS_pidfd_open, s->pid, 0) : -1;

    for (;;) {
        struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
        pid_t got = waitpid(s->pid, &s->status, WNOHANG);

        if (got == s->pid || (got < 0 && errno == ECHILD)) {
            if (got < 0)
                s->status = 0; /* somebody else has waited for it */
            s->pid = 0;
            s->ended = true;
        }
        if (s->ended || conn_now() >= deadline)
            break;
        poll(&poll_fd, fd >= 0, fd >= 0 ? conn_left(deadline) : 1);
    }
    if (fd >= 0)
        close(fd);
    return s->ended;
}

static bool spawn_listens(const struct vfuc_spawn *s)
{
    struct stat st;

    return stat(s->socket, &st) == 0 && S_ISSOCK(st.st_mode);
}

static uint64_t spawn_deadline(const struct vfuc_spawn *s)
{
    uint64_t now = conn_now();

    return s->options.timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + s->options.timeout_ns;
}

static int spawn_comes_up(struct vfuc_spawn *s, const char *program)
{
    uint64_t deadline = spawn_deadline(s);
    char text[64];

    while (!spawn_listens(s)) {
        if (spawn_wait(s, 0))
            return spawn_error(s, -ECHILD, "%s ended with %s before it listened", program,
                               vfuc_spawn_status(s->status, text, sizeof text));
        if (conn_now() >= deadline) {
            vfuc_spawn_kill(s, NULL);
            return spawn_error(s, -ETIMEDOUT, "%s did not listen at %s in time", program, s->socket);
        }
        nanosleep(&(struct timespec){ 0, LOOK_NS }, NULL);
    }
    return 0;
}

int vfuc_spawn_start(struct vfuc_spawn *s, const char *const *argv)
{
    char path[sizeof s->socket + 16], **full;
    int log = -1, err;

    if (s->pid)
        return spawn_error(s, -EISCONN, "a server runs already");
    if (!argv || !argv[0])
        return spawn_error(s, -EINVAL, "no program to start");
    snprintf(path, sizeof path, "%s" LOG_NAME, s->folder);
    if (!(s->options.flags & VFUC_SPAWN_ECHO))
        log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0 && !(s->options.flags & VFUC_SPAWN_ECHO))
        return spawn_error(s, -errno, "cannot write %s: %s", path, strerror(errno));
    unlink(s->socket); /* of one that was killed */
    full = spawn_argv(s, argv);
    err = full ? spawn_fork(s, full, log) : spawn_error(s, -ENOMEM, "out of memory");
    free(full);
    if (log >= 0)
        close(log);
    return err ? err : spawn_comes_up(s, argv[0]);
}

int vfuc_spawn_ended(struct vfuc_spawn *s, int *status)
{
    if (!s->pid && !s->ended)
        return -ESRCH;
    if (s->pid && !spawn_wait(s, 0))
        return 0;
    if (status)
        *status = s->status;
    return 1;
}

int vfuc_spawn_kill(struct vfuc_spawn *s, int *status)
{
    if (s->pid) {
        kill(s->pid, SIGKILL);
        spawn_wait(s, UINT64_MAX);
    }
    if (status)
        *status = s->status;
    return s->ended ? 0 : -ESRCH;
}

int vfuc_spawn_stop(struct vfuc_spawn *s, int *status)
{
    int err = 0;

    if (s->pid) {
        kill(s->pid, SIGTERM);
        if (!spawn_wait(s, spawn_deadline(s))) {
            err = spawn_error(s, -ETIMEDOUT, "process %d did not end on SIGTERM, and was killed", (int)s->pid);
            vfuc_spawn_kill(s, NULL);
        }
    }
    if (status)
        *status = s->status;
    return s->ended ? err : -ESRCH;
}

size_t vfuc_spawn_log(const struct vfuc_spawn *s, char *text, size_t size)
{
    char path[sizeof s->socket + 16];
    size_t got = 0;
    off_t end;
    int fd;

    if (!size)
        return 0;
    snprintf(path, sizeof path, "%s" LOG_NAME, s->folder);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    end = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
    if (end > (off_t)(size - 1))
        end = lseek(fd, -(off_t)(size - 1), SEEK_END) >= 0 ? (off_t)(size - 1) : 0;
    else if (end > 0 && lseek(fd, 0, SEEK_SET) < 0)
        end = 0;
    while (got < (size_t)end) {
        ssize_t n = read(fd, text + got, (size_t)end - got);

        if (n <= 0 && !(n < 0 && errno == EINTR))
            break;
        got += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0)
        close(fd);
    text[got] = '\0';
    return got;
}
