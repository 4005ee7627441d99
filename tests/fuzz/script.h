/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * script - the form of an input of the session fuzzer, and how one is put together. No state.
 *
 * An input is two bytes of settings and then records: what to do (one byte), how many bytes follow (two bytes, little
 * endian), the bytes. A record's bytes are a structure from below and then data. What is missing of a structure is
 * zero, and numbers beyond a range wrap into it, so that every input is a script.
 */
#ifndef FUZZ_SCRIPT_H
#define FUZZ_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The first byte: which device. */
enum { SCRIPT_EDU, SCRIPT_SYNTHETIC, SCRIPT_DEVICES };
/* The second byte */
#define SCRIPT_HELLO 1u      /* VERSION is sent by itself on each connection */
#define SCRIPT_TWIN 2u       /* and asks for a twin socket */
#define SCRIPT_NARROW 4u     /* the server's socket takes little at a time */
#define SCRIPT_FEW_MAPS 8u   /* max_dma_maps is 3 */
#define SCRIPT_NO_ANSWER 16u /* DMA messages are not answered by themselves */
#define SCRIPT_NO_ROUNDS 32u /* messages are sent without letting the server work */
#define SCRIPT_NO_READ 64u   /* replies are not read by themselves */
#define SCRIPT_DENY 128u     /* the operator denies mmap, doorbells and direct pointers */

enum {
    OP_MESSAGE,   /* struct script_message, then the body: a message with a header that is right */
    OP_RAW,       /* the bytes as they are */
    OP_ROUNDS,    /* u8: so many rounds of the server's loop */
    OP_READ,      /* takes what the server has sent */
    OP_TIME,      /* u32: microseconds go by */
    OP_RECONNECT, /* u8: how the connection ends, see below */
    OP_ANSWER,    /* struct script_answer: a reply to the oldest DMA message of the server */
    OP_FILE,      /* struct script_file: a memory file gets another size */
    OP_POKE,      /* struct script_poke, then data: goes into a descriptor that the server has sent */
    OP_LARGE,     /* struct script_large: a large region access */
    OP_TWIN,      /* the bytes as they are, on the twin socket */
    OP_SETTINGS,  /* u8: the second byte of the input, anew */
    OP_IMAGE,     /* struct script_image, then data: MIG_DATA_WRITE of the device's own state, changed by the data */
    OPS
};

/* What rides on a message. */
enum {
    FD_NONE,
    FD_MEMORY0, /* the files that OP_FILE resizes: 64 KiB at first */
    FD_MEMORY1,
    FD_MEMORY2,
    FD_EVENT,
    FD_EVENT_BLOCKING,
    FD_EVENT_FULL, /* its counter is at the most there can be */
    FD_PIPE,       /* the end to write to */
    FD_PIPE_READ,
    FD_EPOLL,
    FD_SOCKET, /* the client's own end of the connection */
    FD_PATH,   /* O_PATH of a memory file */
    FD_READ_ONLY,
    FD_SEALED, /* against writing */
    FD_KINDS
};

struct script_message {
    uint16_t command;
    uint8_t flags;  /* of the header; type command is 0 */
    uint8_t fd;     /* FD_* */
    uint8_t nfds;   /* 0 is 1 where fd is not FD_NONE */
    uint8_t cut;    /* sent in two pieces, the first has so many bytes */
    int16_t excess; /* the header's size is more than what is sent by so much */
};

#define RECONNECT_KINDS 4u
enum { RECONNECT_CLOSE, RECONNECT_READ_FIRST, RECONNECT_SHUTDOWN, RECONNECT_AT_ONCE };

enum {
    ANSWER_RIGHT, ANSWER_ERROR, ANSWER_SHORT, ANSWER_COUNT, ANSWER_ADDRESS, ANSWER_ID, ANSWER_LONG,
    ANSWER_TWICE, ANSWERS
};
struct script_answer {
    uint8_t how;
    uint8_t wrong_socket; /* odd: on the other one, if there are two */
};

struct script_file {
    uint8_t which;
    uint8_t pages;
};

struct script_poke {
    uint8_t which;
    uint8_t reserved;
    uint16_t offset;
};

struct script_large {
    uint8_t write;
    uint8_t region;
    uint16_t cut; /* KiB sent before the server gets a turn */
    uint32_t offset;
    uint32_t count;
};

#define IMAGE_DAMAGED 1u /* the checksum stays wrong */
#define IMAGE_CUT 2u     /* ends behind the data */
struct script_image {
    uint8_t flags;
    uint8_t reserved;
    uint16_t offset;
};

/* ---- putting one together */

#define SCRIPT_MAX 65536u
struct script {
    size_t size;
    uint8_t bytes[SCRIPT_MAX];
};

static inline void script_begin(struct script *s, uint8_t device, uint8_t settings)
{
    s->bytes[0] = device;
    s->bytes[1] = settings;
    s->size = 2;
}

/* False: it would be too long. */
static inline bool script_add(struct script *s, uint8_t op, const void *head, size_t nhead, const void *data,
                              size_t ndata)
{
    size_t n = nhead + ndata;
    uint8_t *at = s->bytes + s->size;

    if (n > UINT16_MAX || SCRIPT_MAX - s->size < n + 3)
        return false;
    *at++ = op;
    *at++ = (uint8_t)n;
    *at++ = (uint8_t)(n >> 8);
    if (nhead)
        memcpy(at, head, nhead);
    if (ndata)
        memcpy(at + nhead, data, ndata);
    s->size += n + 3;
    return true;
}

/* The record at `offset` and what follows it: false at the end. */
static inline bool script_next(const uint8_t *bytes, size_t size, size_t *offset, uint8_t *op, const uint8_t **body,
                               size_t *n)
{
    const uint8_t *at = bytes + *offset;
    size_t left = size - *offset;

    if (left < 3)
        return false;
    *op = at[0] % OPS;
    *n = at[1] | (size_t)at[2] << 8;
    if (*n > left - 3)
        *n = left - 3;
    *body = at + 3;
    *offset += 3 + *n;
    return true;
}

#endif
