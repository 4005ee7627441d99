/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device model that breaks the rules of <vfu/plugin.h>: which of them, says its parameter. Each write of 4 bytes to
 * its BAR does it once more. See test_faults.c.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <vfu/plugin.h>

struct bad {
    const struct vfu_host *host;
    const char *fault;
    struct vfu_dma_op op;
};

static const struct vfu_host *last; /* for what comes after destroy */

static void done(void *self, struct vfu_dma_op *op, int32_t status)
{
    (void)self;
    (void)op;
    (void)status;
}

static void ready(void *arg, uint32_t events)
{
    (void)arg;
    (void)events;
}

static void *raise_elsewhere(void *host)
{
    ((const struct vfu_host *)host)->irq_raise(host, 0);
    return NULL;
}

/* ---- deeds ---- */

static void from_a_thread(struct bad *bad)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, raise_elsewhere, (void *)(uintptr_t)bad->host) == 0)
        pthread_join(thread, NULL);
}

static void raise_vector(struct bad *bad)
{
    bad->host->irq_raise(bad->host, 9);
}

static void raise_none(struct bad *bad)
{
    bad->host->irq_raise(bad->host, 0);
}

static void undeclared(struct bad *bad)
{
    char byte;

    bad->host->dma_read(bad->host, 0, &byte, 1);
}

static void submit_twice(struct bad *bad)
{
    bad->op = (struct vfu_dma_op){ .struct_size = sizeof bad->op, .done = done };
    bad->host->dma_submit(bad->host, &bad->op);
    bad->host->dma_submit(bad->host, &bad->op);
}

static void watch_closed(struct bad *bad)
{
    bad->host->watch_fd(bad->host, 99999, VFU_FD_READ, ready, NULL);
}

static void move_bar(struct bad *bad)
{
    const struct vfu_host_config *config = bad->host->extension(bad->host, VFU_EXT_CONFIG);
    const uint8_t bytes[4] = { 0, 0, 0, 0xfe };

    config->write(bad->host, 0x10, sizeof bytes, bytes);
}

static void log_nothing(struct bad *bad)
{
    bad->host->log(bad->host, VFU_LOG_ERROR, NULL);
}

static void access_nothing(struct bad *bad)
{
    bad->host->bar_access(bad->host, NULL);
}

static void look_nowhere(struct bad *bad)
{
    const struct vfu_host_regions *regions = bad->host->extension(bad->host, VFU_EXT_REGIONS);

    regions->look(bad->host, 0, NULL);
}

static void crash(struct bad *bad)
{
    (void)bad;
    raise(SIGSEGV);
}

static void give_up(struct bad *bad)
{
    (void)bad;
    abort();
}

static void leave(struct bad *bad)
{
    (void)bad;
    exit(42);
}

/* Descriptors that are not its own: the loops of the host. */
static void close_all(struct bad *bad)
{
    (void)bad;
    for (int fd = 3; fd < 256; fd++)
        close(fd);
}

static const struct {
    const char *fault;
    void (*run)(struct bad *bad);
} deeds[] = {
    { "thread", from_a_thread }, { "vector", raise_vector }, { "interrupt", raise_none }, { "undeclared", undeclared },
    { "twice", submit_twice },   { "closed", watch_closed }, { "config", move_bar },
    { "log", log_nothing },      { "access", access_nothing }, { "look", look_nowhere }, { "crash", crash },
    { "abort", give_up },        { "exit", leave },          { "closeall", close_all },
};

/* ---- callbacks ---- */

static int32_t on_describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    static const struct vfu_bar bar = { .index = 0, .size = 4096, .flags = VFU_BAR_RAW };
    const char *fault = "";

    (void)params;
    host->param_string(host, "fault", &fault);
    while (strcmp(fault, "endless") == 0)
        pause();
    desc->caps = VFU_CAP_RESET | VFU_CAP_FD_WATCH;
    if (strcmp(fault, "interrupt") != 0)
        desc->caps |= VFU_CAP_MSI;
    if (strcmp(fault, "twice") == 0)
        desc->caps |= VFU_CAP_DMA;
    desc->msi_vectors = desc->caps & VFU_CAP_MSI ? 2 : 0;
    desc->vendor = 0x1234;
    desc->device = 0xbad;
    desc->bars = &bar;
    desc->nbars = 1;
    desc->bar_size = sizeof bar;
    for (int i = 0; i < 2 && strcmp(fault, "early") == 0; i++)
        host->irq_raise(host, 0);
    return 0;
}

static int32_t on_create(const struct vfu_host *host, const struct vfu_params *params, void **self)
{
    struct bad *bad = calloc(1, sizeof *bad);

    (void)params;
    *self = bad;
    if (!bad)
        return -ENOMEM;
    bad->host = last = host;
    return host->param_string(host, "fault", &bad->fault);
}

static void on_destroy(void *self)
{
    struct bad *bad = self;

    if (strcmp(bad->fault, "destroy") != 0)
        last = NULL;
    free(bad);
}

/* The file is unloaded: the host has long called destroy. */
__attribute__((destructor)) static void unloaded(void)
{
    for (int i = 0; i < 2 && last; i++)
        last->irq_raise(last, 0);
}

static int32_t on_access(void *self, struct vfu_access *access)
{
    struct bad *bad = self;

    access->value = 0xbad;
    if (access->size > 8) {
        memset(access->data, 0x55, access->size + (strcmp(bad->fault, "overrun") == 0));
        return 0;
    }
    if (!(access->flags & VFU_ACCESS_WRITE))
        return 0;
    for (size_t i = 0; i < sizeof deeds / sizeof deeds[0]; i++) {
        if (strcmp(bad->fault, deeds[i].fault) == 0)
            deeds[i].run(bad);
    }
    return strcmp(bad->fault, "result") == 0 ? EINVAL : 0;
}

static int32_t on_reset(void *self, uint32_t kind)
{
    (void)self;
    (void)kind;
    return 0;
}

static void on_quiesce(void *self)
{
    struct bad *bad = self;

    while (strcmp(bad->fault, "quiesce") == 0)
        pause();
}

const struct vfu_plugin *vfu_plugin_entry(void)
{
    static const struct vfu_param params[] = {
        { .name = "fault", .type = VFU_PARAM_STRING, .flags = VFU_PARAM_REQUIRED },
    };
    static const struct vfu_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi_version = VFU_ABI_VERSION,
        .caps = VFU_CAP_MSI | VFU_CAP_DMA | VFU_CAP_RESET | VFU_CAP_FD_WATCH,
        .name = "bad",
        .version = "1",
        .sdk = VFU_SDK_VERSION,
        .params = params,
        .nparams = 1,
        .param_size = sizeof params[0],
        .describe = on_describe,
        .create = on_create,
        .destroy = on_destroy,
        .access = on_access,
        .reset = on_reset,
        .quiesce = on_quiesce,
    };

    return &plugin;
}
