-- SPDX-License-Identifier: BSD-3-Clause
local t = require "vfu.test"

local words = {
  "dev:report: options are a table",
  "dev:report: options are a table",
  "coroutine.yield in a hook",
  "register ARRAY has no field NOPE",
  "register ARRAY%[1%] = 0x0",
}

for i, pattern in ipairs(words) do
  t.test("mistake " .. i, function(dut)
    dut.regs.TRY.value = i
    t.eq(dut.regs.TRY.value, 0xffffffff) -- it goes on
    t.match(dut:log(), pattern)
    t.match(dut:log(), "calls.lua:%d+:")
    t.match(dut:log(), "read of TRY: .*calls.lua:%d+: the hook returned 0.5, not an integer")
  end)
end
