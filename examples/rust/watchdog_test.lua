-- SPDX-License-Identifier: BSD-3-Clause
-- The watchdog bites when it is not kicked.
local t = require "vfu.test"

t.test("after power-on", function(dut)
  t.eq(dut.regs.TIMEOUT.value, 1000)
  t.eq(dut.regs.LEFT.value, 0)
  t.eq(dut.regs.BITES.value, 0)
end)

t.test("TIMEOUT is locked while it runs", function(dut)
  local r = dut.regs
  r.TIMEOUT.value = 600000
  r.CONTROL.ENABLE = true
  r.TIMEOUT.value = 5
  t.eq(r.TIMEOUT.value, 600000)
  t.near(r.LEFT.value, 595000, 5000)
  r.KICK.value = 1
  r.KICK.value = 0x5a
  t.eq(r.KICK.value, 0)
  t.eq(r.STATUS.BITE, false)
  r.CONTROL.ENABLE = false
  t.eq(r.LEFT.value, 0)
  r.TIMEOUT.value = 20
  t.eq(r.TIMEOUT.value, 20)
end)

t.test("it bites, once", function(dut)
  local r = dut.regs
  r.TIMEOUT.value = 1
  r.CONTROL.value = 3
  t.ok(dut:wait_irq(0, 5))
  t.eq(r.STATUS.BITE, true)
  t.eq(r.CONTROL.value, 1, "it stops")
  t.eq(r.BITES.value, 1)
  t.eq(dut.config:u16(6) & 8, 8)
  r.CONTROL.IRQ = false
  t.eq(dut.config:u16(6) & 8, 0, "masked")
  r.CONTROL.IRQ = true
  r.STATUS.BITE = true
  t.eq(dut.config:u16(6) & 8, 0, "acknowledged")
  dut:reset()
  t.eq(r.BITES.value, 1, "sticky")
  t.eq(r.TIMEOUT.value, 1000)
end)

t.test("what is left of its time goes along to another process", function(dut)
  local other = t.device()
  t.advance(0)
  other:advance(100) -- another clock
  dut.regs.TIMEOUT.value = 600000
  dut.regs.CONTROL.value = 3
  t.advance(599)
  other:load(dut:save(true))
  t.eq(other.regs.LEFT.value, 1000)
  other:advance(0.999)
  t.eq(other.regs.STATUS.BITE, false)
  other:advance(0.001)
  t.eq(other.regs.STATUS.BITE, true)
  t.eq(other.regs.BITES.value, 1)
  t.ok(other:wait_irq(0))
end)
