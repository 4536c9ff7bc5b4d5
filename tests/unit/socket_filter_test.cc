#include "server/socket_filter.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <string>
#include <vector>

#include "tests/unit/random_access_lists.h"

// The programs, run by an interpreter of classic BPF. What the kernel makes of them is tested in
// socket_filter_kernel_test.cc.
namespace server {
namespace {

using access_lists::Address, access_lists::Block, access_lists::Mapped, access_lists::NaiveAllows,
    access_lists::Random, access_lists::ToSockaddr, access_lists::ToText, access_lists::Values;

using Packet = std::vector<uint8_t>;

// The IP header of a packet from `source`. What the filter must not read is not 0.
Packet HeaderFrom(const Address& source) {
  const bool v4 = source.family == AF_INET;
  Packet packet(v4 ? 20 : 40, 0xa5);
  packet[0] = v4 ? 0x4f : 0x6a;  // options, or a traffic class
  std::copy_n(source.bytes, v4 ? 4 : 16, packet.begin() + (v4 ? 12 : 8));
  return packet;
}

// What the kernel's checker of classic BPF asks for (bpf_check_classic, net/core/filter.c).
std::string Invalid(const std::vector<sock_filter>& program) {
  if (program.empty() || program.size() > BPF_MAXINSNS) return "bad length";
  for (size_t i = 0; i < program.size(); ++i) {
    const sock_filter& it = program[i];
    const size_t left = program.size() - i - 1;
    if (it.code == (BPF_JMP | BPF_JA)) {
      if (it.k >= left) return "a long jump leaves the program";
    } else if (BPF_CLASS(it.code) == BPF_JMP) {
      if (it.jt >= left || it.jf >= left) return "a short jump leaves the program";
    }
  }
  return program.back().code == (BPF_RET | BPF_K) ? "" : "doesn't end with a return";
}

struct Verdict {
  bool pass;
  size_t steps;
};

// Runs `program`; one that does what it should not fails the test.
Verdict Interpret(const std::vector<sock_filter>& program, const Packet& packet) {
  if (program.empty()) return {true, 0};
  uint32_t a = 0;
  size_t steps = 1;
  for (size_t i = 0; i < program.size(); ++i, ++steps) {
    const sock_filter& it = program[i];
    const auto jump_if = [&](bool holds) { i += holds ? it.jt : it.jf; };
    switch (it.code) {
      case BPF_LD | BPF_ABS | BPF_B:
      case BPF_LD | BPF_ABS | BPF_W: {  // NOLINT(misc-redundant-expression): BPF_LD is 0 too
        const size_t size = BPF_SIZE(it.code) == BPF_B ? 1 : 4;
        const int64_t at = static_cast<int32_t>(it.k) - int64_t{SKF_NET_OFF};
        if (at < 0 || at + size > packet.size()) {
          ADD_FAILURE() << "loads outside of the IP header, at " << at;
          return {false, steps};
        }
        a = 0;
        for (size_t b = 0; b < size; ++b) a = a << 8 | packet[at + b];
        break;
      }
      case BPF_JMP | BPF_JA:
        i += it.k;
        break;
      case BPF_JMP | BPF_K | BPF_JEQ:
        jump_if(a == it.k);
        break;
      case BPF_JMP | BPF_K | BPF_JGE:
        jump_if(a >= it.k);
        break;
      case BPF_RET | BPF_K:
        if (it.k != 0 && it.k != 0xffffffff) ADD_FAILURE() << "cuts packets to " << it.k;
        return {it.k != 0, steps};
      default:
        ADD_FAILURE() << "unknown instruction " << it.code;
        return {false, steps};
    }
  }
  ADD_FAILURE() << "runs off its end";
  return {false, steps};
}

bool Passes(const SocketFilter& filter, const Address& source) {
  return Interpret(filter.program, HeaderFrom(source)).pass;
}

bool Allows(const AccessList& list, const Address& address) {
  const sockaddr_storage storage = ToSockaddr(address);
  return list.Allows(reinterpret_cast<const sockaddr*>(&storage));
}

AccessList ListOf(const std::vector<Block>& allow, const std::vector<Block>& deny) {
  auto list = AccessList::Parse(Values(allow), Values(deny));
  EXPECT_TRUE(list.ok()) << list.status();
  return list.ok() ? *std::move(list) : AccessList();
}

// How often the filter, and how often the list, lets one of `n` addresses near `blocks` pass; each
// is also put as an IPv4-mapped one.
struct Tally {
  size_t asked = 0, filter_passed = 0, list_allowed = 0, wrongly_denied = 0;
};

Tally Compare(const SocketFilter& filter, const AccessList& list, Random& random,
              const std::vector<Block>& blocks, size_t n) {
  Tally tally;
  const auto ask = [&](const Address& source) {
    const bool passes = Passes(filter, source), allows = Allows(list, source);
    ++tally.asked;
    tally.filter_passed += passes ? 1 : 0;
    tally.list_allowed += allows ? 1 : 0;
    tally.wrongly_denied += allows && !passes ? 1 : 0;
  };
  for (size_t i = 0; i < n; ++i) {
    const Address source = random.NearOneOf(blocks, i % 2 == 0 ? AF_INET : AF_INET6);
    ask(source);
    if (source.family == AF_INET) ask(Mapped(source));
  }
  return tally;
}

void ExpectAgreement(const Tally& tally) {
  EXPECT_EQ(tally.wrongly_denied, 0u);
  EXPECT_EQ(tally.filter_passed, tally.list_allowed) << "of " << tally.asked;
}

TEST(SocketFilter, IsEmptyWhereEverybodyPasses) {
  const SocketFilter filter = SocketFilter::Compile(AccessList());
  EXPECT_TRUE(filter.program.empty());
  EXPECT_TRUE(filter.complete);
  EXPECT_TRUE(filter.Attach(-1).ok()) << "nothing to attach";
}

TEST(SocketFilter, OfOneAddressIsShort) {
  const auto list = AccessList::Parse({}, {"127.0.0.2"});
  ASSERT_TRUE(list.ok());
  const SocketFilter filter = SocketFilter::Compile(*list);
  EXPECT_EQ(Invalid(filter.program), "");
  EXPECT_LE(filter.program.size(), 20u);
  // Version, address, comparison, return.
  EXPECT_EQ(Interpret(filter.program, HeaderFrom({AF_INET, {127, 0, 0, 2}})).steps, 5u);
  EXPECT_FALSE(Interpret(filter.program, HeaderFrom({AF_INET, {127, 0, 0, 2}})).pass);
  EXPECT_TRUE(Interpret(filter.program, HeaderFrom({AF_INET, {127, 0, 0, 3}})).pass);
}

// A range of whole bytes is one comparison only where it begins at one.
TEST(SocketFilter, TellsARangeOfWholeBytesFromOneThatIsAsLong) {
  struct Sample {
    const char *blocks, *first, *last;
  };
  for (const Sample& sample :
       {Sample{"2001:db8:0:80::/57,2001:db8:0:100::/57",
               "2001:db8:0:80::", "2001:db8:0:17f:ffff:ffff:ffff:ffff"},
        Sample{"2001:db8:0:100::/56", "2001:db8:0:100::", "2001:db8:0:1ff:ffff:ffff:ffff:ffff"},
        Sample{"2001:db8:8000::/33,2001:db9::/33",
               "2001:db8:8000::", "2001:db9:7fff:ffff:ffff:ffff:ffff:ffff"}}) {
    for (const bool deny : {false, true}) {
      SCOPED_TRACE(testing::Message() << sample.blocks << (deny ? " denied" : " allowed"));
      const std::vector<std::string> named = {sample.blocks}, none;
      const auto list = AccessList::Parse(deny ? none : named, deny ? named : none);
      ASSERT_TRUE(list.ok()) << list.status();
      const SocketFilter filter = SocketFilter::Compile(*list);
      Address first = {AF_INET6, {}}, last = {AF_INET6, {}};
      ASSERT_EQ(inet_pton(AF_INET6, sample.first, first.bytes), 1);
      ASSERT_EQ(inet_pton(AF_INET6, sample.last, last.bytes), 1);
      EXPECT_EQ(Passes(filter, first), !deny);
      EXPECT_EQ(Passes(filter, last), !deny);
      EXPECT_EQ(Passes(filter, Random::Step(first, -1)), deny);
      EXPECT_EQ(Passes(filter, Random::Step(last, 1)), deny);
    }
  }
}

TEST(SocketFilter, JudgesAsTheAccessListDoes) {
  // Thousands of lists: rapidcheck picks where each run of them begins.
  EXPECT_TRUE(rc::check("the program is the list", [] {
    Random random(*rc::gen::arbitrary<uint64_t>());
    for (int lists = 0; lists < 30; ++lists) {
      const std::vector<Block> allow = random.Blocks(random.Below(2) * random.Below(40));
      const std::vector<Block> deny = random.Blocks(random.Below(40), allow);
      const AccessList list = ListOf(allow, deny);
      const SocketFilter filter = SocketFilter::Compile(list);
      RC_ASSERT(filter.complete);
      if (!filter.program.empty()) RC_ASSERT(Invalid(filter.program) == "");
      for (int i = 0; i < 50; ++i) {
        const Address source =
            random.NearOneOf(i % 2 == 0 ? allow : deny, i % 3 == 0 ? AF_INET : AF_INET6);
        const bool passes = Passes(filter, source);
        if (passes == Allows(list, source) && passes == NaiveAllows(allow, deny, source) &&
            (source.family != AF_INET || Passes(filter, Mapped(source)) == passes)) {
          continue;
        }
        RC_FAIL("allow " + ToText(allow) + " deny " + ToText(deny) + " source " + ToText(source));
      }
    }
  }));
}

// Hundreds of blocks: jumps longer than 8 bits.
TEST(SocketFilter, JudgesAsALongAccessListDoes) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    const std::vector<Block> allow = random.Blocks(seed % 2 * (200 + random.Below(400)));
    const std::vector<Block> deny = random.Blocks(200 + random.Below(200), allow);
    const AccessList list = ListOf(allow, deny);
    const SocketFilter filter = SocketFilter::Compile(list);
    EXPECT_TRUE(filter.complete);
    EXPECT_EQ(Invalid(filter.program), "");
    ExpectAgreement(Compare(filter, list, random, allow, 500));
    ExpectAgreement(Compare(filter, list, random, deny, 500));
  }
}

// `n` blocks of one length, anywhere.
std::vector<Block> Anywhere(Random& random, size_t n, int family, int prefix) {
  std::vector<Block> blocks(n);
  for (Block& block : blocks) {
    do {
      block.address = random.AnyAddress(family);
    } while (access_lists::Unmapped(block.address).family != family);
    block.prefix = prefix;
    for (int i = prefix; i < access_lists::BitsOf(family); ++i) {
      access_lists::SetBit(block.address, i, false);
    }
  }
  return blocks;
}

struct Long {
  int family, prefix;
  size_t blocks;
};

TEST(SocketFilter, AThousandBlocksFit) {
  for (const Long& how :
       {Long{AF_INET, 24, 1900}, Long{AF_INET, 32, 2500}, Long{AF_INET, 12, 1000},
        Long{AF_INET6, 32, 1900}, Long{AF_INET6, 29, 1900}, Long{AF_INET6, 48, 1000},
        Long{AF_INET6, 40, 1000}, Long{AF_INET6, 56, 1000}}) {
    for (const bool deny : {false, true}) {
      SCOPED_TRACE(testing::Message() << how.blocks << " blocks of /" << how.prefix << " "
                                      << (deny ? "denied" : "allowed"));
      Random random(how.prefix);
      const std::vector<Block> blocks = Anywhere(random, how.blocks, how.family, how.prefix);
      const AccessList list = deny ? ListOf({}, blocks) : ListOf(blocks, {});
      const SocketFilter filter = SocketFilter::Compile(list);
      EXPECT_TRUE(filter.complete);
      EXPECT_EQ(Invalid(filter.program), "");
      ExpectAgreement(Compare(filter, list, random, blocks, 2000));
      // A search, not a walk: about two comparisons for each halving, some words, some long jumps.
      for (const Block& block : blocks) {
        EXPECT_LE(Interpret(filter.program, HeaderFrom(block.address)).steps, 48u);
      }
    }
  }
}

TEST(SocketFilter, OfHostsOfOneNetworkFit) {
  Random random(3);
  std::vector<Block> blocks = Anywhere(random, 1000, AF_INET6, 128);
  for (Block& block : blocks) std::copy_n("\x20\x01\x0d\xb8\0\0\0\x01", 8, block.address.bytes);
  const AccessList list = ListOf(blocks, {});
  const SocketFilter filter = SocketFilter::Compile(list);
  EXPECT_TRUE(filter.complete);
  ExpectAgreement(Compare(filter, list, random, blocks, 2000));
}

TEST(SocketFilter, ThatIsTooLongNeverDeniesWhatIsAllowed) {
  for (const bool deny : {false, true}) {
    SCOPED_TRACE(deny ? "denied" : "allowed");
    Random random(11);
    const std::vector<Block> blocks = random.Blocks(12000);
    const AccessList list = deny ? ListOf({}, blocks) : ListOf(blocks, {});
    const SocketFilter filter = SocketFilter::Compile(list);
    EXPECT_FALSE(filter.complete);
    EXPECT_EQ(Invalid(filter.program), "");
    EXPECT_GT(filter.program.size(), size_t{BPF_MAXINSNS} * 9 / 10) << "there was room for more";
    const Tally tally = Compare(filter, list, random, blocks, 4000);
    EXPECT_EQ(tally.wrongly_denied, 0u);
    EXPECT_LT(tally.filter_passed, tally.asked) << "denies nobody";
    EXPECT_LT(tally.list_allowed, tally.filter_passed) << "this list would have fitted";
  }
}

TEST(SocketFilter, KeepsToTheBound) {
  Random random(5);
  const std::vector<Block> blocks = random.Blocks(100);
  const AccessList list = ListOf(blocks, {});
  for (size_t bound = 16; bound <= 400; bound += 16) {
    SCOPED_TRACE(bound);
    const SocketFilter filter = SocketFilter::Compile(list, bound);
    EXPECT_LE(filter.program.size(), bound);
    EXPECT_EQ(Compare(filter, list, random, blocks, 100).wrongly_denied, 0u);
    if (filter.complete) ExpectAgreement(Compare(filter, list, random, blocks, 100));
  }
}

// A long allow list that doesn't fit still keeps most of the world out.
TEST(SocketFilter, ThatIsTooLongKeepsTheLargestDeniedRanges) {
  Random random(13);
  std::vector<Block> allow = Anywhere(random, 6000, AF_INET, 32);
  for (Block& block : allow) block.address.bytes[0] = 10;
  const AccessList list = ListOf(allow, {});
  const SocketFilter filter = SocketFilter::Compile(list);
  EXPECT_FALSE(filter.complete);
  for (const Block& block : allow) ASSERT_TRUE(Passes(filter, block.address));
  for (int i = 0; i < 1000; ++i) {
    Address source = random.AnyAddress(i % 2 == 0 ? AF_INET : AF_INET6);
    if (access_lists::Unmapped(source).family == AF_INET6) {
      EXPECT_FALSE(Passes(filter, source)) << ToText(source);
    } else if (source.family == AF_INET && source.bytes[0] != 10) {
      EXPECT_FALSE(Passes(filter, source)) << ToText(source);
    }
  }
}

}  // namespace
}  // namespace server
