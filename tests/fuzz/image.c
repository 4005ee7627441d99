/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * image - a libFuzzer harness of the loader of saved states. The first byte chooses the device; with its bit 7 the
 * frame's length and checksum are put right, so that what lies behind them is reached. What is refused leaves the
 * device whole, and what it saves then can be loaded.
 */
#include <stdlib.h>
#include <string.h>

#include "core/device/image.h"
#include "tests/fuzz/host.h"

#define PUT_RIGHT 0x80u

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    host_setup();
    return 0;
}

static void check(bool right, const char *what)
{
    if (right)
        return;
    host_say("fuzz: %s\n", what);
    abort();
}

static void play(struct device *dev, const uint8_t *data, uint64_t size)
{
    struct image image = { 0 }, again = { 0 };
    bool clean = true;
    int error = image_load(dev, data, size, &clean);

    check(error == 0 || clean, "a device with a reset is not clean after a refusal");
    check(image_save(dev, &image) == 0, "the state cannot be saved");
    check(image.size <= image_limit(dev), "an image is longer than its limit");
    check(image_load(dev, image.data, image.size, &clean) == 0, "the device refuses its own image");
    check(image_save(dev, &again) == 0, "the loaded state cannot be saved");
    check(again.size == image.size && memcmp(again.data, image.data, image.size) == 0,
          "a state changes as it is moved");
    image_free(&image);
    image_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct device *dev;
    uint8_t *copy;
    uint32_t fds;

    if (size < 1)
        return 0;
    copy = malloc(size);
    if (!copy)
        return 0;
    memcpy(copy, data + 1, size - 1);
    if (data[0] & PUT_RIGHT)
        host_put_right(copy, size - 1);
    fds = host_open_fds();
    host_begin();
    dev = host_device(data[0] & 1 ? synthetic_plugin() : vfu_plugin_entry(), 0, 16);
    device_freeze(dev);
    play(dev, copy, size - 1);
    device_thaw(dev);
    for (int i = 0; i < 8; i++) {
        host_pass(dev, 1000000);
        loop_step(&dev->loop);
    }
    host_end(dev);
    check(host_open_fds() == fds, "descriptors are open that were not before");
    free(copy);
    return 0;
}
