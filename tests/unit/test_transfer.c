/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/transfer: a device's asynchronous DMA, the client played here at the other end of a socket pair, its
 * memory behind core/dma. One thread; log_write is replaced. The time limit is not waited for: its timer is called.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/pci/dma.h"
#include "core/base/log.h"
#include "core/base/loop.h"
#include "core/pci/transfer.h"
#include "core/wire/transport.h"

#define PAGE UINT64_C(4096)
#define READ VFU_DMA_MAP_READABLE
#define WRITE VFU_DMA_MAP_WRITEABLE
/* By messages from FAR on, then mapped, then by messages again. */
#define FAR UINT64_C(0x100000)
#define FAR_SIZE (64 * PAGE)
#define NEAR (FAR + FAR_SIZE)
#define NEAR_SIZE (4 * PAGE)
#define FAR2 (NEAR + NEAR_SIZE)
#define ALL (FAR2 + FAR_SIZE - FAR)

/* ---- in place of core/base/log.c -------------------------------------------------------------------------------- */

int log_threshold = LOG_WARN;
static unsigned lines;
static char last_line[512];

static void write_line(const char *format, va_list args)
{
    vsnprintf(last_line, sizeof last_line, format, args);
    lines++;
}

void log_write(const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    (void)who;
    (void)level;
    va_start(args, format);
    write_line(format, args);
    va_end(args);
}

void log_limited(struct log_limit *limit, const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    (void)limit;
    (void)who;
    (void)level;
    va_start(args, format);
    write_line(format, args);
    va_end(args);
}

/* ---- the device's side ------------------------------------------------------------------------------------- */

static struct loop loop;
static struct dma *dma;
static struct transport out;
static struct transfer x;
static int peer;
static uint8_t *memory; /* the client's, all of it; NEAR is where it is mapped too */
static unsigned kicks;
static bool broken;

static void kick(void *ctx)
{
    int error = transport_flush(&out);

    assert_ptr_equal(ctx, &kicks);
    kicks++;
    broken = error && error != -EAGAIN;
}

static uint64_t dirty_first, dirty_end;

static void wrote(void *ctx, uint64_t address, uint64_t len)
{
    (void)ctx;
    if (dirty_end == 0 || address < dirty_first)
        dirty_first = address;
    if (address + len > dirty_end)
        dirty_end = address + len;
}

static bool stop_idle(void *ctx)
{
    (void)ctx;
    loop_stop(&loop);
    return true;
}

/* Deferred work until nothing is left of it. */
static void turn(void)
{
    loop.stopping = false;
    loop.idle = stop_idle;
    loop_run(&loop);
}

static int set_up(void **state)
{
    int pair[2], fd = memfd_create("client", MFD_CLOEXEC);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)ALL), 0);
    memory = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(memory != MAP_FAILED);
    for (uint64_t i = 0; i < ALL; i++)
        memory[i] = (uint8_t)(i * 13 + (i >> 8));
    assert_int_equal(dma_new(&dma, "dut", 64), 0);
    assert_int_equal(dma_map(dma, FAR, FAR_SIZE, READ | WRITE, -1, 0), 0);
    assert_int_equal(dma_map(dma, NEAR, NEAR_SIZE, READ | WRITE, fd, NEAR - FAR), 0);
    assert_int_equal(dma_map(dma, FAR2, FAR_SIZE, READ | WRITE, -1, 0), 0);
    close(fd);
    dma_on_write(dma, wrote, NULL);
    dirty_first = dirty_end = 0;
    assert_int_equal(loop_init(&loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(transport_open(&out, pair[0]), 0);
    peer = pair[1];
    transfer_init(&x, "dut", &loop, dma, &x);
    transfer_attach(&x, &out, 1048576, kick, &kicks);
    lines = kicks = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    transfer_detach(&x, -ECANCELED);
    assert_int_equal(x.nops, 0);
    assert_int_equal(loop.timers.n, 0);
    transport_close(&out);
    close(peer);
    loop_fini(&loop);
    dma_free(dma);
    munmap(memory, ALL);
    return 0;
}

static void done(void *self, struct vfu_dma_op *op, int32_t status)
{
    int32_t *result = op->user;

    assert_ptr_equal(self, &x);
    assert_int_equal(*result, 1); /* once */
    *result = status;
}

struct job {
    struct vfu_dma_op op;
    int32_t result; /* 1: not done */
    uint8_t *bytes;
};

static void prepare(struct job *job, uint64_t address, uint64_t len, bool write)
{
    job->bytes = malloc(len + 1);
    assert_non_null(job->bytes);
    for (uint64_t i = 0; i < len + 1; i++)
        job->bytes[i] = (uint8_t)(i * 7 + 3);
    job->result = 1;
    job->op = (struct vfu_dma_op){ .struct_size = sizeof job->op,
                                   .flags = write ? VFU_DMA_WRITE : 0,
                                   .addr = address,
                                   .len = len,
                                   .buf = job->bytes,
                                   .done = done,
                                   .user = &job->result };
}

static void submit(struct job *job, uint64_t address, uint64_t len, bool write)
{
    prepare(job, address, len, write);
    assert_int_equal(transfer_submit(&x, &job->op), 0);
    assert_int_equal(job->result, 1); /* never inside */
}

static void finish(struct job *job, int32_t status)
{
    if (job->result != status)
        fail_msg("the result is %d, not %d (%s)", job->result, status, last_line);
    free(job->bytes);
}

/* ---- the client's side ------------------------------------------------------------------------------------- */

struct request {
    struct vfu_msg_header header;
    struct vfu_msg_dma_access access;
    uint8_t data[TRANSFER_MESSAGE_MAX];
};

static void take(void *bytes, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t got = recv(peer, (uint8_t *)bytes + at, n - at, MSG_DONTWAIT);

        if (got < 0)
            transport_flush(&out); /* the socket holds less than a message */
        else
            at += (size_t)got;
        assert_true(got > 0 || errno == EAGAIN);
    }
}

/* The message the device has sent. False: none. */
static bool next_request(struct request *r)
{
    size_t data;

    turn();
    transport_flush(&out);
    if (recv(peer, &r->header, 1, MSG_DONTWAIT | MSG_PEEK) != 1)
        return false;
    take(&r->header, sizeof r->header + sizeof r->access);
    assert_int_equal(r->header.flags, 0);
    assert_int_equal(r->header.error, 0);
    assert_true(r->header.command == VFU_CMD_DMA_READ || r->header.command == VFU_CMD_DMA_WRITE);
    assert_true(r->access.count > 0 && r->access.count <= TRANSFER_MESSAGE_MAX);
    data = r->header.command == VFU_CMD_DMA_WRITE ? r->access.count : 0;
    assert_int_equal(r->header.size, sizeof r->header + sizeof r->access + data);
    take(r->data, data);
    return true;
}

static int reply_with(const struct vfu_msg_header *header, const void *body, uint32_t size)
{
    struct message m = { .header = *header, .size = size };
    int result;

    m.header.size = (uint32_t)sizeof m.header + size;
    m.body = malloc(size + 1); /* exactly so much may be read */
    assert_non_null(m.body);
    m.body = realloc(m.body, size ? size : 1);
    if (size)
        memcpy(m.body, body, size);
    result = transfer_reply(&x, &m);
    free(m.body);
    return result;
}

/* As a good client does it. */
static int answer(const struct request *r)
{
    struct vfu_msg_header header = r->header;
    static uint8_t body[sizeof r->access + TRANSFER_MESSAGE_MAX];
    uint32_t size = sizeof r->access;

    header.flags = VFU_MSG_REPLY;
    assert_true(r->access.address >= FAR && r->access.address + r->access.count <= FAR + ALL);
    assert_true(r->access.address + r->access.count <= NEAR ||
                r->access.address >= FAR2); /* what is mapped is copied */
    memcpy(body, &r->access, sizeof r->access);
    if (header.command == VFU_CMD_DMA_WRITE) {
        memcpy(memory + (r->access.address - FAR), r->data, r->access.count);
    } else {
        memcpy(body + size, memory + (r->access.address - FAR), r->access.count);
        size += (uint32_t)r->access.count;
    }
    return reply_with(&header, body, size);
}

/* Serves until the device asks for nothing more: how many messages that took. */
static unsigned serve(void)
{
    static struct request r;
    unsigned n = 0;

    for (; next_request(&r); n++)
        assert_int_equal(answer(&r), 0);
    return n;
}

/* ---- good clients ------------------------------------------------------------------------------------------ */

static void check_read(uint64_t address, uint64_t len, unsigned messages)
{
    struct job job;

    submit(&job, address, len, false);
    assert_int_equal(serve(), messages);
    assert_memory_equal(job.bytes, memory + (address - FAR), len);
    assert_int_equal(job.bytes[len], (uint8_t)(len * 7 + 3));
    finish(&job, 0);
}

static void check_write(uint64_t address, uint64_t len, unsigned messages)
{
    struct job job;
    uint8_t *before = malloc(ALL);

    assert_non_null(before);
    memcpy(before, memory, ALL);
    dirty_first = dirty_end = 0;
    submit(&job, address, len, true);
    assert_int_equal(serve(), messages);
    memcpy(before + (address - FAR), job.bytes, len);
    assert_memory_equal(before, memory, ALL);
    if (len)
        assert_true(dirty_first == address && dirty_end == address + len);
    finish(&job, 0);
    free(before);
}

static void check_both(uint64_t address, uint64_t len, unsigned messages)
{
    check_read(address, len, messages);
    check_write(address, len, messages);
}

static void test_spans(void **state)
{
    (void)state;
    check_both(FAR, 1, 1);
    check_both(FAR + 3, 4096, 1);
    check_both(NEAR, NEAR_SIZE, 0);
    check_both(NEAR + 1, 1, 0);
    check_both(NEAR - 5, 10, 1);
    check_both(FAR2 - 5, 10, 1);
    check_both(NEAR - 100, NEAR_SIZE + 200, 2);
    check_both(FAR, ALL, 8);
    check_both(FAR, 0, 0);
    check_both(FAR, 65536, 1);
    check_both(FAR, 65537, 2);
    assert_int_equal(lines, 0);
}

static void test_small_messages(void **state)
{
    static const uint64_t sizes[] = { 1, 7, 4096, 65535, 65536, 65537, UINT32_MAX, UINT64_MAX };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t piece = sizes[i] < 65536 ? sizes[i] : 65536, len = sizes[i] < 100 ? 50 : 140000;

        transfer_detach(&x, -ECANCELED);
        transfer_attach(&x, &out, sizes[i], kick, &kicks);
        check_both(FAR + 11, len, (unsigned)((len + piece - 1) / piece));
    }
}

static void test_nowhere(void **state)
{
    static const struct {
        uint64_t address, len;
    } cases[] = { { FAR - 1, 2 },      { FAR + ALL - 1, 2 }, { 0, 1 },
                  { FAR, UINT64_MAX }, { UINT64_MAX, 2 },    { FAR - PAGE, PAGE } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int write = 0; write < 2; write++) {
            struct job job;

            prepare(&job, cases[i].address, 16, write);
            job.op.len = cases[i].len;
            assert_int_equal(transfer_submit(&x, &job.op), 0);
            assert_int_equal(job.result, 1);
            assert_int_equal(serve(), 0);
            finish(&job, -EFAULT);
        }
    }
    assert_int_equal(dma_map(dma, 0, PAGE, READ, -1, 0), 0);
    assert_int_equal(dma_map(dma, PAGE, PAGE, WRITE, -1, 0), 0);
    for (int write = 0; write < 2; write++) {
        struct job job;

        submit(&job, write ? 0 : PAGE, 8, write);
        assert_int_equal(serve(), 0);
        finish(&job, -EFAULT);
    }
}

/* The region goes away while its message is out. */
static void test_unmapped_meanwhile(void **state)
{
    static struct request r;
    struct job job;

    (void)state;
    submit(&job, FAR, 100000, false);
    assert_true(next_request(&r));
    assert_int_equal(dma_unmap(dma, FAR, FAR_SIZE), 0);
    assert_int_equal(answer(&r), 0);
    assert_int_equal(serve(), 0);
    finish(&job, -EFAULT);
}

static void test_in_order(void **state)
{
    struct job jobs[20];

    (void)state;
    for (int i = 0; i < 20; i++)
        submit(&jobs[i], i % 3 ? FAR + (uint64_t)i * 512 : NEAR + (uint64_t)i * 8, 300, i % 2);
    for (int i = 0; i < 20; i++) {
        static struct request r;

        if (i % 3 == 0)
            continue;
        assert_true(next_request(&r));
        assert_true(r.access.address == FAR + (uint64_t)i * 512);
        for (int j = 0; j < 20; j++) /* those before are done, this and those behind are not */
            assert_int_equal(jobs[j].result, j < i ? 0 : 1);
        assert_int_equal(answer(&r), 0);
    }
    assert_int_equal(serve(), 0);
    for (int i = 0; i < 20; i++)
        finish(&jobs[i], 0);
}

/* What a good client does when a message comes: the memory changes at once. Its answer may come later. */
static void carry_out(struct request *r)
{
    uint8_t *at = memory + (r->access.address - FAR);

    if (r->header.command == VFU_CMD_DMA_WRITE)
        memcpy(at, r->data, r->access.count);
    else
        memcpy(r->data, at, r->access.count);
}

static int answer_later(const struct request *r)
{
    static uint8_t body[sizeof r->access + TRANSFER_MESSAGE_MAX];
    struct vfu_msg_header header = r->header;
    uint32_t size = sizeof r->access;

    header.flags = VFU_MSG_REPLY;
    memcpy(body, &r->access, size);
    if (header.command == VFU_CMD_DMA_READ) {
        memcpy(body + size, r->data, r->access.count);
        size += (uint32_t)r->access.count;
    }
    return reply_with(&header, body, size);
}

/* Small ones go out together, up to a number of them and a number of bytes; what is copied waits for those before it. */
static void test_several(void **state)
{
    static struct request r[TRANSFER_FLIGHTS + 1];
    struct job jobs[TRANSFER_FLIGHTS + 2];
    unsigned n;

    (void)state;
    for (unsigned i = 0; i < TRANSFER_FLIGHTS + 1; i++)
        submit(&jobs[i], FAR + 64 * i, 64, i % 2);
    submit(&jobs[TRANSFER_FLIGHTS + 1], NEAR, 64, true);
    for (n = 0; next_request(&r[n]); n++) {
        assert_true(n < TRANSFER_FLIGHTS);
        carry_out(&r[n]);
    }
    assert_int_equal(n, TRANSFER_FLIGHTS);
    assert_int_equal(x.inflight, 64 * TRANSFER_FLIGHTS);
    while (n--) { /* last first */
        assert_int_equal(answer_later(&r[n]), 0);
        assert_int_equal(jobs[0].result, n ? 1 : 0);
        assert_int_equal(jobs[n].result, n ? 1 : 0);
    }
    for (unsigned i = 0; i < TRANSFER_FLIGHTS; i++)
        finish(&jobs[i], 0);
    assert_int_equal(jobs[TRANSFER_FLIGHTS + 1].result, 1);
    assert_memory_not_equal(memory + (NEAR - FAR), jobs[TRANSFER_FLIGHTS + 1].bytes, 64);
    assert_int_equal(serve(), 1);
    finish(&jobs[TRANSFER_FLIGHTS], 0);
    assert_memory_equal(memory + (NEAR - FAR), jobs[TRANSFER_FLIGHTS + 1].bytes, 64);
    finish(&jobs[TRANSFER_FLIGHTS + 1], 0);
    submit(&jobs[0], FAR, 40000, false);
    submit(&jobs[1], FAR, 25536, false);
    submit(&jobs[2], FAR, 1, false);
    submit(&jobs[3], FAR, 0, false);
    for (n = 0; next_request(&r[n]); n++)
        carry_out(&r[n]);
    assert_int_equal(n, 2);
    assert_int_equal(answer_later(&r[1]), 0);
    assert_false(next_request(&r[2]));
    assert_int_equal(answer_later(&r[0]), 0);
    assert_int_equal(serve(), 1);
    for (n = 0; n < 4; n++)
        finish(&jobs[n], 0);
    assert_int_equal(lines, 0);
}

/* One of several fails, at the client or because there is no such memory: the others do not notice. */
static void test_one_of_several(void **state)
{
    static struct request r[4];
    struct vfu_msg_header header;
    struct job jobs[5];

    (void)state;
    submit(&jobs[0], FAR, 10, false);
    submit(&jobs[1], FAR + 16, 10, true);
    submit(&jobs[2], FAR + 32, 10, false);
    submit(&jobs[3], 0, 10, false);
    submit(&jobs[4], FAR + 48, 10, true);
    for (int i = 0; i < 3; i++) {
        assert_true(next_request(&r[i]));
        carry_out(&r[i]);
    }
    assert_false(next_request(&r[3])); /* it waits behind the one that fails */
    header = r[1].header;
    header.flags = VFU_MSG_REPLY | VFU_MSG_ERROR;
    header.error = EPERM;
    assert_int_equal(reply_with(&header, NULL, 0), 0);
    assert_int_equal(jobs[1].result, 1);
    assert_int_equal(answer_later(&r[0]), 0);
    assert_int_equal(jobs[1].result, -EIO);
    transfer_withdraw(&x, &jobs[2].op);
    assert_int_equal(answer_later(&r[2]), 0); /* late */
    assert_int_equal(serve(), 1);
    finish(&jobs[0], 0);
    finish(&jobs[1], -EIO);
    assert_int_equal(jobs[2].result, 1);
    free(jobs[2].bytes);
    finish(&jobs[3], -EFAULT);
    finish(&jobs[4], 0);
    assert_int_equal(x.nops, 0);
}

/* A write that has been answered behind one that was not, when all is cancelled: its page is dirty. */
static void test_cancel_behind(void **state)
{
    static struct request r[2];
    struct job jobs[2];

    (void)state;
    submit(&jobs[0], FAR, 8, false);
    submit(&jobs[1], FAR + 4096, 8, true);
    for (int i = 0; i < 2; i++) {
        assert_true(next_request(&r[i]));
        carry_out(&r[i]);
    }
    assert_int_equal(answer_later(&r[1]), 0);
    dirty_first = dirty_end = 0;
    transfer_cancel(&x, -ECANCELED);
    assert_true(dirty_first == FAR + 4096 && dirty_end == FAR + 4104);
    finish(&jobs[0], -ECANCELED);
    finish(&jobs[1], -ECANCELED);
    assert_int_equal(x.nlate, 1);
}

/* Whatever overlaps, and in whatever order the client answers: as if one had been done after the other. */
static void test_as_if_one_by_one(void **state)
{
    enum { JOBS = 48, SPAN = 6 * 4096 };
    static struct request r[TRANSFER_FLIGHTS];
    uint64_t seed = 88172645463325252u;
    struct job jobs[JOBS];
    uint8_t *model = malloc(ALL);
    unsigned n, most = 0;

    (void)state;
    assert_non_null(model);
    for (int round = 0; round < 60; round++) {
        memcpy(model, memory, ALL);
        for (int i = 0; i < JOBS; i++) {
            uint64_t at, len;

            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            at = FAR_SIZE - SPAN / 2 + seed % SPAN;
            len = (seed >> 20) % ((seed >> 50) % 16 ? 200 : 70000);
            submit(&jobs[i], FAR + at, len, seed >> 40 & 1);
        }
        do {
            for (n = 0; n < TRANSFER_FLIGHTS && next_request(&r[n]); n++)
                carry_out(&r[n]);
            most = n > most ? n : most;
            for (unsigned left_over = n; left_over;) {
                unsigned pick = (unsigned)(seed % left_over);

                seed = seed * 6364136223846793005u + 1442695040888963407u;
                assert_int_equal(answer_later(&r[pick]), 0);
                r[pick] = r[--left_over];
            }
        } while (n);
        for (int i = 0; i < JOBS; i++) {
            uint64_t at = jobs[i].op.addr - FAR;

            if (jobs[i].op.flags & VFU_DMA_WRITE)
                memcpy(model + at, jobs[i].bytes, jobs[i].op.len);
            else
                assert_memory_equal(model + at, jobs[i].bytes, jobs[i].op.len);
            finish(&jobs[i], 0);
        }
        assert_memory_equal(model, memory, ALL);
    }
    assert_true(most > 4);
    free(model);
}

/* ---- bad replies ------------------------------------------------------------------------------------------- */

enum {
    ERROR,
    ERROR_WITH_BODY,
    EMPTY,
    SHORT,
    FEWER,
    MORE,
    LONGER,
    COUNT_LESS,
    COUNT_MORE,
    COUNT_HUGE,
    ADDRESS,
    BAD_REPLIES
};

static void spoil(int how, const struct request *r)
{
    static uint8_t body[sizeof r->access + TRANSFER_MESSAGE_MAX + 8];
    struct vfu_msg_header header = r->header;
    struct vfu_msg_dma_access access = r->access;
    uint32_t size = sizeof access + (header.command == VFU_CMD_DMA_READ ? (uint32_t)access.count : 0);

    header.flags = VFU_MSG_REPLY;
    if (how == ERROR || how == ERROR_WITH_BODY) {
        header.flags |= VFU_MSG_ERROR;
        header.error = how == ERROR ? EPERM : UINT32_MAX;
    }
    access.count += how == COUNT_MORE   ? 1
                    : how == COUNT_LESS ? (uint64_t)-1
                    : how == COUNT_HUGE ? UINT64_C(1) << 32
                                        : 0;
    access.address += how == ADDRESS;
    memcpy(body, &access, sizeof access);
    size = how == ERROR || how == EMPTY ? 0
           : how == SHORT               ? 11
           : how == FEWER               ? size - 1
           : how == LONGER              ? size + 1
                                        : size;
    size = how == MORE ? size + 4 : size;
    assert_int_equal(reply_with(&header, body, size), 0);
}

static void test_bad_replies(void **state)
{
    static struct request r;

    (void)state;
    for (int write = 0; write < 2; write++) {
        for (int how = 0; how < BAD_REPLIES; how++) {
            struct job job, next;
            /* A write's reply may be 12 bytes or more: stock clients do both. */
            bool good = write && (how == FEWER || how == MORE || how == LONGER);

            lines = 0;
            submit(&job, FAR, 5000, write);
            submit(&next, FAR, 100, false);
            assert_true(next_request(&r));
            spoil(how, &r);
            if (job.result != (good ? 0 : -EIO))
                fail_msg("bad reply %d to a %s: %d", how, write ? "write" : "read", job.result);
            assert_int_equal(lines, good ? 0 : 1);
            /* Whatever it did, the next one works. */
            assert_int_equal(serve(), 1);
            finish(&job, good ? 0 : -EIO);
            finish(&next, 0);
        }
    }
}

/* Answers to what was not asked: refused, and the operation goes on. */
static void test_wrong_replies(void **state)
{
    static struct request r, other;
    struct job job;

    (void)state;
    memset(&r, 0, sizeof r);
    r.header = (struct vfu_msg_header){ .id = 0, .command = VFU_CMD_DMA_READ };
    r.access = (struct vfu_msg_dma_access){ .address = FAR, .count = 16 };
    assert_int_equal(answer(&r), -EINVAL); /* nothing is out at all */
    submit(&job, FAR, 5000, false);
    assert_true(next_request(&r));
    other = r;
    other.header.id++;
    assert_int_equal(answer(&other), -EINVAL);
    other = r;
    other.header.command = VFU_CMD_DMA_WRITE;
    assert_int_equal(answer(&other), -EINVAL);
    other.header.command = VFU_CMD_REGION_READ;
    assert_int_equal(answer(&other), -EINVAL);
    other.header.command = 0xffff;
    other.header.flags |= VFU_MSG_ERROR;
    assert_int_equal(reply_with(&other.header, NULL, 0), -EINVAL);
    assert_int_equal(job.result, 1);
    assert_int_equal(lines, 5);
    assert_int_equal(answer(&r), 0);
    assert_int_equal(job.result, 0);
    assert_int_equal(answer(&r), -EINVAL); /* a second time */
    finish(&job, 0);
}

/* ---- giving up --------------------------------------------------------------------------------------------- */

/* The time the timer is armed for has come. */
static void timer_goes_off(void)
{
    assert_int_equal(loop.timers.n, 1);
    assert_true(x.timer.deadline - loop_now() <= TRANSFER_TIMEOUT_NS);
    loop_disarm(&loop, &x.timer);
    x.timer.fn(&x.timer);
}

/* The oldest message's limit has passed. It may be armed for one that is answered. */
static void let_time_out(void)
{
    uint64_t deadline = 0;

    for (uint32_t i = 0; i < x.nflights && !deadline; i++)
        deadline = x.flights[i].arrived ? 0 : x.flights[i].deadline;
    assert_true(deadline > 0);
    assert_true(x.timer.deadline <= deadline);
    if (x.timer.deadline < deadline) {
        timer_goes_off();
        assert_true(x.timer.deadline == deadline);
    }
    timer_goes_off();
}

static void test_time_limit(void **state)
{
    static struct request late, r;
    struct job job, next;

    (void)state;
    submit(&job, FAR, 5000, false);
    submit(&next, FAR + 8, 50, false);
    assert_true(next_request(&late));
    let_time_out();
    assert_int_equal(job.result, -ETIMEDOUT);
    assert_int_equal(lines, 1);
    memset(job.bytes, 0, 5000);
    assert_true(next_request(&r));
    assert_true(r.access.address == FAR + 8);
    /* The late reply is dropped, touches nothing, and is no error, once. */
    assert_int_equal(answer(&late), 0);
    assert_int_equal(job.bytes[0], 0);
    assert_int_equal(lines, 1);
    assert_int_equal(next.result, 1);
    assert_int_equal(answer(&late), -EINVAL);
    assert_int_equal(answer(&r), 0);
    finish(&job, -ETIMEDOUT);
    finish(&next, 0);
}

/* Each message has a limit of its own, from when it was sent. The timer is left as it is where messages are answered in
 * time, and looks again at the oldest that is left; with none in flight it goes off once for nothing. */
static void test_time_limit_of_each(void **state)
{
    static struct request r;
    struct job job;
    uint64_t sent = loop_now(), armed, answered;

    (void)state;
    submit(&job, FAR, 3 * TRANSFER_MESSAGE_MAX, false);
    assert_true(next_request(&r));
    armed = x.timer.deadline;
    assert_true(armed >= sent + TRANSFER_TIMEOUT_NS);
    answered = loop_now();
    assert_true(armed <= answered + TRANSFER_TIMEOUT_NS);
    while (loop_now() == answered)
        ;
    assert_int_equal(answer(&r), 0);
    assert_true(next_request(&r));
    assert_int_equal(loop.timers.n, 1);
    assert_true(x.timer.deadline == armed);
    timer_goes_off();
    assert_int_equal(job.result, 1);
    assert_int_equal(x.nflights, 1);
    assert_true(x.timer.deadline > answered + TRANSFER_TIMEOUT_NS);
    assert_true(x.timer.deadline <= loop_now() + TRANSFER_TIMEOUT_NS);
    assert_int_equal(answer(&r), 0);
    assert_true(next_request(&r));
    assert_int_equal(answer(&r), 0);
    finish(&job, 0);
    timer_goes_off();
    assert_int_equal(loop.timers.n, 0);
    assert_int_equal(lines, 0);
}

/* The one that is out of time ends its op, though an answered one is why the timer was armed. */
static void test_time_limit_of_a_later_one(void **state)
{
    static struct request r, late;
    struct job job, next;

    (void)state;
    submit(&job, FAR, 16, false);
    assert_true(next_request(&r));
    assert_int_equal(answer(&r), 0);
    finish(&job, 0);
    submit(&job, FAR, 16, false);
    submit(&next, FAR + 16, 16, false);
    assert_true(next_request(&late));
    assert_true(next_request(&r));
    assert_int_equal(answer(&r), 0); /* out of order */
    let_time_out();
    assert_int_equal(job.result, -ETIMEDOUT);
    assert_int_equal(lines, 1);
    turn();
    finish(&job, -ETIMEDOUT);
    finish(&next, 0);
    assert_int_equal(answer(&late), 0);
}

/* A write that was given up may have arrived: its pages count as written. */
static void test_time_limit_is_dirty(void **state)
{
    static struct request r;
    struct job job;

    (void)state;
    submit(&job, FAR + 100, 200, true);
    assert_true(next_request(&r));
    dirty_first = dirty_end = 0;
    let_time_out();
    assert_true(dirty_first == FAR + 100 && dirty_end == FAR + 300);
    finish(&job, -ETIMEDOUT);
}

/* More late ones than are remembered: the oldest is forgotten, and is an answer to nothing then. */
static void test_many_late(void **state)
{
    static struct request r[TRANSFER_LATE_MAX + 1];
    struct job job;

    (void)state;
    for (unsigned i = 0; i <= TRANSFER_LATE_MAX; i++) {
        submit(&job, FAR, 16, false);
        assert_true(next_request(&r[i]));
        let_time_out();
        finish(&job, -ETIMEDOUT);
    }
    assert_int_equal(answer(&r[0]), -EINVAL);
    for (unsigned i = TRANSFER_LATE_MAX; i > 0; i--)
        assert_int_equal(answer(&r[i]), 0);
    assert_int_equal(x.nlate, 0);
}

/* An id that is still awaited is not used again when the count comes round. */
static void test_ids_come_round(void **state)
{
    static struct request late, r;
    struct job job;

    (void)state;
    submit(&job, FAR, 16, false);
    assert_true(next_request(&late));
    let_time_out();
    finish(&job, -ETIMEDOUT);
    x.next_id = (uint16_t)(late.header.id - 1);
    for (int i = 0; i < 3; i++) {
        submit(&job, FAR, 16, false);
        assert_true(next_request(&r));
        assert_int_not_equal(r.header.id, late.header.id);
        assert_int_equal(answer(&r), 0);
        finish(&job, 0);
    }
    assert_int_equal(answer(&late), 0);
}

static void test_cancel(void **state)
{
    static struct request r;
    struct job jobs[3], next;

    (void)state;
    transfer_cancel(&x, -ECANCELED); /* nothing there */
    for (int i = 0; i < 3; i++)
        submit(&jobs[i], FAR + (uint64_t)i, 9000, i == 1);
    assert_true(next_request(&r));
    transfer_cancel(&x, -ECANCELED);
    for (int i = 0; i < 3; i++)
        finish(&jobs[i], -ECANCELED);
    assert_int_equal(loop.timers.n, 0);
    assert_int_equal(answer(&r), 0); /* late */
    submit(&next, FAR, 100, false);
    assert_int_equal(serve(), 3); /* and those that were out with it */
    finish(&next, 0);
    assert_int_equal(x.nlate, 0);
    assert_int_equal(lines, 0);
}

static unsigned left, finished, deferred;

static void submit_again(void *self, struct vfu_dma_op *op, int32_t status)
{
    (void)self;
    assert_int_equal(status, *(int32_t *)op->user);
    finished++;
    if (left) {
        left--;
        assert_int_equal(transfer_submit(&x, op), 0);
        deferred += x.scheduled;
    }
}

/* The pump that ends one operation goes on with the next: none is deferred for it. */
static void test_submit_inside_done(void **state)
{
    struct job job;
    int32_t expected = 0;

    (void)state;
    for (int far = 0; far < 2; far++) {
        prepare(&job, far ? FAR : NEAR, 64, false);
        job.op.done = submit_again;
        job.op.user = &expected;
        left = 1000;
        finished = deferred = 0;
        assert_int_equal(transfer_submit(&x, &job.op), 0);
        assert_true(x.scheduled);
        assert_int_equal(serve(), far ? 1001 : 0);
        assert_int_equal(finished, 1001);
        assert_int_equal(deferred, 0);
        assert_int_equal(x.nops, 0);
        free(job.bytes);
    }
}

/* What is submitted while all is cancelled stays; the cancel ends. */
static void test_cancel_and_submit(void **state)
{
    struct job jobs[2];
    int32_t expected = -ECANCELED;

    (void)state;
    for (int i = 0; i < 2; i++) {
        prepare(&jobs[i], FAR, 64, false);
        jobs[i].op.done = submit_again;
        jobs[i].op.user = &expected;
        assert_int_equal(transfer_submit(&x, &jobs[i].op), 0);
    }
    left = 100;
    finished = 0;
    transfer_cancel(&x, -ECANCELED);
    assert_int_equal(finished, 2);
    assert_int_equal(x.nops, 2);
    expected = 0;
    left = 0;
    assert_int_equal(serve(), 2);
    assert_int_equal(finished, 4);
    free(jobs[0].bytes);
    free(jobs[1].bytes);
}

static void cancel_inside(void *self, struct vfu_dma_op *op, int32_t status)
{
    (void)self;
    assert_int_equal(status, -ECANCELED);
    finished++;
    transfer_cancel(&x, -ECANCELED);
    if (left) {
        left--;
        assert_int_equal(transfer_submit(&x, op), 0);
    }
}

/* A cancel inside a cancel: the outer one neither runs for ever nor takes what came after the inner one. */
static void test_cancel_inside_done(void **state)
{
    struct job jobs[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        prepare(&jobs[i], FAR, 64, false);
        jobs[i].op.done = cancel_inside;
        assert_int_equal(transfer_submit(&x, &jobs[i].op), 0);
    }
    left = 3;
    finished = 0;
    transfer_cancel(&x, -ECANCELED);
    assert_int_equal(finished, 3);
    assert_int_equal(x.nops, 3);
    transfer_cancel(&x, -ECANCELED);
    assert_int_equal(finished, 6);
    assert_int_equal(x.nops, 0);
    for (int i = 0; i < 3; i++)
        free(jobs[i].bytes);
}

/* ---- limits and states ------------------------------------------------------------------------------------- */

static void test_limit(void **state)
{
    static struct vfu_dma_op ops[TRANSFER_MAX_OPS + 1];
    static int32_t results[TRANSFER_MAX_OPS + 1];
    uint8_t byte = 0;

    (void)state;
    for (unsigned i = 0; i <= TRANSFER_MAX_OPS; i++) {
        results[i] = 1;
        ops[i] =
            (struct vfu_dma_op){ .struct_size = sizeof ops[i], .addr = NEAR + i, .len = 1, .buf = &byte, .done = done };
        ops[i].user = &results[i];
        assert_int_equal(transfer_submit(&x, &ops[i]), i < TRANSFER_MAX_OPS ? 0 : -ENOBUFS);
    }
    assert_int_equal(serve(), 0);
    for (unsigned i = 0; i < TRANSFER_MAX_OPS; i++)
        assert_int_equal(results[i], 0);
    assert_int_equal(results[TRANSFER_MAX_OPS], 1);
    assert_int_equal(transfer_submit(&x, &ops[TRANSFER_MAX_OPS]), 0);
    assert_int_equal(serve(), 0);
    assert_int_equal(results[TRANSFER_MAX_OPS], 0);
}

static void test_bad_ops(void **state)
{
    struct job job;

    (void)state;
    prepare(&job, FAR, 16, false);
    assert_int_equal(transfer_submit(&x, NULL), -EINVAL);
    job.op.struct_size = 8;
    assert_int_equal(transfer_submit(&x, &job.op), -EINVAL);
    job.op.struct_size = sizeof job.op;
    job.op.flags = 2;
    assert_int_equal(transfer_submit(&x, &job.op), -EINVAL);
    job.op.flags = 0;
    job.op.buf = NULL;
    assert_int_equal(transfer_submit(&x, &job.op), -EINVAL);
    job.op.buf = job.bytes;
    job.op.done = NULL;
    assert_int_equal(transfer_submit(&x, &job.op), -EINVAL);
    job.op.done = done;
    transfer_freeze(&x, true);
    assert_int_equal(transfer_submit(&x, &job.op), -EBUSY);
    transfer_detach(&x, -ECANCELED);
    assert_int_equal(transfer_submit(&x, &job.op), -ENOTCONN);
    assert_int_equal(x.nops, 0);
    transfer_attach(&x, &out, 4096, kick, &kicks);
    assert_int_equal(transfer_submit(&x, &job.op), 0);
    assert_int_equal(serve(), 1);
    finish(&job, 0);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* No work can be deferred: refused, rather than never begun. */
static void test_no_room_to_defer(void **state)
{
    struct job job;

    (void)state;
    prepare(&job, NEAR, 16, false);
    while (loop_defer(&loop, nothing, NULL) == 0)
        ;
    assert_int_equal(transfer_submit(&x, &job.op), -ENOBUFS);
    assert_int_equal(x.nops, 0);
    turn();
    assert_int_equal(transfer_submit(&x, &job.op), 0);
    turn();
    finish(&job, 0);
}

static void test_freeze(void **state)
{
    static struct request r;
    struct job jobs[2];

    (void)state;
    submit(&jobs[0], FAR, 100000, false);
    submit(&jobs[1], NEAR, 10, false);
    assert_true(next_request(&r));
    transfer_freeze(&x, true);
    assert_int_equal(answer(&r), 0);
    assert_int_equal(serve(), 0);
    assert_int_equal(jobs[0].result, 1);
    transfer_freeze(&x, false);
    assert_int_equal(serve(), 1);
    assert_memory_equal(jobs[0].bytes, memory, 100000);
    finish(&jobs[0], 0);
    finish(&jobs[1], 0);
}

static void test_detach(void **state)
{
    static struct request r;
    struct job jobs[2];

    (void)state;
    submit(&jobs[0], FAR, 1000, false);
    submit(&jobs[1], NEAR, 10, false);
    assert_true(next_request(&r));
    transfer_detach(&x, -ECANCELED);
    turn();
    finish(&jobs[0], -ECANCELED);
    finish(&jobs[1], -ECANCELED);
    /* Another client knows nothing of it. */
    transfer_attach(&x, &out, 4096, kick, &kicks);
    assert_int_equal(answer(&r), -EINVAL);
}

/* The way for messages is lost, the client is not: what is in flight ends, mapped memory is still reached. */
static void test_lose(void **state)
{
    static struct request r;
    struct job jobs[3];

    (void)state;
    submit(&jobs[0], FAR, 1000, false);
    assert_true(next_request(&r));
    transfer_lose(&x, -EFAULT);
    finish(&jobs[0], -EFAULT);
    submit(&jobs[0], FAR, 10, true);
    submit(&jobs[1], NEAR, 5000, false);
    submit(&jobs[2], NEAR - 4, 8, true);
    turn();
    finish(&jobs[0], -EFAULT);
    assert_memory_equal(jobs[1].bytes, memory + (NEAR - FAR), 5000);
    finish(&jobs[1], 0);
    finish(&jobs[2], -EFAULT);
    assert_false(x.starved);
    transfer_detach(&x, -ECANCELED);
    prepare(&jobs[0], NEAR, 10, false);
    assert_int_equal(transfer_submit(&x, &jobs[0].op), -ENOTCONN);
    free(jobs[0].bytes);
}

/* There is no room for the message while another's memory is on its way: it is asked for, and goes out afterwards. */
static void test_no_room(void **state)
{
    static struct request r;
    uint8_t *big = calloc(1, 4u << 20), *sink = malloc(1u << 20);
    size_t drained = 0;
    struct job job;

    (void)state;
    assert_true(big && sink);
    transport_append_memory(&out, big, 4u << 20);
    submit(&job, FAR, 100, false);
    turn();
    assert_true(x.starved);
    assert_int_equal(loop.timers.n, 0);
    assert_true(kicks > 0 && !broken);
    while (drained < 4u << 20) {
        ssize_t got = recv(peer, sink, 1u << 20, MSG_DONTWAIT);

        if (got > 0)
            drained += (size_t)got;
        transport_flush(&out);
    }
    transfer_pump(&x); /* as a session does when some has left */
    assert_false(x.starved);
    assert_true(next_request(&r));
    assert_int_equal(answer(&r), 0);
    finish(&job, 0);
    free(big);
    free(sink);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_spans),
        TEST(test_small_messages),
        TEST(test_nowhere),
        TEST(test_unmapped_meanwhile),
        TEST(test_in_order),
        TEST(test_several),
        TEST(test_one_of_several),
        TEST(test_cancel_behind),
        TEST(test_as_if_one_by_one),
        TEST(test_bad_replies),
        TEST(test_wrong_replies),
        TEST(test_time_limit),
        TEST(test_time_limit_of_each),
        TEST(test_time_limit_of_a_later_one),
        TEST(test_time_limit_is_dirty),
        TEST(test_many_late),
        TEST(test_ids_come_round),
        TEST(test_cancel),
        TEST(test_submit_inside_done),
        TEST(test_cancel_and_submit),
        TEST(test_cancel_inside_done),
        TEST(test_limit),
        TEST(test_bad_ops),
        TEST(test_no_room_to_defer),
        TEST(test_freeze),
        TEST(test_detach), TEST(test_lose),
        TEST(test_no_room),
    };

    return cmocka_run_group_tests_name("transfer", tests, NULL, NULL);
}
