-- A comma is missing.
local vfu = require "vfu"
local digest = vfu.device("digest", {
  pci = { vendor = 0x1234 device = 0x4c79, class = 0x108000 },
})
return digest
