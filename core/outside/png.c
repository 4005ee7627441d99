/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * png - writes PNG files with libpng: see png.h. The file is made under another name in the same folder and renamed, so
 * who reads it never sees half a picture. Any thread.
 */
#include "core/outside/png.h"

#include <errno.h>
#include <string.h>

#include "config.h"

const char *png_why(int error)
{
    return error == -EEXIST ? "something is there that is no plain file" : strerror(-error);
}

#ifdef HAVE_PNG
#include <fcntl.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/lazy.h"

#define LEVEL 3 /* of zlib: the picture of a console is small enough, and quickly made */

/* What is called of the library. */
#define FUNCTIONS(F)                                                                                                   \
    F(png_create_write_struct)                                                                                         \
    F(png_create_info_struct)                                                                                          \
    F(png_destroy_write_struct)                                                                                        \
    F(png_init_io)                                                                                                     \
    F(png_longjmp)                                                                                                     \
    F(png_set_longjmp_fn)                                                                                              \
    F(png_set_compression_level)                                                                                       \
    F(png_set_IHDR)                                                                                                    \
    F(png_write_info)                                                                                                  \
    F(png_write_row)                                                                                                   \
    F(png_write_end)

static struct {
#define MEMBER(name) __typeof__(name) *name;
    FUNCTIONS(MEMBER)
#undef MEMBER
} lib;

#define TEXT(x) #x
#define NUMBER(x) TEXT(x)

const char *png_missing(void)
{
    static struct lazy library = { "libpng" NUMBER(PNG_LIBPNG_VER_SONUM) ".so." NUMBER(PNG_LIBPNG_VER_SONUM),
                                   "libpng16-16", NULL, "" };
    static const struct lazy_symbol symbols[] = {
#define SYMBOL(name) { #name, &lib.name },
        FUNCTIONS(SYMBOL)
#undef SYMBOL
    };

    return lazy_load(&library, symbols, sizeof symbols / sizeof symbols[0]);
}

static void warn(png_structp png, png_const_charp text)
{
    (void)png, (void)text;
}

/* Without the line on standard error that libpng writes by itself. */
__attribute__((noreturn)) static void fail(png_structp png, png_const_charp text)
{
    (void)text;
    lib.png_longjmp(png, 1);
    abort(); /* not reached: what the pointer to it does not say */
}

/* The jump of libpng's errors ends here: nothing of this function is needed behind it. */
static int encode(FILE *file, png_structp png, png_infop info, const uint32_t *pixels, uint32_t width, uint32_t height,
                  uint8_t *line)
{
    if (setjmp(*lib.png_set_longjmp_fn(png, longjmp, sizeof(jmp_buf))))
        return errno ? -errno : -EIO;
    lib.png_init_io(png, file);
    lib.png_set_compression_level(png, LEVEL);
    lib.png_set_IHDR(png, info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    lib.png_write_info(png, info);
    for (uint32_t y = 0; y < height; y++) {
        const uint32_t *pixel = pixels + (size_t)y * width;

        for (uint32_t x = 0; x < width; x++) {
            line[3 * x] = (uint8_t)(pixel[x] >> 16);
            line[3 * x + 1] = (uint8_t)(pixel[x] >> 8);
            line[3 * x + 2] = (uint8_t)pixel[x];
        }
        lib.png_write_row(png, line);
    }
    lib.png_write_end(png, NULL);
    return 0;
}

static int write_file(FILE *file, const uint32_t *pixels, uint32_t width, uint32_t height)
{
    png_structp png = png_missing() ? NULL : lib.png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, fail, warn);
    png_infop info = png ? lib.png_create_info_struct(png) : NULL;
    uint8_t *line = malloc(3u * (size_t)width);
    int error = -ENOMEM;

    errno = 0;
    if (info && line)
        error = encode(file, png, info, pixels, width, height, line);
    if (png)
        lib.png_destroy_write_struct(&png, &info);
    free(line);
    return error;
}

/* A rename would put the picture in the place of a device, a pipe or a socket as well. */
static int look_there(const char *path)
{
    struct stat there;

    if (stat(path, &there) || S_ISREG(there.st_mode))
        return 0;
    return S_ISDIR(there.st_mode) ? -EISDIR : -EEXIST;
}

int png_check(const char *path)
{
    const char *slash = strrchr(path, '/');
    int error = look_there(path);
    char *folder;

    if (error)
        return error;
    folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!folder)
        return -ENOMEM;
    error = access(folder, W_OK | X_OK) ? -errno : 0;
    free(folder);
    return error;
}

/* A new file beside `path`, with the rights that an ordinary new file has; what a host left that died is passed over. */
static int make_file(const char *path, char **name)
{
    static unsigned number;
    int fd = -1;

    for (int i = 0; i < 100 && fd < 0; i++) {
        free(*name);
        *name = NULL;
        if (asprintf(name, "%s.%d-%u", path, (int)getpid(), __atomic_add_fetch(&number, 1, __ATOMIC_RELAXED)) < 0) {
            *name = NULL;
            return -ENOMEM;
        }
        fd = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    return fd < 0 ? -errno : fd;
}

int png_save(const char *path, const uint32_t *pixels, uint32_t width, uint32_t height)
{
    char *name = NULL;
    FILE *file = NULL;
    int error = look_there(path), fd = error ? error : make_file(path, &name);

    error = fd < 0 ? fd : 0;
    if (fd >= 0) {
        file = fdopen(fd, "wb");
        if (file) {
            error = write_file(file, pixels, width, height);
            if (fclose(file) && !error)
                error = -errno;
        } else {
            error = -errno;
            close(fd);
        }
        if (!error && rename(name, path))
            error = -errno;
        if (error)
            unlink(name);
    }
    free(name);
    return error;
}

#else

const char *png_missing(void)
{
    return "this build has no libpng";
}

int png_check(const char *path)
{
    (void)path;
    return -ENOTSUP;
}

int png_save(const char *path, const uint32_t *pixels, uint32_t width, uint32_t height)
{
    (void)path, (void)pixels, (void)width, (void)height;
    return -ENOTSUP;
}

#endif
