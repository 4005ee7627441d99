/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfu/protocol.h - the vfio-user protocol's messages as they stand on the wire (protocol version 0.0; the
 * specification is docs/interop/vfio-user.rst of QEMU). Everything is in the host's byte order, which here is
 * little-endian. VFIO's own constants are in <linux/vfio.h>.
 */
#ifndef VFU_PROTOCOL_H
#define VFU_PROTOCOL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VFU_PROTOCOL_MAJOR 0u
#define VFU_PROTOCOL_MINOR 0u

/* Commands */
#define VFU_CMD_VERSION 1u
#define VFU_CMD_DMA_MAP 2u
#define VFU_CMD_DMA_UNMAP 3u
#define VFU_CMD_DEVICE_GET_INFO 4u
#define VFU_CMD_DEVICE_GET_REGION_INFO 5u
#define VFU_CMD_DEVICE_GET_REGION_IO_FDS 6u
#define VFU_CMD_DEVICE_GET_IRQ_INFO 7u
#define VFU_CMD_DEVICE_SET_IRQS 8u
#define VFU_CMD_REGION_READ 9u
#define VFU_CMD_REGION_WRITE 10u
#define VFU_CMD_DMA_READ 11u  /* server to client */
#define VFU_CMD_DMA_WRITE 12u /* server to client */
#define VFU_CMD_DEVICE_RESET 13u
#define VFU_CMD_DIRTY_PAGES 14u /* of earlier revisions */
#define VFU_CMD_REGION_WRITE_MULTI 15u
#define VFU_CMD_DEVICE_FEATURE 16u
#define VFU_CMD_MIG_DATA_READ 17u
#define VFU_CMD_MIG_DATA_WRITE 18u
#define VFU_CMD_LAST 18u

/* Message flags */
#define VFU_MSG_TYPE_MASK 0xfu
#define VFU_MSG_COMMAND 0x0u
#define VFU_MSG_REPLY 0x1u
#define VFU_MSG_NO_REPLY 0x10u
#define VFU_MSG_ERROR 0x20u

/* Values that hold where VERSION does not say otherwise */
#define VFU_DEFAULT_MAX_DATA_XFER_SIZE 1048576u
#define VFU_DEFAULT_MAX_DMA_MAPS 65535u
#define VFU_DEFAULT_MAX_MSG_FDS 1u
#define VFU_DEFAULT_PGSIZES 4096u

struct vfu_msg_header {
    uint16_t id;
    uint16_t command;
    uint32_t size; /* of the whole message */
    uint32_t flags;
    uint32_t error;
};

struct vfu_msg_version {
    uint16_t major;
    uint16_t minor;
    /* JSON text follows, with its NUL; optional */
};

struct vfu_msg_dma_map {
    uint32_t argsz;
    uint32_t flags; /* VFU_DMA_MAP_* */
    uint64_t offset;
    uint64_t address;
    uint64_t size;
};
#define VFU_DMA_MAP_READABLE 1u
#define VFU_DMA_MAP_WRITEABLE 2u

struct vfu_msg_dma_unmap {
    uint32_t argsz;
    uint32_t flags; /* VFIO_DMA_UNMAP_FLAG_* */
    uint64_t address;
    uint64_t size;
};

struct vfu_msg_region_access {
    uint64_t offset;
    uint32_t region;
    uint32_t count;
    /* data follows in a write's request and in a read's reply */
};

struct vfu_msg_write_multi {
    uint64_t wr_cnt;
    /* struct vfu_msg_write_one follow */
};

struct vfu_msg_write_one {
    uint64_t offset;
    uint32_t region;
    uint32_t count; /* 1 to 8 */
    uint8_t data[8];
};

struct vfu_msg_dma_access {
    uint64_t address;
    uint64_t count;
    /* data follows in a write's request and in a read's reply */
};

struct vfu_msg_region_io_fds {
    uint32_t argsz;
    uint32_t flags;
    uint32_t index;
    uint32_t count;
    /* struct vfu_msg_sub_region follow in the reply */
};

struct vfu_msg_sub_region {
    uint64_t offset;
    uint64_t size;
    uint32_t fd_index;
    uint32_t type;
    uint32_t flags;
    uint32_t padding;
    uint64_t datamatch;
};
#define VFU_IO_FD_TYPE_IOEVENTFD 0u
#define VFU_IO_FD_TYPE_IOREGIONFD 1u
#define VFU_IO_FD_TYPE_IOEVENTFD_SHADOW 2u /* not in the specification: libvfio-user's */
/* vfu_msg_sub_region.flags of an ioeventfd: KVM_IOEVENTFD_FLAG_* of <linux/kvm.h> */
#define VFU_IOEVENTFD_DATAMATCH 1u
#define VFU_IOEVENTFD_PIO 2u

/* An element of a list with shadow ioeventfds in it. The value that was written stands at shadow_offset of the file. */
struct vfu_msg_sub_region_shadow {
    uint64_t offset;
    uint64_t size;
    uint32_t fd_index;
    uint32_t type;
    uint32_t flags;
    uint32_t shadow_fd_index;
    uint64_t shadow_offset;
    uint64_t datamatch;
};

struct vfu_msg_device_feature {
    uint32_t argsz;
    uint32_t flags;
    /* the feature's own structure follows */
};

struct vfu_msg_mig_state {
    uint32_t device_state;
    uint32_t data_fd;
};

struct vfu_msg_mig_data {
    uint32_t argsz;
    uint32_t size;
    /* data follows in a write's request and in a read's reply */
};

#ifdef __cplusplus
}
#endif

#endif
