/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * layout - the gate: size and offset of every published member, the size of every published struct and the value of
 * every published constant, on 64-bit machines. header.test compiles it. A line of layout.h that has to change once a
 * release is out breaks the plugins of that release; a new line, and a struct of a new size, is growth.
 */
#include <stddef.h>
#include <stdint.h>

#include <vfu/plugin.h>

#define SIZE(type, size) _Static_assert(sizeof(struct type) == (size), "struct " #type " has another size")
#define AT(type, member, offset, size)                                                                                 \
    _Static_assert(offsetof(struct type, member) == (offset), #type "." #member " has moved");                         \
    _Static_assert(sizeof(((struct type *)0)->member) == (size), #type "." #member " has another size")
#define IS(name, value) _Static_assert((uint64_t)(name) == UINT64_C(value), #name " has another value")

#if UINTPTR_MAX == UINT64_MAX
#include "layout.h"
#else
typedef int layout_is_checked_on_64_bit_machines;
#endif
