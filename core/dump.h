/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dump - what a device is, for people and programs: a summary, key=value lines, the register map in four formats, a
 * QEMU command line. Main's thread, before the device serves.
 */
#ifndef CORE_DUMP_H
#define CORE_DUMP_H

#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "core/device/device.h"

/* "edu: PCI 1234:11e8, ..." and its BARs, interrupts and capabilities. */
void dump_summary(FILE *out, const struct device *dev);
/* A command line that boots a guest with the devices behind these sockets. */
void dump_qemu(FILE *out, const char *const *sockets, uint32_t n);
/* Flat key=value lines: name, version, abi, caps, needs, ids, bars, interrupts, parameters. */
int dump_plugin(FILE *out, const struct device *dev);
/* format: json, header, markdown or svd. -ENOMEM, -EIO. */
int dump_registers(FILE *out, const struct device *dev, const char *format);

/* The object that --dump=json prints; on the device's thread, too. NULL: no memory. */
json_t *dump_map(const struct device *dev);

#endif
