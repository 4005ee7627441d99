/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filter - wraps another device model, and makes things go wrong for it: its DMA fails or is late, its interrupts get
 * lost. For tests of drivers, and the example of a plugin that wraps another.
 *
 *   vfu-host --plugin filter plugin=edu inner.dma_mask=0xffffffff fail_nth=3 delay=0.01
 *
 * Parameters of the wrapped model are given as inner.KEY=VALUE; a filter in a filter takes inner.inner.KEY=VALUE.
 * Without others the device is the wrapped one, under its name, and their saved states are each other's.
 *
 * DMA is counted in the order in which the model asks for it: dma_read, dma_write and dma_submit. Memory that it maps
 * is out of the filter's reach. Interrupts are those that the model raises, by irq_raise or by the bits of its level
 * register (which the filter takes over if it is to drop some); one that is dropped is not sent later. Counting starts
 * with the host, and goes on over resets and clients; it is not a part of the device's state.
 *
 * Runs on its device's thread; a model with threads of its own may call through it, so what it counts has a lock.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <vfu/wrap.h>

#define ITEMS_MAX 256u
#define DELAY_MAX 3600

/* One submitted DMA of the model's. */
struct held {
    struct vfu_dma_op op; /* the filter's own, in its place */
    struct filter *filter;
    struct vfu_dma_op *of; /* the model's */
    struct held *next;     /* late, or free */
    int32_t status;
    bool fails;
    uint64_t number;
    int64_t timer;
};

struct filter {
    struct vfu_wrap wrap; /* first */
    pthread_mutex_t lock; /* counters, and free */
    int64_t fail_nth, fail_every, drop_irq;
    int32_t error;
    uint64_t delay_ns;
    bool count;
    bool threads; /* the model may call from threads of its own: what is done then is the device thread's */
    uint64_t dmas, failed, irqs, dropped;
    uint64_t next_number;
    struct held *late, *free;
    struct vfu_reg *regs; /* the map with hooks of the filter's */
    struct vfu_regmap map;
    uint32_t level_reg, mask_reg; /* VFU_NONE: the host's business */
    uint32_t level_flags, mask_flags; /* of the model's own */
    uint64_t level;
    const struct vfu_host_regmap *regmap; /* the host's */
};

static struct filter *filter_of(const struct vfu_host *table)
{
    return (struct filter *)VFU_WRAP_OF(table);
}

/* Where a call of the model's goes on: checked there as the model's, then on its way outwards. */
static const struct vfu_host *model_host(const struct filter *f)
{
    return f->wrap.inner->host;
}

/* ---- DMA ------------------------------------------------------------------------------------------------------ */

static bool dma_fails(struct filter *f)
{
    uint64_t n;
    bool fails;

    pthread_mutex_lock(&f->lock);
    n = ++f->dmas;
    fails = (f->fail_nth && n == (uint64_t)f->fail_nth) || (f->fail_every && n % (uint64_t)f->fail_every == 0);
    f->failed += fails;
    pthread_mutex_unlock(&f->lock);
    return fails;
}

static int32_t filter_dma_read(const struct vfu_host *table, uint64_t addr, void *buf, uint64_t len)
{
    struct filter *f = filter_of(table);

    return dma_fails(f) ? f->error : model_host(f)->dma_read(model_host(f), addr, buf, len);
}

static int32_t filter_dma_write(const struct vfu_host *table, uint64_t addr, const void *buf, uint64_t len)
{
    struct filter *f = filter_of(table);

    return dma_fails(f) ? f->error : model_host(f)->dma_write(model_host(f), addr, buf, len);
}

static struct held *take_held(struct filter *f)
{
    struct held *h;

    pthread_mutex_lock(&f->lock);
    h = f->free;
    if (h)
        f->free = h->next;
    pthread_mutex_unlock(&f->lock);
    return h ? h : calloc(1, sizeof *h);
}

static void give_back(struct held *h)
{
    struct filter *f = h->filter;

    pthread_mutex_lock(&f->lock);
    h->next = f->free;
    f->free = h;
    pthread_mutex_unlock(&f->lock);
}

/* The model may submit again in `done`: the held one is free by then. */
static void finish(struct held *h, int32_t status)
{
    struct vfu_dma_op *of = h->of;
    void *self = h->filter->wrap.inner->self;

    give_back(h);
    of->done(self, of, status);
}

static void on_done(void *self, struct vfu_dma_op *op, int32_t status)
{
    struct held *h = op->user;
    struct filter *f = h->filter;

    (void)self; /* the model's: it is its table that the op went through */
    if (!status && h->fails)
        status = f->error;
    /* What ends with the client or by a reset is not to come after it. */
    if (!f->delay_ns || status == -ECANCELED) {
        finish(h, status);
        return;
    }
    h->status = status;
    h->number = f->next_number++;
    h->timer = f->wrap.host->timer_after(f->wrap.host, f->delay_ns, 0, 0, h->number);
    if (h->timer < 0) {
        finish(h, status);
        return;
    }
    h->next = f->late;
    f->late = h;
}

/* A number that is not known is one of a state that another host has saved. */
static void on_event(void *self, uint32_t event, uint64_t number)
{
    struct filter *f = self;
    struct held **link = &f->late, *h;

    (void)event;
    while (*link && (*link)->number != number)
        link = &(*link)->next;
    h = *link;
    if (!h)
        return;
    *link = h->next;
    finish(h, h->status);
}

static void cancel_late(struct filter *f)
{
    struct held *h = f->late;

    f->late = NULL;
    while (h) {
        struct held *next = h->next;

        f->wrap.host->timer_cancel(f->wrap.host, h->timer);
        finish(h, -ECANCELED);
        h = next;
    }
}

/* One that is to fail moves nothing, but takes its turn in the queue. */
static int32_t filter_dma_submit(const struct vfu_host *table, struct vfu_dma_op *op)
{
    struct filter *f = filter_of(table);
    struct held *h;
    int32_t error;

    if (!op || op->struct_size < sizeof *op || !op->done)
        return model_host(f)->dma_submit(model_host(f), op); /* is refused */
    h = take_held(f);
    if (!h)
        return -ENOBUFS;
    h->filter = f;
    h->of = op;
    h->fails = dma_fails(f);
    h->op = (struct vfu_dma_op){
        .struct_size = sizeof h->op,
        .flags = op->flags,
        .addr = op->addr,
        .len = h->fails ? 0 : op->len,
        .buf = op->buf,
        .done = on_done,
        .user = h,
    };
    error = model_host(f)->dma_submit(model_host(f), &h->op);
    if (error)
        give_back(h);
    return error;
}

/* ---- interrupts ----------------------------------------------------------------------------------------------- */

static bool irq_drops(struct filter *f)
{
    bool drops;

    pthread_mutex_lock(&f->lock);
    drops = ++f->irqs % (uint64_t)(f->drop_irq ? f->drop_irq : INT64_MAX) == 0;
    f->dropped += drops;
    pthread_mutex_unlock(&f->lock);
    return drops;
}

static int32_t filter_irq_raise(const struct vfu_host *table, uint32_t vector)
{
    struct filter *f = filter_of(table);

    return irq_drops(f) ? 0 : model_host(f)->irq_raise(model_host(f), vector);
}

/* What the host does with a level register: each bit that rises is an interrupt, INTx is high while any is set. */
static void level_is(struct filter *f, uint64_t level)
{
    uint64_t risen = level & ~f->level;

    f->level = level;
    if (risen && !irq_drops(f))
        f->wrap.host->irq_raise(f->wrap.host, 0);
    if (!level)
        f->wrap.host->irq_lower(f->wrap.host, 0);
}

static uint64_t reg_value(const struct filter *f, uint32_t reg)
{
    return f->regmap->get(model_host(f), reg, VFU_NONE, VFU_NONE);
}

static uint64_t level_now(const struct filter *f)
{
    return reg_value(f, f->level_reg) & (f->mask_reg == VFU_NONE ? UINT64_MAX : reg_value(f, f->mask_reg));
}

static void look_at_level(void *arg)
{
    level_is(arg, level_now(arg));
}

static uint64_t filter_reg_get(const struct vfu_host *table, uint32_t reg, uint32_t index, uint32_t group_index)
{
    struct filter *f = filter_of(table);

    return f->regmap->get(model_host(f), reg, index, group_index);
}

static int32_t filter_reg_set(const struct vfu_host *table, uint32_t reg, uint32_t index, uint32_t group_index,
                              uint64_t value)
{
    struct filter *f = filter_of(table);
    int32_t error = f->regmap->set(model_host(f), reg, index, group_index, value);

    if (error || (reg != f->level_reg && reg != f->mask_reg))
        return error;
    if (f->threads)
        f->wrap.host->defer(f->wrap.host, look_at_level, f);
    else
        look_at_level(f);
    return 0;
}

static const void *filter_host_extension(const struct vfu_host *table, const char *id)
{
    static const struct vfu_host_regmap regmap = { sizeof regmap, 0, filter_reg_get, filter_reg_set };
    struct filter *f = filter_of(table);

    if (strcmp(id, VFU_EXT_REGMAP) == 0 && f->regmap)
        return &regmap;
    return model_host(f)->extension(model_host(f), id);
}

/* The level's registers have the filter's hooks beside the model's own. Software's write or read takes effect after the
 * hook, so the level is looked at when that is done. */
static bool own_hook(struct filter *f, const struct vfu_reg_call *call, uint32_t flag, bool *also_model)
{
    uint32_t flags = call->reg == f->level_reg ? f->level_flags : f->mask_flags;

    *also_model = true;
    if (f->level_reg == VFU_NONE || (call->reg != f->level_reg && call->reg != f->mask_reg))
        return false;
    *also_model = flags & flag;
    f->wrap.host->defer(f->wrap.host, look_at_level, f);
    return true;
}

static int32_t on_read(void *self, struct vfu_reg_call *call)
{
    bool model;

    own_hook(self, call, VFU_REG_HOOK_READ, &model);
    return model ? vfu_wrap_read(self, call) : 0;
}

static int32_t on_write(void *self, struct vfu_reg_call *call)
{
    bool model;

    own_hook(self, call, VFU_REG_HOOK_WRITE, &model);
    return model ? vfu_wrap_write(self, call) : 0;
}

/* ---- describing ------------------------------------------------------------------------------------------------ */

/* The host's part of the level becomes the filter's: hooks on its registers, in a copy of the map. */
static int32_t take_level(struct filter *f, struct vfu_desc *desc)
{
    const struct vfu_regmap *map = desc->regmap;
    uint32_t n = map ? map->nregs : 0, step = map && map->reg_size ? map->reg_size : (uint32_t)sizeof *f->regs;

    if (!desc->irq_level || desc->irq_level > n || desc->irq_mask > n)
        return 0;
    f->regs = calloc(n, sizeof *f->regs);
    if (!f->regs)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        memcpy(&f->regs[i], (const char *)map->regs + (size_t)i * step,
               step < sizeof *f->regs ? step : sizeof *f->regs);
    memcpy(&f->map, map, map->struct_size < sizeof f->map ? map->struct_size : sizeof f->map);
    f->map.struct_size = sizeof f->map;
    f->map.regs = f->regs;
    f->map.reg_size = sizeof *f->regs;
    f->level_reg = desc->irq_level - 1;
    f->level_flags = f->regs[f->level_reg].flags;
    f->regs[f->level_reg].flags |= VFU_REG_HOOK_READ | VFU_REG_HOOK_WRITE;
    if (desc->irq_mask) {
        f->mask_reg = desc->irq_mask - 1;
        f->mask_flags = f->regs[f->mask_reg].flags;
        f->regs[f->mask_reg].flags |= VFU_REG_HOOK_READ | VFU_REG_HOOK_WRITE;
    }
    desc->irq_level = desc->irq_mask = 0;
    desc->regmap = &f->map;
    desc->caps |= VFU_CAP_TIMERS | VFU_CAP_RESET; /* defer; and to hear of resets */
    return 0;
}

static const char *const error_names[] = { "EIO", "EFAULT", "ETIMEDOUT", "ENOTCONN", "EACCES", NULL };
static const int32_t errors[] = { -EIO, -EFAULT, -ETIMEDOUT, -ENOTCONN, -EACCES };

static void take_params(struct filter *f, const struct vfu_host *host)
{
    int64_t error = 0, count = 0;
    double delay = 0;

    host->param_int(host, "fail_nth", &f->fail_nth);
    host->param_int(host, "fail_every", &f->fail_every);
    host->param_int(host, "drop_irq", &f->drop_irq);
    host->param_int(host, "errno", &error);
    host->param_int(host, "count", &count);
    host->param_number(host, "delay", &delay);
    f->error = errors[error];
    f->delay_ns = (uint64_t)(delay * 1e9);
    f->count = count;
}

static int32_t describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    const char *items[ITEMS_MAX], *plugin = NULL;
    uint32_t n = vfu_wrap_items(params, "inner.", items, ITEMS_MAX);
    struct filter *f = calloc(1, sizeof *f);
    int32_t status;

    if (!f)
        return -ENOMEM;
    pthread_mutex_init(&f->lock, NULL);
    desc->self = f;
    f->level_reg = f->mask_reg = VFU_NONE;
    f->next_number = host->now(host);
    take_params(f, host);
    host->param_string(host, "plugin", &plugin);
    status = vfu_wrap_open(&f->wrap, host, plugin, items, n);
    if (status)
        return status;
    f->wrap.table.dma_read = filter_dma_read;
    f->wrap.table.dma_write = filter_dma_write;
    f->wrap.table.dma_submit = filter_dma_submit;
    f->wrap.table.irq_raise = filter_irq_raise;
    f->wrap.table.extension = filter_host_extension;
    status = vfu_wrap_describe(&f->wrap, host, plugin, items, n, desc);
    if (!status && f->delay_ns && (desc->caps & VFU_CAP_DMA))
        desc->caps |= VFU_CAP_TIMERS | VFU_CAP_RESET;
    f->threads = desc->caps & VFU_CAP_THREADS;
    return status || !f->drop_irq ? status : take_level(f, desc);
}

/* ---- callbacks -------------------------------------------------------------------------------------------------- */

static int32_t create(const struct vfu_host *host, const struct vfu_params *params, void **self)
{
    struct filter *f = *self;

    (void)host;
    (void)params;
    if (f->drop_irq)
        f->regmap = model_host(f)->extension(model_host(f), VFU_EXT_REGMAP);
    return vfu_wrap_create(&f->wrap);
}

static void destroy(void *self)
{
    struct filter *f = self;

    if (f->wrap.inner) {
        /* Timers are no more, but the model has its buffers back. */
        for (struct held *h = f->late, *next; h; h = next) {
            next = h->next;
            finish(h, -ECANCELED);
        }
        vfu_wrap_destroy(&f->wrap);
    }
    while (f->free) {
        struct held *h = f->free;

        f->free = h->next;
        free(h);
    }
    pthread_mutex_destroy(&f->lock);
    free(f->regs);
    free(f);
}

static int32_t reset(void *self, uint32_t kind)
{
    struct filter *f = self;

    cancel_late(f);
    f->level = 0;
    vfu_wrap_reset(self, kind);
    if (f->level_reg != VFU_NONE && f->regmap)
        look_at_level(f);
    return 0;
}

static void detach(void *self)
{
    struct filter *f = self;

    cancel_late(f);
    vfu_wrap_detach(self);
    if (f->count)
        vfu_logf(f->wrap.host, VFU_LOG_INFO,
                 "filter: %llu DMA, %llu of them failed; %llu interrupts, %llu of them dropped",
                 (unsigned long long)f->dmas, (unsigned long long)f->failed, (unsigned long long)f->irqs,
                 (unsigned long long)f->dropped);
}

/* A state may have been loaded: what has risen in it has been an interrupt before. */
static void resume(void *self)
{
    struct filter *f = self;

    vfu_wrap_resume(self);
    if (f->level_reg != VFU_NONE && f->regmap)
        f->level = level_now(f);
}

static const void *extension(const char *id)
{
    static const struct vfu_regmap_ops hooks = { sizeof hooks, 0, on_read, on_write, vfu_wrap_locked };

    return strcmp(id, VFU_EXT_REGMAP) == 0 ? &hooks : vfu_wrap_extension(id);
}

#define COUNT(text) .type = VFU_PARAM_INT, .flags = VFU_PARAM_HAS_MIN, .min = 0, .fallback = "0", .doc = (text)

static const struct vfu_param filter_params[] = {
    { .name = "plugin", .type = VFU_PARAM_STRING, .flags = VFU_PARAM_REQUIRED,
      .doc = "the device model: as --plugin takes it" },
    { .name = "inner.", .type = VFU_PARAM_STRING, .flags = VFU_PARAM_PREFIX, .doc = "inner.KEY=VALUE: its parameters" },
    { .name = "fail_nth", COUNT("so many DMAs on, one fails; 0: none") },
    { .name = "fail_every", COUNT("one DMA of so many fails; 0: none") },
    { .name = "errno", .type = VFU_PARAM_ENUM, .choices = error_names, .fallback = "EIO", .doc = "how they fail" },
    { .name = "delay", .type = VFU_PARAM_NUMBER, .flags = VFU_PARAM_HAS_MIN | VFU_PARAM_HAS_MAX, .min = 0,
      .max = DELAY_MAX, .fallback = "0", .doc = "seconds from the end of a submitted DMA until the model hears of it" },
    { .name = "drop_irq", COUNT("one interrupt of so many is dropped; 1: all, 0: none") },
    { .name = "count", .type = VFU_PARAM_BOOL, .fallback = "off",
      .doc = "log at the client's end how much of what there was (-v)" },
};

const struct vfu_plugin *vfu_plugin_entry(void)
{
    static const struct vfu_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi_version = VFU_ABI_VERSION,
        /* Whatever the model inside may have. */
        .caps = VFU_CAP_DMA | VFU_CAP_DMA_MAP | VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_MSIX | VFU_CAP_RESET |
                VFU_CAP_MMAP | VFU_CAP_DOORBELL | VFU_CAP_MIGRATION | VFU_CAP_TIMERS | VFU_CAP_FD_WATCH |
                VFU_CAP_POLL | VFU_CAP_THREADS | VFU_CAP_FFI | VFU_CAP_RELOAD,
        .name = "filter",
        .version = VFU_SDK_VERSION,
        .summary = "wraps another device model; fails and delays its DMA, drops its interrupts",
        .sdk = VFU_SDK_VERSION,
        .params = filter_params,
        .nparams = sizeof filter_params / sizeof filter_params[0],
        .param_size = sizeof filter_params[0],
        .describe = describe,
        .create = create,
        .destroy = destroy,
        .access = vfu_wrap_access,
        .reset = reset,
        .event = on_event,
        .attach = vfu_wrap_attach,
        .detach = detach,
        .quiesce = vfu_wrap_quiesce,
        .resume = resume,
        .power = vfu_wrap_power,
        .extension = extension,
        .doorbell = vfu_wrap_doorbell,
        .poll = vfu_wrap_poll,
        .intercept = vfu_wrap_intercept,
        .irq_level = vfu_wrap_irq_level,
    };

    return &plugin;
}
