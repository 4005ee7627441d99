/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * odd_host - for tests of the host table: a device whose plugin is the test's, handed out by odd_plugin.so, with a
 * client and without, and a log that is kept in memory (log_write is replaced).
 */
#ifndef TESTS_ODD_HOST_H
#define TESTS_ODD_HOST_H

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/device/device.h"

#define MS UINT64_C(1000000)
#define ODD_CAPS (VFU_CAP_DMA | VFU_CAP_DMA_MAP | VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_TIMERS | VFU_CAP_FD_WATCH | \
                  VFU_CAP_POLL | VFU_CAP_THREADS | VFU_CAP_RESET | VFU_CAP_RELOAD)

/* What a test sets before it makes a device. */
struct odd_plan {
    uint64_t caps;
    int32_t (*access)(void *self, struct vfu_access *access); /* then BAR 1 is raw */
    int32_t (*poll)(void *self);
    void (*quiesce)(void *self);
    void (*resume)(void *self);
    void (*destroy)(void *self);
    void (*event)(void *self, uint32_t event, uint64_t arg);
    int32_t (*on_describe)(const struct vfu_host *host);
    int32_t (*create)(const struct vfu_host *host);
    void (*attach)(void);
    int32_t (*save)(void *self, struct vfu_sink *sink);
    int32_t (*load)(void *self, struct vfu_source *source);
    void (*shape)(struct vfu_desc *desc); /* changes the description */
    void (*written)(void *self, const struct vfu_config_call *call); /* VFU_EXT_CONFIG */
    void (*doorbell)(void *self, uint32_t index, uint64_t value);
    int32_t hook_result; /* of the hooks of register 1, at offset 8 */
};
extern struct odd_plan odd_plan;
extern const struct vfu_host *odd_table;      /* what the plugin was handed */
extern const struct vfu_host_regmap *odd_regs;
extern struct device *odd_dev;
extern int odd_self; /* its address is the plugin's self */
extern int odd_peer; /* the client's end of the socket */

/* A test's setup and teardown: no device yet, the log empty, all capabilities but POLL and THREADS. */
int odd_setup(void **state);
int odd_teardown(void **state);

/* The plugin `module` of the build tree. */
const char *odd_built(char path[PATH_MAX], const char *module);
int odd_make_with(const char *spec, char **items, uint32_t n, uint64_t deny);
void odd_make(void);
void odd_attach(void);
/* Runs the device's loop until *when is above 0 (it has to be, within 4 s), looking every `ns`; or for so long. */
void odd_run(const atomic_int *when, uint64_t ns);
void odd_nap(uint64_t ns);

/* Lines of the log: how many, how many with these words in them. */
extern unsigned odd_nlines;
unsigned odd_said(const char *words);
void odd_assert_said_once(const char *words);

#endif
