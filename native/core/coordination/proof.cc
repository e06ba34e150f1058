#include "core/coordination/proof.h"

#include "core/base/sha256.h"

namespace regroup::coordination {

namespace {

void append64(std::string& out, uint64_t value) {
  for (size_t i = 0; i < sizeof value; i++) out += static_cast<char>(value >> (8 * i) & 0xff);
}

}  // namespace

std::string agentProof(std::string_view token, const Nonces& nonces) {
  return hmacSha256(token, "regroup agent" + nonces.server + nonces.agent);
}

std::string serverProof(std::string_view token, const Nonces& nonces) {
  return hmacSha256(token, "regroup server" + nonces.server + nonces.agent);
}

std::string leaseProof(std::string_view token, LeaseId lease) {
  std::string told = "regroup lease";
  append64(told, lease);
  return hmacSha256(token, told);
}

std::string NonceSource::next() {
  std::string key;
  append64(key, key_.low);
  append64(key, key_.high);
  std::string count;
  append64(count, given_++);
  return hmacSha256(key, count);
}

}  // namespace regroup::coordination
