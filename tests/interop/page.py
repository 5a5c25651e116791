"""What the tests of the pages share: names that would like to be more than text, a strict parser, and a browser."""
import base64
import fcntl
import hashlib
import html.parser
import json
import os
import re
import select
import shutil
import subprocess
import time

VOID = {"meta", "input", "wbr"}
HOSTILE = ["<script>alert(1)</script>", "a\"onload='alert(1)'", "rtl\u202egnp", "esc\x1b[31m", "&lt;b&gt;", "\u6f22\u00e9",
           "<img src=x onerror=alert(1)>", "__proto__.constructor"]
SHOWN = {"rtl\u202egnp": "rtl\\u{202e}gnp", "esc\x1b[31m": "esc\\x1b[31m"}


class Page(html.parser.HTMLParser):
    """A page that was written: tags close in order, nothing in it acts or loads but its one style and one script, and
    these are the ones that its policy names. `rows` has each table row's cells, as text, without what SVG holds."""

    def __init__(self, path):
        super().__init__()
        self.open, self.tags, self.rows, self.titles, self.policy = [], [], [], [], ""
        self.blocks = {"style": [], "script": []}
        with open(path, encoding="utf-8") as file:
            self.text = file.read()
        self.feed(self.text)
        assert not self.open, self.open
        for kind, blocks in self.blocks.items():
            digest = base64.b64encode(hashlib.sha256("".join(blocks).encode()).digest()).decode()
            assert self.tags.count(kind) == 1 and f"{kind}-src 'sha256-{digest}'" in self.policy, (kind, digest)
        assert "default-src 'none'" in self.policy and not re.search(r"https?://|@import|url\(", self.text)
        assert not re.search("[\u202e\x1b]", self.text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for key, value in attributes:
            assert not key.startswith("on") and key not in ("src", "href", "style", "srcdoc"), (tag, key, value)
            if key == "content" and "default-src" in value:
                self.policy = value
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
        if tag == "title":
            self.titles.append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1] in self.blocks:
            self.blocks[self.open[-1]].append(data)
        elif self.open and self.open[-1] == "td":
            self.rows[-1][-1] += data
        elif self.open and self.open[-1] == "title":
            self.titles[-1] += data

    def cells(self, name):
        """The row of a tensor."""
        (row,) = [row for row in self.rows if row and row[0] == name]
        return row


class Browser:
    """A page as a headless Chromium shows it, over the pipe of its debugging protocol: what it evaluates there is no
    script of the page, so the page's policy stays as it is."""

    def __init__(self, chromium, folder, path):
        to_child, self.to = os.pipe()
        self.answers, from_child = os.pipe()
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (to_child, from_child)]  # out of the way of 3 and 4
        os.close(to_child)
        os.close(from_child)
        self.process = subprocess.Popen(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
             "--window-size=1200,900", "--remote-debugging-pipe"],
            preexec_fn=lambda: [os.dup2(fd, 3 + i) for i, fd in enumerate(ends)], pass_fds=(3, 4), stderr=subprocess.DEVNULL)
        for fd in ends:
            os.close(fd)
        self.number, self.buffer, self.events, self.session = 0, b"", [], None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log"):
            self.call(domain + ".enable")
        self.call("Page.navigate", url=f"file://{path}")
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self.read())

    def read(self):
        deadline = time.monotonic() + 60
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.answers], [], [], max(0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self.answers, 1 << 16)
            assert part, "the browser has gone"
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(message)
        assert message.get("method") != "Page.javascriptDialogOpening", message
        return message

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def key(self, key, text=""):
        for kind in ("keyDown", "keyUp"):
            codes = {"windowsVirtualKeyCode": 13} if key == "Enter" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text if kind == "keyDown" else "", **codes)

    def close(self):
        self.session = None
        try:
            self.call("Browser.close")  # not killed: its helpers would still write into the folder
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
        os.close(self.to)
        os.close(self.answers)


def in_browser(folder, path, check):
    """Opens the page where there is a Chromium: nothing is loaded or blocked, names are text, search and both themes
    work; then `check(browser)`."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print("not looked at in a browser: there is no chromium here")
        return
    browser = Browser(chromium, folder, os.path.abspath(path))
    try:
        assert browser.value("[document.scripts.length, document.images.length]") == [1, 0]
        names = browser.value("[...document.querySelectorAll('table.list tbody tr:not(.group)')].map(r => r.cells[0].textContent)")
        assert {SHOWN.get(name, name) for name in HOSTILE} <= set(names), names

        shown = "[...document.querySelectorAll('table.list tbody tr:not(.group)')].filter(r => !r.hidden).length"
        browser.key("/", "/")
        browser.call("Input.insertText", text="SCRIPT")
        matching = sum("script" in name.lower() for name in names)
        assert browser.value("document.getElementById('search').value") == "SCRIPT"
        assert browser.value(shown) == matching > 0
        assert browser.value("document.querySelector('output').value") == f"{matching} of {len(names)}"
        browser.value("search.value = ''; find()")
        assert browser.value(shown) == len(names)

        back = "getComputedStyle(document.body).backgroundColor"
        colours = []
        for scheme in ("light", "dark"):
            browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            colours.append(browser.value(back))
        browser.value("document.getElementById('theme').click()")
        assert colours[0] != colours[1] and browser.value(back) == colours[0], colours

        check(browser)
        browser.value("0")  # so that what came before it has arrived
        urls = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
        complaints = [e["params"]["entry"] for e in browser.events if e["method"] == "Log.entryAdded"]
        assert len(urls) == 1 and not complaints, (urls, complaints)
    finally:
        browser.close()
