/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dma - the client's memory as the device sees it: regions by DMA address, some mapped here, some reached by messages.
 *
 * Regions live in a sorted structure with a last-hit cache: map, unmap and lookup cost O(log n) at 65,535 regions and
 * more. A file is mapped once for each (device, inode, access) and counted, however many regions and fds show it.
 * A client may shrink a mapped file: a copy that meets the SIGBUS fails with -EFAULT and works again once the file does.
 * Where a window's user meets it, fault.c puts zero pages there; those fail with -EFAULT until they are mapped anew.
 * Runs on the device's thread.
 */
#ifndef CORE_DMA_H
#define CORE_DMA_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

struct dma;

/* max_regions: DMA_MAP beyond it is -ENOSPC. */
int dma_new(struct dma **out, const char *who, uint32_t max_regions);
/* Other limits from now on: those of the client at hand. page: a power of two, 4096 or more (which it is at first). */
void dma_limit(struct dma *dma, uint32_t max_regions, uint64_t page);
void dma_free(struct dma *dma);

/*
 * VFIO_USER_DMA_MAP. flags: VFU_DMA_MAP_* of vfu/protocol.h. fd is -1, or the caller's (not taken over): it is mapped
 * in here. -EINVAL: size 0, wrap past 2^64, address, size or offset unlike a page, unknown flags or none, a
 * mapping larger than its file, an fd that is no regular file; -EEXIST: overlaps a region; -ENOSPC; -EACCES; -ENOMEM.
 * Every failure has one line in the log with field and value (rate-limited).
 */
int dma_map(struct dma *dma, uint64_t address, uint64_t size, uint32_t flags, int fd, uint64_t offset);
/* Exactly one earlier mapping: 0, or -ENOENT. Windows in it end. */
int dma_unmap(struct dma *dma, uint64_t address, uint64_t size);
void dma_unmap_all(struct dma *dma);
uint32_t dma_count(const struct dma *dma);

/* Checks that every byte of [address, address + len) is in some region that allows the direction: 0, 1 if some of it
 * is reached by messages only, or -EFAULT (holes, wrap, not allowed). len 0 is 0. */
int dma_check(struct dma *dma, uint64_t address, uint64_t len, bool write);

/*
 * Copies between buf and client memory (write: towards the client). 0; -EFAULT as above or for memory that has gone
 * (SIGBUS); -EWOULDBLOCK if some byte is in a region without a mapping: then nothing was copied. Never reads or writes
 * outside its regions. Writes are told to the dirty function.
 */
int dma_copy(struct dma *dma, uint64_t address, void *buf, uint64_t len, bool write);

/* The part at `address` that is in one region: its mapping's pointer (NULL if it has none) and the length, at most
 * len. -EFAULT if there is no region or it does not allow the direction. */
int dma_piece(struct dma *dma, uint64_t address, uint64_t len, bool write, uint8_t **pointer, uint64_t *piece);

/* Called for each range that a device has written. NULL: nobody cares. */
void dma_on_write(struct dma *dma, void (*fn)(void *ctx, uint64_t address, uint64_t len), void *ctx);
/* Tells that function, of writes through windows and messages. */
void dma_wrote(struct dma *dma, uint64_t address, uint64_t len);

/* Called before (on) memory goes that has windows in it, and after: whoever looks through them must stop. NULL: nobody
 * but the device's thread does. */
void dma_on_end(struct dma *dma, void (*fn)(void *ctx, bool on), void *ctx);

/* Windows: see vfu_host.dma_map, dma_check, dma_unmap. */
int dma_window_open(struct dma *dma, uint64_t address, uint64_t len, uint32_t prot, struct vfu_dma_window *window);
int dma_window_check(const struct vfu_dma_window *window);
/* All of them: their plugin goes, the memory stays. */
void dma_window_end_all(struct dma *dma);
int dma_window_close(struct dma *dma, struct vfu_dma_window *window);

/* All regions, ascending, for logs and dirty bitmaps. */
int dma_each(struct dma *dma, int (*fn)(void *ctx, uint64_t address, uint64_t size, uint32_t flags, bool mapped), void *ctx);

#endif
