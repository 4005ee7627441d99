/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfu/virtio_model.h - what a virtio device over PCI is (4.1), a part of vfu/virtio.h: its registers, capabilities and
 * queues out of a struct vfu_virtio_model; vfu_virtio_describe, _create and _destroy.
 */
#ifndef VFU_VIRTIO_MODEL_H
#define VFU_VIRTIO_MODEL_H

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

#endif
