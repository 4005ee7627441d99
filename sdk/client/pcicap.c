/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcicap - config space for people: capabilities and class codes, after the PCI specifications. What is read here
 * comes from the device and may be anything. One thread.
 */
#include "sdk/client/show.h"

#include <stdio.h>

static uint16_t pcicap_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t pcicap_u32(const uint8_t *p)
{
    return (uint32_t)pcicap_u16(p) | (uint32_t)pcicap_u16(p + 2) << 16;
}

static char pcicap_sign(uint32_t bit)
{
    return bit ? '+' : '-';
}

/* Power Management 1.2, 3.2: capabilities at 2, control and status at 4. */
static void pcicap_pm(const uint8_t *p, char *text, size_t size)
{
    uint32_t pmc = pcicap_u16(p + 2), csr = pcicap_u16(p + 4);

    snprintf(text, size, "version %u, now in D%u, NoSoftRst%c PME%c", pmc & 7, csr & 3, pcicap_sign(csr & 8),
             pcicap_sign(pmc & 0xf800));
}

/* PCI 3.0, 6.8.1: message control at 2, then the address, 4 or 8 bytes. */
static void pcicap_msi(const uint8_t *p, char *text, size_t size)
{
    uint32_t control = pcicap_u16(p + 2);

    snprintf(text, size, "Enable%c Count=%u/%u Maskable%c 64bit%c", pcicap_sign(control & 1), 1u << (control >> 4 & 7),
             1u << (control >> 1 & 7), pcicap_sign(control & 0x100), pcicap_sign(control & 0x80));
}

/* PCI 3.0, 6.8.2: message control at 2, table at 4, pending bits at 8, each a BAR and an offset. */
static void pcicap_msix(const uint8_t *p, char *text, size_t size)
{
    uint32_t control = pcicap_u16(p + 2), table = pcicap_u32(p + 4), pba = pcicap_u32(p + 8);

    snprintf(text, size, "Enable%c Count=%u Masked%c, table in BAR %u at 0x%x, pending bits in BAR %u at 0x%x",
             pcicap_sign(control & 0x8000), (control & 0x7ff) + 1, pcicap_sign(control & 0x4000), table & 7,
             table & ~7u, pba & 7, pba & ~7u);
}

/* PCI Express Base, 7.5.3: capabilities at 2, device capabilities at 4, link status at 0x12. */
static void pcicap_express(const uint8_t *p, char *text, size_t size)
{
    static const char *const types[16] = {
        "endpoint",        "legacy endpoint", "type 2",        "type 3",          "root port",
        "upstream port",   "downstream port", "bridge to PCI", "bridge from PCI", "integrated endpoint",
        "event collector", "type 11",         "type 12",       "type 13",         "type 14",
        "type 15"
    };
    uint32_t caps = pcicap_u16(p + 2), dev = pcicap_u32(p + 4), link = pcicap_u16(p + 0x12);

    snprintf(text, size, "version %u, %s, FLReset%c, payload %u bytes, link x%u speed %u", caps & 15,
             types[caps >> 4 & 15], pcicap_sign(dev & 1u << 28), 128u << (dev & 7), link >> 4 & 63, link & 15);
}

/* PCI 3.0, 6.7: the length of the whole at 2; the rest is the vendor's. Often it is text, and else shown in
 * hexadecimal. */
static void pcicap_vendor(const uint8_t *p, char *text, size_t size)
{
    size_t length = p[2] > 3 ? p[2] - 3u : 0, n;
    bool printable = length > 0;

    n = (size_t)snprintf(text, size, "%zu bytes", length);
    for (size_t i = 0; i < length; i++)
        printable &= p[3 + i] >= ' ' && p[3 + i] < 127;
    if (printable) {
        snprintf(text + n, size - n, ", \"%.*s\"", (int)length, (const char *)p + 3);
        return;
    }
    for (size_t i = 0; i < length && i < 16 && n + 8 < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%02x", i ? " " : ": ", p[3 + i]);
    if (length > 16)
        snprintf(text + n, size - n, " ...");
}

static const struct pcicap_kind {
    uint8_t id, size;
    const char *name;
    void (*decode)(const uint8_t *p, char *text, size_t size);
} pcicap_kinds[] = {
    { 0x01, 8, "Power Management", pcicap_pm }, { 0x02, 0, "AGP", NULL },
    { 0x03, 0, "Vital Product Data", NULL },    { 0x04, 0, "Slot Identification", NULL },
    { 0x05, 10, "MSI", pcicap_msi },            { 0x07, 0, "PCI-X", NULL },
    { 0x09, 3, "Vendor Specific", pcicap_vendor }, { 0x0a, 0, "Debug Port", NULL },
    { 0x0d, 0, "Subsystem", NULL },             { 0x10, 0x14, "Express", pcicap_express },
    { 0x11, 12, "MSI-X", pcicap_msix },         { 0x12, 0, "SATA", NULL },
    { 0x13, 0, "Advanced Features", NULL },     { 0x14, 0, "Enhanced Allocation", NULL },
};

static const struct pcicap_ext {
    uint16_t id;
    const char *name;
} pcicap_exts[] = {
    { 0x01, "Advanced Error Reporting" }, { 0x02, "Virtual Channel" }, { 0x03, "Device Serial Number" },
    { 0x04, "Power Budgeting" },          { 0x0b, "Vendor Specific" }, { 0x0d, "Access Control Services" },
    { 0x0e, "Alternative Routing-ID" },   { 0x0f, "Address Translation Service" },
    { 0x10, "SR-IOV" },                   { 0x13, "Page Request Interface" },
    { 0x15, "Resizable BAR" },            { 0x17, "Transaction Processing Hints" },
    { 0x18, "Latency Tolerance Reporting" }, { 0x1b, "Process Address Space ID" },
    { 0x1e, "L1 PM Substates" },          { 0x23, "Designated Vendor-Specific" },
};

static void pcicap_decode(const uint8_t *config, size_t size, struct pcicap *cap)
{
    cap->name = "unknown";
    cap->text[0] = '\0';
    for (size_t i = 0; i < sizeof pcicap_kinds / sizeof pcicap_kinds[0]; i++) {
        const struct pcicap_kind *kind = &pcicap_kinds[i];

        if (kind->id != cap->id)
            continue;
        cap->name = kind->name;
        if (kind->decode && cap->offset + kind->size <= size &&
            (kind->id != 0x09 || cap->offset + config[cap->offset + 2] <= size))
            kind->decode(config + cap->offset, cap->text, sizeof cap->text);
    }
}

static bool pcicap_walk_extended(const uint8_t *config, size_t size, void (*fn)(void *ctx, const struct pcicap *cap),
                                 void *ctx)
{
    uint32_t at = 0x100;

    for (uint32_t n = 0; at; n++) {
        struct pcicap cap = { .offset = at, .extended = true, .name = "unknown" };
        uint32_t header;

        if (at < 0x100 || at % 4 || at + 4 > size || n == 960)
            return false;
        header = pcicap_u32(config + at);
        if (!header || header == UINT32_MAX)
            break;
        cap.id = (uint16_t)header;
        for (size_t i = 0; i < sizeof pcicap_exts / sizeof pcicap_exts[0]; i++) {
            if (pcicap_exts[i].id == cap.id)
                cap.name = pcicap_exts[i].name;
        }
        fn(ctx, &cap);
        at = header >> 20;
    }
    return true;
}

bool pcicap_walk(const uint8_t *config, size_t size, void (*fn)(void *ctx, const struct pcicap *cap), void *ctx)
{
    uint32_t at;

    /* Status, bit 4: there is a list. */
    if (size < 256 || !(config[6] & 0x10))
        return true;
    at = config[0x34] & ~3u;
    for (uint32_t n = 0; at; n++) {
        struct pcicap cap = { .offset = at };

        if (at < 0x40 || at + 2 > 256 || n == 48)
            return false;
        cap.id = config[at];
        pcicap_decode(config, 256, &cap);
        fn(ctx, &cap);
        at = config[at + 1] & ~3u;
    }
    return size < 4096 || pcicap_walk_extended(config, size, fn, ctx);
}

const char *pcicap_class(uint32_t class_code)
{
    static const struct {
        uint16_t code, mask;
        const char *name;
    } names[] = {
        { 0x0000, 0xffff, "Non-VGA unclassified device" }, { 0x00ff, 0xffff, "Unclassified device" },
        { 0x0106, 0xffff, "SATA controller" },      { 0x0108, 0xffff, "Non-Volatile memory controller" },
        { 0x0100, 0xff00, "Storage controller" },   { 0x0200, 0xffff, "Ethernet controller" },
        { 0x0200, 0xff00, "Network controller" },   { 0x0300, 0xffff, "VGA compatible controller" },
        { 0x0300, 0xff00, "Display controller" },   { 0x0401, 0xffff, "Multimedia audio controller" },
        { 0x0403, 0xffff, "Audio device" },         { 0x0400, 0xff00, "Multimedia controller" },
        { 0x0500, 0xff00, "Memory controller" },    { 0x0600, 0xff00, "Bridge" },
        { 0x0700, 0xffff, "Serial controller" },    { 0x0700, 0xff00, "Communication controller" },
        { 0x0800, 0xff00, "System peripheral" },    { 0x0900, 0xff00, "Input device controller" },
        { 0x0b00, 0xff00, "Processor" },            { 0x0c03, 0xffff, "USB controller" },
        { 0x0c05, 0xffff, "SMBus" },                { 0x0c00, 0xff00, "Serial bus controller" },
        { 0x0d00, 0xff00, "Wireless controller" },  { 0x1000, 0xff00, "Encryption controller" },
        { 0x1100, 0xff00, "Signal processing controller" }, { 0x1200, 0xff00, "Processing accelerator" },
        { 0xff00, 0xff00, "Unassigned class" },
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if ((class_code >> 8 & names[i].mask) == names[i].code)
            return names[i].name;
    }
    return "Device";
}
