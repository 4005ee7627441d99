/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_watch - what a host says of a driver's accesses, through real sockets: --coverage counts each of them whichever
 * way it comes, -v names them, --spin finds what polls, and a driver that touches everything costs nothing. One thread.
 */
#define _GNU_SOURCE
#include "tests/robust/rig.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATUS 0x20u
#define CMD 0x98u

static struct rig rig;

static int open_rig(void **state)
{
    (void)state;
    rig_open(&rig);
    return 0;
}

static int close_rig(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

static const json_t *named(const json_t *list, const char *key, const char *name)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
        if (strcmp(json_string_value(json_object_get(item, key)), name) == 0)
            return item;
    fail_msg("%s is missing", name);
    return NULL;
}

static long long number(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

/* The report in the file; NULL: there is none yet. */
static json_t *load(const char *file)
{
    json_t *whole = json_load_file(rig_path(&rig, file), 0, NULL), *report;

    if (!whole)
        return NULL;
    report = json_incref(json_object_get(json_array_get(json_object_get(whole, "devices"), 0), "coverage"));
    json_decref(whole);
    return report;
}

static long long count(const json_t *report, const char *reg, const char *what)
{
    return number(named(json_object_get(report, "registers"), "name", reg), what);
}

/* Whole, byte by byte, several in one send, posted: SRC is plain, LIVE has a hook. */
static void raw_accesses(void)
{
    struct rig_access two[2] = { rig_read_of(3, 0x80), rig_read_of(4, 0x04) };
    struct rig_access one = rig_write_of(5, 0x90, 7, true), reply;
    int fd = rig_connect(&rig, "s");

    rig_negotiate(fd);
    for (size_t i = 0; i < RIG_ACCESS; i++)
        rig_send(fd, (const char *)&two[0] + i, 1);
    rig_receive(fd, &reply, sizeof reply);
    rig_send(fd, &two[0], RIG_ACCESS);
    rig_send(fd, &two[1], RIG_ACCESS);
    rig_receive(fd, &reply, sizeof reply);
    rig_receive(fd, &reply, sizeof reply);
    rig_send(fd, &one, sizeof one);
    two[0].access.offset = 0;
    rig_send(fd, &two[0], RIG_ACCESS);
    rig_receive(fd, &reply, sizeof reply);
    assert_int_equal(reply.value, RIG_ID);
    close(fd);
}

static void client_accesses(struct vfuc *c)
{
    const uint64_t value = 0x1234;
    struct vfuc_multi multi[20];
    uint64_t values[300];

    for (int i = 0; i < 20; i++)
        multi[i] = (struct vfuc_multi){ .offset = i % 2 ? 0x88 : 0x04, .region = 0, .count = i % 2 ? 8 : 4, .data = { 1 } };
    assert_int_equal(vfuc_put(c, 0, 0x88, 8, value), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(vfuc_post(c, 0, 0x80, &value, 8), 0);
    assert_int_equal(vfuc_flush(c), 0);
    assert_int_equal(vfuc_write_multi(c, multi, 20, false), 20);
    for (int i = 0; i < 300; i++)
        assert_int_equal(vfuc_queue_read(c, 0, i % 3 ? 0x80 : STATUS, &values[i], i % 3 ? 8 : 4, NULL), 0);
    assert_int_equal(vfuc_drain(c), 0);
    assert_int_equal(values[1], value);
}

static void check_counts(const json_t *report)
{
    assert_int_equal(count(report, "DST", "writes"), 11);
    assert_int_equal(count(report, "SRC", "writes"), 10);
    assert_int_equal(count(report, "SRC", "reads"), 202);
    assert_int_equal(count(report, "STATUS", "reads"), 100);
    assert_int_equal(count(report, "LIVE", "writes"), 10);
    assert_int_equal(count(report, "LIVE", "reads"), 1);
    assert_int_equal(count(report, "COUNT", "writes"), 1);
    assert_int_equal(count(report, "ID", "reads"), 1);
    assert_int_equal(number(json_object_get(named(json_object_get(report, "registers"), "name", "LIVE"), "hooks"), "write"), 10);
    assert_int_equal(number(json_object_get(report, "summary"), "registers_touched"), 6);
}

static void each_way_is_counted(void **state)
{
    json_t *report;
    struct vfuc *c;

    (void)state;
    rig_start(&rig, "--plugin", "$lua", "--socket-path", "@s", "--coverage", "@c.json", NULL);
    raw_accesses();
    c = rig_client(&rig, "s");
    client_accesses(c);
    /* While it serves. */
    unlink(rig_path(&rig, "c.json"));
    kill(rig.pid, SIGUSR1);
    report = NULL;
    for (int i = 0; i < 2000 && !report; i++) {
        rig_pause(5);
        report = load("c.json");
    }
    assert_non_null(report);
    assert_true(json_is_true(json_object_get(report, "on")));
    check_counts(report);
    json_decref(report);
    vfuc_free(c);
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    report = load("c.json");
    assert_non_null(report);
    check_counts(report);
    json_decref(report);
}

/* Signals without pause, and the end among them. */
static void signals_are_borne(void **state)
{
    json_t *report;
    struct vfuc *c;

    (void)state;
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", "--plugin", "$edu", "--socket-path", "@t", "--coverage",
              "@c.json", NULL);
    c = rig_client(&rig, "t");
    for (int i = 0; i < 200; i++) {
        kill(rig.pid, SIGUSR1);
        rig_alive(c);
    }
    kill(rig.pid, SIGUSR1);
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    vfuc_free(c);
    report = load("c.json");
    assert_non_null(report);
    json_decref(report);
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", NULL);
    c = rig_client(&rig, "s");
    kill(rig.pid, SIGUSR1);
    assert_true(rig_says(&rig, "SIGUSR1 writes the file of --coverage FILE, which was not given"));
    rig_alive(c);
    vfuc_free(c);
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
}

static void accesses_are_named(void **state)
{
    struct vfuc *c;
    uint64_t value;

    (void)state;
    rig_start(&rig, "--plugin", "$lua", "--socket-path", "@s", "-v", NULL);
    c = rig_client(&rig, "s");
    assert_int_equal(vfuc_irq_arm(c, VFUC_INTX, 1), 0);
    for (int i = 0; i < 413; i++)
        assert_int_equal(vfuc_get(c, 0, STATUS, 4, &value), 0);
    assert_int_equal(vfuc_put(c, 0, CMD, 8, 2), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(vfuc_get(c, 0, 0x44, 4, &value), 0);
    assert_int_equal(vfuc_put(c, 0, 0x60, 4, 1), 0);
    assert_int_equal(vfuc_put(c, VFUC_CONFIG, 4, 2, 6), 0);
    assert_int_equal(vfuc_reset(c), 0);
    vfuc_free(c);
    assert_true(rig_says(&rig, "the client has gone"));
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    assert_int_equal(rig_said(&rig, "edu: read STATUS (0x20 -> 0)"), 1);
    assert_true(rig_said(&rig, "more times") >= 2); /* one for each second, and four of 0x44 */
    assert_int_equal(rig_said(&rig, "edu: write CMD.DIR=to_host (0x98 <- 2)"), 1);
    assert_int_equal(rig_said(&rig, "edu: read bar0+0x44 -> 0xffffffff (no register there, 4 bytes)"), 1);
    assert_int_equal(rig_said(&rig, "edu: write RAISE (0x60 <- 1)"), 1);
    assert_int_equal(rig_said(&rig, "edu: interrupt INTx"), 1);
    assert_int_equal(rig_said(&rig, "edu: write COMMAND.MEMORY=1 MASTER=1 (config+0x4 <- 6)"), 1);
    assert_int_equal(rig_said(&rig, "edu: reset (bus)"), 1);
    assert_int_equal(rig_said(&rig, "edu: the driver read bar0+0x44 5 times (4 bytes); no register there"), 1);
}

/* In virtual time the transfer goes on for ever, and the registers of it stay locked. */
static void ignored_writes_are_marked(void **state)
{
    struct vfuc *c;

    (void)state;
    rig_start(&rig, "--plugin", "$lua", "--socket-path", "@s", "--clock", "virtual", "-v", NULL);
    c = rig_client(&rig, "s");
    assert_int_equal(vfuc_put(c, 0, 0x80, 8, 0x1000), 0);
    assert_int_equal(vfuc_put(c, 0, CMD, 8, 1), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(vfuc_put(c, 0, 0x80, 8, 0x55), 0);
    assert_int_equal(vfuc_put(c, 0, 0x80, 4, 0x66), 0);
    assert_int_equal(vfuc_put(c, 0, CMD, 8, 0), 0);
    assert_int_equal(vfuc_put(c, 0, 4, 4, 7), 0);
    vfuc_free(c);
    assert_true(rig_says(&rig, "the client has gone"));
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    assert_int_equal(rig_said(&rig, "edu: write SRC (0x80 <- 0x1000)\n"), 1);
    assert_int_equal(rig_said(&rig, "edu: write CMD.RUN=1 DIR=to_device (0x98 <- 1)\n"), 1);
    assert_int_equal(rig_said(&rig, "edu: write SRC (0x80 <- 0x55, ignored: locked)\n"), 1);
    assert_int_equal(rig_said(&rig, "edu: ... 2 more times\n"), 1);
    assert_int_equal(rig_said(&rig, "edu: write SRC (0x80 <- 0x66, 4 bytes, ignored: locked)\n"), 1);
    assert_int_equal(rig_said(&rig, "edu: write CMD.DIR=to_device (0x98 <- 0, ignored: locked)\n"), 1);
    assert_int_equal(rig_said(&rig, "edu: write LIVE (0x4 <- 7)\n"), 1);
}

/* A level is told without accesses; nothing is told without either. */
static void quiet_unless_asked(void **state)
{
    static const char *const levels[] = { "info", "warn" };
    struct vfuc *c;
    uint64_t value;

    (void)state;
    for (int i = 0; i < 2; i++) {
        rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", "--log-level", levels[i], NULL);
        c = rig_client(&rig, "s");
        assert_int_equal(vfuc_get(c, 0, STATUS, 4, &value), 0);
        vfuc_free(c);
        assert_int_equal(rig_stop(&rig, SIGTERM), 0);
        assert_int_equal(rig_said(&rig, "STATUS"), 0);
        assert_int_equal(rig_said(&rig, "the driver"), 0);
    }
}

static void polling_is_found(void **state)
{
    uint64_t values[200];
    struct vfuc *c;

    (void)state;
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", "--spin", "20", NULL);
    c = rig_client(&rig, "s");
    for (int i = 0; i < 10; i++) {
        for (int n = 0; n < 200; n++)
            assert_int_equal(vfuc_queue_read(c, 0, STATUS, &values[n], 4, NULL), 0);
        assert_int_equal(vfuc_drain(c), 0);
    }
    vfuc_free(c);
    assert_true(rig_says(&rig, "the driver is polling STATUS (bar0+0x20): "));
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    assert_int_equal(rig_said(&rig, " reads in a second, always 0x0"), rig_said(&rig, "polling"));
}

/* Whatever a driver touches: neither memory nor log grow with it. */
static void misses_cost_nothing(void **state)
{
    struct vfuc *c;
    uint64_t offset = 0xa0;
    uint32_t values[250];
    long before = 0;

    (void)state;
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", NULL);
    c = rig_client(&rig, "s");
    for (int i = 0; i < 400; i++) {
        for (int n = 0; n < 250; n++, offset = (offset + 4) % 0x3f000)
            assert_int_equal(vfuc_queue_read(c, 0, 0xa0 + offset, &values[n], 4, NULL), 0);
        assert_int_equal(vfuc_drain(c), 0);
        if (i == 50)
            before = rig_rss(&rig);
    }
    if (!getenv("VFU_SANITIZERS") || !*getenv("VFU_SANITIZERS") || strcmp(getenv("VFU_SANITIZERS"), "no") == 0)
        assert_in_range(rig_rss(&rig), 0, before + 512);
    vfuc_free(c);
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    assert_int_equal(rig_said(&rig, "the driver "), 10);
    assert_int_equal(rig_said(&rig, "and 246 more places where it met nothing"), 1);
    assert_int_equal(rig_said(&rig, "more accesses elsewhere that met nothing"), 1);
}

static void files_are_checked_first(void **state)
{
    (void)state;
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@s", "--coverage", "@none/c.json", NULL), 1);
    assert_true(rig_said(&rig, "c.json: cannot be written: No such file"));
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@s", "--coverage", "-", "--run", "true", NULL), 0);
    assert_int_equal(rig_said(&rig, "edu: 0 of "), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_way_is_counted, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(signals_are_borne, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(accesses_are_named, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(ignored_writes_are_marked, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(quiet_unless_asked, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(polling_is_found, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(misses_cost_nothing, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(files_are_checked_first, open_rig, close_rig),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
