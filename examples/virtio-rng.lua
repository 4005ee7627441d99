-- SPDX-License-Identifier: BSD-3-Clause
-- virtio-rng - the entropy device of virtio 1.2 (5.4): the guest's /dev/hwrng. The stock driver is virtio-rng.
--
-- Its one queue brings chains of writable buffers, which are filled with random bytes. With seed=N the bytes are those of
-- a small generator that begins with N, the same in each run: for tests, not for a guest's keys.
local vfu, virtio = require "vfu", require "vfu.virtio"

local rng = virtio.device("virtio-rng", {
  doc    = "virtio entropy device: the guest's /dev/hwrng",
  id     = virtio.ID.rng,
  queues = { { name = "requests", size = 256 } },
  params = { seed = { 0, doc = "not 0: the bytes are those of a generator that starts with it, the same each time" } },
  state  = { generator = 0 },
})

local most <const> = 4096 -- bytes for one chain: a driver that wants more asks again

-- xorshift64*, the highest byte of each step: as plugins/virtio-rng has it.
local function generate(self, n)
  local bytes, x = {}, self.generator
  for i = 1, n do
    x = x ~ (x >> 12)
    x = x ~ (x << 25)
    x = x ~ (x >> 27)
    bytes[i] = string.char(x * 0x2545f4914f6cdd1d >> 56)
  end
  self.generator = x
  return table.concat(bytes)
end

function rng.on:driver(ready)
  if ready then self.generator = self.params.seed end
end

function rng.queue:requests(chain)
  if chain.readable > 0 or chain.writable == 0 then
    return self:broken("an entropy request has a buffer for reading, or none")
  end
  local n = math.min(chain.writable, most)
  local ok, err = chain:write(self.params.seed ~= 0 and generate(self, n) or vfu.random(n))
  if not ok then self:guest_error("a buffer cannot be written: %s", err) end
  chain:done(ok and n or 0)
end

return rng
