/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regsvd - the register map as CMSIS-SVD 1.3, which debuggers and generators read. Main's thread.
 *
 * One peripheral for each region that has registers. A region's address is the system's to choose, and SVD wants one
 * that is fixed: the regions are laid behind each other, from 0, each aligned to its size.
 * The order of elements is that of the schema (Open-CMSIS-Pack, CMSIS-SVD.xsd): it takes no other.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/regmap/regdump_private.h"
#include "core/regmap/regtext.h"

struct svd {
    FILE *out;
    const struct regdump_view *view;
    int depth;
};

/* How SVD says what an access kind does. NULL: it is the plain thing. */
static const struct {
    const char *access, *write, *read;
} kinds[REGDUMP_KINDS] = {
    [VFU_ACCESS_INHERIT] = { "read-write", NULL, NULL },
    [VFU_ACCESS_RW] = { "read-write", NULL, NULL },
    [VFU_ACCESS_RO] = { "read-only", NULL, NULL },
    [VFU_ACCESS_WO] = { "write-only", NULL, NULL },
    [VFU_ACCESS_W1C] = { "read-write", "oneToClear", NULL },
    [VFU_ACCESS_W1S] = { "read-write", "oneToSet", NULL },
    [VFU_ACCESS_W1T] = { "read-write", "oneToToggle", NULL },
    [VFU_ACCESS_W0C] = { "read-write", "zeroToClear", NULL },
    [VFU_ACCESS_RC] = { "read-only", NULL, "clear" },
    [VFU_ACCESS_RS] = { "read-only", NULL, "set" },
    [VFU_ACCESS_WONCE] = { "read-writeOnce", NULL, NULL },
    [VFU_ACCESS_RESERVED] = { "read-only", NULL, NULL },
    [VFU_ACCESS_UNIMP] = { "read-only", NULL, NULL },
};

static void indent(const struct svd *svd)
{
    fprintf(svd->out, "%*s", 2 * svd->depth, "");
}

static void open_tag(struct svd *svd, const char *tag)
{
    indent(svd);
    fprintf(svd->out, "<%s>\n", tag);
    svd->depth++;
}

static void close_tag(struct svd *svd, const char *tag)
{
    svd->depth--;
    indent(svd);
    fprintf(svd->out, "</%s>\n", tag);
}

/* <tag>text</tag>, whose text is ours, or made of identifiers. */
__attribute__((format(printf, 3, 4)))
static void element(const struct svd *svd, const char *tag, const char *format, ...)
{
    va_list args;

    indent(svd);
    fprintf(svd->out, "<%s>", tag);
    va_start(args, format);
    vfprintf(svd->out, format, args);
    va_end(args);
    fprintf(svd->out, "</%s>\n", tag);
}

static void hex_element(const struct svd *svd, const char *tag, uint64_t value)
{
    element(svd, tag, "0x%llx", (unsigned long long)value);
}

static void open_description(const struct svd *svd)
{
    indent(svd);
    fputs("<description>", svd->out);
}

static void close_description(const struct svd *svd)
{
    fputs("</description>\n", svd->out);
}

static void description(const struct svd *svd, const char *doc)
{
    if (regtext_blank(doc))
        return;
    open_description(svd);
    regtext_print(svd->out, doc, REGTEXT_XML);
    close_description(svd);
}

/* A description of a register also says what SVD has no element for. */
static void reg_description(const struct svd *svd, const struct vfu_reg *reg)
{
    const char *endian = reg->flags & VFU_REG_BIG_ENDIAN && reg->size > 1 ? "(big endian)" : "";
    const char *unimp = reg->access == VFU_ACCESS_UNIMP ? "(not implemented in the model)" : "";

    if (regtext_blank(reg->doc) && !*endian && !*unimp)
        return;
    open_description(svd);
    regtext_print(svd->out, reg->doc, REGTEXT_XML);
    fprintf(svd->out, "%s%s%s%s", regtext_blank(reg->doc) || (!*endian && !*unimp) ? "" : " ", endian,
            *endian && *unimp ? " " : "", unimp);
    close_description(svd);
}

static int write_enums(struct svd *svd, const struct vfu_field *field)
{
    struct regtext_names names = { NULL };
    int err = 0;

    if (!field->nenums)
        return 0;
    open_tag(svd, "enumeratedValues");
    for (uint32_t i = 0; i < field->nenums && !err; i++) {
        const struct vfu_enum *value = &field->enums[i];
        char *text = regtext_identifier(value->name, false);
        const char *name = text ? regtext_take(&names, "%s%s", *text <= '9' ? "_" : "", text) : NULL;

        if (name) {
            open_tag(svd, "enumeratedValue");
            element(svd, "name", "%s", name);
            if (strcmp(name, value->name) != 0)
                description(svd, value->name);
            hex_element(svd, "value", value->value);
            close_tag(svd, "enumeratedValue");
        } else {
            err = -ENOMEM;
        }
        free(text);
    }
    close_tag(svd, "enumeratedValues");
    regtext_forget(&names);
    return err;
}

/* modifiedWriteValues and readAction. */
static void side_effects(const struct svd *svd, uint32_t access)
{
    if (kinds[access].write)
        element(svd, "modifiedWriteValues", "%s", kinds[access].write);
    if (kinds[access].read)
        element(svd, "readAction", "%s", kinds[access].read);
}

static int write_field(struct svd *svd, const struct vfu_field *field)
{
    int err;

    open_tag(svd, "field");
    element(svd, "name", "%s", field->name);
    description(svd, field->doc);
    element(svd, "bitOffset", "%u", field->lsb);
    element(svd, "bitWidth", "%u", field->width);
    element(svd, "access", "%s", kinds[field->access].access);
    side_effects(svd, field->access);
    err = write_enums(svd, field);
    close_tag(svd, "field");
    return err;
}

/* A register with fields takes what all of them say, or else both ways. */
static const char *reg_access(const struct vfu_reg *reg)
{
    const char *access = kinds[reg->nfields ? reg->fields[0].access : reg->access].access;

    for (uint32_t i = 1; i < reg->nfields; i++) {
        if (strcmp(kinds[reg->fields[i].access].access, access) != 0)
            return kinds[VFU_ACCESS_RW].access;
    }
    return access;
}

/* NAME[%s] is an array in C, whose elements touch; NAME%s is a list of registers by number. */
static void dim_and_name(const struct svd *svd, const char *name, uint32_t count, uint64_t stride, uint64_t size)
{
    if (count) {
        element(svd, "dim", "%u", count);
        hex_element(svd, "dimIncrement", stride);
    }
    element(svd, "name", count ? stride == size ? "%s[%%s]" : "%s%%s" : "%s", name);
}

static int write_reg(struct svd *svd, const struct vfu_reg *reg)
{
    int err = 0;

    open_tag(svd, "register");
    dim_and_name(svd, reg->name, reg->count, reg->stride, reg->size);
    reg_description(svd, reg);
    hex_element(svd, "addressOffset", reg->offset);
    element(svd, "size", "%u", reg->size * 8);
    element(svd, "access", "%s", reg_access(reg));
    hex_element(svd, "resetValue", reg->reset);
    hex_element(svd, "resetMask", regdump_ones(reg->size * 8));
    if (!reg->nfields)
        side_effects(svd, reg->access);
    if (reg->nfields) {
        open_tag(svd, "fields");
        for (uint32_t i = 0; i < reg->nfields && !err; i++)
            err = write_field(svd, &reg->fields[i]);
        close_tag(svd, "fields");
    }
    close_tag(svd, "register");
    return err;
}

/* The registers of a group whose first is at place *at, which is moved behind the last. */
static int write_group(struct svd *svd, const struct vfu_group *group, uint32_t *at)
{
    uint64_t span = regdump_group_span(svd->view, *at), stride = group->stride ? group->stride : span;
    const struct vfu_reg *reg;
    int err = 0;

    open_tag(svd, "cluster");
    /* A member may be padded, but not reach into the next. */
    dim_and_name(svd, group->name, group->count, stride, span <= stride ? stride : 0);
    element(svd, "description", "Group %s of %u", group->name, group->count);
    hex_element(svd, "addressOffset", group->offset);
    while (!err && (reg = regdump_at(svd->view, *at, group->region)) && regdump_group(svd->view, reg) == group) {
        err = write_reg(svd, reg);
        ++*at;
    }
    close_tag(svd, "cluster");
    return err;
}

static int write_peripheral(struct svd *svd, uint32_t region, uint64_t base, uint32_t *at)
{
    const struct vfu_reg *reg;
    char *name = regtext_identifier(regdump_region(region), true);
    int err = 0;

    if (!name)
        return -ENOMEM;
    open_tag(svd, "peripheral");
    element(svd, "name", "%s", name);
    free(name);
    element(svd, "description", "%s. baseAddress only keeps the regions of this file apart: the system chooses the "
            "real one", regdump_title(region));
    hex_element(svd, "baseAddress", base);
    open_tag(svd, "addressBlock");
    hex_element(svd, "offset", 0);
    hex_element(svd, "size", svd->view->about->region_size[region]);
    element(svd, "usage", "registers");
    close_tag(svd, "addressBlock");
    /* Empty in the one peripheral of a device without registers, where the schema forbids it. */
    if (regdump_at(svd->view, *at, region)) {
        open_tag(svd, "registers");
        while (!err && (reg = regdump_at(svd->view, *at, region))) {
            const struct vfu_group *group = regdump_group(svd->view, reg);

            if (group) {
                err = write_group(svd, group, at);
            } else {
                err = write_reg(svd, reg);
                ++*at;
            }
        }
        close_tag(svd, "registers");
    }
    close_tag(svd, "peripheral");
    return err;
}

/* The schema wants at least one peripheral: config space, which every device has, if there are no registers. */
static int write_peripherals(struct svd *svd)
{
    const uint64_t *sizes = svd->view->about->region_size;
    uint64_t base = 0;
    uint32_t at = 0;
    int err = 0;

    open_tag(svd, "peripherals");
    for (uint32_t i = 0; i < REGMAP_REGIONS && !err; i++) {
        if (!regdump_at(svd->view, at, i) && (svd->view->nregs || i != VFU_REGION_CONFIG))
            continue;
        base = sizes[i] ? (base + sizes[i] - 1) / sizes[i] * sizes[i] : base;
        err = write_peripheral(svd, i, base, &at);
        base += sizes[i];
    }
    close_tag(svd, "peripherals");
    return err;
}

static void write_device(struct svd *svd)
{
    const struct regdump_device *about = svd->view->about;
    uint32_t width = 32;

    for (uint32_t i = 0; i < svd->view->nregs; i++) {
        if (svd->view->regs[i].size == 8)
            width = 64;
    }
    open_description(svd);
    regtext_print(svd->out, regtext_blank(about->doc) ? about->name : about->doc, REGTEXT_XML);
    fprintf(svd->out, " (PCI %04x:%04x)", about->vendor, about->device);
    close_description(svd);
    element(svd, "addressUnitBits", "8");
    element(svd, "width", "%u", width);
}

int regsvd_write(FILE *out, const struct regdump_view *view)
{
    struct svd svd = { .out = out, .view = view, .depth = 1 };
    char *name = regtext_identifier(view->about->name, false);
    int err;

    if (!name)
        return -ENOMEM;
    fprintf(out, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
                 "<device schemaVersion=\"1.3\" xmlns:xs=\"http://www.w3.org/2001/XMLSchema-instance\" "
                 "xs:noNamespaceSchemaLocation=\"CMSIS-SVD.xsd\">\n");
    element(&svd, "name", "%s%s", *name <= '9' ? "_" : "", name);
    element(&svd, "version", "1.0");
    free(name);
    write_device(&svd);
    err = write_peripherals(&svd);
    fprintf(out, "</device>\n");
    return err;
}
