/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plugin - finding and loading a device model, and the checks of its table. Main's thread; in a reload, the device's.
 */
#ifndef CORE_PLUGIN_H
#define CORE_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vfu/plugin.h>

/* What this host can do for a plugin. */
#define PLUGIN_HOST_CAPS                                                                                               \
    (VFU_CAP_DMA | VFU_CAP_DMA_MAP | VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_MSIX | VFU_CAP_RESET | VFU_CAP_MMAP |        \
     VFU_CAP_DOORBELL | VFU_CAP_MIGRATION | VFU_CAP_TIMERS | VFU_CAP_FD_WATCH | \
     VFU_CAP_POLL | VFU_CAP_THREADS | VFU_CAP_FFI | VFU_CAP_RELOAD)

struct plugin {
    void *handle;
    struct vfu_plugin table; /* members that the plugin does not have are zero */
    char *path;              /* the file loaded */
    char *source;            /* the script that a binding runs, or NULL */
};

/*
 * spec: a script (.lua), a file (with a '/' or ending in .so), or the name of an installed plugin. `host_caps` is what
 * the host offers and the operator allows; a plugin that needs more is refused. 0; -ENOENT, -ENOEXEC, -ENOTSUP, with
 * the reason in the log.
 */
int plugin_load(struct plugin **out, const char *spec, uint64_t host_caps);
/*
 * The same, from a copy of the file that this plugin has to itself: the file may be written anew while it is loaded, and
 * loading it again gives what is in it then. A script's binding is no such file, and is shared as ever.
 */
int plugin_load_private(struct plugin **out, const char *spec, uint64_t host_caps);
void plugin_unload(struct plugin *plugin);

/* Names of capability flags, "dma,dma_map", for people. */
void plugin_cap_names(uint64_t caps, char *text, size_t room);
/* The flag of a name, 0 if there is none. */
uint64_t plugin_cap_of(const char *name, size_t len);
/* Up to 64 letters, digits, '-', '_' and '.', which it does not begin with: a part of file names. */
bool plugin_good_name(const char *name);
/* What a plugin says of the elements of an array: 0 stands for the struct as this host knows it; `least` bytes have what
 * an element cannot be without. False: logged. */
bool plugin_elements_fit(const char *who, const char *what, uint32_t n, uint32_t size, size_t least);
/* needs that are not met: logged, -ENOTSUP. `sdk` is what the plugin was built with. */
int plugin_check_needs(const char *who, const char *sdk, uint64_t needs, uint64_t host_caps);

#endif
