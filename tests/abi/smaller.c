/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * smaller - a plugin of an SDK that knew less than any released one: its tables and array elements end early, each at a
 * page that cannot be read. What they lack must count as absent. Runs on its device's thread.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vfu/plugin.h>

#define UP_TO(type, member) offsetof(struct type, member)

/* A copy of n elements of `size` bytes, cut to `cut`, the last of which ends where memory does. Kept for good. */
static void *at_the_edge(const void *from, size_t n, size_t size, size_t cut)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *room = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *to = room + page - n * cut;

    if (room == MAP_FAILED || mprotect(room + page, page, PROT_NONE))
        abort();
    for (size_t i = 0; i < n; i++)
        memcpy(to + i * cut, (const char *)from + i * size, cut);
    return to;
}

static int32_t describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    static const struct vfu_reg regs[] = {
        { .name = "ID", .offset = 0, .size = 4, .group = VFU_NONE, .access = VFU_ACCESS_RO, .reset = 0x5a110001 },
        { .name = "SCRATCH", .offset = 4, .size = 4, .group = VFU_NONE },
        { .name = "FLAGS", .offset = 8, .size = 4, .group = VFU_NONE, .access = VFU_ACCESS_W1C, .reset = 0xff },
    };
    static const struct vfu_bar bars[] = { { .index = 0, .size = 4096, .access_sizes = 4 } };
    struct vfu_regmap map = { .struct_size = UP_TO(vfu_regmap, groups), .nregs = 3, .reg_size = UP_TO(vfu_reg, hook) };

    (void)host;
    (void)params;
    map.regs = at_the_edge(regs, 3, sizeof regs[0], UP_TO(vfu_reg, hook));
    desc->vendor = 0x1234;
    desc->device = 0x0002;
    desc->nbars = 1;
    desc->bar_size = UP_TO(vfu_bar, unmapped);
    desc->bars = at_the_edge(bars, 1, sizeof bars[0], UP_TO(vfu_bar, unmapped));
    desc->regmap = at_the_edge(&map, 1, sizeof map, UP_TO(vfu_regmap, groups));
    return 0;
}

static int32_t create(const struct vfu_host *host, const struct vfu_params *params, void **self)
{
    (void)host;
    (void)params;
    (void)self;
    return 0;
}

const struct vfu_plugin *vfu_plugin_entry(void)
{
    struct vfu_plugin plugin = {
        .struct_size = UP_TO(vfu_plugin, destroy),
        .abi_version = VFU_ABI_MAJOR << 16,
        .name = "smaller",
        .version = "1",
        .summary = "Tables that end early",
        .describe = describe,
        .create = create,
    };

    return at_the_edge(&plugin, 1, sizeof plugin, plugin.struct_size);
}
