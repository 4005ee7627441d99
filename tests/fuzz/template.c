/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * template - messages of every command for seeds and mutator. No state.
 */
#include "tests/fuzz/template.h"

#include <linux/vfio.h>

#include <vfu/protocol.h>

bool template_message(struct script *s, uint16_t command, const void *body, size_t size, uint8_t fd, uint8_t nfds)
{
    struct script_message m = { .command = command, .fd = fd, .nfds = nfds };

    return script_add(s, OP_MESSAGE, &m, sizeof m, body, size);
}

bool template_write(struct script *s, uint32_t region, uint64_t offset, uint64_t value, uint32_t size)
{
    struct {
        struct vfu_msg_region_access access;
        uint64_t value;
    } body = { { offset, region, size }, value };

    return template_message(s, VFU_CMD_REGION_WRITE, &body, sizeof body.access + (size <= 8 ? size : 8), FD_NONE, 0);
}

bool template_read(struct script *s, uint32_t region, uint64_t offset, uint32_t size)
{
    struct vfu_msg_region_access access = { offset, region, size };

    return template_message(s, VFU_CMD_REGION_READ, &access, sizeof access, FD_NONE, 0);
}

bool template_map(struct script *s, uint64_t address, uint64_t size, uint32_t flags, uint8_t fd, uint64_t offset)
{
    struct vfu_msg_dma_map map = { sizeof map, flags, offset, address, size };

    return template_message(s, VFU_CMD_DMA_MAP, &map, sizeof map, fd, 1);
}

bool template_irqs(struct script *s, uint32_t index, uint32_t flags, uint32_t start, uint32_t count, uint8_t fd)
{
    const uint32_t body[] = { sizeof(struct vfio_irq_set), flags, index, start, count, 0x01010001, 1 };

    return template_message(s, VFU_CMD_DEVICE_SET_IRQS, body,
                            sizeof(struct vfio_irq_set) + (flags & VFIO_IRQ_SET_DATA_BOOL ? count % 8 : 0), fd,
                            (uint8_t)count);
}

bool template_feature(struct script *s, uint32_t flags, const void *data, size_t size)
{
    struct {
        struct vfu_msg_device_feature feature;
        uint8_t data[64];
    } body = { .feature = { 4096, flags } }; /* room for a bitmap in the reply */

    if (size > sizeof body.data)
        return false;
    if (size)
        memcpy(body.data, data, size);
    return template_message(s, VFU_CMD_DEVICE_FEATURE, &body, sizeof body.feature + size, FD_NONE, 0);
}

bool template_byte(struct script *s, uint8_t op, uint8_t byte)
{
    return script_add(s, op, &byte, 1, NULL, 0);
}

/* ---- at random */

static uint32_t one_of(uint32_t *random, const uint32_t *list, size_t n)
{
    return list[template_random(random) % n];
}
#define ONE_OF(random, ...)                                                                                            \
    one_of(random, (const uint32_t[]){ __VA_ARGS__ }, sizeof((const uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t))

static uint32_t offset_in(uint32_t *random, uint32_t region)
{
    switch (region) {
    case 0:
        return ONE_OF(random, 0, 4, 8, 0xa, 0xc, 0x10, 0x14, 0x18, 0x19, 0x1a, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x30, 0x38,
                      0x40, 0x48, 0x51, 0x58, 0x60, 0x64, 0x80, 0x88, 0x90, 0x98, 0x100, 0x108, 0x128, 0xffc, 0x40000);
    case 4:
        return ONE_OF(random, 0, 0x1000, 0x100c, 0x101c, 0x145c, 0x2000, 0x2008, 0x8000, 0x8008, 0x8010, 0x8020,
                      0xfffc);
    case 7: return 4 * (template_random(random) % 64);
    default: return 8 * (template_random(random) % 32);
    }
}

static bool any_access(struct script *s, uint32_t *random, bool write)
{
    uint32_t region = ONE_OF(random, 0, 0, 0, 1, 2, 4, 5, 6, 7, 7, 8);
    uint32_t offset = offset_in(random, region), size = ONE_OF(random, 1, 2, 4, 4, 4, 8, 8, 3, 16, 64, 4096, 20000);

    if (!write)
        return template_read(s, region, offset, size);
    if (size > 8)
        size = 4;
    if (region == 0 && (offset == 0x30 || template_random(random) % 3 == 0))
        return template_write(s, 0, 0x30, template_random(random) % 23 | template_random(random) % 64 << 8, 4);
    return template_write(s, region, offset,
                          ONE_OF(random, 0, 1, 2, 3, 5, 6, 0x80, 0x400, 0x8000, 0xc000, 0x1000, UINT32_MAX), size);
}

static bool any_multi(struct script *s, uint32_t *random)
{
    struct {
        struct vfu_msg_write_multi multi;
        struct vfu_msg_write_one one[4];
    } body = { .multi = { template_random(random) % 5 } };

    for (uint32_t i = 0; i < body.multi.wr_cnt; i++) {
        uint32_t region = ONE_OF(random, 0, 4, 7);

        body.one[i] =
            (struct vfu_msg_write_one){ offset_in(random, region), region, ONE_OF(random, 1, 2, 4, 8), { 1, 2, 3 } };
    }
    return template_message(s, VFU_CMD_REGION_WRITE_MULTI, &body,
                            sizeof body.multi + body.multi.wr_cnt * sizeof body.one[0], FD_NONE, 0);
}

static bool any_memory(struct script *s, uint32_t *random)
{
    uint64_t address = (uint64_t)(template_random(random) % 8) * 0x4000,
             size = ONE_OF(random, 0x1000, 0x4000, 0x8000, 0x10000);
    uint32_t kind = ONE_OF(random, 0, 1, 1, 1, 2, 3, 0, template_random(random) % FD_KINDS);
    struct vfu_msg_dma_unmap unmap = { sizeof unmap, template_random(random) % 8 == 0 ? 2 : 0, address, size };

    if (template_random(random) % 3)
        return template_map(s, address, size, 1 + template_random(random) % 3, (uint8_t)kind,
                            0x1000 * (template_random(random) % 4));
    if (unmap.flags)
        unmap.address = unmap.size = 0;
    return template_message(s, VFU_CMD_DMA_UNMAP, &unmap, sizeof unmap, FD_NONE, 0);
}

static bool any_irqs(struct script *s, uint32_t *random)
{
    uint32_t data = 1u << template_random(random) % 3, action = 8u << template_random(random) % 3;
    uint32_t index = ONE_OF(random, 0, 1, 2, 2, 3, 4), count = template_random(random) % 4;
    uint32_t fd =
        ONE_OF(random, FD_EVENT, FD_EVENT, FD_EVENT_BLOCKING, FD_EVENT_FULL, template_random(random) % FD_KINDS);

    return template_irqs(s, index, data | action, template_random(random) % 3, count,
                         data == VFIO_IRQ_SET_DATA_EVENTFD ? (uint8_t)fd : FD_NONE);
}

static bool any_question(struct script *s, uint32_t *random)
{
    uint32_t words[8] = { ONE_OF(random, 32, 64, 4096, 16), 0, template_random(random) % 10, 0 };

    switch (template_random(random) % 5) {
    case 0: return template_message(s, VFU_CMD_DEVICE_GET_INFO, words, 16, FD_NONE, 0);
    case 1: return template_message(s, VFU_CMD_DEVICE_GET_REGION_INFO, words, 32, FD_NONE, 0);
    case 2: return template_message(s, VFU_CMD_DEVICE_GET_IRQ_INFO, words, 16, FD_NONE, 0);
    case 3: return template_message(s, VFU_CMD_DEVICE_RESET, NULL, 0, FD_NONE, 0);
    default: return template_message(s, VFU_CMD_DEVICE_GET_REGION_IO_FDS, words, 16, FD_NONE, 0);
    }
}

/* Features: 1 migration flags, 2 the state, 6 logging start, 7 stop, 8 report. */
static bool any_migration(struct script *s, uint32_t *random)
{
    uint32_t feature = ONE_OF(random, 1, 2, 2, 2, 2, 3, 6, 7, 8, 9),
             way = ONE_OF(random, 1u << 16, 1u << 17, 1u << 17, 1u << 18);
    uint32_t state[2] = { template_random(random) % 8, 0 };
    struct vfu_msg_mig_data data = { 16 + 8, 16 };
    uint32_t moved[6] = { 16 + 8, 16, template_random(random) };
    const uint64_t start[4] = { 4096, 1, 0, 0x8000 }, report[4] = { 0, 0x8000, 4096, 0 };

    switch (template_random(random) % 4) {
    case 0:
        data.argsz = data.size = ONE_OF(random, 16, 4096, 100, 0, 1u << 20);
        data.argsz += (uint32_t)sizeof data;
        return template_message(s, VFU_CMD_MIG_DATA_READ, &data, sizeof data, FD_NONE, 0);
    case 1: return template_message(s, VFU_CMD_MIG_DATA_WRITE, moved, sizeof moved, FD_NONE, 0);
    default: break;
    }
    if (feature == 2)
        return template_feature(s, feature | way, state, sizeof state);
    if (feature == 6)
        return template_feature(s, feature | 1u << 17, start, sizeof start);
    if (feature == 8)
        return template_feature(s, feature | 1u << 16, report, 24);
    return template_feature(s, feature | way, state, 8);
}

static bool any_step(struct script *s, uint32_t *random)
{
    struct script_answer answer = { (uint8_t)(template_random(random) % ANSWERS), template_random(random) % 8 == 0 };
    struct script_file file = { (uint8_t)(template_random(random) % 3), (uint8_t)(template_random(random) % 20) };
    struct script_poke poke = { (uint8_t)(template_random(random) % 8), 0,
                                (uint16_t)(8 * (template_random(random) % 8)) };
    struct script_large large = {
        .write = (uint8_t)(template_random(random) % 8),
        .region = (uint8_t)ONE_OF(random, 5, 5, 2, 0, 4),
        .cut = (uint16_t)ONE_OF(random, 0, 1, 16, 130),
        .offset = ONE_OF(random, 0, 0x1000, 0x8000, 1),
        .count = ONE_OF(random, 0x4000, 0x4001, 0x8000, 0x10000, 0xfffff, 0x100000),
    };
    struct script_image image = { template_random(random) % 8 ? 0 : 3, 0, (uint16_t)template_random(random) };
    uint32_t time = ONE_OF(random, 1, 100, 1000, 100000, 10000000, 60000000);

    switch (template_random(random) % 11) {
    case 10: return script_add(s, OP_IMAGE, &image, sizeof image, "\1\2\3\4", template_random(random) % 5);
    case 0: return script_add(s, OP_ANSWER, &answer, sizeof answer, NULL, 0);
    case 1: return script_add(s, OP_FILE, &file, sizeof file, NULL, 0);
    case 2: return script_add(s, OP_POKE, &poke, sizeof poke, "12345678", 8);
    case 3: return script_add(s, OP_LARGE, &large, sizeof large, NULL, 0);
    case 4:
    case 5: return script_add(s, OP_TIME, &time, sizeof time, NULL, 0);
    case 6: return template_byte(s, OP_RECONNECT, template_random(random) % RECONNECT_KINDS);
    case 7: return template_byte(s, OP_SETTINGS, (uint8_t)template_random(random));
    case 8: return template_byte(s, OP_READ, (uint8_t)template_random(random));
    default: return template_byte(s, OP_ROUNDS, template_random(random) % 8);
    }
}

bool template_any(struct script *s, uint32_t *random)
{
    switch (template_random(random) % 10) {
    case 0: return any_question(s, random);
    case 1: return any_memory(s, random);
    case 2: return any_irqs(s, random);
    case 3: return any_multi(s, random);
    case 4: return any_migration(s, random);
    case 5: return any_access(s, random, false);
    case 6:
    case 7: return any_access(s, random, true);
    default: return any_step(s, random);
    }
}
