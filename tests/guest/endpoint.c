/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * endpoint KIND COUNT - inside the guest: interrupts 1 to COUNT of pci_endpoint_test's device, KIND msi or msix, each
 * by the driver's own test. pcitest does one per process, which is too slow for 2048.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/pcitest.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
    int fd = open("/dev/pci-endpoint-test.0", O_RDWR), count = argc == 3 ? atoi(argv[2]) : 0, bad = 0;
    unsigned long test = argc == 3 && !strcmp(argv[1], "msix") ? PCITEST_MSIX : PCITEST_MSI;

    if (fd < 0 || count < 1) {
        fprintf(stderr, "endpoint: %s\n", fd < 0 ? strerror(errno) : "say msi or msix, and how many");
        return 2;
    }
    for (int i = 1; i <= count; i++) {
        if (ioctl(fd, test, i) == 1)
            continue;
        printf("%s %d does not come\n", argv[1], i);
        if (++bad == 5) /* each costs a second */
            break;
    }
    return bad > 0;
}
