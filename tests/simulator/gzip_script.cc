#include "gzip_script.h"

#include <array>
#include <stdexcept>
#include <utility>

namespace bailian::simulator {
namespace {

constexpr int kGzipWindowBits = 15 + 16;  // zlib.h: 16 more for a gzip header
constexpr int kMemoryLevel = 8;

}  // namespace

GzipScript::GzipScript(std::unique_ptr<Script> inner) : inner_(std::move(inner)) {
  if (deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kGzipWindowBits, kMemoryLevel,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::runtime_error("zlib does not start");
  }
}

GzipScript::~GzipScript() { deflateEnd(&stream_); }

void GzipScript::compress(int flush, std::string& out) {
  std::array<Bytef, 16384> buffer{};
  stream_.next_in = reinterpret_cast<Bytef*>(event_.data());
  stream_.avail_in = static_cast<uInt>(event_.size());
  do {
    stream_.next_out = buffer.data();
    stream_.avail_out = static_cast<uInt>(buffer.size());
    deflate(&stream_, flush);
    out.append(reinterpret_cast<const char*>(buffer.data()), buffer.size() - stream_.avail_out);
  } while (stream_.avail_out == 0);
}

Step GzipScript::next(std::string& out) {
  event_.clear();
  const Step step = inner_->next(event_);
  if (step != Step::kFinished) {
    compress(Z_SYNC_FLUSH, out);
    return step;
  }
  if (std::exchange(has_trailer_, true)) return step;
  compress(Z_FINISH, out);
  return Step::kOther;
}

}  // namespace bailian::simulator
