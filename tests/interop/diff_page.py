"""diff --html: the page is well formed, asks nobody for anything, and names from a checkpoint are text in it."""
import subprocess

from judge import TOOL, np, run
from page import HOSTILE, SHOWN, Page, in_browser


def pages(folder):
    rng = np.random.default_rng(6)
    a = {name: rng.standard_normal(64).astype("f4") for name in HOSTILE}
    b = {name: array + 2.0 ** -n for n, (name, array) in enumerate(a.items())}
    b["nan"] = a["nan"] = np.ones(3)
    b["nan"] = np.array([1, np.nan, 1])
    a["gone"] = np.zeros(2)
    np.savez(f"{folder}/a.npz", **a)
    np.savez(f"{folder}/b.npz", **b)
    target = f"{folder}/page.html"
    code = subprocess.run([TOOL, "diff", "--quiet", "--html", target, f"{folder}/a.npz", f"{folder}/b.npz"]).returncode
    assert code == 1, code
    page = Page(target)
    wanted = {SHOWN.get(name, name) for name in [*HOSTILE, "nan", "gone"]}
    assert wanted == {row[0] for row in page.rows if row}, page.rows
    assert page.cells("nan")[-1] == "1 NaN appeared"
    for name in HOSTILE:
        moved = np.abs(b[name].astype("f4").astype("f8") - a[name])
        assert page.cells(SHOWN.get(name, name))[2] == f"{moved.max():.4g}", page.cells(SHOWN.get(name, name))
    # The largest differences, 1 for the first, lie in the decade from 1 on or just below it.
    assert "1e-1 to 1e0" in page.text and "64</title>" in page.text

    def look(browser):
        # A bar of two parts for each tensor with figures, and a histogram over a line where something moved.
        drawn = browser.value("[...document.querySelectorAll('td svg')].map(s => s.getBoundingClientRect().width)")
        assert drawn.count(120) == len(HOSTILE) + 1 and drawn.count(140) == len(HOSTILE), drawn

    in_browser(folder, target, look)


run(pages)
