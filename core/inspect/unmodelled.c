/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * unmodelled - the accesses that met nothing the model knows: see unmodelled.h. Runs on the device's thread; when that
 * has ended, on main's.
 */
#include "core/inspect/unmodelled.h"

#include <stdio.h>
#include <string.h>

#define LINES 10u
#define SLOTS (2 * UNMODELLED_MAX)

static uint32_t slot_of(uint32_t region, uint64_t offset, uint32_t size, uint32_t why)
{
    uint64_t hash = (offset ^ (uint64_t)region << 56 ^ (uint64_t)size << 24 ^ why) * UINT64_C(0x9e3779b97f4a7c15);

    return (uint32_t)(hash >> 40) % SLOTS;
}

/* The entry, made if there is room for it; else NULL. Half of the slots are always empty, so the search ends. */
static struct unmodelled_entry *entry_of(struct unmodelled *u, uint32_t region, uint64_t offset, uint32_t size,
                                         enum unmodelled_why why)
{
    uint32_t slot = slot_of(region, offset, size, why);
    struct unmodelled_entry *entry;

    for (; u->slots[slot]; slot = (slot + 1) % SLOTS) {
        entry = &u->entries[u->slots[slot] - 1];
        if (entry->offset == offset && entry->size == size && entry->region == region && entry->why == why)
            return entry;
    }
    if (u->n == UNMODELLED_MAX)
        return NULL;
    entry = &u->entries[u->n++];
    u->slots[slot] = (uint16_t)u->n;
    *entry = (struct unmodelled_entry){ .offset = offset, .region = region, .size = size, .why = (uint8_t)why };
    return entry;
}

void unmodelled_note(struct unmodelled *u, uint32_t region, uint64_t offset, uint32_t size, enum unmodelled_why why,
                     uint32_t sizes, bool write, uint64_t value)
{
    struct unmodelled_entry *entry = entry_of(u, region, offset, size, why);

    if (!entry) {
        u->more++;
        return;
    }
    if (!entry->reads && !entry->writes) {
        entry->first = value;
        entry->sizes = (uint8_t)sizes;
    }
    if (write)
        entry->writes++;
    else
        entry->reads++;
}

void unmodelled_forget(struct unmodelled *u)
{
    memset(u, 0, sizeof *u);
}

const char *unmodelled_region(uint32_t region, char text[24])
{
    static const char *const names[] = { "bar0", "bar1", "bar2", "bar3", "bar4", "bar5", "rom", "config", "vga" };

    if (region < sizeof names / sizeof names[0])
        return names[region];
    snprintf(text, 24, "region %u", region);
    return text;
}

const char *unmodelled_number(uint64_t n, char text[32])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), at = 0;

    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = 0;
    return text;
}

/* "4 and 8" */
static void sizes_text(uint32_t sizes, char text[24])
{
    size_t at = 0;

    *text = 0;
    for (uint32_t size = 1; size <= 8; size *= 2) {
        if (!(sizes & size))
            continue;
        sizes &= ~size;
        at += (size_t)snprintf(text + at, 24 - at, "%s%u", !at ? "" : sizes & 15 ? ", " : " and ", size);
    }
}

void unmodelled_why(const struct unmodelled_entry *entry, char *text, size_t len)
{
    static const char *const words[] = {
        [UNMODELLED_NOTHING] = "no register there",
        [UNMODELLED_MISALIGNED] = "misaligned",
        [UNMODELLED_BEYOND] = "beyond the region's end",
        [UNMODELLED_NO_REGION] = "the device has no such region",
        [UNMODELLED_NO_CAP] = "no capability or register there",
    };
    char sizes[24];

    if (entry->why == UNMODELLED_WIDTH) {
        sizes_text(entry->sizes, sizes);
        snprintf(text, len, "the region takes accesses of %s byte%s", sizes, entry->sizes == 1 ? "" : "s");
    } else {
        snprintf(text, len, "%s", words[entry->why]);
    }
}

static const char *times(uint64_t n, char text[48])
{
    char number[32];

    snprintf(text, 48, "%s%s", n == 1 ? "once" : unmodelled_number(n, number), n == 1 ? "" : " times");
    return text;
}

static void tell_one(const struct unmodelled_entry *entry, const char *who, enum log_level level)
{
    char name[24], where[64], reads[48], writes[48], first[40] = "", why[80];

    snprintf(where, sizeof where, "%s+0x%llx", unmodelled_region(entry->region, name), (unsigned long long)entry->offset);
    unmodelled_why(entry, why, sizeof why);
    times(entry->reads, reads);
    times(entry->writes, writes);
    if (entry->writes && !entry->reads && entry->size <= 8)
        snprintf(first, sizeof first, ", first %#llx", (unsigned long long)entry->first);
    if (entry->reads && entry->writes)
        log_write(who, level, "the driver read %s %s and wrote it %s (%u byte%s); %s", where, reads, writes, entry->size,
                  entry->size == 1 ? "" : "s", why);
    else
        log_write(who, level, "the driver %s %s %s (%u byte%s%s); %s", entry->reads ? "read" : "wrote", where,
                  entry->reads ? reads : writes, entry->size, entry->size == 1 ? "" : "s", first, why);
}

void unmodelled_tell(struct unmodelled *u, const char *who, enum log_level level)
{
    uint32_t rest = 0;
    char number[32];

    if ((int)level > log_threshold)
        return;
    for (uint32_t line = 0; line < LINES; line++) {
        struct unmodelled_entry *most = NULL;

        rest = 0;
        for (uint32_t i = 0; i < u->n; i++) {
            struct unmodelled_entry *entry = &u->entries[i];

            if (entry->reads + entry->writes == entry->told)
                continue;
            rest++;
            if (!most || entry->reads + entry->writes > most->reads + most->writes)
                most = entry;
        }
        if (!most)
            break;
        tell_one(most, who, level);
        most->told = most->reads + most->writes;
        rest--;
    }
    for (uint32_t i = 0; i < u->n; i++)
        u->entries[i].told = u->entries[i].reads + u->entries[i].writes;
    if (rest)
        log_write(who, level, "and %u more place%s where it met nothing; --coverage FILE lists them", rest,
                  rest == 1 ? "" : "s");
    if (u->more != u->more_told)
        log_write(who, level, "and %s more accesses elsewhere that met nothing; %u places are told apart",
                  unmodelled_number(u->more, number), UNMODELLED_MAX);
    u->more_told = u->more;
}
