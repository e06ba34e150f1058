#pragma once

#include <napi.h>

#include "core/base/result.h"

namespace regroup {

/// ENOENT for 2, as Node spells it; the number where errno has no name here.
const char* errnoName(int code);

/// A JS Error with `code`, `errno` and `syscall`, pending when this returns.
void throwError(Napi::Env env, const Error& error);

}  // namespace regroup
