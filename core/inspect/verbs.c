/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * verbs - the commands of the control socket: one function for each, and their table. The device's thread. What a request
 * holds is anybody's: every member is looked at for its type.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/inspect/control.h"
#include "core/inspect/coverage.h"
#include "core/device/device.h"
#include "core/dump.h"
#include "core/regmap/regdump.h"
#include "core/inspect/regview.h"
#include "core/inspect/screen.h"
#include "core/device/reload.h"

#define EVAL_MAX 65536u /* bytes of a value */

static const char *string_of(const json_t *request, const char *key)
{
    return json_string_value(json_object_get(request, key));
}

static json_t *hex(uint64_t value)
{
    return json_sprintf("0x%llx", (unsigned long long)value);
}

/* The string that a command cannot do without, or NULL after *error is set. */
static const char *needed(const json_t *request, json_t *reply, const char *key, const char *what, int *error)
{
    const char *text = string_of(request, key);

    if (!text)
        *error = control_error(reply, -EINVAL, "\"%s\" is missing, or no string: %s", key, what);
    return text;
}

/* ---- what it is and how it does */

static int verb_info(struct device *dev, const json_t *request, json_t *reply)
{
    const struct vfu_desc *desc = &dev->description.desc;
    const struct vfu_plugin *table = &dev->plugin->table;
    char caps[256];

    (void)request;
    plugin_cap_names(dev->description.caps, caps, sizeof caps);
    json_object_set_new(reply, "name", json_string(dev->name));
    json_object_set_new(reply, "doc", dev->doc ? json_string(dev->doc) : json_null());
    json_object_set_new(reply, "vendor", json_sprintf("0x%04x", desc->vendor));
    json_object_set_new(reply, "device", json_sprintf("0x%04x", desc->device));
    json_object_set_new(reply, "class", json_sprintf("0x%06x", desc->class_code));
    json_object_set_new(reply, "plugin", json_string(table->name));
    json_object_set_new(reply, "path", json_string(dev->plugin->path));
    json_object_set_new(reply, "script", dev->plugin->source ? json_string(dev->plugin->source) : json_null());
    json_object_set_new(reply, "caps", json_string(caps));
    json_object_set_new(reply, "host", json_string(VFU_SDK_VERSION));
    json_object_set_new(reply, "pid", json_integer(getpid()));
    json_object_set_new(reply, "client", json_boolean(dev->attached));
    json_object_set_new(reply, "stopped", json_boolean(dev->stopped));
    json_object_set_new(reply, "held", dev->hold.held ? json_string(dev->hold.name) : json_null());
    json_object_set_new(reply, "clock", json_string(dev->clock.virtual ? "virtual" : "real"));
    return 0;
}

static int verb_map(struct device *dev, const json_t *request, json_t *reply)
{
    json_t *map = dump_map(dev);

    (void)request;
    return map && json_object_set_new(reply, "map", map) == 0 ? 0 : -ENOMEM;
}

static int verb_stats(struct device *dev, const json_t *request, json_t *reply)
{
    (void)request;
    json_object_set_new(reply, "refusals", json_integer((json_int_t)dev->refusals));
    json_object_set_new(reply, "guest_errors",
                        json_integer((json_int_t)__atomic_load_n(&dev->guest_errors, __ATOMIC_RELAXED)));
    json_object_set_new(reply, "hook_failures", json_integer((json_int_t)regmap_failures(dev->map)));
    json_object_set_new(reply, "interrupts_dropped", json_integer((json_int_t)irq_dropped(dev->irq)));
    json_object_set_new(reply, "timers", json_integer(dev->timers.pending));
    json_object_set_new(reply, "dma", json_integer(dev->transfer.nops));
    json_object_set_new(reply, "breaks_hit", json_integer((json_int_t)dev->hold.hits));
    json_object_set_new(reply, "now", json_integer((json_int_t)clock_now(&dev->clock)));
    return 0;
}

static int verb_report(struct device *dev, const json_t *request, json_t *reply)
{
    (void)request;
    return report_list(&dev->report, reply);
}

static int verb_help(struct device *dev, const json_t *request, json_t *reply)
{
    json_t *list = json_object();
    const struct control_command *command;

    (void)dev, (void)request;
    for (uint32_t i = 0; (command = verbs_at(i)); i++)
        json_object_set_new(list, command->name, json_string(command->help));
    json_object_set_new(list, "subscribe", json_string("on=BOOL: this connection gets the device's events"));
    return json_object_set_new(reply, "commands", list) ? -ENOMEM : 0;
}

/* ---- registers */

static int check_names(const json_t *names, json_t *reply)
{
    size_t n = json_array_size(names), i;
    const json_t *name;

    if (!names)
        return 0;
    if (!json_is_array(names) || n == 0 || n > 64)
        return control_error(reply, -EINVAL, "\"names\" is a list of 1 to 64 names");
    json_array_foreach((json_t *)(uintptr_t)names, i, name) {
        if (!json_is_string(name))
            return control_error(reply, -EINVAL, "\"names\" is a list of strings");
    }
    return 0;
}

static int verb_regs(struct device *dev, const json_t *request, json_t *reply)
{
    const json_t *names = json_object_get(request, "names"), *from = json_object_get(request, "from");
    json_t *list = json_array();
    uint32_t next = 0;
    int error = check_names(names, reply);

    if (!error && from && (!json_is_integer(from) || json_integer_value(from) < 0 ||
                           json_integer_value(from) > (json_int_t)regmap_count(dev->map)))
        error = control_error(reply, -EINVAL, "\"from\" is a number that \"next\" gave");
    if (!error)
        error = regview_list(dev->map, names, (uint32_t)json_integer_value(from), list, &next);
    json_object_set_new(reply, "registers", list);
    if (next)
        json_object_set_new(reply, "next", json_integer(next));
    if (error)
        json_object_del(reply, "registers");
    return error;
}

static int no_register(struct device *dev, json_t *reply, const char *name)
{
    return control_error(reply, -ENOENT, "%s has no register or field %.128s; 'regs' lists them", dev->name, name);
}

static int verb_get(struct device *dev, const json_t *request, json_t *reply)
{
    int error = 0;
    const char *name = needed(request, reply, "name", "a register or field, as in CMD.RUN", &error), *text;
    uint64_t value;

    if (error)
        return error;
    if (regview_get(dev->map, name, &value, &text))
        return no_register(dev, reply, name);
    json_object_set_new(reply, "value", hex(value));
    if (text)
        json_object_set_new(reply, "text", json_string(text));
    return 0;
}

/* What a stopped device holds has been, or is being, moved elsewhere. */
static int refuse_stopped(json_t *reply)
{
    return control_error(reply, -EBUSY, "the device is stopped for migration: its state is left alone");
}

/* A value that is none: what there is, where names are. */
static int no_value(struct device *dev, json_t *reply, const char *name)
{
    char names[240];

    if (regview_names(dev->map, name, names, sizeof names))
        return control_error(reply, -EINVAL, "\"value\" of %.128s is one of %s; or a number from 0 up, as 31, \"31\", \"0x1f\"; "
                             "or a boolean", name, names);
    return control_error(reply, -EINVAL, "\"value\" of %.128s is a number from 0 up, a boolean, or a string: \"0x1f\", \"31\"",
                         name);
}

static int verb_set(struct device *dev, const json_t *request, json_t *reply)
{
    int error = 0;
    const char *name = needed(request, reply, "name", "a register or field, as in CMD.RUN", &error);

    if (error)
        return error;
    if (dev->stopped)
        return refuse_stopped(reply);
    error = regview_set(dev->map, name, json_object_get(request, "value"));
    switch (error) {
    case -ENOENT: return no_register(dev, reply, name);
    case -ERANGE: return control_error(reply, error, "\"value\" does not fit into %.128s", name);
    case -EINVAL: return no_value(dev, reply, name);
    default: return error;
    }
}

/* ---- the live script */

static int verb_eval(struct device *dev, const json_t *request, json_t *reply)
{
    const struct vfu_introspect *look = NULL;
    int error = 0;
    const char *expr = needed(request, reply, "expr", "an expression or a statement", &error);
    char *out;

    if (error)
        return error;
    if (VFU_HAS(&dev->plugin->table, extension))
        look = dev->plugin->table.extension(VFU_EXT_INTROSPECT);
    if (!look || !VFU_HAS(look, eval))
        return control_error(reply, -ENOTSUP, "the plugin %s cannot evaluate expressions (it has no %s); 'get', 'set' and "
                             "'regs' work on its registers", dev->plugin->table.name, VFU_EXT_INTROSPECT);
    if (dev->stopped)
        return refuse_stopped(reply);
    out = calloc(1, EVAL_MAX);
    if (!out)
        return -ENOMEM;
    error = look->eval(dev->self, expr, out, EVAL_MAX);
    out[EVAL_MAX - 1] = '\0';
    if (error > 0 || error < -4095)
        error = error > 0 ? 0 : -EIO;
    json_object_set_new(reply, error ? "error" : "value", regdump_text(out));
    free(out);
    return error;
}

/* ---- time */

static int verb_clock(struct device *dev, const json_t *request, json_t *reply)
{
    const json_t *mode = json_object_get(request, "mode");
    const char *text = json_string_value(mode);

    if (mode && (!text || (strcmp(text, "real") != 0 && strcmp(text, "virtual") != 0)))
        return control_error(reply, -EINVAL, "\"mode\" is \"real\" or \"virtual\"");
    if (text && dev->hold.held)
        return control_error(reply, -EBUSY, "the device is held at %s: 'clock' changes nothing now", dev->hold.name);
    if (text) {
        int error = device_clock(dev, strcmp(text, "virtual") == 0);

        if (error)
            return error;
    }
    json_object_set_new(reply, "mode", json_string(dev->clock.virtual ? "virtual" : "real"));
    json_object_set_new(reply, "now", json_integer((json_int_t)clock_now(&dev->clock)));
    return 0;
}

static void advanced(struct device *dev, void *ctx, int error)
{
    json_t *reply = ctx;

    json_object_set_new(reply, "now", json_integer((json_int_t)clock_now(&dev->clock)));
    json_object_set_new(reply, "events", json_integer((json_int_t)dev->advance.events));
    if (error == -ELOOP)
        control_error(reply, error, "%u events came due, the last %u at the same time: time stands still at %llu ns",
                      (unsigned)dev->advance.events, ADVANCE_INSTANT_MAX, (unsigned long long)clock_now(&dev->clock));
    else if (error == -EOVERFLOW)
        control_error(reply, error, "%u events came due: time stands at %llu ns; advance in smaller steps",
                      (unsigned)dev->advance.events, (unsigned long long)clock_now(&dev->clock));
    else if (error == -EBUSY)
        control_error(reply, error, "the device was stopped for migration on the way: time stands at %llu ns",
                      (unsigned long long)clock_now(&dev->clock));
    else if (error == -ECANCELED)
        control_error(reply, error, "the clock became real on the way");
    control_finish(dev, reply, error);
}

static int verb_advance(struct device *dev, const json_t *request, json_t *reply)
{
    const json_t *ns = json_object_get(request, "ns");
    int error;

    if (!json_is_integer(ns) || json_integer_value(ns) < 0)
        return control_error(reply, -EINVAL, "\"ns\" is missing: nanoseconds, an integer from 0 up");
    if (dev->stopped)
        return control_error(reply, -EBUSY, "the device is stopped for migration: its time stands still");
    error = advance_start(dev, (uint64_t)json_integer_value(ns), advanced, reply);
    if (error == -EALREADY)
        return control_error(reply, error, "another 'advance' is under way");
    if (error == -ERANGE)
        return control_error(reply, error, "\"ns\" reaches beyond the clock's end");
    return error ? error : CONTROL_LATER;
}

static int verb_reload(struct device *dev, const json_t *request, json_t *reply)
{
    char why[1024];
    int error;

    (void)request;
    error = reload_now(dev, why, sizeof why);
    return error ? control_error(reply, error, "%s", *why ? why : "the reload failed: see the host's log") : 0;
}

/* ---- breaks */

static int parse_access(const char *text, uint32_t *access)
{
    if (!text || strcmp(text, "rw") == 0)
        *access = REGMAP_HALT_READ | REGMAP_HALT_WRITE;
    else if (strcmp(text, "r") == 0)
        *access = REGMAP_HALT_READ;
    else if (strcmp(text, "w") == 0)
        *access = REGMAP_HALT_WRITE;
    else if (strcmp(text, "none") == 0)
        *access = 0;
    else
        return -EINVAL;
    return 0;
}

static int verb_break(struct device *dev, const json_t *request, json_t *reply)
{
    const json_t *timeout = json_object_get(request, "timeout"), *once = json_object_get(request, "once");
    struct hold_break wanted = { .owner = control_from(request), .once = json_is_true(once) };
    const struct vfu_field *field;
    char full[320];
    int error = 0;
    const char *name = needed(request, reply, "reg", "a register, as in CMD or CH[2].CTRL", &error);

    if (error)
        return error;
    if (parse_access(string_of(request, "access"), &wanted.access) ||
        (json_object_get(request, "access") && !string_of(request, "access")))
        return control_error(reply, -EINVAL, "\"access\" is \"r\", \"w\", \"rw\", or \"none\" to take the break away");
    if (once && !json_is_boolean(once))
        return control_error(reply, -EINVAL, "\"once\" is true or false");
    if (timeout && !(json_is_number(timeout) && json_number_value(timeout) > 0 && json_number_value(timeout) <= 1e6))
        return control_error(reply, -EINVAL, "\"timeout\" is a number of seconds above 0, up to 1000000");
    wanted.timeout_ns = timeout ? (uint64_t)(json_number_value(timeout) * 1e9) : 0;
    wanted.cell = regmap_by_name(dev->map, name, &field);
    if (!wanted.cell)
        return no_register(dev, reply, name);
    if (field)
        return control_error(reply, -EINVAL, "%.128s is a field: a break is at a register, here at %.*s", name,
                             (int)(strrchr(name, '.') - name), name);
    error = hold_set(dev, &wanted);
    if (!error) {
        regmap_name(dev->map, wanted.cell, full, sizeof full);
        json_object_set_new(reply, "reg", json_string(full));
    }
    return error == -ENOSPC ? control_error(reply, error, "there are %u breaks already", HOLD_BREAKS_MAX)
           : error == -ENOENT ? control_error(reply, error, "there is no break at %.128s", name)
                              : error;
}

static int verb_breaks(struct device *dev, const json_t *request, json_t *reply)
{
    static const char *const accesses[] = { "none", "r", "w", "rw" };
    json_t *list = json_array();
    char name[320];

    (void)request;
    for (uint32_t i = 0; i < dev->hold.nbreaks; i++) {
        const struct hold_break *b = &dev->hold.breaks[i];

        regmap_name(dev->map, b->cell, name, sizeof name);
        json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "reg", name, "access", accesses[b->access], "once",
                                              (int)b->once));
    }
    json_object_set_new(reply, "breaks", list);
    json_object_set_new(reply, "held", dev->hold.held ? hold_view(dev) : json_null());
    return 0;
}

static int verb_continue(struct device *dev, const json_t *request, json_t *reply)
{
    (void)request;
    if (!dev->hold.held)
        return control_error(reply, -EINVAL, "the device is not held");
    hold_continue(&dev->hold);
    return 0;
}

/* ---- the table */

static const struct control_command verbs[] = {
    { "info", verb_info, "what the device is, and whether it has a client, is held or stopped", CONTROL_HELD },
    { "map", verb_map, "the register map, as --dump=json prints it", CONTROL_HELD },
    { "regs", verb_regs, "names=[NAME...] from=N: registers and fields with their values", CONTROL_HELD },
    { "get", verb_get, "name=REG or REG.FIELD: its value", CONTROL_HELD },
    { "set", verb_set, "name=REG or REG.FIELD value=V: the hardware's own write, without hooks", CONTROL_HELD },
    { "eval", verb_eval, "expr=TEXT: an expression's value, or a statement, in the device's script", CONTROL_HELD },
    { "clock", verb_clock, "mode=real or virtual: the device's time", CONTROL_HELD },
    { "advance", verb_advance, "ns=N: virtual time goes on by so much, and what is due happens", CONTROL_LONG },
    { "break", verb_break, "reg=NAME access=r, w, rw or none once=BOOL timeout=S: hold the device at an access",
      CONTROL_HELD | CONTROL_OWNS },
    { "breaks", verb_breaks, "the breaks, and where the device is held", CONTROL_HELD },
    { "reload", verb_reload, "take the plugin's or the script's file as it is now, in place", CONTROL_LONG },
    { "continue", verb_continue, "a held device goes on", CONTROL_HELD },
    { "stats", verb_stats, "counters", CONTROL_HELD },
    { "coverage", coverage_control, "on=BOOL reset=BOOL: what accesses have touched, and what met nothing", CONTROL_HELD },
    { "report", verb_report, "the last events that the device has reported", CONTROL_HELD },
    { "screen", screen_control, "file=PATH display=N: what the device shows, as a PNG file", CONTROL_HELD },
    { "help", verb_help, "this", CONTROL_HELD },
};

const struct control_command *verbs_at(uint32_t i)
{
    return i < sizeof verbs / sizeof *verbs ? &verbs[i] : NULL;
}

const struct control_command *verbs_find(const char *name)
{
    const struct control_command *command;

    for (uint32_t i = 0; (command = verbs_at(i)); i++) {
        if (strcmp(command->name, name) == 0)
            return command;
    }
    return NULL;
}
