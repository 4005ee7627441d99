/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * irqimage - the state of a function's interrupts as bytes for migration and snapshots: see irq.h, irq_state_*.
 *
 * Little-endian: version, vectors of INTx, MSI and MSI-X (4 bytes each), level (8), MSI mask and pending bits (4 each),
 * INTx disabled and function mask (4 each); raises (8 bytes for 64 vectors), PBA, written vector controls, table.
 * An image comes from outside: it must fit this device, and bits of vectors that it lacks are left out.
 * Runs on the device's thread.
 */
#include "core/pci/irq_private.h"

#include <errno.h>
#include <string.h>

#define IMAGE_VERSION 1u
#define IMAGE_FIXED 40u

static void put_le(uint8_t *bytes, uint64_t value, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_le(const uint8_t *bytes, uint32_t size)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

static uint32_t raised_size(const struct irq *irq)
{
    return (irq->max_vectors + 63) / 64 * 8;
}

uint32_t irq_state_size(const struct irq *irq)
{
    return IMAGE_FIXED + raised_size(irq) + 2 * irq_pba_size(irq) + irq_table_size(irq);
}

void irq_state_save(const struct irq *irq, uint8_t *image)
{
    const uint32_t pba = irq_pba_size(irq);

    put_le(image, IMAGE_VERSION, 4);
    for (uint32_t index = 0; index <= VFIO_PCI_MSIX_IRQ_INDEX; index++)
        put_le(image + 4 + 4 * index, irq->count[index], 4);
    put_le(image + 16, irq->level, 8);
    put_le(image + 24, irq->msi_mask, 4);
    put_le(image + 28, irq->msi_pending, 4);
    put_le(image + 32, irq->intx_disabled, 4);
    put_le(image + 36, irq->function_mask, 4);
    image += IMAGE_FIXED;
    for (uint32_t i = 0; i < raised_size(irq) / 8; i++, image += 8)
        put_le(image, irq->raised[i], 8);
    memcpy(image, irq->pba, pba);
    memcpy(image + pba, irq->controlled, pba);
    memcpy(image + 2 * pba, irq->table, irq_table_size(irq));
}

static int check_image(struct irq *irq, const uint8_t *image, uint32_t size)
{
    if (size != irq_state_size(irq)) {
        log_error(irq->who, "saved interrupts: %u bytes, not %u", size, irq_state_size(irq));
        return -EINVAL;
    }
    if (get_le(image, 4) != IMAGE_VERSION) {
        log_error(irq->who, "saved interrupts: version %u, not %u", (unsigned)get_le(image, 4), IMAGE_VERSION);
        return -EINVAL;
    }
    for (uint32_t index = 0; index <= VFIO_PCI_MSIX_IRQ_INDEX; index++)
        if (get_le(image + 4 + 4 * index, 4) != irq->count[index]) {
            log_error(irq->who, "saved interrupts: index %u has %u vectors, not %u", index,
                      (unsigned)get_le(image + 4 + 4 * index, 4), irq->count[index]);
            return -EINVAL;
        }
    return 0;
}

/* Copies the first `vectors` bits; an image from outside may have set those beyond. */
static void load_bits(uint8_t *bits, const uint8_t *image, uint32_t vectors)
{
    for (uint32_t v = 0; v < vectors; v++)
        irq_put_bit(bits, v, irq_test_bit(image, v));
}

int irq_state_load(struct irq *irq, const uint8_t *image, uint32_t size)
{
    const uint32_t pba = irq_pba_size(irq), msi = irq->count[VFIO_PCI_MSI_IRQ_INDEX];
    const uint32_t msix = irq->count[VFIO_PCI_MSIX_IRQ_INDEX];
    const uint32_t msi_bits = msi < 32 ? (UINT32_C(1) << msi) - 1 : UINT32_MAX;

    if (check_image(irq, image, size) < 0)
        return -EINVAL;
    irq->level = get_le(image + 16, 8);
    irq->msi_mask = (uint32_t)get_le(image + 24, 4) & msi_bits;
    irq->msi_pending = (uint32_t)get_le(image + 28, 4) & msi_bits;
    irq->intx_disabled = get_le(image + 32, 4) != 0;
    irq->function_mask = get_le(image + 36, 4) != 0;
    image += IMAGE_FIXED;
    memset(irq->raised, 0, sizeof irq->raised);
    irq->nraised = 0;
    for (uint32_t v = 0; v < irq->max_vectors; v++)
        if (irq_test_bit(image, v)) {
            irq->raised[v / 64] |= UINT64_C(1) << (v % 64);
            irq->nraised++;
        }
    image += raised_size(irq);
    load_bits(irq->pba, image, msix);
    load_bits(irq->controlled, image + pba, msix);
    memcpy(irq->table, image + 2 * pba, irq_table_size(irq));
    for (uint32_t v = 0; v < msix; v++) {
        uint8_t *control = irq->table + v * IRQ_ENTRY_SIZE + IRQ_ENTRY_CONTROL;

        control[0] &= IRQ_ENTRY_MASKED;
        memset(control + 1, 0, 3);
    }
    irq_deliver_all(irq);
    return 0;
}
