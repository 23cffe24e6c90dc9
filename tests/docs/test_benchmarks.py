"""The page of the benchmarks: from fixed rows, and the committed one from its own."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pages import ROOT

sys.path.insert(0, str(ROOT / "benches"))
import table

RESULTS = """2 processors (A), a system
2026-01-31
Reads\ta read\tC & memcpy\tns\t10\t20\t20.4\t0
Requests\trequests\tlibcurl\t/s\t500\t1000\t900\t1
Requests\trequests\tGo\t/s\t1000\t500\t520\t1
Requests\tmemory\tits content\tB\t1230\t1000\t0\t1.2
Reads\ta read\tC & memcpy\tns\t5\t20\t20.4\t0
"""


def test_a_row_has_its_ratio_and_its_noise_and_says_whether_the_goal_is_met() -> None:
    where, when, rows = table.parse(RESULTS)
    page = table.page(where, when, rows)
    assert [line for line in page.splitlines() if line.startswith("| ") and "beside" not in line] == [
        "| a read | 5 ns | C & memcpy | 20 ns | 0.25 | 1.02 |  |",
        "| requests | 500/s | libcurl | 1,000/s | 2.00 | 0.90 | 1.00, missed |",
        "| requests | 1,000/s | Go | 500/s | 0.50 | 1.04 | 1.00, met |",
        "| memory | 1,230 B | its content | 1,000 B | 1.23 | exact | 1.20, missed |",
    ]
    for words in ("on 2026-01-31", "The machine: 2 processors (A), a system.", "1 of 3 goals are met"):
        assert words in page


def test_a_goal_may_be_a_distance_to_the_other_programs_figure() -> None:
    goal = table.no_more_than(160, 100)
    met, missed = (table.Row("", "", "", "us", ours, 160, 0, goal) for ours in (260, 263))
    assert (met.is_met, missed.is_met) == (True, False)
    assert met.columns()[-1] == "1.62, met"


def test_the_bars_lie_at_the_side_of_their_ratio_and_need_no_script() -> None:
    _, _, rows = table.parse(RESULTS)
    text = table.bars(rows)
    drawing = ElementTree.fromstring(text)
    assert re.search("prefers-color-scheme: dark", text)
    assert not re.search("<script|href", text)
    parts = {
        kind: [
            (float(part.attrib["x"]), float(part.attrib["width"]))
            for part in drawing.findall(".//{*}rect")
            if part.attrib["class"] == kind
        ]
        for kind in ("less", "more", "noise")
    }
    (line,) = (part for part in drawing.findall(".//{*}line") if part.attrib["class"] == "line")
    one = float(line.attrib["x1"])
    assert [x + width for x, width in parts["less"]] == pytest.approx([one, one], abs=0.2)
    assert [x for x, _ in parts["more"]] == pytest.approx([one, one], abs=0.2)
    # The scale is logarithmic: a quarter is twice as far from 1 as a half, and as far as two.
    quarter, half, double = (width for _, width in (*parts["less"], parts["more"][0]))
    assert (quarter, double) == pytest.approx((2 * half, half), abs=0.2)
    assert len(parts["noise"]) == 3
    goals = [part for part in drawing.findall(".//{*}line") if part.attrib["class"] == "goal"]
    assert [float(goal.attrib["x1"]) >= one for goal in goals] == [True] * 3
    assert "a read, beside C & memcpy" in [part.text for part in drawing.findall(".//{*}text")]


def test_what_a_benchmark_prints_is_passed_on_and_its_rows_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(table, "KEPT", tmp_path / "benches/rows.tsv")
    rows = r"row\ta read\tC\tns\t10.5\t21\t20\t1\nmade in 3 s\n"
    assert table.run("Reads", ["printf", rows]) == 0
    assert table.run("Reads", ["sh", "-c", f"printf '{rows}'; exit 3"]) == 3
    printed = capsys.readouterr().out
    assert "made in 3 s\n" in printed
    assert "1.00, met" in printed
    assert "row\t" not in printed
    assert table.KEPT.read_text() == "Reads\ta read\tC\tns\t10.5\t21\t20\t1\n" * 2


def test_the_committed_page_is_that_of_the_committed_results() -> None:
    where, when, rows = table.parse(table.RESULTS.read_text())
    assert table.PAGE.read_text() == table.page(where, when, rows)
    assert table.BARS.read_text() == table.bars(rows)
