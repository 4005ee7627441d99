/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfu/virtio.h - for a plugin that is a virtio device: the PCI transport of virtio 1.2 and its split virtqueues, so that
 * the plugin sees chains of buffers and says when it is done with one.
 *
 *     static void on_chain(void *self, struct vfu_virtq *q, struct vfu_virtio_chain *chain)
 *     {
 *         uint8_t bytes[64];
 *         uint64_t n = chain->writable < sizeof bytes ? chain->writable : sizeof bytes;
 *
 *         getentropy(bytes, n);
 *         vfu_virtio_done(chain, vfu_virtio_write(chain, 0, bytes, n) ? 0 : (uint32_t)n);
 *     }
 *
 * The plugin's own struct begins with a struct vfu_virtio, so that all callbacks find it. describe fills in a struct
 * vfu_virtio_model and calls vfu_virtio_describe, create calls vfu_virtio_create, and the functions below that are named
 * as callbacks of struct vfu_plugin and its extensions are called from those, or stand in their place. plugins/virtio-rng is
 * a whole device; docs/virtio.md tells the rest.
 *
 *   thread    all of it runs on the device's thread, inside callbacks of the host. Nothing blocks.
 *   memory    is taken by vfu_virtio_describe, for as many chains as a queue has places; a chain that has more pieces than
 *             any before it in its place takes more. Nothing else does.
 *   rings     are reached through mapped memory (VFU_CAP_DMA_MAP), else by value (VFU_CAP_DMA), else by messages: with no
 *             difference but the time that it takes. What is likely to be needed next is asked for together. Memory that the client maps anew is found again.
 *   driver    what breaks the specification in a ring (a loop, a descriptor out of range, an index that jumps, an
 *             address that wraps, a buffer of no bytes, a table inside of a table, a readable buffer behind a writable
 *             one) sets DEVICE_NEEDS_RESET and sends a configuration interrupt; the device then leaves the rings alone
 *             until it is reset. It is logged as the guest's error.
 *   state     vfu_virtio_save writes what the register map does not have. Chains that the plugin has not done with are read
 *             again after vfu_virtio_load, and handed out anew: an unfinished request starts from its beginning. So it is
 *             where the client goes away and the next one does not begin with a reset.
 *
 * Paragraph numbers are those of Virtual I/O Device (VIRTIO) Version 1.2, OASIS Committee Specification 01.
 */
#ifndef VFU_VIRTIO_H
#define VFU_VIRTIO_H

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include <vfu/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#define VFU_VIRTIO_API __attribute__((unused)) static
#else
#define VFU_VIRTIO_API static
#endif

/* 5: device types. The PCI device id is 0x1040 and the type (4.1.2.1). */
#define VFU_VIRTIO_ID_NET 1u
#define VFU_VIRTIO_ID_BLOCK 2u
#define VFU_VIRTIO_ID_CONSOLE 3u
#define VFU_VIRTIO_ID_RNG 4u
#define VFU_VIRTIO_ID_BALLOON 5u
#define VFU_VIRTIO_ID_SCSI 8u
#define VFU_VIRTIO_ID_9P 9u
#define VFU_VIRTIO_ID_GPU 16u
#define VFU_VIRTIO_ID_INPUT 18u
#define VFU_VIRTIO_ID_VSOCK 19u
#define VFU_VIRTIO_ID_CRYPTO 20u
#define VFU_VIRTIO_ID_FS 26u
#define VFU_VIRTIO_ID_I2C 34u
#define VFU_VIRTIO_ID_GPIO 41u

/* 2.1: device status */
#define VFU_VIRTIO_ACKNOWLEDGE 1u
#define VFU_VIRTIO_DRIVER 2u
#define VFU_VIRTIO_DRIVER_OK 4u
#define VFU_VIRTIO_FEATURES_OK 8u
#define VFU_VIRTIO_NEEDS_RESET 64u
#define VFU_VIRTIO_FAILED 128u
#define VFU_VIRTIO_STATUS_DRIVER                                                                                       \
    (VFU_VIRTIO_ACKNOWLEDGE | VFU_VIRTIO_DRIVER | VFU_VIRTIO_DRIVER_OK | VFU_VIRTIO_FEATURES_OK | VFU_VIRTIO_FAILED)

/* 6: feature bits that are the transport's and the rings' business. A model names those of its device type only. */
#define VFU_VIRTIO_F_INDIRECT_DESC (UINT64_C(1) << 28)
#define VFU_VIRTIO_F_EVENT_IDX (UINT64_C(1) << 29)
#define VFU_VIRTIO_F_VERSION_1 (UINT64_C(1) << 32)
#define VFU_VIRTIO_F_ACCESS_PLATFORM (UINT64_C(1) << 33)
#define VFU_VIRTIO_F_OURS                                                                                              \
    (VFU_VIRTIO_F_INDIRECT_DESC | VFU_VIRTIO_F_EVENT_IDX | VFU_VIRTIO_F_VERSION_1 | VFU_VIRTIO_F_ACCESS_PLATFORM)
/* Those of a device type: 0 to 23 and 50 to 63 (2.2). */
#define VFU_VIRTIO_F_TYPE (UINT64_C(0xffffff) | ~(UINT64_MAX >> 14))

#define VFU_VIRTIO_QUEUES_MAX 64u    /* of one device */
#define VFU_VIRTIO_SIZE_MAX 32768u   /* places of one queue */
#define VFU_VIRTIO_PIECES_MAX 1024u  /* of one chain */
#define VFU_VIRTIO_BATCH 32u         /* places of a ring that are read or written at once */
#define VFU_VIRTIO_AHEAD 256u        /* descriptors that are asked for together by message: of queues that have no more */
#define VFU_VIRTIO_TURN 256u         /* chains after which others have their turn */
#define VFU_VIRTIO_NO_VECTOR 0xffffu /* 4.1.5.1.2 */

/* Where things are in the BAR; 4.1.4. */
#define VFU_VIRTIO_COMMON_AT 0x0000u
#define VFU_VIRTIO_ISR_AT 0x1000u
#define VFU_VIRTIO_DEVICE_AT 0x2000u /* registers of vfu_virtio_model.config are counted from here */
#define VFU_VIRTIO_NOTIFY_AT 0x3000u
#define VFU_VIRTIO_NOTIFY_EACH 4u /* notify_off_multiplier */
#define VFU_VIRTIO_BAR_SIZE 0x4000u

/* The registers that vfu_virtio_describe puts before those of the model, in this order. */
enum {
    VFU_VIRTIO_R_DEVICE_FEATURE_SELECT,
    VFU_VIRTIO_R_DEVICE_FEATURE,
    VFU_VIRTIO_R_DRIVER_FEATURE_SELECT,
    VFU_VIRTIO_R_DRIVER_FEATURE,
    VFU_VIRTIO_R_CONFIG_MSIX_VECTOR,
    VFU_VIRTIO_R_NUM_QUEUES,
    VFU_VIRTIO_R_DEVICE_STATUS,
    VFU_VIRTIO_R_CONFIG_GENERATION,
    VFU_VIRTIO_R_QUEUE_SELECT,
    VFU_VIRTIO_R_QUEUE_SIZE,
    VFU_VIRTIO_R_QUEUE_MSIX_VECTOR,
    VFU_VIRTIO_R_QUEUE_ENABLE,
    VFU_VIRTIO_R_QUEUE_NOTIFY_OFF,
    VFU_VIRTIO_R_QUEUE_DESC,
    VFU_VIRTIO_R_QUEUE_DRIVER,
    VFU_VIRTIO_R_QUEUE_DEVICE,
    VFU_VIRTIO_R_QUEUE_NOTIFY_DATA,
    VFU_VIRTIO_R_QUEUE_RESET,
    VFU_VIRTIO_R_ISR,
    VFU_VIRTIO_R_NOTIFY,
    VFU_VIRTIO_R_WINDOW_BAR,
    VFU_VIRTIO_R_WINDOW_OFFSET,
    VFU_VIRTIO_R_WINDOW_LENGTH,
    VFU_VIRTIO_R_WINDOW_DATA,
    VFU_VIRTIO_REGS
};

struct vfu_virtio;
struct vfu_virtq;

/* One buffer of a chain. */
struct vfu_virtio_piece {
    uint64_t addr;
    uint32_t len;
    uint32_t write; /* 1: for the device to write */
};

/*
 * A chain of buffers that the driver has made available: the plugin's from ops.chain until vfu_virtio_done, ops.reset, or
 * a load of state. Readable pieces come first, then writable ones.
 */
struct vfu_virtio_chain {
    struct vfu_virtq *q;
    uint64_t readable, writable; /* bytes of each kind */
    struct vfu_virtio_piece *pieces;
    uint32_t npieces;
    uint32_t nreadable; /* the first so many of them */
    uint16_t head;      /* the descriptor that it begins with: no other chain of this queue has it at the same time */
    void *user;         /* the plugin's; NULL at first */
    /* the library's */
    uint16_t state;
    uint32_t room, len;
    struct vfu_virtio_chain *next, *prev;
};

/* One virtqueue. The plugin may read the first members. */
struct vfu_virtq {
    struct vfu_virtio *dev;
    uint32_t index;
    uint32_t inflight; /* chains that the plugin has */
    void *user;        /* the plugin's */
    /* the library's: what the driver has set up */
    uint16_t size, max, vector;
    bool enabled;
    uint64_t desc, driver, device;
    uint32_t depth;
    /* where it stands */
    uint16_t avail, last_avail, used, signalled, event;
    bool event_known, signalled_known;
    uint32_t epoch; /* grows when its chains are dropped */
    /* the two state machines: see virtio_ring.h */
    uint8_t pop, push;
    bool pumping, again, deferred, rung;
    uint32_t popping, pushing; /* messages that are out */
    int32_t pop_status, push_status;
    bool heads_ahead, descs_ahead, word_ahead; /* what has come together with what was asked for first */
    struct vfu_virtio_chain *cur;
    uint32_t next, seen, turn;
    uint32_t table_size;
    uint64_t table_addr;
    uint16_t heads[VFU_VIRTIO_BATCH];
    uint32_t nheads, heads_at, npushed;
    uint8_t words[8];
    uint8_t raw[16];
    uint8_t elems[8 * VFU_VIRTIO_BATCH];
    uint8_t *table, *descs;
    uint16_t ahead[VFU_VIRTIO_BATCH];
    uint32_t nahead;
    uint8_t word[2];
    uint16_t *replay; /* heads to be read again after a load */
    uint32_t nreplay, replay_at;
    struct vfu_virtio_chain *chains, *spare;
    struct vfu_virtio_chain *held, *held_last; /* the plugin's */
    struct vfu_virtio_chain *over, *over_last; /* not in the used ring yet */
    uint32_t nover, nbusy;
    uint8_t *busy; /* a bit for each head that is in use */
    struct vfu_dma_window desc_map, driver_map, device_map;
    struct vfu_dma_op pop_op, heads_op, descs_op, push_op, word_op;
};

struct vfu_virtio_queue_model {
    const char *name; /* for messages */
    uint32_t size;    /* places, a power of two up to VFU_VIRTIO_SIZE_MAX; the driver may use fewer */
    uint32_t depth;   /* chains that the plugin has at a time at most; 0: all that there are */
};

struct vfu_virtio_ops {
    /* A chain has come. Done with at once, or later. */
    void (*chain)(void *self, struct vfu_virtq *q, struct vfu_virtio_chain *chain);
    /*
     * The chains of this queue, or of all where q is NULL, are gone: the driver or the host resets them, a state is
     * about to be loaded, or the client has left. The plugin drops what it does for them. DMA that it has in flight with vfu_virtio_submit is
     * waited for before the driver sees the reset done; for other DMA there are vfu_virtio_hold and _release. Optional.
     */
    void (*reset)(void *self, struct vfu_virtq *q);
    /* The driver has chosen these features, all of them offered; negative: the device cannot work so. Optional. */
    int32_t (*features)(void *self, uint64_t features);
    /* The driver is ready (DRIVER_OK), or it has reset the device after having been. Optional. */
    void (*driver)(void *self, bool ready);
};

/* What kind of device it is. All of it is copied, or lives as long as the plugin's file. */
struct vfu_virtio_model {
    uint32_t id; /* VFU_VIRTIO_ID_* */
    uint32_t nqueues;
    const struct vfu_virtio_queue_model *queues;
    uint64_t features;            /* those of the device type */
    const struct vfu_reg *config; /* device configuration space, 4.1.4.6; region and group are filled in */
    uint32_t nconfig;
    uint32_t config_size; /* bytes that it has; 0: to the end of the last register */
    uint32_t class_code;  /* 0: none of the base classes, 0x00ff00 */
    uint32_t vectors;     /* of MSI-X; 0: one for each queue, and one */
    struct vfu_virtio_ops ops;
};

struct vfu_virtio {
    const struct vfu_host *host;
    void *self; /* for the ops */
    uint64_t features; /* negotiated; 0 before FEATURES_OK */
    /* the library's */
    struct vfu_virtio_model model;
    uint64_t offered, driver_features;
    uint32_t status, nqueues, nvectors, select;
    uint16_t config_vector;
    bool stopped, resetting, broken, mappable, config_changed, unasked;
    uint32_t outstanding; /* DMA in flight */
    const struct vfu_host_regmap *regs;
    const struct vfu_host_config *config;
    uint32_t msix_at, window_at; /* in config space; 0: none */
    struct vfu_virtq *queues;
    struct vfu_reg *map;
    struct vfu_regmap regmap;
    struct vfu_bar bar;
    struct vfu_doorbell *bells;
    struct vfu_pci_cap caps[5];
    uint8_t cap_bytes[5][18];
};

/* ---- life ---------------------------------------------------------------------------------------------------------- */

/* Fills in the description, with BAR 0, register map, capabilities and doorbells; what the plugin wants otherwise (doc,
 * parameters, more caps, BARs from 1 on) it sets afterwards. The table's caps are at least VFU_VIRTIO_CAPS. `v` is
 * zeroed. -ENOMEM, or -EINVAL for a model that makes no sense, logged. */
#define VFU_VIRTIO_CAPS                                                                                                \
    (VFU_CAP_DMA | VFU_CAP_DMA_MAP | VFU_CAP_INTX | VFU_CAP_MSIX | VFU_CAP_RESET | VFU_CAP_DOORBELL |                 \
     VFU_CAP_MIGRATION | VFU_CAP_TIMERS)
VFU_VIRTIO_API int32_t vfu_virtio_describe(struct vfu_virtio *v, const struct vfu_host *host,
                                           const struct vfu_virtio_model *model, struct vfu_desc *desc);
VFU_VIRTIO_API int32_t vfu_virtio_create(struct vfu_virtio *v, const struct vfu_host *host, void *self);
VFU_VIRTIO_API void vfu_virtio_destroy(struct vfu_virtio *v);

/* ---- callbacks ------------------------------------------------------------------------------------------------------ */

/* True if the register is one of the library's, and so the call is for the next two. */
VFU_VIRTIO_API bool vfu_virtio_owns(const struct vfu_virtio *v, const struct vfu_reg_call *call);
VFU_VIRTIO_API int32_t vfu_virtio_reg_read(void *v, struct vfu_reg_call *call);
VFU_VIRTIO_API int32_t vfu_virtio_reg_write(void *v, struct vfu_reg_call *call);
VFU_VIRTIO_API void vfu_virtio_doorbell(void *v, uint32_t index, uint64_t value);
VFU_VIRTIO_API int32_t vfu_virtio_reset(void *v, uint32_t kind);
/* For vfu_plugin.event of a plugin without timers: VFU_CAP_TIMERS, which the library has for deferred work, wants one. */
VFU_VIRTIO_API void vfu_virtio_event(void *v, uint32_t event, uint64_t arg);
VFU_VIRTIO_API void vfu_virtio_detach(void *v);
VFU_VIRTIO_API void vfu_virtio_quiesce(void *v);
VFU_VIRTIO_API void vfu_virtio_resume(void *v);
/* A plugin with more state writes it before or behind this; a load reads exactly what a save wrote. */
VFU_VIRTIO_API int32_t vfu_virtio_save(void *v, struct vfu_sink *sink);
VFU_VIRTIO_API int32_t vfu_virtio_load(void *v, struct vfu_source *source);

/* ---- work ----------------------------------------------------------------------------------------------------------- */

/* Copies bytes of the chain's readable part, or into its writable part, from `offset` bytes on: 0, -EFAULT (also beyond
 * the end), -EWOULDBLOCK where some of it goes by messages, -ENOTCONN. */
VFU_VIRTIO_API int32_t vfu_virtio_read(const struct vfu_virtio_chain *chain, uint64_t offset, void *buf, uint64_t len);
VFU_VIRTIO_API int32_t vfu_virtio_write(const struct vfu_virtio_chain *chain, uint64_t offset, const void *buf,
                                        uint64_t len);

/* The same for any memory. 0: done. 1: `done` will be called, with 0 or a negative errno, and the struct and the buffer are
 * the library's until then; -ECANCELED: the chain is gone. Negative: failed, no `done`. */
struct vfu_virtio_io {
    struct vfu_virtio_chain *chain;
    uint32_t flags; /* VFU_DMA_WRITE: into its writable part */
    uint64_t offset, len;
    uint8_t *buf;
    void (*done)(struct vfu_virtio_io *io, int32_t status);
    void *user; /* the plugin's */
    /* the library's */
    struct vfu_virtq *q;
    uint32_t epoch;
    struct vfu_dma_op op;
};
VFU_VIRTIO_API int32_t vfu_virtio_submit(struct vfu_virtio_io *io);

/* The plugin is done with the chain, of which it has written the first `len` bytes of the writable part. In any order. */
VFU_VIRTIO_API void vfu_virtio_done(struct vfu_virtio_chain *chain, uint32_t len);

/* The device configuration space has changed: 4.1.4.3 (config_generation) and 4.1.5.4. */
VFU_VIRTIO_API void vfu_virtio_config_changed(struct vfu_virtio *v);
/* The driver's request makes no sense on a level above the rings: as for what is wrong in a ring. */
VFU_VIRTIO_API void vfu_virtio_broken(struct vfu_virtio *v, const char *why);
/* DMA of the plugin's own must end before a reset is done. On the device's thread, as all of this. */
VFU_VIRTIO_API void vfu_virtio_hold(struct vfu_virtio *v);
VFU_VIRTIO_API void vfu_virtio_release(struct vfu_virtio *v);

/* In this order. */
#include <vfu/virtio_chain.h>

#include <vfu/virtio_ring.h>

#include <vfu/virtio_model.h>

#include <vfu/virtio_pci.h>

#include <vfu/virtio_state.h>

#ifdef __cplusplus
}
#endif

#endif
