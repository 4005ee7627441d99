/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench - starts the peers, runs the works in turns over all that take part, and has the results printed. See bench.h.
 */
#define _GNU_SOURCE
#include "bench/bench.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EDU_COUNT 0x90u
#define TESTDEV_K_RW 0x10u
#define SPIN_US 30u

struct sample {
    double wall, cpu; /* ns for one operation */
};

static struct {
    const char *host, *ram, *only;
    int core, apart; /* -1: there is no other core */
    bool quick, json, markdown;
} settings = { .host = "./vfu-host", .core = 0, .apart = -1 };

static struct peer peers[BENCH_PEERS];
static size_t npeers;
static struct result results[BENCH_WORKS][BENCH_PEERS];

/* ---- measuring */

static struct sample measure(const struct work *work, struct peer *peer, uint64_t n)
{
    uint64_t cpu, wall;

    if (work->prepare)
        work->prepare(peer, n);
    cpu = peer_cpu(peer);
    wall = bench_now();
    work->run(peer, n);
    wall = bench_now() - wall;
    cpu = peer_cpu(peer) - cpu;
    if (work->finish)
        work->finish(peer, n);
    return (struct sample){ (double)wall / (double)n, (double)cpu / (double)n };
}

static void run_round(size_t w, uint32_t round, uint64_t n)
{
    const struct work *work = &works[w];
    struct sample base = { 0, 0 };
    bool first = true;

    for (size_t p = 0; p < npeers; p++) {
        struct result *r = &results[w][p];
        struct sample s;

        if (!(work->who & peers[p].kind))
            continue;
        if (round == 0)
            measure(work, &peers[p], n / 10 + 200);
        if (work->twin)
            base = measure(&works[w - work->twin], &peers[p], n);
        s = measure(work, &peers[p], n);
        if (first && !work->twin)
            base = s;
        first = false;
        r->there = true;
        r->wall[round] = s.wall;
        r->cpu[round] = s.cpu;
        r->ratio[round] = s.wall / base.wall;
        r->cpu_ratio[round] = s.cpu / base.cpu;
    }
}

/* The name of the row above that "..." stands for counts as well. */
static bool wanted(size_t w)
{
    size_t head = w;

    while (head > 0 && strncmp(works[head].name, "...", 3) == 0)
        head--;
    return !settings.only || strstr(works[w].name, settings.only) || strstr(works[head].name, settings.only);
}

/* ---- peers */

static struct peer *add(uint32_t kind, const char *plugin, const char *param, uint32_t offset)
{
    struct peer *peer = &peers[npeers];

    if (npeers == BENCH_PEERS)
        bench_die("more than %u peers", BENCH_PEERS);
    *peer = (struct peer){ .kind = kind, .offset = offset, .core = -1, .program = settings.host, .plugin = plugin,
                           .param = param };
    if (kind & (PEER_BARE_APART | PEER_APART))
        peer->core = settings.apart;
    npeers++;
    return peer;
}

static void add_bare(uint32_t kind, const char *name)
{
    struct peer *peer = add(kind, NULL, NULL, BENCH_REGISTER);

    snprintf(peer->name, sizeof peer->name, "%s", name);
    peer_start_bare(peer);
}

static void add_host(uint32_t kind, const char *plugin, const char *param, uint32_t offset)
{
    peer_start_host(add(kind, plugin, param, offset));
}

static void add_spinning(const char *plugin)
{
    const char *slash = strrchr(plugin, '/');
    struct peer *peer = add(PEER_APART, plugin, NULL, EDU_COUNT);

    peer->spin_us = SPIN_US;
    snprintf(peer->name, sizeof peer->name, "%.20s --spin-us %u", slash ? slash + 1 : plugin, SPIN_US);
    peer_start_host(peer);
}

/* The devices of this build. */
static void start_defaults(void)
{
    static char edu[512], script[512], plain[512], testdev[512], memory[512];
    const char *build = getenv("VFU_BUILDDIR"), *source = getenv("VFU_SRCDIR");

    build = build ? build : ".";
    snprintf(edu, sizeof edu, "%s/plugins/edu/.libs/edu.so", build);
    snprintf(script, sizeof script, "%s/examples/edu.lua", source ? source : ".");
    snprintf(plain, sizeof plain, "%s/bench/.libs/plain.so", build);
    snprintf(testdev, sizeof testdev, "%s/plugins/testdev/.libs/testdev.so", build);
    snprintf(memory, sizeof memory, "%s/plugins/memory/.libs/memory.so", build);
    add_host(PEER_PLAIN, plain, NULL, BENCH_REGISTER);
    add_host(PEER_EDU, edu, NULL, EDU_COUNT);
    add_host(PEER_EDU, script, NULL, EDU_COUNT);
    add_host(PEER_BELLS, testdev, NULL, TESTDEV_K_RW);
    add_host(PEER_RAM, memory, "size=2M", BENCH_REGISTER);
    if (settings.apart < 0)
        return;
    add_spinning(edu);
    add_spinning(script);
}

static void start_peers(char **plugins, int n)
{
    add_bare(PEER_BARE, "bare");
    if (settings.apart >= 0)
        add_bare(PEER_BARE_APART, "bare, apart");
    if (n == 0 && !settings.ram)
        start_defaults();
    for (int i = 0; i < n; i++) {
        add_host(PEER_EDU, plugins[i], NULL, EDU_COUNT);
        if (settings.apart >= 0)
            add_spinning(plugins[i]);
    }
    if (settings.ram)
        add_host(PEER_RAM, settings.ram, NULL, BENCH_REGISTER);
}

/* Another core that this process may use. */
static int other_core(int core)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) < 0)
        return -1;
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (i != core && CPU_ISSET(i, &set))
            return i;
    }
    return -1;
}

/* ---- the command line */

static void help(void)
{
    printf("Usage: bench [OPTION]... [PLUGIN]...\n"
           "Measures vfu-host with each PLUGIN against a bare peer.\n\n"
           "PLUGIN has edu's registers; without any, the devices of this build are measured.\n"
           "      --host FILE    the program (default: $VFU_HOST, else ./vfu-host)\n"
           "      --ram PLUGIN   a device whose BAR0 is memory of 1 MiB or more; for reads and writes of 1 MiB\n"
           "      --core N       the core (default 0)\n"
           "      --apart N      the core of servers that have one of their own (default: another one)\n"
           "      --only TEXT    only works whose name contains TEXT\n"
           "      --quick        a tenth of the work\n"
           "      --json         print JSON\n"
           "      --markdown     print a table for RESULTS.md\n");
}

/* -1, or an exit status. */
static int parse(int argc, char **argv)
{
    static const struct option options[] = {
        { "host", required_argument, NULL, 'h' },  { "ram", required_argument, NULL, 'r' },
        { "core", required_argument, NULL, 'c' },  { "apart", required_argument, NULL, 'a' },
        { "only", required_argument, NULL, 'o' },  { "quick", no_argument, NULL, 'q' },
        { "json", no_argument, NULL, 'j' },        { "markdown", no_argument, NULL, 'm' },
        { "help", no_argument, NULL, 'H' },        { NULL, 0, NULL, 0 },
    };
    int option;

    if (getenv("VFU_HOST"))
        settings.host = getenv("VFU_HOST");
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'h': settings.host = optarg; break;
        case 'r': settings.ram = optarg; break;
        case 'c': settings.core = atoi(optarg); break;
        case 'a': settings.apart = atoi(optarg); break;
        case 'o': settings.only = optarg; break;
        case 'q': settings.quick = true; break;
        case 'j': settings.json = true; break;
        case 'm': settings.markdown = true; break;
        default: help(); return option == 'H' ? 0 : 2;
        }
    }
    return -1;
}

int main(int argc, char **argv)
{
    struct report report = { .peers = peers, .results = results, .argc = argc, .argv = argv };
    int status = parse(argc, argv);

    if (status >= 0)
        return status;
    if (settings.apart < 0)
        settings.apart = other_core(settings.core);
    peer_pin(settings.core);
    start_peers(argv + optind, argc - optind);
    for (size_t w = 0; w < nworks; w++) {
        for (uint32_t round = 0; round < works[w].rounds && wanted(w); round++)
            run_round(w, round, settings.quick ? works[w].quick : works[w].full);
    }
    report.npeers = npeers;
    report.quick = settings.quick;
    if (settings.json)
        report_json(&report);
    else if (settings.markdown)
        report_markdown(&report);
    else
        report_text(&report);
    for (size_t p = 0; p < npeers; p++)
        peer_stop(&peers[p]);
    return 0;
}
