/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * coverage - which registers, fields, access widths and hooks a run has touched, and what the driver touched that the
 * model does not know. Runs on the device's thread; when that has ended, on main's. It costs nothing before it is
 * switched on, and allocates then only.
 *
 * A report is JSON, and text and JUnit properties are made of that:
 *
 *   on             whether accesses are counted now
 *   registers      by region and offset: name, region ("bar0", "config"), offset, reads, writes, widths (in bytes, of the
 *                  accesses as the driver made them), hooks (read, write: how often each ran), fields: name, read, written
 *                  (whether ever), values (those met, whole: names of enums, or numbers of fields of up to 6 bits; "other"
 *                  for one that no enum names)
 *   left_out       elements of arrays and groups that nothing touched, which are left out of a map of more than
 *                  COVERAGE_ALL registers
 *   summary        registers, registers_touched, fields, fields_touched, hooks, hooks_run (hooks of the map: an array's
 *                  is one)
 *   unmodelled     as first met: region, offset, size, reads, writes, first ("0x..."), why
 *   unmodelled_more  accesses that found no room in that list
 */
#ifndef CORE_COVERAGE_H
#define CORE_COVERAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "core/regmap/regcell.h"
#include "core/regmap/regmap.h"

#define COVERAGE_ALL 4096u

struct coverage;
struct device;

/* Counts nothing before coverage_switch. -ENOMEM. */
int coverage_new(struct coverage **out, struct regmap *map);
void coverage_free(struct coverage *coverage);
/* Stands between the map and its hooks while it is on. What has been counted stays when it is switched off. */
void coverage_switch(struct coverage *coverage, bool on);
bool coverage_on(const struct coverage *coverage);
void coverage_reset(struct coverage *coverage);
/* For a reload: what has been counted goes over to another map, by name, and counting goes on there as it did. -ENOMEM:
 * nothing has changed. Frees the one before. */
int coverage_carry(struct coverage **coverage, struct regmap *map);

/* As watch_register. */
void coverage_access(struct coverage *coverage, const struct reg_cell *cell, uint64_t offset, uint32_t size,
                     uint32_t width, const uint8_t *bytes, bool write);

/* The report of a device. NULL: no memory. */
json_t *coverage_report(const struct device *dev);

/* The control socket's command: {"on": true|false} switches, {"reset": true} forgets what has been counted, behind the
 * reply, which has the report as "coverage". 0; -EINVAL: not of these types; -ENOMEM. */
int coverage_control(struct device *dev, const json_t *request, json_t *reply);

/* ---- core/inspect/covfile.c: reports as files; main's thread ---- */

enum covfile_format { COVFILE_TEXT, COVFILE_JSON, COVFILE_XML };

/* From the end of a name: ".txt" or "-" alone, ".json", ".xml". -EINVAL: none of them. */
int covfile_format(const char *path);
/* `devices`: a list of objects with "device" (a name) and "coverage" (a report). 0 or -errno. */
int covfile_print(FILE *out, enum covfile_format format, const json_t *devices);
/* To the file, which is replaced whole; "-": standard output. 0 or -errno, logged. */
int covfile_write(const char *path, const json_t *devices);

#endif
