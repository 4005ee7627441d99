---@meta
-- SPDX-License-Identifier: BSD-3-Clause

--- What software may do with a register or a field. What a kind says of writes is applied to each bit by the host.
---@alias vfu.Access
---| "rw"       # reads and writes
---| "ro"       # software writes are ignored
---| "wo"       # reads 0; `.value` keeps the last write
---| "w1c"      # writing 1 clears a bit
---| "w1s"      # writing 1 sets a bit
---| "w1t"      # writing 1 toggles a bit
---| "w0c"      # writing 0 clears a bit
---| "rc"       # read-only, a read clears it
---| "rs"       # read-only, a read sets it
---| "wonce"    # the first write after a reset counts, later ones are ignored
---| "reserved" # no function: software writes leave it alone
---| "unimp"    # exists in hardware, not in this model: reads its reset value, ignored, reported once

--- Why the device is reset.
---@alias vfu.ResetKind
---| "power" # the host has started
---| "bus"   # the client resets the device, or it leaves D3hot without no-soft-reset
---| "flr"   # function level reset

--- A capability, as `--deny` and `--dump-plugin` name it. Those with `client_` in front are the attached client's.
---@alias vfu.Capability
---| "dma"                # client memory by value
---| "dma_map"            # views of client memory
---| "intx"               # the interrupt pin
---| "msi"                # message signalled interrupts
---| "msix"               # the same, with a table
---| "reset"              # the device can be reset
---| "mmap"               # the client may map parts of a BAR
---| "doorbell"           # writes may come as event fds
---| "migration"          # state can be saved and restored
---| "timers"             # events after a time
---| "fd_watch"           # never a script's
---| "poll"               # never a script's
---| "threads"            # never a script's
---| "ffi"                # native code
---| "reload"             # state is kept when the script is swapped
---| "client_fds"         # the client passes descriptors: its memory can be mapped, interrupts are event fds
---| "client_twin_socket" # the client has a second socket for DMA messages
---| "client_write_multi" # the client collects posted writes

--- The options of `vfu.device`.
---@class vfu.DeviceSpec
---@field doc? string one line about the device
---@field pci vfu.PciSpec
---@field params? table<string, vfu.ParamSpec|integer|number|string|boolean> what the command line may say: KEY=VALUE. A plain value is a default
---@field state? table<string, vfu.State> values that are saved with the device, as `dev.NAME`
---@field irq? vfu.IrqSpec
---@field dma? boolean|vfu.DmaSpec true: the device reads and writes client memory
---@field needs? (vfu.Capability|string)[] capabilities without which the device does not work; a client that lacks one is refused

--- What can be saved: nil, booleans, numbers, strings, buffers, and tables of them that are trees without metatables.
---@alias vfu.State boolean|number|string|vfu.Buffer|table

--- The PCI function. Its capabilities are laid out by the host.
---@class vfu.PciSpec
---@field vendor integer 16 bits
---@field device integer 16 bits
---@field subsystem_vendor? integer 16 bits
---@field subsystem? integer 16 bits
---@field revision? integer 8 bits
---@field class? integer 24 bits: base class, sub class, interface; 0xff0000 if left out
---@field intx? boolean has the interrupt pin
---@field msi? integer vectors: 1, 2, 4, 8, 16 or 32
---@field msix? integer|vfu.MsixSpec vectors, up to 2048, with table and PBA in a BAR of their own, the highest free one
---@field express? boolean has a PCI Express capability
---@field flr? boolean can be reset by itself; means `express`
---@field pm? boolean has D0 and D3hot
---@field rom? string a file with the expansion ROM, beside the script

--- MSI-X with table and PBA in a BAR that the script declares.
---@class vfu.MsixSpec
---@field vectors integer 1 to 2048
---@field bar integer
---@field table? integer offset in the BAR, a multiple of 8
---@field pba? integer offset in the BAR; behind the table if left out

--- A parameter. Its type is that of the default, unless `type` or `enum` say otherwise.
---@class vfu.ParamSpec
---@field [1]? integer|number|string|boolean the default
---@field doc? string
---@field min? integer
---@field max? integer
---@field enum? string[] the strings it can be
---@field required? boolean the command line must give it
---@field type? "int"|"bool"|"string"|"enum"|"number"

--- The register whose bits assert the interrupt. INTx is asserted while (level & mask) is not 0; MSI and MSI-X send
--- vector 0 each time one of these bits goes from 0 to 1.
---@class vfu.IrqSpec
---@field level string a register's name
---@field mask? string a register's name

--- DMA in detail.
---@class vfu.DmaSpec
---@field map? boolean `dev.dma:view` is used

--- The options of `dev:bar`.
---@class vfu.BarSpec
---@field size integer bytes, a power of two: 16 to 2^31 ("mem64": 2^62, "io": 4 to 256)
---@field type? "mem32"|"mem64"|"io" "mem32" if left out; "mem64" takes the next index too
---@field prefetch? boolean
---@field sizes? (1|2|4|8)[] the widths allowed; all of them if left out
---@field unmapped? "zeros"|"ones"|"error" what an access meets that nothing covers: "zeros" if left out; "error" is answered EINVAL
---@field ram? boolean memory wherever no register is: `bar.ram`
---@field mmap? boolean|integer[][] the client may map all of it, or parts: a list of {offset, size} in pages; needs `ram`
---@field doorbells? vfu.DoorbellSpec[] writes that call `dev.on:doorbell`
---@field big_endian? boolean registers and integers of raw accesses have their most significant byte first

--- A place whose writes ring a bell, after the register or memory there has had them. The client may send them as
--- event fds.
---@class vfu.DoorbellSpec
---@field [1] integer the offset in the BAR
---@field [2] 0|1|2|4|8 the width of the write that rings; 0: any
---@field match? integer only a write of this value rings
---@field share? string those of one BAR with the same name share an event fd; the first one's index counts for all
---@field shadow? boolean the value comes along with an event fd, where the client can do it

--- The fields and options of `vfu.reg`. Its list is fields.
---@class vfu.RegSpec
---@field [integer]? vfu.Field
---@field reset? integer the value after a reset
---@field doc? string
---@field count? integer an array of so many: `dev.NAME[i]`, from 0
---@field stride? integer bytes from one element to the next; its size if left out
---@field sticky? boolean survives every reset but "power"
---@field commit? "last" pieces of a write are collected; masks and hook run with the highest byte
---@field big_endian? boolean its most significant byte is at the lowest address

--- The options of `vfu.flag`.
---@class vfu.FlagSpec
---@field doc? string
---@field reset? boolean|0|1

--- The options of `vfu.field`.
---@class vfu.FieldSpec
---@field doc? string
---@field reset? integer

--- The options of `vfu.group`.
---@class vfu.GroupSpec
---@field count? integer how many; 1 if left out
---@field stride? integer bytes from one to the next; needed with a count

--- The options of `dev:config`.
---@class vfu.ConfigSpec
---@field caps? vfu.CapSpec[]

--- A PCI capability of the device's own. Its bytes are read-only unless a register of `dev:config` covers them.
---@class vfu.CapSpec
---@field id? integer 9, vendor-specific, if left out
---@field bytes string what follows id and next pointer, up to 190 bytes

--- What `vfu.reg` returns, for the lists of `dev:bar`, `dev:config` and `vfu.group`.
---@class vfu.Reg

--- What `vfu.flag` and `vfu.field` return, for the list of `vfu.reg`.
---@class vfu.Field

--- What `vfu.group` returns, for the list of `dev:bar`.
---@class vfu.Group
