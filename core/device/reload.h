/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reload - puts the plugin's present code in the place of that which runs, under a client that stays.
 *
 * Another instance of the plugin is loaded and described beside the one that runs. If it is the same device to the client
 * (name, ids, BARs, interrupts, doorbells, config space), the device stands still for a moment: the old instance is
 * quiesced and saved, the new one made, and what was saved goes into it. Registers and the plugin's state are carried by
 * name; pending events, interrupts, config space, memory, DMA maps and the client's descriptors stay where they are.
 * Whatever fails on the way leaves the old instance running, as it was. Runs on the device's thread.
 */
#ifndef CORE_RELOAD_H
#define CORE_RELOAD_H

#include <stddef.h>

struct device;

/*
 * 0, or -errno with the reason in the log and the first line of it in `why`: the device goes on as it was. -EBUSY: it is
 * stopped for migration, in the middle of a reset or a reload; -ENOEXEC, -EINVAL, -ENOENT: it does not load; -EXDEV: it
 * is another device now. Not from within a callback of the plugin.
 */
int reload_now(struct device *dev, char *why, size_t len);

#endif
