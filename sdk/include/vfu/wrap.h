/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfu/wrap.h - for a plugin that wraps another one: opening it, and passing on what the host asks.
 *
 * The wrapper's own struct begins with a struct vfu_wrap: so all callbacks find it. A wrapper that changes nothing:
 *
 *     static int32_t describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
 *     {
 *         const char *items[64], *plugin;
 *         struct vfu_wrap *w = calloc(1, sizeof *w);
 *         uint32_t n = vfu_wrap_items(params, "inner.", items, 64);
 *
 *         desc->self = w;
 *         if (!w || host->param_string(host, "plugin", &plugin) < 0)
 *             return -ENOMEM;
 *         return vfu_wrap_describe(w, host, plugin, items, n, desc);
 *     }
 *
 *     static int32_t create(const struct vfu_host *host, const struct vfu_params *params, void **self)
 *     {
 *         return vfu_wrap_create(*self);
 *     }
 *
 *     static void destroy(void *self)
 *     {
 *         vfu_wrap_destroy(self);
 *         free(self);
 *     }
 *
 * and the vfu_wrap_ function of the same name for every other callback of its table, but event, which is only called
 * for timers of its own. The table's caps are all that a plugin inside may have.
 *
 * A wrapper that changes what the inner plugin gets from the host sets functions of w->table, between vfu_wrap_open and
 * vfu_wrap_describe. They get a pointer to w->table: VFU_WRAP_OF(host) finds w. They pass a call on by the same
 * function of w->inner->host, which checks it as the inner plugin's; what the wrapper does for itself goes to w->host.
 *
 * All functions run where the callback runs that calls them. See struct vfu_inner of plugin.h for how things work.
 */
#ifndef VFU_WRAP_H
#define VFU_WRAP_H

#include <errno.h>

#include <vfu/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vfu_wrap {
    const struct vfu_host *host;     /* the wrapper's own table */
    struct vfu_inner *inner;         /* NULL before vfu_wrap_open */
    const struct vfu_plugin *plugin; /* inner->plugin */
    struct vfu_host table;           /* what the inner plugin is handed */
    const struct vfu_regmap_ops *hooks;
    const struct vfu_migration_ops *state;
    const struct vfu_config_ops *config;
    const struct vfu_introspect *look;
    uint32_t intercepts; /* the BARs that the inner plugin intercepts, a bit each; vfu_wrap_describe finds out */
    uint32_t own_level;  /* it has VFU_PCI_OWN_LEVEL */
};

/* The struct vfu_wrap that a function of w->table is called for. */
#define VFU_WRAP_OF(host) ((struct vfu_wrap *)((char *)(uintptr_t)(host) - offsetof(struct vfu_wrap, table)))

#ifdef __GNUC__
#define VFU_WRAP_API __attribute__((unused)) static
#else
#define VFU_WRAP_API static
#endif

/* The parameters whose names begin with `prefix`, without it: declare them with VFU_PARAM_PREFIX. How many; `room` at
 * most. They point into params. */
VFU_WRAP_API uint32_t vfu_wrap_items(const struct vfu_params *params, const char *prefix, const char **items,
                                     uint32_t room)
{
    size_t len = strlen(prefix);
    uint32_t n = 0;

    for (uint32_t i = 0; i < params->nitems && n < room; i++) {
        if (strncmp(params->items[i], prefix, len) == 0)
            items[n++] = params->items[i] + len;
    }
    return n;
}

/* In describe: opens the plugin and makes w->table. Results are vfu_host.open's. */
VFU_WRAP_API int32_t vfu_wrap_open(struct vfu_wrap *w, const struct vfu_host *host, const char *spec,
                                   const char *const *items, uint32_t nitems)
{
    int32_t error = VFU_HAS(host, open) ? host->open(host, spec, items, nitems, &w->inner) : -ENOTSUP;

    w->host = host;
    if (error)
        return error;
    w->plugin = w->inner->plugin;
    vfu_host_copy(&w->table, w->inner->host);
    if (VFU_HAS(w->plugin, extension)) {
        w->hooks = (const struct vfu_regmap_ops *)w->plugin->extension(VFU_EXT_REGMAP);
        w->state = (const struct vfu_migration_ops *)w->plugin->extension(VFU_EXT_MIGRATION);
        w->config = (const struct vfu_config_ops *)w->plugin->extension(VFU_EXT_CONFIG);
        w->look = (const struct vfu_introspect *)w->plugin->extension(VFU_EXT_INTROSPECT);
    }
    return 0;
}

/* In describe, after vfu_wrap_open (or in its place, with spec): the inner plugin's description. It has its name, and
 * says what it needs. desc->self must be the wrapper's own already: it is left so, whatever the result. */
VFU_WRAP_API int32_t vfu_wrap_describe(struct vfu_wrap *w, const struct vfu_host *host, const char *spec,
                                       const char *const *items, uint32_t nitems, struct vfu_desc *desc)
{
    void *self = desc->self;
    int32_t error = w->inner ? 0 : vfu_wrap_open(w, host, spec, items, nitems);

    if (error)
        return error;
    desc->self = NULL;
    error = w->plugin->describe(&w->table, w->inner->params, desc);
    w->inner->self = desc->self;
    desc->self = self;
    desc->needs |= w->plugin->needs;
    for (uint32_t i = 0; !error && desc->bars && i < desc->nbars; i++) {
        const struct vfu_bar *bar = (const struct vfu_bar *)((const char *)desc->bars +
                                                             (size_t)i * (desc->bar_size ? desc->bar_size : sizeof *bar));

        if ((bar->flags & VFU_BAR_INTERCEPT) && VFU_HAS(w->plugin, intercept))
            w->intercepts |= UINT32_C(1) << (bar->index & 31);
    }
    w->own_level = (desc->pci_flags & VFU_PCI_OWN_LEVEL) && VFU_HAS(w->plugin, irq_level);
    if (!desc->name)
        desc->name = w->plugin->name;
    if (!desc->doc)
        desc->doc = w->plugin->summary;
    return error;
}

/* In create. */
VFU_WRAP_API int32_t vfu_wrap_create(struct vfu_wrap *w)
{
    return w->plugin->create(&w->table, w->inner->params, &w->inner->self);
}

/* In destroy. The wrapper's own struct is the wrapper's to free. */
VFU_WRAP_API void vfu_wrap_destroy(struct vfu_wrap *w)
{
    if (w->inner && w->inner->self && VFU_HAS(w->plugin, destroy))
        w->plugin->destroy(w->inner->self);
    if (w->inner)
        w->inner->self = NULL;
}

/* ---- callbacks ---------------------------------------------------------------------------------------------- */

VFU_WRAP_API int32_t vfu_wrap_access(void *self, struct vfu_access *access)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    return VFU_HAS(w->plugin, access) ? w->plugin->access(w->inner->self, access) : -EIO;
}

/* An access comes from outside, past each wrapper's intercept, and ends at the host's bar_access. */
VFU_WRAP_API int32_t vfu_wrap_intercept(void *self, struct vfu_access *access)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    if (w->intercepts >> (access->region & 31) & 1)
        return w->plugin->intercept(w->inner->self, access);
    return w->inner->host->bar_access(w->inner->host, access);
}

/* The level's bits come from inside, past each wrapper's own w->table.irq_level, and end at the host's. */
VFU_WRAP_API void vfu_wrap_irq_level(void *self, uint64_t bits)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    if (w->own_level)
        w->plugin->irq_level(w->inner->self, bits);
    else
        w->table.irq_level(&w->table, bits);
}

VFU_WRAP_API int32_t vfu_wrap_reset(void *self, uint32_t kind)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    return VFU_HAS(w->plugin, reset) ? w->plugin->reset(w->inner->self, kind) : 0;
}

VFU_WRAP_API void vfu_wrap_attach(void *self, const struct vfu_client *client)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    if (VFU_HAS(w->plugin, attach))
        w->plugin->attach(w->inner->self, client);
}

VFU_WRAP_API void vfu_wrap_detach(void *self)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    if (VFU_HAS(w->plugin, detach))
        w->plugin->detach(w->inner->self);
}

VFU_WRAP_API void vfu_wrap_quiesce(void *self)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    if (VFU_HAS(w->plugin, quiesce))
        w->plugin->quiesce(w->inner->self);
}

VFU_WRAP_API void vfu_wrap_resume(void *self)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    if (VFU_HAS(w->plugin, resume))
        w->plugin->resume(w->inner->self);
}

VFU_WRAP_API void vfu_wrap_power(void *self, uint32_t state)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    if (VFU_HAS(w->plugin, power))
        w->plugin->power(w->inner->self, state);
}

VFU_WRAP_API void vfu_wrap_doorbell(void *self, uint32_t index, uint64_t value)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    if (VFU_HAS(w->plugin, doorbell))
        w->plugin->doorbell(w->inner->self, index, value);
}

VFU_WRAP_API int32_t vfu_wrap_poll(void *self)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    return VFU_HAS(w->plugin, poll) ? w->plugin->poll(w->inner->self) : 0;
}

/* ---- extensions --------------------------------------------------------------------------------------------- */

VFU_WRAP_API int32_t vfu_wrap_read(void *self, struct vfu_reg_call *call)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    return w->hooks && VFU_HAS(w->hooks, read) ? w->hooks->read(w->inner->self, call) : -EIO;
}

VFU_WRAP_API int32_t vfu_wrap_write(void *self, struct vfu_reg_call *call)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    return w->hooks && VFU_HAS(w->hooks, write) ? w->hooks->write(w->inner->self, call) : -EIO;
}

VFU_WRAP_API int32_t vfu_wrap_locked(void *self, uint32_t hook, const struct vfu_reg_call *call)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    return w->hooks && VFU_HAS(w->hooks, locked) ? w->hooks->locked(w->inner->self, hook, call) : 0;
}

/* A plugin that has no state beside the host's is saved and loaded by doing nothing. */
VFU_WRAP_API int32_t vfu_wrap_save(void *self, struct vfu_sink *sink)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    return w->state && VFU_HAS(w->state, save) ? w->state->save(w->inner->self, sink) : 0;
}

VFU_WRAP_API int32_t vfu_wrap_load(void *self, struct vfu_source *source)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    return w->state && VFU_HAS(w->state, load) ? w->state->load(w->inner->self, source) : 0;
}

VFU_WRAP_API void vfu_wrap_config(void *self, const struct vfu_config_call *call)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    if (w->config && VFU_HAS(w->config, written))
        w->config->written(w->inner->self, call);
}

VFU_WRAP_API int32_t vfu_wrap_eval(void *self, const char *expr, char *out, uint32_t size)
{
    struct vfu_wrap *w = (struct vfu_wrap *)self;

    if (w->look && VFU_HAS(w->look, eval))
        return w->look->eval(w->inner->self, expr, out, size);
    snprintf(out, size, "the plugin %s inside of this one cannot evaluate expressions", w->plugin->name);
    return -ENOTSUP;
}

VFU_WRAP_API const void *vfu_wrap_extension(const char *id)
{
    static const struct vfu_regmap_ops hooks = { sizeof hooks, 0, vfu_wrap_read, vfu_wrap_write, vfu_wrap_locked };
    static const struct vfu_migration_ops state = { sizeof state, 0, vfu_wrap_save, vfu_wrap_load };
    static const struct vfu_config_ops config = { sizeof config, 0, vfu_wrap_config };
    static const struct vfu_introspect look = { sizeof look, 0, vfu_wrap_eval };

    if (strcmp(id, VFU_EXT_REGMAP) == 0)
        return &hooks;
    if (strcmp(id, VFU_EXT_INTROSPECT) == 0)
        return &look;
    if (strcmp(id, VFU_EXT_MIGRATION) == 0)
        return &state;
    return strcmp(id, VFU_EXT_CONFIG) == 0 ? (const void *)&config : NULL;
}

#ifdef __cplusplus
}
#endif

#endif
