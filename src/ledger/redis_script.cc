#include "ledger/redis_script.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <new>

namespace bailian {
namespace {

// What can fail for the data of others comes before the first write, as nothing is rolled back. A server that
// is out of memory or read-only fails at the first one.
constexpr std::string_view kScript = R"lua(
local p = '{bailian}:'
local state, hosts, alive, gone, base = p..'state', p..'hosts', p..'alive', p..'gone', p..'base'
local at = 0
local function word() at = at + 1 return ARGV[at] end
local function num() return tonumber(word()) end
local function text(n) return string.format('%.0f', n) end
local function get(key, field) return tonumber(redis.call('HGET', key, field)) or 0 end
local function put(key, field, n) redis.call('HSET', key, field, text(n)) end
local function add(key, field, n)
  if n ~= 0 then put(key, field, math.max(0, get(key, field) + n)) end
end
local function day_key(d) return p..'day:'..d end
local function month_key(d) return p..'month:'..string.sub(d, 1, 6) end
local function visitors_key(d) return p..'visitors:'..d end
local function keep(d)
  redis.call('EXPIRE', day_key(d), 130 * 86400)
  redis.call('EXPIRE', month_key(d), 400 * 86400)
  redis.call('EXPIRE', visitors_key(d), 3 * 86400)
end
local function count(d, bot, field, n)
  if n == 0 then return end
  for _, key in ipairs({day_key(d), month_key(d)}) do
    add(key, field..bot, n)
    add(key, field, n)
  end
end
local function starts(s, prefix) return string.sub(s, 1, #prefix) == prefix end

local version, host, seq, known, day = word(), word(), num(), word(), word()
local ttl, opened, new_key, new_epoch = num(), word(), word(), word()
local wants_totals, restores, leaves = word() == '1', word() == '1', word() == '1'

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local found = redis.call('HGET', state, 'version')
if found and found ~= version then return redis.error_reply('BAILIANVERSION '..found) end
for _, key in ipairs({hosts, base, day_key(day), month_key(day), visitors_key(day)}) do
  redis.call('HLEN', key)
end
redis.call('ZCARD', alive)
redis.call('ZCARD', gone)

local epoch = redis.call('HGET', state, 'epoch') or ''
local last = get(hosts, host..'|seq')
local replays = last == seq  -- its reply was lost
if not replays then
  if not restores and known ~= '' and (epoch ~= known or last ~= seq - 1) then
    return {'lost', text(now), epoch, day, opened}
  end
  local running = get(state, 'day')
  local is_opened = tostring(redis.call('HGET', state, 'opened') or '0')
  if tonumber(day) < running or (is_opened ~= opened and tonumber(day) ~= running) then
    return {'day', text(now), epoch, text(running), is_opened}
  end
end

-- From here on it writes.
redis.call('HSET', hosts, host..'|seq', text(seq))
if not replays and (epoch == '' or (restores and epoch == known)) then
  epoch = new_epoch
  redis.call('HSET', state, 'version', version, 'epoch', epoch)
  redis.call('DEL', base)
  for _, key in ipairs({day_key(day), month_key(day)}) do
    local all = redis.call('HGETALL', key)
    for i = 1, #all, 2 do redis.call('HSET', base, key..'|'..all[i], all[i + 1]) end
  end
  redis.call('EXPIRE', base, 3 * 86400)
end
redis.call('HSETNX', state, 'opened', opened)
if not replays then redis.call('HSET', state, 'day', day) end
redis.call('HSETNX', visitors_key(day), 'key', new_key)
keep(day)

local function open_leases(h, visit)
  local all = redis.call('HGETALL', hosts)
  for i = 1, #all, 2 do
    local d, bot = string.match(all[i], '^'..h..'|open|(%d+)|(.*)$')
    if d then visit(d, bot, tonumber(all[i + 1]) or 0) end
  end
end
redis.call('ZADD', alive, text(now + ttl), host)
if redis.call('ZREM', gone, host) == 1 then
  open_leases(host, function(d, bot, n) count(d, bot, 'e|', -n) end)
end
for _, h in ipairs(redis.call('ZRANGEBYSCORE', alive, '-inf', text(now), 'LIMIT', 0, 8)) do
  redis.call('ZREM', alive, h)
  redis.call('ZADD', gone, text(now), h)
  open_leases(h, function(d, bot, n) count(d, bot, 'e|', n) keep(d) end)
end
local function forget(h)
  for _, field in ipairs(redis.call('HKEYS', hosts)) do
    if starts(field, h..'|') then redis.call('HDEL', hosts, field) end
  end
end
for _, h in ipairs(redis.call('ZRANGEBYSCORE', gone, '-inf', text(now - 2 * 86400000), 'LIMIT', 0, 8)) do
  redis.call('ZREM', gone, h)
  forget(h)
end

local grants = {}
if replays then
  grants = {redis.call('HGET', hosts, host..'|grants') or ''}
  local skipped = num()
  at = at + skipped
else
  num()
  for _ = 1, num() do  -- what this host remembers of lost data
    local key, field, value = p..word(), word(), word()
    local n = tonumber(value)
    if starts(field, 'p|') or starts(field, 'm|') then
      redis.call('HSETNX', key, field, value)
    elseif n then
      local before = get(base, key..'|'..field)
      if n > before then
        add(key, field, n - before)
        put(base, key..'|'..field, n)
      end
    end
  end
  for _ = 1, num() do  -- used tokens, and leases that are given back
    local d, bot = word(), word()
    for _, field in ipairs({'c|', 'i|', 'o|', 'e|', 'a|', 'h|', 'r|'}) do count(d, bot, field, num()) end
    keep(d)
  end
  local function visitor_field(key, visitor)
    if redis.call('HEXISTS', key, visitor) == 1 or redis.call('HLEN', key) <= 65536 then return visitor end
    return 'shared|'..string.sub(visitor, 1, 2)
  end
  for _ = 1, num() do
    local key, visitor, n = visitors_key(word()), word(), num()
    add(key, visitor_field(key, visitor), n)
  end
  for _ = 1, num() do  -- open leases of this host, all that have changed
    local d, bot, tokens, leases = word(), word(), num(), num()
    local fields = {host..'|open|'..d..'|'..bot, host..'|n|'..d..'|'..bot}
    if tokens > 0 or leases > 0 then
      put(hosts, fields[1], tokens)
      put(hosts, fields[2], leases)
    else
      redis.call('HDEL', hosts, fields[1], fields[2])
    end
  end
  for _ = 1, num() do
    local field = 'o|'..word()
    local list = {word()}
    for one in string.gmatch(redis.call('HGET', state, field) or '', '%d+') do
      if #list < 32 then list[#list + 1] = one end
    end
    redis.call('HSET', state, field, table.concat(list, ','))
  end
  for _ = 1, num() do  -- what the owner has ordered
    local what, bot, a, b = word(), word(), word(), word()
    local result = 1
    if what == 'pause' then
      redis.call('HSET', state, 'p|'..bot, a, 'm|'..bot, b)
    elseif what == 'resume' then
      redis.call('HDEL', state, 'p|'..bot, 'm|'..bot)
    elseif what == 'open' then
      redis.call('HSET', state, 'day', a, 'opened', text(get(state, 'opened') + 1))
    elseif what == 'alert' then
      local key = b == 'month' and month_key(day) or day_key(day)
      if get(key, 'l|'..bot) >= tonumber(a) then result = 0 else put(key, 'l|'..bot, tonumber(a)) end
    end
    grants[#grants + 1] = text(result)
  end
  for _ = 1, num() do
    local what, d, bot, visitor = word(), word(), word(), word()
    local input, slice, left, missing = num(), num(), num(), num()
    local caps = {num(), num(), num(), num(), num()}  -- of bot: day, month, visitor; of all: day, month
    local scopes = {
      {day_key(d), 'c|'..bot}, {month_key(d), 'c|'..bot}, {false, false},
      {day_key(d), 'c|'}, {month_key(d), 'c|'}}
    if visitor ~= '' then
      scopes[3] = {visitors_key(d), visitor_field(visitors_key(d), visitor)}
    end
    local room, lacks, lacking, needed = 1e15, 0, {}, math.max(1, missing)
    if what == 'lease' then needed = math.max(1, input) end
    for i, scope in ipairs(scopes) do
      if caps[i] >= 0 and scope[1] then
        local free = math.max(0, caps[i] - get(scope[1], scope[2]))
        room = math.min(room, free)
        if free < needed then
          -- Of several the cap that ends last, then that of the bot or of all.
          local rank = i == 3 and 1 or (i % 3 == 2 and 3 or 2)
          lacks = math.max(lacks, rank)
          lacking[#lacking + 1] = i == 3 and {day_key(d), 'v|'..bot} or {scope[1], i < 3 and 'x|'..bot or 'x|'}
        end
      end
    end
    local function commit(n)
      for _, scope in ipairs(scopes) do
        if scope[1] then add(scope[1], scope[2], n) end
      end
      keep(d)
    end
    local paused = redis.call('HGET', state, 'p|') or redis.call('HGET', state, 'p|'..bot)
    local grant = 0
    if what == 'lease' then
      if paused then
        grant = -4
      elseif lacks > 0 then
        grant = -lacks
        for _, scope in ipairs(lacking) do redis.call('HSET', scope[1], scope[2], 1) end
        keep(d)
      else
        local least = input + math.min(slice, 64)
        grant = math.min(room, math.max(least, math.min(input + slice, math.floor(room / 16))))
        commit(grant)
        add(hosts, host..'|open|'..d..'|'..bot, grant)
      end
    elseif lacks > 0 then  -- an extension, without room for what is used already: that counts all the same
      commit(missing)
      grant = -lacks
    else
      local beyond = room - missing
      local wanted = math.min(beyond, math.min(slice, math.max(64, math.floor(beyond / 16))))
      wanted = math.min(beyond + left, input + wanted)
      grant = missing + math.max(0, wanted - left)
      commit(grant)
      add(hosts, host..'|open|'..d..'|'..bot, grant - missing)
    end
    grants[#grants + 1] = text(grant)
  end
  redis.call('HSET', hosts, host..'|grants', table.concat(grants, ','))
end
for _, key in ipairs({state, hosts, alive, gone}) do redis.call('EXPIRE', key, 400 * 86400) end

local reply = {'ok', text(now), epoch, text(get(state, 'day')), redis.call('HGET', state, 'opened') or '0',
               redis.call('HGET', visitors_key(day), 'key') or '', table.concat(grants, ',')}
if wants_totals then
  local is_gone = {}
  for _, h in ipairs(redis.call('ZRANGE', gone, 0, -1)) do is_gone[h] = true end
  local open = {}
  local all = redis.call('HGETALL', hosts)
  for i = 1, #all, 2 do
    local h, kind, d, bot = string.match(all[i], '^([^|]*)|(%a+)|(%d+)|(.*)$')
    if h and not is_gone[h] then
      local n = tonumber(all[i + 1]) or 0
      local months = string.sub(d, 1, 6) == string.sub(day, 1, 6)
      for _, name in ipairs({bot, ''}) do
        local field = kind..'|'..name
        if d == day then open[field] = (open[field] or 0) + n end
        if months then open['m'..field] = (open['m'..field] or 0) + n end
        if bot == '' then break end
      end
    end
  end
  for _ = 1, num() do
    local bot = word()
    for _, key in ipairs({day_key(day), month_key(day)}) do
      for _, field in ipairs({'c|', 'i|', 'o|', 'e|', 'a|', 'h|', 'r|', 'l|', 'x|', 'v|'}) do
        reply[#reply + 1] = text(get(key, field..bot))
      end
    end
    reply[#reply + 1] = text(open['open|'..bot] or 0)
    reply[#reply + 1] = text(open['mopen|'..bot] or 0)
    reply[#reply + 1] = text(open['mn|'..bot] or 0)
    local most = ''
    for one in string.gmatch(redis.call('HGET', state, 'o|'..bot) or '', '%d+') do
      if most == '' or tonumber(one) > tonumber(most) then most = one end
    end
    reply[#reply + 1] = most
    reply[#reply + 1] = redis.call('HGET', state, 'p|'..bot) or '0'
    reply[#reply + 1] = redis.call('HGET', state, 'm|'..bot) or ''
  end
end
if leaves then
  redis.call('ZREM', alive, host)
  forget(host)
end
return reply
)lua";

}  // namespace

std::string_view redis_script() { return kScript; }

std::string redis_script_sha() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (::EVP_Digest(kScript.data(), kScript.size(), digest.data(), &size, ::EVP_sha1(), nullptr) != 1)
    throw std::bad_alloc();
  std::string sha;
  for (unsigned i = 0; i < size; ++i) sha += fmt::format("{:02x}", digest[i]);
  return sha;
}

}  // namespace bailian
