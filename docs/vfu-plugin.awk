# SPDX-License-Identifier: BSD-3-Clause
# vfu-plugin.awk - the reference part of vfu-plugin(3) from vfu/plugin.h, so that it has every struct, member and constant:
# a titled comment is a section, a struct a subsection, a comment over members or behind one what it says of them. Any awk.

function trim(s)
{
    gsub(/[ \t\n]+/, " ", s)
    sub(/^ /, "", s)
    sub(/ $/, "", s)
    return s
}

# Escapes; \001 stands for a paragraph's end, \002 for an item of a list.
function roff(s,    part, n, i, out)
{
    gsub(/\\/, "\\e", s)
    gsub(/-/, "\\-", s)
    gsub(/\001[ \002]*/, "\001", s)
    gsub(/\001/, "\n.sp\n", s)
    gsub(/\002/, "\n.br\n", s)
    n = split(s, part, "\n")
    for (i = 1; i <= n; i++) {
        sub(/^ +/, "", part[i])
        if (part[i] ~ /^[.']/ && part[i] != ".sp" && part[i] != ".br")
            part[i] = "\\&" part[i]
        out = out (i > 1 ? "\n" : "") part[i]
    }
    return out
}

# The text of a comment without its marks.
function bare(s)
{
    sub(/^[ \t]*\/\*+/, "", s)
    sub(/\*\/[ \t]*$/, "", s)
    gsub(/\n[ \t]*\* ?/, "\n", s)
    while (match(s, /\n  ? ?[^ \n][^ \n]*( [^ \n]+)*  +[^ ]/) && substr(s, RSTART + 1, 2) == "  ")
        s = substr(s, 1, RSTART - 1) "\002" substr(s, RSTART + 1)
    gsub(/\n[ \t]*\n/, "\001", s)
    return trim(s)
}

function paragraph(s)
{
    if (s != "")
        print ".PP\n" roff(s)
}

# The members or constants collected so far, with what is said of all and of each.
function flush(    i)
{
    if (count == 0) {
        if (!in_struct)
            paragraph(said)
        said = in_struct ? said : ""
        return
    }
    for (i = 1; i <= count; i++) {
        print (i == 1 ? ".TP" : ".TQ") "\n\\fB" roff(entry[i]) "\\fR"
    }
    if (said != "")
        print roff(said)
    else if (note[1] == "")
        print "\\&"
    for (i = 1; i <= count; i++) {
        if (note[i] != "" && count == 1)
            print roff(note[i])
        else if (note[i] != "")
            print ".br\n\\fI" name_of(entry[i]) "\\fR: " roff(note[i])
    }
    count = 0
    said = ""
}

function name_of(s)
{
    if (match(s, /\(\*[a-z_0-9]+\)/))
        return substr(s, RSTART + 2, RLENGTH - 3)
    sub(/;$/, "", s)
    sub(/.*[ *]/, "", s)
    return s
}

function add(what, about)
{
    # what has words of its own and stands in no group stands alone
    if (said == "")
        flush()
    entry[++count] = what
    note[count] = about
    if (said == "")
        flush()
}

function section(s)
{
    print ".SH \"" toupper(roff(s)) "\""
    family = ""
}

function define(line,    name, value, about, group, at)
{
    about = ""
    at = index(line, "/*")
    if (at > 0) {
        about = bare(substr(line, at))
        line = substr(line, 1, at - 1)
    }
    line = trim(substr(line, 9))
    name = substr(line, 1, index(line, " ") - 1)
    value = substr(line, index(line, " ") + 1)
    if (name !~ /^VFU_/ || name ~ /\(/ || name == "VFU_EXPORT")
        return
    group = name
    if (match(substr(name, 5), /_/))
        group = substr(name, 1, 4 + RSTART)
    if (group != family && said == "")
        flush()
    if (group != family && after_struct) {
        print ".SS \"" group (group ~ /_$/ ? "*" : "") "\""
        paragraph(said)
        said = ""
    }
    family = group
    after_struct = 0
    # one comment before one constant is about that one; before several it is a heading
    if (said != "" && about != "" && count == 0) {
        paragraph(said)
        said = ""
    }
    if (said != "" && about != "" && count > 0 && note[count] == "")
        flush()
    gsub(/UINT(32|64)_C/, "", value)
    gsub(/\(1\)/, "1", value)
    if (value ~ /^\(.*\)$/)
        value = substr(value, 2, length(value) - 2)
    if (value ~ /^[(0-9]/)
        gsub(/u/, "", value)
    add(name " = " value, about)
}

function flush_all()
{
    flush()
    family = ""
}

/^#ifndef VFU_PLUGIN_H/ { started = 1 }
!started { next }
/---- conveniences ----/ { exit }

# Whole comments and whole declarations, which may take several lines.
{
    line = $0
    while (line ~ /\/\*/ && line !~ /\*\//) {
        if ((getline more) <= 0)
            break
        line = line "\n" more
    }
}
line ~ /^#define .*\\$/ {
    while (line ~ /\\$/ && (getline line) > 0)
        continue
    next
}
line ~ /^#define VFU_/ { define(line); next }
line ~ /^#/ || line ~ /^extern/ { next }
line ~ /^\/\* ---- / {
    flush_all()
    sub(/^\/\* -+ /, "", line)
    sub(/ -+ \*\/$/, "", line)
    section(line)
    after_struct = 0
    next
}
line ~ /^[ \t]*\/\*/ && line ~ /\*\/[ \t]*$/ {
    flush()
    said = bare(line)
    next
}
line ~ /^struct vfu_[a-z_]+ \{$/ {
    held = said
    said = ""
    flush_all()
    in_struct = 1
    sub(/ \{$/, "", line)
    print ".SS \"" line "\""
    paragraph(held)
    next
}
line == "};" {
    flush()
    in_struct = 0
    after_struct = 1
    family = ""
    next
}
trim(line) == "" {
    flush_all()
    next
}
in_struct || /^VFU_EXPORT/ {
    about = ""
    at = index(line, "/*")
    if (at > 0) {
        about = bare(substr(line, at))
        line = substr(line, 1, at - 1)
    }
    while (line !~ /;[ \t]*$/ && (getline more) > 0)
        line = line " " more
    line = trim(line)
    sub(/^VFU_EXPORT /, "", line)
    add(line, about)
}
