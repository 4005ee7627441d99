/* SPDX-License-Identifier: BSD-3-Clause */
/* report - prints results: as text for people, as JSON, and as the table that bench/RESULTS.md keeps. See bench.h. */
#define _GNU_SOURCE
#include "bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* One result in few words: means of a round, their medians over the rounds. */
struct line {
    const struct work *work;
    const struct peer *peer;
    const char *against;
    uint64_t n; /* operations in a round */
    double wall, ratio, cpu, cpu_ratio;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const double *values, uint32_t n)
{
    double sorted[BENCH_ROUNDS];

    memcpy(sorted, values, n * sizeof *values);
    qsort(sorted, n, sizeof *sorted, by_value);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* False: that peer took no part. */
static bool take(const struct report *report, size_t w, size_t p, struct line *line)
{
    const struct result *r = &report->results[w][p];
    const struct work *work = &works[w];

    if (!r->there)
        return false;
    *line = (struct line){
        .work = work,
        .peer = &report->peers[p],
        .n = report->quick ? work->quick : work->full,
        .wall = median(r->wall, work->rounds),
        .ratio = median(r->ratio, work->rounds),
        .cpu = median(r->cpu, work->rounds),
        .cpu_ratio = median(r->cpu_ratio, work->rounds),
        .against = work->twin ? work->twin_name : "bare",
    };
    return true;
}

/* ns, in the unit that gives it few digits. */
static const char *duration(double ns, char text[16])
{
    if (ns < 1e4)
        snprintf(text, 16, "%.1f ns", ns);
    else if (ns < 1e6)
        snprintf(text, 16, "%.1f us", ns / 1e3);
    else if (ns < 1e9)
        snprintf(text, 16, "%.2f ms", ns / 1e6);
    else
        snprintf(text, 16, "%.2f s", ns / 1e9);
    return text;
}

static const char notes[] =
    "each: the mean of a round of n operations, its median over the rounds; round: n times that. ratio: of what bare,\n"
    "or what `of` names, takes in the same round, median over the rounds. CPU: of the peer's process. All on one\n"
    "core, in turns, where the name does not say otherwise. bare blocks in recvmsg, answers what is there in one\n"
    "sendmsg, and stores what writes bring in a flat array without a look at where. plain.so has a register without\n"
    "anything to it; edu's is locked during DMA; testdev has doorbells in the same BAR; memory.so has memory there.\n"
    "Maps are of a page each. asked: of the host, a ratio at most if it has no unit.\n";

void report_text(const struct report *report)
{
    char each[16], round[16], cpu[16];
    struct line l;

    printf("%-38s %-22s %7s %10s %10s %7s %-9s %10s %7s  %s\n", "work", "peer", "n", "each", "round", "ratio", "of",
           "its CPU", "ratio", "asked");
    for (size_t w = 0; w < nworks; w++) {
        for (size_t p = 0; p < report->npeers; p++) {
            if (!take(report, w, p, &l))
                continue;
            printf("%-38s %-22s %7llu %10s %10s %7.3f %-9s %10s %7.3f  %s\n", l.work->name, l.peer->name,
                   (unsigned long long)l.n, duration(l.wall, each), duration(l.wall * (double)l.n, round), l.ratio,
                   l.against, duration(l.cpu, cpu), l.cpu_ratio, l.work->asked ? l.work->asked : "");
        }
    }
    for (size_t p = 0; p < report->npeers; p++) {
        const struct peer *peer = &report->peers[p];

        if (peer->client)
            printf("%-38s %-22s %lu KiB when idle, %lu KiB after all of this; started in %.1f ms\n",
                   "resident memory", peer->name, peer->rss, peer_rss(peer), peer->start_ms);
    }
    printf("\n%s", notes);
}

void report_json(const struct report *report)
{
    const char *comma = "";
    struct line l;

    printf("{\"results\": [");
    for (size_t w = 0; w < nworks; w++) {
        for (size_t p = 0; p < report->npeers; p++) {
            if (!take(report, w, p, &l))
                continue;
            printf("%s\n  {\"work\": \"%s\", \"peer\": \"%s\", \"n\": %llu, \"ns\": %.2f, \"ratio\": %.4f, "
                   "\"of\": \"%s\", \"cpu_ns\": %.2f, \"cpu_ratio\": %.4f}",
                   comma, l.work->name, l.peer->name, (unsigned long long)l.n, l.wall, l.ratio, l.against, l.cpu,
                   l.cpu_ratio);
            comma = ",";
        }
    }
    comma = "";
    printf("\n], \"peers\": [");
    for (size_t p = 0; p < report->npeers; p++) {
        const struct peer *peer = &report->peers[p];

        if (!peer->client)
            continue;
        printf("%s\n  {\"peer\": \"%s\", \"rss_kib\": %lu, \"rss_after_kib\": %lu, \"start_ms\": %.2f}", comma,
               peer->name, peer->rss, peer_rss(peer), peer->start_ms);
        comma = ",";
    }
    printf("\n]}\n");
}

/* ---- markdown */

static void print_machine(const struct report *report)
{
    char line[256], model[256] = "a processor that does not say its name", date[32] = "";
    FILE *info = fopen("/proc/cpuinfo", "r");
    double load[1] = { 0 };
    struct utsname kernel;
    time_t now = time(NULL);
    struct tm utc;

    while (info && fgets(line, sizeof line, info)) {
        if (sscanf(line, "model name : %255[^\n]", model) == 1)
            break;
    }
    if (info)
        fclose(info);
    if (gmtime_r(&now, &utc))
        strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &utc);
    if (uname(&kernel) == 0)
        printf("%s %s, ", kernel.sysname, kernel.release);
    printf("%s, %ld cores", model, sysconf(_SC_NPROCESSORS_ONLN));
    if (getloadavg(load, 1) == 1)
        printf(", load average %.1f", load[0]);
    printf("; %s. `make bench BENCHFLAGS='", date);
    for (int i = 1; i < report->argc; i++)
        printf("%s%s", i > 1 ? " " : "", report->argv[i]);
    printf("'`:\n\n");
}

void report_markdown(const struct report *report)
{
    char each[16], round[16], cpu[16];
    struct line l;

    print_machine(report);
    printf("| work | peer | n | each | round | ratio | of | its CPU | ratio | asked |\n"
           "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | --- |\n");
    for (size_t w = 0; w < nworks; w++) {
        const char *asked = works[w].asked ? works[w].asked : "";

        for (size_t p = 0; p < report->npeers; p++) {
            if (!take(report, w, p, &l))
                continue;
            printf("| %s | %s | %llu | %s | %s | %.3f | %s | %s | %.3f | %s |\n", l.work->name, l.peer->name,
                   (unsigned long long)l.n, duration(l.wall, each), duration(l.wall * (double)l.n, round), l.ratio,
                   l.against, duration(l.cpu, cpu), l.cpu_ratio, l.peer->client ? asked : "");
        }
    }
    printf("\n| host | KiB when idle | KiB after all of this | started in ms |\n| --- | ---: | ---: | ---: |\n");
    for (size_t p = 0; p < report->npeers; p++) {
        const struct peer *peer = &report->peers[p];

        if (peer->client)
            printf("| %s | %lu | %lu | %.1f |\n", peer->name, peer->rss, peer_rss(peer), peer->start_ms);
    }
    printf("\n%s", notes);
}
