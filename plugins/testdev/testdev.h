/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * testdev - the device that the protocol tests are written for: one of everything that a device model can have.
 * docs/testdev.md says how each part behaves; examples/testdev.lua is the same device as a script.
 *
 * PCI 1234:7e57 (see plugins/null/null.c for why), class ff0000, express, FLR, power management, INTx, MSI (4), MSI-X (8).
 *
 *   BAR0  mem32   64 KiB  registers (map.c); MSI-X table at 0x8000, pending bits at 0x9000
 *   BAR1  io      64 B    registers, a FIFO, a doorbell; widths 1, 2, 4; the rest reads all ones
 *   BAR2  mem64   4 MiB   prefetchable memory, not mapped
 *   BAR4  mem32   64 KiB  memory, two parts of it mapped: 0x1000-0x1fff and 0x4000-0xbfff; a register at 0
 *   BAR5  mem32   4 KiB   a raw handler
 *   ROM           512 B   an image of no system's
 *
 *   BAR0    name           bytes  access  what it is for
 *   0x000   ID               4    ro      0x31564454, "TDV1"
 *   0x004   SCRATCH          4    rw      reset value: parameter scratch
 *   0x010   K_RW ... K_UNIMP 4    each    one register of each access kind: RW RO WO W1C W1S W1T W0C RC RS WONCE
 *                                         RESERVED UNIMP, at 0x10, 0x14, ... 0x3c
 *   0x040   PEEK_SEL         4    rw      which of them (0: K_RW) ...
 *   0x044   PEEK             4    rw      ... is read and written here past its masks, as hardware does
 *   0x050   W8 W16 W32 W64   1248 rw      at 0x50, 0x52, 0x54, 0x58
 *   0x060   BE32             4    rw      big endian
 *   0x068   BE64             8    rw      big endian
 *   0x070   LAST             8    rw      commit-last; LAST_WRITES (0x078, ro) counts its writes
 *   0x080   PARTS            8    rw      not so; PARTS_WRITES (0x088, ro) counts
 *   0x090   STICKY           4    rw      survives all resets but power-on
 *   0x094   LOCK             4    rw      bit 0 set: writes of LOCKED (0x098, rw) are ignored
 *   0x09c   LOCKED_HOOK      4    rw      writes are ignored while SCRATCH is 0x4b434f4c ("LOCK")
 *   0x0a0   FIELDS           4    fields  LOW 0-7 rw, RO 8-11 ro, W1C 12-15 w1c, MODE 16-18 rw enum; 19-31 reserved
 *   0x0a4   INVERT           4    rw      keeps the complement of what is written
 *   0x0a8   READS            4    ro      counts its own reads: 1, 2, ...
 *   0x0ac   BAD_WRITE        4    rw      a write of 0xbad is a bus error: the old value stays
 *   0x0b0   BAD_READ         4    rw      a read is a bus error: all ones
 *   0x0b4   GUEST_ERROR      4    wo      a write is a guest error; GUEST_ERRORS (0x0b8, ro) counts
 *   0x100   ARRAY[8]         4    rw      8 apart
 *   0x180   CH[4]            -    group   0x20 apart: ADD (+0, wo), DATA[3] (+4, rw), SUM (+0x10, ro): of what ADD got
 *   0x200   INT_STATUS       4    ro      level register: USER 0-7, DMA 8, TIMER 9, BELL 10, DEFER 11
 *   0x204   INT_MASK         4    rw      and'ed with it; reset 0xffffffff
 *   0x208   INT_SET          4    wo      sets bits of INT_STATUS; INT_ACK (0x20c, wo) clears them
 *   0x210   IRQ_RAISE        4    wo      raises that vector; IRQ_LOWER (0x214, wo) lowers it
 *   0x218   IRQ_RESULT       4    ro      of the last of these: 0, 1 (pending), or minus an errno
 *   0x21c   IRQ_SIGNAL       4    wo      signals 3 (error) or 4 (request)
 *   0x300   DMA_ADDR         8    rw      the guest's address; DMA_LEN (0x308, 8, rw) bytes, up to 1 MiB
 *   0x310   DMA_DST          8    rw      where OP COPY writes
 *   0x318   DMA_SEED         4    rw      of the pattern; DMA_SUM (0x31c, ro) FNV-1a of the bytes moved
 *   0x320   DMA_CMD          4    fields  OP 0-3, KEEP 8 (write the buffer as it is), IRQ 9 (INT_STATUS.DMA at the end)
 *   0x324   DMA_STATUS       4    ro      ERRNO 0-15 of the last one, BUSY 31; while it is busy 0x300-0x320 are locked
 *   0x328   DMA_DONE         4    ro      transfers ended
 *   0x330   WIN_OFF          8    rw      an offset in the window that OP HOLD opened
 *   0x338   WIN_DATA         4    rw      the four bytes there; all ones once the window has ended
 *   0x400   TIMER_DELAY      8    rw      ns; TIMER_PERIOD (0x408, 8, rw) ns or 0
 *   0x410   TIMER_CMD        4    wo      1 starts a timer, 2 cancels the last one, 3 as 1 with INT_STATUS.TIMER
 *   0x414   TIMER_FIRED      4    ro      how often timers have; TIMER_RESULT (0x418, ro): 0 or minus an errno
 *   0x420   DEFER            4    wo      that many pieces of deferred work, up to 64; DEFERRED (0x424, ro) counts
 *   0x428   BUSY_US          4    wo      keeps the device's thread for that long, up to 100000
 *   0x500   RAM_BAR          4    rw      2 or 4: whose memory, as the device sees it, ...
 *   0x504   RAM_OFF          4    rw      ... at this offset ...
 *   0x508   RAM_DATA         4    rw      ... is read and written here
 *   0x50c   POWER            4    ro      D state; RESETS (0x510, ro, sticky) counts resets, RESET_KIND (0x514, ro)
 *   0x518   ATTACHES         4    ro      clients that have come; DETACHES (0x51c, ro)
 *   0x1000  BELLS            -    rw      doorbells, see docs/testdev.md: 0x1000, 0x1004, 0x1008, 0x100c, 0x1010, 0x1018
 *                                         (8 bytes), 0x1020
 *   0x1080  RINGS[9]         4    ro      how often each rang; BELL_IRQ (0x10a4, rw): INT_STATUS.BELL at each ring
 *   0x1100  RUNG[9]          8    ro      with which value, the last time
 *
 *   BAR1
 *   0x00    IO_SCRATCH       4    rw
 *   0x04    IO_ID            2    ro      0x4f49, "IO"
 *   0x08    FIFO             1    rw      a write appends, a read takes out; 16 deep; empty reads 0xff
 *   0x09    FIFO_LEVEL       1    ro
 *   0x10    IO_BELL          1    rw      doorbell 8
 *
 *   BAR4    0x0 MARK 4 ro 0x504d4d53, "SMMP"
 *
 *   BAR5    0x000-0x7ff bytes that stay; 0x800-0xbff each byte reads as the low byte of its address; 0xc00-0xdff EIO;
 *           0xe00-0xfff EINVAL
 *
 * One thread: the device's. The host holds registers and memory BARs; struct testdev holds the rest.
 */
#ifndef TESTDEV_H
#define TESTDEV_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

#define KINDS 12u
#define BELLS 9u
#define FIFO_SIZE 16u
#define RAW_SIZE 2048u
#define DMA_MAX (1u << 20)
#define LOCK_WORD UINT64_C(0x4b434f4c)

enum {
    ID, SCRATCH,
    K_RW, K_RO, K_WO, K_W1C, K_W1S, K_W1T, K_W0C, K_RC, K_RS, K_WONCE, K_RESERVED, K_UNIMP, PEEK_SEL, PEEK,
    W8, W16, W32, W64, BE32, BE64, LAST, LAST_WRITES, PARTS, PARTS_WRITES, STICKY, LOCK, LOCKED, LOCKED_HOOK,
    FIELDS, INVERT, READS, BAD_WRITE, BAD_READ, GUEST_ERROR, GUEST_ERRORS, ARRAY, CH_ADD, CH_DATA, CH_SUM,
    INT_STATUS, INT_MASK, INT_SET, INT_ACK, IRQ_RAISE, IRQ_LOWER, IRQ_RESULT, IRQ_SIGNAL,
    DMA_ADDR, DMA_LEN, DMA_DST, DMA_SEED, DMA_SUM, DMA_CMD, DMA_STATUS, DMA_DONE, WIN_OFF, WIN_DATA,
    TIMER_DELAY, TIMER_PERIOD, TIMER_CMD, TIMER_FIRED, TIMER_RESULT, DEFER, DEFERRED, BUSY_US,
    RAM_BAR, RAM_OFF, RAM_DATA, POWER, RESETS, RESET_KIND, ATTACHES, DETACHES,
    BELL_OWN, BELL_SHARED1, BELL_SHARED2, BELL_MATCH, BELL_SHADOW, BELL_WIDE, BELL_ANY, RINGS, BELL_IRQ, RUNG,
    IO_SCRATCH, IO_ID, FIFO, FIFO_LEVEL, IO_BELL, MARK,
};

#define INT_DMA UINT64_C(0x100)
#define INT_TIMER UINT64_C(0x200)
#define INT_BELL UINT64_C(0x400)
#define INT_DEFER UINT64_C(0x800)

#define DMA_OP UINT64_C(0xf)
#define DMA_KEEP UINT64_C(0x100)
#define DMA_IRQ UINT64_C(0x200)
#define DMA_BUSY UINT64_C(0x80000000)

enum pattern { PATTERN_RAMP, PATTERN_ZERO, PATTERN_ONES };

/* What a save keeps beside registers and memory, as it stands there: little-endian, before the DMA buffer's bytes. */
struct testdev_image {
    uint32_t version; /* 1 */
    uint32_t nfifo;
    uint32_t second; /* the transfer in flight is in its second half */
    uint32_t nbuffer;
    int64_t timer;
    uint8_t fifo[FIFO_SIZE];
    uint8_t raw[RAW_SIZE];
};

struct testdev {
    const struct vfu_host *host;
    const struct vfu_host_regmap *regs;
    uint8_t *ram[6]; /* of the BARs that are memory */
    enum pattern pattern;
    double slow;
    uint64_t scratch;
    uint8_t fifo[FIFO_SIZE];
    uint32_t nfifo;
    uint8_t raw[RAW_SIZE];
    int64_t timer; /* the last one started */
    /* DMA: the command is in the registers, which are locked while it runs. */
    uint8_t *buffer; /* DMA_MAX bytes */
    uint32_t nbuffer;
    struct vfu_dma_op op;
    struct vfu_dma_window window;
    bool second;      /* COPY: what was read is being written */
    bool interrupted; /* ended by the host: a resume starts it again, a reset or a lost client ends it */
};

static inline uint64_t testdev_get(const struct testdev *dev, uint32_t reg)
{
    return dev->regs->get(dev->host, reg, VFU_NONE, VFU_NONE);
}

static inline void testdev_set(const struct testdev *dev, uint32_t reg, uint64_t value)
{
    dev->regs->set(dev->host, reg, VFU_NONE, VFU_NONE, value);
}

static inline void testdev_count(const struct testdev *dev, uint32_t reg)
{
    testdev_set(dev, reg, testdev_get(dev, reg) + 1);
}

static inline void testdev_interrupt(const struct testdev *dev, uint64_t bits)
{
    testdev_set(dev, INT_STATUS, testdev_get(dev, INT_STATUS) | bits);
}

/* map.c: what the device is. Constants, all of it. */
void testdev_describe(struct vfu_desc *desc, bool mmap);

/* dma.c */
void testdev_dma_start(struct testdev *dev);
int32_t testdev_window_read(struct testdev *dev, uint64_t *value);
int32_t testdev_window_write(struct testdev *dev, uint64_t value);
/* Ends with that status what the host has interrupted. */
void testdev_dma_end(struct testdev *dev, int32_t status);

#endif
