-- The part of the sandbox that is easier to say in Lua. Runs once per state, before any script.
--
-- IN   native: functions and tables built in Rust (settle, handler, raise, protected, and one table per library);
--      native.compiler makes the loadstring of an environment, max_chunk_bytes bounds what load reads;
--      native.functions is set in the state of FUNCTION and FCALL, native.proven in that of scripts which keep to their keys
-- OUT  enter(slot, call, keys, argv): runs the script kept in that slot of native.scripts
--      adopt(script, slot): puts a compiled script there and makes its globals ours
--      enter_function(slot, call, keys, argv): calls the function kept in that slot
--      enter_library(slot, call): runs a library, yielding the list of functions it registers
--      Each returns whether the code returned, then its value; of a short array nil and its elements.
--
-- Every table a script can reach by a global name is an empty proxy in front of the real one, so that nothing a script does
-- outlives it; but for scripts that are proven not to write into them. The functions that would write into a proxy past its
-- metatable (rawset, table.insert, table.sort) look it up in
-- `frozen` first.

local native = ...

local assert, error, getmetatable, ipairs, next, pairs = assert, error, getmetatable, ipairs, next, pairs
local rawequal, rawget, rawset, select, setfenv, setmetatable = rawequal, rawget, rawset, select, setfenv, setmetatable
local tonumber, tostring, type, unpack = tonumber, tostring, type, unpack
local raw_pcall, raw_xpcall = pcall, xpcall
-- Lua's error messages show these names.
local concat, insert, sort = table.concat, table.insert, table.sort
local settle, killed, handler, raise = native.settle, native.killed, native.handler, native.raise

local READONLY = "Attempt to modify a readonly table"
-- The most values one call returns on Lua's stack.
local MAX_UNPACKED = 7999
-- Positions below this make table.insert shift through empty slots without end.
local MIN_INSERT_POSITION = -65536
local MAX_INT = 2147483647
-- Tables longer than this are sorted by a comparison written in Lua, so that sorting them can be interrupted.
local MAX_UNINTERRUPTED_SORT = 1000

local function readonly()
  error(READONLY, 2)
end

-- Proxy -> real table. What is shown as the metatable of a proxy is one itself, or nothing.
local frozen = {}
local function freeze(real, shown)
  local proxy = setmetatable({}, { __index = real, __newindex = readonly, __metatable = shown or false })
  frozen[proxy] = real
  return proxy
end

local function check_writable(t)
  if frozen[t] then
    error(READONLY, 0)
  end
end

local function check_table(value, name, count)
  if type(value) ~= "table" then
    local found = count == 0 and "no value" or type(value)
    error("bad argument #1 to '" .. name .. "' (table expected, got " .. found .. ")", 3)
  end
end

-- What a failed protected call hands to the script. Errors raised by library functions arrive as opaque objects; a kill is
-- raised again by settle. As in Redis, pcall shows an error table by its text.
local function caught(ok, ...)
  if ok then
    return ok, ...
  end
  local value = ...
  local kind = type(value)
  if kind == "userdata" then
    value = settle(value)
    kind = type(value)
  end
  if kind == "table" then
    local text = rawget(value, "err")
    local text_kind = type(text)
    if text_kind == "string" or text_kind == "number" then
      value = text
    end
  end
  return false, value
end

local function settled(ok, ...)
  if ok then
    return ok, ...
  end
  local value = ...
  if type(value) == "userdata" then
    value = settle(value)
  end
  return false, value
end

local G = {
  assert = assert,
  error = error,
  getmetatable = getmetatable,
  ipairs = ipairs,
  next = next,
  pairs = pairs,
  rawequal = rawequal,
  select = select,
  tonumber = tonumber,
  tostring = tostring,
  type = type,
  _VERSION = _VERSION,
}

function G.pcall(...)
  return caught(raw_pcall(...))
end

-- The script's handler must not see a kill: it runs while the instruction hook is off.
function G.xpcall(f, script_handler)
  return settled(raw_xpcall(f, function(value)
    if type(value) == "userdata" then
      if killed(value) then
        return value
      end
      value = settle(value)
    end
    return script_handler(value)
  end))
end

function G.rawget(t, key)
  return rawget(t ~= nil and frozen[t] or t, key)
end

function G.rawset(t, key, value)
  if type(t) == "table" then
    check_writable(t)
  end
  return rawset(t, key, value)
end

function G.setmetatable(...)
  local t, metatable = ...
  local count = select("#", ...)
  check_table(t, "setmetatable", count)
  check_writable(t)
  if count < 2 or metatable ~= nil and type(metatable) ~= "table" then
    error("bad argument #2 to 'setmetatable' (nil or table expected)", 2)
  end
  if getmetatable(t) == nil or raw_pcall(setmetatable, t, nil) then
    return setmetatable(t, metatable)
  end
  error("cannot change a protected metatable", 2)
end

-- Refuses ranges whose length overflows a C int before Lua's own check sees them.
function G.unpack(...)
  local list, first, last = ...
  check_table(list, "unpack", select("#", ...))
  if first ~= nil or last ~= nil then
    first = first == nil and 1 or tonumber(first)
    last = last == nil and #list or tonumber(last)
    if first and last then
      if first <= last and not (last - first < MAX_UNPACKED) then
        error("too many results to unpack", 2)
      end
      if not (first >= -MAX_INT and last <= MAX_INT) then
        if first > last then
          return
        end
        error("too many results to unpack", 2)
      end
    end
    return unpack(list, first, last)
  end
  return unpack(list)
end

local table_library = native.table

function table_library.insert(t, ...)
  if type(t) ~= "table" or frozen[t] then
    check_table(t, "insert", t == nil and select("#", ...) == 0 and 0 or 1)
    check_writable(t)
  end
  if select("#", ...) == 2 then
    local position = tonumber((...))
    if position and not (position > MIN_INSERT_POSITION and position <= MAX_INT) then
      error("bad argument #2 to 'insert' (position out of bounds)", 2)
    end
  end
  return insert(t, ...)
end

local function less(a, b)
  return a < b
end

function table_library.sort(...)
  local t, comparison = ...
  check_table(t, "sort", select("#", ...))
  check_writable(t)
  if comparison == nil and #t > MAX_UNINTERRUPTED_SORT then
    comparison = less
  end
  return sort(t, comparison)
end

local string_library = native.libraries.string
local gmatch_step = string_library.gmatch_step
string_library.gmatch_step = nil

local function check_string(value, name, index)
  local kind = type(value)
  if kind ~= "string" and kind ~= "number" then
    error("bad argument #" .. index .. " to '" .. name .. "' (string expected, got " .. kind .. ")", 3)
  end
end

function string_library.gmatch(subject, pattern)
  check_string(subject, "gmatch", 1)
  check_string(pattern, "gmatch", 2)
  local at = 0
  local function advance(next_at, ...)
    at = next_at
    return ...
  end
  return function()
    if at then
      return advance(gmatch_step(subject, pattern, at))
    end
  end
end
string_library.gfind = string_library.gmatch

-- What ends inside a coroutine ends the coroutine only, except a kill.
local threads, resume = native.libraries.coroutine, coroutine.resume

function threads.resume(...)
  return settled(resume(...))
end

-- Collecting is allowed, tuning the collector is not: its pace belongs to the store.
local collectgarbage, TUNING = collectgarbage, { stop = 0, restart = 0, setpause = 200, setstepmul = 200 }
function G.collectgarbage(...)
  local option = ...
  if option ~= nil and TUNING[option] then
    return TUNING[option]
  end
  local result = collectgarbage(...)
  return result
end

function G.gcinfo()
  local kilobytes = collectgarbage("count")
  return kilobytes - kilobytes % 1
end

-- What is proven to leave them alone sees the tables themselves, which is quicker.
local protect = native.proven and function(real)
  return real
end or freeze
for name, real in next, native.libraries do
  G[name] = protect(real)
end

local string_metatable = getmetatable("")
string_metatable.__index = string_library
string_metatable.__metatable = freeze({ __index = G.string })

local strict = {
  __index = function(_, name)
    error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
  end,
}
setmetatable(G, strict)

-- The one environment of all scripts. KEYS and ARGV stand behind it, out of reach of assignments. What it shows as its metatable says how a
-- global that does not exist is looked up.
local shown_strict = freeze({ __index = strict.__index })
local environment = protect(G, shown_strict)
G._G = environment

-- What the reader function of `load` yields until it yields nothing.
local function read_pieces(reader)
  local pieces, count, bytes = {}, 0, 0
  while true do
    local piece = reader()
    if piece == nil or piece == "" then
      return concat(pieces)
    end
    local kind = type(piece)
    if kind ~= "string" and kind ~= "number" then
      error("reader function must return a string", 0)
    end
    piece = tostring(piece)
    count, bytes = count + 1, bytes + #piece
    if bytes > native.max_chunk_bytes then
      error(native.chunk_too_long, 0)
    end
    pieces[count] = piece
  end
end

-- Text becomes a function whose globals are `visible`.
local function add_loaders(visible)
  local loadstring = native.compiler(visible)
  G.loadstring = loadstring

  function G.load(...)
    local reader, name = ...
    if type(reader) ~= "function" then
      local found = select("#", ...) == 0 and "no value" or type(reader)
      error("bad argument #1 to 'load' (function expected, got " .. found .. ")", 2)
    end
    local read, text = settled(raw_pcall(read_pieces, reader))
    if not read then
      return nil, text
    end
    return loadstring(text, name == nil and "=(load)" or name)
  end
end

local redis, scripts, PROTECTED = native.libraries.redis, native.scripts, native.protected

-- The function of the current run, which answers errors by a table when it is told so first.
local run_call
function redis.pcall(...)
  return run_call(PROTECTED, ...)
end

local function begin(call)
  run_call, redis.call = call, call
end

-- The longest array whose elements are returned one by one: looking into a table from outside costs several times as much.
local MAX_SPREAD = 64

-- Whether a table stands for an array and nothing else; those with a metatable are looked at more closely, from outside.
local function is_short_array(t)
  return type(t) == "table" and getmetatable(t) == nil and #t > 0 and #t <= MAX_SPREAD
    and t.err == nil and t.ok == nil and t.double == nil and t.map == nil and t.set == nil
    and t.big_number == nil and t.verbatim_string == nil
end

local function finish(ok, value)
  if ok and is_short_array(value) then
    return ok, nil, unpack(value, 1, #value)
  end
  return ok, value
end

local function enter(slot, call, keys, argv)
  begin(call)
  G.KEYS, G.ARGV = keys, argv
  local ok, value = raw_xpcall(scripts[slot], handler)
  G.KEYS, G.ARGV = false, false
  return finish(ok, value)
end

if not native.functions then
  add_loaders(environment)
  -- These two change with each run. A name that is new is refused, also where it is no proxy that does it.
  G.KEYS, G.ARGV = false, false
  strict.__newindex = readonly
  local function adopt(script, slot)
    scripts[slot] = setfenv(script, environment)
  end
  return enter, adopt
end

-- Libraries. While one is loaded its globals are `loading`: the means to register functions and nothing else. Afterwards the same
-- environment shows what scripts see.
local loading = setmetatable({ redis = freeze(setmetatable(native.loading, strict)) }, strict)
local shown = { __index = G, __newindex = readonly, __metatable = shown_strict }
local library_environment = setmetatable({}, shown)
frozen[library_environment] = G
G._G = library_environment
add_loaders(library_environment)

local FLAGS = {
  ["no-writes"] = 1,
  ["allow-oom"] = 2,
  ["allow-stale"] = 4,
  ["no-cluster"] = 8,
  ["allow-cross-slot-keys"] = 16,
}
-- The most functions of one library.
local MAX_FUNCTIONS = 10000

-- The functions registered by the library being loaded, in order, and by name.
local registered, names

local function refuse(text)
  error({ err = "ERR " .. text }, 0)
end

local function is_text(value)
  local kind = type(value)
  return kind == "string" or kind == "number"
end

local function register(name, callback, description, flags)
  if not string_library.find(name, "^[%w_]+$") then
    refuse("Library names can only contain letters, numbers, or underscores(_) and must be at least one character long")
  end
  if names[name] then
    refuse("Function already exists in the library")
  end
  if #registered == MAX_FUNCTIONS then
    refuse("Too many functions in the library")
  end
  names[name] = true
  registered[#registered + 1] = { name = name, callback = callback, description = description, flags = flags }
end

local function read_flags(list)
  if type(list) ~= "table" then
    refuse("flags argument to redis.register_function must be a table representing function flags")
  end
  local set, seen, index = 0, {}, 1
  while rawget(list, index) ~= nil do
    local flag = rawget(list, index)
    local bit = FLAGS[flag]
    if not bit then
      refuse("unknown flag given")
    end
    if not seen[flag] then
      seen[flag], set = true, set + bit
    end
    index = index + 1
  end
  return set
end

local function register_named(options)
  local name, callback, description, flags
  for key, value in next, options do
    if not is_text(key) then
      refuse("named argument key given to redis.register_function is not a string")
    elseif key == "function_name" then
      if not is_text(value) then
        refuse("function_name argument given to redis.register_function must be a string")
      end
      name = tostring(value)
    elseif key == "description" then
      if not is_text(value) then
        refuse("description argument given to redis.register_function must be a string")
      end
      description = tostring(value)
    elseif key == "callback" then
      if type(value) ~= "function" then
        refuse("callback argument given to redis.register_function must be a function")
      end
      callback = value
    elseif key == "flags" then
      flags = read_flags(value)
    else
      refuse("unknown argument given to redis.register_function")
    end
  end
  if not name then
    refuse("redis.register_function must get a function name argument")
  end
  if not callback then
    refuse("redis.register_function must get a callback argument")
  end
  register(name, callback, description, flags or 0)
end

function native.loading.register_function(...)
  local count = select("#", ...)
  if not registered then
    refuse("redis.register_function can only be called on FUNCTION LOAD command")
  elseif count < 1 or count > 2 then
    refuse("wrong number of arguments to redis.register_function")
  end
  local first, second = ...
  if count == 1 then
    if type(first) ~= "table" then
      refuse(
        "calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments)."
      )
    end
    return register_named(first)
  end
  if not is_text(first) then
    refuse("first argument to redis.register_function must be a string")
  end
  if type(second) ~= "function" then
    refuse("second argument to redis.register_function must be a function")
  end
  register(tostring(first), second, nil, 0)
end

local function adopt(library, slot)
  scripts[slot] = setfenv(library, library_environment)
end

local function enter_library(slot)
  registered, names = {}, {}
  shown.__index = loading
  local ok, value = raw_xpcall(scripts[slot], handler)
  shown.__index = G
  if ok then
    value = registered
  end
  registered, names = nil, nil
  return ok, value
end

-- Handed over outside the call, since xpcall takes none.
local callback, callback_keys, callback_args
local function trampoline()
  return callback(callback_keys, callback_args)
end

local function enter_function(slot, call, keys, argv)
  begin(call)
  callback, callback_keys, callback_args = scripts[slot], keys, argv
  local ok, value = raw_xpcall(trampoline, handler)
  callback, callback_keys, callback_args = nil, nil, nil
  return finish(ok, value)
end

return enter, adopt, enter_function, enter_library
