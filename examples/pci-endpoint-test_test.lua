-- SPDX-License-Identifier: BSD-3-Clause
-- What the driver's tests do, command by command, and what it never does.
local t = require "vfu.test"

local SRC, DST = 0x100000000, 0x200000 -- one of them needs the upper half
local SIZES = { 1, 2, 1023, 4096, 65537, 1024001, (1 << 20) + 1, (3 << 20) - 7 }
local KIND = { intx = 0, msi = 1, msix = 2 }

local function address(dut, name, value)
  dut.regs["LOWER_" .. name].value, dut.regs["UPPER_" .. name].value = value & 0xffffffff, value >> 32
end

-- Starts a command as the driver does, with interrupt 1 of the armed kind, and waits for that. Gives STATUS.
local function command(dut, bits, size, checksum)
  local r = dut.regs
  address(dut, "SRC_ADDR", SRC)
  address(dut, "DST_ADDR", DST)
  r.SIZE.value, r.CHECKSUM.value = size, checksum or 0
  r.IRQ_TYPE.value, r.IRQ_NUMBER.value = KIND[dut.irq_kind], 1
  r.COMMAND.value = bits
  t.ok(dut:wait_irq(0, 5))
  t.eq(r.COMMAND.value, 0)
  return r.STATUS.value
end

-- CRC-32 as Linux's crc32_le(~0, ...), by the bit.
local function crc(data)
  local c = 0xffffffff
  for i = 1, #data do
    c = c ~ data:byte(i)
    for _ = 1, 8 do c = c & 1 == 1 and c >> 1 ~ 0xedb88320 or c >> 1 end
  end
  return c
end

local function pattern(n)
  local words = {}
  for i = 1, 1024 do words[i] = string.pack("<I4", i * 2654435761 & 0xffffffff) end
  return (table.concat(words):sub(1, 4093)):rep(n // 4093 + 1):sub(1, n)
end

t.test("identification", function(dut)
  t.eq(dut.config:u32(0), 0xb500104c)
  t.eq(dut.irq_kind, "msix")
  t.eq(dut.regs.CAPS.value, 0xf)
  dut.regs.MAGIC.value = 0xa0a0a0a0
  t.eq(dut.regs.MAGIC.value, 0xa0a0a0a0)
end)

t.test("each BAR keeps a pattern of its own", function(dut)
  local sizes = { 4 << 10, 4 << 10, 16 << 10, 128 << 10, 1 << 20 }
  for bar, size in ipairs(sizes) do
    t.eq(dut:region("bar" .. bar).size, size)
    t.eq(dut:region("bar" .. bar).mmap, bar >= 3)
    for at = 0, size - 1, 4096 do dut:write("bar" .. bar, at, string.char(0xa0 + bar):rep(4096)) end
  end
  for bar, size in ipairs(sizes) do
    for at = 0, size - 1, 4096 do
      t.ok(dut:read("bar" .. bar, at, 4096) == string.char(0xa0 + bar):rep(4096), "bar" .. bar)
    end
  end
end)

t.test("mmap=off maps none", { params = { mmap = false } }, function(dut)
  for bar = 1, 5 do t.eq(dut:region("bar" .. bar).mmap, false) end
end)

-- A command for each vector, and the bit in STATUS.
local function raise_all(dut, bit, vectors)
  local r = dut.regs
  r.IRQ_TYPE.value = KIND[dut.irq_kind]
  for i = 1, vectors do
    r.IRQ_NUMBER.value = i
    r.COMMAND.value = bit
    t.ok(dut:wait_irq(i - 1), "vector " .. i)
    t.eq(r.STATUS.value, 1 << 6)
    t.eq(dut:irq_count(i - 1), 1)
  end
end

t.test("MSI-X, all 2048", { vectors = 2048, timeout = 60 }, function(dut) raise_all(dut, 4, 2048) end)
t.test("MSI, all 32", { irq = "msi" }, function(dut) raise_all(dut, 2, 32) end)

t.test("INTx stays until STATUS is read", { irq = "intx" }, function(dut)
  for _ = 1, 3 do
    dut.regs.COMMAND.value = 1
    t.ok(dut:wait_irq())
    t.eq(dut.config:u16(6) & 8, 8, "interrupt status")
    t.eq(dut.regs.STATUS.value, 1 << 6)
    t.eq(dut.config:u16(6) & 8, 0, "interrupt status")
  end
end)

for _, map in ipairs { true, false } do
  local how = map and ", shared memory" or ", by messages"

  t.test("READ checks the sum" .. how, { timeout = 60 }, function(dut)
    local mem = dut:memory(SRC, 4 << 20, { map = map })
    local data = pattern(5000)
    mem:write(0, data)
    for _, n in ipairs { 1, 2, 3, 1023, 4096, 5000 } do
      t.eq(command(dut, 8, n, crc(data:sub(1, n))), 1 << 6 | 1)
      t.eq(command(dut, 8, n, crc(data:sub(1, n)) ~ 1), 1 << 6 | 2)
    end
  end)

  t.test("WRITE says the sum" .. how, { timeout = 60 }, function(dut)
    local mem = dut:memory(DST, 4 << 20, { map = map })
    for _, n in ipairs { 1, 2, 1023, 4096, 5000 } do
      t.eq(command(dut, 16, n), 1 << 6 | 4)
      t.eq(dut.regs.CHECKSUM.value, crc(mem:read(0, n)))
    end
    local before = mem:read((1 << 20) + 4097, 16)
    t.eq(command(dut, 16, (1 << 20) + 4097), 1 << 6 | 4)
    t.eq(mem:read((1 << 20) + 4097, 16), before, "nothing behind the last byte")
    t.ne(mem:read(0, 4096), mem:read(4096, 4096))
  end)

  t.test("COPY" .. how, { timeout = 60 }, function(dut)
    local from, to = dut:memory(SRC, 4 << 20, { map = map }), dut:memory(DST, 4 << 20, { map = map })
    local data = pattern(4 << 20)
    from:write(0, data)
    for _, n in ipairs(SIZES) do
      to:fill(0)
      t.eq(command(dut, 32, n), 1 << 6 | 16)
      t.ok(to:read(0, n) == data:sub(1, n), n .. " bytes")
      t.eq(to:u8(n), 0)
    end
    if map then t.eq(dut:dma_stats(), 0) else t.ok(dut:dma_stats() > 100) end
  end)
end

t.test("memory that is not there", function(dut)
  dut:memory(SRC, 4096)
  t.eq(command(dut, 8, 4096, 0), 1 << 6 | 2)
  t.eq(command(dut, 8, 4097, 0), 1 << 6 | 1 << 7 | 2)
  t.eq(command(dut, 16, 16), 1 << 6 | 1 << 8 | 8)
  t.eq(command(dut, 32, 16), 1 << 6 | 1 << 8 | 32)
  t.match(dut:log(), "guest error.*writing 16 bytes at 0x200000: no such memory")
end)

t.test("no bytes are copied without a fault", function(dut)
  t.eq(command(dut, 32, 0), 1 << 6 | 16)
end)

t.test("orders that make no sense", { irq = "msi" }, function(dut)
  local r = dut.regs
  r.COMMAND.value = 0x18
  t.eventually(function() return r.COMMAND.value == 0 end)
  t.eq(r.STATUS.value, 0)
  t.match(dut:log(), "COMMAND is 0x18, which is not one command")
  r.COMMAND.value = 0xffffffc0
  t.eq(r.COMMAND.value, 0)
  for _, number in ipairs { 0, 33, 0xffffffff } do
    r.IRQ_TYPE.value, r.IRQ_NUMBER.value = 1, number
    r.COMMAND.value = 2
    t.eventually(function() return r.COMMAND.value == 0 end)
    t.match(dut:log(), "IRQ_NUMBER is " .. number .. ", not from 1 to 32")
  end
  r.IRQ_TYPE.value = 3
  r.COMMAND.value = 32
  t.eventually(function() return r.COMMAND.value == 0 end)
  t.match(dut:log(), "IRQ_TYPE is 3")
  r.IRQ_NUMBER.value = 33
  r.COMMAND.value = 4
  t.eventually(function() return r.COMMAND.value == 0 end)
  t.match(dut:log(), "interrupt 33 of IRQ_TYPE 2 is not enabled")
end)

t.test("a command while there is one, and a reset", function(dut)
  local r = dut.regs
  r.IRQ_TYPE.value, r.IRQ_NUMBER.value = 2, 1
  t.advance(0) -- from here on the command stays due
  r.COMMAND.value = 8
  r.COMMAND.value = 16
  t.eq(r.COMMAND.value, 8)
  t.match(dut:log(), "COMMAND gets 0x10 while it is at 0x8")
  dut:reset()
  t.eq(r.COMMAND.value, 0)
  t.advance(1)
  t.eq(r.STATUS.value, 0)
  t.eq(dut:irq_count(0), 0)
end)

t.test("a copy that migrates before it runs", function(dut)
  address(dut, "SRC_ADDR", SRC)
  address(dut, "DST_ADDR", DST)
  t.advance(0)
  dut.regs.SIZE.value, dut.regs.IRQ_TYPE.value, dut.regs.IRQ_NUMBER.value = 11, 2, 1
  dut.regs.COMMAND.value = 32
  local other = t.device()
  other:memory(SRC, 4096):write(0, "moved along")
  local to = other:memory(DST, 4096)
  other:load(dut:save(true))
  t.ok(other:wait_irq())
  t.eq(other.regs.STATUS.value, 1 << 6 | 16)
  t.eq(to:read(0, 11), "moved along")
end)
