/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * filemap - files of a client mapped into this process, by (device, inode, access). Runs on the device's thread.
 */
#include "core/pci/filemap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/base/origin.h"

/* Room to grow is made for files up to here. */
#define ROOM_MAX (UINT64_C(1) << 40)
#define ROOM_MIN (UINT64_C(1) << 20)

#define complain(maps, ...) log_limited((maps)->limit, (maps)->who, LOG_WARN, "DMA_MAP: " __VA_ARGS__)

static uint32_t bucket_of(const struct filemaps *maps, dev_t dev, ino_t ino)
{
    uint64_t key = ((uint64_t)ino ^ ((uint64_t)dev << 40)) * UINT64_C(0x9e3779b97f4a7c15);

    return (uint32_t)(key >> 32) & (maps->nbuckets - 1);
}

static dev_t device_of(const struct statx *file)
{
    return makedev(file->stx_dev_major, file->stx_dev_minor);
}

static struct filemap *find(const struct filemaps *maps, const struct statx *file, bool write)
{
    dev_t dev = device_of(file);
    struct filemap *map = maps->nbuckets ? maps->buckets[bucket_of(maps, dev, file->stx_ino)] : NULL;

    while (map && (map->dev != dev || map->ino != file->stx_ino || map->write != write))
        map = map->next;
    return map;
}

static void unlist(struct filemaps *maps, struct filemap *map)
{
    struct filemap **link = &maps->buckets[bucket_of(maps, map->dev, map->ino)];

    while (*link != map)
        link = &(*link)->next;
    *link = map->next;
    map->listed = false;
    maps->nlisted--;
}

static void enlist(struct filemaps *maps, struct filemap *map)
{
    struct filemap **bucket = &maps->buckets[bucket_of(maps, map->dev, map->ino)];

    map->next = *bucket;
    *bucket = map;
    map->listed = true;
    maps->nlisted++;
}

/* Makes the table fit one more. */
static int reserve(struct filemaps *maps)
{
    struct filemap **former = maps->buckets, **fresh;
    uint32_t nformer = maps->nbuckets, n = nformer ? nformer * 2 : 16;

    if (maps->nlisted < nformer)
        return 0;
    fresh = calloc(n, sizeof *fresh);
    if (!fresh)
        return -ENOMEM;
    maps->buckets = fresh;
    maps->nbuckets = n;
    maps->nlisted = 0;
    for (uint32_t i = 0; i < nformer; i++) {
        for (struct filemap *map = former[i], *next; map; map = next) {
            next = map->next;
            enlist(maps, map);
        }
    }
    free(former);
    return 0;
}

/*
 * 0, or -errno where the fd cannot serve this region. One whose file is mapped already is only compared with that: it
 * is no FUSE file, and what one of the client's descriptors allows it has for all.
 */
static int check(struct filemaps *maps, int fd, uint64_t offset, uint64_t size, const struct statx *file)
{
    if (!S_ISREG(file->stx_mode)) {
        complain(maps, "fd %d is not a regular file (mode 0%o)", fd, (unsigned)file->stx_mode);
        return -EINVAL;
    }
    if (file->stx_size > INT64_MAX || offset > file->stx_size || size > file->stx_size - offset) {
        complain(maps, "offset 0x%llx, size 0x%llx: the file has only 0x%llx bytes", (unsigned long long)offset,
                 (unsigned long long)size, (unsigned long long)file->stx_size);
        return -EINVAL;
    }
    return 0;
}

/* The same, for what is to be mapped. */
static int check_new(struct filemaps *maps, int fd, bool write, const struct statx *file)
{
    const char *objection = origin_objection(fd, file);
    int mode = fcntl(fd, F_GETFL);

    if (mode < 0 || (mode & O_PATH) || (mode & O_ACCMODE) == O_WRONLY || (write && (mode & O_ACCMODE) != O_RDWR)) {
        complain(maps, "the region is %s, but its fd was not opened so", write ? "writeable" : "readable");
        return -EACCES;
    }
    if (objection) {
        complain(maps, "fd %d is not taken: %s, whose pages may never come; a memfd or a file in /dev/shm is", fd,
                 objection);
        return -EINVAL;
    }
    return 0;
}

/* The page size of hugetlbfs files is their own: nothing smaller can be mapped, or replaced, there. */
static uint64_t page_of(int fd)
{
    struct statfs fs;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    if (fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC && fs.f_bsize > 0 && (uint64_t)fs.f_bsize > page)
        page = (uint64_t)fs.f_bsize;
    return page;
}

/* How much to map so that a file that grows step by step is mapped again only each time it has doubled. hugetlbfs gets
 * none: a writeable mapping there makes the file itself longer. */
static uint64_t with_room(uint64_t size, uint64_t page)
{
    uint64_t room = ROOM_MIN;

    if (size > ROOM_MAX || page > (uint64_t)sysconf(_SC_PAGESIZE))
        return (size + (page - 1)) & ~(page - 1);
    while (room < size)
        room *= 2;
    return room;
}

/* base, offset and size of the mapping; 0 or -errno, not logged. */
static int map_part(struct filemaps *maps, struct filemap *map, int fd, uint64_t offset, uint64_t size, uint64_t page)
{
    int prot = PROT_READ | (map->write ? PROT_WRITE : 0);
    void *base;

    if (size > FILEMAP_MAX_BYTES - maps->mapped || maps->nmaps >= FILEMAP_MAX_MAPS)
        return -ENOMEM;
    base = mmap(NULL, size, prot, MAP_SHARED | MAP_NORESERVE, fd, (off_t)offset);
    if (base == MAP_FAILED)
        return errno == EPERM ? -EACCES : -errno; /* EPERM: sealed against writing */
    map->area = fault_watch_pages(base, size, prot, page);
    if (!map->area) {
        munmap(base, size);
        return -ENOMEM;
    }
    madvise(base, size, MADV_DONTDUMP); /* a core file is not the place for a guest's memory */
    madvise(base, size, MADV_DONTFORK);
    map->base = base;
    map->offset = offset;
    map->size = size;
    maps->nmaps++;
    maps->mapped += size;
    return 0;
}

/* former: what has the file's place in the table so far, or NULL. Its regions keep it. */
static int map_file(struct filemaps *maps, struct filemap *map, struct filemap *former, int fd, uint64_t offset,
                    uint64_t size, uint64_t file_size)
{
    uint64_t page = page_of(fd), first = offset & ~(page - 1);
    int result = -ENOMEM;

    if (file_size <= FILEMAP_MAX_BYTES) {
        result = map_part(maps, map, fd, 0, with_room(file_size, page), page);
        if (result == 0) {
            if (former)
                unlist(maps, former);
            enlist(maps, map);
        }
    }
    if (result == -ENOMEM)
        result = map_part(maps, map, fd, first, ((offset - first + size) + (page - 1)) & ~(page - 1), page);
    if (result == -ENOMEM)
        complain(maps, "offset 0x%llx, size 0x%llx: no address space (%u files with 0x%llx bytes are mapped)",
                 (unsigned long long)offset, (unsigned long long)size, maps->nmaps, (unsigned long long)maps->mapped);
    else if (result)
        complain(maps, "offset 0x%llx, size 0x%llx: mmap: %s", (unsigned long long)offset, (unsigned long long)size,
                 strerror(-result));
    return result;
}

int filemap_get(struct filemaps *maps, int fd, uint64_t offset, uint64_t size, bool write, struct filemap **out)
{
    struct statx file;
    struct filemap *map, *former;
    int result = origin_look(fd, &file);

    if (result) {
        complain(maps, "fd %d: %s", fd, strerror(-result));
        return result == -EBADF ? -EINVAL : result;
    }
    result = check(maps, fd, offset, size, &file);
    if (result)
        return result;
    former = find(maps, &file, write);
    if (former && offset + size <= former->size && !filemap_lost(former, former->base + offset, size)) {
        former->count++;
        *out = former;
        return 0;
    }
    result = check_new(maps, fd, write, &file);
    if (result)
        return result;
    /* The file has outgrown its mapping, or these pages of it are zeros by now: it is mapped anew. */
    map = calloc(1, sizeof *map);
    if (!map || reserve(maps)) {
        complain(maps, "out of memory");
        free(map);
        return -ENOMEM;
    }
    map->count = 1;
    map->write = write;
    map->dev = device_of(&file);
    map->ino = file.stx_ino;
    result = map_file(maps, map, former, fd, offset, size, file.stx_size);
    if (result) {
        free(map);
        return result;
    }
    *out = map;
    return 0;
}

void filemap_put(struct filemaps *maps, struct filemap *map)
{
    if (--map->count)
        return;
    if (map->listed)
        unlist(maps, map);
    fault_unwatch(map->area);
    munmap(map->base, map->size);
    maps->nmaps--;
    maps->mapped -= map->size;
    free(map);
}

void filemap_done(struct filemaps *maps)
{
    free(maps->buckets);
    maps->buckets = NULL;
    maps->nbuckets = 0;
}
