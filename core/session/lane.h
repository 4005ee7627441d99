/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lane - the fast lane of a session: register-sized REGION_READ and REGION_WRITE messages, which are nearly all that a
 * driver causes, go straight from the receive buffer to the region, and their replies straight into the transmit
 * buffer. Whatever is out of the ordinary is left for session.c, untouched. Runs on the device's thread.
 */
#ifndef CORE_LANE_H
#define CORE_LANE_H

#include "core/session/session.h"

/* Handles such messages from the front of the buffer for as long as one follows another. */
void lane_run(struct session *s);

#endif
