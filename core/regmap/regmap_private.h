/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regmap_private - what the files of the register map engine share: regcheck (copies and checks a plugin's map),
 * regbuild (lays it out for speed), regname (names, saving) and regmap (runs it). Nobody else includes it.
 */
#ifndef CORE_REGMAP_PRIVATE_H
#define CORE_REGMAP_PRIVATE_H

#include "core/regmap/regcell.h"
#include "core/regmap/regmap.h"

#define REGMAP_NAME_MAX 127u          /* of one identifier */
#define REGMAP_FULL_NAME_MAX 320u     /* "GROUP[4294967295].REG[4294967295]!once" and its NUL */
#define REGMAP_INSTANCES_MAX 1048576u /* registers, counting array elements and group members */
#define REGMAP_NOWHERE UINT32_C(0xffffffff)

/* What few registers need beside their value. */
struct reg_memo {
    uint64_t once;  /* wonce: bits that have had their write */
    uint64_t bytes; /* COMMIT_LAST: what has been collected, and which bits of it are */
    uint64_t mask;
};

/* A register's access kinds as masks, computed once. Each bit of `width` is in exactly one kind. */
struct reg_rule {
    uint64_t width; /* all its bits */
    uint64_t reset;
    uint64_t rw, wo, w1c, w1s, w1t, w0c, rc, rs, wonce, unimp;
    uint64_t as_is; /* bits that count as they stand where a write leaves their byte out */
    uint32_t flags; /* VFU_REG_* */
    uint32_t hook;
    uint32_t first;    /* its first instance in slots */
    uint32_t elements; /* of the array, or 1 */
    uint32_t groups;   /* members of the group, or 1 */
    uint32_t lock, nlocks; /* range in map->locks */
    uint8_t size;
    bool array, group;
    bool watched;  /* the interrupt's level or mask */
    bool reported; /* unimplemented, and somebody has been told */
};

/* A name for regmap_restore: a group, or a register in its group or outside. */
struct reg_name {
    uint32_t group; /* VFU_NONE: outside */
    uint32_t index;
    bool is_group;
    const char *name;
};

struct reg_chunk {
    struct reg_chunk *next;
};

struct regmap {
    const char *who;
    struct vfu_reg *regs;
    struct reg_rule *rules;
    struct vfu_group *groups;
    struct vfu_lock *locks; /* sorted by register */
    uint32_t nregs, ngroups, nlocks;
    struct reg_cell *cells;
    uint32_t *slots; /* cells in the order they are declared: register, group index, index */
    uint32_t ncells;
    struct reg_memo *memos;
    uint32_t nmemos;
    struct reg_name *names; /* sorted; nregs + ngroups */
    struct reg_span spans[REGMAP_REGIONS];
    struct vfu_regmap_ops ops;
    void *self;
    uint32_t resets; /* so that a hook's caller sees that there was one */
    uint64_t failures; /* of hooks */
    struct reg_cell *level, *mask;
    uint64_t bits; /* level & mask as last reported */
    void (*changed)(void *ctx, uint64_t bits);
    void *changed_ctx;
    regmap_halt_fn *halt;
    void *halt_ctx;
    regmap_judged_fn *judged;
    void *judged_ctx;
    struct reg_chunk *chunks; /* all memory of the map */
};

/* Zeroed memory of the map's own, freed with it. NULL (logged) if there is none. */
void *regcheck_alloc(struct regmap *map, uint64_t n, uint64_t size);

/* Copies the plugin's description into the map and checks all of it but overlaps. */
int regcheck_copy(struct regmap *map, const struct vfu_regmap *desc, const uint64_t region_size[REGMAP_REGIONS]);

/* A register's masks, cells, page tables and names; finds overlaps and names used twice. */
int regbuild_all(struct regmap *map);
/* Which accesses of a register are plain, again after its flags have changed. */
void regbuild_plain(struct regmap *map, struct reg_cell *cell);
int regbuild_name_compare(const void *a, const void *b);

/* "BAR 2" or "config space". */
const char *regcheck_region(uint32_t region, char text[16]);

#endif
