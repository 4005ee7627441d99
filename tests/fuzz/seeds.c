/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * seeds - writes the inputs that fuzzing begins with: seeds DIRECTORY. One script for each thing that a client does to
 * a device, some hundred at random, the texts that VERSION and parameters are tested with, and saved states.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <vfu/protocol.h>

#include "core/device/image.h"
#include "tests/fuzz/host.h"
#include "tests/fuzz/template.h"

#define RANDOM_SCRIPTS 120u

static const char *directory;

static void put(const char *harness, const char *name, const void *head, size_t nhead, const void *bytes, size_t n)
{
    char path[512];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s/%s", directory, harness, name);
    file = fopen(path, "wb");
    if (!file || fwrite(head, 1, nhead, file) != nhead || fwrite(bytes, 1, n, file) != n || fclose(file)) {
        perror(path);
        exit(1);
    }
}

static void put_script(const char *name, const struct script *s)
{
    put("session", name, "", 0, s->bytes, s->size);
}

/* ---- scripts */

#define ACTION(s, what, arg) template_write(s, 0, 0x30, (what) | (uint64_t)(arg) << 8, 4)

static void pass(struct script *s, uint32_t us)
{
    script_add(s, OP_TIME, &us, sizeof us, NULL, 0);
}

static void questions(struct script *s)
{
    for (uint32_t i = 0; i < 10; i++) {
        uint32_t words[8] = { 32, 0, i };
        uint32_t fds[4] = { 4096, 0, i };

        template_message(s, VFU_CMD_DEVICE_GET_REGION_INFO, words, 32, FD_NONE, 0);
        words[0] = 4096;
        template_message(s, VFU_CMD_DEVICE_GET_REGION_INFO, words, 32, FD_NONE, 0);
        template_message(s, VFU_CMD_DEVICE_GET_IRQ_INFO, words, 16, FD_NONE, 0);
        template_message(s, VFU_CMD_DEVICE_GET_REGION_IO_FDS, fds, 16, FD_NONE, 0);
    }
    template_message(s, VFU_CMD_DEVICE_GET_INFO, (const uint32_t[]){ 16, 0, 0, 0 }, 16, FD_NONE, 0);
}

static void config(struct script *s)
{
    for (uint32_t i = 0; i < 256; i += 64)
        template_read(s, 7, i, 64);
    template_read(s, 7, 0, 4096);
    template_write(s, 7, 4, 0x506, 2);
    for (uint32_t i = 0x10; i < 0x34; i += 4)
        template_write(s, 7, i, UINT32_MAX, 4);
    for (uint32_t i = 0x40; i < 0xa0; i += 2) {
        template_write(s, 7, i, 0xffff, 2);
        template_write(s, 7, i, 3, 2);
        template_write(s, 7, i, 0, 2);
    }
}

static void interrupts(struct script *s)
{
    for (uint32_t index = 0; index < 5; index++) {
        template_irqs(s, index, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0,
                      index == 1 || index == 2 ? 3 : 1, FD_EVENT);
        ACTION(s, 9, 0);
        ACTION(s, 11, index);
        template_irqs(s, index, VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_MASK, 0, 1, FD_NONE);
        ACTION(s, 9, 1);
        template_irqs(s, index, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, FD_NONE);
        template_irqs(s, index, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, FD_NONE);
        template_irqs(s, index, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, FD_EVENT_FULL);
        template_write(s, 4, 0x100c, 0, 4);
        template_write(s, 4, 0x100c, 1, 4);
    }
    template_irqs(s, 2, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, FD_NONE);
}

static void memory(struct script *s)
{
    const struct vfu_msg_dma_unmap one = { sizeof one, 0, 0x8000, 0x4000 }, all = { sizeof all, 2, 0, 0 };

    for (uint8_t kind = 0; kind < FD_KINDS; kind++)
        template_map(s, (uint64_t)kind * 0x4000, 0x4000, 3, kind, 0x1000);
    template_map(s, 0, 0x4000, 3, FD_NONE, 0);
    template_write(s, 0, 0x38, 0x4000, 8);
    for (uint32_t action = 0; action < 9; action++)
        ACTION(s, action, 3);
    script_add(s, OP_FILE, &(const struct script_file){ 0, 0 }, 2, NULL, 0);
    for (uint32_t action = 0; action < 9; action++)
        ACTION(s, action, 3);
    template_message(s, VFU_CMD_DMA_UNMAP, &one, sizeof one, FD_NONE, 0);
    template_message(s, VFU_CMD_DMA_UNMAP, &all, sizeof all, FD_NONE, 0);
}

static void messages(struct script *s)
{
    template_map(s, 0, 0x10000, 3, FD_NONE, 0);
    template_byte(s, OP_SETTINGS, SCRIPT_NO_ANSWER);
    for (uint8_t how = 0; how < ANSWERS; how++) {
        ACTION(s, 2, 3);
        for (uint32_t i = 0; i < 4; i++)
            script_add(s, OP_ANSWER, &(const struct script_answer){ how, 0 }, sizeof(struct script_answer), NULL, 0);
    }
    ACTION(s, 0, 0);
    pass(s, 10000000);
    ACTION(s, 1, 0);
    template_message(s, VFU_CMD_DEVICE_RESET, NULL, 0, FD_NONE, 0);
    ACTION(s, 1, 0);
}

static void edu(struct script *s)
{
    template_map(s, 0, 0x10000, 3, FD_NONE, 0);
    template_irqs(s, 1, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, FD_EVENT);
    template_write(s, 0, 0x20, 0x80, 4);
    template_write(s, 0, 0x08, 12, 4);
    template_write(s, 0, 0x80, 0x1000, 8);
    template_write(s, 0, 0x88, 0x40000, 8);
    template_write(s, 0, 0x90, 4096, 8);
    template_write(s, 0, 0x98, 5, 8);
    pass(s, 1000);
    template_write(s, 0, 0x80, 0x40000, 8);
    template_write(s, 0, 0x88, 0x2000, 8);
    template_write(s, 0, 0x98, 7, 8);
    pass(s, 1000);
    template_read(s, 0, 0x08, 4);
    template_write(s, 0, 0x64, 0x101, 4);
}

static void registers(struct script *s)
{
    for (uint32_t i = 0; i < 0x70; i += 4) {
        template_read(s, 0, i, 4);
        template_write(s, 0, i, 0xa5a5a5a5u, 4);
        template_read(s, 0, i, 8);
    }
    template_read(s, 0, 0, 4096);
    for (uint32_t i = 0x80; i < 0x180; i += 8)
        template_write(s, 0, i, i, 8);
    for (uint32_t region = 1; region < 7; region++) {
        template_read(s, region, 0, 8);
        template_read(s, region, 0, 64);
        template_write(s, region, 0x10, 1, 2);
        template_write(s, region, 0x8008, 5, 4);
    }
    for (uint32_t i = 0; i < 24; i++)
        ACTION(s, i, i);
    ACTION(s, 12, 50);
    ACTION(s, 14, 0);
    ACTION(s, 19, 0);
    ACTION(s, 21, 0);
    pass(s, 100);
}

static void large(struct script *s)
{
    static const uint32_t counts[] = { 0x4000, 0x10001, 0x100000, 0xffff8 };

    for (uint32_t i = 0; i < 16; i++) {
        const struct script_large one = { (uint8_t)i, i & 8 ? 2 : 5, (uint16_t)(i * 17), i & 1 ? 0 : 0x1000,
                                          counts[i % 4] };

        script_add(s, OP_LARGE, &one, sizeof one, NULL, 0);
    }
}

static void doorbells(struct script *s)
{
    const uint32_t fds[4] = { 4096, 0, 4, 0 };

    template_message(s, VFU_CMD_DEVICE_GET_REGION_IO_FDS, fds, 16, FD_NONE, 0);
    for (uint8_t i = 0; i < 8; i++)
        script_add(s, OP_POKE, &(const struct script_poke){ i, 0, 24 }, 4, "\3\0\0\0\0\0\0\0", 8);
    for (uint32_t i = 0; i < 0x28; i += 8)
        template_write(s, 4, 0x8000 + i, 5, i == 0x10 ? 8 : 4);
    template_message(s, VFU_CMD_DEVICE_RESET, NULL, 0, FD_NONE, 0);
}

static void set_state(struct script *s, uint32_t state)
{
    template_feature(s, 2 | VFIO_DEVICE_FEATURE_SET, (const uint32_t[]){ state, 0 }, 8);
}

static void migration(struct script *s)
{
    const struct vfu_msg_mig_data read = { 4096 + 8, 4096 };

    ACTION(s, 12, 40);
    ACTION(s, 13, 5000);
    template_feature(s, 1 | VFIO_DEVICE_FEATURE_GET, (const uint64_t[]){ 0 }, 8);
    template_feature(s, 2 | VFIO_DEVICE_FEATURE_GET, (const uint64_t[]){ 0 }, 8);
    set_state(s, 6);
    template_message(s, VFU_CMD_MIG_DATA_READ, &read, sizeof read, FD_NONE, 0);
    set_state(s, 3);
    for (uint32_t i = 0; i < 4; i++)
        template_message(s, VFU_CMD_MIG_DATA_READ, &read, sizeof read, FD_NONE, 0);
    set_state(s, 1);
    set_state(s, 4);
    script_add(s, OP_IMAGE, &(const struct script_image){ 0, 0, 0 }, 4, NULL, 0);
    set_state(s, 1);
    set_state(s, 4);
    script_add(s, OP_IMAGE, &(const struct script_image){ 0, 0, 700 }, 4, "\1\2", 2);
    set_state(s, 2);
    pass(s, 1000);
    template_write(s, 0, 0, 1, 4);
}

static void dirty(struct script *s)
{
    const uint64_t log[] = { 4096, 2, 0, 0x8000, 0x10000, 0x4000 }, report[] = { 0, 0x14000, 4096 };
    const struct vfu_msg_dma_unmap unmap[2] = { { 4096, 1, 0x10000, 0x1000 }, { 0, 0, 4096, 8 } }; /* with a bitmap */

    for (uint64_t at = 0; at < 0x11000; at += 0x1000)
        template_map(s, at, 0x1000, 3, at % 0x3000 ? FD_MEMORY0 : FD_NONE, 0);
    template_write(s, 0, 0x38, 0xf80, 8);
    template_feature(s, 6 | VFIO_DEVICE_FEATURE_SET, log, sizeof log);
    ACTION(s, 1, 0);
    ACTION(s, 4, 0);
    ACTION(s, 18, 0);
    template_feature(s, 8 | VFIO_DEVICE_FEATURE_GET, report, sizeof report);
    template_message(s, VFU_CMD_DMA_UNMAP, &unmap, sizeof unmap[0] + 16, FD_NONE, 0);
    template_feature(s, 7 | VFIO_DEVICE_FEATURE_SET, NULL, 0);
    template_message(s, VFU_CMD_DIRTY_PAGES, (const uint32_t[]){ 8, 1 }, 8, FD_NONE, 0);
    template_message(s, VFU_CMD_DIRTY_PAGES, (const uint32_t[]){ 64, 4, 0, 0, 0x8000, 0, 4096, 0, 8, 0 }, 40, FD_NONE,
                     0);
    template_message(s, VFU_CMD_DIRTY_PAGES, (const uint32_t[]){ 8, 2 }, 8, FD_NONE, 0);
}

static void endings(struct script *s)
{
    for (uint8_t how = 0; how < RECONNECT_KINDS; how++) {
        template_map(s, 0, 0x10000, 3, how & 1 ? FD_MEMORY1 : FD_NONE, 0);
        ACTION(s, 2, 3);
        ACTION(s, 5, 3);
        template_byte(s, OP_RECONNECT, how);
    }
    script_add(s, OP_RAW, NULL, 0, "\1\0\4\0\4\0\0\0\0\0\0\0\0\0\0\0", 16);
}

static void put_scripts(void)
{
    static const struct {
        const char *name;
        void (*write)(struct script *s);
        uint8_t device;
    } table[] = {
        { "questions", questions, SCRIPT_SYNTHETIC }, { "config", config, SCRIPT_SYNTHETIC },
        { "interrupts", interrupts, SCRIPT_SYNTHETIC }, { "memory", memory, SCRIPT_SYNTHETIC },
        { "messages", messages, SCRIPT_SYNTHETIC }, { "edu", edu, SCRIPT_EDU },
        { "registers", registers, SCRIPT_SYNTHETIC }, { "large", large, SCRIPT_SYNTHETIC },
        { "doorbells", doorbells, SCRIPT_SYNTHETIC }, { "migration", migration, SCRIPT_SYNTHETIC },
        { "migration-edu", migration, SCRIPT_EDU }, { "dirty", dirty, SCRIPT_SYNTHETIC },
        { "endings", endings, SCRIPT_SYNTHETIC },
    };
    static const uint8_t settings[] = { SCRIPT_HELLO, SCRIPT_HELLO | SCRIPT_TWIN,
                                        SCRIPT_HELLO | SCRIPT_NARROW | SCRIPT_NO_READ, SCRIPT_HELLO | SCRIPT_NO_ROUNDS,
                                        SCRIPT_HELLO | SCRIPT_DENY };
    static struct script s;
    uint32_t random = 2463534242u;
    char name[64];

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (size_t j = 0; j < sizeof settings; j++) {
            script_begin(&s, table[i].device, settings[j]);
            table[i].write(&s);
            snprintf(name, sizeof name, "%s-%zu", table[i].name, j);
            put_script(name, &s);
        }
    }
    for (uint32_t i = 0; i < RANDOM_SCRIPTS; i++) {
        script_begin(&s, i % 4 != 0, (uint8_t)(SCRIPT_HELLO | (i & 8 ? template_random(&random) : i & SCRIPT_TWIN)));
        for (uint32_t n = 0; n < 5 + i % 30; n++)
            template_any(&s, &random);
        snprintf(name, sizeof name, "random-%u", i);
        put_script(name, &s);
    }
}

/* ---- texts and states */

static void put_texts(void)
{
    static const char *const json[] = {
        "",
        "{}",
        "{\"capabilities\":{}}",
        "[1]",
        "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576}}",
        "{\"capabilities\":{\"migration\":{\"pgsize\":4096,\"max_bitmap_size\":256}}}",
        "{\"capabilities\":{\"pgsizes\":4096",
        "{\"capabilities\":{\"twin_socket\":{\"supported\":true},\"write_multiple\":true,\"max_dma_maps\":65535}}",
        "{\"capabilities\":{\"max_msg_fds\":-1}}",
        "{\"capabilities\":{\"pgsizes\":9223372036854775807}}",
        "{\"a\":\"\\u0000\"}",
    };
    static const char *const numbers[] = { "0",
                                           "-1",
                                           "0x7fffffffffffffff",
                                           "0b101",
                                           "0o17",
                                           "64K",
                                           "9223372036854775808",
                                           "1T",
                                           "-8388608T",
                                           " 1",
                                           "1 ",
                                           "0x",
                                           "1KK",
                                           "+5" };
    char name[32], body[256] = "\0\0\0\0"; /* an even first byte, and version 0.0 */

    for (size_t i = 0; i < sizeof json / sizeof json[0]; i++) {
        snprintf(name, sizeof name, "version-%zu", i);
        put("text", name, "\0\0\0\0\0", 5, json[i], strlen(json[i]) + 1);
    }
    put("text", "version-none", "\0", 1, body, 4);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        snprintf(name, sizeof name, "number-%zu", i);
        put("text", name, "\1", 1, numbers[i], strlen(numbers[i]));
    }
}

static void put_images(void)
{
    for (uint8_t kind = 0; kind < 2; kind++) {
        struct device *dev = host_device(kind ? synthetic_plugin() : vfu_plugin_entry(), 0, 16);
        const uint8_t first = 0x80 | kind;
        struct image image = { 0 };

        for (uint32_t i = 0; i < 3; i++) {
            char name[32];

            if (i == 1)
                device_write(dev, 0, kind ? 0x30 : 0x08, 4, (const uint8_t[]){ 12, 9, 0, 0 }); /* a timer */
            if (i == 2 && kind)
                device_write(dev, 5, 0x100, 4, (const uint8_t[]){ 1, 2, 3, 4 });
            device_freeze(dev);
            image.size = 0;
            if (image_save(dev, &image))
                exit(1);
            device_thaw(dev);
            snprintf(name, sizeof name, "%s-%u", dev->name, i);
            put("image", name, &first, 1, image.data, image.size);
        }
        image_free(&image);
        host_end(dev);
    }
}

int main(int argc, char **argv)
{
    static const char *const harnesses[] = { "session", "text", "image" };
    char path[512];

    if (argc != 2) {
        fputs("usage: seeds DIRECTORY\n", stderr);
        return 2;
    }
    directory = argv[1];
    host_setup();
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, harnesses[i]);
        if (mkdir(path, 0777) < 0 && errno != EEXIST) {
            perror(path);
            return 1;
        }
    }
    put_scripts();
    put_texts();
    put_images();
    return 0;
}
