/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unit test of what watches accesses: core/coverage's counters and reports, core/unmodelled's table and sentences,
 * core/trace's lines and folding, core/spin, with a time of the test's own. One thread.
 */
#include "tests/unit/odd_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/inspect/coverage.h"
#include "core/inspect/spin.h"
#include "core/inspect/trace.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

/* ---- a map of every kind of register */

static const struct vfu_enum directions[] = { { "to_device", 0 }, { "to_host", 1 } };
static const struct vfu_enum colours[] = { { "red", 0x100 }, { "green", 0x200 } };
static const struct vfu_field cmd_fields[] = {
    { .name = "RUN", .lsb = 0, .width = 1 },
    { .name = "DIR", .lsb = 1, .width = 1, .nenums = 2, .enums = directions },
    { .name = "COLOUR", .lsb = 16, .width = 16, .nenums = 2, .enums = colours },
    { .name = "LEN", .lsb = 4, .width = 12 },
};
static const struct vfu_field big_fields[] = { { .name = "LOW", .lsb = 0, .width = 8 }, { .name = "HIGH", .lsb = 8, .width = 8 } };

static const struct vfu_reg regs[] = {
    { .name = "CMD", .offset = 0x98, .size = 4, .group = VFU_NONE, .flags = VFU_REG_HOOK_WRITE, .nfields = 4,
      .fields = cmd_fields, .field_size = sizeof cmd_fields[0] },
    { .name = "RING", .offset = 0x10, .size = 4, .group = VFU_NONE, .count = 4, .flags = VFU_REG_HOOK_READ },
    { .name = "CTRL", .offset = 4, .size = 2, .group = 0, .nfields = 2, .fields = big_fields,
      .field_size = sizeof big_fields[0], .flags = VFU_REG_BIG_ENDIAN },
};
static const struct vfu_group groups[] = { { .name = "CH", .offset = 0x200, .count = 3, .stride = 0x10 } };
static const struct vfu_regmap description = {
    .struct_size = sizeof description,
    .regs = regs,
    .nregs = LENGTH(regs),
    .reg_size = sizeof regs[0],
    .groups = groups,
    .ngroups = 1,
    .group_size = sizeof groups[0],
};

static unsigned hooks;

static int32_t on_hook(void *self, struct vfu_reg_call *call)
{
    assert_ptr_equal(self, &hooks);
    assert_true(call->hook == 0);
    hooks++;
    return 0;
}

static struct regmap *map;

static int make_map(void **state)
{
    static const struct vfu_regmap_ops ops = { .struct_size = sizeof ops, .read = on_hook, .write = on_hook };
    const uint64_t sizes[REGMAP_REGIONS] = { 4096 };

    (void)state;
    odd_nlines = 0;
    hooks = 0;
    if (regmap_new(&map, "test", &description, sizes))
        return -1;
    return regmap_bind(map, &ops, &hooks);
}

static int free_map(void **state)
{
    (void)state;
    regmap_free(map);
    return 0;
}

static const struct reg_cell *cell_at(uint64_t offset)
{
    uint64_t span;
    const struct reg_cell *cell = regmap_find(map, 0, offset, offset + 1, &span);

    assert_non_null(cell);
    return cell;
}

/* ---- lines */

static char said[64][600];
static unsigned nsaid;

static void hear(void *ctx, const char *text)
{
    (void)ctx;
    assert_true(nsaid < LENGTH(said));
    snprintf(said[nsaid++], sizeof said[0], "%s", text);
}

static void heard(const char *const *lines, unsigned n)
{
    for (unsigned i = 0; i < n && i < nsaid; i++)
        assert_string_equal(said[i], lines[i]);
    assert_int_equal(nsaid, n);
    nsaid = 0;
}
#define HEARD(...)                                                                                                     \
    do {                                                                                                               \
        const char *const lines_[] = { __VA_ARGS__ };                                                                  \
        heard(lines_, LENGTH(lines_));                                                                                 \
    } while (0)

static struct trace *new_trace(uint32_t bar)
{
    struct trace *trace;

    nsaid = 0;
    assert_int_equal(trace_new(&trace, "test", map, bar, NULL, hear, NULL), 0);
    return trace;
}

static void lines_name_registers(void **state)
{
    struct trace *trace = new_trace(0);
    const uint8_t three[] = { 3, 0, 0, 1 }, high[] = { 0x12, 0x34 };

    (void)state;
    trace_register(trace, cell_at(0x98), 0x98, 4, three, true);
    trace_register(trace, cell_at(0x98), 0x98, 1, three, true);
    trace_register(trace, cell_at(0x98), 0x9a, 2, three + 2, false);
    trace_register(trace, cell_at(0x18), 0x18, 4, three, false);
    trace_register(trace, cell_at(0x214), 0x214, 2, high, true);
    trace_bytes(trace, NULL, 0, 0x44, 4, (const uint8_t[4]){ 0 }, false, 0, "no register there");
    trace_bytes(trace, NULL, 2, 0x44, 2, NULL, true, -EINVAL, "misaligned");
    trace_free(trace);
    HEARD("write CMD.RUN=1 DIR=to_host COLOUR=red (0x98 <- 0x1000003)", "write CMD.RUN=1 DIR=to_host (0x98 <- 3, 1 byte)",
          "read CMD.COLOUR=red (0x9a -> 0x100, 2 bytes)", "read RING[2] (0x18 -> 0x1000003)",
          "write CH[1].CTRL.LOW=0x34 HIGH=0x12 (0x214 <- 0x1234)", "read bar0+0x44 -> 0 (no register there, 4 bytes)",
          "write bar2+0x44 <- EINVAL (misaligned, 2 bytes)");
    trace = new_trace(VFU_NONE);
    trace_register(trace, cell_at(0x98), 0x98, 4, (const uint8_t[4]){ 0 }, true);
    trace_free(trace);
    HEARD("write CMD.DIR=to_device (bar0+0x98 <- 0)");
}

static void play(struct trace *trace, const char *letters)
{
    for (; *letters; letters++)
        trace_line(trace, "%c", *letters);
}

static void repeats_are_counted(void **state)
{
    struct trace *trace = new_trace(0);

    (void)state;
    play(trace, "AB");
    for (int i = 0; i < 412; i++)
        play(trace, "B");
    play(trace, "CC");
    trace_flush(trace);
    play(trace, "CD");
    trace_free(trace);
    HEARD("A", "B", "... 412 more times", "C", "... once more", "... once more", "D");
}

static void poll_loops_are_counted(void **state)
{
    struct trace *trace = new_trace(0);

    (void)state;
    for (int i = 0; i < 1000; i++)
        play(trace, "AB");
    play(trace, "C");
    HEARD("A", "B", "A", "B", "... the last 2 lines 998 more times", "C");
    play(trace, "WXYZWXYZWXYZWXQ");
    HEARD("W", "X", "Y", "Z", "W", "X", "Y", "Z", "... the last 4 lines once more", "W", "X", "Q");
    play(trace, "ABCDEABCDEABCDE"); /* five are too many */
    assert_int_equal(nsaid, 15);
    nsaid = 0;
    trace_forget(trace);
    play(trace, "E");
    trace_free(trace);
    HEARD("E");
}

/* Whatever comes, the lines that were counted and those that were written add up. */
static void nothing_is_lost(void **state)
{
    struct trace *trace = new_trace(0);
    uint32_t random = 1;
    unsigned long total = 0;

    (void)state;
    for (int i = 0; i < 3000; i++) {
        random = random * 1664525 + 1013904223;
        trace_line(trace, "%c", "ABC"[(random >> 24) % 3]);
        if (i % 7 == 0)
            trace_flush(trace);
        for (unsigned line = 0; line < nsaid; line++) {
            unsigned long turn = 1, times = 1;

            if (strncmp(said[line], "... ", 4) == 0 && !strstr(said[line], "once") &&
                sscanf(said[line], "... the last %lu lines %lu more", &turn, &times) != 2)
                assert_int_equal(sscanf(said[line], "... %lu more", &times), 1);
            if (strstr(said[line], "once"))
                sscanf(said[line], "... the last %lu", &turn);
            total += turn * times;
        }
        nsaid = 0;
    }
    trace_flush(trace);
    for (unsigned line = 0; line < nsaid; line++)
        total += 1; /* at most one turn waits here; counted below */
    assert_in_range(total, 2992, 3000);
    nsaid = 0;
    trace_free(trace);
}

static void memory_is_a_range(void **state)
{
    struct trace *trace = new_trace(0);

    (void)state;
    for (uint32_t i = 0; i < 64; i++)
        trace_range(trace, "memory", 2, 0x100 + 4 * i, 4, true);
    trace_range(trace, "memory", 2, 0x200, 1, false);
    trace_line(trace, "interrupt %s", "INTx");
    trace_free(trace);
    HEARD("write bar2+0x100-0x1ff (memory, 256 bytes)", "read bar2+0x200-0x200 (memory, 1 byte)", "interrupt INTx");
}

/* A name or value as long as can be is cut, no more. */
static void long_lines_are_cut(void **state)
{
    struct trace *trace = new_trace(0);
    char text[4000];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    trace_line(trace, "%s", text);
    trace_line(trace, "%s", text);
    trace_free(trace);
    assert_int_equal(nsaid, 2);
    assert_int_equal(strlen(said[0]), 511);
    assert_string_equal(said[1], "... once more");
}

/* ---- polling */

#define MS_NS UINT64_C(1000000)

static void polling_is_named(void **state)
{
    const struct reg_cell *cell = cell_at(0x98);
    struct spin *spin;
    uint64_t now = 5000 * MS_NS;

    (void)state;
    nsaid = 0;
    assert_int_equal(spin_new(&spin, "test", map, NULL, 100, hear, NULL), 0);
    for (int i = 0; i < 100; i++)
        spin_read(spin, cell, 1, now);
    spin_tell(spin, UINT64_MAX);
    assert_int_equal(nsaid, 0); /* not more than 100 */
    for (int i = 0; i < 900; i++)
        spin_read(spin, cell, 1, now += MS_NS / 2);
    assert_int_equal(nsaid, 0); /* its second is not over */
    spin_tell(spin, now + 1000 * MS_NS);
    HEARD("the driver is polling CMD (bar0+0x98): 1,000 reads in a second, always 0x1 (RUN=1 DIR=to_device)");
    for (int i = 0; i < 5000; i++) /* and goes on: known */
        spin_read(spin, cell, 1, now += MS_NS / 2);
    spin_tell(spin, UINT64_MAX);
    assert_int_equal(nsaid, 0);
    spin_read(spin, cell, 2, now); /* it has stopped */
    for (int i = 0; i < 200; i++)
        spin_read(spin, cell, 2, now += MS_NS);
    spin_read(spin, cell, 3, now); /* before its second is over */
    HEARD("the driver is polling CMD (bar0+0x98): 201 reads in a second, always 0x2 (DIR=to_host)");
    now += 3000 * MS_NS;
    for (int i = 0; i < 200; i++)
        spin_read(spin, cell, 3, now);
    spin_tell(spin, UINT64_MAX);
    assert_int_equal(nsaid, 1);
    spin_free(spin);
}

/* 90 reads in each second do not make 100 in any, however they are spread; values that change never do. */
static void slow_reads_are_not(void **state)
{
    const struct reg_cell *cell = cell_at(0x10);
    struct spin *spin;
    uint64_t now = 1;

    (void)state;
    nsaid = 0;
    assert_int_equal(spin_new(&spin, "test", map, NULL, 100, hear, NULL), 0);
    for (int i = 0; i < 2000; i++)
        spin_read(spin, cell, 7, now += 1000 * MS_NS / 88);
    for (int i = 0; i < 5000; i++)
        spin_read(spin, cell, (uint64_t)i, now += 1000);
    spin_tell(spin, UINT64_MAX);
    assert_int_equal(nsaid, 0);
    spin_free(spin);
}

/* The second slides: a burst about the turn of a second is one. */
static void the_second_slides(void **state)
{
    const struct reg_cell *cell = cell_at(0x10);
    struct spin *spin;
    uint64_t now = 900 * MS_NS;

    (void)state;
    nsaid = 0;
    assert_int_equal(spin_new(&spin, "test", map, NULL, 100, hear, NULL), 0);
    for (int i = 0; i < 120; i++)
        spin_read(spin, cell, 7, now += 2 * MS_NS);
    spin_tell(spin, UINT64_MAX);
    assert_int_equal(nsaid, 1);
    for (int i = 0; i < 40; i++) /* more registers than can wait for their second */
        for (int n = 0; n < 101; n++)
            spin_read(spin, regmap_cell(map, (uint32_t)i % regmap_count(map)), (uint64_t)i + 100, now);
    spin_tell(spin, UINT64_MAX);
    assert_int_equal(nsaid, 41);
    spin_free(spin);
}

/* ---- counters */

static long long number(const json_t *object, const char *key)
{
    assert_true(json_is_integer(json_object_get(object, key)));
    return (long long)json_integer_value(json_object_get(object, key));
}

static const json_t *named(const json_t *list, const char *name)
{
    size_t i;
    json_t *item;

    json_array_foreach(list, i, item)
        if (strcmp(json_string_value(json_object_get(item, "name")), name) == 0)
            return item;
    fail_msg("%s is missing", name);
    return NULL;
}

static void assert_json(const json_t *value, const char *text)
{
    char *got = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);

    assert_non_null(got);
    assert_string_equal(got, text);
    free(got);
}

static json_t *report_of(struct coverage *coverage)
{
    struct device *dev = calloc(1, sizeof *dev);
    json_t *report;

    assert_non_null(dev);
    dev->map = map;
    dev->watch.coverage = coverage;
    unmodelled_note(&dev->watch.unmodelled, 0, 0x44, 4, UNMODELLED_NOTHING, 15, false, 0xffffffff);
    report = coverage_report(dev);
    assert_non_null(report);
    free(dev);
    return report;
}

static void counters_count(void **state)
{
    const uint8_t bytes[] = { 3, 0, 0, 1, 0, 0, 0, 0 };
    const json_t *registers, *cmd, *field;
    struct coverage *coverage;
    uint8_t in[8];
    json_t *report;

    (void)state;
    assert_int_equal(coverage_new(&coverage, map), 0);
    coverage_switch(coverage, true);
    coverage_access(coverage, cell_at(0x98), 0x98, 4, 4, bytes, true);
    regmap_write(map, (struct reg_cell *)(uintptr_t)cell_at(0x98), 0x98, 4, bytes);
    coverage_access(coverage, cell_at(0x98), 0x98, 1, 1, bytes + 1, false); /* LEN in part */
    coverage_access(coverage, cell_at(0x98), 0x9a, 2, 2, bytes, true);      /* a colour that has no name */
    coverage_access(coverage, cell_at(0x18), 0x18, 4, 8, bytes, false);
    regmap_read(map, (struct reg_cell *)(uintptr_t)cell_at(0x18), 0x18, 4, in);
    assert_int_equal(hooks, 2);
    report = report_of(coverage);
    assert_true(json_is_true(json_object_get(report, "on")));
    registers = json_object_get(report, "registers");
    assert_int_equal(json_array_size(registers), 8);
    cmd = named(registers, "CMD");
    assert_int_equal(number(cmd, "offset"), 0x98);
    assert_int_equal(number(cmd, "reads"), 1);
    assert_int_equal(number(cmd, "writes"), 2);
    assert_json(json_object_get(cmd, "widths"), "[1,2,4]");
    assert_json(json_object_get(cmd, "hooks"), "{\"read\":0,\"write\":1}");
    field = named(json_object_get(cmd, "fields"), "DIR");
    assert_json(field, "{\"name\":\"DIR\",\"read\":true,\"values\":[\"to_device\",\"to_host\"],\"written\":true}");
    field = named(json_object_get(cmd, "fields"), "COLOUR");
    assert_json(field, "{\"name\":\"COLOUR\",\"read\":false,\"values\":[\"red\",\"other\"],\"written\":true}");
    field = named(json_object_get(cmd, "fields"), "LEN");
    assert_json(field, "{\"name\":\"LEN\",\"read\":true,\"values\":[],\"written\":true}");
    field = named(json_object_get(cmd, "fields"), "RUN");
    assert_json(field, "{\"name\":\"RUN\",\"read\":true,\"values\":[0,1],\"written\":true}");
    assert_json(json_object_get(named(registers, "RING[2]"), "widths"), "[8]");
    assert_json(json_object_get(named(registers, "RING[2]"), "hooks"), "{\"read\":1,\"write\":0}");
    assert_int_equal(number(named(registers, "CH[2].CTRL"), "offset"), 0x224);
    assert_json(json_object_get(report, "summary"), "{\"fields\":10,\"fields_touched\":4,\"hooks\":2,\"hooks_run\":2,"
                "\"registers\":8,\"registers_touched\":2}");
    assert_json(json_object_get(report, "unmodelled"), "[{\"first\":\"0xffffffff\",\"offset\":68,\"reads\":1,"
                "\"region\":\"bar0\",\"size\":4,\"why\":\"no register there\",\"writes\":0}]");
    json_decref(report);

    coverage_switch(coverage, false); /* counters stay, hooks are the map's own */
    regmap_read(map, (struct reg_cell *)(uintptr_t)cell_at(0x18), 0x18, 4, in);
    assert_int_equal(hooks, 3);
    report = report_of(coverage);
    assert_true(json_is_false(json_object_get(report, "on")));
    assert_json(json_object_get(named(json_object_get(report, "registers"), "RING[2]"), "hooks"), "{\"read\":1,\"write\":0}");
    json_decref(report);
    coverage_reset(coverage);
    report = report_of(coverage);
    assert_int_equal(number(json_object_get(report, "summary"), "registers_touched"), 0);
    assert_int_equal(number(json_object_get(report, "summary"), "fields_touched"), 0);
    assert_int_equal(number(json_object_get(report, "summary"), "hooks_run"), 0);
    json_decref(report);
    coverage_free(coverage);
}

static char *printed(enum covfile_format format, const json_t *devices)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    assert_int_equal(covfile_print(out, format, devices), 0);
    fclose(out);
    return text;
}

static void files_say_the_same(void **state)
{
    const uint8_t bytes[] = { 3, 0, 0, 1 };
    struct coverage *coverage;
    json_t *devices, *back;
    char *text;

    (void)state;
    assert_int_equal(coverage_new(&coverage, map), 0);
    coverage_switch(coverage, true);
    coverage_access(coverage, cell_at(0x98), 0x98, 4, 4, bytes, true);
    devices = json_pack("[{s:s, s:o}]", "device", "a<b", "coverage", report_of(coverage));
    assert_non_null(devices);
    text = printed(COVFILE_TEXT, devices);
    assert_non_null(strstr(text, "a<b: 1 of 8 registers touched, 4 of 10 fields, 0 of 2 hooks run\n"));
    assert_non_null(strstr(text, "RUN=1(written)  DIR=to_host(written)  COLOUR=red(written)  LEN(written)\n"));
    assert_non_null(strstr(text, "not touched: RING[0], RING[1], RING[2], RING[3], CH[0].CTRL"));
    assert_non_null(strstr(text, "4 bytes, read 1, written 0, first 0xffffffff: no register there"));
    free(text);
    text = printed(COVFILE_XML, devices);
    assert_non_null(strstr(text, "<testsuite name=\"a&lt;b\" tests=\"0\""));
    assert_non_null(strstr(text, "<property name=\"vfu.coverage.registers_touched\" value=\"1\"/>"));
    assert_non_null(strstr(text, "<property name=\"vfu.register.CMD\" value=\"reads=0 writes=1\"/>"));
    assert_non_null(strstr(text, "<property name=\"vfu.field.CMD.DIR\" value=\"written\"/>"));
    assert_non_null(strstr(text, "<property name=\"vfu.unmodelled.bar0+0x44/4\" value=\"reads=1 writes=0: no register there\"/>"));
    free(text);
    text = printed(COVFILE_JSON, devices);
    back = json_loads(text, 0, NULL);
    assert_non_null(back);
    assert_true(json_equal(json_object_get(back, "devices"), devices));
    json_decref(back);
    free(text);
    json_decref(devices);
    coverage_free(coverage);
    assert_int_equal(covfile_format("-"), COVFILE_TEXT);
    assert_int_equal(covfile_format("a.b.json"), COVFILE_JSON);
    assert_int_equal(covfile_format("x.xml"), COVFILE_XML);
    assert_int_equal(covfile_format(".xml"), -EINVAL);
    assert_int_equal(covfile_format("report"), -EINVAL);
}

/* ---- what met nothing */

static struct unmodelled table;

static void sentences(void **state)
{
    (void)state;
    unmodelled_forget(&table);
    for (int i = 0; i < 1413; i++)
        unmodelled_note(&table, 0, 0x44, 4, UNMODELLED_NOTHING, 12, false, 0);
    unmodelled_note(&table, 2, 0x40, 1, UNMODELLED_NOTHING, 15, true, 5);
    unmodelled_note(&table, 0, 0x46, 4, UNMODELLED_MISALIGNED, 12, true, 6);
    unmodelled_note(&table, 0, 0x46, 4, UNMODELLED_MISALIGNED, 12, false, 6);
    unmodelled_note(&table, 0, 0x48, 2, UNMODELLED_WIDTH, 12, false, 6);
    unmodelled_note(&table, 7, 0x100, 4, UNMODELLED_BEYOND, 0, false, 0);
    unmodelled_note(&table, 12, 0x100, 4, UNMODELLED_NO_REGION, 0, false, 0);
    unmodelled_note(&table, 7, 0xf0, 4, UNMODELLED_NO_CAP, 0, false, 0);
    unmodelled_tell(&table, "edu", LOG_INFO); /* nobody listens */
    assert_int_equal(odd_nlines, 0);
    unmodelled_tell(&table, "edu", LOG_WARN);
    assert_int_equal(odd_nlines, 7);
    odd_assert_said_once("edu: the driver read bar0+0x44 1,413 times (4 bytes); no register there");
    odd_assert_said_once("edu: the driver wrote bar2+0x40 once (1 byte, first 0x5); no register there");
    odd_assert_said_once("edu: the driver read bar0+0x46 once and wrote it once (4 bytes); misaligned");
    odd_assert_said_once("edu: the driver read bar0+0x48 once (2 bytes); the region takes accesses of 4 and 8 bytes");
    odd_assert_said_once("edu: the driver read config+0x100 once (4 bytes); beyond the region's end");
    odd_assert_said_once("edu: the driver read region 12+0x100 once (4 bytes); the device has no such region");
    odd_assert_said_once("edu: the driver read config+0xf0 once (4 bytes); no capability or register there");
    unmodelled_tell(&table, "edu", LOG_WARN); /* nothing new */
    assert_int_equal(odd_nlines, 7);
    unmodelled_note(&table, 7, 0xf0, 4, UNMODELLED_NO_CAP, 0, false, 0);
    unmodelled_tell(&table, "edu", LOG_WARN);
    assert_int_equal(odd_nlines, 8);
    odd_assert_said_once("config+0xf0 2 times");
}

/* A driver that reads everywhere: no more memory, no more lines than a few, and what came first stays. */
static void the_table_is_bounded(void **state)
{
    (void)state;
    unmodelled_forget(&table);
    for (uint64_t i = 0; i < 2000000; i++)
        unmodelled_note(&table, (uint32_t)(i % 6), i * 4099, 1u << i % 4, UNMODELLED_NOTHING, 15, i % 2, i);
    assert_int_equal(table.n, UNMODELLED_MAX);
    assert_int_equal(table.more, 2000000 - UNMODELLED_MAX);
    for (uint32_t i = 0; i < UNMODELLED_MAX; i++) {
        assert_int_equal(table.entries[i].offset, i * UINT64_C(4099));
        unmodelled_note(&table, i % 6, i * UINT64_C(4099), 1u << i % 4, UNMODELLED_NOTHING, 15, false, 0);
        assert_int_equal(table.entries[i].reads + table.entries[i].writes, 2);
    }
    assert_int_equal(table.more, 2000000 - UNMODELLED_MAX);
    unmodelled_tell(&table, "edu", LOG_WARN);
    assert_int_equal(odd_nlines, 12);
    odd_assert_said_once("and 246 more places where it met nothing; --coverage FILE lists them");
    odd_assert_said_once("and 1,999,744 more accesses elsewhere that met nothing; 256 places are told apart");
}

/* ---- a device */

static int32_t on_access(void *self, struct vfu_access *access)
{
    (void)self;
    access->value = 0x77;
    return access->offset == 0x100 ? -EIO : 0;
}

static json_t *ask(const char *request, int result)
{
    json_t *question = json_loads(request, 0, NULL), *reply = json_object();

    assert_non_null(question);
    assert_int_equal(coverage_control(odd_dev, question, reply), result);
    json_decref(question);
    return reply;
}

static void control_switches(void **state)
{
    const json_t *report, *reg;
    uint8_t bytes[8] = { 1 };
    json_t *reply;

    (void)state;
    odd_plan.access = on_access;
    odd_make();
    assert_non_null(odd_dev->regions[0].registers);
    reply = ask("{}", 0);
    report = json_object_get(reply, "coverage");
    assert_true(json_is_false(json_object_get(report, "on")));
    assert_int_equal(json_array_size(json_object_get(report, "registers")), 2);
    json_decref(reply);
    reply = ask("{\"on\": 1}", -EINVAL);
    assert_true(json_is_string(json_object_get(reply, "error")));
    json_decref(reply);
    json_decref(ask("{\"reset\": \"yes\"}", -EINVAL));

    json_decref(ask("{\"on\": true}", 0));
    assert_null(odd_dev->regions[0].registers);
    assert_int_equal(device_write(odd_dev, 0, 0, 8, bytes), 0);
    assert_int_equal(device_read(odd_dev, 0, 0, 8, bytes), 0);
    assert_int_equal(bytes[0], 1);
    assert_int_equal(device_write(odd_dev, 0, 8, 4, bytes), 0);
    assert_int_equal(device_read(odd_dev, 0, 0x14, 4, bytes), 0);         /* nothing there */
    assert_int_equal(device_read(odd_dev, 0, 4096, 4, bytes), -EINVAL);   /* nor there */
    assert_int_equal(device_read(odd_dev, 1, 0x40, 4, bytes), 0);         /* the handler's */
    assert_int_equal(bytes[0], 0x77);
    assert_int_equal(device_read(odd_dev, 1, 0x100, 4, bytes), -EIO);     /* still the handler's */
    assert_int_equal(device_read(odd_dev, VFU_REGION_CONFIG, 0, 4, bytes), 0);
    assert_int_equal(device_read(odd_dev, VFU_REGION_CONFIG, 0xf0, 2, bytes), 0);
    assert_false(device_read_plain(odd_dev, 0, 0, 8, bytes)); /* there is no way round */
    assert_non_null(odd_dev->ioevent.rung); /* a doorbell on a descriptor is a write of its register */
    odd_dev->ioevent.rung(odd_dev->ioevent.rung_ctx, &(struct vfu_doorbell){ .bar = 0, .offset = 0, .size = 4 }, 9);
    odd_dev->ioevent.rung(odd_dev->ioevent.rung_ctx, &(struct vfu_doorbell){ .bar = 0, .offset = 0x800 }, 9);
    reply = ask("{\"reset\": true}", 0);
    report = json_object_get(reply, "coverage");
    reg = named(json_object_get(report, "registers"), "PLAIN");
    assert_int_equal(number(reg, "reads"), 1);
    assert_int_equal(number(reg, "writes"), 2);
    assert_json(json_object_get(reg, "widths"), "[4,8]");
    reg = named(json_object_get(report, "registers"), "HOOKED");
    assert_json(json_object_get(reg, "hooks"), "{\"read\":0,\"write\":1}");
    assert_json(json_object_get(report, "summary"), "{\"fields\":0,\"fields_touched\":0,\"hooks\":2,\"hooks_run\":1,"
                "\"registers\":2,\"registers_touched\":2}");
    assert_int_equal(json_array_size(json_object_get(report, "unmodelled")), 3);
    json_decref(reply);

    reply = ask("{\"on\": false}", 0);
    report = json_object_get(reply, "coverage");
    assert_int_equal(number(json_object_get(report, "summary"), "registers_touched"), 0);
    assert_int_equal(json_array_size(json_object_get(report, "unmodelled")), 0);
    json_decref(reply);
    assert_non_null(odd_dev->regions[0].registers);
    assert_null(odd_dev->ioevent.rung);
    assert_true(device_read_plain(odd_dev, 0, 0, 8, bytes));
}

/* Without coverage too, and told at the end; what is of the model is not. */
static void misses_are_always_noted(void **state)
{
    uint8_t bytes[16];

    (void)state;
    odd_make();
    for (int i = 0; i < 3; i++)
        assert_int_equal(device_read(odd_dev, 0, 0x44, 4, bytes), 0);
    assert_int_equal(device_read(odd_dev, 0, 0x46, 4, bytes), 0);
    assert_int_equal(device_read(odd_dev, 0, 0, 3, bytes), 0);
    assert_int_equal(device_read(odd_dev, 0, 0, 16, bytes), 0);
    assert_int_equal(device_read(odd_dev, 5, 0, 4, bytes), -EINVAL);
    assert_int_equal(device_read(odd_dev, 0, UINT64_MAX - 1, 4, bytes), -EINVAL);
    assert_int_equal(device_read(odd_dev, VFU_REGION_CONFIG, 0, 16, bytes), 0); /* the client's own */
    assert_int_equal(odd_nlines, 0);
    device_free(odd_dev);
    odd_dev = NULL;
    assert_int_equal(odd_nlines, 5);
    odd_assert_said_once("odd: the driver read bar0+0x44 3 times (4 bytes); no register there");
    odd_assert_said_once("odd: the driver read bar0+0x46 once (4 bytes); misaligned");
    odd_assert_said_once("odd: the driver read bar0+0x0 once (3 bytes); the region takes accesses of 1, 2, 4 and 8 bytes");
    odd_assert_said_once("odd: the driver read bar5+0x0 once (4 bytes); the device has no such region");
    odd_assert_said_once("odd: the driver read bar0+0xfffffffffffffffe once (4 bytes); beyond the region's end");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_name_registers, make_map, free_map),
        cmocka_unit_test_setup_teardown(repeats_are_counted, make_map, free_map),
        cmocka_unit_test_setup_teardown(poll_loops_are_counted, make_map, free_map),
        cmocka_unit_test_setup_teardown(nothing_is_lost, make_map, free_map),
        cmocka_unit_test_setup_teardown(memory_is_a_range, make_map, free_map),
        cmocka_unit_test_setup_teardown(long_lines_are_cut, make_map, free_map),
        cmocka_unit_test_setup_teardown(polling_is_named, make_map, free_map),
        cmocka_unit_test_setup_teardown(slow_reads_are_not, make_map, free_map),
        cmocka_unit_test_setup_teardown(the_second_slides, make_map, free_map),
        cmocka_unit_test_setup_teardown(counters_count, make_map, free_map),
        cmocka_unit_test_setup_teardown(files_say_the_same, make_map, free_map),
        cmocka_unit_test_setup_teardown(sentences, odd_setup, odd_teardown),
        cmocka_unit_test_setup_teardown(the_table_is_bounded, odd_setup, odd_teardown),
        cmocka_unit_test_setup_teardown(control_switches, odd_setup, odd_teardown),
        cmocka_unit_test_setup_teardown(misses_are_always_noted, odd_setup, odd_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
