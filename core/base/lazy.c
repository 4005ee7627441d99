/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lazy - loads libraries when they are needed: see lazy.h. The lock is for loading; who has been told that all is there
 * uses the pointers without it.
 */
#include "core/base/lazy.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const char *load(struct lazy *library, const struct lazy_symbol *symbols, size_t n)
{
    void *handle = dlopen(library->file, RTLD_NOW | RTLD_LOCAL);

    if (!handle) {
        snprintf(library->why, sizeof library->why, "%s cannot be loaded (%s); on Debian: apt-get install %s", library->file,
                 dlerror(), library->package);
        return library->why;
    }
    for (size_t i = 0; i < n; i++) {
        void *symbol = dlsym(handle, symbols[i].name);

        if (!symbol) {
            snprintf(library->why, sizeof library->why, "%s has no %s", library->file, symbols[i].name);
            dlclose(handle);
            return library->why;
        }
        memcpy(symbols[i].place, &symbol, sizeof symbol);
    }
    library->handle = handle;
    return NULL;
}

const char *lazy_load(struct lazy *library, const struct lazy_symbol *symbols, size_t n)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    const char *why = NULL;

    pthread_mutex_lock(&lock);
    if (!library->handle)
        why = load(library, symbols, n);
    pthread_mutex_unlock(&lock);
    return why;
}
