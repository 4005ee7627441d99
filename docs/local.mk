# SPDX-License-Identifier: BSD-3-Clause
# The manual pages.

dist_man_MANS += docs/vfu-capabilities.7 docs/vfu-client.1 docs/vfu-control.7 docs/vfu-host.1
nodist_man_MANS += docs/vfu-plugin.3
EXTRA_DIST += docs/ffi.md docs/faults.md docs/filter.md docs/building.md docs/vfu-plugin.3.in docs/vfu-plugin.awk
CLEANFILES += docs/vfu-plugin.3

# The reference part is the header's own words.
docs/vfu-plugin.3: docs/vfu-plugin.3.in docs/vfu-plugin.awk sdk/include/vfu/plugin.h Makefile
	$(AM_V_GEN)$(MKDIR_P) docs && \
	{ $(SED) '/^@REFERENCE[@]$$/,$$d; s|@VERSION[@]|$(PACKAGE_VERSION)|' $(srcdir)/docs/vfu-plugin.3.in && \
	  $(AWK) -f $(srcdir)/docs/vfu-plugin.awk $(srcdir)/sdk/include/vfu/plugin.h && \
	  $(SED) '1,/^@REFERENCE[@]$$/d' $(srcdir)/docs/vfu-plugin.3.in; } >$@.tmp && mv $@.tmp $@
EXTRA_DIST += docs/devices/i6300esb.md docs/devices/pvpanic.md docs/devices/serial-16550.md
EXTRA_DIST += docs/client.md docs/testdev.md
EXTRA_DIST += docs/bring-up.md docs/testdev.md
EXTRA_DIST += docs/testdev.md docs/testing.md
EXTRA_DIST += docs/virtio.md docs/devices/virtio-rng.md
EXTRA_DIST += docs/devices/pci-endpoint-test.md
EXTRA_DIST += docs/grading.md
EXTRA_DIST += docs/devices/bochs-display.md docs/images/bochs-display.png
