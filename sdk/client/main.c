/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfu-client - talks to a vfio-user device from the command line: options and the commands that take a socket.
 * One thread.
 */
#define _GNU_SOURCE
#include "sdk/client/cli.h"
#include "sdk/client/live.h"
#include "sdk/client/show.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <vfu/plugin.h>

#include "sdk/client/lua.h"
#include "sdk/client/testrun.h"

#define DUMP_PIECE 65536u

static void main_help(void)
{
    printf("Usage: vfu-client [OPTION]... SOCKET COMMAND [ARGUMENT]...\n"
           "       vfu-client [OPTION]... migrate SRC DST\n"
           "       vfu-client test [OPTION]... FILE_test.lua...\n"
           "Talks to the vfio-user device behind the UNIX socket SOCKET.\n\n"
           "Commands:\n"
           "  info                               what the device is: ids, regions, capabilities, interrupts\n"
           "  read REGION OFFSET [SIZE]          print a register of 1, 2, 4 (default) or 8 bytes, or a dump\n"
           "  write REGION OFFSET VALUE [SIZE]   write a register of 1, 2, 4 (default) or 8 bytes\n"
           "  reset                              reset the device\n"
           "  snapshot FILE                      save the device's state; it goes on running\n"
           "  restore FILE                       put a saved state in place of the present one\n"
           "  bench [REGION OFFSET]              measure round trips and bulk accesses\n"
           "  hammer SECONDS                     do everything, good and bad, and see whether it still answers\n"
           "  run SCRIPT.lua [ARGUMENT]...       run a script of your own, with the device as its first argument\n\n"
           "With vfu-host, over its control socket, also while a virtual machine is attached:\n"
           "  regs [NAME]...                     registers and their fields, or some of them\n"
           "  get NAME, set NAME VALUE           one register or field, as the hardware itself would\n"
           "  eval EXPR                          look into a running script, or change it\n"
           "  break REG [r|w|rw]                 hold the device at the next access, and show it\n"
           "  breaks, continue                   where it is held; let it go on\n"
           "  clock [real|virtual]               the device's time\n"
           "  advance SECONDS                    let virtual time pass\n"
           "  reload                             swap in the script that is on disk now\n"
           "  screen FILE.png [DISPLAY]          save what the device shows\n"
           "  stats                              counters\n"
           "  coverage [on|off] [reset]          what accesses have touched, and what they met that is not there\n"
           "  reports                            what the device has reported\n\n"
           "Commands without SOCKET:\n"
           "  migrate SRC DST                    move a device's state from one socket's device to another's\n"
           "  test FILE_test.lua...              run tests of devices that it starts itself: vfu-client test --help\n\n"
           "REGION is bar0 to bar5, rom, config, or an index. Numbers are decimal, or hexadecimal with 0x; K, M and G behind\n"
           "an OFFSET or the SIZE of a read are 1024 times as much each.\n\n"
           "Options:\n"
           "      --json        print JSON\n"
           "      --timeout S   seconds to wait for the device (default 5; break and advance: no limit)\n"
           "      --seed N      hammer: repeat the run that had this seed\n"
           "      --help        show this\n"
           "      --version     show the version\n\n"
           "Exit status: 0 done, 1 the device or the connection failed, 2 the command line makes no sense.\n");
}

int main_usage(const char *format, ...)
{
    va_list args;

    fputs("vfu-client: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\nTry 'vfu-client --help'.\n", stderr);
    return EXIT_USAGE;
}

int main_failed(const struct settings *s, const struct vfuc *c)
{
    fprintf(stderr, "vfu-client: %s: %s\n", s->socket, vfuc_error(c));
    return EXIT_FAILURE;
}

bool main_number(const char *text, uint64_t max, uint64_t *value)
{
    int base = text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10;
    const char *digits = base == 16 ? text + 2 : text;
    char *end;

    /* strtoull itself takes blanks, signs and a second prefix. */
    if (!strchr("0123456789abcdefABCDEF", digits[0]) || !digits[0] ||
        (base == 16 && (digits[1] == 'x' || digits[1] == 'X')))
        return false;
    errno = 0;
    *value = strtoull(digits, &end, base);
    return !errno && !*end && *value <= max;
}

/* Bytes: a number, of KiB with K behind it, and so on. */
static bool main_bytes(const char *text, uint64_t max, uint64_t *value)
{
    static const char units[] = "KMGT";
    size_t n = strlen(text);
    const char *unit = n ? strchr(units, text[n - 1] & ~0x20) : NULL;
    char digits[32];
    int shift = unit && *unit ? 10 * (int)(unit - units + 1) : 0;

    if (!shift)
        return main_number(text, max, value);
    if (n > sizeof digits)
        return false;
    memcpy(digits, text, n - 1);
    digits[n - 1] = '\0';
    if (!main_number(digits, max >> shift, value))
        return false;
    *value <<= shift;
    return true;
}

bool main_seconds(const char *text, double min, double max, uint64_t *ns)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end || !(seconds >= min && seconds <= max))
        return false;
    *ns = (uint64_t)(seconds * 1e9);
    return true;
}

bool main_region(const char *text, uint32_t *region)
{
    static const char *const names[] = { "bar0", "bar1", "bar2", "bar3", "bar4", "bar5", "rom", "config", "vga" };
    uint64_t value;

    for (uint32_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!strcasecmp(text, names[i])) {
            *region = i;
            return true;
        }
    }
    if (!main_number(text, UINT32_MAX, &value))
        return false;
    *region = (uint32_t)value;
    return true;
}

/* What read and write have in common: 0, or the exit status. */
static int main_place(char **argv, uint32_t *region, uint64_t *offset)
{
    if (!main_region(argv[0], region))
        return main_usage("'%s' is no region: bar0 to bar5, rom, config, or an index", argv[0]);
    if (!main_bytes(argv[1], UINT64_MAX, offset))
        return main_usage("'%s' is no offset: a decimal number, or a hexadecimal one with 0x", argv[1]);
    return 0;
}

static bool main_is_width(uint64_t size)
{
    return size == 1 || size == 2 || size == 4 || size == 8;
}

static void main_dump(uint64_t offset, const uint8_t *data, size_t size)
{
    for (size_t at = 0; at < size; at += 16) {
        size_t n = size - at < 16 ? size - at : 16;

        printf("%08" PRIx64 " ", offset + at);
        for (size_t i = 0; i < 16; i++)
            i < n ? printf("%s%02x", i == 8 ? "  " : " ", data[at + i]) : printf("%s", i == 8 ? "    " : "   ");
        printf("  |");
        for (size_t i = 0; i < n; i++)
            putchar(data[at + i] >= ' ' && data[at + i] < 127 ? data[at + i] : '.');
        printf("|\n");
    }
}

static void main_json_value(uint32_t region, uint64_t offset, uint32_t size, uint64_t value)
{
    printf("{\"region\": %u, \"offset\": %" PRIu64 ", \"size\": %u, \"value\": \"0x%0*" PRIx64 "\"}\n", region, offset,
           size, (int)size * 2, value);
}

static int main_read_value(struct vfuc *c, const struct settings *s, uint32_t region, uint64_t offset, uint32_t size)
{
    uint64_t value;

    if (vfuc_get(c, region, offset, size, &value) < 0)
        return main_failed(s, c);
    if (s->json)
        main_json_value(region, offset, size, value);
    else
        printf("0x%0*" PRIx64 "\n", (int)size * 2, value);
    return 0;
}

/* All of it, or nothing: half an object is none. */
static int main_read_json(struct vfuc *c, const struct settings *s, uint32_t region, uint64_t offset, size_t size)
{
    uint8_t *data = malloc(size);
    int status = 0;

    if (!data) {
        fprintf(stderr, "vfu-client: no memory for %zu bytes\n", size);
        return EXIT_FAILURE;
    }
    if (vfuc_read(c, region, offset, data, size) < 0) {
        status = main_failed(s, c);
    } else {
        printf("{\"region\": %u, \"offset\": %" PRIu64 ", \"size\": %zu, \"data\": \"", region, offset, size);
        for (size_t i = 0; i < size; i++)
            printf("%02x", data[i]);
        printf("\"}\n");
    }
    free(data);
    return status;
}

static int main_read(struct vfuc *c, const struct settings *s, char **argv, int argc)
{
    static uint8_t data[DUMP_PIECE];
    uint64_t offset, size = 4;
    uint32_t region;
    int status = main_place(argv, &region, &offset);

    if (status)
        return status;
    if (argc > 2 && (!main_bytes(argv[2], UINT32_MAX, &size) || !size))
        return main_usage("'%s' is no size: 1 to 4294967295 bytes, as in 64, 0x40 or 4K", argv[2]);
    if (!c)
        return 0;
    if (main_is_width(size))
        return main_read_value(c, s, region, offset, (uint32_t)size);
    if (s->json)
        return main_read_json(c, s, region, offset, (size_t)size);
    while (size) {
        size_t n = size < sizeof data ? (size_t)size : sizeof data;

        if (vfuc_read(c, region, offset, data, n) < 0)
            return main_failed(s, c);
        main_dump(offset, data, n);
        offset += n;
        size -= n;
    }
    return 0;
}

static int main_write(struct vfuc *c, const struct settings *s, char **argv, int argc)
{
    uint64_t offset, value, size = 4;
    uint32_t region;
    int status = main_place(argv, &region, &offset);

    if (status)
        return status;
    if (argc > 3 && (!main_number(argv[3], 8, &size) || !main_is_width(size)))
        return main_usage("'%s' is no size: 1, 2, 4 or 8 bytes", argv[3]);
    if (!main_number(argv[2], UINT64_MAX, &value))
        return main_usage("'%s' is no value: a decimal number, or a hexadecimal one with 0x", argv[2]);
    if (size < 8 && value >> (size * 8))
        return main_usage("0x%" PRIx64 " does not fit into %" PRIu64 " bytes", value, size);
    if (!c)
        return 0;
    if (vfuc_put(c, region, offset, (uint32_t)size, value) < 0)
        return main_failed(s, c);
    if (s->json)
        main_json_value(region, offset, (uint32_t)size, value);
    return 0;
}

static int main_info(struct vfuc *c, const struct settings *s, char **argv, int argc)
{
    (void)argv;
    (void)argc;
    if (!c)
        return 0;
    return show_info(c, s->json) < 0 ? main_failed(s, c) : 0;
}

static int main_reset(struct vfuc *c, const struct settings *s, char **argv, int argc)
{
    (void)argv;
    (void)argc;
    if (!c)
        return 0;
    if (vfuc_reset(c) < 0)
        return main_failed(s, c);
    if (s->json)
        printf("{\"done\": \"reset\"}\n");
    return 0;
}

static int main_run(struct vfuc *c, const struct settings *s, char **argv, int argc)
{
    if (!c && access(argv[0], R_OK) < 0)
        return main_usage("%s: %s", argv[0], strerror(errno));
    return c ? script_run(c, s->socket, argv, argc) : 0;
}

/* run() is called twice: without a connection, to judge the arguments before anything is touched; and with it. */
static const struct command {
    const char *name, *arguments;
    int min, max;
    int (*run)(struct vfuc *c, const struct settings *s, char **argv, int argc);
} commands[] = {
    { "info", "", 0, 0, main_info },
    { "read", " REGION OFFSET [SIZE]", 2, 3, main_read },
    { "write", " REGION OFFSET VALUE [SIZE]", 3, 4, main_write },
    { "reset", "", 0, 0, main_reset },
    { "snapshot", " FILE", 1, 1, move_snapshot },
    { "restore", " FILE", 1, 1, move_restore },
    { "bench", " [REGION OFFSET]", 0, 2, measure_bench },
    { "hammer", " SECONDS", 1, 1, hammer_run },
    { "run", " SCRIPT.lua [ARGUMENT]...", 1, 255, main_run },
};
#define COMMANDS "info, read, write, reset, snapshot, restore, bench, hammer, run; with vfu-host also regs, get, set, eval, break, " \
                 "breaks, continue, clock, advance, reload, stats, coverage, reports or screen"

int main_connect(struct vfuc *c, const struct settings *s)
{
    int err = vfuc_connect(c, s->socket);
    bool named = strstr(vfuc_error(c), s->socket);
    bool silent = err == -ETIMEDOUT && !strstr(vfuc_error(c), " byte") && !strstr(vfuc_error(c), "message");

    if (!err)
        return 0;
    fprintf(stderr, "vfu-client: cannot connect to %s%s%s%s\n", named ? "" : s->socket, named ? "" : ": ",
            vfuc_error(c),
            silent || err == -EBUSY ? " (" CLI_BUSY ")" : "");
    return EXIT_FAILURE;
}

static bool main_is_command(const char *name)
{
    bool is = live_is_command(name);

    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        is |= !strcmp(name, commands[i].name);
    return is;
}

static int main_command(struct settings *s, int argc, char **argv)
{
    const struct command *command = NULL;
    struct vfuc_options options = { .struct_size = sizeof options, .timeout_ns = s->timeout_ns };
    struct vfuc *c;
    int status;

    if (argc < 1)
        return main_usage("a SOCKET is missing");
    if (!strcmp(argv[0], "migrate") && argc == 3 && !strcmp(argv[1], argv[2]))
        return main_usage("SRC and DST are the same: a state moves from one device to another");
    if (!strcmp(argv[0], "migrate"))
        return argc == 3 ? move_migrate(s, argv[1], argv[2]) : main_usage("the command is: vfu-client migrate SRC DST");
    if (argc < 2)
        return main_usage("a command is missing: " COMMANDS);
    if (!strcmp(argv[0], "test"))
        return main_usage("the options of test come behind it, and a socket named test is ./test");
    s->socket = argv[0];
    if (live_is_command(argv[1])) {
        struct live live = { s->socket, s->json, s->timed, s->timeout_ns };

        return live_run(&live, argc - 1, argv + 1);
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (!strcmp(argv[1], commands[i].name))
            command = &commands[i];
    }
    if (!command && main_is_command(argv[0]))
        return main_usage("the socket comes first: %s SOCKET %s ...", program_invocation_short_name, argv[0]);
    if (!command)
        return main_usage("'%s' is no command: " COMMANDS, argv[1]);
    argc -= 2;
    argv += 2;
    if (argc < command->min || argc > command->max)
        return main_usage("the command is: %s SOCKET %s%s", program_invocation_short_name, command->name,
                          command->arguments);
    status = command->run(NULL, s, argv, argc);
    if (status)
        return status;
    c = vfuc_new(&options);
    if (!c) {
        fputs("vfu-client: out of memory\n", stderr);
        return EXIT_FAILURE;
    }
    status = main_connect(c, s);
    if (!status)
        status = command->run(c, s, argv, argc);
    vfuc_free(c);
    return status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "json", no_argument, NULL, 'j' },
        { "timeout", required_argument, NULL, 't' },
        { "seed", required_argument, NULL, 's' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        { NULL, 0, NULL, 0 },
    };
    struct settings s = { .timeout_ns = UINT64_C(5000000000) };
    int option, status;

    if (argc > 1 && !strcmp(argv[1], "test"))
        return testrun_main(argc - 1, argv + 1);
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'j':
            s.json = true;
            break;
        case 't':
            if (!main_seconds(optarg, 0.001, 1e6, &s.timeout_ns))
                return main_usage("--timeout wants seconds, 0.001 to 1000000, not '%s'", optarg);
            s.timed = true;
            break;
        case 's':
            if (!main_number(optarg, UINT64_MAX, &s.seed))
                return main_usage("--seed wants a number, as an earlier run has printed it, not '%s'", optarg);
            s.seeded = true;
            break;
        case 'h':
            main_help();
            return 0;
        case 'V':
            printf("vfu-client %s\n", VFU_SDK_VERSION);
            return 0;
        default:
            /* getopt_long has said what is wrong. */
            if (optopt >= '0' && optopt <= '9')
                fputs("A number has no sign here; what begins with a dash all the same goes behind --.\n", stderr);
            fputs("Try 'vfu-client --help'.\n", stderr);
            return EXIT_USAGE;
        }
    }
    status = main_command(&s, argc - optind, argv + optind);
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "vfu-client: cannot write the output: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    return status;
}
