/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unit tests of core/irq and core/irqimage, with real eventfds. The test keeps one descriptor of each and hands a
 * duplicate to irq_set. One thread; an alarm ends a test that sleeps in a write.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/pci/irq.h"

#define NONE VFIO_IRQ_SET_DATA_NONE
#define BOOL VFIO_IRQ_SET_DATA_BOOL
#define EVENTFD VFIO_IRQ_SET_DATA_EVENTFD
#define MASK VFIO_IRQ_SET_ACTION_MASK
#define UNMASK VFIO_IRQ_SET_ACTION_UNMASK
#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER

enum { INTX, MSI, MSIX, ERR, REQ };

/* ---- in place of core/base/log.c: counts lines -------------------------------------------------------------------- */

int log_threshold = LOG_WARN;
static unsigned lines;
static char last_line[256];

void log_write(const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    (void)who;
    (void)level;
    va_start(args, format);
    vsnprintf(last_line, sizeof last_line, format, args);
    va_end(args);
    lines++;
}

void log_limited(struct log_limit *limit, const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    (void)limit;
    (void)who;
    (void)level;
    va_start(args, format);
    vsnprintf(last_line, sizeof last_line, format, args);
    va_end(args);
    lines++;
}

/* ---- helpers ------------------------------------------------------------------------------------------------- */

static struct irq *new_irq(bool intx, uint32_t msi, uint32_t msix)
{
    struct irq *irq = NULL;

    assert_int_equal(irq_new(&irq, "dut", intx, msi, msix), 0);
    assert_non_null(irq);
    return irq;
}

static int event(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

/* How often it was signalled since the last look. */
static uint64_t fired(int fd)
{
    uint64_t count = 0;

    return read(fd, &count, sizeof count) == (ssize_t)sizeof count ? count : 0;
}

static unsigned open_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 4096; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static int set_raw(struct irq *irq, uint32_t flags, uint32_t index, uint32_t start, uint32_t count, const uint8_t *data,
                   uint32_t ndata, int *fds, uint32_t nfds)
{
    struct vfio_irq_set set = {.argsz = sizeof set, .flags = flags, .index = index, .start = start, .count = count};

    return irq_set(irq, &set, data, ndata, fds, nfds);
}

static int set_none(struct irq *irq, uint32_t action, uint32_t index, uint32_t start, uint32_t count)
{
    return set_raw(irq, NONE | action, index, start, count, NULL, 0, NULL, 0);
}

/* Arms with duplicates; those that irq_set leaves are closed here, as the session does it. */
static int set_events(struct irq *irq, uint32_t action, uint32_t index, uint32_t start, uint32_t count, const int *fds,
                      uint32_t nfds)
{
    int copies[64], result;

    assert_true(nfds <= 64);
    for (uint32_t i = 0; i < nfds; i++)
        copies[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
    result = set_raw(irq, EVENTFD | action, index, start, count, NULL, 0, copies, nfds);
    for (uint32_t i = 0; i < nfds; i++) {
        assert_true(result != 0 || copies[i] == -1);
        assert_true(result == 0 || fds[i] < 0 || copies[i] >= 0);
        if (copies[i] >= 0)
            close(copies[i]);
    }
    return result;
}

static void arm(struct irq *irq, uint32_t index, uint32_t vector, int fd)
{
    assert_int_equal(set_events(irq, TRIGGER, index, vector, 1, &fd, 1), 0);
}

/* ---- GET_IRQ_INFO and what SET_IRQS refuses ------------------------------------------------------------------- */

static void test_new(void **state)
{
    struct irq *irq = NULL;

    (void)state;
    lines = 0;
    assert_int_equal(irq_new(&irq, "dut", true, 33, 0), -EINVAL);
    assert_int_equal(irq_new(&irq, "dut", true, 0, 2049), -EINVAL);
    assert_null(irq);
    assert_int_equal(lines, 2);
    irq_free(NULL);
}

static void test_info(void **state)
{
    static const struct {
        uint32_t index, count, flags;
    } want[] = {
        {INTX, 1, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED},
        {MSI, 4, VFIO_IRQ_INFO_EVENTFD},
        {MSIX, 2048, VFIO_IRQ_INFO_EVENTFD},
        {ERR, 1, VFIO_IRQ_INFO_EVENTFD},
        {REQ, 1, VFIO_IRQ_INFO_EVENTFD},
    };
    struct irq *irq = new_irq(true, 4, 2048), *bare = new_irq(false, 0, 0);
    struct vfio_irq_info info;

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        memset(&info, 0xee, sizeof info);
        assert_int_equal(irq_info(irq, want[i].index, &info), 0);
        assert_int_equal(info.argsz, 16);
        assert_int_equal(info.index, want[i].index);
        assert_int_equal(info.count, want[i].count);
        assert_int_equal(info.flags, want[i].flags);
        assert_int_equal(irq_info(bare, want[i].index, &info), 0);
        assert_int_equal(info.count, i >= 3);
    }
    assert_int_equal(irq_info(irq, 5, &info), -EINVAL);
    assert_int_equal(irq_info(irq, UINT32_MAX, &info), -EINVAL);
    irq_free(irq);
    irq_free(bare);
}

/* Every flag word of the low seven bits, and each higher bit: only the nine pairs pass, for ERR and REQ three. */
static void test_flags(void **state)
{
    struct irq *irq = new_irq(true, 4, 4);
    const uint8_t data[1] = {0};

    (void)state;
    for (uint32_t index = INTX; index <= REQ; index++) {
        unsigned passed = 0;

        for (uint32_t flags = 0; flags < 128; flags++) {
            int result;

            lines = 0;
            result = set_raw(irq, flags, index, 0, 1, data, 1, NULL, 0);
            passed += result == 0;
            assert_true(result == 0 || result == -EINVAL);
            assert_int_equal(lines, result ? 1 : 0);
            if (result == 0)
                assert_true(__builtin_popcount(flags & 7) == 1 && __builtin_popcount(flags & 0x38) == 1 && flags < 64);
        }
        assert_int_equal(passed, index < ERR ? 9 : 3);
        for (uint32_t bit = 6; bit < 32; bit++)
            assert_int_equal(set_raw(irq, UINT32_C(1) << bit | NONE | TRIGGER, index, 0, 1, NULL, 0, NULL, 0), -EINVAL);
    }
    irq_free(irq);
}

static void test_hostile_ranges(void **state)
{
    static const struct {
        uint32_t flags, index, start, count, argsz;
        const char *field; /* named in the log */
    } bad[] = {
        {NONE | TRIGGER, 5, 0, 0, 20, "index"},
        {NONE | TRIGGER, UINT32_MAX, 0, 1, 20, "index"},
        {NONE | TRIGGER, MSIX, 0, 1, 19, "argsz"},
        {NONE | TRIGGER, MSIX, 0, 1, 0, "argsz"},
        {NONE | TRIGGER, MSIX, 8, 1, 20, "start"},
        {NONE | TRIGGER, MSIX, UINT32_MAX, 1, 20, "start"},
        {NONE | TRIGGER, MSIX, UINT32_MAX, UINT32_MAX, 20, "start"},
        {NONE | TRIGGER, MSIX, 1, UINT32_MAX, 20, "count"},
        {NONE | TRIGGER, MSIX, 7, UINT32_MAX - 6, 20, "count"},
        {NONE | TRIGGER, MSIX, 0, 9, 20, "count"},
        {NONE | TRIGGER, MSIX, 7, 2, 20, "count"},
        {NONE | TRIGGER, INTX, 1, 1, 20, "start"},
        {NONE | TRIGGER, INTX, 0, 2, 20, "count"},
        {NONE | TRIGGER, MSI, 0, 1, 20, "start"}, /* it has none */
        {NONE | TRIGGER, MSIX, 1, 0, 20, "count"},
        {NONE | MASK, MSIX, 0, 0, 20, "count"},
        {NONE | UNMASK, INTX, 0, 0, 20, "count"},
        {BOOL | TRIGGER, MSIX, 0, 0, 20, "count"},
        {EVENTFD | TRIGGER, MSIX, 0, 0, 20, "count"},
        {BOOL | TRIGGER, MSIX, 0, 4, 20, "count"}, /* three bytes of data */
        {EVENTFD | TRIGGER, ERR, 1, 1, 20, "start"},
        {EVENTFD | MASK, ERR, 0, 1, 20, "flags"},
        {NONE | UNMASK, REQ, 0, 1, 20, "flags"},
    };
    static const uint8_t data[3] = {1, 1, 1};
    struct irq *irq = new_irq(true, 0, 8);

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct vfio_irq_set set = {bad[i].argsz, bad[i].flags, bad[i].index, bad[i].start, bad[i].count};

        lines = 0;
        assert_int_equal(irq_set(irq, &set, data, sizeof data, NULL, 0), -EINVAL);
        assert_int_equal(lines, 1);
        assert_non_null(strstr(last_line, bad[i].field));
    }
    irq_free(irq);
}

static void test_too_many_fds(void **state)
{
    const unsigned before = open_fds();
    struct irq *irq = new_irq(true, 0, 8);
    int fds[3] = {event(), event(), event()};

    (void)state;
    assert_int_equal(set_events(irq, TRIGGER, MSIX, 0, 2, fds, 3), -EINVAL);
    assert_int_equal(set_events(irq, TRIGGER, INTX, 0, 1, fds, 2), -EINVAL);
    assert_int_equal(irq_raise(irq, 0), -ENOENT);
    assert_int_equal(set_events(irq, TRIGGER, MSIX, 6, 2, fds, 2), 0);
    assert_int_equal(irq_raise(irq, 7), 0);
    assert_int_equal(fired(fds[1]), 1);
    irq_free(irq);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    assert_int_equal(open_fds(), before);
}

/* ---- descriptors ---------------------------------------------------------------------------------------------- */

static void test_not_an_eventfd(void **state)
{
    const unsigned before = open_fds();
    struct irq *irq = new_irq(true, 4, 4);
    int pipes[2], pair[2], good = event(), bad[9], n = 0;
    char link[40];

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    bad[n++] = pipes[1];
    bad[n++] = pipes[0];
    bad[n++] = pair[0];
    bad[n++] = open("/dev/null", O_RDWR);
    bad[n++] = memfd_create("test_irq", MFD_CLOEXEC);
    bad[n++] = open("/", O_RDONLY | O_DIRECTORY);
    bad[n++] = timerfd_create(CLOCK_MONOTONIC, 0);
    bad[n++] = open("/dev/null", O_PATH);
    snprintf(link, sizeof link, "/proc/self/fd/%d", good);
    bad[n++] = open(link, O_PATH); /* an eventfd, but not one to write */
    arm(irq, MSIX, 1, good);
    for (int i = 0; i < n; i++) {
        int fds[3] = {good, good, bad[i]};

        assert_true(bad[i] >= 0);
        lines = 0;
        assert_int_equal(set_events(irq, TRIGGER, MSIX, 0, 3, fds, 3), -EINVAL);
        assert_int_equal(set_events(irq, MASK, INTX, 0, 1, &bad[i], 1), -EINVAL);
        assert_int_equal(lines, 2);
        assert_non_null(strstr(last_line, "not an eventfd"));
    }
    /* What was refused has changed nothing. */
    assert_int_equal(irq_raise(irq, 0), -ENOENT);
    assert_int_equal(irq_raise(irq, 1), 0);
    assert_int_equal(fired(good), 1);
    irq_free(irq);
    for (int i = 0; i < n; i++)
        close(bad[i]);
    close(pair[1]); /* the other ends are among the bad */
    close(good);
    assert_int_equal(open_fds(), before);
}

/* A full counter neither blocks nor fails, and the client's own flags stay as they were. */
static void test_full_counter(void **state)
{
    const uint64_t full = UINT64_MAX - 1;
    struct irq *irq = new_irq(true, 0, 2);
    int blocking = eventfd(0, EFD_CLOEXEC), fds[2] = {event(), blocking};

    (void)state;
    assert_int_equal(set_events(irq, TRIGGER, MSIX, 0, 2, fds, 2), 0);
    assert_int_equal(fcntl(blocking, F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(irq_raise(irq, 1), 0);
    assert_int_equal(fired(blocking), 1);
    for (uint32_t v = 0; v < 2; v++) {
        assert_int_equal(write(fds[v], &full, sizeof full), sizeof full);
        lines = 0;
        assert_int_equal(irq_raise(irq, v), 0);
        assert_int_equal(lines, 0);
        assert_true(fired(fds[v]) == full);
    }
    assert_int_equal(irq_dropped(irq), 0);
    irq_free(irq);
    close(fds[0]);
    close(fds[1]);
}

static void test_no_leaks(void **state)
{
    const unsigned before = open_fds();
    struct irq *irq = new_irq(true, 8, 8);
    int fds[8];

    (void)state;
    for (int i = 0; i < 8; i++)
        fds[i] = event();
    for (int round = 0; round < 3; round++)
        for (uint32_t index = MSI; index <= MSIX; index++)
            for (uint32_t action = MASK; action <= TRIGGER; action *= 2)
                assert_int_equal(set_events(irq, action, index, 0, 8, fds, 8), 0);
    assert_int_equal(open_fds(), before + 8 + 48);
    assert_int_equal(set_events(irq, TRIGGER, MSIX, 0, 8, NULL, 0), 0);
    assert_int_equal(open_fds(), before + 8 + 40);
    assert_int_equal(set_events(irq, TRIGGER, MSI, 0, 8, fds, 3), 0);
    assert_int_equal(open_fds(), before + 8 + 35);
    assert_int_equal(set_none(irq, TRIGGER, MSI, 0, 0), 0);
    assert_int_equal(open_fds(), before + 8 + 16);
    irq_detach(irq);
    assert_int_equal(open_fds(), before + 8);
    assert_int_equal(set_events(irq, TRIGGER, INTX, 0, 1, fds, 1), 0);
    assert_int_equal(set_events(irq, TRIGGER, REQ, 0, 1, fds, 1), 0);
    irq_free(irq);
    assert_int_equal(open_fds(), before + 8);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
}

/* ---- kinds ---------------------------------------------------------------------------------------------------- */

/* What the stock client sends at the change from INTx to MSI-X and back. */
static void test_stock_client(void **state)
{
    struct irq *irq = new_irq(true, 1, 3);
    int line = event(), fds[3] = {event(), event(), event()};

    (void)state;
    arm(irq, INTX, 0, line);
    assert_int_equal(irq_raise(irq, 0), 0);
    assert_int_equal(fired(line), 1);
    assert_int_equal(irq_lower(irq, 0), 0);
    assert_int_equal(set_none(irq, TRIGGER, INTX, 0, 0), 0);
    assert_int_equal(set_events(irq, TRIGGER, MSIX, 0, 1, NULL, 0), 0);
    assert_int_equal(irq_raise(irq, 0), -ENOENT);
    for (uint32_t v = 0; v < 3; v++)
        arm(irq, MSIX, v, fds[v]);
    for (uint32_t v = 0; v < 3; v++) {
        assert_int_equal(irq_raise(irq, v), 0);
        for (uint32_t other = 0; other < 3; other++)
            assert_int_equal(fired(fds[other]), other == v);
    }
    assert_int_equal(set_none(irq, TRIGGER, MSIX, 0, 0), 0);
    assert_int_equal(irq_raise(irq, 1), -ENOENT);
    arm(irq, INTX, 0, line);
    assert_int_equal(fired(line), 1); /* the raise nobody has lowered */
    assert_int_equal(fired(fds[1]), 0);
    irq_free(irq);
    close(line);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

static void test_kind_order(void **state)
{
    struct irq *irq = new_irq(true, 2, 2);
    int fd[3] = {event(), event(), event()};

    (void)state;
    for (uint32_t index = INTX; index <= MSIX; index++) {
        arm(irq, index, 0, fd[index]);
        assert_int_equal(irq_raise(irq, 0), 0);
        for (uint32_t other = INTX; other <= MSIX; other++)
            assert_int_equal(fired(fd[other]), other == index);
        irq_lower(irq, 0);
    }
    assert_int_equal(set_none(irq, TRIGGER, MSIX, 0, 0), 0);
    assert_int_equal(irq_raise(irq, 0), 0);
    assert_int_equal(fired(fd[MSI]), 1);
    /* Back to INTx, which is still automasked by its signal above: the raise is seen at UNMASK. */
    assert_int_equal(set_none(irq, TRIGGER, MSI, 0, 0), 0);
    assert_int_equal(irq_raise(irq, 0), VFU_IRQ_PENDING);
    assert_int_equal(set_none(irq, UNMASK, INTX, 0, 1), 0);
    assert_int_equal(fired(fd[INTX]), 1);
    /* Disabling a kind the device lacks is no error: there is nothing to do. */
    irq_free(irq);
    irq = new_irq(false, 0, 2);
    assert_int_equal(set_none(irq, TRIGGER, INTX, 0, 0), 0);
    irq_free(irq);
    for (int i = 0; i < 3; i++)
        close(fd[i]);
}

static void test_sub_ranges(void **state)
{
    struct irq *irq = new_irq(false, 0, 6);
    int fds[6];

    (void)state;
    for (int i = 0; i < 6; i++)
        fds[i] = event();
    assert_int_equal(set_events(irq, TRIGGER, MSIX, 0, 6, fds, 6), 0);
    /* Vectors 1 to 3 with two descriptors: 3 is disarmed, the others go on. */
    assert_int_equal(set_events(irq, TRIGGER, MSIX, 1, 3, (int[]){fds[5], fds[1]}, 2), 0);
    for (uint32_t v = 0; v < 6; v++)
        assert_int_equal(irq_raise(irq, v), v == 3 ? -ENOENT : 0);
    assert_int_equal(fired(fds[0]), 1);
    assert_int_equal(fired(fds[1]), 1);
    assert_int_equal(fired(fds[2]), 0);
    assert_int_equal(fired(fds[3]), 0);
    assert_int_equal(fired(fds[4]), 1);
    assert_int_equal(fired(fds[5]), 2);
    /* A slot of -1 is a missing descriptor. */
    assert_int_equal(set_events(irq, TRIGGER, MSIX, 0, 2, (int[]){-1, fds[1]}, 2), 0);
    assert_int_equal(irq_raise(irq, 0), -ENOENT);
    assert_int_equal(irq_raise(irq, 1), 0);
    assert_int_equal(irq_dropped(irq), 2);
    assert_int_equal(irq_raise(irq, 6), -EINVAL);
    assert_int_equal(irq_lower(irq, 6), -EINVAL);
    assert_int_equal(irq_raise(irq, UINT32_MAX), -EINVAL);
    assert_int_equal(irq_dropped(irq), 2);
    irq_free(irq);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
}

static void test_fewer_msi_than_msix(void **state)
{
    struct irq *irq = new_irq(false, 2, 8);
    int fd = event();

    (void)state;
    arm(irq, MSI, 1, fd);
    assert_int_equal(irq_raise(irq, 1), 0);
    assert_int_equal(irq_raise(irq, 7), -ENOENT); /* declared, but not of this kind */
    assert_int_equal(irq_raise(irq, 8), -EINVAL);
    assert_int_equal(irq_dropped(irq), 1);
    assert_int_equal(fired(fd), 1);
    irq_free(irq);
    close(fd);
}

static void test_loopback(void **state)
{
    static const uint8_t which[4] = {1, 0, 0xff, 1};
    struct irq *irq = new_irq(true, 0, 4);
    int fds[4] = {event(), event(), event(), event()}, line = event();

    (void)state;
    assert_int_equal(set_events(irq, TRIGGER, MSIX, 0, 3, fds, 3), 0);
    assert_int_equal(set_none(irq, TRIGGER, MSIX, 1, 3), 0); /* 3 has no descriptor: nothing to fire */
    assert_int_equal(set_raw(irq, BOOL | TRIGGER, MSIX, 0, 4, which, 4, NULL, 0), 0);
    assert_int_equal(fired(fds[0]), 1);
    assert_int_equal(fired(fds[1]), 1);
    assert_int_equal(fired(fds[2]), 2);
    assert_int_equal(fired(fds[3]), 0);
    arm(irq, INTX, 0, line);
    assert_int_equal(set_none(irq, TRIGGER, INTX, 0, 1), 0);
    assert_int_equal(set_none(irq, TRIGGER, INTX, 0, 1), 0);
    assert_int_equal(fired(line), 2); /* not a signal of the device: no automask */
    assert_false(irq_asserted(irq));
    assert_int_equal(irq_dropped(irq), 0);
    irq_free(irq);
    close(line);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}

static void test_err_and_req(void **state)
{
    struct irq *irq = new_irq(false, 0, 0);
    int err = event(), req = event();

    (void)state;
    assert_int_equal(irq_signal(irq, VFU_IRQ_ERR), -ENOENT);
    assert_int_equal(irq_signal(irq, VFU_IRQ_REQ), -ENOENT);
    assert_int_equal(irq_dropped(irq), 2);
    assert_int_equal(irq_signal(irq, 0), -EINVAL);
    assert_int_equal(irq_signal(irq, 5), -EINVAL);
    arm(irq, ERR, 0, err);
    arm(irq, REQ, 0, req);
    assert_int_equal(irq_signal(irq, VFU_IRQ_ERR), 0);
    assert_int_equal(fired(err), 1);
    assert_int_equal(fired(req), 0);
    assert_int_equal(irq_signal(irq, VFU_IRQ_REQ), 0);
    assert_int_equal(set_none(irq, TRIGGER, REQ, 0, 1), 0);
    assert_int_equal(fired(req), 2);
    assert_int_equal(set_none(irq, TRIGGER, ERR, 0, 0), 0);
    assert_int_equal(irq_signal(irq, VFU_IRQ_ERR), -ENOENT);
    assert_int_equal(irq_signal(irq, VFU_IRQ_REQ), 0);
    assert_int_equal(irq_raise(irq, 0), -EINVAL);
    irq_free(irq);
    close(err);
    close(req);
}

/* ---- INTx ----------------------------------------------------------------------------------------------------- */

static void test_intx_level(void **state)
{
    struct irq *irq = new_irq(true, 0, 0);
    int fd = event();

    (void)state;
    irq_level(irq, 0x1); /* before anybody listens */
    assert_true(irq_asserted(irq));
    arm(irq, INTX, 0, fd);
    assert_int_equal(fired(fd), 1);
    irq_level(irq, 0x3); /* automasked */
    irq_level(irq, 0);
    irq_level(irq, 0x4);
    assert_int_equal(fired(fd), 0);
    assert_int_equal(set_none(irq, UNMASK, INTX, 0, 1), 0);
    assert_int_equal(fired(fd), 1); /* still asserted */
    irq_level(irq, 0);
    assert_false(irq_asserted(irq));
    assert_int_equal(set_none(irq, UNMASK, INTX, 0, 1), 0);
    assert_int_equal(fired(fd), 0);
    irq_level(irq, UINT64_C(1) << 63);
    assert_int_equal(fired(fd), 1);
    /* Off and on again is not masked. */
    assert_int_equal(set_none(irq, TRIGGER, INTX, 0, 0), 0);
    assert_true(irq_asserted(irq));
    arm(irq, INTX, 0, fd);
    assert_int_equal(fired(fd), 1);
    /* Another eventfd alone does not lift the automask. */
    arm(irq, INTX, 0, fd);
    assert_int_equal(fired(fd), 0);
    assert_int_equal(irq_dropped(irq), 0);
    irq_free(irq);
    close(fd);
}

static void test_intx_raise(void **state)
{
    struct irq *irq = new_irq(true, 0, 100); /* vectors share the line */
    int fd = event();

    (void)state;
    arm(irq, INTX, 0, fd);
    assert_int_equal(irq_raise(irq, 0), 0);
    assert_int_equal(irq_raise(irq, 0), VFU_IRQ_PENDING);
    assert_int_equal(irq_raise(irq, 99), VFU_IRQ_PENDING);
    assert_int_equal(irq_raise(irq, 100), -EINVAL);
    assert_int_equal(fired(fd), 1);
    assert_int_equal(irq_lower(irq, 0), 0);
    assert_true(irq_asserted(irq));
    assert_int_equal(set_none(irq, UNMASK, INTX, 0, 1), 0);
    assert_int_equal(fired(fd), 1);
    assert_int_equal(irq_lower(irq, 99), 0);
    assert_int_equal(irq_lower(irq, 99), 0); /* twice is once */
    assert_false(irq_asserted(irq));
    irq_level(irq, 1);
    irq_raise(irq, 1);
    irq_level(irq, 0);
    assert_true(irq_asserted(irq)); /* by the raise */
    irq_lower(irq, 1);
    assert_false(irq_asserted(irq));
    irq_free(irq);
    close(fd);
}

static void test_intx_masks(void **state)
{
    static const uint8_t yes[1] = {1}, no[1] = {0};
    struct irq *irq = new_irq(true, 0, 0);
    int fd = event(), masked = event(), unmasked = event();

    (void)state;
    arm(irq, INTX, 0, fd);
    assert_int_equal(set_events(irq, MASK, INTX, 0, 1, &masked, 1), 0);
    assert_int_equal(set_events(irq, UNMASK, INTX, 0, 1, &unmasked, 1), 0);
    /* Command register: interrupt disable. */
    irq_config_intx(irq, false);
    assert_int_equal(fired(unmasked), 0);
    irq_config_intx(irq, true);
    irq_config_intx(irq, true);
    assert_int_equal(fired(masked), 1);
    assert_int_equal(irq_raise(irq, 0), VFU_IRQ_PENDING);
    assert_true(irq_asserted(irq));
    assert_int_equal(set_none(irq, UNMASK, INTX, 0, 1), 0);
    assert_int_equal(fired(fd), 0);
    irq_config_intx(irq, false);
    assert_int_equal(fired(unmasked), 1);
    assert_int_equal(fired(fd), 1);
    irq_lower(irq, 0);
    assert_int_equal(set_raw(irq, BOOL | UNMASK, INTX, 0, 1, yes, 1, NULL, 0), 0);
    /* The client's mask. */
    assert_int_equal(set_raw(irq, BOOL | MASK, INTX, 0, 1, no, 1, NULL, 0), 0);
    assert_int_equal(irq_raise(irq, 0), 0);
    irq_lower(irq, 0);
    assert_int_equal(set_none(irq, UNMASK, INTX, 0, 1), 0);
    assert_int_equal(set_raw(irq, BOOL | MASK, INTX, 0, 1, yes, 1, NULL, 0), 0);
    assert_int_equal(fired(fd), 1);
    assert_int_equal(irq_raise(irq, 0), VFU_IRQ_PENDING);
    assert_int_equal(set_raw(irq, BOOL | UNMASK, INTX, 0, 1, no, 1, NULL, 0), 0);
    assert_int_equal(fired(fd), 0);
    assert_int_equal(set_raw(irq, BOOL | UNMASK, INTX, 0, 1, yes, 1, NULL, 0), 0);
    assert_int_equal(fired(fd), 1);
    /* The client's own masks are not events for it. */
    assert_int_equal(fired(masked), 0);
    assert_int_equal(fired(unmasked), 0);
    irq_free(irq);
    close(fd);
    close(masked);
    close(unmasked);
}

static void test_intx_unarmed(void **state)
{
    struct irq *irq = new_irq(true, 0, 0), *none = new_irq(false, 1, 0);
    int fd = event();

    (void)state;
    assert_int_equal(irq_raise(irq, 0), -ENOENT);
    assert_int_equal(irq_dropped(irq), 1);
    assert_true(irq_asserted(irq));
    arm(irq, INTX, 0, fd);
    assert_int_equal(fired(fd), 1);
    /* Armed, then the descriptor is taken away. */
    assert_int_equal(set_events(irq, TRIGGER, INTX, 0, 1, NULL, 0), 0);
    assert_int_equal(irq_raise(irq, 0), -ENOENT);
    assert_int_equal(irq_dropped(irq), 2);
    irq_level(none, 1);
    assert_int_equal(irq_raise(none, 0), -ENOENT);
    assert_int_equal(irq_dropped(none), 2);
    assert_false(irq_asserted(none)); /* there is no line */
    irq_free(irq);
    irq_free(none);
    close(fd);
}

/* ---- MSI and MSI-X --------------------------------------------------------------------------------------------- */

static void test_level_is_edges(void **state)
{
    (void)state;
    for (uint32_t index = MSI; index <= MSIX; index++) {
        struct irq *irq = new_irq(true, 2, 2);
        int fds[2] = {event(), event()}, line = event();

        arm(irq, INTX, 0, line);
        assert_int_equal(set_events(irq, TRIGGER, index, 0, 2, fds, 2), 0);
        irq_level(irq, 0x1);
        assert_int_equal(fired(fds[0]), 1);
        assert_false(irq_asserted(irq));
        irq_level(irq, 0x1);
        assert_int_equal(fired(fds[0]), 0);
        irq_level(irq, 0x3);
        assert_int_equal(fired(fds[0]), 1);
        irq_level(irq, 0x2);
        assert_int_equal(fired(fds[0]), 0);
        irq_level(irq, 0x5); /* one up, one down */
        assert_int_equal(fired(fds[0]), 1);
        assert_int_equal(fired(fds[1]), 0);
        assert_int_equal(irq_lower(irq, 0), 0);
        /* Nothing of this reaches the line, whatever is done to its masks. */
        assert_int_equal(set_none(irq, UNMASK, INTX, 0, 1), 0);
        irq_config_intx(irq, true);
        irq_config_intx(irq, false);
        assert_int_equal(fired(line), 0);
        /* Back to INTx with the level still up. */
        assert_int_equal(set_none(irq, TRIGGER, index, 0, 0), 0);
        assert_int_equal(fired(line), 1);
        assert_true(irq_asserted(irq));
        irq_free(irq);
        close(fds[0]);
        close(fds[1]);
        close(line);
    }
}

static void test_msi_masks(void **state)
{
    struct irq *irq = new_irq(false, 32, 0);
    int fds[3] = {event(), event(), event()}, masked = event(), unmasked = event();

    (void)state;
    assert_int_equal(set_events(irq, TRIGGER, MSI, 0, 2, fds, 2), 0);
    arm(irq, MSI, 31, fds[2]);
    assert_int_equal(set_events(irq, MASK, MSI, 31, 1, &masked, 1), 0);
    assert_int_equal(set_events(irq, UNMASK, MSI, 31, 1, &unmasked, 1), 0);
    irq_config_msi(irq, 0x80000002);
    assert_int_equal(fired(masked), 1);
    assert_int_equal(irq_raise(irq, 0), 0);
    assert_int_equal(irq_raise(irq, 1), VFU_IRQ_PENDING);
    assert_int_equal(irq_raise(irq, 31), VFU_IRQ_PENDING);
    assert_int_equal(irq_raise(irq, 31), VFU_IRQ_PENDING);
    assert_int_equal(irq_raise(irq, 5), -ENOENT);
    assert_true(irq_msi_pending(irq) == 0x80000002);
    irq_config_msi(irq, 0x80000000);
    assert_int_equal(fired(fds[1]), 1);
    assert_true(irq_msi_pending(irq) == 0x80000000);
    /* Two masks: the last one lifted sends, once. */
    assert_int_equal(set_none(irq, MASK, MSI, 31, 1), 0);
    irq_config_msi(irq, 0);
    assert_int_equal(fired(unmasked), 1);
    assert_int_equal(fired(fds[2]), 0);
    assert_int_equal(set_none(irq, UNMASK, MSI, 31, 1), 0);
    assert_int_equal(fired(fds[2]), 1);
    assert_int_equal(irq_msi_pending(irq), 0);
    assert_int_equal(fired(fds[0]), 1);
    /* Disabling the index forgets what is pending. */
    irq_config_msi(irq, 1);
    assert_int_equal(irq_raise(irq, 0), VFU_IRQ_PENDING);
    assert_int_equal(set_none(irq, TRIGGER, MSI, 0, 0), 0);
    assert_int_equal(irq_msi_pending(irq), 0);
    irq_free(irq);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    close(masked);
    close(unmasked);
}

static void write_control(struct irq *irq, uint32_t vector, uint32_t value)
{
    const uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24)};

    irq_table_write(irq, vector * 16 + 12, 4, bytes);
}

static uint8_t pba_byte(const struct irq *irq, uint32_t at)
{
    uint8_t byte = 0xaa;

    irq_pba_read(irq, at, 1, &byte);
    return byte;
}

static void test_msix_masks(void **state)
{
    struct irq *irq = new_irq(false, 0, 70);
    int fds[3] = {event(), event(), event()}, masked = event(), unmasked = event();

    (void)state;
    arm(irq, MSIX, 0, fds[0]);
    arm(irq, MSIX, 1, fds[1]);
    arm(irq, MSIX, 69, fds[2]);
    assert_int_equal(set_events(irq, MASK, MSIX, 69, 1, &masked, 1), 0);
    assert_int_equal(set_events(irq, UNMASK, MSIX, 69, 1, &unmasked, 1), 0);
    /* The table says masked at its reset value, and withholds nothing. */
    assert_int_equal(irq_raise(irq, 69), 0);
    assert_int_equal(fired(fds[2]), 1);
    write_control(irq, 69, 1); /* from here on it does */
    write_control(irq, 69, 0xffffffff);
    assert_int_equal(fired(masked), 1);
    assert_int_equal(irq_raise(irq, 69), VFU_IRQ_PENDING);
    assert_int_equal(pba_byte(irq, 8), 0x20);
    assert_int_equal(irq_raise(irq, 1), 0);
    /* Function mask over it. */
    irq_config_msix(irq, true);
    assert_int_equal(fired(masked), 0); /* it was */
    assert_int_equal(irq_raise(irq, 0), VFU_IRQ_PENDING);
    assert_int_equal(irq_raise(irq, 1), VFU_IRQ_PENDING);
    assert_int_equal(pba_byte(irq, 0), 0x03);
    write_control(irq, 69, 0xfffffffe);
    assert_int_equal(fired(unmasked), 0);
    assert_int_equal(set_none(irq, MASK, MSIX, 0, 1), 0);
    irq_config_msix(irq, false);
    assert_int_equal(fired(unmasked), 1);
    assert_int_equal(fired(fds[2]), 1);
    assert_int_equal(fired(fds[1]), 2);
    assert_int_equal(fired(fds[0]), 0); /* the client's mask is left */
    assert_int_equal(pba_byte(irq, 0), 0x01);
    assert_int_equal(pba_byte(irq, 8), 0);
    assert_int_equal(set_raw(irq, BOOL | UNMASK, MSIX, 0, 2, (const uint8_t[]){1, 0}, 2, NULL, 0), 0);
    assert_int_equal(fired(fds[0]), 1);
    assert_int_equal(pba_byte(irq, 0), 0);
    irq_free(irq);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    close(masked);
    close(unmasked);
}

/* A pending vector without a descriptor waits for one. */
static void test_pending_waits_for_fd(void **state)
{
    struct irq *irq = new_irq(false, 2, 2);
    int fd = event();

    (void)state;
    arm(irq, MSIX, 1, fd);
    write_control(irq, 1, 1);
    assert_int_equal(irq_raise(irq, 1), VFU_IRQ_PENDING);
    assert_int_equal(set_events(irq, TRIGGER, MSIX, 1, 1, NULL, 0), 0);
    write_control(irq, 1, 0);
    assert_int_equal(pba_byte(irq, 0), 2);
    arm(irq, MSIX, 1, fd);
    assert_int_equal(fired(fd), 1);
    assert_int_equal(pba_byte(irq, 0), 0);
    irq_free(irq);
    close(fd);
}

static void test_table_bytes(void **state)
{
    struct irq *irq = new_irq(false, 0, 3), *none = new_irq(false, 0, 0);
    uint8_t table[64], bytes[64], out[64];

    (void)state;
    assert_int_equal(irq_table_size(irq), 48);
    assert_int_equal(irq_pba_size(irq), 8);
    assert_int_equal(irq_table_size(none), 0);
    assert_int_equal(irq_pba_size(none), 0);
    irq_table_read(irq, 0, 48, table);
    for (int i = 0; i < 48; i++)
        assert_int_equal(table[i], i % 16 == 12);
    for (int i = 0; i < 64; i++)
        bytes[i] = (uint8_t)(0x81 + 2 * i); /* odd */
    irq_table_write(irq, 0, 48, bytes);
    irq_table_read(irq, 0, 48, table);
    for (int i = 0; i < 48; i++)
        assert_int_equal(table[i], i % 16 < 12 ? bytes[i] : i % 16 == 12);
    /* Every offset and size, within and across entries, reads what the whole holds. */
    for (uint32_t offset = 0; offset < 48; offset++)
        for (uint32_t size = 1; offset + size <= 48; size++) {
            memset(out, 0xee, sizeof out);
            irq_table_read(irq, offset, size, out);
            assert_memory_equal(out, table + offset, size);
            assert_int_equal(out[size], 0xee);
        }
    /* One byte at a time is the same. */
    for (uint32_t i = 0; i < 48; i++)
        irq_table_write(irq, i, 1, (const uint8_t[]){(uint8_t)(bytes[i] ^ 0x10)});
    irq_table_read(irq, 0, 48, table);
    for (int i = 0; i < 48; i++)
        assert_int_equal(table[i], i % 16 < 12 ? bytes[i] ^ 0x10 : i % 16 == 12);
    /* Beyond the end there is nothing. */
    irq_table_write(irq, 40, 24, bytes);
    irq_table_write(irq, UINT32_MAX, 8, bytes);
    irq_table_read(irq, 40, 16, out);
    assert_int_equal(out[0], bytes[0]);
    for (int i = 8; i < 16; i++)
        assert_int_equal(out[i], 0);
    irq_table_read(irq, UINT32_MAX, 4, out);
    assert_int_equal(out[0] | out[1] | out[2] | out[3], 0);
    irq_table_write(none, 0, 16, bytes);
    irq_table_read(none, 0, 4, out);
    irq_pba_read(none, 0, 4, out);
    assert_int_equal(out[0] | out[1] | out[2] | out[3], 0);
    irq_free(irq);
    irq_free(none);
}

/* Only a write that reaches the mask bit's byte makes the table count. */
static void test_first_control_write(void **state)
{
    struct irq *irq = new_irq(false, 0, 2);
    int fd = event();
    static const uint8_t zeros[16];

    (void)state;
    arm(irq, MSIX, 0, fd);
    irq_table_write(irq, 0, 12, zeros);
    irq_table_write(irq, 13, 3, zeros);
    assert_int_equal(irq_raise(irq, 0), 0);
    irq_table_write(irq, 12, 1, (const uint8_t[]){1});
    assert_int_equal(irq_raise(irq, 0), VFU_IRQ_PENDING);
    irq_table_write(irq, 0, 16, zeros);
    assert_int_equal(fired(fd), 2);
    irq_free(irq);
    close(fd);
}

/* ---- reset, detach, saving ------------------------------------------------------------------------------------- */

static void test_reset(void **state)
{
    struct irq *irq = new_irq(true, 2, 2);
    int fd = event(), line = event();
    uint8_t table[32];

    (void)state;
    arm(irq, INTX, 0, line);
    irq_level(irq, 1);
    irq_raise(irq, 1);
    assert_int_equal(fired(line), 1);
    irq_reset(irq);
    assert_false(irq_asserted(irq));
    assert_int_equal(set_none(irq, UNMASK, INTX, 0, 1), 0);
    assert_int_equal(fired(line), 0);
    irq_level(irq, 1); /* an edge again */
    assert_int_equal(fired(line), 1);
    irq_reset(irq);
    irq_level(irq, 1);
    assert_int_equal(fired(line), 0); /* as masked as it was */
    arm(irq, MSIX, 1, fd);
    write_control(irq, 1, 1);
    assert_int_equal(irq_raise(irq, 1), VFU_IRQ_PENDING);
    irq_reset(irq);
    assert_int_equal(pba_byte(irq, 0), 0);
    irq_table_read(irq, 0, 32, table);
    assert_int_equal(table[12] & table[28], 1);
    assert_int_equal(irq_raise(irq, 1), 0);
    assert_int_equal(fired(fd), 1);
    irq_free(irq);
    close(fd);
    close(line);
}

static void test_detach(void **state)
{
    struct irq *irq = new_irq(true, 2, 2);
    int fd = event(), line = event();

    (void)state;
    arm(irq, INTX, 0, line);
    irq_level(irq, 1);
    arm(irq, MSIX, 0, fd);
    assert_int_equal(set_none(irq, MASK, MSIX, 0, 1), 0);
    assert_int_equal(irq_raise(irq, 0), VFU_IRQ_PENDING);
    irq_detach(irq);
    irq_detach(irq);
    assert_true(irq_asserted(irq));
    assert_int_equal(pba_byte(irq, 0), 1);
    assert_int_equal(fired(line), 1);
    /* The next client gets what is there, without the last one's masks. */
    arm(irq, MSIX, 0, fd);
    assert_int_equal(fired(fd), 1);
    assert_int_equal(set_none(irq, TRIGGER, MSIX, 0, 0), 0);
    arm(irq, INTX, 0, line);
    assert_int_equal(fired(line), 1);
    irq_free(irq);
    close(fd);
    close(line);
}

static void test_state(void **state)
{
    struct irq *a = new_irq(true, 4, 70), *b = new_irq(true, 4, 70), *other = new_irq(true, 4, 71);
    const uint32_t size = irq_state_size(a);
    uint8_t *image = malloc(size), *again = malloc(size);
    int fd = event(), line = event();

    (void)state;
    irq_raise(a, 69);
    irq_level(a, UINT64_C(0x8000000000000001));
    arm(a, MSIX, 65, fd);
    irq_table_write(a, 65 * 16, 8, (const uint8_t *)"ABCDEFGH");
    write_control(a, 65, 1);
    assert_int_equal(irq_raise(a, 65), VFU_IRQ_PENDING);
    irq_config_msi(a, 0xa);
    irq_config_msix(a, true);
    irq_state_save(a, image);
    assert_int_equal(image[16], 1); /* level, little-endian */
    assert_int_equal(image[23], 0x80);
    assert_int_equal(irq_state_load(b, image, size), 0);
    memset(again, 0xee, size);
    irq_state_save(b, again);
    assert_memory_equal(image, again, size);
    assert_true(irq_asserted(b));
    /* The other side's client arms, and gets what was under way. */
    arm(b, INTX, 0, line);
    assert_int_equal(fired(line), 1);
    arm(b, MSIX, 65, fd);
    assert_int_equal(fired(fd), 0);
    write_control(b, 65, 0);
    assert_int_equal(fired(fd), 0);
    irq_config_msix(b, false);
    assert_int_equal(fired(fd), 1);
    irq_level(b, 0);
    irq_lower(b, 69);
    irq_detach(b);
    assert_false(irq_asserted(b));
    lines = 0;
    assert_int_equal(irq_state_load(other, image, size), -EINVAL);
    assert_int_equal(irq_state_load(b, image, size - 1), -EINVAL);
    assert_int_equal(irq_state_load(b, image, 0), -EINVAL);
    image[0] = 2;
    assert_int_equal(irq_state_load(b, image, size), -EINVAL);
    image[0] = 1;
    image[4] = 0; /* no INTx */
    assert_int_equal(irq_state_load(b, image, size), -EINVAL);
    assert_int_equal(lines, 5);
    assert_false(irq_asserted(b));
    free(image);
    free(again);
    irq_free(a);
    irq_free(b);
    irq_free(other);
    close(fd);
    close(line);
}

/* An image of all ones behind its head: bits of vectors and registers that do not exist stay away. */
static void test_hostile_state(void **state)
{
    struct irq *irq = new_irq(true, 2, 3);
    const uint32_t size = irq_state_size(irq);
    uint8_t *image = malloc(size), bytes[48];
    int fds[3] = {event(), event(), event()};

    (void)state;
    irq_state_save(irq, image);
    memset(image + 16, 0xff, size - 16);
    assert_int_equal(irq_state_load(irq, image, size), 0);
    assert_int_equal(irq_msi_pending(irq), 3);
    assert_int_equal(pba_byte(irq, 0), 7);
    irq_table_read(irq, 0, 48, bytes);
    for (int i = 0; i < 48; i++)
        assert_int_equal(bytes[i], i % 16 < 12 ? 0xff : i % 16 == 12);
    assert_int_equal(set_events(irq, TRIGGER, MSIX, 0, 3, fds, 3), 0);
    irq_config_msix(irq, false);
    for (uint32_t v = 0; v < 3; v++) {
        assert_int_equal(fired(fds[v]), 0);
        write_control(irq, v, 0);
        assert_int_equal(fired(fds[v]), 1);
    }
    irq_level(irq, 0);
    for (uint32_t v = 0; v < 3; v++)
        irq_lower(irq, v);
    irq_detach(irq);
    assert_false(irq_asserted(irq));
    irq_free(irq);
    free(image);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_hostile_ranges),
        cmocka_unit_test(test_too_many_fds),
        cmocka_unit_test(test_not_an_eventfd),
        cmocka_unit_test(test_full_counter),
        cmocka_unit_test(test_no_leaks),
        cmocka_unit_test(test_stock_client),
        cmocka_unit_test(test_kind_order),
        cmocka_unit_test(test_sub_ranges),
        cmocka_unit_test(test_fewer_msi_than_msix),
        cmocka_unit_test(test_loopback),
        cmocka_unit_test(test_err_and_req),
        cmocka_unit_test(test_intx_level),
        cmocka_unit_test(test_intx_raise),
        cmocka_unit_test(test_intx_masks),
        cmocka_unit_test(test_intx_unarmed),
        cmocka_unit_test(test_level_is_edges),
        cmocka_unit_test(test_msi_masks),
        cmocka_unit_test(test_msix_masks),
        cmocka_unit_test(test_pending_waits_for_fd),
        cmocka_unit_test(test_table_bytes),
        cmocka_unit_test(test_first_control_write),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_detach),
        cmocka_unit_test(test_state),
        cmocka_unit_test(test_hostile_state),
    };

    alarm(20);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
