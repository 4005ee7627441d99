/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stream - bytes between a device and the world outside (vfu.stream/1): terminals, sockets, files. Nothing here waits.
 *
 * The device's thread, but for streams_start and streams_print, which run on main's before the device's loop does.
 */
#ifndef CORE_STREAM_H
#define CORE_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <vfu/plugin.h>

#include "core/base/loop.h"

struct stream;

/* All streams of one device. */
struct streams {
    struct loop *loop;
    const char *who; /* the device */
    struct stream *first;
    bool started;    /* else they are only checked: nothing is opened for --dump */
    bool frozen;     /* stopped for migration: nothing comes in, and the plugin is told nothing */
    bool scheduled;
};

void streams_init(struct streams *all, struct loop *loop, const char *who);
void streams_fini(struct streams *all);
/* Opens what plugins have asked for so far; what they ask for later is opened at once. 0 or -errno, logged. */
int streams_start(struct streams *all);
void streams_freeze(struct streams *all, bool frozen);
/* Closes what this owner has opened. */
void streams_forget(struct streams *all, const void *owner);
/* Where people find them, a line each. */
void streams_print(const struct streams *all, FILE *out);

/* As in struct vfu_host_stream. One that another owner has open already is taken over from it, until the new one closes it. */
int stream_open(struct streams *all, const void *owner, const struct vfu_stream_spec *spec, struct vfu_stream **out);
int64_t stream_read(struct streams *all, struct vfu_stream *handle, void *bytes, uint64_t len);
int64_t stream_write(struct streams *all, struct vfu_stream *handle, const void *bytes, uint64_t len);
int stream_look(struct streams *all, struct vfu_stream *handle, struct vfu_stream_state *state);
int stream_send_break(struct streams *all, struct vfu_stream *handle);
int stream_hang_up(struct streams *all, struct vfu_stream *handle);
int stream_close(struct streams *all, struct vfu_stream *handle);

#endif
