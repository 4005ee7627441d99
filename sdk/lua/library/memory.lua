---@meta
-- SPDX-License-Identifier: BSD-3-Clause

--- Client memory by value. Addresses and lengths may be anything a guest wrote: what is not there gives nil and a
--- message. Integers are little-endian.
---
--- Memory that is reached by messages only makes events and write hooks wait; other hooks get nil, "would wait".
---@class vfu.Dma
local Dma = {}

--- Reads up to 16 MiB.
---@param addr integer
---@param n integer
---@return string? data
---@return string? message
function Dma:read(addr, n) end

--- Writes. With nil and a message, which is what a read that failed returns, it writes nothing and returns them.
---@param addr integer
---@param data string?
---@param message? string
---@return true? done
---@return string? message
function Dma:write(addr, data, message) end

--- Reads one byte, or writes it.
---@param addr integer
---@param value? integer
---@return integer|true|nil
---@return string? message
function Dma:u8(addr, value) end

--- Reads two bytes, or writes them.
---@param addr integer
---@param value? integer
---@return integer|true|nil
---@return string? message
function Dma:u16(addr, value) end

--- Reads four bytes, or writes them.
---@param addr integer
---@param value? integer
---@return integer|true|nil
---@return string? message
function Dma:u32(addr, value) end

--- Reads eight bytes, or writes them.
---@param addr integer
---@param value? integer
---@return integer|true|nil
---@return string? message
function Dma:u64(addr, value) end

--- A window to client memory, which must be mappable and in one region; nil and a message where it is not. Needs `dma
--- = {map = true}`. It ends when the client takes the memory away, and when it is closed.
---@param addr integer
---@param n integer
---@param mode? "r"|"w"|"rw" "r" if left out
---@return vfu.View? view
---@return string? message
function Dma:view(addr, n, mode) end

--- A window to client memory. `#view` is its size; it can be a to-be-closed variable.
---@class vfu.View
local View = {}

---@param off integer
---@param n integer
---@return string? data
---@return string? message
function View:read(off, n) end

---@param off integer
---@param data string?
---@param message? string
---@return true? done
---@return string? message
function View:write(off, data, message) end

---@param off integer
---@param value? integer
---@return integer|true|nil
---@return string? message
function View:u8(off, value) end

---@param off integer
---@param value? integer
---@return integer|true|nil
---@return string? message
function View:u16(off, value) end

---@param off integer
---@param value? integer
---@return integer|true|nil
---@return string? message
function View:u32(off, value) end

---@param off integer
---@param value? integer
---@return integer|true|nil
---@return string? message
function View:u64(off, value) end

--- As `string.unpack`; the last value is the offset behind what was read.
---@param format string
---@param off? integer 0 if left out
---@return any ...
function View:unpack(format, off) end

--- Ends the window; what is done with it after that gives nil and a message.
function View:close() end

--- Device memory: `vfu.buffer(n)`, and `bar.ram`. `#buffer` is its size. What is outside gives nil and a message.
---@class vfu.Buffer
local Buffer = {}

---@param off integer
---@param n integer up to 16 MiB
---@return string? data
---@return string? message
function Buffer:read(off, n) end

---@param off integer
---@param data string?
---@param message? string
---@return true? done
---@return string? message
function Buffer:write(off, data, message) end

---@param off integer
---@param value? integer
---@return integer|true|nil
---@return string? message
function Buffer:u8(off, value) end

---@param off integer
---@param value? integer
---@return integer|true|nil
---@return string? message
function Buffer:u16(off, value) end

---@param off integer
---@param value? integer
---@return integer|true|nil
---@return string? message
function Buffer:u32(off, value) end

---@param off integer
---@param value? integer
---@return integer|true|nil
---@return string? message
function Buffer:u64(off, value) end

--- As `string.unpack`; the last value is the offset behind what was read.
---@param format string
---@param off? integer 0 if left out
---@return any ...
function Buffer:unpack(format, off) end

--- What the device shows to people: see `vfu.display`. A guest may set up what no screen can show: then `show` returns
--- nil and why, and the screen is blank. A saved state holds no picture: show again in `dev.on:load`.
---@class vfu.Display
local Display = {}

--- What is shown from now on.
---
--- In a BAR's `ram`, which the guest may write to unseen, the host looks for changes itself while somebody watches,
--- unless `marked` says that the device tells of them. What is in a `vfu.buffer` is taken now; `changed` takes changes.
---@param frame vfu.Frame
---@return true? shown
---@return string? message
function Display:show(frame) end

--- Shows nothing, as at first.
function Display:blank() end

--- These pixels have changed; all of them without arguments. nil, message while nothing is
--- shown, which is so after a reload, too, for what was in a `vfu.buffer`.
---@param x? integer
---@param y? integer
---@param width? integer
---@param height? integer
---@return true? done
---@return string? message
function Display:changed(x, y, width, height) end

---@class vfu.Frame
---@field memory vfu.Buffer a BAR's `ram` or a `vfu.buffer`
---@field width integer pixels, 1 to 8192
---@field height integer pixels, 1 to 8192
---@field offset? integer bytes to the first pixel; 0 if left out
---@field stride? integer bytes from one line to the next; without a gap if left out
---@field format? "XRGB8888"|"XBGR8888"|"RGB888"|"BGR888"|"RGB565"|"XRGB1555"|"C8"|"R8" little-endian pixels, named from the most significant bit; "XRGB8888" if left out
---@field palette? integer[] of "C8": 256 colours, 0xRRGGBB
---@field big_endian? boolean pixels of 2 or 4 bytes have their most significant byte first
---@field marked? boolean in a BAR: `changed` tells what has changed
