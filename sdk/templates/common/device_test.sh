#!/bin/sh
# @NAME@_test.sh - starts the device in a vfu-host of its own and uses it as a driver would. No virtual machine needed.
# VFU_HOST and VFU_CLIENT name other programs than the installed ones.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
if [ -z "$VFU_SOCKET" ]; then
    folder=$(mktemp -d "${TMPDIR:-/tmp}/@NAME@.XXXXXX") || exit 1
    trap 'rm -rf "$folder"' EXIT
    VFU_DEVICE_TEST=$here/@NAME@_test.sh
    export VFU_DEVICE_TEST
    "${VFU_HOST:-vfu-host}" --plugin "$here/@PLUGIN@" --socket-path "$folder/socket" --run 'sh "$VFU_DEVICE_TEST"'
    exit $?
fi

client() { "${VFU_CLIENT:-vfu-client}" "$VFU_SOCKET" "$@"; }
failed=0
is() # WHAT VALUE EXPECTED
{
    if [ -n "$2" ] && [ $(($2)) -eq $(($3)) ]; then
        echo "ok - $1"
    else
        echo "not ok - $1: got '$2', expected $3"
        failed=1
    fi
}
rang() { is "$1" "$(client read bar0 4)" "$2"; }
# the interrupt status bit of PCI's status register
interrupt() { is "$1" $(($(client read config 6 2) >> 3 & 1)) "$2"; }

is "vendor id" "$(client read config 0 2)" 0x1234
rang "no alarm at first" 0
interrupt "no interrupt at first" 0

client write bar0 0 1000
i=0
while [ $(($(client read bar0 4) & 1)) -eq 0 ] && [ $i -lt 200 ]; do
    sleep 0.02
    i=$((i + 1))
done
rang "the alarm goes off" 1
is "and is counted" "$(client read bar0 8)" 1
interrupt "the interrupt is asserted" 1

client write bar0 4 1
rang "writing 1 takes it back" 0
interrupt "and the interrupt" 0

client write bar0 0 1000000000
client write bar0 0 0
client write bar0 8 7
is "COUNT is read-only" "$(client read bar0 8)" 1
client reset
is "a reset clears COUNT" "$(client read bar0 8)" 0
exit $failed
