/* SPDX-License-Identifier: BSD-3-Clause */
/* show - what "vfu-client SOCKET info" prints, and how config space reads to people. One thread. */
#ifndef CLIENT_SHOW_H
#define CLIENT_SHOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vfu/client.h>

/* Asks the device for everything and prints it. 0 or -errno with the text in vfuc_error(). */
int show_info(struct vfuc *c, bool json);

/* One capability of config space, as a line. */
struct pcicap {
    uint32_t offset;
    uint16_t id;
    bool extended;
    const char *name;
    char text[256]; /* "Enable- Count=1/4 ..."; "" where nothing is known of it */
};

/* Calls fn for each capability, in the order of the list. A chain that loops or leaves the space ends, and false is
 * returned. `config` is 256 or 4096 bytes. */
bool pcicap_walk(const uint8_t *config, size_t size, void (*fn)(void *ctx, const struct pcicap *cap), void *ctx);
/* "Network controller" and so on; never NULL. */
const char *pcicap_class(uint32_t class_code);

#endif
