/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * show - "vfu-client SOCKET info": everything the device says of itself, as text or as JSON. One thread.
 */
#include "sdk/client/show.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REGIONS 9u
#define IRQS 5u
#define AREAS 64u
#define BELLS 64u
#define SIZE_TEXT 32

struct info {
    struct vfuc_device device;
    struct vfuc_region regions[REGIONS];
    struct vfuc_area areas[REGIONS][AREAS];
    uint32_t nregions, nirqs;
    struct vfuc_irq irqs[IRQS];
    const struct vfuc_server *server;
    uint8_t config[4096];
    size_t config_size;
    struct vfuc_doorbell bells[6][BELLS];
    uint32_t nbells[6];
    bool migrates;
    uint64_t migration; /* VFUC_MIG_HAS_* */
};

static const char *const show_regions[REGIONS] = { "bar0", "bar1", "bar2",   "bar3", "bar4",
                                                   "bar5", "rom",  "config", "vga" };
static const char *const show_irqs[IRQS] = { "INTx", "MSI", "MSI-X", "error", "request" };

static uint32_t show_u16(const struct info *info, uint32_t at)
{
    return (uint32_t)info->config[at] | (uint32_t)info->config[at + 1] << 8;
}

static uint32_t show_u32(const struct info *info, uint32_t at)
{
    return show_u16(info, at) | show_u16(info, at + 2) << 16;
}

/* A server may lack either, and says so with an error of its own; the connection is to live through it. */
static int show_collect_more(struct vfuc *c, struct info *info)
{
    struct vfuc_device device;
    int n = vfuc_migration_flags(c, &info->migration);

    info->migrates = n == 0;
    if (n < 0)
        n = vfuc_device_info(c, &device);
    for (uint32_t i = 0; i < 6 && i < info->nregions && n >= 0; i++) {
        if (!info->regions[i].size)
            continue;
        n = vfuc_doorbells(c, i, info->bells[i], BELLS);
        info->nbells[i] = n > 0 ? (uint32_t)n : 0;
        if (n == -EPROTO)
            return n;
        if (n < 0)
            return vfuc_device_info(c, &device);
    }
    return n < 0 ? n : 0;
}

static int show_collect(struct vfuc *c, struct info *info)
{
    const struct vfuc_region *config;
    int err = vfuc_device_info(c, &info->device);

    info->server = vfuc_server(c);
    info->nregions = info->device.num_regions < REGIONS ? info->device.num_regions : REGIONS;
    info->nirqs = info->device.num_irqs < IRQS ? info->device.num_irqs : IRQS;
    for (uint32_t i = 0; !err && i < info->nregions; i++) {
        err = vfuc_region_info(c, i, &info->regions[i], info->areas[i], AREAS);
        /* Region 8 is VGA: a server that counts it may still refuse to speak of it. */
        if (err == -EINVAL && i == VFUC_VGA) {
            info->nregions = i;
            err = 0;
        } else if (!err && info->regions[i].fd >= 0) {
            close(info->regions[i].fd);
        }
    }
    for (uint32_t i = 0; !err && i < info->nirqs; i++)
        err = vfuc_irq_info(c, i, &info->irqs[i]);
    config = &info->regions[VFUC_CONFIG];
    if (!err && info->nregions > VFUC_CONFIG)
        info->config_size = config->size >= sizeof info->config ? sizeof info->config : config->size >= 256 ? 256 : 0;
    if (!err && info->config_size)
        err = vfuc_read(c, VFUC_CONFIG, 0, info->config, info->config_size);
    return err ? err : show_collect_more(c, info);
}

/* ---- words for both outputs ------------------------------------------------------------------------------------ */

struct show_bar {
    bool io, wide, prefetch;
    uint64_t address;
};

static struct show_bar show_bar(const struct info *info, uint32_t i)
{
    struct show_bar bar = { 0 };
    uint32_t low = show_u32(info, 0x10 + 4 * i);

    bar.io = low & 1;
    bar.wide = !bar.io && (low & 6) == 4 && i < 5;
    bar.prefetch = !bar.io && low & 8;
    bar.address = bar.io ? low & ~3u : low & ~15u;
    if (bar.wide)
        bar.address |= (uint64_t)show_u32(info, 0x14 + 4 * i) << 32;
    return bar;
}

static const char *show_size(uint64_t size, char *text)
{
    static const char units[] = " KMGTPE";
    int unit = 0;

    while (size && size % 1024 == 0 && unit < 6) {
        size /= 1024;
        unit++;
    }
    snprintf(text, SIZE_TEXT, unit ? "%" PRIu64 "%c" : "%" PRIu64, size, units[unit]);
    return text;
}

static const struct {
    uint32_t bit;
    const char *name;
} show_irq_flags[] = { { VFUC_IRQ_EVENTFD, "eventfd" }, { VFUC_IRQ_MASKABLE, "maskable" },
                       { VFUC_IRQ_AUTOMASKED, "automasked" }, { VFUC_IRQ_NORESIZE, "noresize" } };

static const struct {
    uint32_t bit;
    const char *name;
} show_command
    [] = { { 0, "I/O" }, { 1, "Mem" }, { 2, "BusMaster" }, { 6, "ParErr" }, { 8, "SERR" }, { 10, "DisINTx" } },
    show_status[] = { { 3, "INTx" },       { 4, "Cap" },      { 11, "SigTAbort" }, { 12, "RecTAbort" },
                      { 13, "RecMAbort" }, { 14, "SigSERR" }, { 15, "DetParErr" } };

static const struct {
    uint32_t bit;
    const char *name;
} show_migration[] = { { VFUC_MIG_HAS_STOP_COPY, "stop-copy" }, { VFUC_MIG_HAS_PRE_COPY, "pre-copy" },
                       { VFUC_MIG_HAS_P2P, "p2p" } };

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- text ------------------------------------------------------------------------------------------------------- */

static void show_text_cap(void *ctx, const struct pcicap *cap)
{
    (void)ctx;
    printf("\tCapabilities: [%02x] %s%s%s%s\n", cap->offset, cap->name, cap->extended ? " (extended)" : "",
           *cap->text ? ": " : "", cap->text);
}

static void show_text_header(const struct info *info)
{
    uint32_t class_code = show_u32(info, 8) >> 8, command = show_u16(info, 4), status = show_u16(info, 6);
    uint32_t pin = info->config[0x3d];

    printf("%s [%04x]: %04x:%04x", pcicap_class(class_code), class_code >> 8, show_u16(info, 0), show_u16(info, 2));
    if (info->config[8])
        printf(" (rev %02x)", info->config[8]);
    if (class_code & 0xff)
        printf(" (prog-if %02x)", class_code & 0xff);
    printf("\n");
    if (show_u32(info, 0x2c))
        printf("\tSubsystem: %04x:%04x\n", show_u16(info, 0x2c), show_u16(info, 0x2e));
    printf("\tControl:");
    for (size_t i = 0; i < COUNT(show_command); i++)
        printf(" %s%c", show_command[i].name, command >> show_command[i].bit & 1 ? '+' : '-');
    printf("\n\tStatus:");
    for (size_t i = 0; i < COUNT(show_status); i++)
        printf(" %s%c", show_status[i].name, status >> show_status[i].bit & 1 ? '+' : '-');
    printf("\n");
    if (pin >= 1 && pin <= 4)
        printf("\tInterrupt: pin %c, line %u\n", 'A' + (int)pin - 1, info->config[0x3c]);
}

static void show_text_region(const struct info *info, uint32_t i)
{
    const struct vfuc_region *r = &info->regions[i];
    char size[SIZE_TEXT];

    if (!r->size)
        return;
    printf("\tRegion %u (%s): ", i, show_regions[i]);
    if (i <= 5 && info->config_size) {
        struct show_bar bar = show_bar(info, i);

        if (bar.io)
            printf("I/O ports at %04" PRIx64, bar.address);
        else
            printf("Memory at %08" PRIx64 " (%s-bit, %sprefetchable)", bar.address, bar.wide ? "64" : "32",
                   bar.prefetch ? "" : "non-");
    } else {
        printf(i == VFUC_CONFIG ? "PCI configuration space" : i == VFUC_ROM ? "Expansion ROM" : "Memory");
    }
    printf(" [size=%s]%s%s", show_size(r->size, size), r->flags & VFUC_REGION_READ ? "" : " [no reads]",
           r->flags & VFUC_REGION_WRITE ? "" : " [no writes]");
    if (r->flags & VFUC_REGION_MMAP && !r->nareas)
        printf(" [mappable]");
    printf("\n");
    for (uint32_t k = 0; k < r->nareas && k < AREAS; k++)
        printf("\t\tmappable: 0x%" PRIx64 ", %s bytes\n", info->areas[i][k].offset,
               show_size(info->areas[i][k].size, size));
    if (r->nareas > AREAS)
        printf("\t\tmappable: %u areas more\n", r->nareas - AREAS);
}

static void show_text_bells(const struct info *info, uint32_t region)
{
    for (uint32_t i = 0; i < info->nbells[region] && i < BELLS; i++) {
        const struct vfuc_doorbell *bell = &info->bells[region][i];

        printf("\tDoorbell: %s at 0x%" PRIx64 ", ", show_regions[region], bell->offset);
        bell->size ? printf("%u bytes", bell->size) : printf("any size");
        if (bell->flags & VFUC_DOORBELL_MATCH)
            printf(", for the value 0x%" PRIx64, bell->match);
        printf("%s%s\n", bell->flags & VFUC_DOORBELL_PIO ? ", I/O" : "",
               bell->flags & VFUC_DOORBELL_SHADOW ? ", with its value in shadow memory" : "");
    }
    if (info->nbells[region] > BELLS)
        printf("\tDoorbell: %s, %u more\n", show_regions[region], info->nbells[region] - BELLS);
}

static void show_text_migration(const struct info *info)
{
    /* Bits of a later protocol are none that this program could name. */
    printf("\tMigration: %s", info->migrates && info->migration & 7 ? "" : "no");
    for (size_t k = 0, n = 0; k < COUNT(show_migration); k++) {
        if (info->migrates && info->migration & show_migration[k].bit)
            printf("%s%s", n++ ? ", " : "", show_migration[k].name);
    }
    printf("\n");
}

static void show_text(const struct info *info)
{
    const struct vfuc_server *s = info->server;
    char size[SIZE_TEXT];

    if (info->config_size)
        show_text_header(info);
    else
        printf("Device without PCI configuration space\n");
    for (uint32_t i = 0; i < info->nregions; i++)
        show_text_region(info, i);
    if (info->config_size && !pcicap_walk(info->config, info->config_size, show_text_cap, NULL))
        printf("\tCapabilities: the list is broken behind this point\n");
    for (uint32_t i = 0; i < info->nirqs; i++) {
        if (!info->irqs[i].count)
            continue;
        printf("\tInterrupts: %s, %u", show_irqs[i], info->irqs[i].count);
        for (size_t k = 0, n = 0; k < COUNT(show_irq_flags); k++) {
            if (info->irqs[i].flags & show_irq_flags[k].bit)
                printf("%s%s", n++ ? ", " : " (", show_irq_flags[k].name);
        }
        printf("%s\n", info->irqs[i].flags & 15 ? ")" : "");
    }
    for (uint32_t i = 0; i < 6; i++)
        show_text_bells(info, i);
    show_text_migration(info);
    printf("\tReset: %s\n", info->device.flags & VFUC_DEVICE_RESET ? "yes" : "no");
    printf("\tProtocol: %u.%u, max_data_xfer_size %s, max_msg_fds %u, max_dma_maps %u, pgsizes 0x%" PRIx64 "%s%s%s\n",
           s->major, s->minor, show_size(s->max_data_xfer_size, size), s->max_msg_fds, s->max_dma_maps, s->pgsizes,
           s->write_multiple ? ", write_multiple" : "", s->migration ? ", migration" : "",
           s->twin_socket ? ", twin_socket" : "");
}

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

static void show_json_cap(void *ctx, const struct pcicap *cap)
{
    json_array_append_new(ctx, json_pack("{s:i, s:i, s:b, s:s, s:s}", "offset", (int)cap->offset, "id", (int)cap->id,
                                         "extended", (int)cap->extended, "name", cap->name, "text", cap->text));
}

static json_t *show_json_pci(const struct info *info)
{
    json_t *pci =
        json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:i, s:i, s:i}", "vendor", (int)show_u16(info, 0), "device",
                  (int)show_u16(info, 2), "subsystem_vendor", (int)show_u16(info, 0x2c), "subsystem",
                  (int)show_u16(info, 0x2e), "revision", (int)info->config[8], "class", (int)(show_u32(info, 8) >> 8),
                  "class_name", pcicap_class(show_u32(info, 8) >> 8), "command", (int)show_u16(info, 4), "status",
                  (int)show_u16(info, 6), "interrupt_pin", (int)info->config[0x3d]);
    json_t *caps = json_array();
    bool good = pcicap_walk(info->config, info->config_size, show_json_cap, caps);

    json_object_set_new(pci, "capabilities", caps);
    json_object_set_new(pci, "capability_list_intact", json_boolean(good));
    return pci;
}

static json_t *show_json_region(const struct info *info, uint32_t i)
{
    const struct vfuc_region *r = &info->regions[i];
    json_t *areas = json_array();
    json_t *o = json_pack("{s:i, s:s, s:I, s:b, s:b, s:b}", "index", (int)i, "name", show_regions[i], "size",
                          (json_int_t)r->size, "read", !!(r->flags & VFUC_REGION_READ), "write",
                          !!(r->flags & VFUC_REGION_WRITE), "mmap", !!(r->flags & VFUC_REGION_MMAP));

    for (uint32_t k = 0; k < r->nareas && k < AREAS; k++)
        json_array_append_new(areas, json_pack("{s:I, s:I}", "offset", (json_int_t)info->areas[i][k].offset, "size",
                                               (json_int_t)info->areas[i][k].size));
    json_object_set_new(o, "areas", areas);
    if (i <= 5 && info->config_size) {
        struct show_bar bar = show_bar(info, i);

        json_object_set_new(o, "type", json_string(bar.io ? "io" : bar.wide ? "mem64" : "mem32"));
        json_object_set_new(o, "prefetch", json_boolean(bar.prefetch));
        json_object_set_new(o, "address", json_integer((json_int_t)bar.address));
    }
    return o;
}

static json_t *show_json_irq(const struct vfuc_irq *irq)
{
    json_t *o = json_pack("{s:i, s:s, s:I}", "index", (int)irq->index, "name", show_irqs[irq->index], "count",
                          (json_int_t)irq->count);

    for (size_t k = 0; k < COUNT(show_irq_flags); k++)
        json_object_set_new(o, show_irq_flags[k].name, json_boolean(irq->flags & show_irq_flags[k].bit));
    return o;
}

static json_t *show_json_bells(const struct info *info)
{
    json_t *all = json_array();

    for (uint32_t i = 0; i < 6; i++) {
        for (uint32_t k = 0; k < info->nbells[i] && k < BELLS; k++) {
            const struct vfuc_doorbell *bell = &info->bells[i][k];
            json_t *o = json_pack("{s:s, s:I, s:I, s:b, s:b}", "region", show_regions[i], "offset",
                                  (json_int_t)bell->offset, "size", (json_int_t)bell->size, "io",
                                  !!(bell->flags & VFUC_DOORBELL_PIO), "shadow",
                                  !!(bell->flags & VFUC_DOORBELL_SHADOW));

            if (bell->flags & VFUC_DOORBELL_MATCH)
                json_object_set_new(o, "match", json_integer((json_int_t)bell->match));
            json_array_append_new(all, o);
        }
    }
    return all;
}

static json_t *show_json_migration(const struct info *info)
{
    json_t *o = json_object();

    for (size_t k = 0; k < COUNT(show_migration); k++)
        json_object_set_new(o, show_migration[k].name,
                            json_boolean(info->migrates && info->migration & show_migration[k].bit));
    return o;
}

static int show_json(const struct info *info)
{
    const struct vfuc_server *s = info->server;
    json_t *root = json_object(), *regions = json_array(), *irqs = json_array();
    int err;

    if (info->config_size)
        json_object_set_new(root, "pci", show_json_pci(info));
    for (uint32_t i = 0; i < info->nregions; i++)
        json_array_append_new(regions, show_json_region(info, i));
    for (uint32_t i = 0; i < info->nirqs; i++)
        json_array_append_new(irqs, show_json_irq(&info->irqs[i]));
    json_object_set_new(root, "regions", regions);
    json_object_set_new(root, "interrupts", irqs);
    json_object_set_new(root, "doorbells", show_json_bells(info));
    json_object_set_new(root, "migration", show_json_migration(info));
    json_object_set_new(root, "reset", json_boolean(info->device.flags & VFUC_DEVICE_RESET));
    json_object_set_new(root, "protocol",
                        json_pack("{s:i, s:i, s:I, s:I, s:I, s:I, s:b, s:b, s:b}", "major", (int)s->major, "minor",
                                  (int)s->minor, "max_data_xfer_size", (json_int_t)s->max_data_xfer_size, "max_msg_fds",
                                  (json_int_t)s->max_msg_fds, "max_dma_maps", (json_int_t)s->max_dma_maps, "pgsizes",
                                  (json_int_t)s->pgsizes, "write_multiple", (int)s->write_multiple, "migration",
                                  (int)s->migration, "twin_socket", (int)s->twin_socket));
    err = json_dumpf(root, stdout, JSON_INDENT(2));
    json_decref(root);
    printf("\n");
    return err ? -EIO : 0;
}

int show_info(struct vfuc *c, bool json)
{
    static struct info info;
    int err = show_collect(c, &info);

    if (err)
        return err;
    if (json)
        return show_json(&info);
    show_text(&info);
    return 0;
}
