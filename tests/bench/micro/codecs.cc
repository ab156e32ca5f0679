// Measures one token, one request and one answer in the parsers and writers alone, without a socket.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "dashscope/answer_parser.h"
#include "dashscope/api.h"
#include "dashscope/sse.h"
#include "dialects/myapi.h"
#include "fastcgi/output.h"
#include "fastcgi/request_parser.h"

namespace bailian {
namespace {

const std::string kData =
    R"({"output":{"session_id":"b08fcbf8b1a04ab9b2b5c0a0a2a8b7c1","finish_reason":"null","text":"杭州是"},)"
    R"("usage":{"models":[{"input_tokens":31,"output_tokens":3,"model_id":"qwen-plus"}]},)"
    R"("request_id":"2f5a3b1e-5f3c-9d5e-8b0a-1c2d3e4f5a6b"})";

std::string upstream_event() { return "id:7\nevent:result\n:HTTP_STATUS/200\ndata:" + kData + "\n\n"; }

std::string chat_json(size_t turns) {
  std::string json = R"({"last_prompt":"杭州有什么好玩的？","conversation_history":[)";
  for (size_t i = 0; i < turns; ++i) {
    if (i != 0) json += ',';
    json +=
        R"({"role":"user","content":"杭州在哪里？"},{"role":"assistant","content":"杭州在浙江省。\n\n- 西湖\n- 灵隐寺"})";
  }
  return json + "]}";
}

void append_record(std::string& wire, unsigned char type, std::string_view content) {
  unsigned char header[8];
  write_record_header(header, type, 1, content.size());
  wire.append(reinterpret_cast<const char*>(header), sizeof header).append(content);
}

void append_stream(std::string& wire, unsigned char type, std::string_view content) {
  constexpr size_t kNginxRecordBytes = 32768;
  for (; !content.empty(); content.remove_prefix(std::min(content.size(), kNginxRecordBytes))) {
    append_record(wire, type, content.substr(0, kNginxRecordBytes));
  }
  append_record(wire, type, {});
}

std::string fastcgi_request(const std::string& body) {
  std::string params;
  const auto add = [&](std::string_view name, std::string_view value) {
    params += static_cast<char>(name.size());
    params += static_cast<char>(value.size());
    params.append(name).append(value);
  };
  add("REQUEST_METHOD", "POST");
  add("REQUEST_URI", "/myapi/v1/chat-bot/stream");
  add("CONTENT_LENGTH", std::to_string(body.size()));
  add("HTTP_USER_AGENT", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0");
  std::string wire;
  append_record(wire, 1, std::string_view("\0\1\0\0\0\0\0\0", 8));
  append_stream(wire, 4, params);
  append_stream(wire, 5, body);
  return wire;
}

void sse_parser_takes_an_event(benchmark::State& state) {
  const std::string event = upstream_event();
  size_t events = 0;
  SseParser parser;
  for (auto _ : state) {
    parser.feed(event);
    while (parser.next()) ++events;
    if (parser.is_refused()) state.SkipWithError("refused");
  }
  benchmark::DoNotOptimize(events);
}
BENCHMARK(sse_parser_takes_an_event);

void json_of_an_event_is_parsed(benchmark::State& state) {
  std::string json;
  for (auto _ : state) {
    json = kData;
    benchmark::DoNotOptimize(parse_answer_fields(json));
  }
}
BENCHMARK(json_of_an_event_is_parsed);

std::unique_ptr<AnswerWriter> stream_writer() {
  Request request;
  request.body = R"({"last_prompt":"x"})";
  return kMyapi.parse(request, "/myapi/v1/chat-bot/stream", {32768, 40}).writer;
}

void text_event_is_written(benchmark::State& state) {
  Answer answer;
  answer.session_id = "b08fcbf8b1a04ab9b2b5c0a0a2a8b7c1";
  const auto writer = stream_writer();
  for (auto _ : state) {
    writer->text("杭州是", answer);
    while (const auto event = writer->next_event()) benchmark::DoNotOptimize(event->data());
  }
}
BENCHMARK(text_event_is_written);

void record_is_framed(benchmark::State& state) {
  OutputBuffers buffers;
  FcgiOutput output(buffers);
  output.start(1);
  const std::string event(120, 'x');
  for (auto _ : state) {
    output.write_event(event);
    output.flush();
    output.consume(output.next_records().size());
  }
}
BENCHMARK(record_is_framed);

// From the bytes of the upstream to those for the web server.
void token_goes_all_the_way(benchmark::State& state) {
  const std::string event = upstream_event();
  OutputBuffers buffers;
  FcgiOutput output(buffers);
  output.start(1);
  AnswerParser parser("");
  const auto writer = stream_writer();
  // The parser bounds the whole answer.
  size_t sent = 0;
  for (auto _ : state) {
    if (++sent == 100000) {
      state.PauseTiming();
      std::destroy_at(&parser);
      std::construct_at(&parser, "");
      sent = 0;
      state.ResumeTiming();
    }
    parser.feed(200, event);
    while (const auto piece = parser.next()) {
      writer->text(piece->text, parser.answer());
      while (const auto out = writer->next_event()) output.write_event(*out);
    }
    output.flush();
    output.consume(output.next_records().size());
  }
}
BENCHMARK(token_goes_all_the_way);

void request_records_are_checked(benchmark::State& state) {
  const std::string wire = fastcgi_request(chat_json(static_cast<size_t>(state.range(0))));
  const auto* bytes = reinterpret_cast<const unsigned char*>(wire.data());
  for (auto _ : state) {
    FcgiRequestParser records(1U << 20U);
    if (!records.feed({bytes, wire.size()})) state.SkipWithError("refused");
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * wire.size()));
}
BENCHMARK(request_records_are_checked)->Arg(0)->Arg(20)->Arg(1000);

Question parse_question(const std::string& json) {
  Request request;
  request.body = json;
  return kMyapi.parse(request, "/myapi/v1/chat-bot/stream", {32768, 40}).question;
}

void chat_request_is_parsed(benchmark::State& state) {
  const std::string json = chat_json(static_cast<size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(parse_question(json));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * json.size()));
}
BENCHMARK(chat_request_is_parsed)->Arg(0)->Arg(20)->Arg(1000);

void completion_body_is_written(benchmark::State& state) {
  const Question chat = parse_question(chat_json(static_cast<size_t>(state.range(0))));
  Config config;
  config.parameters_json = "{}";
  for (auto _ : state) benchmark::DoNotOptimize(completion_body(chat, config, AnswerMode::kStream));
}
BENCHMARK(completion_body_is_written)->Arg(0)->Arg(20);

}  // namespace
}  // namespace bailian
