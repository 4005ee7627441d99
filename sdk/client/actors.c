/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * actors - what the attached client of the command hammer does in a phase: what is proper, in odd order; what is
 * refused; and what breaks off in the middle. All of it is drawn from the phase's numbers. The command's thread.
 */
#define _GNU_SOURCE
#include "sdk/client/hammer.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vfu/protocol.h>

#define PAGE 4096u
#define MIB 1048576u
#define PING 0xfffeu /* the id of a read that says: everything before it was answered */
#define GARBAGE 512u

static uint64_t actor_below(struct hammer *h, uint64_t n)
{
    return rng_below(&h->rng, n);
}

static bool actor_chance(struct hammer *h, uint64_t of)
{
    return actor_below(h, of) == 0;
}

/* Values that registers tend to care for: few bits, all bits, addresses and lengths that are there. */
static uint64_t actor_value(struct hammer *h)
{
    switch (actor_below(h, 6)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return UINT64_C(1) << actor_below(h, 64);
    case 3:
        return actor_below(h, 256);
    case 4:
        return actor_below(h, HAMMER_MEMORY + PAGE);
    default:
        return rng_next(&h->rng);
    }
}

struct place {
    uint32_t region, size;
    uint64_t offset;
};

/* Mostly a register of a region that is there; at times beyond its end, misaligned, or of no such region. */
static struct place actor_place(struct hammer *h, uint32_t most)
{
    struct place p = { .region = (uint32_t)actor_below(h, h->nregions + 1u), .size = 1u << actor_below(h, 4) };
    uint64_t size = p.region < h->nregions ? h->regions[p.region].size : 0;

    if (actor_chance(h, 8))
        p.size = 1 + (uint32_t)actor_below(h, most);
    if (!size)
        size = PAGE;
    /* Registers live at the beginning. */
    p.offset = actor_below(h, actor_chance(h, 2) && size > 512 ? 512 : size);
    if (!actor_chance(h, 8))
        p.offset &= ~(uint64_t)(p.size - 1);
    if (actor_chance(h, 32))
        p.offset = actor_chance(h, 2) ? size - actor_below(h, 8) : rng_next(&h->rng);
    return p;
}

/* ---- proper ---- */

static int actor_accesses(struct hammer *h)
{
    static uint8_t data[PAGE];

    for (uint64_t n = 8 + actor_below(h, 120); n; n--) {
        struct place p = actor_place(h, PAGE);
        uint64_t value = actor_value(h);
        int r;

        memcpy(data, &value, sizeof value);
        r = actor_chance(h, 2) ? vfuc_write(h->c, p.region, p.offset, data, p.size)
                               : vfuc_read(h->c, p.region, p.offset, data, p.size);
        if (hammer_took(h, r))
            return -1;
    }
    return 0;
}

static int actor_pipelined(struct hammer *h)
{
    static uint8_t data[256][64];
    uint64_t n = 1 + actor_below(h, 600);

    for (uint64_t i = 0; i < n; i++) {
        struct place p = actor_place(h, 64);
        int r = actor_chance(h, 4)
                    ? vfuc_queue_write(h->c, p.region, p.offset, data[i % 256], p.size, NULL)
                    : vfuc_queue_read(h->c, p.region, p.offset, data[i % 256], p.size, NULL);

        if (hammer_took(h, r))
            return -1;
    }
    return hammer_took(h, vfuc_drain(h->c));
}

static int actor_posted(struct hammer *h)
{
    for (uint64_t n = 1 + actor_below(h, 32); n; n--) {
        struct place p = actor_place(h, 64);
        uint64_t value[8] = { actor_value(h) };

        if (hammer_took(h, vfuc_post(h->c, p.region, p.offset, value, p.size)))
            return -1;
    }
    return hammer_took(h, vfuc_flush(h->c));
}

static int actor_multi(struct hammer *h)
{
    struct vfuc_multi writes[64];
    uint32_t n = (uint32_t)actor_below(h, 65);

    for (uint32_t i = 0; i < n; i++) {
        struct place p = actor_place(h, 9);
        uint64_t value = actor_value(h);

        writes[i] = (struct vfuc_multi){ .offset = p.offset, .region = p.region, .count = p.size };
        memcpy(writes[i].data, &value, sizeof value);
    }
    return hammer_took(h, vfuc_write_multi(h->c, writes, n, actor_chance(h, 2)));
}

static int actor_reset(struct hammer *h)
{
    for (uint64_t n = 1 + actor_below(h, 10); n; n--) {
        if (hammer_took(h, vfuc_reset(h->c)))
            return -1;
    }
    return 0;
}

static int actor_reconnect(struct hammer *h)
{
    for (uint64_t n = 1 + actor_below(h, 8); n; n--) {
        if (actor_chance(h, 3) && actor_posted(h))
            return -1;
        vfuc_close(h->c);
        if (hammer_attach(h))
            return -1;
    }
    return 0;
}

static int actor_interrupts(struct hammer *h)
{
    for (uint64_t n = 1 + actor_below(h, 24); n; n--) {
        uint32_t index = (uint32_t)actor_below(h, h->nirqs + 1u);
        uint32_t count = index < h->nirqs && h->irqs[index] ? h->irqs[index] : 1;
        uint32_t start = (uint32_t)actor_below(h, count + 1), some = (uint32_t)actor_below(h, count + 2);
        int r;

        switch (actor_below(h, 7)) {
        case 0:
        case 1:
            some = (uint32_t)actor_below(h, (count < 64 ? count : 64) + 1);
            r = vfuc_irq_arm(h->c, index, some);
            break;
        case 2:
            r = vfuc_irq_disarm(h->c, index);
            break;
        case 3:
            r = vfuc_irq_mask(h->c, index, start, some);
            break;
        case 4:
            r = vfuc_irq_unmask(h->c, index, start, some);
            break;
        case 5:
            r = vfuc_irq_wait(h->c, index, start, 0);
            break;
        default:
            r = vfuc_irq_trigger(h->c, index, start, some);
        }
        if (hammer_took(h, r))
            return -1;
    }
    return 0;
}

/* Fails, or changes what it is asked for: the device must live with either. */
static int actor_bad_memory(void *ctx, bool write, uint64_t address, void *data, uint64_t size)
{
    uint64_t *state = ctx;

    (void)address;
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    if (!write)
        memset(data, (int)(*state >> 56), size);
    return *state >> 62 ? 0 : -EFAULT;
}

static int actor_dma(struct hammer *h)
{
    static uint64_t state;
    struct vfuc_range mapped[64];
    uint32_t n = 0;
    int fd = memfd_create("hammer", MFD_CLOEXEC), r = 0;

    if (fd < 0 || ftruncate(fd, MIB) < 0)
        r = hammer_wrong(h, "vfu-client cannot make memory: %s", strerror(errno));
    state = rng_next(&h->rng);
    if (actor_chance(h, 4))
        vfuc_on_dma(h->c, actor_bad_memory, &state);
    for (uint64_t left = 1 + actor_below(h, 96); left && !r; left--) {
        struct vfuc_range range = { actor_below(h, 1024) * PAGE, (1 + actor_below(h, 256)) * PAGE };
        uint32_t flags = (uint32_t)actor_below(h, 4);
        bool file = actor_chance(h, 2);
        int err;

        if (n && actor_chance(h, 3)) {
            uint32_t k = (uint32_t)actor_below(h, n);

            r = hammer_took(h, vfuc_dma_unmap(h->c, mapped[k].address, mapped[k].size));
            mapped[k] = mapped[--n];
            continue;
        }
        if (actor_chance(h, 16))
            range.size = rng_next(&h->rng);
        err = vfuc_dma_map(h->c, range.address, range.size, flags, file ? fd : -1, actor_below(h, 257) * PAGE, NULL);
        r = hammer_took(h, err);
        if (!err && n < 64)
            mapped[n++] = range;
    }
    /* Its own memory goes away and comes back, whatever the device does with it. */
    if (!r && vfuc_memory_free(h->c, 0) == 0) {
        void *mem;

        r = actor_posted(h);
        if (!r)
            r = hammer_took(h, vfuc_memory_new(h->c, 0, HAMMER_MEMORY, VFUC_DMA_RW, &mem));
    }
    for (uint32_t k = 0; k < n && !r; k++)
        r = hammer_took(h, vfuc_dma_unmap(h->c, mapped[k].address, mapped[k].size));
    if (fd >= 0)
        close(fd);
    return r;
}

static int actor_dirty(struct hammer *h)
{
    static uint8_t bitmap[MIB / PAGE];
    struct vfuc_range ranges[8];
    uint32_t n = (uint32_t)actor_below(h, 9);
    bool legacy = actor_chance(h, 4);

    for (uint32_t i = 0; i < n; i++)
        ranges[i] = (struct vfuc_range){ actor_below(h, 256) * PAGE, actor_below(h, 64) * PAGE };
    if (hammer_took(h, legacy ? vfuc_dirty_pages(h->c, true) : vfuc_dirty_start(h->c, PAGE, ranges, n)) ||
        actor_accesses(h))
        return -1;
    for (uint64_t k = actor_below(h, 4); k; k--) {
        uint64_t page = PAGE << actor_below(h, 4), size = page * (1 + actor_below(h, 16));

        if (hammer_took(h, legacy ? vfuc_dirty_pages_report(h->c, 0, size, page, bitmap, sizeof bitmap)
                                  : vfuc_dirty_report(h->c, 0, size, page, bitmap, sizeof bitmap)))
            return -1;
    }
    return hammer_took(h, legacy ? vfuc_dirty_pages(h->c, false) : vfuc_dirty_stop(h->c));
}

static int actor_migration(struct hammer *h)
{
    static uint8_t data[65536];
    uint64_t flags;
    int r = vfuc_migration_flags(h->c, &flags);

    if (r < 0)
        return hammer_took(h, r);
    for (uint64_t n = 1 + actor_below(h, 16); n; n--) {
        size_t some = 1 + actor_below(h, sizeof data);

        switch (actor_below(h, 4)) {
        case 0:
            r = vfuc_migration_read(h->c, data, some);
            break;
        case 1:
            r = vfuc_migration_write(h->c, data, some);
            break;
        default:
            r = vfuc_migration_set(h->c, (uint32_t)actor_below(h, 9));
        }
        if (hammer_took(h, r))
            return -1;
        if (actor_chance(h, 4) && actor_accesses(h))
            return -1;
    }
    r = vfuc_migration_set(h->c, VFUC_MIG_RUNNING);
    if (hammer_took(h, r))
        return -1;
    /* Half of a state leads nowhere but to a reset. */
    return r < 0 ? hammer_took(h, vfuc_reset(h->c)) : 0;
}

static int actor_mapped(struct hammer *h)
{
    for (uint32_t i = 0; i < h->nregions && i < VFUC_CONFIG; i++) {
        struct vfuc_map maps[8];
        int n;

        if (!(h->regions[i].flags & VFUC_REGION_MMAP))
            continue;
        n = vfuc_map_region(h->c, i, maps, 8);
        if (hammer_took(h, n))
            return -1;
        for (int k = 0; k < n && k < 8; k++) {
            volatile uint8_t *mem = maps[k].mem;

            for (int b = 0; b < 256 && (h->regions[i].flags & VFUC_REGION_WRITE); b++)
                mem[actor_below(h, maps[k].size)] = (uint8_t)b;
        }
        if (n > 0 && actor_chance(h, 2))
            vfuc_unmap_region(h->c, i);
    }
    return actor_accesses(h);
}

static int actor_doorbells(struct hammer *h)
{
    for (uint32_t i = 0; i < h->nregions && i < 6; i++) {
        int n = vfuc_doorbells(h->c, i, NULL, 0);

        if (hammer_took(h, n))
            return -1;
        for (uint64_t k = 1 + actor_below(h, 64); k && n > 0; k--) {
            if (hammer_took(h, vfuc_ring(h->c, i, (uint32_t)actor_below(h, (uint64_t)n), actor_value(h))))
                return -1;
        }
    }
    return 0;
}

/* ---- improper, and in bytes ---- */

static struct {
    struct vfu_msg_header header;
    uint8_t body[MIB + PAGE];
} message;

/* The next reply: 1; 0: the server has closed; -1: it hangs (noted). The device's requests for memory fail
 * meanwhile. */
static int raw_reply(struct hammer *h)
{
    for (;;) {
        int n = vfuc_raw_recv(h->c, &message, sizeof message, NULL, NULL, h->settings->timeout_ns);

        if (n == -ETIMEDOUT)
            return hammer_wrong(h, "it does not answer: %s", vfuc_error(h->c));
        if (n == -EPROTO || n == -EMSGSIZE)
            return hammer_wrong(h, "%s", vfuc_error(h->c));
        if (n <= 0)
            return 0;
        if ((message.header.flags & VFU_MSG_TYPE_MASK) == VFU_MSG_REPLY)
            return 1;
        message.header.flags = VFU_MSG_REPLY | VFU_MSG_ERROR;
        message.header.size = sizeof message.header;
        message.header.error = EFAULT;
        if (vfuc_raw_send(h->c, &message.header, sizeof message.header, 0, NULL, 0) < 0)
            return 0;
    }
}

static struct {
    struct vfu_msg_header header;
    struct vfu_msg_region_access access;
} const ping = { { PING, VFU_CMD_REGION_READ, sizeof ping, 0, 0 }, { 0, VFUC_CONFIG, 4 } };

/* Sends the ping behind what was sent before, and takes replies until its own. `id`: the only other that may come,
 * `most` times. 0, or -1 (noted). A server may close instead, where it was given reason to. */
static int raw_settle(struct hammer *h, uint16_t id, uint32_t most, bool may_close)
{
    int err = vfuc_raw_send(h->c, &ping, sizeof ping, 0, NULL, 0);

    if (err == -ETIMEDOUT)
        return hammer_wrong(h, "it takes no bytes any more: %s", vfuc_error(h->c));
    for (;;) {
        int r = raw_reply(h);

        if (r < 0)
            return -1;
        if (r == 0)
            break;
        if (message.header.id == PING) {
            if (message.header.flags & VFU_MSG_ERROR)
                return hammer_wrong(h, "a read of config space fails with errno %u", message.header.error);
            return memcmp(message.body + sizeof(struct vfu_msg_region_access), &h->ids, 4) == 0
                       ? 0
                       : hammer_wrong(h, "a read of config space brings other ids than before");
        }
        if (message.header.id != id || !most--)
            return hammer_wrong(h, "a reply with id %u (command %u), which answers nothing", message.header.id,
                                message.header.command);
    }
    if (!may_close)
        return hammer_wrong(h, "it has closed the connection, without a reason");
    h->closed++;
    vfuc_close(h->c);
    return 0;
}

static void put32(uint8_t *body, uint32_t at, uint64_t value)
{
    uint32_t v = (uint32_t)value;

    memcpy(body + at, &v, sizeof v);
}

static void put64(uint8_t *body, uint32_t at, uint64_t value)
{
    memcpy(body + at, &value, sizeof value);
}

/* A body that comes near to what the command wants: its size. */
static uint32_t garbage_body(struct hammer *h, uint16_t command, uint8_t *body)
{
    uint32_t size = 8 * (uint32_t)actor_below(h, (GARBAGE - 16) / 8);
    struct place p = actor_place(h, 64);

    rng_bytes(&h->rng, body, GARBAGE);
    put32(body, 0, size);
    switch (command) {
    case VFU_CMD_DMA_MAP:
    case VFU_CMD_DMA_UNMAP:
        put32(body, 4, actor_below(h, 4));
        put64(body, 8, actor_below(h, 1024) * PAGE);
        put64(body, 16, actor_below(h, 1024) * PAGE);
        put64(body, 24, actor_below(h, 64) * PAGE);
        return command == VFU_CMD_DMA_MAP ? 32 : 24;
    case VFU_CMD_DEVICE_GET_REGION_INFO:
    case VFU_CMD_DEVICE_GET_REGION_IO_FDS:
    case VFU_CMD_DEVICE_GET_IRQ_INFO:
        put32(body, 8, actor_below(h, 12));
        return command == VFU_CMD_DEVICE_GET_REGION_INFO ? 32 : 16;
    case VFU_CMD_DEVICE_SET_IRQS:
        put32(body, 4, 1u << actor_below(h, 3) | 8u << actor_below(h, 3));
        put32(body, 8, actor_below(h, 6));
        put32(body, 12, actor_below(h, 9));
        put32(body, 16, actor_below(h, 9));
        return 20 + (uint32_t)actor_below(h, 10);
    case VFU_CMD_REGION_READ:
    case VFU_CMD_REGION_WRITE:
        put64(body, 0, p.offset);
        put32(body, 8, p.region);
        put32(body, 12, p.size);
        return 16 + (command == VFU_CMD_REGION_WRITE ? p.size : 0);
    case VFU_CMD_REGION_WRITE_MULTI:
        put64(body, 0, actor_below(h, 8));
        return 8 + 24 * (uint32_t)actor_below(h, 8);
    case VFU_CMD_DEVICE_FEATURE:
        put32(body, 4, actor_below(h, 10) | 0x10000u << actor_below(h, 3));
        put64(body, 8, actor_below(h, 9));
        return size;
    case VFU_CMD_MIG_DATA_READ:
    case VFU_CMD_MIG_DATA_WRITE:
        put32(body, 0, 8 + PAGE);
        put32(body, 4, command == VFU_CMD_MIG_DATA_READ ? actor_below(h, PAGE + 2) : size - 8);
        return size;
    default:
        return size;
    }
}

static int garbage_fds(struct hammer *h, int *fds)
{
    int n = actor_chance(h, 3) ? (int)actor_below(h, 4) : 0, have = 0;

    while (have < n) {
        int fd = actor_chance(h, 2) ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : memfd_create("hammer", MFD_CLOEXEC);

        if (fd < 0)
            break;
        fds[have++] = fd;
    }
    return have;
}

/* Whole messages, with senseless contents: each is answered once, or not at all if it says so. */
static int actor_garbage(struct hammer *h)
{
    for (uint64_t n = 1 + actor_below(h, 24); n && vfuc_fd(h->c) >= 0; n--) {
        struct {
            struct vfu_msg_header header;
            uint8_t body[GARBAGE];
        } m = { .header = { .id = (uint16_t)actor_below(h, 0x8000), .command = (uint16_t)actor_below(h, 21) } };
        bool odd = actor_chance(h, 12);
        int fds[4], nfds, err;

        m.header.size = (uint32_t)sizeof m.header + garbage_body(h, m.header.command, m.body);
        if (actor_chance(h, 3))
            m.body[actor_below(h, 32)] ^= (uint8_t)(1u << actor_below(h, 8));
        if (actor_chance(h, 8))
            m.header.size = (uint32_t)(sizeof m.header + actor_below(h, GARBAGE));
        m.header.flags = odd ? (uint32_t)rng_next(&h->rng) : actor_chance(h, 4) ? VFU_MSG_NO_REPLY : 0;
        nfds = garbage_fds(h, fds);
        err = vfuc_raw_send(h->c, &m, m.header.size, actor_chance(h, 16) ? 1 : 0, fds, (uint32_t)nfds);
        while (nfds)
            close(fds[--nfds]);
        h->requests++;
        if (err == -ETIMEDOUT)
            return hammer_wrong(h, "it takes no bytes any more: %s", vfuc_error(h->c));
        if (raw_settle(h, m.header.id, 1, true))
            return -1;
    }
    /* Which state the device is in, and what is mapped: nobody knows. */
    vfuc_close(h->c);
    return 0;
}

/* No messages at all, and no way back: whatever the server makes of it, the next client is not to notice. */
static int actor_noise(struct hammer *h)
{
    static uint8_t bytes[8192];
    struct vfu_msg_header header = { 1, (uint16_t)actor_below(h, 21), 0, 0, 0 };
    size_t size = 1 + actor_below(h, sizeof bytes);

    if (actor_chance(h, 2) && hammer_connect(h, VFUC_NO_VERSION, 0, 0))
        return -1;
    rng_bytes(&h->rng, bytes, sizeof bytes);
    header.size = actor_chance(h, 2) ? (uint32_t)actor_below(h, 16) : (uint32_t)rng_next(&h->rng) | 1u << 31;
    if (actor_chance(h, 2))
        memcpy(bytes, &header, sizeof header);
    h->requests++;
    vfuc_raw_send(h->c, bytes, size, actor_chance(h, 8) ? 64 : 0, NULL, 0);
    if (actor_chance(h, 2))
        hammer_pause(actor_below(h, 2000000));
    vfuc_close(h->c);
    return 0;
}

/* Half of a request, and then a long breath; its end, or nothing. */
static int actor_stall(struct hammer *h)
{
    const uint8_t *bytes = (const uint8_t *)&ping;
    size_t half = 1 + actor_below(h, sizeof ping - 1);
    bool leave = actor_chance(h, 2);
    int r;

    if (vfuc_raw_send(h->c, bytes, half, 0, NULL, 0) < 0)
        return hammer_wrong(h, "it has closed the connection, without a reason");
    hammer_pause(1000000 + actor_below(h, 20000000));
    h->requests++;
    if (leave) {
        vfuc_close(h->c);
        return 0;
    }
    if (vfuc_raw_send(h->c, bytes + half, sizeof ping - half, 1, NULL, 0) < 0)
        return hammer_wrong(h, "it has closed the connection inside a message that took its time");
    r = raw_reply(h);
    if (r == 0)
        return hammer_wrong(h, "it has closed the connection inside a message that took its time");
    if (r > 0 && (message.header.id != PING || message.header.flags & VFU_MSG_ERROR))
        return hammer_wrong(h, "the reply to a slow request has id %u, flags 0x%x", message.header.id,
                            message.header.flags);
    return r < 0 ? -1 : 0;
}

/* Far more requests than anybody waits for, whose replies are all read late, or never. */
static int actor_flood(struct hammer *h)
{
    static uint8_t bytes[2000 * sizeof ping];
    uint32_t n = 1 + (uint32_t)actor_below(h, 2000);

    for (uint32_t i = 0; i < n; i++) {
        memcpy(bytes + i * sizeof ping, &ping, sizeof ping);
        memcpy(bytes + i * sizeof ping, &(uint16_t){ (uint16_t)i }, 2);
    }
    h->requests += n;
    if (vfuc_raw_send(h->c, bytes, n * sizeof ping, 0, NULL, 0) == -ETIMEDOUT)
        return hammer_wrong(h, "it takes no bytes any more: %s", vfuc_error(h->c));
    if (actor_chance(h, 3)) {
        vfuc_close(h->c);
        return 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        int r = raw_reply(h);

        if (r < 0)
            return -1;
        if (r == 0)
            return hammer_wrong(h, "it has closed the connection after %u of %u replies", i, n);
        if (message.header.id != (uint16_t)i || message.header.flags & VFU_MSG_ERROR)
            return hammer_wrong(h, "reply %u of a flood has id %u, flags 0x%x", i, message.header.id,
                                message.header.flags);
    }
    return 0;
}

const struct actor actors[] = {
    { "accesses", 6, actor_accesses },     { "pipelined", 3, actor_pipelined },   { "posted", 3, actor_posted },
    { "multi", 2, actor_multi },           { "reset", 2, actor_reset },           { "reconnect", 3, actor_reconnect },
    { "interrupts", 3, actor_interrupts }, { "dma", 4, actor_dma },               { "dirty", 2, actor_dirty },
    { "migration", 3, actor_migration },   { "mapped", 1, actor_mapped },         { "doorbells", 1, actor_doorbells },
    { "garbage", 4, actor_garbage },       { "noise", 3, actor_noise },           { "stall", 2, actor_stall },
    { "flood", 2, actor_flood },
};
const size_t nactors = sizeof actors / sizeof actors[0];
