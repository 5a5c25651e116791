#pragma once

#include <string>
#include <string_view>

#include "netcl/ckpt/error.h"

namespace netcl::ckpt::app {

/// Text from a file as the content of an element or of a quoted attribute: escape()d, so that nothing
/// hides or changes the direction of what is around it, and none of it is markup.
std::string html_text(std::string_view text);

/// The same for what is escape()d already, line breaks between its lines apart.
std::string html_lines(std::string_view lines);

/// One page that needs no network: `main` is its content, HTML already; `title` is text. It follows the reader's
/// choice of dark or light, has a button for it, and a field that hides the rows of tables of class "list" whose
/// name (their first cell) does not contain what is typed. A `<div class="map">` becomes a treemap of the rows of
/// its section's `<tbody class="mapped">`: by their dotted names, as large as their `data-n`.
std::string html_page(std::string_view title, std::string_view main);

/// Puts a page in place at `path` in one step.
Result<void> write_page(const std::string& path, const std::string& page);

}  // namespace netcl::ckpt::app
