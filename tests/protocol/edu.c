/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * edu - what a client makes of the edu device through the client library: interrupts, DMA by shared memory, by messages
 * and by the twin socket, reconnecting, and messages of the largest size. One thread.
 */
#define _GNU_SOURCE
#include "tests/protocol/proto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/protocol/edu.h"

#define SECOND UINT64_C(1000000000)
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
#define MIB 1048576u

static struct vfuc *edu_open(struct proto_host *host, uint32_t flags)
{
    struct vfuc_options options = { .struct_size = sizeof options, .flags = flags, .timeout_ns = 10 * SECOND };
    struct vfuc *c = vfuc_new(&options);

    assert_non_null(c);
    if (vfuc_connect(c, host->socket) < 0)
        fail_msg("%s", vfuc_error(c));
    return c;
}

static void edu_ok(struct vfuc *c, int result)
{
    if (result < 0)
        fail_msg("%s", vfuc_error(c));
}

static uint64_t edu_get(struct vfuc *c, uint64_t offset, uint32_t size)
{
    uint64_t value;

    edu_ok(c, vfuc_get(c, 0, offset, size, &value));
    return value;
}

static void edu_put(struct vfuc *c, uint64_t offset, uint32_t size, uint64_t value)
{
    edu_ok(c, vfuc_put(c, 0, offset, size, value));
}

static void edu_factorial(struct proto_host *host, uint32_t index)
{
    struct vfuc *c = edu_open(host, 0);

    edu_ok(c, vfuc_irq_arm(c, index, 1));
    edu_put(c, STATUS, 4, 0x80);
    edu_put(c, FACT, 4, 5);
    assert_int_equal(vfuc_irq_wait(c, index, 0, 5 * SECOND), 1);
    assert_int_equal(edu_get(c, FACT, 4), 120);
    assert_int_equal(edu_get(c, IRQ, 4), 1);
    edu_put(c, ACK, 4, 1);
    assert_int_equal(edu_get(c, IRQ, 4), 0);
    edu_put(c, STATUS, 4, 0);
    edu_ok(c, vfuc_irq_disarm(c, index));
    vfuc_free(c);
}

void edu_test_intx(void **state)
{
    edu_factorial(*state, VFUC_INTX);
}

void edu_test_msi(void **state)
{
    edu_factorial(*state, VFUC_MSI);
}

/* INTx is a level that masks itself: unmasked while still asserted, it comes again; lowered, it does not. */
void edu_test_intx_level(void **state)
{
    struct vfuc *c = edu_open(*state, 0);

    edu_ok(c, vfuc_irq_arm(c, VFUC_INTX, 1));
    edu_put(c, RAISE, 4, 0x6);
    assert_int_equal(vfuc_irq_wait(c, VFUC_INTX, 0, 5 * SECOND), 1);
    edu_put(c, RAISE, 4, 0x8);
    assert_int_equal(vfuc_irq_wait(c, VFUC_INTX, 0, SECOND / 100), 0);
    edu_ok(c, vfuc_irq_unmask(c, VFUC_INTX, 0, 1));
    assert_int_equal(vfuc_irq_wait(c, VFUC_INTX, 0, 5 * SECOND), 1);
    edu_put(c, ACK, 4, 0xe);
    edu_ok(c, vfuc_irq_unmask(c, VFUC_INTX, 0, 1));
    assert_int_equal(vfuc_irq_wait(c, VFUC_INTX, 0, SECOND / 100), 0);
    edu_ok(c, vfuc_irq_trigger(c, VFUC_INTX, 0, 1));
    assert_int_equal(vfuc_irq_wait(c, VFUC_INTX, 0, 5 * SECOND), 1);
    vfuc_free(c);
}

/* DMA runs from the command on; with messages, it moves only while the client listens. */
static void edu_copy(struct vfuc *c, uint64_t from, uint64_t to, uint64_t size, uint32_t direction)
{
    edu_put(c, SRC, 8, from);
    edu_put(c, DST, 8, to);
    edu_put(c, COUNT, 8, size);
    edu_put(c, COMMAND, 8, 1 | direction << 1 | 4);
    assert_int_equal(vfuc_irq_wait(c, VFUC_MSI, 0, 5 * SECOND), 1);
    assert_int_equal(edu_get(c, COMMAND, 8) & 1, 0);
    assert_int_equal(edu_get(c, IRQ, 4), 0x100);
    edu_put(c, ACK, 4, 0x100);
}

static void edu_dma(struct proto_host *host, uint32_t flags, uint32_t memory, bool messages)
{
    struct vfuc *c = edu_open(host, flags);
    uint64_t requests, bytes;
    void *first, *second;
    uint8_t *from, *to;

    if (flags & VFUC_TWIN_SOCKET && !vfuc_server(c)->twin_socket) {
        vfuc_free(c);
        skip();
    }
    edu_ok(c, vfuc_irq_arm(c, VFUC_MSI, 1));
    /* The source lies in two regions that touch. */
    edu_ok(c, vfuc_memory_new(c, 0x100000, 4096, memory | VFUC_DMA_READ, &first));
    edu_ok(c, vfuc_memory_new(c, 0x101000, 4096, memory | VFUC_DMA_READ, &second));
    from = first;
    for (int i = 0; i < 2048; i++)
        from[2048 + i] = (uint8_t)(i * 5 + 1);
    memset(second, 0xa7, 2048);
    edu_ok(c, vfuc_memory_new(c, 0x200000, 8192, memory | VFUC_DMA_RW, &second));
    to = second;
    memset(to, 0xee, 8192);
    edu_copy(c, 0x100800, BUFFER, 4096, 0);
    edu_copy(c, BUFFER, 0x200010, 4096, 1);
    assert_int_equal(to[15], 0xee);
    assert_memory_equal(to + 16, from + 2048, 2048);
    for (int i = 2048; i < 4096; i++)
        assert_int_equal(to[16 + i], 0xa7);
    assert_int_equal(to[16 + 4096], 0xee);
    vfuc_dma_stats(c, &requests, &bytes);
    assert_true(messages ? bytes == 8192 : requests == 0);
    /* Where nothing is, and where writing is not allowed: the device goes on, the memory is as it was. */
    edu_copy(c, 0x900000, BUFFER, 64, 0);
    memset(from, 0x11, 64);
    edu_copy(c, BUFFER, 0x100000, 64, 1);
    assert_int_equal(from[0], 0x11);
    vfuc_free(c);
}

void edu_test_dma_shared(void **state)
{
    edu_dma(*state, 0, 0, false);
}

void edu_test_dma_messages(void **state)
{
    edu_dma(*state, 0, VFUC_DMA_MESSAGES, true);
}

void edu_test_dma_twin(void **state)
{
    edu_dma(*state, VFUC_TWIN_SOCKET, VFUC_DMA_MESSAGES, true);
}

/* The device's state outlives its client; the client's interrupts and memory do not. */
void edu_test_reconnect(void **state)
{
    struct vfuc *c = edu_open(*state, 0);
    void *mem;

    edu_put(c, LIVE, 4, 0x1234);
    edu_ok(c, vfuc_memory_new(c, 0x10000, 4096, VFUC_DMA_RW, &mem));
    for (int i = 0; i < 20; i++) {
        vfuc_close(c);
        edu_ok(c, vfuc_connect(c, ((struct proto_host *)*state)->socket));
        assert_int_equal(edu_get(c, LIVE, 4), ~0x1234u);
        /* EEXIST if the region before had survived. */
        edu_ok(c, vfuc_memory_new(c, 0x10000, 4096, VFUC_DMA_RW, &mem));
    }
    vfuc_free(c);
}

/* What a client posted before it closed is done, and the next one is let in, however close behind it comes. */
void edu_test_close_behind(void **state)
{
    struct vfuc *c = edu_open(*state, 0);

    for (uint32_t i = 1; i <= 300; i++) {
        edu_ok(c, vfuc_post(c, 0, LIVE, &i, 4));
        edu_ok(c, vfuc_flush(c));
        vfuc_close(c);
        edu_ok(c, vfuc_connect(c, ((struct proto_host *)*state)->socket));
        assert_int_equal(edu_get(c, LIVE, 4), ~i);
    }
    vfuc_free(c);
}

void edu_test_largest(void **state)
{
    struct vfu_msg_region_access access = { 0, 0, MIB };
    struct vfu_msg_header header = { 7, VFU_CMD_REGION_WRITE, 32 + MIB, 0, 0 };
    struct vfuc *c = edu_open(*state, 0);
    uint8_t *data = calloc(1, 32 + MIB), reply[64];

    edu_ok(c, vfuc_read(c, 0, 0, data, MIB));
    assert_memory_equal(data, "\xed\0\0\1", 4);
    /* Zeros are good values for every register. */
    memset(data, 0, 32 + MIB);
    edu_ok(c, vfuc_write(c, 0, 0, data, MIB));
    /* The same in pieces, the first ones byte by byte. */
    memcpy(data, &header, sizeof header);
    memcpy(data + 16, &access, sizeof access);
    edu_ok(c, vfuc_raw_send(c, data, 200, 1, NULL, 0));
    edu_ok(c, vfuc_raw_send(c, data + 200, 32 + MIB - 200, 4099, NULL, 0));
    assert_int_equal(vfuc_raw_recv(c, reply, sizeof reply, NULL, NULL, 10 * SECOND), 32);
    assert_int_equal(reply[0], 7);
    assert_int_equal(reply[8], VFU_MSG_REPLY);
    free(data);
    vfuc_free(c);
}

/* A client that asks and asks, and reads no reply: the host stops taking requests at some point, loses none, and every
 * reply comes once the client reads. */
void edu_test_unread(void **state)
{
    struct {
        struct vfu_msg_header header;
        struct vfu_msg_region_access access;
    } read = { { 0, VFU_CMD_REGION_READ, 32, 0, 0 }, { 0, VFUC_CONFIG, 256 } };
    struct vfuc *c = edu_open(*state, 0);
    uint32_t sent = 0, got = 0;
    int fd = vfuc_fd(c);
    uint8_t reply[512];

    while (sent < 100000) {
        ssize_t n;

        read.header.id = (uint16_t)sent;
        n = send(fd, &read, sizeof read, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && poll(&(struct pollfd){ fd, POLLOUT, 0 }, 1, 100) == 0)
            break;
        if (n < 0)
            continue;
        assert_int_equal(n, sizeof read);
        sent++;
    }
    assert_true(sent > 100 && sent < 100000);
    assert_true(proto_host_alive(*state));
    for (; got < sent; got++) {
        uint16_t id;

        if (vfuc_raw_recv(c, reply, sizeof reply, NULL, NULL, 5 * SECOND) != 288)
            fail_msg("reply %u of %u: %s", got, sent, vfuc_error(c));
        memcpy(&id, reply, sizeof id);
        assert_int_equal(id, (uint16_t)got);
    }
    vfuc_free(c);
}

/* Clients that go away in the middle of a message, with descriptors in it, or with replies unread. */
void edu_test_hangup(void **state)
{
    const struct proto_message map = { CMD(DMA_MAP), BODY(B4(32), B4(3), B8(0), B8(0x10000), B8(0x1000)) };
    struct vfu_msg_header header = { 1, VFU_CMD_DMA_MAP, 48, 0, 0 };
    uint8_t bytes[48];

    memcpy(bytes, &header, sizeof header);
    memcpy(bytes + 16, map.body, 32);
    for (size_t i = 1; i <= 48; i++) {
        struct vfuc *c = edu_open(*state, 0);
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        edu_ok(c, vfuc_raw_send(c, bytes, i, 0, pair, 2));
        vfuc_free(c);
        close(pair[0]);
        close(pair[1]);
    }
    vfuc_free(edu_open(*state, 0));
    assert_true(proto_host_alive(*state));
}
