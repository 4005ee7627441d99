/* SPDX-License-Identifier: BSD-3-Clause */
/* count - what tests/protocol/count.c counts in a host, in a file that both map. */
#ifndef TESTS_COUNT_H
#define TESTS_COUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct count {
    uint64_t allocations, frees;
    uint64_t largest; /* bytes of one */
};

#endif
