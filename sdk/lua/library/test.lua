---@meta vfu.test
-- SPDX-License-Identifier: BSD-3-Clause

--- What `require "vfu.test"` gives to a file of tests. `X_test.lua` drives `X.lua` or `X.so` beside it, or the plugin X;
--- `vfu-client test X_test.lua` runs it.
---
--- The file runs once to say what tests there are. Each test then runs in a process of its own, with a device of its own
--- that was just started: tests share nothing, and some run at the same time. A check that fails raises, and ends its
--- test. Of the last argument of checks, `what`, goes in front of the message.
---@class vfu.test
local t = {}

--- A test. The function gets the device.
---@param name string
---@param options vfu.TestOptions
---@param fn fun(dut: vfu.Dut)
---@overload fun(name: string, fn: fun(dut: vfu.Dut))
function t.test(name, options, fn) end

--- At the top of the file: the device of the tests that follow, `false` for none. In a test: starts one more, and
--- returns it; without a path it is the file's own, with these parameters and options on top. A path is seen from the
--- test's folder; a name without a slash or a suffix is a plugin's.
---@param path? string|false
---@param params? table<string, boolean|number|string>
---@param options? vfu.SpawnOptions
---@return vfu.Dut?
function t.device(path, params, options) end

--- The tests of another file, seen from this one's folder, for this file's device.
---@param path string
function t.include(path) end

--- Runs before each test.
---@param fn fun(dut: vfu.Dut)
function t.before(fn) end

--- Runs after each test, also after one that has failed; the last that was given first.
---@param fn fun(dut: vfu.Dut)
function t.after(fn) end

--- Moves the device's time, and with it all that is due. Time is real until the first call, then it stands still.
---@param seconds number
---@param dut? vfu.Dut the test's own if left out
function t.advance(seconds, dut) end

--- Leaves this test out from here on.
---@param reason? string
function t.skip(reason) end

--- Fails.
---@param message string
function t.fail(message) end

--- Equal; tables by what is in them. The message names the register that was read in the same line.
---@param actual any
---@param expected any
---@param what? string
function t.eq(actual, expected, what) end

--- Not equal.
---@param actual any
---@param other any
---@param what? string
function t.ne(actual, other, what) end

--- True, or any other value but false and nil; it is returned.
---@param value any
---@param what? string
---@return any
function t.ok(value, what) end

--- False or nil.
---@param value any
---@param what? string
function t.no(value, what) end

--- Not further apart than `tolerance`.
---@param actual number
---@param expected number
---@param tolerance number
---@param what? string
function t.near(actual, expected, tolerance, what) end

--- The text has the pattern, as a pattern of Lua or as it stands.
---@param text string
---@param pattern string
---@param what? string
function t.match(text, pattern, what) end

--- The function raises an error, with the pattern in its text, which is returned.
---@param fn fun()
---@param pattern? string
---@param what? string
---@return string
function t.raises(fn, pattern, what) end

--- Calls the function until it gives something true, which is returned.
---@param fn fun(): any
---@param seconds? number 1.0 if left out
---@param what? string
---@return any
function t.eventually(fn, seconds, what) end

--- Prints, for the one who reads of the failure. `print` does too.
---@param format any
---@param ... any
function t.log(format, ...) end

--- Options of `t.test`.
---@class vfu.TestOptions
---@field params? table<string, boolean|number|string> parameters of the device
---@field irq? "best"|"msix"|"msi"|"intx"|"none" what interrupts are armed with; "best"
---@field vectors? integer how many are armed at most; 64
---@field args? string[] more words for vfu-host
---@field twin? boolean ask for a second socket for DMA
---@field timeout? number seconds that it may take, instead of the command line's
---@field skip? string why it is left out

return t
