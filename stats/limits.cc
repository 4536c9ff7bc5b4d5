#include "stats/limits.h"

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <vector>

#include "stats/kernel_counters.h"
#include "stats/proc_file.h"
#include "stats/text_files.h"

namespace stats {
namespace {

// Words as a file has them: "4096 131072 33554432".
Known NumberAt(const std::string& line, size_t index) {
  const std::vector<std::string_view> words = Words(line);
  if (index >= words.size()) return std::nullopt;
  if (words[index] == "unlimited") return kUnlimited;
  return ParseNumber<uint64_t>(words[index]);
}

class Reader {
 public:
  explicit Reader(const std::string& root) : root_(root) {}

  std::string SysctlLine(const char* name) const { return FirstLine(SysctlPath(root_, name)); }
  Known Sysctl(const char* name, size_t index = 0) const {
    return NumberAt(SysctlLine(name), index);
  }
  std::array<Known, 3> Three(const char* name) const {
    return {Sysctl(name, 0), Sysctl(name, 1), Sysctl(name, 2)};
  }

  // "Max open files            1024                 524288               files"
  ResourceLimit Resource(const std::string& title) const {
    const auto text = ReadProcFile(root_ + "/proc/self/limits");
    if (!text.ok()) return {};
    for (const std::string_view line : Lines(*text)) {
      if (!line.starts_with(title)) continue;
      const std::string values(line.substr(title.size()));
      return {NumberAt(values, 0), NumberAt(values, 1)};
    }
    return {};
  }

  // A capability that counts for the whole machine: those of a user namespace don't.
  std::optional<bool> Capability(int number) const {
    const std::string users = FirstLine(root_ + "/proc/self/uid_map");
    const std::string text = FieldOf(root_ + "/proc/self/status", "CapEff", ':');
    const auto set = ParseNumber<uint64_t>(text, 16);
    if (!set || users.empty()) return std::nullopt;
    if (users != "0 0 4294967295") return false;  // user_namespaces(7): not the first one
    return (*set >> number & 1) != 0;
  }

  bool Exists(const char* name) const {
    std::error_code error;
    return std::filesystem::exists(SysctlPath(root_, name), error);
  }

  Known MemoryField(const char* name) const {
    const Known kibibytes = NumberAt(FieldOf(root_ + "/proc/meminfo", name, ':'), 0);
    return kibibytes ? Known(*kibibytes * 1024) : std::nullopt;
  }

  std::optional<bool> OwnNamespace() const {
    std::error_code ours_failed, first_failed;
    const auto ours = std::filesystem::read_symlink(root_ + "/proc/self/ns/net", ours_failed);
    const auto first = std::filesystem::read_symlink(root_ + "/proc/1/ns/net", first_failed);
    if (ours_failed || first_failed) return std::nullopt;
    return ours != first;
  }

 private:
  const std::string root_;
};

Known FromGauge(int64_t gauge) {
  return gauge < 0 ? std::nullopt : Known(static_cast<uint64_t>(gauge));
}

// How many of first..last are in "8080,9000-9010"; the kernel writes them in order, without
// overlap. Empty where a part is something else.
Known CountReserved(const std::string& list, uint64_t first, uint64_t last) {
  uint64_t count = 0;
  for (size_t at = 0; at < list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    const std::string part = list.substr(at, end - at);
    const size_t dash = std::min(part.find('-'), part.size());
    const auto from = ParseNumber<uint64_t>(part.substr(0, dash));
    const auto to = dash == part.size() ? from : ParseNumber<uint64_t>(part.substr(dash + 1));
    if (!from || !to) return std::nullopt;
    const uint64_t low = std::max(*from, first), high = std::min(*to, last);
    if (low <= high) count += high - low + 1;
    at = end + 1;
  }
  return count;
}

void ReadTcp(const Reader& reader, const std::string& root, MachineLimits* limits) {
  limits->somaxconn = reader.Sysctl("net.core.somaxconn");
  limits->syn_backlog = reader.Sysctl("net.ipv4.tcp_max_syn_backlog");
  limits->syncookies = reader.Sysctl("net.ipv4.tcp_syncookies");
  limits->port_first = reader.Sysctl("net.ipv4.ip_local_port_range", 0);
  limits->port_last = reader.Sysctl("net.ipv4.ip_local_port_range", 1);
  constexpr char kReserved[] = "net.ipv4.ip_local_reserved_ports";  // as a rule an empty line
  if (limits->port_first && limits->port_last && reader.Exists(kReserved)) {
    limits->ports_reserved =
        CountReserved(reader.SysctlLine(kReserved), *limits->port_first, *limits->port_last);
  }
  limits->time_wait_max = reader.Sysctl("net.ipv4.tcp_max_tw_buckets");
  limits->time_wait_reuse = reader.Sysctl("net.ipv4.tcp_tw_reuse");
  limits->orphans_max = reader.Sysctl("net.ipv4.tcp_max_orphans");
  limits->tcp_memory_pages = reader.Three("net.ipv4.tcp_mem");
  limits->tcp_receive_bytes = reader.Three("net.ipv4.tcp_rmem");
  limits->tcp_send_bytes = reader.Three("net.ipv4.tcp_wmem");
  const auto counters = KernelCounters::Read(root + "/proc/self/net");
  if (!counters.ok()) return;
  limits->time_wait = FromGauge(counters->gauges.tcp_time_wait);
  limits->orphans = FromGauge(counters->gauges.tcp_orphans);
  limits->tcp_memory_used_pages = FromGauge(counters->gauges.tcp_memory_pages);
}

// By ioctl: /sys/class/net is of the namespace that /sys was mounted in (netdevice(7)).
void AskLoopback(MachineLimits* limits) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  ifreq request = {};
  std::strcpy(request.ifr_name, "lo");
  if (ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
    limits->loopback_up = (request.ifr_flags & IFF_UP) != 0;
  }
  if (ioctl(fd, SIOCGIFMTU, &request) == 0) {
    limits->loopback_mtu_bytes = static_cast<uint64_t>(request.ifr_mtu);
  }
  close(fd);
}

}  // namespace

Known MachineLimits::Ports() const {
  if (!port_first || !port_last || !ports_reserved || *port_last < *port_first) return std::nullopt;
  return *port_last - *port_first + 1 - *ports_reserved;
}

Known MachineLimits::MemoryLeft() const {
  if (!memory_available_bytes) return std::nullopt;
  return std::min(*memory_available_bytes, cgroup_memory_bytes.left.value_or(kUnlimited));
}

MachineLimits ReadMachineLimits(const std::string& root) {
  constexpr int kCapSysAdmin = 21, kCapSysResource = 24;  // linux/capability.h
  const Reader reader(root);
  MachineLimits limits;
  limits.nofile = reader.Resource("Max open files");
  limits.memlock = reader.Resource("Max locked memory");
  limits.nproc = reader.Resource("Max processes");
  limits.root = reader.Capability(kCapSysAdmin);
  limits.raise = reader.Capability(kCapSysResource);
  limits.nr_open = reader.Sysctl("fs.nr_open");
  limits.file_max = reader.Sysctl("fs.file-max");
  limits.files_open = reader.Sysctl("fs.file-nr");
  ReadTcp(reader, root, &limits);
  limits.page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  limits.conntrack_max = reader.Sysctl("net.netfilter.nf_conntrack_max");
  limits.conntrack_count = reader.Sysctl("net.netfilter.nf_conntrack_count");
  limits.conntrack = limits.conntrack_max.has_value();
  limits.memory_bytes = reader.MemoryField("MemTotal");
  limits.memory_available_bytes = reader.MemoryField("MemAvailable");
  limits.cgroup_memory_bytes = CgroupMemory(root);
  limits.cgroup_pids = CgroupPids(root);
  limits.pid_max = reader.Sysctl("kernel.pid_max");
  limits.threads_max = reader.Sysctl("kernel.threads-max");
  limits.io_uring_disabled = reader.Sysctl("kernel.io_uring_disabled");
  limits.own_namespace = reader.OwnNamespace();
  if (root.empty()) AskLoopback(&limits);
  return limits;
}

}  // namespace stats
