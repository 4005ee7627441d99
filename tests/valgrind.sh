#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# valgrind.sh - runs test programs under valgrind's memcheck: those of tests/unit themselves, of the others the hosts
# that they start. An invalid access, a use of what was never set, a leak, or a descriptor that is open at the end fails.
# Its files are in ./valgrind. VALGRIND_JOBS (2) run at a time. Exit status 77: left out, there is no valgrind.
#
# Left out for good: test_fault moves the stack away under its signal handler, which valgrind cannot follow;
# test_transport counts on the numbers of descriptors, of which valgrind has some for itself; test_host counts what a
# device does in a time that is too short here.
set -u

left_out="tests/unit/test_fault tests/unit/test_transport tests/unit/test_host"
# A handler that makes a faulting access good needs every register to be exact at each access.
options="-q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,indirect --track-fds=yes"
options="$options --vex-iropt-register-updates=allregs-at-mem-access --num-callers=24"
here=$(pwd)

# What valgrind itself has to say about the kernel is no finding; a descriptor is one unless it was there before.
findings()
{
    cat "$@" /dev/null | sed 's/^[=-][=-]*[0-9]*[=-][=-] *//' | awk '
        /WARNING: unhandled/ { skip = 5 }
        skip > 0 { skip--; next }
        /^FILE DESCRIPTORS:/ || /^$/ { next }
        /^Open / { open = $0; next }
        open != "" { if ($0 !~ /<inherited from parent>/) { print open; print }; open = ""; next }
        { print }'
}

one()
{
    name=$1
    out=$here/valgrind/$(basename "$name")
    rm -f "$out".*
    case $name in
    tests/unit/*)
        timeout -k 5 120 valgrind $options --log-file="$out.%p.log" "./$name" >"$out.out" 2>&1 </dev/null
        ;;
    *)
        VFU_VALGRIND_LOG=$out.%p.log VFU_VALGRIND_OPTIONS=$options VFU_VALGRIND_HOST=$VFU_HOST \
            VFU_HOST=$here/valgrind/host VFU_SANITIZERS=valgrind \
            timeout -k 5 240 "./$name" >"$out.out" 2>&1 </dev/null
        ;;
    esac
    status=$?
    findings "$out".*.log >"$out.findings"
    if [ $status -eq 0 ] && [ ! -s "$out.findings" ]; then
        echo "PASS: valgrind $name"
        return 0
    fi
    grep -e FAILED -e LINE -e ERROR -e 'not ok' "$out.out" | head -n 10
    head -n 60 "$out.findings"
    echo "FAIL: valgrind $name: exit status $status, see valgrind/"
    return 1
}

if [ "${1-}" = --one ]; then
    one "$2"
    exit
fi
if ! command -v valgrind >/dev/null; then
    echo "valgrind is not installed"
    exit 77
fi
case ${VFU_SANITIZERS:-no} in
no) ;;
*)
    echo "this build has sanitizers ($VFU_SANITIZERS) of its own, which valgrind cannot run"
    exit 77
    ;;
esac
mkdir -p valgrind
cat >valgrind/host <<'EOF'
#!/bin/sh
exec valgrind $VFU_VALGRIND_OPTIONS --log-file="$VFU_VALGRIND_LOG" "$VFU_VALGRIND_HOST" "$@"
EOF
chmod +x valgrind/host
for name in "$@"; do
    case " $left_out " in
    *" $name "*) ;;
    *) echo "$name" ;;
    esac
done | xargs -P "${VALGRIND_JOBS:-2}" -n 1 sh "$0" --one
