/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of core/describe: what a plugin says of its device that cannot be is refused with a line that names it, whatever
 * numbers and pointers it has. No host, no device.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/plugin/describe.h"
#include "core/base/log.h"

static struct vfu_bar bars[2];
static struct vfu_area area = { 0, 4096 };
static struct vfu_desc said;
static int32_t result;

static int32_t describe_it(const struct vfu_host *host, const struct vfu_params *params, struct vfu_desc *desc)
{
    (void)host, (void)params;
    *desc = said;
    return result;
}

static int set_up(void **state)
{
    (void)state;
    memset(bars, 0, sizeof bars);
    bars[0].size = 4096;
    bars[1].index = 1;
    bars[1].size = 4096;
    said = (struct vfu_desc){ .struct_size = sizeof said, .vendor = 1, .msix_bar = VFU_NONE, .bars = bars, .nbars = 1,
                              .bar_size = sizeof bars[0] };
    result = 0;
    return 0;
}

static int ask(char *text, size_t room)
{
    const struct plugin plugin = { .table = { .caps = VFU_CAP_DMA, .describe = describe_it } };
    static struct description d;
    int error;

    *text = 0;
    log_capture(text, room);
    error = describe(&d, "odd", &plugin, NULL, NULL, PLUGIN_HOST_CAPS);
    log_capture(NULL, 0);
    return error;
}

static void refused(int error, const char *words)
{
    char text[512];
    int got = ask(text, sizeof text);

    if (got != error || !strstr(text, words))
        fail_msg("%d, not %d, or it is not \"%s\" that is said: %s", got, error, words, text);
    set_up(NULL);
}

static void taken(void)
{
    char text[512];

    if (ask(text, sizeof text))
        fail_msg("refused: %s", text);
    set_up(NULL);
}

static void test_results(void **state)
{
    static const int32_t odd[] = { 1, INT32_MAX, -4096, INT32_MIN };

    (void)state;
    taken();
    for (int i = 0; i < 4; i++) {
        result = odd[i];
        refused(-ENOEXEC, "neither 0 nor a negative errno");
    }
    result = -EIO;
    refused(-EIO, "the plugin cannot describe its device: Input/output error");
    result = -EINVAL; /* of a parameter, which has been explained */
    refused(-EINVAL, "");
}

static void test_names(void **state)
{
    static const char *const odd[] = { "", ".hidden", "../up", "a/b", "two words", "line\n", "\033[31m", "\xff" };
    char huge[80];

    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        said.name = odd[i];
        refused(-ENOEXEC, "its name is not one of up to 64 letters");
    }
    memset(huge, 'a', sizeof huge);
    huge[65] = 0;
    said.name = huge;
    refused(-ENOEXEC, "its name is not one of up to 64 letters");
    huge[64] = 0;
    said.name = huge;
    taken();
}

/* A plugin of an earlier ABI has shorter elements, one of a later longer ones; neither has 4 bytes or a gigabyte. */
static void test_elements(void **state)
{
    static const uint32_t sizes[] = { 1, 4, 8, 65537, UINT32_C(1) << 30, UINT32_MAX };
    struct vfu_doorbell bell = { 0 };
    struct vfu_pci_cap cap = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        said.bar_size = sizes[i];
        refused(-ENOEXEC, "vfu_desc.bars");
        bars[0].nareas = 1;
        bars[0].areas = &area;
        bars[0].area_size = sizes[i];
        refused(-ENOEXEC, "vfu_bar.areas");
        said.doorbells = &bell;
        said.ndoorbells = 1;
        said.doorbell_size = sizes[i];
        refused(-ENOEXEC, "vfu_desc.doorbells");
        said.pci_caps = &cap;
        said.npci_caps = 1;
        said.pci_cap_size = sizes[i];
        refused(-ENOEXEC, "vfu_desc.pci_caps");
    }
    said.bar_size = 0; /* as the host knows it */
    taken();
}

static void test_lists(void **state)
{
    (void)state;
    said.nbars = 7;
    refused(-ENOEXEC, "more than six BARs");
    said.nbars = UINT32_MAX;
    refused(-ENOEXEC, "more than six BARs");
    said.bars = NULL;
    refused(-ENOEXEC, "bars is NULL");
    said.rom_size = 1;
    refused(-ENOEXEC, "rom is NULL");
    said.rom_size = UINT64_MAX;
    said.rom = (const uint8_t *)"";
    refused(-ENOEXEC, "16 MiB");
    said.caps = VFU_CAP_DMA | VFU_CAP_FFI | VFU_CAP_RELOAD;
    refused(-ENOEXEC, "its caps have ffi,reload, which those of the plugin's table lack");
    bars[1].index = 0;
    said.nbars = 2;
    refused(-ENOEXEC, "BAR 0 is declared twice");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_results, set_up),
        cmocka_unit_test_setup(test_names, set_up),
        cmocka_unit_test_setup(test_elements, set_up),
        cmocka_unit_test_setup(test_lists, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
