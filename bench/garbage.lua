-- SPDX-License-Identifier: BSD-3-Clause
-- For luabench: so many live objects, and a write hook that leaves garbage behind each time.
local vfu = require "vfu"

local dev = vfu.device("garbage", {
  pci    = { vendor = 0x1234, device = 0x6a4b },
  params = {
    live = { 0, min = 0, max = 1000000, doc = "objects that live as long as the device" },
    each = { 1000, min = 1, max = 1000000, doc = "how many of them a table holds" },
  },
})
dev:bar(0, { size = 4096 }, {
  vfu.reg("WORK", 0x04, 4), vfu.reg("CHANGE", 0x08, 4), vfu.reg("LOOK", 0x0c, 4), vfu.reg("PLAIN", 0x90, 8),
})

-- The collector looks at a table in one go.
local live = {}
for i = 1, dev.params.live do
  local k = i // dev.params.each + 1
  live[k] = live[k] or {}
  table.insert(live[k], { i })
end

function dev.write:WORK(v)
  local list = {}
  for i = 1, 16 do list[i] = { v, live[i] } end
  return #list + v
end

function dev.write:CHANGE(v) self.PLAIN.value = self.PLAIN.value + v end
function dev.read:LOOK(v) return v end

return dev
