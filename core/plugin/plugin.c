/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plugin - finding and loading a device model, and the checks of its table. Main's thread; in a reload, the device's.
 *
 * Installed plugins are in VFU_PLUGIN_DIR, beside a relocated installation, or in $VFU_PLUGIN_PATH; a host that runs
 * from its build tree finds the ones that were built there.
 */
#define _GNU_SOURCE
#include "core/plugin/plugin.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/log.h"

/* The part of the table that no plugin is without: what stands before the callbacks. */
#define TABLE_MIN offsetof(struct vfu_plugin, describe)
#define TABLE_MAX 65536u

static const struct {
    uint64_t flag;
    const char *name;
} caps_table[] = {
    { VFU_CAP_DMA, "dma" },
    { VFU_CAP_DMA_MAP, "dma_map" },
    { VFU_CAP_INTX, "intx" },
    { VFU_CAP_MSI, "msi" },
    { VFU_CAP_MSIX, "msix" },
    { VFU_CAP_RESET, "reset" },
    { VFU_CAP_MMAP, "mmap" },
    { VFU_CAP_DOORBELL, "doorbell" },
    { VFU_CAP_MIGRATION, "migration" },
    { VFU_CAP_TIMERS, "timers" },
    { VFU_CAP_FD_WATCH, "fd_watch" },
    { VFU_CAP_POLL, "poll" },
    { VFU_CAP_THREADS, "threads" },
    { VFU_CAP_FFI, "ffi" },
    { VFU_CAP_RELOAD, "reload" },
    { VFU_CAP_CLIENT_FDS, "client_fds" },
    { VFU_CAP_CLIENT_TWIN_SOCKET, "client_twin_socket" },
    { VFU_CAP_CLIENT_WRITE_MULTI, "client_write_multi" },
};
#define CAPS (sizeof caps_table / sizeof caps_table[0])

void plugin_cap_names(uint64_t caps, char *text, size_t room)
{
    size_t n = 0;

    text[0] = '\0';
    for (size_t i = 0; i < CAPS; i++) {
        if ((caps & caps_table[i].flag) && n < room)
            n += (size_t)snprintf(text + n, room - n, "%s%s", n ? "," : "", caps_table[i].name);
        caps &= ~caps_table[i].flag;
    }
    for (int bit = 0; bit < 64; bit++) {
        if ((caps & (UINT64_C(1) << bit)) && n < room)
            n += (size_t)snprintf(text + n, room - n, "%sbit%d", n ? "," : "", bit);
    }
}

uint64_t plugin_cap_of(const char *name, size_t len)
{
    for (size_t i = 0; i < CAPS; i++) {
        if (strlen(caps_table[i].name) == len && memcmp(caps_table[i].name, name, len) == 0)
            return caps_table[i].flag;
    }
    return 0;
}

static uint64_t known_caps(void)
{
    uint64_t known = 0;

    for (size_t i = 0; i < CAPS; i++)
        known |= caps_table[i].flag;
    return known;
}

int plugin_check_needs(const char *who, const char *sdk, uint64_t needs, uint64_t host_caps)
{
    uint64_t missing = needs & ~host_caps & ~(VFU_CAP_CLIENT_FDS | VFU_CAP_CLIENT_TWIN_SOCKET | VFU_CAP_CLIENT_WRITE_MULTI);
    char names[256];

    if (!missing)
        return 0;
    plugin_cap_names(missing, names, sizeof names);
    log_error(who, "needs %s, which %s (built with SDK %s, this host is %s)", names,
              (missing & PLUGIN_HOST_CAPS) == missing ? "--deny has taken away" : "this host does not offer",
              sdk ? sdk : "unknown", VFU_SDK_VERSION);
    return -ENOTSUP;
}

/* ---- finding */

static bool is_file(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool try_path(char *path, size_t room, const char *format, const char *a, const char *b, const char *c)
{
    int n = snprintf(path, room, format, a, b, c);

    return n > 0 && (size_t)n < room && is_file(path);
}

/* The directory that the running program is in. */
static const char *program_dir(char dir[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", dir, PATH_MAX - 1);

    dir[n > 0 ? n : 0] = '\0';
    if (strrchr(dir, '/'))
        *strrchr(dir, '/') = '\0';
    return dir;
}

static bool find_installed(const char *name, char *path, size_t room)
{
    char own[PATH_MAX];
    const char *dirs = getenv("VFU_PLUGIN_PATH"), *program = program_dir(own);

    while (dirs && *dirs) {
        int n = (int)strcspn(dirs, ":");
        char dir[PATH_MAX];

        snprintf(dir, sizeof dir, "%.*s", n, dirs);
        if (n > 0 && try_path(path, room, "%s/%s%s", dir, name, ".so"))
            return true;
        dirs += n + (dirs[n] == ':');
    }
    return try_path(path, room, "%s/plugins/%s/.libs/%s.so", program, name, name) ||
           try_path(path, room, "%s/%s/.libs/%s.so", program, name, name) ||
           try_path(path, room, "%s/%s%s", VFU_PLUGIN_DIR, name, ".so") ||
           try_path(path, room, "%s/../lib/vfu/plugins/%s%s", program, name, ".so");
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

static int locate(struct plugin *plugin, const char *spec)
{
    char path[PATH_MAX];
    const char *name = spec;

    if (ends_with(spec, ".lua")) {
        if (access(spec, R_OK) < 0) {
            int error = errno;

            log_error(NULL, "cannot read the script %s: %s", spec, strerror(error));
            return -ENOENT;
        }
        plugin->source = strdup(spec);
        name = "lua";
    } else if (strchr(spec, '/') || ends_with(spec, ".so")) {
        if (!try_path(path, sizeof path, strchr(spec, '/') ? "%s%s%s" : "./%s%s%s", spec, "", "")) {
            log_error(NULL, "no plugin file %s", spec);
            return -ENOENT;
        }
        plugin->path = strdup(path);
        return plugin->path ? 0 : -ENOMEM;
    }
    if (!find_installed(name, path, sizeof path)) {
        log_error(NULL, "no plugin named %s in %s%s%s; give a path to a .so or .lua file, or set VFU_PLUGIN_PATH", name,
                  VFU_PLUGIN_DIR, getenv("VFU_PLUGIN_PATH") ? " or " : "",
                  getenv("VFU_PLUGIN_PATH") ? getenv("VFU_PLUGIN_PATH") : "");
        return -ENOENT;
    }
    plugin->path = strdup(path);
    return plugin->path ? 0 : -ENOMEM;
}

/* ---- checking */

static int check_version(const char *path, const struct vfu_plugin *table)
{
    uint32_t major = table->abi_version >> 16, minor = table->abi_version & 0xffff;

    if (major != VFU_ABI_MAJOR) {
        log_error(NULL, "%s is built for plugin ABI %u.%u, this host speaks %u.%u: %s", path, major, minor, VFU_ABI_MAJOR,
                  VFU_ABI_MINOR, major > VFU_ABI_MAJOR ? "it needs a newer vfu-host" : "rebuild it with this SDK");
        return -ENOEXEC;
    }
    /* A size that cuts a pointer in two is as absurd. */
    if (table->struct_size < TABLE_MIN || table->struct_size > TABLE_MAX || table->struct_size % sizeof(void *)) {
        log_error(NULL, "%s: its struct vfu_plugin says it is %u bytes long; %zu to %u make sense", path,
                  table->struct_size, TABLE_MIN, TABLE_MAX);
        return -ENOEXEC;
    }
    return 0;
}

bool plugin_good_name(const char *name)
{
    size_t n = name ? strlen(name) : 0;

    return n > 0 && n <= 64 && name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n;
}

bool plugin_elements_fit(const char *who, const char *what, uint32_t n, uint32_t size, size_t least)
{
    if (!n || !size || (size >= least && size <= TABLE_MAX))
        return true;
    log_error(who, "%s are said to have %u bytes each; the size that belongs there is sizeof one of them", what, size);
    return false;
}

/* A declared capability without its callback does not load; a callback without its capability is never called. */
static int check_callbacks(const struct vfu_plugin *table)
{
    const struct {
        uint64_t cap;
        const char *cap_name, *callback;
        bool there;
    } rules[] = {
        { VFU_CAP_RESET, "RESET", "reset", table->reset != NULL },
        { VFU_CAP_TIMERS, "TIMERS", "event", table->event != NULL },
        { VFU_CAP_DOORBELL, "DOORBELL", "doorbell", table->doorbell != NULL },
        { VFU_CAP_POLL, "POLL", "poll", table->poll != NULL },
    };

    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if ((table->caps & rules[i].cap) && !rules[i].there) {
            log_error(table->name, "declares VFU_CAP_%s but has no %s callback: add it, or take the flag out of caps",
                      rules[i].cap_name, rules[i].callback);
            return -ENOEXEC;
        }
        if (!(table->caps & rules[i].cap) && rules[i].there)
            log_warn(table->name, "has a %s callback but does not declare VFU_CAP_%s: it will never be called",
                     rules[i].callback, rules[i].cap_name);
    }
    return 0;
}

static int check_table(const struct plugin *plugin, uint64_t host_caps)
{
    const struct vfu_plugin *table = &plugin->table;
    char names[256];
    int error;

    if (!plugin_good_name(table->name)) {
        log_error(NULL, "%s: its name is %s; up to 64 letters, digits, '-', '_' and '.' make a name", plugin->path,
                  !table->name ? "missing" : *table->name ? table->name : "empty");
        return -ENOEXEC;
    }
    if (!table->describe || !table->create) {
        log_error(table->name, "has no %s callback", table->describe ? "create" : "describe");
        return -ENOEXEC;
    }
    if (table->caps & ~known_caps()) {
        plugin_cap_names(table->caps & ~known_caps(), names, sizeof names);
        log_warn(table->name, "declares capabilities this host does not know (%s); built with SDK %s, this host is %s", names,
                 table->sdk ? table->sdk : "unknown", VFU_SDK_VERSION);
    }
    error = plugin_check_needs(table->name, table->sdk, table->needs, host_caps);
    return error ? error : check_callbacks(table);
}

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3: without it a host may refuse to run what is in the file */
#endif

/* The file's bytes as they are now, in a file without a name. The descriptor, or -errno. */
static int copy_file(const char *path)
{
    int from = open(path, O_RDONLY | O_CLOEXEC), to = -1, error = 0;
    struct stat st;
    ssize_t n = 0;

    if (from < 0 || fstat(from, &st) < 0)
        error = -errno;
    if (!error) {
        to = memfd_create("vfu-plugin", MFD_CLOEXEC | MFD_EXEC);
        if (to < 0 && errno == EINVAL)
            to = memfd_create("vfu-plugin", MFD_CLOEXEC);
        if (to < 0)
            error = -errno;
    }
    for (off_t left = error ? 0 : st.st_size; left > 0 && (n = sendfile(to, from, NULL, (size_t)left)) > 0;)
        left -= n;
    if (!error && n < 0)
        error = -errno;
    if (from >= 0)
        close(from);
    if (error && to >= 0)
        close(to);
    return error ? error : to;
}

/*
 * The loader knows a file that it has loaded by its name, and C++ may keep it from forgetting one: so each copy gets a
 * name of its own, in which a counter's bits are "/" and "./", which lead nowhere.
 */
static void name_copy(char path[PATH_MAX], int fd)
{
    static uint32_t copies;
    uint32_t number = __atomic_add_fetch(&copies, 1, __ATOMIC_RELAXED);
    int n = snprintf(path, PATH_MAX, "/proc/self/fd/");

    for (; number; number >>= 1)
        n += snprintf(path + n, (size_t)(PATH_MAX - n), "%s", number & 1 ? "./" : "/");
    snprintf(path + n, (size_t)(PATH_MAX - n), "%d", fd);
}

static void *open_private(const char *path)
{
    char name[PATH_MAX];
    int fd = copy_file(path);
    void *handle;

    if (fd < 0) {
        log_error(NULL, "cannot copy the plugin %s to load it: %s", path, strerror(-fd));
        return NULL;
    }
    name_copy(name, fd);
    handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        log_error(NULL, "cannot load plugin %s: %s", path, dlerror());
    close(fd);
    return handle;
}

static void *open_shared(const char *path)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (!handle)
        log_error(NULL, "cannot load plugin: %s", dlerror());
    return handle;
}

static int open_file(struct plugin *plugin, bool private)
{
    const struct vfu_plugin *(*entry)(void);
    const struct vfu_plugin *table;
    int error;

    plugin->handle = private && !plugin->source ? open_private(plugin->path) : open_shared(plugin->path);
    if (!plugin->handle)
        return -ENOEXEC;
    *(void **)&entry = dlsym(plugin->handle, "vfu_plugin_entry");
    if (!entry) {
        log_error(NULL, "%s is no vfu-host plugin: it has no symbol vfu_plugin_entry", plugin->path);
        return -ENOEXEC;
    }
    table = entry();
    if (!table) {
        log_error(NULL, "%s: vfu_plugin_entry returned NULL", plugin->path);
        return -ENOEXEC;
    }
    error = check_version(plugin->path, table);
    if (error)
        return error;
    memcpy(&plugin->table, table, table->struct_size < sizeof plugin->table ? table->struct_size : sizeof plugin->table);
    return 0;
}

static int load(struct plugin **out, const char *spec, uint64_t host_caps, bool private)
{
    struct plugin *plugin = calloc(1, sizeof *plugin);
    int error;

    if (!plugin)
        return -ENOMEM;
    error = locate(plugin, spec);
    if (!error)
        error = open_file(plugin, private);
    if (!error)
        error = check_table(plugin, host_caps);
    if (error) {
        plugin_unload(plugin);
        return error;
    }
    *out = plugin;
    return 0;
}

int plugin_load(struct plugin **out, const char *spec, uint64_t host_caps)
{
    return load(out, spec, host_caps, false);
}

int plugin_load_private(struct plugin **out, const char *spec, uint64_t host_caps)
{
    return load(out, spec, host_caps, true);
}

void plugin_unload(struct plugin *plugin)
{
    if (!plugin)
        return;
    if (plugin->handle)
        dlclose(plugin->handle);
    free(plugin->path);
    free(plugin->source);
    free(plugin);
}
