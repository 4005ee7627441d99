/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regheader - the register map as a C header, for drivers and tests: C99 and C++11. Main's thread.
 *
 * A macro's name is made of the device's, the group's, the register's and the field's, in upper case. Two that come out
 * alike (ctrl and CTRL; the register CH_CTRL and the register CTRL of the group CH) are told apart by a number.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>

#include "core/regmap/regdump_private.h"
#include "core/regmap/regtext.h"

struct header {
    FILE *out;
    const struct regdump_view *view;
    const char *prefix;          /* of all macros */
    struct regtext_names macros; /* what has been defined */
    struct regtext_names stems;  /* what the macros of a register, or group, begin with */
};

/* "#define NAME", to be gone on with. False: no memory. */
#define DEFINE(h, ...) define(h, regtext_take(&(h)->macros, __VA_ARGS__))
static bool define(struct header *h, const char *name)
{
    if (name)
        fprintf(h->out, "#define %s", name);
    return name != NULL;
}

static void print_number(FILE *out, uint64_t value, bool wide)
{
    fprintf(out, "0x%llx%s", (unsigned long long)value, wide ? "ull" : "u");
}

static const char *upper(char **name, const char *text)
{
    return *name = regtext_identifier(text, true);
}

/* The rest of a comment: ", rw. What it is for." */
static void end_comment(FILE *out, uint32_t access, uint32_t flags, const char *doc)
{
    fprintf(out, ", %s%s%s", regdump_access(access), flags & VFU_REG_BIG_ENDIAN ? ", big endian" : "",
            regtext_blank(doc) ? "" : ". ");
    regtext_print(out, doc, REGTEXT_COMMENT);
    fputs(" */\n", out);
}

static int write_enums(struct header *h, const struct vfu_reg *reg, const struct vfu_field *field, const char *stem)
{
    for (uint32_t i = 0; i < field->nenums; i++) {
        char *name;
        bool good = upper(&name, field->enums[i].name) && DEFINE(h, "%s_%s", stem, name);

        free(name);
        if (!good)
            return -ENOMEM;
        fputc(' ', h->out);
        print_number(h->out, field->enums[i].value, reg->size == 8);
        fputc('\n', h->out);
    }
    return 0;
}

static int write_field(struct header *h, const struct vfu_reg *reg, const struct vfu_field *field, const char *stem)
{
    uint32_t msb = field->lsb + field->width - 1u;

    if (field->width == 1)
        fprintf(h->out, "/* %s: bit %u", field->name, field->lsb);
    else
        fprintf(h->out, "/* %s: bits %u-%u", field->name, field->lsb, msb);
    end_comment(h->out, field->access, 0, field->doc);
    if (!DEFINE(h, "%s_SHIFT", stem))
        return -ENOMEM;
    fprintf(h->out, " %u\n", field->lsb);
    if (!DEFINE(h, "%s_MASK", stem))
        return -ENOMEM;
    fputc(' ', h->out);
    print_number(h->out, regdump_ones(field->width) << field->lsb, reg->size == 8);
    fputc('\n', h->out);
    return write_enums(h, reg, field, stem);
}

static int write_fields(struct header *h, const struct vfu_reg *reg, const char *stem)
{
    struct regtext_names names = { NULL };
    int err = 0;

    for (uint32_t i = 0; i < reg->nfields && !err; i++) {
        char *name;
        const char *whole = upper(&name, reg->fields[i].name) ? regtext_take(&names, "%s_%s", stem, name) : NULL;

        free(name);
        err = whole ? write_field(h, reg, &reg->fields[i], whole) : -ENOMEM;
    }
    regtext_forget(&names);
    return err;
}

/* "(n, i) (0x100u + 0x10u * (n) + 0x4u * (i))", or " 0x100u" for what there is one of. */
static void print_place(FILE *out, uint64_t base, const struct vfu_group *group, uint64_t count, uint64_t stride)
{
    uint64_t last = base + (group ? (group->count - 1) * group->stride : 0) + (count ? (count - 1) * stride : 0);
    bool wide = last > UINT32_MAX || stride > UINT32_MAX || (group && group->stride > UINT32_MAX);

    if (group || count)
        fprintf(out, "(%s%s%s) (", group ? "n" : "", group && count ? ", " : "", count ? "i" : "");
    else
        fputc(' ', out);
    print_number(out, base, wide);
    if (group) {
        fputs(" + ", out);
        print_number(out, group->stride, wide);
        fputs(" * (n)", out);
    }
    if (count) {
        fputs(" + ", out);
        print_number(out, stride, wide);
        fputs(" * (i)", out);
    }
    fputs(group || count ? ")\n" : "\n", out);
}

static int write_reg(struct header *h, const struct vfu_reg *reg, const char *group_stem)
{
    const struct vfu_group *group = regdump_group(h->view, reg);
    char *name;
    const char *stem = NULL;

    if (upper(&name, reg->name))
        stem = regtext_take(&h->stems, "%s_%s", group ? group_stem : h->prefix, name);
    free(name);
    if (!stem)
        return -ENOMEM;
    fprintf(h->out, "\n/* %s%s%s%s: %s, %u byte%s", group ? group->name : "", group ? "[n]." : "", reg->name,
            reg->count ? "[i]" : "", regdump_region(reg->region), reg->size, reg->size == 1 ? "" : "s");
    end_comment(h->out, reg->access, reg->flags, reg->doc);
    if (!DEFINE(h, "%s_OFFSET", stem))
        return -ENOMEM;
    print_place(h->out, (group ? group->offset : 0) + reg->offset, group, reg->count, reg->stride);
    if (reg->count) {
        if (!DEFINE(h, "%s_COUNT", stem))
            return -ENOMEM;
        fprintf(h->out, " %uu\n", reg->count);
    }
    if (!DEFINE(h, "%s_RESET", stem))
        return -ENOMEM;
    fputc(' ', h->out);
    print_number(h->out, reg->reset, reg->size == 8);
    fputc('\n', h->out);
    return write_fields(h, reg, stem);
}

/* *stem becomes what the names of its registers begin with. */
static int write_group(struct header *h, const struct vfu_group *group, const char **stem)
{
    char *name;

    *stem = upper(&name, group->name) ? regtext_take(&h->stems, "%s_%s", h->prefix, name) : NULL;
    free(name);
    if (!*stem)
        return -ENOMEM;
    fprintf(h->out, "\n/* %s[n]: %s, n from 0 to %u */\n", group->name, regdump_region(group->region),
            group->count - 1);
    if (!DEFINE(h, "%s_OFFSET", *stem))
        return -ENOMEM;
    print_place(h->out, group->offset, group, 0, 0);
    if (!DEFINE(h, "%s_COUNT", *stem))
        return -ENOMEM;
    fprintf(h->out, " %uu\n", group->count);
    return 0;
}

static int write_regs(struct header *h)
{
    const struct regdump_view *view = h->view;
    const struct vfu_group *last = NULL;
    const char *stem = NULL;
    int err = 0;

    for (uint32_t i = 0; i < view->nregs && !err; i++) {
        const struct vfu_reg *reg = &view->regs[view->order[i]];
        const struct vfu_group *group = regdump_group(view, reg);

        if (group && group != last)
            err = write_group(h, group, &stem);
        last = group;
        if (!err)
            err = write_reg(h, reg, stem);
    }
    return err;
}

static int write_device(struct header *h)
{
    const struct regdump_device *about = h->view->about;

    if (!DEFINE(h, "%s_VENDOR_ID", h->prefix))
        return -ENOMEM;
    fprintf(h->out, " 0x%04xu\n", about->vendor);
    if (!DEFINE(h, "%s_DEVICE_ID", h->prefix))
        return -ENOMEM;
    fprintf(h->out, " 0x%04xu\n", about->device);
    for (uint32_t i = 0; i < REGMAP_REGIONS; i++) {
        char *name;
        bool good;

        if (!about->region_size[i])
            continue;
        good = upper(&name, regdump_region(i)) && DEFINE(h, "%s_%s_SIZE", h->prefix, name);
        free(name);
        if (!good)
            return -ENOMEM;
        fputc(' ', h->out);
        print_number(h->out, about->region_size[i], about->region_size[i] > UINT32_MAX);
        fputc('\n', h->out);
    }
    return 0;
}

/* What every macro begins with. To be freed; NULL: no memory. */
static char *make_prefix(const char *device)
{
    char *name = regtext_identifier(device, true), *prefix = NULL;
    const char *start = name;

    while (start && *start == '_') /* reserved for the compiler */
        start++;
    if (start && asprintf(&prefix, "%s%s", !*start || *start <= '9' ? "DEVICE" : "", start) < 0)
        prefix = NULL;
    free(name);
    return prefix;
}

static void write_top(FILE *out, const struct regdump_device *about, const char *guard)
{
    fprintf(out, "/*\n * Registers of ");
    regtext_print(out, about->name, REGTEXT_COMMENT);
    fputs(regtext_blank(about->doc) ? "" : ": ", out);
    regtext_print(out, about->doc, REGTEXT_COMMENT);
    fprintf(out, "\n *\n"
                 " * Written from the register map by vfu-host --dump=header. Offsets are bytes from the start of a\n"
                 " * region. A _MASK is where its field is in the register; _RESET is of the whole register; named\n"
                 " * values of a field are to be shifted by its _SHIFT. n counts in a group, i in an array, from 0.\n"
                 " */\n#ifndef %s\n#define %s\n\n", guard, guard);
}

int regheader_write(FILE *out, const struct regdump_view *view)
{
    struct header h = { .out = out, .view = view };
    char *prefix = make_prefix(view->about->name);
    /* The first one taken: nothing can have it already. */
    const char *guard = prefix ? regtext_take(&h.macros, "%s_REGISTERS_H", prefix) : NULL;
    int err = -ENOMEM;

    h.prefix = prefix;
    if (guard) {
        write_top(out, view->about, guard);
        err = write_device(&h);
    }
    if (!err)
        err = write_regs(&h);
    if (!err)
        fprintf(out, "\n#endif\n");
    regtext_forget(&h.macros);
    regtext_forget(&h.stems);
    free(prefix);
    return err;
}
