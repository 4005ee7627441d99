/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pci_config_private - what the files of pci_config share: bytes as numbers, and layout. Runs where those do.
 */
#ifndef CORE_PCI_CONFIG_PRIVATE_H
#define CORE_PCI_CONFIG_PRIVATE_H

#include "core/pci/pci_config.h"

#define MSI_MASK 16u    /* offset of the mask bits in a capability with 64-bit address */
#define MSI_PENDING 20u

static inline void put16(uint8_t *bytes, uint32_t offset, uint32_t value)
{
    bytes[offset] = (uint8_t)value;
    bytes[offset + 1] = (uint8_t)(value >> 8);
}

static inline void put32(uint8_t *bytes, uint32_t offset, uint32_t value)
{
    put16(bytes, offset, value);
    put16(bytes, offset + 2, value >> 16);
}

static inline uint16_t get16(const uint8_t *bytes, uint32_t offset)
{
    return (uint16_t)(bytes[offset] | bytes[offset + 1] << 8);
}

static inline uint32_t get32(const uint8_t *bytes, uint32_t offset)
{
    return get16(bytes, offset) | (uint32_t)get16(bytes, offset + 2) << 16;
}

/* ---- core/pci/pci_layout.c */

/* Header, BARs and capabilities of a config space that is zeroed but for who, map, size and its room. -EINVAL (logged). */
int pci_layout(struct pci_config *config, const struct vfu_desc *desc, const struct vfu_bar *bars, uint32_t nbars,
               uint64_t rom_size);
/* What starts at offset: a register (and how much of the access is in it), or NULL and bytes up to the next one. */
struct reg_cell *pci_layout_cover(const struct pci_config *config, uint32_t offset, uint32_t size, uint32_t *part);

#endif
