"""Is a file of requests read as what it is, and refused with the line where it is none?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.workloads import datasets
from pytest_llmbench.workloads.datasets import Dataset, read_dataset
from pytest_llmbench.workloads.requests import Item

Read = Callable[[str], Dataset]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def of(text: str) -> Dataset:
        (tmp_path / "data").write_bytes(text.encode())
        return read_dataset("data", root=tmp_path)

    return of


def lines(*entries: Any) -> str:
    return "\n".join(json.dumps(entry) for entry in entries) + "\n"


def turns(*said: tuple[str, str]) -> dict[str, Any]:
    return {"id": "x", "conversations": [{"from": who, "value": what} for who, what in said]}


# --- Prompts ------------------------------------------------------------------------------------


def test_json_lines_of_prompts(read: Read) -> None:
    found = read(
        lines({"prompt": "One"}, {"prompt": "Zwei", "max_tokens": 7}, {"prompt": "3", "output_tokens": 9})
    )

    assert found.items == (Item("One"), Item("Zwei", output_tokens=7), Item("3", output_tokens=9))
    assert found.notes == ()
    assert not found.needs_prompts


def test_messages_keep_role_and_content(read: Read) -> None:
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?", "name": "x"}]
    (item,) = read(lines({"messages": said, "max_tokens": 5})).items

    assert item == Item(messages=(said[0], {"role": "user", "content": "Why?"}), output_tokens=5)


def test_an_array_is_read_like_lines(read: Read) -> None:
    entries = [{"prompt": "One"}, {"messages": [{"role": "user", "content": "Two, [and] {three}"}]}]

    assert read(json.dumps(entries, indent=2)).items == read(lines(*entries)).items
    assert read(f"\n\n {json.dumps(entries)} \n").items == read(lines(*entries)).items


@pytest.mark.parametrize("chunk", [1, 2, 7, 100])
def test_an_array_is_read_in_pieces_wherever_they_end(
    read: Read, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(datasets, "_CHUNK", chunk)
    entries = [{"prompt": f'"{number}" \\ é 漢 \n[]{{}}', "max_tokens": number} for number in range(1, 12)]

    assert read(json.dumps(entries)).items == read(lines(*entries)).items
    with pytest.raises(UsageError, match=r"data:4: expected a text as the prompt, got 3"):
        read('[{"prompt":\n"One"},\n\n{"prompt": 3}]')


def test_blank_lines_a_byte_order_mark_and_windows_ends_do_no_harm(read: Read) -> None:
    expected = (Item("One"), Item("Two"))

    assert read('\ufeff\r\n{"prompt": "One"}\r\n\r\n{"prompt": "Two"}').items == expected
    assert read('\ufeff[{"prompt": "One"},\r\n{"prompt": "Two"}]').items == expected


def test_requests_with_times_are_a_trace_from_zero(read: Read) -> None:
    found = read(lines({"prompt": "b", "timestamp": 1700000002.5}, {"prompt": "a", "timestamp": 1700000001}))

    assert found.items == (Item("a", at=0.0), Item("b", at=1.5))


def test_times_that_only_some_have_are_not_used_and_that_is_told(read: Read) -> None:
    found = read(lines({"prompt": "a", "timestamp": 1}, {"prompt": "b"}))

    assert found.items == (Item("a"), Item("b"))
    assert found.notes == ("only 1 of 2 requests have a timestamp, so none is used",)


# --- ShareGPT -----------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [lambda *entries: json.dumps(entries), lines], ids=["array", "lines"])
def test_the_first_text_of_a_person_is_the_prompt(read: Read, write: Callable[..., str]) -> None:
    found = read(
        write(
            turns(("human", "Hello"), ("gpt", "Hi"), ("human", "More")),
            turns(("system", "Be kind."), ("user", "And you?"), ("gpt", "Fine")),
        )
    )

    assert found.items == (Item("Hello"), Item("And you?"))
    assert found.notes == ()


def test_conversations_without_an_answer_or_a_question_are_left_out_and_counted(read: Read) -> None:
    found = read(
        lines(
            turns(("human", "Alone")),
            turns(),
            turns(("gpt", "I"), ("gpt", "talk")),
            turns(("human", " "), ("gpt", "What?")),
            turns(("human", "Yes"), ("gpt", "No")),
        )
    )

    assert found.items == (Item("Yes"),)
    assert found.notes == ("4 of 5 entries were left out: one turn only, or no text of a person",)


# --- Traces -------------------------------------------------------------------------------------


def test_a_mooncake_trace_has_lengths_times_and_blocks(read: Read) -> None:
    found = read(
        lines(
            {"timestamp": 30535, "input_length": 1100, "output_length": 26, "hash_ids": [46, 47, 2366]},
            {"timestamp": 27482, "input_length": 512, "output_length": 52, "hash_ids": ["a0"]},
            {"timestamp": 27482, "input_length": 9, "output_length": 1},
        )
    )

    assert found.items == (
        Item(output_tokens=52, prompt_tokens=512, at=0.0, blocks=("a0",)),
        Item(output_tokens=1, prompt_tokens=9, at=0.0),
        Item(output_tokens=26, prompt_tokens=1100, at=pytest.approx(3.053), blocks=(46, 47, 2366)),
    )
    assert found.needs_prompts


def test_an_azure_trace_has_lengths_and_times(read: Read) -> None:
    found = read(
        "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
        "2023-11-16 18:17:04.0319600,3180,8\r\n"
        "2023-11-16 18:17:03.9799600,4808,10\r\n"
    )

    assert found.items == (
        Item(output_tokens=10, prompt_tokens=4808, at=0.0),
        Item(output_tokens=8, prompt_tokens=3180, at=pytest.approx(0.052, abs=1e-6)),
    )


def test_an_azure_trace_may_have_a_time_zone_and_more_columns(read: Read) -> None:
    found = read(
        "TIMESTAMP,Images,ContextTokens,GeneratedTokens\n"
        "2024-05-10 00:00:00.009930+00:00,1,2162,5\n\n"
        "2024-05-10 02:00:01.009930+02:00,0,2399,6"
    )

    assert [(item.prompt_tokens, item.at) for item in found.items] == [(2162, 0.0), (2399, 1.0)]


@pytest.mark.parametrize(
    "text",
    [
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10,0,5\n2024-05-10,7,0\n2024-05-11,7,5\n",
        lines(
            {"timestamp": 0, "input_length": 0, "output_length": 5, "hash_ids": []},
            {"timestamp": 0, "input_length": 7, "output_length": 0},
            {"timestamp": 5, "input_length": 7, "output_length": 5},
        ),
    ],
    ids=["Azure", "Mooncake"],
)
def test_requests_without_tokens_are_left_out_and_counted(read: Read, text: str) -> None:
    found = read(text)

    assert found.items == (Item(output_tokens=5, prompt_tokens=7, at=0.0),)
    assert found.notes == ("2 of 3 entries were left out: no token to read, or none to generate",)


# --- What is none -------------------------------------------------------------------------------

MOON = {"timestamp": 1, "input_length": 600, "output_length": 5}
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("Once upon a time\n", 1, "expected JSON Lines or a JSON array of .* or CSV with the columns"),
        ('{"prompt": "a"}\nprompt: b\n', 2, "expected one JSON object a line"),
        ('{\n  "prompt": "a"\n}\n', 1, "expected one JSON object a line"),
        ('{"prompt": "a"}\n[1]\n', 2, r"expected JSON Lines .*; got \[1\]"),
        ('{"text": "a"}', 1, r"expected JSON Lines .*; got {'text': 'a'}"),
        ('{"prompt": ""}', 1, "expected a text as the prompt, got ''"),
        ('{"prompt": ["a"]}', 1, "expected a text as the prompt"),
        ('{"prompt": "a", "messages": []}', 1, "either prompt or messages"),
        ('{"messages": []}', 1, "expected a list of messages"),
        ('{"messages": "a"}', 1, "expected a list of messages, got 'a'"),
        ('{"messages": [{"role": "user"}]}', 1, "expected a message"),
        ('{"messages": [{"role": "user", "content": [{"type": "text"}]}]}', 1, "expected a message"),
        ('{"prompt": "a", "max_tokens": 0}', 1, "expected max_tokens from 1 on"),
        ('{"prompt": "a", "output_tokens": 1.5}', 1, "expected a number of tokens as output_tokens, got 1.5"),
        ('{"prompt": "a", "output_tokens": true}', 1, "a number of tokens as output_tokens, got True"),
        ('{"prompt": "a", "timestamp": "noon"}', 1, "expected a number as timestamp, got 'noon'"),
        ('{"prompt": "a", "timestamp": NaN}', 1, "expected a number as timestamp, got nan"),
        (f'{{"prompt": "a", "timestamp": {"9" * 400}}}', 1, "expected a number as timestamp"),
        ('{"conversations": "hello"}', 1, "expected conversations as a list"),
        ('{"conversations": ["hello"]}', 1, "expected conversations as a list"),
        ('{"prompt": "a"}\n\n' + lines(turns()), 3, "got a ShareGPT conversation after a prompt"),
        ('{"input_length": 5}', 1, "expected timestamp and output_length as well"),
        (lines({**MOON, "input_length": -1}), 1, "a number of tokens as input_length, got -1"),
        (lines({**MOON, "hash_ids": "ab"}), 1, "expected hash_ids as a list"),
        (lines({**MOON, "hash_ids": [1, None]}), 1, "expected hash_ids as a list"),
        (lines(MOON, {**MOON, "hash_ids": [1, 2, 3]}), 2, "2 hash_ids for an input_length of 600.*got 3"),
        ('[{"prompt": "a"},\n {"prompt": "b"}', 2, "the JSON array has no end"),
        ('[{"prompt": "a"},\n]', 2, "expected a JSON array"),
        ('[\n{"prompt": "a"}\n{"prompt": "b"}]', 3, "expected ']' in the JSON array, got '{'"),
        ('[\n{"prompt": "a",\n"x": oops}]', 3, "expected a JSON array"),
        ('[{"prompt": "a"}]\nand more', 2, "expected nothing after the JSON array, got 'a'"),
        ("[1, 2]", 1, "expected JSON Lines"),
        ("TIMESTAMP,ContextTokens\n", 1, "got a line without GeneratedTokens"),
        (HEADER + "yesterday,1,2\n", 2, "expected a TIMESTAMP such as .*, got 'yesterday'"),
        (HEADER + "2024-05-10,1,2\n2024-05-10,1\n", 3, "a number of tokens as GeneratedTokens, got None"),
        (HEADER + "2024-05-10,1.5,2\n", 2, "a number of tokens as ContextTokens, got '1.5'"),
        (HEADER + "2024-05-10,²,2\n", 2, "a number of tokens as ContextTokens"),
        (HEADER + f"2024-05-10,{'1' * 5000},2\n", 2, "a number of tokens as ContextTokens"),
        (HEADER + '2024-05-10,"' + "1" * 200_000 + '",2\n', 2, "expected CSV: "),
    ],
)
def test_a_file_that_is_none_is_refused_with_the_line(read: Read, text: str, line: int, said: str) -> None:
    with pytest.raises(UsageError, match=rf"/data:{line}: .*{said}"):
        read(text)


@pytest.mark.parametrize("text", ["", "\n \n", "[]", HEADER])
def test_an_empty_file_is_refused(read: Read, text: str) -> None:
    with pytest.raises(UsageError, match=r"data holds no request$"):
        read(text)


def test_a_file_of_which_everything_was_left_out_is_refused_with_the_reason(read: Read) -> None:
    with pytest.raises(UsageError, match="holds no request: 1 of 1 entries were left out: one turn only"):
        read(lines(turns(("human", "Alone"))))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b'{"prompt": "\xff\xfe"}')
    with pytest.raises(UsageError, match=r"binary cannot be read: it is not UTF-8"):
        read_dataset(tmp_path / "binary")
    with pytest.raises(UsageError, match=r"missing\.jsonl cannot be read: No such file"):
        read_dataset("missing.jsonl", root=tmp_path)
    with pytest.raises(UsageError, match="Is a directory"):
        read_dataset(tmp_path)


def test_what_an_error_shows_of_a_file_is_short(read: Read) -> None:
    with pytest.raises(UsageError) as caught:
        read(lines({"text": "x" * 10_000}))

    assert len(str(caught.value)) < 600


# --- The file -----------------------------------------------------------------------------------


def test_a_relative_path_is_meant_from_the_root_and_others_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").write_text('{"prompt": "a"}')
    elsewhere = tmp_path / "elsewhere"

    assert read_dataset("data", root=tmp_path).path == tmp_path / "data"
    assert read_dataset(tmp_path / "data", root=elsewhere).path == tmp_path / "data"
    assert read_dataset("~/data", root=elsewhere).path == tmp_path / "data"


def test_the_digest_is_the_files(read: Read) -> None:
    text = lines({"prompt": "a"})

    assert read(text).digest == "sha256:" + hashlib.sha256(text.encode()).hexdigest()
