/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * map - regions mapped into this process. What the server says of its file is checked before it is mapped. The thread
 * of its connection.
 */
#define _GNU_SOURCE
#include "sdk/client/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ull(x) ((unsigned long long)(x))
#define AREAS_ROOM 4096u /* more than a reply can name */

static void map_forget(struct maps *maps)
{
    for (uint32_t i = 0; i < maps->n; i++)
        munmap(maps->maps[i].mem, maps->maps[i].size);
    free(maps->maps);
    memset(maps, 0, sizeof *maps);
}

void map_close(struct vfuc *c)
{
    for (uint32_t i = 0; i < REGIONS; i++)
        map_forget(&c->maps[i]);
}

/* -EPROTO where the file is too short: the first access would raise SIGBUS. */
static int map_check(struct vfuc *c, const struct vfuc_region *region, const struct vfuc_area *area)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end = area->offset + area->size;
    struct stat st;

    if (end < area->offset || end > region->size || !area->size || region->offset > INT64_MAX - region->size)
        return conn_error(c, -EPROTO, "region %u of 0x%llx bytes: a mappable part at 0x%llx of 0x%llx bytes",
                          region->index, ull(region->size), ull(area->offset), ull(area->size));
    if ((area->offset | area->size | region->offset) % page)
        return conn_error(c, -EINVAL, "region %u: its part at 0x%llx of 0x%llx bytes is not made of pages of %llu",
                          region->index, ull(area->offset), ull(area->size), ull(page));
    if (fstat(region->fd, &st) < 0)
        return conn_error(c, -errno, "region %u: cannot look at its file: %s", region->index, strerror(errno));
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < region->offset + end)
        return conn_error(c, -EPROTO, "region %u: its file has 0x%llx bytes, 0x%llx would be mapped", region->index,
                          ull(st.st_size), ull(region->offset + end));
    return 0;
}

static int map_area(struct vfuc *c, const struct vfuc_region *region, const struct vfuc_area *area)
{
    struct maps *maps = &c->maps[region->index];
    int reads = region->flags & VFUC_REGION_READ ? PROT_READ : 0;
    int writes = region->flags & VFUC_REGION_WRITE ? PROT_WRITE : 0;
    int err = map_check(c, region, area);
    void *mem;

    if (err)
        return err;
    mem = mmap(NULL, area->size, reads | writes, MAP_SHARED, region->fd, (off_t)(region->offset + area->offset));
    if (mem == MAP_FAILED)
        return conn_error(c, -errno, "region %u: cannot map 0x%llx bytes at 0x%llx: %s", region->index,
                          ull(area->size), ull(area->offset), strerror(errno));
    maps->maps[maps->n++] = (struct vfuc_map){ area->offset, area->size, mem };
    return 0;
}

static int map_all(struct vfuc *c, const struct vfuc_region *region, const struct vfuc_area *areas)
{
    struct maps *maps = &c->maps[region->index];
    struct vfuc_area whole = { 0, region->size };
    uint32_t n = region->nareas ? region->nareas : 1;
    int err = 0;

    maps->maps = calloc(n, sizeof *maps->maps);
    if (!maps->maps)
        return conn_error(c, -ENOMEM, "out of memory");
    for (uint32_t i = 0; i < n && !err; i++)
        err = map_area(c, region, region->nareas ? &areas[i] : &whole);
    if (err)
        map_forget(maps);
    return err;
}

static int map_region(struct vfuc *c, uint32_t index)
{
    struct vfuc_area *areas = calloc(AREAS_ROOM, sizeof *areas);
    struct vfuc_region region = { .fd = -1 };
    int err;

    if (!areas)
        return conn_error(c, -ENOMEM, "out of memory");
    err = vfuc_region_info(c, index, &region, areas, AREAS_ROOM);
    if (!err && !(region.flags & VFUC_REGION_MMAP))
        err = conn_error(c, -ENODEV, "region %u cannot be mapped", index);
    else if (!err && region.fd < 0)
        err = conn_error(c, -EPROTO, "region %u: it can be mapped, but no file came with it", index);
    else if (!err)
        err = map_all(c, &region, areas);
    if (region.fd >= 0)
        close(region.fd);
    free(areas);
    return err;
}

int vfuc_map_region(struct vfuc *c, uint32_t index, struct vfuc_map *maps, uint32_t max)
{
    struct maps *have;
    int err = conn_ready(c);

    if (err)
        return err;
    if (index >= REGIONS)
        return conn_error(c, -EINVAL, "no region %u: 0 to %u are possible", index, REGIONS - 1);
    have = &c->maps[index];
    if (!have->n)
        err = map_region(c, index);
    if (err)
        return err;
    if (maps)
        memcpy(maps, have->maps, (have->n < max ? have->n : max) * sizeof *maps);
    return (int)have->n;
}

int vfuc_unmap_region(struct vfuc *c, uint32_t index)
{
    if (index >= REGIONS || !c->maps[index].n)
        return conn_error(c, -ENOENT, "region %u is not mapped", index);
    map_forget(&c->maps[index]);
    return 0;
}

void *vfuc_mapped(const struct vfuc *c, uint32_t index, uint64_t offset, uint64_t size)
{
    const struct maps *maps = index < REGIONS ? &c->maps[index] : NULL;

    for (uint32_t i = 0; maps && i < maps->n; i++) {
        const struct vfuc_map *map = &maps->maps[i];

        if (offset >= map->offset && offset - map->offset <= map->size && size <= map->size - (offset - map->offset))
            return (uint8_t *)map->mem + (offset - map->offset);
    }
    return NULL;
}
