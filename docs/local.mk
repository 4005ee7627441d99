# SPDX-License-Identifier: BSD-3-Clause
# The manual pages.

dist_man_MANS += docs/vfu-client.1 docs/vfu-host.1
