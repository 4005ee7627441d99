/* SPDX-License-Identifier: BSD-3-Clause */
/* irqs - DEVICE_SET_IRQS. Specification: VFIO_USER_DEVICE_SET_IRQS. No state. */
#include "tests/protocol/proto.h"

extern const struct proto_table proto_irqs;

#define NONE VFIO_IRQ_SET_DATA_NONE
#define BOOL VFIO_IRQ_SET_DATA_BOOL
#define EVENT VFIO_IRQ_SET_DATA_EVENTFD
#define MASK VFIO_IRQ_SET_ACTION_MASK
#define UNMASK VFIO_IRQ_SET_ACTION_UNMASK
#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER
#define SET(flags, index, start, count) CMD(DEVICE_SET_IRQS), BODY(B4(20), B4(flags), B4(index), B4(start), B4(count))
#define SET_BOOL(flags, index, start, count, ...) \
    CMD(DEVICE_SET_IRQS), BODY(B4(20 + (count)), B4(flags), B4(index), B4(start), B4(count), __VA_ARGS__)
#define OFF(index) { SET(NONE | TRIGGER, index, 0, 0), REPLIES_EMPTY }
#define ONE(label, ...) { .name = label, .m = { { __VA_ARGS__ } } }
#define INTX 0
#define MSI 1
#define MSIX 2

static const struct proto_case cases[] = {
    { .name = "INTx on and off",
      .m = { { SET(EVENT | TRIGGER, INTX, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY }, OFF(INTX) } },
    { .name = "INTx on twice",
      .m = { { SET(EVENT | TRIGGER, INTX, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET(EVENT | TRIGGER, INTX, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             OFF(INTX) } },
    { .name = "INTx unmasked",
      .m = { { SET(EVENT | TRIGGER, INTX, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET(NONE | UNMASK, INTX, 0, 1), REPLIES_EMPTY },
             OFF(INTX) } },
    { .name = "INTx masked and unmasked by BOOL",
      .m = { { SET(EVENT | TRIGGER, INTX, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET_BOOL(BOOL | MASK, INTX, 0, 1, B1(1)), REPLIES_EMPTY },
             { SET_BOOL(BOOL | UNMASK, INTX, 0, 1, B1(1)), REPLIES_EMPTY },
             OFF(INTX) } },
    { .name = "INTx fired by the client",
      .m = { { SET(EVENT | TRIGGER, INTX, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET(NONE | TRIGGER, INTX, 0, 1), REPLIES_EMPTY },
             OFF(INTX) } },
    { .name = "MSI on and off",
      .m = { { SET(EVENT | TRIGGER, MSI, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY }, OFF(MSI) } },
    { .name = "MSI on without an eventfd", .m = { { SET(EVENT | TRIGGER, MSI, 0, 1), REPLIES_EMPTY }, OFF(MSI) } },
    { .name = "MSI fired by BOOL",
      .m = { { SET(EVENT | TRIGGER, MSI, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET_BOOL(BOOL | TRIGGER, MSI, 0, 1, B1(1)), REPLIES_EMPTY },
             OFF(MSI) } },
    /* Every kind of data with every action, where it is allowed. */
    { .name = "INTx, every pair with NONE",
      .m = { { SET(EVENT | TRIGGER, INTX, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET(NONE | MASK, INTX, 0, 1), REPLIES_EMPTY },
             { SET(NONE | UNMASK, INTX, 0, 1), REPLIES_EMPTY },
             { SET(NONE | TRIGGER, INTX, 0, 1), REPLIES_EMPTY },
             OFF(INTX) } },
    { .name = "INTx, eventfds for all three",
      .m = { { SET(EVENT | TRIGGER, INTX, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET(EVENT | MASK, INTX, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET(EVENT | UNMASK, INTX, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET(EVENT | UNMASK, INTX, 0, 1), REPLIES_EMPTY },
             OFF(INTX) } },
    { .name = "MSI, every pair with NONE",
      .m = { { SET(EVENT | TRIGGER, MSI, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET(NONE | MASK, MSI, 0, 1), REPLIES_EMPTY },
             { SET(NONE | UNMASK, MSI, 0, 1), REPLIES_EMPTY },
             { SET(NONE | TRIGGER, MSI, 0, 1), REPLIES_EMPTY },
             OFF(MSI) } },
    { .name = "MSI, every pair with BOOL",
      .m = { { SET(EVENT | TRIGGER, MSI, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET_BOOL(BOOL | MASK, MSI, 0, 1, B1(1)), REPLIES_EMPTY },
             { SET_BOOL(BOOL | UNMASK, MSI, 0, 1, B1(0)), REPLIES_EMPTY },
             { SET_BOOL(BOOL | UNMASK, MSI, 0, 1, B1(255)), REPLIES_EMPTY },
             { SET_BOOL(BOOL | TRIGGER, MSI, 0, 1, B1(0)), REPLIES_EMPTY },
             OFF(MSI) } },
    { .name = "MSI, eventfds for all three",
      .m = { { SET(EVENT | TRIGGER, MSI, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET(EVENT | MASK, MSI, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET(EVENT | UNMASK, MSI, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             OFF(MSI) } },
    { .name = "error and request, fired",
      .m = { { SET(EVENT | TRIGGER, 3, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET(NONE | TRIGGER, 3, 0, 1), REPLIES_EMPTY },
             { SET(EVENT | TRIGGER, 4, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY },
             { SET_BOOL(BOOL | TRIGGER, 4, 0, 1, B1(1)), REPLIES_EMPTY },
             OFF(3),
             OFF(4) } },
    ONE("error masked", SET(NONE | MASK, 3, 0, 1), FAILS(EINVAL)),
    ONE("request unmasked", SET_BOOL(BOOL | UNMASK, 4, 0, 1, B1(1)), FAILS(EINVAL)),
    ONE("count 0 of BOOL", SET(BOOL | TRIGGER, MSI, 0, 0), FAILS(EINVAL)),
    ONE("count 0 to mask", SET(NONE | MASK, MSI, 0, 0), FAILS(EINVAL)),
    ONE("count 0 of eventfds", SET(EVENT | TRIGGER, MSI, 0, 0), FAILS(EINVAL)),
    { .name = "INTx off, nobody on", .m = { OFF(INTX) } },
    { .name = "MSI off, nobody on", .m = { OFF(MSI) } },
    { .name = "error on and off",
      .m = { { SET(EVENT | TRIGGER, 3, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY }, OFF(3) } },
    { .name = "request on and off",
      .m = { { SET(EVENT | TRIGGER, 4, 0, 1), .fd = PROTO_EVENTFD, REPLIES_EMPTY }, OFF(4) } },

    ONE("MSI-X, which is not there", SET(EVENT | TRIGGER, MSIX, 0, 1), .fd = PROTO_EVENTFD, FAILS(EINVAL)),
    ONE("index 5", SET(EVENT | TRIGGER, 5, 0, 1), .fd = PROTO_EVENTFD, FAILS(EINVAL)),
    ONE("index 2^32 - 1", SET(NONE | TRIGGER, UINT32_MAX, 0, 0), FAILS(EINVAL)),
    ONE("start beyond", SET(EVENT | TRIGGER, INTX, 1, 1), .fd = PROTO_EVENTFD, FAILS(EINVAL)),
    ONE("count beyond", SET(EVENT | TRIGGER, MSI, 0, 2), .fd = PROTO_EVENTFD, .nfds = 2, FAILS(EINVAL)),
    ONE("start 2^32 - 1", SET(EVENT | TRIGGER, MSI, UINT32_MAX, 1), .fd = PROTO_EVENTFD, FAILS(EINVAL)),
    ONE("start + count wraps to 0", SET(EVENT | TRIGGER, MSI, 1, UINT32_MAX), .fd = PROTO_EVENTFD, FAILS(EINVAL)),
    ONE("start + count wraps to 1", SET(EVENT | TRIGGER, MSI, UINT32_MAX, 2), .fd = PROTO_EVENTFD, FAILS(EINVAL)),
    ONE("count 2^32 - 1", SET(NONE | TRIGGER, MSI, 0, UINT32_MAX), FAILS(EINVAL)),
    ONE("count 2^32 - 1 of BOOL", CMD(DEVICE_SET_IRQS),
        BODY(B4(20), B4(BOOL | TRIGGER), B4(MSI), B4(0), B4(UINT32_MAX), B1(1)), FAILS(EINVAL)),
    ONE("flags 0", SET(0, INTX, 0, 1), FAILS(EINVAL)),
    ONE("no action", SET(NONE, INTX, 0, 1), FAILS(EINVAL)),
    ONE("no data kind", SET(TRIGGER, INTX, 0, 1), FAILS(EINVAL)),
    ONE("two data kinds", SET(NONE | EVENT | TRIGGER, INTX, 0, 1), .fd = PROTO_EVENTFD, FAILS(EINVAL)),
    ONE("two actions", SET(NONE | MASK | UNMASK, INTX, 0, 1), FAILS(EINVAL)),
    ONE("unknown flags", SET(NONE | TRIGGER | 0x40, INTX, 0, 1), FAILS(EINVAL)),
    ONE("all flags", SET(UINT32_MAX, INTX, 0, 1), FAILS(EINVAL)),
    ONE("BOOL without data", SET(BOOL | TRIGGER, INTX, 0, 1), FAILS(EINVAL)),
    ONE("BOOL with too little data", CMD(DEVICE_SET_IRQS), BODY(B4(20), B4(BOOL | MASK), B4(MSI), B4(0), B4(1)),
        FAILS(EINVAL)),
    ONE("more eventfds than vectors", SET(EVENT | TRIGGER, MSI, 0, 1), .fd = PROTO_EVENTFD, .nfds = 2, FAILS(EINVAL)),
    ONE("more descriptors than were agreed on", SET(EVENT | TRIGGER, MSI, 0, 1), .fd = PROTO_EVENTFD, .nfds = 30,
        FAILS(0)),
    ONE("/dev/null as an eventfd", SET(EVENT | TRIGGER, MSI, 0, 1), .fd = PROTO_NULL, FAILS(EINVAL)),
    ONE("a pipe as an eventfd", SET(EVENT | TRIGGER, MSI, 0, 1), .fd = PROTO_PIPE, FAILS(EINVAL)),
    ONE("a socket as an eventfd", SET(EVENT | TRIGGER, INTX, 0, 1), .fd = PROTO_SOCKET, FAILS(EINVAL)),
    ONE("a memory file as an eventfd", SET(EVENT | TRIGGER, INTX, 0, 1), .fd = PROTO_MEMFD, FAILS(EINVAL)),
    ONE("argsz 0", CMD(DEVICE_SET_IRQS), BODY(B4(0), B4(NONE | TRIGGER), B4(INTX), B4(0), B4(0)), FAILS(EINVAL)),
    ONE("argsz 19", CMD(DEVICE_SET_IRQS), BODY(B4(19), B4(NONE | TRIGGER), B4(INTX), B4(0), B4(0)), FAILS(EINVAL)),
    ONE("16 bytes", CMD(DEVICE_SET_IRQS), BODY(B4(20), B4(NONE | TRIGGER), B4(INTX), B4(0)), FAILS(EINVAL)),
    ONE("no body", CMD(DEVICE_SET_IRQS), FAILS(EINVAL)),
    ONE("no body, with an eventfd", CMD(DEVICE_SET_IRQS), .fd = PROTO_EVENTFD, FAILS(EINVAL)),
    ONE("bad and posted", SET(EVENT | TRIGGER, 5, 0, 1), POSTED, .fd = PROTO_EVENTFD, SILENT),
};

PROTO_TABLE(irqs);
