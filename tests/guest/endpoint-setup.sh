#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# endpoint-setup.sh - build what Debian leaves out: the kernel's pci_endpoint_test module and its test program pcitest,
# from Debian's own source of the guest's kernel, with its headers and its compiler.
#
#   DIR/endpoint/V/pci_endpoint_test.ko, DIR/endpoint/V/pcitest
#
#   endpoint-setup.sh [-r DIR]   the folder that setup.sh has made
#
# Safe to run again: what is there is kept. Exit 77, with the reason as the last line of standard error, where this
# machine cannot do it.
set -euo pipefail
dir=${VFU_GUEST:-}
while getopts r: o; do
    case $o in
    r) dir=$OPTARG ;;
    *) exit 2 ;;
    esac
done

skip() { printf 'pci_endpoint_test cannot be built here: %s\n' "$*" >&2; exit 77; }
say() { printf 'guest: [%3ds] %s\n' "$SECONDS" "$*" >&2; }

kernel=$(readlink "$dir/kernels/default") || skip "${dir:-(no folder)} has no kernel; setup.sh makes one"
out=$dir/endpoint/$kernel
[ ! -e "$out/.done" ] || exit 0
exec 9>"$dir/.lock" || skip "cannot write in $dir"
flock 9
[ ! -e "$out/.done" ] || exit 0
[ "$(id -u)" = 0 ] || skip "not root, and $out is not there yet"
source=$(sed -n 's/^deb \([^ ]*\) \([^ ]*\) main$/\1 \2/p' "$dir/sys/etc/apt/sources.list" | head -n 1)
[ -n "$source" ] || skip "$dir/sys does not say which mirror it is from"
base=linux-source-$(expr "$kernel" : '\([0-9]*\.[0-9]*\)')

# setup.sh brings these; a cache that came from elsewhere may be without.
if ! { command -v mmdebstrap && command -v xz && command -v strip; } >/dev/null; then
    say "installing mmdebstrap, xz-utils and binutils"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -q && apt-get install -y -q --no-install-recommends mmdebstrap xz-utils binutils; } \
        >"$dir/.apt.log" 2>&1 </dev/null || skip "mmdebstrap, xz-utils and binutils cannot be installed"
fi

work=$(mktemp -d "$dir/endpoint.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root
say "building pci_endpoint_test for $kernel"
mmdebstrap -q --variant=extract --mode=root --architectures=amd64 --components=main \
    --aptopt='APT::Install-Recommends "false"' \
    --include="linux-headers-$kernel,$base,gcc-14,libc6-dev,make" \
    --include="bash,dash,coreutils,sed,grep,findutils,diffutils,mawk" \
    "${source#* }" "$root" "deb ${source% *} ${source#* } main" >"$work/log" 2>&1 ||
    { tail -n 5 "$work/log" >&2; skip "no packages for $kernel (too old? an empty $dir brings a newer one)"; }

# Unpacked packages only: what their scripts would have linked is linked here.
for name in bin lib lib64 sbin; do
    [ -e "$root/$name" ] || ln -s "usr/$name" "$root/$name"
done
[ -e "$root/usr/bin/awk" ] || ln -s mawk "$root/usr/bin/awk"
mkdir "$root/module"
xz -dc "$root/usr/src/$base.tar.xz" | tar -xf - -C "$root/module" --strip-components=3 \
    "$base/drivers/misc/pci_endpoint_test.c" "$base/tools/pci/pcitest.c" || skip "$base lacks the driver or its program"
echo 'obj-m := pci_endpoint_test.o' >"$root/module/Makefile"
chroot "$root" /usr/bin/make -s -C "/usr/src/linux-headers-$kernel" M=/module modules >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; skip "the module does not compile"; }
chroot "$root" /usr/bin/gcc-14 -O2 -static -o /module/pcitest /module/pcitest.c >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; skip "pcitest does not compile"; }
strip -g "$root/module/pci_endpoint_test.ko"
rm -rf "$out"
mkdir -p "$out"
cp "$root/module/pci_endpoint_test.ko" "$root/module/pcitest" "$out/"
touch "$out/.done"
say "built"
