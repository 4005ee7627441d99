# SPDX-License-Identifier: BSD-3-Clause
# rust.awk - from the records of header.awk to sdk/templates/rust/vfu.rs: the same names and the same layout. Any awk.
BEGIN {
    FS = "\t"
    base["void"] = "c_void"; base["char"] = "c_char"; base["double"] = "f64"
    base["uint8_t"] = "u8"; base["uint16_t"] = "u16"; base["uint32_t"] = "u32"; base["uint64_t"] = "u64"
    base["int32_t"] = "i32"; base["int64_t"] = "i64"
    raw["type"] = "r#type"; raw["match"] = "r#match"; raw["fn"] = "r#fn"; raw["self"] = "self_"
    print "// SPDX-License-Identifier: BSD-3-Clause"
    print "//"
    print "// vfu.rs - vfu/plugin.h for Rust: the same names and the same layout. Made from the header, which says what"
    print "// everything means. Strings are bytes with a NUL at the end. Plain core, no crates."
    print "#![allow(non_camel_case_types, dead_code)]"
    print ""
    print "use std::os::raw::{c_char, c_void};"
    print ""
    print "/// A table that never changes, with pointers in it: what the plugin hands to the host."
    print "#[repr(transparent)]"
    print "pub struct Table<T>(pub T);"
    print "unsafe impl<T> Sync for Table<T> {}"
    print ""
    print "/// The pointer to a string of the host's: c(b\"name\\0\")."
    print "pub const fn c(text: &'static [u8]) -> *const c_char {"
    print "    text.as_ptr() as *const c_char"
    print "}"
    print ""
    print "/// The host knows what is in it."
    print "#[repr(C)]"
    print "pub struct vfu_stream {"
    print "    hidden: [u8; 0],"
    print "}"
}

function trim(s)
{
    sub(/^ +/, "", s)
    sub(/ +$/, "", s)
    return s
}

function fail(what)
{
    print "rust.awk: cannot say " what " in Rust" >"/dev/stderr"
    failed = 1
    exit 1
}

# A type without a name: words, then stars.
function plain(type,    stars, front, is_const, rust)
{
    front = type
    sub(/\*.*/, "", front)
    stars = substr(type, length(front) + 1)
    front = trim(front)
    is_const = sub(/^const /, "", front)
    if (sub(/^struct /, "", front))
        rust = front
    else if (front in base)
        rust = base[front]
    else
        fail("\"" type "\"")
    while (stars ~ /\*/) {
        rust = (is_const ? "*const " : "*mut ") rust
        sub(/^[^*]*\*/, "", stars)
        is_const = stars ~ /^ *const/
    }
    return rust
}

# Arguments: what stands between commas that are in no brackets; only types are kept.
function arguments(text,    i, ch, depth, one, out)
{
    for (i = 1; i <= length(text) + 1; i++) {
        ch = substr(text, i, 1)
        if (ch == "(") depth++
        if (ch == ")") depth--
        if (ch == "" || (ch == "," && depth == 0)) {
            one = trim(one)
            if (one ~ /\(\*/)
                sub(/\(\*[a-z_]+\)/, "(*)", one)
            else
                sub(/[a-z_0-9]+$/, "", one)
            out = out (out == "" ? "" : ", ") rust_type(trim(one))
            one = ""
        } else
            one = one ch
    }
    return out
}

function rust_type(type,    at, result, inner)
{
    at = index(type, "(*)(")
    if (at > 0) {
        result = trim(substr(type, 1, at - 1))
        inner = substr(type, at + 4)
        sub(/\)$/, "", inner)
        return "Option<unsafe extern \"C\" fn(" arguments(inner) ")" (result == "void" ? "" : " -> " plain(result)) ">"
    }
    if (match(type, /\[[0-9]+\]$/)) {
        inner = substr(type, RSTART + 1, RLENGTH - 2)
        return "[" plain(substr(type, 1, RSTART - 1)) "; " inner "]"
    }
    return plain(type)
}

function close_struct()
{
    if (open_struct == "")
        return
    print "}"
    print "impl " open_struct " {"
    print "    pub const ZERO: Self = unsafe { core::mem::transmute([0u8; core::mem::size_of::<Self>()]) };"
    print "}"
    open_struct = ""
}

$1 == "define" {
    type = "u32"
    value = $3
    if (value ~ /^"/) {
        type = "&[u8]"
        value = "b" substr(value, 1, length(value) - 1) "\\0\""
    } else {
        if (value ~ /UINT64_C/) type = "u64"
        if (value ~ /^[0-9]+$/) type = "i32"
        gsub(/UINT(32|64)_C\(/, "(", value)
        value = unsuffixed(value)
        if (value ~ /^\(.*\)$/)
            value = substr(value, 2, length(value) - 2)
        sub(/^\(1\)/, "1", value)
    }
    defines = defines "pub const " $2 ": " type " = " value ";\n"
}

# 1u is 1
function unsuffixed(s,    out)
{
    while (match(s, /[0-9a-f]u/)) {
        out = out substr(s, 1, RSTART)
        s = substr(s, RSTART + 2)
    }
    return out s
}

$1 == "struct" {
    close_struct()
    open_struct = $2
    print ""
    print "#[repr(C)]"
    print "#[derive(Clone, Copy)]"
    print "pub struct " $2 " {"
}

$1 == "member" { print "    pub " ($3 in raw ? raw[$3] : $3) ": " rust_type($4) "," }

END {
    if (failed)
        exit 1
    close_struct()
    print ""
    printf "%s", defines
}
