/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/params: texts of people against declarations of plugins. One thread; log_write is replaced.
 */
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

#include "core/base/log.h"
#include "core/plugin/params.h"

/* ---- in place of core/base/log.c -------------------------------------------------------------------------------- */

int log_threshold = LOG_WARN;
static unsigned lines;
static char last_line[2048];

void log_write(const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    assert_string_equal(who, "dut");
    assert_int_equal(level, LOG_ERROR);
    va_start(args, format);
    vsnprintf(last_line, sizeof last_line, format, args);
    va_end(args);
    lines++;
}

/* ---- helpers ----------------------------------------------------------------------------------------------- */

static struct params params;

static int declare(const struct vfu_param *list, uint32_t n, const char *const *items)
{
    uint32_t nitems = 0;

    while (items && items[nitems])
        nitems++;
    lines = 0;
    last_line[0] = '\0';
    params_init(&params, "dut", (char **)(uintptr_t)items, nitems);
    return params_declare(&params, list, n, sizeof *list);
}

/* One parameter of the kind, one value for it. A failure has exactly one line. */
static int one(const struct vfu_param *param, const char *text, struct param_value *value)
{
    char item[512];
    const char *items[] = { item, NULL };
    int result;

    snprintf(item, sizeof item, "%s=%s", param->name, text);
    result = declare(param, 1, items);
    assert_int_equal(lines, result ? 1 : 0);
    if (result)
        assert_non_null(strstr(last_line, param->name));
    else
        *value = *params_find(&params, param->name);
    params_fini(&params);
    return result;
}

/* ---- whole numbers ----------------------------------------------------------------------------------------- */

static void test_ints(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {
        { "0", 0 },
        { "-0", 0 },
        { "7", 7 },
        { "007", 7 },
        { "010", 10 },
        { "-1", -1 },
        { "4096", 4096 },
        { "0x1000", 4096 },
        { "0XfF", 255 },
        { "0x1b", 0x1b },
        { "-0x10", -16 },
        { "0b101", 5 },
        { "0B1", 1 },
        { "0o17", 15 },
        { "0O7", 7 },
        { "1K", 1024 },
        { "1k", 1024 },
        { "64M", 64 << 20 },
        { "2G", INT64_C(2) << 30 },
        { "3t", INT64_C(3) << 40 },
        { "4KiB", 4096 },
        { "4kb", 4096 },
        { "0x10M", 16 << 20 },
        { "0b1G", 1 << 30 },
        { "-4K", -4096 },
        { "9223372036854775807", INT64_MAX },
        { "-9223372036854775808", INT64_MIN },
        { "-8388608T", INT64_MIN },
        { "8388607T", INT64_C(8388607) << 40 },
        { "0xffffffffffffffff", -1 },
        { "0x8000000000000000", INT64_MIN },
        { "0b1111111111111111111111111111111111111111111111111111111111111111", -1 },
        { "0o1777777777777777777777", -1 },
        { "0x00000000000000000000000000000000001", 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t value = 0x5a5a;

        if (params_parse_int(cases[i].text, &value) || value != cases[i].value)
            fail_msg("%s gave %lld", cases[i].text, (long long)value);
    }
}

static void test_bad_ints(void **state)
{
    static const char *const texts[] = {
        "",      "-",     "+1",   " 1",   "1 ",   "\t1",  "1\n", "--1",       "- 1",  "0x",    "-0x",
        "0b",    "0o",    "0b2",  "0o8",  "0xg",  "x10",  "1x",  "K",         "-K",   "0xK",   "1KK",
        "1KM",   "1Ki",   "1B",   "1iB",  "1KBB", "1P",   "1,0", "1.5",       "1e3",  "ten",   "0x0x1",
        "0b0b1", "0o0o1", "0x-1", "0b-1", "0x 1", "0b+1", "1_0", "\302\2401", "0b12", "0x1K1",
    };
    static const char *const huge[] = {
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999999999",
        "-9223372036854775809",
        "0x10000000000000000",
        "-0xffffffffffffffff",
        "8388608T",
        "16777216T",
        "-8388609T",
        "0x100000000000000M",
        "0b11111111111111111111111111111111111111111111111111111111111111111",
        "0o2000000000000000000000",
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int64_t value = 0x5a5a;

        if (params_parse_int(texts[i], &value) != -EINVAL || value != 0x5a5a)
            fail_msg("taken, or touched the value: '%s'", texts[i]);
    }
    for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        int64_t value = 0x5a5a;

        if (params_parse_int(huge[i], &value) != -ERANGE || value != 0x5a5a)
            fail_msg("taken, or touched the value: '%s'", huge[i]);
    }
}

static void test_int_range(void **state)
{
    struct vfu_param param = { .name = "n", .type = VFU_PARAM_INT, .min = -4, .max = 100 };
    struct param_value value;

    (void)state;
    assert_int_equal(one(&param, "101", &value), 0); /* no range was asked for */
    param.flags = VFU_PARAM_HAS_MIN;
    assert_int_equal(one(&param, "-4", &value), 0);
    assert_int_equal(one(&param, "101", &value), 0);
    assert_int_equal(one(&param, "-5", &value), -EINVAL);
    param.flags = VFU_PARAM_HAS_MAX;
    assert_int_equal(one(&param, "100", &value), 0);
    assert_int_equal(one(&param, "-5", &value), 0);
    assert_int_equal(one(&param, "101", &value), -EINVAL);
    assert_non_null(strstr(last_line, "100"));
    param.flags = VFU_PARAM_HAS_MIN | VFU_PARAM_HAS_MAX;
    assert_int_equal(one(&param, "0x64", &value), 0);
    assert_int_equal(value.integer, 100);
    assert_int_equal(one(&param, "0xffffffffffffffff", &value), 0); /* is -1 */
    assert_int_equal(one(&param, "0x8000000000000000", &value), -EINVAL);
    assert_int_equal(one(&param, "9223372036854775808", &value), -EINVAL);
    assert_non_null(strstr(last_line, "out of range"));
    assert_int_equal(one(&param, "", &value), -EINVAL);
    assert_non_null(strstr(last_line, "whole number"));
}

/* ---- the other types --------------------------------------------------------------------------------------- */

static void test_bools(void **state)
{
    static const char *const yes[] = { "on", "yes", "true", "1", "ON", "True" };
    static const char *const no[] = { "off", "no", "false", "0", "OFF", "nO" };
    static const char *const neither[] = { "", "2", "-1", "y", "o", "on ", " on", "truee", "00", "enable" };
    const struct vfu_param param = { .name = "b", .type = VFU_PARAM_BOOL };
    struct param_value value;

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(one(&param, yes[i], &value), 0);
        assert_int_equal(value.integer, 1);
        assert_int_equal(one(&param, no[i], &value), 0);
        assert_int_equal(value.integer, 0);
    }
    for (size_t i = 0; i < sizeof neither / sizeof neither[0]; i++)
        assert_int_equal(one(&param, neither[i], &value), -EINVAL);
}

static void test_enums(void **state)
{
    static const char *const choices[] = { "raw", "qcow", "", "raw2", NULL };
    struct vfu_param param = { .name = "format", .type = VFU_PARAM_ENUM, .choices = choices };
    struct param_value value;

    (void)state;
    assert_int_equal(one(&param, "raw", &value), 0);
    assert_int_equal(value.integer, 0);
    assert_int_equal(one(&param, "raw2", &value), 0);
    assert_int_equal(value.integer, 3);
    assert_int_equal(one(&param, "", &value), 0);
    assert_int_equal(value.integer, 2);
    assert_int_equal(one(&param, "Raw", &value), -EINVAL);
    assert_int_equal(one(&param, "ra", &value), -EINVAL);
    assert_int_equal(one(&param, "raw3", &value), -EINVAL);
    assert_non_null(strstr(last_line, "one of raw, qcow, , raw2"));
    param.choices = NULL; /* a plugin's mistake: nothing fits */
    assert_int_equal(one(&param, "raw", &value), -EINVAL);
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        double value;
    } good[] = { { "0", 0 }, { "0.25", 0.25 }, { "-1.5e3", -1500 }, { ".5", 0.5 }, { "1E2", 100 }, { "+2", 2 } };
    static const char *const bad[] = { "",     " 1",  "1 ",    "nan", "inf", "-infinity", "1e999", "0x10",
                                       "1.5K", "1,5", "1.2.3", "e",   ".",   "-",         "--1",   "1e" };
    struct vfu_param param = { .name = "x", .type = VFU_PARAM_NUMBER, .min = 0, .max = 10 };
    struct param_value value;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(one(&param, good[i].text, &value), 0);
        assert_true(value.number == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (one(&param, bad[i], &value) != -EINVAL)
            fail_msg("taken: '%s'", bad[i]);
    }
    param.flags = VFU_PARAM_HAS_MIN | VFU_PARAM_HAS_MAX;
    assert_int_equal(one(&param, "10.0", &value), 0);
    assert_int_equal(one(&param, "0", &value), 0);
    assert_int_equal(one(&param, "10.01", &value), -EINVAL);
    assert_int_equal(one(&param, "-0.01", &value), -EINVAL);
}

static void test_strings(void **state)
{
    struct vfu_param param = { .name = "path", .type = VFU_PARAM_STRING };
    char name[260];
    struct param_value value;

    (void)state;
    param.fallback = "/dev/null";
    for (int given = 0; given < 2; given++) {
        const char *items[] = { "path=a=b=c", NULL };

        assert_int_equal(declare(&param, 1, given ? items : NULL), 0);
        assert_string_equal(params_find(&params, "path")->text, given ? "a=b=c" : "/dev/null");
        assert_int_equal(params_find(&params, "path")->given, given);
        params_fini(&params);
    }
    assert_int_equal(one(&param, "", &value), 0);
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    param.name = name;
    assert_int_equal(one(&param, "x", &value), 0);
}

/* ---- the list as a whole ----------------------------------------------------------------------------------- */

static const struct vfu_param list[] = {
    { .name = "size", .doc = "how large it is", .type = VFU_PARAM_INT, .flags = VFU_PARAM_REQUIRED },
    { .name = "siz", .type = VFU_PARAM_INT },
    { .name = "mode", .type = VFU_PARAM_BOOL, .fallback = "on", .flags = VFU_PARAM_REQUIRED },
};

static void test_unknown(void **state)
{
    static const char *const unknown[] = { "sizes=1", "si=1", "=1", "", "SIZE=1", "size =1", "mod", "%s%s%n=1" };

    (void)state;
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        const char *items[] = { "size=1", unknown[i], NULL };

        assert_int_equal(declare(list, 3, items), -EINVAL);
        assert_int_equal(lines, 1);
        assert_non_null(strstr(last_line, "size, siz, mode"));
        params_fini(&params);
    }
    assert_int_equal(declare(NULL, 0, (const char *const[]){ "a=1", NULL }), -EINVAL);
    assert_non_null(strstr(last_line, "takes none"));
    params_fini(&params);
}

static void test_twice(void **state)
{
    const char *items[] = { "size=1", "siz=3", "size=1", NULL };

    (void)state;
    assert_int_equal(declare(list, 3, items), -EINVAL);
    assert_int_equal(lines, 1);
    assert_non_null(strstr(last_line, "size is given twice"));
    params_fini(&params);
}

static void test_required(void **state)
{
    const char *items[] = { "size=0x20", NULL };

    (void)state;
    assert_int_equal(declare(list, 3, NULL), -EINVAL);
    assert_int_equal(lines, 1);
    assert_non_null(strstr(last_line, "size is required: how large it is"));
    params_fini(&params);
    assert_int_equal(declare(list, 3, items), 0);
    assert_int_equal(params_find(&params, "size")->integer, 32);
    assert_true(params_find(&params, "size")->given);
    assert_null(params_find(&params, "siz")->text); /* absent */
    assert_int_equal(params_find(&params, "mode")->integer, 1);
    assert_false(params_find(&params, "mode")->given);
    assert_null(params_find(&params, "none"));
    assert_int_equal(params_declare(&params, list, 3, sizeof list[0]), -EALREADY);
    assert_int_equal(lines, 0);
    params_fini(&params);
}

static void test_bad_fallback(void **state)
{
    const struct vfu_param param = { .name = "n", .type = VFU_PARAM_INT, .fallback = "lots" };

    (void)state;
    assert_int_equal(declare(&param, 1, NULL), -EINVAL);
    params_fini(&params);
    assert_int_equal(declare(&param, 1, (const char *const[]){ "n=4", NULL }), 0);
    params_fini(&params);
}

static void test_bad_declarations(void **state)
{
    static const struct vfu_param bad[][2] = {
        { { .name = "a" }, { .name = "a" } },
        { { .name = "a" }, { .name = NULL } },
        { { .name = "a" }, { .name = "" } },
        { { .name = "a" }, { .name = "b", .type = VFU_PARAM_NUMBER + 1 } },
        { { .name = "a", .type = UINT32_MAX }, { .name = "b" } },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(declare(bad[i], 2, NULL), -ENOEXEC);
        assert_int_equal(lines, 1);
        params_fini(&params);
    }
    assert_int_equal(declare(NULL, 1, NULL), -ENOEXEC);
    params_fini(&params);
    assert_int_equal(declare(list, UINT32_MAX, NULL), -ENOEXEC);
    params_fini(&params);
    params_init(&params, "dut", NULL, 0);
    assert_int_equal(params_declare(&params, list, 1, offsetof(struct vfu_param, fallback) - 1), -ENOEXEC);
    assert_int_equal(params_declare(&params, list, 1, 0), -ENOEXEC);
    params_fini(&params);
}

/* Plugins of another SDK: elements that are shorter or longer than ours. */
static void test_element_sizes(void **state)
{
    struct {
        struct vfu_param param;
        uint64_t more[3];
    } longer[2] = { { .param = { .name = "a", .type = VFU_PARAM_INT, .fallback = "1" },
                      .more = { ~0ull, ~0ull, ~0ull } },
                    { .param = { .name = "b", .type = VFU_PARAM_INT, .fallback = "2" } } };
    char shorter[2][offsetof(struct vfu_param, fallback)] __attribute__((aligned(8)));

    (void)state;
    params_init(&params, "dut", NULL, 0);
    assert_int_equal(params_declare(&params, &longer[0].param, 2, sizeof longer[0]), 0);
    assert_int_equal(params_find(&params, "b")->integer, 2);
    params_fini(&params);
    for (int i = 0; i < 2; i++)
        memcpy(shorter[i], &longer[i].param, sizeof shorter[i]);
    params_init(&params, "dut", NULL, 0);
    assert_int_equal(params_declare(&params, (struct vfu_param *)(void *)shorter, 2, sizeof shorter[0]), 0);
    assert_null(params_find(&params, "b")->text);
    params_fini(&params);
}

/* Many names and long ones: the list in the log is cut, not overrun. */
static void test_long_lists(void **state)
{
    static struct vfu_param many[1024];
    static char names[1024][40];

    (void)state;
    for (int i = 0; i < 1024; i++) {
        snprintf(names[i], sizeof names[i], "a_rather_long_parameter_name_%d", i);
        many[i] = (struct vfu_param){ .name = names[i], .type = VFU_PARAM_STRING };
    }
    assert_int_equal(declare(many, 1024, (const char *const[]){ "nothing=1", NULL }), -EINVAL);
    assert_true(strlen(last_line) < 1200);
    params_fini(&params);
    assert_int_equal(declare(many, 1024, (const char *const[]){ "a_rather_long_parameter_name_1023=x", NULL }), 0);
    assert_string_equal(params_find(&params, names[1023])->text, "x");
    params_fini(&params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ints),          cmocka_unit_test(test_bad_ints),
        cmocka_unit_test(test_int_range),     cmocka_unit_test(test_bools),
        cmocka_unit_test(test_enums),         cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_strings),       cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_twice),         cmocka_unit_test(test_required),
        cmocka_unit_test(test_bad_fallback),  cmocka_unit_test(test_bad_declarations),
        cmocka_unit_test(test_element_sizes), cmocka_unit_test(test_long_lists),
    };

    return cmocka_run_group_tests_name("params", tests, NULL, NULL);
}
