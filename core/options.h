/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * options - the command line of vfu-host. Main's thread.
 */
#ifndef CORE_OPTIONS_H
#define CORE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <vfu/plugin.h>

struct option_device {
    const char *spec;
    char **items; /* KEY=VALUE */
    uint32_t nitems;
    const char *socket_path;
    const char *control; /* path of the control socket; NULL: beside the device's */
    int fd; /* -1: none */
};

enum option_mode { MODE_SERVE, MODE_CHECK, MODE_DUMP_PLUGIN, MODE_DUMP, MODE_NEW };

struct options {
    enum option_mode mode;
    const char *dump; /* json, header, markdown, svd */
    const char *new_name, *lang; /* MODE_NEW; lang may be NULL */
    struct option_device *devices;
    uint32_t ndevices;
    const char *run;
    bool once;
    bool reload;
    bool level_given; /* --log-level */
    uint64_t deny;
    bool deny_plugins; /* devices may not open other plugins */
    bool virtual_time;
    uint32_t spin_us;
    const char *coverage; /* FILE, NULL: none */
    bool trace; /* -v */
    const char *tracefile; /* --trace FILE, NULL: none */
    uint32_t trace_snap;
    uint64_t spin; /* reads a second that are polling, 0: any number is fine */
    struct vfu_limits limits;
};

/* -1: go on; else the exit status (0 after --help, 2 after a mistake, which has been explained). */
int options_parse(struct options *options, int argc, char **argv);
void options_free(struct options *options);

#endif
