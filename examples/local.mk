# SPDX-License-Identifier: BSD-3-Clause
# Device models in Lua, one file each, with its test beside it.

EXAMPLES = \
	examples/bochs-display.lua \
	examples/bochs-display_test.lua \
	examples/edu.lua \
	examples/edu_test.lua \
	examples/gpio-idio-16.lua \
	examples/gpio-idio-16_test.lua \
	examples/i6300esb.lua \
	examples/i6300esb_test.lua \
	examples/pci-endpoint-test.lua \
	examples/pci-endpoint-test_test.lua \
	examples/pvpanic.lua \
	examples/pvpanic_test.lua \
	examples/hasher.lua \
	examples/serial-16550.lua \
	examples/serial-16550_test.lua \
	examples/hasher_test.lua \
	examples/testdev.lua \
	examples/virtio-rng.lua \
	examples/virtio-rng_test.lua \
	examples/testdev_test.lua
examplesdir = $(datadir)/vfu-host/examples
dist_examples_DATA = $(EXAMPLES)

# Things that go wrong: docs/faults.md. Each wraps ../edu.lua.
FAULTS = \
	examples/faults/lost-interrupt.lua \
	examples/faults/lost-interrupt_test.lua \
	examples/faults/slow-register.lua \
	examples/faults/slow-register_test.lua \
	examples/faults/third-dma.lua \
	examples/faults/third-dma_test.lua
faultsdir = $(examplesdir)/faults
dist_faults_DATA = $(FAULTS)

# What docs/tutorial.md builds, step by step.
TUTORIAL = \
	examples/tutorial/1-device.lua \
	examples/tutorial/2-registers.lua \
	examples/tutorial/3-behaviour.lua \
	examples/tutorial/4-interrupt.lua \
	examples/tutorial/5-dma.lua \
	examples/tutorial/adder_test.lua \
	examples/tutorial/driver.c \
	examples/tutorial/test.c
tutorialdir = $(examplesdir)/tutorial
dist_tutorial_DATA = $(TUTORIAL)

# What docs/filter.md runs.
filterdir = $(examplesdir)/filter
dist_filter_DATA = examples/filter/driver.c

# In other languages, built by their tests (tests/abi/local.mk).
EXTRA_DIST += examples/cpp/crc32.cpp examples/cpp/crc32_test.lua examples/rust/watchdog.rs examples/rust/watchdog_test.lua
EXTRA_DIST += examples/cpp/crc32.cpp examples/rust/watchdog.rs
EXTRA_DIST += examples/.luacheckrc

# What docs/grading.md is about.
LAB = \
	examples/lab/README.md \
	examples/lab/SPEC.in.md \
	examples/lab/SPEC.md \
	examples/lab/digest.lua \
	examples/lab/digest_test.lua \
	examples/lab/grade.awk \
	examples/lab/hidden_test.lua \
	examples/lab/skeleton.in.lua \
	examples/lab/term.lua
labdir = $(examplesdir)/lab
dist_lab_DATA = $(LAB)
dist_lab_SCRIPTS = examples/lab/grade examples/lab/handout
LAB_SAMPLES = \
	examples/lab/samples/broken.lua \
	examples/lab/samples/empty.lua \
	examples/lab/samples/hooks.lua \
	examples/lab/samples/loop.lua \
	examples/lab/samples/memory.lua \
	examples/lab/samples/native.lua \
	examples/lab/samples/partial.lua \
	examples/lab/samples/pattern.lua \
	examples/lab/samples/thief.lua
samplesdir = $(labdir)/samples
dist_samples_DATA = $(LAB_SAMPLES)
