/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/inner, <vfu/wrap.h> and the plugin filter: plugins inside of plugins, and what a filter does to edu.
 * One thread, but for one of a plugin that may not have any.
 */
#include "tests/unit/odd_host.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUEST UINT64_C(0x10000)

static uint64_t reg(uint64_t offset)
{
    uint64_t value = 0;

    assert_int_equal(device_read(odd_dev, 0, offset, offset >= 0x80 ? 8 : 4, (uint8_t *)&value), 0);
    return value;
}

static void put(uint64_t offset, uint64_t value)
{
    assert_int_equal(device_write(odd_dev, 0, offset, offset >= 0x80 ? 8 : 4, (uint8_t *)&value), 0);
}

/* A filter in a filter in a filter, with edu in the middle of it. Found where the build has put them. */
static char edu_item[PATH_MAX + 32], filter_path[PATH_MAX];

static void make_filters(int deep, const char *more)
{
    char path[PATH_MAX], inner[8][PATH_MAX + 128], *items[8];
    const char *before = "";
    char prefix[64] = "";
    uint32_t n = 0;

    odd_built(filter_path, "plugins/filter/.libs/filter.so");
    for (int i = 1; i < deep; i++) {
        snprintf(inner[n], sizeof inner[n], "%splugin=%s", prefix, filter_path);
        items[n] = inner[n];
        n++;
        strcat(prefix, "inner.");
    }
    snprintf(edu_item, sizeof edu_item, "%splugin=%s%s", prefix, before, odd_built(path, "plugins/edu/.libs/edu.so"));
    items[n++] = edu_item;
    if (more) {
        snprintf(inner[n], sizeof inner[n], "%s", more);
        items[n] = inner[n];
        n++;
    }
    assert_int_equal(odd_make_with(filter_path, items, n, 0), 0);
}

static void test_filter_is_edu(void **state)
{
    (void)state;
    for (int deep = 1; deep <= 3; deep++) {
        make_filters(deep, NULL);
        assert_string_equal(odd_dev->name, "edu");
        assert_int_equal(odd_dev->ninners, deep);
        assert_int_equal(reg(0), 0x010000ed);
        put(4, 0x12345678);
        assert_int_equal(reg(4), (uint32_t)~0x12345678);
        put(8, 5); /* its event finds its way in */
        odd_run(NULL, 3 * MS);
        assert_int_equal(reg(8), 120);
        put(0x60, 0x10);
        assert_int_equal(reg(0x24), 0x10);
        assert_int_equal(device_reset(odd_dev, VFU_RESET_BUS), 0);
        assert_int_equal(reg(0x24), 0);
        device_free(odd_dev);
        odd_dev = NULL;
    }
    assert_int_equal(odd_nlines, 0);
}

/* edu's DMA into shared memory. The byte that arrives, or -1: edu has reported a failure. */
static int edu_dma(uint8_t *memory, uint8_t byte, uint64_t wait)
{
    unsigned before = odd_said("DMA read of 1 bytes");

    memory[0] = byte;
    memory[64] = 0;
    put(0x80, GUEST);
    put(0x88, 0x40000);
    put(0x90, 1);
    put(0x98, 1);
    for (int i = 0; i < 100 && (reg(0x98) & 1); i++)
        odd_run(NULL, wait);
    assert_int_equal(reg(0x98) & 1, 0);
    if (odd_said("DMA read of 1 bytes") > before)
        return -1;
    put(0x80, 0x40000);
    put(0x88, GUEST + 64);
    put(0x98, 3);
    for (int i = 0; i < 100 && (reg(0x98) & 1); i++)
        odd_run(NULL, wait);
    return memory[64];
}

static uint8_t *share_memory(void)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    uint8_t *memory;

    assert_int_equal(ftruncate(fd, 4096), 0);
    memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_true(memory != MAP_FAILED);
    assert_int_equal(dma_map(odd_dev->dma, GUEST, 4096, VFU_DMA_MAP_READABLE | VFU_DMA_MAP_WRITEABLE, fd, 0), 0);
    close(fd);
    return memory;
}

static void test_filter_fails_third(void **state)
{
    uint8_t *memory;

    (void)state;
    for (int deep = 1; deep <= 3; deep++) {
        odd_nlines = 0;
        make_filters(deep, deep == 2 ? "inner.fail_nth=3" : "fail_nth=3");
        odd_attach();
        memory = share_memory();
        assert_int_equal(edu_dma(memory, 0x31, MS), 0x31);
        assert_int_equal(edu_dma(memory, 0x32, MS), -1);
        assert_int_equal(odd_said("Input/output error"), 1);
        assert_int_equal(edu_dma(memory, 0x33, MS), 0x33);
        munmap(memory, 4096);
        odd_teardown(NULL);
    }
}

static void test_filter_delays(void **state)
{
    uint8_t *memory;
    uint64_t start;

    (void)state;
    make_filters(2, "delay=0.01");
    odd_attach();
    memory = share_memory();
    start = loop_now();
    assert_int_equal(edu_dma(memory, 0x44, MS), 0x44);
    assert_true(loop_now() - start >= 20 * MS);
    /* One that is late when the device is reset, and one when the client goes, are cancelled. */
    put(0x80, GUEST);
    put(0x88, 0x40000);
    put(0x98, 1);
    odd_run(NULL, 2 * MS);
    assert_int_equal(device_reset(odd_dev, VFU_RESET_BUS), 0);
    odd_run(NULL, 15 * MS);
    assert_int_equal(reg(0x98), 0);
    put(0x80, GUEST);
    put(0x88, 0x40000);
    put(0x98, 1);
    odd_run(NULL, 2 * MS);
    device_detach(odd_dev);
    odd_run(NULL, 15 * MS);
    assert_int_equal(odd_nlines, 0);
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
    assert_int_equal(odd_make_with(odd_built(path, "plugins/edu/.libs/edu.so"), NULL, 0, 0), 0);
    put(8, 6);
    put(4, 0x99);
    assert_int_equal(migration_set(odd_dev, MIGRATION_STOP_COPY), 0);
    while ((n = migration_read(odd_dev, bytes, sizeof bytes)) > 0)
        assert_int_equal(image_append(&image, bytes, (uint64_t)n), 0);
    bare = odd_dev;
    make_filters(2, NULL);
    assert_int_equal(migration_set(odd_dev, MIGRATION_RESUMING), 0);
    assert_int_equal(migration_write(odd_dev, image.data, (uint32_t)image.size), 0);
    assert_int_equal(migration_set(odd_dev, MIGRATION_RUNNING), 0);
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
    odd_attach();
    kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    assert_int_equal(irq_set(odd_dev->irq, &set, NULL, 0, &kept, 1), 0);
    put(0x60, 1);
    assert_int_equal(interrupts(fd), 1);
    put(0x60, 2);
    assert_int_equal(interrupts(fd), 0);
    put(0x60, 2); /* does not rise */
    put(0x64, 3);
    odd_run(NULL, MS);
    assert_int_equal(interrupts(fd), 0);
    put(0x60, 4);
    assert_int_equal(interrupts(fd), 1);
    close(fd);
}

static void *call_from_thread(void *arg)
{
    odd_table->log(odd_table, VFU_LOG_WARN, "from a thread");
    *(int32_t *)arg = odd_table->irq_raise(odd_table, 0);
    odd_table->irq_raise(odd_table, 0);
    return NULL;
}

static void test_filter_names_culprits(void **state)
{
    char path[PATH_MAX], odd[PATH_MAX + 16], *items[] = { odd, NULL };
    pthread_t thread;
    int32_t result;

    (void)state;
    snprintf(odd, sizeof odd, "plugin=%s", odd_built(path, "tests/unit/.libs/odd_plugin.so"));
    assert_int_equal(odd_make_with(odd_built(filter_path, "plugins/filter/.libs/filter.so"), items, 1, 0), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(odd_table->poll_every(odd_table, MS), -ENOTSUP);
        assert_int_equal(odd_table->timer_after(odd_table, 0, 0, 0x1000000, 0), -EINVAL);
    }
    odd_assert_said_once("filter/odd: plugin fault (odd): poll_every is called, but poll is not declared");
    assert_int_equal(pthread_create(&thread, NULL, call_from_thread, &result), 0);
    pthread_join(thread, NULL);
    assert_int_equal(result, -EPERM);
    odd_assert_said_once("filter/odd: plugin fault (odd): irq_raise is called from a thread");
    odd_assert_said_once("filter/odd: from a thread");
    assert_true(odd_table->timer_after(odd_table, 0, 0, 1, 0) > 0);
}

static struct vfu_inner *opened;
static int32_t open_result;

static int32_t open_itself(const struct vfu_host *t)
{
    char path[PATH_MAX];

    for (int i = 0; i < 20; i++) {
        open_result = t->open(t, odd_built(path, "plugins/null/.libs/null.so"), NULL, 0, &opened);
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
    odd_plan.on_describe = open_itself;
    odd_make();
    assert_int_equal(open_result, -ELOOP);
    assert_int_equal(odd_dev->ninners, INNER_MAX);
    odd_built(path, "plugins/null/.libs/null.so");
    assert_int_equal(odd_table->open(odd_table, path, NULL, 0, &opened), -EINVAL);
    odd_assert_said_once("open is called outside of describe");
}

static int32_t open_nothing(const struct vfu_host *t)
{
    const char *const items[] = { "no=1" };
    char path[PATH_MAX];

    assert_int_equal(t->open(t, "/nowhere/at/all.so", NULL, 0, &opened), -ENOENT);
    assert_int_equal(t->open(t, odd_built(path, "plugins/edu/.libs/edu.so"), items, 1, &opened), -EINVAL);
    return -EINVAL;
}

static void test_open_fails(void **state)
{
    char path[PATH_MAX];

    (void)state;
    odd_plan.on_describe = open_nothing;
    assert_int_equal(odd_make_with(odd_built(path, "tests/unit/.libs/odd_plugin.so"), NULL, 0, 0), -EINVAL);
    assert_null(odd_dev);
    odd_assert_said_once("odd/edu: no parameter named no");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, odd_setup, odd_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_filter_is_edu),
        TEST(test_filter_fails_third),
        TEST(test_filter_delays),
        TEST(test_filter_migrates),
        TEST(test_filter_drops_irq),
        TEST(test_filter_names_culprits),
        TEST(test_open),
        TEST(test_open_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
