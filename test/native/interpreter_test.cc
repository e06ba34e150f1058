#include "core/preload/interpreter.h"

#include <elf.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>
#include <random>

#include "core/preload/preload_check.h"
#include "test/native/support.h"
#include "test/native/tap.h"

using namespace regroup;
using namespace support;

namespace {

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
#else
constexpr uint16_t kMachine = EM_AARCH64;
#endif

/// What the linker reads of a program.
struct Elf {
  unsigned char elfClass = ELFCLASS64;
  uint16_t machine = kMachine;
  bool interpreter = true;
  std::vector<std::string> symbols = {"PyList_New", "Py_BytesMain"};
  std::vector<std::string> libraries = {"libm.so.6", "libc.so.6"};
};

void put(std::string& file, const void* bytes, size_t size) {
  file.append(static_cast<const char*>(bytes), size);
}

std::string toFile(const Elf& elf) {
  std::string names(1, '\0');
  std::vector<Elf64_Dyn> entries;
  for (const std::string& library : elf.libraries) {
    entries.push_back({DT_NEEDED, {names.size()}});
    names += library + '\0';
  }
  for (const std::string& symbol : elf.symbols) names += symbol + '\0';

  const size_t segments = elf.interpreter ? 3 : 2;
  const size_t dynamicAt = sizeof(Elf64_Ehdr) + segments * sizeof(Elf64_Phdr);
  const size_t dynamicBytes = (entries.size() + 3) * sizeof(Elf64_Dyn);
  const size_t namesAt = dynamicAt + dynamicBytes;
  constexpr uint64_t kBase = 0x400000;
  entries.push_back({DT_STRTAB, {kBase + namesAt}});
  entries.push_back({DT_STRSZ, {names.size()}});
  entries.push_back({DT_NULL, {0}});

  Elf64_Ehdr header{};
  ::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = elf.elfClass;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_DYN;
  header.e_machine = elf.machine;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<uint16_t>(segments);
  std::string file;
  put(file, &header, sizeof header);
  const size_t all = namesAt + names.size();
  const Elf64_Phdr load{PT_LOAD, PF_R, 0, kBase, kBase, all, all, 4096};
  const Elf64_Phdr dynamic{PT_DYNAMIC,        PF_R,         dynamicAt,    kBase + dynamicAt,
                           kBase + dynamicAt, dynamicBytes, dynamicBytes, 8};
  const Elf64_Phdr interpreter{PT_INTERP, PF_R, namesAt, kBase + namesAt, kBase + namesAt, 1, 1, 1};
  put(file, &load, sizeof load);
  put(file, &dynamic, sizeof dynamic);
  if (elf.interpreter) put(file, &interpreter, sizeof interpreter);
  put(file, entries.data(), dynamicBytes);
  return file + names;
}

Preload inspect(const std::string& file) {
  return inspectProgram([&](uint64_t offset, std::span<char> bytes) -> size_t {
    if (offset >= file.size()) return 0;
    const size_t count = std::min(bytes.size(), static_cast<size_t>(file.size() - offset));
    if (count > 0) ::memcpy(bytes.data(), file.data() + offset, count);
    return count;
  });
}

}  // namespace

TEST("CPython of any version and PyPy take what's preloaded") {
  CHECK_EQ(inspect(toFile({})), Preload::Fine);
  for (const char* main : {"Py_Main", "Py_BytesMain", "_Py_UnixMain", "pypy_main_startup"})
    CHECK_EQ(inspect(toFile({.symbols = {main}, .libraries = {"libpython3.so"}})), Preload::Fine);
}

TEST("F-F09 what doesn't take it, or starts something that may not, is told from its file") {
  CHECK_EQ(inspect("#!/bin/sh\nexec python \"$@\"\n" + std::string(200, ' ')), Preload::NotElf);
  CHECK_EQ(inspect(""), Preload::NotElf);
  CHECK_EQ(inspect(toFile({.elfClass = ELFCLASS32})), Preload::OtherMachine);
  CHECK_EQ(inspect(toFile({.machine = EM_PPC64})), Preload::OtherMachine);
  CHECK_EQ(inspect(toFile({.interpreter = false})), Preload::Static);
  CHECK_EQ(inspect(toFile({.symbols = {"main"}})), Preload::NotPython);
  CHECK_EQ(inspect(toFile({.symbols = {"Py_Main2"}})), Preload::NotPython);
}

TEST("F-F09 a Python with a sanitizer in it is told, whichever way that is linked") {
  for (const char* library : {"libasan.so.8", "libtsan.so.2", "libclang_rt.asan-x86_64.so"})
    CHECK_EQ(inspect(toFile({.libraries = {"libc.so.6", library}})), Preload::Sanitized);
  for (const char* symbol : {"__asan_init", "__tsan_init", "__msan_init"})
    CHECK_EQ(inspect(toFile({.symbols = {"Py_BytesMain", symbol}})), Preload::Sanitized);
}

TEST("a program that's cut off or garbled is read within its bounds") {
  const std::string whole = toFile({});
  for (size_t length = 0; length < whole.size(); length++)
    CHECK(inspect(whole.substr(0, length)) != Preload::Fine);

  std::mt19937 random(1);
  for (int i = 0; i < 20'000; i++) {
    std::string garbled = whole;
    for (int each = 0; each < 3; each++)
      garbled[random() % garbled.size()] = static_cast<char>(random());
    (void)inspect(garbled);
  }
}

TEST("real files are looked into: ours, one without Python, one that isn't there") {
  const std::vector<std::string> libraries = {REGROUP_EARLY_LIBRARY};
  CHECK_EQ(checkPreload(REGROUP_EARLY_FIXTURE, libraries), Preload::Fine);
  CHECK_EQ(checkPreload(REGROUP_FIXTURE, libraries), Preload::Static);
  CHECK_EQ(checkPreload("/bin/sh", libraries), Preload::NotPython);
  CHECK_EQ(checkPreload("/bin/nothing/at/all", libraries), Preload::Unread);
  CHECK_EQ(checkPreload("/bin", libraries), Preload::Unread);
  CHECK_EQ(checkPreload(REGROUP_EARLY_FIXTURE, {"/lib/nothing/at/all.so"}), Preload::Unread);
}

TEST("F-F09 the linker takes nothing from the environment of a program with rights of its own") {
  TempDir folder;
  const std::string path = folder.file("python");
  std::string bytes = *readFile(REGROUP_EARLY_FIXTURE, size_t{64} << 20);
  writeFile(path, bytes, 0755);
  CHECK_EQ(checkPreload(path, {}), Preload::Fine);

  CHECK_EQ(::chmod(path.c_str(), 02755), 0);
  CHECK_EQ(checkPreload(path, {}), Preload::Privileged);
  CHECK_EQ(::chmod(path.c_str(), 0755), 0);
  // vfs_cap_data, revision 2: CAP_NET_BIND_SERVICE, permitted and effective.
  const uint32_t capability[] = {0x02000001, 1u << 10, 0, 0, 0};
  if (::setxattr(path.c_str(), "security.capability", capability, sizeof capability, 0) < 0)
    return tap::skip("no capabilities can be given to a file here: run it as root");
  CHECK_EQ(checkPreload(path, {}), Preload::Privileged);
}

TEST("a pipe in the interpreter's place holds up nobody") {
  TempDir folder;
  CHECK_EQ(::mkfifo(folder.file("python").c_str(), 0700), 0);
  PreloadCheck check({});

  check.begin({folder.file("python")});

  CHECK_EQ(check.answer(kLong), Preload::Unread);
}

TEST("one program is looked at once, and the next one anew") {
  TempDir folder;
  const std::string path = folder.file("python");
  CHECK_EQ(::symlink(REGROUP_EARLY_FIXTURE, path.c_str()), 0);
  PreloadCheck check({REGROUP_EARLY_LIBRARY});

  CHECK_EQ(check.answer(kLong), Preload::Unread);
  check.begin({path});
  CHECK_EQ(check.answer(kLong), Preload::Fine);
  CHECK_EQ(::unlink(path.c_str()), 0);
  check.begin({path});
  CHECK_EQ(check.answer(kLong), Preload::Fine);
  check.begin({"/bin/sh"});
  CHECK_EQ(check.answer(kLong), Preload::NotPython);
}

TAP_MAIN
