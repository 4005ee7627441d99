/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory - what the device may use of the client's memory, and the server's messages for it. A request is hostile
 * input: it reaches nothing but ranges that were mapped with memory behind them, and only in the direction allowed.
 * The thread of its connection.
 */
#define _GNU_SOURCE
#include "sdk/client/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u

_Static_assert(VFUC_DMA_READ == VFU_DMA_MAP_READABLE && VFUC_DMA_WRITE == VFU_DMA_MAP_WRITEABLE, "the wire's flags");

/* The first range that ends behind `address`, or nmemory. */
static uint32_t memory_find(const struct vfuc *c, uint64_t address)
{
    uint32_t low = 0, high = c->nmemory;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (c->memory[mid].address + (c->memory[mid].size - 1) < address)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int memory_insert(struct vfuc *c, const struct memory *m)
{
    uint32_t at = memory_find(c, m->address);

    if (c->nmemory == c->memory_room) {
        uint32_t room = c->memory_room ? c->memory_room * 2 : 16;
        struct memory *more = reallocarray(c->memory, room, sizeof *more);

        if (!more)
            return conn_error(c, -ENOMEM, "out of memory");
        c->memory = more;
        c->memory_room = room;
    }
    memmove(&c->memory[at + 1], &c->memory[at], (c->nmemory - at) * sizeof *m);
    c->memory[at] = *m;
    c->nmemory++;
    return 0;
}

static void memory_remove(struct vfuc *c, uint32_t at)
{
    if (c->memory[at].own)
        munmap(c->memory[at].mem, c->memory[at].size);
    c->nmemory--;
    memmove(&c->memory[at], &c->memory[at + 1], (c->nmemory - at) * sizeof c->memory[0]);
}

void memory_close(struct vfuc *c)
{
    while (c->nmemory)
        memory_remove(c, c->nmemory - 1);
}

static int memory_map(struct vfuc *c, const struct memory *m, int fd, uint64_t offset)
{
    struct vfu_msg_dma_map map = { sizeof map, m->flags & VFUC_DMA_RW, offset, m->address, m->size };
    int r;

    if (m->mem) {
        uint32_t at = memory_find(c, m->address);

        if (!m->size || m->address + (m->size - 1) < m->address)
            return conn_error(c, -EINVAL, "DMA_MAP: 0x%llx bytes at 0x%llx are not possible",
                              (unsigned long long)m->size, (unsigned long long)m->address);
        if (at < c->nmemory && c->memory[at].address <= m->address + (m->size - 1))
            return conn_error(c, -EEXIST, "DMA_MAP: 0x%llx overlaps memory at 0x%llx", (unsigned long long)m->address,
                              (unsigned long long)c->memory[at].address);
        /* Before the request: the server may use it as soon as it has answered. */
        r = memory_insert(c, m);
        if (r)
            return r;
    }
    r = call_simple(c, VFU_CMD_DMA_MAP, &map, sizeof map, &fd, fd >= 0, NULL, 0);
    if (r < 0 && m->mem) {
        uint32_t at = memory_find(c, m->address);

        if (at < c->nmemory) {
            c->memory[at].own = false;
            memory_remove(c, at);
        }
    }
    return r < 0 ? r : 0;
}

int vfuc_dma_map(struct vfuc *c, uint64_t address, uint64_t size, uint32_t flags, int fd, uint64_t offset, void *mem)
{
    struct memory m = { .address = address, .size = size, .flags = flags, .mem = mem };

    return memory_map(c, &m, fd, offset);
}

void memory_forget(struct vfuc *c, uint64_t address, uint64_t size)
{
    uint32_t at = memory_find(c, address);

    if (at < c->nmemory && c->memory[at].address == address && c->memory[at].size == size)
        memory_remove(c, at);
}

int vfuc_dma_unmap(struct vfuc *c, uint64_t address, uint64_t size)
{
    struct vfu_msg_dma_unmap unmap = { sizeof unmap, 0, address, size }, echo = unmap;
    int r = call_simple(c, VFU_CMD_DMA_UNMAP, &unmap, sizeof unmap, NULL, 0, &echo, sizeof echo);

    if (r < 0)
        return r;
    if ((r != 0 && r != (int)sizeof echo) || echo.address != address || echo.size != size)
        return conn_broken(c, -EPROTO, "DMA_UNMAP: %d bytes of reply that are not the request's", r);
    memory_forget(c, address, size);
    return 0;
}

int vfuc_memory_new(struct vfuc *c, uint64_t address, uint64_t size, uint32_t flags, void **mem)
{
    struct memory m = { .address = address, .size = size, .flags = flags, .own = true };
    int fd = -1, err = conn_ready(c);

    if (err)
        return err;
    if (!size || size % PAGE || address % PAGE || size > INT64_MAX || !(flags & VFUC_DMA_RW))
        return conn_error(c, -EINVAL,
                          "memory of 0x%llx bytes at 0x%llx: multiples of 4096, and a direction, are needed",
                          (unsigned long long)size, (unsigned long long)address);
    if (!(flags & VFUC_DMA_MESSAGES)) {
        fd = memfd_create("vfu-client", MFD_CLOEXEC);
        if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
            err =
                conn_error(c, -errno, "no memory file of 0x%llx bytes: %s", (unsigned long long)size, strerror(errno));
            goto out;
        }
    }
    m.mem = mmap(NULL, size, PROT_READ | PROT_WRITE, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
    if (m.mem == MAP_FAILED) {
        err = conn_error(c, -errno, "cannot map 0x%llx bytes: %s", (unsigned long long)size, strerror(errno));
        goto out;
    }
    err = memory_map(c, &m, fd, 0);
    if (err)
        munmap(m.mem, size);
    else
        *mem = m.mem;
out:
    if (fd >= 0)
        close(fd);
    return err;
}

int vfuc_memory_free(struct vfuc *c, uint64_t address)
{
    uint32_t at = memory_find(c, address);

    if (at == c->nmemory || c->memory[at].address != address || !c->memory[at].own)
        return conn_error(c, -ENOENT, "no memory was made at 0x%llx", (unsigned long long)address);
    return vfuc_dma_unmap(c, address, c->memory[at].size);
}

void vfuc_on_dma(struct vfuc *c, vfuc_dma_fn *fn, void *ctx)
{
    c->dma_fn = fn;
    c->dma_ctx = ctx;
}

void vfuc_dma_stats(const struct vfuc *c, uint64_t *requests, uint64_t *bytes)
{
    if (requests)
        *requests = c->dma_requests;
    if (bytes)
        *bytes = c->dma_bytes;
}

/* Every byte in some range that allows the direction, or nothing is copied. */
static int memory_copy(struct vfuc *c, bool write, uint64_t address, uint8_t *data, uint64_t size)
{
    uint32_t direction = write ? VFUC_DMA_WRITE : VFUC_DMA_READ, first = memory_find(c, address);

    if (address + (size - 1) < address)
        return -EFAULT;
    for (int pass = 0; pass < 2; pass++) {
        uint64_t at = address, left = size;

        for (uint32_t i = first; left; i++) {
            const struct memory *m = &c->memory[i];
            uint64_t n;

            if (i == c->nmemory || m->address > at || !(m->flags & direction))
                return -EFAULT;
            n = m->size - (at - m->address);
            n = n < left ? n : left;
            if (pass && write)
                memcpy(m->mem + (at - m->address), data + (at - address), n);
            else if (pass)
                memcpy(data + (at - address), m->mem + (at - m->address), n);
            at += n;
            left -= n;
        }
    }
    return 0;
}

static int memory_access(struct vfuc *c, const struct vfu_msg_header *header, const struct vfu_msg_dma_access *dma,
                         const uint8_t *body)
{
    bool write = header->command == VFU_CMD_DMA_WRITE;
    uint64_t expected = HEADER + sizeof *dma + (write ? dma->count : 0);

    if (!dma->count || dma->count > c->options.max_data_xfer_size || header->size != expected)
        return -EINVAL;
    if (!c->scratch) {
        c->scratch = malloc(c->options.max_data_xfer_size);
        if (!c->scratch)
            return -ENOMEM;
    }
    /* The hook may change the data it is handed: they are a copy. */
    if (write)
        memcpy(c->scratch, body + sizeof *dma, dma->count);
    if (c->dma_fn) {
        int r = c->dma_fn(c->dma_ctx, write, dma->address, c->scratch, dma->count);

        return r < 0 ? r : 0;
    }
    return memory_copy(c, write, dma->address, c->scratch, dma->count);
}

int memory_serve(struct vfuc *c, struct wire *wire, size_t size)
{
    struct vfu_msg_header header;
    struct vfu_msg_dma_access dma = { 0, 0 };
    const uint8_t *body = wire->rx + wire->head + HEADER;
    struct iovec iov[3];
    int n = 1, err = -ENOSYS;

    memcpy(&header, wire->rx + wire->head, sizeof header);
    if (header.command == VFU_CMD_DMA_READ || header.command == VFU_CMD_DMA_WRITE) {
        err = -EINVAL;
        if (size >= HEADER + sizeof dma) {
            memcpy(&dma, body, sizeof dma);
            err = memory_access(c, &header, &dma, body);
        }
    }
    wire_consume(wire, size);
    c->dma_requests++;
    if (!err)
        c->dma_bytes += dma.count;
    if (header.flags & VFU_MSG_NO_REPLY)
        return 0;
    header.flags = VFU_MSG_REPLY | (err ? VFU_MSG_ERROR : 0);
    header.error = (uint32_t)-err;
    header.size = HEADER;
    iov[0] = (struct iovec){ &header, HEADER };
    if (!err) {
        iov[n++] = (struct iovec){ &dma, sizeof dma };
        if (header.command == VFU_CMD_DMA_READ)
            iov[n++] = (struct iovec){ c->scratch, dma.count };
        header.size += (uint32_t)sizeof dma + (n == 3 ? (uint32_t)dma.count : 0);
    }
    /* What was collected to be sent stays collected: it waits for no reply of ours. */
    err = wire_send(wire, iov, n, NULL, 0, conn_deadline(c), NULL);
    if (err == -EPIPE || err == -ECONNRESET)
        return conn_broken(c, -ENOTCONN, "the server has closed the connection");
    if (err)
        return conn_broken(c, -EPROTO, "cannot answer %s: %s", call_name(header.command), strerror(-err));
    return 0;
}

int vfuc_serve(struct vfuc *c, uint64_t timeout_ns)
{
    uint64_t now = conn_now(), deadline = timeout_ns > UINT64_MAX - now ? VFUC_FOREVER : now + timeout_ns;
    int r = conn_ready(c);

    if (!r)
        r = call_flush(c);
    while (!r) {
        r = call_dispatch(c, conn_deadline(c));
        if (r)
            break;
        r = call_receive(c, deadline, -1);
        if (r == -ETIMEDOUT || (!r && timeout_ns && conn_late(deadline)))
            return 0;
    }
    return r;
}
