/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * edge - waits for an edge on a GPIO line as a program would: edge FILE SECONDS COMMAND
 *
 * Opens a sysfs "value" file, runs COMMAND in a shell, and exits 0 if the line reports an edge in that time, 1 if not.
 * One thread; linked statically.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct pollfd p = { .events = POLLPRI | POLLERR };
    char value[8];

    if (argc != 4)
        return 2;
    p.fd = open(argv[1], O_RDONLY);
    if (p.fd < 0 || read(p.fd, value, sizeof value) < 1) {
        perror(argv[1]);
        return 2;
    }
    if (system(argv[3]) != 0)
        return 2;
    return poll(&p, 1, atoi(argv[2]) * 1000) == 1 && (p.revents & POLLPRI) ? 0 : 1;
}
