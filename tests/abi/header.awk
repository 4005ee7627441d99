# SPDX-License-Identifier: BSD-3-Clause
# header.awk - reads vfu/plugin.h and prints what it publishes, one record a line, fields apart by tabs:
#     define NAME VALUE
#     struct NAME
#     member STRUCT NAME TYPE        TYPE as in C; of a function pointer RETURN(*)(ARGUMENTS), of an array TYPE[N]
# It knows the header's own way of writing, not C: a form that it does not know is an error, so that nothing is missed.
# Any awk.

function trim(s)
{
    gsub(/[ \t\n]+/, " ", s)
    sub(/^ /, "", s)
    sub(/ $/, "", s)
    return s
}

# "const char *name" and its like: the name in `word`, what stands before it returned.
function cut_name(s)
{
    if (!match(s, /[A-Za-z_][A-Za-z0-9_]*$/)) {
        print "header.awk: cannot read \"" s "\" in struct " inside >"/dev/stderr"
        bad = 1
        exit 1
    }
    word = substr(s, RSTART)
    return trim(substr(s, 1, RSTART - 1))
}

function member(text,    i, n, part, type, array, open)
{
    text = trim(text)
    if (text == "")
        return
    if (text ~ /\(\*[a-z_0-9]+\)\(/) {
        open = index(text, "(*")
        type = trim(substr(text, 1, open - 1))
        text = substr(text, open + 2)
        word = substr(text, 1, index(text, ")") - 1)
        print "member\t" inside "\t" word "\t" type "(*)" substr(text, index(text, ")") + 1)
        return
    }
    n = split(text, part, ",")
    for (i = 1; i <= n; i++) {
        array = ""
        part[i] = trim(part[i])
        if (match(part[i], /\[[0-9]+\]$/)) {
            array = substr(part[i], RSTART)
            part[i] = substr(part[i], 1, RSTART - 1)
        }
        if (i == 1)
            type = cut_name(part[i])
        else
            cut_name(part[i])
        print "member\t" inside "\t" word "\t" type array
    }
}

{ text = text $0 "\n" }

END {
    if (bad)
        exit 1
    while ((at = index(text, "/*")) > 0) {
        rest = substr(text, at + 2)
        out = out substr(text, 1, at - 1) " "
        text = substr(rest, index(rest, "*/") + 2)
    }
    out = out text
    gsub(/\\\n/, " ", out)
    lines = split(out, line, "\n")
    for (l = 1; l <= lines; l++) {
        s = trim(line[l])
        if (s ~ /^#define VFU_[A-Z0-9_]+ / && s !~ /^#define VFU_EXPORT /) {
            s = substr(s, 9)
            print "define\t" substr(s, 1, index(s, " ") - 1) "\t" substr(s, index(s, " ") + 1)
        } else if (s ~ /^struct vfu_[a-z_]+ \{$/) {
            inside = substr(s, 8, length(s) - 9)
            print "struct\t" inside
            body = ""
        } else if (inside != "" && s == "};") {
            n = split(body, one, ";")
            for (m = 1; m <= n; m++)
                member(one[m])
            inside = ""
        } else if (inside != "")
            body = body " " s
    }
}
