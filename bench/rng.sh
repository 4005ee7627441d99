#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# rng.sh - what a stock guest reads from /dev/hwrng through our virtio-rng, beside QEMU's own in the same guest, by turns:
# the C plugin and the script, with memory that the host maps and by messages. With --quick less of it.
. "$(dirname "$0")/../tests/guest/guest.sh"
kib=4096 rounds=5
[ "${1:-}" != --quick ] || { kib=1024 rounds=2; }
guest_begin >&2
echo '| virtio-rng | memory | MiB/s | QEMU'"'"'s own, same guest | ratio of the times |'
echo '| --- | --- | ---: | ---: | ---: |'
for plugin in virtio-rng "$VFU_SRCDIR/examples/virtio-rng.lua"; do
    for memory in mapped messages; do
        private=
        [ $memory = mapped ] || private=-n
        guest_host "$plugin" || { cat "$guest_work/host.log" >&2; exit 1; }
        # ours is at 10.0 and so the first that the driver finds
        "$guest_tools/boot.sh" $private -t 300 -s "$guest_socket" \
            -x "-object rng-random,id=r,filename=/dev/urandom -device virtio-rng-pci,rng=r,addr=0x18" \
            "$VFU_SRCDIR/bench/rng.guest" $kib $rounds >"$guest_work/output" 2>&1 || { cat "$guest_work/output" >&2; exit 1; }
        kill "$guest_host_pid"
        wait "$guest_host_pid"
        guest_host_pid=
        awk -v name="$(basename "$plugin")" -v memory=$memory -v kib=$kib -v rounds=$rounds '
            $1 == "RNG" { took[$2] += $4 - $3 }
            END {
                mib = kib * rounds / 1024
                printf "| %s | %s | %.2f | %.2f | %.2f |\n", name, memory, mib / took["virtio_rng.0"], mib / took["virtio_rng.1"],
                    took["virtio_rng.0"] / took["virtio_rng.1"]
            }' "$guest_work/output"
    done
done
