"""The page of ``fastconv bench --report``: what it says, that it needs nothing beside it, and that a browser shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("plotly", reason='the page is drawn by plotly: pip install "fastconv[report]"')

from command_line import fails
from fastconv.bench import report

ALGORITHMS = ("winograd", "implicit_gemm")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--allow-file-access-from-files", "--virtual-time-budget=10000"),
)


def row(threads: int, case: str = "n1 c2 8x8 k3 3x3", suite: str = "forward", **changes: Any) -> dict[str, Any]:
    seconds = {f"fastconv {name} NHWC": (1 + index) * 1e-5 / threads for index, name in enumerate(ALGORITHMS)}
    seconds |= {"torch NCHW": 4e-5, "torch channels_last": 3e-5}
    made = {
        "suite": suite,
        "threads": threads,
        "case": case,
        "occurs": {},
        "flops": 2e6,
        "bytes": 1e5,
        "peak": 250.0 * threads,
        "roof": 8e-6 / threads,
    }
    made |= {"seconds": seconds, "least": seconds, "spread": dict.fromkeys(seconds, 0.01)}
    return made | {"kernels": {"fastconv winograd NHWC": "conv_forward__winograd_cpu"}} | changes


def session(*rows: dict[str, Any]) -> dict[str, Any]:
    machine = {"cpu": "<znver5>", "lanes": 16, "threads": 2, "system": "Linux"}
    copies = {"L2": 250.0, "memory": 40.0}
    about = {"date": "2026-11-21", "machine": machine, "versions": {"numba": "0.68"}, "GB/s": {"1": copies, "2": copies}}
    return about | {"rows": list(rows)}


STREAM = row(1, "relu", "streams", copy=40.0, seconds={"fastconv": 1e-5, "torch": 2e-5})
STREAM |= {
    "least": STREAM["seconds"],
    "spread": {"fastconv": 0.3},
    "kernels": {},
    "disturbed": "samples of ours differ by 30%",
}
WHOLE = session(row(1), row(2), STREAM, row(1, "wrong", seconds={}, failed={"fastconv NHWC": "AssertionError: wrong"}))


def text(page: str) -> str:
    """What a reader sees, more or less."""
    page = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def test_it_says_what_was_measured() -> None:
    said = text(report.page(WHOLE))
    assert "Against torch: faster on 3 of 3 problems, 3.30 times as fast in the geometric mean." in said
    assert "1 of 4 rows, marked in the tables, were disturbed" in said
    assert "Wrong or failed, and not timed: fastconv NHWC on wrong." in said
    assert "winograd_cpu 10.0 10.0 1% 200.0 80% 3.00" in said, "times, spread, GFLOP/s, of the roof, × torch"
    assert said.count("No GPU was measured") == 1
    assert "calls until it pays" not in said
    assert "numba 0.68" in said


def test_a_gpu_is_compared_and_its_transfers_weighed() -> None:
    on_gpu = {"fastconv cuda NHWC": 1e-4, "fastconv cuda, there and back": 4.1e-3}
    cases = {"large": {"fastconv NHWC": 1e-3}, "small": {"fastconv NHWC": 1e-5}}
    rows = [row(1, case, seconds=times | on_gpu, kernels={}) for case, times in cases.items()]
    rows[0]["GPU's roof"] = 2e-5
    for made in rows:
        made |= {"least": made["seconds"], "spread": dict.fromkeys(made["seconds"], 0.0)}
    ceilings = {"GPU": {"GB/s": 4000.0, "GFLOP/s": {"tf32": 400e3}}, "GFLOP/s": {"1": 250.0}}
    said = text(report.page(session(*rows) | ceilings))
    assert "No GPU was measured" not in said
    assert "forward large 1 1000.0 100.0 10.00 20% 4000.0 5 " in said
    assert "forward small 1 10.0 100.0 0.10 4000.0 never" in said
    assert "multiply-adds, 1 thread(s) 250 GFLOP/s" in said
    assert "GPU, tf32 400.0 TFLOP/s GPU, copying 4000 GB/s" in said


def test_a_session_of_everything_shows_the_choice_and_the_gain_of_threads() -> None:
    alone = {"seconds": {"fastconv NHWC": 2e-5}, "least": {"fastconv NHWC": 2e-5}, "spread": {"fastconv NHWC": 0.0}}
    others = {"seconds": {"fastconv NHWC": 1e-5, "torch NCHW": 2e-5}, "least": {}, "spread": {}}
    others |= {"least": others["seconds"], "spread": dict.fromkeys(others["seconds"], 0.0)}
    choices = row(2, suite="algorithms")
    choices["seconds"] = {name: taken for name, taken in choices["seconds"].items() if name.startswith("fastconv")}
    page = report.page(session(row(2, kernels={}, **others), row(1, kernels={}, **alone), choices))
    said = text(page)
    assert "2.00 × Convolution, forward torch" in said
    assert "Which algorithm wins where" in said
    assert said.count("is faster.") == 1, "no bars where there is nobody to compare with"
    assert page.count("plotly-graph-div") == 5, "two rooflines, ratios, the choice, the scaling"


def test_it_needs_nothing_beside_it_and_escapes() -> None:
    page = report.page(WHOLE)
    assert not re.search(r"<(script|img|iframe)[^>]*\ssrc=|<link", re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL))
    assert "<znver5>" not in page
    assert page.count("plotly-graph-div") == 6, "two rooflines, two of ratios, a crossover, the scaling"


def test_without_others_it_shows_how_near_to_the_roof_each_is() -> None:
    alone = row(1, seconds={"fastconv NHWC": 1e-5}, least={"fastconv NHWC": 1e-5}, spread={"fastconv NHWC": 0.0})
    page = report.page(session(alone))
    assert "no other library" in text(page)
    assert page.count("plotly-graph-div") == 2, "the roofline, the share of it"


def test_a_session_that_was_interrupted_at_once_has_a_page() -> None:
    assert "numba 0.68" in text(report.page(session()))


def test_what_would_fail_later_fails_first(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert fails(capsys, "bench", "conv", "--report", "no/such/page.html").startswith("--report: no/such/page.html cannot be")
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    message = fails(capsys, "bench", "conv", "--report", "page.html")
    assert message == '--report: needs plotly, which is not installed: pip install "fastconv[report]"'


HARNESS = """<!doctype html><iframe src="page.html" style="width: {width}px; height: 900px"></iframe>
<script>
const seen = [];
const frame = document.querySelector("iframe");
frame.contentWindow.addEventListener("error", (event) => seen.push(event.message));
frame.addEventListener("load", () => setTimeout(() => {{
  const page = frame.contentDocument;
  const figures = page.querySelectorAll(".main-svg").length;
  const heading = page.querySelector(".summary th:nth-child(3)");
  heading.querySelector("button").click();
  const facts = [seen.length, page.documentElement.scrollWidth, figures, heading.getAttribute("aria-sort")];
  document.body.textContent = "facts: " + facts.join(" ");
}}, 3000));
</script>"""


@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_shows_it(width: int, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    (tmp_path / "page.html").write_text(report.page(WHOLE))
    (tmp_path / "harness.html").write_text(HARNESS.format(width=width))
    command = [browser, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "harness.html").as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r"facts: (\d+) (\d+) (\d+) (\w+)", shown)
    assert found, shown
    assert found[1] == "0", "errors in scripts"
    assert int(found[2]) <= width, "it scrolls sideways"
    assert int(found[3]) >= 6
    assert found[4] == "ascending"
