/* SPDX-License-Identifier: BSD-3-Clause */
/* migration - the state machine of VFIO migration: see migration.h. Runs on the device's thread. */
#include "core/device/migration.h"

#include <errno.h>
#include <string.h>

#include "core/device/device.h"

int migration_init(struct device *dev)
{
    const struct vfu_plugin *table = &dev->plugin->table;
    const struct vfu_migration_ops *ops = NULL;

    dev->migration.state = MIGRATION_RUNNING;
    if (!(dev->description.caps & VFU_CAP_MIGRATION))
        return 0;
    if (VFU_HAS(table, extension))
        ops = table->extension(VFU_EXT_MIGRATION);
    if (ops && (!VFU_HAS(ops, save) || !VFU_HAS(ops, load))) {
        log_error(dev->name, "its extension %s has no %s", VFU_EXT_MIGRATION, VFU_HAS(ops, save) ? "load" : "save");
        return -ENOEXEC;
    }
    dev->migration.ops = ops;
    return 0;
}

void migration_reset(struct migration *migration)
{
    image_free(&migration->data);
    migration->at = migration->limit = 0;
    migration->spoiled = false;
    migration->state = MIGRATION_RUNNING;
}

const char *migration_name(uint32_t state)
{
    static const char *const names[MIGRATION_STATES] = {
        "ERROR", "STOP", "RUNNING", "STOP_COPY", "RESUMING", "RUNNING_P2P", "PRE_COPY", "PRE_COPY_P2P",
    };

    return state < MIGRATION_STATES ? names[state] : "no state";
}

bool migration_stops(uint32_t state)
{
    return state != MIGRATION_RUNNING && state != MIGRATION_PRE_COPY;
}

/* ---- arcs ---- */

static int stop(struct device *dev)
{
    device_freeze(dev);
    return 0;
}

static int start(struct device *dev)
{
    device_thaw(dev);
    return 0;
}

static int nothing(struct device *dev)
{
    (void)dev;
    return 0;
}

static int begin_copy(struct device *dev)
{
    struct migration *m = &dev->migration;
    int error = image_save(dev, &m->data);

    m->at = 0;
    if (error)
        image_free(&m->data);
    return error;
}

static int stop_and_copy(struct device *dev)
{
    int error;

    device_freeze(dev);
    error = begin_copy(dev);
    if (error)
        device_thaw(dev);
    return error;
}

static int end_copy(struct device *dev)
{
    image_free(&dev->migration.data);
    return 0;
}

static int begin_resume(struct device *dev)
{
    dev->migration.limit = image_limit(dev);
    dev->migration.spoiled = false;
    return 0;
}

static int end_resume(struct device *dev)
{
    struct migration *m = &dev->migration;
    struct image data = m->data;
    bool clean = true;
    int error = 0;

    m->data = (struct image){ 0 };
    if (data.size)
        error = image_load(dev, data.data, data.size, &clean);
    else if (m->spoiled)
        error = -EINVAL;
    image_free(&data);
    m->spoiled = error != 0;
    if (!clean) {
        log_limited(&m->limited, dev->name, LOG_WARN,
                    "what the plugin has loaded of it cannot be taken back: the device is in ERROR until it is reset");
        m->state = MIGRATION_ERROR;
    }
    return error;
}

static const struct arc {
    uint32_t from, to;
    int (*go)(struct device *dev);
} arcs[] = {
    { MIGRATION_RUNNING, MIGRATION_STOP, stop },
    { MIGRATION_STOP, MIGRATION_RUNNING, start },
    { MIGRATION_RUNNING, MIGRATION_PRE_COPY, nothing },
    { MIGRATION_PRE_COPY, MIGRATION_RUNNING, nothing },
    { MIGRATION_PRE_COPY, MIGRATION_STOP_COPY, stop_and_copy },
    { MIGRATION_STOP, MIGRATION_STOP_COPY, begin_copy },
    { MIGRATION_STOP_COPY, MIGRATION_STOP, end_copy },
    { MIGRATION_STOP, MIGRATION_RESUMING, begin_resume },
    { MIGRATION_RESUMING, MIGRATION_STOP, end_resume },
};
#define ARCS (sizeof arcs / sizeof arcs[0])

static const struct arc *find_arc(uint32_t from, uint32_t to)
{
    for (size_t i = 0; i < ARCS; i++) {
        if (arcs[i].from == from && arcs[i].to == to)
            return &arcs[i];
    }
    return NULL;
}

/*
 * The arc to take first. Where there is none that leads straight to the end, all ways go through RUNNING and STOP, the
 * only states that may stand inside of a way: from STOP on to RUNNING, from all others back to the nearer of the two.
 */
static const struct arc *first_arc(uint32_t from, uint32_t to)
{
    static const uint32_t back[MIGRATION_STATES] = {
        [MIGRATION_STOP] = MIGRATION_RUNNING,     [MIGRATION_RUNNING] = MIGRATION_STOP,
        [MIGRATION_STOP_COPY] = MIGRATION_STOP,   [MIGRATION_RESUMING] = MIGRATION_STOP,
        [MIGRATION_PRE_COPY] = MIGRATION_RUNNING,
    };
    const struct arc *arc = find_arc(from, to);

    return arc ? arc : find_arc(from, back[from]);
}

/* A state that this device knows, and that can be asked for. */
static bool can_be_set(uint32_t state)
{
    return state == MIGRATION_STOP || state == MIGRATION_RUNNING || state == MIGRATION_STOP_COPY ||
           state == MIGRATION_RESUMING || state == MIGRATION_PRE_COPY;
}

int migration_set(struct device *dev, uint32_t state)
{
    struct migration *m = &dev->migration;

    if (!can_be_set(state) || m->state == MIGRATION_ERROR)
        return -EINVAL;
    /* The specification's own exception. */
    if (m->state == MIGRATION_STOP_COPY && state == MIGRATION_PRE_COPY)
        return -EINVAL;
    while (m->state != state) {
        const struct arc *arc = first_arc(m->state, state);
        int error = arc->go(dev);

        if (error)
            return error;
        m->state = arc->to;
    }
    return 0;
}

/* ---- data ---- */

int64_t migration_read(struct device *dev, uint8_t *data, uint32_t size)
{
    struct migration *m = &dev->migration;
    uint64_t left;

    if (m->state == MIGRATION_PRE_COPY)
        return 0;
    if (m->state != MIGRATION_STOP_COPY)
        return -EINVAL;
    left = m->data.size - m->at;
    if (size > left)
        size = (uint32_t)left;
    memcpy(data, m->data.data + m->at, size);
    m->at += size;
    return size;
}

int migration_write(struct device *dev, const uint8_t *data, uint32_t size)
{
    struct migration *m = &dev->migration;

    if (m->state != MIGRATION_RESUMING)
        return -EINVAL;
    if (size > m->limit - m->data.size) {
        log_limited(&m->limited, dev->name, LOG_WARN,
                    "the saved state is refused: no image of this device has more than %llu bytes",
                    (unsigned long long)m->limit);
        return -EINVAL;
    }
    return image_append(&m->data, data, size);
}
