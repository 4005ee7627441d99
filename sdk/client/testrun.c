/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * testrun - vfu-client test: its options, and the parent process, which starts a process for each file and gathers what
 * they tell. One thread.
 */
#define _GNU_SOURCE
#include "sdk/client/testrun.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <vfu/client.h>

#define EXIT_USAGE 2
#define JOBS_MAX 256
#define LOADING 2.5 /* seconds beyond twice the limit */
#define LINE_LIMIT (64u << 20)
#define FOLDER_NAME "vfuc-test."
#define FOLDER_MARK ".vfu-client-test" /* in it: whatever else has such a name is not ours to remove */
#define FOLDER_MAX 40 /* sockets are made some levels below, and have short paths */

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void help(void)
{
    printf("Usage: vfu-client test [OPTION]... FILE_test.lua...\n"
           "Runs tests of devices, each with a device of its own and no virtual machine. X_test.lua drives X.lua or X.so\n"
           "beside it, or the plugin X.\n\n"
           "  -j, --jobs N       tests at a time (default: the number of processors)\n"
           "      --filter RE    only tests whose name matches the extended regular expression\n"
           "      --timeout S    seconds that a test may take (default 10); one that hangs is stopped and named\n"
           "      --tap          print TAP instead of a summary\n"
           "      --json         print JSON instead, when all is done\n"
           "      --junit FILE   write a JUnit report too\n"
           "      --coverage     say which registers, fields and hooks the tests of a file have touched\n"
           "      --host FILE    the vfu-host (default: $VFU_HOST, the one beside vfu-client, the one on the path)\n"
           "      --help         show this\n\n"
           "Exit status: 0 all passed, 1 a test failed, 2 the command line makes no sense.\n");
}

__attribute__((format(printf, 1, 2))) static int usage(const char *format, ...)
{
    va_list args;

    fputs("vfu-client: test: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\nTry 'vfu-client test --help'.\n", stderr);
    return EXIT_USAGE;
}

/* ---- what files tell ---- */

static void set_error(struct test_file *file, const char *text)
{
    free(file->error);
    file->error = strdup(text);
}

static void told_tests(struct test_run *run, struct test_file *file, const json_t *tests)
{
    size_t n = json_array_size(tests);

    file->cases = calloc(n + 1, sizeof *file->cases);
    if (!file->cases)
        return;
    for (size_t i = 0; i < n; i++) {
        const json_t *about = json_array_get(tests, i);
        const char *name = json_string_value(json_object_get(about, "name"));

        file->cases[i].name = strdup(name ? name : "?");
        file->cases[i].line = (int)json_integer_value(json_object_get(about, "line"));
        file->cases[i].left_out = run->filtered && file->cases[i].name &&
                                  regexec(&run->filter, file->cases[i].name, 0, NULL, 0);
    }
    file->ncases = (int)n;
    file->loaded = true;
}

static void told_result(struct test_run *run, struct test_file *file, struct test_case *test, json_t *what)
{
    const char *status = json_string_value(json_object_get(what, "status"));
    const json_t *coverage = json_object_get(what, "coverage");
    const json_t *one;
    size_t i;

    test->running = false;
    test->status = status && !strcmp(status, "passed")    ? TEST_PASSED
                   : status && !strcmp(status, "skipped") ? TEST_SKIPPED
                                                          : TEST_FAILED;
    test->seconds = json_number_value(json_object_get(what, "seconds"));
    file->seconds += test->seconds;
    json_array_foreach(coverage, i, one)
        testcover_add(&file->coverage, one);
    json_object_del(what, "coverage");
    test->result = json_incref(what);
    run->done++;
}

static void told(struct test_run *run, struct test_file *file, const char *line, size_t size)
{
    json_t *what = json_loadb(line, size, 0, NULL);
    json_t *output = json_object_get(what, "output");
    const char *error = json_string_value(json_object_get(what, "error"));
    int start = (int)json_integer_value(json_object_get(what, "start"));
    int result = (int)json_integer_value(json_object_get(what, "result"));

    if (error) {
        set_error(file, error);
        if (output && file->error) {
            char *both;

            if (asprintf(&both, "%s\nIt printed:\n%s", error, json_string_value(output)) > 0) {
                free(file->error);
                file->error = both;
            }
        }
    } else if (json_object_get(what, "tests")) {
        told_tests(run, file, json_object_get(what, "tests"));
    } else if (start > 0 && start <= file->ncases) {
        file->cases[start - 1].running = true;
    } else if (result > 0 && result <= file->ncases) {
        told_result(run, file, &file->cases[result - 1], what);
    }
    json_decref(what);
}

/* Its process has ended. Jobs that it did not give back are returned, and tests without a result have failed. */
static void file_ended(struct test_run *run, struct test_file *file)
{
    char text[256], how[64], path[128];
    int status = 0;

    close(file->fd);
    waitpid(file->pid, &status, 0);
    file->pid = 0;
    file->fd = -1;
    file->ended = true;
    if (status == 0 && (file->loaded || file->error))
        return;
    snprintf(text, sizeof text, "the process of the file ended with %s", vfuc_spawn_status(status, how, sizeof how));
    snprintf(path, sizeof path, "%s/%d/hang", run->folder, (int)(file - run->files));
    if (!file->loaded) {
        FILE *hang = fopen(path, "r");

        if (hang && fgets(text, sizeof text, hang))
            strncat(text, " (while the file was loaded)", sizeof text - strlen(text) - 1);
        if (hang)
            fclose(hang);
    }
    if (!file->error)
        set_error(file, text);
    for (int i = 0; i < file->ncases; i++) {
        if (file->cases[i].running)
            (void)!write(run->tokens[1], "", 1);
        file->cases[i].running = false;
    }
}

static void listen_to(struct test_run *run, struct test_file *file)
{
    char *end;
    ssize_t n;

    if (file->length == file->room) {
        size_t room = file->room ? file->room * 2 : 65536;
        char *line = room > LINE_LIMIT ? NULL : realloc(file->line, room);

        if (!line) {
            kill(file->pid, SIGKILL);
            file_ended(run, file);
            return;
        }
        file->line = line;
        file->room = room;
    }
    n = read(file->fd, file->line + file->length, file->room - file->length);
    if (n <= 0) {
        if (n == 0 || errno != EINTR)
            file_ended(run, file);
        return;
    }
    file->length += (size_t)n;
    while ((end = memchr(file->line, '\n', file->length))) {
        size_t size = (size_t)(end - file->line) + 1;

        told(run, file, file->line, size);
        file->length -= size;
        memmove(file->line, end + 1, file->length);
    }
}

/* ---- the parent ---- */

static void start_file(struct test_run *run, int index)
{
    struct test_file *file = &run->files[index];
    pid_t parent = getpid();
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0) {
        set_error(file, "no pipe for its process");
        file->ended = true;
        return;
    }
    fflush(NULL);
    file->pid = fork();
    if (file->pid == 0) {
        for (int i = 0; i < index; i++) {
            if (run->files[i].fd >= 0)
                close(run->files[i].fd);
        }
        close(fds[0]);
        testfile_process(run, index, fds[1], parent);
    }
    close(fds[1]);
    file->fd = fds[0];
    file->start = now();
    if (file->pid < 0) {
        file->pid = 0;
        close(file->fd);
        file->fd = -1;
        set_error(file, "cannot start a process for it");
        file->ended = true;
    }
}

/* A file that hangs while it is loaded stops itself; this is for one that cannot: milliseconds until the next look. */
static int watch_loading(struct test_run *run)
{
    double left = 3600;

    for (int i = 0; i < run->nfiles; i++) {
        struct test_file *file = &run->files[i];
        double of_this = file->start + 2 * run->limit + LOADING - now();

        if (file->pid <= 0 || file->loaded || file->error)
            continue;
        if (of_this <= 0) {
            set_error(file, "it hung while it was loaded");
            kill(file->pid, SIGKILL);
        } else if (of_this < left) {
            left = of_this;
        }
    }
    return (int)(left * 1000) + 1;
}

/* 0, or the signal that ended it. */
static int run_files(struct test_run *run, int signals)
{
    struct pollfd *fds = calloc((size_t)run->nfiles + 1, sizeof *fds);
    int next = 0, signal_number = 0;

    while (fds && !signal_number) {
        struct signalfd_siginfo info;
        int alive = 0;

        for (int i = 0; i < next; i++)
            alive += run->files[i].pid > 0;
        for (; next < run->nfiles && alive < run->jobs; next++, alive++)
            start_file(run, next);
        if (!alive)
            break;
        for (int i = 0; i < run->nfiles; i++)
            fds[i] = (struct pollfd){ .fd = run->files[i].fd, .events = POLLIN };
        fds[run->nfiles] = (struct pollfd){ .fd = signals, .events = POLLIN };
        if (poll(fds, (nfds_t)run->nfiles + 1, watch_loading(run)) < 0)
            continue;
        for (int i = 0; i < run->nfiles; i++) {
            if (fds[i].revents && run->files[i].fd >= 0)
                listen_to(run, &run->files[i]);
        }
        if (read(signals, &info, sizeof info) == sizeof info)
            signal_number = (int)info.ssi_signo;
        testshow_update(run);
    }
    for (int i = 0; i < run->nfiles; i++) {
        if (run->files[i].pid > 0) {
            kill(run->files[i].pid, SIGTERM);
            waitpid(run->files[i].pid, NULL, 0);
        }
    }
    free(fds);
    return signal_number;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path), 0;
}

/* ---- folders: that of this run, and those of runs that were killed ---- */

/* The folder's lock, which shows that its run is alive; -1: another one has it, or it is not ours, or no folder. */
static int lock_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() && st.st_nlink)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* A run that SIGKILL ended had no time to remove its own. */
static void sweep(const char *tmp)
{
    DIR *dir = opendir(tmp);
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        char path[sizeof ((struct test_run *)0)->folder];
        int fd, n = snprintf(path, sizeof path, "%s/%s", tmp, entry->d_name);

        if (strncmp(entry->d_name, FOLDER_NAME, strlen(FOLDER_NAME)) || n < 0 || (size_t)n >= sizeof path)
            continue;
        fd = lock_folder(path);
        if (fd < 0)
            continue;
        if (faccessat(fd, FOLDER_MARK, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        close(fd);
    }
    if (dir)
        closedir(dir);
}

static bool mark_folder(int folder)
{
    int fd = openat(folder, FOLDER_MARK, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Another run may be looking at it just between its making and its lock: then there is another. */
static int make_folder(struct test_run *run, const char *tmp)
{
    for (int i = 0; i < 16; i++) {
        snprintf(run->folder, sizeof run->folder, "%s/" FOLDER_NAME "XXXXXX", tmp);
        if (!mkdtemp(run->folder))
            break;
        run->lock = lock_folder(run->folder);
        if (run->lock >= 0 && mark_folder(run->lock))
            return 0;
        if (run->lock >= 0)
            close(run->lock);
        rmdir(run->folder);
        errno = EAGAIN;
    }
    fprintf(stderr, "vfu-client: test: %s: %s\n", run->folder, strerror(errno));
    return EXIT_FAILURE;
}

static int prepare(struct test_run *run)
{
    const char *tmp = getenv("TMPDIR");

    if (!tmp || strlen(tmp) >= FOLDER_MAX)
        tmp = "/tmp";
    sweep(tmp);
    if (make_folder(run, tmp))
        return EXIT_FAILURE;
    if (pipe2(run->tokens, O_CLOEXEC | O_NONBLOCK) < 0) {
        fprintf(stderr, "vfu-client: test: no pipe: %s\n", strerror(errno));
        nftw(run->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        return EXIT_FAILURE;
    }
    for (int i = 0; i < run->jobs; i++)
        (void)!write(run->tokens[1], "", 1);
    run->terminal = isatty(STDOUT_FILENO);
    run->progress = run->terminal && !run->tap && !run->json;
    return 0;
}

static int run_all(struct test_run *run)
{
    sigset_t signals;
    double start = now();
    int fd, ended, status = prepare(run);

    if (status)
        return status;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    ended = run_files(run, fd);
    run->seconds = now() - start;
    nftw(run->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    if (ended) {
        fprintf(stderr, "%svfu-client: test: stopped by %s\n", run->progress ? "\n" : "", strsignal(ended));
        return 128 + ended;
    }
    testshow_end(run);
    if (run->json && testjson_print(run))
        return EXIT_FAILURE;
    if (run->junit && testjunit_write(run))
        return EXIT_FAILURE;
    return run->failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- options ---- */

static int processors(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

static int parse_option(struct test_run *run, int option)
{
    char *end, text[128];
    long n;
    int err;

    switch (option) {
    case 'j':
        n = strtol(optarg, &end, 10);
        if (end == optarg || *end || n < 1 || n > JOBS_MAX)
            return usage("--jobs wants 1 to %d, not '%s'", JOBS_MAX, optarg);
        run->jobs = (int)n;
        return 0;
    case 'T':
        run->limit = strtod(optarg, &end);
        if (end == optarg || *end || !(run->limit >= 0.01 && run->limit <= 86400))
            return usage("--timeout wants seconds, 0.01 to 86400, not '%s'", optarg);
        return 0;
    case 'f':
        if (run->filtered)
            return usage("--filter is there twice; write one as (A|B)");
        err = regcomp(&run->filter, optarg, REG_EXTENDED | REG_NOSUB);
        run->filtered = !err;
        if (err) {
            regerror(err, &run->filter, text, sizeof text);
            return usage("--filter '%s': %s", optarg, text);
        }
        return 0;
    case 't':
        run->tap = true;
        return 0;
    case 'o':
        run->json = true;
        return 0;
    case 'J':
        run->junit = optarg;
        run->coverage = true;
        return 0;
    case 'c':
        run->coverage = true;
        return 0;
    case 'H':
        setenv("VFU_HOST", optarg, 1);
        return 0;
    default:
        /* getopt_long has said what is wrong. */
        fputs("Try 'vfu-client test --help'.\n", stderr);
        return EXIT_USAGE;
    }
}

static int parse(struct test_run *run, int argc, char **argv)
{
    static const struct option options[] = {
        { "jobs", required_argument, NULL, 'j' },  { "filter", required_argument, NULL, 'f' },
        { "timeout", required_argument, NULL, 'T' }, { "tap", no_argument, NULL, 't' },
        { "json", no_argument, NULL, 'o' },
        { "junit", required_argument, NULL, 'J' }, { "coverage", no_argument, NULL, 'c' },
        { "host", required_argument, NULL, 'H' },  { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    static char name[] = "vfu-client: test"; /* what getopt_long complains as */
    int option, status;

    argv[0] = name;
    while ((option = getopt_long(argc, argv, "j:h", options, NULL)) != -1) {
        if (option == 'h') {
            help();
            return -1;
        }
        status = parse_option(run, option);
        if (status)
            return status;
    }
    if (run->tap && run->json)
        return usage("--tap and --json are two outputs: one is possible");
    if (optind == argc)
        return usage("a FILE_test.lua is missing");
    run->nfiles = argc - optind;
    run->files = calloc((size_t)run->nfiles, sizeof *run->files);
    if (!run->files)
        return usage("out of memory");
    for (int i = 0; i < run->nfiles; i++) {
        run->files[i].path = argv[optind + i];
        run->files[i].fd = -1;
        if (access(run->files[i].path, R_OK) < 0)
            return usage("%s: %s", run->files[i].path, strerror(errno));
    }
    return 0;
}

static void free_run(struct test_run *run)
{
    for (int i = 0; run->files && i < run->nfiles; i++) {
        struct test_file *file = &run->files[i];

        for (int j = 0; j < file->ncases; j++) {
            free(file->cases[j].name);
            json_decref(file->cases[j].result);
        }
        free(file->cases);
        free(file->line);
        free(file->error);
        json_decref(file->coverage);
    }
    free(run->files);
    if (run->filtered)
        regfree(&run->filter);
}

int testrun_main(int argc, char **argv)
{
    struct test_run run = { .jobs = processors(), .limit = 10 };
    int status = parse(&run, argc, argv);

    if (!status)
        status = run_all(&run);
    free_run(&run);
    return status < 0 ? 0 : status;
}
