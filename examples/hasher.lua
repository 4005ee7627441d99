-- SPDX-License-Identifier: BSD-3-Clause
-- A device that hashes guest memory with zlib: a model that leaves its work to a native library, through ffi.
--
-- Write ADDR, LEN and SEED, then CTRL with GO set; STATUS.BUSY is 1 until HASH holds the result. To hash memory in
-- pieces, write HASH of one piece to SEED of the next; begin with SEED 0 for crc32 and 1 for adler32.
local vfu = require "vfu"
local ffi = require "ffi"
local reg, flag, field = vfu.reg, vfu.flag, vfu.field

ffi.cdef [[
  unsigned long crc32(unsigned long crc, const uint8_t *buf, unsigned len);
  unsigned long adler32(unsigned long adler, const uint8_t *buf, unsigned len);
]]
local z = ffi.load "libz.so.1"
local CHUNK = 64 * 1024 -- bytes of one DMA and one call; a native call cannot be interrupted, so none is long

local hasher = vfu.device("hasher", {
  doc   = "hashes guest memory with zlib's crc32 and adler32",
  pci   = { vendor = 0x1234, device = 0x4853, revision = 1, class = 0x108000, intx = true, msi = 1 },
  irq   = { level = "IRQ", mask = "IRQ_ENABLE" },
  dma   = true,
  needs = { "ffi" },
})

hasher:bar(0, { size = 4096, sizes = { 4, 8 } }, {
  reg("ID",         0x00, 4, "ro", { reset = 0x48534801, doc = "\"HSH\" and the version" }),
  reg("CTRL",       0x04, 4, {
    doc = "a write with GO set starts",
    flag("GO", 0),
    field("ALGORITHM", 1, 1, { "crc32", "adler32" }),
  }),
  reg("STATUS",     0x08, 4, "ro", {
    flag("BUSY", 0),
    flag("FAULT", 1, { doc = "the last hash has no result: memory could not be read" }),
  }),
  reg("ADDR",       0x10, 8, { doc = "DMA address of the first byte" }),
  reg("LEN",        0x18, 4, { doc = "bytes" }),
  reg("SEED",       0x1c, 4, { doc = "what the hash begins with" }),
  reg("HASH",       0x20, 4, "ro"),
  reg("IRQ",        0x24, 4, "w1c", { flag("DONE", 0, { doc = "a hash has ended; writing 1 clears it" }) }),
  reg("IRQ_ENABLE", 0x28, 4, { flag("DONE", 0) }),
})
hasher:lock({ "CTRL", "ADDR", "LEN", "SEED" }, "STATUS.BUSY")

function hasher.write:CTRL()
  if not self.CTRL.GO then return end
  self.STATUS.BUSY, self.STATUS.FAULT = true, false
  self:after(0, "hash")
end

function hasher.event:hash()
  local hash, addr, left = self.SEED.value, self.ADDR.value, self.LEN.value
  local step = z[self.CTRL.ALGORITHM]
  while left > 0 do
    local n = math.min(left, CHUNK)
    local data, err = self.dma:read(addr, n) -- may wait; CTRL, ADDR, LEN and SEED are locked meanwhile
    if not data then
      self:guest_error("hash: %s at 0x%x", err, addr)
      self.STATUS.FAULT = true
      break
    end
    hash, addr, left = step(hash, data, n), addr + n, left - n
  end
  if not self.STATUS.FAULT then self.HASH.value = hash end
  self.STATUS.BUSY, self.IRQ.DONE = false, true
end

return hasher
