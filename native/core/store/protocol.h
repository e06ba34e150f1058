#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

/// TCPStore on the wire: bytes ⇄ requests and replies. Pure.
///
/// There's no framing and no negotiation: little-endian fields back to back, and three
/// numberings of the operations that only the first five bytes tell apart.
/// @source pytorch v1.13.1, v2.1.2, v2.13.0: torch/csrc/distributed/c10d/TCPStore*.{hpp,cpp}
namespace regroup::store {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "TCPStore sends host order; ours is little");

/// The operations, by dialect D's numbers; A and B renumber a subset.
enum class Op : uint8_t {
  Validate = 0,
  Set = 1,
  CompareSet = 2,
  Get = 3,
  Add = 4,
  Check = 5,
  Wait = 6,
  GetNumKeys = 7,
  DeleteKey = 8,
  Append = 9,
  MultiGet = 10,
  MultiSet = 11,
  CancelWait = 12,
  Ping = 13,
  QueuePush = 14,
  QueuePop = 15,
  QueueLen = 16,
  ListKeys = 17,
  Barrier = 18,
};
inline constexpr size_t kOpCount = 19;

/// The name that users know from pytorch's log.
const char* nameOf(Op op);

/// One numbering of the operations.
enum class Dialect : uint8_t {
  Unknown,     // not five bytes yet
  Headerless,  // A or B, nothing yet told which
  A,           // 1.13, 2.0
  B,           // 2.1
  D,           // 2.2 and later: begins with VALIDATE and the magic
};
inline constexpr size_t kDialectCount = 5;

/// The number of `op`, or nothing where the dialect lacks it.
std::optional<uint8_t> numberOf(Dialect dialect, Op op);

/// What follows VALIDATE. @source torch/csrc/distributed/c10d/TCPStoreBackend.hpp, v2.2.2
inline constexpr uint32_t kMagic = 0x3C85F7CE;

/// Who may come without a hello, and what its opcode 8 means.
enum class Headerless : uint8_t {
  Refused,  // every worker's torch is ≥ 2.2; a port scan can't reach any operation then
  A,
  B,
  Guessed,  // by what follows the key, else by undecided() and settle()
};

/// Each is refused when the length is read, so that nobody makes us hold what they only announce.
struct Limits {
  /// stock's libuv server takes 8 KiB; longer ones come from deep prefixes.
  uint64_t keyBytes = 64 << 10;
  /// stock takes 8 MiB; 1.13 has no limit, and people store pickles.
  uint64_t valueBytes = 64 << 20;
  /// Keys, or pairs, of one request; stock takes 131,072.
  uint64_t listKeys = 1 << 20;
  /// Protects the server from a list of large values: a request is held until it's whole.
  uint64_t requestBytes = 256 << 20;
};

/// A list in a request: strings that lie in the input, one after the other.
class Strings {
 public:
  Strings() = default;
  Strings(std::string_view bytes, uint64_t count) : bytes_(bytes), count_(count) {}

  uint64_t size() const { return count_; }
  /// Lengths and all.
  std::string_view bytes() const { return bytes_; }
  /// Without the first strings, which take so many bytes.
  Strings from(size_t bytes, uint64_t strings) const {
    return {bytes_.substr(bytes), count_ - strings};
  }

  class Iterator {
   public:
    Iterator(const char* at, uint64_t left) : at_(at), left_(left) {}
    std::string_view operator*() const { return {at_ + 8, length()}; }
    Iterator& operator++() {
      at_ += 8 + length();
      left_--;
      return *this;
    }
    bool operator!=(const Iterator& other) const { return left_ != other.left_; }

   private:
    uint64_t length() const {
      uint64_t length;
      std::memcpy(&length, at_, sizeof length);
      return length;
    }
    const char* at_;
    uint64_t left_;
  };
  Iterator begin() const { return {bytes_.data(), count_}; }
  Iterator end() const { return {nullptr, 0}; }

 private:
  std::string_view bytes_;
  uint64_t count_ = 0;
};

/// One request. Its views look into the parser's input and live as long as that does.
struct Request {
  Op op = Op::Validate;
  uint32_t nonce = 0;         // PING
  int64_t number = 0;         // ADD: delta; BARRIER: world size
  std::string_view key;       // all but the list operations
  std::string_view value;     // SET, APPEND, QUEUE_PUSH; COMPARE_SET: desired
  std::string_view expected;  // COMPARE_SET
  Strings list;               // CHECK, WAIT, MULTI_GET: keys; MULTI_SET: key, value, key, value…

  /// The same, once the bytes that lay at `from` lie at `to`.
  Request moved(uintptr_t from, const char* to) const;
};

/// A request, and how many bytes of the input were it.
struct Whole {
  Request request;
  size_t bytes;
};
/// Fine so far, not yet a request.
struct NeedMore {};
/// Drop the peer; the stream can't be resynchronised.
struct Malformed {
  const char* reason;
  uint64_t value = 0;
  uint64_t limit = 0;  // 0: `value` broke no limit

  std::string describe() const;
};
using Parsed = std::variant<NeedMore, Whole, Malformed>;

/// Finds the requests in one connection's bytes.
///
/// It remembers how far it has looked into an unfinished request, so that the cost is linear
/// in the bytes, however they're cut.
class Parser {
 public:
  explicit Parser(Headerless headerless, const Limits& limits = {});

  /// `input` begins where the last whole request ended; what an earlier call saw is still there.
  Parsed parse(std::string_view input);

  /// An opcode 8 whose key is complete and that nothing follows: APPEND, cut short, or
  /// DELETE_KEY, whose client now waits for us. Wait for more bytes, but not for long.
  bool undecided() const { return undecided_; }
  /// Nothing followed: the next parse() of the same input gives DELETE_KEY.
  void settle();

  Dialect dialect() const { return dialect_; }

 private:
  Parsed parseHello(std::string_view input);
  Parsed parseOp(uint8_t number);
  Parsed begin(Op op);
  Parsed readCount(std::string_view input);
  Parsed readStrings(std::string_view input);
  Parsed finish(std::string_view input);

  const Headerless headerless_;
  const Limits limits_;
  Dialect dialect_ = Dialect::Unknown;
  bool undecided_ = false;
  bool begun_ = false;  // the op is known
  bool counted_ = false;
  Op op_ = Op::Validate;
  size_t at_ = 0;             // how far the request was looked at
  size_t wanted_ = 1;         // a shorter input isn't worth a look
  uint64_t strings_ = 0;      // of the request
  uint64_t stringsLeft_ = 0;  // not looked at yet
};

/// Replies and requests are appended to what's there.
void appendU32(std::string& out, uint32_t value);
void appendI64(std::string& out, int64_t value);
/// A key or a value.
void appendString(std::string& out, std::string_view bytes);
inline constexpr char kStatusOk = 0;        // WAIT, BARRIER: released; CHECK: all there
inline constexpr char kStatusNotReady = 1;  // CHECK: not all there
inline constexpr char kStatusWaitCancelled = 1;

/// `request` as a client of `dialect` sends it. Without effect where the dialect lacks it.
void appendRequest(std::string& out, Dialect dialect, const Request& request);
/// What a client sends first: nothing, but in dialect D.
void appendHello(std::string& out, Dialect dialect);

}  // namespace regroup::store
