/* SPDX-License-Identifier: BSD-3-Clause */
/* pcapng - a small reader of pcapng files that accepts nothing odd, for tests of the message trace. One thread. */
#ifndef TESTS_UNIT_PCAPNG_H
#define TESTS_UNIT_PCAPNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PCAPNG_INTERFACES 16u

struct pcapng_interface {
    char name[64], description[256];
    uint32_t linktype, snap, tsresol;
    uint64_t received, dropped; /* of its statistics */
    bool statistics;
};

struct pcapng_packet {
    uint32_t interface, have, size, flags;
    uint64_t time, dropped; /* ns; dropped before it */
    const uint8_t *bytes;
    char comment[96];
};

struct pcapng {
    uint8_t *bytes;
    size_t size;
    char application[64];
    struct pcapng_interface interfaces[PCAPNG_INTERFACES];
    uint32_t ninterfaces;
    struct pcapng_packet *packets;
    size_t npackets;
};

/* NULL, or what is wrong with the file. pcapng_free in either case. */
const char *pcapng_read(struct pcapng *all, const char *path);
void pcapng_free(struct pcapng *all);

#endif
