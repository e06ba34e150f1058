#include "core/preload/interpreter.h"

#include <elf.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace regroup {

namespace {

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t kMachine = EM_AARCH64;
#endif

// They protect us from a file that claims to be larger than any program is. CPython has some ten
// segments, forty entries, and 60 KB of names.
constexpr size_t kMaxSegments = 64;
constexpr size_t kMaxEntries = 1024;
constexpr size_t kMaxNameBytes = 4 * 1024 * 1024;

/// Each interpreter defines or uses one of them. CPython's by version: 2.7 and 3, 3.8 on, 3.7.
constexpr std::string_view kMains[] = {"Py_Main", "Py_BytesMain", "_Py_UnixMain",
                                       "pypy_main_startup"};

/// Of runtimes that are linked statically, as clang does by itself.
constexpr std::string_view kSanitizerSymbols[] = {"__asan_init", "__tsan_init", "__msan_init",
                                                  "__hwasan_init", "__lsan_init"};
constexpr std::string_view kSanitizerLibraries[] = {"libasan.",   "libtsan.", "libmsan.",
                                                    "libhwasan.", "liblsan.", "libclang_rt."};

template <typename T>
bool readAll(const ReadAt& readAt, uint64_t offset, std::span<T> items) {
  const std::span<char> bytes(reinterpret_cast<char*>(items.data()), items.size_bytes());
  return readAt(offset, bytes) == bytes.size();
}

struct Program {
  std::vector<Elf64_Phdr> segments;
  std::vector<Elf64_Dyn> entries;
  std::string names;  // of symbols and libraries
};

const Elf64_Phdr* find(const Program& program, uint32_t type) {
  for (const Elf64_Phdr& segment : program.segments) {
    if (segment.p_type == type) return &segment;
  }
  return nullptr;
}

std::optional<uint64_t> valueOf(const Program& program, int64_t tag) {
  for (const Elf64_Dyn& entry : program.entries) {
    if (entry.d_tag == tag) return entry.d_un.d_val;
  }
  return std::nullopt;
}

std::optional<uint64_t> offsetOf(const Program& program, uint64_t address) {
  for (const Elf64_Phdr& segment : program.segments) {
    if (segment.p_type == PT_LOAD && address >= segment.p_vaddr &&
        address - segment.p_vaddr < segment.p_filesz)
      return segment.p_offset + (address - segment.p_vaddr);
  }
  return std::nullopt;
}

bool readSegments(const ReadAt& readAt, const Elf64_Ehdr& header, Program& program) {
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > kMaxSegments) return false;
  program.segments.resize(header.e_phnum);
  return readAll<Elf64_Phdr>(readAt, header.e_phoff, program.segments);
}

bool readEntries(const ReadAt& readAt, const Elf64_Phdr& dynamic, Program& program) {
  const size_t count = dynamic.p_filesz / sizeof(Elf64_Dyn);
  if (count > kMaxEntries) return false;
  program.entries.resize(count);
  if (!readAll<Elf64_Dyn>(readAt, dynamic.p_offset, program.entries)) return false;
  const auto end = std::find_if(program.entries.begin(), program.entries.end(),
                                [](const Elf64_Dyn& entry) { return entry.d_tag == DT_NULL; });
  program.entries.erase(end, program.entries.end());
  return true;
}

bool readNames(const ReadAt& readAt, Program& program) {
  const auto table = valueOf(program, DT_STRTAB);
  const auto size = valueOf(program, DT_STRSZ);
  if (!table || !size || *size > kMaxNameBytes) return false;
  const auto offset = offsetOf(program, *table);
  if (!offset) return false;
  program.names.resize(*size);
  return readAll<char>(readAt, *offset, program.names);
}

/// Linkers let a name be the end of another one.
bool hasSymbol(const Program& program, std::string_view symbol) {
  const std::string whole = std::string(symbol) + '\0';
  return program.names.find(whole) != std::string::npos;
}

bool needs(const Program& program, std::string_view library) {
  for (const Elf64_Dyn& entry : program.entries) {
    if (entry.d_tag != DT_NEEDED || entry.d_un.d_val >= program.names.size()) continue;
    if (std::string_view(program.names).substr(entry.d_un.d_val).starts_with(library)) return true;
  }
  return false;
}

template <typename Names, typename Has>
bool any(const Names& names, Has has) {
  return std::any_of(std::begin(names), std::end(names), has);
}

}  // namespace

Preload inspectProgram(const ReadAt& readAt) {
  Elf64_Ehdr header{};
  if (!readAll<Elf64_Ehdr>(readAt, 0, {&header, 1})) return Preload::NotElf;
  const unsigned char* const id = header.e_ident;
  if (std::string_view(reinterpret_cast<const char*>(id), SELFMAG) != ELFMAG)
    return Preload::NotElf;
  if (id[EI_CLASS] != ELFCLASS64 || id[EI_DATA] != ELFDATA2LSB || header.e_machine != kMachine)
    return Preload::OtherMachine;

  Program program;
  if (!readSegments(readAt, header, program)) return Preload::NotElf;
  const Elf64_Phdr* const dynamic = find(program, PT_DYNAMIC);
  if (dynamic == nullptr || find(program, PT_INTERP) == nullptr) return Preload::Static;
  if (!readEntries(readAt, *dynamic, program) || !readNames(readAt, program))
    return Preload::NotElf;

  const auto symbol = [&](std::string_view name) { return hasSymbol(program, name); };
  if (!any(kMains, symbol)) return Preload::NotPython;
  if (any(kSanitizerSymbols, symbol) ||
      any(kSanitizerLibraries, [&](std::string_view name) { return needs(program, name); }))
    return Preload::Sanitized;
  return Preload::Fine;
}

}  // namespace regroup
