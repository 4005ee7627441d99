/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_trace - vfu-host --trace with real clients: every message of two devices is in the file, as it was sent, in
 * pairs, with DMA requests, the twin socket and descriptors; and a trace that cannot be written does not stop a device.
 * One thread.
 */
#define _GNU_SOURCE
#include "tests/robust/rig.h"
#include "tests/unit/pcapng.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROM_SIZE 200000u
#define IN 1u
#define OUT 2u

static struct rig rig;
static struct pcapng all;

static int open_rig(void **state)
{
    (void)state;
    rig_open(&rig);
    return 0;
}

static int close_rig(void **state)
{
    (void)state;
    pcapng_free(&all);
    rig_close(&rig);
    return 0;
}

static void load(void)
{
    const char *wrong = pcapng_read(&all, rig_path(&rig, "t.pcapng"));

    if (wrong)
        fail_msg("the trace: %s", wrong);
}

static struct vfu_msg_header header_of(const struct pcapng_packet *packet)
{
    struct vfu_msg_header header;

    assert_true(packet->have >= sizeof header);
    memcpy(&header, packet->bytes, sizeof header);
    return header;
}

/* How many messages of the interface are this command, of that direction and type. */
static unsigned count(uint32_t interface, uint16_t command, uint32_t direction, uint32_t type)
{
    unsigned n = 0;

    for (size_t i = 0; i < all.npackets; i++) {
        struct vfu_msg_header header = header_of(&all.packets[i]);

        n += all.packets[i].interface == interface && header.command == command && all.packets[i].flags == direction &&
             (header.flags & VFU_MSG_TYPE_MASK) == type;
    }
    return n;
}

/* Every message is whole, and every reply has its request before it, on the same device, the other way. */
static void assert_pairs(void)
{
    for (size_t i = 0; i < all.npackets; i++) {
        const struct pcapng_packet *one = &all.packets[i];
        struct vfu_msg_header reply = header_of(one), request = { 0 };
        size_t before = i;

        assert_int_equal(one->size, reply.size);
        assert_int_equal(one->have, one->size < 65536 ? one->size : 65536);
        if ((reply.flags & VFU_MSG_TYPE_MASK) != VFU_MSG_REPLY)
            continue;
        while (before-- > 0) {
            const struct pcapng_packet *other = &all.packets[before];

            request = header_of(other);
            if (other->interface == one->interface && request.id == reply.id && request.command == reply.command &&
                other->flags + one->flags == IN + OUT)
                break;
        }
        assert_true(before < i);
        assert_int_equal(request.flags & VFU_MSG_TYPE_MASK, VFU_MSG_COMMAND);
    }
}

static void dma_round(struct vfuc *c)
{
    void *memory;
    uint64_t value;

    assert_true(vfuc_memory_new(c, 0, 65536, VFUC_DMA_RW | VFUC_DMA_MESSAGES, &memory) >= 0);
    memset(memory, 0x5a, 16);
    assert_true(vfuc_put(c, VFUC_BAR(0), 0x80, 8, 0) >= 0);
    assert_true(vfuc_put(c, VFUC_BAR(0), 0x88, 8, 0x40000) >= 0);
    assert_true(vfuc_put(c, VFUC_BAR(0), 0x90, 8, 16) >= 0);
    assert_true(vfuc_put(c, VFUC_BAR(0), 0x98, 8, 1) >= 0);
    do
        assert_true(vfuc_get(c, VFUC_BAR(0), 0x98, 8, &value) >= 0);
    while (value & 1);
}

static struct vfuc *twin_client(const char *socket)
{
    struct vfuc_options options = { .struct_size = sizeof options, .flags = VFUC_WAIT | VFUC_TWIN_SOCKET };
    struct vfuc *c = vfuc_new(&options);

    assert_non_null(c);
    assert_int_equal(vfuc_connect(c, rig_path(&rig, socket)), 0);
    return c;
}

static void two_devices(void **state)
{
    struct vfuc *a, *b;
    unsigned twin = 0, seen = 0;

    (void)state;
    rig_start(&rig, "--trace", "@t.pcapng", "--plugin", "$edu", "--socket-path", "@a", "--plugin", "$lua",
              "--socket-path", "@b", NULL);
    a = rig_client(&rig, "a");
    b = twin_client("b");
    rig_alive(a);
    assert_true(vfuc_put(a, VFUC_BAR(0), RIG_LIVE, 4, 0x12345678) >= 0);
    assert_true(vfuc_irq_arm(a, VFUC_MSI, 1) >= 0);
    dma_round(a);
    dma_round(b);
    assert_true(vfuc_reset(b) >= 0);
    vfuc_free(a);
    vfuc_free(b);
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    load();
    assert_int_equal(all.ninterfaces, 2);
    assert_string_equal(all.interfaces[0].name, "edu");
    assert_string_equal(all.interfaces[0].description, rig_path(&rig, "a"));
    assert_string_equal(all.interfaces[1].description, rig_path(&rig, "b"));
    assert_pairs();
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(all.interfaces[i].linktype, 147);
        assert_int_equal(all.interfaces[i].dropped, 0);
        assert_int_equal(count(i, VFU_CMD_VERSION, IN, VFU_MSG_COMMAND), 1);
        assert_int_equal(count(i, VFU_CMD_VERSION, OUT, VFU_MSG_REPLY), 1);
        assert_int_equal(count(i, VFU_CMD_DMA_READ, OUT, VFU_MSG_COMMAND), 1);
        assert_int_equal(count(i, VFU_CMD_DMA_READ, IN, VFU_MSG_REPLY), 1);
        assert_int_equal(count(i, VFU_CMD_DEVICE_RESET, IN, VFU_MSG_COMMAND), i);
    }
    for (size_t i = 0; i < all.npackets; i++) {
        const struct pcapng_packet *one = &all.packets[i];
        struct vfu_msg_header header = header_of(one);
        uint32_t value;

        /* On b the reply to VERSION carries the twin socket, and DMA goes there. */
        if (one->interface == 1 && header.command == VFU_CMD_VERSION && one->flags == OUT)
            assert_string_equal(one->comment, "fds: 1");
        else if (!one->interface && header.command == VFU_CMD_DEVICE_SET_IRQS && !strcmp(one->comment, "fds: 1"))
            seen |= 1;
        else if (strcmp(one->comment, "twin socket") == 0)
            twin += header.command == VFU_CMD_DMA_READ && one->interface == 1;
        else
            assert_string_equal(one->comment, "");
        if (header.command == VFU_CMD_REGION_WRITE && one->size == 36 && one->interface == 0) {
            memcpy(&value, one->bytes + 32, 4);
            if (value == 0x12345678)
                seen |= 2;
        }
    }
    assert_int_equal(twin, 2);
    assert_int_equal(seen, 3);
}

/* Data that usually go past the buffers; and a trace that keeps less than it is given. */
static void large(void **state)
{
    static uint8_t out[ROM_SIZE], in[ROM_SIZE];
    struct vfuc *c;

    (void)state;
    for (uint32_t i = 0; i < ROM_SIZE; i++)
        out[i] = (uint8_t)(i * 7 + (i >> 8));
    for (int round = 0; round < 2; round++) {
        unsigned found = 0;

        rig_start(&rig, "--plugin", "$memory", "size=1M", "--socket-path", "@m", "--trace", "@t.pcapng", "--trace-snap",
                  round ? "1M" : "100", NULL);
        c = rig_client(&rig, "m");
        memset(in, 0, sizeof in);
        assert_true(vfuc_write(c, VFUC_BAR(0), 4096, out, sizeof out) >= 0);
        assert_true(vfuc_read(c, VFUC_BAR(0), 4096, in, sizeof in) >= 0);
        assert_memory_equal(in, out, sizeof out);
        vfuc_free(c);
        assert_int_equal(rig_stop(&rig, SIGTERM), 0);
        load();
        assert_int_equal(all.interfaces[0].snap, round ? 1048576 : 100);
        for (size_t i = 0; i < all.npackets; i++) {
            const struct pcapng_packet *one = &all.packets[i];

            assert_int_equal(one->have, round || one->size < 100 ? one->size : 100);
            if (one->size != ROM_SIZE + 32)
                continue;
            found |= one->flags;
            assert_memory_equal(one->bytes + 32, out, round ? ROM_SIZE : 68);
        }
        assert_int_equal(found, IN | OUT);
        pcapng_free(&all);
    }
}

/* The disk is full from the start: one line, and the device serves. */
static void full(void **state)
{
    struct vfuc *c;

    (void)state;
    rig_start(&rig, "--plugin", "$lua", "--socket-path", "@s", "--trace", "/dev/full", NULL);
    c = rig_client(&rig, "s");
    for (int i = 0; i < 100; i++)
        rig_alive(c);
    vfuc_free(c);
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    assert_int_equal(rig_said(&rig, "--trace /dev/full: No space left on device"), 1);
}

/* What is written to a script by mistake is worse than no trace. */
static void refused(void **state)
{
    (void)state;
    rig_write(&rig, "mine.lua", "return {}\n");
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@s", "--trace", "@mine.lua", NULL), 1);
    assert_int_equal(rig_said(&rig, "it is there and no pcapng file, and is left as it is"), 1);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@s", "--trace", "@no/t.pcapng", NULL), 1);
    assert_int_equal(rig_said(&rig, "No such file or directory"), 1);
    assert_int_not_equal(access(rig_path(&rig, "s"), F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_devices, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(large, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(full, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(refused, open_rig, close_rig),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
