/* SPDX-License-Identifier: BSD-3-Clause */
/* pciname - names in configuration space: see pciname.h. Any thread. */
#include "core/pci/pciname.h"

#include <linux/pci_regs.h>
#include <stdio.h>

struct part {
    const char *name;
    uint8_t offset, size;
};

static const struct part header[] = {
    { "VENDOR_ID", PCI_VENDOR_ID, 2 },
    { "DEVICE_ID", PCI_DEVICE_ID, 2 },
    { "COMMAND", PCI_COMMAND, 2 },
    { "STATUS", PCI_STATUS, 2 },
    { "REVISION_ID", PCI_REVISION_ID, 1 },
    { "CLASS_CODE", PCI_CLASS_PROG, 3 },
    { "CACHE_LINE_SIZE", PCI_CACHE_LINE_SIZE, 1 },
    { "LATENCY_TIMER", PCI_LATENCY_TIMER, 1 },
    { "HEADER_TYPE", PCI_HEADER_TYPE, 1 },
    { "BIST", PCI_BIST, 1 },
    { "BAR0", PCI_BASE_ADDRESS_0, 4 },
    { "BAR1", PCI_BASE_ADDRESS_1, 4 },
    { "BAR2", PCI_BASE_ADDRESS_2, 4 },
    { "BAR3", PCI_BASE_ADDRESS_3, 4 },
    { "BAR4", PCI_BASE_ADDRESS_4, 4 },
    { "BAR5", PCI_BASE_ADDRESS_5, 4 },
    { "CARDBUS_CIS", PCI_CARDBUS_CIS, 4 },
    { "SUBSYSTEM_VENDOR_ID", PCI_SUBSYSTEM_VENDOR_ID, 2 },
    { "SUBSYSTEM_ID", PCI_SUBSYSTEM_ID, 2 },
    { "ROM_ADDRESS", PCI_ROM_ADDRESS, 4 },
    { "CAP_PTR", PCI_CAPABILITY_LIST, 1 },
    { "INTERRUPT_LINE", PCI_INTERRUPT_LINE, 1 },
    { "INTERRUPT_PIN", PCI_INTERRUPT_PIN, 1 },
    { "MIN_GNT", PCI_MIN_GNT, 1 },
    { "MAX_LAT", PCI_MAX_LAT, 1 },
    { NULL, 0, 0 },
};

static const struct part power[] = {
    { "PM.HEADER", 0, 2 },
    { "PM.PMC", PCI_PM_PMC, 2 },
    { "PM.CSR", PCI_PM_CTRL, 4 },
    { NULL, 0, 0 },
};

static const struct part msi[] = {
    { "MSI.HEADER", 0, 2 },
    { "MSI.CONTROL", PCI_MSI_FLAGS, 2 },
    { "MSI.ADDRESS", PCI_MSI_ADDRESS_LO, 4 },
    { "MSI.UPPER_ADDRESS", PCI_MSI_ADDRESS_HI, 4 },
    { "MSI.DATA", PCI_MSI_DATA_64, 4 },
    { "MSI.MASK", PCI_MSI_MASK_64, 4 },
    { "MSI.PENDING", PCI_MSI_PENDING_64, 4 },
    { NULL, 0, 0 },
};

static const struct part msix[] = {
    { "MSIX.HEADER", 0, 2 },
    { "MSIX.CONTROL", PCI_MSIX_FLAGS, 2 },
    { "MSIX.TABLE", PCI_MSIX_TABLE, 4 },
    { "MSIX.PBA", PCI_MSIX_PBA, 4 },
    { NULL, 0, 0 },
};

static const struct part express[] = {
    { "EXP.HEADER", 0, 2 },
    { "EXP.CAP", PCI_EXP_FLAGS, 2 },
    { "EXP.DEVCAP", PCI_EXP_DEVCAP, 4 },
    { "EXP.DEVCTL", PCI_EXP_DEVCTL, 2 },
    { "EXP.DEVSTA", PCI_EXP_DEVSTA, 2 },
    { "EXP.LNKCAP", PCI_EXP_LNKCAP, 4 },
    { "EXP.LNKCTL", PCI_EXP_LNKCTL, 2 },
    { "EXP.LNKSTA", PCI_EXP_LNKSTA, 2 },
    { "EXP.SLOT", PCI_EXP_SLTCAP, 8 },
    { "EXP.ROOT", PCI_EXP_RTCTL, 8 },
    { "EXP.DEVCAP2", PCI_EXP_DEVCAP2, 4 },
    { "EXP.DEVCTL2", PCI_EXP_DEVCTL2, 2 },
    { "EXP.DEVSTA2", PCI_EXP_DEVCTL2 + 2, 2 },
    { "EXP.LNKCAP2", PCI_EXP_LNKCAP2, 4 },
    { "EXP.LNKCTL2", PCI_EXP_LNKCTL2, 2 },
    { "EXP.LNKSTA2", PCI_EXP_LNKSTA2, 2 },
    { "EXP.SLOT2", PCI_EXP_LNKSTA2 + 2, 8 },
    { NULL, 0, 0 },
};

static const struct vfu_field command_fields[] = {
    { .name = "IO", .lsb = 0, .width = 1 },           { .name = "MEMORY", .lsb = 1, .width = 1 },
    { .name = "MASTER", .lsb = 2, .width = 1 },       { .name = "SPECIAL", .lsb = 3, .width = 1 },
    { .name = "INVALIDATE", .lsb = 4, .width = 1 },   { .name = "VGA_PALETTE", .lsb = 5, .width = 1 },
    { .name = "PARITY", .lsb = 6, .width = 1 },       { .name = "SERR", .lsb = 8, .width = 1 },
    { .name = "FAST_BACK", .lsb = 9, .width = 1 },    { .name = "INTX_DISABLE", .lsb = 10, .width = 1 },
};

static const struct vfu_reg command = {
    .name = "COMMAND",
    .size = 2,
    .nfields = sizeof command_fields / sizeof command_fields[0],
    .fields = command_fields,
};

const struct vfu_reg *pciname_register(uint32_t offset, uint32_t size)
{
    return offset == PCI_COMMAND && size == 2 ? &command : NULL;
}

/* Those parts at `base` that the bytes touch. */
static size_t names_at(const struct part *parts, uint32_t base, uint32_t offset, uint32_t size, char *text, size_t len,
                       size_t at)
{
    for (; parts->name && at < len; parts++) {
        uint32_t start = base + parts->offset;

        if (offset < start + parts->size && start < offset + size)
            at += (size_t)snprintf(text + at, len - at, "%s%s", at ? " " : "", parts->name);
    }
    return at;
}

void pciname(const struct pci_config *config, uint32_t offset, uint32_t size, char *text, size_t len)
{
    const struct {
        const struct part *parts;
        uint32_t base;
    } caps[] = {
        { power, config->cap_pm }, { msi, config->cap_msi }, { msix, config->cap_msix }, { express, config->cap_express },
    };
    size_t at = names_at(header, 0, offset, size, text, len, 0);

    for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++)
        if (caps[i].base)
            at = names_at(caps[i].parts, caps[i].base, offset, size, text, len, at);
    if (!at)
        snprintf(text, len, "config");
}
