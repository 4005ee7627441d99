/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regmarkdown - the register map as a page to read: a table of registers for each region, one of fields for each
 * register that has them, and what the access kinds mean. Main's thread.
 */
#include <stdlib.h>

#include "core/regmap/regdump_private.h"
#include "core/regmap/regtext.h"

static const char *const meanings[REGDUMP_KINDS] = {
    [VFU_ACCESS_RW] = "read and write",
    [VFU_ACCESS_RO] = "read-only, writes are ignored",
    [VFU_ACCESS_WO] = "write-only, reads 0",
    [VFU_ACCESS_W1C] = "writing 1 clears a bit",
    [VFU_ACCESS_W1S] = "writing 1 sets a bit",
    [VFU_ACCESS_W1T] = "writing 1 toggles a bit",
    [VFU_ACCESS_W0C] = "writing 0 clears a bit",
    [VFU_ACCESS_RC] = "read-only, a read clears it",
    [VFU_ACCESS_RS] = "read-only, a read sets it",
    [VFU_ACCESS_WONCE] = "the first write after a reset counts, later ones are ignored",
    [VFU_ACCESS_RESERVED] = "reserved: no function, writes are ignored",
    [VFU_ACCESS_UNIMP] = "not implemented in the model: reads its reset value, writes are ignored",
};

struct page {
    FILE *out;
    const struct regdump_view *view;
    uint32_t kinds; /* that were met, a bit each */
};

static const char *access_of(struct page *page, uint32_t access)
{
    page->kinds |= 1u << (access ? access : VFU_ACCESS_RW);
    return regdump_access(access);
}

/* `CH[n].RING[i]`: names are identifiers, and need no escape. */
static void print_name(const struct page *page, const struct vfu_reg *reg)
{
    const struct vfu_group *group = regdump_group(page->view, reg);

    fprintf(page->out, "`%s%s%s%s`", group ? group->name : "", group ? "[n]." : "", reg->name, reg->count ? "[i]" : "");
}

static void print_offset(const struct page *page, const struct vfu_reg *reg)
{
    const struct vfu_group *group = regdump_group(page->view, reg);

    fprintf(page->out, "`0x%llx", (unsigned long long)((group ? group->offset : 0) + reg->offset));
    if (group)
        fprintf(page->out, " + n * 0x%llx", (unsigned long long)group->stride);
    if (reg->count)
        fprintf(page->out, " + i * 0x%llx", (unsigned long long)reg->stride);
    fputc('`', page->out);
}

/* What the text does not say, behind it. */
static void print_notes(const struct page *page, const struct vfu_reg *reg, const char *doc)
{
    const struct vfu_group *group = regdump_group(page->view, reg);
    const char *gap = regtext_blank(doc) ? "" : "; ";

    regtext_print(page->out, doc, REGTEXT_MARKDOWN);
    if (group) {
        fprintf(page->out, "%sn from 0 to %u", gap, group->count - 1);
        gap = "; ";
    }
    if (reg->count) {
        fprintf(page->out, "%si from 0 to %u", gap, reg->count - 1);
        gap = "; ";
    }
    if (reg->flags & VFU_REG_BIG_ENDIAN) {
        fprintf(page->out, "%sbig endian", gap);
        gap = "; ";
    }
    if (reg->flags & VFU_REG_STICKY)
        fprintf(page->out, "%skeeps its value over a reset", gap);
}

static void write_regs(struct page *page, uint32_t at, uint32_t region)
{
    const struct vfu_reg *reg;

    fprintf(page->out, "| Offset | Name | Size | Access | Reset | Description |\n"
                       "| --- | --- | --- | --- | --- | --- |\n");
    while ((reg = regdump_at(page->view, at++, region))) {
        fprintf(page->out, "| ");
        print_offset(page, reg);
        fprintf(page->out, " | ");
        print_name(page, reg);
        fprintf(page->out, " | %u | %s | `0x%llx` | ", reg->size, access_of(page, reg->access),
                (unsigned long long)reg->reset);
        print_notes(page, reg, reg->doc);
        fprintf(page->out, " |\n");
    }
}

static void print_enums(FILE *out, const struct vfu_field *field)
{
    for (uint32_t i = 0; i < field->nenums; i++) {
        fprintf(out, "%s`0x%llx` ", i ? ", " : regtext_blank(field->doc) ? "" : ": ",
                (unsigned long long)field->enums[i].value);
        regtext_print(out, field->enums[i].name, REGTEXT_MARKDOWN);
    }
}

static void write_field(struct page *page, const struct vfu_reg *reg, const struct vfu_field *field)
{
    if (field->width == 1)
        fprintf(page->out, "| %u", field->lsb);
    else
        fprintf(page->out, "| %u:%u", field->lsb + field->width - 1u, field->lsb);
    fprintf(page->out, " | `%s` | %s | `0x%llx` | ", field->name, access_of(page, field->access),
            (unsigned long long)regdump_field_reset(reg, field));
    regtext_print(page->out, field->doc, REGTEXT_MARKDOWN);
    print_enums(page->out, field);
    fprintf(page->out, " |\n");
}

/* The highest bits first, as data sheets have them. They do not overlap. */
static int highest_first(const void *a, const void *b)
{
    const struct vfu_field *x = *(const struct vfu_field *const *)a, *y = *(const struct vfu_field *const *)b;

    return (x->lsb < y->lsb) - (x->lsb > y->lsb);
}

static void write_fields(struct page *page, const struct vfu_reg *reg)
{
    const struct vfu_field *fields[64]; /* the map has no register with more */
    uint64_t covered = 0;

    for (uint32_t i = 0; i < reg->nfields; i++) {
        fields[i] = &reg->fields[i];
        covered |= regdump_ones(fields[i]->width) << fields[i]->lsb;
    }
    qsort(fields, reg->nfields, sizeof *fields, highest_first);
    fprintf(page->out, "\n### ");
    print_name(page, reg);
    fprintf(page->out, "\n\n| Bits | Name | Access | Reset | Description |\n| --- | --- | --- | --- | --- |\n");
    for (uint32_t i = 0; i < reg->nfields; i++)
        write_field(page, reg, fields[i]);
    if (covered != regdump_ones(reg->size * 8))
        fprintf(page->out, "\nAll other bits are reserved.\n");
}

static void write_region(struct page *page, uint32_t *at, uint32_t region)
{
    const struct vfu_reg *reg;

    fprintf(page->out, "\n## %s\n\n0x%llx bytes%s.\n", regdump_title(region),
            (unsigned long long)page->view->about->region_size[region],
            regdump_at(page->view, *at, region) ? "" : ", no registers");
    if (!regdump_at(page->view, *at, region))
        return;
    fputc('\n', page->out);
    write_regs(page, *at, region);
    for (; (reg = regdump_at(page->view, *at, region)); ++*at) {
        if (reg->nfields)
            write_fields(page, reg);
    }
}

static void write_kinds(const struct page *page)
{
    if (!page->kinds)
        return;
    fprintf(page->out, "\n## Access\n\n| Access | Meaning |\n| --- | --- |\n");
    for (uint32_t i = 0; i < REGDUMP_KINDS; i++) {
        if (page->kinds & (1u << i))
            fprintf(page->out, "| %s | %s |\n", regdump_access(i), meanings[i]);
    }
}

int regmarkdown_write(FILE *out, const struct regdump_view *view)
{
    struct page page = { .out = out, .view = view };
    const struct regdump_device *about = view->about;
    uint32_t at = 0;

    fprintf(out, "# ");
    regtext_print(out, about->name, REGTEXT_MARKDOWN);
    /* The text is not the line's beginning, where it could begin a list. */
    fprintf(out, "\n\nPCI device %04x:%04x%s", about->vendor, about->device, regtext_blank(about->doc) ? "." : ": ");
    regtext_print(out, about->doc, REGTEXT_MARKDOWN);
    fputc('\n', out);
    for (uint32_t i = 0; i < REGMAP_REGIONS; i++) {
        /* A device always has config space; only some have registers in it. */
        if (about->region_size[i] && (i != VFU_REGION_CONFIG || regdump_at(view, at, i)))
            write_region(&page, &at, i);
    }
    write_kinds(&page);
    return 0;
}
