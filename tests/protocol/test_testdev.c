/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_testdev - the plugins testdev, memory and null, through the client library, on a real socket: what a client sees
 * of every part of a device model. The device is described in plugins/testdev/testdev.h. One thread.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/protocol/proto.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define MS VFUC_NS_PER_MS
#define MEM UINT64_C(0x100000)
#define MIB 1048576u

static struct proto_host host;
static struct vfuc *c;

static void attach(uint32_t max_msg_fds)
{
    struct vfuc_options options = { .struct_size = sizeof options, .max_msg_fds = max_msg_fds };

    int error = -EBUSY;

    c = vfuc_new(&options);
    for (int i = 0; i < 1000 && error == -EBUSY; i++) { /* the last client may just be going */
        error = vfuc_connect(c, host.socket);
        if (error == -EBUSY)
            nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
    }
    assert_int_equal(error, 0);
}

static void detach(void)
{
    vfuc_free(c);
    c = NULL;
}

static int bring_up(const char *plugin, char *const *params)
{
    if (!proto_host_start(&host, plugin, params))
        return -1;
    attach(0);
    return 0;
}

/* The plugin, or VFU_SRCDIR/examples/testdev.lua; where the two differ, `script` says which it is. */
static char testdev[4096];
static bool script;

static int choose(void **state)
{
    const char *source = getenv("VFU_SRCDIR"), *which = *state;

    script = strcmp(which, "testdev.lua") == 0;
    if (script)
        snprintf(testdev, sizeof testdev, "%s/examples/%s", source ? source : ".", which);
    else
        snprintf(testdev, sizeof testdev, "%s", which);
    return 0;
}

static int setup(void **state)
{
    choose(state);
    return bring_up(testdev, NULL);
}

static int teardown(void **state)
{
    (void)state;
    detach();
    return proto_host_stop(&host) ? 0 : -1;
}

static uint64_t get_in(uint32_t region, uint64_t offset, uint32_t size)
{
    uint64_t value = 0;

    assert_int_equal(vfuc_get(c, region, offset, size, &value), 0);
    return value;
}

static uint32_t get(uint64_t offset)
{
    return (uint32_t)get_in(0, offset, 4);
}

static void put_in(uint32_t region, uint64_t offset, uint32_t size, uint64_t value)
{
    assert_int_equal(vfuc_put(c, region, offset, size, value), 0);
}

static void put(uint64_t offset, uint32_t value)
{
    put_in(0, offset, 4, value);
}

/* Polls a register, as a driver would: what the device does by itself takes a moment. */
static bool becomes(uint64_t offset, uint32_t value)
{
    for (int i = 0; i < 2000; i++) {
        if (get(offset) == value)
            return true;
        vfuc_serve(c, MS);
    }
    return false;
}

static uint32_t fnv(const uint8_t *bytes, size_t n)
{
    uint32_t sum = 0x811c9dc5u;

    for (size_t i = 0; i < n; i++)
        sum = (sum ^ bytes[i]) * 0x01000193u;
    return sum;
}

static void fill(uint8_t *bytes, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(seed + 7 * i + (i >> 8));
}

/* ---- registers */

static void access_kinds(void **state)
{
    static const struct {
        uint32_t offset, before, write, after, peek;
    } kinds[] = {
        { 0x10, 0, 0x12345678, 0x12345678, 0x12345678 },                   /* RW */
        { 0x14, 0x12345678, 0xffffffff, 0x12345678, 0x12345678 },          /* RO */
        { 0x18, 0, 0xabcdef01, 0, 0xabcdef01 },                            /* WO */
        { 0x1c, 0xffffffff, 0x0000ffff, 0xffff0000, 0xffff0000 },          /* W1C */
        { 0x20, 0, 0x00ff00ff, 0x00ff00ff, 0x00ff00ff },                   /* W1S */
        { 0x24, 0x0000ffff, 0xff0000ff, 0xff00ff00, 0xff00ff00 },          /* W1T */
        { 0x28, 0xffffffff, 0xf0f0f0f0, 0xf0f0f0f0, 0xf0f0f0f0 },          /* W0C */
        { 0x2c, 0x5a5a5a5a, 0xffffffff, 0, 0 },                            /* RC: the first read has cleared it */
        { 0x30, 0x5a5a5a5a, 0, 0xffffffff, 0xffffffff },                   /* RS */
        { 0x34, 0, 0x11111111, 0x11111111, 0x11111111 },                   /* WONCE */
        { 0x38, 0x0badcafe, 0, 0x0badcafe, 0x0badcafe },                   /* RESERVED */
        { 0x3c, 0xdeadbeef, 0, 0xdeadbeef, 0xdeadbeef },                   /* UNIMP */
    };

    (void)state;
    assert_int_equal(get(0), 0x31564454);
    for (uint32_t i = 0; i < LENGTH(kinds); i++) {
        assert_int_equal(get(kinds[i].offset), kinds[i].before);
        put(kinds[i].offset, kinds[i].write);
        put(0x40, i);
        assert_int_equal(get(0x44), kinds[i].peek);
        assert_int_equal(get(kinds[i].offset), kinds[i].after);
    }
    put(0x34, 0x22222222);
    assert_int_equal(get(0x34), 0x11111111);
    put(0x40, 1);
    put(0x44, 0x77777777); /* hardware's own write of a read-only register */
    assert_int_equal(get(0x14), 0x77777777);
    put(0x40, 12);
    assert_int_equal(get(0x44), 0);
    assert_int_equal(vfuc_reset(c), 0);
    assert_int_equal(get(0x14), 0x12345678);
}

static void widths_and_order(void **state)
{
    uint8_t bytes[8];

    (void)state;
    put_in(0, 0x60, 4, 0x11223344);
    assert_int_equal(get_in(0, 0x60, 1), 0x44); /* the byte at the lowest address is the one that was sent first */
    put_in(0, 0x68, 8, 0x0102030405060708);
    assert_int_equal(vfuc_read(c, 0, 0x68, bytes, 8), 0);
    assert_memory_equal(bytes, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    put_in(0, 0x50, 4, 0xaabbccdd); /* W8, a gap, W16 */
    assert_int_equal(get_in(0, 0x50, 1), 0xdd);
    assert_int_equal(get_in(0, 0x52, 2), 0xaabb);
    assert_int_equal(get(0x50), 0xaabb00dd);
    put(0x70, 1);
    assert_int_equal(get(0x78), 0);
    put(0x74, 2);
    assert_int_equal(get(0x78), 1);
    assert_int_equal(get_in(0, 0x70, 8), UINT64_C(0x200000001));
    put(0x80, 1);
    put(0x84, 2);
    assert_int_equal(get(0x88), 2);
    assert_int_equal(get_in(0, 0x80, 8), UINT64_C(0x200000001));
    assert_int_equal(get_in(1, 4, 2), 0x4f49);
    put_in(1, 0, 4, 0x01020304);
    assert_int_equal(get_in(1, 0, 2), 0x0304);
    assert_int_equal(get_in(1, 0x20, 4), 0xffffffff);
}

static void hooks_locks_arrays(void **state)
{
    (void)state;
    put(0xa0, 0xffffffff);
    assert_int_equal(get(0xa0), 0x000705ff); /* LOW, MODE written, RO as it was, W1C cleared, reserved bits alone */
    put(0xa4, 0x0f0f0f0f);
    assert_int_equal(get(0xa4), 0xf0f0f0f0);
    assert_int_equal(get(0xa8), 1);
    assert_int_equal(get(0xa8), 2);
    put(0xac, 5);
    put(0xac, 0xbad);
    assert_int_equal(get(0xac), 5);
    put(0xb0, 5);
    assert_int_equal(get(0xb0), 0xffffffff);
    put(0xb4, 1);
    assert_int_equal(get(0xb8), 1);
    put(0x98, 1);
    put(0x94, 1);
    put(0x98, 2);
    assert_int_equal(get(0x98), 1);
    put(0x94, 0);
    put(0x98, 3);
    assert_int_equal(get(0x98), 3);
    put(0x9c, 1);
    put(0x04, 0x4b434f4c);
    put(0x9c, 2);
    assert_int_equal(get(0x9c), 1);
    put(0x04, 0);
    put(0x9c, 3);
    assert_int_equal(get(0x9c), 3);
    for (uint32_t i = 0; i < 8; i++)
        put(0x100 + 8 * i, i + 1);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(get_in(0, 0x100 + 8 * i, 8), i + 1);
    for (uint32_t i = 0; i < 4; i++) {
        put(0x180 + 0x20 * i, 10 * i);
        put(0x180 + 0x20 * i, 1);
        put(0x188 + 0x20 * i, 100 + i);
    }
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(get(0x190 + 0x20 * i), 10 * i + 1);
        assert_int_equal(get(0x188 + 0x20 * i), 100 + i);
    }
    put(0x90, 77);
    assert_int_equal(vfuc_reset(c), 0);
    assert_int_equal(get(0x90), 77);
    assert_int_equal(get(0x98), 0);
    assert_int_equal(get(0x514), 1);
}

static void fifo_and_raw(void **state)
{
    uint8_t out[3000], in[3000];
    uint64_t value;

    (void)state;
    assert_int_equal(get_in(1, 8, 1), 0xff);
    for (uint32_t i = 0; i < 17; i++)
        put_in(1, 8, 1, i + 1);
    assert_int_equal(get_in(1, 9, 1), 16);
    for (uint32_t i = 0; i < 16; i++)
        assert_int_equal(get_in(1, 8, 1), i + 1);
    assert_int_equal(get_in(1, 9, 1), 0);
    fill(out, sizeof out, 3);
    assert_int_equal(vfuc_write(c, 5, 0, out, 2500), 0); /* the last 452 bytes are not kept */
    assert_int_equal(vfuc_read(c, 5, 0, in, 3000), 0);
    assert_memory_equal(in, out, 2048);
    for (uint32_t i = 2048; i < 3000; i++)
        assert_int_equal(in[i], (uint8_t)i);
    put_in(5, 0x10, 2, 0xbeef);
    assert_int_equal(get_in(5, 0x10, 8) & 0xffff, 0xbeef);
    assert_int_equal(vfuc_get(c, 5, 0xc00, 4, &value), -EIO);
    assert_int_equal(vfuc_get(c, 5, 0xe00, 4, &value), -EINVAL);
    assert_int_equal(vfuc_get(c, 5, 1, 4, &value), -EINVAL); /* misaligned, in a BAR where that is an error */
}

static void config_and_rom(void **state)
{
    struct vfuc_region rom;
    uint8_t image[512];

    (void)state;
    assert_int_equal(get_in(7, 0, 4), 0x7e571234);
    assert_int_equal(vfuc_region_info(c, 6, &rom, NULL, 0), 0);
    assert_int_equal(rom.size, script ? 0 : 2048);
    if (script)
        return;
    assert_int_equal(vfuc_read(c, 6, 0, image, sizeof image), 0);
    assert_int_equal(image[0] | image[1] << 8, 0xaa55);
    assert_memory_equal(image + 0x1c, "PCIR\x34\x12\x57\x7e", 8);
}

/* ---- memory */

static void a_mib_each_way(void **state)
{
    uint8_t *out = malloc(4 * MIB), *in = malloc(4 * MIB);

    (void)state;
    fill(out, 4 * MIB, 9);
    assert_int_equal(vfuc_write(c, 2, 0, out, 4 * MIB), 0);
    assert_int_equal(vfuc_read(c, 2, 0, in, 4 * MIB), 0);
    assert_memory_equal(in, out, 4 * MIB);
    put(0x500, 2);
    put(0x504, 4 * MIB - 4);
    assert_int_equal(get(0x508), get_in(2, 4 * MIB - 4, 4));
    put(0x504, 4 * MIB);
    assert_int_equal(get(0x508), 0xffffffff);
    free(out);
    free(in);
}

/* What the client maps and what the device sees are the same bytes; the rest goes by messages, and can be mixed. */
static void the_client_maps_parts(void **state)
{
    struct vfuc_area areas[4];
    struct vfuc_region region;

    (void)state;
    assert_int_equal(vfuc_region_info(c, 4, &region, areas, LENGTH(areas)), 0);
    assert_int_equal(region.flags, VFUC_REGION_READ | VFUC_REGION_WRITE | VFUC_REGION_MMAP | VFUC_REGION_CAPS);
    assert_int_equal(region.nareas, 2);
    assert_int_equal(areas[0].offset, 0x1000);
    assert_int_equal(areas[0].size, 0x1000);
    assert_int_equal(areas[1].offset, 0x4000);
    assert_int_equal(areas[1].size, 0x8000);
    put(0x500, 4);
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t last = (uint32_t)(areas[i].offset + areas[i].size - 4);
        volatile uint32_t *map = mmap(NULL, areas[i].size, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd,
                                      (off_t)(region.offset + areas[i].offset));

        assert_ptr_not_equal(map, MAP_FAILED);
        map[0] = 0x1000 + i;
        put(0x504, (uint32_t)areas[i].offset);
        assert_int_equal(get(0x508), 0x1000 + i);
        assert_int_equal(get_in(4, areas[i].offset, 4), 0x1000 + i);
        put(0x504, last);
        put(0x508, 0x2000 + i);
        assert_int_equal(map[areas[i].size / 4 - 1], 0x2000 + i);
        put_in(4, last, 4, 0x3000 + i);
        assert_int_equal(map[areas[i].size / 4 - 1], 0x3000 + i);
        assert_int_equal(get(0x508), 0x3000 + i);
        munmap((void *)(uintptr_t)map, areas[i].size);
    }
    /* It is the device's: a client cannot resize it. */
    assert_int_equal(ftruncate(region.fd, 0), -1);
    close(region.fd);
    assert_int_equal(get_in(4, 0, 4), 0x504d4d53);
    put_in(4, 0, 4, 0);
    assert_int_equal(get_in(4, 0, 4), 0x504d4d53);
    /* What was mapped outlives the client. */
    detach();
    attach(0);
    assert_int_equal(get_in(4, 0x1000, 4), 0x1000);
}

static void memory_maps_whole(void **state)
{
    static char *const params[] = { (char *)"size=1M", NULL };
    static char *const off[] = { (char *)"size=1M", (char *)"mmap=off", NULL };
    struct vfuc_region region;
    uint8_t *map, *out = malloc(MIB);

    (void)state;
    assert_int_equal(bring_up("memory", params), 0);
    assert_int_equal(vfuc_region_info(c, 0, &region, NULL, 0), 0);
    assert_int_equal(region.size, MIB);
    assert_int_equal(region.flags, VFUC_REGION_READ | VFUC_REGION_WRITE | VFUC_REGION_MMAP);
    map = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd, (off_t)region.offset);
    assert_ptr_not_equal(map, MAP_FAILED);
    fill(out, MIB, 1);
    assert_int_equal(vfuc_write(c, 0, 0, out, MIB), 0);
    assert_memory_equal(map, out, MIB);
    fill(map, MIB, 2);
    assert_int_equal(vfuc_read(c, 0, 0, out, MIB), 0);
    assert_memory_equal(map, out, MIB);
    munmap(map, MIB);
    close(region.fd);
    assert_int_equal(teardown(NULL), 0);

    assert_int_equal(bring_up("memory", off), 0);
    assert_int_equal(vfuc_region_info(c, 0, &region, NULL, 0), 0);
    assert_int_equal(region.flags, VFUC_REGION_READ | VFUC_REGION_WRITE);
    assert_int_equal(region.fd, -1);
    assert_int_equal(vfuc_write(c, 0, 0, out, MIB), 0);
    assert_int_equal(get_in(0, MIB - 4, 1), out[MIB - 4]);
    free(out);
}

static void null_is_config_space(void **state)
{
    struct vfuc_region region;

    (void)state;
    assert_int_equal(bring_up("null", NULL), 0);
    for (uint32_t i = 0; i < 9; i++) {
        assert_int_equal(vfuc_region_info(c, i, &region, NULL, 0), 0);
        assert_int_equal(region.size, i == 7 ? 256 : 0);
    }
    assert_int_equal(get_in(7, 0, 4), 0x7e001234);
    assert_int_equal(vfuc_reset(c), -ENOTSUP);
}

/* ---- doorbells */

struct offer {
    struct vfu_msg_region_io_fds head;
    uint8_t list[16 * 48];
    int fds[16];
    uint32_t nfds;
    size_t size;
};

static int ask(struct offer *offer, uint32_t argsz, uint32_t flags, uint32_t index, uint32_t count)
{
    struct vfu_msg_region_io_fds info = { argsz, flags, index, count };
    struct vfuc_request r = {
        .command = VFU_CMD_DEVICE_GET_REGION_IO_FDS,
        .body = &info,
        .size = sizeof info,
        .reply = offer,
        .reply_max = offsetof(struct offer, fds),
        .reply_fds = offer->fds,
        .reply_fds_max = 16,
    };
    int error = vfuc_request(c, &r);

    offer->nfds = r.reply_nfds;
    offer->size = r.reply_size;
    return error;
}

static void drop(struct offer *offer)
{
    for (uint32_t i = 0; i < offer->nfds; i++)
        close(offer->fds[i]);
}

static void rang(uint32_t index, uint32_t times, uint64_t value)
{
    assert_true(becomes(0x1080 + 4 * index, times));
    assert_int_equal(get_in(0, 0x1100 + 8 * index, 8), value);
}

static void doorbells_by_message(void **state)
{
    struct vfuc_multi multi[] = { { 0x1000, 0, 4, { 1 } }, { 0x1000, 0, 4, { 2 } }, { 0x100c, 0, 4, { 0x11 } } };

    (void)state;
    put(0x1000, 0xcafe);
    rang(0, 1, 0xcafe);
    assert_int_equal(get(0x1000), 0xcafe); /* the register has had it, too */
    put(0x1004, 1);
    put(0x1008, 2);
    rang(1, 2, 2);
    rang(2, 0, 0);
    put(0x100c, 0x11);
    put(0x100c, 0x22);
    put(0x100c, 0x33);
    rang(3, 1, 0x11);
    rang(4, 1, 0x22);
    put(0x1010, 0x99);
    rang(5, 1, 0x99);
    put_in(0, 0x1018, 8, UINT64_MAX);
    put_in(0, 0x1018, 4, 1); /* half of it: for KVM, too, no ring */
    rang(6, 1, UINT64_MAX);
    put_in(0, 0x1020, 1, 1);
    put_in(0, 0x1020, 4, 2);
    rang(7, 2, 2);
    put_in(1, 0x10, 1, 0x5a);
    rang(8, 1, 0x5a);
    assert_int_equal(vfuc_write_multi(c, multi, 3, true), 0);
    rang(0, 3, 2);
    rang(3, 2, 0x11);
}

static void doorbells_by_event_fd(void **state)
{
    const struct vfu_msg_sub_region_shadow *list;
    struct offer offer, former;
    uint64_t *shadow;

    (void)state;
    assert_int_equal(ask(&offer, sizeof offer.head + 8 * 48, 0, 0, 0), 0);
    assert_int_equal(offer.head.count, 8);
    assert_int_equal(offer.head.argsz, 16 + 8 * 48);
    assert_int_equal(offer.size, 16 + 8 * 48);
    assert_int_equal(offer.nfds, 8);
    list = (void *)offer.list;
    assert_int_equal(list[5].type, VFU_IO_FD_TYPE_IOEVENTFD_SHADOW);
    assert_int_equal(list[5].offset, 0x1010);
    shadow = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, offer.fds[list[5].shadow_fd_index], 0);
    assert_ptr_not_equal(shadow, MAP_FAILED);
    eventfd_write(offer.fds[list[0].fd_index], 1);
    rang(0, 1, 0);
    assert_int_equal(get(0x1000), 0); /* nobody has written it */
    eventfd_write(offer.fds[list[2].fd_index], 1);
    rang(1, 1, 0);
    eventfd_write(offer.fds[list[4].fd_index], 1);
    rang(4, 1, 0x22);
    shadow[list[5].shadow_offset / 8] = 0xdeadbeef;
    eventfd_write(offer.fds[list[5].fd_index], 1);
    rang(5, 1, 0xdeadbeef);
    /* Asked again: the same bells. */
    assert_int_equal(ask(&former, 4096, 0, 0, 0), 0);
    eventfd_write(former.fds[0], 1);
    rang(0, 2, 0);
    drop(&former);
    /* The next client is not rung by this one. */
    former = offer;
    eventfd_write(former.fds[0], 1);
    rang(0, 3, 0);
    detach();
    attach(0);
    eventfd_write(former.fds[0], 1);
    assert_int_equal(ask(&offer, 4096, 0, 0, 0), 0);
    eventfd_write(former.fds[0], 1);
    shadow[list[5].shadow_offset / 8] = 1;
    eventfd_write(offer.fds[list[5].fd_index], 1);
    rang(5, 2, 0);
    assert_int_equal(get(0x1080), 3);
    munmap(shadow, 4096);
    drop(&former);
    drop(&offer);
    assert_int_equal(ask(&offer, 4096, 0, 1, 0), 0);
    assert_int_equal(offer.head.count, 1);
    assert_int_equal(offer.head.argsz, 16 + 40);
    assert_int_equal(((struct vfu_msg_sub_region *)(void *)offer.list)->flags, VFU_IOEVENTFD_PIO);
    drop(&offer);
}

static void doorbells_asked_for_badly(void **state)
{
    struct offer offer;

    (void)state;
    assert_int_equal(ask(&offer, 15, 0, 0, 0), -EINVAL);
    assert_int_equal(ask(&offer, 4096, 1, 0, 0), -EINVAL);
    assert_int_equal(ask(&offer, 4096, 0, 0, 1), -EINVAL);
    assert_int_equal(ask(&offer, 4096, 0, 9, 0), -EINVAL);
    assert_int_equal(ask(&offer, 4096, 0, UINT32_MAX, 0), -EINVAL);
    assert_int_equal(ask(&offer, 16 + 8 * 48 - 1, 0, 0, 0), 0);
    assert_int_equal(offer.size, 16);
    assert_int_equal(offer.head.argsz, 16 + 8 * 48);
    assert_int_equal(offer.nfds, 0);
    for (uint32_t i = 2; i < 9; i++) {
        assert_int_equal(ask(&offer, 4096, 0, i, 0), 0);
        assert_int_equal(offer.size, 16);
        assert_int_equal(offer.head.count, 0);
        assert_int_equal(offer.nfds, 0);
    }
    /* A client that takes one descriptor with a message. */
    detach();
    attach(1);
    assert_int_equal(ask(&offer, 4096, 0, 0, 0), 0);
    assert_int_equal(offer.head.count, 1);
    assert_int_equal(offer.nfds, 1);
    drop(&offer);
    put(0x1018, 1);
    put(0x1020, 1);
    rang(7, 1, 1); /* what was not offered rings by message */
}

/* A client that rings all the time is served as ever, and so is its socket. */
static void a_bell_does_not_drown_the_socket(void **state)
{
    struct offer offer;

    (void)state;
    assert_int_equal(ask(&offer, 4096, 0, 0, 0), 0);
    for (uint32_t i = 0; i < 2000; i++) {
        for (uint32_t k = 0; k < 10; k++)
            eventfd_write(offer.fds[0], 1);
        put(4, i);
        assert_int_equal(get(4), i);
    }
    assert_in_range(get(0x1080), 1, 20000);
    drop(&offer);
}

static void denied_doorbells_ring_by_message(void **state)
{
    static char *const params[] = { (char *)"--deny", (char *)"doorbell", NULL };
    struct offer offer;

    (void)state;
    assert_int_equal(bring_up(testdev, params), 0);
    assert_int_equal(ask(&offer, 4096, 0, 0, 0), 0);
    assert_int_equal(offer.head.count, 0);
    put(0x1000, 1);
    rang(0, 1, 1);
}

/* ---- interrupts */

static void interrupts(void **state)
{
    static const struct {
        uint32_t index, count;
    } kinds[] = { { VFUC_MSI, 4 }, { VFUC_MSIX, 8 } };

    (void)state;
    put(0x210, 0);
    assert_int_equal(get(0x218), (uint32_t)-ENOENT); /* not armed, but the line is high until it is lowered */
    put(0x214, 0);
    assert_int_equal(get(0x218), 0);
    assert_int_equal(vfuc_irq_arm(c, VFUC_INTX, 1), 0);
    put(0x208, 1);
    assert_int_equal(vfuc_irq_wait(c, VFUC_INTX, 0, 1000 * MS), 1);
    assert_int_equal(get(0x200), 1);
    put(0x20c, 1);
    assert_int_equal(vfuc_irq_unmask(c, VFUC_INTX, 0, 1), 0);
    put(0x204, 0); /* masked */
    put(0x208, 2);
    assert_int_equal(vfuc_irq_wait(c, VFUC_INTX, 0, 20 * MS), 0);
    put(0x204, 2);
    assert_int_equal(vfuc_irq_wait(c, VFUC_INTX, 0, 1000 * MS), 1);
    put(0x20c, 2);
    assert_int_equal(vfuc_irq_disarm(c, VFUC_INTX), 0);
    for (uint32_t i = 0; i < LENGTH(kinds); i++) {
        assert_int_equal(vfuc_irq_arm(c, kinds[i].index, kinds[i].count), 0);
        for (uint32_t vector = 0; vector < kinds[i].count; vector++) {
            put(0x210, vector);
            assert_int_equal(get(0x218), 0);
            assert_int_equal(vfuc_irq_wait(c, kinds[i].index, vector, 1000 * MS), 1);
        }
        put(0x210, kinds[i].count); /* beyond this kind; beyond all kinds */
        assert_int_equal(get(0x218), kinds[i].count < 8 ? (uint32_t)-ENOENT : (uint32_t)-EINVAL);
        assert_int_equal(vfuc_irq_disarm(c, kinds[i].index), 0);
    }
    /* A vector masked in the table stays pending. */
    assert_int_equal(vfuc_irq_arm(c, VFUC_MSIX, 8), 0);
    put(0x8000 + 16 * 3 + 12, 1);
    put(0x210, 3);
    assert_int_equal(get(0x218), script ? 0 : 1); /* for a script, sent and pending are both true */
    assert_int_equal(get_in(0, 0x9000, 8), 8);
    assert_int_equal(vfuc_irq_wait(c, VFUC_MSIX, 3, 20 * MS), 0);
    put(0x8000 + 16 * 3 + 12, 0);
    assert_int_equal(vfuc_irq_wait(c, VFUC_MSIX, 3, 1000 * MS), 1);
    assert_int_equal(vfuc_irq_arm(c, VFUC_ERR, 1), 0);
    put(0x21c, 3);
    assert_int_equal(get(0x218), 0);
    assert_int_equal(vfuc_irq_wait(c, VFUC_ERR, 0, 1000 * MS), 1);
}

/* ---- DMA */

enum { READ_NOW = 1, WRITE_NOW, READ, WRITE, MAP_READ, MAP_WRITE, COPY, HOLD, RELEASE, DMA_KEEP = 0x100, DMA_IRQ = 0x200 };

static uint32_t transfer(uint32_t command, uint64_t addr, uint64_t len, uint32_t seed)
{
    uint32_t done = get(0x328);

    put_in(0, 0x300, 8, addr);
    put_in(0, 0x308, 8, len);
    put(0x318, seed);
    put(0x320, command);
    assert_true(becomes(0x328, done + 1));
    return get(0x324);
}

static void dma_modes(void **state)
{
    static const uint32_t reads[] = { READ_NOW, READ, MAP_READ }, writes[] = { WRITE_NOW, WRITE, MAP_WRITE };
    static const uint64_t lengths[] = { 0, 1, 4096, 70001, MIB };
    uint8_t *mem, *want = malloc(MIB);

    (void)state;
    assert_int_equal(vfuc_memory_new(c, MEM, 2 * MIB, VFUC_DMA_RW, (void **)&mem), 0);
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t k = 0; k < LENGTH(lengths); k++) {
            if (!lengths[k] && i == 2)
                continue; /* no window has no bytes */
            fill(mem + 5, MIB, 100 * i + k);
            assert_int_equal(transfer(reads[i], MEM + 5, lengths[k], 0), 0);
            assert_int_equal(get(0x31c), fnv(mem + 5, lengths[k]));
            assert_int_equal(transfer(writes[i], MEM + 7, lengths[k], 11 + k), 0);
            fill(want, MIB, 11 + k);
            assert_memory_equal(mem + 7, want, lengths[k]);
        }
    }
    fill(mem, 4096, 1);
    put_in(0, 0x310, 8, MEM + 8192);
    assert_int_equal(transfer(COPY, MEM, 4096, 0), 0);
    assert_memory_equal(mem + 8192, mem, 4096);
    assert_int_equal(transfer(READ, MEM + 2 * MIB - 1, 2, 0), EFAULT);
    assert_int_equal(transfer(READ, UINT64_MAX, 16, 0), EFAULT);
    assert_int_equal(transfer(WRITE_NOW, 0, 4, 0), EFAULT);
    assert_int_equal(transfer(READ, MEM, MIB + 1, 0), EINVAL);
    assert_int_equal(transfer(15, MEM, 1, 0), EINVAL);
    assert_int_equal(vfuc_irq_arm(c, VFUC_MSI, 4), 0);
    assert_int_equal(transfer(READ | DMA_IRQ, MEM, 16, 0), 0);
    assert_int_equal(vfuc_irq_wait(c, VFUC_MSI, 0, 1000 * MS), 1);
    assert_int_equal(get(0x200), 0x100);
    free(want);
}

static void dma_by_messages(void **state)
{
    uint8_t *mem, *want = malloc(MIB);
    uint32_t command;

    (void)state;
    assert_int_equal(vfuc_memory_new(c, MEM, 2 * MIB, VFUC_DMA_RW | VFUC_DMA_MESSAGES, (void **)&mem), 0);
    fill(mem, 2 * MIB, 3);
    assert_int_equal(transfer(READ_NOW, MEM, 16, 0), script ? 0 : EWOULDBLOCK); /* a script waits */
    assert_int_equal(transfer(MAP_READ, MEM, 16, 0), EFAULT);
    assert_int_equal(transfer(READ, MEM + 3, MIB, 0), 0);
    assert_int_equal(get(0x31c), fnv(mem + 3, MIB));
    assert_int_equal(transfer(WRITE, MEM + 9, MIB, 77), 0);
    fill(want, MIB, 77);
    assert_memory_equal(mem + 9, want, MIB);
    put_in(0, 0x310, 8, MEM + MIB);
    assert_int_equal(transfer(COPY, MEM + 9, 5000, 0), 0);
    assert_memory_equal(mem + MIB, want, 5000);
    /* What was read stays in the buffer. */
    assert_int_equal(transfer(WRITE | DMA_KEEP, MEM, 5000, 5), 0);
    assert_memory_equal(mem, want, 5000);
    /* While it is busy its registers are locked; a lost client ends it. */
    put_in(0, 0x308, 8, 64);
    command = READ;
    assert_int_equal(vfuc_post(c, 0, 0x320, &command, 4), 0);
    assert_int_equal(vfuc_flush(c), 0);
    detach(); /* without having answered */
    attach(0);
    command = get(0x324);
    assert_true(command == ECANCELED || (script && command == EFAULT)); /* its event may run when the next is there */
    put_in(0, 0x308, 8, 65);
    assert_int_equal(get_in(0, 0x308, 8), 65);
    free(want);
}

static void a_window_ends_with_its_memory(void **state)
{
    uint32_t *mem;

    (void)state;
    assert_int_equal(vfuc_memory_new(c, MEM, 8192, VFUC_DMA_RW, (void **)&mem), 0);
    assert_int_equal(get(0x338), 0xffffffff);
    assert_int_equal(transfer(HOLD, MEM, 8192, 0), 0);
    put_in(0, 0x330, 8, 16);
    mem[4] = 0x12345678;
    assert_int_equal(get(0x338), 0x12345678);
    put(0x338, 0x9abcdef0);
    assert_int_equal(mem[4], 0x9abcdef0);
    put_in(0, 0x330, 8, 8189);
    assert_int_equal(get(0x338), 0xffffffff);
    put_in(0, 0x330, 8, UINT64_MAX);
    assert_int_equal(get(0x338), 0xffffffff);
    put_in(0, 0x330, 8, 0);
    mem[0] = 1;
    assert_int_equal(get(0x338), 1);
    assert_int_equal(vfuc_memory_free(c, MEM), 0);
    assert_int_equal(get(0x338), 0xffffffff);
    assert_int_equal(transfer(HOLD, MEM, 8192, 0), EFAULT);
    assert_int_equal(transfer(RELEASE, 0, 0, 0), 0);
}

/* ---- time and life */

static void timers_and_deferred_work(void **state)
{
    (void)state;
    put_in(0, 0x400, 8, MS);
    put(0x410, 1);
    assert_int_equal(get(0x418), 0);
    assert_true(becomes(0x414, 1));
    put_in(0, 0x408, 8, MS);
    put(0x410, 3);
    while (get(0x414) < 4)
        ;
    assert_int_equal(get(0x200), 0x200);
    put(0x410, 2);
    assert_int_equal(get(0x418), 0);
    put(0x410, 2);
    assert_int_equal(get(0x418), (uint32_t)-ENOENT);
    put(0x420, 10);
    assert_true(becomes(0x424, 10));
    put(0x420, 1000);
    assert_true(becomes(0x424, 74));
    put(0x428, 1000);
    assert_int_equal(get(0x0), 0x31564454);
}

/* The capability with this id, or 0. */
static uint32_t find_cap(uint32_t id)
{
    uint32_t at = (uint32_t)get_in(7, 0x34, 1);

    for (int i = 0; at && i < 48; i++) {
        if (get_in(7, at, 1) == id)
            return at;
        at = (uint32_t)get_in(7, at + 1, 1);
    }
    return 0;
}

static void resets_and_power(void **state)
{
    uint32_t resets = get(0x510), express = find_cap(0x10), pm = find_cap(1), vendor = find_cap(9);

    (void)state;
    assert_true(express && pm && vendor);
    assert_int_equal(get_in(7, vendor + 3, 1), 't');
    put(4, 1);
    put_in(7, express + 8, 2, 0x8000);
    assert_int_equal(get(0x510), resets + 1);
    assert_int_equal(get(0x514), 2);
    assert_int_equal(get(4), 0);
    put_in(7, pm + 4, 2, 3);
    assert_int_equal(get(0x50c), 3);
    put_in(7, pm + 4, 2, 0);
    assert_int_equal(get(0x50c), 0);
    assert_int_equal(get(0x510), resets + 2);
}

static void parameters(void **state)
{
    static char *const params[] = { (char *)"scratch=0x55", (char *)"mmap=off", (char *)"pattern=ones",
                                    (char *)"label=mine", (char *)"slow=0.5", NULL };
    struct vfuc_region region;
    uint8_t *mem;

    (void)state;
    assert_int_equal(bring_up(testdev, params), 0);
    assert_int_equal(get(4), 0x55);
    assert_int_equal(vfuc_region_info(c, 4, &region, NULL, 0), 0);
    assert_int_equal(region.flags, VFUC_REGION_READ | VFUC_REGION_WRITE);
    assert_int_equal(vfuc_memory_new(c, MEM, 4096, VFUC_DMA_RW, (void **)&mem), 0);
    assert_int_equal(transfer(WRITE, MEM, 16, 0), 0);
    assert_int_equal(mem[15], 0xff);
}

/* ---- migration */

enum { STOP = 1, RUNNING, STOP_COPY, RESUMING };

static void enter(uint32_t next)
{
    struct {
        struct vfu_msg_device_feature head;
        struct vfu_msg_mig_state state;
    } set = { { sizeof set, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE }, { next, UINT32_MAX } }, reply;
    struct vfuc_request r = { .command = VFU_CMD_DEVICE_FEATURE, .body = &set, .size = sizeof set, .reply = &reply,
                              .reply_max = sizeof reply };

    assert_int_equal(vfuc_request(c, &r), 0);
}

#define PIECE 65536u
#define IMAGE_MAX (8 * MIB)

static uint32_t save(uint8_t *image)
{
    struct vfu_msg_mig_data ask = { sizeof ask + PIECE, PIECE };
    static struct {
        struct vfu_msg_mig_data head;
        uint8_t data[PIECE];
    } reply;
    uint32_t n = 0;

    do {
        struct vfuc_request r = { .command = VFU_CMD_MIG_DATA_READ, .body = &ask, .size = sizeof ask, .reply = &reply,
                                  .reply_max = sizeof reply };

        assert_int_equal(vfuc_request(c, &r), 0);
        if (reply.head.size > PIECE || reply.head.size > IMAGE_MAX - n)
            fail_msg("an image of over %u bytes, or a piece of over %u", IMAGE_MAX, PIECE);
        memcpy(image + n, reply.data, reply.head.size);
        n += reply.head.size;
    } while (reply.head.size);
    return n;
}

static void load(const uint8_t *image, uint32_t n)
{
    static uint8_t request[sizeof(struct vfu_msg_mig_data) + PIECE];
    struct vfu_msg_mig_data *head = (void *)request;

    for (uint32_t done = 0; done < n; done += head->size) {
        struct vfuc_request r = { .command = VFU_CMD_MIG_DATA_WRITE, .body = request, .reply = &(uint8_t[64]){ 0 },
                                  .reply_max = 64 };

        head->size = n - done < PIECE ? n - done : PIECE;
        head->argsz = (uint32_t)sizeof *head + head->size;
        memcpy(request + sizeof *head, image + done, head->size);
        r.size = head->argsz;
        assert_int_equal(vfuc_request(c, &r), 0);
    }
}

/* Registers, FIFO, raw bytes, memory, a timer and a copy that is under way go to another host; the copy, whose source
 * was answered by nobody there, is done here. */
static void state_moves(void **state)
{
    uint8_t *image = malloc(IMAGE_MAX), *mem;
    struct proto_host source;
    uint32_t command = COPY, n;

    (void)state;
    put(4, 0x1234);
    put_in(1, 8, 1, 0x11);
    put_in(1, 8, 1, 0x22);
    put_in(5, 0x100, 8, UINT64_C(0x1122334455667788));
    put_in(2, 0x3ffff0, 8, UINT64_C(0x99));
    put_in(4, 0x5000, 4, 0x77);
    put_in(0, 0x400, 8, 50 * MS);
    put(0x410, 3);
    assert_int_equal(vfuc_dma_map(c, MEM, MIB, VFUC_DMA_RW, -1, 0, NULL), 0); /* by message, and nobody answers */
    put_in(0, 0x300, 8, MEM);
    put_in(0, 0x308, 8, 1000);
    put_in(0, 0x310, 8, MEM + 4096);
    assert_int_equal(vfuc_post(c, 0, 0x320, &command, 4), 0);
    enter(STOP_COPY);
    n = save(image);
    detach();
    source = host;
    assert_int_equal(bring_up(testdev, NULL), 0);
    assert_int_equal(vfuc_memory_new(c, MEM, MIB, VFUC_DMA_RW | VFUC_DMA_MESSAGES, (void **)&mem), 0);
    fill(mem, 1000, 5);
    enter(RESUMING);
    load(image, n);
    enter(RUNNING);
    assert_int_equal(get(4), 0x1234);
    assert_int_equal(get_in(1, 9, 1), 2);
    assert_int_equal(get_in(1, 8, 1), 0x11);
    assert_int_equal(get_in(1, 8, 1), 0x22);
    assert_int_equal(get_in(5, 0x100, 8), UINT64_C(0x1122334455667788));
    assert_int_equal(get_in(2, 0x3ffff0, 8), UINT64_C(0x99));
    assert_int_equal(get_in(4, 0x5000, 4), 0x77);
    assert_true(becomes(0x328, 1));
    assert_int_equal(get(0x324), 0);
    assert_memory_equal(mem + 4096, mem, 1000);
    assert_true(becomes(0x414, 1));
    put(0x20c, 0x200);
    free(image);
    assert_true(proto_host_stop(&source));
}

#define CASE(which, test) { which ": " #test, test, setup, teardown, (void *)(uintptr_t)which }
#define OWN_CASE(which, test) { which ": " #test, test, choose, teardown, (void *)(uintptr_t)which }
#define CASES(which)                                                                                                   \
    CASE(which, access_kinds), CASE(which, widths_and_order), CASE(which, hooks_locks_arrays),                         \
    CASE(which, fifo_and_raw), CASE(which, config_and_rom), CASE(which, a_mib_each_way),                               \
    CASE(which, the_client_maps_parts), CASE(which, doorbells_by_message), CASE(which, doorbells_by_event_fd),         \
    CASE(which, doorbells_asked_for_badly), CASE(which, a_bell_does_not_drown_the_socket),                             \
    OWN_CASE(which, denied_doorbells_ring_by_message), CASE(which, interrupts), CASE(which, dma_modes),                \
    CASE(which, dma_by_messages), CASE(which, a_window_ends_with_its_memory), CASE(which, timers_and_deferred_work),   \
    CASE(which, resets_and_power), CASE(which, state_moves), OWN_CASE(which, parameters)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES("testdev"),
        CASES("testdev.lua"),
        OWN_CASE("memory", memory_maps_whole),
        OWN_CASE("null", null_is_config_space),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
