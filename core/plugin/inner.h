/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * inner - plugins that another plugin has opened and wraps (vfu_host.open): their host tables, parameters and names.
 *
 * Opened and freed on main's thread; the functions of their tables run wherever those of the device's own do.
 */
#ifndef CORE_INNER_H
#define CORE_INNER_H

#include <stdint.h>

#include <vfu/plugin.h>

#define INNER_MAX 15u /* in one device */

struct device;
struct inner;

int32_t inner_open(const struct vfu_host *host, const char *spec, const char *const *items, uint32_t nitems,
                   struct vfu_inner **out);

/* The device is described: what each of them may do. -EINVAL: one has a parameter that it does not know (logged). */
int inner_settle(struct device *dev);
/* An event of the one with this number (1 and up). */
void inner_event(struct device *dev, uint32_t index, uint32_t event, uint64_t arg);
/* With whose self an op is done: of the plugin inside that is submitting it on this thread now, else `self`. */
void *inner_submitter(const struct vfu_dma_op *op, void *self);
/* They were described for another struct device, and become this one's. */
void inner_adopt(struct device *dev);
/* The files stay loaded until here. */
void inner_free_all(struct device *dev);

#endif
