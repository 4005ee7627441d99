/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plugin whose table is the test's: its address is in the environment. See test_plugin.c.
 */
#include <stdlib.h>

#include <vfu/plugin.h>

const struct vfu_plugin *vfu_plugin_entry(void)
{
    const char *address = getenv("VFU_TEST_TABLE");

    return address ? (const struct vfu_plugin *)(uintptr_t)strtoull(address, NULL, 16) : NULL;
}
