/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_reload - the device's side of a reload, with a plugin in C that is the test's: what each instance is asked, in
 * which order, what becomes of timers, watches, deferred work, windows and threads, and the way back from each failure.
 * The device's loop runs on this thread but where threads of the plugin's are at work.
 */
#include "tests/unit/odd_host.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/device/reload.h"

static char story[256]; /* what the plugin was asked, a word each */
static int32_t create_result, load_result, save_result;
static int fd = -1, deferred;
static atomic_int fired, watched;
static uint64_t last_event;
static struct vfu_dma_window window;
static int32_t in_destroy[4];
static char why[256];

static void tell(const char *word)
{
    if (strlen(story) + strlen(word) + 2 < sizeof story)
        strcat(strcat(story, word), " ");
}

static void on_ready(void *arg, uint32_t ready)
{
    (void)arg, (void)ready;
    watched++;
    eventfd_read(fd, &(eventfd_t){ 0 });
}

static void on_deferred(void *arg)
{
    (void)arg;
    deferred++;
}

static int32_t creating(const struct vfu_host *host)
{
    tell("create");
    if (fd >= 0 && odd_plan.caps & VFU_CAP_FD_WATCH)
        assert_int_equal(host->watch_fd(host, fd, VFU_FD_READ, on_ready, NULL), 0);
    host->timer_after(host, 3600000 * MS, 0, 99, 0); /* what create starts is dropped for what was pending */
    odd_regs->set(host, 0, VFU_NONE, VFU_NONE, 5);
    host->irq_raise(host, 0);
    return create_result;
}

static void attaching(void)
{
    tell("attach");
}

static int32_t saving(void *self, struct vfu_sink *sink)
{
    (void)self;
    tell("save");
    return save_result ? save_result : sink->write(sink, "abc", 3);
}

static int32_t loading(void *self, struct vfu_source *source)
{
    char text[4] = "";

    (void)self;
    tell("load");
    assert_int_equal(source->left(source), 3);
    assert_int_equal(source->read(source, text, 3), 0);
    assert_string_equal(text, "abc");
    assert_int_equal(source->read(source, text, 1), -EINVAL);
    return load_result;
}

static void quieting(void *self)
{
    (void)self;
    tell("quiesce");
}

static void resuming(void *self)
{
    (void)self;
    tell("resume");
}

static void destroying(void *self)
{
    (void)self;
    tell("destroy");
}

/* The one that goes reaches nothing of the device any more. */
static const struct vfu_host *former;
static void destroying_former(void *self)
{
    destroying(self);
    if (!former)
        return;
    in_destroy[0] = former->irq_lower(former, 0);
    in_destroy[1] = (int32_t)former->timer_after(former, 0, 0, 1, 0);
    in_destroy[2] = former->defer(former, on_deferred, NULL);
    in_destroy[3] = former->unwatch_fd(former, fd);
}

static void event(void *self, uint32_t number, uint64_t arg)
{
    (void)self;
    fired++;
    last_event = number * 1000 + arg;
}

static int setup(void **state)
{
    int error = odd_setup(state);

    story[0] = why[0] = 0;
    create_result = load_result = save_result = 0;
    fired = watched = 0;
    deferred = 0;
    memset(in_destroy, 0, sizeof in_destroy);
    memset(&window, 0, sizeof window);
    former = NULL;
    fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    odd_plan.create = creating;
    odd_plan.attach = attaching;
    odd_plan.save = saving;
    odd_plan.load = loading;
    odd_plan.quiesce = quieting;
    odd_plan.resume = resuming;
    odd_plan.destroy = destroying;
    odd_plan.event = event;
    odd_plan.hook_result = 0;
    return error;
}

static int teardown(void **state)
{
    int error;

    odd_plan.destroy = NULL; /* the teardown's own is no part of the story */
    error = odd_teardown(state);
    close(fd);
    fd = -1;
    return error;
}

static uint64_t plain(void)
{
    return odd_regs->get(odd_table, 0, VFU_NONE, VFU_NONE);
}

static void set_plain(uint64_t value)
{
    assert_int_equal(odd_regs->set(odd_table, 0, VFU_NONE, VFU_NONE, value), 0);
}

static void in_order(void **state)
{
    const struct vfu_host *old;

    (void)state;
    odd_make();
    odd_attach();
    set_plain(77);
    assert_int_equal(odd_table->irq_lower(odd_table, 0), 0);
    old = former = odd_table;
    odd_plan.destroy = destroying_former;
    story[0] = 0;
    assert_int_equal(reload_now(odd_dev, why, sizeof why), 0);
    assert_string_equal(story, "quiesce save create attach quiesce load destroy resume ");
    assert_ptr_not_equal(odd_table, old);
    assert_int_equal(plain(), 77);
    assert_false(odd_dev->stopped);
    for (int i = 0; i < 3; i++)
        assert_int_equal(in_destroy[i], -ESHUTDOWN);
    assert_int_equal(in_destroy[3], 0);
    /* The interrupt that create has raised is none that the device had. */
    assert_false(irq_asserted(odd_dev->irq));
    former = NULL;
    loop_step(&odd_dev->loop); /* frees what the loop might have needed */
    assert_null(odd_dev->retired);
    assert_int_equal(odd_said("plugin fault"), 0);
}

static void what_is_pending(void **state)
{
    (void)state;
    odd_make();
    timers_clear(&odd_dev->timers);
    assert_true(odd_table->timer_after(odd_table, 0, 0, 7, 3) > 0);
    assert_int_equal(odd_table->defer(odd_table, on_deferred, NULL), 0);
    assert_int_equal(reload_now(odd_dev, why, sizeof why), 0);
    assert_int_equal(deferred, 1); /* the old one's, before it went */
    odd_run(&fired, MS);
    assert_int_equal(fired, 1);
    assert_int_equal(last_event, 7003);
    assert_int_equal(odd_dev->timers.pending, 0);
    eventfd_write(fd, 1);
    odd_run(&watched, MS);
    assert_int_equal(watched, 1); /* by the new one alone */
}

static void windows_end(void **state)
{
    int memory = memfd_create("memory", MFD_CLOEXEC);

    (void)state;
    odd_make();
    odd_attach();
    assert_int_equal(ftruncate(memory, 8192), 0);
    assert_int_equal(dma_map(odd_dev->dma, 0x1000, 8192, 3, memory, 0), 0);
    window.struct_size = sizeof window;
    assert_int_equal(odd_table->dma_map(odd_table, 0x1000, 4096, VFU_DMA_PROT_READ, &window), 0);
    load_result = -EINVAL;
    assert_int_equal(reload_now(odd_dev, why, sizeof why), -EINVAL);
    assert_non_null(window.data); /* the old one goes on, and its window with it */
    load_result = 0;
    assert_int_equal(reload_now(odd_dev, why, sizeof why), 0);
    assert_null(window.data);
    assert_int_equal(odd_table->dma_map(odd_table, 0x1000, 4096, VFU_DMA_PROT_READ, &window), 0);
}

/* Wherever it fails, the old one is where it was. */
static void ways_back(void **state)
{
    static const struct {
        int32_t create, save, load;
        const char *story;
    } ways[] = {
        { .create = -EIO, .story = "quiesce save create destroy resume " },
        { .save = -EIO, .story = "quiesce save destroy resume " },
        { .load = -EIO, .story = "quiesce save create attach quiesce load destroy resume " },
    };
    const struct vfu_host *old;

    (void)state;
    odd_make();
    odd_attach();
    old = odd_table;
    timers_clear(&odd_dev->timers);
    assert_int_equal(odd_table->irq_lower(odd_table, 0), 0);
    set_plain(77);
    assert_true(odd_table->timer_after(odd_table, 3600000 * MS, 0, 7, 3) > 0);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        create_result = ways[i].create;
        save_result = ways[i].save;
        load_result = ways[i].load;
        story[0] = 0;
        assert_int_equal(reload_now(odd_dev, why, sizeof why), -EIO);
        if (!ways[i].save)
            assert_string_equal(story, ways[i].story);
        assert_ptr_equal(&odd_dev->host->table, old);
        odd_table = old;
        assert_int_equal(plain(), 77);
        assert_int_equal(odd_dev->timers.pending, 1);
        assert_false(odd_dev->stopped);
        assert_false(irq_asserted(odd_dev->irq));
        watched = 0;
        eventfd_write(fd, 1);
        odd_run(&watched, MS);
        assert_int_equal(watched, 1);
    }
    create_result = save_result = load_result = 0;
    assert_int_equal(reload_now(odd_dev, why, sizeof why), 0);
    assert_int_equal(plain(), 77);
}

static void not_now(void **state)
{
    (void)state;
    odd_make();
    device_freeze(odd_dev);
    assert_int_equal(reload_now(odd_dev, why, sizeof why), -EBUSY);
    odd_assert_said_once("stopped for migration");
    device_thaw(odd_dev);
    assert_int_equal(reload_now(odd_dev, why, sizeof why), 0);
}

static void without_the_flag(void **state)
{
    (void)state;
    odd_plan.caps &= ~VFU_CAP_RELOAD;
    odd_make();
    odd_attach();
    set_plain(77);
    story[0] = 0;
    assert_int_equal(reload_now(odd_dev, why, sizeof why), 0);
    assert_string_equal(story, "quiesce create attach quiesce destroy resume ");
    assert_int_equal(plain(), 5); /* what create has set */
    assert_int_equal(odd_dev->timers.pending, 1);
    odd_assert_said_once("does not declare VFU_CAP_RELOAD");
}

/* ---- threads of the plugin's own ---- */

static atomic_int stop_threads, reloads;

static void *work(void *arg)
{
    const struct vfu_host *host = arg;

    while (!stop_threads) {
        int64_t id = host->timer_after(host, 3600000 * MS, 0, 1, 0);

        host->granted(host);
        host->now(host);
        if (id > 0)
            host->timer_cancel(host, id);
    }
    return NULL;
}

static pthread_t worker;
static bool working;

/* Each instance has one of its own, which ends with it. */
static int32_t create_worker(const struct vfu_host *host)
{
    (void)host;
    return 0;
}

static void start_worker(void *self)
{
    (void)self;
    if (working)
        return;
    stop_threads = 0;
    assert_int_equal(pthread_create(&worker, NULL, work, (void *)(uintptr_t)odd_table), 0);
    working = true;
}

static void end_worker(void *self)
{
    (void)self;
    stop_threads = 1;
    if (working)
        pthread_join(worker, NULL);
    working = false;
}

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void again(void *arg)
{
    assert_int_equal(reload_now(arg, why, sizeof why), 0);
    if (atomic_fetch_add(&reloads, 1) < 20)
        loop_post(&odd_dev->loop, again, arg);
    else
        loop_stop(&odd_dev->loop);
}

static void under_threads(void **state)
{
    pthread_t loop;

    (void)state;
    odd_plan.caps |= VFU_CAP_THREADS;
    odd_plan.create = create_worker;
    odd_plan.save = NULL;
    odd_plan.quiesce = NULL;
    odd_plan.resume = start_worker;
    odd_plan.destroy = end_worker;
    odd_make();
    start_worker(NULL);
    reloads = 0;
    loop_post(&odd_dev->loop, again, odd_dev);
    assert_int_equal(pthread_create(&loop, NULL, run_loop, &odd_dev->loop), 0);
    pthread_join(loop, NULL);
    assert_int_equal(reloads, 21);
    device_free(odd_dev); /* its thread waits in a call, perhaps, which this answers */
    odd_dev = NULL;
    assert_false(working);
    assert_int_equal(odd_said("plugin fault"), 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(in_order), CASE(what_is_pending),  CASE(windows_end), CASE(ways_back),
        CASE(not_now),  CASE(without_the_flag), CASE(under_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
