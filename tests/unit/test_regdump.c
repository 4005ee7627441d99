/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unit test of core/regdump and its writers: what each format says of one map that has all kinds of things in it, and
 * texts that would break the format if they were written as they are. One thread.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/base/log.h"
#include "core/regmap/regdump.h"
#include "core/regmap/regtext.h"

#define EVIL "a|b <i>&amp; */ /* \"q\" 'a'\n*x* \\ \x01 \xff \xe2\x80\xae \xc3\xa4 ]]> \t "
#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static const struct vfu_enum directions[] = {
    { "to_device", 0 }, { "to-device", 1 }, { "2 x\xc3\xa4*/<", 2 }, { EVIL, 3 },
};
static const struct vfu_field cmd_fields[] = {
    { .name = "RUN", .lsb = 0, .width = 1, .access = VFU_ACCESS_W1S },
    { .name = "DIR", .lsb = 1, .width = 2, .nenums = LENGTH(directions), .enums = directions, .reset = 2, .doc = EVIL },
    { .name = "run", .lsb = 63, .width = 1, .access = VFU_ACCESS_RC },
};
static const struct vfu_field whole_fields[] = {
    { .name = "LOW", .lsb = 0, .width = 4, .access = VFU_ACCESS_WO },
    { .name = "HIGH", .lsb = 4, .width = 4, .access = VFU_ACCESS_WO },
};
static const struct vfu_group groups[] = {
    { .name = "CH", .region = 2, .count = 8, .offset = 0x100, .stride = 0x40 },
    { .name = "EMPTY", .region = 99, .count = 1 },
    { .name = "WIDE", .region = 2, .count = 2, .offset = UINT64_C(1) << 32, .stride = UINT64_C(1) << 32 },
};
#define PLAIN .group = VFU_NONE, .region = 2
static const struct vfu_reg regs[] = {
    { PLAIN, .name = "CMD", .offset = 0x98, .size = 8, .doc = "what to do", .nfields = 3, .fields = cmd_fields },
    { PLAIN, .name = "ID", .offset = 0, .size = 4, .access = VFU_ACCESS_RO, .reset = 0x010000ed, .doc = EVIL },
    { .name = "CTRL", .region = 2, .group = 0, .offset = 8, .size = 4, .access = VFU_ACCESS_W1C,
      .flags = VFU_REG_STICKY },
    { .name = "RING", .region = 2, .group = 0, .offset = 0x10, .size = 4, .count = 4 },
    { PLAIN, .name = "CH_CTRL", .offset = 0x10, .size = 2, .access = VFU_ACCESS_UNIMP, .reset = 0xbeef },
    { PLAIN, .name = "id", .offset = 0x14, .size = 1, .nfields = 2, .fields = whole_fields },
    { PLAIN, .name = "SPARSE", .offset = 0x20, .size = 1, .count = 3, .stride = 4, .access = VFU_ACCESS_WONCE,
      .flags = VFU_REG_BIG_ENDIAN | VFU_REG_COMMIT_LAST },
    { .name = "FAR", .region = 2, .group = 2, .offset = 0, .size = 8, .reset = UINT64_MAX },
    { .group = VFU_NONE, .region = VFU_REGION_CONFIG, .name = "VENDOR_CTL", .offset = 0x40, .size = 4,
      .access = VFU_ACCESS_RESERVED },
};
static struct regdump_device about = {
    .name = "16550-test", .doc = EVIL, .vendor = 0x1234, .device = 0x11e8,
    .region_size = { [0] = 4096, [2] = UINT64_C(1) << 40, [7] = 256 },
    .widths = { [2] = 4 | 8 },
};

static struct regmap *new_map(void)
{
    struct vfu_regmap desc = {
        .struct_size = sizeof desc,
        .regs = regs, .nregs = LENGTH(regs), .reg_size = sizeof regs[0],
        .groups = groups, .ngroups = LENGTH(groups), .group_size = sizeof groups[0],
    };
    struct regmap *map;

    assert_int_equal(regmap_new(&map, "test", &desc, about.region_size), 0);
    return map;
}

/* What regdump writes, to be freed. */
static char *dump(const struct regmap *map, const char *format)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    assert_int_equal(regdump(out, map, &about, format), 0);
    fclose(out);
    assert_int_equal(strlen(text), size);
    assert_true(size && text[size - 1] == '\n');
    return text;
}

static char *dump_new(const char *format)
{
    struct regmap *map = new_map();
    char *text = dump(map, format), *again = dump(map, format);

    assert_string_equal(text, again);
    free(again);
    regmap_free(map);
    return text;
}

static void has(const char *text, const char *words)
{
    if (!text || !strstr(text, words))
        fail_msg("\"%s\" is not in:\n%s", words, text ? text : "(nothing)");
}

static void has_not(const char *text, const char *words)
{
    if (!text || strstr(text, words))
        fail_msg("\"%s\" is in:\n%s", words, text ? text : "(nothing)");
}

static const char *string_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    if (!text)
        fail_msg("no text %s", key);
    return text;
}

static json_int_t integer_at(const json_t *object, const char *key)
{
    assert_true(json_is_integer(json_object_get(object, key)));
    return json_integer_value(json_object_get(object, key));
}

static void test_json_registers(void **state)
{
    char *text = dump_new("json");
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *list, *reg, *field;

    (void)state;
    assert_non_null(root);
    list = json_object_get(root, "registers");
    assert_int_equal(json_array_size(list), LENGTH(regs));
    for (size_t i = 0; i < LENGTH(regs); i++)
        assert_string_equal(string_at(json_array_get(list, i), "name"), regs[i].name);
    reg = json_array_get(list, 0);
    assert_int_equal(json_object_size(reg), 12);
    assert_string_equal(string_at(reg, "region"), "bar2");
    assert_string_equal(string_at(reg, "offset"), "0x98");
    assert_int_equal(integer_at(reg, "size"), 8);
    assert_string_equal(string_at(reg, "access"), "rw");
    assert_string_equal(string_at(reg, "reset"), "0x4");
    assert_string_equal(string_at(reg, "doc"), "what to do");
    assert_true(json_is_null(json_object_get(reg, "count")) && json_is_null(json_object_get(reg, "stride")));
    assert_true(json_is_null(json_object_get(reg, "group")));
    assert_int_equal(json_array_size(json_object_get(reg, "fields")), 3);
    field = json_array_get(json_object_get(reg, "fields"), 1);
    assert_int_equal(json_object_size(field), 7);
    assert_int_equal(integer_at(field, "lsb"), 1);
    assert_int_equal(integer_at(field, "width"), 2);
    assert_string_equal(string_at(field, "access"), "rw");
    assert_string_equal(string_at(field, "reset"), "0x2");
    assert_int_equal(json_array_size(json_object_get(field, "enums")), 4);
    assert_string_equal(string_at(json_array_get(json_object_get(field, "enums"), 1), "name"), "to-device");
    assert_string_equal(string_at(json_array_get(json_object_get(field, "enums"), 1), "value"), "0x1");
    assert_string_equal(string_at(json_array_get(json_object_get(reg, "fields"), 0), "access"), "w1s");
    reg = json_array_get(list, 3);
    assert_string_equal(string_at(reg, "group"), "CH");
    assert_int_equal(integer_at(reg, "count"), 4);
    assert_string_equal(string_at(reg, "stride"), "0x4");
    assert_true(json_is_null(json_object_get(reg, "doc")));
    assert_int_equal(json_array_size(json_object_get(json_array_get(list, 6), "flags")), 2);
    assert_string_equal(string_at(json_array_get(list, 7), "reset"), "0xffffffffffffffff");
    json_decref(root);
    free(text);
}

static void test_json_device(void **state)
{
    char *text = dump_new("json");
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *list;

    (void)state;
    assert_non_null(root);
    assert_int_equal(json_object_size(root), 5);
    assert_int_equal(integer_at(root, "version"), 1);
    assert_string_equal(string_at(json_object_get(root, "device"), "name"), "16550-test");
    assert_string_equal(string_at(json_object_get(root, "device"), "vendor"), "0x1234");
    assert_string_equal(string_at(json_object_get(root, "device"), "device"), "0x11e8");
    /* As it is, but for the byte that is no UTF-8. */
    assert_string_equal(string_at(json_object_get(root, "device"), "doc"),
                        "a|b <i>&amp; */ /* \"q\" 'a'\n*x* \\ \x01 \xef\xbf\xbd \xe2\x80\xae \xc3\xa4 ]]> \t ");
    list = json_object_get(root, "regions");
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(string_at(json_array_get(list, 1), "name"), "bar2");
    assert_int_equal(integer_at(json_array_get(list, 1), "index"), 2);
    assert_string_equal(string_at(json_array_get(list, 1), "size"), "0x10000000000");
    assert_string_equal(string_at(json_array_get(list, 2), "name"), "config");
    assert_int_equal(json_array_size(json_object_get(json_array_get(list, 0), "widths")), 4);
    assert_int_equal(json_array_size(json_object_get(json_array_get(list, 1), "widths")), 2);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(json_array_get(list, 1), "widths"), 1)), 8);
    list = json_object_get(root, "groups");
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(string_at(json_array_get(list, 0), "offset"), "0x100");
    assert_int_equal(integer_at(json_array_get(list, 0), "count"), 8);
    assert_string_equal(string_at(json_array_get(list, 0), "stride"), "0x40");
    assert_true(json_is_null(json_object_get(json_array_get(list, 1), "region")));
    json_decref(root);
    free(text);
}

/* Compiles the header and what is said of it. `how`: language and standard. */
static bool compiles(const char *how, const char *header, const char *more)
{
    char command[512];
    FILE *compiler;

    snprintf(command, sizeof command,
             "${VFU_CC:-cc} %s -pedantic -Wall -Wextra -Wundef -Werror -fsyntax-only -", how);
    compiler = popen(command, "w");
    assert_non_null(compiler);
    fprintf(compiler, "%s%s%s", header, header, more); /* twice: the guard */
    return pclose(compiler) == 0;
}

static void test_header(void **state)
{
    static const char uses[] =
        "#define EQUAL(name, a, b) typedef char equal_##name[(a) == (b) ? 1 : -1]\n"
        "EQUAL(vendor, DEVICE16550_TEST_VENDOR_ID, 0x1234);\n"
        "EQUAL(size, DEVICE16550_TEST_BAR2_SIZE, 0x10000000000ull);\n"
        "EQUAL(cmd, DEVICE16550_TEST_CMD_OFFSET, 0x98);\n"
        "EQUAL(cmd_reset, DEVICE16550_TEST_CMD_RESET, 4);\n"
        "EQUAL(shift, DEVICE16550_TEST_CMD_DIR_SHIFT, 1);\n"
        "EQUAL(mask, DEVICE16550_TEST_CMD_DIR_MASK, 6);\n"
        "EQUAL(high, DEVICE16550_TEST_CMD_RUN_2_MASK, 0x8000000000000000ull);\n"
        "EQUAL(enum0, DEVICE16550_TEST_CMD_DIR_TO_DEVICE, 0);\n"
        "EQUAL(enum1, DEVICE16550_TEST_CMD_DIR_TO_DEVICE_2, 1);\n"
        "EQUAL(enum2, DEVICE16550_TEST_CMD_DIR_2_X____, 2);\n"
        "EQUAL(upper, DEVICE16550_TEST_ID_RESET, 0x010000ed);\n"
        "EQUAL(lower, DEVICE16550_TEST_ID_2_OFFSET, 0x14);\n"
        "EQUAL(plain, DEVICE16550_TEST_CH_CTRL_OFFSET, 0x10);\n"
        "EQUAL(group, DEVICE16550_TEST_CH_OFFSET(2), 0x180);\n"
        "EQUAL(ngroup, DEVICE16550_TEST_CH_COUNT, 8);\n"
        "EQUAL(grouped, DEVICE16550_TEST_CH_CTRL_2_OFFSET(2), 0x188);\n"
        "EQUAL(ring, DEVICE16550_TEST_CH_RING_OFFSET(1 + 1, 2 + 1), 0x19c);\n"
        "EQUAL(nring, DEVICE16550_TEST_CH_RING_COUNT, 4);\n"
        "EQUAL(sparse, DEVICE16550_TEST_SPARSE_OFFSET(2), 0x28);\n"
        "EQUAL(far_away, DEVICE16550_TEST_WIDE_FAR_OFFSET(1), 0x200000000ull);\n"
        "EQUAL(config, DEVICE16550_TEST_VENDOR_CTL_OFFSET, 0x40);\n";
    char *text = dump_new("header");

    (void)state;
    has(text, "#ifndef DEVICE16550_TEST_REGISTERS_H\n#define DEVICE16550_TEST_REGISTERS_H\n");
    has(text, "/* SPARSE[i]: bar2, 1 byte, wonce, big endian */\n");
    if (!compiles("-x c -std=c99", text, uses))
        fail_msg("not C99:\n%s", text ? text : "(nothing)");
    if (compiles("-x c++ -std=c++11", "", "") && !compiles("-x c++ -std=c++11", text, uses))
        fail_msg("not C++11:\n%s", text ? text : "(nothing)");
    free(text);
}

/* The columns of a line of a table: bars without a backslash before them. */
static uint32_t columns(const char *line)
{
    uint32_t n = 0;

    for (; *line && *line != '\n'; line++) {
        if (*line == '\\' && line[1])
            line++;
        else if (*line == '|')
            n++;
    }
    return n - 1;
}

static void test_markdown(void **state)
{
    char *text = dump_new("markdown");
    uint32_t last = 0;

    (void)state;
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        uint32_t n = *line == '|' ? columns(line) : 0;

        assert_true(!n || !last || n == last);
        last = n;
    }
    has(text, "# 16550-test\n\nPCI device 1234:11e8: a\\|b &lt;i&gt;&amp;amp; \\*/ /\\* \"q\" 'a' \\*x\\* \\\\ "
              "\xef\xbf\xbd \xef\xbf\xbd \xef\xbf\xbd \xc3\xa4 \\]\\]&gt;\n");
    has(text, "\n## BAR 0\n\n0x1000 bytes, no registers.\n");
    has(text, "\n## BAR 2\n\n0x10000000000 bytes.\n\n| Offset | Name | Size | Access | Reset | Description |\n"
              "| --- | --- | --- | --- | --- | --- |\n| `0x0` | `ID` | 4 | ro | `0x10000ed` | a\\|b");
    has(text, "\n| `0x98` | `CMD` | 8 | rw | `0x4` | what to do |\n");
    has(text, "\n| `0x108 + n * 0x40` | `CH[n].CTRL` | 4 | w1c | `0x0` | "
              "n from 0 to 7; keeps its value over a reset |\n");
    has(text, "\n| `0x110 + n * 0x40 + i * 0x4` | `CH[n].RING[i]` | 4 | rw | `0x0` | n from 0 to 7; i from 0 to 3 |\n");
    has(text, "\n### `CMD`\n\n| Bits | Name | Access | Reset | Description |\n| --- | --- | --- | --- | --- |\n"
              "| 63 | `run` | rc | `0x0` |  |\n| 2:1 | `DIR` | rw | `0x2` | a\\|b");
    has(text, ": `0x0` to_device, `0x1` to-device, ");
    has(text, "\n| 0 | `RUN` | w1s | `0x0` |  |\n\nAll other bits are reserved.\n");
    has(text, "\n| 3:0 | `LOW` | wo | `0x0` |  |\n\n##"); /* no other bits */
    has(text, "\n## Configuration space\n\n0x100 bytes.\n");
    has(text, "\n| w1c | writing 1 clears a bit |\n");
    has_not(text, "toggles");
    free(text);
}

/* What a parser would refuse: tags that do not match, and characters that are markup where none is meant. */
static void check_xml(const char *text)
{
    static const char *const entities[] = { "&lt;", "&gt;", "&amp;", "&quot;", "&apos;" };
    const char *stack[32];
    uint32_t depth = 0;

    has(text, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<device ");
    for (text = strstr(text, "<device"); *text; text++) {
        bool good = *text != '&';

        assert_true((unsigned char)*text >= ' ' || *text == '\n');
        for (size_t i = 0; i < LENGTH(entities); i++)
            good |= strncmp(text, entities[i], strlen(entities[i])) == 0;
        if (!good)
            fail_msg("a bare & in: %.60s", text);
        if (*text != '<')
            continue;
        if (text[1] == '/') {
            size_t n = strcspn(text + 2, ">");

            assert_true(depth > 0);
            if (strncmp(stack[--depth], text + 2, n) != 0 || !strchr(" >", stack[depth][n]))
                fail_msg("wrong end: %.60s", text);
        } else {
            assert_true(depth < LENGTH(stack));
            stack[depth++] = text + 1;
        }
    }
    assert_int_equal(depth, 0);
}

static void test_svd(void **state)
{
    char *text = dump_new("svd");

    (void)state;
    check_xml(text);
    has(text, "\n  <name>_16550_test</name>\n");
    has(text, "<description>a|b &lt;i&gt;&amp;amp; */ /* &quot;q&quot; &apos;a&apos; *x* \\ \xef\xbf\xbd \xef\xbf\xbd "
              "\xef\xbf\xbd \xc3\xa4 ]]&gt; (PCI 1234:11e8)</description>\n");
    has(text, "<width>64</width>");
    has_not(text, "<name>BAR0</name>");
    has(text, "<name>BAR2</name>");
    has(text, "<size>0x10000000000</size>");
    has(text, "<name>CONFIG</name>");
    has(text, "<baseAddress>0x10000000000</baseAddress>");
    has(text, "<name>ID</name>");
    has(text, "<addressOffset>0x0</addressOffset>\n          <size>32</size>\n          <access>read-only</access>\n"
              "          <resetValue>0x10000ed</resetValue>\n          <resetMask>0xffffffff</resetMask>\n");
    has(text, "<cluster>\n          <dim>8</dim>\n          <dimIncrement>0x40</dimIncrement>\n"
              "          <name>CH[%s]</name>\n");
    has(text, "<addressOffset>0x100</addressOffset>\n          <register>\n            <name>CTRL</name>\n"
              "            <addressOffset>0x8</addressOffset>\n");
    has(text, "<modifiedWriteValues>oneToClear</modifiedWriteValues>");
    has(text, "<name>RING[%s]</name>");
    has(text, "<name>SPARSE%s</name>");
    has(text, "<access>read-writeOnce</access>");
    has(text, "<access>write-only</access>");
    has(text, "<name>run</name>\n              <bitOffset>63</bitOffset>\n              <bitWidth>1</bitWidth>\n"
              "              <access>read-only</access>\n              <readAction>clear</readAction>\n");
    has(text, "<name>to_device_2</name>\n                  <description>to-device</description>\n"
              "                  <value>0x1</value>\n");
    has(text, "<name>_2_x____</name>");
    free(text);
}

static void test_bare(void **state)
{
    static const char *const formats[] = { "json", "header", "markdown", "svd" };
    static const struct regdump_device bare = { .name = "", .region_size = { [7] = 256 } };
    struct regdump_device saved = about;
    struct regmap *map;

    (void)state;
    about = bare;
    assert_int_equal(regmap_new(&map, "test", NULL, about.region_size), 0);
    for (size_t i = 0; i < LENGTH(formats); i++) {
        char *text = dump(map, formats[i]), *none = dump(NULL, formats[i]);

        assert_string_equal(text, none);
        free(none);
        if (strcmp(formats[i], "json") == 0)
            has(text, "\"registers\": []");
        else if (strcmp(formats[i], "header") == 0)
            assert_true(compiles("-x c -std=c99", text, "unsigned size = DEVICE_CONFIG_SIZE;\n"));
        else if (strcmp(formats[i], "markdown") == 0)
            has_not(text, "##");
        else
            check_xml(text);
        free(text);
    }
    regmap_free(map);
    about = saved;
}

static void test_errors(void **state)
{
    struct regmap *map = new_map();
    FILE *full = fopen("/dev/full", "w");

    (void)state;
    log_threshold = -1;
    assert_int_equal(regdump(stdout, map, &about, "yaml"), -EINVAL);
    assert_int_equal(regdump(stdout, map, &about, ""), -EINVAL);
    assert_non_null(full);
    assert_int_equal(regdump(full, map, &about, "json"), -EIO);
    assert_int_equal(regdump(full, map, &about, "svd"), -EIO);
    log_threshold = LOG_WARN;
    fclose(full);
    regmap_free(map);
}

static void prints(const char *text, enum regtext_style style, const char *expected)
{
    char *got = NULL;
    size_t size;
    FILE *out = open_memstream(&got, &size);

    assert_non_null(out);
    regtext_print(out, text, style);
    fclose(out);
    assert_string_equal(got, expected);
    assert_int_equal(regtext_blank(text), !*expected);
    free(got);
}

static void test_print(void **state)
{
    (void)state;
    prints(NULL, REGTEXT_XML, "");
    prints("", REGTEXT_XML, "");
    prints(" \n\t\xc2\x85\xe2\x80\xa8", REGTEXT_XML, "");
    prints(" a \r\n b ", REGTEXT_XML, "a b");
    prints("<&\"'>", REGTEXT_XML, "&lt;&amp;&quot;&apos;&gt;");
    prints("\x7f|\xef\xbf\xbe|\xe2\x81\xa6", REGTEXT_XML, "\xef\xbf\xbd|\xef\xbf\xbd|\xef\xbf\xbd");
    prints("*/*/ //* **//", REGTEXT_COMMENT, "* / * / // * ** //");
    prints("?" "?/\\\n", REGTEXT_COMMENT, "?" "?/\\");
    prints("_a_b_ #1 [x](y)", REGTEXT_MARKDOWN, "\\_a_b\\_ \\#1 \\[x\\](y)");
    prints("\\|", REGTEXT_MARKDOWN, "\\\\\\|");
    prints("\xc4\xaa", REGTEXT_MARKDOWN, "\xc4\xaa"); /* U+012A, whose low byte is an asterisk */
}

static void test_utf8(void **state)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        { "", "" },
        { "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" },
        { "\xf4\x8f\xbf\xbf\xf4\x90\x80\x80", "\xf4\x8f\xbf\xbf\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd" },                     /* longer than need be */
        { "\xe0\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },     /* the same */
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },     /* a surrogate */
        { "\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd" },                     /* cut off */
        { "\xf0\x9f\x98x", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx" },
        { "\xff\n", "\xef\xbf\xbd\n" },
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        char *text = strdup(cases[i].text), *got = regtext_utf8(text); /* a copy: reads beyond the end are seen */

        assert_string_equal(got, cases[i].expected);
        free(got);
        free(text);
    }
}

static void test_names(void **state)
{
    struct regtext_names names = { NULL };
    char *name = regtext_identifier("a-B\xc3\xa4 9\xff", true);

    (void)state;
    assert_string_equal(name, "A_B__9_");
    free(name);
    assert_string_equal(regtext_take(&names, "%s", "x"), "x");
    assert_string_equal(regtext_take(&names, "x_2"), "x_2");
    assert_string_equal(regtext_take(&names, "x"), "x_3");
    assert_string_equal(regtext_take(&names, "x"), "x_4");
    assert_string_equal(regtext_take(&names, "x_2"), "x_2_2");
    assert_string_equal(regtext_take(&names, "X"), "X");
    regtext_forget(&names);
    assert_string_equal(regtext_take(&names, "x"), "x");
    regtext_forget(&names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_registers), cmocka_unit_test(test_json_device), cmocka_unit_test(test_header),
        cmocka_unit_test(test_markdown),       cmocka_unit_test(test_svd),         cmocka_unit_test(test_bare),
        cmocka_unit_test(test_errors),         cmocka_unit_test(test_print),       cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests_name("regdump", tests, NULL, NULL);
}
