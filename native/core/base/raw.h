#pragma once

#include <cstdint>

namespace regroup {

inline constexpr long kSysFutexWaitv = 449;  // both architectures

/// A system call without libc: it neither sets errno, which a vfork child shares with its
/// parent's thread, nor passes through anything that a sanitizer or the dynamic linker may
/// hook. Gives the kernel's answer: -errno on failure.
/// Thread: any, the child too.
[[gnu::always_inline]] inline long rawCall(long number, long a = 0, long b = 0, long c = 0,
                                           long d = 0, long e = 0, long f = 0) {
#if defined(__x86_64__)
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
#elif defined(__aarch64__)
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = d;
  register long x4 asm("x4") = e;
  register long x5 asm("x5") = f;
  asm volatile("svc 0"
               : "+r"(x0)
               : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
               : "memory");
  return x0;
#else
#error "regroup runs on x86_64 and aarch64"
#endif
}

/// clone(2) or clone3(2), `number`, with a stack of its own for the child, which runs
/// `run(arg)` and must never return from it. libc has no wrapper for clone3, and its clone()
/// is hooked by sanitizers. The compiler takes this for an ordinary call that returns once.
///
/// clone3: a = clone_args, b = their size. clone: a = flags, b = the stack's *top*, 16-byte
/// aligned, c = where the pidfd goes; its further arguments, whose order differs between
/// architectures, are 0.
[[gnu::noinline]] inline long rawClone(long number, long a, long b, long c, void (*run)(void*),
                                       void* arg) {
#if defined(__x86_64__)
  long result;
  register long r10 asm("r10") = 0;
  register long r8 asm("r8") = 0;
  register void (*r12)(void*) asm("r12") = run;
  register void* r13 asm("r13") = arg;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r13, %%rdi\n\t"
      "call *%%r12\n\t"
      "ud2\n"
      "1:"
      : "=a"(result)
      : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r12), "r"(r13)
      : "rcx", "r11", "memory", "cc");
  return result;
#elif defined(__aarch64__)
  register long x8 asm("x8") = number;
  register long x0 asm("x0") = a;
  register long x1 asm("x1") = b;
  register long x2 asm("x2") = c;
  register long x3 asm("x3") = 0;
  register long x4 asm("x4") = 0;
  register void (*x19)(void*) asm("x19") = run;
  register void* x20 asm("x20") = arg;
  asm volatile(
      "svc 0\n\t"
      "cbnz x0, 1f\n\t"
      "mov x29, xzr\n\t"
      "mov x0, x20\n\t"
      "blr x19\n\t"
      "brk 1\n"
      "1:"
      : "+r"(x0)
      : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x19), "r"(x20)
      : "memory", "cc");
  return x0;
#endif
}

}  // namespace regroup
