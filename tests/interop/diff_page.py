"""diff --html: the page is well formed, asks nobody for anything, and names from a checkpoint are text in it."""
import base64
import hashlib
import html.parser
import re
import subprocess

from judge import TOOL, np, run

VOID = {"meta", "input"}
HOSTILE = ["<script>alert(1)</script>", "a\"onload='alert(1)'", "rtl\u202egnp", "esc\x1b[31m", "&lt;b&gt;", "\u6f22\u00e9"]
SHOWN = {"rtl\u202egnp": "rtl\\u{202e}gnp", "esc\x1b[31m": "esc\\x1b[31m"}


class Page(html.parser.HTMLParser):
    """Checks that tags close in order, and keeps names, bars and what could act."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.names, self.blocks, self.policy = [], [], [], {"style": [], "script": []}, ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for key, value in attributes:
            assert not key.startswith("on") and key not in ("src", "href", "style", "srcdoc"), (tag, key, value)
            if key == "content" and "default-src" in value:
                self.policy = value
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.names.append(None)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] in self.blocks:
            self.blocks[self.open[-1]].append(data)
        if self.open and self.open[-1] == "td" and self.names[-1] is None:
            self.names[-1] = data


def pages(folder):
    rng = np.random.default_rng(6)
    a = {name: rng.standard_normal(64).astype("f4") for name in HOSTILE}
    b = {name: array + 2.0 ** -n for n, (name, array) in enumerate(a.items())}
    b["nan"] = a["nan"] = np.ones(3)
    b["nan"] = np.array([1, np.nan, 1])
    a["gone"] = b["<img src=x onerror=alert(1)>"] = np.zeros(2)
    np.savez(f"{folder}/a.npz", **a)
    np.savez(f"{folder}/b.npz", **b)
    target = f"{folder}/page.html"
    code = subprocess.run([TOOL, "diff", "--quiet", "--html", target, f"{folder}/a.npz", f"{folder}/b.npz"]).returncode
    assert code == 1, code
    with open(target, encoding="utf-8") as file:
        text = file.read()
    page = Page(text)
    for kind, blocks in page.blocks.items():
        digest = base64.b64encode(hashlib.sha256("".join(blocks).encode()).digest()).decode()
        assert page.tags.count(kind) == 1 and f"{kind}-src 'sha256-{digest}'" in page.policy, (kind, digest)
    assert "default-src 'none'" in page.policy and not re.search(r"https?://|@import|url\(", text)
    wanted = {SHOWN.get(name, name) for name in [*HOSTILE, "nan", "gone", "<img src=x onerror=alert(1)>"]}
    assert wanted == {name for name in page.names if name}, wanted ^ set(page.names)
    assert "1 NaN appeared" in text and not re.search("[\u202e\x1b]", text)
    # One bar of two parts for each tensor with figures, and a histogram of 20 decades where something moved.
    assert page.tags.count("rect") == 2 * (len(HOSTILE) + 1) + 20 * len(HOSTILE), page.tags.count("rect")


run(pages)
