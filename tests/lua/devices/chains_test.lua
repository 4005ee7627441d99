-- SPDX-License-Identifier: BSD-3-Clause
local t = require "vfu.test"

local BASE <const>, DATA <const> = 0x100000, 0x4000

t.test("a chain of a hook that failed", function(dut)
  local r = dut.regs
  local mem = dut:memory(BASE, 0x8000)
  r.DEVICE_STATUS.value = 3
  r.DRIVER_FEATURE_SELECT.value = 1
  r.DRIVER_FEATURE.value = 1
  r.DEVICE_STATUS.value = 11
  r.QUEUE_SELECT.value = 0
  r.QUEUE_SIZE.value = 8
  r.QUEUE_DESC.value, r.QUEUE_DRIVER.value, r.QUEUE_DEVICE.value = BASE, BASE + 0x1000, BASE + 0x2000
  r.QUEUE_ENABLE.value = 1
  r.DEVICE_STATUS.value = 15
  mem:write(0, string.pack("<I8I4I2I2", BASE + DATA, 16, 2, 0))
  for n = 1, 2 do -- the same head, so very likely the same place in the host
    mem:u16(0x1004 + 2 * (n - 1), 0)
    mem:u16(0x1002, n)
    dut:write("bar0", 0x3000, 0, 2)
    t.eventually(function() return mem:u16(0x2002) == n end)
  end
  t.eq(mem:u32(0x2008), 0)
  t.eq(mem:u32(0x2010), 3)
  t.eq(mem:read(DATA, 4), "new\0")
  t.match(dut:log(), "queue requests: .*fails")
  t.match(dut:log(), "kept: false nil chain gone")
  t.match(dut:log(), "kept: nil chain gone")
end)
