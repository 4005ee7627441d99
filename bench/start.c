/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * start - how long one process with many Lua devices takes from its command line until the last socket answers a read,
 * and what memory each of them takes: of what the process holds (its proportional set size), with all of them and with
 * one, taken in turns. One thread, and the host's process.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <vfu/client.h>

#define DEVICES_MAX 1000u
#define ROUNDS_MAX 99u
#define TARGET_MS 200.0
#define TARGET_KIB 150.0

static char folder[64];
static pid_t host;

static void die(const char *format, ...)
{
    va_list args;

    fputs("start: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\n", stderr);
    if (host > 0)
        kill(host, SIGKILL);
    exit(1);
}

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static const char *socket_of(unsigned i)
{
    static char path[96];

    snprintf(path, sizeof path, "%s/%u", folder, i);
    return path;
}

static void run_host(const char *program, const char *script, unsigned n)
{
    const char **args = calloc(4 * n + 4u, sizeof *args);
    unsigned k = 0;

    if (!args)
        _exit(127);
    args[k++] = program;
    args[k++] = "--log-level=error";
    for (unsigned i = 0; i < n; i++) {
        args[k++] = "--plugin";
        args[k++] = script;
        args[k++] = "--socket-path";
        args[k++] = strdup(socket_of(i));
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (freopen("/dev/null", "w", stdout))
        execv(program, (char **)(uintptr_t)args);
    _exit(127);
}

/* A client that looks for the socket every fifth of a millisecond, and costs little until it is there. */
static void answer(unsigned i)
{
    struct vfuc *c = vfuc_new(NULL);
    uint64_t value;

    while (access(socket_of(i), F_OK) < 0) {
        if (waitpid(host, NULL, WNOHANG) == host)
            die("the host has ended at once");
        nanosleep(&(struct timespec){ 0, 200000 }, NULL);
    }
    if (!c || vfuc_connect(c, socket_of(i)) < 0 || vfuc_get(c, VFUC_BAR(0), 0, 4, &value) < 0)
        die("%s: %s", socket_of(i), c ? vfuc_error(c) : "out of memory");
    vfuc_free(c);
}

/* KiB */
static double memory_of(pid_t pid)
{
    char path[64], line[128];
    unsigned long kib = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file) && sscanf(line, "Pss: %lu kB", &kib) != 1)
        ;
    if (!file || !kib)
        die("%s does not say what memory the host holds", path);
    fclose(file);
    return (double)kib;
}

/* ms from the start to the last socket's answer; *kib: memory then, when each of them has answered. */
static double measure(const char *program, const char *script, unsigned n, double *kib)
{
    double start = now_ms(), took;

    host = fork();
    if (host < 0)
        die("fork: %s", strerror(errno));
    if (host == 0)
        run_host(program, script, n);
    answer(n - 1);
    took = now_ms() - start;
    for (unsigned i = 0; i < n; i++)
        answer(i);
    *kib = memory_of(host);
    kill(host, SIGTERM);
    waitpid(host, NULL, 0);
    host = 0;
    return took;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void report(double *ms, double *each, unsigned rounds, unsigned devices, double one_ms)
{
    qsort(ms, rounds, sizeof *ms, by_value);
    qsort(each, rounds, sizeof *each, by_value);
    printf("| Lua devices | started in ms, median | least | asked | KiB each, median | most | asked |\n"
           "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
           "| %u | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f |\n"
           "\nOne alone: %.1f ms. %u rounds, in turns with one device alone.\n",
           devices, ms[rounds / 2], ms[0], TARGET_MS, each[rounds / 2], each[rounds - 1], TARGET_KIB, one_ms, rounds);
}

static unsigned check_count(const char *text, unsigned most)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (*end || n < 2 || n > most) {
        fprintf(stderr, "start: %s is no number from 2 to %u\n", text, most);
        exit(2);
    }
    return (unsigned)n;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "host", required_argument, NULL, 'h' }, { "script", required_argument, NULL, 's' },
        { "devices", required_argument, NULL, 'd' }, { "rounds", required_argument, NULL, 'r' },
        { "quick", no_argument, NULL, 'q' }, { "help", no_argument, NULL, '?' }, { NULL, 0, NULL, 0 },
    };
    const char *program = getenv("VFU_HOST") ? getenv("VFU_HOST") : "./vfu-host";
    const char *source = getenv("VFU_SRCDIR") ? getenv("VFU_SRCDIR") : ".", *script = NULL;
    unsigned devices = 200, rounds = 15;
    static double ms[ROUNDS_MAX], each[ROUNDS_MAX];
    double one_ms = 0;
    char edu[512];
    int option;

    snprintf(edu, sizeof edu, "%s/examples/edu.lua", source);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h')
            program = optarg;
        else if (option == 's')
            script = optarg;
        else if (option == 'd')
            devices = check_count(optarg, DEVICES_MAX);
        else if (option == 'r')
            rounds = check_count(optarg, ROUNDS_MAX);
        else if (option == 'q')
            rounds = 3;
        else
            return printf("Usage: start [--host FILE] [--script FILE] [--devices N] [--rounds N] [--quick]\n"
                          "Measures how soon a process with many Lua devices answers, and what memory each takes.\n"),
                   optopt ? 2 : 0;
    }
    strcpy(folder, "/tmp/vfu-start.XXXXXX");
    if (!mkdtemp(folder))
        die("%s: %s", folder, strerror(errno));
    for (unsigned i = 0; i < rounds; i++) {
        double one, all;

        one_ms = measure(program, script ? script : edu, 1, &one);
        ms[i] = measure(program, script ? script : edu, devices, &all);
        each[i] = (all - one) / (devices - 1);
    }
    report(ms, each, rounds, devices, one_ms);
    rmdir(folder);
    return 0;
}
