/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * version - the VERSION message and its JSON. No state, any thread.
 */
#include "core/wire/version.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <vfu/protocol.h>

#include "core/wire/transport.h"

struct complaint {
    char *text;
    size_t room;
};

static int wrong(struct complaint *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int wrong(struct complaint *c, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(c->text, c->room, format, args);
    va_end(args);
    return -EINVAL;
}

/* A whole number from 1 to max; left as it is where the key is absent. */
static int take_number(json_t *object, const char *key, uint64_t max, uint64_t *value, struct complaint *c)
{
    json_t *item = json_object_get(object, key);

    if (!item)
        return 0;
    if (!json_is_integer(item))
        return wrong(c, "%s is no whole number", key);
    if (json_integer_value(item) < 1 || (uint64_t)json_integer_value(item) > max)
        return wrong(c, "%s is %lld; 1 to %llu make sense", key, (long long)json_integer_value(item),
                     (unsigned long long)max);
    *value = (uint64_t)json_integer_value(item);
    return 0;
}

static int take_bool(json_t *object, const char *key, bool *value, struct complaint *c)
{
    json_t *item = json_object_get(object, key);

    if (!item)
        return 0;
    if (!json_is_boolean(item))
        return wrong(c, "%s is neither true nor false", key);
    *value = json_is_true(item);
    return 0;
}

static int take_page_size(uint64_t value, const char *key, struct complaint *c)
{
    if (value & 4095)
        return wrong(c, "%s is %llu; page sizes are multiples of 4096", key, (unsigned long long)value);
    return 0;
}

static int take_migration(struct version *v, json_t *migration, struct complaint *c)
{
    int error;

    if (!migration)
        return 0;
    if (!json_is_object(migration))
        return wrong(c, "migration is no object");
    v->migration = true;
    error = take_number(migration, "pgsize", UINT32_MAX, &v->migration_pgsize, c);
    if (!error)
        error = take_number(migration, "max_bitmap_size", UINT32_MAX, &v->max_bitmap_size, c);
    if (!error && (v->migration_pgsize & (v->migration_pgsize - 1)))
        error = wrong(c, "migration.pgsize is %llu, no power of two", (unsigned long long)v->migration_pgsize);
    return error ? error : take_page_size(v->migration_pgsize, "migration.pgsize", c);
}

static int take_twin(struct version *v, json_t *twin, struct complaint *c)
{
    if (!twin)
        return 0;
    if (!json_is_object(twin))
        return wrong(c, "twin_socket is no object");
    return take_bool(twin, "supported", &v->twin_socket, c);
}

static int take_capabilities(struct version *v, json_t *capabilities, struct complaint *c)
{
    uint64_t fds = v->max_msg_fds, data = v->max_data_xfer_size, maps = v->max_dma_maps;
    int error;

    if (!capabilities)
        return 0;
    if (!json_is_object(capabilities))
        return wrong(c, "capabilities is no object");
    error = take_number(capabilities, "max_msg_fds", UINT32_MAX, &fds, c);
    if (!error)
        error = take_number(capabilities, "max_data_xfer_size", UINT32_MAX, &data, c);
    if (!error)
        error = take_number(capabilities, "max_dma_maps", UINT32_MAX, &maps, c);
    if (!error)
        error = take_number(capabilities, "pgsizes", INT64_MAX, &v->pgsizes, c);
    if (!error)
        error = take_page_size(v->pgsizes, "pgsizes", c);
    if (!error)
        error = take_migration(v, json_object_get(capabilities, "migration"), c);
    if (!error)
        error = take_twin(v, json_object_get(capabilities, "twin_socket"), c);
    if (!error)
        error = take_bool(capabilities, "write_multiple", &v->write_multiple, c);
    v->max_msg_fds = (uint32_t)fds;
    v->max_data_xfer_size = (uint32_t)data;
    v->max_dma_maps = (uint32_t)maps;
    return error;
}

int version_parse(struct version *v, const uint8_t *body, size_t size, char *why, size_t room)
{
    struct complaint c = { why, room };
    struct vfu_msg_version fixed;
    json_error_t problem;
    json_t *json;
    int error;

    *v = (struct version){
        .max_msg_fds = VFU_DEFAULT_MAX_MSG_FDS,
        .max_data_xfer_size = VFU_DEFAULT_MAX_DATA_XFER_SIZE,
        .max_dma_maps = VFU_DEFAULT_MAX_DMA_MAPS,
        .pgsizes = VFU_DEFAULT_PGSIZES,
    };
    memcpy(&fixed, body, sizeof fixed);
    if (fixed.major != VFU_PROTOCOL_MAJOR)
        return wrong(&c, "major version %u; this host speaks %u", fixed.major, VFU_PROTOCOL_MAJOR);
    v->minor = VFU_PROTOCOL_MINOR; /* the least there is; every client speaks it */
    if (size == sizeof fixed)
        return 0;
    body += sizeof fixed;
    size -= sizeof fixed;
    if (!memchr(body, '\0', size))
        return wrong(&c, "the JSON text has no NUL at its end");
    if (*body == '\0')
        return 0;
    json = json_loads((const char *)body, JSON_REJECT_DUPLICATES, &problem);
    if (!json)
        return wrong(&c, "JSON: %s at byte %d", problem.text, problem.position);
    error = json_is_object(json) ? take_capabilities(v, json_object_get(json, "capabilities"), &c)
                                 : wrong(&c, "the JSON text is no object");
    json_decref(json);
    return error;
}

uint32_t version_data_limit(const struct version *v)
{
    return v->max_data_xfer_size < TRANSPORT_MAX_DATA ? v->max_data_xfer_size : TRANSPORT_MAX_DATA;
}

uint32_t version_bitmap_limit(const struct version *v)
{
    uint32_t limit = version_data_limit(v);

    return v->max_bitmap_size && v->max_bitmap_size < limit ? (uint32_t)v->max_bitmap_size : limit;
}

uint64_t version_page(const struct version *v)
{
    return v->pgsizes & -v->pgsizes;
}

/* What is answered must be a subset of what the client proposed: its own page size, which is 4096 nearly always.
 * Stock clients want it no longer than their own request, so it is kept short: at most 180 bytes
 * for those that know no twin socket. */
size_t version_reply(const struct version *v, uint32_t max_dma_maps, int twin, uint8_t reply[VERSION_REPLY_MAX])
{
    struct vfu_msg_version fixed = { .major = VFU_PROTOCOL_MAJOR, .minor = v->minor };
    char *text = (char *)reply + sizeof fixed;
    size_t room = VERSION_REPLY_MAX - sizeof fixed, n;

    memcpy(reply, &fixed, sizeof fixed);
    n = (size_t)snprintf(text, room,
                         "{\"capabilities\":{\"max_msg_fds\":%u,\"max_data_xfer_size\":%u,\"max_dma_maps\":%u,"
                         "\"pgsizes\":%llu%s",
                         TRANSPORT_FDS, TRANSPORT_MAX_DATA, max_dma_maps, (unsigned long long)version_page(v),
                         v->write_multiple ? ",\"write_multiple\":true" : "");
    if (v->migration)
        n += (size_t)snprintf(text + n, room - n, ",\"migration\":{\"pgsize\":4096,\"max_bitmap_size\":%u}",
                              (unsigned)version_bitmap_limit(v));
    if (twin >= 0)
        n += (size_t)snprintf(text + n, room - n, ",\"twin_socket\":{\"supported\":true,\"fd_index\":%d}", twin);
    n += (size_t)snprintf(text + n, room - n, "}}");
    return sizeof fixed + n + 1;
}
