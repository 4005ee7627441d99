/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench - runs the works in turns over all peers and prints their means and ratios. See bench.h.
 */
#define _GNU_SOURCE
#include "bench/bench.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PEERS 6u
#define ROUNDS 64u

struct result {
    bool there;
    double wall[ROUNDS], cpu[ROUNDS];
    double ratio[ROUNDS], cpu_ratio[ROUNDS]; /* of the bare peer's in the same round */
};

static struct peer peers[PEERS];
static size_t npeers;
static struct result results[32][PEERS];

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const double *values, uint32_t n)
{
    double sorted[ROUNDS];

    memcpy(sorted, values, n * sizeof *values);
    qsort(sorted, n, sizeof *sorted, by_value);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static struct sample measure(const struct work *work, struct peer *peer, uint64_t n)
{
    uint64_t cpu = peer_cpu(peer), wall = bench_now();

    work->run(peer, n);
    wall = bench_now() - wall;
    cpu = peer_cpu(peer) - cpu;
    return (struct sample){ (double)wall / (double)n, (double)cpu / (double)n };
}

static void run_work(size_t w, bool quick)
{
    const struct work *work = &works[w];
    uint64_t n = quick ? work->quick : work->full;

    for (uint32_t round = 0; round < work->rounds; round++) {
        struct sample base = { 0, 0 };

        for (size_t p = 0; p < npeers; p++) {
            struct result *r = &results[w][p];
            struct sample s;

            if ((work->ram && !peers[p].ram) || (work->client && !peers[p].client))
                continue;
            if (round == 0)
                work->run(&peers[p], n / 10 + 200);
            /* A library's loop is held against the lean loop of the row above with the same peer, run just before. */
            if (work->client)
                base = measure(&works[w - 1], &peers[p], n);
            s = measure(work, &peers[p], n);
            if (p == 0)
                base = s;
            r->there = true;
            r->wall[round] = s.wall;
            r->cpu[round] = s.cpu;
            r->ratio[round] = s.wall / base.wall;
            r->cpu_ratio[round] = s.cpu / base.cpu;
        }
    }
}

static void print_text(void)
{
    printf("%-38s %-16s %12s %8s %12s %8s\n", "work", "peer", "ns each", "ratio", "its CPU ns", "ratio");
    for (size_t w = 0; w < nworks; w++) {
        for (size_t p = 0; p < npeers; p++) {
            const struct result *r = &results[w][p];
            uint32_t n = works[w].rounds;

            if (!r->there)
                continue;
            printf("%-38s %-16s %12.1f %8.3f %12.1f %8.3f\n", works[w].name, peers[p].name, median(r->wall, n),
                   median(r->ratio, n), median(r->cpu, n), median(r->cpu_ratio, n));
        }
    }
    for (size_t p = 1; p < npeers; p++)
        printf("%-38s %-16s %9lu KiB when idle, %lu KiB after all of this; started in %.1f ms\n", "resident memory",
               peers[p].name, peers[p].rss, peer_rss(&peers[p]), peers[p].start_ms);
    printf("\nns each: the mean of a round, median over the rounds; ratio: of the bare peer's in the same round (of "
           "the lean loop's\n"
           "for the client library), median over the rounds. All on one core, in turns.\n");
}

static void print_json(void)
{
    const char *comma = "";

    printf("{\"results\": [");
    for (size_t w = 0; w < nworks; w++) {
        for (size_t p = 0; p < npeers; p++) {
            const struct result *r = &results[w][p];
            uint32_t n = works[w].rounds;

            if (!r->there)
                continue;
            printf("%s\n  {\"work\": \"%s\", \"unit\": \"%s\", \"peer\": \"%s\", \"ns\": %.2f, \"ratio\": %.4f, "
                   "\"cpu_ns\": %.2f, "
                   "\"cpu_ratio\": %.4f}",
                   comma, works[w].name, works[w].unit, peers[p].name, median(r->wall, n), median(r->ratio, n),
                   median(r->cpu, n), median(r->cpu_ratio, n));
            comma = ",";
        }
    }
    printf("\n], \"peers\": [");
    for (size_t p = 1; p < npeers; p++)
        printf("%s\n  {\"peer\": \"%s\", \"rss_kib\": %lu, \"rss_after_kib\": %lu, \"start_ms\": %.2f}",
               p > 1 ? "," : "", peers[p].name, peers[p].rss, peer_rss(&peers[p]), peers[p].start_ms);
    printf("\n]}\n");
}

static void pin(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        fprintf(stderr, "bench: cannot stay on core %d: the ratios will be worth less\n", core);
}

static void help(void)
{
    printf("Usage: bench [OPTION]... [PLUGIN]...\n"
           "Measures vfu-host with each PLUGIN against a bare peer.\n\n"
           "PLUGIN has edu's registers; without any, edu in C and in Lua of this build.\n"
           "      --host FILE    the program (default: $VFU_HOST, else ./vfu-host)\n"
           "      --ram PLUGIN   a device whose BAR0 is memory of 1 MiB or more; for reads and writes of 1 MiB\n"
           "      --core N       the core (default 0)\n"
           "      --only TEXT    only works whose name contains TEXT\n"
           "      --quick        a tenth of the work\n"
           "      --json         print JSON\n");
}

static void start_defaults(const char *host)
{
    static char c[512], lua[512];
    const char *build = getenv("VFU_BUILDDIR"), *source = getenv("VFU_SRCDIR");

    snprintf(c, sizeof c, "%s/plugins/edu/.libs/edu.so", build ? build : ".");
    snprintf(lua, sizeof lua, "%s/examples/edu.lua", source ? source : ".");
    peer_start_host(&peers[npeers++], host, c);
    peer_start_host(&peers[npeers++], host, lua);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "host", required_argument, NULL, 'h' }, { "ram", required_argument, NULL, 'r' },
        { "core", required_argument, NULL, 'c' }, { "only", required_argument, NULL, 'o' },
        { "quick", no_argument, NULL, 'q' },      { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, '?' },       { NULL, 0, NULL, 0 },
    };
    const char *host = getenv("VFU_HOST") ? getenv("VFU_HOST") : "./vfu-host", *ram = NULL, *only = NULL;
    bool quick = false, json = false;
    int option, core = 0;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'h':
            host = optarg;
            break;
        case 'r':
            ram = optarg;
            break;
        case 'c':
            core = atoi(optarg);
            break;
        case 'o':
            only = optarg;
            break;
        case 'q':
            quick = true;
            break;
        case 'j':
            json = true;
            break;
        default:
            help();
            return optopt ? 2 : 0;
        }
    }
    pin(core);
    peer_start_bare(&peers[npeers++]);
    if (optind == argc && !ram)
        start_defaults(host);
    for (; optind < argc && npeers < PEERS - 1; optind++)
        peer_start_host(&peers[npeers++], host, argv[optind]);
    if (ram) {
        peer_start_host(&peers[npeers], host, ram);
        peers[npeers++].ram = true;
    }
    for (size_t w = 0; w < nworks; w++) {
        if (!only || strstr(works[w].name, only) || (works[w].client && w && strstr(works[w - 1].name, only)))
            run_work(w, quick);
    }
    if (json)
        print_json();
    else
        print_text();
    for (size_t p = 0; p < npeers; p++)
        peer_stop(&peers[p]);
    return 0;
}
