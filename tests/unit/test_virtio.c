/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_virtio - the virtio library against a host of arrays: what a driver may do, and a table of what it must not do, each
 * with memory that is mapped, reached by value, and by messages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/virtio_rig.h"

#define NEXT VFU_VIRTQ_DESC_NEXT
#define WRITE VFU_VIRTQ_DESC_WRITE
#define TABLE VFU_VIRTQ_DESC_INDIRECT
#define NONE 0xffffu

static struct rig *begin(enum rig_mode mode, uint64_t features)
{
    struct rig *rig = malloc(sizeof *rig);

    assert_non_null(rig);
    assert_true(rig_new(rig, mode));
    rig_start(rig, features);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), 15);
    return rig;
}

static void end(struct rig *rig)
{
    rig_free(rig);
    free(rig);
}

static uint32_t used(const struct rig *rig, uint32_t queue)
{
    return (uint32_t)rig_peek(rig, RIG_USED(queue) + 2, 2);
}

#define EACH_MODE(mode) for (enum rig_mode mode = RIG_MAPPED; mode <= RIG_MESSAGES; mode++)

/* ---- what a driver may do ---- */

static void chains_come_and_go(void **state)
{
    (void)state;
    EACH_MODE(mode) {
        struct rig *rig = begin(mode, 0);

        for (uint32_t round = 0; round < 70000 / (mode == RIG_MAPPED ? 1 : 100); round++) { /* past the end of idx */
            rig_desc(rig, RIG_DESC(0), 3, RIG_BUFFER, 10, NEXT, 5);
            rig_desc(rig, RIG_DESC(0), 5, RIG_BUFFER + 64, 20, NEXT | WRITE, 1);
            rig_desc(rig, RIG_DESC(0), 1, RIG_BUFFER + 128, 30, WRITE, 0);
            rig_offer(rig, 0, 3);
            rig_kick(rig, 0);
            if (used(rig, 0) != ((round + 1) & 0xffff))
                fail_msg("round %u: used.idx is %u", round, used(rig, 0));
            assert_int_equal(rig_peek(rig, RIG_USED(0) + 4 + 8 * (round % RIG_QUEUE), 4), 3);
            assert_int_equal(rig_peek(rig, RIG_USED(0) + 8 + 8 * (round % RIG_QUEUE), 4), 50);
            assert_int_equal(rig->irqs[1], round + 1);
        }
        assert_int_equal(rig->errors, 0);
        assert_int_equal(rig->irqs[0], 0);
        assert_true(mode != RIG_MAPPED || rig->dirty);
        end(rig);
    }
}

static void many_at_once_raise_one_interrupt(void **state)
{
    (void)state;
    EACH_MODE(mode) {
        struct rig *rig = begin(mode, 0);

        for (uint16_t i = 0; i < RIG_QUEUE; i++) {
            rig_desc(rig, RIG_DESC(0), i, RIG_BUFFER, 8, WRITE, 0);
            rig_offer(rig, 0, i);
        }
        rig_kick(rig, 0);
        assert_int_equal(used(rig, 0), RIG_QUEUE);
        assert_true(rig->irqs[1] >= 1);
        assert_true(mode == RIG_MESSAGES || rig->irqs[1] == 1);
        rig_poke(rig, RIG_AVAIL(0), VFU_VIRTQ_NO_INTERRUPT, 2);
        uint32_t before = rig->irqs[1];
        rig_offer(rig, 0, 0);
        rig_kick(rig, 0);
        assert_int_equal(used(rig, 0), RIG_QUEUE + 1);
        assert_int_equal(rig->irqs[1], before);
        end(rig);
    }
}

static void out_of_order_and_with_a_depth(void **state)
{
    (void)state;
    EACH_MODE(mode) {
        struct rig *rig = begin(mode, 0);

        rig->keep = true;
        for (uint16_t i = 0; i < 4; i++) {
            rig_desc(rig, RIG_DESC(1), i, RIG_BUFFER, 8 + i, WRITE, 0);
            rig_offer(rig, 1, i);
        }
        rig_kick(rig, 1);
        assert_int_equal(rig->nheld, 2); /* the queue's depth */
        rig_finish(rig, 1);
        assert_int_equal(rig->nheld, 2);
        assert_int_equal(rig_peek(rig, RIG_USED(1) + 4, 4), 1);
        rig->keep = false;
        rig_finish(rig, VFU_NONE);
        assert_int_equal(used(rig, 1), 4);
        assert_int_equal(rig->nchains, 4);
        end(rig);
    }
}

static void tables_of_descriptors(void **state)
{
    (void)state;
    EACH_MODE(mode) {
        struct rig *rig = begin(mode, VFU_VIRTIO_F_INDIRECT_DESC);
        uint64_t table = RIG_BUFFER + 0x1000;

        rig->keep = true;
        rig_desc(rig, table, 0, RIG_BUFFER, 16, NEXT, 2);
        rig_desc(rig, table, 2, RIG_BUFFER + 32, 16, NEXT | WRITE, 1);
        rig_desc(rig, table, 1, RIG_BUFFER + 64, 16, WRITE, 0);
        rig_desc(rig, RIG_DESC(0), 0, RIG_BUFFER + 96, 4, NEXT, 1); /* 2.7.5.3.2: plain ones may come before */
        rig_desc(rig, RIG_DESC(0), 1, table, 48, TABLE, 0);
        rig_offer(rig, 0, 0);
        rig_kick(rig, 0);
        assert_int_equal(rig->nheld, 1);
        assert_int_equal(rig->held[0]->npieces, 4);
        assert_int_equal(rig->held[0]->nreadable, 2);
        assert_int_equal(rig->held[0]->readable, 20);
        assert_int_equal(rig->held[0]->writable, 32);
        rig_finish(rig, 0);
        assert_int_equal(used(rig, 0), 1);
        end(rig);
    }
}

static void event_indexes(void **state)
{
    (void)state;
    EACH_MODE(mode) {
        struct rig *rig = begin(mode, VFU_VIRTIO_F_EVENT_IDX);
        uint64_t used_event = RIG_AVAIL(0) + 4 + 2 * RIG_QUEUE, avail_event = RIG_USED(0) + 4 + 8 * RIG_QUEUE;

        rig_desc(rig, RIG_DESC(0), 0, RIG_BUFFER, 8, WRITE, 0);
        rig_poke(rig, used_event, 3, 2); /* tell me when there are more than 3 */
        for (uint32_t i = 0; i < 6; i++) {
            rig_offer(rig, 0, 0);
            rig_kick(rig, 0);
            assert_int_equal(rig_peek(rig, avail_event, 2), i + 1);
            assert_int_equal(rig->irqs[1], i < 3 ? 0 : 1);
        }
        end(rig);
    }
}

/* Each third chain is to be told, past the end of the index, and so is that chain only. */
static void event_indexes_wrap(void **state)
{
    (void)state;
    EACH_MODE(mode) {
        struct rig *rig = begin(mode, VFU_VIRTIO_F_EVENT_IDX);
        uint64_t used_event = RIG_AVAIL(0) + 4 + 2 * RIG_QUEUE, avail_event = RIG_USED(0) + 4 + 8 * RIG_QUEUE;
        uint32_t irqs = 0;
        uint16_t event = 2;

        rig_desc(rig, RIG_DESC(0), 0, RIG_BUFFER, 8, WRITE, 0);
        rig_poke(rig, RIG_AVAIL(0), VFU_VIRTQ_NO_INTERRUPT, 2); /* which is not looked at */
        rig_poke(rig, used_event, event, 2);
        for (uint32_t i = 0; i < 140000 / (mode == RIG_MAPPED ? 1 : 2); i++) {
            rig_offer(rig, 0, 0);
            rig_kick(rig, 0);
            if ((uint16_t)i == event) {
                irqs++;
                event = (uint16_t)(event + 3);
                rig_poke(rig, used_event, event, 2);
            }
            if (rig->irqs[1] != irqs || rig_peek(rig, avail_event, 2) != ((i + 1) & 0xffff))
                fail_msg("chain %u: %u interrupts, not %u; avail_event %u", i, rig->irqs[1], irqs,
                         (unsigned)rig_peek(rig, avail_event, 2));
        }
        assert_int_equal(rig_peek(rig, RIG_USED(0), 2), 0);
        end(rig);
    }
}

/* Another processor: it makes a chain available just before the device asks for kicks, and asks to be told just behind
 * the index that it waits for. Neither is followed by anything. */
static int32_t meanwhile(const struct vfu_host *host, uint64_t addr, uint64_t len)
{
    struct rig *rig = host->ctx;

    (void)len;
    if (addr == RIG_USED(0) + 4 + 8 * RIG_QUEUE && used(rig, 0) == 0 && rig_peek(rig, RIG_AVAIL(0) + 2, 2) == 1)
        rig_offer(rig, 0, 0);
    if (addr == RIG_USED(0) + 2)
        rig_poke(rig, RIG_AVAIL(0) + 4 + 2 * RIG_QUEUE, (uint16_t)(used(rig, 0) - 1), 2);
    return 0;
}

static void event_indexes_race(void **state)
{
    (void)state;
    struct rig *rig = begin(RIG_MAPPED, VFU_VIRTIO_F_EVENT_IDX);

    rig->host.dma_dirty = meanwhile;
    rig_desc(rig, RIG_DESC(0), 0, RIG_BUFFER, 8, WRITE, 0);
    rig_desc(rig, RIG_DESC(0), 1, RIG_BUFFER, 8, WRITE, 0);
    rig_poke(rig, RIG_AVAIL(0) + 4 + 2 * RIG_QUEUE, 0xfff0, 2); /* not interested, at first */
    rig_offer(rig, 0, 1);
    rig_kick(rig, 0);
    assert_int_equal(rig->nchains, 2);
    assert_int_equal(used(rig, 0), 2);
    assert_true(rig->irqs[1] > 0);
    end(rig);
}

/* 2.7.5.3.1 asks drivers for less; some ask for more than a small queue has places. */
static void a_table_longer_than_the_queue(void **state)
{
    (void)state;
    EACH_MODE(mode) {
        struct rig *rig = begin(mode, VFU_VIRTIO_F_INDIRECT_DESC);
        uint64_t table = RIG_BUFFER + 0x4000;

        for (uint32_t n = RIG_QUEUE + 1; n < 2 * VFU_VIRTIO_PIECES_MAX; n = n * 2 - 1) {
            for (uint32_t i = 0; i < n; i++)
                rig_desc(rig, table, i, RIG_BUFFER + i, 1, WRITE | (i + 1 < n ? NEXT : 0), (uint16_t)(i + 1));
            rig_desc(rig, RIG_DESC(0), 0, table, 16 * n, TABLE | WRITE, 0); /* 2.7.5.3.2: WRITE is ignored */
            rig_offer(rig, 0, 0);
            rig_kick(rig, 0);
            if (n > VFU_VIRTIO_PIECES_MAX)
                assert_non_null(strstr(rig->error, "size that no table"));
            else
                assert_int_equal(rig_peek(rig, RIG_USED(0) + 8 + 8 * ((used(rig, 0) - 1) % RIG_QUEUE), 4), n);
        }
        end(rig);
    }
}

static void reading_and_writing_across_pieces(void **state)
{
    (void)state;
    struct rig *rig = begin(RIG_VALUE, 0);
    uint8_t bytes[32];

    rig->keep = true;
    memcpy(rig->memory + 0x8000, "abcdefgh", 8);
    rig_desc(rig, RIG_DESC(0), 0, RIG_BUFFER + 4, 4, NEXT, 1);
    rig_desc(rig, RIG_DESC(0), 1, RIG_BUFFER, 4, NEXT, 2);
    rig_desc(rig, RIG_DESC(0), 2, RIG_BUFFER + 64, 3, NEXT | WRITE, 3);
    rig_desc(rig, RIG_DESC(0), 3, RIG_BUFFER + 80, 3, WRITE, 0);
    rig_offer(rig, 0, 0);
    rig_kick(rig, 0);
    assert_int_equal(rig->nheld, 1);
    assert_int_equal(vfu_virtio_read(rig->held[0], 1, bytes, 6), 0);
    assert_memory_equal(bytes, "fghabc", 6);
    assert_int_equal(vfu_virtio_read(rig->held[0], 1, bytes, 8), -EFAULT);
    assert_int_equal(vfu_virtio_write(rig->held[0], 1, "wxyz", 4), 0);
    assert_memory_equal(rig->memory + 0x8000 + 65, "wx", 2);
    assert_memory_equal(rig->memory + 0x8000 + 80, "yz", 2);
    assert_int_equal(vfu_virtio_write(rig->held[0], 4, "wxyz", 4), -EFAULT);
    end(rig);
}

static void io_done(struct vfu_virtio_io *io, int32_t status)
{
    *(int32_t *)io->user = status;
}

static void a_reset_waits_for_messages(void **state)
{
    (void)state;
    struct rig *rig = begin(RIG_MESSAGES, 0);
    uint8_t bytes[8] = { 0 };
    int32_t status = 1;

    rig->keep = true;
    rig_desc(rig, RIG_DESC(0), 0, RIG_BUFFER, 8, WRITE, 0);
    rig_offer(rig, 0, 0);
    rig_kick(rig, 0);
    assert_int_equal(rig->nheld, 1);
    struct vfu_virtio_io io = { .chain = rig->held[0], .flags = VFU_DMA_WRITE, .len = 8, .buf = bytes, .done = io_done,
                                .user = &status };
    assert_int_equal(vfu_virtio_submit(&io), 1);
    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 0);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), 15);
    assert_int_equal(rig->nresets, 2); /* the first at the start */
    rig_serve(rig, 10);
    assert_int_equal(status, -ECANCELED);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), 0);
    rig_start(rig, 0);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), 15);
    assert_int_equal(rig->ndriver, 2);
    end(rig);
}

/* All that are out, answered; what follows from that is out now. How often that was until none was left. */
static uint32_t round_trips(struct rig *rig)
{
    uint32_t n = 0;

    for (; rig->nops || rig->later; n++)
        rig_serve(rig, rig->nops ? rig->nops : 1);
    return n;
}

/* By messages: what is needed next comes together with what is asked for. */
static void few_round_trips(void **state)
{
    (void)state;
    struct rig *rig = begin(RIG_MESSAGES, VFU_VIRTIO_F_EVENT_IDX);

    rig->keep = true;
    for (uint16_t i = 0; i < 20; i++) {
        uint16_t head = i % 2 ? 6 : 1;

        rig_desc(rig, RIG_DESC(0), head, RIG_BUFFER, 8, NEXT, 3);
        rig_desc(rig, RIG_DESC(0), 3, RIG_BUFFER + 64, 8, NEXT | WRITE, 4);
        rig_desc(rig, RIG_DESC(0), 4, RIG_BUFFER + 128, 8, WRITE, 0);
        rig_poke(rig, RIG_AVAIL(0) + 4 + 2 * RIG_QUEUE, i, 2); /* the driver wants to hear of each */
        rig_offer(rig, 0, head);
        vfu_virtio_doorbell(&rig->v, 0, 0);
        assert_int_equal(rig->nops, 3); /* the index, places of the ring, descriptors */
        rig_serve(rig, 3);
        assert_int_equal(rig->nheld, 1);
        assert_int_equal(rig->held[0]->head, head);
        assert_int_equal(rig->held[0]->npieces, 3);
        assert_int_equal(round_trips(rig), 2); /* a kick is asked for, and a last look */
        rig->nheld = 0;
        vfu_virtio_done(rig->held[0], 5);
        assert_int_equal(rig->nops, 1);
        assert_int_equal(round_trips(rig), 2); /* the element; the index and the question */
        assert_int_equal(used(rig, 0), i + 1);
        assert_int_equal(rig->irqs[1], i + 1);
        assert_int_equal(rig_peek(rig, RIG_USED(0) + 4 + 8 * RIG_QUEUE, 2), i + 1);
    }
    assert_int_equal(rig->errors, 0);
    end(rig);
}

/* What came with an index is not taken for what a later one speaks of, or for another ring's after a reset or a load. */
static void nothing_old_is_taken(void **state)
{
    (void)state;
    struct rig *rig = begin(RIG_MESSAGES, 0);

    rig->keep = true;
    rig_desc(rig, RIG_DESC(0), 0, RIG_BUFFER, 8, WRITE, 0);
    rig_desc(rig, RIG_DESC(0), 1, RIG_BUFFER, 9, WRITE, 0);
    vfu_virtio_doorbell(&rig->v, 0, 0); /* nothing is there yet */
    rig_serve(rig, 1);                  /* the index, and behind its back: */
    rig_offer(rig, 0, 0);
    rig_serve(rig, 1); /* the places */
    rig_desc(rig, RIG_DESC(0), 0, RIG_BUFFER, 16, WRITE, 0);
    rig_offer(rig, 0, 1);
    rig_kick(rig, 0);
    assert_int_equal(rig->nheld, 2);
    assert_int_equal(rig->held[0]->writable, 16);
    assert_int_equal(rig->held[1]->writable, 9);
    rig_finish(rig, VFU_NONE);

    rig_offer(rig, 0, 0);
    vfu_virtio_doorbell(&rig->v, 0, 0);
    rig_serve(rig, 2);
    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 0); /* two are out */
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), 15);
    rig_serve(rig, 100);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), 0);
    assert_int_equal(rig->nheld, 0);
    memset(rig->memory, 0, RIG_SIZE);
    rig_start(rig, 0);
    rig_desc(rig, RIG_DESC(0), 5, RIG_BUFFER, 24, WRITE, 0);
    rig_offer(rig, 0, 5);
    rig_kick(rig, 0);
    assert_int_equal(rig->nheld, 1);
    assert_int_equal(rig->held[0]->head, 5);
    assert_int_equal(rig->held[0]->writable, 24);
    assert_int_equal(rig->errors, 0);
    end(rig);
}

/* A driver without a place for what is only asked for along with something is no bad driver. */
static void what_is_asked_for_along_may_fail(void **state)
{
    (void)state;
    for (uint32_t which = 1; which < 3; which++) {
        struct rig *rig = begin(RIG_MESSAGES, 0);
        struct vfu_dma_op *op;

        rig->keep = true;
        rig_desc(rig, RIG_DESC(0), 7, RIG_BUFFER, 8, WRITE, 0);
        rig_offer(rig, 0, 7);
        vfu_virtio_doorbell(&rig->v, 0, 0);
        assert_int_equal(rig->nops, 3);
        op = rig->ops[which];
        op->addr = 0;
        rig_serve(rig, 1000);
        assert_int_equal(rig->nheld, 1);
        assert_int_equal(rig->held[0]->head, 7);
        rig_finish(rig, 0);
        assert_int_equal(used(rig, 0), 1);
        assert_int_equal(rig->errors, 0);
        end(rig);
    }
}

static void features_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t features;
        uint64_t status;
    } cases[] = { { VFU_VIRTIO_F_VERSION_1, 11 }, { 0, 3 }, { VFU_VIRTIO_F_VERSION_1 | 2, 3 },
                  { VFU_VIRTIO_F_VERSION_1 | UINT64_C(1) << 63, 3 }, { VFU_VIRTIO_F_VERSION_1 | 1, 11 } };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rig *rig = begin(RIG_MAPPED, 0);

        rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 0);
        rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 3);
        rig_put(rig, VFU_VIRTIO_R_DRIVER_FEATURE_SELECT, 0);
        rig_put(rig, VFU_VIRTIO_R_DRIVER_FEATURE, cases[i].features & UINT32_MAX);
        rig_put(rig, VFU_VIRTIO_R_DRIVER_FEATURE_SELECT, 1);
        rig_put(rig, VFU_VIRTIO_R_DRIVER_FEATURE, cases[i].features >> 32);
        rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 11);
        assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), cases[i].status);
        rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 15);
        assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), cases[i].status == 11 ? 15 : 3);
        if (cases[i].status == 11) {
            rig_put(rig, VFU_VIRTIO_R_DRIVER_FEATURE, 0xff); /* too late */
            assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DRIVER_FEATURE), cases[i].features >> 32);
            assert_int_equal(rig->v.features, cases[i].features);
        }
        rig_put(rig, VFU_VIRTIO_R_DRIVER_FEATURE_SELECT, 2);
        rig_put(rig, VFU_VIRTIO_R_DRIVER_FEATURE, 1);
        assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DRIVER_FEATURE), 0);
        rig_put(rig, VFU_VIRTIO_R_DEVICE_FEATURE_SELECT, 2);
        assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_FEATURE), 0);
        end(rig);
    }
}

static void a_client_leaves(void **state)
{
    (void)state;
    EACH_MODE(mode) {
        struct rig *rig = begin(mode, 0);

        rig->fill = true;
        for (uint16_t i = 0; i < 3; i++) {
            rig_desc(rig, RIG_DESC(1), i, RIG_BUFFER, 8, WRITE, 0);
            rig_offer(rig, 1, i);
        }
        vfu_virtio_doorbell(&rig->v, 1, 1);
        while (mode == RIG_MESSAGES && !rig->nfills)
            rig_serve(rig, 1);
        rig_cancel(rig);
        vfu_virtio_detach(&rig->v);
        assert_int_equal(rig->nfills, 0);
        rig_kick(rig, 1); /* of the next one */
        assert_int_equal(used(rig, 1), 3);
        assert_int_equal(rig->ncancelled, mode == RIG_MESSAGES ? 2 : 0); /* the queue's depth: descriptors come together */
        assert_int_equal(rig->nchains, 3 + rig->ncancelled);
        assert_int_equal(rig->errors, 0);
        end(rig);
    }
}

/* It is away for as long as the client needs to map it anew: that is an error where the driver rings meanwhile. */
static void memory_is_away(void **state)
{
    (void)state;
    EACH_MODE(mode) {
        struct rig *rig = begin(mode, 0);

        rig_desc(rig, RIG_DESC(0), 0, RIG_BUFFER, 8, WRITE, 0);
        rig_offer(rig, 0, 0);
        rig_kick(rig, 0);
        vfu_virtio_quiesce(&rig->v);
        rig_memory(rig, false);
        if (mode != RIG_MESSAGES) { /* nothing of it goes away there */
            vfu_virtio_resume(&rig->v);
            rig_serve(rig, 1000);
            assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), 15);
            rig_memory(rig, true);
            rig_offer(rig, 0, 0);
            rig_kick(rig, 0);
            assert_int_equal(used(rig, 0), 2);
            rig_memory(rig, false);
            rig_kick(rig, 0);
            assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), 15 | VFU_VIRTIO_NEEDS_RESET);
        }
        end(rig);
    }
}

/* 2.1: bits that are not the driver's; and who could not be told of an error is told of it later. */
static void status_bits(void **state)
{
    (void)state;
    struct rig *rig = begin(RIG_MAPPED, 0);

    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 15 | 16 | 32 | VFU_VIRTIO_NEEDS_RESET);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), 15);
    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, VFU_VIRTIO_FAILED);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), 15 | VFU_VIRTIO_FAILED);
    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 0);
    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 3);
    rig_put(rig, VFU_VIRTIO_R_DRIVER_FEATURE_SELECT, 1);
    rig_put(rig, VFU_VIRTIO_R_DRIVER_FEATURE, 1);
    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 11);
    rig_put(rig, VFU_VIRTIO_R_CONFIG_MSIX_VECTOR, 2);
    vfu_virtio_broken(&rig->v, "before DRIVER_OK");
    assert_int_equal(rig->irqs[2], 0);
    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 15);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), 15 | VFU_VIRTIO_NEEDS_RESET);
    assert_int_equal(rig->irqs[2], 1);
    end(rig);
}

/* ---- state ---- */

struct bytes {
    struct vfu_sink sink;
    struct vfu_source source;
    uint8_t data[4096];
    uint64_t n, at;
};

static int32_t sink_write(struct vfu_sink *sink, const void *data, uint64_t len)
{
    struct bytes *b = (struct bytes *)sink;

    assert_true(b->n + len <= sizeof b->data);
    memcpy(b->data + b->n, data, len);
    b->n += len;
    return 0;
}

static uint64_t source_left(struct vfu_source *source)
{
    struct bytes *b = (struct bytes *)((char *)source - offsetof(struct bytes, source));

    return b->n - b->at;
}

static int32_t source_read(struct vfu_source *source, void *data, uint64_t len)
{
    struct bytes *b = (struct bytes *)((char *)source - offsetof(struct bytes, source));

    if (len > b->n - b->at)
        return -EINVAL;
    memcpy(data, b->data + b->at, len);
    b->at += len;
    return 0;
}

static void chains_are_read_again_after_a_load(void **state)
{
    (void)state;
    EACH_MODE(mode) {
        struct rig *rig = begin(mode, VFU_VIRTIO_F_EVENT_IDX), *other = begin(mode, 0);
        struct bytes b = { .sink.write = sink_write, .source = { source_left, source_read } };

        rig->keep = other->keep = true;
        for (uint16_t i = 0; i < 4; i++) {
            rig_desc(rig, RIG_DESC(0), i, RIG_BUFFER, 8, WRITE, 0);
            rig_offer(rig, 0, i);
        }
        rig_kick(rig, 0);
        assert_int_equal(rig->nheld, 4);
        rig_finish(rig, 1);
        vfu_virtio_quiesce(&rig->v);
        vfu_virtio_done(rig->held[0], 5); /* done while it is stopped: told by the other one */
        assert_int_equal(used(rig, 0), 1);
        assert_int_equal(vfu_virtio_save(&rig->v, &b.sink), 0);
        vfu_virtio_quiesce(&other->v);
        memcpy(other->memory, rig->memory, RIG_SIZE);
        memcpy(other->regs, rig->regs, sizeof rig->regs);
        assert_int_equal(vfu_virtio_load(&other->v, &b.source), 0);
        assert_int_equal(b.at, b.n);
        vfu_virtio_resume(&other->v);
        rig_serve(other, 1000);
        assert_int_equal(used(other, 0), 2);
        assert_int_equal(rig_peek(other, RIG_USED(0) + 12, 4), 0);
        assert_int_equal(rig_peek(other, RIG_USED(0) + 16, 4), 5);
        assert_int_equal(other->nheld, 2);
        rig_finish(other, VFU_NONE);
        assert_int_equal(used(other, 0), 4);
        assert_int_equal(other->errors, 0);
        /* Any byte of it may be wrong. */
        for (uint64_t i = 0; i < b.n; i++) {
            b.data[i] ^= 0x81;
            b.at = 0;
            if (!vfu_virtio_load(&other->v, &b.source)) {
                vfu_virtio_resume(&other->v);
                rig_serve(other, 1000);
            }
            b.data[i] ^= 0x81;
        }
        end(rig);
        end(other);
    }
}

static void a_reset_that_waits_is_done_after_a_load(void **state)
{
    (void)state;
    struct rig *rig = begin(RIG_MAPPED, 0), *other = begin(RIG_MAPPED, 0);
    struct bytes b = { .sink.write = sink_write, .source = { source_left, source_read } };

    vfu_virtio_hold(&rig->v);
    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 0);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), 15);
    vfu_virtio_quiesce(&rig->v);
    assert_int_equal(vfu_virtio_save(&rig->v, &b.sink), 0);
    vfu_virtio_quiesce(&other->v);
    memcpy(other->regs, rig->regs, sizeof rig->regs);
    assert_int_equal(vfu_virtio_load(&other->v, &b.source), 0);
    vfu_virtio_resume(&other->v);
    assert_int_equal(rig_get(other, VFU_VIRTIO_R_DEVICE_STATUS), 0);
    for (uint32_t i = 0; i < 2; i++) {
        rig_put(other, VFU_VIRTIO_R_QUEUE_SELECT, i);
        assert_int_equal(rig_get(other, VFU_VIRTIO_R_QUEUE_ENABLE), 0);
        assert_int_equal(rig_get(other, VFU_VIRTIO_R_QUEUE_MSIX_VECTOR), NONE);
        assert_int_equal(rig_get(other, VFU_VIRTIO_R_QUEUE_DESC), 0);
    }
    rig_start(other, 0);
    assert_int_equal(rig_get(other, VFU_VIRTIO_R_DEVICE_STATUS), 15);
    assert_int_equal(other->errors, 0);
    vfu_virtio_release(&rig->v);
    end(rig);
    end(other);
}

/* ---- what a driver must not do ---- */

struct hostile {
    const char *name;
    const char *says;
    struct {
        uint16_t i; /* descriptor + 1; 0: none */
        uint64_t addr;
        uint32_t len;
        uint16_t flags, next;
    } desc[3], table[3];
    uint16_t heads[2]; /* head + 1 */
    uint16_t jump;     /* added to avail.idx */
};

#define IN_TABLE(bytes) { { 1, RIG_BUFFER + 0x1000, (bytes), TABLE, 0 } }

static const struct hostile hostiles[] = {
    { "a loop", "loop", .desc = { { 1, RIG_BUFFER, 8, NEXT, 1 }, { 2, RIG_BUFFER, 8, NEXT, 0 } }, .heads = { 1 } },
    { "a loop of one", "loop", .desc = { { 1, RIG_BUFFER, 8, NEXT, 0 } }, .heads = { 1 } },
    { "a next that is not there", "goes on with", .desc = { { 1, RIG_BUFFER, 8, NEXT, 8 } }, .heads = { 1 } },
    { "a head that is not there", "names a descriptor", .heads = { 9 } },
    { "a head far away", "names a descriptor", .heads = { 0xffff } },
    { "an index that jumps", "more is available", .jump = 9 },
    { "an index that goes back", "more is available", .jump = 0xfff0 },
    { "the same head twice", "again while", .desc = { { 1, RIG_BUFFER, 8, WRITE, 0 } }, .heads = { 1, 1 } },
    { "no bytes", "no bytes", .desc = { { 1, RIG_BUFFER, 0, WRITE, 0 } }, .heads = { 1 } },
    { "an address that wraps", "last address", .desc = { { 1, UINT64_MAX - 3, 8, WRITE, 0 } }, .heads = { 1 } },
    { "4 GiB in all", "4 GiB",
      .desc = { { 1, RIG_BUFFER, UINT32_MAX, NEXT | WRITE, 1 }, { 2, RIG_BUFFER, 8, WRITE, 0 } }, .heads = { 1 } },
    { "readable behind writable", "follows a writable",
      .desc = { { 1, RIG_BUFFER, 8, NEXT | WRITE, 1 }, { 2, RIG_BUFFER, 8, 0, 0 } }, .heads = { 1 } },
    { "a table with a next", "both a table", .desc = { { 1, RIG_BUFFER, 16, TABLE | NEXT, 1 } }, .heads = { 1 } },
    { "a table of no size", "size that no table", .desc = IN_TABLE(0), .heads = { 1 } },
    { "a table of half a descriptor", "size that no table", .desc = IN_TABLE(24), .heads = { 1 } },
    { "a table too long", "size that no table", .desc = IN_TABLE(0x10000000), .heads = { 1 } },
    { "a table that wraps", "last address", .desc = { { 1, UINT64_MAX - 7, 16, TABLE, 0 } }, .heads = { 1 } },
    { "a table nowhere", "cannot be reached", .desc = { { 1, 0x10, 16, TABLE, 0 } }, .heads = { 1 } },
    { "a table in a table", "inside of a table", .desc = IN_TABLE(16), .table = { { 1, RIG_BUFFER, 16, TABLE, 0 } },
      .heads = { 1 } },
    { "a loop in a table", "loop", .desc = IN_TABLE(32),
      .table = { { 1, RIG_BUFFER, 16, NEXT, 1 }, { 2, RIG_BUFFER, 16, NEXT, 0 } }, .heads = { 1 } },
    { "a table's next that is not there", "does not have", .desc = IN_TABLE(32),
      .table = { { 1, RIG_BUFFER, 16, NEXT, 2 } }, .heads = { 1 } },
    { "no bytes in a table", "no bytes", .desc = IN_TABLE(16), .table = { { 1, RIG_BUFFER, 0, 0, 0 } }, .heads = { 1 } },
};

static void try_hostile(enum rig_mode mode, const struct hostile *h)
{
    struct rig *rig = begin(mode, VFU_VIRTIO_F_INDIRECT_DESC);

    rig->keep = true;
    for (size_t i = 0; i < 3; i++) {
        if (h->desc[i].i)
            rig_desc(rig, RIG_DESC(0), h->desc[i].i - 1u, h->desc[i].addr, h->desc[i].len, h->desc[i].flags,
                     h->desc[i].next);
        if (h->table[i].i)
            rig_desc(rig, RIG_BUFFER + 0x1000, h->table[i].i - 1u, h->table[i].addr, h->table[i].len, h->table[i].flags,
                     h->table[i].next);
    }
    for (size_t i = 0; i < 2 && h->heads[i]; i++)
        rig_offer(rig, 0, (uint16_t)(h->heads[i] - 1));
    rig_poke(rig, RIG_AVAIL(0) + 2, (uint16_t)(rig_peek(rig, RIG_AVAIL(0) + 2, 2) + h->jump), 2);
    rig_kick(rig, 0);
    if (!strstr(rig->error, h->says) || rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS) != (15 | VFU_VIRTIO_NEEDS_RESET))
        fail_msg("%s, mode %d: status %#x, \"%s\"", h->name, (int)mode,
                 (unsigned)rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), rig->error);
    assert_int_equal(rig->irqs[0], 1); /* the configuration interrupt */
    assert_int_equal(used(rig, 0), 0);
    /* It stays so, and a reset mends it. */
    uint32_t before = rig->nchains;
    rig_kick(rig, 0);
    rig_kick(rig, 1);
    rig_finish(rig, VFU_NONE);
    assert_int_equal(rig->nchains, before);
    assert_int_equal(used(rig, 0), 0);
    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 0);
    rig_serve(rig, 100);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), 0);
    memset(rig->memory, 0, RIG_SIZE);
    rig->keep = false;
    rig_start(rig, 0);
    rig_desc(rig, RIG_DESC(0), 0, RIG_BUFFER, 8, WRITE, 0);
    rig_offer(rig, 0, 0);
    rig_kick(rig, 0);
    assert_int_equal(used(rig, 0), 1);
    end(rig);
}

static void hostile_rings(void **state)
{
    (void)state;
    EACH_MODE(mode)
        for (size_t i = 0; i < sizeof hostiles / sizeof hostiles[0]; i++)
            try_hostile(mode, &hostiles[i]);
}

static void tables_that_were_not_negotiated(void **state)
{
    (void)state;
    struct rig *rig = begin(RIG_MAPPED, 0);

    rig_desc(rig, RIG_DESC(0), 0, RIG_BUFFER, 16, TABLE, 0);
    rig_offer(rig, 0, 0);
    rig_kick(rig, 0);
    assert_non_null(strstr(rig->error, "not negotiated"));
    end(rig);
}

static void hostile_set_up(void **state)
{
    (void)state;
    static const struct {
        uint64_t size, desc, driver, device;
        bool bad;
    } cases[] = {
        { 8, RIG_DESC(0), RIG_AVAIL(0), RIG_USED(0), false }, { 1, RIG_DESC(0), RIG_AVAIL(0), RIG_USED(0), false },
        { 3, RIG_DESC(0), RIG_AVAIL(0), RIG_USED(0), true },  { 0, RIG_DESC(0), RIG_AVAIL(0), RIG_USED(0), true },
        { 16, RIG_DESC(0), RIG_AVAIL(0), RIG_USED(0), true }, { 8, RIG_DESC(0) + 8, RIG_AVAIL(0), RIG_USED(0), true },
        { 8, RIG_DESC(0), RIG_AVAIL(0) + 1, RIG_USED(0), true }, { 8, RIG_DESC(0), RIG_AVAIL(0), RIG_USED(0) + 2, true },
        { 8, UINT64_MAX - 15, RIG_AVAIL(0), RIG_USED(0), true }, { 8, 0, 0, 0, false },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rig *rig = begin(RIG_MAPPED, 0);

        rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 0);
        rig_put(rig, VFU_VIRTIO_R_QUEUE_SIZE, cases[i].size);
        assert_int_equal(rig_get(rig, VFU_VIRTIO_R_QUEUE_SIZE),
                         cases[i].size == 8 || cases[i].size == 1 ? cases[i].size : RIG_QUEUE);
        rig_put(rig, VFU_VIRTIO_R_QUEUE_DESC, cases[i].desc);
        rig_put(rig, VFU_VIRTIO_R_QUEUE_DRIVER, cases[i].driver);
        rig_put(rig, VFU_VIRTIO_R_QUEUE_DEVICE, cases[i].device);
        rig_put(rig, VFU_VIRTIO_R_QUEUE_ENABLE, 1);
        assert_int_equal(rig_get(rig, VFU_VIRTIO_R_QUEUE_ENABLE), !cases[i].bad);
        assert_int_equal(rig_get(rig, VFU_VIRTIO_R_DEVICE_STATUS), cases[i].bad ? VFU_VIRTIO_NEEDS_RESET : 0);
        rig_put(rig, VFU_VIRTIO_R_QUEUE_SELECT, 7);
        assert_int_equal(rig_get(rig, VFU_VIRTIO_R_QUEUE_SIZE), 0);
        rig_put(rig, VFU_VIRTIO_R_QUEUE_ENABLE, 1);
        assert_int_equal(rig_get(rig, VFU_VIRTIO_R_QUEUE_ENABLE), 0);
        end(rig);
    }
}

static void without_msix(void **state)
{
    (void)state;
    struct rig *rig = begin(RIG_MAPPED, 0);

    rig_put(rig, VFU_VIRTIO_R_CONFIG_MSIX_VECTOR, NONE);
    for (uint32_t i = 0; i < 2; i++) {
        rig_put(rig, VFU_VIRTIO_R_QUEUE_SELECT, i);
        rig_put(rig, VFU_VIRTIO_R_QUEUE_MSIX_VECTOR, i ? NONE : 77); /* beyond: none either */
        assert_int_equal(rig_get(rig, VFU_VIRTIO_R_QUEUE_MSIX_VECTOR), NONE);
    }
    rig_desc(rig, RIG_DESC(0), 0, RIG_BUFFER, 8, WRITE, 0);
    rig_offer(rig, 0, 0);
    rig_kick(rig, 0);
    assert_int_equal(rig->irqs[0], 1);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_ISR), 1);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_ISR), 0);
    vfu_virtio_config_changed(&rig->v);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_ISR), 2);
    end(rig);
}

/* 4.1.4.3.1, 4.1.4.5.1 */
static void the_configuration_changes(void **state)
{
    (void)state;
    struct rig *rig = begin(RIG_MAPPED, 0);
    uint64_t generation = rig_get(rig, VFU_VIRTIO_R_CONFIG_GENERATION);

    for (uint32_t n = 0; n < 600; n++) {
        for (uint32_t i = 0; i < n; i++)
            vfu_virtio_config_changed(&rig->v);
        if ((rig_get(rig, VFU_VIRTIO_R_CONFIG_GENERATION) != generation) != (n != 0))
            fail_msg("%u changes: the generation was and is %u", n, (unsigned)generation);
        generation = rig_get(rig, VFU_VIRTIO_R_CONFIG_GENERATION);
        assert_int_equal(rig_get(rig, VFU_VIRTIO_R_ISR), n ? 2 : 0);
    }
    assert_true(rig->irqs[0] > 0);
    uint32_t before = rig->irqs[0];
    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 0);
    vfu_virtio_config_changed(&rig->v); /* there is nobody to be told */
    assert_int_equal(rig->irqs[0], before);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_ISR), 0);
    end(rig);
}

/* 4.1.4.3.1: what is left of all that a driver has set up, by a write of 0. */
static void a_reset_forgets(void **state)
{
    (void)state;
    struct rig *rig = begin(RIG_MAPPED, VFU_VIRTIO_F_EVENT_IDX);

    rig_put(rig, VFU_VIRTIO_R_QUEUE_SELECT, 1);
    vfu_virtio_config_changed(&rig->v);
    rig_put(rig, VFU_VIRTIO_R_DEVICE_STATUS, 0);
    for (uint32_t i = 0; i < VFU_VIRTIO_R_NOTIFY; i++)
        if (i != VFU_VIRTIO_R_CONFIG_GENERATION)
            assert_int_equal(rig_get(rig, i), rig->v.map[i].reset);
    rig_put(rig, VFU_VIRTIO_R_QUEUE_SELECT, 1);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_QUEUE_ENABLE), 0);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_QUEUE_SIZE), RIG_QUEUE);
    assert_int_equal(rig_get(rig, VFU_VIRTIO_R_QUEUE_MSIX_VECTOR), NONE);
    uint32_t dirty = rig->dirty;
    rig_offer(rig, 0, 0);
    rig_kick(rig, 0);
    rig_kick(rig, 1);
    assert_int_equal(rig->dirty, dirty);
    assert_int_equal(rig->nchains, 0);
    end(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_come_and_go),
        cmocka_unit_test(many_at_once_raise_one_interrupt),
        cmocka_unit_test(out_of_order_and_with_a_depth),
        cmocka_unit_test(tables_of_descriptors),
        cmocka_unit_test(event_indexes),
        cmocka_unit_test(event_indexes_wrap),
        cmocka_unit_test(event_indexes_race),
        cmocka_unit_test(a_table_longer_than_the_queue),
        cmocka_unit_test(reading_and_writing_across_pieces),
        cmocka_unit_test(a_reset_waits_for_messages),
        cmocka_unit_test(few_round_trips),
        cmocka_unit_test(nothing_old_is_taken),
        cmocka_unit_test(what_is_asked_for_along_may_fail),
        cmocka_unit_test(features_are_refused),
        cmocka_unit_test(a_client_leaves),
        cmocka_unit_test(memory_is_away),
        cmocka_unit_test(status_bits),
        cmocka_unit_test(chains_are_read_again_after_a_load),
        cmocka_unit_test(a_reset_that_waits_is_done_after_a_load),
        cmocka_unit_test(hostile_rings),
        cmocka_unit_test(tables_that_were_not_negotiated),
        cmocka_unit_test(hostile_set_up),
        cmocka_unit_test(without_msix),
        cmocka_unit_test(the_configuration_changes),
        cmocka_unit_test(a_reset_forgets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
