/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * draw - in the guest: sets a mode of the first display that DRM has, draws the test picture of tests/guest/picture.py,
 * says "READY draw WxH" and shows it until the file that is named appears. The structs are those of the kernel's
 * drm_mode.h, which is not among its headers for programs on every system.
 *
 *   draw WIDTH HEIGHT FILE
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

struct resources {
    uint64_t fbs, crtcs, connectors, encoders;
    uint32_t nfbs, ncrtcs, nconnectors, nencoders, min_width, max_width, min_height, max_height;
};
struct mode {
    uint32_t clock;
    uint16_t width, h[4], height, v[4];
    uint32_t refresh, flags, type;
    char name[32];
};
struct connector {
    uint64_t encoders, modes, props, values;
    uint32_t nmodes, nprops, nencoders, encoder, id, type, type_id, connection, mm_width, mm_height, subpixel, pad;
};
struct crtc {
    uint64_t connectors;
    uint32_t nconnectors, id, fb, x, y, gamma, valid;
    struct mode mode;
};
struct fb {
    uint32_t id, width, height, pitch, bpp, depth, handle;
};
struct dumb {
    uint32_t height, width, bpp, flags, handle, pitch;
    uint64_t size;
};
struct map {
    uint32_t handle, pad;
    uint64_t offset;
};
struct dirty {
    uint32_t fb, flags, color, nclips;
    uint64_t clips;
};
#define GET_RESOURCES _IOWR('d', 0xa0, struct resources)
#define SET_CRTC _IOWR('d', 0xa2, struct crtc)
#define GET_CONNECTOR _IOWR('d', 0xa7, struct connector)
#define ADD_FB _IOWR('d', 0xae, struct fb)
#define DIRTY_FB _IOWR('d', 0xb1, struct dirty)
#define CREATE_DUMB _IOWR('d', 0xb2, struct dumb)
#define MAP_DUMB _IOWR('d', 0xb3, struct map)

static int card;

static void ask(unsigned long request, void *argument, const char *what)
{
    if (ioctl(card, request, argument) < 0) {
        printf("not ok - draw: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static void find(uint32_t width, uint32_t height, struct crtc *crtc, uint32_t *id)
{
    uint32_t crtcs[16] = { 0 }, connectors[16] = { 0 };
    static struct mode modes[256];
    struct resources resources = { .crtcs = (uintptr_t)crtcs, .ncrtcs = 16, .connectors = (uintptr_t)connectors, .nconnectors = 16 };
    struct connector connector = { 0 };

    ask(GET_RESOURCES, &resources, "resources");
    *id = connector.id = connectors[0];
    ask(GET_CONNECTOR, &connector, "connector");
    connector = (struct connector){ .id = *id, .modes = (uintptr_t)modes, .nmodes = 256 };
    ask(GET_CONNECTOR, &connector, "modes");
    for (uint32_t i = 0; i < connector.nmodes && i < 256; i++) {
        if (modes[i].width == width && modes[i].height == height) {
            *crtc = (struct crtc){ .connectors = (uintptr_t)id, .nconnectors = 1, .id = crtcs[0], .valid = 1, .mode = modes[i] };
            return;
        }
    }
    printf("not ok - draw: of %u modes none is %ux%u\n", connector.nmodes, width, height);
    exit(1);
}

int main(int argc, char **argv)
{
    uint32_t width = argc == 4 ? (uint32_t)atoi(argv[1]) : 0, height = argc == 4 ? (uint32_t)atoi(argv[2]) : 0, id;
    struct dumb dumb = { .width = width, .height = height, .bpp = 32 };
    struct fb fb = { .width = width, .height = height, .bpp = 32, .depth = 24 };
    struct map map = { 0 };
    struct crtc crtc;
    uint8_t *pixels;

    if (argc != 4)
        return 2;
    for (int i = 0; i < 16; i++) {
        char path[32];

        snprintf(path, sizeof path, "/dev/dri/card%d", i);
        card = open(path, O_RDWR);
        if (card >= 0)
            break;
    }
    find(width, height, &crtc, &id);
    ask(CREATE_DUMB, &dumb, "buffer");
    fb.pitch = dumb.pitch;
    fb.handle = map.handle = dumb.handle;
    ask(ADD_FB, &fb, "frame buffer");
    ask(MAP_DUMB, &map, "map");
    pixels = mmap(NULL, dumb.size, PROT_READ | PROT_WRITE, MAP_SHARED, card, (off_t)map.offset);
    if (pixels == MAP_FAILED) {
        printf("not ok - draw: mmap: %s\n", strerror(errno));
        return 1;
    }
    crtc.fb = fb.id;
    ask(SET_CRTC, &crtc, "mode");
    for (uint32_t y = 0; y < height; y++) {
        uint32_t *line = (uint32_t *)(pixels + (size_t)y * dumb.pitch);

        for (uint32_t x = 0; x < width; x++)
            line[x] = ((7 * x + 3 * y) & 0xff) << 16 | ((x ^ y) & 0xff) << 8 | ((x + 5 * y) & 0xff);
    }
    ioctl(card, DIRTY_FB, &(struct dirty){ .fb = fb.id }); /* for drivers that copy */
    printf("READY draw %ux%u\n", width, height);
    fflush(stdout);
    for (int i = 0; i < 600 && access(argv[3], F_OK) != 0; i++)
        usleep(50000);
    return access(argv[3], F_OK) != 0;
}
