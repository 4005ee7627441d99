/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * host - the function table handed to a plugin. Functions run on the device's thread (or on main's, before the device's
 * loop does and after). A call from a thread of the plugin's own is handed over to it, if the plugin has
 * VFU_CAP_THREADS; else it is refused and reported once, by name.
 *
 * Every function that needs checks is a row of the table `calls`, and a short function that packs its arguments.
 */
#include "core/host.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"
#include "core/inner.h"

/* ---- checks and reports ---------------------------------------------------------------------------------------- */

static struct device *device_of(const struct vfu_host *table)
{
    return host_of(table)->dev;
}

/* What is the device's, whichever plugin calls. */
static struct host *outermost(const struct host *host)
{
    return &host->dev->host;
}

bool host_gone(const struct host *host)
{
    return __atomic_load_n(&outermost(host)->closed, __ATOMIC_ACQUIRE);
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
    const struct host *own = outermost(host);

    if (__atomic_load_n(&host->dev->loop.running, __ATOMIC_ACQUIRE))
        return loop_mine(&host->dev->loop);
    return pthread_equal(__atomic_load_n(&own->maker, __ATOMIC_RELAXED), pthread_self());
}

static const char *call_name(enum host_call call);

int host_check(struct host *host, enum host_call call, uint64_t caps, bool *elsewhere)
{
    uint64_t granted = __atomic_load_n(&host->granted, __ATOMIC_RELAXED);
    char names[64];

    if (host_gone(host)) {
        host_blame(host, call, "%s is called after destroy (ESHUTDOWN)", call_name(call));
        return -ESHUTDOWN;
    }
    if (!outermost(host)->ready && call != HOST_PARAMS_DECLARE && call != HOST_OPEN) {
        host_blame(host, call, "%s is called before create (EINVAL)", call_name(call));
        return -EINVAL;
    }
    *elsewhere = !mine(host);
    if (*elsewhere && !(granted & VFU_CAP_THREADS)) {
        host_blame(host, call, "%s is called from a thread that is not the device's, and VFU_CAP_THREADS is not "
                   "granted (EPERM)", call_name(call));
        return -EPERM;
    }
    if (caps && !(granted & caps)) {
        plugin_cap_names(caps, names, sizeof names);
        host_blame(host, call, "%s is called, but %s %s (ENOTSUP)", call_name(call), names,
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
           __atomic_load_n(&outermost(host_of(table))->client_caps, __ATOMIC_RELAXED);
}

static void host_log(const struct vfu_host *table, uint32_t level, const char *message)
{
    struct host *host = host_of(table);

    if (host_gone(host))
        host_blame(host, HOST_LOG, "log is called after destroy");
    log_write(host->who ? host->who : host->dev->name, level > VFU_LOG_DEBUG ? LOG_DEBUG : (enum log_level)level, "%s",
              message ? message : "(null)");
}

static void host_guest_error(const struct vfu_host *table, const char *message)
{
    struct device *dev = device_of(table);

    if (host_gone(host_of(table)))
        host_blame(host_of(table), HOST_GUEST_ERROR, "guest_error is called after destroy");
    __atomic_fetch_add(&dev->guest_errors, 1, __ATOMIC_RELAXED);
    if (mine(host_of(table)))
        log_limited(&dev->limit, dev->name, LOG_WARN, "guest error: %s", message ? message : "(null)");
    else
        log_warn(dev->name, "guest error: %s", message ? message : "(null)");
}

static uint64_t host_now(const struct vfu_host *table)
{
    (void)table;
    return loop_now();
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

/* ---- calls that are made on the device's thread ------------------------------------------------------------------ */

struct args {
    uint64_t n[4];
    void *p[2];
    void (*work)(void *arg);
    void (*ready)(void *arg, uint32_t ready);
};

/* A call on its way from another thread. */
struct crossing {
    struct cross_call call; /* first */
    struct host *host;
    enum host_call which;
    const struct args *args;
    uint64_t value;       /* of a register, which may look like any error */
    struct vfu_dma_op op; /* message DMA that the caller waits for */
};

#define ANY_IRQ (VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_MSIX)

static int64_t run_irq_raise(struct host *host, const struct args *a)
{
    int error = irq_raise(host->dev->irq, (uint32_t)a->n[0]);

    if (error == -EINVAL)
        host_blame(host, HOST_VECTOR, "interrupt vector %u is raised, which the device does not have (EINVAL)",
                   (uint32_t)a->n[0]);
    return error;
}

static int64_t run_irq_lower(struct host *host, const struct args *a)
{
    int error = irq_lower(host->dev->irq, (uint32_t)a->n[0]);

    if (error == -EINVAL)
        host_blame(host, HOST_VECTOR, "interrupt vector %u is lowered, which the device does not have (EINVAL)",
                   (uint32_t)a->n[0]);
    return error;
}

static int64_t run_irq_signal(struct host *host, const struct args *a)
{
    int error = irq_signal(host->dev->irq, (uint32_t)a->n[0]);

    if (error == -EINVAL)
        host_blame(host, HOST_IRQ_SIGNAL, "irq_signal is given %u; VFU_IRQ_ERR and VFU_IRQ_REQ make sense (EINVAL)",
                   (uint32_t)a->n[0]);
    return error;
}

static int64_t copy(struct host *host, const struct args *a, bool write)
{
    struct device *dev = host->dev;

    if (!dev->attached)
        return -ENOTCONN;
    if (dev->transfer.frozen)
        return -EBUSY;
    return dma_copy(dev->dma, a->n[0], a->p[0], a->n[1], write);
}

static int64_t run_dma_read(struct host *host, const struct args *a)
{
    return copy(host, a, false);
}

static int64_t run_dma_write(struct host *host, const struct args *a)
{
    return copy(host, a, true);
}

static int64_t run_dma_submit(struct host *host, const struct args *a)
{
    int error = transfer_submit_self(&host->dev->transfer, a->p[0], a->p[1]);

    if (error == -EALREADY)
        host_blame(host, HOST_DMA_SUBMIT, "dma_submit is given an op that is in flight (EALREADY)");
    return error;
}

static int64_t run_dma_map(struct host *host, const struct args *a)
{
    if (!host->dev->attached)
        return -ENOTCONN;
    return dma_window_open(host->dev->dma, a->n[0], a->n[1], (uint32_t)a->n[2], a->p[0]);
}

static int64_t run_dma_unmap(struct host *host, const struct args *a)
{
    return dma_window_close(host->dev->dma, a->p[0]);
}

static int64_t run_dma_dirty(struct host *host, const struct args *a)
{
    if (dma_check(host->dev->dma, a->n[0], a->n[1], true) < 0)
        return -EFAULT;
    dma_wrote(host->dev->dma, a->n[0], a->n[1]);
    return 0;
}

static int64_t run_timer_after(struct host *host, const struct args *a)
{
    uint32_t event = (uint32_t)a->n[2];

    /* The upper bits say which of the plugins inside of each other has set it: see core/inner.c. */
    if (event >> 24 > host->dev->ninners)
        return -EINVAL;
    return timers_after(&host->dev->timers, a->n[0], a->n[1], event, a->n[3]);
}

static int64_t run_timer_cancel(struct host *host, const struct args *a)
{
    return timers_cancel(&host->dev->timers, (int64_t)a->n[0]);
}

static int64_t run_defer(struct host *host, const struct args *a)
{
    return work_defer(host, a->work, a->p[0]);
}

static int64_t run_watch_fd(struct host *host, const struct args *a)
{
    return work_watch(host, (int32_t)a->n[0], (uint32_t)a->n[1], a->ready, a->p[0]);
}

static int64_t run_unwatch_fd(struct host *host, const struct args *a)
{
    return work_unwatch(host, (int32_t)a->n[0]);
}

static int64_t run_reg_set(struct host *host, const struct args *a)
{
    return regmap_set(host->dev->map, (uint32_t)a->n[0], (uint32_t)a->n[1], (uint32_t)a->n[2], a->n[3]);
}

static int64_t run_poll_every(struct host *host, const struct args *a)
{
    return work_poll_every(host, a->n[0]);
}

static const struct {
    const char *name;
    uint64_t caps; /* one of these must be granted; 0: none */
    int64_t (*run)(struct host *host, const struct args *a);
} calls[HOST_CALLS] = {
    [HOST_PARAMS_DECLARE] = { "params_declare", 0, NULL },
    [HOST_IRQ_RAISE] = { "irq_raise", ANY_IRQ, run_irq_raise },
    [HOST_IRQ_LOWER] = { "irq_lower", ANY_IRQ, run_irq_lower },
    [HOST_IRQ_SIGNAL] = { "irq_signal", 0, run_irq_signal },
    [HOST_DMA_READ] = { "dma_read", VFU_CAP_DMA, run_dma_read },
    [HOST_DMA_WRITE] = { "dma_write", VFU_CAP_DMA, run_dma_write },
    [HOST_DMA_SUBMIT] = { "dma_submit", VFU_CAP_DMA, run_dma_submit },
    [HOST_DMA_MAP] = { "dma_map", VFU_CAP_DMA_MAP, run_dma_map },
    [HOST_DMA_UNMAP] = { "dma_unmap", VFU_CAP_DMA_MAP, run_dma_unmap },
    [HOST_DMA_DIRTY] = { "dma_dirty", VFU_CAP_DMA | VFU_CAP_DMA_MAP, run_dma_dirty },
    [HOST_TIMER_AFTER] = { "timer_after", VFU_CAP_TIMERS, run_timer_after },
    [HOST_TIMER_CANCEL] = { "timer_cancel", VFU_CAP_TIMERS, run_timer_cancel },
    [HOST_DEFER] = { "defer", VFU_CAP_TIMERS, run_defer },
    [HOST_WATCH_FD] = { "watch_fd", VFU_CAP_FD_WATCH, run_watch_fd },
    [HOST_UNWATCH_FD] = { "unwatch_fd", VFU_CAP_FD_WATCH, run_unwatch_fd },
    [HOST_REG_GET] = { "regmap get", 0, NULL },
    [HOST_REG_SET] = { "regmap set", 0, run_reg_set },
    [HOST_POLL_EVERY] = { "poll_every", VFU_CAP_POLL, run_poll_every },
    [HOST_OPEN] = { "open", 0, NULL },
};

static const char *call_name(enum host_call call)
{
    return calls[call].name;
}

uint64_t host_call_caps(enum host_call call)
{
    return calls[call].caps;
}

/* ---- from other threads ------------------------------------------------------------------------------------------ */

static void waited_for(void *self, struct vfu_dma_op *op, int32_t status)
{
    struct crossing *c = (struct crossing *)((char *)op - offsetof(struct crossing, op));

    (void)self;
    cross_finish(&c->host->dev->host.cross, &c->call, status);
}

static int64_t run_crossing(struct cross_call *call)
{
    struct crossing *c = (struct crossing *)call;
    const uint64_t *n = c->args->n;
    int64_t result;

    if (c->which == HOST_REG_GET) {
        c->value = regmap_get(c->host->dev->map, (uint32_t)n[0], (uint32_t)n[1], (uint32_t)n[2]);
        return 0;
    }
    result = calls[c->which].run(c->host, c->args);
    if (result != -EWOULDBLOCK || (c->which != HOST_DMA_READ && c->which != HOST_DMA_WRITE))
        return result;
    c->op = (struct vfu_dma_op){
        .struct_size = sizeof c->op,
        .flags = c->which == HOST_DMA_WRITE ? VFU_DMA_WRITE : 0,
        .addr = n[0],
        .len = n[1],
        .buf = c->args->p[0],
        .done = waited_for,
    };
    result = transfer_submit(&c->host->dev->transfer, &c->op);
    return result ? result : CROSS_LATER;
}

/* The device is quieted, or goes: the caller gets its buffer back. */
static void abandon_crossing(struct cross_call *call)
{
    struct crossing *c = (struct crossing *)call;

    transfer_withdraw(&c->host->dev->transfer, &c->op);
}

static int64_t hand_over(struct crossing *c, struct host *host, enum host_call call, const struct args *args)
{
    c->call.run = run_crossing;
    c->call.give_up = abandon_crossing;
    c->host = outermost(host);
    c->which = call;
    c->args = args;
    return cross_call(&c->host->cross, &c->call);
}

static int64_t invoke(const struct vfu_host *table, enum host_call call, const struct args *args)
{
    struct host *host = host_of(table);
    struct crossing crossing;
    bool elsewhere;
    int error = host_check(host, call, calls[call].caps, &elsewhere);

    if (error)
        return error;
    if (!elsewhere)
        return calls[call].run(outermost(host), args);
    return hand_over(&crossing, host, call, args);
}

/* ---- the functions of the table ---------------------------------------------------------------------------------- */

#define INVOKE(call, ...) invoke(table, call, &(struct args){ __VA_ARGS__ })

static int32_t host_irq_raise(const struct vfu_host *table, uint32_t vector)
{
    return (int32_t)INVOKE(HOST_IRQ_RAISE, .n = { vector });
}

static int32_t host_irq_lower(const struct vfu_host *table, uint32_t vector)
{
    return (int32_t)INVOKE(HOST_IRQ_LOWER, .n = { vector });
}

static int32_t host_irq_signal(const struct vfu_host *table, uint32_t which)
{
    return (int32_t)INVOKE(HOST_IRQ_SIGNAL, .n = { which });
}

static int32_t host_dma_read(const struct vfu_host *table, uint64_t addr, void *buf, uint64_t len)
{
    return (int32_t)INVOKE(HOST_DMA_READ, .n = { addr, len }, .p = { buf });
}

static int32_t host_dma_write(const struct vfu_host *table, uint64_t addr, const void *buf, uint64_t len)
{
    return (int32_t)INVOKE(HOST_DMA_WRITE, .n = { addr, len }, .p = { (void *)(uintptr_t)buf });
}

static int32_t host_dma_submit(const struct vfu_host *table, struct vfu_dma_op *op)
{
    return (int32_t)INVOKE(HOST_DMA_SUBMIT, .p = { op, inner_submitter(op, device_of(table)->self) });
}

static int32_t host_dma_map(const struct vfu_host *table, uint64_t addr, uint64_t len, uint32_t prot,
                            struct vfu_dma_window *window)
{
    return (int32_t)INVOKE(HOST_DMA_MAP, .n = { addr, len, prot }, .p = { window });
}

static int32_t host_dma_unmap(const struct vfu_host *table, struct vfu_dma_window *window)
{
    return (int32_t)INVOKE(HOST_DMA_UNMAP, .p = { window });
}

static int32_t host_dma_dirty(const struct vfu_host *table, uint64_t addr, uint64_t len)
{
    return (int32_t)INVOKE(HOST_DMA_DIRTY, .n = { addr, len });
}

static int64_t host_timer_after(const struct vfu_host *table, uint64_t delay, uint64_t period, uint32_t event,
                                uint64_t arg)
{
    return INVOKE(HOST_TIMER_AFTER, .n = { delay, period, event, arg });
}

static int32_t host_timer_cancel(const struct vfu_host *table, int64_t id)
{
    return (int32_t)INVOKE(HOST_TIMER_CANCEL, .n = { (uint64_t)id });
}

static int32_t host_defer(const struct vfu_host *table, void (*fn)(void *arg), void *arg)
{
    return (int32_t)INVOKE(HOST_DEFER, .work = fn, .p = { arg });
}

static int32_t host_watch_fd(const struct vfu_host *table, int32_t fd, uint32_t events,
                             void (*fn)(void *arg, uint32_t ready), void *arg)
{
    return (int32_t)INVOKE(HOST_WATCH_FD, .n = { (uint32_t)fd, events }, .ready = fn, .p = { arg });
}

static int32_t host_unwatch_fd(const struct vfu_host *table, int32_t fd)
{
    return (int32_t)INVOKE(HOST_UNWATCH_FD, .n = { (uint32_t)fd });
}

static int32_t host_poll_every(const struct vfu_host *table, uint64_t interval)
{
    return (int32_t)INVOKE(HOST_POLL_EVERY, .n = { interval });
}

/* ---- extensions -------------------------------------------------------------------------------------------------- */

/* A register may hold what looks like an error: whether the call is allowed is asked apart. */
static uint64_t regmap_ext_get(const struct vfu_host *table, uint32_t reg, uint32_t index, uint32_t group_index)
{
    struct host *host = host_of(table);
    const struct args args = { .n = { reg, index, group_index } };
    struct crossing crossing;
    bool elsewhere;

    if (host_check(host, HOST_REG_GET, 0, &elsewhere))
        return 0;
    if (!elsewhere)
        return regmap_get(host->dev->map, reg, index, group_index);
    return hand_over(&crossing, host, HOST_REG_GET, &args) ? 0 : crossing.value;
}

static int32_t regmap_ext_set(const struct vfu_host *table, uint32_t reg, uint32_t index, uint32_t group_index,
                              uint64_t value)
{
    return (int32_t)INVOKE(HOST_REG_SET, .n = { reg, index, group_index, value });
}

static const struct vfu_host_regmap regmap_extension = {
    .struct_size = sizeof regmap_extension,
    .get = regmap_ext_get,
    .set = regmap_ext_set,
};

static const void *host_extension(const struct vfu_host *table, const char *id)
{
    if (id && strcmp(id, VFU_EXT_REGMAP) == 0)
        return &regmap_extension;
    if (id && strcmp(id, VFU_EXT_LIMITS) == 0)
        return &device_of(table)->limits;
    return NULL;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

int host_init(struct host *host, struct device *dev, uint64_t caps)
{
    *host = (struct host){
        .dev = dev,
        .maker = pthread_self(),
        .params = &dev->params,
        .plugin = dev->plugin->table.name,
        .table = {
            .struct_size = sizeof host->table,
            .abi_version = VFU_ABI_VERSION,
            .caps = caps,
            .version = VFU_SDK_VERSION,
            .ctx = host,
            .extension = host_extension,
            .granted = host_granted,
            .log = host_log,
            .guest_error = host_guest_error,
            .irq_raise = host_irq_raise,
            .irq_lower = host_irq_lower,
            .irq_signal = host_irq_signal,
            .dma_read = host_dma_read,
            .dma_write = host_dma_write,
            .dma_submit = host_dma_submit,
            .dma_map = host_dma_map,
            .dma_check = host_dma_check,
            .dma_unmap = host_dma_unmap,
            .dma_dirty = host_dma_dirty,
            .now = host_now,
            .timer_after = host_timer_after,
            .timer_cancel = host_timer_cancel,
            .defer = host_defer,
            .watch_fd = host_watch_fd,
            .unwatch_fd = host_unwatch_fd,
            .bar_memory = host_bar_memory,
            .poll_every = host_poll_every,
            .open = inner_open,
        },
    };
    host_fill_params(&host->table);
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
}

void host_close(struct host *host)
{
    if (host->dev)
        cross_close(&host->cross, -ESHUTDOWN);
}

void host_poison(struct host *host)
{
    __atomic_store_n(&host->closed, true, __ATOMIC_RELEASE);
}

void host_fini(struct host *host)
{
    if (host->dev)
        work_fini(host);
}

void host_free(struct host *host)
{
    if (host->dev)
        cross_fini(&host->cross);
}
