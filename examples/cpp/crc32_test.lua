-- SPDX-License-Identifier: BSD-3-Clause
-- The engine computes what the standard's check value says.
local t = require "vfu.test"

local WINDOW = 0x800
local CHECK = 0xcbf43926 -- of "123456789"

t.test("the window reads zero", function(dut) t.eq(dut:read("bar0", WINDOW), 0) end)

t.test("in pieces, up to the limit and past it", { params = { limit = 6 } }, function(dut)
  local r = dut.regs
  t.eq(r.LIMIT.value, 6)
  r.CONTROL.START = true
  dut:write("bar0", WINDOW, 0x34333231)
  dut:write("bar0", WINDOW + 4, 0x35, 1)
  t.eq(r.COUNT.value, 5)
  t.eq(r.STATUS.LIMIT, false)
  r.MASK.LIMIT = true
  dut:write("bar0", WINDOW + 6, 0x3736, 2)
  t.eq(r.COUNT.value, 7)
  t.eq(r.STATUS.LIMIT, true)
  t.ok(dut:wait_irq(0, 5))
  dut:write("bar0", 0xffe, 0x3938, 2)
  t.eq(r.CRC.value, CHECK)
  r.MASK.LIMIT = false
  t.eq(dut.config:u16(6) & 8, 0, "masked")
  r.MASK.LIMIT = true
  t.eq(dut.config:u16(6) & 8, 8, "and not")
  r.STATUS.LIMIT = true
  t.eq(dut.config:u16(6) & 8, 0, "acknowledged")
end)

t.test("START begins anew", function(dut)
  dut:write("bar0", WINDOW, 0x77)
  dut.regs.CONTROL.START = true
  t.eq(dut.regs.CRC.value, 0)
  dut:write("bar0", WINDOW, 0x3837363534333231, 8)
  dut:write("bar0", WINDOW, 0x39, 1)
  t.eq(dut.regs.CRC.value, CHECK)
end)

t.test("a reset", { params = { limit = 6 } }, function(dut)
  dut.regs.LIMIT.value = 9
  dut:write("bar0", WINDOW, 0x77)
  dut:reset()
  t.eq(dut.regs.CRC.value, 0)
  t.eq(dut.regs.LIMIT.value, 6)
end)

t.test("half of the data, and the rest in another process", function(dut)
  dut.regs.CONTROL.START = true
  dut:write("bar0", WINDOW, 0x34333231)
  local other = t.device()
  other:load(dut:save(true))
  t.eq(other.regs.COUNT.value, 4)
  other:write("bar0", WINDOW, 0x38373635)
  other:write("bar0", WINDOW, 0x39, 1)
  t.eq(other.regs.CRC.value, CHECK)
end)
