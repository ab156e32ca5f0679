#include "settings/config.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <tuple>

#include "settings/dotenv.h"
#include "settings/restart.h"
#include "settings/settings_table.h"

namespace bailian {
namespace {

using Environment = std::vector<std::string>;

/// A separate folder, removed at the end.
class Folder {
 public:
  Folder() {
    char path[] = "build/config_test.XXXXXX";
    path_ = ::mkdtemp(path);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  [[nodiscard]] std::string write(const std::string& name, const std::string& text,
                                  mode_t mode = 0600) const {
    std::string file = path_ + "/" + name;
    std::ofstream(file) << text;
    ::chmod(file.c_str(), mode);
    return file;
  }

 private:
  std::string path_;
};

class Configs : public testing::Test {
 protected:
  [[nodiscard]] LoadedConfig load(const Environment& environment,
                                  const std::string& env_file_text = "") const {
    return load_config(environment, folder_.write("env", env_file_text));
  }
  [[nodiscard]] Config config(const Environment& environment, const std::string& env_file_text = "") const {
    return load(environment, env_file_text).config;
  }
  [[nodiscard]] std::vector<std::string> faults(const Environment& environment,
                                                const std::string& env_file_text = "") const {
    try {
      std::ignore = load(environment, env_file_text);
    } catch (const ConfigError& error) {
      return error.faults();
    }
    return {};
  }

  Folder folder_;
};

TEST_F(Configs, DefaultsAreThoseOfTheTable) {
  const Config c = config({});
  EXPECT_EQ(c.targets[0].api_key, "");
  EXPECT_EQ(c.targets[0].app_id, "");
  EXPECT_EQ(c.targets[0].base_url, "https://dashscope.aliyuncs.com/api/v1");
  EXPECT_EQ(c.parameters_json, "{}");
  EXPECT_EQ(c.system_prompt, "");
  EXPECT_EQ(c.temperature, "");
  EXPECT_EQ(c.host, "");
  EXPECT_EQ(c.port, 8000);
  EXPECT_FALSE(c.debug);
  EXPECT_EQ(to_string(c.listen), "/run/bailian-fcgi/bailian-fcgi.sock");
  EXPECT_EQ(c.socket_mode, 0660U);
  EXPECT_EQ(c.workers, 1);
  EXPECT_EQ(c.max_streams, 10000);
  EXPECT_EQ(c.max_body_bytes, 1048576U);
  EXPECT_EQ(c.max_prompt_bytes, 32768U);
  EXPECT_EQ(c.max_history_messages, 40U);
  EXPECT_TRUE(c.warm_up);
  EXPECT_EQ(c.memory_id, "");
  EXPECT_FALSE(c.is_moderated);
  EXPECT_EQ(c.connect_timeout, Seconds(10));
  EXPECT_EQ(c.first_token_timeout, Seconds(60));
  EXPECT_EQ(c.idle_timeout, Seconds(60));
  EXPECT_EQ(c.timeout, Seconds(300));
  EXPECT_EQ(c.heartbeat, Seconds(15));
  EXPECT_EQ(c.token_coalesce, Milliseconds(0.5));
  EXPECT_EQ(c.client_buffer_bytes, 262144U);
  EXPECT_EQ(c.client_stall_timeout, Seconds(60));
  EXPECT_EQ(c.upstream_retries, 1);
  EXPECT_EQ(c.answer_cache, AnswerCaching::kButtons);
  EXPECT_EQ(c.answer_cache_ttl, Seconds(3600));
  EXPECT_EQ(c.answer_cache_bytes, size_t{8} << 20);
  EXPECT_TRUE(c.allowed_origins.empty());
  EXPECT_EQ(c.bot_profile.json, default_bot_profile().json);
  EXPECT_EQ(c.ledger, "/var/lib/bailian-fcgi/ledger");
  EXPECT_EQ(c.caps, Caps());
  EXPECT_EQ(c.total_caps, Caps());
  EXPECT_EQ(c.cap_timezone, "Asia/Shanghai");
  EXPECT_EQ(c.ledger_slice, 0U);
  EXPECT_EQ(c.cap_expected_input, 2048U);
  EXPECT_FALSE(c.cap_on_abort_worst);
  EXPECT_FALSE(c.caps_open_on_fault);
  EXPECT_EQ(c.cap_alert_command, "");
  EXPECT_EQ(c.price_input, 0);
  EXPECT_EQ(c.price_output, 0);
  EXPECT_EQ(c.drain_timeout, Seconds(60));
  EXPECT_FALSE(c.log_format.has_value());
  EXPECT_FALSE(c.log_level.has_value());
  EXPECT_EQ(c.log_file, "");
  EXPECT_EQ(c.slow_first_token, Seconds(10));
  EXPECT_EQ(c.slow_answer, Seconds(60));
}

TEST_F(Configs, EnvExampleHoldsEverySettingOnceInOrderWithItsDefault) {
  std::ifstream file(".env.example");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const Dotenv example = parse_dotenv(text);
  EXPECT_TRUE(example.faults.empty());
  ASSERT_EQ(example.entries.size(), settings().size());
  for (size_t i = 0; i < settings().size(); ++i) {
    EXPECT_EQ(example.entries[i].key, settings()[i].key);
    EXPECT_EQ(example.entries[i].value, settings()[i].default_text) << settings()[i].key;
  }
  EXPECT_TRUE(load({}, text).warnings.empty());
}

TEST_F(Configs, EnvironmentOutweighsTheFile) {
  EXPECT_EQ(config({"PORT=81"}, "PORT=82\n").port, 81);
  EXPECT_EQ(config({}, "PORT=82\n").port, 82);
  EXPECT_EQ(config({}, "PORT=82\nPORT=83\n").port, 83);
}

TEST_F(Configs, OldNamesAreUnderstood) {
  EXPECT_EQ(config({}, "API_KEY=sk-old").targets[0].api_key, "sk-old");
  EXPECT_EQ(config({}, "DASHSCOPE_API_KEY=sk-new\nAPI_KEY=sk-old").targets[0].api_key, "sk-new");
  EXPECT_EQ(config({"DASHSCOPE_HTTP_BASE_URL=http://127.0.0.1:9/x"}).targets[0].base_url,
            "http://127.0.0.1:9/x");
  EXPECT_EQ(config({"DASHSCOPE_HTTP_BASE_URL=http://127.0.0.1:9/x"}, "DASHSCOPE_BASE_URL=https://a/api/v1")
                .targets[0]
                .base_url,
            "http://127.0.0.1:9/x");
}

TEST_F(Configs, TheApiKeyOfAnotherProgramInTheEnvironmentIsNotUsed) {
  const LoadedConfig loaded = load({"API_KEY=sk-somebody-else"});
  EXPECT_EQ(loaded.config.targets[0].api_key, "");
  EXPECT_EQ(
      loaded.warnings,
      (std::vector<std::string>{
          "environment: API_KEY is not used, as other programs use this name too: set DASHSCOPE_API_KEY"}));
  EXPECT_TRUE(load({"API_KEY=sk-somebody-else", "DASHSCOPE_API_KEY=sk-ours"}).warnings.empty());
  EXPECT_EQ(config({"API_KEY=sk-somebody-else"}, "API_KEY=sk-file").targets[0].api_key, "sk-file");
}

TEST_F(Configs, CommonNamesOfTheEnvironmentDoNotStopTheStart) {
  const Environment container = {"HOST=web 1", "PORT=tcp://10.0.0.1:8000", "DEBUG=app:*"};
  const LoadedConfig loaded = load(container, "DEBUG=True\nPORT=81\n");
  EXPECT_TRUE(loaded.config.debug);
  EXPECT_EQ(loaded.config.port, 81);
  ASSERT_EQ(loaded.warnings.size(), 3U);
  EXPECT_EQ(
      loaded.warnings[1],
      "environment: PORT: expected a port from 1 to 65535, found \"tcp://10.0.0.1:8000\"; it is ignored, as "
      "other programs use this name too");
  EXPECT_FALSE(config(container).debug);
}

TEST_F(Configs, PlaceholdersCountAsNotSetAndAreNamed) {
  for (const auto& [key, id] :
       {std::pair{"your_dashscope_api_key", "your_app_id"}, std::pair{"sk-xxxxxxxxxxxxxxxx", "YOUR_APP_ID"},
        std::pair{"<your key>", "APP_ID"}, std::pair{"你的密钥", "none"}}) {
    const LoadedConfig loaded =
        load({}, fmt::format("DASHSCOPE_API_KEY={}\nAPP_ID={}\nDASHSCOPE_WORKSPACE={}\n", key, id, id));
    EXPECT_EQ(loaded.config.targets[0].api_key, "");
    EXPECT_EQ(loaded.config.targets[0].app_id, "");
    EXPECT_EQ(loaded.config.targets[0].workspace, "");
    ASSERT_EQ(loaded.warnings.size(), 3U) << key;
    EXPECT_NE(loaded.warnings[0].find("env:1: DASHSCOPE_API_KEY: a placeholder, which counts as not set"),
              std::string::npos);
    EXPECT_NE(loaded.warnings[1].find("env:2: APP_ID: a placeholder"), std::string::npos);
    EXPECT_NE(loaded.warnings[2].find("env:3: DASHSCOPE_WORKSPACE: a placeholder"), std::string::npos);
  }
}

TEST_F(Configs, QuotesThatDockerKeepsAreNamed) {
  constexpr const char* kQuotes =
      ": the quotes are part of the value, as docker --env-file and Kubernetes keep them: remove them";
  for (const std::string setting :
       {"DASHSCOPE_API_KEY=\"sk-0123456789abcdef\"", "APP_ID='shop'", "TIMEOUT=\"5\"",
        "DASHSCOPE_BASE_URL=\"https://a/api/v1\"", "DASHSCOPE_PARAMETERS='{}'"}) {
    EXPECT_EQ(faults({setting}),
              (std::vector<std::string>{"environment: " + setting.substr(0, setting.find('=')) + kQuotes}));
  }
  const LoadedConfig loaded = load({"SYSTEM_PROMPT=\"Be kind.\""});
  EXPECT_EQ(loaded.warnings, (std::vector<std::string>{std::string("environment: SYSTEM_PROMPT") + kQuotes}));
  EXPECT_TRUE(load({"SYSTEM_PROMPT='Yes' or 'no'"}).warnings.empty());
}

TEST_F(Configs, BaseUrlsAreCutToWhereTheApiIs) {
  const std::string api = "https://dashscope.aliyuncs.com/api/v1";
  for (const char* url :
       {"https://dashscope.aliyuncs.com", "https://dashscope.aliyuncs.com/",
        "https://dashscope.aliyuncs.com/api/", "https://dashscope.aliyuncs.com/compatible-mode/v1",
        "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions",
        "https://dashscope.aliyuncs.com/api/v1/apps/0123/completion",
        "https://dashscope.aliyuncs.com/api/v1/services/aigc/text-generation/generation"}) {
    const LoadedConfig loaded = load({}, std::string("DASHSCOPE_BASE_URL=") + url + "\n");
    EXPECT_EQ(loaded.config.targets[0].base_url, api) << url;
    ASSERT_EQ(loaded.warnings.size(), 1U) << url;
    EXPECT_NE(loaded.warnings[0].find("env:1: DASHSCOPE_BASE_URL: https://dashscope.aliyuncs.com"),
              std::string::npos);
    EXPECT_TRUE(loaded.warnings[0].ends_with(" is read as " + api)) << loaded.warnings[0];
  }
  for (const char* url : {"https://dashscope.aliyuncs.com/api/v1", "https://dashscope.aliyuncs.com/api/v1/",
                          "https://llm-1.cn-beijing.maas.aliyuncs.com/api/v1", "https://gateway.example",
                          "https://gateway.example/apps/dashscope", "http://127.0.0.1:9/x"}) {
    EXPECT_TRUE(load({std::string("DASHSCOPE_BASE_URL=") + url}).warnings.empty()) << url;
  }
  EXPECT_EQ(config({"DASHSCOPE_BASE_URL=https://dashscope-intl.aliyuncs.com"}).targets[0].base_url,
            "https://dashscope-intl.aliyuncs.com/api/v1");
}

TEST_F(Configs, TheHostOfAWorkspaceIsOfTheOneThatIsSet) {
  const std::string url = "DASHSCOPE_BASE_URL=https://llm-1.cn-beijing.maas.aliyuncs.com";
  EXPECT_EQ(config({url, "DASHSCOPE_WORKSPACE=llm-1"}).targets[0].base_url,
            "https://llm-1.cn-beijing.maas.aliyuncs.com/api/v1");
  EXPECT_EQ(config({url}).targets[0].workspace, "");
  EXPECT_EQ(
      faults({url + "/api/v1", "DASHSCOPE_WORKSPACE=llm-2"}),
      (std::vector<std::string>{
          "DASHSCOPE_WORKSPACE is llm-2, but DASHSCOPE_BASE_URL is the address of the workspace llm-1"}));
}

TEST_F(Configs, WhatAFurtherTargetDoesNotSetIsThatOfTheFirst) {
  const auto targets = config({"APP_ID_2=spare", "DASHSCOPE_BASE_URL_9=https://dashscope-intl.aliyuncs.com"},
                              "DASHSCOPE_API_KEY=sk-one\nAPP_ID=shop\nDASHSCOPE_WORKSPACE=llm-1\n"
                              "DASHSCOPE_API_KEY_4=sk-four\nDASHSCOPE_WORKSPACE_4=llm-4\n")
                           .targets;
  ASSERT_EQ(targets.size(), 4U);
  const auto expect = [&](size_t i, int number, const char* key, const char* app, const char* workspace) {
    EXPECT_EQ(targets[i].number, number);
    EXPECT_EQ(targets[i].api_key, key);
    EXPECT_EQ(targets[i].app_id, app);
    EXPECT_EQ(targets[i].workspace, workspace);
  };
  expect(0, 1, "sk-one", "shop", "llm-1");
  expect(1, 2, "sk-one", "spare", "llm-1");
  expect(2, 4, "sk-four", "shop", "llm-4");
  expect(3, 9, "sk-one", "shop", "llm-1");
  EXPECT_EQ(targets[2].base_url, targets[0].base_url);
  EXPECT_EQ(targets[3].base_url, "https://dashscope-intl.aliyuncs.com/api/v1");
}

TEST_F(Configs, ARepetitionOfATargetIsNotUsed) {
  const std::string file = folder_.write("key", "sk-one");
  const LoadedConfig loaded =
      load({"DASHSCOPE_API_KEY=sk-one", "APP_ID=shop", "APP_ID_2=shop", "DASHSCOPE_API_KEY_FILE_3=" + file,
            "APP_ID_4=spare", "APP_ID_5=spare", "DASHSCOPE_API_KEY_6=sk-two"});
  std::vector<int> numbers;
  for (const Target& target : loaded.config.targets) numbers.push_back(target.number);
  EXPECT_EQ(numbers, (std::vector{1, 4, 6}));
  EXPECT_EQ(loaded.warnings, (std::vector<std::string>{
                                 "target 2 has the key and the application of target 1, so it is not used",
                                 "target 3 has the key and the application of target 1, so it is not used",
                                 "target 5 has the key and the application of target 4, so it is not used"}));
}

TEST_F(Configs, WhatAFurtherTargetLeavesEmptyIsThatOfTheFirst) {
  const std::string first = "DASHSCOPE_API_KEY=sk-one\nAPP_ID=shop\nDASHSCOPE_WORKSPACE=llm-1\n";
  const Target one = config({}, first).targets.at(0);
  const std::string empty =
      "DASHSCOPE_API_KEY_2=\nDASHSCOPE_API_KEY_FILE_2=\nAPP_ID_2=\nDASHSCOPE_BASE_URL_2=\n";
  EXPECT_EQ(config({}, first + empty).targets.size(), 1U);
  const auto targets = config({}, first + empty + "DASHSCOPE_WORKSPACE_2=\n").targets;
  ASSERT_EQ(targets.size(), 2U);
  EXPECT_EQ(targets[1].api_key, one.api_key);
  EXPECT_EQ(targets[1].app_id, one.app_id);
  EXPECT_EQ(targets[1].base_url, one.base_url);
  EXPECT_EQ(targets[1].workspace, "") << "empty is the default workspace";
  EXPECT_EQ(config({"APP_ID_2="}, first + "APP_ID_2=spare\n").targets.at(1).app_id, "spare");
}

TEST_F(Configs, NameTheKeyFilesThatTheServiceReadsItself) {
  const std::string file = folder_.write("key", "sk-from-file");
  const std::string first = "DASHSCOPE_API_KEY_FILE=" + file + "\n";
  using Files = std::set<std::string>;
  EXPECT_EQ(load({}, first).key_files_of_service, Files());
  EXPECT_EQ(load({"APP_ID_2=spare"}, first).key_files_of_service, Files()) << "inherited";
  EXPECT_EQ(load({"APP_ID_2=spare", "DASHSCOPE_API_KEY_FILE_2=" + file}, first).key_files_of_service,
            Files{file});
  const std::string copy = folder_.write("copy", "sk-from-file");
  EXPECT_EQ(load({"APP_ID=shop", "DASHSCOPE_API_KEY_FILE_2=" + copy}, first).key_files_of_service,
            Files{copy})
      << "of a repetition too";
}

TEST_F(Configs, AFurtherTargetsKeyReplacesTheFirstOneInEitherForm) {
  const std::string file = folder_.write("key", "sk-from-file");
  const auto by_text = config({"DASHSCOPE_API_KEY_2=sk-two", "DASHSCOPE_API_KEY_FILE=" + file}).targets;
  EXPECT_EQ(by_text.at(1).api_key, "sk-two");
  EXPECT_EQ(by_text.at(1).api_key_file, "");
  const auto by_file = config({"DASHSCOPE_API_KEY=sk-one", "DASHSCOPE_API_KEY_FILE_2=" + file}).targets;
  EXPECT_EQ(by_file.at(1).api_key, "sk-from-file");
  EXPECT_EQ(
      faults({"DASHSCOPE_API_KEY_2=sk-two", "DASHSCOPE_API_KEY_FILE_2=" + file}),
      (std::vector<std::string>{
          "environment: DASHSCOPE_API_KEY_FILE_2: DASHSCOPE_API_KEY_2 is set too: keep one of the two"}));
  const std::string open = folder_.write("open", "sk-open", 0644);
  EXPECT_EQ(faults({"DASHSCOPE_API_KEY_FILE_3=" + open}),
            (std::vector<std::string>{"environment: DASHSCOPE_API_KEY_FILE_3: " + open +
                                      " can be read by others (mode 0644): chmod 600 it"}));
}

TEST_F(Configs, AFaultOfAFurtherTargetHasItsNumber) {
  EXPECT_EQ(faults({"APP_ID_2=two words"}),
            (std::vector<std::string>{"environment: APP_ID_2: expected an application id of printable ASCII "
                                      "without spaces, found \"two words\""}));
  EXPECT_EQ(
      faults({"DASHSCOPE_BASE_URL_3=https://llm-1.cn-beijing.maas.aliyuncs.com/api/v1",
              "DASHSCOPE_WORKSPACE=llm-2"}),
      (std::vector<std::string>{"DASHSCOPE_WORKSPACE_3 is llm-2, but DASHSCOPE_BASE_URL_3 is the address "
                                "of the workspace llm-1"}));
  EXPECT_TRUE(load({"APP_ID_2=spare", "DASHSCOPE_WORKSPACE_9=llm-9"}).warnings.empty());
  EXPECT_FALSE(load({"APP_ID_1=spare"}).warnings.empty());
}

TEST_F(Configs, VariablesAreExpandedFromTheEnvironmentAndTheLinesAbove) {
  const std::string file =
      "KEY=sk-0123456789abcdef\nDASHSCOPE_API_KEY=${KEY}\nSYSTEM_PROMPT=\"For ${SHOP:-a shop}\"\n";
  EXPECT_EQ(config({}, file).targets[0].api_key, "sk-0123456789abcdef");
  EXPECT_EQ(config({}, file).system_prompt, "For a shop");
  EXPECT_EQ(config({"KEY=sk-environment"}, file).targets[0].api_key, "sk-environment");
  EXPECT_EQ(config({}, "SYSTEM_PROMPT='costs ${PRICE}'\n").system_prompt, "costs ${PRICE}");
  const LoadedConfig loaded = load({}, "DASHSCOPE_API_KEY=${NOTHING}\nNOTHING=too-late\n");
  EXPECT_EQ(loaded.config.targets[0].api_key, "");
  ASSERT_EQ(loaded.warnings.size(), 1U);
  EXPECT_NE(loaded.warnings[0].find(
                "env:1: DASHSCOPE_API_KEY: ${NOTHING} is not set, neither in the environment nor above"),
            std::string::npos);
  EXPECT_EQ(config({"DASHSCOPE_API_KEY=${KEY}"}).targets[0].api_key, "");
}

TEST_F(Configs, LinesThatPythonDotenvReadsAreNoFaults) {
  const LoadedConfig loaded =
      load({},
           "export APP_NAME\nMY-FLAG=1\nDASHSCOPE_API_KEY=sk-0123456789abcdef\nAPP_ID=shop\n"
           "SYSTEM_PROMPT='It\\'s a shop'\n");
  EXPECT_EQ(loaded.config.targets[0].api_key, "sk-0123456789abcdef");
  EXPECT_EQ(loaded.config.targets[0].app_id, "shop");
  EXPECT_EQ(loaded.config.system_prompt, "It's a shop");
  ASSERT_EQ(loaded.warnings.size(), 1U);
  EXPECT_NE(loaded.warnings[0].find("env:1: APP_NAME has no value here"), std::string::npos);
}

TEST_F(Configs, AKeyInTheWrongPlaceIsNotShown) {
  const std::string key = "sk-0123456789abcdef";
  for (const std::string& file :
       {"DASHSCOPE_API_KEY=\n" + key + "\n", "DASHSCOPE_API_KEY=${" + key + "}\n"}) {
    const LoadedConfig loaded = load({}, file);
    ASSERT_EQ(loaded.warnings.size(), 1U);
    EXPECT_EQ(loaded.warnings[0].find(key), std::string::npos) << loaded.warnings[0];
  }
  for (const char* const line :
       {"PORT=", "APP_ID=shop ", "DASHSCOPE_BASE_URL=https://dashscope.aliyuncs.com?key="}) {
    const std::vector<std::string> all = faults({}, line + key + "\n");
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0].find(key), std::string::npos) << all[0];
  }
}

TEST_F(Configs, VariablesThatGrowWithoutEndAreRefused) {
  std::string file = "A=sixteen bytes of\n";
  for (int i = 0; i < 31; ++i) file += "A=${A}${A}\n";
  const std::vector<std::string> all = faults({}, file);
  ASSERT_FALSE(all.empty());
  EXPECT_NE(all[0].find("A: its variables make the value longer than 1048576 bytes"), std::string::npos)
      << all[0];
}

TEST_F(Configs, AFlaskFileWithoutAPromptIsNamed) {
  const LoadedConfig loaded = load({}, "FLASK_ENV=production\nAPP_ID=shop\n");
  ASSERT_EQ(loaded.warnings.size(), 1U);
  EXPECT_NE(loaded.warnings[0].find("the prompt that was in its code is not sent"), std::string::npos);
  EXPECT_TRUE(load({}, "FLASK_ENV=production\nSYSTEM_PROMPT=\n").warnings.empty());
  EXPECT_TRUE(load({"FLASK_ENV=production"}).warnings.empty());
}

TEST_F(Configs, FilesInOtherEncodingsAreReadOrNamed) {
  const std::string bom = "\xef\xbb\xbf";
  const std::string profile = default_bot_profile().json;
  const Config read = config({"DASHSCOPE_API_KEY_FILE=" + folder_.write("key", bom + "sk-from-file\n"),
                              "BOT_CONFIG_FILE=" + folder_.write("bot.json", bom + profile)},
                             bom + "APP_ID=shop\n");
  EXPECT_EQ(read.targets[0].api_key, "sk-from-file");
  EXPECT_EQ(read.targets[0].app_id, "shop");
  EXPECT_EQ(read.bot_profile.json, profile);

  for (const std::string& mark : {std::string("\xff\xfe"), std::string()}) {
    std::string wide = mark;
    for (const char c : std::string("APP_ID=shop")) wide += {c, '\0'};
    const std::string file = folder_.write("utf-16", wide);
    const std::string told = file + " is UTF-16: save it as UTF-8";
    EXPECT_EQ(faults({}, wide).size(), 1U);
    EXPECT_EQ(faults({"DASHSCOPE_API_KEY_FILE=" + file}),
              (std::vector<std::string>{"environment: DASHSCOPE_API_KEY_FILE: " + told}));
    EXPECT_EQ(faults({"BOT_CONFIG_FILE=" + file}),
              (std::vector<std::string>{"environment: BOT_CONFIG_FILE: " + told}));
  }
  const std::string gbk = folder_.write("gbk", "{\"StartUpMessage\":\"\xc4\xe3\xba\xc3\"}");
  EXPECT_EQ(faults({"BOT_CONFIG_FILE=" + gbk}),
            (std::vector<std::string>{"environment: BOT_CONFIG_FILE: " + gbk +
                                      " is not UTF-8 (if it is GBK: iconv -f GBK -t UTF-8)"}));
  const auto prompt = faults({}, "SYSTEM_PROMPT=\xc4\xe3\xba\xc3\n");
  ASSERT_EQ(prompt.size(), 1U);
  EXPECT_NE(
      prompt[0].find(
          "env:1: SYSTEM_PROMPT: expected UTF-8 text, found bytes that are not UTF-8 (if the file is GBK"),
      std::string::npos)
      << prompt[0];
}

TEST_F(Configs, FilesWithoutEndAreRefused) {
  EXPECT_EQ(faults({"BOT_CONFIG_FILE=/dev/zero"}),
            (std::vector<std::string>{"environment: BOT_CONFIG_FILE: /dev/zero is longer than 4 MiB"}));
}

TEST_F(Configs, TheEnvFileOfTheFlaskRewriteWorksUnchanged) {
  const std::string flask =
      "# 百炼配置（必填）\nAPI_KEY=sk-1234567890\nAPP_ID=abcdef\n\n# "
      "服务器\nHOST=0.0.0.0\nPORT=8000\nDEBUG=False\n"
      "FLASK_ENV=production\n\nSYSTEM_PROMPT=你是客服助手，请耐心回答。\nTEMPERATURE=0.7\nTIMEOUT="
      "120\nCONNECT_TIMEOUT=30\n";
  std::string from_windows = "\xef\xbb\xbf";
  for (const char c : flask) from_windows += c == '\n' ? "\r\n" : std::string(1, c);
  for (const auto& file : {flask, from_windows}) {
    const LoadedConfig loaded = load({}, file);
    EXPECT_TRUE(loaded.warnings.empty());
    EXPECT_EQ(loaded.config.targets[0].api_key, "sk-1234567890");
    EXPECT_EQ(loaded.config.targets[0].app_id, "abcdef");
    EXPECT_EQ(loaded.config.system_prompt, "你是客服助手，请耐心回答。");
    EXPECT_EQ(loaded.config.temperature, "0.7");
    EXPECT_FALSE(loaded.config.debug);
    EXPECT_EQ(loaded.config.timeout, Seconds(120));
    EXPECT_EQ(loaded.config.connect_timeout, Seconds(30));
  }
}

TEST_F(Configs, WhatCannotChangeAtRunTimeStaysAndIsNamed) {
  const Config running = config({});
  Config read = config({"HOST=::1", "PORT=7", "FCGI_LISTEN=/tmp/other", "FCGI_SOCKET_MODE=0600", "WORKERS=7",
                        "MAX_STREAMS=7", "TOKEN_COALESCE=7", "LOG_FORMAT=text", "LOG_FILE=/tmp/log",
                        "LEDGER=/tmp/ledger", "TIMEOUT=7"});
  read.bots.push_back(read);  // with a share of 7
  read.bots.push_back(read);
  read.bots.back().max_streams = 0;
  EXPECT_EQ(
      keep_what_needs_a_restart(running, read),
      (std::vector<std::string_view>{"HOST", "PORT", "FCGI_LISTEN", "FCGI_SOCKET_MODE", "WORKERS",
                                     "MAX_STREAMS", "TOKEN_COALESCE", "LOG_FORMAT", "LOG_FILE", "LEDGER"}));
  EXPECT_EQ(to_string(read.listen), to_string(running.listen));
  EXPECT_EQ(read.max_streams, running.max_streams);
  EXPECT_EQ(read.bots.at(0).workers, running.workers);
  EXPECT_EQ(read.bots.at(0).max_streams, 7) << "its share does not need a restart";
  EXPECT_EQ(read.bots.at(1).max_streams, 0);
  EXPECT_EQ(read.timeout, Seconds(7));
  EXPECT_TRUE(keep_what_needs_a_restart(running, read).empty());
}

TEST_F(Configs, AllFaultsAreToldTogetherWithTheirPlace) {
  const auto all = faults({"WORKERS=0"}, "PORT=http\nplain nonsense\nDEBUG=perhaps\nTEMPERATURE=2\n");
  ASSERT_EQ(all.size(), 5U);
  EXPECT_NE(all[0].find("env:2: the line is not of the form KEY=value"), std::string::npos);
  EXPECT_NE(all[1].find(
                "env:4: TEMPERATURE: expected a number of at least 0 and less than 2, or empty, found \"2\""),
            std::string::npos);
  EXPECT_NE(all[2].find("env:1: PORT: expected a port from 1 to 65535, found \"http\""), std::string::npos);
  EXPECT_NE(all[3].find("env:3: DEBUG: expected True or False, found \"perhaps\""), std::string::npos);
  EXPECT_EQ(all[4], "environment: WORKERS: expected a whole number from 1 to 64, found \"0\"");
}

TEST_F(Configs, WhatIsFoundIsShownWithoutControlCharacters) {
  EXPECT_EQ(faults({"WORKERS=\x1b[2J"}),
            (std::vector<std::string>{
                "environment: WORKERS: expected a whole number from 1 to 64, found \" [2J\""}));
}

TEST_F(Configs, SecretsAreMaskedInFaults) {
  const auto all = faults({"DASHSCOPE_API_KEY=sk-very secret"});
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].find("very"), std::string::npos) << all[0];
}

TEST_F(Configs, CapsAreTokensOrNoneAndZeroIsACap) {
  const Config c = config({},
                          "CAP_DAY_TOKENS=0\nCAP_MONTH_TOKENS=25000000\nCAP_VISITOR_DAY_TOKENS=\n"
                          "CAP_TOTAL_DAY_TOKENS=1000000000000000\nCAP_TOTAL_MONTH_TOKENS=\n");
  EXPECT_EQ(c.caps, (Caps{0, 25'000'000, std::nullopt}));
  EXPECT_EQ(c.total_caps, (Caps{1'000'000'000'000'000, std::nullopt, std::nullopt}));
  EXPECT_TRUE(has_caps(c));
  EXPECT_FALSE(has_caps(config({})));
  EXPECT_TRUE(has_caps(config({"CAP_TOTAL_MONTH_TOKENS=0"})));
}

TEST_F(Configs, CapsNeedALedger) {
  for (const char* const cap : {"CAP_DAY_TOKENS=0", "CAP_MONTH_TOKENS=5", "CAP_VISITOR_DAY_TOKENS=5",
                                "CAP_TOTAL_DAY_TOKENS=5", "CAP_TOTAL_MONTH_TOKENS=5"}) {
    EXPECT_EQ(
        faults({"LEDGER=", cap}),
        (std::vector<std::string>{"environment: LEDGER: it is empty, but caps need a ledger: remove the "
                                  "line, or the caps"}))
        << cap;
  }
  EXPECT_EQ(config({"LEDGER="}).ledger, "");
}

TEST_F(Configs, TheLedgerIsAPathOrARedisServer) {
  for (const char* const good : {"./ledger", "/var/lib/x/ledger", "redis://127.0.0.1", "rediss://h:6380/2",
                                 "redis://user:secret@host:6379/1", "unix:///run/redis.sock?db=2"})
    EXPECT_EQ(config({std::string("LEDGER=") + good}).ledger, good);
  const std::vector<std::string> all = faults({"LEDGER=http://user:secret@host"});
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].find("secret@"), std::string::npos) << all[0];
}

TEST_F(Configs, TimeZonesAreThoseOfTheSystem) {
  for (const char* const good : {"Asia/Shanghai", "America/New_York", "UTC", "Etc/GMT+8"})
    EXPECT_EQ(config({std::string("CAP_TIMEZONE=") + good}).cap_timezone, good);
  EXPECT_EQ(faults({"CAP_TIMEZONE=Asia/Beijing"}),
            (std::vector<std::string>{
                "environment: CAP_TIMEZONE: Asia/Beijing: the system knows no such time zone"}));
}

TEST_F(Configs, PoliciesOfTheCapsAreWords) {
  const Config c = config({"CAP_ON_ABORT=worst", "CAPS_ON_FAULT=open", "LEDGER_SLICE=64", "PRICE_INPUT=0.8",
                           "PRICE_OUTPUT=2", "CAP_EXPECTED_INPUT=1"});
  EXPECT_TRUE(c.cap_on_abort_worst);
  EXPECT_TRUE(c.caps_open_on_fault);
  EXPECT_EQ(c.ledger_slice, 64U);
  EXPECT_EQ(c.cap_expected_input, 1U);
  EXPECT_EQ(c.price_input, 0.8);
  EXPECT_EQ(c.price_output, 2);
}

struct BadSetting {
  const char* name;
  std::string variable;
};
class BadSettings : public Configs, public testing::WithParamInterface<BadSetting> {};

TEST_P(BadSettings, AreRefused) {
  const std::string& variable = GetParam().variable;
  const std::string key = variable.substr(0, variable.find('='));
  EXPECT_EQ(faults({}, dotenv_line(key, variable.substr(key.size() + 1))).size(), 1U) << variable;
  EXPECT_EQ(faults({variable}).size(), key == "PORT" ? 0U : 1U) << variable;
}

INSTANTIATE_TEST_SUITE_P(
    Config, BadSettings,
    testing::Values(
        BadSetting{"KeyWithNewline", "DASHSCOPE_API_KEY=sk-a\nX: y"},
        BadSetting{"AppIdWithSpace", "APP_ID=a b"},
        BadSetting{"PlainHttp", "DASHSCOPE_BASE_URL=http://dashscope.aliyuncs.com/api/v1"},
        BadSetting{"NearlyLoopback", "DASHSCOPE_BASE_URL=http://127.0.0.1.evil.example@x/"},
        BadSetting{"LoopbackInNameOnly", "DASHSCOPE_BASE_URL=http://127.evil.example/"},
        BadSetting{"Ftp", "DASHSCOPE_BASE_URL=ftp://127.0.0.1/"},
        BadSetting{"NoHost", "DASHSCOPE_BASE_URL=https:///x"},
        BadSetting{"Query", "DASHSCOPE_BASE_URL=https://a/?x"}, BadSetting{"Empty", "TIMEOUT="},
        BadSetting{"TemperatureTwo", "TEMPERATURE=2"}, BadSetting{"WorkersTooMany", "WORKERS=65"},
        BadSetting{"CoalesceTooLong", "TOKEN_COALESCE=101"},
        BadSetting{"BufferTooSmall", "CLIENT_BUFFER_BYTES=16383"}, BadSetting{"WarmUp", "WARM_UP=often"},
        BadSetting{"AnswerCache", "ANSWER_CACHE=on"}, BadSetting{"AnswerCacheTtl", "ANSWER_CACHE_TTL=-1"},
        BadSetting{"AnswerCacheBytes", "ANSWER_CACHE_BYTES=0"}, BadSetting{"Moderation", "MODERATION=on"},
        BadSetting{"MemoryId", "MEMORY_ID=a b"}, BadSetting{"RetriesTooMany", "UPSTREAM_RETRIES=11"},
        BadSetting{"SecondsTooMany", "HEARTBEAT=86401"},
        BadSetting{"ParametersArray", "DASHSCOPE_PARAMETERS=[]"},
        BadSetting{"ParametersNoJson", "DASHSCOPE_PARAMETERS={top_p:1}"},
        BadSetting{"BizParamsText", "BIZ_PARAMS=\"x\""}, BadSetting{"BizParamsNoJson", "BIZ_PARAMS={city:1}"},
        BadSetting{"VisitorParamsEmptyName", "VISITOR_PARAMS=city,,country"},
        BadSetting{"VisitorParamsEmptyMember", "VISITOR_PARAMS=user_defined_params."},
        BadSetting{"VisitorParamsControl", "VISITOR_PARAMS=ci\x1bty"},
        BadSetting{"TemperatureNan", "TEMPERATURE=nan"},
        BadSetting{"TemperatureNegative", "TEMPERATURE=-0.1"},
        BadSetting{"PromptBadUtf8", "SYSTEM_PROMPT=\xff"}, BadSetting{"PortZero", "PORT=0"},
        BadSetting{"PortBig", "PORT=65536"}, BadSetting{"PortText", "PORT=80x"},
        BadSetting{"PortEmpty", "PORT="}, BadSetting{"Mode", "FCGI_SOCKET_MODE=0888"},
        BadSetting{"ModeBig", "FCGI_SOCKET_MODE=01777"}, BadSetting{"Listen", "FCGI_LISTEN=nothing"},
        BadSetting{"ListenPort", "FCGI_LISTEN=a:b"}, BadSetting{"ListenBareIpv6", "FCGI_LISTEN=::1:9000"},
        BadSetting{"ListenLongPath", "FCGI_LISTEN=/" + std::string(108, 'x')},
        BadSetting{"TimeoutZero", "TIMEOUT=0"}, BadSetting{"TimeoutUnit", "TIMEOUT=5 minutes"},
        BadSetting{"Negative", "UPSTREAM_RETRIES=-1"}, BadSetting{"Origin", "ALLOWED_ORIGINS=example.com"},
        BadSetting{"OriginWithPath", "ALLOWED_ORIGINS=https://a/b"},
        BadSetting{"OriginEmpty", "ALLOWED_ORIGINS="},
        BadSetting{"NoProfile", "BOT_CONFIG_FILE=/nonexistent"},
        BadSetting{"NoKeyFile", "DASHSCOPE_API_KEY_FILE=/nonexistent"},
        BadSetting{"CapNegative", "CAP_DAY_TOKENS=-1"}, BadSetting{"CapUnit", "CAP_MONTH_TOKENS=25M"},
        BadSetting{"CapPoint", "CAP_VISITOR_DAY_TOKENS=1e6"},
        BadSetting{"CapTooLarge", "CAP_TOTAL_DAY_TOKENS=1000000000000001"},
        BadSetting{"CapOverflow", "CAP_TOTAL_MONTH_TOKENS=18446744073709551616"},
        BadSetting{"LedgerName", "LEDGER=ledger"}, BadSetting{"LedgerFolder", "LEDGER=/var/lib/"},
        BadSetting{"LedgerUrl", "LEDGER=mysql://host"}, BadSetting{"LedgerUnixHost", "LEDGER=unix://host"},
        BadSetting{"TimeZoneEmpty", "CAP_TIMEZONE="},
        BadSetting{"TimeZonePath", "CAP_TIMEZONE=/etc/localtime"},
        BadSetting{"TimeZoneUp", "CAP_TIMEZONE=../zoneinfo/UTC"},
        BadSetting{"TimeZoneFolder", "CAP_TIMEZONE=Asia"},
        BadSetting{"TimeZoneTable", "CAP_TIMEZONE=zone.tab"},
        BadSetting{"TimeZoneForm", "CAP_TIMEZONE=right/Asia/Shanghai"},
        BadSetting{"ExpectedInput", "CAP_EXPECTED_INPUT=0"}, BadSetting{"Slice", "LEDGER_SLICE=63"},
        BadSetting{"OnAbort", "CAP_ON_ABORT=best"}, BadSetting{"OnFault", "CAPS_ON_FAULT=ajar"},
        BadSetting{"PriceNegative", "PRICE_INPUT=-1"}, BadSetting{"PriceNan", "PRICE_OUTPUT=nan"},
        BadSetting{"PriceCurrency", "PRICE_OUTPUT=2 yuan"}, BadSetting{"LogFormat", "LOG_FORMAT=xml"},
        BadSetting{"LogLevel", "LOG_LEVEL=verbose"}, BadSetting{"LogFile", "LOG_FILE=/var/log/"},
        BadSetting{"SlowFirstToken", "SLOW_FIRST_TOKEN=-1"}, BadSetting{"SlowAnswer", "SLOW_ANSWER=1m"}),
    [](const auto& test) { return test.param.name; });

TEST_F(Configs, KeyFileIsReadWhenOnlyItsOwnerCan) {
  const std::string file = folder_.write("key", "sk-from-file\n", 0600);
  EXPECT_EQ(config({"DASHSCOPE_API_KEY_FILE=" + file}).targets[0].api_key, "sk-from-file");
  EXPECT_EQ(faults({"DASHSCOPE_API_KEY=sk-x", "DASHSCOPE_API_KEY_FILE=" + file}).size(), 1U);
  for (const mode_t mode : {0604U, 0620U, 0660U}) {
    ::chmod(file.c_str(), mode);
    const auto all = faults({"DASHSCOPE_API_KEY_FILE=" + file});
    ASSERT_EQ(all.size(), 1U);
    EXPECT_NE(all[0].find("can be read by others"), std::string::npos);
  }
}

TEST_F(Configs, KeyFileOfAnotherGroupIsRefusedAndOfRootsGroupRead) {
  const std::string file = folder_.write("key", "sk-from-file\n", 0440);
  if (::geteuid() != 0) {
    EXPECT_EQ(faults({"DASHSCOPE_API_KEY_FILE=" + file}).size(), 1U);
    GTEST_SKIP() << "only root can give files away";
  }
  ASSERT_EQ(::chown(file.c_str(), 0, 0), 0);
  EXPECT_EQ(config({"DASHSCOPE_API_KEY_FILE=" + file}).targets[0].api_key, "sk-from-file");
  ASSERT_EQ(::chown(file.c_str(), 0, 1), 0);
  EXPECT_EQ(faults({"DASHSCOPE_API_KEY_FILE=" + file}).size(), 1U);
  ASSERT_EQ(::chown(file.c_str(), 1, 0), 0);
  EXPECT_EQ(faults({"DASHSCOPE_API_KEY_FILE=" + file}).size(), 1U);
}

TEST_F(Configs, WhatIsWrongWithAKeyFileIsOneSentence) {
  const auto told = [this](const std::string& text, mode_t mode = 0600) {
    const std::string file = folder_.write("key", text, mode);
    const auto all = faults({"DASHSCOPE_API_KEY_FILE=" + file});
    const std::string start = "environment: DASHSCOPE_API_KEY_FILE: " + file + " ";
    return all.size() == 1 && all[0].starts_with(start) ? all[0].substr(start.size())
                                                        : "not one: " + testing::PrintToString(all);
  };
  EXPECT_EQ(told("sk-0123456789abcdef\n", 0644), "can be read by others (mode 0644): chmod 600 it");
  EXPECT_EQ(told("sk-0123456789abcdef\nsk-another\n"),
            "has 2 lines: it must contain the key alone, on one line");
  EXPECT_EQ(told("DASHSCOPE_API_KEY=sk-0123456789abcdef\n"),
            "contains NAME=...: it must contain the key alone");
  EXPECT_EQ(told("export API_KEY=sk-0123456789abcdef\n"), "contains NAME=...: it must contain the key alone");
  EXPECT_EQ(told("\"sk-0123456789abcdef\"\n"), "contains the key in quotes: remove the quotes");
  EXPECT_EQ(told("sk-0123 456789\n"), "holds no key: it contains blanks or non-ASCII characters");
  EXPECT_EQ(
      faults({"DASHSCOPE_API_KEY_FILE=/no/such/file"}),
      (std::vector<std::string>{
          "environment: DASHSCOPE_API_KEY_FILE: cannot read /no/such/file: No such file or directory"}));
  EXPECT_EQ(faults({"BOT_CONFIG_FILE=/no/such/file"}),
            (std::vector<std::string>{
                "environment: BOT_CONFIG_FILE: cannot read /no/such/file: No such file or directory"}));
  EXPECT_EQ(faults({"DASHSCOPE_API_KEY=sk-a", "DASHSCOPE_API_KEY_FILE=" + folder_.write("key", "sk-b")}),
            (std::vector<std::string>{
                "environment: DASHSCOPE_API_KEY_FILE: DASHSCOPE_API_KEY is set too: keep one of the two"}));
}

TEST_F(Configs, AKeyThatSystemdPassesOnMayBeReadableWithAWarning) {
  const std::string file = folder_.write("key", "sk-from-file\n", 0644);
  const auto loaded = load_config({"DASHSCOPE_API_KEY_FILE=" + file}, folder_.write("env", ""),
                                  KeyFileReader::kServiceManager);
  EXPECT_EQ(loaded.config.targets[0].api_key, "sk-from-file");
  ASSERT_EQ(loaded.warnings.size(), 1U);
  EXPECT_NE(loaded.warnings[0].find("can be read by others (mode 0644)"), std::string::npos);
}

TEST_F(Configs, AnEmptyKeyFileCountsAsNotSetAndIsNamed) {
  const std::string file = folder_.write("key", "\n", 0600);
  const auto loaded = load({"DASHSCOPE_API_KEY_FILE=" + file});
  EXPECT_EQ(loaded.config.targets[0].api_key, "");
  ASSERT_EQ(loaded.warnings.size(), 1U);
  EXPECT_EQ(loaded.warnings[0], "environment: DASHSCOPE_API_KEY_FILE: " + file + " holds no key");
  EXPECT_EQ(load({"DASHSCOPE_API_KEY_FILE=" + folder_.write("placeholder", "sk-your-key\n")}).warnings,
            (std::vector<std::string>{
                "environment: DASHSCOPE_API_KEY_FILE: " + folder_.write("placeholder", "sk-your-key\n") +
                " holds a placeholder, which counts as no key"}));
  const auto beside = load({"DASHSCOPE_API_KEY_FILE=" + file, "DASHSCOPE_API_KEY=sk-x"});
  EXPECT_EQ(beside.config.targets[0].api_key, "sk-x");
  EXPECT_TRUE(beside.warnings.empty());
}

TEST_F(Configs, ProfileFileIsReadAndItsFaultsNamed) {
  const std::string good = folder_.write("bot.json", default_bot_profile().json);
  EXPECT_EQ(config({"BOT_CONFIG_FILE=" + good}).bot_profile.json, default_bot_profile().json);
  const std::string bad = folder_.write("bad.json", R"({"botStatus":3})");
  const auto all = faults({"BOT_CONFIG_FILE=" + bad});
  ASSERT_EQ(all.size(), 1U);
  EXPECT_NE(all[0].find("botStatus: expected 0"), std::string::npos);
  EXPECT_NE(all[0].find("fontSize: missing"), std::string::npos);
}

TEST_F(Configs, TheLogsLevelGoesByDebugUnlessItIsSet) {
  EXPECT_EQ(effective_log_level(config({"DEBUG=True"})), LogLevel::kDebug);
  EXPECT_EQ(effective_log_level(config({"DEBUG=False"})), LogLevel::kInfo);
  EXPECT_EQ(effective_log_level(config({"DEBUG=True", "LOG_LEVEL=WARNING"})), LogLevel::kWarning);
  EXPECT_EQ(effective_log_level(config({"DEBUG=False", "LOG_LEVEL=debug"})), LogLevel::kDebug);
  EXPECT_EQ(effective_log_level(config({"LOG_LEVEL=error"})), LogLevel::kError);
}

TEST_F(Configs, AMissingEnvFileIsAFault) { EXPECT_THROW(load_config({}, "/nonexistent/.env"), ConfigError); }

TEST_F(Configs, AMisspeltKeyIsNamed) {
  const std::pair<const char*, const char*> table[] = {
      {"MAX_STREAM", "MAX_STREAMS"},
      {"TIMOUT", "TIMEOUT"},
      {"app_id", "APP_ID"},
      {"System-Prompt", "SYSTEM_PROMPT"},
      {"BAILIAN_APP_ID", "APP_ID"},
      {"APP_ID_1", "APP_ID"},
      {"APP_ID2", "APP_ID_2"},
      {"app_id_9", "APP_ID_9"},
      {"DASHSCOPE_APP_ID_3", "APP_ID_3"},
      {"DASHSCOPE_API_KEY_10", "DASHSCOPE_API_KEY_2 to DASHSCOPE_API_KEY_9"},
      {"APP_ID_0", "APP_ID_2 to APP_ID_9"},
      {"TIMEOUT_2", "TIMEOUT"},
      {"DASHSCOPE_KEY", "DASHSCOPE_API_KEY"},
      {"DASHSCOPE_API_KYE", "DASHSCOPE_API_KEY"}};
  for (const auto& [key, meant] : table) {
    const auto warnings = load({}, std::string(key) + "=5\n").warnings;
    ASSERT_EQ(warnings.size(), 1U) << key;
    EXPECT_NE(
        warnings[0].find(std::string("env:1: ") + key + " is not a setting; did you mean " + meant + "?"),
        std::string::npos)
        << warnings[0];
  }
  EXPECT_EQ(load({"DASHSCOPE_API_KYE=x"}).warnings,
            (std::vector<std::string>{
                "environment: DASHSCOPE_API_KYE is not a setting; did you mean DASHSCOPE_API_KEY?"}));
  EXPECT_TRUE(load({"OPENAI_API_KEY=x", "host=a", "HOSTS=a"}, "HOSTS=a\nFLASK_ENV=b\nSYSTEM_PROMPT=\n")
                  .warnings.empty());
}

TEST_F(Configs, AMisspeltKeyIsNamedBesideFaultsToo) {
  const auto all = faults({"WORKERS=x"}, "MAX_STREAM=5\n");
  ASSERT_EQ(all.size(), 2U);
  EXPECT_NE(all[1].find("did you mean MAX_STREAMS?"), std::string::npos);
}

TEST(ListenAddresses, ThatAreTooLongAreCalledSo) {
  const auto fault = parse_listen_address("/" + std::string(119, 'x'));
  EXPECT_EQ(std::get<ValueFault>(fault).sentence,
            "the path is longer than 107 bytes, the maximum for a unix socket");
  const auto address = parse_listen_address("/" + std::string(106, 'x'));
  EXPECT_EQ(to_string(std::get<ListenAddress>(address)).size(), 107U);
}

TEST(ListenAddresses, AreReadAndWrittenBack) {
  for (const char* address : {"/run/x.sock", "build/x.sock", "127.0.0.1:9000", "localhost:0", "[::1]:9000"}) {
    EXPECT_EQ(to_string(std::get<ListenAddress>(parse_listen_address(address))), address);
  }
}

TEST_F(Configs, OriginsAreAList) {
  EXPECT_EQ(config({"ALLOWED_ORIGINS=https://a.example, https://b.example/"}).allowed_origins,
            (std::vector<std::string>{"https://a.example", "https://b.example"}));
}

}  // namespace
}  // namespace bailian
