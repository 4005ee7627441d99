---@meta
-- SPDX-License-Identifier: BSD-3-Clause

--- Another device model, opened by `vfu.plugin`. The device that a script returns is what `wrap` makes of it.
---@class vfu.Plugin
---@field name string
---@field version string
---@field summary string
local Plugin = {}

--- The device of the plugin, with hooks around what software asks of it and what it asks of the host. Each hook gets
--- `next`, the original: `return next(...)` passes on, other arguments change what is asked, other results what is
--- answered, and without it nothing happens. A hook left out is passed on.
---
--- The device keeps its name, register map, dumps, saved state, doorbells and timers. Its registers are
--- `dev.regs.NAME`; `dev.event` and `dev.on` are the wrapper's own hooks, which run after the plugin's. With `read` or
--- `write` the client cannot map the BARs and gets no event fds for doorbells, with a DMA hook the plugin cannot map
--- the client's memory: all comes by way of the hooks.
---@param spec? vfu.WrapSpec
---@return vfu.Device
function Plugin:wrap(spec) end

--- The hooks and options of `inner:wrap`.
---@class vfu.WrapSpec
---@field read? fun(self: vfu.Device, next: (fun(bar: integer, offset: integer, size: integer): (integer|string)?, string?), bar: integer, offset: integer, size: integer): (integer|string)?, string? software reads a BAR: an integer up to 8 bytes, a string above; `nil, "EIO"` (any errno's name) fails the access. Never waits
---@field write? fun(self: vfu.Device, next: (fun(bar: integer, offset: integer, size: integer, value: integer|string): true?, string?), bar: integer, offset: integer, size: integer, value: integer|string): true?, string? software writes to a BAR. May wait: the write is then answered already
---@field dma_read? fun(self: vfu.Device, next: (fun(address: integer, length: integer): string?, string?), address: integer, length: integer): string?, string? the plugin reads client memory; `nil, "EFAULT"` fails it. May wait
---@field dma_write? fun(self: vfu.Device, next: (fun(address: integer, data: string): true?, string?), address: integer, data: string): true?, string? the plugin writes client memory. May wait
---@field raise? fun(self: vfu.Device, next: (fun(vector: integer): boolean?, string?), vector: integer): any the plugin raises an interrupt, by itself or as bits of its level register rise (vector 0). May wait
---@field params? table<string, vfu.ParamSpec|integer|number|string|boolean> the wrapper's own; the plugin's are given as inner.KEY=VALUE
---@field state? table<string, vfu.State> values of the wrapper's own, saved with the device, as `dev.NAME`
---@field needs? (vfu.Capability|string)[] beside what the plugin needs
