#include "fastcgi/output.h"

#include <fastcgi.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <new>
#include <random>
#include <string>
#include <vector>

#include "base/exchange.h"
#include "harness/sanitized.h"
#include "unit/heap.h"

namespace bailian {
namespace {

struct Record {
  int type;
  std::string content;
};

std::vector<Record> records_of(std::string_view bytes) {
  std::vector<Record> records;
  while (!bytes.empty()) {
    EXPECT_GE(bytes.size(), 8U);
    EXPECT_EQ(bytes[0], 1);
    EXPECT_EQ(bytes[3], 7) << "the request's id";
    EXPECT_EQ(bytes[6], 0) << "no padding";
    const size_t size = static_cast<unsigned char>(bytes[4]) * 256U + static_cast<unsigned char>(bytes[5]);
    EXPECT_LE(8 + size, bytes.size());
    records.push_back({bytes[1], std::string(bytes.substr(8, size))});
    bytes.remove_prefix(8 + size);
  }
  return records;
}

std::string take_all(FcgiOutput& output) {
  std::string bytes(output.next_records());
  output.consume(bytes.size());
  return bytes;
}

class Output : public testing::Test {
 protected:
  void SetUp() override { output_.start(7); }
  OutputBuffers buffers_;
  FcgiOutput output_{buffers_};
};

// nginx uses a kept connection again as soon as it has read the end, unless more bytes came with it.
TEST_F(Output, WhatFollowsTheEndOfTheRequestIsSentWithIt) {
  const std::string more("\1\12\0\0\0\0\0\0", 8);
  output_.write(std::string(100, 'x'));
  output_.end();
  output_.add_records(more);
  EXPECT_EQ(output_.next_records(108 + 8 + 16).size(), 108 + 8U);
  EXPECT_EQ(output_.next_records(108 + 8 + 16 + 8).size(), 108 + 8 + 16 + 8U);
}

TEST_F(Output, EventsWrittenTogetherShareARecord) {
  output_.write("Status: 200\r\n\r\n");
  output_.write_event("one");
  output_.write_event("two");
  EXPECT_EQ(output_.next_records(), "") << "an open record is not sent";
  EXPECT_EQ(output_.waiting_bytes(), 8 + 15 + 6U);
  output_.flush();
  const auto records = records_of(take_all(output_));
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].type, FCGI_STDOUT);
  EXPECT_EQ(records[0].content, "Status: 200\r\n\r\nonetwo");
  EXPECT_EQ(output_.waiting_bytes(), 0U);
}

TEST_F(Output, AnEventIsNeverCutOverRecords) {
  std::minstd_rand random(3);
  std::vector<std::string> events(300);
  char letter = 'a';
  for (std::string& event : events) {
    event.assign(1 + random() % kMaxEventBytes, letter);
    letter = letter == 'z' ? 'a' : static_cast<char>(letter + 1);
  }
  std::string together;
  for (const std::string& event : events) {
    output_.write_event(event);
    together += event;
  }
  output_.flush();
  size_t next = 0;
  for (const Record& record : records_of(take_all(output_))) {
    EXPECT_LE(record.content.size(), kMaxEventBytes);
    size_t at = 0;
    while (at < record.content.size()) {
      ASSERT_EQ(record.content.substr(at, events[next].size()), events[next]);
      at += events[next++].size();
    }
  }
  EXPECT_EQ(next, events.size());
}

TEST_F(Output, ALargeBodyGoesInLargeRecords) {
  const std::string body(200000, 'x');
  output_.write("head");
  output_.write(body);
  output_.end();
  const auto records = records_of(take_all(output_));
  ASSERT_EQ(records.size(), 6U);
  std::string together;
  for (size_t i = 0; i < 4; ++i) together += records[i].content;
  EXPECT_EQ(together, "head" + body);
  EXPECT_EQ(records[4].type, FCGI_STDOUT);
  EXPECT_EQ(records[4].content, "");
  EXPECT_EQ(records[5].type, FCGI_END_REQUEST);
  EXPECT_EQ(records[5].content, std::string(8, '\0'));
}

TEST_F(Output, AFlushOfNothingIsNothing) {
  output_.flush();
  output_.flush();
  EXPECT_EQ(output_.next_records(), "");
  EXPECT_EQ(output_.waiting_bytes(), 0U);
}

TEST_F(Output, WhatGoesOutInOneReadIsWholeRecords) {
  output_.write_event(std::string(3000, 'a'));
  output_.flush();
  output_.write_event(std::string(3000, 'b'));
  output_.flush();
  EXPECT_EQ(output_.next_records(4096).size(), 3008U);
  EXPECT_EQ(output_.next_records(3007).size(), 0U);
  EXPECT_EQ(output_.next_records(6016).size(), 6016U);
  output_.consume(1000);  // a full socket took a part
  EXPECT_EQ(output_.next_records(0).size(), 2008U) << "the rest of a record that was begun";
  EXPECT_EQ(output_.next_records(4096).size(), 2008U);
  EXPECT_EQ(output_.next_records(5016).size(), 5016U);
  output_.consume(2008);
  EXPECT_EQ(output_.next_records(4096).size(), 3008U);
}

TEST_F(Output, BytesSentAnyhowAreTheBytesWritten) {
  std::minstd_rand random(5);
  std::string sent;
  std::string written;
  for (int i = 0; i < 2000; ++i) {
    const std::string event(1 + random() % 700, static_cast<char>('a' + i % 26));
    output_.write_event(event);
    written += event;
    if (random() % 3 != 0) output_.flush();
    const std::string_view ready = random() % 2 != 0 ? output_.next_records() : output_.next_records(4096);
    const size_t part = ready.empty() ? 0 : random() % (ready.size() + 1);
    sent += ready.substr(0, part);
    output_.consume(part);
  }
  output_.end();
  sent += take_all(output_);
  std::string received;
  for (const Record& record : records_of(sent)) {
    if (record.type == FCGI_STDOUT) received += record.content;
  }
  EXPECT_EQ(received, written);
}

TEST_F(Output, AnEventThatFitsNoReadStillLeaves) {
  output_.write_event(std::string(70000, 'x'));
  output_.flush();
  EXPECT_EQ(output_.next_records(4096), "");
  size_t received = 0;
  for (const Record& record : records_of(take_all(output_))) received += record.content.size();
  EXPECT_EQ(received, 70000U);
}

// In a separate process: writes until memory is exhausted.
[[noreturn]] void use_up_memory_and_end() {
  constexpr rlim_t kBytes = rlim_t{256} << 20;
  const rlimit limit = {kBytes, kBytes};
  const std::string piece(1 << 20, 'x');
  OutputBuffers buffers;
  FcgiOutput output(buffers);
  output.start(7);
  ::setrlimit(RLIMIT_AS, &limit);
  try {
    for (rlim_t written = 0; written < 2 * kBytes; written += piece.size()) output.write(piece);
  } catch (const std::bad_alloc&) {
    ::_exit(0);
  }
  ::_exit(1);
}

TEST_F(Output, WithoutMemoryThrowsPastLibfcgi) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer needs all address space there is";
  EXPECT_EXIT(use_up_memory_and_end(), testing::ExitedWithCode(0), "");
}

TEST_F(Output, DropsTheRestOfAnAbortedAnswer) {
  output_.write_event("first");
  output_.flush();
  output_.write_event("second");
  output_.flush();
  output_.write_event("third");
  std::string sent(output_.next_records().substr(0, 3));  // a part of the first record was sent
  output_.consume(3);
  output_.abort();
  sent += take_all(output_);
  const auto records = records_of(sent);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].content, "first");
  EXPECT_EQ(records[1].type, FCGI_END_REQUEST);
  output_.start(7);
  output_.end();
  EXPECT_EQ(records_of(take_all(output_)).size(), 2U);
}

TEST_F(Output, PutsOtherRecordsBehindAnAbortedAnswer) {
  constexpr std::string_view kOther{"\1\12\0\7\0\0\0\0", 8};
  output_.write(std::string(1000, 'x'));
  output_.flush();
  std::string sent(output_.next_records().substr(0, 3));  // the end of the record is the end of the buffer
  output_.consume(3);
  output_.abort();
  output_.add_records(kOther);
  output_.add_records(kOther);
  sent += take_all(output_);
  std::vector<int> types;
  for (const Record& record : records_of(sent)) types.push_back(record.type);
  EXPECT_EQ(types, (std::vector<int>{FCGI_STDOUT, FCGI_END_REQUEST, 10, 10}));
  EXPECT_EQ(output_.waiting_bytes(), 0U);
}

TEST_F(Output, PutsOtherRecordsBetweenItsOwn) {
  constexpr std::string_view kOther{"\1\12\0\7\0\0\0\0", 8};
  output_.add_records(kOther);
  output_.write_event("a");
  output_.add_records(kOther);
  output_.write_event("b");
  output_.end();
  output_.add_records(kOther);
  std::vector<int> types;
  for (const Record& record : records_of(take_all(output_))) types.push_back(record.type);
  EXPECT_EQ(types, (std::vector<int>{10, FCGI_STDOUT, 10, FCGI_STDOUT, FCGI_STDOUT, FCGI_END_REQUEST, 10}));
  EXPECT_EQ(output_.waiting_bytes(), 0U);
}

TEST_F(Output, ServesOneRequestAfterTheOther) {
  for (int i = 0; i < 3; ++i) {
    output_.write_event("x");
    output_.end();
    EXPECT_EQ(records_of(take_all(output_)).size(), 3U);
    output_.start(7);
  }
}

// --- memory ---

constexpr size_t kLittle = 4096;

TEST_F(Output, HoldsLittleOnceAllWasSent) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer counts no bytes";
  const size_t before = allocated_bytes();
  output_.write_event(std::string(4000, 'x'));
  output_.write_event(std::string(4000, 'y'));
  output_.flush();
  EXPECT_GT(allocated_bytes(), before + 8000);
  take_all(output_);
  EXPECT_LT(allocated_bytes(), before + kLittle);
}

TEST_F(Output, OfTheNextStreamUsesTheSameMemory) {
  FcgiOutput other(buffers_);
  other.start(7);
  output_.write_event("one");
  output_.flush();
  const char* const memory = output_.next_records().data();
  take_all(output_);
  other.write_event("two");
  other.flush();
  EXPECT_EQ(other.next_records().data(), memory);
  const auto records = records_of(take_all(other));
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].content, "two");
}

TEST_F(Output, OfALargeAnswerHoldsLessAsItIsSent) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer counts no bytes";
  constexpr size_t kBytes = size_t{4} << 20;
  const size_t before = allocated_bytes();
  output_.write(std::string(kBytes, 'x'));
  output_.end();
  EXPECT_GT(allocated_bytes(), before + kBytes);
  for (size_t left = kBytes; left > kBytes / 8; left = output_.waiting_bytes()) {
    output_.consume(output_.next_records(70'000).size());
    EXPECT_LT(allocated_bytes(), before + 3 * left);
  }
}

TEST_F(Output, OfABrowserThatAlwaysLagsALittleDoesNotGrow) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer counts no bytes";
  const size_t before = allocated_bytes();
  const std::string event(1000, 'x');
  output_.write_event(event);
  output_.flush();
  for (int i = 0; i < 1000; ++i) {
    output_.write_event(event);
    output_.flush();
    output_.consume(output_.next_records(1100).size());
    ASSERT_LT(allocated_bytes(), before + 65'536);
  }
}

}  // namespace
}  // namespace bailian
