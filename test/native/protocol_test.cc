#include "core/store/protocol.h"

#include "test/native/tap.h"

using namespace regroup::store;

namespace {

/// Bytes from hex and quoted text: `02 u64:2 "/k"`. Blanks and `|` separate.
std::string bytes(std::string_view text) {
  std::string out;
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  for (size_t i = 0; i < text.size();) {
    if (text[i] == ' ' || text[i] == '|') {
      i++;
    } else if (text[i] == '"') {
      const size_t end = text.find('"', i + 1);
      out.append(text.substr(i + 1, end - i - 1));
      i = end + 1;
    } else if (text.substr(i, 4) == "u64:") {
      uint64_t value = 0;
      for (i += 4; i < text.size() && text[i] >= '0' && text[i] <= '9'; i++)
        value = value * 10 + static_cast<uint64_t>(text[i] - '0');
      out.append(reinterpret_cast<const char*>(&value), sizeof value);
    } else {
      out += static_cast<char>(digit(text[i]) * 16 + digit(text[i + 1]));
      i += 2;
    }
  }
  return out;
}

std::string describe(const Request& request) {
  std::string text = nameOf(request.op);
  const auto add = [&text](std::string_view string) {
    text += " '" + std::string(string.substr(0, 40)) + "'";
  };
  switch (request.op) {
    case Op::CompareSet:
      add(request.key);
      add(request.expected);
      add(request.value);
      break;
    case Op::Set:
    case Op::Append:
    case Op::QueuePush:
      add(request.key);
      add(request.value);
      break;
    case Op::Add:
    case Op::Barrier:
      add(request.key);
      text += " " + std::to_string(request.number);
      break;
    case Op::Get:
    case Op::DeleteKey:
    case Op::QueuePop:
    case Op::QueueLen:
      add(request.key);
      break;
    case Op::Ping:
      text += " " + std::to_string(request.nonce);
      break;
    case Op::Check:
    case Op::Wait:
    case Op::MultiGet:
    case Op::MultiSet:
      for (const std::string_view string : request.list) add(string);
      break;
    default:
      break;
  }
  return text + "; ";
}

struct Options {
  Headerless headerless = Headerless::Guessed;
  Limits limits;
  size_t step = SIZE_MAX;  // bytes per read
  bool settle = false;     // nothing more comes at the end
};

/// All requests of a connection, as text; then what's wrong with the rest.
std::string parseAll(std::string_view input, const Options& options = {}) {
  Parser parser(options.headerless, options.limits);
  std::string text;
  size_t begin = 0;
  size_t end = 0;
  bool settled = !options.settle;
  for (;;) {
    // A copy, so that a sanitizer sees a look past what has come.
    const std::string seen(input.substr(begin, end - begin));
    const Parsed parsed = parser.parse(seen);
    if (const auto* whole = std::get_if<Whole>(&parsed)) {
      text += describe(whole->request);
      begin += whole->bytes;
    } else if (const auto* malformed = std::get_if<Malformed>(&parsed)) {
      return text + "! " + malformed->describe();
    } else if (end < input.size()) {
      end = std::min(input.size(), options.step == SIZE_MAX ? SIZE_MAX : end + options.step);
    } else if (!settled) {
      settled = true;
      parser.settle();
    } else {
      return text + (begin < input.size() ? "…" : "");
    }
  }
}

/// However it's cut.
std::string parseCut(std::string_view input, Options options = {}) {
  const std::string whole = parseAll(input, options);
  for (const size_t step : {1, 2, 3, 5, 7, 16}) {
    options.step = step;
    const std::string cut = parseAll(input, options);
    if (cut != whole) return "cut into " + std::to_string(step) + ": " + cut;
  }
  return whole;
}

const std::string kHello = bytes("00 ce f7 85 3c");

struct Case {
  const char* request;
  const char* meaning;
};

}  // namespace

TEST("T-001 T-002 dialect D's recordings are read, however they're cut") {
  const Case cases[] = {
      {"0d e7 71 00 00", "PING 29159; "},
      {"01 02 00 00 00 00 00 00 00 2f 6b 01 00 00 00 00 00 00 00 76", "SET '/k' 'v'; "},
      {"01 01 00 00 00 00 00 00 00 2f 00 00 00 00 00 00 00 00", "SET '/' ''; "},
      {"06 u64:1 u64:2 2f 6b", "WAIT '/k'; "},
      {"03 u64:2 2f 6b", "GET '/k'; "},
      {"04 02 00 00 00 00 00 00 00 2f 6e 05 00 00 00 00 00 00 00", "ADD '/n' 5; "},
      {"04 02 00 00 00 00 00 00 00 2f 6e f9 ff ff ff ff ff ff ff", "ADD '/n' -7; "},
      {"02 u64:3 2f 63 31 u64:0 u64:3 6e 65 77", "COMPARE_SET '/c1' '' 'new'; "},
      {"02 u64:3 2f 63 32 u64:1 78 u64:3 6e 65 77", "COMPARE_SET '/c2' 'x' 'new'; "},
      {"05 u64:2 u64:2 2f 6b u64:5 2f 6e 6f 70 65", "CHECK '/k' '/nope'; "},
      {"06 u64:2 u64:5 2f 6c 61 74 65 u64:2 2f 6b", "WAIT '/late' '/k'; "},
      {"06 u64:0", "WAIT; "},
      {"05 u64:0", "CHECK; "},
      {"0c", "CANCEL_WAIT; "},
      {"07", "GETNUMKEYS; "},
      {"08 u64:3 2f 63 31", "DELETE_KEY '/c1'; "},
      {"09 u64:3 2f 61 31 u64:3 66 6f 6f", "APPEND '/a1' 'foo'; "},
      {"0b u64:2 u64:3 2f 6d 31 u64:3 6f 6e 65 u64:3 2f 6d 32 u64:3 74 77 6f",
       "MULTI_SET '/m1' 'one' '/m2' 'two'; "},
      {"0a u64:2 u64:3 2f 6d 31 u64:3 2f 6d 32", "MULTI_GET '/m1' '/m2'; "},
      {"0a u64:0", "MULTI_GET; "},
      {"0e u64:2 2f 71 u64:2 65 31", "QUEUE_PUSH '/q' 'e1'; "},
      {"10 u64:2 2f 71", "QUEUE_LEN '/q'; "},
      {"0f u64:2 2f 71", "QUEUE_POP '/q'; "},
      {"11", "LIST_KEYS; "},
      {"12 u64:3 2f 62 33 02 00 00 00 00 00 00 00", "BARRIER '/b3' 2; "},
  };
  std::string all = kHello;
  std::string meanings = "VALIDATE; ";
  for (const Case& one : cases) {
    CHECK_EQ(parseCut(kHello + bytes(one.request)), std::string("VALIDATE; ") + one.meaning);
    all += bytes(one.request);
    meanings += one.meaning;
  }

  CHECK_EQ(parseCut(all), meanings);
}

TEST("T-003 T-004 keys and values are opaque") {
  const std::string key("//worker/\0\xff", 11);
  std::string input = kHello;
  appendRequest(input, Dialect::D, {.op = Op::Set, .key = key, .value = std::string_view("\0", 1)});
  appendRequest(input, Dialect::D, {.op = Op::Set, .key = "", .value = ""});

  CHECK_EQ(parseCut(input),
           "VALIDATE; SET '" + key + "' '" + std::string("\0", 1) + "'; SET '' ''; ");
}

TEST("T-007 without a hello nothing is served where headerless clients are refused") {
  const Options refused{.headerless = Headerless::Refused};

  CHECK_EQ(parseCut(bytes("00 u64:2 2f 6b u64:1 76"), refused),
           "! no hello: torch before 2.2 isn't served here");
  CHECK_EQ(parseCut(bytes("06"), refused), "! no hello: torch before 2.2 isn't served here");
  CHECK_EQ(parseCut(kHello + bytes("07"), refused), "VALIDATE; GETNUMKEYS; ");
}

TEST("T-010 the hello makes a connection dialect D, split at any byte") {
  Parser parser(Headerless::Guessed);
  for (size_t seen = 0; seen < kHello.size(); seen++) {
    CHECK(std::holds_alternative<NeedMore>(parser.parse(kHello.substr(0, seen))));
    CHECK_EQ(parser.dialect(), Dialect::Unknown);
  }
  CHECK(std::holds_alternative<Whole>(parser.parse(kHello)));
  CHECK_EQ(parser.dialect(), Dialect::D);
}

TEST("T-011 a first byte 00 without the magic is a headerless SET") {
  CHECK_EQ(parseCut(bytes("00 02 00 00 00 00 00 00 00 2f 6b 01 00 00 00 00 00 00 00 76")),
           "SET '/k' 'v'; ");
  // Nearly a hello, so that the key's length is absurd.
  CHECK_EQ(parseCut(bytes("00 ce f7 85 3d 00 00 00 00")),
           "! Invalid string size: 1032189902, max: 65536");
}

TEST("T-012 a first byte 01 to 0b is headerless, any other is nobody's") {
  CHECK_EQ(parseCut(bytes("06")), "GETNUMKEYS; ");
  CHECK_EQ(parseCut(bytes("05 u64:1 u64:1 6b")), "WAIT 'k'; ");
  CHECK_EQ(parseCut(bytes("0b")), "CANCEL_WAIT; ");
  for (int first = 0x0c; first < 256; first++) {
    CHECK_EQ(parseCut(std::string(1, static_cast<char>(first)) + "rest"),
             "! neither a hello nor an operation");
  }
}

TEST("T-013 T-083 HTTP, a TLS hello and SSH aren't taken for requests") {
  CHECK_EQ(parseCut("GET / HTTP/1.1\r\n\r\n"), "! neither a hello nor an operation");
  CHECK_EQ(parseCut(bytes("16 03 01 02 00 01")), "! neither a hello nor an operation");
  CHECK_EQ(parseCut("SSH-2.0-OpenSSH_9.2\r\n"), "! neither a hello nor an operation");
}

TEST("T-015 a second hello is a request; with another magic it's malformed") {
  CHECK_EQ(parseCut(kHello + kHello), "VALIDATE; VALIDATE; ");
  CHECK_EQ(parseCut(kHello + bytes("00 ce f7 85 3d")), "VALIDATE; ! wrong magic");
}

TEST("T-018 dialect A: 0 to 6, and 8 as DELETE_KEY") {
  const Options a{.headerless = Headerless::A};
  const Case cases[] = {
      {"00 u64:1 6b u64:1 76", "SET 'k' 'v'; "},
      {"01 u64:1 6b u64:0 u64:1 76", "COMPARE_SET 'k' '' 'v'; "},
      {"02 u64:1 6b", "GET 'k'; "},
      {"03 u64:1 6b 01 00 00 00 00 00 00 00", "ADD 'k' 1; "},
      {"04 u64:1 u64:1 6b", "CHECK 'k'; "},
      {"05 u64:1 u64:1 6b", "WAIT 'k'; "},
      {"06", "GETNUMKEYS; "},
      {"08 u64:1 6b", "DELETE_KEY 'k'; "},
  };
  for (const Case& one : cases) CHECK_EQ(parseCut(bytes(one.request), a), one.meaning);
}

TEST("T-018 dialect B: 0 to 6, 7 DELETE_KEY, 8 APPEND, 9 to 11") {
  const Options b{.headerless = Headerless::B};
  const Case cases[] = {
      {"00 u64:1 6b u64:1 76", "SET 'k' 'v'; "},
      {"07 u64:1 6b", "DELETE_KEY 'k'; "},
      {"08 u64:1 6b u64:1 76", "APPEND 'k' 'v'; "},
      {"09 u64:1 u64:1 6b", "MULTI_GET 'k'; "},
      {"0a u64:1 u64:1 6b u64:1 76", "MULTI_SET 'k' 'v'; "},
      {"0b", "CANCEL_WAIT; "},
  };
  for (const Case& one : cases) CHECK_EQ(parseCut(bytes(one.request), b), one.meaning);
}

TEST("T-018 an opcode 8 without hello is APPEND if something follows its key, else DELETE_KEY") {
  const std::string op8 = bytes("08 u64:1 6b");
  Parser parser(Headerless::Guessed);
  CHECK(std::holds_alternative<NeedMore>(parser.parse(op8)));
  CHECK(parser.undecided());

  CHECK_EQ(parseAll(op8, {.settle = true}), "DELETE_KEY 'k'; ");
  CHECK_EQ(parseCut(op8 + bytes("u64:1 76")), "APPEND 'k' 'v'; ");
  // 9 to 11 are B's only, so that its 8 is known from then on.
  CHECK_EQ(parseAll(bytes("0b") + op8, {.settle = true}), "CANCEL_WAIT; …");
}

TEST("T-080 stock's limits are within ours") {
  std::string input = kHello;
  const std::string key(8192, 'k');
  const std::string value(8388608, 'v');
  appendRequest(input, Dialect::D, {.op = Op::Set, .key = key, .value = value});
  std::string keys;
  for (int i = 0; i < 131072; i++) appendString(keys, "k");
  appendRequest(input, Dialect::D, {.op = Op::Check, .list = {keys, 131072}});

  Parser parser(Headerless::Guessed);
  std::string_view rest = input;
  size_t requests = 0;
  for (;;) {
    const Parsed parsed = parser.parse(rest);
    const auto* whole = std::get_if<Whole>(&parsed);
    if (!whole) break;
    requests++;
    rest.remove_prefix(whole->bytes);
  }
  CHECK_EQ(requests, 3);
  CHECK(rest.empty());
}

TEST("T-081 lengths over the limit are refused when they're read") {
  const Options small{
      .limits = {.keyBytes = 4, .valueBytes = 6, .listKeys = 3, .requestBytes = 60}};
  const Case cases[] = {
      {"03 u64:5", "VALIDATE; ! Invalid string size: 5, max: 4"},
      {"01 u64:1 6b u64:7", "VALIDATE; ! Invalid payload size: 7, max: 6"},
      {"06 u64:4", "VALIDATE; ! too many keys: 4, max: 3"},
      {"0b u64:4", "VALIDATE; ! too many keys: 4, max: 3"},
      {"03 u64:1099511627776", "VALIDATE; ! Invalid string size: 1099511627776, max: 4"},
      {"06 00 00 00 00 00 00 00 80", "VALIDATE; ! too many keys: 9223372036854775808, max: 3"},
      {"03 ff ff ff ff ff ff ff ff",
       "VALIDATE; ! Invalid string size: 18446744073709551615, max: 4"},
      {"0b u64:3 u64:1 61 u64:6 \"aaaaaa\" u64:1 62 u64:6 \"bbbbbb\" u64:1 63 u64:6",
       "VALIDATE; ! request too large: 64, max: 60"},
  };
  for (const Case& one : cases) CHECK_EQ(parseCut(kHello + bytes(one.request), small), one.meaning);
}

TEST("T-082 unknown operations are malformed") {
  CHECK_EQ(parseCut(kHello + bytes("13")), "VALIDATE; ! unknown operation: 19, max: 18");
  CHECK_EQ(parseCut(kHello + bytes("ff")), "VALIDATE; ! unknown operation: 255, max: 18");
  CHECK_EQ(parseCut(bytes("06 0c")), "GETNUMKEYS; ! unknown operation: 12, max: 11");
}

TEST("T-084 a long request is looked at once, however many reads it takes") {
  // 200,000 keys in reads of 3 bytes: looking from the start each time would take hours.
  std::string keys;
  for (int i = 0; i < 200'000; i++) appendString(keys, "");
  std::string input = kHello;
  appendRequest(input, Dialect::D, {.op = Op::Wait, .list = {keys, 200'000}});

  Parser parser(Headerless::Guessed);
  REQUIRE(std::holds_alternative<Whole>(parser.parse(kHello)));
  const std::string_view wait = std::string_view(input).substr(kHello.size());
  for (size_t end = 1; end < wait.size(); end += 3)
    REQUIRE(std::holds_alternative<NeedMore>(parser.parse(wait.substr(0, end))));
  CHECK(std::holds_alternative<Whole>(parser.parse(wait)));
}

TEST("every dialect writes what it reads") {
  std::string keys;
  appendString(keys, "k");
  appendString(keys, "v");
  for (const Dialect dialect : {Dialect::A, Dialect::B, Dialect::D}) {
    std::string input;
    appendHello(input, dialect);
    std::string expected = dialect == Dialect::D ? "VALIDATE; " : "";
    for (size_t op = 1; op < kOpCount; op++) {
      Request request{.op = static_cast<Op>(op),
                      .nonce = 7,
                      .number = -3,
                      .key = "key",
                      .value = "value",
                      .expected = "expected",
                      .list = {keys, 2}};
      appendRequest(input, dialect, request);
      if (numberOf(dialect, request.op)) expected += describe(request);
    }

    CHECK_EQ(parseCut(input, {.headerless = dialect == Dialect::A ? Headerless::A : Headerless::B}),
             expected);
  }
}

TAP_MAIN
