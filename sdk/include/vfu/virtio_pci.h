/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfu/virtio_pci.h - virtio over PCI (4.1), a part of vfu/virtio.h: registers, capabilities, device status, features,
 * interrupts, and the state that is saved. On the device's thread, but vfu_virtio_describe, _create and _destroy.
 */
#ifndef VFU_VIRTIO_PCI_H
#define VFU_VIRTIO_PCI_H

#define VFU_VIRTIO_STATE UINT32_C(0x31517676) /* of the saved state: "vvQ1" */
#define VFU_VIRTIO_STATE_RESETTING 0x100u     /* with the status in it */

/* ---- registers ------------------------------------------------------------------------------------------------------ */

VFU_VIRTIO_API uint64_t vfu_virtio_peek(const struct vfu_virtio *v, uint32_t reg)
{
    return v->regs->get(v->host, reg, VFU_NONE, VFU_NONE);
}

VFU_VIRTIO_API void vfu_virtio_show(const struct vfu_virtio *v, uint32_t reg, uint64_t value)
{
    v->regs->set(v->host, reg, VFU_NONE, VFU_NONE, value);
}

/* The registers of the queue that is selected. */
VFU_VIRTIO_API void vfu_virtio_show_queue(const struct vfu_virtio *v)
{
    const struct vfu_virtq *q = v->select < v->nqueues ? &v->queues[v->select] : NULL;

    vfu_virtio_show(v, VFU_VIRTIO_R_QUEUE_SIZE, q ? q->size : 0);
    vfu_virtio_show(v, VFU_VIRTIO_R_QUEUE_MSIX_VECTOR, q ? q->vector : VFU_VIRTIO_NO_VECTOR);
    vfu_virtio_show(v, VFU_VIRTIO_R_QUEUE_ENABLE, q ? q->enabled : 0);
    vfu_virtio_show(v, VFU_VIRTIO_R_QUEUE_NOTIFY_OFF, q ? q->index : 0);
    vfu_virtio_show(v, VFU_VIRTIO_R_QUEUE_DESC, q ? q->desc : 0);
    vfu_virtio_show(v, VFU_VIRTIO_R_QUEUE_DRIVER, q ? q->driver : 0);
    vfu_virtio_show(v, VFU_VIRTIO_R_QUEUE_DEVICE, q ? q->device : 0);
}

#define VFU_VIRTIO_REG(id, at, bytes, kind, more, text)                                                                \
    { #id, text, 0, VFU_NONE, VFU_VIRTIO_COMMON_AT + (at), (bytes), VFU_ACCESS_##kind, 0, (more), 0, 0,                \
      VFU_VIRTIO_R_##id, 0, NULL, 0, 0 }
#define VFU_VIRTIO_FLAG(text, bit, explained) { text, explained, (bit), 1, 0, 0, 0, NULL, 0 }

/* All of them, in the order of their numbers, into v->map. */
VFU_VIRTIO_API void vfu_virtio_lay_registers(struct vfu_virtio *v)
{
    static const struct vfu_field status[] = {
        VFU_VIRTIO_FLAG("ACKNOWLEDGE", 0, "the guest has found the device"),
        VFU_VIRTIO_FLAG("DRIVER", 1, "the guest has a driver for it"),
        VFU_VIRTIO_FLAG("DRIVER_OK", 2, "the driver is ready"),
        VFU_VIRTIO_FLAG("FEATURES_OK", 3, "features are agreed on; reads 0 where the device refuses them"),
        VFU_VIRTIO_FLAG("NEEDS_RESET", 6, "the device has met what it cannot recover from"),
        VFU_VIRTIO_FLAG("FAILED", 7, "the guest has given up"),
    };
    static const struct vfu_field isr[] = {
        VFU_VIRTIO_FLAG("QUEUE", 0, "a virtqueue has something; without MSI-X only"),
        VFU_VIRTIO_FLAG("CONFIG", 1, "the configuration has changed; without MSI-X only"),
    };
    static const struct vfu_reg regs[VFU_VIRTIO_REGS] = {
        VFU_VIRTIO_REG(DEVICE_FEATURE_SELECT, 0, 4, RW, VFU_REG_HOOK_WRITE, "which 32 bits DEVICE_FEATURE shows"),
        VFU_VIRTIO_REG(DEVICE_FEATURE, 4, 4, RO, 0, "features that the device offers"),
        VFU_VIRTIO_REG(DRIVER_FEATURE_SELECT, 8, 4, RW, VFU_REG_HOOK_WRITE, "which 32 bits DRIVER_FEATURE has"),
        VFU_VIRTIO_REG(DRIVER_FEATURE, 12, 4, RW, VFU_REG_HOOK_WRITE, "features that the driver accepts"),
        VFU_VIRTIO_REG(CONFIG_MSIX_VECTOR, 16, 2, RW, VFU_REG_HOOK_WRITE, "vector of configuration changes"),
        VFU_VIRTIO_REG(NUM_QUEUES, 18, 2, RO, 0, "virtqueues that there are"),
        VFU_VIRTIO_REG(DEVICE_STATUS, 20, 1, RW, VFU_REG_HOOK_WRITE, "how far the driver is; 0 resets"),
        VFU_VIRTIO_REG(CONFIG_GENERATION, 21, 1, RO, VFU_REG_HOOK_READ, "changes with the device's configuration"),
        VFU_VIRTIO_REG(QUEUE_SELECT, 22, 2, RW, VFU_REG_HOOK_WRITE, "which queue the next registers are about"),
        VFU_VIRTIO_REG(QUEUE_SIZE, 24, 2, RW, VFU_REG_HOOK_WRITE, "places of the queue; 0: there is no such queue"),
        VFU_VIRTIO_REG(QUEUE_MSIX_VECTOR, 26, 2, RW, VFU_REG_HOOK_WRITE, "the queue's vector"),
        VFU_VIRTIO_REG(QUEUE_ENABLE, 28, 2, RW, VFU_REG_HOOK_WRITE, "1: the queue is set up"),
        VFU_VIRTIO_REG(QUEUE_NOTIFY_OFF, 30, 2, RO, 0, "the queue's place among the doorbells"),
        VFU_VIRTIO_REG(QUEUE_DESC, 32, 8, RW, VFU_REG_HOOK_WRITE, "address of the descriptors"),
        VFU_VIRTIO_REG(QUEUE_DRIVER, 40, 8, RW, VFU_REG_HOOK_WRITE, "address of the available ring"),
        VFU_VIRTIO_REG(QUEUE_DEVICE, 48, 8, RW, VFU_REG_HOOK_WRITE, "address of the used ring"),
        VFU_VIRTIO_REG(QUEUE_NOTIFY_DATA, 56, 2, RO, 0, "not offered"),
        VFU_VIRTIO_REG(QUEUE_RESET, 58, 2, RO, 0, "not offered"),
        VFU_VIRTIO_REG(ISR, VFU_VIRTIO_ISR_AT, 1, RC, VFU_REG_HOOK_READ, "why the interrupt; reading lowers it"),
        VFU_VIRTIO_REG(NOTIFY, VFU_VIRTIO_NOTIFY_AT, 2, WO, 0, "a queue's doorbell"),
        VFU_VIRTIO_REG(WINDOW_BAR, 4, 1, RW, 0, "BAR of an access by config space"),
        VFU_VIRTIO_REG(WINDOW_OFFSET, 8, 4, RW, 0, "offset of that access"),
        VFU_VIRTIO_REG(WINDOW_LENGTH, 12, 4, RW, 0, "width of that access: 1, 2 or 4"),
        VFU_VIRTIO_REG(WINDOW_DATA, 16, 4, RW, VFU_REG_HOOK_READ | VFU_REG_HOOK_WRITE, "makes the access"),
    };

    memcpy(v->map, regs, sizeof regs);
    v->map[VFU_VIRTIO_R_DEVICE_STATUS].fields = status;
    v->map[VFU_VIRTIO_R_DEVICE_STATUS].field_size = sizeof status[0];
    v->map[VFU_VIRTIO_R_DEVICE_STATUS].nfields = sizeof status / sizeof status[0];
    v->map[VFU_VIRTIO_R_ISR].fields = isr;
    v->map[VFU_VIRTIO_R_ISR].field_size = sizeof isr[0];
    v->map[VFU_VIRTIO_R_ISR].nfields = sizeof isr / sizeof isr[0];
}

/* ---- description ---------------------------------------------------------------------------------------------------- */

VFU_VIRTIO_API uint32_t vfu_virtio_config_size(const struct vfu_virtio_model *model)
{
    uint64_t end = model->config_size;

    for (uint32_t i = 0; i < model->nconfig; i++) {
        const struct vfu_reg *reg = &model->config[i];
        uint64_t n = reg->count ? reg->count : 1, each = reg->stride ? reg->stride : reg->size;

        if (reg->offset + (n - 1) * each + reg->size > end)
            end = reg->offset + (n - 1) * each + reg->size;
    }
    return (uint32_t)end;
}

VFU_VIRTIO_API const char *vfu_virtio_check(const struct vfu_virtio_model *model)
{
    if (!model->id || model->id > 63)
        return "an id is from 1 to 63";
    if (!model->nqueues || model->nqueues > VFU_VIRTIO_QUEUES_MAX)
        return "there are from 1 to 64 queues";
    for (uint32_t i = 0; i < model->nqueues; i++)
        if (!model->queues[i].size || model->queues[i].size & (model->queues[i].size - 1) ||
            model->queues[i].size > VFU_VIRTIO_SIZE_MAX)
            return "a queue's size is a power of two up to 32768";
    if (model->features & ~VFU_VIRTIO_F_TYPE)
        return "features 24 to 49 are not the model's to offer";
    if (model->vectors > 2048)
        return "there are up to 2048 vectors";
    if (vfu_virtio_config_size(model) > VFU_VIRTIO_NOTIFY_AT - VFU_VIRTIO_DEVICE_AT)
        return "the configuration has up to 4096 bytes";
    return model->ops.chain ? NULL : "there is no function for chains";
}

/* 4.1.4: {cap_len, cfg_type, bar, id, padding, offset, length}, and what is behind it. */
VFU_VIRTIO_API void vfu_virtio_lay_cap(struct vfu_virtio *v, uint32_t i, uint32_t type, uint32_t at, uint32_t len,
                                       uint32_t more)
{
    uint8_t *bytes = v->cap_bytes[i];

    memset(bytes, 0, sizeof v->cap_bytes[i]);
    v->caps[i].id = 9; /* vendor-specific */
    v->caps[i].bytes = bytes;
    v->caps[i].size = (uint16_t)(14 + more);
    bytes[0] = (uint8_t)(16 + more);
    bytes[1] = (uint8_t)type;
    vfu_virtq_put_le(bytes + 6, at, 4);
    vfu_virtq_put_le(bytes + 10, len, 4);
    if (type == 2)
        vfu_virtq_put_le(bytes + 14, VFU_VIRTIO_NOTIFY_EACH, 4);
}

VFU_VIRTIO_API uint32_t vfu_virtio_lay_caps(struct vfu_virtio *v)
{
    uint32_t n = 0, size = vfu_virtio_config_size(&v->model);

    vfu_virtio_lay_cap(v, n++, 5, 0, 0, 4); /* first, so that its place is known */
    vfu_virtio_lay_cap(v, n++, 1, VFU_VIRTIO_COMMON_AT, 60, 0);
    vfu_virtio_lay_cap(v, n++, 2, VFU_VIRTIO_NOTIFY_AT, VFU_VIRTIO_NOTIFY_EACH * v->nqueues, 4);
    vfu_virtio_lay_cap(v, n++, 3, VFU_VIRTIO_ISR_AT, 1, 0);
    if (size)
        vfu_virtio_lay_cap(v, n++, 4, VFU_VIRTIO_DEVICE_AT, size, 0);
    return n;
}

VFU_VIRTIO_API void vfu_virtio_lay_map(struct vfu_virtio *v)
{
    const struct vfu_virtio_model *model = &v->model;

    vfu_virtio_lay_registers(v);
    for (uint32_t i = VFU_VIRTIO_R_WINDOW_BAR; i <= VFU_VIRTIO_R_WINDOW_DATA; i++) {
        v->map[i].region = VFU_REGION_CONFIG;
        v->map[i].offset += v->window_at;
    }
    v->map[VFU_VIRTIO_R_DEVICE_FEATURE].reset = v->offered & UINT32_MAX;
    v->map[VFU_VIRTIO_R_CONFIG_MSIX_VECTOR].reset = VFU_VIRTIO_NO_VECTOR;
    v->map[VFU_VIRTIO_R_NUM_QUEUES].reset = v->nqueues;
    v->map[VFU_VIRTIO_R_QUEUE_SIZE].reset = model->queues[0].size;
    v->map[VFU_VIRTIO_R_QUEUE_MSIX_VECTOR].reset = VFU_VIRTIO_NO_VECTOR;
    v->map[VFU_VIRTIO_R_NOTIFY].count = v->nqueues;
    v->map[VFU_VIRTIO_R_NOTIFY].stride = VFU_VIRTIO_NOTIFY_EACH;
    for (uint32_t i = 0; i < model->nconfig; i++) {
        struct vfu_reg *reg = &v->map[VFU_VIRTIO_REGS + i];

        *reg = model->config[i];
        reg->region = 0;
        reg->group = VFU_NONE;
        reg->offset += VFU_VIRTIO_DEVICE_AT;
    }
    v->regmap.struct_size = sizeof v->regmap;
    v->regmap.regs = v->map;
    v->regmap.nregs = VFU_VIRTIO_REGS + model->nconfig;
    v->regmap.reg_size = sizeof *v->map;
}

VFU_VIRTIO_API bool vfu_virtio_make_queues(struct vfu_virtio *v)
{
    v->queues = (struct vfu_virtq *)calloc(v->nqueues, sizeof *v->queues);
    for (uint32_t i = 0; v->queues && i < v->nqueues; i++) {
        struct vfu_virtq *q = &v->queues[i];

        q->dev = v;
        q->index = i;
        q->max = q->size = (uint16_t)v->model.queues[i].size;
        q->depth = v->model.queues[i].depth;
        q->vector = VFU_VIRTIO_NO_VECTOR;
        q->chains = (struct vfu_virtio_chain *)calloc(q->max, sizeof *q->chains);
        q->busy = (uint8_t *)calloc(1, q->max / 8 + 1u);
        q->replay = (uint16_t *)calloc(q->max, sizeof *q->replay);
        q->table = (uint8_t *)malloc((size_t)VFU_VIRTIO_PIECES_MAX * 16);
        q->descs = (uint8_t *)malloc((size_t)VFU_VIRTIO_AHEAD * 16);
        if (!q->chains || !q->busy || !q->replay || !q->table || !q->descs)
            return false;
        for (uint32_t k = 0; k < q->max; k++)
            q->chains[k].q = q;
        vfu_virtq_drop(q);
    }
    return v->queues != NULL;
}

VFU_VIRTIO_API void vfu_virtio_destroy(struct vfu_virtio *v)
{
    for (uint32_t i = 0; v->queues && i < v->nqueues; i++) {
        struct vfu_virtq *q = &v->queues[i];

        for (uint32_t k = 0; q->chains && k < q->max; k++)
            free(q->chains[k].pieces);
        free(q->chains);
        free(q->busy);
        free(q->replay);
        free(q->table);
        free(q->descs);
    }
    free(v->queues);
    free(v->map);
    free(v->bells);
    v->queues = NULL;
    v->map = NULL;
    v->bells = NULL;
}

VFU_VIRTIO_API int32_t vfu_virtio_describe(struct vfu_virtio *v, const struct vfu_host *host,
                                           const struct vfu_virtio_model *model, struct vfu_desc *desc)
{
    const char *wrong = vfu_virtio_check(model);

    if (wrong) {
        vfu_logf(host, VFU_LOG_ERROR, "virtio: %s", wrong);
        return -EINVAL;
    }
    v->host = host;
    v->model = *model;
    v->offered = model->features | VFU_VIRTIO_F_OURS;
    v->nqueues = model->nqueues;
    v->nvectors = model->vectors ? model->vectors : model->nqueues + 1;
    v->config_vector = VFU_VIRTIO_NO_VECTOR;
    v->window_at = 0x4c; /* behind MSI-X, which comes first; vfu_virtio_create looks whether it is there */
    v->map = (struct vfu_reg *)calloc(VFU_VIRTIO_REGS + model->nconfig, sizeof *v->map);
    v->bells = (struct vfu_doorbell *)calloc(model->nqueues, sizeof *v->bells);
    if (!v->map || !v->bells || !vfu_virtio_make_queues(v)) {
        host->log(host, VFU_LOG_ERROR, "virtio: not enough memory");
        vfu_virtio_destroy(v);
        return -ENOMEM;
    }
    vfu_virtio_lay_map(v);
    for (uint32_t i = 0; i < model->nqueues; i++) {
        v->bells[i].offset = VFU_VIRTIO_NOTIFY_AT + (uint64_t)VFU_VIRTIO_NOTIFY_EACH * i;
        v->bells[i].size = 2;
    }
    v->bar.size = VFU_VIRTIO_BAR_SIZE;
    desc->caps = VFU_VIRTIO_CAPS;
    desc->vendor = desc->subsystem_vendor = 0x1af4;
    desc->device = (uint16_t)(0x1040 + model->id);
    desc->subsystem = (uint16_t)(0x0040 + model->id); /* 0x40 or more: 4.1.2.1 */
    desc->revision = 1;
    desc->class_code = model->class_code ? model->class_code : 0x00ff00;
    desc->msix_vectors = v->nvectors;
    desc->msix_bar = VFU_NONE;
    desc->bars = &v->bar;
    desc->nbars = 1;
    desc->bar_size = sizeof v->bar;
    desc->pci_caps = v->caps;
    desc->npci_caps = vfu_virtio_lay_caps(v);
    desc->pci_cap_size = sizeof v->caps[0];
    desc->regmap = &v->regmap;
    desc->doorbells = v->bells;
    desc->ndoorbells = v->nqueues;
    desc->doorbell_size = sizeof v->bells[0];
    return 0;
}

VFU_VIRTIO_API uint32_t vfu_virtio_find_cap(const struct vfu_virtio *v, uint8_t id)
{
    uint8_t at = 0, head[2] = { 0, 0 };

    if (!v->config || v->config->read(v->host, 0x34, 1, &at))
        return 0;
    for (int i = 0; at && i < 48; i++, at = head[1])
        if (v->config->read(v->host, at, 2, head))
            return 0;
        else if (head[0] == id)
            return at;
    return 0;
}

VFU_VIRTIO_API int32_t vfu_virtio_create(struct vfu_virtio *v, const struct vfu_host *host, void *self)
{
    uint64_t map = VFU_CAP_DMA_MAP;

    v->host = host;
    v->self = self;
    v->regs = (const struct vfu_host_regmap *)host->extension(host, VFU_EXT_REGMAP);
    v->config = (const struct vfu_host_config *)host->extension(host, VFU_EXT_CONFIG);
    v->mappable = (host->granted(host) & map) == map;
    v->msix_at = vfu_virtio_find_cap(v, 0x11);
    if (!v->regs || vfu_virtio_find_cap(v, 9) != v->window_at) {
        vfu_logf(host, VFU_LOG_ERROR, "virtio: the host %s", v->regs ? "puts capabilities where they are not expected"
                                                                     : "has no register map");
        return -ENOTSUP;
    }
    return 0;
}

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

/* ---- clients, stops, state ----------------------------------------------------------------------------------------------- */

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

    if (v->model.ops.reset)
        v->model.ops.reset(v->self, NULL);
    for (uint32_t i = 0; i < v->nqueues; i++)
        vfu_virtq_requeue(&v->queues[i]);
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
