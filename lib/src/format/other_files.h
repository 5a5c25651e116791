#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "container/zip_directory.h"

namespace netcl::ckpt {

/// What a file that is no checkpoint is, by its first bytes, and the way out; nothing where nobody knows. No pickle
/// begins like one.
std::optional<std::string> describe_other_file(std::string_view head);

/// Whether an archive without data.pkl has only what torch.save has written by the time that it pickles: if that
/// fails, the archive is closed nevertheless.
bool is_torch_remainder(const ZipDirectory& directory);

/// What an archive that holds neither arrays nor torch's data.pkl is, and the way out; nothing where its members are
/// just files.
std::optional<std::string> describe_archive(const ZipDirectory& directory);

/// The same for one of just files, naming some.
std::string describe_plain_archive(const ZipDirectory& directory);

/// What a tar of these files is that is not torch's, naming some, and the way out.
std::string describe_tar(std::span<const std::string_view> files);

}  // namespace netcl::ckpt
