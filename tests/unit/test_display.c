/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What core/outside/display.c shows, in PNG files and to viewers: formats, changes, sizes that come and go, frames that are none,
 * and viewers that are none. Where a library is missing its part is left out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "config.h"
#ifdef HAVE_PNG
#include <png.h>
#endif

#include "core/outside/display.h"
#include "core/outside/frame.h"
#include "core/outside/png.h"
#include "core/pci/region.h"
#include "core/outside/vnc.h"

#define BAR_BYTES (1u << 20)

struct rig {
    struct displays displays;
    struct region regions[VFU_REGION_BAR5 + 1];
    uint8_t *bar;
    char folder[64], file[80], sock[80], outputs[256];
};

static int set_up(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);

    assert_non_null(rig);
    rig->displays.who = "test";
    assert_int_equal(display_init(&rig->displays), 0);
    rig->bar = mmap(NULL, BAR_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(rig->bar, MAP_FAILED);
    rig->regions[0].memory = rig->bar;
    rig->regions[0].size = BAR_BYTES;
    snprintf(rig->folder, sizeof rig->folder, "/tmp/vfu-display.XXXXXX");
    assert_non_null(mkdtemp(rig->folder));
    snprintf(rig->file, sizeof rig->file, "%s/a.png", rig->folder);
    snprintf(rig->sock, sizeof rig->sock, "%s/vnc", rig->folder);
    *state = rig;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;

    display_fini(&rig->displays);
    munmap(rig->bar, BAR_BYTES);
    unlink(rig->file);
    assert_int_equal(access(rig->sock, F_OK), -1);
    assert_int_equal(rmdir(rig->folder), 0); /* nothing of ours is left */
    free(rig);
    return 0;
}

static struct vfu_display_frame frame_of(uint32_t width, uint32_t height)
{
    return (struct vfu_display_frame){
        .struct_size = sizeof(struct vfu_display_frame),
        .format = VFU_DISPLAY_XRGB8888,
        .width = width,
        .height = height,
    };
}

/* ---- frames ---- */

static void test_frames(void **state)
{
    struct rig *rig = *state;
    static const struct {
        uint32_t format, width, height;
        uint64_t offset, stride;
        int result;
    } cases[] = {
        { VFU_DISPLAY_XRGB8888, 512, 512, 0, 0, 0 },
        { VFU_DISPLAY_XRGB8888, 512, 513, 0, 0, -EINVAL },
        { VFU_DISPLAY_XRGB8888, 512, 512, 1, 0, -EINVAL },
        { VFU_DISPLAY_XRGB8888, 1, 1, BAR_BYTES - 4, 0, 0 },
        { VFU_DISPLAY_XRGB8888, 1, 1, BAR_BYTES - 3, 0, -EINVAL },
        { VFU_DISPLAY_XRGB8888, 1, 1, UINT64_MAX, 0, -EINVAL },
        { VFU_DISPLAY_XRGB8888, 0, 1, 0, 0, -EINVAL },
        { VFU_DISPLAY_XRGB8888, 1, 0, 0, 0, -EINVAL },
        { VFU_DISPLAY_XRGB8888, 65535, 65535, 0, 0, -EINVAL },
        { VFU_DISPLAY_XRGB8888, UINT32_MAX, UINT32_MAX, 0, 0, -EINVAL },
        { VFU_DISPLAY_XRGB8888, 8192, 1, 0, 0, 0 },
        { VFU_DISPLAY_XRGB8888, 8193, 1, 0, 0, -EINVAL },
        { VFU_DISPLAY_XRGB8888, 16, 2, 0, 63, -EINVAL },
        { VFU_DISPLAY_XRGB8888, 16, 2, 0, BAR_BYTES - 64, 0 },
        { VFU_DISPLAY_XRGB8888, 16, 2, 0, BAR_BYTES - 63, -EINVAL },
        { VFU_DISPLAY_XRGB8888, 16, 2, 0, UINT64_MAX, -EINVAL },
        { VFU_DISPLAY_XRGB8888, 16, 8192, 0, UINT64_MAX / 4096, -EINVAL },
        { VFU_DISPLAY_R8, 8192, 128, 0, 0, 0 },
        { VFU_DISPLAY_RGB888, 591, 591, 0, 0, 0 },
        { VFU_DISPLAY_C8, 16, 16, 0, 0, -EINVAL }, /* no palette */
        { 0, 16, 16, 0, 0, -EINVAL },
    };
    struct frame frame;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vfu_display_frame what = frame_of(cases[i].width, cases[i].height);

        what.format = cases[i].format;
        what.offset = cases[i].offset;
        what.stride = cases[i].stride;
        assert_int_equal(frame_check(&frame, &what, rig->regions), cases[i].result);
        assert_true(cases[i].result ? !frame.first : frame.first == rig->bar + cases[i].offset);
        what.bar = 1; /* has no memory */
        assert_int_equal(frame_check(&frame, &what, rig->regions), -EINVAL);
        what.bar = VFU_REGION_ROM;
        assert_int_equal(frame_check(&frame, &what, rig->regions), -EINVAL);
        what.bar = VFU_NONE;
        assert_int_equal(frame_check(&frame, &what, rig->regions), -EINVAL);
        what.bar = 0;
        what.flags = 1u << 31;
        assert_int_equal(frame_check(&frame, &what, rig->regions), -EINVAL);
        what.flags = 0;
        what.struct_size = 8;
        assert_int_equal(frame_check(&frame, &what, rig->regions), -EINVAL);
    }
}

static void test_formats(void **state)
{
    struct rig *rig = *state;
    static const uint8_t bytes[4] = { 0x12, 0x34, 0x56, 0x78 };
    static const struct {
        uint32_t format, flags, rgb;
    } cases[] = {
        { VFU_DISPLAY_XRGB8888, 0, 0x563412 },
        { VFU_DISPLAY_XRGB8888, VFU_DISPLAY_BIG_ENDIAN, 0x345678 },
        { VFU_DISPLAY_XBGR8888, 0, 0x123456 },
        { VFU_DISPLAY_RGB888, 0, 0x563412 },
        { VFU_DISPLAY_RGB888, VFU_DISPLAY_BIG_ENDIAN, 0x563412 },
        { VFU_DISPLAY_BGR888, 0, 0x123456 },
        { VFU_DISPLAY_RGB565, 0, 0x318294 },                      /* 0x3412: 6, 32, 18 */
        { VFU_DISPLAY_RGB565, VFU_DISPLAY_BIG_ENDIAN, 0x1045a5 }, /* 0x1234: 2, 17, 20 */
        { VFU_DISPLAY_XRGB1555, 0, 0x6b0094 },                    /* 0x3412: 13, 0, 18 */
        { VFU_DISPLAY_C8, 0, 0xabcdef },
        { VFU_DISPLAY_R8, 0, 0x121212 },
    };
    uint32_t palette[256] = { [0x12] = 0xffabcdef };
    struct frame frame;
    uint32_t rgb;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vfu_display_frame what = frame_of(1, 1);

        what.format = cases[i].format;
        what.flags = cases[i].flags;
        what.palette = palette;
        assert_int_equal(frame_check(&frame, &what, rig->regions), 0);
        frame_convert(&frame, bytes, &rgb, 1);
        assert_int_equal(rgb, cases[i].rgb);
    }
}

static void test_compare(void **state)
{
    uint8_t memory[61], shadow[61];
    uint32_t first, end;

    (void)state;
    for (uint32_t at = 0; at < sizeof memory; at++) {
        memset(memory, 7, sizeof memory);
        memset(shadow, 7, sizeof shadow);
        assert_false(frame_compare(memory, shadow, sizeof memory, &first, &end));
        memory[at] = 9;
        assert_true(frame_compare(memory, shadow, sizeof memory, &first, &end));
        assert_true(first <= at && at < end && end <= sizeof memory && end - first <= 8);
        assert_memory_equal(memory, shadow, sizeof memory);
    }
}

/* ---- files ---- */

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t come;
    int error;
    bool done;
};

static void answered(void *ctx, int error)
{
    struct answer *answer = ctx;

    pthread_mutex_lock(&answer->lock);
    answer->error = error;
    answer->done = true;
    pthread_cond_signal(&answer->come);
    pthread_mutex_unlock(&answer->lock);
}

static int save(struct rig *rig, uint32_t number, const char *path)
{
    struct answer answer = { .lock = PTHREAD_MUTEX_INITIALIZER, .come = PTHREAD_COND_INITIALIZER };
    int error = display_save(&rig->displays, number, path, answered, &answer);

    if (error)
        return error;
    pthread_mutex_lock(&answer.lock);
    while (!answer.done)
        pthread_cond_wait(&answer.come, &answer.lock);
    pthread_mutex_unlock(&answer.lock);
    return answer.error;
}

static void expect_file(const char *path, uint32_t width, uint32_t height, uint32_t x, uint32_t y, uint32_t rgb)
{
#ifdef HAVE_PNG
    png_image image = { .version = PNG_IMAGE_VERSION };
    uint8_t *pixels, *p;

    assert_true(png_image_begin_read_from_file(&image, path));
    assert_int_equal(image.width, width);
    assert_int_equal(image.height, height);
    image.format = PNG_FORMAT_RGB;
    pixels = malloc(PNG_IMAGE_SIZE(image));
    assert_true(png_image_finish_read(&image, NULL, pixels, 0, NULL));
    p = pixels + 3 * ((size_t)y * width + x);
    assert_int_equal(p[0] << 16 | p[1] << 8 | p[2], rgb);
    free(pixels);
#else
    (void)path, (void)width, (void)height, (void)x, (void)y, (void)rgb;
#endif
}

static void test_save(void **state)
{
    struct rig *rig = *state;
    struct vfu_display_frame what = frame_of(40, 30);
    struct stat there;

    if (!png_works())
        skip();
    assert_int_equal(save(rig, 0, rig->file), -ENOENT);
    assert_int_equal(display_open(&rig->displays, NULL), 0);
    assert_int_equal(display_open(&rig->displays, ""), 0); /* the same */
    assert_int_equal(save(rig, 0, rig->file), -ENODATA);
    assert_int_equal(display_show(&rig->displays, 0, &what, rig->regions), 0);
    ((uint32_t *)rig->bar)[40 * 2 + 3] = 0x123456;
    assert_int_equal(save(rig, 0, rig->file), 0);
    expect_file(rig->file, 40, 30, 3, 2, 0x123456);
    /* What the guest writes meanwhile is found. */
    ((uint32_t *)rig->bar)[40 * 29 + 39] = 0xffabcdef;
    assert_int_equal(save(rig, 0, rig->file), 0);
    expect_file(rig->file, 40, 30, 39, 29, 0xabcdef);
    /* A page flip. */
    what.offset = 40 * 4;
    assert_int_equal(display_show(&rig->displays, 0, &what, rig->regions), 0);
    assert_int_equal(save(rig, 0, rig->file), 0);
    expect_file(rig->file, 40, 30, 3, 1, 0x123456);
    assert_int_equal(save(rig, 0, "/nowhere/at/all.png"), -ENOENT);
    /* What is no plain file stays what it is. */
    assert_int_equal(unlink(rig->file), 0);
    assert_int_equal(mkfifo(rig->file, 0600), 0);
    assert_int_equal(save(rig, 0, rig->file), -EEXIST);
    assert_int_equal(save(rig, 0, "/"), -EISDIR);
    assert_int_equal(stat(rig->file, &there), 0);
    assert_true(S_ISFIFO(there.st_mode));
    assert_int_equal(unlink(rig->file), 0);
    /* What is no frame blanks it. */
    what.stride = 1;
    assert_int_equal(display_show(&rig->displays, 0, &what, rig->regions), -EINVAL);
    assert_int_equal(save(rig, 0, rig->file), -ENODATA);
    assert_int_equal(display_changed(&rig->displays, 0, 0, 0, 1, 1), -ENODATA);
    assert_int_equal(display_show(&rig->displays, 1, NULL, rig->regions), -ENOENT);
    assert_int_equal(display_show(&rig->displays, -1, NULL, rig->regions), -ENOENT);
}

static void test_told(void **state)
{
    struct rig *rig = *state;
    struct vfu_display_frame what = frame_of(64, 64);
    static uint32_t own[64 * 64];

    if (!png_works())
        skip();
    memset(own, 0, sizeof own);
    assert_int_equal(display_open(&rig->displays, "none"), 0);
    what.bar = VFU_NONE;
    what.memory = own;
    what.size = sizeof own;
    own[0] = 1;
    assert_int_equal(display_show(&rig->displays, 0, &what, rig->regions), 0);
    own[1] = own[64 * 63 + 63] = 2; /* not told, so not seen */
    assert_int_equal(save(rig, 0, rig->file), 0);
    expect_file(rig->file, 64, 64, 0, 0, 1);
    expect_file(rig->file, 64, 64, 1, 0, 0);
    assert_int_equal(display_changed(&rig->displays, 0, 60, 60, UINT32_MAX, UINT32_MAX), 0);
    assert_int_equal(display_changed(&rig->displays, 0, UINT32_MAX, UINT32_MAX, UINT32_MAX, 1), 0);
    assert_int_equal(save(rig, 0, rig->file), 0);
    expect_file(rig->file, 64, 64, 63, 63, 2);
    expect_file(rig->file, 64, 64, 1, 0, 0);
    /* The same of a BAR. */
    what = frame_of(64, 64);
    what.flags = VFU_DISPLAY_MARKED;
    memset(rig->bar, 0, 64 * 64 * 4);
    assert_int_equal(display_show(&rig->displays, 0, &what, rig->regions), 0);
    assert_int_equal(save(rig, 0, rig->file), 0);
    expect_file(rig->file, 64, 64, 0, 0, 0);
    rig->bar[0] = rig->bar[64 * 4 * 9] = 5;
    assert_int_equal(display_changed(&rig->displays, 0, 0, 9, 1, 1), 0);
    assert_int_equal(save(rig, 0, rig->file), 0);
    expect_file(rig->file, 64, 64, 0, 9, 5);
    expect_file(rig->file, 64, 64, 0, 0, 0);
}

static void test_file(void **state)
{
    struct rig *rig = *state;
    struct vfu_display_frame what = frame_of(20, 10);

    if (!png_works())
        skip();
    snprintf(rig->outputs, sizeof rig->outputs, "png:%s", rig->file);
    assert_int_equal(display_open(&rig->displays, rig->outputs), 0);
    assert_int_equal(display_show(&rig->displays, 0, &what, rig->regions), 0);
    rig->bar[4] = 77;
    /* The last picture is saved at the end, whatever was before. */
    display_fini(&rig->displays);
    expect_file(rig->file, 20, 10, 1, 0, 77);
    assert_int_equal(display_init(&rig->displays), 0);
}

static void test_outputs(void **state)
{
    struct rig *rig = *state;
    static const char *const bad[] = {
        "tv", "png:", "vnc:", "vnc:host", "vnc:99999", "vnc:127.0.0.1:", "none,tv", "vnc:unix:", "vnc:unix:/nowhere/at/all",
        "png:/nowhere/at/all.png", "png:/", "png:/tmp/.", "png:x,png:y",
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_true(display_open(&rig->displays, bad[i]) < 0);
    assert_int_equal(rig->displays.n, 0);
    assert_int_equal(mkfifo(rig->file, 0600), 0);
    snprintf(rig->outputs, sizeof rig->outputs, "png:%s", rig->file);
    assert_true(display_open(&rig->displays, rig->outputs) < 0);
    assert_int_equal(unlink(rig->file), 0);
    assert_int_equal(display_open(&rig->displays, "none"), 0);
    assert_int_equal(display_open(&rig->displays, "none,none"), 1);
    assert_int_equal(display_open(&rig->displays, ","), 2);
    assert_int_equal(display_open(&rig->displays, ",,"), 3);
    assert_int_equal(display_open(&rig->displays, "none,"), -ENOSPC);
    assert_int_equal(display_open(&rig->displays, "none,none"), 1);
}

/* ---- viewers ---- */

static int dial(struct rig *rig)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", rig->sock);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void get(int fd, void *data, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t more = recv(fd, (char *)data + at, n - at, 0);

        assert_true(more > 0);
        at += (size_t)more;
    }
}

static void put(int fd, const void *data, size_t n)
{
    assert_int_equal(send(fd, data, n, MSG_NOSIGNAL), n);
}

static void skip_bytes(int fd, size_t n)
{
    uint8_t byte;

    while (n--)
        get(fd, &byte, 1);
}

static uint32_t be(const uint8_t *p, int n)
{
    return n == 2 ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* RFC 6143, 7.1 to 7.3: version 3.8, no authentication. */
static void shake_hands(int fd, uint32_t *width, uint32_t *height)
{
    uint8_t bytes[32];

    get(fd, bytes, 12);
    put(fd, "RFB 003.008\n", 12);
    get(fd, bytes, 1);
    skip_bytes(fd, bytes[0]);
    put(fd, "\1", 1);
    get(fd, bytes, 4);
    assert_int_equal(be(bytes, 4), 0);
    put(fd, "\1", 1);
    get(fd, bytes, 24);
    *width = be(bytes, 2);
    *height = be(bytes + 2, 2);
    skip_bytes(fd, be(bytes + 20, 4));
    /* red in the lowest byte; raw and new sizes */
    put(fd, "\0\0\0\0\x20\x18\0\1\0\xff\0\xff\0\xff\0\x08\x10\0\0\0", 20);
    put(fd, "\2\0\0\2\0\0\0\0\xff\xff\xff\x21", 12);
}

static void request(int fd, bool incremental, uint32_t width, uint32_t height)
{
    uint8_t bytes[10] = { 3, incremental, 0, 0, 0, 0, (uint8_t)(width >> 8), (uint8_t)width, (uint8_t)(height >> 8), (uint8_t)height };

    put(fd, bytes, sizeof bytes);
}

/* Reads one update; pixels of a line are put at `line` if it is y. */
static void update(int fd, uint32_t *width, uint32_t *height, uint32_t y, uint32_t *line)
{
    uint8_t head[12], *pixels;
    uint32_t n;

    get(fd, head, 4);
    assert_int_equal(head[0], 0);
    for (n = be(head + 2, 2); n; n--) {
        uint32_t w, h, at;

        get(fd, head, 12);
        w = be(head + 4, 2);
        h = be(head + 6, 2);
        at = be(head + 2, 2);
        if (be(head + 8, 4) == 0xffffff21) {
            *width = w;
            *height = h;
            continue;
        }
        assert_int_equal(be(head + 8, 4), 0);
        pixels = malloc(4u * w * h);
        get(fd, pixels, 4u * w * h);
        if (y >= at && y < at + h && w <= 1024)
            memcpy(line + be(head, 2), pixels + 4 * (size_t)w * (y - at), 4 * (size_t)w);
        free(pixels);
    }
}

/* Until pixel x of line y is what it should be: what is drawn comes, sooner or later. */
static void expect_pixel(int fd, uint32_t *width, uint32_t *height, uint32_t x, uint32_t y, uint32_t want)
{
    static uint32_t line[1024];

    for (int i = 0; i < 400; i++) {
        request(fd, false, *width, *height);
        update(fd, width, height, y, line);
        if ((line[x] & 0xffffff) == want)
            return;
        usleep(10000);
    }
    fail_msg("pixel %u,%u is %06x, not %06x", x, y, line[x] & 0xffffff, want);
}

static void open_vnc(struct rig *rig)
{
    snprintf(rig->outputs, sizeof rig->outputs, "vnc:unix:%s", rig->sock);
    assert_int_equal(display_open(&rig->displays, rig->outputs), 0);
}

static void test_viewers(void **state)
{
    struct rig *rig = *state;
    struct vfu_display_frame what = frame_of(64, 48);
    uint32_t width, height, other_width, other_height;
    int fd, other;

    if (!vnc_works())
        skip();
    open_vnc(rig);
    fd = dial(rig);
    shake_hands(fd, &width, &height);
    assert_int_equal(width, 640);
    assert_int_equal(height, 480);
    expect_pixel(fd, &width, &height, 5, 5, 0);
    /* A picture comes, of another size; red, in the viewer's order. */
    ((uint32_t *)rig->bar)[64 * 3 + 7] = 0xff0000;
    assert_int_equal(display_show(&rig->displays, 0, &what, rig->regions), 0);
    expect_pixel(fd, &width, &height, 7, 3, 0x0000ff);
    assert_int_equal(width, 64);
    assert_int_equal(height, 48);
    other = dial(rig);
    shake_hands(other, &other_width, &other_height);
    expect_pixel(other, &other_width, &other_height, 7, 3, 0x0000ff);
    ((uint32_t *)rig->bar)[0] = 0x0000ff;
    expect_pixel(fd, &width, &height, 0, 0, 0xff0000);
    expect_pixel(other, &other_width, &other_height, 0, 0, 0xff0000);
    close(other);
    /* It grows, and goes blank. */
    what = frame_of(800, 200);
    assert_int_equal(display_show(&rig->displays, 0, &what, rig->regions), 0);
    ((uint32_t *)rig->bar)[800 * 199 + 799] = 0x00ff00;
    expect_pixel(fd, &width, &height, 799, 199, 0x00ff00);
    assert_int_equal(width, 800);
    assert_int_equal(display_show(&rig->displays, 0, NULL, rig->regions), 0);
    expect_pixel(fd, &width, &height, 799, 199, 0);
    close(fd);
}

/* What is no viewer, or a bad one, is nothing to the others. */
static void test_bad_viewers(void **state)
{
    struct rig *rig = *state;
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        { "GET / HTTP/1.0\r\n\r\n", 18 },
        { "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11 },
        { "\x80\x80\x01\x03", 4 },
        { "RFB 003.008\n\x63", 13 },
        { "RFB 999.999\n\1\1\xff\xff\xff\xff", 18 },
        { "RFB 003.003\n\1\x06\0\0\0\xff\xff\xff\xff", 21 },
        { "RFB 003.008\n\1\1\x06\0\0\0\x7f\xff\xff\xff", 22 },
        { "RFB 003.008\n\1\1\x02\0\xff\xff", 18 },
        { "RFB 003.008\n\1\1\x08\x02\0\0\x08\x0f\0\0\x03\0\xff\xff\xff\xff\xff\xff\xff\xff", 32 }, /* asks to be scaled */
        { "RFB 003.008\n\1\1\x03\0\xff\xff\xff\xff\xff\xff\xff\xff", 24 },
    };
    struct vfu_display_frame what = frame_of(640, 400);
    uint32_t width, height, w, h;
    int good, stalled, fds[sizeof bad / sizeof *bad];

    if (!vnc_works())
        skip();
    open_vnc(rig);
    assert_int_equal(display_show(&rig->displays, 0, &what, rig->regions), 0);
    good = dial(rig);
    shake_hands(good, &width, &height);
    /* One that asks for all and takes nothing. */
    stalled = dial(rig);
    shake_hands(stalled, &w, &h);
    for (int i = 0; i < 64; i++)
        request(stalled, false, w, h);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fds[i] = dial(rig);
        put(fds[i], bad[i].bytes, bad[i].n);
    }
    rig->bar[0] = 99;
    expect_pixel(good, &width, &height, 0, 0, 0x630000);
    what = frame_of(320, 200);
    assert_int_equal(display_show(&rig->displays, 0, &what, rig->regions), 0);
    rig->bar[0] = 98;
    expect_pixel(good, &width, &height, 0, 0, 0x620000);
    assert_int_equal(width, 320);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        close(fds[i]);
    close(good);
    /* The stalled one is there to the end, which it does not hold up. */
    display_fini(&rig->displays);
    close(stalled);
    assert_int_equal(display_init(&rig->displays), 0);
}

static void test_many_viewers(void **state)
{
    struct rig *rig = *state;
    int fds[VNC_VIEWERS_MAX + 1];
    uint32_t width, height;
    char byte;

    if (!vnc_works())
        skip();
    open_vnc(rig);
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < VNC_VIEWERS_MAX; i++)
            fds[i] = dial(rig);
        for (uint32_t i = 0; i < VNC_VIEWERS_MAX; i++) {
            /* places of the round before are free when their threads have ended */
            while (recv(fds[i], &byte, 1, MSG_PEEK) != 1) {
                close(fds[i]);
                usleep(10000);
                fds[i] = dial(rig);
            }
            shake_hands(fds[i], &width, &height);
        }
        fds[VNC_VIEWERS_MAX] = dial(rig);
        assert_true(recv(fds[VNC_VIEWERS_MAX], &byte, 1, 0) <= 0);
        for (uint32_t i = 0; i <= VNC_VIEWERS_MAX; i++)
            close(fds[i]);
    }
}

/* The device changes its mind faster than anybody can look. */
static void test_modes(void **state)
{
    struct rig *rig = *state;
    static const uint32_t formats[] = { VFU_DISPLAY_XRGB8888, VFU_DISPLAY_RGB565, VFU_DISPLAY_RGB888, VFU_DISPLAY_R8 };
    static uint32_t own[64 * 64];
    uint32_t width = 0, height = 0;
    int fd = -1;

    if (vnc_works()) {
        open_vnc(rig);
        fd = dial(rig);
        shake_hands(fd, &width, &height);
        request(fd, true, width, height);
    } else {
        assert_int_equal(display_open(&rig->displays, NULL), 0);
    }
    for (uint32_t i = 0; i < 20000; i++) {
        struct vfu_display_frame what = frame_of(1 + i * 7 % 300, 1 + i * 13 % 300);

        what.format = formats[i % 4];
        what.flags = i & VFU_DISPLAY_MARKED;
        if (i % 5 == 0) {
            what = frame_of(64, 64);
            what.bar = VFU_NONE;
            what.memory = own;
            what.size = sizeof own;
            own[i % (64 * 64)] = i;
        }
        assert_int_equal(display_show(&rig->displays, 0, i % 11 ? &what : NULL, rig->regions), 0);
        display_changed(&rig->displays, 0, i % 64, i % 50, 9, 9);
    }
    if (fd >= 0) {
        struct vfu_display_frame what = frame_of(16, 16);

        rig->bar[0] = 5;
        assert_int_equal(display_show(&rig->displays, 0, &what, rig->regions), 0);
        expect_pixel(fd, &width, &height, 0, 0, 0x050000);
        close(fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_frames, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_formats, set_up, tear_down),
        cmocka_unit_test(test_compare),
        cmocka_unit_test_setup_teardown(test_save, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outputs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_viewers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_viewers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_viewers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_modes, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
