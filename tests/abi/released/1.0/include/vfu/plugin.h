/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfu/plugin.h - everything a device model needs, and all that it may use.
 *
 * A device model is a shared object with one exported symbol, vfu_plugin_entry(). It links against nothing of
 * ours: the host hands it a table of functions (struct vfu_host), and it hands the host a table of callbacks
 * (struct vfu_plugin). The header compiles as C99, C11 and C++17 and needs no other header of this project.
 *
 * Conventions, which hold for every function below unless its comment says otherwise:
 *
 *   results   int32_t results are 0 or a positive value for success, a negative errno for failure. What people
 *             should read about a failure goes through vfu_host.log, once.
 *   thread    each device has one thread. Callbacks run on it, one at a time, and host functions are called on it,
 *             from within a callback. A plugin that starts threads declares VFU_CAP_THREADS: see there. Without it a
 *             call from another thread returns -EPERM and is reported once, by name.
 *             It is one thread at a time, not one for ever: between two callbacks a host may go on with a device on a
 *             new thread (one without privileges does so to give a device its priority back), unless the plugin has
 *             VFU_CAP_THREADS. The new one sees all that was done before. But keep no thread-local variable, thread id
 *             or lock from one callback to the next; describe, create and destroy run on main's thread in any case.
 *   faults    what a plugin does against these rules, where the host can see it, is refused and reported once for each
 *             kind, as the plugin's fault, with its name: calls from the wrong thread, of what was not declared, after
 *             destroy; interrupts that the device does not have; a DMA submitted twice; a closed descriptor watched;
 *             parts of config space that are not the device's; results that no callback may have; bytes written
 *             beside an access; a quiesce that does not return.
 *   strings   are UTF-8 and NUL-terminated. The host copies strings and arrays inside the call that it gets them in.
 *   sizes     are bytes, times are nanoseconds, addresses are the guest's DMA addresses (IOVAs), integers that
 *             stand for device registers are host integers: byte order is the host's business.
 *   growth    a struct that begins with struct_size grows only by appending members. Read a member of a table that
 *             you were handed only where VFU_HAS(table, member) is true. Array arguments carry their element size.
 */
#ifndef VFU_PLUGIN_H
#define VFU_PLUGIN_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface. Hosts load every plugin of their own major; a larger minor only adds. */
#define VFU_ABI_MAJOR 1u
#define VFU_ABI_MINOR 0u
#define VFU_ABI_VERSION ((VFU_ABI_MAJOR << 16) | VFU_ABI_MINOR)

/* The SDK a plugin is built with; the host names it when a plugin asks for what the host has not. */
#define VFU_SDK_VERSION "0.1.0"

/* True if the table p is long enough to hold member m, and m is set. */
#define VFU_HAS(p, m)                                                                                                  \
    ((size_t)((const char *)&(p)->m - (const char *)(p)) + sizeof((p)->m) <= (size_t)(p)->struct_size && (p)->m)

/* "array, number of elements, size of one": how arrays are handed over. */
#define VFU_ARRAY(a) (a), (uint32_t)(sizeof(a) / sizeof((a)[0])), (uint32_t)sizeof((a)[0])

/* "None" or "not an array" where an index is meant, and "choose one" where a place is meant. */
#define VFU_NONE UINT32_C(0xffffffff)

#define VFU_EXPORT __attribute__((visibility("default")))

/* ---- capabilities ------------------------------------------------------------------------------------------ */

/*
 * One namespace of flags. A plugin declares in `caps` what it does and in `needs` what it cannot do without; the host
 * says in vfu_host.caps what it offers and the operator allows. An undeclared function returns -ENOTSUP and is
 * reported once, by name; an undeclared callback is never called; a declared flag without its callback refuses to load.
 */
#define VFU_CAP_DMA (UINT64_C(1) << 0)       /* reads and writes client memory */
#define VFU_CAP_DMA_MAP (UINT64_C(1) << 1)   /* holds direct pointers into client memory */
#define VFU_CAP_INTX (UINT64_C(1) << 2)      /* raises INTx */
#define VFU_CAP_MSI (UINT64_C(1) << 3)       /* raises MSI */
#define VFU_CAP_MSIX (UINT64_C(1) << 4)      /* raises MSI-X */
#define VFU_CAP_RESET (UINT64_C(1) << 5)     /* has state that a reset must reach: VFIO_DEVICE_FLAGS_RESET */
#define VFU_CAP_MMAP (UINT64_C(1) << 6)      /* lets the client map part of a region */
#define VFU_CAP_DOORBELL (UINT64_C(1) << 7)  /* takes writes as event fds */
#define VFU_CAP_MIGRATION (UINT64_C(1) << 8) /* saves and restores its state */
#define VFU_CAP_TIMERS (UINT64_C(1) << 9)    /* uses timers and deferred work */
#define VFU_CAP_FD_WATCH (UINT64_C(1) << 10) /* watches file descriptors */
#define VFU_CAP_POLL (UINT64_C(1) << 11)     /* looks for work by itself: vfu_host.poll_every */
/*
 * Calls the host from threads of its own, beside the device's. Such a call is handed to the device's thread, and waits
 * until that has made it: results are the same as there, in the order of the calls. So a thread must not hold a lock
 * that a callback takes while it calls the host. log, guest_error, now, granted, the param_ functions, bar_memory,
 * dma_check and version do not wait. The device's thread never waits for a plugin's, but in what the plugin does itself.
 *
 *   -EBUSY      from the call of vfu_plugin.quiesce until that of resume; those that wait then are answered so, too.
 *               No plugin thread may touch mapped memory (dma_map) in between either.
 *   -ESHUTDOWN  from the call of destroy on.
 *
 * dma_read and dma_write wait for messages to the client, if need be, instead of -EWOULDBLOCK; a quiesce ends that wait:
 * a write that returns an error may have been made in part. dma_submit may have called `done`, on the device's thread,
 * before it returns. The get of VFU_EXT_REGMAP, which has no other result, returns 0 where others return an error.
 */
#define VFU_CAP_THREADS (UINT64_C(1) << 12)
#define VFU_CAP_FFI (UINT64_C(1) << 13)      /* calls native code from a script */
/*
 * Keeps state over a reload of its code: vfu-host --reload, or a request on the control socket. The host loads the code
 * beside that which runs, calls describe, and refuses what is another device to the client. Then the old instance is
 * quiesced (DMA in flight is held, as in STOP), its state saved with "vfu.migration/1" if it has that, and the new one
 * gets create, attach if a client is attached, quiesce, load, resume: no reset. Registers are carried by name; timers,
 * interrupts, config space and memory BARs are as they were, and create must leave them so. The old one's DMA ends
 * with -ECANCELED, its windows end, and destroy is called, without detach; what it calls then of the host returns
 * -ESHUTDOWN, but unwatch_fd and dma_unmap. If load or create fails, the old one gets resume and goes on.
 * Without the flag in both, the new instance gets create, reset (VFU_RESET_POWER), attach, quiesce, resume, and registers
 * have their reset values.
 */
#define VFU_CAP_RELOAD (UINT64_C(1) << 14)
/* The connected client's word, in vfu_client.caps and vfu_host.granted(). */
#define VFU_CAP_CLIENT_FDS (UINT64_C(1) << 32)         /* can pass file descriptors: mappable memory, eventfds */
#define VFU_CAP_CLIENT_TWIN_SOCKET (UINT64_C(1) << 33) /* has a second socket for DMA messages */
#define VFU_CAP_CLIENT_WRITE_MULTI (UINT64_C(1) << 34) /* coalesces posted writes */

/* ---- what a device is -------------------------------------------------------------------------------------- */

/* Region indexes, as VFIO numbers them for PCI (<linux/vfio.h>, VFIO_PCI_*_REGION_INDEX). */
#define VFU_REGION_BAR0 0u
#define VFU_REGION_BAR5 5u
#define VFU_REGION_ROM 6u
#define VFU_REGION_CONFIG 7u

/* How software may access a register or a field. What a kind says of writes is applied by the host to each bit. */
#define VFU_ACCESS_INHERIT 0u  /* a field: as its register. A register: as VFU_ACCESS_RW */
#define VFU_ACCESS_RW 1u       /* reads and writes */
#define VFU_ACCESS_RO 2u       /* software writes are ignored */
#define VFU_ACCESS_WO 3u       /* reads 0; the last write is kept and seen by get() */
#define VFU_ACCESS_W1C 4u      /* writing 1 clears a bit */
#define VFU_ACCESS_W1S 5u      /* writing 1 sets a bit */
#define VFU_ACCESS_W1T 6u      /* writing 1 toggles a bit */
#define VFU_ACCESS_W0C 7u      /* writing 0 clears a bit */
#define VFU_ACCESS_RC 8u       /* read-only, a read clears it */
#define VFU_ACCESS_RS 9u       /* read-only, a read sets it */
#define VFU_ACCESS_WONCE 10u   /* the first write after a reset counts, later ones are ignored */
#define VFU_ACCESS_RESERVED 11u /* no function: software writes leave it alone */
#define VFU_ACCESS_UNIMP 12u   /* exists in hardware, not in this model: reads its reset value, ignored, reported once */

struct vfu_enum {
    const char *name;
    uint64_t value;
};

/* Some bits of a register. Bits that no field covers are reserved if the register has fields at all. */
struct vfu_field {
    const char *name;
    const char *doc;
    uint8_t lsb;    /* lowest bit, 0 to 63 */
    uint8_t width;  /* bits, 1 to 64 - lsb */
    uint8_t access; /* VFU_ACCESS_* */
    uint8_t flags;  /* 0 */
    uint32_t nenums;
    const struct vfu_enum *enums;
    uint64_t reset; /* the field's reset value, unshifted; joined (or) with the register's */
};

#define VFU_REG_HOOK_READ (1u << 0)   /* vfu_regmap_ops.read computes what a read returns */
#define VFU_REG_HOOK_WRITE (1u << 1)  /* vfu_regmap_ops.write is told of each write */
#define VFU_REG_STICKY (1u << 2)      /* survives every reset but "power" */
#define VFU_REG_COMMIT_LAST (1u << 3) /* pieces of a write are collected; masks and hook run with the highest byte */
#define VFU_REG_BIG_ENDIAN (1u << 4)  /* its most significant byte is at the lowest address */

struct vfu_reg {
    const char *name; /* unique in its group, or among registers and groups; an identifier */
    const char *doc;
    uint32_t region;    /* VFU_REGION_*: a BAR, or VFU_REGION_CONFIG */
    uint32_t group;     /* index in vfu_regmap.groups, or VFU_NONE */
    uint64_t offset;    /* bytes, from the region's start, or from the group's */
    uint32_t size;      /* bytes: 1, 2, 4 or 8. Any alignment */
    uint32_t access;    /* VFU_ACCESS_* */
    uint32_t count;     /* 0: a plain register; else an array of so many, reached by index */
    uint32_t flags;     /* VFU_REG_* */
    uint64_t stride;    /* bytes from one array element to the next; 0: size */
    uint64_t reset;     /* value after a reset */
    uint32_t hook;      /* the plugin's own number for its hooks, given back in vfu_reg_call.hook */
    uint32_t nfields;
    const struct vfu_field *fields;
    uint32_t field_size; /* sizeof(struct vfu_field) */
    uint32_t reserved;
};

/* A block of registers that repeats: channel[count], each `stride` bytes after the one before. */
struct vfu_group {
    const char *name;
    uint32_t region;
    uint32_t count; /* 1 or more */
    uint64_t offset;
    uint64_t stride;
};

/* Software writes of the register `reg` are ignored while the condition holds. Judged before the write is stored. */
struct vfu_lock {
    uint32_t reg;    /* the register that is locked: an index in vfu_regmap.regs */
    uint32_t cond;   /* condition: the register looked at, or VFU_NONE: vfu_regmap_ops.locked is asked */
    uint64_t mask;   /* condition: these bits of it ... */
    uint64_t value;  /* ... equal this */
    uint32_t invert; /* 1: ... do not equal this */
    uint32_t hook;   /* the plugin's own number, for vfu_regmap_ops.locked */
};

struct vfu_regmap {
    uint32_t struct_size;
    uint32_t reserved;
    const struct vfu_reg *regs;
    uint32_t nregs, reg_size;
    const struct vfu_group *groups;
    uint32_t ngroups, group_size;
    const struct vfu_lock *locks;
    uint32_t nlocks, lock_size;
};

#define VFU_BAR_MEM32 0u
#define VFU_BAR_MEM64 1u
#define VFU_BAR_IO 2u

#define VFU_BAR_PREFETCH (1u << 0)
#define VFU_BAR_RAM (1u << 1)        /* memory wherever no register is; see vfu_host.bar_memory */
#define VFU_BAR_MMAP (1u << 2)       /* the client may map all of it (areas: some of it); needs VFU_BAR_RAM, VFU_CAP_MMAP */
#define VFU_BAR_BIG_ENDIAN (1u << 3) /* all of its registers are, and integers of its raw accesses */
#define VFU_BAR_RAW (1u << 4)        /* what no register covers goes to vfu_plugin.access */
#define VFU_BAR_INTERCEPT (1u << 5)  /* all that software does goes to vfu_plugin.intercept; not with VFU_BAR_MMAP */

/* What an access meets that no register, memory or raw handler covers, that is misaligned or of a width not allowed. */
#define VFU_UNMAPPED_ZEROS 0u /* reads 0, writes are dropped */
#define VFU_UNMAPPED_ONES 1u  /* reads all ones, writes are dropped */
#define VFU_UNMAPPED_ERROR 2u /* is answered EINVAL */

struct vfu_area {
    uint64_t offset, size;
};

struct vfu_bar {
    uint32_t index;        /* 0 to 5; a 64-bit BAR takes the next index too */
    uint32_t type;         /* VFU_BAR_MEM32, ... */
    uint64_t size;         /* a power of two; memory 16 B to 2^31 (64-bit: 2^62), I/O 4 B to 256 B */
    uint32_t flags;        /* VFU_BAR_* */
    uint32_t access_sizes; /* widths allowed, or'ed: 1 | 2 | 4 | 8; 0 means all of them */
    uint32_t unmapped;     /* VFU_UNMAPPED_* */
    uint32_t nareas;
    const struct vfu_area *areas; /* the mappable parts: page-aligned, sorted, apart */
    uint32_t area_size;           /* sizeof(struct vfu_area) */
    uint32_t reserved;
};

/* A capability of the device's own, put into config space after the ones the host lays out. Its bytes are read-only
 * for software unless a register of VFU_REGION_CONFIG covers them. */
struct vfu_pci_cap {
    uint8_t id;       /* PCI Code and ID Assignment, 2: Capability IDs */
    uint8_t reserved;
    uint16_t size;    /* bytes behind id and next pointer, 0 to 190 */
    uint32_t reserved2;
    const uint8_t *bytes;
};

#define VFU_PCI_EXPRESS (1u << 0)       /* has a PCI Express capability */
#define VFU_PCI_FLR (1u << 1)           /* function level reset; means VFU_PCI_EXPRESS */
#define VFU_PCI_PM (1u << 2)            /* has a power management capability, D0 and D3hot */
#define VFU_PCI_NO_SOFT_RESET (1u << 3) /* keeps its state from D3hot to D0 */
#define VFU_PCI_OWN_LEVEL (1u << 4)     /* irq_level's bits go to vfu_plugin.irq_level, which does with them what it likes */

/* A place whose writes ring a bell: vfu_plugin.doorbell is called. The client may take the write away from the socket
 * with an event fd (VFIO_USER_DEVICE_GET_REGION_IO_FDS); a write that comes as a message rings it too, after the register
 * or memory at that place has had it. It counts if it begins at `offset` and has `size` bytes, as KVM's ioeventfds do. */
#define VFU_DOORBELL_MATCH (1u << 0)  /* only a write of the value `match` rings it */
#define VFU_DOORBELL_SHADOW (1u << 1) /* the value written is kept for the callback; needs a client that can do it */
struct vfu_doorbell {
    uint32_t bar;
    uint32_t size;   /* 1, 2, 4 or 8, at a multiple of it; 0: a write of any width up to 8 */
    uint64_t offset; /* in the BAR, outside of what the client maps */
    uint64_t match;  /* VFU_DOORBELL_MATCH, which needs a size */
    uint32_t flags;  /* VFU_DOORBELL_MATCH or _SHADOW, not both */
    uint32_t share;  /* not 0: those with the same number, of one BAR, share one event fd; not with _SHADOW */
};
#define VFU_DOORBELLS_MAX 256u /* of one device */

/* What this device does, filled in by vfu_plugin.describe. The host hands over zeroed room of at least 1024 bytes:
 * members that a later SDK appended are ignored by an earlier host, and zero means "absent" in every one. What it
 * points to must stay until create or destroy is called; the host copies it before that. */
struct vfu_desc {
    uint32_t struct_size; /* set by the host: what it knows of this struct */
    uint32_t pci_flags;   /* VFU_PCI_* */
    uint64_t caps;        /* a part of the plugin's caps; VFU_CAP_INTX gives the function its interrupt pin */
    uint64_t needs;
    const char *name; /* NULL: the plugin's */
    const char *doc;
    uint16_t vendor, device, subsystem_vendor, subsystem; /* PCI ids */
    uint32_t class_code;                                  /* 24 bits: base class, sub class, interface */
    uint32_t revision;                                    /* 8 bits */
    uint32_t msi_vectors;                                 /* 0 to 32, a power of two */
    uint32_t msix_vectors;                                /* 0 to 2048 */
    uint32_t msix_bar;         /* VFU_NONE: the highest free BAR, made by the host for table and PBA; else one of yours */
    uint32_t msix_table;       /* offset in msix_bar, a multiple of 8 (4096 on its own page is wise) */
    uint32_t msix_pba;         /* offset in msix_bar, a multiple of 8 */
    uint32_t irq_level;        /* 1 + index of the register whose bits assert the interrupt; 0: none */
    uint32_t irq_mask;         /* 1 + index of the register that is and'ed with it; 0: none */
    const struct vfu_bar *bars;
    uint32_t nbars, bar_size;
    const struct vfu_pci_cap *pci_caps;
    uint32_t npci_caps, pci_cap_size;
    const struct vfu_regmap *regmap;
    const uint8_t *rom; /* expansion ROM image; its BAR is rom_size rounded up to a power of two of at least 2048 */
    uint64_t rom_size;
    void *self; /* an instance that describe made: create gets it in *self; destroy is called with it in any case */
    const struct vfu_doorbell *doorbells; /* VFU_CAP_DOORBELL */
    uint32_t ndoorbells, doorbell_size;
};

/* ---- parameters: KEY=VALUE of the command line -------------------------------------------------------------- */

#define VFU_PARAM_INT 0u    /* 64 bits; 0x and 0b prefixes, suffixes K M G T (powers of 1024) */
#define VFU_PARAM_BOOL 1u   /* on off yes no true false 1 0 */
#define VFU_PARAM_STRING 2u
#define VFU_PARAM_ENUM 3u   /* one of `choices` */
#define VFU_PARAM_NUMBER 4u /* a decimal fraction */

#define VFU_PARAM_REQUIRED (1u << 0)
#define VFU_PARAM_HAS_MIN (1u << 1)
#define VFU_PARAM_HAS_MAX (1u << 2)
#define VFU_PARAM_PREFIX (1u << 3) /* stands for all names that begin with its own: see vfu_params.items for them */

struct vfu_param {
    const char *name;
    const char *doc;
    uint32_t type;  /* VFU_PARAM_* */
    uint32_t flags; /* VFU_PARAM_REQUIRED, ... */
    const char *fallback;       /* the value if the command line gives none, as text; NULL: absent */
    const char *const *choices; /* VFU_PARAM_ENUM: NULL-terminated */
    int64_t min, max;
};

/* What the command line says for this device. */
struct vfu_params {
    uint32_t struct_size;
    uint32_t nitems;
    const char *source;       /* the file the binding is to run (a .lua file), or NULL */
    const char *const *items; /* "KEY=VALUE" each */
};

/* ---- calls ------------------------------------------------------------------------------------------------ */

/* A raw access, which no register covers (VFU_BAR_RAW). */
#define VFU_ACCESS_WRITE (1u << 0)
struct vfu_access {
    uint32_t struct_size;
    uint32_t region; /* VFU_REGION_* */
    uint64_t offset; /* in bounds: offset + size <= the region's size */
    uint32_t size;   /* bytes: 1, 2, 4 or 8 with `value`; more in a BAR that has no registers: `data`, so many and no more */
    uint32_t flags;  /* VFU_ACCESS_WRITE */
    uint64_t value;  /* size <= 8: written, or to be filled in */
    uint8_t *data;   /* size > 8: written, or to be filled in; else NULL */
};

/* A register access, already masked by the map. */
struct vfu_reg_call {
    uint32_t struct_size;
    uint32_t hook;        /* vfu_reg.hook */
    uint32_t reg;         /* index in vfu_regmap.regs */
    uint32_t index;       /* array index, or VFU_NONE */
    uint32_t group_index; /* group index, or VFU_NONE */
    uint32_t size;        /* the register's size */
    uint64_t value;       /* read: the stored value. write: the new value, already stored. In both: what to use instead,
                             if VFU_REPLACE is returned (cut to the register's width) */
    uint64_t old;         /* write: the value before */
    uint64_t raw;         /* write: the bits as sent, merged with the register where bytes were not written */
};
#define VFU_REPLACE 1 /* result of a register hook: take call->value */

/*
 * The register map's callbacks: extension "vfu.regmap/1" of the plugin, asked for if any register has a hook.
 * A negative result is a bus error: a read answers all ones, a write restores the old value; both count as done.
 */
#define VFU_EXT_REGMAP "vfu.regmap/1"
struct vfu_regmap_ops {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*read)(void *self, struct vfu_reg_call *call);
    int32_t (*write)(void *self, struct vfu_reg_call *call);
    int32_t (*locked)(void *self, uint32_t hook, const struct vfu_reg_call *call); /* 1: ignore the write */
};

/* Resets, in vfu_plugin.reset. Interrupts, timers, open DMA and registers are already reset when it runs. */
#define VFU_RESET_POWER 0u /* the host has started */
#define VFU_RESET_BUS 1u   /* VFIO_USER_DEVICE_RESET, or D3hot to D0 without no-soft-reset */
#define VFU_RESET_FLR 2u   /* function level reset: PCI Express device control, bit 15 */

/* The client, in vfu_plugin.attach. */
struct vfu_client {
    uint32_t struct_size;
    uint32_t max_msg_fds;
    uint64_t caps;               /* VFU_CAP_CLIENT_* */
    uint64_t max_data_xfer_size; /* bytes a DMA message may carry to it */
};

/* A DMA in flight. The struct and the buffer are the host's from dma_submit until `done` has been called. */
#define VFU_DMA_WRITE (1u << 0) /* device to client memory; else client memory to device */
struct vfu_dma_op {
    uint32_t struct_size;
    uint32_t flags;
    uint64_t addr;
    uint64_t len;
    void *buf;
    /* On the device's thread, exactly once, never inside dma_submit: 0, or -EFAULT (no such memory, not allowed, gone),
     * -ECANCELED (reset, client gone, destroy), -ETIMEDOUT, -EIO (the client answered with an error). */
    void (*done)(void *self, struct vfu_dma_op *op, int32_t status);
    void *user;          /* yours */
    uint64_t reserved[6]; /* the host's */
};

/* A direct pointer into client memory, in one region. Gone (data is NULL) after vfu_host.dma_unmap. */
#define VFU_DMA_PROT_READ (1u << 0)
#define VFU_DMA_PROT_WRITE (1u << 1)
struct vfu_dma_window {
    uint32_t struct_size;
    uint32_t prot;
    uint64_t addr, len;
    uint8_t *data;
    uint64_t reserved[4]; /* the host's */
};

/* Where a device's own state goes to and comes from, in "vfu.migration/1". */
struct vfu_sink {
    int32_t (*write)(struct vfu_sink *sink, const void *data, uint64_t len);
};
struct vfu_source {
    uint64_t (*left)(struct vfu_source *source);
    int32_t (*read)(struct vfu_source *source, void *data, uint64_t len); /* -EINVAL: less is left */
};

/*
 * State that the host does not know: registers, memory BARs, timers, interrupts and config space it saves itself. A
 * plugin without this extension that declares VFU_CAP_MIGRATION has no other. Both are called while the device is
 * stopped, between quiesce and resume. save: 0 or a negative errno; up to 64 MiB. load: what comes was sent by somebody
 * else and may be anything; it takes all of it, or fails, and the device is then reset. A DMA in flight is not
 * moved: save notes it, and resume, which follows a load, submits it anew.
 */
#define VFU_EXT_MIGRATION "vfu.migration/1"
struct vfu_migration_ops {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*save)(void *self, struct vfu_sink *sink);
    int32_t (*load)(void *self, struct vfu_source *source); /* the host's part is already restored */
};

/* A write of software to config space, in vfu_config_ops.written. Values are little-endian numbers of `size` bytes, as
 * software reads them. */
struct vfu_config_call {
    uint32_t struct_size;
    uint32_t offset; /* in config space */
    uint32_t size;   /* 1 to 4: an access is cut at dwords, and at registers of the plugin's own */
    uint32_t old;    /* before the write */
    uint32_t value;  /* after it, with all that it has led to */
    uint32_t raw;    /* as sent */
};

/*
 * Config space is the host's: BARs, command and status, the capabilities it lays out, and the bytes of vfu_pci_cap. A
 * plugin that wants a part of it for itself puts registers there (VFU_REGION_CONFIG in the register map), whose hooks
 * are vfu_regmap_ops': anywhere but over what the host works with, which is COMMAND and STATUS, the BARs, the
 * capability list and its links, interrupt line and pin. Capabilities that the host lays out go around them. One that
 * wants to know what software does with the host's part, say when it sets bus master in COMMAND or moves a BAR, has
 * this extension, "vfu.config/1" of the plugin:
 *
 *   written   after each write that none of its registers covers, whether it has changed anything or not. The host has
 *             done its part before: interrupts are masked, `power` has been called, a function level reset is over.
 *             Not told of what comes otherwise: a reset puts back what was there at the start (the callback `reset` runs
 *             after that); what is written while the device is stopped for migration, and what a saved state brings, is
 *             there when `resume` is called. VFU_EXT_CONFIG of the host says what stands there now. The device's thread.
 *
 * The host's side has the same id: see struct vfu_host_config.
 */
#define VFU_EXT_CONFIG "vfu.config/1"
struct vfu_config_ops {
    uint32_t struct_size;
    uint32_t reserved;
    void (*written)(void *self, const struct vfu_config_call *call);
};

/*
 * A look into a running model: extension "vfu.introspect/1" of the plugin, for the control socket's "eval". Without it
 * registers can still be looked at and set by name.
 *
 * eval: on the device's thread, between callbacks or, while the device is held at a break, before the register's hook. expr
 * is a text of the operator's, in whatever language the model speaks. 0, and the value as text for people in `out`; or a
 * negative errno, and there what is wrong. `out` has room for `size` bytes with the NUL, at least 256; what does not fit is
 * cut. It does not wait, and ends within the limits that callbacks have.
 */
#define VFU_EXT_INTROSPECT "vfu.introspect/1"
struct vfu_introspect {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*eval)(void *self, const char *expr, char *out, uint32_t size);
};

/* ---- plugins inside of plugins ----------------------------------------------------------------------------- */

struct vfu_host;
struct vfu_plugin;

/*
 * A plugin that another one has opened with vfu_host.open, to pass its device on, changed or not. <vfu/wrap.h> has the
 * functions that do it; they are short, and say best how it goes:
 *
 *   the wrapper   opens the inner plugin in describe, calls its describe with vfu_inner.host and .params, passes on or
 *                 changes the description; calls its create with the same two, and its destroy in destroy. It has every
 *                 callback that the inner plugin may have, and passes calls on: access, reset, attach, detach, quiesce,
 *                 resume, power, doorbell, poll, and the extensions.
 *   the host      calls what the inner plugin itself has asked for: event of its timers, functions given to defer and
 *                 watch_fd, `done` of its DMA, with vfu_inner.self. Its names, parameters and faults are its own.
 *   the table     that the inner plugin is handed is `host`, or a copy of it (vfu_host_copy) with functions of the
 *                 wrapper's own, which get the copy as their argument and pass calls on to `host`. That one checks them
 *                 as the inner plugin's and calls the table that the wrapper was handed: so a call passes through every
 *                 wrapper on its way out.
 *
 * The inner plugin has the capabilities that it declares and the wrapper's description passes on.
 */
struct vfu_inner {
    uint32_t struct_size;
    uint32_t reserved;
    const struct vfu_plugin *plugin; /* its table, checked; members it does not have are NULL */
    const struct vfu_host *host;
    const struct vfu_params *params;
    void *self; /* yours to set: from its describe or create on, before it is called with it */
};

/* ---- the host, as a plugin sees it ------------------------------------------------------------------------- */

#define VFU_LOG_ERROR 0u
#define VFU_LOG_WARN 1u
#define VFU_LOG_INFO 2u
#define VFU_LOG_DEBUG 3u

/* Interrupts beside vectors, in irq_signal (VFIO_PCI_ERR_IRQ_INDEX and VFIO_PCI_REQ_IRQ_INDEX). */
#define VFU_IRQ_ERR 3u
#define VFU_IRQ_REQ 4u

#define VFU_FD_READ (1u << 0)
#define VFU_FD_WRITE (1u << 1)
#define VFU_FD_HANGUP (1u << 2) /* reported, not asked for */

/* One table for each device; valid from describe to the end of destroy. */
struct vfu_host {
    uint32_t struct_size;
    uint32_t abi_version;
    uint64_t caps;       /* what this host offers and its operator allows */
    const char *version; /* of the host */
    void *ctx;           /* the host's */

    /* An extension of the host by its id, or NULL. The table lives as long as this one. Any thread. */
    const void *(*extension)(const struct vfu_host *host, const char *id);
    /* The flags in force now: declared and offered, and while a client is attached its VFU_CAP_CLIENT_* flags. */
    uint64_t (*granted)(const struct vfu_host *host);

    /* One line for people, without a newline, at a VFU_LOG_* level. Any thread. */
    void (*log)(const struct vfu_host *host, uint32_t level, const char *message);
    /* The guest did what the device's specification forbids: counted, logged, rate-limited. Any thread. */
    void (*guest_error)(const struct vfu_host *host, const char *message);

    /*
     * Parameters. A plugin with a fixed list names it in vfu_plugin.params. One that learns them later calls
     * params_declare once, in describe: -EINVAL if the command line does not fit, already explained to the user;
     * return it. Values are found by name; absent ones are -ENOENT, another type's are -EINVAL.
     */
    int32_t (*params_declare)(const struct vfu_host *host, const struct vfu_param *params, uint32_t n, uint32_t size);
    int32_t (*param_int)(const struct vfu_host *host, const char *name, int64_t *value); /* also bool: 0, 1 */
    int32_t (*param_number)(const struct vfu_host *host, const char *name, double *value);
    int32_t (*param_string)(const struct vfu_host *host, const char *name, const char **value); /* any type, as text */

    /*
     * Interrupts; needs VFU_CAP_INTX, _MSI or _MSIX. The kind is the one that the client has armed: MSI-X, then MSI,
     * then INTx. irq_raise: 0 sent, 1 (VFU_IRQ_PENDING) masked and kept pending, -ENOENT not armed (dropped and
     * counted), -EINVAL beyond the vectors declared (a fault). INTx stays asserted until irq_lower; under MSI
     * and MSI-X irq_lower does nothing. irq_signal: VFU_IRQ_ERR or VFU_IRQ_REQ; -ENOENT if not armed.
     */
    int32_t (*irq_raise)(const struct vfu_host *host, uint32_t vector);
    int32_t (*irq_lower)(const struct vfu_host *host, uint32_t vector);
    int32_t (*irq_signal)(const struct vfu_host *host, uint32_t which);

    /*
     * DMA; needs VFU_CAP_DMA. addr + len may be anything a guest wrote. dma_read and dma_write finish at once: 0,
     * -EFAULT (memory that is not there, not allowed or gone: nothing is promised of buf), -EWOULDBLOCK (some of it
     * is reached by messages only: use dma_submit), -ENOTCONN. dma_submit: 0 and `done` later, or a negative errno
     * and no `done` (-ENOTCONN, -EINVAL, -ENOBUFS with 4096 in flight, -EBUSY while stopped for migration, -EALREADY for
     * an op that is in flight: a fault). Operations are made, and end, in the order in which they were submitted: each
     * sees what those before it have written, though several may be on their way to the client.
     */
    int32_t (*dma_read)(const struct vfu_host *host, uint64_t addr, void *buf, uint64_t len);
    int32_t (*dma_write)(const struct vfu_host *host, uint64_t addr, const void *buf, uint64_t len);
    int32_t (*dma_submit)(const struct vfu_host *host, struct vfu_dma_op *op);
    /* Direct pointers; needs VFU_CAP_DMA_MAP. -EFAULT unless [addr, addr + len) is mappable, in one region, with prot.
     * The window ends (data is NULL) when the client unmaps the memory, on detach, or by dma_unmap; a plugin with
     * VFU_CAP_THREADS is quiesced before memory goes that it has windows in, and resumed after. Memory behind it
     * that the client takes away reads zero, and dma_check tells: 0, or -EFAULT. After writing: dma_dirty. */
    int32_t (*dma_map)(const struct vfu_host *host, uint64_t addr, uint64_t len, uint32_t prot, struct vfu_dma_window *window);
    int32_t (*dma_check)(const struct vfu_host *host, const struct vfu_dma_window *window);
    int32_t (*dma_unmap)(const struct vfu_host *host, struct vfu_dma_window *window);
    /* Pages written through a window, for dirty logs; dma_write and dma_submit log theirs. */
    int32_t (*dma_dirty)(const struct vfu_host *host, uint64_t addr, uint64_t len);

    /* The device's time: monotonic, real or virtual. Any thread. */
    uint64_t (*now)(const struct vfu_host *host);
    /*
     * Timers; needs VFU_CAP_TIMERS. vfu_plugin.event(self, event, arg) is called `delay` ns from now, then every
     * `period` ns if that is not 0 (at least 1000). The result is an id above 0, or -ENOSPC beyond 65,536 pending, or
     * -EINVAL for an event above VFU_EVENT_MAX.
     * Timers are saved with the device's state, keep their ids over it, and are dropped by a reset. Those due at the
     * same time run in the order they were set. timer_cancel: 0, or -ENOENT if it has run or never was.
     */
    int64_t (*timer_after)(const struct vfu_host *host, uint64_t delay, uint64_t period, uint32_t event, uint64_t arg);
    int32_t (*timer_cancel)(const struct vfu_host *host, int64_t id);
    /* Calls fn(arg) on the device's thread, after the reply to the access at hand is sent, in order. Needs
     * VFU_CAP_TIMERS. Any thread with VFU_CAP_THREADS. Not saved with the state. -ENOSPC beyond 65,536. */
    int32_t (*defer)(const struct vfu_host *host, void (*fn)(void *arg), void *arg);
    /* Calls fn(arg, ready) while fd is ready for `events` (VFU_FD_*), until unwatched; needs VFU_CAP_FD_WATCH. The fd
     * stays the plugin's, which unwatches it before it closes it (else a fault). One watch for an fd: -EEXIST. -EPERM:
     * of a kind that is always ready, a plain file. */
    int32_t (*watch_fd)(const struct vfu_host *host, int32_t fd, uint32_t events, void (*fn)(void *arg, uint32_t ready), void *arg);
    int32_t (*unwatch_fd)(const struct vfu_host *host, int32_t fd);

    /* The memory of a VFU_BAR_RAM BAR (its whole size), or NULL. From create on; any thread. */
    void *(*bar_memory)(const struct vfu_host *host, uint32_t bar);

    /*
     * Polling; needs VFU_CAP_POLL. From now on vfu_plugin.poll is called whenever the device's loop has nothing more to
     * do and would sleep, and again at least every `interval` ns while it sleeps (from 1000; -EINVAL). While poll finds
     * work the loop does not sleep but comes round to it again, after what the client has sent; the operator's --spin-us
     * lets it go on so for a while after the last find. VFU_POLL_BUSY never sleeps and keeps a core to itself.
     * VFU_POLL_OFF ends it. It holds over resets and clients, one interval for the device; not while stopped.
     */
    int32_t (*poll_every)(const struct vfu_host *host, uint64_t interval);

    /*
     * Opens another plugin, to wrap it: see struct vfu_inner. In describe, else -EINVAL (a fault). spec is what --plugin
     * takes: a path to a .so or .lua file, or an installed plugin's name; items are its "KEY=VALUE"s, as VFU_PARAM_PREFIX
     * finds them. -EINVAL: a parameter does not fit, explained to the user; -ENOENT, -ENOEXEC, -ENOTSUP as if loaded by
     * the host, explained; -ELOOP beyond 15 in one device. *inner lives, and its file stays loaded, to the end of destroy.
     */
    int32_t (*open)(const struct vfu_host *host, const char *spec, const char *const *items, uint32_t nitems,
                    struct vfu_inner **inner);

    /* An access of software to a BAR, as if none were intercepted: registers with their masks and hooks, memory, raw
     * handler, doorbells. `region` is a BAR's index, `size` up to 8 with `value`, more with `data`. -EINVAL outside of the
     * BAR, -EBUSY a write while stopped for migration, else the access's own result. */
    int32_t (*bar_access)(const struct vfu_host *host, struct vfu_access *access);
    /* What the host does by itself without VFU_PCI_OWN_LEVEL: a bit that was not set in the last call sends vector 0 (MSI
     * and MSI-X), INTx is asserted while there are any. Needs VFU_CAP_INTX, _MSI or _MSIX. */
    int32_t (*irq_level)(const struct vfu_host *host, uint64_t bits);
};
#define VFU_IRQ_PENDING 1
#define VFU_EVENT_MAX 0xffffffu
#define VFU_POLL_OFF UINT64_C(0)
#define VFU_POLL_BUSY UINT64_C(1)

/* What the operator allows a binding that runs scripts: host->extension(host, VFU_EXT_LIMITS). */
#define VFU_EXT_LIMITS "vfu.limits/1"
struct vfu_limits {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t hook_budget;  /* ns that one callback of a script may run */
    uint64_t memory_limit; /* bytes that one script may hold */
};

/* The host's side of the register map, host->extension(host, VFU_EXT_REGMAP): the hardware's own access, without
 * hooks, masks and locks. From create on. index and group_index are VFU_NONE where there is no array or group. A set
 * that changes the interrupt's level or mask register raises or lowers it at once. */
struct vfu_host_regmap {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t (*get)(const struct vfu_host *host, uint32_t reg, uint32_t index, uint32_t group_index); /* 0 if no such */
    int32_t (*set)(const struct vfu_host *host, uint32_t reg, uint32_t index, uint32_t group_index, uint64_t value);
};

/*
 * The host's side of config space, host->extension(host, VFU_EXT_CONFIG): bytes as software reads them, and the
 * hardware's own way to change some. From create on; with VFU_CAP_THREADS from any thread, as the functions above.
 *
 *   read      `size` bytes at `offset`. Where a register of the plugin's own lies, its value, without its hooks.
 *             -EINVAL: not within config space, which has 256 bytes, or 4096 with VFU_PCI_EXPRESS.
 *   write     what hardware does to its own config space: the bytes of the device's own capabilities (vfu_pci_cap,
 *             behind id and next pointer), whole; and bits that say that something has happened, which software clears
 *             by writing 1: the errors in STATUS, and in the device status of PCI Express. All other bits must be
 *             written as they stand: BARs, ids, links, MSI, MSI-X, power and COMMAND are the host's and the client's.
 *             -EACCES: one would change that may not, or a register of the plugin's own lies there; nothing is
 *             written, and it is a fault. -EINVAL as above. It stays so until software clears it or a reset puts
 *             back what describe gave, and goes with a saved state.
 */
struct vfu_host_config {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*read)(const struct vfu_host *host, uint32_t offset, uint32_t size, void *bytes);
    int32_t (*write)(const struct vfu_host *host, uint32_t offset, uint32_t size, const void *bytes);
};

/*
 * Where a region is for the guest and its client, host->extension(host, VFU_EXT_REGIONS): of what vfu_desc declares,
 * how it is used now. From create on; with VFU_CAP_THREADS from any thread. The memory itself is vfu_host.bar_memory;
 * no log of dirty pages is about it, a migration moves the memory of BARs whole. A plugin is told of a BAR that moves
 * by vfu_config_ops.written.
 *
 *   look      fills in *state, whose struct_size the caller has set. -ENOENT: there is no such region.
 *   doorbell  1: the client has the event fd of vfu_desc.doorbells[index], so its writes may come without a message, and
 *             the register or memory at that place does not get them. 0: it has not; every write is a message. -ENOENT:
 *             there is no such doorbell.
 */
#define VFU_EXT_REGIONS "vfu.regions/1"
#define VFU_REGION_DECODED (1u << 0) /* the guest has it switched on: COMMAND, and for the ROM its own enable bit too */
#define VFU_REGION_MAPPED (1u << 1)  /* the client has its memory, and may read and write mappable parts unseen */
struct vfu_region_state {
    uint32_t struct_size;
    uint32_t flags;   /* VFU_REGION_DECODED, VFU_REGION_MAPPED */
    uint64_t size;    /* bytes */
    uint64_t address; /* the last that was written to its BAR, 0 at first. A guest that sizes it writes ones for a moment,
                         and a client may keep the guest's to itself: with VFU_REGION_DECODED it is worth something */
};
struct vfu_host_regions {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*look)(const struct vfu_host *host, uint32_t region, struct vfu_region_state *state);
    int32_t (*doorbell)(const struct vfu_host *host, uint32_t index);
};

/*
 * What a device tells the people and programs around it, host->extension(host, VFU_EXT_REPORT): the guest has panicked, a
 * watchdog has expired, a disk is full. Not for what a guest does wrong, which is guest_error, nor for words, which are
 * log. A report is a line of the log, an event and an entry of the control socket, and where it is fatal the exit status
 * 4 of a host that runs with --once or --run: the status only, nothing ends by it.
 *
 *   report   0. -EINVAL: no name, or one that is not of letters, digits, '-', '_' and '.', or longer than 63; an item
 *            without a key of the same kind, of a type that is not there, or a string longer than 1023 bytes; more
 *            than 32 items. The log shows some of those that come in thousands; the control socket counts all of them.
 *            Any thread, from create to destroy.
 */
#define VFU_EXT_REPORT "vfu.report/1"
#define VFU_REPORT_FATAL (1u << 0)  /* the run has failed by it */
#define VFU_REPORT_INTEGER 0u       /* integer */
#define VFU_REPORT_NUMBER 1u        /* number */
#define VFU_REPORT_BOOLEAN 2u       /* integer, 0 or 1 */
#define VFU_REPORT_STRING 3u        /* string: UTF-8; other bytes are shown as '?' */
struct vfu_report_item {
    const char *key;
    uint32_t type; /* VFU_REPORT_INTEGER, ... */
    uint32_t reserved;
    int64_t integer;
    double number;
    const char *string;
};
struct vfu_report {
    uint32_t struct_size;
    uint32_t flags;   /* VFU_REPORT_FATAL */
    const char *name; /* what has happened: "panicked" */
    const struct vfu_report_item *items;
    uint32_t nitems, item_size;
};
struct vfu_host_report {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*report)(const struct vfu_host *host, const struct vfu_report *report);
};

/*
 * What a reload looks at, host->extension(host, VFU_EXT_RELOAD): under --reload the host watches the plugin's own file, or
 * the script that it runs, and reloads the device when it changes. watch names another file that the device is made of,
 * as a module of the script: 0, -EINVAL, -ENOSPC beyond 1024, -ENOMEM. From describe on; any thread. The file need not be
 * there: name it before you open it, so that the user who adds it is understood. It holds until the next reload.
 */
#define VFU_EXT_RELOAD "vfu.reload/1"
struct vfu_host_reload {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*watch)(const struct vfu_host *host, const char *path);
};

/*
 * A word with the QEMU that the guest runs in, host->extension(host, VFU_EXT_QMP): a command of its QMP, the QEMU Machine
 * Protocol, and what it answers. A watchdog resets the guest so. The address is a parameter that the operator has given
 * to this device on the command line, and must be: a device reaches no other.
 *
 *   execute   queues the command: 0, and `done` is called once, on the device's thread, never inside execute. -EINVAL:
 *             the address is not "unix:PATH" with a path of up to 107 bytes, there is no command, or one longer than 255
 *             bytes, the arguments are no JSON object, or have over 65,536 bytes. -EACCES: no parameter on the command
 *             line has this address for its value. -ENOSPC: 64 commands wait already. Strings are copied. From create
 *             on; with VFU_CAP_THREADS from any thread.
 *
 * The commands for one address are sent one after the other, over one connection that lasts as long as there are any.
 * Nobody waits for QEMU: the device goes on. A result that comes while the device is stopped for migration is told when
 * it is not; a reset leaves commands and results alone; what is not answered when the device is destroyed ends just
 * before that. Nothing of it is part of the device's state. Failures are also a warning in the log.
 */
#define VFU_EXT_QMP "vfu.qmp/1"
struct vfu_qmp_result {
    uint32_t struct_size;
    int32_t status;   /* 0; -EREMOTEIO: QEMU refuses the command; -ETIMEDOUT; -ECANCELED: destroy; -EPROTO: what is there
                         does not speak QMP; -ECONNRESET, -ENOENT, -ECONNREFUSED and so on: there is no connection */
    const char *text; /* the answer as JSON, mostly "{}"; what is wrong, for people */
};
struct vfu_qmp_command {
    uint32_t struct_size;
    uint32_t timeout_ms;   /* from when its turn has come; 0: 5000 */
    const char *address;   /* "unix:PATH", as QEMU's -qmp unix:PATH,server=on,wait=off listens */
    const char *command;   /* "system_reset" */
    const char *arguments; /* a JSON object, or NULL */
    void (*done)(void *arg, const struct vfu_qmp_result *result); /* may be NULL; the result lasts as long as the call */
    void *arg;
};
struct vfu_host_qmp {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*execute)(const struct vfu_host *host, const struct vfu_qmp_command *command);
};

/*
 * Bytes to and from the world outside, host->extension(host, VFU_EXT_STREAM): a terminal, a socket or a file of the host,
 * named by the operator, in a parameter. From create to destroy; with VFU_CAP_THREADS from any thread. Nothing here waits.
 *
 *   "pty", "pty:LINK"         a terminal, in raw mode; LINK is a symbolic link to it. The peer is who has it open.
 *   "unix:PATH"               a socket at which the host listens; one peer at a time, the others wait.
 *   "unix:PATH,connect"       a socket of somebody else's; the host connects, again and again until it can.
 *   "file:PATH"               what is written is appended to the file; with ",truncate" to an empty one.
 *   "null"                    takes everything, gives nothing.
 *
 * Behind the first three ",marks" puts breaks between the bytes, as termios marks them with PARMRK: 0xff 0 0 is a break,
 * 0xff 0xff the byte 0xff.
 *
 *   open        -EINVAL: there is no such stream (explained); -EACCES: it has a path, and no parameter on the command line
 *               has it for its value (explained); -EBUSY: the plugin has it open already; -ENOSPC beyond 64.
 *               A stream opened in create is made when the host begins to serve: what fails then ends the host. fn may
 *               be called from then on, on the device's thread, never from within a function here, not while the device
 *               is stopped for migration, and not after close.
 *   read        how many bytes it has put into `bytes`, which may be 0. The host keeps up to 4 KiB that nobody has read,
 *               then the peer has to wait. -EINTR: here stands a break; what is behind it comes next.
 *   write       how many it has taken, up to 16 KiB that the peer has not: 0 if there is no room, then
 *               VFU_STREAM_WRITABLE tells when there is again. Without a peer everything is taken, and is gone.
 *   look        fills in *state, whose struct_size the caller has set.
 *   send_break  -ENOTSUP without marks; -EAGAIN: no room, as of write.
 *   hang_up     ends the connection to the peer, and the next one may come. -ENOTSUP: it is no socket.
 *   close       the descriptor, and the socket or link with it. What is still open after destroy is closed.
 *
 * A reset does not touch a stream, and no saved state has anything of it: what the device has taken or not yet written is
 * the device's to save. A reloaded plugin that opens the same stream finds its peer there. -EBADF: it is not open.
 */
#define VFU_EXT_STREAM "vfu.stream/1"
#define VFU_STREAM_READABLE (1u << 0) /* more bytes have come */
#define VFU_STREAM_WRITABLE (1u << 1) /* there is room, after a write that was cut short */
#define VFU_STREAM_PEER (1u << 2)     /* a peer has come or gone: see look */
#define VFU_STREAM_CONNECTED (1u << 0)
struct vfu_stream;
struct vfu_stream_spec {
    uint32_t struct_size;
    uint32_t reserved;
    const char *spec;
    void (*fn)(void *arg, uint32_t events); /* VFU_STREAM_READABLE, ..., one or more of them */
    void *arg;
};
struct vfu_stream_state {
    uint32_t struct_size;
    uint32_t flags;    /* VFU_STREAM_CONNECTED; of a file and of "null" always */
    uint64_t readable; /* bytes that read finds, at most */
    uint64_t room;     /* bytes that write takes, with marks at most */
};
struct vfu_host_stream {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*open)(const struct vfu_host *host, const struct vfu_stream_spec *spec, struct vfu_stream **stream);
    int64_t (*read)(const struct vfu_host *host, struct vfu_stream *stream, void *bytes, uint64_t len);
    int64_t (*write)(const struct vfu_host *host, struct vfu_stream *stream, const void *bytes, uint64_t len);
    int32_t (*look)(const struct vfu_host *host, struct vfu_stream *stream, struct vfu_stream_state *state);
    int32_t (*send_break)(const struct vfu_host *host, struct vfu_stream *stream);
    int32_t (*hang_up)(const struct vfu_host *host, struct vfu_stream *stream);
    int32_t (*close)(const struct vfu_host *host, struct vfu_stream *stream);
};

/*
 * Pictures that a device shows to people, host->extension(host, VFU_EXT_DISPLAY). Where they go is the operator's word,
 * which the device takes as a parameter and passes on to `open`: VNC viewers, a PNG file, nowhere; the control socket can
 * ask for a picture in any case. The host takes them on a thread of its own, and only while somebody looks.
 *
 *   open     a display, by a number of 0 and up. outputs is a list with commas, NULL and "" are "none": see vfu-host(1),
 *            display outputs. The same outputs again are the same display. -EINVAL: the list says what there is not;
 *            -EACCES: it says more than "none", and no parameter on the command line has it for its value; -ENOSPC: more
 *            than VFU_DISPLAYS_MAX; another errno: an output cannot be had. All explained to the user.
 *   show     what it shows from now on, until the next show. NULL: nothing, a blank screen; so it begins. -EINVAL: the
 *            frame is none: no such format, width or height 0 or above VFU_DISPLAY_SIDE_MAX, a stride shorter than a
 *            line, or more than its memory has; the screen is blank then. Not a fault: a guest may have asked for it.
 *   changed  these pixels have changed. What is outside of the frame is cut off. -ENODATA: it shows nothing, or what an
 *            instance before a reload had shown of its own memory.
 *
 * A frame in a BAR (VFU_BAR_RAM) may be mapped by the guest, whose writes nobody sees: the host looks for what has
 * changed, some 25 times a second at most. With VFU_DISPLAY_MARKED it looks only where `changed` tells. A frame in memory
 * of the device's own is read inside show (whole) and changed (that part), and at no other time, so it may go after the
 * next show; what has changed there must be told. Pictures may be torn. -ENOENT: there is no such display. Any thread,
 * from create to destroy. A saved state holds no frames: show again after a load.
 */
#define VFU_EXT_DISPLAY "vfu.display/1"
#define VFU_DISPLAYS_MAX 4u
#define VFU_DISPLAY_SIDE_MAX 8192u
/* Formats have the codes of Linux's drm_fourcc.h. Pixels are little-endian integers, named from the upper bits down. */
#define VFU_DISPLAY_XRGB8888 UINT32_C(0x34325258) /* "XR24" */
#define VFU_DISPLAY_XBGR8888 UINT32_C(0x34324258) /* "XB24" */
#define VFU_DISPLAY_RGB888 UINT32_C(0x34324752) /* "RG24" */
#define VFU_DISPLAY_BGR888 UINT32_C(0x34324742) /* "BG24" */
#define VFU_DISPLAY_RGB565 UINT32_C(0x36314752) /* "RG16" */
#define VFU_DISPLAY_XRGB1555 UINT32_C(0x35315258) /* "XR15" */
#define VFU_DISPLAY_C8 UINT32_C(0x20203843) /* "C8  ", with a palette */
#define VFU_DISPLAY_R8 UINT32_C(0x20203852) /* "R8  ", shades of grey */

#define VFU_DISPLAY_MARKED (1u << 0)     /* of a BAR: `changed` tells what has changed */
#define VFU_DISPLAY_BIG_ENDIAN (1u << 1) /* pixels of 2 or 4 bytes have their most significant byte first */
struct vfu_display_frame {
    uint32_t struct_size;
    uint32_t flags;  /* VFU_DISPLAY_MARKED, ... */
    uint32_t format; /* VFU_DISPLAY_XRGB8888, ... */
    uint32_t width, height; /* pixels */
    uint32_t bar;    /* whose memory it is in, or VFU_NONE: in `memory` */
    uint64_t offset; /* of the first pixel */
    uint64_t stride; /* bytes from one line to the next; 0: lines follow each other */
    const void *memory;
    uint64_t size;           /* bytes of `memory` */
    const uint32_t *palette; /* VFU_DISPLAY_C8: 256 colours, 0xRRGGBB; copied */
};
struct vfu_host_display {
    uint32_t struct_size;
    uint32_t reserved;
    int32_t (*open)(const struct vfu_host *host, const char *outputs);
    int32_t (*show)(const struct vfu_host *host, int32_t display, const struct vfu_display_frame *frame);
    int32_t (*changed)(const struct vfu_host *host, int32_t display, uint32_t x, uint32_t y, uint32_t width,
                       uint32_t height);
};

/* ---- the plugin, as the host sees it ----------------------------------------------------------------------- */

struct vfu_plugin {
    uint32_t struct_size; /* sizeof(struct vfu_plugin); checked before anything else is read */
    uint32_t abi_version; /* VFU_ABI_VERSION */
    uint64_t caps;        /* what the file can do */
    uint64_t needs;       /* what it cannot do without */
    const char *name;     /* of the device model: letters, digits, '-', '_', '.' */
    const char *version;
    const char *summary; /* one line */
    const char *sdk;     /* VFU_SDK_VERSION */

    const struct vfu_param *params; /* the parameters it takes, or none; see params_declare */
    uint32_t nparams, param_size;

    /* Says what the device is, with these parameters. Pure: it opens nothing and starts nothing. Main's thread; in
     * a reload the device's own, as for create and destroy.
     * -EINVAL and a line in the log where the parameters do not fit together. */
    int32_t (*describe)(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc);
    /* Makes the device. *self is desc->self or NULL, and becomes the argument of every callback. Main's thread, as
     * describe. */
    int32_t (*create)(const struct vfu_host *host, const struct vfu_params *params, void **self);
    /* The last call. self may be what describe made, if create failed or was not called. */
    void (*destroy)(void *self);

    /* VFU_BAR_RAW: what no register covers. A negative result is the protocol's error of the access. */
    int32_t (*access)(void *self, struct vfu_access *access);
    /* VFU_CAP_RESET: also called with VFU_RESET_POWER after create, before the first client. */
    int32_t (*reset)(void *self, uint32_t kind);
    /* VFU_CAP_TIMERS */
    void (*event)(void *self, uint32_t event, uint64_t arg);
    /* A client has negotiated; a client is gone (its memory already is). Both optional. */
    void (*attach)(void *self, const struct vfu_client *client);
    void (*detach)(void *self);
    /* Before STOP, reset, reload and destroy, after open DMA is cancelled (in STOP: held); and after, but destroy. With
     * VFU_CAP_THREADS calls of other threads return -EBUSY from the call of quiesce to that of resume, and mapped memory
     * is left alone from the return of the one to the call of the other. One that takes over 1 s is a fault, and reported
     * while it lasts: meanwhile the device answers nobody. Both optional. */
    void (*quiesce)(void *self);
    void (*resume)(void *self);
    /* The function has left or entered a power state, PCI Power Management 5.4: 0 is D0, 3 is D3hot. Optional. */
    void (*power)(void *self, uint32_t state);
    /* An extension of the plugin by its id, or NULL. Optional. */
    const void *(*extension)(const char *id);
    /*
     * VFU_CAP_DOORBELL: vfu_desc.doorbells[index] was rung, once or more often. Of doorbells that share, index is the
     * first one's, always: an event fd does not tell which of them was written. `value` is what was written: by message
     * always; by event fd the match of one that has it to itself, with VFU_DOORBELL_SHADOW the last one written, else 0.
     * A ring by event fd may overtake messages that the client sent before it, and the other way round. Where the operator
     * denies the capability no event fds are given out, and messages ring as ever.
     */
    void (*doorbell)(void *self, uint32_t index, uint64_t value);
    /* VFU_CAP_POLL: looks for work, does some of it, soon returns. 1: there was some; 0: none. See vfu_host.poll_every. */
    int32_t (*poll)(void *self);
    /*
     * VFU_BAR_INTERCEPT: an access of software to that BAR, whole, before anything else of the device has seen it (but the
     * MSI-X table and PBA, which are the host's). vfu_host.bar_access does what it would have done. `size` is anything from
     * 1 up, `value` has up to 8 bytes of it, as the BAR's byte order has them; longer ones are in `data`. A negative result
     * is the protocol's error of the access. Such a device gives out no event fds for its doorbells: all writes come here.
     */
    int32_t (*intercept)(void *self, struct vfu_access *access);
    /* VFU_PCI_OWN_LEVEL: level register & mask register are `bits` now. vfu_host.irq_level is what follows without it. */
    void (*irq_level)(void *self, uint64_t bits);
};

/* The one symbol that a plugin exports. Called once for each device; the table lives as long as the file is loaded. */
VFU_EXPORT const struct vfu_plugin *vfu_plugin_entry(void);

/* ---- conveniences ------------------------------------------------------------------------------------------ */

/* A copy of a host table, of as much as both know. It works as the original does, whatever becomes of its functions. */
#ifdef __GNUC__
__attribute__((unused))
#endif
static void vfu_host_copy(struct vfu_host *copy, const struct vfu_host *host)
{
    uint32_t size = host->struct_size < sizeof *copy ? host->struct_size : (uint32_t)sizeof *copy;

    memset(copy, 0, sizeof *copy);
    memcpy(copy, host, size);
    copy->struct_size = size;
}

/* printf to vfu_host.log and vfu_host.guest_error; 511 bytes at most. */
#ifdef __GNUC__
__attribute__((format(printf, 3, 4), unused))
#endif
static void vfu_logf(const struct vfu_host *host, uint32_t level, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    host->log(host, level, text);
}

#ifdef __GNUC__
__attribute__((format(printf, 2, 3), unused))
#endif
static void vfu_guest_errorf(const struct vfu_host *host, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    host->guest_error(host, text);
}

#ifdef __cplusplus
}
#endif

#endif
