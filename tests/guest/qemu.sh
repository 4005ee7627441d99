#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# qemu.sh - run the QEMU that setup.sh extracted, with its own loader, libraries and firmware. No chroot: sockets and
# files of this machine are where they are.
root=${VFU_GUEST:?the folder that setup.sh made}/sys
lib=$root/usr/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR=$lib/qemu
exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$lib:$lib/pulseaudio:$lib/blas:$lib/lapack" \
    "$root/usr/bin/qemu-system-x86_64" \
    -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L "$root/usr/lib/ipxe/qemu" "$@"
