/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/report: what is taken, what is refused, the line, the list, who is told. log_write is replaced.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/outside/report.h"

/* ---- in place of core/base/log.c -------------------------------------------------------------------------------------- */

int log_threshold = LOG_INFO;
static unsigned lines;
static enum log_level last_level;
static char last_line[2048];

static void keep(enum log_level level, const char *format, va_list args)
{
    vsnprintf(last_line, sizeof last_line, format, args);
    last_level = level;
    lines++;
}

void log_write(const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    assert_string_equal(who, "dut");
    va_start(args, format);
    keep(level, format, args);
    va_end(args);
}

void log_limited(struct log_limit *limit, const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    assert_non_null(limit);
    assert_string_equal(who, "dut");
    va_start(args, format);
    keep(level, format, args);
    va_end(args);
}

/* ---- helpers ------------------------------------------------------------------------------------------------------ */

static struct reports reports;
static unsigned told;
static char told_name[64];

static void on_told(void *ctx, json_t *report)
{
    assert_ptr_equal(ctx, &told);
    snprintf(told_name, sizeof told_name, "%s", json_string_value(json_object_get(report, "name")));
    told++;
}

static int setup(void **state)
{
    (void)state;
    lines = told = 0;
    last_line[0] = told_name[0] = 0;
    return report_init(&reports, "dut");
}

static int teardown(void **state)
{
    (void)state;
    report_fini(&reports);
    return 0;
}

static int send_items(const char *name, uint32_t flags, const struct vfu_report_item *items, uint32_t n)
{
    struct vfu_report report = {
        .struct_size = sizeof report,
        .flags = flags,
        .name = name,
        .items = items,
        .nitems = n,
        .item_size = sizeof *items,
    };

    return report_send(&reports, &report);
}

static json_t *listed(void)
{
    json_t *reply = json_object();

    assert_int_equal(report_list(&reports, reply), 0);
    return reply;
}

/* ---- tests -------------------------------------------------------------------------------------------------------- */

static void test_line_and_list(void **state)
{
    const struct vfu_report_item items[] = {
        { .key = "stage", .type = VFU_REPORT_INTEGER, .integer = -2 },
        { .key = "after", .type = VFU_REPORT_NUMBER, .number = 1.5 },
        { .key = "kicked", .type = VFU_REPORT_BOOLEAN, .integer = 7 },
        { .key = "why", .type = VFU_REPORT_STRING, .string = "two words\n\"x\"" },
        { .key = "word", .type = VFU_REPORT_STRING, .string = "plain" },
    };
    json_t *reply, *first;

    (void)state;
    assert_int_equal(send_items("expired", 0, items, 5), 0);
    assert_string_equal(last_line, "report: expired stage=-2 after=1.5 kicked=true why=\"two words\\x0a\\\"x\\\"\" word=plain");
    assert_int_equal(last_level, LOG_WARN);
    reply = listed();
    first = json_array_get(json_object_get(reply, "reports"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "name")), "expired");
    assert_true(json_is_false(json_object_get(first, "fatal")));
    assert_true(json_number_value(json_object_get(first, "time")) > 1e9);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(first, "data"), "stage")), -2);
    assert_true(json_is_true(json_object_get(json_object_get(first, "data"), "kicked")));
    assert_string_equal(json_string_value(json_object_get(json_object_get(first, "data"), "why")), "two words\n\"x\"");
    assert_int_equal(json_integer_value(json_object_get(reply, "total")), 1);
    assert_int_equal(json_integer_value(json_object_get(reply, "fatal")), 0);
    json_decref(reply);
}

static void test_fatal(void **state)
{
    (void)state;
    assert_false(report_fatal(&reports));
    assert_int_equal(send_items("fine", 0, NULL, 0), 0);
    assert_false(report_fatal(&reports));
    assert_int_equal(send_items("panicked", VFU_REPORT_FATAL, NULL, 0), 0);
    assert_true(report_fatal(&reports));
    assert_int_equal(last_level, LOG_ERROR);
    assert_string_equal(last_line, "report: panicked (fatal)");
}

static void test_refused(void **state)
{
    const struct vfu_report_item keyless = { .type = VFU_REPORT_INTEGER },
                                 odd_key = { .key = "a b", .type = VFU_REPORT_INTEGER },
                                 odd_type = { .key = "a", .type = 4 },
                                 no_string = { .key = "a", .type = VFU_REPORT_STRING };
    static char key[80], text[1100];
    struct vfu_report_item item = { .key = "a", .type = VFU_REPORT_STRING, .string = text }, many[33];
    struct vfu_report small = { .struct_size = 8, .name = "x" };

    (void)state;
    assert_int_equal(report_send(&reports, NULL), -EINVAL);
    assert_int_equal(report_send(&reports, &small), -EINVAL);
    assert_int_equal(send_items(NULL, 0, NULL, 0), -EINVAL);
    assert_int_equal(send_items("", 0, NULL, 0), -EINVAL);
    assert_int_equal(send_items("a\nb", 0, NULL, 0), -EINVAL);
    assert_int_equal(send_items("x", 0, NULL, 1), -EINVAL);
    assert_int_equal(send_items("x", 0, &keyless, 1), -EINVAL);
    assert_int_equal(send_items("x", 0, &odd_key, 1), -EINVAL);
    assert_int_equal(send_items("x", 0, &odd_type, 1), -EINVAL);
    assert_int_equal(send_items("x", 0, &no_string, 1), -EINVAL);
    memset(text, 't', 1023);
    assert_int_equal(send_items("x", 0, &item, 1), 0);
    memset(text, 't', 1024);
    assert_int_equal(send_items("x", 0, &item, 1), -EINVAL);
    memset(key, 'k', 63);
    assert_int_equal(send_items(key, 0, NULL, 0), 0);
    memset(key, 'k', 64);
    assert_int_equal(send_items(key, 0, NULL, 0), -EINVAL);
    for (unsigned i = 0; i < 33; i++)
        many[i] = (struct vfu_report_item){ .key = "n", .integer = i };
    assert_int_equal(send_items("x", 0, many, 32), 0);
    assert_int_equal(send_items("x", 0, many, 33), -EINVAL);
    assert_int_equal(send_items("x", 0, many, UINT32_MAX), -EINVAL);
    assert_int_equal(reports.total, 3);
    assert_int_equal(lines, 3);
}

static void test_bytes_that_are_no_text(void **state)
{
    const struct vfu_report_item items[] = {
        { .key = "raw", .type = VFU_REPORT_STRING, .string = "a\xff\xfe" },
        { .key = "nan", .type = VFU_REPORT_NUMBER, .number = NAN },
    };
    json_t *reply, *data;

    (void)state;
    assert_int_equal(send_items("x", 0, items, 2), 0);
    reply = listed();
    data = json_object_get(json_array_get(json_object_get(reply, "reports"), 0), "data");
    assert_string_equal(json_string_value(json_object_get(data, "raw")), "a??");
    assert_true(json_is_null(json_object_get(data, "nan")));
    json_decref(reply);
}

/* An SDK whose item is shorter, and one whose item is longer. */
static void test_sizes(void **state)
{
    struct {
        struct vfu_report_item item;
        uint64_t more;
    } longer[2] = { { { .key = "a", .integer = 1 }, 9 }, { { .key = "b", .integer = 2 }, 9 } };
    struct vfu_report report = {
        .struct_size = sizeof report + 64 > 4096 ? 0 : sizeof report,
        .name = "sized",
        .items = &longer[0].item,
        .nitems = 2,
        .item_size = sizeof longer[0],
    };

    (void)state;
    assert_int_equal(report_send(&reports, &report), 0);
    assert_string_equal(last_line, "report: sized a=1 b=2");
    report.item_size = 4;
    assert_int_equal(report_send(&reports, &report), -EINVAL);
}

static void test_told_and_kept(void **state)
{
    json_t *reply;

    (void)state;
    report_listen(&reports, on_told, &told);
    for (unsigned i = 0; i < REPORT_KEPT + 10; i++)
        assert_int_equal(send_items(i == 9 ? "ninth" : i == 10 ? "tenth" : "other", 0, NULL, 0), 0);
    assert_int_equal(told, REPORT_KEPT + 10);
    assert_string_equal(told_name, "other");
    reply = listed();
    assert_int_equal(json_array_size(json_object_get(reply, "reports")), REPORT_KEPT);
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(reply, "reports"), 0), "name")), "tenth");
    assert_int_equal(json_integer_value(json_object_get(reply, "total")), REPORT_KEPT + 10);
    json_decref(reply);
    report_listen(&reports, NULL, NULL);
    assert_int_equal(send_items("quiet", 0, NULL, 0), 0);
    assert_int_equal(told, REPORT_KEPT + 10);
}

/* A line has an end, however much there is to say. */
static void test_long_line(void **state)
{
    static char text[1024];
    struct vfu_report_item items[8];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    for (unsigned i = 0; i < 8; i++)
        items[i] = (struct vfu_report_item){ .key = "long", .type = VFU_REPORT_STRING, .string = text };
    assert_int_equal(send_items("much", 0, items, 8), 0);
    assert_true(strlen(last_line) < 1100);
    assert_int_equal(strncmp(last_line, "report: much long=xxx", 21), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_line_and_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fatal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes_that_are_no_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_told_and_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_line, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
