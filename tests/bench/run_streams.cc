#include "meter.h"
#include "runs.h"
#include "stream.h"

namespace bailian::bench {

bool run_streams(const Options& options, Report& report) {
  Meter meter(options.groups);
  Poller poller;
  Streams streams(poller, options);
  Tally& tally = streams.tally();

  struct RampStep {
    size_t opened;
    std::vector<double> cpu_us_per_stream;  // of each group
  };
  std::vector<RampStep> ramp;
  std::vector<ThreadTimes> at_last_step;
  for (const ProcessGroup& group : options.groups) at_last_step.push_back(thread_times(group));
  streams.open([&](size_t opened) {
    RampStep step{opened, {}};
    for (size_t i = 0; i < options.groups.size(); ++i) {
      ThreadTimes now = thread_times(options.groups[i]);
      step.cpu_us_per_stream.push_back(static_cast<double>(sum(now - at_last_step[i])) / 1000 /
                                       static_cast<double>(options.ramp_step));
      at_last_step[i] = std::move(now);
    }
    ramp.push_back(std::move(step));
  });

  poller.wait_for(options.warm_up);
  meter.start();
  tally.measuring = true;
  poller.wait_for(options.window);
  tally.measuring = false;
  meter.stop();
  const size_t lost = tally.lost + streams.stalled();

  report.add("mode", std::string_view("streams"));
  report.add("streams", options.streams);
  report.add("opened", streams.size());
  report.add("lost", lost);
  report.add("out_of_order", tally.out_of_order);
  report.add("late_over_1s", tally.late);
  report.add("seconds", meter.seconds());
  report.add("tokens", tally.tokens);
  report.add("latency_us", tally.latency);
  report.add("first_token_us", tally.first_token);
  meter.write(report, "token", tally.tokens, streams.size());
  report.begin_list("ramp");
  for (const RampStep& step : ramp) {
    report.begin();
    report.add("opened", step.opened);
    report.begin("cpu_us_per_stream");
    for (size_t i = 0; i < options.groups.size(); ++i)
      report.add(options.groups[i].name, step.cpu_us_per_stream[i]);
    report.end();
    report.end();
  }
  report.end_list();
  return lost == 0 && tally.out_of_order == 0 && streams.size() == options.streams;
}

}  // namespace bailian::bench
