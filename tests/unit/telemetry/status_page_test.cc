#include "telemetry/status_page.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace bailian {
namespace {

using std::chrono::milliseconds;

ChatView a_chat() {
  ChatView chat;
  chat.bot = "default";
  chat.request_id = "0123456789abcdef0123456789abcdef";
  chat.phase = ChatPhase::kPaused;
  chat.worker = 3;
  chat.age = milliseconds(12345);
  chat.tokens = 599;
  chat.sent_bytes = 4055;
  chat.waiting_bytes = 61540;
  chat.first_token = milliseconds(203);
  chat.silence = milliseconds(7);
  return chat;
}

ChatView a_new_chat() {
  ChatView chat;
  chat.bot = "default";
  chat.request_id = "new";
  chat.mode = AnswerMode::kJson;
  return chat;
}

const std::vector<StatusFigure> kFigures = {{"listening", "<a&\"b>"}, {"max active streams", uint64_t{17}}};

const std::vector<StatusBot> kOneBot = {{"default", "app", 2, 0}};

std::string page(std::string_view query, const std::vector<ChatView>& chats = {},
                 const std::vector<StatusBot>& bots = kOneBot, const std::vector<StatusTarget>& targets = {},
                 const std::string& ledger = "") {
  StatusWriter writer(parse_status_query(query));
  writer.start({kFigures, bots, targets, ledger});
  for (const ChatView& chat : chats) writer.add(chat);
  return writer.finish();
}

TEST(StatusPage, IsTextInColumns) {
  EXPECT_EQ(page(""), "listening:            <a&\"b>\nmax active streams:   17\n");
  EXPECT_EQ(
      page("full", {a_chat(), a_new_chat()}),
      "listening:            <a&\"b>\nmax active streams:   17\n\n"
      "worker       age state     mode     tokens        sent     waiting first token    silent bot       "
      "request id\n"
      "     3    12.345 paused    stream      599        4055       61540       0.203     0.007 default   "
      "0123456789abcdef0123456789abcdef\n"
      "     0     0.000 waiting   json          0           0           0           -         - default   "
      "new\n");
}

TEST(StatusPage, ListsTheBotsIfThereAreSeveral) {
  const std::vector<StatusBot> bots = {{"default", "app", 2, 0}, {"shop", "", 7, 100}};
  EXPECT_EQ(page("", {}, bots),
            "listening:            <a&\"b>\nmax active streams:   17\n\n"
            "bot                              streams   limit application\n"
            "default                                2       - app\n"
            "shop                                   7     100 not configured\n");
  EXPECT_NE(page("json", {}, bots)
                .find(R"({"name":"shop","application":"","active_streams":7,"max_streams":100}]})"),
            std::string::npos);
}

TEST(StatusPage, ListsTheTargetsOfBotsWithSeveral) {
  const std::vector<StatusTarget> targets = {{"default", 1, "cooling", 300, "app", "a.example"},
                                             {"default", 2, "well", 0, "", "b.example:8443"}};
  EXPECT_EQ(
      page("", {}, kOneBot, targets),
      "listening:            <a&\"b>\nmax active streams:   17\n\n"
      "bot                              target state         application                      host\n"
      "default                               1 cooling 300 s app                              a.example\n"
      "default                               2 well          not configured                   "
      "b.example:8443\n");
  EXPECT_NE(page("json&full", {}, kOneBot, targets)
                .find(R"("max_streams":0}],"targets":[)"
                      R"({"bot":"default","target":1,"state":"cooling","rests_for":300,"application":"app",)"
                      R"("host":"a.example"},)"
                      R"({"bot":"default","target":2,"state":"well","rests_for":0,"application":"",)"
                      R"("host":"b.example:8443"}],"streams":[]})"),
            std::string::npos);
}

TEST(StatusPage, HasTheLedgerBeforeTheChats) {
  EXPECT_EQ(page("", {}, kOneBot, {}, "ledger x\n"),
            "listening:            <a&\"b>\nmax active streams:   17\n\nledger x\n");
  EXPECT_NE(page("full", {}, kOneBot, {}, "ledger x\n").find("\n\nledger x\n\nworker "), std::string::npos);
  EXPECT_NE(
      page("json", {}, kOneBot, {}, R"({"day":"d"})").find(R"("max_streams":0}],"ledger":{"day":"d"}})"),
      std::string::npos);
  EXPECT_NE(
      page("json&full", {}, kOneBot, {}, R"({"day":"d"})").find(R"(],"ledger":{"day":"d"},"streams":[]})"),
      std::string::npos);
}

TEST(StatusPage, IsJson) {
  EXPECT_EQ(page("json"),
            "{\"listening\":\"<a&\\\"b>\",\"max_active_streams\":17,\"bots\":[{\"name\":\"default\","
            "\"application\":\"app\",\"active_streams\":2,\"max_streams\":0}]}\n");
  EXPECT_EQ(page("full&json"),
            "{\"listening\":\"<a&\\\"b>\",\"max_active_streams\":17,\"bots\":[{\"name\":\"default\","
            "\"application\":\"app\",\"active_streams\":2,\"max_streams\":0}],\"streams\":[]}\n");
  EXPECT_EQ(
      page("json&full", {a_chat(), a_new_chat()}),
      "{\"listening\":\"<a&\\\"b>\",\"max_active_streams\":17,\"bots\":[{\"name\":\"default\","
      "\"application\":\"app\",\"active_streams\":2,\"max_streams\":0}],\"streams\":["
      R"({"request_id":"0123456789abcdef0123456789abcdef","worker":3,"age":12.345,"state":"paused",)"
      R"("mode":"stream","bot":"default","tokens":599,"sent_bytes":4055,"waiting_bytes":61540,"first_token":0.203,)"
      R"("silent":0.007},)"
      R"({"request_id":"new","worker":0,"age":0.000,"state":"waiting","mode":"json","bot":"default","tokens":0,)"
      R"("sent_bytes":0,"waiting_bytes":0,"first_token":null,"silent":null}]})"
      "\n");
  JsonDocument document;
  EXPECT_FALSE(parse_json(page("json&full", {a_chat(), a_new_chat()}), document));
}

TEST(StatusPage, UnderstandsItsQueryInAnyOrder) {
  struct Row {
    const char* query;
    bool json;
    bool full;
  };
  for (const auto& [query, json, full] :
       {Row{"", false, false}, Row{"json", true, false}, Row{"full&html=", false, true},
        Row{"json=1&&full=1", true, true}, Row{"jsonx&fulll&JSON", false, false},
        Row{"a=json&=full", false, false}, Row{"&&&=&", false, false}}) {
    const StatusQuery asked = parse_status_query(query);
    EXPECT_EQ(asked.json, json) << query;
    EXPECT_EQ(asked.full, full) << query;
  }
}

std::unique_ptr<LiveChat> live_chat(LoopBoard& board, const std::string& id) {
  return std::make_unique<LiveChat>(board, id, "shop", AnswerMode::kStream, Clock::now());
}

std::vector<std::string> ids_on(const LoopBoard& board, size_t step) {
  std::vector<ChatView> views;
  for (std::optional<size_t> slot = 0; slot;) slot = board.read(*slot, step, Clock::now(), views);
  std::vector<std::string> ids;
  ids.reserve(views.size());
  for (const ChatView& view : views) ids.push_back(view.request_id);
  return ids;
}

TEST(StatusBoards, ShowWhoIsThereWhateverTheStep) {
  LoopBoard board;
  EXPECT_TRUE(ids_on(board, 1).empty());
  std::vector<std::unique_ptr<LiveChat>> chats;
  for (const char* id : {"a", "b", "c", "d", "e"}) chats.push_back(live_chat(board, id));
  chats.erase(chats.begin() + 1);
  for (const size_t step : {1U, 2U, 3U, 100U})
    EXPECT_EQ(ids_on(board, step), (std::vector<std::string>{"a", "c", "d", "e"}));
  chats.push_back(live_chat(board, "f"));
  EXPECT_EQ(ids_on(board, 2), (std::vector<std::string>{"a", "f", "c", "d", "e"}));
  chats.clear();
  EXPECT_TRUE(ids_on(board, 2).empty());
}

TEST(StatusBoards, MeetEachChatOnceThatStays) {
  LoopBoard board;
  const auto first = live_chat(board, "first");
  auto leaving = live_chat(board, "leaving");
  const auto last = live_chat(board, "last");
  std::vector<ChatView> views;
  auto slot = board.read(0, 1, Clock::now(), views);
  leaving.reset();
  const auto come = live_chat(board, "come");
  const auto more = live_chat(board, "more");
  while (slot) slot = board.read(*slot, 1, Clock::now(), views);
  std::string seen;
  for (const ChatView& view : views) seen += view.request_id + ' ';
  EXPECT_EQ(seen, "first come last more ");
}

TEST(StatusBoards, TellWhatAChatHasNoted) {
  LoopBoard board;
  const auto started = Clock::now();
  LiveChat chat(board, "id", "shop", AnswerMode::kJson, started);
  ChatView view = chat.view(started + milliseconds(50));
  EXPECT_EQ(view.age, milliseconds(50));
  EXPECT_EQ(view.phase, ChatPhase::kWaiting);
  EXPECT_EQ(view.mode, AnswerMode::kJson);
  EXPECT_EQ(view.bot, "shop");
  EXPECT_FALSE(view.first_token);
  EXPECT_FALSE(view.silence);
  chat.set_phase(ChatPhase::kFinished);
  chat.set_tokens(5);
  chat.set_bytes(6, 7);
  chat.set_first_token(started + milliseconds(10));
  chat.set_last_bytes(started + milliseconds(20));
  view = chat.view(started + milliseconds(50));
  EXPECT_EQ(view.phase, ChatPhase::kFinished);
  EXPECT_EQ(view.tokens, 5U);
  EXPECT_EQ(view.sent_bytes, 6U);
  EXPECT_EQ(view.waiting_bytes, 7U);
  EXPECT_EQ(view.first_token, milliseconds(10));
  EXPECT_EQ(view.silence, milliseconds(30));
}

}  // namespace
}  // namespace bailian
