"""``service/inference/memory_budget.py``: what fits into the container, alone and beside others."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.engines.memory_needs import MemoryNeeds
from service.engines.protocol import ConfigurationError
from service.errors import BadDimensions
from service.imaging.encode import peak_bytes
from service.imaging.options import Format, Length, Margin, Options, Output
from service.inference.memory_budget import HELD_BYTES, WHOLE_WAY, Demand, MemoryBudget
from service.inference.service_time import Stage, Work
from tests.support.memory_budgets import NEEDS, memory_budget

MEGAPIXEL = 1000, 1000
MEGABYTES = 1_000_000


def demand(budget: MemoryBudget, **work: Any) -> Demand:
    return budget.demand(replace(Work(size=MEGAPIXEL, options=Options()), **work), WHOLE_WAY)


def test_without_a_limit_everything_fits() -> None:
    budget = memory_budget()
    budget.check_alone(Work(size=(9999, 9999)))
    budget.check_before_load("inspyrenet")
    assert budget.fits(Demand(1 << 50), [Demand(1 << 50)])
    assert budget.largest_photograph(NEEDS, most=10**8) == 10**8


def test_the_demand_follows_what_the_answer_shows_and_its_format() -> None:
    budget = memory_budget(1)
    cut_out = demand(budget)
    assert cut_out.held == HELD_BYTES * MEGABYTES
    wanted = demand(budget, options=Options(format=Format.AVIF))
    encoding = peak_bytes(Format.AVIF, 1_000_000, 2000)
    assert wanted.codec == encoding + 8 * MEGABYTES > cut_out.codec
    mask = demand(budget, options=Options(Output.MASK, format=Format.AVIF))
    assert mask.codec == encoding + 2 * MEGABYTES
    narrow = demand(budget, size=(100_000, 10), options=Options(format=Format.AVIF))
    assert narrow.codec == peak_bytes(Format.AVIF, 1_000_000, 100_010) + 8 * MEGABYTES
    reduced = demand(budget, options=Options(format=Format.AVIF, longest_side=100))
    assert reduced.codec < cut_out.codec
    around = Margin(*[Length(1000)] * 4)
    larger = demand(budget, options=Options(format=Format.AVIF, crop=around))
    assert larger.codec == peak_bytes(Format.AVIF, 9_000_000, 6000) + 8 * 9 * MEGABYTES
    behind = demand(budget, options=Options(Output.BACKGROUND), background=(3000, 1000))
    assert behind.held == cut_out.held + 4 * 3 * MEGABYTES
    assert behind.codec > 60 * MEGABYTES, "it is decoded as well"
    assert demand(budget, file_bytes=MEGABYTES).held == cut_out.held + MEGABYTES


def test_pictures_in_every_codec_thread_and_that_of_a_probe_count_as_working() -> None:
    """One picture in the device thread, so many in the codec threads, and all others with what they hold."""
    limit = 2_000_000_000
    one = Demand(held=10_000_000, codec=100_000_000, network=150_000_000)
    for threads in (1, 2, 3):
        budget = memory_budget(limit, threads=threads)
        probe = budget.demand(Work(size=(64, 64), options=Options()), WHOLE_WAY)
        free = limit - NEEDS.idle - probe.held - probe.codec
        beside = [one] * 4
        taken = 5 * one.held + one.network + threads * one.codec
        assert budget.fits(one, [*beside, Demand(free - taken)])
        assert not budget.fits(one, [*beside, Demand(free - taken + 1)])


def test_a_picture_that_cannot_fit_is_refused_with_a_size_that_does() -> None:
    budget = memory_budget(1_200_000_000)
    with pytest.raises(
        BadDimensions, match=r"2000 x 1000 pixels takes more memory .* at most (\d+) pixels"
    ) as refused:
        budget.check_alone(Work(size=(2000, 1000)))
    pixels = int(str(refused.value.message).split()[-2])
    assert 1_000_000 < pixels < 2_000_000
    budget.check_alone(Work(size=(pixels // 1001, 1000)))
    with pytest.raises(BadDimensions, match="1000 x 1000 pixels and its background of 9000 x 1000 take more"):
        budget.check_alone(Work(size=MEGAPIXEL, options=Options(Output.BACKGROUND), background=(9000, 1000)))


def test_an_engine_that_could_serve_nothing_is_refused_before_the_load_and_when_it_is_settled() -> None:
    needs = {"inspyrenet": MemoryNeeds(2_000_000_000, 0), "u2netp": MemoryNeeds(500_000_000, 0)}

    def budget(*references: tuple[int, int]) -> MemoryBudget:
        return MemoryBudget(
            1_000_000_000,
            model_input_size=lambda width, height: (width, height),
            codec_threads=1,
            engine="auto",
            least_needs=needs | {"auto": needs["u2netp"]},
            references=references,
        )

    budget().check_before_load("u2netp")
    with pytest.raises(ConfigurationError, match=r"is 1\.0 GB, and this engine needs 2\.\d GB"):
        budget().check_before_load("inspyrenet")
    with pytest.raises(ConfigurationError, match="for the smallest picture; give it more"):
        budget().engine_settled(needs["inspyrenet"], max_pixels=1, places=1)
    with pytest.raises(ConfigurationError, match="beside the largest reference"):
        budget((5000, 4000)).check_before_load("u2netp")


@given(st.integers(1_050_000_000, 4_000_000_000), st.integers(1, 10**8))
def test_the_largest_photograph_fits_and_is_never_above_the_setting(limit: int, max_pixels: int) -> None:
    budget = memory_budget(limit)
    largest = budget.largest_photograph(NEEDS, most=max_pixels)
    assert 1 <= largest <= max_pixels
    with capture_logs():
        budget.engine_settled(NEEDS, max_pixels=max_pixels, places=3)
    height = max(1, int((largest * 3 // 4) ** 0.5))
    budget.check_alone(Work(size=(max(1, largest // height), height)))


def test_a_tight_limit_is_a_warning_with_figures_once_the_engine_is_settled() -> None:
    with capture_logs() as lines:
        memory_budget(2_000_000_000).engine_settled(NEEDS, max_pixels=10_000_000, places=3)
    [line] = lines
    assert line["log_level"] == "warning"
    assert line["limit_bytes"] == 2_000_000_000
    one, full = line["bytes_for_one_of_max_pixels"], line["bytes_for_a_full_queue_of_these"]
    assert one > 2_000_000_000
    assert full > one + 2 * HELD_BYTES * 10 * MEGABYTES
    with capture_logs() as lines:
        memory_budget(8_000_000_000).engine_settled(NEEDS, max_pixels=10_000_000, places=3)
    assert lines == []


# -- any sequence of arrivals and ends -----------------------------------------------------------------------------

FEW = MemoryNeeds(idle=1_000_000_000, per_model_pixel=10, per_further_model_pixel=10)
"""With little for the network, codec threads decide."""
ORDER = (Stage.DECODE, Stage.INFER, Stage.FINISH)
OPTIONS = (
    Options(),
    Options(Output.MASK),
    Options(format=Format.AVIF),
    Options(Output.BACKGROUND, format=Format.WEBP),
)


@dataclass
class Picture:
    """One that was let in, on its way."""

    work: Work
    passed: int = 0

    @property
    def ahead(self) -> frozenset[Stage]:
        return frozenset(ORDER[self.passed :])


@dataclass
class Machine:
    """Everything that the process holds at one moment, picture by picture."""

    pictures: list[Picture] = field(default_factory=list)

    def most_now(self, budget: MemoryBudget, threads: int) -> int:
        """What is taken if as many pictures work as can, each in its present stage."""
        held = codec = network = 0
        waiting = []
        for picture in self.pictures:
            demand = budget.demand(picture.work, picture.ahead)
            held += demand.held
            stage = ORDER[picture.passed] if picture.ahead else None
            if stage is Stage.INFER:
                network = max(network, demand.network)
            elif stage is not None:
                waiting.append(budget.demand(picture.work, {stage}).codec)
        codec = sum(sorted(waiting, reverse=True)[:threads])
        probe = budget.demand(Work(size=(64, 64), options=Options()), WHOLE_WAY)
        return FEW.idle + probe.held + held + max(codec + network + probe.codec, codec + probe.network)


SIDES = st.integers(1, 3000)
ARRIVALS = st.tuples(st.tuples(SIDES, SIDES), st.sampled_from(OPTIONS), st.integers(0, 30_000_000))
MOVES = st.one_of(ARRIVALS, st.integers(0, 20), st.none())


@given(st.integers(1, 4), st.integers(1_050_000_000, 2_500_000_000), st.lists(MOVES, max_size=40))
def test_whatever_comes_and_ends_what_is_there_never_takes_more_than_the_limit(
    threads: int, limit: int, moves: list[tuple[tuple[int, int], Options, int] | int | None]
) -> None:
    """A tuple arrives, a number goes one stage on, None is the end of the first; one that fits alone may be alone."""
    budget, machine = memory_budget(limit, needs=FEW, threads=threads), Machine()
    for move in moves:
        if isinstance(move, tuple):
            size, options, file_bytes = move
            background = size[::-1] if options.output is Output.BACKGROUND else None
            work = Work(size=size, options=options, background=background, file_bytes=file_bytes)
            try:
                budget.check_alone(work)
            except BadDimensions:
                continue
            others = [budget.demand(it.work, it.ahead) for it in machine.pictures]
            if budget.fits(budget.demand(work, WHOLE_WAY), others):
                machine.pictures.append(Picture(work))
        elif not machine.pictures:
            continue
        elif move is None:
            machine.pictures.pop(0)
        else:
            picture = machine.pictures[move % len(machine.pictures)]
            picture.passed = min(picture.passed + 1, len(ORDER))
            picture.work.file_bytes = 0
        assert machine.most_now(budget, threads) <= limit
