/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_steady - what a host spends on its clients: a line in the log for whatever it refuses and no more than a few a
 * second, no allocation for a message, no memory for a number that a client only names. One thread.
 */
#define _GNU_SOURCE
#include "tests/protocol/count.h"
#include "tests/protocol/proto.h"
#include "tests/robust/rig.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEM UINT64_C(0x100000)
#define ROUNDS 10000u

static struct rig rig;

static bool sanitized(void)
{
    const char *which = getenv("VFU_SANITIZERS");

    return which && *which && strcmp(which, "no") != 0;
}

static void start(void)
{
    rig_open(&rig);
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", NULL);
}

static void stop(void)
{
    int status = rig_stop(&rig, SIGTERM);

    rig_close(&rig);
    assert_int_equal(status, 0);
}

/* ---- the log */

static const char *command_name(uint16_t command)
{
    static const char *const names[] = {
        [VFU_CMD_VERSION] = "VERSION",
        [VFU_CMD_DMA_MAP] = "DMA_MAP",
        [VFU_CMD_DMA_UNMAP] = "DMA_UNMAP",
        [VFU_CMD_DEVICE_GET_INFO] = "DEVICE_GET_INFO",
        [VFU_CMD_DEVICE_GET_REGION_INFO] = "DEVICE_GET_REGION_INFO",
        [VFU_CMD_DEVICE_GET_REGION_IO_FDS] = "DEVICE_GET_REGION_IO_FDS",
        [VFU_CMD_DEVICE_GET_IRQ_INFO] = "DEVICE_GET_IRQ_INFO",
        [VFU_CMD_DEVICE_SET_IRQS] = "SET_IRQS",
        [VFU_CMD_REGION_READ] = "REGION_READ",
        [VFU_CMD_REGION_WRITE] = "REGION_WRITE",
        [VFU_CMD_DMA_READ] = "DMA_READ",
        [VFU_CMD_DMA_WRITE] = "DMA_WRITE",
        [VFU_CMD_DEVICE_RESET] = "DEVICE_RESET",
        [VFU_CMD_DIRTY_PAGES] = "DIRTY_PAGES",
        [VFU_CMD_REGION_WRITE_MULTI] = "REGION_WRITE_MULTI",
        [VFU_CMD_DEVICE_FEATURE] = "DEVICE_FEATURE",
        [VFU_CMD_MIG_DATA_READ] = "MIG_DATA_READ",
        [VFU_CMD_MIG_DATA_WRITE] = "MIG_DATA_WRITE",
    };

    return command < sizeof names / sizeof names[0] && names[command] ? names[command] : "command";
}

/* How many of a case's messages are refused; *command is that of the last one. */
static int refusals(const struct proto_case *test, uint16_t *command)
{
    int n = 0;

    for (size_t i = 0; i < 8 && test->m[i].used; i++) {
        const struct proto_message *m = &test->m[i];

        if (m->outcome == PROTO_REPLY || m->outcome == PROTO_NOTHING)
            continue;
        *command = m->command;
        /* An unsolicited reply is known by its number. */
        if ((m->flags & VFU_MSG_TYPE_MASK) == VFU_MSG_REPLY)
            *command = UINT16_MAX;
        n++;
    }
    return n;
}

/* Every request that a table says is refused has a line that names the command. A host takes a few cases only: after
 * ten lines of a kind in a second it keeps the rest back. */
static void each_refusal_has_its_line(void **state)
{
    struct proto_host host = { 0 };
    struct vfuc *c = NULL;
    int lines = 0, checked = 0;

    (void)state;
    for (size_t t = 0; t < proto_ntables; t++) {
        for (size_t i = 0; i < proto_tables[t]->n; i++) {
            const struct proto_case *test = &proto_tables[t]->cases[i];
            uint16_t command = 0;
            int n = refusals(test, &command), before;
            const char *wrong;

            if (!n)
                continue;
            if (checked == 0 || lines + n > 8) {
                vfuc_free(c);
                if (checked)
                    stop();
                start();
                rig_alive(c = rig_client(&rig, "s"));
                host.pid = rig.pid;
                snprintf(host.socket, sizeof host.socket, "%s/s", rig.dir);
                lines = 0;
            }
            before = rig_said(&rig, command_name(command));
            wrong = proto_run(&host, &c, test, &(struct proto_cut){ 0, 0 });
            if (wrong)
                fail_msg("%s: %s: %s", proto_tables[t]->name, test->name, wrong);
            if (rig_said(&rig, command_name(command)) <= before) {
                rig_show(&rig);
                fail_msg("%s: %s: no line in the log names %s", proto_tables[t]->name, test->name,
                         command_name(command));
            }
            lines += n;
            checked++;
        }
    }
    vfuc_free(c);
    stop();
    assert_true(checked > 200);
}

/* A line names command, field and value. */
static void lines_say_what_is_wrong(void **state)
{
    static const struct {
        uint16_t command;
        uint8_t body[32];
        uint32_t size;
        const char *line;
    } cases[] = {
        { VFU_CMD_DMA_MAP, { B4(32), B4(3), B8(0), B8(0x10000), B8(0x1001) }, 32, "DMA_MAP: size 0x1001 is not" },
        { VFU_CMD_DMA_MAP, { B4(7), B4(3), B8(0), B8(0x10000), B8(0x1000) }, 32, "DMA_MAP: argsz is 7," },
        { VFU_CMD_DMA_UNMAP, { B4(24), B4(0), B8(0x5000), B8(0x1000) }, 24, "DMA_UNMAP: no region has address 0x5000" },
        { VFU_CMD_DEVICE_SET_IRQS, { B4(20), B4(0x21), B4(9), B4(0), B4(1) }, 20, "SET_IRQS: index 9: no such" },
        { VFU_CMD_REGION_READ, { B8(0x123456), B4(0), B4(4) }, 16, "REGION_READ: offset 0x123456, count 4 in region 0" },
        { VFU_CMD_DEVICE_GET_IRQ_INFO, { B4(16), B4(0), B4(77), B4(0) }, 16, "DEVICE_GET_IRQ_INFO: index is 77," },
        { VFU_CMD_DEVICE_FEATURE, { B4(8), B4(0x10000 | 99) }, 8, "DEVICE_FEATURE: feature 99 is not offered" },
        { 4242, { 0 }, 4, "unknown command: command 4242" },
    };
    struct vfuc *c;

    (void)state;
    start();
    c = rig_client(&rig, "s");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vfuc_request request = { .command = cases[i].command, .body = cases[i].body, .size = cases[i].size };

        assert_true(vfuc_request(c, &request) < 0);
        if (!rig_says(&rig, cases[i].line)) {
            rig_show(&rig);
            fail_msg("no line \"%s\"", cases[i].line);
        }
    }
    vfuc_free(c);
    stop();
}

/* Thousands of bad requests, posted so that nothing slows them down, make a few lines, and the last one says how many
 * were left out. */
static void a_flood_makes_few_lines(void **state)
{
    static struct rig_access flood[1000];
    uint64_t begin = rig_now(), seconds;
    struct vfuc *c;
    int lines;

    (void)state;
    start();
    c = rig_client(&rig, "s");
    for (size_t i = 0; i < 1000; i++)
        flood[i] = rig_write_of((uint16_t)i, UINT64_MAX - i, 0, true);
    for (int i = 0; i < 50; i++)
        rig_send(vfuc_fd(c), flood, sizeof flood);
    rig_alive(c);
    seconds = (rig_now() - begin) / (1000 * RIG_MS) + 1;
    lines = rig_said(&rig, "REGION_WRITE");
    assert_in_range(lines, 1, 10 + 10 * seconds);
    rig_pause(1100);
    rig_send(vfuc_fd(c), flood, sizeof flood[0]);
    rig_alive(c);
    assert_true(rig_says(&rig, "more like the next line were left out"));
    vfuc_free(c);
    stop();
}

/* ---- allocations */

static volatile struct count *count;

static void preload(struct rig *r)
{
    char path[512];

    snprintf(path, sizeof path, "%s/tests/protocol/.libs/count.so", getenv("VFU_BUILDDIR"));
    setenv("LD_PRELOAD", path, 1);
    snprintf(path, sizeof path, "%s/count", r->dir);
    setenv("VFU_COUNT", path, 1);
}

static void start_counting(const char *plugin, void (*before)(struct rig *r))
{
    int fd;

    rig_open(&rig);
    fd = open(rig_path(&rig, "count"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, sizeof *count), 0);
    count = mmap(NULL, sizeof *count, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(count != MAP_FAILED);
    close(fd);
    rig.before = before;
    rig_start(&rig, "--plugin", plugin, "--socket-path", "@s", NULL);
}

static void stop_counting(void)
{
    assert_true(count->allocations > 10); /* it has counted */
    munmap((void *)(uintptr_t)count, sizeof *count);
    stop();
}

#define SEND(c, ...)                                                                                                   \
    do {                                                                                                               \
        const uint8_t body_[] = { __VA_ARGS__ };                                                                       \
        send_request(c, body_, sizeof body_);                                                                          \
    } while (0)
static uint16_t sending;

static int send_request(struct vfuc *c, const uint8_t *body, size_t size)
{
    static uint8_t reply[65536];
    struct vfuc_request request = { .command = sending, .body = body, .size = size, .reply = reply,
                                    .reply_max = sizeof reply };

    return vfuc_request(c, &request);
}

static void some_reads(struct vfuc *c, uint32_t i)
{
    uint64_t values[64];
    uint8_t config[256];

    rig_alive(c);
    if (i % 16 == 0)
        assert_int_equal(vfuc_read(c, VFUC_CONFIG, 0, config, sizeof config), 0);
    if (i % 64 == 0) {
        for (int k = 0; k < 64; k++)
            assert_true(vfuc_queue_read(c, 0, RIG_LIVE, &values[k], 4, NULL) >= 0);
        assert_int_equal(vfuc_drain(c), 0);
    }
}

static void some_writes(struct vfuc *c, uint32_t i)
{
    struct vfuc_multi multi[8];

    assert_int_equal(vfuc_put(c, 0, RIG_LIVE, 4, i), 0);
    assert_int_equal(vfuc_post(c, 0, RIG_LIVE, &i, 4), 0);
    for (uint32_t k = 0; k < 8; k++) {
        multi[k] = (struct vfuc_multi){ .offset = RIG_LIVE, .region = 0, .count = 4 };
        memcpy(multi[k].data, &i, 4);
    }
    assert_true(vfuc_write_multi(c, multi, 8, i % 2) >= 0);
}

static void some_commands(struct vfuc *c, uint32_t i)
{
    (void)i;
    sending = VFU_CMD_DEVICE_GET_INFO;
    SEND(c, B4(16), B4(0), B4(0), B4(0));
    sending = VFU_CMD_DEVICE_GET_REGION_INFO;
    SEND(c, B4(32), B4(0), B4(0), B4(0), B8(0), B8(0));
    sending = VFU_CMD_DEVICE_GET_IRQ_INFO;
    SEND(c, B4(16), B4(0), B4(0), B4(0));
    sending = VFU_CMD_DEVICE_SET_IRQS;
    SEND(c, B4(20), B4(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK), B4(0), B4(0), B4(1));
    sending = VFU_CMD_DEVICE_FEATURE;
    SEND(c, B4(16), B4(VFIO_DEVICE_FEATURE_GET | 2), B8(0));
}

static void some_nonsense(struct vfuc *c, uint32_t i)
{
    sending = VFU_CMD_REGION_READ;
    SEND(c, B8(UINT64_MAX - i), B4(0), B4(4));
    sending = VFU_CMD_DMA_MAP;
    SEND(c, B4(32), B4(3), B8(0), B8(1), B8(0x1000));
    sending = VFU_CMD_DEVICE_SET_IRQS;
    SEND(c, B4(20), B4(i), B4(99), B4(0), B4(1));
    sending = (uint16_t)(300 + i % 7);
    SEND(c, B8(i));
}

/* edu's DMA of 4 KiB, to its buffer and back. */
static void some_dma(struct vfuc *c, uint32_t i)
{
    uint64_t value = 1;

    assert_int_equal(vfuc_put(c, 0, 0x80, 8, i % 2 ? 0x40000 : MEM), 0);
    assert_int_equal(vfuc_put(c, 0, 0x88, 8, i % 2 ? MEM : 0x40000), 0);
    assert_int_equal(vfuc_put(c, 0, RIG_COUNT, 8, 4096), 0);
    assert_int_equal(vfuc_put(c, 0, 0x98, 8, i % 2 ? 3 : 1), 0);
    for (int k = 0; k < 100000 && value & 1; k++)
        assert_int_equal(vfuc_get(c, 0, 0x98, 8, &value), 0);
    assert_int_equal(value & 1, 0);
}

/* A region more and a region less: what it takes is given back. */
static void some_maps(struct vfuc *c, uint32_t i)
{
    uint64_t address = 16 * MEM + (uint64_t)(i % 32) * 4096;

    assert_int_equal(vfuc_dma_map(c, address, 4096, VFUC_DMA_RW, -1, 0, NULL), 0);
    assert_int_equal(vfuc_dma_unmap(c, address, 4096), 0);
}

static void none_for(struct vfuc *c, void (*some)(struct vfuc *c, uint32_t i), uint32_t rounds, const char *what)
{
    uint64_t before;

    for (uint32_t i = 0; i < 200; i++)
        some(c, i);
    before = count->allocations;
    for (uint32_t i = 0; i < rounds; i++)
        some(c, i);
    if (count->allocations != before)
        fail_msg("%s: %llu allocations in %u rounds", what, (unsigned long long)(count->allocations - before), rounds);
}

static void nothing_for_a_message(void **state)
{
    static const uint32_t ways[] = { 0, VFUC_DMA_MESSAGES, VFUC_DMA_MESSAGES };
    uint64_t live;

    (void)state;
    if (sanitized())
        skip();
    for (uint32_t i = 0; i < 3; i++) {
        struct vfuc_options options = { .struct_size = sizeof options,
                                        .flags = VFUC_WAIT | (i == 2 ? VFUC_TWIN_SOCKET : 0) };
        struct vfuc *c = vfuc_new(&options);
        void *memory;

        start_counting("$edu", preload);
        assert_int_equal(vfuc_connect(c, rig_path(&rig, "s")), 0);
        assert_int_equal(vfuc_memory_new(c, MEM, 65536, VFUC_DMA_RW | ways[i], &memory), 0);
        none_for(c, some_dma, i ? 1000 : ROUNDS / 4, "DMA");
        if (i == 0) {
            assert_int_equal(vfuc_irq_arm(c, VFUC_INTX, 1), 0);
            none_for(c, some_reads, ROUNDS, "reads");
            none_for(c, some_writes, ROUNDS, "writes");
            none_for(c, some_commands, ROUNDS / 4, "commands");
            none_for(c, some_nonsense, ROUNDS / 4, "refusals");
            for (uint32_t k = 0; k < 64; k++)
                some_maps(c, k);
            live = count->allocations - count->frees;
            for (uint32_t k = 0; k < ROUNDS / 2; k++)
                some_maps(c, k);
            assert_int_equal(count->allocations - count->frees, live);
        }
        vfuc_free(c);
        stop_counting();
    }
}

/* Clients come and go: what one takes is given back to the byte count. */
static void nothing_stays_of_a_client(void **state)
{
    uint64_t live = 0;

    (void)state;
    if (sanitized())
        skip();
    start_counting("$edu", preload);
    for (int i = 0; i < 300; i++) {
        struct vfuc *c = rig_client(&rig, "s");
        void *memory;

        rig_alive(c);
        assert_int_equal(vfuc_memory_new(c, MEM, 65536, VFUC_DMA_RW, &memory), 0);
        assert_int_equal(vfuc_irq_arm(c, VFUC_MSI, 1), 0);
        some_dma(c, (uint32_t)i);
        some_nonsense(c, 1);
        if (i == 50)
            live = count->allocations - count->frees;
        if (i > 50)
            assert_int_equal(count->allocations - count->frees, live);
        vfuc_free(c);
    }
    stop_counting();
}

/* A plain register of a script costs no more than one in C. */
static void nothing_for_a_scripts_register(void **state)
{
    struct vfuc *c;

    (void)state;
    if (sanitized())
        skip();
    start_counting("$lua", preload);
    c = rig_client(&rig, "s");
    none_for(c, some_reads, ROUNDS, "reads of a script's registers");
    vfuc_free(c);
    stop_counting();
}

/* ---- numbers that nobody checks */

static void little_memory(struct rig *r)
{
    struct rlimit limit = { 192 << 20, 192 << 20 };

    preload(r);
    setrlimit(RLIMIT_AS, &limit);
}

/* In little address space, requests that name absurd sizes are answered, and none of them is believed. */
static void absurd_numbers(void **state)
{
    static const uint64_t numbers[] = { 0x7fffffff, 0xffffffff,         0x100000000,       0x7fffffffffffffff,
                                        UINT64_MAX, 0xfffffffffffff000 };
    struct vfuc *c;
    uint64_t largest;

    (void)state;
    if (sanitized())
        skip();
    start_counting("$edu", little_memory);
    c = rig_client(&rig, "s");
    rig_alive(c);
    largest = count->largest;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const uint64_t n = numbers[i];

        sending = VFU_CMD_REGION_READ;
        SEND(c, B8(0), B4(0), B4(n));
        sending = VFU_CMD_REGION_WRITE;
        SEND(c, B8(0), B4(0), B4(n), B8(0));
        sending = VFU_CMD_REGION_WRITE_MULTI;
        SEND(c, B8(n), B8(4), B4(0), B4(4), B8(0));
        sending = VFU_CMD_DEVICE_SET_IRQS;
        SEND(c, B4(n), B4(VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_TRIGGER), B4(1), B4(0), B4(n), B8(1));
        sending = VFU_CMD_DEVICE_GET_REGION_INFO;
        SEND(c, B4(n), B4(0), B4(0), B4(0), B8(n), B8(n));
        sending = VFU_CMD_DEVICE_GET_REGION_IO_FDS;
        SEND(c, B4(n), B4(0), B4(0), B4(n));
        sending = VFU_CMD_DMA_MAP; /* without an fd it costs nothing, whatever its size */
        SEND(c, B4(32), B4(3), B8(0), B8(0), B8(n & ~UINT64_C(4095)));
        sending = VFU_CMD_DMA_UNMAP;
        SEND(c, B4(0xffffffff), B4(1), B8(0), B8(n & ~UINT64_C(4095)), B8(4096), B8(n));
        SEND(c, B4(24), B4(2), B8(0), B8(0));
        sending = VFU_CMD_DEVICE_FEATURE; /* start, report, state */
        SEND(c, B4(n), B4(VFIO_DEVICE_FEATURE_SET | 6), B8(4096), B4(n), B4(0), B8(0), B8(n));
        SEND(c, B4(0xffffffff), B4(VFIO_DEVICE_FEATURE_SET | 6), B8(4096), B4(1), B4(0), B8(0),
             B8(n & ~UINT64_C(4095)));
        SEND(c, B4(0xffffffff), B4(VFIO_DEVICE_FEATURE_GET | 8), B8(0), B8(n & ~UINT64_C(4095)), B8(4096));
        SEND(c, B4(0xffffffff), B4(VFIO_DEVICE_FEATURE_GET | 8), B8(0), B8(4096), B8(n));
        SEND(c, B4(8), B4(VFIO_DEVICE_FEATURE_SET | 7));
        sending = VFU_CMD_DIRTY_PAGES;
        SEND(c, B4(0xffffffff), B4(4), B8(0), B8(n & ~UINT64_C(4095)), B8(4096), B8(n));
        sending = VFU_CMD_MIG_DATA_READ;
        SEND(c, B4(n), B4(n));
        sending = VFU_CMD_MIG_DATA_WRITE;
        SEND(c, B4(n), B4(n), B8(0));
        rig_alive(c);
    }
    /* Blocks of regions and of logs are a few KiB. */
    if (count->largest > largest && count->largest > 65536)
        fail_msg("an allocation of %llu bytes", (unsigned long long)count->largest);
    vfuc_free(c);
    stop_counting();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_refusal_has_its_line), cmocka_unit_test(lines_say_what_is_wrong),
        cmocka_unit_test(a_flood_makes_few_lines),   cmocka_unit_test(nothing_for_a_message),
        cmocka_unit_test(nothing_stays_of_a_client), cmocka_unit_test(nothing_for_a_scripts_register),
        cmocka_unit_test(absurd_numbers),
    };

    return cmocka_run_group_tests_name("steady", tests, NULL, NULL);
}
