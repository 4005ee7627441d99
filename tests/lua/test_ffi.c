/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * require "ffi": declarations and what they refuse, values and their bounds, calls of real libraries, callbacks, who
 * may have it at all, and the example that hashes guest memory. Each case is a script that asserts while it loads. One
 * thread, but for the test that calls back from another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/binding.h"
#include "tests/lua/fake.h"

#define HEAD                                                                                                           \
    "local vfu = require 'vfu'\nlocal ffi = require 'ffi'\n"                                                           \
    "local d = vfu.device('d', { pci = { vendor = 1, device = 2 }, needs = { 'ffi' } })\n"                             \
    "d:bar(0, { size = 16 }, { vfu.reg('A', 0, 4), vfu.reg('B', 4, 4) })\n"                                            \
    "local C = ffi.C\n"                                                                                                \
    "local function eq(a, b) if a ~= b then error(tostring(a) .. ' is not ' .. tostring(b), 2) end end\n"              \
    "local function fails(part, f, ...)\n"                                                                             \
    "  local ok, err = pcall(f, ...)\n"                                                                                \
    "  if ok then error('no error, but: ' .. part, 2) end\n"                                                           \
    "  err = tostring(err)\n"                                                                                          \
    "  if not err:find(part, 1, true) then error('\"' .. err .. '\" is without ' .. part, 2) end\n"                    \
    "end\n"
#define END "\nreturn d"

static struct fake *load(const char *script)
{
    struct fake *f = calloc(1, sizeof *f);
    int rc;

    assert_non_null(f);
    rc = fake_load(f, script);
    if (rc || f->errors)
        fail_msg("%d, log: %s", rc, f->log);
    return f;
}

static void stop(struct fake *f)
{
    fake_stop(f);
    free(f);
}

static void passes(const char *script)
{
    struct fake *f = load(script);

    assert_string_equal(f->log, "");
    stop(f);
}

/* ---- what C code of this file offers to scripts: callbacks kept, and called from elsewhere ---- */

typedef int (*kept_fn)(int);

static kept_fn kept;

static int keep(kept_fn fn)
{
    kept = fn;
    return 0;
}

static int call_kept(int n)
{
    return kept(n);
}

static void *call_elsewhere(void *arg)
{
    *(int *)arg = kept(*(int *)arg);
    return NULL;
}

static int thread_kept(int n)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, call_elsewhere, &n))
        return -1;
    pthread_join(thread, NULL);
    return n;
}

struct point {
    double x, y;
    int tag;
    short small[3];
};

static struct point mirror(struct point p, int sign)
{
    struct point q = { p.y * sign, p.x * sign, p.tag + 1, { p.small[2], p.small[1], p.small[0] } };

    return q;
}

static double apply(double (*fn)(struct point p), struct point p)
{
    return fn(p);
}

static int finalized;

static void finalize(void *p)
{
    (void)p;
    finalized++;
}

static int8_t negative(void)
{
    return -5;
}

static bool is_odd(unsigned n)
{
    return n & 1;
}

/* Scripts get their addresses, as numbers. */
static void *const offered[] = {
    (void *)keep, (void *)call_kept, (void *)thread_kept, (void *)mirror, (void *)apply, (void *)finalize,
    (void *)negative, (void *)is_odd,
};

#define OFFERED                                                                                                        \
    "ffi.cdef [[\n"                                                                                                    \
    "typedef struct { double x, y; int tag; short small[3]; } point;\n"                                                \
    "typedef int (*kept_fn)(int);\n]]\n"                                                                               \
    "local keep = ffi.cast('int (*)(kept_fn)', d.params.f0)\n"                                                         \
    "local call_kept = ffi.cast('int (*)(int)', d.params.f1)\n"                                                        \
    "local thread_kept = ffi.cast('int (*)(int)', d.params.f2)\n"                                                      \
    "local mirror = ffi.cast('point (*)(point, int)', d.params.f3)\n"                                                  \
    "local apply = ffi.cast('double (*)(double (*)(point), point)', d.params.f4)\n"                                    \
    "local finalize = ffi.cast('void (*)(void *)', d.params.f5)\n"                                                     \
    "local negative = ffi.cast('int8_t (*)(void)', d.params.f6)\n"                                                     \
    "local is_odd = ffi.cast('bool (*)(unsigned)', d.params.f7)\n"

/* HEAD with the addresses as parameters. */
static char *with_offered(const char *body)
{
    static char script[1 << 14];
    size_t n = 0;

    n += (size_t)snprintf(script, sizeof script, "%s", HEAD);
    n += (size_t)snprintf(script + n, sizeof script - n, "d = { params = { ");
    for (size_t i = 0; i < sizeof offered / sizeof offered[0]; i++)
        n += (size_t)snprintf(script + n, sizeof script - n, "f%zu = 0x%llx, ", i,
                              (unsigned long long)(uintptr_t)offered[i]);
    n += (size_t)snprintf(script + n, sizeof script - n, "}, real = d }\n%s%s\nreturn d.real", OFFERED, body);
    assert_true(n < sizeof script);
    return script;
}

/* ---- types and values ---- */

static void test_declarations(void **state)
{
    (void)state;
    passes(HEAD "ffi.cdef [[\n"
                "/* comments */ typedef unsigned int word; // of both kinds\n"
                "enum colour { RED, GREEN = 5, BLUE, MASK = (1 << 4) | 'a' - 0x60, NEG = -sizeof(int) };\n"
                "static const int LIMIT = 3 * (2 + 1) % 5 ? 7 : 8;\n"
                "struct inner { char c; int32_t i; };\n"
                "struct outer {\n"
                "  uint8_t head; struct inner in[2]; union { uint32_t all; uint8_t part[4]; };\n"
                "  struct { int a, *b; } named; const char *text; int (*fn)(int, ...); enum colour colour;\n"
                "};\n"
                "struct packed { uint8_t a; uint32_t b; } __attribute__((packed));\n"
                "struct list { struct list *next; int n; };\n"
                "struct tail { int n; uint16_t data[]; };\n"
                "typedef int matrix[2][3];\n"
                "typedef struct list list_t; typedef struct list list_t;\n"
                "int printf(const char *restrict format, ...) ;\n"
                "char *(*strange(int (*)(void), double[4]))[3];\n"
                "extern volatile const unsigned long long int counter;\n"
                "]]\n"
                "eq(C.RED, 0) eq(C.BLUE, 6) eq(C.MASK, 17) eq(C.NEG, -4) eq(C.LIMIT, 7)\n"
                "eq(ffi.sizeof 'word', 4) eq(ffi.sizeof 'struct inner', 8) eq(ffi.alignof 'struct inner', 4)\n"
                "eq(ffi.offsetof('struct outer', 'in'), 4) eq(ffi.offsetof('struct outer', 'part'), 20)\n"
                "eq(ffi.offsetof('struct outer', 'named'), 24) eq(ffi.sizeof 'struct packed', 5)\n"
                "eq(ffi.sizeof 'matrix', 24) eq(ffi.sizeof('int[?]', 7), 28) eq(ffi.sizeof('struct tail', 3), 10)\n"
                "eq(ffi.sizeof 'void', nil) eq(ffi.sizeof 'struct never', nil) eq(ffi.sizeof 'enum colour', 4)\n"
                "eq(tostring(ffi.typeof 'char *(*(*)(int (*)(void), const double *))[3]'),\n"
                " 'ctype<char *(*(*)(int (*)(void), const double *))[3]>')\n"
                "eq(tostring(ffi.typeof 'const char *const[4]'), 'ctype<const char *const [4]>')\n"
                "eq(ffi.typeof 'uint32_t', ffi.typeof 'unsigned') assert(ffi.typeof 'int' ~= ffi.typeof 'unsigned')\n"
                "eq(ffi.typeof 'list_t *', ffi.typeof 'struct list*')\n" END);
}

static void test_refused_declarations(void **state)
{
    (void)state;
    passes(HEAD "local function bad(text, part) fails(part, ffi.cdef, text) end\n"
                "bad('struct b {\\n int a : 3; };', \"ffi.cdef, line 2: bit fields are not supported: near ':'\")\n"
                "bad('struct b2 { int : 3; };', 'bit fields')\n"
                "bad('union u { int i; float f; };\\n\\nint f(union u v);', \"line 3: a parameter of type 'union "
                "u': unions by value\")\n"
                "bad('union v { int i; }; union v g(void);', 'unions by value')\n"
                "bad('struct has { union { int i; float f; }; }; int h(struct has x);', 'unions by value')\n"
                "bad('\\n#define X 1', \"line 2: the preprocessor is not supported near '#'\")\n"
                "bad('int f(nosuch_t x);', \"not a type that is known: near 'nosuch_t'\")\n"
                "bad('int f(int', \"',' expected at the end\")\n"
                "bad('int f(void) { return 1; }', \"body is not supported: near '{'\")\n"
                "bad('long double x;', 'long double')\n"
                "bad('inline int f(void);', \"not supported: near 'inline'\")\n"
                "bad('int f(void) __attribute__((pure));', \"near '__attribute__'\")\n"
                "bad('struct s { int a; } __attribute__((aligned(8)));', \"near 'aligned'\")\n"
                "bad('short float x;', 'no type together')\n"
                "bad('int int x;', \"the word twice near 'int'\")\n"
                "bad('struct q { int a; }; struct q { int a; };', 'is defined already')\n"
                "bad('struct r { struct r inside; };', 'whose size is not known')\n"
                "bad('struct r2 { struct r2 { int i; } x; };', 'defined')\n"
                "bad('struct t { int a; float a; };', 'a second member a')\n"
                "bad('struct o { int open[]; int more; };', 'open array')\n"
                "bad('typedef int a_t; typedef float a_t;', 'declared already')\n"
                "bad('int big[0x7fffffff];', 'elements')\n"
                "bad('int big[0x3fffffff];', 'an array of over 1024 MiB')\n"
                "bad('int neg[-1];', 'an array of -1 elements')\n"
                "bad('enum { A1 = 1 / 0 };', 'no result')\n"
                "bad('enum { A2 = 1 << 64 };', 'a shift by 64 bits')\n"
                "bad('enum { A3 = 0x100000000 };', 'over 32 bits')\n"
                "bad('enum { A4 = NOPE };', \"a constant expected near 'NOPE'\")\n"
                "bad('enum { A5 = 1.5 };', 'not an integer')\n"
                "bad('int f(...);', 'needs a parameter before')\n"
                "bad('int f(void)[3];', 'returns a function or an array')\n"
                "bad('/* no end', 'a comment without an end')\n"
                "bad('int \\0;', 'no part of C')\n"
                "bad('int x = 5;', \"'static const'\")\n"
                "bad(('('):rep(1000), 'a type expected')\n"
                "bad('int ' .. ('('):rep(1000) .. 'x' .. (')'):rep(1000) .. ';', 'nested too deep')\n"
                "bad('enum { E = ' .. ('('):rep(100000) .. '1};', 'nested too deep')\n"
                "bad(('struct { '):rep(100000), 'nested too deep')\n"
                "bad('int ' .. ('*'):rep(500) .. 'p;', 'nested over')\n"
                "bad('char x' .. ('[1]'):rep(500) .. ';', 'nested')\n"
                "fails('type \"nonsense\": not a type', ffi.new, 'nonsense')\n"
                "fails('not the text', ffi.typeof, 'int)')\n"
                "fails('without a name', ffi.typeof, 'int x')\n"
                "fails('a C type expected', ffi.new, 5)\n" END);
}

static void test_values(void **state)
{
    (void)state;
    passes(HEAD "ffi.cdef [[ enum e { OFF, ON }; struct p { int x, y; }; struct q { struct p p[2]; char name[8]; "
                "enum e e;\n"
                " const int fixed; struct { uint8_t lo, hi; }; uint64_t wide; float f; _Bool b; struct p *next; };\n"
                " struct tail { int n; uint16_t data[]; }; ]]\n"
                "eq(ffi.new('int', 5), 5) eq(ffi.new('int'), 0) eq(ffi.new('char *'), nil) eq(ffi.new('bool', "
                "true), true)\n"
                "local q = ffi.new('struct q', { p = { { 1, 2 }, { y = 4 } }, name = 'abc', e = 'ON', fixed = 9, hi "
                "= 7, b = true })\n"
                "eq(q.p[0].x, 1) eq(q.p[0].y, 2) eq(q.p[1].x, 0) eq(q.p[1].y, 4) eq(ffi.string(q.name), 'abc') "
                "eq(q.e, 1)\n"
                "eq(q.hi, 7) eq(q.lo, 0) eq(q.b, true) eq(q.next, nil) eq(q.fixed, 9)\n"
                "q.wide = -1 eq(q.wide, -1) q.f = 0.5 eq(q.f, 0.5) q.lo = 255 q.lo = -1 eq(q.lo, 255) q.e = 0 "
                "eq(q.e, 0)\n"
                "q.next = q.p[1] eq(q.next.y, 4) q.next.y = 11 eq(q.p[1].y, 11) q.next = nil eq(q.next, nil)\n"
                "q.p[0] = { 5, 6 } q.p[1] = q.p[0] eq(q.p[1].y, 6)\n"
                "fails('does not fit', function() q.lo = 256 end) fails('does not fit', function() q.lo = -129 end)\n"
                "fails('is no integer', function() q.lo = 1.5 end) fails(\"string where 'unsigned char' is "
                "wanted\", function() q.lo = 'x' end)\n"
                "fails('is const', function() q.fixed = 1 end) fails('has no name \"OF\"', function() q.e = 'OF' end)\n"
                "fails('has no member nam; did you mean name?', function() return q.nam end)\n"
                "fails('does not fit into 8', function() q.name = 'ninebytes' end) q.name = 'eight888'\n"
                "eq(ffi.string(q.name), 'eight888')\n"
                "fails('a string cannot be stored', function() ffi.new('const char *[1]')[0] = 'x' end)\n"
                "fails('2 elements', function() return q.p[2] end) fails('outside', function() return q.p[-1] end)\n"
                "fails('where', function() q.next = ffi.new('int[4]') end)\n"
                "fails('no member', ffi.new, 'struct p', { z = 1 }) fails('3 values', ffi.new, 'struct p', 1, 2, 3)\n"
                "local a = ffi.new('int[4]', 7) eq(a[3], 7) a = ffi.new('int[4]', 1, 2) eq(a[1], 2) eq(a[2], 0) "
                "eq(#a, 4)\n"
                "a = ffi.new('int[3]', { [0] = 4, 5, 6 }) eq(a[0], 4) eq(a[2], 6)\n"
                "fails('5 values for 4', ffi.new, 'int[4]', 1, 2, 3, 4, 5) fails('outside', function() a[3] = 1 end)\n"
                "local v = ffi.new('uint8_t[?]', 5, 'abc') eq(ffi.sizeof(v), 5) eq(v[2], 99) eq(v[4], 0)\n"
                "fails('5 elements', function() return v[5] end) fails('outside', function() return v[1 << 62] end)\n"
                "fails('elements', ffi.new, 'int[?]', -1) fails('1024 MiB', ffi.new, 'int[?]', 1 << 29)\n"
                "fails('not enough memory', ffi.new, 'char[?]', 1 << 28)\n"
                "local t = ffi.new('struct tail', 3) t.n = 3 t.data[2] = 9 eq(t.data[2], 9)\n"
                "fails('3 elements', function() return t.data[3] end)\n"
                "local T = ffi.typeof('struct p') local p = T(3, 4) assert(ffi.istype(T, p)) eq(p.y, 4)\n"
                "assert(ffi.istype('struct p', ffi.cast('struct p *', p))) eq(ffi.istype('int', p), false) "
                "eq(ffi.istype('int', 5), false)\n"
                "eq(ffi.new('struct p', p).x, 3) assert(tostring(p):find('cdata<struct p>', 1, true))\n"
                "fails('not defined', ffi.new, 'struct nowhere') fails('no object', ffi.new, 'void')\n"
                "local m = ffi.new('int[2][3]', { { 1, 2, 3 }, { 4 } }) eq(m[0][2], 3) eq(m[1][2], 4)\n"
                "eq(getmetatable(p), 'cdata')\n"
                "local ip = ffi.new('int *[2]', m[0], nil) eq(ip[0][1], 2) eq(ip[1], nil) fails('nil where', "
                "ffi.new, 'int[3]', 1, nil, 3)\n"
                "ip = ffi.new('int *[2]', m[1]) eq(ip[1][0], 4) eq(ffi.new('struct p[2]', p)[1].y, 4)\n"
                "local U = ffi.typeof('union { uint32_t all; uint8_t part[4]; float f; }') eq(U(0x3f800000).f, 1.0) "
                "eq(U({ f = 1 }).all, 0x3f800000)\n"
                "fails('2 values', U, 1, 2)\n" END);
    passes("local vfu, ffi = require 'vfu', require 'ffi'\n"
           "local d = vfu.device('d', { pci = { vendor = 1, device = 2 }, needs = { 'ffi' }, state = { s = 0 } })\n"
           "local ok, err = pcall(function() d.s = ffi.new('int[2]') end)\n"
           "assert(not ok and err:find('a cdata cannot be saved'), err)\nreturn d");
}

static void test_pointers(void **state)
{
    (void)state;
    passes(HEAD "ffi.cdef [[ struct n { int v; struct n *next; }; struct hidden; ]]\n"
                "local a = ffi.new('int[4]', 1, 2, 3, 4)\n"
                "local p = a + 1 eq(p[0], 2) eq(p[2], 4) eq(p[-1], 1) eq((p + 1)[0], 3) eq(p - a, 1) eq((1 + a)[0], "
                "2) eq((p - 1)[0], 1)\n"
                "fails('outside of the memory', function() return p[3] end) fails('outside', function() return "
                "p[-2] end)\n"
                "fails('outside', function() return a + 5 end) fails('outside', function() return (a + 4)[0] end)\n"
                "fails('far outside', function() return p[1 << 61] end) fails('outside', function() return p - "
                "math.mininteger end)\n"
                "assert(a + 4 > p and p <= p and p == a + 1 and p ~= a)\n"
                "local bytes = ffi.cast('uint8_t *', a) eq(bytes[4], 2) fails('outside', function() return "
                "bytes[16] end)\n"
                "local wide = ffi.cast('uint64_t *', a + 3) fails('outside', function() return wide[0] end)\n"
                "eq(ffi.cast('uint8_t', 300), 44) eq(ffi.cast('int8_t', 255), -1) eq(ffi.cast('int', -1.9), -1) "
                "eq(ffi.cast('float', 0.1) == 0.1, false)\n"
                "eq(ffi.cast('void *', 0), nil) eq(ffi.cast('intptr_t', ffi.cast('void *', 4096)), 4096) "
                "eq(ffi.cast('bool', 0.5), true)\n"
                "fails('beyond 64 bits', ffi.cast, 'int', 1e300) fails('beyond', ffi.cast, 'int', 0/0)\n"
                "fails('a cast makes', ffi.cast, 'int[3]', a) fails('cannot be', ffi.cast, 'int *', {})\n"
                "local v = ffi.cast('void *', a) fails('not known', function() return v[0] end) fails('not known', "
                "function() return v + 1 end)\n"
                "local h = ffi.cast('struct hidden *', 4096) fails('not defined', function() return h.x end) "
                "fails('not known', function() return h[0] end)\n"
                "local s = ffi.cast('const char *', 'hello') eq(s[1], 101) eq(ffi.string(s), 'hello') eq(s[5], 0) "
                "fails('outside', function() return s[6] end)\n"
                "fails('is const', function() s[0] = 1 end) fails('strings do not change', ffi.cast, 'char *', 'x')\n"
                "local n = ffi.new('struct n') n.next = n n.v = 3 eq(n.next.next.v, 3) eq(n.next, ffi.cast('struct "
                "n *', n))\n"
                "local c = ffi.cast('const struct n *', n) fails('is const', function() c.v = 1 end) fails('is "
                "const', function() c[0].v = 1 end)\n"
                "fails('lose its const', function() n.next = c end) n.next = nil\n"
                "local b = vfu.buffer(8) b:write(0, 'buffer!!') local bp = ffi.cast('uint8_t *', b) eq(bp[1], 117)\n"
                "bp[0] = 66 eq(b:u8(0), 66) fails('outside', function() return bp[8] end)\n"
                /* A part keeps the whole. */
                "local part = ffi.new('struct n[2]')[1] part.v = 5 collectgarbage() collectgarbage() eq(part.v, 5)\n"
                "local q = ffi.cast('char *', ffi.new('char[8]', 'kept')) + 1 collectgarbage() collectgarbage() "
                "eq(ffi.string(q), 'ept')\n"
                "local w = ffi.new('const char *', ffi.new('char[8]', 'abc')) collectgarbage() eq(ffi.string(w), "
                "'abc')\n" END);
}

static void test_memory_functions(void **state)
{
    (void)state;
    passes(HEAD "local a = ffi.new('char[8]')\n"
                "ffi.copy(a, 'seven77') eq(ffi.string(a), 'seven77') fails('9 bytes, where there are 8', ffi.copy, "
                "a, 'eight888')\n"
                "ffi.copy(a, 'eight888', 8) eq(ffi.string(a), 'eight888') eq(ffi.string(a, 3), 'eig') "
                "eq(ffi.string(a + 6), '88')\n"
                "fails('9 bytes', ffi.string, a, 9) fails('length of -1', ffi.string, a, -1) fails('bytes', "
                "ffi.fill, a, 9)\n"
                "ffi.fill(a, 2, 120) eq(ffi.string(a, 3), 'xxg') ffi.fill(a, 8) eq(ffi.string(a), '')\n"
                "fails('where there are 4', ffi.copy, a, 'abc', 5) fails('a length is needed', ffi.copy, a, a)\n"
                "ffi.copy(a, 'abcdefg') ffi.copy(a + 1, a, 4) eq(ffi.string(a), 'aabcdfg')\n"
                "fails('const', ffi.copy, ffi.cast('const char *', a), 'x') fails('const', ffi.fill, 'text', 1)\n"
                "fails('no end of its own', ffi.string, ffi.new('int[2]')) eq(#ffi.string(ffi.new('int[2]'), 8), 8)\n"
                "fails('the length must be an integer', ffi.fill, a, 'x')\n" END);
}

/* ---- calls ---- */

static void test_libraries(void **state)
{
    (void)state;
    passes(HEAD "ffi.cdef [[\n"
                "typedef struct { int quot, rem; } div_t; div_t div(int, int);\n"
                "int snprintf(char *s, size_t n, const char *format, ...); double sqrt(double); int abs(int); int "
                "undeclared_anywhere(void);\n"
                "unsigned long crc32(unsigned long crc, const uint8_t *buf, unsigned len);\n"
                "size_t strlen(const char *s); void *memchr(const void *, int, size_t); int close(int fd); char "
                "*strchr(const char *, int);\n"
                "void qsort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *));\n"
                "extern char **environ; const char *zlibVersion(void); int printf(const char *, ...); float "
                "strtof(const char *, char **);\n"
                "]]\n"
                "local z = ffi.load('libz.so.1')\n"
                "eq(z.crc32(0, 'hello', 5), 0x3610a686) eq(z.zlibVersion()[0], 49)\n"
                "local b = vfu.buffer(5) b:write(0, 'hello') eq(z.crc32(0, b, #b), 0x3610a686)\n"
                "eq(z:func('adler32', 'unsigned long', 'unsigned long', 'const void *', 'unsigned')(1, 'hello', 5), "
                "0x062c0215)\n"
                "local r = C.div(17, 5) eq(r.quot, 3) eq(r.rem, 2)\n" /* a struct by value */
                "local text = ffi.new('char[64]')\n"
                "eq(C.snprintf(text, 64, '%d %s %.2f %llx %c', 42, 'str', 1.5, -1, 65), 30)\n"
                "eq(ffi.string(text), '42 str 1.50 ffffffffffffffff A')\n"
                "eq(C:func('snprintf', 'int', 'char *', 'size_t', 'const char *', '...')(text, 64, '%s=%g', text + "
                "60, 2.5), 4)\n"
                "eq(ffi.string(text), '=2.5') eq(C.printf('%s', ''), 0)\n"
                "local a = ffi.new('int[6]', 3, 1, 2, -5, 9, 0)\n"
                "C.qsort(a, 6, 4, function(x, y) return ffi.cast('const int *', x)[0] - ffi.cast('const int *', "
                "y)[0] end)\n"
                "eq(a[0], -5) eq(a[1], 0) eq(a[5], 9)\n"
                "local down = ffi.cast('int (*)(const int *, const int *)', function(x, y) return y[0] - x[0] end)\n"
                "C.qsort(a, 6, 4, ffi.cast('int (*)(const void *, const void *)', down)) eq(a[0], 9) eq(a[5], -5)\n"
                "eq(C.close(-1), -1) eq(ffi.errno(), 9) eq(ffi.errno(0), 9) eq(ffi.errno(), 0)\n" /* EBADF */
                "eq(C.memchr('abc', 122, 3), nil) eq(ffi.string(C.strchr('abc', 98)), 'bc') assert(C.environ ~= nil)\n"
                "eq(C.strtof('2.5', nil), 2.5) eq(C.sqrt(2) > 1.41, true) eq(C.abs(-3), 3) eq(C.abs(2.0), 2)\n"
                /* What the types can tell */
                "fails('takes 1 argument, not 0', C.abs) fails('takes 1 argument, not 2', C.abs, 1, 2)\n"
                "fails('snprintf takes 3 arguments or more, not 1', C.snprintf, text)\n"
                "fails('argument 1 of abs: 1.5 is no integer', C.abs, 1.5) fails('does not fit', C.abs, 1 << 32)\n"
                "fails(\"argument 1 of strlen: 'int[6]' where 'const char *' is wanted\", C.strlen, a)\n"
                "fails('strings do not change', C.snprintf, 'text', 4, '') fails('boolean where', C.strlen, true)\n"
                "fails('table where', C.strlen, {})\n"
                "fails('libz.so.1 has no symbol undeclared_anywhere', function() return z.undeclared_anywhere end)\n"
                "fails('is not declared: give ffi.cdef its prototype; did you mean strlen?', function() return "
                "C.strlem end)\n"
                "fails('is a type', function() return C.div_t end) fails('no variable', function() C.abs = 1 end)\n"
                "for i = 1, 20000 do z:func('adler32', 'unsigned long', 'unsigned long', 'const void *', "
                "'unsigned') end\n"
                "fails('ffi.load: libnosuch.so', ffi.load, 'nosuch')\n"
                "fails('a pointer, an array, a struct or a buffer expected, not no value', ffi.string) \n" END);
}

static void test_structs_by_value(void **state)
{
    (void)state;
    passes(with_offered("local p = mirror({ 1, 2, 7, { 3, 4, 5 } }, -1) eq(p.x, -2) eq(p.y, -1) eq(p.tag, 8) "
                        "eq(p.small[0], 5) eq(p.small[2], 3)\n"
                        "p = mirror(ffi.new('point', p), 1) eq(p.x, -1) eq(p.tag, 9)\n"
                        "fails('argument 1', mirror, 5, 1) fails('small: 4 values for 3', mirror, { 1, 2, 3, { 1, "
                        "2, 3, 4 } }, 1)\n"
                        "eq(apply(function(q) q.x = q.x + 1 return q.x * q.y end, { 2, 5 }), 15)\n"
                        "eq(negative(), -5) eq(is_odd(3), true) eq(is_odd(4), false)\n"));
}

/* ---- callbacks ---- */

static void test_callbacks(void **state)
{
    (void)state;
    passes(with_offered("local sum = 0\n"
                        "local cb = ffi.cast('kept_fn', function(n) sum = sum + n return -n end)\n"
                        "keep(cb) eq(call_kept(5), -5) eq(sum, 5) eq(cb(7), -7)\n"
                        "cb:set(function(n) return n * 2 end) eq(call_kept(4), 8)\n"
                        /* errors come out behind the C function, of any kind */
                        "cb:set(function() error('in the callback') end) fails('in the callback', call_kept, 1)\n"
                        "local t = {} cb:set(function() error(t) end) local ok, e = pcall(call_kept, 1) eq(e, t)\n"
                        "cb:set(function() return 'x' end) fails(\"the callback's result: string where 'int' is "
                        "wanted\", call_kept, 1)\n"
                        "cb:set(function() end) fails('result', call_kept, 1)\n"
                        /* where it is written */
                        "local at = select(2, pcall(function() error('') end)) cb:set(function() return 'x' end) "
                        "fails(at .. \"the callback's result: string where\", call_kept, 1)\n"
                        "cb:set(function(n) return n * 2 end) eq(call_kept(4), 8)\n"
                        /* one within the other, in a coroutine too */
                        "cb:set(function(n) return n > 0 and call_kept(n - 1) + 1 or 0 end) eq(call_kept(20), 20)\n"
                        "eq(coroutine.wrap(function() return call_kept(3) end)(), 3)\n"
                        "cb:set(function(n) return call_kept(n) end) fails('nested over 32 deep', call_kept, 1)\n"
                        "cb:set(function() coroutine.yield() end) fails('yield', coroutine.wrap(function() "
                        "call_kept(1) end))\n"
                        /* freed, collected, for one call only */
                        "cb:free() fails('freed', call_kept, 1) fails('freed', cb, 1) fails('freed', keep, cb) "
                        "fails('freed', cb.free, cb)\n"
                        "keep(function(n) return n end) fails('after it was freed or collected', call_kept, 1)\n"
                        "keep(ffi.cast('kept_fn', function(n) return n end)) collectgarbage() collectgarbage()\n"
                        "fails('after it was freed or collected', call_kept, 1)\n"
                        "for i = 1, 5000 do ffi.cast('kept_fn', print):free() end\n"
                        "for i = 1, 2000 do keep(print) end\n"
                        "local all = {} fails('over 1024 callbacks', function() for i = 1, 2000 do all[i] = "
                        "ffi.cast('kept_fn', print) end end)\n"
                        "fails('cannot be variadic', ffi.cast, 'int (*)(int, ...)', print)\n"
                        "fails('a Lua function cannot be stored', function() ffi.new('kept_fn[1]')[0] = print end)\n"
                        "local a = ffi.new('kept_fn[1]') a[0] = all[1] fails('colon', all[1].free)\n"));
}

/* A sort goes on after its comparator has failed, without calling it again. */
static void test_failing_comparator(void **state)
{
    (void)state;
    passes(HEAD "ffi.cdef 'void qsort(void *, size_t, size_t, int (*)(const int *, const int *));'\n"
                "local a, n = ffi.new('int[100]'), 0 for i = 0, 99 do a[i] = i * 37 % 100 end\n"
                "fails('enough', C.qsort, a, 100, 4, function(x, y) n = n + 1 if n == 3 then error('enough') end "
                "return x[0] - y[0] end)\n"
                "eq(n, 3)\n" END);
}

static void test_foreign_thread(void **state)
{
    struct fake *f;

    (void)state;
    f = calloc(1, sizeof *f);
    assert_int_equal(fake_load(f, with_offered("local n = 0 local cb = ffi.cast('kept_fn', function() n = n + 1 "
                                               "return 9 end)\n"
                                               "keep(cb) eq(thread_kept(5), 0) eq(thread_kept(5), 0) eq(n, 0) "
                                               "eq(call_kept(1), 9)\n")),
                     0);
    assert_int_equal(f->errors, 1); /* told once */
    assert_non_null(strstr(f->log, "on a thread that is not the device's"));
    stop(f);
}

static void test_finalizers(void **state)
{
    struct fake *f;

    (void)state;
    finalized = 0;
    f = load(with_offered("ffi.cdef 'void free(void *); void *malloc(size_t); void one(int);'\n"
                          "ffi.gc(ffi.new('int[2]'), finalize) collectgarbage() collectgarbage()\n"
                          "local p = ffi.gc(C.malloc(16), C.free) ffi.fill(p, 16) p = nil\n"
                          "local q = ffi.gc(ffi.new('char[4]'), finalize) + 1 collectgarbage() collectgarbage() "
                          "eq(q[0], 0)\n"
                          "local r = ffi.gc(ffi.new('char[4]'), finalize) ffi.gc(r, nil) r = nil\n"
                          "fails('C function, not function', ffi.gc, q, print) fails('expected', ffi.gc, 5, finalize)\n"
                          "fails('takes one pointer', ffi.gc, q, negative)\n"
                          "kept_till_the_end = q\n"));
    assert_int_equal(finalized, 1);
    stop(f);
    assert_int_equal(finalized, 2);
}

/* ---- who may have it ---- */

static void refused(const char *script, uint64_t caps, const char *part)
{
    struct fake *f = calloc(1, sizeof *f);

    f->denied = ~caps;
    assert_int_equal(fake_load(f, script), -ENOEXEC);
    if (!strstr(f->log, part))
        fail_msg("log: %s\nwithout: %s", f->log, part);
    stop(f);
}

static void test_needs(void **state)
{
    (void)state;
    refused("local vfu = require 'vfu'\n\nlocal ffi = require 'ffi'\n"
            "local d = vfu.device('d', { pci = { vendor = 1, device = 2 } })\nreturn d",
            UINT64_MAX, ".lua:3: ffi is required here, but vfu.device has no needs = {\"ffi\"}");
    refused("local vfu = require 'vfu'\nlocal d = vfu.device('d', { pci = { vendor = 1, device = 2 } "
            "})\n\n\nrequire 'ffi'\nreturn d",
            UINT64_MAX, ".lua:5: ffi is required here");
    refused("local vfu = require 'vfu'\nlocal ok, ffi = pcall(require, 'ffi')\nlocal d = vfu.device('d', { pci = { "
            "vendor = 1, device = 2 } })",
            UINT64_MAX, ".lua:2: ffi is required here");
    refused("\nlocal ok = require 'ffi'", ~VFU_CAP_FFI, ".lua:2: ffi is not given to this device: --deny ffi");
    refused(HEAD END, ~VFU_CAP_FFI, "--deny ffi");
}

static void test_declared(void **state)
{
    struct fake *f = load(HEAD END);

    (void)state;
    assert_true(f->desc.caps & f->desc.needs & VFU_CAP_FFI);
    stop(f);
    f = load("local vfu = require 'vfu'\nreturn vfu.device('d', { pci = { vendor = 1, device = 2 } })");
    assert_false((f->desc.caps | f->desc.needs) & VFU_CAP_FFI);
    stop(f);
}

/* A type for each length would fill memory: there is an end, and a hint. */
static void test_type_limit(void **state)
{
    (void)state;
    passes(HEAD "fails('[?]', function() for i = 1, 20000 do ffi.typeof('char[' .. i .. ']') end end)\n" END);
}

/* ---- while the device runs ---- */

static void test_hooks(void **state)
{
    struct fake *f = calloc(1, sizeof *f);

    (void)state;
    fake_start(f, HEAD "ffi.cdef 'int abs(int);'\n"
                       "ffi.cdef 'void qsort(void *, size_t, size_t, int (*)(const int *, const int *));'\n"
                       "function d.write:A(v) self.B.value = C.abs(-v) end\n"
                       "function d.write:B(v) C.qsort(ffi.new('int[9]'), 9, 4, function() while true do end end) "
                       "end\n" END);
    fake_write(f, 0, 0, 4, 77);
    assert_int_equal(fake_read(f, 0, 4, 4), 77);
    assert_int_equal(f->errors, 0);
    budget_set(f->self, 30 * 1000000);
    fake_write(f, 0, 4, 4, 1); /* the time limit reaches into callbacks */
    assert_non_null(strstr(f->log, "stopped after its time"));
    fake_write(f, 0, 0, 4, 5);
    assert_int_equal(fake_read(f, 0, 4, 4), 5);
    stop(f);
}

/* ---- the example ---- */

enum {
    HASHER_ID = 0x00,
    HASHER_CTRL = 0x04,
    HASHER_STATUS = 0x08,
    HASHER_ADDR = 0x10,
    HASHER_LEN = 0x18,
    HASHER_SEED = 0x1c,
    HASHER_HASH = 0x20,
    HASHER_IRQ = 0x24,
    HASHER_IRQ_ENABLE = 0x28,
};
enum { HASHER_BUSY = 1, HASHER_FAULT = 2, HASHER_CRC32 = 1, HASHER_ADLER32 = 3 };

static uint32_t crc32_of(const uint8_t *p, size_t n)
{
    uint32_t crc = UINT32_MAX;

    while (n--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static void hash(struct fake *f, uint64_t addr, uint32_t len, uint32_t ctrl, uint32_t seed)
{
    fake_write(f, 0, HASHER_ADDR, 8, addr);
    fake_write(f, 0, HASHER_LEN, 4, len);
    fake_write(f, 0, HASHER_SEED, 4, seed);
    fake_write(f, 0, HASHER_CTRL, 4, ctrl);
    assert_int_equal(fake_read(f, 0, HASHER_STATUS, 4) & HASHER_BUSY, HASHER_BUSY);
    fake_advance(f, 0.01);
    while (f->nops)
        fake_answer(f, 0);
    assert_int_equal(fake_read(f, 0, HASHER_STATUS, 4) & HASHER_BUSY, 0);
}

static void hasher_works(bool messages)
{
    static char path[4096];
    const char *dir = getenv("VFU_SRCDIR");
    struct fake *f = calloc(1, sizeof *f);
    uint32_t half;

    snprintf(path, sizeof path, "%s/examples/hasher.lua", dir ? dir : ".");
    fake_start(f, path);
    f->messages = messages;
    for (size_t i = 0; i < FAKE_MEMORY; i++)
        f->memory[i] = (uint8_t)(i * 2654435761u >> 13);
    assert_int_equal(fake_read(f, 0, HASHER_ID, 4), 0x48534801);
    fake_write(f, 0, HASHER_IRQ_ENABLE, 4, 1);
    hash(f, FAKE_BASE + 3, 60000, HASHER_CRC32, 0);
    assert_int_equal(fake_read(f, 0, HASHER_HASH, 4), crc32_of(f->memory + 3, 60000));
    assert_int_equal(f->level & 1, 1);
    fake_write(f, 0, HASHER_IRQ, 4, 1);
    assert_int_equal(f->level, 0);
    hash(f, FAKE_BASE + 3, 1000, HASHER_CRC32, 0); /* in two parts */
    half = (uint32_t)fake_read(f, 0, HASHER_HASH, 4);
    hash(f, FAKE_BASE + 1003, 59000, HASHER_CRC32, half);
    assert_int_equal(fake_read(f, 0, HASHER_HASH, 4), crc32_of(f->memory + 3, 60000));
    memcpy(f->memory, "hello", 5);
    hash(f, FAKE_BASE, 5, HASHER_ADLER32, 1);
    assert_int_equal(fake_read(f, 0, HASHER_HASH, 4), 0x062c0215);
    assert_int_equal(fake_read(f, 0, HASHER_STATUS, 4), 0);
    hash(f, FAKE_BASE + FAKE_MEMORY - 8, 64, HASHER_CRC32, 0); /* beyond memory */
    assert_int_equal(fake_read(f, 0, HASHER_STATUS, 4), HASHER_FAULT);
    assert_int_equal(f->guest_errors, 1);
    hash(f, UINT64_MAX, UINT32_MAX, HASHER_CRC32, 0);
    assert_int_equal(fake_read(f, 0, HASHER_STATUS, 4), HASHER_FAULT);
    assert_int_equal(f->errors, 0);
    stop(f);
}

static void test_hasher(void **state)
{
    (void)state;
    hasher_works(false);
    hasher_works(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declarations),
        cmocka_unit_test(test_refused_declarations),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_pointers),
        cmocka_unit_test(test_memory_functions),
        cmocka_unit_test(test_libraries),
        cmocka_unit_test(test_structs_by_value),
        cmocka_unit_test(test_callbacks),
        cmocka_unit_test(test_failing_comparator),
        cmocka_unit_test(test_foreign_thread),
        cmocka_unit_test(test_finalizers),
        cmocka_unit_test(test_needs),
        cmocka_unit_test(test_declared),
        cmocka_unit_test(test_type_limit),
        cmocka_unit_test(test_hooks),
        cmocka_unit_test(test_hasher),
    };

    return cmocka_run_group_tests_name("lua ffi", tests, NULL, NULL);
}
