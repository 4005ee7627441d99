/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * host - the function table handed to a plugin. Functions run on the device's thread (or on main's, before the
 * device's loop does); calls from elsewhere are refused and reported once, by name.
 */
#include "core/host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"

/* The calls that are checked, for messages and for "once". */
enum call {
    CALL_PARAMS_DECLARE,
    CALL_IRQ_RAISE,
    CALL_IRQ_LOWER,
    CALL_IRQ_SIGNAL,
    CALL_DMA_READ,
    CALL_DMA_WRITE,
    CALL_DMA_SUBMIT,
    CALL_DMA_MAP,
    CALL_DMA_UNMAP,
    CALL_DMA_DIRTY,
    CALL_TIMER_AFTER,
    CALL_TIMER_CANCEL,
    CALL_DEFER,
    CALL_WATCH_FD,
    CALL_UNWATCH_FD,
    CALL_REG_GET,
    CALL_REG_SET,
};

static const char *const call_names[] = {
    "params_declare", "irq_raise", "irq_lower",   "irq_signal",   "dma_read", "dma_write", "dma_submit",  "dma_map",
    "dma_unmap",      "dma_dirty", "timer_after", "timer_cancel", "defer",    "watch_fd",  "unwatch_fd", "regmap get",
    "regmap set",
};

static struct device *device_of(const struct vfu_host *table)
{
    return ((const struct host *)table)->dev;
}

static bool first_time(const struct vfu_host *table, enum call call)
{
    uint64_t *complained = &((struct host *)(uintptr_t)table)->complained;

    return !(__atomic_fetch_or(complained, UINT64_C(1) << call, __ATOMIC_RELAXED) & (UINT64_C(1) << call));
}

/* 0 if the call may be made here and now: on the device's thread, with one of `caps` granted (0: none needed). */
static int check(const struct vfu_host *table, enum call call, uint64_t caps)
{
    const struct host *host = (const struct host *)table;
    struct device *dev = host->dev;
    char names[64];

    if (!loop_mine(&dev->loop)) {
        if (first_time(table, call))
            log_error(dev->name, "plugin fault: %s is called from a thread that is not the device's (EPERM)",
                      call_names[call]);
        return -EPERM;
    }
    if (caps && !(host->granted & caps)) {
        plugin_cap_names(caps, names, sizeof names);
        if (first_time(table, call))
            log_error(dev->name, "plugin fault: %s is called, but %s %s (ENOTSUP)", call_names[call], names,
                      dev->description.desc.caps & caps ? "is denied" : "is not declared in caps");
        return -ENOTSUP;
    }
    return 0;
}

static uint64_t host_granted(const struct vfu_host *table)
{
    return ((const struct host *)table)->granted | device_of(table)->client.caps;
}

static void host_log(const struct vfu_host *table, uint32_t level, const char *message)
{
    const struct device *dev = device_of(table);

    log_write(dev->name, level > VFU_LOG_DEBUG ? LOG_DEBUG : (enum log_level)level, "%s", message ? message : "(null)");
}

static void host_guest_error(const struct vfu_host *table, const char *message)
{
    struct device *dev = device_of(table);

    __atomic_fetch_add(&dev->guest_errors, 1, __ATOMIC_RELAXED);
    if (loop_mine(&dev->loop))
        log_limited(&dev->limit, dev->name, LOG_WARN, "guest error: %s", message ? message : "(null)");
    else
        log_warn(dev->name, "guest error: %s", message ? message : "(null)");
}

/* ---- parameters */

static int32_t host_params_declare(const struct vfu_host *table, const struct vfu_param *params, uint32_t n, uint32_t size)
{
    int error = check(table, CALL_PARAMS_DECLARE, 0);

    return error ? error : params_declare(&device_of(table)->params, params, n, size);
}

static const struct param_value *find_param(const struct vfu_host *table, const char *name)
{
    const struct param_value *value = name ? params_find(&device_of(table)->params, name) : NULL;

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

/* ---- interrupts */

#define ANY_IRQ (VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_MSIX)

static int32_t host_irq_raise(const struct vfu_host *table, uint32_t vector)
{
    int error = check(table, CALL_IRQ_RAISE, ANY_IRQ);

    if (error)
        return error;
    error = irq_raise(device_of(table)->irq, vector);
    if (error == -EINVAL)
        vfu_guest_errorf(table, "interrupt vector %u is raised, which the device does not have", vector);
    return error;
}

static int32_t host_irq_lower(const struct vfu_host *table, uint32_t vector)
{
    int error = check(table, CALL_IRQ_LOWER, ANY_IRQ);

    return error ? error : irq_lower(device_of(table)->irq, vector);
}

static int32_t host_irq_signal(const struct vfu_host *table, uint32_t which)
{
    int error = check(table, CALL_IRQ_SIGNAL, 0);

    return error ? error : irq_signal(device_of(table)->irq, which);
}

/* ---- DMA */

static int32_t copy(const struct vfu_host *table, enum call call, uint64_t addr, void *buf, uint64_t len, bool write)
{
    int error = check(table, call, VFU_CAP_DMA);

    if (error)
        return error;
    if (!device_of(table)->attached)
        return -ENOTCONN;
    if (device_of(table)->transfer.frozen)
        return -EBUSY;
    return dma_copy(device_of(table)->dma, addr, buf, len, write);
}

static int32_t host_dma_read(const struct vfu_host *table, uint64_t addr, void *buf, uint64_t len)
{
    return copy(table, CALL_DMA_READ, addr, buf, len, false);
}

static int32_t host_dma_write(const struct vfu_host *table, uint64_t addr, const void *buf, uint64_t len)
{
    return copy(table, CALL_DMA_WRITE, addr, (void *)(uintptr_t)buf, len, true);
}

static int32_t host_dma_submit(const struct vfu_host *table, struct vfu_dma_op *op)
{
    int error = check(table, CALL_DMA_SUBMIT, VFU_CAP_DMA);

    return error ? error : transfer_submit(&device_of(table)->transfer, op);
}

static int32_t host_dma_map(const struct vfu_host *table, uint64_t addr, uint64_t len, uint32_t prot,
                            struct vfu_dma_window *window)
{
    int error = check(table, CALL_DMA_MAP, VFU_CAP_DMA_MAP);

    if (error)
        return error;
    if (!device_of(table)->attached)
        return -ENOTCONN;
    return dma_window_open(device_of(table)->dma, addr, len, prot, window);
}

static int32_t host_dma_check(const struct vfu_host *table, const struct vfu_dma_window *window)
{
    (void)table;
    return dma_window_check(window);
}

static int32_t host_dma_unmap(const struct vfu_host *table, struct vfu_dma_window *window)
{
    int error = check(table, CALL_DMA_UNMAP, VFU_CAP_DMA_MAP);

    return error ? error : dma_window_close(device_of(table)->dma, window);
}

static int32_t host_dma_dirty(const struct vfu_host *table, uint64_t addr, uint64_t len)
{
    int error = check(table, CALL_DMA_DIRTY, VFU_CAP_DMA | VFU_CAP_DMA_MAP);

    if (error)
        return error;
    if (dma_check(device_of(table)->dma, addr, len, true) < 0)
        return -EFAULT;
    dma_wrote(device_of(table)->dma, addr, len);
    return 0;
}

/* ---- time and work */

static uint64_t host_now(const struct vfu_host *table)
{
    (void)table;
    return loop_now();
}

static int64_t host_timer_after(const struct vfu_host *table, uint64_t delay, uint64_t period, uint32_t event, uint64_t arg)
{
    int error = check(table, CALL_TIMER_AFTER, VFU_CAP_TIMERS);

    return error ? error : timers_after(&device_of(table)->timers, delay, period, event, arg);
}

static int32_t host_timer_cancel(const struct vfu_host *table, int64_t id)
{
    int error = check(table, CALL_TIMER_CANCEL, VFU_CAP_TIMERS);

    return error ? error : timers_cancel(&device_of(table)->timers, id);
}

struct host_work {
    void (*fn)(void *arg);
    void *arg;
};

#define WORK_MAX 65536u
/* Times that stopping lets deferred work defer more. What goes on for ever is not a part of anything that is under way. */
#define WORK_PASSES 64

/* What the work itself defers comes behind, and is left. */
static void run_work(struct host *host)
{
    uint32_t n = host->nwork;

    for (uint32_t i = 0; i < n; i++) {
        struct host_work work = host->work[i];

        work.fn(work.arg);
    }
    host->nwork -= n;
    if (n)
        memmove(host->work, host->work + n, host->nwork * sizeof *host->work);
}

static void scheduled_work(void *arg);

static int schedule_work(struct host *host)
{
    int error = 0;

    if (!host->work_scheduled && !host->frozen && host->nwork)
        error = loop_defer(&host->dev->loop, scheduled_work, host);
    if (!error)
        host->work_scheduled |= host->nwork && !host->frozen;
    return error;
}

static void scheduled_work(void *arg)
{
    struct host *host = arg;

    host->work_scheduled = false;
    if (!host->frozen)
        run_work(host);
    schedule_work(host);
}

static int32_t host_defer(const struct vfu_host *table, void (*fn)(void *arg), void *arg)
{
    struct host *host = (struct host *)(uintptr_t)table;
    int error = check(table, CALL_DEFER, VFU_CAP_TIMERS);

    if (error)
        return error;
    if (!fn)
        return -EINVAL;
    if (host->nwork >= WORK_MAX)
        return -ENOSPC;
    if (host->nwork == host->work_room) {
        uint32_t room = host->work_room ? 2 * host->work_room : 16;
        struct host_work *grown = realloc(host->work, room * sizeof *grown);

        if (!grown)
            return -ENOMEM;
        host->work = grown;
        host->work_room = room;
    }
    host->work[host->nwork++] = (struct host_work){ fn, arg };
    error = schedule_work(host);
    if (error)
        host->nwork--;
    return error;
}

void host_run_deferred(struct host *host)
{
    for (int i = 0; i < WORK_PASSES && host->nwork; i++)
        run_work(host);
}

struct host_watch {
    struct loop_watch watch; /* first */
    struct host_watch *next;
    void (*fn)(void *arg, uint32_t ready);
    void *arg;
};

static void watch_ready(struct loop_watch *watch, uint32_t ready)
{
    struct host_watch *w = (struct host_watch *)watch;
    uint32_t events = 0;

    if (ready & EPOLLIN)
        events |= VFU_FD_READ;
    if (ready & EPOLLOUT)
        events |= VFU_FD_WRITE;
    if (ready & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
        events |= VFU_FD_HANGUP;
    w->fn(w->arg, events);
}

static struct host_watch **find_watch(const struct vfu_host *table, int32_t fd)
{
    struct host_watch **link = &((struct host *)(uintptr_t)table)->watches;

    while (*link && (*link)->watch.fd != fd)
        link = &(*link)->next;
    return link;
}

static int32_t host_watch_fd(const struct vfu_host *table, int32_t fd, uint32_t events,
                             void (*fn)(void *arg, uint32_t ready), void *arg)
{
    struct host *host = (struct host *)(uintptr_t)table;
    struct host_watch *w;
    int error = check(table, CALL_WATCH_FD, VFU_CAP_FD_WATCH);

    if (error)
        return error;
    if (fd < 0 || !fn || !events || (events & ~(VFU_FD_READ | VFU_FD_WRITE)))
        return -EINVAL;
    if (*find_watch(table, fd))
        return -EEXIST;
    w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->watch.fd = fd;
    w->watch.events = (events & VFU_FD_READ ? EPOLLIN : 0u) | (events & VFU_FD_WRITE ? EPOLLOUT : 0u);
    w->watch.fn = watch_ready;
    w->fn = fn;
    w->arg = arg;
    error = host->frozen ? 0 : loop_add(&host->dev->loop, &w->watch);
    if (error) {
        free(w);
        return error;
    }
    w->next = host->watches;
    host->watches = w;
    return 0;
}

static int32_t host_unwatch_fd(const struct vfu_host *table, int32_t fd)
{
    struct host_watch **link, *w;
    int error = check(table, CALL_UNWATCH_FD, VFU_CAP_FD_WATCH);

    if (error)
        return error;
    link = find_watch(table, fd);
    w = *link;
    if (!w)
        return -ENOENT;
    *link = w->next;
    if (!device_of(table)->host.frozen)
        loop_remove(&device_of(table)->loop, &w->watch);
    free(w);
    return 0;
}

void host_freeze(struct host *host, bool frozen)
{
    if (host->frozen == frozen)
        return;
    host->frozen = frozen;
    for (struct host_watch *w = host->watches; w; w = w->next) {
        if (frozen)
            loop_remove(&host->dev->loop, &w->watch);
        else if (loop_add(&host->dev->loop, &w->watch))
            log_error(host->dev->name, "fd %d cannot be watched again after a stop: its events are lost", w->watch.fd);
    }
    schedule_work(host);
}

static void *host_bar_memory(const struct vfu_host *table, uint32_t bar)
{
    const struct device *dev = device_of(table);

    return bar <= VFU_REGION_BAR5 ? dev->regions[bar].memory : NULL;
}

/* ---- extensions */

static uint64_t regmap_ext_get(const struct vfu_host *table, uint32_t reg, uint32_t index, uint32_t group_index)
{
    return check(table, CALL_REG_GET, 0) ? 0 : regmap_get(device_of(table)->map, reg, index, group_index);
}

static int32_t regmap_ext_set(const struct vfu_host *table, uint32_t reg, uint32_t index, uint32_t group_index, uint64_t value)
{
    int error = check(table, CALL_REG_SET, 0);

    return error ? error : regmap_set(device_of(table)->map, reg, index, group_index, value);
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

void host_init(struct host *host, struct device *dev, uint64_t caps)
{
    *host = (struct host){
        .dev = dev,
        .table = {
            .struct_size = sizeof host->table,
            .abi_version = VFU_ABI_VERSION,
            .caps = caps,
            .version = VFU_SDK_VERSION,
            .ctx = dev,
            .extension = host_extension,
            .granted = host_granted,
            .log = host_log,
            .guest_error = host_guest_error,
            .params_declare = host_params_declare,
            .param_int = host_param_int,
            .param_number = host_param_number,
            .param_string = host_param_string,
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
        },
    };
}

void host_fini(struct host *host)
{
    free(host->work);
    host->work = NULL;
    host->nwork = host->work_room = 0;
    while (host->watches) {
        struct host_watch *w = host->watches;

        host->watches = w->next;
        if (host->dev->loop.epoll >= 0 && !host->frozen)
            loop_remove(&host->dev->loop, &w->watch);
        free(w);
    }
}
