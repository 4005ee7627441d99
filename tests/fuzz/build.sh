#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# build.sh - builds the fuzzers in ./fuzz with clang, ASan and UBSan; what is newer than its source is left alone.
# From make: FUZZ_SOURCES (of core/), JANSSON_CFLAGS, JANSSON_LIBS, VFU_LIBS, srcdir. FUZZ_CC names another clang.
# Exit status 77, with a word about it: there is no clang here, or it cannot fuzz.
set -eu

srcdir=${srcdir:-.}
sources=${FUZZ_SOURCES:-$(cd "$srcdir" && echo core/*.c core/*/*.c)}
flags="-std=gnu11 -D_GNU_SOURCE= -g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all"
flags="$flags -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wvla -Wwrite-strings"
flags="$flags -I$srcdir -I$srcdir/sdk/include ${JANSSON_CFLAGS:-}"
sanitize="-fsanitize=address,undefined"

skip()
{
    echo "fuzzers left out: $*" >&2
    exit 77
}

cc=${FUZZ_CC:-}
for candidate in clang-14 clang clang-19 clang-18 clang-17 clang-16 clang-15; do
    test -n "$cc" || ! command -v "$candidate" >/dev/null 2>&1 || cc=$candidate
done
test -n "$cc" || skip "no clang. On Debian: apt-get install clang libclang-rt-14-dev"
mkdir -p fuzz/obj
echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d && n ? 0 : 0; }' >fuzz/obj/try.c
"$cc" -fsanitize=fuzzer,address,undefined fuzz/obj/try.c -o fuzz/obj/try 2>fuzz/obj/try.log ||
    skip "$cc has no fuzzer runtime (see fuzz/obj/try.log). On Debian: apt-get install libclang-rt-14-dev"

# Everything is built anew where a header has changed: it is half a minute.
newest=$(cd "$srcdir" && ls -t core/*.h core/*/*.h sdk/include/vfu/*.h tests/fuzz/*.h tests/unit/virtio_rig.h tests/fuzz/build.sh | head -n 1)

# object SOURCE FLAGS...: its object's name, compiled if need be
object()
{
    source=$1
    shift
    object=fuzz/obj/$(echo "$source" | tr / -).o
    if [ ! -e "$object" ] || [ "$srcdir/$source" -nt "$object" ] || [ "$srcdir/$newest" -nt "$object" ]; then
        "$cc" $flags $sanitize -fsanitize=fuzzer-no-link "$@" -c "$srcdir/$source" -o "$object.new" >&2
        mv "$object.new" "$object"
    fi
    echo "$object"
}

# Everything but what the harness stands in for; the clock is the script's.
core=
for source in $sources; do
    case $source in
    *.h | core/main.c | core/skeleton.c | core/base/log.c) ;;
    *)
        one=$(object "$source" -Dclock_gettime=fuzz_clock_gettime -DVFU_PLUGIN_DIR='"/nonexistent"')
        core="$core $one"
        ;;
    esac
done
for source in tests/fuzz/host.c tests/fuzz/synthetic.c plugins/edu/edu.c; do
    one=$(object "$source")
    core="$core $one"
done

# harness NAME MAIN SOURCE...
harness()
{
    name=$1 main=$2
    shift 2
    own=
    for source; do
        one=$(object "$source")
        own="$own $one"
    done
    "$cc" $sanitize $main -Wl,--wrap=plugin_load,--wrap=plugin_load_private $own $core -o "fuzz/$name" \
        ${JANSSON_LIBS:--ljansson} ${VFU_LIBS:--lpthread}
}

harness session -fsanitize=fuzzer tests/fuzz/session.c tests/fuzz/client.c tests/fuzz/mutate.c tests/fuzz/template.c
harness control "-fsanitize=fuzzer -Wl,--wrap=poll" tests/fuzz/control.c
harness image -fsanitize=fuzzer tests/fuzz/image.c
harness text -fsanitize=fuzzer tests/fuzz/text.c
harness ring -fsanitize=fuzzer tests/fuzz/ring.c tests/unit/virtio_rig.c
harness seeds -fsanitize=fuzzer-no-link tests/fuzz/seeds.c tests/fuzz/template.c
