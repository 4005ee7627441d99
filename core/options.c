/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options - the command line of vfu-host. Main's thread.
 */
#include "core/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/inspect/coverage.h"
#include "core/base/log.h"
#include "core/plugin/params.h"
#include "core/plugin/plugin.h"
#include "core/wire/tracefile.h"

enum {
    OPT_PLUGIN = 256,
    OPT_SOCKET_PATH,
    OPT_FD,
    OPT_CONTROL,
    OPT_CLOCK,
    OPT_DUMP_PLUGIN,
    OPT_DUMP,
    OPT_RUN,
    OPT_ONCE,
    OPT_RELOAD,
    OPT_SPIN_US,
    OPT_SPIN,
    OPT_COVERAGE,
    OPT_TRACE,
    OPT_TRACE_SNAP,
    OPT_CHECK,
    OPT_NEW,
    OPT_LANG,
    OPT_DENY,
    OPT_HOOK_BUDGET,
    OPT_MEMORY_LIMIT,
    OPT_LOG_LEVEL,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option longs[] = {
    { "plugin", required_argument, NULL, OPT_PLUGIN },
    { "socket-path", required_argument, NULL, OPT_SOCKET_PATH },
    { "fd", required_argument, NULL, OPT_FD },
    { "control", required_argument, NULL, OPT_CONTROL },
    { "clock", required_argument, NULL, OPT_CLOCK },
    { "dump-plugin", no_argument, NULL, OPT_DUMP_PLUGIN },
    { "dump", required_argument, NULL, OPT_DUMP },
    { "run", required_argument, NULL, OPT_RUN },
    { "once", no_argument, NULL, OPT_ONCE },
    { "reload", no_argument, NULL, OPT_RELOAD },
    { "spin-us", required_argument, NULL, OPT_SPIN_US },
    { "spin", required_argument, NULL, OPT_SPIN },
    { "coverage", required_argument, NULL, OPT_COVERAGE },
    { "trace", required_argument, NULL, OPT_TRACE },
    { "trace-snap", required_argument, NULL, OPT_TRACE_SNAP },
    { "check", no_argument, NULL, OPT_CHECK },
    { "new", required_argument, NULL, OPT_NEW },
    { "lang", required_argument, NULL, OPT_LANG },
    { "deny", required_argument, NULL, OPT_DENY },
    { "hook-budget", required_argument, NULL, OPT_HOOK_BUDGET },
    { "memory-limit", required_argument, NULL, OPT_MEMORY_LIMIT },
    { "log-level", required_argument, NULL, OPT_LOG_LEVEL },
    { "help", no_argument, NULL, OPT_HELP },
    { "version", no_argument, NULL, OPT_VERSION },
    { NULL, 0, NULL, 0 },
};

static const char help_text[] =
    "Usage: vfu-host --plugin FILE [KEY=VALUE]... [--socket-path PATH | --fd N] [--plugin FILE ...]...\n"
    "Serves emulated PCI devices over the vfio-user protocol.\n"
    "\n"
    "Devices:\n"
    "  --plugin FILE        a Lua script (.lua), a plugin file (.so), or an installed plugin's name;\n"
    "                       again: one more device in this process\n"
    "  KEY=VALUE            a parameter of the --plugin before it (--dump-plugin lists them)\n"
    "  --socket-path PATH   where that device listens; without it NAME.sock in $XDG_RUNTIME_DIR/vfu,\n"
    "                       or in a private folder under the temporary directory\n"
    "  --fd N               a listening or connected socket that was inherited; sockets of socket\n"
    "                       activation (LISTEN_FDS) are taken in order by devices with neither option\n"
    "  --control PATH       that device's control socket; without it the socket's path with .control behind it\n"
    "\n"
    "Instead of serving:\n"
    "  --check              load, report, exit; a file name may follow it\n"
    "  --dump-plugin        say what the device is, in key=value lines\n"
    "  --dump=FORMAT        print the register map: json, header, markdown or svd\n"
    "  --new NAME           write a device to begin with, and its test, into a new folder NAME\n"
    "  --lang L             its language: c, cpp, lua or rust (c)\n"
    "\n"
    "Serving:\n"
    "  --once               exit when the first client goes away\n"
    "  --reload             when a script (or a .so) is saved, swap it in under the running client;\n"
    "                       implies -v\n"
    "  --run 'CMD'          start, run CMD with $VFU_SOCKET set, stop with CMD's status\n"
    "  --clock MODE         the devices' time: real, or virtual, which goes on when a client advances it\n"
    "  --spin-us N          busy-wait up to N microseconds for the next message before sleeping\n"
    "  --deny LIST          take capabilities away from plugins, as in --deny dma_map,ffi\n"
    "  --hook-budget S      seconds that one callback of a script may run (1)\n"
    "  --memory-limit SIZE  memory that one script may hold (64M)\n"
    "\n"
    "What the driver does:\n"
    "  -v                   print each access by name, and say more (level info); -vv: level debug\n"
    "  --coverage FILE      write which registers and fields were touched, and what met nothing, at the\n"
    "                       end and on SIGUSR1; FILE ends in .txt, .json or .xml, or is - (text)\n"
    "  --trace FILE         write each message of the protocol to FILE, in the pcapng format of Wireshark\n"
    "  --trace-snap SIZE    bytes of each message that the trace keeps (64K)\n"
    "  --spin N             name a register that is read more than N times a second without a change\n"
    "\n"
    "  --log-level L        how much to say: error, warn (as without it), info or debug\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 clean, 1 run-time failure, 2 usage, 3 a plugin could not be loaded.\n";

static int usage(const char *format, const char *what)
{
    char text[512];

    snprintf(text, sizeof text, format, what);
    log_error(NULL, "%s (vfu-host --help lists the options)", text);
    return 2;
}

/* Levenshtein distance of short words, for hints. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[64], n = (unsigned)strlen(b);

    if (n >= 63)
        return n;
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 1; *a; i++, a++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (unsigned j = 1; j <= n; j++) {
            unsigned best = diagonal + (*a != b[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

/* An option that was cut too short: those it could be. False: none. */
static bool ambiguous(const char *word, char *text, size_t room)
{
    size_t n = strlen(word), at = 0, found = 0;

    for (const struct option *o = longs; n > 2 && strncmp(word, "--", 2) == 0 && o->name; o++) {
        if (strncmp(word + 2, o->name, n - 2) != 0)
            continue;
        at += (size_t)snprintf(text + at, room - at, "%s--%s", found++ ? ", " : "", o->name);
        if (at >= room)
            break;
    }
    return found > 1;
}

static int unknown_option(const char *argument)
{
    const char *best = NULL;
    unsigned least = 4;
    char word[64], text[256], list[160];

    snprintf(word, sizeof word, "%.*s", (int)strcspn(argument, "="), argument);
    if (ambiguous(word, list, sizeof list)) {
        snprintf(text, sizeof text, "%s can be %s", word, list);
        return usage("%s", text);
    }
    for (const struct option *o = longs; word[0] == '-' && word[1] == '-' && o->name; o++) {
        unsigned d = distance(word + 2, o->name);

        if (d < least) {
            least = d;
            best = o->name;
        }
    }
    if (!best)
        return usage("unknown option %s", word);
    snprintf(text, sizeof text, "unknown option %s; did you mean --%s?", word, best);
    return usage("%s", text);
}

static struct option_device *add_device(struct options *options, const char *spec)
{
    struct option_device *devices = realloc(options->devices, (options->ndevices + 1) * sizeof *devices);

    if (!devices)
        return NULL;
    options->devices = devices;
    devices[options->ndevices] = (struct option_device){ .spec = spec, .fd = -1 };
    return &devices[options->ndevices++];
}

static int take_plugin(struct options *options, const char *spec)
{
    struct option_device *last = options->ndevices ? &options->devices[options->ndevices - 1] : NULL;

    if (*spec == '\0')
        return usage("--plugin needs a file or a name%s", "");
    /* --socket-path, --fd and --control may stand before the first --plugin. */
    if (last && !last->spec) {
        last->spec = spec;
        return -1;
    }
    return add_device(options, spec) ? -1 : 1;
}

static int take_word(struct options *options, char *word)
{
    struct option_device *device = options->ndevices ? &options->devices[options->ndevices - 1] : NULL;
    char **items;

    if (options->mode == MODE_CHECK && !strchr(word, '='))
        return take_plugin(options, word);
    if (!strchr(word, '='))
        return usage("%s is neither an option nor KEY=VALUE; a device is named with --plugin", word);
    if (!device || !device->spec)
        return usage("%s stands before any --plugin that it could belong to", word);
    items = realloc(device->items, (device->nitems + 1) * sizeof *items);
    if (!items)
        return 1;
    device->items = items;
    items[device->nitems++] = word;
    return -1;
}

static int take_socket(struct options *options, const char *path, const char *fd_text)
{
    struct option_device *device = options->ndevices ? &options->devices[options->ndevices - 1] : NULL;
    int64_t fd = -1;

    if (!device)
        device = add_device(options, NULL);
    if (!device)
        return 1;
    if (fd_text && (params_parse_int(fd_text, &fd) || fd < 0 || fd > INT32_MAX))
        return usage("--fd %s: a descriptor is a number from 0 up", fd_text);
    if (path && *path == '\0')
        return usage("--socket-path needs a path%s", "");
    if ((path && device->fd >= 0) || (fd_text && device->socket_path))
        return usage("--socket-path and --fd exclude each other%s", "");
    if ((path && device->socket_path) || (fd_text && device->fd >= 0))
        return usage("%s is given twice for one device", path ? "--socket-path" : "--fd");
    device->socket_path = path ? path : device->socket_path;
    device->fd = fd_text ? (int)fd : device->fd;
    return -1;
}

static int take_control(struct options *options, const char *path)
{
    struct option_device *device = options->ndevices ? &options->devices[options->ndevices - 1] : NULL;

    if (!device)
        device = add_device(options, NULL);
    if (!device)
        return 1;
    if (*path == '\0')
        return usage("--control needs a path%s", "");
    if (device->control)
        return usage("%s is given twice for one device", "--control");
    device->control = path;
    return -1;
}

static int take_clock(struct options *options, const char *mode)
{
    options->virtual_time = strcmp(mode, "virtual") == 0;
    return options->virtual_time || strcmp(mode, "real") == 0 ? -1 : usage("--clock %s: there are real and virtual", mode);
}

static int take_deny(struct options *options, const char *list)
{
    while (*list) {
        size_t n = strcspn(list, ",");
        uint64_t cap = plugin_cap_of(list, n);
        bool plugins = n == 6 && strncmp(list, "plugin", n) == 0; /* no capability: a name of its own */
        char name[64];

        if (!cap && !plugins) {
            snprintf(name, sizeof name, "%.*s", (int)n, list);
            return usage("--deny %s: no such capability; there are dma, dma_map, intx, msi, msix, reset, mmap, doorbell, "
                         "migration, timers, fd_watch, poll, threads, ffi, reload, and plugin",
                         name);
        }
        options->deny |= cap;
        options->deny_plugins |= plugins;
        list += n + (list[n] == ',');
    }
    return -1;
}

static int take_numbers(struct options *options, int option, const char *text)
{
    int64_t value;
    double seconds;
    char *end;

    if (option == OPT_SPIN) {
        if (params_parse_int(text, &value) || value < 1 || value > 1000000000)
            return usage("--spin %s: 1 to 1000000000 reads in a second", text);
        options->spin = (uint64_t)value;
    } else if (option == OPT_SPIN_US) {
        if (params_parse_int(text, &value) || value < 0 || value > 1000000)
            return usage("--spin-us %s: 0 to 1000000 microseconds", text);
        options->spin_us = (uint32_t)value;
    } else if (option == OPT_MEMORY_LIMIT) {
        if (params_parse_int(text, &value) || value < (1 << 20))
            return usage("--memory-limit %s: a size of at least 1M", text);
        options->limits.memory_limit = (uint64_t)value;
    } else if (option == OPT_TRACE_SNAP) {
        if (params_parse_int(text, &value) || value < TRACEFILE_SNAP_MIN || value > TRACEFILE_SNAP_MAX)
            return usage("--trace-snap %s: 64 to 1M bytes", text);
        options->trace_snap = (uint32_t)value;
    } else {
        seconds = strtod(text, &end);
        if (end == text || *end || !(seconds >= 0.001 && seconds <= 3600))
            return usage("--hook-budget %s: 0.001 to 3600 seconds", text);
        options->limits.hook_budget = (uint64_t)(seconds * 1e9);
    }
    return -1;
}

static int take_trace(struct options *options, const char *path)
{
    if (*path == '\0' || strcmp(path, "-") == 0)
        return usage("--trace needs a file; a FIFO will do, for a reader that looks on%s", "");
    if (options->tracefile)
        return usage("--trace is given twice: one file takes the messages of all devices%s", "");
    options->tracefile = path;
    return -1;
}

static int take_mode(struct options *options, enum option_mode mode, const char *dump)
{
    static const char *const formats[] = { "json", "header", "markdown", "svd" };
    bool known = !dump;

    for (int i = 0; dump && i < 4; i++)
        known |= strcmp(dump, formats[i]) == 0;
    if (!known)
        return usage("--dump=%s: there are json, header, markdown and svd", dump);
    if (options->mode != MODE_SERVE && options->mode != mode)
        return usage("--check, --dump-plugin, --dump and --new exclude each other%s", "");
    options->mode = mode;
    options->dump = dump;
    return -1;
}

static int take_option(struct options *options, int option, char *argument)
{
    switch (option) {
    case 1:
        return take_word(options, argument);
    case 'v':
        options->trace = true;
        if (log_threshold < LOG_DEBUG)
            log_threshold++;
        return -1;
    case OPT_LOG_LEVEL:
        options->level_given = true;
        log_threshold = log_level_parse(argument);
        return log_threshold < 0 ? log_threshold = LOG_WARN, usage("--log-level %s: there are error, warn, info, debug", argument) : -1;
    case OPT_PLUGIN:
        return take_plugin(options, argument);
    case OPT_SOCKET_PATH:
        return take_socket(options, argument, NULL);
    case OPT_FD:
        return take_socket(options, NULL, argument);
    case OPT_CONTROL:
        return take_control(options, argument);
    case OPT_CLOCK:
        return take_clock(options, argument);
    case OPT_DUMP_PLUGIN:
        return take_mode(options, MODE_DUMP_PLUGIN, NULL);
    case OPT_DUMP:
        return take_mode(options, MODE_DUMP, argument);
    case OPT_CHECK:
        return take_mode(options, MODE_CHECK, NULL);
    case OPT_NEW:
        options->new_name = argument;
        return take_mode(options, MODE_NEW, NULL);
    case OPT_LANG:
        options->lang = argument;
        return -1;
    case OPT_RUN:
        options->run = argument;
        return -1;
    case OPT_ONCE:
        options->once = true;
        return -1;
    case OPT_RELOAD:
        options->reload = true;
        return -1;
    case OPT_DENY:
        return take_deny(options, argument);
    case OPT_COVERAGE:
        if (covfile_format(argument) < 0)
            return usage("--coverage %s: the name ends in .txt, .json or .xml, or is - for standard output", argument);
        options->coverage = argument;
        return -1;
    case OPT_TRACE:
        return take_trace(options, argument);
    case OPT_SPIN:
    case OPT_SPIN_US:
    case OPT_TRACE_SNAP:
    case OPT_HOOK_BUDGET:
    case OPT_MEMORY_LIMIT:
        return take_numbers(options, option, argument);
    case OPT_HELP:
        fputs(help_text, stdout);
        return 0;
    default:
        printf("vfu-host %s (plugin ABI %u.%u)\n", VFU_SDK_VERSION, VFU_ABI_MAJOR, VFU_ABI_MINOR);
        return 0;
    }
}

int options_parse(struct options *options, int argc, char **argv)
{
    int option;

    *options = (struct options){
        .limits = { .struct_size = sizeof options->limits, .hook_budget = 1000000000u, .memory_limit = 64u << 20 },
        .trace_snap = TRACEFILE_SNAP,
    };
    opterr = 0;
    /* '-': words come in their place, since a KEY=VALUE belongs to the --plugin before it. ':': tell what is missing. */
    while ((option = getopt_long(argc, argv, "-:v", longs, NULL)) != -1) {
        int status;

        if (option == '?')
            return optopt && optopt < 256 ? usage("unknown option -%s", (char[]){ (char)optopt, 0 })
                   : optopt               ? usage("%s takes no value", argv[optind - 1])
                                          : unknown_option(argv[optind - 1]);
        if (option == ':')
            return usage("%s needs a value", argv[optind - 1]);
        status = take_option(options, option, optarg);
        if (status >= 0)
            return status;
    }
    while (optind < argc) {
        int status = take_word(options, argv[optind++]);

        if (status >= 0)
            return status;
    }
    /* Whoever edits wants to see what comes of it; a word of his on that, though, counts. */
    if (options->reload && options->mode == MODE_SERVE && !options->level_given && log_threshold < LOG_INFO)
        log_threshold = LOG_INFO;
    if (options->lang && options->mode != MODE_NEW)
        return usage("--lang belongs to --new NAME%s", "");
    if (options->mode == MODE_NEW)
        return options->ndevices ? usage("--new %s writes a device and serves none", options->new_name) : -1;
    if (!options->ndevices || !options->devices[0].spec)
        return usage("no device is named; start with --plugin FILE%s", "");
    return -1;
}

void options_free(struct options *options)
{
    for (uint32_t i = 0; i < options->ndevices; i++)
        free(options->devices[i].items);
    free(options->devices);
}
