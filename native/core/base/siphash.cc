#include "core/base/siphash.h"

#include <sys/auxv.h>
#include <sys/random.h>
#include <time.h>

#include <bit>
#include <cstring>

namespace regroup {

namespace {

struct State {
  uint64_t a, b, c, d;

  void round() {
    a += b;
    c += d;
    b = std::rotl(b, 13) ^ a;
    d = std::rotl(d, 16) ^ c;
    a = std::rotl(a, 32);
    c += b;
    a += d;
    b = std::rotl(b, 17) ^ c;
    d = std::rotl(d, 21) ^ a;
    c = std::rotl(c, 32);
  }

  void take(uint64_t word) {
    d ^= word;
    round();
    a ^= word;
  }
};

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are read as they lie in memory");

}  // namespace

HashKey HashKey::random() {
  HashKey key{};
  if (::getrandom(&key, sizeof key, GRND_NONBLOCK) == static_cast<ssize_t>(sizeof key)) return key;
  // Fallback: a filter forbids getrandom(2). 16 bytes, too, but the same ones each time; with the
  // clock they make keys of which none tells another one.
  std::memcpy(&key, reinterpret_cast<const void*>(::getauxval(AT_RANDOM)), sizeof key);
  timespec now{};
  (void)::clock_gettime(CLOCK_MONOTONIC, &now);
  const std::string_view moment(reinterpret_cast<const char*>(&now), sizeof now);
  return {sipHash13(key, moment), sipHash13({key.high, key.low}, moment)};
}

uint64_t sipHash13(const HashKey& key, std::string_view bytes) {
  State state{key.low ^ 0x736f6d6570736575, key.high ^ 0x646f72616e646f6d,
              key.low ^ 0x6c7967656e657261, key.high ^ 0x7465646279746573};
  const char* at = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, at, sizeof word);
    state.take(word);
  }
  uint64_t last = static_cast<uint64_t>(bytes.size()) << 56;
  for (size_t i = 0; i < left; i++)
    last |= static_cast<uint64_t>(static_cast<unsigned char>(at[i])) << (8 * i);
  state.take(last);

  state.c ^= 0xff;
  for (int i = 0; i < 3; i++) state.round();
  return state.a ^ state.b ^ state.c ^ state.d;
}

}  // namespace regroup
