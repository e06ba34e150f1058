#include <string>
#include <utility>

#include "core/base/bytes.h"
#include "core/store/garbage.h"
#include "core/store/reply.h"
#include "core/store/value.h"
#include "test/native/tap.h"

using namespace regroup;
using namespace regroup::store;

namespace {

/// Bytes that tell where they are.
std::string pattern(size_t size, size_t from = 0) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; i++) bytes[i] = static_cast<char>((from + i) * 2654435761u >> 24);
  return bytes;
}

std::string textOf(const Value& value) {
  std::string text;
  for (size_t i = 0; i < value.parts(); i++) text += value.part(i);
  return text;
}

}  // namespace

TEST("bytes are kept in their order, however many they become") {
  Bytes bytes;
  const std::string all = pattern(5 << 20);
  for (size_t at = 0; at < all.size(); at += 70'000) bytes.append(all.substr(at, 70'000));
  CHECK(bytes.isLarge());
  CHECK(bytes.view() == all);

  bytes.dropFront(1'234'567);
  CHECK(bytes.view() == std::string_view(all).substr(1'234'567));
  Bytes moved = std::move(bytes);
  CHECK(moved.view() == std::string_view(all).substr(1'234'567));
  CHECK(bytes.empty());
  moved.dropFront(moved.size());
  moved.append("more");
  CHECK_EQ(moved.view(), "more");
}

TEST("large bytes stay where they are when more come") {
  Bytes bytes;
  bytes.append(std::string(2 << 20, 'x'));
  const char* const at = bytes.view().data();
  for (int i = 0; i < 100; i++) bytes.append(std::string(1 << 20, 'y'));
  CHECK(bytes.view().data() == at);
}

TEST("large bytes are given back in steps") {
  Bytes bytes;
  bytes.append(pattern(9 << 20));
  const size_t held = bytes.held();
  CHECK(held >= size_t{9} << 20);

  CHECK(bytes.freeSome());
  CHECK(bytes.held() < held);
  CHECK(bytes.held() > 0);
  while (bytes.freeSome()) continue;
  CHECK_EQ(bytes.held(), std::string().capacity());
}

TEST("a value gives what was put in, whole or in pieces") {
  for (const size_t size : {0ul, 1ul, Value::kWholeBytes, Value::kWholeBytes + 1,
                            Value::kPieceBytes, Value::kPieceBytes + 1, 3 * Value::kPieceBytes}) {
    const std::string bytes = pattern(size);
    const Value value{bytes};
    CHECK_EQ(value.size(), size);
    CHECK(textOf(value) == bytes);
    CHECK_EQ(value.text().has_value(), size <= Value::kPieceBytes);
    CHECK(value.has(bytes, 0));
    if (size < 2) continue;
    CHECK(value.has(std::string_view(bytes).substr(size / 2), size / 2));
    CHECK(!value.has(pattern(size, 1), 0));
    CHECK(!value.has("beyond", size - 1));
  }
}

TEST("a value that's copied step by step is the same as one that's set at once") {
  const std::string bytes = pattern(3 * Value::kPieceBytes + 5);
  Value value;
  for (size_t at = 0; at < bytes.size(); at += 100'001)
    value.append(std::string_view(bytes).substr(at, 100'001), bytes.size());
  CHECK(textOf(value) == bytes);
  CHECK_EQ(value.parts(), 4u);
}

TEST("what's shared of a value doesn't change when the value grows") {
  const std::string bytes = pattern(100'000);
  Value value{bytes};
  const Value before = value.shared();
  CHECK(value.isSame(before));

  value.append("more");
  CHECK(textOf(before) == bytes);
  CHECK(textOf(value) == bytes + "more");
  CHECK(!value.isSame(before));

  Value tail{pattern(50'000)};
  value.append(std::move(tail));
  CHECK(textOf(value) == bytes + "more" + pattern(50'000));
}

TEST("a value that grew by a byte at a time costs at most twice its size, and what's foretold") {
  Value value;
  for (int i = 0; i < 100'000; i++) {
    const size_t foretold = value.cost() + value.costOf(1);
    value.append("x");
    if (!CHECK(value.cost() <= foretold)) return;
  }
  CHECK(value.cost() < 250'000);
}

TEST("a reply gathers texts and pieces in their order, and drops what's sent") {
  const Value large{pattern(2 * Value::kPieceBytes + 7)};
  Reply reply;
  reply.append("head");
  reply.append(large);
  reply.append("tail");
  Reply more;
  more.append("more");
  more.append(large);
  reply.append(std::move(more));
  const std::string all = "head" + textOf(large) + "tail" + "more" + textOf(large);
  CHECK_EQ(reply.size(), all.size());
  CHECK(reply.flat() == all);

  std::string sent;
  while (!reply.empty()) {
    iovec parts[3];
    const size_t count = reply.gather(parts, 3, 700'000);
    size_t taken = 0;
    for (size_t i = 0; i < count; i++) {
      // The kernel takes a part of the last one.
      const size_t size = i + 1 == count ? (parts[i].iov_len + 1) / 2 : parts[i].iov_len;
      sent.append(static_cast<const char*>(parts[i].iov_base), size);
      taken += size;
    }
    if (!CHECK(taken > 0)) return;
    reply.drop(taken);
    if (!CHECK_EQ(reply.size() + sent.size(), all.size())) return;
  }
  CHECK(sent == all);
}

TEST("F-N07 a reply of a large value copies nothing of it") {
  const Value large{pattern(10 * Value::kPieceBytes)};
  Reply reply;
  reply.append(large);
  for (size_t i = 0; i < large.parts(); i++) CHECK_EQ(large.piece(i).use_count(), 3);  // and this
}

TEST("garbage is freed in steps, and small things at once") {
  Garbage garbage;
  garbage.add(Value("small"));
  CHECK(garbage.isEmpty());
  garbage.add(Value(pattern(4 * Value::kPieceBytes)));
  Bytes bytes;
  bytes.append(pattern(5 << 20));
  garbage.add(std::move(bytes));
  int steps = 0;
  while (garbage.freeSome()) steps++;
  CHECK(steps > 5);
  CHECK(garbage.isEmpty());
}

TAP_MAIN
