/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * driver - a driver for edu, in user space: sends bytes to the device and fetches them back, six times, and says how
 * each went. It looks at what happened rather than trusting that it did. See docs/filter.md.
 */
#include <stdio.h>
#include <string.h>

#include <vfu/client.h>

enum { IRQ = 0x24, ACK = 0x64, SRC = 0x80, DST = 0x88, COUNT = 0x90, CMD = 0x98 };
enum { RUN = 1, TO_HOST = 2, WITH_IRQ = 4 };
#define MEMORY 0x10000 /* where the device finds our memory */
#define BUFFER 0x40000 /* its own */

/* Starts a DMA and waits until the device has done with it; whether it sent an interrupt. */
static int transfer(struct vfuc *c, uint64_t src, uint64_t dst, uint64_t command)
{
    uint64_t busy = RUN;
    int interrupts;

    vfuc_put(c, VFUC_BAR(0), SRC, 8, src);
    vfuc_put(c, VFUC_BAR(0), DST, 8, dst);
    vfuc_put(c, VFUC_BAR(0), COUNT, 8, 16);
    vfuc_put(c, VFUC_BAR(0), CMD, 8, command | RUN | WITH_IRQ);
    while (busy & RUN)
        if (vfuc_get(c, VFUC_BAR(0), CMD, 8, &busy) < 0)
            return -1;
    interrupts = vfuc_irq_wait(c, VFUC_MSI, 0, 1);
    vfuc_put(c, VFUC_BAR(0), ACK, 4, 0x100);
    return interrupts;
}

int main(int argc, char **argv)
{
    struct vfuc *c = vfuc_new(NULL);
    void *memory;
    char *text;

    if (!c || argc != 2 || vfuc_connect(c, argv[1]) < 0 || vfuc_memory_new(c, MEMORY, 4096, VFUC_DMA_RW, &memory) < 0 ||
        vfuc_irq_arm(c, VFUC_MSI, 1) < 0) {
        fprintf(stderr, "driver: %s\n", c && argc == 2 ? vfuc_error(c) : "driver SOCKET");
        return 1;
    }
    text = memory;
    for (int i = 1; i <= 6; i++) {
        int sent, fetched;

        memset(text, 0, 4096);
        sprintf(text, "round %d", i);
        sent = transfer(c, MEMORY, BUFFER, 0);
        fetched = transfer(c, BUFFER, MEMORY + 64, TO_HOST);
        printf("round %d: %s, %s, %s\n", i, strcmp(text, text + 64) ? "the bytes are lost" : "the bytes came back",
               sent > 0 ? "interrupt" : "NO INTERRUPT", fetched > 0 ? "interrupt" : "NO INTERRUPT");
    }
    vfuc_free(c);
    return 0;
}
