-- SPDX-License-Identifier: BSD-3-Clause
-- A queue whose hook keeps its chain and fails: the chain is the guest's again, and not the script's any more.
local vfu, virtio = require "vfu", require "vfu.virtio"
local log = vfu.log

local dev = virtio.device("chains", { id = virtio.ID.rng, queues = { { name = "requests", size = 8 } } })

local kept

function dev.queue:requests(chain)
  if kept then
    log.error("kept: %s %s %s", kept.alive, kept:write("old"))
    log.error("kept: %s %s", kept:done())
    chain:write("new")
    chain:done()
    kept = nil
    return
  end
  kept = chain
  error("fails")
end

return dev
