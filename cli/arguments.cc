#include "cli/arguments.h"

#include <ctime>
#include <fstream>

namespace cli {

std::vector<std::string> Arguments(const Flags& flags) {
  std::ifstream file("/proc/self/cmdline");
  std::vector<std::string> words;
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  if (!words.empty()) words.erase(words.begin());
  for (const std::string& word : flags.SetAsTyped()) words.push_back(word);
  return words;
}

std::string UtcTime(const char* format) {
  const std::time_t now = std::time(nullptr);
  tm utc = {};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof(text), format, &utc);
  return text;
}

}  // namespace cli
