#pragma once

#include "service/worker.h"
#include "simulation/ledger.h"
#include "simulation/record.h"

namespace bailian::simulation {

/// Checks that a transfer for the question may begin. To be called when libcurl gets it.
void note_transfer_begins(Question& question, const std::string& url);
/// Checks that a request for the question may be sent. To be called before libcurl sends it.
void note_request(const Question& question);

/// Checks that a HEAD request may begin, which makes a connection ready.
void note_warm_up_begins();

/// Checks the invariants that concern all questions.
class Judge {
 public:
  /// `ledger`: nullptr without one.
  Judge(ServiceState& state, const SimulatedLedger* ledger) : state_(state), ledger_(ledger) {}

  /// Between two iterations of the loop.
  void check_iteration() const;
  /// The product has ended.
  void check_end() const;

 private:
  static void check_answer(const Question& question);
  static void check_log(const Question& question);
  static void check_time(const Question& question, const Question::Line& line);
  static void check_persistence(const Question& question, const Question::Line& line);
  static void check_repetition(const Question& question);
  void check_totals() const;
  void check_upstream_requests() const;
  void check_ledger() const;
  static void check_memory();

  ServiceState& state_;
  const SimulatedLedger* const ledger_;
};

}  // namespace bailian::simulation
