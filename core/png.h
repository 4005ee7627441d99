/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * png - a picture as a PNG file, there whole or not at all. Any thread.
 */
#ifndef CORE_PNG_H
#define CORE_PNG_H

#include <stdbool.h>
#include <stdint.h>

/* Whether this build can do it. */
bool png_works(void);
/* 0x00RRGGBB pixels, line by line, to `path`, which is replaced by a rename. -errno; -ENOTSUP: without libpng. */
int png_save(const char *path, const uint32_t *pixels, uint32_t width, uint32_t height);

#endif
