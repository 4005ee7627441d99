/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_spawn - servers that the client library starts. The server is this program itself, told by its first argument
 * what to do. One thread.
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vfu/client.h>

static char self[4096];

/* ---- the server's side ---- */

static void listen_at(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1))
        _exit(99);
}

static int serve(const char *how, const char *path)
{
    printf("out of %s\n", how);
    fflush(stdout);
    fprintf(stderr, "err of %s\n", how);
    if (!strcmp(how, "fail"))
        return 7;
    if (!strcmp(how, "deaf"))
        signal(SIGTERM, SIG_IGN);
    if (strcmp(how, "mute") != 0)
        listen_at(path);
    for (;;)
        pause();
}

/* ---- the client's ---- */

static struct vfuc_spawn *new_spawn(uint64_t timeout_ns, uint32_t flags)
{
    struct vfuc_spawn_options options = { .struct_size = sizeof options, .timeout_ns = timeout_ns, .flags = flags };
    struct vfuc_spawn *s = vfuc_spawn_new(&options);

    assert_non_null(s);
    return s;
}

static int start(struct vfuc_spawn *s, const char *how)
{
    const char *argv[] = { self, "serve", how, "{socket}", "with {socket}, twice: {socket}", NULL };

    return vfuc_spawn_start(s, argv);
}

static void test_life(void **state)
{
    struct vfuc_spawn *s = new_spawn(0, 0);
    char log[256], folder[256];
    struct stat st;
    int status = 0;

    (void)state;
    assert_int_equal(vfuc_spawn_pid(s), 0);
    assert_int_equal(vfuc_spawn_ended(s, NULL), -ESRCH);
    assert_int_equal(vfuc_spawn_stop(s, NULL), -ESRCH);
    assert_int_equal(start(s, "good"), 0);
    assert_int_equal(stat(vfuc_spawn_socket(s), &st), 0);
    assert_true(vfuc_spawn_pid(s) > 0);
    assert_int_equal(kill(vfuc_spawn_pid(s), 0), 0);
    assert_int_equal(vfuc_spawn_ended(s, NULL), 0);
    assert_int_equal(start(s, "good"), -EISCONN);
    assert_int_equal(vfuc_spawn_stop(s, &status), 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    assert_int_equal(vfuc_spawn_ended(s, &status), 1);
    assert_int_equal(vfuc_spawn_pid(s), 0);
    assert_int_equal(vfuc_spawn_log(s, log, sizeof log), strlen("out of good\nerr of good\n"));
    assert_string_equal(log, "out of good\nerr of good\n");
    assert_int_equal(vfuc_spawn_log(s, log, 6), 5);
    assert_string_equal(log, "good\n");

    /* once more, over the socket that was left; the log goes on */
    assert_int_equal(start(s, "good"), 0);
    assert_int_equal(vfuc_spawn_log(s, log, sizeof log), 2 * strlen("out of good\nerr of good\n"));
    snprintf(folder, sizeof folder, "%s", vfuc_spawn_socket(s));
    *strrchr(folder, '/') = '\0';
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    vfuc_spawn_free(s);
    assert_int_equal(stat(folder, &st), -1);
    vfuc_spawn_free(NULL);
}

static void test_failures(void **state)
{
    const char *const nothing[] = { "/nowhere/at all", NULL }, *const none[] = { NULL };
    struct vfuc_spawn *s = new_spawn(UINT64_C(300000000), VFUC_SPAWN_NO_STDOUT);
    char log[256], text[64];
    int status;

    (void)state;
    assert_int_equal(vfuc_spawn_start(s, nothing), -ENOENT);
    assert_string_equal(vfuc_spawn_error(s), "cannot execute /nowhere/at all: No such file or directory");
    assert_int_equal(vfuc_spawn_start(s, none), -EINVAL);
    assert_int_equal(start(s, "fail"), -ECHILD);
    assert_non_null(strstr(vfuc_spawn_error(s), " ended with status 7 before it listened"));
    vfuc_spawn_log(s, log, sizeof log);
    assert_string_equal(log, "err of fail\n");
    assert_int_equal(start(s, "mute"), -ETIMEDOUT);
    assert_non_null(strstr(vfuc_spawn_error(s), " did not listen at "));
    assert_int_equal(vfuc_spawn_pid(s), 0);
    assert_int_equal(start(s, "deaf"), 0);
    assert_int_equal(vfuc_spawn_stop(s, &status), -ETIMEDOUT);
    assert_string_equal(vfuc_spawn_status(status, text, sizeof text), "signal 9 (Killed)");
    assert_int_equal(start(s, "good"), 0);
    assert_int_equal(vfuc_spawn_kill(s, &status), 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    vfuc_spawn_free(s);
}

/* However the client ends, its server does too. */
static void test_orphan(void **state)
{
    struct { int pid; char folder[128]; } told = { 0 };
    int pipe_fds[2], pid;
    pid_t client;

    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    client = fork();
    if (client == 0) {
        struct vfuc_spawn *s = vfuc_spawn_new(NULL);

        if (!s || start(s, "good"))
            _exit(1);
        told.pid = vfuc_spawn_pid(s);
        snprintf(told.folder, sizeof told.folder, "%s", vfuc_spawn_socket(s));
        (void)!write(pipe_fds[1], &told, sizeof told);
        pause();
    }
    assert_int_equal(read(pipe_fds[0], &told, sizeof told), sizeof told);
    pid = told.pid;
    assert_int_equal(kill(pid, 0), 0);
    kill(client, SIGKILL);
    assert_int_equal(waitpid(client, NULL, 0), client);
    for (int i = 0; i < 1000; i++) {
        char path[64], line[256] = "";
        FILE *f;

        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        f = fopen(path, "r");
        if (!f || !fgets(line, sizeof line, f) || strstr(line, ") Z") || strstr(line, ") X"))
            pid = 0;
        if (f)
            fclose(f);
        if (!pid)
            break;
        usleep(5000);
    }
    assert_int_equal(pid, 0);
    /* the folder is what a client leaves that is killed */
    unlink(told.folder);
    strcpy(strrchr(told.folder, '/'), "/log");
    unlink(told.folder);
    *strrchr(told.folder, '/') = '\0';
    assert_int_equal(rmdir(told.folder), 0);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void test_options(void **state)
{
    struct vfuc_spawn_options options = { .struct_size = sizeof options, .flags = 1u << 9 };

    (void)state;
    assert_null(vfuc_spawn_new(&options));
    options.flags = 0;
    options.struct_size = 4;
    assert_null(vfuc_spawn_new(&options));
    options.struct_size = sizeof options;
    options.folder = "/nowhere/at all";
    assert_null(vfuc_spawn_new(&options));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_orphan),
        cmocka_unit_test(test_options),
    };

    if (argc > 3 && !strcmp(argv[1], "serve"))
        return serve(argv[2], argv[3]);
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        return 99;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
