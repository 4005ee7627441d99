/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * testdev - one of everything: the behaviour behind the registers that testdev.h lists. One thread, the device's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/testdev/testdev.h"

#define CAPS                                                                                                           \
    (VFU_CAP_DMA | VFU_CAP_DMA_MAP | VFU_CAP_INTX | VFU_CAP_MSI | VFU_CAP_MSIX | VFU_CAP_RESET | VFU_CAP_MMAP |        \
     VFU_CAP_DOORBELL | VFU_CAP_MIGRATION | VFU_CAP_TIMERS | VFU_CAP_RELOAD)

#define DEFER_MAX 64u
#define BUSY_MAX 100000u

enum { EVENT_QUIET, EVENT_INTERRUPT };
enum { TIMER_START = 1, TIMER_CANCEL, TIMER_START_IRQ };

/* ---- time */

static void timer_command(struct testdev *dev, uint64_t command)
{
    const struct vfu_host *host = dev->host;
    int64_t result = -EINVAL;

    if (command == TIMER_CANCEL) {
        result = host->timer_cancel(host, dev->timer);
    } else if (command == TIMER_START || command == TIMER_START_IRQ) {
        double delay = (double)testdev_get(dev, TIMER_DELAY) * dev->slow;

        result = host->timer_after(host, delay < 9e18 ? (uint64_t)delay : UINT64_C(9000000000000000000),
                                   testdev_get(dev, TIMER_PERIOD),
                                   command == TIMER_START ? EVENT_QUIET : EVENT_INTERRUPT, 0);
        if (result > 0) {
            dev->timer = result;
            result = 0;
        }
    }
    testdev_set(dev, TIMER_RESULT, (uint64_t)result);
}

static void on_event(void *self, uint32_t event, uint64_t arg)
{
    struct testdev *dev = self;

    (void)arg;
    testdev_count(dev, TIMER_FIRED);
    if (event == EVENT_INTERRUPT)
        testdev_interrupt(dev, INT_TIMER);
}

static void deferred(void *arg)
{
    struct testdev *dev = arg;

    testdev_count(dev, DEFERRED);
    testdev_interrupt(dev, INT_DEFER);
}

static void defer(struct testdev *dev, uint64_t n)
{
    for (uint64_t i = 0; i < n && i < DEFER_MAX; i++) {
        if (dev->host->defer(dev->host, deferred, dev) < 0)
            vfu_guest_errorf(dev->host, "no room for deferred work beyond %llu", (unsigned long long)i);
    }
}

static void busy(const struct testdev *dev, uint64_t us)
{
    uint64_t end = dev->host->now(dev->host) + (us < BUSY_MAX ? us : BUSY_MAX) * 1000;

    while (dev->host->now(dev->host) < end)
        ;
}

/* ---- FIFO and memory */

static void fifo_put(struct testdev *dev, uint64_t byte)
{
    if (dev->nfifo == FIFO_SIZE) {
        dev->host->guest_error(dev->host, "the FIFO is full");
        return;
    }
    dev->fifo[dev->nfifo++] = (uint8_t)byte;
    testdev_set(dev, FIFO_LEVEL, dev->nfifo);
}

static uint64_t fifo_take(struct testdev *dev)
{
    uint8_t first = dev->fifo[0];

    if (dev->nfifo == 0)
        return 0xff;
    memmove(dev->fifo, dev->fifo + 1, --dev->nfifo);
    testdev_set(dev, FIFO_LEVEL, dev->nfifo);
    return first;
}

/* The client may map it: one move each. */
static uint32_t *ram_word(const struct testdev *dev)
{
    uint64_t bar = testdev_get(dev, RAM_BAR), off = testdev_get(dev, RAM_OFF), size = bar == 2 ? 4u << 20 : 65536;

    if (bar > 5 || !dev->ram[bar] || off % 4 || off > size - 4)
        return NULL;
    return (uint32_t *)(void *)(dev->ram[bar] + off);
}

/* ---- hooks */

static int32_t on_read(void *self, struct vfu_reg_call *call)
{
    struct testdev *dev = self;
    const uint32_t *word;
    uint64_t peek;

    switch (call->hook) {
    case PEEK:
        peek = testdev_get(dev, PEEK_SEL);
        call->value = peek < KINDS ? testdev_get(dev, K_RW + (uint32_t)peek) : 0;
        return VFU_REPLACE;
    case READS:
        testdev_count(dev, READS);
        call->value++;
        return VFU_REPLACE;
    case FIFO:
        call->value = fifo_take(dev);
        return VFU_REPLACE;
    case RAM_DATA:
        word = ram_word(dev);
        call->value = word ? __atomic_load_n(word, __ATOMIC_RELAXED) : 0;
        return word ? VFU_REPLACE : -EIO;
    case WIN_DATA:
        return testdev_window_read(dev, &call->value) ? -EIO : VFU_REPLACE;
    default: /* BAD_READ */
        return -EIO;
    }
}

static void irq_command(struct testdev *dev, const struct vfu_reg_call *call)
{
    const struct vfu_host *host = dev->host;
    uint32_t value = (uint32_t)call->value;
    int32_t result;

    if (call->hook == IRQ_RAISE)
        result = host->irq_raise(host, value);
    else if (call->hook == IRQ_LOWER)
        result = host->irq_lower(host, value);
    else
        result = host->irq_signal(host, value);
    testdev_set(dev, IRQ_RESULT, (uint64_t)(int64_t)result);
}

static int32_t on_write(void *self, struct vfu_reg_call *call)
{
    struct testdev *dev = self;
    uint64_t value = call->value, peek;
    uint32_t *word;

    switch (call->hook) {
    case PEEK:
        peek = testdev_get(dev, PEEK_SEL);
        if (peek < KINDS)
            testdev_set(dev, K_RW + (uint32_t)peek, value);
        return 0;
    case LAST:
        testdev_count(dev, LAST_WRITES);
        return 0;
    case PARTS:
        testdev_count(dev, PARTS_WRITES);
        return 0;
    case INVERT:
        call->value = ~value;
        return VFU_REPLACE;
    case BAD_WRITE:
        return value == 0xbad ? -EIO : 0;
    case GUEST_ERROR:
        testdev_count(dev, GUEST_ERRORS);
        vfu_guest_errorf(dev->host, "GUEST_ERROR got %#llx", (unsigned long long)value);
        return 0;
    case CH_ADD:
        value += dev->regs->get(dev->host, CH_SUM, VFU_NONE, call->group_index);
        dev->regs->set(dev->host, CH_SUM, VFU_NONE, call->group_index, value);
        return 0;
    case INT_SET:
        testdev_interrupt(dev, value & 0xfff);
        return 0;
    case INT_ACK:
        testdev_set(dev, INT_STATUS, testdev_get(dev, INT_STATUS) & ~value);
        return 0;
    case IRQ_RAISE:
    case IRQ_LOWER:
    case IRQ_SIGNAL:
        irq_command(dev, call);
        return 0;
    case DMA_CMD:
        testdev_dma_start(dev);
        return 0;
    case WIN_DATA:
        return testdev_window_write(dev, value);
    case TIMER_CMD:
        timer_command(dev, value);
        return 0;
    case DEFER:
        defer(dev, value);
        return 0;
    case BUSY_US:
        busy(dev, value);
        return 0;
    case RAM_DATA:
        word = ram_word(dev);
        if (word)
            __atomic_store_n(word, (uint32_t)value, __ATOMIC_RELAXED);
        return word ? 0 : -EIO;
    default: /* FIFO */
        fifo_put(dev, value);
        return 0;
    }
}

static int32_t is_locked(void *self, uint32_t hook, const struct vfu_reg_call *call)
{
    (void)hook; /* LOCKED_HOOK */
    (void)call;
    return testdev_get(self, SCRATCH) == LOCK_WORD;
}

static const struct vfu_regmap_ops regmap_ops = {
    .struct_size = sizeof regmap_ops,
    .read = on_read,
    .write = on_write,
    .locked = is_locked,
};

/* BAR5, which has no registers: accesses of any length come whole. */
static int32_t on_access(void *self, struct vfu_access *access)
{
    uint64_t value = access->value, end = access->offset + access->size;
    uint8_t *bytes = access->data ? access->data : (uint8_t *)&value;
    bool write = access->flags & VFU_ACCESS_WRITE;
    struct testdev *dev = self;

    if (end > 0xc00)
        return end > 0xe00 ? -EINVAL : -EIO;
    for (uint32_t i = 0; i < access->size; i++) {
        uint64_t at = access->offset + i;

        if (write && at < RAW_SIZE)
            dev->raw[at] = bytes[i];
        else if (!write)
            bytes[i] = at < RAW_SIZE ? dev->raw[at] : (uint8_t)at;
    }
    if (!access->data)
        access->value = value;
    return 0;
}

static void on_doorbell(void *self, uint32_t index, uint64_t value)
{
    struct testdev *dev = self;

    dev->regs->set(dev->host, RINGS, index, VFU_NONE, dev->regs->get(dev->host, RINGS, index, VFU_NONE) + 1);
    dev->regs->set(dev->host, RUNG, index, VFU_NONE, value);
    if (testdev_get(dev, BELL_IRQ))
        testdev_interrupt(dev, INT_BELL);
}

/* ---- life */

static int32_t on_reset(void *self, uint32_t kind)
{
    struct testdev *dev = self;

    dev->interrupted = dev->second = false; /* its registers are reset already */
    dev->nfifo = dev->nbuffer = 0;
    dev->timer = 0;
    memset(dev->raw, 0, sizeof dev->raw);
    testdev_set(dev, SCRATCH, dev->scratch);
    testdev_set(dev, RESET_KIND, kind);
    testdev_count(dev, RESETS);
    return 0;
}

static void on_attach(void *self, const struct vfu_client *client)
{
    (void)client;
    testdev_count(self, ATTACHES);
}

static void on_detach(void *self)
{
    struct testdev *dev = self;

    testdev_dma_end(dev, -ECANCELED);
    memset(&dev->window, 0, sizeof dev->window); /* the host has ended it */
    testdev_count(dev, DETACHES);
}

static void on_resume(void *self)
{
    struct testdev *dev = self;

    if (!dev->interrupted)
        return;
    dev->interrupted = false;
    testdev_dma_start(dev);
}

static void on_power(void *self, uint32_t state)
{
    testdev_set(self, POWER, state);
}

/* ---- state */

static int32_t save(void *self, struct vfu_sink *sink)
{
    const struct testdev *dev = self;
    struct testdev_image image = {
        .version = 1,
        .nfifo = dev->nfifo,
        .second = dev->second,
        .nbuffer = dev->nbuffer,
        .timer = dev->timer,
    };
    int32_t error;

    memcpy(image.fifo, dev->fifo, sizeof image.fifo);
    memcpy(image.raw, dev->raw, sizeof image.raw);
    error = sink->write(sink, &image, sizeof image);
    return error ? error : sink->write(sink, dev->buffer, dev->nbuffer);
}

static int32_t load(void *self, struct vfu_source *source)
{
    struct testdev *dev = self;
    struct testdev_image image;
    int32_t error = source->read(source, &image, sizeof image);

    if (error)
        return error;
    if (image.version != 1 || image.nfifo > FIFO_SIZE || image.second > 1 || image.nbuffer > DMA_MAX || image.timer < 0 ||
        source->left(source) != image.nbuffer) {
        dev->host->log(dev->host, VFU_LOG_ERROR, "this state is not testdev's own");
        return -EINVAL;
    }
    error = source->read(source, dev->buffer, image.nbuffer);
    if (error)
        return error;
    dev->nfifo = image.nfifo;
    dev->second = image.second;
    dev->nbuffer = image.nbuffer;
    dev->timer = image.timer;
    memcpy(dev->fifo, image.fifo, sizeof dev->fifo);
    memcpy(dev->raw, image.raw, sizeof dev->raw);
    dev->interrupted = (testdev_get(dev, DMA_STATUS) & DMA_BUSY) != 0; /* resume starts it again */
    return 0;
}

/* ---- the plugin */

static int32_t describe(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    int64_t mmap = 1;

    (void)params;
    host->param_int(host, "mmap", &mmap);
    desc->caps = mmap ? CAPS : CAPS & ~VFU_CAP_MMAP;
    desc->doc = "The tests' device: one of everything";
    testdev_describe(desc, mmap);
    return 0;
}

static int32_t create(const struct vfu_host *host, const struct vfu_params *params, void **self)
{
    struct testdev *dev = calloc(1, sizeof *dev);
    int64_t scratch = 0, pattern = 0;
    const char *label = "";

    (void)params;
    if (!dev || !(dev->buffer = malloc(DMA_MAX))) {
        free(dev);
        return -ENOMEM;
    }
    dev->host = host;
    dev->regs = host->extension(host, VFU_EXT_REGMAP);
    dev->ram[2] = host->bar_memory(host, 2);
    dev->ram[4] = host->bar_memory(host, 4);
    host->param_int(host, "scratch", &scratch);
    host->param_int(host, "pattern", &pattern);
    host->param_number(host, "slow", &dev->slow);
    host->param_string(host, "label", &label);
    dev->scratch = (uint64_t)scratch;
    dev->pattern = (enum pattern)pattern;
    if (*label)
        vfu_logf(host, VFU_LOG_INFO, "this is %s", label);
    *self = dev;
    return 0;
}

static void destroy(void *self)
{
    struct testdev *dev = self;

    free(dev->buffer);
    free(dev);
}

static const void *extension(const char *id)
{
    static const struct vfu_migration_ops migration = { .struct_size = sizeof migration, .save = save, .load = load };

    if (strcmp(id, VFU_EXT_REGMAP) == 0)
        return &regmap_ops;
    return strcmp(id, VFU_EXT_MIGRATION) == 0 ? &migration : NULL;
}

const struct vfu_plugin *vfu_plugin_entry(void)
{
    static const char *const patterns[] = { "ramp", "zero", "ones", NULL };
    static const struct vfu_param params[] = {
        { .name = "label", .doc = "logged at the start", .type = VFU_PARAM_STRING, .fallback = "" },
        { .name = "mmap", .doc = "parts of BAR4 can be mapped", .type = VFU_PARAM_BOOL, .fallback = "on" },
        { .name = "pattern", .doc = "what DMA writes", .type = VFU_PARAM_ENUM, .choices = patterns, .fallback = "ramp" },
        { .name = "scratch", .doc = "reset value of SCRATCH", .type = VFU_PARAM_INT, .fallback = "0",
          .flags = VFU_PARAM_HAS_MIN | VFU_PARAM_HAS_MAX, .min = 0, .max = UINT32_MAX },
        { .name = "slow", .doc = "factor of timer delays", .type = VFU_PARAM_NUMBER, .fallback = "1.0",
          .flags = VFU_PARAM_HAS_MIN | VFU_PARAM_HAS_MAX, .min = 0, .max = 1000 },
    };
    static const struct vfu_plugin plugin = {
        .struct_size = sizeof plugin,
        .abi_version = VFU_ABI_VERSION,
        .caps = CAPS,
        .name = "testdev",
        .version = VFU_SDK_VERSION,
        .summary = "The tests' device: one of everything",
        .sdk = VFU_SDK_VERSION,
        .params = params,
        .nparams = sizeof params / sizeof params[0],
        .param_size = sizeof params[0],
        .describe = describe,
        .create = create,
        .destroy = destroy,
        .access = on_access,
        .reset = on_reset,
        .event = on_event,
        .attach = on_attach,
        .detach = on_detach,
        .resume = on_resume,
        .power = on_power,
        .extension = extension,
        .doorbell = on_doorbell,
    };

    return &plugin;
}
