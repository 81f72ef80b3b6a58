-- How long the tasks of an account take, as its processes have learned together. One call of one
-- process: it adds what it has observed, and gets what all have if that has changed.
--
-- KEYS  1 hash: "version", which differs after each change; for each provider and type of task the
--         counts, as JSON; for each process its last batch and the version after it
-- ARGV  1 name of the process   2 number of its batch   3 version that it knows, or 0
--       4 the batch: what it has observed since the last one, a JSON list with counts for each field
--       5 all that it knows, the batch included, likewise: for fields that hold nothing
--       6 and following: the fields
--
-- Returns version, how many fields held what are no counts, and, if the version is not the known
-- one, the values of the fields.

local FORGETTING = 0.995 -- as DurationCounts has it
local LARGEST = 1e12
local LIFETIME = 30 * 86400 * 1000 -- milliseconds
local MOST_PROCESSES = 200

local key, name, batch, known = KEYS[1], 'by ' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local new = cjson.decode(ARGV[4])

local function is_empty(counts)
  if counts.completions > 0 then return false end
  for _, seconds in ipairs(counts.running) do
    if seconds > 0 then return false end
  end
  return true
end

local function are_numbers(list, length)
  if type(list) ~= 'table' or #list ~= length then return false end
  for _, value in ipairs(list) do
    if type(value) ~= 'number' or not (value >= 0 and value <= LARGEST) then return false end
  end
  return true
end

local function counts_of(text, like)
  local is_json, counts = pcall(cjson.decode, text)
  if not is_json or type(counts) ~= 'table' then return nil end
  local usable = are_numbers({ counts.completions }, 1)
    and are_numbers(counts.done, #like.done)
    and are_numbers(counts.running, #like.running)
    and math.floor(counts.completions) == counts.completions
  if not usable then return nil end
  return { completions = counts.completions, done = counts.done, running = counts.running }
end

local function add(counts, later)
  local weight = FORGETTING ^ later.completions
  counts.completions = counts.completions + later.completions
  for _, bins in ipairs({ 'done', 'running' }) do
    for index, value in ipairs(later[bins]) do
      counts[bins][index] = weight * counts[bins][index] + value
    end
  end
end

local version = tonumber(redis.call('HGET', key, 'version') or '')
if version and not (version >= 0 and version < 2 ^ 52) then version = nil end
local last = string.match(redis.call('HGET', key, name) or '', '^(%d+) %d+$')
-- The answer to a batch may have got lost, and it is sent again.
local is_new = batch > tonumber(last or 0)
local all, damaged, values, changed = nil, 0, {}, {}
for index = 1, #new do
  local field = ARGV[5 + index]
  local text = redis.call('HGET', key, field)
  local counts = text and counts_of(text, new[index])
  if counts then
    if is_new and not is_empty(new[index]) then
      add(counts, new[index])
      changed[field] = counts
    end
    values[index] = counts
  else
    if text then damaged = damaged + 1 end
    all = all or cjson.decode(ARGV[5])
    values[index] = all[index]
    if text or not is_empty(all[index]) then changed[field] = all[index] end
  end
end

if next(changed) or not version then
  local clock = redis.call('TIME')
  -- Unlike any before the store was emptied, as long as the clock goes on.
  version = version and version + 1 or clock[1] * 1000000 + clock[2]
  redis.call('HSET', key, 'version', string.format('%.0f', version))
  for field, counts in pairs(changed) do redis.call('HSET', key, field, cjson.encode(counts)) end
end
if is_new then
  redis.call('HSET', key, name, string.format('%.0f %.0f', batch, version))
  if redis.call('HLEN', key) > 2 * MOST_PROCESSES then
    -- The processes that have added nothing for longest.
    local found, listed = {}, redis.call('HGETALL', key)
    for index = 1, #listed, 2 do
      local its_version = string.match(listed[index + 1], '^%d+ (%d+)$')
      if string.sub(listed[index], 1, 3) == 'by ' then
        found[#found + 1] = { listed[index], tonumber(its_version or 0) }
      end
    end
    table.sort(found, function(one, other) return one[2] > other[2] end)
    for index = MOST_PROCESSES + 1, #found do redis.call('HDEL', key, found[index][1]) end
  end
end
redis.call('PEXPIRE', key, LIFETIME)

local result = { version, damaged }
if version ~= known then
  for index, counts in ipairs(values) do result[2 + index] = cjson.encode(counts) end
end
return result
