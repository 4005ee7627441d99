/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/qmp and vfu.qmp/1: the conversation, servers that do not keep to it, time limits, stops and ends; and
 * from a script. One thread: the test is the server, and takes the loop one round further whenever it is its turn.
 */
#include "tests/unit/odd_host.h"

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/outside/qmp.h"
#include "core/device/reload.h"

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n"

/* ---- the server -------------------------------------------------------------------------------------------------- */

static char path[64], address[72], script_path[32];
static int listener = -1, peer = -1;
static struct loop own_loop, *loop;
static struct qmp qmp;

static void make_listener(void)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };

    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    unlink(path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&name, sizeof name), 0);
    assert_int_equal(listen(listener, 4), 0);
}

static void step(void)
{
    loop_step(loop);
}

/* Rounds of the loop until there is something to read or accept. */
static void await(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    for (int i = 0; i < 4000 && poll(&p, 1, 0) == 0; i++) {
        step();
        if (i > 100)
            odd_nap(MS);
    }
    assert_int_equal(poll(&p, 1, 0), 1);
}

static void take_client(void)
{
    await(listener);
    peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(peer >= 0);
}

static void say(const char *text)
{
    assert_int_equal(send(peer, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    for (int i = 0; i < 4; i++)
        step();
}

/* The next line is this one. */
static void expect(const char *line)
{
    char got[1024] = "";

    for (size_t n = 0; n < sizeof got - 1 && !strchr(got, '\n'); n++) {
        await(peer);
        assert_int_equal(recv(peer, got + n, 1, 0), 1);
    }
    got[strcspn(got, "\n")] = 0;
    assert_string_equal(got, line);
}

static void skip_line(void)
{
    for (char c = 0; c != '\n';) {
        await(peer);
        assert_int_equal(recv(peer, &c, 1, 0), 1);
    }
}

/* The connection has ended. */
static void expect_end(void)
{
    char byte;

    await(peer);
    assert_true(recv(peer, &byte, 1, 0) <= 0);
    close(peer);
    peer = -1;
}

static void greet(void)
{
    take_client();
    say(GREETING);
    expect("{\"execute\":\"qmp_capabilities\"}");
    say("{\"return\": {}}\r\n");
}

/* ---- commands ---------------------------------------------------------------------------------------------------- */

static int results, last_status, order[80];
static char last_text[512];
static bool again;

static int ask(const char *command, const char *arguments, uint32_t timeout_ms);

static void done(void *arg, const struct vfu_qmp_result *result)
{
    assert_int_equal(result->struct_size, sizeof *result);
    assert_non_null(result->text);
    order[results++] = (int)(intptr_t)arg;
    last_status = result->status;
    snprintf(last_text, sizeof last_text, "%s", result->text);
    if (again) {
        again = false;
        ask("again", NULL, 0);
    }
}

static int ask(const char *command, const char *arguments, uint32_t timeout_ms)
{
    static intptr_t number;
    const struct vfu_qmp_command what = {
        .struct_size = sizeof what,
        .timeout_ms = timeout_ms ? timeout_ms : 60000, /* a slow machine is no matter here */
        .address = address,
        .command = command,
        .arguments = arguments,
        .done = done,
        .arg = (void *)++number,
    };
    int before = results, error = qmp_execute(&qmp, loop, "dut", &what);

    assert_int_equal(results, before);
    return error;
}

static void await_results(int n)
{
    for (int i = 0; i < 8000 && results < n; i++) {
        step();
        if (i > 100)
            odd_nap(MS);
    }
    assert_int_equal(results, n);
}

static int setup(void **state)
{
    static unsigned number;

    snprintf(path, sizeof path, "./qmp%d.%u", (int)getpid(), number++);
    snprintf(address, sizeof address, "unix:%s", path);
    memset(&qmp, 0, sizeof qmp);
    results = last_status = 0;
    last_text[0] = 0;
    again = false;
    loop = &own_loop;
    make_listener();
    return odd_setup(state) ? -1 : loop_init(loop);
}

static int teardown(void **state)
{
    qmp_close(&qmp);
    assert_int_equal(own_loop.timers.n, 0);
    assert_null(qmp.links);
    loop_fini(&own_loop);
    if (peer >= 0)
        close(peer);
    if (listener >= 0)
        close(listener);
    peer = listener = -1;
    unlink(path);
    unlink(script_path);
    return odd_teardown(state);
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void test_addresses(void **state)
{
    char longest[5 + 108 + 1] = "unix:";

    (void)state;
    assert_null(qmp_path(NULL));
    assert_null(qmp_path(""));
    assert_null(qmp_path("unix:"));
    assert_null(qmp_path("tcp:localhost:4444"));
    assert_string_equal(qmp_path("unix:a b"), "a b");
    memset(longest + 5, 'x', 108);
    assert_null(qmp_path(longest));
    longest[5 + 107] = 0;
    assert_non_null(qmp_path(longest));
}

static void test_conversation(void **state)
{
    (void)state;
    assert_int_equal(ask("system_reset", NULL, 0), 0);
    greet();
    expect("{\"execute\":\"system_reset\",\"id\":1}");
    say("{\"timestamp\": {}, \"event\": \"RESET\", \"data\": {\"guest\": false}}\r\n");
    assert_int_equal(results, 0);
    say("{\"return\": {}, \"id\": 1}\r\n");
    await_results(1);
    assert_int_equal(last_status, 0);
    assert_string_equal(last_text, "{}");
    expect_end(); /* no longer than needed */
    assert_int_equal(ask("query-status", "{\"a\": [1, \"x\"]}", 0), 0); /* and again when asked again */
    greet();
    expect("{\"execute\":\"query-status\",\"id\":2,\"arguments\":{\"a\":[1,\"x\"]}}");
    say("{\"return\": {\"running\": true}, \"id\": 2}\r\n");
    await_results(2);
    assert_string_equal(last_text, "{\"running\":true}");
    assert_int_equal(odd_nlines, 0);
}

static void test_many_on_one(void **state)
{
    (void)state;
    assert_int_equal(ask("one", NULL, 0), 0);
    assert_int_equal(ask("two", NULL, 0), 0);
    greet();
    expect("{\"execute\":\"one\",\"id\":1}");
    again = true; /* from the result of the first */
    say("{\"id\": 1, \"return\": 7}\r\n");
    expect("{\"execute\":\"two\",\"id\":2}");
    await_results(1);
    assert_string_equal(last_text, "7");
    for (const char *p = "{\"id\": 2, \"return\": [\n"; *p; p++) /* a line ends where it ends */
        say((char[]){ *p == '\n' ? ' ' : *p, 0 });
    say("]}\n");
    expect("{\"execute\":\"again\",\"id\":3}");
    say("{\"id\": 3, \"return\": null}\n");
    await_results(3);
    assert_true(order[0] < order[1] && order[1] < order[2]);
    expect_end();
}

static void test_refused_by_qemu(void **state)
{
    (void)state;
    assert_int_equal(ask("nonsense", NULL, 0), 0);
    greet();
    expect("{\"execute\":\"nonsense\",\"id\":1}");
    say("{\"id\": 1, \"error\": {\"class\": \"CommandNotFound\", "
        "\"desc\": \"The command nonsense has not been found\"}}\n");
    await_results(1);
    assert_int_equal(last_status, -EREMOTEIO);
    assert_string_equal(last_text, "The command nonsense has not been found");
    odd_assert_said_once("dut: qmp: nonsense: The command nonsense has not been found");
    assert_int_equal(ask("two", NULL, 0), 0); /* what it says is one line of the log */
    greet();
    expect("{\"execute\":\"two\",\"id\":2}");
    say("{\"id\": 2, \"error\": {\"desc\": \"no\\nvfu-host: dut: all is well\\u001b[2J\"}}\n");
    await_results(2);
    assert_string_equal(last_text, "no vfu-host: dut: all is well [2J");
}

static void test_nobody_there(void **state)
{
    (void)state;
    unlink(path);
    assert_int_equal(ask("one", NULL, 0), 0);
    assert_int_equal(ask("two", NULL, 0), 0);
    await_results(2);
    assert_int_equal(last_status, -ENOENT);
    assert_non_null(strstr(last_text, "start QEMU with -qmp unix:"));
    close(listener);
    make_listener();
    close(listener); /* the socket's file stays */
    listener = -1;
    assert_int_equal(ask("three", NULL, 0), 0);
    await_results(3);
    assert_int_equal(last_status, -ECONNREFUSED);
}

static void test_bad_servers(void **state)
{
    static const struct {
        bool greeted;
        const char *line;
    } bad[] = {
        { false, "SSH-2.0-OpenSSH\r\n" },
        { false, "{\"no\": 1}\n" },
        { false, "[]\n" },
        { false, "{\"QMP\": 1}\n" },
        { false, "\xff\xfe\n" },
        { true, "{\"return\": {}}\n" },
        { true, "{\"return\": {}, \"id\": 99999}\n" },
        { true, "{\"error\": \"x\", \"id\": \"1\"}\n" },
        { true, "{}\n" },
        { true, "nonsense\n" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(ask("one", NULL, 0), 0);
        assert_int_equal(ask("two", NULL, 0), 0);
        if (bad[i].greeted)
            greet();
        else
            take_client();
        say(bad[i].line);
        await_results(2 * (int)i + 2);
        assert_int_equal(last_status, -EPROTO);
        assert_non_null(strstr(last_text, "does not speak QMP"));
        close(peer);
        peer = -1;
    }
    /* An error without its description, and capabilities that are refused. */
    assert_int_equal(ask("one", NULL, 0), 0);
    take_client();
    say(GREETING);
    say("{\"error\": {\"desc\": \"busy\"}}\n");
    await_results(2 * (int)(sizeof bad / sizeof bad[0]) + 1);
    assert_non_null(strstr(last_text, "busy"));
}

static void test_long_line(void **state)
{
    char block[4096];
    int before;

    (void)state;
    memset(block, ' ', sizeof block);
    assert_int_equal(ask("one", NULL, 60000), 0);
    take_client();
    for (int i = 0; i < 400 && !results; i++) {
        (void)!send(peer, block, sizeof block, MSG_NOSIGNAL | MSG_DONTWAIT);
        step();
    }
    await_results(1);
    assert_int_equal(last_status, -EPROTO);
    assert_non_null(strstr(last_text, "more than 1 MiB"));
    close(peer);
    /* A long answer that is short enough comes whole. */
    assert_int_equal(ask("one", NULL, 60000), 0);
    greet();
    expect("{\"execute\":\"one\",\"id\":2}");
    say("{\"id\": 2, \"return\": \"");
    memset(block, 'x', sizeof block - 1);
    block[sizeof block - 1] = 0;
    for (int i = 0; i < 100; i++)
        say(block);
    before = results;
    say("\"}\n");
    await_results(before + 1);
    assert_int_equal(last_status, 0);
}

static void test_vanished(void **state)
{
    (void)state;
    assert_int_equal(ask("one", NULL, 0), 0);
    assert_int_equal(ask("two", NULL, 0), 0);
    greet();
    say("{\"id\": 1, \"ret");
    close(peer);
    peer = -1;
    await_results(2);
    assert_int_equal(last_status, -ECONNRESET);
    assert_int_equal(ask("three", NULL, 0), 0); /* a new one is a new try */
    greet();
    expect("{\"execute\":\"three\",\"id\":3}");
}

static void test_time_limit(void **state)
{
    int first;

    (void)state;
    assert_int_equal(ask("one", NULL, 1), 0);
    assert_int_equal(ask("two", NULL, 0), 0);
    take_client();
    first = peer;
    await_results(1);
    assert_int_equal(last_status, -ETIMEDOUT);
    assert_non_null(strstr(last_text, "waited 1 ms"));
    greet(); /* the second has a connection of its own */
    close(first);
    expect("{\"execute\":\"two\",\"id\":2}");
    say("{\"id\": 2, \"return\": {}}\n");
    await_results(2);
    assert_int_equal(last_status, 0);
}

/* A server that accepts nobody: its queue is full. */
static void test_full_queue(void **state)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    int others[8];

    (void)state;
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    assert_int_equal(listen(listener, 1), 0);
    for (int i = 0; i < 8; i++) {
        others[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(others[i], (struct sockaddr *)&name, sizeof name);
    }
    assert_int_equal(ask("one", NULL, 1), 0);
    await_results(1);
    assert_int_equal(last_status, -ETIMEDOUT);
    assert_int_equal(ask("two", NULL, 0), 0);
    for (int i = 0; i < 4; i++)
        step();
    for (int i = 0; i < 8; i++)
        close(others[i]);
    for (;;) { /* those that were in the queue */
        char byte;

        take_client();
        if (recv(peer, &byte, 1, MSG_DONTWAIT) != 0)
            break;
        close(peer);
    }
    say(GREETING);
    expect("{\"execute\":\"qmp_capabilities\"}");
}

static void test_held(void **state)
{
    (void)state;
    assert_int_equal(ask("one", NULL, 0), 0);
    greet();
    qmp_hold(&qmp, true);
    expect("{\"execute\":\"one\",\"id\":1}");
    say("{\"id\": 1, \"return\": {}}\n");
    for (int i = 0; i < 10; i++)
        step();
    assert_int_equal(results, 0);
    qmp_hold(&qmp, false);
    await_results(1);
    assert_int_equal(last_status, 0);
}

static void test_closed(void **state)
{
    (void)state;
    assert_int_equal(ask("one", NULL, 0), 0);
    greet();
    assert_int_equal(ask("two", NULL, 0), 0);
    again = true; /* too late */
    qmp_close(&qmp);
    assert_int_equal(results, 2);
    assert_int_equal(last_status, -ECANCELED);
    assert_int_equal(ask("three", NULL, 0), -ESHUTDOWN);
    assert_int_equal(odd_nlines, 0);
    qmp_close(&qmp);
}

static void test_refused(void **state)
{
    struct vfu_qmp_command what = { .struct_size = sizeof what, .address = address, .command = "x", .done = done };
    char *much = malloc(QMP_ARGUMENTS_MAX + 8), name[257];

    (void)state;
    assert_non_null(much);
    assert_int_equal(qmp_execute(&qmp, loop, "dut", NULL), -EINVAL);
    assert_int_equal(ask("", NULL, 0), -EINVAL);
    assert_int_equal(ask(NULL, NULL, 0), -EINVAL);
    assert_int_equal(ask("\xff", NULL, 0), -EINVAL);
    assert_int_equal(ask("x", "[]", 0), -EINVAL);
    assert_int_equal(ask("x", "{", 0), -EINVAL);
    memset(name, 'x', sizeof name - 1);
    name[256] = 0;
    assert_int_equal(ask(name, NULL, 0), -EINVAL);
    memset(much, ' ', QMP_ARGUMENTS_MAX + 7);
    much[QMP_ARGUMENTS_MAX + 7] = 0;
    memcpy(much, "{}", 2);
    assert_int_equal(ask("x", much, 0), -EINVAL);
    free(much);
    what.address = "unix:";
    assert_int_equal(qmp_execute(&qmp, loop, "dut", &what), -EINVAL);
    what.struct_size = 8;
    assert_int_equal(qmp_execute(&qmp, loop, "dut", &what), -EINVAL);
    for (unsigned i = 0; i < QMP_QUEUE_MAX; i++)
        assert_int_equal(ask("x", NULL, 0), 0);
    assert_int_equal(ask("x", NULL, 0), -ENOSPC);
    /* Without a callback it is sent all the same. A caller of a later SDK has more to say. */
    qmp_close(&qmp);
    memset(&qmp, 0, sizeof qmp);
    what = (struct vfu_qmp_command){ .struct_size = sizeof what + 64, .address = address, .command = "quiet" };
    assert_int_equal(qmp_execute(&qmp, loop, "dut", &what), 0);
    greet();
    expect("{\"execute\":\"quiet\",\"id\":1}");
    say("{\"id\": 1, \"return\": {}}\n");
    expect_end();
}

/* ---- through the host -------------------------------------------------------------------------------------------- */

static void test_not_given(void **state)
{
    const struct vfu_host_qmp *ext;
    struct vfu_qmp_command what = { .struct_size = sizeof what, .address = address, .command = "x" };

    (void)state;
    odd_make();
    ext = odd_table->extension(odd_table, VFU_EXT_QMP);
    assert_non_null(ext);
    assert_int_equal(ext->execute(odd_table, &what), -EACCES);
    what.address = NULL;
    assert_int_equal(ext->execute(odd_table, &what), -EINVAL);
    assert_int_equal(ext->execute(odd_table, NULL), -EINVAL);
}

static const char script[] =
    "local vfu = require 'vfu'\n"
    "local d = vfu.device('asks', { pci = { vendor = 0x1234, device = 0x5678 }, params = { qmp = { '' } } })\n"
    "d:bar(0, { size = 4096 }, { vfu.reg('GO', 0, 4) })\n"
    "local q = vfu.qmp(d.params.qmp)\n"
    "assert(vfu.qmp(nil) == nil and vfu.qmp('') == nil)\n"
    "assert(not pcall(vfu.qmp, 'tcp:1') and not pcall(vfu.qmp, 'unix:') and not pcall(vfu.qmp, 5))\n"
    "assert(not pcall(vfu.qmp, 'unix:' .. ('x'):rep(108)))\n"
    "local function show(what, message)\n"
    "  if not what then vfu.log.warn('no: %s', message)\n"
    "  elseif type(what) ~= 'table' then vfu.log.warn('got %s', what)\n"
    "  else vfu.log.warn('got %s %s %s %s', what.s, what.l and #what.l, what.l and what.l[2].n, what.t) end\n"
    "end\n"
    "local function try(self, v)\n"
    "  if v == 1 then assert(q:execute('stop'))\n"
    "  elseif v == 2 then q:execute('blink', { id = 'a\\tb', n = 1 << 40, list = { 1, .5, true, { x = {} } } }, show)\n"
    "  elseif v == 3 then q:execute('x', nil, function() error('in it') end)\n"
    "  elseif v == 4 then vfu.qmp('unix:/elsewhere'):execute('x')\n"
    "  elseif v == 5 then local t = {} t.a, t.b = t, t q:execute('x', t)\n"
    "  elseif v == 6 then q:execute('x', { f = print })\n"
    "  elseif v == 7 then q:execute('x', { [5] = 1 })\n"
    "  elseif v == 8 then q:execute('x', { s = '\\xff' })\n"
    "  elseif v == 9 then q:execute(5)\n"
    "  elseif v == 10 then q:execute('x', 5)\n"
    "  elseif v == 11 then q:execute('x', nil, 5)\n"
    "  elseif v == 12 then q:execute('')\n"
    "  elseif v == 13 then for i = 1, 70 do q:execute('x', nil, show) end show(q:execute('x'))\n"
    "  elseif v == 14 then vfu.log.warn('%s', tostring(q)) end\n"
    "end\n"
    "function d.write:GO(v)\n"
    "  local ok, message = pcall(try, self, v)\n"
    "  if not ok then vfu.log.warn('%s', message) end\n"
    "end\n"
    "return d\n";

static void make_script(const char *wrapper)
{
    char dir[PATH_MAX], filter[PATH_MAX], plugin[64], own[128], inner[128];
    char *items[] = { own, NULL, NULL };
    int fd;

    snprintf(script_path, sizeof script_path, "./qmpXXXXXX.lua");
    fd = mkstemps(script_path, 4);
    assert_true(fd >= 0 && write(fd, script, sizeof script - 1) == (ssize_t)sizeof script - 1);
    close(fd);
    setenv("VFU_PLUGIN_PATH", odd_built(dir, "lua/.libs"), 1);
    snprintf(own, sizeof own, "qmp=%s", address);
    snprintf(inner, sizeof inner, "inner.qmp=%s", address);
    snprintf(plugin, sizeof plugin, "plugin=%s", script_path);
    if (wrapper) {
        items[0] = inner;
        items[1] = plugin;
        fd = odd_make_with(odd_built(filter, wrapper), items, 2, 0);
    } else {
        fd = odd_make_with(script_path, items, 1, 0);
    }
    assert_int_equal(fd, 0);
    loop = &odd_dev->loop;
}

static void go(uint32_t value)
{
    odd_nlines = 0;
    assert_int_equal(device_write(odd_dev, 0, 0, 4, (uint8_t *)&value), 0);
}

/* Rounds until that is said. */
static void await_said(const char *words)
{
    for (int i = 0; i < 4000 && !odd_said(words); i++) {
        step();
        if (i > 100)
            odd_nap(MS);
    }
    odd_assert_said_once(words);
}

static void talk(void)
{
    go(1);
    greet();
    expect("{\"execute\":\"stop\",\"id\":1}");
    say("{\"id\": 1, \"return\": {}}\n");
    expect_end();
    go(2);
    greet();
    skip_line(); /* the order of a table is its own */
    say("{\"id\": 2, \"return\": {\"s\": \"x\", \"l\": [null, {\"n\": 1099511627776}], \"t\": true}}\n");
    await_said("got x 2 1099511627776 true");
    expect_end();
    go(2);
    greet();
    skip_line();
    say("{\"id\": 3, \"error\": {\"desc\": \"cannot blink\"}}\n");
    await_said("no: cannot blink");
    expect_end();
}

static void test_script(void **state)
{
    (void)state;
    make_script(NULL);
    talk();
    go(3);
    greet();
    skip_line();
    say("{\"id\": 4, \"return\": 5}\n");
    await_said("in it");
    expect_end();
    go(4);
    odd_assert_said_once("unix:/elsewhere is no parameter's value on the command line");
    go(5);
    odd_assert_said_once("too many, or nested too deeply");
    go(6);
    odd_assert_said_once("values are booleans, numbers, strings and tables of them");
    go(7);
    odd_assert_said_once("a table is a list from 1 on, or has names for its keys");
    go(8);
    odd_assert_said_once("a string is not UTF-8");
    go(9);
    odd_assert_said_once("the command is a string such as \"system_reset\", not number");
    go(10);
    odd_assert_said_once("arguments are a table of names and values, not number");
    go(11);
    odd_assert_said_once("the callback is a function, not number");
    go(12);
    odd_assert_said_once("a command has a name of up to 255 bytes");
    go(14);
    odd_assert_said_once(address);
    go(13);
    odd_assert_said_once("no: too many commands wait already"); /* the rest is dropped with the device */
}

static void test_script_inside(void **state)
{
    (void)state;
    make_script("plugins/filter/.libs/filter.so");
    talk();
    go(1);
}

/* A stopped device hears of it when it goes on; a reset changes nothing. */
static void test_stopped(void **state)
{
    (void)state;
    make_script(NULL);
    go(2);
    greet();
    skip_line();
    device_freeze(odd_dev);
    say("{\"id\": 1, \"return\": {\"s\": \"late\"}}\n");
    for (int i = 0; i < 10; i++)
        step();
    assert_int_equal(odd_said("late"), 0);
    device_thaw(odd_dev);
    await_said("got late");
    expect_end();
    go(2);
    greet();
    skip_line();
    assert_int_equal(device_reset(odd_dev, VFU_RESET_BUS), 0);
    say("{\"id\": 2, \"return\": {\"s\": \"after\"}}\n");
    await_said("got after");
}

/* What the script has asked before it is loaded anew, it hears no more of; what the new one asks goes its own way. */
static void test_reloaded(void **state)
{
    char why[256];

    (void)state;
    make_script(NULL);
    go(2);
    greet();
    skip_line();
    assert_int_equal(reload_now(odd_dev, why, sizeof why), 0);
    expect_end();
    talk();
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_addresses),  TEST(test_conversation), TEST(test_many_on_one), TEST(test_refused_by_qemu),
        TEST(test_nobody_there), TEST(test_bad_servers), TEST(test_long_line),  TEST(test_vanished),
        TEST(test_time_limit), TEST(test_full_queue),   TEST(test_held),        TEST(test_closed),
        TEST(test_refused),    TEST(test_not_given),    TEST(test_script),      TEST(test_script_inside),
        TEST(test_stopped),    TEST(test_reloaded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
