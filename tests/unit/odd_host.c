/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * odd_host - a device whose plugin is the test's: see odd_host.h. The log has a lock; the rest is on one thread.
 */
#include "tests/unit/odd_host.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/base/log.h"

#define LINES 64

/* ---- in place of core/base/log.c -------------------------------------------------------------------------------- */

int log_threshold = LOG_WARN;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char lines[LINES][512];
unsigned odd_nlines;

static void put_line(const char *who, const char *format, va_list args)
{
    char line[512];
    int n = snprintf(line, sizeof line, "%s: ", who ? who : "-");

    vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    pthread_mutex_lock(&log_lock);
    if (odd_nlines < LINES)
        memcpy(lines[odd_nlines++], line, sizeof line);
    pthread_mutex_unlock(&log_lock);
}

void log_write(const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    if ((int)level > log_threshold)
        return;
    va_start(args, format);
    put_line(who, format, args);
    va_end(args);
}

void log_limited(struct log_limit *limit, const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    (void)limit;
    if ((int)level > log_threshold)
        return;
    va_start(args, format);
    put_line(who, format, args);
    va_end(args);
}

void log_capture(char *text, size_t len)
{
    (void)text;
    (void)len;
}

int log_level_parse(const char *text)
{
    (void)text;
    return -1;
}

/* How many lines have these words in them. */
unsigned odd_said(const char *words)
{
    unsigned n = 0;

    pthread_mutex_lock(&log_lock);
    for (unsigned i = 0; i < odd_nlines; i++)
        n += strstr(lines[i], words) != NULL;
    pthread_mutex_unlock(&log_lock);
    return n;
}

void odd_assert_said_once(const char *words)
{
    if (odd_said(words) == 1)
        return;
    for (unsigned i = 0; i < odd_nlines; i++)
        print_error("log: %s\n", lines[i]);
    fail_msg("said %u times: %s", odd_said(words), words);
}

/* ---- the plugin -------------------------------------------------------------------------------------------- */

struct odd_plan odd_plan;

const struct vfu_host *odd_table;
const struct vfu_host_regmap *odd_regs;
struct device *odd_dev;
int odd_self, odd_peer = -1;

static int32_t on_describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    static const struct vfu_bar bars[] = {
        { .index = 0, .size = 4096, .unmapped = VFU_UNMAPPED_ZEROS },
        { .index = 1, .size = 4096, .flags = VFU_BAR_RAW },
    };
    static const struct vfu_reg regs_list[] = {
        { .name = "PLAIN", .offset = 0, .size = 8, .group = VFU_NONE },
        { .name = "HOOKED", .offset = 8, .size = 8, .group = VFU_NONE,
          .flags = VFU_REG_HOOK_READ | VFU_REG_HOOK_WRITE },
    };
    static const struct vfu_regmap map = {
        .struct_size = sizeof map, .regs = regs_list, .nregs = 2, .reg_size = sizeof regs_list[0],
    };

    (void)params;
    desc->caps = odd_plan.caps;
    desc->bars = bars;
    desc->nbars = odd_plan.access ? 2 : 1;
    desc->bar_size = sizeof bars[0];
    desc->regmap = &map;
    desc->msi_vectors = odd_plan.caps & VFU_CAP_MSI ? 2 : 0;
    if (odd_plan.shape)
        odd_plan.shape(desc);
    return odd_plan.on_describe ? odd_plan.on_describe(host) : 0;
}

static int32_t on_create(const struct vfu_host *host, const struct vfu_params *params, void **self)
{
    (void)params;
    odd_table = host;
    odd_regs = host->extension(host, VFU_EXT_REGMAP);
    *self = &odd_self;
    return odd_plan.create ? odd_plan.create(host) : 0;
}

static void on_destroy(void *self)
{
    if (odd_plan.destroy)
        odd_plan.destroy(self);
}

static int32_t on_access(void *self, struct vfu_access *access)
{
    return odd_plan.access(self, access);
}

static int32_t on_reset(void *self, uint32_t kind)
{
    (void)self;
    (void)kind;
    return 0;
}

static void on_attach(void *self, const struct vfu_client *client)
{
    (void)self;
    (void)client;
    if (odd_plan.attach)
        odd_plan.attach();
}

static void on_event(void *self, uint32_t event, uint64_t arg)
{
    if (odd_plan.event)
        odd_plan.event(self, event, arg);
}

static void on_quiesce(void *self)
{
    if (odd_plan.quiesce)
        odd_plan.quiesce(self);
}

static void on_resume(void *self)
{
    if (odd_plan.resume)
        odd_plan.resume(self);
}

static int32_t on_poll(void *self)
{
    return odd_plan.poll(self);
}

static int32_t on_hook(void *self, struct vfu_reg_call *call)
{
    (void)self;
    (void)call;
    return odd_plan.hook_result;
}

static void on_written(void *self, const struct vfu_config_call *call)
{
    if (odd_plan.written)
        odd_plan.written(self, call);
}

static void on_doorbell(void *self, uint32_t index, uint64_t value)
{
    if (odd_plan.doorbell)
        odd_plan.doorbell(self, index, value);
}

static const void *on_extension(const char *id)
{
    static const struct vfu_regmap_ops ops = { .struct_size = sizeof ops, .read = on_hook, .write = on_hook };

    static const struct vfu_config_ops config = { .struct_size = sizeof config, .written = on_written };

    if (strcmp(id, VFU_EXT_CONFIG) == 0)
        return &config;
    static struct vfu_migration_ops state = { .struct_size = sizeof state };

    if (strcmp(id, VFU_EXT_MIGRATION) == 0 && odd_plan.save) {
        state.save = odd_plan.save;
        state.load = odd_plan.load;
        return &state;
    }
    return strcmp(id, VFU_EXT_REGMAP) == 0 ? &ops : NULL;
}

static struct vfu_plugin table = {
    .struct_size = sizeof table,
    .abi_version = VFU_ABI_VERSION,
    .caps = ODD_CAPS | VFU_CAP_DOORBELL | VFU_CAP_MMAP,
    .name = "odd",
    .version = "1",
    .sdk = "test",
    .describe = on_describe,
    .create = on_create,
    .destroy = on_destroy,
    .access = on_access,
    .reset = on_reset,
    .event = on_event,
    .attach = on_attach,
    .quiesce = on_quiesce,
    .resume = on_resume,
    .extension = on_extension,
    .doorbell = on_doorbell,
    .poll = on_poll,
};

/* ---- help -------------------------------------------------------------------------------------------------- */

const char *odd_built(char path[PATH_MAX], const char *module)
{
    const char *dir = getenv("VFU_BUILDDIR");

    snprintf(path, PATH_MAX, "%s/%s", dir ? dir : ".", module);
    return path;
}

int odd_make_with(const char *spec, char **items, uint32_t n, uint64_t deny)
{
    struct device_options options = { .spec = spec, .items = items, .nitems = n, .max_dma_maps = 64, .deny = deny };

    odd_dev = NULL;
    return device_new(&odd_dev, &options);
}

void odd_make(void)
{
    char path[PATH_MAX];

    assert_int_equal(odd_make_with(odd_built(path, "tests/unit/.libs/odd_plugin.so"), NULL, 0, 0), 0);
}

static struct transport out;

static void kick(void *ctx)
{
    (void)ctx;
    transport_flush(&out);
}

void odd_attach(void)
{
    struct vfu_client client = { .struct_size = sizeof client, .max_data_xfer_size = 1048576, .max_msg_fds = 8 };
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(transport_open(&out, pair[0]), 0);
    odd_peer = pair[1];
    assert_int_equal(device_attach(odd_dev, &client, &out, kick, NULL), 0);
}

int odd_setup(void **state)
{
    static void *kept;
    char text[32], path[PATH_MAX];

    (void)state;
    memset(&odd_plan, 0, sizeof odd_plan);
    odd_plan.caps = ODD_CAPS & ~(VFU_CAP_POLL | VFU_CAP_THREADS);
    odd_nlines = 0;
    snprintf(text, sizeof text, "%llx", (unsigned long long)(uintptr_t)&table);
    setenv("VFU_TEST_TABLE", text, 1);
    /* It stays loaded: a report of a leak or a race can name its functions. */
    if (!kept)
        kept = dlopen(odd_built(path, "tests/unit/.libs/odd_plugin.so"), RTLD_NOW | RTLD_LOCAL);
    return kept ? 0 : -1;
}

int odd_teardown(void **state)
{
    (void)state;
    device_free(odd_dev);
    odd_dev = NULL;
    if (odd_peer >= 0) {
        transport_close(&out);
        close(odd_peer);
    }
    odd_peer = -1;
    return 0;
}

void odd_nap(uint64_t ns)
{
    nanosleep(&(struct timespec){ 0, (long)ns }, NULL);
}

struct stopper {
    struct loop_timer timer; /* first */
    const atomic_int *when;  /* NULL: at the first look */
    struct loop *loop;
    uint64_t end;
};

static void look(struct loop_timer *timer)
{
    struct stopper *s = (struct stopper *)timer;

    if (!s->when || atomic_load(s->when) > 0 || loop_now() > s->end)
        loop_stop(s->loop);
    else
        loop_arm(s->loop, timer, loop_now() + MS / 10);
}

/* Runs the device's loop until *when, or for so long. */
void odd_run(const atomic_int *when, uint64_t ns)
{
    struct stopper s = { .timer.fn = look, .when = when, .loop = &odd_dev->loop };

    s.end = loop_now() + (when ? 4000 * MS : 0);
    odd_dev->loop.stopping = false;
    assert_int_equal(loop_arm(&odd_dev->loop, &s.timer, loop_now() + ns), 0);
    loop_run(&odd_dev->loop);
    loop_disarm(&odd_dev->loop, &s.timer);
    if (when)
        assert_true(atomic_load(when) > 0);
}
