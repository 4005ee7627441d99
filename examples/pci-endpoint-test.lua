-- SPDX-License-Identifier: BSD-3-Clause
-- The PCI endpoint test function that Linux drives with pci_endpoint_test: every kind of interrupt, DMA to, from and
-- inside the guest's memory with checksums, and five BARs of memory (docs/devices/pci-endpoint-test.md).
local vfu = require "vfu"
local reg, flag = vfu.reg, vfu.flag

local CHUNK = 1 << 20 -- of a transfer; between two of them others have their turn
local INTX, MSI, MSIX = 0, 1, 2

local dev = vfu.device("pci-endpoint-test", {
  doc    = "PCI endpoint test function: interrupts, DMA with checksums, BARs of memory",
  pci    = { vendor = 0x104c, device = 0xb500, class = 0xff0000, intx = true, msi = 32,
             msix = { vectors = 2048, bar = 0, table = 0x8000, pba = 0x10000 }, express = true, flr = true },
  params = { mmap = { true, doc = "the guest can map BARs 3 to 5" } },
  dma    = true,
})

-- The driver's test of BAR 0 writes MAGIC alone, so that MSI-X can be there too.
dev:bar(0, { size = 128 << 10, sizes = { 4 } }, {
  reg("MAGIC",          0x00, 4, { doc = "keeps what is written" }),
  reg("COMMAND",        0x04, 4, { doc = "one bit starts it; reads 0 when it is done",
    flag("RAISE_INTX", 0), flag("RAISE_MSI", 1), flag("RAISE_MSIX", 2),
    flag("READ", 3, { doc = "from SRC, against CHECKSUM" }),
    flag("WRITE", 4, { doc = "random bytes to DST, their checksum to CHECKSUM" }),
    flag("COPY", 5, { doc = "from SRC to DST" }) }),
  reg("STATUS",         0x08, 4, { doc = "of the last command; a read takes INTx back",
    flag("READ_SUCCESS", 0), flag("READ_FAIL", 1), flag("WRITE_SUCCESS", 2), flag("WRITE_FAIL", 3),
    flag("COPY_SUCCESS", 4), flag("COPY_FAIL", 5), flag("IRQ_RAISED", 6),
    flag("SRC_ADDR_INVALID", 7), flag("DST_ADDR_INVALID", 8) }),
  reg("LOWER_SRC_ADDR", 0x0c, 4),
  reg("UPPER_SRC_ADDR", 0x10, 4),
  reg("LOWER_DST_ADDR", 0x14, 4),
  reg("UPPER_DST_ADDR", 0x18, 4),
  reg("SIZE",           0x1c, 4, { doc = "bytes" }),
  reg("CHECKSUM",       0x20, 4, { doc = "CRC-32, not complemented at the end" }),
  reg("IRQ_TYPE",       0x24, 4, { doc = "0 INTx, 1 MSI, 2 MSI-X" }),
  reg("IRQ_NUMBER",     0x28, 4, { doc = "from 1; of no meaning for INTx" }),
  reg("FLAGS",          0x2c, 4, { flag("USE_DMA", 0, { doc = "by the DMA engine; this device has no other way" }) }),
  reg("CAPS",           0x30, 4, "ro", {
    flag("UNALIGNED_ACCESS", 0, { reset = true }), flag("MSI", 1, { reset = true }),
    flag("MSIX", 2, { reset = true }), flag("INTX", 3, { reset = true }) }),
})

for bar, size in pairs({ 4 << 10, 4 << 10, 16 << 10, 128 << 10, 1 << 20 }) do
  dev:bar(bar, { size = size, ram = true, mmap = bar >= 3 and dev.params.mmap })
end

-- INTx stays asserted until the driver's handler looks at STATUS.
local function interrupt(self, kind, number)
  local last = ({ [INTX] = 1, [MSI] = 32, [MSIX] = 2048 })[kind]
  if kind == INTX then number = 1 end
  if not last then return self:guest_error("IRQ_TYPE is %d, which is neither INTx, MSI nor MSI-X", kind) end
  if number < 1 or number > last then
    return self:guest_error("IRQ_NUMBER is %d, not from 1 to %d", number, last)
  end
  self.STATUS.IRQ_RAISED = true
  if not self.irq:raise(number - 1) then
    self:guest_error("interrupt %d of IRQ_TYPE %d is not enabled", number, kind)
  end
end

function dev.read:STATUS(v)
  self.irq:lower()
  return v
end

-- One piece, read or written; false and a mark in STATUS if there is no such memory.
local function read(self, address, n)
  local data, why = self.dma:read(address, n)
  if data then return data end
  self.STATUS.SRC_ADDR_INVALID = true
  self:guest_error("reading %d bytes at %s: %s", n, vfu.hex(address), why)
end

local function write(self, address, data)
  local ok, why = self.dma:write(address, data)
  if ok then return true end
  self.STATUS.DST_ADDR_INVALID = true
  self:guest_error("writing %d bytes at %s: %s", #data, vfu.hex(address), why)
end

-- A block of an odd size, over and over: no two pages of it are the same.
local function noise()
  local words = {}
  for i = 1, 513 do words[i] = string.pack("<i8", math.random(0)) end
  return table.concat(words):sub(1, 4099)
end

local transfer = {} -- n bytes in pieces; true if all went well

function transfer:READ(n, src)
  local sum = 0
  for at = 0, n - 1, CHUNK do
    local data = read(self, src + at, math.min(CHUNK, n - at))
    if not data then return false end
    sum = vfu.crc32(data, sum)
    vfu.sleep(0)
  end
  return ~sum & 0xffffffff == self.CHECKSUM.value
end

function transfer:WRITE(n, _, dst)
  local block, sum = noise(), 0
  local data = block:rep(math.min(n, CHUNK) // #block + 1)
  for at = 0, n - 1, CHUNK do
    local piece = data:sub(1, math.min(CHUNK, n - at))
    if not write(self, dst + at, piece) then return false end
    sum = vfu.crc32(piece, sum)
    vfu.sleep(0)
  end
  self.CHECKSUM.value = ~sum & 0xffffffff
  return true
end

function transfer:COPY(n, src, dst)
  for at = 0, n - 1, CHUNK do
    local data = read(self, src + at, math.min(CHUNK, n - at))
    if not data or not write(self, dst + at, data) then return false end
    vfu.sleep(0)
  end
  return true
end

function dev.write:COMMAND(new, old)
  if old ~= 0 then
    self:guest_error("COMMAND gets %s while it is at %s", vfu.hex(new), vfu.hex(old))
    return old
  end
  if new == 0 then return end
  self.STATUS.value = 0
  self:after(1e-6, "run")
end

local COMMANDS = { [1] = INTX, [2] = MSI, [4] = MSIX, [8] = "READ", [16] = "WRITE", [32] = "COPY" }

function dev.event:run()
  local what = COMMANDS[self.COMMAND.value]
  local kind, number = self.IRQ_TYPE.value, self.IRQ_NUMBER.value
  local status = self.STATUS
  if transfer[what] then
    local ok = transfer[what](self, self.SIZE.value, self.UPPER_SRC_ADDR.value << 32 | self.LOWER_SRC_ADDR.value,
                              self.UPPER_DST_ADDR.value << 32 | self.LOWER_DST_ADDR.value)
    status[what .. (ok and "_SUCCESS" or "_FAIL")] = true
  elseif what then
    kind = what
  else
    self:guest_error("COMMAND is %s, which is not one command", vfu.hex(self.COMMAND.value))
  end
  self.COMMAND.value = 0
  if what then interrupt(self, kind, number) end
end

return dev
