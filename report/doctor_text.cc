#include <cmath>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "report/escape.h"
#include "report/format.h"
#include "report/reader.h"
#include "report/rows.h"
#include "report/text.h"

namespace report {
namespace {

// A number of the JSON: exact, "unlimited", or "unknown".
std::string Number(Reader value) {
  if (value.is_string()) return value.get<std::string>();
  return value.is_null() ? "unknown" : FormatCount(value.get<uint64_t>());
}

std::string Bytes(Reader value) {
  return value.is_number() ? FormatBytes(value.get<uint64_t>()) : Number(value);
}

// A port has no thousands.
std::string PortText(Reader value) {
  return value.is_number() ? absl::StrCat(value.get<uint64_t>()) : "unknown";
}

std::string YesNo(Reader value, const char* yes, const char* no) {
  return value.is_null() ? "unknown" : value.get<bool>() ? yes : no;
}

// "4 KiB, 128 KiB, 32 MiB"
std::string List(Reader values, std::string (*format)(Reader)) {
  std::vector<std::string> parts;
  for (const Reader value : values) parts.push_back(format(value));
  return absl::StrJoin(parts, ", ");
}

std::string NameList(Reader names) {
  return absl::StrJoin(names.get<std::vector<std::string>>(), ", ");
}

std::string SoftAndHard(Reader limit, std::string (*format)(Reader)) {
  return absl::StrCat(format(limit["soft"]), " (soft), ", format(limit["hard"]), " (hard)");
}

std::string DirectLine(Reader doctor) {
  const Reader direct = doctor["direct"];
  if (!direct["fits"].get<bool>()) {
    return absl::StrCat("they don't with direct descriptors either: ",
                        NameList(direct["stopped_by"]));
  }
  return absl::StrCat("with direct descriptors they fit: --direct -b io_uring -t ",
                      Number(direct["threads"]), " at each end");
}

std::string FitRows(Reader doctor) {
  const bool fits = doctor["fits"].get<bool>();
  std::string text =
      Row(fits ? "they fit" : "don't fit",
          fits ? "each with a file descriptor at each end" : NameList(doctor["stopped_by"]));
  if (!fits) text += Row("", DirectLine(doctor));
  if (!doctor["unknown"].empty()) {
    text += Row("", absl::StrCat("as far as is known: ", NameList(doctor["unknown"]),
                                 " can't be read or judged"));
  }
  return text;
}

// has or needs of a finding, in the unit of its limit.
std::string Amount(const std::string& limit, Reader value) {
  if (limit == "memory") return Bytes(value);
  if (limit == "loopback" && value.is_number()) return value == 0 ? "down" : "up";
  return Number(value);
}

std::string FindingRows(Reader findings) {
  std::string text = absl::StrFormat("  %-32s %14s %14s\n", "limit", "has", "needs");
  for (const Reader finding : findings) {
    const std::string limit = finding["limit"].get<std::string>();
    absl::StrAppendFormat(&text, "  %-32s %14s %14s   %s\n", limit, Amount(limit, finding["has"]),
                          Amount(limit, finding["needs"]), finding["severity"].get<std::string>());
  }
  return text;
}

std::string MendRows(Reader findings) {
  std::string text;
  for (const Reader finding : findings) {
    if (finding["mend"].is_null()) continue;
    absl::StrAppend(&text, "  ", finding["limit"].get<std::string>(), ": ",
                    finding["text"].get<std::string>(), "; ", finding["mend"].get<std::string>(),
                    "\n");
  }
  return text;
}

std::string SocketRows(Reader l) {
  return absl::StrCat(
      Row("descriptors", absl::StrCat(SoftAndHard(l["nofile"], Number), ", which ",
                                      YesNo(l["may_raise"], "can be raised", "can't be raised"),
                                      " (CAP_SYS_RESOURCE); ", Number(l["files_open"]),
                                      " files open on the machine")),
      Row("listening", absl::StrCat("somaxconn ", Number(l["somaxconn"]), ", tcp_max_syn_backlog ",
                                    Number(l["tcp_max_syn_backlog"]), ", tcp_syncookies ",
                                    Number(l["tcp_syncookies"]))),
      Row("ports", absl::StrCat(PortText(l["port_first"]), " to ", PortText(l["port_last"]), ": ",
                                Number(l["ports"]), " that aren't reserved")),
      Row("TIME-WAIT",
          absl::StrCat(Number(l["time_wait"]), " now, ", Number(l["tcp_max_tw_buckets"]),
                       " at most, tcp_tw_reuse ", Number(l["tcp_tw_reuse"]))),
      Row("orphans",
          absl::StrCat(Number(l["orphans"]), " now, ", Number(l["tcp_max_orphans"]), " at most")),
      Row("buffers", absl::StrCat("tcp_rmem ", List(l["tcp_rmem_bytes"], Bytes), "; tcp_wmem ",
                                  List(l["tcp_wmem_bytes"], Bytes), "; tcp_mem ",
                                  List(l["tcp_mem_pages"], Number), " pages, ",
                                  Number(l["tcp_mem_used_pages"]), " used")),
      Row("conntrack", l["conntrack"].get<bool>()
                           ? absl::StrCat(Number(l["conntrack_count"]), " of ",
                                          Number(l["conntrack_max"]), " tracked")
                           : "not in this kernel, or not in this namespace"),
      Row("loopback", absl::StrCat(YesNo(l["loopback_up"], "up", "down"), ", MTU ",
                                   Number(l["loopback_mtu_bytes"]), "; the network namespace is ",
                                   YesNo(l["own_network_namespace"], "another than process 1's",
                                         "that of process 1"))));
}

std::string MemoryRows(Reader l) {
  return absl::StrCat(
      Row("memory",
          absl::StrCat(Bytes(l["memory_available_bytes"]), " of ", Bytes(l["memory_bytes"]),
                       " available; control group: ", Bytes(l["cgroup_memory_bytes"]["max"]),
                       ", left ", Bytes(l["cgroup_memory_bytes"]["left"]))),
      Row("locked", SoftAndHard(l["memlock_bytes"], Bytes)),
      Row("threads", absl::StrCat(SoftAndHard(l["nproc"], Number),
                                  " of this user; control group: ", Number(l["cgroup_pids"]["max"]),
                                  ", left ", Number(l["cgroup_pids"]["left"]),
                                  "; kernel.threads-max ", Number(l["threads_max"]))));
}

std::string MachineRows(Reader doctor) {
  const Reader machine = doctor["environment"]["machine"];
  const Reader system = doctor["environment"]["system"];
  const auto of = [](Reader group, const char* name) { return group[name].get<std::string>(); };
  const Reader steal = doctor["steal_share"];
  const std::string container =
      of(system, "container") == "none"
          ? "none seen"
          : absl::StrCat(of(system, "container"), ", by ", of(system, "container_evidence"));
  return absl::StrCat(
      Row("kernel", of(system, "kernel_release")),
      Row("CPUs", absl::StrCat(of(machine, "cpus_allowed"), " of ", of(machine, "cpus_online"),
                               " may be used; quota of the control group: ",
                               of(doctor["environment"]["limits"], "cgroup_cpus"), "; ",
                               of(machine, "cpu"))),
      Row("governor",
          absl::StrCat(of(machine, "governor"), "; clock ", of(machine, "clock_source"))),
      Row("mitigations", absl::StrCat(of(machine, "mitigations"), "; an empty system call takes ",
                                      of(machine, "system_call_ns"), " ns")),
      Row("virtual",
          absl::StrCat(
              of(machine, "virtualisation"), "; steal since boot: ",
              steal.is_null() ? "unknown" : absl::StrFormat("%.2f %%", steal.get<double>() * 100))),
      Row("container", container));
}

std::string FeatureRows(Reader features) {
  std::string text;
  for (const Reader feature : features) {
    const bool available = feature["available"].get<bool>();
    absl::StrAppendFormat(&text, "  %-24s %-4s %-7s since Linux %s\n",
                          feature["name"].get<std::string>(), available ? "yes" : "no",
                          feature["used"].get<bool>() ? "used" : "",
                          feature["since"].get<std::string>());
  }
  return text;
}

std::string RingRows(Reader uring) {
  if (!uring["available"].get<bool>()) return Row("no", uring["why_not"].get<std::string>());
  return FeatureRows(uring["features"]);
}

}  // namespace

std::string DoctorText(const Json& json) {
  const Json plain = PlainTexts(json);
  const Reader doctor = plain;
  const std::string mends = MendRows(doctor["findings"]);
  return absl::StrCat(
      "\n", Counted(doctor["connections"].get<uint64_t>(), "connection"),
      ", both ends on this machine\n\n", FitRows(doctor), "\n", FindingRows(doctor["findings"]),
      mends.empty() ? "" : "\nto do\n", mends, "\nlimits\n", SocketRows(doctor["limits"]),
      MemoryRows(doctor["limits"]), "\nmachine\n", MachineRows(doctor), "\nio_uring\n",
      RingRows(doctor["io_uring"]), "\nepoll\n", FeatureRows(doctor["epoll"]["features"]));
}

}  // namespace report
