-- SPDX-License-Identifier: BSD-3-Clause
-- Of edu's interrupts every second one is lost, and its status register says all the same that there was one.
local t = require "vfu.test"

t.test("the second interrupt is lost", function(dut)
  for round = 1, 4 do
    dut.regs.RAISE.value = 1
    t.eq(not not dut:wait_irq(0, round % 2 == 0 and 0.05 or 1.0), round % 2 == 1)
    t.eq(dut.regs.IRQ.value, 1)
    dut.regs.ACK.value = 1
  end
end)

t.test("counting goes on in another device", function(dut)
  dut.regs.RAISE.value = 1
  t.ok(dut:wait_irq(0))
  local other = t.device()
  other:load(dut:save(true))
  t.eq(other.regs.IRQ.value, 1)
  other.regs.ACK.value = 1
  other.regs.RAISE.value = 1
  t.no(other:wait_irq(0, 0.05))
  other.regs.ACK.value = 1
  other.regs.RAISE.value = 1
  t.ok(other:wait_irq(0))
end)
