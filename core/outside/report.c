/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * report - events that a device reports: see report.h. Everything below runs on any thread, under the lock.
 */
#include "core/outside/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NAME_MAX_BYTES 63u
#define ITEMS_MAX 32u
#define STRING_MAX_BYTES 1023u

int report_init(struct reports *report, const char *who)
{
    *report = (struct reports){ .who = who, .kept = json_array() };
    if (!report->kept)
        return -ENOMEM;
    return -pthread_mutex_init(&report->lock, NULL);
}

void report_fini(struct reports *report)
{
    if (!report->kept)
        return;
    json_decref(report->kept);
    report->kept = NULL;
    pthread_mutex_destroy(&report->lock);
}

/* ---- what a plugin hands over ------------------------------------------------------------------------------------ */

static bool is_name(const char *text)
{
    size_t n = 0;

    for (; text && text[n]; n++) {
        char c = text[n];

        if (n == NAME_MAX_BYTES || !((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                                     c == '-' || c == '_' || c == '.'))
            return false;
    }
    return n > 0;
}

/* Items in the host's own size: what the plugin's SDK does not know is zero. */
static int copy_items(struct vfu_report_item *items, const struct vfu_report *what)
{
    size_t size = what->item_size < sizeof *items ? what->item_size : sizeof *items;

    if (what->nitems > ITEMS_MAX || (what->nitems && (!what->items || size < offsetof(struct vfu_report_item, string))))
        return -EINVAL;
    for (uint32_t i = 0; i < what->nitems; i++) {
        items[i] = (struct vfu_report_item){ 0 };
        memcpy(&items[i], (const char *)what->items + (size_t)i * what->item_size, size);
        if (!is_name(items[i].key) || items[i].type > VFU_REPORT_STRING)
            return -EINVAL;
        if (items[i].type == VFU_REPORT_STRING &&
            (!items[i].string || strnlen(items[i].string, STRING_MAX_BYTES + 1) > STRING_MAX_BYTES))
            return -EINVAL;
    }
    return 0;
}

/* JSON takes UTF-8 only, and a guest may have had its hand in the text. */
static json_t *text_json(const char *text)
{
    json_t *json = json_string(text);
    char plain[STRING_MAX_BYTES + 1];
    size_t n = 0;

    if (json)
        return json;
    for (; text[n] && n < STRING_MAX_BYTES; n++)
        plain[n] = text[n] & 0x80 ? '?' : text[n];
    plain[n] = 0;
    return json_string(plain);
}

static json_t *item_json(const struct vfu_report_item *item)
{
    switch (item->type) {
    case VFU_REPORT_NUMBER:
        return json_real(item->number); /* NULL for what is no number */
    case VFU_REPORT_BOOLEAN:
        return json_boolean(item->integer != 0);
    case VFU_REPORT_STRING:
        return text_json(item->string);
    default:
        return json_integer(item->integer);
    }
}

/* "name", "data", "fatal", "time"; NULL where memory is short. */
static json_t *report_json(const struct vfu_report *what, const struct vfu_report_item *items)
{
    json_t *json = json_object(), *data = json_object();
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    for (uint32_t i = 0; i < what->nitems; i++) {
        json_t *value = item_json(&items[i]);

        json_object_set_new(data, items[i].key, value ? value : json_null());
    }
    if (json_object_set_new(json, "name", json_string(what->name)) == 0 && json_object_set_new(json, "data", data) == 0 &&
        json_object_set_new(json, "fatal", json_boolean(what->flags & VFU_REPORT_FATAL)) == 0 &&
        json_object_set_new(json, "time", json_real((double)now.tv_sec + (double)now.tv_nsec / 1e9)) == 0)
        return json;
    json_decref(json);
    return NULL;
}

/* ---- the line ---------------------------------------------------------------------------------------------------- */

/* Strings in quotes where they would not read as one word; control characters are no way into a terminal. */
static void write_text(FILE *out, const char *text)
{
    bool word = *text && !strpbrk(text, " \"=\\");

    for (const char *p = text; word && *p; p++)
        word = (unsigned char)*p > ' ' && *p != 0x7f;
    if (word) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < ' ' || c == 0x7f)
            fprintf(out, "\\x%02x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static void write_line(struct reports *report, const struct vfu_report *what, const struct vfu_report_item *items)
{
    char line[1024] = "";
    FILE *out = fmemopen(line, sizeof line, "w");

    for (uint32_t i = 0; out && i < what->nitems; i++) {
        fprintf(out, " %s=", items[i].key);
        if (items[i].type == VFU_REPORT_NUMBER)
            fprintf(out, "%g", items[i].number);
        else if (items[i].type == VFU_REPORT_STRING)
            write_text(out, items[i].string);
        else if (items[i].type == VFU_REPORT_BOOLEAN)
            fputs(items[i].integer ? "true" : "false", out);
        else
            fprintf(out, "%" PRId64, items[i].integer);
    }
    if (out)
        fclose(out);
    line[sizeof line - 1] = 0;
    if (what->flags & VFU_REPORT_FATAL && report->fatal == 1)
        log_error(report->who, "report: %s (fatal)%s", what->name, line);
    else if (what->flags & VFU_REPORT_FATAL)
        log_limited(&report->limit, report->who, LOG_ERROR, "report: %s (fatal)%s", what->name, line);
    else
        log_limited(&report->limit, report->who, LOG_WARN, "report: %s%s", what->name, line);
}

/* ---- for the rest of the host ------------------------------------------------------------------------------------ */

int report_send(struct reports *report, const struct vfu_report *what)
{
    struct vfu_report_item items[ITEMS_MAX];
    struct vfu_report own = { 0 };
    json_t *json;
    int error;

    if (!what || what->struct_size < offsetof(struct vfu_report, items))
        return -EINVAL;
    memcpy(&own, what, what->struct_size < sizeof own ? what->struct_size : sizeof own);
    error = is_name(own.name) ? copy_items(items, &own) : -EINVAL;
    if (error)
        return error;
    json = report_json(&own, items);
    pthread_mutex_lock(&report->lock);
    report->total++;
    if (own.flags & VFU_REPORT_FATAL)
        report->fatal++;
    write_line(report, &own, items);
    if (json && report->told)
        report->told(report->ctx, json);
    if (json_array_size(report->kept) >= REPORT_KEPT)
        json_array_remove(report->kept, 0);
    error = json_array_append_new(report->kept, json) ? -ENOMEM : 0;
    pthread_mutex_unlock(&report->lock);
    return error;
}

bool report_fatal(struct reports *report)
{
    bool fatal;

    pthread_mutex_lock(&report->lock);
    fatal = report->fatal != 0;
    pthread_mutex_unlock(&report->lock);
    return fatal;
}

void report_listen(struct reports *report, void (*told)(void *ctx, json_t *report), void *ctx)
{
    pthread_mutex_lock(&report->lock);
    report->told = told;
    report->ctx = ctx;
    pthread_mutex_unlock(&report->lock);
}

int report_list(struct reports *report, json_t *reply)
{
    int error;

    pthread_mutex_lock(&report->lock);
    error = json_object_set_new(reply, "reports", json_deep_copy(report->kept));
    error |= json_object_set_new(reply, "total", json_integer((json_int_t)report->total));
    error |= json_object_set_new(reply, "fatal", json_integer((json_int_t)report->fatal));
    pthread_mutex_unlock(&report->lock);
    return error ? -ENOMEM : 0;
}
