#include "addon/fields.h"

#include <math.h>

namespace regroup {

std::nullopt_t typeError(Napi::Env env, const std::string& message) {
  if (!env.IsExceptionPending()) Napi::TypeError::New(env, message).ThrowAsJavaScriptException();
  return std::nullopt;
}

std::optional<Napi::Object> toObject(Napi::Value value, const std::string& what) {
  if (!value.IsObject()) return typeError(value.Env(), what + " must be an object");
  return value.As<Napi::Object>();
}

Napi::Value get(Napi::Object object, const char* name) {
  const Napi::Value value = object.Get(name);
  return value.IsEmpty() ? object.Env().Undefined() : value;
}

/// Strings go to the kernel, where a NUL would end them early.
std::optional<std::string> toString(Napi::Value value, const std::string& what) {
  if (value.Env().IsExceptionPending()) return std::nullopt;
  if (!value.IsString()) return typeError(value.Env(), what + " must be a string");
  std::string text = value.As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos)
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

bool readOptional(Napi::Object object, const char* name, const std::string& what,
                  std::string& target) {
  const Napi::Value value = get(object, name);
  if (object.Env().IsExceptionPending()) return false;
  if (value.IsUndefined()) return true;
  auto text = toString(value, what + "." + name);
  if (!text) return false;
  target = *std::move(text);
  return true;
}

std::optional<std::vector<std::string>> toStrings(Napi::Value value, const std::string& what) {
  Napi::Env env = value.Env();
  if (env.IsExceptionPending()) return std::nullopt;
  if (!value.IsArray()) return typeError(env, what + " must be an array of strings");
  const Napi::Array array = value.As<Napi::Array>();
  const uint32_t length = array.Length();
  std::vector<std::string> strings;
  for (uint32_t i = 0; i < length; i++) {
    Napi::HandleScope scope(env);
    const Napi::Value item = array.Get(i);
    if (env.IsExceptionPending()) return std::nullopt;
    auto text = toString(item, what + "[" + std::to_string(i) + "]");
    if (!text) return std::nullopt;
    strings.push_back(*std::move(text));
  }
  return strings;
}

}  // namespace regroup
