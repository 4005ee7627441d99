/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of the host table of core/host, core/cross, core/work, core/inner and core/guard: threads of a plugin's own,
 * polling, plugins inside of plugins, and plugins that misbehave. The plugin is this file's, handed out by odd_plugin.so;
 * log_write is replaced. Threads are the plugin's; everything else is on one.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <vfu/protocol.h>
#include <vfu/wrap.h>

#include "core/device.h"

#define MS UINT64_C(1000000)
#define LINES 64

/* ---- in place of core/log.c -------------------------------------------------------------------------------- */

int log_threshold = LOG_WARN;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char lines[LINES][512];
static unsigned nlines;

static void put_line(const char *who, const char *format, va_list args)
{
    char line[512];
    int n = snprintf(line, sizeof line, "%s: ", who ? who : "-");

    vsnprintf(line + n, sizeof line - (size_t)n, format, args);
    pthread_mutex_lock(&log_lock);
    if (nlines < LINES)
        memcpy(lines[nlines++], line, sizeof line);
    pthread_mutex_unlock(&log_lock);
}

void log_write(const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    if ((int)level > log_threshold)
        return;
    va_start(args, format);
    put_line(who, format, args);
    va_end(args);
}

void log_limited(struct log_limit *limit, const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    (void)limit;
    if ((int)level > log_threshold)
        return;
    va_start(args, format);
    put_line(who, format, args);
    va_end(args);
}

int log_level_parse(const char *text)
{
    (void)text;
    return -1;
}

/* How many lines have these words in them. */
static unsigned said(const char *words)
{
    unsigned n = 0;

    pthread_mutex_lock(&log_lock);
    for (unsigned i = 0; i < nlines; i++)
        n += strstr(lines[i], words) != NULL;
    pthread_mutex_unlock(&log_lock);
    return n;
}

static void assert_said_once(const char *words)
{
    if (said(words) == 1)
        return;
    for (unsigned i = 0; i < nlines; i++)
        print_error("log: %s\n", lines[i]);
    fail_msg("said %u times: %s", said(words), words);
}

/* ---- the plugin -------------------------------------------------------------------------------------------- */

#define ALL (VFU_CAP_DMA | VFU_CAP_DMA_MAP | VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_TIMERS | VFU_CAP_FD_WATCH | VFU_CAP_POLL | \
             VFU_CAP_THREADS | VFU_CAP_RESET)

/* What a test sets before it makes a device. */
static struct {
    uint64_t caps;
    int32_t (*access)(void *self, struct vfu_access *access);
    int32_t (*poll)(void *self);
    void (*quiesce)(void *self);
    void (*resume)(void *self);
    void (*destroy)(void *self);
    void (*event)(void *self, uint32_t event, uint64_t arg);
    int32_t (*on_describe)(const struct vfu_host *host);
    int32_t hook_result;
} plan;

static const struct vfu_host *host;
static const struct vfu_host_regmap *regs;
static struct device *dev;
static int self_of_plugin;

static int32_t on_describe(const struct vfu_host *table, const struct vfu_params *params, struct vfu_desc *desc)
{
    static const struct vfu_bar bars[] = {
        { .index = 0, .size = 4096, .unmapped = VFU_UNMAPPED_ZEROS },
        { .index = 1, .size = 4096, .flags = VFU_BAR_RAW },
    };
    static const struct vfu_reg regs_list[] = {
        { .name = "PLAIN", .offset = 0, .size = 8, .group = VFU_NONE },
        { .name = "HOOKED", .offset = 8, .size = 8, .group = VFU_NONE, .flags = VFU_REG_HOOK_READ | VFU_REG_HOOK_WRITE },
    };
    static const struct vfu_regmap map = { .struct_size = sizeof map, .regs = regs_list, .nregs = 2, .reg_size = sizeof regs_list[0] };

    (void)params;
    desc->caps = plan.caps;
    desc->bars = bars;
    desc->nbars = plan.access ? 2 : 1;
    desc->bar_size = sizeof bars[0];
    desc->regmap = &map;
    desc->msi_vectors = plan.caps & VFU_CAP_MSI ? 2 : 0;
    return plan.on_describe ? plan.on_describe(table) : 0;
}

static int32_t on_create(const struct vfu_host *table, const struct vfu_params *params, void **self)
{
    (void)params;
    host = table;
    regs = table->extension(table, VFU_EXT_REGMAP);
    *self = &self_of_plugin;
    return 0;
}

static void on_destroy(void *self)
{
    if (plan.destroy)
        plan.destroy(self);
}

static int32_t on_access(void *self, struct vfu_access *access)
{
    return plan.access(self, access);
}

static int32_t on_reset(void *self, uint32_t kind)
{
    (void)self;
    (void)kind;
    return 0;
}

static void on_event(void *self, uint32_t event, uint64_t arg)
{
    if (plan.event)
        plan.event(self, event, arg);
}

static void on_quiesce(void *self)
{
    if (plan.quiesce)
        plan.quiesce(self);
}

static void on_resume(void *self)
{
    if (plan.resume)
        plan.resume(self);
}

static int32_t on_poll(void *self)
{
    return plan.poll(self);
}

static int32_t on_hook(void *self, struct vfu_reg_call *call)
{
    (void)self;
    (void)call;
    return plan.hook_result;
}

static const void *on_extension(const char *id)
{
    static const struct vfu_regmap_ops ops = { .struct_size = sizeof ops, .read = on_hook, .write = on_hook };

    return strcmp(id, VFU_EXT_REGMAP) == 0 ? &ops : NULL;
}

static struct vfu_plugin table = {
    .struct_size = sizeof table,
    .abi_version = VFU_ABI_VERSION,
    .caps = ALL,
    .name = "odd",
    .version = "1",
    .sdk = "test",
    .describe = on_describe,
    .create = on_create,
    .destroy = on_destroy,
    .access = on_access,
    .reset = on_reset,
    .event = on_event,
    .quiesce = on_quiesce,
    .resume = on_resume,
    .extension = on_extension,
    .poll = on_poll,
};

/* ---- help -------------------------------------------------------------------------------------------------- */

static const char *built(char path[PATH_MAX], const char *module)
{
    const char *dir = getenv("VFU_BUILDDIR");

    snprintf(path, PATH_MAX, "%s/%s", dir ? dir : ".", module);
    return path;
}

static int make_with(const char *spec, char **items, uint32_t n, uint64_t deny)
{
    struct device_options options = { .spec = spec, .items = items, .nitems = n, .max_dma_maps = 64, .deny = deny };

    dev = NULL;
    return device_new(&dev, &options);
}

static void make(void)
{
    char path[PATH_MAX];

    assert_int_equal(make_with(built(path, "tests/unit/.libs/odd_plugin.so"), NULL, 0, 0), 0);
}

static struct transport out;
static int peer = -1;

static void kick(void *ctx)
{
    (void)ctx;
    transport_flush(&out);
}

static void attach(void)
{
    struct vfu_client client = { .struct_size = sizeof client, .max_data_xfer_size = 1048576, .max_msg_fds = 8 };
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(transport_open(&out, pair[0]), 0);
    peer = pair[1];
    assert_int_equal(device_attach(dev, &client, &out, kick, NULL), 0);
}

static int setup(void **state)
{
    (void)state;
    memset(&plan, 0, sizeof plan);
    plan.caps = ALL & ~(VFU_CAP_POLL | VFU_CAP_THREADS);
    nlines = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    device_free(dev);
    dev = NULL;
    if (peer >= 0) {
        transport_close(&out);
        close(peer);
    }
    peer = -1;
    return 0;
}

static void nap(uint64_t ns)
{
    nanosleep(&(struct timespec){ 0, (long)ns }, NULL);
}

struct stopper {
    struct loop_timer timer; /* first */
    const atomic_int *when;  /* NULL: at the first look */
    struct loop *loop;
    uint64_t end;
};

static void look(struct loop_timer *timer)
{
    struct stopper *s = (struct stopper *)timer;

    if (!s->when || atomic_load(s->when) || loop_now() > s->end)
        loop_stop(s->loop);
    else
        loop_arm(s->loop, timer, loop_now() + MS / 10);
}

/* Runs the device's loop until *when, or for so long. */
static void run(const atomic_int *when, uint64_t ns)
{
    struct stopper s = { .timer.fn = look, .when = when, .loop = &dev->loop, .end = loop_now() + (when ? 4000 * MS : 0) };

    dev->loop.stopping = false;
    assert_int_equal(loop_arm(&dev->loop, &s.timer, loop_now() + ns), 0);
    loop_run(&dev->loop);
    loop_disarm(&dev->loop, &s.timer);
    if (when)
        assert_true(atomic_load(when));
}

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
        int64_t id = host->timer_after(host, 1000000000000u, 0, 1, 0);

        wrong += id <= 0;
        wrong += host->timer_cancel(host, id) != 0;
        wrong += host->defer(host, work, worked) != 0;
        wrong += host->irq_raise(host, 0) != -ENOENT; /* nobody has armed it */
        wrong += host->irq_raise(host, 5) != -EINVAL;
        wrong += regs->set(host, 0, VFU_NONE, VFU_NONE, UINT64_C(0x8000000000000000)) != 0;
        wrong += regs->get(host, 0, VFU_NONE, VFU_NONE) != UINT64_C(0x8000000000000000);
        wrong += host->dma_read(host, 0, &(char){ 0 }, 1) != -ENOTCONN;
        wrong += host->granted(host) != plan.caps;
        wrong += host->now(host) == 0;
    }
    atomic_fetch_add(&finished, 1);
    return (void *)wrong;
}

static void test_threads_call(void **state)
{
    pthread_t threads[4];
    atomic_int worked = 0;

    (void)state;
    plan.caps |= VFU_CAP_THREADS;
    make();
    atomic_store(&finished, -3);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_everything, &worked), 0);
    run(&finished, MS);
    for (int i = 0; i < 4; i++) {
        void *wrong;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_int_equal((intptr_t)wrong, 0);
    }
    run(NULL, MS);
    assert_int_equal(atomic_load(&worked), 4 * EACH);
    assert_said_once("plugin fault (odd): interrupt vector 5 is raised");
    assert_int_equal(dev->timers.pending, 0);
}

static void *call_once(void *arg)
{
    host->log(host, VFU_LOG_WARN, "from a thread");
    *(int32_t *)arg = host->irq_raise(host, 0);
    host->irq_raise(host, 0);
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
    make();
    assert_int_equal(from_thread(), -EPERM);
    assert_said_once("plugin fault (odd): irq_raise is called from a thread");
    assert_said_once("odd: from a thread");
    assert_int_equal(host->irq_raise(host, 0), -ENOENT);
}

static void test_threads_denied(void **state)
{
    char path[PATH_MAX];

    (void)state;
    plan.caps |= VFU_CAP_THREADS;
    assert_int_equal(make_with(built(path, "tests/unit/.libs/odd_plugin.so"), NULL, 0, VFU_CAP_THREADS), 0);
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
        result = host->timer_cancel(host, 1);
        pthread_mutex_unlock(&quiet_lock);
        atomic_fetch_add(result == -ENOENT ? &calls_ok : result == -EBUSY ? &calls_busy : &calls_gone, 1);
        if (result == -ESHUTDOWN)
            break;
        if (atomic_load(&calls_ok) > 5)
            atomic_store(&calling, 1);
    }
    return NULL;
}

/* Against the advice of the header, with a lock that the thread holds while it calls: it must come free all the same. */
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
        nap(MS);
    assert_true(atomic_load(counter) > above);
}

static void test_threads_quiesced(void **state)
{
    int ok, busy;

    (void)state;
    plan.caps |= VFU_CAP_THREADS;
    plan.quiesce = quiesce_with_lock;
    plan.destroy = destroy_joining;
    make();
    atomic_store(&calling, 0);
    atomic_store(&leave, 0);
    calls_ok = calls_busy = calls_gone = 0;
    assert_int_equal(pthread_create(&caller, NULL, call_all_the_time, NULL), 0);
    run(&calling, MS);
    for (int i = 0; i < 20; i++)
        assert_int_equal(device_reset(dev, VFU_RESET_BUS), 0);
    device_freeze(dev);
    busy = atomic_load(&calls_busy);
    wait_for(&calls_busy, busy + 3);
    ok = atomic_load(&calls_ok);
    run(NULL, 2 * MS);
    assert_int_equal(atomic_load(&calls_ok), ok);
    device_thaw(dev);
    atomic_store(&calling, 0);
    run(&calling, MS);
    device_free(dev);
    dev = NULL;
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
    dma_result = host->dma_read(host, GUEST, dma_buffer, sizeof dma_buffer);
    atomic_store(&dma_ended, 1);
    return NULL;
}

static pthread_t begin_read(void)
{
    pthread_t thread;

    plan.caps |= VFU_CAP_THREADS;
    make();
    attach();
    assert_int_equal(dma_map(dev->dma, GUEST, 4096, VFU_DMA_MAP_READABLE | VFU_DMA_MAP_WRITEABLE, -1, 0), 0);
    assert_int_equal(host->dma_read(host, GUEST, dma_buffer, 1), -EWOULDBLOCK);
    atomic_store(&dma_ended, 0);
    assert_int_equal(pthread_create(&thread, NULL, read_guest, NULL), 0);
    for (int i = 0; i < 400 && !dev->transfer.inflight; i++)
        run(NULL, MS);
    assert_int_equal(dev->transfer.inflight, 16);
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
    assert_int_equal(recv(peer, &m, sizeof m, 0), sizeof m.header + sizeof m.access);
    assert_int_equal(m.header.command, VFU_CMD_DMA_READ);
    m.header.flags = VFU_MSG_REPLY;
    m.header.size = sizeof m;
    memset(m.data, 0x5a, sizeof m.data);
    reply.header = m.header;
    reply.body = (uint8_t *)&m.access;
    reply.size = sizeof m - sizeof m.header;
    assert_int_equal(transfer_reply(&dev->transfer, &reply), 0);
    pthread_join(thread, NULL);
    assert_int_equal(dma_result, 0);
    assert_memory_equal(dma_buffer, m.data, sizeof dma_buffer);
}

static void test_dma_wait_ends_with_reset(void **state)
{
    pthread_t thread = begin_read();

    (void)state;
    assert_int_equal(device_reset(dev, VFU_RESET_BUS), 0);
    pthread_join(thread, NULL);
    assert_int_equal(dma_result, -ECANCELED);
}

static void test_dma_wait_ends_with_stop(void **state)
{
    pthread_t thread = begin_read();

    (void)state;
    device_freeze(dev);
    pthread_join(thread, NULL);
    assert_int_equal(dma_result, -EBUSY);
    assert_int_equal(dev->transfer.nops, 0);
    device_thaw(dev);
    run(NULL, MS);
}

static void test_dma_wait_ends_with_client(void **state)
{
    pthread_t thread = begin_read();

    (void)state;
    device_detach(dev);
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
    plan.caps |= VFU_CAP_THREADS;
    plan.quiesce = pause_reading;
    plan.resume = go_on_reading;
    make();
    attach();
    assert_int_equal(ftruncate(fd, 8192), 0);
    atomic_store(&leave, 0);
    atomic_store(&reading, 0);
    atomic_store(&pauses, 0);
    assert_int_equal(dma_map(dev->dma, GUEST, 4096, VFU_DMA_MAP_READABLE, fd, 0), 0);
    assert_int_equal(dma_map(dev->dma, 2 * GUEST, 4096, VFU_DMA_MAP_READABLE, fd, 4096), 0);
    window.struct_size = sizeof window;
    assert_int_equal(host->dma_map(host, GUEST, 4096, VFU_DMA_PROT_READ, &window), 0);
    assert_int_equal(pthread_create(&thread, NULL, read_memory, &sum), 0);
    wait_for(&reading, 0);
    assert_int_equal(dma_unmap(dev->dma, 2 * GUEST, 4096), 0);
    assert_int_equal(atomic_load(&pauses), 0); /* nobody looks at that one */
    assert_int_equal(dma_unmap(dev->dma, GUEST, 4096), 0);
    assert_int_equal(atomic_load(&pauses), 1);
    assert_null(window.data);
    atomic_store(&leave, 1);
    pthread_join(thread, NULL);
    close(fd);
    plan.quiesce = NULL; /* destroy is preceded by one that no resume follows */
}

/* ---- polling ----------------------------------------------------------------------------------------------- */

static int polls, finds;

static int32_t poll_some(void *self)
{
    assert_ptr_equal(self, &self_of_plugin);
    polls++;
    return finds-- > 0;
}

static void test_poll(void **state)
{
    int busy;

    (void)state;
    plan.caps |= VFU_CAP_POLL;
    plan.poll = poll_some;
    make();
    polls = 0;
    finds = 0;
    run(NULL, 3 * MS);
    assert_int_equal(polls, 0);
    assert_int_equal(host->poll_every(host, 2), -EINVAL);
    assert_int_equal(host->poll_every(host, 10 * MS), 0);
    run(NULL, 35 * MS);
    assert_in_range(polls, 2, 6);
    /* As long as it finds something it is asked again at once. */
    polls = 0;
    finds = 100;
    run(NULL, 5 * MS);
    assert_in_range(polls, 100, 104);
    device_freeze(dev);
    polls = 0;
    run(NULL, 25 * MS);
    assert_int_equal(polls, 0);
    device_thaw(dev);
    assert_int_equal(host->poll_every(host, VFU_POLL_BUSY), 0);
    run(NULL, 5 * MS);
    busy = polls;
    assert_true(busy > 20);
    assert_int_equal(host->poll_every(host, VFU_POLL_OFF), 0);
    run(NULL, 5 * MS);
    assert_int_equal(polls, busy);
    /* Some time after the last find, if the operator says so. */
    dev->loop.spin_us = 3000;
    finds = 1;
    assert_int_equal(host->poll_every(host, 1000 * MS), 0);
    run(NULL, 8 * MS);
    assert_true(polls > busy + 5);
    assert_true(loop_now() - dev->host.poll_found > 3 * MS);
}

static int32_t poll_absurdly(void *self)
{
    (void)self;
    polls++;
    return ENOMEM;
}

static void test_poll_absurd(void **state)
{
    (void)state;
    plan.caps |= VFU_CAP_POLL;
    plan.poll = poll_absurdly;
    make();
    polls = 0;
    assert_int_equal(host->poll_every(host, MS), 0);
    run(NULL, 4 * MS);
    assert_in_range(polls, 2, 8);
    assert_said_once("poll callback returned 12");
}

static void test_poll_undeclared(void **state)
{
    (void)state;
    make();
    assert_int_equal(host->poll_every(host, MS), -ENOTSUP);
    assert_said_once("poll_every is called, but poll is not declared in caps");
}

/* ---- misbehaviour ------------------------------------------------------------------------------------------ */

static void call_after(void)
{
    for (int i = 0; i < 2; i++) {
        assert_int_equal(host->irq_raise(host, 0), -ESHUTDOWN);
        assert_int_equal(host->timer_after(host, 1, 0, 1, 1), -ESHUTDOWN);
        host->guest_error(host, "late");
    }
}

static void destroy_properly(void *self)
{
    (void)self;
    assert_int_equal(host->irq_raise(host, 0), -ENOENT);
}

static void test_after_destroy(void **state)
{
    (void)state;
    plan.destroy = destroy_properly;
    make();
    /* What device_free does around it. */
    host_close(&dev->host);
    destroy_properly(NULL);
    host_poison(&dev->host);
    call_after();
    assert_said_once("irq_raise is called after destroy (ESHUTDOWN)");
    assert_said_once("timer_after is called after destroy");
    assert_said_once("guest_error is called after destroy");
    __atomic_store_n(&dev->host.closed, false, __ATOMIC_RELAXED);
}

static void test_undeclared(void **state)
{
    (void)state;
    plan.caps = 0;
    make();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(host->irq_raise(host, 0), -ENOTSUP);
        assert_int_equal(host->dma_submit(host, NULL), -ENOTSUP);
    }
    assert_said_once("odd: plugin fault (odd): irq_raise is called, but intx,msi,msix is not declared");
    assert_said_once("dma_submit is called, but dma is not declared");
}

static void test_vectors(void **state)
{
    (void)state;
    make();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(host->irq_raise(host, 2), -EINVAL);
        assert_int_equal(host->irq_lower(host, 99), -EINVAL);
        assert_int_equal(host->irq_signal(host, 0), -EINVAL);
    }
    assert_said_once("interrupt vector 2 is raised, which the device does not have");
    assert_said_once("irq_signal is given 0");
    assert_int_equal(said("vector"), 1);
    assert_int_equal(dev->guest_errors, 0);
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
    plan.on_describe = too_early;
    make();
    assert_said_once("irq_signal is called before create");
    assert_said_once("regmap set is called before create");
}

static unsigned done_calls;

static void on_done(void *self, struct vfu_dma_op *op, int32_t status)
{
    (void)op;
    assert_ptr_equal(self, &self_of_plugin);
    assert_int_equal(status, 0);
    done_calls++;
}

static void test_submitted_twice(void **state)
{
    struct vfu_dma_op ops[3];

    (void)state;
    make();
    attach();
    done_calls = 0;
    memset(ops, 0xa5, sizeof ops); /* what stands there does not matter */
    for (int i = 0; i < 3; i++) {
        ops[i].struct_size = sizeof ops[i];
        ops[i].flags = 0;
        ops[i].len = 0;
        ops[i].done = on_done;
        assert_int_equal(host->dma_submit(host, &ops[i]), 0);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(host->dma_submit(host, &ops[i]), -EALREADY);
    assert_said_once("dma_submit is given an op that is in flight");
    run(NULL, MS);
    assert_int_equal(done_calls, 3);
    assert_int_equal(host->dma_submit(host, &ops[1]), 0);
    run(NULL, MS);
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
    make();
    assert_int_equal(host->watch_fd(host, 99999, VFU_FD_READ, never, NULL), -EBADF);
    assert_int_equal(host->watch_fd(host, -1, VFU_FD_READ, never, NULL), -EBADF);
    assert_said_once("watch_fd is given descriptor 99999, which is not open");
    assert_int_equal(host->watch_fd(host, fd, VFU_FD_READ, never, NULL), 0);
    assert_int_equal(host->watch_fd(host, fd, VFU_FD_READ, never, NULL), -EEXIST);
    close(fd);
    assert_int_equal(host->unwatch_fd(host, fd), 0);
    assert_said_once("was closed before unwatch_fd");
    assert_int_equal(host->unwatch_fd(host, fd), -ENOENT);
}

static int32_t access_result;
static int beside;

static int32_t access_oddly(void *self, struct vfu_access *access)
{
    assert_ptr_equal(self, &self_of_plugin);
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
    plan.access = access_oddly;
    beside = 0;
    access_result = 0;
    make();
    memset(bytes, 0xee, sizeof bytes);
    assert_int_equal(device_read(dev, 1, 0, 256, bytes), 0);
    assert_int_equal(bytes[0], 0x77);
    assert_int_equal(bytes[255], 0x77);
    assert_int_equal(bytes[256], 0xee);
    assert_int_equal(nlines, 0);
    for (int i = 0; i < 2; i++) {
        beside = i ? -3 : 5;
        assert_int_equal(device_read(dev, 1, 16, 200, bytes), -EIO);
        assert_int_equal(device_write(dev, 1, 16, 200, bytes), -EIO);
        assert_int_equal(bytes[256], 0xee);
    }
    assert_said_once("access callback wrote beside the 200 bytes it was given (region 1, offset 0x10)");
    beside = 0;
    access_result = EINVAL;
    for (int i = 0; i < 3; i++)
        assert_int_equal(device_read(dev, 1, 0, 4, bytes), -EIO);
    assert_said_once("access callback returned 22");
    access_result = -ENXIO;
    assert_int_equal(device_read(dev, 1, 0, 4, bytes), -ENXIO);
    assert_int_equal(device_read(dev, 1, 0, 40, bytes), -ENXIO);
}

static void test_hook_results(void **state)
{
    uint64_t value = 5;

    (void)state;
    make();
    plan.hook_result = EINVAL;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(device_write(dev, 0, 8, 8, (uint8_t *)&value), 0);
        assert_int_equal(device_read(dev, 0, 8, 8, (uint8_t *)&value), 0);
        assert_true(value == UINT64_MAX); /* a bus error */
    }
    assert_said_once("register hook callback returned 22; 0, 1 and negative errnos make sense");
    plan.hook_result = 0;
    assert_int_equal(device_read(dev, 0, 8, 8, (uint8_t *)&value), 0);
    assert_int_equal(value, 0);
}

static void quiesce_slowly(void *self)
{
    (void)self;
    nanosleep(&(struct timespec){ 1, 20000000 }, NULL);
}

static void test_slow_quiesce(void **state)
{
    (void)state;
    plan.quiesce = quiesce_slowly;
    make();
    assert_int_equal(device_reset(dev, VFU_RESET_BUS), 0);
    plan.quiesce = NULL;
    assert_int_equal(said("the plugin odd took 10"), 1);
}

/* Numbers of events, from the plugin and from a state that somebody else has written. */
static unsigned events;

static void count_event(void *self, uint32_t event, uint64_t arg)
{
    assert_ptr_equal(self, &self_of_plugin);
    events += event == VFU_EVENT_MAX && arg == 7;
}

static void test_event_numbers(void **state)
{
    struct timer_image image = { .id = 1, .event = 0xff000001 };

    (void)state;
    plan.event = count_event;
    make();
    events = 0;
    assert_int_equal(host->timer_after(host, 0, 0, VFU_EVENT_MAX + 1u, 7), -EINVAL);
    assert_true(host->timer_after(host, 0, 0, VFU_EVENT_MAX, 7) > 0);
    run(NULL, MS);
    assert_int_equal(events, 1);
    assert_int_equal(timers_load(&dev->timers, &image, 1), 0);
    run(NULL, MS);
    assert_int_equal(events, 1);
}

/* ---- plugins inside of plugins ----------------------------------------------------------------------------- */

static uint64_t reg(uint64_t offset)
{
    uint64_t value = 0;

    assert_int_equal(device_read(dev, 0, offset, offset >= 0x80 ? 8 : 4, (uint8_t *)&value), 0);
    return value;
}

static void put(uint64_t offset, uint64_t value)
{
    assert_int_equal(device_write(dev, 0, offset, offset >= 0x80 ? 8 : 4, (uint8_t *)&value), 0);
}

/* A filter in a filter in a filter, with edu in the middle of it. Found where the build has put them. */
static char edu_item[PATH_MAX + 32], filter_path[PATH_MAX];

static void make_filters(int deep, const char *more)
{
    char path[PATH_MAX], inner[8][PATH_MAX + 64], *items[8];
    const char *before = "";
    char prefix[64] = "";
    uint32_t n = 0;

    built(filter_path, "plugins/filter/.libs/filter.so");
    for (int i = 1; i < deep; i++) {
        snprintf(inner[n], sizeof inner[n], "%splugin=%s", prefix, filter_path);
        items[n] = inner[n];
        n++;
        strcat(prefix, "inner.");
    }
    snprintf(edu_item, sizeof edu_item, "%splugin=%s%s", prefix, before, built(path, "plugins/edu/.libs/edu.so"));
    items[n++] = edu_item;
    if (more) {
        snprintf(inner[n], sizeof inner[n], "%s", more);
        items[n] = inner[n];
        n++;
    }
    assert_int_equal(make_with(filter_path, items, n, 0), 0);
}

static void test_filter_is_edu(void **state)
{
    (void)state;
    for (int deep = 1; deep <= 3; deep++) {
        make_filters(deep, NULL);
        assert_string_equal(dev->name, "edu");
        assert_int_equal(dev->ninners, deep);
        assert_int_equal(reg(0), 0x010000ed);
        put(4, 0x12345678);
        assert_int_equal(reg(4), (uint32_t)~0x12345678);
        put(8, 5); /* its event finds its way in */
        run(NULL, 3 * MS);
        assert_int_equal(reg(8), 120);
        put(0x60, 0x10);
        assert_int_equal(reg(0x24), 0x10);
        assert_int_equal(device_reset(dev, VFU_RESET_BUS), 0);
        assert_int_equal(reg(0x24), 0);
        device_free(dev);
        dev = NULL;
    }
    assert_int_equal(nlines, 0);
}

/* edu's DMA into shared memory. The byte that arrives, or -1: edu has reported a failure. */
static int edu_dma(uint8_t *memory, uint8_t byte, uint64_t wait)
{
    unsigned before = said("DMA read of 1 bytes");

    memory[0] = byte;
    memory[64] = 0;
    put(0x80, GUEST);
    put(0x88, 0x40000);
    put(0x90, 1);
    put(0x98, 1);
    for (int i = 0; i < 100 && (reg(0x98) & 1); i++)
        run(NULL, wait);
    assert_int_equal(reg(0x98) & 1, 0);
    if (said("DMA read of 1 bytes") > before)
        return -1;
    put(0x80, 0x40000);
    put(0x88, GUEST + 64);
    put(0x98, 3);
    for (int i = 0; i < 100 && (reg(0x98) & 1); i++)
        run(NULL, wait);
    return memory[64];
}

static uint8_t *share_memory(void)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    uint8_t *memory;

    assert_int_equal(ftruncate(fd, 4096), 0);
    memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(memory != MAP_FAILED);
    assert_int_equal(dma_map(dev->dma, GUEST, 4096, VFU_DMA_MAP_READABLE | VFU_DMA_MAP_WRITEABLE, fd, 0), 0);
    close(fd);
    return memory;
}

static void test_filter_fails_third(void **state)
{
    uint8_t *memory;

    (void)state;
    for (int deep = 1; deep <= 3; deep++) {
        nlines = 0;
        make_filters(deep, deep == 2 ? "inner.fail_nth=3" : "fail_nth=3");
        attach();
        memory = share_memory();
        assert_int_equal(edu_dma(memory, 0x31, MS), 0x31);
        assert_int_equal(edu_dma(memory, 0x32, MS), -1);
        assert_int_equal(said("Input/output error"), 1);
        assert_int_equal(edu_dma(memory, 0x33, MS), 0x33);
        munmap(memory, 4096);
        teardown(NULL);
    }
}

static void test_filter_delays(void **state)
{
    uint8_t *memory;
    uint64_t start;

    (void)state;
    make_filters(2, "delay=0.01");
    attach();
    memory = share_memory();
    start = loop_now();
    assert_int_equal(edu_dma(memory, 0x44, MS), 0x44);
    assert_true(loop_now() - start >= 20 * MS);
    /* One that is late when the device is reset, and one when the client goes, are cancelled. */
    put(0x80, GUEST);
    put(0x88, 0x40000);
    put(0x98, 1);
    run(NULL, 2 * MS);
    assert_int_equal(device_reset(dev, VFU_RESET_BUS), 0);
    run(NULL, 15 * MS);
    assert_int_equal(reg(0x98), 0);
    put(0x80, GUEST);
    put(0x88, 0x40000);
    put(0x98, 1);
    run(NULL, 2 * MS);
    device_detach(dev);
    run(NULL, 15 * MS);
    assert_int_equal(nlines, 0);
    munmap(memory, 4096);
}

/* A state goes from a bare edu into a wrapped one, and back. */
static void test_filter_migrates(void **state)
{
    struct image image = { 0 };
    char path[PATH_MAX];
    struct device *bare;
    uint8_t bytes[512];
    int64_t n;

    (void)state;
    assert_int_equal(make_with(built(path, "plugins/edu/.libs/edu.so"), NULL, 0, 0), 0);
    put(8, 6);
    put(4, 0x99);
    assert_int_equal(migration_set(dev, MIGRATION_STOP_COPY), 0);
    while ((n = migration_read(dev, bytes, sizeof bytes)) > 0)
        assert_int_equal(image_append(&image, bytes, (uint64_t)n), 0);
    bare = dev;
    make_filters(2, NULL);
    assert_int_equal(migration_set(dev, MIGRATION_RESUMING), 0);
    assert_int_equal(migration_write(dev, image.data, (uint32_t)image.size), 0);
    assert_int_equal(migration_set(dev, MIGRATION_RUNNING), 0);
    assert_int_equal(reg(4), (uint32_t)~0x99);
    image_free(&image);
    device_free(bare);
}

static unsigned interrupts(int fd)
{
    uint64_t count = 0;

    return read(fd, &count, sizeof count) == sizeof count ? (unsigned)count : 0;
}

/* Every second interrupt, as the level's bits rise. */
static void test_filter_drops_irq(void **state)
{
    struct vfio_irq_set set = { .argsz = sizeof set, .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                                .index = VFIO_PCI_MSI_IRQ_INDEX, .count = 1 };
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), kept;

    (void)state;
    make_filters(1, "drop_irq=2");
    attach();
    kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    assert_int_equal(irq_set(dev->irq, &set, NULL, &kept, 1), 0);
    put(0x60, 1);
    assert_int_equal(interrupts(fd), 1);
    put(0x60, 2);
    assert_int_equal(interrupts(fd), 0);
    put(0x60, 2); /* does not rise */
    put(0x64, 3);
    run(NULL, MS);
    assert_int_equal(interrupts(fd), 0);
    put(0x60, 4);
    assert_int_equal(interrupts(fd), 1);
    close(fd);
}

static void test_filter_names_culprits(void **state)
{
    char path[PATH_MAX], odd[PATH_MAX + 16], *items[] = { odd, NULL };
    pthread_t thread;
    int32_t result;

    (void)state;
    snprintf(odd, sizeof odd, "plugin=%s", built(path, "tests/unit/.libs/odd_plugin.so"));
    assert_int_equal(make_with(built(filter_path, "plugins/filter/.libs/filter.so"), items, 1, 0), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(host->poll_every(host, MS), -ENOTSUP);
        assert_int_equal(host->timer_after(host, 0, 0, 0x1000000, 0), -EINVAL);
    }
    assert_said_once("filter/odd: plugin fault (odd): poll_every is called, but poll is not declared");
    assert_int_equal(pthread_create(&thread, NULL, call_once, &result), 0);
    pthread_join(thread, NULL);
    assert_int_equal(result, -EPERM);
    assert_said_once("filter/odd: plugin fault (odd): irq_raise is called from a thread");
    assert_said_once("filter/odd: from a thread");
    assert_true(host->timer_after(host, 0, 0, 1, 0) > 0);
}

static struct vfu_inner *opened;
static int32_t open_result;

static int32_t open_itself(const struct vfu_host *t)
{
    char path[PATH_MAX];

    for (int i = 0; i < 20; i++) {
        open_result = t->open(t, built(path, "plugins/null/.libs/null.so"), NULL, 0, &opened);
        if (open_result)
            break;
        assert_string_equal(opened->plugin->name, "null");
        assert_int_equal(opened->plugin->struct_size, sizeof *opened->plugin);
    }
    return 0;
}

static void test_open(void **state)
{
    char path[PATH_MAX];

    (void)state;
    plan.on_describe = open_itself;
    make();
    assert_int_equal(open_result, -ELOOP);
    assert_int_equal(dev->ninners, INNER_MAX);
    assert_int_equal(host->open(host, built(path, "plugins/null/.libs/null.so"), NULL, 0, &opened), -EINVAL);
    assert_said_once("open is called outside of describe");
}

static int32_t open_nothing(const struct vfu_host *t)
{
    const char *const items[] = { "no=1" };
    char path[PATH_MAX];

    assert_int_equal(t->open(t, "/nowhere/at/all.so", NULL, 0, &opened), -ENOENT);
    assert_int_equal(t->open(t, built(path, "plugins/edu/.libs/edu.so"), items, 1, &opened), -EINVAL);
    return -EINVAL;
}

static void test_open_fails(void **state)
{
    char path[PATH_MAX];

    (void)state;
    plan.on_describe = open_nothing;
    assert_int_equal(make_with(built(path, "tests/unit/.libs/odd_plugin.so"), NULL, 0, 0), -EINVAL);
    assert_null(dev);
    assert_said_once("odd/edu: no parameter named no");
}

int main(void)
{
    char text[32];
    void *keep;
    char path[PATH_MAX];
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
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
        TEST(test_filter_is_edu),
        TEST(test_filter_fails_third),
        TEST(test_filter_delays),
        TEST(test_filter_migrates),
        TEST(test_filter_drops_irq),
        TEST(test_filter_names_culprits),
        TEST(test_open),
        TEST(test_open_fails),
    };

    snprintf(text, sizeof text, "%llx", (unsigned long long)(uintptr_t)&table);
    setenv("VFU_TEST_TABLE", text, 1);
    /* It stays loaded: a report of a leak or a race can name its functions. */
    keep = dlopen(built(path, "tests/unit/.libs/odd_plugin.so"), RTLD_NOW | RTLD_LOCAL);
    if (!keep)
        print_message("not found: %s\n", path);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
