-- SPDX-License-Identifier: BSD-3-Clause
-- The plugin does what the script does.
require("vfu.test").include("../../examples/virtio-rng_test.lua")
