-- SPDX-License-Identifier: BSD-3-Clause
-- Bochs display: a frame buffer in a mapped BAR, the "dispi" mode registers, EDID. Linux drives it with bochs
-- (docs/devices/bochs-display.md). The registers are those of QEMU's docs/specs/standard-vga, without legacy VGA modes.
local vfu = require "vfu"
local reg, flag = vfu.reg, vfu.flag

local dev = vfu.device("bochs-display", {
  doc    = "Bochs display adapter: a frame buffer, modes by register, EDID",
  pci    = { vendor = 0x1234, device = 0x1111, subsystem_vendor = 0x1af4, subsystem = 0x1100, revision = 2,
             class = 0x038000 },
  params = {
    display = { "none", doc = "where the picture goes: vnc:HOST:PORT, vnc:PORT, vnc:unix:PATH, png:FILE, none" },
    vgamem  = { 16 << 20, min = 1 << 20, max = 256 << 20, doc = "bytes of video memory, a power of two" },
    xres    = { 1024, min = 64, max = 4088, doc = "width that the monitor likes best" },
    yres    = { 768, min = 64, max = 4088, doc = "height that the monitor likes best" },
  },
  state  = { dac = vfu.buffer(768), dac_read = 0, dac_write = 0, attribute = false },
})
local params = dev.params
local screen = vfu.display(params.display)

local fb = dev:bar(0, { size = params.vgamem, prefetch = true, ram = true, mmap = true })

-- 0x400 is VGA's port 0x3c0. Of VGA there is what blanks the screen, and the palette of modes with 8 bits.
dev:bar(2, { size = 4096, sizes = { 1, 2, 4 } }, {
  reg("EDID",        0x000, 1, "ro", { count = 128, doc = "what the monitor can show, EDID 1.4" }),

  reg("ATTRIBUTE",   0x400, 1, { doc = "3c0: index and data by turns; bit 5 of the index shows the picture",
                                 reset = 0x20 }),
  reg("MISC",        0x402, 1, "wo", { doc = "3c2: no function here" }),
  reg("DAC_MASK",    0x406, 1, { reset = 0xff, doc = "3c6: no function here" }),
  reg("DAC_READ",    0x407, 1, { doc = "3c7: the colour that DAC_DATA reads" }),
  reg("DAC_WRITE",   0x408, 1, { doc = "3c8: the colour that DAC_DATA writes" }),
  reg("DAC_DATA",    0x409, 1, { doc = "3c9: red, green and blue by turns" }),
  reg("STATUS",      0x41a, 1, "ro", { doc = "3da: a read makes ATTRIBUTE take an index next" }),

  reg("ID",          0x500, 2, { reset = 0xb0c5, doc = "0xb0c0 to 0xb0c5: the version that software asks for" }),
  reg("XRES",        0x502, 2, { doc = "width; the largest with ENABLE.GETCAPS" }),
  reg("YRES",        0x504, 2, { doc = "height; the largest with ENABLE.GETCAPS" }),
  reg("BPP",         0x506, 2, { doc = "bits of a pixel: 8, 15, 16, 24, 32; the most with ENABLE.GETCAPS" }),
  reg("ENABLE",      0x508, 2, {
    flag("ENABLED", 0, { doc = "show it" }),
    flag("GETCAPS", 1, { doc = "XRES, YRES and BPP read the largest values" }),
    flag("DAC8", 5, { doc = "colours of the palette have 8 bits, not 6" }),
    flag("LFB", 6, { doc = "use the linear frame buffer; there is no other here" }),
    flag("NOCLEARMEM", 7, { doc = "keep what is in memory; it always is kept here" }),
  }),
  reg("BANK",        0x50a, 2, { doc = "of the window at 0xa0000, which is not there" }),
  reg("VIRT_WIDTH",  0x50c, 2, { doc = "pixels from one line to the next; at least XRES" }),
  reg("VIRT_HEIGHT", 0x50e, 2, { doc = "lines that the memory has room for at this width" }),
  reg("X_OFFSET",    0x510, 2, { doc = "of the first pixel shown" }),
  reg("Y_OFFSET",    0x512, 2, { doc = "of the first line shown" }),
  reg("MEMORY_64K",  0x514, 2, "ro", { reset = math.min(params.vgamem >> 16, 0xffff), doc = "size of the memory" }),

  reg("QEXT_SIZE",   0x600, 4, "ro", { reset = 8, doc = "bytes of the registers from here" }),
  reg("QEXT_ENDIAN", 0x604, 4, { reset = 0x1e1e1e1e, doc = "0x1e1e1e1e: little-endian pixels, 0xbebebebe: big-endian" }),
})

-- ---- EDID 1.4 ----

-- A timing with reduced blanking (CVT 1.2), 60 pictures a second.
local function detailed_timing(x, y)
  local vsync = x * 3 == y * 4 and 4 or x * 9 == y * 16 and 5 or x * 10 == y * 16 and 6 or 10
  local line = (1e6 / 60 - 460) / y -- microseconds
  local hblank, vblank = 160, math.max(math.floor(460 / line) + 1, 3 + vsync + 6)
  local clock = math.min((x + hblank) * (y + vblank) * 60 // 10000, 0xffff) -- 10 kHz
  local mm_x, mm_y = math.floor(x * 25.4 / 96), math.floor(y * 25.4 / 96)
  return string.pack("<I2BBBBBBBBBBBBBBBB", clock,
    x & 0xff, hblank, x >> 8 << 4, y & 0xff, vblank & 0xff, y >> 8 << 4 | vblank >> 8,
    48, 32, 3 << 4 | vsync, 0, -- syncs: 48 pixels behind the line, 32 wide; 3 lines behind the picture
    mm_x & 0xff, mm_y & 0xff, mm_x >> 8 << 4 | mm_y >> 8, 0, 0,
    0x1a) -- digital separate sync, horizontal positive
end

local function text(tag, s)
  return string.pack("<I2BBBc13", 0, 0, tag, 0, (s .. "\n             "):sub(1, 13))
end

local function make_edid(x, y)
  local block = string.pack(">I8I2", 0x00ffffffffffff00, ("V"):byte() - 64 << 10 | ("F"):byte() - 64 << 5 | ("U"):byte() - 64)
    .. string.pack("<I2I4BB", 0x1111, 0, 0xff, 2025 - 1990) -- product, no serial number, a model year
    .. string.pack("BBBBBBB", 1, 4, 0xa5, math.min(x * 254 // 9600, 255), math.min(y * 254 // 9600, 255), 0x78, 0x06)
    .. "\xee\x91\xa3\x54\x4c\x99\x26\x0f\x50\x54" -- the colours of sRGB
    .. "\x21\x08\x00" -- 640x480, 800x600, 1024x768 at 60 Hz
    .. ("\x01\x01"):rep(8)
    .. detailed_timing(x, y) .. text(0xfc, "vfu display") .. text(0xff, "0")
    .. string.pack("<I2BBBc13", 0, 0, 0x10, 0, "") -- nothing in the last place
    .. "\0" -- no further block
  local sum = 0
  for i = 1, #block do sum = sum + block:byte(i) end
  return block .. string.char(-sum & 0xff)
end

local edid = make_edid(params.xres, params.yres)

function dev.read:EDID(_, i) return edid:byte(i + 1) end

-- ---- the picture ----

local MODES = { [8] = { "C8", 1 }, [15] = { "XRGB1555", 2 }, [16] = { "RGB565", 2 }, [24] = { "RGB888", 3 },
                [32] = { "XRGB8888", 4 } }

local function palette(self)
  local colours, shift = {}, self.ENABLE.DAC8 and 0 or 2
  for i = 0, 255 do
    local r, g, b = self.dac:read(i * 3, 3):byte(1, 3)
    colours[i + 1] = (r << shift & 0xff) << 16 | (g << shift & 0xff) << 8 | b << shift & 0xff
  end
  return colours
end

local function update(self)
  local mode = MODES[self.BPP.value]
  if not self.ENABLE.ENABLED or self.ATTRIBUTE.value & 0x20 == 0 then return screen:blank() end
  if not mode then
    screen:blank()
    return self:guest_error("there are no modes of %d bits", self.BPP.value)
  end
  local width, height, bytes = self.XRES.value, self.YRES.value, mode[2]
  local stride = math.max(self.VIRT_WIDTH.value, width) * bytes
  local ok, message = screen:show {
    memory = fb.ram, width = width, height = height, stride = stride, format = mode[1],
    offset = self.Y_OFFSET.value * stride + self.X_OFFSET.value * bytes,
    palette = bytes == 1 and palette(self) or nil, big_endian = self.QEXT_ENDIAN.value == 0xbebebebe,
  }
  if not ok then
    self:guest_error("no picture of %dx%d from %d,%d, lines of %d bytes: %s", width, height, self.X_OFFSET.value,
                     self.Y_OFFSET.value, stride, message)
  end
end

local function changed(self, new, old)
  if new ~= old then update(self) end
end

for _, name in ipairs { "XRES", "YRES", "BPP", "X_OFFSET", "Y_OFFSET", "QEXT_ENDIAN" } do
  dev.write[name] = changed
end

-- With the largest mode in the place of the present one.
local function capability(name, value)
  dev.read[name] = function(self, now) return self.ENABLE.GETCAPS and value or now end
end
capability("XRES", 8192)
capability("YRES", 8192)
capability("BPP", 32)

-- A mode starts without panning, and with lines as long as they are shown.
function dev.write:ENABLE(new, old)
  if new & 1 == 1 and old & 1 == 0 then
    self.VIRT_WIDTH.value, self.X_OFFSET.value, self.Y_OFFSET.value = self.XRES.value, 0, 0
  end
  if (new ~ old) & 0x21 ~= 0 then update(self) end
end

function dev.write:VIRT_WIDTH(new, old)
  changed(self, new, old)
  return math.max(new, self.XRES.value)
end

function dev.write:VIRT_HEIGHT(_, old) return old end

function dev.read:VIRT_HEIGHT()
  local mode = MODES[self.BPP.value]
  local line = self.VIRT_WIDTH.value * (mode and mode[2] or 1)
  return line > 0 and math.min(params.vgamem // line, 0xffff) or 0
end

function dev.write:ID(new, old)
  return new >= 0xb0c0 and new <= 0xb0c5 and new or old
end

-- ---- VGA ----

-- The register keeps the last index; what is written to the others goes nowhere.
function dev.write:ATTRIBUTE(new, old)
  self.attribute = not self.attribute
  if not self.attribute then return old end
  self.ATTRIBUTE.value = new
  if (new ~ old) & 0x20 ~= 0 then update(self) end
end

function dev.read:STATUS()
  self.attribute = false
  return 0
end

function dev.write:DAC_READ(new) self.dac_read = new * 3 end
function dev.write:DAC_WRITE(new) self.dac_write = new * 3 end

function dev.write:DAC_DATA(new)
  self.dac:u8(self.dac_write, new)
  self.dac_write = (self.dac_write + 1) % 768
  if self.BPP.value == 8 and self.dac_write % 3 == 0 then update(self) end
end

function dev.read:DAC_DATA()
  local value = self.dac:u8(self.dac_read)
  self.dac_read = (self.dac_read + 1) % 768
  return value
end

-- ---- reset, a loaded state ----

function dev.on:reset()
  self.dac:write(0, ("\0"):rep(768))
  self.dac_read, self.dac_write, self.attribute = 0, 0, false
  screen:blank()
end

function dev.on.save() return {} end -- so that load is called: registers, palette and memory are saved by themselves
function dev.on:load() update(self) end

return dev
