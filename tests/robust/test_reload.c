/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_reload - --reload: a script, a module of it or a .so is saved while a client uses the device. What must stay
 * stays, what is new behaves anew, and what does not load changes nothing. One thread.
 */
#define _GNU_SOURCE
#include "tests/robust/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define A 0u
#define B 4u
#define TICKS 8u
#define LEVEL 12u
#define GO 16u
#define SUM 20u

static struct rig rig;

/* A script: what is before the registers, further ones, and the behaviour. */
static void compose(char *text, size_t room, const char *spec, const char *regs, const char *code)
{
    snprintf(text, room,
             "local vfu = require 'vfu'\n"
             "local reg = vfu.reg\n"
             "local d = vfu.device('thing', { pci = { vendor = 0x1234, device = 7, class = 0xff0000,"
             " intx = true, msi = 1 },\n"
             "  irq = { level = 'LEVEL' }, dma = true%s })\n"
             "d:bar(0, { size = 4096 }, { reg('LEVEL', 12, 4), reg('GO', 16, 4), reg('SUM', 20, 4)%s })\n"
             "d:bar(2, { size = 8192, ram = true, mmap = true }, {})\n"
             "%s\n"
             "return d\n",
             spec, regs, code);
}

#define REGS ", reg('A', 0, 4), reg('B', 4, 4), reg('TICKS', 8, 4)"
#define STATE ", state = { n = 0, buf = vfu.buffer(16) }"

/* Written beside it, and renamed: what is saved is whole. */
static void save(const char *name, const char *text)
{
    rig_write(&rig, "beside", text);
    assert_int_equal(rename(rig_path(&rig, "beside"), rig_path(&rig, name)), 0);
}

static void save_device(const char *spec, const char *regs, const char *code)
{
    char text[4096];

    compose(text, sizeof text, spec, regs, code);
    save("thing.lua", text);
}

static void says(const char *text, int times)
{
    for (int i = 0; i < 1000 && rig_said(&rig, text) < times; i++)
        rig_pause(5);
    if (rig_said(&rig, text) < times) {
        rig_show(&rig);
        fail_msg("it does not say \"%s\" %d times", text, times);
    }
}

static void reloaded(int times)
{
    says("reloaded in", times);
}

static struct vfuc *begin(const char *spec, const char *regs, const char *code)
{
    save_device(spec, regs, code);
    rig_start(&rig, "--plugin", "@thing.lua", "--socket-path", "@s", "--reload", NULL);
    return rig_client(&rig, "s");
}

static void end(struct vfuc *c)
{
    vfuc_free(c);
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
}

static uint64_t get(struct vfuc *c, uint64_t offset)
{
    uint64_t value = 0;

    if (vfuc_get(c, VFUC_BAR(0), offset, 4, &value) < 0)
        fail_msg("%s", vfuc_error(c));
    return value;
}

static void put(struct vfuc *c, uint64_t offset, uint64_t value)
{
    if (vfuc_put(c, VFUC_BAR(0), offset, 4, value) < 0)
        fail_msg("%s", vfuc_error(c));
}

static int open_rig(void **state)
{
    (void)state;
    rig_open(&rig);
    return 0;
}

static int close_rig(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

/* ---- state and behaviour */

static void values_stay_hooks_change(void **state)
{
    struct vfuc *c = begin(STATE, REGS, "function d.write:A(v) self.n = self.n + 1; self.buf:u8(0, 9) "
                                        "return v + 1 end\n"
                                        "function d.read:B() return self.n end");

    (void)state;
    put(c, A, 5);
    assert_int_equal(get(c, A), 6);
    save_device(STATE, REGS, "function d.write:A(v) self.n = self.n + 1 return v + 100 end\n"
                             "function d.read:B() return self.n + self.buf:u8(0) * 256 end");
    reloaded(1);
    assert_int_equal(get(c, A), 6);
    put(c, A, 5);
    assert_int_equal(get(c, A), 105);
    assert_int_equal(get(c, B), 0x902);
    end(c);
}

static void mistakes_keep_the_old(void **state)
{
    struct vfuc *c = begin(STATE, REGS, "function d.write:A(v) return v + 1 end");
    static const struct {
        const char *code, *said;
    } mistakes[] = {
        { "function d.write:A(v) return v ++ 2 end", "thing.lua:7: unexpected symbol" },
        { "function d.write:NOWHERE(v) end", "thing.lua:7: " },
        { "error('on purpose')", "thing.lua:7: on purpose" },
        { "while true do end", "stopped after its time" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        save_device(STATE, REGS, mistakes[i].code);
        says(mistakes[i].said, 1);
        says("goes on with the old", (int)i + 1);
        put(c, A, 5);
        assert_int_equal(get(c, A), 6);
    }
    assert_int_equal(rig_said(&rig, "reloaded in"), 0);
    save_device(STATE, REGS, "function d.write:A(v) return v + 2 end");
    reloaded(1);
    put(c, A, 5);
    assert_int_equal(get(c, A), 7);
    end(c);
}

/* Found out only when the device has changed hands already: it gets back all that it had. */
static void load_fails_late(void **state)
{
#define TICKING "function d.on:reset() self:every(0.002, 'tick') end\n" \
                "function d.event:tick() self.TICKS.value = self.TICKS.value + 1 end\n"
    struct vfuc *c = begin(STATE, REGS, TICKING "function d.on:save() return { x = 'so' } end\n"
                                                "function d.write:A(v) self.n = v return v end\n"
                                                "function d.read:B() return self.n end");
    uint64_t ticks;

    (void)state;
    put(c, A, 77);
    assert_int_equal(vfuc_irq_arm(c, VFUC_INTX, 1), 0);
    put(c, LEVEL, 1);
    assert_int_equal(vfuc_irq_wait(c, VFUC_INTX, 0, 2000 * RIG_MS), 1);
    save_device(STATE, REGS, TICKING "function d.on:attach() self.LEVEL.value = 0; self:after(0, 'tick') end\n"
                                     "function d.on:load(t) error('not ' .. t.x) end\n"
                                     "function d.read:B() return 1 end");
    says("not so", 1);
    says("goes on with the old", 1);
    assert_int_equal(get(c, A), 77);
    assert_int_equal(get(c, B), 77);
    assert_int_equal(get(c, LEVEL), 1);
    ticks = get(c, TICKS);
    for (int i = 0; i < 400 && get(c, TICKS) == ticks; i++)
        rig_pause(5);
    assert_true(get(c, TICKS) > ticks);
    /* The other way: its state is something that cannot be saved. */
    save_device(STATE, REGS, TICKING "function d.on:save() return { x = print } end\n"
                                     "function d.read:B() return 2 end");
    reloaded(1);
    save_device(STATE, REGS, "function d.read:B() return 3 end");
    says("cannot be saved", 1);
    assert_int_equal(get(c, B), 2);
    end(c);
}

static void other_devices_are_refused(void **state)
{
    struct vfuc *c = begin("", REGS, "");
    static const struct {
        const char *from, *to, *said;
    } changes[] = {
        { "size = 4096", "size = 8192", "BAR 0 had 0x1000 bytes and has 0x2000 now" },
        { "vendor = 0x1234", "vendor = 0x1235", "its vendor id was 0x1234 and is 0x1235 now" },
        { "'thing'", "'other'", "its name is other now" },
        { "msi = 1", "msi = 2", "its number of MSI vectors was 0x1 and is 0x2 now" },
        { "intx = true", "pm = true", "INTx" },
        { "msi = 1", "msi = 1, pm = true", "config space is laid out differently" },
        { "mmap = true", "prefetch = true", "BAR 2 is of another type" },
        { "d:bar(2", "d:bar(3", "BAR 2 is gone" },
        { "return d", "d:bar(1, { size = 16 }, {})\nreturn d", "BAR 1 is new" },
    };

    (void)state;
    put(c, A, 5);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        char text[4096], changed[4200], *at;

        compose(text, sizeof text, "", REGS, "");
        at = strstr(text, changes[i].from);
        assert_non_null(at);
        snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, changes[i].to,
                 at + strlen(changes[i].from));
        save("thing.lua", changed);
        says(changes[i].said, 1);
        says("goes on with the old", (int)i + 1);
        assert_int_equal(get(c, A), 5);
    }
    end(c);
}

static void changed_maps_warn(void **state)
{
    struct vfuc *c = begin(", state = { n = 5, gone = 1, text = 'x', buf = vfu.buffer(8) }",
                           ", reg('A', 0, 4), reg('B', 4, 4), reg('R', 32, 4, { count = 4 })",
                           "function d.write:B(v) self.n = v end");

    (void)state;
    put(c, A, 0x12345678);
    put(c, B, 9);
    put(c, 36, 11);
    put(c, 44, 13);
    save_device(", state = { n = 1, text = {}, new = 4, buf = vfu.buffer(4) }",
                ", reg('A', 0, 2), reg('R', 32, 4, 'w1c', { count = 2 }), reg('NEW', 64, 4, { reset = 0x77 })",
                "function d.read:NEW(v) return v + self.n + self.new end");
    reloaded(1);
    says("register A has 2 bytes now, and had 4: its value is cut to fit", 1);
    says("register B is gone", 1);
    says("register R is \"w1c\" now, and was \"rw\"", 1);
    says("register R has fewer elements", 1);
    says("state gone is saved, but the script has none of that name", 1);
    says("state text is declared as a table now, and was a string", 1);
    says("state buf: 8 bytes were saved, 4 fit", 1);
    assert_int_equal(get(c, 36), 11);
    assert_int_equal(get(c, 40), 0);
    assert_int_equal(get(c, 64), 0x77 + 9 + 4);
    assert_int_equal(get(c, A) & 0xffff, 0x5678);
    end(c);
}

static void moved_registers_keep_their_values(void **state)
{
    struct vfuc *c = begin("", ", reg('A', 0, 4), vfu.group('CH', 0x100, { count = 2, stride = 16 },"
                               " { reg('X', 0, 4) })", "");

    (void)state;
    put(c, A, 3);
    put(c, 0x110, 4);
    save_device("", ", reg('A', 0x40, 4), vfu.group('CH', 0x200, { count = 3, stride = 8 },"
                    " { reg('Y', 0, 4), reg('X', 4, 4) })", "");
    reloaded(1);
    assert_int_equal(get(c, 0), 0);
    assert_int_equal(get(c, 0x40), 3);
    assert_int_equal(get(c, 0x20c), 4);
    end(c);
}

/* ---- time, DMA, interrupts, memory */

static void pending_events_fire_in_the_new_code(void **state)
{
    struct vfuc *c = begin("", REGS, "function d.write:GO(v) self:after(0.3, 'later', v); self:after(0.3, 'lost') end\n"
                                     "function d.event:later(v) self.A.value = v end\n"
                                     "function d.event:lost() end");

    (void)state;
    put(c, GO, 21);
    save_device("", REGS, "function d.event:later(v) self.A.value = v * 2 end");
    reloaded(1);
    says("event lost is pending, but the script has none", 1);
    for (int i = 0; i < 1000 && get(c, A) == 0; i++)
        rig_pause(5);
    assert_int_equal(get(c, A), 42);
    end(c);
}

static void sleeping_hooks_start_again(void **state)
{
    struct vfuc *c = begin("", REGS, "function d.write:GO(v) self.B.value = self.B.value + 1 vfu.sleep(3600) end");

    (void)state;
    put(c, GO, 8);
    assert_int_equal(get(c, B), 1);
    save_device("", REGS, "function d.write:GO(v) self.B.value = self.B.value + 10 vfu.sleep(0.01) "
                          "self.A.value = v end");
    reloaded(1);
    for (int i = 0; i < 1000 && get(c, A) == 0; i++)
        rig_pause(5);
    assert_int_equal(get(c, A), 8);
    assert_int_equal(get(c, B), 11);
    end(c);
}

/* The old code's DMA has asked for its data, and they come when there is no old code any more. */
static int answer_late(void *ctx, bool write, uint64_t address, void *data, uint64_t size)
{
    int *requests = ctx;
    const uint32_t value = 41;

    if (write || address != 0x10004 || size != sizeof value)
        return -EINVAL;
    if ((*requests)++ == 0) {
        save_device("", REGS, "function d.write:GO(v) local x = self.dma:u32(v) self.SUM.value = x + 1 end");
        reloaded(1);
    }
    memcpy(data, &value, sizeof value);
    return 0;
}

static void in_the_middle_of_dma(void **state)
{
    struct vfuc *c = begin("", REGS, "function d.write:GO(v) local x = self.dma:u32(v) self.SUM.value = x end");
    int requests = 0;

    (void)state;
    assert_int_equal(vfuc_dma_map(c, 0x10000, 4096, VFUC_DMA_RW, -1, 0, NULL), 0);
    vfuc_on_dma(c, answer_late, &requests);
    put(c, GO, 0x10004);
    for (int i = 0; i < 100 && get(c, SUM) == 0; i++)
        (void)vfuc_serve(c, 20 * RIG_MS);
    assert_int_equal(get(c, SUM), 42);
    assert_int_equal(requests, 2);
    end(c);
}

static void interrupts_stay_armed(void **state)
{
    struct vfuc *c = begin("", REGS, "");

    (void)state;
    assert_int_equal(vfuc_irq_arm(c, VFUC_MSI, 1), 0);
    put(c, LEVEL, 1);
    assert_int_equal(vfuc_irq_wait(c, VFUC_MSI, 0, 2000 * RIG_MS), 1);
    save_device("", REGS, "function d.write:GO() self.LEVEL.value = self.LEVEL.value | 2 end");
    reloaded(1);
    put(c, GO, 1);
    /* What was asserted before the reload is no news: there was one edge since. */
    assert_int_equal(vfuc_irq_wait(c, VFUC_MSI, 0, 2000 * RIG_MS), 1);
    assert_int_equal(vfuc_irq_wait(c, VFUC_MSI, 0, 20 * RIG_MS), 0);
    end(c);
}

static void mapped_memory_stays(void **state)
{
    struct vfuc *c = begin("", REGS, "function d.write:GO(v) self.A.value = v end");
    struct vfuc_region region;
    uint32_t *mapped;

    (void)state;
    assert_int_equal(vfuc_region_info(c, VFUC_BAR(2), &region, NULL, 0), 0);
    assert_true(region.fd >= 0);
    mapped = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd, (off_t)region.offset);
    assert_true(mapped != MAP_FAILED);
    mapped[3] = 5;
    save_device("", REGS, "local bar = d:bar(4, { size = 16, type = 'io' }, {})");
    says("BAR 4 is new", 1);
    {
        char text[4096], *at;

        compose(text, sizeof text, "", REGS,
                "function d.write:GO(v) self.A.value = ram.ram:u32(12) ram.ram:u32(16, v) end");
        at = strstr(text, "d:bar(2");
        assert_non_null(at);
        memmove(at + 12, at, strlen(at) + 1);
        memcpy(at, "local ram = ", 12);
        save("thing.lua", text);
    }
    reloaded(1);
    put(c, GO, 6);
    assert_int_equal(get(c, A), 5);
    assert_int_equal(mapped[4], 6);
    munmap(mapped, region.size);
    close(region.fd);
    end(c);
}

/* ---- files */

static void modules_are_watched(void **state)
{
    struct vfuc *c;

    (void)state;
    assert_int_equal(mkdir(rig_path(&rig, "parts"), 0700), 0);
    save("parts/add.lua", "return 1");
    c = begin("", REGS, "local add = require 'parts.add' function d.write:A(v) return v + add end");
    save("parts/add.lua", "return 2");
    reloaded(1);
    put(c, A, 5);
    assert_int_equal(get(c, A), 7);
    /* A mistake in a module that is new, and its mending. */
    save_device("", REGS, "local mul = require 'parts.mul' function d.write:A(v) return v * mul end");
    says("no module \"parts.mul\"", 1);
    save("parts/mul.lua", "return");
    says("reloaded in", 2);
    save("parts/mul.lua", "return 3");
    says("reloaded in", 3);
    put(c, A, 5);
    assert_int_equal(get(c, A), 15);
    /* The former one is part of it no more. */
    save("parts/add.lua", "return 4");
    rig_pause(100);
    assert_int_equal(rig_said(&rig, "reloaded in"), 3);
    end(c);
}

static void however_it_is_saved(void **state)
{
    struct vfuc *c = begin("", REGS, "function d.write:A(v) return 1 end");
    char text[4096];
    FILE *file;
    int before;

    (void)state;
    /* Truncated, and written in pieces with time between. */
    compose(text, sizeof text, "", REGS, "function d.write:A(v) return 2 end");
    file = fopen(rig_path(&rig, "thing.lua"), "w");
    assert_non_null(file);
    for (const char *at = text; *at; at += strnlen(at, 100)) {
        fwrite(at, 1, strnlen(at, 100), file);
        fflush(file);
        rig_pause(15);
    }
    fclose(file);
    reloaded(1);
    put(c, A, 0);
    assert_int_equal(get(c, A), 2);
    /* Deleted, and there again. */
    unlink(rig_path(&rig, "thing.lua"));
    rig_pause(60);
    compose(text, sizeof text, "", REGS, "function d.write:A(v) return 3 end");
    rig_write(&rig, "thing.lua", text);
    reloaded(2);
    put(c, A, 0);
    assert_int_equal(get(c, A), 3);
    /* Many times at once. */
    before = rig_said(&rig, "reloaded in");
    for (int i = 0; i < 50; i++) {
        char code[64];

        snprintf(code, sizeof code, "function d.write:A(v) return %d end", i);
        save_device("", REGS, code);
        rig_pause(1);
    }
    for (int i = 0; i < 1000 && get(c, A) != 49; i++) {
        put(c, A, 0);
        rig_pause(5);
    }
    assert_int_equal(get(c, A), 49);
    assert_true(rig_said(&rig, "reloaded in") > before);
    assert_int_equal(rig_said(&rig, "error"), 0);
    end(c);
}

static void by_a_symbolic_link(void **state)
{
    struct vfuc *c;
    char text[4096];

    (void)state;
    assert_int_equal(mkdir(rig_path(&rig, "real"), 0700), 0);
    compose(text, sizeof text, "", REGS, "function d.write:A(v) return 1 end");
    rig_write(&rig, "real/thing.lua", text);
    assert_int_equal(symlink("real/thing.lua", rig_path(&rig, "thing.lua")), 0);
    rig_start(&rig, "--plugin", "@thing.lua", "--socket-path", "@s", "--reload", NULL);
    c = rig_client(&rig, "s");
    compose(text, sizeof text, "", REGS, "function d.write:A(v) return 2 end");
    rig_write(&rig, "real/thing.lua", text);
    reloaded(1);
    put(c, A, 0);
    assert_int_equal(get(c, A), 2);
    /* The folder is another one, of the same name. */
    assert_int_equal(rename(rig_path(&rig, "real"), rig_path(&rig, "former")), 0);
    assert_int_equal(mkdir(rig_path(&rig, "real"), 0700), 0);
    compose(text, sizeof text, "", REGS, "function d.write:A(v) return 3 end");
    rig_write(&rig, "real/thing.lua", text);
    reloaded(2);
    put(c, A, 0);
    assert_int_equal(get(c, A), 3);
    end(c);
}

/* ---- again and again */

static void hundred_in_a_row(void **state)
{
    struct vfuc *c = begin(STATE, REGS, TICKING);
    long rss = 0;
    int fds = 0;

    (void)state;
    for (int i = 1; i <= 100; i++) {
        char code[256];

        snprintf(code, sizeof code, TICKING "function d.write:A(v) self.n = self.n + 1 return %d end\n"
                 "function d.read:B() return self.n end", i);
        save_device(STATE, REGS, code);
        reloaded(i);
        put(c, A, 0);
        assert_int_equal(get(c, A), i);
        assert_int_equal(get(c, B), i);
        if (i == 20) {
            fds = rig_fds(&rig);
            rss = rig_rss(&rig);
        }
    }
    assert_int_equal(rig_fds(&rig), fds);
    if (!*getenv("VFU_SANITIZERS"))
        assert_true(rig_rss(&rig) < rss + 2048);
    assert_int_equal(rig_said(&rig, "warning"), 0);
    end(c);
}

static void under_a_flood(void **state)
{
    struct vfuc *c = begin(STATE, REGS, "function d.write:A(v) return v + 1 end");
    int next = 1;

    (void)state;
    for (int saves = 0; saves < 10; saves++) {
        char code[64];

        snprintf(code, sizeof code, "function d.write:A(v) return v + %d end", ++next);
        save_device(STATE, REGS, code);
        while (rig_said(&rig, "reloaded in") <= saves) {
            for (uint64_t i = 0; i < 500; i++) {
                uint32_t value = (uint32_t)i;

                assert_true(vfuc_post(c, VFUC_BAR(0), B, &value, 4) >= 0);
                assert_true(vfuc_post(c, VFUC_BAR(0), A, &value, 4) >= 0);
            }
            assert_int_equal(get(c, B), 499);
        }
        put(c, A, 10);
        assert_int_equal(get(c, A), 10 + (uint64_t)next);
    }
    end(c);
}

/* ---- plugins in C */

static int compile(const char *name, const char *source)
{
    const char *cc = getenv("VFU_CC"), *dir = getenv("VFU_SRCDIR");
    char command[2048];

    rig_write(&rig, "plugin.c", source);
    snprintf(command, sizeof command, "%s -shared -fPIC -I'%s/sdk/include' -o '%s' '%s'", cc && *cc ? cc : "cc",
             dir ? dir : ".", rig_path(&rig, name), rig_path(&rig, "plugin.c"));
    return system(command);
}

static void compose_plugin(char *text, size_t room, const char *caps, int number)
{
    snprintf(text, room,
             "#include <vfu/plugin.h>\n"
             "static int globals;\n"
             "static const struct vfu_host *host;\n"
             "static int32_t hook(void *self, struct vfu_reg_call *call)\n"
             "{ (void)self; globals++; call->value = %d + (call->hook ? 0 : globals * 256); return VFU_REPLACE; }\n"
             "static int32_t describe(const struct vfu_host *h, const struct vfu_params *params,\n"
             "                        struct vfu_desc *desc)\n"
             "{\n"
             "    static const struct vfu_bar bars[] = { { .size = 4096 } };\n"
             "    static const struct vfu_reg regs[] = {\n"
             "        { .name = \"A\", .size = 4, .offset = 0, .group = VFU_NONE },\n"
             "        { .name = \"B\", .size = 4, .offset = 4, .group = VFU_NONE, .flags = VFU_REG_HOOK_READ,\n"
             "          .hook = 1 },\n"
             "    };\n"
             "    static const struct vfu_regmap map = { .struct_size = sizeof map, .regs = regs, .nregs = 2,\n"
             "                                           .reg_size = sizeof regs[0] };\n"
             "    (void)params; host = h;\n"
             "    desc->caps = %s; desc->vendor = 1; desc->device = 2; desc->class_code = 0xff0000;\n"
             "    desc->bars = bars; desc->nbars = 1; desc->bar_size = sizeof bars[0]; desc->regmap = &map;\n"
             "    return 0;\n"
             "}\n"
             "static int32_t create(const struct vfu_host *h, const struct vfu_params *params, void **self)\n"
             "{ (void)h; (void)params; *self = &globals; return %d == 666 ? -5 : 0; }\n"
             "static void destroy(void *self) { (void)self; host->irq_raise(host, 0); }\n"
             "static const void *extension(const char *id)\n"
             "{\n"
             "    static const struct vfu_regmap_ops ops = { sizeof ops, 0, hook, hook, 0 };\n"
             "    return strcmp(id, VFU_EXT_REGMAP) ? 0 : &ops;\n"
             "}\n"
             "const struct vfu_plugin *vfu_plugin_entry(void)\n"
             "{\n"
             "    static const struct vfu_plugin plugin = {\n"
             "        .struct_size = sizeof plugin, .abi_version = VFU_ABI_VERSION, .caps = %s, .name = \"native\",\n"
             "        .version = \"1\", .summary = \"x\", .sdk = VFU_SDK_VERSION, .describe = describe,\n"
             "        .create = create,\n"
             "        .destroy = destroy, .extension = extension };\n"
             "    return &plugin;\n"
             "}\n",
             number, caps, number, caps);
}

static void a_shared_object_too(void **state)
{
    char source[8192];
    struct vfuc *c;

    (void)state;
    compose_plugin(source, sizeof source, "VFU_CAP_RELOAD", 1);
    if (compile("native.so", source))
        skip(); /* no compiler to be had */
    rig_start(&rig, "--plugin", "@native.so", "--socket-path", "@s", "--reload", NULL);
    c = rig_client(&rig, "s");
    put(c, A, 9);
    assert_int_equal(get(c, B), 1);
    compose_plugin(source, sizeof source, "VFU_CAP_RELOAD", 2);
    assert_int_equal(compile("native.so", source), 0); /* over the file that is loaded */
    reloaded(1);
    assert_int_equal(get(c, B), 2);
    assert_int_equal(get(c, A), 9);
    compose_plugin(source, sizeof source, "VFU_CAP_RELOAD", 666);
    assert_int_equal(compile("native.so", source), 0);
    says("could not create the device", 1);
    assert_int_equal(get(c, B), 2);
    assert_int_equal(get(c, A), 9);
    /* Without the flag reload means reset. */
    compose_plugin(source, sizeof source, "0", 4);
    assert_int_equal(compile("native.so", source), 0);
    reloaded(2);
    says("the device is reset: the plugin does not declare VFU_CAP_RELOAD", 1);
    assert_int_equal(get(c, B), 4);
    assert_int_equal(get(c, A), 0);
    rig_write(&rig, "native.so", "no such thing");
    says("cannot load plugin", 1);
    assert_int_equal(get(c, B), 4);
    assert_int_equal(rig_said(&rig, "plugin fault"), 0);
    end(c);
}

static void a_wrapped_script_too(void **state)
{
    char text[4096];
    struct vfuc *c;

    (void)state;
    compose(text, sizeof text, STATE, REGS, "function d.write:A(v) self.n = v return v + 1 end");
    save("thing.lua", text);
    {
        char plugin[600];

        snprintf(plugin, sizeof plugin, "plugin=%s", rig_path(&rig, "thing.lua"));
        rig_start(&rig, "--plugin", "filter", plugin, "--socket-path", "@s", "--reload", NULL);
    }
    c = rig_client(&rig, "s");
    put(c, A, 3);
    assert_int_equal(get(c, A), 4);
    save_device(STATE, REGS, "function d.read:A(v) return v * 16 + self.n end");
    reloaded(1);
    assert_int_equal(get(c, A), 0x43);
    end(c);
}

static void denied_means_reset(void **state)
{
    struct vfuc *c;

    (void)state;
    save_device(STATE, REGS, "function d.on:reset(k) self.B.value = #k end");
    rig_start(&rig, "--plugin", "@thing.lua", "--socket-path", "@s", "--reload", "--deny", "reload", NULL);
    c = rig_client(&rig, "s");
    put(c, A, 3);
    put(c, LEVEL, 3);
    save_device(STATE, REGS, "function d.on:reset(k) self.B.value = #k + 32 end");
    reloaded(1);
    says("the device is reset: --deny has taken reload away", 1);
    assert_int_equal(get(c, A), 0);
    assert_int_equal(get(c, LEVEL), 0);
    assert_int_equal(get(c, B), 37);
    end(c);
}

/* A script that uses a native library: its handles and objects are made anew. */
static void ffi_scripts_too(void **state)
{
#define NATIVE ", needs = { 'ffi' }, state = { n = 0 }"
#define PRELUDE "local ffi = require 'ffi' ffi.cdef[[ int abs(int); ]] local cell = ffi.new('int[1]')\n"
    struct vfuc *c = begin(NATIVE, REGS, PRELUDE "function d.write:A(v) cell[0] = -v self.n = v "
                                         "return ffi.C.abs(cell[0]) end");

    (void)state;
    put(c, A, 5);
    assert_int_equal(get(c, A), 5);
    save_device(NATIVE, REGS, PRELUDE "function d.write:A(v) return ffi.C.abs(-v) + self.n + cell[0] end");
    reloaded(1);
    put(c, A, 6);
    assert_int_equal(get(c, A), 11);
    end(c);
}

/* ---- with the control socket ---- */

static struct vfuc_control *control;

static const char *ask(const char *request, int result)
{
    const char *reply = NULL;
    int is = vfuc_control_call(control, request, &reply);

    if (is != result)
        fail_msg("%s: %d, not %d: %s", request, is, result, vfuc_control_error(control));
    return reply ? reply : "";
}

/* Without --reload the device is told, and breaks, counters and lines of the trace go on by name. */
static void when_it_is_told(void **state)
{
    struct vfuc *c;

    (void)state;
    save_device(STATE, REGS, "function d.write:A(v) return v + 1 end");
    rig_start(&rig, "--plugin", "@thing.lua", "--socket-path", "@s", "--coverage", "@coverage.json", "-v", "--spin",
              "900", NULL);
    c = rig_client(&rig, "s");
    assert_int_equal(vfuc_control_open(rig_path(&rig, "s"), &control), 0);
    put(c, A, 1);
    ask("{\"cmd\": \"break\", \"reg\": \"B\", \"access\": \"w\", \"timeout\": 0.05}", 0);
    ask("{\"cmd\": \"break\", \"reg\": \"TICKS\"}", 0);
    save_device(STATE, ", reg('A', 0x40, 4), reg('B', 0x44, 4), reg('NEW', 0, 4)",
                "function d.write:A(v) return v + 2 end");
    ask("{\"cmd\": \"reload\"}", 0);
    says("the break at register TICKS ends: it is gone", 1);
    put(c, 0x40, 5);
    assert_int_equal(get(c, 0x40), 7);
    put(c, 0x44, 9); /* held, and let go after its time */
    says("held at a write of B", 1);
    assert_non_null(strstr(ask("{\"cmd\": \"coverage\"}", 0), "\"A\""));
    save_device(STATE, REGS, "no such thing");
    ask("{\"cmd\": \"reload\"}", -ENOEXEC);
    assert_non_null(strstr(vfuc_control_error(control), "thing.lua:7"));
    save_device(", state = { other = 1 }, needs = { 'ffi' }", ", reg('A', 0x40, 4)", "d:bar(1, { size = 16 }, {})");
    ask("{\"cmd\": \"reload\"}", -EXDEV);
    assert_non_null(strstr(vfuc_control_error(control), "BAR 1 is new"));
    unlink(rig_path(&rig, "thing.lua"));
    ask("{\"cmd\": \"reload\"}", -ENOENT);
    put(c, 0x40, 5);
    assert_int_equal(get(c, 0x40), 7);
    vfuc_control_close(control);
    end(c);
    {
        /* What was counted before is counted with what came after: A was written three times. */
        FILE *file = fopen(rig_path(&rig, "coverage.json"), "r");
        char text[16384] = "", *at;

        assert_non_null(file);
        assert_true(fread(text, 1, sizeof text - 1, file) > 0);
        fclose(file);
        at = strstr(text, "\"A\"");
        assert_non_null(at);
        at = strstr(at, "\"writes\"");
        assert_non_null(at);
        assert_int_equal(strtol(at + strcspn(at, "0123456789"), NULL, 10), 3);
    }
}

/* Virtual time stands still over a reload, and what is pending in it fires in the new code. */
static void in_virtual_time(void **state)
{
    struct vfuc *c;

    (void)state;
    save_device("", REGS, "function d.write:GO(v) self:after(600, 'later', v) end\n"
                          "function d.event:later(v) self.A.value = v end");
    rig_start(&rig, "--plugin", "@thing.lua", "--socket-path", "@s", "--clock", "virtual", "--reload", NULL);
    c = rig_client(&rig, "s");
    assert_int_equal(vfuc_control_open(rig_path(&rig, "s"), &control), 0);
    put(c, GO, 21);
    ask("{\"cmd\": \"advance\", \"ns\": 300000000000}", 0);
    save_device("", REGS, "function d.event:later(v) self.A.value = v * 2 end");
    reloaded(1);
    ask("{\"cmd\": \"advance\", \"ns\": 299000000000}", 0);
    assert_int_equal(get(c, A), 0);
    ask("{\"cmd\": \"advance\", \"ns\": 1000000000}", 0);
    assert_int_equal(get(c, A), 42);
    vfuc_control_close(control);
    end(c);
}

/* vfu.plugin: a script that wraps another one, of which either may change. */
static void a_script_in_a_script(void **state)
{
    struct vfuc *c;
    char wrapper[600];

    (void)state;
    save_device(STATE, REGS, "function d.write:A(v) self.n = v return v + 1 end");
#define WRAPPER                                                                                                        \
    "local vfu = require 'vfu'\n"                                                                                      \
    "local inner = vfu.plugin('./thing.lua', {})\n"                                                                    \
    "return inner:wrap{ read = function(self, next, bar, off, size) local v = next(bar, off, size)\n"                  \
    "  return bar == 0 and off == 0 and v + %d or v end }\n"
    snprintf(wrapper, sizeof wrapper, WRAPPER, 1000);
    save("wrapper.lua", wrapper);
    rig_start(&rig, "--plugin", "@wrapper.lua", "--socket-path", "@s", "--reload", NULL);
    c = rig_client(&rig, "s");
    put(c, A, 3);
    assert_int_equal(get(c, A), 1004);
    snprintf(wrapper, sizeof wrapper, WRAPPER, 2000);
    save("wrapper.lua", wrapper);
    reloaded(1);
    assert_int_equal(get(c, A), 2004);
    save_device(STATE, REGS, "function d.write:A(v) return self.n * 16 + v end");
    reloaded(2);
    put(c, A, 4);
    assert_int_equal(get(c, A), 2000 + 3 * 16 + 4);
    end(c);
}

/* Saved again and again while the device is held, the script is loaded when that is over, not once for each. */
static void saved_while_held(void **state)
{
    struct vfuc *c = begin("", REGS, "");
    const uint32_t value = 1;

    (void)state;
    assert_int_equal(vfuc_control_open(rig_path(&rig, "s"), &control), 0);
    ask("{\"cmd\": \"break\", \"reg\": \"B\"}", 0);
    assert_int_equal(vfuc_post(c, 0, B, &value, sizeof value), 0);
    assert_int_equal(vfuc_flush(c), 0);
    while (!strstr(ask("{\"cmd\": \"breaks\"}", 0), "\"held\":{"))
        ;
    for (int i = 0; i < 10; i++) {
        save_device("", REGS, "function d.write:A(v) return v + 1 end");
        rig_pause(40);
    }
    ask("{\"cmd\": \"continue\"}", 0);
    do
        put(c, A, 5);
    while (get(c, A) != 6);
    rig_pause(100);
    assert_in_range(rig_said(&rig, "reloaded in"), 1, 4); /* the last ones may have come later */
    end(c);
}

/* What is no file of a script's size, and would be read for ever, or waited for, is not begun. */
static void what_is_no_script(void **state)
{
    struct vfuc *c;

    (void)state;
    save_device("", REGS, "");
    rig_start(&rig, "--plugin", "@thing.lua", "--socket-path", "@s", NULL);
    c = rig_client(&rig, "s");
    assert_int_equal(vfuc_control_open(rig_path(&rig, "s"), &control), 0);
    assert_int_equal(unlink(rig_path(&rig, "thing.lua")), 0);
    assert_int_equal(mkfifo(rig_path(&rig, "thing.lua"), 0600), 0);
    ask("{\"cmd\": \"reload\"}", -ENOEXEC);
    assert_non_null(strstr(vfuc_control_error(control), "it is no regular file"));
    assert_int_equal(unlink(rig_path(&rig, "thing.lua")), 0);
    assert_int_equal(symlink("/dev/zero", rig_path(&rig, "thing.lua")), 0);
    ask("{\"cmd\": \"reload\"}", -ENOEXEC);
    assert_int_equal(unlink(rig_path(&rig, "thing.lua")), 0);
    rig_write(&rig, "thing.lua", "--");
    assert_int_equal(truncate(rig_path(&rig, "thing.lua"), (off_t)1 << 40), 0);
    ask("{\"cmd\": \"reload\"}", -ENOEXEC);
    assert_non_null(strstr(vfuc_control_error(control), "it is over 16 MiB"));
    assert_int_equal(unlink(rig_path(&rig, "rom")), -1);
    assert_int_equal(mkfifo(rig_path(&rig, "rom"), 0600), 0);
    save("thing.lua", "local vfu = require 'vfu' return vfu.device('thing', { pci = { vendor = 1, device = 2, rom = 'rom' } })");
    ask("{\"cmd\": \"reload\"}", -ENOEXEC);
    assert_non_null(strstr(vfuc_control_error(control), "it is no regular file"));
    put(c, A, 1);
    vfuc_control_close(control);
    end(c);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, open_rig, close_rig)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(values_stay_hooks_change),
        CASE(mistakes_keep_the_old),
        CASE(load_fails_late),
        CASE(other_devices_are_refused),
        CASE(changed_maps_warn),
        CASE(moved_registers_keep_their_values),
        CASE(pending_events_fire_in_the_new_code),
        CASE(sleeping_hooks_start_again),
        CASE(in_the_middle_of_dma),
        CASE(interrupts_stay_armed),
        CASE(mapped_memory_stays),
        CASE(modules_are_watched),
        CASE(however_it_is_saved),
        CASE(by_a_symbolic_link),
        CASE(hundred_in_a_row),
        CASE(under_a_flood),
        CASE(a_shared_object_too),
        CASE(a_wrapped_script_too),
        CASE(denied_means_reset),
        CASE(ffi_scripts_too),
        CASE(when_it_is_told),
        CASE(in_virtual_time),
        CASE(what_is_no_script),
        CASE(saved_while_held),
        CASE(a_script_in_a_script),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
