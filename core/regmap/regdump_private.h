/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * regdump_private - what the writers of the register map share: the map in the order of its addresses, and the words
 * for its parts. Nobody but regdump, regheader, regmarkdown and regsvd includes it. Main's thread.
 */
#ifndef CORE_REGDUMP_PRIVATE_H
#define CORE_REGDUMP_PRIVATE_H

#include <stdbool.h>

#include "core/regmap/regdump.h"

#define REGDUMP_KINDS (VFU_ACCESS_UNIMP + 1)

struct regdump_view {
    const struct regdump_device *about;
    const struct vfu_reg *regs;
    const struct vfu_group *groups;
    uint32_t nregs, ngroups;
    /* Indexes in regs, by region and offset. A group's registers stand together, at the place of the group's start. */
    const uint32_t *order;
};

/* The group of a register, or NULL. */
const struct vfu_group *regdump_group(const struct regdump_view *view, const struct vfu_reg *reg);
/* The register at place `at` of the order if it is in this region, else NULL. */
const struct vfu_reg *regdump_at(const struct regdump_view *view, uint32_t at, uint32_t region);
/* The size of a member of the group whose first register is at place `at`: from its start to behind its last one. */
uint64_t regdump_group_span(const struct regdump_view *view, uint32_t at);

const char *regdump_region(uint32_t region); /* "bar0", "rom", "config" */
const char *regdump_title(uint32_t region);  /* "BAR 0", "Expansion ROM", "Configuration space" */
const char *regdump_access(uint32_t access); /* "rw", ... */
uint64_t regdump_ones(uint32_t bits);        /* 1 to 64 */
/* What is in a field after a reset, unshifted. */
uint64_t regdump_field_reset(const struct vfu_reg *reg, const struct vfu_field *field);

/* The writers. 0 or -ENOMEM; whether `out` took it all is regdump's to see. */
int regheader_write(FILE *out, const struct regdump_view *view);
int regmarkdown_write(FILE *out, const struct regdump_view *view);
int regsvd_write(FILE *out, const struct regdump_view *view);

#endif
