/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unit test of core/ioevent: which doorbells are refused, what rings them by message and by event fd, what a client is
 * offered, and that a hostile or a former client gets nowhere. One thread; the loop runs a round at a time.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vfu/protocol.h>

#include "core/pci/ioevent.h"
#include "core/base/log.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))
#define MATCH VFU_DOORBELL_MATCH
#define SHADOW VFU_DOORBELL_SHADOW

static const struct vfu_area areas[] = { { 0x1000, 0x1000 } };
static const struct vfu_bar bars[] = {
    { .index = 0, .size = 0x4000 },
    { .index = 1, .type = VFU_BAR_IO, .size = 64, .access_sizes = 1 | 2 },
    { .index = 2, .size = 0x4000, .flags = VFU_BAR_RAM | VFU_BAR_MMAP, .areas = areas, .nareas = 1,
      .area_size = sizeof areas[0] },
    { .index = 3, .size = 0x4000, .flags = VFU_BAR_RAM | VFU_BAR_MMAP },
};

static const struct vfu_doorbell bells[] = {
    { .bar = 2, .offset = 0x3000, .size = 4 },
    { .bar = 0, .offset = 0x20, .size = 4, .share = 7 },
    { .bar = 0, .offset = 0x10, .size = 4, .flags = MATCH, .match = 0x22 },
    { .bar = 0, .offset = 0x10, .size = 4, .flags = MATCH, .match = 0x11 },
    { .bar = 0, .offset = 0x24, .size = 4, .share = 7 },
    { .bar = 0, .offset = 0x30 },
    { .bar = 0, .offset = 0x38, .size = 2, .flags = SHADOW },
    { .bar = 0, .offset = 0x40, .size = 8 },
    { .bar = 1, .offset = 0x10, .size = 1, .share = 7 },
    { .bar = 0, .offset = 0x10, .size = 8 },
    { .bar = 0, .offset = 0x48, .size = 8, .flags = SHADOW },
};

struct rig {
    struct loop loop;
    struct ioevent io;
    int rings;
    uint32_t index;
    uint64_t value;
    void (*during)(struct rig *rig);
};

static void on_ring(void *self, uint32_t index, uint64_t value)
{
    struct rig *rig = self;

    rig->rings++;
    rig->index = index;
    rig->value = value;
    if (rig->during)
        rig->during(rig);
}

static int init(struct rig *rig, const struct vfu_doorbell *list, uint32_t n)
{
    const struct vfu_desc desc = { .doorbells = list, .ndoorbells = n, .doorbell_size = sizeof *list };

    return ioevent_init(&rig->io, "test", &rig->loop, &desc, bars, LENGTH(bars));
}

static void start(struct rig *rig)
{
    memset(rig, 0, sizeof *rig);
    assert_int_equal(loop_init(&rig->loop), 0);
    assert_int_equal(init(rig, bells, LENGTH(bells)), 0);
    rig->io.ring = on_ring;
    rig->io.self = rig;
}

static void stop(struct rig *rig)
{
    ioevent_fini(&rig->io);
    loop_fini(&rig->loop);
}

static void stop_loop(void *arg)
{
    loop_stop(arg);
}

/* Whatever is ready, once. The number of rings. */
static int run_round(struct rig *rig)
{
    rig->rings = 0;
    rig->loop.stopping = false;
    assert_int_equal(loop_defer(&rig->loop, stop_loop, &rig->loop), 0);
    loop_run(&rig->loop);
    return rig->rings;
}

static int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* ---- descriptions */

static void refuses_senseless_doorbells(void **state)
{
    static const struct vfu_doorbell bad[] = {
        { .bar = 5, .offset = 0, .size = 4 },
        { .bar = UINT32_MAX, .offset = 0, .size = 4 },
        { .bar = 0, .offset = 0, .size = 3 },
        { .bar = 0, .offset = 0, .size = 16 },
        { .bar = 0, .offset = 0x4000, .size = 0 },
        { .bar = 0, .offset = 0x4000, .size = 4 },
        { .bar = 0, .offset = UINT64_MAX, .size = 1 },
        { .bar = 0, .offset = UINT64_MAX - 3, .size = 4 },
        { .bar = 0, .offset = 2, .size = 4 },
        { .bar = 1, .offset = 0, .size = 4 }, /* its widths are 1 and 2 */
        { .bar = 0, .offset = 0, .size = 4, .flags = 4 },
        { .bar = 0, .offset = 0, .size = 0, .flags = MATCH },
        { .bar = 0, .offset = 0, .size = 1, .flags = MATCH, .match = 0x100 },
        { .bar = 0, .offset = 0, .size = 4, .flags = MATCH | SHADOW },
        { .bar = 0, .offset = 0, .size = 4, .flags = SHADOW, .share = 1 },
        { .bar = 2, .offset = 0x1000, .size = 4 },
        { .bar = 2, .offset = 0x1ff8, .size = 8 },
        { .bar = 3, .offset = 0x3000, .size = 4 },
    };
    struct rig rig;

    (void)state;
    for (size_t i = 0; i < LENGTH(bad); i++)
        assert_int_equal(init(&rig, &bad[i], 1), -EINVAL);
}

static void refuses_doorbells_of_one_write(void **state)
{
    static const struct vfu_doorbell pairs[][2] = {
        { { .offset = 8, .size = 4 }, { .offset = 8, .size = 4 } },
        { { .offset = 8, .size = 4 }, { .offset = 8 } },
        { { .offset = 8 }, { .offset = 8, .size = 4, .flags = MATCH, .match = 1 } },
        { { .offset = 8, .size = 4 }, { .offset = 8, .size = 4, .flags = MATCH, .match = 1 } },
        { { .offset = 8, .size = 4, .flags = MATCH, .match = 1 }, { .offset = 8, .size = 4, .flags = MATCH, .match = 1 } },
    };
    static const struct vfu_doorbell fine[] = {
        { .offset = 8, .size = 4 }, { .offset = 8, .size = 8 }, { .offset = 12, .size = 4 },
    };
    struct vfu_doorbell *many = calloc(VFU_DOORBELLS_MAX + 1, sizeof *many);
    struct rig rig;

    (void)state;
    for (size_t i = 0; i < LENGTH(pairs); i++)
        assert_int_equal(init(&rig, pairs[i], 2), -EINVAL);
    assert_int_equal(init(&rig, fine, LENGTH(fine)), 0);
    ioevent_fini(&rig.io);
    for (uint32_t i = 0; i <= VFU_DOORBELLS_MAX; i++)
        many[i].offset = i;
    assert_int_equal(init(&rig, many, VFU_DOORBELLS_MAX + 1), -EINVAL);
    assert_int_equal(init(&rig, NULL, 1), -EINVAL);
    assert_int_equal(init(&rig, many, VFU_DOORBELLS_MAX), 0);
    assert_int_equal(rig.io.nfds, VFU_DOORBELLS_MAX);
    ioevent_fini(&rig.io);
    free(many);
}

static void a_device_without_doorbells_costs_nothing(void **state)
{
    struct ioevent_offer offer;
    struct rig rig;

    (void)state;
    assert_int_equal(init(&rig, NULL, 0), 0);
    ioevent_wrote(&rig.io, 0, 0, 4, (const uint8_t *)"abcd");
    ioevent_plan(&rig.io, 0, 16, &offer);
    assert_int_equal(offer.n, 0);
    ioevent_freeze(&rig.io, true);
    ioevent_drain(&rig.io);
    ioevent_detach(&rig.io);
    ioevent_fini(&rig.io);
}

/* ---- messages */

static void rung_by(struct rig *rig, uint32_t bar, uint64_t offset, uint32_t size, uint64_t value, int64_t index)
{
    rig->rings = 0;
    ioevent_wrote(&rig->io, bar, offset, size, (const uint8_t *)&value);
    assert_int_equal(rig->rings, index < 0 ? 0 : 1);
    if (index < 0)
        return;
    assert_int_equal(rig->index, index);
    assert_int_equal(rig->value, value);
}

static void messages_ring_as_kvm_does(void **state)
{
    uint8_t long_write[64] = { 0 };
    struct rig rig;

    (void)state;
    start(&rig);
    rung_by(&rig, 2, 0x3000, 4, 0x12345678, 0);
    rung_by(&rig, 0, 0x3000, 4, 1, -1);
    rung_by(&rig, 2, 0x3000, 2, 1, -1);
    rung_by(&rig, 2, 0x3000, 8, 1, -1);
    rung_by(&rig, 2, 0x3002, 2, 1, -1);
    rung_by(&rig, 2, 0x2ffc, 8, 1, -1);
    rung_by(&rig, 0, 0x10, 4, 0x11, 3);
    rung_by(&rig, 0, 0x10, 4, 0x22, 2);
    rung_by(&rig, 0, 0x10, 4, 0x33, -1);
    rung_by(&rig, 0, 0x10, 8, 0x11, 9);
    rung_by(&rig, 0, 0x20, 4, 1, 1);
    rung_by(&rig, 0, 0x24, 4, 2, 1); /* shared: the first answers for both */
    for (uint32_t size = 1; size <= 8; size++)
        rung_by(&rig, 0, 0x30, size, size, 5);
    rung_by(&rig, 0, 0x31, 1, 1, -1);
    rung_by(&rig, 0, 0x38, 2, 0xabcd, 6);
    rung_by(&rig, 0, 0x40, 8, UINT64_MAX, 7);
    rung_by(&rig, 1, 0x10, 1, 0xff, 8);
    rung_by(&rig, 7, 0x10, 1, 1, -1); /* config space */
    ioevent_wrote(&rig.io, 0, 0x30, sizeof long_write, long_write);
    ioevent_wrote(&rig.io, 0, 0x30, 9, long_write);
    assert_int_equal(rig.rings, 0);
    assert_int_equal(rig.io.shadow, -1);
    stop(&rig);
}

/* What is not near one is written without a look at them. */
static void each_is_near_itself(void **state)
{
    struct rig rig;

    (void)state;
    start(&rig);
    for (uint32_t i = 0; i < rig.io.nbells; i++)
        assert_true(ioevent_near(&rig.io, rig.io.bells[i].bar, rig.io.bells[i].offset));
    assert_false(ioevent_near(&rig.io, 0, 0xf));
    assert_false(ioevent_near(&rig.io, 0, 0x1000));
    assert_false(ioevent_near(&rig.io, 2, 0x2fff));
    assert_false(ioevent_near(&rig.io, 2, 0x3001));
    assert_false(ioevent_near(&rig.io, 3, 0x10));
    assert_false(ioevent_near(&rig.io, VFU_REGION_CONFIG, 0x10));
    stop(&rig);
}

/* ---- offers */

static void offers_what_fits(void **state)
{
    struct ioevent_offer offer;
    struct rig rig;

    (void)state;
    start(&rig);
    ioevent_plan(&rig.io, 0, 0, &offer);
    assert_int_equal(offer.n, 0);
    ioevent_plan(&rig.io, 0, 1, &offer); /* the two that share */
    assert_int_equal(offer.n, 2);
    assert_int_equal(offer.nfds, 1);
    assert_int_equal(offer.bells[0].bell, 1);
    assert_int_equal(offer.bells[1].bell, 4);
    assert_int_equal(offer.entry_size, 40);
    ioevent_plan(&rig.io, 0, 5, &offer); /* the shadows would need two more; another one still fits */
    assert_int_equal(offer.n, 6);
    assert_int_equal(offer.nfds, 5);
    assert_int_equal(offer.bells[5].bell, 7);
    assert_int_equal(offer.entry_size, 40);
    ioevent_plan(&rig.io, 0, 6, &offer); /* now one of them does, and comes first */
    assert_int_equal(offer.n, 6);
    assert_int_equal(offer.nfds, 6);
    assert_int_equal(offer.bells[5].bell, 6);
    assert_int_equal(offer.entry_size, 48);
    ioevent_plan(&rig.io, 0, 1000, &offer); /* all: eight fds, one file for both shadows */
    assert_int_equal(offer.n, 9);
    assert_int_equal(offer.nfds, 9);
    assert_false(offer.pio);
    ioevent_plan(&rig.io, 1, 16, &offer);
    assert_int_equal(offer.n, 1);
    assert_true(offer.pio);
    for (uint32_t bar = 3; bar < 10; bar++) {
        ioevent_plan(&rig.io, bar, 16, &offer);
        assert_int_equal(offer.n, 0);
    }
    rig.io.denied = true;
    ioevent_plan(&rig.io, 0, 16, &offer);
    assert_int_equal(offer.n, 0);
    stop(&rig);
}

static void never_more_than_a_message_carries(void **state)
{
    struct vfu_doorbell many[40] = { { 0 } };
    uint8_t bytes[40 * 48];
    struct ioevent_offer offer;
    int fds[TRANSPORT_FDS];
    struct rig rig;

    (void)state;
    start(&rig);
    ioevent_fini(&rig.io);
    for (uint32_t i = 0; i < LENGTH(many); i++)
        many[i] = (struct vfu_doorbell){ .offset = 4 * i, .size = 4, .share = i >= 30 ? 1 : 0 };
    assert_int_equal(init(&rig, many, LENGTH(many)), 0);
    ioevent_plan(&rig.io, 0, UINT32_MAX, &offer);
    assert_int_equal(offer.nfds, TRANSPORT_FDS);
    assert_int_equal(offer.n, TRANSPORT_FDS);
    assert_int_equal(ioevent_give(&rig.io, &offer, bytes, fds), 0);
    stop(&rig);
}

static void lists_in_both_forms(void **state)
{
    struct vfu_msg_sub_region_shadow *longer;
    struct vfu_msg_sub_region *shorter;
    _Alignas(8) uint8_t bytes[16 * 48];
    struct ioevent_offer offer;
    int fds[TRANSPORT_FDS];
    struct rig rig;

    (void)state;
    start(&rig);
    ioevent_plan(&rig.io, 1, 16, &offer);
    assert_int_equal(ioevent_give(&rig.io, &offer, bytes, fds), 0);
    shorter = (void *)bytes;
    assert_int_equal(shorter[0].offset, 0x10);
    assert_int_equal(shorter[0].size, 1);
    assert_int_equal(shorter[0].type, VFU_IO_FD_TYPE_IOEVENTFD);
    assert_int_equal(shorter[0].flags, VFU_IOEVENTFD_PIO);
    ioevent_plan(&rig.io, 0, 5, &offer);
    assert_int_equal(ioevent_give(&rig.io, &offer, bytes, fds), 0);
    assert_int_equal(shorter[0].fd_index, shorter[3].fd_index);
    assert_int_equal(shorter[1].flags, VFU_IOEVENTFD_DATAMATCH);
    assert_int_equal(shorter[1].datamatch, 0x22);
    assert_int_equal(shorter[2].datamatch, 0x11);
    ioevent_plan(&rig.io, 0, 16, &offer);
    assert_int_equal(ioevent_give(&rig.io, &offer, bytes, fds), 0);
    longer = (void *)bytes;
    assert_int_equal(longer[1].datamatch, 0x22);
    assert_int_equal(longer[1].shadow_offset, 0x22); /* where readers of the shorter form look */
    assert_int_equal(longer[5].type, VFU_IO_FD_TYPE_IOEVENTFD_SHADOW);
    assert_int_equal(longer[5].size, 2);
    assert_int_equal(longer[5].shadow_offset, 6 * 8);
    assert_int_equal(longer[8].shadow_fd_index, longer[5].shadow_fd_index);
    assert_int_equal(fds[longer[8].shadow_fd_index], rig.io.shadow);
    assert_int_equal(longer[8].shadow_offset, 10 * 8);
    stop(&rig);
}

/* ---- event fds */

/* What a client of BAR0 holds: its own descriptors, by doorbell. */
struct client {
    int fds[LENGTH(bells)];
    uint64_t *shadow;
};

static void take(struct rig *rig, struct client *client)
{
    _Alignas(8) uint8_t bytes[16 * 48];
    const struct vfu_msg_sub_region_shadow *list = (void *)bytes;
    struct ioevent_offer offer;
    int fds[TRANSPORT_FDS];

    ioevent_plan(&rig->io, 0, 16, &offer);
    assert_int_equal(ioevent_give(&rig->io, &offer, bytes, fds), 0);
    memset(client->fds, -1, sizeof client->fds);
    for (uint32_t i = 0; i < offer.n; i++)
        client->fds[offer.bells[i].bell] = dup(fds[list[i].fd_index]);
    client->shadow = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, rig->io.shadow, 0);
    assert_ptr_not_equal(client->shadow, MAP_FAILED);
}

static void leave(struct client *client)
{
    for (size_t i = 0; i < LENGTH(client->fds); i++)
        if (client->fds[i] >= 0)
            close(client->fds[i]);
    munmap(client->shadow, 4096);
}

static void ring(const struct client *client, uint32_t index)
{
    assert_int_equal(eventfd_write(client->fds[index], 1), 0);
}

static void event_fds_ring(void **state)
{
    int before = count_fds();
    struct client client;
    struct rig rig;

    (void)state;
    start(&rig);
    take(&rig, &client);
    assert_int_equal(run_round(&rig), 0);
    ring(&client, 7);
    assert_int_equal(run_round(&rig), 1);
    assert_int_equal(rig.index, 7);
    assert_int_equal(rig.value, 0);
    assert_int_equal(run_round(&rig), 0);
    ring(&client, 3);
    assert_int_equal(run_round(&rig), 1);
    assert_int_equal(rig.index, 3);
    assert_int_equal(rig.value, 0x11);
    ring(&client, 4);
    assert_int_equal(run_round(&rig), 1);
    assert_int_equal(rig.index, 1);
    client.shadow[6] = 0xffff1234;
    client.shadow[10] = UINT64_MAX - 1;
    ring(&client, 6);
    assert_int_equal(run_round(&rig), 1);
    assert_int_equal(rig.index, 6);
    assert_int_equal(rig.value, 0x1234); /* as wide as the doorbell */
    ring(&client, 10);
    assert_int_equal(run_round(&rig), 1);
    assert_int_equal(rig.value, UINT64_MAX - 1);
    ring(&client, 5);
    ring(&client, 7);
    assert_int_equal(run_round(&rig), 2);
    leave(&client);
    stop(&rig);
    assert_int_equal(count_fds(), before);
}

static const struct client *ringer;

static void ring_again(struct rig *rig)
{
    (void)rig;
    ring(ringer, 7);
}

/* One callback a round, though the client rings all the time; and none that waits in a read. */
static void a_hostile_client_gets_one_ring_a_round(void **state)
{
    uint64_t count;
    struct client client;
    struct rig rig;

    (void)state;
    start(&rig);
    take(&rig, &client);
    ringer = &client;
    rig.during = ring_again;
    for (int i = 0; i < 1000; i++)
        ring(&client, 7);
    for (int i = 0; i < 100; i++)
        assert_int_equal(run_round(&rig), 1);
    rig.during = NULL;
    assert_int_equal(run_round(&rig), 1);
    assert_int_equal(run_round(&rig), 0);
    /* The counter at its end, where another write would wait. */
    assert_int_equal(eventfd_write(client.fds[7], UINT64_MAX - 1), 0);
    assert_int_equal(run_round(&rig), 1);
    /* A blocking description, emptied by the client itself before we look. */
    assert_int_equal(fcntl(client.fds[7], F_SETFL, 0), 0);
    ring(&client, 7);
    assert_int_equal(read(client.fds[7], &count, sizeof count), sizeof count);
    assert_int_equal(run_round(&rig), 0);
    ring(&client, 7);
    assert_int_equal(run_round(&rig), 1);
    /* The shadow memory stays. */
    assert_int_equal(ftruncate(rig.io.shadow, 0), -1);
    assert_int_equal(ftruncate(rig.io.shadow, 1 << 20), -1);
    leave(&client);
    stop(&rig);
}

static void stopped_rings_wait(void **state)
{
    struct client client;
    struct rig rig;

    (void)state;
    start(&rig);
    take(&rig, &client);
    ioevent_freeze(&rig.io, true);
    ring(&client, 7);
    ring(&client, 3);
    assert_int_equal(run_round(&rig), 0);
    ioevent_freeze(&rig.io, false);
    assert_int_equal(run_round(&rig), 2);
    /* Nothing rang: nothing is made up. */
    ioevent_freeze(&rig.io, true);
    ioevent_freeze(&rig.io, false);
    assert_int_equal(run_round(&rig), 0);
    /* Given out while stopped. */
    leave(&client);
    ioevent_detach(&rig.io);
    ioevent_freeze(&rig.io, true);
    take(&rig, &client);
    ring(&client, 7);
    assert_int_equal(run_round(&rig), 0);
    ioevent_freeze(&rig.io, false);
    assert_int_equal(run_round(&rig), 1);
    leave(&client);
    stop(&rig);
}

static void a_reset_forgets(void **state)
{
    struct client client;
    struct rig rig;

    (void)state;
    start(&rig);
    take(&rig, &client);
    ring(&client, 7);
    ring(&client, 1);
    ioevent_drain(&rig.io);
    assert_int_equal(run_round(&rig), 0);
    ring(&client, 7);
    assert_int_equal(run_round(&rig), 1);
    leave(&client);
    stop(&rig);
}

static void a_former_client_rings_nothing(void **state)
{
    struct client first, second;
    struct rig rig;

    (void)state;
    start(&rig);
    take(&rig, &first);
    ring(&first, 7); /* still on its way when the client goes */
    first.shadow[6] = 0x1111;
    ioevent_detach(&rig.io);
    assert_int_equal(run_round(&rig), 0);
    take(&rig, &second);
    assert_int_equal(run_round(&rig), 0);
    for (uint32_t i = 0; i < LENGTH(bells); i++)
        if (first.fds[i] >= 0)
            ring(&first, i);
    first.shadow[6] = 0x2222;
    assert_int_equal(run_round(&rig), 0);
    assert_int_equal(second.shadow[6], 0);
    ring(&second, 6);
    assert_int_equal(run_round(&rig), 1);
    assert_int_equal(rig.value, 0);
    leave(&first);
    leave(&second);
    stop(&rig);
}

static void detach(struct rig *rig)
{
    ioevent_detach(&rig->io);
}

/* A ring may be what ends the client: the plugin starts a DMA, its message meets a closed socket. */
static void a_ring_may_end_the_client(void **state)
{
    struct client client;
    struct rig rig;

    (void)state;
    start(&rig);
    take(&rig, &client);
    rig.during = detach;
    ring(&client, 7);
    ring(&client, 3);
    ring(&client, 6);
    assert_int_equal(run_round(&rig), 1);
    assert_int_equal(run_round(&rig), 0);
    leave(&client);
    stop(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_senseless_doorbells),
        cmocka_unit_test(refuses_doorbells_of_one_write),
        cmocka_unit_test(a_device_without_doorbells_costs_nothing),
        cmocka_unit_test(messages_ring_as_kvm_does),
        cmocka_unit_test(each_is_near_itself),
        cmocka_unit_test(offers_what_fits),
        cmocka_unit_test(never_more_than_a_message_carries),
        cmocka_unit_test(lists_in_both_forms),
        cmocka_unit_test(event_fds_ring),
        cmocka_unit_test(a_hostile_client_gets_one_ring_a_round),
        cmocka_unit_test(stopped_rings_wait),
        cmocka_unit_test(a_reset_forgets),
        cmocka_unit_test(a_former_client_rings_nothing),
        cmocka_unit_test(a_ring_may_end_the_client),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
