# SPDX-License-Identifier: BSD-3-Clause
# grade.awk - the reports of grade: from the reference's TAP, and a list of folders with name, reason and tap of each
# submission, to CSV, JUnit and a table. Everything in those comes from students.

function quoted(text)
{
    gsub(/[\001-\037\177]/, " ", text)
    if (text ~ /^[-=+@]/) # a spreadsheet would take it for a formula
        text = "'" text
    gsub(/"/, "\"\"", text)
    return "\"" text "\""
}

function escaped(text)
{
    gsub(/[\001-\010\013-\037\177]/, "?", text)
    gsub(/&/, "\\&amp;", text)
    gsub(/</, "\\&lt;", text)
    gsub(/>/, "\\&gt;", text)
    gsub(/"/, "\\&quot;", text)
    return text
}

# The test's name in a line of TAP: behind "ok N - FILE: ".
function test_of(line)
{
    sub(/^(not )?ok [0-9]+ - /, "", line)
    line = substr(line, index(line, "_test.lua: ") + 11)
    gsub(/\\#/, "#", line)
    gsub(/\\\\/, "\\", line)
    return line
}

function points_of(name) { return match(name, /^\[[0-9]+\] /) ? substr(name, 2, RLENGTH - 3) + 0 : 1 }

function first_line(file,    text)
{
    text = ""
    getline text <file
    close(file)
    return text
}

function read_tap(file,    line, name)
{
    split("", passed)
    split("", failure)
    name = ""
    while ((getline line <file) > 0) {
        if (line ~ /^ok /) {
            name = test_of(line)
            passed[name] = line !~ / # SKIP/
        } else if (line ~ /^not ok /) {
            name = test_of(line)
            passed[name] = 0
        } else if (line ~ /^# / && name != "" && length(failure[name]) < 2000) {
            failure[name] = failure[name] substr(line, 3) "\n"
        }
    }
    close(file)
}

function report(folder,    name, reason, i, points, result, good, well)
{
    name = first_line(folder "/name")
    reason = first_line(folder "/reason")
    read_tap(folder "/tap")
    points = good = 0
    for (i = 1; i <= n; i++) {
        well[i] = reason == "" && passed[tests[i]]
        result[i] = well[i] ? worth[i] : 0
        points += result[i]
        good += well[i]
    }
    line = quoted(name) "," points "," max
    for (i = 1; i <= n; i++)
        line = line "," result[i]
    print line "," quoted(reason) >csv
    printf "%-30s %3d of %d%s\n", shown(name), points, max, reason == "" ? "" : "  " shown(reason)
    total_failed += n - good
    suites = suites sprintf("  <testsuite name=\"%s\" tests=\"%d\" failures=\"%d\" errors=\"0\" skipped=\"0\">\n", escaped(name), n, n - good)
    suites = suites "    <properties>\n" property("points", points) property("max", max)
    if (reason != "")
        suites = suites property("reason", reason)
    suites = suites "    </properties>\n"
    for (i = 1; i <= n; i++) {
        suites = suites sprintf("    <testcase name=\"%s\" classname=\"%s\"", escaped(tests[i]), escaped(name))
        if (well[i])
            suites = suites "/>\n"
        else
            suites = suites "><failure message=\"" escaped(reason != "" ? reason : heading(failure[tests[i]])) "\">" \
                escaped(reason != "" ? reason : failure[tests[i]]) "</failure></testcase>\n"
    }
    suites = suites "  </testsuite>\n"
}

function property(name, value) { return "      <property name=\"" name "\" value=\"" escaped(value "") "\"/>\n" }

function heading(text)
{
    sub(/\n.*/, "", text)
    return text == "" ? "no result" : text
}

# On a terminal, which must not be told what to do.
function shown(text)
{
    gsub(/[\001-\037\177]/, "?", text)
    return text
}

NR == FNR {
    if (/^ok /) {
        tests[++n] = test_of($0)
        worth[n] = points_of(tests[n])
        max += worth[n]
    }
    next
}

!started {
    started = 1
    line = "name,points,max"
    for (i = 1; i <= n; i++)
        line = line "," quoted(tests[i])
    print line ",reason" >csv
}

{ folders++; report($0) }

END {
    printf "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"grade\" tests=\"%d\" failures=\"%d\" errors=\"0\" skipped=\"0\">\n%s</testsuites>\n", \
        folders * n, total_failed, suites >junit
}
