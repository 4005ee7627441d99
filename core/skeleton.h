/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * skeleton - vfu-host --new: a folder with a device that builds, its test and a word about both. Main's thread.
 */
#ifndef CORE_SKELETON_H
#define CORE_SKELETON_H

#include <stddef.h>

/* A file of a skeleton as it was built in, from sdk/templates: core/templates.c, which is made by make. */
struct skeleton_file {
    const char *lang; /* c, cpp, lua, rust, or "common" */
    const char *name; /* "device" in it stands for the device's name */
    const unsigned char *text;
    size_t size;
};
extern const struct skeleton_file skeleton_files[]; /* the last one's lang is NULL */

/* Writes the folder `name` into the current one, and to stdout what to do next. lang NULL: c. 0, -EINVAL for what
 * the command line got wrong, or another negative errno; explained in the log. */
int skeleton_new(const char *name, const char *lang);

#endif
