/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/origin: files of the kernel's are taken, those of FUSE are not, and finding that out waits for nobody.
 * The FUSE file system is made here, in a process with a mount namespace of its own that stops answering once the
 * file is open. Where the kernel allows none, that case is skipped.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <vfu/protocol.h>

#include "core/pci/dma.h"
#include "core/base/log.h"
#include "core/base/origin.h"

int log_threshold = LOG_WARN;
static char last_line[512];

void log_limited(struct log_limit *limit, const char *who, enum log_level level, const char *format, ...)
{
    va_list args;

    (void)limit;
    (void)who;
    (void)level;
    va_start(args, format);
    vsnprintf(last_line, sizeof last_line, format, args);
    va_end(args);
}

void log_write(const char *who, enum log_level level, const char *format, ...)
{
    (void)who;
    (void)level;
    (void)format;
}

static const char *objection(int fd)
{
    struct statx file;

    assert_int_equal(origin_look(fd, &file), 0);
    return origin_objection(fd, &file);
}

static void test_kernel_files(void **state)
{
    char path[] = "/tmp/origin-XXXXXX";
    int memory = memfd_create("origin", MFD_CLOEXEC), file = mkstemp(path), copy;
    struct statx status;

    (void)state;
    assert_true(memory >= 0 && file >= 0);
    assert_int_equal(unlink(path), 0);
    copy = dup(file);
    origin_close(copy);
    assert_int_equal(fcntl(copy, F_GETFD), -1); /* at once */
    assert_null(objection(memory));
    assert_null(objection(file));
    assert_int_equal(ftruncate(memory, 12288), 0);
    assert_int_equal(origin_look(memory, &status), 0);
    assert_int_equal(status.stx_size, 12288);
    close(memory);
    close(file);
    assert_int_equal(origin_look(file, &status), -EBADF);
}

static void test_mounts(void **state)
{
    static char text[] = "22 28 0:20 / /sys rw,nosuid - sysfs sysfs rw\n"
                         "28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard\n"
                         "30 28 0:40 / /home/a/remote rw,nosuid - fuse.sshfs host:/ rw,user_id=1000\n"
                         "31 28 0:41 / /mnt/a rw - fuse a rw\n"
                         "32 28 8:1 / /mnt/b rw master:3 propagate_from:2 - fuseblk /dev/sda1 rw\n"
                         "33 28 0:42 / /mnt/c rw - fusectl c rw\n"
                         "34 28 0:43 / /mnt/fuse\\040- rw - btrfs d rw\n"
                         "35 28 0:44 / /mnt/cut\n"
                         "nonsense\n"
                         "36 28 0:45 / /mnt/e rw - overlay overlay rw,lowerdir=/fuse";
    static const struct {
        uint64_t id;
        bool block, taken;
    } cases[] = {
        { 22, false, true }, { 28, true, true },   { 30, false, false }, { 31, false, false }, { 32, true, false },
        { 33, false, true }, { 34, false, true },  { 35, false, false }, { 36, false, true },
        { 2, false, false }, { 99, false, false }, { 99, true, true },   { 0, false, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        FILE *mounts = fmemopen(text, sizeof text - 1, "r");

        assert_non_null(mounts);
        if ((origin_objection_in(mounts, cases[i].id, cases[i].block) == NULL) != cases[i].taken)
            fail_msg("mount %llu", (unsigned long long)cases[i].id);
        fclose(mounts);
    }
}

/* ---- a FUSE file system with one file, whatever its name, of 1 MiB ---------------------------------- */

static void answer(int fuse, uint64_t unique, int error, const void *body, size_t size)
{
    struct fuse_out_header header = { (uint32_t)(sizeof header + size), error, unique };
    uint8_t bytes[512];

    memcpy(bytes, &header, sizeof header);
    if (size)
        memcpy(bytes + sizeof header, body, size);
    if (write(fuse, bytes, header.len) < 0)
        _exit(3);
}

static struct fuse_attr attributes(uint64_t node)
{
    bool root = node == FUSE_ROOT_ID;

    return (struct fuse_attr){
        .ino = node, .size = root ? 0 : 1 << 20, .mode = root ? S_IFDIR | 0755u : S_IFREG | 0666u, .nlink = 1
    };
}

/* Until the process that opened the file has closed it; attributes are stale at once, so that whoever wants them has to
 * ask. */
static void serve(int fuse)
{
    static uint8_t bytes[1 << 17];
    struct fuse_in_header in = { 0 };

    while (in.opcode != FUSE_FLUSH) {
        struct fuse_init_out init = { .major = 7, .minor = 31, .max_write = 65536, .max_readahead = 65536 };
        struct fuse_entry_out entry = { .nodeid = 2, .attr = attributes(2) };
        struct fuse_attr_out attr;
        struct fuse_open_out opened = { .fh = 1 };

        if (read(fuse, bytes, sizeof bytes) < (ssize_t)sizeof in)
            return;
        memcpy(&in, bytes, sizeof in);
        attr = (struct fuse_attr_out){ .attr = attributes(in.nodeid) };
        switch (in.opcode) {
        case FUSE_INIT: answer(fuse, in.unique, 0, &init, sizeof init); break;
        case FUSE_LOOKUP: answer(fuse, in.unique, 0, &entry, sizeof entry); break;
        case FUSE_GETATTR: answer(fuse, in.unique, 0, &attr, sizeof attr); break;
        case FUSE_OPEN: answer(fuse, in.unique, 0, &opened, sizeof opened); break;
        case FUSE_FLUSH: answer(fuse, in.unique, 0, NULL, 0); break;
        default: answer(fuse, in.unique, -ENOSYS, NULL, 0);
        }
    }
}

static void send_fd(int to, int fd)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = { 0 };
    char byte = 0;
    struct iovec one = { &byte, 1 };
    struct msghdr m = { .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    if (sendmsg(to, &m, 0) != 1)
        _exit(4);
}

static int receive_fd(int from)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    char byte;
    struct iovec room = { &byte, 1 };
    struct msghdr m = { .msg_iov = &room, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    int fd = -1;

    if (recvmsg(from, &m, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&m))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
    return fd;
}

/* Mounts, sends the open file, and leaves a process behind that serves it until `to` is closed at its other end: who
 * holds both the file and its server cannot even be killed. It ends at once where it may not do this. */
static void client(int to, const char *dir)
{
    int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC), file, pid;
    char options[100], path[100];

    if (fuse < 0 || unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        _exit(0);
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fuse);
    if (mount("origin", dir, "fuse", 0, options) < 0 || (pid = fork()) < 0)
        _exit(0);
    if (pid == 0) {
        serve(fuse);
        while (read(to, path, 1) > 0) /* from now on nobody gets an answer */
            ;
        _exit(0);
    }
    close(fuse);
    snprintf(path, sizeof path, "%s/file", dir);
    file = open(path, O_RDWR | O_CLOEXEC);
    if (file >= 0)
        send_fd(to, file);
    _exit(0);
}

static void test_fuse(void **state)
{
    char dir[] = "/tmp/origin-XXXXXX";
    int pair[2], file, pid, status;
    struct dma *dma;

    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(pair[0]);
        client(pair[1], dir);
    }
    close(pair[1]);
    file = receive_fd(pair[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (file >= 0) {
        const char *why = objection(file);

        assert_int_equal(dma_new(&dma, "dut", 4), 0);
        assert_non_null(why);
        assert_int_equal(dma_map(dma, 0, 4096, VFU_DMA_MAP_READABLE, file, 0), -EINVAL);
        assert_non_null(strstr(last_line, why));
        dma_free(dma);
        origin_close(file); /* does not wait either */
    }
    close(pair[0]); /* which ends the file system, and whoever waits for it */
    assert_int_equal(rmdir(dir), 0);
    if (file < 0)
        skip();
    while (fcntl(file, F_GETFD) >= 0) /* and now it can go */
        usleep(1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_files),
        cmocka_unit_test(test_mounts),
        cmocka_unit_test(test_fuse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
