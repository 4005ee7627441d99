-- SPDX-License-Identifier: BSD-3-Clause
-- A small driver of virtio 1.2 for the entropy device: rings in mapped memory and in memory that goes by messages, tables of
-- descriptors, event indexes, resets, a device that moves while it works. plugins/virtio-rng/virtio-rng_test.lua runs the
-- same for the plugin in C.
local t = require "vfu.test"

local BASE <const>, SIZE <const> = 0x100000, 8
local DESC <const>, AVAIL <const>, USED <const>, TABLE <const>, DATA <const> = 0, 0x1000, 0x2000, 0x3000, 0x4000
local NEXT <const>, WRITE <const>, INDIRECT <const> = 1, 2, 4
local F_INDIRECT <const>, F_EVENT_IDX <const>, F_VERSION_1 <const> = 1 << 28, 1 << 29, 1 << 32

local function descriptor(mem, at, addr, len, flags, next)
  mem:write(at, string.pack("<I8I4I2I2", BASE + addr, len, flags, next or 0))
end

-- 3.1.1: the way to DRIVER_OK. Returns the memory, and a function that offers a chain and rings.
local function start(dut, features, options)
  local r = dut.regs
  local mem = dut:memory(BASE, 0x8000, options)
  features = features | F_VERSION_1
  t.eq(r.DEVICE_STATUS.value, 0)
  r.DEVICE_STATUS.value = 3
  for word = 0, 1 do
    r.DEVICE_FEATURE_SELECT.value = word
    local bits = features >> 32 * word & 0xffffffff
    t.eq(r.DEVICE_FEATURE.value & bits, bits, "what is wanted is offered")
    r.DRIVER_FEATURE_SELECT.value = word
    r.DRIVER_FEATURE.value = bits
  end
  r.DEVICE_STATUS.value = 11
  t.eq(r.DEVICE_STATUS.value, 11)
  r.CONFIG_MSIX_VECTOR.value = 0
  r.QUEUE_SELECT.value = 0
  t.eq(r.QUEUE_SIZE.value, 256)
  r.QUEUE_SIZE.value = SIZE
  r.QUEUE_MSIX_VECTOR.value = 1
  r.QUEUE_DESC.value, r.QUEUE_DRIVER.value, r.QUEUE_DEVICE.value = BASE + DESC, BASE + AVAIL, BASE + USED
  r.QUEUE_ENABLE.value = 1
  r.DEVICE_STATUS.value = 15
  t.eq(r.DEVICE_STATUS.value, 15)
  local function offer(head)
    local idx = mem:u16(AVAIL + 2)
    mem:u16(AVAIL + 4 + 2 * (idx % SIZE), head)
    mem:u16(AVAIL + 2, idx + 1 & 0xffff)
    dut:write("bar0", 0x3000, 0, 2)
  end
  return mem, offer
end

-- Waits for the n-th element of the used ring: head and length.
local function used(dut, mem, n)
  t.eventually(function()
    dut:serve(0.001)
    return mem:u16(USED + 2) == n
  end)
  return mem:u32(USED + 4 + 8 * ((n - 1) % SIZE)), mem:u32(USED + 8 + 8 * ((n - 1) % SIZE))
end

-- xorshift64*, of which the device gives the highest bytes.
local function expected(seed, n)
  local bytes = {}
  for i = 1, n do
    seed = seed ~ (seed >> 12)
    seed = seed ~ (seed << 25)
    seed = seed ~ (seed >> 27)
    bytes[i] = string.char(seed * 0x2545f4914f6cdd1d >> 56)
  end
  return table.concat(bytes)
end

t.test("it is a modern virtio device", function(dut)
  t.eq(dut.config:u32(0), 0x10441af4)
  t.eq(dut.config:u8(8), 1)
  t.eq(dut.regs.NUM_QUEUES.value, 1)
  local kinds, at = {}, dut.config:u8(0x34)
  while at ~= 0 do
    if dut.config:u8(at) == 9 then kinds[dut.config:u8(at + 3)] = dut.config:u32(at + 8) end
    at = dut.config:u8(at + 1)
  end
  t.eq(kinds[1], 0)
  t.eq(kinds[2], 0x3000)
  t.eq(kinds[3], 0x1000)
  t.eq(kinds[4], nil, "there is nothing to be configured")
  t.ok(kinds[5], "access by config space")
end)

t.test("registers by way of config space", function(dut)
  local at = dut.config:u8(0x34)
  while dut.config:u8(at) ~= 9 or dut.config:u8(at + 3) ~= 5 do at = dut.config:u8(at + 1) end
  t.eq(dut.config:u32(at + 16), 0)
  dut.config:u8(at + 4, 0)
  dut.config:u32(at + 8, 20)
  dut.config:u32(at + 12, 1)
  dut.config:u32(at + 16, 1)
  t.eq(dut.config:u32(at + 16), 1)
  t.eq(dut.regs.DEVICE_STATUS.value, 1)
end)

for name, options in pairs({ mapped = { map = true }, ["by messages"] = { map = false } }) do
  t.test("bytes of a known generator, " .. name, { params = { seed = 77 } }, function(dut)
    local mem, offer = start(dut, 0, options)
    descriptor(mem, DESC, DATA, 40, NEXT | WRITE, 5)
    descriptor(mem, DESC + 16 * 5, DATA + 0x100, 60, WRITE)
    offer(0)
    local head, n = used(dut, mem, 1)
    t.eq(head, 0)
    t.eq(n, 100)
    t.eq(mem:read(DATA, 40) .. mem:read(DATA + 0x100, 60), expected(77, 100))
    t.ok(dut:wait_irq(1, 1.0))
    t.eq(dut:irq_count(0), 0)
    for i = 2, 20 do
      offer(0)
      used(dut, mem, i)
    end
  end)

  t.test("tables and event indexes, " .. name, function(dut)
    local mem, offer = start(dut, F_INDIRECT | F_EVENT_IDX, options)
    descriptor(mem, TABLE, DATA, 10, NEXT | WRITE, 1)
    descriptor(mem, TABLE + 16, DATA + 64, 20, WRITE)
    descriptor(mem, DESC + 16 * 3, TABLE, 32, INDIRECT)
    mem:u16(AVAIL + 4 + 2 * SIZE, 0)
    offer(3)
    local head, n = used(dut, mem, 1)
    t.eq(head, 3)
    t.eq(n, 30)
    t.ok(dut:wait_irq(1, 1.0))
    t.eventually(function()
      dut:serve(0.001)
      return mem:u16(USED + 4 + 8 * SIZE) == 1
    end, 1.0, "the next kick is asked for")
    t.ne(mem:read(DATA, 10), ("\0"):rep(10))
  end)

  t.test("what is wrong in a ring breaks the device until it is reset, " .. name, function(dut)
    local mem, offer = start(dut, 0, options)
    descriptor(mem, DESC, DATA, 16, NEXT | WRITE, 0)
    offer(0)
    t.ok(dut:wait_irq(0, 1.0), "a configuration interrupt")
    t.eq(dut.regs.DEVICE_STATUS.NEEDS_RESET, true)
    t.match(dut:log(), "a chain is a loop")
    dut.regs.DEVICE_STATUS.value = 0
    t.eq(dut.regs.DEVICE_STATUS.value, 0)
    mem:free()
    mem, offer = start(dut, 0, options)
    descriptor(mem, DESC, DATA, 16, WRITE)
    offer(0)
    t.eq(select(2, used(dut, mem, 1)), 16)
  end)

  t.test("memory that comes and goes, " .. name, function(dut)
    local mem, offer = start(dut, 0, options)
    descriptor(mem, DESC, DATA, 16, WRITE)
    offer(0)
    used(dut, mem, 1)
    local bytes = mem:read(0, 0x8000)
    mem:free()
    mem = dut:memory(BASE, 0x8000, options)
    mem:write(0, bytes)
    mem:u16(AVAIL + 4 + 2, 0)
    mem:u16(AVAIL + 2, 2)
    dut:write("bar0", 0x3000, 0, 2)
    used(dut, mem, 2)
    t.eq(dut.regs.DEVICE_STATUS.value, 15)
  end)

  t.test("it moves between two requests, " .. name, { params = { seed = 5 } }, function(dut)
    local mem, offer = start(dut, F_EVENT_IDX, options)
    descriptor(mem, DESC, DATA, 16, WRITE)
    offer(0)
    used(dut, mem, 1)
    local state = dut:save(true)
    dut:load(state)
    offer(0)
    used(dut, mem, 2)
    t.eq(mem:read(DATA, 16), expected(5, 32):sub(17))
  end)
end

t.test("a buffer where no memory is", function(dut)
  local mem, offer = start(dut, 0)
  descriptor(mem, DESC, 0x40000000, 16, WRITE)
  offer(0)
  t.eq(select(2, used(dut, mem, 1)), 0)
  t.match(dut:log(), "cannot be written")
  t.eq(dut.regs.DEVICE_STATUS.value, 15)
end)

t.test("a buffer for reading is no request", function(dut)
  local mem, offer = start(dut, 0)
  descriptor(mem, DESC, DATA, 16, 0)
  offer(0)
  t.eventually(function() return dut.regs.DEVICE_STATUS.NEEDS_RESET end)
end)

t.test("a reset forgets", function(dut)
  local mem, offer = start(dut, 0)
  descriptor(mem, DESC, DATA, 16, WRITE)
  offer(0)
  used(dut, mem, 1)
  dut:reset()
  t.eq(dut.regs.DEVICE_STATUS.value, 0)
  t.eq(dut.regs.QUEUE_ENABLE.value, 0)
  t.eq(dut.regs.QUEUE_SIZE.value, 256)
  dut:write("bar0", 0x3000, 0, 2)
  t.eq(mem:u16(USED + 2), 1)
end)

t.test("features that nobody offers are refused", function(dut)
  local r = dut.regs
  r.DEVICE_STATUS.value = 3
  r.DRIVER_FEATURE.value = 1
  r.DRIVER_FEATURE_SELECT.value = 1
  r.DRIVER_FEATURE.value = 1
  r.DEVICE_STATUS.value = 11
  t.eq(r.DEVICE_STATUS.FEATURES_OK, false)
end)

t.test("INTx", { irq = "intx" }, function(dut)
  local mem, offer = start(dut, 0)
  dut.regs.CONFIG_MSIX_VECTOR.value = 0xffff
  dut.regs.QUEUE_MSIX_VECTOR.value = 0xffff
  descriptor(mem, DESC, DATA, 16, WRITE)
  offer(0)
  used(dut, mem, 1)
  t.ok(dut:wait_irq(0, 1.0))
  t.eq(dut.regs.ISR.value, 1)
  t.eq(dut.regs.ISR.value, 0)
end)
