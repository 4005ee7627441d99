-- digest: write your device here, as SPEC.md describes it.
--
--   vfu-host --plugin digest.lua --check      does it load?
--   vfu-client test digest_test.lua           does it do the first things?
local vfu = require "vfu"
local reg = vfu.reg

local digest = vfu.device("digest", {
  pci   = { vendor = 0x1234, device = @DEVICE@, revision = 1, class = 0x108000, intx = true, msi = 1 },
  state = { fifo = {} },
  dma   = true,
})

digest:bar(0, { size = 4096, sizes = { 4, 8 } }, {
  reg("ID", 0x00, 4, "ro", { reset = @ID@ }),
})

return digest
