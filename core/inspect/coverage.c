/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * coverage - counts accesses of registers and runs of hooks, and reports them: see coverage.h. Runs on the device's
 * thread; when that has ended, on main's. Counters stay until the device goes: a hook that is running may be told to
 * count no more.
 */
#include "core/inspect/coverage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/device/device.h"
#include "core/regmap/regtext.h"
#include "core/inspect/trace.h"
#include "core/inspect/watch.h"

#define SMALL_BITS 6u /* the values of fields up to so wide are told apart */
#define SEEN 64u
#define OTHER (SEEN - 1)

struct cell_count {
    uint64_t reads, writes;
    uint64_t hook_reads, hook_writes;
    uint8_t widths; /* 1, 2, 4, 8, as bits */
};

struct field_count {
    uint64_t seen; /* values; with enums by their index, OTHER: none of them */
    bool read, written;
};

struct coverage {
    struct regmap *map;
    bool on;
    struct cell_count *cells;
    struct field_count *fields;
    uint32_t *first; /* by register: how many fields all instances of those before it have */
    uint32_t nfields;
    /* The map's own hooks while it is on; ours while it is off. */
    struct vfu_regmap_ops ops;
    void *self;
};

/* ---- hooks -------------------------------------------------------------------------------------------------- */

static struct cell_count *count_of(struct coverage *coverage, const struct vfu_reg_call *call)
{
    return &coverage->cells[regmap_place(coverage->map,
                                         regmap_instance(coverage->map, call->reg, call->index, call->group_index))];
}

static int32_t hook_read(void *self, struct vfu_reg_call *call)
{
    struct coverage *coverage = self;

    count_of(coverage, call)->hook_reads++;
    return coverage->ops.read(coverage->self, call);
}

static int32_t hook_write(void *self, struct vfu_reg_call *call)
{
    struct coverage *coverage = self;

    count_of(coverage, call)->hook_writes++;
    return coverage->ops.write(coverage->self, call);
}

static int32_t hook_locked(void *self, uint32_t hook, const struct vfu_reg_call *call)
{
    struct coverage *coverage = self;

    return coverage->ops.locked(coverage->self, hook, call);
}

/* ---- counting ----------------------------------------------------------------------------------------------- */

static uint32_t instances(const struct regmap *map, const struct vfu_reg *reg)
{
    uint32_t n;
    const struct vfu_group *groups = regmap_groups(map, &n);

    return (reg->count ? reg->count : 1) * (reg->group == VFU_NONE ? 1 : groups[reg->group].count);
}

int coverage_new(struct coverage **out, struct regmap *map)
{
    struct coverage *coverage = calloc(1, sizeof *coverage);
    uint32_t nregs, ncells = regmap_count(map);
    const struct vfu_reg *regs = regmap_regs(map, &nregs);

    if (!coverage)
        return -ENOMEM;
    coverage->map = map;
    coverage->first = calloc((size_t)nregs + 1, sizeof *coverage->first);
    coverage->cells = calloc((size_t)ncells + 1, sizeof *coverage->cells);
    for (uint32_t i = 0; coverage->first && i < nregs; i++) {
        coverage->first[i] = coverage->nfields;
        coverage->nfields += regs[i].nfields * instances(map, &regs[i]); /* at most 64 of each of 1 Mi */
    }
    coverage->fields = calloc((size_t)coverage->nfields + 1, sizeof *coverage->fields);
    if (!coverage->first || !coverage->cells || !coverage->fields) {
        coverage_free(coverage);
        return -ENOMEM;
    }
    *out = coverage;
    return 0;
}

void coverage_free(struct coverage *coverage)
{
    if (!coverage)
        return;
    coverage_switch(coverage, false);
    free(coverage->first);
    free(coverage->cells);
    free(coverage->fields);
    free(coverage);
}

bool coverage_on(const struct coverage *coverage)
{
    return coverage && coverage->on;
}

void coverage_switch(struct coverage *coverage, bool on)
{
    if (on == coverage->on)
        return;
    if (on) {
        struct vfu_regmap_ops none = { 0 };
        void *nobody = NULL;

        /* A look at what there is, so that a hook that is missing stays missing. */
        regmap_swap(coverage->map, &none, &nobody);
        coverage->ops.struct_size = sizeof coverage->ops;
        coverage->ops.read = none.read ? hook_read : NULL;
        coverage->ops.write = none.write ? hook_write : NULL;
        coverage->ops.locked = none.locked ? hook_locked : NULL;
        coverage->self = coverage;
        regmap_swap(coverage->map, &coverage->ops, &coverage->self);
        coverage->ops = none;
        coverage->self = nobody;
    } else {
        struct vfu_regmap_ops ops = coverage->ops;
        void *self = coverage->self;

        regmap_swap(coverage->map, &ops, &self);
    }
    coverage->on = on;
}

void coverage_reset(struct coverage *coverage)
{
    memset(coverage->cells, 0, (size_t)regmap_count(coverage->map) * sizeof *coverage->cells);
    memset(coverage->fields, 0, (size_t)coverage->nfields * sizeof *coverage->fields);
}

static const struct vfu_reg *reg_of(const struct coverage *coverage, const struct reg_cell *cell);
static struct field_count *fields_of(const struct coverage *coverage, const struct reg_cell *cell);

/* Values are told apart by their place among the enums: they mean the same only in a field that is the same. */
static bool same_field(const struct vfu_field *a, const struct vfu_field *b)
{
    if (strcmp(a->name, b->name) != 0 || a->width != b->width || a->nenums != b->nenums)
        return false;
    for (uint32_t i = 0; i < a->nenums; i++) {
        if (a->enums[i].value != b->enums[i].value)
            return false;
    }
    return true;
}

static void carry_cell(struct coverage *to, const struct coverage *from, uint32_t place)
{
    const struct reg_cell *old = regmap_cell(from->map, place), *cell;
    const struct vfu_reg *was = reg_of(from, old), *is;
    const struct vfu_field *field;
    char name[REGMAP_NAME_LEN];

    regmap_name(from->map, old, name, sizeof name);
    cell = regmap_by_name(to->map, name, &field);
    if (!cell)
        return;
    is = reg_of(to, cell);
    to->cells[regmap_place(to->map, cell)] = from->cells[place];
    for (uint32_t i = 0; i < was->nfields; i++) {
        for (uint32_t k = 0; k < is->nfields; k++) {
            if (same_field(&was->fields[i], &is->fields[k]))
                fields_of(to, cell)[k] = fields_of(from, old)[i];
        }
    }
}

int coverage_carry(struct coverage **coverage, struct regmap *map)
{
    struct coverage *from = *coverage, *to;
    bool on = from->on;
    int error = coverage_new(&to, map);

    if (error)
        return error;
    for (uint32_t i = 0; i < regmap_count(from->map); i++) {
        const struct cell_count *count = &from->cells[i];

        if (count->reads || count->writes)
            carry_cell(to, from, i);
    }
    coverage_free(from);
    coverage_switch(to, on);
    *coverage = to;
    return 0;
}

static const struct vfu_reg *reg_of(const struct coverage *coverage, const struct reg_cell *cell)
{
    uint32_t n;

    return &regmap_regs(coverage->map, &n)[cell->reg];
}

/* The fields' counters of an instance. */
static struct field_count *fields_of(const struct coverage *coverage, const struct reg_cell *cell)
{
    return &coverage->fields[coverage->first[cell->reg] + cell->nr * reg_of(coverage, cell)->nfields];
}

static void saw(struct field_count *count, const struct vfu_field *field, uint64_t value)
{
    uint32_t i = 0;

    if (field->nenums) {
        while (i < field->nenums && i < OTHER && field->enums[i].value != value)
            i++;
        count->seen |= UINT64_C(1) << (i < field->nenums ? i : OTHER);
    } else if (field->width <= SMALL_BITS) {
        count->seen |= UINT64_C(1) << value;
    }
}

void coverage_access(struct coverage *coverage, const struct reg_cell *cell, uint64_t offset, uint32_t size,
                     uint32_t width, const uint8_t *bytes, bool write)
{
    struct cell_count *count = &coverage->cells[regmap_place(coverage->map, cell)];
    const struct vfu_reg *reg = reg_of(coverage, cell);
    struct field_count *fields = fields_of(coverage, cell);
    uint64_t lanes, bits = trace_bits(reg, cell, offset, size, bytes, &lanes);

    *(write ? &count->writes : &count->reads) += 1;
    count->widths |= (uint8_t)(width <= 8 && !(width & (width - 1)) ? width : size);
    for (uint32_t i = 0; i < reg->nfields; i++) {
        const struct vfu_field *field = &reg->fields[i];
        uint64_t mask = UINT64_MAX >> (64 - field->width) << field->lsb;

        if (!(mask & lanes))
            continue;
        *(write ? &fields[i].written : &fields[i].read) = true;
        if ((mask & lanes) == mask)
            saw(&fields[i], field, (bits & mask) >> field->lsb);
    }
}

/* ---- reports ------------------------------------------------------------------------------------------------ */

struct summary {
    uint32_t registers, registers_touched, fields, fields_touched, hooks, hooks_run, left_out;
};

static json_t *text(const char *bytes)
{
    char *valid = regtext_utf8(bytes);
    json_t *string = valid ? json_string(valid) : NULL;

    free(valid);
    return string;
}

static json_t *report_widths(uint8_t widths)
{
    json_t *list = json_array();

    for (int width = 1; list && width <= 8; width *= 2)
        if (widths & width)
            json_array_append_new(list, json_integer(width));
    return list;
}

static json_t *report_values(const struct vfu_field *field, const struct field_count *count)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list && i < SEEN; i++) {
        if (!(count->seen >> i & 1))
            continue;
        if (!field->nenums)
            json_array_append_new(list, json_integer(i));
        else
            json_array_append_new(list, i < field->nenums && i != OTHER ? text(field->enums[i].name)
                                                                        : json_string("other"));
    }
    return list;
}

static json_t *report_fields(const struct vfu_reg *reg, const struct field_count *counts, struct summary *sum)
{
    static const struct field_count none;
    json_t *list = json_array();

    for (uint32_t i = 0; list && i < reg->nfields; i++) {
        const struct field_count *count = counts ? &counts[i] : &none;

        sum->fields++;
        sum->fields_touched += count->read || count->written;
        if (json_array_append_new(list, json_pack("{s:o, s:b, s:b, s:o}", "name", text(reg->fields[i].name), "read",
                                                  count->read, "written", count->written, "values",
                                                  report_values(&reg->fields[i], count))) == 0)
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *report_register(const struct regmap *map, const struct coverage *coverage, uint32_t place,
                               struct summary *sum)
{
    static const struct cell_count none;
    const struct reg_cell *cell = regmap_cell(map, place);
    const struct cell_count *count = coverage ? &coverage->cells[place] : &none;
    uint32_t n;
    const struct vfu_reg *reg = &regmap_regs(map, &n)[cell->reg];
    bool touched = count->reads || count->writes;
    char name[REGMAP_NAME_LEN], region[24];

    sum->registers++;
    sum->registers_touched += touched;
    if (!touched && regmap_count(map) > COVERAGE_ALL && (reg->count || reg->group != VFU_NONE)) {
        sum->fields += reg->nfields;
        sum->left_out++;
        return json_null();
    }
    regmap_name(map, cell, name, sizeof name);
    return json_pack("{s:o, s:s, s:I, s:I, s:I, s:o, s:{s:I, s:I}, s:o}", "name", text(name), "region",
                     unmodelled_region(reg->region, region), "offset", (json_int_t)cell->offset, "reads", (json_int_t)count->reads,
                     "writes", (json_int_t)count->writes, "widths", report_widths(count->widths), "hooks", "read",
                     (json_int_t)count->hook_reads, "write", (json_int_t)count->hook_writes, "fields",
                     report_fields(reg, coverage ? fields_of(coverage, cell) : NULL, sum));
}

static json_t *report_registers(const struct regmap *map, const struct coverage *coverage, struct summary *sum)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list && i < regmap_count(map); i++) {
        json_t *item = report_register(map, coverage, i, sum);

        if (item && (json_is_null(item) || json_array_append_new(list, item) == 0))
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

/* Hooks of the map, and those that ran for any instance of their register. False: no memory. */
static bool sum_hooks(const struct regmap *map, const struct coverage *coverage, struct summary *sum)
{
    uint32_t nregs;
    const struct vfu_reg *regs = regmap_regs(map, &nregs);
    uint8_t *ran = calloc((size_t)nregs + 1, 1);

    if (!ran)
        return false;
    for (uint32_t i = 0; coverage && i < regmap_count(map); i++) {
        ran[regmap_cell(map, i)->reg] |= (uint8_t)((coverage->cells[i].hook_reads ? VFU_REG_HOOK_READ : 0) |
                                                   (coverage->cells[i].hook_writes ? VFU_REG_HOOK_WRITE : 0));
    }
    for (uint32_t i = 0; i < nregs; i++) {
        for (uint32_t hook = VFU_REG_HOOK_READ; hook <= VFU_REG_HOOK_WRITE; hook *= 2) {
            sum->hooks += (regs[i].flags & hook) != 0;
            sum->hooks_run += (ran[i] & hook) != 0;
        }
    }
    free(ran);
    return true;
}

static json_t *report_unmodelled(const struct unmodelled *u)
{
    json_t *list = json_array();

    for (uint32_t i = 0; list && i < u->n; i++) {
        const struct unmodelled_entry *entry = &u->entries[i];
        char region[24], why[80];

        unmodelled_why(entry, why, sizeof why);
        /* An offset that no region has may be beyond what JSON readers take for a number. */
        if (json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I, s:I, s:o, s:s}", "region",
                                                  unmodelled_region(entry->region, region), "offset",
                                                  (json_int_t)(entry->offset & INT64_MAX), "size", (json_int_t)entry->size,
                                                  "reads", (json_int_t)entry->reads, "writes", (json_int_t)entry->writes,
                                                  "first", json_sprintf("%#llx", (unsigned long long)entry->first),
                                                  "why", why)) == 0)
            continue;
        json_decref(list);
        return NULL;
    }
    return list;
}

json_t *coverage_report(const struct device *dev)
{
    const struct coverage *coverage = dev->watch.coverage;
    struct summary sum = { 0 };
    json_t *registers = report_registers(dev->map, coverage, &sum);
    json_t *unmodelled = report_unmodelled(&dev->watch.unmodelled);

    if (!sum_hooks(dev->map, coverage, &sum)) {
        json_decref(registers);
        json_decref(unmodelled);
        return NULL;
    }
    return json_pack("{s:b, s:o, s:I, s:{s:I, s:I, s:I, s:I, s:I, s:I}, s:o, s:I}", "on", coverage_on(coverage),
                     "registers", registers, "left_out", (json_int_t)sum.left_out, "summary", "registers",
                     (json_int_t)sum.registers, "registers_touched", (json_int_t)sum.registers_touched, "fields",
                     (json_int_t)sum.fields, "fields_touched", (json_int_t)sum.fields_touched, "hooks",
                     (json_int_t)sum.hooks, "hooks_run", (json_int_t)sum.hooks_run, "unmodelled", unmodelled,
                     "unmodelled_more", (json_int_t)dev->watch.unmodelled.more);
}

/* ---- the control socket ------------------------------------------------------------------------------------- */

static int refuse(json_t *reply, int error, const char *why)
{
    json_object_set_new(reply, "error", json_string(why));
    return error;
}

int coverage_control(struct device *dev, const json_t *request, json_t *reply)
{
    const json_t *on = json_object_get(request, "on"), *reset = json_object_get(request, "reset");
    json_t *report;

    if ((on && !json_is_boolean(on)) || (reset && !json_is_boolean(reset)))
        return refuse(reply, -EINVAL, "coverage takes \"on\" and \"reset\", each of them true or false");
    if (on) {
        if (json_is_true(on) && !dev->watch.coverage && coverage_new(&dev->watch.coverage, dev->map))
            return refuse(reply, -ENOMEM, "there is no memory for the counters of so many registers");
        if (dev->watch.coverage)
            coverage_switch(dev->watch.coverage, json_is_true(on));
        watch_switch(dev);
    }
    report = coverage_report(dev);
    if (!report || json_object_set_new(reply, "coverage", report))
        return refuse(reply, -ENOMEM, "there is no memory for the report");
    if (json_is_true(reset)) {
        if (dev->watch.coverage)
            coverage_reset(dev->watch.coverage);
        unmodelled_forget(&dev->watch.unmodelled);
    }
    return 0;
}
