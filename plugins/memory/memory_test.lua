-- SPDX-License-Identifier: BSD-3-Clause
-- Memory keeps what is written, and says whether it can be mapped.
local t = require "vfu.test"

for _, mmap in ipairs({ true, false }) do
  t.test("it keeps what is written, mmap=" .. tostring(mmap), { params = { size = "1M", mmap = mmap } }, function(dut)
    t.eq(dut.bar0:size(), 1 << 20)
    t.eq(dut:region("bar0").mmap, mmap)
    dut:write("bar0", 0xffffc, "last")
    t.eq(dut.bar0:read(0xffffc, 4), "last")
    t.eq(dut.bar0:u64(0), 0)
    dut.bar0:u8(7, 0x80)
    t.eq(dut.bar0:u64(0), 1 << 63)
    t.raises(function() dut:reset() end, "Operation not supported")
    dut:reconnect()
    t.eq(dut.bar0:u8(7), 0x80)
  end)
end

t.test("an access beyond it", function(dut)
  t.raises(function() dut.bar0:u32(65536) end, "Invalid argument")
  t.raises(function() dut.bar0:u32(65534) end, "Invalid argument")
  t.eq(dut.bar0:u32(65532), 0)
end)

t.device(false)
t.test("a size that no BAR has", function()
  t.raises(function() t.device("memory", { size = 65537 }) end, "a BAR's size is a power of two")
end)
