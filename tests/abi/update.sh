#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# update.sh [VERSION] - after a member or a flag was added to vfu/plugin.h: makes layout.h, the header's Rust definitions
# and (with libabigail, on x86-64) vfu-plugin.abi anew. Read what git shows as changed before it is committed: lines that
# come are growth, lines that go or change break plugins that are out.
# With a VERSION, as in "update.sh 1.0", also released/VERSION/ is made anew: only until that version is released.
set -eu
cd "$(dirname "$0")/../.."
CC=${CC:-gcc}
header=sdk/include/vfu/plugin.h
work=$(mktemp -d "${TMPDIR:-/tmp}/vfu-abi.XXXXXX")
trap 'rm -rf "$work"' EXIT

awk -f tests/abi/header.awk $header >"$work/records"
. tests/abi/make.sh
make_layout "$work" >"$work/layout.h"
make_rust "$work" >"$work/vfu.rs"
mv "$work/layout.h" tests/abi/layout.h
mv "$work/vfu.rs" sdk/templates/rust/vfu.rs
if [ "$(uname -m)" = x86_64 ] && command -v abidw >/dev/null; then
    make_anchors "$work"
    abidw --no-show-locs --no-comp-dir-path --no-corpus-path --out-file tests/abi/vfu-plugin.abi "$work/anchors.so"
else
    echo "update.sh: vfu-plugin.abi is left as it was: that takes libabigail on x86-64 (apt-get install abigail-tools)" >&2
fi

[ $# = 1 ] || exit 0
released=tests/abi/released/$1
mkdir -p "$released/include/vfu"
cp $header "$released/include/vfu/plugin.h"
[ "$(uname -m)" = x86_64 ] || { echo "update.sh: the binary of $1 is made on x86-64" >&2; exit 1; }
"$CC" -std=c11 -O2 -fPIC -shared -fvisibility=hidden -fno-asynchronous-unwind-tables -I"$released/include" \
    -s -Wl,--build-id=none,-z,max-page-size=4096,-z,noseparate-code -o "$released/alarm-x86_64.so" "$released/alarm.c"
