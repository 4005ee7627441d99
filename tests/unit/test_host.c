/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of the host table, in core/host, core/cross, core/work and core/guard: threads of a plugin's own, polling, and
 * plugins that misbehave. Threads are the plugin's; everything else is on one.
 */
#include "tests/unit/odd_host.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <vfu/protocol.h>

/* ---- threads ----------------------------------------------------------------------------------------------- */

static atomic_int finished;

static void work(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

#define EACH 200

static void *use_everything(void *arg)
{
    atomic_int *worked = arg;
    intptr_t wrong = 0;

    for (int i = 0; i < EACH; i++) {
        int64_t id = odd_table->timer_after(odd_table, 1000000000000u, 0, 1, 0);

        wrong += id <= 0;
        wrong += odd_table->timer_cancel(odd_table, id) != 0;
        wrong += odd_table->defer(odd_table, work, worked) != 0;
        wrong += odd_table->irq_raise(odd_table, 0) != -ENOENT; /* nobody has armed it */
        wrong += odd_table->irq_raise(odd_table, 5) != -EINVAL;
        wrong += odd_regs->set(odd_table, 0, VFU_NONE, VFU_NONE, UINT64_C(0x8000000000000000)) != 0;
        wrong += odd_regs->get(odd_table, 0, VFU_NONE, VFU_NONE) != UINT64_C(0x8000000000000000);
        wrong += odd_table->dma_read(odd_table, 0, &(char){ 0 }, 1) != -ENOTCONN;
        wrong += odd_table->granted(odd_table) != odd_plan.caps;
        wrong += odd_table->now(odd_table) == 0;
    }
    atomic_fetch_add(&finished, 1);
    return (void *)wrong;
}

static void test_threads_call(void **state)
{
    pthread_t threads[4];
    atomic_int worked = 0;

    (void)state;
    odd_plan.caps |= VFU_CAP_THREADS;
    odd_make();
    atomic_store(&finished, -3);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_everything, &worked), 0);
    odd_run(&finished, MS);
    for (int i = 0; i < 4; i++) {
        void *wrong;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_int_equal((intptr_t)wrong, 0);
    }
    odd_run(NULL, MS);
    assert_int_equal(atomic_load(&worked), 4 * EACH);
    odd_assert_said_once("plugin fault (odd): interrupt vector 5 is raised");
    assert_int_equal(odd_dev->timers.pending, 0);
}

static void *call_once(void *arg)
{
    odd_table->log(odd_table, VFU_LOG_WARN, "from a thread");
    *(int32_t *)arg = odd_table->irq_raise(odd_table, 0);
    odd_table->irq_raise(odd_table, 0);
    return NULL;
}

static int32_t from_thread(void)
{
    pthread_t thread;
    int32_t result = 1;

    assert_int_equal(pthread_create(&thread, NULL, call_once, &result), 0);
    pthread_join(thread, NULL);
    return result;
}

/* The device's loop does not even run: there is no thread but the maker's that may call. */
static void test_threads_undeclared(void **state)
{
    (void)state;
    odd_make();
    assert_int_equal(from_thread(), -EPERM);
    odd_assert_said_once("plugin fault (odd): irq_raise is called from a thread");
    odd_assert_said_once("odd: from a thread");
    assert_int_equal(odd_table->irq_raise(odd_table, 0), -ENOENT);
}

static void test_threads_denied(void **state)
{
    char path[PATH_MAX];

    (void)state;
    odd_plan.caps |= VFU_CAP_THREADS;
    assert_int_equal(odd_make_with(odd_built(path, "tests/unit/.libs/odd_plugin.so"), NULL, 0, VFU_CAP_THREADS), 0);
    assert_int_equal(from_thread(), -EPERM);
}

/* A thread calls all the time; quiesce waits for it to be out of the host. */
static atomic_int calling, leave, calls_ok, calls_busy, calls_gone;
static pthread_mutex_t quiet_lock = PTHREAD_MUTEX_INITIALIZER;

static void *call_all_the_time(void *arg)
{
    (void)arg;
    while (!atomic_load(&leave)) {
        int32_t result;

        pthread_mutex_lock(&quiet_lock);
        result = odd_table->timer_cancel(odd_table, 1);
        pthread_mutex_unlock(&quiet_lock);
        atomic_fetch_add(result == -ENOENT ? &calls_ok : result == -EBUSY ? &calls_busy : &calls_gone, 1);
        if (result == -ESHUTDOWN)
            break;
        if (atomic_load(&calls_ok) > 5)
            atomic_store(&calling, 1);
    }
    return NULL;
}

/* Against the header's advice, with a lock that the thread holds while it calls: it must come free all the same. */
static void quiesce_with_lock(void *self)
{
    (void)self;
    pthread_mutex_lock(&quiet_lock);
    pthread_mutex_unlock(&quiet_lock);
}

static pthread_t caller;

/* Where a plugin's threads end at the latest. */
static void destroy_joining(void *self)
{
    (void)self;
    assert_int_equal(pthread_join(caller, NULL), 0);
}

static void wait_for(const atomic_int *counter, int above)
{
    for (int i = 0; i < 4000 && atomic_load(counter) <= above; i++)
        odd_nap(MS);
    assert_true(atomic_load(counter) > above);
}

static void test_threads_quiesced(void **state)
{
    int ok, busy;

    (void)state;
    odd_plan.caps |= VFU_CAP_THREADS;
    odd_plan.quiesce = quiesce_with_lock;
    odd_plan.destroy = destroy_joining;
    odd_make();
    atomic_store(&calling, 0);
    atomic_store(&leave, 0);
    calls_ok = calls_busy = calls_gone = 0;
    assert_int_equal(pthread_create(&caller, NULL, call_all_the_time, NULL), 0);
    odd_run(&calling, MS);
    for (int i = 0; i < 20; i++)
        assert_int_equal(device_reset(odd_dev, VFU_RESET_BUS), 0);
    device_freeze(odd_dev);
    busy = atomic_load(&calls_busy);
    wait_for(&calls_busy, busy + 3);
    ok = atomic_load(&calls_ok);
    odd_run(NULL, 2 * MS);
    assert_int_equal(atomic_load(&calls_ok), ok);
    device_thaw(odd_dev);
    atomic_store(&calling, 0);
    odd_run(&calling, MS);
    device_free(odd_dev);
    odd_dev = NULL;
    assert_int_equal(atomic_load(&calls_gone), 1);
}

/* ---- message DMA that a thread waits for --------------------------------------------------------------------- */

#define GUEST UINT64_C(0x10000)

static atomic_int dma_ended;
static int32_t dma_result;
static uint8_t dma_buffer[16];

static void *read_guest(void *arg)
{
    (void)arg;
    dma_result = odd_table->dma_read(odd_table, GUEST, dma_buffer, sizeof dma_buffer);
    atomic_store(&dma_ended, 1);
    return NULL;
}

static pthread_t begin_read(void)
{
    pthread_t thread;

    odd_plan.caps |= VFU_CAP_THREADS;
    odd_make();
    odd_attach();
    assert_int_equal(dma_map(odd_dev->dma, GUEST, 4096, VFU_DMA_MAP_READABLE | VFU_DMA_MAP_WRITEABLE, -1, 0), 0);
    assert_int_equal(odd_table->dma_read(odd_table, GUEST, dma_buffer, 1), -EWOULDBLOCK);
    atomic_store(&dma_ended, 0);
    assert_int_equal(pthread_create(&thread, NULL, read_guest, NULL), 0);
    for (int i = 0; i < 400 && !odd_dev->transfer.inflight; i++)
        odd_run(NULL, MS);
    assert_int_equal(odd_dev->transfer.inflight, 16);
    assert_false(atomic_load(&dma_ended));
    return thread;
}

static void test_dma_waits(void **state)
{
    struct {
        struct vfu_msg_header header;
        struct vfu_msg_dma_access access;
        uint8_t data[16];
    } m;
    struct message reply = { 0 };
    pthread_t thread = begin_read();

    (void)state;
    assert_int_equal(recv(odd_peer, &m, sizeof m, 0), sizeof m.header + sizeof m.access);
    assert_int_equal(m.header.command, VFU_CMD_DMA_READ);
    m.header.flags = VFU_MSG_REPLY;
    m.header.size = sizeof m;
    memset(m.data, 0x5a, sizeof m.data);
    reply.header = m.header;
    reply.body = (uint8_t *)&m.access;
    reply.size = sizeof m - sizeof m.header;
    assert_int_equal(transfer_reply(&odd_dev->transfer, &reply), 0);
    pthread_join(thread, NULL);
    assert_int_equal(dma_result, 0);
    assert_memory_equal(dma_buffer, m.data, sizeof dma_buffer);
}

static void test_dma_wait_ends_with_reset(void **state)
{
    pthread_t thread = begin_read();

    (void)state;
    assert_int_equal(device_reset(odd_dev, VFU_RESET_BUS), 0);
    pthread_join(thread, NULL);
    assert_int_equal(dma_result, -ECANCELED);
}

static void test_dma_wait_ends_with_stop(void **state)
{
    pthread_t thread = begin_read();

    (void)state;
    device_freeze(odd_dev);
    pthread_join(thread, NULL);
    assert_int_equal(dma_result, -EBUSY);
    assert_int_equal(odd_dev->transfer.nops, 0);
    device_thaw(odd_dev);
    odd_run(NULL, MS);
}

static void test_dma_wait_ends_with_client(void **state)
{
    pthread_t thread = begin_read();

    (void)state;
    device_detach(odd_dev);
    pthread_join(thread, NULL);
    assert_int_equal(dma_result, -ECANCELED);
}

/* Mapped memory does not go while a thread is in it. */
static struct vfu_dma_window window;
static atomic_int reading, pauses;
static pthread_mutex_t memory_lock = PTHREAD_MUTEX_INITIALIZER;

static void *read_memory(void *arg)
{
    uint64_t *sum = arg;

    while (!atomic_load(&leave)) {
        pthread_mutex_lock(&memory_lock);
        for (int i = 0; window.data && i < 4096; i++)
            *sum += window.data[i];
        pthread_mutex_unlock(&memory_lock);
        atomic_store(&reading, 1);
    }
    return NULL;
}

static void pause_reading(void *self)
{
    (void)self;
    pthread_mutex_lock(&memory_lock);
    atomic_fetch_add(&pauses, 1);
}

static void go_on_reading(void *self)
{
    (void)self;
    pthread_mutex_unlock(&memory_lock);
}

static void test_memory_held(void **state)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    uint64_t sum = 0;
    pthread_t thread;

    (void)state;
    odd_plan.caps |= VFU_CAP_THREADS;
    odd_plan.quiesce = pause_reading;
    odd_plan.resume = go_on_reading;
    odd_make();
    odd_attach();
    assert_int_equal(ftruncate(fd, 8192), 0);
    atomic_store(&leave, 0);
    atomic_store(&reading, 0);
    atomic_store(&pauses, 0);
    assert_int_equal(dma_map(odd_dev->dma, GUEST, 4096, VFU_DMA_MAP_READABLE, fd, 0), 0);
    assert_int_equal(dma_map(odd_dev->dma, 2 * GUEST, 4096, VFU_DMA_MAP_READABLE, fd, 4096), 0);
    window.struct_size = sizeof window;
    assert_int_equal(odd_table->dma_map(odd_table, GUEST, 4096, VFU_DMA_PROT_READ, &window), 0);
    assert_int_equal(pthread_create(&thread, NULL, read_memory, &sum), 0);
    wait_for(&reading, 0);
    assert_int_equal(dma_unmap(odd_dev->dma, 2 * GUEST, 4096), 0);
    assert_int_equal(atomic_load(&pauses), 0); /* nobody looks at that one */
    assert_int_equal(dma_unmap(odd_dev->dma, GUEST, 4096), 0);
    assert_int_equal(atomic_load(&pauses), 1);
    assert_null(window.data);
    atomic_store(&leave, 1);
    pthread_join(thread, NULL);
    close(fd);
    odd_plan.quiesce = NULL; /* destroy is preceded by one that no resume follows */
}

/* ---- polling ----------------------------------------------------------------------------------------------- */

static int polls, finds;

static int32_t poll_some(void *self)
{
    assert_ptr_equal(self, &odd_self);
    polls++;
    return finds-- > 0;
}

static void test_poll(void **state)
{
    int busy;

    (void)state;
    odd_plan.caps |= VFU_CAP_POLL;
    odd_plan.poll = poll_some;
    odd_make();
    polls = 0;
    finds = 0;
    odd_run(NULL, 3 * MS);
    assert_int_equal(polls, 0);
    assert_int_equal(odd_table->poll_every(odd_table, 2), -EINVAL);
    assert_int_equal(odd_table->poll_every(odd_table, 10 * MS), 0);
    odd_run(NULL, 35 * MS);
    assert_in_range(polls, 2, 6);
    /* As long as it finds something it is asked again at once. */
    polls = 0;
    finds = 100;
    odd_run(NULL, 5 * MS);
    assert_in_range(polls, 100, 104);
    device_freeze(odd_dev);
    polls = 0;
    odd_run(NULL, 25 * MS);
    assert_int_equal(polls, 0);
    device_thaw(odd_dev);
    assert_int_equal(odd_table->poll_every(odd_table, VFU_POLL_BUSY), 0);
    odd_run(NULL, 5 * MS);
    busy = polls;
    assert_true(busy > 20);
    assert_int_equal(odd_table->poll_every(odd_table, VFU_POLL_OFF), 0);
    odd_run(NULL, 5 * MS);
    assert_int_equal(polls, busy);
    /* Some time after the last find, if the operator says so. */
    odd_dev->loop.spin_us = 3000;
    finds = 1;
    assert_int_equal(odd_table->poll_every(odd_table, 1000 * MS), 0);
    odd_run(NULL, 8 * MS);
    assert_true(polls > busy + 5);
    assert_true(loop_now() - odd_dev->host->poll_found > 3 * MS);
}

static atomic_int polled_enough;

static int32_t poll_absurdly(void *self)
{
    (void)self;
    if (++polls == 3)
        atomic_store(&polled_enough, 1);
    return ENOMEM;
}

static void test_poll_absurd(void **state)
{
    (void)state;
    odd_plan.caps |= VFU_CAP_POLL;
    odd_plan.poll = poll_absurdly;
    odd_make();
    polls = 0;
    assert_int_equal(odd_table->poll_every(odd_table, MS), 0);
    atomic_store(&polled_enough, 0);
    odd_run(&polled_enough, MS);
    odd_assert_said_once("poll callback returned 12");
}

static void test_poll_undeclared(void **state)
{
    (void)state;
    odd_make();
    assert_int_equal(odd_table->poll_every(odd_table, MS), -ENOTSUP);
    odd_assert_said_once("poll_every is called, but poll is not declared in caps");
}

/* ---- misbehaviour ------------------------------------------------------------------------------------------ */

static void call_after(void)
{
    for (int i = 0; i < 2; i++) {
        assert_int_equal(odd_table->irq_raise(odd_table, 0), -ESHUTDOWN);
        assert_int_equal(odd_table->timer_after(odd_table, 1, 0, 1, 1), -ESHUTDOWN);
        odd_table->guest_error(odd_table, "late");
    }
}

static void destroy_properly(void *self)
{
    (void)self;
    assert_int_equal(odd_table->irq_raise(odd_table, 0), -ENOENT);
}

static void test_after_destroy(void **state)
{
    (void)state;
    odd_plan.destroy = destroy_properly;
    odd_make();
    /* What device_free does around it. */
    host_close(odd_dev->host);
    destroy_properly(NULL);
    host_poison(odd_dev->host);
    call_after();
    odd_assert_said_once("irq_raise is called after destroy (ESHUTDOWN)");
    odd_assert_said_once("timer_after is called after destroy");
    odd_assert_said_once("guest_error is called after destroy");
    __atomic_store_n(&odd_dev->host->closed, false, __ATOMIC_RELAXED);
}

static void test_undeclared(void **state)
{
    (void)state;
    odd_plan.caps = 0;
    odd_make();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(odd_table->irq_raise(odd_table, 0), -ENOTSUP);
        assert_int_equal(odd_table->dma_submit(odd_table, NULL), -ENOTSUP);
    }
    odd_assert_said_once("odd: plugin fault (odd): irq_raise is called, but intx,msi,msix is not declared");
    odd_assert_said_once("dma_submit is called, but dma is not declared");
}

static void test_vectors(void **state)
{
    (void)state;
    odd_make();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(odd_table->irq_raise(odd_table, 2), -EINVAL);
        assert_int_equal(odd_table->irq_lower(odd_table, 99), -EINVAL);
        assert_int_equal(odd_table->irq_signal(odd_table, 0), -EINVAL);
    }
    odd_assert_said_once("interrupt vector 2 is raised, which the device does not have");
    odd_assert_said_once("irq_signal is given 0");
    assert_int_equal(odd_said("vector"), 1);
    assert_int_equal(odd_dev->guest_errors, 0);
}

static int32_t too_early(const struct vfu_host *t)
{
    const struct vfu_host_regmap *ext = t->extension(t, VFU_EXT_REGMAP);

    assert_int_equal(t->irq_signal(t, VFU_IRQ_REQ), -EINVAL);
    assert_int_equal(ext->set(t, 0, VFU_NONE, VFU_NONE, 1), -EINVAL);
    assert_int_equal(ext->get(t, 0, VFU_NONE, VFU_NONE), 0);
    assert_int_equal(t->timer_after(t, 0, 0, 0, 0), -EINVAL);
    assert_int_equal(t->dma_read(t, 0, NULL, 0), -EINVAL);
    return 0;
}

static void test_in_describe(void **state)
{
    (void)state;
    odd_plan.on_describe = too_early;
    odd_make();
    odd_assert_said_once("irq_signal is called before create");
    odd_assert_said_once("regmap set is called before create");
}

static unsigned done_calls;

static void on_done(void *self, struct vfu_dma_op *op, int32_t status)
{
    (void)op;
    assert_ptr_equal(self, &odd_self);
    assert_int_equal(status, 0);
    done_calls++;
}

static void test_submitted_twice(void **state)
{
    struct vfu_dma_op ops[3];

    (void)state;
    odd_make();
    odd_attach();
    done_calls = 0;
    memset(ops, 0xa5, sizeof ops); /* what stands there does not matter */
    for (int i = 0; i < 3; i++) {
        ops[i].struct_size = sizeof ops[i];
        ops[i].flags = 0;
        ops[i].len = 0;
        ops[i].done = on_done;
        assert_int_equal(odd_table->dma_submit(odd_table, &ops[i]), 0);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(odd_table->dma_submit(odd_table, &ops[i]), -EALREADY);
    odd_assert_said_once("dma_submit is given an op that is in flight");
    odd_run(NULL, MS);
    assert_int_equal(done_calls, 3);
    assert_int_equal(odd_table->dma_submit(odd_table, &ops[1]), 0);
    odd_run(NULL, MS);
    assert_int_equal(done_calls, 4);
}

static void never(void *arg, uint32_t ready)
{
    (void)arg;
    (void)ready;
    fail();
}

static void test_closed_fd(void **state)
{
    int fd = eventfd(0, EFD_CLOEXEC);

    (void)state;
    odd_make();
    assert_int_equal(odd_table->watch_fd(odd_table, 99999, VFU_FD_READ, never, NULL), -EBADF);
    assert_int_equal(odd_table->watch_fd(odd_table, -1, VFU_FD_READ, never, NULL), -EBADF);
    odd_assert_said_once("watch_fd is given descriptor 99999, which is not open");
    assert_int_equal(odd_table->watch_fd(odd_table, fd, VFU_FD_READ, never, NULL), 0);
    assert_int_equal(odd_table->watch_fd(odd_table, fd, VFU_FD_READ, never, NULL), -EEXIST);
    close(fd);
    assert_int_equal(odd_table->unwatch_fd(odd_table, fd), 0);
    odd_assert_said_once("was closed before unwatch_fd");
    assert_int_equal(odd_table->unwatch_fd(odd_table, fd), -ENOENT);
}

static int32_t access_result;
static int beside;

static int32_t access_oddly(void *self, struct vfu_access *access)
{
    assert_ptr_equal(self, &odd_self);
    if (access->size > 8) {
        memset(access->data, 0x77, access->size);
        if (beside)
            access->data[beside < 0 ? beside : (int)access->size + beside - 1] = 1;
    } else {
        access->value = 0x1122334455667788;
    }
    return access_result;
}

static void test_access(void **state)
{
    uint8_t bytes[256 + 8];

    (void)state;
    odd_plan.access = access_oddly;
    beside = 0;
    access_result = 0;
    odd_make();
    memset(bytes, 0xee, sizeof bytes);
    assert_int_equal(device_read(odd_dev, 1, 0, 256, bytes), 0);
    assert_int_equal(bytes[0], 0x77);
    assert_int_equal(bytes[255], 0x77);
    assert_int_equal(bytes[256], 0xee);
    assert_int_equal(odd_nlines, 0);
    for (int i = 0; i < 2; i++) {
        beside = i ? -3 : 5;
        assert_int_equal(device_read(odd_dev, 1, 16, 200, bytes), -EIO);
        assert_int_equal(device_write(odd_dev, 1, 16, 200, bytes), -EIO);
        assert_int_equal(bytes[256], 0xee);
    }
    odd_assert_said_once("access callback wrote beside the 200 bytes it was given (region 1, offset 0x10)");
    beside = 0;
    access_result = EINVAL;
    for (int i = 0; i < 3; i++)
        assert_int_equal(device_read(odd_dev, 1, 0, 4, bytes), -EIO);
    odd_assert_said_once("access callback returned 22");
    access_result = -ENXIO;
    assert_int_equal(device_read(odd_dev, 1, 0, 4, bytes), -ENXIO);
    assert_int_equal(device_read(odd_dev, 1, 0, 40, bytes), -ENXIO);
}

static void test_hook_results(void **state)
{
    uint64_t value = 5;

    (void)state;
    odd_make();
    odd_plan.hook_result = EINVAL;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(device_write(odd_dev, 0, 8, 8, (uint8_t *)&value), 0);
        assert_int_equal(device_read(odd_dev, 0, 8, 8, (uint8_t *)&value), 0);
        assert_true(value == UINT64_MAX); /* a bus error */
    }
    odd_assert_said_once("register hook callback returned 22; 0, 1 and negative errnos make sense");
    odd_plan.hook_result = 0;
    assert_int_equal(device_read(odd_dev, 0, 8, 8, (uint8_t *)&value), 0);
    assert_int_equal(value, 0);
}

/* Hangs until somebody has said so. */
static void quiesce_until_told(void *self)
{
    (void)self;
    for (int i = 0; i < 2000 && !odd_said("plugin fault (odd): its quiesce callback has not returned for 1000 ms"); i++)
        odd_nap(10 * MS);
}

static void test_slow_quiesce(void **state)
{
    (void)state;
    odd_plan.quiesce = quiesce_until_told;
    odd_make();
    assert_int_equal(device_reset(odd_dev, VFU_RESET_BUS), 0);
    odd_assert_said_once("plugin fault (odd): its quiesce callback has not returned");
    odd_assert_said_once("the plugin odd took 1");
    assert_int_equal(odd_nlines, 2);
    odd_plan.quiesce = NULL;
}

/* Numbers of events, from the plugin and from a state that somebody else has written. */
static unsigned events;

static void count_event(void *self, uint32_t event, uint64_t arg)
{
    assert_ptr_equal(self, &odd_self);
    events += event == VFU_EVENT_MAX && arg == 7;
}

static void test_event_numbers(void **state)
{
    (void)state;
    odd_plan.event = count_event;
    odd_make();
    events = 0;
    assert_int_equal(odd_table->timer_after(odd_table, 0, 0, VFU_EVENT_MAX + 1u, 7), -EINVAL);
    assert_true(odd_table->timer_after(odd_table, 0, 0, VFU_EVENT_MAX, 7) > 0);
    odd_run(NULL, MS);
    assert_int_equal(events, 1);
    assert_true(timers_after(&odd_dev->timers, 0, 0, 0xff000001, 7) > 0);
    odd_run(NULL, MS);
    assert_int_equal(events, 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, odd_setup, odd_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_threads_call),
        TEST(test_threads_undeclared),
        TEST(test_threads_denied),
        TEST(test_threads_quiesced),
        TEST(test_dma_waits),
        TEST(test_dma_wait_ends_with_reset),
        TEST(test_dma_wait_ends_with_stop),
        TEST(test_dma_wait_ends_with_client),
        TEST(test_memory_held),
        TEST(test_poll),
        TEST(test_poll_absurd),
        TEST(test_poll_undeclared),
        TEST(test_after_destroy),
        TEST(test_undeclared),
        TEST(test_vectors),
        TEST(test_in_describe),
        TEST(test_submitted_twice),
        TEST(test_closed_fd),
        TEST(test_access),
        TEST(test_hook_results),
        TEST(test_slow_quiesce),
        TEST(test_event_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
