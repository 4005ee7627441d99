#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# check.sh - builds the fuzzers and runs each for its share of FUZZ_SECONDS (60): first what earlier runs have found
# (tests/fuzz/corpus), then the seeds, then what comes of them. Everything it writes is in ./fuzz. One core.
# Exit status 77: left out, there is no clang that can fuzz.
set -eu

srcdir=${srcdir:-.}
seconds=${FUZZ_SECONDS:-60}
here=$srcdir/tests/fuzz

sh "$here/build.sh"
mkdir -p fuzz/start fuzz/start/ring fuzz/start/control
./fuzz/seeds fuzz/start

# An input has 10 s: most take a millisecond, and the machine may be busy.
limits="-max_len=4096 -timeout=10 -rss_limit_mb=2048 -close_fd_mask=2 -print_final_stats=1"

# run HARNESS SECONDS: at least one, since 0 is for ever to libFuzzer
run()
{
    set -- "$1" $(($2 > 0 ? $2 : 1))
    mkdir -p "fuzz/found/$1"
    if "./fuzz/$1" $limits -max_total_time="$2" -dict="$here/$1.dict" -artifact_prefix="fuzz/$1-" \
        "fuzz/found/$1" "fuzz/start/$1" "$here/corpus/$1" >"fuzz/$1.log" 2>&1; then
        awk -v name="$1" '/^stat::number_of_executed_units/ { runs = $2 }
            / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") cov = $(i + 1) }
            END { print "PASS: fuzz " name " (" runs " inputs, " cov " edges covered)" }' "fuzz/$1.log"
    else
        sed -n '/^fuzz: /p; /ERROR/,/artifact_prefix/p' "fuzz/$1.log" | head -n 60
        echo "FAIL: fuzz $1: see fuzz/$1.log; FUZZ_LOG=1 ./fuzz/$1 FILE runs the input again"
        return 1
    fi
}

status=0
run session $((seconds * 5 / 10)) || status=1
run image $((seconds * 2 / 10)) || status=1
run control $((seconds * 15 / 100)) || status=1
run ring $((seconds / 10)) || status=1
run text $((seconds * 5 / 100)) || status=1
exit $status
