/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/regsvd against the rules of CMSIS-SVD (tests/unit/svd.c): maps that have everything in them, the devices
 * that there are, and files that are wrong in one place each, so that it is known what the check finds. One thread.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/regmap/regdump.h"
#include "tests/unit/svd.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define ODD "<tag> & \"quotes\" 'more' ]]> \x01\xff\xc3\xa4\xe2\x82\xac\n\ttwo lines"

/* ---- maps --------------------------------------------------------------------------------------------------------- */

static const struct vfu_enum names[] = {
    { "off", 0 }, { "on", 1 }, { "on&off", 2 }, { "on<off", 3 }, { " ", 4 }, { "7up", 5 }, { "on_off", 6 }, { ODD, 7 },
};
static const struct vfu_field wide_fields[] = {
    { .name = "LOW", .lsb = 0, .width = 1, .access = VFU_ACCESS_W1C, .doc = ODD },
    { .name = "MODE", .lsb = 1, .width = 3, .nenums = LENGTH(names), .enums = names, .reset = 5 },
    { .name = "HIGH", .lsb = 63, .width = 1, .access = VFU_ACCESS_RC },
};
static const struct vfu_field all_bits[] = { { .name = "ALL", .lsb = 0, .width = 64 } };
static const struct vfu_group groups[] = {
    { .name = "CH", .region = 0, .count = 4, .offset = 0x100, .stride = 0x40 },
    { .name = "ONE", .region = 0, .count = 1, .offset = 0x400, .stride = 0x20 },
};
#define PLAIN .group = VFU_NONE
static const struct vfu_reg regs[] = {
    { PLAIN, .name = "WIDE", .offset = 0, .size = 8, .nfields = 3, .fields = wide_fields, .doc = ODD },
    { PLAIN, .name = "ALL", .offset = 8, .size = 8, .nfields = 1, .fields = all_bits, .reset = UINT64_MAX },
    { PLAIN, .name = "BYTES", .offset = 0x10, .size = 1, .count = 16, .access = VFU_ACCESS_RO },
    { PLAIN, .name = "SPARSE", .offset = 0x20, .size = 2, .count = 8, .stride = 8, .access = VFU_ACCESS_WONCE },
    { PLAIN, .name = "BIG", .offset = 0x60, .size = 4, .flags = VFU_REG_BIG_ENDIAN, .reset = 0x80000001 },
    { PLAIN, .name = "ODD", .offset = 0x65, .size = 4, .access = VFU_ACCESS_UNIMP, .doc = ODD },
    { .name = "CTRL", .group = 0, .offset = 0, .size = 4, .access = VFU_ACCESS_W1S },
    { .name = "RING", .group = 0, .offset = 8, .size = 8, .count = 4 },
    { .name = "CTRL", .group = 1, .offset = 0, .size = 4, .access = VFU_ACCESS_W0C },
    { PLAIN, .name = "TOP", .region = 4, .offset = (UINT64_C(1) << 40) - 8, .size = 8, .access = VFU_ACCESS_RS },
    { PLAIN, .name = "LAST", .offset = 0xfff, .size = 1, .access = VFU_ACCESS_W1T },
    { PLAIN, .name = "VENDOR", .region = VFU_REGION_CONFIG, .offset = 0x40, .size = 4, .access = VFU_ACCESS_RESERVED },
};
static struct regdump_device about = {
    .name = "all & <sundry>", .doc = ODD, .vendor = 0x1234, .device = 0x5678,
    .region_size = { [0] = 4096, [4] = UINT64_C(1) << 40, [7] = 4096 },
};

/* The SVD of the first n registers, to be freed. */
static char *dump(uint32_t n)
{
    struct vfu_regmap desc = {
        .struct_size = sizeof desc,
        .regs = regs, .nregs = n, .reg_size = sizeof regs[0],
        .groups = groups, .ngroups = LENGTH(groups), .group_size = sizeof groups[0],
    };
    struct regmap *map;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    assert_int_equal(regmap_new(&map, "test", &desc, about.region_size), 0);
    assert_int_equal(regdump(out, map, &about, "svd"), 0);
    fclose(out);
    regmap_free(map);
    return text;
}

static void assert_good(const char *text)
{
    const char *wrong = svd_check(text);

    if (wrong)
        fail_msg("%s\n%s", wrong, text);
}

static void test_maps(void **state)
{
    (void)state;
    for (uint32_t n = 0; n <= LENGTH(regs); n++) {
        char *text = dump(n);

        assert_good(text);
        free(text);
    }
}

/* ---- devices ------------------------------------------------------------------------------------------------------ */

static char *run(const char *command)
{
    char *text = calloc(1, 1 << 20);
    FILE *out = popen(command, "r");

    assert_non_null(text);
    assert_non_null(out);
    text[fread(text, 1, (1 << 20) - 1, out)] = '\0';
    if (pclose(out) != 0)
        fail_msg("%s failed", command);
    return text;
}

static void test_devices(void **state)
{
    static const char *const devices[] = {
        "edu", "testdev", "memory", "null", "$VFU_SRCDIR/examples/edu.lua", "$VFU_SRCDIR/examples/testdev.lua",
        "$VFU_SRCDIR/examples/gpio-idio-16.lua", "$VFU_SRCDIR/examples/hasher.lua",
        "$VFU_SRCDIR/examples/tutorial/5-dma.lua",
    };
    char command[512], *text;

    (void)state;
    for (size_t i = 0; i < LENGTH(devices); i++) {
        snprintf(command, sizeof command, "\"$VFU_HOST\" --plugin \"%s\" --dump=svd </dev/null", devices[i]);
        text = run(command);
        assert_good(text);
        free(text);
    }
}

/* ---- what is wrong ------------------------------------------------------------------------------------------------ */

static char *replaced(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    char *result;

    if (!at)
        fail_msg("not there to be replaced: %s", from);
    assert_true(asprintf(&result, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
    return result;
}

static void test_broken(void **state)
{
    static const struct {
        const char *from, *to, *wrong;
    } edits[] = {
        { "<?xml", "<?xlm", "no XML declaration" },
        { "</device>\n", "", "the end of <device> is missing" },
        { "</device>\n", "</device><device/>", "something behind the last element" },
        { "<version>1.0</version>", "<version>1.0</versoin>", "closed by </versoin>" },
        { "<width>64", "<width>64<a>", "has text and elements" },
        { "two lines", "two <b/> lines", "has text and elements" },
        { "&lt;tag&gt; &amp;", "&lt;tag&gt; &", "begins no entity" },
        { "&lt;tag", "\x02", "may not stand there" },
        { "&lt;tag", "\xc3", "may not stand there" },
        { "schemaVersion=\"1.3\"", "", "schemaVersion is ''" },
        { "schemaVersion=\"1.3\"", "schemaVersion=\"1.3\" extra=\"1\"", "attribute extra" },
        { "<peripheral>", "<peripheral derivedFrom=\"BAR0\">", "attribute derivedFrom" },
        { "<version>1.0</version>\n", "", "<version> is missing before <description> in <device>" },
        { "<version>1.0</version>", "<version></version>", "<version> cannot be ''" },
        { "<width>64</width>", "<width>sixty</width>", "<width> cannot be 'sixty'" },
        { "<width>64</width>", "<width>64</width><width>64</width>", "a second <width>" },
        { "<width>64</width>", "<width>64</width><cpu>x</cpu>", "<peripherals> is missing before <cpu>" },
        { "<width>64</width>", "<width>32</width>", "register WIDE has 64 bits" },
        { "<name>all___", "<name>all &amp; ", "<name> cannot be 'all & _sundry_'" },
        { "<name>BAR0</name>", "<name>BAR 0</name>", "<name> cannot be 'BAR 0'" },
        { "<name>BAR0</name>", "<name>CONFIG</name>", "a second peripheral named CONFIG" },
        { "<baseAddress>0x0</baseAddress>\n", "", "<baseAddress> is missing before <addressBlock>" },
        { "<baseAddress>0x10000000000</baseAddress>", "<baseAddress>0x800</baseAddress>", "BAR0 and BAR4 overlap" },
        { "<usage>registers</usage>", "<usage>register</usage>", "<usage> cannot be 'register'" },
        { "<size>0x1000</size>", "<size>0xfff</size>", "a register is not inside its addressBlock" },
        { "<name>WIDE</name>\n", "", "<name> is missing before <description> in <register>" },
        { "<name>WIDE</name>", "<name>ALL</name>", "a second register named ALL" },
        { "<name>WIDE</name>", "<name>WIDE%s</name>", "WIDE%s: %s and dim go together" },
        { "<name>BYTES[%s]</name>", "<name>BYTES</name>", "BYTES: %s and dim go together" },
        { "<name>SPARSE%s</name>", "<name>SPARSE[%s]</name>", "its elements do not touch" },
        { "<dim>16</dim>", "<dim>0</dim>", "has no elements" },
        { "<dim>16</dim>\n", "", "has dim or dimIncrement, not both" },
        { "<addressOffset>0x0</addressOffset>\n", "", "<addressOffset> is missing before <size>" },
        { "<addressOffset>0x0</addressOffset>", "<addressOffset>0xg</addressOffset>", "cannot be '0xg'" },
        { "<size>64</size>\n          <access>read-write</access>", "<access>read-write</access><size>64</size>",
          "<size> may not stand there in <register>" },
        { "<access>read-write</access>", "<access>readwrite</access>", "<access> cannot be 'readwrite'" },
        { "<resetMask>0xffffffff</resetMask>", "<resetMask>0x100000000</resetMask>", "its reset value or mask" },
        { "<fields>", "<fields></fields><fields>", "<fields> is empty" },
        { "<name>LOW</name>", "<name>HIGH</name>", "a second field named HIGH" },
        { "<bitOffset>1</bitOffset>", "<bitOffset>0</bitOffset>", "field MODE overlaps another" },
        { "<bitOffset>63</bitOffset>", "<bitOffset>64</bitOffset>", "field HIGH is not inside its register" },
        { "<bitWidth>64</bitWidth>", "<bitWidth>65</bitWidth>", "field ALL is not inside its register" },
        { "oneToClear", "oneToErase", "<modifiedWriteValues> cannot be 'oneToErase'" },
        { "<readAction>clear", "<readAction>clears", "<readAction> cannot be 'clears'" },
        { "<value>0x7</value>", "<value>0x8</value>", "does not fit into 3 bits" },
        { "<value>0x1</value>", "<value>0x0</value>", "values off and on are the same" },
        { "<name>on</name>", "<name>off</name>", "a second enumeratedValue named off" },
        { "<name>_7up</name>", "<name>7up</name>", "<name> cannot be '7up'" },
        { "<description>Group CH of 4</description>\n", "", "<description> is missing before <addressOffset> in <cluster>" },
        { "<dimIncrement>0x40</dimIncrement>", "<dimIncrement>0x20</dimIncrement>", "or they overlap" },
    };
    char *good = dump(LENGTH(regs));

    (void)state;
    assert_good(good);
    for (size_t i = 0; i < LENGTH(edits); i++) {
        char *text = replaced(good, edits[i].from, edits[i].to);
        const char *wrong = svd_check(text);

        if (!wrong || !strstr(wrong, edits[i].wrong))
            fail_msg("%s -> %s: %s, expected %s", edits[i].from, edits[i].to, wrong ? wrong : "good", edits[i].wrong);
        free(text);
    }
    /* Cut off anywhere it is no SVD file. */
    for (size_t n = 0; n + 1 < strlen(good); n += 7) {
        char *text = strndup(good, n);

        assert_non_null(svd_check(text));
        free(text);
    }
    free(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_maps),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_broken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
