/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crash - the last line of a process that a plugin takes down: which device it was, and by what. A signal that ends the
 * process, and exit called from within a device, are told on standard error; then they do what they would have done.
 */
#ifndef CORE_CRASH_H
#define CORE_CRASH_H

/* Once, before threads. */
void crash_init(void);
/* What this thread does from now on is this device's, and `who` stays where it is; NULL: nobody's. Any thread. */
void crash_blame(const char *who);

#endif
