/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * extend - the host's side of the ABI's extensions. Each is a table of functions that go the way of all calls of a
 * plugin (core/plugin/calls.c), or data. What is added here gets its counterpart in core/plugin/inner.c, for plugins inside of others.
 */
#include "core/plugin/extend.h"

#include <errno.h>
#include <string.h>

#include "core/plugin/calls.h"
#include "core/device/device.h"

/* ---- vfu.regmap/1 ------------------------------------------------------------------------------------------------ */

static int32_t extend_reg_set(const struct vfu_host *table, uint32_t reg, uint32_t index, uint32_t group_index,
                              uint64_t value)
{
    return (int32_t)INVOKE(HOST_REG_SET, .n = { reg, index, group_index, value });
}

static const struct vfu_host_regmap regmap_extension = {
    .struct_size = sizeof regmap_extension,
    .get = calls_reg_get,
    .set = extend_reg_set,
};

/* ---- vfu.config/1 ------------------------------------------------------------------------------------------------ */

static int32_t extend_config_read(const struct vfu_host *table, uint32_t offset, uint32_t size, void *bytes)
{
    return (int32_t)INVOKE(HOST_CONFIG_READ, .n = { offset, size }, .p = { bytes });
}

static int32_t extend_config_write(const struct vfu_host *table, uint32_t offset, uint32_t size, const void *bytes)
{
    return (int32_t)INVOKE(HOST_CONFIG_WRITE, .n = { offset, size }, .p = { (void *)(uintptr_t)bytes });
}

static const struct vfu_host_config config_extension = {
    .struct_size = sizeof config_extension,
    .read = extend_config_read,
    .write = extend_config_write,
};

/* ---- vfu.regions/1 ----------------------------------------------------------------------------------------------- */

static int32_t extend_region_look(const struct vfu_host *table, uint32_t region, struct vfu_region_state *state)
{
    return (int32_t)INVOKE(HOST_REGION_LOOK, .n = { region }, .p = { state });
}

static int32_t extend_region_doorbell(const struct vfu_host *table, uint32_t index)
{
    return (int32_t)INVOKE(HOST_REGION_DOORBELL, .n = { index });
}

static const struct vfu_host_regions regions_extension = {
    .struct_size = sizeof regions_extension,
    .look = extend_region_look,
    .doorbell = extend_region_doorbell,
};

/* ---- vfu.report/1 ------------------------------------------------------------------------------------------------ */

/* Any thread, without a wait, as log. */
static int32_t extend_report(const struct vfu_host *table, const struct vfu_report *what)
{
    struct host *host = host_of(table);
    int error;

    if (host_gone(host)) {
        host_blame(host, HOST_REPORT, "report is called after destroy (ESHUTDOWN)");
        return -ESHUTDOWN;
    }
    if (!host_outermost(host)->ready) {
        host_blame(host, HOST_REPORT, "report is called before create (EINVAL)");
        return -EINVAL;
    }
    error = report_send(&host->dev->report, what);
    if (error == -EINVAL)
        host_blame(host, HOST_REPORT, "it reports what plugin.h does not allow: names of more than letters, digits, "
                   "'-', '_', '.', more than 32 items, or an item without a value (EINVAL)");
    return error;
}

static const struct vfu_host_report report_extension = {
    .struct_size = sizeof report_extension,
    .report = extend_report,
};

/* ---- vfu.reload/1 ------------------------------------------------------------------------------------------------ */

/* Any thread. */
static int32_t extend_watch(const struct vfu_host *table, const char *path)
{
    return files_add(host_of(table)->dev->files, path);
}

static const struct vfu_host_reload reload_extension = {
    .struct_size = sizeof reload_extension,
    .watch = extend_watch,
};

/* ---- vfu.qmp/1 --------------------------------------------------------------------------------------------------- */

static int32_t extend_qmp_execute(const struct vfu_host *table, const struct vfu_qmp_command *command)
{
    return (int32_t)INVOKE(HOST_QMP_EXECUTE, .p = { (void *)(uintptr_t)command });
}

static const struct vfu_host_qmp qmp_extension = {
    .struct_size = sizeof qmp_extension,
    .execute = extend_qmp_execute,
};

/* ---- vfu.stream/1 ------------------------------------------------------------------------------------------------ */

static int32_t extend_stream_open(const struct vfu_host *table, const struct vfu_stream_spec *spec,
                                  struct vfu_stream **stream)
{
    return (int32_t)INVOKE(HOST_STREAM_OPEN, .p = { (void *)(uintptr_t)spec, stream });
}

static int64_t extend_stream_read(const struct vfu_host *table, struct vfu_stream *stream, void *bytes, uint64_t len)
{
    return INVOKE(HOST_STREAM_READ, .n = { len }, .p = { stream, bytes });
}

static int64_t extend_stream_write(const struct vfu_host *table, struct vfu_stream *stream, const void *bytes, uint64_t len)
{
    return INVOKE(HOST_STREAM_WRITE, .n = { len }, .p = { stream, (void *)(uintptr_t)bytes });
}

static int32_t extend_stream_look(const struct vfu_host *table, struct vfu_stream *stream, struct vfu_stream_state *state)
{
    return (int32_t)INVOKE(HOST_STREAM_LOOK, .p = { stream, state });
}

static int32_t extend_stream_break(const struct vfu_host *table, struct vfu_stream *stream)
{
    return (int32_t)INVOKE(HOST_STREAM_BREAK, .p = { stream });
}

static int32_t extend_stream_hang_up(const struct vfu_host *table, struct vfu_stream *stream)
{
    return (int32_t)INVOKE(HOST_STREAM_HANG_UP, .p = { stream });
}

static int32_t extend_stream_close(const struct vfu_host *table, struct vfu_stream *stream)
{
    return (int32_t)INVOKE(HOST_STREAM_CLOSE, .p = { stream });
}

static const struct vfu_host_stream stream_extension = {
    .struct_size = sizeof stream_extension,
    .open = extend_stream_open,
    .read = extend_stream_read,
    .write = extend_stream_write,
    .look = extend_stream_look,
    .send_break = extend_stream_break,
    .hang_up = extend_stream_hang_up,
    .close = extend_stream_close,
};

/* ---- vfu.display/1 ----------------------------------------------------------------------------------------------- */

/* Any thread: displays have a lock of their own. */
static int check_display(struct host *host, const char *function)
{
    if (host_gone(host)) {
        host_blame(host, HOST_DISPLAY, "display %s is called after destroy (ESHUTDOWN)", function);
        return -ESHUTDOWN;
    }
    if (!host_outermost(host)->ready) {
        host_blame(host, HOST_DISPLAY, "display %s is called before create (EINVAL)", function);
        return -EINVAL;
    }
    return 0;
}

static int32_t extend_display_open(const struct vfu_host *table, const char *outputs)
{
    struct host *host = host_of(table);
    int error = check_display(host, "open");

    if (!error && outputs && strchr(outputs, ':') && !calls_is_given(&host->dev->params, outputs)) {
        log_error(host->dev->name, "the display %s is not opened: it is no parameter's value on the command line", outputs);
        return -EACCES;
    }
    return error ? error : display_open(&host->dev->displays, outputs);
}

static int32_t extend_display_show(const struct vfu_host *table, int32_t display, const struct vfu_display_frame *frame)
{
    struct host *host = host_of(table);
    int error = check_display(host, "show");

    return error ? error : display_show_of(&host->dev->displays, display, frame, host->dev->regions, host);
}

static int32_t extend_display_changed(const struct vfu_host *table, int32_t display, uint32_t x, uint32_t y,
                                      uint32_t width, uint32_t height)
{
    struct host *host = host_of(table);
    int error = check_display(host, "changed");

    return error ? error : display_changed(&host->dev->displays, display, x, y, width, height);
}

static const struct vfu_host_display display_extension = {
    .struct_size = sizeof display_extension,
    .open = extend_display_open,
    .show = extend_display_show,
    .changed = extend_display_changed,
};

/* ---- all of them ------------------------------------------------------------------------------------------------- */

const void *extend_find(const struct vfu_host *table, const char *id)
{
    const struct {
        const char *id;
        const void *extension;
    } all[] = {
        { VFU_EXT_REGMAP, &regmap_extension },
        { VFU_EXT_LIMITS, &host_of(table)->dev->limits },
        { VFU_EXT_CONFIG, &config_extension },
        { VFU_EXT_REGIONS, &regions_extension },
        { VFU_EXT_REPORT, &report_extension },
        { VFU_EXT_RELOAD, &reload_extension },
        { VFU_EXT_QMP, &qmp_extension },
        { VFU_EXT_STREAM, &stream_extension },
        { VFU_EXT_DISPLAY, &display_extension },
    };

    for (size_t i = 0; id && i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(id, all[i].id) == 0)
            return all[i].extension;
    }
    return NULL;
}
