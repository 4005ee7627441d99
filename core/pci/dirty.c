/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dirty - the log of pages that a device has written. Runs on the device's thread.
 *
 * Blocks of bits in a hash table by block number, and beside them a short sorted list of spans in which everything
 * counts as dirty: for writes so large that bits would be waste, and for what comes when no block is left. Addresses
 * are page numbers in here: 52 bits, so that ends and sums do not wrap.
 */
#include "core/pci/dirty.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"

#define PAGE_SHIFT 12
#define BLOCK_SHIFT 12                                /* pages of a block */
#define BLOCK_PAGES (1u << BLOCK_SHIFT)
#define BLOCK_WORDS (BLOCK_PAGES / 64)
#define MAX_SPANS 1024u
#define SPAN_BLOCKS 4096u /* a write of more blocks becomes a span */

#define ull(x) ((unsigned long long)(x))
#define refuse(dirty, ...) log_limited(&(dirty)->limit, (dirty)->who, LOG_WARN, "dirty page log: " __VA_ARGS__)

struct block {
    struct block *next; /* in its bucket */
    uint64_t number;    /* page number >> BLOCK_SHIFT */
    uint64_t words[BLOCK_WORDS];
};

struct span {
    uint64_t first, last; /* pages, inclusive */
};

struct dirty {
    bool active;
    bool coarse; /* said so */
    struct block *hit;
    struct block **buckets;
    uint32_t nbuckets; /* a power of two, or 0 */
    uint32_t nblocks, max_blocks;
    struct span *ranges; /* logged ones, ascending; none: all */
    uint32_t nranges;
    uint32_t nspans;
    struct span spans[MAX_SPANS]; /* ascending, apart */
    struct log_limit limit;
    char *who;
};

int dirty_new(struct dirty **out, const char *who, uint32_t max_blocks)
{
    struct dirty *dirty = calloc(1, sizeof *dirty);

    if (!dirty)
        return -ENOMEM;
    dirty->who = who ? strdup(who) : NULL;
    if (who && !dirty->who) {
        free(dirty);
        return -ENOMEM;
    }
    dirty->max_blocks = max_blocks ? max_blocks : DIRTY_MAX_BLOCKS;
    *out = dirty;
    return 0;
}

void dirty_free(struct dirty *dirty)
{
    if (!dirty)
        return;
    dirty_stop(dirty);
    free(dirty->who);
    free(dirty);
}

bool dirty_active(const struct dirty *dirty)
{
    return dirty->active;
}

/* ---- start and stop ---- */

static bool page_size_valid(uint64_t size)
{
    return size >= (1u << PAGE_SHIFT) && (size & (size - 1)) == 0;
}

static int compare_spans(const void *a, const void *b)
{
    const struct span *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

static int take_ranges(struct dirty *dirty, uint64_t page_size, const struct dirty_range *ranges, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t iova = ranges[i].iova, length = ranges[i].length;

        if (length == 0 || ((iova | length) & (page_size - 1)) || iova + (length - 1) < iova) {
            refuse(dirty, "range %u, iova 0x%llx, length 0x%llx: empty, no multiple of the page size 0x%llx, or beyond "
                   "2^64", i, ull(iova), ull(length), ull(page_size));
            return -EINVAL;
        }
        dirty->ranges[i].first = iova >> PAGE_SHIFT;
        dirty->ranges[i].last = (iova + (length - 1)) >> PAGE_SHIFT;
    }
    qsort(dirty->ranges, n, sizeof dirty->ranges[0], compare_spans);
    for (uint32_t i = 1; i < n; i++) {
        if (dirty->ranges[i].first <= dirty->ranges[i - 1].last) {
            refuse(dirty, "two ranges overlap at iova 0x%llx", ull(dirty->ranges[i].first << PAGE_SHIFT));
            return -EINVAL;
        }
    }
    return 0;
}

int dirty_start(struct dirty *dirty, uint64_t page_size, const struct dirty_range *ranges, uint32_t n)
{
    int result;

    if (dirty->active) {
        refuse(dirty, "it is started already");
        return -EBUSY;
    }
    if (!page_size_valid(page_size)) {
        refuse(dirty, "page_size 0x%llx is no power of two from 4096 up", ull(page_size));
        return -EINVAL;
    }
    if (n > DIRTY_MAX_RANGES) {
        refuse(dirty, "num_ranges %u is above %u", n, DIRTY_MAX_RANGES);
        return -E2BIG;
    }
    if (n) {
        dirty->ranges = calloc(n, sizeof dirty->ranges[0]);
        if (!dirty->ranges) {
            refuse(dirty, "out of memory");
            return -ENOMEM;
        }
        result = take_ranges(dirty, page_size, ranges, n);
        if (result) {
            free(dirty->ranges);
            dirty->ranges = NULL;
            return result;
        }
        dirty->nranges = n;
    }
    dirty->active = true;
    return 0;
}

void dirty_stop(struct dirty *dirty)
{
    for (uint32_t i = 0; i < dirty->nbuckets; i++) {
        for (struct block *block = dirty->buckets[i], *next; block; block = next) {
            next = block->next;
            free(block);
        }
    }
    free(dirty->buckets);
    free(dirty->ranges);
    dirty->buckets = NULL;
    dirty->ranges = NULL;
    dirty->nbuckets = dirty->nblocks = dirty->nranges = dirty->nspans = 0;
    dirty->hit = NULL;
    dirty->active = dirty->coarse = false;
}

/* ---- blocks ---- */

/* Only of a table that exists. The guest chooses addresses, and so the numbers; neighbours must not collide. */
static struct block **bucket_of(const struct dirty *dirty, uint64_t number)
{
    return &dirty->buckets[(number * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (dirty->nbuckets - 1)];
}

static struct block *find_block(struct dirty *dirty, uint64_t number)
{
    struct block *block = dirty->hit;

    if (block && block->number == number)
        return block;
    if (!dirty->nbuckets)
        return NULL;
    for (block = *bucket_of(dirty, number); block; block = block->next) {
        if (block->number == number) {
            dirty->hit = block;
            break;
        }
    }
    return block;
}

/* A larger table, or the one there is if memory is short. False: there is none. */
static bool grow_table(struct dirty *dirty)
{
    struct block **former = dirty->buckets, **fresh;
    uint32_t nformer = dirty->nbuckets, n = nformer ? nformer * 2 : 64;

    if (dirty->nblocks < nformer)
        return true;
    fresh = calloc(n, sizeof *fresh);
    if (!fresh)
        return former;
    dirty->buckets = fresh;
    dirty->nbuckets = n;
    for (uint32_t i = 0; i < nformer; i++) {
        for (struct block *block = former[i], *next; block; block = next) {
            struct block **bucket = bucket_of(dirty, block->number);

            next = block->next;
            block->next = *bucket;
            *bucket = block;
        }
    }
    free(former);
    return true;
}

/* NULL: no more. */
static struct block *make_block(struct dirty *dirty, uint64_t number)
{
    struct block *block, **bucket;

    if (dirty->nblocks >= dirty->max_blocks || !grow_table(dirty))
        return NULL;
    block = calloc(1, sizeof *block);
    if (!block)
        return NULL;
    block->number = number;
    bucket = bucket_of(dirty, number);
    block->next = *bucket;
    *bucket = block;
    dirty->nblocks++;
    dirty->hit = block;
    return block;
}

static void free_block(struct dirty *dirty, struct block *block)
{
    struct block **link = bucket_of(dirty, block->number);

    while (*link != block)
        link = &(*link)->next;
    *link = block->next;
    if (dirty->hit == block)
        dirty->hit = NULL;
    dirty->nblocks--;
    free(block);
}

/* The bits from..to of a word, both inclusive. */
static uint64_t word_mask(uint32_t from, uint32_t to)
{
    return UINT64_MAX << from & UINT64_MAX >> (63 - to);
}

/* The part of word `index` that lies in the bits first..last of a block. */
static uint64_t mask_in(uint32_t index, uint32_t first, uint32_t last)
{
    return word_mask(index == first / 64 ? first % 64 : 0, index == last / 64 ? last % 64 : 63);
}

/* ---- spans ---- */

/* The first span that ends at or after the page. */
static uint32_t span_from(const struct dirty *dirty, uint64_t page)
{
    uint32_t low = 0, high = dirty->nspans;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (dirty->spans[middle].last < page)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void remove_spans(struct dirty *dirty, uint32_t at, uint32_t n)
{
    memmove(&dirty->spans[at], &dirty->spans[at + n], (dirty->nspans - at - n) * sizeof dirty->spans[0]);
    dirty->nspans -= n;
}

static bool insert_span(struct dirty *dirty, uint32_t at, struct span span)
{
    if (dirty->nspans == MAX_SPANS)
        return false;
    memmove(&dirty->spans[at + 1], &dirty->spans[at], (dirty->nspans - at) * sizeof dirty->spans[0]);
    dirty->spans[at] = span;
    dirty->nspans++;
    return true;
}

static void add_span(struct dirty *dirty, uint64_t first, uint64_t last)
{
    uint32_t at = span_from(dirty, first ? first - 1 : 0), n = 0;

    while (at + n < dirty->nspans && dirty->spans[at + n].first <= last + 1)
        n++;
    if (n == 0) {
        if (insert_span(dirty, at, (struct span){first, last}))
            return;
        /* The list is full: the nearer neighbour grows up to here, over pages that may well be clean. */
        if (at == dirty->nspans ||
            (at > 0 && first - dirty->spans[at - 1].last <= dirty->spans[at].first - last))
            at--;
        n = 1;
    }
    if (first > dirty->spans[at].first)
        first = dirty->spans[at].first;
    if (last < dirty->spans[at + n - 1].last)
        last = dirty->spans[at + n - 1].last;
    dirty->spans[at] = (struct span){first, last};
    remove_spans(dirty, at + 1, n - 1);
}

/* Where cutting a hole would make one span too many the span stays whole: dirty too often, never too rarely. */
static void cut_spans(struct dirty *dirty, uint64_t first, uint64_t last)
{
    uint32_t at = span_from(dirty, first);

    while (at < dirty->nspans && dirty->spans[at].first <= last) {
        struct span *span = &dirty->spans[at];

        if (span->first < first && span->last > last) {
            if (insert_span(dirty, at + 1, (struct span){last + 1, span->last}))
                dirty->spans[at].last = first - 1;
            return;
        }
        if (span->first < first) {
            span->last = first - 1;
            at++;
        } else if (span->last > last) {
            span->first = last + 1;
            return;
        } else {
            remove_spans(dirty, at, 1);
        }
    }
}

/* ---- marking ---- */

static void mark_in_block(struct dirty *dirty, uint64_t number, uint32_t first, uint32_t last)
{
    struct block *block = find_block(dirty, number);
    uint64_t base = number << BLOCK_SHIFT;

    if (!block)
        block = make_block(dirty, number);
    if (!block) {
        if (!dirty->coarse)
            log_warn(dirty->who, "dirty page log: no room for more than %u blocks of 16 MiB; from now on it is coarse "
                     "(more pages are reported than were written)", dirty->nblocks);
        dirty->coarse = true;
        add_span(dirty, base + first, base + last);
        return;
    }
    for (uint32_t word = first / 64; word <= last / 64; word++)
        block->words[word] |= mask_in(word, first, last);
}

static void mark_pages(struct dirty *dirty, uint64_t first, uint64_t last)
{
    uint64_t from = first >> BLOCK_SHIFT, to = last >> BLOCK_SHIFT;

    if (to - from > SPAN_BLOCKS) {
        add_span(dirty, first, last);
        return;
    }
    for (uint64_t number = from; number <= to; number++)
        mark_in_block(dirty, number, number == from ? first % BLOCK_PAGES : 0,
                      number == to ? last % BLOCK_PAGES : BLOCK_PAGES - 1);
}

void dirty_mark(struct dirty *dirty, uint64_t address, uint64_t len)
{
    uint64_t end = address + (len - 1), first, last;
    uint32_t low = 0, high = dirty->nranges;

    if (!dirty->active || len == 0)
        return;
    if (end < address)
        end = UINT64_MAX;
    first = address >> PAGE_SHIFT;
    last = end >> PAGE_SHIFT;
    if (dirty->nranges == 0) {
        mark_pages(dirty, first, last);
        return;
    }
    while (low < high) { /* the first range that ends at or after the first page */
        uint32_t middle = (low + high) / 2;

        if (dirty->ranges[middle].last < first)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < dirty->nranges && dirty->ranges[low].first <= last; low++) {
        const struct span *range = &dirty->ranges[low];

        mark_pages(dirty, first > range->first ? first : range->first, last < range->last ? last : range->last);
    }
}

/* ---- reporting ---- */

struct report {
    uint64_t first, last; /* pages asked for */
    uint32_t shift;       /* pages of one bit, as a power of two */
    uint8_t *bitmap;
    bool clear;
};

uint64_t dirty_bitmap_size(uint64_t iova, uint64_t length, uint64_t page_size)
{
    uint64_t bits;

    if (!page_size_valid(page_size) || iova % (1u << PAGE_SHIFT) || length == 0 || (length & (page_size - 1)) ||
        iova + (length - 1) < iova)
        return 0;
    bits = length / page_size;
    return (bits + 63) / 64 * 8;
}

/* Sets the bits that stand for pages first..last, all of which were asked for. */
static void fill(const struct report *report, uint64_t first, uint64_t last)
{
    uint64_t from = (first - report->first) >> report->shift, to = (last - report->first) >> report->shift;
    uint8_t low = (uint8_t)(0xff << from % 8), high = (uint8_t)(0xff >> (7 - to % 8));

    if (from / 8 == to / 8) {
        report->bitmap[from / 8] |= low & high;
        return;
    }
    report->bitmap[from / 8] |= low;
    memset(&report->bitmap[from / 8 + 1], 0xff, to / 8 - from / 8 - 1);
    report->bitmap[to / 8] |= high;
}

/* The runs of set bits in a word whose lowest bit is the page `base`. */
static void fill_word(const struct report *report, uint64_t base, uint64_t bits)
{
    while (bits) {
        uint32_t from = (uint32_t)__builtin_ctzll(bits);
        uint64_t rest = ~(bits >> from);
        uint32_t n = rest ? (uint32_t)__builtin_ctzll(rest) : 64;

        fill(report, base + from, base + from + n - 1);
        if (from + n >= 64)
            return;
        bits &= UINT64_MAX << (from + n);
    }
}

/* Reports the block's part; when it is left empty it goes. */
static void report_block(struct dirty *dirty, const struct report *report, struct block *block)
{
    uint64_t base = block->number << BLOCK_SHIFT, left = 0;
    uint32_t first = report->first > base ? (uint32_t)(report->first - base) : 0;
    uint32_t last = report->last - base < BLOCK_PAGES ? (uint32_t)(report->last - base) : BLOCK_PAGES - 1;

    for (uint32_t word = first / 64; word <= last / 64; word++) {
        uint64_t mask = mask_in(word, first, last);

        fill_word(report, base + word * 64, block->words[word] & mask);
        if (report->clear)
            block->words[word] &= ~mask;
    }
    if (!report->clear)
        return;
    for (uint32_t word = 0; word < BLOCK_WORDS; word++)
        left |= block->words[word];
    if (!left)
        free_block(dirty, block);
}

/* By number or through all there are, whichever is less. */
static void report_blocks(struct dirty *dirty, const struct report *report)
{
    uint64_t from = report->first >> BLOCK_SHIFT, to = report->last >> BLOCK_SHIFT;

    if (to - from < dirty->nbuckets) {
        for (uint64_t number = from; number <= to; number++) {
            struct block *block = find_block(dirty, number);

            if (block)
                report_block(dirty, report, block);
        }
        return;
    }
    for (uint32_t i = 0; i < dirty->nbuckets; i++) {
        for (struct block *block = dirty->buckets[i], *next; block; block = next) {
            next = block->next;
            if (block->number >= from && block->number <= to)
                report_block(dirty, report, block);
        }
    }
}

int dirty_report(struct dirty *dirty, uint64_t iova, uint64_t length, uint64_t page_size, uint8_t *bitmap,
                 uint64_t bitmap_bytes, bool clear)
{
    uint64_t bytes = dirty_bitmap_size(iova, length, page_size);
    struct report report = {.bitmap = bitmap, .clear = clear};

    if (!dirty->active) {
        refuse(dirty, "a report is asked for, but it is not started");
        return -EINVAL;
    }
    if (bytes == 0 || bytes > bitmap_bytes) {
        refuse(dirty, "report of iova 0x%llx, length 0x%llx, page_size 0x%llx: %s", ull(iova), ull(length),
               ull(page_size), bytes ? "the bitmap is too large" : "not whole pages, or beyond 2^64");
        return -EINVAL;
    }
    memset(bitmap, 0, bytes);
    report.first = iova >> PAGE_SHIFT;
    report.last = (iova + (length - 1)) >> PAGE_SHIFT;
    report.shift = (uint32_t)__builtin_ctzll(page_size) - PAGE_SHIFT;
    report_blocks(dirty, &report);
    for (uint32_t i = span_from(dirty, report.first); i < dirty->nspans; i++) {
        const struct span *span = &dirty->spans[i];

        if (span->first > report.last)
            break;
        fill(&report, span->first > report.first ? span->first : report.first,
             span->last < report.last ? span->last : report.last);
    }
    if (clear)
        cut_spans(dirty, report.first, report.last);
    return 0;
}
