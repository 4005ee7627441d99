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
