/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main - starts the devices of the command line, accepts their clients, waits for signals, stops everything.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/inspect/control.h"
#include "core/inspect/coverage.h"
#include "core/base/crash.h"
#include "core/device/device.h"
#include "core/dump.h"
#include "core/base/fault.h"
#include "core/options.h"
#include "core/session/server.h"
#include "core/skeleton.h"
#include "core/wire/socketpath.h"
#include "core/device/follow.h"
#include "core/wire/tracefile.h"

#define EXIT_FAILED 1
#define EXIT_USAGE 2
#define EXIT_PLUGIN 3
#define EXIT_FATAL 4
#define LISTEN_FDS_START 3

struct host_process {
    struct options options;
    struct loop loop;
    struct server *servers;
    uint32_t nservers;
    struct loop_watch signals;
    struct follow *follow; /* --reload */
    struct tracefile *trace; /* --trace */
    sigset_t ends, caught; /* what ends the host; all that it waits for */
    pthread_t main_thread;
    pid_t child; /* --run */
    int status;
    int next_fd, last_fd; /* of socket activation */
    struct collection *collecting; /* --coverage while devices serve; NULL: nobody has asked */
};

static struct host_process process = { .signals.fd = -1 };

/* ---- devices */

static int load_devices(void)
{
    const struct options *options = &process.options;

    process.servers = calloc(options->ndevices, sizeof *process.servers);
    if (!process.servers)
        return EXIT_FAILED;
    for (uint32_t i = 0; i < options->ndevices; i++) {
        const struct option_device *from = &options->devices[i];
        struct device_options to = {
            .spec = from->spec,
            .items = from->items,
            .nitems = from->nitems,
            .deny = options->deny,
            .deny_plugins = options->deny_plugins,
            .limits = options->limits,
            .spin_us = options->spin_us,
            .max_dma_maps = 65535,
            .watch = {
                .coverage = options->coverage && options->mode == MODE_SERVE,
                .trace = options->trace && options->mode == MODE_SERVE,
                .spin = options->spin,
            },
            .virtual_time = options->virtual_time,
            .reload = options->reload,
            .lenient = options->mode == MODE_DUMP_PLUGIN,
        };
        int error;

        crash_blame(from->spec);
        error = device_new(&process.servers[i].dev, &to);
        crash_blame(NULL);
        process.servers[i].fd = -1;
        if (error)
            return error == -EINVAL ? EXIT_USAGE : error == -ENOMEM ? EXIT_FAILED : EXIT_PLUGIN;
        process.nservers++;
    }
    return 0;
}

static void unload_devices(void)
{
    for (uint32_t i = process.nservers; i > 0; i--) {
        control_free(process.servers[i - 1].control);
        crash_blame(process.options.devices[i - 1].spec);
        device_free(process.servers[i - 1].dev);
        crash_blame(NULL);
        free(process.servers[i - 1].path);
    }
    free(process.servers);
}

static int report(void)
{
    const struct options *options = &process.options;

    for (uint32_t i = 0; i < process.nservers; i++) {
        struct device *dev = process.servers[i].dev;
        int error = 0;

        if (options->mode == MODE_DUMP_PLUGIN)
            error = dump_plugin(stdout, dev);
        else if (options->mode == MODE_DUMP)
            error = dump_registers(stdout, dev, options->dump);
        else
            dump_summary(stdout, dev);
        if (error) {
            log_error(dev->name, "cannot print: %s", strerror(-error));
            return EXIT_FAILED;
        }
    }
    return fflush(stdout) ? EXIT_FAILED : 0;
}

/* ---- sockets */

/* Sockets of socket activation (sd_listen_fds(3)): LISTEN_FDS of them from 3 up, if LISTEN_PID is ours. */
static void find_activation(void)
{
    const char *count = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");

    process.next_fd = process.last_fd = LISTEN_FDS_START;
    if (count && pid && atol(pid) == (long)getpid() && atoi(count) > 0 && atoi(count) < 1024)
        process.last_fd += atoi(count);
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDNAMES");
    for (int fd = process.next_fd; fd < process.last_fd; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* Without --control the device serves in any case. */
static int open_control(struct server *server, const struct option_device *option)
{
    char path[SOCKETPATH_MAX + 16];
    int fd;

    if (!option->control && !server->path)
        return 0;
    if (option->control && server->path && strcmp(option->control, server->path) == 0) {
        log_error(server->dev->name, "--control %s is the device's own socket: choose another path for one of the two",
                  option->control);
        return -EADDRINUSE;
    }
    if (option->control) {
        fd = server_listen_control(option->control);
        return fd < 0 ? fd : control_start(&server->control, server->dev, &process.loop, fd, option->control);
    }
    if (snprintf(path, sizeof path, "%s.control", server->path) >= (int)sizeof path)
        fd = -ENAMETOOLONG;
    else
        fd = server_listen_control(path);
    if (fd >= 0 && control_start(&server->control, server->dev, &process.loop, fd, path) == 0)
        return 0;
    log_warn(server->dev->name, "there is no control socket; --control names another place for it");
    return 0;
}

/* Who finds the device's socket finds both. */
static int listen_at_path(struct server *server, const struct option_device *option)
{
    char name[SERVER_NAME_MAX];
    int fd = server_prepare(server->path, name), error;

    if (fd < 0)
        return fd;
    error = open_control(server, option);
    if (!error)
        return server_publish(server->path, name, fd);
    close(fd);
    unlink(name);
    return error;
}

/* Before the host opens descriptors of its own, which would get the numbers of those that are not there. */
static int check_descriptors(void)
{
    for (uint32_t i = 0; i < process.options.ndevices; i++) {
        const struct option_device *option = &process.options.devices[i];

        if (option->fd >= 0 && fcntl(option->fd, F_GETFD) < 0) {
            log_error(option->spec, "--fd %d: this descriptor is not open; pass on a socket under this number", option->fd);
            return EXIT_FAILED;
        }
        for (uint32_t k = 0; option->fd >= 0 && k < i; k++) {
            if (process.options.devices[k].fd == option->fd) {
                log_error(option->spec, "--fd %d is another device's already: each has a socket of its own", option->fd);
                return EXIT_FAILED;
            }
        }
    }
    return 0;
}

static int open_socket(struct server *server, const struct option_device *option)
{
    char path[SOCKETPATH_MAX];
    int error;

    if (option->fd >= 0) {
        fcntl(option->fd, F_SETFD, FD_CLOEXEC);
        return option->fd;
    }
    if (!option->socket_path && process.next_fd < process.last_fd)
        return process.next_fd++;
    if (!option->socket_path) {
        error = socketpath_default(path, server->dev->name);
        if (error)
            return error;
    }
    server->path = strdup(option->socket_path ? option->socket_path : path);
    if (!server->path)
        return -ENOMEM;
    error = listen_at_path(server, option);
    if (error < 0) {
        free(server->path);
        server->path = NULL; /* not ours to remove */
    }
    return error;
}

static void stop_process(int status)
{
    process.status = status;
    loop_stop(&process.loop);
}

static void client_gone(struct server *server)
{
    /* The end of --run's command is the end: nothing of it is left behind, and its status counts. */
    if (process.child > 0)
        return;
    if (process.options.once)
        stop_process(0);
    else if (server->fd < 0)
        stop_process(0); /* it was handed one connection, and that has ended */
}

/* Its socket has a name in the message trace, as the device has. */
static int trace_device(struct server *server, int fd)
{
    char text[32];
    int error;

    snprintf(text, sizeof text, "fd %d", fd);
    error = tracefile_device(process.trace, server->dev->name, server->path ? server->path : text, &server->dev->tap);
    if (error)
        log_error(server->dev->name, "no memory for its message trace");
    return error;
}

static int start_servers(void)
{
    for (uint32_t i = 0; i < process.nservers; i++) {
        struct server *server = &process.servers[i];
        const struct option_device *option = &process.options.devices[i];
        int fd = streams_start(&server->dev->streams) ? -1 : open_socket(server, option);

        if (fd < 0 || (!server->path && open_control(server, option)))
            return EXIT_FAILED;
        if (process.trace && trace_device(server, fd))
            return EXIT_FAILED;
        server->client_gone = client_gone;
        server->neighbours = process.nservers > 1;
        if (server_start(server, &process.loop, fd))
            return EXIT_FAILED;
    }
    return 0;
}

static int start_watching(void)
{
    int error = process.options.reload ? follow_new(&process.follow, &process.loop) : 0;

    for (uint32_t i = 0; process.follow && !error && i < process.nservers; i++)
        error = follow_device(process.follow, process.servers[i].dev);
    return error ? EXIT_FAILED : 0;
}

static bool stop_servers(void)
{
    bool all = true;

    for (uint32_t i = 0; i < process.nservers; i++) {
        control_stop(process.servers[i].control);
        all &= server_stop(&process.servers[i]);
    }
    /* What devices have posted here on their way out. */
    if (all)
        loop_step(&process.loop);
    return all;
}

/* What a device has reported is the outcome of a run that somebody waits for. */
static int outcome(int status)
{
    if (!process.options.once && !process.options.run)
        return status;
    for (uint32_t i = 0; i < process.nservers; i++) {
        if (report_fatal(&process.servers[i].dev->report))
            return EXIT_FATAL;
    }
    return status;
}

static void announce(void)
{
    char (*whole)[SOCKETPATH_MAX] = calloc(process.nservers, sizeof *whole);
    const char **sockets = whole ? calloc(process.nservers, sizeof *sockets) : NULL;
    uint32_t n = 0;

    if (!sockets) {
        free(whole);
        return;
    }
    for (uint32_t i = 0; i < process.nservers; i++) {
        dump_summary(stdout, process.servers[i].dev);
        streams_print(&process.servers[i].dev->streams, stdout);
        if (process.servers[i].path) {
            printf("  socket      %s\n", process.servers[i].path);
            sockets[n] = socketpath_whole(process.servers[i].path, whole[n]);
            n++;
        }
    }
    if (n)
        dump_qemu(stdout, sockets, n);
    free(sockets);
    free(whole);
    fflush(stdout);
}

/* ---- --coverage: a device's counters are its thread's, which makes its report */

struct collection {
    uint32_t due;
    json_t *devices;
    struct collect {
        struct collection *all;
        struct device *dev;
        json_t *report;
    } each[];
};

static void add_report(json_t *devices, const struct device *dev, json_t *report)
{
    json_t *item = json_pack("{s:s, s:o}", "device", dev->name, "coverage", report);

    if (!item || json_array_append_new(devices, item))
        log_error(dev->name, "no memory for its coverage");
}

static void end_collection(struct collection *all)
{
    for (uint32_t i = 0; i < process.nservers; i++)
        add_report(all->devices, all->each[i].dev, all->each[i].report);
    (void)covfile_write(process.options.coverage, all->devices);
    json_decref(all->devices);
    free(all);
    process.collecting = NULL;
}

static void collected(void *arg)
{
    struct collect *one = arg;

    if (--one->all->due == 0)
        end_collection(one->all);
}

static void device_collect(void *arg)
{
    struct collect *one = arg;

    one->report = coverage_report(one->dev);
    (void)loop_post(&process.loop, collected, one);
}

/* SIGUSR1. One that comes while the devices still answer the one before is that one. */
static void collect_coverage(void)
{
    struct collection *all;

    if (!process.options.coverage) {
        log_warn(NULL, "SIGUSR1 writes the file of --coverage FILE, which was not given");
        return;
    }
    if (process.collecting)
        return;
    all = calloc(1, sizeof *all + process.nservers * sizeof all->each[0]);
    if (!all)
        return;
    process.collecting = all;
    all->devices = json_array();
    all->due = process.nservers + 1;
    for (uint32_t i = 0; i < process.nservers; i++) {
        all->each[i] = (struct collect){ .all = all, .dev = process.servers[i].dev };
        if (loop_post(&process.servers[i].dev->loop, device_collect, &all->each[i]))
            all->due--;
    }
    if (--all->due == 0)
        end_collection(all);
}

/* At the start, so that a file that cannot be written is known before a long run, and at the end: no device's thread
 * runs. */
static int write_coverage(void)
{
    json_t *devices;
    int error;

    if (!process.options.coverage)
        return 0;
    devices = json_array();
    for (uint32_t i = 0; i < process.nservers; i++)
        add_report(devices, process.servers[i].dev, coverage_report(process.servers[i].dev));
    error = covfile_write(process.options.coverage, devices);
    json_decref(devices);
    return error;
}

/* Devices that were asked and have ended without an answer. */
static void drop_collection(void)
{
    struct collection *all = process.collecting;

    if (!all)
        return;
    for (uint32_t i = 0; i < process.nservers; i++)
        json_decref(all->each[i].report);
    json_decref(all->devices);
    free(all);
    process.collecting = NULL;
}

/* ---- signals and --run */

static void child_changed(void)
{
    int status;

    if (process.child <= 0 || waitpid(process.child, &status, WNOHANG) != process.child)
        return;
    process.child = 0;
    stop_process(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void signal_ready(struct loop_watch *watch, uint32_t ready)
{
    struct signalfd_siginfo info;

    (void)ready;
    while (read(watch->fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            child_changed();
            continue;
        }
        if (info.ssi_signo == SIGUSR1) {
            collect_coverage();
            continue;
        }
        if (process.child > 0)
            kill(process.child, SIGTERM);
        stop_process(0);
    }
}

/* Of a thread that a plugin has made while it was loaded: the signal is main's. */
static void pass_on(int number)
{
    pthread_kill(process.main_thread, number);
}

/* nohup and the like: a terminal that goes is no end. Asked before anybody here could have changed it. */
static bool ignored(int number)
{
    struct sigaction action;

    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* Each signal that ends the host gets this handler. */
static void handle_ends(void (*handler)(int number))
{
    struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };

    for (int number = 1; number < NSIG; number++) {
        if (sigismember(&process.ends, number) > 0)
            sigaction(number, &action, NULL);
    }
}

/* While devices are loaded and taken down, SIGTERM, SIGINT and SIGHUP do what they do by themselves: a callback that
 * does not return there can be left in no other way. */
static void prepare_signals(void)
{
    sigset_t own;

    sigemptyset(&process.ends);
    sigaddset(&process.ends, SIGTERM);
    sigaddset(&process.ends, SIGINT);
    if (!ignored(SIGHUP))
        sigaddset(&process.ends, SIGHUP);
    process.main_thread = pthread_self();
    sigemptyset(&own);
    sigaddset(&own, SIGCHLD);
    sigaddset(&own, SIGUSR1);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that has grown to ulimit -f is an error of its writer's */
    pthread_sigmask(SIG_BLOCK, &own, NULL);
}

static int catch_signals(void)
{
    process.caught = process.ends;
    sigaddset(&process.caught, SIGCHLD);
    sigaddset(&process.caught, SIGUSR1);
    if (pthread_sigmask(SIG_BLOCK, &process.caught, NULL))
        return -EINVAL;
    handle_ends(pass_on);
    process.signals = (struct loop_watch){
        .fd = signalfd(-1, &process.caught, SFD_CLOEXEC | SFD_NONBLOCK),
        .events = EPOLLIN,
        .fn = signal_ready,
    };
    if (process.signals.fd < 0)
        return -errno;
    return loop_add(&process.loop, &process.signals);
}

/* Those that came while the devices stopped have been obeyed; the next one does not wait for anybody. */
static void release_signals(void)
{
    struct signalfd_siginfo info;

    if (process.signals.fd < 0)
        return;
    while (read(process.signals.fd, &info, sizeof info) == sizeof info)
        ;
    handle_ends(SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &process.ends, NULL);
}

static int run_command_line(const char *command)
{
    char path[SOCKETPATH_MAX];

    if (process.servers[0].path)
        setenv("VFU_SOCKET", socketpath_whole(process.servers[0].path, path), 1);
    process.child = fork();
    if (process.child < 0) {
        log_error(NULL, "--run: cannot start a process: %s", strerror(errno));
        return EXIT_FAILED;
    }
    if (process.child == 0) {
        handle_ends(SIG_DFL);
        sigprocmask(SIG_UNBLOCK, &process.caught, NULL);
        signal(SIGPIPE, SIG_DFL);
        signal(SIGXFSZ, SIG_DFL);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    return 0;
}

/* Many devices, many clients with many descriptors each. */
static void raise_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Where standard descriptors are closed, sockets would get their numbers, and log lines would go to a client. */
static void fill_standard_descriptors(void)
{
    int fd = open("/dev/null", O_RDWR);

    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = dup(fd);
    if (fd > STDERR_FILENO)
        close(fd);
}

static int serve(void)
{
    int status;

    find_activation();
    if (process.options.coverage && strcmp(process.options.coverage, "-") != 0 && write_coverage())
        return EXIT_FAILED;
    status = start_watching(); /* before a client can be there, who waits for a change */
    if (!status)
        status = start_servers();
    if (!status) {
        if (process.options.run)
            status = run_command_line(process.options.run);
        else
            announce();
    }
    if (!status) {
        loop_run(&process.loop);
        status = process.status;
    }
    if (!stop_servers()) {
        tracefile_flush(process.trace);
        _exit(EXIT_FAILED); /* a thread is stuck in a plugin: nothing can be taken down under it */
    }
    drop_collection();
    follow_free(process.follow);
    if (write_coverage() && !status)
        status = EXIT_FAILED;
    return outcome(status);
}

int main(int argc, char **argv)
{
    int status;

    fill_standard_descriptors();
    status = options_parse(&process.options, argc, argv);
    if (status >= 0) {
        options_free(&process.options);
        return status;
    }
    if (process.options.mode == MODE_NEW) {
        status = skeleton_new(process.options.new_name, process.options.lang);
        options_free(&process.options);
        return status == -EINVAL ? EXIT_USAGE : status ? EXIT_FAILED : 0;
    }
    if (process.options.mode == MODE_SERVE && check_descriptors()) {
        options_free(&process.options);
        return EXIT_FAILED;
    }
    raise_limits();
    crash_init();
    /* A FIFO may be waited for, which the user can end: before signals are caught. */
    if (process.options.mode == MODE_SERVE && process.options.tracefile &&
        tracefile_open(&process.trace, process.options.tracefile, process.options.trace_snap)) {
        options_free(&process.options);
        return EXIT_FAILED;
    }
    prepare_signals();
    if (fault_init() || loop_init(&process.loop)) {
        log_error(NULL, "cannot start: %s", strerror(errno));
        return EXIT_FAILED;
    }
    status = load_devices();
    if (!status && catch_signals()) {
        log_error(NULL, "cannot catch signals: %s", strerror(errno));
        status = EXIT_FAILED;
    }
    if (!status)
        status = process.options.mode == MODE_SERVE ? serve() : report();
    release_signals();
    unload_devices();
    tracefile_close(process.trace);
    if (process.signals.fd >= 0)
        close(process.signals.fd);
    loop_fini(&process.loop);
    options_free(&process.options);
    return status;
}
