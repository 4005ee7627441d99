/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_filter - the plugin filter around edu, in C and as a script, through the client library, on a real socket: what
 * a driver sees of a device that another plugin wraps, and of things that go wrong. One thread.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/protocol/proto.h"

#define MS VFUC_NS_PER_MS
#define ID 0x00
#define LIVE 0x04
#define FACT 0x08
#define STATUS 0x20
#define IRQ 0x24
#define RAISE 0x60
#define ACK 0x64
#define SRC 0x80
#define DST 0x88
#define COUNT 0x90
#define COMMAND 0x98
#define BUFFER 0x40000
#define MEM UINT64_C(0x100000)

static struct proto_host host;
static struct vfuc *c;
static uint8_t *memory;

static void bring_up(char *const *params, uint32_t kind)
{
    struct vfuc_options options = { .struct_size = sizeof options };
    void *made;

    if (!proto_host_start(&host, "filter", params))
        fail();
    c = vfuc_new(&options);
    assert_non_null(c);
    assert_int_equal(vfuc_connect(c, host.socket), 0);
    assert_int_equal(vfuc_memory_new(c, MEM, 8192, kind | VFUC_DMA_RW, &made), 0);
    memory = made;
    assert_int_equal(vfuc_irq_arm(c, VFUC_MSI, 1), 0);
}

static int teardown(void **state)
{
    (void)state;
    vfuc_free(c);
    c = NULL;
    return proto_host_stop(&host) ? 0 : -1;
}

static uint64_t get(uint64_t offset)
{
    uint64_t value;

    assert_int_equal(vfuc_get(c, 0, offset, offset < SRC ? 4 : 8, &value), 0);
    return value;
}

static void put(uint64_t offset, uint64_t value)
{
    assert_int_equal(vfuc_put(c, 0, offset, offset < SRC ? 4 : 8, value), 0);
}

/* 1: an interrupt came within the time; the device's own word for it is cleared. */
static int interrupt(uint64_t ns)
{
    int came = vfuc_irq_wait(c, VFUC_MSI, 0, ns);

    assert_true(came >= 0);
    put(ACK, get(IRQ));
    return came;
}

/* edu ends a transfer that has failed as one that has not; what differs is what has arrived. */
static void dma(uint64_t from, uint64_t to, uint64_t direction)
{
    put(SRC, from);
    put(DST, to);
    put(COUNT, 64);
    put(COMMAND, 1 | direction << 1 | 4);
    assert_int_equal(interrupt(5000 * MS), 1);
    assert_int_equal(get(COMMAND) & 1, 0);
}

static bool there_and_back(uint8_t byte)
{
    memset(memory, byte, 64);
    memset(memory + 4096, 0, 64);
    dma(MEM, BUFFER, 0);
    dma(BUFFER, MEM + 4096, 1);
    return memory[4096] == byte && memory[4096 + 63] == byte;
}

static void behaves_as_edu(void)
{
    assert_int_equal(get(ID), 0x010000ed);
    put(LIVE, 0x5555);
    assert_int_equal(get(LIVE), (uint32_t)~0x5555);
    put(STATUS, 0x80);
    put(FACT, 6);
    assert_int_equal(interrupt(5000 * MS), 1);
    assert_int_equal(get(FACT), 720);
    put(STATUS, 0);
    assert_true(there_and_back(0x5a));
    assert_int_equal(vfuc_reset(c), 0);
    assert_int_equal(get(FACT), 0);
    assert_true(there_and_back(0xa5));
}

static void test_edu(void **state)
{
    char *params[] = { (char *)"plugin=edu", NULL };

    (void)state;
    bring_up(params, 0);
    behaves_as_edu();
}

static void test_messages(void **state)
{
    char *params[] = { (char *)"plugin=edu", NULL };

    (void)state;
    bring_up(params, VFUC_DMA_MESSAGES);
    behaves_as_edu();
}

/* A script, in a filter, in a filter. */
static void test_script(void **state)
{
    const char *srcdir = getenv("VFU_SRCDIR");
    char script[PATH_MAX], *params[] = { (char *)"plugin=filter", script, NULL };

    (void)state;
    snprintf(script, sizeof script, "inner.plugin=%s/examples/edu.lua", srcdir ? srcdir : ".");
    bring_up(params, 0);
    behaves_as_edu();
}

static void test_third_fails(void **state)
{
    char *params[] = { (char *)"plugin=edu", (char *)"fail_nth=3", (char *)"errno=EFAULT", NULL };

    (void)state;
    bring_up(params, 0);
    assert_true(there_and_back(1));
    assert_false(there_and_back(2));
    assert_int_equal(memory[4096], 1); /* what the buffer had before */
    assert_true(there_and_back(3));
    assert_true(there_and_back(4));
}

static void test_delay(void **state)
{
    char *params[] = { (char *)"plugin=edu", (char *)"delay=0.1", NULL };

    (void)state;
    bring_up(params, 0);
    put(SRC, MEM);
    put(DST, BUFFER);
    put(COUNT, 64);
    put(COMMAND, 5);
    assert_int_equal(vfuc_irq_wait(c, VFUC_MSI, 0, 50 * MS), 0);
    assert_int_equal(get(COMMAND) & 1, 1);
    assert_int_equal(interrupt(5000 * MS), 1);
    /* A reset ends one that is late. */
    put(COMMAND, 5);
    assert_int_equal(vfuc_reset(c), 0);
    assert_int_equal(vfuc_irq_wait(c, VFUC_MSI, 0, 150 * MS), 0);
    assert_int_equal(get(COMMAND), 0);
    assert_true(there_and_back(7));
}

static void test_interrupts(void **state)
{
    char *params[] = { (char *)"plugin=edu", (char *)"drop_irq=2", NULL };

    (void)state;
    bring_up(params, 0);
    for (int i = 0; i < 4; i++) {
        put(RAISE, 0x11);
        assert_int_equal(interrupt(i % 2 ? 20 * MS : 5000 * MS), i % 2 ? 0 : 1);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_teardown(f, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_edu),   TEST(test_messages), TEST(test_script),
        TEST(test_third_fails), TEST(test_delay), TEST(test_interrupts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
