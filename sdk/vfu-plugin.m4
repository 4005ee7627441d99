# SPDX-License-Identifier: BSD-3-Clause
# vfu-plugin.m4 - finding the SDK of vfu-host, for a configure script that builds plugins.
#
#   VFU_PLUGIN([MINIMUM-ABI], [ACTION-IF-FOUND], [ACTION-IF-NOT-FOUND])
#
# MINIMUM-ABI is MAJOR.MINOR, as in [1.0]: the same major, and at least that minor. Sets and substitutes
#   VFU_PLUGIN_CFLAGS   where vfu/plugin.h is
#   VFU_PLUGIN_DIR      where the installed host looks plugins up by name
#   VFU_PLUGIN_ABI      the interface's version, MAJOR.MINOR
# There are no libraries to link. Without ACTION-IF-NOT-FOUND a missing SDK ends configure. Needs pkg-config's pkg.m4.
AC_DEFUN([VFU_PLUGIN], [
    AC_REQUIRE([PKG_PROG_PKG_CONFIG])
    vfu_plugin_found=no
    vfu_plugin_why="pkg-config knows no vfu-plugin (install vfu-host, or set PKG_CONFIG_PATH)"
    PKG_CHECK_EXISTS([vfu-plugin], [
        VFU_PLUGIN_ABI=`$PKG_CONFIG --variable=abi_version vfu-plugin`
        vfu_plugin_want="m4_default([$1], [])"
        vfu_plugin_major=`AS_ECHO(["$VFU_PLUGIN_ABI"]) | sed 's/\..*//'`
        vfu_plugin_minor=`AS_ECHO(["$VFU_PLUGIN_ABI"]) | sed 's/.*\.//'`
        AS_IF([test -z "$vfu_plugin_want" ||
               { test "$vfu_plugin_major" -eq "`AS_ECHO(["$vfu_plugin_want"]) | sed 's/\..*//'`" &&
                 test "$vfu_plugin_minor" -ge "`AS_ECHO(["$vfu_plugin_want"]) | sed 's/.*\.//'`"; }],
            [vfu_plugin_found=yes],
            [vfu_plugin_why="the SDK has plugin ABI $VFU_PLUGIN_ABI, and $vfu_plugin_want is asked for"])
    ])
    AC_MSG_CHECKING([for the SDK of vfu-host])
    AS_IF([test "$vfu_plugin_found" = yes], [
        VFU_PLUGIN_CFLAGS=`$PKG_CONFIG --cflags vfu-plugin`
        VFU_PLUGIN_DIR=`$PKG_CONFIG --variable=plugindir vfu-plugin`
        AC_SUBST([VFU_PLUGIN_CFLAGS])
        AC_SUBST([VFU_PLUGIN_DIR])
        AC_SUBST([VFU_PLUGIN_ABI])
        AC_MSG_RESULT([plugin ABI $VFU_PLUGIN_ABI])
        $2
    ], [
        AC_MSG_RESULT([no])
        m4_default([$3], [AC_MSG_ERROR([$vfu_plugin_why])])
    ])
])
