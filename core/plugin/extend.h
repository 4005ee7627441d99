/* SPDX-License-Identifier: BSD-3-Clause */
/* extend - the host's side of the ABI's extensions: see extend.c. */
#ifndef CORE_EXTEND_H
#define CORE_EXTEND_H

#include <vfu/plugin.h>

/* vfu_host.extension of a device's own table. Any thread. */
const void *extend_find(const struct vfu_host *table, const char *id);

#endif
