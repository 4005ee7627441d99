/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_migrate - moves the edu device, in C and in Lua, from one host to another as a client does it, in the middle of
 * a factorial and of a DMA; follows the log of pages written; goes away while the device is stopped. One thread.
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

#include "tests/protocol/proto.h"

#define SECOND UINT64_C(1000000000)
#define LIVE 0x04
#define FACT 0x08
#define STATUS 0x20
#define SRC 0x80
#define DST 0x88
#define COUNT 0x90
#define CMD_REG 0x98
#define BUFFER 0x40000
#define GUEST 0x10000
#define PIECE 1000u
#define GET 0x10000u
#define SET 0x20000u
enum { STOP = 1, RUNNING, STOP_COPY, RESUMING, PRE_COPY = 6 };

static struct proto_host source, target;
static char edu_so[512], edu_lua[512];

static struct vfuc *open_client(struct proto_host *host, uint32_t flags)
{
    struct vfuc_options options = { .struct_size = sizeof options, .flags = flags, .timeout_ns = 10 * SECOND };
    struct vfuc *c = vfuc_new(&options);

    assert_non_null(c);
    if (vfuc_connect(c, host->socket) < 0)
        fail_msg("%s", vfuc_error(c));
    return c;
}

static void put(struct vfuc *c, uint64_t offset, uint64_t value)
{
    assert_int_equal(vfuc_put(c, 0, offset, offset >= SRC ? 8 : 4, value), 0);
}

static uint64_t get(struct vfuc *c, uint64_t offset)
{
    uint64_t value = 0;

    assert_int_equal(vfuc_get(c, 0, offset, offset >= SRC ? 8 : 4, &value), 0);
    return value;
}

static void rest(uint64_t ns)
{
    nanosleep(&(struct timespec){ 0, (long)ns }, NULL);
}

/* Until the register reads the value, but not for ever. */
static void await(struct vfuc *c, uint64_t offset, uint64_t value)
{
    for (int i = 0; i < 2000 && get(c, offset) != value; i++)
        rest(1000000);
    assert_int_equal(get(c, offset), value);
}

static int send_command(struct vfuc *c, uint16_t command, const void *body, size_t size, void *reply, size_t room,
                        size_t *n)
{
    struct vfuc_request request = { .command = command, .body = body, .size = size, .reply = reply, .reply_max = room };
    int result = vfuc_request(c, &request);

    if (n)
        *n = request.reply_size;
    return result;
}

static int set_state(struct vfuc *c, uint32_t state)
{
    uint32_t body[4] = { 16, SET | 2, state, UINT32_MAX }, reply[4];
    size_t n;
    int result = send_command(c, VFU_CMD_DEVICE_FEATURE, body, sizeof body, reply, sizeof reply, &n);

    if (result >= 0) {
        assert_int_equal(n, sizeof body);
        assert_memory_equal(body, reply, sizeof body);
    }
    return result;
}

static uint32_t state_of(struct vfuc *c)
{
    uint32_t body[2] = { 16, GET | 2 }, reply[4];

    assert_int_equal(send_command(c, VFU_CMD_DEVICE_FEATURE, body, sizeof body, reply, sizeof reply, NULL), 0);
    return reply[2];
}

/* The whole image, in pieces, each reply as long as was asked for. */
static size_t read_image(struct vfuc *c, uint8_t *image, size_t room)
{
    uint32_t body[2] = { 8 + PIECE, PIECE };
    uint8_t reply[8 + PIECE];
    size_t size = 0, n;

    for (;;) {
        uint32_t head[2];

        assert_int_equal(send_command(c, VFU_CMD_MIG_DATA_READ, body, sizeof body, reply, sizeof reply, &n), 0);
        assert_int_equal(n, sizeof reply);
        memcpy(head, reply, sizeof head);
        assert_int_equal(head[0], 8 + head[1]);
        if (head[1] == 0)
            return size;
        assert_true(size + head[1] <= room);
        memcpy(image + size, reply + 8, head[1]);
        size += head[1];
    }
}

static void write_image(struct vfuc *c, const uint8_t *image, size_t size)
{
    uint8_t body[8 + PIECE];

    for (size_t at = 0; at < size; at += PIECE) {
        uint32_t n = size - at < PIECE ? (uint32_t)(size - at) : PIECE, head[2] = { 8 + n, n };

        memcpy(body, head, sizeof head);
        memcpy(body + 8, image + at, n);
        assert_int_equal(send_command(c, VFU_CMD_MIG_DATA_WRITE, body, 8 + n, NULL, 0, NULL), 0);
    }
}

static uint8_t image[1 << 20];

/* By way of PRE_COPY, as one does who cares for the time that the guest stands still. */
static void move(struct vfuc *from, struct vfuc *to)
{
    size_t size;

    assert_int_equal(set_state(from, PRE_COPY), 0);
    assert_int_equal(read_image(from, image, sizeof image), 0);
    assert_int_equal(set_state(from, STOP_COPY), 0);
    size = read_image(from, image, sizeof image);
    assert_true(size > 4096);
    assert_int_equal(set_state(from, STOP), 0);
    assert_int_equal(set_state(to, RESUMING), 0);
    write_image(to, image, size);
    assert_int_equal(set_state(to, STOP), 0);
}

static void test_factorial(void **state)
{
    struct vfuc *from = open_client(&source, 0), *to = open_client(&target, 0);

    (void)state;
    put(from, LIVE, 0x12345678);
    assert_int_equal(set_state(from, STOP), 0);
    assert_int_equal(set_state(from, RUNNING), 0);
    put(from, FACT, 10);
    move(from, to);
    assert_int_equal(get(to, LIVE), (uint32_t)~0x12345678);
    assert_int_equal(get(to, STATUS), get(from, STATUS));
    assert_int_equal(get(to, FACT), get(from, FACT));
    assert_int_equal(set_state(to, RUNNING), 0);
    await(to, FACT, 3628800);
    assert_int_equal(get(to, STATUS), 0);
    /* The source was left behind, and is as good as before. */
    vfuc_close(from);
    assert_int_equal(vfuc_connect(from, source.socket), 0);
    assert_int_equal(state_of(from), RUNNING);
    await(from, FACT, 3628800);
    vfuc_free(from);
    vfuc_free(to);
}

static int answered;

/* The guest's memory on the source: it never answers in time, for it is asked while the guest is being moved. */
static int late(void *ctx, bool write, uint64_t address, void *data, uint64_t size)
{
    (void)ctx, (void)address;
    answered++;
    if (!write)
        memset(data, 0x11, size);
    return 0;
}

static void test_dma(void **state)
{
    struct vfuc *from = open_client(&source, VFUC_TWIN_SOCKET), *to = open_client(&target, 0);
    void *unused, *memory;
    uint8_t *bytes;

    (void)state;
    answered = 0;
    assert_int_equal(vfuc_reset(from), 0);
    assert_int_equal(vfuc_memory_new(from, GUEST, 0x1000, VFUC_DMA_RW | VFUC_DMA_MESSAGES, &unused), 0);
    assert_int_equal(vfuc_memory_new(to, GUEST, 0x1000, VFUC_DMA_RW, &memory), 0);
    bytes = memory;
    memset(bytes, 0x5a, 256);
    vfuc_on_dma(from, late, NULL);
    put(from, SRC, GUEST);
    put(from, DST, BUFFER);
    put(from, COUNT, 256);
    put(from, CMD_REG, 1);
    move(from, to);
    assert_int_equal(get(to, CMD_REG), get(from, CMD_REG));
    assert_int_equal(set_state(to, RUNNING), 0);
    await(to, CMD_REG, 0);
    put(to, SRC, BUFFER);
    put(to, DST, GUEST + 0x800);
    put(to, CMD_REG, 3);
    await(to, CMD_REG, 2);
    /* The target asked anew, if the source had not got its answer before it stopped. */
    assert_true(bytes[0x800] == 0x5a || (answered && bytes[0x800] == 0x11));
    assert_memory_equal(bytes + 0x800, bytes + 0x801, 255);
    vfuc_free(from);
    vfuc_free(to);
}

static void test_damaged(void **state)
{
    struct vfuc *from = open_client(&source, 0), *to = open_client(&target, 0);
    size_t size;

    (void)state;
    assert_int_equal(set_state(from, STOP_COPY), 0);
    size = read_image(from, image, sizeof image);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(set_state(to, RESUMING), 0);
        image[size / 2] ^= i < 2;
        write_image(to, image, size);
        assert_int_equal(set_state(to, RUNNING), i == 0 ? -EINVAL : i == 1 ? 0 : -EINVAL);
        assert_int_equal(state_of(to), i == 1 ? RUNNING : RESUMING);
        if (i == 1)
            size--; /* and now cut off */
    }
    assert_int_equal(vfuc_reset(to), 0);
    assert_int_equal(state_of(to), RUNNING);
    vfuc_free(from);
    vfuc_free(to);
}

/* ---- the log ---- */

static int start_log(struct vfuc *c)
{
    struct {
        uint32_t argsz, flags;
        uint64_t page;
        uint32_t n, reserved;
    } body = { sizeof body, SET | 6, 4096, 0, 0 }, reply;

    return send_command(c, VFU_CMD_DEVICE_FEATURE, &body, sizeof body, &reply, sizeof reply, NULL);
}

static int report(struct vfuc *c, uint64_t page, uint64_t *bitmap)
{
    struct {
        uint32_t argsz, flags;
        uint64_t iova, length, page, bitmap;
    } body = { sizeof body, GET | 8, GUEST, 0x10000, page, 0 };
    int result = send_command(c, VFU_CMD_DEVICE_FEATURE, &body, sizeof body - 8, &body, sizeof body, NULL);

    *bitmap = body.bitmap;
    return result;
}

static void log_writes(uint32_t how)
{
    struct vfuc *c = open_client(&source, how ? VFUC_TWIN_SOCKET : 0);
    uint64_t bitmap;
    void *memory;

    assert_int_equal(vfuc_reset(c), 0);
    assert_int_equal(vfuc_memory_new(c, GUEST, 0x10000, VFUC_DMA_RW | how, &memory), 0);
    assert_int_equal(report(c, 4096, &bitmap), -EINVAL);
    assert_int_equal(start_log(c), 0);
    put(c, SRC, BUFFER);
    put(c, DST, GUEST + 0x4ff0);
    put(c, COUNT, 32);
    put(c, CMD_REG, 3);
    for (int i = 0; i < 2000 && get(c, CMD_REG) != 2; i++)
        assert_true(vfuc_serve(c, 1000000) >= 0);
    assert_int_equal(report(c, 4096, &bitmap), 0);
    assert_int_equal(bitmap, 0x30);
    assert_int_equal(report(c, 4096, &bitmap), 0);
    assert_int_equal(bitmap, 0);
    /* What the device reads is nobody's change. */
    put(c, SRC, GUEST);
    put(c, DST, BUFFER);
    put(c, CMD_REG, 1);
    for (int i = 0; i < 2000 && get(c, CMD_REG) != 0; i++)
        assert_true(vfuc_serve(c, 1000000) >= 0);
    assert_int_equal(report(c, 8192, &bitmap), 0);
    assert_int_equal(bitmap, 0);
    /* The next client has none of it. */
    vfuc_close(c);
    assert_int_equal(vfuc_connect(c, source.socket), 0);
    assert_int_equal(report(c, 4096, &bitmap), -EINVAL);
    assert_int_equal(start_log(c), 0);
    vfuc_free(c);
}

static void test_log_mapped(void **state)
{
    (void)state;
    log_writes(0);
}

static void test_log_messages(void **state)
{
    (void)state;
    log_writes(VFUC_DMA_MESSAGES);
}

/* More ranges than there can be, and as large a message as there can be. */
static void test_many_ranges(void **state)
{
    const uint32_t sizes[] = { 24 + 16 * 4097, 1048576 };
    struct vfuc *c = open_client(&source, 0);
    uint8_t *body = calloc(1, 1048576), *reply = calloc(1, 1048576);

    (void)state;
    for (int i = 0; i < 2; i++) {
        uint32_t head[6] = { sizes[i], SET | 6, 4096, 0, (sizes[i] - 24) / 16, 0 };

        memcpy(body, head, sizeof head);
        assert_int_equal(send_command(c, VFU_CMD_DEVICE_FEATURE, body, sizes[i], reply, 1048576, NULL), -E2BIG);
    }
    /* One that is taken comes back whole. */
    memcpy(body, (uint32_t[6]){ 24 + 16 * 4096, SET | 6, 4096, 0, 4096, 0 }, 24);
    for (uint64_t i = 0; i < 4096; i++)
        memcpy(body + 24 + 16 * i, (uint64_t[2]){ i << 20, 4096 }, 16);
    assert_int_equal(send_command(c, VFU_CMD_DEVICE_FEATURE, body, 24 + 16 * 4096, reply, 1048576, NULL), 0);
    assert_memory_equal(body, reply, 24 + 16 * 4096);
    free(body);
    free(reply);
    vfuc_free(c);
}

/* The client goes away in each state: the next one finds a device that runs. */
static void test_hang_up(void **state)
{
    static const uint32_t states[] = { STOP, STOP_COPY, RESUMING, PRE_COPY };
    struct vfuc *c = open_client(&source, 0);

    (void)state;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        put(c, FACT, 5);
        assert_int_equal(set_state(c, states[i]), 0);
        if (states[i] == RESUMING)
            write_image(c, image, 100);
        vfuc_close(c);
        assert_int_equal(vfuc_connect(c, source.socket), 0);
        assert_int_equal(state_of(c), RUNNING);
        await(c, FACT, 120);
    }
    vfuc_free(c);
}

static void test_ends_well(void **state)
{
    (void)state;
    assert_true(proto_host_stop(&source));
    assert_true(proto_host_stop(&target));
}

static int run(const char *plugin)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_factorial),    cmocka_unit_test(test_dma),         cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_log_mapped),   cmocka_unit_test(test_log_messages), cmocka_unit_test(test_many_ranges),
        cmocka_unit_test(test_hang_up),      cmocka_unit_test(test_ends_well),
    };

    if (!proto_host_start(&source, plugin, NULL) || !proto_host_start(&target, plugin, NULL))
        return 1;
    return cmocka_run_group_tests_name(strrchr(plugin, '/') + 1, tests, NULL, NULL);
}

int main(void)
{
    const char *build = getenv("VFU_BUILDDIR"), *dir = getenv("VFU_SRCDIR");

    snprintf(edu_so, sizeof edu_so, "%s/plugins/edu/.libs/edu.so", build ? build : ".");
    snprintf(edu_lua, sizeof edu_lua, "%s/examples/edu.lua", dir ? dir : ".");
    return run(edu_so) + run(edu_lua) != 0;
}
