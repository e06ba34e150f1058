#include "core/base/siphash.h"

#include <set>
#include <string>

#include "test/native/tap.h"

using namespace regroup;

TEST("SipHash-1-3 gives what the reference gives") {
  // @source github.com/veorq/SipHash, built with cROUNDS=1 and dROUNDS=3: key 00 01 … 0f, input
  // 00 01 … of the length that's given
  struct {
    size_t length;
    uint64_t hash;
  } const cases[] = {
      {0, 0xabac0158050fc4dc},  {1, 0xc9f49bf37d57ca93},  {7, 0xd3927d989bb11140},
      {8, 0x369095118d299a8e},  {15, 0xd320d86d2a519956}, {16, 0xcc4fdd1a7d908b66},
      {63, 0x9d199062b7bbb3a8},
  };
  const HashKey key{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  std::string input;
  for (int i = 0; i < 64; i++) input += static_cast<char>(i);

  for (const auto& each : cases)
    CHECK_EQ(sipHash13(key, std::string_view(input).substr(0, each.length)), each.hash);
}

TEST("two random keys differ, and so do their hashes") {
  const HashKey one = HashKey::random();
  const HashKey other = HashKey::random();

  CHECK(one.low != other.low || one.high != other.high);
  CHECK(sipHash13(one, "key") != sipHash13(other, "key"));
}

namespace {

/// Keys whose hashes are the same in libstdc++, which has one seed for all: its mixing can be
/// undone.
std::string colliding(uint64_t i) {
  constexpr uint64_t kMul = (0xc6a4a793ull << 32) + 0x5bd1e995;
  uint64_t inverse = kMul;  // Newton's: each step doubles the bits that are right
  for (int step = 0; step < 6; step++) inverse *= 2 - kMul * inverse;
  const auto mix = [](uint64_t v) { return v ^ (v >> 47); };  // its own inverse
  const uint64_t begin = 0xc70f6907 ^ (16 * kMul);
  const uint64_t first = (begin ^ (mix(i * kMul) * kMul)) * kMul;
  const uint64_t second = mix((first ^ 0x1234567812345678) * inverse) * inverse;
  std::string key(16, '\0');
  __builtin_memcpy(key.data(), &i, 8);
  __builtin_memcpy(key.data() + 8, &second, 8);
  return key;
}

}  // namespace

TEST("F-N05 keys that collide in libstdc++'s hash don't in ours") {
  const HashKey key = HashKey::random();
  std::set<size_t> known;
  std::set<uint64_t> ours;
  for (uint64_t i = 0; i < 10'000; i++) {
    known.insert(std::hash<std::string>()(colliding(i)));
    ours.insert(sipHash13(key, colliding(i)));
  }

  CHECK_EQ(known.size(), 1u);
  CHECK_EQ(ours.size(), 10'000u);
}

TAP_MAIN
