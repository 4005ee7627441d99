/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_client_bad - bad servers, and every command of vfu-client: each ends by itself, with exit 1 and words that say
 * what happened; where the protocol was broken, with the message that broke it. The server is a process of this file's
 * own: it answers a number of requests as a server should, and then does what its row in the table says. One thread.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <vfu/protocol.h>

#define HEADER sizeof(struct vfu_msg_header)
#define FOREVER 1000000u
#define SHORT "0.02" /* seconds that a command waits, where the server never answers */
#define LONG "20"

static char dir[64];

/* ---- a server as it should be: the smallest that every command is content with ---- */

struct server {
    int fd;
    uint32_t good; /* requests to answer as one should */
    void (*misbehave)(struct server *s);
    struct vfu_msg_header header; /* of the request */
    uint8_t body[1 << 17], reply[1 << 17];
    uint32_t state_left;
};

static bool read_all(int fd, void *to, size_t size)
{
    for (size_t have = 0; have < size;) {
        ssize_t n = recv(fd, (uint8_t *)to + have, size - have, 0);

        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}

static void send_bytes(struct server *s, const void *bytes, size_t size)
{
    if (send(s->fd, bytes, size, MSG_NOSIGNAL) < 0)
        _exit(0);
}

static void send_reply(struct server *s, uint32_t size)
{
    struct vfu_msg_header header = s->header;

    header.flags = VFU_MSG_REPLY;
    header.size = (uint32_t)HEADER + size;
    header.error = 0;
    send_bytes(s, &header, HEADER);
    if (size)
        send_bytes(s, s->reply, size);
}

static uint32_t feature(struct server *s)
{
    uint32_t flags, size = s->header.size - (uint32_t)HEADER;

    memcpy(&flags, s->body + 4, sizeof flags);
    memcpy(s->reply, s->body, size);
    if ((flags & 0xffff) == 1) {
        memcpy(s->reply + 8, (uint64_t[1]){ 1 | 4 }, 8);
        return 16;
    }
    if ((flags & 0xffff) == 2 && (flags & VFIO_DEVICE_FEATURE_GET)) {
        memcpy(s->reply + 8, (uint32_t[2]){ 2, 0 }, 8);
        return 16;
    }
    s->state_left = 300;
    return size;
}

static uint32_t migration_data(struct server *s)
{
    uint32_t n = s->state_left < 100 ? s->state_left : 100;

    memcpy(s->reply, (uint32_t[2]){ 8 + n, n }, 8);
    s->state_left -= n;
    return 8 + n;
}

/* The length of the reply's body. */
static uint32_t answer(struct server *s)
{
    struct vfu_msg_region_access access;
    uint32_t index;

    memset(s->reply, 0, 4096);
    memcpy(&access, s->body, sizeof access);
    memcpy(&index, s->body + 8, sizeof index);
    switch (s->header.command) {
    case VFU_CMD_VERSION:
        strcpy((char *)s->reply + 4, "{\"capabilities\":{\"write_multiple\":true,\"max_data_xfer_size\":65536}}");
        return 4 + (uint32_t)strlen((char *)s->reply + 4) + 1;
    case VFU_CMD_DEVICE_GET_INFO:
        memcpy(s->reply, (uint32_t[4]){ 16, 3, 9, 5 }, 16);
        return 16;
    case VFU_CMD_DEVICE_GET_REGION_INFO:
        memcpy(s->reply, (uint32_t[4]){ 32, 3, index, 0 }, 16);
        memcpy(s->reply + 16, (uint64_t[2]){ index == 7 || index == 0 ? 4096 : 0, 0 }, 16);
        return 32;
    case VFU_CMD_DEVICE_GET_IRQ_INFO:
        memcpy(s->reply, (uint32_t[4]){ 16, 1, index, index == 0 }, 16);
        return 16;
    case VFU_CMD_DEVICE_GET_REGION_IO_FDS:
        memcpy(s->reply, (uint32_t[4]){ 16, 0, index, 0 }, 16);
        return 16;
    case VFU_CMD_REGION_READ:
        memcpy(s->reply, &access, sizeof access);
        return (uint32_t)sizeof access + access.count;
    case VFU_CMD_REGION_WRITE:
        memcpy(s->reply, &access, sizeof access);
        return sizeof access;
    case VFU_CMD_REGION_WRITE_MULTI:
        memcpy(s->reply, s->body, 8);
        return 8;
    case VFU_CMD_DEVICE_FEATURE:
        return feature(s);
    case VFU_CMD_MIG_DATA_READ:
        return migration_data(s);
    default:
        return 0;
    }
}

/* ---- what it does instead ---- */

static void silent(struct server *s)
{
    (void)s;
    pause();
}

static void vanishes(struct server *s)
{
    (void)s;
    _exit(0);
}

static void header_alone(struct server *s)
{
    struct vfu_msg_header header = { s->header.id, s->header.command, 100, VFU_MSG_REPLY, 0 };

    send_bytes(s, &header, 9);
    pause();
}

static void cut_off(struct server *s)
{
    struct vfu_msg_header header = { s->header.id, s->header.command, 100, VFU_MSG_REPLY, 0 };

    send_bytes(s, &header, HEADER);
    send_bytes(s, s->body, 20);
    _exit(0);
}

static void stops_inside(struct server *s)
{
    struct vfu_msg_header header = { s->header.id, s->header.command, 100, VFU_MSG_REPLY, 0 };

    send_bytes(s, &header, HEADER);
    pause();
}

/* A byte now and then, for ever. */
static void drips(struct server *s)
{
    struct vfu_msg_header header = { s->header.id, s->header.command, 1 << 20, VFU_MSG_REPLY, 0 };

    send_bytes(s, &header, HEADER);
    for (;;) {
        send_bytes(s, "x", 1);
        nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
    }
}

static void wrong_id(struct server *s)
{
    s->header.id += 77;
    send_reply(s, answer(s));
    pause();
}

static void wrong_command(struct server *s)
{
    s->header.command = 99;
    send_reply(s, 0);
    pause();
}

static void wrong_flags(struct server *s)
{
    struct vfu_msg_header header = { s->header.id, s->header.command, HEADER, 0x7, 0 };

    send_bytes(s, &header, HEADER);
    pause();
}

static void too_small(struct server *s)
{
    struct vfu_msg_header header = { s->header.id, s->header.command, 3, VFU_MSG_REPLY, 0 };

    send_bytes(s, &header, HEADER);
    pause();
}

static void zeros(struct server *s)
{
    send_bytes(s, &(struct vfu_msg_header){ 0 }, HEADER);
    pause();
}

static void too_large(struct server *s)
{
    struct vfu_msg_header header = { s->header.id, s->header.command, UINT32_MAX, VFU_MSG_REPLY, 0 };

    send_bytes(s, &header, HEADER);
    for (;;)
        send_bytes(s, s->body, 4096);
}

static void short_reply(struct server *s)
{
    send_reply(s, answer(s) ? 1 : 0);
    pause();
}

static void noise(struct server *s)
{
    memset(s->reply, 0xa5, 4096);
    send_bytes(s, s->reply, 4096);
    pause();
}

/* Asks and asks for memory, and answers nothing. */
static void asks(struct server *s)
{
    struct {
        struct vfu_msg_header header;
        struct vfu_msg_dma_access access;
    } ask = { { 1, VFU_CMD_DMA_READ, sizeof ask, VFU_MSG_NO_REPLY, 0 }, { 0x1000, 4 } };

    for (;;)
        send_bytes(s, &ask, sizeof ask);
}

static void refuses(struct server *s)
{
    struct vfu_msg_header header = { s->header.id, s->header.command, HEADER, VFU_MSG_REPLY | VFU_MSG_ERROR, 0 };

    send_bytes(s, &header, HEADER);
}

static const struct bad {
    const char *name;
    void (*run)(struct server *s);
    const char *says; /* in the words on stderr; NULL: it depends on the command */
    bool slow;        /* it ends with the time limit; on a slow machine, before the server has come to its fault */
} bads[] = {
    { "is silent", silent, "no reply within", true },
    { "vanishes", vanishes, "closed the connection", false },
    { "sends half a header", header_alone, "9 bytes of a header", true },
    { "vanishes inside a reply", cut_off, "bytes into a message", false },
    { "stops inside a reply", stops_inside, "of 100 bytes of message id", true },
    { "sends a byte now and then", drips, "1048576 bytes", true },
    { "replies with a wrong id", wrong_id, "answers nothing", false },
    { "replies to another command", wrong_command, "is to unknown command (99)", false },
    { "sends senseless flags", wrong_flags, "senseless flags", false },
    { "sends a size that is too small", too_small, "message of 3 bytes", false },
    { "sends zeros", zeros, "message of 0 bytes from the server (16 to 1052672 are possible); the last message's header: 00 00 00 00", false },
    { "sends a size that is too large", too_large, "message of 4294967295 bytes", false },
    { "sends a reply that is too short", short_reply, NULL, false },
    { "sends noise", noise, "header:", false },
    { "asks without end", asks, "no reply within", true },
    { "fails without an errno", refuses, "Input/output error", false },
};
#define BADS (sizeof bads / sizeof bads[0])

static void serve(struct server *s)
{
    while (read_all(s->fd, &s->header, HEADER)) {
        uint32_t size = s->header.size - (uint32_t)HEADER;

        if (size > sizeof s->body || !read_all(s->fd, s->body, size))
            break;
        if (!s->good) {
            s->misbehave(s);
        } else {
            s->good--;
            if (!(s->header.flags & VFU_MSG_NO_REPLY))
                send_reply(s, answer(s));
        }
    }
}

struct fake {
    pid_t pid;
    char path[96];
};

static void fake_start(struct fake *fake, const char *name, void (*misbehave)(struct server *s), uint32_t good)
{
    static struct server server;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(fake->path, sizeof fake->path, "%s/%s", dir, name);
    strcpy(address.sun_path, fake->path);
    unlink(fake->path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 16), 0);
    fake->pid = fork();
    if (fake->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        server.misbehave = misbehave;
        server.good = good;
        while ((server.fd = accept(fd, NULL, NULL)) >= 0) {
            serve(&server);
            close(server.fd);
        }
        _exit(0);
    }
    close(fd);
}

static void fake_stop(struct fake *fake)
{
    kill(fake->pid, SIGKILL);
    waitpid(fake->pid, NULL, 0);
}

/* ---- the commands ---- */

static char said[4096];

/* Its exit status, with what it says on stderr. It has a minute, of which it needs a fraction. */
static int client(const char *const *words, const char *limit)
{
    const char *program = getenv("VFU_CLIENT");
    char *argv[12] = { (char *)(program ? program : "./vfu-client"), (char *)"--timeout", (char *)limit };
    int n = 3, status = 0, pipes[2];
    size_t have = 0;
    ssize_t r;
    pid_t pid;

    while (*words && n < 11)
        argv[n++] = (char *)*words++;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(60);
        dup2(null, 0);
        dup2(null, 1);
        dup2(pipes[1], 2);
        execv(argv[0], argv);
        _exit(127);
    }
    close(pipes[1]);
    while ((r = read(pipes[0], said + have, sizeof said - 1 - have)) > 0)
        have += (size_t)r;
    said[have] = '\0';
    close(pipes[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static char snapshot[96];

static const struct command {
    const char *words[4]; /* "@": the socket of the server at fault; "=": of a good one; "%": a file */
    uint32_t requests;    /* which it needs at least */
} commands[] = {
    { { "@", "info" }, 20 },          { { "@", "read", "bar0", "0" }, 2 }, { { "@", "write", "bar0", "0" }, 2 },
    { { "@", "reset" }, 2 },          { { "@", "snapshot", "%" }, 15 },    { { "@", "restore", "%" }, 15 },
    { { "@", "bench" }, 10 },         { { "@", "hammer", "1" }, 10 },      { { "migrate", "@", "=" }, 15 },
    { { "migrate", "=", "@" }, 15 },
};

static int run_command(const struct command *command, const struct fake *at_fault, const struct fake *other,
                       const char *limit)
{
    const char *words[6];
    int n = 0;

    for (; n < 4 && command->words[n]; n++) {
        const char *word = command->words[n];

        words[n] = !strcmp(word, "@") ? at_fault->path
                   : !strcmp(word, "=") ? other->path
                   : !strcmp(word, "%") ? snapshot
                                        : word;
    }
    if (n > 1 && !strcmp(words[1], "write"))
        words[n++] = "1";
    words[n] = NULL;
    return client(words, limit);
}

static void test_good(void **state)
{
    struct fake fake, other;

    (void)state;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        int status;

        /* This server is no match for a hammer. */
        if (!strcmp(commands[i].words[1], "hammer"))
            continue;
        fake_start(&fake, "s", silent, FOREVER);
        fake_start(&other, "o", silent, FOREVER);
        status = run_command(&commands[i], &fake, &other, LONG);
        if (status)
            fail_msg("%s: exit %d: %s", commands[i].words[1], status, said);
        fake_stop(&fake);
        fake_stop(&other);
    }
}

static void judge(const struct command *command, const struct bad *bad, uint32_t good, int status)
{
    size_t lines = 0;

    for (const char *at = said; (at = strchr(at, '\n')); at++)
        lines++;
    if (status != 1)
        fail_msg("%s %s, a server that %s after %u requests: exit %d: %s", command->words[0], command->words[1],
                 bad->name, good, status, said);
    if (lines < 1 || lines > 3 || strncmp(said, "vfu-client: ", 12) != 0)
        fail_msg("%s, a server that %s after %u requests: %zu lines: %s", command->words[1], bad->name, good, lines,
                 said);
    if (bad->says && !strstr(said, bad->says) && !(bad->slow && strstr(said, "no reply within")))
        fail_msg("%s, a server that %s after %u requests: not '%s': %s", command->words[1], bad->name, good, bad->says,
                 said);
}

static void test_bad(void **state)
{
    const struct bad *bad = *state;
    static const uint32_t stages[] = { 0, 1, 4 }; /* requests that it answers well before */
    struct fake fake, other;

    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        for (size_t k = 0; k < sizeof stages / sizeof stages[0]; k++) {
            int status;

            if (stages[k] >= commands[i].requests)
                continue;
            /* The reset's own reply has no body, and cannot be too short. */
            if (bad->run == short_reply && !strcmp(commands[i].words[1], "reset") && stages[k])
                continue;
            fake_start(&fake, "s", bad->run, stages[k]);
            fake_start(&other, "o", silent, FOREVER);
            status = run_command(&commands[i], &fake, &other, bad->slow ? SHORT : LONG);
            fake_stop(&fake);
            fake_stop(&other);
            judge(&commands[i], bad, stages[k], status);
        }
    }
}

int main(void)
{
    struct CMUnitTest tests[BADS + 1] = { cmocka_unit_test(test_good) };
    const char *tmp = getenv("TMPDIR");
    char command[128];
    int failed;

    snprintf(dir, sizeof dir, "%s/vfu-bad.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(dir))
        return 1;
    snprintf(snapshot, sizeof snapshot, "%s/snapshot", dir);
    for (size_t i = 0; i < BADS; i++)
        tests[i + 1] = (struct CMUnitTest){ bads[i].name, test_bad, NULL, NULL, (void *)&bads[i] };
    failed = _cmocka_run_group_tests("bad servers", tests, BADS + 1, NULL, NULL);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command) || failed;
}
