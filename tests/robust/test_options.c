/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_options - the command line: every option's mistakes, with the exit status and the words that help. One thread.
 */
#define _GNU_SOURCE
#include "tests/robust/rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct rig rig;

struct line {
    const char *words[12];
    int status;
    const char *says; /* part of a line of the output */
};

#define P "--plugin", "$edu"

static const struct line lines[] = {
    /* usage */
    { { NULL }, 2, "no device is named" },
    { { "--socket-path", "@s" }, 2, "no device is named" },
    { { "--plugn", "x" }, 2, "did you mean --plugin?" },
    { { "--s", "x" }, 2, "--s can be --socket-path, --spin-us, --spin" },
    { { "--dump-p", "--check", P }, 2, "exclude each other" },
    { { "--socketpath", "x" }, 2, "did you mean --socket-path?" },
    { { "--nonsense-of-all-kinds" }, 2, "unknown option --nonsense-of-all-kinds" },
    { { "--nonsense=1" }, 2, "unknown option --nonsense" },
    { { "-x" }, 2, "unknown option -x" },
    { { "--once=now", P }, 2, "--once" },
    { { "--plugin" }, 2, "--plugin needs a value" },
    { { "--plugin", "" }, 2, "--plugin needs a file or a name" },
    { { P, "--socket-path" }, 2, "--socket-path needs a value" },
    { { P, "--socket-path", "" }, 2, "--socket-path needs a path" },
    { { P, "--socket-path", "@a", "--socket-path", "@b" }, 2, "--socket-path is given twice" },
    { { P, "--socket-path", "@a", "--fd", "3" }, 2, "exclude each other" },
    { { P, "--fd", "3", "--socket-path", "@a" }, 2, "exclude each other" },
    { { P, "--fd", "3", "--fd", "4" }, 2, "--fd is given twice" },
    { { P, "--fd", "-1" }, 2, "--fd -1: a descriptor is a number" },
    { { P, "--fd", "three" }, 2, "--fd three: a descriptor is a number" },
    { { P, "--fd", "99999999999999999999" }, 2, "a descriptor is a number" },
    { { P, "--fd", "" }, 2, "a descriptor is a number" },
    { { "dma_mask=1", P }, 2, "dma_mask=1 stands before any --plugin" },
    { { "stray", P }, 2, "stray is neither an option nor KEY=VALUE" },
    { { P, "--", "stray" }, 2, "stray is neither an option nor KEY=VALUE" },
    { { "--dump=elf", P }, 2, "there are json, header, markdown and svd" },
    { { "--dump", "json" }, 2, "no device is named" },
    { { "--check", "--dump-plugin", P }, 2, "exclude each other" },
    { { "--spin-us", "-1", P }, 2, "0 to 1000000 microseconds" },
    { { "--spin-us", "1000001", P }, 2, "0 to 1000000 microseconds" },
    { { "--spin-us", "1s", P }, 2, "0 to 1000000 microseconds" },
    { { "--spin", "0", P }, 2, "1 to 1000000000 reads in a second" },
    { { "--spin", "1e9", P }, 2, "1 to 1000000000 reads in a second" },
    { { "--coverage", "report", P }, 2, "the name ends in .txt, .json or .xml, or is -" },
    { { "--coverage", "", P }, 2, "the name ends in .txt, .json or .xml, or is -" },
    { { "--trace", "-", P }, 2, "--trace needs a file" },
    { { "--trace", "", P }, 2, "--trace needs a file" },
    { { P, "--trace" }, 2, "--trace needs a value" },
    { { "--trace", "@a", "--trace", "@b", P }, 2, "--trace is given twice" },
    { { "--trace-snap", "63", P }, 2, "64 to 1M bytes" },
    { { "--trace-snap", "2M", P }, 2, "64 to 1M bytes" },
    { { "--trace-snap", "all", P }, 2, "64 to 1M bytes" },
    { { "--memory-limit", "1", P }, 2, "a size of at least 1M" },
    { { "--memory-limit", "lots", P }, 2, "a size of at least 1M" },
    { { "--hook-budget", "0", P }, 2, "0.001 to 3600 seconds" },
    { { "--hook-budget", "nan", P }, 2, "0.001 to 3600 seconds" },
    { { "--hook-budget", "3601", P }, 2, "0.001 to 3600 seconds" },
    { { "--hook-budget", "1 s", P }, 2, "0.001 to 3600 seconds" },
    { { "--hook-budget", "", P }, 2, "0.001 to 3600 seconds" },
    { { "--deny", "dma,everything", P }, 2, "--deny everything: no such capability" },
    { { "--deny", ",", P }, 2, "no such capability" },
    { { "--deny", "plugins", P }, 2, "--deny plugins: no such capability" },
    { { "--check", P, "--deny", "ffi,plugin,msi" }, 0, "edu: PCI 1234:11e8" },
    { { "--log-level", "loud", P }, 2, "there are error, warn, info, debug" },
    { { "--log-level", "", P }, 2, "there are error, warn, info, debug" },
    /* parameters */
    { { "--check", P, "nonsense=1" }, 2, "nonsense" },
    { { "--check", P, "dma_mask=much" }, 2, "dma_mask" },
    { { "--check", P, "=1" }, 2, "" },
    { { "--check", P, "dma_mask=" }, 2, "dma_mask" },
    { { "--check", "--plugin", "$lua", "nonsense=1" }, 2, "edu: error: no parameter named nonsense" },
    { { "--check", "--plugin", "$lua", "dma_mask=much" }, 2, "edu: error: parameter dma_mask=much: not understood" },
    { { "--check", "--plugin", "$lua", "dma_mask=1", "dma_mask=2" }, 2, "edu: error: parameter dma_mask is given twice" },
    { { "--check", "--plugin", "@odd name.lua", "x=1" }, 2, "lua: error: no parameter named x" },
    { { "--check", P, "dma_mask=0xffff" }, 0, "edu" },
    /* plugins */
    { { "--check", "--plugin", "@none.lua" }, 3, "none.lua" },
    { { "--check", "--plugin", "@none.so" }, 3, "none.so" },
    { { "--check", "--plugin", "nobody-has-this" }, 3, "nobody-has-this" },
    { { "--check", "--plugin", "@garbage.so" }, 3, "garbage.so" },
    { { "--check", "--plugin", "@" }, 3, "" },
    { { "--check", "--plugin", "@syntax.lua" }, 3, "syntax.lua:3:" },
    { { "--check", "--plugin", "@syntax.lua" }, 3, "vfu-host: syntax: error: " },
    { { "--check", "--plugin", "@raises.lua" }, 3, "raises.lua:2:" },
    { { "--check", "--plugin", "@binary.lua" }, 3, "binary.lua is compiled" },
    { { "--check", "--plugin", "@empty.lua" }, 3, "empty.lua" },
    { { "--check", "--plugin", "@loops.lua", "--hook-budget", "0.05" }, 3, "loops.lua:1:" },
    { { "--check", "--plugin", "@hungry.lua", "--memory-limit", "4M" }, 3, "hungry.lua" },
    { { P, "--socket-path", "@a", "--plugin", "@syntax.lua", "--socket-path", "@b" }, 3, "syntax.lua:3:" },
    /* and what works */
    { { "--help" }, 0, "Usage: vfu-host" },
    { { "--version" }, 0, "vfu-host " },
    { { "--check", "$edu" }, 0, "edu: PCI 1234:11e8" },
    { { "--check", "$edu", "$lua" }, 0, "edu: PCI 1234:11e8" },
    { { "--check", P, "--deny", "msi", "--spin-us", "0", "--memory-limit", "1M" }, 0, "edu: PCI 1234:11e8" },
    { { "--socket-path", "@s", P, "--check" }, 0, "edu: PCI 1234:11e8" },
    { { "--dump-plugin", P }, 0, "name=edu" },
    { { "--dump=json", P }, 0, "\"LIVE\"" },
    { { "--dump", "markdown", P }, 0, "LIVE" },
    { { "--check", P, "--coverage", "@c.txt", "--spin", "1", "-v" }, 0, "edu: PCI 1234:11e8" },
    { { "--check", P, "--trace", "@a", "--trace-snap=1K" }, 0, "edu: PCI 1234:11e8" },
    { { "-vv", "--check", P }, 0, "edu: PCI 1234:11e8" },
};

static void every_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        const struct line *line = &lines[i];
        int status;

        rig_start_words(&rig, line->words);
        status = rig_wait(&rig);
        if (status == line->status && (!line->says[0] || rig_said(&rig, line->says)))
            continue;
        rig_show(&rig);
        fail_msg("line %zu (%s %s %s ...): status %d, not %d; or it does not say \"%s\"", i, line->words[0],
                 line->words[1] ? line->words[1] : "", line->words[1] && line->words[2] ? line->words[2] : "", status,
                 line->status, line->says);
    }
    assert_int_not_equal(access(rig_path(&rig, "a"), F_OK), 0);
}

/* What a plugin is can be asked without the parameters that it requires: what they are is among the answers. */
static void missing_parameters(void **state)
{
    static const struct {
        const char *plugin, *name, *caps;
        const char *missing, *type, *doc;
    } each[] = {
        { "filter", "name=filter", "caps=dma,", "missing=plugin", "parameter.plugin.type=string", "parameter.plugin.doc=" },
        { "@needs.lua", "name=needy", "caps=reset,", "missing=image,size", "parameter.image.type=string",
          "parameter.image.doc=what it shows" },
    };

    (void)state;
    rig_write(&rig, "needs.lua", "local vfu = require 'vfu'\n"
              "local dev = vfu.device('needy', { doc = 'wants much', pci = { vendor = 1, device = 2, class = 0xff0000 },\n"
              "    params = { image = { type = 'string', required = true, doc = 'what it shows' },\n"
              "        size = { type = 'int', required = true, min = 4 }, colour = { 'red', enum = { 'red', 'blue' } } } })\n"
              "dev:bar(0, { size = dev.params.size })\nreturn dev\n");
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        assert_int_equal(rig_run(&rig, "--dump-plugin", "--plugin", each[i].plugin, NULL), 0);
        assert_int_equal(rig_said(&rig, each[i].name), 1);
        assert_int_equal(rig_said(&rig, "version="), 1);
        assert_int_equal(rig_said(&rig, "abi="), 1);
        assert_int_equal(rig_said(&rig, "summary="), 1);
        assert_int_equal(rig_said(&rig, each[i].caps), 1);
        assert_int_equal(rig_said(&rig, "needs="), 1);
        assert_int_equal(rig_said(&rig, each[i].missing), 1);
        assert_int_equal(rig_said(&rig, "note=ids, BARs, interrupts"), 1);
        assert_int_equal(rig_said(&rig, each[i].type), 1);
        assert_int_equal(rig_said(&rig, ".required=yes"), (int)i + 1);
        assert_int_equal(rig_said(&rig, each[i].doc), 1);
        assert_int_equal(rig_said(&rig, "bars="), 0);
        assert_int_equal(rig_said(&rig, "error:"), 0);
        assert_int_equal(rig_run(&rig, "--check", "--plugin", each[i].plugin, NULL), 2);
        assert_int_equal(rig_said(&rig, "is required"), 1);
    }
    assert_int_equal(rig_said(&rig, "parameter image is required: what it shows"), 1);
    /* All of it when they are there; a mistake stays one. */
    assert_int_equal(rig_run(&rig, "--dump-plugin", "--plugin", "@needs.lua", "image=x", "size=4K", NULL), 0);
    assert_int_equal(rig_said(&rig, "bar0=mem32,size:0x1000"), 1);
    assert_int_equal(rig_said(&rig, "missing="), 0);
    assert_int_equal(rig_run(&rig, "--dump-plugin", "--plugin", "@needs.lua", "size=3", NULL), 2);
    assert_int_equal(rig_said(&rig, "parameter size=3: out of range"), 1);
    assert_int_equal(rig_said(&rig, "name="), 0);
}

/* A mistake of usage is one line, and nobody has to scroll for it. */
static void one_line(void **state)
{
    (void)state;
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--fd", "x", NULL), 2);
    assert_int_equal(rig_said(&rig, ""), 1);
    assert_int_equal(rig_said(&rig, "vfu-host --help lists the options"), 1);
}

/* Control characters of an argument do not reach the terminal; lengths do not matter. */
static void hostile_words(void **state)
{
    static char huge[100000];

    (void)state;
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "\033[2J", NULL), 2);
    assert_int_equal(rig_said(&rig, "\033"), 0);
    memset(huge, 'a', sizeof huge - 1);
    assert_int_equal(rig_run(&rig, "--plugin", huge, NULL), 3);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", huge, NULL), 2);
    huge[1] = '=';
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", huge, NULL), 2);
    huge[0] = huge[1] = '-';
    assert_int_equal(rig_run(&rig, huge, NULL), 2);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", huge, NULL), 1);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--deny", huge, NULL), 2);
}

static void before_no_output(struct rig *r)
{
    (void)r;
    close(0);
    close(1);
    close(2);
}

/* Without standard descriptors its own get their numbers: words must not go into a socket. */
static void without_standard_descriptors(void **state)
{
    struct vfuc *c;

    (void)state;
    rig.before = before_no_output;
    rig_start(&rig, "-vv", "--plugin", "$edu", "--socket-path", "@s", NULL);
    for (int i = 0; i < 5; i++) {
        c = rig_client(&rig, "s");
        rig_alive(c);
        vfuc_free(c);
    }
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    rig.before = NULL;
}

/* Where the dynamic linker finds what is no library. */
static void before_bad_libraries(struct rig *r)
{
    setenv("LD_LIBRARY_PATH", r->dir, 1);
}

/* Libraries that only pictures need are loaded for those: without them, other devices serve. */
static void without_picture_libraries(void **state)
{
    static const char *const outputs[] = { "display=png:/nowhere/x.png", "display=vnc:unix:/nowhere/x" };
    char example[512];

    (void)state;
    rig_write(&rig, "libpng16.so.16", "not a library\n");
    rig_write(&rig, "libvncserver.so.1", "not a library\n");
    snprintf(example, sizeof example, "%s/examples/bochs-display.lua", getenv("VFU_SRCDIR"));
    rig.before = before_bad_libraries;
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@s", "--run", "true", NULL), 0);
    assert_int_equal(rig_run(&rig, "--plugin", example, "--socket-path", "@s", "--run", "true", NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_not_equal(rig_run(&rig, "--plugin", example, outputs[i], "--socket-path", "@s", "--run", "true", NULL), 0);
        if (!rig_said(&rig, "this build has no lib"))
            assert_int_equal(rig_said(&rig, i ? "libvncserver.so.1 cannot be loaded" : "libpng16.so.16 cannot be loaded"), 1);
    }
    rig.before = NULL;
}

static int start(void **state)
{
    (void)state;
    rig_open(&rig);
    rig_write(&rig, "garbage.so", "this is no shared object, whatever its name says\n");
    rig_write(&rig, "syntax.lua", "local vfu = require 'vfu'\n\nfunction (\n");
    rig_write(&rig, "odd name.lua", "return require 'vfu'.device('odd', { pci = { vendor = 1, device = 2, class = 0 } })\n");
    rig_write(&rig, "raises.lua", "local vfu = require 'vfu'\nerror('on purpose')\n");
    rig_write(&rig, "binary.lua", "\033Lua\x54 pretends to be compiled");
    rig_write(&rig, "empty.lua", "");
    rig_write(&rig, "loops.lua", "while true do end\n");
    rig_write(&rig, "hungry.lua", "local t = {}\nfor i = 1, 1e8 do t[i] = ('x'):rep(1000) .. i end\n");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line),
        cmocka_unit_test(missing_parameters),
        cmocka_unit_test(one_line),
        cmocka_unit_test(hostile_words),
        cmocka_unit_test(without_standard_descriptors),
        cmocka_unit_test(without_picture_libraries),
    };

    return cmocka_run_group_tests_name("options", tests, start, stop);
}
