#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# tests.sh - 1,000 small device tests, each with a host of its own: what "vfu-client test" takes for them, per device and
# altogether. With --quick a tenth of them.
: "${VFU_HOST:?make testbench sets it}" "${VFU_CLIENT:?}" "${VFU_SRCDIR:?}"
count=1000
[ "$1" != --quick ] || count=100
work=$(mktemp -d "${TMPDIR:-/tmp}/vfu-bench.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cores=$(nproc)

write() # FILE DEVICE BODY
{
    {
        echo 'local t = require "vfu.test"'
        echo "t.device(\"$2\")"
        echo "for i = 1, $count do"
        echo "  t.test(\"test \" .. i, function(dut) $3 end)"
        echo 'end'
    } >"$work/$1_test.lua"
}
write lua "$VFU_SRCDIR/examples/edu.lua" 'dut.regs.LIVE.value = i; t.eq(dut.regs.LIVE.value, ~i & 0xffffffff)'
write c edu 'dut.regs.LIVE.value = i; t.eq(dut.regs.LIVE.value, ~i & 0xffffffff)'
write irq "$VFU_SRCDIR/examples/edu.lua" 'dut.regs.RAISE.value = 1; t.ok(dut:wait_irq(0, 5))'
write dma "$VFU_SRCDIR/examples/hasher.lua" 'local m = dut:memory(0, 4096); m:fill(i & 255); dut.regs.LEN.value = 4096;
    dut.regs.CTRL.GO = true; t.eventually(function() return not dut.regs.STATUS.BUSY end, 5); t.ne(dut.regs.HASH.value, 0)'

row() # NAME FILE JOBS
{
    start=$(date +%s.%N)
    "$VFU_CLIENT" test --jobs "$3" "$work/$2_test.lua" >"$work/out" </dev/null || { cat "$work/out"; exit 1; }
    date +%s.%N | awk -v start="$start" -v n="$count" -v name="$1" -v jobs="$3" -v asked="$4" \
        '{ s = $1 - start; printf "| %d tests: %s | %d | %.2f s | %.2f ms | %s |\n", n, name, jobs, s, s * 1000 / n, asked }'
}
echo '| work | jobs | time | a test | asked |'
echo '| --- | ---: | ---: | ---: | --- |'
asked="30 s on two cores"
[ "$count" = 1000 ] || asked=
row "a script, two accesses" lua "$cores" "$asked"
row "a script, two accesses" lua 1
row "a plugin in C, two accesses" c "$cores" "$asked"
row "an interrupt" irq "$cores" "$asked"
row "DMA of 4 KiB" dma "$cores" "$asked"
