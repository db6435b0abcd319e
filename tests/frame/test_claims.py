"""Claims on one axis: narrowed in turn, each held, held in part, or giving way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crop_core.frame.claims import (
    GAVE_WAY,
    HELD,
    IN_PART,
    NOT_WHOLE,
    WHOLE,
    Claim,
    Verdict,
    folded,
    settle_claims,
)

ROOM = (0, 600)  # the offsets of a window of 400 on an axis of 1,000
LENGTH = 400


def outcomes(*claims: Claim) -> list[str]:
    return [verdict.outcome for verdict in settle_claims(claims, ROOM, LENGTH, 0)[1]]


def test_no_claim_leaves_all_places() -> None:
    assert settle_claims((), ROOM, LENGTH, 0) == (ROOM, ())


@pytest.mark.parametrize(
    ("second", "outcome", "room"),
    [
        (Claim("b", (300, 500)), HELD, (100, 200)),
        (Claim("b", (700, 900)), GAVE_WAY, (0, 200)),
        (Claim("b", (700, 900), approach=True), IN_PART, (200, 200)),
        (Claim("b", (500, 700), slack=100), HELD, (200, 200)),
        (Claim("b", (150, 650)), IN_PART, (150, 200)),
    ],
    ids=["beside it", "too far", "too far, as near as can be", "within its slack", "too long, so inside of it"],
)
def test_a_later_claim_takes_what_the_first_leaves(second: Claim, outcome: str, room: tuple[int, int]) -> None:
    left, verdicts = settle_claims((Claim("a", (200, 400)), second), ROOM, LENGTH, 0)
    assert left == room
    assert [verdict.outcome for verdict in verdicts] == [HELD, outcome]


def test_the_first_claim_wins() -> None:
    left, right = Claim("left", (0, 200)), Claim("right", (800, 1000))
    assert outcomes(left, right) == [HELD, GAVE_WAY]
    assert outcomes(right, left) == [HELD, GAVE_WAY]


def test_a_verdict_reads_as_a_line() -> None:
    ((verdict,),) = (settle_claims([Claim("the heads", (0, 50))], ROOM, LENGTH, 1)[1],)
    assert str(verdict) == "top to bottom: the heads: held"


def test_a_verdict_on_a_single_thing_tells_its_score_in_words() -> None:
    assert str(Verdict("x", "dog", WHOLE, 0.854)) == "left to right: dog (score 0.85): whole"


@pytest.mark.parametrize(
    ("verdicts", "lines"),
    [
        ([], []),
        (
            [Verdict("y", "chair", WHOLE, 0.29)],
            ["top to bottom: 1 unsure box (score below 0.3): whole"],
        ),
        (
            [Verdict("x", "cup", WHOLE, 0.2)] * 3
            + [Verdict("x", "cup", NOT_WHOLE, 0.1), Verdict("x", "dog", WHOLE, 0.3)],
            [
                "left to right: dog (score 0.30): whole",
                "left to right: 4 unsure boxes (score below 0.3): 3 whole, 1 not whole",
            ],
        ),
        (
            [Verdict("y", "cup", NOT_WHOLE, 0.2)] * 2 + [Verdict("y", "cup", WHOLE, 0.2)],
            ["top to bottom: 3 unsure boxes (score below 0.3): 1 whole, 2 not whole"],
        ),
        (
            [Verdict("x", "cup", WHOLE, 0.2), Verdict("y", "the face", HELD), Verdict("y", "cup", NOT_WHOLE, 0.2)],
            [
                "left to right: 1 unsure box (score below 0.3): whole",
                "top to bottom: the face: held",
                "top to bottom: 1 unsure box (score below 0.3): not whole",
            ],
        ),
        ([Verdict("x", "the dog whole", HELD)] * 2, ["left to right: the dog whole: held"]),
        ([Verdict("x", "dog", WHOLE, 0.5)] * 2, ["left to right: dog (score 0.50): whole"] * 2),
    ],
    ids=["none", "one", "several", "whole ones first", "both axes", "a claim made twice", "two things alike"],
)
def test_unsure_boxes_share_a_line_for_each_axis(verdicts: list[Verdict], lines: list[str]) -> None:
    assert [str(one) for one in folded(verdicts, 0.3)] == lines


spans = (
    st.tuples(st.integers(0, 999), st.integers(1, 1000))
    .map(lambda pair: tuple(sorted(pair)))
    .filter(lambda span: span[0] < span[1])
)


@given(st.lists(st.builds(Claim, st.just("x"), spans, st.integers(0, 50), st.booleans()), max_size=6))
def test_what_is_left_lies_in_the_room_and_holds_what_is_held(claims: list[Claim]) -> None:
    (low, high), verdicts = settle_claims(claims, ROOM, LENGTH, 0)
    assert ROOM[0] <= low <= high <= ROOM[1]
    for claim, verdict in zip(claims, verdicts, strict=True):
        if verdict.outcome == HELD and not claim.slack:
            assert high <= claim.span[0]
            assert low + LENGTH >= claim.span[1]
