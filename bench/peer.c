/* SPDX-License-Identifier: BSD-3-Clause */
/* peer - the other ends: a bare process that answers without a thought, and hosts. See bench.h. */
#define _GNU_SOURCE
#include "bench/bench.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOM (4u << 20)

void bench_die(const char *format, ...)
{
    va_list args;

    fputs("bench: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\n", stderr);
    exit(1);
}

uint64_t bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the bare one --------------------------------------------------------------------------------------------- */

/* What the reply's size is; only as much meaning as that takes. */
static uint32_t bare_reply_size(const struct vfu_msg_header *header, const uint8_t *body)
{
    uint32_t count;

    switch (header->command) {
    case VFU_CMD_REGION_READ:
        memcpy(&count, body + 12, sizeof count);
        return 32 + count;
    case VFU_CMD_REGION_WRITE:
        return 32;
    case VFU_CMD_REGION_WRITE_MULTI:
        return 24;
    case VFU_CMD_DMA_UNMAP:
        return 40;
    default:
        return 16;
    }
}

static void bare_close_fds(struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        int fd;

        if (c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(sizeof fd))
            continue;
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
        close(fd);
    }
}

/* Everything that has arrived whole is answered into tx. Returns how much of rx it was. */
static size_t bare_answer(uint8_t *rx, size_t have, uint8_t *tx, size_t *out)
{
    size_t at = 0;

    while (have - at >= sizeof(struct vfu_msg_header)) {
        struct vfu_msg_header header;
        uint32_t size;

        memcpy(&header, rx + at, sizeof header);
        if (have - at < header.size)
            break;
        if (!(header.flags & VFU_MSG_NO_REPLY)) {
            size = bare_reply_size(&header, rx + at + sizeof header);
            /* The reply repeats the request's fixed part. */
            memcpy(tx + *out, rx + at, size < header.size ? size : header.size);
            header.size = size;
            header.flags = VFU_MSG_REPLY;
            memcpy(tx + *out, &header, sizeof header);
            *out += size;
        }
        memcpy(&size, rx + at + 4, sizeof size);
        at += size;
    }
    return at;
}

static void bare_serve(int fd)
{
    uint8_t *rx = calloc(1, ROOM), *tx = calloc(1, ROOM);
    size_t have = 0;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(16 * sizeof(int))];
    } control;

    while (rx && tx) {
        struct iovec iov = { rx + have, ROOM - have };
        struct msghdr msg = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof control.bytes };
        ssize_t n = recvmsg(fd, &msg, 0);
        size_t used, out = 0;

        if (n <= 0)
            break;
        if (msg.msg_controllen)
            bare_close_fds(&msg);
        have += (size_t)n;
        used = bare_answer(rx, have, tx, &out);
        for (size_t sent = 0; sent < out;) {
            struct iovec piece = { tx + sent, out - sent };
            struct msghdr reply = { .msg_iov = &piece, .msg_iovlen = 1 };

            n = sendmsg(fd, &reply, MSG_NOSIGNAL);
            if (n <= 0)
                _exit(1);
            sent += (size_t)n;
        }
        have -= used;
        if (have)
            memmove(rx, rx + used, have);
    }
    _exit(0);
}

static void peer_clock(struct peer *peer)
{
    if (clock_getcpuclockid(peer->pid, &peer->clock))
        bench_die("no CPU clock of process %d", (int)peer->pid);
}

void peer_start_bare(struct peer *peer)
{
    int pair[2];

    memset(peer, 0, sizeof *peer);
    peer->name = "bare";
    peer->ram = true;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        bench_die("socketpair: %s", strerror(errno));
    peer->pid = fork();
    if (peer->pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (peer->pid == 0) {
        close(pair[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        bare_serve(pair[1]);
    }
    close(pair[1]);
    peer->fd = pair[0];
    peer_clock(peer);
}

/* ---- a host ---------------------------------------------------------------------------------------------------- */

void peer_start_host(struct peer *peer, const char *program, const char *plugin)
{
    struct vfuc_options options = { .struct_size = sizeof options,
                                    .flags = VFUC_WAIT,
                                    .timeout_ns = UINT64_C(20000000000) };
    const char *slash = strrchr(plugin, '/');
    uint64_t start = bench_now();
    int err = -1;

    memset(peer, 0, sizeof *peer);
    peer->name = slash ? slash + 1 : plugin;
    peer->plugin = plugin;
    strcpy(peer->dir, "/tmp/vfu-bench.XXXXXX");
    if (!mkdtemp(peer->dir))
        bench_die("%s: %s", peer->dir, strerror(errno));
    snprintf(peer->socket, sizeof peer->socket, "%s/s", peer->dir);
    peer->pid = fork();
    if (peer->pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (peer->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!freopen("/dev/null", "w", stdout))
            _exit(127);
        execl(program, program, "--log-level", "error", "--plugin", plugin, "--socket-path", peer->socket,
              (char *)NULL);
        _exit(127);
    }
    peer->client = vfuc_new(&options);
    /* Short waits: a host that ended at once is noticed. */
    for (int i = 0; peer->client && err && i < 2000; i++) {
        vfuc_timeout(peer->client, 10 * VFUC_NS_PER_MS);
        err = vfuc_connect(peer->client, peer->socket);
        if (err && waitpid(peer->pid, NULL, WNOHANG) == peer->pid)
            bench_die("%s --plugin %s has ended at once", program, plugin);
    }
    if (err)
        bench_die("%s: %s", plugin, peer->client ? vfuc_error(peer->client) : "out of memory");
    vfuc_timeout(peer->client, UINT64_C(20000000000));
    peer->start_ms = (double)(bench_now() - start) / 1e6;
    peer->fd = vfuc_fd(peer->client);
    peer->rss = peer_rss(peer);
    peer_clock(peer);
}

void peer_stop(struct peer *peer)
{
    if (peer->client)
        vfuc_free(peer->client);
    else
        close(peer->fd);
    kill(peer->pid, SIGTERM);
    waitpid(peer->pid, NULL, 0);
    if (peer->plugin) {
        unlink(peer->socket);
        rmdir(peer->dir);
    }
}

uint64_t peer_cpu(const struct peer *peer)
{
    struct timespec t;

    if (clock_gettime(peer->clock, &t) < 0)
        bench_die("%s has ended", peer->name);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

unsigned long peer_rss(const struct peer *peer)
{
    char path[64], line[256];
    unsigned long kib = 0;
    FILE *status;

    snprintf(path, sizeof path, "/proc/%d/status", (int)peer->pid);
    status = fopen(path, "r");
    while (status && fgets(line, sizeof line, status)) {
        if (sscanf(line, "VmRSS: %lu", &kib) == 1)
            break;
    }
    if (status)
        fclose(status);
    return kib;
}
