#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# summary.sh DIRECTORY... - add up the test results that lie in these builds; the last line is
# "N passed, N failed, N skipped". Every failure and every skip is named. Exit 1 if anything failed or nothing ran.
find "$@" -name '*.trs' -type f -not -path '*/_build/*' | sort | awk '
    {
        file = $0
        test = file
        sub(/\.trs$/, "", test)
        while ((getline line <file) > 0) {
            if (line !~ /^:test-result: /)
                continue
            split(line, word, " ")
            what = line
            sub(/^:test-result: [A-Z]* ?/, "", what)
            if (word[2] == "PASS" || word[2] == "XFAIL") passed++
            else if (word[2] == "SKIP") { skipped++; print "skipped: " test ": " what }
            else { failed++; print "failed: " test ": " what }
        }
        close(file)
    }
    END {
        printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
        exit (failed > 0 || passed == 0)
    }'
