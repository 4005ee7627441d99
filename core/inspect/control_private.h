/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control_private - what control.c and answer.c share: a connection and what becomes of its requests. Main's thread, where a
 * member does not say otherwise. Nobody else includes it.
 */
#ifndef CORE_CONTROL_PRIVATE_H
#define CORE_CONTROL_PRIVATE_H

#include "core/inspect/ask.h"
#include "core/inspect/control.h"
#include "core/base/log.h"
#include "core/wire/socketpath.h"

struct connection {
    struct loop_watch watch; /* first */
    struct connection *next;
    struct control *control;
    uint64_t id;
    char *in, *out; /* in: CONTROL_LINE_MAX bytes */
    size_t in_used, out_at, out_used, out_room;
    struct job *job; /* under way, or NULL */
    bool subscribed;
    bool owner; /* a command of CONTROL_OWNS was begun */
    bool ending; /* closes when all is sent */
};

/* A request on its way. Main's, but between ask_post and job_done, when it is the device's. */
struct job {
    struct ask_item item; /* first */
    struct job *next;     /* of all */
    struct job *later;    /* the device's: CONTROL_LATER */
    struct control *control;
    struct connection *from; /* main's; NULL: nobody waits any more */
    const struct control_command *command;
    json_t *request, *reply;
    int result;
    uint64_t asked;
};

struct control {
    struct device *dev;
    struct loop *loop; /* main's */
    struct loop_watch watch;
    char *path;
    struct socketpath_file file;
    int spare; /* given up for a moment when the process has no descriptor left */
    struct connection *connections;
    uint32_t nconnections;
    struct job *jobs;
    struct job *later; /* the device's */
    struct loop_timer tick;
    uint64_t next_id;
    int subscribers; /* any thread reads it */
    int waiting;     /* events on their way from the device to main */
    struct log_limit limit;
};

/* Closes it and frees it; a request under way goes on without it. */
void control_drop(struct connection *c);

/* Those of answer.c that tell: false, the connection is closed and gone. */
bool answer_send(struct connection *c); /* what waits, as far as it goes */
bool answer_line(struct connection *c, const json_t *value);
/* Sets "errno" in reply, and "error" if it is missing, where result is one. */
bool answer_reply(struct connection *c, const json_t *id, json_t *reply, int result);
bool answer_refuse(struct connection *c, const json_t *id, int error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* A connection whose request is under way, or whose output waits, is not read. That it is gone altogether shows in any
 * case; one whose other side only writes no more still gets its answers. */
void answer_watch(struct connection *c);

#endif
