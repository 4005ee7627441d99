/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_clients - what clients leave behind and do to each other: second ones, ones that come back, that stall, that do
 * not read, that are killed. One thread.
 */
#define _GNU_SOURCE
#include "tests/robust/rig.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct rig rig;

static int start(void **state)
{
    (void)state;
    rig_open(&rig);
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", "--plugin", "$lua", "--socket-path", "@other", NULL);
    return 0;
}

static int stop(void **state)
{
    int status = rig_stop(&rig, SIGTERM);
    bool left = access(rig_path(&rig, "s"), F_OK) == 0 || access(rig_path(&rig, "other"), F_OK) == 0;

    (void)state;
    rig_close(&rig);
    return status || left;
}

/* The process as it is with nobody connected, after a first client has come and gone. */
static int idle_fds(void)
{
    vfuc_free(rig_client(&rig, "s"));
    rig_pause(50);
    return rig_fds(&rig);
}

static void put_live(struct vfuc *c, uint64_t value)
{
    assert_true(vfuc_put(c, VFUC_BAR(0), RIG_LIVE, 4, value) >= 0);
}

static uint64_t get_live(struct vfuc *c)
{
    uint64_t value = 0;

    assert_true(vfuc_get(c, VFUC_BAR(0), RIG_LIVE, 4, &value) >= 0);
    return value;
}

/* ---- a second client */

static void second_is_busy(void **state)
{
    struct vfuc *first = rig_client(&rig, "s");
    uint64_t begin = rig_now();
    struct vfu_msg_header header = { 77, VFU_CMD_VERSION, 20, 0, 0 };
    int fd = rig_connect(&rig, "s");

    (void)state;
    put_live(first, 0x5a5a5a5a);
    rig_send(fd, &header, sizeof header);
    rig_receive(fd, &header, sizeof header);
    assert_int_equal(header.id, 77);
    assert_int_equal(header.command, VFU_CMD_VERSION);
    assert_int_equal(header.size, sizeof header);
    assert_int_equal(header.flags, VFU_MSG_REPLY | VFU_MSG_ERROR);
    assert_int_equal(header.error, EBUSY);
    assert_true(rig_closed(fd));
    assert_true(rig_now() - begin < 2000 * RIG_MS);
    close(fd);
    assert_int_equal(get_live(first), 0xa5a5a5a5);
    vfuc_free(first);
}

static void second_without_a_word(void **state)
{
    struct vfuc *first = rig_client(&rig, "s");
    int silent = rig_connect(&rig, "s"), half = rig_connect(&rig, "s"), garbage = rig_connect(&rig, "s");
    uint8_t bytes[64];

    (void)state;
    memset(bytes, 0xff, sizeof bytes);
    rig_send(half, bytes, 7);
    rig_send(garbage, bytes, sizeof bytes);
    assert_true(rig_closed(garbage));
    rig_alive(first);
    /* They do not keep their descriptors for long. */
    assert_true(rig_closed(silent));
    assert_true(rig_closed(half));
    rig_alive(first);
    close(silent);
    close(half);
    close(garbage);
    vfuc_free(first);
}

static void fifty_at_once(void **state)
{
    int fds[50], before;
    struct vfuc *first = rig_client(&rig, "s");

    (void)state;
    rig_alive(first);
    before = rig_fds(&rig);
    for (int i = 0; i < 50; i++) {
        fds[i] = rig_connect(&rig, "s");
        if (i % 3 == 0)
            (void)!send(fds[i], "abc", 3, MSG_NOSIGNAL);
    }
    rig_alive(first);
    assert_true(rig_fds(&rig) <= before + 50);
    for (int i = 0; i < 50; i++) {
        assert_true(rig_closed(fds[i]));
        close(fds[i]);
    }
    rig_alive(first);
    assert_true(rig_fds_settle(&rig, before));
    vfuc_free(first);
}

/* ---- coming back */

static void again_and_again(void **state)
{
    int idle = idle_fds();
    char *path = strdup(rig_path(&rig, "s"));
    struct vfuc *c = vfuc_new(NULL);

    (void)state;
    for (int i = 0; i < 1000; i++) {
        int error = vfuc_connect(c, path);

        if (error)
            fail_msg("connection %d: %s", i, vfuc_error(c));
        if (i % 7 == 0)
            rig_alive(c);
        vfuc_close(c);
    }
    vfuc_free(c);
    free(path);
    assert_int_equal(rig_said(&rig, "refused"), 0);
    assert_true(rig_fds_settle(&rig, idle));
}

/* The one before has left much that nobody has read yet. */
static void back_after_a_flood(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct vfuc *c = rig_client(&rig, "s");

        for (uint32_t k = 0; k < 5000; k++)
            assert_true(vfuc_post(c, VFUC_BAR(0), RIG_LIVE, &k, 4) >= 0);
        assert_true(vfuc_flush(c) >= 0);
        vfuc_free(c);
        c = rig_client(&rig, "s");
        assert_int_equal(get_live(c), ~4999u & 0xffffffffu);
        vfuc_free(c);
    }
}

static void state_stays_resources_go(void **state)
{
    int idle = idle_fds();
    void *memory;

    (void)state;
    for (int i = 0; i < 20; i++) {
        struct vfuc *c = rig_client(&rig, "s");

        if (i)
            assert_int_equal(get_live(c), ~(uint32_t)(i - 1));
        put_live(c, (uint32_t)i);
        assert_true(vfuc_memory_new(c, 0x100000, 65536, VFUC_DMA_RW, &memory) >= 0);
        assert_true(vfuc_memory_new(c, 0x200000, 65536, VFUC_DMA_RW | VFUC_DMA_MESSAGES, &memory) >= 0);
        assert_true(vfuc_irq_arm(c, VFUC_MSI, 1) >= 0);
        assert_true(rig_fds(&rig) > idle);
        vfuc_free(c);
        assert_true(rig_fds_settle(&rig, idle));
    }
    /* No map of the former client is left: a DMA to it finds nothing there. */
    {
        struct vfuc *c = rig_client(&rig, "s");
        uint64_t value;

        assert_true(vfuc_put(c, VFUC_BAR(0), 0x80, 8, 0x100000) >= 0);
        assert_true(vfuc_put(c, VFUC_BAR(0), 0x88, 8, 0x40000) >= 0);
        assert_true(vfuc_put(c, VFUC_BAR(0), RIG_COUNT, 8, 64) >= 0);
        assert_true(vfuc_put(c, VFUC_BAR(0), 0x98, 8, 1) >= 0);
        for (int i = 0; i < 1000; i++) {
            assert_true(vfuc_get(c, VFUC_BAR(0), 0x98, 8, &value) >= 0);
            if (!(value & 1))
                break;
            rig_pause(1);
        }
        assert_int_equal(value & 1, 0);
        assert_true(rig_says(&rig, "DMA read of 64 bytes at 0x100000"));
        vfuc_free(c);
    }
}

/* ---- a client that does not read */

#define UNREAD 40000u

static void blocked_then_reads(void **state)
{
    struct vfuc *other = rig_client(&rig, "other");
    int fd = rig_connect(&rig, "s");
    uint32_t sent = 0, got = 0, part = 0;
    long before;

    (void)state;
    rig_negotiate(fd);
    before = rig_rss(&rig);
    while (sent < UNREAD) {
        struct rig_access message = rig_write_of((uint16_t)sent, RIG_LIVE, sent, false);
        struct pollfd writable = { .fd = fd, .events = POLLOUT };
        ssize_t n;

        if (poll(&writable, 1, 200) != 1)
            break; /* it takes no more: good */
        n = send(fd, (char *)&message + part, sizeof message - part, MSG_NOSIGNAL | MSG_DONTWAIT);
        assert_true(n > 0 || errno == EAGAIN);
        part += n > 0 ? (uint32_t)n : 0;
        if (part == sizeof message) {
            part = 0;
            sent++;
        }
    }
    assert_true(sent < UNREAD);
    assert_true(sent > 100);
    /* Meanwhile the others are served, and memory has not grown beyond the buffers. */
    for (int i = 0; i < 100; i++)
        rig_alive(other);
    if (!getenv("VFU_SANITIZERS") || strcmp(getenv("VFU_SANITIZERS"), "no") == 0)
        assert_true(rig_rss(&rig) - before < 8192);
    while (got < sent) {
        struct rig_access reply;

        rig_receive(fd, &reply, RIG_ACCESS);
        assert_int_equal(reply.header.id, (uint16_t)got);
        assert_int_equal(reply.header.flags, VFU_MSG_REPLY);
        got++;
    }
    close(fd);
    vfuc_free(other);
}

/* ---- a client that stops in the middle */

static void stalls_inside_a_message(void **state)
{
    struct rig_access message = rig_read_of(9, 0);
    struct vfuc *other = rig_client(&rig, "other");
    int fd = rig_connect(&rig, "s");

    (void)state;
    rig_negotiate(fd);
    for (size_t cut = 1; cut < RIG_ACCESS; cut += 5) {
        rig_send(fd, &message, cut);
        rig_pause(20);
        rig_alive(other);
        rig_send(fd, (char *)&message + cut, RIG_ACCESS - cut);
        rig_receive(fd, &message, sizeof message);
        assert_int_equal(message.value, RIG_ID);
        message = rig_read_of(9, 0);
    }
    close(fd);
    vfuc_free(other);
}

enum stage { CONNECTED, HALF_VERSION, HALF_MESSAGE, MID_DMA, MID_LARGE_WRITE, POSTED_QUEUED, STAGES };

/* Runs in a process of its own, gets as far as `stage`, says so, and waits for its end. */
static void victim(enum stage stage, int ready)
{
    int fd = rig_connect(&rig, "s");
    struct rig_access message = rig_read_of(3, 0);
    struct {
        struct rig_access head;
        char data[60000];
    } large = { .head = { { 4, VFU_CMD_REGION_WRITE, 900000, 0, 0 }, { 0, 0, 900000 - RIG_ACCESS }, 0 } };
    struct vfuc *c = NULL;
    void *memory;

    if (stage == HALF_VERSION)
        rig_send(fd, "\1\0\1\0\x20\0\0", 7);
    if (stage >= HALF_MESSAGE && stage != MID_DMA && stage != POSTED_QUEUED)
        rig_negotiate(fd);
    if (stage == HALF_MESSAGE)
        rig_send(fd, &message, 20);
    if (stage == MID_LARGE_WRITE)
        rig_send(fd, &large, sizeof large);
    if (stage == MID_DMA || stage == POSTED_QUEUED) {
        close(fd);
        c = rig_client(&rig, "s");
    }
    if (stage == MID_DMA) {
        assert_true(vfuc_memory_new(c, 0x300000, 65536, VFUC_DMA_RW | VFUC_DMA_MESSAGES, &memory) >= 0);
        assert_true(vfuc_put(c, VFUC_BAR(0), 0x80, 8, 0x300000) >= 0);
        assert_true(vfuc_put(c, VFUC_BAR(0), 0x88, 8, 0x40000) >= 0);
        assert_true(vfuc_put(c, VFUC_BAR(0), RIG_COUNT, 8, 4096) >= 0);
        assert_true(vfuc_put(c, VFUC_BAR(0), 0x98, 8, 1) >= 0);
        rig_pause(20); /* the request has been sent and is not answered */
    }
    for (uint32_t i = 0; stage == POSTED_QUEUED && i < 10000; i++)
        assert_true(vfuc_post(c, VFUC_BAR(0), RIG_LIVE, &i, 4) >= 0);
    if (stage == POSTED_QUEUED)
        (void)vfuc_flush(c);
    assert_int_equal(write(ready, "r", 1), 1);
    for (;;)
        pause();
}

static void killed_at(enum stage stage)
{
    int idle = idle_fds(), ready[2];
    char byte;
    pid_t pid;
    struct vfuc *c;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    if (pid == 0)
        victim(stage, ready[1]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    c = rig_client(&rig, "s");
    rig_alive(c);
    if (stage == POSTED_QUEUED)
        assert_int_equal(get_live(c), ~9999u & 0xffffffffu);
    assert_true(vfuc_reset(c) >= 0);
    rig_alive(c);
    vfuc_free(c);
    assert_true(rig_fds_settle(&rig, idle));
}

static void killed_at_every_stage(void **state)
{
    (void)state;
    for (enum stage stage = CONNECTED; stage < STAGES; stage++)
        killed_at(stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(second_is_busy, start, stop),
        cmocka_unit_test_setup_teardown(second_without_a_word, start, stop),
        cmocka_unit_test_setup_teardown(fifty_at_once, start, stop),
        cmocka_unit_test_setup_teardown(again_and_again, start, stop),
        cmocka_unit_test_setup_teardown(back_after_a_flood, start, stop),
        cmocka_unit_test_setup_teardown(state_stays_resources_go, start, stop),
        cmocka_unit_test_setup_teardown(blocked_then_reads, start, stop),
        cmocka_unit_test_setup_teardown(stalls_inside_a_message, start, stop),
        cmocka_unit_test_setup_teardown(killed_at_every_stage, start, stop),
    };

    return cmocka_run_group_tests_name("clients", tests, NULL, NULL);
}
