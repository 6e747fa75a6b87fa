import re
import warnings
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from medsweep.report.figures import (
    Training,
    latency_by_configuration,
    matrix_figure,
    quality_by_epoch,
    save,
    speed_by_load,
    throughput_by_user_speed,
    tradeoff,
)
from medsweep.report.figures.labels import place_labels
from medsweep.report.figures.style import (
    EMULATED,
    OBSERVED,
    PREDICTED,
    UNKNOWN,
    profile_colours,
)
from medsweep.report.tables.matrix import matrix
from medsweep.report.tables.training import adapters_used, training_table
from medsweep.results.reader import Results
from medsweep.results.store import read_rows, write_json

Rows = list[dict[str, Any]]


def texts(svg: str) -> list[str]:
    """The texts of an SVG file: they are text, not outlines."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_the_latency_figure_names_bases_times_and_load_points(
    rows: Rows, tmp_path: Path, small: Any
) -> None:
    found = texts(save(latency_by_configuration(rows), tmp_path, "latency"))
    assert any(text.startswith(EMULATED) for text in found)
    assert {"1xv100-1cpu (emulated)", "host (observed)", small.llama} <= set(found)
    assert {"1 client", "4 clients"} <= set(found)
    assert {"500 ms", "800 ms", "200 ms", "100 ms"} <= set(found)
    assert "llama-3-8b" not in found


def test_the_matrix_figure_shows_states_and_rates(rows: Rows, tmp_path: Path) -> None:
    found = texts(save(matrix_figure(rows), tmp_path, "matrix"))
    assert any(text.startswith(EMULATED) for text in found)
    assert {"refused", "failed", "not in sweep", "100 tokens/s", "200 tokens/s"} <= set(found)
    assert {"1xa100-1cpu (emulated)", "host (observed)"} <= set(found)
    assert "llama-3-8b" in found  # the second line of its heading
    assert found.index("standin-") < found.index("llama-3-8b")


def test_quality_by_epoch_has_every_panel_and_the_basis(folder: Path, small: Any) -> None:
    record = tuple(read_rows(folder / "adapters" / f"{small.llama}-k" / "training.parquet"))
    figure = quality_by_epoch([Training(small.llama, "1xa100-1cpu", "emulated", record)])
    found = texts(save(figure, folder, "epochs"))
    assert EMULATED in found
    assert {"BLEU over all answers", "ROUGE-L", "n-gram match", "Token F1"} <= set(found)
    assert f"{small.llama} (emulated)" in found
    assert "Quality by epoch, fine-tuned on 1xa100-1cpu (epoch 0 is the base model)" in found
    f1 = next(axes for axes in figure.axes if axes.get_title(loc="left") == "Token F1").lines[0]
    assert list(f1.get_ydata()) == pytest.approx([0.1, 0.15, 0.2])
    loss = next(axes for axes in figure.axes if "Loss" in axes.get_title(loc="left"))
    held_out, training = loss.lines
    assert list(held_out.get_xdata()) == [0, 1, 2]
    assert list(training.get_xdata()) == [1, 2]  # nothing was learnt before the first epoch


@pytest.mark.parametrize(
    ("provenance", "basis", "notice"),
    [
        ({"profile": "host", "basis": "observed"}, "observed", OBSERVED),
        ({"profile": "1xa100-1cpu", "basis": "emulated"}, "emulated", EMULATED),
        # Earlier versions did not record the basis.
        ({"profile": "host"}, "observed", OBSERVED),
        ({"profile": "1xa100-1cpu"}, "not recorded", UNKNOWN),
        ({}, "not recorded", UNKNOWN),
    ],
)
def test_the_basis_of_a_fine_tune_is_its_own_and_not_that_of_its_cells(
    folder: Path, small: Any, provenance: dict[str, str], basis: str, notice: str
) -> None:
    cells = Results.open(folder).rows
    assert {row["basis"] for row in cells if row["model"] == small.llama} == {"emulated", None}
    write_json(folder / "adapters" / f"{small.llama}-k" / "provenance.json", provenance)
    used = [each for each in adapters_used(Results.open(folder)) if each.model == small.llama]
    found = texts(save(quality_by_epoch(used), folder, "epochs"))
    assert [each for each in (OBSERVED, EMULATED, UNKNOWN) if each in found] == [notice]
    assert f"{small.llama} ({basis})" in found
    table = training_table(used)
    for row in table.rows:
        shown = {each.title: cell.text for each, cell in zip(table.columns, row, strict=True)}
        assert (shown.get("Fine-tuned on"), shown["Basis"]) == (provenance.get("profile"), basis)


def test_throughput_stands_against_the_speed_of_each_user(rows: Rows, tmp_path: Path) -> None:
    figure = throughput_by_user_speed(rows)
    found = texts(save(figure, tmp_path, "throughput"))
    assert any(text.startswith(EMULATED) for text in found)
    assert {"1", "4", "1xa100-1cpu (emulated)", "host (observed)"} <= set(found)
    assert not any("USD" in text for text in found)  # nothing has a price
    llama = next(axes for axes in figure.axes if "llama" in axes.get_title(loc="left"))
    # TPOT is 5 ms at c1 and 8 ms at c4; neither point beats the other.
    assert list(llama.lines[0].get_xdata()) == pytest.approx([125, 200])
    assert list(llama.lines[0].get_ydata()) == pytest.approx([100, (50 + 100 / 3) / 2])


def test_names_in_the_throughput_chart_do_not_overlap(rows: Rows) -> None:
    """Four load points of four profiles, nearly equal."""
    [host] = [row for row in rows if row["profile"] == "host"]
    near = [
        host
        | {
            "profile": f"p{profile}",
            "load_point": f"c{load}",
            "concurrency": load,
            "tpot_mean_s": 0.01 + 0.0001 * load,
            "output_tokens_per_s": 100.0 + profile,
        }
        for profile in range(4)
        for load in range(1, 5)
    ]
    figure = throughput_by_user_speed(near)
    FigureCanvasAgg(figure).draw()
    [axes] = [each for each in figure.axes if each.texts]
    boxes = [Text.get_window_extent(name) for name in axes.texts]
    assert len(boxes) == 16
    assert not [1 for one, other in combinations(boxes, 2) if one.overlaps(other)]


def test_axes_have_the_unit_that_tables_of_the_same_times_have(rows: Rows) -> None:
    def labels(draw: Any, slower: float) -> set[str]:
        times = ("ttft_mean_s", "e2e_mean_s")
        slow = [row | {name: row[name] and slower * row[name] for name in times} for row in rows]
        panels = draw(slow).axes
        return {text for axes in panels for text in (axes.get_xlabel(), axes.get_title("left"))}

    for draw, quick, slow in (
        (latency_by_configuration, "mean over repeats (ms)", "mean over repeats (s)"),
        (tradeoff, "at the lightest load point (ms)", "at the lightest load point (s)"),
        (speed_by_load, "End-to-end time, mean (ms)", "End-to-end time, mean (s)"),
        (speed_by_load, "TTFT, mean (ms)", "TTFT, mean (s)"),
    ):
        assert any(text.endswith(quick) for text in labels(draw, 1)), draw
        assert any(text.endswith(slow) for text in labels(draw, 1000)), draw
    times = [
        time
        for axes in speed_by_load(rows).axes
        if axes.get_title("left") == "End-to-end time, mean (ms)"
        for line in axes.lines
        for time in line.get_ydata()
    ]
    assert max(times) == pytest.approx(800)


def test_prices_of_tokens_have_panels_of_their_own(rows: Rows, tmp_path: Path) -> None:
    [host] = [row for row in rows if row["profile"] == "host"]
    # 3.60 USD/h at 10 answers and 200 tokens a second: 0.001 USD/s, 5 USD for a million tokens.
    priced = [host | {"usd_per_hour": 3.6, "usd_per_answer": 0.0001}, *rows]
    figure = throughput_by_user_speed(priced)
    [axes] = [
        axes
        for axes in figure.axes
        if "USD" in axes.get_ylabel() and axes.lines[0].get_xydata().size
    ]
    assert axes.lines[0].get_xydata().tolist() == [pytest.approx([1000, 5])]


def test_a_profile_has_one_colour_in_every_figure_and_marks_name_it(
    rows: Rows, tmp_path: Path
) -> None:
    for draw in (latency_by_configuration, speed_by_load, throughput_by_user_speed, tradeoff):
        svg = save(draw(rows), tmp_path, draw.__name__)
        for profile, colour in profile_colours(rows).items():
            marks = re.findall(
                rf'<g data-model="[^"]+" data-profile="{profile}">(.*?)</g>', svg, re.S
            )
            bars = rf'<g class="tip" data-model="[^"]+" data-profile="{profile}">(.*?)</g>'
            drawn = set(
                re.findall(r"#[0-9a-f]{6}", " ".join([*marks, *re.findall(bars, svg, re.S)]))
            )
            assert colour in drawn, (draw.__name__, profile)
            others = set(profile_colours(rows).values()) - {colour}
            assert not drawn & others


def test_observed_rows_alone_carry_no_warning(rows: Rows, tmp_path: Path) -> None:
    observed = [row for row in rows if row["basis"] == "observed"]
    found = " ".join(texts(save(latency_by_configuration(observed), tmp_path, "latency")))
    assert "EMULATED" not in found
    assert "Observed: measured on the named hardware" in found


def test_predicted_rows_are_called_so(rows: Rows, tmp_path: Path) -> None:
    rows[5]["basis"] = "predicted"
    found = " ".join(texts(save(matrix_figure(rows), tmp_path, "matrix")))
    assert EMULATED in found
    assert PREDICTED in found


@pytest.mark.parametrize(
    "draw", [latency_by_configuration, matrix_figure, quality_by_epoch, throughput_by_user_speed]
)
def test_nothing_measured_still_makes_a_picture(draw: Any, tmp_path: Path) -> None:
    assert "Nothing was measured" in texts(save(draw([]), tmp_path, "empty"))


def test_files_are_the_same_every_time_and_load_nothing(rows: Rows, tmp_path: Path) -> None:
    first = save(latency_by_configuration(rows), tmp_path / "a", "latency")
    second = save(latency_by_configuration(rows), tmp_path / "b", "latency")
    assert first == second == (tmp_path / "a" / "latency.svg").read_text()
    pictures = [(tmp_path / name / "latency.png").read_bytes() for name in "ab"]
    assert pictures[0] == pictures[1]
    assert pictures[0].startswith(b"\x89PNG")
    assert set(re.findall(r"font-family: ([^;\"]+)", first)) == {"sans-serif"}
    assert "<metadata>" not in first


def test_names_neither_cover_each_other_nor_leave_the_panel() -> None:
    figure = Figure(figsize=(4, 3))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    marks = [(x, y) for x in (0.02, 0.5, 0.55, 0.97) for y in (0.03, 0.5, 0.97)]
    names = place_labels(axes, [(x, y, "2xrtx8000-4cpu") for x, y in marks], marks)
    figure.canvas.draw()
    boxes = [Text.get_window_extent(name) for name in names]
    panel = axes.get_window_extent()
    assert all(panel.x0 <= box.x0 and box.x1 <= panel.x1 for box in boxes)
    assert all(panel.y0 <= box.y0 and box.y1 <= panel.y1 for box in boxes)
    assert not [1 for one, other in combinations(boxes, 2) if one.overlaps(other)]
    # What is beside its mark needs no line to it.
    assert 0 < sum(name.arrow_patch is not None for name in names) < len(names)


def test_the_matrix_has_a_legend_and_greys_what_was_not_observed(rows: Rows) -> None:
    figure = matrix_figure(rows)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == [
        "observed, 200 tokens/s", "emulated: not compared", "failed", "refused: would not fit",
        "not in sweep",
    ]  # fmt: skip
    grey = to_rgba("#d3d8dd")
    greyed = [patch for patch in figure.axes[0].patches if patch.get_facecolor() == grey]
    assert len(greyed) == 2
    assert [cell.basis for cell in matrix(rows).cells if cell.state == "ok"].count("emulated") == 2


def test_a_model_without_end_to_end_times_needs_no_legend(rows: Rows) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        speed_by_load([{**row, "e2e_mean_s": None} for row in rows])
