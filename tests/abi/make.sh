# SPDX-License-Identifier: BSD-3-Clause
# make.sh - what update.sh writes and header.test compares, from the records of header.awk in FOLDER/records.
# To be sourced, in the top folder of the source, with CC set; CC may be two words.

make_layout() # FOLDER
{
    awk -f tests/abi/layout.awk "$1/records" >"$1/layout.c"
    $CC -std=c11 -Isdk/include -o "$1/layout" "$1/layout.c" || return 1
    echo '/* SPDX-License-Identifier: BSD-3-Clause */'
    echo '/* layout.h - made by update.sh from vfu/plugin.h: see layout.c. */'
    "$1/layout"
}

make_rust() # FOLDER
{
    awk -f tests/abi/rust.awk "$1/records"
}

# A struct that no function takes is invisible to libabigail: each gets one.
make_anchors() # FOLDER
{
    {
        echo '#include <vfu/plugin.h>'
        awk -F'\t' '$1 == "struct" { print "VFU_EXPORT void anchor_" $2 "(struct " $2 " *p);"
                                     print "void anchor_" $2 "(struct " $2 " *p) { (void)p; }" }' "$1/records"
    } >"$1/anchors.c"
    headers=$PWD/sdk/include
    # from inside, so that the dump names no folder of this machine
    (cd "$1" && $CC -std=c11 -g -O0 -fPIC -shared -I"$headers" -o anchors.so anchors.c)
}
