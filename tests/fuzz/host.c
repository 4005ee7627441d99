/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * host - the world around core/ in the fuzzers. One thread.
 *
 * core/ is compiled with clock_gettime named fuzz_clock_gettime and linked with --wrap=plugin_load and _private; core/base/log.c is left
 * out for the five functions below, which format every line and drop it. FUZZ_LOG=1 shows the lines.
 */
#include "tests/fuzz/host.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/fault.h"
#include "core/device/image_private.h"
#include "core/base/log.h"

#define BEGINNING UINT64_C(1000000000000)
#define FDS_SEEN 256u

static uint64_t fuzz_now = BEGINNING;
static bool log_shown;
static int words = STDERR_FILENO;

/* ---- the clock */

int fuzz_clock_gettime(clockid_t clock, struct timespec *ts);
int fuzz_clock_gettime(clockid_t clock, struct timespec *ts)
{
    (void)clock;
    ts->tv_sec = (time_t)(fuzz_now / 1000000000u);
    ts->tv_nsec = (long)(fuzz_now % 1000000000u);
    return 0;
}

void host_begin(void)
{
    fuzz_now = BEGINNING;
}

void host_pass(struct device *dev, uint64_t ns)
{
    dev->loop.alarm = UINT64_MAX; /* it counts the kernel's time, which is another: the heap is what counts */
    fuzz_now += ns;
}

/* ---- the log */

int log_threshold = LOG_DEBUG;

int log_level_parse(const char *text)
{
    (void)text;
    return LOG_DEBUG;
}

static void put_line(const char *who, const char *format, va_list args)
{
    char line[4096];

    vsnprintf(line, sizeof line, format, args);
    if (log_shown)
        host_say("%s: %s\n", who ? who : "host", line);
}

void log_write(const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    (void)level;
    va_start(args, format);
    put_line(who, format, args);
    va_end(args);
}

void log_limited(struct log_limit *limit, const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    (void)level;
    limit->count++;
    va_start(args, format);
    put_line(who, format, args);
    va_end(args);
}

/* For reloads. */
void log_capture(char *text, size_t len)
{
    if (len)
        *text = '\0';
}

void host_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vdprintf(words, format, args);
    va_end(args);
}

/* ---- devices */

static const struct vfu_plugin *next_plugin;

int __wrap_plugin_load(struct plugin **out, const char *spec, uint64_t host_caps);
int __wrap_plugin_load(struct plugin **out, const char *spec, uint64_t host_caps)
{
    struct plugin *plugin = calloc(1, sizeof *plugin);

    (void)host_caps;
    if (!plugin)
        return -ENOMEM;
    plugin->table = *next_plugin;
    plugin->path = strdup(spec);
    *out = plugin;
    return 0;
}

/* A reload brings the same again. */
int __wrap_plugin_load_private(struct plugin **out, const char *spec, uint64_t host_caps);
int __wrap_plugin_load_private(struct plugin **out, const char *spec, uint64_t host_caps)
{
    return __wrap_plugin_load(out, spec, host_caps);
}

struct device *host_device(const struct vfu_plugin *plugin, uint64_t deny, uint32_t max_dma_maps)
{
    struct device_options options = { .spec = plugin->name, .deny = deny, .max_dma_maps = max_dma_maps };
    struct device *dev;
    int error;

    next_plugin = plugin;
    error = device_new(&dev, &options);
    if (error) {
        host_say("fuzz: no device %s: %s (FUZZ_LOG=1 says more)\n", plugin->name, strerror(-error));
        abort();
    }
    return dev;
}

void host_end(struct device *dev)
{
    /* As loop_run does at its end: what was deferred frees things. */
    for (int i = 0; i < 4; i++)
        loop_step(&dev->loop);
    device_free(dev);
}

/* The last eight bytes are the sum of all before them. */
void host_put_right(uint8_t *image, uint64_t size)
{
    uint64_t sum;

    if (size < IMAGE_HEAD + sizeof sum)
        return;
    memcpy(image + IMAGE_LENGTH_AT, &size, sizeof size);
    sum = image_sum(image, size - sizeof sum);
    memcpy(image + size - sizeof sum, &sum, sizeof sum);
}

/* ---- descriptors */

uint32_t host_open_fds(void)
{
    struct pollfd fds[FDS_SEEN];
    uint32_t n = 0;

    for (uint32_t i = 0; i < FDS_SEEN; i++)
        fds[i] = (struct pollfd){ .fd = (int)i };
    if (poll(fds, FDS_SEEN, 0) < 0)
        return 0;
    for (uint32_t i = 0; i < FDS_SEEN; i++)
        n += !(fds[i].revents & POLLNVAL);
    return n;
}

void host_setup(void)
{
    log_shown = getenv("FUZZ_LOG") != NULL;
    words = dup(STDERR_FILENO);
    if (fault_init())
        abort();
}
