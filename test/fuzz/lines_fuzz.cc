#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "core/output/lines.h"

// Fed in pieces, a stream gives the same lines as fed at once, and every line is whole.

using namespace regroup;

namespace {

constexpr std::string_view kPrefix = "[default0]:";

[[noreturn]] void wrong() { ::abort(); }

std::string drain(Lines& lines, std::string_view bytes, LineBuffer& out) {
  std::string all;
  while (!bytes.empty()) {
    out.reset();
    const size_t taken = lines.feed(bytes, out);
    if (taken == 0) wrong();
    bytes.remove_prefix(taken);
    all += out.view();
  }
  return all;
}

std::string finish(Lines& lines, LineBuffer& out) {
  out.reset();
  lines.finish(out);
  return std::string(out.view());
}

/// The bytes of an input, with runs made long, so that a small input reaches the limits.
std::string stretch(std::string_view input) {
  std::string all;
  for (size_t i = 0; i < input.size(); i++) {
    if (input[i] == '\x01' && i + 2 < input.size()) {
      const size_t count = static_cast<uint8_t>(input[i + 1]) * 1024 + 255;
      all.append(count, input[i + 2]);
      i += 2;
    } else {
      all += input[i];
    }
  }
  return all;
}

/// The rule, said slowly: what each byte of a stream means for a person.
std::string expected(std::string_view bytes) {
  std::string all;
  std::string line;
  bool shown = false;
  for (const char byte : bytes) {
    if (byte != '\n' && byte != '\r') {
      line += byte;
      continue;
    }
    if (!line.empty() || (byte == '\n' && !shown)) {
      all.append(kPrefix).append(line) += '\n';
      shown = byte == '\r';
    } else if (byte == '\n') {
      shown = false;
    }
    line.clear();
  }
  if (!line.empty()) all.append(kPrefix).append(line) += '\n';
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view cuts = input.substr(0, 4);
  const std::string bytes = stretch(input.substr(4, 64));
  if (bytes.size() > 4 * 1024 * 1024) return 0;

  static LineBuffer out(4 * kMaxPieceBytes);
  const std::string want = expected(bytes);
  for (const bool filtered : {false, true}) {
    const std::vector<std::string> filters =
        filtered ? std::vector<std::string>{"loss", "a"} : std::vector<std::string>{};
    Lines whole(kPrefix, filters);
    std::string atOnce = drain(whole, bytes, out);
    atOnce += finish(whole, out);
    if (!filtered && atOnce != want) wrong();

    Lines pieces(kPrefix, filters);
    Tail tail(static_cast<uint8_t>(cuts[0]));
    std::string inPieces;
    std::string_view rest = bytes;
    for (size_t turn = 0; !rest.empty(); turn++) {
      const size_t step = static_cast<uint8_t>(cuts[turn % 4]) * (bytes.size() / 512 + 1) + 1;
      const std::string_view piece = rest.substr(0, step);
      rest.remove_prefix(piece.size());
      inPieces += drain(pieces, piece, out);
      tail.feed(piece);
    }
    inPieces += finish(pieces, out);
    if (inPieces != atOnce) wrong();

    const size_t kept = std::min<size_t>(static_cast<uint8_t>(cuts[0]), bytes.size());
    if (tail.take() != bytes.substr(bytes.size() - kept)) wrong();
  }
  return 0;
}
