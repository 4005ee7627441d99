#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# soak.sh - a long run of one fuzzer: soak.sh [HARNESS [SECONDS [JOBS]]] (session, 3600, 1), in the build directory,
# with srcdir set if that is elsewhere. JOBS processes at a time share what they find; each that finds a fault ends, and
# its input stays as fuzz/HARNESS-crash-*. At the end: how many inputs were run, and what was found.
set -eu

srcdir=${srcdir:-.}
harness=${1:-session} seconds=${2:-3600} jobs=${3:-1}
here=$(cd "$srcdir/tests/fuzz" && pwd)

sh "$here/build.sh"
mkdir -p fuzz/start fuzz/start/ring fuzz/start/control "fuzz/found/$harness" fuzz/soak
./fuzz/seeds fuzz/start
cd fuzz/soak
rm -f fuzz-*.log
status=0
nice -n 19 "../$harness" -jobs="$jobs" -workers="$jobs" -max_total_time="$seconds" -max_len=4096 -timeout=10 \
    -rss_limit_mb=2048 -close_fd_mask=2 -print_final_stats=1 -reload=30 -dict="$here/$harness.dict" \
    -artifact_prefix="../$harness-" "../found/$harness" "../start/$harness" "$here/corpus/$harness" \
    >"$harness.log" 2>&1 || status=$?
cat fuzz-*.log | awk -v name="$harness" -v seconds="$seconds" '
    /^stat::number_of_executed_units/ { runs += $2 }
    / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:" && $(i + 1) + 0 > cov) cov = $(i + 1) + 0 }
    /^artifact_prefix/ { found++; print }
    END { print name ": " runs + 0 " executions in " seconds " s, " cov + 0 " edges covered, " found + 0 " faults" }'
exit $status
