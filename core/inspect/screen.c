/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * screen - the command "screen": see screen.h. It is asked on the device's thread, the picture is made on the display's,
 * and answered on the device's again. A job is in the list of dev->displays from the one to the other.
 */
#include "core/inspect/screen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/inspect/control.h"
#include "core/device/device.h"
#include "core/outside/png.h"

struct display_job {
    struct ask_item item; /* first */
    struct display_job *next;
    struct device *dev;
    json_t *reply;
    int error;
};

/* Under the lock of the list. */
static void leave(struct display_job *job)
{
    struct display_job **link = &job->dev->displays.jobs;

    while (*link != job)
        link = &(*link)->next;
    *link = job->next;
}

static void device_saved(struct ask_item *item)
{
    struct display_job *job = (struct display_job *)item;
    int error = job->error;

    pthread_mutex_lock(&job->dev->displays.lock);
    leave(job);
    pthread_mutex_unlock(&job->dev->displays.lock);
    if (error)
        control_error(job->reply, error, "the picture could not be saved: %s",
                      error == -ENODATA ? "the screen has gone blank" : png_why(error));
    control_finish(job->dev, job->reply, error);
    free(job);
}

/* The display's thread. Where no device runs any more nobody waits, and screen_forget takes it. */
static void saved(void *ctx, int error)
{
    struct display_job *job = ctx;

    job->error = error;
    job->item.run = device_saved;
    if (error != -ECANCELED)
        (void)ask_post(&job->dev->ask, &job->item);
}

static int refused(json_t *reply, int error, json_int_t number)
{
    switch (error) {
    case -ENOENT:
        return control_error(reply, error, "the device has no display %lld", (long long)number);
    case -ENOTSUP:
        return control_error(reply, error, "no picture can be saved: %s", png_missing());
    case -ENODATA:
        return control_error(reply, error, "the screen is blank: the device shows nothing");
    default:
        return control_error(reply, error, "the picture cannot be saved: %s", strerror(-error));
    }
}

int screen_control(struct device *dev, const json_t *request, json_t *reply)
{
    const char *file = json_string_value(json_object_get(request, "file"));
    const json_t *display = json_object_get(request, "display");
    json_int_t number = json_integer_value(display);
    struct display_job *job;
    int error;

    if (!file || !*file)
        return control_error(reply, -EINVAL, "\"file\" is missing: the path of the PNG file");
    if ((display && !json_is_integer(display)) || number < 0 || number >= (json_int_t)VFU_DISPLAYS_MAX)
        return control_error(reply, -EINVAL, "\"display\" is a number from 0 to %u", VFU_DISPLAYS_MAX - 1);
    job = calloc(1, sizeof *job);
    if (!job)
        return -ENOMEM;
    job->dev = dev;
    job->reply = reply;
    pthread_mutex_lock(&dev->displays.lock);
    job->next = dev->displays.jobs;
    dev->displays.jobs = job;
    pthread_mutex_unlock(&dev->displays.lock);
    error = display_save(&dev->displays, (uint32_t)number, file, saved, job);
    if (!error)
        return CONTROL_LATER;
    pthread_mutex_lock(&dev->displays.lock);
    leave(job);
    pthread_mutex_unlock(&dev->displays.lock);
    free(job);
    return refused(reply, error, number);
}

void screen_forget(struct device *dev)
{
    while (dev->displays.jobs) {
        struct display_job *job = dev->displays.jobs;

        dev->displays.jobs = job->next;
        free(job);
    }
}
