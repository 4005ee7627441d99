---@meta ffi
-- SPDX-License-Identifier: BSD-3-Clause

--- What `require "ffi"` gives to a script whose device has `needs = { "ffi" }`: C functions and C data. The manual
--- page [ffi.md](ffi.md) has what cdef takes, and what differs from LuaJIT.
---@class ffi
local ffi = {}

--- A type: its text (`"struct point *"`), a ctype, or a C value whose type is meant.
---@alias ffi.Type string|ffi.CType|ffi.CData

--- What `ffi.typeof` returns. Called, it is `ffi.new`.
---@class ffi.CType
---@overload fun(...: any): any

--- A C value: a struct, an array, a pointer, a function or a callback. A callback, which `ffi.cast` makes of a Lua
--- function, has `set(fn)` and `free()`.
---@class ffi.CData
---@field [string] any a member
---@field [integer] any an element

--- A library. Functions, variables and constants that were declared are read by name; variables can be assigned.
---@class ffi.Library
---@field [string] any

--- What the process has: the C library.
---@type ffi.Library
ffi.C = {}

--- Declares types, functions, variables and constants, in C.
---@param text string
function ffi.cdef(text) end

--- Loads a library: `"z"` is libz.so, `"libz.so.1"` is that file.
---@param name string
---@return ffi.Library
function ffi.load(name) end

--- A zeroed value of the type with its initialisers; the first is the count of a type that ends in `[?]`.
---@param ct ffi.Type
---@param ... any
---@return any
function ffi.new(ct, ...) end

--- A number cut to the type, a pointer of another type, or a callback.
---@param ct ffi.Type
---@param value any
---@return any
function ffi.cast(ct, value) end

--- The type itself, to be kept.
---@param ct ffi.Type
---@return ffi.CType
function ffi.typeof(ct) end

--- Its bytes; nil for a type without a size.
---@param ct ffi.Type
---@param n? integer the count of a type that ends in `[?]`
---@return integer?
function ffi.sizeof(ct, n) end

--- Its alignment in bytes.
---@param ct ffi.Type
---@return integer?
function ffi.alignof(ct) end

--- The offset of a member in bytes.
---@param ct ffi.Type
---@param member string
---@return integer?
function ffi.offsetof(ct, member) end

--- Whether the value is of that type, or a pointer to that struct.
---@param ct ffi.Type
---@param value any
---@return boolean
function ffi.istype(ct, value) end

--- A Lua string of n bytes, or up to the 0.
---@param ptr ffi.CData
---@param n? integer
---@return string
function ffi.string(ptr, n) end

--- Copies n bytes; without n, a string and its 0.
---@param dst ffi.CData
---@param src ffi.CData|string
---@param n? integer
function ffi.copy(dst, src, n) end

--- Sets n bytes.
---@param dst ffi.CData
---@param n integer
---@param byte? integer 0 if left out
function ffi.fill(dst, n, byte) end

--- errno after the last call of C.
---@param new? integer what the next call finds
---@return integer
function ffi.errno(new) end

--- Calls the C function with the value when it is garbage; nil takes that back.
---@param value ffi.CData
---@param finalizer ffi.CData?
---@return ffi.CData
function ffi.gc(value, finalizer) end

return ffi
