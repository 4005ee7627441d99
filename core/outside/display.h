/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * display - what a device shows (vfu.display/1), and where that goes: VNC viewers, a PNG file, who asks.
 *
 * A display has a thread, which sleeps while nobody looks. It alone reads the frame and changes the picture. The device
 * says what it shows under a lock that is held for short copies only, so it is never kept waiting for a picture.
 */
#ifndef CORE_DISPLAY_H
#define CORE_DISPLAY_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#include <vfu/plugin.h>

struct display;
struct display_job;
struct region;

struct displays {
    const char *who; /* the device */
    pthread_mutex_t lock;
    struct display *list[VFU_DISPLAYS_MAX]; /* by number; they stay to the end */
    uint32_t n;
    struct display_job *jobs; /* of core/inspect/screen.c, under the lock */
    int made;
};

int display_init(struct displays *displays);
/* Ends all of them, with their threads. Before what they show goes. */
void display_fini(struct displays *displays);

/* As in struct vfu_host_display. Any thread. */
int display_open(struct displays *displays, const char *outputs);
int display_show(struct displays *displays, int32_t number, const struct vfu_display_frame *frame,
                 const struct region *regions);
/* The same; the memory that is shown is the owner's. */
int display_show_of(struct displays *displays, int32_t number, const struct vfu_display_frame *what,
                    const struct region *regions, const void *owner);
/* The owner goes, with its memory: what it has shown of that stays as it was told last, and takes no more changes. */
void display_disown(struct displays *displays, const void *owner);
int display_changed(struct displays *displays, int32_t number, uint32_t x, uint32_t y, uint32_t width, uint32_t height);

/* Where people find them, a line each, for a summary. Main's thread. */
void display_print(FILE *out, struct displays *displays);

/*
 * Saves what display `number` shows now as a PNG file. `done` is called once, on the display's thread, with 0 or -errno;
 * at the end of the display with -ECANCELED. -ENOENT: there is no such display; -ENOTSUP: this build writes no PNG files;
 * -ENODATA: it shows nothing; then `done` is not called.
 */
int display_save(struct displays *displays, uint32_t number, const char *path, void (*done)(void *ctx, int error),
                 void *ctx);

#endif
