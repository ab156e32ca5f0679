#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "directive.h"
#include "script.h"

namespace bailian::simulator {

// The damage to the first event after `after` text events, or to the last one if there are fewer.
struct Damage {
  std::size_t after = 0;
  // Changes the bytes of the event, whose `id:` is given; leaves none if it is to be dropped.
  std::function<void(std::string& event, std::size_t id)> edit;
  // How the answer ends there; if empty, the answer continues.
  std::optional<Ending> ending;
  bool overruns = false;  // the event goes into a chunk that promises more
};

// The damage of a fault that changes one event; none for other faults.
std::optional<Damage> damage_of(Fault fault, std::optional<std::size_t> after, bool is_stream);

class DamagedScript : public Script {
 public:
  DamagedScript(std::unique_ptr<Script> inner, Damage damage);

  Step next(std::string& out) override;
  Ending ending() const override;
  std::size_t text_events() const override { return inner_->text_events(); }

 private:
  Step next_damaged(std::string& out);

  std::unique_ptr<Script> inner_;
  Damage damage_;
  std::string event_;
  std::size_t texts_ = 0;
  std::size_t events_ = 0;
  bool is_damaged_ = false;
};

}  // namespace bailian::simulator
