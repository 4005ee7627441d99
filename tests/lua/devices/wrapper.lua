-- SPDX-License-Identifier: BSD-3-Clause
-- A wrapper with hooks of all kinds, whose writes of LIVE wait.
local vfu = require "vfu"

return vfu.plugin("edu"):wrap {
  read = function(_, next, ...) return next(...) end,
  write = function(_, next, bar, offset, size, value)
    if offset == 0x04 then vfu.sleep(1000) end
    return next(bar, offset, size, value)
  end,
  dma_read = function(_, next, ...) return next(...) end,
  dma_write = function(_, next, ...) return next(...) end,
  raise = function(_, next, ...) return next(...) end,
}
