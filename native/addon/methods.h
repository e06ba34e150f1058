#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

namespace regroup {

/// A function that JS calls by its name. Its body takes `Self&`, if there is one, and the call; one
/// that returns nothing gives undefined.
///
/// Thread: JS.
template <typename... Self>
struct Method {
  template <typename Body>
  Method(const char* name, Body given) : name(name) {
    using Given = std::invoke_result_t<Body&, Self&..., const Napi::CallbackInfo&>;
    if constexpr (std::is_void_v<Given>) {
      body = [given = std::move(given)](Self&... self, const Napi::CallbackInfo& call) {
        given(self..., call);
        return Napi::Value();
      };
    } else {
      body = std::move(given);
    }
  }

  const char* name;
  std::function<Napi::Value(Self&..., const Napi::CallbackInfo&)> body;
};

/// Adds functions to an object, or to the addon's exports.
inline void addMethods(Napi::Object object, std::span<const Method<>> methods) {
  for (const Method<>& method : methods)
    object.Set(method.name, Napi::Function::New(object.Env(), method.body, method.name));
}

/// Adds methods that are called with `self`; each holds a share of it.
template <typename Self>
void addMethods(Napi::Object object, const std::shared_ptr<Self>& self,
                std::span<const std::type_identity_t<Method<Self>>> methods) {
  for (const Method<Self>& method : methods) {
    const Method<> bound(method.name, [self, body = method.body](const Napi::CallbackInfo& call) {
      return body(*self, call);
    });
    addMethods(object, {&bound, 1});
  }
}

}  // namespace regroup
