/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unit tests of core/pci_config. Offsets and values are spelled out as PCI's own documents have them, not with the
 * names that the code under test uses. The register map is a stand-in that records how accesses are cut. One thread.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "core/pci/pci_config.h"

/* ---- in place of core/base/log.c -------------------------------------------------------------------------------------- */

int log_threshold = LOG_WARN;
static unsigned lines;

void log_write(const char *who, enum log_level level, const char *format, ...)
{
    (void)who;
    (void)level;
    (void)format;
    lines++;
}

/* ---- in place of core/regmap/regmap.c: registers with a value of their own, and a record of accesses -------------------- */

struct reg_cell {
    uint64_t offset, size;
    uint8_t bytes[8];
};

struct regmap {
    struct reg_cell cells[4];
    unsigned n;
};

static char record[256];

static void note(char what, uint64_t offset, uint32_t size)
{
    size_t used = strlen(record);

    snprintf(record + used, sizeof record - used, "%c%llx+%u ", what, (unsigned long long)offset, size);
}

struct reg_cell *regmap_find(const struct regmap *map, uint32_t region, uint64_t offset, uint64_t limit, uint64_t *span)
{
    assert_int_equal(region, 7);
    assert_true(limit > offset);
    *span = limit - offset;
    for (unsigned i = 0; i < map->n; i++) {
        const struct reg_cell *cell = &map->cells[i];

        if (offset >= cell->offset && offset < cell->offset + cell->size) {
            *span = cell->offset + cell->size - offset;
            return (struct reg_cell *)cell;
        }
        if (cell->offset > offset && cell->offset - offset < *span)
            *span = cell->offset - offset;
    }
    return NULL;
}

void regmap_read(struct regmap *map, struct reg_cell *cell, uint64_t offset, uint32_t size, uint8_t *bytes)
{
    assert_true(cell >= map->cells && offset + size <= cell->offset + cell->size);
    memcpy(bytes, cell->bytes + (offset - cell->offset), size);
    note('r', offset, size);
}

void regmap_write(struct regmap *map, struct reg_cell *cell, uint64_t offset, uint32_t size, const uint8_t *bytes)
{
    assert_true(cell >= map->cells && offset + size <= cell->offset + cell->size);
    memcpy(cell->bytes + (offset - cell->offset), bytes, size);
    note('w', offset, size);
}

void regmap_name(const struct regmap *map, const struct reg_cell *cell, char *text, size_t len)
{
    assert_true(cell >= map->cells && cell < map->cells + map->n);
    snprintf(text, len, "REG%u", (unsigned)(cell - map->cells));
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static struct {
    struct pci_config *config;
    unsigned commands, msis, msixs, powers, flrs;
    uint16_t command;
    bool msi_enabled, msix_enabled, function_mask, intx, reset_in_flr, reset_in_power;
    uint32_t msi_mask, power, pending;
} seen;

static void on_command(void *ctx, uint16_t command)
{
    assert_ptr_equal(ctx, &seen);
    seen.commands++;
    seen.command = command;
}

static void on_msi(void *ctx, bool enabled, uint32_t mask_bits)
{
    assert_ptr_equal(ctx, &seen);
    seen.msis++;
    seen.msi_enabled = enabled;
    seen.msi_mask = mask_bits;
}

static void on_msix(void *ctx, bool enabled, bool function_mask)
{
    assert_ptr_equal(ctx, &seen);
    seen.msixs++;
    seen.msix_enabled = enabled;
    seen.function_mask = function_mask;
}

static void on_power(void *ctx, uint32_t state)
{
    assert_ptr_equal(ctx, &seen);
    seen.powers++;
    seen.power = state;
    if (seen.reset_in_power && state == 0)
        pci_config_reset(seen.config);
}

static void on_flr(void *ctx)
{
    assert_ptr_equal(ctx, &seen);
    seen.flrs++;
    if (seen.reset_in_flr)
        pci_config_reset(seen.config);
}

static uint32_t ask_pending(void *ctx)
{
    assert_ptr_equal(ctx, &seen);
    return seen.pending;
}

static bool ask_intx(void *ctx)
{
    assert_ptr_equal(ctx, &seen);
    return seen.intx;
}

static const struct pci_config_events events = {
    .command = on_command,
    .msi = on_msi,
    .msix = on_msix,
    .power = on_power,
    .flr = on_flr,
    .msi_pending = ask_pending,
    .intx_status = ask_intx,
};

/* ---- the device under test --------------------------------------------------------------------------------------- */

/* With everything: PM at 40, MSI at 48, MSI-X at 60, Express at 6c, own capabilities at a8 and b0. */
#define PM 0x40u
#define MSI 0x48u
#define MSIX 0x60u
#define EXP 0x6cu
#define OWN1 0xa8u
#define OWN2 0xb0u

static const struct vfu_bar full_bars[] = {
    {.index = 0, .type = VFU_BAR_MEM32, .size = 0x1000},
    {.index = 1, .type = VFU_BAR_IO, .size = 32, .flags = VFU_BAR_PREFETCH},
    {.index = 2, .type = VFU_BAR_MEM64, .size = UINT64_C(1) << 33, .flags = VFU_BAR_PREFETCH},
    {.index = 5, .type = VFU_BAR_MEM32, .size = 0x4000, .flags = VFU_BAR_PREFETCH},
};
static const uint8_t own1_bytes[] = {0x11, 0x22, 0x33};
static const struct vfu_pci_cap full_caps[] = {
    {.id = 9, .size = 3, .bytes = own1_bytes},
    {.id = 0xf, .size = 0},
};

static struct vfu_desc full_desc(void)
{
    return (struct vfu_desc){
        .struct_size = sizeof(struct vfu_desc),
        .pci_flags = VFU_PCI_PM | VFU_PCI_FLR,
        .caps = VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_MSIX,
        .vendor = 0x1234,
        .device = 0x11e8,
        .subsystem_vendor = 0x1af4,
        .subsystem = 0x1100,
        .class_code = 0x0c0330,
        .revision = 0xa5,
        .msi_vectors = 8,
        .msix_vectors = 65,
        .msix_bar = 5,
        .msix_table = 0x1000,
        .msix_pba = 0x2008,
        .pci_caps = full_caps,
        .npci_caps = 2,
        .pci_cap_size = sizeof(struct vfu_pci_cap),
    };
}

static void make(struct pci_config *config, const struct vfu_desc *desc, struct regmap *map)
{
    assert_int_equal(pci_config_init(config, "dut", desc, full_bars, 4, 5000, map), 0);
    memset(&seen, 0, sizeof seen);
    seen.config = config;
    pci_config_listen(config, &events, &seen);
}

static void make_full(struct pci_config *config)
{
    const struct vfu_desc desc = full_desc();

    make(config, &desc, NULL);
}

static uint32_t get(struct pci_config *config, uint32_t offset, uint32_t size)
{
    uint8_t bytes[4];
    uint32_t value = 0;

    pci_config_read(config, offset, size, bytes);
    for (uint32_t i = 0; i < size; i++)
        value |= (uint32_t)bytes[i] << 8 * i;
    return value;
}

static void put(struct pci_config *config, uint32_t offset, uint32_t size, uint32_t value)
{
    const uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24)};

    pci_config_write(config, offset, size, bytes);
}

/* ---- layout ------------------------------------------------------------------------------------------------------ */

static void check_bytes(struct pci_config *config, uint32_t offset, const uint8_t *want, uint32_t n)
{
    uint8_t got[256];

    pci_config_read(config, offset, n, got);
    assert_memory_equal(got, want, n);
}

static void test_full_layout(void **state)
{
    static const uint8_t header[0x40] = {
        0x34, 0x12, 0xe8, 0x11, 0x00, 0x00, 0x10, 0x00, 0xa5, 0x30, 0x03, 0x0c, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xf4, 0x1a, 0x00, 0x11,
        0x00, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
    };
    static const uint8_t pm[8] = {0x01, MSI, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00};
    static const uint8_t msi[24] = {0x05, MSIX, 0x86, 0x01}; /* 64 bits, mask bits, 8 vectors */
    static const uint8_t msix[12] = {0x11, EXP, 0x40, 0x00, 0x05, 0x10, 0x00, 0x00, 0x0d, 0x20, 0x00, 0x00};
    static const uint8_t express[60] = {
        0x10, OWN1, 0x02, 0x00,             /* version 2, endpoint */
        0x00, 0x80, 0x00, 0x10,             /* FLR, role-based errors */
        0x10, 0x28, 0x00, 0x00,             /* relaxed order, no snoop, 512 byte reads */
        0x11, 0x00, 0x40, 0x00,             /* 2.5 GT/s, x1, ASPM optional */
        0x00, 0x00, 0x11, 0x00,             /* 2.5 GT/s, x1 */
        [0x24] = 0x10, [0x2c] = 0x02, [0x30] = 0x01, /* timeout disable; 2.5 GT/s */
    };
    static const uint8_t own[12] = {0x09, OWN2, 0x11, 0x22, 0x33, 0x00, 0x00, 0x00, 0x0f, 0x00, 0x00, 0x00};
    struct pci_config config;
    uint8_t rest[4096];

    (void)state;
    make_full(&config);
    assert_int_equal(config.size, 4096);
    assert_int_equal(config.cap_pm, PM);
    assert_int_equal(config.cap_msi, MSI);
    assert_int_equal(config.cap_msix, MSIX);
    assert_int_equal(config.cap_express, EXP);
    assert_false(config.no_soft_reset);
    assert_true(config.bar_size[2] == UINT64_C(1) << 33 && config.bar_size[3] == 0);
    assert_int_equal(config.bar_type[1], VFU_BAR_IO);
    assert_int_equal(config.rom_size, 8192);
    check_bytes(&config, 0, header, sizeof header);
    check_bytes(&config, PM, pm, sizeof pm);
    check_bytes(&config, MSI, msi, sizeof msi);
    check_bytes(&config, MSIX, msix, sizeof msix);
    check_bytes(&config, EXP, express, sizeof express);
    check_bytes(&config, OWN1, own, sizeof own);
    pci_config_read(&config, 0, sizeof rest, rest);
    for (uint32_t i = OWN2 + 4; i < sizeof rest; i++)
        assert_int_equal(rest[i], 0);
    assert_memory_equal(rest, header, sizeof header);
    assert_int_equal(seen.commands + seen.msis + seen.msixs + seen.powers + seen.flrs, 0);
    pci_config_fini(&config);
}

static void test_bare_layout(void **state)
{
    struct vfu_desc desc = {.vendor = 0x1234, .device = 1, .class_code = 0xff0000, .msix_bar = VFU_NONE};
    struct pci_config config;
    uint8_t all[256];

    (void)state;
    assert_int_equal(pci_config_init(&config, "dut", &desc, NULL, 0, 0, NULL), 0);
    assert_int_equal(config.size, 256);
    assert_int_equal(config.cap_pm | config.cap_msi | config.cap_msix | config.cap_express, 0);
    assert_int_equal(get(&config, 0x00, 4), 0x00011234);
    assert_int_equal(get(&config, 0x06, 2), 0); /* no list */
    assert_int_equal(get(&config, 0x34, 1), 0);
    assert_int_equal(get(&config, 0x3d, 1), 0);
    /* Without listeners, and all ones everywhere: only what is there takes them. */
    memset(all, 0xff, sizeof all);
    pci_config_write(&config, 0, sizeof all, all);
    assert_int_equal(get(&config, 0x00, 4), 0x00011234);
    assert_int_equal(get(&config, 0x04, 4), 0x0547);
    assert_int_equal(get(&config, 0x08, 4), 0xff000000);
    assert_int_equal(get(&config, 0x0c, 4), 0xffff);
    for (uint32_t at = 0x10; at < 0x3c; at += 4)
        assert_int_equal(get(&config, at, 4), 0);
    assert_int_equal(get(&config, 0x3c, 4), 0xff);
    for (uint32_t at = 0x40; at < 256; at += 4)
        assert_int_equal(get(&config, at, 4), 0);
    pci_config_fini(&config);
    assert_null(config.bytes);
    /* Vectors without the flag of their kind are no capability. */
    desc.msi_vectors = 4;
    desc.msix_vectors = 4;
    desc.pci_flags = VFU_PCI_EXPRESS | VFU_PCI_PM | VFU_PCI_NO_SOFT_RESET;
    assert_int_equal(pci_config_init(&config, "dut", &desc, NULL, 0, 0, NULL), 0);
    assert_int_equal(config.size, 4096);
    assert_int_equal(config.cap_msi | config.cap_msix, 0);
    assert_int_equal(config.cap_express, 0x48);
    assert_true(config.no_soft_reset);
    assert_int_equal(get(&config, 0x44, 2), 0x0008);
    assert_int_equal(get(&config, 0x48 + 4, 4), 0x8000); /* no FLR */
    pci_config_fini(&config);
}

static void test_msi_counts(void **state)
{
    (void)state;
    for (uint32_t vectors = 1; vectors <= 40; vectors++) {
        struct vfu_desc desc = {.vendor = 1, .caps = VFU_CAP_MSI, .msi_vectors = vectors};
        const bool good = vectors <= 32 && !(vectors & (vectors - 1));
        struct pci_config config;

        lines = 0;
        assert_int_equal(pci_config_init(&config, "dut", &desc, NULL, 0, 0, NULL), good ? 0 : -EINVAL);
        assert_int_equal(lines, !good);
        if (!good)
            continue;
        assert_int_equal(1u << (get(&config, 0x42, 2) >> 1 & 7), vectors);
        put(&config, 0x50, 4, 0xffffffff);
        assert_true(get(&config, 0x50, 4) == (uint32_t)((UINT64_C(1) << vectors) - 1));
        pci_config_fini(&config);
    }
}

static void refused(const struct vfu_desc *desc)
{
    struct pci_config config;

    lines = 0;
    assert_int_equal(pci_config_init(&config, "dut", desc, full_bars, 4, 0, NULL), -EINVAL);
    assert_int_equal(lines, 1);
    assert_null(config.bytes);
}

static void test_refused(void **state)
{
    static const uint8_t many[256];
    static const struct vfu_pci_cap too_long[] = {{.id = 9, .size = 191, .bytes = many}};
    static const struct vfu_pci_cap longest[] = {{.id = 9, .size = 190, .bytes = many}};
    static const struct vfu_pci_cap two[] = {{.id = 9, .size = 190, .bytes = many}, {.id = 9}};
    static const struct vfu_pci_cap no_bytes[] = {{.id = 9, .size = 1}};
    static const struct vfu_pci_cap second_pm[] = {{.id = 1, .size = 6, .bytes = many}};
    struct vfu_desc bare = {.vendor = 1, .device = 2, .pci_cap_size = sizeof(struct vfu_pci_cap)}, desc;
    struct pci_config config;

    (void)state;
    desc = bare;
    desc.vendor = 0xffff;
    refused(&desc);
    desc = bare;
    desc.device = 0xffff;
    refused(&desc);
    desc = bare;
    desc.subsystem_vendor = 0xffff;
    refused(&desc);
    desc = bare;
    desc.subsystem = 0xffff;
    refused(&desc);
    desc = bare;
    desc.class_code = 0x1000000;
    refused(&desc);
    desc = bare;
    desc.revision = 0x100;
    refused(&desc);
    desc = bare;
    desc.pci_caps = too_long;
    desc.npci_caps = 1;
    refused(&desc);
    desc = bare;
    desc.pci_caps = two;
    desc.npci_caps = 2;
    refused(&desc);
    desc = bare;
    desc.pci_caps = no_bytes;
    desc.npci_caps = 1;
    refused(&desc);
    desc = bare;
    desc.pci_caps = second_pm;
    desc.npci_caps = 1;
    desc.pci_flags = VFU_PCI_PM;
    refused(&desc);
    desc = bare;
    desc.pci_caps = longest;
    desc.npci_caps = 1;
    desc.pci_flags = VFU_PCI_PM;
    refused(&desc);
    desc = bare;
    desc.pci_caps = longest;
    desc.npci_caps = 1;
    desc.pci_cap_size = 8;
    refused(&desc);
    desc = bare;
    desc.npci_caps = 1;
    refused(&desc);
    desc = bare;
    desc.pci_caps = longest;
    desc.npci_caps = 1;
    assert_int_equal(pci_config_init(&config, "dut", &desc, full_bars, 4, 0, NULL), 0);
    pci_config_fini(&config);
    desc.pci_caps = second_pm; /* its own, where the host lays out none */
    assert_int_equal(pci_config_init(&config, "dut", &desc, full_bars, 4, 0, NULL), 0);
    assert_int_equal(config.cap_pm, 0);
    pci_config_fini(&config);
}

static void test_msix_places(void **state)
{
    static const struct {
        uint32_t vectors, bar, table, pba;
        bool good;
    } cases[] = {
        {2048, 5, 0, 0x3ff8, false},         /* the PBA has 256 bytes */
        {512, 5, 0, 0x3fc0, true},           /* to the last byte */
        {512, 5, 0, 0x3fc8, false},
        {1024, 5, 0, 0x3f80, false},         /* 16 KiB of table below it */
        {1, 5, 0x3ff0, 0, true},
        {1, 5, 0x3ff8, 0, false},
        {1, 5, 0xfffffff8, 0, false},
        {1, 5, 0, 0xfffffff8, false},
        {2049, 2, 0, 0x10000, false},
        {2048, 2, 0, 0x8000, true},
        {2048, 2, 0, 0x7ff8, false},         /* overlap by one */
        {2048, 2, 0x100, 0, true},
        {2048, 2, 0xf8, 0, false},
        {4, 5, 4, 0x100, false},
        {4, 5, 0, 0x104, false},
        {4, 5, 0x40, 0x40, false},
        {4, 1, 0, 0x40, false},              /* I/O */
        {4, 3, 0, 0x40, false},              /* the upper half of BAR 2 */
        {4, 4, 0, 0x40, false},
        {4, 6, 0, 0x40, false},
        {4, VFU_NONE, 0, 0x40, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vfu_desc desc = {
            .vendor = 1,
            .caps = VFU_CAP_MSIX,
            .msix_vectors = cases[i].vectors,
            .msix_bar = cases[i].bar,
            .msix_table = cases[i].table,
            .msix_pba = cases[i].pba,
        };
        struct pci_config config;

        lines = 0;
        assert_int_equal(pci_config_init(&config, "dut", &desc, full_bars, 4, 0, NULL), cases[i].good ? 0 : -EINVAL);
        assert_int_equal(lines, !cases[i].good);
        if (!cases[i].good)
            continue;
        assert_int_equal(get(&config, 0x42, 2), cases[i].vectors - 1);
        assert_int_equal(get(&config, 0x44, 4), cases[i].table | cases[i].bar);
        assert_int_equal(get(&config, 0x48, 4), cases[i].pba | cases[i].bar);
        pci_config_fini(&config);
    }
}

static void test_bars_refused(void **state)
{
    static const struct vfu_bar bad[][2] = {
        {{.index = 6, .size = 16}},
        {{.index = 5, .type = VFU_BAR_MEM64, .size = 16}},
        {{.index = 0, .size = 0}},
        {{.index = 0, .size = 24}},
        {{.index = 0, .size = 8}},
        {{.index = 0, .type = 3, .size = 16}},
        {{.index = 0, .size = UINT64_C(1) << 32}},
        {{.index = 0, .type = VFU_BAR_IO, .size = 2}},
        {{.index = 1, .size = 16}, {.index = 1, .size = 16}},
        {{.index = 1, .type = VFU_BAR_MEM64, .size = 16}, {.index = 2, .size = 16}},
        {{.index = 2, .size = 16}, {.index = 1, .type = VFU_BAR_MEM64, .size = 16}},
    };
    const struct vfu_desc desc = {.vendor = 1};
    struct pci_config config;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        lines = 0;
        assert_int_equal(pci_config_init(&config, "dut", &desc, bad[i], i < 8 ? 1 : 2, 0, NULL), -EINVAL);
        assert_int_equal(lines, 1);
    }
    assert_int_equal(pci_config_init(&config, "dut", &desc, NULL, 0, (UINT64_C(1) << 31) + 1, NULL), -EINVAL);
    assert_int_equal(pci_config_init(&config, "dut", &desc, NULL, 0, UINT64_C(1) << 31, NULL), 0);
    put(&config, 0x30, 4, 0xffffffff);
    assert_true(get(&config, 0x30, 4) == 0x80000001);
    pci_config_fini(&config);
}

/* ---- writes ------------------------------------------------------------------------------------------------------ */

/* All ones, then an address, by pieces of each size: what reads back is the mask of the size, and the type. */
static void test_sizing(void **state)
{
    static const uint32_t ones[6] = {0xfffff000, 0xffffffe1, 0x0000000c, 0xfffffffe, 0, 0xffffc008};

    (void)state;
    for (uint32_t piece = 1; piece <= 4; piece *= 2) {
        struct pci_config config;

        make_full(&config);
        for (uint32_t at = 0x10; at < 0x28; at += piece)
            put(&config, at, piece, 0xffffffff);
        for (uint32_t i = 0; i < 6; i++)
            assert_true(get(&config, 0x10 + 4 * i, 4) == ones[i]);
        put(&config, 0x30, 4, 0xffffffff);
        assert_true(get(&config, 0x30, 4) == 0xffffe001);
        for (uint32_t at = 0x10; at < 0x34; at += piece)
            put(&config, at, piece, 0x5a5a5a5a);
        assert_true(get(&config, 0x10, 4) == 0x5a5a5000);
        assert_true(get(&config, 0x14, 4) == 0x5a5a5a41);
        assert_true(get(&config, 0x18, 4) == 0x0000000c);
        assert_true(get(&config, 0x1c, 4) == 0x5a5a5a5a);
        assert_true(get(&config, 0x20, 4) == 0);
        assert_true(get(&config, 0x24, 4) == 0x5a5a4008);
        assert_true(get(&config, 0x28, 4) == 0);
        assert_true(get(&config, 0x2c, 4) == 0x11001af4);
        assert_true(get(&config, 0x30, 4) == 0x5a5a4000);
        for (uint32_t at = 0x10; at < 0x28; at += piece)
            put(&config, at, piece, 0);
        for (uint32_t i = 0; i < 6; i++)
            assert_true(get(&config, 0x10 + 4 * i, 4) == (ones[i] & (i == 1 ? 3 : i == 2 || i == 5 ? 0xf : 0)));
        assert_int_equal(seen.commands + seen.msis + seen.msixs + seen.powers + seen.flrs, 0);
        pci_config_fini(&config);
    }
}

static void test_command(void **state)
{
    struct pci_config config;

    (void)state;
    make_full(&config);
    put(&config, 0x04, 2, 0xffff);
    assert_int_equal(get(&config, 0x04, 2), 0x0547);
    assert_int_equal(seen.commands, 1);
    assert_int_equal(seen.command, 0x0547);
    put(&config, 0x04, 2, 0x0547);
    assert_int_equal(seen.commands, 1); /* nothing new */
    put(&config, 0x05, 1, 0);
    assert_int_equal(seen.command, 0x0047);
    put(&config, 0x04, 1, 0x06);
    assert_int_equal(seen.command, 0x0006);
    put(&config, 0x05, 1, 0x04);
    assert_int_equal(seen.command, 0x0406);
    assert_int_equal(seen.commands, 4);
    put(&config, 0x04, 4, 0xffff0000); /* with status, which has nothing to clear */
    assert_int_equal(get(&config, 0x04, 4), 0x00100000);
    assert_int_equal(seen.command, 0);
    /* Cache line, latency, header type, BIST; the interrupt's line and pin. */
    put(&config, 0x0c, 4, 0xffffffff);
    assert_int_equal(get(&config, 0x0c, 4), 0x0000ffff);
    put(&config, 0x3c, 4, 0xffffff0b);
    assert_int_equal(get(&config, 0x3c, 4), 0x0000010b);
    put(&config, 0x00, 4, 0);
    put(&config, 0x08, 4, 0);
    put(&config, 0x34, 4, 0);
    assert_true(get(&config, 0x00, 4) == 0x11e81234);
    assert_true(get(&config, 0x08, 4) == 0x0c0330a5);
    assert_int_equal(get(&config, 0x34, 4), 0x40);
    pci_config_fini(&config);
}

static void test_status(void **state)
{
    struct pci_config config;

    (void)state;
    make_full(&config);
    seen.intx = true;
    assert_int_equal(get(&config, 0x04, 4), 0x00180000);
    seen.intx = false;
    assert_int_equal(get(&config, 0x04, 4), 0x00100000);
    seen.intx = true;
    assert_int_equal(get(&config, 0x06, 2), 0x0018);
    assert_int_equal(get(&config, 0x06, 1), 0x18);
    assert_int_equal(get(&config, 0x07, 1), 0);
    seen.intx = false;
    assert_int_equal(get(&config, 0x06, 2), 0x0010);
    put(&config, 0x06, 2, 0xffff);
    assert_int_equal(get(&config, 0x06, 2), 0x0010);
    /* A written 1 clears the error bits, which no path of ours sets: put one there as hardware would. */
    config.bytes[0x07] |= 0x90;
    put(&config, 0x07, 1, 0x10);
    assert_int_equal(get(&config, 0x06, 2), 0x8010);
    put(&config, 0x04, 4, 0x80000000);
    assert_int_equal(get(&config, 0x06, 2), 0x0010);
    pci_config_fini(&config);
}

static void test_power(void **state)
{
    struct pci_config config;

    (void)state;
    make_full(&config);
    put(&config, PM + 4, 2, 0xfffc);
    assert_int_equal(get(&config, PM + 4, 4), 0);
    put(&config, PM + 4, 1, 3);
    assert_int_equal(get(&config, PM + 4, 2), 3);
    assert_int_equal(seen.powers, 1);
    assert_int_equal(seen.power, 3);
    put(&config, PM + 4, 2, 3);
    put(&config, PM + 4, 2, 1); /* D1 and D2: ignored */
    put(&config, PM + 4, 4, 2);
    assert_int_equal(get(&config, PM + 4, 2), 3);
    assert_int_equal(seen.powers, 1);
    put(&config, PM + 4, 2, 0);
    assert_int_equal(seen.powers, 2);
    assert_int_equal(seen.power, 0);
    put(&config, PM + 4, 1, 2);
    assert_int_equal(get(&config, PM + 4, 2), 0);
    assert_int_equal(seen.powers, 2);
    put(&config, PM, 4, 0xffffffff);
    assert_int_equal(get(&config, PM, 4), 0x00034801);
    /* The listener resets the device at D3hot to D0. */
    put(&config, 0x04, 2, 6);
    put(&config, PM + 4, 2, 3);
    seen.reset_in_power = true;
    put(&config, PM + 4, 2, 0);
    assert_int_equal(seen.powers, 4);
    assert_int_equal(get(&config, 0x04, 2), 0);
    assert_int_equal(seen.command, 0);
    pci_config_fini(&config);
}

static void test_msi(void **state)
{
    struct pci_config config;

    (void)state;
    make_full(&config);
    put(&config, MSI + 2, 2, 0xffff);
    assert_int_equal(get(&config, MSI + 2, 2), 0x01f7);
    assert_int_equal(seen.msis, 1);
    assert_true(seen.msi_enabled);
    put(&config, MSI + 2, 1, 0x70); /* by its low byte */
    assert_int_equal(seen.msis, 2);
    assert_false(seen.msi_enabled);
    put(&config, MSI + 3, 1, 0xff);
    put(&config, MSI, 4, 0xffff0000 | 0xffff);
    assert_true(get(&config, MSI, 4) == 0x01f76005);
    put(&config, MSI + 4, 4, 0xfee00abf);
    put(&config, MSI + 8, 4, 0x12345678);
    put(&config, MSI + 12, 4, 0xffff4041);
    assert_true(get(&config, MSI + 4, 4) == 0xfee00abc);
    assert_true(get(&config, MSI + 8, 4) == 0x12345678);
    assert_true(get(&config, MSI + 12, 4) == 0x4041);
    assert_int_equal(seen.msis, 3);
    put(&config, MSI + 16, 4, 0xffffff81);
    assert_int_equal(get(&config, MSI + 16, 4), 0x81);
    assert_int_equal(seen.msis, 4);
    assert_int_equal(seen.msi_mask, 0x81);
    put(&config, MSI + 16, 1, 0x01);
    assert_int_equal(seen.msi_mask, 0x01);
    put(&config, MSI + 17, 1, 0xff);
    put(&config, MSI + 18, 2, 0xffff);
    assert_int_equal(seen.msis, 5);
    /* Pending bits are asked for, and cannot be written. */
    seen.pending = 0x7a;
    put(&config, MSI + 20, 4, 0xffffffff);
    assert_int_equal(get(&config, MSI + 20, 4), 0x7a);
    assert_int_equal(get(&config, MSI + 20, 1), 0x7a);
    assert_int_equal(get(&config, MSI + 21, 1), 0);
    seen.pending = 0;
    assert_int_equal(get(&config, MSI + 20, 2), 0);
    pci_config_fini(&config);
}

static void test_msix(void **state)
{
    struct pci_config config;

    (void)state;
    make_full(&config);
    put(&config, MSIX + 2, 2, 0xffff);
    assert_int_equal(get(&config, MSIX + 2, 2), 0xc040);
    assert_int_equal(seen.msixs, 1);
    assert_true(seen.msix_enabled && seen.function_mask);
    put(&config, MSIX + 3, 1, 0x80);
    assert_int_equal(seen.msixs, 2);
    assert_true(seen.msix_enabled && !seen.function_mask);
    put(&config, MSIX + 2, 1, 0xff);
    put(&config, MSIX, 4, 0x80000000);
    put(&config, MSIX + 4, 4, 0xffffffff);
    put(&config, MSIX + 8, 4, 0xffffffff);
    assert_int_equal(seen.msixs, 2);
    assert_true(get(&config, MSIX, 4) == 0x80406c11);
    assert_int_equal(get(&config, MSIX + 4, 4), 0x1005);
    assert_int_equal(get(&config, MSIX + 8, 4), 0x200d);
    put(&config, MSIX, 4, 0x40000000);
    assert_true(!seen.msix_enabled && seen.function_mask);
    pci_config_fini(&config);
}

static void test_express(void **state)
{
    struct vfu_desc desc = full_desc();
    struct pci_config config;

    (void)state;
    make_full(&config);
    for (uint32_t at = EXP; at < EXP + 60; at += 4)
        if (at != EXP + 8)
            put(&config, at, 4, 0xffffffff);
    put(&config, EXP + 8, 4, 0xffff7fff);
    assert_true(get(&config, EXP, 4) == 0x0002a810);
    assert_true(get(&config, EXP + 0x04, 4) == 0x10008000);
    assert_true(get(&config, EXP + 0x08, 4) == 0x78ff);
    assert_true(get(&config, EXP + 0x0c, 4) == 0x00400011);
    assert_true(get(&config, EXP + 0x10, 4) == 0x001100cb);
    for (uint32_t at = 0x14; at < 0x24; at += 4)
        assert_true(get(&config, EXP + at, 4) == 0);
    assert_true(get(&config, EXP + 0x24, 4) == 0x10);
    assert_true(get(&config, EXP + 0x28, 4) == 0x10);
    assert_true(get(&config, EXP + 0x2c, 4) == 2);
    assert_true(get(&config, EXP + 0x30, 4) == 1);
    assert_true(get(&config, EXP + 0x34, 4) == 0);
    assert_true(get(&config, EXP + 0x38, 4) == 0);
    assert_int_equal(seen.flrs, 0);
    config.bytes[EXP + 0xa] = 0x0f; /* device status: cleared by ones */
    put(&config, EXP + 0xa, 1, 0x05);
    assert_int_equal(get(&config, EXP + 0xa, 2), 0x0a);
    pci_config_fini(&config);

    /* Without FLR the bit is no function. */
    desc.pci_flags = VFU_PCI_EXPRESS | VFU_PCI_PM;
    make(&config, &desc, NULL);
    put(&config, EXP + 8, 2, 0xffff);
    assert_int_equal(get(&config, EXP + 8, 2), 0x78ff);
    assert_int_equal(seen.flrs, 0);
    pci_config_fini(&config);
}

static void test_flr(void **state)
{
    struct pci_config config;

    (void)state;
    make_full(&config);
    put(&config, EXP + 8, 2, 0x8010);
    assert_int_equal(seen.flrs, 1);
    assert_int_equal(get(&config, EXP + 8, 2), 0x0010);
    put(&config, EXP + 9, 1, 0x80);
    put(&config, EXP + 8, 4, 0x00008000);
    assert_int_equal(seen.flrs, 3);
    put(&config, EXP + 8, 1, 0x80); /* the low byte is something else */
    put(&config, EXP + 0xa, 2, 0x8080);
    put(&config, EXP + 9, 1, 0x28);
    assert_int_equal(seen.flrs, 3);
    /* The event comes after the bytes are stored, so a reset in it is the last word. */
    seen.reset_in_flr = true;
    put(&config, 0x04, 2, 0x0006);
    put(&config, 0x10, 4, 0xfebf0000);
    put(&config, EXP + 8, 2, 0xd8ff);
    assert_int_equal(seen.flrs, 4);
    assert_int_equal(get(&config, EXP + 8, 2), 0x2810);
    assert_int_equal(get(&config, 0x04, 2), 0);
    assert_int_equal(get(&config, 0x10, 4), 0);
    assert_int_equal(seen.command, 0);
    pci_config_fini(&config);
}

/* ---- how accesses are cut ---------------------------------------------------------------------------------------- */

static void test_any_access(void **state)
{
    struct pci_config config, other;
    uint8_t all[4096], part[4096], ones[64];

    (void)state;
    make_full(&config);
    pci_config_read(&config, 0, sizeof all, all);
    for (uint32_t offset = 0; offset < 0x80; offset++)
        for (uint32_t size = 1; size <= 64; size++) {
            memset(part, 0xee, sizeof part);
            pci_config_read(&config, offset, size, part);
            assert_memory_equal(part, all + offset, size);
            assert_int_equal(part[size], 0xee);
        }
    pci_config_read(&config, 4095, 1, part);
    assert_int_equal(part[0], 0);
    pci_config_read(&config, 1, 4095, part);
    assert_memory_equal(part, all + 1, 4095);
    /* A write of any place and length is the same as its bytes one by one. */
    memset(ones, 0xff, sizeof ones);
    for (uint32_t offset = 0; offset < 0x40; offset += 3) {
        make_full(&other);
        for (uint32_t i = 0; i < 61; i++)
            pci_config_write(&other, offset + i, 1, ones);
        pci_config_reset(&config);
        pci_config_write(&config, offset, 61, ones);
        pci_config_read(&config, 0, sizeof all, all);
        pci_config_read(&other, 0, sizeof part, part);
        assert_memory_equal(all, part, sizeof all);
        pci_config_fini(&other);
    }
    pci_config_fini(&config);
}

static void test_registers(void **state)
{
    struct regmap map = {
        .n = 3,
        .cells = {
            {0xb2, 4, {1, 2, 3, 4}}, /* across a border of four bytes */
            {0xc0, 8, {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17}},
            {0x100, 1, {0x77}},
        },
    };
    static const uint8_t ones[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const struct vfu_desc desc = full_desc();
    struct pci_config config;
    uint8_t bytes[16];

    (void)state;
    make(&config, &desc, &map);
    record[0] = 0;
    pci_config_read(&config, 0xb0, 8, bytes);
    assert_string_equal(record, "rb2+2 rb4+2 ");
    assert_memory_equal(bytes, "\x0f\x00\x01\x02\x03\x04\x00\x00", 8);
    record[0] = 0;
    pci_config_read(&config, 0xbf, 10, bytes);
    assert_string_equal(record, "rc0+4 rc4+4 ");
    assert_memory_equal(bytes, "\x00\x10\x11\x12\x13\x14\x15\x16\x17\x00", 10);
    record[0] = 0;
    pci_config_read(&config, 0xfe, 4, bytes);
    assert_string_equal(record, "r100+1 ");
    assert_memory_equal(bytes, "\x00\x00\x77\x00", 4);
    record[0] = 0;
    pci_config_write(&config, 0xaf, 16, ones);
    assert_string_equal(record, "wb2+2 wb4+2 ");
    assert_memory_equal(map.cells[0].bytes, ones, 4);
    assert_int_equal(map.cells[1].bytes[0], 0x10);
    record[0] = 0;
    put(&config, 0xc3, 1, 0xff);
    put(&config, 0xc6, 2, 0xffff);
    put(&config, 0x100, 4, 0xffffffff);
    assert_string_equal(record, "wc3+1 wc6+2 w100+1 ");
    /* The host's own registers are reached around them. */
    put(&config, 0x04, 2, 6);
    assert_int_equal(seen.command, 6);
    pci_config_fini(&config);
}

/* A register that begins inside one of the host's: the rest of it still works. */
static void test_register_beside_control(void **state)
{
    struct regmap map = {.n = 1, .cells = {{0x3e, 1, {0x42}}}};
    const struct vfu_desc desc = full_desc();
    struct pci_config config;

    (void)state;
    make(&config, &desc, &map);
    record[0] = 0;
    put(&config, 0x3c, 4, 0x0077ff0b);
    assert_string_equal(record, "w3e+1 ");
    assert_int_equal(get(&config, 0x3c, 4) & 0xffff00ff, 0x0077000b);
    pci_config_fini(&config);
}

/* What the host works with is no place for a register; the rest of the header is. */
static void test_registers_refused(void **state)
{
    static const struct {
        uint32_t offset, size;
        bool good;
    } cases[] = {
        {0x00, 4, true},  {0x03, 2, false}, {0x04, 1, false}, {0x07, 1, false}, {0x08, 4, true},  {0x0c, 4, true},
        {0x0e, 4, false}, {0x10, 4, false}, {0x27, 1, false}, {0x28, 8, true},  {0x2c, 8, false}, {0x33, 1, false},
        {0x34, 1, false}, {0x35, 4, true},  {0x3c, 1, false}, {0x3d, 1, false}, {0x3e, 2, true},
    };
    const struct vfu_desc desc = {.struct_size = sizeof desc, .vendor = 1, .device = 2};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct regmap map = {.n = 1, .cells = {{cases[i].offset, cases[i].size, {0}}}};
        struct pci_config config;
        int error;

        lines = 0;
        error = pci_config_init(&config, "dut", &desc, NULL, 0, 0, &map);
        assert_int_equal(error, cases[i].good ? 0 : -EINVAL);
        assert_int_equal(lines, !cases[i].good);
        if (!error)
            pci_config_fini(&config);
    }
}

/* The host's capabilities go around registers. */
static void test_registers_first(void **state)
{
    struct regmap map = {.n = 3, .cells = {{0x41, 1, {0}}, {0x50, 4, {0}}, {0xf8, 4, {0}}}};
    struct vfu_desc desc = {.struct_size = sizeof desc, .vendor = 1, .device = 2, .caps = VFU_CAP_MSI, .msi_vectors = 4,
                            .pci_flags = VFU_PCI_PM};
    struct pci_config config;

    (void)state;
    assert_int_equal(pci_config_init(&config, "dut", &desc, NULL, 0, 0, &map), 0);
    assert_int_equal(config.cap_pm, 0x44);
    assert_int_equal(config.cap_msi, 0x54);
    assert_int_equal(config.bytes[0x34], 0x44);
    assert_int_equal(config.bytes[0x45], 0x54);
    pci_config_fini(&config);
    /* No room is left between them. */
    map.cells[2] = (struct reg_cell){0x68, 8, {0}};
    map.cells[0] = (struct reg_cell){0x80, 8, {0}};
    desc.pci_flags = VFU_PCI_EXPRESS;
    map.n = 4;
    map.cells[3] = (struct reg_cell){0xc0, 8, {0}};
    lines = 0;
    assert_int_equal(pci_config_init(&config, "dut", &desc, NULL, 0, 0, &map), -EINVAL);
    assert_int_equal(lines, 1);
}

/* ---- reset and restore ------------------------------------------------------------------------------------------- */

static void scramble(struct pci_config *config)
{
    for (uint32_t at = 0; at < 0x100; at += 4)
        if (at != EXP + 8)
            put(config, at, 4, 0xfffffffe);
    put(config, PM + 4, 2, 3);
    put(config, MSI + 2, 2, 1);
    put(config, MSIX + 2, 2, 0x8000);
}

static void test_reset(void **state)
{
    struct pci_config config;
    uint8_t before[4096], after[4096];

    (void)state;
    make_full(&config);
    pci_config_read(&config, 0, sizeof before, before);
    pci_config_reset(&config);
    assert_int_equal(seen.commands + seen.msis + seen.msixs, 0);
    scramble(&config);
    assert_int_equal(seen.power, 3);
    assert_int_equal(get(&config, 0x04, 2), 0x0546);
    memset(&seen, 0, sizeof seen);
    seen.msi_mask = 1;
    seen.msi_enabled = seen.msix_enabled = true;
    pci_config_reset(&config);
    pci_config_read(&config, 0, sizeof after, after);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(seen.commands, 1);
    assert_int_equal(seen.command, 0);
    assert_int_equal(seen.msis, 1);
    assert_true(!seen.msi_enabled && seen.msi_mask == 0);
    assert_int_equal(seen.msixs, 1);
    assert_false(seen.msix_enabled);
    assert_int_equal(seen.powers, 0);
    assert_int_equal(seen.flrs, 0);
    pci_config_fini(&config);
}

static void test_restore(void **state)
{
    struct pci_config from, to;
    uint8_t image[4096], got[4096];

    (void)state;
    make_full(&from);
    scramble(&from);
    put(&from, EXP + 8, 2, 0x5020);
    pci_config_read(&from, 0, sizeof image, image);
    make_full(&to);
    pci_config_restore(&to, image);
    pci_config_read(&to, 0, sizeof got, got);
    assert_memory_equal(got, image, sizeof got);
    assert_int_equal(seen.command, 0x0546);
    assert_int_equal(seen.msis, 1);
    assert_true(seen.msi_enabled && seen.msi_mask == 0xfe);
    assert_true(seen.msix_enabled && !seen.function_mask);
    assert_int_equal(seen.power, 3);
    assert_int_equal(seen.flrs, 0);
    /* The same again is no news; bytes of the other side's making are the device's own again after a reset. */
    memset(&seen, 0, sizeof seen);
    pci_config_restore(&to, image);
    assert_int_equal(seen.commands + seen.msis + seen.msixs + seen.powers, 0);
    pci_config_fini(&from);
    pci_config_fini(&to);
}

/* Saved bytes that no device of this kind can have written. */
static void test_hostile_restore(void **state)
{
    struct pci_config config;
    uint8_t image[4096];

    (void)state;
    make_full(&config);
    memset(image, 0xff, sizeof image);
    image[PM + 4] = 2;
    pci_config_restore(&config, image);
    assert_true(get(&config, 0x00, 4) == 0x11e81234);
    assert_int_equal(get(&config, 0x04, 2), 0x0547);
    assert_true(get(&config, 0x08, 4) == 0x0c0330a5);
    assert_true(get(&config, 0x10, 4) == 0xfffff000);
    assert_true(get(&config, 0x14, 4) == 0xffffffe1);
    assert_int_equal(get(&config, 0x34, 4), 0x40);
    assert_int_equal(get(&config, PM + 4, 2), 0);
    assert_int_equal(seen.powers, 0);
    assert_int_equal(get(&config, MSIX + 2, 2), 0xc040);
    assert_int_equal(get(&config, MSIX + 4, 4), 0x1005);
    assert_int_equal(get(&config, EXP + 8, 2), 0x78ff);
    assert_int_equal(get(&config, 0x100, 4), 0);
    assert_int_equal(seen.flrs, 0);
    pci_config_fini(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_layout),
        cmocka_unit_test(test_bare_layout),
        cmocka_unit_test(test_msi_counts),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_msix_places),
        cmocka_unit_test(test_bars_refused),
        cmocka_unit_test(test_sizing),
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_power),
        cmocka_unit_test(test_msi),
        cmocka_unit_test(test_msix),
        cmocka_unit_test(test_express),
        cmocka_unit_test(test_flr),
        cmocka_unit_test(test_any_access),
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_register_beside_control),
        cmocka_unit_test(test_registers_refused),
        cmocka_unit_test(test_registers_first),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_restore),
        cmocka_unit_test(test_hostile_restore),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
