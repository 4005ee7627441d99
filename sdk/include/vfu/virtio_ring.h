/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfu/virtio_ring.h - split virtqueues (2.7), a part of vfu/virtio.h.
 *
 * Each queue has two state machines, one that takes chains from the available ring and one that puts them into the used
 * ring. A step begins by asking for memory, which is there at once or comes by message, and ends by looking at it: so it
 * is one code for both. All that a driver wrote is copied before it is looked at. On the device's thread.
 *
 * A message takes its time, several together take little more. So an index is asked for with the places of the ring and the
 * descriptors behind it, and written with the question whether the driver wants to be told. Messages are carried out in
 * order: what comes with an index is at least as new.
 */
#ifndef VFU_VIRTIO_RING_H
#define VFU_VIRTIO_RING_H

/* ---- memory --------------------------------------------------------------------------------------------------------- */

VFU_VIRTIO_API uint16_t vfu_virtq_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

VFU_VIRTIO_API uint32_t vfu_virtq_le32(const uint8_t *p)
{
    return (uint32_t)vfu_virtq_le16(p) | (uint32_t)vfu_virtq_le16(p + 2) << 16;
}

VFU_VIRTIO_API uint64_t vfu_virtq_le64(const uint8_t *p)
{
    return (uint64_t)vfu_virtq_le32(p) | (uint64_t)vfu_virtq_le32(p + 4) << 32;
}

VFU_VIRTIO_API void vfu_virtq_put_le(uint8_t *p, uint64_t value, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

/* An index, flags or event: read before what it speaks of, written behind it. */
VFU_VIRTIO_API void vfu_virtq_copy16(uint8_t *to, const uint8_t *from, bool write)
{
    uint16_t word;

    if ((((uintptr_t)to | (uintptr_t)from) & 1) != 0) {
        __sync_synchronize();
        memcpy(to, from, 2);
        __sync_synchronize();
    } else if (write) {
        memcpy(&word, from, 2);
        __atomic_store_n((uint16_t *)(void *)to, word, __ATOMIC_RELEASE);
    } else {
        word = __atomic_load_n((const uint16_t *)(const void *)from, __ATOMIC_ACQUIRE);
        memcpy(to, &word, 2);
    }
}

VFU_VIRTIO_API void vfu_virtq_unmap(struct vfu_virtq *q)
{
    struct vfu_dma_window *const maps[3] = { &q->desc_map, &q->driver_map, &q->device_map };

    for (uint32_t i = 0; i < 3; i++)
        if (maps[i]->data)
            q->dev->host->dma_unmap(q->dev->host, maps[i]);
}

/* What can be mapped is; the host takes a window away when its memory goes, and it is asked for again here. */
VFU_VIRTIO_API void vfu_virtq_map(struct vfu_virtq *q)
{
    const struct {
        struct vfu_dma_window *map;
        uint64_t addr, len;
        uint32_t prot;
    } rings[3] = { { &q->desc_map, q->desc, 16u * (uint64_t)q->size, VFU_DMA_PROT_READ },
                   { &q->driver_map, q->driver, VFU_VIRTQ_RING_AT + 2u * (uint64_t)q->size + 2, VFU_DMA_PROT_READ },
                   { &q->device_map, q->device, VFU_VIRTQ_RING_AT + 8u * (uint64_t)q->size + 2,
                     VFU_DMA_PROT_READ | VFU_DMA_PROT_WRITE } };

    if (!q->dev->mappable || (q->desc_map.data && q->driver_map.data && q->device_map.data))
        return;
    for (uint32_t i = 0; i < 3; i++) {
        struct vfu_dma_window *map = rings[i].map;

        if (map->data)
            continue;
        memset(map, 0, sizeof *map);
        map->struct_size = sizeof *map;
        if (q->dev->host->dma_map(q->dev->host, rings[i].addr, rings[i].len, rings[i].prot, map))
            map->data = NULL;
    }
}

VFU_VIRTIO_API void vfu_virtq_pop_done(void *self, struct vfu_dma_op *op, int32_t status);
VFU_VIRTIO_API void vfu_virtq_push_done(void *self, struct vfu_dma_op *op, int32_t status);

/* By message. 1: it is on its way. */
VFU_VIRTIO_API int32_t vfu_virtq_send(struct vfu_virtq *q, struct vfu_dma_op *op, bool push, uint64_t addr, void *buf,
                                      uint32_t len, bool write)
{
    int32_t status;

    memset(op, 0, sizeof *op);
    op->struct_size = sizeof *op;
    op->flags = write ? VFU_DMA_WRITE : 0;
    op->addr = addr;
    op->len = len;
    op->buf = buf;
    op->done = push ? vfu_virtq_push_done : vfu_virtq_pop_done;
    op->user = q;
    status = q->dev->host->dma_submit(q->dev->host, op);
    if (status)
        return status;
    *(push ? &q->pushing : &q->popping) += 1;
    q->dev->outstanding++;
    return 1;
}

VFU_VIRTIO_API int32_t vfu_virtq_ask(struct vfu_virtq *q, bool push, uint64_t addr, void *buf, uint32_t len, bool write)
{
    return vfu_virtq_send(q, push ? &q->push_op : &q->pop_op, push, addr, buf, len, write);
}

/* Bytes of a ring to buf. 0, 1: they come by message, or an error. */
VFU_VIRTIO_API int32_t vfu_virtq_get(struct vfu_virtq *q, bool push, const struct vfu_dma_window *map, uint64_t base,
                                     uint32_t at, uint8_t *buf, uint32_t len)
{
    int32_t status;

    if (map->data) {
        if (len == 2)
            vfu_virtq_copy16(buf, map->data + at, false);
        else
            memcpy(buf, map->data + at, len);
        return 0;
    }
    status = q->dev->host->dma_read(q->dev->host, base + at, buf, len);
    if (len == 2)
        __sync_synchronize(); /* as vfu_virtq_copy16 */
    return status == -EWOULDBLOCK ? vfu_virtq_ask(q, push, base + at, buf, len, false) : status;
}

/* Bytes of buf to the used ring. */
VFU_VIRTIO_API int32_t vfu_virtq_put(struct vfu_virtq *q, bool push, uint32_t at, uint8_t *buf, uint32_t len)
{
    int32_t status;

    if (q->device_map.data) {
        if (len == 2)
            vfu_virtq_copy16(q->device_map.data + at, buf, true);
        else
            memcpy(q->device_map.data + at, buf, len);
        q->dev->host->dma_dirty(q->dev->host, q->device + at, len);
        return 0;
    }
    if (len == 2)
        __sync_synchronize();
    status = q->dev->host->dma_write(q->dev->host, q->device + at, buf, len);
    return status == -EWOULDBLOCK ? vfu_virtq_ask(q, push, q->device + at, buf, len, true) : status;
}

/* ---- taking ---------------------------------------------------------------------------------------------------------- */

VFU_VIRTIO_API void vfu_virtq_deferred(void *arg)
{
    struct vfu_virtq *q = (struct vfu_virtq *)arg;

    q->deferred = false;
    vfu_virtq_flush(q);
    vfu_virtq_pump(q);
}

VFU_VIRTIO_API void vfu_virtq_later(struct vfu_virtq *q)
{
    if (!q->deferred && q->dev->host->defer(q->dev->host, vfu_virtq_deferred, q) == 0)
        q->deferred = true;
}

VFU_VIRTIO_API void vfu_virtq_give_up(struct vfu_virtq *q)
{
    if (q->cur)
        vfu_virtq_free(q, q->cur);
    q->cur = NULL;
    q->pop = VFU_VIRTQ_IDLE;
}

/* The rings cannot be reached: for now (whoever ends that begins anew), or because they are where no memory is. */
VFU_VIRTIO_API void vfu_virtq_failed(struct vfu_virtq *q, int32_t status, uint64_t addr)
{
    if (status == -ENOBUFS)
        vfu_virtq_later(q);
    else if (status != -ECANCELED && status != -ENOTCONN && status != -EBUSY && !q->dev->unasked)
        vfu_virtq_broken(q, "its memory cannot be reached", addr);
}

/* Nothing more is known: looks for it. By messages the driver is asked for a kick first, for the look behind that tells. */
VFU_VIRTIO_API uint8_t vfu_virtq_look(const struct vfu_virtq *q)
{
    bool ask = (q->dev->features & VFU_VIRTIO_F_EVENT_IDX) && (!q->event_known || q->event != q->last_avail);

    return ask && !q->rung && !q->driver_map.data && q->avail == q->last_avail ? VFU_VIRTQ_EVENT : VFU_VIRTQ_INDEX;
}

/* The next head that is known: begins its chain. */
VFU_VIRTIO_API void vfu_virtq_next_head(struct vfu_virtq *q)
{
    bool replay = q->replay_at < q->nreplay;
    uint32_t head;

    q->pop = VFU_VIRTQ_IDLE;
    if (q->depth && q->inflight >= q->depth) {
        q->rung |= q->avail != q->last_avail;
        return; /* vfu_virtio_done goes on */
    }
    if (!replay && q->heads_at >= q->nheads) {
        q->pop = vfu_virtq_look(q);
        return;
    }
    if (q->turn++ >= VFU_VIRTIO_TURN) {
        q->rung = true;
        vfu_virtq_later(q);
        return;
    }
    head = replay ? q->replay[q->replay_at] : q->heads[q->heads_at];
    if (head >= q->size) {
        vfu_virtq_broken(q, "the available ring names a descriptor that there is not", head);
        return;
    }
    q->cur = vfu_virtq_is_busy(q, head) ? NULL : vfu_virtq_new(q, (uint16_t)head);
    if (!q->cur) {
        vfu_virtq_broken(q, "a descriptor is made available again while it is in use", head);
        return;
    }
    q->next = head;
    q->seen = 0;
    q->pop = VFU_VIRTQ_DESC;
}

VFU_VIRTIO_API void vfu_virtq_deliver(struct vfu_virtq *q)
{
    struct vfu_virtio_chain *chain = q->cur;
    struct vfu_virtio *v = q->dev;
    uint32_t epoch = q->epoch;

    q->cur = NULL;
    chain->state = VFU_VIRTQ_HELD;
    vfu_virtq_claim(q, chain);
    if (q->replay_at < q->nreplay) {
        q->replay_at++;
    } else {
        q->heads_at++;
        q->last_avail++;
    }
    q->inflight++;
    q->turn += chain->npieces / 64; /* a long chain takes longer */
    vfu_virtq_link(&q->held, &q->held_last, chain);
    v->model.ops.chain(v->self, q, chain);
    if (epoch == q->epoch)
        vfu_virtq_next_head(q);
}

VFU_VIRTIO_API void vfu_virtq_took_index(struct vfu_virtq *q)
{
    uint16_t n;

    q->avail = vfu_virtq_le16(q->words);
    n = (uint16_t)(q->avail - q->last_avail);
    if (n > q->size || n > q->size - q->nbusy) {
        vfu_virtq_broken(q, "more is available than there are free places", q->avail);
        return;
    }
    if (n) {
        q->pop = VFU_VIRTQ_HEADS;
        return;
    }
    if ((q->dev->features & VFU_VIRTIO_F_EVENT_IDX) && (!q->event_known || q->event != q->last_avail))
        q->pop = VFU_VIRTQ_EVENT;
    else
        q->pop = q->again ? VFU_VIRTQ_INDEX : VFU_VIRTQ_IDLE;
    q->again = false;
}

VFU_VIRTIO_API void vfu_virtq_took_desc(struct vfu_virtq *q)
{
    uint64_t addr = vfu_virtq_le64(q->raw);
    uint32_t len = vfu_virtq_le32(q->raw + 8), flags = vfu_virtq_le16(q->raw + 12);
    const char *wrong = NULL;

    if (flags & VFU_VIRTQ_DESC_INDIRECT) {
        if (!(q->dev->features & VFU_VIRTIO_F_INDIRECT_DESC))
            wrong = "a table of descriptors, which was not negotiated";
        else if (flags & VFU_VIRTQ_DESC_NEXT)
            wrong = "a descriptor has both a table and a next one";
        else if (!len || len % 16 || len > VFU_VIRTIO_PIECES_MAX * 16)
            wrong = "a table of descriptors has a size that no table has";
        else if (addr + (len - 1) < addr)
            wrong = "a table of descriptors goes beyond the last address";
        if (wrong) {
            vfu_virtq_broken(q, wrong, len);
            return;
        }
        q->table_addr = addr;
        q->table_size = len;
        q->pop = VFU_VIRTQ_TABLE;
        return;
    }
    if (!vfu_virtq_add(q, addr, len, (flags & VFU_VIRTQ_DESC_WRITE) != 0))
        return;
    if (!(flags & VFU_VIRTQ_DESC_NEXT)) {
        vfu_virtq_deliver(q);
        return;
    }
    q->next = vfu_virtq_le16(q->raw + 14);
    if (q->next >= q->size)
        vfu_virtq_broken(q, "a chain goes on with a descriptor that there is not", q->next);
    else if (++q->seen >= q->size)
        vfu_virtq_broken(q, "a chain is a loop", q->next);
}

VFU_VIRTIO_API void vfu_virtq_took_table(struct vfu_virtq *q)
{
    uint32_t n = q->table_size / 16, i = 0, flags;

    for (uint32_t seen = 0; seen < n; seen++) {
        const uint8_t *raw = q->table + (size_t)i * 16;

        flags = vfu_virtq_le16(raw + 12);
        if (flags & VFU_VIRTQ_DESC_INDIRECT) {
            vfu_virtq_broken(q, "a table of descriptors inside of a table", i);
            return;
        }
        if (!vfu_virtq_add(q, vfu_virtq_le64(raw), vfu_virtq_le32(raw + 8), (flags & VFU_VIRTQ_DESC_WRITE) != 0))
            return;
        if (!(flags & VFU_VIRTQ_DESC_NEXT)) {
            vfu_virtq_deliver(q);
            return;
        }
        i = vfu_virtq_le16(raw + 14);
        if (i >= n) {
            vfu_virtq_broken(q, "a table goes on with a descriptor that it does not have", i);
            return;
        }
    }
    vfu_virtq_broken(q, "a table is a loop", n);
}

/* With the index: the places behind the last one that it knows of, and what they may speak of. All of it is optional. */
VFU_VIRTIO_API void vfu_virtq_ask_ahead(struct vfu_virtq *q)
{
    uint32_t place = q->last_avail % q->size, room = q->size - place;

    if (!q->rung)
        return; /* the driver has not said that there is anything */
    q->rung = false;
    q->nahead = room < VFU_VIRTIO_BATCH ? room : VFU_VIRTIO_BATCH;
    vfu_virtq_send(q, &q->heads_op, false, q->driver + VFU_VIRTQ_RING_AT + 2 * place, q->ahead, 2 * q->nahead, false);
    if (!q->desc_map.data && q->size <= VFU_VIRTIO_AHEAD)
        vfu_virtq_send(q, &q->descs_op, false, q->desc, q->descs, 16u * q->size, false);
}

/* Asks for what the state looks at: 0, 1 or an error. */
VFU_VIRTIO_API int32_t vfu_virtq_pop_begin(struct vfu_virtq *q)
{
    uint32_t place, n;
    int32_t status;

    switch (q->pop) {
    case VFU_VIRTQ_INDEX:
        q->heads_ahead = q->descs_ahead = false;
        status = vfu_virtq_get(q, false, &q->driver_map, q->driver, 2, q->words, 2);
        if (status == 1)
            vfu_virtq_ask_ahead(q);
        return status;
    case VFU_VIRTQ_HEADS:
        place = q->last_avail % q->size;
        n = (uint16_t)(q->avail - q->last_avail);
        n = n < VFU_VIRTIO_BATCH ? n : VFU_VIRTIO_BATCH;
        q->nheads = n < q->size - place ? n : q->size - place;
        q->heads_at = 0;
        if (q->heads_ahead) { /* as many as there are, or a batch, begin at the same place */
            q->heads_ahead = false;
            memcpy(q->heads, q->ahead, 2 * q->nheads);
            return 0;
        }
        return vfu_virtq_get(q, false, &q->driver_map, q->driver, VFU_VIRTQ_RING_AT + 2 * place, (uint8_t *)q->heads,
                             2 * q->nheads);
    case VFU_VIRTQ_DESC:
        if (q->descs_ahead) {
            memcpy(q->raw, q->descs + (size_t)16 * q->next, 16);
            return 0;
        }
        return vfu_virtq_get(q, false, &q->desc_map, q->desc, 16 * q->next, q->raw, 16);
    case VFU_VIRTQ_TABLE:
        status = q->dev->host->dma_read(q->dev->host, q->table_addr, q->table, q->table_size);
        return status == -EWOULDBLOCK ? vfu_virtq_ask(q, false, q->table_addr, q->table, q->table_size, false) : status;
    default: /* VFU_VIRTQ_EVENT */
        vfu_virtq_put_le(q->words, q->last_avail, 2);
        return vfu_virtq_put(q, false, VFU_VIRTQ_RING_AT + 8u * q->size, q->words, 2);
    }
}

VFU_VIRTIO_API void vfu_virtq_pop_end(struct vfu_virtq *q)
{
    switch (q->pop) {
    case VFU_VIRTQ_INDEX:
        vfu_virtq_took_index(q);
        return;
    case VFU_VIRTQ_HEADS:
        for (uint32_t i = 0; i < q->nheads; i++)
            q->heads[i] = vfu_virtq_le16((const uint8_t *)&q->heads[i]);
        vfu_virtq_next_head(q);
        return;
    case VFU_VIRTQ_DESC:
        vfu_virtq_took_desc(q);
        return;
    case VFU_VIRTQ_TABLE:
        vfu_virtq_took_table(q);
        return;
    case VFU_VIRTQ_EVENT: /* 2.7.7.2: what came before the driver saw it is found by looking again */
        __sync_synchronize();
        q->event = q->last_avail;
        q->event_known = true;
        q->pop = VFU_VIRTQ_INDEX;
        return;
    default:
        return;
    }
}

VFU_VIRTIO_API void vfu_virtq_run(struct vfu_virtq *q)
{
    int32_t status = 0;

    q->pumping = true;
    while (q->pop != VFU_VIRTQ_IDLE && vfu_virtq_runs(q)) {
        status = vfu_virtq_pop_begin(q);
        if (status)
            break;
        vfu_virtq_pop_end(q);
    }
    q->pumping = false;
    if (status != 1)
        vfu_virtq_give_up(q);
    if (status < 0)
        vfu_virtq_failed(q, status, q->driver);
    vfu_virtq_flush(q);
}

/* Looks for chains, if it does not do so already. */
VFU_VIRTIO_API void vfu_virtq_pump(struct vfu_virtq *q)
{
    if (!vfu_virtq_runs(q))
        return;
    if (q->pumping || q->popping) {
        q->again = true;
        return;
    }
    vfu_virtq_map(q);
    q->turn = 0;
    q->nheads = q->heads_at = 0;
    q->heads_ahead = q->descs_ahead = false;
    if (q->replay_at < q->nreplay)
        vfu_virtq_next_head(q);
    else
        q->pop = q->depth && q->inflight >= q->depth ? (uint8_t)VFU_VIRTQ_IDLE : vfu_virtq_look(q);
    vfu_virtq_run(q);
}

VFU_VIRTIO_API void vfu_virtq_pop_done(void *self, struct vfu_dma_op *op, int32_t status)
{
    struct vfu_virtq *q = (struct vfu_virtq *)op->user;
    struct vfu_virtio *v = q->dev;

    (void)self;
    v->outstanding--;
    if (op == &q->heads_op)
        q->heads_ahead = !status;
    else if (op == &q->descs_op)
        q->descs_ahead = !status;
    else
        q->pop_status = status;
    if (--q->popping)
        return; /* the last of them goes on */
    status = q->pop_status;
    if (status || !vfu_virtq_runs(q)) {
        vfu_virtq_give_up(q);
        if (status && vfu_virtq_runs(q))
            vfu_virtq_failed(q, status, q->pop_op.addr);
        vfu_virtio_ended(v);
        return;
    }
    if (q->pop == VFU_VIRTQ_IDLE) { /* it was for a state that is no longer there */
        vfu_virtq_pump(q);
        return;
    }
    q->pumping = true; /* the plugin may be done with a chain at once */
    vfu_virtq_pop_end(q);
    q->pumping = false;
    vfu_virtq_run(q);
}

/* ---- giving back ------------------------------------------------------------------------------------------------------ */

VFU_VIRTIO_API int32_t vfu_virtq_push_begin(struct vfu_virtq *q)
{
    uint32_t place = q->used % q->size, n = q->size - place;
    /* used_event behind the ring, or flags */
    uint32_t wanted = q->dev->features & VFU_VIRTIO_F_EVENT_IDX ? VFU_VIRTQ_RING_AT + 2u * q->size : 0;
    const struct vfu_virtio_chain *chain = q->over;
    int32_t status;

    switch (q->push) {
    case VFU_VIRTQ_ELEMS:
        n = n < VFU_VIRTIO_BATCH ? n : VFU_VIRTIO_BATCH;
        for (q->npushed = 0; q->npushed < n && chain; chain = chain->next) {
            vfu_virtq_put_le(q->elems + 8 * q->npushed, chain->head, 4);
            vfu_virtq_put_le(q->elems + 8 * q->npushed++ + 4, chain->len, 4);
        }
        return vfu_virtq_put(q, true, VFU_VIRTQ_RING_AT + 8 * place, q->elems, 8 * q->npushed);
    case VFU_VIRTQ_PUBLISH:
        vfu_virtq_put_le(q->elems, q->used, 2);
        status = vfu_virtq_put(q, true, 2, q->elems, 2);
        if (status == 1)
            vfu_virtq_send(q, &q->word_op, true, q->driver + wanted, q->word, 2, false);
        return status;
    default: /* VFU_VIRTQ_SIGNAL */
        if (q->word_ahead) {
            q->word_ahead = false;
            memcpy(q->elems, q->word, 2);
            return 0;
        }
        return vfu_virtq_get(q, true, &q->driver_map, q->driver, wanted, q->elems, 2);
    }
}

VFU_VIRTIO_API void vfu_virtq_push_end(struct vfu_virtq *q)
{
    uint16_t word, old = q->signalled;
    bool wanted;

    switch (q->push) {
    case VFU_VIRTQ_ELEMS:
        for (uint32_t i = 0; i < q->npushed; i++) {
            struct vfu_virtio_chain *chain = q->over;

            vfu_virtq_unlink(&q->over, &q->over_last, chain);
            q->nover--;
            vfu_virtq_release(q, chain);
        }
        q->used = (uint16_t)(q->used + q->npushed);
        q->push = q->nover ? VFU_VIRTQ_ELEMS : VFU_VIRTQ_PUBLISH;
        return;
    case VFU_VIRTQ_PUBLISH:
        __sync_synchronize();
        q->push = VFU_VIRTQ_SIGNAL;
        return;
    default: /* 2.7.7 */
        word = vfu_virtq_le16(q->elems);
        if (q->dev->features & VFU_VIRTIO_F_EVENT_IDX)
            wanted = !q->signalled_known || (uint16_t)(q->used - word - 1) < (uint16_t)(q->used - old);
        else
            wanted = !(word & VFU_VIRTQ_NO_INTERRUPT);
        q->signalled = q->used;
        q->signalled_known = true;
        q->push = q->nover ? VFU_VIRTQ_ELEMS : VFU_VIRTQ_REST;
        if (wanted)
            vfu_virtio_signal_queue(q);
    }
}

VFU_VIRTIO_API void vfu_virtq_flush(struct vfu_virtq *q)
{
    int32_t status = 0;

    if (q->pushing || q->pumping)
        return;
    if (q->push == VFU_VIRTQ_REST && q->nover)
        q->push = VFU_VIRTQ_ELEMS;
    if (q->push != VFU_VIRTQ_REST && vfu_virtq_runs(q))
        vfu_virtq_map(q);
    while (!status && q->push != VFU_VIRTQ_REST && vfu_virtq_runs(q)) {
        status = vfu_virtq_push_begin(q);
        if (!status)
            vfu_virtq_push_end(q);
    }
    if (status < 0)
        vfu_virtq_failed(q, status, q->device);
}

VFU_VIRTIO_API void vfu_virtq_push_done(void *self, struct vfu_dma_op *op, int32_t status)
{
    struct vfu_virtq *q = (struct vfu_virtq *)op->user;
    struct vfu_virtio *v = q->dev;

    (void)self;
    v->outstanding--;
    if (op == &q->word_op)
        q->word_ahead = !status && !q->push_status;
    else
        q->push_status = status;
    if (--q->pushing)
        return;
    status = q->push_status;
    if (!status && !v->resetting && q->push != VFU_VIRTQ_REST)
        vfu_virtq_push_end(q); /* it is in the ring, even if the device has been stopped meanwhile */
    else if (status && vfu_virtq_runs(q))
        vfu_virtq_failed(q, status, q->push_op.addr);
    vfu_virtio_ended(v);
    if (!status)
        vfu_virtq_flush(q);
}

VFU_VIRTIO_API void vfu_virtio_done(struct vfu_virtio_chain *chain, uint32_t len)
{
    struct vfu_virtq *q = chain->q;

    if (chain->state != VFU_VIRTQ_HELD) {
        q->dev->host->log(q->dev->host, VFU_LOG_ERROR, "vfu_virtio_done: the plugin does not have this chain");
        return;
    }
    vfu_virtq_unlink(&q->held, &q->held_last, chain);
    chain->state = VFU_VIRTQ_OVER;
    chain->len = len < chain->writable ? len : (uint32_t)chain->writable;
    vfu_virtq_link(&q->over, &q->over_last, chain);
    q->nover++;
    q->inflight--;
    if (q->pumping)
        return; /* all that a turn brings is told to the driver once */
    vfu_virtq_flush(q);
    if (q->depth && q->inflight + 1 >= q->depth)
        vfu_virtq_pump(q);
}

#endif
