// What stays when a file is replaced by a new one: all that is not its bytes.
//
// An access list has to be copied, not only the mode: of a file that has one, the mode shows the list's mask in the
// place of the group's bits, and setting that mode alone would give the group all that any named user has.
#include "io/file_attributes.h"

#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "base/try.h"

namespace netcl::ckpt {
namespace {

constexpr const char* kAccessList = "system.posix_acl_access";
constexpr const char* kDefaultList = "system.posix_acl_default";

/// An attribute's value; nothing if there is none.
std::optional<std::string> attribute(const std::filesystem::path& path, const char* name) {
  for (;;) {
    const ssize_t size = ::getxattr(path.c_str(), name, nullptr, 0);
    if (size < 0) return std::nullopt;
    std::string value(static_cast<std::size_t>(size), '\0');
    const ssize_t n = ::getxattr(path.c_str(), name, value.data(), value.size());
    if (n < 0 && errno == ERANGE) continue;  // it grew meanwhile
    if (n < 0) return std::nullopt;
    value.resize(static_cast<std::size_t>(n));
    return value;
  }
}

/// Each name behind a NUL; "" if there are none, or the file system has no attributes.
std::string attribute_names(const std::filesystem::path& path) {
  for (;;) {
    const ssize_t size = ::listxattr(path.c_str(), nullptr, 0);
    if (size <= 0) return "";
    std::string names(static_cast<std::size_t>(size), '\0');
    const ssize_t n = ::listxattr(path.c_str(), names.data(), names.size());
    if (n < 0 && errno == ERANGE) continue;
    names.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    return names;
  }
}

bool set_attribute(int fd, const char* name, const std::string& value) {
  return ::fsetxattr(fd, name, value.data(), value.size(), 0) == 0;
}

}  // namespace

Result<void> keep_attributes(int fd, const std::filesystem::path& from, const struct stat& old,
                             const std::string& shown) {
  struct stat own;
  if (::fstat(fd, &own) != 0) return fail_io(errno, shown, "cannot keep its permissions");
  // Ownership first: chown clears set-id bits. Only root may give a file away, others may give it to a group of theirs.
  bool owner = own.st_uid == old.st_uid, group = own.st_gid == old.st_gid;
  if (!owner || !group) {
    const bool both = ::fchown(fd, old.st_uid, old.st_gid) == 0;
    group = both || group || ::fchown(fd, static_cast<uid_t>(-1), old.st_gid) == 0;
    owner = both || owner;
  }
  mode_t mode = old.st_mode & 07777;
  if (!owner || !group) mode &= 01777;
  if (!group) mode &= ~mode_t{070} | ((mode & 07) << 3);  // another group gets no more than everybody

  const auto list = attribute(from, kAccessList);
  if (list && group) {
    if (!set_attribute(fd, kAccessList, *list)) return fail_io(errno, shown, "cannot keep its access list");
  } else {
    ::fremovexattr(fd, kAccessList);  // that the folder gives to what is made in it
    if (list) mode &= ~mode_t{070};
  }
  if (::fchmod(fd, mode) != 0) return fail_io(errno, shown, "cannot keep its permissions");
  if (S_ISDIR(old.st_mode)) {
    const auto inherited = attribute(from, kDefaultList);
    if (!inherited) {
      ::fremovexattr(fd, kDefaultList);
    } else if (!set_attribute(fd, kDefaultList, *inherited)) {
      return fail_io(errno, shown, "cannot keep its access list");
    }
  }

  const std::string names = attribute_names(from);
  for (std::size_t at = 0; at < names.size(); at += std::strlen(names.c_str() + at) + 1) {
    const char* const name = names.c_str() + at;
    const bool users = std::string_view(name).starts_with("user.");
    if (!users && std::string_view(name) != "security.selinux") continue;
    const auto value = attribute(from, name);
    const bool kept = value && set_attribute(fd, name, *value);
    // The label is the system's to give; it has given one already.
    if (!kept && users) return fail_io(errno, shown, fmt::format("cannot keep its attribute '{}'", name));
  }
  return {};
}

}  // namespace netcl::ckpt
