/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * spin - a register that is polled: see spin.h. Runs on the device's thread.
 *
 * A register that has gone over the limit is told of when a second has passed since, so that the sentence has a whole
 * second's number in it; or sooner, when its value changes.
 */
#include "core/inspect/spin.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/log.h"
#include "core/base/loop.h"
#include "core/inspect/trace.h"
#include "core/inspect/unmodelled.h"

#define PARTS 8u
#define SECOND UINT64_C(1000000000)
#define PART_NS (SECOND / PARTS)
#define WAITING 16u

struct spin_cell {
    uint64_t value;
    uint64_t part;          /* which eighth of a second the last read was in */
    uint32_t counts[PARTS]; /* reads in each of the last eight */
    uint64_t sum;
    bool over; /* told of, or about to be, and not below the limit since */
};

struct spin_wait {
    const struct reg_cell *cell;
    uint64_t due;
};

struct spin {
    const char *who;
    const struct regmap *map;
    struct loop *loop;
    struct loop_timer timer;
    uint64_t limit;
    void (*say)(void *ctx, const char *text);
    void *ctx;
    struct log_limit saying;
    struct spin_wait waits[WAITING];
    uint32_t nwaits;
    struct spin_cell cells[];
};

static void timer_due(struct loop_timer *timer)
{
    spin_tell((struct spin *)((char *)timer - offsetof(struct spin, timer)), loop_now());
}

int spin_new(struct spin **out, const char *who, const struct regmap *map, struct loop *loop, uint64_t limit,
             void (*say)(void *ctx, const char *text), void *ctx)
{
    struct spin *spin = calloc(1, sizeof *spin + (size_t)regmap_count(map) * sizeof spin->cells[0]);

    if (!spin)
        return -ENOMEM;
    spin->who = who;
    spin->map = map;
    spin->loop = loop;
    spin->limit = limit;
    spin->say = say;
    spin->ctx = ctx;
    spin->timer.fn = timer_due;
    *out = spin;
    return 0;
}

void spin_free(struct spin *spin)
{
    if (!spin)
        return;
    if (spin->loop)
        loop_disarm(spin->loop, &spin->timer);
    free(spin);
}

static void say(struct spin *spin, const struct reg_cell *cell)
{
    const struct spin_cell *state = &spin->cells[regmap_place(spin->map, cell)];
    char name[REGMAP_NAME_LEN], region[24], number[32], fields[256], text[1024];
    uint32_t n;
    const struct vfu_reg *reg = &regmap_regs(spin->map, &n)[cell->reg];

    regmap_name(spin->map, cell, name, sizeof name);
    trace_fields(reg, state->value, UINT64_MAX, " ", fields, sizeof fields);
    snprintf(text, sizeof text, "the driver is polling %s (%s+0x%llx): %s reads in a second, always 0x%llx%s%s%s", name,
             unmodelled_region(reg->region, region), (unsigned long long)cell->offset,
             unmodelled_number(state->sum, number), (unsigned long long)state->value, *fields ? " (" : "", fields,
             *fields ? ")" : "");
    if (spin->say)
        spin->say(spin->ctx, text);
    else
        log_limited(&spin->saying, spin->who, LOG_WARN, "%s", text);
}

static void arm(struct spin *spin)
{
    uint64_t first = UINT64_MAX;

    for (uint32_t i = 0; i < spin->nwaits; i++)
        first = spin->waits[i].due < first ? spin->waits[i].due : first;
    if (!spin->loop)
        return;
    if (spin->nwaits)
        (void)loop_arm(spin->loop, &spin->timer, first);
    else
        loop_disarm(spin->loop, &spin->timer);
}

void spin_tell(struct spin *spin, uint64_t now)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < spin->nwaits; i++) {
        if (spin->waits[i].due <= now)
            say(spin, spin->waits[i].cell);
        else
            spin->waits[kept++] = spin->waits[i];
    }
    spin->nwaits = kept;
    arm(spin);
}

/* Its run of one value has ended: what waits for the end of the second is told now. */
static void run_ends(struct spin *spin, const struct reg_cell *cell)
{
    for (uint32_t i = 0; i < spin->nwaits; i++) {
        if (spin->waits[i].cell == cell) {
            say(spin, cell);
            spin->waits[i] = spin->waits[--spin->nwaits];
            arm(spin);
            return;
        }
    }
}

static void went_over(struct spin *spin, const struct reg_cell *cell, uint64_t now)
{
    if (spin->nwaits == WAITING) {
        say(spin, cell);
        return;
    }
    spin->waits[spin->nwaits++] = (struct spin_wait){ cell, now + SECOND - PART_NS };
    arm(spin);
}

static void restart(struct spin_cell *state, uint64_t value, uint64_t part)
{
    *state = (struct spin_cell){ .value = value, .part = part };
}

void spin_read(struct spin *spin, const struct reg_cell *cell, uint64_t value, uint64_t now)
{
    struct spin_cell *state = &spin->cells[regmap_place(spin->map, cell)];
    uint64_t part = now / PART_NS;

    if (value != state->value) {
        run_ends(spin, cell);
        restart(state, value, part);
    } else if (part - state->part >= PARTS) {
        run_ends(spin, cell);
        restart(state, value, part);
    }
    for (; state->part != part; state->part++) {
        uint32_t *oldest = &state->counts[(state->part + 1) % PARTS];

        state->sum -= *oldest;
        *oldest = 0;
    }
    if (state->counts[part % PARTS] != UINT32_MAX) {
        state->counts[part % PARTS]++;
        state->sum++;
    }
    if (state->sum <= spin->limit) {
        /* Below half of it counts as an end, so that a rate about the limit is told of once. */
        if (state->sum <= spin->limit / 2)
            state->over = false;
    } else if (!state->over) {
        state->over = true;
        went_over(spin, cell, now);
    }
}
