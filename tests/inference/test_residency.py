from collections import OrderedDict

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from inference.residency import Place, Residency


def load(residency: Residency, name: str) -> list[str] | None:
    leaving = residency.reserve(name)
    if leaving is not None:
        residency.admit(name, pins=0)
    return leaving


def test_an_adapter_is_resident_once_it_is_admitted() -> None:
    residency = Residency(2)
    assert residency.reserve("a") == []
    assert not residency.is_resident("a")
    residency.admit("a", pins=0)
    assert residency.is_resident("a")


def test_the_least_recently_used_makes_way() -> None:
    residency = Residency(2)
    load(residency, "a")
    load(residency, "b")
    residency.unpin(residency.pin("a"))
    assert load(residency, "c") == ["b"]
    assert residency.names() == ["a", "c"]


def test_an_adapter_in_use_is_never_evicted() -> None:
    residency = Residency(2)
    load(residency, "a")
    load(residency, "b")
    residency.pin("a")
    residency.unpin(residency.pin("b"))
    assert load(residency, "c") == ["b"]


def test_a_load_waits_while_every_adapter_is_in_use() -> None:
    residency = Residency(2)
    load(residency, "a")
    load(residency, "b")
    pins = [residency.pin("a"), residency.pin("b")]
    assert residency.reserve("c") is None
    assert residency.names() == ["a", "b"]
    residency.unpin(pins[1])
    assert residency.reserve("c") == ["b"]


def test_a_load_under_way_holds_its_place() -> None:
    residency = Residency(1)
    residency.reserve("a")
    assert residency.reserve("b") is None
    residency.abandon("a")
    assert residency.reserve("b") == []


def test_those_who_waited_for_a_load_hold_the_adapter_from_its_first_moment() -> None:
    residency = Residency(1)
    residency.reserve("a")
    place = residency.admit("a", pins=2)
    assert residency.reserve("b") is None
    residency.unpin(place)
    residency.unpin(place)
    assert residency.reserve("b") == ["a"]


def test_an_unloaded_adapter_keeps_its_place_because_the_engine_keeps_its_weights() -> None:
    residency = Residency(2)
    load(residency, "a")
    load(residency, "b")
    residency.drop("b")
    assert residency.names() == ["a"]
    assert load(residency, "c") == ["a"], "the engine, too, would drop the older one"


def test_a_late_unpin_does_not_touch_the_adapter_loaded_since() -> None:
    residency = Residency(2)
    load(residency, "a")
    old = residency.pin("a")
    residency.drop("a")
    load(residency, "a")
    residency.pin("a")
    residency.unpin(old)
    assert residency.pins("a") == 1


def test_only_a_resident_adapter_can_be_pinned() -> None:
    with pytest.raises(KeyError):
        Residency(1).pin("a")


class AgainstAnEngine(RuleBasedStateMachine):
    """The books beside a model of the engine's own cache, which drops its least recently used adapter by itself.

    The engine touches an adapter at each step of a request; a request under way is touched whenever another is loaded.
    """

    CAPACITY = 3
    pins = Bundle("pins")

    def __init__(self) -> None:
        super().__init__()
        self.books = Residency(self.CAPACITY)
        self.cache: OrderedDict[int, str] = OrderedDict()  # the engine's: load number → name
        self.loaded: dict[str, int] = {}  # what the engine's front end knows
        self.in_use: list[str] = []
        self.loads = 0

    @rule(name=st.sampled_from("abcdef"))
    def load(self, name: str) -> None:
        if self.books.is_resident(name):
            return
        leaving = self.books.reserve(name)
        if leaving is None:
            assert len(set(self.in_use)) == self.CAPACITY
            return
        for other in leaving:
            assert other not in self.in_use
            del self.loaded[other]
        for other in self.in_use:
            self.cache.move_to_end(self.loaded[other])
        self.loads += 1
        if len(self.cache) == self.CAPACITY:
            self.cache.popitem(last=False)
        self.cache[self.loads] = name
        self.loaded[name] = self.loads
        self.books.admit(name, pins=0)

    @rule(target=pins, name=st.sampled_from("abcdef"))
    def begin(self, name: str) -> tuple[str, Place] | None:
        if not self.books.is_resident(name):
            return None
        self.cache.move_to_end(self.loaded[name])
        self.in_use.append(name)
        return name, self.books.pin(name)

    @rule(pin=consumes(pins))
    def end(self, pin: tuple[str, Place] | None) -> None:
        if pin is None or pin[0] not in self.in_use:
            return
        name, place = pin
        self.in_use.remove(name)
        self.cache.move_to_end(self.loaded[name])
        self.books.unpin(place)

    @rule(name=st.sampled_from("abcdef"))
    def forget(self, name: str) -> None:
        if name in self.in_use or not self.books.is_resident(name):
            return
        self.books.drop(name)
        del self.loaded[name]

    @invariant()
    def what_is_resident_the_engine_never_reads_again(self) -> None:
        assert set(self.books.names()) == set(self.loaded)
        assert all(self.cache.get(number) == name for name, number in self.loaded.items())

    @invariant()
    def never_more_names_than_places(self) -> None:
        assert len(self.books.names()) <= self.CAPACITY


TestAgainstAnEngine = AgainstAnEngine.TestCase
