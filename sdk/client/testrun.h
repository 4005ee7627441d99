/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * testrun - vfu-client test: runs files of device tests, without a virtual machine.
 *
 * testrun.c    options, and the parent: a process for each file, as many at a time as there are jobs
 * testfile.c   a file's process: loads the file once, and forks a process for each of its tests
 * testshow.c   what is printed: a summary for people, or TAP
 * testjunit.c  the report for continuous integration
 * testjson.c   the same for programs
 * testcover.c  which registers the tests have touched
 *
 * Each process has one thread. A job is a byte in a pipe that all processes share: who takes one may run a test.
 * A file's process tells the parent what happens in lines of JSON.
 */
#ifndef CLIENT_TESTRUN_H
#define CLIENT_TESTRUN_H

#include <jansson.h>
#include <regex.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

enum test_status { TEST_UNKNOWN, TEST_PASSED, TEST_FAILED, TEST_SKIPPED };

struct test_case {
    char *name;
    int line;
    enum test_status status;
    bool running, left_out; /* left_out: by --filter */
    double seconds;
    json_t *result; /* message, trace, output, log: texts, where there are any */
};

struct test_file {
    const char *path;
    pid_t pid; /* 0: not started, or ended */
    int fd;    /* what it tells */
    char *line;
    size_t length, room;
    bool loaded, ended;
    double start; /* of its process */
    char *error; /* it could not be loaded, or its process broke */
    struct test_case *cases;
    int ncases;
    double seconds;
    json_t *coverage; /* of all its tests, by register; NULL: nobody told */
};

struct test_run {
    struct test_file *files;
    int nfiles;
    int jobs;
    double limit; /* seconds for a test */
    bool tap, json, coverage, filtered;
    const char *junit;
    regex_t filter;
    char folder[64];
    int lock; /* of the folder; the processes of files and tests have it too: while it is held the run lives */
    int tokens[2];
    /* of the output */
    bool terminal, progress;
    int shown_files, shown_cases, number, done;
    int passed, failed, skipped;
    double seconds;
};

int testrun_main(int argc, char **argv);

/* The file's process: never returns. Tells through `out`. */
void testfile_process(const struct test_run *run, int index, int out, pid_t parent) __attribute__((noreturn));

/* Shows what has come since the last time, in order. */
void testshow_update(struct test_run *run);
void testshow_end(struct test_run *run);
/* A text of the case's result; NULL if there is none. */
const char *testshow_text(const struct test_case *test, const char *key);

/* To standard output: 0 or -errno. */
int testjson_print(const struct test_run *run);
/* 0 or -errno. */
int testjunit_write(const struct test_run *run);

/* Adds what one host has told to the file's. */
void testcover_add(json_t **all, const json_t *one);
struct testcover_sum {
    int registers, registers_touched, fields, fields_touched, hooks, hooks_run;
    int unmodelled; /* accesses that met nothing */
};
/* Accesses that met nothing: the object of each place, {region, offset, size, reads, writes, why}, by "bar0+0x44/4". */
json_t *testcover_nothing(const json_t *all);
/* The sums, and the names of registers that no test touched; false if nothing is known. */
bool testcover_sum(const json_t *all, struct testcover_sum *sum, char *untouched, size_t size);

#endif
