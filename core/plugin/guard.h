/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * guard - stands between the device and the callbacks of its plugin that take part in accesses: looks at what they
 * return, and at the bytes around the buffer of a long access. Runs on the device's thread.
 */
#ifndef CORE_GUARD_H
#define CORE_GUARD_H

#include <stddef.h>
#include <stdint.h>

#include <vfu/plugin.h>

struct guard {
    uint8_t *buffer; /* for long accesses, with a margin at both ends */
    size_t room;
    const struct vfu_regmap_ops *hooks; /* the plugin's */
    struct vfu_regmap_ops ops;          /* those that go there */
};

struct device;

/* In the place of vfu_plugin.access, with the device as self. */
int32_t guard_access(void *dev, struct vfu_access *access);
/* In the place of vfu_plugin.intercept, likewise. */
int32_t guard_intercept(void *dev, struct vfu_access *access);
/* In the place of the plugin's hooks (NULL: it has none), with the device as self. */
const struct vfu_regmap_ops *guard_hooks(struct device *dev, const struct vfu_regmap_ops *hooks);
void guard_fini(struct guard *guard);

#endif
