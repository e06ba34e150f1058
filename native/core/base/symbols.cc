// What a newer gcc's headers refer to, and older systems' libraries don't have: defined here, and
// seen by nobody else, so that the addon needs no more than glibc 2.28 and gcc 8's libstdc++.
// (Linking libstdc++ statically would need a glibc as new as the build machine's.)

#include <stdlib.h>

#include <memory>

/// GLIBC_2.32: whether shared_ptr may count without atomics. Never, for us.
extern "C" {
char __libc_single_threaded = 0;
}
__asm__(".hidden __libc_single_threaded");

/// GLIBCXX_3.4.29, of every std::vector. Without exceptions it can only abort.
namespace std {
void __throw_bad_array_new_length() { ::abort(); }
}  // namespace std
__asm__(".hidden _ZSt28__throw_bad_array_new_lengthv");

#ifndef __cpp_rtti
/// GLIBCXX_3.4.26, of std::make_shared without RTTI: asks whether code *with* RTTI made the
/// object. We have none.
bool std::_Sp_make_shared_tag::_S_eq(const type_info&) noexcept { return false; }
__asm__(".hidden _ZNSt19_Sp_make_shared_tag5_S_eqERKSt9type_info");
#endif
