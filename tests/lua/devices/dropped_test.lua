-- SPDX-License-Identifier: BSD-3-Clause
local t = require "vfu.test"

local function asserted(dut) return dut.config:u16(0x06) & 8 ~= 0 end -- PCI 3.0, 6.2.3: the status register's interrupt bit

t.test("a bit that falls while one rises that is lost", { irq = "intx" }, function(dut)
  t.no(asserted(dut))
  dut.regs.LEVEL.value = 1
  t.ok(asserted(dut))
  dut.regs.LEVEL.value = 2
  t.no(asserted(dut))
  dut.regs.LEVEL.value = 3
  t.no(asserted(dut))
  dut.regs.LEVEL.value = 0
  t.no(asserted(dut))
end)
