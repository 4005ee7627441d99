/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * describe - what a device is, asked of its plugin and checked. Main's thread.
 */
#include "core/plugin/describe.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "core/pci/irq.h"
#include "core/base/log.h"
#include "core/pci/pci_config.h"

#define MSIX_PAGE 4096u

static int bad(const char *who, const char *what)
{
    log_error(who, "the plugin's description is wrong: %s", what);
    return -ENOEXEC;
}

/* Copies the BARs into the order of their indexes, and marks the indexes in use. */
static int take_bars(struct description *d, const char *who, uint32_t *used)
{
    const struct vfu_desc *desc = &d->desc;
    uint32_t step = desc->bar_size ? desc->bar_size : (uint32_t)sizeof(struct vfu_bar);

    if (desc->nbars > 6 || (desc->nbars && !desc->bars))
        return bad(who, desc->nbars > 6 ? "more than six BARs" : "nbars is not 0, but bars is NULL");
    if (!plugin_elements_fit(who, "vfu_desc.bars", desc->nbars, desc->bar_size, offsetof(struct vfu_bar, flags)))
        return -ENOEXEC;
    for (uint32_t i = 0; i < desc->nbars; i++) {
        struct vfu_bar bar = { 0 };
        uint32_t takes;

        memcpy(&bar, (const char *)desc->bars + (size_t)i * step, step < sizeof bar ? step : sizeof bar);
        if (bar.index > 5 || (bar.type == VFU_BAR_MEM64 && bar.index == 5)) {
            log_error(who, "BAR %u: there are BARs 0 to 5, and a 64-bit BAR takes the next one too", bar.index);
            return -ENOEXEC;
        }
        takes = (bar.type == VFU_BAR_MEM64 ? 3u : 1u) << bar.index;
        if (*used & takes) {
            log_error(who, "BAR %u is declared twice, or is the upper half of a 64-bit BAR", bar.index);
            return -ENOEXEC;
        }
        *used |= takes;
        if (!plugin_elements_fit(who, "vfu_bar.areas", bar.nareas, bar.area_size, sizeof(struct vfu_area)))
            return -ENOEXEC;
        if (!(d->caps & VFU_CAP_MMAP)) {
            bar.flags &= ~VFU_BAR_MMAP;
            bar.nareas = 0;
        }
        d->bars[d->nbars++] = bar;
    }
    return 0;
}

static struct vfu_bar *find_bar(struct description *d, uint32_t index)
{
    for (uint32_t i = 0; i < d->nbars; i++) {
        if (d->bars[i].index == index)
            return &d->bars[i];
    }
    return NULL;
}

/* Where MSI-X table and PBA are: in a BAR of the plugin's, or in one made here. */
static int place_msix(struct description *d, const char *who, uint32_t used)
{
    struct vfu_desc *desc = &d->desc;
    uint64_t table = 16ull * desc->msix_vectors, pba = 8ull * ((desc->msix_vectors + 63) / 64);
    struct vfu_bar *bar;
    uint64_t size = 2 * MSIX_PAGE;
    uint32_t index = 6;

    if (desc->msix_vectors == 0)
        return 0;
    if (desc->msix_vectors > IRQ_MSIX_MAX)
        return bad(who, "more than 2048 MSI-X vectors");
    if (desc->msix_bar != VFU_NONE) {
        bar = find_bar(d, desc->msix_bar);
        if (!bar || bar->type == VFU_BAR_IO)
            return bad(who, "msix_bar names no memory BAR of this device");
        if ((desc->msix_table | desc->msix_pba) & 7 || desc->msix_table + table > bar->size ||
            desc->msix_pba + pba > bar->size ||
            (desc->msix_table < desc->msix_pba + pba && desc->msix_pba < desc->msix_table + table))
            return bad(who, "MSI-X table and PBA must be 8-aligned, apart, and inside their BAR");
        return 0;
    }
    while (index > 0 && (used & (1u << (index - 1))))
        index--;
    if (index == 0)
        return bad(who, "no BAR is left for the MSI-X table; name one in msix_bar");
    desc->msix_bar = index - 1;
    desc->msix_table = 0;
    desc->msix_pba = (uint32_t)((table + MSIX_PAGE - 1) / MSIX_PAGE * MSIX_PAGE);
    while (size < desc->msix_pba + pba)
        size *= 2;
    d->bars[d->nbars++] = (struct vfu_bar){ .index = desc->msix_bar, .type = VFU_BAR_MEM32, .size = size };
    return 0;
}

static void sort_bars(struct description *d)
{
    for (uint32_t i = 1; i < d->nbars; i++) {
        for (uint32_t j = i; j > 0 && d->bars[j - 1].index > d->bars[j].index; j--) {
            struct vfu_bar bar = d->bars[j];

            d->bars[j] = d->bars[j - 1];
            d->bars[j - 1] = bar;
        }
    }
}

/* Flags and numbers that must agree. What the operator has denied is taken out. */
static int check_interrupts(struct description *d, const char *who)
{
    struct vfu_desc *desc = &d->desc;

    if (!(desc->caps & VFU_CAP_MSI) != !desc->msi_vectors)
        return bad(who, "VFU_CAP_MSI and msi_vectors must be given together");
    if (!(desc->caps & VFU_CAP_MSIX) != !desc->msix_vectors)
        return bad(who, "VFU_CAP_MSIX and msix_vectors must be given together");
    if (desc->msi_vectors > IRQ_MSI_MAX || (desc->msi_vectors & (desc->msi_vectors - 1)))
        return bad(who, "msi_vectors must be 1, 2, 4, 8, 16 or 32");
    if (!(desc->caps & VFU_CAP_DOORBELL) != !desc->ndoorbells)
        return bad(who, "VFU_CAP_DOORBELL and doorbells must be given together");
    if (!(d->caps & VFU_CAP_MSI))
        desc->msi_vectors = 0;
    if (!(d->caps & VFU_CAP_MSIX))
        desc->msix_vectors = 0;
    return 0;
}

static void fill_sizes(struct description *d)
{
    for (uint32_t i = 0; i < d->nbars; i++)
        d->region_size[d->bars[i].index] = d->bars[i].size;
    if (d->desc.rom_size) {
        d->region_size[VFU_REGION_ROM] = 2048;
        while (d->region_size[VFU_REGION_ROM] < d->desc.rom_size)
            d->region_size[VFU_REGION_ROM] *= 2;
    }
    d->region_size[VFU_REGION_CONFIG] =
        d->desc.pci_flags & (VFU_PCI_EXPRESS | VFU_PCI_FLR) ? PCI_CONFIG_EXPRESS_SIZE : PCI_CONFIG_SIZE;
}

/* A script's binding has said why it refuses, and so has the host of a parameter that does not fit. */
static int failed(const char *who, const struct plugin *plugin, int error)
{
    if (error > 0 || error < -4095)
        return bad(who, "describe returned a number that is neither 0 nor a negative errno");
    if (error != -EINVAL && !plugin->source)
        log_error(who, "the plugin cannot describe its device: %s", strerror(-error));
    return error;
}

static int check_words(const struct description *d, const char *who, const struct plugin *plugin)
{
    const struct vfu_desc *desc = &d->desc;
    uint64_t lacking = desc->caps & ~plugin->table.caps;
    char names[256];

    if (lacking) {
        plugin_cap_names(lacking, names, sizeof names);
        log_error(who, "the plugin's description is wrong: its caps have %s, which those of the plugin's table lack",
                  names);
        return -ENOEXEC;
    }
    if (desc->name && !plugin_good_name(desc->name))
        return bad(who, "its name is not one of up to 64 letters, digits, '-', '_' and '.'");
    if (desc->rom_size && !desc->rom)
        return bad(who, "rom_size is not 0, but rom is NULL");
    if (desc->rom_size > (16u << 20))
        return bad(who, "an expansion ROM has at most 16 MiB");
    if (!plugin_elements_fit(who, "vfu_desc.doorbells", desc->ndoorbells, desc->doorbell_size,
                             offsetof(struct vfu_doorbell, match)) ||
        !plugin_elements_fit(who, "vfu_desc.pci_caps", desc->npci_caps, desc->pci_cap_size, sizeof(struct vfu_pci_cap)))
        return -ENOEXEC;
    return 0;
}

int describe(struct description *d, const char *who, const struct plugin *plugin, const struct vfu_host *host,
             const struct vfu_params *params, uint64_t host_caps)
{
    union {
        struct vfu_desc desc;
        char room[1024];
    } answer;
    uint32_t used = 0;
    int error;

    _Static_assert(sizeof answer.desc <= sizeof answer.room, "vfu_desc has outgrown its promised room");
    memset(d, 0, sizeof *d);
    memset(&answer, 0, sizeof answer);
    answer.desc.struct_size = sizeof answer.desc;
    error = plugin->table.describe(host, params, &answer.desc);
    d->desc = answer.desc;
    if (error)
        return failed(who, plugin, error);
    error = check_words(d, who, plugin);
    if (error)
        return error;
    d->caps = d->desc.caps & host_caps;
    error = plugin_check_needs(who, plugin->table.sdk, d->desc.needs, host_caps);
    if (!error)
        error = check_interrupts(d, who);
    if (!error)
        error = take_bars(d, who, &used);
    if (!error)
        error = place_msix(d, who, used);
    if (error)
        return error;
    sort_bars(d);
    fill_sizes(d);
    return 0;
}
