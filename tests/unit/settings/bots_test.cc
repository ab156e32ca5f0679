#include "settings/bots.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <tuple>
#include <vector>

#include "settings/config.h"
#include "settings/settings_table.h"

namespace bailian {
namespace {

using Sentences = std::vector<std::string>;

/// A main file and a folder of bots, removed at the end.
class Bots : public testing::Test {
 protected:
  Bots() {
    char path[] = "build/bots_test.XXXXXX";
    folder_ = ::mkdtemp(path);
    std::filesystem::create_directory(bots_dir());
  }
  ~Bots() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::string bots_dir() const { return folder_ + "/bots.d"; }
  [[nodiscard]] std::string in_bots_dir(const std::string& file) const { return bots_dir() + "/" + file; }
  std::string write(const std::string& file, const std::string& text) const {
    std::ofstream(in_bots_dir(file)) << text;
    return in_bots_dir(file);
  }

  [[nodiscard]] LoadedConfig load(const std::string& main, const Sentences& environment = {}) const {
    const std::string path = folder_ + "/env";
    std::ofstream(path) << "BOTS_DIR=" << bots_dir() << "\n" << main;
    return load_config(environment, path);
  }
  /// The bot `shop` with this file.
  [[nodiscard]] Config shop(const std::string& text, const std::string& main = "",
                            const Sentences& environment = {}) const {
    std::ignore = write("shop.env", text);
    return load(main, environment).config.bots.at(0);
  }
  [[nodiscard]] Sentences faults(const std::string& main, const Sentences& environment = {}) const {
    try {
      std::ignore = load(main, environment);
    } catch (const ConfigError& error) {
      return error.faults();
    }
    return {};
  }

  std::string folder_;
};

TEST_F(Bots, AreTheEnvFilesOfTheirFolderInOrder) {
  for (const char* file : {"shop.env", "a.env", "0-9.env", "abcdefghijabcdefghijabcdefghij32.env", "README",
                           "shop.json", ".env", ".x.env", "shop.env~", "shop.env.dpkg-old", ".shop.env.swp"})
    std::ignore = write(file, "");
  std::ignore = write("note.txt", "no settings");
  const LoadedConfig loaded = load("");
  EXPECT_EQ(loaded.warnings, Sentences());
  Sentences names;
  for (const Config& bot : loaded.config.bots) names.push_back(bot.name);
  EXPECT_EQ(names, (Sentences{"0-9", "a", "abcdefghijabcdefghijabcdefghij32", "shop"}));
  EXPECT_EQ(loaded.config.name, "default");
  for (const char* file : {"shop.env.off", "SHOP.ENV", "help.env.txt"})
    std::ignore = write(file, "no settings");
  EXPECT_EQ(load("").warnings,
            (Sentences{
                in_bots_dir("SHOP.ENV") + ": not read, as its name does not end in .env",
                in_bots_dir("help.env.txt") + ": not read, as its name does not end in .env",
                in_bots_dir("shop.env.off") + ": not read, as its name does not end in .env",
            }));
}

TEST_F(Bots, HaveNamesThatFitIntoAPath) {
  for (const char* name : {"a", "0", "shop", "shop-2", "a-", "abcdefghijabcdefghijabcdefghij32"})
    EXPECT_TRUE(is_bot_name(name)) << name;
  for (const char* name : {"", "-a", "Shop", "shop_2", "a.b", "a b", "a/b", "sh\xc3\xb6p", "a\n",
                           "abcdefghijabcdefghijabcdefghijab3"})
    EXPECT_FALSE(is_bot_name(name)) << name;
  for (const char* file :
       {"Shop.env", "shop_2.env", "-.env", "a b.env", "abcdefghijabcdefghijabcdefghijab3.env"}) {
    const std::string path = write(file, "");
    EXPECT_EQ(faults(""),
              Sentences{path + ": a bot's name has 1 to 32 characters of a-z, 0-9 and -, and begins with "
                               "a letter or digit: rename the file"});
    std::filesystem::remove(path);
  }
  const std::string path = write("default.env", "");
  EXPECT_EQ(faults(""),
            Sentences{path + ": the settings of the bot \"default\" are in the main file: move them there"});
}

TEST_F(Bots, AreNoneWithoutAFolder) {
  EXPECT_TRUE(load_config({}, "/dev/null").config.bots.empty());
  EXPECT_TRUE(load("").config.bots.empty());
  std::filesystem::remove(bots_dir());
  EXPECT_EQ(faults(""), Sentences{"BOTS_DIR: cannot read " + bots_dir() + ": No such file or directory"});
}

TEST_F(Bots, AreLimitedInNumber) {
  for (size_t i = 0; i < kMaxBots; ++i) std::ignore = write(std::to_string(i) + ".env", "");
  EXPECT_EQ(load("").config.bots.size(), kMaxBots);
  std::ignore = write("one-more.env", "");
  EXPECT_EQ(faults(""), Sentences{"BOTS_DIR: " + bots_dir() + " has more than 250 bots"});
}

TEST_F(Bots, InheritWhatTheirFileLeavesOut) {
  const std::string main =
      "DASHSCOPE_API_KEY=sk-main\nAPP_ID=main\nAPP_ID_2=spare\nSYSTEM_PROMPT=of "
      "all\nTEMPERATURE=1\nTIMEOUT=99\n"
      "DEBUG=True\nALLOWED_ORIGINS=https://a.example\nMAX_STREAMS=7\n";
  const Config plain = shop("", main);
  EXPECT_EQ(plain.name, "shop");
  ASSERT_EQ(plain.targets.size(), 2U);
  EXPECT_EQ(plain.targets[0].api_key, "sk-main");
  EXPECT_EQ(plain.targets[1].app_id, "spare");
  EXPECT_EQ(plain.system_prompt, "of all");
  EXPECT_EQ(plain.timeout, Seconds(99));
  EXPECT_TRUE(plain.debug);
  EXPECT_EQ(plain.max_streams, 0);
  EXPECT_TRUE(plain.bots.empty());

  const Config own = shop(
      "SYSTEM_PROMPT=\nTEMPERATURE=0.5\nALLOWED_ORIGINS=*\nMAX_STREAMS=3\nMAX_PROMPT_BYTES=5\nBIZ_PARAMS={"
      "\"a\":1}\n"
      "VISITOR_PARAMS=city\nHEARTBEAT=0\nUPSTREAM_RETRIES=0\nSLOW_ANSWER=1\n",
      main);
  EXPECT_EQ(own.system_prompt, "");
  EXPECT_EQ(own.temperature, "0.5");
  EXPECT_TRUE(own.allowed_origins.empty());
  EXPECT_EQ(own.max_streams, 3);
  EXPECT_EQ(own.max_prompt_bytes, 5U);
  EXPECT_EQ(own.biz_params_json, "{\"a\":1}");
  EXPECT_EQ(own.visitor_params, Sentences{"city"});
  EXPECT_EQ(own.timeout, Seconds(99));
  EXPECT_EQ(load(main).config.system_prompt, "of all");
}

TEST_F(Bots, InheritPricesButNoCaps) {
  const std::string main =
      "CAP_DAY_TOKENS=1\nCAP_MONTH_TOKENS=2\nCAP_VISITOR_DAY_TOKENS=3\nCAP_TOTAL_DAY_TOKENS=4\n"
      "PRICE_INPUT=5\nPRICE_OUTPUT=6\n";
  const Config plain = shop("", main, {"CAP_DAY_TOKENS=9"});
  EXPECT_EQ(plain.caps, Caps());
  EXPECT_EQ(plain.total_caps, (Caps{4, std::nullopt, std::nullopt}));
  EXPECT_EQ(plain.price_input, 5);
  EXPECT_EQ(plain.price_output, 6);
  const Config own = shop("CAP_MONTH_TOKENS=7\nPRICE_OUTPUT=8\n", main);
  EXPECT_EQ(own.caps, (Caps{std::nullopt, 7, std::nullopt}));
  EXPECT_EQ(own.price_output, 8);
  EXPECT_EQ(faults("LEDGER=\n").size(), 1U) << "its cap needs a ledger too";
  EXPECT_EQ(load(main).config.caps, (Caps{1, 2, 3}));
}

TEST_F(Bots, TheirFileOutweighsTheEnvironmentWhichOutweighsTheMainFile) {
  const Sentences environment = {"TIMEOUT=2", "APP_ID=environment"};
  EXPECT_EQ(shop("", "TIMEOUT=1\n", environment).timeout, Seconds(2));
  EXPECT_EQ(shop("TIMEOUT=3\n", "TIMEOUT=1\n", environment).timeout, Seconds(3));
  EXPECT_EQ(shop("APP_ID=own\n", "APP_ID=main\n", environment).targets[0].app_id, "own");
}

TEST_F(Bots, WithATargetOfTheirOwnHaveNoneOfTheMainFilesFurtherOnes) {
  const std::string main =
      "DASHSCOPE_API_KEY=sk-main\nAPP_ID=main\nDASHSCOPE_WORKSPACE=llm-1\nAPP_ID_2=spare\nAPP_ID_3=third\n";
  const Config app = shop("APP_ID=shop\n", main);
  ASSERT_EQ(app.targets.size(), 1U);
  EXPECT_EQ(app.targets[0].app_id, "shop");
  EXPECT_EQ(app.targets[0].api_key, "sk-main");
  EXPECT_EQ(app.targets[0].workspace, "llm-1");

  const Config both = shop("APP_ID=shop\nAPP_ID_4=shop-spare\nDASHSCOPE_API_KEY_4=sk-4\n", main);
  ASSERT_EQ(both.targets.size(), 2U);
  EXPECT_EQ(both.targets[1].number, 4);
  EXPECT_EQ(both.targets[1].app_id, "shop-spare");
  EXPECT_EQ(both.targets[1].api_key, "sk-4");
  EXPECT_EQ(both.targets[1].workspace, "llm-1");

  const Config spare = shop("APP_ID_2=shop-spare\n", main);
  ASSERT_EQ(spare.targets.size(), 2U);
  EXPECT_EQ(spare.targets[0].app_id, "main");
  EXPECT_EQ(spare.targets[1].app_id, "shop-spare");

  EXPECT_EQ(shop("DASHSCOPE_API_KEY=sk-own\n", main).targets.size(), 1U);
}

TEST_F(Bots, TheirKeyReplacesTheMainKeyInEitherForm) {
  const std::string key_file = write("key", "sk-from-file");
  ::chmod(key_file.c_str(), 0600);
  const Config from_file = shop("DASHSCOPE_API_KEY_FILE=" + key_file + "\n", "DASHSCOPE_API_KEY=sk-main\n");
  EXPECT_EQ(from_file.targets[0].api_key, "sk-from-file");
  const Config from_line = shop("API_KEY=sk-line\n", "DASHSCOPE_API_KEY_FILE=" + key_file + "\n");
  EXPECT_EQ(from_line.targets[0].api_key, "sk-line");
  EXPECT_EQ(from_line.targets[0].api_key_file, "");
  const std::string path =
      write("shop.env", "DASHSCOPE_API_KEY=sk-line\nDASHSCOPE_API_KEY_FILE=" + key_file + "\n");
  EXPECT_EQ(faults(""),
            Sentences{path + ":2: DASHSCOPE_API_KEY_FILE: DASHSCOPE_API_KEY is set too: keep one of the "
                             "two"});
  ::chmod(key_file.c_str(), 0644);
  std::ignore = write("shop.env", "DASHSCOPE_API_KEY_FILE=" + key_file + "\n");
  EXPECT_EQ(faults(""), Sentences{path + ":1: DASHSCOPE_API_KEY_FILE: " + key_file +
                                  " can be read by others (mode 0644): chmod 600 it"});
}

TEST_F(Bots, TheirVariablesAreFirstTheirOwn) {
  const std::string main = "WHO=main\nSHOP=main\nONLY_MAIN=main\n";
  const Config bot = shop("SHOP=own\nSYSTEM_PROMPT=\"${SHOP} ${WHO} ${ONLY_MAIN}\"\n", main,
                          {"WHO=environment", "SHOP=environment"});
  EXPECT_EQ(bot.system_prompt, "own environment main");
  std::ignore = write("help.env", "SYSTEM_PROMPT=${ELSEWHERE}\n");
  std::ignore = write("shop.env", "ELSEWHERE=x\n");
  EXPECT_EQ(load(main).warnings.at(0), in_bots_dir("help.env") +
                                           ":1: SYSTEM_PROMPT: ${ELSEWHERE} is not set, neither in the "
                                           "environment nor above; it is read as empty");
}

TEST_F(Bots, MayNotSetWhatIsOfTheWholeService) {
  const std::string path = write("shop.env", "APP_ID=x\n");
  for (const char* key : {"WORKERS", "FCGI_LISTEN", "HOST", "DEBUG", "MAX_BODY_BYTES", "CLIENT_BUFFER_BYTES",
                          "LOG_LEVEL", "BOTS_DIR", "BOT_HOSTS", "DRAIN_TIMEOUT"}) {
    std::ignore = write("shop.env", "\n" + std::string(key) + "=1\n");
    EXPECT_EQ(faults(""),
              Sentences{path + ":2: " + key + " is a setting of the whole service: set it in the main file"});
  }
}

TEST_F(Bots, EveryUnknownNameIsNamed) {
  const std::string path = write("shop.env",
                                 "TIMOUT=1\nBOT_NAME=shop\nSHOP=a shop\nsk-0123456789abcdef=1\n"
                                 "SYSTEM_PROMPT=For ${SHOP}\nAPP_ID_10=x\n");
  EXPECT_EQ(load("OTHER=2\n").warnings,
            (Sentences{path + ":1: TIMOUT is not a setting; did you mean TIMEOUT?",
                       path + ":6: APP_ID_10 is not a setting; did you mean APP_ID_2 to APP_ID_9?",
                       path + ":2: BOT_NAME is not a setting", path + ":4: the name is not a setting"}));
}

TEST_F(Bots, AreNotReadFromSpecialFiles) {
  const std::string fifo = in_bots_dir("shop.env");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(faults(""), Sentences{fifo + ": not a regular file"});
  std::filesystem::remove(fifo);
  std::filesystem::create_symlink("nowhere", fifo);
  EXPECT_EQ(faults(""), Sentences{"cannot read " + fifo + ": No such file or directory"});
  std::filesystem::remove(fifo);
  std::filesystem::create_symlink("../shop", fifo);
  std::ofstream(folder_ + "/shop") << "APP_ID=linked\n";
  EXPECT_EQ(load("").config.bots.at(0).targets.at(0).app_id, "linked");
}

TEST_F(Bots, RubbishInAFileGetsFewLines) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += "no setting\n";
  const std::string path = write("shop.env", text);
  const Sentences all = faults("");
  ASSERT_EQ(all.size(), 11U);
  EXPECT_EQ(all.front(), path + ":1: the line is not of the form KEY=value");
  EXPECT_EQ(all.back(), path + ": 4990 more lines have such faults");
}

TEST_F(Bots, MaySetWhatTheReadmeLists) {
  for (const auto& [page, heading] : {std::pair{"deploy/README.md", "\n## Several bots\n"},
                                      {"deploy/README.zh-CN.md", "\n## 多个机器人\n"}}) {
    std::ifstream file(page);
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const size_t start = text.find(heading);
    ASSERT_NE(start, std::string::npos) << page;
    const std::string section = text.substr(start, text.find("\n## ", start + 1) - start);
    for (const Setting& setting : settings()) {
      if (setting.scope != Scope::kBot) continue;
      EXPECT_NE(section.find("`" + std::string(setting.key) + "`"), std::string::npos) << page << setting.key;
    }
  }
}

TEST_F(Bots, FaultsOfAllFilesAreReportedTogether) {
  const std::string help = write("help.env", "TIMEOUT=soon\nno setting\n");
  const std::string shop =
      write("shop.env", "WORKERS=2\nTEMPERATURE=9\nBOT_CONFIG_FILE=/nonexistent.json\nAPP_ID_2=a b\n");
  const Sentences all = faults("PORT=x\nBOT_HOSTS=a.example=ship\n");
  const Sentences parts = {
      help + ":2: the line is not of the form KEY=value",
      folder_ + "/env:2: PORT: expected",
      help + ":1: TIMEOUT: expected a number of seconds from 0.001 to 86400, found \"soon\"",
      shop + ":1: WORKERS is a setting of the whole service",
      shop + ":2: TEMPERATURE: expected",
      shop + ":3: BOT_CONFIG_FILE: cannot read /nonexistent.json",
      shop + ":4: APP_ID_2: expected",
      "env:3: BOT_HOSTS: a.example has the bot ship, but there is no file ship.env in " + bots_dir()};
  for (const std::string& part : parts) {
    EXPECT_EQ(std::ranges::count_if(all, [&](const auto& fault) { return fault.find(part) != fault.npos; }),
              1)
        << part << "\n"
        << testing::PrintToString(all);
  }
  EXPECT_EQ(all.size(), parts.size());
}

TEST_F(Bots, KeysAreInNoMessage) {
  std::ignore = write(
      "shop.env", "DASHSCOPE_API_KEY=\"sk-secret one\"\nTIMEOUT=sk-secret\nDASHSCOPE_API_KEY_2=sk secret\n");
  const Sentences all = faults("");
  EXPECT_EQ(all.size(), 3U);
  for (const std::string& fault : all) EXPECT_EQ(fault.find("secret "), fault.find("secret of")) << fault;
}

TEST_F(Bots, OfAHostMustExist) {
  std::ignore = write("shop.env", "");
  EXPECT_EQ(load("BOT_HOSTS=a.example=shop,b.example=default\n").config.bot_hosts,
            (BotHosts{{"a.example", "shop"}, {"b.example", "default"}}));
  try {
    std::ignore = load_config({"BOT_HOSTS=a.example=shop"}, "/dev/null");
    ADD_FAILURE();
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.faults(),
              Sentences{"environment: BOT_HOSTS: a.example has the bot shop, but there is no file "
                        "shop.env in BOTS_DIR, which is not set"});
  }
}

TEST(BotHostLists, AreReadWithBlanksAndInAnyCase) {
  for (const auto& [text, expected] : {
           std::pair<std::string, BotHosts>{"", {}},
           {" ", {}},
           {"a.example=shop", {{"a.example", "shop"}}},
           {" WWW.Shop.Example = shop , b=help,", {{"b", "help"}, {"www.shop.example", "shop"}}},
           {"xn--fiqs8s.example.=a-1", {{"xn--fiqs8s.example", "a-1"}}},
           {"127.0.0.1=a,my_host=a", {{"127.0.0.1", "a"}, {"my_host", "a"}}},
       }) {
    const auto hosts = parse_bot_hosts(text);
    ASSERT_EQ(fault_in(hosts), nullptr) << text;
    EXPECT_EQ(std::get<BotHosts>(hosts), expected) << text;
  }
}

TEST(BotHostLists, WithFaultsAreRefused) {
  for (const char* text : {"a.example", "a.example=", "=shop", ",a=b", "a=b,,c=d", "a.example:80=shop",
                           "https://a=shop", "a/b=shop", "*.a.example=shop", ".a.example=shop", "a=Shop",
                           "a=b=c", "a b=c", "sh\xc3\xb6p.example=shop", "a\nb=shop", "a=shop;b=help"})
    EXPECT_NE(fault_in(parse_bot_hosts(text)), nullptr) << text;
  const auto twice = parse_bot_hosts("a.example=shop,A.example.=help");
  ASSERT_NE(fault_in(twice), nullptr);
  EXPECT_EQ(fault_in(twice)->sentence, "the host A.example. appears twice");
}

}  // namespace
}  // namespace bailian
