/* SPDX-License-Identifier: BSD-3-Clause */
/* info - DEVICE_GET_INFO, DEVICE_GET_REGION_INFO, DEVICE_GET_IRQ_INFO, DEVICE_RESET. No state. */
#include "tests/protocol/proto.h"

extern const struct proto_table proto_info;

#define ONE(label, ...) { .name = label, .m = { { __VA_ARGS__ } } }
/* Whether the device has a reset is its own affair: flags are not compared. */
#define DEVICE REPLIES(B4(16), B4(0), B4(9), B4(5)), EXCEPT(4, 4)
#define REGION(index) CMD(DEVICE_GET_REGION_INFO), BODY(B4(32), B4(0), B4(index), B4(0), B8(0), B8(0))
/* The offset for mmap is the host's own affair. */
#define REGION_IS(index, flags, size) REPLIES(B4(32), B4(flags), B4(index), B4(0), B8(size), B8(0)), EXCEPT(24, 8)
#define IRQ(index) CMD(DEVICE_GET_IRQ_INFO), BODY(B4(16), B4(0), B4(index), B4(0))
#define IRQ_IS(index, flags, count) REPLIES(B4(16), B4(flags), B4(index), B4(count))
#define RW (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE)

static const struct proto_case cases[] = {
    ONE("device", CMD(DEVICE_GET_INFO), BODY(B4(16), B4(0), B4(0), B4(0)), DEVICE),
    ONE("device, argsz 32", CMD(DEVICE_GET_INFO), BODY(B4(32), B4(0), B4(0), B4(0)), DEVICE),
    ONE("device, argsz 32 and 32 bytes", CMD(DEVICE_GET_INFO), BODY(B4(32), B4(0), B4(0), B4(0)), .pad = 16, DEVICE),
    ONE("device, argsz 2^32 - 1", CMD(DEVICE_GET_INFO), BODY(B4(UINT32_MAX), B4(0), B4(0), B4(0)), DEVICE),
    ONE("device, 4080 bytes", CMD(DEVICE_GET_INFO), BODY(B4(16)), .pad = 4076, DEVICE),
    ONE("device, argsz 0", CMD(DEVICE_GET_INFO), BODY(B4(0), B4(0), B4(0), B4(0)), FAILS(EINVAL)),
    ONE("device, argsz 15", CMD(DEVICE_GET_INFO), BODY(B4(15), B4(0), B4(0), B4(0)), FAILS(EINVAL)),
    ONE("device, no body", CMD(DEVICE_GET_INFO), FAILS(EINVAL)),
    ONE("device, 15 bytes", CMD(DEVICE_GET_INFO), BODY(B4(16), B4(0), B4(0), B2(0), B1(0)), FAILS(EINVAL)),
    ONE("device, posted", CMD(DEVICE_GET_INFO), POSTED, BODY(B4(16), B4(0), B4(0), B4(0)), SILENT),

    ONE("region 0", REGION(0), REGION_IS(0, RW, 1 << 20)),
    ONE("region 1 is not there", REGION(1), REGION_IS(1, 0, 0)),
    ONE("region 5 is not there", REGION(5), REGION_IS(5, 0, 0)),
    ONE("region 6, the ROM, is not there", REGION(6), REGION_IS(6, 0, 0)),
    ONE("region 7, config space", REGION(7), REGION_IS(7, RW, 256)),
    ONE("region 8, VGA", REGION(8), REGION_IS(8, 0, 0)),
    ONE("region 9", REGION(9), FAILS(EINVAL)),
    ONE("region 2^31", REGION(0x80000000u), FAILS(EINVAL)),
    ONE("region 2^32 - 1", REGION(UINT32_MAX), FAILS(EINVAL)),
    ONE("region 0, argsz 64", CMD(DEVICE_GET_REGION_INFO), BODY(B4(64), B4(0), B4(0), B4(0), B8(0), B8(0)),
        REGION_IS(0, RW, 1 << 20)),
    ONE("region 0, 4080 bytes", CMD(DEVICE_GET_REGION_INFO), BODY(B4(4080)), .pad = 4076, REGION_IS(0, RW, 1 << 20)),
    ONE("region 0, argsz 31", CMD(DEVICE_GET_REGION_INFO), BODY(B4(31), B4(0), B4(0), B4(0), B8(0), B8(0)),
        FAILS(EINVAL)),
    ONE("region 0, argsz 0", CMD(DEVICE_GET_REGION_INFO), BODY(B4(0), B4(0), B4(0), B4(0), B8(0), B8(0)),
        FAILS(EINVAL)),
    ONE("region 0, 24 bytes", CMD(DEVICE_GET_REGION_INFO), BODY(B4(32), B4(0), B4(0), B4(0), B8(0)), FAILS(EINVAL)),
    ONE("region, no body", CMD(DEVICE_GET_REGION_INFO), FAILS(EINVAL)),

    ONE("interrupt 0, INTx", IRQ(0),
        IRQ_IS(0, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED, 1)),
    ONE("interrupt 1, MSI", IRQ(1), IRQ_IS(1, VFIO_IRQ_INFO_EVENTFD, 1)),
    ONE("interrupt 2, MSI-X, is not there", IRQ(2), IRQ_IS(2, 0, 0), EXCEPT(4, 4)),
    ONE("interrupt 3, error", IRQ(3), IRQ_IS(3, VFIO_IRQ_INFO_EVENTFD, 1)),
    ONE("interrupt 4, request", IRQ(4), IRQ_IS(4, VFIO_IRQ_INFO_EVENTFD, 1)),
    ONE("interrupt 5", IRQ(5), FAILS(EINVAL)),
    ONE("interrupt 2^32 - 1", IRQ(UINT32_MAX), FAILS(EINVAL)),
    ONE("interrupt 0, argsz 15", CMD(DEVICE_GET_IRQ_INFO), BODY(B4(15), B4(0), B4(0), B4(0)), FAILS(EINVAL)),
    ONE("interrupt 0, 12 bytes", CMD(DEVICE_GET_IRQ_INFO), BODY(B4(16), B4(0), B4(0)), FAILS(EINVAL)),
    ONE("interrupt 0, argsz 32 and 32 bytes", CMD(DEVICE_GET_IRQ_INFO), BODY(B4(32), B4(0), B4(0), B4(0)), .pad = 16,
        IRQ_IS(0, VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED, 1)),

    /* A reset gives the registers their values back. */
    { .name = "reset",
      .m = { { CMD(REGION_WRITE), BODY(B8(0x3c), B4(7), B4(1), B1(0x5a)), REPLIES(B8(0x3c), B4(7), B4(1)) },
             { CMD(REGION_WRITE), BODY(B8(4), B4(0), B4(4), B4(0x12345678)), REPLIES(B8(4), B4(0), B4(4)) },
             { CMD(DEVICE_RESET), REPLIES_EMPTY },
             { CMD(REGION_READ), BODY(B8(4), B4(0), B4(4)), REPLIES(B8(4), B4(0), B4(4), B4(0)) } } },
    ONE("reset, posted", CMD(DEVICE_RESET), POSTED, SILENT),
};

PROTO_TABLE(info);
