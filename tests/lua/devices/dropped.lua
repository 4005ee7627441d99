-- SPDX-License-Identifier: BSD-3-Clause
-- Passes the first interrupt on, and loses the others.
local vfu = require "vfu"

local passed = false

return vfu.plugin("level.lua"):wrap {
  raise = function(_, next, vector)
    if passed then return end
    passed = true
    return next(vector)
  end,
}
