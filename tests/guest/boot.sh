#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# boot.sh - boot a stock Debian kernel in QEMU with vfio-user devices, run a script in it, print its console and exit
# with the script's status: 124 is the time limit, 125 that no status came (QEMU failed, the guest crashed).
#
#   boot.sh [options] [-s SOCKET]... SCRIPT [ARGUMENT]...
#
#   -s SOCKET[,JSON]  a vfio-user device; JSON is more of its properties, e.g. '"x-no-posted-writes":true'
#                     the n-th (from 0) is at 0000:00:(10+n, hex).0 and has the id vfu<n>
#   -P                each device behind a pcie-root-port of its own (hot-plug; bus numbers vary)
#   -f FILE:NAME      put FILE into the guest as /NAME, executable
#   -a kvm|tcg        accelerator (tcg)               -m MIB    memory (256)
#   -c N              CPUs (1)                        -t SECS   time limit (60)
#   -M q35|pc         machine (q35)                   -k KERNEL a folder of kernels/ (default)
#   -I                an IOMMU that remaps interrupts, without which x86 gives no device more than one MSI
#   -n                private guest memory: no fd comes with DMA_MAP, so DMA goes by messages
#   -H DIR            a folder of this machine, at /share in the guest
#   -C                load modules for every PCI device by alias first
#   -A STRING         more kernel command line        -x STRING more QEMU arguments (split at blanks)
#   -q PATH           QMP socket                      -T PATTERN QEMU trace events, to trace.log (-l)
#   -l DIR            keep console.log, qemu.log, trace.log there
#   -i FILE           QEMU writes its process id there
#   -p                power off by ACPI, so that QEMU takes its devices down in order
#   -r                a reset lets the guest boot again, instead of ending QEMU
#   -v                kernel messages on the console
#   -w SECS           wait so long for the sockets (10)
#
# SCRIPT starts with #!/bin/sh; "-" reads it from standard input. VFU_GUEST is the folder that setup.sh made.
set -u
here=$(cd "$(dirname "$0")" && pwd)
export VFU_GUEST=${VFU_GUEST:-${VFU_GUEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vfu-guest}}
sockets=() files=() accel=tcg memory=256 cpus=1 limit=60 machine=q35 kernel=default share=on
folder= remap= coldplug= append= extra= qmp= trace= logs= pidfile= poweroff= reboot=-no-reboot verbose= ports= wait=10
while getopts s:Pf:a:m:c:t:M:k:nIH:CA:x:q:T:l:i:prvw: o; do
    case $o in
    s) sockets+=("$OPTARG") ;;
    P) ports=1 ;;
    f) files+=("$OPTARG") ;;
    a) accel=$OPTARG ;;
    m) memory=$OPTARG ;;
    c) cpus=$OPTARG ;;
    t) limit=$OPTARG ;;
    M) machine=$OPTARG ;;
    k) kernel=$OPTARG ;;
    n) share=off ;;
    I) remap=1 ;;
    H) folder=$OPTARG ;;
    C) coldplug=1 ;;
    A) append=$OPTARG ;;
    x) extra=$OPTARG ;;
    q) qmp=$OPTARG ;;
    T) trace=$OPTARG ;;
    l) logs=$OPTARG ;;
    i) pidfile=$OPTARG ;;
    p) poweroff=1 ;;
    r) reboot= ;;
    v) verbose=1 ;;
    w) wait=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || { sed -n '3,/^set/{s/^# \?//p}' "$0" >&2; exit 2; }

work=$(mktemp -d "${TMPDIR:-/tmp}/vfu-boot.XXXXXX")
qemu=
trap 'rm -rf "$work"' EXIT
trap '[ -n "$qemu" ] && kill "$qemu" 2>/dev/null; exit 143' INT TERM
if [ -n "$logs" ]; then mkdir -p "$logs"; else logs=$work; fi

# The script and its files ride in a second archive behind the prebuilt one.
mkdir "$work/payload"
if [ "$1" = - ]; then cat; else cat "$1"; fi >"$work/payload/payload" || exit 2
shift
printf '%s\n' "$*" >"$work/payload/payload.args"
for f in ${files[@]+"${files[@]}"}; do
    cp "${f%%:*}" "$work/payload/${f#*:}" || exit 2
done
chmod 755 "$work/payload"/*
(cd "$work/payload" && find . -type f | cpio -o -H newc -R 0:0 --quiet) >"$work/payload.cpio"
cat "$VFU_GUEST/initramfs.cpio" "$work/payload.cpio" >"$work/initrd" || exit 125

cmdline="console=ttyS0 panic=-1 tsc=reliable no_timer_check nokaslr mitigations=off cryptomgr.notests"
cmdline+=" rcupdate.rcu_expedited=1"
if [ -n "$verbose" ]; then cmdline+=" loglevel=7"; else cmdline+=" quiet loglevel=2"; fi
[ -z "$poweroff" ] || cmdline+=" guest.poweroff"
[ -z "$coldplug" ] || cmdline+=" guest.coldplug"
[ -z "$folder" ] || cmdline+=" guest.share"

# DMA is not the IOMMU's business here.
[ -z "$remap" ] || append="intel_iommu=off $append"
options="vmport=off,hpet=off,usb=off"
[ "$machine" != q35 ] || options+=",smm=off,sata=off"
ram="memory-backend-memfd,id=mem,size=${memory}M,share=on"
[ "$share" = on ] || ram="memory-backend-ram,id=mem,size=${memory}M"
args=(-machine "$machine,memory-backend=mem,$options" -object "$ram" -smp "$cpus"
    -nodefaults -no-user-config -display none -vga none ${reboot:+"$reboot"} -rtc base=utc
    -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=1
    -kernel "$VFU_GUEST/kernels/$kernel/vmlinuz" -initrd "$work/initrd" -append "$cmdline $append")
case $accel in
kvm) args+=(-accel kvm -cpu host) ;;
tcg) args+=(-accel tcg,tb-size=256 -cpu qemu64) ;;
*) exit 2 ;;
esac
# Devices look for their IOMMU when they are made, so it comes first.
[ -z "$remap" ] || args+=(-device intel-iommu,intremap=on,caching-mode=on)
[ -z "$folder" ] || args+=(-virtfs "local,path=$folder,mount_tag=share,security_model=none")
[ -z "$qmp" ] || args+=(-qmp "unix:$qmp,server=on,wait=off")
[ -z "$pidfile" ] || args+=(-pidfile "$pidfile")
[ -z "$trace" ] || args+=(-trace "$trace" -D "$logs/trace.log")

n=0
for s in ${sockets[@]+"${sockets[@]}"}; do
    path=${s%%,*} properties=
    [ "$path" = "$s" ] || properties=",${s#*,}"
    for ((i = 0; i < wait * 20; i++)); do
        [ -S "$path" ] && break
        sleep .05
    done
    [ -S "$path" ] || { echo "boot.sh: no socket $path" >&2; exit 125; }
    slot=$(printf '%x' $((16 + n)))
    place="\"addr\":\"$slot.0\""
    if [ -n "$ports" ]; then
        args+=(-device "pcie-root-port,id=rp$n,chassis=$((n + 1)),slot=$n,addr=$slot.0")
        place="\"bus\":\"rp$n\""
    fi
    args+=(-device "{\"driver\":\"vfio-user-pci\",\"id\":\"vfu$n\",$place,\"socket\":{\"type\":\"unix\",\"path\":\"$(realpath "$path")\"}$properties}")
    n=$((n + 1))
done

mkfifo "$work/console"
# shellcheck disable=SC2086  # -x is split on purpose
timeout -k 2 "$limit" "$here/qemu.sh" "${args[@]}" $extra </dev/null >"$work/console" 2>"$logs/qemu.log" &
qemu=$!
# SeaBIOS clears the screen; the console's last such line is cut off.
sed -u 's/\r//g' <"$work/console" | tee "$logs/console.log" | sed -u '/^##GUEST-/d; s/^.*\x1b\[?7l//; /^\x1bc/d'
wait "$qemu"
status=$?
qemu=
[ ! -s "$logs/qemu.log" ] || sed 's/^/qemu: /; 41,$d; 40s/$/ [more in qemu.log, see -l]/' "$logs/qemu.log" >&2
result=$(sed -n 's/^.*##GUEST-EXIT \([0-9]*\)##.*/\1/p' "$logs/console.log" | tail -n 1)
[ -z "$result" ] || exit "$result"
case $status in
124 | 137) echo "boot.sh: time limit of $limit s" >&2; exit 124 ;;
*) echo "boot.sh: no status from the guest (QEMU exit $status)" >&2; exit 125 ;;
esac
