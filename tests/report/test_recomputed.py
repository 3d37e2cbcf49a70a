"""Every interval, p-value and parameter count of a study page, worked out again from the raw records by another route.

The page is rendered, its numbers are read out of the HTML, the tables and the sentences, and held against scipy,
enumeration and plain loops over study.json, metrics.jsonl and the tensors of the checkpoints.
"""

import itertools
import json
import re
from bisect import bisect_left
from html import unescape
from statistics import fmean, median, stdev

import numpy as np
import pytest
from fake_studies import lengths_study, study, write_lengths, write_study_folder
from scipy import integrate, stats

from heed.report.study_page import write_study

NUMBER = r"[+-]?[\d,]*\.?\d+(?:e-?\d+)?"
POINTS = {"accuracy": 100}


def number(text):
    return float(text.replace(",", "").replace("−", "-"))


def shown(text, value):
    """Whether a number, as it is written, is `value` rounded to as many decimals."""
    decimals = len(text.partition(".")[2])
    return number(text) == pytest.approx(value, abs=0.5001 * 10.0**-decimals)


def rows(html, css):
    """The cells of the first table of a class, by the name of their row."""
    body = re.search(rf'<table class="{css}">.*?</table>', html, re.S)[0]
    head = [unescape(re.sub("<[^>]*>", "", cell)) for cell in re.findall(r"<th scope=\"col\".*?</th>", body)]
    found = {}
    for row in re.findall(r"<tr>(<th scope=\"row\">.*?)</tr>", body):
        cells = [unescape(re.sub("<[^>]*>", "", cell)) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
        found[cells[0]] = dict(zip(head, cells, strict=True))
    return found


def text_of(html):
    return unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<svg.*?</svg>", " ", html, flags=re.S)))


def values(content, split="validation"):
    """The figures of study.json by variant and seed, in the unit of the page."""
    factor = POINTS.get(content["figure"], 1)
    found = {}
    for cell in content["cells"]:
        if cell["state"] == "finished":
            found.setdefault(cell["variant"], {})[cell["seed"]] = factor * cell["figures"][split][content["figure"]]
    return found


def holm(p):
    """Holm's correction as it is defined: the k-th smallest times what is left, and never less than one before."""
    order, out = sorted(p, key=p.get), {}
    for rank, name in enumerate(order):
        out[name] = min(1.0, max([(len(p) - rank) * p[name], *out.values()]))
    return out


def found_at(delta, sd, n, level):
    """The power of a paired t test by integrating over the distribution of its standard deviation."""
    critical = stats.t.ppf((1 + level) / 2, n - 1)
    density = lambda s: stats.chi2.pdf(s * s * (n - 1), n - 1) * 2 * s * (n - 1)
    tail = lambda s: stats.norm.sf(critical * s - delta / sd * np.sqrt(n))
    return integrate.quad(lambda s: density(s) * tail(s), 0, 12, limit=200)[0]


def expected(content):
    """Mean, interval, p, Holm's p and (sd, n, level) of each variant against the baseline, by scipy."""
    all_ = values(content)
    base, facts, p = all_[content["baseline"]], {}, {}
    for name, own in all_.items():
        d = [own[seed] - base[seed] for seed in sorted(own.keys() & base.keys())]
        if name == content["baseline"] or not any(d):
            continue
        test = stats.ttest_rel([own[s] for s in sorted(own)], [base[s] for s in sorted(own)])
        facts[name] = (fmean(d), tuple(test.confidence_interval(0.95)), stdev(d), len(d))
        p[name] = test.pvalue
    corrected = holm(p)
    left = max(1, sum(value >= 0.05 for value in corrected.values()))
    return {name: (*facts[name], p[name], corrected[name], 1 - 0.05 / left) for name in facts}


def check_page(folder, content):
    """Hold every number of a study page that is inferred against the record; return how many were held."""
    html, held = write_study(folder).read_text(encoding="utf-8"), 0
    words, table, truth = text_of(html), rows(html, "results"), expected(content)
    unit = r"[a-z ]+?"
    for name, (mean, (low, high), sd, n, p, corrected, level) in truth.items():
        # the table
        delta = re.fullmatch(rf"({NUMBER}) \(({NUMBER}) to ({NUMBER})\)", table[name]["Δ validation"])
        assert all(shown(a, b) for a, b in zip(delta.groups(), (mean, low, high), strict=True)), name
        assert (number(delta[2]) > 0) == (low > 0) and (number(delta[3]) < 0) == (high < 0)  # noqa: PT018
        # the sentence
        said = re.search(
            rf"(?:{re.escape(name)} is (better|worse) than|[Nn]o difference found between {re.escape(name)} and) "
            rf"{re.escape(content['baseline'])}: ({NUMBER}) {unit} \(95 % interval ({NUMBER}) to ({NUMBER})\), {n} "
            rf"seeds, p = (< 0\.0001|{NUMBER})(?:; an effect of ({NUMBER}))?",
            words,
        )
        assert said, name
        assert all(shown(a, b) for a, b in zip(said.groups()[1:4], (mean, low, high), strict=True))
        assert bool(said[1]) == (corrected < 0.05)
        held += 8
        if not said[5].startswith("<"):
            assert number(said[5]) == pytest.approx(corrected, rel=0.051)
            assert (number(said[5]) < 0.05) == (corrected < 0.05)
        if said[1] is None:
            assert found_at(number(said[6]), sd, n, level) == pytest.approx(0.8, abs=0.03)
            held += 1
        # alone and among all
        alone = re.search(rf"{re.escape(name)} would count alone \(p = ({NUMBER})\)", words)
        assert bool(alone) == (p < 0.05 <= corrected)
        if alone:
            assert number(alone[1]) == pytest.approx(p, rel=0.051)
    # means with half of their t interval
    for name, own in values(content).items():
        column = f"validation {content['figure'].replace('_', ' ')}"
        cell = table[name][f"{column} (%)" if content["figure"] == "accuracy" else column]
        if len(own) > 1 and cell != "–":
            mean, half = cell.split(" ± ")
            x = list(own.values())
            assert shown(mean, fmean(x))
            assert shown(half, stats.t.ppf(0.975, len(x) - 1) * stats.sem(x))
            held += 2
    return held + check_unseen(words, truth)


def check_unseen(words, truth):
    """Hold what could not have been seen against the powers of the noisiest variant."""
    power = re.search(r"found in (\d+) % of such studies, half of it in (\d+) %", words)
    noisiest = max(truth.values(), key=lambda fact: fact[2])
    _, _, sd, n, _, _, level = noisiest
    sizes = np.geomspace(sd / 10, 1e3 * sd, 20_000)
    size = sizes[bisect_left(sizes, True, key=lambda x: found_at_quick(x, sd, n, level) >= 0.8)]
    for text, share in zip(power.groups(), (0.75, 0.5), strict=True):
        assert number(text) == pytest.approx(100 * found_at(share * size, sd, n, level), abs=0.6)
    low, high = re.search(r"may be ([\d.]+) to ([\d.]+) times as large", words).groups()
    chi = [np.sqrt((n - 1) / stats.chi2.isf(tail, n - 1)) for tail in (0.025, 0.975)]
    assert shown(low, chi[0]) and shown(high, chi[1])  # noqa: PT018
    return 4


def found_at_quick(delta, sd, n, level):
    return stats.nct.sf(stats.t.ppf((1 + level) / 2, n - 1), n - 1, delta / sd * np.sqrt(n))


@pytest.mark.parametrize(
    ("figure", "seeds"),
    [("bits_per_byte", (1, 2, 3, 4, 5)), ("loss", (1, 2, 3)), ("token_perplexity", (1, 2)), ("accuracy", (1, 2, 3))],
)
def test_a_made_study(tmp_path, figure, seeds):
    content = study(seeds=seeds, figure=figure)
    if figure == "accuracy":
        for cell in content["cells"]:
            for split in cell["figures"].values():
                split["accuracy"] = 1 - split["loss"] / 4
    folder = write_study_folder(tmp_path / "study", content, runs=False)
    assert check_page(folder, content) >= 30


def test_the_same_many_and_near_the_level(tmp_path):
    """Twelve variants: one is bit-equal, some are noise, and one would count alone."""
    effects = {"base": 0.0, "same": 0.0, "near": 0.02, "far": 0.4} | {f"noise-{i}": 0.001 for i in range(8)}
    content = study(effects, seeds=(1, 2, 3, 4))
    base = {cell["seed"]: cell for cell in content["cells"] if cell["variant"] == "base"}
    for cell in content["cells"]:
        if cell["variant"] == "same":
            cell["figures"] = base[cell["seed"]]["figures"]
    folder = write_study_folder(tmp_path / "study", content, runs=False)
    assert check_page(folder, content) >= 80
    html = (folder / "report.html").read_text()
    assert rows(html, "results")["same"]["Δ validation"] == "the same"
    assert "after Holm's correction over 10)" in text_of(html)  # of eleven variants the same one has no p


def test_differences_at_other_lengths(tmp_path):
    content = lengths_study()
    folder = write_study_folder(tmp_path / "study", content, runs=False)
    write_lengths(folder, content)
    section = write_study(folder).read_text(encoding="utf-8").split('<h2 id="lengths"')[1].split("</section>")[0]
    raw = {}
    for cell in content["cells"]:
        known = json.loads((folder / cell["folder"] / "lengths.json").read_text())
        for length, figures in known.items():
            if "loss" in figures:
                raw.setdefault((cell["variant"], int(length)), {})[cell["seed"]] = figures["loss"]
    tables = [
        {unescape(a): [unescape(re.sub("<[^>]*>", "", c)) for c in re.findall(r"<td.*?</td>", b)]
         for a, b in re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', body)}
        for body in re.findall(r'<table class="results">.*?</table>', section, re.S)
    ]  # fmt: skip
    own, deltas = tables
    held = 0
    for name, cells in own.items():
        for cell, length in zip(cells, content["lengths"], strict=True):
            if cell != "–":
                x = list(raw[name, length].values())
                mean, half = cell.split(" ± ")
                assert shown(mean, fmean(x)) and shown(half, stats.t.ppf(0.975, 2) * stats.sem(x))  # noqa: PT018
                held += 2
    for name, cells in deltas.items():
        for cell, length in zip(cells, content["lengths"], strict=True):
            if cell != "–":
                d = [raw[name, length][s] - raw["alibi", length][s] for s in (1, 2, 3)]
                mean, half = cell.split(" ± ")
                assert shown(mean, fmean(d)) and shown(half, stats.t.ppf(0.975, 2) * stats.sem(d))  # noqa: PT018
                held += 2
    assert held >= 30


def test_ratios_of_speed(tmp_path):
    content = study()
    folder = write_study_folder(tmp_path / "study", content)
    random, speeds = np.random.default_rng(0), {}
    for cell in content["cells"]:
        path, factor = folder / cell["folder"] / "metrics.jsonl", random.normal(1.0 + len(cell["variant"]) / 9, 0.05)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            if "tokens_per_second" in line:
                line["tokens_per_second"] *= factor
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    html = write_study(folder).read_text(encoding="utf-8")
    for cell in content["cells"]:
        lines = map(json.loads, (folder / cell["folder"] / "metrics.jsonl").read_text().splitlines())
        logged = [line["tokens_per_second"] for line in lines if line["event"] == "train"]
        speeds.setdefault(cell["variant"], []).append(median(logged[max(1, round(len(logged) / 10)) :]))
    table = rows(html, "results")
    for name, own in speeds.items():
        assert number(table[name]["tokens/s"].split(" ")[0]) == pytest.approx(median(own) / 1e3, rel=6e-3)
    found = re.findall(rf"k/s, ({NUMBER}) \(({NUMBER}) to ({NUMBER})\) of it", html)
    expected_ = []
    for own in list(speeds.values())[1:]:
        logs = np.log(own) - np.log(speeds["pre-norm"])
        ends = stats.ttest_1samp(logs, 0).confidence_interval()
        expected_.append(np.exp([logs.mean(), *ends]))
    assert len(found) >= 3
    for texts in found:
        assert any(all(shown(a, b) for a, b in zip(texts, one, strict=True)) for one in expected_), texts


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A study of three tiny models that were really trained, with three seeds."""
    import sys

    sys.path.insert(0, str(tmp_path_factory.getbasetemp()))
    from importlib import util
    from pathlib import Path

    spec = util.spec_from_file_location("studies_of_tests", Path(__file__).parents[1] / "studies" / "small_studies.py")
    made = util.module_from_spec(spec)
    spec.loader.exec_module(made)
    from heed.studies.compare import run_study
    from heed.studies.worker import run_cell

    folder = tmp_path_factory.mktemp("real")
    variants = {"pre": {}, "post": {"model.norm_order": "post"}, "again": {"model.norm_order": "pre"},
                "wide": {"model.d_model": 32}}  # fmt: skip
    plan = made.plan_of(folder, variants=variants, seeds=[1, 2, 3], budget={"steps": 12})
    assert run_study(plan, folder / "study", run_cell=lambda task: run_cell(task.values))
    return folder / "study"


@pytest.mark.slow
def test_a_real_study(real):
    content = json.loads((real / "study.json").read_text())
    assert {cell["state"] for cell in content["cells"]} == {"finished"}
    assert check_page(real, content) >= 20
    html = (real / "report.html").read_text()
    # a variant that changes nothing is bit-equal, has no p, and is counted in no correction
    assert rows(html, "results")["again"]["Δ validation"] == "the same"
    assert "again is the same as pre" in text_of(html)


@pytest.mark.slow
def test_parameters_of_a_real_study_are_those_of_its_checkpoints(real):
    from safetensors import safe_open

    content = json.loads((real / "study.json").read_text())
    html = (real / "report.html").read_text() if (real / "report.html").exists() else write_study(real).read_text()
    counted = {}
    for cell in content["cells"]:
        checkpoint = sorted((real / cell["folder"] / "checkpoints").glob("step-*"))[-1]
        with safe_open(checkpoint / "model.safetensors", "np") as file:
            counted[cell["variant"]] = sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118
    table = re.search(r'aria-label="What differs.*?</table>', html, re.S)[0]
    for name, parameters in re.findall(r'<th scope="row">(.*?)</th>.*?<td class="n">([\d,]+)</td></tr>', table):
        assert number(parameters) == counted[name] == content["variants"][name]["parameters"]
    shown_ = rows(html, "results")
    for name, count in counted.items():
        text = shown_[name]["parameters"]
        assert number(text.split(" ")[0]) * {"k": 1e3, "M": 1e6}.get(text[-1], 1) == pytest.approx(count, rel=6e-3)
    assert set(counted) == set(shown_) == set(itertools.chain(content["variants"]))
