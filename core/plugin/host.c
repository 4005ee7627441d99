/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * host - the table handed to a plugin: what is checked of each call, reports of faults, the functions that any thread
 * may call, and parameters. The functions that work on the device are in calls.c, extensions in extend.c.
 */
#include "core/plugin/host.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/plugin/calls.h"
#include "core/device/device.h"
#include "core/plugin/extend.h"
#include "core/plugin/inner.h"

/* ---- checks and reports ---------------------------------------------------------------------------------------- */

static struct device *device_of(const struct vfu_host *table)
{
    return host_of(table)->dev;
}

struct host *host_outermost(const struct host *host)
{
    return host->own;
}

bool host_gone(const struct host *host)
{
    return __atomic_load_n(&host_outermost(host)->closed, __ATOMIC_ACQUIRE);
}

void host_blame(struct host *host, int what, const char *format, ...)
{
    const uint64_t bit = UINT64_C(1) << what;
    char text[256];
    va_list args;

    _Static_assert((int)HOST_RESULTS + (int)RESULTS <= 64, "more kinds of faults than bits");
    if (__atomic_fetch_or(&host->complained, bit, __ATOMIC_RELAXED) & bit)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_error(host->who ? host->who : host->dev->name, "plugin fault (%s): %s", host->plugin ? host->plugin : "?",
              text);
}

/* The device's thread is the one that its loop runs on; while none does, the one that made it. */
static bool mine(const struct host *host)
{
    const struct host *own = host_outermost(host);

    if (__atomic_load_n(&host->dev->loop.running, __ATOMIC_ACQUIRE))
        return loop_mine(&host->dev->loop);
    return pthread_equal(__atomic_load_n(&own->maker, __ATOMIC_RELAXED), pthread_self());
}

int host_check(struct host *host, enum host_call call, uint64_t caps, bool *elsewhere)
{
    uint64_t granted = __atomic_load_n(&host->granted, __ATOMIC_RELAXED);
    char names[64];

    if (host_gone(host)) {
        host_blame(host, call, "%s is called after destroy (ESHUTDOWN)", calls_name(call));
        return -ESHUTDOWN;
    }
    if (call != HOST_UNWATCH_FD && call != HOST_DMA_UNMAP &&
        __atomic_load_n(&host_outermost(host)->retired, __ATOMIC_ACQUIRE))
        return -ESHUTDOWN;
    if (!host_outermost(host)->ready && call != HOST_PARAMS_DECLARE && call != HOST_OPEN) {
        host_blame(host, call, "%s is called before create (EINVAL)", calls_name(call));
        return -EINVAL;
    }
    *elsewhere = !mine(host);
    if (*elsewhere && !(granted & VFU_CAP_THREADS)) {
        host_blame(host, call, "%s is called from a thread that is not the device's, and VFU_CAP_THREADS is not "
                   "granted (EPERM)", calls_name(call));
        return -EPERM;
    }
    if (caps && !(granted & caps)) {
        plugin_cap_names(caps, names, sizeof names);
        host_blame(host, call, "%s is called, but %s %s (ENOTSUP)", calls_name(call), names,
                   host->dev->description.desc.caps & caps ? "is denied" : "is not declared in caps");
        return -ENOTSUP;
    }
    return 0;
}

int32_t host_result(struct host *host, enum host_result which, int32_t result, int32_t most)
{
    static const char *const names[RESULTS] = {
        [RESULT_CREATE] = "create", [RESULT_ACCESS] = "access",
        [RESULT_HOOK] = "register hook", [RESULT_LOCK] = "lock", [RESULT_RESET] = "reset", [RESULT_POLL] = "poll",
        [RESULT_INTERCEPT] = "intercept",
    };

    if (result <= most && result >= -4095)
        return result;
    host_blame(host, HOST_RESULTS + (int)which, "its %s callback returned %d; %s and negative errnos make sense (EIO)",
               names[which], result, most ? "0, 1" : "0");
    return -EIO;
}

/* ---- any thread, without a wait --------------------------------------------------------------------------------- */

static uint64_t host_granted(const struct vfu_host *table)
{
    return __atomic_load_n(&host_of(table)->granted, __ATOMIC_RELAXED) |
           __atomic_load_n(&host_outermost(host_of(table))->client_caps, __ATOMIC_RELAXED);
}

static void host_log(const struct vfu_host *table, uint32_t level, const char *message)
{
    struct host *host = host_of(table);

    if (host_gone(host))
        host_blame(host, HOST_LOG, "log is called after destroy");
    if (!message) {
        host_blame(host, HOST_LOG, "log is given NULL for a message");
        return;
    }
    log_write(host->who ? host->who : host->dev->name, level > VFU_LOG_DEBUG ? LOG_DEBUG : (enum log_level)level, "%s",
              message);
}

static void host_guest_error(const struct vfu_host *table, const char *message)
{
    struct device *dev = device_of(table);

    if (host_gone(host_of(table)))
        host_blame(host_of(table), HOST_GUEST_ERROR, "guest_error is called after destroy");
    if (!message) {
        host_blame(host_of(table), HOST_GUEST_ERROR, "guest_error is given NULL for a message");
        return;
    }
    __atomic_fetch_add(&dev->guest_errors, 1, __ATOMIC_RELAXED);
    if (mine(host_of(table)))
        log_limited(&dev->limit, dev->name, LOG_WARN, "guest error: %s", message);
    else
        log_warn(dev->name, "guest error: %s", message);
}

static uint64_t host_now(const struct vfu_host *table)
{
    return clock_now(&device_of(table)->clock);
}

static int32_t host_dma_check(const struct vfu_host *table, const struct vfu_dma_window *window)
{
    (void)table;
    return dma_window_check(window);
}

static void *host_bar_memory(const struct vfu_host *table, uint32_t bar)
{
    const struct device *dev = device_of(table);

    return bar <= VFU_REGION_BAR5 ? dev->regions[bar].memory : NULL;
}

/* ---- parameters -------------------------------------------------------------------------------------------------- */

static int32_t host_params_declare(const struct vfu_host *table, const struct vfu_param *params, uint32_t n,
                                   uint32_t size)
{
    struct host *host = host_of(table);
    bool elsewhere;
    int error = host_check(host, HOST_PARAMS_DECLARE, 0, &elsewhere);

    if (error || elsewhere)
        return error ? error : -EPERM;
    return params_declare(host->params, params, n, size);
}

static const struct param_value *find_param(const struct vfu_host *table, const char *name)
{
    const struct param_value *value = name ? params_find(host_of(table)->params, name) : NULL;

    return value && value->text ? value : NULL;
}

static int32_t host_param_int(const struct vfu_host *table, const char *name, int64_t *result)
{
    const struct param_value *value = find_param(table, name);

    if (!value)
        return -ENOENT;
    if (value->type == VFU_PARAM_STRING || value->type == VFU_PARAM_NUMBER)
        return -EINVAL;
    *result = value->integer;
    return 0;
}

static int32_t host_param_number(const struct vfu_host *table, const char *name, double *result)
{
    const struct param_value *value = find_param(table, name);

    if (!value)
        return -ENOENT;
    if (value->type != VFU_PARAM_NUMBER && value->type != VFU_PARAM_INT)
        return -EINVAL;
    *result = value->type == VFU_PARAM_INT ? (double)value->integer : value->number;
    return 0;
}

static int32_t host_param_string(const struct vfu_host *table, const char *name, const char **result)
{
    const struct param_value *value = find_param(table, name);

    if (!value)
        return -ENOENT;
    *result = value->text;
    return 0;
}

void host_fill_params(struct vfu_host *table)
{
    table->params_declare = host_params_declare;
    table->param_int = host_param_int;
    table->param_number = host_param_number;
    table->param_string = host_param_string;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int host_new(struct host **out, struct device *dev, uint64_t caps)
{
    struct host *host = malloc(sizeof *host);

    if (!host)
        return -ENOMEM;
    *host = (struct host){
        .dev = dev,
        .own = host,
        .maker = pthread_self(),
        .params = &dev->params,
        .plugin = dev->plugin->table.name,
        .table = {
            .struct_size = sizeof host->table,
            .abi_version = VFU_ABI_VERSION,
            .caps = caps,
            .version = VFU_SDK_VERSION,
            .ctx = host,
            .extension = extend_find,
            .granted = host_granted,
            .log = host_log,
            .guest_error = host_guest_error,
            .dma_check = host_dma_check,
            .now = host_now,
            .bar_memory = host_bar_memory,
            .open = inner_open,
        },
    };
    host_fill_params(&host->table);
    calls_fill(&host->table);
    *out = host;
    return cross_init(&host->cross, &dev->loop);
}

void host_quiet(struct host *host, bool quiet)
{
    host->quiet = quiet;
    if (quiet)
        cross_close(&host->cross, -EBUSY);
    else
        cross_open(&host->cross);
}

void host_client(struct host *host, uint64_t caps)
{
    __atomic_store_n(&host->client_caps, caps, __ATOMIC_RELAXED);
}

void host_freeze(struct host *host, bool frozen)
{
    work_freeze(host, frozen);
    qmp_hold(&host->qmp, frozen);
}

void host_close(struct host *host)
{
    if (!host)
        return;
    cross_close(&host->cross, -ESHUTDOWN);
    qmp_close(&host->qmp);
}

void host_poison(struct host *host)
{
    if (host)
        __atomic_store_n(&host->closed, true, __ATOMIC_RELEASE);
}

void host_retire(struct host *host)
{
    __atomic_store_n(&host->retired, true, __ATOMIC_RELEASE);
}

void host_fini(struct host *host)
{
    if (!host)
        return;
    streams_forget(&host->dev->streams, host);
    work_fini(host);
}

void host_free(struct host *host)
{
    if (!host)
        return;
    cross_fini(&host->cross);
    free(host);
}
