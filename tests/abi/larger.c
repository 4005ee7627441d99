/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * larger - the alarm clock as a later SDK would build it: a later minor version, a flag that no host of today knows, and
 * members behind the end of every table and array element, filled with what a host of today must not look at. Runs on
 * its device's thread.
 */
#define vfu_plugin_entry alarm_entry
#include "released/1.0/alarm.c"
#undef vfu_plugin_entry

#define LATER(type)                                                                                                    \
    struct {                                                                                                           \
        struct type now;                                                                                               \
        void *later[4];                                                                                                \
    }
#define POISON (void *)(uintptr_t)0x5a5a5a5a5a5a5a5a

static LATER(vfu_field) later_fields[1];
static LATER(vfu_reg) later_regs[3];
static LATER(vfu_regmap) later_map;
static LATER(vfu_bar) later_bars[1];
static LATER(vfu_param) later_params[1];
static LATER(vfu_regmap_ops) later_hooks;
static LATER(vfu_migration_ops) later_migration;
static LATER(vfu_plugin) later_plugin;

#define EXTEND(to, from)                                                                                               \
    do {                                                                                                               \
        (to).now = (from);                                                                                             \
        for (int i_ = 0; i_ < 4; i_++)                                                                                 \
            (to).later[i_] = POISON;                                                                                   \
    } while (0)

static int32_t later_describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    int32_t status = describe(host, params, desc);

    EXTEND(later_fields[0], status_fields[0]);
    for (int i = 0; i < 3; i++)
        EXTEND(later_regs[i], registers[i]);
    later_regs[STATUS].now.fields = &later_fields[0].now;
    later_regs[STATUS].now.field_size = sizeof later_fields[0];
    EXTEND(later_map, map);
    later_map.now.struct_size = sizeof later_map;
    later_map.now.regs = &later_regs[0].now;
    later_map.now.reg_size = sizeof later_regs[0];
    EXTEND(later_bars[0], desc->bars[0]);
    desc->bars = &later_bars[0].now;
    desc->bar_size = sizeof later_bars[0];
    desc->regmap = &later_map.now;
    desc->caps |= UINT64_C(1) << 30;
    /* what a later struct vfu_desc would end with: in the room that is promised */
    memset((char *)desc + 1024 - 4 * sizeof(void *), 0x5a, 4 * sizeof(void *));
    return status;
}

static const void *later_extension(const char *id)
{
    if (strcmp(id, VFU_EXT_REGMAP) == 0) {
        EXTEND(later_hooks, *(const struct vfu_regmap_ops *)extension(id));
        later_hooks.now.struct_size = sizeof later_hooks;
        return &later_hooks;
    }
    if (strcmp(id, VFU_EXT_MIGRATION) == 0) {
        EXTEND(later_migration, *(const struct vfu_migration_ops *)extension(id));
        later_migration.now.struct_size = sizeof later_migration;
        return &later_migration;
    }
    return NULL;
}

VFU_EXPORT const struct vfu_plugin *vfu_plugin_entry(void);
const struct vfu_plugin *vfu_plugin_entry(void)
{
    EXTEND(later_plugin, *alarm_entry());
    EXTEND(later_params[0], later_plugin.now.params[0]);
    later_plugin.now.params = &later_params[0].now;
    later_plugin.now.param_size = sizeof later_params[0];
    later_plugin.now.struct_size = sizeof later_plugin;
    later_plugin.now.abi_version = (VFU_ABI_MAJOR << 16) | 99u;
    later_plugin.now.caps |= UINT64_C(1) << 30;
    later_plugin.now.sdk = "99.0.0";
    later_plugin.now.describe = later_describe;
    later_plugin.now.extension = later_extension;
    return &later_plugin.now;
}
