"""Does the recurrence of one operation equal the tile executor, its closed form stay below?"""

from hypothesis import example, given, settings
from hypothesis import strategies as st
from plans import bounded_ps, execute, op_plan

from simulator.hardware.equations import Pipeline, flow_ps, load_before_store, pipeline_ps

#: Durations with many near ties.
TIME = st.sampled_from((1, 2, 3, 5, 8, 9, 10, 11, 20, 1000))
LATENCY = st.sampled_from((0, 0, 1, 7, 30, 400))


@st.composite
def pipelines(draw: st.DrawFn, *, load: bool, store: bool, ready: bool, post: bool) -> Pipeline:
    """Draw a pipeline that has these stages."""
    every, outputs = draw(st.sampled_from((1, 1, 2, 3, 5))), draw(st.integers(1, 12))
    steps = every * outputs
    return Pipeline(
        steps=steps,
        every=every,
        slots=draw(st.integers(1, steps)),
        latency=draw(LATENCY) if load else 0,
        load=draw(TIME) if load else 0,
        ready=draw(TIME) if ready else 0,
        main=draw(TIME),
        extra=draw(st.integers(0, steps - 1)),
        post=draw(TIME) if post else 0,
        second=0,
        store=draw(TIME) if store else 0,
    )


@st.composite
def any_pipeline(draw: st.DrawFn) -> Pipeline:
    """Draw a pipeline in which stages may share memory, vector unit and matrix unit."""
    has = [draw(st.booleans()) for _ in range(4)]
    p = draw(pipelines(load=has[0], store=has[1], ready=has[2], post=has[3]))
    if p.every > 1 or draw(st.booleans()):
        return p
    return p._replace(second=draw(TIME))


def executed_ps(p: Pipeline) -> int:
    """Return the makespan that the tile executor finds."""
    return execute([op_plan(p)]).makespan_ps


NEAR_TIE = Pipeline(4, 2, 1, 0, 1, 0, 1, 0, 10, 0, 0)
LAST_IS_LONGER = Pipeline(3, 1, 1, 0, 0, 0, 2, 2, 0, 0, 3)


@settings(max_examples=1000)
@given(any_pipeline())
@example(NEAR_TIE)
@example(LAST_IS_LONGER)
def test_one_operation_equals_the_executor(p: Pipeline) -> None:
    """Equal to the ps, whatever shares a unit, and so on both rungs."""
    tile = executed_ps(p)
    assert flow_ps(p) == tile
    assert pipeline_ps(p) <= tile
    assert bounded_ps([op_plan(p)]) == tile


STAGES = ("latency", "load", "ready", "main", "extra", "post", "second", "store")


@settings(max_examples=400)
@given(any_pipeline(), st.sampled_from(STAGES), st.integers(1, 9))
def test_no_stage_that_gets_slower_makes_an_operation_faster(
    p: Pipeline, stage: str, more: int
) -> None:
    """Strictly, on both rungs, as long as the memory's order stays as it is."""
    before = getattr(p, stage)
    slower = p._replace(**{stage: before + more}) if before else p
    if load_before_store(slower) == load_before_store(p):
        assert executed_ps(slower) >= executed_ps(p)


def one_way() -> st.SearchStrategy[Pipeline]:
    """Draw pipelines with loads only, and one job of the vector unit or none."""
    kinds = ((False, False), (True, False), (False, True))
    return st.one_of(
        [pipelines(load=True, store=False, ready=ready, post=post) for ready, post in kinds]
    )


@settings(max_examples=200)
@given(one_way(), st.integers(1, 4))
def test_closed_form_is_exact_away_from_ties(p: Pipeline, scale: int) -> None:
    """What the search minimises is off by less than one round of all stages."""
    p = p._replace(load=p.load * scale, slots=p.steps)
    round_ps = p.ready + p.every * p.main + p.extra + p.post
    assert flow_ps(p) - pipeline_ps(p) < round_ps


def test_prologue_and_epilogue_are_counted() -> None:
    """Ten steps of 5 behind a load of 3 with latency 7, the last output stored in 2."""
    p = Pipeline(10, 1, 10, 7, 3, 0, 5, 1, 0, 0, 0)
    assert pipeline_ps(p) == executed_ps(p) == 3 + 7 + 10 * 5 + 1
    stored = Pipeline(10, 2, 10, 0, 0, 0, 5, 0, 4, 0, 2)
    assert pipeline_ps(stored) == executed_ps(stored) == 10 * 5 + 4 + 2


def test_few_slots_wait_for_the_latency() -> None:
    """One slot: each step is a load, its latency and the main step, one after the other."""
    p = Pipeline(6, 1, 1, 100, 3, 0, 5, 0, 0, 0, 0)
    assert pipeline_ps(p) == executed_ps(p) == 6 * 108
