/* SPDX-License-Identifier: BSD-3-Clause */
/* rig - see rig.h. One thread. */
#define _GNU_SOURCE
#include "tests/robust/rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORDS 1100

uint64_t rig_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void rig_pause(unsigned ms)
{
    nanosleep(&(struct timespec){ ms / 1000, (long)(ms % 1000) * 1000000 }, NULL);
}

const char *rig_path(const struct rig *rig, const char *name)
{
    static char paths[3][512];
    static unsigned turn;
    char *path = paths[turn++ % 3];

    snprintf(path, sizeof paths[0], "%s/%s", rig->dir, name);
    return path;
}

void rig_write(const struct rig *rig, const char *name, const char *text)
{
    FILE *file = fopen(rig_path(rig, name), "w");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

void rig_open(struct rig *rig)
{
    const char *tmp = getenv("TMPDIR");

    memset(rig, 0, sizeof *rig);
    rig->fd = -1;
    snprintf(rig->dir, sizeof rig->dir, "%s/vfu-robust.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    assert_non_null(mkdtemp(rig->dir));
}

static void remove_folder(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    char name[600];

    while (dir && (entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        if (unlink(name) < 0 && (errno == EISDIR || errno == EPERM))
            remove_folder(name);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

void rig_close(struct rig *rig)
{
    if (rig->pid > 0) {
        kill(rig->pid, SIGKILL);
        waitpid(rig->pid, NULL, 0);
    }
    remove_folder(rig->dir);
}

/* ---- the process */

static char *expand(const struct rig *rig, const char *word)
{
    const char *build = getenv("VFU_BUILDDIR"), *source = getenv("VFU_SRCDIR");
    char text[600];

    if (word[0] == '@')
        snprintf(text, sizeof text, "%s/%s", rig->dir, word + 1);
    else if (strcmp(word, "$edu") == 0)
        snprintf(text, sizeof text, "%s/plugins/edu/.libs/edu.so", build ? build : ".");
    else if (strcmp(word, "$memory") == 0)
        snprintf(text, sizeof text, "%s/plugins/memory/.libs/memory.so", build ? build : ".");
    else if (strcmp(word, "$lua") == 0)
        snprintf(text, sizeof text, "%s/examples/edu.lua", source ? source : ".");
    else
        return strdup(word);
    return strdup(text);
}

static void child(struct rig *rig, char **argv)
{
    struct rlimit limit = { rig->nofile, rig->nofile };
    int log = open(rig_path(rig, "log"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    prctl(PR_SET_PDEATHSIG, SIGKILL); /* it must not outlive a test that died */
    dup2(log, 1);
    dup2(log, 2);
    if (rig->nofile)
        setrlimit(RLIMIT_NOFILE, &limit);
    if (rig->before)
        rig->before(rig);
    execv(argv[0], argv);
    _exit(127);
}

void rig_start_words(struct rig *rig, const char *const *words)
{
    char *argv[WORDS];
    int n = 0;

    assert_non_null(getenv("VFU_HOST"));
    argv[n++] = strdup(getenv("VFU_HOST"));
    for (; words[n - 1] && n < WORDS - 1; n++)
        argv[n] = expand(rig, words[n - 1]);
    argv[n] = NULL;
    unlink(rig_path(rig, "log"));
    rig->pid = fork();
    assert_true(rig->pid >= 0);
    if (rig->pid == 0)
        child(rig, argv);
    while (n)
        free(argv[--n]);
}

static void collect(const char **words, va_list args)
{
    int n = 0;

    while (n < 63 && (words[n] = va_arg(args, const char *)))
        n++;
    words[n] = NULL;
}

void rig_start(struct rig *rig, ...)
{
    const char *words[64];
    va_list args;

    va_start(args, rig);
    collect(words, args);
    va_end(args);
    rig_start_words(rig, words);
}

int rig_wait(struct rig *rig)
{
    int status = 0;

    for (int i = 0; i < 2000; i++) {
        if (waitpid(rig->pid, &status, WNOHANG) == rig->pid) {
            rig->pid = 0;
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        rig_pause(5);
    }
    kill(rig->pid, SIGKILL);
    waitpid(rig->pid, NULL, 0);
    rig->pid = 0;
    return -1;
}

int rig_stop(struct rig *rig, int signal)
{
    int status;

    kill(rig->pid, signal);
    status = rig_wait(rig);
    if (status)
        rig_show(rig);
    return status;
}

int rig_run(struct rig *rig, ...)
{
    const char *words[64];
    va_list args;

    va_start(args, rig);
    collect(words, args);
    va_end(args);
    rig_start_words(rig, words);
    return rig_wait(rig);
}

/* ---- from outside */

void rig_show(const struct rig *rig)
{
    FILE *log = fopen(rig_path(rig, "log"), "r");
    char line[512];

    for (int i = 0; log && i < 200 && fgets(line, sizeof line, log); i++)
        fprintf(stderr, "# host: %s", line);
    if (log)
        fclose(log);
}

int rig_said(const struct rig *rig, const char *text)
{
    FILE *log = fopen(rig_path(rig, "log"), "r");
    char line[8192];
    int n = 0;

    while (log && fgets(line, sizeof line, log))
        n += strstr(line, text) != NULL;
    if (log)
        fclose(log);
    return n;
}

bool rig_says(const struct rig *rig, const char *text)
{
    for (int i = 0; i < 1000; i++) {
        if (rig_said(rig, text))
            return true;
        rig_pause(5);
    }
    return false;
}

int rig_fds(const struct rig *rig)
{
    char path[64];
    struct dirent *entry;
    int n = 0;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)rig->pid);
    dir = opendir(path);
    while (dir && (entry = readdir(dir)))
        n += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return n;
}

bool rig_fds_settle(const struct rig *rig, int n)
{
    for (int i = 0; i < 400; i++) {
        if (rig_fds(rig) == n)
            return true;
        rig_pause(5);
    }
    fprintf(stderr, "# %d descriptors are open, not %d\n", rig_fds(rig), n);
    return false;
}

void rig_take_files(const struct rig *rig, struct rlimit *former)
{
    struct rlimit limit;
    char path[64];

    /* The limit is on numbers: the lowest one that is free is the first that must not be given out. */
    for (limit.rlim_cur = 0;; limit.rlim_cur++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)rig->pid, (int)limit.rlim_cur);
        if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
            break;
    }
    assert_int_equal(prlimit(rig->pid, RLIMIT_NOFILE, NULL, former), 0);
    limit.rlim_max = former->rlim_max;
    assert_int_equal(prlimit(rig->pid, RLIMIT_NOFILE, &limit, NULL), 0);
}

void rig_give_files(const struct rig *rig, const struct rlimit *former)
{
    assert_int_equal(prlimit(rig->pid, RLIMIT_NOFILE, former, NULL), 0);
}

long rig_rss(const struct rig *rig)
{
    char path[64], line[256];
    long kib = 0;
    FILE *status;

    snprintf(path, sizeof path, "/proc/%d/status", (int)rig->pid);
    status = fopen(path, "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    if (status)
        fclose(status);
    return kib;
}

/* ---- clients */

struct vfuc *rig_client(const struct rig *rig, const char *socket)
{
    struct vfuc_options options = { .struct_size = sizeof options, .flags = VFUC_WAIT, .timeout_ns = 10000 * RIG_MS };
    struct vfuc *c = vfuc_new(&options);
    int error;

    assert_non_null(c);
    error = vfuc_connect(c, rig_path(rig, socket));
    if (error) {
        rig_show(rig);
        fail_msg("%s: %s", socket, vfuc_error(c));
    }
    return c;
}

int rig_connect(const struct rig *rig, const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error = -1;

    assert_true(fd >= 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", rig->dir, name);
    for (int i = 0; i < 1000 && error; i++) {
        error = connect(fd, (struct sockaddr *)&address, sizeof address);
        if (error)
            rig_pause(5);
    }
    if (error)
        rig_show(rig);
    assert_int_equal(error, 0);
    return fd;
}

void rig_alive(struct vfuc *c)
{
    uint64_t value = 0;

    if (vfuc_get(c, VFUC_BAR(0), 0, 4, &value) < 0)
        fail_msg("%s", vfuc_error(c));
    assert_int_equal(value, RIG_ID);
}

struct rig_access rig_read_of(uint16_t id, uint64_t offset)
{
    return (struct rig_access){ { id, VFU_CMD_REGION_READ, RIG_ACCESS, 0, 0 }, { offset, 0, 4 }, 0 };
}

struct rig_access rig_write_of(uint16_t id, uint64_t offset, uint32_t value, bool posted)
{
    return (struct rig_access){ { id, VFU_CMD_REGION_WRITE, RIG_ACCESS + 4, posted ? VFU_MSG_NO_REPLY : 0, 0 },
                                { offset, 0, 4 }, value };
}

void rig_send(int fd, const void *bytes, size_t size)
{
    while (size) {
        ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);

        assert_true(n > 0);
        bytes = (const char *)bytes + n;
        size -= (size_t)n;
    }
}

void rig_receive(int fd, void *bytes, size_t size)
{
    while (size) {
        struct pollfd ready = { .fd = fd, .events = POLLIN };
        ssize_t n;

        assert_int_equal(poll(&ready, 1, 5000), 1);
        n = recv(fd, bytes, size, 0);
        assert_true(n > 0);
        bytes = (char *)bytes + n;
        size -= (size_t)n;
    }
}

void rig_negotiate(int fd)
{
    struct {
        struct vfu_msg_header header;
        struct vfu_msg_version version;
    } hello = { { 1, VFU_CMD_VERSION, sizeof hello, 0, 0 }, { VFU_PROTOCOL_MAJOR, VFU_PROTOCOL_MINOR } };
    struct vfu_msg_header header;
    char rest[4096];

    rig_send(fd, &hello, sizeof hello);
    rig_receive(fd, &header, sizeof header);
    assert_int_equal(header.flags, VFU_MSG_REPLY);
    assert_in_range(header.size, sizeof header + 4, sizeof rest);
    rig_receive(fd, rest, header.size - sizeof header);
}

bool rig_closed(int fd)
{
    char rest[4096];

    for (;;) {
        struct pollfd ready = { .fd = fd, .events = POLLIN };

        if (poll(&ready, 1, 5000) != 1)
            return false;
        if (recv(fd, rest, sizeof rest, 0) <= 0)
            return true;
    }
}
