/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of streams: terminals, sockets, files, and peers that flood, never read, come and go. One thread, with a loop
 * that is stepped; what the kernel passes on by a thread of its own is waited for.
 */
#include "tests/unit/odd_host.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "core/outside/stream_private.h"

static struct loop loop;
static struct streams all;
static char folder[64], path[80], spec_text[160];
static uint32_t told;   /* events, one or the other */
static unsigned times;  /* of calls */
static int me, other;   /* owners */

static void on_event(void *arg, uint32_t events)
{
    (void)arg;
    told |= events;
    times++;
}

static int setup(void **state)
{
    (void)state;
    odd_setup(state);
    log_threshold = LOG_INFO;
    snprintf(folder, sizeof folder, "/tmp/vfu-stream.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/it", folder);
    assert_int_equal(loop_init(&loop), 0);
    streams_init(&all, &loop, "dev");
    assert_int_equal(streams_start(&all), 0);
    told = times = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    streams_fini(&all);
    loop_fini(&loop);
    unlink(path);
    assert_int_equal(rmdir(folder), 0); /* nothing is left behind */
    log_threshold = LOG_WARN;
    return 0;
}

static int open_as(const void *owner, const char *prefix, const char *suffix, struct vfu_stream **out)
{
    struct vfu_stream_spec spec = { .struct_size = sizeof spec, .spec = spec_text, .fn = on_event };

    snprintf(spec_text, sizeof spec_text, "%s%s%s", prefix, prefix[strlen(prefix) - 1] == ':' ? path : "", suffix);
    return stream_open(&all, owner, &spec, out);
}

static struct vfu_stream *make(const char *prefix, const char *suffix)
{
    struct vfu_stream *stream = NULL;

    assert_int_equal(open_as(&me, prefix, suffix, &stream), 0);
    return stream;
}

static struct vfu_stream_state look(struct vfu_stream *stream)
{
    struct vfu_stream_state state = { .struct_size = sizeof state };

    assert_int_equal(stream_look(&all, stream, &state), 0);
    return state;
}

static void steps(void)
{
    for (int i = 0; i < 20; i++)
        loop_step(&loop);
}

static bool connected(struct vfu_stream *stream)
{
    return look(stream).flags & VFU_STREAM_CONNECTED;
}

/* Until `stream` has a peer, or none, and so many bytes. */
static void await(struct vfu_stream *stream, bool peer, uint64_t readable)
{
    for (int i = 0; i < 4000; i++) {
        struct vfu_stream_state state;

        steps();
        state = look(stream);
        if (!!(state.flags & VFU_STREAM_CONNECTED) == peer && state.readable >= readable)
            return;
        odd_nap(MS);
    }
    fail_msg("peer %d with %llu bytes: it is %d with %llu", peer, (unsigned long long)readable, connected(stream),
             (unsigned long long)look(stream).readable);
}

static int call(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static int64_t say(struct vfu_stream *stream, const char *text)
{
    return stream_write(&all, stream, text, strlen(text));
}

static void assert_heard(int fd, const char *text)
{
    char got[64] = "";
    size_t n = strlen(text), have = 0;

    while (have < n) {
        ssize_t some = read(fd, got + have, n - have);

        assert_true(some > 0);
        have += (size_t)some;
    }
    assert_string_equal(got, text);
}

static void assert_read(struct vfu_stream *stream, const char *text)
{
    char got[64] = "";

    assert_int_equal(stream_read(&all, stream, got, sizeof got - 1), strlen(text));
    assert_string_equal(got, text);
}

/* ---- words ---- */

static void test_words(void **state)
{
    static const char *const bad[] = {
        "", "p", "ptyx", "pty:", "pty,connect", "unix:", "unix:,connect", "file:", "file:,truncate", "nullx", "null,marks",
        "udp:1", "unix:/x,conect", "file:/x,marks", "fd:3",
    };
    struct vfu_stream *stream;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct vfu_stream_spec spec = { .struct_size = sizeof spec, .spec = bad[i], .fn = on_event };

        odd_nlines = 0;
        assert_int_equal(stream_open(&all, &me, &spec, &stream), -EINVAL);
        odd_assert_said_once("there is no stream");
    }
    assert_null(all.first);
}

static void test_null(void **state)
{
    struct vfu_stream *stream = make("null", ""), *second = make("null", "");
    static const char zeros[65536];

    (void)state;
    steps();
    assert_true(connected(stream));
    for (int i = 0; i < 8; i++) {
        assert_int_equal(stream_write(&all, stream, zeros, 1000), 1000);
        steps();
    }
    assert_int_equal(stream_read(&all, stream, (char[1]){ 0 }, 1), 0);
    assert_int_equal(stream_close(&all, second), 0);
    assert_int_equal(stream_close(&all, second), -EBADF);
    assert_int_equal(stream_write(&all, second, "x", 1), -EBADF);
}

/* ---- unix ---- */

static void test_unix(void **state)
{
    struct vfu_stream *stream = make("unix:", "");
    int fd, second;

    (void)state;
    odd_assert_said_once("its stream is at the socket");
    assert_int_equal(say(stream, "nobody hears"), 12);
    fd = call();
    await(stream, true, 0);
    assert_true(told & VFU_STREAM_PEER);
    assert_int_equal(say(stream, "hello"), 5);
    steps();
    assert_heard(fd, "hello");
    assert_int_equal(write(fd, "there", 5), 5);
    await(stream, true, 5);
    assert_true(told & VFU_STREAM_READABLE);
    assert_read(stream, "there");
    assert_read(stream, "");
    /* The next one waits. */
    second = call();
    assert_int_equal(write(second, "next", 4), 4);
    steps();
    assert_int_equal(look(stream).readable, 0);
    told = 0;
    close(fd);
    await(stream, true, 4);
    assert_true(told & VFU_STREAM_PEER);
    assert_read(stream, "next");
    close(second);
    await(stream, false, 0);
}

/* What a peer has sent before it went is there still, more than fits at once too. */
static void test_last_words(void **state)
{
    struct vfu_stream *stream = make("unix:", "");
    static char bytes[20000], got[20000];
    uint64_t n = 0;
    int fd = call();

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7);
    assert_int_equal(write(fd, bytes, sizeof bytes), sizeof bytes);
    close(fd);
    steps();
    times = 0;
    steps();
    assert_int_equal(times, 0); /* it does not spin */
    for (int i = 0; i < 100 && n < sizeof got; i++) {
        int64_t some = stream_read(&all, stream, got + n, sizeof got - n);

        assert_true(some >= 0);
        n += (uint64_t)some;
        steps();
    }
    assert_int_equal(n, sizeof got);
    assert_memory_equal(bytes, got, sizeof got);
    await(stream, false, 0);
}

static void test_half_close(void **state)
{
    struct vfu_stream *stream = make("unix:", "");
    int fd = call();

    (void)state;
    assert_int_equal(write(fd, "bye", 3), 3);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    await(stream, true, 3);
    assert_read(stream, "bye");
    steps();
    times = 0;
    steps();
    assert_int_equal(times, 0);
    assert_true(connected(stream));
    assert_int_equal(say(stream, "still here"), 10);
    steps();
    assert_heard(fd, "still here");
    close(fd);
    await(stream, false, 0);
}

static void test_never_reads(void **state)
{
    struct vfu_stream *stream = make("unix:", "");
    static char bytes[4096], got[65536];
    uint64_t taken = 0;
    int64_t n;
    int fd = call();

    (void)state;
    await(stream, true, 0);
    while ((n = stream_write(&all, stream, bytes, sizeof bytes)) > 0) {
        taken += (uint64_t)n;
        assert_true(taken < 64u << 20);
        steps();
    }
    assert_int_equal(n, 0);
    assert_int_equal(look(stream).room, 0);
    told = 0;
    steps();
    assert_int_equal(told, 0);
    while (taken) { /* now it does */
        ssize_t some = recv(fd, got, sizeof got, MSG_DONTWAIT);

        steps();
        taken -= some > 0 ? (uint64_t)some : 0;
    }
    assert_true(told & VFU_STREAM_WRITABLE);
    assert_int_equal(look(stream).room, 16384);
    close(fd);
}

static void test_flood(void **state)
{
    struct vfu_stream *stream = make("unix:", "");
    static char bytes[65536];
    int fd = call();
    uint64_t sent = 0;
    ssize_t n;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        n = send(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        steps();
        if (n < 0)
            break;
        sent += (uint64_t)n;
    }
    assert_true(n < 0); /* it is held up */
    assert_int_equal(look(stream).readable, 4096);
    times = 0;
    steps();
    assert_int_equal(times, 0);
    close(fd);
    while (sent) {
        n = stream_read(&all, stream, bytes, sizeof bytes);
        sent -= (uint64_t)n;
        steps();
    }
    await(stream, false, 0);
}

static void test_gone_in_the_middle(void **state)
{
    struct vfu_stream *stream = make("unix:", "");
    static char bytes[16384 - 1]; /* with marks each has to have room for two */
    int fd;

    (void)state;
    for (int i = 0; i < 50; i++) {
        fd = call();
        await(stream, true, 0);
        (void)stream_write(&all, stream, bytes, sizeof bytes);
        if (i % 2)
            steps();
        close(fd);
        await(stream, false, 0);
        assert_int_equal(look(stream).room, 16384);
    }
}

static void test_hang_up(void **state)
{
    struct vfu_stream *stream = make("unix:", "");
    char byte;
    int fd = call();

    (void)state;
    await(stream, true, 0);
    assert_int_equal(say(stream, "end"), 3);
    assert_int_equal(stream_hang_up(&all, stream), 0);
    assert_heard(fd, "end");
    assert_int_equal(read(fd, &byte, 1), 0);
    close(fd);
    assert_int_equal(stream_hang_up(&all, stream), 0); /* nobody is there */
    fd = call();
    await(stream, true, 0);
    close(fd);
}

static void test_places(void **state)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct vfu_stream *stream, *second;
    struct stat st;
    int fd;

    (void)state;
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_int_equal(open_as(&me, "unix:", "", &stream), -EEXIST);
    odd_assert_said_once("is no socket, and is left as it is");
    assert_int_equal(open_as(&me, "pty:", "", &stream), -EEXIST);
    odd_assert_said_once("is no link to a terminal, and is left as it is");
    unlink(path);
    assert_int_equal(symlink("/somebody/s", path), 0);
    assert_int_equal(open_as(&me, "pty:", "", &stream), -EEXIST);
    assert_int_equal(odd_said("is no link to a terminal, and is left as it is"), 2);
    assert_int_equal(lstat(path, &st), 0);
    unlink(path);
    stream = make("unix:", "");
    /* The same words by another owner are the same stream; other words for it are somebody else. */
    assert_int_equal(open_as(&me, "unix:", "", &second), -EBUSY);
    assert_int_equal(open_as(&other, "unix:", ",marks", &second), -EADDRINUSE);
    odd_assert_said_once("somebody answers there");
    /* One that stands in our place is not ours to remove. */
    unlink(path);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_int_equal(stream_close(&all, stream), 0);
    assert_int_equal(lstat(path, &st), 0);
    unlink(path);
    /* A socket that a dead server has left is in nobody's way. */
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    stream = make("unix:", "");
    close(call());
    await(stream, false, 0);
}

static void test_connect(void **state)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct vfu_stream *stream = make("unix:", ",connect");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), peer;

    (void)state;
    odd_assert_said_once("it is tried again");
    assert_false(connected(stream));
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    for (int round = 0; round < 2; round++) {
        await(stream, true, 0);
        peer = accept(fd, NULL, NULL);
        assert_int_equal(say(stream, "it is me"), 8);
        steps();
        assert_heard(peer, "it is me");
        close(peer);
        told = 0;
        steps();
        assert_true(told & VFU_STREAM_PEER);
    }
    close(fd);
}

/* ---- pty ---- */

static const char *terminal(void)
{
    static char name[128];
    ssize_t n = readlink(path, name, sizeof name - 1);

    assert_true(n > 0);
    name[n] = 0;
    return name;
}

static void test_pty(void **state)
{
    struct vfu_stream *stream;
    struct termios settings;
    int fd, second;

    (void)state;
    assert_int_equal(symlink("/dev/pts/999999", path), 0); /* left behind by another one */
    stream = make("pty:", "");
    odd_assert_said_once("its terminal is /dev/pts/");
    steps();
    assert_false(connected(stream));
    times = 0;
    steps();
    assert_int_equal(times, 0); /* a terminal without a reader does not spin */
    assert_int_equal(say(stream, "nobody hears"), 12);
    fd = open(terminal(), O_RDWR | O_NOCTTY);
    assert_true(fd >= 0);
    await(stream, true, 0);
    assert_int_equal(say(stream, "a\r\nb\3"), 5);
    steps();
    assert_heard(fd, "a\r\nb\3"); /* as it is */
    assert_int_equal(write(fd, "\4x\n", 3), 3);
    await(stream, true, 3);
    assert_read(stream, "\4x\n");
    assert_int_equal(look(stream).readable, 0); /* no echo */
    assert_int_equal(stream_hang_up(&all, stream), -ENOTSUP);
    assert_int_equal(stream_send_break(&all, stream), -ENOTSUP);
    /* Two may have it; what one sets is gone with the last. */
    second = open(terminal(), O_RDWR | O_NOCTTY);
    assert_int_equal(tcgetattr(fd, &settings), 0);
    settings.c_lflag |= ECHO | ICANON;
    assert_int_equal(tcsetattr(fd, TCSANOW, &settings), 0);
    assert_int_equal(write(second, "last\n", 5), 5);
    close(fd);
    steps();
    assert_true(connected(stream));
    close(second);
    await(stream, false, 5);
    assert_read(stream, "last\n");
    fd = open(terminal(), O_RDWR | O_NOCTTY);
    await(stream, true, 0);
    assert_int_equal(tcgetattr(fd, &settings), 0);
    assert_int_equal(settings.c_lflag & (ECHO | ICANON), 0);
    close(fd);
    await(stream, false, 0);
}

static void test_pty_never_reads(void **state)
{
    struct vfu_stream *stream = make("pty:", "");
    int fd = open(terminal(), O_RDWR | O_NOCTTY);
    static char bytes[4096];
    uint64_t taken = 0;
    int64_t n;

    (void)state;
    await(stream, true, 0);
    while ((n = stream_write(&all, stream, bytes, sizeof bytes)) > 0) {
        taken += (uint64_t)n;
        assert_true(taken < 16u << 20);
        steps();
    }
    told = 0;
    steps();
    assert_int_equal(told & VFU_STREAM_WRITABLE, 0);
    close(fd); /* the bytes with it */
    await(stream, false, 0);
    assert_true(told & VFU_STREAM_WRITABLE);
    assert_int_equal(look(stream).room, 16384);
}

/* ---- file ---- */

static void test_file(void **state)
{
    struct vfu_stream *stream = make("file:", "");
    char got[64] = "";
    int fd;

    (void)state;
    assert_int_equal(say(stream, "one "), 4);
    steps();
    assert_int_equal(stream_close(&all, stream), 0);
    stream = make("file:", "");
    assert_int_equal(say(stream, "two"), 3);
    assert_int_equal(stream_close(&all, stream), 0); /* what was taken is written */
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, got, sizeof got), 7);
    assert_string_equal(got, "one two");
    close(fd);
    stream = make("file:", ",truncate");
    assert_int_equal(stream_close(&all, stream), 0);
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, got, sizeof got), 0);
    close(fd);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(open_as(&me, "file:", "", &stream), -EINVAL);
    odd_assert_said_once("is no plain file");
}

static void test_no_file(void **state)
{
    struct vfu_stream *stream;

    (void)state;
    assert_int_equal(symlink("/dev/full", path), 0);
    assert_int_equal(open_as(&me, "file:", "", &stream), -EINVAL);
    odd_assert_said_once("is no plain file");
}

/* ---- breaks ---- */

static void test_marks(void **state)
{
    struct vfu_stream *stream = make("unix:", ",marks");
    char got[16];
    int fd = call();

    (void)state;
    await(stream, true, 0);
    assert_int_equal(write(fd, "a\377\0\0b\377\377c\377\0x\377", 12), 12);
    await(stream, true, 12);
    assert_int_equal(stream_read(&all, stream, got, sizeof got), 1);
    assert_int_equal(got[0], 'a');
    assert_int_equal(stream_read(&all, stream, got, sizeof got), -EINTR);
    assert_int_equal(stream_read(&all, stream, got, sizeof got), 4);
    assert_memory_equal(got, "b\377cx", 4);
    assert_int_equal(stream_read(&all, stream, got, sizeof got), 0); /* the rest of it is to come */
    assert_int_equal(write(fd, "\0", 1), 1);
    steps();
    assert_int_equal(stream_read(&all, stream, got, sizeof got), 0);
    assert_int_equal(write(fd, "\0", 1), 1);
    steps();
    assert_int_equal(stream_read(&all, stream, got, sizeof got), -EINTR);
    assert_int_equal(stream_write(&all, stream, "1\3772", 3), 3);
    assert_int_equal(stream_send_break(&all, stream), 0);
    steps();
    assert_int_equal(read(fd, got, sizeof got), 7);
    assert_memory_equal(got, "1\377\3772\377\0\0", 7);
    close(fd);
}

/* A break that has no room is told when there is, as what is written is. */
static void test_break_without_room(void **state)
{
    struct vfu_stream *stream = make("unix:", ",marks");
    static char bytes[16384 - 1]; /* with marks each has to have room for two */
    int fd = call();

    (void)state;
    await(stream, true, 0);
    assert_int_equal(stream_write(&all, stream, bytes, sizeof bytes), sizeof bytes);
    told = 0;
    assert_int_equal(stream_send_break(&all, stream), -EAGAIN);
    steps();
    assert_true(told & VFU_STREAM_WRITABLE);
    assert_int_equal(stream_send_break(&all, stream), 0);
    steps();
    for (size_t n = sizeof bytes + 3; n;) {
        ssize_t some = recv(fd, bytes, sizeof bytes, 0);

        assert_true(some > 0);
        n -= (size_t)some;
    }
    close(fd);
}

/* ---- stopped, taken over ---- */

static void test_frozen(void **state)
{
    struct vfu_stream *stream = make("unix:", "");
    int fd = call();

    (void)state;
    await(stream, true, 0);
    streams_freeze(&all, true);
    steps();
    told = 0;
    assert_int_equal(write(fd, "later", 5), 5);
    close(fd);
    steps();
    assert_int_equal(told, 0);
    assert_int_equal(look(stream).readable, 0);
    streams_freeze(&all, false);
    await(stream, false, 5);
    assert_true(told & VFU_STREAM_READABLE);
    assert_true(told & VFU_STREAM_PEER);
    assert_read(stream, "later");
}

static void test_taken_over(void **state)
{
    struct vfu_stream *stream = make("unix:", ""), *newer;
    int fd = call();

    (void)state;
    await(stream, true, 0);
    assert_int_equal(write(fd, "one", 3), 3);
    steps();
    assert_int_equal(open_as(&other, "unix:", "", &newer), 0);
    told = 0;
    steps();
    assert_int_equal(told, VFU_STREAM_READABLE | VFU_STREAM_PEER);
    assert_read(stream, "");
    assert_read(newer, "one");
    /* The new one was not to be: the old has it again. */
    assert_int_equal(write(fd, "two", 3), 3);
    steps();
    streams_forget(&all, &other);
    assert_read(stream, "two");
    assert_int_equal(open_as(&other, "unix:", "", &newer), 0);
    streams_forget(&all, &me);
    assert_int_equal(stream_write(&all, newer, "three", 5), 5);
    steps();
    assert_heard(fd, "three");
    assert_true(connected(newer));
    close(fd);
}

/* ---- as a plugin has them ---- */

static const struct vfu_host_stream *extension;
static struct vfu_stream *theirs;

static int32_t create(const struct vfu_host *host)
{
    struct vfu_stream_spec spec = { .struct_size = sizeof spec, .spec = spec_text, .fn = on_event };

    extension = host->extension(host, VFU_EXT_STREAM);
    assert_non_null(extension);
    assert_int_equal(extension->open(host, &(struct vfu_stream_spec){ .struct_size = 8 }, &theirs), -EINVAL);
    return extension->open(host, &spec, &theirs);
}

/* A path that the operator has not given is not a device's to open. */
static void test_not_given(void **state)
{
    static const char *const prefixes[] = { "unix:", "file:", "pty:" };
    char module[PATH_MAX];
    struct stat st;

    (void)state;
    odd_plan.create = create;
    for (size_t i = 0; i < 3; i++) {
        odd_nlines = 0;
        snprintf(spec_text, sizeof spec_text, "%s%s", prefixes[i], path);
        assert_true(odd_make_with(odd_built(module, "tests/unit/.libs/odd_plugin.so"), NULL, 0, 0) < 0);
        odd_assert_said_once("is no parameter's value on the command line");
        odd_assert_said_once("stream open is given no name");
        assert_int_equal(lstat(path, &st), -1);
    }
}

static void step_device(void)
{
    for (int i = 0; i < 20; i++)
        loop_step(&odd_dev->loop);
}

static void test_plugin(void **state)
{
    struct vfu_stream_state now = { .struct_size = sizeof now };
    char got[8] = "";
    int fd;

    (void)state;
    snprintf(spec_text, sizeof spec_text, "pty");
    odd_plan.create = create;
    odd_make();
    assert_string_equal(odd_dev->streams.first->tty, ""); /* only looked at, for --dump */
    assert_int_equal(streams_start(&odd_dev->streams), 0);
    fd = open(odd_dev->streams.first->tty, O_RDWR | O_NOCTTY);
    assert_true(fd >= 0);
    step_device();
    assert_int_equal(told, VFU_STREAM_PEER);
    assert_int_equal(extension->look(odd_table, theirs, &now), 0);
    assert_int_equal(now.flags, VFU_STREAM_CONNECTED);
    assert_int_equal(write(fd, "hi", 2), 2);
    for (int i = 0; i < 4000 && !now.readable; i++) {
        step_device();
        assert_int_equal(extension->look(odd_table, theirs, &now), 0);
        odd_nap(MS);
    }
    assert_int_equal(extension->read(odd_table, theirs, got, sizeof got), 2);
    assert_int_equal(extension->send_break(odd_table, theirs), -ENOTSUP);
    assert_int_equal(extension->hang_up(odd_table, theirs), -ENOTSUP);
    /* A reset is none of its business; the end of the device is. */
    assert_int_equal(device_reset(odd_dev, VFU_RESET_BUS), 0);
    assert_int_equal(extension->write(odd_table, theirs, "ho", 2), 2);
    step_device();
    assert_heard(fd, "ho");
    device_free(odd_dev);
    odd_dev = NULL;
    assert_true(read(fd, got, 1) <= 0);
    close(fd);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_words),      TEST(test_null),   TEST(test_unix),  TEST(test_last_words),
        TEST(test_half_close), TEST(test_never_reads), TEST(test_flood), TEST(test_gone_in_the_middle),
        TEST(test_hang_up),    TEST(test_places), TEST(test_connect), TEST(test_pty),
        TEST(test_pty_never_reads), TEST(test_file), TEST(test_no_file), TEST(test_marks),
        TEST(test_break_without_room),
        TEST(test_frozen),     TEST(test_taken_over), TEST(test_not_given), TEST(test_plugin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
