#pragma once

#include <zlib.h>

#include <memory>
#include <string>

#include "script.h"

namespace bailian::simulator {

// Compresses another script; each event can be unpacked as soon as it has arrived.
class GzipScript : public Script {
 public:
  explicit GzipScript(std::unique_ptr<Script> inner);
  GzipScript(const GzipScript&) = delete;
  GzipScript& operator=(const GzipScript&) = delete;
  ~GzipScript() override;

  Step next(std::string& out) override;
  Ending ending() const override { return inner_->ending(); }
  std::size_t text_events() const override { return inner_->text_events(); }

 private:
  void compress(int flush, std::string& out);

  std::unique_ptr<Script> inner_;
  std::string event_;
  z_stream stream_{};
  bool has_trailer_ = false;
};

}  // namespace bailian::simulator
