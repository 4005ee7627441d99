-- SPDX-License-Identifier: BSD-3-Clause
-- blk.lua as a driver sees it: requests in readable and writable parts, out of order, more than may wait at a time; the
-- configuration that changes; memory and devices that move.
local t = require "vfu.test"
local driver = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "") .. "driver.lua")

local function header(kind, sector) return string.pack("<I4I4I8", kind, 0, sector) end

for name, map in pairs({ mapped = true, ["by messages"] = false }) do
  t.test("sectors, " .. name, function(dut)
    local d = driver.start(dut, driver.INDIRECT | driver.EVENT_IDX, { map = map })
    local data = ("abcdefgh"):rep(128)
    for k = 0, 1 do
      local q, indirect = d.queues[k], k == 1
      local len, bytes = q:call({ header(1, 4), data:sub(1, 100), data:sub(101), 1 }, indirect)
      t.eq(len, 1)
      t.eq(bytes, "\0")
      len, bytes = q:call({ header(0, 4), 512, 500, 12, 1 }, indirect)
      t.eq(len, 1025)
      t.eq(bytes, data .. "\0")
      len, bytes = q:call({ header(0, 2048), 512, 1 }, indirect)
      t.eq(bytes:byte(-1), 1)
      t.eq(len, 0, "nothing in front of the status was written")
      len, bytes = q:call({ header(1, 1 << 55), data, 1 }, indirect)
      t.eq(bytes, "\1")
      t.eq(select(2, q:call({ header(99, 0), 1 }, indirect)), "\2")
      len, bytes = q:call({ header(8, 0), 20, 1 }, indirect)
      t.eq(bytes, "test-blk" .. ("\0"):rep(13))
      t.eq(len, 8)
    end
    t.eq(dut.regs.DEVICE_STATUS.value, 15)
    t.no(dut:log():find("error"))
  end)

  t.test("whoever is first is done first, " .. name, function(dut)
    local d = driver.start(dut, 0, { map = map, size = 16 })
    local q = d.queues[0]
    local slow, fast = q:add({ header(0x100, 50), 1 }), q:add({ header(0x100, 1), 1 })
    q:kick()
    t.eq(q:wait(), fast)
    t.eq(q:wait(), slow)
    slow = d.queues[1]:add({ header(0x100, 100000), 1 })
    d.queues[1]:add({ header(0x100, 100000), 1 })
    d.queues[1]:add({ header(4, 0), 1 })
    d.queues[1]:kick()
    dut:serve(0.05)
    t.eq(d.queues[1]:take(), nil, "two are as many as the device takes of this queue")
    local again = driver.start(dut, 0, { map = map, instead = d })
    t.eq(select(2, again.queues[1]:call({ header(4, 0), 1 })), "\0")
  end)

  t.test("it moves in the middle of requests, " .. name, function(dut)
    local d = driver.start(dut, driver.EVENT_IDX, { map = map })
    local q = d.queues[0]
    q:call({ header(1, 7), ("x"):rep(512), 1 })
    q:add({ header(0x100, 30), 1 })
    q:add({ header(0, 7), 512, 1 })
    q:kick()
    local other = t.device()
    local state = dut:save(true)
    d:move(other)
    other:load(state)
    local seen = {}
    for _ = 1, 2 do seen[#seen + 1] = select(3, q:wait()) end
    table.sort(seen)
    t.eq(seen[1], "\0")
    t.eq(seen[2], ("x"):rep(512) .. "\0")
    t.eq(other.regs.DEVICE_STATUS.value, 15)
  end)

  t.test("memory that goes and comes back, " .. name, function(dut)
    local d = driver.start(dut, 0, { map = map })
    t.eq(d.queues[0]:call({ header(0, 4), 512, 1 }), 513)
    local bytes = d.mem:read(0, d.size)
    d.mem:free()
    d.mem = dut:memory(0x100000, d.size, { map = map })
    d.mem:write(0, bytes)
    t.eq(d.queues[0]:call({ header(0, 4), 512, 1 }), 513)
    t.eq(dut.regs.DEVICE_STATUS.value, 15)
  end)
end

t.test("more requests than may wait at a time, and registers work", function(dut)
  local d = driver.start(dut, driver.INDIRECT, { size = 4096 })
  local q, n = d.queues[0], 4096
  for _ = 1, n do q:add({ header(0x100, 20), 1 }, true) end
  q:kick()
  d.queues[1]:add({ header(0x100, 20), 1 })
  d.queues[1]:add({ header(4, 0), 1 })
  d.queues[1]:kick()
  t.eq(dut.regs.DEVICE_STATUS.value, 15)
  for _ = 1, n do t.eq(select(3, q:wait()), "\0") end
  for _ = 1, 2 do t.eq(select(3, d.queues[1]:wait()), "\0") end
  t.no(dut:log():find("error"))
end)

t.test("a request that is none", function(dut)
  local d = driver.start(dut, 0)
  d.queues[0]:add({ "short", 1 })
  d.queues[0]:kick()
  t.ok(dut:wait_irq(0, 1.0))
  t.eq(dut.regs.DEVICE_STATUS.NEEDS_RESET, true)
  t.match(dut:log(), "without a header")
end)

t.test("a request that is forgotten", function(dut)
  local d = driver.start(dut, 0)
  d.queues[0]:add({ header(0x101, 0), 1 })
  t.eventually(function()
    d.queues[0]:call({ header(8, 0), 8, 1 })
    return dut:log():find("queue first: a chain was forgotten", 1, true)
  end)
end)

t.test("the configuration, by halves, and when it changes", function(dut)
  t.eq(dut:read("bar0", 0x2000, 4), 2048, "before any driver")
  t.eq(dut:read("bar0", 0x2004, 4), 0)
  dut:write("bar0", 32, 0x1000, 4)
  dut:write("bar0", 36, 0x2, 4)
  t.eq(dut:read("bar0", 32, 8), 0x200001000)
  driver.start(dut, 0)
  local generation = dut.regs.CONFIG_GENERATION.value
  t.eq(dut.regs.CONFIG_GENERATION.value, generation)
  for i = 1, 256 do dut:eval("self:after(0, 'resize', " .. 4096 + i .. ")") end
  t.eventually(function() return dut.regs.CAPACITY.value == 4096 + 256 end)
  t.ok(dut:wait_irq(0, 1.0))
  t.ne(dut.regs.CONFIG_GENERATION.value, generation)
end)
