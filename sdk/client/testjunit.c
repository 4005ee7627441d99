/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * testjunit - the report of vfu-client test as JUnit's XML: a suite for each file, with the coverage of its device as
 * properties, and with each failure what was printed and the host's log. One thread.
 */
#define _GNU_SOURCE
#include "sdk/client/testrun.h"
#include "sdk/client/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* XML has no place for most control characters, and for two others, however they are written. */
static void put_text(FILE *out, const char *text)
{
    size_t left = text ? strlen(text) : 0;

    while (left) {
        uint32_t code = 0;
        size_t n = text_char(text, left, &code);

        if (code == '&')
            fputs("&amp;", out);
        else if (code == '<')
            fputs("&lt;", out);
        else if (code == '>')
            fputs("&gt;", out);
        else if (code == '"')
            fputs("&quot;", out);
        else if (code == '\n' || code == '\t')
            fprintf(out, "&#%d;", (int)code);
        else if (!n || code < ' ' || (code >= 0x7f && code < 0xa0) || code == 0xfffe || code == 0xffff)
            putc('?', out);
        else
            fwrite(text, 1, n, out);
        n = n ? n : 1;
        text += n;
        left -= n;
    }
}

static void put_attribute(FILE *out, const char *name, const char *text)
{
    fprintf(out, " %s=\"", name);
    put_text(out, text);
    putc('"', out);
}

static void put_property(FILE *out, const char *name, const char *value)
{
    fputs("      <property", out);
    put_attribute(out, "name", name);
    put_attribute(out, "value", value);
    fputs("/>\n", out);
}

static void put_number(FILE *out, const char *name, int value)
{
    char text[16];

    snprintf(text, sizeof text, "%d", value);
    put_property(out, name, text);
}

static void put_coverage(FILE *out, const struct test_file *file)
{
    struct testcover_sum sum;
    char untouched[4096];
    const char *place;
    json_t *item;

    if (!testcover_sum(file->coverage, &sum, untouched, sizeof untouched))
        return;
    fputs("    <properties>\n", out);
    put_number(out, "coverage.registers", sum.registers);
    put_number(out, "coverage.registers_touched", sum.registers_touched);
    put_number(out, "coverage.fields", sum.fields);
    put_number(out, "coverage.fields_touched", sum.fields_touched);
    put_number(out, "coverage.hooks", sum.hooks);
    put_number(out, "coverage.hooks_run", sum.hooks_run);
    put_number(out, "coverage.unmodelled", sum.unmodelled);
    put_property(out, "coverage.untouched", untouched);
    json_object_foreach(testcover_nothing(file->coverage), place, item) {
        char name[128], text[256];

        snprintf(name, sizeof name, "coverage.unmodelled.%s", place);
        snprintf(text, sizeof text, "reads=%lld writes=%lld: %s",
                 (long long)json_integer_value(json_object_get(item, "reads")),
                 (long long)json_integer_value(json_object_get(item, "writes")),
                 json_string_value(json_object_get(item, "why")));
        put_property(out, name, text);
    }
    fputs("    </properties>\n", out);
}

static void put_failure(FILE *out, const char *message, const char *more)
{
    size_t line = message ? strcspn(message, "\n") : 0;
    char *first = message ? strndup(message, line) : NULL;

    fputs("      <failure", out);
    put_attribute(out, "message", first ? first : "no result");
    put_attribute(out, "type", "failure");
    fputs(">", out);
    put_text(out, message ? message : "no result");
    if (more) {
        fputs("&#10;", out);
        put_text(out, more);
    }
    fputs("</failure>\n", out);
    free(first);
}

static void put_case(FILE *out, const struct test_file *file, const struct test_case *test)
{
    const char *message = testshow_text(test, "message"), *printed = testshow_text(test, "output"),
               *log = testshow_text(test, "log");

    fputs("    <testcase", out);
    put_attribute(out, "name", test->name);
    put_attribute(out, "classname", file->path);
    put_attribute(out, "file", file->path);
    fprintf(out, " line=\"%d\" time=\"%.6f\"", test->line, test->seconds);
    if (test->status == TEST_PASSED) {
        fputs("/>\n", out);
        return;
    }
    fputs(">\n", out);
    if (test->status == TEST_SKIPPED) {
        fputs("      <skipped", out);
        put_attribute(out, "message", message ? message : "");
        fputs("/>\n", out);
    } else {
        put_failure(out, message, testshow_text(test, "trace"));
        if ((printed && *printed) || (log && *log)) {
            fputs("      <system-out>", out);
            put_text(out, printed);
            put_text(out, log);
            fputs("</system-out>\n", out);
        }
    }
    fputs("    </testcase>\n", out);
}

static void put_file(FILE *out, const struct test_file *file)
{
    int tests = file->error != NULL, failed = tests, skipped = 0;

    for (int i = 0; i < file->ncases; i++) {
        tests += !file->cases[i].left_out;
        failed += !file->cases[i].left_out && file->cases[i].status == TEST_FAILED;
        skipped += !file->cases[i].left_out && file->cases[i].status == TEST_SKIPPED;
    }
    fputs("  <testsuite", out);
    put_attribute(out, "name", file->path);
    fprintf(out, " tests=\"%d\" failures=\"%d\" errors=\"0\" skipped=\"%d\" time=\"%.6f\">\n", tests, failed, skipped,
            file->seconds);
    put_coverage(out, file);
    for (int i = 0; i < file->ncases; i++) {
        if (!file->cases[i].left_out)
            put_case(out, file, &file->cases[i]);
    }
    if (file->error) {
        fputs("    <testcase", out);
        put_attribute(out, "name", file->loaded ? "its process" : "it is loaded");
        put_attribute(out, "classname", file->path);
        put_attribute(out, "file", file->path);
        fputs(" time=\"0\">\n", out);
        put_failure(out, file->error, NULL);
        fputs("    </testcase>\n", out);
    }
    fputs("  </testsuite>\n", out);
}

int testjunit_write(const struct test_run *run)
{
    FILE *out = fopen(run->junit, "we");
    bool bad;

    if (!out) {
        fprintf(stderr, "vfu-client: test: %s: %s\n", run->junit, strerror(errno));
        return -errno;
    }
    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", out);
    fprintf(out, "<testsuites name=\"vfu-client test\" tests=\"%d\" failures=\"%d\" errors=\"0\" skipped=\"%d\" time=\"%.6f\">\n",
            run->passed + run->failed + run->skipped, run->failed, run->skipped, run->seconds);
    for (int i = 0; i < run->nfiles; i++)
        put_file(out, &run->files[i]);
    fputs("</testsuites>\n", out);
    bad = ferror(out);
    if (fclose(out) || bad) {
        fprintf(stderr, "vfu-client: test: cannot write %s: %s\n", run->junit, strerror(errno));
        return -EIO;
    }
    return 0;
}
