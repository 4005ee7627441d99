-- SPDX-License-Identifier: BSD-3-Clause
local t = require "vfu.test"

-- A hook that sleeps when it is saved begins anew, for all of its time: the alarm of the first sleep is not the second's.
for name, before in pairs { SLEEP = 0, EVENT = 1 } do
  t.test("a sleep that is saved: " .. name, function(dut)
    t.advance(0)
    dut.regs[name].value = 10
    t.advance(before + 9)
    t.eq(dut.regs.STATE.value, 100)
    local other = t.device()
    other:load(dut:save(true))
    other:advance(9.5)
    t.eq(other.regs.STATE.value, 200)
    other:advance(1)
    t.eq(other.regs.STATE.value, 201)
    other:advance(100)
    t.eq(other.regs.STATE.value, 201, "the timer was cancelled")
  end)
end

t.test("a timer that is cancelled by the hook it calls", function(dut)
  t.advance(0)
  dut.regs.EVENT.value = 5
  t.advance(100)
  t.eq(dut.regs.STATE.value, 101)
end)

t.test("a vector that there is not is a guest error", function(dut)
  for _, vector in ipairs { 2, 0xff, 0x7fffffff } do
    dut.regs.VECTOR.value = vector
    t.eq(dut.regs.STATE.value, 1)
  end
  t.match(dut:log(), "guest error: interrupt vector 2 is raised, and the device has 0 to 1")
  t.match(dut:log(), "guest error: interrupt vector %-1 is raised")
  t.ok(not dut:log():find("plugin fault", 1, true))
end)
