/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * socketpath - where a device listens if nobody said: NAME.sock in a folder that only this user can enter.
 * Main's thread.
 */
#ifndef CORE_SOCKETPATH_H
#define CORE_SOCKETPATH_H

#define SOCKETPATH_MAX 256

/* $XDG_RUNTIME_DIR/vfu/NAME.sock, or one in a private folder under the temporary directory; NAME-2 and so on for more
 * of the same name in this process. 0 or -errno, logged. */
int socketpath_default(char path[SOCKETPATH_MAX], const char *name);

#endif
