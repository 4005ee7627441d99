/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * skeleton - vfu-host --new: a folder with a device that builds, its test and a word about both. Main's thread.
 *
 * The files come from sdk/templates. @NAME@ in them is the device's name, @PLUGIN@ the file that the host loads.
 */
#include "core/skeleton.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/log.h"

#define NAME_MAX_CHARS 48u /* the plugin's name has 64, and file names add to it */

struct skeleton {
    const char *name;
    const struct lang *lang;
    char plugin[NAME_MAX_CHARS + 8];
    int folder;
};

static const struct lang {
    const char *name, *title, *suffix;
    bool script; /* the host loads the source itself */
} langs[] = {
    { "c", "C", "c", false },
    { "cpp", "C++", "cpp", false },
    { "lua", "Lua", "lua", true },
    { "rust", "Rust", "rs", false },
};

static const struct lang *find_lang(const char *name)
{
    for (size_t i = 0; i < sizeof langs / sizeof langs[0]; i++) {
        if (strcmp(langs[i].name, name) == 0)
            return &langs[i];
    }
    log_error(NULL, "--lang %s: there are c, cpp, lua and rust", name);
    return NULL;
}

/* A name that is a plugin's, a folder's and a file's alike, and that no shell or option parser takes for another. */
static int check_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char others[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t n = strlen(name);

    if (n > 0 && n <= NAME_MAX_CHARS && strspn(name, letters) > 0 && strspn(name, others) == n)
        return 0;
    log_error(NULL, "--new %s: a name is a letter, then letters, digits, '-' and '_', %u at most", name,
              NAME_MAX_CHARS);
    return -EINVAL;
}

/* The text with its names put in; to be freed. */
static char *expand(const struct skeleton *s, const char *text, size_t size, size_t *length)
{
    char *out = NULL;
    FILE *f = open_memstream(&out, length);

    if (!f)
        return NULL;
    for (size_t i = 0; i < size;) {
        const char *put = NULL;

        if (size - i >= 6 && memcmp(text + i, "@NAME@", 6) == 0) {
            put = s->name;
            i += 6;
        } else if (size - i >= 8 && memcmp(text + i, "@PLUGIN@", 8) == 0) {
            put = s->plugin;
            i += 8;
        }
        if (put)
            fputs(put, f);
        else
            putc(text[i++], f);
    }
    if (fclose(f)) {
        free(out);
        return NULL;
    }
    return out;
}

/* The name of the file in the new folder: "device" is the device's name. */
static void file_name(const struct skeleton *s, const struct skeleton_file *file, char *name, size_t room)
{
    bool named = strncmp(file->name, "device", 6) == 0;

    snprintf(name, room, "%s%s", named ? s->name : "", file->name + (named ? 6 : 0));
}

static int write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        bytes += n;
        size -= (size_t)n;
    }
    return 0;
}

static int write_file(const struct skeleton *s, const struct skeleton_file *file)
{
    char name[NAME_MAX_CHARS + 64];
    size_t size = 0;
    char *text = expand(s, (const char *)file->text, file->size, &size);
    int error = text ? 0 : -ENOMEM, fd = -1;

    file_name(s, file, name, sizeof name);
    if (!error) {
        fd = openat(s->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        error = fd < 0 ? -errno : write_all(fd, text, size);
    }
    if (fd >= 0 && close(fd) && !error)
        error = -errno;
    free(text);
    if (error)
        log_error(NULL, "--new: cannot write %s/%s: %s", s->name, name, strerror(-error));
    else
        printf("  %s/%s\n", s->name, name);
    return error;
}

static void next_steps(const struct skeleton *s)
{
    printf("\nNext:\n"
           "    cd %s\n"
           "    make%s\n"
           "    vfu-host --plugin ./%s\n"
           "The test is %s_test.lua, the device's code %s.%s; %s\n",
           s->name, s->lang->script ? " check" : " && make check", s->plugin, s->name, s->name, s->lang->suffix,
           s->lang->script ? "README.md says more." : "vfu-plugin(3) is its manual.");
}

/* A folder that is already there is left alone, whatever is in it. */
static int make_folder(struct skeleton *s)
{
    int error;

    if (mkdir(s->name, 0777) < 0) {
        error = errno;
        if (error == EEXIST)
            log_error(NULL, "--new %s: it exists; nothing is overwritten", s->name);
        else
            log_error(NULL, "--new: cannot make the folder %s: %s", s->name, strerror(error));
        return -error;
    }
    s->folder = open(s->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (s->folder < 0) {
        error = errno;
        log_error(NULL, "--new: cannot open the folder %s: %s", s->name, strerror(error));
        return -error;
    }
    return 0;
}

int skeleton_new(const char *name, const char *lang)
{
    struct skeleton s = { .name = name, .folder = -1 };
    int error = check_name(name);

    s.lang = error ? NULL : find_lang(lang ? lang : "c");
    if (!s.lang)
        return -EINVAL;
    snprintf(s.plugin, sizeof s.plugin, "%s.%s", name, s.lang->script ? s.lang->suffix : "so");
    error = make_folder(&s);
    if (!error)
        printf("%s, a device in %s:\n", name, s.lang->title);
    for (const struct skeleton_file *file = skeleton_files; !error && file->lang; file++) {
        if (strcmp(file->lang, s.lang->name) == 0 || strcmp(file->lang, "common") == 0)
            error = write_file(&s, file);
    }
    if (s.folder >= 0)
        close(s.folder);
    if (!error)
        next_steps(&s);
    return error ? error : fflush(stdout) ? -errno : 0;
}
