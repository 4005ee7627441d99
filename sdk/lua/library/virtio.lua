---@meta vfu.virtio
-- SPDX-License-Identifier: BSD-3-Clause

--- What `require "vfu.virtio"` gives to a script: virtio devices over PCI, as virtio 1.2 has them. The page
--- [virtio.md](virtio.md) tells how they are written.
---@class vfu.virtio
local virtio = {}

--- Device types, for `id`: net, block, console, rng, balloon, scsi, p9, gpu, input, vsock, crypto, fs, i2c, gpio.
---@type table<string, integer>
virtio.ID = {}

--- Declares the device, in the place of `vfu.device`. BAR 0, config space, MSI-X and the doorbells are the transport's; more
--- BARs are declared as ever. All that a device has, this one has too.
---@param name string
---@param spec vfu.VirtioSpec
---@return vfu.VirtioDevice
function virtio.device(name, spec) end

--- What a virtio device is. `doc`, `params`, `state` and `needs` are those of `vfu.device`.
---@class vfu.VirtioSpec
---@field id integer the device type: `virtio.ID.rng`, or 1 to 63. The PCI device id is 0x1040 and this
---@field queues vfu.VirtioQueue[] 1 to 64 of them
---@field features? table<string, integer> feature bits of the device type, NAME = bit: 0 to 23 and 50 to 63. What belongs to the transport and the rings is offered in any case
---@field config? vfu.Reg[] registers of device configuration space, from its start; up to 4096 bytes
---@field class? integer the PCI class; 0x00ff00
---@field vectors? integer of MSI-X; one for each queue, and one
---@field doc? string
---@field params? table<string, any>
---@field state? table<string, vfu.State>
---@field needs? string[]

---@class vfu.VirtioQueue
---@field name string an identifier: `function dev.queue:NAME(chain)` is called for its chains
---@field size? integer places, a power of two up to 32768; 256. A driver may use fewer
---@field depth? integer chains that the script has at a time at most; all if left out

--- A device of `virtio.device`.
---@class vfu.VirtioDevice: vfu.Device
---@field queue table<string, fun(self: vfu.Device, chain: vfu.Chain)> called for each chain of that queue; it may wait. If it raises, the driver gets the chain back with nothing written
local VirtioDevice = {}

--- Whether the driver has accepted the feature, one of `features`. False before it has said so.
---@param name string
---@return boolean
function VirtioDevice:feature(name) end

--- Tells the driver that device configuration space has changed.
function VirtioDevice:config_changed() end

--- The driver has done what makes no sense: the device needs a reset, and leaves the rings alone until then.
---@param why string
function VirtioDevice:broken(why) end

--- A chain of buffers, the script's until it is done with it; it may be kept, and done in any order. A reset takes it
--- away: then all methods return nil and "chain gone". So does a client that leaves.
---
--- After a migration or a reload chains that were not done come anew, through the queue's function, and where a client
--- follows another one without a reset.
---@class vfu.Chain
---@field readable integer bytes for the device to read
---@field writable integer bytes for the device to write
---@field id integer tells it from the other chains that the script has of this queue
---@field queue string the queue's name
---@field alive boolean it is the script's: neither done, nor taken away
local Chain = {}

--- Reads, from behind what was read before, or from an offset on. May wait where `dev.dma:read` may.
---@param n? integer bytes; all that is left
---@param offset? integer
---@return string? data
---@return string? message
function Chain:read(n, offset) end

--- Writes, behind what was written before, or from an offset on.
---@param data string
---@param offset? integer
---@return true? done
---@return string? message
function Chain:write(data, offset) end

--- Reads into a buffer, at `at` of it: as `read`, without a string in between.
---@param buffer vfu.Buffer
---@param at integer
---@param n? integer bytes; all that is left
---@param offset? integer in the chain
---@return true? done
---@return string? message
function Chain:read_into(buffer, at, n, offset) end

--- Writes out of a buffer, from `at` of it on: as `write`, without a string in between.
---@param buffer vfu.Buffer
---@param at integer
---@param n? integer bytes; as many as there is room for
---@param offset? integer in the chain
---@return true? done
---@return string? message
function Chain:write_from(buffer, at, n, offset) end

--- Gives the chain back to the driver.
---
--- The driver is told how many bytes from the first on it may look at. Without a number these are the bytes that were
--- written in one piece, in whatever order: after a status in the last byte alone it is 0.
---@param written? integer bytes that the driver may look at
---@return true? done
---@return string? message
function Chain:done(written) end
