/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * migration - the state machine of VFIO migration, version 2, over one device, and the data that goes through it.
 *
 * RUNNING and PRE_COPY run; in STOP, STOP_COPY, RESUMING and ERROR the device is stopped (device_freeze): no timer,
 * event, DMA or interrupt, and no write but to config space. PRE_COPY brings no data ahead of the image, which is made
 * and read in STOP_COPY.
 *
 * An image that is refused on the way out of RESUMING leaves the device reset, and in RESUMING, with nothing written.
 * From there another image can be written, or the device be reset; it does not start on half of a state. A session
 * in which nothing was written at all leaves the device as it was. ERROR is what remains if the device cannot be
 * brought to a known state; only a reset leaves it.
 *
 * Runs on the device's thread.
 */
#ifndef CORE_MIGRATION_H
#define CORE_MIGRATION_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

#include "core/device/image.h"
#include "core/base/log.h"

struct device;

/* enum vfio_device_mig_state; the kernel headers of our oldest base lack the last two. */
enum migration_state {
    MIGRATION_ERROR,
    MIGRATION_STOP,
    MIGRATION_RUNNING,
    MIGRATION_STOP_COPY,
    MIGRATION_RESUMING,
    MIGRATION_RUNNING_P2P,
    MIGRATION_PRE_COPY,
    MIGRATION_PRE_COPY_P2P,
};
#define MIGRATION_STATES 8u

struct migration {
    uint32_t state;
    const struct vfu_migration_ops *ops; /* the plugin's, or NULL: the host's part is all there is */
    struct image data;  /* STOP_COPY: what is read; RESUMING: what was written */
    uint64_t at;        /* STOP_COPY: read so far */
    uint64_t limit;     /* RESUMING: not more than so much */
    bool spoiled;       /* RESUMING: an image was refused: only another one, or a reset, leads out */
    struct log_limit limited;
};

/* Takes the plugin's operations. -ENOEXEC (logged): its extension lacks one of them. */
int migration_init(struct device *dev);
/* RUNNING, without data. The caller starts the device if it was stopped. */
void migration_reset(struct migration *migration);

const char *migration_name(uint32_t state);
/* Whether the device is stopped in this state. */
bool migration_stops(uint32_t state);

/*
 * Goes to `state`, over others if need be: the shortest way, never through PRE_COPY or STOP_COPY. -EINVAL: no such
 * state, or no way there; an image that is refused (logged by image_load). -ENOMEM and what the plugin's save says.
 * After a failure the device is in the last state that it has reached.
 */
int migration_set(struct device *dev, uint32_t state);

/* Up to `size` bytes of the image: how many there were, 0 at its end. -EINVAL but in PRE_COPY and STOP_COPY. */
int64_t migration_read(struct device *dev, uint8_t *data, uint32_t size);
/* -EINVAL but in RESUMING, and above the limit (logged); -ENOMEM. */
int migration_write(struct device *dev, const uint8_t *data, uint32_t size);

#endif
