/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unit test of core/regcheck and regbuild: which register maps are refused, with what words, and what plugins of other
 * SDKs hand over. One thread.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include <vfu/plugin.h>

#include "core/regmap/regmap.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define LONG_NAME                                                                                                      \
    "A23456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890" \
    "1234567"

static const uint64_t sizes[REGMAP_REGIONS] = { 4096, UINT64_C(1) << 62, 0, 0, 0, 0, 2048, 256 };

/* regmap_new, and what it writes to standard error. */
static int try_map(const struct vfu_regmap *desc, char text[2048])
{
    int fd = memfd_create("log", 0), saved = dup(2), err;
    struct regmap *map = NULL;
    ssize_t n;

    dup2(fd, 2);
    err = regmap_new(&map, "test", desc, sizes);
    dup2(saved, 2);
    n = pread(fd, text, 2047, 0);
    text[n < 0 ? 0 : n] = 0;
    close(fd);
    close(saved);
    if (!err)
        regmap_free(map);
    else
        assert_null(map);
    return err;
}

static void refused(const struct vfu_regmap *desc, const char *words)
{
    char text[2048];

    assert_int_equal(try_map(desc, text), -EINVAL);
    if (!strstr(text, words))
        fail_msg("\"%s\" is not in \"%s\"", words, text);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */
}

static void taken(const struct vfu_regmap *desc)
{
    char text[2048];

    assert_int_equal(try_map(desc, text), 0);
    assert_string_equal(text, "");
}

#define R(NAME, OFFSET, SIZE, ...)                                                                                     \
    { .name = NAME, .group = VFU_NONE, .offset = OFFSET, .size = SIZE, __VA_ARGS__ }

static void test_registers(void **state)
{
    static const struct {
        struct vfu_reg regs[2];
        const char *words; /* NULL: taken */
    } cases[] = {
        { { R("A", 0, 4), R("B", 4, 4) }, NULL },
        { { R("FOO", 4, 4), R("BAR", 6, 4) }, "registers FOO (0x4-0x7) and BAR (0x6-0x9) overlap in BAR 0" },
        { { R("FOO", 6, 4), R("BAR", 4, 4) }, "registers BAR (0x4-0x7) and FOO (0x6-0x9) overlap" },
        { { R("A", 0, 8), R("B", 7, 1) }, "registers A (0x0-0x7) and B (0x7-0x7) overlap" },
        { { R("A", 0, 4), R("B", 0, 4) }, "registers A (0x0-0x3) and B (0x0-0x3) overlap" },
        { { R("A", 0, 4), R("B", 0, 4, .region = 1) }, NULL },
        { { R("A", 0, 1, .count = 4, .stride = 4), R("B", 1, 1, .count = 4, .stride = 4) }, NULL },
        { { R("A", 0, 2, .count = 4, .stride = 4), R("B", 9, 1) }, "registers A[2] (0x8-0x9) and B (0x9-0x9) overlap" },
        { { R("A", 0, 4, .count = 4, .stride = 2), R("B", 90, 1) },
          "registers A[0] (0x0-0x3) and A[1] (0x2-0x5) overlap" },
        { { R("A", 0, 4), R("A", 4, 4) }, "the name A is used twice" },
        { { R(NULL, 0, 4), R("B", 4, 4) }, "register 0 of the register map has no name" },
        { { R("A", 0, 4), R("", 4, 4) }, "register 1 of the register map: its name \"\" is no identifier" },
        { { R("A B", 0, 4), R("B", 4, 4) }, "\"A B\" is no identifier" },
        { { R("1A", 0, 4), R("B", 4, 4) }, "no identifier" },
        { { R("A.B", 0, 4), R("B", 4, 4) }, "no identifier" },
        { { R("\xc3\xa4", 0, 4), R("B", 4, 4) }, "no identifier" },
        { { R("_a1", 0, 4), R("end", 4, 4) }, NULL },
        { { R(LONG_NAME, 0, 4), R("B", 4, 4) }, NULL },
        { { R(LONG_NAME "8", 0, 4), R("B", 4, 4) }, "no identifier" },
        { { R("A", 0, 0), R("B", 4, 4) }, "register A: a size of 0 bytes" },
        { { R("A", 0, 3), R("B", 4, 4) }, "register A: a size of 3 bytes" },
        { { R("A", 0, 16), R("B", 4, 4) }, "register A: a size of 16 bytes" },
        { { R("A", 0, 0x80000001), R("B", 4, 4) }, "register A: a size of" },
        { { R("A", 4092, 4), R("B", 4, 4) }, NULL },
        { { R("A", 4093, 4), R("B", 4, 4) },
          "register A (offset 0xffd, 4 bytes, 1 times) is outside BAR 0 of 0x1000 bytes" },
        { { R("A", UINT64_MAX, 4), R("B", 4, 4) }, "is outside BAR 0" },
        { { R("A", UINT64_MAX - 3, 4), R("B", 4, 4) }, "is outside BAR 0" },
        { { R("A", 0, 4, .count = 1025), R("B", 4, 4) }, "register A (offset 0x0, 4 bytes, 1025 times) is outside" },
        { { R("A", 0, 4, .count = 2, .stride = UINT64_MAX), R("B", 4, 4) }, "is outside" },
        { { R("A", 8, 4, .count = 2, .stride = UINT64_MAX - 7), R("B", 4, 4) }, "is outside" },
        { { R("A", 0, 4, .count = UINT32_MAX, .stride = UINT64_C(1) << 33), R("B", 4, 4) }, "is outside" },
        { { R("A", 0, 1, .region = 1, .count = UINT32_MAX, .stride = 1), R("B", 4, 4) }, "1048576 is the most" },
        { { R("A", 0, 1, .region = 1, .count = 1048575), R("B", 4, 4) }, NULL },
        { { R("A", 0, 1, .region = 1, .count = 1048576), R("B", 4, 4) },
          "register B: with it the map has 1048577 registers" },
        { { R("A", 0, 4, .region = 2), R("B", 4, 4) }, "register A is in BAR 2, which the device does not have" },
        { { R("A", 0, 4, .region = 6), R("B", 4, 4) }, "register A is in the ROM" },
        { { R("A", 0, 4, .region = 8), R("B", 4, 4) }, "register A is in BAR 8" },
        { { R("A", 0, 4, .region = 0xffffffff), R("B", 4, 4) }, "register A is in BAR 4294967295" },
        { { R("A", 0xfc, 4, .region = 7), R("B", 4, 4) }, NULL },
        { { R("A", 0xfe, 4, .region = 7), R("B", 4, 4) }, "is outside config space of 0x100 bytes" },
        { { R("A", 0, 4, .access = 13), R("B", 4, 4) }, "register A: unknown access 13" },
        { { R("A", 0, 4, .flags = 1u << 5), R("B", 4, 4) }, "unknown access 0 or flags 0x20" },
        { { R("A", 0, 1, .reset = 0x100), R("B", 4, 4) },
          "register A: its reset value 0x100 does not fit into 1 bytes" },
        { { R("A", 0, 1, .reset = UINT64_MAX), R("B", 4, 4) }, NULL },
        { { { .name = "A", .size = 4, .group = 0 }, R("B", 4, 4) }, "register A: there is no group 0" },
        { { R("A", 0, 4, .nfields = 1), R("B", 4, 4) }, "register A: 1 fields for 32 bits" },
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct vfu_regmap desc = { .struct_size = sizeof desc, .regs = cases[i].regs, .nregs = 2 };

        if (cases[i].words)
            refused(&desc, cases[i].words);
        else
            taken(&desc);
    }
}

static void test_fields(void **state)
{
    static const struct vfu_enum enums[] = { { "one", 1 }, { "three", 3 } }, big[] = { { "four", 4 } },
        anonymous[] = { { NULL, 0 } };
    static const struct {
        struct vfu_field fields[2];
        const char *words;
    } cases[] = {
        { { { .name = "A", .lsb = 0, .width = 16 }, { .name = "B", .lsb = 16, .width = 16 } }, NULL },
        { { { .name = "A", .lsb = 31, .width = 1 }, { .name = "B", .lsb = 0, .width = 31 } }, NULL },
        { { { .name = "A", .lsb = 0, .width = 4 }, { .name = "B", .lsb = 3, .width = 2 } },
          "register R: fields A (0-3) and B (3-4) overlap" },
        { { { .name = "A", .lsb = 32, .width = 1 }, { .name = "B", .width = 1 } },
          "field R.A (bit 32, width 1) is outside its register of 32 bits" },
        { { { .name = "A", .lsb = 255, .width = 255 }, { .name = "B", .width = 1 } }, "is outside its register" },
        { { { .name = "A", .lsb = 31, .width = 2 }, { .name = "B", .width = 1 } }, "is outside its register" },
        { { { .name = "A", .lsb = 31, .width = 0 }, { .name = "B", .width = 1 } }, "is outside its register" },
        { { { .name = "A", .lsb = 1, .width = 1 }, { .name = "A", .width = 1 } }, "register R has two fields named A" },
        { { { .name = "value", .lsb = 1, .width = 1 }, { .name = "A", .width = 1 } }, "a field cannot be named value" },
        { { { .name = NULL, .lsb = 1, .width = 1 }, { .name = "A", .width = 1 } }, "has no name" },
        { { { .name = "-", .lsb = 1, .width = 1 }, { .name = "A", .width = 1 } }, "\"-\" is no identifier" },
        { { { .name = "A", .lsb = 1, .width = 1, .access = 13 }, { .name = "B", .width = 1 } }, "unknown access 13" },
        { { { .name = "A", .lsb = 1, .width = 1, .flags = 1 }, { .name = "B", .width = 1 } }, "flags 0x1" },
        { { { .name = "A", .lsb = 1, .width = 2, .reset = 4 }, { .name = "B", .width = 1 } },
          "field R.A: its reset value 0x4 does not fit into 2 bits" },
        { { { .name = "A", .lsb = 1, .width = 2, .enums = enums, .nenums = 2 }, { .name = "B", .width = 1 } }, NULL },
        { { { .name = "A", .lsb = 1, .width = 2, .enums = big, .nenums = 1 }, { .name = "B", .width = 1 } },
          "field R.A: value four (0x4) does not fit into 2 bits" },
        { { { .name = "A", .lsb = 1, .width = 2, .enums = anonymous, .nenums = 1 }, { .name = "B", .width = 1 } },
          "has no name" },
        { { { .name = "A", .lsb = 1, .width = 2, .nenums = 1 }, { .name = "B", .width = 1 } }, "bad list of 1 names" },
        { { { .name = "A", .lsb = 1, .width = 2, .enums = enums, .nenums = UINT32_MAX }, { .name = "B",
          .width = 1 } }, "bad list" },
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        const struct vfu_reg reg = R("R", 0, 4, .fields = cases[i].fields, .nfields = 2);
        struct vfu_regmap desc = { .struct_size = sizeof desc, .regs = &reg, .nregs = 1 };

        if (cases[i].words)
            refused(&desc, cases[i].words);
        else
            taken(&desc);
    }
}

static void test_groups(void **state)
{
    static const struct {
        struct vfu_group groups[2];
        struct vfu_reg reg;
        const char *words;
    } cases[] = {
        { { { "A", 0, 2, 0x100, 0x10 }, { "B", 0, 2, 0x200, 0x10 } }, R("R", 0, 4), NULL },
        { { { "A", 0, 2, 0x100, 0x10 }, { "A", 0, 2, 0x200, 0x10 } }, R("R", 0, 4), "the name A is used twice" },
        { { { "A", 0, 2, 0x100, 0x10 }, { "B", 0, 2, 0x108, 0x10 } }, R("R", 0, 4), NULL }, /* interleaved */
        { { { "A", 0, 2, 0x100, 0x10 }, { "B", 0, 2, 0x110, 0x10 } }, R("R", 0, 4),
          "registers A[1].R (0x110-0x113) and B[0].R (0x110-0x113) overlap" },
        { { { "A", 0, 0, 0x100, 0x10 }, { "B", 0, 2, 0x200, 0x10 } }, R("R", 0, 4), "group A: a count of 0" },
        { { { "A", 0, 2, 0x100, 0 }, { "B", 0, 2, 0x200, 0x10 } }, R("R", 0, 4),
          "group A: a count of 2, 0x0 bytes apart" },
        { { { "A", 0, 1, 0x100, 0 }, { "B", 0, 2, 0x200, 0x10 } }, R("R", 0, 4), NULL },
        { { { "A", 0, UINT32_MAX, 0x100, 0x10 }, { "B", 0, 2, 0x200, 0x10 } }, R("R", 0, 4), "group A: a count of" },
        { { { NULL, 0, 1, 0x100, 0x10 }, { "B", 0, 2, 0x200, 0x10 } }, R("R", 0, 4),
          "group 0 of the register map has no name" },
        { { { "A[", 0, 1, 0x100, 0x10 }, { "B", 0, 2, 0x200, 0x10 } }, R("R", 0, 4), "no identifier" },
        { { { "A", 0, 2, 0x100, 0x10 }, { "B", 0, 2, 0xff0, 0x10 } }, R("R", 0, 4), "register B.R" },
        { { { "A", 0, 2, UINT64_MAX, 0x10 }, { "B", 0, 2, 0x200, 0x10 } }, R("R", 0, 4), "is outside" },
        { { { "A", 0, 2, 0, UINT64_MAX }, { "B", 0, 2, 0x200, 0x10 } }, R("R", 0, 4), "is outside" },
        { { { "A", 1, 2, 0x100, 0x10 }, { "B", 0, 2, 0x200, 0x10 } }, R("R", 0, 4),
          "register A.R is in BAR 0, its group in BAR 1" },
        { { { "A", 0, 2, 0x100, 0x10 }, { "B", 0, 2, 0x200, 0x10 } }, R("R", 0, 4, .count = 0xfffff,
          .stride = UINT64_C(1) << 60),
          "is outside" },
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct vfu_reg regs[2] = { cases[i].reg, cases[i].reg };
        struct vfu_regmap desc = { .struct_size = sizeof desc, .regs = regs, .nregs = 2, .groups = cases[i].groups,
            .ngroups = 2 };

        regs[0].group = 0;
        regs[1].group = 1;
        if (cases[i].words)
            refused(&desc, cases[i].words);
        else
            taken(&desc);
    }
}

static void test_group_names(void **state)
{
    static const struct vfu_group groups[] = { { "A", 0, 2, 0x100, 0x10 } };
    struct vfu_reg regs[2] = { R("A", 0, 4), R("B", 4, 4) };
    struct vfu_regmap desc = { .struct_size = sizeof desc, .regs = regs, .nregs = 2, .groups = groups, .ngroups = 1 };

    (void)state;
    refused(&desc, "the name A is used twice"); /* register and group */
    regs[0].group = regs[1].group = 0;
    taken(&desc); /* a group's own names are its own */
    regs[1].name = "A";
    refused(&desc, "group A has two registers named A");
}

static void test_locks(void **state)
{
    static const struct {
        struct vfu_lock lock;
        const char *words;
    } cases[] = {
        { { 0, 1, 1, 1, 0, 0 }, NULL },
        { { 0, 1, 1, 0, 1, 0 }, NULL },
        { { 0, VFU_NONE, 0, 0, 0, 5 }, NULL },
        { { 4, 1, 1, 1, 0, 0 }, "lock 0: register 4, condition register 1 of 4" },
        { { VFU_NONE, 1, 1, 1, 0, 0 }, "lock 0: register" },
        { { 0, 4, 1, 1, 0, 0 }, "lock 0: register 0, condition register 4" },
        { { 0, 1, 1, 1, 2, 0 }, "invert 2" },
        { { 0, 1, 0, 0, 0, 0 }, "lock of A: mask 0x0" },
        { { 0, 1, 0x10000, 0, 0, 0 }, "lock of A: mask 0x10000" },
        { { 0, 1, 1, 2, 0, 0 }, "lock of A: mask 0x1, value 0x2" },
        { { 0, 2, 1, 1, 0, 0 }, "lock of A: its condition C is one of many" },
        { { 0, 3, 1, 1, 0, 0 }, "lock of A: its condition D is one of many" },
        { { 2, 3, 1, 1, 0, 0 }, "lock of C: its condition D is one of many" },
        { { 3, 2, 1, 1, 0, 0 }, "lock of D: its condition C is one of many" },
        { { 2, 2, 1, 1, 0, 0 }, NULL },
        { { 3, 3, 1, 1, 0, 0 }, NULL },
        { { 3, 0, 1, 1, 0, 0 }, NULL },
    };
    static const struct vfu_group groups[] = { { "G", 0, 2, 0x100, 0x10 } };
    struct vfu_reg regs[] = { R("A", 0, 4), R("B", 4, 2), R("C", 8, 4, .count = 2), R("D", 0, 4) };

    (void)state;
    regs[3].group = 0;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct vfu_regmap desc = { sizeof desc, 0, regs, 4, 0, groups, 1, 0, &cases[i].lock, 1, 0 };

        if (cases[i].words)
            refused(&desc, cases[i].words);
        else
            taken(&desc);
    }
}

static void test_lists(void **state)
{
    const struct vfu_reg reg = R("A", 0, 4);
    struct vfu_regmap desc = { .struct_size = sizeof desc, .regs = NULL, .nregs = 1 };

    (void)state;
    refused(&desc, "a list is missing or too long");
    desc = (struct vfu_regmap){ .struct_size = sizeof desc, .regs = &reg, .nregs = 1048577 };
    refused(&desc, "a list is missing or too long");
    desc = (struct vfu_regmap){ .struct_size = sizeof desc, .ngroups = 1 };
    refused(&desc, "a list is missing or too long");
    desc = (struct vfu_regmap){ .struct_size = sizeof desc, .nlocks = 1 };
    refused(&desc, "a list is missing or too long");
    desc = (struct vfu_regmap){ .struct_size = 4 };
    refused(&desc, "struct_size of 4");
    desc = (struct vfu_regmap){ .struct_size = sizeof desc };
    taken(&desc);
}

/* A plugin of a later SDK has longer structs, one of an earlier SDK shorter ones. */
static void test_struct_sizes(void **state)
{
    struct { struct vfu_field field; uint64_t more[3]; } fields[2] = { { { .name = "F", .width = 4, .reset = 5 },
        { 0 } },
                                                                      { { .name = "G", .lsb = 4, .width = 4,
                                                                        .reset = 6 }, { 0 } } };
    struct { struct vfu_reg reg; uint64_t more[2]; } regs[2] = { { R("A", 0, 4), { 9, 9 } }, { R("B", 4, 4), { 9,
        9 } } };
    struct { struct vfu_regmap map; uint64_t more[9]; } desc = { { .regs = &regs[0].reg, .nregs = 2 }, { 1, 2, 3 } };
    char shorter[2][offsetof(struct vfu_reg, hook)];
    const struct vfu_reg *copies;
    struct vfu_regmap old = { .struct_size = sizeof old, .nregs = 2, .reg_size = sizeof shorter[0] };
    struct regmap *map;
    uint32_t n;

    (void)state;
    regs[1].reg.fields = &fields[0].field;
    regs[1].reg.nfields = 2;
    regs[1].reg.field_size = sizeof fields[0];
    regs[1].reg.hook = 3;
    desc.map.struct_size = sizeof desc;
    desc.map.reg_size = sizeof regs[0];
    assert_int_equal(regmap_new(&map, "test", &desc.map, sizes), 0);
    copies = regmap_regs(map, &n);
    assert_int_equal(n, 2);
    assert_string_equal(copies[1].name, "B");
    assert_ptr_not_equal(copies[1].name, regs[1].reg.name);
    assert_string_equal(copies[1].fields[1].name, "G");
    assert_int_equal(copies[1].field_size, sizeof(struct vfu_field));
    assert_int_equal(copies[1].access, VFU_ACCESS_RW); /* defaults are filled in */
    assert_int_equal(copies[1].fields[0].access, VFU_ACCESS_RW);
    assert_int_equal(copies[1].stride, 4);
    assert_int_equal(copies[1].reset, 0x65);
    regmap_free(map);

    for (int i = 0; i < 2; i++)
        memcpy(shorter[i], &regs[i].reg, sizeof shorter[i]);
    old.regs = (const struct vfu_reg *)(const void *)shorter;
    assert_int_equal(regmap_new(&map, "test", &old, sizes), 0);
    copies = regmap_regs(map, &n);
    assert_string_equal(copies[1].name, "B");
    assert_int_equal(copies[1].offset, 4);
    assert_int_equal(copies[1].nfields, 0);
    assert_int_equal(copies[1].hook, 0);
    regmap_free(map);
}

static int32_t nothing(void *self, struct vfu_reg_call *call)
{
    (void)self;
    (void)call;
    return 0;
}

static void test_bind(void **state)
{
    static const struct vfu_lock lock = { 0, VFU_NONE, 0, 0, 0, 0 };
    struct vfu_reg reg = R("A", 0, 4, .flags = VFU_REG_HOOK_READ);
    struct vfu_regmap desc = { .struct_size = sizeof desc, .regs = &reg, .nregs = 1 };
    struct vfu_regmap_ops ops = { .struct_size = sizeof ops };
    int fd = memfd_create("log", 0), saved = dup(2);
    struct regmap *map;

    (void)state;
    dup2(fd, 2);
    for (int i = 0; i < 2; i++) {
        reg.flags = i ? VFU_REG_HOOK_WRITE : VFU_REG_HOOK_READ;
        assert_int_equal(regmap_new(&map, "test", &desc, sizes), 0);
        assert_int_equal(regmap_bind(map, NULL, NULL), -EINVAL);
        assert_int_equal(regmap_bind(map, &ops, NULL), -EINVAL);
        ops.read = i ? NULL : nothing;
        ops.write = i ? nothing : NULL;
        assert_int_equal(regmap_bind(map, &ops, NULL), 0);
        ops.struct_size = 8; /* too short to hold them */
        assert_int_equal(regmap_bind(map, &ops, NULL), -EINVAL);
        ops.struct_size = sizeof ops;
        regmap_free(map);
    }
    reg.flags = 0;
    desc.locks = &lock;
    desc.nlocks = 1;
    assert_int_equal(regmap_new(&map, "test", &desc, sizes), 0);
    assert_int_equal(regmap_bind(map, &ops, NULL), -EINVAL);
    regmap_free(map);
    dup2(saved, 2);
    close(saved);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registers), cmocka_unit_test(test_fields),      cmocka_unit_test(test_groups),
        cmocka_unit_test(test_locks),     cmocka_unit_test(test_group_names), cmocka_unit_test(test_lists),
        cmocka_unit_test(test_bind),      cmocka_unit_test(test_struct_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
