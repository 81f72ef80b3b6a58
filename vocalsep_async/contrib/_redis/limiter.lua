-- The budget of one account, shared by processes. One call of one process: it reports how its
-- requests have ended, and may ask for one slot.
--
-- All moments are microseconds on the store's clock, and all numbers are integers: clients send and
-- get durations only, so their clocks do not matter. The rules are those of RateLimiter
-- (vocalsep_async/_limiting), and beside them: the price, turns, leases and what follows a loss.
--
-- KEYS  1 hash: the state
--       2 sorted set, the window: a member for each slot; its score is when the slot becomes free
--       3 hash: the processes
--       4 hash, read only: what was learned about durations (learned.lua)
-- ARGV  1 name of the process       2 number of its call     3 max_requests    4 period
--       5 epoch that it knows, or 0 6 grants that it knows of 7 1 if it sent without the store
--       8 its queued requests; -1: it leaves
--       9 id of the slot that it asks for, or ""            10 1 for a bid with `must`
--      11 worth of the bid          12 number of its reports 13 how many slots it holds,
--      whose ids follow; then, for each report, id, result, time since the end, Retry-After or -1
--
-- Returns code, wait, epoch, grants, price, allowed requests per 1000 periods, processes, their
-- queued requests, rest of a pause or -1, its reason, max_requests, period, wait for any bid,
-- version of what was learned or 0.

local SECOND = 1000000
local MARGIN = 10000 -- added to the period: two timers do not tick together
local SLACK = 5 * SECOND -- a slot of a process that died is free one period and this later
local GONE = 10 * SECOND -- a process is gone after so long without a call
local MEMORY = 600 * SECOND -- the state of an idle account is kept at least so long
local STEPPED = SECOND -- the store's clock goes back by less than this without consequences
local BURST = 4
local DECREASE, INCREASE = 0.6, 0.02
local CREDIT, CREDIT_POWER, MOST_CREDIT = 0.08, 3, 5
local SHORTEST_PAUSE, LONGEST_PAUSE = 0.1 * SECOND, SECOND
local OUTAGE = 60 * SECOND
local PRICE_STEP, PRICE_FALL = 0.1, 0.7
local LEAST_WORTH = 1000 -- a bid of less is one of a millisecond, so that its turn comes

local GRANTED, GRANTED_BEFORE, COME_BACK, PAUSED, ON_HOLD, STALE, NOT_ASKED = 1, 2, 0, 3, 4, 5, 6
local REASONS = { T = 1, M = 2, F = 3 }

local state_key, window_key, processes_key = KEYS[1], KEYS[2], KEYS[3]
-- Called once: within a script it stands still in some versions, and moves in others.
local clock = redis.call('TIME')
local now = clock[1] * SECOND + clock[2]

local function whole(number) -- `tostring` keeps fourteen digits
  return string.format('%.0f', math.floor(number))
end

-- The processes: "beat queued call reports turn asks max_requests period"

local name, call = ARGV[1], tonumber(ARGV[2])
local own_limit, own_period = tonumber(ARGV[3]), tonumber(ARGV[4])
local queued = tonumber(ARGV[8])
local me = { call = 0, reports = 0, turn = 0, asks = 0 }
local others, others_queued = {}, 0
-- Where processes state different limits, the strictest of each holds.
local limit, period = own_limit, own_period
local listed = redis.call('HGETALL', processes_key)
for index = 1, #listed, 2 do
  local words = {}
  for word in string.gmatch(listed[index + 1], '%S+') do words[#words + 1] = tonumber(word) end
  local beat, its_queued, its_call, reports, turn, asks, its_limit, its_period = unpack(words)
  if listed[index] == name then
    me = { call = its_call, reports = reports, turn = turn, asks = asks }
  elseif beat + GONE < now or beat > now + STEPPED then
    redis.call('HDEL', processes_key, listed[index])
  else
    others[#others + 1] = { turn = turn, asks = asks }
    others_queued = others_queued + its_queued
    limit, period = math.min(limit, its_limit), math.max(period, its_period)
  end
end

-- A store that hung runs what dead connections have left. A call may be sent twice, though.
if call < me.call then
  return { STALE, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, 0 }
end

-- The state

local FIELDS = {
  'epoch', 'grants', 'at', 'next', 'price', 'price_at', 'cut_at', 'cut_to', 'credit', 'credit_at',
  'until', 'length', 'reason', 'failing', 'held_at', 'probe',
}
local state, changed = {}, {}

local function set(field, value)
  state[field], changed[field] = value, true
end

local function begin()
  redis.call('DEL', state_key, window_key)
  for _, field in ipairs(FIELDS) do state[field] = 0 end
  set('probe', '')
  set('credit', MOST_CREDIT * 1000)
  -- Unlike any other, as long as the clock goes on.
  set('epoch', now)
end

local stored = redis.call('HMGET', state_key, unpack(FIELDS))
local had_stepped = false
if stored[1] then
  for index, field in ipairs(FIELDS) do
    state[field] = field == 'probe' and (stored[index] or '') or tonumber(stored[index] or 0)
  end
  if state.at > now + STEPPED then
    -- Nothing that was written down is a moment on this clock.
    begin()
    had_stepped = true
  end
else
  begin()
end

-- The allowed rate: requests per period, as a function of the time since it was lowered

local function allowed()
  if state.cut_at == 0 then return limit end
  local periods = (now - state.cut_at) / period
  local grown = periods
  if periods >= 16 then
    grown = 24 + 4 * (periods - 16)
  elseif periods >= 8 then
    grown = 8 + 2 * (periods - 8)
  end
  return math.min(limit, math.max(1, state.cut_to / 1000) + INCREASE * limit * grown)
end

local function lower()
  local used = allowed() / limit
  local earned = CREDIT * used ^ CREDIT_POWER * (state.grants - state.credit_at)
  local credit = math.min(MOST_CREDIT, state.credit / 1000 + earned)
  if credit >= 1 then
    set('credit', (credit - 1) * 1000)
    set('credit_at', state.grants)
  elseif now - state.cut_at >= period then
    set('cut_to', math.max(1, DECREASE * allowed()) * 1000)
    set('cut_at', now)
  end
end

-- The pause, which lasts until a probe is answered

local function end_probe(id)
  if state.probe ~= id then return false end
  set('probe', '')
  return true
end

local function pause(id, reason, first, longest, retry_after)
  local was_probe = end_probe(id)
  if state['until'] == 0 then
    set('until', now + first)
    set('length', first)
    set('reason', reason)
  elseif was_probe then
    -- Only a probe shows that the pause was too short: other requests are from before it.
    set('length', math.min(longest, math.max(first, 2 * state.length)))
    set('until', math.max(state['until'], now + state.length))
    set('reason', reason)
  end
  if retry_after >= 0 then set('until', math.max(state['until'], now + retry_after)) end
end

local function first_pause()
  -- A long pause costs a high rate more than it costs a low one.
  local fitting = math.max(SHORTEST_PAUSE, 2 * period / limit)
  return math.min(fitting, LONGEST_PAUSE, period / 2)
end

local function count_failure(id)
  if state.failing == 0 then set('failing', now) end
  if now - state.failing >= OUTAGE then
    pause(id, REASONS.F, 2 * SECOND, 24 * SECOND, -1)
  else
    end_probe(id)
  end
end

-- The ends of requests

local function hold_slot(id, age)
  -- The service counted the request before its answer, however late that is reported.
  local free_at = now - age + period + MARGIN
  if free_at > now then
    redis.call('ZADD', window_key, whole(free_at), id)
  else
    redis.call('ZREM', window_key, id)
  end
end

local gap -- between two starts; set below, once the reports have changed the allowed rate

local ENDS = {
  A = function(id)
    set('failing', 0)
    if end_probe(id) or state.reason == REASONS.F then
      set('until', 0)
      set('reason', 0)
    end
  end,
  L = function(id) end_probe(id) end,
  F = function(id) count_failure(id) end,
  N = function(id) count_failure(id) end,
  T = function(id, retry_after)
    set('failing', 0)
    lower()
    pause(id, REASONS.T, first_pause(), period, retry_after)
  end,
  M = function(id, retry_after)
    set('failing', 0)
    pause(id, REASONS.M, 30 * SECOND, 60 * SECOND, retry_after)
  end,
  U = function(id) end_probe(id) end,
}

local held = tonumber(ARGV[13])
for index = 14, 13 + held do
  redis.call('ZADD', window_key, whole(now + period + SLACK), ARGV[index])
end

local reports = tonumber(ARGV[12])
if reports > me.reports then
  for index = 14 + held, #ARGV, 4 do
    local id, result = ARGV[index], ARGV[index + 1]
    local age, retry_after = tonumber(ARGV[index + 2]), tonumber(ARGV[index + 3])
    if result == 'U' or result == 'N' then
      -- Only if it was granted: the question may have got lost.
      if redis.call('ZREM', window_key, id) == 1 and result == 'U' then
        set('next', state.next - period / allowed())
      end
    else
      hold_slot(id, age)
    end
    ENDS[result](id, retry_after)
  end
  me.reports = reports
end

gap = period / allowed()
local burst = math.min(BURST, math.max(1, allowed() / 5))

-- What was lost: the store began anew, or from a copy, or a process went on without it. The spacing
-- has let at most so many requests start that this gap makes room for them in any window.

local known_epoch, known_grants = tonumber(ARGV[5]), tonumber(ARGV[6])
local is_lost = had_stepped or ARGV[7] == '1'
if known_epoch > 0 and known_epoch ~= state.epoch then
  is_lost = true
elseif known_grants > state.grants and known_epoch > 0 then
  is_lost = true
  set('grants', known_grants)
end
local hold = (math.min(BURST, math.max(1, limit / 5)) + 1) * period / limit
-- Each process tells of the same loss.
if is_lost and now - state.held_at >= math.max(period, 2 * hold) then
  set('held_at', now)
  set('next', math.max(state.next, now + hold + (burst - 1) * gap))
end

-- When the next slot is free

local function free_at()
  local scores = redis.call('ZREVRANGE', window_key, limit - 1, limit - 1, 'WITHSCORES')
  local by_window = scores[2] and tonumber(scores[2]) or 0
  return math.max(by_window, state.next - (burst - 1) * gap, state['until'])
end

local function wait_until(moment)
  -- A request in flight holds its slot for longer than it may take: one that ends now is free a
  -- period later.
  return math.ceil(math.min(math.max(0, moment - now), period + MARGIN))
end

local function is_probed()
  if state['until'] == 0 or state.probe == '' then return false end
  return tonumber(redis.call('ZSCORE', window_key, state.probe) or 0) > now
end

-- The auction: a price that falls while a slot is free, and requests with `must` in turns

local is_must, worth = ARGV[10] == '1', math.max(LEAST_WORTH, tonumber(ARGV[11]))

local function price_at(free)
  local since = math.max(free, state.price_at)
  return state.price * PRICE_FALL ^ (math.max(0, now - since) / (gap / 5))
end

local function turn_delay()
  local ahead = 0
  for _, other in ipairs(others) do
    if other.asks > now and (not is_must or other.turn < me.turn) then ahead = ahead + 1 end
  end
  return math.min(ahead * gap / 20, gap / 2)
end

local function price_delay(free)
  -- Where no other process has anything to poll, there is no one to leave the slot to.
  if is_must or others_queued == 0 or state.price <= worth then return 0 end
  local fall = math.log(state.price / worth) / -math.log(PRICE_FALL)
  return math.max(0, state.price_at - free) + fall * gap / 5
end

local function grant(id, free)
  set('grants', state.grants + 1)
  redis.call('ZADD', window_key, whole(now + period + SLACK), id)
  redis.call('ZREMRANGEBYRANK', window_key, 0, -limit - 1)
  set('next', math.max(state.next, now) + gap)
  if not is_must then
    local price = price_at(free)
    set('price', math.max(0, price + PRICE_STEP * (tonumber(ARGV[11]) - price)))
    set('price_at', now)
  end
  if state['until'] > 0 then set('probe', id) end
  me.turn, me.asks = state.grants, 0
end

local function ask(id)
  local score = tonumber(redis.call('ZSCORE', window_key, id) or 0)
  if score > now then return GRANTED_BEFORE, 0 end
  local free = free_at()
  if is_probed() then return PAUSED, math.ceil(gap) end
  local moment = free + math.max(turn_delay(), price_delay(free))
  if moment <= now then
    grant(id, free)
    return GRANTED, 0
  end
  local wait = wait_until(moment)
  me.asks = is_must and now + wait + SECOND or 0
  if state['until'] > now then return PAUSED, wait end
  if state.held_at > 0 and now < state.held_at + hold then return ON_HOLD, wait end
  return COME_BACK, wait
end

local code, wait = NOT_ASKED, 0
if ARGV[9] ~= '' then
  code, wait = ask(ARGV[9])
else
  me.asks = 0
end

-- Write down what has changed; all keys outlive their last member by more than a period.

set('at', math.max(state.at, now))
local fields = {}
for field in pairs(changed) do
  fields[#fields + 1] = field
  fields[#fields + 1] = field == 'probe' and state.probe or whole(state[field])
end
redis.call('HSET', state_key, unpack(fields))
if queued < 0 then
  redis.call('HDEL', processes_key, name)
else
  local numbers = { now, queued, call, me.reports, me.turn, me.asks, own_limit, own_period }
  for index, number in ipairs(numbers) do numbers[index] = whole(number) end
  redis.call('HSET', processes_key, name, table.concat(numbers, ' '))
end
local lifetime = math.max(MEMORY, 2 * (period + SLACK), state['until'] - now + period + SLACK)
for index = 1, 3 do redis.call('PEXPIRE', KEYS[index], whole(lifetime / 1000)) end

-- Whatever is there is no error of a request.
local learned = redis.pcall('HGET', KEYS[4], 'version')
learned = type(learned) == 'string' and tonumber(learned) or 0

local free = free_at()
local rest = -1
if state['until'] > 0 then rest = math.max(0, state['until'] - now) end
return {
  code, math.ceil(wait), state.epoch, state.grants, math.floor(price_at(free)),
  math.floor(allowed() * 1000), #others + (queued < 0 and 0 or 1),
  others_queued + math.max(0, queued), rest, state.reason, limit, period, wait_until(free),
  learned,
}
