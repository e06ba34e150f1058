#include "core/coordination/frames.h"

#include <string.h>

#include <utility>

#include "core/coordination/proof.h"

namespace regroup::coordination {

namespace {

constexpr size_t kLengthBytes = 4;

template <typename N>
N numberAt(const char* bytes) {
  N value = 0;
  for (size_t i = 0; i < sizeof(N); i++)
    value |= static_cast<N>(static_cast<N>(static_cast<uint8_t>(bytes[i])) << (8 * i));
  return value;
}

template <typename N>
void appendNumber(std::string& out, N value) {
  for (size_t i = 0; i < sizeof(N); i++) out += static_cast<char>(value >> (8 * i) & 0xff);
}

/// Reads a frame's body. Past its end everything is 0 or empty, and `isGood` false for good.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <typename N>
  N number() {
    const std::string_view bytes = take(sizeof(N));
    return bytes.empty() ? 0 : numberAt<N>(bytes.data());
  }
  std::string_view text() { return take(number<uint32_t>()); }

  bool isGood() const { return good_; }
  bool isAtEnd() const { return good_ && bytes_.empty(); }

 private:
  std::string_view take(size_t bytes) {
    good_ = good_ && bytes <= bytes_.size();
    if (!good_) return {};
    const std::string_view taken = bytes_.substr(0, bytes);
    bytes_.remove_prefix(bytes);
    return taken;
  }

  std::string_view bytes_;
  bool good_ = true;
};

/// Neither more comparisons than there are bytes, nor one of an unknown kind.
bool readCompares(Reader& in, std::vector<Compare>& compares) {
  const auto count = in.number<uint16_t>();
  for (size_t i = 0; i < count && in.isGood(); i++) {
    const auto what = in.number<uint8_t>();
    if (what > static_cast<uint8_t>(Compare::What::Value)) return false;
    Compare compare{in.text(), static_cast<Compare::What>(what), 0, {}};
    if (compare.what == Compare::What::Modified) compare.modified = in.number<uint64_t>();
    if (compare.what == Compare::What::Value) compare.value = in.text();
    compares.push_back(compare);
  }
  return in.isGood();
}

bool readChanges(Reader& in, std::vector<Change>& changes) {
  constexpr uint8_t kPut = 1;
  constexpr uint8_t kDelete = 2;
  const auto count = in.number<uint16_t>();
  for (size_t i = 0; i < count && in.isGood(); i++) {
    const auto kind = in.number<uint8_t>();
    if (kind != kPut && kind != kDelete) return false;
    Change change{in.text(), std::nullopt, 0};
    if (kind == kPut) {
      change.value = in.text();
      change.lease = in.number<uint64_t>();
    }
    changes.push_back(change);
  }
  return in.isGood();
}

/// False: there's no such request, or it isn't one of these bytes.
bool read(Type type, Reader& in, Request& request) {
  switch (type) {
    case Type::Hello:
      request.body = Hello{in.number<uint16_t>()};
      return in.isGood();  // later versions may say more
    case Type::Get:
      request.body = Get{in.text()};
      break;
    case Type::Txn: {
      Txn txn;
      if (!readCompares(in, txn.compares) || !readChanges(in, txn.changes)) return false;
      request.body = std::move(txn);
      break;
    }
    case Type::Grant:
      request.body = Grant{std::chrono::milliseconds(in.number<uint32_t>())};
      break;
    case Type::Renew:
      request.body = Renew{in.number<uint64_t>()};
      break;
    case Type::Revoke: {
      Revoke revoke{in.number<uint64_t>()};
      if (!in.isAtEnd()) revoke.proof = in.text();
      request.body = revoke;
      break;
    }
    case Type::Watch: {
      const std::string_view prefix = in.text();
      request.body = Watch{prefix, in.number<uint64_t>()};
      break;
    }
    case Type::Unwatch:
      request.body = Unwatch{in.number<uint32_t>()};
      break;
    case Type::Goodbye:
      request.body = Goodbye{};
      break;
    case Type::Proof: {
      const std::string_view nonce = in.text();
      request.body = Proof{nonce, in.text()};
      break;
    }
    default:
      return false;
  }
  return in.isAtEnd();
}

}  // namespace

Why whyOf(Refusal refusal) {
  switch (refusal) {
    case Refusal::LeaseLost:
      return Why::LeaseLost;
    case Refusal::Full:
      return Why::Full;
    case Refusal::TooLarge:
      return Why::TooLarge;
    case Refusal::Twice:
      return Why::Twice;
  }
  return Why::TooLarge;
}

std::variant<Parsed, std::string> parse(std::string_view input, size_t most) {
  if (input.size() < kLengthBytes) return Parsed{};
  const auto length = numberAt<uint32_t>(input.data());
  // Judged before it's waited for.
  if (length < kFrameHead - kLengthBytes || length > most)
    return "a frame of " + std::to_string(length) + " bytes";
  if (input.size() < kFrameHead) return Parsed{};
  const auto type = static_cast<uint8_t>(input[kLengthBytes]);
  if (type < static_cast<uint8_t>(Type::Hello) || type > static_cast<uint8_t>(Type::Proof))
    return "a frame of type " + std::to_string(type);
  if (input.size() - kLengthBytes < length) return Parsed{};

  Request request;
  request.id = numberAt<uint32_t>(input.data() + kLengthBytes + 1);
  Reader body(input.substr(kFrameHead, length - (kFrameHead - kLengthBytes)));
  if (!read(static_cast<Type>(type), body, request))
    return "a malformed frame of type " + std::to_string(type);
  return Parsed{std::move(request), kLengthBytes + length};
}

std::optional<ParsedAnswer> parseAnswer(std::string_view input) {
  /// Later versions may say more in a welcome.
  constexpr size_t kMostBytes = 1024;
  if (input.size() < kLengthBytes) return ParsedAnswer{};
  const auto length = numberAt<uint32_t>(input.data());
  if (length < kFrameHead - kLengthBytes || length > kMostBytes) return std::nullopt;
  if (input.size() - kLengthBytes < length) return ParsedAnswer{};

  Answer answer;
  answer.id = numberAt<uint32_t>(input.data() + kLengthBytes + 1);
  Reader body(input.substr(kFrameHead, length - (kFrameHead - kLengthBytes)));
  bool isWhole = false;
  switch (static_cast<Type>(static_cast<uint8_t>(input[kLengthBytes]))) {
    case Type::Welcome: {
      Welcome welcome{body.number<uint16_t>(), body.number<uint64_t>(), {}};
      if (!body.isAtEnd()) welcome.address = body.text();
      if (!body.isAtEnd()) welcome.nonce = body.text();
      answer.body = welcome;
      isWhole = body.isGood();
      break;
    }
    case Type::Leased: {
      const auto lease = body.number<uint64_t>();
      answer.body = Leased{lease, std::chrono::milliseconds(body.number<uint32_t>())};
      isWhole = body.isAtEnd();
      break;
    }
    case Type::Proved:
      answer.body = Proved{body.text()};
      isWhole = body.isAtEnd();
      break;
    case Type::Refused:
      answer.body = Refused{static_cast<Why>(body.number<uint8_t>())};
      isWhole = body.isAtEnd();
      break;
    default:
      break;
  }
  if (!isWhole) return std::nullopt;
  return ParsedAnswer{answer, kLengthBytes + length};
}

std::string revocation(LeaseId lease, std::string_view token) {
  std::string said(kPreface);
  Frame(said, Type::Hello, 0).u16(kVersion);
  {
    Frame revoke(said, Type::Revoke, 1);
    revoke.u64(lease);
    if (!token.empty()) revoke.text(leaseProof(token, lease));
  }
  return said;
}

void setFrameId(std::string& out, size_t frame, uint32_t id) {
  constexpr size_t kBeforeId = kLengthBytes + 1;  // its length and its type
  for (size_t i = 0; i < sizeof id; i++)
    out[frame + kBeforeId + i] = static_cast<char>(id >> (8 * i) & 0xff);
}

Frame::Frame(std::string& out, Type type, uint32_t id) : out_(out), start_(out.size()) {
  u32(0).u8(static_cast<uint8_t>(type)).u32(id);
}

Frame::~Frame() {
  if (!cancelled_) set32(start_, static_cast<uint32_t>(bytes() - kLengthBytes));
}

Frame& Frame::u8(uint8_t value) {
  out_ += static_cast<char>(value);
  return *this;
}

Frame& Frame::u16(uint16_t value) {
  appendNumber(out_, value);
  return *this;
}

Frame& Frame::u32(uint32_t value) {
  appendNumber(out_, value);
  return *this;
}

Frame& Frame::u64(uint64_t value) {
  appendNumber(out_, value);
  return *this;
}

Frame& Frame::text(std::string_view bytes) {
  u32(static_cast<uint32_t>(bytes.size()));
  out_ += bytes;
  return *this;
}

Frame& Frame::entry(std::string_view key, const Entry& entry) {
  return text(key).text(entry.value).u64(entry.created).u64(entry.modified).u64(entry.lease);
}

size_t Frame::place32() {
  const size_t place = out_.size();
  u32(0);
  return place;
}

void Frame::set32(size_t place, uint32_t value) {
  for (size_t i = 0; i < sizeof value; i++)
    out_[place + i] = static_cast<char>(value >> (8 * i) & 0xff);
}

void Frame::cancel() {
  cancelled_ = true;
  out_.resize(start_);
}

}  // namespace regroup::coordination
