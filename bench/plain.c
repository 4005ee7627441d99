/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plain - the device that measurements are made with: a register without hook, lock or doorbell in its BAR, and DMA by
 * the messages alone, without a look at the data. Where the devices of the tests have more, their ratios say what that
 * costs. Runs on its device's thread; the DMA op and its buffer are the instance's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <vfu/plugin.h>

#include "bench/bench.h"

enum { PLAIN, READS, WRITES };

struct plain {
    const struct vfu_host *host;
    uint64_t left;
    struct vfu_dma_op op;
    uint8_t buffer[BENCH_DMA_SIZE];
};

#define REG(id, at, kind) .name = #id, .offset = (at), .size = 4, .access = (kind), .group = VFU_NONE, .hook = (id)

static const struct vfu_reg plain_regs[] = {
    [PLAIN] = { REG(PLAIN, BENCH_REGISTER, VFU_ACCESS_RW) },
    [READS] = { REG(READS, BENCH_START_READS, VFU_ACCESS_WO), .flags = VFU_REG_HOOK_WRITE,
                .doc = "so many DMA reads of 4 KiB, one by one" },
    [WRITES] = { REG(WRITES, BENCH_START_WRITES, VFU_ACCESS_WO), .flags = VFU_REG_HOOK_WRITE,
                 .doc = "so many DMA writes of 4 KiB, one by one" },
};

static const struct vfu_regmap plain_map = {
    .struct_size = sizeof plain_map,
    .regs = plain_regs,
    .nregs = sizeof plain_regs / sizeof plain_regs[0],
    .reg_size = sizeof plain_regs[0],
};

static void done(void *self, struct vfu_dma_op *op, int32_t status);

static void next(struct plain *plain)
{
    int32_t status = plain->host->dma_submit(plain->host, &plain->op);

    if (status)
        done(plain, &plain->op, status);
}

static void done(void *self, struct vfu_dma_op *op, int32_t status)
{
    struct plain *plain = self;

    plain->left = status ? 0 : plain->left - 1;
    if (status && status != -ECANCELED)
        vfu_logf(plain->host, VFU_LOG_ERROR, "DMA at %#llx: error %d", (unsigned long long)op->addr, -status);
    if (plain->left)
        next(plain);
}

static int32_t on_write(void *self, struct vfu_reg_call *call)
{
    struct plain *plain = self;

    if (plain->left || !call->value)
        return 0;
    plain->left = call->value;
    plain->op = (struct vfu_dma_op){
        .struct_size = sizeof plain->op,
        .flags = call->hook == WRITES ? VFU_DMA_WRITE : 0,
        .addr = BENCH_DMA_AREA,
        .len = BENCH_DMA_SIZE,
        .buf = plain->buffer,
        .done = done,
    };
    next(plain);
    return 0;
}

static int32_t describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    static const struct vfu_bar bars[] = { { .index = 0, .size = 4096, .access_sizes = 4 } };

    (void)host;
    (void)params;
    desc->caps = VFU_CAP_DMA;
    desc->vendor = 0x1234;
    desc->device = 0x7e02;
    desc->class_code = 0x00ff00;
    desc->bars = bars;
    desc->nbars = 1;
    desc->bar_size = sizeof bars[0];
    desc->regmap = &plain_map;
    return 0;
}

static int32_t create(const struct vfu_host *host, const struct vfu_params *params, void **self)
{
    struct plain *plain = calloc(1, sizeof *plain);

    (void)params;
    if (!plain)
        return -ENOMEM;
    plain->host = host;
    *self = plain;
    return 0;
}

static void destroy(void *self)
{
    free(self);
}

static const void *extension(const char *id)
{
    static const struct vfu_regmap_ops ops = { .struct_size = sizeof ops, .write = on_write };

    return strcmp(id, VFU_EXT_REGMAP) == 0 ? &ops : NULL;
}

const struct vfu_plugin *vfu_plugin_entry(void)
{
    static const struct vfu_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi_version = VFU_ABI_VERSION,
        .caps = VFU_CAP_DMA,
        .name = "plain",
        .version = VFU_SDK_VERSION,
        .summary = "What measurements are made with",
        .sdk = VFU_SDK_VERSION,
        .describe = describe,
        .create = create,
        .destroy = destroy,
        .extension = extension,
    };

    return &plugin;
}
