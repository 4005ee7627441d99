/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * imageload - puts a saved state in place of the present one: see image.h. Device's thread.
 *
 * The bytes come from outside. What can be checked without touching the device is checked first: frame, checksum,
 * identity. Then the device is reset and the sections are put in, one by one; the first that does not fit ends it, and
 * the device is reset once more.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/device/device.h"
#include "core/device/image_private.h"

#define NAME_MAX_LEN 511u

#define ull(x) ((unsigned long long)(x))

/* What is left of some bytes. */
struct reader {
    const uint8_t *p;
    uint64_t left;
};

struct loading {
    struct device *dev;
    bool told; /* the plugin has seen some of it */
};

__attribute__((format(printf, 2, 3))) static int bad(struct device *dev, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_limited(&dev->migration.limited, dev->name, LOG_WARN, "the saved state is refused: %s", text);
    return -EINVAL;
}

static const uint8_t *take(struct reader *r, uint64_t size)
{
    const uint8_t *p = r->p;

    if (size > r->left)
        return NULL;
    r->p += size;
    r->left -= size;
    return p;
}

static bool take_number(struct reader *r, uint32_t size, uint64_t *value)
{
    const uint8_t *p = take(r, size);
    uint64_t le = 0;

    if (p)
        memcpy(&le, p, size);
    *value = le64toh(le);
    return p;
}

static bool take_zero(struct reader *r)
{
    uint64_t value;

    return take_number(r, 4, &value) && value == 0;
}

static bool take_text(struct reader *r, char text[NAME_MAX_LEN + 1])
{
    const uint8_t *p;
    uint64_t n;

    if (!take_number(r, 2, &n) || n > NAME_MAX_LEN || !(p = take(r, n)) || memchr(p, 0, n))
        return false;
    memcpy(text, p, n);
    text[n] = 0;
    return true;
}

/* ---- the frame ---- */

static int check_frame(struct device *dev, const uint8_t *data, uint64_t size)
{
    const uint64_t tail = IMAGE_SECTION_HEAD + 8;
    struct reader r = { data, size };
    uint64_t magic, version, length, sum;

    if (size < IMAGE_HEAD + tail)
        return bad(dev, "%llu bytes are too few", ull(size));
    if (!take_number(&r, 8, &magic) || magic != IMAGE_MAGIC)
        return bad(dev, "it does not begin as one");
    if (!take_number(&r, 4, &version) || version != IMAGE_VERSION || !take_zero(&r))
        return bad(dev, "its format has version %llu, this host knows %u", ull(version), IMAGE_VERSION);
    if (!take_number(&r, 8, &length) || length != size)
        return bad(dev, "it has %llu bytes and says that it has %llu: it is %s", ull(size), ull(length),
                   size < length ? "cut off" : "too long");
    memcpy(&sum, data + size - 8, 8);
    if (le64toh(sum) != image_sum(data, size - 8))
        return bad(dev, "its checksum is wrong: it is damaged");
    return 0;
}

/* ---- sections ---- */

static int load_identity(struct loading *l, struct reader *r)
{
    struct image_fact facts[IMAGE_FACTS];
    uint32_t n = image_identity(l->dev, facts);
    char name[NAME_MAX_LEN + 1];
    uint64_t value;

    if (!take_text(r, name))
        return bad(l->dev, "its identity has no name");
    if (strcmp(name, l->dev->name) != 0)
        return bad(l->dev, "it is of another device: its name is '%s', this one's is '%s'", name, l->dev->name);
    if (!take_number(r, 4, &value) || value != n)
        return bad(l->dev, "its identity is of another format");
    for (uint32_t i = 0; i < n; i++) {
        if (!take_number(r, 8, &value))
            return bad(l->dev, "its identity is cut off");
        if (value != facts[i].value)
            return bad(l->dev, "it is of another device: its %s is %#llx, this one's is %#llx", facts[i].name,
                       ull(value), ull(facts[i].value));
    }
    return 0;
}

static int load_config(struct loading *l, struct reader *r)
{
    const uint8_t *bytes = take(r, l->dev->config.size);

    if (!bytes)
        return bad(l->dev, "its config space has %llu bytes, not %u", ull(r->left), l->dev->config.size);
    pci_config_restore(&l->dev->config, bytes);
    return 0;
}

static int count_value(void *ctx, const char *name, uint32_t size, uint64_t value)
{
    (void)size;
    (void)value;
    if (!strchr(name, '!'))
        ++*(uint64_t *)ctx;
    return 0;
}

static int load_registers(struct loading *l, struct reader *r)
{
    struct device *dev = l->dev;
    uint64_t expected = 0, n = 0;

    regmap_each(dev->map, count_value, &expected);
    while (r->left) {
        char name[NAME_MAX_LEN + 1];
        uint64_t size, value;

        if (!take_text(r, name) || !take_number(r, 1, &size) || !take_number(r, 8, &value))
            return bad(dev, "its register %llu is cut off", ull(n));
        if (regmap_restore(dev->map, name, value))
            return bad(dev, "its register '%s' does not exist here", name);
        if (!strchr(name, '!'))
            n++;
    }
    return n == expected ? 0 : bad(dev, "it has %llu registers, this device has %llu", ull(n), ull(expected));
}

static int load_memory(struct loading *l, struct reader *r)
{
    uint64_t bar, offset;
    struct region *region;

    if (!take_number(r, 4, &bar) || !take_zero(r) || !take_number(r, 8, &offset))
        return bad(l->dev, "a piece of its memory is cut off");
    region = bar <= VFU_REGION_BAR5 ? &l->dev->regions[bar] : NULL;
    if (!region || !region->memory || region->readonly)
        return bad(l->dev, "it has memory for BAR %llu, which has none", ull(bar));
    if (offset > region->size || r->left > region->size - offset)
        return bad(l->dev, "its memory for BAR %llu, offset %#llx, has %#llx bytes: the BAR has %#llx", ull(bar),
                   ull(offset), ull(r->left), ull(region->size));
    memcpy(region->memory + offset, r->p, r->left);
    r->left = 0;
    return 0;
}

static int load_interrupts(struct loading *l, struct reader *r)
{
    struct device *dev = l->dev;
    uint32_t size = irq_state_size(dev->irq);

    if (r->left != size || irq_state_load(dev->irq, r->p, size))
        return bad(dev, "its interrupts (%llu bytes) do not fit", ull(r->left));
    r->left = 0;
    /* The registers are there: the level that they make is the one just loaded, unless somebody made this by hand. */
    regmap_level(dev->map);
    return 0;
}

static int load_timers(struct loading *l, struct reader *r)
{
    struct device *dev = l->dev;
    uint64_t n = r->left / IMAGE_TIMER_SIZE;
    struct timer_image *images;
    int error = 0;

    if (n > TIMERS_MAX || r->left % IMAGE_TIMER_SIZE)
        return bad(dev, "its pending events (%llu bytes) are cut off, or more than %u", ull(r->left), TIMERS_MAX);
    if (n && !(dev->description.caps & VFU_CAP_TIMERS))
        return bad(dev, "it has pending events, and this device has no timers");
    images = calloc(n ? n : 1, sizeof *images);
    if (!images)
        return -ENOMEM;
    for (uint64_t i = 0; i < n && !error; i++) {
        uint64_t id, event;

        if (!take_number(r, 8, &id) || !take_number(r, 8, &images[i].left) || !take_number(r, 8, &images[i].period) ||
            !take_number(r, 8, &images[i].arg) || !take_number(r, 4, &event) || !take_zero(r))
            error = -EINVAL;
        else {
            images[i].id = (int64_t)id;
            images[i].event = (uint32_t)event;
        }
    }
    if (!error)
        error = timers_load(&dev->timers, images, (uint32_t)n);
    free(images);
    return error == -EINVAL ? bad(dev, "its pending events are none that a device has had") : error;
}

struct plugin_source {
    struct vfu_source source; /* first */
    struct reader *r;
};

static uint64_t source_left(struct vfu_source *source)
{
    return ((struct plugin_source *)source)->r->left;
}

static int32_t source_read(struct vfu_source *source, void *data, uint64_t len)
{
    const uint8_t *p = take(((struct plugin_source *)source)->r, len);

    if (!p)
        return -EINVAL;
    if (len)
        memcpy(data, p, len);
    return 0;
}

static int load_plugin(struct loading *l, struct reader *r)
{
    struct device *dev = l->dev;
    struct plugin_source source = { { source_left, source_read }, r };
    int error;

    if (!dev->migration.ops)
        return 0;
    l->told = true;
    error = dev->migration.ops->load(dev->self, &source.source);
    if (error == -ENOMEM)
        return error;
    return error ? bad(dev, "the plugin does not take its part (%s)", strerror(error < 0 ? -error : EINVAL)) : 0;
}

static int load_end(struct loading *l, struct reader *r)
{
    (void)l;
    take(r, 8); /* the checksum, which has been looked at */
    return 0;
}

/* ---- all of it ---- */

static const struct section {
    uint32_t tag;
    bool many; /* any number of them, or none */
    int (*load)(struct loading *l, struct reader *r);
} sections[] = {
    { IMAGE_IDENTITY, false, load_identity },     { IMAGE_CONFIG, false, load_config },
    { IMAGE_REGISTERS, false, load_registers },   { IMAGE_MEMORY, true, load_memory },
    { IMAGE_INTERRUPTS, false, load_interrupts }, { IMAGE_TIMERS, false, load_timers },
    { IMAGE_PLUGIN, false, load_plugin },         { IMAGE_END, false, load_end },
};
#define SECTIONS (sizeof sections / sizeof sections[0])

static void clear_memory(struct device *dev)
{
    for (uint32_t i = 0; i <= VFU_REGION_BAR5; i++) {
        struct region *region = &dev->regions[i];

        if (!region->memory)
            continue;
        /* Pages that go away read zero, and cost nothing until they are used. */
        if (region->fd >= 0 ? fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)region->size)
                            : madvise(region->memory, region->size, MADV_DONTNEED))
            memset(region->memory, 0, region->size);
    }
}

/* One section, which must be the one whose turn it is. *at is its place in the list. */
static int load_section(struct loading *l, struct reader *r, size_t *at)
{
    uint64_t tag, size;
    struct reader body;
    int error;

    if (!take_number(r, 4, &tag) || !take_zero(r) || !take_number(r, 8, &size) || size > r->left)
        return bad(l->dev, "a section is cut off");
    while (*at < SECTIONS && sections[*at].many && sections[*at].tag != tag)
        ++*at;
    if (*at == SECTIONS || sections[*at].tag != tag)
        return bad(l->dev, "section %#llx is unknown, or out of order", ull(tag));
    body = (struct reader){ take(r, size), size };
    error = sections[*at].load(l, &body);
    if (!error && body.left)
        error = bad(l->dev, "section '%.4s' has %llu bytes too many", (const char *)&sections[*at].tag, ull(body.left));
    if (!sections[*at].many)
        ++*at;
    return error;
}

int image_load(struct device *dev, const uint8_t *data, uint64_t size, bool *clean)
{
    struct loading l = { .dev = dev };
    struct reader r = { data, size };
    size_t at = 0;
    int error = check_frame(dev, data, size);

    if (!error) {
        take(&r, IMAGE_HEAD);
        error = load_section(&l, &r, &at);
    }
    device_wipe(dev);
    clear_memory(dev);
    while (!error && at < SECTIONS)
        error = load_section(&l, &r, &at);
    if (!error && r.left)
        error = bad(dev, "%llu bytes come behind its end", ull(r.left));
    *clean = true;
    if (!error)
        return 0;
    if (error == -ENOMEM)
        log_error(dev->name, "the saved state cannot be loaded: out of memory");
    if (at > 1) {
        device_wipe(dev);
        clear_memory(dev);
    }
    *clean = !l.told || (dev->description.caps & VFU_CAP_RESET);
    return error;
}
