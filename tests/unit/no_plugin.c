/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A shared object that is no plugin: it lacks the one symbol. See test_plugin.c.
 */
#include <vfu/plugin.h>

VFU_EXPORT const struct vfu_plugin *vfu_plugin_entri(void);

const struct vfu_plugin *vfu_plugin_entri(void)
{
    return NULL;
}
