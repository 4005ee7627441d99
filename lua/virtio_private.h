/* SPDX-License-Identifier: BSD-3-Clause */
/* virtio_private - what virtio.c and chain.c share. */
#ifndef LUA_VIRTIO_PRIVATE_H
#define LUA_VIRTIO_PRIVATE_H

#include <vfu/virtio.h>

#include "lua/binding.h"

struct virtio {
    struct vfu_virtio v;
    int *hooks; /* of each queue: its function, or LUA_NOREF */
    int features_ref;
    uint32_t ncalls, nlate; /* calls of dev.queue that are not over; chains that wait for one */
    bool armed;
};

/* ---- chain.c ---- */
void chain_open(lua_State *L);
void chain_come(void *self, struct vfu_virtq *q, struct vfu_virtio_chain *chain);
void chain_resume(struct script *s);
void chain_reset(void *self, struct vfu_virtq *q);

#endif
