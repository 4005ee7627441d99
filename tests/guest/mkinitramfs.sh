#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# mkinitramfs.sh - a small busybox initramfs with modules of a stock Debian kernel, what they depend on, and a modprobe
# that finds them.
#
#   mkinitramfs.sh -r DIR -o OUT [-k KERNEL] [-m MODULE]...
#
#   -k KERNEL   a folder of DIR/kernels (default: the one that "default" points to)
#   -m MODULE   one more module; "-m none" drops the usual ones
set -euo pipefail
dir= kernel= out= more=
modules="gpio-pci-idio-16 8250_exar nvme virtio_pci virtio_blk virtio_net virtio_rng virtio_console
 virtio_input e1000 e1000e igb 8139cp 8139too ne2k-pci pcnet32 ahci ata_piix sd_mod sdhci-pci mmc_block
 snd-hda-intel snd-ens1370 snd-intel8x0 i2c-i801 i2c-dev i2c-piix4 uio_pci_generic pci-stub
 xhci-pci ehci-pci uhci-hcd i6300esb evdev 9p 9pnet_virtio vfio-pci parport_serial pvpanic-pci bochs cirrus"
while getopts r:o:k:m: o; do
    case $o in
    r) dir=$OPTARG ;;
    o) out=$OPTARG ;;
    k) kernel=$OPTARG ;;
    m) if [ "$OPTARG" = none ]; then modules=; else more+=" $OPTARG"; fi ;;
    *) exit 2 ;;
    esac
done
[ -n "$dir" ] && [ -n "$out" ] || { sed -n 's/^# \?//; 3,10p' "$0" >&2; exit 2; }
[ -n "$kernel" ] || kernel=$(readlink "$dir/kernels/default")
from=$dir/kernels/$kernel/lib/modules/$kernel
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
to=$root/lib/modules/$kernel
mkdir -p "$root"/{bin,sbin,proc,sys,dev,tmp,run,mnt,etc,lib} "$to"
cp "$dir/busybox" "$root/bin/busybox"
for applet in $("$dir/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done

# The modules and all that they depend on: modules.dep already lists the whole closure of each.
awk -v want="$modules $more" -v missing="$work/missing" '
    function key(p) { sub(/.*\//, "", p); sub(/\.ko.*/, "", p); gsub(/-/, "_", p); return p }
    {
        f = $1
        sub(/:$/, "", f)
        path[key(f)] = f
        for (i = 2; i <= NF; i++) dep[key(f)] = dep[key(f)] " " $i
    }
    END {
        printf "" >missing
        n = split(want, w, " ")
        for (i = 1; i <= n; i++) {
            k = w[i]
            gsub(/-/, "_", k)
            if (!(k in path)) { print w[i] >missing; continue }
            out[path[k]] = 1
            m = split(dep[k], d, " ")
            for (j = 1; j <= m; j++) out[d[j]] = 1
        }
        for (p in out) print p
    }' "$from/modules.dep" >"$work/modules"
while read -r p; do
    mkdir -p "$to/$(dirname "$p")"
    case $p in
    *.xz) xz -dc "$from/$p" >"$to/${p%.xz}" ;;
    *.zst) zstd -qdc "$from/$p" >"$to/${p%.zst}" ;;
    *) cp "$from/$p" "$to/$p" ;;
    esac
done <"$work/modules"
find "$to" -name '*.ko' -exec strip -g {} + 2>/dev/null || true
cp "$from"/modules.{builtin,order,builtin.modinfo} "$to/" 2>/dev/null || true
depmod -b "$root" "$kernel"
rm -f "$to"/*.bin
# A module that is not there may be built in.
while read -r m; do
    grep -q "/${m//[-_]/[-_]}\.ko" "$from/modules.builtin" 2>/dev/null || echo "guest: kernel $kernel has no module $m" >&2
done <"$work/missing"

cat >"$root/init" <<'INIT'
#!/bin/busybox sh
# Mounts what a script expects, runs /payload with its arguments, tells its status on the console and ends the machine.
export PATH=/bin:/sbin HOME=/ TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts 2>/dev/null
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/mounts /etc/mtab
hostname guest
ip link set lo up
for o in $(cat /proc/cmdline); do
    case $o in
    guest.share)
        modprobe -a 9pnet_virtio 9p 2>/dev/null
        mkdir -p /share
        mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /share ;;
    guest.coldplug)
        for m in $(cat /sys/bus/pci/devices/*/modalias); do modprobe -q -b "$m"; done ;;
    esac
done
echo "##GUEST-START $(cut -d' ' -f1 /proc/uptime)##"
status=127
if [ -x /payload ]; then
    /payload $(cat /payload.args 2>/dev/null) </dev/null
    status=$?
fi
sync
echo "##GUEST-EXIT $status##"
# isa-debug-exit ends QEMU at once where the kernel lets us at the port; power off is slower.
grep -q guest.poweroff /proc/cmdline ||
    { [ -c /dev/port ] && printf '\001' | dd of=/dev/port bs=1 seek=244 count=1 2>/dev/null; }
poweroff -f
sleep 5
reboot -f
INIT
chmod 755 "$root/init"
mknod -m 600 "$root/dev/console" c 5 1 2>/dev/null || true
(cd "$root" && find . -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc -R 0:0 --quiet) >"$out.tmp"
mv "$out.tmp" "$out"
