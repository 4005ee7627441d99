/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pci_config - configuration space of one PCI function: the type 0 header, BARs and their sizing, and the capability
 * list, laid out from what the plugin declares. Bytes a write may change are a mask; what a write means beyond its
 * bytes (BARs, command, MSI, MSI-X, power, FLR) is told through struct pci_config_events after the bytes are stored.
 *
 * Layout: capabilities from 0x40 up, in the order PM, MSI, MSI-X, PCI Express, then the device's own, dword-aligned.
 * PCI Local Bus 3.0 chapter 6, PCI Express Base 7.5, PCI Power Management 1.2.
 * Runs on the device's thread.
 */
#ifndef CORE_PCI_CONFIG_H
#define CORE_PCI_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

#include "core/regmap/regmap.h"

#define PCI_CONFIG_SIZE 256u
#define PCI_CONFIG_EXPRESS_SIZE 4096u

/* Any member may be NULL. */
struct pci_config_events {
    void (*command)(void *ctx, uint16_t command); /* the command register has changed */
    void (*msi)(void *ctx, bool enabled, uint32_t mask_bits);
    void (*msix)(void *ctx, bool enabled, bool function_mask);
    void (*power)(void *ctx, uint32_t state);     /* D0 is 0, D3hot is 3; told of changes only */
    void (*flr)(void *ctx);                       /* device control bit 15 was written 1 (it reads 0) */
    uint32_t (*msi_pending)(void *ctx);           /* asked when the MSI pending bits are read */
    bool (*intx_status)(void *ctx);               /* asked when the status register is read */
    /* The last, after a write to what no register covers: 1 to 4 bytes as numbers, before, after and as sent. */
    void (*written)(void *ctx, uint32_t offset, uint32_t size, uint32_t old, uint32_t value, uint32_t raw);
};

struct pci_config {
    const char *who;
    uint32_t size; /* PCI_CONFIG_SIZE, or PCI_CONFIG_EXPRESS_SIZE with an Express capability */
    uint8_t *bytes, *writable; /* size each */
    uint8_t *w1c;              /* bits that a written 1 clears */
    uint8_t *initial;          /* all bytes as a reset leaves them */
    uint8_t *own;              /* bits of the device's own capabilities, which it may change: core/device/confighw.c */
    uint16_t caps_end;         /* where the next capability would go */
    uint64_t bar_size[6];      /* 0: none, or the upper half of the one before */
    uint32_t bar_type[6];
    uint64_t rom_size;
    uint16_t cap_pm, cap_msi, cap_msix, cap_express; /* offsets, 0: absent */
    bool no_soft_reset;
    struct watch *watch; /* told of every access; may be NULL */
    struct regmap *map; /* registers of VFU_REGION_CONFIG lie over the bytes; may be NULL */
    const struct pci_config_events *events;
    void *ctx;
};

/*
 * desc has been checked for what regions and interrupts it declares; `bars` has msix's own BAR added where the host
 * made one, and msix_bar in desc is final. bar_size[] and types come from `bars`. -EINVAL (logged): capabilities that
 * do not fit, a class code above 24 bits, an MSI count that is no power of two up to 32, ids that are 0xffff.
 */
int pci_config_init(struct pci_config *config, const char *who, const struct vfu_desc *desc, const struct vfu_bar *bars,
                    uint32_t nbars, uint64_t rom_size, struct regmap *map);
void pci_config_listen(struct pci_config *config, const struct pci_config_events *events, void *ctx);
void pci_config_fini(struct pci_config *config);

/* offset + size <= config->size is the caller's check. Any size and alignment: cut into aligned pieces of up to 4. */
void pci_config_read(struct pci_config *config, uint32_t offset, uint32_t size, uint8_t *bytes);
void pci_config_write(struct pci_config *config, uint32_t offset, uint32_t size, const uint8_t *bytes);

/* The same read, of bytes without a register over them. */
void pci_config_plain(struct pci_config *config, uint32_t offset, uint32_t size, uint8_t *bytes);

/* Reset values of command, status, BARs, capabilities' control bits; tells events of what changed by it, but power
 * and flr. An FLR and a bus reset are the same here. */
void pci_config_reset(struct pci_config *config);

/* Puts saved bytes back whole (config->size of them), and tells events as after writes. */
void pci_config_restore(struct pci_config *config, const uint8_t *bytes);

#endif
