/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/plugin: finding files, and tables that are short, long, of another time or incomplete. One thread;
 * log_write is replaced. odd_plugin.so hands out the table that a test has made; it ends at a page that cannot be read.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "core/plugin/plugin.h"

#define HOST PLUGIN_HOST_CAPS
#define PAGE 4096u

/* ---- in place of core/base/log.c -------------------------------------------------------------------------------- */

int log_threshold = LOG_WARN;
static unsigned errors, warnings;
static char last_line[2 * PATH_MAX];

void log_write(const char *who, enum log_level level, const char *format, ...)
{
    va_list args;
    int n = snprintf(last_line, sizeof last_line, "%s: ", who ? who : "-");

    va_start(args, format);
    vsnprintf(last_line + n, sizeof last_line - (size_t)n, format, args);
    va_end(args);
    errors += level == LOG_ERROR;
    warnings += level == LOG_WARN;
}

/* ---- helpers ----------------------------------------------------------------------------------------------- */

static char dir[] = "/tmp/test_plugin.XXXXXX"; /* for files that a test makes */
static char odd[PATH_MAX], none[PATH_MAX], libs[PATH_MAX];
static uint8_t *page; /* one that can be read, one that cannot */

static int32_t describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    (void)host;
    (void)params;
    (void)desc;
    return 0;
}

static int32_t create(const struct vfu_host *host, const struct vfu_params *params, void **self)
{
    (void)host;
    (void)params;
    (void)self;
    return 0;
}

static int32_t reset(void *self, uint32_t kind)
{
    (void)self;
    (void)kind;
    return 0;
}

static void event(void *self, uint32_t number, uint64_t arg)
{
    (void)self;
    (void)number;
    (void)arg;
}

static const struct vfu_plugin good = {
    .struct_size = sizeof good,
    .abi_version = VFU_ABI_VERSION,
    .name = "odd",
    .version = "1",
    .sdk = "0.0.1-test",
    .describe = describe,
    .create = create,
};

static int load(const char *spec, uint64_t caps, struct plugin **plugin)
{
    errors = warnings = 0;
    last_line[0] = '\0';
    *plugin = NULL;
    return plugin_load(plugin, spec, caps);
}

/* A load that fails, with one line that says these words. */
static void refused(const char *spec, int error, const char *words)
{
    struct plugin *plugin;
    int result = load(spec, HOST, &plugin);

    if (result != error || errors != 1 || plugin || !strstr(last_line, words))
        fail_msg("%s: %d with %u lines: %s", spec, result, errors, last_line);
}

static void hand_out(const void *table)
{
    char text[32];

    snprintf(text, sizeof text, "%llx", (unsigned long long)(uintptr_t)table);
    assert_int_equal(setenv("VFU_TEST_TABLE", text, 1), 0);
}

/* The first n bytes of the table; what is behind them cannot be read. */
static void put_table(const struct vfu_plugin *table, size_t n)
{
    assert_true(n <= PAGE);
    memcpy(page + PAGE - n, table, n < sizeof *table ? n : sizeof *table);
    hand_out(page + PAGE - n);
}

static void table_refused(const struct vfu_plugin *table, int error, const char *words)
{
    put_table(table, sizeof *table);
    refused(odd, error, words);
}

static void table_taken(const struct vfu_plugin *table, unsigned warned)
{
    struct plugin *plugin;

    put_table(table, sizeof *table);
    if (load(odd, HOST, &plugin))
        fail_msg("refused: %s", last_line);
    assert_int_equal(errors, 0);
    assert_int_equal(warnings, warned);
    assert_string_equal(plugin->path, odd);
    assert_null(plugin->source);
    assert_memory_equal(&plugin->table, table, sizeof *table);
    plugin_unload(plugin);
}

static char *file_named(const char *name, const char *content)
{
    static char path[PATH_MAX];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (content) {
        f = fopen(path, "w");
        assert_non_null(f);
        fputs(content, f);
        fclose(f);
    }
    return path;
}

static int begin(void **state)
{
    ssize_t n = readlink("/proc/self/exe", libs, sizeof libs - 32);

    (void)state;
    if (n <= 0 || !mkdtemp(dir))
        return -1;
    libs[n] = '\0';
    strcpy(strrchr(libs, '/'), "/.libs");
    if (snprintf(odd, sizeof odd, "%s/odd_plugin.so", libs) >= (int)sizeof odd ||
        snprintf(none, sizeof none, "%s/no_plugin.so", libs) >= (int)sizeof none)
        return -1;
    page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsetenv("VFU_PLUGIN_PATH");
    return page == MAP_FAILED || mprotect(page + PAGE, PAGE, PROT_NONE) ? -1 : 0;
}

static int end(void **state)
{
    DIR *list = opendir(dir);
    struct dirent *entry;

    (void)state;
    while (list && (entry = readdir(list))) {
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(list), entry->d_name, entry->d_type == DT_DIR ? AT_REMOVEDIR : 0);
    }
    if (list)
        closedir(list);
    return rmdir(dir);
}

/* ---- files ------------------------------------------------------------------------------------------------- */

static void test_missing(void **state)
{
    char longest[PATH_MAX + 100];
    char *path;

    (void)state;
    refused("/no/such/file.so", -ENOENT, "/no/such/file.so");
    refused("no-such-file.so", -ENOENT, "no-such-file.so");
    refused("no/such", -ENOENT, "no/such");
    refused("/", -ENOENT, "no plugin file");
    refused("no-such-device", -ENOENT, "no plugin named no-such-device");
    refused("", -ENOENT, "no plugin named");
    refused(".", -ENOENT, "no plugin named");
    refused("/no/such/script.lua", -ENOENT, "/no/such/script.lua");
    refused(".lua", -ENOENT, "script");
    refused("%s%n%s", -ENOENT, "%s%n%s");
    memset(longest, 'n', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    refused(longest, -ENOENT, "no plugin named");
    longest[0] = '/';
    refused(longest, -ENOENT, "no plugin file");
    path = file_named("folder.so", NULL);
    assert_int_equal(mkdir(path, 0700), 0);
    refused(path, -ENOENT, "no plugin file");
    path = file_named("fifo.so", NULL);
    assert_int_equal(mkfifo(path, 0600), 0); /* would wait for ever if it were opened */
    refused(path, -ENOENT, "no plugin file");
}

static void test_no_plugin(void **state)
{
    char head[48]; /* less than an ELF header */
    FILE *f;

    (void)state;
    refused(file_named("empty.so", ""), -ENOEXEC, "cannot load");
    refused(file_named("text.so", "#!/bin/sh\nexit 0\n"), -ENOEXEC, "cannot load");
    refused(none, -ENOEXEC, "no symbol vfu_plugin_entry");
    /* The beginning of a good one. */
    f = fopen(odd, "r");
    assert_non_null(f);
    assert_int_equal(fread(head, 1, sizeof head, f), sizeof head);
    fclose(f);
    f = fopen(file_named("torn.so", NULL), "w");
    assert_non_null(f);
    assert_int_equal(fwrite(head, 1, sizeof head, f), sizeof head);
    fclose(f);
    refused(file_named("torn.so", NULL), -ENOEXEC, "cannot load");
}

static void test_search(void **state)
{
    struct plugin *plugin;
    char path[3 * PATH_MAX], script[PATH_MAX];

    (void)state;
    put_table(&good, sizeof good);
    refused("odd_plugin", -ENOENT, "VFU_PLUGIN_PATH");
    snprintf(path, sizeof path, "::/no/such/place:%s:", libs);
    setenv("VFU_PLUGIN_PATH", path, 1);
    assert_int_equal(load("odd_plugin", HOST, &plugin), 0);
    assert_string_equal(plugin->path, odd);
    plugin_unload(plugin);
    setenv("VFU_PLUGIN_PATH", ":::", 1);
    refused("odd_plugin", -ENOENT, "no plugin named odd_plugin");
    memset(path, 'p', sizeof path - 1); /* longer than a path may be */
    path[sizeof path - 1] = '\0';
    setenv("VFU_PLUGIN_PATH", path, 1);
    refused("odd_plugin", -ENOENT, "no plugin named odd_plugin");

    /* A script runs in the plugin named lua. */
    snprintf(script, sizeof script, "%s", file_named("device.lua", "return 1\n"));
    setenv("VFU_PLUGIN_PATH", dir, 1);
    refused(script, -ENOENT, "no plugin named lua");
    assert_int_equal(symlink(odd, file_named("lua.so", NULL)), 0);
    assert_int_equal(load(script, HOST, &plugin), 0);
    assert_string_equal(plugin->source, script);
    assert_string_equal(plugin->path, file_named("lua.so", NULL));
    plugin_unload(plugin);
    unsetenv("VFU_PLUGIN_PATH");
    plugin_unload(NULL);
}

/* ---- tables ------------------------------------------------------------------------------------------------ */

static void test_good(void **state)
{
    struct vfu_plugin table = good;

    (void)state;
    table_taken(&table, 0);
    table.caps = VFU_CAP_DMA | VFU_CAP_MSI | VFU_CAP_RESET | VFU_CAP_TIMERS;
    table.needs = HOST;
    table.reset = reset;
    table.event = event;
    table_taken(&table, 0);
    table.needs |= VFU_CAP_CLIENT_FDS | VFU_CAP_CLIENT_TWIN_SOCKET; /* are asked of each client */
    table_taken(&table, 0);
}

static void test_no_table(void **state)
{
    (void)state;
    hand_out(NULL);
    refused(odd, -ENOEXEC, "returned NULL");
}

static void test_versions(void **state)
{
    static const struct {
        uint32_t version;
        const char *words;
    } bad[] = { { 0, "rebuild it" },
                { VFU_ABI_VERSION & 0xffff, "rebuild it" },
                { (VFU_ABI_MAJOR + 1) << 16, "newer vfu-host" },
                { UINT32_MAX, "newer vfu-host" } };
    struct vfu_plugin table = good;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        table.abi_version = bad[i].version;
        table_refused(&table, -ENOEXEC, bad[i].words);
    }
    table.abi_version = VFU_ABI_VERSION | 0xffff;
    table_taken(&table, 0);
}

static void test_absurd_sizes(void **state)
{
    static const uint32_t sizes[] = {
        0,
        1,
        7,
        8,
        16,
        (uint32_t)offsetof(struct vfu_plugin, describe) - 8,
        (uint32_t)sizeof good - 4,
        (uint32_t)sizeof good + 1,
        65544,
        0x80000000u,
        UINT32_MAX,
    };
    struct vfu_plugin table = good;

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        table.struct_size = sizes[i];
        put_table(&table, 8); /* no more than these two numbers may be read */
        refused(odd, -ENOEXEC, "bytes long");
        table.abi_version = 0;
        put_table(&table, 8);
        refused(odd, -ENOEXEC, "plugin ABI 0.0");
        table.abi_version = VFU_ABI_VERSION;
    }
}

/* Every length from the shortest on, each with nothing readable behind it. */
static void test_shorter(void **state)
{
    struct vfu_plugin table = good;
    struct plugin *plugin;

    (void)state;
    table.caps = VFU_CAP_RESET | VFU_CAP_TIMERS;
    table.reset = reset;
    table.event = event;
    for (size_t n = offsetof(struct vfu_plugin, describe); n < sizeof table; n += sizeof(void *)) {
        table.struct_size = (uint32_t)n;
        put_table(&table, n);
        if (n <= offsetof(struct vfu_plugin, describe)) {
            refused(odd, -ENOEXEC, "no describe callback");
        } else if (n <= offsetof(struct vfu_plugin, create)) {
            refused(odd, -ENOEXEC, "no create callback");
        } else if (n <= offsetof(struct vfu_plugin, reset)) {
            refused(odd, -ENOEXEC, "VFU_CAP_RESET");
        } else if (n <= offsetof(struct vfu_plugin, event)) {
            refused(odd, -ENOEXEC, "VFU_CAP_TIMERS");
        } else {
            assert_int_equal(load(odd, HOST, &plugin), 0);
            assert_memory_equal(&plugin->table, &table, n);
            for (size_t i = n; i < sizeof table; i++)
                assert_int_equal(((uint8_t *)&plugin->table)[i], 0);
            plugin_unload(plugin);
        }
    }
}

static void test_longer(void **state)
{
    struct {
        struct vfu_plugin table;
        uint8_t more[400];
    } longer;
    struct plugin *plugin;

    (void)state;
    memset(&longer, 0xa5, sizeof longer);
    longer.table = good;
    longer.table.struct_size = sizeof longer;
    longer.table.abi_version = VFU_ABI_VERSION + 1;
    memcpy(page + PAGE - sizeof longer, &longer, sizeof longer);
    hand_out(page + PAGE - sizeof longer);
    assert_int_equal(load(odd, HOST, &plugin), 0);
    assert_memory_equal(&plugin->table, &longer.table, sizeof longer.table);
    plugin_unload(plugin);
}

static void test_names(void **state)
{
    static const char *const bad[] = { "",         " ",   "a b", "a/b",      "../x", ".",       ".hidden", "a\n",
                                       "\x1b[31m", "a:b", "a=b", "\xc3\xa4", "a,b",  "nul\x7f", "%n" };
    char name[66];
    struct vfu_plugin table = good;

    (void)state;
    table.name = NULL;
    table_refused(&table, -ENOEXEC, "missing");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        table.name = bad[i];
        table_refused(&table, -ENOEXEC, "make a name");
    }
    memset(name, 'n', sizeof name);
    name[65] = '\0';
    table.name = name;
    table_refused(&table, -ENOEXEC, "make a name");
    name[64] = '\0';
    table_taken(&table, 0);
    table.name = "A-z_0.9";
    table_taken(&table, 0);
}

static void test_missing_callbacks(void **state)
{
    struct vfu_plugin table = good;

    (void)state;
    table.describe = NULL;
    table_refused(&table, -ENOEXEC, "odd: has no describe callback");
    table.create = NULL;
    table_refused(&table, -ENOEXEC, "describe");
    table.describe = describe;
    table_refused(&table, -ENOEXEC, "odd: has no create callback");
    table.create = create;
    table.caps = VFU_CAP_RESET;
    table_refused(&table, -ENOEXEC, "VFU_CAP_RESET but has no reset");
    table.caps = VFU_CAP_TIMERS;
    table.reset = reset;
    table_refused(&table, -ENOEXEC, "VFU_CAP_TIMERS but has no event");
    /* The other way round it loads, and the author learns of it. */
    table.caps = 0;
    table.event = event;
    table_taken(&table, 2);
}

static void test_capabilities(void **state)
{
    struct vfu_plugin table = good;
    struct plugin *plugin;

    (void)state;
    table.needs = UINT64_C(1) << 40;
    table_refused(&table, -ENOTSUP, "bit40");
    assert_non_null(strstr(last_line, "0.0.1-test"));
    table.needs = UINT64_MAX;
    table_refused(&table, -ENOTSUP, "does not offer");
    table.sdk = NULL;
    table_refused(&table, -ENOTSUP, "SDK unknown");
    table.needs = VFU_CAP_DMA | VFU_CAP_MSI;
    put_table(&table, sizeof table);
    assert_int_equal(load(odd, HOST & ~VFU_CAP_DMA, &plugin), -ENOTSUP);
    assert_non_null(strstr(last_line, "needs dma, which --deny has taken away"));
    assert_int_equal(load(odd, 0, &plugin), -ENOTSUP);
    assert_non_null(strstr(last_line, "needs dma,msi,"));
    /* To be able to do what the host does not know is no fault. */
    table.needs = 0;
    table.caps = UINT64_C(1) << 63;
    table_taken(&table, 1);
    assert_non_null(strstr(last_line, "bit63"));
}

static void test_cap_names(void **state)
{
    char text[1024], small[8];
    uint64_t seen = 0;

    (void)state;
    plugin_cap_names(0, text, sizeof text);
    assert_string_equal(text, "");
    plugin_cap_names(VFU_CAP_DMA | VFU_CAP_DMA_MAP | UINT64_C(1) << 50, text, sizeof text);
    assert_string_equal(text, "dma,dma_map,bit50");
    plugin_cap_names(UINT64_MAX, text, sizeof text);
    assert_true(strlen(text) < sizeof text - 1);
    for (char *name = strtok(text, ","); name; name = strtok(NULL, ",")) {
        uint64_t flag = plugin_cap_of(name, strlen(name));

        assert_true(flag || strncmp(name, "bit", 3) == 0);
        assert_false(seen & flag);
        seen |= flag;
    }
    assert_true((seen & HOST) == HOST);
    memset(small, 'x', sizeof small);
    plugin_cap_names(UINT64_MAX, small, sizeof small - 1);
    assert_string_equal(small, "dma,dm"); /* cut */
    assert_int_equal(small[7], 'x');
    assert_true(plugin_cap_of("dma", 3) == VFU_CAP_DMA);
    assert_true(plugin_cap_of("dma_map", 3) == VFU_CAP_DMA);
    assert_true(plugin_cap_of("dma", 2) == 0);
    assert_true(plugin_cap_of("DMA", 3) == 0);
    assert_true(plugin_cap_of("", 0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_no_plugin),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_no_table),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_absurd_sizes),
        cmocka_unit_test(test_shorter),
        cmocka_unit_test(test_longer),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_missing_callbacks),
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_cap_names),
    };

    return cmocka_run_group_tests_name("plugin", tests, begin, end);
}
