"""Can a server be started by the name of a use, and are users' presets read or refused?"""

from __future__ import annotations

import re

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.servers.starts import DEEPEST, Starts, read_starts
from pytest_llmbench.servers.table import ENGINES, Start, find_engine, start_label, without_preset

VLLM = [one.name for one in ENGINES["vllm"].starts]
SINGLE = {
    "max-num-batched-tokens": "512",
    "max-num-seqs": "2",
    "enforce-eager": "",
    "enable-prefix-caching": "",
}


def test_vllm_has_a_start_for_one_person_and_one_to_look_for_errors() -> None:
    assert VLLM == ["single-user", "debug"]
    single, debug = Starts().find("vllm:single-user"), Starts().find("docker:vllm:debug")
    assert single is not None
    assert debug is not None
    assert dict(single.options) == SINGLE
    assert dict(debug.options) == {"enforce-eager": ""}
    assert debug.text == "VLLM_LOGGING_LEVEL=DEBUG --enforce-eager"
    assert Starts().find("vllm") is Starts().find("docker:vllm") is None


@pytest.mark.parametrize(
    ("text", "served", "preset"),
    [
        ("vllm", "vllm", ""),
        ("docker:vllm", "docker:vllm", ""),
        ("vllm:debug", "vllm", "debug"),
        ("docker:vllm:debug", "docker:vllm", "debug"),
        ("vllm:", "vllm", ":"),
        ("vllm:a:b", "vllm", "a:b"),
    ],
)
def test_what_stands_before_the_first_colon_is_docker_or_an_engine(
    text: str, served: str, preset: str
) -> None:
    assert without_preset(text) == (served, preset)
    assert find_engine(text).name == "vllm"


def test_an_id_has_the_preset_behind_a_plus() -> None:
    labels = [start_label(text) for text in ("llama-server", "docker:vllm", "docker:vllm:debug", "None")]
    assert labels == ["llama-server", "docker-vllm", "docker-vllm+debug", "None"]


def test_no_name_of_an_engine_or_preset_can_be_taken_for_another() -> None:
    assert "docker" not in ENGINES
    for name, row in ENGINES.items():
        assert re.fullmatch("[a-z0-9-]+", name)
        names = [one.name for one in row.starts]
        assert len(names) == len(set(names))
        for one in row.starts:
            assert re.fullmatch("[a-z0-9-]+", one.name)
            assert one.description
            assert not any(option.startswith("-") for option, _ in one.options)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vlm:debug", r"^there is no server 'vlm:debug' to start; did you mean 'vllm'\?"),
        ("docker", r"^there is no server 'docker' to start"),
        ("docker:docker:vllm", r"^there is no server 'docker:docker:vllm' to start"),
        (
            "vllm:single",
            r"^vllm has no preset 'single' to start it with; did you mean 'single-user'\? It has ",
        ),
        ("docker:vllm:x", r"^docker:vllm has no preset 'x' to start it with\. It has "),
        ("vllm:", r"^vllm has no preset '' to start it with\. It has "),
        ("ollama:debug", r"^ollama has no preset 'debug' to start it with\. It has none$"),
    ],
)
def test_what_there_is_not_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Starts().find(text)


def test_a_users_presets_go_on_from_others_option_by_option() -> None:
    starts = read_starts(
        [
            "vllm:mine.extends = single-user",
            "vllm:mine.max-num-seqs=4",
            "vllm:mine.env.VLLM_LOGGING_LEVEL=DEBUG",
            "vllm:mine.description=Of my own",
            "vllm:debug.max-num-seqs=1",
            "vllm:more.extends=mine",
            "llama-server:long.rope-scale=4",
            "llama-server:long.ctx-size=4096",
            "ollama:long.env.OLLAMA_CONTEXT_LENGTH=4096",
        ]
    )
    assert starts.find("vllm:mine") == Start(
        "mine",
        "Of my own",
        tuple((SINGLE | {"max-num-seqs": "4"}).items()),
        (("VLLM_LOGGING_LEVEL", "DEBUG"),),
    )
    debug = starts.find("vllm:debug")
    assert debug is not None
    assert debug.text == "VLLM_LOGGING_LEVEL=DEBUG --enforce-eager --max-num-seqs 1"
    more = starts.find("vllm:more")
    assert more is not None
    assert dict(more.options)["max-num-seqs"] == "4"
    assert list(starts.of("vllm")) == ["single-user", "debug", "mine", "more"]
    assert list(starts.of("llama-server")) == ["long"]
    assert Starts().of("llama-server") == {}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["vllm.max-num-seqs=4"], r"^'vllm\.max-num-seqs=4' is not ENGINE:PRESET\.OPTION=VALUE, such as "),
        (["vllm:mine"], r"is not ENGINE:PRESET"),
        (["vllm:my preset.a=1"], r"is not ENGINE:PRESET"),
        (["docker:vllm:mine.a=1"], r"is not ENGINE:PRESET"),
        (["vlm:mine.a=1"], r"^there is no server 'vlm'; did you mean 'vllm'\? There are vllm, "),
        (
            ["vllm:mine.--max-num-seqs=4"],
            r"^vllm:mine: '--max-num-seqs' is not an option, which is written w",
        ),
        (["vllm:mine.env.A B=4"], r"'env\.A B' is not an option"),
        (
            ["vllm:mine.host=0.0.0.0"],
            r"^vllm:mine\.host: each start chooses this itself \(the model, its name,",
        ),
        (["vllm:mine.served_model_name=x"], r"^vllm:mine\.served_model_name: each start chooses this itself"),
        (["llamacpp-server:mine.env.PORT=1"], r"^llamacpp-server:mine\.env\.PORT: each start chooses this"),
        (["vllm:mine.a=1", "vllm:mine.a=2"], r"^vllm:mine\.a is said twice$"),
        (
            ["vllm:mine.extends=singel-user"],
            r"^vllm:mine\.extends: .*'singel-user'; did you mean 'single-user'\?",
        ),
        (
            ["vllm:mine.extends=mine"],
            r"^vllm:mine\.extends: vllm has no preset 'mine' to go on from\. It has single-user, debug$",
        ),
        (
            ["ollama:mine.extends=mine"],
            r"^ollama:mine\.extends: ollama has no preset 'mine' to go on from\. It has none$",
        ),
        (
            ["vllm:a.extends=b", "vllm:b.extends=a"],
            r"^presets of vllm extend one another in a circle: a -> b -> a$",
        ),
        (
            [f"vllm:p{n}.extends=p{n + 1}" for n in range(DEEPEST + 3)],
            r"^presets of vllm extend one another more t",
        ),
    ],
)
def test_lines_that_are_none_are_refused(lines: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_starts(lines)
