/* SPDX-License-Identifier: BSD-3-Clause */
/* framing - what is no message, no command, or no command that anybody knows. Specification: "Header". No state. */
#include "tests/protocol/proto.h"

#define READ_ID CMD(REGION_READ), BODY(B8(0), B4(0), B4(4))
/* A whole good message, as bytes inside of another. */
#define A_MESSAGE B2(0x99), B2(VFU_CMD_DEVICE_RESET), B4(16), B4(0), B4(0)

extern const struct proto_table proto_framing;

static const struct proto_case cases[] = {
    { .name = "size 2^32 - 1, a message behind",
      .m = { { CMD(DEVICE_GET_INFO), BODY(A_MESSAGE), .size = UINT32_MAX, GONE(EINVAL) } } },
    { .name = "size 1", .m = { { CMD(DEVICE_GET_INFO), .size = 1, GONE(EINVAL) } } },
    { .name = "size 15", .m = { { CMD(DEVICE_GET_INFO), .size = 15, GONE(EINVAL) } } },
    { .name = "size 15, a message behind",
      .m = { { CMD(DEVICE_GET_INFO), BODY(A_MESSAGE), .size = 15, GONE(EINVAL) } } },
    { .name = "size 8, unknown command", .m = { { CMD_NUMBER(999), .size = 8, GONE(EINVAL) } } },
    { .name = "size 2^32 - 1", .m = { { CMD(REGION_WRITE), .size = UINT32_MAX, GONE(EINVAL) } } },
    { .name = "size 2^31", .m = { { CMD(REGION_WRITE), .size = 0x80000000u, GONE(EINVAL) } } },
    { .name = "size 2 MiB, messages behind",
      .m = { { CMD(REGION_WRITE), BODY(A_MESSAGE, A_MESSAGE), .size = 2 << 20, GONE(EINVAL) } } },
    { .name = "size 15 before the version", .no_version = true, .m = { { CMD(VERSION), .size = 15, GONE(EINVAL) } } },
    { .name = "size 2^32 - 1 before the version",
      .no_version = true,
      .m = { { CMD(VERSION), .size = UINT32_MAX, GONE(EINVAL) } } },
    { .name = "a reply that answers nothing",
      .m = { { CMD(REGION_READ), .flags = VFU_MSG_REPLY, BODY(B8(0), B4(0), B4(4)), FAILS(EINVAL) } } },
    { .name = "a reply to DMA_READ that answers nothing",
      .m = { { CMD(DMA_READ), .flags = VFU_MSG_REPLY, BODY(B8(0x1000), B8(4), B4(0)), FAILS(EINVAL) } } },
    { .name = "an error reply that answers nothing",
      .m = { { CMD(DMA_WRITE), .flags = VFU_MSG_REPLY | VFU_MSG_ERROR, FAILS(EINVAL) } } },
    { .name = "a reply that answers nothing and wants no reply",
      .m = { { CMD(REGION_READ), .flags = VFU_MSG_REPLY | VFU_MSG_NO_REPLY, SILENT } } },
    { .name = "type 2",
      .m = { { CMD(DEVICE_GET_INFO), .flags = 2, BODY(B4(16), B4(0), B4(0), B4(0)), REFUSED(EINVAL) } } },
    { .name = "type 15", .m = { { CMD(DEVICE_RESET), .flags = 15, REFUSED(EINVAL) } } },
    { .name = "command 0", .m = { { CMD_NUMBER(0), FAILS(0) } } },
    { .name = "command 19", .m = { { CMD_NUMBER(19), FAILS(0) } } },
    { .name = "command 19 with a body", .m = { { CMD_NUMBER(19), BODY(A_MESSAGE, A_MESSAGE), FAILS(0) } } },
    { .name = "command 65535", .m = { { CMD_NUMBER(65535), .pad = 4080, FAILS(0) } } },
    { .name = "an unknown command that wants no reply", .m = { { CMD_NUMBER(77), POSTED, SILENT } } },
    { .name = "DMA_READ towards the host", .m = { { CMD(DMA_READ), BODY(B8(0), B8(4)), FAILS(0) } } },
    { .name = "DMA_WRITE towards the host", .m = { { CMD(DMA_WRITE), BODY(B8(0), B8(4), B4(0)), FAILS(0) } } },
    { .name = "descriptors with a command that takes none",
      .m = { { READ_ID, .fd = PROTO_EVENTFD, .nfds = 3, REPLIES(B8(0), B4(0), B4(4), B4(0x010000ed)) } } },
    { .name = "descriptors with an unknown command",
      .m = { { CMD_NUMBER(500), .fd = PROTO_PIPE, .nfds = 2, FAILS(0) } } },
    { .name = "descriptors with a posted failure",
      .m = { { CMD(REGION_WRITE), POSTED, BODY(B8(0), B4(99), B4(4), B4(0)), .fd = PROTO_MEMFD, .nfds = 2, SILENT } } },
    { .name = "descriptors with a message of size 3",
      .m = { { CMD(DMA_MAP), .size = 3, .fd = PROTO_MEMFD, .nfds = 4, GONE(EINVAL) } } },
    { .name = "DIRTY_PAGES without a body", .m = { { CMD(DIRTY_PAGES), FAILS(0) } } },
    { .name = "DEVICE_FEATURE without a body", .m = { { CMD(DEVICE_FEATURE), FAILS(0) } } },
    { .name = "DEVICE_FEATURE, feature 65535", .m = { { CMD(DEVICE_FEATURE), BODY(B4(8), B4(0x1ffff)), FAILS(0) } } },
    { .name = "MIG_DATA_READ while running", .m = { { CMD(MIG_DATA_READ), BODY(B4(16), B4(8)), FAILS(0) } } },
    { .name = "MIG_DATA_WRITE while running", .m = { { CMD(MIG_DATA_WRITE), BODY(B4(16), B4(8), B8(0)), FAILS(0) } } },
};

PROTO_TABLE(framing);
