/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * edu - drives the edu device from inside a guest, through uio_pci_generic: registers, interrupts, DMA both ways.
 *
 * Runs as root in a virtual machine, linked statically, one thread. Prints "ok - ..." and "not ok - ..." lines and exits
 * with the number of the latter. The registers are those that QEMU's documentation gives for its edu device.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BAR_SIZE (1u << 20)
#define BUFFER_ADDR 0x40000u /* of the device's own memory, as its DMA engine sees it */
#define BUFFER_SIZE 4096u

enum { ID = 0x00, LIVE = 0x04, FACT = 0x08, STATUS = 0x20, IRQ = 0x24, RAISE = 0x60, ACK = 0x64 };
enum { SRC = 0x80, DST = 0x88, COUNT = 0x90, CMD = 0x98 };
enum { STATUS_COMPUTING = 0x01, STATUS_IRQFACT = 0x80 };
enum { IRQ_FACT = 0x001, IRQ_DMA = 0x100 };
enum { CMD_RUN = 1, CMD_TO_HOST = 2, CMD_IRQ = 4 };

enum { PCI_COMMAND_AT = 4, PCI_COMMAND_MEMORY = 2, PCI_COMMAND_MASTER = 4, PCI_COMMAND_INTX_OFF = 0x400 };

static volatile uint8_t *bar;
static int config_fd, uio_fd, failed;

static void check(bool good, const char *what)
{
    printf("%s - %s\n", good ? "ok" : "not ok", what);
    failed += !good;
}

static void die(const char *what)
{
    printf("Bail out! %s: %s\n", what, strerror(errno));
    exit(99);
}

static uint32_t get(unsigned reg)
{
    return *(volatile uint32_t *)(bar + reg);
}

static void put(unsigned reg, uint32_t value)
{
    *(volatile uint32_t *)(bar + reg) = value;
}

static void put64(unsigned reg, uint64_t value)
{
    *(volatile uint64_t *)(bar + reg) = value;
}

static void pause_ms(long ms)
{
    struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    nanosleep(&t, NULL);
}

/* uio_pci_generic sets the INTx disable bit on each interrupt; whoever handled it clears the bit. */
static void interrupts_on(void)
{
    uint16_t command;

    if (pread(config_fd, &command, 2, PCI_COMMAND_AT) != 2)
        die("config read");
    command &= (uint16_t)~PCI_COMMAND_INTX_OFF;
    command |= PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY;
    if (pwrite(config_fd, &command, 2, PCI_COMMAND_AT) != 2)
        die("config write");
}

static bool interrupt_within(int ms)
{
    struct pollfd p = { .fd = uio_fd, .events = POLLIN };
    uint32_t count;

    return poll(&p, 1, ms) == 1 && read(uio_fd, &count, 4) == 4;
}

static bool clear_within(unsigned reg, uint32_t bits, int ms)
{
    for (; ms > 0 && (get(reg) & bits); ms--)
        pause_ms(1);
    return !(get(reg) & bits);
}

/* An interrupt came for exactly these causes, and goes when it is acknowledged. */
static bool interrupt_for(uint32_t causes)
{
    bool good = interrupt_within(5000) && get(IRQ) == causes;

    put(ACK, causes);
    good &= get(IRQ) == 0;
    interrupts_on();
    return good;
}

static void identification(void)
{
    uint32_t ids, class;

    if (pread(config_fd, &ids, 4, 0) != 4 || pread(config_fd, &class, 4, 8) != 4)
        die("config read");
    check(ids == 0x11e81234, "config space has the ids 1234:11e8");
    check(class == 0x00ff0010, "config space has class 00ff00, revision 10");
    check(get(ID) == 0x010000ed, "the identification register reads 010000ed");
}

static void complement(void)
{
    static const uint32_t values[] = { 0, 1, 0x12345678, 0x80000000, 0xffffffff };
    bool good = true;

    for (unsigned i = 0; i < sizeof values / sizeof values[0]; i++) {
        put(LIVE, values[i]);
        good &= get(LIVE) == ~values[i];
    }
    check(good, "the liveness register reads back the complement");
}

static void factorial(void)
{
    uint32_t expected = 1;
    bool good = true;

    put(STATUS, 0);
    for (uint32_t n = 1; n <= 12; n++) {
        expected *= n;
        put(FACT, n);
        good &= clear_within(STATUS, STATUS_COMPUTING, 2000) && get(FACT) == expected;
    }
    check(good, "factorials of 1 to 12 by polling");
    check(get(IRQ) == 0 && !interrupt_within(50), "no interrupt that was not asked for");

    interrupts_on();
    good = true;
    for (int round = 0; round < 20; round++) {
        put(STATUS, STATUS_IRQFACT);
        put(FACT, 5);
        good &= interrupt_for(IRQ_FACT) && get(FACT) == 120;
    }
    put(STATUS, 0);
    check(good, "twenty factorials of 5, each with its interrupt");
    check(!interrupt_within(100), "no interrupt after the last is acknowledged");
}

static void raise_and_acknowledge(void)
{
    bool good;

    put(RAISE, 0x42);
    good = interrupt_within(5000) && get(IRQ) == 0x42;
    put(ACK, 0x02);
    interrupts_on();
    good &= interrupt_within(5000) && get(IRQ) == 0x40;
    check(good, "a cause that is left over interrupts again");
    put(ACK, 0x40);
    interrupts_on();
    check(get(IRQ) == 0 && !interrupt_within(100), "silent once both are acknowledged");
}

static uint64_t physical(void *page)
{
    uint64_t entry = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY);

    if (fd < 0 || pread(fd, &entry, 8, (off_t)((uintptr_t)page / 4096 * 8)) != 8 || !(entry >> 63))
        die("pagemap");
    close(fd);
    return (entry & ((UINT64_C(1) << 55) - 1)) * 4096;
}

static void program(uint64_t src, uint64_t dst, uint64_t count, uint32_t cmd, bool halves)
{
    if (halves) {
        put(SRC, (uint32_t)src);
        put(SRC + 4, (uint32_t)(src >> 32));
        put(DST, (uint32_t)dst);
        put(DST + 4, (uint32_t)(dst >> 32));
        put(COUNT, (uint32_t)count);
        put(COUNT + 4, 0);
        put(CMD, cmd);
    } else {
        put64(SRC, src);
        put64(DST, dst);
        put64(COUNT, count);
        put64(CMD, cmd);
    }
}

static bool transfer(uint64_t src, uint64_t dst, uint64_t count, uint32_t cmd, bool halves)
{
    program(src, dst, count, cmd | CMD_RUN, halves);
    if (cmd & CMD_IRQ)
        return interrupt_for(IRQ_DMA) && !(get(CMD) & CMD_RUN);
    return clear_within(CMD, CMD_RUN, 3000);
}

static void dma(void)
{
    uint8_t *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);
    uint8_t *copy = page + 4096;
    uint64_t at, back;
    bool good = true;

    if (page == MAP_FAILED)
        die("mmap");
    memset(page, 0, 8192);
    at = physical(page);
    back = physical(copy);

    for (int round = 0; round < 4; round++) {
        bool halves = round & 1;

        for (unsigned i = 0; i < BUFFER_SIZE; i++)
            page[i] = (uint8_t)(i * 7 + i / 256 + 31u * (unsigned)round + 1);
        memset(copy, 0xa5, BUFFER_SIZE);
        good &= transfer(at, BUFFER_ADDR, BUFFER_SIZE, round & 2 ? CMD_IRQ : 0, halves);
        good &= transfer(BUFFER_ADDR, back, BUFFER_SIZE, CMD_TO_HOST | (round & 2 ? CMD_IRQ : 0), halves);
        good &= memcmp(page, copy, BUFFER_SIZE) == 0;
        if (round == 1)
            check(good, "4096 bytes go in and come back by polling, with 64-bit and 32-bit registers");
    }
    check(good, "the same with an interrupt for each transfer");

    memset(copy, 0xa5, BUFFER_SIZE);
    good = transfer(at + 3, BUFFER_ADDR + 100, 13, CMD_IRQ, false);
    good &= transfer(BUFFER_ADDR + 100, back + 501, 13, CMD_TO_HOST | CMD_IRQ, false);
    good &= memcmp(copy + 501, page + 3, 13) == 0 && copy[500] == 0xa5 && copy[514] == 0xa5;
    check(good, "13 unaligned bytes, and none beside them");
}

int main(int argc, char **argv)
{
    char path[128];
    int fd;

    if (argc != 2)
        return 99;
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/config", argv[1]);
    config_fd = open(path, O_RDWR);
    if (config_fd < 0)
        die(path);
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/resource0", argv[1]);
    fd = open(path, O_RDWR | O_SYNC);
    if (fd < 0)
        die(path);
    bar = mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    uio_fd = open("/dev/uio0", O_RDWR);
    if (bar == MAP_FAILED || uio_fd < 0)
        die("mmap of BAR 0, /dev/uio0");
    setvbuf(stdout, NULL, _IOLBF, 0);
    interrupts_on();
    identification();
    complement();
    factorial();
    raise_and_acknowledge();
    dma();
    return failed ? 1 : 0;
}
