/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * covfile - coverage reports as files: the JSON itself, text for people, properties in JUnit's XML. Main's thread.
 */
#define _GNU_SOURCE
#include "core/inspect/coverage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/regmap/regtext.h"

int covfile_format(const char *path)
{
    static const struct {
        const char *end;
        int format;
    } ends[] = { { ".txt", COVFILE_TEXT }, { ".json", COVFILE_JSON }, { ".xml", COVFILE_XML } };
    size_t len = strlen(path);

    if (strcmp(path, "-") == 0)
        return COVFILE_TEXT;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t n = strlen(ends[i].end);

        if (len > n && strcmp(path + len - n, ends[i].end) == 0)
            return ends[i].format;
    }
    return -EINVAL;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));

    return value ? value : "";
}

static long long number_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static bool is_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

/* ---- text --------------------------------------------------------------------------------------------------- */

/* "4,8" */
static void widths_text(const json_t *list, char text[16])
{
    size_t i, at = 0;
    json_t *width;

    strcpy(text, "-");
    json_array_foreach(list, i, width)
        if (at + 3 < 16)
            at += (size_t)snprintf(text + at, 16 - at, "%s%lld", at ? "," : "", (long long)json_integer_value(width));
}

/* "RUN=0|1 DIR(never read)" */
static void print_fields(FILE *out, const json_t *fields)
{
    size_t i, j;
    json_t *field, *value;

    json_array_foreach(fields, i, field) {
        bool read = is_true(field, "read"), written = is_true(field, "written");

        fprintf(out, "  %s", text_of(field, "name"));
        json_array_foreach(json_object_get(field, "values"), j, value) {
            fputc(j ? '|' : '=', out);
            if (json_is_string(value))
                fputs(json_string_value(value), out);
            else
                fprintf(out, "%lld", (long long)json_integer_value(value));
        }
        if (!read && !written)
            fputs("(untouched)", out);
        else if (!written)
            fputs("(read)", out);
        else if (!read)
            fputs("(written)", out);
    }
}

static void print_registers(FILE *out, const json_t *registers)
{
    size_t i;
    json_t *reg;

    if (json_array_size(registers))
        fprintf(out, "  %-16s %-20s %10s %10s  %-7s %15s  fields\n", "where", "register", "reads", "writes", "widths",
                "hooks (r/w)");
    json_array_foreach(registers, i, reg) {
        const json_t *hooks = json_object_get(reg, "hooks");
        char where[64], widths[16], runs[48];

        snprintf(where, sizeof where, "%s+0x%llx", text_of(reg, "region"), (unsigned long long)number_of(reg, "offset"));
        widths_text(json_object_get(reg, "widths"), widths);
        snprintf(runs, sizeof runs, "%lld/%lld", number_of(hooks, "read"), number_of(hooks, "write"));
        fprintf(out, "  %-16s %-20s %10lld %10lld  %-7s %15s", where, text_of(reg, "name"), number_of(reg, "reads"),
                number_of(reg, "writes"), widths, runs);
        print_fields(out, json_object_get(reg, "fields"));
        fputc('\n', out);
    }
    fputc('\n', out);
}

static void print_untouched(FILE *out, const json_t *report)
{
    const json_t *registers = json_object_get(report, "registers");
    size_t i, n = 0;
    json_t *reg;

    json_array_foreach(registers, i, reg)
        if (!number_of(reg, "reads") && !number_of(reg, "writes"))
            fprintf(out, "%s%s", n++ ? ", " : "not touched: ", text_of(reg, "name"));
    if (n)
        fputc('\n', out);
    if (number_of(report, "left_out"))
        fprintf(out, "and %lld elements of arrays and groups that nothing touched\n", number_of(report, "left_out"));
}

static void print_unmodelled(FILE *out, const json_t *report)
{
    const json_t *list = json_object_get(report, "unmodelled");
    size_t i;
    json_t *entry;

    if (json_array_size(list))
        fprintf(out, "accesses that met nothing:\n");
    json_array_foreach(list, i, entry) {
        char where[64];

        snprintf(where, sizeof where, "%s+0x%llx", text_of(entry, "region"), (unsigned long long)number_of(entry, "offset"));
        fprintf(out, "  %-16s %lld byte%s, read %lld, written %lld, first %s: %s\n", where, number_of(entry, "size"),
                number_of(entry, "size") == 1 ? "" : "s", number_of(entry, "reads"), number_of(entry, "writes"),
                text_of(entry, "first"), text_of(entry, "why"));
    }
    if (number_of(report, "unmodelled_more"))
        fprintf(out, "  and %lld more accesses elsewhere\n", number_of(report, "unmodelled_more"));
}

static void print_text(FILE *out, const json_t *device)
{
    const json_t *report = json_object_get(device, "coverage"), *sum = json_object_get(report, "summary");

    fprintf(out, "%s: %lld of %lld registers touched, %lld of %lld fields, %lld of %lld hooks run\n\n",
            text_of(device, "device"), number_of(sum, "registers_touched"), number_of(sum, "registers"),
            number_of(sum, "fields_touched"), number_of(sum, "fields"), number_of(sum, "hooks_run"),
            number_of(sum, "hooks"));
    print_registers(out, json_object_get(report, "registers"));
    print_untouched(out, report);
    print_unmodelled(out, report);
    fputc('\n', out);
}

/* ---- JUnit -------------------------------------------------------------------------------------------------- */

static void property(FILE *out, const char *name, const char *what, const char *value)
{
    fprintf(out, "      <property name=\"%s", name);
    regtext_print(out, what, REGTEXT_XML);
    fprintf(out, "\" value=\"");
    regtext_print(out, value, REGTEXT_XML);
    fprintf(out, "\"/>\n");
}

static void print_xml_registers(FILE *out, const json_t *registers)
{
    size_t i, j;
    json_t *reg, *field;
    char value[160], name[512];

    json_array_foreach(registers, i, reg) {
        snprintf(value, sizeof value, "reads=%lld writes=%lld", number_of(reg, "reads"), number_of(reg, "writes"));
        property(out, "vfu.register.", text_of(reg, "name"), value);
        json_array_foreach(json_object_get(reg, "fields"), j, field) {
            bool read = is_true(field, "read"), written = is_true(field, "written");

            snprintf(name, sizeof name, "%s.%s", text_of(reg, "name"), text_of(field, "name"));
            property(out, "vfu.field.", name,
                     read && written ? "read, written" : read ? "read" : written ? "written" : "untouched");
        }
    }
}

static void print_xml(FILE *out, const json_t *device)
{
    const json_t *report = json_object_get(device, "coverage"), *sum = json_object_get(report, "summary"), *value;
    size_t i;
    const char *key;
    json_t *entry;
    char text[160], where[64];

    fprintf(out, "  <testsuite name=\"");
    regtext_print(out, text_of(device, "device"), REGTEXT_XML);
    fprintf(out, "\" tests=\"0\" failures=\"0\" errors=\"0\" skipped=\"0\">\n    <properties>\n");
    json_object_foreach((json_t *)(uintptr_t)sum, key, value) {
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
        property(out, "vfu.coverage.", key, text);
    }
    print_xml_registers(out, json_object_get(report, "registers"));
    json_array_foreach(json_object_get(report, "unmodelled"), i, entry) {
        snprintf(where, sizeof where, "%s+0x%llx/%lld", text_of(entry, "region"),
                 (unsigned long long)number_of(entry, "offset"), number_of(entry, "size"));
        snprintf(text, sizeof text, "reads=%lld writes=%lld: %s", number_of(entry, "reads"), number_of(entry, "writes"),
                 text_of(entry, "why"));
        property(out, "vfu.unmodelled.", where, text);
    }
    fprintf(out, "    </properties>\n  </testsuite>\n");
}

/* ---- files -------------------------------------------------------------------------------------------------- */

static int print_json(FILE *out, const json_t *devices)
{
    json_t *whole = json_pack("{s:i, s:O}", "version", 1, "devices", devices);
    int error = whole && json_dumpf(whole, out, JSON_INDENT(1)) == 0 ? 0 : -EIO;

    json_decref(whole);
    fputc('\n', out);
    return error;
}

int covfile_print(FILE *out, enum covfile_format format, const json_t *devices)
{
    int error = 0;
    size_t i;
    json_t *device;

    if (format == COVFILE_JSON)
        error = print_json(out, devices);
    if (format == COVFILE_XML)
        fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    json_array_foreach(devices, i, device) {
        if (format == COVFILE_TEXT)
            print_text(out, device);
        else if (format == COVFILE_XML)
            print_xml(out, device);
    }
    if (format == COVFILE_XML)
        fprintf(out, "</testsuites>\n");
    return fflush(out) || ferror(out) ? -EIO : error;
}

/* What is no plain file (a pipe, a terminal) is written to; else a new file takes the place of the old one. */
static bool replaceable(const char *path)
{
    struct stat st;

    return lstat(path, &st) < 0 ? errno == ENOENT : S_ISREG(st.st_mode);
}

static int write_to(const char *path, enum covfile_format format, const json_t *devices)
{
    FILE *out = fopen(path, "we");
    int error;

    if (!out)
        return -errno;
    error = covfile_print(out, format, devices);
    if (fclose(out) && !error)
        error = -errno;
    return error;
}

int covfile_write(const char *path, const json_t *devices)
{
    int format = covfile_format(path), error;
    char *beside = NULL;

    if (strcmp(path, "-") == 0) {
        error = covfile_print(stdout, COVFILE_TEXT, devices);
    } else if (!replaceable(path)) {
        error = write_to(path, (enum covfile_format)format, devices);
    } else if (asprintf(&beside, "%s.%d", path, (int)getpid()) < 0) {
        beside = NULL;
        error = -ENOMEM;
    } else {
        error = write_to(beside, (enum covfile_format)format, devices);
        if (!error && rename(beside, path) < 0)
            error = -errno;
        if (error)
            unlink(beside);
    }
    if (error)
        log_error(NULL, "--coverage %s: cannot be written: %s", path, strerror(-error));
    free(beside);
    return error;
}
