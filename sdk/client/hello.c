/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hello - the negotiation: what we offer, and what the server's answer is worth. The thread of its connection.
 */
#define _GNU_SOURCE
#include "sdk/client/conn.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char *hello_offer(const struct vfuc *c)
{
    const struct vfuc_options *o = &c->options;
    json_t *caps, *root;
    char *text;

    if (o->json)
        return strdup(o->json);
    caps = json_pack("{s:I, s:I, s:I, s:I}", "max_msg_fds", (json_int_t)o->max_msg_fds, "max_data_xfer_size",
                     (json_int_t)o->max_data_xfer_size, "max_dma_maps", (json_int_t)o->max_dma_maps, "pgsizes",
                     (json_int_t)o->pgsizes);
    if (caps && !(o->flags & VFUC_NO_WRITE_MULTI))
        json_object_set_new(caps, "write_multiple", json_true());
    if (caps && (o->flags & VFUC_TWIN_SOCKET))
        json_object_set_new(caps, "twin_socket", json_pack("{s:b}", "supported", 1));
    if (caps && !(o->flags & VFUC_NO_MIGRATION))
        json_object_set_new(caps, "migration",
                            json_pack("{s:I, s:I}", "pgsize", (json_int_t)o->migration_pgsize, "max_bitmap_size",
                                      (json_int_t)o->migration_max_bitmap_size));
    root = json_pack("{s:o}", "capabilities", caps);
    text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

/* An optional number between min and max. */
static int hello_number(struct vfuc *c, const json_t *object, const char *name, uint64_t min, uint64_t max,
                        uint64_t *value)
{
    const json_t *item = json_object_get(object, name);

    if (!item)
        return 0;
    if (!json_is_integer(item) || json_integer_value(item) < 0)
        return conn_error(c, -EPROTO, "version reply: \"%s\" is no number", name);
    if ((uint64_t)json_integer_value(item) < min || (uint64_t)json_integer_value(item) > max)
        return conn_error(c, -EPROTO, "version reply: \"%s\" is %lld, which makes no sense", name,
                          (long long)json_integer_value(item));
    *value = (uint64_t)json_integer_value(item);
    return 0;
}

static int hello_twin(struct vfuc *c, const json_t *caps, int *fds, uint32_t nfds)
{
    const json_t *twin = json_object_get(caps, "twin_socket");
    const json_t *supported = json_object_get(twin, "supported");
    size_t largest = c->options.max_data_xfer_size + 4096;
    uint64_t index = UINT64_MAX;
    int domain;
    socklen_t size = sizeof domain;

    if (twin && !json_is_object(twin))
        return conn_error(c, -EPROTO, "version reply: \"twin_socket\" is no object");
    if (supported && !json_is_boolean(supported))
        return conn_error(c, -EPROTO, "version reply: \"supported\" is no boolean");
    if (!json_is_true(supported))
        return 0;
    if (!(c->options.flags & VFUC_TWIN_SOCKET))
        return conn_error(c, -EPROTO, "version reply: a twin socket that was not asked for");
    if (hello_number(c, twin, "fd_index", 0, UINT32_MAX, &index) < 0)
        return -EPROTO;
    if (index >= nfds)
        return conn_error(c, -EPROTO, "version reply: a twin socket, but no fd at its index (%u came)", nfds);
    if (getsockopt(fds[index], SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
        return conn_error(c, -EPROTO, "version reply: the twin socket is no socket");
    if (wire_open(&c->twin, fds[index], largest) < 0)
        return conn_error(c, -ENOMEM, "out of memory");
    fds[index] = -1;
    c->server.twin_socket = true;
    return 0;
}

static int hello_caps(struct vfuc *c, const json_t *caps, int *fds, uint32_t nfds)
{
    struct vfuc_server *s = &c->server;
    const json_t *multi = json_object_get(caps, "write_multiple");
    const json_t *migration = json_object_get(caps, "migration");
    uint64_t msg_fds = s->max_msg_fds, maps = s->max_dma_maps;

    if (hello_number(c, caps, "max_msg_fds", 0, 65536, &msg_fds) < 0 ||
        hello_number(c, caps, "max_data_xfer_size", 1, INT64_MAX, &s->max_data_xfer_size) < 0 ||
        hello_number(c, caps, "max_dma_maps", 0, UINT32_MAX, &maps) < 0 ||
        hello_number(c, caps, "pgsizes", 1, INT64_MAX, &s->pgsizes) < 0)
        return -EPROTO;
    s->max_msg_fds = (uint32_t)msg_fds;
    s->max_dma_maps = (uint32_t)maps;
    if (multi && !json_is_boolean(multi))
        return conn_error(c, -EPROTO, "version reply: \"write_multiple\" is no boolean");
    s->write_multiple = json_is_true(multi);
    if (migration) {
        if (!json_is_object(migration))
            return conn_error(c, -EPROTO, "version reply: \"migration\" is no object");
        s->migration = true;
        if (hello_number(c, migration, "pgsize", 1, INT64_MAX, &s->migration_pgsize) < 0 ||
            hello_number(c, migration, "max_bitmap_size", 0, INT64_MAX, &s->migration_max_bitmap_size) < 0)
            return -EPROTO;
    }
    return hello_twin(c, caps, fds, nfds);
}

static int hello_reply(struct vfuc *c, const uint8_t *body, size_t size, int *fds, uint32_t nfds)
{
    struct vfu_msg_version version;
    const json_t *caps;
    json_error_t error;
    json_t *root;
    int err;

    if (size < sizeof version)
        return conn_error(c, -EPROTO, "version reply of %zu bytes, at least %zu expected", size, sizeof version);
    memcpy(&version, body, sizeof version);
    c->server = (struct vfuc_server){ .major = version.major, .minor = version.minor,
                                      .max_msg_fds = VFU_DEFAULT_MAX_MSG_FDS,
                                      .max_data_xfer_size = VFU_DEFAULT_MAX_DATA_XFER_SIZE,
                                      .max_dma_maps = VFU_DEFAULT_MAX_DMA_MAPS, .pgsizes = VFU_DEFAULT_PGSIZES,
                                      .migration_pgsize = VFU_DEFAULT_PGSIZES };
    if (version.major != VFU_PROTOCOL_MAJOR || version.minor > VFU_PROTOCOL_MINOR)
        return conn_error(c, -EPROTO, "the server speaks protocol %u.%u, we speak %u.%u", version.major, version.minor,
                          VFU_PROTOCOL_MAJOR, VFU_PROTOCOL_MINOR);
    body += sizeof version;
    size -= sizeof version;
    if (size && body[size - 1])
        return conn_error(c, -EPROTO, "version reply: its JSON does not end in NUL");
    c->server_json = size ? strdup((const char *)body) : strdup("");
    if (!c->server_json)
        return conn_error(c, -ENOMEM, "out of memory");
    c->server.json = c->server_json;
    if (!c->server_json[0])
        return 0;
    root = json_loads(c->server_json, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(root)) {
        json_decref(root);
        return conn_error(c, -EPROTO, "version reply: bad JSON: %s", root ? "no object" : error.text);
    }
    caps = json_object_get(root, "capabilities");
    if (caps && !json_is_object(caps))
        err = conn_error(c, -EPROTO, "version reply: \"capabilities\" is no object");
    else
        err = caps ? hello_caps(c, caps, fds, nfds) : 0;
    json_decref(root);
    return err;
}

int hello_negotiate(struct vfuc *c)
{
    struct vfu_msg_version version = { VFU_PROTOCOL_MAJOR, VFU_PROTOCOL_MINOR };
    char *offer = hello_offer(c);
    int fds[WIRE_FDS];
    struct slot *slot;
    uint32_t nfds = 0;
    int err;

    if (!offer)
        return conn_error(c, -ENOMEM, "out of memory");
    err =
        call_queue(c, VFU_CMD_VERSION, &version, sizeof version, offer, *offer ? strlen(offer) + 1 : 0, NULL, 0, &slot);
    free(offer);
    if (err)
        return err;
    slot->keep = true;
    err = call_wait(c, slot);
    if (!err) {
        size_t size;
        const uint8_t *body = call_body(c, &size);

        nfds = wire_take_fds(&c->main, c->kept, fds, WIRE_FDS);
        err = hello_reply(c, body, size, fds, nfds);
        call_done(c);
    }
    for (uint32_t i = 0; i < nfds; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    c->negotiated = !err;
    return err;
}
