#pragma once

#include <napi.h>

namespace regroup {

void initSharedStore(Napi::Object exports);

}  // namespace regroup
