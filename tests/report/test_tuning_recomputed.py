"""Every interval, p-value and parameter count of a tune's page, recomputed from the raw records by another route.

The page and its tables are read as a reader sees them; the predictions are read line by line. Variances are plain
loops, quantiles and tails are scipy's, Tango's interval is the roots of his quadratic, tests of signs are enumerated.
"""

import io
import itertools
import json
import math
import re
from collections import Counter
from contextlib import redirect_stdout

import numpy as np
import pytest
from scipy import optimize, stats

from fake_tuning import write_tune
from heed.cli.tune import conclude
from heed.report.tuning_page import write_tuning
from heed.report.tuning_tables import tuning_lines

METHODS = ("full", "head", "lora")


@pytest.fixture(
    scope="module",
    params=[
        {"seeds": (1,), "n": 90},
        {"seeds": (1, 2, 3), "n": 120},
        {"seeds": (1,), "n": 120, "groups": 5},
        {"seeds": (1, 2), "n": 150, "groups": 10, "classes": ("a", "b", "c")},
        {"seeds": (1, 2), "n": 80, "test": False, "skill": 2.5},
    ],
    ids=["one seed", "three seeds", "groups", "groups and seeds", "validation alone"],
)
def folder(request, tmp_path_factory):
    folder = write_tune(tmp_path_factory.mktemp("tune"), methods=METHODS, **request.param)
    printed = io.StringIO()
    with redirect_stdout(printed):
        conclude(folder, True)  # what `heed tune --report --json` does
    (folder / "printed.json").write_text(printed.getvalue())
    return folder


def raw(folder):
    """Return (split, arm -> what each run has right (S, n) as lists, the group of each example) from the files."""
    tune = json.loads((folder / "tune.json").read_text())
    split = "test" if tune["arms"][0]["runs"][0]["test"] else "validation"
    arms, groups = {}, []
    for arm in tune["arms"]:
        runs = []
        for run in arm["runs"]:
            lines = (folder / run["folder"] / f"predictions-{split}.jsonl").read_text().splitlines()
            rows = [json.loads(line) for line in lines]
            runs.append([row["label"] == row["predicted"] for row in rows])
            groups = [row.get("group", number) for number, row in enumerate(rows)]
        arms[arm["name"]] = runs
    return split, arms, groups


def spread_of(values, groups):
    """Return (variance of the mean, degrees of freedom) of rows of values, one a seed, by plain loops."""
    S, n = len(values), len(values[0])
    whole = sum(map(sum, values)) / S / n
    of_example = [sum(row[i] for row in values) / S for i in range(n)]
    of_seed = [sum(row) / n for row in values]
    names = list(dict.fromkeys(groups))
    G = len(names)
    members = {name: [i for i in range(n) if groups[i] == name] for name in names}
    factor = G / (G - 1) / n**2
    examples = factor * sum(sum(of_example[i] - whole for i in members[name]) ** 2 for name in names)
    if S == 1:
        return examples, G - 1
    both = 0.0
    for row, mean in zip(values, of_seed, strict=True):
        for name in names:
            both += sum(row[i] - of_example[i] - mean + whole for i in members[name]) ** 2
    both *= factor / (S - 1) / S
    seeds = sum((mean - whole) ** 2 for mean in of_seed) / (S - 1) / S
    more = max(0.0, seeds - both)
    total = examples + more
    if total == 0:
        return 0.0, G - 1
    return total, total**2 / (examples**2 / (G - 1) + more**2 / (S - 1))


def effective(values, groups, one):
    """Return (n_e, quantile, degrees of freedom); `one`: the variance of one independent example."""
    n, G = len(values[0]), len(set(groups))
    if len(values) == 1 and n == G:
        return n, stats.norm.ppf(0.975), math.inf
    variance, freedom = spread_of(values, groups)
    if one <= 0 or variance <= 0:
        return G, stats.t.ppf(0.975, G - 1), G - 1
    return min(n, one / variance), stats.t.ppf(0.975, freedom), freedom


def accuracy(values, groups):
    """Return the interval of an accuracy: the shares that a score test does not reject, found by bisection."""
    p = sum(map(sum, values)) / len(values) / len(values[0])
    n, z, _ = effective(values, groups, p * (1 - p))
    if len(values) == 1 and len(set(groups)) == len(groups):
        known = stats.binomtest(sum(values[0]), len(values[0])).proportion_ci(method="wilson")
        return known.low, known.high
    apart = lambda share: (p - share) ** 2 - z * z * share * (1 - share) / n
    low = 0.0 if p == 0 else optimize.bisect(apart, 0.0, p - 1e-9)
    high = 1.0 if p == 1 else optimize.bisect(apart, p + 1e-9, 1.0)
    return low, high


def tango(gained, lost, n, z):
    """Return Tango's interval by walking the differences: those whose score statistic is at most z."""
    delta = np.linspace(-1, 1, 2_000_001)
    b, c = -gained - lost + (2 * n - gained + lost) * delta, -lost * delta * (1 - delta)
    other = (-b + np.sqrt(np.maximum(0.0, b * b - 8 * n * c))) / (4 * n)
    variance = n * (2 * other + delta * (1 - delta))
    inside = delta[(gained - lost - n * delta) ** 2 <= z * z * variance + 1e-9]
    return inside.min(), inside.max()


def paired(a, b, groups):
    """Return (gained, lost, n_e, z, p) of arm b against a, whose rows are of the same seeds."""
    S, n = len(a), len(a[0])
    d = [[int(y) - int(x) for x, y in zip(one, other, strict=True)] for one, other in zip(a, b, strict=True)]
    gained = sum(row.count(1) for row in d) / S
    lost = sum(row.count(-1) for row in d) / S
    one = (gained + lost) / n - ((gained - lost) / n) ** 2
    n_e, z, freedom = effective(d, groups, one)
    more, less = max(gained, lost) * n_e / n, min(gained, lost) * n_e / n
    plain = len(set(groups)) == n
    if S == 1 and plain:
        if gained + lost < 25:
            p = stats.binomtest(int(gained), int(gained + lost)).pvalue if gained + lost else 1.0
        else:
            p = stats.chi2.sf((abs(gained - lost) - 1) ** 2 / (gained + lost), 1)
        return gained, lost, n_e, z, p
    if gained + lost == 0:
        return gained, lost, n_e, z, 1.0
    score = 2 * stats.t.sf((more - less) / math.sqrt(more + less), freedom)
    if S == 1:
        every = [sum(d[0][i] for i in range(n) if groups[i] == name) for name in dict.fromkeys(groups)]
        sums = [total for total in every if total]
        ways = Counter({0: 1})
        for size in sums:  # every choice of signs, counted
            turned = Counter()
            for total, count in ways.items():
                turned[total + size] += count
                turned[total - size] += count
            ways = turned
        far = sum(count for total, count in ways.items() if abs(total) >= abs(sum(sums)))
        return gained, lost, n_e, z, max(score, far / 2 ** len(sums))
    exact = 2 * stats.beta.cdf(0.5, more, less + 1)  # the binomial's tail, for numbers that are not whole
    return gained, lost, n_e, z, max(score, min(1.0, exact))


def tables(folder):
    """Return the tables of table.md: heads, and rows as dictionaries by the first cell (and the second of pairs)."""
    found, lines = [], (folder / "table.md").read_text().splitlines()
    for place, line in enumerate(lines):
        if re.match(r"\|[ :|-]+\|$", line):
            head = cells(lines[place - 1])
            rows = [cells(row) for row in itertools.takewhile(lambda row: row.startswith("|"), lines[place + 1 :])]
            found.append([dict(zip(head, row, strict=True)) for row in rows])
    return found


def cells(line):
    return [cell.strip().replace("**", "") for cell in line.strip().strip("|").split("|")]


def numbers(text):
    """Return the numbers of a cell as they are printed."""
    return re.findall(r"[-+]?\d[\d,]*(?:\.\d+)?", text.replace("−", "-"))


def close(printed, value, walk=0.0):
    """Whether a printed number is a value, rounded; `walk`: how finely the value was looked for."""
    digits = len(printed.partition(".")[2])
    return abs(float(printed.replace(",", "")) - value) <= 0.5001 * 10.0**-digits + walk


def p_close(printed, p):
    if printed.startswith("<"):
        return p < 1e-4
    shown = float(printed)
    return abs(shown - p) <= 0.06 * p and (shown < 0.05) == (p < 0.05)


def test_accuracies_and_their_intervals(folder):
    split, arms, groups = raw(folder)
    rows = {row["arm"]: row for row in tables(folder)[0]}
    html = (folder / "report.html").read_text()
    for name, values in arms.items():
        low, high = accuracy(values, groups)
        printed = numbers(rows[name]["95 % interval"])
        assert close(printed[0], 100 * low), (name, printed, low)
        assert close(printed[1], 100 * high), (name, printed, high)
        mean = 100 * np.mean(values)
        assert close(numbers(rows[name][split])[0], mean)
        assert rows[name]["95 % interval"] in html  # the figure says the same


def test_differences_to_the_best_and_every_pair(folder):
    _, arms, groups = raw(folder)
    results, pairs = tables(folder)[0], tables(folder)[2]
    n = len(groups)
    known, p_values = {}, {}
    for row in pairs:
        gained, lost, n_e, z, p = paired(arms[row["against"]], arms[row["arm"]], groups)
        low, high = tango(gained * n_e / n, lost * n_e / n, n_e, z)
        known[row["arm"], row["against"]] = 100 * (gained - lost) / n, 100 * low, 100 * high
        p_values[row["arm"], row["against"]] = p
        assert close(row["gained"], gained)
        assert close(row["lost"], lost)
        assert close(row["points"], 100 * (gained - lost) / n)
        for printed, bound in zip(numbers(row["95 % interval"]), (100 * low, 100 * high), strict=True):
            assert close(printed, bound, 0.001), (row, low, high)
        assert p_close(row["p"], p), (row, p)
        if float(row["p (Holm)"].replace("<", "")) < 0.05:  # no test finds what its interval leaves open
            assert low > 0 or high < 0
    corrected = holm_by_hand(p_values)
    for row in pairs:
        assert p_close(row["p (Holm)"], corrected[row["arm"], row["against"]])
    best = next(row["arm"] for row in results if row.get(f"Δ {row['arm']}") == "best")
    for row in results:
        if row["arm"] in arms and row["arm"] != best:
            points, low, high = known.get((row["arm"], best)) or [
                -known[best, row["arm"]][k] for k in (0, 2, 1)
            ]  # fmt: skip
            for printed, value in zip(numbers(row[f"Δ {best}"]), (points, low, high), strict=True):
                assert close(printed, value, 0.001)


def holm_by_hand(p_values):
    """Return Holm's p-values: the k-th smallest of m times m - k + 1, and never below one before it."""
    order = sorted(p_values, key=p_values.__getitem__)
    found, least = {}, 0.0
    for place, pair in enumerate(order):
        least = max(least, min(1.0, (len(order) - place) * p_values[pair]))
        found[pair] = least
    return found


def test_what_would_have_been_found_four_times_in_five(folder):
    _, arms, groups = raw(folder)
    pairs = tables(folder)[2]
    n = len(groups)
    left = sum(not below(row["p (Holm)"]) for row in pairs)
    level = 0.05 / max(1, left)
    for row in pairs:
        gained, lost, n_e, *_ = paired(arms[row["against"]], arms[row["arm"]], groups)
        printed = row["found 4 in 5"]
        if printed == "–":
            continue
        size = float(printed) / 100
        step = 0.5 * 10.0 ** -len(printed.partition(".")[2]) / 100
        powers = [power(math.floor(n_e), (gained + lost) / n, size + move, level) for move in (-step, step)]
        assert powers[0] <= 0.8 <= powers[1], (row, powers)


def below(printed):
    return printed.startswith("<") or float(printed) < 0.05


def power(n, discordant, delta, level):
    """Return how often McNemar's exact test finds a difference, over every count of discordant pairs, by loops."""
    discordant = max(discordant, delta)
    share, total = min(1.0, (discordant + delta) / (2 * discordant)), 0.0
    for met in range(n + 1):
        weight = stats.binom.pmf(met, n, discordant)
        if weight < 1e-10:
            continue
        below = 0
        tail = 0.5**met
        while 2 * tail < level and below <= met / 2:  # the most of the rarer side that is rejected
            below += 1
            tail += math.comb(met, below) * 0.5**met
        if below:
            rejected = sum(stats.binom.pmf(k, met, share) + stats.binom.pmf(met - k, met, share) for k in range(below))
            total += weight * rejected
    return total


def test_the_record_as_json(folder):
    printed = json.loads((folder / "printed.json").read_text())
    for arm in printed["arms"]:
        for run in arm["runs"]:
            for split in ("validation", "test"):
                if run[split] is None:
                    continue
                lines = (folder / run["folder"] / f"predictions-{split}.jsonl").read_text().splitlines()
                rows = [json.loads(line) for line in lines]
                right = sum(row["label"] == row["predicted"] for row in rows)
                interval = stats.binomtest(right, len(rows)).proportion_ci(method="wilson")
                assert run[split]["accuracy_interval"] == pytest.approx([interval.low, interval.high])
                assert run[split]["correct"] == right
                commonest = Counter(row["label"] for row in rows).most_common(1)[0][1]
                assert run[split]["majority"] == pytest.approx(commonest / len(rows))
                assert run[split]["calibration_bins"] == max(1, min(10, len(rows) // 20))
                assert run[split]["calibration_error"] == pytest.approx(calibration(rows), abs=1e-9)


def calibration(rows):
    """Return the calibration error over bins of equal mass, by slices of the sorted answers."""
    answers = sorted((max(row["probabilities"]), row["label"] == row["predicted"]) for row in rows)
    bins = max(1, min(10, len(answers) // 20))
    edges = [len(answers) * k // bins for k in range(bins + 1)]
    parts = [answers[start:stop] for start, stop in itertools.pairwise(edges)]
    return sum(abs(sum(p for p, _ in part) - sum(right for _, right in part)) for part in parts) / len(answers)


def test_the_sentence_and_the_terminal_say_the_same(folder):
    """Each 95 % interval in a sentence is one of the tables; a difference is claimed where p is below 0.05 there."""
    lines = tuning_lines(folder)
    results, pairs = tables(folder)[0], tables(folder)[2]
    known = {float(value) for row in results for value in numbers(row["95 % interval"])}
    known |= {abs(float(value)) for row in pairs for value in numbers(row["95 % interval"])}
    said = [line for line in lines if "95 % interval " in line and not line.startswith("arm ")]
    assert said
    for line in said:
        for interval in re.findall(r"95 % interval ([-\d.]+ to [-\d.]+)", line):
            assert {abs(float(value)) for value in interval.split(" to ")} <= known, (line, known)
    found = sum(below(row["p (Holm)"]) for row in pairs)
    (sentence,) = [line for line in lines if "of arms apart" in line]
    word = re.search(r"tells (\w+)", sentence)[1]
    assert {"none": 0, "all": len(pairs)}.get(word, word) in (found, str(found))


def test_fewer_than_three_arms_are_one_pair(tmp_path):
    folder = write_tune(tmp_path, methods=("full", "lora"), seeds=(1,), n=60)
    write_tuning(folder)
    _, arms, groups = raw(folder)
    gained, lost, _, _, p = paired(arms["full"], arms["lora"], groups)
    (sentence,) = [line for line in tuning_lines(folder) if "McNemar's test, p" in line]
    assert {int(gained), int(lost)} == {int(value) for value in re.findall(r"(\d+) (?:examples gained|lost)", sentence)}
    assert p_close(re.search(r"p = ([\d.]+)", sentence)[1].rstrip("."), p)
