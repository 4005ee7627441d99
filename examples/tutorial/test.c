/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test - drives the adder as a guest would: memory, DMA, the interrupt. No virtual machine. One thread.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vfu/client.h>

enum { ID = 0x00, ADDR = 0x08, LENGTH = 0x10, START = 0x14, STATUS = 0x18, SUM = 0x1c, IRQ = 0x20, ENABLE = 0x24 };
enum { MEMORY = 0x10000, SIZE = 4096 };

static struct vfuc *c;

static void check(int good, const char *what)
{
    printf("%s - %s\n", good ? "ok" : "not ok", what);
    if (!good) {
        printf("# %s\n", vfuc_error(c));
        exit(1);
    }
}

static uint64_t get(uint64_t offset)
{
    uint64_t value = 0;

    if (vfuc_get(c, VFUC_BAR(0), offset, 4, &value) < 0)
        check(0, "a register is read");
    return value;
}

static void put(uint64_t offset, uint32_t size, uint64_t value)
{
    if (vfuc_put(c, VFUC_BAR(0), offset, size, value) < 0)
        check(0, "a register is written");
}

/* Starts the adding and waits for the interrupt. */
static int add(uint64_t address, uint64_t length)
{
    int count;

    put(ADDR, 8, address);
    put(LENGTH, 4, length);
    put(START, 4, 1);
    count = vfuc_irq_wait(c, VFUC_MSI, 0, 1000 * VFUC_NS_PER_MS);
    put(IRQ, 4, 1);
    return count == 1 && get(IRQ) == 0;
}

int main(void)
{
    const char *socket = getenv("VFU_SOCKET");
    void *memory;

    c = vfuc_new(NULL);
    if (!c || !socket)
        return 2;
    check(vfuc_connect(c, socket) == 0, "the device is there");
    check(get(ID) == 0xadd00001, "it is an adder");
    check(vfuc_memory_new(c, MEMORY, SIZE, VFUC_DMA_RW, &memory) == 0, "it gets memory");
    check(vfuc_irq_arm(c, VFUC_MSI, 1) == 0, "it can interrupt");
    memset(memory, 3, SIZE);
    put(ENABLE, 4, 1);
    check(add(MEMORY, SIZE) && get(SUM) == 3 * SIZE && get(STATUS) == 0, "it adds up 4096 bytes");
    check(add(MEMORY, 1) && get(SUM) == 3, "and one");
    check(add(MEMORY, 0) && get(SUM) == 0, "and none");
    check(add(MEMORY + SIZE, 1) && get(STATUS) == 2, "memory that is not there is an error");
    check(add(MEMORY, 0xffffffff) && get(STATUS) == 2, "and so is too much of it");
    vfuc_free(c);
    printf("1..9\n");
    return 0;
}
