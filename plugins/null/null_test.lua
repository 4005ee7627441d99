-- SPDX-License-Identifier: BSD-3-Clause
-- Nothing but config space.
local t = require "vfu.test"

t.test("config space", function(dut)
  t.eq(dut.config:u32(0), 0x7e001234)
  t.eq(dut.config:u16(0x0a), 0xff00)
  for bar = 0, 5 do t.eq(dut:region("bar" .. bar).size, 0) end
  dut.config:u32(0x10, -1)
  t.eq(dut.config:u32(0x10), 0, "no BAR takes an address")
end)

t.test("no interrupts, no registers", function(dut)
  t.eq(dut.irq_kind, nil)
  t.raises(function() dut:wait_irq() end, "no interrupt is armed")
  t.raises(function() return dut.regs.ANY end, "no register ANY")
end)
