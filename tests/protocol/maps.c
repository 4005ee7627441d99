/* SPDX-License-Identifier: BSD-3-Clause */
/* maps - DMA_MAP and DMA_UNMAP. No state. */
#include "tests/protocol/proto.h"

extern const struct proto_table proto_maps;

#define MAP_AS(argsz, flags, offset, address, size)                                                                    \
    CMD(DMA_MAP), BODY(B4(argsz), B4(flags), B8(offset), B8(address), B8(size))
#define MAP(address, size) MAP_AS(32, 3, 0, address, size)
#define UNMAP(address, size) CMD(DMA_UNMAP), BODY(B4(24), B4(0), B8(address), B8(size))
#define MAPPED(address, size) { MAP(address, size), REPLIES_EMPTY }
#define UNMAPPED(address, size) { UNMAP(address, size), REPLIES(B4(24), B4(0), B8(address), B8(size)) }
#define ONE(label, ...) { .name = label, .m = { { __VA_ARGS__ } } }
#define AT 0x10000
#define TOP 0xfffffffffffff000u

static const struct proto_case cases[] = {
    { .name = "map and unmap", .m = { MAPPED(AT, 0x1000), UNMAPPED(AT, 0x1000) } },
    { .name = "at address 0", .m = { MAPPED(0, 0x1000), UNMAPPED(0, 0x1000) } },
    { .name = "the last page of all", .m = { MAPPED(TOP, 0x1000), UNMAPPED(TOP, 0x1000) } },
    { .name = "nearly everything", .m = { MAPPED(0x1000, TOP), UNMAPPED(0x1000, TOP) } },
    { .name = "side by side",
      .m = { MAPPED(AT, 0x1000), MAPPED(AT + 0x1000, 0x1000), UNMAPPED(AT, 0x1000), UNMAPPED(AT + 0x1000, 0x1000) } },
    { .name = "read-only", .m = { { MAP_AS(32, 1, 0, AT, 0x1000), REPLIES_EMPTY }, UNMAPPED(AT, 0x1000) } },
    { .name = "write-only", .m = { { MAP_AS(32, 2, 0, AT, 0x1000), REPLIES_EMPTY }, UNMAPPED(AT, 0x1000) } },
    { .name = "with a file", .m = { { MAP(AT, 0x100000), .fd = PROTO_MEMFD, REPLIES_EMPTY }, UNMAPPED(AT, 0x100000) } },
    { .name = "with a part of a file",
      .m = { { MAP_AS(32, 3, 0xff000, AT, 0x1000), .fd = PROTO_MEMFD, REPLIES_EMPTY }, UNMAPPED(AT, 0x1000) } },
    { .name = "read-only with a file",
      .m = { { MAP_AS(32, 1, 0, AT, 0x1000), .fd = PROTO_MEMFD_SMALL, REPLIES_EMPTY }, UNMAPPED(AT, 0x1000) } },
    { .name = "posted", .m = { { MAP(AT, 0x1000), POSTED, SILENT }, UNMAPPED(AT, 0x1000) } },
    { .name = "over itself", .m = { MAPPED(AT, 0x2000), { MAP(AT, 0x2000), FAILS(EEXIST) }, UNMAPPED(AT, 0x2000) } },
    { .name = "inside",
      .m = { MAPPED(AT, 0x3000), { MAP(AT + 0x1000, 0x1000), FAILS(EEXIST) }, UNMAPPED(AT, 0x3000) } },
    { .name = "around",
      .m = { MAPPED(AT, 0x1000), { MAP(AT - 0x1000, 0x3000), FAILS(EEXIST) }, UNMAPPED(AT, 0x1000) } },
    { .name = "over its begin",
      .m = { MAPPED(AT, 0x2000), { MAP(AT - 0x1000, 0x2000), FAILS(EEXIST) }, UNMAPPED(AT, 0x2000) } },
    { .name = "over its end",
      .m = { MAPPED(AT, 0x2000), { MAP(AT + 0x1000, 0x2000), FAILS(EEXIST) }, UNMAPPED(AT, 0x2000) } },
    { .name = "over itself with a file",
      .m = { MAPPED(AT, 0x2000), { MAP(AT, 0x2000), .fd = PROTO_MEMFD, FAILS(EEXIST) }, UNMAPPED(AT, 0x2000) } },
    { .name = "over the last page of all",
      .m = { MAPPED(TOP, 0x1000), { MAP(TOP - 0x1000, 0x2000), FAILS(EEXIST) }, UNMAPPED(TOP, 0x1000) } },

    ONE("size 0", MAP(AT, 0), FAILS(EINVAL)),
    ONE("size 0 at address 0", MAP(0, 0), FAILS(EINVAL)),
    ONE("size 4095", MAP(AT, 4095), FAILS(EINVAL)),
    ONE("size 1", MAP(AT, 1), FAILS(EINVAL)),
    ONE("size 2^64 - 1", MAP(0, UINT64_MAX), FAILS(EINVAL)),
    ONE("address unlike a page", MAP(AT + 1, 0x1000), FAILS(EINVAL)),
    ONE("address 2^64 - 1", MAP(UINT64_MAX, 0x1000), FAILS(EINVAL)),
    ONE("wraps", MAP(TOP, 0x2000), FAILS(EINVAL)),
    ONE("flags 0", MAP_AS(32, 0, 0, AT, 0x1000), FAILS(EINVAL)),
    ONE("unknown flags", MAP_AS(32, 7, 0, AT, 0x1000), FAILS(EINVAL)),
    ONE("all flags", MAP_AS(32, UINT32_MAX, 0, AT, 0x1000), FAILS(EINVAL)),
    ONE("argsz 0", MAP_AS(0, 3, 0, AT, 0x1000), FAILS(EINVAL)),
    ONE("argsz 31", MAP_AS(31, 3, 0, AT, 0x1000), FAILS(EINVAL)),
    ONE("24 bytes", CMD(DMA_MAP), BODY(B4(32), B4(3), B8(0), B8(AT)), FAILS(EINVAL)),
    ONE("no body", CMD(DMA_MAP), FAILS(EINVAL)),
    ONE("no body, with a file", CMD(DMA_MAP), .fd = PROTO_MEMFD, FAILS(EINVAL)),
    ONE("larger than its file", MAP(AT, 0x2000), .fd = PROTO_MEMFD_SMALL, FAILS(EINVAL)),
    ONE("behind its file", MAP_AS(32, 3, 0x1000, AT, 0x1000), .fd = PROTO_MEMFD_SMALL, FAILS(EINVAL)),
    ONE("offset unlike a page", MAP_AS(32, 3, 0x800, AT, 0x1000), .fd = PROTO_MEMFD, FAILS(EINVAL)),
    ONE("offset wraps", MAP_AS(32, 3, TOP, AT, 0x2000), .fd = PROTO_MEMFD, FAILS(EINVAL)),
    ONE("offset 2^63", MAP_AS(32, 3, 0x8000000000000000u, AT, 0x1000), .fd = PROTO_MEMFD, FAILS(EINVAL)),
    ONE("/dev/null as memory", MAP(AT, 0x1000), .fd = PROTO_NULL, FAILS(EINVAL)),
    ONE("a pipe as memory", MAP(AT, 0x1000), .fd = PROTO_PIPE, FAILS(EINVAL)),
    ONE("a socket as memory", MAP(AT, 0x1000), .fd = PROTO_SOCKET, FAILS(EINVAL)),
    ONE("an eventfd as memory", MAP(AT, 0x1000), .fd = PROTO_EVENTFD, FAILS(EINVAL)),
    ONE("two files", MAP(AT, 0x1000), .fd = PROTO_MEMFD, .nfds = 2, FAILS(EINVAL)),

    ONE("unmap nothing", UNMAP(AT, 0x1000), FAILS(ENOENT)),
    ONE("unmap everything where nothing is", UNMAP(0, TOP), FAILS(ENOENT)),
    { .name = "unmap a part", .m = { MAPPED(AT, 0x2000), { UNMAP(AT, 0x1000), FAILS(ENOENT) }, UNMAPPED(AT, 0x2000) } },
    { .name = "unmap the tail",
      .m = { MAPPED(AT, 0x2000), { UNMAP(AT + 0x1000, 0x1000), FAILS(ENOENT) }, UNMAPPED(AT, 0x2000) } },
    { .name = "unmap more", .m = { MAPPED(AT, 0x2000), { UNMAP(AT, 0x3000), FAILS(ENOENT) }, UNMAPPED(AT, 0x2000) } },
    { .name = "unmap two at once",
      .m = { MAPPED(AT, 0x1000),
             MAPPED(AT + 0x1000, 0x1000),
             { UNMAP(AT, 0x2000), FAILS(ENOENT) },
             UNMAPPED(AT, 0x1000),
             UNMAPPED(AT + 0x1000, 0x1000) } },
    { .name = "unmap twice", .m = { MAPPED(AT, 0x1000), UNMAPPED(AT, 0x1000), { UNMAP(AT, 0x1000), FAILS(ENOENT) } } },
    { .name = "map again",
      .m = { MAPPED(AT, 0x1000), UNMAPPED(AT, 0x1000), MAPPED(AT, 0x4000), UNMAPPED(AT, 0x4000) } },
    { .name = "unmap, posted",
      .m = { MAPPED(AT, 0x1000), { UNMAP(AT, 0x1000), POSTED, SILENT }, { UNMAP(AT, 0x1000), FAILS(ENOENT) } } },
    ONE("unmap, 16 bytes", CMD(DMA_UNMAP), BODY(B4(24), B4(0), B8(AT)), FAILS(EINVAL)),
    ONE("unmap, no body", CMD(DMA_UNMAP), FAILS(EINVAL)),
    ONE("unmap, argsz 0", CMD(DMA_UNMAP), BODY(B4(0), B4(0), B8(AT), B8(0x1000)), FAILS(EINVAL)),
};

PROTO_TABLE(maps);
