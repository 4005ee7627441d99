/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mutate - libFuzzer's mutations on records instead of bytes: scripts stay scripts, and messages stay messages but for
 * what is changed in them. One call in eight leaves the bytes to libFuzzer. No state but the generator's.
 */
#include <stdlib.h>

#include "tests/fuzz/template.h"

#define RECORDS 256u

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t size_a, const uint8_t *b, size_t size_b, uint8_t *out,
                                 size_t max_size, unsigned seed);

/* Where records begin; the last entry is the end. */
struct cuts {
    size_t at[RECORDS + 1];
    uint32_t n;
};

static void find_cuts(const uint8_t *data, size_t size, struct cuts *cuts)
{
    size_t at = 2, n;
    const uint8_t *body;
    uint8_t op;

    cuts->n = 0;
    cuts->at[0] = size < 2 ? size : 2;
    while (size >= 2 && cuts->n < RECORDS && script_next(data, size, &at, &op, &body, &n))
        cuts->at[++cuts->n] = at;
}

/* out gets [0, from) of a, then the new bytes, then what stands at `to` and behind it. */
static size_t splice(uint8_t *data, size_t size, size_t max_size, size_t from, size_t to, const uint8_t *fresh,
                     size_t n)
{
    if (size - (to - from) + n > max_size)
        return size;
    memmove(data + from + n, data + to, size - to);
    if (n)
        memcpy(data + from, fresh, n);
    return size - (to - from) + n;
}

static size_t insert(uint8_t *data, size_t size, size_t max_size, size_t at, uint32_t *random)
{
    static struct script s;
    uint32_t n = 1 + template_random(random) % 3;

    script_begin(&s, 0, 0);
    while (n--)
        template_any(&s, random);
    return splice(data, size, max_size, at, at, s.bytes + 2, s.size - 2);
}

/* A record's own bytes, changed by libFuzzer; its length follows. */
static size_t change(uint8_t *data, size_t size, size_t max_size, size_t from, size_t to)
{
    uint8_t body[4096];
    size_t n = to - from - 3, room = sizeof body - 3, longest = n + (max_size - size);

    if (n > room || longest < 1)
        return size;
    memcpy(body, data + from, n + 3);
    n = LLVMFuzzerMutate(body + 3, n, longest < room ? longest : room);
    body[1] = (uint8_t)n;
    body[2] = (uint8_t)(n >> 8);
    return splice(data, size, max_size, from, to, body, n + 3);
}

static size_t repeat(uint8_t *data, size_t size, size_t max_size, size_t from, size_t to, size_t at)
{
    uint8_t *copy = malloc(to - from);

    if (!copy)
        return size;
    memcpy(copy, data + from, to - from);
    size = splice(data, size, max_size, at, at, copy, to - from);
    free(copy);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint32_t random = seed * 2654435761u | 1;
    struct cuts cuts;
    uint32_t i, j;

    template_random(&random);
    if (size < 2)
        return insert(data, splice(data, 0, max_size, 0, 0, (const uint8_t[]){ 1, 1 }, 2), max_size, 2, &random);
    find_cuts(data, size, &cuts);
    i = cuts.n ? template_random(&random) % cuts.n : 0;
    j = template_random(&random) % (cuts.n + 1);
    switch (cuts.n ? template_random(&random) % 8 : 2 + template_random(&random) % 2) {
    case 0: return splice(data, size, max_size, cuts.at[i], cuts.at[i + 1], NULL, 0);
    case 1: return repeat(data, size, max_size, cuts.at[i], cuts.at[i + 1], cuts.at[j]);
    case 2: return insert(data, size, max_size, cuts.at[j], &random);
    case 3: data[template_random(&random) % 2] ^= (uint8_t)(1u << template_random(&random) % 8); return size;
    case 4: return LLVMFuzzerMutate(data, size, max_size);
    default: return change(data, size, max_size, cuts.at[i], cuts.at[i + 1]);
    }
}

/* The beginning of one and the end of another. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t size_a, const uint8_t *b, size_t size_b, uint8_t *out,
                                 size_t max_size, unsigned seed)
{
    uint32_t random = seed * 2246822519u | 1;
    struct cuts first, second;
    size_t n, m, from;

    template_random(&random);
    find_cuts(a, size_a, &first);
    find_cuts(b, size_b, &second);
    n = first.at[template_random(&random) % (first.n + 1)];
    from = second.at[template_random(&random) % (second.n + 1)];
    m = size_b - from;
    if (n > max_size)
        n = max_size;
    if (m > max_size - n)
        m = max_size - n;
    memcpy(out, a, n);
    memcpy(out + n, b + from, m);
    return n + m;
}
