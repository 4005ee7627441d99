/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * text - a libFuzzer harness of the parsers of what people and clients write: the VERSION message and whole numbers.
 * The first byte chooses. What is accepted must hold the promises of the headers.
 */
#include <stdlib.h>
#include <string.h>

#include "core/plugin/params.h"
#include "core/wire/version.h"
#include "tests/fuzz/host.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool right, const char *what)
{
    if (right)
        return;
    host_say("fuzz: %s\n", what);
    abort();
}

static void parse_version(const uint8_t *data, size_t size)
{
    uint8_t reply[VERSION_REPLY_MAX];
    struct version v;
    uint8_t *body;
    char why[160];
    size_t n;

    if (size < 4)
        return; /* the command table's least */
    body = malloc(size); /* of its own size, so that a byte too many is seen */
    if (!body)
        return;
    memcpy(body, data, size);
    memset(why, 'x', sizeof why);
    if (version_parse(&v, body, size, why, sizeof why) < 0) {
        check(memchr(why, '\0', sizeof why) && why[0], "no reason is given");
    } else {
        check(v.max_msg_fds && v.max_data_xfer_size && v.max_dma_maps && v.pgsizes, "a limit of 0 is accepted");
        check(v.pgsizes % 4096 == 0 && (v.migration_pgsize & (v.migration_pgsize - 1)) == 0, "a page size is wrong");
        n = version_reply(&v, UINT32_MAX, v.twin_socket ? 0 : -1, reply);
        check(n <= sizeof reply && reply[n - 1] == '\0', "the reply is longer than there is room");
        v.twin_socket = false;
        check(version_parse(&v, reply, n, why, sizeof why) == 0, "our own reply is refused");
    }
    free(body);
}

static void parse_number(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    int64_t value = 0;

    if (!text)
        return;
    memcpy(text, data, size);
    text[size] = '\0';
    if (params_parse_int(text, &value) == 0)
        check(strpbrk(text, "0123456789") != NULL, "a number without digits");
    free(text);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    host_setup();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size && data[0] % 2)
        parse_number(data + 1, size - 1);
    else if (size)
        parse_version(data + 1, size - 1);
    return 0;
}
