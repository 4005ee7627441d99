-- SPDX-License-Identifier: BSD-3-Clause
-- What the stock driver does: it reads what can be told, and writes what has happened.
local t = require "vfu.test"

t.test("it is the device", function(dut)
  t.eq(dut.config:u32(0), 0x00111b36)
  t.eq(dut.regs.EVENT.value, 7)
end)

for bits, names in pairs({ [1] = "panicked", [2] = "crash_loaded", [4] = "shutdown" }) do
  t.test("it reports " .. names, function(dut)
    dut.regs.EVENT.value = bits
    t.eq(dut.regs.EVENT.value, 7)
    t.match(dut:log(), "report: " .. names)
  end)
end

t.test("bits that mean nothing report nothing", function(dut)
  dut.regs.EVENT.value = 0xf8
  t.no(dut:log():find("report", 1, true))
end)

t.test("it goes on in another process", function(dut)
  dut.regs.EVENT.value = 1
  local other = t.device()
  other:load(dut:save(true))
  t.eq(other.regs.EVENT.value, 7)
  other.regs.EVENT.value = 2
  t.match(other:log(), "report: crash_loaded")
  t.no(other:log():find("panicked", 1, true))
end)
