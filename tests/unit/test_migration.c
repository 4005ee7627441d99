/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/migration, core/image and device_freeze with plugins of the build tree: every pair of states, a
 * device that is stopped in the middle of things, states moved between two devices, and images from somebody hostile.
 * One thread.
 */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <vfu/protocol.h>

#include "core/device/device.h"
#include "core/device/image.h"

#define LIVE 0x04
#define FACT 0x08
#define STATUS 0x20
#define IRQ 0x24
#define RAISE 0x60
#define SRC 0x80
#define DST 0x88
#define COUNT 0x90
#define CMD 0x98
#define BUFFER UINT64_C(0x40000)
#define GUEST UINT64_C(0x10000)

static struct device *dev, *other;
static struct transport out;
static int peer = -1;

/* ---- help ---- */

static struct device *new_device_of(const char *name)
{
    const char *dir = getenv("VFU_BUILDDIR");
    struct device_options options = { .max_dma_maps = 64 };
    char path[PATH_MAX];
    struct device *made = NULL;

    snprintf(path, sizeof path, "%s/plugins/%s/.libs/%s.so", dir ? dir : ".", name, name);
    options.spec = path;
    assert_int_equal(device_new(&made, &options), 0);
    return made;
}

static struct device *new_device(void)
{
    return new_device_of("edu");
}

static void kick(void *ctx)
{
    (void)ctx;
    transport_flush(&out);
}

/* A client whose end of the socket is `peer`. */
static void attach(struct device *d)
{
    struct vfu_client client = { .struct_size = sizeof client, .max_data_xfer_size = 1048576, .max_msg_fds = 8 };
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(transport_open(&out, pair[0]), 0);
    peer = pair[1];
    assert_int_equal(device_attach(d, &client, &out, kick, NULL), 0);
}

static int setup(void **state)
{
    (void)state;
    dev = new_device();
    other = new_device();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    device_free(dev);
    device_free(other);
    if (peer >= 0) {
        transport_close(&out);
        close(peer);
    }
    peer = -1;
    log_threshold = LOG_INFO;
    return 0;
}

static uint64_t get(struct device *d, uint64_t offset)
{
    uint64_t value = 0;

    assert_int_equal(device_read(d, 0, offset, offset >= SRC ? 8 : 4, (uint8_t *)&value), 0);
    return value;
}

static void put(struct device *d, uint64_t offset, uint64_t value)
{
    assert_int_equal(device_write(d, 0, offset, offset >= SRC ? 8 : 4, (uint8_t *)&value), 0);
}

struct stopper {
    struct loop_timer timer; /* first */
    struct loop *loop;
};

static void stop_loop(struct loop_timer *timer)
{
    loop_stop(((struct stopper *)timer)->loop);
}

/* Runs the device's loop for a while. */
static void run(struct device *d, uint64_t ns)
{
    struct stopper stopper = { .timer.fn = stop_loop, .loop = &d->loop };

    d->loop.stopping = false;
    assert_int_equal(loop_arm(&d->loop, &stopper.timer, loop_now() + ns), 0);
    loop_run(&d->loop);
}

#define MS UINT64_C(1000000)

static int go(struct device *d, uint32_t state)
{
    return migration_set(d, state);
}

/* All of the image, in pieces. */
static struct image read_image(struct device *d)
{
    struct image image = { 0 };
    uint8_t piece[1000];
    int64_t n;

    assert_int_equal(d->migration.state, MIGRATION_STOP_COPY);
    while ((n = migration_read(d, piece, sizeof piece)) > 0)
        assert_int_equal(image_append(&image, piece, (uint64_t)n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(migration_read(d, piece, 1), 0);
    return image;
}

static struct image save(struct device *d)
{
    assert_int_equal(go(d, MIGRATION_STOP_COPY), 0);
    return read_image(d);
}

/* As a client does it. */
static int load(struct device *d, const uint8_t *data, uint64_t size, uint32_t then)
{
    assert_int_equal(go(d, MIGRATION_RESUMING), 0);
    for (uint64_t at = 0; at < size; at += 777)
        assert_int_equal(migration_write(d, data + at, (uint32_t)(size - at < 777 ? size - at : 777)), 0);
    return go(d, then);
}

static void move(void)
{
    struct image image = save(dev);

    assert_int_equal(load(other, image.data, image.size, MIGRATION_STOP), 0);
    image_free(&image);
}

/* ---- states ---- */

/* What the specification says of each pair, written out: 1 goes, 0 does not. */
static void test_pairs(void **state)
{
    static const uint8_t goes[8][8] = {
        /* to:         ERR STOP RUN SCPY RES P2P PRE PREP2P */
        /* ERROR */     { 0, 0, 0, 0, 0, 0, 0, 0 },
        /* STOP */      { 0, 1, 1, 1, 1, 0, 1, 0 },
        /* RUNNING */   { 0, 1, 1, 1, 1, 0, 1, 0 },
        /* STOP_COPY */ { 0, 1, 1, 1, 1, 0, 0, 0 },
        /* RESUMING */  { 0, 1, 1, 1, 1, 0, 1, 0 },
        /* P2P: it cannot be in it */ { 0 },
        /* PRE_COPY */  { 0, 1, 1, 1, 1, 0, 1, 0 },
        { 0 },
    };

    (void)state;
    for (uint32_t from = 0; from < 7; from++) {
        if (from == MIGRATION_RUNNING_P2P)
            continue;
        for (uint32_t to = 0; to < 10; to++) {
            bool may = to < 8 && goes[from][to];

            assert_int_equal(device_reset(dev, VFU_RESET_BUS), 0);
            assert_int_equal(dev->migration.state, MIGRATION_RUNNING);
            if (from == MIGRATION_ERROR) {
                assert_int_equal(go(dev, MIGRATION_STOP), 0);
                dev->migration.state = MIGRATION_ERROR;
            } else {
                assert_int_equal(go(dev, from), 0);
            }
            assert_int_equal(go(dev, to), may ? 0 : -EINVAL);
            assert_int_equal(dev->migration.state, may ? to : from);
            assert_int_equal(dev->stopped, migration_stops(dev->migration.state));
            /* An image is there in STOP_COPY and nowhere else. */
            assert_int_equal(dev->migration.data.size > 0, dev->migration.state == MIGRATION_STOP_COPY);
        }
    }
    assert_int_equal(go(dev, UINT32_MAX), -EINVAL);
}

static void test_data_only_where_it_goes(void **state)
{
    uint8_t bytes[16] = { 0 };

    (void)state;
    for (uint32_t at = 1; at < 7; at++) {
        if (at == MIGRATION_RUNNING_P2P)
            continue;
        assert_int_equal(go(dev, MIGRATION_RUNNING), 0);
        assert_int_equal(go(dev, at), 0);
        assert_int_equal(migration_read(dev, bytes, sizeof bytes),
                         at == MIGRATION_STOP_COPY ? 16 : at == MIGRATION_PRE_COPY ? 0 : -EINVAL);
        assert_int_equal(migration_write(dev, bytes, sizeof bytes), at == MIGRATION_RESUMING ? 0 : -EINVAL);
        if (at == MIGRATION_RESUMING)
            assert_int_equal(device_reset(dev, VFU_RESET_BUS), 0);
    }
}

/* ---- stopped ---- */

static void test_timers_stand_still(void **state)
{
    (void)state;
    put(dev, FACT, 5);
    assert_int_equal(go(dev, MIGRATION_STOP), 0);
    run(dev, 3 * MS);
    assert_int_equal(get(dev, STATUS), 1);
    assert_int_equal(get(dev, FACT), 5);
    assert_int_equal(go(dev, MIGRATION_RUNNING), 0);
    run(dev, 3 * MS);
    assert_int_equal(get(dev, STATUS), 0);
    assert_int_equal(get(dev, FACT), 120);
}

static void test_accesses_when_stopped(void **state)
{
    uint32_t value = 0x55;
    uint16_t command = 0x406;

    (void)state;
    put(dev, LIVE, 0x1234);
    assert_int_equal(go(dev, MIGRATION_PRE_COPY), 0);
    put(dev, LIVE, 0x5678);
    assert_int_equal(get(dev, LIVE), (uint32_t)~0x5678);
    assert_int_equal(go(dev, MIGRATION_STOP_COPY), 0);
    assert_int_equal(get(dev, LIVE), (uint32_t)~0x5678);
    assert_int_equal(device_write(dev, 0, LIVE, 4, (uint8_t *)&value), -EBUSY);
    assert_int_equal(device_write(dev, VFU_REGION_CONFIG, 4, 2, (uint8_t *)&command), 0);
    assert_int_equal(device_read(dev, VFU_REGION_CONFIG, 4, 4, (uint8_t *)&value), 0);
    assert_int_equal(value & 0xffff, 0x406);
    assert_int_equal(go(dev, MIGRATION_RUNNING), 0);
    put(dev, LIVE, 0);
    assert_int_equal(get(dev, LIVE), UINT32_MAX);
}

static void test_no_interrupts_when_stopped(void **state)
{
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct vfio_irq_set set = {
        .argsz = sizeof set,
        .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
        .index = VFIO_PCI_MSI_IRQ_INDEX,
        .count = 1,
    };
    uint64_t count;
    int fd = dup(event);

    (void)state;
    assert_int_equal(irq_set(dev->irq, &set, NULL, 0, &fd, 1), 0);
    assert_int_equal(go(dev, MIGRATION_STOP), 0);
    assert_int_equal(irq_raise(dev->irq, 0), VFU_IRQ_PENDING);
    assert_int_equal(read(event, &count, sizeof count), -1);
    assert_int_equal(go(dev, MIGRATION_RUNNING), 0);
    assert_int_equal(read(event, &count, sizeof count), sizeof count);
    assert_int_equal(count, 1);
    close(event);
}

static void test_reset_leads_back(void **state)
{
    (void)state;
    for (uint32_t at = 0; at < 7; at++) {
        put(dev, LIVE, 1);
        if (at == MIGRATION_RUNNING_P2P)
            continue;
        assert_int_equal(go(dev, at ? at : MIGRATION_STOP), 0);
        dev->migration.state = at;
        assert_int_equal(device_reset(dev, VFU_RESET_BUS), 0);
        assert_int_equal(dev->migration.state, MIGRATION_RUNNING);
        assert_int_equal(dev->migration.data.size, 0);
        assert_false(dev->stopped);
        assert_int_equal(get(dev, LIVE), 0);
    }
}

/* A guest resets the function while its memory is on its way: what the client has begun goes on. */
static void test_function_level_reset(void **state)
{
    (void)state;
    assert_int_equal(go(dev, MIGRATION_PRE_COPY), 0);
    assert_int_equal(device_reset(dev, VFU_RESET_FLR), 0);
    assert_int_equal(dev->migration.state, MIGRATION_PRE_COPY);
    assert_int_equal(go(dev, MIGRATION_STOP), 0);
    assert_int_equal(device_reset(dev, VFU_RESET_FLR), 0);
    assert_int_equal(dev->migration.state, MIGRATION_RUNNING);
    assert_false(dev->stopped);
}

static void test_next_client(void **state)
{
    (void)state;
    attach(dev);
    put(dev, LIVE, 0x77);
    assert_int_equal(device_log_start(dev, 4096, NULL, 0), 0);
    assert_int_equal(go(dev, MIGRATION_STOP), 0);
    put(other, LIVE, 1); /* nothing to do with it */
    device_detach(dev);
    assert_int_equal(dev->migration.state, MIGRATION_RUNNING);
    assert_false(dev->stopped);
    assert_false(dirty_active(dev->dirty));
    assert_int_equal(get(dev, LIVE), (uint32_t)~0x77);
    put(dev, FACT, 4);
    run(dev, 3 * MS);
    assert_int_equal(get(dev, FACT), 24);
}

/* Deferred work belongs to what was answered, so it is done before the device stands still; later work waits. */
static int worked;

static void work(void *arg)
{
    worked++;
    if (arg)
        dev->host->table.defer(&dev->host->table, work, NULL);
}

static void test_deferred_work(void **state)
{
    const struct vfu_host *host = &dev->host->table;

    (void)state;
    worked = 0;
    assert_int_equal(host->defer(host, work, dev), 0);
    assert_int_equal(go(dev, MIGRATION_STOP), 0);
    assert_int_equal(worked, 2);
    assert_int_equal(host->defer(host, work, NULL), 0);
    run(dev, MS);
    assert_int_equal(worked, 2);
    assert_int_equal(go(dev, MIGRATION_RUNNING), 0);
    run(dev, MS);
    assert_int_equal(worked, 3);
}

/* ---- from one device to another ---- */

static void test_move(void **state)
{
    struct image first, second;
    uint64_t fields[] = { LIVE, FACT, STATUS, IRQ, SRC, DST, COUNT, CMD };

    (void)state;
    put(dev, LIVE, 0xcafe);
    put(dev, STATUS, 0x80);
    put(dev, RAISE, 0x30);
    put(dev, SRC, GUEST);
    put(dev, DST, BUFFER);
    put(dev, COUNT, 100);
    put(dev, FACT, 6);
    first = save(dev);
    assert_int_equal(load(other, first.data, first.size, MIGRATION_STOP), 0);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        assert_int_equal(get(other, fields[i]), get(dev, fields[i]));
    assert_int_equal(get(other, STATUS), 0x81);
    assert_true(irq_asserted(other->irq));
    /* Nothing was lost: it gives the same image again. */
    assert_int_equal(go(other, MIGRATION_STOP_COPY), 0);
    second = read_image(other);
    assert_int_equal(second.size, first.size);
    assert_memory_equal(second.data, first.data, first.size);
    assert_int_equal(go(other, MIGRATION_RUNNING), 0);
    run(other, 3 * MS);
    assert_int_equal(get(other, FACT), 720);
    assert_int_equal(get(other, IRQ), 0x31);
    /* The source may go on as well. */
    assert_int_equal(go(dev, MIGRATION_RUNNING), 0);
    run(dev, 3 * MS);
    assert_int_equal(get(dev, FACT), 720);
    image_free(&first);
    image_free(&second);
}

/* Config space, and the line that it keeps low. */
static void test_move_config(void **state)
{
    uint16_t command = 0x406, seen;

    (void)state;
    assert_int_equal(device_write(dev, VFU_REGION_CONFIG, 4, 2, (uint8_t *)&command), 0);
    put(dev, RAISE, 1);
    move();
    assert_int_equal(device_read(other, VFU_REGION_CONFIG, 4, 2, (uint8_t *)&seen), 0);
    assert_int_equal(seen, command);
    assert_int_equal(go(other, MIGRATION_RUNNING), 0);
    assert_true(irq_asserted(other->irq));
}

static void reply(uint16_t id, const uint8_t *data, uint32_t n)
{
    uint8_t body[sizeof(struct vfu_msg_dma_access) + 4096];
    struct vfu_msg_dma_access access = { .address = GUEST, .count = n };
    struct message m = {
        .header = { .id = id, .command = VFU_CMD_DMA_READ, .size = (uint32_t)(16 + sizeof access + n), .flags = 1 },
        .body = body,
        .size = (uint32_t)sizeof access + n,
    };

    memcpy(body, &access, sizeof access);
    memcpy(body + sizeof access, data, n);
    assert_int_equal(transfer_reply(&dev->transfer, &m), 0);
}

/* A DMA by message, asked for and not answered: the client has it in hand when the device stops. */
static void start_message_dma(void)
{
    uint8_t seen[64];

    attach(dev);
    assert_int_equal(dma_map(dev->dma, GUEST, 0x1000, VFU_DMA_MAP_READABLE | VFU_DMA_MAP_WRITEABLE, -1, 0), 0);
    put(dev, SRC, GUEST);
    put(dev, DST, BUFFER);
    put(dev, COUNT, 64);
    put(dev, CMD, 1);
    run(dev, 5 * MS);
    assert_int_equal(recv(peer, seen, sizeof seen, MSG_DONTWAIT), 32);
    assert_int_equal(dev->transfer.inflight, 64);
}

/* Reads the device's buffer back through a mapping of its own. */
static void check_buffer(struct device *d, const uint8_t *expected, uint32_t n)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    uint8_t seen[4096];

    assert_int_equal(ftruncate(fd, 0x1000), 0);
    assert_int_equal(dma_map(d->dma, 0x80000, 0x1000, VFU_DMA_MAP_READABLE | VFU_DMA_MAP_WRITEABLE, fd, 0), 0);
    put(d, SRC, BUFFER);
    put(d, DST, 0x80000);
    put(d, COUNT, n);
    put(d, CMD, 3);
    run(d, 5 * MS);
    assert_int_equal(get(d, CMD), 2);
    assert_int_equal(pread(fd, seen, n, 0), n);
    assert_memory_equal(seen, expected, n);
    close(fd);
}

static void test_reply_is_kept(void **state)
{
    uint8_t data[64];

    (void)state;
    memset(data, 0xa5, sizeof data);
    start_message_dma();
    assert_int_equal(go(dev, MIGRATION_STOP), 0);
    reply(dev->transfer.flights[0].id, data, sizeof data);
    run(dev, MS);
    assert_int_equal(get(dev, CMD), 1);
    assert_int_equal(dev->transfer.nops, 1);
    assert_int_equal(go(dev, MIGRATION_RUNNING), 0);
    run(dev, MS);
    assert_int_equal(get(dev, CMD), 0);
    check_buffer(dev, data, sizeof data);
}

/* An error reply ends the operation, but the model hears of it only when it runs. */
static void test_failure_is_kept(void **state)
{
    struct message m = { .header = { .command = VFU_CMD_DMA_READ, .size = 16, .flags = 0x21, .error = EFAULT } };

    (void)state;
    start_message_dma();
    assert_int_equal(go(dev, MIGRATION_STOP), 0);
    m.header.id = dev->transfer.flights[0].id;
    log_threshold = -1;
    assert_int_equal(transfer_reply(&dev->transfer, &m), 0);
    run(dev, MS);
    assert_int_equal(get(dev, CMD), 1);
    assert_int_equal(go(dev, MIGRATION_RUNNING), 0);
    run(dev, MS);
    assert_int_equal(get(dev, CMD), 0);
    assert_int_equal(dev->transfer.nops, 0);
}

static void test_move_during_dma(void **state)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    uint8_t data[64];

    (void)state;
    memset(data, 0x5a, sizeof data);
    assert_int_equal(ftruncate(fd, 0x1000), 0);
    assert_int_equal(pwrite(fd, data, sizeof data, 0), sizeof data);
    start_message_dma();
    move();
    /* The client goes from here to there. */
    device_detach(dev);
    transport_close(&out);
    close(peer);
    attach(other);
    assert_int_equal(dma_map(other->dma, GUEST, 0x1000, VFU_DMA_MAP_READABLE, fd, 0), 0);
    run(other, MS);
    assert_int_equal(get(other, CMD), 1);
    assert_int_equal(go(other, MIGRATION_RUNNING), 0);
    run(other, 5 * MS);
    assert_int_equal(get(other, CMD), 0);
    check_buffer(other, data, sizeof data);
    close(fd);
}

/* Memory BARs, with a file and without, which edu has not: put in by hand. */
static void add_memory(struct device *d)
{
    const struct vfu_bar plain = { .index = 2, .size = 1 << 21, .flags = VFU_BAR_RAM };
    const struct vfu_bar shared = { .index = 3, .size = 1 << 23, .flags = VFU_BAR_RAM | VFU_BAR_MMAP };

    assert_int_equal(region_init(&d->regions[2], d->name, &plain, d->map), 0);
    assert_int_equal(region_init(&d->regions[3], d->name, &shared, d->map), 0);
}

static void test_move_memory(void **state)
{
    static const uint64_t places[] = { 0, 4095, 4096, 3 << 12, (1 << 20) - 1, 1 << 20, (1 << 21) - 1 };
    struct image image;

    (void)state;
    add_memory(dev);
    add_memory(other);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        dev->regions[2].memory[places[i]] = (uint8_t)(i + 1);
        dev->regions[3].memory[4 * places[i]] = (uint8_t)(i + 101);
    }
    memset(dev->regions[3].memory + (5 << 20), 0xee, 3 << 20);
    memset(other->regions[2].memory, 0xff, 1 << 21); /* what is not in the image is zero */
    memset(other->regions[3].memory, 0xff, 1 << 23);
    image = save(dev);
    assert_true(image.size > 3 << 20 && image.size < 4 << 20);
    assert_true(image.size <= image_limit(dev));
    assert_int_equal(load(other, image.data, image.size, MIGRATION_STOP), 0);
    assert_memory_equal(dev->regions[2].memory, other->regions[2].memory, 1 << 21);
    assert_memory_equal(dev->regions[3].memory, other->regions[3].memory, 1 << 23);
    image_free(&image);
}

/* A device with one of everything gives the same image again. */
static void test_move_testdev(void **state)
{
    struct device *from = new_device_of("testdev"), *to = new_device_of("testdev");
    struct image first, second;
    uint32_t value;

    (void)state;
    for (uint64_t offset = 0; offset < 0x1000; offset += 4) {
        value = (uint32_t)offset * 0x01010101u + 0x5a;
        device_write(from, 0, offset, 4, (uint8_t *)&value);
    }
    for (uint32_t bar = 0; bar <= VFU_REGION_BAR5; bar++) {
        if (from->regions[bar].memory)
            memset(from->regions[bar].memory + 0x2000, 0x42, 0x1800);
    }
    run(from, MS);
    first = save(from);
    assert_int_equal(load(to, first.data, first.size, MIGRATION_STOP_COPY), 0);
    second = read_image(to);
    assert_int_equal(second.size, first.size);
    assert_memory_equal(second.data, first.data, first.size);
    image_free(&first);
    image_free(&second);
    device_free(from);
    device_free(to);
}

/* What a guest has rung before the device stops has been heard; what is rung later is heard when it runs. */
static void test_doorbells(void **state)
{
    struct device *d = new_device_of("testdev");
    struct ioevent_offer offer;
    uint8_t bytes[48 * VFU_DOORBELLS_MAX];
    uint32_t rings = 0;
    int fds[TRANSPORT_FDS];

    (void)state;
    attach(d);
    ioevent_plan(&d->ioevent, 0, TRANSPORT_FDS, &offer);
    assert_true(offer.n > 0);
    assert_int_equal(ioevent_give(&d->ioevent, &offer, bytes, fds), 0);
    assert_int_equal(offer.bells[0].bell, 0);
    assert_int_equal(eventfd_write(fds[offer.bells[0].fd], 1), 0);
    assert_int_equal(go(d, MIGRATION_STOP), 0);
    assert_int_equal(device_read(d, 0, 0x1080, 4, (uint8_t *)&rings), 0);
    assert_int_equal(rings, 1);
    assert_int_equal(eventfd_write(fds[offer.bells[0].fd], 1), 0);
    run(d, MS);
    assert_int_equal(device_read(d, 0, 0x1080, 4, (uint8_t *)&rings), 0);
    assert_int_equal(rings, 1);
    assert_int_equal(go(d, MIGRATION_RUNNING), 0);
    run(d, MS);
    assert_int_equal(device_read(d, 0, 0x1080, 4, (uint8_t *)&rings), 0);
    assert_int_equal(rings, 2);
    device_free(d);
}

/* ---- the log of pages written ---- */

static void test_dirty_log(void **state)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    uint8_t bitmap[8];

    (void)state;
    assert_int_equal(ftruncate(fd, 0x10000), 0);
    attach(dev);
    assert_int_equal(dma_map(dev->dma, GUEST, 0x10000, VFU_DMA_MAP_READABLE | VFU_DMA_MAP_WRITEABLE, fd, 0), 0);
    assert_int_equal(device_log_start(dev, 4096, NULL, 0), 0);
    assert_int_equal(device_log_start(dev, 4096, NULL, 0), -EBUSY);
    put(dev, SRC, BUFFER);
    put(dev, DST, GUEST + 0x3ff8);
    put(dev, COUNT, 16);
    put(dev, CMD, 3);
    run(dev, 5 * MS);
    assert_int_equal(get(dev, CMD), 2);
    assert_int_equal(dirty_report(dev->dirty, GUEST, 0x10000, 4096, bitmap, 8, true), 0);
    assert_int_equal(bitmap[0], 0x18);
    assert_int_equal(dirty_report(dev->dirty, GUEST, 0x10000, 4096, bitmap, 8, true), 0);
    assert_int_equal(bitmap[0], 0);
    device_log_stop(dev);
    put(dev, CMD, 3);
    run(dev, 5 * MS);
    assert_int_equal(device_log_start(dev, 4096, NULL, 0), 0);
    assert_int_equal(dirty_report(dev->dirty, GUEST, 0x10000, 4096, bitmap, 8, true), 0);
    assert_int_equal(bitmap[0], 0);
    close(fd);
}

/* ---- hostile images ---- */

static uint64_t sum_of(const uint8_t *data, uint64_t size);

/* After a refusal: reset, in RESUMING, and as good as new for the next image. */
static void check_refused(struct device *d, const struct image *good)
{
    assert_int_equal(d->migration.state, MIGRATION_RESUMING);
    assert_int_equal(go(d, MIGRATION_STOP), -EINVAL); /* not on half of a state */
    assert_int_equal(get(d, LIVE), 0);
    assert_int_equal(load(d, good->data, good->size, MIGRATION_STOP), 0);
    assert_int_equal(get(d, LIVE), (uint32_t)~0x77);
}

static struct image some_image(void)
{
    put(dev, LIVE, 0x77);
    put(dev, FACT, 7);
    return save(dev);
}

static void test_truncated(void **state)
{
    struct image image = some_image();

    (void)state;
    log_threshold = -1;
    for (uint64_t n = 1; n < image.size; n++) {
        assert_int_equal(load(other, image.data, n, MIGRATION_STOP), -EINVAL);
        assert_int_equal(other->migration.state, MIGRATION_RESUMING);
    }
    check_refused(other, &image);
    image_free(&image);
}

static void test_too_long(void **state)
{
    struct image image = some_image(), made = { 0 };

    (void)state;
    log_threshold = -1;
    assert_int_equal(image_append(&made, image.data, image.size), 0);
    assert_int_equal(image_append(&made, "x", 1), 0);
    assert_int_equal(load(other, made.data, made.size, MIGRATION_RUNNING), -EINVAL);
    made.size--;
    assert_int_equal(image_append(&made, image.data, image.size), 0);
    assert_int_equal(load(other, made.data, made.size, MIGRATION_RUNNING), -EINVAL);
    check_refused(other, &image);
    image_free(&image);
    image_free(&made);
}

static void test_flipped(void **state)
{
    struct image image = some_image();

    (void)state;
    log_threshold = -1;
    for (uint64_t i = 0; i < image.size; i++) {
        image.data[i] ^= (uint8_t)(1u << i % 8);
        assert_int_equal(load(other, image.data, image.size, MIGRATION_STOP), -EINVAL);
        image.data[i] ^= (uint8_t)(1u << i % 8);
    }
    check_refused(other, &image);
    image_free(&image);
}

/* The sum is no secret: with it right again each byte is judged by what it says. */
static void test_forged(void **state)
{
    static const uint8_t changes[] = { 0x01, 0x80, 0xff };
    struct image image = some_image();
    uint64_t refused = 0, taken = 0;

    (void)state;
    log_threshold = -1;
    for (uint64_t i = 0; i < image.size - 8; i += i > 1800 && i + 400 < image.size ? 13 : 1) {
        for (size_t k = 0; k < sizeof changes; k++) {
            uint64_t sum;
            int result;

            image.data[i] ^= changes[k];
            sum = sum_of(image.data, image.size - 8);
            memcpy(image.data + image.size - 8, &sum, 8);
            result = load(other, image.data, image.size, MIGRATION_STOP);
            assert_true(result == 0 || result == -EINVAL);
            if (result)
                refused++;
            else
                taken++;
            assert_int_equal(device_reset(other, VFU_RESET_BUS), 0);
            image.data[i] ^= changes[k];
            /* An id may ask for all the slots that there can be, and they stay: allowed, but slow a thousand times. */
            if (other->timers.nslots > 1000) {
                device_free(other);
                other = new_device();
            }
        }
    }
    /* Values may be anything, structure may not. */
    assert_true(refused > 500 && taken > 500);
    put(other, FACT, 4);
    run(other, 3 * MS);
    assert_int_equal(get(other, FACT), 24);
    image_free(&image);
}

/* Whole sections moved, left out and doubled. */
static void test_sections(void **state)
{
    struct image image = some_image(), made = { 0 };
    uint64_t at[16], size[16], n = 0, p = 24;

    (void)state;
    log_threshold = -1;
    while (p < image.size && n < 16) {
        memcpy(&size[n], image.data + p + 8, 8);
        size[n] += 16;
        at[n] = p;
        p += size[n++];
    }
    assert_int_equal(p, image.size);
    assert_int_equal(n, 7);
    for (uint64_t left_out = 0; left_out < n; left_out++) {
        for (uint64_t doubled = 0; doubled < n; doubled++) {
            uint64_t sum;

            made.size = 0;
            image_append(&made, image.data, 24);
            for (uint64_t i = 0; i < n; i++) {
                if (i != left_out)
                    image_append(&made, image.data + at[i], size[i]);
                if (i == doubled)
                    image_append(&made, image.data + at[i], size[i]);
            }
            memcpy(made.data + 16, &made.size, 8);
            sum = sum_of(made.data, made.size - 8);
            memcpy(made.data + made.size - 8, &sum, 8);
            /* Left out and put in again at its place is what it was. */
            assert_int_equal(load(other, made.data, made.size, MIGRATION_STOP), left_out == doubled ? 0 : -EINVAL);
        }
    }
    image_free(&made);
    if (other->migration.state != MIGRATION_RESUMING)
        assert_int_equal(load(other, image.data, 10, MIGRATION_STOP), -EINVAL);
    check_refused(other, &image);
    image_free(&image);
}

static void test_another_device(void **state)
{
    struct image image = some_image();

    (void)state;
    log_threshold = -1;
    other->description.desc.revision++;
    assert_int_equal(load(other, image.data, image.size, MIGRATION_STOP), -EINVAL);
    other->description.desc.revision--;
    other->name[0] = 'E';
    assert_int_equal(load(other, image.data, image.size, MIGRATION_STOP), -EINVAL);
    other->name[0] = 'e';
    check_refused(other, &image);
    assert_int_equal(device_reset(other, VFU_RESET_BUS), 0);
    add_memory(other);
    assert_int_equal(load(other, image.data, image.size, MIGRATION_STOP), -EINVAL);
    image_free(&image);
}

static void test_limit(void **state)
{
    static uint8_t bytes[1 << 20];
    uint64_t limit = image_limit(dev), n = 0;
    int error;

    (void)state;
    assert_true(limit < (UINT64_C(70) << 20));
    assert_int_equal(go(dev, MIGRATION_RESUMING), 0);
    log_threshold = -1;
    while ((error = migration_write(dev, bytes, sizeof bytes)) == 0)
        n += sizeof bytes;
    assert_int_equal(error, -EINVAL);
    assert_true(n <= limit && n + sizeof bytes > limit);
    assert_int_equal(go(dev, MIGRATION_STOP), -EINVAL);
    assert_int_equal(dev->migration.data.room, 0);
}

/* Without a word of data nothing changes. */
static void test_nothing_written(void **state)
{
    (void)state;
    put(dev, LIVE, 0x99);
    assert_int_equal(go(dev, MIGRATION_RESUMING), 0);
    assert_int_equal(go(dev, MIGRATION_RUNNING), 0);
    assert_int_equal(get(dev, LIVE), (uint32_t)~0x99);
}

/* A plugin that fails to save, or has no way back from half of a load. */
static int32_t no_save(void *self, struct vfu_sink *sink)
{
    (void)self;
    (void)sink;
    return -EIO;
}

static int32_t no_load(void *self, struct vfu_source *source)
{
    (void)self;
    (void)source;
    return -EIO;
}

static void test_failing_plugin(void **state)
{
    static const struct vfu_migration_ops ops = { .struct_size = sizeof ops, .save = no_save, .load = no_load };
    struct image image = some_image();

    (void)state;
    log_threshold = -1;
    dev->migration.ops = other->migration.ops = &ops;
    assert_int_equal(go(dev, MIGRATION_RUNNING), 0);
    assert_int_equal(go(dev, MIGRATION_PRE_COPY), 0);
    assert_int_equal(go(dev, MIGRATION_STOP_COPY), -EIO);
    assert_int_equal(dev->migration.state, MIGRATION_PRE_COPY);
    assert_false(dev->stopped);
    assert_int_equal(go(dev, MIGRATION_STOP), 0);
    assert_int_equal(go(dev, MIGRATION_STOP_COPY), -EIO);
    assert_int_equal(dev->migration.state, MIGRATION_STOP);

    assert_int_equal(load(other, image.data, image.size, MIGRATION_STOP), -EINVAL);
    assert_int_equal(other->migration.state, MIGRATION_RESUMING);
    assert_int_equal(device_reset(other, VFU_RESET_BUS), 0);
    other->description.caps &= ~VFU_CAP_RESET;
    assert_int_equal(load(other, image.data, image.size, MIGRATION_STOP), -EINVAL);
    assert_int_equal(other->migration.state, MIGRATION_ERROR);
    assert_int_equal(go(other, MIGRATION_RUNNING), -EINVAL);
    assert_int_equal(device_reset(other, VFU_RESET_BUS), 0);
    assert_int_equal(other->migration.state, MIGRATION_RUNNING);
    assert_int_equal(device_reset(other, VFU_RESET_BUS), -ENOTSUP);
    image_free(&image);
}

/* As image.c has it, written once more: what an attacker would do. */
static uint64_t sum_of(const uint8_t *data, uint64_t size)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325) ^ size;

    for (uint64_t i = 0; i < size; i += 8) {
        uint64_t word = 0;

        memcpy(&word, data + i, size - i < 8 ? size - i : 8);
        sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 29;
    }
    return sum;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pairs),
        TEST(test_data_only_where_it_goes),
        TEST(test_timers_stand_still),
        TEST(test_accesses_when_stopped),
        TEST(test_no_interrupts_when_stopped),
        TEST(test_reset_leads_back),
        TEST(test_function_level_reset),
        TEST(test_next_client),
        TEST(test_deferred_work),
        TEST(test_move),
        TEST(test_move_config),
        TEST(test_reply_is_kept),
        TEST(test_failure_is_kept),
        TEST(test_move_during_dma),
        TEST(test_move_memory),
        TEST(test_move_testdev),
        TEST(test_doorbells),
        TEST(test_dirty_log),
        TEST(test_truncated),
        TEST(test_too_long),
        TEST(test_flipped),
        TEST(test_forged),
        TEST(test_sections),
        TEST(test_another_device),
        TEST(test_limit),
        TEST(test_nothing_written),
        TEST(test_failing_plugin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
