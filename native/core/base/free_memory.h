#pragma once

namespace regroup {

/// Empties a container and gives its memory back. `container = {}` keeps it: that's an assignment
/// of no elements.
template <typename Container>
void freeMemory(Container& container) {
  Container().swap(container);
}

}  // namespace regroup
