/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake - see fake.h.
 */
#include "tests/lua/fake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct fake *fake_of(const struct vfu_host *host)
{
    return host->ctx;
}

/* ---- the host's functions ---- */

static uint64_t host_get(const struct vfu_host *host, uint32_t reg, uint32_t index, uint32_t group_index)
{
    return regmap_get(fake_of(host)->map, reg, index, group_index);
}

static int32_t host_set(const struct vfu_host *host, uint32_t reg, uint32_t index, uint32_t group_index, uint64_t value)
{
    return regmap_set(fake_of(host)->map, reg, index, group_index, value);
}

static const void *host_extension(const struct vfu_host *host, const char *id)
{
    static const struct vfu_host_regmap regmap = { .struct_size = sizeof regmap, .get = host_get, .set = host_set };

    (void)host;
    return strcmp(id, VFU_EXT_REGMAP) ? NULL : &regmap;
}

static uint64_t host_granted(const struct vfu_host *host)
{
    return fake_of(host)->desc.caps;
}

static void append(char *log, size_t size, const char *text)
{
    size_t n = strlen(log);

    snprintf(log + n, size - n, "%s\n", text);
}

static void host_log(const struct vfu_host *host, uint32_t level, const char *message)
{
    struct fake *f = fake_of(host);

    if (level <= VFU_LOG_WARN)
        append(f->log, sizeof f->log, message);
    else
        append(f->info, sizeof f->info, message);
    f->errors += level == VFU_LOG_ERROR;
}

static void host_guest_error(const struct vfu_host *host, const char *message)
{
    struct fake *f = fake_of(host);

    f->guest_errors++;
    snprintf(f->guest_error, sizeof f->guest_error, "%s", message);
}

static int32_t host_params_declare(const struct vfu_host *host, const struct vfu_param *params, uint32_t n,
                                   uint32_t size)
{
    struct fake *f = fake_of(host);

    if (size != sizeof *params || n > 16)
        return -EINVAL;
    for (uint32_t i = 0; i < n; i++) {
        f->params[i] = params[i];
        snprintf(f->text[i], sizeof f->text[i], "%s", params[i].fallback ? params[i].fallback : "");
    }
    f->nparams = n;
    for (int k = 0; k < 8 && f->items[k]; k++) {
        uint32_t i = 0;

        while (i < n && (strncmp(f->items[k], params[i].name, strlen(params[i].name)) ||
                         f->items[k][strlen(params[i].name)] != '='))
            i++;
        if (i == n) {
            append(f->log, sizeof f->log, "no such parameter");
            return -EINVAL;
        }
        snprintf(f->text[i], sizeof f->text[i], "%s", strchr(f->items[k], '=') + 1);
        f->params[i].fallback = "given";
    }
    return 0;
}

static const char *param_text(const struct vfu_host *host, const char *name)
{
    struct fake *f = fake_of(host);

    for (uint32_t i = 0; i < f->nparams; i++)
        if (!strcmp(f->params[i].name, name))
            return f->params[i].fallback ? f->text[i] : NULL;
    return NULL;
}

static int32_t host_param_int(const struct vfu_host *host, const char *name, int64_t *value)
{
    const char *text = param_text(host, name);

    if (!text)
        return -ENOENT;
    *value = !strcmp(text, "on") ? 1 : strtoll(text, NULL, 0);
    return 0;
}

static int32_t host_param_number(const struct vfu_host *host, const char *name, double *value)
{
    const char *text = param_text(host, name);

    if (!text)
        return -ENOENT;
    *value = strtod(text, NULL);
    return 0;
}

static int32_t host_param_string(const struct vfu_host *host, const char *name, const char **value)
{
    *value = param_text(host, name);
    return *value ? 0 : -ENOENT;
}

static int32_t host_irq_raise(const struct vfu_host *host, uint32_t vector)
{
    fake_of(host)->raised++;
    return vector == 0 ? 0 : vector == 1 ? VFU_IRQ_PENDING : vector == 2 ? -ENOENT : -EINVAL;
}

static int32_t host_irq_lower(const struct vfu_host *host, uint32_t vector)
{
    (void)vector;
    fake_of(host)->lowered++;
    return 0;
}

static int32_t host_irq_signal(const struct vfu_host *host, uint32_t which)
{
    (void)host;
    return which == VFU_IRQ_ERR ? 0 : -ENOENT;
}

static bool in_memory(uint64_t addr, uint64_t len)
{
    return addr >= FAKE_BASE && addr - FAKE_BASE <= FAKE_MEMORY && len <= FAKE_MEMORY - (addr - FAKE_BASE);
}

static int32_t host_dma_read(const struct vfu_host *host, uint64_t addr, void *buf, uint64_t len)
{
    struct fake *f = fake_of(host);

    if (f->messages)
        return -EWOULDBLOCK;
    if (!in_memory(addr, len))
        return -EFAULT;
    memcpy(buf, f->memory + (addr - FAKE_BASE), len);
    return 0;
}

static int32_t host_dma_write(const struct vfu_host *host, uint64_t addr, const void *buf, uint64_t len)
{
    struct fake *f = fake_of(host);

    if (f->messages)
        return -EWOULDBLOCK;
    if (!in_memory(addr, len))
        return -EFAULT;
    memcpy(f->memory + (addr - FAKE_BASE), buf, len);
    return 0;
}

static int32_t host_dma_submit(const struct vfu_host *host, struct vfu_dma_op *op)
{
    struct fake *f = fake_of(host);

    if (f->submit_error)
        return f->submit_error;
    if (f->nops == FAKE_OPS)
        return -ENOBUFS;
    f->ops[f->nops++] = op;
    return 0;
}

static int32_t host_dma_map(const struct vfu_host *host, uint64_t addr, uint64_t len, uint32_t prot,
                            struct vfu_dma_window *window)
{
    struct fake *f = fake_of(host);

    if (f->messages || !in_memory(addr, len))
        return -EFAULT;
    window->addr = addr;
    window->len = len;
    window->prot = prot;
    window->data = f->memory + (addr - FAKE_BASE);
    f->window = window;
    return 0;
}

static int32_t host_dma_check(const struct vfu_host *host, const struct vfu_dma_window *window)
{
    (void)window;
    return fake_of(host)->check;
}

static int32_t host_dma_unmap(const struct vfu_host *host, struct vfu_dma_window *window)
{
    window->data = NULL;
    fake_of(host)->window = NULL;
    return 0;
}

static int32_t host_dma_dirty(const struct vfu_host *host, uint64_t addr, uint64_t len)
{
    (void)host, (void)addr, (void)len;
    return 0;
}

static uint64_t host_now(const struct vfu_host *host)
{
    return fake_of(host)->now;
}

static int64_t host_timer_after(const struct vfu_host *host, uint64_t delay, uint64_t period, uint32_t event,
                                uint64_t arg)
{
    struct fake *f = fake_of(host);

    for (int i = 0; i < FAKE_TIMERS; i++)
        if (!f->timers[i].id) {
            f->timers[i] = (struct fake_timer){ ++f->next_id, f->now + delay, period, arg, event };
            return f->next_id;
        }
    return -ENOSPC;
}

static int32_t host_timer_cancel(const struct vfu_host *host, int64_t id)
{
    struct fake *f = fake_of(host);

    for (int i = 0; i < FAKE_TIMERS; i++)
        if (f->timers[i].id == id) {
            f->timers[i].id = 0;
            return 0;
        }
    return -ENOENT;
}

static int32_t host_defer(const struct vfu_host *host, void (*fn)(void *), void *arg)
{
    struct fake *f = fake_of(host);

    if (f->ndeferred == 64)
        return -ENOSPC;
    f->deferred[f->ndeferred].fn = fn;
    f->deferred[f->ndeferred++].arg = arg;
    return 0;
}

static void *host_bar_memory(const struct vfu_host *host, uint32_t bar)
{
    return fake_of(host)->bars[bar].memory;
}

static const struct vfu_host proto = {
    .struct_size = sizeof proto,
    .abi_version = VFU_ABI_VERSION,
    .caps = UINT64_MAX,
    .version = "test",
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
    .bar_memory = host_bar_memory,
};

/* ---- life ---- */

static void write_script(char *path, const char *text)
{
    int fd = mkstemps(path, 4);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        abort();
    close(fd);
}

int fake_load(struct fake *f, const char *text)
{
    char path[] = "./fakeXXXXXX.lua";
    size_t n = strlen(text);
    bool named = n > 4 && n < 4096 && !strcmp(text + n - 4, ".lua");
    struct vfu_params params = { .struct_size = sizeof params, .source = named ? text : path, .items = f->items };
    int rc;

    if (!named)
        write_script(path, text);
    f->host = proto;
    f->host.caps &= ~f->denied;
    f->host.ctx = f;
    f->desc.struct_size = sizeof f->desc;
    f->plugin = vfu_plugin_entry();
    rc = f->plugin->describe(&f->host, &params, &f->desc);
    if (!named)
        unlink(path);
    f->self = rc ? NULL : f->desc.self;
    return rc;
}

static void on_level(void *ctx, uint64_t bits)
{
    ((struct fake *)ctx)->level = bits;
}

void fake_start(struct fake *f, const char *text)
{
    uint64_t sizes[REGMAP_REGIONS] = { [VFU_REGION_CONFIG] = 256 };
    struct vfu_params params = { .struct_size = sizeof params };

    if (fake_load(f, text)) {
        fprintf(stderr, "%s", f->log);
        abort();
    }
    for (uint32_t i = 0; i < f->desc.nbars; i++)
        sizes[f->desc.bars[i].index] = f->desc.bars[i].size;
    if (regmap_new(&f->map, "test", f->desc.regmap, sizes) ||
        regmap_bind(f->map, f->plugin->extension(VFU_EXT_REGMAP), f->self))
        abort();
    regmap_watch_level(f->map, f->desc.irq_level - 1, f->desc.irq_mask - 1, on_level, f);
    for (uint32_t i = 0; i < f->desc.nbars; i++) {
        struct region *bar = &f->bars[f->desc.bars[i].index];

        if (region_init(bar, "test", &f->desc.bars[i], f->map))
            abort();
        bar->raw = f->plugin->access;
        bar->self = f->self;
    }
    if (f->plugin->create(&f->host, &params, &f->self))
        abort();
    fake_reset(f, VFU_RESET_POWER);
}

void fake_stop(struct fake *f)
{
    if (f->self) {
        fake_cancel(f);
        f->plugin->quiesce(f->self);
        f->plugin->destroy(f->self);
    }
    for (int i = 0; i < 6; i++)
        if (f->bars[i].size)
            region_fini(&f->bars[i]);
    if (f->map)
        regmap_free(f->map);
}

uint64_t fake_read(struct fake *f, uint32_t bar, uint64_t offset, uint32_t size)
{
    uint8_t bytes[8] = { 0 };
    uint64_t v = 0;

    region_read(&f->bars[bar], offset, size, bytes);
    memcpy(&v, bytes, size);
    return v;
}

int fake_write(struct fake *f, uint32_t bar, uint64_t offset, uint32_t size, uint64_t value)
{
    uint8_t bytes[8];

    memcpy(bytes, &value, sizeof bytes);
    return region_write(&f->bars[bar], offset, size, bytes);
}

void fake_reset(struct fake *f, uint32_t kind)
{
    fake_cancel(f);
    f->plugin->quiesce(f->self);
    memset(f->timers, 0, sizeof f->timers);
    regmap_reset(f->map, kind);
    f->plugin->reset(f->self, kind);
    f->plugin->resume(f->self);
}

void fake_run_deferred(struct fake *f)
{
    for (unsigned turn = 0; f->ndeferred && turn < 100000; turn++) {
        void (*fn)(void *) = f->deferred[0].fn;
        void *arg = f->deferred[0].arg;

        memmove(f->deferred, f->deferred + 1, --f->ndeferred * sizeof f->deferred[0]);
        fn(arg);
    }
}

void fake_advance(struct fake *f, double seconds)
{
    uint64_t end = f->now + (uint64_t)(seconds * 1e9);

    for (;;) {
        struct fake_timer *first = NULL;

        fake_run_deferred(f);
        for (int i = 0; i < FAKE_TIMERS; i++) {
            struct fake_timer *t = &f->timers[i];

            if (t->id && t->due <= end &&
                (!first || t->due < first->due || (t->due == first->due && t->id < first->id)))
                first = t;
        }
        if (!first)
            break;
        struct fake_timer now = *first;

        f->now = now.due;
        if (now.period)
            first->due += now.period;
        else
            first->id = 0;
        f->plugin->event(f->self, now.event, now.arg);
    }
    f->now = end;
}

void fake_answer(struct fake *f, int32_t status)
{
    struct vfu_dma_op *op = f->ops[0];

    if (!f->nops)
        abort();
    memmove(f->ops, f->ops + 1, --f->nops * sizeof f->ops[0]);
    if (!status && !in_memory(op->addr, op->len))
        status = -EFAULT;
    if (!status && op->flags & VFU_DMA_WRITE)
        memcpy(f->memory + (op->addr - FAKE_BASE), op->buf, op->len);
    else if (!status)
        memcpy(op->buf, f->memory + (op->addr - FAKE_BASE), op->len);
    op->done(f->self, op, status);
}

void fake_cancel(struct fake *f)
{
    while (f->nops)
        fake_answer(f, -ECANCELED);
}

/* ---- state ---- */

struct state_sink {
    struct vfu_sink sink;
    struct fake_state *state;
};

static int32_t sink_write(struct vfu_sink *sink, const void *data, uint64_t len)
{
    struct fake_state *state = ((struct state_sink *)sink)->state;

    if (len > sizeof state->bytes - state->n)
        return -ENOSPC;
    memcpy(state->bytes + state->n, data, len);
    state->n += len;
    return 0;
}

int fake_save(struct fake *f, struct fake_state *state)
{
    const struct vfu_migration_ops *ops = f->plugin->extension(VFU_EXT_MIGRATION);
    struct state_sink sink = { { sink_write }, state };

    state->n = 0;
    return ops->save(f->self, &sink.sink);
}

struct state_source {
    struct vfu_source source;
    struct fake_state *state;
};

static uint64_t source_left(struct vfu_source *source)
{
    struct fake_state *state = ((struct state_source *)source)->state;

    return state->n - state->at;
}

static int32_t source_read(struct vfu_source *source, void *data, uint64_t len)
{
    struct fake_state *state = ((struct state_source *)source)->state;

    if (len > state->n - state->at)
        return -EINVAL;
    memcpy(data, state->bytes + state->at, len);
    state->at += len;
    return 0;
}

int fake_restore(struct fake *f, struct fake_state *state)
{
    const struct vfu_migration_ops *ops = f->plugin->extension(VFU_EXT_MIGRATION);
    struct state_source source = { { source_left, source_read }, state };

    state->at = 0;
    return ops->load(f->self, &source.source);
}
