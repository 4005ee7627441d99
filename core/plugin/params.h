/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * params - a device's KEY=VALUE parameters: typed parsing against what its plugin declares. Main's thread for the
 * declaration; afterwards read-only, any thread.
 */
#ifndef CORE_PARAMS_H
#define CORE_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

struct param_value {
    char *name, *doc, *text; /* text: as given, or the fallback; NULL: absent */
    char **choices;
    uint32_t type, flags;
    int64_t min, max;
    int64_t integer;
    double number;
    bool given;
};

struct params {
    const char *who;
    char **items; /* the command line's "KEY=VALUE"s, borrowed */
    uint32_t nitems;
    struct param_value *values;
    uint32_t nvalues;
    bool declared;
    bool lenient;    /* a required one that is absent is no line in the log, but `incomplete` (and -EINVAL as ever) */
    bool incomplete;
};

/* Whole numbers with 0x, 0b and 0o prefixes and the suffixes K, M, G, T (powers of 1024). 0 or -EINVAL, -ERANGE. */
int params_parse_int(const char *text, int64_t *value);

void params_init(struct params *params, const char *who, char **items, uint32_t nitems);
void params_fini(struct params *params);

/* Checks the command line against the declaration. -EINVAL: explained in the log, with the list of valid names.
 * -EALREADY: declared before. */
int params_declare(struct params *params, const struct vfu_param *list, uint32_t n, uint32_t size);
const struct param_value *params_find(const struct params *params, const char *name);

#endif
