/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking into a running script: expressions and statements, how values are printed, and texts that mean no good. One
 * thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lua/binding.h"
#include "tests/lua/fake.h"

static const char script[] =
    "local vfu = require 'vfu'\n"
    "local d = vfu.device('d', { pci = { vendor = 1, device = 2 }, dma = true,\n"
    " state = { n = 0, t = { 3, 2, 1 }, buf = vfu.buffer(40), s = 'x' } })\n"
    "d:bar(0, { size = 4096 }, { vfu.reg('A', 0, 4),\n"
    " vfu.reg('F', 16, 2, { vfu.flag('ON', 0), vfu.field('MODE', 1, 2, { 'off', 'slow' }), vfu.field('N', 4, 8) }),\n"
    " vfu.reg('ARR', 32, 4, { count = 4 }), vfu.group('CH', 128, { count = 3, stride = 32 }, { vfu.reg('CTL', 0, 4) }) })\n"
    "function d.event:tick() self.n = self.n + 1 end\n"
    "function d.write:A(v) self.n = v end\n"
    "global = 'of the script'\n"
    "return d\n";

static struct fake *f;
static char out[65536];

static int setup(void **state)
{
    (void)state;
    f = calloc(1, sizeof *f);
    assert_non_null(f);
    fake_start(f, script);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_stop(f);
    free(f);
    return 0;
}

static int32_t eval(const char *expr, uint32_t size)
{
    const struct vfu_introspect *look = f->plugin->extension(VFU_EXT_INTROSPECT);

    memset(out, '#', sizeof out);
    return look->eval(f->self, expr, out, size);
}

static void is(const char *expr, const char *value)
{
    if (eval(expr, sizeof out) || strcmp(out, value))
        fail_msg("%s: %s, not %s", expr, out, value);
}

static void fails(const char *expr, const char *says)
{
    if (!eval(expr, sizeof out) || !strstr(out, says))
        fail_msg("%s: %s, not %s", expr, out, says);
}

static void values(void **state)
{
    (void)state;
    is("nil", "nil");
    is("true, false", "true, false");
    is("7", "7");
    is("120", "120 (0x78)");
    is("-1", "-1 (0xffffffffffffffff)");
    is("0.5", "0.5");
    is("'a\\\"b\\n\\1\\255'", "\"a\\\"b\\n\\x01\\xff\"");
    is("{}", "{}");
    is("{ 1, { 20 }, b = 'x', a = true, [-5] = 1 }", "{ 1, { 20 }, a = true, b = \"x\", [-5] = 1 }");
    is("{{{{{}}}}}", "{ { { { {...} } } } }");
    is("self", "device d");
    is("self.t", "{ 3, 2, 1 }");
    is("self.F", "0x0 (ON = false, MODE = \"off\", N = 0)");
    is("self.F.MODE", "\"off\"");
    is("self.ARR[2]", "0x0");
    is("self.CH", "CH");
    is("self.CH[1].CTL", "0x0");
    is("self.buf", "buffer of 40 bytes: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
                   "00 00 00 00 00 ...");
    is("setmetatable({}, { __tostring = function() return 'mine' end })", "mine");
    is("", "");
}

static void statements(void **state)
{
    (void)state;
    is("self.F.MODE = 'slow'", "");
    is("self.F.MODE", "\"slow\"");
    is("self.n = self.n + 5", "");
    is("self.n", "5");
    is("for i = 1, 3 do self.n = self.n + i end return self.n", "11 (0xb)");
    is("self:after(1, 'tick') ~= nil", "true");
    fake_advance(f, 2);
    is("self.n", "12 (0xc)");
    /* Globals of its own, which the script does not see; the script's are seen. */
    is("x = 5", "");
    is("x", "5");
    is("global", "\"of the script\"");
    is("rawget(_G, 'x')", "nil");
    /* The device works as ever. */
    assert_int_equal(fake_write(f, 0, 0, 4, 99), 0);
    is("self.n", "99 (0x63)");
}

static void mistakes(void **state)
{
    (void)state;
    fails("1 +", "eval:1: unexpected symbol near <eof>");
    fails("for i = 1 do end", "eval:1:");
    fails("self.NIX", "the device has no register, state or method NIX");
    fails("self.NIX", "stack traceback:");
    fails("self.F.MODE = 'sideways'", "cannot be \"sideways\"");
    fails("error({})", "table:");
    fails("error(setmetatable({}, { __tostring = function() error('twice') end }))", "");
    fails("setmetatable({}, { __tostring = function() return {} end })", "'__tostring' must return a string");
    fails("\27Lua", "eval:1:");
    fails("string.rep('x', 1 << 40)", "");
    fails("(function() local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1 << 23) .. i end end)()", "not enough memory");
    is("self.dma:read(0x100000, 4)", "\"\\x00\\x00\\x00\\x00\"");
    f->messages = true;
    is("self.dma:read(0x100000, 4)", "nil, \"would wait\"");
    is("vfu.sleep(1)", "nil, \"would wait\"");
    assert_int_equal(f->errors, 0); /* they are the asker's, not the log's */
    is("1", "1");
}

static void no_end(void **state)
{
    (void)state;
    fails("(function() while true do end end)()", "stopped after its time");
    fails("setmetatable({}, { __tostring = function() while true do end end })", "stopped after its time");
    fails("while true do pcall(function() while true do end end) end", "stopped after its time");
    is("1", "1");
    assert_int_equal(fake_write(f, 0, 0, 4, 1), 0);
    is("self.n", "1");
}

/* What does not fit is cut, whatever it is. */
static void little_room(void **state)
{
    (void)state;
    assert_int_equal(eval("string.rep('x', 1000)", 256), 0);
    assert_int_equal(strlen(out), 255);
    assert_int_equal(out[256], '#');
    assert_true(eval("error(string.rep('x', 1000))", 256) < 0);
    assert_int_equal(strlen(out), 255);
    assert_int_equal(out[256], '#');
    assert_int_equal(eval("(function() local t = {} for i = 1, 1000 do t[i] = i t['k' .. i] = true end return t end)()",
                          sizeof out), 0);
    assert_non_null(strstr(out, "100, "));
    assert_null(strstr(out, "101, "));
    assert_non_null(strstr(out, ", ... }"));
    assert_int_equal(eval("(function() local t = {} t.t = t return t end)()", sizeof out), 0);
}

#define WITH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(values), WITH(statements), WITH(mistakes), WITH(no_end), WITH(little_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
