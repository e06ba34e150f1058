#include "core/output/lines.h"

#include "test/native/tap.h"

using namespace regroup;
using namespace std::literals;

namespace {

/// What comes out for `input`, given in pieces of `step` bytes, the first of them `first` bytes.
std::string feedAll(Lines lines, std::string_view input, size_t first, size_t step,
                    size_t roomBytes = 4 * kMaxPieceBytes) {
  LineBuffer out(roomBytes);
  std::string all;
  for (size_t size = first; !input.empty(); size = step) {
    std::string_view piece = input.substr(0, size);
    input.remove_prefix(piece.size());
    while (!piece.empty()) {
      out.reset();
      piece.remove_prefix(lines.feed(piece, out));
      all += out.view();
    }
  }
  out.reset();
  lines.finish(out);
  all += out.view();
  return all;
}

struct Case {
  std::string_view input;
  std::string_view output;
};

const Case kCases[] = {
    {"", ""},
    {"a\n", "> a\n"},
    {"a\nb\n", "> a\n> b\n"},
    {"\n", "> \n"},
    {"\n\n", "> \n> \n"},
    {"no end", "> no end\n"},
    {"a\nno end", "> a\n> no end\n"},
    {"a\r\nb\r\n", "> a\n> b\n"},
    {"\r\n", "> \n"},
    {"\r\n\r\n", "> \n> \n"},
    {"a\r\n\r\nb", "> a\n> \n> b\n"},
    {"a\n\r\n", "> a\n> \n"},
    {"a\r\r\n", "> a\n"},
    {"a\r\n\n", "> a\n> \n"},
    {"\r 10%\r 20%\r100%\n", ">  10%\n>  20%\n> 100%\n"},
    {"10%\r20%\r", "> 10%\n> 20%\n"},
    {"10%\r\r20%", "> 10%\n> 20%\n"},
    {"\r", ""},
    {"a\0b\n\0\n"sv, "> a\0b\n> \0\n"sv},
    {"\xff\xfe\n\xe2\x82\xac\n\xe2\x82\n\xe2", "> \xff\xfe\n> \xe2\x82\xac\n> \xe2\x82\n> \xe2\n"},
    {"\x1b[31mred\x1b[0m\n", "> \x1b[31mred\x1b[0m\n"},
};

std::string number(size_t n) {
  return std::to_string(n);
}

}  // namespace

TEST("each line comes behind the prefix, however the bytes are cut into reads") {
  for (const Case& test : kCases) {
    for (size_t first = 1; first <= test.input.size() + 1; first++) {
      for (size_t step = 1; step <= test.input.size() + 1; step++)
        CHECK_EQ(feedAll(Lines("> "), test.input, first, step), test.output);
    }
  }
}

TEST("a line ends itself at once, and an unfinished one is held back") {
  Lines lines("> ");
  LineBuffer out(4 * kMaxPieceBytes);

  CHECK_EQ(lines.feed("one\ntwo", out), 7);
  CHECK_EQ(out.view(), "> one\n");
  CHECK_EQ(lines.feed("\r", out), 1);
  CHECK_EQ(out.view(), "> one\n> two\n");
  CHECK_EQ(lines.feed("\nthree", out), 6);
  CHECK_EQ(out.view(), "> one\n> two\n");
}

TEST("a line longer than the limit loses no byte and has one prefix") {
  for (const size_t size : {kMaxLineBytes - 1, kMaxLineBytes, kMaxLineBytes + 1,
                            3 * kMaxLineBytes - 1, 3 * kMaxLineBytes, 3 * kMaxLineBytes + 1}) {
    std::string line(size, 'x');
    for (size_t i = 0; i < size; i += 7) line[i] = static_cast<char>('a' + i % 26);
    for (const std::string_view end : {"\n", "\r\n", "\r", ""}) {
      const std::string input = "before\n" + line + std::string(end) + "after\n";
      const std::string want =
          end.empty() ? "> before\n> " + line + "after\n" : "> before\n> " + line + "\n> after\n";
      for (const size_t step : {size_t{997}, size_t{4096}, kMaxLineBytes - 1, kMaxLineBytes,
                                kMaxLineBytes + 1, input.size()})
        CHECK(feedAll(Lines("> "), input, step, step) == want);
    }
  }
}

TEST("what finds no room is left to the next call") {
  std::string input;
  std::string want;
  for (size_t i = 0; i < 20'000; i++) {
    input += "line " + number(i) + "\n";
    want += "> line " + number(i) + "\n";
  }

  CHECK(feedAll(Lines("> "), input, input.size(), input.size(), kMaxPieceBytes) == want);
  CHECK(feedAll(Lines("> "), input, input.size(), input.size(), kMaxPieceBytes + 100) == want);

  Lines lines("> ");
  LineBuffer out(kMaxPieceBytes - 1);
  CHECK_EQ(lines.feed("a\n", out), 0);
}

TEST("a line that others have ended goes on behind another prefix") {
  const std::string piece(kMaxLineBytes, 'x');
  Lines lines("> ");
  LineBuffer out(4 * kMaxPieceBytes);
  (void)lines.feed(piece, out);
  CHECK(out.view() == "> " + piece);

  out.reset();
  lines.interrupt();
  (void)lines.feed("rest\nnext\n", out);
  CHECK_EQ(out.view(), "> rest\n> next\n");
}

TEST("a line that others have ended, and that has nothing more, adds nothing") {
  const std::string piece(kMaxLineBytes, 'x');
  Lines lines("> ");
  LineBuffer out(4 * kMaxPieceBytes);
  (void)lines.feed(piece, out);

  out.reset();
  lines.interrupt();
  (void)lines.feed("\nnext\n", out);
  CHECK_EQ(out.view(), "> next\n");

  out.reset();
  lines.interrupt();
  lines.finish(out);
  CHECK_EQ(out.view(), "");
}

TEST("only lines that contain one of the filters pass, however the bytes are cut") {
  const std::string_view input = "loss=1\nstep\nlr\0loss=2\n\nacc 3\rlo\nss=\nloss="sv;
  const std::string_view want = "> loss=1\n> lr\0loss=2\n> acc 3\n> loss=\n"sv;
  for (size_t step = 1; step <= input.size(); step++)
    CHECK_EQ(feedAll(Lines("> ", {"loss=", "acc"}), input, step, step), want);
}

TEST("a long line is judged by its first kMaxLineBytes and passes whole or not at all") {
  const std::string x(kMaxLineBytes - 4, 'x');
  for (const size_t step : {size_t{1000}, kMaxLineBytes, 4 * kMaxLineBytes}) {
    CHECK(feedAll(Lines("> ", {"loss"}), x + "loss" + x + x + "\nno\n", step, step) ==
          "> " + x + "loss" + x + x + "\n");
    CHECK_EQ(feedAll(Lines("> ", {"loss"}), x + " loss" + x + x + "\nloss\n", step, step),
             "> loss\n");
  }
}

TEST("a prefix longer than the limit is cut") {
  const std::string prefix(2 * kMaxPrefixBytes, 'p');
  CHECK(feedAll(Lines(prefix), "a\n", 2, 2) == prefix.substr(kMaxPrefixBytes) + "a\n");
}

TEST("the tail is the last bytes, however they came") {
  std::string input;
  for (int i = 0; i < 1000; i++) input += static_cast<char>(i * 7);
  for (const size_t limit :
       {size_t{0}, size_t{1}, size_t{10}, size_t{999}, size_t{1000}, size_t{5000}}) {
    for (const size_t step :
         {size_t{1}, size_t{3}, size_t{10}, size_t{11}, size_t{600}, size_t{1000}}) {
      Tail tail(limit);
      for (size_t at = 0; at < input.size(); at += step)
        tail.feed(std::string_view(input).substr(at, step));
      CHECK(tail.take() == input.substr(input.size() - std::min(limit, input.size())));
    }
  }
}

TAP_MAIN
