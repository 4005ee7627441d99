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

t.test("a write on its way arrives in another device", function(dut)
  t.advance(0)
  dut.regs.LIVE.value = 0x55
  local other = t.device()
  other:advance(0)
  other:load(dut:save(true))
  t.eq(other.regs.LIVE.value, 0)
  other:advance(0.011)
  t.eq(other.regs.LIVE.value, 0xffffffaa)
end)
