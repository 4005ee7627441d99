-- SPDX-License-Identifier: BSD-3-Clause
-- A driver of virtio 1.2 over PCI for the tests of this folder: any number of split queues in one piece of memory, which the
-- device maps or reaches by messages; chains are lists of readable strings and writable lengths, and complete in any order.
local t = require "vfu.test"

local driver = {}

local NEXT <const>, WRITE <const>, INDIRECT <const> = 1, 2, 4
local BASE <const> = 0x100000

driver.INDIRECT, driver.EVENT_IDX, driver.VERSION_1 = 1 << 28, 1 << 29, 1 << 32

local Queue, Driver = {}, {}
Queue.__index, Driver.__index = Queue, Driver

-- ---- queues ----

-- parts is a list of strings to read and numbers of bytes to write. Returns the head; parts keep their addresses.
function Queue:add(parts, indirect)
  local heads, mem = {}, self.driver.mem
  local n = #parts
  local where = {}
  for i = 1, indirect and 1 or n do
    heads[i] = assert(table.remove(self.free), "no free descriptor")
  end
  local table_at = indirect and self.driver:alloc(16 * n)
  local chain = { heads = heads, parts = parts, where = where }
  for i, part in ipairs(parts) do
    local len = type(part) == "string" and #part or part
    local flags = (type(part) == "string" and 0 or WRITE) | (i < n and NEXT or 0)
    where[i] = self.driver:alloc(len)
    if type(part) == "string" then mem:write(where[i], part) end
    local at = indirect and table_at + 16 * (i - 1) or self.at + 16 * heads[i]
    mem:write(at, string.pack("<I8I4I2I2", BASE + where[i], len, flags, i == n and 0 or indirect and i or heads[i + 1]))
  end
  if indirect then
    mem:write(self.at + 16 * heads[1], string.pack("<I8I4I2I2", BASE + table_at, 16 * n, INDIRECT, 0))
  end
  mem:u16(self.avail_at + 4 + 2 * (self.avail % self.size), heads[1])
  self.avail = self.avail + 1 & 0xffff
  self.chains[heads[1]] = chain
  mem:u16(self.avail_at + 2, self.avail)
  return heads[1]
end

function Queue:kick()
  self.driver.dut:write("bar0", 0x3000 + 4 * self.index, self.index, 2)
end

-- The next used chain: its head, length, and what is in its writable parts, one string. Nil if there is none.
function Queue:take()
  local mem = self.driver.mem
  if mem:u16(self.used_at + 2) == self.used then return nil end
  local at = self.used_at + 4 + 8 * (self.used % self.size)
  local head, len = mem:u32(at), mem:u32(at + 4)
  local chain = t.ok(self.chains[head], "the used ring names a chain that the device has")
  local bytes = {}
  for i, part in ipairs(chain.parts) do
    if type(part) == "number" then bytes[#bytes + 1] = mem:read(chain.where[i], part) end
  end
  self.chains[head] = nil
  for _, d in ipairs(chain.heads) do self.free[#self.free + 1] = d end
  self.used = self.used + 1 & 0xffff
  return head, len, table.concat(bytes)
end

-- The same, waiting for it.
function Queue:wait()
  local head, len, bytes
  t.eventually(function()
    head, len, bytes = self:take()
    if not head then self.driver.dut:serve(0.001) end
    return head
  end, 5.0, "queue " .. self.index .. " gets a chain back")
  return head, len, bytes
end

-- One request and its answer.
function Queue:call(parts, indirect)
  self:add(parts, indirect)
  self:kick()
  return select(2, self:wait())
end

-- ---- the device ----

-- The same driver in front of another device, to which the first one has moved: it lends its memory to that one.
function Driver:move(dut)
  local bytes = self.mem:read(0, self.size)
  self.dut = dut
  self.mem = dut:memory(BASE, self.size, { map = self.map })
  self.mem:write(0, bytes)
end

-- Memory is never given back: a test is short.
function Driver:alloc(n)
  local at = self.top
  self.top = self.top + (n + 63 & ~63)
  assert(self.top <= self.size, "the test's memory is full")
  return at
end

-- 3.1.1. options: map = false, size = places of each queue (8, or as many as it has), bytes of memory; instead = the
-- driver that had the device before, which is reset.
function driver.start(dut, features, options)
  options = options or {}
  local r, size = dut.regs, options.bytes or 0x200000
  local d = setmetatable({ dut = dut, top = 0, size = size, queues = {},
                           map = options.map ~= false }, Driver)
  features = features | driver.VERSION_1
  r.DEVICE_STATUS.value = 0
  t.eventually(function() return r.DEVICE_STATUS.value == 0 end)
  if options.instead then options.instead.mem:free() end
  d.mem = dut:memory(BASE, size, { map = d.map })
  r.DEVICE_STATUS.value = 1
  r.DEVICE_STATUS.value = 3
  for word = 0, 1 do
    local bits = features >> 32 * word & 0xffffffff
    r.DEVICE_FEATURE_SELECT.value = word
    t.eq(r.DEVICE_FEATURE.value & bits, bits, "what is wanted is offered")
    r.DRIVER_FEATURE_SELECT.value = word
    r.DRIVER_FEATURE.value = bits
  end
  r.DEVICE_STATUS.value = 11
  t.eq(r.DEVICE_STATUS.value, 11)
  r.CONFIG_MSIX_VECTOR.value = 0
  for i = 0, r.NUM_QUEUES.value - 1 do
    r.QUEUE_SELECT.value = i
    local places = math.min(options.size or 8, r.QUEUE_SIZE.value)
    local q = setmetatable({ driver = d, index = i, size = places, avail = 0, used = 0, chains = {}, free = {},
                             at = d:alloc(16 * places), avail_at = d:alloc(6 + 2 * places),
                             used_at = d:alloc(6 + 8 * places) }, Queue)
    for k = q.size - 1, 0, -1 do q.free[#q.free + 1] = k end
    d.queues[i] = q
    r.QUEUE_SIZE.value = q.size
    r.QUEUE_MSIX_VECTOR.value = i + 1
    r.QUEUE_DESC.value, r.QUEUE_DRIVER.value, r.QUEUE_DEVICE.value =
      BASE + q.at, BASE + q.avail_at, BASE + q.used_at
    r.QUEUE_ENABLE.value = 1
  end
  r.DEVICE_STATUS.value = 15
  t.eq(r.DEVICE_STATUS.value, 15)
  return d
end

return driver
