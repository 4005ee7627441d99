/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * testshow - what vfu-client test prints: for people a line for each file and what is to be known of failures, with a
 * line of progress on a terminal; or TAP. Files and tests come in their order, whichever ended first. One thread.
 */
#define _GNU_SOURCE
#include "sdk/client/testrun.h"
#include "sdk/client/text.h"

#include <string.h>

#define LINES_MAX 60 /* of what was printed with a failure */
#define PLACES_MAX 8  /* where accesses met nothing, of a file */

const char *testshow_text(const struct test_case *test, const char *key)
{
    return json_string_value(json_object_get(test->result, key));
}

/* Each line behind `prefix`; of very many the last. */
static void print_lines(const char *prefix, const char *text, const char *color, const char *plain)
{
    int lines = 0;

    for (const char *at = text; *at; at++)
        lines += *at == '\n' || !at[1];
    for (; *text; lines--) {
        size_t n = strcspn(text, "\n");

        if (lines <= LINES_MAX) {
            printf("%s%s", prefix, color);
            text_print(stdout, text, n);
            puts(plain);
        } else if (lines == LINES_MAX + 1)
            printf("%s...\n", prefix);
        text += n + (text[n] == '\n');
    }
}

static void print_details(const struct test_run *run, const struct test_case *test, const char *prefix)
{
    const char *red = run->terminal && !run->tap ? "\033[31m" : "", *plain = *red ? "\033[0m" : "";
    char inner[32];
    const char *text = testshow_text(test, "message");

    print_lines(prefix, text ? text : "no result", red, plain);
    snprintf(inner, sizeof inner, "%s  ", prefix);
    text = testshow_text(test, "trace");
    if (text)
        print_lines(inner, text, "", "");
    text = testshow_text(test, "output");
    if (text) {
        printf("%sprinted:\n", prefix);
        print_lines(inner, text, "", "");
    }
    text = testshow_text(test, "log");
    if (text && *text) {
        printf("%sthe host's log:\n", prefix);
        print_lines(inner, text, "", "");
    }
}

/* "#" and "\" mean something in TAP. */
static void print_tap_name(const char *name)
{
    while (*name) {
        size_t n = strcspn(name, "#\\");

        text_print(stdout, name, n);
        name += n;
        if (*name)
            printf("\\%c", *name++);
    }
}

static void print_name(const char *name)
{
    text_print(stdout, name, strlen(name));
}

static void tap_case(struct test_run *run, const struct test_file *file, const struct test_case *test)
{
    const char *message = testshow_text(test, "message");

    printf("%sok %d - ", test->status == TEST_FAILED ? "not " : "", ++run->number);
    print_tap_name(file->path);
    fputs(": ", stdout);
    print_tap_name(test->name);
    if (test->status == TEST_SKIPPED) {
        fputs(" # SKIP ", stdout);
        print_name(message ? message : "");
    }
    putchar('\n');
    if (test->status == TEST_FAILED)
        print_details(run, test, "# ");
}

static void count(struct test_run *run, struct test_file *file)
{
    for (int i = 0; i < file->ncases; i++) {
        struct test_case *test = &file->cases[i];

        if (test->left_out)
            continue;
        if (test->status == TEST_UNKNOWN)
            test->status = TEST_FAILED;
        run->passed += test->status == TEST_PASSED;
        run->failed += test->status == TEST_FAILED;
        run->skipped += test->status == TEST_SKIPPED;
    }
    run->failed += file->error != NULL;
}

static void clear_progress(const struct test_run *run)
{
    if (run->progress)
        fputs("\r\033[K", stdout);
}

static void print_coverage(const struct test_file *file)
{
    struct testcover_sum sum;
    char untouched[512];
    const char *place;
    json_t *item;
    int n = 0;

    if (!testcover_sum(file->coverage, &sum, untouched, sizeof untouched))
        return;
    printf("  coverage: %d of %d registers, %d of %d fields, %d of %d hooks", sum.registers_touched, sum.registers,
           sum.fields_touched, sum.fields, sum.hooks_run, sum.hooks);
    if (sum.unmodelled)
        printf(", %d accesses to nothing", sum.unmodelled);
    printf("%s%s\n", *untouched ? "; not touched: " : "", untouched);
    json_object_foreach(testcover_nothing(file->coverage), place, item) {
        json_int_t reads = json_integer_value(json_object_get(item, "reads"));
        json_int_t writes = json_integer_value(json_object_get(item, "writes"));

        if (n++ < PLACES_MAX)
            printf("    %.*s: %" JSON_INTEGER_FORMAT " read%s and %" JSON_INTEGER_FORMAT " write%s of %s bytes; %s\n",
                   (int)strcspn(place, "/"), place, reads, reads == 1 ? "" : "s", writes, writes == 1 ? "" : "s",
                   place + strcspn(place, "/") + 1, json_string_value(json_object_get(item, "why")));
    }
    if (n > PLACES_MAX)
        printf("    ... and %d places more\n", n - PLACES_MAX);
}

static void text_file(struct test_run *run, struct test_file *file)
{
    int passed = 0, failed = 0, skipped = 0;

    for (int i = 0; i < file->ncases; i++) {
        passed += !file->cases[i].left_out && file->cases[i].status == TEST_PASSED;
        failed += !file->cases[i].left_out && file->cases[i].status == TEST_FAILED;
        skipped += !file->cases[i].left_out && file->cases[i].status == TEST_SKIPPED;
    }
    if (run->filtered && !file->error && !passed && !failed && !skipped)
        return;
    clear_progress(run);
    print_name(file->path);
    printf(": %d passed", passed);
    if (failed)
        printf(", %d failed", failed);
    if (skipped)
        printf(", %d skipped", skipped);
    putchar('\n');
    if (file->error) {
        puts(file->loaded ? "  FAILED: the file's own process" : "  FAILED: the file cannot be loaded");
        print_lines("    ", file->error, "", "");
    }
    for (int i = 0; i < file->ncases; i++) {
        const struct test_case *test = &file->cases[i];

        if (test->left_out || test->status != TEST_FAILED)
            continue;
        fputs("  FAILED: ", stdout);
        print_name(test->name);
        printf(" (line %d)\n", test->line);
        print_details(run, test, "    ");
    }
    if (run->coverage)
        print_coverage(file);
}

static void progress(struct test_run *run)
{
    const struct test_file *file = NULL;
    int total = 0;

    for (int i = 0; i < run->nfiles; i++) {
        for (int j = 0; j < run->files[i].ncases; j++)
            total += !run->files[i].cases[j].left_out;
        if (!file && run->files[i].pid > 0)
            file = &run->files[i];
    }
    printf("\r\033[K[%d/%d] ", run->done, total);
    print_name(file ? file->path : "");
    fflush(stdout);
}

void testshow_update(struct test_run *run)
{
    while (run->shown_files < run->nfiles) {
        struct test_file *file = &run->files[run->shown_files];

        while (run->tap && run->shown_cases < file->ncases) {
            struct test_case *test = &file->cases[run->shown_cases];

            if (!test->left_out) {
                if (test->status == TEST_UNKNOWN && !file->ended)
                    break;
                if (test->status == TEST_UNKNOWN)
                    test->status = TEST_FAILED;
                tap_case(run, file, test);
            }
            run->shown_cases++;
        }
        if (!file->ended)
            break;
        count(run, file);
        if (run->tap && file->error) {
            printf("not ok %d - ", ++run->number);
            print_tap_name(file->path);
            puts(file->loaded ? ": its process" : ": it is loaded");
            print_lines("# ", file->error, "", "");
        } else if (!run->tap && !run->json) {
            text_file(run, file);
        }
        run->shown_files++;
        run->shown_cases = 0;
    }
    if (run->progress)
        progress(run);
    fflush(stdout);
}

void testshow_end(struct test_run *run)
{
    bool none = !run->passed && !run->failed && !run->skipped;

    clear_progress(run);
    if (none)
        run->failed = 1;
    if (run->json)
        return;
    if (run->tap) {
        if (none)
            printf("not ok %d - there are tests\n", ++run->number);
        printf("1..%d\n", run->number);
        return;
    }
    if (none)
        puts(run->filtered ? "no test's name matches --filter" : "no tests");
    else
        printf("%d test%s in %d file%s: %d passed, %d failed, %d skipped (%.2f s)\n",
               run->passed + run->failed + run->skipped, run->passed + run->failed + run->skipped == 1 ? "" : "s",
               run->nfiles, run->nfiles == 1 ? "" : "s", run->passed,
               run->failed, run->skipped, run->seconds);
}
