/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * testjson - what vfu-client test has found, as one object of JSON, for programs: see vfu-client(1). One thread.
 */
#define _GNU_SOURCE
#include "sdk/client/testrun.h"
#include "sdk/client/text.h"

#include <errno.h>
#include <string.h>

static json_t *coverage_of(const struct test_file *file)
{
    struct testcover_sum sum;
    json_t *o, *names = json_array(), *nothing = json_array(), *reg, *item;
    char unused[8];
    const char *name, *place;

    if (!testcover_sum(file->coverage, &sum, unused, sizeof unused)) {
        json_decref(names);
        json_decref(nothing);
        return NULL;
    }
    json_object_foreach(json_object_get(file->coverage, "registers"), name, reg) {
        if (!json_integer_value(json_object_get(reg, "reads")) && !json_integer_value(json_object_get(reg, "writes")))
            json_array_append_new(names, json_string(name));
    }
    json_object_foreach(testcover_nothing(file->coverage), place, item)
        json_array_append(nothing, item);
    o = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "registers", sum.registers, "registers_touched",
                  sum.registers_touched, "fields", sum.fields, "fields_touched", sum.fields_touched, "hooks", sum.hooks,
                  "hooks_run", sum.hooks_run, "untouched", names, "unmodelled", nothing);
    return o;
}

static json_t *test_of(const struct test_case *test)
{
    static const char *const words[] = { "failed", "passed", "failed", "skipped" };
    static const char *const texts[] = { "message", "trace", "output", "log" };
    json_t *o = json_pack("{s:s, s:i, s:s, s:f}", "name", test->name, "line", test->line, "status", words[test->status],
                          "seconds", test->seconds);

    for (size_t i = 0; o && i < sizeof texts / sizeof texts[0]; i++) {
        const char *text = testshow_text(test, texts[i]);

        if (text && *text)
            json_object_set_new(o, texts[i], json_string(text));
    }
    return o;
}

static json_t *file_of(const struct test_file *file)
{
    json_t *tests = json_array(), *coverage = coverage_of(file);
    json_t *o = json_pack("{s:o, s:f, s:o}", "file", text_json(file->path, strlen(file->path)), "seconds", file->seconds,
                          "tests", tests);

    for (int i = 0; i < file->ncases; i++) {
        if (!file->cases[i].left_out)
            json_array_append_new(tests, test_of(&file->cases[i]));
    }
    if (file->error)
        json_object_set_new(o, "error", text_json(file->error, strlen(file->error)));
    if (coverage)
        json_object_set_new(o, "coverage", coverage);
    return o;
}

int testjson_print(const struct test_run *run)
{
    json_t *files = json_array();
    json_t *o = json_pack("{s:o, s:i, s:i, s:i, s:f}", "files", files, "passed", run->passed, "failed", run->failed,
                          "skipped", run->skipped, "seconds", run->seconds);
    int err;

    for (int i = 0; i < run->nfiles; i++)
        json_array_append_new(files, file_of(&run->files[i]));
    err = o ? json_dumpf(o, stdout, JSON_INDENT(2)) : -1;
    json_decref(o);
    putchar('\n');
    return err ? -EIO : 0;
}
