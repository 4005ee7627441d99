/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * feature - the commands of migration: DEVICE_FEATURE, MIG_DATA_READ, MIG_DATA_WRITE, and the dirty pages of earlier
 * revisions (DIRTY_PAGES, DMA_UNMAP with a bitmap), which work on the same log as DMA_LOGGING. Handlers as in
 * command.h.
 *
 * A GET whose argsz is too small for its data is answered with the 8 bytes of the request and the argsz it takes. What
 * is not offered is ENOTTY, as VFIO has it; a method that a feature lacks, EINVAL. Runs on the device's thread.
 */
#ifndef CORE_FEATURE_H
#define CORE_FEATURE_H

#include <stdint.h>

#include <vfu/protocol.h>

struct message;
struct session;

int feature_handle(struct session *s, struct message *m);
int feature_data_read(struct session *s, struct message *m);
int feature_data_write(struct session *s, struct message *m);
int feature_dirty_pages(struct session *s, struct message *m);
/* DMA_UNMAP with VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP; `unmap` has been read from the message. */
int feature_dma_unmap(struct session *s, struct message *m, const struct vfu_msg_dma_unmap *unmap);

/* The reply payload that a message of these commands may need; 0 for those that need little. */
uint32_t feature_reply_bound(const struct message *m);

#endif
