/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pciname - what the parts of a configuration space are called, by PCI Local Bus 3.0 (6.1), Power Management 1.2 and
 * PCI Express Base (7.5). Any thread.
 */
#ifndef CORE_PCINAME_H
#define CORE_PCINAME_H

#include <stddef.h>
#include <stdint.h>

#include "core/pci/pci_config.h"

/* All that the bytes touch, with spaces between: "COMMAND STATUS"; "config" where nothing has a name. */
void pciname(const struct pci_config *config, uint32_t offset, uint32_t size, char *text, size_t len);
/* The fields of exactly these bytes, or NULL. */
const struct vfu_reg *pciname_register(uint32_t offset, uint32_t size);

#endif
