/* SPDX-License-Identifier: BSD-3-Clause */
/* migrate - DEVICE_FEATURE, MIG_DATA_READ and _WRITE, DIRTY_PAGES, DMA_UNMAP with a bitmap. No state. */
#include "tests/protocol/proto.h"

extern const struct proto_table proto_migrate;

#define GET 0x10000u
#define SET 0x20000u
#define PROBE 0x40000u
enum { ERROR, STOP, RUNNING, STOP_COPY, RESUMING, P2P, PRE_COPY };

#define ONE(label, ...) { .name = label, .m = { { __VA_ARGS__ } } }
#define FEATURE(argsz, flags) CMD(DEVICE_FEATURE), BODY(B4(argsz), B4(flags))
#define FEATURE_WITH(argsz, flags, ...) CMD(DEVICE_FEATURE), BODY(B4(argsz), B4(flags), __VA_ARGS__)
#define ECHO(argsz, flags, ...) { FEATURE_WITH(argsz, flags, __VA_ARGS__), REPLIES(B4(argsz), B4(flags), __VA_ARGS__) }
#define TO(state) ECHO(16, SET | 2, B4(state), B4(0xffffffffu))
#define NO_WAY(state) { FEATURE_WITH(16, SET | 2, B4(state), B4(0xffffffffu)), FAILS(EINVAL) }
#define IS(state) { FEATURE(16, GET | 2), REPLIES(B4(16), B4(GET | 2), B4(state), B4(0xffffffffu)) }
#define RESET { CMD(DEVICE_RESET), REPLIES_EMPTY }
/* From one state to the other and back, over RUNNING where it need be. */
#define PAIR(from, to) { .name = #from " to " #to, .m = { TO(from), TO(to), IS(to), TO(RUNNING) } }

#define MIG_READ(argsz, size) CMD(MIG_DATA_READ), BODY(B4(argsz), B4(size))
#define MIG_WRITE(argsz, size, ...) CMD(MIG_DATA_WRITE), BODY(B4(argsz), B4(size), __VA_ARGS__)
#define WRITE_LIVE CMD(REGION_WRITE), BODY(B8(4), B4(0), B4(4), B4(0x11223344))
#define READ_ID CMD(REGION_READ), BODY(B8(0), B4(0), B4(4)), REPLIES(B8(0), B4(0), B4(4), B4(0x010000ed))

#define AT 0x10000
#define MAPPED(address, size) { CMD(DMA_MAP), BODY(B4(32), B4(3), B8(0), B8(address), B8(size)), REPLIES_EMPTY }
#define UNMAPPED(address, size) { CMD(DMA_UNMAP), BODY(B4(24), B4(0), B8(address), B8(size)), REPLIES(B4(24), B4(0), B8(address), B8(size)) }
#define LOG ECHO(24, SET | 6, B8(0x1000), B4(0), B4(0))
#define NO_LOG { FEATURE(8, SET | 7), REPLIES(B4(8), B4(SET | 7)) }
#define START(argsz, page, n, ...) FEATURE_WITH(argsz, SET | 6, B8(page), B4(n), B4(0), __VA_ARGS__)
#define REPORT(argsz, iova, length, page) FEATURE_WITH(argsz, GET | 8, B8(iova), B8(length), B8(page))
#define REPORTED(argsz, iova, length, page, ...) \
    { REPORT(argsz, iova, length, page), REPLIES(B4(argsz), B4(GET | 8), B8(iova), B8(length), B8(page), __VA_ARGS__) }
#define PAGES(argsz, flags) CMD(DIRTY_PAGES), BODY(B4(argsz), B4(flags))
#define PAGES_GET(argsz, iova, length, page, bytes) \
    CMD(DIRTY_PAGES), BODY(B4(argsz), B4(4), B8(iova), B8(length), B8(page), B8(bytes))
#define PAGES_ON { PAGES(8, 1), REPLIES_EMPTY }
#define PAGES_OFF { PAGES(8, 2), REPLIES_EMPTY }
#define UNMAP_GET(argsz, flags, iova, size, page, bytes) \
    CMD(DMA_UNMAP), BODY(B4(argsz), B4(flags), B8(iova), B8(size), B8(page), B8(bytes))

static const struct proto_case cases[] = {
    ONE("migration is offered", FEATURE(8, PROBE | 1), REPLIES(B4(8), B4(PROBE | 1))),
    ONE("and can be read", FEATURE(8, PROBE | GET | 1), REPLIES(B4(8), B4(PROBE | GET | 1))),
    ONE("and not be set", FEATURE(8, PROBE | SET | 1), FAILS(EINVAL)),
    ONE("nor both", FEATURE(8, PROBE | GET | SET | 1), FAILS(EINVAL)),
    ONE("stop-copy and pre-copy", FEATURE(16, GET | 1), REPLIES(B4(16), B4(GET | 1), B8(5))),
    ONE("with more room", FEATURE(4096, GET | 1), REPLIES(B4(16), B4(GET | 1), B8(5))),
    ONE("with room for the head alone", FEATURE(8, GET | 1), REPLIES(B4(16), B4(GET | 1))),
    ONE("with too little by one", FEATURE(15, GET | 1), REPLIES(B4(16), B4(GET | 1))),
    ONE("without room for the head", FEATURE(7, GET | 1), FAILS(EINVAL)),
    ONE("argsz 0", FEATURE(0, GET | 1), FAILS(EINVAL)),
    ONE("setting it", FEATURE_WITH(16, SET | 1, B8(5)), FAILS(EINVAL)),
    ONE("neither", FEATURE(16, 1), FAILS(EINVAL)),
    ONE("both", FEATURE_WITH(16, GET | SET | 2, B4(RUNNING), B4(0)), FAILS(EINVAL)),
    ONE("unknown flags", FEATURE(16, GET | 0x80000 | 1), FAILS(EINVAL)),
    ONE("all flags", FEATURE(16, 0xffffffffu), FAILS(EINVAL)),
    ONE("state: both can be done", FEATURE(8, PROBE | GET | SET | 2), REPLIES(B4(8), B4(PROBE | GET | SET | 2))),
    ONE("a probe with data gets it back", FEATURE_WITH(16, PROBE | 2, B8(0x1234)), REPLIES(B4(16), B4(PROBE | 2), B8(0x1234))),
    ONE("and needs the room", FEATURE_WITH(8, PROBE | 2, B8(0x1234)), FAILS(EINVAL)),
    ONE("feature 0", FEATURE(16, GET), FAILS(ENOTTY)),
    ONE("feature 3", FEATURE(8, PROBE | 3), FAILS(ENOTTY)),
    ONE("feature 9", FEATURE(8, PROBE | 9), FAILS(ENOTTY)),
    ONE("feature 65535", FEATURE(8, PROBE | 0xffff), FAILS(ENOTTY)),
    ONE("no body", CMD(DEVICE_FEATURE), FAILS(EINVAL)),
    ONE("4 bytes", CMD(DEVICE_FEATURE), BODY(B4(8)), FAILS(EINVAL)),
    ONE("posted", FEATURE(16, GET | 1), POSTED, SILENT),

    { .name = "runs", .m = { IS(RUNNING) } },
    PAIR(RUNNING, RUNNING),
    PAIR(RUNNING, STOP),
    PAIR(RUNNING, STOP_COPY),
    PAIR(RUNNING, RESUMING),
    PAIR(RUNNING, PRE_COPY),
    PAIR(STOP, STOP),
    PAIR(STOP, STOP_COPY),
    PAIR(STOP, RESUMING),
    PAIR(STOP, PRE_COPY),
    PAIR(STOP_COPY, STOP),
    PAIR(STOP_COPY, STOP_COPY),
    PAIR(STOP_COPY, RESUMING),
    PAIR(RESUMING, STOP),
    PAIR(RESUMING, STOP_COPY),
    PAIR(RESUMING, RESUMING),
    PAIR(RESUMING, PRE_COPY),
    PAIR(PRE_COPY, STOP),
    PAIR(PRE_COPY, STOP_COPY),
    PAIR(PRE_COPY, RESUMING),
    PAIR(PRE_COPY, PRE_COPY),
    { .name = "STOP_COPY to PRE_COPY", .m = { TO(STOP_COPY), NO_WAY(PRE_COPY), IS(STOP_COPY), TO(RUNNING) } },
    { .name = "to ERROR", .m = { NO_WAY(ERROR), IS(RUNNING) } },
    { .name = "to RUNNING_P2P", .m = { NO_WAY(P2P), IS(RUNNING) } },
    { .name = "to PRE_COPY_P2P", .m = { NO_WAY(7), IS(RUNNING) } },
    { .name = "to state 8", .m = { NO_WAY(8), IS(RUNNING) } },
    { .name = "to state 2^32 - 1", .m = { NO_WAY(UINT32_MAX), IS(RUNNING) } },
    { .name = "data_fd comes back as it is", .m = { ECHO(16, SET | 2, B4(RUNNING), B4(77)) } },
    { .name = "state, posted", .m = { { FEATURE_WITH(16, SET | 2, B4(STOP), B4(0)), POSTED, SILENT }, IS(STOP), TO(RUNNING) } },
    ONE("state, 12 bytes", FEATURE_WITH(16, SET | 2, B4(STOP)), FAILS(EINVAL)),
    ONE("state, argsz 15", FEATURE_WITH(15, SET | 2, B4(STOP), B4(0)), FAILS(EINVAL)),
    { .name = "a reset leads to RUNNING", .m = { TO(STOP), RESET, IS(RUNNING), TO(STOP_COPY), RESET, IS(RUNNING) } },
    { .name = "also out of RESUMING", .m = { TO(RESUMING), { MIG_WRITE(9, 1, 0), REPLIES_EMPTY }, RESET, IS(RUNNING) } },

    { .name = "stopped, reads go", .m = { TO(STOP), { READ_ID }, TO(RUNNING) } },
    { .name = "stopped, writes do not", .m = { TO(STOP), { WRITE_LIVE, FAILS(EBUSY) }, TO(RUNNING) } },
    { .name = "stopped, posted writes neither", .m = { TO(STOP), { WRITE_LIVE, POSTED, SILENT }, TO(RUNNING) } },
    { .name = "stopped, config space does", .m = { TO(STOP), { CMD(REGION_WRITE), BODY(B8(0x3c), B4(7), B4(1), B1(11)), REPLIES(B8(0x3c), B4(7), B4(1)) },
                                                   TO(RUNNING), { CMD(REGION_READ), BODY(B8(0x3c), B4(7), B4(1)), REPLIES(B8(0x3c), B4(7), B4(1), B1(11)) } } },
    { .name = "pre-copy, all goes", .m = { TO(PRE_COPY), { READ_ID }, { WRITE_LIVE, REPLIES(B8(4), B4(0), B4(4)) }, TO(RUNNING) } },
    { .name = "stopped, maps go", .m = { TO(STOP), MAPPED(AT, 0x1000), UNMAPPED(AT, 0x1000), TO(RUNNING) } },

    ONE("data in RUNNING", MIG_READ(24, 16), FAILS(EINVAL)),
    { .name = "data in STOP", .m = { TO(STOP), { MIG_READ(24, 16), FAILS(EINVAL) }, TO(RUNNING) } },
    { .name = "data in RESUMING", .m = { TO(RESUMING), { MIG_READ(24, 16), FAILS(EINVAL) }, TO(RUNNING) } },
    { .name = "no data in PRE_COPY", .m = { TO(PRE_COPY), { MIG_READ(16, 8), REPLIES(B4(8), B4(0), B8(0)) }, TO(RUNNING) } },
    { .name = "data in STOP_COPY", .m = { TO(STOP_COPY), { MIG_READ(16, 8), REPLIES(B4(16), B4(8), B8(0x454741494d554656)) },
                                          { MIG_READ(12, 4), REPLIES(B4(12), B4(4), B4(1)) }, TO(RUNNING) } },
    { .name = "size 0", .m = { TO(STOP_COPY), { MIG_READ(8, 0), FAILS(EINVAL) }, TO(RUNNING) } },
    { .name = "size 1 MiB + 1", .m = { TO(STOP_COPY), { MIG_READ(0x100009, 0x100001), FAILS(EINVAL) }, TO(RUNNING) } },
    { .name = "size 2^32 - 1", .m = { TO(STOP_COPY), { MIG_READ(UINT32_MAX, UINT32_MAX), FAILS(EINVAL) }, TO(RUNNING) } },
    { .name = "argsz too small", .m = { TO(STOP_COPY), { MIG_READ(15, 8), FAILS(EINVAL) }, TO(RUNNING) } },
    ONE("read, 4 bytes", CMD(MIG_DATA_READ), BODY(B4(8)), FAILS(EINVAL)),
    ONE("write in RUNNING", MIG_WRITE(9, 1, 0), FAILS(EINVAL)),
    { .name = "write in STOP", .m = { TO(STOP), { MIG_WRITE(9, 1, 0), FAILS(EINVAL) }, TO(RUNNING) } },
    { .name = "write in STOP_COPY", .m = { TO(STOP_COPY), { MIG_WRITE(9, 1, 0), FAILS(EINVAL) }, TO(RUNNING) } },
    { .name = "write in PRE_COPY", .m = { TO(PRE_COPY), { MIG_WRITE(9, 1, 0), FAILS(EINVAL) }, TO(RUNNING) } },
    { .name = "write more than there is", .m = { TO(RESUMING), { MIG_WRITE(10, 2, 0), FAILS(EINVAL) }, TO(RUNNING) } },
    { .name = "write less than there is", .m = { TO(RESUMING), { MIG_WRITE(9, 1, 0, 0), FAILS(EINVAL) }, TO(RUNNING) } },
    { .name = "write nothing", .m = { TO(RESUMING), { CMD(MIG_DATA_WRITE), BODY(B4(8), B4(0)), FAILS(EINVAL) }, TO(RUNNING) } },
    { .name = "write 2^32 - 1", .m = { TO(RESUMING), { MIG_WRITE(9, UINT32_MAX, 0), FAILS(EINVAL) }, TO(RUNNING) } },
    { .name = "write zeros", .m = { TO(RESUMING), { MIG_WRITE(8, 0x2000, 0), .pad = 0x1fff, REPLIES_EMPTY }, NO_WAY(STOP), IS(RESUMING), RESET } },
    { .name = "no image, and not a way on", .m = { TO(RESUMING), { MIG_WRITE(12, 4, B4(0x12345678)), REPLIES_EMPTY }, NO_WAY(RUNNING), IS(RESUMING), NO_WAY(STOP), RESET, IS(RUNNING) } },

    { .name = "log", .m = { LOG, REPORTED(40, AT, 0x10000, 0x1000, B8(0)), NO_LOG } },
    ONE("log: can be started", FEATURE(8, PROBE | SET | 6), REPLIES(B4(8), B4(PROBE | SET | 6))),
    ONE("log: cannot be read back", FEATURE(8, PROBE | GET | 6), FAILS(EINVAL)),
    ONE("log: a report cannot be set", FEATURE(8, PROBE | SET | 8), FAILS(EINVAL)),
    { .name = "log: twice", .m = { LOG, { START(24, 0x1000, 0), FAILS(EBUSY) }, NO_LOG } },
    { .name = "log: a range", .m = { { START(40, 0x1000, 1, B8(AT), B8(0x2000)), REPLIES(B4(40), B4(SET | 6), B8(0x1000), B4(1), B4(0), B8(AT), B8(0x2000)) }, NO_LOG } },
    ONE("log: ranges that are not there", START(24, 0x1000, 1), FAILS(EINVAL)),
    ONE("log: 2^32 - 1 ranges", START(40, 0x1000, UINT32_MAX, B8(AT), B8(0x2000)), FAILS(EINVAL)),
    ONE("log: a range that wraps", START(40, 0x1000, 1, B8(0xfffffffffffff000u), B8(0x2000)), FAILS(EINVAL)),
    ONE("log: an empty range", START(40, 0x1000, 1, B8(AT), B8(0)), FAILS(EINVAL)),
    ONE("log: ranges that overlap", START(56, 0x1000, 2, B8(AT), B8(0x2000), B8(AT), B8(0x1000)), FAILS(EINVAL)),
    ONE("log: page size 0", START(24, 0, 0), FAILS(EINVAL)),
    ONE("log: page size 2048", START(24, 2048, 0), FAILS(EINVAL)),
    ONE("log: page size 0x3000", START(24, 0x3000, 0), FAILS(EINVAL)),
    ONE("log: 16 bytes", FEATURE_WITH(24, SET | 6, B8(0x1000)), FAILS(EINVAL)),
    { .name = "log: no argsz for it", .m = { { START(23, 0x1000, 0), FAILS(EINVAL) } } },
    { .name = "log: stop without start", .m = { NO_LOG, NO_LOG } },
    ONE("report without start", REPORT(40, AT, 0x10000, 0x1000), FAILS(EINVAL)),
    { .name = "report of other pages", .m = { LOG, REPORTED(40, 0, 0x40000000, 0x1000000, B8(0)), REPORTED(48, AT, 0x41000, 0x1000, B8(0), B8(0)), NO_LOG } },
    { .name = "report of the last page", .m = { LOG, REPORTED(40, 0xfffffffffffff000u, 0x1000, 0x1000, B8(0)), NO_LOG } },
    { .name = "report without room", .m = { LOG, { REPORT(39, AT, 0x10000, 0x1000), REPLIES(B4(40), B4(GET | 8)) }, NO_LOG } },
    { .name = "report, page size 0", .m = { LOG, { REPORT(40, AT, 0x10000, 0), FAILS(EINVAL) }, NO_LOG } },
    { .name = "report, page size 0x1800", .m = { LOG, { REPORT(40, AT, 0x10000, 0x1800), FAILS(EINVAL) }, NO_LOG } },
    { .name = "report, no length", .m = { LOG, { REPORT(40, AT, 0, 0x1000), FAILS(EINVAL) }, NO_LOG } },
    { .name = "report, wraps", .m = { LOG, { REPORT(40, 0xfffffffffffff000u, 0x2000, 0x1000), FAILS(EINVAL) }, NO_LOG } },
    { .name = "report, half a page", .m = { LOG, { REPORT(40, AT, 0x800, 0x1000), FAILS(EINVAL) }, NO_LOG } },
    { .name = "report of too much", .m = { LOG, { REPORT(UINT32_MAX, 0, 0x1000000000000000u, 0x1000), FAILS(EINVAL) }, NO_LOG } },
    { .name = "report, 24 bytes", .m = { LOG, { FEATURE_WITH(40, GET | 8, B8(AT), B8(0x1000)), FAILS(EINVAL) }, NO_LOG } },

    { .name = "pages", .m = { PAGES_ON, PAGES_ON, { PAGES_GET(48, AT, 0x10000, 0x1000, 8), REPLIES(B4(48), B4(4), B8(AT), B8(0x10000), B8(0x1000), B8(8), B8(0)) }, PAGES_OFF, PAGES_OFF } },
    { .name = "pages, a larger bitmap", .m = { PAGES_ON, { PAGES_GET(56, AT, 0x10000, 0x1000, 16), REPLIES(B4(56), B4(4), B8(AT), B8(0x10000), B8(0x1000), B8(16), B8(0), B8(0)) }, PAGES_OFF } },
    { .name = "pages, a smaller bitmap", .m = { PAGES_ON, { PAGES_GET(48, AT, 0x10000, 0x1000, 1), FAILS(EINVAL) }, PAGES_OFF } },
    { .name = "pages, an absurd bitmap", .m = { PAGES_ON, { PAGES_GET(UINT32_MAX, AT, 0x10000, 0x1000, UINT64_MAX), FAILS(EINVAL) }, PAGES_OFF } },
    { .name = "pages, without room", .m = { PAGES_ON, { PAGES_GET(8, AT, 0x10000, 0x1000, 8), REPLIES(B4(48), B4(4)) }, PAGES_OFF } },
    { .name = "pages, without start", .m = { { PAGES_GET(48, AT, 0x10000, 0x1000, 8), FAILS(EINVAL) } } },
    { .name = "pages beside a log", .m = { LOG, { PAGES(8, 1), FAILS(EBUSY) }, NO_LOG } },
    ONE("pages, no flag", PAGES(8, 0), FAILS(EINVAL)),
    ONE("pages, start and stop", PAGES(8, 3), FAILS(EINVAL)),
    ONE("pages, start and get", PAGES(8, 5), FAILS(EINVAL)),
    ONE("pages, argsz 4", PAGES(4, 1), FAILS(EINVAL)),
    ONE("pages, 4 bytes", CMD(DIRTY_PAGES), BODY(B4(8)), FAILS(EINVAL)),
    ONE("pages, get, 8 bytes", PAGES(8, 4), FAILS(EINVAL)),

    { .name = "unmap with pages", .m = { PAGES_ON, MAPPED(AT, 0x10000), { UNMAP_GET(48, 1, AT, 0x10000, 0x1000, 8), REPLIES(B4(48), B4(1), B8(AT), B8(0x10000), B8(0x1000), B8(8), B8(0)) }, MAPPED(AT, 0x10000), UNMAPPED(AT, 0x10000), PAGES_OFF } },
    { .name = "unmap with pages, without start", .m = { MAPPED(AT, 0x10000), { UNMAP_GET(48, 1, AT, 0x10000, 0x1000, 8), FAILS(EINVAL) }, UNMAPPED(AT, 0x10000) } },
    { .name = "unmap with pages, nothing there", .m = { PAGES_ON, { UNMAP_GET(48, 1, AT, 0x10000, 0x1000, 8), FAILS(ENOENT) }, PAGES_OFF } },
    { .name = "unmap with pages, without room", .m = { PAGES_ON, MAPPED(AT, 0x10000), { UNMAP_GET(47, 1, AT, 0x10000, 0x1000, 8), FAILS(EINVAL) }, UNMAPPED(AT, 0x10000), PAGES_OFF } },
    { .name = "unmap all with pages", .m = { PAGES_ON, { UNMAP_GET(48, 3, 0, 0, 0x1000, 8), FAILS(EINVAL) }, PAGES_OFF } },
    ONE("unmap with pages, 24 bytes", CMD(DMA_UNMAP), BODY(B4(48), B4(1), B8(AT), B8(0x10000)), FAILS(EINVAL)),
    ONE("unmap, unknown flag", CMD(DMA_UNMAP), BODY(B4(24), B4(4), B8(AT), B8(0x1000)), FAILS(EINVAL)),
};

PROTO_TABLE(migrate);
