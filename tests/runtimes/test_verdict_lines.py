"""A verdict in the lines of an output comes back whole or not at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_sop_provider.contract import Verdict
from airflow_sop_provider.contract.verdict_lines import VERDICT_LINE, VerdictLines, lines_of
from airflow_sop_provider.engine.failures import classify
from airflow_sop_provider.runtimes import Outcome

NOISE = st.text(alphabet=st.characters(blacklist_characters="\n"), max_size=50)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
VERDICTS = st.builds(Verdict, status=st.just("succeeded"), outputs=VALUES)


def read(digest: str, lines: list[str]) -> Verdict | None:
    reader = VerdictLines(digest)
    reader.add_all(lines)
    return reader.verdict()


def big(letters: int = 50_000) -> Verdict:
    import random

    return Verdict(status="succeeded", outputs=random.Random(1).randbytes(letters).hex())


@given(verdict=VERDICTS, noise=st.lists(NOISE))
def test_it_comes_back_from_among_other_lines(verdict, noise):
    assert read(verdict.digest(), [*noise, *lines_of(verdict), *noise]) == verdict


def test_long_ones_are_cut_below_what_container_runtimes_cut():
    verdict = big()
    lines = lines_of(verdict)
    assert len(lines) > 3
    assert max(map(len, lines)) < 16 * 1024
    assert read(verdict.digest(), list(reversed(lines))) == verdict


@pytest.mark.parametrize("spoil", [lambda lines: lines[1:], lambda lines: [lines[0].replace("a", "b", 1), *lines[1:]]])
def test_what_is_missing_or_changed_is_not_taken(spoil):
    verdict = big()
    assert read(verdict.digest(), spoil(lines_of(verdict))) is None


def test_a_step_cannot_pass_off_another_verdict():
    verdict, other = big(), Verdict(status="succeeded", outputs="mine")
    assert read(verdict.digest(), lines_of(other)) is None
    forged = [line.replace(other.digest(), verdict.digest()) for line in lines_of(other)]
    assert read(verdict.digest(), forged) is None


def test_the_termination_message_names_it():
    verdict = big()
    short = Verdict.model_validate_json(verdict.to_termination_message())
    assert (short.outputs_dropped, short.whole) == (True, verdict.digest())
    assert not verdict.fits_termination_message()
    assert Verdict(status="succeeded", outputs=1).fits_termination_message()
    assert "whole" not in json.loads(Verdict(status="succeeded", outputs=1).to_termination_message())


def test_outputs_that_did_not_come_back_are_a_crash():
    failure = classify(Outcome(exit_code=0, verdict=Verdict(status="succeeded", outputs_dropped=True)))
    assert failure is not None
    assert (failure.type, failure.code) == ("crash", "outputs-lost")


def test_lines_say_what_they_are():
    assert all(line.startswith(VERDICT_LINE) for line in lines_of(big(10)))
