-- SPDX-License-Identifier: BSD-3-Clause
-- pvpanic-pci: one byte that a guest writes to when it panics. Linux drives it with pvpanic-pci (docs/devices/pvpanic.md).
local vfu = require "vfu"
local EVENTS = { "panicked", "crash_loaded", "shutdown" } -- bits 0, 1, 2

local dev = vfu.device("pvpanic", { pci = { vendor = 0x1b36, device = 0x0011, revision = 1, class = 0x088000 } })
dev:bar(0, { size = 16, sizes = { 1 } }, { vfu.reg("EVENT", 0, 1, { reset = 7, doc = "reads what can be told" }) })

function dev.write:EVENT(bits, supported)
  for i, name in ipairs(EVENTS) do
    if bits >> i - 1 & 1 == 1 then self:report(name, nil, { fatal = name == "panicked" }) end
  end
  return supported
end

return dev
