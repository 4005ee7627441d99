/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/tracefile: what stands in the file, from one thread and from several, files that take no more, readers
 * that do not read, and processes that die. The files are in a folder of their own.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/wire/tracefile.h"
#include "tests/unit/pcapng.h"

#define THREADS 4
#define EACH 3000u

static char folder[64], path[96];

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/vfu-trace.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/t.pcapng", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void put(const struct tracefile_tap *tap, const void *bytes, uint32_t size, enum tracefile_direction direction,
                uint32_t nfds, const char *note)
{
    tracefile_put(tap, &(struct tracefile_message){ bytes, size, size, nfds, direction, note });
}

static void read_all(struct pcapng *all)
{
    const char *wrong = pcapng_read(all, path);

    if (wrong)
        fail_msg("%s: %s", path, wrong);
}

static void test_contents(void **state)
{
    struct tracefile_tap a, b;
    struct tracefile *file;
    struct pcapng all;
    uint8_t bytes[100];
    struct stat st;

    (void)state;
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(tracefile_open(&file, path, 64), 0);
    assert_int_equal(tracefile_device(file, "edu", "/run/edu.sock", &a), 0);
    assert_int_equal(tracefile_device(file, "nic", "fd 3", &b), 0);
    put(&a, bytes, 16, TRACEFILE_IN, 0, NULL);
    put(&b, bytes, 100, TRACEFILE_OUT, 2, NULL);
    put(&a, bytes, 17, TRACEFILE_OUT, 1, "twin socket");
    put(&a, bytes, 0, TRACEFILE_IN, 0, "nothing");
    tracefile_put(&b, &(struct tracefile_message){ bytes, 30, 50, 0, TRACEFILE_IN, "cut short" });
    tracefile_close(file);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    read_all(&all);
    assert_memory_equal(all.application, "vfu-host ", 9);
    assert_int_equal(all.ninterfaces, 2);
    assert_string_equal(all.interfaces[0].name, "edu");
    assert_string_equal(all.interfaces[0].description, "/run/edu.sock");
    assert_string_equal(all.interfaces[1].description, "fd 3");
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(all.interfaces[i].linktype, 147);
        assert_int_equal(all.interfaces[i].snap, 64);
        assert_int_equal(all.interfaces[i].tsresol, 9);
        assert_true(all.interfaces[i].statistics);
        assert_int_equal(all.interfaces[i].received, i ? 2 : 3);
        assert_int_equal(all.interfaces[i].dropped, 0);
    }
    assert_int_equal(all.npackets, 5);
    assert_int_equal(all.packets[0].have, 16);
    assert_int_equal(all.packets[0].flags, 1);
    assert_string_equal(all.packets[0].comment, "");
    assert_int_equal(all.packets[1].interface, 1);
    assert_int_equal(all.packets[1].have, 64); /* the snap length */
    assert_int_equal(all.packets[1].size, 100);
    assert_int_equal(all.packets[1].flags, 2);
    assert_string_equal(all.packets[1].comment, "fds: 2");
    assert_memory_equal(all.packets[1].bytes, bytes, 64);
    assert_string_equal(all.packets[2].comment, "fds: 1; twin socket");
    assert_int_equal(all.packets[3].size, 0);
    assert_int_equal(all.packets[4].have, 30);
    assert_int_equal(all.packets[4].size, 50);
    for (size_t i = 1; i < all.npackets; i++)
        assert_true(all.packets[i].time >= all.packets[i - 1].time);
    pcapng_free(&all);
}

/* What a thread puts comes in its order, whole, whatever the others do; the ring goes round a few times. */
static void *put_many(void *arg)
{
    uint32_t words[700];

    for (uint32_t i = 0; i < EACH; i++) {
        uint32_t n = 1 + i % 700;

        for (uint32_t j = 0; j < n; j++)
            words[j] = i + j;
        put(arg, words, n * 4, TRACEFILE_IN, 0, NULL);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct tracefile_tap taps[THREADS];
    uint32_t next[THREADS] = { 0 };
    pthread_t threads[THREADS];
    uint64_t dropped = 0;
    struct tracefile *file;
    struct pcapng all;

    (void)state;
    assert_int_equal(tracefile_open(&file, path, TRACEFILE_SNAP), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(tracefile_device(file, "d", "s", &taps[i]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, put_many, &taps[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    tracefile_close(file);
    read_all(&all);
    for (size_t i = 0; i < all.npackets; i++) {
        const struct pcapng_packet *one = &all.packets[i];
        uint32_t first, last;

        /* On a disk that stalls, some may be missing: the file says how many. */
        next[one->interface] += (uint32_t)one->dropped;
        memcpy(&first, one->bytes, 4);
        memcpy(&last, one->bytes + one->size - 4, 4);
        assert_int_equal(first, next[one->interface]++);
        assert_int_equal(one->size, 4 * (1 + first % 700));
        assert_int_equal(last, first + one->size / 4 - 1);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(all.interfaces[i].received, EACH);
        dropped += all.interfaces[i].dropped;
    }
    assert_int_equal(all.npackets + dropped, THREADS * EACH);
    pcapng_free(&all);
}

/* A device that is always full, and a file that must not grow: the trace ends, with its last whole packet. */
static void test_full(void **state)
{
    struct rlimit former, small = { .rlim_max = RLIM_INFINITY };
    struct tracefile_tap tap;
    struct tracefile *file;
    struct pcapng all;
    uint8_t bytes[1000] = { 0 };

    (void)state;
    assert_int_equal(tracefile_open(&file, "/dev/full", TRACEFILE_SNAP), 0);
    assert_int_equal(tracefile_device(file, "d", "s", &tap), 0);
    for (int i = 0; i < 20000; i++)
        put(&tap, bytes, sizeof bytes, TRACEFILE_IN, 0, NULL);
    tracefile_close(file);

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &former), 0);
    small.rlim_cur = 12345;
    small.rlim_max = former.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(tracefile_open(&file, path, TRACEFILE_SNAP), 0);
    assert_int_equal(tracefile_device(file, "d", "s", &tap), 0);
    for (int i = 0; i < 100; i++)
        put(&tap, bytes, sizeof bytes, TRACEFILE_IN, 0, NULL);
    tracefile_close(file);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &former), 0);
    read_all(&all);
    assert_int_equal(all.npackets, (12345 - 200) / 1048);
    pcapng_free(&all);
}

static void *read_fifo(void *arg)
{
    FILE *in = fopen(arg, "rb"), *out;
    char copy[128], bytes[4096];
    size_t n;

    snprintf(copy, sizeof copy, "%s.copy", (char *)arg);
    out = fopen(copy, "wb");
    while (in && out && (n = fread(bytes, 1, sizeof bytes, in)) > 0)
        fwrite(bytes, 1, n, out);
    if (in)
        fclose(in);
    if (out)
        fclose(out);
    return NULL;
}

static void test_fifo(void **state)
{
    struct tracefile_tap tap;
    struct tracefile *file;
    struct pcapng all;
    pthread_t reader;
    char copy[128];
    uint32_t last;

    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(pthread_create(&reader, NULL, read_fifo, path), 0);
    assert_int_equal(tracefile_open(&file, path, TRACEFILE_SNAP), 0);
    assert_int_equal(tracefile_device(file, "d", "s", &tap), 0);
    put_many(&tap);
    tracefile_close(file);
    pthread_join(reader, NULL);
    snprintf(copy, sizeof copy, "%s.copy", path);
    assert_null(pcapng_read(&all, copy));
    assert_int_equal(all.npackets + all.interfaces[0].dropped, EACH);
    memcpy(&last, all.packets[all.npackets - 1].bytes, 4);
    assert_true(last < EACH);
    pcapng_free(&all);
    unlink(copy);
}

/* A reader that takes nothing holds nobody up: what has no room is dropped. And one that goes. */
static void test_bad_reader(void **state)
{
    struct tracefile_tap tap;
    struct tracefile *file;
    uint8_t *bytes = calloc(1, TRACEFILE_SNAP);
    int fd;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    assert_non_null(bytes);
    assert_int_equal(mkfifo(path, 0600), 0);
    for (int goes = 0; goes < 2; goes++) {
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(tracefile_open(&file, path, TRACEFILE_SNAP), 0);
        assert_int_equal(tracefile_device(file, "d", "s", &tap), 0);
        for (int i = 0; i < 400; i++) /* 26 MB */
            put(&tap, bytes, TRACEFILE_SNAP, TRACEFILE_OUT, 0, NULL);
        if (goes)
            close(fd);
        tracefile_close(file);
        if (!goes)
            close(fd);
    }
    free(bytes);
}

/* The message that a model does not survive is the one that is looked for. */
static void test_death(void **state)
{
    static const int signals[] = { SIGSEGV, SIGABRT, SIGBUS, 0 };

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct pcapng all;
        int status;
        pid_t child = fork();

        assert_true(child >= 0);
        if (child == 0) {
            const struct rlimit none = { 0, 0 };
            struct tracefile_tap tap;
            struct tracefile *file;

            setrlimit(RLIMIT_CORE, &none);
            for (int j = 0; j < 3; j++)
                signal(signals[j], SIG_DFL); /* a sanitizer has its own handlers, which say more than we need */
            if (tracefile_open(&file, path, TRACEFILE_SNAP) || tracefile_device(file, "d", "s", &tap))
                _exit(9);
            put(&tap, "last words", 10, TRACEFILE_IN, 0, NULL);
            if (signals[i])
                raise(signals[i]);
            exit(7);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (signals[i])
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == signals[i]);
        else
            assert_true(WIFEXITED(status));
        read_all(&all);
        assert_int_equal(all.npackets, 1);
        assert_memory_equal(all.packets[0].bytes, "last words", 10);
        pcapng_free(&all);
        unlink(path);
    }
}

static void test_refused(void **state)
{
    static const char text[] = "return { name = 'mine' }\n";
    struct tracefile *file;
    char missing[128], back[64] = "";
    FILE *script = fopen(path, "w");

    (void)state;
    assert_non_null(script);
    fputs(text, script);
    fclose(script);
    assert_int_equal(tracefile_open(&file, path, 64), -EEXIST);
    script = fopen(path, "r");
    assert_non_null(script);
    assert_non_null(fgets(back, sizeof back, script));
    fclose(script);
    assert_string_equal(back, text);
    snprintf(missing, sizeof missing, "%s/no/t.pcapng", folder);
    assert_int_equal(tracefile_open(&file, missing, 64), -ENOENT);
    assert_int_equal(tracefile_open(&file, folder, 64), -EISDIR);
    /* Another trace is written over. */
    unlink(path);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tracefile_open(&file, path, 64), 0);
        tracefile_close(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_contents, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_threads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fifo, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_reader, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_death, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
