/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * irq_private - what irq.c (signalling, SET_IRQS, masks) and irqimage.c (saving) share, and nobody else sees.
 * Runs on the device's thread.
 */
#ifndef CORE_IRQ_PRIVATE_H
#define CORE_IRQ_PRIVATE_H

#include "core/pci/irq.h"

#define IRQ_ENTRY_SIZE 16u   /* of the MSI-X table */
#define IRQ_ENTRY_CONTROL 12u /* its vector control */
#define IRQ_ENTRY_MASKED 1u
#define IRQ_NO_KIND IRQ_INDEXES

enum { IRQ_ON_MASK, IRQ_ON_UNMASK, IRQ_ON_TRIGGER, IRQ_ACTIONS };

struct irq_notifier {
    int fd;
    bool blocks; /* it came without O_NONBLOCK */
};

struct irq_vector {
    struct irq_notifier on[IRQ_ACTIONS];
    bool masked; /* by the client; INTx: or by its own signal */
};

struct irq {
    const char *who;
    uint32_t count[IRQ_INDEXES];
    struct irq_vector *vectors[IRQ_INDEXES];
    bool armed[IRQ_INDEXES];
    uint32_t kind; /* the index in use, or IRQ_NO_KIND */
    uint64_t level;
    uint64_t raised[IRQ_MSIX_MAX / 64]; /* INTx: raises that are not lowered, by vector */
    uint32_t nraised, max_vectors;
    bool intx_disabled, function_mask;
    bool frozen; /* as if everything were masked */
    uint32_t msi_mask, msi_pending;
    uint8_t *table, *pba, *controlled; /* controlled: a bit for each entry whose vector control has been written */
    void (*sent)(void *ctx, const char *kind, uint32_t vector);
    void *sent_ctx;
    uint64_t dropped;
    struct log_limit limit;
};

static inline bool irq_test_bit(const uint8_t *bits, uint32_t n)
{
    return bits[n / 8] >> (n % 8) & 1;
}

static inline void irq_put_bit(uint8_t *bits, uint32_t n, bool value)
{
    uint8_t bit = (uint8_t)(1u << (n % 8));

    bits[n / 8] = value ? bits[n / 8] | bit : bits[n / 8] & (uint8_t)~bit;
}

/* Whatever of the kind in use nothing keeps back is sent: another kind is in use, or a state has been loaded. */
void irq_deliver_all(struct irq *irq);

#endif
