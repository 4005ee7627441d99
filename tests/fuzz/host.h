/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * host - what stands in for the world around core/: the clock, the log, the plugin loader; and the count of descriptors
 * that are open, which no input may change. One thread.
 */
#ifndef FUZZ_HOST_H
#define FUZZ_HOST_H

#include <stdint.h>

#include <vfu/plugin.h>

#include "core/device/device.h"

/* Once, before the first input. */
void host_setup(void);
/* The clock at its beginning. */
void host_begin(void);
void host_pass(struct device *dev, uint64_t ns);
/* A device with this table. It must be there: the tables are the fuzzer's own. */
struct device *host_device(const struct vfu_plugin *plugin, uint64_t deny, uint32_t max_dma_maps);
/* Ends it after its loop has done what it still had to. */
void host_end(struct device *dev);

/* Length and checksum of a saved state are put right: the loader looks at them first. */
void host_put_right(uint8_t *image, uint64_t size);

uint32_t host_open_fds(void);
/* To the fuzzer's own standard error, which may be closed for everybody else. */
void host_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

const struct vfu_plugin *vfu_plugin_entry(void); /* edu's */
const struct vfu_plugin *synthetic_plugin(void);

#endif
