/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * entry - the Lua binding as a plugin: its table, its one exported symbol, and where the host's callbacks go.
 *
 * The binding runs the script that vfu_params.source names. describe loads and runs it on main's thread; create binds
 * it to the device; from then on it lives on the device's thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <vfu/wrap.h>

#include "lua/binding.h"

static void entry_destroy(void *self)
{
    struct script *s = self;

    if (!s)
        return;
    s->frozen = true; /* nothing is deferred any more */
    stream_close_all(s);
    if (s->L)
        task_close_all(s);
    if (s->wrap)
        wrap_destroy(s);
    if (s->virtio)
        virtio_destroy(s);
    state_close(s);
    task_free(s);
    load_drop(s);
    budget_stop(s);
    util_arena_free(s);
    free(s->path);
    free(s);
}

/* What the operator allows; without a word of his what plugins may expect. */
static void take_limits(struct script *s)
{
    const struct vfu_limits *limits = s->host->extension(s->host, VFU_EXT_LIMITS);

    s->limit = SCRIPT_MEMORY;
    s->budget = SCRIPT_BUDGET;
    if (limits && VFU_HAS(limits, memory_limit))
        s->limit = limits->memory_limit;
    if (limits && VFU_HAS(limits, hook_budget))
        s->budget = limits->hook_budget;
}

static int32_t entry_describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    struct script *s;
    uint32_t size = desc->struct_size;
    int err = -ENOMEM;

    if (!params || !params->source) {
        host->log(host, VFU_LOG_ERROR, "the Lua binding runs a script: name a .lua file");
        return -EINVAL;
    }
    s = calloc(1, sizeof *s);
    if (!s) {
        host->log(host, VFU_LOG_ERROR, "not enough memory");
        return err;
    }
    s->host = host;
    s->given = params;
    take_limits(s);
    s->path = strdup(params->source);
    if (s->path && !(err = budget_start(s)) && !(err = state_new(s)) && !(err = state_run(s))) {
        memcpy(desc, &s->d, sizeof *desc < size ? sizeof *desc : size);
        desc->struct_size = size;
        s->given = NULL;
        return 0;
    }
    if (s->L && s->d.name && s->result == -EINVAL) {
        /* Parameters are missing or do not fit: what the script has said so far stays until destroy. */
        memcpy(desc, &s->d, sizeof *desc < size ? sizeof *desc : size);
        desc->struct_size = size;
        desc->self = s;
        s->given = NULL;
        return err;
    }
    entry_destroy(s);
    return err;
}

static int32_t entry_create(const struct vfu_host *host, const struct vfu_params *params, void **self)
{
    struct script *s = *self;
    int err;

    (void)params;
    s->host = host;
    s->regs = host->extension(host, VFU_EXT_REGMAP);
    if (!s->regs) {
        host->log(host, VFU_LOG_ERROR, "this host has no register map for the Lua binding");
        return -ENOTSUP;
    }
    s->config = host->extension(host, VFU_EXT_CONFIG);
    s->regions = host->extension(host, VFU_EXT_REGIONS);
    err = display_create(s);
    if (err)
        return err;
    if (s->wrap)
        return wrap_create(s);
    for (uint32_t i = 0; i < 6; i++)
        if (s->bars[i] && s->bars[i]->ram) {
            s->bars[i]->ram->data = host->bar_memory(host, i);
            if (!s->bars[i]->ram->data) {
                vfu_logf(host, VFU_LOG_ERROR, "the host has no memory for BAR %u", i);
                return -ENOMEM;
            }
        }
    if (s->virtio) {
        int32_t error = virtio_create(s);

        if (error)
            return error;
    }
    return stream_open_all(s);
}

static int32_t entry_reset(void *self, uint32_t kind)
{
    struct script *s = self;

    task_close_all(s);
    load_drop(s);
    event_clear(s);
    if (s->virtio)
        virtio_reset(s, kind);
    if (s->wrap)
        vfu_wrap_reset(wrap_inner(s), kind);
    if (s->on[HOOK_RESET] == LUA_NOREF)
        return 0;
    lua_rawgeti(s->L, LUA_REGISTRYINDEX, s->kind_refs[kind <= VFU_RESET_FLR ? kind : VFU_RESET_BUS]);
    hooks_on(s, HOOK_RESET, "reset", 1);
    return 0; /* a hook that failed has been reported; the reset itself is done */
}

static void entry_event(void *self, uint32_t event, uint64_t arg)
{
    if (event == EVENT_SLEEP)
        task_wake_sleeper(self, arg);
    else
        event_fire(self, arg);
}

static void entry_attach(void *self, const struct vfu_client *client)
{
    struct script *s = self;

    if (s->wrap)
        vfu_wrap_attach(wrap_inner(s), client);
    hooks_on(self, HOOK_ATTACH, "attach", 0);
}

static void entry_detach(void *self)
{
    struct script *s = self;

    if (s->wrap) {
        wrapdma_cancel(s);
        vfu_wrap_detach(wrap_inner(s));
    }
    if (s->virtio)
        virtio_detach(s);
    task_wake_cancelled(self);
    hooks_on(self, HOOK_DETACH, "detach", 0);
}

static void entry_quiesce(void *self)
{
    struct script *s = self;

    s->frozen = true;
    if (s->virtio)
        virtio_quiesce(s);
    if (s->wrap)
        vfu_wrap_quiesce(wrap_inner(s));
}

static void entry_resume(void *self)
{
    struct script *s = self;

    s->frozen = false;
    if (s->wrap)
        vfu_wrap_resume(wrap_inner(s));
    task_resubmit(s);
    load_restart(s);
    if (s->virtio)
        virtio_resume(s);
}

static void entry_power(void *self, uint32_t state)
{
    struct script *s = self;

    if (s->wrap)
        vfu_wrap_power(wrap_inner(s), state);
    if (s->on[HOOK_POWER] == LUA_NOREF)
        return;
    lua_pushinteger(s->L, state);
    hooks_on(s, HOOK_POWER, "power", 1);
}

static const void *entry_extension(const char *id)
{
    static const struct vfu_regmap_ops regmap = {
        .struct_size = sizeof regmap,
        .read = access_read,
        .write = access_write,
        .locked = access_locked,
    };
    static const struct vfu_migration_ops migration = {
        .struct_size = sizeof migration,
        .save = save_save,
        .load = load_load,
    };

    static const struct vfu_config_ops config = {
        .struct_size = sizeof config,
        .written = config_written,
    };

    static const struct vfu_introspect introspect = {
        .struct_size = sizeof introspect,
        .eval = eval_eval,
    };

    if (!strcmp(id, VFU_EXT_INTROSPECT))
        return &introspect;
    if (!strcmp(id, VFU_EXT_REGMAP))
        return &regmap;
    if (!strcmp(id, VFU_EXT_CONFIG))
        return &config;
    if (!strcmp(id, VFU_EXT_MIGRATION))
        return &migration;
    return NULL;
}

VFU_EXPORT const struct vfu_plugin *vfu_plugin_entry(void)
{
    static const struct vfu_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi_version = VFU_ABI_VERSION,
        .caps = VFU_CAP_DMA | VFU_CAP_DMA_MAP | VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_MSIX | VFU_CAP_RESET |
                VFU_CAP_MMAP | VFU_CAP_DOORBELL | VFU_CAP_MIGRATION | VFU_CAP_TIMERS | VFU_CAP_RELOAD | VFU_CAP_FFI |
                VFU_CAP_FD_WATCH | VFU_CAP_POLL | VFU_CAP_THREADS, /* what only a plugin that a script wraps can have */
        .name = "lua",
        .version = VFU_SDK_VERSION,
        .summary = "runs a device model written in Lua 5.4",
        .sdk = VFU_SDK_VERSION,
        .describe = entry_describe,
        .create = entry_create,
        .destroy = entry_destroy,
        .access = access_raw,
        .reset = entry_reset,
        .event = entry_event,
        .attach = entry_attach,
        .detach = entry_detach,
        .quiesce = entry_quiesce,
        .resume = entry_resume,
        .power = entry_power,
        .extension = entry_extension,
        .doorbell = doorbell_ring,
        .poll = wrap_poll,
        .intercept = wraphook_intercept,
        .irq_level = wrap_irq_level,
    };

    return &plugin;
}
