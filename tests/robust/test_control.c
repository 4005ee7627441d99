/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_control - the control socket from outside: its commands, breaks with a client that waits, virtual time with DMA by
 * messages, and people who mean no good. One thread: what a client waits for is posted.
 */
#define _GNU_SOURCE
#include "tests/robust/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct rig rig;
static struct vfuc_control *control;
static json_t *answer; /* of the last ask */

static int empty(void **state)
{
    (void)state;
    rig_open(&rig);
    return 0;
}

/* The result; the answer is in `answer`. */
static int ask(const char *request)
{
    const char *reply;
    int result = vfuc_control_call(control, request, &reply);

    json_decref(answer);
    answer = reply ? json_loads(reply, 0, NULL) : NULL;
    return result;
}

static const char *text(const char *key)
{
    const char *value = json_string_value(json_object_get(answer, key));

    return value ? value : "(none)";
}

static json_int_t number(const char *key)
{
    return json_integer_value(json_object_get(answer, key));
}

static json_int_t number_in(const char *a, const char *b, const char *c)
{
    return json_integer_value(json_object_get(json_object_get(json_object_get(answer, a), b), c));
}

static void good(const char *request)
{
    if (ask(request))
        fail_msg("%s: %s", request, vfuc_control_error(control));
}

static void bad(const char *request, int error, const char *says)
{
    int result = ask(request);

    if (result != error || !strstr(vfuc_control_error(control), says))
        fail_msg("%s: %d, %s", request, result, vfuc_control_error(control));
}

static void talk(const char *name)
{
    vfuc_control_close(control);
    if (vfuc_control_open(rig_path(&rig, name), &control)) {
        rig_show(&rig);
        fail_msg("%s", vfuc_control_error(control));
    }
}

static void serve(const char *plugin)
{
    rig_start(&rig, "--plugin", plugin, "--socket-path", "@s", NULL);
    vfuc_free(rig_client(&rig, "s"));
    talk("s");
    do
        good("{\"cmd\": \"info\"}"); /* that one has gone */
    while (!json_is_false(json_object_get(answer, "client")));
}

static int lua(void **state)
{
    empty(state);
    serve("$lua");
    return 0;
}

static int native(void **state)
{
    empty(state);
    serve("$edu");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    vfuc_control_close(control);
    control = NULL;
    json_decref(answer);
    answer = NULL;
    rig_close(&rig);
    return 0;
}

static void evaluates(const char *expr, const char *value)
{
    char request[512];

    snprintf(request, sizeof request, "{\"cmd\": \"eval\", \"expr\": \"%s\"}", expr);
    good(request);
    assert_string_equal(text("value"), value);
}

/* The next event has this name; it is in `answer`. */
static void event(const char *name)
{
    const char *line;

    if (vfuc_control_event(control, 10000 * RIG_MS, &line) != 1)
        fail_msg("no event: %s", vfuc_control_error(control));
    json_decref(answer);
    answer = json_loads(line, 0, NULL);
    assert_string_equal(text("event"), name);
}

static void post(struct vfuc *c, uint64_t offset, uint32_t value)
{
    assert_int_equal(vfuc_post(c, 0, offset, &value, sizeof value), 0);
    assert_int_equal(vfuc_flush(c), 0);
}

/* ---- commands ------------------------------------------------------------------------------------------------- */

static void what_it_is(void **state)
{
    (void)state;
    good("{\"cmd\": \"info\"}");
    assert_string_equal(text("name"), "edu");
    assert_string_equal(text("vendor"), "0x1234");
    assert_string_equal(text("clock"), "real");
    assert_true(json_is_false(json_object_get(answer, "client")));
    assert_int_equal(number("pid"), rig.pid);
    good("{\"cmd\": \"map\"}");
    assert_int_equal(json_array_size(json_object_get(json_object_get(answer, "map"), "registers")), 11);
    good("{\"cmd\": \"help\"}");
    assert_non_null(json_object_get(json_object_get(answer, "commands"), "advance"));
    good("{\"cmd\": \"stats\"}");
    assert_int_equal(number("breaks_hit"), 0);
    /* Whatever an id is, it comes back. */
    good("{\"id\": [1, {\"a\": null}], \"cmd\": \"clock\"}");
    assert_true(json_is_array(json_object_get(answer, "id")));
}

static void registers(void **state)
{
    struct vfuc *c = rig_client(&rig, "s");
    uint64_t value;

    (void)state;
    good("{\"cmd\": \"set\", \"name\": \"CMD.DIR\", \"value\": \"to_host\"}");
    good("{\"cmd\": \"set\", \"name\": \"CMD.IRQ\", \"value\": true}");
    good("{\"cmd\": \"set\", \"name\": \"COUNT\", \"value\": \"0x8000000000000001\"}");
    good("{\"cmd\": \"get\", \"name\": \"CMD.DIR\"}");
    assert_string_equal(text("value"), "0x1");
    assert_string_equal(text("text"), "to_host");
    assert_int_equal(vfuc_get(c, 0, 0x98, 8, &value), 0);
    assert_int_equal(value, 6);
    assert_int_equal(vfuc_get(c, 0, 0x90, 8, &value), 0);
    assert_true(value == UINT64_C(0x8000000000000001));
    good("{\"cmd\": \"regs\", \"names\": [\"CMD\", \"ID\"]}");
    assert_int_equal(json_array_size(json_object_get(answer, "registers")), 2);
    good("{\"cmd\": \"regs\"}");
    assert_int_equal(json_array_size(json_object_get(answer, "registers")), 11);
    assert_null(json_object_get(answer, "next"));
    vfuc_free(c);
}

static const char large[] =
    "local vfu = require 'vfu'\n"
    "local d = vfu.device('d', { pci = { vendor = 1, device = 2 } })\n"
    "d:bar(0, { size = 1 << 20 }, { vfu.reg('A', 0, 4, { count = 100 }),\n"
    " vfu.group('CH', 4096, { count = 40, stride = 4096 }, { vfu.reg('CTL', 0, 4), vfu.reg('V', 8, 4, { count = 50 }) }) })\n"
    "return d\n";

/* More than one answer holds; arrays and groups by their names; and as many breaks as there may be. */
static void coverage(void **state)
{
    struct vfuc *c;

    (void)state;
    good("{\"cmd\": \"coverage\", \"on\": true}");
    c = rig_client(&rig, "s");
    rig_alive(c);
    good("{\"cmd\": \"coverage\"}");
    assert_true(number_in("coverage", "summary", "registers_touched") >= 1);
    bad("{\"cmd\": \"coverage\", \"on\": 1}", -EINVAL, "");
    vfuc_free(c);
}

static void many_registers(void **state)
{
    char request[128];
    size_t n = 0;
    json_int_t from = 0;

    (void)state;
    rig_write(&rig, "d.lua", large);
    serve("@d.lua");
    do {
        snprintf(request, sizeof request, "{\"cmd\": \"regs\", \"from\": %d}", (int)from);
        good(request);
        n += json_array_size(json_object_get(answer, "registers"));
        from = number("next");
    } while (from);
    assert_int_equal(n, 100 + 40 * 51);
    good("{\"cmd\": \"regs\", \"names\": [\"CH[3]\"]}");
    assert_int_equal(json_array_size(json_object_get(answer, "registers")), 51);
    good("{\"cmd\": \"regs\", \"names\": [\"A\", \"CH[39].V[49]\", \"C\"]}");
    assert_int_equal(json_array_size(json_object_get(answer, "registers")), 101);
    good("{\"cmd\": \"set\", \"name\": \"CH[39].V[49]\", \"value\": \"0xffffffff\"}");
    good("{\"cmd\": \"get\", \"name\": \"CH[39].V[49]\"}");
    assert_string_equal(text("value"), "0xffffffff");
    bad("{\"cmd\": \"get\", \"name\": \"CH[40].CTL\"}", -ENOENT, "no register or field");
    bad("{\"cmd\": \"get\", \"name\": \"CH\"}", -ENOENT, "no register or field");
    for (int i = 0; i < 64; i++) {
        snprintf(request, sizeof request, "{\"cmd\": \"break\", \"reg\": \"A[%d]\"}", i);
        good(request);
        good(request); /* the same again is no other one */
    }
    bad("{\"cmd\": \"break\", \"reg\": \"A[64]\"}", -ENOSPC, "there are 64 breaks already");
}

static void wrong_questions(void **state)
{
    (void)state;
    bad("[]", -EINVAL, "a request is an object");
    bad("{}", -EINVAL, "a request has a \"cmd\"");
    bad("{\"cmd\": 1}", -EINVAL, "a request has a \"cmd\"");
    bad("{\"cmd\": \"nonsense\"}", -ENOSYS, "no command 'nonsense'");
    /* Cut within a character, it is said all the same. */
    bad("{\"cmd\": \"x\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"
        "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\"}", -ENOSYS, "no command 'x");
    bad("{\"cmd\": \"subscribe\", \"on\": 1}", -EINVAL, "\"on\" is true or false");
    bad("{\"cmd\": \"break\", \"reg\": \"CMD\", \"once\": 1}", -EINVAL, "\"once\" is true or false");
    bad(" ", -EINVAL, "an empty request");
    bad("{\"cmd\": \"info\", \"cmd\": \"info\"}", -EINVAL, "not JSON");
    bad("nonsense", -EINVAL, "not JSON");
    bad("\xff\xfe", -EINVAL, "not JSON");
    bad("{\"cmd\": \"get\"}", -EINVAL, "\"name\" is missing");
    bad("{\"cmd\": \"get\", \"name\": 5}", -EINVAL, "\"name\" is missing, or no string");
    bad("{\"cmd\": \"get\", \"name\": \"NIX\"}", -ENOENT, "no register or field NIX");
    bad("{\"cmd\": \"get\", \"name\": \"CMD.NIX\"}", -ENOENT, "no register or field CMD.NIX");
    bad("{\"cmd\": \"get\", \"name\": \"CMD[0]\"}", -ENOENT, "no register or field");
    bad("{\"cmd\": \"get\", \"name\": \"CMD.DIR.DIR\"}", -ENOENT, "no register or field");
    bad("{\"cmd\": \"set\", \"name\": \"CMD.DIR\"}", -EINVAL, "is one of");
    bad("{\"cmd\": \"set\", \"name\": \"CMD.DIR\", \"value\": \"sideways\"}", -EINVAL,
        "\"value\" of CMD.DIR is one of to_device, to_host; or a number from 0 up");
    bad("{\"cmd\": \"set\", \"name\": \"CMD.RUN\", \"value\": \"sideways\"}", -EINVAL, "CMD.RUN is a number from 0 up");
    bad("{\"cmd\": \"set\", \"name\": \"CMD\", \"value\": \"sideways\"}", -EINVAL, "CMD is a number from 0 up");
    bad("{\"cmd\": \"set\", \"name\": \"CMD.DIR\", \"value\": 2}", -ERANGE, "does not fit into CMD.DIR");
    bad("{\"cmd\": \"set\", \"name\": \"FACT\", \"value\": 4294967296}", -ERANGE, "does not fit");
    bad("{\"cmd\": \"set\", \"name\": \"FACT\", \"value\": -1}", -ERANGE, "does not fit");
    bad("{\"cmd\": \"set\", \"name\": \"COUNT\", \"value\": \"0x10000000000000000\"}", -ERANGE, "does not fit");
    bad("{\"cmd\": \"regs\", \"names\": \"CMD\"}", -EINVAL, "\"names\" is a list");
    bad("{\"cmd\": \"regs\", \"names\": [1]}", -EINVAL, "\"names\" is a list of strings");
    bad("{\"cmd\": \"regs\", \"from\": -1}", -EINVAL, "\"from\"");
    bad("{\"cmd\": \"regs\", \"from\": 12}", -EINVAL, "\"from\"");
    bad("{\"cmd\": \"clock\", \"mode\": \"lunar\"}", -EINVAL, "\"mode\"");
    bad("{\"cmd\": \"clock\", \"mode\": 0}", -EINVAL, "\"mode\"");
    bad("{\"cmd\": \"advance\"}", -EINVAL, "\"ns\"");
    bad("{\"cmd\": \"advance\", \"ns\": -1}", -EINVAL, "\"ns\"");
    bad("{\"cmd\": \"advance\", \"ns\": 9223372036854775807}", -ERANGE, "beyond the clock's end");
    bad("{\"cmd\": \"break\", \"reg\": \"CMD.RUN\"}", -EINVAL, "CMD.RUN is a field: a break is at a register, here at CMD");
    bad("{\"cmd\": \"break\", \"reg\": \"CMD\", \"access\": \"x\"}", -EINVAL, "\"access\"");
    bad("{\"cmd\": \"break\", \"reg\": \"CMD\", \"access\": 1}", -EINVAL, "\"access\"");
    bad("{\"cmd\": \"break\", \"reg\": \"CMD\", \"timeout\": 0}", -EINVAL, "\"timeout\"");
    bad("{\"cmd\": \"break\", \"reg\": \"CMD\", \"access\": \"none\"}", -ENOENT, "no break at CMD");
    bad("{\"cmd\": \"continue\"}", -EINVAL, "not held");
    good("{\"cmd\": \"info\"}");
}

static void live_script(void **state)
{
    (void)state;
    evaluates("self.CMD", "0x0 (RUN = false, DIR = \"to_device\", IRQ = false)");
    evaluates("self.CMD.RUN = true", "");
    evaluates("self.CMD.RUN", "true");
    bad("{\"cmd\": \"eval\", \"expr\": \"self.STATSU\"}", -EINVAL, "did you mean STATUS?");
    bad("{\"cmd\": \"eval\", \"expr\": \"1 +\"}", -EINVAL, "eval:1:");
    bad("{\"cmd\": \"eval\"}", -EINVAL, "\"expr\" is missing");
}

static void native_model(void **state)
{
    (void)state;
    bad("{\"cmd\": \"eval\", \"expr\": \"1\"}", -ENOTSUP, "the plugin edu cannot evaluate expressions");
    good("{\"cmd\": \"get\", \"name\": \"ID\"}");
    assert_string_equal(text("value"), "0x10000ed");
}

static void through_a_wrapper(void **state)
{
    const char *build = getenv("VFU_BUILDDIR"), *source = getenv("VFU_SRCDIR");
    char filter[600], inner[600];

    (void)state;
    snprintf(filter, sizeof filter, "%s/plugins/filter/.libs/filter.so", build ? build : ".");
    snprintf(inner, sizeof inner, "plugin=%s/examples/edu.lua", source ? source : ".");
    rig_start(&rig, "--plugin", filter, inner, "--socket-path", "@s", NULL);
    vfuc_free(rig_client(&rig, "s"));
    talk("s");
    evaluates("self.ID.value", "16777453 (0x10000ed)");
    rig_stop(&rig, SIGTERM);
    rig_start(&rig, "--plugin", filter, "plugin=edu", "--socket-path", "@s", NULL);
    vfuc_free(rig_client(&rig, "s"));
    talk("s");
    bad("{\"cmd\": \"eval\", \"expr\": \"1\"}", -ENOTSUP, "the plugin edu inside of this one cannot");
}

/* ---- where it is ---------------------------------------------------------------------------------------------- */

static void comes_and_goes(void **state)
{
    struct stat st;
    char *path = strdup(rig_path(&rig, "s.control"));

    (void)state;
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
    /* It is left by a host that was killed, and replaced by the next. */
    rig_stop(&rig, SIGKILL);
    assert_int_equal(stat(path, &st), 0);
    serve("$lua");
    good("{\"cmd\": \"info\"}");
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    assert_int_equal(stat(path, &st), -1);
    free(path);
}

static void other_places(void **state)
{
    struct rig second;

    (void)state;
    rig_start(&rig, "--plugin", "$lua", "--socket-path", "@s", "--control", "@c.control", "--plugin", "$edu",
              "--socket-path", "@t", NULL);
    vfuc_free(rig_client(&rig, "s"));
    vfuc_free(rig_client(&rig, "t"));
    talk("c.control");
    evaluates("6 * 7", "42 (0x2a)");
    talk("t");
    good("{\"cmd\": \"info\"}");
    vfuc_control_close(control);
    assert_int_equal(vfuc_control_open(rig_path(&rig, "s"), &control), -ENOENT);
    assert_non_null(strstr(vfuc_control_error(control), "there is no control socket"));
    /* One that is in use is not taken: asked for by name that is an error, else the device serves without. */
    rig_open(&second);
    rig_write(&second, "plain", "not a socket");
    assert_int_equal(rig_run(&second, "--plugin", "$edu", "--socket-path", "@s", "--control", rig_path(&rig, "c.control"),
                             NULL), 1);
    assert_true(rig_said(&second, "c.control is in use: a server answers there. Stop it, or choose another --control") == 1);
    rig_write(&second, "s.control", "not a socket");
    rig_start(&second, "--plugin", "$edu", "--socket-path", "@s", NULL);
    vfuc_free(rig_client(&second, "s"));
    assert_true(rig_said(&second, "there is no control socket; --control names another place for it") == 1);
    assert_int_equal(rig_stop(&second, SIGTERM), 0);
    rig_close(&second);
}

/* What another host has put at the paths is not removed by the one that had them before. */
static void another_at_the_path(void **state)
{
    struct rig second;
    struct vfuc *c;

    (void)state;
    rig_open(&second);
    assert_int_equal(unlink(rig_path(&rig, "s")), 0);
    assert_int_equal(unlink(rig_path(&rig, "s.control")), 0);
    rig_start(&second, "--plugin", "$edu", "--socket-path", rig_path(&rig, "s"), NULL);
    assert_true(rig_says(&second, "socket "));
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    c = rig_client(&rig, "s");
    rig_alive(c);
    vfuc_free(c);
    talk("s");
    good("{\"cmd\": \"info\"}");
    assert_int_equal(rig_stop(&second, SIGTERM), 0);
    assert_int_equal(access(rig_path(&rig, "s"), F_OK), -1);
    assert_int_equal(access(rig_path(&rig, "s.control"), F_OK), -1);
    rig_close(&second);
}

static void options(void **state)
{
    (void)state;
    assert_int_equal(rig_run(&rig, "--clock", "lunar", "--plugin", "$edu", NULL), 2);
    assert_true(rig_said(&rig, "--clock lunar: there are real and virtual") == 1);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--control", "", NULL), 2);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--control", "@a", "--control", "@b", NULL), 2);
    assert_true(rig_said(&rig, "--control is given twice for one device") == 1);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@s", "--control", "@s", NULL), 1);
    assert_true(rig_said(&rig, "is the device's own socket: choose another path for one of the two") == 1);
    assert_int_equal(access(rig_path(&rig, "s"), F_OK), -1);
}

/* ---- people who mean no good ---------------------------------------------------------------------------------- */

static void read_line(int fd, char *line, size_t size)
{
    size_t n = 0;

    do {
        struct pollfd pfd = { .fd = fd, .events = POLLIN };

        assert_true(n < size - 1);
        assert_int_equal(poll(&pfd, 1, 10000), 1);
        assert_int_equal(recv(fd, line + n, 1, 0), 1);
    } while (line[n++] != '\n');
    line[n] = '\0';
}

static void long_lines(void **state)
{
    static char bytes[100000];
    char line[1024];
    int fd = rig_connect(&rig, "s.control");

    (void)state;
    memset(bytes, 'x', sizeof bytes);
    (void)!send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
    read_line(fd, line, sizeof line);
    assert_non_null(strstr(line, "a request has up to 65536 bytes; this connection is closed"));
    close(fd);
    /* Deep nesting is no JSON to us, and costs nobody a stack. */
    fd = rig_connect(&rig, "s.control");
    memset(bytes, '[', 60000);
    bytes[60000] = '\n';
    rig_send(fd, bytes, 60001);
    read_line(fd, line, sizeof line);
    assert_non_null(strstr(line, "not JSON"));
    rig_send(fd, "{\"cmd\": \"clock\"}\n", 17);
    read_line(fd, line, sizeof line);
    assert_non_null(strstr(line, "\"ok\":true"));
    close(fd);
    good("{\"cmd\": \"info\"}");
}

static void byte_by_byte(void **state)
{
    const char *request = "\n \n{\"id\": 1, \"cmd\": \"clock\"}\n{\"id\": 2, \"cmd\": \"clock\"}\n";
    char line[1024];
    int fd = rig_connect(&rig, "s.control");

    (void)state;
    for (const char *p = request; *p; p++)
        rig_send(fd, p, 1);
    /* Who says no more still gets what was asked for. */
    shutdown(fd, SHUT_WR);
    read_line(fd, line, sizeof line);
    assert_non_null(strstr(line, "\"id\":1"));
    read_line(fd, line, sizeof line);
    assert_non_null(strstr(line, "\"id\":2"));
    assert_true(rig_closed(fd));
    close(fd);
}

static void reads_nothing(void **state)
{
    static const char request[] = "{\"cmd\": \"map\"}\n{\"cmd\": \"regs\"}\n{\"cmd\": \"subscribe\"}\n";
    int fds[8];
    long before = rig_rss(&rig);
    struct vfuc *c = rig_client(&rig, "s");

    (void)state;
    for (int i = 0; i < 8; i++) {
        fds[i] = rig_connect(&rig, "s.control");
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        for (int k = 0; k < 10000; k++) {
            if (send(fds[i], request, sizeof request - 1, MSG_NOSIGNAL) < 0)
                break;
        }
    }
    for (int i = 0; i < 50; i++) {
        rig_alive(c);
        good("{\"cmd\": \"clock\"}");
    }
    assert_true(rig_rss(&rig) - before < 65536);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    vfuc_free(c);
}

static void many_connections(void **state)
{
    int fds[1000], before;
    struct vfuc *c = rig_client(&rig, "s");

    (void)state;
    rig_alive(c);
    good("{\"cmd\": \"info\"}");
    before = rig_fds(&rig);
    for (int i = 0; i < 1000; i++) {
        fds[i] = rig_connect(&rig, "s.control");
        if (i == 500)
            rig_alive(c);
    }
    good("{\"cmd\": \"info\"}");
    assert_true(rig_fds(&rig) <= before + 64);
    /* This one and 63 more. */
    for (int i = 63; i < 1000; i++) {
        char line[256];

        read_line(fds[i], line, sizeof line);
        assert_non_null(strstr(line, "there are too many connections"));
        assert_true(rig_closed(fds[i]));
    }
    for (int i = 0; i < 1000; i++)
        close(fds[i]);
    assert_true(rig_fds_settle(&rig, before));
    good("{\"cmd\": \"info\"}");
    rig_alive(c);
    vfuc_free(c);
}

static void no_descriptor_left(void **state)
{
    struct rlimit former;
    int fd;

    (void)state;
    good("{\"cmd\": \"info\"}");
    rig_take_files(&rig, &former);
    fd = rig_connect(&rig, "s.control");
    assert_true(rig_closed(fd));
    close(fd);
    good("{\"cmd\": \"info\"}");
    rig_give_files(&rig, &former);
    talk("s");
    good("{\"cmd\": \"info\"}");
}

static const char stuck[] =
    "local vfu = require 'vfu'\n"
    "local d = vfu.device('d', { pci = { vendor = 1, device = 2 } })\n"
    "d:bar(0, { size = 4096 }, { vfu.reg('GO', 0, 4), vfu.reg('T', 4, 4) })\n"
    "function d.write:GO(v) local n = v while n > 0 do n = n - 0 end end\n"
    "function d.event:tick() self.T.value = self.T.value + 1 end\n"
    "function d.event:again() self:after(0, 'again') end\n"
    "return d\n";

static void stuck_device(void **state)
{
    static const char twice[] = "{\"cmd\": \"clock\"}\n{\"cmd\": \"clock\"}\n";
    char line[256], *says;
    struct vfuc *c;
    int fd;

    (void)state;
    rig_write(&rig, "d.lua", stuck);
    rig_start(&rig, "--hook-budget", "3000", "--plugin", "@d.lua", "--socket-path", "@s", NULL);
    c = rig_client(&rig, "s");
    talk("s");
    good("{\"cmd\": \"info\"}");
    post(c, 0, 1);
    do
        rig_pause(10);
    while (ask("{\"cmd\": \"stats\"}") == 0);
    assert_non_null(strstr(vfuc_control_error(control), "the device is busy for "));
    assert_string_equal(text("errno"), "EBUSY");
    good("{\"cmd\": \"subscribe\"}");
    /* One behind the other: each has its time. */
    fd = rig_connect(&rig, "s.control");
    rig_send(fd, twice, sizeof twice - 1);
    for (int i = 0; i < 2; i++) {
        read_line(fd, line, sizeof line);
        says = strstr(line, "the device is busy for ");
        assert_non_null(says);
        assert_true(strtoull(says + strlen("the device is busy for "), NULL, 10) < 1000);
    }
    close(fd);
    vfuc_free(c);
}

static const char talkative[] =
    "local vfu = require 'vfu'\n"
    "local d = vfu.device('d', { pci = { vendor = 1, device = 2 } })\n"
    "d:bar(0, { size = 4096 }, { vfu.reg('GO', 0, 4) })\n"
    "local data = {}\n"
    "for i = 1, 30 do data['k' .. i] = ('x'):rep(1000) end\n"
    "function d.write:GO() self:report('much', data) end\n"
    "return d\n";

static void little_kept(struct rig *r)
{
    const char *options = getenv("ASAN_OPTIONS");
    char text[512];

    (void)r;
    snprintf(text, sizeof text, "%s:quarantine_size_mb=1", options ? options : "");
    setenv("ASAN_OPTIONS", text, 1);
}

/* Takes so many bytes, which come. */
static void drink(int fd, size_t size)
{
    static char bytes[65536];

    while (size) {
        struct pollfd pfd = { .fd = fd, .events = POLLIN };
        ssize_t n;

        assert_int_equal(poll(&pfd, 1, 10000), 1);
        n = recv(fd, bytes, size < sizeof bytes ? size : sizeof bytes, 0);
        assert_true(n > 0);
        size -= (size_t)n;
    }
}

/* What waits for a subscriber has its limit also if he is never quite done, and what he has had is kept for nobody. */
static void reads_slowly(void **state)
{
    static const char request[] = "{\"cmd\": \"subscribe\"}\n";
    size_t event;
    char line[65536];
    struct vfuc *c;
    long before;
    int fd;

    (void)state;
    rig_write(&rig, "d.lua", talkative);
    rig.before = little_kept;
    rig_start(&rig, "--log-level", "error", "--plugin", "@d.lua", "--socket-path", "@s", NULL);
    c = rig_client(&rig, "s");
    fd = rig_connect(&rig, "s.control");
    rig_send(fd, request, sizeof request - 1);
    read_line(fd, line, sizeof line);
    post(c, 0, 1);
    read_line(fd, line, sizeof line);
    event = strlen(line);
    assert_true(event > 30000);
    for (int i = 0; i < 20; i++)
        assert_int_equal(vfuc_put(c, 0, 0, 4, 1), 0);
    talk("s");
    good("{\"cmd\": \"clock\"}");
    before = rig_rss(&rig);
    for (int i = 0; i < 2500; i++) {
        assert_int_equal(vfuc_put(c, 0, 0, 4, 1), 0);
        good("{\"cmd\": \"clock\"}"); /* the event waits for its reader by now */
        drink(fd, event - 8); /* times differ in their length by a few digits */
    }
    assert_true(rig_rss(&rig) - before < 40000);
    close(fd);
    vfuc_free(c);
}

/* An answer that comes too late is not the next question's. */
static void late_answers(void **state)
{
    struct vfuc *c;

    (void)state;
    rig_write(&rig, "d.lua", stuck);
    rig_start(&rig, "--hook-budget", "0.5", "--plugin", "@d.lua", "--socket-path", "@s", NULL);
    c = rig_client(&rig, "s");
    talk("s");
    post(c, 0, 1);
    vfuc_control_timeout(control, 1000);
    for (int i = 0; i < 3; i++)
        bad("{\"id\": \"late\", \"cmd\": \"clock\"}", -ETIMEDOUT, "no answer within");
    vfuc_control_timeout(control, 0);
    good("{\"id\": \"mine\", \"cmd\": \"info\"}");
    assert_string_equal(text("id"), "mine");
    good("{\"id\": \"next\", \"cmd\": \"stats\"}");
    assert_string_equal(text("id"), "next");
    vfuc_free(c);
}

/* A server that takes nothing holds nobody up. */
static void takes_nothing(void **state)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    static char request[60000];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), result;

    (void)state;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", rig_path(&rig, "x.control"));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    memset(request, 'x', sizeof request - 1);
    assert_int_equal(vfuc_control_open(rig_path(&rig, "x"), &control), 0);
    vfuc_control_timeout(control, 1000000);
    do
        result = vfuc_control_call(control, request, NULL);
    while (result == -ETIMEDOUT && strstr(vfuc_control_error(control), "no answer within"));
    assert_int_equal(result, -ETIMEDOUT);
    assert_non_null(strstr(vfuc_control_error(control), "the request was not taken within"));
    bad("{\"cmd\": \"info\"}", -ENOTCONN, "not connected");
    close(fd);
}

/* ---- breaks --------------------------------------------------------------------------------------------------- */

static void held_and_let_go(void **state)
{
    struct vfuc *c = rig_client(&rig, "s");
    uint64_t value;

    (void)state;
    good("{\"cmd\": \"subscribe\"}");
    good("{\"cmd\": \"break\", \"reg\": \"LIVE\", \"access\": \"w\"}");
    assert_string_equal(text("reg"), "LIVE");
    post(c, RIG_LIVE, 0x11);
    event("break");
    assert_string_equal(text("reg"), "LIVE");
    assert_string_equal(text("access"), "w");
    assert_string_equal(text("region"), "bar0");
    assert_string_equal(text("offset"), "0x4");
    assert_string_equal(text("value"), "0x11");
    /* It has not happened yet; and meanwhile all this works. */
    good("{\"cmd\": \"get\", \"name\": \"LIVE\"}");
    assert_string_equal(text("value"), "0x0");
    evaluates("self.LIVE.value", "0");
    evaluates("self.COUNT.value = 77", "");
    good("{\"cmd\": \"set\", \"name\": \"LIVE\", \"value\": 5}");
    good("{\"cmd\": \"regs\"}");
    good("{\"cmd\": \"info\"}");
    assert_string_equal(text("held"), "LIVE");
    good("{\"cmd\": \"breaks\"}");
    assert_int_equal(json_array_size(json_object_get(answer, "breaks")), 1);
    assert_true(json_is_object(json_object_get(answer, "held")));
    bad("{\"cmd\": \"advance\", \"ns\": 1}", -EBUSY, "the device is held at LIVE");
    bad("{\"cmd\": \"clock\", \"mode\": \"virtual\"}", -EBUSY, "the device is held at LIVE");
    good("{\"cmd\": \"continue\"}");
    event("continue");
    assert_string_equal(text("why"), "asked");
    assert_int_equal(vfuc_get(c, 0, RIG_LIVE, 4, &value), 0);
    assert_int_equal(value, 0xffffffee);
    assert_int_equal(vfuc_get(c, 0, RIG_COUNT, 8, &value), 0);
    assert_int_equal(value, 77);
    good("{\"cmd\": \"break\", \"reg\": \"LIVE\", \"access\": \"none\"}");
    post(c, RIG_LIVE, 0);
    rig_alive(c);
    good("{\"cmd\": \"stats\"}");
    assert_int_equal(number("breaks_hit"), 1);
    vfuc_free(c);
}

/* A register without hooks, which has a way of its own; once; and an end by time. */
static void plain_register(void **state)
{
    struct vfuc *c = rig_client(&rig, "s");
    uint64_t value;

    (void)state;
    good("{\"cmd\": \"subscribe\"}");
    good("{\"cmd\": \"break\", \"reg\": \"COUNT\", \"once\": true, \"timeout\": 0.02}");
    assert_int_equal(vfuc_put(c, 0, RIG_COUNT, 8, 9), 0);
    event("break");
    event("continue");
    assert_string_equal(text("why"), "timeout");
    assert_int_equal(vfuc_get(c, 0, RIG_COUNT, 8, &value), 0);
    assert_int_equal(value, 9);
    good("{\"cmd\": \"breaks\"}");
    assert_int_equal(json_array_size(json_object_get(answer, "breaks")), 0);
    /* A read, of a part. */
    good("{\"cmd\": \"break\", \"reg\": \"COUNT\", \"access\": \"r\", \"timeout\": 0.02}");
    assert_int_equal(vfuc_put(c, 0, RIG_COUNT, 8, UINT64_C(0x1122334455667788)), 0);
    assert_int_equal(vfuc_get(c, 0, RIG_COUNT + 4, 4, &value), 0);
    assert_int_equal(value, 0x11223344);
    event("break");
    assert_string_equal(text("offset"), "0x94");
    assert_int_equal(number("size"), 4);
    vfuc_free(c);
}

static void nobody_lets_it_go(void **state)
{
    struct vfuc *c = rig_client(&rig, "s");

    (void)state;
    good("{\"cmd\": \"subscribe\"}");
    good("{\"cmd\": \"break\", \"reg\": \"LIVE\"}");
    post(c, RIG_LIVE, 1);
    event("break");
    vfuc_free(c); /* the client goes away */
    event("continue");
    assert_string_equal(text("why"), "client gone");
    event("detach");
    c = rig_client(&rig, "s");
    event("attach");
    post(c, RIG_LIVE, 1);
    event("break");
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    vfuc_free(c);
}

/* What the device reports comes as an event, and is kept. */
static void reports(void **state)
{
    const char *source = getenv("VFU_SRCDIR");
    char script[600];
    struct vfuc *c;
    uint8_t panicked = 1;

    (void)state;
    snprintf(script, sizeof script, "%s/examples/pvpanic.lua", source ? source : ".");
    serve(script);
    good("{\"cmd\": \"subscribe\"}");
    c = rig_client(&rig, "s");
    event("attach");
    assert_int_equal(vfuc_write(c, 0, 0, &panicked, 1), 0);
    event("report");
    assert_string_equal(text("name"), "panicked");
    assert_true(json_is_true(json_object_get(answer, "fatal")));
    good("{\"cmd\": \"report\"}");
    assert_int_equal(number("total"), 1);
    assert_int_equal(number("fatal"), 1);
    assert_int_equal(json_array_size(json_object_get(answer, "reports")), 1);
    vfuc_free(c);
}

/* The end comes while one client is held and another one waits for its refusal. */
static void ends_held(void **state)
{
    struct vfuc *c = rig_client(&rig, "s");
    int fd;

    (void)state;
    good("{\"cmd\": \"subscribe\"}");
    good("{\"cmd\": \"break\", \"reg\": \"LIVE\"}");
    post(c, RIG_LIVE, 1);
    event("break");
    fd = rig_connect(&rig, "s");
    good("{\"cmd\": \"info\"}"); /* main has handed it over */
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    assert_true(rig_closed(fd));
    close(fd);
    vfuc_free(c);
}

static void breaks_go_with_their_owner(void **state)
{
    struct vfuc_control *other;
    struct vfuc *c = rig_client(&rig, "s");

    (void)state;
    assert_int_equal(vfuc_control_open(rig_path(&rig, "s"), &other), 0);
    assert_int_equal(vfuc_control_call(other, "{\"cmd\": \"break\", \"reg\": \"LIVE\"}", NULL), 0);
    good("{\"cmd\": \"subscribe\"}");
    post(c, RIG_LIVE, 1);
    event("break");
    vfuc_control_close(other);
    do
        good("{\"cmd\": \"breaks\"}");
    while (json_array_size(json_object_get(answer, "breaks")));
    /* It is held still: who has looked at it may have left with a purpose. */
    assert_true(json_is_object(json_object_get(answer, "held")));
    good("{\"cmd\": \"continue\"}");
    rig_alive(c);
    vfuc_free(c);
}

/* ---- time ----------------------------------------------------------------------------------------------------- */

static void time_stands_still(void **state)
{
    (void)state;
    rig_write(&rig, "d.lua", stuck);
    rig_start(&rig, "--clock", "virtual", "--plugin", "@d.lua", "--socket-path", "@s", NULL);
    vfuc_free(rig_client(&rig, "s"));
    talk("s");
    good("{\"cmd\": \"clock\"}");
    assert_string_equal(text("mode"), "virtual");
    assert_int_equal(number("now"), 0);
    evaluates("vfu.now()", "0.0");
    evaluates("self:every(0.01, 'tick') and 1", "1");
    /* Ten minutes. */
    good("{\"cmd\": \"advance\", \"ns\": 600000000000}");
    assert_int_equal(number("now"), 600000000000);
    assert_int_equal(number("events"), 60000);
    evaluates("self.T.value", "60000 (0xea60)");
    evaluates("vfu.now()", "600.0");
    good("{\"cmd\": \"advance\", \"ns\": 0}");
    assert_int_equal(number("events"), 0);
    /* What needs no time happens without. */
    evaluates("self:after(0, 'tick') and 1", "1");
    do
        good("{\"cmd\": \"get\", \"name\": \"T\"}");
    while (strcmp(text("value"), "0xea61"));
    /* What sets itself again at once, for ever, is found out. */
    evaluates("self:after(1, 'again') and 1", "1");
    bad("{\"cmd\": \"advance\", \"ns\": 5000000000}", -ELOOP, "time stands still at 601000000000 ns");
    assert_int_equal(number("now"), 601000000000);
    good("{\"cmd\": \"clock\", \"mode\": \"real\"}");
    assert_true(number("now") >= 601000000000);
}

/* DMA takes real time, and is waited for: with the client that answers it in this very thread. */
static void time_waits_for_dma(void **state)
{
    static const char advance[] = "{\"cmd\": \"advance\", \"ns\": 1000000000}\n";
    struct vfuc *c;
    char line[256];
    void *memory;
    int fd;

    (void)state;
    rig_start(&rig, "--clock", "virtual", "--plugin", "$lua", "--socket-path", "@s", NULL);
    c = rig_client(&rig, "s");
    talk("s");
    assert_int_equal(vfuc_memory_new(c, 0x10000, 4096, VFUC_DMA_MESSAGES | VFUC_DMA_RW, &memory), 0);
    memcpy(memory, "hello", 5);
    assert_int_equal(vfuc_put(c, 0, 0x80, 8, 0x10000), 0);
    assert_int_equal(vfuc_put(c, 0, 0x88, 8, 0x40000), 0);
    assert_int_equal(vfuc_put(c, 0, 0x90, 8, 5), 0);
    assert_int_equal(vfuc_put(c, 0, 0x98, 8, 1), 0);
    evaluates("self.CMD.RUN", "true");
    fd = rig_connect(&rig, "s.control");
    rig_send(fd, advance, sizeof advance - 1);
    while (vfuc_serve(c, 10000 * RIG_MS) == 0)
        ;
    read_line(fd, line, sizeof line);
    assert_non_null(strstr(line, "\"now\":1000000000,\"events\":1"));
    /* When the time is there, what was due is over. */
    evaluates("self.CMD.RUN", "false");
    evaluates("self.buf:read(0, 5)", "\"hello\"");
    close(fd);
    vfuc_free(c);
}

#define WITH(f, s) cmocka_unit_test_setup_teardown(f, s, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(what_it_is, lua),
        WITH(registers, lua),
        WITH(coverage, lua),
        WITH(many_registers, empty),
        WITH(wrong_questions, lua),
        WITH(live_script, lua),
        WITH(native_model, native),
        WITH(through_a_wrapper, empty),
        WITH(comes_and_goes, lua),
        WITH(other_places, empty),
        WITH(another_at_the_path, native),
        WITH(options, empty),
        WITH(long_lines, native),
        WITH(byte_by_byte, native),
        WITH(reads_nothing, native),
        WITH(many_connections, native),
        WITH(no_descriptor_left, native),
        WITH(stuck_device, empty),
        WITH(reads_slowly, empty),
        WITH(late_answers, empty),
        WITH(takes_nothing, empty),
        WITH(held_and_let_go, lua),
        WITH(plain_register, lua),
        WITH(nobody_lets_it_go, native),
        WITH(ends_held, native),
        WITH(breaks_go_with_their_owner, native),
        WITH(reports, empty),
        WITH(time_stands_still, empty),
        WITH(time_waits_for_dma, empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
