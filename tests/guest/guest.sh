# SPDX-License-Identifier: BSD-3-Clause
# guest.sh - what the guest tests share; sourced by bash. Prints TAP.
#
# Environment (make check-guest sets it): VFU_HOST is the program under test, VFU_SRCDIR the source tree, VFU_BUILDDIR the
# build, VFU_CC a C compiler; VFU_GUEST_CACHE the folder for kernel and QEMU.
set -u
: "${VFU_SRCDIR:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}"
: "${VFU_BUILDDIR:=$VFU_SRCDIR/build}"
: "${VFU_HOST:=$VFU_BUILDDIR/vfu-host}"
guest_tools=$VFU_SRCDIR/tests/guest
guest_cases=0
guest_host_pid=
guest_boot_pid=

guest_end()
{
    [ -z "$guest_host_pid" ] || kill "$guest_host_pid" 2>/dev/null
    [ -z "$guest_boot_pid" ] || kill "$guest_boot_pid" 2>/dev/null
    rm -rf "$guest_work"
}

# Everything that can be missing is looked for here; what is missing is said, and the test is skipped.
guest_begin()
{
    local status
    export VFU_GUEST=${VFU_GUEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/vfu-guest}
    guest_work=$(mktemp -d "${TMPDIR:-/tmp}/vfu-guest.XXXXXX") || exit 99
    trap guest_end EXIT
    trap 'exit 143' INT TERM
    "$guest_tools/setup.sh" -r "$VFU_GUEST" 2>"$guest_work/setup.log"
    status=$?
    cat "$guest_work/setup.log" >&2
    if [ $status = 77 ]; then
        echo "1..0 # SKIP $(tail -n 1 "$guest_work/setup.log")"
        exit 77
    fi
    if [ $status != 0 ]; then
        echo "Bail out! tests/guest/setup.sh failed"
        exit 99
    fi
}

# guest_case ok|not_ok TEXT
guest_case()
{
    guest_cases=$((guest_cases + 1))
    if [ "$1" = ok ]; then echo "ok $guest_cases - $2"; else echo "not ok $guest_cases - $2"; fi
}

# guest_compile SOURCE: a static program that runs in the guest, in the work folder, named as its source
guest_compile()
{
    local name
    name=$(basename "$1" .c)
    # shellcheck disable=SC2086  # the compiler may come with flags
    ${VFU_CC:-cc} -std=gnu11 -D_GNU_SOURCE= -O2 -static -Wall -Wextra -o "$guest_work/$name" "$guest_tools/$1" || {
        echo "Bail out! tests/guest/$1 does not compile"
        exit 99
    }
}

# guest_host PLUGIN [KEY=VALUE]...: start the host, with its socket at $guest_socket
guest_host()
{
    local i
    guest_socket=$guest_work/device.sock
    : >"$guest_work/host.log"
    "$VFU_HOST" --plugin "$@" --socket-path "$guest_socket" </dev/null >>"$guest_work/host.log" 2>&1 &
    guest_host_pid=$!
    for ((i = 0; i < 200; i++)); do
        [ ! -S "$guest_socket" ] || return 0
        kill -0 "$guest_host_pid" 2>/dev/null || break
        sleep .05
    done
    return 1
}

# guest_run LABEL BOOT-ARGUMENT...: boot, count the guest's cases under LABEL, then stop the host and look how it ends
guest_run()
{
    local label=$1 line status bad=0
    shift
    "$guest_tools/boot.sh" -s "$guest_socket" "$@" >"$guest_work/output" 2>&1
    status=$?
    while IFS= read -r line; do
        case $line in
        "ok - "*) guest_case ok "$label: ${line#ok - }" ;;
        "not ok - "*) guest_case not_ok "$label: ${line#not ok - }"; bad=1 ;;
        "Bail out!"*) guest_case not_ok "$label: $line"; bad=1 ;;
        *) printf '# %s\n' "$line" ;;
        esac
    done <"$guest_work/output"
    [ "$status" = 0 ] || { [ $bad = 1 ] || guest_case not_ok "$label: the guest's script ends with status $status"; bad=1; }
    kill -TERM "$guest_host_pid" 2>/dev/null
    wait "$guest_host_pid"
    status=$?
    guest_host_pid=
    if [ $status = 0 ] && [ ! -e "$guest_socket" ]; then
        guest_case ok "$label: the host ends cleanly and takes its socket away"
    else
        guest_case not_ok "$label: the host ends with status $status"
        bad=1
    fi
    [ $bad = 0 ] || sed 's/^/# host: /' "$guest_work/host.log"
}

# guest_start BOOT-ARGUMENT...: boot in the background; its console is read by guest_until
guest_start()
{
    rm -f "$guest_work/console" "$guest_work/qemu.pid"
    mkfifo "$guest_work/console"
    "$guest_tools/boot.sh" -i "$guest_work/qemu.pid" -s "$guest_socket" "$@" >"$guest_work/console" 2>&1 &
    guest_boot_pid=$!
    exec {guest_console}<"$guest_work/console"
}

# guest_until PATTERN [SECONDS]: lines of the console, up to one that the (bash) pattern fits; 1 if none comes
guest_until()
{
    local line
    while IFS= read -r -t "${2:-60}" -u "$guest_console" line; do
        printf '# %s\n' "$line"
        # shellcheck disable=SC2053  # a pattern
        [[ $line != $1 ]] || return 0
    done
    return 1
}

# guest_kill: SIGKILL to the QEMU of guest_start, whatever it does
guest_kill()
{
    local status
    # never "kill 0", which would end the test and all it has started
    if [ -s "$guest_work/qemu.pid" ]; then
        kill -KILL "$(cat "$guest_work/qemu.pid")"
        status=$?
    else
        echo "# QEMU has written no process id"
        status=1
        kill "$guest_boot_pid"
    fi
    guest_stop
    return $status
}

# guest_stop: the end of guest_start, which has ended or is ended; 0 if the guest's script did so with 0
guest_stop()
{
    local status
    cat <&"$guest_console" >/dev/null
    exec {guest_console}<&-
    wait "$guest_boot_pid" 2>/dev/null
    status=$?
    guest_boot_pid=
    return $status
}

# guest_hammer LABEL: a client that does its worst, for VFU_HAMMER_SECONDS; what it leaves behind is for the guest that
# comes then. What it has touched and the log has said is forgotten.
guest_hammer()
{
    if "$VFU_BUILDDIR/vfu-client" "$guest_socket" hammer "${VFU_HAMMER_SECONDS:-3}" >"$guest_work/output" 2>&1; then
        guest_case ok "$1: the host answers correctly after it has been hammered"
    else
        guest_case not_ok "$1: the host answers correctly after it has been hammered"
        sed 's/^/# /' "$guest_work/output"
    fi
    "$VFU_BUILDDIR/vfu-client" "$guest_socket" coverage reset >/dev/null 2>&1
    : >"$guest_work/host.log"
}

# guest_met_nothing LABEL: by the coverage that the host has noted in $guest_work/coverage.json
guest_met_nothing()
{
    if grep -q '"unmodelled": *\[' "$guest_work/coverage.json" &&
        ! grep '"unmodelled": *\[' "$guest_work/coverage.json" | grep -qv '"unmodelled": *\[\]'; then
        guest_case ok "$1: the drivers have touched nothing that is not there"
    else
        guest_case not_ok "$1: the drivers have touched nothing that is not there"
        grep -A 20 '"unmodelled"' "$guest_work/coverage.json" | sed 's/^/# /'
    fi
    rm -f "$guest_work/coverage.json"
}

# guest_quiet LABEL [PATTERN]...: the host, which has ended, has nothing to say of the drivers: no access that met nothing, no
# mistake, no error. What a (grep) pattern fits is explained where it is given.
guest_quiet()
{
    local label=$1 pattern
    shift
    grep -e ': the driver ' -e 'guest error' -e 'error:' "$guest_work/host.log" >"$guest_work/met"
    for pattern; do
        grep -v -e "$pattern" "$guest_work/met" >"$guest_work/rest"
        mv "$guest_work/rest" "$guest_work/met"
    done
    if [ -s "$guest_work/met" ]; then
        guest_case not_ok "$label: no access met nothing, and nothing was wrong"
        sed 's/^/# host: /' "$guest_work/met"
    else
        guest_case ok "$label: no access met nothing, and nothing was wrong"
    fi
}

# guest_failed LABEL: the host did not come up
guest_failed()
{
    guest_case not_ok "$1: the host comes up"
    sed 's/^/# host: /' "$guest_work/host.log"
    kill "$guest_host_pid" 2>/dev/null
    wait "$guest_host_pid"
    guest_host_pid=
}

guest_done()
{
    echo "1..$guest_cases"
}
