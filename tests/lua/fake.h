/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake - a host for tests of the Lua binding: the real register engine, and memory, time and interrupts that the test
 * sets. It drives the binding through its plugin table alone. One thread.
 */
#ifndef TESTS_LUA_FAKE_H
#define TESTS_LUA_FAKE_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

#include "core/regmap/regmap.h"
#include "core/pci/region.h"

#define FAKE_TIMERS 64
#define FAKE_OPS 8
#define FAKE_MEMORY 0x10000u         /* bytes of client memory ... */
#define FAKE_BASE UINT64_C(0x100000) /* ... at this address */

struct fake_timer {
    int64_t id;
    uint64_t due, period, arg;
    uint32_t event;
};

struct fake {
    struct vfu_host host; /* first */
    const struct vfu_plugin *plugin;
    void *self;
    struct vfu_desc desc;
    struct regmap *map;
    struct region bars[6];
    const char *items[8]; /* KEY=VALUE */
    struct vfu_param params[16];
    uint32_t nparams;
    char text[16][64]; /* of the parameters' values */

    char log[1 << 16]; /* lines of VFU_LOG_ERROR and VFU_LOG_WARN */
    char info[4096];   /* the others */
    unsigned errors, guest_errors;
    char guest_error[256];

    uint64_t now;
    struct fake_timer timers[FAKE_TIMERS];
    int64_t next_id;
    struct {
        void (*fn)(void *);
        void *arg;
    } deferred[64];
    unsigned ndeferred;

    uint8_t memory[FAKE_MEMORY];
    uint64_t denied; /* capabilities that the operator has taken away */
    bool messages; /* memory is reached by messages only */
    struct vfu_dma_op *ops[FAKE_OPS];
    unsigned nops;
    int32_t submit_error;
    struct vfu_dma_window *window;
    int32_t check; /* of dma_check */

    uint64_t level; /* of the level register */
    unsigned raised, lowered;
};

/* Loads the script's text (or the file, if text names one that ends in .lua); 0 or what describe gave. */
int fake_load(struct fake *f, const char *text);
/* ... and creates and powers on. */
void fake_start(struct fake *f, const char *text);
void fake_stop(struct fake *f);

uint64_t fake_read(struct fake *f, uint32_t bar, uint64_t offset, uint32_t size);
int fake_write(struct fake *f, uint32_t bar, uint64_t offset, uint32_t size, uint64_t value);
void fake_reset(struct fake *f, uint32_t kind);
/* Lets the time pass: timers and deferred calls run. */
void fake_advance(struct fake *f, double seconds);
void fake_run_deferred(struct fake *f);
/* The client answers the oldest DMA in flight. */
void fake_answer(struct fake *f, int32_t status);
void fake_cancel(struct fake *f);

/* State to bytes and back. */
struct fake_state {
    uint8_t bytes[1 << 17];
    uint64_t n, at;
};
int fake_save(struct fake *f, struct fake_state *state);
int fake_restore(struct fake *f, struct fake_state *state);

#endif
