#include "stats/environment.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <optional>
#include <set>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "stats/cgroups.h"
#include "stats/text_files.h"

namespace stats {
namespace {

using Items = std::vector<std::pair<std::string, std::string>>;

constexpr char kUnknown[] = "unknown";

std::string OrUnknown(std::string value) { return value.empty() ? kUnknown : value; }

std::string LineOrUnknown(const std::string& path) { return OrUnknown(FirstLine(path)); }

// Is it `prefix` with a number behind?
bool IsNumbered(const std::string& name, const std::string& prefix) {
  return name.size() > prefix.size() && name.starts_with(prefix) &&
         name.find_first_not_of("0123456789", prefix.size()) == std::string::npos;
}

std::string Join(const std::string& joined, const std::string& part) {
  return joined.empty() ? part : joined + ", " + part;
}

std::string CpuModel(const std::string& root) {
  const std::string cpuinfo = root + "/proc/cpuinfo";
  if (std::string model = FieldOf(cpuinfo, "model name", ':'); !model.empty()) return model;
  // 64-bit ARM gives numbers only.
  const std::string implementer = FieldOf(cpuinfo, "CPU implementer", ':');
  if (implementer.empty()) return kUnknown;
  return "implementer " + implementer + " part " + FieldOf(cpuinfo, "CPU part", ':');
}

std::string CpusAllowed() {
  cpu_set_t sets[16];  // The kernel refuses a set smaller than its own: up to 8192 CPUs.
  if (sched_getaffinity(0, sizeof(sets), sets) != 0) return kUnknown;
  return std::to_string(CPU_COUNT_S(sizeof(sets), sets));
}

std::string Caches(const std::string& root) {
  const std::string folder = root + "/sys/devices/system/cpu/cpu0/cache/";
  std::string caches;
  for (const std::string& name : NamesIn(folder)) {
    if (!IsNumbered(name, "index")) continue;
    const std::string type = FirstLine(folder + name + "/type");
    const char* suffix = type == "Data" ? "d" : type == "Instruction" ? "i" : "";
    caches = Join(caches, "L" + FirstLine(folder + name + "/level") + suffix + " " +
                              FirstLine(folder + name + "/size"));
  }
  return OrUnknown(caches);
}

std::string Governors(const std::string& root) {
  const std::string folder = root + "/sys/devices/system/cpu/";
  std::set<std::string> governors;
  for (const std::string& name : NamesIn(folder)) {
    if (!IsNumbered(name, "cpu")) continue;
    const std::string governor = FirstLine(folder + name + "/cpufreq/scaling_governor");
    if (!governor.empty()) governors.insert(governor);
  }
  std::string all;
  for (const std::string& governor : governors) all = Join(all, governor);
  return all.empty() ? "none" : all;
}

// Names the weaknesses that this CPU has: "mitigated: spectre_v1, spectre_v2; vulnerable: tsa".
std::string Mitigations(const std::string& root) {
  const std::string folder = root + "/sys/devices/system/cpu/vulnerabilities/";
  const std::vector<std::string> names = NamesIn(folder);
  std::string mitigated, vulnerable, unclear;
  for (const std::string& name : names) {
    const std::string state = FirstLine(folder + name);
    if (state.starts_with("Not affected")) continue;
    std::string& list = state.starts_with("Mitigation")   ? mitigated
                        : state.starts_with("Vulnerable") ? vulnerable
                                                          : unclear;
    list = Join(list, name);
  }
  std::string all;
  auto append = [&](const char* title, const std::string& list) {
    if (!list.empty()) all += (all.empty() ? "" : "; ") + (title + list);
  };
  append("mitigated: ", mitigated);
  append("vulnerable: ", vulnerable);
  append("unclear: ", unclear);
  if (!all.empty()) return all;
  return names.empty() ? kUnknown : "not affected";
}

// The hypervisor's own name, by the CPUID leaf that all of them fill; empty if it has none.
std::string HypervisorSignature() {
#if defined(__x86_64__)
  unsigned eax = 0, words[3] = {};
  __cpuid(0x40000000, eax, words[0], words[1], words[2]);
  const std::string bytes(reinterpret_cast<const char*>(words), sizeof(words));
  std::string name;
  for (const char c : bytes) {
    if (c > ' ' && c <= '~') name += c;
  }
  return name;
#else
  return "";
#endif
}

std::string Virtualisation(const std::string& root) {
  if (std::string type = FirstLine(root + "/sys/hypervisor/type"); !type.empty()) return type;
  const std::string flags = FieldOf(root + "/proc/cpuinfo", "flags", ':');
  if (flags.empty()) return kUnknown;  // Not an x86: "product" may tell.
  if ((" " + flags + " ").find(" hypervisor ") == std::string::npos) return "none";
  const std::string signature = HypervisorSignature();
  return signature.empty() ? "hypervisor" : signature;
}

std::string Product(const std::string& root) {
  const std::string vendor = FirstLine(root + "/sys/class/dmi/id/sys_vendor");
  const std::string product = FirstLine(root + "/sys/class/dmi/id/product_name");
  return OrUnknown(vendor + (vendor.empty() || product.empty() ? "" : " ") + product);
}

std::string MemoryBytes(const std::string& root) {
  const std::string kibibytes = FieldOf(root + "/proc/meminfo", "MemTotal", ':');
  if (kibibytes.empty()) return kUnknown;
  return std::to_string(std::strtoull(kibibytes.c_str(), nullptr, 10) * 1024);
}

std::string NumaNodes(const std::string& root) {
  const std::vector<std::string> names = NamesIn(root + "/sys/devices/system/node");
  const auto nodes = std::ranges::count_if(
      names, [](const std::string& name) { return IsNumbered(name, "node"); });
  return nodes == 0 ? kUnknown : std::to_string(nodes);
}

std::string Smt(const std::string& root) {
  const std::string active = FirstLine(root + "/sys/devices/system/cpu/smt/active");
  return active == "1" ? "on" : active == "0" ? "off" : kUnknown;
}

// What it costs to enter the kernel and come back, in ns: the least of some batches' means, since
// whatever else happens only adds to it. getppid(2) does next to nothing there.
std::string SystemCallNs() {
  constexpr int kBatches = 8, kCalls = 64;
  auto least = std::chrono::nanoseconds::max();
  for (int batch = 0; batch < kBatches; ++batch) {
    const auto start = std::chrono::steady_clock::now();
    for (int call = 0; call < kCalls; ++call) syscall(SYS_getppid);
    least = std::min<std::chrono::nanoseconds>(least, std::chrono::steady_clock::now() - start);
  }
  return std::to_string(least.count() / kCalls);
}

// What container this is, and what shows it.
struct ContainerSign {
  std::string name = "none", evidence = "none";
};

ContainerSign FindContainer(const std::string& root) {
  std::error_code error;
  const auto exists = [&](const char* path) { return std::filesystem::exists(root + path, error); };
  if (std::getenv("KUBERNETES_SERVICE_HOST") != nullptr) {
    return {"kubernetes", "KUBERNETES_SERVICE_HOST in the environment"};
  }
  if (exists("/.dockerenv")) return {"docker", "/.dockerenv"};
  if (exists("/run/.containerenv")) return {"podman", "/run/.containerenv"};
  const std::string named = FirstLine(root + "/run/systemd/container");
  if (!named.empty()) return {named, "/run/systemd/container"};
  return {};
}

std::string LimitText(double limit, const char* format) {
  if (limit == std::numeric_limits<double>::infinity()) return "unlimited";
  char text[64];
  std::snprintf(text, sizeof(text), format, limit);
  return text;
}

std::string CpusText(std::optional<double> cpus) {
  return cpus ? LimitText(*cpus, "%.2f") : kUnknown;
}

std::string BytesText(std::optional<uint64_t> bytes) {
  if (!bytes) return kUnknown;
  return *bytes == kUnlimited ? "unlimited" : std::to_string(*bytes);
}

std::string RlimitText(rlim_t limit) {
  return limit == RLIM_INFINITY ? "unlimited" : std::to_string(limit);
}

void AppendRlimit(Items& items, const std::string& name, int resource) {
  rlimit limit{};
  const bool known = getrlimit(resource, &limit) == 0;
  items.emplace_back(name + "_soft", known ? RlimitText(limit.rlim_cur) : kUnknown);
  items.emplace_back(name + "_hard", known ? RlimitText(limit.rlim_max) : kUnknown);
}

Items Machine(const std::string& root, const utsname& system) {
  return {
      {"cpu", CpuModel(root)},
      {"architecture", system.machine},
      {"cpus_online", std::to_string(sysconf(_SC_NPROCESSORS_ONLN))},
      {"cpus_allowed", CpusAllowed()},
      {"smt", Smt(root)},
      {"caches", Caches(root)},
      {"numa_nodes", NumaNodes(root)},
      {"memory_bytes", MemoryBytes(root)},
      {"virtualisation", Virtualisation(root)},
      {"product", Product(root)},
      {"governor", Governors(root)},
      {"clock_source",
       LineOrUnknown(root + "/sys/devices/system/clocksource/clocksource0/current_clocksource")},
      {"mitigations", Mitigations(root)},
      {"system_call_ns", SystemCallNs()},
  };
}

Items System(const std::string& root, const utsname& system) {
  const ContainerSign container = FindContainer(root);
  return {
      {"os", OrUnknown(FieldOf(root + "/etc/os-release", "PRETTY_NAME", '='))},
      {"kernel_release", system.release},
      {"kernel_version", system.version},
      {"container", container.name},
      {"container_evidence", container.evidence},
  };
}

Items Limits(const std::string& root) {
  Items items;
  AppendRlimit(items, "nofile", RLIMIT_NOFILE);
  AppendRlimit(items, "memlock", RLIMIT_MEMLOCK);
  items.emplace_back("cgroup_cpus", CpusText(CgroupCpus(root)));
  items.emplace_back("cgroup_memory_bytes", BytesText(CgroupMemory(root).max));
  return items;
}

Items Sysctls(const std::string& root) {
  static constexpr const char* kNames[] = {
      "fs.file-max",
      "fs.nr_open",
      "kernel.io_uring_disabled",
      "net.core.busy_poll",
      "net.core.busy_read",
      "net.core.default_qdisc",
      "net.core.netdev_max_backlog",
      "net.core.rmem_max",
      "net.core.somaxconn",
      "net.core.wmem_max",
      "net.ipv4.ip_local_port_range",
      "net.ipv4.tcp_abort_on_overflow",
      "net.ipv4.tcp_congestion_control",
      "net.ipv4.tcp_max_syn_backlog",
      "net.ipv4.tcp_mem",
      "net.ipv4.tcp_rmem",
      "net.ipv4.tcp_syncookies",
      "net.ipv4.tcp_tw_reuse",
      "net.ipv4.tcp_wmem",
      "vm.max_map_count",
      "vm.overcommit_memory",
  };
  Items items;
  for (const char* name : kNames) items.emplace_back(name, LineOrUnknown(SysctlPath(root, name)));
  return items;
}

std::string LibraryVersion() {
  char version[64] = {};
  return confstr(_CS_GNU_LIBC_VERSION, version, sizeof(version)) == 0 ? kUnknown : version;
}

Items Build() {
#if defined(__clang__)
  const std::string compiler = __VERSION__;
#else
  const std::string compiler = "g++ " __VERSION__;
#endif
#if defined(NDEBUG)
  const char* type = "release";
#elif defined(__OPTIMIZE__)
  const char* type = "optimised, with assertions";
#else
  const char* type = "debug";
#endif
  return {{"compiler", compiler}, {"type", type}, {"libc", LibraryVersion()}};
}

// FNV-1a, 64 bits (draft-eastlake-fnv).
uint64_t Hash(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3;
  return hash;
}

std::string MachineId(const std::string& root, const utsname& system) {
  std::string id = FirstLine(root + "/etc/machine-id");
  if (id.empty()) id = system.nodename;
  char text[17];
  std::snprintf(
      text, sizeof(text), "%016llx",
      static_cast<unsigned long long>(Hash(id + "\n" + CpuModel(root) + "\n" + system.release)));
  return text;
}

}  // namespace

std::string Environment::Get(const std::string& group, const std::string& item) const {
  for (const EnvironmentGroup& candidate : groups) {
    if (candidate.name != group) continue;
    for (const auto& [name, value] : candidate.items) {
      if (name == item) return value;
    }
  }
  return kUnknown;
}

Environment CollectEnvironment(const std::string& root) {
  utsname system{};
  uname(&system);
  return {MachineId(root, system),
          {{"machine", Machine(root, system)},
           {"system", System(root, system)},
           {"limits", Limits(root)},
           {"sysctls", Sysctls(root)},
           {"build", Build()}}};
}

}  // namespace stats
