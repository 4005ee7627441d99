/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * intruders - strangers at the door of a device that has a client: they connect and say nothing, or half of something,
 * or nonsense, or come in a crowd; or they negotiate as is proper, and are refused, or get in where the client has
 * just left. None stays for more than 20 ms. A thread for each.
 */
#define _GNU_SOURCE
#include "sdk/client/hammer.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <vfu/protocol.h>

#define CROWD 20u
#define STAY 20000000u /* ns */

static int intruder_dial(const struct intruders *all)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval limit = { 0, 50000 };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    strncpy(address.sun_path, all->socket, sizeof address.sun_path - 1);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static void intruder_half(int fd, struct rng *rng)
{
    struct {
        struct vfu_msg_header header;
        struct vfu_msg_version version;
    } hello = { { (uint16_t)rng_next(rng), VFU_CMD_VERSION, sizeof hello, 0, 0 }, { 0, 0 } };

    (void)!send(fd, &hello, 1 + rng_below(rng, sizeof hello - 1), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void intruder_nonsense(int fd, struct rng *rng)
{
    uint8_t bytes[256];

    rng_bytes(rng, bytes, sizeof bytes);
    (void)!send(fd, bytes, 1 + rng_below(rng, sizeof bytes), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void intruder_crowd(const struct intruders *all, struct rng *rng)
{
    uint64_t n = 2 + rng_below(rng, CROWD - 2);
    int fds[CROWD];

    for (uint64_t i = 0; i < n; i++)
        fds[i] = intruder_dial(all);
    hammer_pause(rng_below(rng, STAY / 4));
    for (uint64_t i = 0; i < n; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
}

static void intruder_proper(struct intruders *all)
{
    struct vfuc_options options = { .struct_size = sizeof options, .timeout_ns = 20 * VFUC_NS_PER_MS };
    struct vfuc *c = vfuc_new(&options);
    uint64_t ids = 0;
    int err = c ? vfuc_connect(c, all->socket) : -ENOMEM;

    if (!err && vfuc_get(c, VFUC_CONFIG, 0, 4, &ids) == 0) {
        atomic_fetch_add(&all->attached, 1);
        if (ids != all->ids)
            atomic_store(&all->wrong, true);
    } else if (err) {
        atomic_fetch_add(&all->refused, 1);
    }
    vfuc_free(c);
}

static void intruder_visit(struct intruders *all, struct rng *rng)
{
    uint64_t kind = rng_below(rng, 8);
    int fd;

    if (kind == 0) {
        intruder_crowd(all, rng);
        return;
    }
    if (kind >= 5) {
        intruder_proper(all);
        return;
    }
    fd = intruder_dial(all);
    if (fd < 0)
        return;
    if (kind >= 3)
        intruder_half(fd, rng);
    else if (kind == 2)
        intruder_nonsense(fd, rng);
    hammer_pause(rng_below(rng, STAY));
    close(fd);
}

static void *intruder_run(void *arg)
{
    struct intruder *me = arg;
    struct intruders *all = me->all;
    struct rng rng = rng_make(all->seed, UINT64_MAX - me->number);

    while (!atomic_load(&all->stop)) {
        if (atomic_load(&all->pause)) {
            hammer_pause(1000000);
            continue;
        }
        intruder_visit(all, &rng);
        atomic_fetch_add(&all->visits, 1);
        hammer_pause(1000000 + rng_below(&rng, STAY));
    }
    return NULL;
}

int intruders_start(struct intruders *all)
{
    for (uint32_t i = 0; i < HAMMER_INTRUDERS; i++) {
        all->list[i] = (struct intruder){ all, i };
        if (pthread_create(&all->threads[i], NULL, intruder_run, &all->list[i]))
            return -1;
        all->running++;
    }
    return 0;
}

void intruders_stop(struct intruders *all)
{
    atomic_store(&all->stop, true);
    for (uint32_t i = 0; i < all->running; i++)
        pthread_join(all->threads[i], NULL);
    all->running = 0;
}
