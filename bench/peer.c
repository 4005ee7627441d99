/* SPDX-License-Identifier: BSD-3-Clause */
/* peer - starts and ends the processes at the other ends: a bare one, and hosts. See bench.h. */
#define _GNU_SOURCE
#include "bench/bench.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

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

void peer_pin(int core)
{
    cpu_set_t set;

    if (core < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        fprintf(stderr, "bench: cannot stay on core %d: the ratios will be worth less\n", core);
}

static void peer_clock(struct peer *peer)
{
    if (clock_getcpuclockid(peer->pid, &peer->clock))
        bench_die("no CPU clock of process %d", (int)peer->pid);
}

/* In the child: 0. It goes where the parent goes. */
static pid_t fork_peer(const struct peer *peer)
{
    pid_t pid = fork();

    if (pid < 0)
        bench_die("fork: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        peer_pin(peer->core);
    }
    return pid;
}

void peer_start_bare(struct peer *peer)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        bench_die("socketpair: %s", strerror(errno));
    peer->pid = fork_peer(peer);
    if (peer->pid == 0) {
        close(pair[0]);
        bare_serve(pair[1]);
    }
    close(pair[1]);
    peer->fd = pair[0];
    peer_clock(peer);
}

static void run_host(const struct peer *peer)
{
    const char *args[16] = { peer->program, "--log-level", "error", "--plugin", peer->plugin };
    char spin[16];
    int n = 5;

    if (peer->param)
        args[n++] = peer->param;
    args[n++] = "--socket-path";
    args[n++] = peer->socket;
    if (peer->spin_us) {
        snprintf(spin, sizeof spin, "%u", peer->spin_us);
        args[n++] = "--spin-us";
        args[n++] = spin;
    }
    args[n] = NULL;
    if (freopen("/dev/null", "w", stdout))
        execv(peer->program, (char **)(uintptr_t)args);
    _exit(127);
}

/* Short waits: a host that ended at once is noticed. */
static void connect_host(struct peer *peer)
{
    struct vfuc_options options = { .struct_size = sizeof options, .flags = VFUC_WAIT };
    int err = -1;

    peer->client = vfuc_new(&options);
    for (int i = 0; peer->client && err && i < 2000; i++) {
        vfuc_timeout(peer->client, 10 * VFUC_NS_PER_MS);
        err = vfuc_connect(peer->client, peer->socket);
        if (err && waitpid(peer->pid, NULL, WNOHANG) == peer->pid)
            bench_die("%s --plugin %s has ended at once", peer->program, peer->plugin);
    }
    if (err)
        bench_die("%s: %s", peer->plugin, peer->client ? vfuc_error(peer->client) : "out of memory");
    vfuc_timeout(peer->client, UINT64_C(20000000000));
}

void peer_start_host(struct peer *peer)
{
    const char *slash = strrchr(peer->plugin, '/');
    uint64_t start = bench_now();

    if (!peer->name[0])
        snprintf(peer->name, sizeof peer->name, "%s", slash ? slash + 1 : peer->plugin);
    strcpy(peer->dir, "/tmp/vfu-bench.XXXXXX");
    if (!mkdtemp(peer->dir))
        bench_die("%s: %s", peer->dir, strerror(errno));
    snprintf(peer->socket, sizeof peer->socket, "%s/s", peer->dir);
    peer->pid = fork_peer(peer);
    if (peer->pid == 0)
        run_host(peer);
    connect_host(peer);
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
