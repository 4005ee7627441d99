/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dump - what a device is, for people and programs. Main's thread.
 */
#include "core/dump.h"

#include <errno.h>
#include <string.h>

#include "core/regmap/regdump.h"

static const char *const bar_types[] = { "mem32", "mem64", "io" };

/* "1 MiB", "8 bytes" */
static void print_size(FILE *out, uint64_t size)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    int unit = 0;

    while (size >= 1024 && size % 1024 == 0) {
        size /= 1024;
        unit++;
    }
    fprintf(out, "%llu %s", (unsigned long long)size, units[unit]);
}

void dump_summary(FILE *out, const struct device *dev)
{
    const struct vfu_desc *desc = &dev->description.desc;
    char caps[256];

    plugin_cap_names(dev->description.caps, caps, sizeof caps);
    fprintf(out, "%s: PCI %04x:%04x, class %06x%s%s\n", dev->name, desc->vendor, desc->device, desc->class_code,
            dev->doc ? ", " : "", dev->doc ? dev->doc : "");
    for (uint32_t i = 0; i < dev->description.nbars; i++) {
        const struct vfu_bar *bar = &dev->description.bars[i];

        fprintf(out, "  BAR %u       %s, ", bar->index, bar_types[bar->type]);
        print_size(out, bar->size);
        fprintf(out, "\n");
    }
    if (dev->description.caps & (VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_MSIX)) {
        fprintf(out, "  interrupts ");
        if (dev->description.caps & VFU_CAP_INTX)
            fprintf(out, " INTx");
        if (desc->msi_vectors)
            fprintf(out, " MSI (%u)", desc->msi_vectors);
        if (desc->msix_vectors)
            fprintf(out, " MSI-X (%u)", desc->msix_vectors);
        fprintf(out, "\n");
    }
    fprintf(out, "  caps        %s\n", *caps ? caps : "none");
    display_print(out, (struct displays *)(uintptr_t)&dev->displays);
}

/* A JSON string inside single quotes of a shell. */
static void print_quoted(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else if (*text == '\'')
            fprintf(out, "'\\''");
        else if ((unsigned char)*text < 0x20)
            fprintf(out, "\\u%04x", (unsigned char)*text);
        else
            fputc(*text, out);
    }
}

void dump_qemu(FILE *out, const char *const *sockets, uint32_t n)
{
    fprintf(out, "\nAttach QEMU (10.1 or later) like this, with a disk or kernel of yours added:\n"
                 "qemu-system-x86_64 -machine q35,accel=kvm:tcg,memory-backend=mem -m 1G"
                 " -object memory-backend-memfd,id=mem,size=1G,share=on");
    for (uint32_t i = 0; i < n; i++) {
        fprintf(out, " -device '{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"");
        print_quoted(out, sockets[i]);
        fprintf(out, "\"}}'");
    }
    fprintf(out, "\n");
}

static void print_interrupts(FILE *out, const struct device *dev)
{
    const struct vfu_desc *desc = &dev->description.desc;

    fprintf(out, "interrupts=intx:%u,msi:%u,msix:%u\n", dev->description.caps & VFU_CAP_INTX ? 1u : 0u, desc->msi_vectors,
            desc->msix_vectors);
    if (desc->msix_vectors)
        fprintf(out, "msix=bar:%u,table:%#x,pba:%#x\n", desc->msix_bar, desc->msix_table, desc->msix_pba);
}

static void print_doorbells(FILE *out, const struct ioevent *io)
{
    fprintf(out, "doorbells=%u\n", io->nbells);
    for (uint32_t i = 0; i < io->nbells; i++) {
        const struct vfu_doorbell *bell = &io->bells[i];

        fprintf(out, "doorbell%u=bar:%u,offset:%#llx,size:%u", i, bell->bar, (unsigned long long)bell->offset, bell->size);
        if (bell->flags & VFU_DOORBELL_MATCH)
            fprintf(out, ",match:%#llx", (unsigned long long)bell->match);
        if (bell->share)
            fprintf(out, ",share:%u", bell->share);
        fprintf(out, "%s\n", bell->flags & VFU_DOORBELL_SHADOW ? ",shadow" : "");
    }
}

static void print_choices(FILE *out, const struct param_value *value)
{
    if (!value->choices)
        return;
    fprintf(out, "parameter.%s.choices=", value->name);
    for (int i = 0; value->choices[i]; i++)
        fprintf(out, "%s%s", i ? "," : "", value->choices[i]);
    fprintf(out, "\n");
}

static void print_parameters(FILE *out, const struct params *params)
{
    static const char *const types[] = { "int", "bool", "string", "enum", "number" };

    fprintf(out, "parameters=");
    for (uint32_t i = 0; i < params->nvalues; i++)
        fprintf(out, "%s%s", i ? "," : "", params->values[i].name);
    fprintf(out, "\n");
    for (uint32_t i = 0; i < params->nvalues; i++) {
        const struct param_value *value = &params->values[i];

        fprintf(out, "parameter.%s.type=%s\n", value->name, types[value->type]);
        if (value->text)
            fprintf(out, "parameter.%s.value=%s\n", value->name, value->text);
        if (value->flags & VFU_PARAM_REQUIRED)
            fprintf(out, "parameter.%s.required=yes\n", value->name);
        if (value->flags & VFU_PARAM_HAS_MIN)
            fprintf(out, "parameter.%s.min=%lld\n", value->name, (long long)value->min);
        if (value->flags & VFU_PARAM_HAS_MAX)
            fprintf(out, "parameter.%s.max=%lld\n", value->name, (long long)value->max);
        print_choices(out, value);
        if (value->doc)
            fprintf(out, "parameter.%s.doc=%s\n", value->name, value->doc);
    }
}

/* In the place of what describe says, where a required parameter is missing. */
static void print_missing(FILE *out, const struct params *params)
{
    const char *comma = "";

    fprintf(out, "missing=");
    for (uint32_t i = 0; i < params->nvalues; i++) {
        if (!(params->values[i].flags & VFU_PARAM_REQUIRED) || params->values[i].text)
            continue;
        fprintf(out, "%s%s", comma, params->values[i].name);
        comma = ",";
    }
    fprintf(out, "\nnote=ids, BARs, interrupts, doorbells and the caps in use are known with the missing parameters given\n");
}

static void print_device(FILE *out, const struct device *dev)
{
    const struct vfu_desc *desc = &dev->description.desc;

    fprintf(out, "ids=%04x:%04x\nsubsystem=%04x:%04x\n", desc->vendor, desc->device, desc->subsystem_vendor, desc->subsystem);
    fprintf(out, "class=%06x\nrevision=%02x\n", desc->class_code, desc->revision);
    fprintf(out, "bars=");
    for (uint32_t i = 0; i < dev->description.nbars; i++)
        fprintf(out, "%s%u", i ? "," : "", dev->description.bars[i].index);
    fprintf(out, "\n");
    for (uint32_t i = 0; i < dev->description.nbars; i++) {
        const struct vfu_bar *bar = &dev->description.bars[i];

        fprintf(out, "bar%u=%s,size:%#llx%s%s%s\n", bar->index, bar_types[bar->type], (unsigned long long)bar->size,
                bar->flags & VFU_BAR_PREFETCH ? ",prefetch" : "", bar->flags & VFU_BAR_RAM ? ",ram" : "",
                bar->flags & VFU_BAR_MMAP ? ",mmap" : "");
    }
    print_interrupts(out, dev);
    print_doorbells(out, &dev->ioevent);
}

int dump_plugin(FILE *out, const struct device *dev)
{
    const struct vfu_plugin *table = &dev->plugin->table;
    const struct vfu_desc *desc = &dev->description.desc;
    char names[256];

    fprintf(out, "name=%s\nversion=%s\n", dev->name, table->version ? table->version : "");
    fprintf(out, "abi=%u.%u\nsdk=%s\n", table->abi_version >> 16, table->abi_version & 0xffff, table->sdk ? table->sdk : "");
    fprintf(out, "path=%s\n", dev->plugin->path);
    if (dev->plugin->source)
        fprintf(out, "script=%s\n", dev->plugin->source);
    if (dev->doc || table->summary)
        fprintf(out, "summary=%s\n", dev->doc ? dev->doc : table->summary);
    plugin_cap_names(dev->description.caps, names, sizeof names);
    fprintf(out, "caps=%s\n", names);
    plugin_cap_names(table->needs | desc->needs, names, sizeof names);
    fprintf(out, "needs=%s\n", names);
    if (dev->partial)
        print_missing(out, &dev->params);
    else
        print_device(out, dev);
    print_parameters(out, &dev->params);
    return ferror(out) ? -EIO : 0;
}

static struct regdump_device about(const struct device *dev)
{
    struct regdump_device about = {
        .name = dev->name,
        .doc = dev->doc,
        .vendor = dev->description.desc.vendor,
        .device = dev->description.desc.device,
    };

    for (uint32_t i = 0; i < REGMAP_REGIONS; i++)
        about.region_size[i] = dev->description.region_size[i];
    for (uint32_t i = 0; i < dev->description.nbars; i++)
        about.widths[dev->description.bars[i].index] = (uint8_t)dev->description.bars[i].access_sizes;
    return about;
}

int dump_registers(FILE *out, const struct device *dev, const char *format)
{
    const struct regdump_device device = about(dev);

    return regdump(out, dev->map, &device, format);
}

json_t *dump_map(const struct device *dev)
{
    const struct regdump_device device = about(dev);

    return regdump_json(dev->map, &device);
}
