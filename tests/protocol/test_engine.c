/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_engine - the protocol engine from outside: what VERSION agrees on takes effect, both directions keep moving, DMA
 * that nobody answers ends in time, memory that goes away harms nobody, and every byte may come alone. One thread.
 */
#define _GNU_SOURCE
#include "tests/robust/rig.h"

#include <errno.h>
#include <jansson.h>
#include <linux/vfio.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB 1048576u
#define MEM UINT64_C(0x100000)

/* testdev's registers: docs/testdev.md */
#define SCRATCH 0x004
#define DMA_ADDR 0x300
#define DMA_LEN 0x308
#define DMA_SEED 0x318
#define DMA_CMD 0x320
#define DMA_STATUS 0x324
#define DMA_DONE 0x328
#define WIN_OFF 0x330
#define WIN_DATA 0x338
#define BUSY 0x80000000u
enum { READ_NOW = 1, WRITE_NOW, READ, WRITE, MAP_READ, MAP_WRITE, COPY, HOLD, RELEASE };

static struct rig rig;
static char testdev[512], script[512];

/* ---- hosts and clients */

static int start_testdev(void **state)
{
    (void)state;
    rig_open(&rig);
    rig_start(&rig, "--plugin", testdev, "--socket-path", "@s", NULL);
    return 0;
}

static int start_script(void **state)
{
    (void)state;
    rig_open(&rig);
    rig_start(&rig, "--plugin", script, "--socket-path", "@s", NULL);
    return 0;
}

static int start_two(void **state)
{
    (void)state;
    rig_open(&rig);
    rig_start(&rig, "--plugin", testdev, "--socket-path", "@s", "--plugin", testdev, "--socket-path", "@t", NULL);
    return 0;
}

static int start_memory(void **state)
{
    (void)state;
    rig_open(&rig);
    rig_start(&rig, "--plugin", "$memory", "size=2M", "--socket-path", "@s", NULL);
    return 0;
}

static int stop(void **state)
{
    int status = rig_stop(&rig, SIGTERM);

    (void)state;
    rig_close(&rig);
    return status;
}

static struct vfuc *client_of(const char *socket, struct vfuc_options options)
{
    struct vfuc *c;
    int error;

    options.struct_size = sizeof options;
    options.flags |= VFUC_WAIT;
    options.timeout_ns = 10000 * RIG_MS;
    c = vfuc_new(&options);
    assert_non_null(c);
    error = vfuc_connect(c, rig_path(&rig, socket));
    if (error)
        fail_msg("%s", vfuc_error(c));
    return c;
}

static struct vfuc *client(struct vfuc_options options)
{
    return client_of("s", options);
}

static uint32_t get(struct vfuc *c, uint64_t offset)
{
    uint64_t value = 0;

    if (vfuc_get(c, VFUC_BAR(0), offset, 4, &value) < 0)
        fail_msg("%s", vfuc_error(c));
    return (uint32_t)value;
}

static void put(struct vfuc *c, uint64_t offset, uint32_t size, uint64_t value)
{
    if (vfuc_put(c, VFUC_BAR(0), offset, size, value) < 0)
        fail_msg("%s", vfuc_error(c));
}

static void command(struct vfuc *c, uint32_t what, uint64_t addr, uint64_t len)
{
    put(c, DMA_ADDR, 8, addr);
    put(c, DMA_LEN, 8, len);
    put(c, DMA_CMD, 4, what);
}

/* testdev's DMA from its start to its end, the client's messages answered meanwhile: its errno. */
static uint32_t transfer(struct vfuc *c, uint32_t what, uint64_t addr, uint64_t len)
{
    uint32_t done = get(c, DMA_DONE);

    command(c, what, addr, len);
    for (int i = 0; i < 5000 && get(c, DMA_DONE) == done; i++)
        vfuc_serve(c, RIG_MS);
    assert_int_equal(get(c, DMA_DONE), done + 1);
    return get(c, DMA_STATUS);
}

/* ---- VERSION: what is agreed on */

static const char stock[] =
    "{\"capabilities\": {\"pgsizes\": 4096, \"max_msg_fds\": 16, \"max_dma_maps\": 65535, "
    "\"max_data_xfer_size\": 1048576, "
    "\"migration\": {\"max_bitmap_size\": 268435456, \"pgsize\": 4096}, \"write_multiple\": true}}";

static json_t *agreed(const char *proposal)
{
    struct vfuc *c = client((struct vfuc_options){ .json = proposal });
    json_t *json = json_loads(vfuc_server(c)->json, 0, NULL), *caps;

    assert_non_null(json);
    assert_true(strlen(vfuc_server(c)->json) <= sizeof stock - 1);
    caps = json_incref(json_object_get(json, "capabilities"));
    assert_true(json_is_object(caps));
    json_decref(json);
    vfuc_free(c);
    return caps;
}

static json_int_t number(const json_t *object, const char *key)
{
    const json_t *item = json_object_get(object, key);

    assert_true(json_is_integer(item));
    return json_integer_value(item);
}

/* A capability list is a subset of the one proposed, but for numbers that everybody has. */
static void only_what_was_proposed(void **state)
{
    json_t *caps = agreed("{\"capabilities\":{}}");

    (void)state;
    assert_int_equal(number(caps, "max_msg_fds"), 16);
    assert_int_equal(number(caps, "max_data_xfer_size"), MIB);
    assert_int_equal(number(caps, "max_dma_maps"), 65535);
    assert_int_equal(number(caps, "pgsizes"), 4096);
    assert_int_equal(json_object_size(caps), 4);
    json_decref(caps);
    caps = agreed(stock);
    assert_true(json_is_true(json_object_get(caps, "write_multiple")));
    assert_int_equal(number(json_object_get(caps, "migration"), "pgsize"), 4096);
    assert_int_equal(number(json_object_get(caps, "migration"), "max_bitmap_size"), MIB);
    assert_null(json_object_get(caps, "twin_socket"));
    json_decref(caps);
    caps = agreed("{\"capabilities\":{\"twin_socket\":{\"supported\":false},\"write_multiple\":false,\"migration\":{"
                  "\"max_bitmap_size\":100},\"max_dma_maps\":10}}");
    assert_null(json_object_get(caps, "write_multiple"));
    assert_null(json_object_get(caps, "twin_socket"));
    assert_int_equal(number(json_object_get(caps, "migration"), "max_bitmap_size"), 100);
    assert_int_equal(number(caps, "max_dma_maps"), 10);
    json_decref(caps);
    caps = agreed("{\"capabilities\":{\"pgsizes\":2162688}}"); /* 64 KiB and 2 MiB */
    assert_int_equal(number(caps, "pgsizes"), 65536);
    json_decref(caps);
}

/* A device that cannot be migrated does not offer it. */
static void migration_only_where_it_is(void **state)
{
    static const char *const words[] = {
        "local vfu = require 'vfu'\n"
        "local d = vfu.device('plain', { pci = { vendor = 0x1234, device = 1, class = 0xff0000 } })\n"
        "d:bar(0, { size = 4096 }, { vfu.reg('A', 0, 4) })\n"
        "return d\n",
    };
    json_t *caps;

    (void)state;
    rig_open(&rig);
    rig_write(&rig, "plain.lua", words[0]);
    rig_start(&rig, "--plugin", "@plain.lua", "--deny", "migration", "--socket-path", "@s", NULL);
    caps = agreed(stock);
    assert_null(json_object_get(caps, "migration"));
    json_decref(caps);
    stop(NULL);
}

struct sizes {
    uint64_t largest, all;
    uint8_t *memory;
};

static int on_dma(void *ctx, bool write, uint64_t address, void *data, uint64_t size)
{
    struct sizes *sizes = ctx;

    if (size > sizes->largest)
        sizes->largest = size;
    sizes->all += size;
    if (write)
        memcpy(sizes->memory + (address - MEM), data, size);
    else
        memcpy(data, sizes->memory + (address - MEM), size);
    return 0;
}

/* No DMA message is larger than the client takes, nor than 64 KiB. */
static void dma_in_pieces(void **state)
{
    static const uint64_t limits[] = { 1, 1000, 65536, 65537, MIB };

    (void)state;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct vfuc *c = client((struct vfuc_options){ .max_data_xfer_size = limits[i] });
        uint64_t len = limits[i] == 1 ? 50 : 200000, most = limits[i] < 65536 ? limits[i] : 65536;
        struct sizes sizes = { .memory = calloc(1, 2 * MIB) };

        assert_int_equal(vfuc_dma_map(c, MEM, 2 * MIB, VFUC_DMA_RW, -1, 0, NULL), 0);
        vfuc_on_dma(c, on_dma, &sizes);
        assert_int_equal(transfer(c, WRITE, MEM + 5, len), 0);
        assert_int_equal(sizes.largest, most);
        assert_int_equal(sizes.all, len);
        assert_int_equal(sizes.memory[5 + 49], (49 * 7) & 0xff);
        assert_int_equal(transfer(c, READ, MEM + 5, len), 0);
        assert_int_equal(sizes.largest, most);
        assert_int_equal(sizes.all, 2 * len);
        vfuc_free(c);
        free(sizes.memory);
    }
}

static void maps_are_counted(void **state)
{
    struct vfuc *c = client((struct vfuc_options){ .max_dma_maps = 3 });

    (void)state;
    assert_int_equal(vfuc_server(c)->max_dma_maps, 3);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(vfuc_dma_map(c, i * 4096, 4096, VFUC_DMA_RW, -1, 0, NULL), 0);
    assert_int_equal(vfuc_dma_map(c, MEM, 4096, VFUC_DMA_RW, -1, 0, NULL), -ENOSPC);
    assert_true(rig_says(&rig, "DMA_MAP: address 0x100000 would be the region number 4, 3 are allowed"));
    assert_int_equal(vfuc_dma_unmap(c, 4096, 4096), 0);
    assert_int_equal(vfuc_dma_map(c, MEM, 4096, VFUC_DMA_RW, -1, 0, NULL), 0);
    vfuc_free(c);
    /* The next client has the host's own limit. */
    c = client((struct vfuc_options){ 0 });
    assert_int_equal(vfuc_server(c)->max_dma_maps, 65535);
    for (uint64_t i = 0; i < 65535; i++)
        assert_int_equal(vfuc_dma_map(c, i * 4096, 4096, VFUC_DMA_RW, -1, 0, NULL), 0);
    assert_int_equal(vfuc_dma_map(c, UINT64_C(65535) * 4096, 4096, VFUC_DMA_RW, -1, 0, NULL), -ENOSPC);
    vfuc_free(c);
}

static int ask(struct vfuc *c, uint16_t number_, const void *body, size_t size, uint8_t *reply, size_t max)
{
    struct vfuc_request request = { .command = number_, .body = body, .size = size, .reply = reply, .reply_max = max };
    int error = vfuc_request(c, &request);

    return error ? error : (int)request.reply_size;
}

static int log_start(struct vfuc *c)
{
    struct {
        uint32_t argsz, flags;
        uint64_t page_size;
        uint32_t num_ranges, reserved;
    } start = { 24, VFIO_DEVICE_FEATURE_SET | 6, 4096, 0, 0 };
    uint8_t reply[64];

    return ask(c, VFU_CMD_DEVICE_FEATURE, &start, sizeof start, reply, sizeof reply);
}

static int log_report(struct vfuc *c, uint64_t length, uint8_t *reply, size_t max)
{
    struct {
        uint32_t argsz, flags;
        uint64_t iova, length, page_size;
    } report = { 4096, VFIO_DEVICE_FEATURE_GET | 8, 0, length, 4096 };

    return ask(c, VFU_CMD_DEVICE_FEATURE, &report, sizeof report, reply, max);
}

static void bitmaps_are_limited(void **state)
{
    struct vfuc *c = client((struct vfuc_options){
        .json = "{\"capabilities\":{\"migration\":{\"pgsize\":4096,\"max_bitmap_size\":8}}}" });
    uint8_t reply[4096];

    (void)state;
    assert_int_equal(vfuc_server(c)->migration_max_bitmap_size, 8);
    assert_int_equal(log_start(c), 24);
    assert_int_equal(log_report(c, 64 * 4096, reply, sizeof reply), 32 + 8);
    assert_int_equal(log_report(c, 65 * 4096, reply, sizeof reply), -EINVAL);
    vfuc_free(c);
}

/* A client that lacks what the device needs is refused as often as it asks, and leaves nothing behind. */
static void refused_again_and_again(void **state)
{
    static const char model[] =
        "local vfu = require 'vfu'\n"
        "local d = vfu.device('needy', { pci = { vendor = 0x1234, device = 1, class = 0xff0000 },\n"
        "  needs = { 'client_write_multi' } })\n"
        "d:bar(0, { size = 4096 }, { vfu.reg('A', 0, 4) })\n"
        "return d\n";
    static const char caps[] = "\0\0\0\0{\"capabilities\":{\"twin_socket\":{\"supported\":true}}}";
    struct {
        struct vfu_msg_header header;
        char body[sizeof caps];
    } version = { .header = { 1, VFU_CMD_VERSION, sizeof version, 0, 0 } };
    int fd, idle;

    (void)state;
    memcpy(version.body, caps, sizeof caps);
    rig_open(&rig);
    rig_write(&rig, "needy.lua", model);
    rig_start(&rig, "--plugin", "@needy.lua", "--socket-path", "@s", NULL);
    fd = rig_connect(&rig, "s");
    idle = 0;
    for (int i = 0; i < 200; i++) {
        struct vfu_msg_header reply;

        rig_send(fd, &version, sizeof version);
        rig_receive(fd, &reply, sizeof reply);
        assert_int_equal(reply.error, ENOTSUP);
        assert_int_equal(reply.size, sizeof reply);
        if (i == 0)
            idle = rig_fds(&rig);
    }
    assert_int_equal(rig_fds(&rig), idle);
    assert_in_range(rig_said(&rig, "client_write_multi"), 1, 30);
    close(fd);
    stop(NULL);
}

/* Areas with too little room: what it takes, and nothing else; with room, the areas and one descriptor. */
static void sparse_areas_need_room(void **state)
{
    static const uint32_t room[] = { 32, 79, 80, 4096 };
    struct vfuc *c = client((struct vfuc_options){ 0 });
    int idle = rig_fds(&rig);

    (void)state;
    for (size_t i = 0; i < sizeof room / sizeof room[0]; i++) {
        struct vfio_region_info query = { .argsz = room[i], .index = 4 }, info;
        struct vfio_region_info_cap_sparse_mmap cap;
        uint8_t reply[256];
        int fds[4];
        struct vfuc_request request = { .command = VFU_CMD_DEVICE_GET_REGION_INFO, .body = &query, .size = sizeof query,
                                        .reply = reply, .reply_max = sizeof reply, .reply_fds = fds,
                                        .reply_fds_max = 4 };

        assert_int_equal(vfuc_request(c, &request), 0);
        memcpy(&info, reply, sizeof info);
        assert_int_equal(info.argsz, 80);
        assert_int_equal(info.flags, VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
                                     VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS);
        assert_int_equal(request.reply_nfds, room[i] >= 80);
        assert_int_equal(request.reply_size, room[i] >= 80 ? 80 : 32);
        assert_int_equal(info.cap_offset, room[i] >= 80 ? 32 : 0);
        if (room[i] < 80)
            continue;
        close(fds[0]);
        memcpy(&cap, reply + 32, sizeof cap);
        assert_int_equal(cap.header.id, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
        assert_int_equal(cap.nr_areas, 2);
    }
    assert_int_equal(rig_fds(&rig), idle);
    vfuc_free(c);
}

/* ---- both directions at a time */

struct dma_message {
    struct vfu_msg_header header;
    struct vfu_msg_dma_access access;
    uint8_t data[65536];
};

/* Starts testdev's DMA past the client library, which would take the host's request for itself. */
static void start_dma(int fd, uint32_t what, uint64_t addr, uint64_t len)
{
    const uint64_t values[] = { addr, len, what };
    static const uint64_t offsets[] = { DMA_ADDR, DMA_LEN, DMA_CMD };

    for (int i = 0; i < 3; i++) {
        uint32_t count = i < 2 ? 8 : 4;
        struct {
            struct rig_access access;
            uint32_t rest;
        } m = { .access = rig_write_of(0, offsets[i], 0, true) };

        m.access.header.size = RIG_ACCESS + count;
        m.access.access.count = count;
        memcpy((char *)&m + RIG_ACCESS, &values[i], count);
        rig_send(fd, &m, RIG_ACCESS + count);
    }
}

/* The host's next message on fd, which is a DMA request. */
static void take_request(int fd, struct dma_message *m)
{
    size_t head = sizeof m->header + sizeof m->access;

    rig_receive(fd, m, head);
    assert_int_equal(m->header.flags, 0);
    assert_true(m->header.command == VFU_CMD_DMA_READ || m->header.command == VFU_CMD_DMA_WRITE);
    if (m->header.command == VFU_CMD_DMA_WRITE)
        rig_receive(fd, m->data, m->header.size - head);
}

/* Answers it well; data of a read are all `fill`. */
static void answer_request(int fd, struct dma_message *m, uint8_t fill)
{
    size_t head = sizeof m->header + sizeof m->access;

    m->header.flags = VFU_MSG_REPLY;
    m->header.size = (uint32_t)head;
    if (m->header.command == VFU_CMD_DMA_READ) {
        memset(m->data, fill, m->access.count);
        m->header.size += (uint32_t)m->access.count;
    }
    rig_send(fd, m, m->header.size);
}

static uint32_t ask_register(int fd, uint16_t id, uint64_t offset)
{
    struct rig_access m = rig_read_of(id, offset);

    rig_send(fd, &m, RIG_ACCESS);
    rig_receive(fd, &m, sizeof m);
    assert_int_equal(m.header.id, id);
    assert_int_equal(m.header.command, VFU_CMD_REGION_READ);
    assert_int_equal(m.header.flags, VFU_MSG_REPLY);
    return m.value;
}

static uint32_t end_of_dma(int fd)
{
    for (int i = 0; i < 5000 && ask_register(fd, 9, DMA_STATUS) & BUSY; i++)
        rig_pause(1);
    return ask_register(fd, 9, DMA_STATUS);
}

/* Commands are served while the device waits for the client, on the same socket or beside it. */
static void commands_during_dma(void **state)
{
    for (uint32_t twin = 0; twin < 2; twin++) {
        struct vfuc *c = client((struct vfuc_options){ .flags = twin ? VFUC_TWIN_SOCKET : 0 });
        int fd = vfuc_fd(c), way;
        struct dma_message *m = malloc(sizeof *m);

        (void)state;
        way = twin ? vfuc_twin_fd(c) : fd;
        assert_true(way >= 0);
        assert_int_equal(vfuc_dma_map(c, MEM, MIB, VFUC_DMA_RW, -1, 0, NULL), 0);
        start_dma(fd, READ, MEM, 200000);
        for (uint32_t i = 0; i < 4; i++) {
            take_request(way, m);
            assert_int_equal(m->access.address, MEM + 65536 * i);
            assert_int_equal(m->access.count, i < 3 ? 65536 : 200000 - 3 * 65536);
            for (uint16_t k = 0; k < 50; k++)
                assert_int_equal(ask_register(fd, (uint16_t)(1000 + k), 0), 0x31564454);
            assert_true(ask_register(fd, 7, DMA_STATUS) & BUSY);
            answer_request(way, m, 0x5a);
        }
        assert_int_equal(end_of_dma(fd), 0);
        vfuc_free(c);
        free(m);
    }
}

/* 5 s each if one waited for the other: both limits run at once, in two devices. */
static void dma_that_nobody_answers(void **state)
{
    struct vfuc *c[2] = { client_of("s", (struct vfuc_options){ 0 }),
                          client_of("t", (struct vfuc_options){ .flags = VFUC_TWIN_SOCKET }) };
    struct dma_message *m[2] = { malloc(sizeof **m), malloc(sizeof **m) };
    int fd[2] = { vfuc_fd(c[0]), vfuc_fd(c[1]) }, way[2] = { fd[0], vfuc_twin_fd(c[1]) };
    uint64_t begin = rig_now();

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(vfuc_dma_map(c[i], MEM, MIB, VFUC_DMA_RW, -1, 0, NULL), 0);
        start_dma(fd[i], i ? WRITE : READ, MEM, 100);
        take_request(way[i], m[i]);
    }
    for (int i = 0; i < 2; i++) {
        while (ask_register(fd[i], 1, DMA_STATUS) & BUSY && rig_now() - begin < 8000 * RIG_MS)
            rig_pause(20);
        assert_true(rig_now() - begin > 4900 * RIG_MS && rig_now() - begin < 6500 * RIG_MS);
        assert_int_equal(ask_register(fd[i], 1, DMA_STATUS), ETIMEDOUT);
        /* The answer that comes now is known, and dropped; one that comes twice is not. */
        answer_request(way[i], m[i], 1);
        assert_int_equal(ask_register(fd[i], 2, 0), 0x31564454);
        answer_request(way[i], m[i], 1);
        rig_receive(way[i], &m[i]->header, sizeof m[i]->header);
        assert_int_equal(m[i]->header.error, EINVAL);
        start_dma(fd[i], READ, MEM, 100);
        take_request(way[i], m[i]);
        answer_request(way[i], m[i], 1);
        assert_int_equal(end_of_dma(fd[i]), 0);
        vfuc_free(c[i]);
        free(m[i]);
    }
    assert_true(rig_says(&rig, "DMA_READ of 100 bytes at 0x100000: no reply from the client in 5 s"));
    assert_true(rig_says(&rig, "DMA_WRITE of 100 bytes at 0x100000: no reply from the client in 5 s"));
}

/* A twin socket that closes, or carries what is no reply, costs message DMA and nothing else. */
static void twin_is_lost(void **state)
{
    int idle;
    struct vfuc *c = client((struct vfuc_options){ 0 });

    (void)state;
    vfuc_free(c);
    c = client((struct vfuc_options){ 0 });
    idle = rig_fds(&rig);
    vfuc_free(c);
    for (int how = 0; how < 2; how++) {
        struct dma_message *m = calloc(1, sizeof *m);
        void *memory;
        int fd;

        c = client((struct vfuc_options){ .flags = VFUC_TWIN_SOCKET });
        fd = vfuc_fd(c);
        assert_int_equal(vfuc_dma_map(c, MEM, MIB, VFUC_DMA_RW, -1, 0, NULL), 0);
        assert_int_equal(vfuc_memory_new(c, 2 * MEM, 65536, VFUC_DMA_RW, &memory), 0);
        start_dma(fd, READ, MEM, 100);
        take_request(vfuc_twin_fd(c), m);
        if (how) { /* a size that cannot be */
            m->header.size = 3;
            rig_send(vfuc_twin_fd(c), m, sizeof m->header);
        } else {
            shutdown(vfuc_twin_fd(c), SHUT_RDWR);
        }
        assert_int_equal(end_of_dma(fd), EFAULT);
        start_dma(fd, READ, MEM, 100);
        assert_int_equal(end_of_dma(fd), EFAULT);
        start_dma(fd, WRITE, 2 * MEM, 4096);
        assert_int_equal(end_of_dma(fd), 0);
        assert_int_equal(((uint8_t *)memory)[100], 100 * 7 & 0xff);
        assert_true(rig_says(&rig, how ? "the twin socket carries garbage" : "the twin socket is closed"));
        assert_int_equal(rig_fds(&rig), idle);
        vfuc_free(c);
        free(m);
    }
}

/* Commands do not belong there, and replies do not belong on the main socket; a flood of them starves nobody. */
static void twin_misused(void **state)
{
    struct vfuc *c = client((struct vfuc_options){ .flags = VFUC_TWIN_SOCKET });
    struct rig_access read = rig_read_of(3, 0), flood[512];
    struct vfu_msg_header reply = { 4, VFU_CMD_DMA_READ, sizeof reply, VFU_MSG_REPLY, 0 };
    int twin = vfuc_twin_fd(c), fd = vfuc_fd(c), sent = 0;

    (void)state;
    rig_send(twin, &read, RIG_ACCESS);
    rig_receive(twin, &read.header, sizeof read.header);
    assert_int_equal(read.header.id, 3);
    assert_int_equal(read.header.error, EINVAL);
    assert_true(rig_says(&rig, "REGION_READ: a command came on the twin socket"));
    rig_send(fd, &reply, sizeof reply);
    rig_receive(fd, &reply, sizeof reply);
    assert_int_equal(reply.id, 4);
    assert_int_equal(reply.error, EINVAL);
    assert_true(rig_says(&rig, "DMA_READ: a reply (id 4) came on the main socket"));
    for (size_t i = 0; i < 512; i++)
        flood[i] = rig_read_of((uint16_t)i, 0);
    for (int i = 0; i < 500; i++) {
        sent += send(twin, flood, sizeof flood / sizeof flood[0] * RIG_ACCESS, MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
        assert_int_equal(ask_register(fd, (uint16_t)i, 0), 0x31564454);
    }
    assert_true(sent > 10);
    vfuc_free(c);
}

/* ---- memory that goes away under the device */

static void sigbus(void)
{
    static const uint32_t ways[] = { READ_NOW, WRITE_NOW, READ, WRITE, MAP_READ, MAP_WRITE };
    struct vfuc *c = client((struct vfuc_options){ 0 });
    int fd = memfd_create("gone", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, 65536), 0);
    assert_int_equal(vfuc_dma_map(c, MEM, 65536, VFUC_DMA_RW, fd, 0, NULL), 0);
    assert_int_equal(transfer(c, WRITE_NOW, MEM, 65536), 0);
    assert_int_equal(transfer(c, HOLD, MEM, 65536), 0);
    put(c, WIN_OFF, 8, 32768);
    put(c, WIN_DATA, 4, 0x12345678);
    assert_int_equal(get(c, WIN_DATA), 0x12345678);
    assert_int_equal(ftruncate(fd, 4096), 0);
    assert_int_equal(get(c, WIN_DATA), 0xffffffff);
    put(c, WIN_DATA, 4, 1);
    assert_int_equal(transfer(c, RELEASE, 0, 0), 0);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        assert_int_equal(transfer(c, ways[i], MEM, 4096), 0);
        assert_int_equal(transfer(c, ways[i], MEM + 60, 8192), EFAULT);
        assert_int_equal(transfer(c, ways[i], MEM + 40000, 4), EFAULT);
    }
    assert_true(rig_says(&rig, "guest error: DMA read of 8192 bytes at 0x10003c"));
    assert_true(rig_says(&rig, "guest error: DMA write of 8192 bytes at 0x10003c"));
    assert_true(rig_says(&rig, "guest error: a window of 65536 bytes at 0x100000"));
    /* Once it is there again, it works when it is mapped anew. */
    assert_int_equal(ftruncate(fd, 65536), 0);
    assert_int_equal(vfuc_dma_unmap(c, MEM, 65536), 0);
    assert_int_equal(vfuc_dma_map(c, MEM, 65536, VFUC_DMA_RW, fd, 0, NULL), 0);
    assert_int_equal(transfer(c, MAP_READ, MEM, 65536), 0);
    assert_int_equal(get(c, 0), 0x31564454);
    close(fd);
    vfuc_free(c);
}

static void sigbus_in_c(void **state)
{
    (void)state;
    sigbus();
}

static void sigbus_in_lua(void **state)
{
    (void)state;
    sigbus();
}

/* ---- the largest messages, slowly */

static void pattern(uint8_t *bytes, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(seed + i * 7 + (i >> 11));
}

static void send_slowly(int fd, const uint8_t *bytes, size_t n)
{
    size_t single = n < 40000 ? n : 40000;

    for (size_t at = 0; at < single; at++)
        rig_send(fd, bytes + at, 1);
    for (size_t at = single, piece = 1; at < n; at += piece, piece = piece * 3 % 70001 + 1)
        rig_send(fd, bytes + at, n - at < piece ? n - at : piece);
}

static void receive_slowly(int fd, uint8_t *bytes, size_t n)
{
    size_t single = n < 40000 ? n : 40000;

    for (size_t at = 0; at < single; at++)
        rig_receive(fd, bytes + at, 1);
    for (size_t at = single, piece = 1; at < n; at += piece, piece = piece * 3 % 70001 + 1)
        rig_receive(fd, bytes + at, n - at < piece ? n - at : piece);
}

static void a_mib_in_dribbles(void **state)
{
    static uint8_t message[MIB + 64], back[MIB + 64];
    int fd = rig_connect(&rig, "s");

    (void)state;
    rig_negotiate(fd);
    for (uint32_t round = 0; round < 3; round++) {
        struct rig_access head = { { 5, VFU_CMD_REGION_WRITE, RIG_ACCESS + MIB, 0, 0 }, { 4096 * round, 0, MIB }, 0 };

        memcpy(message, &head, RIG_ACCESS);
        pattern(message + RIG_ACCESS, MIB, round);
        if (round == 1)
            rig_send(fd, message, RIG_ACCESS + MIB);
        else
            send_slowly(fd, message, RIG_ACCESS + MIB);
        rig_receive(fd, back, RIG_ACCESS);
        memcpy(&head, back, RIG_ACCESS);
        assert_int_equal(head.header.flags, VFU_MSG_REPLY);
        assert_int_equal(head.header.size, RIG_ACCESS);
        head.header = (struct vfu_msg_header){ 6, VFU_CMD_REGION_READ, RIG_ACCESS, 0, 0 };
        send_slowly(fd, (uint8_t *)&head, RIG_ACCESS);
        receive_slowly(fd, back, RIG_ACCESS + MIB);
        assert_memory_equal(back + RIG_ACCESS, message + RIG_ACCESS, MIB);
    }
    close(fd);
}

/* One byte above the maximum is refused however it comes, and the message behind it is answered. */
static void more_than_a_mib(void **state)
{
    static uint8_t message[MIB + 64];
    int fd = rig_connect(&rig, "s");

    (void)state;
    rig_negotiate(fd);
    for (int slow = 0; slow < 2; slow++) {
        struct rig_access head = { { 5, VFU_CMD_REGION_WRITE, RIG_ACCESS + MIB + 1, 0, 0 }, { 0, 0, MIB + 1 }, 0 };

        memcpy(message, &head, RIG_ACCESS);
        memset(message + RIG_ACCESS, 0x77, MIB + 1);
        if (slow)
            send_slowly(fd, message, RIG_ACCESS + MIB + 1);
        else
            rig_send(fd, message, RIG_ACCESS + MIB + 1);
        rig_receive(fd, &head.header, sizeof head.header);
        assert_int_equal(head.header.id, 5);
        assert_int_equal(head.header.error, EINVAL);
        assert_int_equal(ask_register(fd, 8, 0), 0);
    }
    close(fd);
}

int main(void)
{
    const char *build = getenv("VFU_BUILDDIR"), *source = getenv("VFU_SRCDIR");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_what_was_proposed, start_testdev, stop),
        cmocka_unit_test(migration_only_where_it_is),
        cmocka_unit_test_setup_teardown(dma_in_pieces, start_testdev, stop),
        cmocka_unit_test_setup_teardown(maps_are_counted, start_testdev, stop),
        cmocka_unit_test_setup_teardown(bitmaps_are_limited, start_testdev, stop),
        cmocka_unit_test(refused_again_and_again),
        cmocka_unit_test_setup_teardown(sparse_areas_need_room, start_testdev, stop),
        cmocka_unit_test_setup_teardown(commands_during_dma, start_testdev, stop),
        cmocka_unit_test_setup_teardown(dma_that_nobody_answers, start_two, stop),
        cmocka_unit_test_setup_teardown(twin_is_lost, start_testdev, stop),
        cmocka_unit_test_setup_teardown(twin_misused, start_testdev, stop),
        cmocka_unit_test_setup_teardown(sigbus_in_c, start_testdev, stop),
        cmocka_unit_test_setup_teardown(sigbus_in_lua, start_script, stop),
        cmocka_unit_test_setup_teardown(a_mib_in_dribbles, start_memory, stop),
        cmocka_unit_test_setup_teardown(more_than_a_mib, start_memory, stop),
    };

    snprintf(testdev, sizeof testdev, "%s/plugins/testdev/.libs/testdev.so", build ? build : ".");
    snprintf(script, sizeof script, "%s/examples/testdev.lua", source ? source : ".");
    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
