#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

// Text from outside (names of arms, what a server said, a file's members), in the words of each
// format: one function a format, and no format puts in such text by another way. All of them take
// any bytes; what is no UTF-8 becomes U+FFFD.
namespace report {

// As a terminal may have it: no character that moves the cursor, changes colours or reorders what
// is read (C0 but line feeds, DEL, C1, line separators, directional controls, non-characters):
// these become U+FFFD, tabs and carriage returns spaces.
std::string PlainText(std::string_view text);

// The same on one line, without white space at its end: line feeds become spaces, so that a name
// can't put a line of its own into a report.
std::string PlainLine(std::string_view text);

// A result with every string and every name in it as PlainLine(): what reports for a terminal are
// made of.
nlohmann::ordered_json PlainTexts(const nlohmann::ordered_json& json);

// For text and attributes of XML 1.0 and HTML. What XML forbids even as a reference is U+FFFD.
std::string EscapeXml(const std::string& text);

// A field of RFC 4180. One that a spreadsheet would take for a formula, as it begins with = + - or
// @ and is no number, has ' before it, which spreadsheets show as text.
std::string EscapeCsv(const std::string& text);

// For GitHub's Markdown, in a table's cell too: on one line, and nothing in it begins a link, code,
// HTML, a formula or a mention.
std::string EscapeMarkdown(const std::string& text);

// The same within HTML in it, which knows no backslashes.
std::string EscapeMarkdownHtml(const std::string& text);

// A label's value, or a help text, between whatever quotes.
std::string EscapeOpenMetrics(const std::string& text);

// In gnuplot's single quotes, which read no escape and run nothing. A tic's label is a format, too.
std::string QuoteGnuplot(const std::string& text);
std::string QuoteGnuplotTic(const std::string& text);

}  // namespace report
