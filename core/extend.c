/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * extend - the host's side of the ABI's extensions. Each is a table of functions that go the way of all calls of a
 * plugin (core/calls.c), or data. What is added here gets its counterpart in core/inner.c, for plugins inside of others.
 */
#include "core/extend.h"

#include <string.h>

#include "core/calls.h"
#include "core/device.h"

/* ---- vfu.regmap/1 ------------------------------------------------------------------------------------------------ */

static int32_t extend_reg_set(const struct vfu_host *table, uint32_t reg, uint32_t index, uint32_t group_index,
                              uint64_t value)
{
    return (int32_t)INVOKE(HOST_REG_SET, .n = { reg, index, group_index, value });
}

static const struct vfu_host_regmap regmap_extension = {
    .struct_size = sizeof regmap_extension,
    .get = calls_reg_get,
    .set = extend_reg_set,
};

/* ---- all of them ------------------------------------------------------------------------------------------------- */

const void *extend_find(const struct vfu_host *table, const char *id)
{
    if (id && strcmp(id, VFU_EXT_REGMAP) == 0)
        return &regmap_extension;
    if (id && strcmp(id, VFU_EXT_LIMITS) == 0)
        return &host_of(table)->dev->limits;
    return NULL;
}
