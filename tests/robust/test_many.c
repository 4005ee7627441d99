/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_many - many devices in one process: traffic on all of them at once, the end in the middle of it, two hundred
 * scripts, and a bad neighbour that has to stand back. Under the thread sanitizer this is where races would show.
 * One thread, and a process for each client that runs beside others.
 */
#define _GNU_SOURCE
#include "tests/robust/rig.h"

#include <dirent.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICES 8
#define CROWD 200

static struct rig rig;

static int start(void **state)
{
    (void)state;
    rig_open(&rig);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

static void start_devices(unsigned n, bool all_lua)
{
    static char names[CROWD][8];
    const char *words[4 * CROWD + 1];
    unsigned at = 0;

    for (unsigned i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "@%u", i);
        words[at++] = "--plugin";
        words[at++] = all_lua || i % 2 ? "$lua" : "$edu";
        words[at++] = "--socket-path";
        words[at++] = names[i];
    }
    words[at] = NULL;
    rig_start_words(&rig, words);
}

/* Registers, DMA by mapping and by message, coming and going; ends when the host does. */
static void traffic(unsigned which)
{
    char name[8];
    struct vfuc *c = NULL;
    void *memory;

    snprintf(name, sizeof name, "%u", which);
    for (uint32_t i = 0;; i++) {
        uint64_t value;
        int error = 0;

        if (!c) {
            c = vfuc_new(NULL);
            if (!c || vfuc_connect(c, rig_path(&rig, name)) < 0 ||
                vfuc_memory_new(c, 0x10000, 65536, VFUC_DMA_RW | (which & 2 ? VFUC_DMA_MESSAGES : 0), &memory) < 0 ||
                vfuc_irq_arm(c, VFUC_MSI, 1) < 0)
                _exit(0);
        }
        if (which == 3) {
            for (uint32_t k = 0; k < 1000 && !error; k++)
                error = vfuc_post(c, VFUC_BAR(0), RIG_LIVE, &k, 4);
        } else {
            error = vfuc_put(c, VFUC_BAR(0), RIG_LIVE, 4, i);
            if (!error && vfuc_get(c, VFUC_BAR(0), RIG_LIVE, 4, &value) >= 0 && (uint32_t)value != ~i)
                _exit(1);
        }
        if (i % 16 == 0 && !error)
            error = vfuc_put(c, VFUC_BAR(0), 0x80, 8, 0x10000) < 0 || vfuc_put(c, VFUC_BAR(0), 0x88, 8, 0x40000) < 0 ||
                    vfuc_put(c, VFUC_BAR(0), RIG_COUNT, 8, 4096) < 0 || vfuc_put(c, VFUC_BAR(0), 0x98, 8, 1) < 0;
        if (error)
            _exit(0);
        if (i % 100 == 99) {
            vfuc_free(c);
            c = NULL;
        }
    }
}

static void eight_and_the_end(void **state)
{
    pid_t clients[DEVICES];

    (void)state;
    start_devices(DEVICES, false);
    for (unsigned i = 0; i < DEVICES; i++) {
        char name[8];

        snprintf(name, sizeof name, "%u", i);
        vfuc_free(rig_client(&rig, name));
    }
    for (unsigned i = 0; i < DEVICES; i++) {
        clients[i] = fork();
        if (clients[i] == 0)
            traffic(i);
    }
    rig_pause(400);
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    for (unsigned i = 0; i < DEVICES; i++) {
        int status;

        assert_int_equal(waitpid(clients[i], &status, 0), clients[i]);
        assert_int_equal(status, 0);
    }
}

static void two_hundred(void **state)
{
    static const char *const some[] = { "0", "1", "77", "142", "199" };

    (void)state;
    start_devices(CROWD, true);
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        struct vfuc *c = rig_client(&rig, some[i]);

        rig_alive(c);
        vfuc_free(c);
    }
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    assert_int_not_equal(access(rig_path(&rig, "0"), F_OK), 0);
    assert_int_not_equal(access(rig_path(&rig, "199"), F_OK), 0);
}

/* ---- a bad neighbour */

/* The niceness of the thread with this name, 100 if there is none. */
static int niceness(const char *name)
{
    char path[300], text[512];
    struct dirent *entry;
    int nice = 100;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/task", (int)rig.pid);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        const char *at;
        FILE *stat;

        snprintf(path, sizeof path, "/proc/%d/task/%.20s/stat", (int)rig.pid, entry->d_name);
        stat = fopen(path, "r");
        if (!stat)
            continue;
        at = fgets(text, sizeof text, stat) ? strchr(text, '(') : NULL;
        fclose(stat);
        if (!at || strncmp(at + 1, name, strlen(name)) != 0)
            continue;
        at = strrchr(at, ')');
        if (at)
            sscanf(at + 1, " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %d", &nice);
    }
    if (dir)
        closedir(dir);
    return nice;
}

static const char bad_script[] =
    "local vfu = require 'vfu'\n"
    "local bad = vfu.device('bad', { pci = { vendor = 0x1234, device = 1 } })\n"
    "bad:bar(0, { size = 4096 }, { vfu.reg('LOOP', 0, 4, 'rw'), vfu.reg('FAIL', 4, 4, 'rw'), vfu.reg('OK', 8, 4, 'rw') })\n"
    "function bad.read:LOOP() while true do end end\n"
    "function bad.read:FAIL() error 'no' end\n"
    "function bad.write:OK(v) return ~v end\n"
    "return bad\n";

/* Without this capability there is no way back from a nice value. */
static void before_without_privilege(struct rig *r)
{
    (void)r;
    prctl(PR_CAPBSET_DROP, CAP_SYS_NICE);
}

static bool becomes(int nice)
{
    struct vfuc *c = rig_client(&rig, "bad");
    bool done = false;
    uint64_t value;

    for (int i = 0; i < 1000 && !done; i++) {
        assert_true(vfuc_get(c, VFUC_BAR(0), 8, 4, &value) >= 0);
        rig_pause(10);
        done = niceness("bad") == nice;
    }
    vfuc_free(c);
    return done;
}

static void stands_back(void)
{
    int normal = niceness("edu");
    struct vfuc *victim = rig_client(&rig, "victim"), *c = rig_client(&rig, "bad");
    uint64_t value;

    rig_alive(victim);
    assert_true(vfuc_put(c, VFUC_BAR(0), 8, 4, 0x12345678) >= 0);
    assert_int_equal(niceness("bad"), normal);
    for (int i = 0; i < 400 && niceness("bad") != 19; i++)
        (void)vfuc_get(c, VFUC_BAR(0), 0, 4, &value);
    assert_int_equal(niceness("bad"), 19);
    assert_int_equal(niceness("edu"), normal);
    assert_int_equal(niceness("vfu-host"), normal);
    vfuc_free(c);
    assert_true(becomes(normal));
    /* Many errors are a burden too. */
    c = rig_client(&rig, "bad");
    for (int i = 0; i < 200000 && niceness("bad") != 19; i++)
        for (int k = 0; k < 100; k++)
            (void)vfuc_get(c, VFUC_BAR(0), 4, 4, &value);
    assert_int_equal(niceness("bad"), 19);
    vfuc_free(c);
    assert_true(becomes(normal));
    /* The device is as it was, whichever thread serves it. */
    c = rig_client(&rig, "bad");
    assert_true(vfuc_get(c, VFUC_BAR(0), 8, 4, &value) >= 0);
    assert_int_equal(value, ~0x12345678u);
    rig_alive(victim);
    assert_int_equal(niceness("edu"), normal);
    vfuc_free(c);
    vfuc_free(victim);
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
}

static void a_bad_neighbour_stands_back(void **state)
{
    (void)state;
    rig_write(&rig, "bad.lua", bad_script);
    rig_start(&rig, "--hook-budget", "0.05", "--plugin", "$edu", "--socket-path", "@victim", "--plugin", "@bad.lua",
              "--socket-path", "@bad", NULL);
    vfuc_free(rig_client(&rig, "bad"));
    stands_back();
}

static void also_without_privilege(void **state)
{
    (void)state;
    rig.before = before_without_privilege;
    a_bad_neighbour_stands_back(state);
}

/* A device by itself has nobody to stand back for. */
static void not_when_alone(void **state)
{
    struct vfuc *c;
    uint64_t value;

    (void)state;
    rig_write(&rig, "bad.lua", bad_script);
    rig_start(&rig, "--hook-budget", "0.05", "--plugin", "@bad.lua", "--socket-path", "@bad", NULL);
    c = rig_client(&rig, "bad");
    for (int i = 0; i < 6; i++)
        (void)vfuc_get(c, VFUC_BAR(0), 0, 4, &value);
    assert_int_equal(niceness("bad"), niceness("vfu-host"));
    vfuc_free(c);
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(eight_and_the_end),      TEST(two_hundred),    TEST(a_bad_neighbour_stands_back),
        TEST(also_without_privilege), TEST(not_when_alone),
    };

    return cmocka_run_group_tests_name("many", tests, NULL, NULL);
}
