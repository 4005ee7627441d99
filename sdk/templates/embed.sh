#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# embed.sh FILE... - core/templates.c on standard output: the skeletons' files as arrays. A file's folder is its language.
set -eu
echo '/* SPDX-License-Identifier: BSD-3-Clause */'
echo '/* templates - the files of vfu-host --new, made from sdk/templates by embed.sh. Constants. */'
echo '#include "core/skeleton.h"'
n=0
table=
for file; do
    n=$((n + 1))
    lang=$(basename "$(dirname "$file")")
    name=$(basename "$file")
    printf '\nstatic const unsigned char file%d[] = {\n' "$n"
    od -An -v -tx1 "$file" | sed 's/[0-9a-f][0-9a-f]/0x&,/g'
    echo '};'
    table="$table    { \"$lang\", \"$name\", file$n, sizeof file$n },
"
done
printf '\nconst struct skeleton_file skeleton_files[] = {\n%s    { 0 },\n};\n' "$table"
