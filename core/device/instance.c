/* SPDX-License-Identifier: BSD-3-Clause */
/* instance - the plugin's part of a device: see instance.h. Main's thread, or the device's own in a reload. */
#include "core/device/instance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct vfu_params params_of(const struct device *dev)
{
    return (struct vfu_params){
        .struct_size = sizeof(struct vfu_params),
        .nitems = dev->options.nitems,
        .source = dev->plugin->source,
        .items = (const char *const *)dev->options.items,
    };
}

const char *instance_name(const struct device *dev)
{
    return dev->description.desc.name ? dev->description.desc.name : dev->plugin->table.name;
}

static int take_params(struct device *dev)
{
    const struct vfu_plugin *table = &dev->plugin->table;

    params_init(&dev->params, dev->name, dev->options.items, dev->options.nitems);
    dev->params.lenient = dev->options.lenient;
    return table->params ? params_declare(&dev->params, table->params, table->nparams, table->param_size) : 0;
}

static int ask(struct device *dev, uint64_t allowed)
{
    struct vfu_params params = params_of(dev);
    int error;

    dev->host->describing = true;
    error = describe(&dev->description, dev->name, dev->plugin, &dev->host->table, &params, allowed);
    dev->host->describing = false;
    dev->self = dev->description.desc.self;
    if (!error && !dev->params.declared)
        error = params_declare(&dev->params, NULL, 0, 0);
    return error ? error : inner_settle(dev);
}

/* What a device is called until it has said its name: its script, as the plugin of all scripts is none of the user's. */
static char *first_name(const struct plugin *plugin)
{
    const char *slash = plugin->source ? strrchr(plugin->source, '/') : NULL;
    const char *file = slash ? slash + 1 : plugin->source;
    char name[65];
    size_t n;

    if (!file)
        return strdup(plugin->table.name);
    n = strlen(file);
    if (n > 4 && strcmp(file + n - 4, ".lua") == 0)
        n -= 4;
    if (n >= sizeof name)
        n = sizeof name - 1;
    memcpy(name, file, n);
    name[n] = '\0';
    return strdup(plugin_good_name(name) ? name : plugin->table.name);
}

int instance_load(struct device *dev)
{
    uint64_t allowed = PLUGIN_HOST_CAPS & ~dev->options.deny;
    int error;

    if (dev->private_code)
        error = plugin_load_private(&dev->plugin, dev->options.spec, allowed);
    else
        error = plugin_load(&dev->plugin, dev->options.spec, allowed);
    if (error)
        return error == -EINVAL ? -ENOEXEC : error;
    if (!dev->name && !(dev->name = first_name(dev->plugin)))
        return -ENOMEM;
    files_add(dev->files, dev->plugin->source ? dev->plugin->source : dev->plugin->path);
    error = host_new(&dev->host, dev, allowed);
    if (!error)
        error = take_params(dev);
    if (!error)
        error = ask(dev, allowed);
    if (error)
        return error;
    dev->doc = dev->description.desc.doc ? strdup(dev->description.desc.doc) : NULL;
    __atomic_store_n(&dev->host->granted, dev->description.caps, __ATOMIC_RELAXED);
    return 0;
}

static int no_callback(const struct device *dev, const struct region *region, const char *flag, const char *callback)
{
    log_error(dev->name, "BAR %u has %s, but the plugin has no %s callback", region->index, flag, callback);
    return -ENOEXEC;
}

int instance_raw(struct device *dev, struct region *region, struct device *owner)
{
    const struct vfu_plugin *table = &dev->plugin->table;

    region->self = owner;
    if (region->flags & VFU_BAR_RAW) {
        if (!VFU_HAS(table, access))
            return no_callback(dev, region, "VFU_BAR_RAW", "access");
        region->raw = guard_access;
    }
    if (region->flags & VFU_BAR_INTERCEPT) {
        if (!VFU_HAS(table, intercept))
            return no_callback(dev, region, "VFU_BAR_INTERCEPT", "intercept");
        region->intercept = guard_intercept;
        dev->intercepts = true;
    }
    return 0;
}

/* What leads from the device to the instance that it has now. */
static void lead(struct device *dev)
{
    dev->loop.idle_ctx = dev->host;
    dev->ioevent.ring = dev->plugin->table.doorbell;
    dev->ioevent.self = dev->self;
    dev->transfer.self = dev->self;
}

int instance_create(struct device *dev)
{
    const struct vfu_plugin *table = &dev->plugin->table;
    const struct vfu_regmap_ops *ops = NULL;
    struct vfu_params params = params_of(dev);
    int error;

    dev->own_level = dev->description.desc.pci_flags & VFU_PCI_OWN_LEVEL;
    if (dev->own_level && !VFU_HAS(table, irq_level)) {
        log_error(dev->name, "VFU_PCI_OWN_LEVEL is set, but the plugin has no irq_level callback");
        return -ENOEXEC;
    }
    error = host_result(dev->host, RESULT_CREATE, table->create(&dev->host->table, &params, &dev->self), 0);
    if (error) {
        log_error(dev->name, "the plugin could not create the device: %s", strerror(-error));
        return error;
    }
    dev->created = true;
    lead(dev);
    if (VFU_HAS(table, extension))
        ops = table->extension(VFU_EXT_REGMAP);
    dev->config_ops = VFU_HAS(table, extension) ? table->extension(VFU_EXT_CONFIG) : NULL;
    if (dev->config_ops && !VFU_HAS(dev->config_ops, written))
        dev->config_ops = NULL;
    error = regmap_bind(dev->map, guard_hooks(dev, ops), dev);
    return error ? error : migration_init(dev);
}

/* ---- one in the place of another */

#define SWAP(member)                                                                                                   \
    do {                                                                                                               \
        __typeof__(a->member) kept_ = a->member;                                                                       \
        a->member = b->member;                                                                                         \
        b->member = kept_;                                                                                             \
    } while (0)

static void swap_inners(struct device *a, struct device *b)
{
    for (uint32_t i = 0; i < INNER_MAX; i++)
        SWAP(inners[i]);
    SWAP(ninners);
}

void instance_swap(struct device *a, struct device *b)
{
    SWAP(doc);
    SWAP(plugin);
    SWAP(self);
    SWAP(created);
    SWAP(host);
    swap_inners(a, b);
    SWAP(params);
    SWAP(description);
    SWAP(guard);
    SWAP(map);
    SWAP(migration.ops);
    SWAP(config_ops);
    SWAP(own_level);
    SWAP(intercepts);
    for (uint32_t i = 0; i <= VFU_REGION_ROM; i++)
        SWAP(regions[i]);
    a->host->params = &a->params;
    b->host->params = &b->params;
    a->config.map = a->map;
    lead(a);
}

/* ---- the end */

void instance_destroy(struct device *dev)
{
    host_close(dev->host);
    if (dev->plugin && dev->self && VFU_HAS(&dev->plugin->table, destroy))
        dev->plugin->table.destroy(dev->self);
    dev->self = NULL;
    dev->created = false;
    host_poison(dev->host);
    host_fini(dev->host);
}

void instance_free(struct device *dev)
{
    guard_fini(&dev->guard);
    regmap_free(dev->map);
    dev->map = NULL;
    params_fini(&dev->params);
    plugin_unload(dev->plugin);
    dev->plugin = NULL;
    inner_free_all(dev);
    instance_retire(dev, dev->host);
    dev->host = NULL;
    free(dev->doc);
    dev->doc = NULL;
}

void instance_retire(struct device *dev, struct host *host)
{
    if (!host)
        return;
    host->next_retired = dev->retired;
    dev->retired = host;
}

void instance_free_retired(struct device *dev)
{
    while (dev->retired) {
        struct host *host = dev->retired;

        dev->retired = host->next_retired;
        host_free(host);
    }
}
