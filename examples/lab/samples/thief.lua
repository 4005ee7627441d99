-- Passes the teacher's own device off as its own.
return require("vfu").plugin("edu"):wrap {}
