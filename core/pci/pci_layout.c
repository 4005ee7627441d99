/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pci_layout - what stands where in a config space: header, BARs, capabilities. Runs on main's thread, before the device
 * has one of its own.
 */
#include "core/pci/pci_config_private.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "core/base/log.h"

#define CAPS_START 0x40u
#define PM_SIZE 8u
#define MSI_SIZE 24u /* 64-bit address, per-vector masking */
#define MSIX_SIZE 12u
#define EXPRESS_SIZE 60u /* version 2 */
#define RAW_MAX 190u

/* ---- layout: header ------------------------------------------------------------------------------------------ */

static bool power_of_two(uint64_t value)
{
    return value && !(value & (value - 1));
}

static int check_ids(const char *who, const struct vfu_desc *desc)
{
    const struct {
        const char *name;
        uint16_t id;
    } ids[] = {
        {"vendor", desc->vendor},
        {"device", desc->device},
        {"subsystem vendor", desc->subsystem_vendor},
        {"subsystem", desc->subsystem},
    };

    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        if (ids[i].id == 0xffff) {
            log_error(who, "%s id 0xffff: it means that there is no device", ids[i].name);
            return -EINVAL;
        }
    if (desc->class_code > 0xffffff) {
        log_error(who, "class code 0x%x: it has 24 bits", desc->class_code);
        return -EINVAL;
    }
    if (desc->revision > 0xff) {
        log_error(who, "revision 0x%x: it has 8 bits", desc->revision);
        return -EINVAL;
    }
    return 0;
}

static void lay_header(struct pci_config *config, const struct vfu_desc *desc)
{
    uint8_t *bytes = config->bytes, *writable = config->writable;

    put16(bytes, PCI_VENDOR_ID, desc->vendor);
    put16(bytes, PCI_DEVICE_ID, desc->device);
    put32(bytes, PCI_CLASS_REVISION, desc->class_code << 8 | desc->revision);
    put16(bytes, PCI_SUBSYSTEM_VENDOR_ID, desc->subsystem_vendor);
    put16(bytes, PCI_SUBSYSTEM_ID, desc->subsystem);
    bytes[PCI_INTERRUPT_PIN] = desc->caps & VFU_CAP_INTX ? 1 : 0;

    put16(writable, PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
                                     PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE);
    put16(config->w1c, PCI_STATUS, PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT |
                                       PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR |
                                       PCI_STATUS_DETECTED_PARITY);
    writable[PCI_CACHE_LINE_SIZE] = 0xff;
    writable[PCI_LATENCY_TIMER] = 0xff;
    writable[PCI_INTERRUPT_LINE] = 0xff;
}

/* Sizes are powers of two, so the address bits that software may write are those of -size. */
static int lay_bar(struct pci_config *config, const struct vfu_bar *bar)
{
    const uint64_t mask = -bar->size;
    uint32_t at, flags;

    if (bar->index > 5 || (bar->index == 5 && bar->type == VFU_BAR_MEM64) || config->bar_size[bar->index] ||
        (bar->index && config->bar_size[bar->index - 1] && config->bar_type[bar->index - 1] == VFU_BAR_MEM64)) {
        log_error(config->who, "BAR %u: there is no room for it", bar->index);
        return -EINVAL;
    }
    if (bar->type > VFU_BAR_IO || !power_of_two(bar->size) || bar->size < (bar->type == VFU_BAR_IO ? 4u : 16u) ||
        (bar->type != VFU_BAR_MEM64 && bar->size > UINT64_C(1) << 31)) {
        log_error(config->who, "BAR %u: type %u, size 0x%llx: cannot be", bar->index, bar->type,
                  (unsigned long long)bar->size);
        return -EINVAL;
    }
    at = PCI_BASE_ADDRESS_0 + 4 * bar->index;
    flags = bar->type == VFU_BAR_IO      ? PCI_BASE_ADDRESS_SPACE_IO
            : bar->type == VFU_BAR_MEM64 ? PCI_BASE_ADDRESS_MEM_TYPE_64
                                         : PCI_BASE_ADDRESS_MEM_TYPE_32;
    if (bar->type != VFU_BAR_IO && bar->flags & VFU_BAR_PREFETCH)
        flags |= PCI_BASE_ADDRESS_MEM_PREFETCH;
    put32(config->bytes, at, flags);
    put32(config->writable, at, (uint32_t)mask);
    if (bar->type == VFU_BAR_MEM64)
        put32(config->writable, at + 4, (uint32_t)(mask >> 32));
    config->bar_size[bar->index] = bar->size;
    config->bar_type[bar->index] = bar->type;
    return 0;
}

static int lay_bars(struct pci_config *config, const struct vfu_bar *bars, uint32_t nbars, uint64_t rom_size)
{
    for (uint32_t i = 0; i < nbars; i++) {
        int result = lay_bar(config, &bars[i]);

        if (result < 0)
            return result;
    }
    for (uint32_t i = 0; i < 5; i++)
        if (config->bar_type[i] == VFU_BAR_MEM64 && config->bar_size[i] && config->bar_size[i + 1]) {
            log_error(config->who, "BAR %u: BAR %u has 64 bits and takes its place", i + 1, i);
            return -EINVAL;
        }
    if (!rom_size)
        return 0;
    if (rom_size > UINT64_C(1) << 31) {
        log_error(config->who, "ROM of %llu bytes: at most 2^31 can be", (unsigned long long)rom_size);
        return -EINVAL;
    }
    for (config->rom_size = 2048; config->rom_size < rom_size;)
        config->rom_size *= 2;
    put32(config->writable, PCI_ROM_ADDRESS, (uint32_t)-config->rom_size | PCI_ROM_ADDRESS_ENABLE);
    return 0;
}

/* ---- layout: capabilities ------------------------------------------------------------------------------------ */

struct reg_cell *pci_layout_cover(const struct pci_config *config, uint32_t offset, uint32_t size, uint32_t *part)
{
    struct reg_cell *cell;
    uint64_t span = size;

    *part = size;
    if (!config->map)
        return NULL;
    cell = regmap_find(config->map, VFU_REGION_CONFIG, offset, (uint64_t)offset + size, &span);
    if (span < size)
        *part = (uint32_t)span;
    return cell;
}

/* The next place without a register of the plugin's own; the end of config space if there is none. */
static uint32_t free_place(const struct pci_config *config, uint32_t at, uint32_t size)
{
    uint32_t part;

    while (at + size <= PCI_CONFIG_SIZE && (pci_layout_cover(config, at, size, &part) || part < size))
        at = (at + part + 3) & ~3u;
    return at < PCI_CONFIG_SIZE ? at : PCI_CONFIG_SIZE;
}

/*
 * Room for a capability of `size` bytes with its two of header, linked into the list. 0: none left (logged). Those of the
 * host go around the plugin's registers, which it has put where its datasheet says; its own may lie under them.
 */
static uint16_t cap_add(struct pci_config *config, uint8_t id, uint32_t size, bool own)
{
    uint32_t at = own ? config->caps_end : free_place(config, config->caps_end, size);
    uint8_t *link = config->bytes + PCI_CAPABILITY_LIST;

    if (size > PCI_CONFIG_SIZE - at) {
        log_error(config->who, "capability 0x%02x of %u bytes: %u are left in config space", id, size,
                  PCI_CONFIG_SIZE - at);
        return 0;
    }
    while (*link)
        link = config->bytes + *link + 1;
    *link = (uint8_t)at;
    config->bytes[at] = id;
    config->caps_end = (uint16_t)((at + size + 3) & ~3u);
    config->bytes[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    return (uint16_t)at;
}

static int lay_pm(struct pci_config *config, const struct vfu_desc *desc)
{
    const uint16_t at = cap_add(config, PCI_CAP_ID_PM, PM_SIZE, false);

    if (!at)
        return -EINVAL;
    config->cap_pm = at;
    config->no_soft_reset = desc->pci_flags & VFU_PCI_NO_SOFT_RESET;
    put16(config->bytes, at + PCI_PM_PMC, 3); /* version 1.2, which is what 3 says; D0 and D3hot, no PME */
    put16(config->bytes, at + PCI_PM_CTRL, config->no_soft_reset ? PCI_PM_CTRL_NO_SOFT_RESET : 0);
    put16(config->writable, at + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);
    return 0;
}

static int lay_msi(struct pci_config *config, const struct vfu_desc *desc)
{
    const uint32_t vectors = desc->msi_vectors;
    uint32_t log2 = 0;
    uint16_t at;

    if (vectors > 32 || !power_of_two(vectors)) {
        log_error(config->who, "%u MSI vectors: a power of two up to 32 can be", vectors);
        return -EINVAL;
    }
    at = cap_add(config, PCI_CAP_ID_MSI, MSI_SIZE, false);
    if (!at)
        return -EINVAL;
    config->cap_msi = at;
    while (UINT32_C(1) << log2 < vectors)
        log2++;
    put16(config->bytes, at + PCI_MSI_FLAGS, PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT | log2 << 1);
    put16(config->writable, at + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
    put32(config->writable, at + PCI_MSI_ADDRESS_LO, 0xfffffffc);
    put32(config->writable, at + PCI_MSI_ADDRESS_HI, 0xffffffff);
    put16(config->writable, at + PCI_MSI_DATA_64, 0xffff);
    put32(config->writable, at + MSI_MASK, vectors == 32 ? UINT32_MAX : (UINT32_C(1) << vectors) - 1);
    return 0;
}

/* Table and PBA lie in one memory BAR, on 8-byte borders and apart. */
static int check_msix(struct pci_config *config, const struct vfu_desc *desc)
{
    const uint64_t table_end = desc->msix_table + UINT64_C(16) * desc->msix_vectors;
    const uint64_t pba_end = desc->msix_pba + (UINT64_C(63) + desc->msix_vectors) / 64 * 8;
    const char *wrong = NULL;

    if (desc->msix_vectors > 2048)
        wrong = "at most 2048 vectors can be";
    else if (desc->msix_bar > 5 || !config->bar_size[desc->msix_bar])
        wrong = "there is no such BAR";
    else if (config->bar_type[desc->msix_bar] == VFU_BAR_IO)
        wrong = "an I/O BAR cannot hold them";
    else if (desc->msix_table % 8 || desc->msix_pba % 8)
        wrong = "offsets are multiples of 8";
    else if (table_end > config->bar_size[desc->msix_bar] || pba_end > config->bar_size[desc->msix_bar])
        wrong = "beyond the BAR's end";
    else if (desc->msix_table < pba_end && desc->msix_pba < table_end)
        wrong = "they overlap";
    if (!wrong)
        return 0;
    log_error(config->who, "MSI-X of %u vectors, BAR %u, table at 0x%x, PBA at 0x%x: %s", desc->msix_vectors,
              desc->msix_bar, desc->msix_table, desc->msix_pba, wrong);
    return -EINVAL;
}

static int lay_msix(struct pci_config *config, const struct vfu_desc *desc)
{
    uint16_t at;

    if (check_msix(config, desc) < 0)
        return -EINVAL;
    at = cap_add(config, PCI_CAP_ID_MSIX, MSIX_SIZE, false);
    if (!at)
        return -EINVAL;
    config->cap_msix = at;
    put16(config->bytes, at + PCI_MSIX_FLAGS, desc->msix_vectors - 1);
    put16(config->writable, at + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    put32(config->bytes, at + PCI_MSIX_TABLE, desc->msix_table | desc->msix_bar);
    put32(config->bytes, at + PCI_MSIX_PBA, desc->msix_pba | desc->msix_bar);
    return 0;
}

/* An endpoint on a link of one lane at 2.5 GT/s. Slot and root registers do not exist in one: zeros. */
static int lay_express(struct pci_config *config, const struct vfu_desc *desc)
{
    const uint16_t at = cap_add(config, PCI_CAP_ID_EXP, EXPRESS_SIZE, false);
    uint8_t *bytes = config->bytes, *writable = config->writable;

    if (!at)
        return -EINVAL;
    config->cap_express = at;
    put16(bytes, at + PCI_EXP_FLAGS, 2 | PCI_EXP_TYPE_ENDPOINT << 4);
    put32(bytes, at + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_RBER | (desc->pci_flags & VFU_PCI_FLR ? PCI_EXP_DEVCAP_FLR : 0));
    put16(bytes, at + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ_512B);
    put16(writable, at + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE | PCI_EXP_DEVCTL_FERE |
                                             PCI_EXP_DEVCTL_URRE | PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_PAYLOAD |
                                             PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ);
    put16(config->w1c, at + PCI_EXP_DEVSTA,
          PCI_EXP_DEVSTA_CED | PCI_EXP_DEVSTA_NFED | PCI_EXP_DEVSTA_FED | PCI_EXP_DEVSTA_URD);
    put32(bytes, at + PCI_EXP_LNKCAP, PCI_EXP_LNKCAP_SLS_2_5GB | 1 << 4 | 1 << 22 /* ASPM optionality compliance */);
    put16(writable, at + PCI_EXP_LNKCTL,
          PCI_EXP_LNKCTL_ASPMC | PCI_EXP_LNKCTL_RCB | PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES);
    put16(bytes, at + PCI_EXP_LNKSTA, PCI_EXP_LNKSTA_CLS_2_5GB | PCI_EXP_LNKSTA_NLW_X1);
    put32(bytes, at + PCI_EXP_DEVCAP2, PCI_EXP_DEVCAP2_COMP_TMOUT_DIS);
    put16(writable, at + PCI_EXP_DEVCTL2, PCI_EXP_DEVCTL2_COMP_TMOUT_DIS);
    put32(bytes, at + PCI_EXP_LNKCAP2, PCI_EXP_LNKCAP2_SLS_2_5GB);
    put16(bytes, at + PCI_EXP_LNKCTL2, PCI_EXP_LNKCTL2_TLS_2_5GT);
    return 0;
}

static int lay_own(struct pci_config *config, const struct vfu_desc *desc)
{
    for (uint32_t i = 0; i < desc->npci_caps; i++) {
        struct vfu_pci_cap cap;
        uint16_t at;

        memcpy(&cap, (const uint8_t *)desc->pci_caps + (size_t)i * desc->pci_cap_size, sizeof cap);
        if ((cap.id == PCI_CAP_ID_PM && config->cap_pm) || (cap.id == PCI_CAP_ID_MSI && config->cap_msi) ||
            (cap.id == PCI_CAP_ID_MSIX && config->cap_msix) || (cap.id == PCI_CAP_ID_EXP && config->cap_express)) {
            log_error(config->who, "capability 0x%02x: the host has laid out one already", cap.id);
            return -EINVAL;
        }
        if (cap.size > RAW_MAX || (cap.size && !cap.bytes)) {
            log_error(config->who, "capability 0x%02x: %u bytes, from 0 to %u can be", cap.id, cap.size, RAW_MAX);
            return -EINVAL;
        }
        at = cap_add(config, cap.id, cap.size + 2u, true);
        if (!at)
            return -EINVAL;
        if (cap.size)
            memcpy(config->bytes + at + 2, cap.bytes, cap.size);
        memset(config->own + at + 2, 0xff, cap.size);
    }
    return 0;
}

static int lay_caps(struct pci_config *config, const struct vfu_desc *desc)
{
    const struct {
        bool wanted;
        int (*lay)(struct pci_config *, const struct vfu_desc *);
    } steps[] = {
        {desc->pci_flags & VFU_PCI_PM, lay_pm},
        {desc->caps & VFU_CAP_MSI && desc->msi_vectors, lay_msi},
        {desc->caps & VFU_CAP_MSIX && desc->msix_vectors, lay_msix},
        {config->size == PCI_CONFIG_EXPRESS_SIZE, lay_express},
        {desc->npci_caps, lay_own},
    };

    if (desc->npci_caps && (!desc->pci_caps || desc->pci_cap_size < sizeof(struct vfu_pci_cap))) {
        log_error(config->who, "%u capabilities: elements of %u bytes, not %u", desc->npci_caps, desc->pci_cap_size,
                  (unsigned)sizeof(struct vfu_pci_cap));
        return -EINVAL;
    }
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        int result = steps[i].wanted ? steps[i].lay(config, desc) : 0;

        if (result < 0)
            return result;
    }
    return 0;
}

/* A register over what the host works with would take it away from the host, and the function would not work. */
static int check_registers(const struct pci_config *config)
{
    static const struct {
        uint8_t offset, size;
        const char *what;
    } taken[] = {
        {PCI_COMMAND, 4, "COMMAND and STATUS"},
        {PCI_BASE_ADDRESS_0, 24, "the BARs"},
        {PCI_ROM_ADDRESS, 4, "the ROM's BAR"},
        {PCI_CAPABILITY_LIST, 1, "the list of capabilities"},
        {PCI_INTERRUPT_LINE, 2, "the interrupt's line and pin"},
    };
    const struct reg_cell *cell;
    const char *what = NULL;
    uint32_t at = 0, part;
    char name[128];

    for (size_t i = 0; i < sizeof taken / sizeof taken[0] && !what; i++) {
        at = taken[i].offset;
        if (pci_layout_cover(config, at, taken[i].size, &part))
            what = taken[i].what;
        else if (part < taken[i].size)
            at += part, what = taken[i].what;
    }
    for (uint32_t cap = config->bytes[PCI_CAPABILITY_LIST]; cap && !what; cap = config->bytes[cap + 1]) {
        at = cap;
        if (pci_layout_cover(config, at, 2, &part))
            what = "a capability's id and link";
        else if (part < 2)
            at++, what = "a capability's id and link";
    }
    if (!what)
        return 0;
    cell = pci_layout_cover(config, at, 1, &part);
    regmap_name(config->map, cell, name, sizeof name);
    log_error(config->who, "register %s lies in config space at 0x%x, over %s, which is the host's: see vfu.config/1 (in "
              "Lua dev.on:config) for being told of writes there", name, at, what);
    return -EINVAL;
}

int pci_layout(struct pci_config *config, const struct vfu_desc *desc, const struct vfu_bar *bars, uint32_t nbars,
               uint64_t rom_size)
{
    int result = check_ids(config->who, desc);

    if (result < 0)
        return result;
    config->caps_end = CAPS_START;
    lay_header(config, desc);
    result = lay_bars(config, bars, nbars, rom_size);
    if (result == 0)
        result = lay_caps(config, desc);
    return result == 0 ? check_registers(config) : result;
}
