/* SPDX-License-Identifier: BSD-3-Clause */
/* cross - calls of a plugin's own threads: see cross.h. */
#include "core/plugin/cross.h"

#include <errno.h>
#include <string.h>

int cross_init(struct cross *x, struct loop *loop)
{
    int error;

    memset(x, 0, sizeof *x);
    error = pthread_mutex_init(&x->lock, NULL);
    if (error)
        return -error;
    x->loop = loop;
    x->last = &x->first;
    return 0;
}

void cross_fini(struct cross *x)
{
    if (x->loop)
        pthread_mutex_destroy(&x->lock);
    x->loop = NULL;
}

/* With the lock held. The caller's frame is gone as soon as the lock is free. */
static void answer(struct cross_call *call, int64_t result)
{
    call->result = result;
    call->done = true;
    pthread_cond_signal(&call->answered);
}

static struct cross_call *take_first(struct cross *x)
{
    struct cross_call *call = x->first;

    if (call) {
        x->first = call->next;
        if (!x->first)
            x->last = &x->first;
    }
    return call;
}

/* Makes what waits: those that come meanwhile too, until a round's worth is done. */
#define CALLS_A_ROUND 256

static void make_calls(void *arg)
{
    struct cross *x = arg;
    struct cross_call *call;

    pthread_mutex_lock(&x->lock);
    x->scheduled = false;
    for (int i = 0; i < CALLS_A_ROUND && (call = take_first(x)); i++) {
        int64_t result;

        pthread_mutex_unlock(&x->lock);
        result = call->run(call);
        pthread_mutex_lock(&x->lock);
        if (result != CROSS_LATER) {
            answer(call, result);
            continue;
        }
        call->next = x->open;
        x->open = call;
    }
    if (x->first && loop_post(x->loop, make_calls, x) == 0)
        x->scheduled = true;
    pthread_mutex_unlock(&x->lock);
}

int64_t cross_call(struct cross *x, struct cross_call *call)
{
    int error = pthread_cond_init(&call->answered, NULL);

    if (error)
        return -error;
    call->next = NULL;
    call->done = false;
    pthread_mutex_lock(&x->lock);
    error = x->closed;
    if (!error && !x->scheduled)
        error = loop_post(x->loop, make_calls, x);
    if (!error) {
        x->scheduled = true;
        *x->last = call;
        x->last = &call->next;
        while (!call->done)
            pthread_cond_wait(&call->answered, &x->lock);
    }
    pthread_mutex_unlock(&x->lock);
    pthread_cond_destroy(&call->answered);
    return error ? error : call->result;
}

void cross_finish(struct cross *x, struct cross_call *call, int64_t result)
{
    struct cross_call **link = &x->open;

    pthread_mutex_lock(&x->lock);
    while (*link && *link != call)
        link = &(*link)->next;
    if (*link) {
        *link = call->next;
        answer(call, result);
    }
    pthread_mutex_unlock(&x->lock);
}

void cross_close(struct cross *x, int error)
{
    struct cross_call *call;

    pthread_mutex_lock(&x->lock);
    x->closed = error;
    while ((call = take_first(x)))
        answer(call, error);
    while ((call = x->open)) {
        x->open = call->next;
        /* Without the lock; the caller waits, so the call stays. */
        pthread_mutex_unlock(&x->lock);
        call->give_up(call);
        pthread_mutex_lock(&x->lock);
        answer(call, error);
    }
    pthread_mutex_unlock(&x->lock);
}

void cross_open(struct cross *x)
{
    pthread_mutex_lock(&x->lock);
    x->closed = 0;
    pthread_mutex_unlock(&x->lock);
}
