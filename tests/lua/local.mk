# SPDX-License-Identifier: BSD-3-Clause
# Tests of the Lua binding. They are added to check_PROGRAMS and TESTS.
