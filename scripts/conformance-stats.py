"""Compares the statistics of `stats/src` with scipy, statsmodels, ruptures, paretoset and choix.

Every check draws data sets from a seed, sends the Rust program one JSON line each, computes the same with an
independent implementation, and keeps the largest difference, relative to the expected number if that is above 1.
Where no package has the method, the reference is the definition itself, by brute force, and the table says so.
"""

import argparse
import itertools
import json
import math
import subprocess
import sys
import warnings

import choix
import numpy
import paretoset
import ruptures
import statsmodels.api
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

CHECKS = []


def check(statistic, reference, tolerance=1e-6):
    """Registers a function that creates a request, and one that extracts the expected numbers from the response."""

    def register(make):
        CHECKS.append((statistic, reference, tolerance, make))
        return make

    return register


def scores(chance, count, graded):
    """Scores of items, some of them missing; pass/fail or graded."""
    if graded:
        values = chance.beta(2, 1, count)
    else:
        values = (chance.random(count) < chance.uniform(0.2, 0.95)).astype(float)
    # The program keeps scores in single precision.
    return [None if chance.random() < 0.05 else float(numpy.float32(value)) for value in values]


def shared(a, b):
    both = [(x, y) for x, y in zip(a, b) if x is not None and y is not None]
    return numpy.array(both, dtype=float).reshape(-1, 2).T


@check("Wilson interval", "statsmodels proportion_confint")
def wilson(chance):
    n = int(chance.integers(1, 5000))
    successes, confidence = int(chance.integers(0, n + 1)), float(chance.choice([0.8, 0.9, 0.95, 0.99]))
    low, high = proportion_confint(successes, n, 1 - confidence, "wilson")
    return (
        {"ask": "wilson", "successes": successes, "n": n, "confidence": confidence},
        lambda found: [(found["low"], low), (found["high"], high)],
    )


@check("t interval of a mean", "scipy t.interval")
def mean_interval(chance):
    values = chance.normal(chance.normal(), chance.exponential(), int(chance.integers(2, 300))).tolist()
    low, high = stats.t.interval(0.95, len(values) - 1, numpy.mean(values), stats.sem(values))
    return (
        {"ask": "mean_interval", "values": values, "confidence": 0.95},
        lambda found: [
            (found["mean"], numpy.mean(values)),
            (found["interval"]["low"], low),
            (found["interval"]["high"], high),
        ],
    )


@check("clustered mean, CR1 error", "statsmodels OLS cov_type=cluster")
def clustered_mean(chance):
    groups = [
        (chance.normal(0.5, 0.2) + chance.normal(0, 0.1, int(chance.integers(1, 8)))).tolist()
        for _ in range(int(chance.integers(3, 60)))
    ]
    values = numpy.concatenate(groups)
    labels = numpy.repeat(numpy.arange(len(groups)), [len(group) for group in groups])
    fit = statsmodels.api.OLS(values, numpy.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": labels}, use_t=True
    )
    low, high = fit.conf_int(0.05)[0]
    of_means = [numpy.mean(group) for group in groups]
    means_low, means_high = stats.t.interval(0.95, len(groups) - 1, numpy.mean(of_means), stats.sem(of_means))
    return (
        {"ask": "clustered_mean", "groups": groups, "confidence": 0.95},
        lambda found: [
            (found["of_values"]["mean"], fit.params[0]),
            (found["of_values"]["standard_error"], fit.bse[0]),
            (found["of_values"]["interval"]["low"], low),
            (found["of_values"]["interval"]["high"], high),
            (found["of_values"]["design_effect"], fit.bse[0] ** 2 / stats.sem(values) ** 2),
            (found["of_means"]["low"], means_low),
            (found["of_means"]["high"], means_high),
        ],
    )


def ratio(over, under, axis=-1):
    return numpy.sum(over, axis=axis) / numpy.sum(under, axis=axis)


class Replicates:
    """The earlier result that scipy.stats.bootstrap accepts."""

    def __init__(self, values):
        self.bootstrap_distribution = numpy.array(values)


@check("BCa interval, same resamples", "scipy bootstrap(bootstrap_result=…)")
def bootstrap(chance):
    # With fewer values whole resamples repeat, and in scipy rounding decides on which side such a tie falls.
    values = chance.beta(0.5, 2, int(chance.integers(15, 200)))

    def expect(found):
        reference = stats.bootstrap(
            (values,), numpy.mean, n_resamples=0, method="BCa", bootstrap_result=Replicates(found["replicates"])
        ).confidence_interval
        return [(found["interval"]["low"], reference.low), (found["interval"]["high"], reference.high)]

    question = {"ask": "bootstrap", "units": [[value, 1.0] for value in values.tolist()], "resamples": 2000}
    return {**question, "confidence": 0.95, "seed": int(chance.integers(0, 2**63))}, expect


@check("BCa interval, own resamples, in half-widths", "scipy bootstrap, 20,000 resamples", 0.12)
def bootstrap_of_its_own(chance):
    values = chance.beta(0.5, 2, int(chance.integers(30, 100)))
    reference = stats.bootstrap((values,), numpy.mean, n_resamples=20_000, method="BCa", rng=chance)
    low, high = reference.confidence_interval
    half = (high - low) / 2
    question = {"ask": "bootstrap", "units": [[value, 1.0] for value in values.tolist()], "resamples": 20_000}
    return (
        {**question, "confidence": 0.95, "seed": int(chance.integers(0, 2**63))},
        lambda found: [
            ((found["interval"]["low"] - low) / half, 0),
            ((found["interval"]["high"] - high) / half, 0),
        ],
    )


@check("cluster bootstrap, in half-widths", "scipy bootstrap of paired sums", 0.12)
def cluster_bootstrap(chance):
    counts = chance.integers(1, 6, int(chance.integers(30, 80))).astype(float)
    sums = counts * chance.beta(2, 2, len(counts))
    reference = stats.bootstrap(
        (sums, counts), ratio, paired=True, n_resamples=20_000, method="BCa", rng=chance, vectorized=True
    )
    low, high = reference.confidence_interval
    half = (high - low) / 2
    question = {"ask": "bootstrap", "units": numpy.stack([sums, counts], 1).tolist(), "resamples": 20_000}
    return (
        {**question, "confidence": 0.95, "seed": int(chance.integers(0, 2**63))},
        lambda found: [
            ((found["interval"]["low"] - low) / half, 0),
            ((found["interval"]["high"] - high) / half, 0),
        ],
    )


@check("latency percentile and its interval", "numpy quantile, scipy quantile_test")
def quantiles(chance):
    values = chance.lognormal(6, 0.7, int(chance.integers(5, 2000)))
    share = float(chance.choice([0.5, 0.9, 0.95, 0.99]))
    expected = stats.quantile_test(values, q=0, p=share).confidence_interval(0.95)

    def end(found, reference):
        return (math.nan if found is None else found, reference)

    return (
        {"ask": "quantiles", "values": values.tolist(), "share": share, "confidence": 0.95},
        lambda found: [
            (found["quantile"][0], numpy.quantile(values, share)),
            end(found["interval"]["low"], expected.low),
            end(found["interval"]["high"], expected.high),
        ],
    )


@check("percentile interval beyond 2,000 values, in ranks", "scipy quantile_test", 2)
def quantiles_of_many(chance):
    count = int(chance.integers(2001, 100_000))
    share = float(chance.choice([0.5, 0.95, 0.99]))
    # The values are their own ranks.
    expected = stats.quantile_test(numpy.arange(count), q=0, p=share).confidence_interval(0.95)
    return (
        {"ask": "quantiles", "values": list(range(count)), "share": share, "confidence": 0.95},
        lambda found: [
            (found["interval"]["low"] - expected.low, 0),
            (found["interval"]["high"] - expected.high, 0),
        ],
    )


@check("ratio of means (Fieller)", "scipy ttest_1samp, inverted by brentq")
def ratio_of_means(chance):
    under = (chance.random(int(chance.integers(20, 300))) < 0.7).astype(float)
    over = chance.lognormal(3, 0.4, len(under)) + 5 * under
    point = over.sum() / under.sum()

    def surplus(theta):
        return stats.ttest_1samp(over - theta * under, 0).pvalue - 0.05

    low = optimize.brentq(surplus, point * 0.2, point, xtol=1e-12)
    high = optimize.brentq(surplus, point, point * 6, xtol=1e-12)
    return (
        {"ask": "ratio_of_means", "units": numpy.stack([over, under], 1).tolist(), "confidence": 0.95},
        lambda found: [
            (found["value"], point),
            (found["interval"]["low"], low),
            (found["interval"]["high"], high),
        ],
    )


@check("paired difference (t), graded", "scipy ttest_rel")
def paired(chance):
    count = int(chance.integers(20, 500))
    a, b = scores(chance, count, True), scores(chance, count, True)
    x, y = shared(a, b)
    reference = stats.ttest_rel(x, y)
    low, high = reference.confidence_interval(0.95)
    return (
        {"ask": "paired", "a": a, "b": b},
        lambda found: [
            (found["difference"], numpy.mean(x - y)),
            (found["p_value"], reference.pvalue),
            (found["interval"]["low"], low),
            (found["interval"]["high"], high),
            (found["shared_items"], len(x)),
        ],
    )


@check("McNemar, exact and mid-p", "statsmodels mcnemar, scipy binom")
def mcnemar(chance):
    only_a, only_b = (int(count) for count in chance.integers(0, chance.choice([5, 40, 2000]), 2))
    table = [[10, only_a], [only_b, 10]]
    exact = min(1.0, statsmodels_mcnemar(table, exact=True).pvalue) if only_a + only_b else 1.0
    # Half the probability of the observed split, and the whole probability of all more uneven ones.
    splits = numpy.arange(only_a + only_b + 1)
    chances = stats.binom.pmf(splits, only_a + only_b, 0.5)
    uneven = abs(2 * splits - only_a - only_b) - abs(only_a - only_b)
    mid = chances[uneven > 0].sum() + 0.5 * chances[uneven == 0].sum() if only_a + only_b else 1.0
    return (
        {"ask": "mcnemar", "only_a": only_a, "only_b": only_b},
        lambda found: [(found["exact_p"], exact), (found["mid_p"], mid)],
    )


@check("permutation p-value, exact", "scipy permutation_test")
def sign_flip(chance):
    values = numpy.round(chance.normal(0.2, 0.5, int(chance.integers(2, 13))), 2)
    reference = stats.permutation_test((values,), numpy.mean, permutation_type="samples", n_resamples=numpy.inf)
    return (
        {"ask": "sign_flip", "differences": values.tolist(), "seed": 1},
        lambda found: [(found, reference.pvalue)],
    )


@check("permutation p-value, 9,999 draws", "scipy permutation_test, 9,999 draws", 0.03)
def sign_flip_by_chance(chance):
    values = chance.normal(0.1, 0.5, int(chance.integers(20, 200)))
    reference = stats.permutation_test(
        (values,), numpy.mean, permutation_type="samples", n_resamples=9_999, rng=chance, vectorized=True
    )
    return (
        {"ask": "sign_flip", "differences": values.tolist(), "seed": int(chance.integers(0, 2**63))},
        lambda found: [(found, reference.pvalue)],
    )


@check("Benjamini–Hochberg", "statsmodels multipletests fdr_bh")
def benjamini_hochberg(chance):
    p_values = (chance.random(int(chance.integers(1, 60))) ** chance.choice([1, 3])).tolist()
    expected = multipletests(p_values, method="fdr_bh")[1]
    return {"ask": "benjamini_hochberg", "p_values": p_values}, lambda found: list(zip(found, expected))


@check("comparison table: wins, p, adjusted p", "scipy binomtest, statsmodels fdr_bh")
def compare(chance):
    columns = [scores(chance, 400, graded=False) for _ in range(int(chance.integers(2, 6)))]

    def expect(found):
        pairs, p_values = [], []
        for comparison in found:
            b, a = shared(columns[comparison["baseline"]], columns[comparison["candidate"]])
            wins, losses = int(sum(a > b)), int(sum(a < b))
            p_value = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
            p_values.append(p_value)
            pairs += [
                (comparison["difference"], numpy.mean(a - b)),
                (comparison["p_value"], p_value),
                (comparison["wins"], wins),
                (comparison["losses"], losses),
                (comparison["ties"], len(a) - wins - losses),
            ]
        adjusted = multipletests(p_values, method="fdr_bh")[1]
        return pairs + [(comparison["p_adjusted"], p) for comparison, p in zip(found, adjusted)]

    return {"ask": "compare", "columns": columns, "smallest": 0.05, "seed": 1}, expect


@check("detectable difference", "scipy t.ppf (Bloom 1995)")
def detectable(chance):
    items, deviation = int(chance.integers(2, 5000)), float(chance.uniform(0.05, 0.7))
    freedom = items - 1
    expected = (stats.t.ppf(0.975, freedom) + stats.t.ppf(0.8, freedom)) * deviation / math.sqrt(items)
    return (
        {"ask": "power", "deviation": deviation, "items": items, "difference": 0.1},
        lambda found: [(found["detectable"], expected)],
    )


@check("items needed, in items", "statsmodels TTestPower (noncentral t)", 1)
def needed(chance):
    difference, deviation = float(chance.uniform(0.02, 0.3)), float(chance.uniform(0.1, 0.7))
    expected = math.ceil(TTestPower().solve_power(difference / deviation, power=0.8, alpha=0.05))
    return (
        {"ask": "power", "deviation": deviation, "items": 2, "difference": difference},
        lambda found: [(found["needed"] - expected, 0)],
    )


@check("two effects, balanced and not", "statsmodels OLS, C(…, Sum)")
def two_way(chance):
    rows, columns = (int(size) for size in chance.integers(2, 7, 2))
    cells = chance.normal(0.6, 0.2, (rows, columns))
    # The first row and the first column stay complete, so that all cells can be compared.
    missing = chance.random((rows, columns)) < chance.choice([0.0, 0.3])
    missing[0, :] = missing[:, 0] = False

    def contrasts(size):
        return numpy.vstack([numpy.eye(size - 1), -numpy.ones(size - 1)])

    row, column = numpy.nonzero(~missing)
    design = numpy.hstack([numpy.ones((len(row), 1)), contrasts(rows)[row], contrasts(columns)[column]])
    fit = statsmodels.api.OLS(cells[row, column], design).fit()
    of_rows, of_columns = contrasts(rows) @ fit.params[1:rows], contrasts(columns) @ fit.params[rows:]
    question = [
        [None if missing[r, c] else float(cells[r, c]) for c in range(columns)] for r in range(rows)
    ]
    return (
        {"ask": "two_way", "cells": question},
        lambda found: [
            (found["grand"], fit.params[0]),
            *zip(found["rows"], of_rows),
            *zip(found["columns"], of_columns),
            (found["explained"], fit.rsquared),
        ],
    )


@check("mean win rate, normalised mean", "the definition, pair by pair")
def win_rates(chance):
    benchmarks, entries = int(chance.integers(1, 6)), int(chance.integers(2, 8))
    table = numpy.round(chance.random((benchmarks, entries)), 1)
    table[chance.random(table.shape) < 0.2] = numpy.nan
    floors = chance.uniform(0, 0.5, benchmarks)
    rates, normalised = [], []
    for entry in range(entries):
        of_benchmarks = []
        for row in table:
            others = [score for at, score in enumerate(row) if at != entry and not numpy.isnan(score)]
            if not numpy.isnan(row[entry]) and others:
                of_benchmarks.append(numpy.mean([(row[entry] > o) + 0.5 * (row[entry] == o) for o in others]))
        rates.append(numpy.mean(of_benchmarks) if of_benchmarks else math.nan)
        stretched = numpy.maximum(0, (table[:, entry] - floors) / (1 - floors))
        normalised.append(numpy.nanmean(stretched) if not numpy.isnan(stretched).all() else math.nan)

    def pairs(found, expected):
        return [(math.nan if f is None else f, e) for f, e in zip(found, expected)]

    question = [[None if numpy.isnan(score) else score for score in row] for row in table.tolist()]
    return (
        {"ask": "win_rates", "scores": question, "floors": floors.tolist()},
        lambda found: pairs(found["win_rates"], rates) + pairs(found["normalised"], normalised),
    )


@check("Pareto frontier", "paretoset; `off` by brute force")
def frontier(chance):
    # Sixteenths are exact, so that ties are ties on both sides.
    values = chance.integers(0, 9, (int(chance.integers(1, 40)), 3)) / 8
    half = chance.integers(0, 4, values.shape) / 16
    on = paretoset.paretoset(values, sense=["max", "min", "min"], distinct=False)
    turned = values * [1, -1, -1]
    worst, best = turned - half, turned + half

    def surely_beaten(own):
        return any((w >= best[own]).all() and (w > best[own]).any() for at, w in enumerate(worst) if at != own)

    expected = ["on" if on[at] else "off" if surely_beaten(at) else "perhaps" for at in range(len(values))]
    offers = numpy.stack([values, values - half, values + half], 2).tolist()
    return (
        {"ask": "frontier", "offers": offers},
        lambda found: [(float(f == e), 1.0) for f, e in zip(found, expected)],
    )


@check("change points (PELT)", "ruptures Pelt, l2")
def change_points(chance):
    steps = chance.normal(0, 0.2, int(chance.integers(1, 5)))
    values = numpy.concatenate([chance.normal(step, 0.05, int(chance.integers(5, 40))) for step in steps])
    error = 0.05
    penalty = max(8.5, 3 * math.log(len(values))) * error**2
    expected = ruptures.Pelt(model="l2", min_size=2, jump=1).fit(values).predict(pen=penalty)[:-1]
    return (
        {"ask": "change_points", "values": values.tolist(), "errors": [error] * len(values)},
        lambda found: [(len(found), len(expected)), *zip(found, expected)],
    )


@check("confidence sequence", "the published formulas, term by term")
def sequence(chance):
    low, high = (0.0, 1.0) if chance.random() < 0.5 else (-1.0, 1.0)
    values = low + (high - low) * chance.beta(2, 3, 200)
    x, alpha, t = (values - low) / (high - low), 0.05, numpy.arange(1, 201)
    guess = (0.5 + numpy.cumsum(x)) / (t + 1)
    variance = (0.25 + numpy.cumsum((x - guess) ** 2)) / (t + 1)
    guess_before, variance_before = numpy.append(0.5, guess[:-1]), numpy.append(0.25, variance[:-1])
    bet = numpy.minimum(numpy.sqrt(2 * math.log(2 / alpha) / (variance_before * t * numpy.log(1 + t))), 0.5)
    spread = numpy.cumsum(4 * (x - guess_before) ** 2 * (-numpy.log(1 - bet) - bet) / 4)
    centre = numpy.cumsum(bet * x) / numpy.cumsum(bet)
    half = (math.log(2 / alpha) + spread) / numpy.cumsum(bet)
    lows = low + (high - low) * numpy.maximum.accumulate(numpy.maximum(0, centre - half))
    highs = low + (high - low) * numpy.minimum.accumulate(numpy.minimum(1, centre + half))
    return (
        {"ask": "sequence", "values": values.tolist(), "low": low, "high": high, "confidence": 0.95},
        lambda found: [(f["low"], e) for f, e in zip(found, lows)] + [(f["high"], e) for f, e in zip(found, highs)],
    )


@check("pass@k, pass^k, majority@k", "all choices of k answers, counted")
def repeats(chance):
    correct = int(chance.integers(0, 5))
    wrong = [int(count) for count in chance.integers(1, 4, int(chance.integers(0, 4)))]
    if correct + sum(wrong) == 0:
        correct = 1
    answers = ["right"] * correct + [kind for kind, count in enumerate(wrong) for _ in range(count)]
    k = int(chance.integers(1, len(answers) + 1))
    any_right, all_right, voted = [], [], []
    for choice in itertools.combinations(answers, k):
        votes = {answer: choice.count(answer) for answer in choice}
        leaders = [answer for answer, count in votes.items() if count == max(votes.values())]
        any_right.append("right" in choice)
        all_right.append(set(choice) == {"right"})
        voted.append(("right" in leaders) / len(leaders))
    return (
        {"ask": "repeats", "correct": correct, "wrong": wrong, "k": k},
        lambda found: [
            (found["pass_at_k"], numpy.mean(any_right)),
            (found["pass_hat_k"], numpy.mean(all_right)),
            (found["majority_at_k"], numpy.mean(voted)),
        ],
    )


def drawn_choices(chance):
    """Choices of some voters between entries of unequal strength; every fifth is a tie."""
    count = int(chance.integers(2, 9))
    truth = chance.normal(0, 1, count)
    choices = []
    for _ in range(int(chance.integers(5, 200))):
        left, right = (int(entry) for entry in chance.choice(count, 2, replace=False))
        won = chance.random() < 1 / (1 + math.exp(truth[right] - truth[left]))
        outcome = 0.5 if chance.random() < 0.2 else float(won)
        choices.append((left, right, outcome, int(chance.integers(0, 12))))
    penalty = float(chance.choice([0.1, 1.0, 3.0]))
    return {"ask": "bradley_terry", "count": count, "choices": choices, "penalty": penalty, "confidence": 0.95}


@check("Bradley-Terry strengths, penalised, with ties", "choix opt_pairwise")
def bradley_terry(chance):
    question = drawn_choices(chance)
    # A tie is one win each of a choice with double weight, so all weights and the penalty are doubled.
    pairs = []
    for left, right, outcome, _ in question["choices"]:
        pairs += [(left, right)] * round(2 * outcome) + [(right, left)] * round(2 - 2 * outcome)
    expected = choix.opt_pairwise(question["count"], pairs, alpha=question["penalty"], method="Newton-CG", tol=1e-12)
    return question, lambda found: [(line[0], e) for line, e in zip(found, expected)]


@check("Bradley-Terry intervals and ranks", "Hessian and sandwich by numpy, multipletests")
def bradley_terry_intervals(chance):
    question = drawn_choices(chance)
    count, choices, penalty = question["count"], question["choices"], question["penalty"]
    design = numpy.zeros((len(choices), count))
    for at, (left, right, _, _) in enumerate(choices):
        design[at, left], design[at, right] = 1, -1
    outcomes = numpy.array([choice[2] for choice in choices])

    def surprise(strengths):
        return outcomes - 1 / (1 + numpy.exp(-design @ strengths))

    strengths = optimize.root(lambda s: design.T @ surprise(s) - penalty * s, numpy.zeros(count), tol=1e-13).x
    expected = 1 / (1 + numpy.exp(-design @ strengths))
    bread = numpy.linalg.inv(design.T @ (design * (expected * (1 - expected))[:, None]) + penalty * numpy.eye(count))
    voters = numpy.array([choice[3] for choice in choices])
    groups = [(design * surprise(strengths)[:, None])[voters == voter].sum(0) for voter in set(voters)]
    factor = len(groups) / (len(groups) - 1) if len(groups) > 1 else 0
    sandwich = factor * bread @ sum(numpy.outer(group, group) for group in groups) @ bread

    def variance(contrast):
        return max(contrast @ bread @ contrast, contrast @ sandwich @ contrast)

    unit = numpy.eye(count)
    half = [stats.norm.ppf(0.975) * math.sqrt(variance(unit[i] - 1 / count)) for i in range(count)]
    pairs = list(itertools.combinations(range(count), 2))
    z = [abs(strengths[i] - strengths[j]) / math.sqrt(variance(unit[i] - unit[j])) for i, j in pairs]
    sure = multipletests(2 * stats.norm.sf(z), alpha=0.05, method="fdr_bh")[0]
    low, high = numpy.ones(count), numpy.full(count, count)
    for (i, j), is_sure in zip(pairs, sure):
        if is_sure:
            stronger, weaker = (i, j) if strengths[i] > strengths[j] else (j, i)
            low[weaker] += 1
            high[stronger] -= 1
    return question, lambda found: [
        pair
        for at, line in enumerate(found)
        for pair in zip(line, (strengths[at], strengths[at] - half[at], strengths[at] + half[at], low[at], high[at]))
    ]


@check("ranks across benchmarks", "z-tests by scipy, multipletests")
def ranks_across(chance):
    benchmarks, entries = int(chance.integers(1, 6)), int(chance.integers(2, 9))
    table = chance.normal(chance.uniform(0.3, 0.9, entries), 0.05, (benchmarks, entries))
    table[chance.random(table.shape) < 0.2] = numpy.nan
    errors = chance.uniform(0.01, 0.1, table.shape)
    pairs = list(itertools.combinations(range(entries), 2))
    off, p_values = [], []
    for i, j in pairs:
        both = ~numpy.isnan(table[:, i]) & ~numpy.isnan(table[:, j])
        off.append((table[both, i] - table[both, j]).sum())
        spread = math.sqrt((errors[both, i] ** 2 + errors[both, j] ** 2).sum())
        p_values.append(2 * stats.norm.sf(abs(off[-1]) / spread) if both.any() else 1.0)
    low, high = numpy.ones(entries), numpy.full(entries, entries)
    for (i, j), difference_, is_sure in zip(pairs, off, multipletests(p_values, alpha=0.05, method="fdr_bh")[0]):
        if is_sure:
            better, worse = (i, j) if difference_ > 0 else (j, i)
            low[worse] += 1
            high[better] -= 1
    question = [
        [None if math.isnan(score) else [float(score), float(error)] for score, error in zip(*rows)]
        for rows in zip(table, errors)
    ]
    return (
        {"ask": "ranks_across", "scores": question, "alpha": 0.05},
        lambda found: [
            pair for at, rank in enumerate(found) for pair in ((rank["rank_low"], low[at]), (rank["rank_high"], high[at]))
        ],
    )


def difference(found, expected):
    """The difference of two numbers, relative to the expected one if that is above 1."""
    if math.isnan(expected) or math.isnan(found):
        return 0.0 if math.isnan(expected) and math.isnan(found) else math.inf
    return abs(found - expected) / max(1.0, abs(expected))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the program `answer` of the package opb-conformance")
    parser.add_argument("--cases", type=int, default=40, help="data sets of each statistic")
    parser.add_argument("--seed", type=int, default=1, help="which data sets")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")

    cases = []
    for number, (statistic, reference, tolerance, make) in enumerate(CHECKS):
        chance = numpy.random.default_rng([arguments.seed, number])
        cases += [(number, *make(chance)) for _ in range(arguments.cases)]
    lines = "".join(json.dumps(question) + "\n" for _, question, _ in cases)
    answers = subprocess.run([arguments.program], input=lines, capture_output=True, text=True, check=False)
    if answers.returncode != 0:
        sys.exit(f"the program failed: {answers.stderr}")

    worst, numbers = [0.0] * len(CHECKS), [0] * len(CHECKS)
    for (number, _, expect), line in zip(cases, answers.stdout.splitlines(), strict=True):
        for found, expected in expect(json.loads(line)):
            worst[number] = max(worst[number], difference(float(found), float(expected)))
            numbers[number] += 1
    failed = 0
    print(f"{'statistic':48} {'reference':45} {'numbers':>8} {'largest difference':>19} {'allowed':>8}")
    for (statistic, reference, tolerance, _), largest, count in zip(CHECKS, worst, numbers):
        wrong = largest > tolerance or count == 0
        failed += wrong
        mark = "  DIFFERS" if wrong else ""
        print(f"{statistic:48} {reference:45} {count:8} {largest:19.2e} {tolerance:8.0e}{mark}")
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} statistics agree, {len(cases)} data sets, seed {arguments.seed}")
    sys.exit(1 if failed else 0)


main()
