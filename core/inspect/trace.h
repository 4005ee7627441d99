/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trace - what the driver does, line by line and by name: "write CMD.RUN=1 DIR=to_host (0x98 <- 3)". Lines that repeat,
 * one by one or in turns of up to four, are counted instead; so are accesses to adjoining memory. A count is written when
 * another line comes, and at the end of a second. Runs on the device's thread; allocates in trace_new only.
 */
#ifndef CORE_TRACE_H
#define CORE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/pci/pci_config.h"
#include "core/regmap/regcell.h"
#include "core/regmap/regmap.h"

struct loop;
struct trace;

/* bar: the only BAR of the device, which need not be named, or VFU_NONE. `say` gets the lines; NULL: the log, at the
 * level of info. loop: where the end of a second is noticed, or NULL. -ENOMEM. */
int trace_new(struct trace **out, const char *who, const struct regmap *map, uint32_t bar, struct loop *loop,
              void (*say)(void *ctx, const char *text), void *ctx);
/* Writes what waits. */
void trace_free(struct trace *trace);
void trace_flush(struct trace *trace);
/* The same, and no line that comes is a repeat of one that was: another client, say. */
void trace_forget(struct trace *trace);

/* One line. */
void trace_line(struct trace *trace, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The `size` bytes at `offset`, which lie in the cell. A write of which locks decide waits for trace_judged, or for the
 * next line, whichever is first. */
void trace_register(struct trace *trace, const struct reg_cell *cell, uint64_t offset, uint32_t size,
                    const uint8_t *bytes, bool write);
/* Locks have decided on the write: the line says so if it is ignored. */
void trace_judged(struct trace *trace, const struct reg_cell *cell, bool locked);
/* Accesses to adjoining bytes become one line. `what` is a literal. */
void trace_range(struct trace *trace, const char *what, uint32_t region, uint64_t offset, uint32_t size, bool write);
/* Bytes that are no register, with a note; bytes NULL: not known, `error` instead. `name` may be NULL. */
void trace_bytes(struct trace *trace, const char *name, uint32_t region, uint64_t offset, uint32_t size,
                 const uint8_t *bytes, bool write, int error, const char *note);
/* Config space by the names of the PCI specifications; up to 4 bytes. */
void trace_config(struct trace *trace, const struct pci_config *config, uint32_t offset, uint32_t size,
                  const uint8_t *bytes, bool write);

/* A value, a write of the bytes in the mask `lanes`: "RUN=1 DIR=to_host". Fields that are 0 and have no name for that
 * are left out, and those of which only a part is in lanes. */
void trace_fields(const struct vfu_reg *reg, uint64_t value, uint64_t lanes, const char *separator, char *text,
                  size_t len);
/* Up to 8 bytes in the order of a region. */
uint64_t trace_value(const uint8_t *bytes, uint32_t size, bool big_endian);
/* What the access to a part of a register is in the register itself: its bits, and which they are. */
uint64_t trace_bits(const struct vfu_reg *reg, const struct reg_cell *cell, uint64_t offset, uint32_t size,
                    const uint8_t *bytes, uint64_t *lanes);

#endif
