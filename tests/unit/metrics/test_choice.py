import pytest

from medsweep.metrics.choice import chosen, right_place

MINERALS = ("Iron", "Zinc", "Vitamin C", "Vitamin C and iron")
PUBMEDQA = ("yes", "no", "maybe")

CHOSEN = [
    ("B", MINERALS, 1),
    (" (b) ", MINERALS, None),  # letters are capital, or "a" would be one everywhere
    ("(B)", MINERALS, 1),
    ("B) Zinc, not A", MINERALS, 1),
    ("C.\nBecause it is.", MINERALS, 2),
    ("The correct answer is D.", MINERALS, 3),
    ("Answer: (A)", MINERALS, 0),
    ("It may be option A, but the answer is B", MINERALS, 1),
    ("A patient needs zinc.", MINERALS, 1),
    ("A patient needs rest.", MINERALS, None),
    ("Option E", MINERALS, None),
    ("Vitamin C and iron", MINERALS, 3),
    ("vitamin c", MINERALS, 2),
    ("Either iron or zinc", MINERALS, None),
    ("Yes, it lowers mortality. No doubt.", PUBMEDQA, 0),
    ("No.", PUBMEDQA, 1),
    ("The evidence says maybe", PUBMEDQA, 2),
    ("Nothing is known", PUBMEDQA, None),
    ("", PUBMEDQA, None),
    # As chat models answer.
    ("The correct answer is **B**.", MINERALS, 1),
    ("The correct answer is (B) Zinc.", MINERALS, 1),
    ("\\boxed{B}", MINERALS, 1),
    ("So the result is $\\boxed{\\text{C}}$, not A.", MINERALS, 2),
    ("I think it is B", MINERALS, 1),
    ("I think it's B.", MINERALS, 1),
    ("I would choose D, since iron alone is not enough.", MINERALS, 3),
    ("I'd go with C.", MINERALS, 2),
    ("The deficient mineral is B (Zinc). Option C would need scurvy.", MINERALS, 1),
    ("Final answer: B. Explanation: option A is a metal too.", MINERALS, 1),
    ("**Answer:** C", MINERALS, 2),
    ("Answer - D", MINERALS, 3),
    ("The best choice is therefore option A.", MINERALS, 0),
    ("Correct option: B", MINERALS, 1),
    ("Based on the findings, the answer would be C.\n\nA is wrong, B is wrong.", MINERALS, 2),
    ("The answer is most likely B because of the rash.", MINERALS, 1),
    ("Option A is wrong and option B is wrong.", MINERALS, None),
    ("Option A is wrong. The answer is C", MINERALS, 2),
    ("It is a deficiency of zinc.", MINERALS, 1),
    ("The answer is a mineral.", MINERALS, None),
    ("The answer is A mineral", MINERALS, None),
    ("B: Zinc", MINERALS, 1),
    ("`B`", MINERALS, 1),
    ("(B). Zinc is lost with diarrhoea.", MINERALS, 1),
]


@pytest.mark.parametrize(("prediction", "options", "place"), CHOSEN)
def test_chosen(prediction: str, options: tuple[str, ...], place: int | None) -> None:
    assert chosen(prediction, options) == place


@pytest.mark.parametrize(("answer", "place"), [("Zinc", 1), ("b", 1), ("D", 3), (0, 0)])
def test_right_place(answer: str | int, place: int) -> None:
    assert right_place(answer, MINERALS) == place


@pytest.mark.parametrize("answer", ["E", "zinc oxide", 4, -1, ""])
def test_what_is_no_option(answer: str | int) -> None:
    with pytest.raises(ValueError, match="is no option"):
        right_place(answer, MINERALS)
