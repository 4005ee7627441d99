#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# driver.sh - automake's test driver: runs one test program and counts its cases.
#
# A program that speaks TAP (cmocka does when told to, and the shell tests do) counts case by case; any other counts as
# one by its exit status, where 77 says that it was left out. A TAP program that dies, prints fewer cases than it
# planned, or fails with every case well, is an error of its own. Each program has a time limit (VFU_TEST_LIMIT seconds).

name= log= trs= hard=yes expect=no
while [ $# -gt 0 ]; do
    case $1 in
    --test-name) name=$2; shift ;;
    --log-file) log=$2; shift ;;
    --trs-file) trs=$2; shift ;;
    --enable-hard-errors) hard=$2; shift ;;
    --expect-failure) expect=$2; shift ;;
    --color-tests) shift ;;
    --) shift; break ;;
    -*) echo "driver.sh: $1 is unknown" >&2; exit 2 ;;
    *) break ;;
    esac
    shift
done
if [ -z "$log" ] || [ -z "$trs" ] || [ $# -eq 0 ]; then
    echo "driver.sh: called without --log-file, --trs-file or a program" >&2
    exit 2
fi

limit=${VFU_TEST_LIMIT:-120}
begin=$(date +%s)
case "$VFU_SANITIZERS: $VFU_NOT_UNDER_TSAN " in
thread:*" $name "*) set -- echo "1..0 # SKIP leaves a signal handler by a jump, which the thread sanitizer cannot follow" ;;
esac
CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 5 "$limit" "$@" </dev/null >"$log" 2>&1
status=$?

awk -v name="$name" -v status="$status" -v limit="$limit" -v took="$(($(date +%s) - begin))" -v hard="$hard" -v expect="$expect" -v trs="$trs" '
function result(kind, what, shown)
{
    if (kind == "ERROR" && hard == "no")
        kind = "FAIL"
    if (expect != "no" && kind == "FAIL")
        kind = "XFAIL"
    count[kind]++
    total++
    print ":test-result: " kind (what == "" ? "" : " " what) >trs
    if (kind != "PASS" || shown)
        print kind ": " name (what == "" ? "" : ": " what)
}
{ if ($0 != "") last = $0 }
/^1\.\.0([^0-9]|$)/ { planned = 1; reason = $0; sub(/^1\.\.0[^A-Za-z]*(SKIP)?[: ]*/, "", reason); result("SKIP", reason); next }
/^1\.\.[0-9]+/ { planned = 1; split($0, part, /[.][.]|[^0-9.]/); plan += part[2]; next }
/^ok([^A-Za-z]|$)/ || /^not ok([^A-Za-z]|$)/ {
    what = $0
    sub(/^(not )?ok *[0-9]* *-* */, "", what)
    seen++
    # cmocka says "not ok # SKIP" of a case that was left out
    if ($0 ~ /# *[Ss][Kk][Ii][Pp]/) result("SKIP", what)
    else result($0 ~ /^ok/ ? "PASS" : "FAIL", what)
    next
}
/^Bail out!/ { result("ERROR", $0) }
END {
    if (status == 137 && took < limit)
        result("ERROR", "killed after " took " s")
    else if (status == 124 || status == 137)
        result("ERROR", "ended after its time limit of " limit " s")
    else if (!planned && !seen) {
        if (status == 0) result("PASS", "", 1)
        else if (status == 77) result("SKIP", last)
        else if (status == 99) result("ERROR", last)
        else result("FAIL", "exit status " status)
    } else if (planned && seen != plan)
        result("ERROR", "planned " plan " cases, ran " seen ", exit status " status)
    else if (status != 0 && status != 77 && !count["FAIL"] && !count["ERROR"] && !count["XFAIL"])
        result("ERROR", "exit status " status)
    if (seen && count["PASS"] == total)
        print "PASS: " name " (" total " cases)"
    all = count["ERROR"] ? "ERROR" : count["FAIL"] ? "FAIL" : count["XFAIL"] ? "XFAIL" : count["PASS"] ? "PASS" : "SKIP"
    print ":global-test-result: " all >trs
    print ":recheck: " (all == "PASS" || all == "SKIP" ? "no" : "yes") >trs
    print ":copy-in-global-log: " (all == "PASS" ? "no" : "yes") >trs
}' "$log"
