#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <vector>

namespace regroup {

// Single values of what JS gave, checked. What doesn't fit gives nothing, and a TypeError is
// pending that names `what`.

/// 2^53: beyond it numbers aren't integers any more.
constexpr double kMaxSafeInteger = 9007199254740991.0;

/// Unless an exception is pending: a getter's own goes first.
std::nullopt_t typeError(Napi::Env env, const std::string& message);

std::optional<Napi::Object> toObject(Napi::Value value, const std::string& what);
/// Undefined if a getter threw; the caller looks for its exception.
Napi::Value get(Napi::Object object, const char* name);
/// Its bytes are UTF-8, but for surrogates U+DC80 to U+DCFF that aren't half of a pair: each is the
/// byte that it ends with.
std::optional<std::string> toString(Napi::Value value, const std::string& what);
std::optional<double> toNumber(Napi::Value value, const std::string& what, double lowest,
                               double highest, bool whole);
std::optional<std::vector<std::string>> toStrings(Napi::Value value, const std::string& what);
/// Integers from 0 to `highest`.
std::optional<std::vector<uint32_t>> toNumbers(Napi::Value value, const std::string& what,
                                               double highest);
/// Leaves `target` as it is when the field is absent. @returns false with an exception pending
bool readOptional(Napi::Object object, const char* name, const std::string& what,
                  std::string& target);

}  // namespace regroup
