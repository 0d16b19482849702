"""What holds when several places say something of the settings?"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings.case import SETTINGS, CaseSettings, call_keys
from pytest_llmbench.settings.options import BackendOptions
from pytest_llmbench.settings.sources import (
    NOTHING,
    Levels,
    Precedence,
    Source,
    read_call,
    read_marker,
)

ROUNDS = 300
PLAIN = [key for key in SETTINGS if key != "backend_options"]
PRESETTABLE = [key for key in PLAIN if key != "preset"]


class Word:
    """A value like no other, so that it shows whose word holds."""

    def __init__(self, place: str, key: str) -> None:
        self.said = f"{place}: {key}"

    def __repr__(self) -> str:
        return self.said


def say(place: str, keys: list[str]) -> Source:
    """A place that says a word of its own of each of these *keys*."""
    return Source.of({key: Word(place, key) for key in keys})


def some(draw: random.Random, keys: list[str]) -> list[str]:
    return [key for key in keys if draw.random() < 0.3]


def drawn() -> Iterator[tuple[Source, Source, Source, Source]]:
    """Command lines, markers, ini files and calls that each say something of some settings."""
    draw = random.Random(7)
    callable_keys = list(dict.fromkeys(call_keys("llm_model") + call_keys("llm_load")))
    for _ in range(ROUNDS):
        typed, marker, ini = (say(place, some(draw, PLAIN)) for place in ("typed", "marker", "ini"))
        yield typed, marker, ini, say("call", some(draw, callable_keys))


def test_the_command_line_holds_over_the_marker_and_the_marker_over_the_ini_file() -> None:
    for typed, marker, ini, _ in drawn():
        held = Precedence(typed, ini).settings(marker)
        for key in PLAIN:
            places = [place for place in (typed, marker, ini) if key in place]
            expected = getattr(places[0].values, key) if places else SETTINGS[key].default
            assert getattr(held, key) is expected or getattr(held, key) == expected, key


def named(place: str, draw: random.Random, depth: int) -> Source:
    """A preset that says words of its own, and goes on from *depth* others."""
    behind = named(f"{place}'", draw, depth - 1) if depth else None
    return replace(say(place, some(draw, PRESETTABLE)), preset=behind, name=place)


def naming(place: str, draw: random.Random) -> Source:
    """A place that may name a preset."""
    keys = some(draw, PRESETTABLE)
    if draw.random() < 0.5:
        return say(place, keys)
    preset = named(f"preset of {place}", draw, draw.randrange(3))
    return replace(say(place, [*keys, "preset"]), preset=preset)


def test_a_preset_holds_below_the_place_that_names_it_and_above_the_next_and_only_the_first_named() -> None:
    draw = random.Random(13)
    for _ in range(ROUNDS):
        typed, marker, ini = (naming(place, draw) for place in ("typed", "marker", "ini"))
        precedence = Precedence(typed, ini)
        held = precedence.settings(marker)
        order, used = list[Source](), False
        for place in (typed, marker, ini):
            order.append(place)
            behind = place.preset
            while behind is not None and not used:
                order.append(behind)
                behind = behind.preset
            used = used or place.preset is not None
        assert list(precedence.places(marker)) == order
        for key in PLAIN:
            instead = SETTINGS[key].instead_of
            said: object = SETTINGS[key].default
            for number, source in enumerate(order):
                yields = source.name and any(instead in stronger.given for stronger in order[:number])
                if key in source.given and not yields:
                    said = getattr(source.values, key)
                    break
            assert getattr(held, key) is said or getattr(held, key) == said, key
        call = say("call", some(draw, call_keys("llm_load")))
        of_call = precedence.of_call(held, call)
        for key in call.given:
            typed_too = any(key in one.given for one in (typed, *behind_of(typed)))
            kept = SETTINGS[key].role == "repeats" and typed_too
            assert getattr(of_call, key) is getattr(held if kept else call.values, key), key


def behind_of(source: Source) -> list[Source]:
    return [] if source.preset is None else [source.preset, *behind_of(source.preset)]


def preset(values: dict[str, Any], place: dict[str, Any] | None = None) -> Source:
    """A place that says *place* and names a preset of these *values*."""
    return replace(
        Source.of({**(place or {}), "preset": "mine"}), preset=replace(Source.of(values), name="mine")
    )


def test_options_of_backends_of_a_preset_hold_one_by_one() -> None:
    behind = {"backend_options": BackendOptions({"a": {"x": 1, "y": 1}})}
    own = {"backend_options": BackendOptions({"a": {"x": 2}})}
    weaker = Source.of({"backend_options": BackendOptions({"a": {"y": 3, "z": 3}})})
    held = Precedence(ini=weaker).settings(preset(behind, own)).backend_options
    assert held.of("a") == {"x": 2, "y": 1, "z": 3}


def test_a_preset_does_not_stand_before_what_a_stronger_place_says_of_the_same_thing() -> None:
    marker = preset({"output_length": "256", "max_new_tokens": 256})
    assert Precedence().settings(marker).output_length == "256"
    typed = Precedence(Source.of({"max_new_tokens": 8})).settings(marker)
    assert (typed.max_new_tokens, typed.output_length) == (8, None)
    # What a place says itself holds as it always did.
    explicit = Source.of({"output_length": "256"})
    assert Precedence(Source.of({"max_new_tokens": 8})).settings(explicit).output_length == "256"


@pytest.mark.parametrize(
    ("typed", "marker", "ini", "levels"),
    [
        (NOTHING, preset({"concurrency": (4,)}), NOTHING, Levels((4,))),
        (NOTHING, preset({"concurrency": (4,)}), Source.of({"concurrency": (9,)}), Levels((4,))),
        # It makes a test neither closed nor open for good.
        (Source.of({"request_rate": (2.0,)}), preset({"concurrency": (4,)}), NOTHING, Levels((), (2.0,))),
        (NOTHING, preset({"concurrency": (4,)}, {"request_rate": (2.0,)}), NOTHING, Levels((), (2.0,))),
        (preset({"concurrency": (4,)}, {"request_rate": (2.0,)}), NOTHING, NOTHING, Levels((), (2.0,))),
        # A test of its own levels has those of its kind from a preset that is typed, and no others.
        (preset({"concurrency": (4,)}), Source.of({"concurrency": (9,)}), NOTHING, Levels((4,))),
        (preset({"concurrency": (4,)}), Source.of({"request_rate": (2.0,)}), NOTHING, Levels((), (2.0,))),
        (preset({"concurrency": (4,)}), preset({"request_rate": (2.0,)}), NOTHING, Levels((4,))),
        (NOTHING, Source.of({"concurrency": (9,)}), preset({"concurrency": (4,)}), Levels((9,))),
        (NOTHING, NOTHING, preset({"arrivals": "trace"}), Levels(trace=True)),
        # Conversations are of a kind of their own, and a concurrency bounds their requests.
        (
            Source.of({"conversations": (32,)}),
            Source.of({"conversations": (8,), "concurrency": (4,)}),
            NOTHING,
            Levels((4,), conversations=(32,)),
        ),
        (Source.of({"conversations": (32,)}), Source.of({"concurrency": (4,)}), NOTHING, Levels((4,))),
        (Source.of({"conversations": (32,)}), NOTHING, NOTHING, Levels(conversations=(32,))),
    ],
)
def test_levels_of_a_preset_yield_to_those_of_any_kind_that_a_stronger_place_says(
    typed: Source, marker: Source, ini: Source, levels: Levels
) -> None:
    assert Precedence(typed, ini).levels(marker) == levels


def test_what_a_test_itself_says_is_its_markers_and_the_preset_that_this_names() -> None:
    marker = preset({"backends": ("llamacpp",)})
    assert Precedence().own("backends", marker) == ("llamacpp",)
    assert Precedence().own("backends", preset({}, {"backends": ("server",)})) == ("server",)
    # Another one is named on the command line.
    assert Precedence(preset({"backends": ("transformers",)})).own("backends", marker) is None
    assert Precedence(ini=preset({"backends": ("transformers",)})).own("backends", NOTHING) is None


def test_a_call_holds_over_the_marker_and_over_the_command_line_only_in_what_is_measured() -> None:
    for typed, marker, ini, call in drawn():
        precedence = Precedence(typed, ini)
        test = precedence.settings(marker)
        held = precedence.of_call(test, call)
        for key in PLAIN:
            says = key in call and not (SETTINGS[key].role == "repeats" and key in typed)
            assert getattr(held, key) is getattr(call.values if says else test, key), key


def test_options_of_backends_hold_one_by_one() -> None:
    draw = random.Random(11)
    places = ("typed", "marker", "ini")
    for _ in range(ROUNDS):
        given = {
            place: {
                (backend, name): f"{place} {backend}.{name}"
                for backend, name in itertools.product("ab", "xyz")
                if draw.random() < 0.4
            }
            for place in places
        }
        typed, marker, ini = (Source.of({"backend_options": nested(given[place])}) for place in places)
        held = Precedence(typed, ini).settings(marker).backend_options
        for backend, name in itertools.product("ab", "xyz"):
            said = [given[place][backend, name] for place in places if (backend, name) in given[place]]
            assert held.of(backend).get(name) == (said[0] if said else None)


def nested(flat: Mapping[tuple[str, str], str]) -> BackendOptions:
    found: dict[str, dict[str, str]] = {}
    for (backend, name), value in flat.items():
        found.setdefault(backend, {})[name] = value
    return BackendOptions(found)


def test_where_each_benchmark_runs_once_no_place_makes_it_more() -> None:
    marker = Source.of({"rounds": 7, "warmup_rounds": 3, "processes": 2, "seed": 5})
    precedence = Precedence(Source.of({"rounds": 9}), once=True)
    held = precedence.settings(marker)
    assert (held.rounds, held.warmup_rounds, held.processes, held.seed) == (1, 0, 1, 5)
    assert precedence.of_call(held, Source.of({"rounds": 4, "seed": 6})) == precedence.settings(
        Source.of({"rounds": 7, "warmup_rounds": 3, "processes": 2, "seed": 6})
    )


CLOSED, OPEN = {"concurrency": (8,)}, {"request_rate": (2.0,)}
TRACE = {"arrivals": "trace"}
TYPED_CLOSED, TYPED_OPEN = {"concurrency": (1, 2)}, {"request_rate": (9.0,)}


@pytest.mark.parametrize(
    ("typed", "marker", "ini", "levels"),
    [
        ({}, {}, {}, Levels()),
        ({}, {}, CLOSED, Levels((8,))),
        (TYPED_CLOSED, {}, OPEN, Levels((1, 2))),
        ({}, CLOSED, OPEN, Levels((8,))),
        # Each kind is replaced by its own alone.
        (TYPED_CLOSED, CLOSED, {}, Levels((1, 2))),
        (TYPED_OPEN, CLOSED, {}, Levels((8,))),
        (TYPED_CLOSED, OPEN, {}, Levels((), (2.0,))),
        (TYPED_OPEN, CLOSED | OPEN, {}, Levels((8,), (9.0,))),
        (TYPED_CLOSED | TYPED_OPEN, CLOSED | OPEN, {}, Levels((1, 2), (9.0,))),
        # A trace's own times are a level at no rate.
        ({}, TRACE, {}, Levels(trace=True)),
        (TYPED_OPEN, TRACE, {}, Levels((), (9.0,))),
        (TYPED_CLOSED, TRACE, {}, Levels(trace=True)),
        ({"arrivals": "poisson"}, TRACE | CLOSED, {}, Levels((8,))),
        ({"arrivals": "constant"}, TRACE, {}, Levels()),
    ],
)
def test_levels_of_the_command_line_replace_those_of_their_own_kind(
    typed: dict[str, Any], marker: dict[str, Any], ini: dict[str, Any], levels: Levels
) -> None:
    assert Precedence(Source.of(typed), Source.of(ini)).levels(Source.of(marker)) == levels


def test_nothing_said_is_the_defaults() -> None:
    assert Precedence().settings() == CaseSettings()
    assert Precedence().place("rounds") is None
    marker = Source.of({"rounds": 2})
    assert Precedence().place("rounds", marker) is marker
    assert not Levels()


def test_paths_are_meant_from_the_folder_of_the_place(tmp_path: Path) -> None:
    options = BackendOptions({"server": {"ca_file": "ca.pem", "endpoint": "chat"}, "unknown": {"a": 1}})
    source = Source.of({"dataset": "a.jsonl", "backend_options": options}, tmp_path).located(Registry())
    assert source.values.dataset == str(tmp_path / "a.jsonl")
    assert source.values.backend_options.of("server") == {
        "ca_file": str(tmp_path / "ca.pem"),
        "endpoint": "chat",
    }
    assert source.values.backend_options.of("unknown") == {"a": 1}
    assert NOTHING.located(Registry()) is NOTHING


def test_of_several_markers_the_closest_holds() -> None:
    marks: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {"rounds": 2}),
        ((), {"rounds": 3, "seed": 4}),
    ]
    assert read_marker(marks, "test_x") == {"rounds": 2, "seed": 4}


@pytest.mark.parametrize(
    ("positional", "keywords", "said"),
    [
        (("tiny",), {}, r"^test_x: @pytest\.mark\.llm takes keywords only, as in llm\(models=\['tiny'\]\)$"),
        (
            (),
            {"round": 1},
            r"^test_x: @pytest\.mark\.llm has no key 'round'; did you mean 'rounds'\? It has ",
        ),
        ((), {"max_tokens": 1}, r"did you mean 'max_new_tokens'\?"),
        ((), {"rounds": 0}, r"^test_x: @pytest\.mark\.llm\(rounds=\.\.\.\): 0 is not a whole number of at"),
        ((), {"thresholds": {"tftt": "5%"}}, r"^test_x: @pytest\.mark\.llm\(thresholds=\.\.\.\): .*'tftt'"),
        ((), {"prompt_length": "7:7"}, r"^test_x: @pytest\.mark\.llm\(prompt_length=\.\.\.\): .*uniform:"),
        ((), {"models": []}, r"^test_x: @pytest\.mark\.llm\(models=\.\.\.\) is empty: give a name or"),
    ],
)
def test_what_a_marker_cannot_say_is_refused_with_where_and_what_to_write(
    positional: tuple[Any, ...], keywords: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        read_marker([(positional, keywords)], "test_x")


def test_a_call_sets_what_is_measured_and_how_often_and_nothing_else() -> None:
    assert read_call("llm_model", {"rounds": 2, "top_p": 0.5}) == {"rounds": 2, "top_p": 0.5}
    with pytest.raises(UsageError, match=r"^no setting 'models' for a call\. There are max_new_tokens, "):
        read_call("llm_model", {"models": "tiny"})
    with pytest.raises(UsageError, match=r"no setting 'requests' for a call"):
        read_call("llm_model", {"requests": 3})
    with pytest.raises(UsageError, match=r"no setting 'rounds' for a call"):
        read_call("llm_load", {"rounds": 3})
    with pytest.raises(UsageError, match=r"^seed=\.\.\.: -1 is not a whole number of at least 0"):
        read_call("llm_load", {"seed": -1})
