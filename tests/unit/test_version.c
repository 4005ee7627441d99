/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/version: what clients propose, the honest ones and the others, and the reply. One thread.
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
#include <jansson.h>

#include <vfu/protocol.h>

#include "core/wire/transport.h"
#include "core/wire/version.h"

static char why[160];

/* The body is put where the sanitizer sees a read past its end. */
static int parse_bytes(struct version *v, uint16_t major, uint16_t minor, const void *json, size_t n)
{
    struct vfu_msg_version fixed = { .major = major, .minor = minor };
    uint8_t *body = malloc(sizeof fixed + n);
    int result;

    assert_non_null(body);
    memcpy(body, &fixed, sizeof fixed);
    if (n)
        memcpy(body + sizeof fixed, json, n);
    memset(v, 0x5a, sizeof *v);
    why[0] = '\0';
    result = version_parse(v, body, sizeof fixed + n, why, sizeof why);
    free(body);
    return result;
}

static int parse(struct version *v, const char *json)
{
    return parse_bytes(v, 0, 1, json, strlen(json) + 1);
}

static void assert_defaults(const struct version *v)
{
    assert_int_equal(v->minor, 0);
    assert_int_equal(v->max_msg_fds, 1);
    assert_int_equal(v->max_data_xfer_size, 1048576);
    assert_int_equal(v->max_dma_maps, 65535);
    assert_int_equal(v->pgsizes, 4096);
    assert_int_equal(v->migration_pgsize, 0);
    assert_int_equal(v->max_bitmap_size, 0);
    assert_false(v->write_multiple);
    assert_false(v->twin_socket);
}

static void test_nothing_said(void **state)
{
    static const char *const texts[] = {
        "",
        "{}",
        " \t\n{ } ",
        "{\"capabilities\":{}}",
        "{\"capabilities\":{\"migration\":{}}}",
        "{\"capabilities\":{\"twin_socket\":{}}}",
        "{\"capabilities\":{\"max_msg_fdss\":0,\"MAX_MSG_FDS\":\"x\",\"x\":{\"max_msg_fds\":-1},\"y\":[[null]]}}",
        "{\"extra\":[1,2,{\"capabilities\":3}],\"max_msg_fds\":0}",
        "{\"capabilities\":{\"twin_socket\":{\"supported\":false,\"fd_index\":\"?\"},\"write_multiple\":false}}",
    };
    struct version v;

    (void)state;
    assert_int_equal(parse_bytes(&v, 0, 0, NULL, 0), 0);
    assert_defaults(&v);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(parse(&v, texts[i]), 0);
        assert_defaults(&v);
    }
}

static void test_everything_said(void **state)
{
    struct version v;

    (void)state;
    assert_int_equal(parse(&v, "{\"capabilities\":{\"pgsizes\":4096,\"max_msg_fds\":16,\"max_dma_maps\":65535,"
                               "\"max_data_xfer_size\":1048576,\"migration\":{\"max_bitmap_size\":268435456,"
                               "\"pgsize\":65536},\"write_multiple\":true,\"twin_socket\":{\"supported\":true}}}"),
                     0);
    assert_int_equal(v.max_msg_fds, 16);
    assert_int_equal(v.max_data_xfer_size, 1048576);
    assert_int_equal(v.max_dma_maps, 65535);
    assert_int_equal(v.pgsizes, 4096);
    assert_int_equal(v.migration_pgsize, 65536);
    assert_int_equal(v.max_bitmap_size, 268435456);
    assert_true(v.write_multiple);
    assert_true(v.twin_socket);
}

static void test_versions(void **state)
{
    struct version v;

    (void)state;
    assert_int_equal(parse_bytes(&v, 0, 65535, "{}", 3), 0);
    assert_int_equal(v.minor, 0);
    assert_int_equal(parse_bytes(&v, 1, 0, "{}", 3), -EINVAL);
    assert_non_null(strstr(why, "major version 1"));
    assert_int_equal(parse_bytes(&v, 65535, 0, NULL, 0), -EINVAL);
}

static void test_padding(void **state)
{
    static const char padded[] = "{\"capabilities\":{\"max_msg_fds\":8}}\0\0\0garbage {\"capabilities\":7}";
    struct version v;

    (void)state;
    assert_int_equal(parse_bytes(&v, 0, 0, padded, sizeof padded), 0);
    assert_int_equal(v.max_msg_fds, 8);
    assert_int_equal(parse_bytes(&v, 0, 0, padded, sizeof padded - 1), 0);
    assert_int_equal(parse_bytes(&v, 0, 0, "\0\0\0\0{", 5), 0);
    assert_defaults(&v);
}

static void test_no_nul(void **state)
{
    struct version v;

    (void)state;
    assert_int_equal(parse_bytes(&v, 0, 0, "{}", 2), -EINVAL);
    assert_non_null(strstr(why, "NUL"));
    assert_int_equal(parse_bytes(&v, 0, 0, "{", 1), -EINVAL);
}

static void test_not_json(void **state)
{
    static const char *const texts[] = {
        " ",
        "x",
        "{",
        "}",
        "{}}",
        "{}{}",
        "[]",
        "7",
        "\"capabilities\"",
        "null",
        "{\"capabilities\"}",
        "{\"capabilities\":{}",
        "{'capabilities':{}}",
        "{\"capabilities\":{},}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":99999999999999999999999}",
        "{\"a\":1e999}",
        "{\"capabilities\":{\"max_msg_fds\":0x10}}",
    };
    struct version v;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (parse(&v, texts[i]) != -EINVAL || !why[0])
            fail_msg("taken: %s", texts[i]);
    }
}

static void test_wrong_types(void **state)
{
    static const char *const texts[] = {
        "{\"capabilities\":[]}",
        "{\"capabilities\":null}",
        "{\"capabilities\":\"x\"}",
        "{\"capabilities\":{\"migration\":4096}}",
        "{\"capabilities\":{\"migration\":null}}",
        "{\"capabilities\":{\"migration\":{\"pgsize\":\"4096\"}}}",
        "{\"capabilities\":{\"migration\":{\"max_bitmap_size\":[]}}}",
        "{\"capabilities\":{\"twin_socket\":true}}",
        "{\"capabilities\":{\"twin_socket\":{\"supported\":1}}}",
        "{\"capabilities\":{\"write_multiple\":1}}",
        "{\"capabilities\":{\"write_multiple\":\"true\"}}",
        "{\"capabilities\":{\"write_multiple\":null}}",
    };
    struct version v;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (parse(&v, texts[i]) != -EINVAL || !why[0])
            fail_msg("taken: %s", texts[i]);
    }
}

static void test_absurd_numbers(void **state)
{
    static const char *const keys[] = { "max_msg_fds", "max_data_xfer_size", "max_dma_maps", "pgsizes" };
    static const char *const values[] = {
        "0",    "-1", "-0", "-9223372036854775808", "9223372036854775808", "1.5", "4096.0", "1e3", "\"4096\"", "true",
        "null", "[]", "{}",
    };
    char text[128];
    struct version v;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < sizeof values / sizeof values[0]; j++) {
            snprintf(text, sizeof text, "{\"capabilities\":{\"%s\":%s}}", keys[i], values[j]);
            if (parse(&v, text) != -EINVAL)
                fail_msg("taken: %s", text);
            /* The complaint names the field, but for what is no JSON at all. */
            if (strlen(values[j]) < 19 && !strstr(why, keys[i]))
                fail_msg("%s: %s", text, why);
        }
        snprintf(text, sizeof text, "{\"capabilities\":{\"%s\":4294967296}}", keys[i]);
        assert_int_equal(parse(&v, text), i == 3 ? 0 : -EINVAL);
        snprintf(text, sizeof text, "{\"capabilities\":{\"%s\":4294967295}}", keys[i]);
        assert_int_equal(parse(&v, text), i == 3 ? -EINVAL : 0);
        snprintf(text, sizeof text, "{\"capabilities\":{\"%s\":1}}", keys[i]);
        assert_int_equal(parse(&v, text), i == 3 ? -EINVAL : 0);
    }
    assert_int_equal(parse(&v, "{\"capabilities\":{\"pgsizes\":1073745920}}"), 0);
    assert_int_equal(v.pgsizes, 0x40001000);
    assert_int_equal(parse(&v, "{\"capabilities\":{\"max_data_xfer_size\":1,\"max_msg_fds\":4294967295}}"), 0);
    assert_int_equal(v.max_data_xfer_size, 1);
    assert_int_equal(v.max_msg_fds, UINT32_MAX);
}

static void test_migration_page(void **state)
{
    static const struct {
        const char *value;
        int result;
    } cases[] = { { "4096", 0 },        { "2147483648", 0 },       { "0", -EINVAL },    { "2048", -EINVAL },
                  { "12288", -EINVAL }, { "4294967296", -EINVAL }, { "-4096", -EINVAL } };
    char text[128];
    struct version v;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(text, sizeof text, "{\"capabilities\":{\"migration\":{\"pgsize\":%s}}}", cases[i].value);
        if (parse(&v, text) != cases[i].result)
            fail_msg("%s", text);
    }
}

static void test_duplicate_keys(void **state)
{
    struct version v;

    (void)state;
    assert_int_equal(parse(&v, "{\"capabilities\":{\"max_msg_fds\":8,\"max_msg_fds\":8}}"), -EINVAL);
    assert_int_equal(parse(&v, "{\"capabilities\":{},\"capabilities\":{}}"), -EINVAL);
    assert_int_equal(parse(&v, "{\"x\":1,\"x\":2}"), -EINVAL);
}

/* Nesting as deep as a message allows must not take the stack; a long text must not leave the complaint's room. */
static void test_monsters(void **state)
{
    size_t n = TRANSPORT_MAX_DATA;
    char *text = malloc(n + 1);
    struct version v;

    (void)state;
    assert_non_null(text);
    memset(text, '[', n);
    text[n] = '\0';
    assert_int_equal(parse(&v, text), -EINVAL);
    memset(text, 'x', n);
    assert_int_equal(parse(&v, text), -EINVAL);
    assert_true(strlen(why) < sizeof why);
    memset(text, ' ', n);
    memcpy(text + n - 2, "{}", 2);
    assert_int_equal(parse(&v, text), 0);
    memset(text, '9', n);
    assert_int_equal(parse(&v, text), -EINVAL);
    free(text);
}

/* Every text that is one byte away from a good one: some are good too, none leaves a limit. */
static void test_one_byte_off(void **state)
{
    static const char good[] =
        "{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,\"pgsizes\":4096}}";
    struct version v;
    unsigned taken = 0;

    (void)state;
    for (size_t at = 0; at < sizeof good; at++) {
        for (int byte = 0; byte < 256; byte += at % 3 + 1) {
            char text[sizeof good];

            memcpy(text, good, sizeof good);
            text[at] = (char)byte;
            if (parse_bytes(&v, 0, 0, text, sizeof text) == 0) {
                taken++;
                assert_true(v.max_msg_fds >= 1 && v.max_data_xfer_size >= 1 && v.max_dma_maps >= 1);
                assert_true(v.pgsizes >= 4096 && v.pgsizes % 4096 == 0);
            }
        }
    }
    assert_true(taken > 100);
}

/* ---- the reply --------------------------------------------------------------------------------------------- */

static json_t *reply_of(const struct version *v, uint32_t max_dma_maps, int twin)
{
    uint8_t bytes[VERSION_REPLY_MAX + 8];
    struct vfu_msg_version fixed;
    json_error_t error;
    json_t *json;
    size_t n;

    memset(bytes, 0x5a, sizeof bytes);
    n = version_reply(v, max_dma_maps, twin, bytes);
    assert_true(n > sizeof fixed && n <= 200);
    memcpy(&fixed, bytes, sizeof fixed);
    assert_int_equal(fixed.major, 0);
    assert_int_equal(fixed.minor, 0);
    assert_int_equal(bytes[n - 1], '\0');
    assert_int_equal(strlen((char *)bytes + sizeof fixed), n - sizeof fixed - 1);
    for (size_t i = VERSION_REPLY_MAX; i < sizeof bytes; i++)
        assert_int_equal(bytes[i], 0x5a);
    json = json_loads((char *)bytes + sizeof fixed, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(json);
    return json;
}

static json_int_t number(json_t *json, const char *key)
{
    json_t *item = json_object_get(json_object_get(json, "capabilities"), key);

    assert_true(json_is_integer(item));
    return json_integer_value(item);
}

static void test_reply(void **state)
{
    struct version v;
    json_t *json, *caps, *twin;

    (void)state;
    assert_int_equal(parse(&v, ""), 0);
    json = reply_of(&v, 65535, -1);
    caps = json_object_get(json, "capabilities");
    assert_int_equal(number(json, "max_msg_fds"), TRANSPORT_FDS);
    assert_int_equal(number(json, "max_data_xfer_size"), TRANSPORT_MAX_DATA);
    assert_int_equal(number(json, "max_dma_maps"), 65535);
    assert_int_equal(number(json, "pgsizes"), 4096);
    assert_null(json_object_get(caps, "twin_socket"));
    assert_null(json_object_get(caps, "write_multiple"));
    json_decref(json);

    assert_int_equal(parse(&v, "{\"capabilities\":{\"write_multiple\":true,\"twin_socket\":{\"supported\":true}}}"), 0);
    json = reply_of(&v, UINT32_MAX, 15);
    caps = json_object_get(json, "capabilities");
    assert_int_equal(number(json, "max_dma_maps"), UINT32_MAX);
    assert_true(json_is_true(json_object_get(caps, "write_multiple")));
    twin = json_object_get(caps, "twin_socket");
    assert_true(json_is_true(json_object_get(twin, "supported")));
    assert_int_equal(json_integer_value(json_object_get(twin, "fd_index")), 15);
    json_decref(json);
}

/* Migration is answered where it was proposed, with bitmaps of what both sides can carry; the longest reply to the stock
 * client is no longer than its request. */
static void test_reply_migration(void **state)
{
    static const struct {
        const char *text;
        json_int_t bytes;
    } cases[] = {
        { "{\"capabilities\":{\"migration\":{}}}", TRANSPORT_MAX_DATA },
        { "{\"capabilities\":{\"migration\":{\"max_bitmap_size\":268435456,\"pgsize\":4096},\"write_multiple\":true}}",
          TRANSPORT_MAX_DATA },
        { "{\"capabilities\":{\"migration\":{\"max_bitmap_size\":1000}}}", 1000 },
        { "{\"capabilities\":{\"migration\":{},\"max_data_xfer_size\":500}}", 500 },
    };
    uint8_t bytes[VERSION_REPLY_MAX];
    struct version v;
    json_t *json;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const json_t *migration;

        assert_int_equal(parse(&v, cases[i].text), 0);
        assert_true(v.migration);
        assert_true(version_reply(&v, 65535, -1, bytes) <= 198);
        json = reply_of(&v, 65535, -1);
        migration = json_object_get(json_object_get(json, "capabilities"), "migration");
        assert_int_equal(json_integer_value(json_object_get(migration, "pgsize")), 4096);
        assert_int_equal(json_integer_value(json_object_get(migration, "max_bitmap_size")), cases[i].bytes);
        json_decref(json);
        /* Where the device cannot, the caller says so. */
        v.migration = false;
        json = reply_of(&v, 65535, -1);
        assert_null(json_object_get(json_object_get(json, "capabilities"), "migration"));
        json_decref(json);
    }
    assert_int_equal(parse(&v, "{\"capabilities\":{}}"), 0);
    assert_false(v.migration);
}

/* The smallest page of the client's: a subset of what it proposed. */
static void test_reply_page(void **state)
{
    static const struct {
        const char *text;
        uint64_t page;
    } cases[] = {
        { "{}", 4096 },
        { "{\"capabilities\":{\"pgsizes\":4096}}", 4096 },
        { "{\"capabilities\":{\"pgsizes\":1075843072}}", 4096 }, /* 4 KiB, 2 MiB, 1 GiB */
        { "{\"capabilities\":{\"pgsizes\":1075838976}}", 2097152 },
        { "{\"capabilities\":{\"pgsizes\":4611686018427387904}}", UINT64_C(1) << 62 },
    };
    uint8_t bytes[VERSION_REPLY_MAX];
    struct version v;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *json;

        assert_int_equal(parse(&v, cases[i].text), 0);
        assert_int_equal(version_page(&v), cases[i].page);
        json = reply_of(&v, 65535, -1);
        assert_int_equal(number(json, "pgsizes"), cases[i].page);
        json_decref(json);
    }
    v.migration = v.write_multiple = true;
    assert_true(version_reply(&v, UINT32_MAX, 15, bytes) < sizeof bytes);
}

/* What we say is something that we would take. */
static void test_reply_is_taken(void **state)
{
    uint8_t bytes[VERSION_REPLY_MAX];
    struct version v, back;
    size_t n;

    (void)state;
    assert_int_equal(parse(&v, "{\"capabilities\":{\"write_multiple\":true}}"), 0);
    n = version_reply(&v, 4242, 0, bytes);
    assert_int_equal(version_parse(&back, bytes, n, why, sizeof why), 0);
    assert_int_equal(back.max_msg_fds, TRANSPORT_FDS);
    assert_int_equal(back.max_dma_maps, 4242);
    assert_true(back.write_multiple && back.twin_socket);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_said),   cmocka_unit_test(test_everything_said),
        cmocka_unit_test(test_versions),       cmocka_unit_test(test_padding),
        cmocka_unit_test(test_no_nul),         cmocka_unit_test(test_not_json),
        cmocka_unit_test(test_wrong_types),    cmocka_unit_test(test_absurd_numbers),
        cmocka_unit_test(test_migration_page), cmocka_unit_test(test_duplicate_keys),
        cmocka_unit_test(test_monsters),       cmocka_unit_test(test_one_byte_off),
        cmocka_unit_test(test_reply),          cmocka_unit_test(test_reply_migration),
        cmocka_unit_test(test_reply_page),
        cmocka_unit_test(test_reply_is_taken),
    };

    return cmocka_run_group_tests_name("version", tests, NULL, NULL);
}
