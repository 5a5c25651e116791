// A page that may be mailed and opened anywhere. Its content is from files that nobody trusts: all text is
// escaped, and should one place have been forgotten, the page's policy (Content Security Policy, level 2)
// still runs no script and takes no style but page.js and page.css, by their SHA-256, and loads nothing. Rejected:
// drawing from JSON in a script, which would show nothing where scripts are off, in a mail for instance. The treemap
// alone is a script's work, from the rows of the table; names go into it as text nodes and attributes, never as HTML.
#include "html/page.h"

#include <span>

#include "netcl/ckpt/output_file.h"
#include "page_embedded.h"
#include "terminal.h"

namespace netcl::ckpt::app {

std::string html_lines(std::string_view lines) {
  std::string out;
  for (const char c : lines) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string html_text(std::string_view text) { return html_lines(escape(text)); }

std::string html_page(std::string_view title, std::string_view main) {
  std::string out = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n";
  const auto add = [&out](auto... parts) { (out.append(parts), ...); };
  add("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; base-uri 'none'; form-action "
      "'none'; ");
  add("style-src 'sha256-", kPageStyleHash, "'; script-src 'sha256-", kPageScriptHash, "'\">\n");
  add("<meta name=\"viewport\" content=\"width=device-width\"><title>", html_text(title), "</title>\n");
  add("<style>", kPageStyle, "</style></head>\n<body><h1>", html_text(title), "</h1>\n");
  add("<header><input id=\"search\" type=\"search\" placeholder=\"part of a name (press /)\" aria-label=\"Search "
      "names\" aria-keyshortcuts=\"/\">");
  add("<button id=\"theme\" type=\"button\">dark / light</button><output></output></header>\n<main>\n", main,
      "</main>\n");
  add("<script>", kPageScript, "</script></body></html>\n");
  return out;
}

Result<void> write_page(const std::string& path, const std::string& page) {
  auto file = OutputFile::create(path, true);
  if (!file) return tl::make_unexpected(std::move(file.error()));
  if (auto written = file->write_at(0, std::as_bytes(std::span(page))); !written) return written;
  return file->commit(page.size());
}

}  // namespace netcl::ckpt::app
