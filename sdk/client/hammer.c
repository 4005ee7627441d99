/* SPDX-License-Identifier: BSD-3-Clause */
/* hammer - the command: phase after phase until the time is up, a check behind each, and the report. See hammer.h. */
#define _GNU_SOURCE
#include "sdk/client/hammer.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#define PROGRESS (SECOND / 5)

/* ---- chance ---- */

/* splitmix64, of Steele, Lea and Flood: any state is a good one. */
uint64_t rng_next(struct rng *rng)
{
    uint64_t z = rng->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t rng_below(struct rng *rng, uint64_t n)
{
    return rng_next(rng) % n;
}

struct rng rng_make(uint64_t seed, uint64_t stream)
{
    struct rng rng = { seed };
    uint64_t first = rng_next(&rng);

    rng.state = first ^ stream * UINT64_C(0xd1342543de82ef95);
    return rng;
}

void rng_bytes(struct rng *rng, void *data, size_t size)
{
    uint8_t *byte = data;

    for (size_t i = 0; i < size; i++)
        byte[i] = (uint8_t)rng_next(rng);
}

/* ---- what all phases need ---- */

uint64_t hammer_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

void hammer_pause(uint64_t ns)
{
    nanosleep(&(struct timespec){ (time_t)(ns / SECOND), (long)(ns % SECOND) }, NULL);
}

int hammer_wrong(struct hammer *h, const char *format, ...)
{
    va_list args;

    if (!h->wrong[0]) {
        va_start(args, format);
        vsnprintf(h->wrong, sizeof h->wrong, format, args);
        va_end(args);
    }
    return -1;
}

/* -EPROTO and -ENOTCONN are the library's word for a connection that is no more, but may be the server's for an
 * access. */
static bool hammer_broken(struct hammer *h, int result)
{
    char text[320];
    uint64_t ids;
    int err;

    if (result != -EPROTO && result != -ENOTCONN)
        return false;
    snprintf(text, sizeof text, "%s", vfuc_error(h->c));
    err = vfuc_get(h->c, VFUC_CONFIG, 0, 4, &ids);
    if (err != result)
        return false;
    hammer_wrong(h, "%s", text);
    return true;
}

int hammer_took(struct hammer *h, int result)
{
    h->requests++;
    if (result >= 0)
        return 0;
    h->refused++;
    if (result == -ETIMEDOUT)
        return hammer_wrong(h, "it does not answer: %s", vfuc_error(h->c));
    return hammer_broken(h, result) ? -1 : 0;
}

static struct vfuc *hammer_client(const struct hammer *h, uint32_t flags, uint32_t max_msg_fds, uint64_t max_data)
{
    struct vfuc_options options = { .struct_size = sizeof options, .timeout_ns = h->settings->timeout_ns,
                                    .flags = flags, .max_msg_fds = max_msg_fds, .max_data_xfer_size = max_data };

    return vfuc_new(&options);
}

/* Whether the next try may do better: the one before is not quite gone, or an intruder was quicker. */
static bool hammer_again(int err)
{
    return err == -EBUSY || err == -ENOTCONN || err == -EAGAIN || err == -EINTR || err == -ECONNRESET;
}

int hammer_connect(struct hammer *h, uint32_t flags, uint32_t max_msg_fds, uint64_t max_data)
{
    uint64_t start = hammer_now();
    int err;

    vfuc_free(h->c);
    h->c = hammer_client(h, flags, max_msg_fds, max_data);
    if (!h->c)
        return hammer_wrong(h, "vfu-client is out of memory");
    while ((err = vfuc_connect(h->c, h->settings->socket)) < 0) {
        uint64_t waited = hammer_now() - start;

        if (!hammer_again(err) || waited > h->settings->timeout_ns)
            break;
        h->busy++;
        if (waited > h->settings->timeout_ns / 4)
            atomic_store(&h->intruders.pause, true);
        hammer_pause(1000000);
    }
    atomic_store(&h->intruders.pause, false);
    h->connects++;
    if (err == -ECONNREFUSED || err == -ENOENT)
        return hammer_wrong(h, "the server is gone: %s", vfuc_error(h->c));
    return err ? hammer_wrong(h, "it takes no client any more: %s", vfuc_error(h->c)) : 0;
}

int hammer_attach(struct hammer *h)
{
    uint64_t draw = rng_next(&h->rng);
    uint32_t flags = (draw & 1 ? VFUC_TWIN_SOCKET : 0) | (draw & 2 ? VFUC_NO_WRITE_MULTI : 0);
    void *mem;

    if (hammer_connect(h, flags, draw & 4 ? 1 : 16, draw & 8 ? 4096 : 0))
        return -1;
    return hammer_took(h, vfuc_memory_new(h->c, 0, HAMMER_MEMORY,
                                          VFUC_DMA_RW | (draw & 16 ? VFUC_DMA_MESSAGES : 0), &mem));
}

static void hammer_latency(struct hammer *h, uint64_t ns)
{
    uint32_t bucket = 0;

    while (bucket + 1 < HAMMER_BUCKETS && ns >> bucket > 1)
        bucket++;
    h->latency[bucket]++;
    if (ns > h->slowest)
        h->slowest = ns;
}

int hammer_check(struct hammer *h)
{
    uint64_t start = hammer_now(), value;

    if (vfuc_fd(h->c) < 0 && hammer_attach(h))
        return -1;
    vfuc_on_dma(h->c, NULL, NULL);
    if (hammer_took(h, vfuc_get(h->c, VFUC_CONFIG, 0, 4, &value)))
        return -1;
    hammer_latency(h, hammer_now() - start);
    if (value != h->ids)
        return hammer_wrong(h, "its ids in config space read 0x%08" PRIx64 ", and were 0x%08x", value, h->ids);
    if (hammer_took(h, vfuc_get(h->c, VFUC_CONFIG, 8, 4, &value)))
        return -1;
    if (value != h->class_revision)
        return hammer_wrong(h, "its class and revision read 0x%08" PRIx64 ", and were 0x%08x", value,
                            h->class_revision);
    return atomic_load(&h->intruders.wrong) ? hammer_wrong(h, "a second client was attached, and read other ids") : 0;
}

/* ---- the device, before anything is done to it ---- */

static int hammer_look(struct hammer *h)
{
    struct vfuc_device device;
    uint64_t value = 0;
    int err = vfuc_device_info(h->c, &device);

    h->nregions = err ? 0 : device.num_regions < HAMMER_REGIONS ? device.num_regions : HAMMER_REGIONS;
    h->nirqs = err ? 0 : device.num_irqs < HAMMER_IRQS ? device.num_irqs : HAMMER_IRQS;
    h->can_reset = !err && (device.flags & VFUC_DEVICE_RESET);
    for (uint32_t i = 0; i < h->nregions && !err; i++) {
        err = vfuc_region_info(h->c, i, &h->regions[i], NULL, 0);
        if (err == -EINVAL && i == VFUC_VGA) {
            h->nregions = i;
            err = 0;
        } else if (!err && h->regions[i].fd >= 0) {
            close(h->regions[i].fd);
        }
    }
    for (uint32_t i = 0; i < h->nirqs && !err; i++) {
        struct vfuc_irq irq;

        err = vfuc_irq_info(h->c, i, &irq);
        h->irqs[i] = err ? 0 : irq.count;
    }
    if (!err)
        err = vfuc_get(h->c, VFUC_CONFIG, 0, 4, &value);
    h->ids = h->intruders.ids = (uint32_t)value;
    if (!err)
        err = vfuc_get(h->c, VFUC_CONFIG, 8, 4, &value);
    h->class_revision = (uint32_t)value;
    return err;
}

/* ---- the run ---- */

static volatile sig_atomic_t hammer_interrupted;

static void hammer_signal(int signal)
{
    (void)signal;
    hammer_interrupted = 1;
}

static const struct actor *hammer_draw(struct hammer *h)
{
    uint64_t all = 0, at;
    size_t i = 0;

    for (size_t k = 0; k < nactors; k++)
        all += actors[k].weight;
    at = rng_below(&h->rng, all);
    while (at >= actors[i].weight)
        at -= actors[i++].weight;
    return &actors[i];
}

static void hammer_progress(const struct hammer *h, uint64_t left)
{
    fprintf(stderr, "\r%3" PRIu64 " s left, phase %" PRIu64 ": %-12s %" PRIu64 " requests ",
            (left + SECOND / 2) / SECOND, h->phase, h->name, h->requests);
}

static void hammer_phases(struct hammer *h, uint64_t *counts, uint64_t length)
{
    uint64_t start = hammer_now(), end = start + length, now, shown = 0;
    bool terminal = isatty(STDERR_FILENO);

    for (; !h->wrong[0] && !hammer_interrupted && (now = hammer_now()) < end; h->phase++) {
        const struct actor *actor;

        h->rng = rng_make(h->seed, h->phase);
        actor = hammer_draw(h);
        h->name = actor->name;
        counts[actor - actors]++;
        if (terminal && now - shown > PROGRESS) {
            hammer_progress(h, end - now);
            shown = now;
        }
        if (actor->run(h) || hammer_check(h))
            break;
    }
    if (terminal)
        fputs("\r\033[K", stderr);
}

/* ---- the report ---- */

/* The upper bound of the bucket in which half of them are. */
static uint64_t hammer_median(const struct hammer *h)
{
    uint64_t all = 0, n = 0;
    uint32_t i = 0;

    for (uint32_t k = 0; k < HAMMER_BUCKETS; k++)
        all += h->latency[k];
    while (i < HAMMER_BUCKETS && (n += h->latency[i]) * 2 < all)
        i++;
    return all ? UINT64_C(1) << (i + 1) : 0;
}

static void hammer_text(const struct hammer *h, const uint64_t *counts, uint64_t length)
{
    struct intruders *i = (struct intruders *)&h->intruders;

    printf("%.1f s with seed %" PRIu64 ": %" PRIu64 " phases, %" PRIu64 " requests of which it refused %" PRIu64
           ", %" PRIu64 " connections, %" PRIu64 " that it closed\n",
           (double)length / 1e9, h->seed, h->phase, h->requests, h->refused, h->connects, h->closed);
    printf("phases:");
    for (size_t k = 0; k < nactors; k++)
        printf("%s %s %" PRIu64, k ? "," : "", actors[k].name, counts[k]);
    printf("\nintruders: %" PRIu64 " visits, %" PRIu64 " refused, %" PRIu64 " attached while there was room\n",
           (uint64_t)atomic_load(&i->visits), (uint64_t)atomic_load(&i->refused), (uint64_t)atomic_load(&i->attached));
    printf("a read in between: half of them within %.1f us, the slowest %.1f us\n", (double)hammer_median(h) / 1e3,
           (double)h->slowest / 1e3);
    if (!h->wrong[0])
        printf("the server answers correctly\n");
}

/* The texts may hold anything that a server has sent; none of it is more than a byte of printable ASCII. */
static void hammer_json_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar(*text >= ' ' && *text < 127 ? *text : '?');
    }
    putchar('"');
}

static void hammer_json(const struct hammer *h, const uint64_t *counts, uint64_t length)
{
    struct intruders *i = (struct intruders *)&h->intruders;

    printf("{\"seed\": %" PRIu64 ", \"seconds\": %.3f, \"phases\": %" PRIu64 ", \"requests\": %" PRIu64
           ", \"refused\": %" PRIu64 ", \"connections\": %" PRIu64 ", \"closed\": %" PRIu64 ", \"kinds\": {",
           h->seed, (double)length / 1e9, h->phase, h->requests, h->refused, h->connects, h->closed);
    for (size_t k = 0; k < nactors; k++)
        printf("%s\"%s\": %" PRIu64, k ? ", " : "", actors[k].name, counts[k]);
    printf("}, \"intruders\": {\"visits\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"attached\": %" PRIu64 "}",
           (uint64_t)atomic_load(&i->visits), (uint64_t)atomic_load(&i->refused), (uint64_t)atomic_load(&i->attached));
    printf(", \"median_ns\": %" PRIu64 ", \"slowest_ns\": %" PRIu64 ", \"correct\": %s", hammer_median(h), h->slowest,
           h->wrong[0] ? "false" : "true");
    if (h->wrong[0]) {
        printf(", \"phase\": %" PRIu64 ", \"kind\": \"%s\", \"wrong\": ", h->phase, h->name);
        hammer_json_text(h->wrong);
    }
    printf("}\n");
}

static int hammer_verdict(const struct hammer *h, const uint64_t *counts, uint64_t length, const char *seconds)
{
    if (h->settings->json)
        hammer_json(h, counts, length);
    else
        hammer_text(h, counts, length);
    if (!h->wrong[0])
        return 0;
    fflush(stdout);
    fprintf(stderr, "vfu-client: %s: in phase %" PRIu64 " (%s): %s\n"
            "Repeat it: vfu-client %s hammer %s --seed %" PRIu64 "\n",
            h->settings->socket, h->phase, h->name, h->wrong, h->settings->socket, seconds, h->seed);
    return EXIT_FAILURE;
}

static int hammer_whole(struct hammer *h, uint64_t length, const char *seconds)
{
    uint64_t *counts = calloc(nactors, sizeof *counts), start;
    int status = EXIT_FAILURE;

    if (!counts || intruders_start(&h->intruders) < 0) {
        fputs("vfu-client: out of memory or threads\n", stderr);
    } else {
        start = hammer_now();
        hammer_phases(h, counts, length);
        intruders_stop(&h->intruders);
        /* With nobody beside it any more, and where the device has a reset, in its first state. */
        if (!h->wrong[0] && !hammer_check(h) && h->can_reset)
            hammer_took(h, vfuc_reset(h->c));
        status = hammer_verdict(h, counts, hammer_now() - start, seconds);
    }
    intruders_stop(&h->intruders);
    free(counts);
    return status;
}

int hammer_run(struct vfuc *c, const struct settings *s, char **argv, int argc)
{
    static struct hammer h;
    uint64_t length;
    int status;

    (void)argc;
    if (!main_seconds(argv[0], 0.001, 1e6, &length))
        return main_usage("hammer wants seconds, 0.001 to 1000000, not '%s'", argv[0]);
    if (!c)
        return 0;
    h = (struct hammer){ .settings = s, .c = c, .seed = s->seed, .name = "first look" };
    h.intruders.socket = s->socket;
    if (hammer_look(&h) < 0)
        return main_failed(s, c);
    vfuc_close(c);
    h.c = NULL;
    if (!s->seeded && getrandom(&h.seed, 4, 0) < 0)
        h.seed = hammer_now();
    h.seed = s->seeded ? s->seed : h.seed & UINT32_MAX;
    h.intruders.seed = h.seed;
    signal(SIGINT, hammer_signal);
    signal(SIGTERM, hammer_signal);
    h.rng = rng_make(h.seed, UINT64_MAX / 2);
    if (hammer_attach(&h)) {
        fprintf(stderr, "vfu-client: %s: %s\n", s->socket, h.wrong);
        status = EXIT_FAILURE;
    } else {
        status = hammer_whole(&h, length, argv[0]);
    }
    vfuc_free(h.c);
    return status;
}
