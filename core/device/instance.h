/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * instance - the part of a device that is its plugin's: the plugin, its host table and parameters, those that it wraps,
 * what it has described, its register map and hooks. A reload makes another one and puts it in place.
 *
 * Made on main's thread before the device's runs; in a reload, on the device's.
 */
#ifndef CORE_INSTANCE_H
#define CORE_INSTANCE_H

#include "core/device/device.h"

/* Loads the plugin of dev->options and asks it what it is. -EINVAL: a parameter does not fit; another -errno: logged. */
int instance_load(struct device *dev);
/* What it says its name is. */
const char *instance_name(const struct device *dev);
/* Sets the region's raw handler and interceptor, with `owner` as the device; -ENOEXEC (logged): the plugin has none. */
int instance_raw(struct device *dev, struct region *region, struct device *owner);
/* Has the plugin make the device, and binds it to the parts, which are there: map, regions, doorbells, migration. */
int instance_create(struct device *dev);

/* What is the instance's in the two changes places; each side keeps its parts, and the memory of its BARs. */
void instance_swap(struct device *dev, struct device *other);

/* Lets the plugin destroy what it has made, and ends what it left open. */
void instance_destroy(struct device *dev);
/* All that is left of it. */
void instance_free(struct device *dev);

/* The host table of an instance that has gone is kept until the loop has done what is queued now. */
void instance_retire(struct device *dev, struct host *host);
void instance_free_retired(struct device *dev);

#endif
