#pragma once

#include <napi.h>

namespace regroup {

void initSharedStore(Napi::Env env, Napi::Object exports);

}  // namespace regroup
