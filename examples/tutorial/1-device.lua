-- SPDX-License-Identifier: BSD-3-Clause
local vfu = require "vfu"

local adder = vfu.device("adder", {
  doc = "adds up bytes of guest memory",
  pci = { vendor = 0x1234, device = 0xadd0, class = 0xff0000 },
})

return adder
