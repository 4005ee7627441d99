---@meta vfu
-- SPDX-License-Identifier: BSD-3-Clause

--- Bytes to and from the world outside: a terminal, a socket or a file of the host, as `vfu.stream` names it. Open while
--- the device runs. Nothing here waits: what has no room stays where it is, and the functions below tell when there is
--- more to do.
---
--- A reset does not touch a stream, and a saved state has nothing of it: bytes that the device has read, or has not
--- written yet, are the device's to keep, in its `state`. After a reload the peer is still there.
---@class vfu.Stream
---@field readable? fun(dev: vfu.Device) bytes have come. What it leaves, because the device has no room, waits for the next `read`
---@field writable? fun(dev: vfu.Device) there is room again, after a `write` that took less than it was given
---@field peer? fun(dev: vfu.Device, connected: boolean) a peer has come or gone
local Stream = {}

--- Bytes that have come: up to `n`, or up to 4096, or `""`. The host keeps 4096 of them; then the peer has to wait.
---@param n? integer
---@return string bytes
---@return true? broken a break stands here, with no bytes before it; a stream with `,marks` has such
function Stream:read(n) end

--- Gives bytes to the peer. The host keeps up to 16 KiB that the peer has not taken. Without a peer all are taken, and
--- are gone.
---@param bytes string
---@return integer taken how many of them
function Stream:write(bytes) end

--- Somebody is at the other end: has the terminal open, or is connected. Of a file and of `null` always.
---@return boolean
function Stream:connected() end

--- How many bytes `read` finds; of a stream with `,marks` at most so many.
---@return integer
function Stream:waiting() end

--- How many bytes `write` takes; of a stream with `,marks` at most so many.
---@return integer
function Stream:room() end

--- Sends a break, in order with the bytes. Only of a stream with `,marks`. Nil if there is no room: `writable` is called
--- when there is again.
---@return true? done
---@return string? message
function Stream:send_break() end

--- Ends the connection of the peer at a socket. A terminal cannot throw its user out.
---@return true? done
---@return string? message
function Stream:hang_up() end
