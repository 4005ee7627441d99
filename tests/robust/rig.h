/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * rig - host processes for tests of what outsiders can do to one: started with any command line, looked at from
 * outside, stopped. One thread. What goes wrong in here fails the test that called.
 */
#ifndef TESTS_RIG_H
#define TESTS_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <cmocka.h>
#include <vfu/client.h>
#include <vfu/protocol.h>

#define RIG_MS UINT64_C(1000000)
#define RIG_ID 0x010000edu /* edu's register at 0 */
#define RIG_LIVE 4u        /* edu's complement register */
#define RIG_COUNT 0x90u    /* edu's register of 8 bytes without a hook */

struct rig {
    pid_t pid;
    char dir[64];
    rlim_t nofile;      /* before the start: RLIMIT_NOFILE, soft and hard; 0: as it is */
    void (*before)(struct rig *rig); /* in the child before exec, may be NULL */
    int fd;             /* for `before` */
};

/* An empty folder of its own, nothing started. */
void rig_open(struct rig *rig);
/* Kills what is left, removes the folder. */
void rig_close(struct rig *rig);

/* Words up to NULL. "@x" stands for the file x in the folder, "$edu" and "$lua" for edu in C and as a script, "$memory" for
 * the plugin of that name. Output goes to the file log. */
void rig_start(struct rig *rig, ...) __attribute__((sentinel));
void rig_start_words(struct rig *rig, const char *const *words);
/* Its end: the exit status, 128 + the signal that ended it, or -1 if it goes on after 10 s (it is killed then). */
int rig_wait(struct rig *rig);
/* A signal, and its end. */
int rig_stop(struct rig *rig, int signal);
/* Start, wait for the end. */
int rig_run(struct rig *rig, ...) __attribute__((sentinel));

/* A file's path in the folder; good until the third call after it. */
const char *rig_path(const struct rig *rig, const char *name);
void rig_write(const struct rig *rig, const char *name, const char *text);
/* How many lines of the output contain text. */
int rig_said(const struct rig *rig, const char *text);
/* Waits until it has said so; false after 5 s. */
bool rig_says(const struct rig *rig, const char *text);
void rig_show(const struct rig *rig);

int rig_fds(const struct rig *rig);
/* Waits up to 2 s until it has so many descriptors open. */
bool rig_fds_settle(const struct rig *rig, int n);
/* From now on it gets no descriptor that it does not have yet; `former` is for rig_give_files. */
void rig_take_files(const struct rig *rig, struct rlimit *former);
void rig_give_files(const struct rig *rig, const struct rlimit *former);
long rig_rss(const struct rig *rig); /* KiB */
void rig_pause(unsigned ms);
uint64_t rig_now(void);

/* A negotiated client; waits for the socket to be there. */
struct vfuc *rig_client(const struct rig *rig, const char *socket);
/* A connected socket and nothing said. */
int rig_connect(const struct rig *rig, const char *socket);
/* A read of the ID register gives what it should. */
void rig_alive(struct vfuc *c);

/* Raw messages on a socket. */
struct rig_access {
    struct vfu_msg_header header;
    struct vfu_msg_region_access access;
    uint32_t value;
} __attribute__((packed));
#define RIG_ACCESS 32u /* without the value */
struct rig_access rig_read_of(uint16_t id, uint64_t offset);
struct rig_access rig_write_of(uint16_t id, uint64_t offset, uint32_t value, bool posted);
void rig_send(int fd, const void *bytes, size_t size);
/* Exactly so many bytes within 5 s. */
void rig_receive(int fd, void *bytes, size_t size);
/* VERSION and its reply. */
void rig_negotiate(int fd);
/* The peer closes within 5 s; what comes before is dropped. */
bool rig_closed(int fd);

#endif
