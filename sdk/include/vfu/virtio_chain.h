/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfu/virtio_chain.h - chains of buffers, a part of vfu/virtio.h: the lists that they are in, whose they are, and copying
 * to and from what they speak of. The rings that they come from are in vfu/virtio_ring.h. On the device's thread.
 */
#ifndef VFU_VIRTIO_CHAIN_H
#define VFU_VIRTIO_CHAIN_H

/* 2.7.5, 2.7.6, 2.7.8 */
#define VFU_VIRTQ_DESC_NEXT 1u
#define VFU_VIRTQ_DESC_WRITE 2u
#define VFU_VIRTQ_DESC_INDIRECT 4u
#define VFU_VIRTQ_NO_INTERRUPT 1u
#define VFU_VIRTQ_RING_AT 4u /* of both rings, behind flags and idx */

enum { VFU_VIRTQ_IDLE, VFU_VIRTQ_INDEX, VFU_VIRTQ_HEADS, VFU_VIRTQ_DESC, VFU_VIRTQ_TABLE, VFU_VIRTQ_EVENT };
enum { VFU_VIRTQ_REST, VFU_VIRTQ_ELEMS, VFU_VIRTQ_PUBLISH, VFU_VIRTQ_SIGNAL };
enum { VFU_VIRTQ_FREE, VFU_VIRTQ_TAKEN, VFU_VIRTQ_HELD, VFU_VIRTQ_OVER };

VFU_VIRTIO_API void vfu_virtio_signal_queue(struct vfu_virtq *q);
VFU_VIRTIO_API void vfu_virtio_ended(struct vfu_virtio *v);
VFU_VIRTIO_API void vfu_virtq_pump(struct vfu_virtq *q);
VFU_VIRTIO_API void vfu_virtq_flush(struct vfu_virtq *q);

VFU_VIRTIO_API bool vfu_virtq_runs(const struct vfu_virtq *q)
{
    const struct vfu_virtio *v = q->dev;

    return q->enabled && (v->status & VFU_VIRTIO_DRIVER_OK) && !v->stopped && !v->resetting && !v->broken;
}

VFU_VIRTIO_API void vfu_virtq_broken(struct vfu_virtq *q, const char *why, uint64_t value)
{
    char text[160];

    snprintf(text, sizeof text, "queue %s: %s (%#llx)", q->dev->model.queues[q->index].name, why,
             (unsigned long long)value);
    vfu_virtio_broken(q->dev, text);
}
/* ---- chains --------------------------------------------------------------------------------------------------------- */

VFU_VIRTIO_API void vfu_virtq_link(struct vfu_virtio_chain **first, struct vfu_virtio_chain **last,
                                   struct vfu_virtio_chain *chain)
{
    chain->next = NULL;
    chain->prev = *last;
    *(*last ? &(*last)->next : first) = chain;
    *last = chain;
}

VFU_VIRTIO_API void vfu_virtq_unlink(struct vfu_virtio_chain **first, struct vfu_virtio_chain **last,
                                     struct vfu_virtio_chain *chain)
{
    *(chain->prev ? &chain->prev->next : first) = chain->next;
    *(chain->next ? &chain->next->prev : last) = chain->prev;
    chain->next = chain->prev = NULL;
}

VFU_VIRTIO_API bool vfu_virtq_is_busy(const struct vfu_virtq *q, uint32_t head)
{
    return (q->busy[head / 8] >> head % 8 & 1) != 0;
}

VFU_VIRTIO_API void vfu_virtq_free(struct vfu_virtq *q, struct vfu_virtio_chain *chain)
{
    chain->state = VFU_VIRTQ_FREE;
    chain->npieces = chain->nreadable = chain->len = 0;
    chain->readable = chain->writable = 0;
    chain->user = NULL;
    chain->prev = NULL;
    chain->next = q->spare;
    q->spare = chain;
}

VFU_VIRTIO_API struct vfu_virtio_chain *vfu_virtq_new(struct vfu_virtq *q, uint16_t head)
{
    struct vfu_virtio_chain *chain = q->spare;

    if (!chain)
        return NULL;
    q->spare = chain->next;
    chain->next = NULL;
    chain->state = VFU_VIRTQ_TAKEN;
    chain->head = head;
    return chain;
}

/* From here on the head is the device's, until it is in the used ring. */
VFU_VIRTIO_API void vfu_virtq_claim(struct vfu_virtq *q, const struct vfu_virtio_chain *chain)
{
    q->busy[chain->head / 8] = (uint8_t)(q->busy[chain->head / 8] | 1u << chain->head % 8);
    q->nbusy++;
}

VFU_VIRTIO_API void vfu_virtq_release(struct vfu_virtq *q, struct vfu_virtio_chain *chain)
{
    q->busy[chain->head / 8] = (uint8_t)(q->busy[chain->head / 8] & ~(1u << chain->head % 8));
    q->nbusy--;
    vfu_virtq_free(q, chain);
}

/* Forgets all that it knows of the driver's memory, but not what the driver has set up. */
VFU_VIRTIO_API void vfu_virtq_drop(struct vfu_virtq *q)
{
    q->spare = NULL;
    for (uint32_t i = q->max; i--;)
        vfu_virtq_free(q, &q->chains[i]);
    memset(q->busy, 0, q->max / 8 + 1u);
    q->held = q->held_last = q->over = q->over_last = q->cur = NULL;
    q->nbusy = q->nover = q->inflight = 0;
    q->avail = q->last_avail = q->used = q->signalled = q->event = 0;
    q->event_known = q->signalled_known = q->again = q->rung = false;
    q->heads_ahead = q->descs_ahead = q->word_ahead = false;
    q->pop = VFU_VIRTQ_IDLE;
    q->push = VFU_VIRTQ_REST;
    q->nreplay = q->replay_at = q->nheads = q->heads_at = 0;
    q->epoch++;
}

/* Chains that the plugin has are taken away, and read again when the queue goes on. */
VFU_VIRTIO_API void vfu_virtq_requeue(struct vfu_virtq *q)
{
    uint32_t n = q->nreplay - q->replay_at;

    memmove(q->replay, q->replay + q->replay_at, n * sizeof q->replay[0]);
    while (q->held && n < q->max) {
        struct vfu_virtio_chain *chain = q->held;

        q->replay[n++] = chain->head;
        vfu_virtq_unlink(&q->held, &q->held_last, chain);
        vfu_virtq_release(q, chain);
    }
    q->nreplay = n;
    q->replay_at = q->inflight = 0;
    q->epoch++;
}

VFU_VIRTIO_API bool vfu_virtq_add(struct vfu_virtq *q, uint64_t addr, uint32_t len, bool write)
{
    struct vfu_virtio_chain *chain = q->cur;
    const char *wrong = NULL;

    if (!len)
        wrong = "a buffer has no bytes";
    else if (addr + (len - 1) < addr)
        wrong = "a buffer goes beyond the last address";
    else if (!write && chain->npieces > chain->nreadable)
        wrong = "a readable buffer follows a writable one";
    else if (chain->npieces >= VFU_VIRTIO_PIECES_MAX)
        wrong = "a chain has more buffers than any should have";
    else if (chain->readable + chain->writable + len > UINT32_MAX)
        wrong = "a chain has 4 GiB or more";
    if (wrong) {
        vfu_virtq_broken(q, wrong, addr);
        return false;
    }
    if (chain->npieces == chain->room) {
        uint32_t room = chain->room ? chain->room * 2 : 4;
        void *pieces = realloc(chain->pieces, room * sizeof *chain->pieces);

        if (!pieces) {
            vfu_virtq_broken(q, "no memory for a chain", room);
            return false;
        }
        chain->pieces = (struct vfu_virtio_piece *)pieces;
        chain->room = room;
    }
    chain->pieces[chain->npieces].addr = addr;
    chain->pieces[chain->npieces].len = len;
    chain->pieces[chain->npieces++].write = write;
    chain->nreadable += !write;
    *(write ? &chain->writable : &chain->readable) += len;
    return true;
}
/* ---- what is in a chain ------------------------------------------------------------------------------------------------- */

/* As much of [offset, offset + len) of the part as one piece has. 0: the part is shorter. */
VFU_VIRTIO_API uint32_t vfu_virtio_find(const struct vfu_virtio_chain *chain, bool write, uint64_t offset, uint64_t len,
                                        uint64_t *addr)
{
    uint32_t end = write ? chain->npieces : chain->nreadable;

    for (uint32_t i = write ? chain->nreadable : 0; i < end; i++) {
        const struct vfu_virtio_piece *piece = &chain->pieces[i];

        if (offset < piece->len) {
            *addr = piece->addr + offset;
            return piece->len - offset < len ? (uint32_t)(piece->len - offset) : (uint32_t)len;
        }
        offset -= piece->len;
    }
    return 0;
}

/* Goes on with it at io->offset, as far as it goes without a message. */
VFU_VIRTIO_API int32_t vfu_virtio_io_step(struct vfu_virtio_io *io, bool ask)
{
    const struct vfu_host *host = io->q->dev->host;
    bool write = (io->flags & VFU_DMA_WRITE) != 0;
    int32_t status;
    uint64_t addr;
    uint32_t n;

    while (io->len) {
        n = vfu_virtio_find(io->chain, write, io->offset, io->len, &addr);
        if (!n)
            return -EFAULT;
        status = write ? host->dma_write(host, addr, io->buf, n) : host->dma_read(host, addr, io->buf, n);
        if (status == -EWOULDBLOCK && ask) {
            io->op.struct_size = sizeof io->op;
            io->op.flags = io->flags & VFU_DMA_WRITE;
            io->op.addr = addr;
            io->op.len = n;
            io->op.buf = io->buf;
            status = host->dma_submit(host, &io->op);
            if (!status)
                io->q->dev->outstanding++;
            return status ? status : 1;
        }
        if (status)
            return status;
        io->offset += n;
        io->buf += n;
        io->len -= n;
    }
    return 0;
}

VFU_VIRTIO_API int32_t vfu_virtio_copy(const struct vfu_virtio_chain *chain, uint32_t flags, uint64_t offset, void *buf,
                                       uint64_t len)
{
    struct vfu_virtio_io io;

    memset(&io, 0, sizeof io);
    io.q = chain->q;
    io.chain = (struct vfu_virtio_chain *)(uintptr_t)chain;
    io.flags = flags;
    io.offset = offset;
    io.buf = (uint8_t *)buf;
    io.len = len;
    return vfu_virtio_io_step(&io, false);
}

VFU_VIRTIO_API int32_t vfu_virtio_read(const struct vfu_virtio_chain *chain, uint64_t offset, void *buf, uint64_t len)
{
    return vfu_virtio_copy(chain, 0, offset, buf, len);
}

VFU_VIRTIO_API int32_t vfu_virtio_write(const struct vfu_virtio_chain *chain, uint64_t offset, const void *buf,
                                        uint64_t len)
{
    return vfu_virtio_copy(chain, VFU_DMA_WRITE, offset, (void *)(uintptr_t)buf, len);
}

VFU_VIRTIO_API void vfu_virtio_io_done(void *self, struct vfu_dma_op *op, int32_t status)
{
    struct vfu_virtio_io *io = (struct vfu_virtio_io *)op->user;
    struct vfu_virtio *v = io->q->dev;

    (void)self;
    v->outstanding--;
    if (io->epoch != io->q->epoch || v->resetting)
        status = -ECANCELED;
    if (!status) {
        io->offset += op->len;
        io->buf += op->len;
        io->len -= op->len;
        status = vfu_virtio_io_step(io, true);
        if (status == 1)
            return;
    }
    io->done(io, status);
    vfu_virtio_ended(v);
}

VFU_VIRTIO_API int32_t vfu_virtio_submit(struct vfu_virtio_io *io)
{
    io->q = io->chain->q;
    io->epoch = io->q->epoch;
    memset(&io->op, 0, sizeof io->op);
    io->op.done = vfu_virtio_io_done;
    io->op.user = io;
    return vfu_virtio_io_step(io, true);
}

#endif
