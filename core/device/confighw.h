/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * confighw - config space from the device's side (struct vfu_host_config): what hardware reads and changes of its own,
 * and where the guest has put its regions. Runs on the device's thread.
 */
#ifndef CORE_CONFIGHW_H
#define CORE_CONFIGHW_H

#include <stdbool.h>
#include <stdint.h>

#include "core/pci/pci_config.h"

/* -EINVAL: beyond the end. Registers over the bytes give their values, without hooks. */
int confighw_read(struct pci_config *config, uint32_t offset, uint32_t size, uint8_t *bytes);
/* -EINVAL: beyond the end. -EACCES: a bit that is not the device's would change, or a register lies there. */
int confighw_write(struct pci_config *config, uint32_t offset, uint32_t size, const uint8_t *bytes);
/* The address in a BAR or the ROM's, and whether it is switched on. */
uint64_t confighw_address(const struct pci_config *config, uint32_t region, bool *decoded);

#endif
