#pragma once

#include <napi.h>

namespace regroup {

void initLease(Napi::Object exports);

}  // namespace regroup
