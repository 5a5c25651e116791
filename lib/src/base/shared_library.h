#pragma once

#include <dlfcn.h>

namespace netcl::ckpt {

/// A library that is loaded when it is first needed, because most runs do without: linking it would
/// cost each start its relocations. Never unloaded.
class SharedLibrary {
 public:
  /// `soname`: as the dynamic linker knows it, "libzip.so.4".
  explicit SharedLibrary(const char* soname) : handle_(dlopen(soname, RTLD_NOW | RTLD_LOCAL)) {}

  bool loaded() const { return handle_ != nullptr; }

  /// Sets `function` to the symbol of this name. False where there is none.
  template <typename Function>
  bool find(Function*& function, const char* name) const {
    function = handle_ == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(handle_, name));
    return function != nullptr;
  }

 private:
  void* handle_;
};

}  // namespace netcl::ckpt
