-- SPDX-License-Identifier: BSD-3-Clause
-- net.lua as a driver sees it: buffers in advance, packets that wait for one, a control queue, the link; resets, moves and
-- clients that leave while the device has chains.
local t = require "vfu.test"
local driver = dofile((debug.getinfo(1, "S").source:match("^@(.*/)") or "") .. "driver.lua")

local MQ <const>, ANY <const> = 1 << 22, driver.INDIRECT | driver.EVENT_IDX
local RX0 <const>, TX0 <const>, RX1 <const>, TX1 <const>, CONTROL <const> = 0, 1, 2, 3, 4
local HEADER <const> = ("\0"):rep(12)

local function packet(text) return { HEADER .. text } end
local function post(q, n) for _ = 1, n do q:add({ 12, 100, 1400 }) end q:kick() end

for name, map in pairs({ mapped = true, ["by messages"] = false }) do
  t.test("packets go round, " .. name, function(dut)
    local d = driver.start(dut, ANY, { map = map, size = 64 })
    local rx, tx = d.queues[RX0], d.queues[TX0]
    post(rx, 3)
    for i = 1, 5 do tx:add({ HEADER:sub(1, 5), HEADER:sub(6) .. ("p"):rep(i * 30) }, i % 2 == 0) end
    tx:kick()
    for i = 1, 3 do
      local _, len, bytes = rx:wait()
      t.eq(len, 12 + i * 30)
      t.eq(bytes:sub(1, len), ("\0"):rep(10) .. "\1\0" .. ("p"):rep(i * 30))
      tx:wait()
    end
    dut:serve(0.01)
    t.eq(tx:take(), nil, "a packet without a buffer waits")
    post(rx, 4)
    for i = 4, 5 do
      t.eq(select(2, rx:wait()), 12 + i * 30)
      tx:wait()
    end
    t.eq(rx:take(), nil)
    t.eq(dut.regs.DEVICE_STATUS.value, 15)
    t.no(dut:log():find("error"))
  end)

  t.test("commands, and the other pair, " .. name, function(dut)
    local d = driver.start(dut, MQ, { map = map })
    local control = d.queues[CONTROL]
    t.eq(select(2, control:call({ "\4\0\2\0", 1 })), "\0")
    t.eq(select(2, control:call({ "\4\0\3\0", 1 })), "\1")
    t.eq(select(2, control:call({ "\1\1", "abcdef", 1 })), "\0")
    t.eq(dut:read("bar0", 0x2000, 1) | dut:read("bar0", 0x2005, 1) << 8, 0x6661)
    post(d.queues[RX0], 1)
    post(d.queues[RX1], 1)
    d.queues[TX1]:add(packet("one"))
    d.queues[TX0]:add(packet("two"))
    d.queues[TX1]:kick()
    d.queues[TX0]:kick()
    t.match(select(3, d.queues[RX0]:wait()), "one")
    t.match(select(3, d.queues[RX1]:wait()), "two")
  end)

  t.test("a reset in the middle, " .. name, function(dut)
    local d = driver.start(dut, 0, { map = map })
    post(d.queues[RX0], 2)
    post(d.queues[RX1], 2)
    local e = driver.start(dut, 0, { map = map, instead = d })
    e.queues[TX0]:add(packet("waits"))
    e.queues[TX0]:kick()
    dut:serve(0.01)
    t.eq(e.queues[TX0]:take(), nil, "buffers from before the reset are gone")
    post(e.queues[RX0], 1)
    t.match(select(3, e.queues[RX0]:wait()), "waits")
    t.no(dut:log():find("error"))
  end)

  t.test("a move with chains on both sides, " .. name, function(dut)
    local d = driver.start(dut, driver.EVENT_IDX, { map = map })
    post(d.queues[RX1], 2) -- nobody sends there
    d.queues[TX0]:add(packet("moved"))
    d.queues[TX0]:kick()
    dut:serve(0.01)
    local other = t.device()
    local state = dut:save(true)
    d:move(other)
    other:load(state)
    t.eq(other.regs.DEVICE_STATUS.value, 15)
    post(d.queues[RX0], 1)
    t.match(select(3, d.queues[RX0]:wait()), "moved")
    d.queues[TX0]:wait()
  end)

  t.test("a client that leaves, and the next one goes on, " .. name, function(dut)
    local d = driver.start(dut, 0, { map = map })
    post(d.queues[RX1], 1)
    d.queues[TX1]:add(packet("before"))
    d.queues[TX1]:kick()
    local bytes = d.mem:read(0, d.size) -- in which nothing is done: there is no buffer
    dut:reconnect()
    t.eq(dut.regs.DEVICE_STATUS.value, 15)
    d.mem = dut:memory(0x100000, d.size, { map = map })
    d.mem:write(0, bytes)
    d.queues[RX1]:kick()
    d.queues[TX1]:kick()
    post(d.queues[RX0], 2)
    t.match(select(3, d.queues[RX0]:wait()), "before")
    d.queues[TX0]:add(packet("after"))
    d.queues[TX0]:kick()
    t.match(select(3, d.queues[RX0]:wait()), "after")
    t.eq(dut.regs.DEVICE_STATUS.value, 15)
    t.no(dut:log():find("error"))
  end)
end

t.test("the link", function(dut)
  local d = driver.start(dut, 0)
  local generation = dut.regs.CONFIG_GENERATION.value
  t.eq(dut:read("bar0", 0x2006, 2), 1)
  t.eq(dut.regs.CONFIG_GENERATION.value, generation)
  dut:eval("self:after(0, 'link', false)")
  t.ok(dut:wait_irq(0, 1.0))
  t.eq(dut.regs.ISR.value, 2)
  t.eq(dut:read("bar0", 0x2006, 2), 0)
  t.ne(dut.regs.CONFIG_GENERATION.value, generation)
  t.eq(d.queues[RX0]:take(), nil)
end)

t.test("buffers that make no sense", function(dut)
  local d = driver.start(dut, 0)
  d.queues[RX0]:add({ 11 })
  d.queues[RX0]:kick()
  t.eventually(function() return dut.regs.DEVICE_STATUS.NEEDS_RESET end)
end)
