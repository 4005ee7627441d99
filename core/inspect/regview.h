/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regview - registers as they stand now, in JSON, for those who look at a running device: by name, with fields. Values
 * are the hardware's own (regmap_get, regmap_set): no hooks, masks and locks. The device's thread.
 *
 * A register is an object: name, region ("bar0" ... or "config"), offset (in the region), size (bytes), access, value, and
 * fields: a list of name, lsb, width, value, and `text` where the value has a name. Offsets and values are strings of
 * hexadecimal digits ("0x1f"), as in the register map (core/regmap/regdump.h).
 */
#ifndef CORE_REGVIEW_H
#define CORE_REGVIEW_H

#include <jansson.h>

#include "core/regmap/regmap.h"

#define REGVIEW_SCAN_MAX 16384u /* registers that one call looks at */
#define REGVIEW_LIST_MAX 512u   /* registers that one call lists */

json_t *regview_register(const struct regmap *map, const struct reg_cell *cell);

/*
 * Registers from number `from` on, those of `names` (a list: registers, arrays or their elements, groups or their members)
 * or all if it is NULL, into the list `out`. *next: where to go on, or 0 at the end. 0; -ENOMEM.
 */
int regview_list(const struct regmap *map, const json_t *names, uint32_t from, json_t *out, uint32_t *next);

/* "REG" or "REG.FIELD", with indexes. -ENOENT: there is none. *text: the value's name, or NULL. */
int regview_get(const struct regmap *map, const char *name, uint64_t *value, const char **text);
/* value: an integer from 0 up, a boolean, or a string: 0x..., decimal, or the name of a field's value. -ENOENT; -EINVAL: it is
 * no such value; -ERANGE: it does not fit. */
int regview_set(struct regmap *map, const char *name, const json_t *value);
/* The names that a field's values have, "to_device, to_host", cut with "..." where there is no room: false: it has none. */
bool regview_names(const struct regmap *map, const char *name, char *text, size_t room);

#endif
