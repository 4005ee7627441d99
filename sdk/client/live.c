/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * live - commands of vfu-client that go to the control socket of a running vfu-host: what they ask, and how the answers
 * read. One thread. Answers come from another process: nothing in them is taken for granted.
 */
#include "sdk/client/live.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vfu/client.h>

#include "core/inspect/coverage.h"

struct session {
    const struct live *live;
    struct vfuc_control *control;
};

static int live_failed(const struct session *s)
{
    fprintf(stderr, "vfu-client: %s: %s\n", s->live->socket, vfuc_control_error(s->control));
    return EXIT_FAILURE;
}

/* Takes the request. The answer, which is the caller's, or NULL after a message. */
static json_t *live_ask(const struct session *s, json_t *request)
{
    char *text = json_dumps(request, JSON_COMPACT);
    const char *reply = NULL;
    json_t *answer = NULL;
    int error;

    if (!request) { /* the library of JSON takes nothing else */
        fputs("vfu-client: an argument is not UTF-8\n", stderr);
        return NULL;
    }
    error = text ? vfuc_control_call(s->control, text, &reply) : -ENOMEM;

    free(text);
    json_decref(request);
    if (!text) { /* what jansson makes no JSON of is not UTF-8, or there is no memory */
        fprintf(stderr, "vfu-client: %s: the arguments are no UTF-8 text\n", s->live->socket);
        return NULL;
    }
    if (!error)
        answer = json_loads(reply, 0, NULL);
    if (!answer)
        live_failed(s);
    return answer;
}

static int live_print_json(json_t *answer)
{
    json_object_del(answer, "ok");
    json_dumpf(answer, stdout, JSON_INDENT(2));
    putchar('\n');
    return 0;
}

static const char *live_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "?";
}

static json_int_t live_integer(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static uint64_t live_hex(const json_t *object, const char *key)
{
    return strtoull(live_text(object, key), NULL, 16);
}

/* ---- registers */

static int live_digits(const json_t *reg)
{
    json_int_t size = live_integer(reg, "size");

    return size >= 1 && size <= 8 ? (int)size * 2 : 2;
}

/* The name of a field's value, as the register map has it; NULL: it has none. */
static const char *live_enum(const json_t *mapped, const char *name, uint64_t value)
{
    const json_t *field, *e;
    size_t i, k;

    json_array_foreach((json_t *)(uintptr_t)json_object_get(mapped, "fields"), i, field) {
        if (strcmp(live_text(field, "name"), name) != 0)
            continue;
        json_array_foreach(json_object_get(field, "enums"), k, e) {
            if (live_hex(e, "value") == value)
                return json_string_value(json_object_get(e, "name"));
        }
    }
    return NULL;
}

/* RUN=1 DIR=to_host; `other`: of another value than the register's own, whose names are in what is mapped. */
static void live_fields(const json_t *reg, const uint64_t *other, const json_t *mapped)
{
    const json_t *fields = json_object_get(reg, "fields"), *field;
    const char *name;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)fields, i, field) {
        uint64_t value = live_hex(field, "value");
        json_int_t lsb = live_integer(field, "lsb"), width = live_integer(field, "width");

        if (other && lsb >= 0 && lsb < 64 && width > 0 && width <= 64)
            value = *other >> lsb & UINT64_MAX >> (64 - width);
        name = other ? live_enum(mapped, live_text(field, "name"), value)
                     : json_string_value(json_object_get(field, "text"));
        printf(" %s=", live_text(field, "name"));
        if (name)
            printf("%s", name);
        else
            printf(value > 9 ? "0x%" PRIx64 : "%" PRIu64, value);
    }
}

static void live_widths(const json_t *regs, int *name, int *offset)
{
    const json_t *reg;
    size_t i;

    *name = *offset = 0;
    json_array_foreach((json_t *)(uintptr_t)regs, i, reg) {
        int n = (int)strlen(live_text(reg, "name"));
        int o = (int)(strlen(live_text(reg, "region")) + strlen(live_text(reg, "offset")));

        *name = n > *name && n < 200 ? n : *name;
        *offset = o > *offset && o < 200 ? o : *offset;
    }
}

static void live_print_regs(const json_t *regs)
{
    const json_t *reg;
    int name, offset;
    size_t i;

    live_widths(regs, &name, &offset);
    json_array_foreach((json_t *)(uintptr_t)regs, i, reg) {
        const char *region = live_text(reg, "region");

        printf("%-*s  %s+%-*s  0x%0*" PRIx64, name, live_text(reg, "name"), region, offset - (int)strlen(region),
               live_text(reg, "offset"), live_digits(reg), live_hex(reg, "value"));
        if (json_array_size(json_object_get(reg, "fields"))) {
            printf("%*s", 17 - live_digits(reg), "");
            live_fields(reg, NULL, NULL);
        }
        putchar('\n');
    }
}

/* All of them, however many answers that takes; NULL after a message. */
static json_t *live_collect(const struct session *s, json_t *names)
{
    json_t *all = json_array();
    json_int_t from = 0, before;

    do {
        json_t *request = json_pack("{s:s, s:I}", "cmd", "regs", "from", from), *answer;

        if (names)
            json_object_set(request, "names", names);
        answer = live_ask(s, request);
        if (!answer) {
            json_decref(all);
            return NULL;
        }
        json_array_extend(all, json_object_get(answer, "registers"));
        before = from;
        from = live_integer(answer, "next");
        json_decref(answer);
    } while (from > before);
    return all;
}

/* Whether the name is that of a register, or of an array or a group that has some. */
static bool live_has(const json_t *regs, const char *name)
{
    size_t i, n = strlen(name);
    json_t *reg;

    json_array_foreach((json_t *)(uintptr_t)regs, i, reg) {
        const char *full = live_text(reg, "name");

        if (!strncmp(full, name, n) && (!full[n] || full[n] == '[' || full[n] == '.'))
            return true;
    }
    return false;
}

static int live_regs(const struct session *s, int argc, char **argv)
{
    json_t *names = argc ? json_array() : NULL, *all;
    int status = 0, lacks = 0;

    for (int i = 0; i < argc; i++)
        json_array_append_new(names, json_string(argv[i]));
    all = live_collect(s, names);
    while (all && lacks < argc && live_has(all, argv[lacks]))
        lacks++;
    if (all && lacks < argc) {
        fprintf(stderr, "vfu-client: %s: the device has no register, array or group %s\n", s->live->socket, argv[lacks]);
        status = EXIT_FAILURE;
    } else if (all && s->live->json) {
        json_t *object = json_pack("{s:O}", "registers", all);

        live_print_json(object);
        json_decref(object);
    } else if (all) {
        live_print_regs(all);
    }
    status = all ? status : EXIT_FAILURE;
    json_decref(all);
    json_decref(names);
    return status;
}

/* ---- one question, one answer */

/* Prints the answer by `show`, or as JSON. */
static int live_simple(const struct session *s, json_t *request, void (*show)(const json_t *answer))
{
    json_t *answer = live_ask(s, request);

    if (!answer)
        return EXIT_FAILURE;
    if (s->live->json)
        live_print_json(answer);
    else if (show)
        show(answer);
    json_decref(answer);
    return 0;
}

static void live_show_value(const json_t *answer)
{
    const json_t *text = json_object_get(answer, "text");

    printf("%s%s%s\n", live_text(answer, "value"), text ? " " : "", text ? live_text(answer, "text") : "");
}

static int live_get(const struct session *s, int argc, char **argv)
{
    (void)argc;
    return live_simple(s, json_pack("{s:s, s:s}", "cmd", "get", "name", argv[0]), live_show_value);
}

static int live_set(const struct session *s, int argc, char **argv)
{
    json_t *value = strcmp(argv[1], "true") == 0 ? json_true() : strcmp(argv[1], "false") == 0 ? json_false() : json_string(argv[1]);

    (void)argc;
    return live_simple(s, json_pack("{s:s, s:s, s:o}", "cmd", "set", "name", argv[0], "value", value), NULL);
}

static void live_show_eval(const json_t *answer)
{
    if (*live_text(answer, "value"))
        printf("%s\n", live_text(answer, "value"));
}

static int live_eval(const struct session *s, int argc, char **argv)
{
    (void)argc;
    return live_simple(s, json_pack("{s:s, s:s}", "cmd", "eval", "expr", argv[0]), live_show_eval);
}

static void live_print_time(const json_t *answer)
{
    json_int_t now = live_integer(answer, "now");

    printf("%" JSON_INTEGER_FORMAT ".%09" JSON_INTEGER_FORMAT " s", now / 1000000000, now % 1000000000);
}

static void live_show_clock(const json_t *answer)
{
    printf("%s, ", live_text(answer, "mode"));
    live_print_time(answer);
    putchar('\n');
}

static int live_clock(const struct session *s, int argc, char **argv)
{
    json_t *request = json_pack("{s:s}", "cmd", "clock");

    if (argc)
        json_object_set_new(request, "mode", json_string(argv[0]));
    return live_simple(s, request, live_show_clock);
}

static void live_show_advance(const json_t *answer)
{
    json_int_t events = live_integer(answer, "events");

    live_print_time(answer);
    printf(", %" JSON_INTEGER_FORMAT " event%s\n", events, events == 1 ? "" : "s");
}

static int live_advance(const struct session *s, int argc, char **argv)
{
    char *end;
    double seconds = strtod(argv[0], &end);

    (void)argc;
    if (end == argv[0] || *end || !(seconds >= 0 && seconds <= 9e9)) {
        fprintf(stderr, "vfu-client: advance wants seconds, 0 to 9000000000, not '%s'\n", argv[0]);
        return 2;
    }
    if (!s->live->timed)
        vfuc_control_timeout(s->control, 0);
    return live_simple(s, json_pack("{s:s, s:I}", "cmd", "advance", "ns", (json_int_t)(seconds * 1e9 + 0.5)),
                       live_show_advance);
}

static void live_show_stats(const json_t *answer)
{
    json_t *object = (json_t *)(uintptr_t)answer, *value;
    const char *key;

    json_object_foreach(object, key, value) {
        if (json_is_integer(value))
            printf("%-20s %" JSON_INTEGER_FORMAT "\n", key, json_integer_value(value));
    }
}

static int live_stats(const struct session *s, int argc, char **argv)
{
    (void)argc, (void)argv;
    return live_simple(s, json_pack("{s:s}", "cmd", "stats"), live_show_stats);
}

static int live_plain(const struct session *s, const char *command)
{
    return live_simple(s, json_pack("{s:s}", "cmd", command), NULL);
}

static int live_continue(const struct session *s, int argc, char **argv)
{
    (void)argc, (void)argv;
    return live_plain(s, "continue");
}

static int live_reload(const struct session *s, int argc, char **argv)
{
    (void)argc, (void)argv;
    return live_plain(s, "reload");
}

/* ---- breaks */

static void live_show_held(const json_t *held)
{
    bool write = strcmp(live_text(held, "access"), "w") == 0;

    printf("held at a %s of %s (%s+%s, %" JSON_INTEGER_FORMAT " bytes)\n", write ? "write" : "read", live_text(held, "reg"),
           live_text(held, "region"), live_text(held, "offset"), live_integer(held, "size"));
}

static void live_show_breaks(const json_t *answer)
{
    const json_t *breaks = json_object_get(answer, "breaks"), *held = json_object_get(answer, "held"), *b;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)breaks, i, b)
        printf("%s %s%s\n", live_text(b, "reg"), live_text(b, "access"),
               json_is_true(json_object_get(b, "once")) ? ", once" : "");
    if (json_is_object(held))
        live_show_held(held);
}

static int live_breaks(const struct session *s, int argc, char **argv)
{
    (void)argc, (void)argv;
    return live_simple(s, json_pack("{s:s}", "cmd", "breaks"), live_show_breaks);
}

/* What the register map has of "CMD", "RING[3]" or "CH[2].CTRL". */
static const json_t *live_mapped(const json_t *map, const char *name)
{
    const json_t *registers = json_object_get(json_object_get(map, "map"), "registers"), *entry;
    const char *dot = strchr(name, '.'), *own = dot ? dot + 1 : name;
    size_t i, length = strcspn(own, "["), group = dot ? strcspn(name, "[.") : 0;

    json_array_foreach((json_t *)(uintptr_t)registers, i, entry) {
        const char *in = json_string_value(json_object_get(entry, "group")), *its = live_text(entry, "name");

        if (strlen(its) == length && !strncmp(its, own, length) && (in ? strlen(in) : 0) == group &&
            (!in || !strncmp(in, name, group)))
            return entry;
    }
    return NULL;
}

/* The register as it is, what the access brings, and what to do now. */
static int live_show_hit(const struct session *s, json_t *hit)
{
    json_t *names = json_pack("[s]", live_text(hit, "reg")), *regs, *reg, *map = NULL;
    uint64_t value = live_hex(hit, "value");

    if (s->live->json) {
        json_decref(names);
        return live_print_json(hit);
    }
    regs = live_collect(s, names);
    reg = json_array_get(regs, 0);
    live_show_held(hit);
    if (reg) {
        printf("  is       %s", live_text(reg, "value"));
        live_fields(reg, NULL, NULL);
        putchar('\n');
        if (strcmp(live_text(hit, "access"), "w") == 0) {
            printf("  written  0x%" PRIx64, value);
            if (live_integer(hit, "size") == live_integer(reg, "size")) {
                map = live_ask(s, json_pack("{s:s}", "cmd", "map"));
                live_fields(reg, &value, live_mapped(map, live_text(hit, "reg")));
            }
            putchar('\n');
        }
    }
    printf("Its client waits: QEMU gives up after 5 s, unless x-msg-timeout (ms) says otherwise.\n"
           "Go on with: vfu-client %s continue\n", s->live->socket);
    json_decref(map);
    json_decref(names);
    json_decref(regs);
    return reg ? 0 : EXIT_FAILURE;
}

static int live_wait_hit(const struct session *s, const char *reg)
{
    uint64_t limit = s->live->timed ? s->live->timeout_ns : UINT64_MAX;
    const char *text;
    int got;

    while ((got = vfuc_control_event(s->control, limit, &text)) > 0) {
        json_t *event = json_loads(text, 0, NULL);
        int status = -1;

        if (strcmp(live_text(event, "event"), "break") == 0 && strcmp(live_text(event, "reg"), reg) == 0)
            status = live_show_hit(s, event);
        json_decref(event);
        if (status >= 0)
            return status;
    }
    if (got < 0)
        return live_failed(s);
    fprintf(stderr, "vfu-client: %s: no access to %s within %.3g s\n", s->live->socket, reg,
            (double)s->live->timeout_ns / 1e9);
    return EXIT_FAILURE;
}

static int live_break(const struct session *s, int argc, char **argv)
{
    json_t *request = json_pack("{s:s, s:s, s:b, s:s}", "cmd", "break", "reg", argv[0], "once", 1, "access",
                                argc > 1 ? argv[1] : "rw"), *answer;
    int status;

    if (s->live->timed)
        json_object_set_new(request, "timeout", json_real((double)s->live->timeout_ns / 1e9));
    answer = live_ask(s, json_pack("{s:s}", "cmd", "subscribe"));
    json_decref(answer);
    if (!answer) {
        json_decref(request);
        return EXIT_FAILURE;
    }
    answer = live_ask(s, request);
    if (!answer)
        return EXIT_FAILURE;
    status = live_wait_hit(s, live_text(answer, "reg"));
    json_decref(answer);
    return status;
}

/* ---- what has happened so far */

static int live_coverage_word(json_t *request, const char *word)
{
    if (!strcmp(word, "on") || !strcmp(word, "off"))
        return json_object_set_new(request, "on", json_boolean(!strcmp(word, "on")));
    if (!strcmp(word, "reset"))
        return json_object_set_new(request, "reset", json_true());
    fprintf(stderr, "vfu-client: coverage takes on, off or reset, not '%s'\n", word);
    return -1;
}

/* The text is that of vfu-host --coverage. */
static int live_coverage(const struct session *s, int argc, char **argv)
{
    json_t *request = json_pack("{s:s}", "cmd", "coverage"), *answer, *devices;
    int error = 0;

    for (int i = 0; i < argc && !error; i++)
        error = live_coverage_word(request, argv[i]);
    if (error) {
        json_decref(request);
        return 2;
    }
    answer = live_ask(s, request);
    if (!answer)
        return EXIT_FAILURE;
    if (s->live->json)
        live_print_json(answer);
    else {
        devices = json_pack("[{s:s, s:O}]", "device", s->live->socket, "coverage", json_object_get(answer, "coverage"));
        error = devices ? covfile_print(stdout, COVFILE_TEXT, devices) : -EPROTO;
        json_decref(devices);
        if (!argc && json_is_false(json_object_get(json_object_get(answer, "coverage"), "on")))
            fprintf(stderr, "vfu-client: %s: nothing is counted now: 'coverage on' begins, or the host's --coverage\n",
                    s->live->socket);
    }
    json_decref(answer);
    return error ? EXIT_FAILURE : 0;
}

static int live_reports(const struct session *s, int argc, char **argv)
{
    json_t *answer = live_ask(s, json_pack("{s:s}", "cmd", "report")), *report, *value;
    const char *key;
    size_t i;

    (void)argc;
    (void)argv;
    if (!answer)
        return EXIT_FAILURE;
    if (s->live->json)
        live_print_json(answer);
    json_array_foreach(json_object_get(answer, "reports"), i, report) {
        if (s->live->json)
            break;
        printf("%s%s", live_text(report, "name"), json_is_true(json_object_get(report, "fatal")) ? " (fatal)" : "");
        json_object_foreach(json_object_get(report, "data"), key, value) {
            char *text = json_dumps(value, JSON_ENCODE_ANY);

            printf(" %s=%s", key, text ? text : "?");
            free(text);
        }
        putchar('\n');
    }
    json_decref(answer);
    return 0;
}

/* ---- screens */

/* The host writes the file, in a folder of its own: so the path is made absolute here. */
static int live_screen(const struct session *s, int argc, char **argv)
{
    char *end = NULL, *folder = argv[0][0] == '/' ? strdup("") : getcwd(NULL, 0);
    json_t *request = json_pack("{s:s}", "cmd", "screen");
    unsigned long display = argc > 1 ? strtoul(argv[1], &end, 10) : 0;

    if (!folder || display > 255 || (end && (end == argv[1] || *end))) {
        fprintf(stderr, "vfu-client: screen: %s\n", folder ? "DISPLAY is a number" : strerror(errno));
        json_decref(request);
        free(folder);
        return EXIT_FAILURE;
    }
    json_object_set_new(request, "file", json_sprintf("%s%s%s", folder, *folder ? "/" : "", argv[0]));
    json_object_set_new(request, "display", json_integer((json_int_t)display));
    free(folder);
    return live_simple(s, request, NULL);
}

/* ---- the table */

static const struct {
    const char *name, *arguments;
    int min, max;
    int (*run)(const struct session *s, int argc, char **argv);
} commands[] = {
    { "regs", " [NAME]...", 0, 64, live_regs },
    { "get", " NAME", 1, 1, live_get },
    { "set", " NAME VALUE", 2, 2, live_set },
    { "eval", " EXPR", 1, 1, live_eval },
    { "break", " REG [r|w|rw]", 1, 2, live_break },
    { "breaks", "", 0, 0, live_breaks },
    { "continue", "", 0, 0, live_continue },
    { "clock", " [real|virtual]", 0, 1, live_clock },
    { "advance", " SECONDS", 1, 1, live_advance },
    { "reload", "", 0, 0, live_reload },
    { "stats", "", 0, 0, live_stats },
    { "screen", " FILE.png [DISPLAY]", 1, 2, live_screen },
    { "coverage", " [on|off] [reset]", 0, 2, live_coverage },
    { "reports", "", 0, 0, live_reports },
};

static int live_find(const char *name)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (!strcmp(name, commands[i].name))
            return (int)i;
    }
    return -1;
}

bool live_is_command(const char *name)
{
    return live_find(name) >= 0;
}

int live_run(const struct live *live, int argc, char **argv)
{
    struct session s = { .live = live };
    int i = live_find(argv[0]), status = EXIT_FAILURE;

    argc--;
    argv++;
    if (argc < commands[i].min || argc > commands[i].max) {
        fprintf(stderr, "vfu-client: the command is: vfu-client SOCKET %s%s\nTry 'vfu-client --help'.\n", commands[i].name,
                commands[i].arguments);
        return 2;
    }
    if (vfuc_control_open(live->socket, &s.control) < 0) {
        live_failed(&s);
    } else {
        vfuc_control_timeout(s.control, live->timeout_ns);
        status = commands[i].run(&s, argc, argv);
    }
    vfuc_control_close(s.control);
    return status;
}
