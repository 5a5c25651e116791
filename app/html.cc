// A page that may be mailed and opened anywhere. Its content is from files that nobody trusts: all text is
// escaped, and should one place have been forgotten, the page's policy (Content Security Policy, level 2)
// still runs no script and takes no style but the two below, by their SHA-256, and loads nothing. Rejected:
// drawing from JSON in a script, which would show nothing where scripts are off, in a mail for instance.
#include "html.h"

#include "terminal.h"

namespace netcl::ckpt::app {
namespace {

constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --dim: #667; --line: #dde; --bar: #2563c9; --mark: #c22; }
@media (prefers-color-scheme: dark) { :root:not([data-theme=light]) { --back: #14171c; --text: #e4e6ea; --dim: #99a; --line: #333a45; --bar: #6aa1ff; --mark: #f77; } }
:root[data-theme=dark] { color-scheme: dark; --back: #14171c; --text: #e4e6ea; --dim: #99a; --line: #333a45; --bar: #6aa1ff; --mark: #f77; }
:root[data-theme=light] { color-scheme: light; }
body { margin: 2em; background: var(--back); color: var(--text); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.4em; overflow-wrap: anywhere; }
p.verdict { font-weight: 600; }
header { display: flex; gap: 1em; margin: 1em 0; }
input { flex: 1; max-width: 30em; font: inherit; padding: .3em .6em; }
button { font: inherit; }
table { border-collapse: collapse; margin-bottom: 2em; font-variant-numeric: tabular-nums; }
th, td { text-align: right; white-space: nowrap; padding: .25em .8em; border-bottom: 1px solid var(--line); }
th { position: sticky; top: 0; background: var(--back); color: var(--dim); font-weight: 500; }
td:first-child, th:first-child, td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; }
td:first-child { font-family: ui-monospace, monospace; }
svg { vertical-align: middle; }
rect { fill: var(--bar); }
rect.rest { fill: var(--line); }
.mark { color: var(--mark); }
)";

constexpr std::string_view kScript = R"(
'use strict';
const root = document.documentElement;
document.getElementById('theme').addEventListener('click', () => {
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
});
document.getElementById('search').addEventListener('input', event => {
  const wanted = event.target.value.toLowerCase();
  for (const row of document.querySelectorAll('table.list tbody tr'))
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
});
)";

// What `openssl dgst -sha256 -binary | base64` says of the two; tests/interop/diff_page.py holds them to it.
constexpr std::string_view kStyleHash = "VIwORUoHgefs5H8aF1/hR0h3ndW10oLb9wRxj+CDxMU=";
constexpr std::string_view kScriptHash = "Jk+oyczxV99rR7M58xNqB4dgMyuE60QQBothd6YEroE=";

}  // namespace

std::string html_text(std::string_view text) {
  std::string out;
  for (const char c : escape(text)) {
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

std::string html_page(std::string_view title, std::string_view main) {
  std::string out = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n";
  const auto add = [&out](auto... parts) { (out.append(parts), ...); };
  add("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; base-uri 'none'; form-action "
      "'none'; ");
  add("style-src 'sha256-", kStyleHash, "'; script-src 'sha256-", kScriptHash, "'\">\n");
  add("<meta name=\"viewport\" content=\"width=device-width\"><title>", html_text(title), "</title>\n");
  add("<style>", kStyle, "</style></head>\n<body><h1>", html_text(title), "</h1>\n");
  add("<header><input id=\"search\" type=\"search\" placeholder=\"part of a name\" aria-label=\"Search names\">");
  add("<button id=\"theme\" type=\"button\">dark / light</button></header>\n<main>\n", main, "</main>\n");
  add("<script>", kScript, "</script></body></html>\n");
  return out;
}

}  // namespace netcl::ckpt::app
