"""The cases printed in the IAAO Standard on Ratio Studies, with the answers given there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from appraise.evaluation.metrics import METRICS


@dataclass(frozen=True)
class Case:
    """Estimates and sale prices, and the figures as printed, so that their decimals say how close is equal."""

    estimate: np.ndarray
    actual: np.ndarray
    printed: dict[str, str]


def numbers(text: str) -> np.ndarray:
    return np.array(text.split(), dtype=np.float64)


CASES = {
    "1-1": Case(
        estimate=numbers("""
            48000 28800 78400 39840 68160 94400 67200 56960 87200 38240 96320 67680 32960 50560 61360 47360
            58080 47040 136000 103200 59040 168000 128000 132000 160000 160000 200000 184000 160000 157200 99200
            200000 64000 192000 190400 65440
        """),
        actual=numbers("""
            138000 59250 157500 74400 114900 159000 111900 93000 138720 59700 146400 99000 47400 70500 78000
            60000 69000 55500 154500 109500 60000 168000 124500 127500 150000 141000 171900 157500 129600 126000
            77700 153000 48750 144000 141000 48000
        """),
        printed={"cod": "29.8", "prd": "0.98", "prb": "0.232"},
    ),
    "1-4": Case(
        estimate=numbers("""
            87200 38240 96320 68610 32960 50560 61360 47360 56580 47040 136000 98000 56000 159100 128000 132000
            160000
        """),
        actual=numbers("""
            138720 59700 146400 99000 47400 70500 78000 60000 69000 55500 154500 109500 60000 168000 124500
            127500 150000
        """),
        printed={"cod": "14.5", "prd": "0.98", "prb": "0.135"},
    ),
    "D-1": Case(
        estimate=numbers("""
            116700 130300 130200 145500 134100 153900 143400 156900 169000 149200 160100 191400 177200 205500
            206500 243800 211600 242500 258400 265900 305700 291600 312800 352200 354900
        """),
        actual=numbers("""
            114500 121000 133900 139000 145000 156500 161100 169500 175000 181000 188900 205000 216150 219000
            235000 249000 258900 263000 305900 312500 336000 360000 399900 418500 459000
        """),
        printed={"cod": "7.5", "prd": "1.027", "prb": "-0.120"},
    ),
    "D-2": Case(
        estimate=numbers("""
            45000 100000 165000 180000 250000 330000 315000 400000 495000 450000 550000 660000 585000 700000
            825000 1875000
        """),
        actual=numbers("""
            50000 100000 150000 200000 250000 300000 350000 400000 450000 500000 550000 600000 650000 700000
            750000 2500000
        """),
        printed={"cod": "7.8", "prd": "1.056", "prb": "-0.011"},
    ),
    "VEI": Case(
        estimate=numbers("""
            240000 144000 392000 199200 340800 472000 336000 284800 436000 191200 225000 194000 481600 338400
            164800 252800 945000 280000 407000 423000 306800 236800 361000 290400 235200 415000 381000 380000
            875000 680000 329000 457000 516000 295200 580000 840000 640000 660000 354000 800000 390000 800000
            469000 1000000 920000 527000 800000 786000 496000 1000000 320000 960000 952000 327200
        """),
        actual=numbers("""
            690000 296250 787500 372000 574500 795000 559500 465000 693600 298500 350000 295000 732000 495000
            237000 352500 1289000 379000 540000 560000 390000 300000 450000 345000 277500 485000 442000 435000
            998000 772500 365000 487000 547500 300000 580000 840000 622500 637500 340000 750000 352500 705000
            410000 859500 787500 440000 648000 630000 388500 765000 243750 720000 705000 240000
        """),
        printed={
            "median_ratio": "0.8678",
            "cod": "24.65",
            "prd": "0.993",
            "prb": "0.187",
            "mki": "1.069",
            "vei": "48.53",
            "vei_significance": "17.57",
        },
    ),
}
FIGURES = [(case, key) for case, one in CASES.items() for key in one.printed]


@pytest.mark.parametrize(("case", "key"), FIGURES, ids=[f"{case}-{key}" for case, key in FIGURES])
def test_figure_equals_the_printed_one_to_its_last_digit(case: str, key: str) -> None:
    printed = CASES[case].printed[key]
    decimals = len(printed.partition(".")[2])
    figure = METRICS[key].function(CASES[case].actual, CASES[case].estimate)
    assert f"{figure:.{decimals}f}" == printed


@pytest.mark.parametrize("case", CASES)
def test_prb_is_the_slope_and_not_the_intercept(case: str) -> None:
    actual, estimate = CASES[case].actual, CASES[case].estimate
    ratio = estimate / actual
    level = np.median(ratio)
    slope, intercept = np.polyfit(np.log2((estimate / level + actual) / 2), (ratio - level) / level, 1)
    assert METRICS["prb"].function(actual, estimate) == pytest.approx(slope, rel=1e-9)
    assert abs(slope - intercept) > 0.05
