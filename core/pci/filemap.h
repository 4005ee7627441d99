/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filemap - files of a client mapped into this process: each once for (device, inode, access), and counted.
 *
 * A mapping covers the whole file, and room for it to grow, so that neither the number of regions nor of fds nor of
 * growth steps costs mappings of the kernel's. Where that much address space is not to be had, it covers what was
 * asked for and is not shared. No fd is kept. One struct filemaps for each client; runs on the device's thread.
 */
#ifndef CORE_FILEMAP_H
#define CORE_FILEMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/base/fault.h"
#include "core/base/log.h"

struct filemap {
    uint8_t *base;
    uint64_t offset; /* of base in the file */
    uint64_t size;
    uint32_t count; /* users */
    bool write;
    bool listed; /* in the table, for others to share */
    dev_t dev;
    ino_t ino;
    struct fault_area *area;
    struct filemap *next; /* in its bucket */
};

struct filemaps {
    const char *who; /* for the log; the caller's */
    struct log_limit *limit;
    struct filemap **buckets;
    uint32_t nbuckets; /* a power of two, or 0 */
    uint32_t nlisted;
    uint32_t nmaps;
    uint64_t mapped; /* bytes of address space */
};

/* At most so much address space and so many mappings for one client; -ENOMEM beyond. */
#define FILEMAP_MAX_BYTES (UINT64_C(1) << 44)
#define FILEMAP_MAX_MAPS 16384u

/*
 * A mapping that shows [offset, offset + size) of the file behind fd; both are multiples of 4096. -EINVAL: no regular
 * file, or it ends before that, or may be of FUSE; -EACCES: fd does not allow it; -ENOMEM. Logged, with the field and
 * its value.
 */
int filemap_get(struct filemaps *maps, int fd, uint64_t offset, uint64_t size, bool write, struct filemap **out);
void filemap_put(struct filemaps *maps, struct filemap *map);
/* Gives the table back; all mappings must have been put. */
void filemap_done(struct filemaps *maps);

/* True if the client has taken away some of these bytes while somebody had a direct pointer to them. */
static inline bool filemap_lost(const struct filemap *map, const void *at, uint64_t len)
{
    return atomic_load_explicit(&map->area->bad, memory_order_relaxed) && fault_lost(map->area, at, len);
}

#endif
