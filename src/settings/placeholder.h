#pragma once

#include <string_view>

namespace bailian {

/// Whether the text only stands in for a key or an id: `your_api_key`, `sk-xxxx`, `sk-...`, `<key>`,
/// `${KEY}`, `changeme`, `none`, `ici vient la clé`, `你的密钥`. Text with control characters is not.
bool is_placeholder(std::string_view text);

}  // namespace bailian
