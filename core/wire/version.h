/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * version - the VERSION message: what a client proposes, checked, and what is answered. No state, any thread.
 */
#ifndef CORE_VERSION_H
#define CORE_VERSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct version {
    uint16_t minor;
    uint32_t max_msg_fds;        /* descriptors a message to the client may carry */
    uint32_t max_data_xfer_size; /* bytes of data in a DMA message to it */
    uint32_t max_dma_maps;
    uint64_t pgsizes; /* of DMA maps, or'ed together, as the client has them */
    uint64_t migration_pgsize, max_bitmap_size; /* 0: not given */
    bool migration; /* it has said something of it */
    bool write_multiple;
    bool twin_socket; /* the client can have one */
};

/* Bytes of data, and of a dirty bitmap, that one reply to this client may carry. */
uint32_t version_data_limit(const struct version *v);
uint32_t version_bitmap_limit(const struct version *v);

/* The page size of this client's DMA maps, the smallest that it has: larger ones are multiples of it. */
uint64_t version_page(const struct version *v);

#define VERSION_REPLY_MAX 512u

/* body: the message's. On failure -EINVAL, and `why` says what is wrong in which field. */
int version_parse(struct version *v, const uint8_t *body, size_t size, char *why, size_t room);

/* The reply's body for what was negotiated: its length, NUL included. Migration is in it where v->migration is still
 * set. twin: index of the twin socket's descriptor, or -1. */
size_t version_reply(const struct version *v, uint32_t max_dma_maps, int twin, uint8_t reply[VERSION_REPLY_MAX]);

#endif
