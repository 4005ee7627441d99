/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * map - testdev's registers, BARs, doorbells and ROM, as data. testdev.h has the table for people. Nothing here changes.
 */
#include "plugins/testdev/testdev.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define WITH(f) .fields = (f), .nfields = COUNT(f), .field_size = sizeof((f)[0])
/* A register of BAR0; one with a hook has its own number for it. */
#define ANY(id, label, of, at, bytes, kind, ...)                                                                       \
    [id] = { .name = (label), .group = (of), .offset = (at), .size = (bytes), .access = VFU_ACCESS_##kind,                 \
             .hook = (id), __VA_ARGS__ }
#define REG(id, ...) ANY(id, #id, VFU_NONE, __VA_ARGS__, )
/* One of the group CH. */
#define CH(id, ...) ANY(CH_##id, #id, 0, __VA_ARGS__, )
#define IN(bar) .region = (bar)
#define ON_READ .flags = VFU_REG_HOOK_READ
#define ON_WRITE .flags = VFU_REG_HOOK_WRITE
#define ON_BOTH .flags = VFU_REG_HOOK_READ | VFU_REG_HOOK_WRITE

static const struct vfu_enum modes[] = { { "off", 0 }, { "slow", 1 }, { "fast", 5 } };

static const struct vfu_field mixed[] = {
    { .name = "LOW", .lsb = 0, .width = 8 },
    { .name = "RO", .lsb = 8, .width = 4, .access = VFU_ACCESS_RO, .reset = 5 },
    { .name = "W1C", .lsb = 12, .width = 4, .access = VFU_ACCESS_W1C, .reset = 15 },
    { .name = "MODE", .lsb = 16, .width = 3, .enums = modes, .nenums = COUNT(modes) },
};

static const struct vfu_field causes[] = {
    { .name = "USER", .lsb = 0, .width = 8, .doc = "set by INT_SET" },
    { .name = "DMA", .lsb = 8, .width = 1, .doc = "a transfer has ended" },
    { .name = "TIMER", .lsb = 9, .width = 1, .doc = "a timer has fired" },
    { .name = "BELL", .lsb = 10, .width = 1, .doc = "a doorbell has rung" },
    { .name = "DEFER", .lsb = 11, .width = 1, .doc = "deferred work is done" },
};

static const struct vfu_enum ops[] = {
    { "none", 0 },     { "read_now", 1 },  { "write_now", 2 }, { "read", 3 }, { "write", 4 },
    { "map_read", 5 }, { "map_write", 6 }, { "copy", 7 },      { "hold", 8 }, { "release", 9 },
};

static const struct vfu_field commands[] = {
    { .name = "OP", .lsb = 0, .width = 4, .enums = ops, .nenums = COUNT(ops), .doc = "a write of any but none starts it" },
    { .name = "KEEP", .lsb = 8, .width = 1, .doc = "write the buffer as it is, not the pattern" },
    { .name = "IRQ", .lsb = 9, .width = 1, .doc = "set INT_STATUS.DMA at the end" },
};

static const struct vfu_field statuses[] = {
    { .name = "ERRNO", .lsb = 0, .width = 16, .doc = "of the last transfer, 0: none" },
    { .name = "BUSY", .lsb = 31, .width = 1 },
};

static const struct vfu_reg registers[] = {
    REG(ID, 0x000, 4, RO, .reset = 0x31564454, .doc = "\"TDV1\""),
    REG(SCRATCH, 0x004, 4, RW, .doc = "reset value: parameter scratch"),

    REG(K_RW, 0x010, 4, RW),
    REG(K_RO, 0x014, 4, RO, .reset = 0x12345678),
    REG(K_WO, 0x018, 4, WO),
    REG(K_W1C, 0x01c, 4, W1C, .reset = 0xffffffff),
    REG(K_W1S, 0x020, 4, W1S),
    REG(K_W1T, 0x024, 4, W1T, .reset = 0x0000ffff),
    REG(K_W0C, 0x028, 4, W0C, .reset = 0xffffffff),
    REG(K_RC, 0x02c, 4, RC, .reset = 0x5a5a5a5a),
    REG(K_RS, 0x030, 4, RS, .reset = 0x5a5a5a5a),
    REG(K_WONCE, 0x034, 4, WONCE),
    REG(K_RESERVED, 0x038, 4, RESERVED, .reset = 0x0badcafe),
    REG(K_UNIMP, 0x03c, 4, UNIMP, .reset = 0xdeadbeef),
    REG(PEEK_SEL, 0x040, 4, RW, .doc = "which of the twelve above, 0: K_RW"),
    REG(PEEK, 0x044, 4, RW, ON_BOTH, .doc = "its value as hardware sees and sets it"),

    REG(W8, 0x050, 1, RW),
    REG(W16, 0x052, 2, RW),
    REG(W32, 0x054, 4, RW),
    REG(W64, 0x058, 8, RW),
    REG(BE32, 0x060, 4, RW, .flags = VFU_REG_BIG_ENDIAN),
    REG(BE64, 0x068, 8, RW, .flags = VFU_REG_BIG_ENDIAN),
    REG(LAST, 0x070, 8, RW, .flags = VFU_REG_COMMIT_LAST | VFU_REG_HOOK_WRITE),
    REG(LAST_WRITES, 0x078, 4, RO),
    REG(PARTS, 0x080, 8, RW, ON_WRITE),
    REG(PARTS_WRITES, 0x088, 4, RO),
    REG(STICKY, 0x090, 4, RW, .flags = VFU_REG_STICKY),
    REG(LOCK, 0x094, 4, RW, .doc = "bit 0 locks LOCKED"),
    REG(LOCKED, 0x098, 4, RW),
    REG(LOCKED_HOOK, 0x09c, 4, RW, .doc = "locked while SCRATCH is 0x4b434f4c"),
    REG(FIELDS, 0x0a0, 4, RW, WITH(mixed)),
    REG(INVERT, 0x0a4, 4, RW, ON_WRITE, .doc = "keeps the complement"),
    REG(READS, 0x0a8, 4, RO, ON_READ, .doc = "counts its reads"),
    REG(BAD_WRITE, 0x0ac, 4, RW, ON_WRITE, .doc = "0xbad is a bus error"),
    REG(BAD_READ, 0x0b0, 4, RW, ON_READ, .doc = "reads are bus errors"),
    REG(GUEST_ERROR, 0x0b4, 4, WO, ON_WRITE),
    REG(GUEST_ERRORS, 0x0b8, 4, RO),
    REG(ARRAY, 0x100, 4, RW, .count = 8, .stride = 8),
    CH(ADD, 0x00, 4, WO, ON_WRITE),
    CH(DATA, 0x04, 4, RW, .count = 3),
    CH(SUM, 0x10, 4, RO, .doc = "of what ADD got"),

    REG(INT_STATUS, 0x200, 4, RO, WITH(causes), .doc = "why the interrupt is asserted"),
    REG(INT_MASK, 0x204, 4, RW, .reset = 0xffffffff),
    REG(INT_SET, 0x208, 4, WO, ON_WRITE),
    REG(INT_ACK, 0x20c, 4, WO, ON_WRITE),
    REG(IRQ_RAISE, 0x210, 4, WO, ON_WRITE),
    REG(IRQ_LOWER, 0x214, 4, WO, ON_WRITE),
    REG(IRQ_RESULT, 0x218, 4, RO, .doc = "0, 1 (pending) or minus an errno"),
    REG(IRQ_SIGNAL, 0x21c, 4, WO, ON_WRITE, .doc = "3: error, 4: request"),

    REG(DMA_ADDR, 0x300, 8, RW),
    REG(DMA_LEN, 0x308, 8, RW, .doc = "bytes, up to 1 MiB"),
    REG(DMA_DST, 0x310, 8, RW, .doc = "where COPY writes"),
    REG(DMA_SEED, 0x318, 4, RW),
    REG(DMA_SUM, 0x31c, 4, RO, .doc = "FNV-1a of the bytes moved"),
    REG(DMA_CMD, 0x320, 4, RW, ON_WRITE, WITH(commands)),
    REG(DMA_STATUS, 0x324, 4, RO, WITH(statuses)),
    REG(DMA_DONE, 0x328, 4, RO, .doc = "transfers ended"),
    REG(WIN_OFF, 0x330, 8, RW),
    REG(WIN_DATA, 0x338, 4, RW, ON_BOTH, .doc = "four bytes of the window held"),

    REG(TIMER_DELAY, 0x400, 8, RW, .doc = "ns"),
    REG(TIMER_PERIOD, 0x408, 8, RW, .doc = "ns, 0: once"),
    REG(TIMER_CMD, 0x410, 4, WO, ON_WRITE, .doc = "1: start, 2: cancel the last, 3: start with interrupt"),
    REG(TIMER_FIRED, 0x414, 4, RO),
    REG(TIMER_RESULT, 0x418, 4, RO),
    REG(DEFER, 0x420, 4, WO, ON_WRITE, .doc = "so many pieces of deferred work, up to 64"),
    REG(DEFERRED, 0x424, 4, RO),
    REG(BUSY_US, 0x428, 4, WO, ON_WRITE, .doc = "holds the device for that long, up to 100000"),

    REG(RAM_BAR, 0x500, 4, RW, .reset = 2),
    REG(RAM_OFF, 0x504, 4, RW),
    REG(RAM_DATA, 0x508, 4, RW, ON_BOTH, .doc = "the memory of RAM_BAR at RAM_OFF, as the device sees it"),
    REG(POWER, 0x50c, 4, RO, .doc = "D state"),
    REG(RESETS, 0x510, 4, RO, .flags = VFU_REG_STICKY),
    REG(RESET_KIND, 0x514, 4, RO, .doc = "of the last: 0 power, 1 bus, 2 FLR"),
    REG(ATTACHES, 0x518, 4, RO, .flags = VFU_REG_STICKY),
    REG(DETACHES, 0x51c, 4, RO, .flags = VFU_REG_STICKY),

    REG(BELL_OWN, 0x1000, 4, RW),
    REG(BELL_SHARED1, 0x1004, 4, RW),
    REG(BELL_SHARED2, 0x1008, 4, RW),
    REG(BELL_MATCH, 0x100c, 4, RW, .doc = "rings for 0x11 and for 0x22"),
    REG(BELL_SHADOW, 0x1010, 4, RW),
    REG(BELL_WIDE, 0x1018, 8, RW),
    REG(BELL_ANY, 0x1020, 4, RW, .doc = "rings for a write of any width"),
    REG(RINGS, 0x1080, 4, RO, .count = BELLS),
    REG(BELL_IRQ, 0x10a4, 4, RW, .doc = "not 0: each ring sets INT_STATUS.BELL"),
    REG(RUNG, 0x1100, 8, RO, .count = BELLS),

    REG(IO_SCRATCH, 0x00, 4, RW, IN(1)),
    REG(IO_ID, 0x04, 2, RO, IN(1), .reset = 0x4f49),
    REG(FIFO, 0x08, 1, RW, IN(1), ON_BOTH),
    REG(FIFO_LEVEL, 0x09, 1, RO, IN(1)),
    REG(IO_BELL, 0x10, 1, RW, IN(1)),
    REG(MARK, 0x00, 4, RO, IN(4), .reset = 0x504d4d53),
};

static const struct vfu_group groups[] = { { .name = "CH", .region = 0, .count = 4, .offset = 0x180, .stride = 0x20 } };

#define WHILE_BUSY(id) { .reg = (id), .cond = DMA_STATUS, .mask = DMA_BUSY, .value = DMA_BUSY }
static const struct vfu_lock locks[] = {
    { .reg = LOCKED, .cond = LOCK, .mask = 1, .value = 1 },
    { .reg = LOCKED_HOOK, .cond = VFU_NONE, .hook = LOCKED_HOOK },
    WHILE_BUSY(DMA_ADDR), WHILE_BUSY(DMA_LEN), WHILE_BUSY(DMA_DST), WHILE_BUSY(DMA_SEED), WHILE_BUSY(DMA_CMD),
};

static const struct vfu_regmap map = {
    .struct_size = sizeof map,
    .regs = registers,
    .nregs = COUNT(registers),
    .reg_size = sizeof registers[0],
    .groups = groups,
    .ngroups = COUNT(groups),
    .group_size = sizeof groups[0],
    .locks = locks,
    .nlocks = COUNT(locks),
    .lock_size = sizeof locks[0],
};

static const struct vfu_area areas[] = { { 0x1000, 0x1000 }, { 0x4000, 0x8000 } };

#define OTHERS                                                                                                         \
    { .index = 0, .size = 65536 },                                                                                     \
    { .index = 1, .type = VFU_BAR_IO, .size = 64, .access_sizes = 1 | 2 | 4, .unmapped = VFU_UNMAPPED_ONES },          \
    { .index = 2, .type = VFU_BAR_MEM64, .size = 4 << 20, .flags = VFU_BAR_RAM | VFU_BAR_PREFETCH },                   \
    { .index = 5, .size = 4096, .flags = VFU_BAR_RAW, .unmapped = VFU_UNMAPPED_ERROR }

static const struct vfu_bar bars_mapped[] = {
    OTHERS,
    { .index = 4, .size = 65536, .flags = VFU_BAR_RAM | VFU_BAR_MMAP, .areas = areas, .nareas = COUNT(areas),
      .area_size = sizeof areas[0] },
};
static const struct vfu_bar bars_plain[] = { OTHERS, { .index = 4, .size = 65536, .flags = VFU_BAR_RAM } };

static const struct vfu_doorbell bells[BELLS] = {
    { .bar = 0, .offset = 0x1000, .size = 4 },
    { .bar = 0, .offset = 0x1004, .size = 4, .share = 1 },
    { .bar = 0, .offset = 0x1008, .size = 4, .share = 1 },
    { .bar = 0, .offset = 0x100c, .size = 4, .flags = VFU_DOORBELL_MATCH, .match = 0x11 },
    { .bar = 0, .offset = 0x100c, .size = 4, .flags = VFU_DOORBELL_MATCH, .match = 0x22 },
    { .bar = 0, .offset = 0x1010, .size = 4, .flags = VFU_DOORBELL_SHADOW },
    { .bar = 0, .offset = 0x1018, .size = 8 },
    { .bar = 0, .offset = 0x1020, .size = 0 },
    { .bar = 1, .offset = 0x10, .size = 1 },
};

/* PCI Firmware Specification 3.0, 5.1: header, and at 0x1c the PCI data structure. Its code type, 0xff, is no system's. */
static const uint8_t rom[512] = {
    [0x00] = 0x55, 0xaa, 1,
    [0x18] = 0x1c, 0,
    [0x1c] = 'P', 'C', 'I', 'R', 0x34, 0x12, 0x57, 0x7e, 0, 0, 0x18, 0, 0, 0, 0, 0xff, 1, 0, 0, 0, 0xff, 0x80, 0, 0,
    [0x40] = 'v', 'f', 'u', ' ', 't', 'e', 's', 't', 'd', 'e', 'v',
};

/* A vendor-specific capability: its length, then a text. */
static const uint8_t vendor_bytes[] = { 2 + 1 + 7, 't', 'e', 's', 't', 'd', 'e', 'v' };
static const struct vfu_pci_cap pci_caps[] = { { .id = 9, .size = sizeof vendor_bytes, .bytes = vendor_bytes } };

void testdev_describe(struct vfu_desc *desc, bool mmap)
{
    desc->pci_flags = VFU_PCI_EXPRESS | VFU_PCI_FLR | VFU_PCI_PM;
    desc->vendor = 0x1234;
    desc->device = 0x7e57;
    desc->subsystem_vendor = 0x1234;
    desc->subsystem = 1;
    desc->revision = 1;
    desc->class_code = 0xff0000;
    desc->msi_vectors = 4;
    desc->msix_vectors = 8;
    desc->msix_bar = 0;
    desc->msix_table = 0x8000;
    desc->msix_pba = 0x9000;
    desc->irq_level = 1 + INT_STATUS;
    desc->irq_mask = 1 + INT_MASK;
    desc->bars = mmap ? bars_mapped : bars_plain;
    desc->nbars = COUNT(bars_mapped);
    desc->bar_size = sizeof bars_mapped[0];
    desc->pci_caps = pci_caps;
    desc->npci_caps = COUNT(pci_caps);
    desc->pci_cap_size = sizeof pci_caps[0];
    desc->regmap = &map;
    desc->rom = rom;
    desc->rom_size = sizeof rom;
    desc->doorbells = bells;
    desc->ndoorbells = COUNT(bells);
    desc->doorbell_size = sizeof bells[0];
}
