#include "core/output/lines.h"

#include <string.h>

#include <algorithm>
#include <utility>

namespace regroup {

namespace {

const char* find(const char* begin, const char* end, char byte) {
  const void* found = ::memchr(begin, byte, static_cast<size_t>(end - begin));
  return found != nullptr ? static_cast<const char*>(found) : end;
}

bool contains(std::string_view text, std::string_view part) {
  return ::memmem(text.data(), text.size(), part.data(), part.size()) != nullptr;
}

}  // namespace

/// By memchr, which looks at many bytes at a time.
uint64_t countLines(std::string_view bytes) {
  if (bytes.empty()) return 0;
  const char* const end = bytes.data() + bytes.size();
  uint64_t lines = 0;
  for (const char* at = bytes.data(); (at = find(at, end, '\n')) < end; at++) lines++;
  return lines;
}

size_t Lines::feed(std::string_view bytes, LineBuffer& out) {
  if (bytes.empty()) return 0;
  const char* const begin = bytes.data();
  const char* const end = begin + bytes.size();
  const char* at = begin;
  // Few streams have any, so they are looked for once per call, not once per line.
  const char* nextReturn = find(at, end, '\r');

  while (at < end && out.room() >= kMaxPieceBytes) {
    if (nextReturn < at) nextReturn = find(at, end, '\r');
    const size_t span = std::min<size_t>(end - at, kMaxLineBytes - held_.size());
    const char* const limit = at + span;
    const char* const stop = std::min(find(at, limit, '\n'), nextReturn);
    if (stop < limit) {
      endLine({at, static_cast<size_t>(stop - at)}, *stop, out);
      at = stop + 1;
      continue;
    }
    if (held_.size() + span == kMaxLineBytes) {
      givePiece({at, span}, out);
      open_ = true;
    } else {
      held_.append(at, span);
    }
    at = limit;
  }
  return static_cast<size_t>(at - begin);
}

void Lines::showHeld(LineBuffer& out) {
  if (!holds()) return;
  givePiece("", out);
  open_ = true;
}

void Lines::finish(LineBuffer& out) {
  if (open_ || !held_.empty()) endLine("", '\n', out);
}

void Lines::endLine(std::string_view rest, char end, LineBuffer& out) {
  const bool empty = held_.empty() && rest.empty();
  if (empty && !open_) {
    if (end == '\r') return;
    if (std::exchange(shown_, false)) return;
  }
  // Of an interrupted line with nothing to add, everything is out, its end too.
  if (!(empty && interrupted_)) {
    givePiece(rest, out);
    if (wanted_) out.append('\n');
  }
  open_ = interrupted_ = false;
  shown_ = end == '\r';
}

void Lines::givePiece(std::string_view rest, LineBuffer& out) {
  if (!open_) wanted_ = filters_.empty() || passes(rest);
  if (wanted_) {
    if (!open_ || interrupted_) out.append(prefix_);
    interrupted_ = false;
    out.append(held_);
    out.append(rest);
  }
  held_.clear();
}

bool Lines::passes(std::string_view rest) const {
  std::string whole;
  if (!held_.empty()) {
    whole.reserve(held_.size() + rest.size());
    whole.append(held_).append(rest);
    rest = whole;
  }
  for (const std::string& filter : filters_) {
    if (contains(rest, filter)) return true;
  }
  return false;
}

void Tail::feed(std::string_view bytes) {
  if (bytes.size() >= maxBytes_) {
    bytes_.assign(bytes.substr(bytes.size() - maxBytes_));
    return;
  }
  if (bytes_.size() + bytes.size() > 2 * maxBytes_) bytes_.erase(0, bytes_.size() - maxBytes_);
  bytes_.append(bytes);
}

std::string Tail::take() {
  if (bytes_.size() > maxBytes_) bytes_.erase(0, bytes_.size() - maxBytes_);
  return std::move(bytes_);
}

}  // namespace regroup
