-- SPDX-License-Identifier: BSD-3-Clause
-- A write to LIVE arrives after `delay`, and other registers are answered meanwhile.
local t = require "vfu.test"

t.test("a write arrives late", function(dut)
  t.advance(0)
  dut.regs.LIVE.value = 0x55
  t.eq(dut.regs.LIVE.value, 0)
  t.eq(dut.regs.ID.value, 0x010000ed)
  t.advance(0.011)
  t.eq(dut.regs.LIVE.value, 0xffffffaa)
end)
