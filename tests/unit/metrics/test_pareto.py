from medsweep.metrics.pareto import pareto_front


def test_the_front_keeps_what_nothing_beats_in_every_respect() -> None:
    points = [(1, 5), (2, 4), (2, 3), (1, 4), (5, 1)]
    assert pareto_front(points, lambda point: point) == [(1, 5), (2, 4), (5, 1)]


def test_equals_do_not_beat_each_other() -> None:
    assert pareto_front(["a", "b", "c"], lambda name: (len(name),)) == ["a", "b", "c"]
    assert pareto_front([], lambda name: (0.0,)) == []
