/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * isolate - what a device costs its neighbour in the same process when its script or its client misbehaves: the mean
 * round trip of a read of the victim, with a calm neighbour and with a bad one, taken in turns.
 *
 * A machine is never quite quiet. So a round with the bad one is held against the two calm ones around it, which takes
 * out what changes slowly, and of all rounds the median counts, with the middle half of them beside it.
 *
 * One thread, a process for the bad neighbour's client, and the host.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <vfu/client.h>

#define REGISTER 0x90 /* of edu, without a hook */
#define ROUNDS_MAX 99u
#define MS UINT64_C(1000000)

/* ---- the bad ones */

struct bad {
    const char *name;
    const char *script; /* of the neighbour; NULL: edu in C */
    void (*client)(struct vfuc *c);
};

static void client_reads(struct vfuc *c)
{
    uint64_t value;

    for (;;)
        (void)vfuc_get(c, VFUC_BAR(0), 0, 4, &value);
}

static void client_floods(struct vfuc *c)
{
    uint32_t value = 1;

    while (vfuc_post(c, VFUC_BAR(0), 4, &value, sizeof value) == 0)
        ;
}

#define SCRIPT(body)                                                                                                   \
    "local vfu = require 'vfu'\n"                                                                                      \
    "local bad = vfu.device('bad', { pci = { vendor = 0x1234, device = 1 } })\n"                                       \
    "bad:bar(0, { size = 4096 }, { vfu.reg('A', 0, 4, 'rw'), vfu.reg('B', 4, 4, 'rw') })\n"                            \
    "function bad.read:A() " body " end\n"                                                                             \
    "function bad.write:A(v) " body " end\n"                                                                           \
    "function bad.write:B(v) return ~v end\n"                                                                          \
    "return bad\n"

static const struct bad bads[] = {
    { "a script that never returns", SCRIPT("while true do end"), client_reads },
    { "a script that always fails", SCRIPT("error 'no'"), client_reads },
    { "a flood of posted writes, Lua", SCRIPT("return 0"), client_floods },
    { "a flood of posted writes, C", NULL, client_floods },
};

enum place { APART, SAME, ANYWHERE, PLACES };
static const char *const places[] = { "on another core", "on the same core", "anywhere" };

/* ---- processes */

static pid_t host, offender;
static char folder[64], sockets[2][96], script[96];

static void die(const char *format, ...)
{
    va_list args;

    fputs("isolate: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\n", stderr);
    if (host > 0)
        kill(host, SIGKILL);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pause_for(uint64_t ns)
{
    struct timespec t = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

    nanosleep(&t, NULL);
}

static void start_host(const struct bad *bad, const char *program, const char *budget)
{
    const char *build = getenv("VFU_BUILDDIR");
    char edu[512];
    FILE *file;

    snprintf(edu, sizeof edu, "%s/plugins/edu/.libs/edu.so", build ? build : ".");
    file = fopen(script, "w");
    if (!file || fputs(bad->script ? bad->script : "", file) < 0 || fclose(file))
        die("%s: %s", script, strerror(errno));
    host = fork();
    if (host == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(127);
        execl(program, program, "--hook-budget", budget, "--plugin", edu, "--socket-path", sockets[0], "--plugin",
              bad->script ? script : edu, "--socket-path", sockets[1], (char *)NULL);
        _exit(127);
    }
}

static struct vfuc *join(const char *path)
{
    struct vfuc_options options = { .struct_size = sizeof options, .flags = VFUC_WAIT, .timeout_ns = 10000 * MS };
    struct vfuc *c = vfuc_new(&options);

    if (!c || vfuc_connect(c, path) < 0)
        die("%s: %s", path, c ? vfuc_error(c) : "out of memory");
    return c;
}

static void pin(pid_t who, enum place place, bool is_victim)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    if (place == ANYWHERE)
        for (int i = 0; i < CPU_SETSIZE; i++)
            CPU_SET(i, &set);
    else
        CPU_SET(place == APART && !is_victim ? 1 : 0, &set);
    if (sched_setaffinity(who, sizeof set, &set) < 0)
        die("cannot choose a core: %s", strerror(errno));
}

/* The victim's is the first of the threads with its device's name; main and helpers go with the bad one. */
static void pin_host(enum place place)
{
    char path[300], name[32];
    bool found = false;
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/task", (int)host);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        pid_t thread = atoi(entry->d_name);
        FILE *comm;

        if (thread <= 0)
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%d/comm", (int)host, (int)thread);
        comm = fopen(path, "r");
        name[0] = '\0';
        if (!comm || !fgets(name, sizeof name, comm))
            die("%s: %s", path, strerror(errno));
        fclose(comm);
        pin(thread, place, !found && strcmp(name, "edu\n") == 0);
        found |= strcmp(name, "edu\n") == 0;
    }
    if (dir)
        closedir(dir);
    if (!found)
        die("the victim's thread is not there");
}

static void start_offender(const struct bad *bad, enum place place)
{
    offender = fork();
    if (offender == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(0, place, false);
        bad->client(join(sockets[1]));
        _exit(0);
    }
}

static void end(pid_t *child, int signal)
{
    kill(*child, signal);
    waitpid(*child, NULL, 0);
    *child = 0;
}

/* ---- measuring */

static double mean_of(struct vfuc *c, uint64_t ns)
{
    uint64_t start = now(), end_at = start + ns, n = 0, value, at = start;

    while (at < end_at) {
        for (int i = 0; i < 16; i++)
            if (vfuc_get(c, VFUC_BAR(0), REGISTER, 4, &value) < 0)
                die("the victim: %s", vfuc_error(c));
        n += 16;
        at = now();
    }
    return (double)(at - start) / (double)n;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double quantile(double *values, uint32_t n, uint32_t quarters)
{
    qsort(values, n, sizeof *values, by_value);
    return values[(n - 1) * quarters / 4];
}

/* What was asked of a ratio. */
static const char *const asked[PLACES] = { [APART] = "1.10", [SAME] = "1.25", [ANYWHERE] = "" };

static void run(const struct bad *bad, enum place place, const char *program, const char *budget, uint32_t rounds)
{
    double alone[ROUNDS_MAX + 1], with[ROUNDS_MAX], ratio[ROUNDS_MAX];
    struct vfuc *c;

    start_host(bad, program, budget);
    c = join(sockets[0]);
    pin(0, place, true);
    pin_host(place);
    mean_of(c, 100 * MS);
    alone[0] = mean_of(c, 200 * MS);
    for (uint32_t i = 0; i < rounds; i++) {
        start_offender(bad, place);
        pause_for(300 * MS); /* let it show what it is */
        with[i] = mean_of(c, 300 * MS);
        end(&offender, SIGKILL);
        pause_for(900 * MS); /* and become calm again */
        alone[i + 1] = mean_of(c, 200 * MS);
        ratio[i] = with[i] / ((alone[i] + alone[i + 1]) / 2);
    }
    printf("| %s | %s | %.0f | %.0f | %.3f | %.3f-%.3f | %s |\n", bad->name, places[place],
           quantile(alone, rounds + 1, 2), quantile(with, rounds, 2), quantile(ratio, rounds, 2),
           quantile(ratio, rounds, 1), quantile(ratio, rounds, 3), asked[place]);
    fflush(stdout);
    vfuc_free(c);
    end(&host, SIGTERM);
}

/* Both texts are somewhere in the row. */
static bool selected(const struct bad *bad, enum place place, const char *const only[2])
{
    for (int i = 0; i < 2; i++)
        if (!strstr(bad->name, only[i]) && !strstr(places[place], only[i]))
            return false;
    return true;
}

static void help(void)
{
    printf("Usage: isolate [--host FILE] [--budget S] [--only TEXT]... [--rounds N] [--quick]\n"
           "Measures what a bad neighbour in the same process costs a device.\n");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "host", required_argument, NULL, 'h' },
        { "budget", required_argument, NULL, 'b' },
        { "only", required_argument, NULL, 'o' },
        { "rounds", required_argument, NULL, 'r' },
        { "quick", no_argument, NULL, 'q' },
        { "help", no_argument, NULL, '?' },
        { NULL, 0, NULL, 0 },
    };
    const char *program = getenv("VFU_HOST") ? getenv("VFU_HOST") : "./vfu-host", *budget = "0.1";
    const char *only[2] = { "", "" };
    uint32_t rounds = 15, nonly = 0;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h')
            program = optarg;
        else if (option == 'b')
            budget = optarg;
        else if (option == 'o')
            only[nonly++ % 2] = optarg;
        else if (option == 'r' && atoi(optarg) > 0 && atoi(optarg) <= (int)ROUNDS_MAX)
            rounds = (uint32_t)atoi(optarg);
        else if (option == 'q')
            rounds = 3;
        else
            return help(), optopt ? 2 : 0;
    }
    strcpy(folder, "/tmp/vfu-isolate.XXXXXX");
    if (!mkdtemp(folder))
        die("%s: %s", folder, strerror(errno));
    snprintf(sockets[0], sizeof sockets[0], "%s/victim", folder);
    snprintf(sockets[1], sizeof sockets[1], "%s/bad", folder);
    snprintf(script, sizeof script, "%s/bad.lua", folder);
    printf("| neighbour | it runs | alone, ns | with it | ratio | middle half | asked |\n"
           "| --- | --- | ---: | ---: | ---: | ---: | ---: |\n");
    fflush(stdout); /* or each child would print it again */
    for (size_t b = 0; b < sizeof bads / sizeof bads[0]; b++)
        for (enum place place = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? APART : SAME; place < PLACES; place++)
            if (selected(&bads[b], place, only))
                run(&bads[b], place, program, budget, rounds);
    unlink(script);
    rmdir(folder);
    return 0;
}
