-- SPDX-License-Identifier: BSD-3-Clause
-- testdev, the tests' device, as a script: the same ids, registers and behaviour as plugins/testdev, which lists them.
-- docs/testdev.md says what differs: an expansion ROM and exact errnos of DMA are not there.
local vfu = require "vfu"
local reg, flag, field = vfu.reg, vfu.flag, vfu.field

local dev = vfu.device("testdev", {
  doc    = "The tests' device: one of everything",
  pci    = { vendor = 0x1234, device = 0x7e57, subsystem_vendor = 0x1234, subsystem = 1, revision = 1, class = 0xff0000,
             intx = true, msi = 4, msix = { vectors = 8, bar = 0, table = 0x8000, pba = 0x9000 },
             express = true, flr = true, pm = true },
  params = {
    scratch = { 0, min = 0, max = 0xffffffff, doc = "reset value of SCRATCH" },
    mmap    = { true, doc = "parts of BAR4 can be mapped" },
    label   = { "", doc = "logged at the start" },
    pattern = { "ramp", enum = { "ramp", "zero", "ones" }, doc = "what DMA writes" },
    slow    = { 1.0, min = 0, max = 1000, doc = "factor of timer delays" },
  },
  state  = { fifo = "", raw = vfu.buffer(2048), buffer = "" },
  irq    = { level = "INT_STATUS", mask = "INT_MASK" },
  dma    = { map = true },
})

dev:bar(0, {
  size = 65536,
  doorbells = {
    { 0x1000, 4 }, { 0x1004, 4, share = "pair" }, { 0x1008, 4, share = "pair" },
    { 0x100c, 4, match = 0x11 }, { 0x100c, 4, match = 0x22 }, { 0x1010, 4, shadow = true }, { 0x1018, 8 }, { 0x1020, 0 },
  },
}, {
  reg("ID", 0x000, 4, "ro", { reset = 0x31564454, doc = '"TDV1"' }),
  reg("SCRATCH", 0x004, 4, { doc = "reset value: parameter scratch" }),

  reg("K_RW",       0x010, 4, "rw"),
  reg("K_RO",       0x014, 4, "ro", { reset = 0x12345678 }),
  reg("K_WO",       0x018, 4, "wo"),
  reg("K_W1C",      0x01c, 4, "w1c", { reset = 0xffffffff }),
  reg("K_W1S",      0x020, 4, "w1s"),
  reg("K_W1T",      0x024, 4, "w1t", { reset = 0x0000ffff }),
  reg("K_W0C",      0x028, 4, "w0c", { reset = 0xffffffff }),
  reg("K_RC",       0x02c, 4, "rc", { reset = 0x5a5a5a5a }),
  reg("K_RS",       0x030, 4, "rs", { reset = 0x5a5a5a5a }),
  reg("K_WONCE",    0x034, 4, "wonce"),
  reg("K_RESERVED", 0x038, 4, "reserved", { reset = 0x0badcafe }),
  reg("K_UNIMP",    0x03c, 4, "unimp", { reset = 0xdeadbeef }),
  reg("PEEK_SEL",   0x040, 4, { doc = "which of the twelve above, 0: K_RW" }),
  reg("PEEK",       0x044, 4, { doc = "its value as hardware sees and sets it" }),

  reg("W8",  0x050, 1),
  reg("W16", 0x052, 2),
  reg("W32", 0x054, 4),
  reg("W64", 0x058, 8),
  reg("BE32", 0x060, 4, { big_endian = true }),
  reg("BE64", 0x068, 8, { big_endian = true }),
  reg("LAST", 0x070, 8, { commit = "last" }),
  reg("LAST_WRITES", 0x078, 4, "ro"),
  reg("PARTS", 0x080, 8),
  reg("PARTS_WRITES", 0x088, 4, "ro"),
  reg("STICKY", 0x090, 4, { sticky = true }),
  reg("LOCK", 0x094, 4, { doc = "bit 0 locks LOCKED" }),
  reg("LOCKED", 0x098, 4),
  reg("LOCKED_HOOK", 0x09c, 4, { doc = "locked while SCRATCH is 0x4b434f4c" }),
  reg("FIELDS", 0x0a0, 4, {
    field("LOW", 0, 8), field("RO", 8, 4, "ro", { reset = 5 }), field("W1C", 12, 4, "w1c", { reset = 15 }),
    field("MODE", 16, 3, { off = 0, slow = 1, fast = 5 }),
  }),
  reg("INVERT", 0x0a4, 4, { doc = "keeps the complement" }),
  reg("READS", 0x0a8, 4, "ro", { doc = "counts its reads" }),
  reg("BAD_WRITE", 0x0ac, 4, { doc = "0xbad is a bus error" }),
  reg("BAD_READ", 0x0b0, 4, { doc = "reads are bus errors" }),
  reg("GUEST_ERROR", 0x0b4, 4, "wo"),
  reg("GUEST_ERRORS", 0x0b8, 4, "ro"),
  reg("ARRAY", 0x100, 4, { count = 8, stride = 8 }),
  vfu.group("CH", 0x180, { count = 4, stride = 0x20 }, {
    reg("ADD", 0x00, 4, "wo"), reg("DATA", 0x04, 4, { count = 3 }), reg("SUM", 0x10, 4, "ro", { doc = "of what ADD got" }),
  }),

  reg("INT_STATUS", 0x200, 4, "ro", {
    doc = "why the interrupt is asserted",
    field("USER", 0, 8, { doc = "set by INT_SET" }),
    flag("DMA", 8, { doc = "a transfer has ended" }),
    flag("TIMER", 9, { doc = "a timer has fired" }),
    flag("BELL", 10, { doc = "a doorbell has rung" }),
    flag("DEFER", 11, { doc = "deferred work is done" }),
  }),
  reg("INT_MASK", 0x204, 4, { reset = 0xffffffff }),
  reg("INT_SET", 0x208, 4, "wo"),
  reg("INT_ACK", 0x20c, 4, "wo"),
  reg("IRQ_RAISE", 0x210, 4, "wo"),
  reg("IRQ_LOWER", 0x214, 4, "wo"),
  reg("IRQ_RESULT", 0x218, 4, "ro", { doc = "0, 1 (pending) or minus an errno" }),
  reg("IRQ_SIGNAL", 0x21c, 4, "wo", { doc = "3: error, 4: request" }),

  reg("DMA_ADDR", 0x300, 8),
  reg("DMA_LEN", 0x308, 8, { doc = "bytes, up to 1 MiB" }),
  reg("DMA_DST", 0x310, 8, { doc = "where COPY writes" }),
  reg("DMA_SEED", 0x318, 4),
  reg("DMA_SUM", 0x31c, 4, "ro", { doc = "FNV-1a of the bytes moved" }),
  reg("DMA_CMD", 0x320, 4, {
    field("OP", 0, 4, { "none", "read_now", "write_now", "read", "write", "map_read", "map_write", "copy", "hold",
      "release" }, { doc = "a write of any but none starts it" }),
    flag("KEEP", 8, { doc = "write the buffer as it is, not the pattern" }),
    flag("IRQ", 9, { doc = "set INT_STATUS.DMA at the end" }),
  }),
  reg("DMA_STATUS", 0x324, 4, "ro", {
    field("ERRNO", 0, 16, { doc = "of the last transfer, 0: none" }), flag("BUSY", 31),
  }),
  reg("DMA_DONE", 0x328, 4, "ro", { doc = "transfers ended" }),
  reg("WIN_OFF", 0x330, 8),
  reg("WIN_DATA", 0x338, 4, { doc = "four bytes of the window held" }),

  reg("TIMER_DELAY", 0x400, 8, { doc = "ns" }),
  reg("TIMER_PERIOD", 0x408, 8, { doc = "ns, 0: once" }),
  reg("TIMER_CMD", 0x410, 4, "wo", { doc = "1: start, 2: cancel the last, 3: start with interrupt" }),
  reg("TIMER_FIRED", 0x414, 4, "ro"),
  reg("TIMER_RESULT", 0x418, 4, "ro"),
  reg("DEFER", 0x420, 4, "wo", { doc = "so many pieces of deferred work, up to 64" }),
  reg("DEFERRED", 0x424, 4, "ro"),
  reg("BUSY_US", 0x428, 4, "wo", { doc = "holds the device for that long, up to 100000" }),

  reg("RAM_BAR", 0x500, 4, { reset = 2 }),
  reg("RAM_OFF", 0x504, 4),
  reg("RAM_DATA", 0x508, 4, { doc = "the memory of RAM_BAR at RAM_OFF, as the device sees it" }),
  reg("POWER", 0x50c, 4, "ro", { doc = "D state" }),
  reg("RESETS", 0x510, 4, "ro", { sticky = true }),
  reg("RESET_KIND", 0x514, 4, "ro", { doc = "of the last: 0 power, 1 bus, 2 FLR" }),
  reg("ATTACHES", 0x518, 4, "ro", { sticky = true }),
  reg("DETACHES", 0x51c, 4, "ro", { sticky = true }),

  reg("BELL_OWN", 0x1000, 4),
  reg("BELL_SHARED1", 0x1004, 4),
  reg("BELL_SHARED2", 0x1008, 4),
  reg("BELL_MATCH", 0x100c, 4, { doc = "rings for 0x11 and for 0x22" }),
  reg("BELL_SHADOW", 0x1010, 4),
  reg("BELL_WIDE", 0x1018, 8),
  reg("BELL_ANY", 0x1020, 4, { doc = "rings for a write of any width" }),
  reg("RINGS", 0x1080, 4, "ro", { count = 9 }),
  reg("BELL_IRQ", 0x10a4, 4, { doc = "not 0: each ring sets INT_STATUS.BELL" }),
  reg("RUNG", 0x1100, 8, "ro", { count = 9 }),
})

dev:bar(1, { size = 64, type = "io", sizes = { 1, 2, 4 }, unmapped = "ones", doorbells = { { 0x10, 1 } } }, {
  reg("IO_SCRATCH", 0x00, 4),
  reg("IO_ID",      0x04, 2, "ro", { reset = 0x4f49 }),
  reg("FIFO",       0x08, 1),
  reg("FIFO_LEVEL", 0x09, 1, "ro"),
  reg("IO_BELL",    0x10, 1),
})

local ram = { [2] = dev:bar(2, { size = 4 << 20, type = "mem64", prefetch = true, ram = true }) }

local areas = dev.params.mmap and { { 0x1000, 0x1000 }, { 0x4000, 0x8000 } } or nil
ram[4] = dev:bar(4, { size = 65536, ram = true, mmap = areas }, {
  reg("MARK", 0x00, 4, "ro", { reset = 0x504d4d53 }),
})

local raw = dev:bar(5, { size = 4096, unmapped = "error" })

dev:config({ caps = { { id = 9, bytes = "\10testdev" } } }, {})

if dev.params.label ~= "" then vfu.log.info("this is %s", dev.params.label) end

-- Registers

local kinds = {
  "K_RW", "K_RO", "K_WO", "K_W1C", "K_W1S", "K_W1T", "K_W0C", "K_RC", "K_RS", "K_WONCE", "K_RESERVED", "K_UNIMP",
}

local function peeked(self) return kinds[self.PEEK_SEL.value + 1] end

function dev.read:PEEK()
  local name = peeked(self)
  return name and self.regs[name].value or 0
end

function dev.write:PEEK(v)
  local name = peeked(self)
  if name then self.regs[name].value = v end
end

function dev.write:LAST()  self.LAST_WRITES.value = self.LAST_WRITES.value + 1 end
function dev.write:PARTS() self.PARTS_WRITES.value = self.PARTS_WRITES.value + 1 end
function dev.write:INVERT(v) return ~v end

function dev.read:READS(n)
  self.READS.value = n + 1
  return n + 1
end

function dev.write:BAD_WRITE(v) if v == 0xbad then error("BAD_WRITE got 0xbad") end end
function dev.read:BAD_READ() error("BAD_READ is read") end

function dev.write:GUEST_ERROR(v)
  self.GUEST_ERRORS.value = self.GUEST_ERRORS.value + 1
  self:guest_error("GUEST_ERROR got %s", vfu.hex(v))
end

dev:lock("LOCKED", function(self) return self.LOCK.value & 1 == 1 end)
dev:lock("LOCKED_HOOK", function(self) return self.SCRATCH.value == 0x4b434f4c end)

function dev.write.CH:ADD(v, _, i) self.CH[i].SUM.value = self.CH[i].SUM.value + v & 0xffffffff end

function dev.write:FIFO(v)
  if #self.fifo == 16 then return self:guest_error("the FIFO is full") end
  self.fifo = self.fifo .. string.char(v)
  self.FIFO_LEVEL.value = #self.fifo
end

function dev.read:FIFO()
  local first = self.fifo:byte() or 0xff
  self.fifo = self.fifo:sub(2)
  self.FIFO_LEVEL.value = #self.fifo
  return first
end

local function memory(self)
  local bar, off = self.RAM_BAR.value, self.RAM_OFF.value
  if not ram[bar] or off % 4 ~= 0 then error("RAM_BAR and RAM_OFF name no word of memory") end
  return ram[bar].ram, off
end

function dev.read:RAM_DATA()
  local mem, off = memory(self)
  return mem:u32(off)
end

function dev.write:RAM_DATA(v)
  local mem, off = memory(self)
  assert(mem:u32(off, v))
end

-- BAR5

local function raw_fault(offset, size)
  local stop = offset + size
  return stop > 0xe00 and "EINVAL" or stop > 0xc00 and "EIO"
end

function raw.read(self, offset, size)
  local fault, bytes = raw_fault(offset, size), {}
  if fault then return nil, fault end
  local n = math.max(0, math.min(size, 2048 - offset))
  if n > 0 then bytes[1] = self.raw:read(offset, n) end
  for at = offset + n, offset + size - 1 do bytes[#bytes + 1] = string.char(at & 0xff) end
  bytes = table.concat(bytes)
  return size <= 8 and string.unpack("<I" .. size, bytes) or bytes
end

function raw.write(self, offset, size, value)
  local fault = raw_fault(offset, size)
  if fault then return nil, fault end
  if size <= 8 then value = string.pack("<i8", value):sub(1, size) end
  local n = math.min(size, 2048 - offset)
  if n > 0 then self.raw:write(offset, value:sub(1, n)) end
end

-- Interrupts

function dev.write:INT_SET(v) self.INT_STATUS.value = self.INT_STATUS.value | v & 0xfff end
function dev.write:INT_ACK(v) self.INT_STATUS.value = self.INT_STATUS.value & ~v end

function dev.write:IRQ_RAISE(v)
  local sent = self.irq:raise(v)
  self.IRQ_RESULT.value = sent and 0 or sent == false and -2 or -22
end

function dev.write:IRQ_LOWER(v)
  self.irq:lower(v)
  self.IRQ_RESULT.value = 0
end

function dev.write:IRQ_SIGNAL(v)
  if v == 3 then self.irq:error() elseif v == 4 then self.irq:request() end
  self.IRQ_RESULT.value = (v == 3 or v == 4) and 0 or -22
end

-- DMA

local EFAULT, EINVAL, ECANCELED = 14, 22, 125
local window -- what OP hold opened

local function fnv(bytes)
  local sum = 0x811c9dc5
  for i = 1, #bytes do sum = (sum ~ bytes:byte(i)) * 0x01000193 & 0xffffffff end
  return sum
end

-- Byte i is seed + 7 i + i / 256: 256 bytes that depend on (seed + i / 256) alone.
local function ramp(seed, n)
  local blocks = {}
  for k = 0, (n - 1) // 256 do
    local bytes = {}
    for j = 0, 255 do bytes[j + 1] = seed + k + 7 * j & 0xff end
    blocks[k + 1] = string.char(table.unpack(bytes))
    if k == 255 then break end
  end
  local all = table.concat(blocks)
  return all:rep((n + #all - 1) // math.max(#all, 1)):sub(1, n)
end

local function fill(self, n)
  if self.params.pattern == "ramp" then return ramp(self.DMA_SEED.value, n) end
  return (self.params.pattern == "ones" and "\xff" or "\0"):rep(n)
end

local function finish(self, errno, bytes, why)
  if errno == 0 then
    self.DMA_SUM.value = fnv(bytes)
  else
    self:guest_error("DMA of %d bytes at %s: %s", self.DMA_LEN.value, vfu.hex(self.DMA_ADDR.value), why)
  end
  self.DMA_STATUS.value = errno
  self.DMA_DONE.value = self.DMA_DONE.value + 1
  if self.DMA_CMD.IRQ then self.INT_STATUS.DMA = true end
end

local function get(self, addr, n)
  local bytes, why = self.dma:read(addr, n)
  if not bytes then return finish(self, why == "client gone" and ECANCELED or EFAULT, nil, why) end
  self.buffer = bytes
  return bytes
end

local function put(self, addr, bytes)
  local ok, why = self.dma:write(addr, bytes)
  finish(self, ok and 0 or why == "client gone" and ECANCELED or EFAULT, bytes, why)
end

local function reads(self, addr, n)
  local bytes = get(self, addr, n)
  if bytes then finish(self, 0, bytes) end
end

local function writes(self, addr, n)
  if not self.DMA_CMD.KEEP then self.buffer = fill(self, n) end
  put(self, addr, self.buffer:sub(1, n) .. ("\0"):rep(n - #self.buffer))
end

local ops = { read_now = reads, read = reads, write_now = writes, write = writes }

function ops.map_read(self, addr, n)
  local view, why = self.dma:view(addr, n, "r")
  if not view then return finish(self, EFAULT, nil, why) end
  local bytes, gone = view:read(0, n)
  view:close()
  if not bytes then return finish(self, EFAULT, nil, gone) end
  self.buffer = bytes
  finish(self, 0, bytes)
end

function ops.map_write(self, addr, n)
  local view, why = self.dma:view(addr, n, "w")
  if not view then return finish(self, EFAULT, nil, why) end
  if not self.DMA_CMD.KEEP then self.buffer = fill(self, n) end
  local ok, gone = view:write(0, self.buffer:sub(1, n))
  view:close()
  finish(self, ok and 0 or EFAULT, self.buffer, gone)
end

function ops.copy(self, addr, n)
  local bytes = get(self, addr, n)
  if bytes then put(self, self.DMA_DST.value, bytes) end
end

local function held(self, errno)
  self.DMA_STATUS.value = errno
  self.DMA_DONE.value = self.DMA_DONE.value + 1
end

local function release()
  if window then window:close() end
  window = nil
end

local function hold(self)
  release()
  window = self.dma:view(self.DMA_ADDR.value, self.DMA_LEN.value, "rw")
  held(self, window and 0 or EFAULT)
end

dev:lock({ "DMA_ADDR", "DMA_LEN", "DMA_DST", "DMA_SEED", "DMA_CMD" }, "DMA_STATUS.BUSY")

function dev.write:DMA_CMD()
  local op, n = self.DMA_CMD.OP, self.DMA_LEN.value
  if op == "none" then return end
  if op == "hold" then return hold(self) end
  if op == "release" then
    release()
    return held(self, 0)
  end
  if math.ult(1 << 20, n) or not ops[op] then return finish(self, EINVAL, nil, "not what the engine can do") end
  self.DMA_STATUS.value = 1 << 31
  self:after(0, "dma")
end

function dev.event:dma() ops[self.DMA_CMD.OP](self, self.DMA_ADDR.value, self.DMA_LEN.value) end

function dev.read:WIN_DATA()
  if not window then error("no window") end
  local word, why = window:u32(self.WIN_OFF.value)
  return word or error(why)
end

function dev.write:WIN_DATA(v)
  if not window then error("no window") end
  assert(window:u32(self.WIN_OFF.value, v))
end

-- Time

local last -- the timer started last

function dev.write:TIMER_CMD(v)
  local result = -22
  if v == 1 or v == 3 then
    -- The binding has one time for both: a period, when there is one, is also the delay.
    local period = self.TIMER_PERIOD.value
    if period > 0 then
      last = self:every(math.max(period, 1000) * 1e-9, "timer", v == 3)
    else
      last = self:after(math.max(self.TIMER_DELAY.value, 0) * 1e-9 * self.params.slow, "timer", v == 3)
    end
    result = 0
  elseif v == 2 then
    result = last and last:cancel() and 0 or -2
  end
  self.TIMER_RESULT.value = result
end

function dev.event:timer(interrupt)
  self.TIMER_FIRED.value = self.TIMER_FIRED.value + 1
  if interrupt then self.INT_STATUS.TIMER = true end
end

function dev.write:DEFER(n)
  for _ = 1, math.min(n, 64) do self:after(0, "deferred") end
end

function dev.event:deferred()
  self.DEFERRED.value = self.DEFERRED.value + 1
  self.INT_STATUS.DEFER = true
end

function dev.write:BUSY_US(n)
  local stop = vfu.now() + math.min(n, 100000) * 1e-6
  while vfu.now() < stop do end
end

-- Doorbells and life

local first = { [0] = 0, [1] = 8 } -- the number of each BAR's first doorbell

function dev.on:doorbell(bar, index, value)
  local i = first[bar] + index
  self.RINGS[i].value = self.RINGS[i].value + 1 & 0xffffffff
  self.RUNG[i].value = value
  if self.BELL_IRQ.value ~= 0 then self.INT_STATUS.BELL = true end
end

function dev.on:reset(kind)
  self.fifo, self.buffer, last = "", "", nil
  self.raw:write(0, ("\0"):rep(2048))
  self.SCRATCH.value = self.params.scratch
  self.RESET_KIND.value = ({ power = 0, bus = 1, flr = 2 })[kind]
  self.RESETS.value = self.RESETS.value + 1
end

function dev.on:attach() self.ATTACHES.value = self.ATTACHES.value + 1 end

function dev.on:detach()
  window = nil
  self.DETACHES.value = self.DETACHES.value + 1
end

function dev.on:power(state) self.POWER.value = state end

return dev
