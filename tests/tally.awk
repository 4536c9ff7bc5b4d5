# What the files of GoogleTest (--gtest_output=xml) say: how many cases ran, which were skipped and
# why, which took longest. Writes each case with its seconds to the file COSTS, the slowest first.
# awk -v COSTS=FILE -f tests/tally.awk build/*/test-results/*.xml

function attribute(name,    found) {
  if (!match($0, " " name "=\"[^\"]*\"")) return ""
  found = substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 4)
  gsub(/&quot;/, "\"", found); gsub(/&lt;/, "<", found); gsub(/&gt;/, ">", found)
  gsub(/&apos;/, "'", found); gsub(/&amp;/, "\\&", found)
  return found
}

FNR == 1 {
  preset = FILENAME
  sub(/\/test-results\/.*/, "", preset)
  sub(/.*\//, "", preset)
}

/<testcase / && attribute("status") == "run" {
  name = preset " " attribute("classname") "." attribute("name")
  printf "%.3f\t%s\n", attribute("time"), name | sorter()
  if (attribute("result") == "skipped") ++skipped; else ++ran
}

/<skipped message=/ {
  reason = attribute("message")
  sub(/.*&#x0A;/, "", reason)
  ++reasons[reason]
  if (reasons[reason] <= 3) {
    short = name
    sub(/^[^ ]* /, "", short)
    names[reason] = names[reason] (names[reason] == "" ? "" : ", ") short
  }
}

function sorter() { return "sort -rn >'" COSTS "'" }

END {
  close(sorter())
  printf "%d cases ran, %d were skipped:\n", ran, skipped
  for (reason in reasons) {
    printf "  %4d  %s: %s%s\n", reasons[reason], reason, names[reason],
           (reasons[reason] > 3 ? ", ..." : "")
  }
  printf "the slowest (all of them: %s):\n", COSTS
  for (i = 0; i < 10 && (getline line < COSTS) > 0; ++i) print "  " line
}
