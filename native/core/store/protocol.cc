#include "core/store/protocol.h"

namespace regroup::store {

namespace {

/// What follows an opcode: strings, the first of each item a key; then `tail` fixed bytes.
struct Shape {
  const char* name;
  bool list;        // a u64 count comes first, and that many items
  uint8_t strings;  // per item
  uint8_t tail;
};

constexpr Shape kShapes[kOpCount] = {
    {"VALIDATE", false, 0, 4},    {"SET", false, 2, 0},        {"COMPARE_SET", false, 3, 0},
    {"GET", false, 1, 0},         {"ADD", false, 1, 8},        {"CHECK", true, 1, 0},
    {"WAIT", true, 1, 0},         {"GETNUMKEYS", false, 0, 0}, {"DELETE_KEY", false, 1, 0},
    {"APPEND", false, 2, 0},      {"MULTI_GET", true, 1, 0},   {"MULTI_SET", true, 2, 0},
    {"CANCEL_WAIT", false, 0, 0}, {"PING", false, 0, 4},       {"QUEUE_PUSH", false, 2, 0},
    {"QUEUE_POP", false, 1, 0},   {"QUEUE_LEN", false, 1, 0},  {"LIST_KEYS", false, 0, 0},
    {"BARRIER", false, 1, 8},
};

const Shape& shapeOf(Op op) {
  return kShapes[static_cast<size_t>(op)];
}

/// A's and B's numbers 0 to 6, which are the same.
constexpr Op kHeaderlessOps[] = {Op::Set,   Op::CompareSet, Op::Get,       Op::Add,
                                 Op::Check, Op::Wait,       Op::GetNumKeys};
constexpr uint8_t kHeaderlessLast = 11;

constexpr size_t kHelloBytes = 5;

template <typename T>
T load(std::string_view input, size_t at) {
  T value;
  std::memcpy(&value, input.data() + at, sizeof value);
  return value;
}

template <typename T>
void append(std::string& out, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.append(bytes, sizeof bytes);
}

}  // namespace

const char* nameOf(Op op) {
  return shapeOf(op).name;
}

std::optional<uint8_t> numberOf(Dialect dialect, Op op) {
  const uint8_t number = static_cast<uint8_t>(op);
  if (dialect == Dialect::D) return number;
  if (op >= Op::Set && op <= Op::GetNumKeys) return number - 1;
  if (dialect == Dialect::A && op == Op::DeleteKey) return 8;
  if (dialect == Dialect::B && op >= Op::DeleteKey && op <= Op::CancelWait) return number - 1;
  return std::nullopt;
}

std::string Malformed::describe() const {
  std::string text = reason;
  if (limit != 0) {
    text += ": " + std::to_string(value) + ", max: " + std::to_string(limit);
  }
  return text;
}

Request Request::moved(uintptr_t from, const char* to) const {
  const auto view = [from, to](std::string_view bytes) -> std::string_view {
    if (bytes.data() == nullptr) return bytes;
    return {to + (reinterpret_cast<uintptr_t>(bytes.data()) - from), bytes.size()};
  };
  Request moved = *this;
  moved.key = view(key);
  moved.value = view(value);
  moved.expected = view(expected);
  moved.list = {view(list.bytes()), list.size()};
  return moved;
}

Parser::Parser(Headerless headerless, const Limits& limits)
    : headerless_(headerless), limits_(limits) {}

Parsed Parser::parse(std::string_view input) {
  if (input.size() < wanted_) return NeedMore{};
  if (dialect_ == Dialect::Unknown) {
    Parsed hello = parseHello(input);
    if (dialect_ == Dialect::Unknown) return hello;
  }
  if (!begun_) {
    Parsed op = parseOp(static_cast<uint8_t>(input[0]));
    if (!begun_) return op;
  }
  if (!counted_) {
    Parsed count = readCount(input);
    if (!counted_) return count;
  }
  Parsed strings = readStrings(input);
  if (stringsLeft_ > 0) return strings;
  return finish(input);
}

void Parser::settle() {
  if (!undecided_) return;
  undecided_ = false;
  dialect_ = Dialect::A;
  op_ = Op::DeleteKey;
  stringsLeft_ = 0;
  wanted_ = at_;
}

Parsed Parser::parseHello(std::string_view input) {
  const uint8_t first = static_cast<uint8_t>(input[0]);
  if (first > kHeaderlessLast) return Malformed{"neither a hello nor an operation"};
  if (first == 0) {
    // VALIDATE, or SET without hello. As a SET the magic would announce a key of 10⁹ bytes.
    wanted_ = kHelloBytes;
    if (input.size() < kHelloBytes) return NeedMore{};
    if (load<uint32_t>(input, 1) == kMagic) {
      dialect_ = Dialect::D;
      return NeedMore{};
    }
  }
  switch (headerless_) {
    case Headerless::Refused:
      return Malformed{"no hello: torch before 2.2 isn't served here"};
    case Headerless::A:
      dialect_ = Dialect::A;
      break;
    case Headerless::B:
      dialect_ = Dialect::B;
      break;
    case Headerless::Guessed:
      dialect_ = Dialect::Headerless;
      break;
  }
  return NeedMore{};
}

Parsed Parser::parseOp(uint8_t number) {
  if (dialect_ == Dialect::D) {
    if (number >= kOpCount) return Malformed{"unknown operation", number, kOpCount - 1};
    return begin(static_cast<Op>(number));
  }

  if (number < std::size(kHeaderlessOps)) return begin(kHeaderlessOps[number]);
  if (number > kHeaderlessLast) return Malformed{"unknown operation", number, kHeaderlessLast};
  if (number == 8) {
    if (dialect_ == Dialect::A) return begin(Op::DeleteKey);
    return begin(Op::Append);
  }
  // A has no 9 to 11, and its 7, WATCH_KEY, has no known user. So it's B who speaks.
  if (dialect_ == Dialect::Headerless) dialect_ = Dialect::B;
  return begin(static_cast<Op>(number + 1));
}

Parsed Parser::begin(Op op) {
  const Shape& shape = shapeOf(op);
  op_ = op;
  begun_ = true;
  counted_ = !shape.list;
  strings_ = stringsLeft_ = shape.list ? 0 : shape.strings;
  at_ = 1;
  return NeedMore{};
}

Parsed Parser::readCount(std::string_view input) {
  if (input.size() - at_ < 8) {
    wanted_ = at_ + 8;
    return NeedMore{};
  }
  const uint64_t items = load<uint64_t>(input, at_);
  if (items > limits_.listKeys) return Malformed{"too many keys", items, limits_.listKeys};
  counted_ = true;
  strings_ = stringsLeft_ = items * shapeOf(op_).strings;
  at_ += 8;
  return NeedMore{};
}

Parsed Parser::readStrings(std::string_view input) {
  const uint8_t perItem = shapeOf(op_).strings;
  while (stringsLeft_ > 0) {
    const bool first = stringsLeft_ == strings_;
    const bool isKey = perItem == 1 || (strings_ - stringsLeft_) % perItem == 0;
    if (dialect_ == Dialect::Headerless && op_ == Op::Append && !first) {
      // APPEND's value follows, or DELETE_KEY's client waits; undecided().
      undecided_ = input.size() == at_;
      if (!undecided_) dialect_ = Dialect::B;
    }
    if (input.size() - at_ < 8) {
      wanted_ = undecided_ ? at_ + 1 : at_ + 8;
      return NeedMore{};
    }
    const uint64_t length = load<uint64_t>(input, at_);
    if (isKey && length > limits_.keyBytes)
      return Malformed{"Invalid string size", length, limits_.keyBytes};
    if (!isKey && length > limits_.valueBytes)
      return Malformed{"Invalid payload size", length, limits_.valueBytes};
    if (at_ + 8 + length > limits_.requestBytes)
      return Malformed{"request too large", at_ + 8 + length, limits_.requestBytes};
    if (input.size() - at_ - 8 < length) {
      wanted_ = at_ + 8 + length;
      return NeedMore{};
    }
    at_ += 8 + length;
    stringsLeft_--;
  }
  return NeedMore{};
}

Parsed Parser::finish(std::string_view input) {
  const Shape& shape = shapeOf(op_);
  if (input.size() - at_ < shape.tail) {
    wanted_ = at_ + shape.tail;
    return NeedMore{};
  }

  Whole whole{{.op = op_}, at_ + shape.tail};
  Request& request = whole.request;
  if (shape.tail == 8) request.number = load<int64_t>(input, at_);
  if (shape.tail == 4) request.nonce = load<uint32_t>(input, at_);
  if (shape.list) {
    request.list = Strings(input.substr(1 + 8, at_ - 1 - 8), strings_);
  } else if (shape.strings > 0) {
    auto string = Strings(input.substr(1), shape.strings).begin();
    request.key = *string;
    // `settle` makes an APPEND without a value a DELETE_KEY, whose shape has but the key.
    if (shape.strings == 3) request.expected = *++string;
    if (shape.strings >= 2) request.value = *++string;
  }
  if (op_ == Op::Validate && request.nonce != kMagic) return Malformed{"wrong magic"};

  begun_ = false;
  at_ = 0;
  wanted_ = 1;
  return whole;
}

void appendU32(std::string& out, uint32_t value) {
  append(out, value);
}
void appendI64(std::string& out, int64_t value) {
  append(out, value);
}
void appendString(std::string& out, std::string_view bytes) {
  append<uint64_t>(out, bytes.size());
  out.append(bytes);
}

void appendRequest(std::string& out, Dialect dialect, const Request& request) {
  const auto number = numberOf(dialect, request.op);
  if (!number) return;
  const Shape& shape = shapeOf(request.op);
  out += static_cast<char>(*number);
  if (shape.list) {
    append<uint64_t>(out, request.list.size() / shape.strings);
    for (const std::string_view string : request.list) appendString(out, string);
  } else {
    if (shape.strings >= 1) appendString(out, request.key);
    if (shape.strings == 3) appendString(out, request.expected);
    if (shape.strings >= 2) appendString(out, request.value);
  }
  if (shape.tail == 8) appendI64(out, request.number);
  if (shape.tail == 4) appendU32(out, request.nonce);
}

void appendHello(std::string& out, Dialect dialect) {
  if (dialect != Dialect::D) return;
  appendRequest(out, dialect, {.op = Op::Validate, .nonce = kMagic});
}

}  // namespace regroup::store
