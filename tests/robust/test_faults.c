/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plugin that misbehaves in a host of its own: what it does is refused, reported once however often it happens, as
 * its fault and by its name, and its device goes on. The plugin is bad_plugin.c.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/robust/rig.h"

#define FAULT "bad: error: plugin fault (bad): "

static struct vfuc *start(struct rig *rig, const char *fault)
{
    const char *dir = getenv("VFU_BUILDDIR");
    char path[PATH_MAX], item[64];

    snprintf(path, sizeof path, "%s/tests/robust/.libs/bad_plugin.so", dir ? dir : ".");
    snprintf(item, sizeof item, "fault=%s", fault);
    rig_open(rig);
    rig_start(rig, "--plugin", path, item, "--socket-path", "@s", NULL);
    return rig_client(rig, "s");
}

static void end(struct rig *rig, struct vfuc *c, const char *words)
{
    vfuc_free(c);
    assert_int_equal(rig_stop(rig, SIGTERM), 0);
    if (rig_said(rig, words) != 1 || rig_said(rig, "plugin fault") != 1) {
        rig_show(rig);
        fail_msg("said %d times, not once: %s", rig_said(rig, words), words);
    }
    rig_close(rig);
}

static void assert_answers(struct vfuc *c)
{
    uint64_t value;

    assert_int_equal(vfuc_get(c, VFUC_BAR(0), 8, 4, &value), 0);
    assert_int_equal(value, 0xbad);
}

static void do_it_thrice(const char *fault, int result, const char *words)
{
    struct rig rig;
    struct vfuc *c = start(&rig, fault);

    for (int i = 0; i < 3; i++)
        assert_int_equal(vfuc_put(c, VFUC_BAR(0), 0, 4, 1), result);
    assert_answers(c);
    end(&rig, c, words);
}

static void test_thread(void **state)
{
    (void)state;
    do_it_thrice("thread", 0, FAULT "irq_raise is called from a thread that is not the device's");
}

static void test_vector(void **state)
{
    (void)state;
    do_it_thrice("vector", 0, FAULT "interrupt vector 9 is raised, which the device does not have");
}

static void test_interrupt(void **state)
{
    (void)state;
    do_it_thrice("interrupt", 0, FAULT "irq_raise is called, but intx,msi,msix is not declared");
}

static void test_undeclared(void **state)
{
    (void)state;
    do_it_thrice("undeclared", 0, FAULT "dma_read is called, but dma is not declared");
}

static void test_twice(void **state)
{
    (void)state;
    do_it_thrice("twice", 0, FAULT "dma_submit is given an op that is in flight");
}

static void test_closed(void **state)
{
    (void)state;
    do_it_thrice("closed", 0, FAULT "watch_fd is given descriptor 99999, which is not open");
}

static void test_config(void **state)
{
    (void)state;
    do_it_thrice("config", 0, FAULT "it writes 4 bytes at 0x10 of config space");
}

static void test_result(void **state)
{
    (void)state;
    do_it_thrice("result", -EIO, FAULT "its access callback returned 22");
}

static void test_overrun(void **state)
{
    uint8_t bytes[64];
    struct rig rig;
    struct vfuc *c = start(&rig, "overrun");

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(vfuc_read(c, VFUC_BAR(0), 16, bytes, sizeof bytes), -EIO);
    assert_answers(c);
    end(&rig, c, FAULT "its access callback wrote beside the 64 bytes it was given (region 0, offset 0x10)");
}

static void test_early(void **state)
{
    struct rig rig;
    struct vfuc *c = start(&rig, "early");

    (void)state;
    assert_answers(c);
    end(&rig, c, FAULT "irq_raise is called before create");
}

static void test_after_destroy(void **state)
{
    struct rig rig;
    struct vfuc *c = start(&rig, "destroy");

    (void)state;
    assert_answers(c);
    end(&rig, c, FAULT "irq_raise is called after destroy");
}

/* Said while it lasts, though it lasts for ever. */
static void test_quiesce(void **state)
{
    struct rig rig;
    struct vfuc *c = start(&rig, "quiesce");

    (void)state;
    vfuc_timeout(c, 1500 * RIG_MS);
    assert_int_equal(vfuc_reset(c), -ETIMEDOUT);
    assert_true(rig_says(&rig, FAULT "its quiesce callback has not returned for 1000 ms"));
    assert_int_equal(rig_said(&rig, "plugin fault"), 1);
    vfuc_free(c);
    rig_close(&rig);
}

static void test_nulls(void **state)
{
    (void)state;
    do_it_thrice("log", 0, FAULT "log is given NULL for a message");
    do_it_thrice("access", 0, FAULT "bar_access is given NULL");
    do_it_thrice("look", 0, FAULT "regions look is given NULL");
}

static void no_core(struct rig *rig)
{
    const struct rlimit none = { 0, 0 };

    (void)rig;
    setrlimit(RLIMIT_CORE, &none);
}

/* What takes the host down has a name. status 0: any but 0, as a sanitizer may have its own. */
static void goes_down(const char *fault, int status, const char *words)
{
    const char *dir = getenv("VFU_BUILDDIR");
    char path[PATH_MAX], item[64];
    struct rig rig;
    struct vfuc *c;
    int got;

    snprintf(path, sizeof path, "%s/tests/robust/.libs/bad_plugin.so", dir ? dir : ".");
    snprintf(item, sizeof item, "fault=%s", fault);
    rig_open(&rig);
    rig.before = no_core;
    rig_start(&rig, "--plugin", path, item, "--socket-path", "@s", NULL);
    c = rig_client(&rig, "s");
    assert_true(vfuc_put(c, VFUC_BAR(0), 0, 4, 1) < 0);
    vfuc_free(c);
    got = rig_wait(&rig);
    if (got <= 0 || (status && got != status) || rig_said(&rig, words) != 1) {
        rig_show(&rig);
        fail_msg("status %d, or it did not say once: %s", got, words);
    }
    rig_close(&rig);
}

static void test_ends(void **state)
{
    (void)state;
    goes_down("crash", 0, "bad: error: plugin fault: it takes the host down with SIGSEGV");
    goes_down("abort", 0, "bad: error: plugin fault: it takes the host down with SIGABRT");
    goes_down("exit", 42, "bad: error: plugin fault: it ends the host by calling exit");
    goes_down("closeall", 1, "descriptors of the host's were closed");
}

/* A describe that does not return can be left. */
static void test_endless(void **state)
{
    const char *dir = getenv("VFU_BUILDDIR");
    char path[PATH_MAX];
    struct rig rig;

    (void)state;
    snprintf(path, sizeof path, "%s/tests/robust/.libs/bad_plugin.so", dir ? dir : ".");
    for (int i = 0; i < 2; i++) {
        rig_open(&rig);
        rig_start(&rig, "--check", "--plugin", path, "fault=endless", NULL);
        rig_pause(100);
        assert_int_equal(rig_stop(&rig, i ? SIGINT : SIGTERM), 128 + (i ? SIGINT : SIGTERM));
        rig_close(&rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thread),     cmocka_unit_test(test_vector),        cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_undeclared), cmocka_unit_test(test_twice),         cmocka_unit_test(test_closed),
        cmocka_unit_test(test_config),     cmocka_unit_test(test_result),        cmocka_unit_test(test_overrun),
        cmocka_unit_test(test_early),      cmocka_unit_test(test_after_destroy), cmocka_unit_test(test_quiesce),
        cmocka_unit_test(test_nulls),      cmocka_unit_test(test_ends),          cmocka_unit_test(test_endless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
