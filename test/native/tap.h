#pragma once

#include <stdio.h>
#include <string.h>

#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

/// A test file is a list of TEST("a sentence that's true of the product") { … }; it prints TAP
/// and exits with 1 if a check failed. Arguments, if any, are the substrings of the titles to
/// run. REQUIRE leaves the test at once; CHECK goes on.
namespace tap {

struct Test {
  const char* title;
  void (*body)();
};

struct State {
  std::vector<Test> tests;
  std::string failures;  // of the running test
  std::string skipped;
};

inline State& state() {
  static State& state = *new State;
  return state;
}

struct Register {
  Register(const char* title, void (*body)()) { state().tests.push_back({title, body}); }
};

inline void fail(const char* file, int line, const std::string& what) {
  state().failures += "  " + std::string(file) + ":" + std::to_string(line) + ": " + what + "\n";
}

/// Why the rest of the test can't be run here. Say so, then return.
inline void skip(const std::string& why) { state().skipped = why; }

template <typename T>
std::string show(const T& value) {
  std::ostringstream out;
  if constexpr (std::is_enum_v<T>) {
    out << static_cast<long long>(value);
  } else if constexpr (requires { out << value; }) {
    out << value;
  } else {
    out << "(a value)";
  }
  return out.str();
}

template <typename A, typename B>
bool equal(const A& a, const B& b) {
  if constexpr (std::is_integral_v<A> && std::is_integral_v<B> && !std::is_same_v<A, bool> &&
                !std::is_same_v<B, bool>) {
    return static_cast<long long>(a) == static_cast<long long>(b);
  } else {
    return a == b;
  }
}

template <typename A, typename B>
bool checkEqual(const char* file, int line, const char* text, const A& a, const B& b) {
  if (equal(a, b)) return true;
  fail(file, line, std::string(text) + ": " + show(a) + " is not " + show(b));
  return false;
}

inline int run(int argc, char** argv) {
  int number = 0;
  int failed = 0;
  for (const Test& test : state().tests) {
    bool chosen = argc < 2;
    for (int i = 1; i < argc; i++) chosen = chosen || ::strstr(test.title, argv[i]) != nullptr;
    if (!chosen) continue;

    state().failures.clear();
    state().skipped.clear();
    test.body();
    number++;
    const bool ok = state().failures.empty();
    failed += !ok;
    ::printf("%s %d - %s", ok ? "ok" : "not ok", number, test.title);
    if (!state().skipped.empty()) ::printf(" # SKIP %s", state().skipped.c_str());
    ::printf("\n");
    if (!ok) ::printf("  ---\n%s  ...\n", state().failures.c_str());
    ::fflush(stdout);
  }
  ::printf("1..%d\n", number);
  return failed > 0;
}

}  // namespace tap

#define TAP_JOIN2(a, b) a##b
#define TAP_JOIN(a, b) TAP_JOIN2(a, b)
#define TEST(title)                                                                       \
  static void TAP_JOIN(tapTest, __LINE__)();                                              \
  static const tap::Register TAP_JOIN(tapRegister, __LINE__)(title, TAP_JOIN(tapTest, __LINE__)); \
  static void TAP_JOIN(tapTest, __LINE__)()
#define CHECK(x) ((x) ? true : (tap::fail(__FILE__, __LINE__, #x), false))
#define CHECK_EQ(a, b) tap::checkEqual(__FILE__, __LINE__, #a " == " #b, a, b)
#define REQUIRE(x) \
  if (!CHECK(x)) return
#define REQUIRE_EQ(a, b) \
  if (!CHECK_EQ(a, b)) return

/// Once per test program, at its end.
#define TAP_MAIN \
  int main(int argc, char** argv) { return tap::run(argc, argv); }
