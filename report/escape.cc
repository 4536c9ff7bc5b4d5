#include "report/escape.h"

#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace report {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// A character at the front of a text: its code point, and its bytes.
struct Character {
  char32_t code;
  size_t bytes;
};
constexpr char32_t kInvalid = 0xFFFFFFFF;

// The next character; of what is no UTF-8 (RFC 3629: no surrogates, no longer forms), a byte.
Character Next(std::string_view text) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = at(0);
  if (first < 0x80) return {first, 1};
  const size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  constexpr std::array<char32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  if (first < 0xc2 || first > 0xf4 || text.size() < bytes) return {kInvalid, 1};
  char32_t code = first & (0x7fU >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((at(i) & 0xc0) != 0x80) return {kInvalid, 1};
    code = code << 6 | (at(i) & 0x3f);
  }
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < kLeast[bytes] || code > 0x10ffff || surrogate) return {kInvalid, 1};
  return {code, bytes};
}

bool NoCharacter(char32_t code) {
  return code == kInvalid || (code & 0xfffe) == 0xfffe || (code >= 0xfdd0 && code <= 0xfdef);
}

// What a terminal does something for, rather than show it. Sources: ECMA-48; Unicode's UAX #9 for
// those that turn text around.
bool Controls(char32_t code) {
  return code < ' ' || (code >= 0x7f && code <= 0x9f) || code == 0x2028 || code == 0x2029 ||
         code == 0x200e || code == 0x200f || code == 0x61c || (code >= 0x202a && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069);
}

// Whether it is ASCII that can be shown, as nearly all text is.
bool Harmless(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c < 0x7f; });
}

// Each character by `put(code, its bytes)`.
template <class Put>
void ForEach(std::string_view text, const Put& put) {
  while (!text.empty()) {
    const Character next = Next(text);
    put(next.code, text.substr(0, next.bytes));
    text.remove_prefix(next.bytes);
  }
}

// Whether a spreadsheet would calculate it. Sources: OWASP, "CSV Injection"; full-width signs are
// taken for the others.
bool LikeFormula(std::string_view text) {
  const size_t first = text.find_first_not_of(" \n");
  if (first == std::string_view::npos) return false;
  text.remove_prefix(first);
  constexpr std::string_view kWide[] = {"\xef\xbc\x9d", "\xef\xbc\x8b", "\xef\xbc\x8d",
                                        "\xef\xbc\xa0"};  // ＝＋－＠
  const bool wide = std::any_of(std::begin(kWide), std::end(kWide),
                                [&](std::string_view sign) { return text.starts_with(sign); });
  if (!wide && std::string_view("=+-@").find(text[0]) == std::string_view::npos) return false;
  double number = 0;
  return text.find_first_not_of("0123456789+-.eE") != std::string_view::npos ||
         !absl::SimpleAtod(absl::string_view(text.data(), text.size()), &number);
}

}  // namespace

std::string PlainText(std::string_view text) {
  if (Harmless(text)) return std::string(text);
  std::string out;
  ForEach(text, [&](char32_t code, std::string_view bytes) {
    if (code == '\t' || code == '\r') {
      out += ' ';
    } else if (code != '\n' && (NoCharacter(code) || Controls(code))) {
      out += kReplacement;
    } else {
      out += bytes;
    }
  });
  return out;
}

std::string PlainLine(std::string_view text) {
  std::string line = PlainText(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

nlohmann::ordered_json PlainTexts(const nlohmann::ordered_json& json) {
  using nlohmann::ordered_json;
  if (json.is_string()) return PlainLine(json.get_ref<const std::string&>());
  if (!json.is_structured()) return json;
  ordered_json plain = json.is_array() ? ordered_json::array() : ordered_json::object();
  for (const auto& item : json.items()) {
    if (json.is_array()) {
      plain.push_back(PlainTexts(item.value()));
    } else {
      plain[PlainLine(item.key())] = PlainTexts(item.value());
    }
  }
  return plain;
}

std::string EscapeXml(const std::string& text) {
  std::string out;
  ForEach(text, [&](char32_t code, std::string_view bytes) {
    switch (code) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\n':
      case '\t':
      case '\r':
        absl::StrAppend(&out, "&#", static_cast<int>(code), ";");
        break;
      default:
        out += NoCharacter(code) || Controls(code) ? kReplacement : bytes;
    }
  });
  return out;
}

std::string EscapeCsv(const std::string& text) {
  std::string field = PlainText(text);
  if (LikeFormula(field)) field.insert(0, "'");
  if (field.find_first_of(",\"\n") == std::string::npos) return field;
  return absl::StrCat("\"", absl::StrReplaceAll(field, {{"\"", "\"\""}}), "\"");
}

std::string EscapeMarkdown(const std::string& text) {
  // A zero-width space (U+200B) breaks what can't be escaped, as GitHub looks for it in the text.
  return absl::StrReplaceAll(PlainLine(text), {{"\\", "\\\\"},
                                               {"|", "\\|"},
                                               {"`", "\\`"},
                                               {"*", "\\*"},
                                               {"_", "\\_"},
                                               {"[", "\\["},
                                               {"]", "\\]"},
                                               {"$", "\\$"},
                                               {"&", "&amp;"},
                                               {"<", "&lt;"},
                                               {">", "&gt;"},
                                               {"~", "\\~"},
                                               {"#", "\\#"},
                                               {"@", "@\u200b"},
                                               {"://", ":\u200b//"},
                                               {"www.", "www\u200b."}});
}

std::string EscapeMarkdownHtml(const std::string& text) {
  return absl::StrReplaceAll(EscapeXml(PlainLine(text)), {{"`", "&#96;"},
                                                          {"*", "&#42;"},
                                                          {"_", "&#95;"},
                                                          {"[", "&#91;"},
                                                          {"]", "&#93;"},
                                                          {"$", "&#36;"},
                                                          {"@", "@\u200b"},
                                                          {"://", ":\u200b//"},
                                                          {"www.", "www\u200b."}});
}

std::string EscapeOpenMetrics(const std::string& text) {
  return absl::StrReplaceAll(PlainText(text), {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}});
}

std::string QuoteGnuplot(const std::string& text) {
  // Its SVG escapes < and > only, and that not before "]]", which XML forbids.
  return absl::StrCat("'", absl::StrReplaceAll(PlainLine(text), {{"'", "''"}, {"]]>", "]] >"}}),
                      "'");
}

std::string QuoteGnuplotTic(const std::string& text) {
  return absl::StrReplaceAll(QuoteGnuplot(text), {{"%", "%%"}});
}

}  // namespace report
