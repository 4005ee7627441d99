/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_process - sockets and processes: paths that are stale, live, impossible or a stranger's; inherited descriptors;
 * --once and --run; the end, at any moment. One thread.
 */
#define _GNU_SOURCE
#include "tests/robust/rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct rig rig;

static int start(void **state)
{
    (void)state;
    rig_open(&rig);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    rig_close(&rig);
    return 0;
}

static void serves(const char *socket)
{
    struct vfuc *c = rig_client(&rig, socket);

    rig_alive(c);
    vfuc_free(c);
}

/* A socket that listens at the path, and whose owner is this test. */
static int listener(const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", rig.dir, name);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

/* ---- paths */

static void stale_is_replaced(void **state)
{
    (void)state;
    close(listener("s"));
    assert_int_equal(access(rig_path(&rig, "s"), F_OK), 0);
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", NULL);
    assert_true(rig_says(&rig, "socket "));
    serves("s");
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    assert_int_not_equal(access(rig_path(&rig, "s"), F_OK), 0);
    /* The same after a host that was killed. */
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", NULL);
    serves("s");
    kill(rig.pid, SIGKILL);
    assert_int_equal(rig_wait(&rig), 128 + SIGKILL);
    assert_int_equal(access(rig_path(&rig, "s"), F_OK), 0);
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", NULL);
    assert_true(rig_says(&rig, "socket "));
    serves("s");
    assert_int_equal(rig_stop(&rig, SIGINT), 0);
}

static void live_is_left_alone(void **state)
{
    struct rig other;

    (void)state;
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", NULL);
    serves("s");
    other = rig;
    rename(rig_path(&rig, "log"), rig_path(&rig, "first"));
    assert_int_equal(rig_run(&other, "--plugin", "$edu", "--socket-path", "@s", NULL), 1);
    assert_int_equal(rig_said(&other, "/s is in use"), 1);
    serves("s");
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
}

static void impossible_paths(void **state)
{
    char text[400];

    (void)state;
    snprintf(text, sizeof text, "@%0150d", 0);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", text, NULL), 1);
    assert_int_equal(rig_said(&rig, "is too long"), 1);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@no/such/s", NULL), 1);
    assert_int_equal(rig_said(&rig, "cannot listen at"), 1);
    assert_int_equal(rig_said(&rig, "No such file or directory"), 1);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "/proc/s", NULL), 1);
    assert_int_equal(rig_said(&rig, "cannot listen at /proc/s"), 1);
    /* A second device's failure takes the first one's socket away again. */
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@a", "--plugin", "$edu", "--socket-path",
                             "@no/b", NULL), 1);
    assert_int_not_equal(access(rig_path(&rig, "a"), F_OK), 0);
    /* What is no socket is nobody's to replace. */
    rig_write(&rig, "file", "precious");
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@file", NULL), 1);
    assert_int_equal(rig_said(&rig, "is no socket"), 1);
    assert_int_equal(access(rig_path(&rig, "file"), F_OK), 0);
}

/* A path as long as a socket's may be leaves no room for a name beside it. */
static void longest_path(void **state)
{
    struct sockaddr_un address;
    char text[sizeof address.sun_path + 2];
    int n = (int)(sizeof address.sun_path - 1 - strlen(rig.dir) - 1);

    (void)state;
    snprintf(text, sizeof text, "@%0*d", n, 0);
    for (int i = 0; i < 2; i++) {
        rig_start(&rig, "--plugin", "$edu", "--socket-path", text, NULL);
        serves(text + 1);
        kill(rig.pid, i ? SIGTERM : SIGKILL);
        assert_int_equal(rig_wait(&rig), i ? 0 : 128 + SIGKILL);
    }
    snprintf(text, sizeof text, "@%0*d", n + 1, 0);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", text, NULL), 1);
}

static void before_runtime(struct rig *r)
{
    setenv("XDG_RUNTIME_DIR", r->dir, 1);
}

static void default_folder(void **state)
{
    struct stat st;

    (void)state;
    rig.before = before_runtime;
    /* Two of one name: the second gets a number. */
    rig_start(&rig, "--plugin", "$edu", "--plugin", "$edu", NULL);
    serves("vfu/edu.sock");
    serves("vfu/edu-2.sock");
    assert_int_equal(stat(rig_path(&rig, "vfu"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    assert_int_not_equal(access(rig_path(&rig, "vfu/edu.sock"), F_OK), 0);
    assert_int_not_equal(access(rig_path(&rig, "vfu/edu-2.sock"), F_OK), 0);
    /* Others may look in: not this one. */
    assert_int_equal(chmod(rig_path(&rig, "vfu"), 0750), 0);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", NULL), 1);
    assert_int_equal(rig_said(&rig, "is not private to this user"), 1);
    assert_int_equal(rmdir(rig_path(&rig, "vfu")), 0);
    /* A link to a folder that is private all the same. */
    assert_int_equal(mkdir(rig_path(&rig, "real"), 0700), 0);
    assert_int_equal(symlink("real", rig_path(&rig, "vfu")), 0);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", NULL), 1);
    assert_int_equal(rig_said(&rig, "is not private to this user"), 1);
    assert_int_equal(unlink(rig_path(&rig, "vfu")), 0);
    if (geteuid() != 0)
        return;
    assert_int_equal(mkdir(rig_path(&rig, "vfu"), 0700), 0);
    assert_int_equal(chown(rig_path(&rig, "vfu"), 12345, (gid_t)-1), 0);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", NULL), 1);
    assert_int_equal(rig_said(&rig, "is not private to this user"), 1);
}

/* ---- descriptors */

static void before_fd(struct rig *r)
{
    dup2(r->fd, 7);
}

static void inherited(void **state)
{
    int pair[2];
    struct vfuc *c = vfuc_new(NULL);

    (void)state;
    rig.before = before_fd;
    rig.fd = listener("s");
    rig_start(&rig, "--plugin", "$edu", "--fd", "7", NULL);
    close(rig.fd);
    serves("s");
    serves("s");
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    assert_int_equal(access(rig_path(&rig, "s"), F_OK), 0); /* not its own to remove */
    /* Connected: it serves that one client, and ends with it. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    rig.fd = pair[1];
    rig_start(&rig, "--plugin", "$edu", "--fd", "7", NULL);
    close(pair[1]);
    assert_int_equal(vfuc_attach(c, pair[0]), 0);
    rig_alive(c);
    vfuc_free(c);
    assert_int_equal(rig_wait(&rig), 0);
    rig.before = NULL;
}

/* A refused descriptor ends the host with 1, and one line says which it is and what is wrong. Takes `fd`. */
static void refused(int fd, const char *says)
{
    assert_true(fd >= 0);
    rig.before = before_fd;
    rig.fd = fcntl(fd, F_DUPFD_CLOEXEC, 20); /* 7 itself would keep its FD_CLOEXEC */
    close(fd);
    assert_true(rig.fd >= 0);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--fd", "7", NULL), 1);
    close(rig.fd);
    rig.before = NULL;
    assert_int_equal(rig_said(&rig, says), 1);
    assert_int_equal(rig_said(&rig, ""), 1);
}

static void unfit_descriptors(void **state)
{
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
    refused(pair[0], "descriptor 7 is a socket, but no stream socket");
    close(pair[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    refused(pair[0], "descriptor 7 is a socket, but no stream socket");
    close(pair[1]);
    refused(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
            "descriptor 7 is a socket that neither listens nor is connected");
    rig_write(&rig, "file", "no socket");
    refused(open(rig_path(&rig, "file"), O_RDWR | O_CLOEXEC), "descriptor 7 is no socket");
    rig.before = before_fd;
    rig.fd = listener("s");
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--fd", "7", "--plugin", "$edu", "--fd", "7", NULL), 1);
    assert_int_equal(rig_said(&rig, "--fd 7 is another device's already"), 1);
    close(rig.fd);
    rig.before = NULL;
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    refused(pair[0], "descriptor 7 is no socket");
    close(pair[1]);
}

static void before_closed(struct rig *r)
{
    (void)r;
    for (int fd = 3; fd < 40; fd++)
        close(fd);
}

/* The number of a descriptor that is not open is not taken for that of the host's own, which it gives it later: with
 * --socket-path before it, that might be the other device's socket. */
static void closed_descriptors(void **state)
{
    char number[8];

    (void)state;
    rig.before = before_closed;
    for (int fd = 3; fd < 40; fd++) {
        snprintf(number, sizeof number, "%d", fd);
        assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@s", "--plugin", "$edu", "--fd", number, NULL), 1);
        snprintf(number, sizeof number, "%d:", fd);
        assert_int_equal(rig_said(&rig, number), 1);
        assert_int_equal(rig_said(&rig, "--fd "), 1);
        assert_int_equal(rig_said(&rig, "is not open"), 1);
        assert_int_equal(rig_said(&rig, ""), 1);
        assert_int_not_equal(access(rig_path(&rig, "s"), F_OK), 0);
    }
    rig.before = NULL;
}

static void before_activation(struct rig *r)
{
    char pid[16];

    dup2(r->fd, 20);
    dup2(20, 3);
    dup2(r->fd + 1, 4);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
    setenv("LISTEN_FDS", "2", 1);
}

static void before_foreign_activation(struct rig *r)
{
    before_activation(r);
    setenv("LISTEN_PID", "1", 1);
    setenv("XDG_RUNTIME_DIR", r->dir, 1);
}

static void activation(void **state)
{
    int fds[2] = { listener("a"), listener("b") };

    (void)state;
    rig.fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 100);
    assert_int_equal(fcntl(fds[1], F_DUPFD_CLOEXEC, rig.fd + 1), rig.fd + 1);
    close(fds[0]);
    close(fds[1]);
    rig.before = before_activation;
    rig_start(&rig, "--plugin", "$edu", "--plugin", "$lua", "--run",
              "test -z \"$LISTEN_FDS$LISTEN_PID\" && sleep 0.3", NULL);
    serves("a");
    serves("b");
    assert_int_equal(rig_wait(&rig), 0);
    /* Another process' sockets are not ours. */
    rig.before = before_foreign_activation;
    rig_start(&rig, "--plugin", "$edu", NULL);
    serves("vfu/edu.sock");
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    close(rig.fd);
    close(rig.fd + 1);
}

/* ---- the end */

static void once(void **state)
{
    struct vfuc *c;

    (void)state;
    rig_start(&rig, "--once", "--plugin", "$edu", "--socket-path", "@s", NULL);
    c = rig_client(&rig, "s");
    rig_alive(c);
    vfuc_free(c);
    assert_int_equal(rig_wait(&rig), 0);
    assert_int_not_equal(access(rig_path(&rig, "s"), F_OK), 0);
    /* A client that is killed counts, and so does one that never said a word. */
    rig_start(&rig, "--once", "--plugin", "$edu", "--socket-path", "@s", NULL);
    close(rig_connect(&rig, "s"));
    assert_int_equal(rig_wait(&rig), 0);
}

/* What a client sends before it goes, and that it goes, may arrive as one: the end is seen all the same. */
static void last_words(void **state)
{
    const struct {
        struct vfu_msg_header header;
        struct vfu_msg_region_access access;
        uint32_t value;
    } posted = { { 5, VFU_CMD_REGION_WRITE, 36, VFU_MSG_NO_REPLY, 0 }, { RIG_LIVE, 0, 4 }, 7 };
    struct vfuc *c;

    (void)state;
    rig_start(&rig, "--once", "--plugin", "$edu", "--socket-path", "@s", NULL);
    c = rig_client(&rig, "s");
    assert_int_equal(kill(rig.pid, SIGSTOP), 0);
    assert_int_equal(waitpid(rig.pid, NULL, WUNTRACED), rig.pid);
    rig_send(vfuc_fd(c), &posted, sizeof posted);
    vfuc_free(c);
    assert_int_equal(kill(rig.pid, SIGCONT), 0);
    assert_int_equal(rig_wait(&rig), 0);
}

static void run_a_command(void **state)
{
    (void)state;
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@s", "--run",
                             "test -S \"$VFU_SOCKET\" && \"$VFU_CLIENT\" \"$VFU_SOCKET\" read bar0 0", NULL), 0);
    assert_int_equal(rig_said(&rig, "0x010000ed"), 1);
    assert_int_not_equal(access(rig_path(&rig, "s"), F_OK), 0);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@s", "--run", "exit 7", NULL), 7);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@s", "--run", "kill -9 $$", NULL), 137);
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@s", "--run", "/no/such/program", NULL), 127);
}

/* A client of the command's that goes away is not the end of it, and the command's status is the host's. */
static void run_once(void **state)
{
    static const char *const left[] = { "s", "s.control" };

    (void)state;
    assert_int_equal(rig_run(&rig, "--once", "--plugin", "$edu", "--socket-path", "@s", "--run",
                             "\"$VFU_CLIENT\" \"$VFU_SOCKET\" read bar0 0 && \"$VFU_CLIENT\" \"$VFU_SOCKET\" read bar0 0; "
                             "test $? = 0 || exit 1; sleep 0.1; exit 5", NULL), 5);
    assert_int_equal(rig_said(&rig, "0x010000ed"), 2);
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        assert_int_not_equal(access(rig_path(&rig, left[i]), F_OK), 0);
    /* Without any client the command's end is the end. */
    assert_int_equal(rig_run(&rig, "--once", "--plugin", "$edu", "--socket-path", "@s", "--run", "exit 6", NULL), 6);
    assert_int_equal(rig_run(&rig, "--once", "--plugin", "$edu", "--socket-path", "@s", "--run", "kill -9 $$", NULL), 137);
    assert_int_equal(rig_run(&rig, "--once", "--plugin", "$edu", "--socket-path", "@s", "--run", "true", NULL), 0);
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        assert_int_not_equal(access(rig_path(&rig, left[i]), F_OK), 0);
}

static void run_is_stopped(void **state)
{
    (void)state;
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", "--run",
              "trap 'echo told to stop; exit 0' TERM; echo under way; while :; do sleep 0.05; done", NULL);
    assert_true(rig_says(&rig, "under way"));
    serves("s");
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    assert_true(rig_says(&rig, "told to stop"));
}

/* In the middle of everything: replies under way, writes queued, a DMA unanswered. */
static void stopped_at_work(void **state)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP };

    (void)state;
    for (int i = 0; i < 6; i++) {
        struct vfuc *c;
        uint64_t value;
        void *memory;

        rig_start(&rig, "--plugin", i % 2 ? "$edu" : "$lua", "--socket-path", "@s", NULL);
        c = rig_client(&rig, "s");
        assert_true(vfuc_memory_new(c, 0x300000, 65536, VFUC_DMA_RW | VFUC_DMA_MESSAGES, &memory) >= 0);
        assert_true(vfuc_put(c, VFUC_BAR(0), 0x80, 8, 0x300000) >= 0);
        assert_true(vfuc_put(c, VFUC_BAR(0), 0x88, 8, 0x40000) >= 0);
        assert_true(vfuc_put(c, VFUC_BAR(0), RIG_COUNT, 8, 4096) >= 0);
        assert_true(vfuc_put(c, VFUC_BAR(0), 0x98, 8, 1) >= 0);
        for (uint32_t k = 0; k < 20000; k++)
            assert_true(vfuc_post(c, VFUC_BAR(0), RIG_LIVE, &k, 4) >= 0);
        kill(rig.pid, signals[i % 3]);
        while (vfuc_get(c, VFUC_BAR(0), 0, 4, &value) >= 0)
            ;
        assert_int_equal(rig_wait(&rig), 0);
        assert_int_not_equal(access(rig_path(&rig, "s"), F_OK), 0);
        vfuc_free(c);
    }
}

static void before_nohup(struct rig *r)
{
    (void)r;
    signal(SIGHUP, SIG_IGN);
}

/* A terminal that goes takes the host along, unless somebody has said nohup. */
static void hung_up(void **state)
{
    (void)state;
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", NULL);
    serves("s");
    assert_int_equal(rig_stop(&rig, SIGHUP), 0);
    assert_int_not_equal(access(rig_path(&rig, "s"), F_OK), 0);
    assert_int_not_equal(access(rig_path(&rig, "s.control"), F_OK), 0);
    /* --run's command gets a signal of its own from the terminal, or SIGTERM from the host. */
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", "--run",
              "trap 'echo told to stop; exit 0' TERM; echo under way; while :; do sleep 0.05; done", NULL);
    assert_true(rig_says(&rig, "under way"));
    assert_int_equal(rig_stop(&rig, SIGHUP), 0);
    assert_true(rig_says(&rig, "told to stop"));
    assert_int_not_equal(access(rig_path(&rig, "s"), F_OK), 0);
    /* Ignored, also by what it starts. */
    rig.before = before_nohup;
    assert_int_equal(rig_run(&rig, "--plugin", "$edu", "--socket-path", "@s", "--run", "kill -HUP $$; exit 3", NULL), 3);
    rig_start(&rig, "--plugin", "$edu", "--socket-path", "@s", NULL);
    serves("s");
    kill(rig.pid, SIGHUP);
    serves("s");
    assert_int_equal(rig_stop(&rig, SIGTERM), 0);
    rig.before = NULL;
}

/* Signals that come before the host is up, and one after the other. */
static void stopped_early(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 30; i++) {
        int status;

        rig_start(&rig, "--plugin", "$lua", "--socket-path", "@s", NULL);
        usleep(i * 300);
        kill(rig.pid, i % 2 ? SIGTERM : SIGHUP);
        kill(rig.pid, SIGINT);
        status = rig_wait(&rig);
        /* Before it blocks them a signal ends it the plain way. */
        assert_true(status == 0 || status == 128 + SIGTERM || status == 128 + SIGINT || status == 128 + SIGHUP);
        assert_int_not_equal(access(rig_path(&rig, "s"), F_OK), 0);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(stale_is_replaced), TEST(live_is_left_alone), TEST(impossible_paths), TEST(longest_path),
        TEST(default_folder),    TEST(inherited),          TEST(activation),       TEST(once),
        TEST(last_words),        TEST(unfit_descriptors),  TEST(closed_descriptors), TEST(run_once),
        TEST(hung_up),
        TEST(run_a_command),     TEST(run_is_stopped),     TEST(stopped_at_work),  TEST(stopped_early),
    };

    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
