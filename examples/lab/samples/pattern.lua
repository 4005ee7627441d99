-- A pattern match that backtracks for years, which nothing in Lua can stop.
local text = ("a"):rep(40)
return text:find((".-"):rep(40) .. "b")
