#pragma once

// Symbols that moved into libc in glibc 2.34: the old ones are still there, and 2.28 has only
// those. A sanitizer must find its own, though.
#if defined(__GLIBC__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#if defined(__x86_64__)
#define REGROUP_OLD_SYMBOL(name) __asm__(".symver " #name "," #name "@GLIBC_2.2.5")
#else
#define REGROUP_OLD_SYMBOL(name) __asm__(".symver " #name "," #name "@GLIBC_2.17")
#endif
#else
#define REGROUP_OLD_SYMBOL(name) static_assert(true)
#endif
