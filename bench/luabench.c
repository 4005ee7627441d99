/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * luabench - what Lua costs a device: a hook's own time, posted writes into a hook, and the pauses of the collector, as
 * rows with what is asked.
 * The edu device in C and in Lua (its LIVE register has a hook, its COUNT has none), and a script that leaves garbage with
 * each write, with and without 100,000 objects that live, are driven in turns, in one run, all on one core. One thread, and a
 * process for each device.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <vfu/client.h>

#define PLAIN 0x90u /* a register without a hook */
#define HOOK 0x04u  /* one with a write hook */
#define CHANGE 0x08u /* garbage.lua: its hook reads a register and writes it */
#define LOOK 0x0cu   /* ... and one with a read hook */
#define ROUNDS 15u
#define BATCH 128u   /* posted writes in a message */

enum { C, LUA, EMPTY, LIVE, TABLE, DEVICES };

struct device {
    const char *name, *file, *live, *each; /* parameters, or NULL */
    pid_t pid;
    clockid_t clock;
    struct vfuc *client;
    char socket[96];
};

static struct device devices[DEVICES] = {
    [C] = { .name = "edu in C" },
    [LUA] = { .name = "edu in Lua" },
    [EMPTY] = { .name = "garbage", .live = "live=0", .each = "each=1" },
    [LIVE] = { .name = "garbage, 100,000 live", .live = "live=100000", .each = "each=1000" },
    [TABLE] = { .name = "... in a single table", .live = "live=100000", .each = "each=1000000" },
};
static char dir[] = "/tmp/vfu-luabench.XXXXXX";

static void stop_all(void)
{
    for (int i = 0; i < DEVICES; i++) {
        vfuc_free(devices[i].client);
        devices[i].client = NULL;
        if (devices[i].pid > 0) {
            kill(devices[i].pid, SIGTERM);
            waitpid(devices[i].pid, NULL, 0);
        }
        devices[i].pid = 0;
    }
    rmdir(dir);
}

__attribute__((noreturn)) static void die(const char *what, const char *why)
{
    fprintf(stderr, "luabench: %s: %s\n", what, why);
    stop_all();
    exit(1);
}

static uint64_t now(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void start(struct device *dev, const char *host)
{
    static const struct vfuc_options options = { .struct_size = sizeof options, .flags = VFUC_WAIT };

    snprintf(dev->socket, sizeof dev->socket, "%s/%d.sock", dir, (int)(dev - devices));
    dev->pid = fork();
    if (dev->pid < 0)
        die("fork", strerror(errno));
    if (dev->pid == 0) {
        if (!freopen("/dev/null", "w", stdout))
            _exit(126);
        if (dev->live)
            execl(host, host, "--plugin", dev->file, dev->live, dev->each, "--socket-path", dev->socket, (char *)NULL);
        else
            execl(host, host, "--plugin", dev->file, "--socket-path", dev->socket, (char *)NULL);
        _exit(127);
    }
    dev->client = vfuc_new(&options);
    if (!dev->client || vfuc_connect(dev->client, dev->socket) < 0)
        die(dev->file, dev->client ? vfuc_error(dev->client) : "not enough memory");
    if (clock_getcpuclockid(dev->pid, &dev->clock))
        die(dev->name, "no CPU clock");
}

/* ---- what is measured ---- */

/* Nanoseconds for each of n posted writes: all of it, and the host's CPU time. */
static void posted(struct device *dev, uint64_t offset, uint32_t n, double *wall, double *cpu)
{
    uint64_t begin = now(CLOCK_MONOTONIC), busy = now(dev->clock), value;

    for (uint32_t i = 0; i < n; i++)
        if (vfuc_post(dev->client, 0, offset, &(uint32_t){ i }, 4) < 0)
            die(dev->name, vfuc_error(dev->client));
    if (vfuc_get(dev->client, 0, PLAIN, 4, &value) < 0)
        die(dev->name, vfuc_error(dev->client));
    *cpu = (double)(now(dev->clock) - busy) / n;
    *wall = (double)(now(CLOCK_MONOTONIC) - begin) / n;
}

/* The times of n writes that are waited for, and the host's CPU time from each to the next: that holds what it does
 * after the reply, and nothing of what else the machine does. */
static void replied(struct device *dev, uint64_t offset, uint32_t n, double *times, double *cpu)
{
    uint64_t busy = now(dev->clock);

    for (uint32_t i = 0; i < n; i++) {
        uint64_t begin = now(CLOCK_MONOTONIC), end;

        if (vfuc_put(dev->client, 0, offset, 4, i) < 0)
            die(dev->name, vfuc_error(dev->client));
        times[i] = (double)(now(CLOCK_MONOTONIC) - begin);
        end = now(dev->clock);
        cpu[i] = (double)(end - busy);
        busy = end;
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double at(double *values, uint32_t n, double part)
{
    qsort(values, n, sizeof *values, by_value);
    return values[(uint32_t)(part * (n - 1) + 0.5)];
}

/* As posted, in messages of BATCH writes (REGION_WRITE_MULTI): the client's part is small. */
static void batched(struct device *dev, uint64_t offset, uint32_t n, double *wall, double *cpu)
{
    struct vfuc_multi writes[BATCH];
    uint64_t begin, busy, value;

    for (uint32_t i = 0; i < BATCH; i++)
        writes[i] = (struct vfuc_multi){ .offset = offset, .count = 4, .data = { (uint8_t)i } };
    begin = now(CLOCK_MONOTONIC);
    busy = now(dev->clock);
    for (uint32_t i = 0; i < n; i += BATCH)
        if (vfuc_write_multi(dev->client, writes, BATCH, true) < 0)
            die(dev->name, vfuc_error(dev->client));
    if (vfuc_get(dev->client, 0, PLAIN, 4, &value) < 0)
        die(dev->name, vfuc_error(dev->client));
    n = (n + BATCH - 1) / BATCH * BATCH;
    *cpu = (double)(now(dev->clock) - busy) / n;
    *wall = (double)(now(CLOCK_MONOTONIC) - begin) / n;
}

/* The mean of n reads that are waited for. */
static double reads(struct device *dev, uint64_t offset, uint32_t n)
{
    uint64_t begin = now(CLOCK_MONOTONIC), value;

    for (uint32_t i = 0; i < n; i++)
        if (vfuc_get(dev->client, 0, offset, 4, &value) < 0)
            die(dev->name, vfuc_error(dev->client));
    return (double)(now(CLOCK_MONOTONIC) - begin) / n;
}

static void row(const char *what, const char *asked, const char *format, double value)
{
    char text[32];

    snprintf(text, sizeof text, format, value);
    printf("| %-58s | %-9s | %12s |\n", what, asked, text);
}

enum { W_PLAIN, W_HOOK, W_CHANGE, W_BATCH, WRITES };

/* All in turns; what is told are medians over the rounds, of ratios taken within one. */
static void measure_hooks(uint32_t n)
{
    double wall[WRITES][ROUNDS], cpu[WRITES][ROUNDS], own[2][ROUNDS], rate[3][ROUNDS], ratio[2][ROUNDS], c_wall, c_cpu;
    struct device *lua = &devices[LUA], *hooks = &devices[EMPTY];

    for (uint32_t r = 0; r < ROUNDS; r++) {
        double plain;

        posted(hooks, PLAIN, n, &wall[W_PLAIN][r], &cpu[W_PLAIN][r]);
        posted(lua, HOOK, n, &wall[W_HOOK][r], &cpu[W_HOOK][r]);
        posted(hooks, CHANGE, n, &wall[W_CHANGE][r], &cpu[W_CHANGE][r]);
        batched(lua, HOOK, n, &wall[W_BATCH][r], &cpu[W_BATCH][r]);
        posted(&devices[C], HOOK, n, &c_wall, &c_cpu);
        own[0][r] = cpu[W_HOOK][r] - cpu[W_PLAIN][r];
        own[1][r] = cpu[W_CHANGE][r] - cpu[W_PLAIN][r];
        rate[0][r] = 1e3 / wall[W_BATCH][r];
        rate[1][r] = 1e3 / wall[W_HOOK][r];
        rate[2][r] = 1e3 / cpu[W_BATCH][r];
        plain = reads(&devices[C], PLAIN, n / 10);
        ratio[0][r] = reads(lua, PLAIN, n / 10) / plain;
        ratio[1][r] = reads(hooks, LOOK, n / 10) / plain;
    }
    printf("| %-58s | %-9s | %12s |\n| --- | --- | ---: |\n", "what", "asked", "reached");
    row("posted writes into a Lua hook, by the host's CPU time", ">= 8 M/s", "%.1f M/s", at(rate[2], ROUNDS, 0.5));
    row("... by the clock, with the client on the same core", "", "%.1f M/s", at(rate[0], ROUNDS, 0.5));
    row("... in messages of their own", "", "%.1f M/s", at(rate[1], ROUNDS, 0.5));
    row("a trivial write hook's own time", "< 100 ns", "%.0f ns", at(own[0], ROUNDS, 0.5));
    row("a write hook that reads a register and writes it", "< 200 ns", "%.0f ns", at(own[1], ROUNDS, 0.5));
    row("round trip, plain register read, of the C plugin's", "<= 1.02", "%.3f", at(ratio[0], ROUNDS, 0.5));
    row("round trip, register with a read hook, of the C plugin's", "<= 1.06", "%.3f", at(ratio[1], ROUNDS, 0.5));
    printf("\n");
}

static void measure_pauses(uint32_t n)
{
    double *times[DEVICES], *cpu[DEVICES];
    uint32_t turns = 10, part = n / turns;

    for (int d = 0; d < DEVICES; d++) {
        times[d] = malloc(n * sizeof *times[d]);
        cpu[d] = malloc(n * sizeof *cpu[d]);
        if (!times[d] || !cpu[d])
            die("pauses", "not enough memory");
    }
    for (uint32_t turn = 0; turn < turns; turn++)
        for (int d = 0; d < DEVICES; d++)
            replied(&devices[d], HOOK, part, times[d] + (size_t)turn * part, cpu[d] + (size_t)turn * part);
    printf("| %-24s | %-12s | median us | 99 %% | 99.9 %% | longest |\n| --- | --- | ---: | ---: | ---: | ---: |\n",
           "writes to a hook", "time");
    for (int d = 0; d < DEVICES; d++) {
        double *values[] = { times[d], cpu[d] };

        for (int k = 0; k < 2; k++) {
            printf("| %-24s | %-12s", devices[d].name, k ? "its CPU time" : "round trip");
            printf(" | %9.1f | %9.1f | %9.1f | %9.1f |\n", at(values[k], n, 0.5) / 1e3, at(values[k], n, 0.99) / 1e3,
                   at(values[k], n, 0.999) / 1e3, at(values[k], n, 1) / 1e3);
            free(values[k]);
        }
    }
    printf("\nAsked: no pause of the collector's above 300 us. Round trips hold what else the machine does: the longest of edu in C, which has no collector, tells how much.\n"
           "A collector's pause is in the host's CPU time, which is taken from one write to the next.\n");
}

static void pin(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        fprintf(stderr, "luabench: cannot stay on core %d: the ratios will be worth less\n", core);
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "quick", no_argument, NULL, 'q' }, { NULL, 0, NULL, 0 } };
    const char *host = getenv("VFU_HOST") ? getenv("VFU_HOST") : "./vfu-host";
    const char *build = getenv("VFU_BUILDDIR") ? getenv("VFU_BUILDDIR") : ".";
    const char *source = getenv("VFU_SRCDIR") ? getenv("VFU_SRCDIR") : ".";
    static char files[3][512];
    uint32_t quick = 1;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'q') {
            printf("Usage: luabench [--quick]\n$VFU_HOST, $VFU_BUILDDIR and $VFU_SRCDIR say where things are.\n");
            return 2;
        }
        quick = 10;
    }
    snprintf(files[0], sizeof files[0], "%s/plugins/edu/.libs/edu.so", build);
    snprintf(files[1], sizeof files[1], "%s/examples/edu.lua", source);
    snprintf(files[2], sizeof files[2], "%s/bench/garbage.lua", source);
    devices[C].file = files[0];
    devices[LUA].file = files[1];
    devices[EMPTY].file = devices[LIVE].file = devices[TABLE].file = files[2];
    if (!mkdtemp(dir))
        die(dir, strerror(errno));
    pin(0);
    for (int i = 0; i < DEVICES; i++)
        start(&devices[i], host);
    measure_hooks(100000 / quick);
    measure_pauses(100000 / quick);
    stop_all();
    return 0;
}
