/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * follow - --reload: looks at the folders of the files that devices are made of, and has a device reloaded when one of
 * its own has been written, made or moved into place, and nothing has happened to it for a moment. Main's thread.
 */
#ifndef CORE_FOLLOW_H
#define CORE_FOLLOW_H

#include "core/device/device.h"
#include "core/base/loop.h"

struct follow;

/* `loop` is main's. -errno (logged): the system gives no way to watch. */
int follow_new(struct follow **out, struct loop *loop);
/* From now on, whatever files it names. -ENOMEM. */
int follow_device(struct follow *follow, struct device *dev);
/* Before devices are freed, after loop has run for the last time. */
void follow_free(struct follow *follow);

#endif
