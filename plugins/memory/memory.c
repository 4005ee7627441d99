/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory - a PCI function that is memory: BAR0, 64-bit and prefetchable, of `size` bytes. With mmap=on (the default)
 * the client maps it, and the host never sees an access; with mmap=off each access is a message.
 *
 * The memory is the host's, comes into being page by page, and outlives resets and clients, as that of a card would.
 * It is all that migration moves. Ids: see plugins/null/null.c. One thread; an instance is described once and then
 * only read.
 */
#include <errno.h>
#include <stdlib.h>

#include <vfu/plugin.h>

#define SIZE_MIN 65536
#define SIZE_LIMIT (INT64_C(1) << 30)

/* An instance of the description: what it says depends on the parameters. */
static int32_t describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    int64_t size = SIZE_MIN, mmap = 1;
    struct vfu_bar *bar;

    (void)params;
    host->param_int(host, "size", &size);
    host->param_int(host, "mmap", &mmap);
    if (size & (size - 1)) {
        vfu_logf(host, VFU_LOG_ERROR, "size=%lld: a BAR's size is a power of two", (long long)size);
        return -EINVAL;
    }
    bar = calloc(1, sizeof *bar);
    if (!bar)
        return -ENOMEM;
    bar->type = VFU_BAR_MEM64;
    bar->size = (uint64_t)size;
    bar->flags = VFU_BAR_RAM | VFU_BAR_PREFETCH | (mmap ? VFU_BAR_MMAP : 0);
    desc->caps = VFU_CAP_MIGRATION | (mmap ? VFU_CAP_MMAP : 0);
    desc->vendor = 0x1234;
    desc->device = 0x7e01;
    desc->class_code = 0x050000; /* memory controller, RAM */
    desc->bars = bar;
    desc->nbars = 1;
    desc->bar_size = sizeof *bar;
    desc->self = bar;
    return 0;
}

static int32_t create(const struct vfu_host *host, const struct vfu_params *params, void **self)
{
    (void)host;
    (void)params;
    (void)self; /* what describe made: destroy gives it back */
    return 0;
}

static void destroy(void *self)
{
    free(self);
}

const struct vfu_plugin *vfu_plugin_entry(void)
{
    static const struct vfu_param params[] = {
        { .name = "size", .doc = "bytes of BAR0, a power of two", .type = VFU_PARAM_INT, .fallback = "64K",
          .flags = VFU_PARAM_HAS_MIN | VFU_PARAM_HAS_MAX, .min = SIZE_MIN, .max = SIZE_LIMIT },
        { .name = "mmap", .doc = "the client may map BAR0", .type = VFU_PARAM_BOOL, .fallback = "on" },
    };
    static const struct vfu_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi_version = VFU_ABI_VERSION,
        .caps = VFU_CAP_MMAP | VFU_CAP_MIGRATION,
        .name = "memory",
        .version = VFU_SDK_VERSION,
        .summary = "A PCI function that is memory, mapped or not",
        .sdk = VFU_SDK_VERSION,
        .params = params,
        .nparams = sizeof params / sizeof params[0],
        .param_size = sizeof params[0],
        .describe = describe,
        .create = create,
        .destroy = destroy,
    };

    return &plugin;
}
