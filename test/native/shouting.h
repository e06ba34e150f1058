#pragma once

#include <ctype.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string_view>

#include "core/store/session.h"

namespace store_harness {

using namespace regroup::store;

/// `RG` and then lines, which come back in capitals. It hangs up on an empty one.
class Shouting final : public Protocol {
 public:
  /// @param patience with one nobody else is served
  explicit Shouting(std::optional<std::chrono::milliseconds> patience = std::nullopt)
      : patience_(patience) {}
  Match match(std::string_view first) const override {
    const Match others = patience_ ? Match::Barred : Match::No;
    if (first[0] != 'R') return others;
    if (first.size() < 2) return Match::NeedMore;
    return first[1] == 'G' ? Match::Yes : others;
  }
  std::optional<std::chrono::milliseconds> patience() const override { return patience_; }
  std::unique_ptr<Session> open(Peer& peer) override { return std::make_unique<Speaker>(peer); }

 private:
  class Speaker final : public Session {
   public:
    explicit Speaker(Peer& peer) : peer_(peer) {}
    Progress onInput(std::string_view input, const Turn&, Reply& reply) override {
      const size_t end = input.find('\n');
      if (end == std::string_view::npos) return {.hungry = true};
      if (end == 0) peer_.close();
      for (const char c : input.substr(0, end + 1)) reply.tail() += static_cast<char>(::toupper(c));
      return {.consumed = end + 1};
    }

   private:
    Peer& peer_;
  };

  const std::optional<std::chrono::milliseconds> patience_;
};

}  // namespace store_harness
