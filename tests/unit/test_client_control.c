/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_client_control - the library's side of the control socket, with one at the other end that is late, never silent,
 * never ends a line, takes nothing, or is no control socket. That is a process of this file's own. One thread.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vfu/client.h>

#define SHORT (50 * VFUC_NS_PER_MS) /* where no answer ever comes */
#define NEVER 60 /* seconds until a test that hangs is ended */

static char dir[64], path[96];

struct fake {
    pid_t pid;
    struct vfuc_control *c;
};

/* ---- the other end ---- */

static void say(int fd, const char *text)
{
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
        _exit(0);
}

/* A request, whatever it is. */
static void hear(int fd)
{
    char c;

    do {
        if (read(fd, &c, 1) != 1)
            _exit(0);
    } while (c != '\n');
}

static void late(int fd)
{
    hear(fd);
    hear(fd);
    say(fd, "{\"ok\": true, \"value\": \"first\"}\n{\"event\": \"tick\"}\n{\"ok\": true, \"value\": \"second\"}\n");
    pause();
}

static void later(int fd)
{
    hear(fd);
    hear(fd);
    say(fd, "{\"ok\": true, \"value\": \"first\"}\n{\"event\": \"tick\"}\n");
    hear(fd);
    say(fd, "{\"ok\": true, \"value\": \"second\"}\n{\"ok\": false, \"error\": \"third\", \"errno\": \"ENODATA\"}\n");
    pause();
}

static void chatters(int fd)
{
    for (;;)
        say(fd, "{\"event\": \"tick\"}\n");
}

static void answers_unasked(int fd)
{
    for (;;)
        say(fd, "{\"ok\": true}\n");
}

static void endless(int fd)
{
    static char text[65536];

    memset(text, 'x', sizeof text - 1);
    for (;;)
        say(fd, text);
}

static void takes_nothing(int fd)
{
    (void)fd;
    pause();
}

static void other_words(int fd)
{
    hear(fd);
    say(fd, "220 smtp ready\n");
    pause();
}

static void vanishes(int fd)
{
    hear(fd);
}

static void fake_start(struct fake *fake, void (*run)(int fd))
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, path);
    unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    fake->pid = fork();
    assert_true(fake->pid >= 0);
    if (!fake->pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(accept(fd, NULL, NULL));
        _exit(0);
    }
    close(fd);
    alarm(NEVER);
    assert_int_equal(vfuc_control_open(path, &fake->c), 0);
}

static void fake_stop(struct fake *fake)
{
    alarm(0);
    vfuc_control_close(fake->c);
    kill(fake->pid, SIGKILL);
    waitpid(fake->pid, NULL, 0);
}

/* ---- tests ---- */

static void says(const struct fake *fake, const char *words)
{
    if (!strstr(vfuc_control_error(fake->c), words))
        fail_msg("not '%s': %s", words, vfuc_control_error(fake->c));
}

static int ask(struct fake *fake, const char **reply)
{
    return vfuc_control_call(fake->c, "{\"cmd\": \"info\"}", reply);
}

static void test_late(void **state)
{
    struct fake fake;
    const char *text = NULL;

    (void)state;
    fake_start(&fake, late);
    vfuc_control_timeout(fake.c, SHORT);
    assert_int_equal(ask(&fake, &text), -ETIMEDOUT);
    assert_null(text);
    says(&fake, "no answer within 0.05 s");
    vfuc_control_timeout(fake.c, 0);
    assert_int_equal(ask(&fake, &text), 0);
    assert_non_null(strstr(text, "second"));
    assert_int_equal(vfuc_control_event(fake.c, 0, &text), 1);
    assert_non_null(strstr(text, "tick"));
    assert_int_equal(vfuc_control_event(fake.c, 0, &text), 0);
    fake_stop(&fake);
}

/* A late answer is passed over by a wait for events, too, and counts as had. */
static void test_late_and_events(void **state)
{
    struct fake fake;
    const char *text = NULL;

    (void)state;
    fake_start(&fake, later);
    vfuc_control_timeout(fake.c, SHORT);
    assert_int_equal(ask(&fake, NULL), -ETIMEDOUT);
    assert_int_equal(ask(&fake, NULL), -ETIMEDOUT);
    assert_int_equal(vfuc_control_event(fake.c, UINT64_MAX, &text), 1);
    vfuc_control_timeout(fake.c, 0);
    assert_int_equal(ask(&fake, &text), -ENODATA);
    says(&fake, "third");
    fake_stop(&fake);
}

static void test_chatters(void **state)
{
    struct fake fake;
    const char *text;

    (void)state;
    fake_start(&fake, chatters);
    assert_int_equal(vfuc_control_event(fake.c, UINT64_MAX, &text), 1);
    vfuc_control_timeout(fake.c, SHORT);
    assert_int_equal(ask(&fake, NULL), -ETIMEDOUT);
    says(&fake, "no answer within");
    fake_stop(&fake);
}

static void test_answers_unasked(void **state)
{
    struct fake fake;
    const char *text;

    (void)state;
    fake_start(&fake, answers_unasked);
    assert_int_equal(vfuc_control_event(fake.c, SHORT, &text), 0);
    fake_stop(&fake);
}

static void test_endless(void **state)
{
    struct fake fake;

    (void)state;
    fake_start(&fake, endless);
    vfuc_control_timeout(fake.c, 0);
    assert_int_equal(ask(&fake, NULL), -EPROTO);
    says(&fake, "a line without an end");
    fake_stop(&fake);
}

static void test_takes_nothing(void **state)
{
    static char request[4 << 20];
    struct fake fake;
    const char *text;

    (void)state;
    memset(request, ' ', sizeof request - 1);
    memcpy(request, "{}", 2);
    fake_start(&fake, takes_nothing);
    vfuc_control_timeout(fake.c, SHORT);
    assert_int_equal(vfuc_control_call(fake.c, request, NULL), -ETIMEDOUT);
    says(&fake, "the request was not taken within 0.05 s");
    /* Behind half a request nothing can be asked. */
    assert_int_equal(ask(&fake, NULL), -ENOTCONN);
    assert_int_equal(vfuc_control_event(fake.c, 0, &text), -ENOTCONN);
    fake_stop(&fake);
}

static void test_other_words(void **state)
{
    struct fake fake;

    (void)state;
    fake_start(&fake, other_words);
    assert_int_equal(ask(&fake, NULL), -EPROTO);
    says(&fake, "no control socket of vfu-host");
    fake_stop(&fake);
}

static void test_vanishes(void **state)
{
    struct fake fake;

    (void)state;
    fake_start(&fake, vanishes);
    assert_int_equal(ask(&fake, NULL), -EPIPE);
    says(&fake, "has closed the connection");
    fake_stop(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_late_and_events),
        cmocka_unit_test(test_chatters),
        cmocka_unit_test(test_answers_unasked),
        cmocka_unit_test(test_endless),
        cmocka_unit_test(test_takes_nothing),
        cmocka_unit_test(test_other_words),
        cmocka_unit_test(test_vanishes),
    };
    const char *tmp = getenv("TMPDIR");
    int failed;

    snprintf(dir, sizeof dir, "%s/vfu-control.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof path, "%s/s.control", dir);
    failed = cmocka_run_group_tests_name("control socket", tests, NULL, NULL);
    unlink(path);
    return rmdir(dir) || failed;
}
