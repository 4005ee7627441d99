/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * socketpath - where a device listens if nobody said: NAME.sock in a folder that only this user can enter; and whose the
 * file at a path is. Main's thread.
 */
#ifndef CORE_SOCKETPATH_H
#define CORE_SOCKETPATH_H

#include <sys/types.h>

#define SOCKETPATH_MAX 256

/* $XDG_RUNTIME_DIR/vfu/NAME.sock, or one in a private folder under the temporary directory; NAME-2 and so on for more
 * of the same name in this process. 0 or -errno, logged. */
int socketpath_default(char path[SOCKETPATH_MAX], const char *name);

/* The file that a socket of ours has at its path. While the socket is open no other file is the same. */
struct socketpath_file {
    dev_t dev;
    ino_t ino;
};
void socketpath_look(const char *path, struct socketpath_file *file);
/* Removes it; what somebody else has put there since stays. */
void socketpath_remove(const char *path, const struct socketpath_file *file);

/* The path from the root, for who is in another folder: in `room`; the path itself if that is too long for a socket. */
const char *socketpath_whole(const char *path, char room[SOCKETPATH_MAX]);

#endif
