#pragma once

#include <napi.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace regroup {

// Single values of what JS gave, checked. What doesn't fit gives nothing, and a TypeError is
// pending that names `what`. OptionReader reads the fields of an object with these.

/// 2^53: beyond it numbers aren't integers any more.
constexpr double kMaxSafeInteger = 9007199254740991.0;

/// Unless an exception is pending: a getter's own goes first.
std::nullopt_t typeError(Napi::Env env, const std::string& message);

std::optional<Napi::Object> toObject(Napi::Value value, const std::string& what);
std::optional<Napi::Array> toArray(Napi::Value value, const std::string& what);
std::optional<Napi::Function> toFunction(Napi::Value value, const std::string& what);
std::optional<bool> toBoolean(Napi::Value value, const std::string& what);
/// Its bytes are UTF-8, but for surrogates U+DC80 to U+DCFF that aren't half of a pair: each is the
/// byte that it ends with.
std::optional<std::string> toString(Napi::Value value, const std::string& what);
/// The same, and NUL characters may be in it.
std::optional<std::string> toBytes(Napi::Value value, const std::string& what);
std::optional<double> toNumber(Napi::Value value, const std::string& what, double lowest,
                               double highest, bool whole);
/// Rounded up, and 24 days at most.
std::optional<std::chrono::milliseconds> toMilliseconds(Napi::Value value, const std::string& what);
std::optional<std::vector<std::string>> toStrings(Napi::Value value, const std::string& what);
/// Integers from 0 to `highest`.
std::optional<std::vector<uint32_t>> toNumbers(Napi::Value value, const std::string& what,
                                               double highest);

template <typename Integer>
std::optional<Integer> toInteger(Napi::Value value, const std::string& what, double lowest,
                                 double highest) {
  const auto number = toNumber(value, what, lowest, highest, true);
  if (!number) return std::nullopt;
  return static_cast<Integer>(*number);
}

/// The items of an array, each as `toItem(item, what)` gives it.
template <typename Item, typename ToItem>
std::optional<std::vector<Item>> toList(Napi::Value value, const std::string& what, ToItem toItem) {
  const Napi::Env env = value.Env();
  const auto array = toArray(value, what);
  if (!array) return std::nullopt;
  const uint32_t length = array->Length();
  std::vector<Item> items;
  for (uint32_t i = 0; i < length; i++) {
    Napi::HandleScope scope(env);
    const Napi::Value given = array->Get(i);
    if (env.IsExceptionPending()) return std::nullopt;
    auto item = toItem(given, what + "[" + std::to_string(i) + "]");
    if (!item) return std::nullopt;
    items.push_back(*std::move(item));
  }
  return items;
}

/// A word of JS, and what it stands for.
template <typename Meaning>
struct Choice {
  const char* word;
  Meaning meaning;
};

/// The meaning of one of two choices or more.
template <typename Meaning, size_t kCount>
std::optional<Meaning> toChoice(Napi::Value value, const std::string& what,
                                const Choice<Meaning> (&choices)[kCount]) {
  const auto text = toString(value, what);
  if (!text) return std::nullopt;
  std::string words;
  for (size_t i = 0; i < kCount; i++) {
    if (*text == choices[i].word) return choices[i].meaning;
    words.append(i == 0 ? "" : i + 1 < kCount ? ", " : " or ").append(choices[i].word);
  }
  return typeError(value.Env(), what + " must be " + words);
}

}  // namespace regroup
