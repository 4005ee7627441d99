/* SPDX-License-Identifier: BSD-3-Clause */
/* host - starts and stops the host under test, and looks at it from outside. One thread. */
#define _GNU_SOURCE
#include "tests/protocol/proto.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PARAMS 16

static void host_exec(const char *program, struct proto_host *host, char *const *params)
{
    char *argv[PARAMS + 8] = { (char *)program, (char *)"--plugin", (char *)host->plugin };
    int n = 3;

    for (int i = 0; params && params[i] && i < PARAMS; i++)
        argv[n++] = params[i];
    argv[n++] = (char *)"--socket-path";
    argv[n++] = host->socket;
    argv[n] = NULL;
    /* A host must not outlive a test that died. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* What it has to say about hostile input fills a log; it is kept for the one who looks for a failure. */
    if (!getenv("VFU_TEST_VERBOSE")) {
        char log[128];
        int fd;

        snprintf(log, sizeof log, "%s/log", host->dir);
        fd = open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd >= 0) {
            dup2(fd, 1);
            dup2(fd, 2);
        }
    }
    execv(program, argv);
    _exit(127);
}

static void host_show_log(const struct proto_host *host)
{
    char command[128], line[512];
    FILE *log;

    snprintf(command, sizeof command, "%s/log", host->dir);
    log = fopen(command, "r");
    if (!log)
        return;
    while (fgets(line, sizeof line, log))
        fprintf(stderr, "# host: %s", line);
    fclose(log);
}

bool proto_host_start(struct proto_host *host, const char *plugin, char *const *params)
{
    struct vfuc_options options = { .struct_size = sizeof options,
                                    .flags = VFUC_WAIT,
                                    .timeout_ns = UINT64_C(20000000) };
    const char *program = getenv("VFU_HOST"), *tmp = getenv("TMPDIR");
    struct vfuc *c;
    int err = -1;

    if (!program) {
        fprintf(stderr, "# VFU_HOST does not name the program under test\n");
        return false;
    }
    memset(host, 0, sizeof *host);
    host->plugin = plugin;
    snprintf(host->dir, sizeof host->dir, "%s/vfu-proto.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(host->dir)) {
        perror(host->dir);
        return false;
    }
    snprintf(host->socket, sizeof host->socket, "%s/s", host->dir);
    host->pid = fork();
    if (host->pid == 0)
        host_exec(program, host, params);
    c = vfuc_new(&options);
    for (int i = 0; c && i < 500 && err; i++) {
        err = vfuc_connect(c, host->socket);
        if (err && !proto_host_alive(host))
            break;
    }
    if (err) {
        fprintf(stderr, "# %s --plugin %s does not come up: %s\n", program, plugin,
                c ? vfuc_error(c) : "out of memory");
        host_show_log(host);
    }
    vfuc_free(c);
    if (err)
        proto_host_stop(host);
    return !err;
}

bool proto_host_alive(const struct proto_host *host)
{
    siginfo_t info = { 0 };

    return waitid(P_PID, (id_t)host->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

bool proto_host_stop(struct proto_host *host)
{
    char log[128];
    int status = -1;
    bool gone;

    if (host->pid <= 0)
        return false;
    kill(host->pid, SIGTERM);
    for (int i = 0; i < 1000; i++) {
        if (waitpid(host->pid, &status, WNOHANG) == host->pid) {
            host->pid = 0;
            break;
        }
        nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
    }
    if (host->pid) {
        fprintf(stderr, "# the host does not end on SIGTERM\n");
        kill(host->pid, SIGKILL);
        waitpid(host->pid, &status, 0);
        host->pid = 0;
    }
    gone = access(host->socket, F_OK) != 0;
    if (status != 0 || !gone) {
        fprintf(stderr, "# the host ended with status 0x%x%s\n", (unsigned)status, gone ? "" : ", and left its socket");
        host_show_log(host);
    }
    snprintf(log, sizeof log, "%s/log", host->dir);
    unlink(log);
    unlink(host->socket);
    rmdir(host->dir);
    return status == 0 && gone;
}

int proto_host_fds(const struct proto_host *host)
{
    char path[64];
    struct dirent *entry;
    int n = 0;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/fd", host->pid);
    dir = opendir(path);
    if (!dir)
        return -1;
    while ((entry = readdir(dir)))
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}
