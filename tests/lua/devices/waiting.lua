-- SPDX-License-Identifier: BSD-3-Clause
-- Hooks that sleep, one of them called by a timer that it cancels. STATE counts what has begun (100) and ended (1).
local vfu = require "vfu"

local dev = vfu.device("waiting", { pci = { vendor = 0x1234, device = 0x0001, msix = 2 } })

dev:bar(0, { size = 64 }, {
  vfu.reg("SLEEP", 0x00, 4),
  vfu.reg("EVENT", 0x04, 4),
  vfu.reg("STATE", 0x08, 4),
  vfu.reg("VECTOR", 0x0c, 4),
})

local function sleep(self, seconds)
  self.STATE.value = self.STATE.value + 100
  vfu.sleep(seconds)
  self.STATE.value = self.STATE.value + 1
end

local timer

function dev.write:SLEEP(seconds) sleep(self, seconds) end
function dev.write:EVENT(seconds) timer = self:every(1, "tick", seconds) end
function dev.event:tick(seconds)
  if timer then timer:cancel() end
  sleep(self, seconds)
end

function dev.write:VECTOR(v)
  local ok, err = self.irq:raise(v == 0xff and -1 or v)
  self.STATE.value = ok == nil and err == "no such vector" and 1 or 0
end

return dev
