#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "addon/fields.h"

namespace regroup {

/// A reader of an option object's fields, in the order in which they're asked for.
///
/// `convert(value, what)` is one of fields.h, or a function like them: `what` is the field's name
/// behind its object's, and nothing is given with a TypeError pending.
///
/// Invariant: once a field doesn't fit, or its getter throws, an exception is pending and no other
/// field is read; so a caller asks for all, and then once whether they were ok().
/// Thread: JS.
class OptionReader {
 public:
  OptionReader(Napi::Value value, std::string what)
      : what_(std::move(what)), object_(toObject(value, what_)) {}

  template <typename Target, typename Convert>
  void required(const char* name, Target& target, Convert convert) {
    if (const auto value = field(name)) read(*value, name, target, convert);
  }

  /// Leaves `target` as it is where the field is undefined.
  template <typename Target, typename Convert>
  void optional(const char* name, Target& target, Convert convert) {
    const auto value = field(name);
    if (value && !value->IsUndefined()) read(*value, name, target, convert);
  }

  /// Leaves a TypeError pending, unless an exception is: `message` goes on behind the object's
  /// name.
  void refuse(const char* message) {
    if (ok()) (void)typeError(object_->Env(), what_ + message);
    object_.reset();
  }

  bool ok() const { return object_.has_value(); }

 private:
  std::optional<Napi::Value> field(const char* name) {
    if (!ok()) return std::nullopt;
    const Napi::Value value = object_->Get(name);
    if (!object_->Env().IsExceptionPending()) return value;
    object_.reset();
    return std::nullopt;
  }

  template <typename Target, typename Convert>
  void read(Napi::Value value, const char* name, Target& target, Convert convert) {
    auto converted = convert(value, what_ + "." + name);
    if (converted) {
      target = *std::move(converted);
    } else {
      object_.reset();
    }
  }

  std::string what_;
  std::optional<Napi::Object> object_;  // until something doesn't fit
};

/// Converters with bounds, for a reader.
template <typename Integer>
auto integerOf(double lowest, double highest) {
  return [lowest, highest](Napi::Value value, const std::string& what) {
    return toInteger<Integer>(value, what, lowest, highest);
  };
}

inline auto numbersTo(double highest) {
  return [highest](Napi::Value value, const std::string& what) {
    return toNumbers(value, what, highest);
  };
}

template <typename Meaning, size_t kCount>
auto oneOf(const Choice<Meaning> (&choices)[kCount]) {
  return [&choices](Napi::Value value, const std::string& what) {
    return toChoice(value, what, choices);
  };
}

}  // namespace regroup
