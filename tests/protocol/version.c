/* SPDX-License-Identifier: BSD-3-Clause */
/* version - the negotiation. Specification: VFIO_USER_VERSION. No state. */
#include "tests/protocol/proto.h"

extern const struct proto_table proto_version;

#define V00 "\0\0\0\0"
#define CAPS(text) V00 "{\"capabilities\":{" text "}}"
#define GOOD BEGINS(B2(0), B2(0))
#define FIRST .no_version = true
#define ONE(label, ...) { .name = label, FIRST, .m = { { CMD(VERSION), __VA_ARGS__ } } }
#define MAP(offset, address, size) CMD(DMA_MAP), BODY(B4(32), B4(3), B8(offset), B8(address), B8(size))
#define WRONG(label, text) { .name = label, FIRST, .m = { { CMD(VERSION), TEXT(text), REFUSED(EINVAL) } } }

static const struct proto_case cases[] = {
    ONE("no JSON", BODY(B2(0), B2(0)), GOOD),
    ONE("an empty JSON text", BODY(B2(0), B2(0), B1(0)), GOOD),
    ONE("an empty object", TEXT(V00 "{}"), GOOD),
    ONE("no capabilities", TEXT(CAPS("")), GOOD),
    ONE("what the stock client sends",
        TEXT(CAPS("\"pgsizes\": 4096, \"max_msg_fds\": 16, \"max_dma_maps\": 65535, \"max_data_xfer_size\": 1048576, "
                  "\"migration\": {\"max_bitmap_size\": 268435456, \"pgsize\": 4096}, \"write_multiple\": true")),
        GOOD),
    ONE("unknown keys", TEXT(CAPS("\"colour\": \"blue\", \"list\": [1, {\"a\": null}]")), GOOD),
    ONE("unknown keys beside capabilities", TEXT(V00 "{\"x\": [1.5, true], \"capabilities\": {}}"), GOOD),
    ONE("minor 1", BODY(B2(0), B2(1)), GOOD),
    ONE("minor 1 with JSON", TEXT("\0\0\1\0{\"capabilities\":{}}"), GOOD),
    ONE("minor 65535", BODY(B2(0), B2(65535)), GOOD),
    ONE("a twin socket asked for", TEXT(CAPS("\"twin_socket\":{\"supported\":true}")), GOOD, .reply_fds = 1),
    ONE("a twin socket asked for, one descriptor at most",
        TEXT(CAPS("\"max_msg_fds\":1,\"twin_socket\":{\"supported\":true}")), GOOD, .reply_fds = 1),
    ONE("a twin socket asked for, posted", TEXT(CAPS("\"twin_socket\":{\"supported\":true}")), POSTED, SILENT),
    ONE("migration", TEXT(CAPS("\"migration\":{\"pgsize\":65536,\"max_bitmap_size\":1}")), GOOD),
    ONE("a twin socket offered", TEXT(CAPS("\"twin_socket\":{\"supported\":false}")), GOOD),
    ONE("numbers at their largest", TEXT(CAPS("\"max_msg_fds\":4294967295,\"max_dma_maps\":4294967295")), GOOD),
    ONE("major 1", BODY(B2(1), B2(0)), REFUSED(EINVAL)),
    ONE("major 65535", BODY(B2(65535), B2(0)), REFUSED(EINVAL)),
    ONE("no body", REFUSED(EINVAL)),
    ONE("three bytes", BODY(B2(0), B1(0)), REFUSED(EINVAL)),
    ONE("JSON without NUL", BODY(B2(0), B2(0), '{', '}'), REFUSED(EINVAL)),
    WRONG("JSON that is none", V00 "capabilities"),
    WRONG("JSON cut short", V00 "{\"capabilities\":{"),
    WRONG("JSON that is an array", V00 "[]"),
    WRONG("JSON that is a number", V00 "5"),
    WRONG("JSON nested deep", V00 "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["),
    WRONG("bad UTF-8", V00 "{\"\xff\xfe\":1}"),
    WRONG("capabilities that are a number", V00 "{\"capabilities\":5}"),
    WRONG("capabilities that are an array", V00 "{\"capabilities\":[]}"),
    WRONG("max_msg_fds is a string", CAPS("\"max_msg_fds\":\"8\"")),
    WRONG("max_msg_fds is negative", CAPS("\"max_msg_fds\":-1")),
    WRONG("max_msg_fds is 2^32", CAPS("\"max_msg_fds\":4294967296")),
    WRONG("max_data_xfer_size is 0", CAPS("\"max_data_xfer_size\":0")),
    WRONG("max_data_xfer_size is 1.5", CAPS("\"max_data_xfer_size\":1.5")),
    WRONG("max_data_xfer_size is 2^32", CAPS("\"max_data_xfer_size\":4294967296")),
    WRONG("max_data_xfer_size is beyond 64 bits", CAPS("\"max_data_xfer_size\":99999999999999999999")),
    WRONG("max_dma_maps is a string", CAPS("\"max_dma_maps\":\"many\"")),
    WRONG("max_dma_maps is negative", CAPS("\"max_dma_maps\":-65535")),
    WRONG("pgsizes is 0", CAPS("\"pgsizes\":0")),
    WRONG("pgsizes is an object", CAPS("\"pgsizes\":{}")),
    WRONG("pgsizes is negative", CAPS("\"pgsizes\":-4096")),
    WRONG("migration is a number", CAPS("\"migration\":4096")),
    WRONG("migration.pgsize is 0", CAPS("\"migration\":{\"pgsize\":0}")),
    WRONG("migration.pgsize is no power of two", CAPS("\"migration\":{\"pgsize\":5000}")),
    WRONG("twin_socket is a boolean", CAPS("\"twin_socket\":true")),
    WRONG("twin_socket.supported is a number", CAPS("\"twin_socket\":{\"supported\":1}")),
    WRONG("write_multiple is a string", CAPS("\"write_multiple\":\"true\"")),
    /* The client's smallest page is 64 KiB: that is what its maps consist of. */
    { .name = "large pages only",
      FIRST,
      .m = { { CMD(VERSION), TEXT(CAPS("\"pgsizes\":2162688")), GOOD },
             { MAP(0, 0x10000, 0x1000), FAILS(EINVAL) },
             { MAP(0, 0x11000, 0x10000), FAILS(EINVAL) },
             { MAP(0x1000, 0x10000, 0x10000), .fd = PROTO_MEMFD, FAILS(EINVAL) },
             { MAP(0x10000, 0x10000, 0x30000), .fd = PROTO_MEMFD, REPLIES_EMPTY } } },
    { .name = "small pages among them",
      FIRST,
      .m = { { CMD(VERSION), TEXT(CAPS("\"pgsizes\":2101248")), GOOD },
             { MAP(0x1000, 0x11000, 0x1000), .fd = PROTO_MEMFD, REPLIES_EMPTY } } },
    { .name = "twice", .m = { { CMD(VERSION), BODY(B2(0), B2(0)), FAILS(EINVAL) } } },
    { .name = "a bad one as the second", .m = { { CMD(VERSION), BODY(B2(7), B2(0)), FAILS(EINVAL) } } },
    { .name = "GET_INFO first",
      FIRST,
      .m = { { CMD(DEVICE_GET_INFO), BODY(B4(16), B4(0), B4(0), B4(0)), REFUSED(0) } } },
    { .name = "REGION_WRITE first",
      FIRST,
      .m = { { CMD(REGION_WRITE), BODY(B8(4), B4(0), B4(4), B4(1)), REFUSED(0) } } },
    { .name = "DMA_MAP first",
      FIRST,
      .m = { { CMD(DMA_MAP), BODY(B4(32), B4(3), B8(0), B8(0), B8(4096)), .fd = PROTO_MEMFD, REFUSED(0) } } },
    { .name = "an unknown command first", FIRST, .m = { { CMD_NUMBER(99), REFUSED(0) } } },
};

PROTO_TABLE(version);
