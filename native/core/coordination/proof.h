#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/siphash.h"
#include "core/coordination/state.h"

/// How an agent and our server show each other that they have the job's token, which neither of
/// them sends. Each gives a nonce; a proof is the HMAC-SHA-256, by the token, of whose proof it is
/// and both nonces, so that none of another connection, or of the other side, is worth anything:
///
///     server → agent   Welcome, with the server's nonce
///     agent → server   Proof: its own nonce, HMAC("regroup agent", server's nonce, agent's nonce)
///     server → agent   Proved: HMAC("regroup server", server's nonce, agent's nonce)
///
/// The agent is first: a stranger who connects to a server gets nothing to try guesses on.
namespace regroup::coordination {

constexpr size_t kNonceBytes = 32;

struct Nonces {
  std::string server;
  std::string agent;
};

std::string agentProof(std::string_view token, const Nonces& nonces);
std::string serverProof(std::string_view token, const Nonces& nonces);

/// For the end of a lease, HMAC("regroup lease", its id as a u64), known before there's a
/// connection: to be told for an agent that was killed. It needs no nonce, as ids of leases are
/// given once, and one that has ended can't be ended again.
std::string leaseProof(std::string_view token, LeaseId lease);

/// Gives bytes that nobody has seen before, nor can foretell.
class NonceSource {
 public:
  std::string next();

 private:
  const HashKey key_ = HashKey::random();
  uint64_t given_ = 0;
};

}  // namespace regroup::coordination
