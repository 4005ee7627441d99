/* SPDX-License-Identifier: BSD-3-Clause */
/* regview - registers as they stand now, in JSON: see regview.h. The device's thread. */
#include "core/inspect/regview.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/regmap/regcell.h"
#include "core/regmap/regdump_private.h"
#include "core/regmap/regmap_private.h"

static json_t *hex(uint64_t value)
{
    return json_sprintf("0x%llx", (unsigned long long)value);
}

static uint64_t field_value(const struct vfu_field *field, uint64_t value)
{
    return value >> field->lsb & regdump_ones(field->width);
}

static const char *field_text(const struct vfu_field *field, uint64_t value)
{
    for (uint32_t i = 0; i < field->nenums; i++) {
        if (field->enums[i].value == value)
            return field->enums[i].name;
    }
    return NULL;
}

static json_t *view_fields(const struct vfu_reg *reg, uint64_t stored)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list && i < reg->nfields; i++) {
        const struct vfu_field *field = &reg->fields[i];
        uint64_t value = field_value(field, stored);
        const char *text = field_text(field, value);
        json_t *view = json_pack("{s:s, s:i, s:i, s:o}", "name", field->name, "lsb", (int)field->lsb, "width",
                                 (int)field->width, "value", hex(value));

        /* A name that is no UTF-8 is left out. */
        if (view && text)
            json_object_set_new(view, "text", json_string(text));
        json_array_append_new(list, view);
    }
    return list;
}

json_t *regview_register(const struct regmap *map, const struct reg_cell *cell)
{
    const struct vfu_reg *reg = &map->regs[cell->reg];
    char name[REGMAP_FULL_NAME_MAX];

    regmap_name(map, cell, name, sizeof name);
    return json_pack("{s:s, s:s, s:o, s:i, s:s, s:o, s:o}", "name", name, "region", regdump_region(reg->region), "offset",
                     hex(cell->offset), "size", (int)cell->size, "access", regdump_access(reg->access), "value",
                     hex(cell->value), "fields", view_fields(reg, cell->value));
}

/* "CH" covers CH[2].CTRL and CH.CTRL, "CH[2]" the first of them, but neither covers CHX. */
static bool covers(const char *pattern, const char *name)
{
    size_t n = strlen(pattern);

    return n && strncmp(pattern, name, n) == 0 && (!name[n] || name[n] == '[' || name[n] == '.');
}

static bool wanted(const struct regmap *map, const struct reg_cell *cell, const json_t *names)
{
    char name[REGMAP_FULL_NAME_MAX];
    const json_t *pattern;
    size_t i;

    if (!names)
        return true;
    regmap_name(map, cell, name, sizeof name);
    json_array_foreach((json_t *)(uintptr_t)names, i, pattern) {
        if (covers(json_string_value(pattern), name))
            return true;
    }
    return false;
}

int regview_list(const struct regmap *map, const json_t *names, uint32_t from, json_t *out, uint32_t *next)
{
    uint32_t n = regmap_count(map), end = n - (from < n ? from : n) > REGVIEW_SCAN_MAX ? from + REGVIEW_SCAN_MAX : n;
    uint32_t at = from;

    for (; at < end && json_array_size(out) < REGVIEW_LIST_MAX; at++) {
        const struct reg_cell *cell = regmap_declared(map, at);

        if (wanted(map, cell, names) && json_array_append_new(out, regview_register(map, cell)))
            return -ENOMEM;
    }
    *next = at < n ? at : 0;
    return 0;
}

int regview_get(const struct regmap *map, const char *name, uint64_t *value, const char **text)
{
    const struct vfu_field *field;
    const struct reg_cell *cell = regmap_by_name(map, name, &field);

    *text = NULL;
    if (!cell)
        return -ENOENT;
    *value = field ? field_value(field, cell->value) : cell->value;
    if (field)
        *text = field_text(field, *value);
    return 0;
}

static int parse_text(const struct vfu_field *field, const char *text, uint64_t *value)
{
    bool hexadecimal = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    const char *digits = hexadecimal ? text + 2 : text;
    char *end;

    for (uint32_t i = 0; field && i < field->nenums; i++) {
        if (strcmp(field->enums[i].name, text) == 0) {
            *value = field->enums[i].value;
            return 0;
        }
    }
    if (!*digits || strspn(digits, hexadecimal ? "0123456789abcdefABCDEF" : "0123456789") != strlen(digits))
        return -EINVAL;
    errno = 0;
    *value = strtoull(digits, &end, hexadecimal ? 16 : 10);
    return errno ? -ERANGE : 0;
}

static int parse_value(const struct vfu_field *field, const json_t *json, uint64_t *value)
{
    if (json_is_boolean(json)) {
        *value = json_is_true(json);
    } else if (json_is_integer(json)) {
        if (json_integer_value(json) < 0)
            return -ERANGE;
        *value = (uint64_t)json_integer_value(json);
    } else if (json_is_string(json)) {
        return parse_text(field, json_string_value(json), value);
    } else {
        return -EINVAL;
    }
    return 0;
}

int regview_set(struct regmap *map, const char *name, const json_t *json)
{
    const struct vfu_field *field;
    struct reg_cell *cell = regmap_by_name(map, name, &field);
    uint64_t value = 0, ones;
    int error;

    if (!cell)
        return -ENOENT;
    error = parse_value(field, json, &value);
    if (error)
        return error;
    ones = regdump_ones(field ? field->width : 8u * cell->size);
    if (value & ~ones)
        return -ERANGE;
    if (field)
        value = (cell->value & ~(ones << field->lsb)) | value << field->lsb;
    regmap_set_cell(map, cell, value);
    return 0;
}

bool regview_names(const struct regmap *map, const char *name, char *text, size_t room)
{
    static const char more[] = ", ...";
    const struct vfu_field *field;
    size_t n = 0;

    if (!regmap_by_name(map, name, &field) || !field || field->nenums == 0)
        return false;
    for (uint32_t i = 0; i < field->nenums; i++) {
        size_t left = room - n - sizeof more;
        int took = snprintf(text + n, left, "%s%s", i ? ", " : "", field->enums[i].name);

        if (took < 0 || (size_t)took >= left) {
            snprintf(text + n, sizeof more, "%s", i ? more : more + 2);
            break;
        }
        n += (size_t)took;
    }
    return true;
}
