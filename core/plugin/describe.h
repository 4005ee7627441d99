/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * describe - asks a plugin what its device is, checks the answer, and completes it: the BAR for MSI-X that the host
 * makes, the sizes of all regions. Main's thread, before any socket.
 */
#ifndef CORE_DESCRIBE_H
#define CORE_DESCRIBE_H

#include <stdint.h>

#include <vfu/plugin.h>

#include "core/plugin/plugin.h"
#include "core/regmap/regmap.h"

struct description {
    struct vfu_desc desc;     /* what it points to is the plugin's, and gone after create */
    struct vfu_bar bars[6];   /* in the order of their indexes, the host's MSI-X BAR among them */
    uint32_t nbars;
    uint64_t caps;            /* declared, offered and allowed */
    uint64_t region_size[REGMAP_REGIONS];
};

/* 0; what describe returned; -ENOEXEC or -ENOTSUP with the reason in the log. The instance that describe made, if any,
 * is in d->desc.self even after an error. */
int describe(struct description *d, const char *who, const struct plugin *plugin, const struct vfu_host *host,
             const struct vfu_params *params, uint64_t host_caps);

#endif
