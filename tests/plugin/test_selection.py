"""Does each test stand for the cases that it should?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.conftest import Run

MEASURE = """
import pytest
{marker}
def test_speed(llm_model):
    llm_model.measure("hello", max_new_tokens=3, rounds=1, warmup_rounds=0)
"""


def collected(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if "::" in line]


def test_ids_are_backend_model_and_quantization(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(
        MEASURE.format(
            marker='@pytest.mark.llm(models=["tiny", "synthetic/llama-82m"], quantizations=["f16", "q8_0"])'
        )
    )
    assert collected(run("--collect-only", "-q")) == [
        "test_ids_are_backend_model_and_quantization.py::test_speed[fake-tiny-f16]",
        "test_ids_are_backend_model_and_quantization.py::test_speed[fake-tiny-q8_0]",
        "test_ids_are_backend_model_and_quantization.py::test_speed[fake-synthetic/llama-82m-f16]",
        "test_ids_are_backend_model_and_quantization.py::test_speed[fake-synthetic/llama-82m-q8_0]",
    ]


def test_without_a_marker_the_ini_file_says_what_runs(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(MEASURE.format(marker=""))
    bench.makeini("[pytest]\nllm_models = tiny synthetic/llama-82m\nllm_quantizations = q8_0\n")
    lines = collected(run("--collect-only", "-q"))
    assert [line.partition("[")[2] for line in lines] == ["fake-tiny-q8_0]", "fake-synthetic/llama-82m-q8_0]"]


def test_the_command_line_beats_the_marker_and_the_marker_the_ini_file(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(MEASURE.format(marker='@pytest.mark.llm(models=["synthetic/llama-82m"])'))
    bench.makeini("[pytest]\nllm_models = synthetic/llama-3.1-8b\n")
    assert "[fake-synthetic/llama-82m]" in collected(run("--collect-only", "-q"))[0]
    assert "[fake-tiny]" in collected(run("--collect-only", "-q", "--llm-model=tiny"))[0]


def test_parametrize_beside_the_marker_multiplies(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("tokens", [8, 16])
        @pytest.mark.llm(models=["tiny"])
        class TestLengths:
            def test_length(self, llm_model, tokens):
                run = llm_model.measure(prompt_tokens=tokens, rounds=1)
                assert run.rounds[0].timeline.prompt_tokens == tokens
        """
    )
    result = run("-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*::TestLengths::test_length[[]fake-tiny-8] PASSED*"])


def test_k_selects_a_case(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(MEASURE.format(marker='@pytest.mark.llm(quantizations=["f16", "q8_0"])'))
    run("-k", "q8_0").assert_outcomes(passed=1, deselected=1)


def test_a_marker_says_which_backends_a_test_supports(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(MEASURE.format(marker='@pytest.mark.llm(backends=["llamacpp"])'))
    result = run("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*this test supports the backends llamacpp, and fake was selected*"])


def test_a_quantization_of_another_backend_is_skipped_with_its_reason(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(MEASURE.format(marker='@pytest.mark.llm(quantizations=["f16", "q4_k_m"])'))
    result = run("-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*fake has no quantization 'q4_k_m'; it has f16, q8_0*"])


def test_auto_runs_every_backend_that_is_there(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(MEASURE.format(marker=""))
    lines = collected(run("--collect-only", "-q", backend=None))
    assert [line.partition("[")[2] for line in lines] == [
        "llamacpp-tiny]",
        "transformers-tiny]",
        "fake-tiny]",
    ]


def test_the_header_names_backends_and_machine(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(MEASURE.format(marker=""))
    run("--collect-only").stdout.fnmatch_lines(["llmbench: llamacpp *, transformers *, fake 1.0 | *GiB*"])


def test_a_class_without_a_parametrized_model_runs_untouched(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile("def test_plain(): pass")
    result = run()
    result.assert_outcomes(passed=1)
    assert not (bench.path / "out.json").exists()
    assert not (bench.path / ".llmbench").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "--llm-backend=lamacpp",
            "there is no backend 'lamacpp'; did you mean 'llamacpp'?*transformers, fake",
        ),
        ("--llm-model=tinny", "*'tinny'*tiny*"),
        ("--llm-model=./missing.gguf", "*missing.gguf*"),
        ("--llm-quantization=q3_9", "no backend has a quantization 'q3_9'*f16, q8_0*"),
        ("--llm-option=fake.contxt=5", "*contxt*context*"),
        ("--llm-option=fake.context=many", "*context*many*"),
        ("--llm-option=nonsense", "*nonsense*"),
        ("--llm-rounds=0", "--llm-rounds: '0' is not a whole number of at least 1"),
        ("--llm-warmup-rounds=-1", "--llm-warmup-rounds: '-1' is not a whole number of at least 0"),
        ("--llm-processes=two", "--llm-processes: 'two' is not a whole number of at least 1"),
        ("--llm-max-new-tokens=0", "--llm-max-new-tokens: '0' is not*"),
        ("--llm-timeout=soon", "--llm-timeout: 'soon' is not a number of at least 0.001"),
        ("--llm-isolation=some", "--llm-isolation: 'some' is not one of test, model, none"),
        ("--llm-temperature=-1", "--llm-temperature: '-1' is not a number of at least 0"),
        ("--llm-top-p=2", "--llm-top-p: '2' is not a number above 0, at most 1"),
        ("--llm-seed=x", "--llm-seed: 'x' is not a whole number of at least 0"),
        ("--llm-ignore-eos=perhaps", "--llm-ignore-eos: 'perhaps' is not True or False"),
        ("--llm-monitor-rate=fast", "--llm-monitor-rate: 'fast' is not a number of samples a second*"),
        ("--llm-models-file=none.yaml", "*none.yaml*"),
    ],
)
def test_a_wrong_option_is_a_usage_error_that_says_what_there_is(
    bench: pytest.Pytester, run: Run, option: str, message: str
) -> None:
    bench.makepyfile(MEASURE.format(marker=""))
    result = run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}*"])
    assert "Traceback" not in result.stderr.str()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'tiny'", "*@pytest.mark.llm takes keywords only, as in llm(models=[[]'tiny'])"),
        ("modles=['tiny']", "*@pytest.mark.llm has no key 'modles'; did you mean 'models'? It has models, *"),
        ("rounds='many'", "*@pytest.mark.llm(rounds=...): 'many' is not a whole number of at least 1, *"),
        ("models=[1]", "*@pytest.mark.llm(models=...): [[]1] is not a name or a list of names"),
        ("models=['tinny']", "*'tinny'*tiny*"),
        ("backends=['vlm']", "*there is no backend 'vlm'*llamacpp, transformers, fake*"),
        ("quantizations=['q3_9']", "*no backend has a quantization 'q3_9'*"),
        ("backend_options={'fake': {'contxt': 1}}", "*contxt*context*"),
        ("backend_options={'fake': 1}", "*backend_options*"),
    ],
)
def test_a_wrong_marker_fails_the_collection_without_a_traceback(
    bench: pytest.Pytester, run: Run, arguments: str, message: str
) -> None:
    bench.makepyfile(MEASURE.format(marker=f"@pytest.mark.llm({arguments})"))
    result = run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([message])
    assert "plugin.py" not in result.stdout.str()


def test_only_and_skip_select(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(MEASURE.format(marker="") + "\ndef test_plain(): pass\n")
    run("--llm-only").assert_outcomes(passed=1, deselected=1)
    result = run("--llm-skip", "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*LLM benchmarks are skipped (--llm-skip)*"])
    assert run("--llm-only", "--llm-skip").ret == pytest.ExitCode.USAGE_ERROR


def test_the_marker_is_registered(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(MEASURE.format(marker="@pytest.mark.llm"))
    run("--strict-markers").assert_outcomes(passed=1)
    run("--markers").stdout.fnmatch_lines(["@pytest.mark.llm(models=*"])


def gguf_folder(path: Path, *names: str) -> Path:
    """A folder of files that are GGUF as far as their first bytes tell."""
    path.mkdir()
    for name in names:
        (path / name).write_bytes(b"GGUF")
    return path


@pytest.mark.parametrize("model", ["./models", "./models/m.gguf", "mine"])
def test_a_gguf_model_is_a_case_of_the_backends_that_read_it_and_the_others_are_named_once(
    bench: pytest.Pytester, run: Run, model: str
) -> None:
    gguf_folder(bench.path / "models", "m.gguf")
    bench.makefile(".yaml", names="mine: ./models/m.gguf")
    bench.makepyfile(MEASURE.format(marker="") + "\ndef test_again(llm_model): pass\n")
    result = run("--collect-only", f"--llm-model={model}", "--llm-models-file=names.yaml", backend=None)
    cases = [line.strip() for line in result.outlines if "<Function" in line]
    label = "m" if model.endswith(".gguf") else model.removeprefix("./")
    assert cases == [f"<Function test_{test}[llamacpp-{label}]>" for test in ("speed", "again")]
    for backend in ("transformers", "fake"):
        notes = [line for line in result.outlines if line.startswith(f"llmbench: {backend} ")]
        assert len(notes) == 1
        assert "runs Hugging Face folders, and " in notes[0]
        assert notes[0].endswith(": it is measured on llamacpp")


def test_a_folder_with_both_forms_is_a_case_of_every_backend(bench: pytest.Pytester, run: Run) -> None:
    folder = gguf_folder(bench.path / "models", "m.gguf", "config.json", "model.safetensors")
    bench.makepyfile(MEASURE.format(marker=""))
    lines = collected(run("--collect-only", "-q", f"--llm-model={folder}", backend=None))
    assert [line.partition("[")[2] for line in lines] == [
        f"{backend}-models]" for backend in ("llamacpp", "transformers", "fake")
    ]


def test_a_model_that_no_backend_of_the_test_reads_is_a_skip_with_its_reason(
    bench: pytest.Pytester, run: Run
) -> None:
    folder = gguf_folder(bench.path / "models", "m.gguf")
    bench.makepyfile(MEASURE.format(marker=""))
    result = run(f"--llm-model={folder}", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*fake runs Hugging Face folders, and */models is none*"])


def test_servers_to_start_share_the_models_in_the_same_way(bench: pytest.Pytester, run: Run) -> None:
    folder = gguf_folder(bench.path / "models", "m.gguf")
    bench.makepyfile("def test_load(llm_load): llm_load.measure()")
    options = (f"--llm-model={folder}", "--llm-serve=vllm", "--llm-serve=llamacpp-server")
    result = run("--collect-only", *options, backend=None)
    cases = [line.strip() for line in result.outlines if "<Function" in line]
    assert cases == ["<Function test_load[llamacpp-server-models-c1]>"]
    result.stdout.fnmatch_lines(["llmbench: vllm runs Hugging Face folders,*measured on llamacpp-server"])


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ((), "holds no model; a model is a folder with config.json*or a GGUF file; there is: nothing"),
        (("README.md", "mmproj-f16.gguf"), "holds no model*there is: README.md, mmproj-f16.gguf"),
    ],
)
def test_a_folder_without_a_model_is_refused_before_anything_runs(
    bench: pytest.Pytester, run: Run, files: tuple[str, ...], told: str
) -> None:
    gguf_folder(bench.path / "models", *files)
    bench.makepyfile(MEASURE.format(marker=""))
    result = run("--llm-model=./models")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    # fnmatch takes brackets for a set.
    result.stderr.fnmatch_lines([f"ERROR: *the folder *models {told}*"])


LOADS = """
import pytest

@pytest.mark.llm(concurrency=[1, 4])
def test_closed(llm_load): pass

@pytest.mark.llm(request_rate=[2])
def test_open(llm_load): pass

@pytest.mark.llm(concurrency=[3], request_rate=[5])
def test_both(llm_load): pass

@pytest.mark.llm(arrivals="trace")
def test_replayed(llm_load): pass

def test_free(llm_load): pass
"""


@pytest.mark.parametrize(
    ("arguments", "levels"),
    [
        ("", "closed c1 c4, open r2, both c3 r5, replayed trace, free c1"),
        ("--llm-concurrency=8,16", "closed c8 c16, open r2, both c8 c16 r5, replayed trace, free c8 c16"),
        ("--llm-request-rate=7", "closed c1 c4, open r7, both c3 r7, replayed r7, free r7"),
        (
            "--llm-request-rate=7 --llm-concurrency=8",
            "closed c8, open r7, both c8 r7, replayed r7, free c8 r7",
        ),
        ("--llm-arrivals=trace", "closed c1 c4, open r2, both c3 r5, replayed trace, free trace"),
        ("--llm-arrivals=constant", "closed c1 c4, open r2, both c3 r5, replayed c1, free c1"),
        ("-o llm_concurrency=9", "closed c1 c4, open r2, both c3 r5, replayed trace, free c9"),
        (
            "-o llm_request_rate=9 --llm-concurrency=8",
            "closed c8, open r2, both c8 r5, replayed trace, free c8",
        ),
    ],
)
def test_levels_of_the_command_line_replace_those_of_their_own_kind(
    bench: pytest.Pytester, run: Run, arguments: str, levels: str
) -> None:
    bench.makepyfile(LOADS)
    lines = collected(
        run("--collect-only", "-q", "--llm-base-url=http://x/v1", *arguments.split(), backend=None)
    )
    found: dict[str, list[str]] = {}
    for line in lines:
        name, _, case = line.partition("::test_")[2].rstrip("]").partition("[server-")
        found.setdefault(name, []).append(case)
    assert ", ".join(" ".join([name, *cases]) for name, cases in found.items()) == levels


def test_what_servers_were_called_still_holds_and_is_told(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(
        """
        import pytest

        @pytest.mark.llm(concurrency=[1], backend_options={"openai": {"retries": 2}})
        def test_load(llm_load): ...
        """
    )
    arguments = ("--llm-base-url=http://x/v1", "--llm-backend=openai", "--llm-option=openai.endpoint=chat")
    result = run("--collect-only", "-q", *arguments, backend=None)
    result.stdout.fnmatch_lines(["*::test_load[[]server-c1]", "*write server instead of openai*"])
    assert result.ret == 0


ALIASES = """
big: {model: tiny, recommended_memory_gb: 1000000}
short: {model: tiny, context_length: 2}
gguf: {gguf_repo: org/name-GGUF}
fits: {model: tiny, recommended_memory_gb: 0.1, context_length: 8192}
"""


def test_a_model_that_cannot_fit_is_skipped_with_the_figures_before_it_is_loaded(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.path.joinpath("models.yaml").write_text(ALIASES)
    bench.makepyfile(MEASURE.format(marker='@pytest.mark.llm(models=["big", "short", "gguf", "fits"])'))
    result = run("-rs", "--llm-models-file=models.yaml")
    result.assert_outcomes(passed=1, skipped=3)
    result.stdout.fnmatch_lines(
        [
            "*SKIPPED*big needs 909 TiB of memory (recommended_memory_gb in the models file), and this *",
            "*SKIPPED*short has a context of 2 tokens (context_length in the models file), and a prompt*",
        ]
    )
    result.stdout.fnmatch_lines(["*SKIPPED*fake runs *, and the models file names none for gguf (*_repo)*"])


def test_a_context_is_made_as_long_as_what_is_asked(
    bench: pytest.Pytester, run: Run, document: Callable[[], dict[str, Any]]
) -> None:
    bench.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("tokens", [100, 5000])
        def test_depth(llm_model, tokens):
            llm_model.measure(prompt_tokens=tokens, max_new_tokens=2, rounds=1, warmup_rounds=0)
        """
    )
    run().assert_outcomes(passed=2)
    protocols = [case["protocol"]["options"]["context"] for case in document()["cases"]]
    assert protocols == [4096, 5002]
    # What somebody says holds, whatever is asked.
    result = run("--llm-option=fake.context=3000")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E*5000 tokens and 2 are to be generated, * holds 3000; *.context=5002*"])


def test_a_context_holds_a_depth_and_what_is_asked_below_it_in_words(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(
        """
        def test_depth(llm_model):
            run = llm_model.measure("Hello", depth=5000, max_new_tokens=2, rounds=1, warmup_rounds=0)
            assert 5007 < run.protocol["options"]["context"] < 5200
        """
    )
    run().assert_outcomes(passed=1)


def test_a_prompt_that_memory_cannot_hold_is_skipped_before_a_model_is_built(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(
        """
        def test_depth(llm_model):
            llm_model.measure(prompt_tokens=10_000_000)

        def test_load(llm_model):
            llm_model.measure("Hello", rounds=1, max_new_tokens=1)
        """
    )
    result = run("-rs", "--llm-model=synthetic/llama-3.1-8b", "-k", "depth")
    result.assert_outcomes(skipped=1, deselected=1)
    result.stdout.fnmatch_lines(
        [
            "SKIPPED*test_a_prompt*.py:1: synthetic/llama-3.1-8b needs 1.21 TiB of memory or more for a "
            "context of 10000064 tokens (weights 15.0 GiB, KV cache 1.19 TiB), and this machine has *"
        ]
    )


def test_a_suites_point_that_is_longer_than_the_model_was_trained_for_is_skipped(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.path.joinpath("s.llm.yaml").write_text(
        "version: 1\n"
        "defaults: {rounds: 1, warmup_rounds: 0, max_new_tokens: 2}\n"
        "cases:\n"
        "- {name: a, prompt_tokens: 8, sweep: {parameters: {depth: [0, 8182, 8183]}}}\n"
        "- {name: b, sweep: {parameters: {prompt_tokens: [8190, 8191]}}}\n"
    )
    result = run("-rs", "--collect-only", "-q", "s.llm.yaml")
    result = run("-rs", "s.llm.yaml", "-k", "8183 or 8191")
    result.assert_outcomes(skipped=2, deselected=3)
    said = "*SKIPPED*tiny has a context of 8192 tokens (what it was trained for), and a prompt of"
    result.stdout.fnmatch_lines(
        [f"{said} 8 tokens at a depth of 8183 and 2 more *", f"{said} 8191 tokens and 2 more are longer"]
    )
