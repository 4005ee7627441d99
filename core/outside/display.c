/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * display - displays and their threads: see display.h.
 *
 * Locks: a display's `lock` guards what the device says and what is asked for, the picture's own what viewers see. The
 * second may be taken while the first is not held only, and is the only one of the two that is held while lines are
 * converted, one by one.
 */
#include "core/outside/display.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/outside/frame.h"
#include "core/base/log.h"
#include "core/outside/png.h"
#include "core/outside/vnc.h"

#define VIEW_NS UINT64_C(40000000)   /* from one look to the next while there are viewers */
#define FILE_NS UINT64_C(1000000000) /* ... and for a file alone */
#define OUTPUTS_MAX 8u
#define SAVES_MAX 64u
#define LINE_WORDS (VFU_DISPLAY_SIDE_MAX / 64u)
#define FIRST_WIDTH 640u /* what viewers see before there is a picture: black */
#define FIRST_HEIGHT 480u

struct save {
    struct save *next;
    void (*done)(void *ctx, int error);
    void *ctx;
    char path[];
};

struct display {
    const char *who;
    char *outputs;
    char *file; /* png:, or NULL */
    char *at[OUTPUTS_MAX]; /* of vnc */
    struct vnc *vnc[OUTPUTS_MAX];
    uint32_t nvnc;
    pthread_t thread;
    bool running;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    bool looked; /* a viewer has come: do not wait */
    struct frame frame;
    uint64_t number;              /* goes up with each show */
    uint8_t *own;                 /* the lines of a frame in the device's memory */
    const void *owner;            /* who has shown it */
    bool gone;                    /* its memory went with the owner: `own` is all there is */
    uint64_t marked[LINE_WORDS];  /* lines that the device tells of */
    struct save *saves, **last;
    uint32_t nsaves;

    /* The thread's. */
    struct frame shown;
    uint64_t shown_number;
    uint8_t *shadow;       /* the lines as they were last */
    struct picture picture;
    bool unsaved;          /* the file is older than the picture */
    struct log_limit limit;
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- the picture: the display's thread --------------------------------------------------------------------------- */

static void lines_changed(struct display *d, uint32_t y, uint32_t height)
{
    for (uint32_t i = 0; i < d->nvnc; i++)
        vnc_changed(d->vnc[i], y, height);
    d->unsaved = true;
}

/* 0: there is a picture of this size, black if it is a new one. */
static int resize(struct display *d, uint32_t width, uint32_t height)
{
    uint32_t *pixels;

    if (d->picture.pixels && d->picture.width == width && d->picture.height == height)
        return 0;
    pixels = calloc((size_t)width * height, sizeof *pixels);
    if (!pixels)
        return -ENOMEM;
    pthread_mutex_lock(&d->picture.lock);
    free(d->picture.pixels);
    d->picture.pixels = pixels;
    d->picture.width = width;
    d->picture.height = height;
    d->picture.size_number++;
    lines_changed(d, 0, height);
    pthread_mutex_unlock(&d->picture.lock);
    return 0;
}

static void blank(struct display *d)
{
    pthread_mutex_lock(&d->picture.lock);
    if (d->picture.pixels) {
        memset(d->picture.pixels, 0, (size_t)d->picture.width * d->picture.height * sizeof *d->picture.pixels);
        lines_changed(d, 0, d->picture.height);
    }
    pthread_mutex_unlock(&d->picture.lock);
}

static bool same_pixels(const struct frame *a, const struct frame *b)
{
    return a->width == b->width && a->height == b->height && a->format == b->format && a->big_endian == b->big_endian &&
           memcmp(a->palette, b->palette, sizeof a->palette) == 0;
}

/* Pixels of line y that lie in the bytes from `first` to `end` of its shadow. */
static void draw(struct display *d, uint32_t y, uint32_t first, uint32_t end)
{
    const struct frame *f = &d->shown;
    const uint8_t *line = d->shadow + (size_t)y * f->line;
    uint32_t from = first / f->bytes, to = (end + f->bytes - 1) / f->bytes;

    pthread_mutex_lock(&d->picture.lock);
    frame_convert(f, line + (size_t)from * f->bytes, d->picture.pixels + (size_t)y * f->width + from, to - from);
    lines_changed(d, y, 1);
    pthread_mutex_unlock(&d->picture.lock);
}

/* A line of a frame in the device's memory; false: it shows another frame by now. */
static bool take_own(struct display *d, uint32_t y)
{
    bool same;

    pthread_mutex_lock(&d->lock);
    same = d->number == d->shown_number;
    if (same)
        memcpy(d->shadow + (size_t)y * d->shown.line, d->own + (size_t)y * d->shown.line, d->shown.line);
    pthread_mutex_unlock(&d->lock);
    return same;
}

static void look_at_lines(struct display *d, const uint64_t *marked, bool all)
{
    const struct frame *f = &d->shown;
    uint32_t first, end;

    for (uint32_t y = 0; y < f->height; y++) {
        bool told = marked[y / 64] >> y % 64 & 1;

        if (f->marked && !told && !all)
            continue;
        first = 0;
        end = f->line;
        if (f->own && !take_own(d, y))
            return;
        if (!f->own && !frame_compare(f->first + y * f->stride, d->shadow + (size_t)y * f->line, f->line, &first, &end) &&
            !all)
            continue;
        draw(d, y, all ? 0 : first, all ? f->line : end);
    }
}

/* A frame of other dimensions or formats: what is kept of the old one goes. */
static int start_frame(struct display *d, const struct frame *frame)
{
    uint8_t *shadow = calloc(frame->height, frame->line);
    int error = shadow ? resize(d, frame->width, frame->height) : -ENOMEM;

    if (error) {
        free(shadow);
        return error;
    }
    free(d->shadow);
    d->shadow = shadow;
    return 0;
}

/* Brings the picture up to date. */
static void look(struct display *d)
{
    struct frame frame = { 0 };
    uint64_t marked[LINE_WORDS], number;
    bool other, was = d->shown.first != NULL;
    int error = 0;

    pthread_mutex_lock(&d->lock);
    other = d->number != d->shown_number;
    number = d->number;
    if (other)
        frame = d->frame;
    memcpy(marked, d->marked, sizeof marked);
    memset(d->marked, 0, sizeof d->marked);
    pthread_mutex_unlock(&d->lock);
    if (other) {
        bool same = was && frame.first && same_pixels(&frame, &d->shown);

        d->shown_number = number;
        if (frame.first && !same)
            error = start_frame(d, &frame);
        if (error) {
            log_limited(&d->limit, d->who, LOG_ERROR, "display: no memory for a picture of %u x %u", frame.width,
                        frame.height);
            frame.first = NULL;
        }
        d->shown = frame;
        if (!frame.first && was)
            blank(d);
        other = !same;
    }
    if (d->shown.first)
        look_at_lines(d, marked, other);
    for (uint32_t i = 0; i < d->nvnc; i++)
        vnc_wake(d->vnc[i]);
}

static int save(struct display *d, const char *path)
{
    return d->shown.first ? png_save(path, d->picture.pixels, d->picture.width, d->picture.height) : -ENODATA;
}

/* A blank screen is a picture too, once there was one. */
static void save_file(struct display *d)
{
    int error;

    if (!d->file || !d->unsaved || !d->picture.pixels || !d->picture.size_number)
        return;
    d->unsaved = false;
    error = png_save(d->file, d->picture.pixels, d->picture.width, d->picture.height);
    if (error)
        log_limited(&d->limit, d->who, LOG_ERROR, "display: cannot save the picture as %s: %s", d->file, png_why(error));
}

/* ---- the display's thread ---------------------------------------------------------------------------------------- */

static void answer(struct save *saves, struct display *d)
{
    while (saves) {
        struct save *next = saves->next;

        saves->done(saves->ctx, d ? save(d, saves->path) : -ECANCELED);
        free(saves);
        saves = next;
    }
}

static struct save *take_saves(struct display *d)
{
    struct save *saves = d->saves;

    d->saves = NULL;
    d->last = &d->saves;
    d->nsaves = 0;
    return saves;
}

static bool has_viewers(const struct display *d)
{
    bool watched = false;

    for (uint32_t i = 0; i < d->nvnc; i++)
        watched = vnc_watched(d->vnc[i]) || watched;
    return watched;
}

/* Under the lock: waits until it is time to look again. */
static void wait_for_work(struct display *d, uint64_t looked_at)
{
    while (!d->stop && !d->saves && !d->looked) {
        uint64_t until = looked_at + (has_viewers(d) ? VIEW_NS : FILE_NS);
        struct timespec at = { (time_t)(until / 1000000000u), (long)(until % 1000000000u) };

        if (!has_viewers(d) && !d->file)
            pthread_cond_wait(&d->wake, &d->lock);
        else if (now_ns() >= until || pthread_cond_timedwait(&d->wake, &d->lock, &at) == ETIMEDOUT)
            return;
    }
}

static void *run(void *arg)
{
    struct display *d = arg;
    uint64_t looked_at = 0, saved_at = 0;

    setpriority(PRIO_PROCESS, (id_t)gettid(), 5); /* pictures are nothing that a driver waits for */
    pthread_mutex_lock(&d->lock);
    while (!d->stop) {
        struct save *saves;

        wait_for_work(d, looked_at);
        saves = take_saves(d);
        d->looked = false;
        pthread_mutex_unlock(&d->lock);
        looked_at = now_ns();
        look(d);
        answer(saves, d);
        if (looked_at - saved_at >= FILE_NS) {
            save_file(d);
            saved_at = looked_at;
        }
        pthread_mutex_lock(&d->lock);
    }
    pthread_mutex_unlock(&d->lock);
    if (d->file) {
        look(d);
        save_file(d);
    }
    return NULL;
}

static void looked(void *ctx)
{
    struct display *d = ctx;

    pthread_mutex_lock(&d->lock);
    d->looked = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
}

/* ---- making and unmaking ----------------------------------------------------------------------------------------- */

static void free_display(struct display *d)
{
    if (d->running) {
        pthread_mutex_lock(&d->lock);
        d->stop = true;
        pthread_cond_signal(&d->wake);
        pthread_mutex_unlock(&d->lock);
        pthread_join(d->thread, NULL);
    }
    for (uint32_t i = 0; i < d->nvnc; i++)
        vnc_close(d->vnc[i]);
    for (uint32_t i = 0; i < d->nvnc; i++)
        free(d->at[i]);
    answer(d->saves, NULL);
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->wake);
    pthread_mutex_destroy(&d->picture.lock);
    free(d->picture.pixels);
    free(d->shadow);
    free(d->own);
    free(d->file);
    free(d->outputs);
    free(d);
}

static struct display *new_display(const char *who, const char *outputs)
{
    struct display *d = calloc(1, sizeof *d);
    pthread_condattr_t attributes;

    if (!d)
        return NULL;
    d->who = who;
    d->last = &d->saves;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->picture.lock, NULL);
    pthread_cond_init(&d->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    d->outputs = strdup(outputs);
    if (d->outputs)
        return d;
    free_display(d);
    return NULL;
}

static int open_vnc(struct display *d, const char *where)
{
    char *at = NULL;
    int error = d->picture.pixels ? 0 : resize(d, FIRST_WIDTH, FIRST_HEIGHT);

    d->unsaved = false; /* nobody has drawn yet */
    if (!error && d->nvnc == OUTPUTS_MAX)
        error = -ENOSPC;
    if (!error)
        error = vnc_open(&d->vnc[d->nvnc], d->who, d->who, where, &d->picture, looked, d, &at);
    if (error)
        return error;
    d->at[d->nvnc++] = at;
    return 0;
}

static int open_file(struct display *d, const char *path)
{
    const char *missing = png_missing();
    int error;

    if (missing) {
        log_error(d->who, "display png:%s: %s", path, missing);
        return -EINVAL;
    }
    if (!*path || d->file) {
        log_error(d->who, "display png: one file is named behind the colon");
        return -EINVAL;
    }
    error = png_check(path);
    if (error) {
        log_error(d->who, "display png:%s: no file can be made there: %s", path, png_why(error));
        return error;
    }
    d->file = strdup(path);
    return d->file ? 0 : -ENOMEM;
}

static int open_output(struct display *d, const char *output)
{
    if (!*output || strcmp(output, "none") == 0)
        return 0;
    if (strncmp(output, "png:", 4) == 0)
        return open_file(d, output + 4);
    if (strncmp(output, "vnc:", 4) == 0)
        return open_vnc(d, output + 4);
    log_error(d->who, "display: there is no output '%s'; there are vnc:HOST:PORT, vnc:PORT, vnc:unix:PATH, png:FILE and none",
              output);
    return -EINVAL;
}

static int open_outputs(struct display *d)
{
    char *list = strdup(d->outputs), *rest = list, *output;
    int error = list ? 0 : -ENOMEM;

    while (!error && (output = strsep(&rest, ",")))
        error = open_output(d, output);
    free(list);
    return error;
}

static int start(struct display *d)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = open_outputs(d);
    if (!error)
        error = -pthread_create(&d->thread, NULL, run, d);
    d->running = error == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int display_init(struct displays *displays)
{
    int error = -pthread_mutex_init(&displays->lock, NULL);

    displays->made = error == 0;
    return error;
}

void display_fini(struct displays *displays)
{
    if (!displays->made)
        return;
    while (displays->n)
        free_display(displays->list[--displays->n]);
    pthread_mutex_destroy(&displays->lock);
    displays->made = 0;
}

int display_open(struct displays *displays, const char *outputs)
{
    struct display *d = NULL;
    int number = -1;

    outputs = outputs ? outputs : "";
    pthread_mutex_lock(&displays->lock);
    for (uint32_t i = 0; i < displays->n && number < 0; i++)
        number = strcmp(displays->list[i]->outputs, outputs) == 0 ? (int)i : -1;
    if (number < 0 && displays->n == VFU_DISPLAYS_MAX) {
        log_error(displays->who, "display: a device has %u of them at most", VFU_DISPLAYS_MAX);
        number = -ENOSPC;
    } else if (number < 0) {
        d = new_display(displays->who, outputs);
        number = d ? start(d) : -ENOMEM;
        if (d && number)
            free_display(d);
        else if (d)
            displays->list[number = (int)displays->n++] = d;
    }
    pthread_mutex_unlock(&displays->lock);
    return number;
}

void display_print(FILE *out, struct displays *displays)
{
    pthread_mutex_lock(&displays->lock);
    for (uint32_t i = 0; i < displays->n; i++) {
        const struct display *d = displays->list[i];

        for (uint32_t k = 0; k < d->nvnc; k++)
            fprintf(out, "  display     VNC at %s\n", d->at[k]);
        if (d->file)
            fprintf(out, "  display     %s, after each change\n", d->file);
    }
    pthread_mutex_unlock(&displays->lock);
}

static struct display *find(struct displays *displays, int64_t number)
{
    struct display *d;

    pthread_mutex_lock(&displays->lock);
    d = number >= 0 && number < displays->n ? displays->list[number] : NULL;
    pthread_mutex_unlock(&displays->lock);
    return d;
}

/* ---- what the device says ---------------------------------------------------------------------------------------- */

static void copy_lines(uint8_t *to, const struct frame *f, uint32_t y, uint32_t height, uint32_t first, uint32_t bytes)
{
    for (uint32_t i = y; i < y + height; i++)
        memcpy(to + (size_t)i * f->line + first, f->first + i * f->stride + first, bytes);
}

int display_show(struct displays *displays, int32_t number, const struct vfu_display_frame *what,
                 const struct region *regions)
{
    return display_show_of(displays, number, what, regions, NULL);
}

void display_disown(struct displays *displays, const void *owner)
{
    struct display *d;

    for (uint32_t i = 0; (d = find(displays, i)); i++) {
        pthread_mutex_lock(&d->lock);
        if (d->own && d->owner == owner)
            d->gone = true;
        pthread_mutex_unlock(&d->lock);
    }
}

int display_show_of(struct displays *displays, int32_t number, const struct vfu_display_frame *what,
                    const struct region *regions, const void *owner)
{
    struct display *d = find(displays, number);
    uint8_t *own = NULL, *before;
    struct frame frame = { 0 };
    int error = 0;

    if (!d)
        return -ENOENT;
    if (what)
        error = frame_check(&frame, what, regions);
    if (frame.own && frame.first) {
        own = malloc((size_t)frame.height * frame.line);
        if (own)
            copy_lines(own, &frame, 0, frame.height, 0, frame.line);
        else
            error = -ENOMEM;
    }
    if (error)
        frame = (struct frame){ 0 };
    pthread_mutex_lock(&d->lock);
    before = d->own;
    d->own = own;
    d->owner = owner;
    d->gone = false;
    d->frame = frame;
    d->number++;
    memset(d->marked, 0xff, sizeof d->marked);
    pthread_mutex_unlock(&d->lock);
    free(before);
    return error;
}

int display_changed(struct displays *displays, int32_t number, uint32_t x, uint32_t y, uint32_t width, uint32_t height)
{
    struct display *d = find(displays, number);
    const struct frame *f;
    int error = 0;

    if (!d)
        return -ENOENT;
    pthread_mutex_lock(&d->lock);
    f = &d->frame;
    if (!f->first || d->gone) {
        error = -ENODATA;
    } else if (x < f->width && y < f->height) {
        width = width < f->width - x ? width : f->width - x;
        height = height < f->height - y ? height : f->height - y;
        if (d->own)
            copy_lines(d->own, f, y, height, x * f->bytes, width * f->bytes);
        for (uint32_t i = y; width && i < y + height; i++)
            d->marked[i / 64] |= UINT64_C(1) << i % 64;
    }
    pthread_mutex_unlock(&d->lock);
    return error;
}

int display_save(struct displays *displays, uint32_t number, const char *path, void (*done)(void *ctx, int error),
                 void *ctx)
{
    struct display *d = find(displays, number);
    size_t n = strlen(path) + 1;
    struct save *asked;
    int error = 0;

    if (!d)
        return -ENOENT;
    if (!png_works())
        return -ENOTSUP;
    asked = calloc(1, sizeof *asked + n);
    if (!asked)
        return -ENOMEM;
    asked->done = done;
    asked->ctx = ctx;
    memcpy(asked->path, path, n);
    pthread_mutex_lock(&d->lock);
    if (!d->frame.first)
        error = -ENODATA;
    else if (d->nsaves == SAVES_MAX)
        error = -ENOSPC;
    if (!error) {
        *d->last = asked;
        d->last = &asked->next;
        d->nsaves++;
        pthread_cond_signal(&d->wake);
    }
    pthread_mutex_unlock(&d->lock);
    if (error)
        free(asked);
    return error;
}
