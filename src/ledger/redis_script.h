#pragma once

#include <string>
#include <string_view>

namespace bailian {

/// The script that executes a batch (redis_batch.h) on the server, all or nothing of it, and once however
/// often it is sent.
///
/// The keys, all with the tag {bailian}, so that a cluster keeps them in one slot. A BOT is escaped, "" is
/// all together; a DATE is 20261127.
///   {bailian}:state           hash: version, epoch (of the data), day (the running one), opened (how often
///   the owner has
///                             opened a period); p|BOT 1 paused, 2 at once; m|BOT the owner's words; o|BOT
///                             the inputs that the upstream added, the last 32
///   {bailian}:day:DATE        hash, 130 days: c|BOT committed, that is used and leased; i|BOT, o|BOT, e|BOT
///   tokens in, out,
///                             estimated; a|BOT, h|BOT, r|BOT answers, cached, refused; l|BOT alerted
///                             percent; x|BOT 1: the cap has refused a question; v|BOT 1: a visitor's cap has
///   {bailian}:month:202611    the same, 400 days
///   {bailian}:visitors:DATE   hash, 3 days: key (of the hashes), HASH committed
///   {bailian}:hosts           hash: HOST|seq the last batch, HOST|grants its result, HOST|open|DATE|BOT the
///   tokens
///                             that open answers of the host may still use, HOST|n|BOT their number
///   {bailian}:alive           sorted set: until when the leases of each host hold, by the server's clock
///   {bailian}:gone            hosts whose time is over, and since when; their leases count as spent
///   {bailian}:base            hash, 3 days: what the counters were when lost data was last restored
std::string_view redis_script();

/// Its SHA-1 in hexadecimal, for EVALSHA. Throws std::bad_alloc.
std::string redis_script_sha();

}  // namespace bailian
