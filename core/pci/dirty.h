/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dirty - the log of pages that a device has written, for a client that migrates its guest.
 *
 * Pages are logged at 4096 bytes each, whatever size the client names, in blocks that exist only where something was
 * written. When a fixed number of blocks is used up the log grows coarse: whole ranges count as dirty, and a line says
 * so. It never loses a page. Runs on the device's thread.
 */
#ifndef CORE_DIRTY_H
#define CORE_DIRTY_H

#include <stdbool.h>
#include <stdint.h>

struct dirty;

struct dirty_range {
    uint64_t iova, length;
};

#define DIRTY_MAX_RANGES 4096u
/* Blocks of 16 MiB of addresses, 512 bytes of bitmap each: 2 TiB written all over, or so many single pages. */
#define DIRTY_MAX_BLOCKS 131072u

/* max_blocks: 0 is DIRTY_MAX_BLOCKS. */
int dirty_new(struct dirty **out, const char *who, uint32_t max_blocks);
void dirty_free(struct dirty *dirty);

/*
 * VFIO_DEVICE_FEATURE_DMA_LOGGING_START. n 0: all addresses; else only pages of these ranges are logged, in any order.
 * page_size is checked, and otherwise only a hint. -EINVAL: page_size is no power of two from 4096 up; a range is
 * empty, no multiple of page_size, wraps or overlaps another; -E2BIG: over DIRTY_MAX_RANGES; -EBUSY: logging already;
 * -ENOMEM. Failures are logged. The log begins empty.
 */
int dirty_start(struct dirty *dirty, uint64_t page_size, const struct dirty_range *ranges, uint32_t n);
/* Forgets everything; does nothing if not logging. */
void dirty_stop(struct dirty *dirty);
bool dirty_active(const struct dirty *dirty);

/* The device has written [address, address + len). A range that wraps is cut at 2^64. Does nothing if not logging. */
void dirty_mark(struct dirty *dirty, uint64_t address, uint64_t len);

/* What dirty_report writes for so many bytes of addresses: 64-bit words with a bit for each page; 0 if the arguments
 * are not valid. */
uint64_t dirty_bitmap_size(uint64_t iova, uint64_t length, uint64_t page_size);
/*
 * VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, and DIRTY_PAGES of old. Bit i of the bitmap is set if a byte of
 * [iova + i * page_size, + page_size) was written; dirty_bitmap_size() bytes are filled in, all others left alone.
 * page_size is any power of two from 4096 up. clear: what was reported is clean from now on. -EINVAL: not logging,
 * iova not a multiple of 4096, length 0 or not a multiple of page_size, wrap past 2^64, page_size, or a bitmap beyond
 * bitmap_bytes; then nothing has changed. The cost goes with the bitmap's size and with what is logged, never with the
 * addresses that nobody wrote to.
 */
int dirty_report(struct dirty *dirty, uint64_t iova, uint64_t length, uint64_t page_size, uint8_t *bitmap,
                 uint64_t bitmap_bytes, bool clear);

#endif
