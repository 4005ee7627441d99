/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lazy - shared libraries that few devices need, loaded when the first one does: a host without pictures does not carry
 * them. They stay loaded. Any thread.
 */
#ifndef CORE_LAZY_H
#define CORE_LAZY_H

#include <stddef.h>

/* A function or variable of the library, and the pointer that is to point to it. */
struct lazy_symbol {
    const char *name;
    void *place;
};

/* One library; zeroed but for the first line. */
struct lazy {
    const char *file, *package; /* "libpng16.so.16", and what to install on Debian */
    void *handle;
    char why[256];
};

/* NULL: all is there. Else why not, for people; it is tried again the next time. */
const char *lazy_load(struct lazy *library, const struct lazy_symbol *symbols, size_t n);

#endif
