#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "stats/cgroups.h"

// What this machine allows a process that holds many connections: the kernel's limits, the user's,
// the control groups', and how much of them is in use. Sources: proc(5), getrlimit(2), cgroups(7),
// capabilities(7), ip-sysctl and fs of the kernel's documentation.
namespace stats {

// What the kernel says; kUnlimited where it says so. Empty: unknown, since it couldn't be read.
using Known = std::optional<uint64_t>;

// A resource limit: the soft one holds, and may be raised up to the hard one by anybody.
struct ResourceLimit {
  Known soft, hard;
};

struct MachineLimits {
  ResourceLimit nofile;       // RLIMIT_NOFILE: descriptors of a process
  ResourceLimit memlock;      // RLIMIT_MEMLOCK, bytes
  ResourceLimit nproc;        // RLIMIT_NPROC: processes and threads of this user
  std::optional<bool> root;   // this process has all that root has over limits: CAP_SYS_ADMIN
  std::optional<bool> raise;  // it may raise a hard limit: CAP_SYS_RESOURCE

  Known nr_open;               // fs.nr_open: what RLIMIT_NOFILE may be raised to
  Known file_max, files_open;  // fs.file-max, and how many files are open on the machine

  Known somaxconn;    // net.core.somaxconn: caps the backlog of listen(2)
  Known syn_backlog;  // net.ipv4.tcp_max_syn_backlog
  Known syncookies;   // net.ipv4.tcp_syncookies: 0 off, 1 when the backlog is full, 2 always
  Known port_first, port_last;  // net.ipv4.ip_local_port_range
  Known ports_reserved;         // of that range, by net.ipv4.ip_local_reserved_ports
  Known time_wait, time_wait_max, time_wait_reuse;  // connections; tcp_max_tw_buckets, tcp_tw_reuse
  Known orphans, orphans_max;                       // connections; tcp_max_orphans

  Known page_bytes;
  std::array<Known, 3> tcp_memory_pages;  // net.ipv4.tcp_mem: low, pressure, most
  Known tcp_memory_used_pages;
  std::array<Known, 3> tcp_receive_bytes, tcp_send_bytes;  // tcp_rmem, tcp_wmem: least, first, most

  bool conntrack = false;  // the connection tracker is in the kernel; it may track nothing here
  Known conntrack_count, conntrack_max;

  Known memory_bytes, memory_available_bytes;  // MemTotal, MemAvailable
  CgroupLimit cgroup_memory_bytes;
  CgroupLimit cgroup_pids;
  Known pid_max, threads_max;  // kernel.pid_max, kernel.threads-max

  Known io_uring_disabled;  // kernel.io_uring_disabled: 0 anybody, 1 a group or root, 2 nobody

  // Of this network namespace.
  std::optional<bool> loopback_up;
  Known loopback_mtu_bytes;
  std::optional<bool> own_namespace;  // another one than process 1's

  // The ports that connections to one address can come from; empty: unknown.
  Known Ports() const;
  // Bytes that can still be used: of the machine, or of our control group where that is less.
  Known MemoryLeft() const;
};

// Reads them of this process. It never fails: what can't be read is empty. `root` stands in for /;
// where it isn't empty, the loopback device, which is asked of the kernel, is unknown.
MachineLimits ReadMachineLimits(const std::string& root = "");

}  // namespace stats
