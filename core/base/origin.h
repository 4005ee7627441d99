/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * origin - whose file is behind a client's descriptor. A page of a FUSE file comes from a process, which may be the
 * client: a device that maps such a file waits for its client inside an access, for ever if that likes. Any thread.
 */
#ifndef CORE_ORIGIN_H
#define CORE_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

/* What statx says, from what the kernel knows: the file's server is not asked. 0 or -errno. */
int origin_look(int fd, struct statx *file);

/*
 * NULL if the kernel itself serves the file: memfd, tmpfs, hugetlbfs, a file system of a block device, or one that is
 * mounted where we see it and is none of FUSE's. Otherwise why it is not taken, in static words. `file` is what
 * origin_look says of it.
 */
const char *origin_objection(int fd, const struct statx *file);

/* Closes a descriptor of which nothing is known. Closing waits for a FUSE server too: that is left to a thread. */
void origin_close(int fd);
/* At most so many of them: who sends more waits itself. */
#define ORIGIN_CLOSERS 64u

/* For tests: the same for the mount with this id, as /proc/self/mountinfo has it. */
const char *origin_objection_in(FILE *mountinfo, uint64_t id, bool block_device);

#endif
