-- Takes memory until there is none.
local hoard = {}
for i = 1, 1 << 40 do hoard[i] = ("x"):rep(1 << 20) .. i end
