-- SPDX-License-Identifier: BSD-3-Clause
-- Every kind of register that a model can have, seen from the bus; and that vfu.client reaches each of them by its name.
-- plugins/testdev/testdev_test.lua runs the same for the plugin in C.
local t = require "vfu.test"

t.test("kinds of access", function(dut)
  local r = dut.regs
  r.K_RW.value = 0x12345678
  t.eq(r.K_RW.value, 0x12345678)
  r.K_RO.value = 1
  t.eq(r.K_RO.value, 0x12345678)
  r.K_WO.value = 1
  t.eq(r.K_WO.value, 0)
  r.K_W1C.value = 0x0000ffff
  t.eq(r.K_W1C.value, 0xffff0000)
  r.K_W1S.value = 0x00ff0000
  r.K_W1S.value = 0x0000000f
  t.eq(r.K_W1S.value, 0x00ff000f)
  r.K_W1T.value = 0x00ff00ff
  t.eq(r.K_W1T.value, 0x00ffff00)
  r.K_W0C.value = 0x0f0f0f0f
  t.eq(r.K_W0C.value, 0x0f0f0f0f)
  t.eq(r.K_RC.value, 0x5a5a5a5a)
  t.eq(r.K_RC.value, 0)
  t.eq(r.K_RS.value, 0x5a5a5a5a)
  t.eq(r.K_RS.value, 0xffffffff)
  r.K_WONCE.value = 5
  r.K_WONCE.value = 6
  t.eq(r.K_WONCE.value, 5)
end)

t.test("widths and byte order", function(dut)
  local r = dut.regs
  r.W8.value, r.W16.value, r.W32.value, r.W64.value = 0x88, 0x1616, 0x32323232, 0x6464646464646464
  t.eq(r.W8.value, 0x88)
  t.eq(r.W16.value, 0x1616)
  t.eq(r.W32.value, 0x32323232)
  t.eq(r.W64.value, 0x6464646464646464)
  r.BE32.value = 0x11223344
  t.eq(r.BE32.value, 0x11223344)
  t.eq(dut:read_bytes("bar0", 0x60, 4), "\x11\x22\x33\x44")
  r.BE64.value = 0x1122334455667788
  t.eq(dut:read_bytes("bar0", 0x68, 8), "\x11\x22\x33\x44\x55\x66\x77\x88")
  t.eq(r.BE64.value, 0x1122334455667788)
  t.raises(function() r.W8.value = 256 end, "0x100 does not fit into 1 byte")
  r.W8.value = -1
  t.eq(r.W8.value, 0xff)
end)

t.test("fields", function(dut)
  local f = dut.regs.FIELDS
  t.eq(f.RO, 5)
  t.eq(f.W1C, 15)
  t.eq(f.MODE, "off")
  f.MODE = "fast"
  t.eq(f.MODE, "fast")
  t.eq(f.W1C, 15, "a field's write leaves the others alone")
  f.LOW = 0xa5
  f.W1C = 3
  t.eq(f.W1C, 12)
  t.eq(f.LOW, 0xa5)
  t.eq(f.MODE, "fast")
  f.MODE = 3
  t.eq(f.MODE, 3, "a value without a name")
  t.raises(function() f.MODE = "warp" end, "FIELDS.MODE has no value 'warp': there are fast, off, slow")
  t.raises(function() f.LOW = 256 end, "FIELDS.LOW has 8 bits: 0x100 does not fit")
  t.raises(function() f.LOWER = 1 end, "FIELDS has no field LOWER")
end)

t.test("arrays and groups", function(dut)
  local r = dut.regs
  t.eq(#r.ARRAY, 8)
  for i = 0, 7 do r.ARRAY[i].value = i * 3 end
  t.eq(r.ARRAY[7].value, 21)
  t.eq(dut:read("bar0", 0x138), 21)
  r.CH[2].ADD.value = 40
  r.CH[2].ADD.value = 2
  t.eq(r.CH[2].SUM.value, 42)
  t.eq(r.CH[1].SUM.value, 0)
  r.CH[3].DATA[2].value = 9
  t.eq(r.CH[3].DATA[2].value, 9)
  t.raises(function() return r.ARRAY[8] end, "ARRAY[8]: it has 8, from 0 to 7")
  t.raises(function() return r.CH[4] end, "CH[4]: it has 4, from 0 to 3")
  t.raises(function() r.ARRAY[1] = 5 end, "set its .value")
end)

t.test("bus errors", function(dut)
  t.eq(dut.regs.BAD_READ.value, 0xffffffff)
  dut.regs.BAD_WRITE.value = 5
  dut.regs.BAD_WRITE.value = 0xbad
  t.eq(dut.regs.BAD_WRITE.value, 5)
  dut.regs.GUEST_ERROR.value = 1
  t.eq(dut.regs.GUEST_ERRORS.value, 1)
end)

for kind, vectors in pairs({ msix = 8, msi = 4, intx = 1 }) do
  t.test("interrupts by " .. kind, { irq = kind }, function(dut)
    t.eq(dut.irq_kind, kind)
    for vector = 0, vectors - 1 do
      t.eq(dut:irq_count(vector), 0)
      dut.regs.IRQ_RAISE.value = vector
      t.ok(dut:wait_irq(vector, 5), "vector " .. vector)
      dut.regs.IRQ_LOWER.value = vector
    end
    t.eq(dut:irq_count(0), 1)
  end)
end

for _, how in ipairs({ "mapped", "by messages" }) do
  t.test("DMA " .. how, function(dut)
    local r, mem = dut.regs, dut:memory(0x200000, 0x10000, { map = how == "mapped" })
    local function transfer(op, address, length)
      r.DMA_ADDR.value, r.DMA_LEN.value = address, length
      r.DMA_CMD.OP = op
      t.eventually(function() return not r.DMA_STATUS.BUSY end, 5)
      t.eq(r.DMA_STATUS.ERRNO, 0)
    end
    r.DMA_SEED.value = 7
    transfer("write", 0x200000, 4096)
    for i = 0, 4095, 97 do t.eq(mem:u8(i), 7 + 7 * i + i // 256 & 0xff) end
    local sum = r.DMA_SUM.value
    transfer("read", 0x200000, 4096)
    t.eq(r.DMA_SUM.value, sum)
    r.DMA_DST.value = 0x208000
    transfer("copy", 0x200000, 4096)
    t.eq(mem:read(0x8000, 4096), mem:read(0, 4096))
    local requests, bytes = dut:dma_stats()
    t.eq(requests > 0, how ~= "mapped")
    t.eq(bytes, how == "mapped" and 0 or 4 * 4096)
  end)
end

t.test("memory that may only be read", function(dut)
  local r = dut.regs
  dut:memory(0x200000, 4096, { access = "r" })
  r.DMA_ADDR.value, r.DMA_LEN.value = 0x200000, 16
  r.DMA_CMD.OP = "write"
  t.eventually(function() return not r.DMA_STATUS.BUSY end, 5)
  t.ne(r.DMA_STATUS.ERRNO, 0)
end)

t.test("pipelined, posted and multiple accesses", function(dut)
  for i = 0, 7 do dut:post("bar0", 0x100 + 8 * i, i + 1) end
  local values = dut:read_many({ { "bar0", 0x100 }, { "bar0", 0x138 }, { "config", 0, 2 }, { "bar0", 0x50, 16 } })
  t.eq(values, { 1, 8, 0x1234, ("\0"):rep(16) })
  t.eq(dut:write_multi({ { "bar0", 0x100, 0xaa }, { "bar0", 0x108, 0xbb } }), 2)
  t.eq(dut.regs.ARRAY[1].value, 0xbb)
end)

t.test("the region by its name", function(dut)
  dut.bar2:u32(0x100, 0xcafe)
  t.eq(dut.bar2:u16(0x100), 0xcafe)
  dut:write("bar2", 0x200, "bytes of memory")
  t.eq(dut.bar2:read(0x200, 15), "bytes of memory")
  t.eq(dut.bar2:size(), 4 << 20)
  t.ok(dut.config:cap(0x11), "MSI-X")
  t.eq(dut.config:cap(0x77), nil)
end)

t.test("timers", function(dut)
  dut.regs.TIMER_DELAY.value = 1000000
  dut.regs.TIMER_CMD.value = 3
  t.ok(dut:wait_irq(0, 5))
  t.eq(dut.regs.TIMER_FIRED.value, 1)
end)

t.test("a parameter", { params = { scratch = 0x77 } }, function(dut)
  t.eq(dut.regs.SCRATCH.value, 0x77)
end)

t.test("resets and clients are counted", function(dut)
  dut.regs.STICKY.value = 3
  dut:reset()
  t.eq(dut.regs.RESETS.value, 2)
  t.eq(dut.regs.STICKY.value, 3)
  dut:reconnect()
  t.eq(dut.regs.ATTACHES.value, 2)
  t.eq(dut.regs.DETACHES.value, 1)
end)
