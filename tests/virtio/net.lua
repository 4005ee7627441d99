-- SPDX-License-Identifier: BSD-3-Clause
-- A network card whose cable leads from one pair of queues to the other: what net_test.lua drives, to hold the virtio library
-- against a network device (5.1). Buffers for packets come in advance and are kept; packets that find none stay with their
-- driver until there are some. The control queue is the last one.
local vfu, virtio = require "vfu", require "vfu.virtio"

local HEADER <const> = 12 -- struct virtio_net_hdr

local net = virtio.device("test-net", {
  id       = virtio.ID.net,
  class    = 0x020000,
  queues   = { { name = "rx0" }, { name = "tx0" }, { name = "rx1" }, { name = "tx1" }, { name = "control", size = 64 } },
  features = { MTU = 3, MAC = 5, STATUS = 16, CTRL_VQ = 17, MQ = 22, CTRL_MAC_ADDR = 23, SPEED_DUPLEX = 63 },
  config   = {
    vfu.reg("MAC", 0, 1, "ro", { count = 6, reset = 0x52 }),
    vfu.reg("STATUS", 6, 2, "ro", { reset = 1, vfu.flag("LINK_UP", 0), vfu.flag("ANNOUNCE", 1) }),
    vfu.reg("PAIRS_MAX", 8, 2, "ro", { reset = 2 }),
    vfu.reg("MTU", 10, 2, "ro", { reset = 9000 }),
    vfu.reg("SPEED", 12, 4, "ro", { reset = 10000 }),
    vfu.reg("DUPLEX", 16, 1, "ro", { reset = 1 }),
  },
  state    = { pairs = 1 },
})

-- Chains, oldest first: of each pair the free buffers, and packets that wait for one. A load or a reload brings them anew.
local free, waiting = { {}, {} }, { {}, {} }

local function carry(self, to)
  while #free[to] > 0 and #waiting[to] > 0 do
    local buffer, packet = table.remove(free[to], 1), table.remove(waiting[to], 1) -- before anything that may wait
    local data = packet:read(packet.readable - HEADER, HEADER)
    local written = 0
    if data and #data <= buffer.writable - HEADER then
      buffer:write(data, HEADER)
      buffer:write(("\0"):rep(10) .. "\1\0", 0) -- the header, behind its packet
      written = HEADER + #data
    else
      self:guest_error("a packet of %d bytes does not fit into %d", packet.readable, buffer.writable)
    end
    if written > 0 then buffer:done() else buffer:done(0) end
    packet:done()
  end
end

local function receive(pair)
  return function(self, chain)
    if chain.readable > 0 or chain.writable < HEADER then return self:broken("a buffer for packets that can hold none") end
    table.insert(free[pair], chain)
    carry(self, pair)
  end
end

local function send(pair)
  return function(self, chain)
    if chain.writable > 0 or chain.readable < HEADER then return self:broken("a packet without a header") end
    local to = self.pairs == 1 and 1 or 3 - pair
    table.insert(waiting[to], chain)
    carry(self, to)
  end
end

net.queue.rx0, net.queue.tx0 = receive(1), send(1)
net.queue.rx1, net.queue.tx1 = receive(2), send(2)

function net.queue:control(chain)
  local command, ok = chain:read(), false
  if not command or #command < 2 or chain.writable < 1 then return self:broken("a command that is none") end
  local class, kind = command:byte(1, 2)
  if class == 1 and kind == 1 and #command == 8 then -- MAC address
    for i = 0, 5 do self.MAC[i].value = command:byte(3 + i) end
    ok = true
  elseif class == 4 and kind == 0 and #command == 4 then -- pairs in use
    local n = string.unpack("<I2", command, 3)
    ok = n >= 1 and n <= (self:feature("MQ") and 2 or 1)
    if ok then self.pairs = n end
  end
  chain:write(ok and "\0" or "\1")
  chain:done()
end

function net.on:driver()
  free, waiting = { {}, {} }, { {}, {} }
  self.pairs = 1
end

function net.on:detach() free, waiting = { {}, {} }, { {}, {} } end

function net.event:link(up)
  self.STATUS.LINK_UP = up
  self:config_changed()
end

return net
