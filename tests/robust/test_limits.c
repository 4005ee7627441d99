/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_limits - a host without descriptors, with sockets that take a few bytes at a time, and under a rain of signals.
 * One thread.
 */
#define _GNU_SOURCE
#include "tests/robust/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOFILE 40

static struct rig rig;

static int start_few(void **state)
{
    (void)state;
    rig_open(&rig);
    rig.nofile = NOFILE;
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", NULL);
    return 0;
}

static int start(void **state)
{
    (void)state;
    rig_open(&rig);
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", NULL);
    return 0;
}

static int stop(void **state)
{
    int status = rig_stop(&rig, SIGTERM);

    (void)state;
    rig_close(&rig);
    return status;
}

static int new_file(void)
{
    int fd = memfd_create("robust", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 4096), 0);
    return fd;
}

/* Maps a file of its own until the host has no room for another one: how many it took. */
static int map_until_full(struct vfuc *c, int *error)
{
    int n = 0;

    *error = 0;
    while (n < 2 * NOFILE) {
        int fd = new_file();

        *error = vfuc_dma_map(c, 0x1000000 + (uint64_t)n * 4096, 4096, VFUC_DMA_RW, fd, 0, NULL);
        close(fd);
        if (*error)
            break;
        n++;
    }
    return n;
}

/* With few descriptors from the start: the limit is reached by what the client sends. */
static void files_run_out(void **state)
{
    struct vfuc *c = rig_client(&rig, "s");
    int n, error, fd;

    (void)state;
    rig_alive(c);
    assert_true(rig_fds(&rig) < NOFILE);
    n = map_until_full(c, &error);
    if (error)
        assert_int_equal(error, -EMFILE);
    else
        assert_int_equal(n, 2 * NOFILE); /* files that are mapped need not stay open */
    assert_true(n > 0);
    rig_alive(c);
    for (int i = 0; i < n; i++)
        assert_true(vfuc_dma_unmap(c, 0x1000000 + (uint64_t)i * 4096, 4096) >= 0);
    fd = new_file();
    assert_int_equal(vfuc_dma_map(c, 0x2000000, 4096, VFUC_DMA_RW, fd, 0, NULL), 0);
    close(fd);
    rig_alive(c);
    vfuc_free(c);
}

/* Connections that only sit there take the last descriptors: whoever comes next is dropped, with one line, and it all
 * works again when they are gone. */
static void connections_run_out(void **state)
{
    struct vfuc *c = rig_client(&rig, "s");
    struct rlimit limit;
    int fd, dropped, idle;

    (void)state;
    idle = rig_fds(&rig);
    rig_take_files(&rig, &limit);
    fd = new_file();
    assert_int_equal(vfuc_dma_map(c, 0x3000000, 4096, VFUC_DMA_RW, fd, 0, NULL), -EMFILE);
    assert_int_equal(vfuc_irq_arm(c, VFUC_MSI, 1), -EMFILE);
    rig_alive(c);
    dropped = rig_connect(&rig, "s");
    assert_true(rig_closed(dropped));
    close(dropped);
    rig_alive(c);
    assert_true(rig_says(&rig, "no file descriptor left"));
    /* The host takes its spare descriptor back after the client has seen the end. */
    for (int i = 0; i < 500 && rig_fds(&rig) != idle; i++)
        rig_pause(10);
    assert_int_equal(rig_fds(&rig), idle);
    rig_give_files(&rig, &limit);
    assert_int_equal(vfuc_dma_map(c, 0x3000000, 4096, VFUC_DMA_RW, fd, 0, NULL), 0);
    assert_int_equal(vfuc_irq_arm(c, VFUC_MSI, 1), 0);
    close(fd);
    vfuc_free(c);
    c = rig_client(&rig, "s");
    rig_alive(c);
    vfuc_free(c);
    assert_int_equal(rig_said(&rig, "no file descriptor left"), 1);
}

/* Many at once that come while nothing is left: the host neither spins nor fills its log without end. */
static void a_crowd_without_descriptors(void **state)
{
    struct vfuc *c = rig_client(&rig, "s");
    struct rlimit limit;
    int fds[60];

    (void)state;
    rig_take_files(&rig, &limit);
    for (int i = 0; i < 60; i++)
        fds[i] = rig_connect(&rig, "s");
    for (int i = 0; i < 60; i++) {
        assert_true(rig_closed(fds[i]));
        close(fds[i]);
    }
    rig_alive(c);
    assert_in_range(rig_said(&rig, "no file descriptor left"), 1, 20);
    rig_give_files(&rig, &limit);
    vfuc_free(c);
    c = rig_client(&rig, "s");
    rig_alive(c);
    vfuc_free(c);
}

/* ---- a few bytes at a time */

#define REPLIES 3000u

static void tiny_buffers(void **state)
{
    int fd = rig_connect(&rig, "s"), size = 1;
    pid_t writer;
    int status;

    (void)state;
    rig_negotiate(fd);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
    writer = fork();
    if (writer == 0) {
        for (uint32_t i = 0; i < REPLIES; i++) {
            struct rig_access message = rig_read_of((uint16_t)i, 0);

            rig_send(fd, &message, RIG_ACCESS);
        }
        _exit(0);
    }
    for (uint32_t i = 0; i < REPLIES; i++) {
        struct rig_access reply;
        char *bytes = (char *)&reply;

        /* An odd number of bytes at a time. */
        for (size_t at = 0; at < sizeof reply; at += 13)
            rig_receive(fd, bytes + at, sizeof reply - at < 13 ? sizeof reply - at : 13);
        assert_int_equal(reply.header.id, (uint16_t)i);
        assert_int_equal(reply.value, RIG_ID);
    }
    assert_int_equal(waitpid(writer, &status, 0), writer);
    assert_int_equal(status, 0);
    close(fd);
}

/* The host's own end has room for a message or so: its sends fall short all the time. */
static void before_tiny(struct rig *r)
{
    int size = 1;

    setsockopt(r->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(r->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    dup2(r->fd, 9);
}

static void short_sends(void **state)
{
    static uint8_t data[1 << 20], back[1 << 20];
    int pair[2];
    struct vfuc *c = vfuc_new(NULL);

    (void)state;
    rig_open(&rig);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    rig.fd = pair[1];
    rig.before = before_tiny;
    rig_start(&rig, "--plugin", "$memory", "size=2M", "--fd", "9", NULL);
    close(pair[1]);
    assert_non_null(c);
    assert_int_equal(vfuc_attach(c, pair[0]), 0);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 11));
    for (size_t n = 1; n <= sizeof data; n = n * 9 + 5) {
        assert_true(vfuc_write(c, VFUC_BAR(0), 0, data, n) >= 0);
        memset(back, 0, n);
        assert_true(vfuc_read(c, VFUC_BAR(0), 0, back, n) >= 0);
        assert_memory_equal(data, back, n);
    }
    vfuc_free(c);
    assert_int_equal(rig_wait(&rig), 0); /* it was handed one connection, and that has ended */
    rig_close(&rig);
}

/* ---- signals */

static void signal_storm(void **state)
{
    static const int signals[] = { SIGWINCH, SIGCONT, SIGCHLD, SIGURG, SIGPIPE, SIGWINCH };
    struct vfuc *c = rig_client(&rig, "s");
    pid_t storm, pid = rig.pid;
    int status;

    (void)state;
    storm = fork();
    if (storm == 0) {
        for (unsigned i = 0; i < 3000; i++) {
            kill(pid, signals[i % 6]);
            if (i % 500 == 499) {
                kill(pid, SIGSTOP);
                usleep(2000);
                kill(pid, SIGCONT);
            }
            if (i % 10 == 0)
                usleep(100);
        }
        _exit(0);
    }
    for (uint32_t i = 0; waitpid(storm, &status, WNOHANG) == 0; i++) {
        uint64_t value;

        assert_true(vfuc_put(c, VFUC_BAR(0), RIG_LIVE, 4, i) >= 0);
        assert_true(vfuc_get(c, VFUC_BAR(0), RIG_LIVE, 4, &value) >= 0);
        assert_int_equal(value, ~i);
    }
    assert_int_equal(status, 0);
    vfuc_free(c);
}

static void stopped_and_continued(void **state)
{
    struct vfuc *c = rig_client(&rig, "s");
    uint64_t value[20];
    int results[20];

    (void)state;
    for (int round = 0; round < 5; round++) {
        kill(rig.pid, SIGSTOP);
        for (int i = 0; i < 20; i++)
            assert_true(vfuc_queue_read(c, VFUC_BAR(0), 0, &value[i], 4, &results[i]) >= 0);
        rig_pause(5);
        kill(rig.pid, SIGCONT);
        assert_true(vfuc_drain(c) >= 0);
        for (int i = 0; i < 20; i++)
            assert_int_equal((uint32_t)value[i], RIG_ID);
    }
    vfuc_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_run_out, start_few, stop),
        cmocka_unit_test_setup_teardown(connections_run_out, start, stop),
        cmocka_unit_test_setup_teardown(a_crowd_without_descriptors, start, stop),
        cmocka_unit_test_setup_teardown(tiny_buffers, start, stop),
        cmocka_unit_test(short_sends),
        cmocka_unit_test_setup_teardown(signal_storm, start, stop),
        cmocka_unit_test_setup_teardown(stopped_and_continued, start, stop),
    };

    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
