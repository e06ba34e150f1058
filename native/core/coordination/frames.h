#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/coordination/state.h"

/// What agents and our server say to each other about coordination: after eight bytes that no
/// client of a TCPStore begins with, frames in both directions.
///
///     frame    u32 length of what follows, u8 type, u32 id, body
///     text     u32 length, bytes
///     entry    text key, text value, u64 created, u64 modified, u64 lease
///
/// Numbers are little-endian. An answer has its request's id; what a watch tells has the id of the
/// request that began it. The first frame of both sides is a Hello, whose form never changes.
namespace regroup::coordination {

/// 0xC7 and a name: outside TCPStore's first bytes (0 to 11), TLS's (0x16) and those of text.
constexpr std::string_view kPreface("\xC7regroup", 8);
/// 2: servers may have a token, which agents of version 1 would ask again and again without.
constexpr uint16_t kVersion = 2;

/// For a client whose connection broke without a goodbye, to come back and renew its leases before
/// the server ends them.
constexpr std::chrono::milliseconds kResumeWindow{1000};
/// With its length.
constexpr size_t kFrameHead = 9;
/// Of a request. Past it the connection is closed.
constexpr size_t kMaxRequest = 4 << 20;
/// Of a request of somebody who hasn't said hello yet, or has the job's token still to prove.
constexpr size_t kMaxGreeting = 256;
/// Of an answer.
constexpr size_t kMaxAnswer = 32 << 20;

enum class Type : uint8_t {
  // Requests.
  Hello = 1,    // u16 version
  Get = 2,      // text prefix                        -> Entries
  Txn = 3,      // u16 n, compares; u16 n, changes    -> TxnDone
  Grant = 4,    // u32 milliseconds                   -> Leased
  Renew = 5,    // u64 lease                          -> Leased
  Revoke = 6,   // u64 lease; text proof, see below   -> Ok
  Watch = 7,    // text prefix, u64 from              -> Ok, then Changed…
  Unwatch = 8,  // u32 id of the Watch                -> Ok
  Goodbye = 9,  // the connection's end is no reason to end its leases early
  Proof = 10,   // text nonce, text proof             -> Proved
  // Answers.
  /// u16 version, u64 incarnation of the server, text its own address, if it has one; text its
  /// nonce, where it takes nothing before a Proof but a Revoke with a proof of its own: see proof.h
  Welcome = 0x81,
  Entries = 0x82,  // u64 revision, u32 n, entries
  TxnDone = 0x83,  // u8 held, u64 revision, u32 n, entries: the compared ones if it wasn't
  Leased = 0x84,   // u64 lease, u32 milliseconds
  Ok = 0x85,
  Changed = 0x86,  // u32 n, changes: u8 1, entry; or u8 2, text key, u64 modified. Whole revisions.
  Proved = 0x87,   // text proof
  Refused = 0x8F,  // u8 Why
};

/// Why a request is refused; the connection goes on, but for the last one.
enum class Why : uint8_t {
  LeaseLost = 1,
  Full = 2,
  TooLarge = 3,
  Twice = 4,
  Compacted = 5,  // of a watch: changes from there on aren't kept any more
  Taken = 6,      // of a watch: the connection has one of this id
  WrongToken = 7,
};

Why whyOf(Refusal refusal);

// Requests; texts lie in the frame.

struct Hello {
  uint16_t version;
};
struct Get {
  std::string_view prefix;
};
struct Txn {
  std::vector<Compare> compares;
  std::vector<Change> changes;
};
struct Grant {
  std::chrono::milliseconds ttl;
};
struct Renew {
  LeaseId lease;
};
struct Revoke {
  LeaseId lease;
  std::string_view proof = {};  // of whoever has proved nothing else
};
struct Watch {
  std::string_view prefix;
  Revision from;
};
struct Unwatch {
  uint32_t id;
};
struct Goodbye {};
struct Proof {
  std::string_view nonce;
  std::string_view proof;
};

struct Request {
  uint32_t id = 0;
  std::variant<Hello, Get, Txn, Grant, Renew, Revoke, Watch, Unwatch, Goodbye, Proof> body;
};

/// A request at the start of what has come, and its bytes; no request: more bytes must come.
struct Parsed {
  std::optional<Request> request;
  size_t bytes = 0;
};

/// @param most bytes of a request, without its length
/// @returns a sentence if it's no request, and never will be
std::variant<Parsed, std::string> parse(std::string_view input, size_t most = kMaxRequest);

// Answers, as far as one who keeps a lease gets them.

struct Welcome {
  uint16_t version;
  uint64_t incarnation;
  // They lie in the frame; empty: it wasn't told.
  std::string_view address;
  std::string_view nonce = {};
};
struct Proved {
  std::string_view proof;
};
struct Leased {
  LeaseId lease;
  std::chrono::milliseconds ttl;
};
struct Refused {
  Why why;
};

struct Answer {
  uint32_t id = 0;
  std::variant<Welcome, Leased, Proved, Refused> body;
};

/// An answer at the start of what has come, and its bytes; no answer: more bytes must come.
struct ParsedAnswer {
  std::optional<Answer> answer;
  size_t bytes = 0;
};

/// @returns nothing if it's none of these, and never will be
std::optional<ParsedAnswer> parseAnswer(std::string_view input);

/// Ends a lease, as all that's said on a connection: with its preface. @param token the job's, or
/// empty
std::string revocation(LeaseId lease, std::string_view token);

/// Gives a whole frame that begins at `frame` another id.
void setFrameId(std::string& out, size_t frame, uint32_t id);

/// Writes one frame at the end of `out`; its length is known when it goes.
class Frame {
 public:
  Frame(std::string& out, Type type, uint32_t id);
  ~Frame();
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  Frame& u8(uint8_t value);
  Frame& u16(uint16_t value);
  Frame& u32(uint32_t value);
  Frame& u64(uint64_t value);
  Frame& text(std::string_view bytes);
  Frame& entry(std::string_view key, const Entry& entry);

  /// A number that isn't known yet: where it stands, and what it is.
  size_t place32();
  void set32(size_t place, uint32_t value);

  size_t bytes() const { return out_.size() - start_; }
  /// It's not written after all.
  void cancel();

 private:
  std::string& out_;
  const size_t start_;
  bool cancelled_ = false;
};

}  // namespace regroup::coordination
