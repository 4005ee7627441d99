/* SPDX-License-Identifier: BSD-3-Clause */
/* confighw - config space from the device's side: see confighw.h. Runs on the device's thread. */
#include "core/device/confighw.h"

#include <errno.h>
#include <linux/pci_regs.h>

#include "core/regmap/regcell.h"

static bool inside(const struct pci_config *config, uint32_t offset, uint32_t size)
{
    return offset <= config->size && size <= config->size - offset;
}

/* The register that covers the byte, or NULL and how many bytes none does. */
static const struct reg_cell *cover(const struct pci_config *config, uint32_t offset, uint32_t size, uint64_t *span)
{
    *span = size;
    return config->map ? regmap_find(config->map, VFU_REGION_CONFIG, offset, (uint64_t)offset + size, span) : NULL;
}

static uint8_t cell_byte(const struct pci_config *config, const struct reg_cell *cell, uint32_t offset)
{
    uint32_t n, at = offset - (uint32_t)cell->offset;

    if (regmap_regs(config->map, &n)[cell->reg].flags & VFU_REG_BIG_ENDIAN)
        at = cell->size - 1u - at;
    return (uint8_t)(cell->value >> (8 * at));
}

int confighw_read(struct pci_config *config, uint32_t offset, uint32_t size, uint8_t *bytes)
{
    if (!inside(config, offset, size))
        return -EINVAL;
    while (size) {
        uint64_t span;
        const struct reg_cell *cell = cover(config, offset, size, &span);

        if (span > size)
            span = size;
        if (!cell)
            pci_config_plain(config, offset, (uint32_t)span, bytes);
        for (uint32_t i = 0; cell && i < span; i++)
            bytes[i] = cell_byte(config, cell, offset + i);
        offset += (uint32_t)span;
        bytes += span;
        size -= (uint32_t)span;
    }
    return 0;
}

int confighw_write(struct pci_config *config, uint32_t offset, uint32_t size, const uint8_t *bytes)
{
    uint64_t span;

    if (!inside(config, offset, size))
        return -EINVAL;
    if (size && (cover(config, offset, size, &span) || span < size))
        return -EACCES;
    for (uint32_t i = 0; i < size; i++) {
        uint8_t now;

        pci_config_plain(config, offset + i, 1, &now);
        if ((now ^ bytes[i]) & ~(config->own[offset + i] | config->w1c[offset + i]))
            return -EACCES;
    }
    for (uint32_t i = 0; i < size; i++)
        config->bytes[offset + i] = bytes[i];
    return 0;
}

static uint32_t get32(const uint8_t *bytes, uint32_t offset)
{
    return bytes[offset] | (uint32_t)bytes[offset + 1] << 8 | (uint32_t)bytes[offset + 2] << 16 |
           (uint32_t)bytes[offset + 3] << 24;
}

uint64_t confighw_address(const struct pci_config *config, uint32_t region, bool *decoded)
{
    const uint8_t *bytes = config->bytes;
    uint64_t address;

    *decoded = bytes[PCI_COMMAND] & PCI_COMMAND_MEMORY;
    if (region == VFU_REGION_ROM) {
        address = get32(bytes, PCI_ROM_ADDRESS);
        *decoded = *decoded && (address & PCI_ROM_ADDRESS_ENABLE);
        return address & PCI_ROM_ADDRESS_MASK;
    }
    if (region > VFU_REGION_BAR5) {
        *decoded = true; /* config space itself */
        return 0;
    }
    address = get32(bytes, PCI_BASE_ADDRESS_0 + 4 * region);
    if (config->bar_type[region] == VFU_BAR_IO) {
        *decoded = bytes[PCI_COMMAND] & PCI_COMMAND_IO;
        return address & PCI_BASE_ADDRESS_IO_MASK & UINT32_MAX;
    }
    if (config->bar_type[region] == VFU_BAR_MEM64)
        address |= (uint64_t)get32(bytes, PCI_BASE_ADDRESS_0 + 4 * region + 4) << 32;
    return address & ~UINT64_C(15);
}
