/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regmap - the register map engine: values, masks, access kinds, hooks, locks, reset values, names.
 *
 * One map holds all registers of a device, of every region. It knows registers, not widths or RAM: cutting an access
 * into pieces is region's job. Runs on the device's thread. Nothing here allocates after regmap_new.
 */
#ifndef CORE_REGMAP_H
#define CORE_REGMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vfu/plugin.h>

struct regmap;

/* The size of each region, 0 where there is none; region 7 is config space. */
#define REGMAP_REGIONS 8

/*
 * Copies and checks a plugin's map: names, sizes, overlaps, bounds against region_size[], locks, fields. `who` names
 * the device in messages. 0, or -EINVAL after one line in the log that names the register and what is wrong.
 * desc may be NULL: an empty map. -ENOMEM (logged) if memory is short.
 */
int regmap_new(struct regmap **out, const char *who, const struct vfu_regmap *desc,
               const uint64_t region_size[REGMAP_REGIONS]);
void regmap_free(struct regmap *map);

/* VFU_BAR_BIG_ENDIAN: makes every register of the region big endian. Before the first access. */
void regmap_big_endian(struct regmap *map, uint32_t region);

/* The plugin's hooks; ops may be NULL where no register has a hook (else regmap_bind is -EINVAL, logged). */
int regmap_bind(struct regmap *map, const struct vfu_regmap_ops *ops, void *self);

/* Called with level & mask whenever a change of the interrupt level or mask register (indexes in desc.regs, or
 * VFU_NONE) has changed that value. -EINVAL (logged) for an index that is no register, and for one of an array or a
 * group: a level is one register. */
int regmap_watch_level(struct regmap *map, uint32_t level_reg, uint32_t mask_reg,
                       void (*changed)(void *ctx, uint64_t bits), void *ctx);

/* Reset values, all but sticky registers unless kind is VFU_RESET_POWER. Reports the level, changed or not: interrupts
 * have been lowered before it. */
void regmap_reset(struct regmap *map, uint32_t kind);

/* True if the region has any register at all. */
bool regmap_any(const struct regmap *map, uint32_t region);

/*
 * The register instance that covers the byte at offset: bytes from `offset` to its end in *span (1 to 8), or NULL with
 * *span = bytes up to the next register or to `limit` (above offset), whichever is nearer. Constant time where a
 * register is hit, but in maps that spread over more than 4 GiB or are too irregular for a page table (log n).
 */
struct reg_cell;
struct reg_cell *regmap_find(const struct regmap *map, uint32_t region, uint64_t offset, uint64_t limit,
                             uint64_t *span);

/* The same registers for those who look at them inline (core/regmap/regcell.h); NULL if the region has none. */
struct reg_span;
const struct reg_span *regmap_span(const struct regmap *map, uint32_t region);

/*
 * Software's access to the `size` bytes at `offset` of the region, which lie in `cell`. Bytes are in address order.
 * A read hook that fails gives all ones; a write hook that fails restores the old value; both are logged by the plugin.
 */
void regmap_read(struct regmap *map, struct reg_cell *cell, uint64_t offset, uint32_t size, uint8_t *bytes);
void regmap_write(struct regmap *map, struct reg_cell *cell, uint64_t offset, uint32_t size, const uint8_t *bytes);
/* How many hooks have failed so far. */
uint64_t regmap_failures(const struct regmap *map);

/* The hardware's own access (struct vfu_host_regmap). */
uint64_t regmap_get(const struct regmap *map, uint32_t reg, uint32_t index, uint32_t group_index);
int regmap_set(struct regmap *map, uint32_t reg, uint32_t index, uint32_t group_index, uint64_t value);

/* All register instances, by region and offset: how many, each of them, and its place among them. */
uint32_t regmap_count(const struct regmap *map);
const struct reg_cell *regmap_cell(const struct regmap *map, uint32_t place);
uint32_t regmap_place(const struct regmap *map, const struct reg_cell *cell);
/* The instance with these indexes (VFU_NONE where it is in no array or group), or NULL if they do not fit. */
struct reg_cell *regmap_instance(const struct regmap *map, uint32_t reg, uint32_t index, uint32_t group_index);

/* Exchanges the hooks, and what they are called with, for somebody who stands between map and plugin. */
void regmap_swap(struct regmap *map, struct vfu_regmap_ops *ops, void **self);

/*
 * Register instances in the order they are declared, group and array elements one by one; and one by its name, as
 * regmap_name gives it, or with ".FIELD" behind it (*field is NULL without). NULL: there is none.
 */
const struct reg_cell *regmap_declared(const struct regmap *map, uint32_t i);
struct reg_cell *regmap_by_name(const struct regmap *map, const char *text, const struct vfu_field **field);
void regmap_set_cell(struct regmap *map, struct reg_cell *cell, uint64_t value); /* as regmap_set */

/*
 * Calls `halt` on software's accesses to a cell, before they take effect: those of its REGMAP_HALT_* bits. `bytes` is what
 * is written, or NULL. Registers that are not watched so cost nothing more.
 */
#define REGMAP_HALT_READ 1u
#define REGMAP_HALT_WRITE 2u
typedef void regmap_halt_fn(void *ctx, struct reg_cell *cell, uint64_t offset, uint32_t size, const uint8_t *bytes);
void regmap_on_halt(struct regmap *map, regmap_halt_fn *halt, void *ctx);
void regmap_halt(struct regmap *map, struct reg_cell *cell, uint32_t accesses);
/* Calls `judged` once the locks of a cell that has any (regmap_has_lock) have decided on a write of software's, before it
 * takes effect. */
typedef void regmap_judged_fn(void *ctx, const struct reg_cell *cell, bool locked);
void regmap_on_judged(struct regmap *map, regmap_judged_fn *judged, void *ctx);
bool regmap_has_lock(const struct regmap *map, const struct reg_cell *cell);

/* Names, for logs and dumps: "CMD", "CH[2].CTRL", "RING[3]". Truncated to len; REGMAP_NAME_LEN bytes hold any. */
#define REGMAP_NAME_LEN 320u
void regmap_name(const struct regmap *map, const struct reg_cell *cell, char *text, size_t len);
const struct vfu_reg *regmap_regs(const struct regmap *map, uint32_t *n); /* the map's own copy */
const struct vfu_group *regmap_groups(const struct regmap *map, uint32_t *n);

/*
 * Every stored value, in order, for saving: name and values. The callback's result other than 0 ends the walk and is
 * the result. What a register remembers beside its value follows it, where there is any, under a name that ends in
 * "!once" (bits whose one write is used up), "!bytes" and "!mask" (a write collected in part): for regmap_restore, not
 * for people. Restoring a value forgets these, so they are restored after it.
 */
int regmap_each(const struct regmap *map, int (*fn)(void *ctx, const char *name, uint32_t size, uint64_t value),
                void *ctx);
/* Puts a saved value back by its name; -ENOENT if there is none. Does not report a changed level: regmap_level does. */
int regmap_restore(struct regmap *map, const char *name, uint64_t value);
/*
 * Puts the values of another map in place, of all registers and elements that both have by name. What is gone, narrower
 * or of another access kind is told, a line each.
 */
void regmap_carry(struct regmap *map, const struct regmap *from);
void regmap_level(struct regmap *map); /* reports the level, changed or not */

#endif
