/* SPDX-License-Identifier: BSD-3-Clause */
/* multi - REGION_WRITE_MULTI. No state. */
#include "tests/protocol/proto.h"

extern const struct proto_table proto_multi;

#define MULTI(n, ...) CMD(REGION_WRITE_MULTI), BODY(B8(n), __VA_ARGS__)
#define W(offset, region, count, value) B8(offset), B4(region), B4(count), B8(value)
#define LIVE_IS(value) { CMD(REGION_READ), BODY(B8(4), B4(0), B4(4)), REPLIES(B8(4), B4(0), B4(4), B4(value)) }
#define ONE(label, ...) { .name = label, .m = { { __VA_ARGS__ } } }

static const struct proto_case cases[] = {
    { .name = "one write", .m = { { MULTI(1, W(4, 0, 4, 0x55)), REPLIES(B8(1)) }, LIVE_IS(~0x55u) } },
    { .name = "three writes, in order",
      .m = { { MULTI(3, W(4, 0, 4, 1), W(4, 0, 4, 2), W(4, 0, 4, 3)), REPLIES(B8(3)) }, LIVE_IS(~3u) } },
    { .name = "posted", .m = { { MULTI(2, W(4, 0, 4, 1), W(4, 0, 4, 9)), POSTED, SILENT }, LIVE_IS(~9u) } },
    { .name = "to several regions",
      .m = { { MULTI(2, W(0x3c, 7, 1, 0), W(4, 0, 4, 8)), REPLIES(B8(2)) }, LIVE_IS(~8u) } },
    { .name = "8 bytes", .m = { { MULTI(1, W(0x90, 0, 8, 0)), REPLIES(B8(1)) } } },
    { .name = "runs of writes to one register",
      .m = { { MULTI(6, W(0x90, 0, 8, 1), W(0x90, 0, 8, 2), W(4, 0, 4, 7), W(0x90, 0, 8, 3), W(0x90, 0, 8, 4),
                     W(0x88, 0, 8, 5)), REPLIES(B8(6)) },
             { CMD(REGION_READ), BODY(B8(0x90), B4(0), B4(8)), REPLIES(B8(0x90), B4(0), B4(8), B8(4)) },
             { CMD(REGION_READ), BODY(B8(0x88), B4(0), B4(8)), REPLIES(B8(0x88), B4(0), B4(8), B8(5)) },
             LIVE_IS(~7u) } },
    { .name = "a bad one in such a run",
      .m = { { MULTI(3, W(0x90, 0, 8, 9), W(0x90, 0, 16, 8), W(0x90, 2, 8, 7)), FAILS(EINVAL) },
             { CMD(REGION_READ), BODY(B8(0x90), B4(0), B4(8)), REPLIES(B8(0x90), B4(0), B4(8), B8(9)) } } },
    { .name = "bad and posted",
      .m = { { MULTI(1, W(4, 0, 4, 6)), REPLIES(B8(1)) }, { MULTI(9, W(4, 0, 4, 1)), POSTED, SILENT }, LIVE_IS(~6u) } },
    ONE("no body", CMD(REGION_WRITE_MULTI), FAILS(EINVAL)),
    ONE("4 bytes", CMD(REGION_WRITE_MULTI), BODY(B4(1)), FAILS(EINVAL)),
    ONE("more writes than there are", MULTI(2, W(4, 0, 4, 1)), FAILS(EINVAL)),
    ONE("half a write", CMD(REGION_WRITE_MULTI), BODY(B8(1), B8(4), B4(0)), FAILS(EINVAL)),
    ONE("2^64 - 1 writes", MULTI(UINT64_MAX, W(4, 0, 4, 1)), FAILS(EINVAL)),
    ONE("a number of writes that wraps", MULTI(0x0aaaaaaaaaaaaaabu, W(4, 0, 4, 1)), FAILS(EINVAL)),
    ONE("2^32 + 1 writes", MULTI(0x100000001u, W(4, 0, 4, 1)), FAILS(EINVAL)),
    ONE("a write of 0 bytes", MULTI(1, W(4, 0, 0, 1)), FAILS(EINVAL)),
    ONE("a write of 9 bytes", MULTI(1, W(4, 0, 9, 1)), FAILS(EINVAL)),
    ONE("a write of 2^32 - 1 bytes", MULTI(1, W(4, 0, UINT32_MAX, 1)), FAILS(EINVAL)),
    ONE("a write beyond the end", MULTI(1, W(0x100000, 0, 4, 1)), FAILS(EINVAL)),
    ONE("a write that wraps", MULTI(1, W(UINT64_MAX, 0, 4, 1)), FAILS(EINVAL)),
    ONE("a write to region 9", MULTI(1, W(4, 9, 4, 1)), FAILS(EINVAL)),
    { .name = "not negotiated",
      .no_version = true,
      .m = { { CMD(VERSION), BODY(B2(0), B2(0)), BEGINS(B2(0), B2(0)) },
             { CMD(REGION_WRITE), BODY(B8(4), B4(0), B4(4), B4(5)), REPLIES(B8(4), B4(0), B4(4)) },
             { MULTI(1, W(4, 0, 4, 1)), FAILS(ENOTSUP) },
             { MULTI(1, W(4, 0, 4, 1)), POSTED, SILENT },
             LIVE_IS(~5u) } },
    { .name = "negotiated away",
      .no_version = true,
      .m = { { CMD(VERSION), TEXT("\0\0\0\0{\"capabilities\":{\"write_multiple\":false}}"), BEGINS(B2(0), B2(0)) },
             { MULTI(1, W(4, 0, 4, 1)), FAILS(ENOTSUP) } } },
    ONE("a write to a BAR that is not there", MULTI(1, W(4, 2, 4, 1)), FAILS(EINVAL)),
};

PROTO_TABLE(multi);
