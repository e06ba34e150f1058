#include "addon/fields.h"

#include <math.h>

#include <string_view>

namespace regroup {

std::nullopt_t typeError(Napi::Env env, const std::string& message) {
  if (!env.IsExceptionPending()) Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
  return std::nullopt;
}

std::optional<Napi::Object> toObject(Napi::Value value, const std::string& what) {
  if (!value.IsObject()) return typeError(value.Env(), what + " must be an object");
  return value.As<Napi::Object>();
}

std::optional<Napi::Array> toArray(Napi::Value value, const std::string& what) {
  if (!value.IsArray()) return typeError(value.Env(), what + " must be an array");
  return value.As<Napi::Array>();
}

std::optional<Napi::Function> toFunction(Napi::Value value, const std::string& what) {
  if (!value.IsFunction()) return typeError(value.Env(), what + " must be a function");
  return value.As<Napi::Function>();
}

std::optional<bool> toBoolean(Napi::Value value, const std::string& what) {
  if (!value.IsBoolean()) return typeError(value.Env(), what + " must be a boolean");
  return value.As<Napi::Boolean>().Value();
}

namespace {

/// Protects timers from overflow: 24 days, as JS's own.
constexpr double kMaxMs = 2147483647.0;

/// What Node-API has in place of a surrogate without its other half.
constexpr std::string_view kReplacement = "\xef\xbf\xbd";

bool isHigh(char16_t unit) {
  return unit >= 0xd800 && unit < 0xdc00;
}
bool isLow(char16_t unit) {
  return unit >= 0xdc00 && unit < 0xe000;
}
/// A surrogate that stands for one byte from 0x80 on.
bool isByte(char16_t unit) {
  return unit >= 0xdc80 && unit < 0xdd00;
}

void appendUtf8(std::string& text, char32_t point) {
  const auto tail = [&](int shift) {
    text.push_back(static_cast<char>(0x80 | (point >> shift & 0x3f)));
  };
  if (point < 0x80) {
    text.push_back(static_cast<char>(point));
  } else if (point < 0x800) {
    text.push_back(static_cast<char>(0xc0 | point >> 6));
    tail(0);
  } else if (point < 0x10000) {
    text.push_back(static_cast<char>(0xe0 | point >> 12));
    tail(6);
    tail(0);
  } else {
    text.push_back(static_cast<char>(0xf0 | point >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

std::string withBytes(std::u16string_view units) {
  std::string text;
  for (size_t i = 0; i < units.size(); i++) {
    const char16_t unit = units[i];
    if (isHigh(unit) && i + 1 < units.size() && isLow(units[i + 1])) {
      appendUtf8(text, 0x10000 + (char32_t{unit} - 0xd800) * 0x400 + (units[++i] - 0xdc00));
    } else if (isByte(unit)) {
      text.push_back(static_cast<char>(unit - 0xdc00));
    } else if (isHigh(unit) || isLow(unit)) {
      text += kReplacement;
    } else {
      appendUtf8(text, unit);
    }
  }
  return text;
}

/// The bytes that a text stands for, as lib/util/bytes.ts and Python's surrogateescape have them.
std::string bytesOf(Napi::String text) {
  std::string bytes = text.Utf8Value();
  if (bytes.find(kReplacement) == std::string::npos) return bytes;
  return withBytes(text.Utf16Value());
}

}  // namespace

/// Strings go to the kernel, where a NUL would end them early.
std::optional<std::string> toBytes(Napi::Value value, const std::string& what) {
  if (value.Env().IsExceptionPending()) return std::nullopt;
  if (!value.IsString()) return typeError(value.Env(), what + " must be a string");
  return bytesOf(value.As<Napi::String>());
}

std::optional<std::string> toString(Napi::Value value, const std::string& what) {
  auto text = toBytes(value, what);
  if (text && text->find('\0') != std::string::npos)
    return typeError(value.Env(), what + " must not contain a NUL character");
  return text;
}

std::optional<double> toNumber(Napi::Value value, const std::string& what, double lowest,
                               double highest, bool whole) {
  if (value.Env().IsExceptionPending()) return std::nullopt;
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!(number >= lowest && number <= highest) || (whole && number != ::floor(number)))
    return typeError(value.Env(), what + " must be " + (whole ? "an integer" : "a number") +
                                      " from " + std::to_string(static_cast<int64_t>(lowest)) +
                                      " to " + std::to_string(static_cast<int64_t>(highest)));
  return number;
}

std::optional<std::chrono::milliseconds> toMilliseconds(Napi::Value value,
                                                        const std::string& what) {
  const auto number = toNumber(value, what, 0, kMaxMs, false);
  if (!number) return std::nullopt;
  return std::chrono::milliseconds(static_cast<int64_t>(::ceil(*number)));
}

std::optional<std::vector<std::string>> toStrings(Napi::Value value, const std::string& what) {
  return toList<std::string>(value, what, toString);
}

std::optional<std::vector<uint32_t>> toNumbers(Napi::Value value, const std::string& what,
                                               double highest) {
  return toList<uint32_t>(value, what, [highest](Napi::Value item, const std::string& name) {
    return toInteger<uint32_t>(item, name, 0, highest);
  });
}

}  // namespace regroup
