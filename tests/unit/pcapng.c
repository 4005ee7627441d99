/* SPDX-License-Identifier: BSD-3-Clause */
/* pcapng - reads a pcapng file of this machine's byte order: see pcapng.h. One thread. */
#include "tests/unit/pcapng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct block {
    uint32_t type;
    const uint8_t *body;
    uint32_t size; /* of the body */
};

struct option {
    uint16_t code, size;
    const uint8_t *bytes;
};

static uint32_t u32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof value);
    return value;
}

static uint64_t halves(const uint8_t *bytes)
{
    return (uint64_t)u32(bytes) << 32 | u32(bytes + 4);
}

/* 1: an option; 0: the end of the options; -1: they are broken. */
static int next_option(const uint8_t **at, const uint8_t *end, struct option *option)
{
    if (*at == end)
        return 0;
    if (end - *at < 4)
        return -1;
    memcpy(&option->code, *at, 2);
    memcpy(&option->size, *at + 2, 2);
    option->bytes = *at + 4;
    if ((uint32_t)(end - option->bytes) < ((option->size + 3u) & ~3u))
        return -1;
    *at = option->bytes + ((option->size + 3u) & ~3u);
    if (option->code == 0)
        return option->size == 0 && *at == end ? 0 : -1;
    return 1;
}

static void text(char *to, size_t room, const struct option *option)
{
    size_t n = option->size < room - 1 ? option->size : room - 1;

    memcpy(to, option->bytes, n);
    to[n] = 0;
}

static uint64_t number(const struct option *option)
{
    uint64_t value = 0;

    memcpy(&value, option->bytes, option->size < sizeof value ? option->size : sizeof value);
    return value;
}

static const char *read_section(struct pcapng *all, const struct block *block)
{
    const uint8_t *at = block->body + 16, *end = block->body + block->size;
    struct option option;
    int got;

    if (block->size < 16 || u32(block->body) != 0x1a2b3c4d || u32(block->body + 4) != 1)
        return "the section header is odd";
    while ((got = next_option(&at, end, &option)) > 0) {
        if (option.code == 4)
            text(all->application, sizeof all->application, &option);
    }
    return got ? "options of the section header" : NULL;
}

static const char *read_interface(struct pcapng *all, const struct block *block)
{
    struct pcapng_interface *one = &all->interfaces[all->ninterfaces];
    const uint8_t *at = block->body + 8, *end = block->body + block->size;
    struct option option;
    int got;

    if (block->size < 8 || all->ninterfaces == PCAPNG_INTERFACES)
        return "an interface too many, or a short one";
    all->ninterfaces++;
    one->linktype = u32(block->body);
    one->snap = u32(block->body + 4);
    while ((got = next_option(&at, end, &option)) > 0) {
        if (option.code == 2)
            text(one->name, sizeof one->name, &option);
        else if (option.code == 3)
            text(one->description, sizeof one->description, &option);
        else if (option.code == 9)
            one->tsresol = option.bytes[0];
    }
    return got ? "options of an interface" : NULL;
}

static const char *read_packet(struct pcapng *all, const struct block *block)
{
    struct pcapng_packet *grown, one = { 0 };
    const uint8_t *at, *end = block->body + block->size;
    struct option option;
    int got;

    if (block->size < 20)
        return "a short packet block";
    one.interface = u32(block->body);
    one.time = halves(block->body + 4);
    one.have = u32(block->body + 12);
    one.size = u32(block->body + 16);
    one.bytes = block->body + 20;
    if (one.interface >= all->ninterfaces || one.have > one.size || one.have > all->interfaces[one.interface].snap ||
        block->size - 20 < one.have)
        return "a packet that cannot be";
    at = one.bytes + ((one.have + 3u) & ~3u);
    while ((got = next_option(&at, end, &option)) > 0) {
        if (option.code == 1)
            text(one.comment, sizeof one.comment, &option);
        else if (option.code == 2)
            one.flags = u32(option.bytes);
        else if (option.code == 4)
            one.dropped = number(&option);
    }
    grown = realloc(all->packets, (all->npackets + 1) * sizeof *grown);
    if (!grown || got)
        return "options of a packet";
    all->packets = grown;
    grown[all->npackets++] = one;
    return NULL;
}

static const char *read_statistics(struct pcapng *all, const struct block *block)
{
    const uint8_t *at = block->body + 12, *end = block->body + block->size;
    struct pcapng_interface *one;
    struct option option;
    int got;

    if (block->size < 12 || u32(block->body) >= all->ninterfaces)
        return "statistics of no interface";
    one = &all->interfaces[u32(block->body)];
    one->statistics = true;
    while ((got = next_option(&at, end, &option)) > 0) {
        if (option.code == 4)
            one->received = number(&option);
        else if (option.code == 5)
            one->dropped = number(&option);
    }
    return got ? "options of statistics" : NULL;
}

static const char *read_block(struct pcapng *all, const struct block *block, bool first)
{
    if (first != (block->type == 0x0a0d0d0a))
        return "it begins with no section header, or has two";
    switch (block->type) {
    case 0x0a0d0d0a:
        return read_section(all, block);
    case 1:
        return read_interface(all, block);
    case 5:
        return read_statistics(all, block);
    case 6:
        return read_packet(all, block);
    default:
        return "a block of an unknown type";
    }
}

static const char *load(struct pcapng *all, const char *path)
{
    FILE *file = fopen(path, "rb");
    const char *wrong = NULL;
    long size;

    if (!file)
        return "it cannot be opened";
    if (fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0 || fseek(file, 0, SEEK_SET))
        wrong = "it has no size";
    if (!wrong &&
        (!(all->bytes = malloc((size_t)size + 1)) || fread(all->bytes, 1, (size_t)size, file) != (size_t)size))
        wrong = "it cannot be read";
    all->size = wrong ? 0 : (size_t)size;
    fclose(file);
    return wrong;
}

const char *pcapng_read(struct pcapng *all, const char *path)
{
    const char *wrong;
    size_t at = 0;

    memset(all, 0, sizeof *all);
    wrong = load(all, path);
    while (!wrong && at < all->size) {
        struct block block;
        uint32_t size;

        if (all->size - at < 12)
            return "the last block is cut short";
        size = u32(all->bytes + at + 4);
        if (size < 12 || size % 4 || size > all->size - at || u32(all->bytes + at + size - 4) != size)
            return "a block's size is odd";
        block = (struct block){ u32(all->bytes + at), all->bytes + at + 8, size - 12 };
        wrong = read_block(all, &block, at == 0);
        at += size;
    }
    return wrong ? wrong : at ? NULL : "it is empty";
}

void pcapng_free(struct pcapng *all)
{
    free(all->bytes);
    free(all->packets);
    memset(all, 0, sizeof *all);
}
