/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * client - the fuzzer's end of a session: sends what it is told to, reads everything, and checks that the server's
 * stream is one of well-formed messages in which each command has its one reply, in order. A breach ends the process.
 */
#ifndef FUZZ_CLIENT_H
#define FUZZ_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vfu/protocol.h>

#include "tests/fuzz/script.h"

#define CLIENT_FILES 3u
#define CLIENT_GIFTS 8u
#define CLIENT_DMA 64u
#define CLIENT_EXPECTED 4096u

/* A reply to come. */
struct client_expected {
    uint16_t id, command;
    bool optional;
};

struct client_dma {
    struct vfu_msg_header header;
    struct vfu_msg_dma_access access;
};

/* The stream to the server, as the server has to read it. */
struct client_framing {
    uint8_t header[sizeof(struct vfu_msg_header)];
    uint32_t have;
    uint64_t left; /* of the body */
    bool broken;   /* what came cannot be a message: nothing behind it is one */
};

struct client_stream {
    int fd; /* -1: none, or at its end */
    uint8_t *bytes;
    size_t size;
};

struct client {
    struct client_stream main, twin;
    struct client_framing framing;
    uint16_t next_id;
    struct client_expected expected[CLIENT_EXPECTED];
    uint32_t first, nexpected;
    bool lost_count; /* too many at a time to remember */
    struct client_dma dma[CLIENT_DMA];
    uint32_t ndma;
    int gifts[CLIENT_GIFTS]; /* from the server; -1: none */
    uint32_t next_gift;
    int files[CLIENT_FILES];
};

/* Ends the process with a word about it. */
void client_fail(const char *what, uint64_t a, uint64_t b) __attribute__((noreturn));

void client_init(struct client *c);
void client_fini(struct client *c);
void client_connect(struct client *c, int fd);
void client_disconnect(struct client *c);

/* Sends what the socket takes, with descriptors of a kind. How many bytes that was. */
size_t client_send(struct client *c, const void *bytes, size_t size, uint8_t kind, uint32_t nfds);
void client_send_twin(struct client *c, const void *bytes, size_t size);
/* Reads what is there, at most `limit` bytes. True if there was any. */
bool client_read(struct client *c, size_t limit);
void client_answer(struct client *c, const struct script_answer *how);
void client_resize(struct client *c, const struct script_file *file);
void client_poke(struct client *c, const struct script_poke *poke, const uint8_t *data, size_t size);

/* The server has nothing more to send, and the connection stands: every reply must have come. */
void client_check_all(const struct client *c);

#endif
