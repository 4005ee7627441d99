/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * driver - a driver for the adder, in user space through uio_pci_generic. Runs as root in the guest.
 *
 * uio_pci_generic sets the interrupt disable bit of the command register with each interrupt, and the driver clears it.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEVICE "/sys/class/uio/uio0/device/"

enum { ID = 0x00, ADDR = 0x08, LENGTH = 0x10, START = 0x14, STATUS = 0x18, SUM = 0x1c, IRQ = 0x20, ENABLE = 0x24 };
enum { COMMAND = 4, MEMORY_ON = 1 << 1, BUS_MASTER = 1 << 2 };

static volatile uint8_t *bar;

static uint32_t get(unsigned offset)
{
    return *(volatile uint32_t *)(bar + offset);
}

static void put(unsigned offset, uint32_t value)
{
    *(volatile uint32_t *)(bar + offset) = value;
}

static int open_or_die(const char *path)
{
    int fd = open(path, O_RDWR | O_SYNC);

    if (fd < 0) {
        perror(path);
        exit(1);
    }
    return fd;
}

/* Where a page of this process is in the guest's memory. */
static uint64_t physical(const void *page)
{
    int fd = open_or_die("/proc/self/pagemap");
    uint64_t entry = 0;

    if (pread(fd, &entry, 8, (off_t)((uintptr_t)page / 4096 * 8)) != 8 || !(entry >> 63))
        exit(1);
    close(fd);
    return (entry & ((UINT64_C(1) << 55) - 1)) * 4096;
}

int main(void)
{
    int uio = open_or_die("/dev/uio0"), config = open_or_die(DEVICE "config"), resource = open_or_die(DEVICE "resource0");
    uint16_t command = MEMORY_ON | BUS_MASTER;
    uint32_t interrupts, expected = 0;
    uint8_t *page;
    uint64_t at;

    bar = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, resource, 0);
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
    if (bar == MAP_FAILED || page == MAP_FAILED || pwrite(config, &command, 2, COMMAND) != 2)
        return 1;
    if (get(ID) != 0xadd00001) {
        fprintf(stderr, "this is no adder: its ID is 0x%08x\n", get(ID));
        return 1;
    }
    for (int i = 0; i < 4096; i++)
        expected += page[i] = (uint8_t)(i * 7);
    at = physical(page);
    put(ADDR, (uint32_t)at);
    put(ADDR + 4, (uint32_t)(at >> 32));
    put(LENGTH, 4096);
    put(ENABLE, 1);
    put(START, 1);
    if (read(uio, &interrupts, 4) != 4)
        return 1;
    put(IRQ, 1);
    printf("sum of 4096 bytes: %u, expected %u, status %u\n", get(SUM), expected, get(STATUS));
    return get(SUM) != expected;
}
