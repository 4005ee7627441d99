/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stream_private - what core/outside/stream.c (buffers, owners, events) and core/outside/streamkind.c (terminals, sockets, files) share.
 * The device's thread.
 */
#ifndef CORE_STREAM_PRIVATE_H
#define CORE_STREAM_PRIVATE_H

#include <sys/stat.h>

#include "core/base/log.h"
#include "core/outside/stream.h"

#define STREAM_IN 4096u   /* bytes that wait for the device */
#define STREAM_OUT 16384u /* bytes that wait for the peer */

struct ring {
    uint32_t head, used;
    uint8_t bytes[STREAM_OUT];
};

struct stream_kind {
    const char *prefix; /* "unix:", or "pty" for what may stand alone */
    bool alone;         /* it may have nothing behind the prefix */
    const char *options[3];
    /* Makes what there is to make. 0 or -errno, logged. */
    int (*start)(struct stream *s);
    void (*stop)(struct stream *s);
    /* The peer is gone: wait for the next. */
    void (*lost)(struct stream *s);
};

struct stream {
    struct streams *all;
    struct stream *next;
    char *spec, *path; /* path: behind the prefix, without options; may be empty */
    unsigned option;   /* 1 + its number in kind->options, 0: none */
    bool marks;        /* breaks stand between the bytes, as termios marks them with PARMRK */
    const struct stream_kind *kind;
    struct vfu_stream *handles; /* who has it open, the newest first: that one has it */
    bool started;

    struct loop_watch watch; /* of the bytes; fd -1: there is no peer */
    bool watched;
    struct loop_watch door; /* where peers show up; fd -1: none */
    bool door_watched;
    struct loop_timer retry;
    uint64_t retry_ns;
    struct stat socket; /* what it has made at `path` */
    char tty[64];       /* pty: the terminal's name */

    bool peer;      /* somebody is there */
    bool ended;     /* who sends nothing more */
    bool hung;      /* who is gone, but for bytes that wait in the kernel for room here */
    bool file;      /* the peer is a file, always ready */
    bool tried;     /* a failure to connect has been told */
    bool full;      /* a write has been cut short */
    uint32_t pending; /* VFU_STREAM_* to tell */
    struct log_limit limit;
    struct ring in, out;
};

/* ---- streamkind.c: -EINVAL, logged, for what is no stream ---- */
int streamkind_parse(struct stream *s);

/* ---- stream.c, for the kinds ---- */
/* A peer on this descriptor, which is the stream's from now on. */
void stream_came(struct stream *s, int fd);
void stream_watch_door(struct stream *s, bool on);
void stream_schedule(struct streams *all);

#endif
