/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_wrap - scripts that wrap another device model (vfu.plugin, inner:wrap), and examples/faults, through the client
 * library, on a real socket: edu in C and in Lua inside, and wrappers in wrappers. One thread.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/protocol/proto.h"

#define MS VFUC_NS_PER_MS
#define ID 0x00
#define LIVE 0x04
#define FACT 0x08
#define STATUS 0x20
#define IRQ 0x24
#define RAISE 0x60
#define ACK 0x64
#define SRC 0x80
#define DST 0x88
#define COUNT 0x90
#define COMMAND 0x98
#define BUFFER 0x40000
#define MEM UINT64_C(0x100000)

static struct proto_host host, other;
static struct vfuc *c;
static uint8_t *memory;
static char dir[] = "/tmp/vfu-wrap.XXXXXX", paths[8][128];
static char edu_so[PATH_MAX], edu_lua[PATH_MAX];
static unsigned npaths;

/* A script in a file. %s in its text is the inner plugin. */
static const char *script(const char *text, const char *inner)
{
    char *path = paths[npaths];
    FILE *f;

    assert_true(npaths < 8);
    snprintf(path, sizeof paths[0], "%s/%u.lua", dir, npaths++);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "local vfu = require 'vfu'\nlocal inner = vfu.plugin('%s')\n%s", inner, text);
    fclose(f);
    return path;
}

static struct vfuc *connect_to(const struct proto_host *to, uint32_t kind, uint32_t irq)
{
    struct vfuc_options options = { .struct_size = sizeof options, .timeout_ns = 10000 * MS };
    struct vfuc *made = vfuc_new(&options);
    void *room;

    assert_non_null(made);
    assert_int_equal(vfuc_connect(made, to->socket), 0);
    assert_int_equal(vfuc_memory_new(made, MEM, 8192, kind | VFUC_DMA_RW, &room), 0);
    memory = room;
    assert_int_equal(vfuc_irq_arm(made, irq, 1), 0);
    return made;
}

static void bring_up(const char *plugin, char *const *params, uint32_t kind)
{
    if (!proto_host_start(&host, plugin, params))
        fail();
    c = connect_to(&host, kind, VFUC_MSI);
}

static void take_down(void)
{
    vfuc_free(c);
    c = NULL;
    assert_true(proto_host_stop(&host));
}

static int teardown(void **state)
{
    (void)state;
    vfuc_free(c);
    c = NULL;
    if (host.pid > 0)
        proto_host_stop(&host);
    if (other.pid > 0)
        proto_host_stop(&other);
    host.pid = other.pid = 0;
    while (npaths)
        unlink(paths[--npaths]);
    return 0;
}

static uint64_t get(uint64_t offset)
{
    uint64_t value;

    assert_int_equal(vfuc_get(c, 0, offset, offset < SRC ? 4 : 8, &value), 0);
    return value;
}

static void put(uint64_t offset, uint64_t value)
{
    assert_int_equal(vfuc_put(c, 0, offset, offset < SRC ? 4 : 8, value), 0);
}

static void await(uint64_t offset, uint64_t value)
{
    for (int i = 0; i < 5000 && get(offset) != value; i++)
        nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
    assert_int_equal(get(offset), value);
}

static int interrupt(uint64_t ns)
{
    int came = vfuc_irq_wait(c, VFUC_MSI, 0, ns);

    assert_true(came >= 0);
    put(ACK, get(IRQ));
    return came;
}

static void dma(uint64_t from, uint64_t to, uint64_t direction)
{
    put(SRC, from);
    put(DST, to);
    put(COUNT, 64);
    put(COMMAND, 1 | direction << 1 | 4);
    assert_int_equal(interrupt(5000 * MS), 1);
    assert_int_equal(get(COMMAND) & 1, 0);
}

static bool there_and_back(uint8_t byte)
{
    memset(memory, byte, 64);
    memset(memory + 4096, 0, 64);
    dma(MEM, BUFFER, 0);
    dma(BUFFER, MEM + 4096, 1);
    return memory[4096] == byte && memory[4096 + 63] == byte;
}

static void behaves_as_edu(void)
{
    assert_int_equal(get(ID), 0x010000ed);
    put(LIVE, 0x5555);
    assert_int_equal(get(LIVE), (uint32_t)~0x5555);
    put(STATUS, 0x80);
    put(FACT, 6);
    assert_int_equal(interrupt(5000 * MS), 1);
    assert_int_equal(get(FACT), 720);
    put(STATUS, 0);
    assert_true(there_and_back(0x5a));
    assert_int_equal(vfuc_reset(c), 0);
    assert_int_equal(get(FACT), 0);
    assert_true(there_and_back(0xa5));
}

static const char passes[] =
    "return inner:wrap {\n"
    "  read = function(self, next, bar, off, size) return next(bar, off, size) end,\n"
    "  write = function(self, next, bar, off, size, value) return next(bar, off, size, value) end,\n"
    "  dma_read = function(self, next, addr, len) return next(addr, len) end,\n"
    "  dma_write = function(self, next, addr, data) return next(addr, data) end,\n"
    "  raise = function(self, next, vector) return next(vector) end,\n"
    "}\n";

static void test_is_edu(void **state)
{
    static const uint32_t kinds[] = { 0, VFUC_DMA_MESSAGES };

    (void)state;
    for (int k = 0; k < 2; k++) {
        for (int lua = 0; lua < 2; lua++) {
            const char *inner = lua ? edu_lua : edu_so;

            for (int deep = 0; deep < 3; deep++) {
                inner = script(deep == 1 ? "return inner:wrap()\n" : passes, inner);
                bring_up(inner, NULL, kinds[k]);
                behaves_as_edu();
                take_down();
            }
            teardown(NULL);
        }
    }
}

/* Plain registers, memory that no register covers, failures, values that are none. */
static void test_accesses(void **state)
{
    uint8_t bytes[24];
    uint64_t value;

    (void)state;
    for (int lua = 0; lua < 2; lua++) {
        bring_up(script("return inner:wrap {\n"
                        "  state = { writes = 0 },\n"
                        "  read = function(self, next, bar, off, size)\n"
                        "    assert(bar == 0)\n"
                        "    if off == 0x100 then return self.writes end\n"
                        "    if off == 0x104 then return nil, 'EACCES' end\n"
                        "    if off == 0x108 then error('oops') end\n"
                        "    if off == 0x10c then return 'text' end\n"
                        "    if off == 0x110 then return vfu.sleep(1) end\n"
                        "    if off == 0x120 then return ('x'):rep(size) end\n"
                        "    if off == 0x140 then return 'short' end\n"
                        "    if off == 0x160 then return self.regs.SRC.value end\n"
                        "    if off == 0x164 then return next(0, 1 << 40, 4) end\n"
                        "    local v, err = next(bar, off, size)\n"
                        "    if off == 0 and size == 4 then return v + 1 end\n"
                        "    return v, err\n"
                        "  end,\n"
                        "  write = function(self, next, bar, off, size, value)\n"
                        "    self.writes = self.writes + 1\n"
                        "    if off == 0x100 then return nil, 'EIO' end\n"
                        "    if off == 0x104 then error('oops') end\n"
                        "    if off == 0x108 then assert(size == 16 and value == ('y'):rep(16)) return end\n"
                        "    if off == 0x110 then assert(size == 3 and value == 0x030201) return end\n"
                        "    if off == 0x80 then value = value + 1 end\n"
                        "    return next(bar, off, size, value)\n"
                        "  end,\n"
                        "}\n",
                        lua ? edu_lua : edu_so),
                 NULL, 0);
        assert_int_equal(get(ID), 0x010000ee);
        assert_int_equal(vfuc_read(c, 0, 0, bytes, 8), 0); /* the whole access, not its registers */
        assert_int_equal(bytes[0], 0xed);
        put(SRC, 0x41);
        assert_int_equal(get(SRC), 0x42);
        assert_int_equal(vfuc_get(c, 0, 0x160, 4, &value), 0);
        assert_int_equal(value, 0x42);
        assert_int_equal(get(0x100 & 0x7f) != 0, true);
        assert_int_equal(vfuc_get(c, 0, 0x100, 4, &value), 0);
        assert_int_equal(value, 1);
        assert_int_equal(vfuc_get(c, 0, 0x104, 4, &value), -EACCES);
        assert_int_equal(vfuc_get(c, 0, 0x164, 4, &value), -EINVAL);
        for (uint64_t off = 0x108; off <= 0x110; off += 4) {
            assert_int_equal(vfuc_get(c, 0, off, 4, &value), off == 0x110 ? -EAGAIN : 0);
            if (off < 0x110)
                assert_int_equal(value, UINT32_MAX);
        }
        assert_int_equal(vfuc_read(c, 0, 0x120, bytes, 24), 0);
        assert_memory_equal(bytes, "xxxxxxxxxxxxxxxxxxxxxxxx", 24);
        assert_int_equal(vfuc_read(c, 0, 0x140, bytes, 24), 0);
        assert_int_equal(bytes[23], 0xff);
        assert_int_equal(vfuc_put(c, 0, 0x100, 4, 1), -EIO);
        assert_int_equal(vfuc_put(c, 0, 0x104, 4, 1), 0);
        assert_int_equal(vfuc_write(c, 0, 0x108, "yyyyyyyyyyyyyyyy", 16), 0);
        assert_int_equal(vfuc_write(c, 0, 0x110, "\1\2\3", 3), 0);
        assert_int_equal(vfuc_get(c, 0, 0x100, 4, &value), 0);
        assert_int_equal(value, 5);
        take_down();
        teardown(NULL);
    }
}

/* Memory is answered as memory where nothing is hooked, and cannot be mapped by the client where something is. */
static void test_memory(void **state)
{
    static const char reads[] = "return inner:wrap { read = function(self, next, bar, off, size)\n"
                                "  if size > 8 then return next(bar, off, size):upper() end\n"
                                "  return next(bar, off, size) end }\n";
    char *params[] = { (char *)"inner.size=64K", NULL };
    char text[16] = "", path[PATH_MAX];

    (void)state;
    snprintf(path, sizeof path, "memory");
    if (!proto_host_start(&host, script(reads, path), params))
        fail();
    c = vfuc_new(&(struct vfuc_options){ .struct_size = sizeof(struct vfuc_options), .timeout_ns = 10000 * MS });
    assert_int_equal(vfuc_connect(c, host.socket), 0);
    assert_int_equal(vfuc_write(c, 0, 0x1ff0, "sixteen letters.", 16), 0);
    assert_int_equal(vfuc_read(c, 0, 0x1ff0, text, 16), 0);
    assert_memory_equal(text, "SIXTEEN LETTERS.", 16);
    assert_int_equal(vfuc_read(c, 0, 0x1ff0, text, 8), 0);
    assert_memory_equal(text, "sixteen ", 8);
}

static char *example(const char *name)
{
    static char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/examples/faults/%s", getenv("VFU_SRCDIR") ? getenv("VFU_SRCDIR") : ".", name);
    return path;
}

static void test_third_dma(void **state)
{
    static const uint32_t kinds[] = { 0, VFUC_DMA_MESSAGES };

    (void)state;
    for (int k = 0; k < 2; k++) {
        bring_up(example("third-dma.lua"), NULL, kinds[k]);
        assert_true(there_and_back(1));
        assert_false(there_and_back(2));
        assert_int_equal(memory[4096], 1); /* what the buffer had before */
        assert_true(there_and_back(3));
        take_down();
    }
}

static void test_slow_register(void **state)
{
    char *params[] = { (char *)"delay=0.2", NULL };

    (void)state;
    bring_up(example("slow-register.lua"), params, 0);
    put(LIVE, 0x55);
    put(SRC, 0x77); /* others are not late */
    assert_int_equal(get(SRC), 0x77);
    assert_int_equal(get(LIVE), 0);
    await(LIVE, (uint32_t)~0x55);
    /* A reset forgets what is on its way. */
    put(LIVE, 0x66);
    assert_int_equal(vfuc_reset(c), 0);
    nanosleep(&(struct timespec){ 0, 300000000 }, NULL);
    assert_int_equal(get(LIVE), 0);
}

static void test_lost_interrupt(void **state)
{
    (void)state;
    bring_up(example("lost-interrupt.lua"), NULL, 0);
    for (int i = 0; i < 4; i++) {
        put(RAISE, 0x11);
        assert_int_equal(interrupt(i % 2 ? 20 * MS : 5000 * MS), i % 2 ? 0 : 1);
    }
    take_down();
    /* A line that was not raised is not high either, until a bit rises that is passed on. */
    bring_up(example("lost-interrupt.lua"), NULL, 0);
    vfuc_free(c);
    c = connect_to(&host, 0, VFUC_INTX);
    put(RAISE, 1);
    assert_int_equal(vfuc_irq_wait(c, VFUC_INTX, 0, 5000 * MS), 1);
    put(ACK, 1);
    assert_int_equal(vfuc_irq_unmask(c, VFUC_INTX, 0, 1), 0);
    put(RAISE, 2);
    assert_int_equal(vfuc_irq_wait(c, VFUC_INTX, 0, 20 * MS), 0);
    put(RAISE, 4);
    assert_int_equal(vfuc_irq_wait(c, VFUC_INTX, 0, 5000 * MS), 1);
}

/* DMA that is late, changed and failed, and what a reset or a client that goes makes of it. */
static void test_dma_hooks(void **state)
{
    static const char text[] = "return inner:wrap {\n"
                               "  params = { delay = { 0.02 } },\n"
                               "  dma_read = function(self, next, addr, len)\n"
                               "    assert(addr == 0x100000 and len == 64)\n"
                               "    vfu.sleep(self.params.delay)\n"
                               "    local data, err = next(addr, len)\n"
                               "    if not data then return data, err end\n"
                               "    return (data:gsub('a', 'b'))\n"
                               "  end,\n"
                               "  dma_write = function(self, next, addr, data)\n"
                               "    local ok, err = next(addr, data:upper())\n"
                               "    vfu.sleep(self.params.delay)\n"
                               "    return ok, err\n"
                               "  end,\n"
                               "}\n";
    static const uint32_t kinds[] = { 0, VFUC_DMA_MESSAGES };
    char *params[] = { (char *)"delay=0.15", NULL };

    (void)state;
    for (int lua = 0; lua < 2; lua++) {
        for (int k = 0; k < 2; k++) {
            const char *path = script(text, lua ? edu_lua : edu_so);

            bring_up(path, NULL, kinds[k]);
            there_and_back('a');
            assert_int_equal(memory[4096], 'B');
            assert_int_equal(memory[4096 + 63], 'B');
            take_down();
            bring_up(path, params, kinds[k]);
            for (int i = 0; i < 2; i++) {
                put(SRC, MEM);
                put(DST, BUFFER);
                put(COUNT, 64);
                put(COMMAND, 5);
                assert_int_equal(vfuc_irq_wait(c, VFUC_MSI, 0, 50 * MS), 0);
                if (i == 0) {
                    assert_int_equal(vfuc_reset(c), 0);
                } else {
                    vfuc_free(c);
                    c = connect_to(&host, kinds[k], VFUC_MSI);
                    if (lua)
                        await(COMMAND, 4); /* edu's DMA has ended */
                    else
                        assert_int_equal(vfuc_reset(c), 0); /* in C it leaves its transfer hanging */
                }
                assert_int_equal(vfuc_irq_wait(c, VFUC_MSI, 0, 200 * MS), 0);
                put(ACK, get(IRQ)); /* it may have been raised before it was armed */
                assert_int_equal(get(COMMAND) & 1, 0);
            }
            there_and_back('a');
            assert_int_equal(memory[4096], 'B');
            take_down();
        }
        teardown(NULL);
    }
}

static void test_late_interrupt(void **state)
{
    (void)state;
    bring_up(script("return inner:wrap { raise = function(self, next, vector)\n"
                    "  vfu.sleep(0.1) return next(vector) end }\n",
                    edu_lua),
             NULL, 0);
    put(RAISE, 1);
    assert_int_equal(vfuc_irq_wait(c, VFUC_MSI, 0, 0), 0);
    assert_int_equal(vfuc_irq_wait(c, VFUC_MSI, 0, 5000 * MS), 1);
    put(ACK, 1);
    put(RAISE, 1);
    put(ACK, 1); /* fallen before it has been passed on: nothing rises */
    assert_int_equal(vfuc_irq_wait(c, VFUC_MSI, 0, 150 * MS), 0);
}

/* A hook that never ends is stopped, with the one that has led to it. */
static void test_endless(void **state)
{
    (void)state;
    bring_up(script("return inner:wrap {\n"
                    "  write = function(self, next, ...) return next(...) end,\n"
                    "  raise = function(self, next, vector) while true do end end }\n",
                    edu_lua),
             (char *[]){ (char *)"--hook-budget", (char *)"0.05", NULL }, 0);
    put(RAISE, 1);
    assert_int_equal(vfuc_irq_wait(c, VFUC_MSI, 0, 0), 0);
    assert_int_equal(get(ID), 0x010000ed);
    put(LIVE, 1);
    assert_int_equal(get(LIVE), UINT32_C(0xfffffffe));
}

/* ---- migration ---- */

static void set_state(struct vfuc *to, uint32_t state)
{
    uint32_t body[4] = { 16, 0x20002, state, UINT32_MAX }, reply[4];
    struct vfuc_request request = { .command = VFU_CMD_DEVICE_FEATURE, .body = body, .size = sizeof body, .reply = reply,
                                    .reply_max = sizeof reply };

    assert_int_equal(vfuc_request(to, &request), 0);
}

/* The device of `from` goes on in `to`, whose client then is c. */
static void move(const char *to, char *const *params)
{
    static uint8_t piece[8 + 65536];
    struct vfuc *target;

    if (!proto_host_start(&other, to, params))
        fail();
    target = connect_to(&other, 0, VFUC_MSI);
    set_state(c, 3);
    set_state(target, 4);
    for (;;) {
        uint32_t head[2] = { sizeof piece, sizeof piece - 8 };
        struct vfuc_request request = { .command = VFU_CMD_MIG_DATA_READ, .body = head, .size = sizeof head,
                                        .reply = piece, .reply_max = sizeof piece };

        assert_int_equal(vfuc_request(c, &request), 0);
        memcpy(head, piece, sizeof head);
        if (!head[1])
            break;
        head[0] = 8 + head[1];
        memcpy(piece, head, sizeof head);
        request = (struct vfuc_request){ .command = VFU_CMD_MIG_DATA_WRITE, .body = piece, .size = 8 + head[1] };
        assert_int_equal(vfuc_request(target, &request), 0);
    }
    set_state(target, 2);
    vfuc_free(c);
    assert_true(proto_host_stop(&host));
    host = other;
    other.pid = 0;
    c = target;
}

static const char counts[] = "local dev = inner:wrap {\n"
                             "  state = { writes = 0, late = 0 },\n"
                             "  read = function(self, next, bar, off, size)\n"
                             "    if off == 0x200 then return self.writes * 256 + self.late end\n"
                             "    return next(bar, off, size)\n"
                             "  end,\n"
                             "  write = function(self, next, bar, off, size, value)\n"
                             "    if off == 0x200 then return self:after(0.05, 'late', value) end\n"
                             "    if off == 0x204 then vfu.sleep(0.05) end\n"
                             "    self.writes = self.writes + 1\n"
                             "    return next(bar, off, size, value)\n"
                             "  end,\n"
                             "}\n"
                             "function dev.event:late(v) self.late = v end\n"
                             "return dev\n";

static void test_migration(void **state)
{
    const char *wrapped, *lua;
    uint64_t value;

    (void)state;
    /* With state, a pending event and a hook that waits; the inner device's factorial on its way too. */
    wrapped = script(counts, edu_lua);
    bring_up(wrapped, NULL, 0);
    put(LIVE, 1);
    put(STATUS, 0x80);
    assert_int_equal(vfuc_put(c, 0, 0x200, 4, 7), 0);
    assert_int_equal(vfuc_put(c, 0, 0x204, 4, 7), 0);
    put(FACT, 5);
    move(wrapped, NULL);
    assert_int_equal(get(LIVE), UINT32_C(0xfffffffe));
    await(FACT, 120);
    for (int i = 0; i < 5000; i++) {
        assert_int_equal(vfuc_get(c, 0, 0x200, 4, &value), 0);
        if (value == 4 * 256 + 7)
            break;
        nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
    }
    assert_int_equal(value, 4 * 256 + 7);
    assert_true(there_and_back(0x33));
    take_down();
    /* One without state of its own is the inner one's twin. */
    lua = script(passes, edu_lua);
    bring_up(edu_lua, NULL, 0);
    put(LIVE, 2);
    assert_true(there_and_back(0x44));
    move(lua, NULL);
    assert_int_equal(get(LIVE), UINT32_C(0xfffffffd));
    assert_true(there_and_back(0x45));
    put(LIVE, 3);
    move(edu_lua, NULL);
    assert_int_equal(get(LIVE), UINT32_C(0xfffffffc));
    assert_true(there_and_back(0x46));
}

static int group_setup(void **state)
{
    const char *build = getenv("VFU_BUILDDIR"), *source = getenv("VFU_SRCDIR");

    (void)state;
    snprintf(edu_so, sizeof edu_so, "%s/plugins/edu/.libs/edu.so", build ? build : ".");
    snprintf(edu_lua, sizeof edu_lua, "%s/examples/edu.lua", source ? source : ".");
    return mkdtemp(dir) ? 0 : -1;
}

static int group_teardown(void **state)
{
    (void)state;
    return rmdir(dir);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_teardown(f, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_is_edu),         TEST(test_accesses),  TEST(test_memory),         TEST(test_third_dma),
        TEST(test_slow_register),  TEST(test_lost_interrupt), TEST(test_dma_hooks), TEST(test_late_interrupt),
        TEST(test_endless),        TEST(test_migration),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
