#include "core/base/sha256.h"

#include <array>
#include <bit>
#include <cstdint>

namespace regroup {

namespace {

constexpr size_t kBlockBytes = 64;

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
constexpr uint32_t kRoundConstants[kBlockBytes] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

using State = std::array<uint32_t, 8>;

/// The first 32 bits of the fractional parts of the square roots of the first 8 primes.
constexpr State kStart = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

uint32_t wordAt(const char* bytes) {
  uint32_t word = 0;
  for (size_t i = 0; i < 4; i++) word = word << 8 | static_cast<uint8_t>(bytes[i]);
  return word;
}

void appendBigEndian(std::string& out, uint64_t value, size_t bytes) {
  for (size_t left = bytes; left > 0; left--) out += static_cast<char>(value >> (8 * (left - 1)));
}

/// The names are the standard's.
void takeBlock(State& state, const char* block) {
  std::array<uint32_t, kBlockBytes> w;
  for (size_t t = 0; t < 16; t++) w[t] = wordAt(block + 4 * t);
  for (size_t t = 16; t < w.size(); t++) {
    const uint32_t s0 = std::rotr(w[t - 15], 7) ^ std::rotr(w[t - 15], 18) ^ w[t - 15] >> 3;
    const uint32_t s1 = std::rotr(w[t - 2], 17) ^ std::rotr(w[t - 2], 19) ^ w[t - 2] >> 10;
    w[t] = s1 + w[t - 7] + s0 + w[t - 16];
  }

  auto [a, b, c, d, e, f, g, h] = state;
  for (size_t t = 0; t < w.size(); t++) {
    const uint32_t sum1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    const uint32_t choice = (e & f) ^ (~e & g);
    const uint32_t t1 = h + sum1 + choice + kRoundConstants[t] + w[t];
    const uint32_t sum0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const uint32_t majority = (a & b) ^ (a & c) ^ (b & c);
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + sum0 + majority;
  }
  const State added = {a, b, c, d, e, f, g, h};
  for (size_t i = 0; i < state.size(); i++) state[i] += added[i];
}

}  // namespace

std::string sha256(std::string_view bytes) {
  constexpr size_t kLengthBytes = 8;
  std::string padded(bytes);
  padded += '\x80';
  while ((padded.size() + kLengthBytes) % kBlockBytes != 0) padded += '\0';
  appendBigEndian(padded, uint64_t{bytes.size()} * 8, kLengthBytes);

  State state = kStart;
  for (size_t at = 0; at < padded.size(); at += kBlockBytes) takeBlock(state, padded.data() + at);
  std::string hash;
  for (const uint32_t word : state) appendBigEndian(hash, word, sizeof word);
  return hash;
}

std::string hmacSha256(std::string_view key, std::string_view bytes) {
  std::string inner = key.size() > kBlockBytes ? sha256(key) : std::string(key);
  inner.resize(kBlockBytes, '\0');
  std::string outer = inner;
  for (char& byte : inner) byte = static_cast<char>(byte ^ 0x36);
  for (char& byte : outer) byte = static_cast<char>(byte ^ 0x5c);
  return sha256(outer + sha256(inner.append(bytes)));
}

bool isSameSecret(std::string_view one, std::string_view other) {
  if (one.size() != other.size()) return false;
  unsigned differences = 0;
  // No compiler may leave the loop at the first difference.
  for (size_t i = 0; i < one.size(); i++) {
    differences |= static_cast<uint8_t>(one[i] ^ other[i]);
    asm volatile("" : "+r"(differences));
  }
  return differences == 0;
}

}  // namespace regroup
