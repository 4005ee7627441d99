#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# setup.sh - make everything the guest tests need, from this machine's own Debian mirror alone:
#
#   DIR/sys             an extracted Debian 13 with QEMU from its backports (never booted, no maintainer script run)
#   DIR/kernels/V       stock kernels: vmlinuz, config, modules and their dependencies; "default" is a link to one
#   DIR/busybox         a static busybox
#   DIR/initramfs.cpio
#
#   setup.sh [-r DIR]   DIR defaults to $VFU_GUEST_CACHE, then ${XDG_CACHE_HOME:-~/.cache}/vfu-guest
#
# Safe to run again: what is there is kept. Exit 77, with the reason as the last line of standard error, where this
# machine cannot do it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${VFU_GUEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vfu-guest}
while getopts r: o; do
    case $o in
    r) dir=$OPTARG ;;
    *) exit 2 ;;
    esac
done

say() { printf 'guest: [%3ds] %s\n' "$SECONDS" "$*" >&2; }
# What apt says matters only if it fails.
quietly() { "$@" >"$dir/.apt.log" 2>&1 </dev/null || { tail -n 20 "$dir/.apt.log" >&2; return 1; }; }
skip() { printf 'guest tests cannot be set up here: %s\n' "$*" >&2; exit 77; }

ready()
{
    [ -e "$dir/.ready" ] && [ ! "$here/setup.sh" -nt "$dir/.ready" ] && [ ! "$here/mkinitramfs.sh" -nt "$dir/.ready" ]
}
if ready; then exit 0; fi
# The lock keeps two test runs from filling one folder.
mkdir -p "$dir" 2>/dev/null || skip "cannot make $dir"
dir=$(cd "$dir" && pwd)
exec 9>"$dir/.lock" || skip "cannot write in $dir"
flock 9
if ready; then exit 0; fi

. /etc/os-release 2>/dev/null || skip "no /etc/os-release"
[ "${ID:-}" = debian ] || skip "this is ${ID:-an unknown system}, not Debian"
[ "$(dpkg --print-architecture)" = amd64 ] || skip "this is $(dpkg --print-architecture), not amd64"
export DEBIAN_FRONTEND=noninteractive

install_tools() {
    local need=() p
    for p in mmdebstrap cpio kmod xz-utils zstd binutils debian-archive-keyring; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || need+=("$p")
    done
    [ ${#need[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || skip "not root, and these packages are missing: ${need[*]}"
    say "installing ${need[*]}"
    quietly apt-get update -q || skip "apt-get update failed (no network?)"
    quietly apt-get install -y -q --no-install-recommends "${need[@]}" || skip "apt-get install ${need[*]} failed"
}

extract_system() {
    [ ! -e "$dir/sys/.done" ] || return 0
    [ "$(id -u)" = 0 ] || skip "not root, and $dir holds no extracted system yet"
    local mirror
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        grep -E '/debian/?$' | sed -n 1p) || true
    [ -n "$mirror" ] || skip "apt's sources name no Debian mirror (apt-get update has to run once)"
    say "extracting Debian 13 with QEMU"
    rm -rf "$dir/sys"
    mmdebstrap -q --variant=extract --mode=root --architectures=amd64 --components=main \
        --aptopt='APT::Install-Recommends "false"' \
        --setup-hook='mkdir -p "$1/etc/apt/preferences.d"
            printf "Package: qemu-* seabios ipxe-qemu\nPin: release n=trixie-backports\nPin-Priority: 990\n" \
                > "$1/etc/apt/preferences.d/qemu"' \
        --include=qemu-system-x86,seabios,busybox-static,linux-image-amd64 \
        trixie "$dir/sys" "deb $mirror trixie main" "deb $mirror trixie-backports main" >&2 ||
        skip "Debian 13 could not be extracted from the mirror (see above)"
    touch "$dir/sys/.done"
}

place_kernels() {
    local v k
    mkdir -p "$dir/kernels"
    for v in "$dir"/sys/boot/vmlinuz-*; do
        k=${v##*/vmlinuz-}
        if [ ! -s "$dir/kernels/$k/lib/modules/$k/modules.dep" ]; then
            say "kernel $k"
            mkdir -p "$dir/kernels/$k/lib/modules"
            cp "$v" "$dir/kernels/$k/vmlinuz"
            cp "$dir/sys/boot/config-$k" "$dir/kernels/$k/config"
            rm -rf "$dir/kernels/$k/lib/modules/$k"
            mv "$dir/sys/usr/lib/modules/$k" "$dir/kernels/$k/lib/modules/$k"
            depmod -b "$dir/kernels/$k" "$k"
        fi
        ln -sfn "$k" "$dir/kernels/default"
    done
}

install_tools
extract_system
cp -f "$dir/sys/usr/bin/busybox" "$dir/busybox"
place_kernels
"$here/mkinitramfs.sh" -r "$dir" -o "$dir/initramfs.cpio"
version=$(VFU_GUEST=$dir "$here/qemu.sh" --version) || skip "the extracted QEMU does not run"
touch "$dir/.ready"
say "ready: ${version%%$'\n'*}; kernel $(readlink "$dir/kernels/default")"
