/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-rng - the entropy device of virtio (5.4): one queue, whose writable buffers it fills with random bytes.
 * examples/virtio-rng.lua is the same device as a script.
 *
 * The bytes come from getrandom(2), or from a generator that `seed` starts, for tests. Runs on its device's thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <vfu/virtio.h>

#define FILL 4096u /* bytes that one chain gets at most: a driver that wants more asks again */

struct rng {
    struct vfu_virtio v; /* first: the callbacks' self */
    uint64_t seed, state;
    struct vfu_virtio_io io; /* of the chain that is being filled: one at a time */
    uint8_t bytes[FILL];
};

/* xorshift64*: good enough to be recognised, not to be a secret. */
static uint64_t next(struct rng *rng)
{
    rng->state ^= rng->state >> 12;
    rng->state ^= rng->state << 25;
    rng->state ^= rng->state >> 27;
    return rng->state * UINT64_C(0x2545f4914f6cdd1d);
}

static bool fill(struct rng *rng, size_t n)
{
    size_t done = 0;

    if (rng->seed) {
        for (size_t i = 0; i < n; i++)
            rng->bytes[i] = (uint8_t)(next(rng) >> 56);
        return true;
    }
    while (done < n) {
        ssize_t got = getrandom(rng->bytes + done, n - done, 0);

        if (got < 0 && errno != EINTR)
            return false;
        done += got > 0 ? (size_t)got : 0;
    }
    return true;
}

static void filled(struct vfu_virtio_io *io, int32_t status)
{
    if (status == -ECANCELED)
        return; /* and so is the chain */
    if (status)
        vfu_guest_errorf(io->chain->q->dev->host, "a buffer cannot be written: %s", strerror(-status));
    vfu_virtio_done(io->chain, status ? 0 : (uint32_t)(uintptr_t)io->user);
}

/* 5.4.6: the driver gives writable buffers only, and gets one byte or more. */
static void on_chain(void *self, struct vfu_virtq *q, struct vfu_virtio_chain *chain)
{
    struct rng *rng = self;
    size_t n = chain->writable < FILL ? (size_t)chain->writable : FILL;
    int32_t status;

    if (chain->nreadable || !n) {
        vfu_virtio_broken(q->dev, "an entropy request has a buffer for reading, or none");
        return;
    }
    if (!fill(rng, n)) {
        q->dev->host->log(q->dev->host, VFU_LOG_ERROR, "getrandom gives nothing");
        vfu_virtio_broken(q->dev, "there is no entropy");
        return;
    }
    rng->io = (struct vfu_virtio_io){ .chain = chain, .flags = VFU_DMA_WRITE, .len = n, .buf = rng->bytes, .done = filled,
                                      .user = (void *)n };
    status = vfu_virtio_submit(&rng->io);
    if (status != 1)
        filled(&rng->io, status);
}

static void on_driver(void *self, bool ready)
{
    struct rng *rng = self;

    if (ready)
        rng->state = rng->seed;
}

static int32_t describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    static const struct vfu_virtio_queue_model queues[] = { { .name = "requests", .size = 256, .depth = 1 } };
    static const struct vfu_virtio_model model = {
        .id = VFU_VIRTIO_ID_RNG, .queues = queues, .nqueues = 1, .ops = { .chain = on_chain, .driver = on_driver },
    };
    struct rng *rng = calloc(1, sizeof *rng);
    int32_t status;
    int64_t seed;

    (void)params;
    if (!rng)
        return -ENOMEM;
    status = vfu_virtio_describe(&rng->v, host, &model, desc);
    if (status) {
        free(rng);
        return status;
    }
    if (host->param_int(host, "seed", &seed) == 0)
        rng->seed = rng->state = (uint64_t)seed;
    desc->self = rng;
    desc->doc = "virtio entropy device: the guest's /dev/hwrng";
    return 0;
}

static int32_t create(const struct vfu_host *host, const struct vfu_params *params, void **self)
{
    (void)params;
    return vfu_virtio_create(*self, host, *self);
}

static void destroy(void *self)
{
    struct rng *rng = self;

    if (rng)
        vfu_virtio_destroy(&rng->v);
    free(rng);
}

static int32_t on_save(void *self, struct vfu_sink *sink)
{
    struct rng *rng = self;
    int32_t status = sink->write(sink, &rng->state, sizeof rng->state);

    return status ? status : vfu_virtio_save(self, sink);
}

static int32_t on_load(void *self, struct vfu_source *source)
{
    struct rng *rng = self;
    int32_t status = source->read(source, &rng->state, sizeof rng->state);

    return status ? status : vfu_virtio_load(self, source);
}

static const void *extension(const char *id)
{
    static const struct vfu_regmap_ops regmap = {
        .struct_size = sizeof regmap, .read = vfu_virtio_reg_read, .write = vfu_virtio_reg_write
    };
    static const struct vfu_migration_ops migration = {
        .struct_size = sizeof migration, .save = on_save, .load = on_load
    };

    if (strcmp(id, VFU_EXT_MIGRATION) == 0)
        return &migration;
    return strcmp(id, VFU_EXT_REGMAP) == 0 ? &regmap : NULL;
}

const struct vfu_plugin *vfu_plugin_entry(void)
{
    static const struct vfu_param params[] = {
        { .name = "seed", .doc = "not 0: the bytes are those of a generator that starts with it, the same each time",
          .type = VFU_PARAM_INT, .fallback = "0" },
    };
    static const struct vfu_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi_version = VFU_ABI_VERSION,
        .caps = VFU_VIRTIO_CAPS,
        .name = "virtio-rng",
        .version = VFU_SDK_VERSION,
        .summary = "virtio entropy device",
        .sdk = VFU_SDK_VERSION,
        .params = params,
        .nparams = 1,
        .param_size = sizeof params[0],
        .describe = describe,
        .create = create,
        .destroy = destroy,
        .reset = vfu_virtio_reset,
        .event = vfu_virtio_event,
        .detach = vfu_virtio_detach,
        .quiesce = vfu_virtio_quiesce,
        .resume = vfu_virtio_resume,
        .extension = extension,
        .doorbell = vfu_virtio_doorbell,
    };

    return &plugin;
}
