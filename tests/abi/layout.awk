# SPDX-License-Identifier: BSD-3-Clause
# layout.awk - from the records of header.awk to a program that prints tests/abi/layout.c. Any awk.
BEGIN {
    FS = "\t"
    print "#include <stdio.h>"
    print "#include <vfu/plugin.h>"
    print "int main(void)"
    print "{"
}
$1 == "struct" { print "    printf(\"\\nSIZE(%s, %zu);\\n\", \"" $2 "\", sizeof(struct " $2 "));" }
$1 == "member" {
    print "    printf(\"AT(%s, %s, %zu, %zu);\\n\", \"" $2 "\", \"" $3 "\", offsetof(struct " $2 ", " $3 "), sizeof(((struct " $2 " *)0)->" $3 "));"
}
$1 == "define" && $3 !~ /^"/ && $2 !~ /^VFU_ABI_/ { print "    printf(\"IS(%s, 0x%llx);\\n\", \"" $2 "\", (unsigned long long)(" $2 "));" }
END {
    print "    return 0;"
    print "}"
}
