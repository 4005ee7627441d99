/* SPDX-License-Identifier: BSD-3-Clause */
/* access - REGION_READ and REGION_WRITE. Specification: "Read and Write Operations". No state. */
#include "tests/protocol/proto.h"

extern const struct proto_table proto_access;

#define BAR0_SIZE 0x100000
#define CONFIG 7
#define READ(offset, region, count) CMD(REGION_READ), BODY(B8(offset), B4(region), B4(count))
#define DATA(offset, region, count, ...) REPLIES(B8(offset), B4(region), B4(count), __VA_ARGS__)
#define WRITE(offset, region, count, ...) CMD(REGION_WRITE), BODY(B8(offset), B4(region), B4(count), __VA_ARGS__)
#define DONE(offset, region, count) REPLIES(B8(offset), B4(region), B4(count))
#define ONE(label, ...) { .name = label, .m = { { __VA_ARGS__ } } }

static const struct proto_case cases[] = {
    ONE("read 4 bytes", READ(0, 0, 4), DATA(0, 0, 4, B4(0x010000ed))),
    ONE("read 8 bytes", READ(0x80, 0, 8), BEGINS(B8(0x80), B4(0), B4(8))),
    ONE("read the last 4 bytes", READ(BAR0_SIZE - 4, 0, 4), DATA(BAR0_SIZE - 4, 0, 4, B4(UINT32_MAX))),
    ONE("read a width that is not allowed", READ(0, 0, 1), DATA(0, 0, 1, B1(0xff))),
    ONE("read 2 bytes", READ(0, 0, 2), DATA(0, 0, 2, B2(0xffff))),
    ONE("read 3 bytes", READ(0, 0, 3), DATA(0, 0, 3, B2(0xffff), B1(0xff))),
    ONE("read misaligned", READ(2, 0, 4), DATA(2, 0, 4, B4(UINT32_MAX))),
    ONE("read where nothing is", READ(0x1000, 0, 4), DATA(0x1000, 0, 4, B4(UINT32_MAX))),
    ONE("read 64 bytes", READ(0, 0, 64), BEGINS(B8(0), B4(0), B4(64), B4(0x010000ed))),
    ONE("read beyond the end", READ(BAR0_SIZE, 0, 4), FAILS(EINVAL)),
    ONE("read over the end", READ(BAR0_SIZE - 2, 0, 4), FAILS(EINVAL)),
    ONE("read far beyond the end", READ(0x8000000000000000u, 0, 4), FAILS(EINVAL)),
    ONE("read wraps", READ(UINT64_MAX, 0, 4), FAILS(EINVAL)),
    ONE("read wraps to 0", READ(UINT64_MAX - 3, 0, 4), FAILS(EINVAL)),
    ONE("read wraps into the region", READ(UINT64_MAX - 7, 0, 16), FAILS(EINVAL)),
    ONE("read 0 bytes", READ(0, 0, 0), FAILS(EINVAL)),
    ONE("read 0 bytes at the end", READ(BAR0_SIZE, 0, 0), FAILS(EINVAL)),
    ONE("read more than the most", READ(0, 0, 1048577), FAILS(EINVAL)),
    ONE("read 2^32 - 1 bytes", READ(0, 0, UINT32_MAX), FAILS(EINVAL)),
    ONE("read 2^31 bytes", READ(0, 0, 0x80000000u), FAILS(EINVAL)),
    ONE("read a BAR that is not there", READ(0, 1, 4), FAILS(EINVAL)),
    ONE("read a ROM that is not there", READ(0, 6, 4), FAILS(EINVAL)),
    ONE("read VGA", READ(0, 8, 4), FAILS(EINVAL)),
    ONE("read region 9", READ(0, 9, 4), FAILS(EINVAL)),
    ONE("read region 2^32 - 1", READ(0, UINT32_MAX, 4), FAILS(EINVAL)),
    ONE("read, 12 bytes of request", CMD(REGION_READ), BODY(B8(0), B4(0)), FAILS(EINVAL)),
    ONE("read, no body", CMD(REGION_READ), FAILS(EINVAL)),
    ONE("read, posted", READ(0, 0, 4), POSTED, SILENT),
    ONE("read beyond, posted", READ(BAR0_SIZE, 0, 4), POSTED, SILENT),

    ONE("config: ids", READ(0, CONFIG, 4), DATA(0, CONFIG, 4, B2(0x1234), B2(0x11e8))),
    ONE("config: one byte", READ(1, CONFIG, 1), DATA(1, CONFIG, 1, B1(0x12))),
    ONE("config: misaligned", READ(1, CONFIG, 2), DATA(1, CONFIG, 2, B1(0x12), B1(0xe8))),
    ONE("config: all of it", READ(0, CONFIG, 256), BEGINS(B8(0), B4(CONFIG), B4(256), B2(0x1234), B2(0x11e8))),
    ONE("config: its end", READ(255, CONFIG, 1), BEGINS(B8(255), B4(CONFIG), B4(1))),
    ONE("config: beyond", READ(256, CONFIG, 1), FAILS(EINVAL)),
    ONE("config: over the end", READ(254, CONFIG, 4), FAILS(EINVAL)),
    ONE("config: more than all", READ(0, CONFIG, 257), FAILS(EINVAL)),
    ONE("config: wraps", READ(UINT64_MAX, CONFIG, 2), FAILS(EINVAL)),
    ONE("config: ids cannot be written", WRITE(0, CONFIG, 4, B4(0)), DONE(0, CONFIG, 4)),
    ONE("config: write beyond", WRITE(256, CONFIG, 4, B4(0)), FAILS(EINVAL)),
    { .name = "config: BAR0 sizing", .m = { { WRITE(0x10, CONFIG, 4, B4(UINT32_MAX)), DONE(0x10, CONFIG, 4) },
                                            { READ(0x10, CONFIG, 4), DATA(0x10, CONFIG, 4, B4(0xfff00000u)) },
                                            { WRITE(0x10, CONFIG, 4, B4(0)), DONE(0x10, CONFIG, 4) },
                                            { READ(0x10, CONFIG, 4), DATA(0x10, CONFIG, 4, B4(0)) } } },
    { .name = "config: BAR1 sizing", .m = { { WRITE(0x14, CONFIG, 4, B4(UINT32_MAX)), DONE(0x14, CONFIG, 4) },
                                            { READ(0x14, CONFIG, 4), DATA(0x14, CONFIG, 4, B4(0)) } } },

    { .name = "write and read back", .m = { { WRITE(4, 0, 4, B4(0x0f0f1234)), DONE(4, 0, 4) },
                                            { READ(4, 0, 4), DATA(4, 0, 4, B4(~0x0f0f1234u)) } } },
    { .name = "write, posted", .m = { { WRITE(4, 0, 4, B4(0x11111111)), POSTED, SILENT },
                                      { READ(4, 0, 4), DATA(4, 0, 4, B4(0xeeeeeeeeu)) } } },
    { .name = "many posted, the last one counts", .m = { { WRITE(4, 0, 4, B4(1)), POSTED, SILENT },
                                                         { WRITE(4, 0, 4, B4(2)), POSTED, SILENT },
                                                         { WRITE(4, 0, 4, B4(3)), POSTED, SILENT },
                                                         { WRITE(4, 0, 4, B4(4)), POSTED, SILENT },
                                                         { READ(4, 0, 4), DATA(4, 0, 4, B4(~4u)) } } },
    { .name = "a failed posted write leaves no mark", .m = { { WRITE(4, 0, 4, B4(0x77)), DONE(4, 0, 4) },
                                                             { WRITE(BAR0_SIZE, 0, 4, B4(0)), POSTED, SILENT },
                                                             { WRITE(4, 0, 0, B4(0)), POSTED, SILENT },
                                                             { WRITE(4, 9, 4, B4(0)), POSTED, SILENT },
                                                             { READ(4, 0, 4), DATA(4, 0, 4, B4(~0x77u)) } } },
    ONE("write 64-bit register", WRITE(0x90, 0, 8, B8(0)), DONE(0x90, 0, 8)),
    ONE("write a read-only register", WRITE(0, 0, 4, B4(0)), DONE(0, 0, 4)),
    ONE("write where nothing is", WRITE(0x2000, 0, 4, B4(5)), DONE(0x2000, 0, 4)),
    ONE("write a width that is not allowed", WRITE(4, 0, 1, B1(0)), DONE(4, 0, 1)),
    ONE("write beyond the end", WRITE(BAR0_SIZE, 0, 4, B4(0)), FAILS(EINVAL)),
    ONE("write over the end", WRITE(BAR0_SIZE - 2, 0, 4, B4(0)), FAILS(EINVAL)),
    ONE("write wraps", WRITE(UINT64_MAX - 1, 0, 4, B4(0)), FAILS(EINVAL)),
    ONE("write wraps to 0", WRITE(UINT64_MAX - 3, 0, 4, B4(0)), FAILS(EINVAL)),
    ONE("write 0 bytes", CMD(REGION_WRITE), BODY(B8(0), B4(0), B4(0)), FAILS(EINVAL)),
    ONE("write, count above the body", WRITE(4, 0, 8, B4(0)), FAILS(EINVAL)),
    ONE("write, count below the body", WRITE(4, 0, 4, B8(0)), FAILS(EINVAL)),
    ONE("write, no data", CMD(REGION_WRITE), BODY(B8(4), B4(0), B4(4)), FAILS(EINVAL)),
    ONE("write, count 2^32 - 1", WRITE(4, 0, UINT32_MAX, B4(0)), FAILS(EINVAL)),
    ONE("write, count 2^32 - 16", WRITE(4, 0, 0xfffffff0u, B4(0)), FAILS(EINVAL)),
    ONE("write, 12 bytes of request", CMD(REGION_WRITE), BODY(B8(0), B4(0)), FAILS(EINVAL)),
    ONE("write, no body", CMD(REGION_WRITE), FAILS(EINVAL)),
    ONE("write a BAR that is not there", WRITE(0, 3, 4, B4(0)), FAILS(EINVAL)),
    ONE("write a ROM that is not there", WRITE(0, 6, 4, B4(0)), FAILS(EINVAL)),
    ONE("write region 9", WRITE(0, 9, 4, B4(0)), FAILS(EINVAL)),
    ONE("write region 2^32 - 1", WRITE(0, UINT32_MAX, 4, B4(0)), FAILS(EINVAL)),
    ONE("write 4096 bytes where nothing is", CMD(REGION_WRITE), BODY(B8(0x10000), B4(0), B4(4096)), .pad = 4096, DONE(0x10000, 0, 4096)),
    ONE("write 4096 bytes beyond", CMD(REGION_WRITE), BODY(B8(BAR0_SIZE), B4(0), B4(4096)), .pad = 4096, FAILS(EINVAL)),
};

PROTO_TABLE(access);
