/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfu/virtio_pci.h - how a virtio device over PCI behaves (4.1), a part of vfu/virtio.h: interrupts, resets, device status,
 * features, queues being set up. On the device's thread.
 */
#ifndef VFU_VIRTIO_PCI_H
#define VFU_VIRTIO_PCI_H

/* ---- interrupts ------------------------------------------------------------------------------------------------------ */

/* 4.1.5.3: MSI-X is on. A driver that has chosen vectors has switched it on, too, but its client may keep that to itself. */
VFU_VIRTIO_API bool vfu_virtio_msix(const struct vfu_virtio *v)
{
    uint8_t control[2] = { 0, 0 };

    if (v->config_vector != VFU_VIRTIO_NO_VECTOR)
        return true;
    for (uint32_t i = 0; i < v->nqueues; i++)
        if (v->queues[i].vector != VFU_VIRTIO_NO_VECTOR)
            return true;
    return v->msix_at && !v->config->read(v->host, v->msix_at + 2, 2, control) && (control[1] & 0x80);
}

/* 4.1.4.5.1: the bit of the configuration is set in any case, that of the queues without MSI-X. */
VFU_VIRTIO_API void vfu_virtio_signal(struct vfu_virtio *v, uint32_t vector, uint32_t isr)
{
    bool msix = vfu_virtio_msix(v);

    if (!msix || isr != 1)
        vfu_virtio_show(v, VFU_VIRTIO_R_ISR, vfu_virtio_peek(v, VFU_VIRTIO_R_ISR) | isr);
    if (!msix)
        v->host->irq_raise(v->host, 0);
    else if (vector != VFU_VIRTIO_NO_VECTOR)
        v->host->irq_raise(v->host, vector);
}

VFU_VIRTIO_API void vfu_virtio_signal_queue(struct vfu_virtq *q)
{
    vfu_virtio_signal(q->dev, q->vector, 1);
}

VFU_VIRTIO_API void vfu_virtio_config_changed(struct vfu_virtio *v)
{
    v->config_changed = true;
    if (v->status & VFU_VIRTIO_DRIVER_OK)
        vfu_virtio_signal(v, v->config_vector, 2);
}

/* 2.1.2 */
VFU_VIRTIO_API void vfu_virtio_broken(struct vfu_virtio *v, const char *why)
{
    vfu_guest_errorf(v->host, "%s; the device needs a reset", why);
    if (v->broken)
        return;
    v->broken = true;
    v->status |= VFU_VIRTIO_NEEDS_RESET;
    vfu_virtio_show(v, VFU_VIRTIO_R_DEVICE_STATUS, v->status);
    if (v->status & VFU_VIRTIO_DRIVER_OK)
        vfu_virtio_signal(v, v->config_vector, 2);
}

/* 4.1.4.3.1: it counts changes that the driver may have missed, not all of them: 256 would look like none. */
VFU_VIRTIO_API uint64_t vfu_virtio_generation(struct vfu_virtio *v, uint64_t value)
{
    if (!v->config_changed)
        return value;
    v->config_changed = false;
    value = (value + 1) & 0xff;
    vfu_virtio_show(v, VFU_VIRTIO_R_CONFIG_GENERATION, value);
    return value;
}

/* ---- reset ------------------------------------------------------------------------------------------------------------ */

VFU_VIRTIO_API void vfu_virtio_reset_done(struct vfu_virtio *v)
{
    v->resetting = v->broken = false;
    v->status = v->select = 0;
    v->features = v->driver_features = 0;
    v->config_vector = VFU_VIRTIO_NO_VECTOR;
    for (uint32_t i = 0; i < v->nqueues; i++) {
        struct vfu_virtq *q = &v->queues[i];

        vfu_virtq_unmap(q);
        q->enabled = false;
        q->size = q->max;
        q->vector = VFU_VIRTIO_NO_VECTOR;
        q->desc = q->driver = q->device = 0;
    }
    for (uint32_t i = 0; i < VFU_VIRTIO_R_NOTIFY; i++)
        if (i != VFU_VIRTIO_R_CONFIG_GENERATION)
            vfu_virtio_show(v, i, v->map[i].reset);
    v->host->irq_lower(v->host, 0);
}

/* Chains are forgotten at once. The rest waits for DMA in flight: nothing is written to memory behind a reset. */
VFU_VIRTIO_API void vfu_virtio_reset_begin(struct vfu_virtio *v)
{
    bool ready = (v->status & VFU_VIRTIO_DRIVER_OK) != 0;

    v->resetting = true;
    if (v->model.ops.reset)
        v->model.ops.reset(v->self, NULL);
    for (uint32_t i = 0; i < v->nqueues; i++)
        vfu_virtq_drop(&v->queues[i]);
    if (ready && v->model.ops.driver)
        v->model.ops.driver(v->self, false);
}

VFU_VIRTIO_API void vfu_virtio_ended(struct vfu_virtio *v)
{
    if (v->resetting && !v->outstanding)
        vfu_virtio_reset_done(v);
}

VFU_VIRTIO_API int32_t vfu_virtio_reset(void *self, uint32_t kind)
{
    struct vfu_virtio *v = (struct vfu_virtio *)self;

    (void)kind;
    vfu_virtio_reset_begin(v);
    vfu_virtio_reset_done(v); /* the host has ended all DMA before */
    return 0;
}

VFU_VIRTIO_API void vfu_virtio_hold(struct vfu_virtio *v)
{
    v->outstanding++;
}

VFU_VIRTIO_API void vfu_virtio_release(struct vfu_virtio *v)
{
    v->outstanding--;
    vfu_virtio_ended(v);
}

/* ---- what the driver writes --------------------------------------------------------------------------------------------- */

VFU_VIRTIO_API bool vfu_virtio_features_fit(struct vfu_virtio *v)
{
    const char *wrong = NULL;

    if (v->driver_features & ~v->offered)
        wrong = "features that are not offered";
    else if (!(v->driver_features & VFU_VIRTIO_F_VERSION_1))
        wrong = "no VIRTIO_F_VERSION_1, and this is no legacy device";
    else if (v->model.ops.features && v->model.ops.features(v->self, v->driver_features))
        wrong = "features that do not go together";
    if (wrong)
        vfu_guest_errorf(v->host, "the driver accepts %s: %#llx of %#llx", wrong, (unsigned long long)v->driver_features,
                         (unsigned long long)v->offered);
    return !wrong;
}

/* 2.1, 3.1: the new status. */
VFU_VIRTIO_API uint32_t vfu_virtio_set_status(struct vfu_virtio *v, uint32_t value)
{
    uint32_t old = v->status;

    if (v->resetting)
        return old;
    if (!value) {
        vfu_virtio_reset_begin(v);
        vfu_virtio_ended(v);
        return v->status;
    }
    value = (value & VFU_VIRTIO_STATUS_DRIVER) | old; /* bits are cleared by a reset only */
    if ((value & ~old & VFU_VIRTIO_FEATURES_OK) && !vfu_virtio_features_fit(v))
        value &= ~VFU_VIRTIO_FEATURES_OK;
    if (!(value & VFU_VIRTIO_FEATURES_OK) && (value & VFU_VIRTIO_DRIVER_OK)) {
        v->host->guest_error(v->host, "DRIVER_OK without FEATURES_OK");
        value &= ~VFU_VIRTIO_DRIVER_OK;
    }
    v->status = value;
    if (value & ~old & VFU_VIRTIO_FEATURES_OK)
        v->features = v->driver_features;
    if (value & ~old & VFU_VIRTIO_DRIVER_OK) {
        if (v->model.ops.driver)
            v->model.ops.driver(v->self, true);
        for (uint32_t i = 0; i < v->nqueues; i++)
            vfu_virtq_pump(&v->queues[i]);
        if (old & VFU_VIRTIO_NEEDS_RESET)
            vfu_virtio_signal(v, v->config_vector, 2); /* nobody could be told before */
    }
    return v->status;
}

VFU_VIRTIO_API const char *vfu_virtio_queue_wrong(const struct vfu_virtq *q)
{
    const struct {
        uint64_t addr, len, align;
    } parts[3] = { { q->desc, 16u * (uint64_t)q->size, 16 },
                   { q->driver, 6 + 2u * (uint64_t)q->size, 2 },
                   { q->device, 6 + 8u * (uint64_t)q->size, 4 } };

    for (uint32_t i = 0; i < 3; i++) {
        if (parts[i].addr % parts[i].align)
            return "a part of it is not aligned"; /* 2.7 */
        if (parts[i].addr + (parts[i].len - 1) < parts[i].addr)
            return "a part of it goes beyond the last address";
    }
    return NULL;
}

VFU_VIRTIO_API void vfu_virtio_enable(struct vfu_virtq *q)
{
    const char *wrong = vfu_virtio_queue_wrong(q);

    if (wrong) {
        vfu_virtq_broken(q, wrong, q->size);
        return;
    }
    vfu_virtq_drop(q);
    q->signalled_known = true; /* nothing, as yet */
    q->enabled = true;
    vfu_virtq_pump(q);
}

VFU_VIRTIO_API bool vfu_virtio_size_fits(const struct vfu_virtq *q, uint64_t size)
{
    return size && !(size & (size - 1)) && size <= q->max;
}

/* 4.1.4.3.1: what is no power of two is never to be read there. */
VFU_VIRTIO_API void vfu_virtio_resize(struct vfu_virtq *q, uint64_t size)
{
    if (vfu_virtio_size_fits(q, size))
        q->size = (uint16_t)size;
    else
        vfu_virtq_broken(q, "its size is to be no power of two up to the largest", size);
}

/* A register of the selected queue: what it reads from now on. */
VFU_VIRTIO_API uint64_t vfu_virtio_set_queue(struct vfu_virtio *v, uint32_t reg, uint64_t value)
{
    struct vfu_virtq *q = v->select < v->nqueues ? &v->queues[v->select] : NULL;

    if (!q)
        return reg == VFU_VIRTIO_R_QUEUE_MSIX_VECTOR ? VFU_VIRTIO_NO_VECTOR : 0;
    if (reg == VFU_VIRTIO_R_QUEUE_MSIX_VECTOR) {
        q->vector = value < v->nvectors ? (uint16_t)value : (uint16_t)VFU_VIRTIO_NO_VECTOR;
        return q->vector;
    }
    if (reg == VFU_VIRTIO_R_QUEUE_ENABLE) {
        if (value == 1 && !q->enabled && !v->resetting && !v->broken)
            vfu_virtio_enable(q);
        return q->enabled;
    }
    if (q->enabled || v->resetting)
        v->host->guest_error(v->host, "a virtqueue is changed after it has been enabled");
    else if (reg == VFU_VIRTIO_R_QUEUE_SIZE)
        vfu_virtio_resize(q, value);
    else if (reg == VFU_VIRTIO_R_QUEUE_DESC)
        q->desc = value;
    else if (reg == VFU_VIRTIO_R_QUEUE_DRIVER)
        q->driver = value;
    else
        q->device = value;
    return reg == VFU_VIRTIO_R_QUEUE_SIZE     ? q->size
           : reg == VFU_VIRTIO_R_QUEUE_DESC   ? q->desc
           : reg == VFU_VIRTIO_R_QUEUE_DRIVER ? q->driver
                                              : q->device;
}

/* 32 of the bits that the driver accepts: what DRIVER_FEATURE reads then. */
VFU_VIRTIO_API uint64_t vfu_virtio_set_features(struct vfu_virtio *v, uint64_t value)
{
    uint64_t select = vfu_virtio_peek(v, VFU_VIRTIO_R_DRIVER_FEATURE_SELECT);

    if (v->status & VFU_VIRTIO_FEATURES_OK)
        v->host->guest_error(v->host, "features are changed after FEATURES_OK");
    else if (select < 2)
        v->driver_features = (v->driver_features & ~(UINT64_C(0xffffffff) << 32 * select)) | value << 32 * select;
    else if (value)
        v->host->guest_error(v->host, "features beyond bit 63 are accepted, which are not offered");
    return select < 2 ? v->driver_features >> 32 * select & UINT32_MAX : 0;
}

/* 4.1.4.9: an access of a BAR by way of config space, for who cannot reach it. */
VFU_VIRTIO_API void vfu_virtio_window(struct vfu_virtio *v, struct vfu_reg_call *call, bool write)
{
    uint64_t bar = vfu_virtio_peek(v, VFU_VIRTIO_R_WINDOW_BAR), size = vfu_virtio_peek(v, VFU_VIRTIO_R_WINDOW_LENGTH);
    struct vfu_access access;

    memset(&access, 0, sizeof access);
    access.struct_size = sizeof access;
    access.region = (uint32_t)bar;
    access.offset = vfu_virtio_peek(v, VFU_VIRTIO_R_WINDOW_OFFSET);
    access.size = (uint32_t)size;
    access.flags = write ? VFU_ACCESS_WRITE : 0;
    access.value = size < 4 ? call->value & ((UINT64_C(1) << 8 * size) - 1) : call->value;
    if (!size && !write)
        call->value = 0; /* somebody looks at all of config space */
    else if ((size != 1 && size != 2 && size != 4) || access.offset % size)
        v->host->guest_error(v->host, "an access by config space of a width or at an offset that none can have");
    else if (!VFU_HAS(v->host, bar_access) || v->host->bar_access(v->host, &access) < 0)
        v->host->guest_error(v->host, "an access by config space goes nowhere");
    else if (!write)
        call->value = access.value;
}

VFU_VIRTIO_API bool vfu_virtio_owns(const struct vfu_virtio *v, const struct vfu_reg_call *call)
{
    (void)v;
    return call->reg < VFU_VIRTIO_REGS;
}

VFU_VIRTIO_API int32_t vfu_virtio_reg_read(void *self, struct vfu_reg_call *call)
{
    struct vfu_virtio *v = (struct vfu_virtio *)self;

    if (call->reg == VFU_VIRTIO_R_WINDOW_DATA)
        vfu_virtio_window(v, call, false);
    else if (call->reg == VFU_VIRTIO_R_CONFIG_GENERATION)
        call->value = vfu_virtio_generation(v, call->value);
    else
        v->host->irq_lower(v->host, 0); /* ISR */
    return VFU_REPLACE;
}

VFU_VIRTIO_API int32_t vfu_virtio_reg_write(void *self, struct vfu_reg_call *call)
{
    struct vfu_virtio *v = (struct vfu_virtio *)self;

    switch (call->reg) {
    case VFU_VIRTIO_R_DEVICE_FEATURE_SELECT:
        vfu_virtio_show(v, VFU_VIRTIO_R_DEVICE_FEATURE, call->value < 2 ? v->offered >> 32 * call->value : 0);
        return 0;
    case VFU_VIRTIO_R_DRIVER_FEATURE_SELECT:
        vfu_virtio_show(v, VFU_VIRTIO_R_DRIVER_FEATURE, call->value < 2 ? v->driver_features >> 32 * call->value : 0);
        return 0;
    case VFU_VIRTIO_R_DRIVER_FEATURE:
        call->value = vfu_virtio_set_features(v, call->value);
        return VFU_REPLACE;
    case VFU_VIRTIO_R_CONFIG_MSIX_VECTOR:
        v->config_vector = call->value < v->nvectors ? (uint16_t)call->value : (uint16_t)VFU_VIRTIO_NO_VECTOR;
        call->value = v->config_vector;
        return VFU_REPLACE;
    case VFU_VIRTIO_R_DEVICE_STATUS:
        call->value = vfu_virtio_set_status(v, (uint32_t)call->value);
        return VFU_REPLACE;
    case VFU_VIRTIO_R_QUEUE_SELECT:
        v->select = (uint32_t)call->value;
        vfu_virtio_show_queue(v);
        return 0;
    case VFU_VIRTIO_R_WINDOW_DATA:
        vfu_virtio_window(v, call, true);
        return 0;
    default:
        call->value = vfu_virtio_set_queue(v, call->reg, call->value);
        return VFU_REPLACE;
    }
}

VFU_VIRTIO_API void vfu_virtio_doorbell(void *self, uint32_t index, uint64_t value)
{
    struct vfu_virtio *v = (struct vfu_virtio *)self;

    (void)value; /* the queue's number, once more */
    if (index >= v->nqueues)
        return;
    v->queues[index].rung = true;
    vfu_virtq_pump(&v->queues[index]);
}

#endif
