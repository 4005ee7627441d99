/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * template - messages of every command with plausible numbers in them, for seeds and for the mutator. No state: what is
 * random comes from the caller's generator.
 */
#ifndef FUZZ_TEMPLATE_H
#define FUZZ_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/fuzz/script.h"

/* xorshift; any state but 0 */
static inline uint32_t template_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* A message of the command as a record. False: no room. */
bool template_message(struct script *s, uint16_t command, const void *body, size_t size, uint8_t fd, uint8_t nfds);
/* A register of BAR 0, or anything else, is written. */
bool template_write(struct script *s, uint32_t region, uint64_t offset, uint64_t value, uint32_t size);
bool template_read(struct script *s, uint32_t region, uint64_t offset, uint32_t size);
bool template_map(struct script *s, uint64_t address, uint64_t size, uint32_t flags, uint8_t fd, uint64_t offset);
bool template_irqs(struct script *s, uint32_t index, uint32_t flags, uint32_t start, uint32_t count, uint8_t fd);
bool template_feature(struct script *s, uint32_t flags, const void *data, size_t size);
bool template_byte(struct script *s, uint8_t op, uint8_t byte);

/* One record of any kind. */
bool template_any(struct script *s, uint32_t *random);

#endif
