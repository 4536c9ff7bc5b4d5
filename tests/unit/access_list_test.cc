#include "server/access_list.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <sys/un.h>

#include <string>
#include <vector>

#include "tests/unit/random_access_lists.h"

namespace server {
namespace {

using access_lists::Address, access_lists::Block, access_lists::NaiveAllows, access_lists::Random,
    access_lists::ToSockaddr, access_lists::ToText, access_lists::Values;

Address AddressOf(const std::string& text) {
  Address address;
  address.family = text.find(':') == std::string::npos ? AF_INET : AF_INET6;
  EXPECT_EQ(inet_pton(address.family, text.c_str(), address.bytes), 1) << text;
  return address;
}

bool Allows(const AccessList& list, const Address& address) {
  const sockaddr_storage storage = ToSockaddr(address);
  return list.Allows(reinterpret_cast<const sockaddr*>(&storage));
}

bool Allows(const AccessList& list, const std::string& address) {
  return Allows(list, AddressOf(address));
}

AccessList ListOf(const std::vector<std::string>& allow, const std::vector<std::string>& deny) {
  auto list = AccessList::Parse(allow, deny);
  EXPECT_TRUE(list.ok()) << list.status();
  return list.ok() ? *std::move(list) : AccessList();
}

TEST(AccessList, LetsEverybodyPassWhereNothingIsSaid) {
  const AccessList list;
  EXPECT_TRUE(list.allows_everybody());
  for (const char* address : {"0.0.0.0", "255.255.255.255", "::", "::1", "::ffff:1.2.3.4"}) {
    EXPECT_TRUE(Allows(list, address)) << address;
  }
}

TEST(AccessList, AllowedOnlyWhatIsNamed) {
  const AccessList list = ListOf({"10.0.0.0/8, 127.0.0.1", "2001:db8::/32"}, {});
  EXPECT_FALSE(list.allows_everybody());
  for (const char* address : {"10.0.0.0", "10.255.255.255", "127.0.0.1", "2001:db8::",
                              "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "::ffff:10.1.2.3"}) {
    EXPECT_TRUE(Allows(list, address)) << address;
  }
  for (const char* address :
       {"9.255.255.255", "11.0.0.0", "127.0.0.0", "127.0.0.2",
        "2001:db7:ffff::", "2001:db9::", "::1", "::ffff:127.0.0.2", "::10.0.0.1"}) {
    EXPECT_FALSE(Allows(list, address)) << address;
  }
}

TEST(AccessList, DenyWins) {
  const AccessList list = ListOf({"10.0.0.0/8"}, {"10.1.0.0/16", "10.2.0.1,10.0.0.0/32"});
  for (const char* address : {"10.0.0.1", "10.2.0.0", "10.2.0.2", "10.255.255.255"}) {
    EXPECT_TRUE(Allows(list, address)) << address;
  }
  for (const char* address : {"10.0.0.0", "10.1.0.0", "10.1.255.255", "10.2.0.1", "1.1.1.1"}) {
    EXPECT_FALSE(Allows(list, address)) << address;
  }
}

TEST(AccessList, DeniesOnlyWhatIsNamed) {
  const AccessList list = ListOf({}, {"10.0.0.0/8", "fe80::/10"});
  for (const char* address : {"9.9.9.9", "11.0.0.0", "::1", "fe7f:ffff::", "fec0::"}) {
    EXPECT_TRUE(Allows(list, address)) << address;
  }
  for (const char* address : {"10.0.0.0", "::ffff:10.0.0.1", "fe80::1", "febf:ffff::"}) {
    EXPECT_FALSE(Allows(list, address)) << address;
  }
}

TEST(AccessList, WholeFamilies) {
  EXPECT_TRUE(ListOf({"0.0.0.0/0,::/0"}, {}).allows_everybody());
  const AccessList v6 = ListOf({"::/0"}, {});
  EXPECT_TRUE(Allows(v6, "2001:db8::1"));
  EXPECT_FALSE(Allows(v6, "10.0.0.1"));
  EXPECT_FALSE(Allows(v6, "::ffff:10.0.0.1")) << "a mapped address is IPv4";
  const AccessList v4 = ListOf({}, {"::/0"});
  EXPECT_TRUE(Allows(v4, "255.255.255.255"));
  EXPECT_TRUE(Allows(v4, "::ffff:10.0.0.1"));
  EXPECT_FALSE(Allows(v4, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
  const AccessList none = ListOf({}, {"::/0", "0.0.0.0/0"});
  EXPECT_FALSE(Allows(none, "0.0.0.0"));
  EXPECT_FALSE(Allows(none, "::"));
  EXPECT_TRUE(none.v4().empty());
  EXPECT_TRUE(none.v6().empty());
}

TEST(AccessList, OtherFamilies) {
  const AccessList list = ListOf({"10.0.0.0/8"}, {});
  sockaddr_un local = {.sun_family = AF_UNIX};
  EXPECT_TRUE(list.Allows(reinterpret_cast<const sockaddr*>(&local)));
  local.sun_family = AF_UNSPEC;
  EXPECT_FALSE(list.Allows(reinterpret_cast<const sockaddr*>(&local)));
  EXPECT_TRUE(AccessList().Allows(reinterpret_cast<const sockaddr*>(&local)));
}

TEST(AccessList, JoinsWhatTouches) {
  const AccessList list = ListOf({"10.0.0.0/9,10.128.0.0/9,11.0.0.0/8,10.3.0.0/16"}, {});
  EXPECT_EQ(list.v4(), (std::vector<AddressRange>{{0x0a000000, 0x0bffffff}}));
  EXPECT_TRUE(list.v6().empty());
}

struct Mistake {
  std::string text, says;
};

TEST(ParseCidrs, SaysWhatIsWrong) {
  const std::string want =
      "; write addresses or blocks, such as 10.0.0.0/8, 127.0.0.1 or 2001:db8::/32";
  const std::string want_v4 = "; write the number of bits, from 0 to 32 for IPv4";
  const std::string want_v6 = "; write the number of bits, from 0 to 128 for IPv6";
  const std::string host_bits = " has bits set beyond its prefix; write ";
  const std::string no_address = " is not an IP address (names are not looked up)" + want;
  const std::string no_prefix = " has no valid prefix after the '/'";
  const Mistake mistakes[] = {
      {"", "'' has an empty item" + want},
      {"10.0.0.0/8,", "'10.0.0.0/8,' has an empty item" + want},
      {",::1", "',::1' has an empty item" + want},
      {"::1, ,::2", "'::1, ,::2' has an empty item" + want},
      {"10.0.0.1/8", "'10.0.0.1/8'" + host_bits + "10.0.0.0/8, or 10.0.0.1 for the one address"},
      {"1.2.3.4/0", "'1.2.3.4/0'" + host_bits + "0.0.0.0/0, or 1.2.3.4 for the one address"},
      {"::1,2001:DB8::1/32",
       "'2001:DB8::1/32'" + host_bits + "2001:db8::/32, or 2001:db8::1 for the one address"},
      {"::ffff:0:0/80",
       "'::ffff:0:0/80'" + host_bits + "::/80, or ::ffff:0.0.0.0 for the one address"},
      {"10.0.0.0/33", "'10.0.0.0/33'" + no_prefix + want_v4},
      {"10.0.0.0/-1", "'10.0.0.0/-1'" + no_prefix + want_v4},
      {"10.0.0.0/", "'10.0.0.0/'" + no_prefix + want_v4},
      {"10.0.0.0/+8", "'10.0.0.0/+8'" + no_prefix + want_v4},
      {"10.0.0.0/8/8", "'10.0.0.0/8/8'" + no_prefix + want_v4},
      {"10.0.0.0/ 8", "'10.0.0.0/ 8'" + no_prefix + want_v4},
      {"10.0.0.0/255.0.0.0", "'10.0.0.0/255.0.0.0'" + no_prefix + want_v4},
      {"::/129", "'::/129'" + no_prefix + want_v6},
      {"::/4294967296", "'::/4294967296'" + no_prefix + want_v6},
      {"localhost", "'localhost'" + no_address},
      {"10.0.0", "'10.0.0'" + no_address},
      {"10.0.0.0.0", "'10.0.0.0.0'" + no_address},
      {"256.0.0.0", "'256.0.0.0'" + no_address},
      {"010.0.0.1", "'010.0.0.1'" + no_address},
      {"127.0.0.1:80", "'127.0.0.1:80'" + no_address},
      {":::", "':::'" + no_address},
      {"10.0.0.1 10.0.0.2", "'10.0.0.1 10.0.0.2'" + no_address},
      {std::string("::1\0x", 5), std::string("'::1\0x'", 7) + no_address},
      {"/8", "'/8' has no address before the '/'" + want},
      {"[::1]", "'[::1]' has brackets; write the address without them"},
      {"fe80::1%lo",
       "'fe80::1%lo' names an interface; write the address without '%' and what follows"},
      {"::ffff:10.0.0.1", "'::ffff:10.0.0.1' is IPv4 in the clothes of IPv6; write 10.0.0.1"},
      {"::ffff:10.0.0.0/104",
       "'::ffff:10.0.0.0/104' is IPv4 in the clothes of IPv6; write 10.0.0.0/8"},
      {"::ffff:0:0/96", "'::ffff:0:0/96' is IPv4 in the clothes of IPv6; write 0.0.0.0/0"},
  };
  for (const Mistake& mistake : mistakes) {
    const auto cidrs = ParseCidrs(mistake.text);
    ASSERT_FALSE(cidrs.ok()) << mistake.text;
    EXPECT_EQ(cidrs.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(cidrs.status().message(), mistake.says);
  }
}

TEST(AccessList, ErrorsNameTheFlag) {
  const auto allow = AccessList::Parse({"::1", "x"}, {});
  ASSERT_FALSE(allow.ok());
  EXPECT_EQ(allow.status().message().substr(0, 13), "--allow: 'x' ");
  const auto deny = AccessList::Parse({"::1"}, {"::1/8"});
  ASSERT_FALSE(deny.ok());
  EXPECT_EQ(deny.status().message().substr(0, 16), "--deny: '::1/8' ");
}

TEST(AccessList, AgreesWithTheNaiveReference) {
  EXPECT_TRUE(rc::check("every address is judged as bit by bit", [] {
    Random random(*rc::gen::arbitrary<uint64_t>());
    const std::vector<Block> allow = random.Blocks(random.Below(2) * random.Below(20));
    const std::vector<Block> deny = random.Blocks(random.Below(20), allow);
    auto list = AccessList::Parse(Values(allow), Values(deny));
    RC_ASSERT(list.ok());
    for (int i = 0; i < 200; ++i) {
      const Address source =
          random.NearOneOf(i % 2 == 0 ? allow : deny, i % 3 == 0 ? AF_INET : AF_INET6);
      RC_LOG() << "allow " << ToText(allow) << " deny " << ToText(deny) << " source "
               << ToText(source);
      RC_ASSERT(Allows(*list, source) == NaiveAllows(allow, deny, source));
      if (source.family != AF_INET) continue;
      RC_ASSERT(Allows(*list, access_lists::Mapped(source)) == NaiveAllows(allow, deny, source));
    }
  }));
}

TEST(AccessList, HoldsThousandsOfBlocks) {
  Random random(7);
  const std::vector<Block> allow = random.Blocks(3000);
  const std::vector<Block> deny = random.Blocks(3000, allow);
  const AccessList list = ListOf(Values(allow), Values(deny));
  size_t allowed = 0;
  for (int i = 0; i < 300; ++i) {
    const Address source = random.NearOneOf(i % 2 == 0 ? allow : deny, AF_INET);
    EXPECT_EQ(Allows(list, source), NaiveAllows(allow, deny, source)) << ToText(source);
    allowed += Allows(list, source) ? 1 : 0;
  }
  EXPECT_GT(allowed, 0u);
  EXPECT_LT(allowed, 300u);
}

}  // namespace
}  // namespace server
