/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tracefile - the message trace of --trace: every vfio-user message of the process's devices as a packet of one pcapng
 * file. Any thread.
 *
 * Packets are put into a buffer that a thread of its own writes out at once. Where the file cannot keep up, a message
 * waits for room a few milliseconds, then it is dropped and counted. Allocates when it is opened and for each device,
 * not for messages.
 */
#ifndef CORE_TRACEFILE_H
#define CORE_TRACEFILE_H

#include <stddef.h>
#include <stdint.h>

struct tracefile;

#define TRACEFILE_SNAP 65536u   /* bytes of a message that are kept, where nothing else is said */
#define TRACEFILE_SNAP_MIN 64u
#define TRACEFILE_SNAP_MAX 1048576u

/* One device's messages; file NULL: they are not traced. */
struct tracefile_tap {
    struct tracefile *file;
    uint32_t interface;
};

enum tracefile_direction { TRACEFILE_IN = 1, TRACEFILE_OUT = 2 }; /* as in epb_flags */

/* A message as it stands on the wire, `have` of its `size` bytes, with `nfds` descriptors. note: NULL or a remark. */
struct tracefile_message {
    const void *bytes;
    uint32_t have, size, nfds;
    enum tracefile_direction direction;
    const char *note;
};

/* Creates or empties the file, which is private to the user; a FIFO is waited for until somebody reads it. -errno,
 * logged. Main's thread, before signals are caught. */
int tracefile_open(struct tracefile **out, const char *path, uint32_t snap);
/* Everything is written, or the reason why not is logged. Nobody may call any more. NULL will do. */
void tracefile_close(struct tracefile *file);
/* The same without taking anything down: waits until what has been put is written, or a second has passed. */
void tracefile_flush(struct tracefile *file);

/* A device's interface in the file; socket: a text. -ENOMEM. */
int tracefile_device(struct tracefile *file, const char *name, const char *socket, struct tracefile_tap *tap);
void tracefile_put(const struct tracefile_tap *tap, const struct tracefile_message *message);

#endif
