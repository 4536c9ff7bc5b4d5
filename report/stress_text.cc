#include "report/stress_text.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "report/escape.h"
#include "report/format.h"
#include "report/reader.h"
#include "report/rows.h"

namespace report {

std::string StressText(const Json& json, const std::string& rows) {
  const Json plain = PlainTexts(json);
  const Reader stress = plain;
  std::string text = absl::StrCat("\n", stress["experiment"].get<std::string>(), ": ",
                                  stress["finding"].get<std::string>(), "\n\n");
  const Reader connections = stress["connections"];
  const auto count = [&](const char* name) {
    return FormatCount(connections[name].get<uint64_t>());
  };
  const uint64_t requested = connections["requested"].get<uint64_t>();
  text += Row("connections",
              absl::StrCat(requested > 0 ? count("requested") + " asked for, " : "",
                           count("opened"), " opened, ", count("answered"), " answered"));
  text += PlainText(rows);
  for (const Reader counter : stress["kernel"]["counters"]) {
    text += Row("kernel", absl::StrCat(FormatCount(counter["delta"].get<uint64_t>()), " × ",
                                       counter["name"].get<std::string>(), ": ",
                                       counter["meaning"].get<std::string>()));
  }
  if (!stress["limit"].is_null()) {
    text += Row("limit", absl::StrCat(stress["limit"]["name"].get<std::string>(), ": ",
                                      stress["limit"]["value"].get<std::string>()));
    text += Row("to raise it", stress["limit"]["mend"].get<std::string>());
  }
  if (!stress["problem"].is_null()) text += Row("problem", stress["problem"].get<std::string>());
  if (stress["interrupted"].get<bool>()) text += Row("ended", "by a signal, before its time");
  return text;
}

}  // namespace report
