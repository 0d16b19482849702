from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmbench.errors import BackendUnavailableError, UsageError
from pytest_llmbench.servers.ask import Access
from pytest_llmbench.servers.probe import probe

Answering = Callable[..., str]

METRICS = "# TYPE {0} gauge\n{0} 1\n"


def models(*names: str, **more: object) -> dict[str, object]:
    return {"object": "list", "data": [{"id": name, "object": "model", **more} for name in names]}


def test_a_server_says_what_it_serves(answering: Answering) -> None:
    url = answering(
        {
            "/v1/models": models("a", "b", owned_by="vllm", max_model_len=8192),
            "/version": {"version": "0.32.0"},
            "/metrics": METRICS.format("vllm:num_requests_running"),
        }
    )
    found = probe(f"{url}/v1/")
    assert found.models == ("a", "b")
    assert found.context == {"a": 8192, "b": 8192}
    assert (found.engine, found.version) == ("vllm", "0.32.0")
    assert found.metrics_url == f"{url}/metrics"
    assert found.header == "test"


def test_metrics_tell_the_engine_where_nothing_else_does(answering: Answering) -> None:
    url = answering(
        {
            "/v1/models": models("a"),
            "/metrics": [1],
            "/prometheus/metrics": METRICS.format("trtllm_num_requests_running"),
        }
    )
    found = probe(f"{url}/v1")
    assert (found.engine, found.metrics_url) == ("trtllm", f"{url}/prometheus/metrics")


def test_an_owner_tells_the_engine_of_a_server_without_metrics(answering: Answering) -> None:
    url = answering({"/v1/models": models("a", owned_by="llamacpp"), "/props": {"build_info": "b1-2"}})
    found = probe(f"{url}/v1")
    assert (found.engine, found.version, found.metrics_url) == ("llama-server", "b1-2", None)


def test_a_server_that_nothing_is_known_of_can_still_be_measured(answering: Answering) -> None:
    found = probe(answering({"/v1/models": models("a", owned_by="someone")}) + "/v1")
    assert (found.models, found.engine, found.version) == (("a",), None, None)


def test_a_server_that_cannot_list_its_models_names_none(answering: Answering) -> None:
    assert probe(answering({"/v1/models": 500}) + "/v1").models == ()


@pytest.mark.parametrize(
    ("answers", "path", "said"),
    [
        (
            {},
            "/v1",
            "/v1/models answers with status 404: this is not an OpenAI-compatible server; .*--llm-model$",
        ),
        ({}, "", "not an OpenAI-compatible server; the API is mostly at http://.*/v1; .*--llm-model$"),
        ({"/v1/models": "<html>"}, "/v1", "does not answer with a list of models"),
        ({"/v1/models": {"models": []}}, "/v1", "does not answer with a list of models"),
        ({"/v1/models": 503}, "/v1", "is it still loading"),
        ({"/v1/models": 302}, "/v1", "answers with status 302"),
        ({"/v1/models": 401}, "/v1", "wants an API key .status 401., and none was sent.*server.api_key_env"),
    ],
)
def test_what_is_wrong_is_said(
    answering: Answering, answers: dict[str, object], path: str, said: str
) -> None:
    with pytest.raises(BackendUnavailableError, match=said):
        probe(answering(answers) + path)


def test_a_key_is_sent_and_never_shown(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    url = answering({"/v1/models": models("a")}, key="sk-very-secret")
    assert probe(f"{url}/v1", Access("MY_KEY")).models == ("a",)
    monkeypatch.setenv("MY_KEY", "sk-wrong")
    with pytest.raises(BackendUnavailableError, match="does not accept the API key in MY_KEY") as caught:
        probe(f"{url}/v1", Access("MY_KEY"))
    assert "sk-" not in str(caught.value)


def test_a_key_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(UsageError, match="variable MY_KEY is not set; set it to the server's API key"):
        probe("http://127.0.0.1:9/v1", Access("MY_KEY"))


def test_a_server_that_is_not_there_is_said_without_the_password_in_its_url() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(BackendUnavailableError, match="nothing listens there; is the server running"):
            probe(f"http://127.0.0.1:{port}/v1")
    with pytest.raises(BackendUnavailableError) as caught:
        probe("http://someone:hunter22@127.0.0.1:9/v1")
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "advice"),
    [("http", "or is it busy?"), ("https", "Or does it speak HTTP there, and not HTTPS?")],
)
def test_a_server_that_does_not_answer_in_time_is_said(scheme: str, advice: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(BackendUnavailableError) as caught:
            probe(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/v1", timeout=0.2)
    assert "no answer within 0.2 s; is it still loading" in str(caught.value)
    assert str(caught.value).endswith(advice)


def test_a_host_that_nobody_knows_is_said() -> None:
    with pytest.raises(BackendUnavailableError, match="is the host's name right"):
        probe("http://no-such-host.invalid/v1")


def test_a_certificate_has_to_be_valid_unless_it_is_said_not_to(
    answering: Answering, certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    url = answering({"/v1/models": models("a")}, tls=context).replace("127.0.0.1", "localhost") + "/v1"
    with pytest.raises(
        BackendUnavailableError, match=r"self-signed certificate; name its authority.*ca_file"
    ):
        probe(url)
    assert probe(url, Access(ca_file=str(certificate))).models == ("a",)
    assert probe(url, Access(verify=False)).models == ("a",)
    with pytest.raises(UsageError, match=r"server\.ca_file=/nowhere: no certificate can be read"):
        probe(url, Access(ca_file="/nowhere"))


@pytest.mark.parametrize("answer", [404, 405, 501, "<html>", {"models": []}])
def test_a_server_that_lists_no_models_can_be_measured_where_one_is_named(
    answering: Answering, answer: object
) -> None:
    url = answering({"/v1/models": answer}) + "/v1"
    assert probe(url, named=True).models == ()
    with pytest.raises(BackendUnavailableError, match=r"needs the name of one: --llm-model|list of models"):
        probe(url)


def test_the_hint_at_v1_holds_also_where_a_model_is_named(answering: Answering) -> None:
    url = answering({"/v1/models": models("a")})
    with pytest.raises(BackendUnavailableError, match=r"the API is mostly at http://.*/v1"):
        probe(url, named=True)


def test_a_wrong_key_is_said_also_where_a_model_is_named(answering: Answering) -> None:
    with pytest.raises(BackendUnavailableError, match="wants an API key"):
        probe(answering({"/v1/models": 401}) + "/v1", named=True)


def test_other_names_of_a_model_are_known(answering: Answering) -> None:
    entry = {"id": "name:latest", "aliases": ["short", 5], "root": "org/name"}
    found = probe(answering({"/v1/models": {"data": [entry]}}) + "/v1")
    assert found.also == {"name", "short", "org/name"}
