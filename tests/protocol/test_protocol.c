/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_protocol - runs the tables of cases against the edu device, in C and in Lua, or against the plugin named on the
 * command line: test_protocol [PLUGIN [KEY=VALUE]...]. VFU_HOST names the host, VFU_TEST_VERBOSE shows its log,
 * VFU_TEST_CASE runs only the cases whose name contains it. One thread.
 */
#define _GNU_SOURCE
#include "tests/protocol/proto.h"
#include "tests/protocol/edu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CASES 1024
#define CUTS 160 /* cut at every byte of messages up to this length, at so many places of longer ones */

static struct proto_host host;
static struct vfuc *client;
static const struct proto_case *all[CASES];
static char names[CASES][160];
static size_t nall;
static int fds_before;

static void check(const struct proto_case *test, const struct proto_cut *cut, const char *how, size_t where)
{
    const char *wrong = proto_run(&host, &client, test, cut);

    if (wrong && !proto_host_alive(&host))
        fail_msg("%s %zu: %s; the host has died", how, where, wrong);
    if (wrong)
        fail_msg("%s %zu: %s", how, where, wrong);
}

static void test_case(void **state)
{
    const struct proto_case *test = *state;
    size_t longest = proto_longest(test), step = longest / CUTS + 1;

    check(test, &(struct proto_cut){ 0, 0 }, "whole", 0);
    for (size_t at = 1; at < longest; at += at < 64 ? 1 : step)
        check(test, &(struct proto_cut){ at, 0 }, "cut at byte", at);
    for (uint32_t seed = 1; seed <= 4; seed++)
        check(test, &(struct proto_cut){ 0, seed }, "in pieces, seed", seed);
}

static bool bulky(const struct proto_case *test)
{
    bool bulk = !test->no_version && !test->alone;

    for (size_t i = 0; i < 8 && test->m[i].used; i++)
        bulk &= test->m[i].outcome != PROTO_GONE && test->m[i].outcome != PROTO_REFUSED;
    return bulk;
}

/* Every case behind the other without waiting for any reply, in three orders. */
static void test_pipelined(void **state)
{
    static const struct proto_case *order[CASES];
    uint32_t seed = 12345;
    size_t n = 0;

    (void)state;
    for (size_t i = 0; i < nall; i++) {
        if (bulky(all[i]))
            order[n++] = all[i];
    }
    vfuc_free(client);
    client = NULL;
    for (int round = 0; round < 3; round++) {
        const char *wrong = proto_run_bulk(&host, order, n);

        if (wrong)
            fail_msg("order %d: %s", round, wrong);
        for (size_t i = n; i > 1; i--) {
            const struct proto_case *other;
            size_t k;

            seed = seed * 1664525u + 1013904223u;
            k = (seed >> 8) % i;
            other = order[k];
            order[k] = order[i - 1];
            order[i - 1] = other;
        }
    }
}

/* After all of that, with nobody connected, no descriptor is left over. */
static void test_descriptors(void **state)
{
    int now = -1;

    (void)state;
    vfuc_free(client);
    client = NULL;
    for (int i = 0; i < 200; i++) {
        now = proto_host_fds(&host);
        if (now <= fds_before)
            break;
        usleep(5000);
    }
    assert_int_equal(now, fds_before);
}

static void test_alive(void **state)
{
    (void)state;
    assert_true(proto_host_alive(&host));
    assert_true(proto_host_stop(&host));
}

static void collect(void)
{
    const char *only = getenv("VFU_TEST_CASE");

    nall = 0;
    for (size_t t = 0; t < proto_ntables; t++) {
        for (size_t i = 0; i < proto_tables[t]->n && nall < CASES - 16; i++) {
            snprintf(names[nall], sizeof names[nall], "%s: %s", proto_tables[t]->name, proto_tables[t]->cases[i].name);
            if (!only || strstr(names[nall], only))
                all[nall++] = &proto_tables[t]->cases[i];
        }
    }
}

/* The count settles: the session of the one who looked whether the host is up is still being closed. */
static void settle(void)
{
    fds_before = proto_host_fds(&host);
    for (int i = 0; i < 20; i++) {
        int now;

        usleep(5000);
        now = proto_host_fds(&host);
        if (now < fds_before)
            fds_before = now;
    }
}

/* Beside the tables. They and the tables are written for edu; another plugin on the command line has to be like it. */
static const struct {
    const char *name;
    CMUnitTestFunction test;
} others[] = {
    { "all in one bulk", test_pipelined },
    { "edu: factorial, INTx", edu_test_intx },
    { "edu: factorial, MSI", edu_test_msi },
    { "edu: INTx is a level", edu_test_intx_level },
    { "edu: DMA, shared memory", edu_test_dma_shared },
    { "edu: DMA, messages", edu_test_dma_messages },
    { "edu: DMA, messages over a twin socket", edu_test_dma_twin },
    { "edu: reconnect", edu_test_reconnect },
    { "edu: reconnect close behind posted writes", edu_test_close_behind },
    { "edu: the largest messages", edu_test_largest },
    { "edu: replies that nobody reads", edu_test_unread },
    { "edu: clients that hang up inside a message", edu_test_hangup },
    { "no descriptor is left over", test_descriptors },
    { "the host ends well", test_alive },
};

#define OTHERS (sizeof others / sizeof others[0])

static int run(const char *plugin, char *const *params)
{
    static struct CMUnitTest tests[CASES];
    const char *slash = strrchr(plugin, '/');
    static char group[128];
    size_t n = 0;
    int failed;

    collect();
    if (!proto_host_start(&host, plugin, params)) {
        printf("1..1\nnot ok 1 - the host does not start with %s\n", plugin);
        return 1;
    }
    settle();
    memset(tests, 0, sizeof tests);
    for (size_t i = 0; i < nall; i++)
        tests[n++] = (struct CMUnitTest){ names[i], test_case, NULL, NULL, (void *)all[i] };
    for (size_t i = 0; i < OTHERS; i++)
        tests[n++] = (struct CMUnitTest){ others[i].name, others[i].test, NULL, NULL, &host };
    snprintf(group, sizeof group, "protocol, %s", slash ? slash + 1 : plugin);
    failed = _cmocka_run_group_tests(group, tests, n, NULL, NULL);
    vfuc_free(client);
    client = NULL;
    if (host.pid > 0)
        proto_host_stop(&host);
    return failed;
}

int main(int argc, char **argv)
{
    const char *build = getenv("VFU_BUILDDIR"), *source = getenv("VFU_SRCDIR");
    char path[512];
    int failed;

    if (argc > 1)
        return run(argv[1], argv + 2) != 0;
    if (!build || !source) {
        fprintf(stderr, "test_protocol: name a plugin, or set VFU_BUILDDIR and VFU_SRCDIR\n");
        return 2;
    }
    snprintf(path, sizeof path, "%s/plugins/edu/.libs/edu.so", build);
    failed = run(path, NULL);
    snprintf(path, sizeof path, "%s/examples/edu.lua", source);
    failed += run(path, NULL);
    return failed != 0;
}
