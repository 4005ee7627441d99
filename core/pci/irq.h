/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * irq - the interrupts of one function: INTx, MSI, MSI-X, error and request, signalled through the client's eventfds.
 *
 * The kind in use is the one that the client has armed with SET_IRQS: MSI-X, then MSI, then INTx. INTx is a level: it
 * is asserted while the level value is not 0 or a raise is not lowered; signalling it automasks it, and UNMASK signals
 * it again if it is still asserted. MSI and MSI-X are edges; a masked vector keeps a pending bit and is sent when the
 * mask is lifted. Runs on the device's thread.
 */
#ifndef CORE_IRQ_H
#define CORE_IRQ_H

#include <linux/vfio.h>
#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

#include "core/base/log.h"

#define IRQ_INDEXES 5 /* INTx, MSI, MSI-X, ERR, REQ */
#define IRQ_MSI_MAX 32u
#define IRQ_MSIX_MAX 2048u

struct irq;

int irq_new(struct irq **out, const char *who, bool intx, uint32_t msi_vectors, uint32_t msix_vectors);
void irq_free(struct irq *irq);

/* VFIO_DEVICE_GET_IRQ_INFO; -EINVAL for an index the device does not have (5 and above). Count is 0 where the device
 * lacks the kind; ERR and REQ always count 1. MSI and MSI-X are not NORESIZE; INTx is MASKABLE and AUTOMASKED. */
int irq_info(const struct irq *irq, uint32_t index, struct vfio_irq_info *info);

/*
 * VFIO_DEVICE_SET_IRQS. `set` is the fixed part, `data` the ndata bytes behind it (DATA_BOOL), fds the descriptors
 * that came along. Takes over those it stores and sets their slots to -1; the caller closes the rest. 0 or -EINVAL
 * with one line in the log that names field and value.
 */
int irq_set(struct irq *irq, const struct vfio_irq_set *set, const uint8_t *data, uint32_t ndata, int *fds, uint32_t nfds);

/* The plugin's own: see vfu_host.irq_raise, irq_lower, irq_signal. */
int irq_raise(struct irq *irq, uint32_t vector);
int irq_lower(struct irq *irq, uint32_t vector);
int irq_signal(struct irq *irq, uint32_t which);
/* The level register & mask register has this value now. Under MSI and MSI-X a bit that goes 0 to 1 sends vector 0. */
void irq_level(struct irq *irq, uint64_t bits);
/* INTx is asserted (the status bit of config space). */
bool irq_asserted(const struct irq *irq);

/* From config space: command register's interrupt disable; MSI mask bits; MSI-X function mask. */
void irq_config_intx(struct irq *irq, bool disabled);
void irq_config_msi(struct irq *irq, uint32_t mask_bits);
void irq_config_msix(struct irq *irq, bool function_mask);
uint32_t irq_msi_pending(const struct irq *irq); /* pending bits, for the MSI capability */

/* The MSI-X table (16 bytes a vector) and the pending bit array, as memory. Any offset and size within them. Mask
 * bits work from the first write of an entry's vector control on; a table at its reset value withholds nothing.
 * Writes to the PBA are dropped. */
uint32_t irq_table_size(const struct irq *irq); /* bytes: 16 * vectors */
uint32_t irq_pba_size(const struct irq *irq);   /* bytes: a multiple of 8 */
void irq_table_read(const struct irq *irq, uint32_t offset, uint32_t size, uint8_t *bytes);
void irq_table_write(struct irq *irq, uint32_t offset, uint32_t size, const uint8_t *bytes);
void irq_pba_read(const struct irq *irq, uint32_t offset, uint32_t size, uint8_t *bytes);

/* Lowers everything, forgets pending bits and the table; eventfds stay armed, INTx stays as masked as it was. */
void irq_reset(struct irq *irq);
/* The client is gone: closes every eventfd, forgets client masks. Levels, pending bits and the table stay. */
void irq_detach(struct irq *irq);

/* Stopped for migration: whatever would be sent is kept pending, and sent when it goes on. */
void irq_freeze(struct irq *irq, bool frozen);

/* Called for each interrupt that the client is signalled: "INTx", "MSI", "MSI-X" and the vector (INTx: VFU_NONE), or
 * NULL. */
void irq_on_send(struct irq *irq, void (*fn)(void *ctx, const char *kind, uint32_t vector), void *ctx);

/* Dropped because nobody armed them, since the start. */
uint64_t irq_dropped(const struct irq *irq);

/* State for migration: a flat little-endian image (levels, raises, pending bits, table, masks of config space). */
uint32_t irq_state_size(const struct irq *irq);
void irq_state_save(const struct irq *irq, uint8_t *image);
int irq_state_load(struct irq *irq, const uint8_t *image, uint32_t size); /* -EINVAL if it does not fit */

#endif
