#include "bench/arm.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"

namespace bench {
namespace {

using Words = std::vector<std::string>;

absl::StatusOr<Arm> Parse(const std::string& text, const std::string& transport = "tcp") {
  return ParseArm(text, {"epoll", "io_uring"}, transport);
}

TEST(ParseArm, ABackendIsOurOwnServerOnIt) {
  const auto arm = Parse("epoll");
  ASSERT_TRUE(arm.ok()) << arm.status();
  EXPECT_EQ(arm->name, "epoll");
  EXPECT_TRUE(arm->ringside);
  EXPECT_EQ(Words(arm->command.begin() + 1, arm->command.end()),
            (Words{"serve", "--backend", "epoll"}));
}

TEST(ParseArm, AnotherBuildIsToldWhereToListenWhateverItsCommandSays) {
  for (const char* where : {"", " {port}", " {address}", " 127.0.0.1:{port}"}) {
    const auto arm = Parse(std::string("old=./old/ringside serve") + where + " -t 2");
    ASSERT_TRUE(arm.ok()) << arm.status();
    EXPECT_TRUE(arm->ringside);
    EXPECT_EQ(arm->command, (Words{"./old/ringside", "serve", "-t", "2"})) << where;
  }
  const auto more = Parse("old=./old/ringside serve --listen echo={port}");
  ASSERT_FALSE(more.ok());
  EXPECT_TRUE(absl::StrContains(more.status().message(), "'echo={port}'")) << more.status();
}

TEST(ParseArm, ForeignCommandsNameTheirPort) {
  const auto arm = Parse("peer=socat TCP-LISTEN:{port},fork 'EXEC:cat -u'");
  ASSERT_TRUE(arm.ok()) << arm.status();
  EXPECT_FALSE(arm->ringside);
  EXPECT_EQ(arm->command, (Words{"socat", "TCP-LISTEN:{port},fork", "EXEC:cat -u"}));
  EXPECT_TRUE(Parse("peer=./server {address}", "unix").ok());
  EXPECT_FALSE(Parse("peer=./server {port}", "unix").ok());
}

TEST(ParseArm, WhatIsNoArmIsSaid) {
  const struct {
    const char *text, *said;
  } cases[] = {
      {"kqueue", "neither a backend (epoll, io_uring)"},
      {"=serve", "lacks a name or a command"},
      {"mine=", "lacks a name or a command"},
      {"mine=./server", "names no port"},
      {"mine=./ringside -b epoll", "NAME=PATH serve FLAGS"},
      {"mine='./server {port}", "is not closed"},
  };
  for (const auto& [text, said] : cases) {
    const auto arm = Parse(text);
    ASSERT_FALSE(arm.ok()) << text;
    EXPECT_TRUE(absl::StrContains(arm.status().message(), said)) << text << ": " << arm.status();
  }
}

}  // namespace
}  // namespace bench
