/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Running scripts: the edu and GPIO examples, registers as scripts see them, waiting hooks, resets, what happens when a
 * hook fails, never ends or eats memory, and state saved and loaded. One thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lua/binding.h"
#include "tests/lua/fake.h"

#define HEAD                                                                                                           \
    "local vfu = require 'vfu'\nlocal reg, flag, field, group = vfu.reg, vfu.flag, vfu.field, vfu.group\n"             \
    "local d = vfu.device('d', { pci = { vendor = 1, device = 2, intx = true, msi = 4 }, dma = { map = true },\n"      \
    " state = { n = 0, t = {}, buf = vfu.buffer(64), s = 'x' } })\n"
#define REGS                                                                                                           \
    HEAD "d:bar(0, { size = 4096 }, {\n"                                                                               \
         " reg('A', 0, 4), reg('B', 4, 4), reg('R', 8, 4, 'rw'), reg('OUT', 12, 4),\n"                                 \
         " reg('F', 16, 2, { flag('ON', 0), field('MODE', 1, 2, { 'off', 'slow', 'fast' }), field('N', 4, 8) }),\n"    \
         " reg('Q', 24, 8), reg('ARR', 32, 4, { count = 4, stride = 8 }), reg('RC', 64, 4, 'rc'),\n"                   \
         " group('CH', 128, { count = 3, stride = 32 }, { reg('CTL', 0, 4), reg('V', 8, 1, { count = 4 }) }),\n"       \
         "})\n"

enum { A = 0, B = 4, R = 8, OUT = 12, F = 16, Q = 24, ARR = 32, CH = 128 };

static struct fake *start(const char *script)
{
    struct fake *f = calloc(1, sizeof *f);

    assert_non_null(f);
    fake_start(f, script);
    return f;
}

static void stop(struct fake *f)
{
    fake_stop(f);
    free(f);
}

static const char *example(const char *name)
{
    static char path[4096];
    const char *dir = getenv("VFU_SRCDIR");

    snprintf(path, sizeof path, "%s/examples/%s", dir ? dir : ".", name);
    return path;
}

#define assert_log(f, part)                                                                                            \
    do {                                                                                                               \
        if (!strstr((f)->log, part))                                                                                   \
            fail_msg("log: %s\nwithout: %s", (f)->log, part);                                                          \
    } while (0)

#define assert_quiet(f)                                                                                                \
    do {                                                                                                               \
        if ((f)->log[0])                                                                                               \
            fail_msg("log: %s", (f)->log);                                                                             \
    } while (0)

/* ---- the examples ---- */

static void test_edu(void **state)
{
    struct fake *f = start(example("edu.lua"));

    (void)state;
    assert_int_equal(fake_read(f, 0, 0, 4), 0x010000ed);
    fake_write(f, 0, 4, 4, 0x12345678);
    assert_int_equal(fake_read(f, 0, 4, 4), 0xedcba987);
    fake_write(f, 0, 0x20, 4, 0x80);
    fake_write(f, 0, 8, 4, 5);
    assert_int_equal(fake_read(f, 0, 0x20, 4), 0x81);
    fake_write(f, 0, 8, 4, 9); /* ignored while it computes */
    assert_int_equal(f->level, 0);
    fake_advance(f, 0.001);
    assert_int_equal(fake_read(f, 0, 8, 4), 120);
    assert_int_equal(fake_read(f, 0, 0x20, 4), 0x80);
    assert_int_equal(f->level, 1);
    fake_write(f, 0, 0x64, 4, 1);
    assert_int_equal(f->level, 0);
    fake_write(f, 0, 0x60, 4, 0x30);
    assert_int_equal(fake_read(f, 0, 0x24, 4), 0x30);
    assert_int_equal(f->level, 0x30);
    fake_reset(f, VFU_RESET_BUS);
    assert_int_equal(f->level, 0);
    assert_quiet(f);
    stop(f);
}

static void edu_dma(struct fake *f, uint64_t src, uint64_t dst, uint64_t n, uint64_t cmd)
{
    fake_write(f, 0, 0x80, 8, src);
    fake_write(f, 0, 0x88, 8, dst);
    fake_write(f, 0, 0x90, 8, n);
    fake_write(f, 0, 0x98, 8, cmd);
    assert_int_equal(fake_read(f, 0, 0x98, 8), cmd);
    fake_write(f, 0, 0x98, 8, 0); /* locked while it runs */
    assert_int_equal(fake_read(f, 0, 0x98, 8), cmd);
    fake_advance(f, 0.001);
}

static void edu_dma_both_ways(bool messages)
{
    struct fake *f = start(example("edu.lua"));

    f->messages = messages;
    for (unsigned i = 0; i < 100; i++)
        f->memory[i] = (uint8_t)(i * 7);
    edu_dma(f, FAKE_BASE, 0x40010, 100, 1 | 4);
    if (messages) {
        assert_int_equal(fake_read(f, 0, 0x98, 8), 5); /* other accesses go on */
        fake_answer(f, 0);
    }
    assert_int_equal(fake_read(f, 0, 0x98, 8), 4);
    assert_int_equal(f->level, 0x100);
    fake_write(f, 0, 0x64, 4, 0x100);
    edu_dma(f, 0x40010, FAKE_BASE + 1000, 100, 1 | 2);
    if (messages)
        fake_answer(f, 0);
    assert_int_equal(fake_read(f, 0, 0x98, 8), 2);
    assert_memory_equal(f->memory, f->memory + 1000, 100);
    assert_int_equal(f->level, 0);
    assert_quiet(f);
    assert_int_equal(f->guest_errors, 0);
    stop(f);
}

static void test_edu_dma(void **state)
{
    (void)state;
    edu_dma_both_ways(false);
    edu_dma_both_ways(true);
}

/* Addresses and lengths that make no sense are the guest's errors, not the device's. */
static void test_edu_dma_faults(void **state)
{
    static const struct {
        uint64_t src, dst, n, cmd;
        const char *error;
    } cases[] = {
        { 0, 0x40000, 64, 1, "no such memory" },
        { FAKE_BASE, 0x40000, UINT64_C(1) << 40, 1, "too many at once" },
        { FAKE_BASE, 0x40000, UINT64_MAX, 1, "negative length" },
        { 0x40000, FAKE_BASE, UINT64_C(1) << 40, 3, "outside of 4096" },
        { 0x40fff, FAKE_BASE, 2, 3, "2 bytes at offset 4095 are outside of 4096" },
        { 0, FAKE_BASE, 2, 3, "outside" },
        { 0x40000, 0x5000, 2, 3, "no such memory" },
    };
    struct fake *f = start(example("edu.lua"));

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        edu_dma(f, cases[i].src, cases[i].dst, cases[i].n, cases[i].cmd);
        assert_int_equal(f->guest_errors, i + 1);
        if (!strstr(f->guest_error, cases[i].error))
            fail_msg("%zu: %s", i, f->guest_error);
        assert_int_equal(fake_read(f, 0, 0x98, 8), cases[i].cmd & ~UINT64_C(1));
    }
    assert_quiet(f);
    stop(f);
}

static void test_gpio(void **state)
{
    struct fake *f = calloc(1, sizeof *f);

    (void)state;
    f->items[0] = "loopback=on";
    fake_start(f, example("gpio-idio-16.lua"));
    fake_write(f, 2, 0, 1, 0x5a);
    fake_write(f, 2, 4, 1, 0xc3);
    assert_int_equal(fake_read(f, 2, 0, 1), 0x5a);
    assert_int_equal(fake_read(f, 2, 1, 1), 0x5a);
    assert_int_equal(fake_read(f, 2, 5, 1), 0xc3);
    assert_int_equal(fake_read(f, 2, 6, 1), 0); /* not enabled */
    fake_write(f, 2, 1, 1, 0);
    assert_int_equal(fake_read(f, 2, 1, 1), 0x5a);
    fake_read(f, 2, 2, 1);
    fake_write(f, 2, 0, 1, 0x5a); /* no change */
    assert_int_equal(f->level, 0);
    fake_write(f, 2, 0, 1, 0x5b);
    assert_int_equal(fake_read(f, 2, 6, 1), 5);
    assert_true(f->level != 0);
    fake_write(f, 2, 1, 1, 0);
    assert_int_equal(fake_read(f, 2, 6, 1), 0);
    assert_int_equal(f->level, 0);
    fake_write(f, 2, 4, 1, 0);
    assert_int_equal(fake_read(f, 2, 6, 1), 6);
    fake_write(f, 2, 2, 1, 0);
    fake_write(f, 2, 4, 1, 1);
    assert_int_equal(fake_read(f, 2, 6, 1), 0);
    assert_quiet(f);
    stop(f);

    f = calloc(1, sizeof *f);
    f->items[0] = "inputs=0x8001";
    f->items[1] = "blink=0.5";
    fake_start(f, example("gpio-idio-16.lua"));
    assert_int_equal(fake_read(f, 2, 1, 1), 1);
    assert_int_equal(fake_read(f, 2, 5, 1), 0x80);
    fake_write(f, 2, 0, 1, 0xff);
    assert_int_equal(fake_read(f, 2, 1, 1), 1);
    fake_advance(f, 0.6);
    assert_int_equal(fake_read(f, 2, 5, 1), 0);
    fake_advance(f, 0.5);
    assert_int_equal(fake_read(f, 2, 5, 1), 0x80);
    assert_quiet(f);
    stop(f);
}

/* ---- registers ---- */

/* Each script is run in the write hook of A; `ok` in OUT says that it came to its end. */
static const struct {
    const char *body;
    const char *error; /* NULL: it ends well */
} bodies[] = {
    { "self.B.value = 0x123456789 assert(self.B.value == 0x23456789)", NULL },
    { "self.B.value = -1 assert(self.B.value == 0xffffffff)", NULL },
    { "self.Q.value = -1 assert(self.Q.value == -1 and self.Q.value == 0xffffffffffffffff)", NULL },
    { "self.B.value = 2.0 assert(self.B.value == 2)", NULL },
    { "self.F.ON = true assert(self.F.ON == true and self.F.value == 1) self.F.ON = false assert(self.F.value == 0)", NULL },
    { "self.F.MODE = 'fast' assert(self.F.MODE == 'fast' and self.F.value == 4)", NULL },
    { "self.F.MODE = 3 assert(self.F.MODE == 3) self.F.MODE = 1 assert(self.F.MODE == 'slow')", NULL },
    { "self.F.N = 255 assert(self.F.N == 255 and self.F.value == 0xff0)", NULL },
    { "for i = 0, 3 do self.ARR[i].value = i + 10 end assert(self.ARR[3].value == 13 and self.ARR[0].value == 10)", NULL },
    { "self.CH[2].CTL.value = 7 self.CH[1].V[3].value = 9\n"
      "assert(self.CH[2].CTL.value == 7 and self.CH[0].CTL.value == 0 and self.CH[1].V[3].value == 9)", NULL },
    { "assert(self.regs.B == self.B) self.regs.B.value = 3 assert(self.B.value == 3)", NULL },
    { "self.n = self.n + 1 self.s = 'y' self.t = { 1, { 2 } } assert(self.t[2][1] == 2) self.n = nil assert(self.n == nil)", NULL },
    { "assert(tostring(self.B) == 'register B = 0x0')", NULL },
    { "assert(self.buf:write(60, 'abcd') and self.buf:read(60, 4) == 'abcd' and #self.buf == 64)", NULL },
    { "assert(self.buf:u32(0, 0x11223344) and self.buf:u16(0) == 0x3344 and self.buf:u8(3) == 0x11 and self.buf:u64(0) == 0x11223344)", NULL },
    { "local a, b, at = self.buf:unpack('<I2I2', 4) assert(a == 0 and b == 0 and at == 8)", NULL },
    { "local v, e = self.buf:read(-1, 4) assert(v == nil and e:find 'outside')", NULL },
    { "local v, e = self.buf:read(0, 1 << 40) assert(v == nil and e)", NULL },
    { "local v, e = self.buf:read(math.maxinteger, math.maxinteger) assert(v == nil and e)", NULL },
    { "local v, e = self.buf:write(0, nil, 'why') assert(v == nil and e == 'why')", NULL },
    { "local v, e = self.dma:write(0, nil, 'why') assert(v == nil and e == 'why')", NULL },
    { "local v, e = self.buf:u64(60) assert(v == nil and e)", NULL },
    { "assert(self.dma:u32(0x100000, 0xfeedface) and self.dma:u16(0x100002) == 0xfeed and self.dma:u8(0x100000) == 0xce)", NULL },
    { "assert(self.dma:u64(0) == nil and self.dma:read(0x100000, -1) == nil)", NULL },
    { "assert(self.dma:read(0x100000, 0) == '' and self.dma:write(0, ''))", NULL },
    { "local v <close> = assert(self.dma:view(0x100000, 16, 'rw')) v:u32(4, 7)\n"
      "assert(v:u32(4) == 7 and #v == 16 and v:unpack('<I4', 4) == 7 and v:read(4, 1) == '\\7' and self.dma:u32(0x100004) == 7)\n"
      "assert(v:u32(13) == nil and v:read(0, 17) == nil and v:write(16, 'x') == nil) v:close() assert(v:u8(0) == nil)", NULL },
    { "local v = self.dma:view(0x100000, 16) local ok, e = v:u8(0, 1) assert(ok == nil and e:find 'not for writing')", NULL },
    { "assert(self.dma:view(0, 16) == nil and self.dma:view(0x100000, -1) == nil)", NULL },
    { "assert(self.irq:raise() == true and self.irq:raise(1) == true and self.irq:raise(2) == false)\n"
      "local v, e = self.irq:raise(4) assert(v == nil and e) assert(self.irq:raise(-1) == nil) assert(self.irq:lower())\n"
      "assert(self.irq:error() == true and self.irq:request() == false)", NULL },
    { "assert(vfu.hex(-1) == '0xffffffffffffffff' and vfu.size('64M') == 64 << 20 and vfu.size('0x10') == 16 and vfu.now() >= 0)", NULL },
    { "assert(vfu.crc32('') == 0 and vfu.crc32('123456789') == 0xcbf43926 and vfu.crc32('\\0') == 0xd202ef8d)\n"
      "local all = vfu.crc32(('vfu-host '):rep(1000)) assert(all >> 32 == 0)\n"
      "for i = 0, 17 do assert(vfu.crc32(('vfu-host '):rep(1000):sub(i + 1), vfu.crc32(('vfu-host '):rep(1000):sub(1, i))) == all) end", NULL },
    { "local co = coroutine.wrap(function() coroutine.yield(1) return 2 end) assert(co() == 1 and co() == 2)", NULL },
    { "assert(load('return 5')() == 5 and load('x = 1', 'c', 'b', {}) and not load('\\27L'))", NULL },
    { "print('hello', 1, nil) vfu.log.info('%d%%', 5) vfu.log.debug('plain')", NULL },
    { "self.F.ON = 1", "F.ON is a flag: true or false, not 1" },
    { "self.F.N = 256", "F.N has 8 bits; 256 does not fit" },
    { "self.F.N = -1", "does not fit" },
    { "self.F.MODE = 'fats'", "F.MODE cannot be \"fats\"; did you mean fast?" },
    { "self.F.MODE = 4", "does not fit" },
    { "self.F.OM = true", "register F has no field OM; did you mean ON?" },
    { "local x = self.F.ONE", "has no field ONE" },
    { "self.B.value = 1.5", "B.value takes an integer, not 1.5" },
    { "self.B.value = '1'", "takes an integer" },
    { "self.B.value = true", "takes an integer" },
    { "self.B = 1", "B is a register: assign B.value" },
    { "self.ARR[4].value = 1", "ARR[4] is out of range: there are 0 to 3" },
    { "self.ARR[-1].value = 1", "out of range" },
    { "self.ARR.value = 1", "cannot be assigned" },
    { "self.ARR[1] = 1", "cannot be assigned" },
    { "self.CH[3].CTL.value = 1", "CH[3] is out of range" },
    { "self.CH[0].CTR.value = 1", "CH has no register CTR; did you mean CTL?" },
    { "self.CH[0].CTL = 1", "cannot be assigned" },
    { "self.m = 1", "m is not declared" },
    { "self.n = print", "a function cannot be saved" },
    { "self.n = self:after(1, 'none')", "no event named none" },
    { "self.n = self.dma:view(0x100000, 4)", "a view cannot be saved" },
    { "self.n = setmetatable({}, {})", "metatable" },
    { "self:after(-1, 'ev')", "not from 0 up" },
    { "self:after(0/0, 'ev')", "not from 0 up" },
    { "self:after('1', 'ev')", "number of seconds" },
    { "self:after(1, 'ev', {})", "takes plain values" },
    { "self:every(0, 'ev')", "at least 1 us" },
    { "self.buf:read('1', 1)", "must be an integer, not string" },
    { "self.buf:write(0, 5)", "write takes a string" },
    { "self.write.A = function() end", "while the script loads" },
    { "self:lock('A', 'F.ON')", "belongs to the script's own lines" },
    { "self.dma.read(1, 2)", "with a colon" },
    { "coroutine.yield()", "coroutine.yield in a hook" },
    { "return 'x'", "the hook returned string, not nil or an integer" },
    { "vfu.size('12Q')", "a size is a number" },
    { "vfu.crc32(7)", "vfu.crc32 takes a string, not number" },
    { "vfu.crc32('x', 'y')", "the checksum to go on from must be an integer, not string" },
    { "error({ code = 1 })", "table:" },
    { "error(setmetatable({}, { __tostring = function() return 'own text' end }))", "own text" },
    { "error(setmetatable({}, { __tostring = function() error('twice') end }))", "write of 0x7 to A" },
    { "error()", "nil" },
};

static void test_bodies(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        char script[4096];
        struct fake *f;

        snprintf(script, sizeof script, REGS "function d.event:ev() end\nfunction d.write:A(v)\n%s\n%s\nreturn d",
                 bodies[i].body, strstr(bodies[i].body, "return 'x'") ? "end" : "self.OUT.value = 1 end");
        f = start(script);
        fake_write(f, 0, A, 4, 7);
        if (!bodies[i].error) {
            if (f->log[0] || fake_read(f, 0, OUT, 4) != 1)
                fail_msg("%s\nlog: %s", bodies[i].body, f->log);
            assert_int_equal(fake_read(f, 0, A, 4), 7);
        } else {
            if (f->errors != 1 || !strstr(f->log, bodies[i].error) || !strstr(f->log, "write of 0x7 to A"))
                fail_msg("%s\nlog: %swithout: %s", bodies[i].body, f->log, bodies[i].error);
            assert_int_equal(fake_read(f, 0, A, 4), 0); /* the old value is back */
        }
        stop(f);
    }
}

static void test_hook_arguments(void **state)
{
    struct fake *f = start(REGS "function d.write:A(new, old, i, raw) assert(i == nil and raw == new) return new + old end\n"
                                "function d.write:ARR(new, old, i) self.OUT.value = i return nil end\n"
                                "function d.read:ARR(v, i) return v * 100 + i end\n"
                                "function d.write.CH:CTL(new, old, i, j) assert(j == nil) self.OUT.value = i + 100 end\n"
                                "function d.write.CH:V(new, old, i, j) self.OUT.value = i * 16 + j end\n"
                                "function d.read.CH:V(v, i, j) return v + i + j end\n"
                                "function d.read:R(v) return nil end\n"
                                "return d");

    (void)state;
    fake_write(f, 0, A, 4, 5);
    fake_write(f, 0, A, 4, 6);
    assert_int_equal(fake_read(f, 0, A, 4), 11);
    fake_write(f, 0, ARR + 16, 4, 4);
    assert_int_equal(fake_read(f, 0, OUT, 4), 2);
    assert_int_equal(fake_read(f, 0, ARR + 16, 4), 402);
    fake_write(f, 0, CH + 64, 4, 4);
    assert_int_equal(fake_read(f, 0, OUT, 4), 102);
    fake_write(f, 0, CH + 32 + 8 + 3, 1, 9);
    assert_int_equal(fake_read(f, 0, OUT, 4), 0x13);
    assert_int_equal(fake_read(f, 0, CH + 32 + 8 + 3, 1), 13);
    assert_quiet(f);
    assert_int_equal(fake_read(f, 0, R, 4), 0xffffffff);
    assert_log(f, "read of R: ");
    assert_log(f, ": the hook returned nil, not an integer");
    stop(f);
}

static void test_locks(void **state)
{
    struct fake *f = start(REGS "d:lock({ 'A', 'CH.CTL' }, 'F.ON') d:lock('B', '!F.MODE')\n"
                                "d:lock('Q', function(self, name, value, i) assert(name == 'Q') return value == 5 end)\n"
                                "d:lock('R', function() error('oops') end)\n"
                                "return d");

    (void)state;
    fake_write(f, 0, A, 4, 1);
    fake_write(f, 0, B, 4, 1);
    fake_write(f, 0, F, 2, 3); /* ON, MODE 1 */
    fake_write(f, 0, A, 4, 2);
    fake_write(f, 0, B, 4, 2);
    fake_write(f, 0, CH, 4, 2);
    assert_int_equal(fake_read(f, 0, A, 4), 1);
    assert_int_equal(fake_read(f, 0, B, 4), 2);
    assert_int_equal(fake_read(f, 0, CH, 4), 0);
    fake_write(f, 0, Q, 8, 4);
    fake_write(f, 0, Q, 8, 5);
    assert_int_equal(fake_read(f, 0, Q, 8), 4);
    assert_quiet(f);
    fake_write(f, 0, R, 4, 4);
    assert_int_equal(fake_read(f, 0, R, 4), 0);
    assert_log(f, "oops");
    stop(f);
}

static void test_raw_and_ram(void **state)
{
    struct fake *f = start(HEAD "local b = d:bar(0, { size = 4096 })\n"
                                "function b.read(self, off, n) if off == 8 then return nil, 'EBUSY' elseif off == 16 then error('bad')\n"
                                " elseif n > 8 then return string.rep('r', n) end return off + n end\n"
                                "function b.write(self, off, n, v) if off == 8 then return nil, 'EACCES' end self.s = v self.n = off end\n"
                                "local m = d:bar(1, { size = 4096, ram = true }, { reg('OUT', 0, 4) })\n"
                                "function d.read:OUT() return m.ram:u32(64) + #m.ram end\n"
                                "local o = d:bar(2, { size = 64, unmapped = 'error' }) function o.read() return 1 end\n"
                                "return d");
    uint8_t bytes[100] = { 0 };

    (void)state;
    assert_int_equal(fake_read(f, 0, 4, 4), 8);
    assert_int_equal(region_read(&f->bars[0], 8, 4, bytes), -EBUSY);
    assert_int_equal(fake_write(f, 0, 8, 4, 1), -EACCES);
    assert_int_equal(fake_write(f, 2, 8, 4, 1), -EINVAL);
    assert_int_equal(fake_write(f, 0, 32, 4, 77), 0);
    assert_int_equal(region_read(&f->bars[0], 100, 100, bytes), 0);
    assert_int_equal(bytes[99], 'r');
    assert_int_equal(region_write(&f->bars[0], 100, 100, bytes), 0);
    assert_quiet(f);
    assert_int_equal(fake_read(f, 0, 16, 4), 0xffffffff);
    assert_log(f, "read of 4 bytes at 0x10 of BAR 0");
    fake_write(f, 1, 64, 4, 1000);
    assert_int_equal(fake_read(f, 1, 0, 4), 1000 + 4096);
    stop(f);
}

/* ---- time and waiting ---- */

static void test_timers(void **state)
{
    struct fake *f = start(REGS "local t\n"
                                "function d.event:tick(k) self.A.value = self.A.value + k end\n"
                                "function d.event:order(s) self.s = self.s .. s end\n"
                                "function d.write:B(v) t = self:every(0.1, 'tick', v) assert(tostring(t):find 'timer') end\n"
                                "function d.write:R(v) self.OUT.value = t:cancel() and 1 or 2 end\n"
                                "function d.write:Q() for _, s in ipairs { 'a', 'b', 'c' } do self:after(0.5, 'order', s) end end\n"
                                "function d.write:F() assert(self.s == 'xabc', self.s) end\n"
                                "return d");

    (void)state;
    fake_write(f, 0, B, 4, 3);
    fake_advance(f, 0.35);
    assert_int_equal(fake_read(f, 0, A, 4), 9);
    fake_write(f, 0, R, 4, 3);
    assert_int_equal(fake_read(f, 0, OUT, 4), 1);
    fake_write(f, 0, R, 4, 3);
    assert_int_equal(fake_read(f, 0, OUT, 4), 2);
    fake_advance(f, 0.35);
    assert_int_equal(fake_read(f, 0, A, 4), 9);
    fake_write(f, 0, Q, 8, 1);
    fake_advance(f, 1);
    fake_write(f, 0, F, 2, 1);
    assert_quiet(f);
    stop(f);
}

#define WAIT                                                                                                           \
    REGS "function d.write:A(v)\n local data, err = self.dma:read(0x100000, 4)\n"                                      \
         " self.OUT.value = data and data:byte() or #err self.s = err\n return 99\nend\n"                              \
         "function d.write:B(v) local g <close> = setmetatable({}, { __close = function() self.n = self.n + 1 end })\n"\
         " vfu.sleep(0.5) self.OUT.value = v end\n"                                                                    \
         "function d.read:R() local v, e = self.dma:read(0x100000, 4) self.s = e return v and 1 or 2 end\n"            \
         "function d.read:Q() return self.n end\n"                                                                     \
         "function d.write:F(v) self.OUT.value = self.dma:u16(0x100000) end\n"                                         \
         "function d.write:ARR() self.OUT.value = self.dma:u32(0x100010, 0xabcdef) and 1 or 0 end\n"                   \
         "return d"

static void test_waiting(void **state)
{
    struct fake *f = start(WAIT);

    (void)state;
    f->messages = true;
    f->memory[0] = 42;
    f->memory[1] = 1;
    fake_write(f, 0, A, 4, 7);
    assert_int_equal(fake_read(f, 0, A, 4), 7);
    assert_int_equal(f->nops, 1);
    fake_write(f, 0, A, 4, 8); /* a second one, while the first waits */
    assert_int_equal(f->nops, 2);
    assert_int_equal(fake_read(f, 0, R, 4), 2); /* a read hook never waits */
    fake_answer(f, 0);
    assert_int_equal(fake_read(f, 0, OUT, 4), 42);
    assert_int_equal(fake_read(f, 0, A, 4), 8); /* its return value comes too late */
    fake_answer(f, -EFAULT);
    assert_int_equal(fake_read(f, 0, OUT, 4), strlen("no such memory"));
    fake_write(f, 0, F, 2, 1);
    fake_answer(f, 0);
    assert_int_equal(fake_read(f, 0, OUT, 4), 298);
    fake_write(f, 0, ARR, 4, 1);
    fake_answer(f, 0);
    assert_int_equal(fake_read(f, 0, OUT, 4), 1);
    assert_int_equal(f->memory[16], 0xef);
    fake_write(f, 0, B, 4, 5);
    fake_advance(f, 0.4);
    assert_int_equal(fake_read(f, 0, OUT, 4), 1);
    fake_advance(f, 0.2);
    assert_int_equal(fake_read(f, 0, OUT, 4), 5);
    assert_int_equal(fake_read(f, 0, Q, 8), 1);
    assert_quiet(f);
    stop(f);
}

static void test_reset_closes(void **state)
{
    struct fake *f = start(WAIT);

    (void)state;
    f->messages = true;
    fake_write(f, 0, A, 4, 7);
    fake_write(f, 0, B, 4, 7);
    fake_reset(f, VFU_RESET_BUS);
    fake_advance(f, 1);
    assert_int_equal(fake_read(f, 0, OUT, 4), 0);
    assert_int_equal(fake_read(f, 0, Q, 8), 1); /* the to-be-closed variable of B */
    fake_write(f, 0, B, 4, 7);
    fake_advance(f, 1);
    assert_int_equal(fake_read(f, 0, OUT, 4), 7);
    assert_quiet(f);
    stop(f);
}

static void test_client_gone(void **state)
{
    struct fake *f = start(WAIT);

    (void)state;
    f->messages = true;
    fake_write(f, 0, A, 4, 7);
    fake_cancel(f);
    f->plugin->detach(f->self);
    assert_int_equal(fake_read(f, 0, OUT, 4), strlen("client gone"));
    fake_write(f, 0, A, 4, 7);
    fake_cancel(f);
    fake_run_deferred(f); /* nobody tells why it was cancelled */
    assert_int_equal(fake_read(f, 0, OUT, 4), strlen("client gone"));
    f->submit_error = -ENOTCONN;
    fake_write(f, 0, OUT, 4, 0);
    fake_write(f, 0, A, 4, 7);
    assert_int_equal(fake_read(f, 0, OUT, 4), strlen("client gone"));
    assert_quiet(f);
    stop(f);
}

/* STOP cancels what is in flight and freezes the hook; after it the DMA is asked for again. */
static void test_stop_freezes(void **state)
{
    struct fake *f = start(WAIT);

    (void)state;
    f->messages = true;
    f->memory[0] = 9;
    fake_write(f, 0, A, 4, 7);
    fake_cancel(f);
    f->plugin->quiesce(f->self);
    fake_run_deferred(f);
    assert_int_equal(fake_read(f, 0, OUT, 4), 0);
    f->plugin->resume(f->self);
    assert_int_equal(f->nops, 1);
    fake_answer(f, 0);
    assert_int_equal(fake_read(f, 0, OUT, 4), 9);
    assert_quiet(f);
    stop(f);
}

static void test_lifecycle(void **state)
{
    static const struct vfu_client client = { .struct_size = sizeof client };
    struct fake *f = start(REGS "function d.on:reset(kind) self.OUT.value = #kind self:every(1, 'ev') end\n"
                                "function d.on:attach() self.A.value = 1 end function d.on:detach() self.A.value = 2 end\n"
                                "function d.on:power(p) self.B.value = p end function d.event:ev() end\nreturn d");

    (void)state;
    assert_int_equal(fake_read(f, 0, OUT, 4), 5); /* power */
    fake_reset(f, VFU_RESET_BUS);
    assert_int_equal(fake_read(f, 0, OUT, 4), 3);
    f->plugin->attach(f->self, &client);
    assert_int_equal(fake_read(f, 0, A, 4), 1);
    f->plugin->detach(f->self);
    assert_int_equal(fake_read(f, 0, A, 4), 2);
    f->plugin->power(f->self, 3);
    assert_int_equal(fake_read(f, 0, B, 4), 3);
    assert_quiet(f);
    stop(f);
}

/* ---- scripts that misbehave ---- */

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void test_budget(void **state)
{
    static const char *const loops[] = {
        "while true do end",
        "while true do pcall(error) end",
        "local function f() return f() end f()",
        "repeat local ok = pcall(function() while true do end end) until false",
        "local co = coroutine.wrap(function() while true do end end) co()",
        "while true do coroutine.wrap(function() for i = 1, 100 do end end)() end",
        "local g <close> = setmetatable({}, { __close = function() while true do end end }) while true do end",
        "table.sort({ 3, 2, 1 }, function() while true do end end)",
        "local t = setmetatable({}, { __index = function() while true do end end }) return t.x",
        "while true do self.OUT.value = 1 end",
        "xpcall(function() while true do end end, function() while true do end end)",
        "xpcall(error, function() while true do end end)",
        "coroutine.wrap(function() local g <close> = setmetatable({}, { __close = function() while true do end end })\n"
        " while true do end end)()",
        "local co = coroutine.create(function() local g <close> = setmetatable({}, { __close = function() while true do end\n"
        " end }) while true do end end) coroutine.resume(co) coroutine.close(co) error('stopped after its time')",
        "table.move({}, 1, math.maxinteger - 1, 2)",
        "table.insert(setmetatable({}, { __len = function() return 1 << 53 end }), 1, 1)",
        "table.remove(setmetatable({}, { __len = function() return 1 << 53 end }), 1)",
        "while true do collectgarbage() end",
        "error(setmetatable({}, { __tostring = function() while true do end end }))",
    };

    (void)state;
    for (size_t i = 0; i < sizeof loops / sizeof loops[0]; i++) {
        char script[2048];
        struct fake *f;
        double t;

        snprintf(script, sizeof script, REGS "function d.write:A(v)\n%s\nend function d.read:A()\n%s\nend\n"
                                             "function d.write:B(v) self.OUT.value = v + 1 end return d", loops[i], loops[i]);
        f = start(script);
        budget_set(f->self, 20000000);
        t = seconds();
        fake_write(f, 0, A, 4, 7);
        assert_int_equal(fake_read(f, 0, A, 4), 0xffffffff);
        /* Far above what a loaded machine makes of two budgets of 20 ms: what is asked is that it ends. */
        if (seconds() - t > 30.0)
            fail_msg("%s: took %f s", loops[i], seconds() - t);
        /* A third line, that a callback does not stop, is only a matter of load. */
        if (!strstr(f->log, "stopped after its time") || f->errors < 2)
            fail_msg("%s: %s", loops[i], f->log);
        fake_write(f, 0, B, 4, 7);
        assert_int_equal(fake_read(f, 0, OUT, 4), 8);
        stop(f);
    }
}

/* What is done anew of Lua's libraries does what theirs do. */
static void test_libraries(void **state)
{
    struct fake *f = start(REGS
        "local function list(...) return table.concat({ ... }, ',') end\n"
        "local function bad(words, fn, ...) local ok, text = pcall(fn, ...) assert(not ok and text:find(words, 1, true), text) end\n"
        "assert((''):rep(1 << 60) == '' and ('ab'):rep(3, '-') == 'ab-ab-ab' and ('x'):rep(1, 'yy') == 'x' and (''):rep(3, 'z') == 'zz' and #('abc'):rep(1001, ', ') == 5003 and ('a'):rep(0) == '' and ('a'):rep(-1) == '')\n"
        "local t = { 1, 2, 3 } table.insert(t, 4) table.insert(t, 1, 0) table.insert(t, 6, 5)\n"
        "assert(list(table.unpack(t)) == '0,1,2,3,4,5')\n"
        "bad('position out of bounds', table.insert, t, 8, 1) bad('position out of bounds', table.insert, t, 0, 1)\n"
        "bad('wrong number of arguments', table.insert, t) bad('table expected', table.insert, 5, 1)\n"
        "assert(table.remove(t) == 5 and table.remove(t, 1) == 0 and table.remove(t, 2) == 2 and list(table.unpack(t)) == '1,3,4')\n"
        "assert(table.remove({}) == nil and table.remove({}, 0) == nil and table.remove({}, 1) == nil and table.remove(t, 4) == nil)\n"
        "bad('position out of bounds', table.remove, t, 5) bad('position out of bounds', table.remove, t, -1)\n"
        "assert(list(table.unpack(table.move({ 1, 2, 3, 4 }, 2, 4, 1))) == '2,3,4,4')\n"
        "assert(list(table.unpack(table.move({ 1, 2, 3, 4 }, 1, 3, 2))) == '1,1,2,3')\n"
        "assert(list(table.unpack(table.move({ 1, 2 }, 1, 2, 3, { 8, 9 }))) == '8,9,1,2')\n"
        "assert(#table.move({ 1 }, 1, 0, 5) == 1) bad('too many elements', table.move, {}, -1, math.maxinteger, 2)\n"
        "bad('wrap around', table.move, {}, 1, 2, math.maxinteger)\n"
        "local s = { 3, 1, 2 } table.sort(s) assert(list(table.unpack(s)) == '1,2,3')\n"
        "table.sort(s, function(a, b) return a > b end) assert(list(table.unpack(s)) == '3,2,1')\n"
        "bad('too large', string.rep, 'xx', 1 << 62)\n"
        "bad('cannot close a running coroutine', coroutine.close, coroutine.running()) bad('coroutine expected', coroutine.close, 5)\n"
        "bad('protected metatable', setmetatable, d, {}) bad('nil or table expected', setmetatable, {}, 5)\n"
        "assert(getmetatable(setmetatable(setmetatable({}, { __index = t }), nil)) == nil)\n"
        "local co = coroutine.wrap(function(a, b) local c = coroutine.yield(a + b) local d, e = coroutine.yield(c, c) error(d .. e) end)\n"
        "assert(co(1, 2) == 3 and select('#', co(7)) == 2)\n"
        "bad('xy', co, 'x', 'y') bad('cannot resume dead coroutine', co)\n"
        "local closed = 0 co = coroutine.wrap(function() local x <close> = setmetatable({}, { __close = function() closed = closed + 1 end }) error({ 5 }) end)\n"
        "local ok, e = pcall(co) assert(not ok and e[1] == 5 and closed == 1)\n"
        "co = coroutine.create(function() local x <close> = setmetatable({}, { __close = function() closed = closed + 1 end }) coroutine.yield() end)\n"
        "coroutine.resume(co) assert(coroutine.close(co) == true and closed == 2)\n"
        "assert(list(xpcall(function(...) return list(...), 'z' end, print, 1, 2) and 'yes') == 'yes')\n"
        "assert(select(2, xpcall(error, function(m) return m .. '!' end, 'x')) == 'x!')\n"
        "bad('function expected', xpcall, print, 5)\n"
        "function d.write:A(v) local ok, data = xpcall(function() return self.dma:u8(0x100000) end, print) self.OUT.value = ok and data or 9 end\n"
        "return d");

    (void)state;
    f->messages = true;
    f->memory[0] = 0x42;
    fake_write(f, 0, A, 4, 1); /* it may wait inside of xpcall */
    assert_int_equal(f->nops, 1);
    fake_answer(f, 0);
    assert_int_equal(fake_read(f, 0, OUT, 4), 0x42);
    assert_quiet(f);
    stop(f);
}

/* Where nothing runs nobody keeps time; the next callback has its limit all the same, also a long sleep later. */
static void test_budget_sleeps(void **state)
{
    const struct timespec ms = { .tv_nsec = 1000000 };
    struct fake *f = start(REGS "function d.write:A(v) while true do end end\n"
                                "function d.write:B(v) self.OUT.value = v + 1 end return d");

    (void)state;
    if (!(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0) & MEMBARRIER_CMD_PRIVATE_EXPEDITED)) {
        stop(f);
        skip(); /* it never sleeps */
    }
    budget_set(f->self, 8000000);
    for (int i = 0; i < 3; i++) {
        while (!atomic_load(&budget_asleep))
            nanosleep(&ms, NULL);
        fake_write(f, 0, B, 4, 7); /* wakes it */
        assert_int_equal(fake_read(f, 0, OUT, 4), 8);
        while (!atomic_load(&budget_asleep))
            nanosleep(&ms, NULL);
        f->errors = 0;
        fake_write(f, 0, A, 4, 7); /* ends only if it wakes */
        assert_true(f->errors > 0);
    }
    assert_non_null(strstr(f->log, "stopped after its time"));
    stop(f);
}

static void test_memory(void **state)
{
    static const char *const bombs[] = {
        "local s = string.rep('x', 1 << 30)",
        "local t = {} for i = 1, 1 << 30 do t[i] = i end",
        "local s = 'x' while true do s = s .. s end",
        "local function f() return 1 + f() end return f()",
        "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
        "local t = {} while true do t[#t + 1] = vfu.buffer(1 << 20) end",
        "local s = string.rep('x', 16 << 20) while true do self.t = { self.t, s .. #s } s = s .. 'x' end",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bombs / sizeof bombs[0]; i++) {
        char script[2048];
        struct fake *f;

        snprintf(script, sizeof script, REGS "function d.write:A(v)\n%s\nend\n"
                                             "function d.write:B(v) self.t = {} self.OUT.value = #string.rep('y', 1 << 20) end return d",
                 bombs[i]);
        f = start(script);
        budget_set(f->self, UINT64_C(60000000000)); /* under a sanitizer time would be up first */
        fake_write(f, 0, A, 4, 7);
        if (!f->errors || (!strstr(f->log, "not enough memory") && !strstr(f->log, "overflow")))
            fail_msg("%s: %s", bombs[i], f->log);
        fake_write(f, 0, B, 4, 7);
        if (fake_read(f, 0, OUT, 4) != 1 << 20)
            fail_msg("%s: %s", bombs[i], f->log);
        stop(f);
    }
}

/* Garbage is collected between callbacks, in deferred steps. */
static void test_collection(void **state)
{
    struct fake *f = start(REGS "local weak = setmetatable({}, { __mode = 'k' })\n"
                                "function d.write:A(v) for i = 1, 1000 do weak[{ i }] = true end end\n"
                                "function d.read:OUT() return collectgarbage('count') // 1 | 0 end return d");
    uint64_t most = 0;

    (void)state;
    for (int i = 0; i < 300; i++) {
        uint64_t now;

        fake_write(f, 0, A, 4, 1);
        fake_run_deferred(f);
        now = fake_read(f, 0, OUT, 4);
        most = now > most ? now : most;
    }
    assert_in_range(most, 1, 4096); /* KiB; 300,000 tables would be over 16 MiB */
    assert_quiet(f);
    stop(f);
}

static void test_reports_are_limited(void **state)
{
    struct fake *f = start(REGS "function d.write:A(v) error('again') end return d");

    (void)state;
    for (int i = 0; i < 1000; i++)
        fake_write(f, 0, A, 4, 7);
    assert_int_equal(f->errors, 4);
    fake_advance(f, 2);
    fake_write(f, 0, A, 4, 7);
    assert_log(f, "996 more errors of the script are not shown");
    stop(f);
}

/* ---- state ---- */

#define SAVED                                                                                                          \
    REGS "function d.event:ev(a, b, c) self.OUT.value = a self.s = b .. tostring(c) end\n"                             \
         "function d.write:A(v) self.n = v self.t = { 1, x = { y = 'z', [2.5] = true } } self.buf:u32(8, v)\n"         \
         " self:after(1, 'ev', 77, 'str', nil) end\n"                                                                  \
         "function d.read:A() return (self.n == 5 and self.t.x.y == 'z' and self.t.x[2.5] and self.t[1] == 1 and\n"    \
         "  self.buf:u32(8) == 5) and 1 or 0 end\n"                                                                    \
         "function d.write:B(v) local d = self.dma:read(0x100000, 1) self.OUT.value = v + (d and d:byte() or 1000) end\n" \
         "function d.write:Q(v) local co = { } co.co = co self.t = co end\n"                                           \
         "function d.write:R(v) self.t = { a = { print } } end\n"                                                      \
         "local extra\nfunction d.on:save() return { v = extra } end\nfunction d.on:load(t) extra = t.v end\n"         \
         "function d.write:F(v) extra = v end\nfunction d.read:F() return extra end\n"

static void test_save(void **state)
{
    struct fake *f = start(SAVED "return d"), *g;
    struct fake_state *saved = calloc(1, sizeof *saved);

    (void)state;
    f->messages = true;
    fake_write(f, 0, F, 2, 0x11);
    fake_write(f, 0, A, 4, 5);
    fake_write(f, 0, B, 4, 3); /* waits */
    fake_advance(f, 0.5);
    assert_int_equal(fake_save(f, saved), 0);
    assert_quiet(f);

    g = start(SAVED "return d");
    g->memory[0] = 20;
    g->messages = true;
    assert_int_equal(fake_restore(g, saved), 0);
    assert_int_equal(fake_read(g, 0, A, 4), 1);
    assert_int_equal(fake_read(g, 0, F, 2), 0x11);
    assert_int_equal(g->nops, 0);
    g->plugin->resume(g->self); /* the waiting write starts again */
    assert_int_equal(g->nops, 1);
    fake_answer(g, 0);
    assert_int_equal(fake_read(g, 0, OUT, 4), 23);
    g->plugin->event(g->self, 0, 1); /* the timer is the host's, its key ours */
    assert_int_equal(fake_read(g, 0, OUT, 4), 77);
    g->plugin->event(g->self, 0, 1); /* it ran: there is no such event any more */
    assert_quiet(g);

    fake_write(f, 0, Q, 8, 1);
    assert_int_not_equal(fake_save(f, saved), 0);
    assert_log(f, "nested too deep, or holds itself");
    fake_write(f, 0, R, 4, 1);
    assert_int_not_equal(fake_save(f, saved), 0);
    assert_log(f, "state t.a[1] is a function, which cannot be saved");
    stop(f);
    stop(g);
    free(saved);
}

/* State whose names and sizes have changed, and bytes that are no state at all. */
static void test_load_other(void **state)
{
    struct fake *f = start(SAVED "return d"), *g;
    struct fake_state *saved = calloc(1, sizeof *saved);
    uint64_t n;

    (void)state;
    fake_write(f, 0, A, 4, 5);
    assert_int_equal(fake_save(f, saved), 0);
    g = start("local vfu = require 'vfu'\nlocal d = vfu.device('d', { pci = { vendor = 1, device = 2 },\n"
              " state = { n = 0, buf = vfu.buffer(10), m = 3 } })\n"
              "d:bar(0, { size = 16 }, { vfu.reg('OUT', 0, 4) })\n"
              "function d.read:OUT() return self.m * 100 + self.n * 10 + #self.buf + self.buf:u8(8) end return d");
    assert_int_equal(fake_restore(g, saved), 0);
    assert_int_equal(fake_read(g, 0, 0, 4), 300 + 50 + 10 + 5);
    assert_log(g, "state t is saved, but the script has none of that name");
    assert_log(g, "state buf: 64 bytes were saved, 10 fit");
    assert_log(g, "event ev is pending, but the script has none");
    assert_int_equal(g->errors, 0);
    n = saved->n;
    for (saved->n = 0; saved->n < n; saved->n++)
        assert_int_equal(fake_restore(g, saved), -EINVAL);
    saved->n = n;
    for (uint64_t i = 0; i < n; i++) { /* damaged: an error or not, but no harm */
        saved->bytes[i] ^= 0xff;
        fake_restore(g, saved);
        saved->bytes[i] ^= 0xff;
    }
    stop(f);
    stop(g);
    free(saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edu),
        cmocka_unit_test(test_edu_dma),
        cmocka_unit_test(test_edu_dma_faults),
        cmocka_unit_test(test_gpio),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_hook_arguments),
        cmocka_unit_test(test_locks),
        cmocka_unit_test(test_raw_and_ram),
        cmocka_unit_test(test_timers),
        cmocka_unit_test(test_waiting),
        cmocka_unit_test(test_reset_closes),
        cmocka_unit_test(test_client_gone),
        cmocka_unit_test(test_stop_freezes),
        cmocka_unit_test(test_lifecycle),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_libraries),
        cmocka_unit_test(test_budget_sleeps),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_collection),
        cmocka_unit_test(test_reports_are_limited),
        cmocka_unit_test(test_save),
        cmocka_unit_test(test_load_other),
    };

    return cmocka_run_group_tests_name("lua run", tests, NULL, NULL);
}
