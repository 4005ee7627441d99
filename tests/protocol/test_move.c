/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_move - every example device, in C and in Lua, is stopped in the middle of its work, and goes on with it in
 * another process: vfuc_save() and vfuc_load() between two hosts. That it is in the middle is seen, not hoped for: a
 * DMA request of the device has come, and is never answered; a timer has not fired. One thread.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/protocol/proto.h"

#define SECOND UINT64_C(1000000000)
#define GUEST UINT64_C(0x10000)
#define GUEST_SIZE UINT64_C(0x80000)

static struct proto_host source, target;
static struct vfuc *from, *to;
static uint8_t *here, *there; /* the guest's memory, as either sees it */

/* ---- the state, from one to the other ---- */

static struct {
    uint8_t *data;
    size_t size, at;
} image;

static int sink(void *ctx, const void *data, size_t size)
{
    (void)ctx;
    image.data = realloc(image.data, image.size + size);
    assert_non_null(image.data);
    memcpy(image.data + image.size, data, size);
    image.size += size;
    return 0;
}

static int fount(void *ctx, void *data, size_t max)
{
    size_t n = image.size - image.at < max ? image.size - image.at : max;

    (void)ctx;
    memcpy(data, image.data + image.at, n);
    image.at += n;
    return (int)n;
}

static void good(struct vfuc *c, int result)
{
    if (result < 0)
        fail_msg("%s", vfuc_error(c));
}

static void move(void)
{
    struct vfuc_transfer out = { .struct_size = sizeof out }, in = { .struct_size = sizeof in };
    uint32_t state;

    image.size = image.at = 0;
    good(from, vfuc_save(from, &out, sink, NULL));
    good(to, vfuc_load(to, &in, fount, NULL));
    assert_true(image.size > 0);
    assert_int_equal(out.running_bytes + out.stopped_bytes, image.size);
    assert_int_equal(in.stopped_bytes, image.size);
    assert_true(out.stopped_at != 0);
    good(from, vfuc_migration_state(from, &state));
    assert_int_equal(state, VFUC_MIG_STOP);
    good(to, vfuc_migration_state(to, &state));
    assert_int_equal(state, VFUC_MIG_STOP);
    good(to, vfuc_migration_set(to, VFUC_MIG_RUNNING));
}

/* ---- registers, and memory that only messages reach ---- */

static void put(struct vfuc *c, uint32_t bar, uint64_t offset, uint32_t size, uint64_t value)
{
    good(c, vfuc_put(c, bar, offset, size, value));
}

static uint64_t get(struct vfuc *c, uint32_t bar, uint64_t offset, uint32_t size)
{
    uint64_t value = 0;

    good(c, vfuc_get(c, bar, offset, size, &value));
    return value;
}

/* Until the register's bits read the value, but not for ever. */
static void await(struct vfuc *c, uint32_t bar, uint64_t offset, uint32_t size, uint64_t mask, uint64_t value)
{
    for (int i = 0; i < 4000 && (get(c, bar, offset, size) & mask) != value; i++)
        nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
    assert_int_equal(get(c, bar, offset, size) & mask, value);
}

/* Starts something with a write that is not answered, and takes the device's request for memory, without an answer. */
static struct vfu_msg_dma_access start(uint64_t offset, uint32_t size, uint64_t value, uint16_t command)
{
    static struct {
        struct vfu_msg_header header;
        struct vfu_msg_dma_access access;
        uint8_t data[1 << 20];
    } message;

    good(from, vfuc_post(from, 0, offset, &value, size));
    good(from, vfuc_flush(from));
    good(from, vfuc_raw_recv(from, &message, sizeof message, NULL, NULL, 10 * SECOND));
    assert_int_equal(message.header.command, command);
    return message.access;
}

static struct vfu_msg_header last_header;

/* Answers a DMA_READ by hand, and takes the request that follows. */
static void answer_read(const struct vfu_msg_dma_access *access, uint16_t id, uint16_t next)
{
    struct vfu_msg_header header = { id, VFU_CMD_DMA_READ, (uint32_t)(sizeof header + sizeof *access + access->count),
                                     VFU_MSG_REPLY, 0 };
    static uint8_t message[1 << 20];

    memcpy(message, &header, sizeof header);
    memcpy(message + sizeof header, access, sizeof *access);
    memcpy(message + sizeof header + sizeof *access, here + (access->address - GUEST), access->count);
    good(from, vfuc_raw_send(from, message, header.size, 0, NULL, 0));
    good(from, vfuc_raw_recv(from, message, sizeof message, NULL, NULL, 10 * SECOND));
    memcpy(&last_header, message, sizeof last_header);
    assert_int_equal(last_header.command, next);
}

static void guest_memory(void)
{
    void *mem;

    good(from, vfuc_memory_new(from, GUEST, GUEST_SIZE, VFUC_DMA_RW | VFUC_DMA_MESSAGES, &mem));
    here = mem;
    good(to, vfuc_memory_new(to, GUEST, GUEST_SIZE, VFUC_DMA_RW, &mem));
    there = mem;
    for (size_t i = 0; i < GUEST_SIZE / 2; i++)
        here[i] = there[i] = (uint8_t)(i * 7 + i / 256);
}

/* ---- edu ---- */

static void edu(void)
{
    struct vfu_msg_dma_access asked;

    guest_memory();
    put(from, 0, 0x04, 4, 0x12345678);
    put(from, 0, 0x80, 8, GUEST + 0x100);
    put(from, 0, 0x88, 8, 0x40000);
    put(from, 0, 0x90, 8, 256);
    asked = start(0x98, 8, 1, VFU_CMD_DMA_READ);
    assert_int_equal(asked.address, GUEST + 0x100);
    assert_int_equal(asked.count, 256);
    move();
    await(to, 0, 0x98, 8, 1, 0);
    /* Its buffer has come, and goes back out. */
    put(to, 0, 0x80, 8, 0x40000);
    put(to, 0, 0x88, 8, GUEST + 0x60000);
    put(to, 0, 0x98, 8, 3);
    await(to, 0, 0x98, 8, 1, 0);
    assert_memory_equal(there + 0x60000, there + 0x100, 256);
    assert_int_equal(get(to, 0, 0x04, 4), (uint32_t)~0x12345678);
}

static void edu_factorial(void)
{
    /* Frozen before it can compute: the write is its last word before STOP. */
    uint32_t n = 10;

    put(from, 0, 0x20, 4, 0x80);
    good(from, vfuc_post(from, 0, 0x08, &n, 4));
    move();
    good(to, vfuc_irq_arm(to, VFUC_INTX, 1));
    await(to, 0, 0x20, 4, 1, 0);
    assert_int_equal(get(to, 0, 0x08, 4), 3628800);
    await(to, 0, 0x24, 4, 1, 1);
    assert_true(vfuc_irq_wait(to, VFUC_INTX, 0, 10 * SECOND) >= 1);
}

/* ---- testdev ---- */

#define DMA_ADDR 0x300
#define DMA_LEN 0x308
#define DMA_DST 0x310
#define DMA_CMD 0x320
#define DMA_STATUS 0x324
#define DMA_DONE 0x328
#define BUSY 0x80000000u
#define COPY 7u

static void testdev_copy(void)
{
    struct vfu_msg_dma_access asked;

    guest_memory();
    put(from, 0, DMA_ADDR, 8, GUEST + 0x1000);
    put(from, 0, DMA_DST, 8, GUEST + 0x60000);
    put(from, 0, DMA_LEN, 8, 4096);
    asked = start(DMA_CMD, 4, COPY, VFU_CMD_DMA_READ);
    assert_int_equal(asked.address, GUEST + 0x1000);
    move();
    await(to, 0, DMA_STATUS, 4, BUSY, 0);
    assert_int_equal(get(to, 0, DMA_STATUS, 4), 0);
    assert_int_equal(get(to, 0, DMA_DONE, 4), 1);
    assert_memory_equal(there + 0x60000, there + 0x1000, 4096);
}

/* What it has read is lost to nobody, though the memory has changed since. */
static void testdev_half_copy(void)
{
    struct {
        struct vfu_msg_header header;
        struct vfu_msg_dma_access access;
    } ask;
    uint64_t cmd = COPY;

    guest_memory();
    put(from, 0, DMA_ADDR, 8, GUEST + 0x1000);
    put(from, 0, DMA_DST, 8, GUEST + 0x60000);
    put(from, 0, DMA_LEN, 8, 512);
    good(from, vfuc_post(from, 0, DMA_CMD, &cmd, 4));
    good(from, vfuc_flush(from));
    good(from, vfuc_raw_recv(from, &ask, sizeof ask, NULL, NULL, 10 * SECOND));
    assert_int_equal(ask.header.command, VFU_CMD_DMA_READ);
    answer_read(&ask.access, ask.header.id, VFU_CMD_DMA_WRITE);
    move();
    await(to, 0, DMA_STATUS, 4, BUSY, 0);
    assert_int_equal(get(to, 0, DMA_DONE, 4), 1);
    assert_memory_equal(there + 0x60000, here + 0x1000, 512);
}

static void testdev_rest(void)
{
    uint8_t raw[64];
    uint64_t fired;

    put(from, 0, 0x050, 1, 0xa5);
    put(from, 0, 0x068, 8, 0x0123456789abcdef);
    put(from, 0, 0x208, 4, 0x41);
    put(from, 1, 0x08, 1, 'x');
    put(from, 1, 0x08, 1, 'y');
    put(from, 2, 0x3ffff8, 8, 0x1122334455667788);
    put(from, 4, 0x1000, 4, 0xcafe);
    for (uint32_t i = 0; i < sizeof raw; i++)
        raw[i] = (uint8_t)(i ^ 0x33);
    good(from, vfuc_write(from, 5, 0x40, raw, sizeof raw));
    put(from, 7, 4, 2, 0x0006);
    put(from, 0, 0x400, 8, 200000000); /* a timer that is not likely to fire here */
    put(from, 0, 0x410, 4, 3);
    move();
    fired = get(from, 0, 0x414, 4);
    good(to, vfuc_irq_arm(to, VFUC_INTX, 1));
    assert_int_equal(get(to, 0, 0x050, 1), 0xa5);
    assert_int_equal(get(to, 0, 0x068, 8), 0x0123456789abcdef);
    assert_int_equal(get(to, 0, 0x200, 4) & 0xff, 0x41);
    assert_int_equal(get(to, 1, 0x08, 1), 'x');
    assert_int_equal(get(to, 1, 0x08, 1), 'y');
    assert_int_equal(get(to, 2, 0x3ffff8, 8), 0x1122334455667788);
    assert_int_equal(get(to, 4, 0x1000, 4), 0xcafe);
    memset(raw, 0, sizeof raw);
    good(to, vfuc_read(to, 5, 0x40, raw, sizeof raw));
    for (uint32_t i = 0; i < sizeof raw; i++)
        assert_int_equal(raw[i], (uint8_t)(i ^ 0x33));
    assert_int_equal(get(to, 7, 4, 2), 6);
    await(to, 0, 0x414, 4, UINT32_MAX, 1);
    assert_int_equal(get(to, 0, 0x200, 4) >> 9 & 1, 1);
    assert_true(vfuc_irq_wait(to, VFUC_INTX, 0, 10 * SECOND) >= 1);
    /* Where it came from, nothing fires any more: that device stands still. */
    assert_int_equal(get(from, 0, 0x414, 4), fired);
}

/* ---- the others ---- */

static void memory(void)
{
    static uint8_t wrote[65536], back[65536];

    for (size_t i = 0; i < sizeof wrote; i++)
        wrote[i] = (uint8_t)(i * 31 + i / 251);
    good(from, vfuc_write(from, 0, 0, wrote, sizeof wrote / 2));
    assert_int_equal(vfuc_map_region(from, 0, NULL, 0), 1);
    memcpy(vfuc_mapped(from, 0, sizeof wrote / 2, sizeof wrote / 2), wrote + sizeof wrote / 2, sizeof wrote / 2);
    move();
    good(to, vfuc_read(to, 0, 0, back, sizeof back));
    assert_memory_equal(wrote, back, sizeof wrote);
}

static void gpio(void)
{
    uint64_t input;

    put(from, 2, 0, 1, 0x3c);
    put(from, 2, 4, 1, 0xc3);
    get(from, 2, 2, 1); /* interrupts on, which no register shows */
    input = get(from, 2, 5, 1);
    move();
    good(to, vfuc_irq_arm(to, VFUC_INTX, 1));
    assert_int_equal(get(to, 2, 0, 1), 0x3c);
    assert_int_equal(get(to, 2, 4, 1), 0xc3);
    /* Its input goes on blinking, and that is still an interrupt. */
    for (int i = 0; i < 3; i++) {
        assert_true(vfuc_irq_wait(to, VFUC_INTX, 0, 10 * SECOND) >= 1);
        assert_int_equal(get(to, 2, 6, 1) & 6, 6);
        put(to, 2, 1, 1, 0);
        good(to, vfuc_irq_unmask(to, VFUC_INTX, 0, 1));
    }
    assert_int_equal(get(to, 2, 5, 1) & 0x7f, input & 0x7f);
}

static uint64_t hash_of(struct vfuc *c)
{
    put(c, 0, 0x04, 4, 1);
    await(c, 0, 0x08, 4, 1, 0);
    assert_int_equal(get(c, 0, 0x08, 4), 0);
    return get(c, 0, 0x20, 4);
}

static void hasher(void)
{
    struct {
        struct vfu_msg_header header;
        struct vfu_msg_dma_access access;
    } ask;
    uint64_t go = 1, moved;

    guest_memory();
    put(from, 0, 0x10, 8, GUEST);
    put(from, 0, 0x18, 4, 0x30000);
    put(from, 0, 0x28, 4, 1);
    good(from, vfuc_post(from, 0, 0x04, &go, 4));
    good(from, vfuc_flush(from));
    good(from, vfuc_raw_recv(from, &ask, sizeof ask, NULL, NULL, 10 * SECOND));
    /* The first piece goes well; the second is under way. */
    answer_read(&ask.access, ask.header.id, VFU_CMD_DMA_READ);
    move();
    good(to, vfuc_irq_arm(to, VFUC_INTX, 1));
    await(to, 0, 0x08, 4, 1, 0);
    assert_int_equal(get(to, 0, 0x08, 4), 0);
    moved = get(to, 0, 0x20, 4);
    assert_true(vfuc_irq_wait(to, VFUC_INTX, 0, 10 * SECOND) >= 1);
    assert_int_equal(hash_of(to), moved);
}

/* ---- all of them ---- */

static const struct row {
    const char *name, *plugin;
    void (*run)(void);
    char *params[3];
} rows[] = {
    { "edu, DMA", "edu.so", edu, { NULL } },
    { "edu, DMA", "edu.lua", edu, { NULL } },
    { "edu, factorial", "edu.so", edu_factorial, { NULL } },
    { "edu, factorial", "edu.lua", edu_factorial, { NULL } },
    { "testdev, copy", "testdev.so", testdev_copy, { NULL } },
    { "testdev, copy", "testdev.lua", testdev_copy, { NULL } },
    { "testdev, half of a copy", "testdev.so", testdev_half_copy, { NULL } },
    { "testdev, half of a copy", "testdev.lua", testdev_half_copy, { NULL } },
    { "testdev, registers, memory, timers", "testdev.so", testdev_rest, { NULL } },
    { "testdev, registers, memory, timers", "testdev.lua", testdev_rest, { NULL } },
    { "memory", "memory.so", memory, { NULL } },
    { "gpio-idio-16, inputs", "gpio-idio-16.lua", gpio, { (char *)"blink=0.02", NULL } },
    { "hasher", "hasher.lua", hasher, { NULL } },
};

static struct vfuc *attach(struct proto_host *host, const char *plugin, char *const *params)
{
    struct vfuc_options options = { .struct_size = sizeof options, .timeout_ns = 20 * SECOND };
    struct vfuc *c = vfuc_new(&options);

    assert_non_null(c);
    assert_true(proto_host_start(host, plugin, params));
    good(c, vfuc_connect(c, host->socket));
    return c;
}

static void test_row(void **state)
{
    const struct row *row = *state;
    const char *build = getenv("VFU_BUILDDIR"), *dir = getenv("VFU_SRCDIR"), *dot = strrchr(row->plugin, '.');
    char path[600];

    if (strcmp(dot, ".so") == 0)
        snprintf(path, sizeof path, "%s/plugins/%.*s/.libs/%s", build ? build : ".", (int)(dot - row->plugin),
                 row->plugin, row->plugin);
    else
        snprintf(path, sizeof path, "%s/examples/%s", dir ? dir : ".", row->plugin);
    from = attach(&source, path, row->params);
    to = attach(&target, path, row->params);
    row->run();
    vfuc_free(from);
    vfuc_free(to);
    assert_true(proto_host_stop(&source));
    assert_true(proto_host_stop(&target));
}

int main(void)
{
    struct CMUnitTest tests[sizeof rows / sizeof rows[0]];
    char names[sizeof rows / sizeof rows[0]][80];
    int failed;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(names[i], sizeof names[i], "%s (%s)", rows[i].name, rows[i].plugin);
        tests[i] = (struct CMUnitTest){ names[i], test_row, NULL, NULL, (void *)&rows[i] };
    }
    failed = _cmocka_run_group_tests("move", tests, sizeof rows / sizeof rows[0], NULL, NULL);
    free(image.data);
    return failed;
}
