#include "server/socket_filter.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <limits>
#include <optional>
#include <span>

#include "absl/strings/str_cat.h"
#include "io/errors.h"

namespace server {
namespace {

constexpr uint32_t kPass = 0xffffffff;  // bytes of the packet to keep: all
constexpr uint32_t kDrop = 0;
constexpr size_t kShortJumpMax = 255;

// Where the network header holds what we read; negative offsets count from it (filter.rst).
constexpr int kVersion = SKF_NET_OFF;
constexpr int kV4Source = SKF_NET_OFF + 12;
constexpr int kV6Source = SKF_NET_OFF + 8;
constexpr uint32_t kV6VersionByte = 0x60;  // version 6 in the upper half; IPv4 has 0x4?

// A program is built from its end to its start. All jumps lead forward, so whatever an instruction
// jumps to is there already, its distance is known, and a jump that is too long for 8 bits gets a
// BPF_JA beside it.
class BackwardProgram {
 public:
  // An instruction, counted from the program's end.
  using Place = size_t;

  // Where `verdict` is returned, near enough for a short jump from the next instruction. A return
  // is as long as a jump to one, so there are as many as are needed.
  Place Return(bool verdict) {
    auto& last = returns_[verdict ? 1 : 0];
    if (!last || !Near(*last)) last = Push(BPF_RET | BPF_K, verdict ? kPass : kDrop);
    return *last;
  }

  // Loads `size` (BPF_W, BPF_B) at `offset`, then goes on to `next`.
  Place Load(uint16_t size, int offset, Place next) {
    GoTo(next);
    return Push(BPF_LD | BPF_ABS | size, static_cast<uint32_t>(offset));
  }

  // Goes to `yes` or `no`, by comparing what was loaded with `value` (BPF_JEQ, BPF_JGE).
  Place JumpIf(uint16_t comparison, uint32_t value, Place yes, Place no) {
    if (!Near(yes)) yes = Push(BPF_JMP | BPF_JA, Distance(yes));
    if (!Near(no)) no = Push(BPF_JMP | BPF_JA, Distance(no));
    const uint32_t jt = Distance(yes), jf = Distance(no);
    return Push(BPF_JMP | BPF_K | comparison, value, static_cast<uint8_t>(jt),
                static_cast<uint8_t>(jf));
  }

  size_t size() const { return code_.size(); }
  std::vector<sock_filter> Take() && {
    std::reverse(code_.begin(), code_.end());
    return std::move(code_);
  }

 private:
  Place Push(uint16_t code, uint32_t k, uint8_t jt = 0, uint8_t jf = 0) {
    code_.push_back({code, jt, jf, k});
    return code_.size() - 1;
  }
  // Instructions between the next one and `place`.
  uint32_t Distance(Place place) const { return static_cast<uint32_t>(code_.size() - place - 1); }
  // Whether a short jump reaches `place`, even if a BPF_JA and a return come in between.
  bool Near(Place place) const { return Distance(place) + 2 <= kShortJumpMax; }
  // The next instruction goes on to `place`.
  void GoTo(Place place) {
    if (Distance(place) != 0) Push(BPF_JMP | BPF_JA, Distance(place));
  }

  std::vector<sock_filter> code_;
  std::optional<Place> returns_[2];
};

// Addresses at which the verdict changes, sorted: from one to the next it is the same.
using Changes = std::span<const absl::uint128>;

uint32_t Word(absl::uint128 address, int word) {
  return static_cast<uint32_t>(address >> (32 * (3 - word)));
}

// Whether all words after `word` are 0.
bool EndsWith(absl::uint128 address, int word) {
  return (address & ((absl::uint128(1) << (32 * (3 - word))) - 1)) == 0;
}

// Searches an address, of 32 bits (the last word) or 128 (four words), among the changes: word by
// word, in each by a balanced tree of comparisons. Where a word alone doesn't decide, the next one
// is searched among the changes that share it.
class Search {
 public:
  using Place = BackwardProgram::Place;

  // `offset`: of the address's word 0.
  Search(BackwardProgram& program, int offset, int first_word)
      : program_(program), offset_(offset), first_word_(first_word) {}

  // Code that starts with `first_word` in the accumulator. Below the first change, the verdict is
  // `verdict`.
  Place Loaded(Changes changes, bool verdict) {
    return Tree(PiecesOf(changes, verdict, first_word_), first_word_);
  }
  // Code that loads what it needs.
  Place Whole(Changes changes, bool verdict) {
    const std::vector<Piece> pieces = PiecesOf(changes, verdict, first_word_);
    if (pieces.size() == 1) return Tree(pieces, first_word_);
    return program_.Load(BPF_W, offset_ + 4 * first_word_, Tree(pieces, first_word_));
  }

 private:
  // What happens from one value of a word to the next piece's.
  struct Piece {
    uint32_t start;
    bool verdict;
    Changes deeper;  // not empty: the next word decides; below the first of these it is `verdict`

    bool Settles() const { return deeper.empty(); }
    bool Same(const Piece& other) const {
      return Settles() && other.Settles() && verdict == other.verdict;
    }
  };
  using Pieces = std::span<const Piece>;

  static void Add(std::vector<Piece>& pieces, const Piece& piece) {
    if (pieces.back().start == piece.start) pieces.pop_back();
    if (pieces.empty() || !pieces.back().Same(piece)) pieces.push_back(piece);
  }

  static std::vector<Piece> PiecesOf(Changes changes, bool verdict, int word) {
    std::vector<Piece> pieces = {{0, verdict, {}}};
    for (size_t i = 0; i < changes.size();) {
      const uint32_t value = Word(changes[i], word);
      size_t end = i + 1;
      while (end < changes.size() && Word(changes[end], word) == value) ++end;
      const bool after = verdict != ((end - i) % 2 != 0);
      if (end - i == 1 && EndsWith(changes[i], word)) {
        Add(pieces, {value, after, {}});
      } else {
        Add(pieces, {value, verdict, changes.subspan(i, end - i)});
        if (value != std::numeric_limits<uint32_t>::max()) Add(pieces, {value + 1, after, {}});
      }
      verdict = after;
      i = end;
    }
    return pieces;
  }

  Place Leaf(const Piece& piece, int word) {
    if (piece.Settles()) return program_.Return(piece.verdict);
    return Next(piece.deeper, piece.verdict, word + 1, piece.start);
  }

  // The search of `word`, where the word before is known to be `before`.
  Place Next(Changes changes, bool verdict, int word, uint32_t before) {
    const std::vector<Piece> pieces = PiecesOf(changes, verdict, word);
    // One range of whole bytes, as of a /40, /48 or /56: a load that starts that many bytes earlier
    // holds just what is known of the address, and one comparison decides.
    if (pieces.size() == 3 && pieces[0].Same(pieces[2])) {
      for (const int bits : {8, 16, 24}) {
        const uint32_t size = uint32_t{1} << bits;
        if (pieces[2].start - pieces[1].start != size || pieces[1].start % size != 0) continue;
        const uint32_t value = before << (32 - bits) | pieces[1].start >> bits;
        const Place in = program_.Return(pieces[1].verdict);
        const Place out = program_.Return(pieces[0].verdict);
        return program_.Load(BPF_W, offset_ + 4 * word - bits / 8,
                             program_.JumpIf(BPF_JEQ, value, in, out));
      }
    }
    return program_.Load(BPF_W, offset_ + 4 * word, Tree(pieces, word));
  }

  // Whether piece i is of one value, between two of the same verdict.
  static bool IsPoint(Pieces pieces, size_t i) {
    return i > 0 && i + 1 < pieces.size() && pieces[i + 1].start - pieces[i].start == 1 &&
           pieces[i - 1].Same(pieces[i + 1]);
  }

  Place Tree(Pieces pieces, int word) {
    if (pieces.size() == 1) return Leaf(pieces[0], word);
    // A single value amid others costs one comparison where it is a leaf, and two elsewhere; an odd
    // number of them on both sides makes most of them leaves.
    const size_t points = (pieces.size() - 1) / 2;
    const size_t before = points / 2 % 2 != 0 || points < 3 ? points / 2 : points / 2 - 1;
    const size_t point = 2 * before + 1;
    if (pieces.size() % 2 != 0 && IsPoint(pieces, point)) {
      const Piece& it = pieces[point];
      if (pieces.size() == 3) {
        const Place in = Leaf(it, word);
        return program_.JumpIf(BPF_JEQ, it.start, in, program_.Return(pieces[0].verdict));
      }
      const Place above = Tree(pieces.subspan(point + 1), word);
      const Place below = Tree(pieces.first(point), word);
      const Place other = program_.JumpIf(BPF_JGE, it.start, above, below);
      const Place in = Leaf(it, word);
      return program_.JumpIf(BPF_JEQ, it.start, in, other);
    }
    const size_t half = pieces.size() / 2;
    const Place above = Tree(pieces.subspan(half), word);
    const Place below = Tree(pieces.first(half), word);
    return program_.JumpIf(BPF_JGE, pieces[half].start, above, below);
  }

  BackwardProgram& program_;
  const int offset_, first_word_;
};

// Where the verdict changes, when all but `denied` (sorted, disjoint) pass.
struct ChangesOf {
  bool first_verdict = true;  // at address 0
  std::vector<absl::uint128> at;

  ChangesOf(const std::vector<AddressRange>& denied, int family) {
    for (const AddressRange& range : denied) {
      if (range.first == 0) {
        first_verdict = false;
      } else {
        at.push_back(range.first);
      }
      if (range.last != MaxAddress(family)) at.push_back(range.last + 1);
    }
  }
};

// The program that denies just these. Its length is not bounded.
std::vector<sock_filter> Assemble(const std::vector<AddressRange>& denied_v4,
                                  const std::vector<AddressRange>& denied_v6) {
  if (denied_v4.empty() && denied_v6.empty()) return {};
  const ChangesOf v4(denied_v4, AF_INET), v6(denied_v6, AF_INET6);
  BackwardProgram program;
  // Word 3 of an address of which only the last 32 bits exist.
  const auto v4_loaded =
      Search(program, kV4Source - 12, /*first_word=*/3).Loaded(v4.at, v4.first_verdict);
  const auto v4_start = program.Load(BPF_W, kV4Source, v4_loaded);
  const auto v6_start = Search(program, kV6Source, /*first_word=*/0).Whole(v6.at, v6.first_verdict);
  // ::ffff:0:0/96 is IPv4. Such a source doesn't come over a wire (Linux drops it), but what the
  // access list says of it, the filter says as well.
  auto mapped = program.Load(BPF_W, kV6Source + 12, v4_loaded);
  mapped = program.Load(BPF_W, kV6Source + 8, program.JumpIf(BPF_JEQ, 0xffff, mapped, v6_start));
  mapped = program.Load(BPF_W, kV6Source + 4, program.JumpIf(BPF_JEQ, 0, mapped, v6_start));
  mapped = program.Load(BPF_W, kV6Source, program.JumpIf(BPF_JEQ, 0, mapped, v6_start));
  program.Load(BPF_B, kVersion, program.JumpIf(BPF_JGE, kV6VersionByte, mapped, v4_start));
  return std::move(program).Take();
}

// A denied range, and how much of its family's address space it is, in 2^-128.
struct Denied {
  AddressRange range;
  int family;
  absl::uint128 share;

  Denied(const AddressRange& of, int its_family)
      : range(of), family(its_family), share(of.last - of.first) {
    if (family == AF_INET) share = (share << 96) | (absl::Uint128Max() >> 32);
  }
};

// The program that denies the `n` first of `denied`.
std::vector<sock_filter> AssembleFirst(const std::vector<Denied>& denied, size_t n) {
  std::vector<AddressRange> v4, v6;
  for (size_t i = 0; i < n; ++i) {
    (denied[i].family == AF_INET ? v4 : v6).push_back(denied[i].range);
  }
  const auto by_first = [](const AddressRange& a, const AddressRange& b) {
    return a.first < b.first;
  };
  std::sort(v4.begin(), v4.end(), by_first);
  std::sort(v6.begin(), v6.end(), by_first);
  return Assemble(v4, v6);
}

bool IsLocked(int fd) {
  int locked = 0;
  socklen_t size = sizeof(locked);
  return getsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &locked, &size) == 0 && locked != 0;
}

}  // namespace

SocketFilter SocketFilter::Compile(const AccessList& list, size_t instructions_max) {
  std::vector<Denied> denied;
  for (const AddressRange& range : Complement(list.v4(), AF_INET)) {
    denied.emplace_back(range, AF_INET);
  }
  for (const AddressRange& range : Complement(list.v6(), AF_INET6)) {
    denied.emplace_back(range, AF_INET6);
  }
  SocketFilter filter{AssembleFirst(denied, denied.size()), /*complete=*/true};
  if (filter.program.size() <= instructions_max) return filter;

  // Leaving out a denied range lets only more pass. The largest ones stay: as many as there is room
  // for, found by halving (none always fits).
  filter = {{}, /*complete=*/false};
  std::stable_sort(denied.begin(), denied.end(),
                   [](const Denied& a, const Denied& b) { return a.share > b.share; });
  size_t fits = 0, too_many = denied.size();
  while (too_many - fits > 1) {
    const size_t n = fits + (too_many - fits) / 2;
    auto program = AssembleFirst(denied, n);
    if (program.size() <= instructions_max) {
      filter.program = std::move(program);
      fits = n;
    } else {
      too_many = n;
    }
  }
  return filter;
}

absl::Status SocketFilter::Attach(int fd) const {
  if (program.empty()) return absl::OkStatus();
  const sock_fprog argument = {static_cast<unsigned short>(program.size()),
                               const_cast<sock_filter*>(program.data())};  // the kernel only reads
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &argument, sizeof(argument)) == 0) {
    return absl::OkStatus();
  }
  const int error = errno;
  const std::string what = absl::StrCat("can't attach the access list's filter of ", program.size(),
                                        " instructions to a socket: ", io::ErrnoName(error));
  switch (error) {
    case ENOMEM:
      return absl::ResourceExhaustedError(
          absl::StrCat(what,
                       "; raise the bound of a socket's options (sysctl "
                       "net.core.optmem_max=131072), or shorten the list"));
    case EPERM:
      return absl::PermissionDeniedError(absl::StrCat(
          what, IsLocked(fd) ? "; the socket's filter is locked (SO_LOCK_FILTER)"
                             : "; on this kernel a TCP socket's filter takes CAP_NET_ADMIN: run as "
                               "root, or give the program the capability (setcap "
                               "cap_net_admin=+ep), or leave the list to the server"));
    case EINVAL:
      return absl::InvalidArgumentError(
          absl::StrCat(what, "; this kernel rejects the program, so leave the list to the server"));
    case EBADF:
    case ENOTSOCK:
      return absl::InvalidArgumentError(what);
    default:
      return absl::InternalError(what);
  }
}

SocketFilter SocketFilter::Of(int fd) {
  SocketFilter filter;
  socklen_t count = 0;  // of instructions, not bytes
  if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, nullptr, &count) != 0 || count == 0) return filter;
  filter.program.resize(count);
  if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, filter.program.data(), &count) != 0) {
    filter.program.clear();
  }
  return filter;
}

void SocketFilter::Detach(int fd) noexcept {
  const int ignored = 0;  // the kernel wants an int, and doesn't look at it
  setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &ignored, sizeof(ignored));
}

}  // namespace server
