// Any bytes from a socket: parse() reads nothing outside of them, and says the same of a request
// whether it came alone or with more behind it.
#include <stdlib.h>

#include <string>
#include <string_view>

#include "core/coordination/frames.h"

using namespace regroup::coordination;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // A copy of its own size, so that a sanitizer sees a byte too far.
  const std::string own(reinterpret_cast<const char*>(data), size);
  std::string_view input(own);
  for (;;) {
    const auto parsed = parse(input);
    const auto* const whole = std::get_if<Parsed>(&parsed);
    if (whole == nullptr || !whole->request) return 0;
    if (whole->bytes < kFrameHead || whole->bytes > input.size()) ::abort();
    const std::string alone(input.substr(0, whole->bytes));
    const auto again = parse(alone);
    const auto* const same = std::get_if<Parsed>(&again);
    if (same == nullptr || !same->request || same->bytes != whole->bytes ||
        same->request->body.index() != whole->request->body.index())
      ::abort();
    input.remove_prefix(whole->bytes);
  }
}
