/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regdump - a register map written out: what the formats have in common, and JSON. Main's thread.
 */
#define _GNU_SOURCE
#include "core/regmap/regdump.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/base/log.h"
#include "core/regmap/regdump_private.h"
#include "core/regmap/regtext.h"

static const char *const regions[REGMAP_REGIONS] = { "bar0", "bar1", "bar2", "bar3", "bar4", "bar5", "rom", "config" };
static const char *const titles[REGMAP_REGIONS] = {
    "BAR 0", "BAR 1", "BAR 2", "BAR 3", "BAR 4", "BAR 5", "Expansion ROM", "Configuration space",
};
static const char *const kinds[REGDUMP_KINDS] = {
    [VFU_ACCESS_INHERIT] = "rw", [VFU_ACCESS_RW] = "rw",       [VFU_ACCESS_RO] = "ro",
    [VFU_ACCESS_WO] = "wo",      [VFU_ACCESS_W1C] = "w1c",     [VFU_ACCESS_W1S] = "w1s",
    [VFU_ACCESS_W1T] = "w1t",    [VFU_ACCESS_W0C] = "w0c",     [VFU_ACCESS_RC] = "rc",
    [VFU_ACCESS_RS] = "rs",      [VFU_ACCESS_WONCE] = "wonce", [VFU_ACCESS_RESERVED] = "reserved",
    [VFU_ACCESS_UNIMP] = "unimp",
};

const struct vfu_group *regdump_group(const struct regdump_view *view, const struct vfu_reg *reg)
{
    return reg->group == VFU_NONE ? NULL : &view->groups[reg->group];
}

const struct vfu_reg *regdump_at(const struct regdump_view *view, uint32_t at, uint32_t region)
{
    const struct vfu_reg *reg = at < view->nregs ? &view->regs[view->order[at]] : NULL;

    return reg && reg->region == region ? reg : NULL;
}

uint64_t regdump_group_span(const struct regdump_view *view, uint32_t at)
{
    uint32_t group = view->regs[view->order[at]].group;
    uint64_t span = 0;

    for (; at < view->nregs && view->regs[view->order[at]].group == group; at++) {
        const struct vfu_reg *reg = &view->regs[view->order[at]];
        uint64_t end = reg->offset + reg->size + (reg->count ? (reg->count - 1) * reg->stride : 0);

        if (end > span)
            span = end;
    }
    return span;
}

const char *regdump_region(uint32_t region)
{
    return regions[region];
}

const char *regdump_title(uint32_t region)
{
    return titles[region];
}

const char *regdump_access(uint32_t access)
{
    return access < REGDUMP_KINDS ? kinds[access] : "rw";
}

uint64_t regdump_ones(uint32_t bits)
{
    return UINT64_MAX >> (64 - bits);
}

uint64_t regdump_field_reset(const struct vfu_reg *reg, const struct vfu_field *field)
{
    return reg->reset >> field->lsb & regdump_ones(field->width);
}

/* ---- JSON --------------------------------------------------------------------------------------------------- */

/* NULL where memory is short, as jansson's own: that goes through all that is built of it. */
static json_t *text_or_null(const char *text)
{
    char *valid;
    json_t *string;

    if (!text)
        return json_null();
    valid = regtext_utf8(text);
    if (!valid)
        return NULL;
    string = json_string(valid);
    free(valid);
    return string;
}

static json_t *hex(uint64_t value)
{
    return json_sprintf("0x%llx", (unsigned long long)value);
}

static json_t *hex_or_null(bool applies, uint64_t value)
{
    return applies ? hex(value) : json_null();
}

/* Takes item. False if it, or memory, is missing. */
static bool append(json_t *list, json_t *item)
{
    return item && json_array_append_new(list, item) == 0;
}

static json_t *json_enums(const struct vfu_field *field)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list && i < field->nenums; i++) {
        if (append(list, json_pack("{s:o, s:o}", "name", text_or_null(field->enums[i].name), "value",
                                   hex(field->enums[i].value))))
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *json_fields(const struct vfu_reg *reg)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list && i < reg->nfields; i++) {
        const struct vfu_field *field = &reg->fields[i];

        if (append(list, json_pack("{s:s, s:i, s:i, s:s, s:o, s:o, s:o}", "name", field->name, "lsb", (int)field->lsb,
                                   "width", (int)field->width, "access", regdump_access(field->access), "enums",
                                   json_enums(field), "doc", text_or_null(field->doc), "reset",
                                   hex(regdump_field_reset(reg, field)))))
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *json_flags(const struct vfu_reg *reg)
{
    json_t *list = json_array();
    bool good = list != NULL;

    if (good && (reg->flags & VFU_REG_STICKY))
        good = append(list, json_string("sticky"));
    if (good && (reg->flags & VFU_REG_COMMIT_LAST))
        good = append(list, json_string("commit_last"));
    if (good && (reg->flags & VFU_REG_BIG_ENDIAN))
        good = append(list, json_string("big_endian"));
    if (good)
        return list;
    json_decref(list);
    return NULL;
}

static json_t *json_reg(const struct regdump_view *view, const struct vfu_reg *reg)
{
    const struct vfu_group *group = regdump_group(view, reg);

    return json_pack("{s:s, s:s, s:o, s:i, s:s, s:o, s:o, s:s?, s:o, s:o, s:o, s:o}", "name", reg->name, "region",
                     regdump_region(reg->region), "offset", hex(reg->offset), "size", (int)reg->size, "access",
                     regdump_access(reg->access), "count", reg->count ? json_integer(reg->count) : json_null(),
                     "stride", hex_or_null(reg->count, reg->stride), "group", group ? group->name : NULL, "reset",
                     hex(reg->reset), "doc", text_or_null(reg->doc), "flags", json_flags(reg), "fields",
                     json_fields(reg));
}

static json_t *json_regs(const struct regdump_view *view)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list && i < view->nregs; i++) {
        if (append(list, json_reg(view, &view->regs[i])))
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *json_groups(const struct regdump_view *view)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list && i < view->ngroups; i++) {
        const struct vfu_group *group = &view->groups[i];

        /* The region of a group without registers has not been checked. */
        const char *region = group->region < REGMAP_REGIONS ? regdump_region(group->region) : NULL;

        if (append(list, json_pack("{s:s, s:s?, s:o, s:I, s:o}", "name", group->name, "region", region, "offset",
                                   hex(group->offset), "count", (json_int_t)group->count, "stride",
                                   hex(group->stride))))
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *json_widths(uint8_t widths)
{
    json_t *list = json_array();

    for (int width = 1; list && width <= 8; width *= 2) {
        if (widths && !(widths & width))
            continue;
        if (append(list, json_integer(width)))
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *json_regions(const struct regdump_view *view)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list && i < REGMAP_REGIONS; i++) {
        if (!view->about->region_size[i] ||
            append(list, json_pack("{s:s, s:i, s:o, s:o}", "name", regdump_region(i), "index", (int)i, "size",
                                   hex(view->about->region_size[i]), "widths", json_widths(view->about->widths[i]))))
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *json_root(const struct regdump_view *view)
{
    const struct regdump_device *about = view->about;

    return json_pack("{s:i, s:{s:o, s:o, s:o, s:o}, s:o, s:o, s:o}", "version", 1, "device", "name",
                     text_or_null(about->name), "doc", text_or_null(about->doc), "vendor",
                     json_sprintf("0x%04x", about->vendor), "device", json_sprintf("0x%04x", about->device), "regions",
                     json_regions(view), "groups", json_groups(view), "registers", json_regs(view));
}

json_t *regdump_json(const struct regmap *map, const struct regdump_device *about)
{
    struct regdump_view view = { .about = about };

    if (map) {
        view.regs = regmap_regs(map, &view.nregs);
        view.groups = regmap_groups(map, &view.ngroups);
    }
    return json_root(&view); /* the order of the addresses is not asked for */
}

json_t *regdump_text(const char *text)
{
    return text_or_null(text);
}

static int write_json(FILE *out, const struct regdump_view *view)
{
    json_t *root = json_root(view);
    int err = 0;

    if (!root)
        return -ENOMEM;
    if (json_dumpf(root, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER) != 0 && !ferror(out))
        err = -ENOMEM;
    fputc('\n', out);
    json_decref(root);
    return err;
}

/* ---- dispatch ----------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int (*write)(FILE *out, const struct regdump_view *view);
} writers[] = {
    { "json", write_json },
    { "header", regheader_write },
    { "markdown", regmarkdown_write },
    { "svd", regsvd_write },
};

/* -1, 0 or 1, and on to the next rule if 0. */
static int cmp(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int by_place(const void *a, const void *b, void *arg)
{
    const struct regdump_view *view = arg;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    const struct vfu_reg *x = &view->regs[i], *y = &view->regs[j];
    const struct vfu_group *gx = regdump_group(view, x), *gy = regdump_group(view, y);
    int order = cmp(x->region, y->region);

    if (!order)
        order = cmp(gx ? gx->offset : x->offset, gy ? gy->offset : y->offset);
    if (!order)
        order = cmp(x->group, y->group);
    if (!order)
        order = cmp(x->offset, y->offset);
    return order ? order : cmp(i, j);
}

int regdump(FILE *out, const struct regmap *map, const struct regdump_device *about, const char *format)
{
    struct regdump_view view = { .about = about };
    uint32_t *order, which = 0;
    int err;

    while (which < sizeof writers / sizeof *writers && strcmp(writers[which].name, format) != 0)
        which++;
    if (which == sizeof writers / sizeof *writers) {
        log_error(about->name, "register maps are not written as %.32s", format);
        return -EINVAL;
    }
    if (map) {
        view.regs = regmap_regs(map, &view.nregs);
        view.groups = regmap_groups(map, &view.ngroups);
    }
    order = malloc(((size_t)view.nregs + 1) * sizeof *order);
    if (order) {
        for (uint32_t i = 0; i < view.nregs; i++)
            order[i] = i;
        qsort_r(order, view.nregs, sizeof *order, by_place, &view);
        view.order = order;
        err = writers[which].write(out, &view);
    } else {
        err = -ENOMEM;
    }
    free(order);
    if (err) {
        log_error(about->name, "no memory to write the register map");
    } else if (fflush(out) != 0 || ferror(out)) {
        log_error(about->name, "cannot write the register map: %s", strerror(errno));
        err = -EIO;
    }
    return err;
}
