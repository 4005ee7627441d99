/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfu/virtio_state.h - clients that leave, stops, and the state that is saved, a part of vfu/virtio.h. On the device's
 * thread.
 */
#ifndef VFU_VIRTIO_STATE_H
#define VFU_VIRTIO_STATE_H

#define VFU_VIRTIO_STATE UINT32_C(0x31517676) /* of the saved state: "vvQ1" */
#define VFU_VIRTIO_STATE_RESETTING 0x100u     /* with the status in it */

/* Nobody has rung: rings that are out of reach are no mistake of the driver's until it does. */
VFU_VIRTIO_API void vfu_virtio_go_on(struct vfu_virtio *v)
{
    v->unasked = true;
    for (uint32_t i = 0; i < v->nqueues; i++) {
        vfu_virtq_flush(&v->queues[i]);
        vfu_virtq_pump(&v->queues[i]);
    }
    v->unasked = false;
}

VFU_VIRTIO_API void vfu_virtio_event(void *self, uint32_t event, uint64_t arg)
{
    (void)self;
    (void)event;
    (void)arg;
}

/* What was asked of a client that has gone is asked of the next, if that one does not begin with a reset. */
VFU_VIRTIO_API void vfu_virtio_detach(void *self)
{
    struct vfu_virtio *v = (struct vfu_virtio *)self;

    v->unasked = true;
    if (v->model.ops.reset)
        v->model.ops.reset(v->self, NULL);
    for (uint32_t i = 0; i < v->nqueues; i++)
        vfu_virtq_requeue(&v->queues[i]);
    v->unasked = false;
}

VFU_VIRTIO_API void vfu_virtio_quiesce(void *self)
{
    ((struct vfu_virtio *)self)->stopped = true;
}

VFU_VIRTIO_API void vfu_virtio_resume(void *self)
{
    struct vfu_virtio *v = (struct vfu_virtio *)self;

    v->stopped = false;
    vfu_virtio_go_on(v);
}

/* A stream of words of 8 bytes. */
VFU_VIRTIO_API void vfu_virtio_put_word(struct vfu_sink *sink, uint64_t value, int32_t *status)
{
    uint8_t bytes[8];

    vfu_virtq_put_le(bytes, value, 8);
    if (!*status)
        *status = sink->write(sink, bytes, sizeof bytes);
}

VFU_VIRTIO_API uint64_t vfu_virtio_take_word(struct vfu_source *source, int32_t *status)
{
    uint8_t bytes[8];

    if (!*status)
        *status = source->read(source, bytes, sizeof bytes);
    return *status ? 0 : vfu_virtq_le64(bytes);
}

VFU_VIRTIO_API void vfu_virtio_save_queue(const struct vfu_virtq *q, struct vfu_sink *sink, int32_t *status)
{
    const uint64_t words[] = { q->size, q->vector, q->enabled, q->desc, q->driver, q->device, q->last_avail, q->used,
                               q->push != VFU_VIRTQ_REST && q->push != VFU_VIRTQ_ELEMS,
                               q->inflight + q->nreplay - q->replay_at, q->nover };

    for (uint32_t i = 0; i < sizeof words / sizeof words[0]; i++)
        vfu_virtio_put_word(sink, words[i], status);
    for (const struct vfu_virtio_chain *chain = q->held; chain; chain = chain->next)
        vfu_virtio_put_word(sink, chain->head, status);
    for (uint32_t i = q->replay_at; i < q->nreplay; i++)
        vfu_virtio_put_word(sink, q->replay[i], status);
    for (const struct vfu_virtio_chain *chain = q->over; chain; chain = chain->next)
        vfu_virtio_put_word(sink, chain->head | (uint64_t)chain->len << 32, status);
}

VFU_VIRTIO_API int32_t vfu_virtio_save(void *self, struct vfu_sink *sink)
{
    const struct vfu_virtio *v = (const struct vfu_virtio *)self;
    const uint64_t words[] = { VFU_VIRTIO_STATE, v->model.id, v->nqueues,
                               v->status | (v->resetting ? VFU_VIRTIO_STATE_RESETTING : 0), v->features, v->driver_features,
                               v->select, v->config_vector, v->broken };
    int32_t status = 0;

    for (uint32_t i = 0; i < sizeof words / sizeof words[0]; i++)
        vfu_virtio_put_word(sink, words[i], &status);
    for (uint32_t i = 0; i < v->nqueues; i++)
        vfu_virtio_save_queue(&v->queues[i], sink, &status);
    return status;
}

/* Heads that are again in the plugin's hands, and such that are on their way into the used ring. */
VFU_VIRTIO_API int32_t vfu_virtio_load_chains(struct vfu_virtq *q, struct vfu_source *source, uint64_t nheld,
                                              uint64_t nover)
{
    int32_t status = 0;

    if (nheld > q->size || nover > q->size - nheld)
        return -EINVAL;
    for (uint64_t i = 0; i < nheld; i++) {
        q->replay[i] = (uint16_t)vfu_virtio_take_word(source, &status);
        if (status || q->replay[i] >= q->size)
            return -EINVAL;
    }
    q->nreplay = (uint32_t)nheld;
    for (uint64_t i = 0; i < nover; i++) {
        uint64_t word = vfu_virtio_take_word(source, &status);
        struct vfu_virtio_chain *chain = vfu_virtq_new(q, (uint16_t)word);

        if (status || !chain || chain->head >= q->size || vfu_virtq_is_busy(q, chain->head))
            return -EINVAL;
        chain->state = VFU_VIRTQ_OVER;
        chain->len = (uint32_t)(word >> 32);
        vfu_virtq_claim(q, chain);
        vfu_virtq_link(&q->over, &q->over_last, chain);
        q->nover++;
    }
    return 0;
}

VFU_VIRTIO_API int32_t vfu_virtio_load_queue(struct vfu_virtq *q, struct vfu_source *source)
{
    uint64_t words[11];
    int32_t status = 0;

    for (uint32_t i = 0; i < 11; i++)
        words[i] = vfu_virtio_take_word(source, &status);
    if (status || !vfu_virtio_size_fits(q, words[0]) || words[2] > 1)
        return -EINVAL;
    vfu_virtq_drop(q);
    q->size = (uint16_t)words[0];
    q->vector = words[1] < q->dev->nvectors ? (uint16_t)words[1] : (uint16_t)VFU_VIRTIO_NO_VECTOR;
    q->enabled = words[2] != 0;
    q->desc = words[3];
    q->driver = words[4];
    q->device = words[5];
    q->last_avail = (uint16_t)words[6];
    q->used = (uint16_t)words[7];
    if (q->enabled && vfu_virtio_queue_wrong(q))
        return -EINVAL;
    if (!q->enabled && (words[9] || words[10]))
        return -EINVAL;
    /* Where it is not known what the driver has been told, it is told once more. */
    q->push = words[8] ? VFU_VIRTQ_PUBLISH : VFU_VIRTQ_REST;
    return vfu_virtio_load_chains(q, source, words[9], words[10]);
}

VFU_VIRTIO_API int32_t vfu_virtio_load(void *self, struct vfu_source *source)
{
    struct vfu_virtio *v = (struct vfu_virtio *)self;
    uint64_t words[9];
    int32_t status = 0;

    for (uint32_t i = 0; i < 9; i++)
        words[i] = vfu_virtio_take_word(source, &status);
    if (status || words[0] != VFU_VIRTIO_STATE || words[1] != v->model.id || words[2] != v->nqueues ||
        words[3] > (VFU_VIRTIO_STATE_RESETTING | 0xff) || words[4] & ~v->offered) {
        v->host->log(v->host, VFU_LOG_ERROR, "virtio: the saved state is not one of this device");
        return -EINVAL;
    }
    if (v->model.ops.reset)
        v->model.ops.reset(v->self, NULL);
    v->resetting = false;
    v->status = (uint32_t)words[3] & 0xff;
    v->driver_features = words[5];
    v->features = words[4];
    v->select = (uint32_t)words[6];
    v->config_vector = words[7] < v->nvectors ? (uint16_t)words[7] : (uint16_t)VFU_VIRTIO_NO_VECTOR;
    v->broken = words[8] != 0;
    v->config_changed = true; /* at most the driver looks twice */
    for (uint32_t i = 0; i < v->nqueues && !status; i++) {
        vfu_virtq_unmap(&v->queues[i]);
        status = vfu_virtio_load_queue(&v->queues[i], source);
    }
    if (status)
        v->host->log(v->host, VFU_LOG_ERROR, "virtio: the saved state of a queue is damaged");
    else if (words[3] & VFU_VIRTIO_STATE_RESETTING)
        vfu_virtio_reset_done(v); /* what it was waiting for has stayed behind */
    return status;
}

#endif
