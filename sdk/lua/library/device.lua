---@meta
-- SPDX-License-Identifier: BSD-3-Clause

--- The device, as `vfu.device` returns it and as every hook gets it as `self`.
---
--- Beside what is named here it has its registers, groups and state by their names: `dev.NAME`. A register and a
--- group are read only as such: `dev.NAME.value` and `dev.NAME.FIELD` are what is read and set. State is read and set
--- as `dev.NAME`. Setting any other name raises.
---@class vfu.Device
---@field regs table<string, vfu.Register|any> the registers and groups by name, also those whose name is one of the device's own in a later version
---@field params table<string, any> the parameters' values; a name that is not declared raises
---@field read vfu.ReadHooks
---@field write vfu.WriteHooks
---@field event vfu.EventHooks
---@field on vfu.OnHooks
---@field irq vfu.Irq
---@field dma vfu.Dma with `dma` in the device's options
---@field inner vfu.Plugin of a device that `inner:wrap` has made
---@field [string] any
local Device = {}

--- Declares a BAR and the registers in it. An access is cut at register borders, lowest address first.
---@param index integer 0 to 5
---@param spec vfu.BarSpec
---@param registers? (vfu.Reg|vfu.Group)[]
---@return vfu.Bar
function Device:bar(index, spec, registers) end

--- Adds capabilities and hooked registers to config space.
---@param spec vfu.ConfigSpec
---@param registers? (vfu.Reg|vfu.Group)[]
function Device:config(spec, registers) end

--- Bytes of config space as software reads them; where a register of the script's own lies, its value, without its
--- hooks.
---@param offset integer
---@param size? integer 4 if left out; an integer up to 8 bytes, least byte first, a string above
---@return (integer|string)? value
---@return string? message
function Device:config_read(offset, size) end

--- Changes config space as the hardware does: bytes of the device's own capabilities, and the bits of status registers
--- that software clears by writing 1. All else must be written as it stands: a change of what is the host's raises
--- (BARs, ids, MSI, power, COMMAND), and so does a register of the script's own. It stays until software clears it or a
--- reset puts back what was declared.
---@param offset integer
---@param value integer|string
---@param size? integer of an integer: 1 to 8, 4 if left out
---@return boolean? done
---@return string? message
function Device:config_write(offset, value, size) end

--- Software writes of these registers are ignored while the condition holds. It is judged before the write is stored,
--- piece by piece, and never for the device's own access.
---
--- `"REG.FIELD"` (any bit of it set), `"REG"` and, with a `!` in front, their contrary, are looked at by the host. A
--- function is called for each such write, with the register's name and the value that is to be written; true keeps
--- the register.
---@param names string|string[] registers, "GROUP.REG" for one of a group
---@param condition string|fun(self: vfu.Device, name: string, value: integer, i: integer?, j: integer?): boolean?
function Device:lock(names, condition) end

--- Starts `dev.event:NAME` once, after so many seconds. Events due at the same time run in the order they were set.
--- Those that wait are saved with the device, and dropped by a reset.
---@param seconds number 0: after the access at hand is answered
---@param event string
---@param ... boolean|number|string|nil up to 16 arguments
---@return vfu.Timer? timer
---@return string? message
function Device:after(seconds, event, ...) end

--- Starts `dev.event:NAME` again and again, the first time after one period.
---@param seconds number at least 1e-6
---@param event string
---@param ... boolean|number|string|nil up to 16 arguments
---@return vfu.Timer? timer
---@return string? message
function Device:every(seconds, event, ...) end

--- Whether a capability is in force now: declared by the script and not denied, or, with `client_` in front, the
--- client's.
---@param capability vfu.Capability
---@return boolean
function Device:granted(capability) end

--- The guest did what the device's data sheet forbids: counted, logged, rate-limited. Arguments as of
--- `string.format`.
---@param format any
---@param ... any
function Device:guest_error(format, ...) end

--- Tells the people and programs around the device that something has happened: a line of the log, an event of the
--- control socket, and with `fatal` the exit status 4 of a host that runs with `--once` or `--run`. `name` and the keys
--- of `data` are of letters, digits, `-`, `_` and `.`, up to 63 of them; values are strings up to 1023 bytes, numbers and
--- booleans, up to 32 of them.
---@param name string what has happened, such as "panicked"
---@param data? table<string, string|number|boolean>
---@param options? { fatal: boolean? }
function Device:report(name, data, options) end

--- `function dev.read:REG(value, i)` computes what a read returns. It must return an integer, and sees a "rc"
--- register before it is cleared. Of a register in a group: `function dev.read.GROUP:REG(value, i, j)`. Read hooks
--- never wait.
---@class vfu.ReadHooks
---@field [string] fun(self: vfu.Device, value: integer, i: integer?, j: integer?): integer

--- `function dev.write:REG(new, old, i, raw)` runs after a software write; the register already holds `new`. nil
--- leaves it as the hook leaves it, an integer replaces it. `raw` are the bits as sent. `i` is nil where there is no
--- array. Of a register in a group: `function dev.write.GROUP:REG(new, old, i, j, raw)`. A write hook may wait.
---@class vfu.WriteHooks
---@field [string] fun(self: vfu.Device, new: integer, old: integer, i: integer?, ...: integer?): integer?

--- `function dev.event:NAME(...)` is started by `dev:after` and `dev:every`, with their arguments. It may wait.
---@class vfu.EventHooks
---@field [string] fun(self: vfu.Device, ...)

--- What happens to the device: `function dev.on:reset(kind)`. None of these can wait; what has to goes into an event.
---@class vfu.OnHooks
---@field reset? fun(self: vfu.Device, kind: vfu.ResetKind) registers, timers and interrupts are already reset
---@field attach? fun(self: vfu.Device) a client has come
---@field detach? fun(self: vfu.Device) the client is gone, and its memory with it
---@field power? fun(self: vfu.Device, state: integer) 0: D0, 3: D3hot
---@field save? fun(self: vfu.Device): table? what is to be saved beside registers, state and events
---@field load? fun(self: vfu.Device, saved: vfu.State) what `save` returned; all else is restored already
---@field doorbell? fun(self: vfu.Device, bar: integer, index: integer, value: integer) rung, once or more often; `index` counts the BAR's doorbells from 0
---@field driver? fun(self: vfu.Device, ready: boolean) of `virtio.device`: its driver is ready, or has reset it
---@field config? fun(self: vfu.Device, offset: integer, size: integer, value: integer, old: integer) software has written config space where no register of the script's lies, and the host has acted on it: 1 to 4 bytes as they are now and as they were. Not told of resets

--- A BAR, for what no register covers. Integers up to 8 bytes, strings above; `nil, "EIO"` (any errno's name) fails
--- the access.
---@class vfu.Bar
---@field read? fun(self: vfu.Device, offset: integer, size: integer): (integer|string)?, string?
---@field write? fun(self: vfu.Device, offset: integer, size: integer, value: integer|string): nil, string?
---@field ram vfu.Buffer with `ram = true`; there once the device runs
---@field address integer where the guest has put it, 0 at first; for a moment, while a guest sizes it, nonsense. Worth something while `decoded`. This and what follows: once the device runs, not to be set
---@field decoded boolean the guest has switched it on
---@field mapped boolean the client has its memory, and may use the mappable parts unseen
local Bar = {}

--- Whether the client has the event fd of this doorbell: then its writes may come without the access being seen.
---@param index integer counts the BAR's doorbells from 0
---@return boolean
function Bar:doorbell_fd(index) end

--- A register: the device's own access, without hooks and masks. A field is a boolean, an integer or its enum's
--- string; one that does not fit raises. An array is `dev.NAME[i]`, a group `dev.GROUP[i].NAME`, from 0.
---@class vfu.Register
---@field value integer all of it
---@field [string] boolean|integer|string a field

--- Interrupts. The kind is the one that the client has armed: MSI-X, then MSI, then INTx.
---@class vfu.Irq
local Irq = {}

--- Sends the vector; asserts INTx until it is lowered.
---@param vector? integer 0 if left out
---@return boolean? sent true, also where it is masked and kept pending; false where the client has not armed it
---@return string? message
function Irq:raise(vector) end

--- Ends INTx. Does nothing under MSI and MSI-X.
---@param vector? integer 0 if left out
---@return boolean? done
---@return string? message
function Irq:lower(vector) end

--- Tells the client that the device is broken.
---@return boolean? sent
---@return string? message
function Irq:error() end

--- Asks the client to give the device back.
---@return boolean? sent
---@return string? message
function Irq:request() end

--- What `dev:after` and `dev:every` return.
---@class vfu.Timer
local Timer = {}

--- Forgets the event.
---@return boolean there false if it has run, or was dropped by a reset
function Timer:cancel() end
