#include "addon/errors.h"

#include <errno.h>
#include <string.h>

#include <string>

namespace regroup {

const char* errnoName(int code) {
  // glibc's strerrorname_np is younger than 2.28; uv_err_name takes negative numbers and knows
  // those that libuv maps, but would tie us to libuv.
  static constexpr struct {
    int code;
    const char* name;
  } kNames[] = {
#define NAME(e) {e, #e}
      NAME(EACCES),  NAME(EADDRINUSE),   NAME(EADDRNOTAVAIL), NAME(EAFNOSUPPORT), NAME(EAGAIN),
      NAME(EBADF),   NAME(EBUSY),        NAME(ECHILD),        NAME(ECONNREFUSED), NAME(EEXIST),
      NAME(EFAULT),  NAME(EINTR),        NAME(EINVAL),        NAME(EIO),          NAME(EISDIR),
      NAME(EMFILE),  NAME(ENAMETOOLONG), NAME(ENFILE),        NAME(ENODEV),       NAME(ENOENT),
      NAME(ENOEXEC), NAME(ENOMEM),       NAME(ENOSPC),        NAME(ENOSYS),       NAME(ENOTDIR),
      NAME(EPERM),   NAME(EPIPE),        NAME(EPROTO),        NAME(ETIMEDOUT),    NAME(EROFS),
      NAME(ESRCH),   NAME(ETXTBSY),      NAME(EDESTADDRREQ),  NAME(ENOTSOCK),     NAME(EPROTOTYPE),
#undef NAME
  };
  for (const auto& known : kNames) {
    if (known.code == code) return known.name;
  }
  return "UNKNOWN";
}

void throwError(Napi::Env env, const Error& error) {
  const std::string message = std::string(error.op) + ": " + ::strerror(error.code);
  Napi::Error thrown = Napi::Error::New(env, message);
  thrown.Set("code", Napi::String::New(env, errnoName(error.code)));
  thrown.Set("errno", Napi::Number::New(env, error.code));
  thrown.Set("syscall", Napi::String::New(env, error.op));
  thrown.ThrowAsJavaScriptException();
}

}  // namespace regroup
