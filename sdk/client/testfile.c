/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * testfile - the process of one file of tests. It loads the file, and forks a process for each test, which so has a Lua
 * state and devices of its own; it sees how each ends, and stops those that do not. One thread.
 *
 * A time limit has three steps, half a second and then two apart: a hook that raises where the script is; where that is
 * inside a call that does not come back, the line is noted and the process ends; and else the parent kills it.
 */
#define _GNU_SOURCE
#include "sdk/client/testrun.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sdk/client/lua.h"
#include "sdk/client/text.h"

#define OUTPUT_MAX 65536u
#define GRACE_MS 500
#define LAST_MS 2500
#define ORPHANED SIGRTMAX /* a script has no use for it */

struct running {
    pid_t pid;
    int test; /* 0: the place is free */
    double start, limit;
    bool killed;
};

struct worker {
    const struct test_run *run;
    const char *path;
    char folder[96];
    int out;
    lua_State *L;
    json_t *tests; /* what runner.list() says */
    struct running *running;
    int nrunning, next; /* next: of the tests, from 0 */
};

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* ---- the time limit of this process ---- */

static struct {
    lua_State *L;
    volatile sig_atomic_t hits;
    double seconds;
    int fd; /* where the line is noted */
    char text[64];
} limit = { .fd = -1 };

/* The innermost line of the script. Allocates nothing: it runs in the signal's handler too. */
static bool script_line(lua_State *L, lua_Debug *ar)
{
    for (int level = 0; level < 100 && lua_getstack(L, level, ar); level++) {
        lua_getinfo(L, "Sl", ar);
        if (ar->currentline > 0 && strncmp(ar->source, "=vfu.", 5) != 0)
            return true;
    }
    return false;
}

/* Raises in the script itself, again and again in one that catches errors, but never in the module that runs it. */
static void limit_hook(lua_State *L, lua_Debug *unused)
{
    lua_Debug ar;
    int level = 0;

    (void)unused;
    while (lua_getstack(L, level++, &ar) && lua_getinfo(L, "Sl", &ar) && ar.currentline <= 0)
        ;
    if (ar.currentline <= 0 || strncmp(ar.source, "=vfu.", 5) == 0)
        return;
    lua_pushfstring(L, "%s:%d%s", ar.short_src, ar.currentline, limit.text);
    lua_error(L);
}

/* FILE:LINE and the text, with what is safe in a signal's handler. */
static void note_line(const lua_Debug *ar)
{
    char digits[16] = "", *first = digits + sizeof digits - 1;

    for (int n = ar->currentline; n > 0; n /= 10)
        *--first = (char)('0' + n % 10);
    if (write(limit.fd, ar->short_src, strlen(ar->short_src)) > 0 && write(limit.fd, ":", 1) > 0 &&
        write(limit.fd, first, strlen(first)) > 0)
        (void)!write(limit.fd, limit.text, strlen(limit.text));
}

static void limit_alarm(int number)
{
    lua_Debug ar;

    (void)number;
    if (limit.hits++ == 0) {
        lua_sethook(limit.L, limit_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
        return;
    }
    /* The script waits inside a function of C, so that its stack stands still. */
    if (script_line(limit.L, &ar))
        note_line(&ar);
    _exit(124);
}

static void limit_set(double seconds)
{
    struct itimerval timer = { .it_value = { (time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6) } };

    if (seconds > 0)
        timer.it_interval.tv_usec = GRACE_MS * 1000;
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void limit_start(lua_State *L, double seconds, const char *folder)
{
    struct sigaction action = { .sa_handler = limit_alarm, .sa_flags = SA_RESTART };
    char path[160];

    snprintf(path, sizeof path, "%s/hang", folder);
    limit.fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    limit.L = L;
    limit.hits = 0;
    limit.seconds = seconds;
    snprintf(limit.text, sizeof limit.text, ": it hung here: the time limit of %g s is over", seconds);
    sigaction(SIGALRM, &action, NULL);
    limit_set(seconds);
}

/* Ends the limit: true if it was reached. */
static bool limit_over(lua_State *L)
{
    limit_set(0);
    lua_sethook(L, NULL, 0, 0);
    return limit.hits > 0;
}

static int core_limit_over(lua_State *L)
{
    bool hit = limit_over(L);

    lua_pushboolean(L, hit);
    if (!hit)
        limit_set(limit.seconds < 5 ? 5 : limit.seconds); /* what is to be done at the end has a time of its own */
    return 1;
}

/* ---- files ---- */

/* The last bytes of the file; NULL if it is empty or not there. */
static json_t *read_text(const char *folder, const char *name)
{
    static char bytes[OUTPUT_MAX];
    char path[192];
    ssize_t n = -1;
    int fd;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        struct stat st;

        if (fstat(fd, &st) == 0 && st.st_size > (off_t)sizeof bytes)
            lseek(fd, -(off_t)sizeof bytes, SEEK_END);
        n = read(fd, bytes, sizeof bytes);
        close(fd);
    }
    return n > 0 ? text_json(bytes, (size_t)n) : NULL;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    remove(path);
    return 0;
}

static void remove_folder(const char *folder)
{
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* What the script prints goes to a file; it is shown where something failed. */
static void redirect(const char *folder)
{
    char path[160];
    int fd;

    snprintf(path, sizeof path, "%s/output", folder);
    fflush(stdout);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    dup2(fd, 1);
    dup2(fd, 2);
    close(fd);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

/* ---- telling the parent ---- */

static void tell(const struct worker *w, json_t *what)
{
    char *line = what ? json_dumps(what, JSON_COMPACT) : NULL;
    size_t left = line ? strlen(line) : 0;

    json_decref(what);
    if (!line)
        return;
    line[left++] = '\n';
    for (const char *at = line; left > 0;) {
        ssize_t n = write(w->out, at, left);

        if (n < 0 && errno != EINTR)
            break;
        at += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    free(line);
}

/* ---- one test, in its own process ---- */

static int run_test(lua_State *L)
{
    const char *folder = lua_tostring(L, 1);

    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "vfu.client.core");
    lua_getfield(L, -1, "runner");
    lua_pushstring(L, folder);
    lua_setfield(L, -2, "folder");
    lua_getfield(L, -1, "run");
    lua_pushvalue(L, 2);
    lua_call(L, 1, 1);
    return 1;
}

/* The parent is gone: what the test has started goes, too. */
static void orphaned(int number)
{
    (void)number;
    kill(0, SIGKILL);
}

static void test_process(struct worker *w, int test, double seconds, pid_t parent) __attribute__((noreturn));
static void test_process(struct worker *w, int test, double seconds, pid_t parent)
{
    struct sigaction action = { .sa_handler = orphaned };
    char folder[160], path[192];
    json_t *result;
    sigset_t none;

    setpgid(0, 0);
    sigaction(ORPHANED, &action, NULL);
    prctl(PR_SET_PDEATHSIG, ORPHANED);
    if (getppid() != parent)
        _exit(99);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    close(w->out);
    close(w->run->tokens[0]);
    close(w->run->tokens[1]);
    snprintf(folder, sizeof folder, "%s/%d", w->folder, test);
    if (mkdir(folder, 0700) < 0)
        _exit(99);
    redirect(folder);
    lua_settop(w->L, 0);
    lua_pushcfunction(w->L, luastate_traceback);
    lua_pushcfunction(w->L, run_test);
    lua_pushstring(w->L, folder);
    lua_pushinteger(w->L, test);
    limit_start(w->L, seconds, folder);
    if (lua_pcall(w->L, 2, 1, 1)) {
        limit_over(w->L);
        result = json_pack("{s:s, s:o}", "status", "failed", "message", luajson_get(w->L, -1));
    } else {
        limit_over(w->L);
        result = luajson_get(w->L, -1);
    }
    snprintf(path, sizeof path, "%s/result", folder);
    if (!result || json_dump_file(result, path, JSON_COMPACT))
        _exit(98);
    fflush(NULL);
    _exit(0);
}

/* ---- the file's process ---- */

static double limit_of(const struct worker *w, int test)
{
    double own = json_number_value(json_object_get(json_array_get(w->tests, (size_t)test - 1), "timeout"));

    return own > 0 ? own : w->run->limit;
}

static void start_test(struct worker *w, int test)
{
    double seconds = limit_of(w, test);
    struct running *slot = w->running;
    pid_t parent = getpid(), pid;

    while (slot->test)
        slot++;
    tell(w, json_pack("{s:i}", "start", test));
    pid = fork();
    if (pid == 0)
        test_process(w, test, seconds, parent);
    if (pid < 0) {
        tell(w, json_pack("{s:i, s:s, s:s}", "result", test, "status", "failed", "message",
                          "cannot start a process for it"));
        (void)!write(w->run->tokens[1], "", 1);
        return;
    }
    setpgid(pid, pid);
    *slot = (struct running){ .pid = pid, .test = test, .start = now(), .limit = seconds };
    w->nrunning++;
}

/* What is known of a test whose process has left no result. */
static json_t *broken_result(const struct running *slot, const char *folder, int status)
{
    json_t *line = read_text(folder, "hang");
    char text[128], how[64];

    if (line)
        return json_pack("{s:s, s:o, s:b}", "status", "failed", "message", line, "hang", 1);
    if (slot->killed)
        snprintf(text, sizeof text, "it hung: the time limit of %g s is over", slot->limit);
    else
        snprintf(text, sizeof text, "the test's process ended with %s", vfuc_spawn_status(status, how, sizeof how));
    return json_pack("{s:s, s:s, s:b}", "status", "failed", "message", text, "hang", slot->killed);
}

static int add_log(const char *path, const struct stat *st, int kind, struct FTW *ftw);
static json_t *found_log;

/* The log of a host whose test has ended without collecting it. */
static int add_log(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    if (kind == FTW_F && !strcmp(path + ftw->base, "log") && !found_log) {
        char folder[192];

        snprintf(folder, sizeof folder, "%.*s", ftw->base - 1, path);
        found_log = read_text(folder, "log");
    }
    return 0;
}

static void end_test(struct worker *w, struct running *slot, int status)
{
    char folder[160], path[192];
    json_t *result, *output;

    snprintf(folder, sizeof folder, "%s/%d", w->folder, slot->test);
    snprintf(path, sizeof path, "%s/result", folder);
    result = json_load_file(path, 0, NULL);
    if (!result) {
        result = broken_result(slot, folder, status);
        found_log = NULL;
        nftw(folder, add_log, 8, FTW_PHYS);
        if (found_log)
            json_object_set_new(result, "log", found_log);
    }
    output = read_text(folder, "output");
    if (output)
        json_object_set_new(result, "output", output);
    json_object_set_new(result, "result", json_integer(slot->test));
    json_object_set_new(result, "seconds", json_real(now() - slot->start));
    tell(w, result);
    remove_folder(folder);
    slot->test = 0;
    w->nrunning--;
    (void)!write(w->run->tokens[1], "", 1);
}

static void reap(struct worker *w)
{
    for (int i = 0; i < w->run->jobs; i++) {
        struct running *slot = &w->running[i];
        siginfo_t info = { 0 };
        int status;

        if (!slot->test || waitid(P_PID, (id_t)slot->pid, &info, WEXITED | WNOHANG | WNOWAIT) || !info.si_pid)
            continue;
        kill(-slot->pid, SIGKILL); /* what it may have left behind; its own number is still taken */
        if (waitpid(slot->pid, &status, 0) == slot->pid)
            end_test(w, slot, status);
    }
}

static void kill_all(const struct worker *w)
{
    for (int i = 0; i < w->run->jobs; i++) {
        if (w->running[i].test)
            kill(-w->running[i].pid, SIGKILL);
    }
}

/* Kills what has outlived its limit, its notice and the time to clean up: milliseconds until the next look. */
static int watch_limits(struct worker *w)
{
    double next = 3600, t = now();

    for (int i = 0; i < w->run->jobs; i++) {
        struct running *slot = &w->running[i];
        double left = slot->start + 2 * slot->limit + 5 + LAST_MS * 1e-3 - t;

        if (!slot->test || slot->killed)
            continue;
        if (left <= 0) {
            slot->killed = true;
            kill(-slot->pid, SIGKILL);
        } else if (left < next) {
            next = left;
        }
    }
    return (int)(next * 1000) + 1;
}

/* Whether the test is to be run; those that are left out are told of. */
static bool wanted(const struct worker *w, int test)
{
    const json_t *about = json_array_get(w->tests, (size_t)test - 1);
    const char *skip = json_string_value(json_object_get(about, "skip"));

    if (w->run->filtered && regexec(&w->run->filter, json_string_value(json_object_get(about, "name")), 0, NULL, 0))
        return false;
    if (skip)
        tell(w, json_pack("{s:i, s:s, s:s}", "result", test, "status", "skipped", "message", skip));
    return !skip;
}

static void supervise(struct worker *w)
{
    int total = (int)json_array_size(w->tests);
    struct pollfd fds[2] = { { .events = POLLIN }, { .events = POLLIN } };
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    fds[0].fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    for (;;) {
        struct signalfd_siginfo info;
        char token;

        while (w->next < total && !wanted(w, w->next + 1))
            w->next++;
        if (w->next >= total && !w->nrunning)
            break;
        fds[1].fd = w->next < total && w->nrunning < w->run->jobs ? w->run->tokens[0] : -1;
        poll(fds, 2, watch_limits(w));
        while (read(fds[0].fd, &info, sizeof info) == sizeof info) {
            if (info.ssi_signo != SIGCHLD) {
                kill_all(w);
                _exit(1);
            }
        }
        reap(w);
        if (fds[1].fd >= 0 && read(fds[1].fd, &token, 1) == 1)
            start_test(w, ++w->next);
    }
    close(fds[0].fd);
}

/* Stack: path; the list of tests is returned. */
static int load_file(lua_State *L)
{
    struct worker *w = lua_touserdata(L, 1);

    lua_getglobal(L, "require");
    lua_pushstring(L, "vfu.test");
    lua_call(L, 1, 0);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "vfu.client.core");
    lua_pushcfunction(L, core_limit_over);
    lua_setfield(L, -2, "limit_over");
    lua_getfield(L, -1, "runner");
    lua_pushnumber(L, w->run->limit);
    lua_setfield(L, -2, "limit");
    lua_pushboolean(L, w->run->coverage);
    lua_setfield(L, -2, "coverage");
    lua_getfield(L, -1, "begin");
    lua_pushstring(L, w->path);
    lua_call(L, 1, 0);
    if (luaL_loadfile(L, w->path))
        return lua_error(L);
    lua_call(L, 0, 0);
    lua_getfield(L, -1, "list");
    lua_call(L, 0, 1);
    return 1;
}

static void load(struct worker *w)
{
    json_t *error, *output, *what;

    w->L = luastate_new(w->path);
    if (!w->L)
        _exit(99);
    lua_pushcfunction(w->L, luastate_traceback);
    lua_pushcfunction(w->L, load_file);
    lua_pushlightuserdata(w->L, w);
    limit_start(w->L, w->run->limit, w->folder);
    if (!lua_pcall(w->L, 1, 1, 1)) {
        limit_over(w->L);
        w->tests = luajson_get(w->L, -1);
        if (!json_is_array(w->tests))
            tell(w, json_pack("{s:s}", "error", "no tests: it calls t.test nowhere"));
        return;
    }
    limit_over(w->L);
    error = luajson_get(w->L, -1);
    output = read_text(w->folder, "output");
    what = json_pack("{s:o}", "error", error ? error : json_string("it cannot be loaded"));
    if (output)
        json_object_set_new(what, "output", output);
    tell(w, what);
}

void testfile_process(const struct test_run *run, int index, int out, pid_t parent)
{
    struct worker w = { .run = run, .path = run->files[index].path, .out = out };
    sigset_t none;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(99);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_IGN);
    snprintf(w.folder, sizeof w.folder, "%s/%d", run->folder, index);
    w.running = calloc((size_t)run->jobs, sizeof *w.running);
    if (!w.running || mkdir(w.folder, 0700) < 0)
        _exit(99);
    redirect(w.folder);
    load(&w);
    if (json_is_array(w.tests)) {
        tell(&w, json_pack("{s:O}", "tests", w.tests));
        supervise(&w);
    }
    _exit(0);
}
