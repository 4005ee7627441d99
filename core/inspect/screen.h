/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * screen - the control socket's command of that name: what a display shows, as a PNG file.
 */
#ifndef CORE_SCREEN_H
#define CORE_SCREEN_H

#include <jansson.h>

struct device;

/* A control_fn: "file": PATH, and "display": N, 0 if it is left out. The device's thread. */
int screen_control(struct device *dev, const json_t *request, json_t *reply);
/* What nobody waits for any more. After display_fini, when the device's thread has ended. */
void screen_forget(struct device *dev);

#endif
