-- What every script finds: redis.*, protected globals, and the driver that runs it.
local raw_error, raw_type, raw_pcall, getinfo = error, type, pcall, debug.getinfo
local tostring, rawset, setmetatable, xpcall = tostring, rawset, setmetatable, xpcall
local host = ...

redis = { LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
          REDIS_VERSION = host.version, REDIS_VERSION_NUM = host.version_num }

redis.call = host.raising

function redis.pcall(...)
  return host.call(...)
end

function redis.acl_check_cmd(...)
  local answer = host.may_call(...)
  if raw_type(answer) == "table" then raw_error(answer) end
  return answer
end

function redis.status_reply(text)
  if raw_type(text) ~= "string" then return { err = "ERR wrong number or type of arguments" } end
  return { ok = text }
end

function redis.error_reply(text)
  if raw_type(text) ~= "string" then return { err = "ERR wrong number or type of arguments" } end
  if text:sub(1, 1) == "-" then text = text:sub(2) end
  if not text:find(" ", 1, true) then text = "ERR " .. text end
  return { err = text }
end

redis.sha1hex = host.sha1hex
redis.log = host.log
function redis.setresp() end
function redis.set_repl() end
function redis.replicate_commands() return true end
redis.REPL_ALL, redis.REPL_AOF, redis.REPL_REPLICA, redis.REPL_SLAVE, redis.REPL_NONE = 3, 1, 2, 2, 0

-- Lua's own counts results in an int and overflows it.
local raw_unpack, RESULTS_MAX, INDEX_MAX = unpack, 7900, 2^30
function unpack(list, first, last)
  first, last = tonumber(first or 1), tonumber(last or #list)
  if first and last and (last - first >= RESULTS_MAX or first < -INDEX_MAX or last > INDEX_MAX) then
    raw_error("too many results to unpack", 2)
  end
  return raw_unpack(list, first, last)
end

-- Each item of a pattern may take a frame of the C stack, which is not endless.
local PATTERN_BYTES_MAX = 2000
for _, name in ipairs({ "find", "match", "gmatch", "gsub" }) do
  local raw = string[name]
  string[name] = function(text, pattern, third, fourth)
    local long = raw_type(pattern) == "string" and #pattern > PATTERN_BYTES_MAX
    if long and not (name == "find" and fourth) then raw_error("pattern too complex", 2) end
    return raw(text, pattern, third, fourth)
  end
end
string.gfind = nil

for _, name in ipairs({ "debug", "loadfile", "dofile", "print", "collectgarbage", "newproxy",
                        "load", "loadstring", "getfenv", "setfenv", "module", "require" }) do
  rawset(_G, name, nil)
end

setmetatable(_G, {
  __index = function(_, name)
    raw_error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
  __newindex = function(_, name)
    raw_error("Attempt to modify a readonly table", 2)
  end,
  __metatable = false,
})

local function where()
  for level = 3, 20 do
    local info = getinfo(level, "Sl")
    if not info then return nil end
    if info.source == "@user_script" then return info.currentline end
  end
end

local function explain(problem)
  if raw_type(problem) == "table" then
    if raw_type(problem.err) ~= "string" then problem.err = "ERR unknown error" end
    problem.line = problem.line or where()
    return problem
  end
  return { err = "ERR " .. tostring(problem), line = where() }
end

-- Gives true and the result, or false and a table that says what went wrong, and where.
return function(body)
  return xpcall(body, explain)
end
