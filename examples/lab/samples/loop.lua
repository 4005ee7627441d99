-- Never gets to its end, so that it never loads.
while true do end
