"""inspect --html: the page is well formed, its figures are NumPy's, and in a browser the map is drawn to scale."""
import json
import subprocess

from judge import TOOL, np, run
from page import HOSTILE, SHOWN, Page, in_browser


def bins(array):
    """The titles of a histogram's bars, but for their edges."""
    return [f"{n:,}" for n in np.histogram(array, 16)[0] if n]


def pages(folder):
    rng = np.random.default_rng(7)
    arrays = {"model.a.0.weight": rng.standard_normal((40, 30)).astype("f4"), "model.a.0.bias": np.zeros(30, "f4"),
              "model.a.1.weight": rng.standard_normal((30, 20)), "model.b.weight": rng.integers(-9, 9, (10, 20)),
              "model.nan": np.array([1, np.nan, 3, np.inf]), "model.complex": np.ones(5, "c8"), "model.none": np.zeros((0, 4)),
              "model.deep" + ".x" * 5000: np.ones(6), "model.a.0.weight.scale": np.ones(4, "f4"),
              **{"model." + name: rng.standard_normal(64) for name in HOSTILE}, "optimizer.m": np.ones(5000),
              **{name: np.ones(3) for name in HOSTILE}}  # these are neither
    np.savez(f"{folder}/a.npz", **arrays)
    with open(f"{folder}/a.json", "w") as file:
        json.dump({"config": {name: name for name in HOSTILE}}, file)
    (folder / "none.npz").write_bytes(b"nothing")
    target = f"{folder}/page.html"
    done = subprocess.run([TOOL, "inspect", "--html", target, f"{folder}/a.npz"], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done
    page = Page(target)
    shown = {SHOWN.get(name, name) for name in HOSTILE}
    wanted = {name for name in arrays if ".".join(name.split(".")[1:]) not in HOSTILE and name not in HOSTILE}
    wanted |= shown | {"model." + name for name in shown}
    assert {row[0] for row in page.rows if row} == wanted, {row[0] for row in page.rows if row} ^ wanted
    bars = 0
    rows = [row[0] for row in page.rows if row]
    shown_as = {name: "model." + SHOWN.get(name[6:], name[6:]) if name.startswith("model.") else SHOWN.get(name, name)
                for name in arrays}
    for name, array in sorted(arrays.items(), key=lambda a: rows.index(shown_as[a[0]])):
        cells = page.cells(shown_as[name])
        assert cells[1:3] == [array.dtype.name, str(array.shape)], cells
        if array.dtype.kind == "c":
            assert cells[5:] == [""], cells
            continue
        finite = array[np.isfinite(array)].astype("f8")
        figures = [f"{f(finite):.4g}" if finite.size else "nan" for f in (np.min, np.max, np.mean, np.std)]
        counts = [np.count_nonzero(array == 0), np.count_nonzero(np.isnan(array)), np.count_nonzero(np.isinf(array))]
        for got, want in zip(cells[6:10], figures):
            assert got == want or abs(float(got) - float(want)) <= 1e-3 * abs(float(want)), (name, cells, figures)
        assert cells[10:13] == [f"{n:,}" for n in counts], (name, cells, counts)
        if finite.size:
            got = [title.rsplit(": ", 1)[1] for title in page.titles[1 + bars:]]
            want = bins(finite)
            assert got[:len(want)] == want, (name, got[:16], want)
            bars += len(want)
    assert len(page.titles) == 1 + bars, (len(page.titles), bars)
    assert "a\\x1b" not in page.text and "&lt;script&gt;alert(1)&lt;/script&gt;: &#39;&lt;script" in page.text

    everything = sum(a.size for name, a in arrays.items() if name.startswith("model."))

    def look(browser):
        titles = browser.value("[...document.querySelectorAll('.map button')].map(b => b.title)")
        cells = dict(title.rsplit(": ", 1) for title in titles)
        for layer in ("model.a", "model.a.0", "model.a.1.weight", "model.b.weight"):
            n = sum(a.size for name, a in arrays.items() if f"{name}.".startswith(layer + "."))
            assert cells[layer] == f"{n:,} ({100 * n / everything:.1f} %)", (layer, n, cells)
        assert "optimizer.m" not in cells and "model.none" not in cells
        assert "model.<script>alert(1)</script>" in cells and "model.rtl\\u{202e}gnp" in cells, cells

        # The cells of the outermost layers are as large as what they stand for, to a pixel of their sides.
        box = "[...document.querySelectorAll('.map button')].map(b => [b.title, b.offsetWidth, b.offsetHeight])"
        sides = {title.rsplit(": ", 1)[0]: (w, h) for title, w, h in browser.value(box)}
        whole = browser.value("document.querySelector('.map').clientWidth * document.querySelector('.map').clientHeight")
        w, h = sides["model.a"]
        n = sum(a.size for name, a in arrays.items() if name.startswith("model.a."))
        assert abs(w * h - whole * n / everything) <= w + h + 1, (w, h, whole, n, everything)

        # The keyboard: into the layer, along its parts, into the map of that layer, out again, to the table.
        focused = "document.activeElement.title.split(': ')[0]"
        browser.value("document.querySelector('.map button').focus()")
        for key, want in (("ArrowDown", "model.a.0"), ("ArrowRight", "model.a.1.weight"), ("ArrowLeft", "model.a.0"),
                          ("ArrowUp", "model.a"), ("ArrowRight", "model.b.weight"), ("ArrowLeft", "model.a")):
            browser.key(key)
            assert browser.value(focused) == want, (key, want, browser.value(focused))
        browser.key("Enter", "\r")
        trail = "document.querySelector('.trail').textContent.trim().split(/ +/)"
        assert browser.value(trail)[0::2] == ["model", "model.a"], browser.value(trail)
        assert browser.value(focused) == "model.a.0"
        browser.key("Escape")
        browser.key("ArrowRight")
        assert browser.value(focused) == "model.b.weight"
        browser.key("Enter", "\r")
        assert browser.value("document.activeElement.cells[0].textContent") == "model.b.weight"
        browser.value("search.value = 'a.1'; find()")
        clear = "[...document.querySelectorAll('.map button:not(.dim)')].map(b => b.title.split(': ')[0])"
        assert browser.value(clear) == ["model.a", "model.a.1.weight"], browser.value(clear)

    in_browser(folder, target, look)

    # Several files: a section each, one that cannot be read too; a lone file that cannot be read replaces no page.
    both = subprocess.run([TOOL, "inspect", "-q", "--html", target, f"{folder}/a.npz", f"{folder}/none.npz"], capture_output=True)
    assert both.returncode == 2 and Page(target).tags.count("section") == 2, both
    before = open(target).read()
    none = subprocess.run([TOOL, "inspect", "-q", "--html", target, f"{folder}/none.npz"], capture_output=True)
    assert none.returncode == 2 and open(target).read() == before, none


run(pages)
