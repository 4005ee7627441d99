/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pci_config - see pci_config.h. Runs on the device's thread; only pci_config_init allocates.
 *
 * A byte of config space is five bytes here: its value, which bits software may write, which bits a written 1 clears,
 * its reset value, and which bits are the device's own. What a write means is found by comparing the few control values
 * before and after it, so that 1-byte, 2-byte and 4-byte writes, resets and restores all take the same way. The two
 * values that live elsewhere (INTx status, MSI pending bits) are asked for when their bytes are read. What stands where
 * to begin with is pci_layout.c's.
 */
#include "core/pci/pci_config.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#include "core/pci/pci_config_private.h"
#include "core/inspect/watch.h"

#define D3HOT 3u

/* What writes may have changed. */
struct controls {
    uint16_t command;
    bool msi_enabled, msix_enabled, function_mask;
    uint32_t msi_mask;
    uint32_t power;
};

/* True if [offset, offset + size) meets the n bytes at `at`. */
static bool touches(uint32_t offset, uint32_t size, uint32_t at, uint32_t n)
{
    return offset < at + n && at < offset + size;
}

int pci_config_init(struct pci_config *config, const char *who, const struct vfu_desc *desc, const struct vfu_bar *bars,
                    uint32_t nbars, uint64_t rom_size, struct regmap *map)
{
    const bool express = desc->pci_flags & (VFU_PCI_EXPRESS | VFU_PCI_FLR);
    int result;

    memset(config, 0, sizeof *config);
    config->who = who;
    config->map = map;
    config->size = express ? PCI_CONFIG_EXPRESS_SIZE : PCI_CONFIG_SIZE;
    config->bytes = calloc(5, config->size);
    if (!config->bytes)
        return -ENOMEM;
    config->writable = config->bytes + config->size;
    config->w1c = config->writable + config->size;
    config->initial = config->w1c + config->size;
    config->own = config->initial + config->size;
    result = pci_layout(config, desc, bars, nbars, rom_size);
    if (result < 0) {
        pci_config_fini(config);
        return result;
    }
    memcpy(config->initial, config->bytes, config->size);
    return 0;
}

void pci_config_listen(struct pci_config *config, const struct pci_config_events *events, void *ctx)
{
    config->events = events;
    config->ctx = ctx;
}

void pci_config_fini(struct pci_config *config)
{
    free(config->bytes); /* the other four are in the same block */
    memset(config, 0, sizeof *config);
}

/* ---- what changes mean --------------------------------------------------------------------------------------- */

static struct controls look(const struct pci_config *config)
{
    const uint8_t *bytes = config->bytes;
    struct controls now = {.command = get16(bytes, PCI_COMMAND)};

    if (config->cap_msi) {
        now.msi_enabled = bytes[config->cap_msi + PCI_MSI_FLAGS] & PCI_MSI_FLAGS_ENABLE;
        now.msi_mask = get32(bytes, config->cap_msi + MSI_MASK);
    }
    if (config->cap_msix) {
        uint16_t flags = get16(bytes, config->cap_msix + PCI_MSIX_FLAGS);

        now.msix_enabled = flags & PCI_MSIX_FLAGS_ENABLE;
        now.function_mask = flags & PCI_MSIX_FLAGS_MASKALL;
    }
    if (config->cap_pm)
        now.power = bytes[config->cap_pm + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK;
    return now;
}

/* Power comes last: its listener may reset the device, and with it everything told before. */
static void tell(struct pci_config *config, const struct controls *old, bool power)
{
    const struct pci_config_events *events = config->events;
    const struct controls now = look(config);

    if (!events)
        return;
    if (events->command && now.command != old->command)
        events->command(config->ctx, now.command);
    if (events->msi && (now.msi_enabled != old->msi_enabled || now.msi_mask != old->msi_mask))
        events->msi(config->ctx, now.msi_enabled, now.msi_mask);
    if (events->msix && (now.msix_enabled != old->msix_enabled || now.function_mask != old->function_mask))
        events->msix(config->ctx, now.msix_enabled, now.function_mask);
    if (power && events->power && now.power != old->power)
        events->power(config->ctx, now.power);
}

/* D1 and D2 do not exist here: a write of them leaves the state as it was. */
static void keep_power(struct pci_config *config, uint32_t state)
{
    uint8_t *control = config->bytes + config->cap_pm + PCI_PM_CTRL;
    const uint32_t now = *control & PCI_PM_CTRL_STATE_MASK;

    if (config->cap_pm && now != 0 && now != D3HOT)
        *control = (uint8_t)((*control & ~PCI_PM_CTRL_STATE_MASK) | state);
}

void pci_config_plain(struct pci_config *config, uint32_t offset, uint32_t size, uint8_t *bytes)
{
    const struct pci_config_events *events = config->events;

    if (events && events->intx_status && touches(offset, size, PCI_STATUS, 1)) {
        config->bytes[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
        if (events->intx_status(config->ctx))
            config->bytes[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
    }
    if (events && events->msi_pending && config->cap_msi && touches(offset, size, config->cap_msi + MSI_PENDING, 4))
        put32(config->bytes, config->cap_msi + MSI_PENDING, events->msi_pending(config->ctx));
    memcpy(bytes, config->bytes + offset, size);
}

/* Bytes of the host's own, without a register over them. */
static void store(struct pci_config *config, uint32_t offset, uint32_t size, const uint8_t *bytes)
{
    const struct controls old = look(config);
    const uint32_t flr = config->cap_express + PCI_EXP_DEVCTL + 1u;

    for (uint32_t i = 0; i < size; i++) {
        uint8_t *byte = config->bytes + offset + i, writable = config->writable[offset + i];

        *byte = (uint8_t)((*byte & ~writable) | (bytes[i] & writable));
        *byte = (uint8_t)(*byte & ~(bytes[i] & config->w1c[offset + i]));
    }
    keep_power(config, old.power);
    tell(config, &old, true);
    if (config->cap_express && touches(offset, size, flr, 1) && bytes[flr - offset] & PCI_EXP_DEVCTL_BCR_FLR >> 8 &&
        get32(config->bytes, config->cap_express + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR && config->events &&
        config->events->flr)
        config->events->flr(config->ctx);
}

static uint32_t number_at(struct pci_config *config, uint32_t offset, uint32_t size)
{
    uint8_t bytes[4] = {0};

    pci_config_plain(config, offset, size, bytes);
    return get32(bytes, 0);
}

static void plain_write(struct pci_config *config, uint32_t offset, uint32_t size, const uint8_t *bytes)
{
    uint8_t raw[4] = {0};
    uint32_t old;

    if (!config->events || !config->events->written) {
        store(config, offset, size, bytes);
        return;
    }
    old = number_at(config, offset, size);
    store(config, offset, size, bytes);
    memcpy(raw, bytes, size);
    config->events->written(config->ctx, offset, size, old, number_at(config, offset, size), get32(raw, 0));
}

/* ---- accesses ------------------------------------------------------------------------------------------------ */

/* The widest aligned piece of at most four bytes. */
static uint32_t piece_at(uint32_t offset, uint32_t size)
{
    uint32_t piece = 4;

    while (piece > size || offset % piece)
        piece /= 2;
    return piece;
}

static void told(const struct pci_config *config, const struct reg_cell *cell, uint32_t offset, uint32_t size,
                 uint32_t width, const uint8_t *bytes, bool write)
{
    if (!config->watch)
        return;
    if (cell)
        config->watch->calls->reg(config->watch, cell, offset, size, width, bytes, write);
    else
        config->watch->calls->config(config->watch, config, offset, size, width, bytes, write);
}

void pci_config_read(struct pci_config *config, uint32_t offset, uint32_t size, uint8_t *bytes)
{
    const uint32_t width = size;

    while (size) {
        uint32_t part;
        struct reg_cell *cell = pci_layout_cover(config, offset, piece_at(offset, size), &part);

        if (cell)
            regmap_read(config->map, cell, offset, part, bytes);
        else
            pci_config_plain(config, offset, part, bytes);
        told(config, cell, offset, part, width, bytes, false);
        offset += part;
        bytes += part;
        size -= part;
    }
}

void pci_config_write(struct pci_config *config, uint32_t offset, uint32_t size, const uint8_t *bytes)
{
    const uint32_t width = size;

    while (size) {
        uint32_t part;
        struct reg_cell *cell = pci_layout_cover(config, offset, piece_at(offset, size), &part);

        told(config, cell, offset, part, width, bytes, true);
        if (cell)
            regmap_write(config->map, cell, offset, part, bytes);
        else
            plain_write(config, offset, part, bytes);
        offset += part;
        bytes += part;
        size -= part;
    }
}

void pci_config_reset(struct pci_config *config)
{
    const struct controls old = look(config);

    memcpy(config->bytes, config->initial, config->size);
    tell(config, &old, false);
}

/* Saved bytes come from outside: what neither software nor the device can change stays as it is here. */
void pci_config_restore(struct pci_config *config, const uint8_t *bytes)
{
    const struct controls old = look(config);

    for (uint32_t i = 0; i < config->size; i++) {
        const uint8_t saved = config->writable[i] | config->w1c[i] | config->own[i];

        config->bytes[i] = (uint8_t)((config->initial[i] & ~saved) | (bytes[i] & saved));
    }
    keep_power(config, 0);
    tell(config, &old, true);
}
