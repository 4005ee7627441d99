/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calls - the functions of the host table that work on the device: see calls.c. What its extensions need of them.
 */
#ifndef CORE_CALLS_H
#define CORE_CALLS_H

#include <stdint.h>

#include "core/plugin/host.h"

/* The arguments of a call, on their way to the device's thread. */
struct call_args {
    uint64_t n[4];
    void *p[2];
    void (*work)(void *arg);
    void (*ready)(void *arg, uint32_t ready);
};

/* Makes the call on the device's thread, if it may be made: its result, or why not. */
int64_t calls_invoke(const struct vfu_host *table, enum host_call call, const struct call_args *args);
#define INVOKE(call, ...) calls_invoke(table, call, &(struct call_args){ __VA_ARGS__ })
/* A register may hold what looks like an error: 0 where the call may not be made. */
uint64_t calls_reg_get(const struct vfu_host *table, uint32_t reg, uint32_t index, uint32_t group_index);

/* Whether a parameter on the command line has this value. What names a place of the operator's must be one. */
bool calls_is_given(const struct params *params, const char *address);

/* Sets the members of the table that are in this file. */
void calls_fill(struct vfu_host *table);

#endif
