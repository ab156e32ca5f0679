#include "import/config_mapper.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "settings/bot_profile.h"
#include "settings/config.h"
#include "settings/dotenv.h"

namespace bailian {
namespace {

const std::string kFolder = "tests/data/config-php/";

std::string old_file(const std::string& name) {
  std::ifstream file(kFolder + name, std::ios::binary);
  if (!file) throw std::runtime_error("run the tests from the top folder: no " + kFolder + name);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::string> old_files() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder))
    names.push_back(entry.path().filename());
  return names;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) all += line + "\n";
  return all;
}

std::string settings_of(const ConfigPhp& php) {
  std::string all;
  for (const auto& [key, value] : php.settings) all += dotenv_line(key, value);
  return all;
}

std::string fault(std::string_view text) {
  try {
    read_config_php(text);
  } catch (const PhpError& error) {
    return error.what();
  }
  return "none";
}

struct Variant {
  const char* file;
  const char* settings;
  const char* profile;  // on one line
  const char* taken;
  const char* not_taken;
  const char* called;
};

const Variant kVariants[] = {
    {"snippet.php",
     "DASHSCOPE_API_KEY=sk-snippet0123456789abcdef\nAPP_ID=\n"
     "SYSTEM_PROMPT=\"You are the clerk of a garden shop. Answer in one sentence; don't talk about anything "
     "but "
     "plants.\"\nTEMPERATURE=0.7\nTIMEOUT=120\n",
     R"({"botStatus":1,"StartUpMessage":"What grows at your place?","fontSize":"16",)"
     R"("userAvatarURL":"https://garden.example/user.png","botImageURL":"https://garden.example/bot.png",)"
     R"("commonButtons":[{"buttonText":"Roses","buttonPrompt":"How do I prune roses?"},)"
     R"({"buttonText":"Opening hours","buttonPrompt":"When are you open?"}]})",
     "DASHSCOPE_API_KEY (line 7)\nSYSTEM_PROMPT, 97 bytes (line 16)\nTEMPERATURE 0.7 (line 26)\nTIMEOUT 120 "
     "(line "
     "33)\nbotStatus (line 61)\nStartUpMessage (line 62)\nfontSize (line 63)\nuserAvatarURL (line "
     "57)\nbotImageURL "
     "(line 58)\ncommonButtons (line 66)\n",
     "model qwen-turbo (line 24): the application decides; choose its model in the console\n",
     "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions\n"},
    {"python-backend.php",
     "DASHSCOPE_API_KEY=\nAPP_ID=\nSYSTEM_PROMPT=\"Answer questions about \\\"shoes\\\" only.\\nSay so.\"\n"
     "TEMPERATURE=0.2\nCONNECT_TIMEOUT=30\nTIMEOUT=120\n",
     R"({"botStatus":0,"StartUpMessage":"Hi!","fontSize":"18","userAvatarURL":"","botImageURL":"/bot.png",)"
     R"("commonButtons":[]})",
     "SYSTEM_PROMPT, 44 bytes (line 20)\nTEMPERATURE 0.2 (line 24)\nCONNECT_TIMEOUT 30 (line 34)\nTIMEOUT "
     "120 (line "
     "33)\nbotStatus (line 42)\nStartUpMessage (line 43)\nfontSize (line 44)\nuserAvatarURL (line "
     "45)\nbotImageURL "
     "(line 46)\ncommonButtons (line 47)\n",
     "the key (line 19): a placeholder\nCONNECT_TIMEOUT 25 (line 13): a longer one was taken\nTIMEOUT 25 "
     "(line 8): a "
     "longer one was taken\nlanguage (line 48): not a key of the profile\n"
     "set_time_limit (line 3): a limit of PHP, which no longer applies\n"
     "ini_set (line 4): a limit of PHP, which no longer applies\n"
     "model gpt-4o-mini (line 22): the application decides; choose its model in the console\n"
     "max_tokens 500 (line 25): to pass it to the application, put it into DASHSCOPE_PARAMETERS\n"
     "conversation_id (line 26): each visitor has a conversation of their own\n"
     "certificates not checked (line 35): they always are\n",
     "http://127.0.0.1:8000/chat\n"},
    {"curl.php",
     "DASHSCOPE_API_KEY=sk-curl0123456789abcdef\nAPP_ID=\n"
     "DASHSCOPE_BASE_URL=https://dashscope-intl.aliyuncs.com/api/v1\n"
     "SYSTEM_PROMPT=\"你是“小店”的客服，只回答与商品有关的问题。\\n价格以 ￥ "
     "计算；遇到不懂的问题请说：“请联系人工客服”。\\n"
     "  - 不要编造 #优惠 $\"\nTEMPERATURE=0.85\nCONNECT_TIMEOUT=5\nTIMEOUT=90\n",
     R"({"botStatus":1,"StartUpMessage":"您好👋，有什么可以帮您？","fontSize":"14",)"
     R"("userAvatarURL":"https://shop.example/u.png","botImageURL":"https://shop.example/b.png",)"
     R"("commonButtons":[{"buttonText":"发货","buttonPrompt":"多久发货？"},)"
     R"({"buttonText":"退货","buttonPrompt":"怎么退货？"}]})",
     "DASHSCOPE_API_KEY (line 10)\nDASHSCOPE_BASE_URL https://dashscope-intl.aliyuncs.com/api/v1, the region "
     "that was "
     "called\nSYSTEM_PROMPT, 177 bytes (line 15)\nTEMPERATURE 0.85 (line 31)\nCONNECT_TIMEOUT 5 (line "
     "25)\nTIMEOUT 90 "
     "(line 26)\nbotStatus (line 44)\nStartUpMessage (line 44)\nfontSize (line 45)\nuserAvatarURL (line "
     "46)\nbotImageURL (line 47)\ncommonButtons (line 41)\n",
     "model qwen-plus (line 9): the application decides; choose its model in the console\ntop_p 0.8 (line "
     "32): to pass it to the "
     "application, put it into DASHSCOPE_PARAMETERS\n",
     "https://dashscope-intl.aliyuncs.com/compatible-mode/v1/chat/completions\n"},
    {"plugin-class.php", "DASHSCOPE_API_KEY=\nAPP_ID=\nSYSTEM_PROMPT=\nTEMPERATURE=0.4\nTIMEOUT=45\n",
     nullptr,
     "TEMPERATURE 0.4 (line 8)\nTIMEOUT 45 (line 37)\nStartUpMessage (line 52)\nfontSize (line "
     "42)\nuserAvatarURL "
     "(line 54)\ncommonButtons (line 43)\n",
     "the key (line 14): in WordPress's database, get_option('shop_chat_key')\nthe system message (line 26): "
     "put together "
     "with $shop, "
     "which is not known\nSYSTEM_PROMPT is left empty: the application's own prompt in the console "
     "applies\nbotStatus, "
     "the default stays (line 51): in WordPress's database, get_option('shop_chat_enabled')\nbotImageURL, "
     "the default stays "
     "(line 55): "
     "the result of plugin_dir_url()\na button (line 47): the result of get_option()\n"
     "the route myapi/v1/leads (line 21): not served here, it stays with WordPress\n"
     "model (line 33): the application decides; choose its model in the console\n",
     "https://api.openai.com/v1/chat/completions\n"},
    {"application.php",
     "DASHSCOPE_API_KEY=\nAPP_ID=a1b2c3d4e5f60718293a4b5c6d7e8f90\nSYSTEM_PROMPT=\nTEMPERATURE=\n", nullptr,
     "APP_ID a1b2c3d4e5f60718293a4b5c6d7e8f90 (line 3)\n",
     "the key (line 4): in the environment variable DASHSCOPE_API_KEY\nSYSTEM_PROMPT is left empty: the "
     "application's "
     "own prompt in the console applies\nTIMEOUT 0 (line 10): not a number of seconds from 0.001 to "
     "86400\nthe bot's "
     "profile: "
     "not in "
     "the file; it holds the defaults\ncertificates not checked (line 9): they always are\n",
     "https://dashscope.aliyuncs.com/api/v1/apps/a1b2c3d4e5f60718293a4b5c6d7e8f90/completion\n"},
    {"gemini.php", "DASHSCOPE_API_KEY=\nAPP_ID=\nSYSTEM_PROMPT=\nTEMPERATURE=\nTIMEOUT=30\n", nullptr,
     "TIMEOUT 30 (line 8)\n",
     "a key (line 3): it does not look like one of DashScope's\nSYSTEM_PROMPT is left empty: the "
     "application's own "
     "prompt in "
     "the console applies\nthe bot's profile: not in the file; it holds the defaults\n",
     "https://generativelanguage.googleapis.com/v1beta/models/gemini-pro:generateContent\n"},
};

class OldFiles : public testing::TestWithParam<Variant> {};

TEST_P(OldFiles, AreUnderstood) {
  const Variant& variant = GetParam();
  const ConfigPhp php = read_config_php(old_file(variant.file));
  EXPECT_EQ(settings_of(php), variant.settings);
  EXPECT_EQ(joined(php.taken), variant.taken);
  EXPECT_EQ(joined(php.not_taken), variant.not_taken);
  EXPECT_EQ(joined(php.called), variant.called);
  if (variant.profile != nullptr) {
    std::vector<std::string> faults;
    EXPECT_EQ(parse_bot_profile(php.bot_profile, faults).value().json, variant.profile);
  }
}

INSTANTIATE_TEST_SUITE_P(ConfigPhps, OldFiles, testing::ValuesIn(kVariants), [](const auto& test) {
  std::string name;
  for (const char c : std::string(test.param.file))
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
});

TEST(ConfigPhps, WithFaultsOrNothingInThemAreRefused) {
  EXPECT_EQ(fault(old_file("bad-string.php")), "line 2: the string that begins here does not end");
  EXPECT_EQ(fault(old_file("bad-bracket.php")), "line 2: the \"(\" is never closed");
  EXPECT_EQ(fault(old_file("bad-pair.php")), "line 2: the \")\" closes nothing");
  EXPECT_EQ(fault(old_file("bad-comment.php")), "line 2: the comment that begins here does not end");
  EXPECT_EQ(fault(old_file("bad-heredoc.php")), "line 2: the heredoc that begins here does not end");
  const std::string nothing = "no key, no system message, no temperature, no model and no bot profile in it";
  EXPECT_EQ(fault(old_file("bad-nothing.php")), nothing);
  EXPECT_EQ(fault(old_file("bad-empty.php")), nothing);
  EXPECT_EQ(fault("<html><body>404</body></html>"), nothing);
}

/// Any bytes give a PhpError, or settings and a profile that the program accepts, and no report contains a
/// key.
class Acceptance {
 public:
  Acceptance() { ::close(::mkstemp(path_)); }
  ~Acceptance() { ::unlink(path_); }
  Acceptance(const Acceptance&) = delete;
  Acceptance& operator=(const Acceptance&) = delete;

  void expect(std::string_view text) {
    ConfigPhp php;
    try {
      php = read_config_php(text);
    } catch (const PhpError&) {
      return;
    }
    std::vector<std::string> faults;
    EXPECT_TRUE(parse_bot_profile(php.bot_profile, faults)) << joined(faults) << text;
    const std::string told = joined(php.taken) + joined(php.not_taken) + joined(php.called);
    EXPECT_EQ(told.find("0123456789"), std::string::npos) << told;
    EXPECT_EQ(told.find('\x1b'), std::string::npos);
    const std::string env = settings_of(php);
    if (!accepted_.insert(env).second) return;
    std::ofstream(path_, std::ios::binary) << env;
    try {
      EXPECT_TRUE(load_config({}, path_).warnings.empty());
    } catch (const ConfigError& error) {
      ADD_FAILURE() << joined(error.faults()) << "in\n" << env << "of\n" << text;
    }
  }

 private:
  std::set<std::string> accepted_;
  char path_[32] = "build/config_php_test.XXXXXX";
};

TEST(ConfigPhps, CutAnywhereAreRefusedOrMakeAGoodConfiguration) {
  Acceptance acceptance;
  for (const std::string& name : old_files()) {
    const std::string text = old_file(name);
    for (size_t size = 0; size <= text.size(); ++size)
      acceptance.expect(std::string_view(text).substr(0, size));
  }
}

TEST(ConfigPhps, WithAnyByteChangedAreRefusedOrMakeAGoodConfiguration) {
  Acceptance acceptance;
  for (const std::string& name : old_files()) {
    const std::string text = old_file(name);
    const std::string_view bytes("'\"($ \\\0\xff", 8);
    for (size_t i = 0; i < text.size(); ++i) {
      std::string changed = text;
      changed[i] = bytes[i % bytes.size()];
      acceptance.expect(changed);
    }
  }
}

TEST(ConfigPhps, HostileValuesStayOut) {
  Acceptance acceptance;
  for (const char* text : {
           "$api_key = \"sk-a\\nDEBUG=True\"; $app_id = \"x\\ny\"; $model = \"\\e[2J\\u{9b}x\";",
           "$m = ['role' => 'system', 'content' => \"\\xc4\\xe3\"]; $temperature = 'nan';",
           "$m = ['role' => 'system', 'content' => \"a\\x00b\\r\\n'\\\"# \\\\n\\$x\"]; $temperature = 1e999;",
           "$temperature = -0.0; $timeout = 1e-9; $connect_timeout = INF; $timeout = '5 s';",
           "$temperature = 1; $timeout = 'nan'; $connect_timeout = 'inf'; $timeout = 1e308 * 9 - 1e308 * 9;",
           "$temperature = 1; $c = ['botStatus' => \"\\xff\", 'fontSize' => \"\\xff\", 'commonButtons' => "
           "[['buttonText' => \"\\xff\", 'buttonPrompt' => 'x'], 5, []]];",
           "$temperature = 1; $api_url = "
           "'https://dashscope.aliyuncs.com.evil.example/api/v1/apps/x/completion';",
           "$temperature = 1; $api_url = 'https://dashscope\"\\n.aliyuncs.com/api/v1/apps/x\"y/completion';",
           "$temperature = 1; $api_url = 'https://user:0123456789@h/x?key=0123456789#0123456789';",
       }) {
    acceptance.expect(text);
  }
  EXPECT_EQ(
      settings_of(read_config_php("$temperature = 1; $api_url = "
                                  "'https://dashscope.aliyuncs.com.evil.example/api/v1/apps/x/completion';")),
      "DASHSCOPE_API_KEY=\nAPP_ID=\nSYSTEM_PROMPT=\nTEMPERATURE=1\n");
}

TEST(ConfigPhps, TheLikeliestKeyIsTaken) {
  const auto key_of = [](std::string_view text) { return read_config_php(text).settings.front().second; };
  EXPECT_EQ(key_of("$maps_api_key = 'abc-other'; $api_key = 'sk-mine';"), "sk-mine");
  EXPECT_EQ(key_of("define('MAIL_API_KEY', 'sk-other'); $h = ['Authorization' => 'Bearer sk-mine'];"),
            "sk-mine");
  EXPECT_EQ(key_of("$api_key = 'sk-XXX'; $api_key = 'sk-mine';"), "sk-mine");
  EXPECT_EQ(key_of("$api_key = 'sk-proj-openai';"), "");
  const ConfigPhp foreign =
      read_config_php("$api_key = 'sk-some'; wp_remote_post('https://api.openai.com/v1/x');");
  EXPECT_EQ(foreign.settings.front().second, "sk-some");
  EXPECT_EQ(foreign.taken.front(),
            "DASHSCOPE_API_KEY (line 1); it was used for api.openai.com: unless it is a DashScope key too, "
            "replace it "
            "with one before you start");
}

// The report on the key and the application id, and the values taken.
struct Told {
  std::string settings;
  std::string not_taken;
};
Told told_of(std::string_view text) {
  const ConfigPhp php = read_config_php(text);
  return {settings_of(php), joined(php.not_taken)};
}

TEST(ConfigPhps, PlaceholdersAreNamedAndNotTaken) {
  for (const auto& [key, id] :
       {std::pair{"your_dashscope_api_key", "your_bailian_app_id"}, std::pair{"sk-...", "YOUR_APP_ID"},
        std::pair{"sk-xxx", "APP_ID"}, std::pair{"ici vient la clé", "<id>"}}) {
    const Told told =
        told_of(fmt::format("<?php\n$api_key = '{}';\n$app_id = '{}';\n"
                            "$url = \"https://dashscope.aliyuncs.com/api/v1/apps/$app_id/completion\";\n"
                            "$h = ['Authorization' => 'Bearer ' . $api_key];\n",
                            key, id));
    EXPECT_TRUE(told.settings.starts_with("DASHSCOPE_API_KEY=\nAPP_ID=\n")) << told.settings;
    EXPECT_NE(told.not_taken.find("the key (line 2): a placeholder\n"), std::string::npos) << told.not_taken;
    EXPECT_NE(told.not_taken.find("the application's id (line 3): a placeholder\n"), std::string::npos)
        << told.not_taken;
    EXPECT_EQ(told.not_taken.find("another key"), std::string::npos) << told.not_taken;
  }
  for (const char* none : {"none", "null", "false", "no-key", "EMPTY"}) {
    const Told told = told_of(
        fmt::format("<?php\nswitch ($v) {{\n case 'bailian': $api_key = get_option('shop_key'); break;\n"
                    " case 'own': $api_key = '{}'; break;\n}}\n"
                    "$h = ['Authorization' => 'Bearer ' . $api_key];\n",
                    none));
    EXPECT_TRUE(told.settings.starts_with("DASHSCOPE_API_KEY=\n")) << told.settings;
    EXPECT_NE(told.not_taken.find("the key (line 3): in WordPress's database, get_option('shop_key')\n"),
              std::string::npos)
        << told.not_taken;
    EXPECT_NE(told.not_taken.find("the key (line 4): a placeholder\n"), std::string::npos) << told.not_taken;
  }
}

TEST(ConfigPhps, OfTwoCandidatesNoneIsTakenAndBothLinesAreNamed) {
  const std::pair<const char*, const char*> table[] = {
      {"$api_key = 'sk-one';\n$api_key = 'sk-two';",
       "the key (line 1 and line 2): any of them may be the right one"},
      {"$api_key = $a ? 'x' : 'y';\nif ($b) { $api_key = 'sk-one'; }\nelse { $api_key = 'sk-two'; }\n"
       "$h = ['Authorization' => 'Bearer ' . $api_key];",
       "the key (line 2 and line 3): any of them may be the right one"},
      {"$api_key = get_option('k');\nif (!$api_key) $api_key = 'sk-one';",
       "the key (line 1 and line 2): any of them may be the right one"},
      {"$api_key = getenv('K');\nif (!$api_key) $api_key = 'sk-one';",
       "the key (line 1 and line 2): any of them may be the right one"},
      {"$h = ['Authorization' => 'Bearer sk-one'];\n$g = ['Authorization' => 'Bearer sk-two'];",
       "the key (line 1 and line 2): any"},
      {"$app_id = 'shop';\n$app_id = 'help';",
       "the application's id (line 1 and line 2): any of them may be the right one"},
      {"$m = ['role' => 'system', 'content' => 'One.'];\n$m = ['role' => 'system', 'content' => 'Two.'];",
       "the system message (line 1 and line 2): any of them may be the right one"},
      {"$temperature = 0.1;\n$temperature = 0.2;",
       "temperature (line 1 and line 2): any of them may be the right one"},
      {"$temperature = 1; wp_remote_post('https://dashscope-intl.aliyuncs.com/x'); "
       "wp_remote_post('https://dashscope.aliyuncs.com/x');",
       "the region: the file calls dashscope-intl.aliyuncs.com and dashscope.aliyuncs.com, so neither is "
       "taken"},
  };
  for (const auto& [text, sentence] : table) {
    const Told told = told_of(text);
    EXPECT_NE(told.not_taken.find(sentence), std::string::npos) << text << "\n" << told.not_taken;
    for (const char* part : {"sk-one", "sk-two", "shop", "help", "One", "Two", "0.1", "0.2", "intl"})
      EXPECT_EQ(told.settings.find(part), std::string::npos) << told.settings;
    EXPECT_EQ(told.not_taken.find("sk-"), std::string::npos) << told.not_taken;
  }
}

TEST(ConfigPhps, TheApplicationThatIsCalledIsTheOne) {
  const Told told = told_of(
      "$app_id = 'shop'; $bailian_app_id = 'help'; "
      "wp_remote_post('https://dashscope.aliyuncs.com/api/v1/apps/help/completion');");
  EXPECT_NE(told.settings.find("\nAPP_ID=help\n"), std::string::npos) << told.settings;
}

TEST(ConfigPhps, TheHostOfAWorkspaceIsDashScopesToo) {
  const Told told = told_of(
      "$temperature = 1; "
      "wp_remote_post('https://llm-1.cn-beijing.maas.aliyuncs.com/compatible-mode/v1/chat/completions');");
  EXPECT_NE(told.settings.find("DASHSCOPE_BASE_URL=https://llm-1.cn-beijing.maas.aliyuncs.com/api/v1\n"),
            std::string::npos)
      << told.settings;
}

TEST(ConfigPhps, TheProgramBehindOneWithoutAPromptIsNamed) {
  EXPECT_NE(told_of("$temperature = 1; wp_remote_post('http://127.0.0.1:8000/chat');")
                .not_taken.find("the file calls a program on this machine: for its prompt and temperature"),
            std::string::npos);
  EXPECT_EQ(told_of("$temperature = 1; wp_remote_post('https://dashscope.aliyuncs.com/x');")
                .not_taken.find("this machine"),
            std::string::npos);
}

TEST(ConfigPhps, MillisecondsBecomeSeconds) {
  const auto told_of = [](const std::string& value) {
    const ConfigPhp php = read_config_php("$temperature = 1; curl_setopt($c, CURLOPT_CONNECTTIMEOUT_MS, " +
                                          value + "); curl_setopt($c, CURLOPT_TIMEOUT_MS, " + value + ");");
    return settings_of(php) + joined(php.not_taken);
  };
  for (const std::string value : {"5000", "'5000'"}) {
    const std::string told = told_of(value);
    EXPECT_NE(told.find("\nCONNECT_TIMEOUT=5\nTIMEOUT=5\n"), std::string::npos) << told;
  }
  const std::pair<const char*, const char*> reasons[] = {
      {"'soon'", "TIMEOUT soon (line 1): not a number of seconds from 0.001 to 86400\n"},
      {"getenv('E')", "TIMEOUT (line 1): in the environment variable E\n"},
      {"K", "TIMEOUT (line 1): the constant K, which is not set in this file\n"},
  };
  for (const auto& [value, reason] : reasons) {
    const std::string told = told_of(value);
    EXPECT_NE(told.find(std::string("\nCONNECT_") + reason + reason), std::string::npos) << told;
  }
}

TEST(ConfigPhps, KeysAreHiddenWhereverTheTextIsCut) {
  const std::string key = "sk-abcdefghijklmnopqrstuvwxyz";
  for (size_t size = 160; size <= 210; ++size) {
    const std::string before(size, '.');
    const ConfigPhp php = read_config_php("$api_key = '" + key + "'; $model = '" + before + key +
                                          "'; $temperature = get_option('" + before + key +
                                          "'); wp_remote_post('https://" + before + key + "/');");
    const std::string told = joined(php.taken) + joined(php.not_taken) + joined(php.called);
    EXPECT_EQ(told.find("sk-"), std::string::npos) << told;
  }
}

TEST(ConfigPhps, NoReplacedControlCharacterCompletesAKey) {
  for (const char* end : {"?", "*", ".", " "}) {
    const std::string key = std::string("sk-abcdefghij") + end;
    const ConfigPhp php = read_config_php("$api_key = '" + key + "'; $model = 'sk-abcdefghij\x01x';");
    const std::string told = joined(php.taken) + joined(php.not_taken) + joined(php.called);
    EXPECT_EQ(told.find(key + "x"), std::string::npos) << told;
  }
}

TEST(ConfigPhps, AKeyThatBeginsAnotherHidesNoLessOfIt) {
  const ConfigPhp php = read_config_php(
      "$api_key = 'sk-abcdef'; $x_api_key = 'sk-abcdef-ghijkl'; $model = 'sk-abcdef-ghijkl';");
  EXPECT_NE(joined(php.not_taken).find("model *** (line 1)"), std::string::npos) << joined(php.not_taken);
}

// Searching from each position to the end of the text would take minutes here.
TEST(ConfigPhps, LongFilesAreReadInOnePass) {
  for (const std::string part : {"<?php ?>", "// a\n", "$api_key='sk-1';", "function(){};", "$a['k']='x';",
                                 "f(['k'=>[1]]);", "\"{$a\\\"\"", "wp_remote_post('http://a');"}) {
    std::string text = "$temperature = 1;";
    while (text.size() + part.size() <= kMaxPhpBytes) text += part;
    const std::string told = fault(text);
    EXPECT_TRUE(told == "none" || told == "too much to follow" || told.starts_with("no key")) << part << told;
  }
}

TEST(ConfigPhps, GbkIsNamed) {
  const ConfigPhp php = read_config_php("$m = ['role' => 'system', 'content' => \"\xc4\xe3\xba\xc3\"];");
  EXPECT_EQ(php.not_taken.front(),
            "the system message (line 1): not UTF-8; convert the file first (iconv -f GBK -t UTF-8)");
  const std::string told = joined(
      read_config_php(
          "$c = ['botStatus' => 1, 'StartUpMessage' => \"\xc4\xe3\", 'commonButtons' => [['buttonText' => "
          "\"\xc4\xe3\", 'buttonPrompt' => 'x']]];")
          .not_taken);
  for (const char* sentence : {"StartUpMessage (line 1): not UTF-8; convert the file first (iconv -f GBK -t "
                               "UTF-8); the default stays\n",
                               "a button (line 1): not UTF-8; convert the file first"})
    EXPECT_NE(told.find(sentence), std::string::npos) << told;
}

}  // namespace
}  // namespace bailian
