/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * files - the files that a device's plugin is made of: its own, and those it has named (VFU_EXT_RELOAD). A change of one
 * of them is a reason to reload it.
 *
 * Any thread: the list has a lock of its own. Listeners are called without it, on the thread that has added.
 */
#ifndef CORE_FILES_H
#define CORE_FILES_H

#include <stdbool.h>

#define FILES_MAX 1024u /* of one device */

struct files;

int files_new(struct files **out);
void files_free(struct files *files);

/* 0, also if it is there already; -EINVAL, -ENOSPC, -ENOMEM. */
int files_add(struct files *files, const char *path);
/* Around a reload: what was not added again since files_begin is forgotten if `forget`. */
void files_begin(struct files *files);
void files_end(struct files *files, bool forget);

/* The path of the nth, which the caller frees; NULL: there are not so many. */
char *files_get(struct files *files, unsigned n);
/* Told of each path that is new in the list. NULL: nobody. */
void files_listen(struct files *files, void (*added)(void *ctx), void *ctx);

#endif
