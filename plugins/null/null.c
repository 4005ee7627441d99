/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * null - a PCI function with nothing but config space: what is left of a device model when the device is taken out.
 * For measuring the host alone, for software that counts, lists and assigns PCI devices, and to copy from.
 *
 * Ids: vendor 1234 is the one that QEMU's own demonstration devices use; the PCI-SIG has assigned it to nobody. Device
 * 7e00 is none of them, and no driver claims it; the tests' other devices are 7e01 (memory) and 7e57 (testdev).
 *
 * No state, so nothing to lock.
 */
#include <vfu/plugin.h>

static int32_t describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    (void)host;
    (void)params;
    desc->vendor = 0x1234;
    desc->device = 0x7e00;
    desc->class_code = 0xff0000; /* of no defined class */
    return 0;
}

static int32_t create(const struct vfu_host *host, const struct vfu_params *params, void **self)
{
    (void)host;
    (void)params;
    (void)self; /* stays NULL: there is nothing to keep */
    return 0;
}

const struct vfu_plugin *vfu_plugin_entry(void)
{
    static const struct vfu_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi_version = VFU_ABI_VERSION,
        .name = "null",
        .version = VFU_SDK_VERSION,
        .summary = "A PCI function with nothing but config space",
        .sdk = VFU_SDK_VERSION,
        .describe = describe,
        .create = create,
    };

    return &plugin;
}
