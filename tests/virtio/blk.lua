-- SPDX-License-Identifier: BSD-3-Clause
-- A disk in memory with two queues: what blk_test.lua drives, to hold the virtio library against a block device (5.2). The
-- sectors go between the buffer and the driver's memory without a string between.
local vfu, virtio = require "vfu", require "vfu.virtio"

local SECTOR <const>, SECTORS <const> = 512, 2048

local disk = virtio.device("test-blk", {
  id       = virtio.ID.block,
  class    = 0x010000,
  queues   = { { name = "first", size = 4096 }, { name = "second", size = 128, depth = 2 } },
  features = { SEG_MAX = 2, BLK_SIZE = 6, FLUSH = 9, MQ = 12 },
  config   = {
    vfu.reg("CAPACITY", 0, 8, "ro", { reset = SECTORS }),
    vfu.reg("SIZE_MAX", 8, 4, "ro"),
    vfu.reg("SEG_MAX", 12, 4, "ro", { reset = 126 }),
    vfu.reg("GEOMETRY", 16, 4, "ro"),
    vfu.reg("BLK_SIZE", 20, 4, "ro", { reset = SECTOR }),
    vfu.reg("TOPOLOGY", 24, 8, "ro"),
    vfu.reg("WRITEBACK", 32, 1, "ro"),
    vfu.reg("REQUEST_QUEUES", 34, 2, "ro", { reset = 2 }), -- num_queues: that name is the transport's
  },
  state    = { data = vfu.buffer(SECTORS * SECTOR) },
})

local OK <const>, IOERR <const>, UNSUPP <const> = 0, 1, 2

local kinds = {
  [0] = function(self, chain, sector) -- in: all but the status
    return chain:write_from(self.data, sector * SECTOR, chain.writable - 1) and OK or IOERR
  end,
  [1] = function(self, chain, sector) -- out: what is behind the header
    return chain:read_into(self.data, sector * SECTOR) and OK or IOERR
  end,
  [4] = function() return OK end, -- flush
  [8] = function(_, chain) -- get id
    return chain:write(("test-blk"):sub(1, chain.writable - 1)) and OK or IOERR
  end,
  -- Of the test's own: an answer after some time, and none.
  [0x100] = function(_, _, sector) vfu.sleep(sector * 1e-3) return OK end,
  [0x101] = function() return nil end,
}

local function request(self, chain)
  if chain.readable < 16 or chain.writable < 1 then return self:broken("a request without a header or a status") end
  local header = chain:read(16)
  local status = UNSUPP
  if header then
    local kind, _, sector = string.unpack("<I4I4I8", header)
    if sector < 0 or sector > SECTORS then sector = SECTORS end
    if kinds[kind] then status = kinds[kind](self, chain, sector) end
  end
  if not status then return end
  chain:write(string.char(status), chain.writable - 1)
  chain:done()
end

disk.queue.first, disk.queue.second = request, request

function disk.event:resize(sectors)
  self.CAPACITY.value = sectors
  self:config_changed()
end

return disk
