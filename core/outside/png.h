/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * png - a picture as a PNG file, there whole or not at all. libpng is loaded when the first one is asked for. Any thread.
 */
#ifndef CORE_PNG_H
#define CORE_PNG_H

#include <stdbool.h>
#include <stdint.h>

/* NULL if it can be done, and libpng is loaded now; else why not, for people. */
const char *png_missing(void);
static inline bool png_works(void)
{
    return !png_missing();
}
/* Whether there can be a file at `path`, as far as that can be told before: 0, or the error of png_save. */
int png_check(const char *path);
/*
 * 0x00RRGGBB pixels, line by line, to `path`, which is replaced by a rename. -errno; -ENOTSUP: without libpng, -EEXIST:
 * what is there is no plain file, and is left alone.
 */
int png_save(const char *path, const uint32_t *pixels, uint32_t width, uint32_t height);
/* An error of the two, for people. */
const char *png_why(int error);

#endif
