/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * spin - tells of a register that is read over and over with no change: more than so many times in a sliding second,
 * whose edge is an eighth of one. Runs on the device's thread; allocates in spin_new only.
 */
#ifndef CORE_SPIN_H
#define CORE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/regmap/regcell.h"
#include "core/regmap/regmap.h"

struct loop;
struct spin;

/* limit: reads in a second; loop: where the end of a second is noticed. `say` gets the sentences; NULL: the log.
 * -ENOMEM. */
int spin_new(struct spin **out, const char *who, const struct regmap *map, struct loop *loop, uint64_t limit,
             void (*say)(void *ctx, const char *text), void *ctx);
void spin_free(struct spin *spin);

/* A read of the cell that gave this value, at the time `now` (ns). */
void spin_read(struct spin *spin, const struct reg_cell *cell, uint64_t value, uint64_t now);
/* Tells what is due at `now`; UINT64_MAX: all that waits for the end of its second. */
void spin_tell(struct spin *spin, uint64_t now);

#endif
