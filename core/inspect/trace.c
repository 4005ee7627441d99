/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * trace - the lines of the trace of accesses, and how repeats are folded: see trace.h. Runs on the device's thread.
 */
#include "core/inspect/trace.h"

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/base/loop.h"
#include "core/pci/pciname.h"
#include "core/inspect/unmodelled.h"

#define TURN 4u /* the longest poll loop that is folded, in lines */
#define KEPT (2 * TURN)
#define LINE 512u
#define OPEN (LINE - 24u) /* of a line whose end is not known yet */
#define FLUSH_NS UINT64_C(1000000000)

struct trace {
    const char *who;
    const struct regmap *map;
    uint32_t bar;
    struct loop *loop;
    struct loop_timer timer;
    void (*say)(void *ctx, const char *text);
    void *ctx;
    char lines[KEPT][LINE]; /* the last ones written; n counts all of them */
    uint64_t n;
    /* The last `turn` lines repeat; `dropped` have come since, and the next one would be like line `at` of the turn. */
    uint32_t turn, at;
    uint64_t dropped;
    char write[OPEN]; /* a write that locks are to decide on, without its last bracket; "": none */
    /* Adjoining memory; what NULL: none. */
    struct {
        const char *what;
        uint32_t region;
        uint64_t start, end;
        bool write;
    } range;
};

static void timer_due(struct loop_timer *timer)
{
    trace_flush((struct trace *)((char *)timer - offsetof(struct trace, timer)));
}

int trace_new(struct trace **out, const char *who, const struct regmap *map, uint32_t bar, struct loop *loop,
              void (*say)(void *ctx, const char *text), void *ctx)
{
    struct trace *trace = calloc(1, sizeof *trace);

    if (!trace)
        return -ENOMEM;
    trace->who = who;
    trace->map = map;
    trace->bar = bar;
    trace->loop = loop;
    trace->say = say;
    trace->ctx = ctx;
    trace->timer.fn = timer_due;
    *out = trace;
    return 0;
}

void trace_free(struct trace *trace)
{
    if (!trace)
        return;
    trace_flush(trace);
    free(trace);
}

/* ---- folding ------------------------------------------------------------------------------------------------ */

static void say(struct trace *trace, const char *text)
{
    if (trace->say)
        trace->say(trace->ctx, text);
    else
        log_info(trace->who, "%s", text);
}

static void say_and_keep(struct trace *trace, const char *text)
{
    char *line = trace->lines[trace->n++ % KEPT];

    if (text != line)
        snprintf(line, LINE, "%s", text);
    say(trace, line);
}

/* The line so many lines ago; 1 is the last. */
static const char *ago(const struct trace *trace, uint32_t lines)
{
    return trace->lines[(trace->n - lines) % KEPT];
}

static bool same(const struct trace *trace, uint32_t a, uint32_t b)
{
    return strcmp(ago(trace, a), ago(trace, b)) == 0;
}

static void arm(struct trace *trace)
{
    if (trace->loop && !trace->timer.place)
        (void)loop_arm(trace->loop, &trace->timer, loop_now() + FLUSH_NS);
}

/* What has been counted is written. Of a turn that was not finished its lines come again. */
static void unfold(struct trace *trace)
{
    char text[96], number[32], again[TURN][LINE];
    uint32_t turn = trace->turn, rest = turn ? (uint32_t)(trace->dropped % turn) : 0;
    uint64_t whole = turn ? trace->dropped / turn : 0;

    if (!turn)
        return;
    for (uint32_t i = 0; i < rest; i++)
        strcpy(again[i], ago(trace, turn - i));
    trace->turn = 0;
    unmodelled_number(whole, number);
    if (turn == 1)
        snprintf(text, sizeof text, whole == 1 ? "... once more" : "... %s more times", number);
    else
        snprintf(text, sizeof text,
                 whole == 1 ? "... the last %u lines once more" : "... the last %u lines %s more times", turn, number);
    if (whole)
        say(trace, text);
    for (uint32_t i = 0; i < rest; i++)
        say_and_keep(trace, again[i]);
}

/* A turn of one line is folded when it comes a second time; longer ones when they have been seen twice. */
static uint32_t find_turn(const struct trace *trace, const char *text)
{
    for (uint32_t turn = 1; turn <= TURN; turn++) {
        uint32_t i = 1;

        if (trace->n < (turn == 1 ? 1 : 2 * turn) || strcmp(ago(trace, turn), text) != 0)
            continue;
        while (turn > 1 && i <= turn && same(trace, i, i + turn))
            i++;
        if (turn == 1 || i > turn)
            return turn;
    }
    return 0;
}

static void fold(struct trace *trace, const char *text)
{
    uint32_t turn;

    if (trace->turn && strcmp(ago(trace, trace->turn - trace->at), text) == 0) {
        trace->dropped++;
        trace->at = (trace->at + 1) % trace->turn;
        arm(trace);
        return;
    }
    unfold(trace);
    turn = find_turn(trace, text);
    if (!turn) {
        say_and_keep(trace, text);
        return;
    }
    trace->turn = turn;
    trace->at = 1 % turn;
    trace->dropped = 1;
    arm(trace);
}

static const char *place(const struct trace *trace, uint32_t region, uint64_t offset, char text[64])
{
    char name[24];

    if (region == trace->bar)
        snprintf(text, 64, "0x%llx", (unsigned long long)offset);
    else
        snprintf(text, 64, "%s+0x%llx", unmodelled_region(region, name), (unsigned long long)offset);
    return text;
}

static void end_range(struct trace *trace)
{
    char text[LINE], name[24];
    uint64_t size = trace->range.end - trace->range.start;

    if (!trace->range.what)
        return;
    snprintf(text, sizeof text, "%s %s+0x%llx-0x%llx (%s, %llu byte%s)", trace->range.write ? "write" : "read",
             unmodelled_region(trace->range.region, name), (unsigned long long)trace->range.start,
             (unsigned long long)trace->range.end - 1, trace->range.what, (unsigned long long)size,
             size == 1 ? "" : "s");
    trace->range.what = NULL;
    fold(trace, text);
}

static void end_write(struct trace *trace, const char *how)
{
    char text[LINE];

    if (!*trace->write)
        return;
    snprintf(text, sizeof text, "%s%s)", trace->write, how);
    *trace->write = 0;
    fold(trace, text);
}

void trace_flush(struct trace *trace)
{
    end_write(trace, "");
    end_range(trace);
    unfold(trace);
    if (trace->loop)
        loop_disarm(trace->loop, &trace->timer);
}

void trace_forget(struct trace *trace)
{
    trace_flush(trace);
    trace->n = 0;
}

void trace_line(struct trace *trace, const char *format, ...)
{
    char text[LINE];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    end_write(trace, "");
    end_range(trace);
    fold(trace, text);
}

void trace_judged(struct trace *trace, const struct reg_cell *cell, bool locked)
{
    char name[REGMAP_NAME_LEN];

    if (*trace->write) {
        end_write(trace, locked ? ", ignored: locked" : "");
    } else if (locked) {
        regmap_name(trace->map, cell, name, sizeof name);
        trace_line(trace, "... %s is locked, the write is ignored", name);
    }
}

void trace_range(struct trace *trace, const char *what, uint32_t region, uint64_t offset, uint32_t size, bool write)
{
    if (trace->range.what && trace->range.region == region && trace->range.write == write &&
        trace->range.end == offset) {
        trace->range.end = offset + size;
        return;
    }
    end_write(trace, "");
    end_range(trace);
    trace->range.what = what;
    trace->range.region = region;
    trace->range.start = offset;
    trace->range.end = offset + size;
    trace->range.write = write;
    arm(trace);
}

/* ---- lines -------------------------------------------------------------------------------------------------- */

static uint64_t ones(uint32_t bits)
{
    return bits ? UINT64_MAX >> (64 - bits) : 0;
}

uint64_t trace_value(const uint8_t *bytes, uint32_t size, bool big_endian)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < size && i < 8; i++)
        value |= (uint64_t)bytes[big_endian ? size - 1 - i : i] << (8 * i);
    return value;
}

uint64_t trace_bits(const struct vfu_reg *reg, const struct reg_cell *cell, uint64_t offset, uint32_t size,
                    const uint8_t *bytes, uint64_t *lanes)
{
    bool big = reg->flags & VFU_REG_BIG_ENDIAN;
    uint32_t at = (uint32_t)(offset - cell->offset), shift = 8 * (big ? cell->size - at - size : at);

    *lanes = ones(8 * size) << shift;
    return trace_value(bytes, size, big) << shift;
}

/* Small numbers are the same in every base. */
static const char *number(uint64_t value, char text[24])
{
    snprintf(text, 24, value < 10 ? "%llu" : "%#llx", (unsigned long long)value);
    return text;
}

static const char *enum_name(const struct vfu_field *field, uint64_t value)
{
    for (uint32_t i = 0; i < field->nenums; i++) {
        if (field->enums[i].value == value)
            return field->enums[i].name;
    }
    return NULL;
}

void trace_fields(const struct vfu_reg *reg, uint64_t value, uint64_t lanes, const char *separator, char *text,
                  size_t len)
{
    size_t at = 0;

    *text = 0;
    for (uint32_t i = 0; i < reg->nfields && at < len; i++) {
        const struct vfu_field *field = &reg->fields[i];
        uint64_t mask = ones(field->width) << field->lsb, part = (value & mask) >> field->lsb;
        const char *name = enum_name(field, part);
        char digits[24];

        if ((mask & lanes) != mask || (!part && !name))
            continue;
        at += (size_t)snprintf(text + at, len - at, "%s%s=%s", at ? separator : "", field->name,
                               name ? name : number(part, digits));
    }
}

/* What is too long is cut. */
__attribute__((format(printf, 2, 3))) static void compose(char text[OPEN], const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(text, OPEN, format, args);
    va_end(args);
}

void trace_register(struct trace *trace, const struct reg_cell *cell, uint64_t offset, uint32_t size,
                    const uint8_t *bytes, bool write)
{
    char name[REGMAP_NAME_LEN], fields[LINE], at[64], digits[24], width[32] = "", text[OPEN];
    uint32_t n;
    const struct vfu_reg *reg = &regmap_regs(trace->map, &n)[cell->reg];
    uint64_t lanes, bits = trace_bits(reg, cell, offset, size, bytes, &lanes);

    regmap_name(trace->map, cell, name, sizeof name);
    trace_fields(reg, bits, lanes, " ", fields, sizeof fields);
    if (size != cell->size)
        snprintf(width, sizeof width, ", %u byte%s", size, size == 1 ? "" : "s");
    compose(text, "%s %s%s%s (%s %s %s%s", write ? "write" : "read", name, *fields ? "." : "", fields,
            place(trace, reg->region, offset, at), write ? "<-" : "->",
            number(trace_value(bytes, size, reg->flags & VFU_REG_BIG_ENDIAN), digits), width);
    if (write && regmap_has_lock(trace->map, cell)) {
        end_write(trace, "");
        end_range(trace);
        strcpy(trace->write, text);
    } else {
        trace_line(trace, "%s)", text);
    }
}

void trace_bytes(struct trace *trace, const char *name, uint32_t region, uint64_t offset, uint32_t size,
                 const uint8_t *bytes, bool write, int error, const char *note)
{
    char at[64], region_name[24], value[96], digits[24];

    snprintf(at, sizeof at, "%s+0x%llx", unmodelled_region(region, region_name), (unsigned long long)offset);
    if (error)
        snprintf(value, sizeof value, "%s%s", write ? "<- " : "-> ", error == -EINVAL ? "EINVAL" : strerror(-error));
    else if (bytes && size <= 8)
        snprintf(value, sizeof value, "%s%s", write ? "<- " : "-> ", number(trace_value(bytes, size, false), digits));
    else
        snprintf(value, sizeof value, "%s", write ? "<- ..." : "-> ...");
    if (name)
        trace_line(trace, "%s %s (%s %s)", write ? "write" : "read", name, at, value);
    else
        trace_line(trace, "%s %s %s (%s, %u byte%s)", write ? "write" : "read", at, value, note, size,
                   size == 1 ? "" : "s");
}

void trace_config(struct trace *trace, const struct pci_config *config, uint32_t offset, uint32_t size,
                  const uint8_t *bytes, bool write)
{
    char names[160], fields[LINE], at[64], digits[24];
    const struct vfu_reg *reg = pciname_register(offset, size);

    pciname(config, offset, size, names, sizeof names);
    *fields = 0;
    if (reg)
        trace_fields(reg, trace_value(bytes, size, false), ones(8 * size), " ", fields, sizeof fields);
    trace_line(trace, "%s %s%s%s (%s %s %s)", write ? "write" : "read", names, *fields ? "." : "", fields,
               place(trace, VFU_REGION_CONFIG, offset, at), write ? "<-" : "->",
               number(trace_value(bytes, size, false), digits));
}
