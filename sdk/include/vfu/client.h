/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfu/client.h - the client's side of vfio-user: connects to a device, accesses its regions, lends it memory, takes
 * its interrupts. It speaks to any server of protocol 0.x, not only to vfu-host. Link with -lvfu-client (pkg-config
 * vfu-client). Compiles as C99, C11 and C++17.
 *
 *     struct vfuc *c = vfuc_new(NULL);
 *     uint64_t id;
 *
 *     if (!c || vfuc_connect(c, "/run/edu.sock") < 0 || vfuc_get(c, VFUC_BAR(0), 0, 4, &id) < 0)
 *         errx(1, "%s", c ? vfuc_error(c) : "out of memory");
 *     vfuc_free(c);
 *
 * Conventions, which hold for every function below unless its comment says otherwise:
 *
 *   results   0 or a positive value for success, a negative errno for failure; vfuc_error() has the text for people.
 *             -ENOTCONN      not connected, or the server has closed the connection
 *             -ETIMEDOUT     the server did not answer within the time limit. The connection stays usable: a reply
 *                            that comes late is known by its id and dropped. A server that did not even take the
 *                            request, or stopped inside a reply, breaks it for good (-EPROTO from then on)
 *             -EPROTO        the server broke the protocol; every later call returns it, with the first text
 *             -EBUSY         256 requests are waiting for their replies
 *             other values   the server's own, from an error reply
 *             An error reply with errno 0 or a senseless one counts as -EIO.
 *   time      every call ends within the time limit of its connection (vfuc_options.timeout_ns, 5 s), which starts anew
 *             with each message of calls that send several. Times are nanoseconds.
 *   thread    any thread, one at a time for each struct vfuc. Different ones share nothing.
 *   DMA       the server may ask for the client's memory at any time. Such requests are answered while a call waits
 *             for the server, and by vfuc_serve(). They are answered out of memory given by vfuc_memory_new(),
 *             vfuc_dma_map() with `mem`, or vfuc_on_dma().
 *   memory    nothing is allocated by an access, once the connection stands.
 *   signals   no call raises SIGPIPE; EINTR is handled.
 *   order     integers are in host order, as on the wire. Region data are bytes, as the device sees them.
 */
#ifndef VFU_CLIENT_H
#define VFU_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VFUC_API __attribute__((visibility("default")))

/* Region indexes of a PCI function. */
#define VFUC_BAR(n) (n)
#define VFUC_ROM 6u
#define VFUC_CONFIG 7u
#define VFUC_VGA 8u

/* Interrupt indexes of a PCI function. */
#define VFUC_INTX 0u
#define VFUC_MSI 1u
#define VFUC_MSIX 2u
#define VFUC_ERR 3u
#define VFUC_REQ 4u

#define VFUC_NS_PER_MS UINT64_C(1000000)
#define VFUC_FOREVER UINT64_MAX /* no time limit */

/* One connection, or the wish for one. */
struct vfuc;

/* ---- life --------------------------------------------------------------------------------------------------- */

#define VFUC_TWIN_SOCKET (1u << 0)    /* ask for a second socket for the server's DMA requests */
#define VFUC_NO_WRITE_MULTI (1u << 1) /* do not offer write_multiple */
#define VFUC_WAIT (1u << 2)           /* connect: a socket that is not there yet is waited for, up to the time limit */
#define VFUC_NO_VERSION (1u << 3)     /* do not negotiate: for vfuc_raw_send() and vfuc_raw_recv() */

#define VFUC_NO_MIGRATION (1u << 4)   /* do not offer migration; device features work all the same */

/* Zero means the default in every member. */
struct vfuc_options {
    size_t struct_size;          /* sizeof(struct vfuc_options) */
    uint64_t timeout_ns;         /* 5 s; VFUC_FOREVER */
    uint32_t flags;              /* VFUC_TWIN_SOCKET, ... */
    uint32_t max_msg_fds;        /* fds that this side takes with one message: 16, at most 64 */
    uint64_t max_data_xfer_size; /* bytes the server may read or write with one DMA message: 1 MiB, at most 64 MiB */
    uint32_t max_dma_maps;       /* 65535 */
    uint32_t reserved;
    uint64_t pgsizes;            /* 4096 */
    const char *json;            /* sent as it stands instead of what the members above say; "" sends no JSON at all */
    uint64_t migration_pgsize;          /* bytes of client memory that one bit of a dirty bitmap stands for: 4096 */
    uint64_t migration_max_bitmap_size; /* bytes of bitmap that this side takes with one reply: max_data_xfer_size */
};

/* A connection to be. NULL options: all defaults. NULL if memory is out or the options make no sense. */
VFUC_API struct vfuc *vfuc_new(const struct vfuc_options *options);
/* Closes and frees; NULL is fine. */
VFUC_API void vfuc_free(struct vfuc *c);

/*
 * Connects to the UNIX stream socket at `path`, and negotiates (specification: VFIO_USER_VERSION). -ENAMETOOLONG, what
 * connect(2) says, -EISCONN, -EPROTO: the server's answer is not the protocol's; the server's errno where it refuses.
 * A server that is busy with another client is waited for, like any answer: -ETIMEDOUT.
 */
VFUC_API int vfuc_connect(struct vfuc *c, const char *path);
/* The same over a connected socket, which is taken over, also on failure. Its time limits (SO_RCVTIMEO) are set. */
VFUC_API int vfuc_attach(struct vfuc *c, int fd);
/* Closes the connection, the interrupts' eventfds and the memory of vfuc_memory_new; vfuc_connect may follow. */
VFUC_API void vfuc_close(struct vfuc *c);

/* The last failure, one line without a newline, "" if there was none. Good until the next call. */
VFUC_API const char *vfuc_error(const struct vfuc *c);
/* Another time limit from now on. */
VFUC_API int vfuc_timeout(struct vfuc *c, uint64_t timeout_ns);
/* The sockets, for poll(2): readable means that vfuc_serve() has something to do. -1 if there is none. */
VFUC_API int vfuc_fd(const struct vfuc *c);
VFUC_API int vfuc_twin_fd(const struct vfuc *c);

/* What was negotiated: the server's word, with the specification's defaults where it said nothing. */
struct vfuc_server {
    uint16_t major, minor;
    uint32_t max_msg_fds;        /* fds the server takes with one message */
    uint64_t max_data_xfer_size; /* bytes a region access may carry */
    uint32_t max_dma_maps;
    bool write_multiple;
    bool twin_socket; /* DMA requests come by a second socket */
    bool migration;   /* a "migration" object was there */
    bool reserved;
    uint64_t pgsizes;
    uint64_t migration_pgsize;          /* 4096 if not said */
    uint64_t migration_max_bitmap_size; /* 0 if not said */
    const char *json;                   /* the server's JSON as it came, or "" */
};

/* NULL before the negotiation. Good until vfuc_close. */
VFUC_API const struct vfuc_server *vfuc_server(const struct vfuc *c);

/* ---- the device ---------------------------------------------------------------------------------------------- */

#define VFUC_DEVICE_RESET (1u << 0) /* vfuc_reset works */
#define VFUC_DEVICE_PCI (1u << 1)

struct vfuc_device {
    uint32_t flags; /* VFUC_DEVICE_* */
    uint32_t num_regions, num_irqs;
};
VFUC_API int vfuc_device_info(struct vfuc *c, struct vfuc_device *device);

#define VFUC_REGION_READ (1u << 0)
#define VFUC_REGION_WRITE (1u << 1)
#define VFUC_REGION_MMAP (1u << 2)
#define VFUC_REGION_CAPS (1u << 3)

struct vfuc_area {
    uint64_t offset, size; /* within the region */
};

struct vfuc_region {
    uint32_t index;
    uint32_t flags;  /* VFUC_REGION_* */
    uint64_t size;   /* bytes; 0: there is no such region */
    uint64_t offset; /* for mmap(2), together with fd */
    int fd;          /* the caller's to close; -1 if the region is not mappable */
    uint32_t nareas; /* mappable parts the server named; 0 with VFUC_REGION_MMAP: all of it */
};

/* Specification: VFIO_USER_DEVICE_GET_REGION_INFO. Up to max_areas parts go to `areas`; NULL and 0 if not wanted. */
VFUC_API int vfuc_region_info(struct vfuc *c, uint32_t index, struct vfuc_region *region, struct vfuc_area *areas,
                              uint32_t max_areas);

#define VFUC_IRQ_EVENTFD (1u << 0)
#define VFUC_IRQ_MASKABLE (1u << 1)
#define VFUC_IRQ_AUTOMASKED (1u << 2)
#define VFUC_IRQ_NORESIZE (1u << 3)

struct vfuc_irq {
    uint32_t index;
    uint32_t flags; /* VFUC_IRQ_* */
    uint32_t count; /* vectors; 0: the device lacks this kind */
};
VFUC_API int vfuc_irq_info(struct vfuc *c, uint32_t index, struct vfuc_irq *irq);

/* Specification: VFIO_USER_DEVICE_RESET. */
VFUC_API int vfuc_reset(struct vfuc *c);

/* ---- regions -------------------------------------------------------------------------------------------------- */

/*
 * Reads and writes `size` bytes; more than the server takes at once goes in several messages. -EINVAL: size 0, or
 * the server's word for an access that leaves the region.
 */
VFUC_API int vfuc_read(struct vfuc *c, uint32_t region, uint64_t offset, void *data, size_t size);
VFUC_API int vfuc_write(struct vfuc *c, uint32_t region, uint64_t offset, const void *data, size_t size);

/* One register of 1, 2, 4 or 8 bytes, as an integer. */
VFUC_API int vfuc_get(struct vfuc *c, uint32_t region, uint64_t offset, uint32_t size, uint64_t *value);
VFUC_API int vfuc_put(struct vfuc *c, uint32_t region, uint64_t offset, uint32_t size, uint64_t value);

/*
 * Posted writes: nobody answers, so that nobody learns of a failure. They are collected and leave with vfuc_flush(),
 * with the next call that waits for the server, or when the buffer of 64 KiB is full. The device sees them in order.
 * `size` is at most the server's max_data_xfer_size, and 1 MiB; more is -EMSGSIZE.
 */
VFUC_API int vfuc_post(struct vfuc *c, uint32_t region, uint64_t offset, const void *data, size_t size);
VFUC_API int vfuc_flush(struct vfuc *c);

/* Specification: VFIO_USER_REGION_WRITE_MULTI. The struct is the wire's. */
struct vfuc_multi {
    uint64_t offset;
    uint32_t region;
    uint32_t count; /* bytes, 1 to 8 */
    uint8_t data[8];
};
/* All of them in one message; -ENOTSUP without vfuc_server.write_multiple. Returns how many the server says it did, or
 * 0 if posted, in which case they leave as posted writes do. */
VFUC_API int vfuc_write_multi(struct vfuc *c, const struct vfuc_multi *writes, uint32_t n, bool posted);

/*
 * Pipelined accesses: queued now, sent in bulk, answered later. `data` of a write is copied at once, `data` of a read
 * must live until vfuc_drain() returns. Queueing waits for replies only when the queue is full (256, or as many
 * as the receive buffer has room for). `size` is limited as in vfuc_post. *status, if not NULL, becomes 0 or -errno.
 * vfuc_drain() sends what is queued and waits for every reply; it returns the first failure since the last
 * vfuc_drain().
 */
VFUC_API int vfuc_queue_read(struct vfuc *c, uint32_t region, uint64_t offset, void *data, uint32_t size, int *status);
VFUC_API int vfuc_queue_write(struct vfuc *c, uint32_t region, uint64_t offset, const void *data, uint32_t size,
                              int *status);
VFUC_API int vfuc_drain(struct vfuc *c);

/*
 * Mapped regions: loads and stores instead of messages, where the server allows it. vfuc_map_region() maps every part
 * that it names, tells the first `max` of them, by offset as the server lists them, and returns how many there are;
 * once mapped, it only tells. -ENODEV: the region is not mappable. -EINVAL: a part is not made of whole pages.
 * -EPROTO: the server's file is shorter than its region. The memory is shared with the server: where that may shrink
 * its file, an access may end in SIGBUS. vfuc_unmap_region() and vfuc_close() end it.
 */
struct vfuc_map {
    uint64_t offset, size; /* within the region */
    void *mem;
};
VFUC_API int vfuc_map_region(struct vfuc *c, uint32_t region, struct vfuc_map *maps, uint32_t max);
VFUC_API int vfuc_unmap_region(struct vfuc *c, uint32_t region);
/* Where those bytes of a mapped region are, or NULL if they are not all in one mapped part. No call of the server. */
VFUC_API void *vfuc_mapped(const struct vfuc *c, uint32_t region, uint64_t offset, uint64_t size);

/*
 * Doorbells (specification: VFIO_USER_DEVICE_GET_REGION_IO_FDS): registers of which the server would rather have an
 * event than a message. vfuc_doorbells() asks for those of a region, tells the first `max` and returns how many there
 * are; it asks anew each time, and what it said before is void. Servers without any answer 0 or an error.
 */
#define VFUC_DOORBELL_MATCH (1u << 0)  /* rings for the value `match` only */
#define VFUC_DOORBELL_PIO (1u << 1)    /* in I/O space */
#define VFUC_DOORBELL_SHADOW (1u << 2) /* the value goes along, through memory shared with the server */

struct vfuc_doorbell {
    uint64_t offset, match;
    uint32_t size;  /* bytes of the write; 0: any */
    uint32_t flags; /* VFUC_DOORBELL_* */
};
VFUC_API int vfuc_doorbells(struct vfuc *c, uint32_t region, struct vfuc_doorbell *bells, uint32_t max);
/* Rings number `bell` of that list, without a message. `value` counts for VFUC_DOORBELL_SHADOW only. -ENOENT: there is
 * no such doorbell, or vfuc_doorbells() was not called. */
VFUC_API int vfuc_ring(struct vfuc *c, uint32_t region, uint32_t bell, uint64_t value);
/* Its eventfd, which stays the library's; -1. */
VFUC_API int vfuc_doorbell_fd(const struct vfuc *c, uint32_t region, uint32_t bell);

/* ---- memory that the device may use --------------------------------------------------------------------------- */

#define VFUC_DMA_READ (1u << 0)  /* the device may read it */
#define VFUC_DMA_WRITE (1u << 1) /* the device may write it */
#define VFUC_DMA_RW (VFUC_DMA_READ | VFUC_DMA_WRITE)
#define VFUC_DMA_MESSAGES (1u << 8) /* vfuc_memory_new: without an fd, so that the device has to send messages */

/*
 * Zeroed memory of the client's own at DMA address `address`: made, mapped here, and mapped at the server. address
 * and size are multiples of 4096. *mem is good until vfuc_memory_free(address) or vfuc_close.
 */
VFUC_API int vfuc_memory_new(struct vfuc *c, uint64_t address, uint64_t size, uint32_t flags, void **mem);
VFUC_API int vfuc_memory_free(struct vfuc *c, uint64_t address);

/*
 * Specification: VFIO_USER_DMA_MAP and VFIO_USER_DMA_UNMAP. fd is -1 or the caller's; the server gets a copy of it. If
 * `mem` is not NULL, DMA messages to the range are answered out of it; ranges with `mem` cost O(n) to take away.
 * -EEXIST and the like are the server's.
 */
VFUC_API int vfuc_dma_map(struct vfuc *c, uint64_t address, uint64_t size, uint32_t flags, int fd, uint64_t offset,
                          void *mem);
VFUC_API int vfuc_dma_unmap(struct vfuc *c, uint64_t address, uint64_t size);

/* Answers the server's DMA requests in place of the memory above: 0, or -errno for an error reply. A read fills data,
 * a write brings it. It must not call functions of this header on the same connection. NULL: back to the memory. */
typedef int vfuc_dma_fn(void *ctx, bool write, uint64_t address, void *data, uint64_t size);
VFUC_API void vfuc_on_dma(struct vfuc *c, vfuc_dma_fn *fn, void *ctx);

/* Waits up to timeout_ns for a DMA request and answers all that are there: how many, 0 if none came. */
VFUC_API int vfuc_serve(struct vfuc *c, uint64_t timeout_ns);
/* DMA requests answered so far, and the bytes they carried. Either may be NULL. */
VFUC_API void vfuc_dma_stats(const struct vfuc *c, uint64_t *requests, uint64_t *bytes);

/* ---- interrupts ------------------------------------------------------------------------------------------------ */

/*
 * Gives the server an eventfd for each of `count` vectors from 0 on; armed vectors of the index are replaced. -EINVAL:
 * more than 4096 or none, or the server's word. vfuc_irq_disarm switches the whole index off.
 */
VFUC_API int vfuc_irq_arm(struct vfuc *c, uint32_t index, uint32_t count);
VFUC_API int vfuc_irq_disarm(struct vfuc *c, uint32_t index);
/* Waits for the vector and serves DMA meanwhile: how often it was signalled since the last time (1 or more), 0 if
 * the time ran out. -ENOENT if it is not armed. For an INTx that automasks, vfuc_irq_unmask makes way for the next. */
VFUC_API int vfuc_irq_wait(struct vfuc *c, uint32_t index, uint32_t vector, uint64_t timeout_ns);
/* The vector's eventfd, which stays the library's; -1 if it is not armed. */
VFUC_API int vfuc_irq_fd(const struct vfuc *c, uint32_t index, uint32_t vector);
VFUC_API int vfuc_irq_mask(struct vfuc *c, uint32_t index, uint32_t start, uint32_t count);
VFUC_API int vfuc_irq_unmask(struct vfuc *c, uint32_t index, uint32_t start, uint32_t count);
/* Makes the server signal the vectors itself: a test of the way there. */
VFUC_API int vfuc_irq_trigger(struct vfuc *c, uint32_t index, uint32_t start, uint32_t count);

/* Specification: VFIO_USER_DEVICE_SET_IRQS, as it stands; flags are VFIO_IRQ_SET_*. fds stay the caller's. */
VFUC_API int vfuc_set_irqs(struct vfuc *c, uint32_t flags, uint32_t index, uint32_t start, uint32_t count,
                           const void *data, uint32_t size, const int *fds, uint32_t nfds);

/* ---- migration -------------------------------------------------------------------------------------------------- */

/* The device's states (VFIO's, version 2). STOP and later ones but PRE_COPY: it stands still. */
#define VFUC_MIG_ERROR 0u
#define VFUC_MIG_STOP 1u
#define VFUC_MIG_RUNNING 2u
#define VFUC_MIG_STOP_COPY 3u
#define VFUC_MIG_RESUMING 4u
#define VFUC_MIG_RUNNING_P2P 5u
#define VFUC_MIG_PRE_COPY 6u
#define VFUC_MIG_PRE_COPY_P2P 7u

/* What it can: bits of vfuc_migration_flags(). */
#define VFUC_MIG_HAS_STOP_COPY (1u << 0)
#define VFUC_MIG_HAS_P2P (1u << 1)
#define VFUC_MIG_HAS_PRE_COPY (1u << 2)

/* Specification: VFIO_DEVICE_FEATURE_MIGRATION. The server's error (-ENOTTY, -ENOTSUP, -EINVAL): it has no
 * migration. */
VFUC_API int vfuc_migration_flags(struct vfuc *c, uint64_t *flags);
/* Specification: VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE. A state that was not reached is the server's error; in which one
 * the device is then, vfuc_migration_state() says. */
VFUC_API int vfuc_migration_state(struct vfuc *c, uint32_t *state);
VFUC_API int vfuc_migration_set(struct vfuc *c, uint32_t state);
/* "STOP_COPY" and so on; never NULL. */
VFUC_API const char *vfuc_migration_name(uint32_t state);
/* Specification: VFIO_USER_MIG_DATA_READ, in PRE_COPY and STOP_COPY. How many bytes there were, 0 at the end. At most
 * 1 MiB, or what was negotiated, in one call. */
VFUC_API int vfuc_migration_read(struct vfuc *c, void *data, size_t max);
/* Specification: VFIO_USER_MIG_DATA_WRITE, in RESUMING. In several messages if need be. */
VFUC_API int vfuc_migration_write(struct vfuc *c, const void *data, size_t size);

/* Takes bytes: 0, or -errno to give up. It must not call functions of this header on the same connection. */
typedef int vfuc_sink_fn(void *ctx, const void *data, size_t size);
/* Brings up to `max` bytes: how many, 0 at the end, -errno to give up. The same limit. */
typedef int vfuc_source_fn(void *ctx, void *data, size_t max);

#define VFUC_SAVE_STOPPED (1u << 0) /* no PRE_COPY */

/* How, and what it took. Zero means the default in the first members. */
struct vfuc_transfer {
    size_t struct_size;     /* sizeof(struct vfuc_transfer) */
    uint32_t flags;         /* VFUC_SAVE_* */
    uint32_t reserved;
    uint64_t limit;         /* bytes of state; more is -EFBIG. 4 GiB */
    uint64_t running_bytes; /* out: that went while the device ran */
    uint64_t stopped_bytes; /* out: and while it stood still */
    uint64_t stopped_at;    /* out: CLOCK_MONOTONIC, ns: when it was stopped; 0: it was not */
};

/*
 * The device's whole state, in pieces, to `sink`: first what PRE_COPY brings, if the device offers it, then the rest
 * with the device stopped. It is in STOP afterwards: vfuc_migration_set(c, VFUC_MIG_RUNNING) lets it go on. After a
 * failure it runs on, unless that fails too. `transfer` may be NULL.
 */
VFUC_API int vfuc_save(struct vfuc *c, struct vfuc_transfer *transfer, vfuc_sink_fn *sink, void *ctx);
/*
 * The other direction: in STOP afterwards, with that state. After a failure the server may have loaded a part, and
 * vfuc_reset() is the way back to a device that runs.
 */
VFUC_API int vfuc_load(struct vfuc *c, struct vfuc_transfer *transfer, vfuc_source_fn *source, void *ctx);

/*
 * Which pages the device has written by DMA (specification: VFIO_DEVICE_FEATURE_DMA_LOGGING_START, _STOP, _REPORT).
 * Page sizes are powers of two from 4096 on. No ranges at all: all of memory.
 */
struct vfuc_range {
    uint64_t address, size;
};
VFUC_API int vfuc_dirty_start(struct vfuc *c, uint64_t page_size, const struct vfuc_range *ranges, uint32_t n);
VFUC_API int vfuc_dirty_stop(struct vfuc *c);
/* Bytes of the bitmap of so many bytes of memory: one bit for each page, in whole words of 8 bytes. 0: it makes no
 * sense. */
VFUC_API uint64_t vfuc_dirty_bytes(uint64_t size, uint64_t page_size);
/* Fills the bitmap, bit 0 of byte 0 first, and forgets: written since the start, or since the last report.
 * -EINVAL: a size that is not whole pages, a bitmap that is too small, or the server's word. In several messages
 * if need be. */
VFUC_API int vfuc_dirty_report(struct vfuc *c, uint64_t address, uint64_t size, uint64_t page_size, void *bitmap,
                               size_t bitmap_size);

/* The same as earlier revisions of the protocol had it (VFIO_USER_DIRTY_PAGES); all of memory, in pages of 4096. */
VFUC_API int vfuc_dirty_pages(struct vfuc *c, bool on);
VFUC_API int vfuc_dirty_pages_report(struct vfuc *c, uint64_t address, uint64_t size, uint64_t page_size, void *bitmap,
                                     size_t bitmap_size);
/* vfuc_dma_unmap() that tells what was written of the range until it was gone. In one message. */
VFUC_API int vfuc_dirty_unmap(struct vfuc *c, uint64_t address, uint64_t size, uint64_t page_size, void *bitmap,
                              size_t bitmap_size);

/* ---- a server of one's own ------------------------------------------------------------------------------------ */

/*
 * Starts a vfio-user server, of whatever make, and stops it. Its socket is in a private folder that goes with it. On
 * Linux the server is killed when the thread that has started it ends, however that comes about.
 *
 *     const char *argv[] = { "vfu-host", "--plugin", "edu", "--socket-path", "{socket}", NULL };
 *     struct vfuc_spawn *s = vfuc_spawn_new(NULL);
 *
 *     if (!s || vfuc_spawn_start(s, argv) < 0 || vfuc_connect(c, vfuc_spawn_socket(s)) < 0)
 *         ...
 *     vfuc_spawn_free(s);
 */
struct vfuc_spawn;

#define VFUC_SPAWN_ECHO (1u << 0)      /* what the server prints goes where the caller's own goes, and is not kept */
#define VFUC_SPAWN_NO_STDOUT (1u << 1) /* its standard output goes nowhere: standard error alone is kept or echoed */

/* Zero means the default in every member. */
struct vfuc_spawn_options {
    size_t struct_size;  /* sizeof(struct vfuc_spawn_options) */
    uint64_t timeout_ns; /* until its socket is there, and again until it has ended: 5 s; VFUC_FOREVER */
    uint32_t flags;      /* VFUC_SPAWN_* */
    uint32_t reserved;
    const char *folder;  /* where the private folder is made; $TMPDIR, or /tmp */
};

/* NULL options: all defaults. NULL if memory is out or the options make no sense. */
VFUC_API struct vfuc_spawn *vfuc_spawn_new(const struct vfuc_spawn_options *options);
/* Stops what runs, removes the folder, frees; NULL is fine. */
VFUC_API void vfuc_spawn_free(struct vfuc_spawn *s);

/*
 * Starts argv[0], looked up in $PATH if it has no slash, with "{socket}" in any of the arguments replaced by the
 * socket's path, and waits until the socket is there. -EISCONN: it runs already. -ECHILD: it ended before.
 * -ETIMEDOUT: no socket within the time limit; it has been stopped. What execve(2) says. vfuc_spawn_log() has what it
 * said.
 */
VFUC_API int vfuc_spawn_start(struct vfuc_spawn *s, const char *const *argv);
/* The socket's path, also before the start. */
VFUC_API const char *vfuc_spawn_socket(const struct vfuc_spawn *s);
/* Of the running server; 0 if there is none. */
VFUC_API int vfuc_spawn_pid(const struct vfuc_spawn *s);
/* 1 if the server has ended, with *status as of waitpid(2); 0 if it runs; -ESRCH if none was started. status may be
 * NULL. */
VFUC_API int vfuc_spawn_ended(struct vfuc_spawn *s, int *status);
/* SIGTERM, and SIGKILL when the time limit is over: 0 with *status as of waitpid(2), also if it had ended before;
 * -ETIMEDOUT: it took SIGKILL; -ESRCH if none was started. status may be NULL. */
VFUC_API int vfuc_spawn_stop(struct vfuc_spawn *s, int *status);
/* SIGKILL at once. */
VFUC_API int vfuc_spawn_kill(struct vfuc_spawn *s, int *status);
/* The last `size` - 1 bytes of what all servers of this struct have printed, with a 0 behind: how many. */
VFUC_API size_t vfuc_spawn_log(const struct vfuc_spawn *s, char *text, size_t size);
/* The last failure, one line, "" if there was none. Good until the next call. */
VFUC_API const char *vfuc_spawn_error(const struct vfuc_spawn *s);
/* A status of waitpid(2) for people, "status 3" or "signal 11 (Segmentation fault)", in `text`, which is returned. */
VFUC_API const char *vfuc_spawn_status(int status, char *text, size_t size);

/* ---- anything else --------------------------------------------------------------------------------------------- */

/* A command of any kind, sent with a proper header, and its reply. */
struct vfuc_request {
    uint16_t command;
    bool posted;         /* no reply */
    const void *body;    /* behind the header */
    size_t size;
    const int *fds;      /* sent along; stay the caller's */
    uint32_t nfds;
    void *reply;         /* where the reply's body goes ... */
    size_t reply_max;    /* ... up to this; a longer one is -EMSGSIZE */
    size_t reply_size;   /* out */
    int *reply_fds;      /* fds that came along, the caller's to close ... */
    uint32_t reply_fds_max;
    uint32_t reply_nfds; /* out; more than reply_fds_max are closed */
};
VFUC_API int vfuc_request(struct vfuc *c, struct vfuc_request *request);

/*
 * For tests that misbehave on purpose: any bytes, as they are, the fds with the first one. In one piece if `piece` is
 * 0, else in pieces of so many bytes that the server receives one by one: each is waited for until the server has taken
 * it, for 20 ms at most; the last one too. What was collected before goes first.
 */
VFUC_API int vfuc_raw_send(struct vfuc *c, const void *bytes, size_t size, size_t piece, const int *fds, uint32_t nfds);
/*
 * Receives one message of whatever kind, header included: its size; 0 if the server has closed; -EMSGSIZE, -ETIMEDOUT.
 * *nfds says how many fds there is room for, and then how many came; both may be NULL. Requests for DMA are not served.
 */
VFUC_API int vfuc_raw_recv(struct vfuc *c, void *message, size_t max, int *fds, uint32_t *nfds, uint64_t timeout_ns);

/* ---- the control socket of vfu-host ---------------------------------------------------------------------------- */

/*
 * JSON texts out and in, as vfu-control(7) describes them. It is a connection of its own, which takes nobody's place at the
 * device. One thread at a time.
 */
struct vfuc_control;

/*
 * `path` is the device's socket: its control socket is beside it, with ".control" behind the name. A path that ends so is taken as
 * it is. 0; or -errno: *control is made all the same, for vfuc_control_error, unless that is -ENOMEM. -ENOENT: no
 * control socket is there, as with servers other than vfu-host.
 */
VFUC_API int vfuc_control_open(const char *path, struct vfuc_control **control);
VFUC_API void vfuc_control_close(struct vfuc_control *control);
/* The last failure, one line or more; "" if there was none. Good until the next call. */
VFUC_API const char *vfuc_control_error(const struct vfuc_control *control);
/* How long an answer may take; 0: as long as it likes. 5 s from the start. */
VFUC_API void vfuc_control_timeout(struct vfuc_control *control, uint64_t timeout_ns);

/*
 * Sends `request`, an object with "cmd", and waits for its answer: 0, or the error that it reports, or that of the
 * connection (then *reply is NULL; -ETIMEDOUT too). *reply, if wanted, is the answer's text, good until the next call.
 * An answer that comes late is passed over; where not even the request was taken in time, the connection ends.
 */
VFUC_API int vfuc_control_call(struct vfuc_control *control, const char *request, const char **reply);
/* After "subscribe": the next event. 1; 0: none came in time (UINT64_MAX: no limit); -errno. *event as *reply. */
VFUC_API int vfuc_control_event(struct vfuc_control *control, uint64_t timeout_ns, const char **event);

#ifdef __cplusplus
}
#endif

#endif
