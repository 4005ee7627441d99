/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vnc - a picture for VNC viewers, with libvncserver, which is loaded for the first one: a listening socket, a thread for it, and
 * one for each viewer.
 *
 * A viewer's thread has a libvncserver screen and a copy of the picture to itself, so what one does or leaves undone
 * costs that one only. The picture's owner tells them what has changed, under its lock.
 */
#ifndef CORE_VNC_H
#define CORE_VNC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct vnc;

#define VNC_VIEWERS_MAX 16u /* of all displays of a host */

/* A picture, which its owner changes under the lock only: 0x00RRGGBB. */
struct picture {
    pthread_mutex_t lock;
    uint32_t *pixels;
    uint32_t width, height;
    uint64_t size_number; /* goes up when width or height change */
};

/* NULL if there can be viewers, and libvncserver is loaded now; else why not, for people. */
const char *vnc_missing(void);
static inline bool vnc_works(void)
{
    return !vnc_missing();
}
/*
 * Listens at `where`: "HOST:PORT", ":PORT" or "PORT" (this machine only), or "unix:PATH". `looked` is called from other
 * threads when the first viewer comes, and so on: somebody looks. *at: where it is, for people, to be freed. -errno,
 * explained as `who`.
 */
int vnc_open(struct vnc **out, const char *who, const char *title, const char *where, struct picture *picture,
             void (*looked)(void *ctx), void *ctx, char **at);
void vnc_close(struct vnc *vnc);

/* Whether there is a viewer. Any thread. */
bool vnc_watched(struct vnc *vnc);
/* Under the picture's lock: these lines have changed. */
void vnc_changed(struct vnc *vnc, uint32_t y, uint32_t height);
/* Not under it: viewers are told now. */
void vnc_wake(struct vnc *vnc);

#endif
