from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_llmbench.servers import scrape
from pytest_llmbench.servers.scrape import KINDS, ScrapeError, Scraper, difference, parse
from pytest_llmbench.servers.table import ENGINES

VLLM = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 3.0
vllm:num_requests_running{engine="1",model_name="tiny"} 4.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="tiny"} 0.75
# HELP vllm:prefix_cache_queries_total Prefix cache queries, in terms of number of queried tokens.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="tiny"} 100.0
vllm:prefix_cache_queries_total{engine="1",model_name="tiny"} 20.0
# TYPE vllm:prefix_cache_queries_created gauge
vllm:prefix_cache_queries_created{engine="0",model_name="tiny"} 1.79e+09
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{engine="0",model_name="tiny"} 48.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{le="0.5",model_name="tiny"} 1.0
vllm:time_to_first_token_seconds_bucket{le="+Inf",model_name="tiny"} 1.0
vllm:time_to_first_token_seconds_count{model_name="tiny"} 1.0
vllm:time_to_first_token_seconds_sum{model_name="tiny"} 0.25
"""
LLAMA_SERVER = """# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 12
# HELP llamacpp:predicted_tokens_seconds Average generation throughput in tokens/s.
# TYPE llamacpp:predicted_tokens_seconds gauge
llamacpp:predicted_tokens_seconds nan
# HELP llamacpp:requests_processing Number of requests processing.
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing nan
"""
TGI = """# TYPE tgi_request_generated_tokens histogram
tgi_request_generated_tokens_bucket{le="1"} 0
tgi_request_generated_tokens_bucket{le="+Inf"} 2
tgi_request_generated_tokens_sum 64
tgi_request_generated_tokens_count 2
"""


def test_counts_of_several_engines_add_up_and_of_shares_the_largest_counts() -> None:
    assert parse(VLLM, ENGINES["vllm"].counters) == {
        "running": 7.0,
        "kv_cache_use": 0.75,
        "prefix_cache_queries": 120.0,
        "prefix_cache_hits": 48.0,
    }


def test_what_a_server_does_not_know_yet_is_left_out() -> None:
    assert parse(LLAMA_SERVER, ENGINES["llama-server"].counters) == {"prompt_tokens": 12.0}


def test_the_sum_of_a_histogram_is_a_counter() -> None:
    assert parse(TGI, ENGINES["tgi"].counters) == {"generation_tokens": 64.0}


def test_a_counter_made_of_two_needs_both() -> None:
    names = ENGINES["trtllm"].counters
    reused = "trtllm_kv_cache_reused_blocks_total 6\n"
    missed = "trtllm_kv_cache_missed_blocks_total 2\n"
    assert parse(reused, names) == {"prefix_cache_hits": 6}
    assert parse(reused + missed, names) == {"prefix_cache_hits": 6, "prefix_cache_queries": 8}


def test_what_is_no_prometheus_text_is_an_error() -> None:
    with pytest.raises(ScrapeError, match="not Prometheus text"):
        parse('{"iterations": [1, 2]}', ENGINES["vllm"].counters)


def test_counters_between_two_readings_are_what_they_grew_by() -> None:
    before = {
        "generation_tokens": 10.0,
        "prefix_cache_queries": 100.0,
        "prefix_cache_hits": 40.0,
        "running": 1.0,
    }
    after = {
        "generation_tokens": 30.0,
        "prefix_cache_queries": 140.0,
        "prefix_cache_hits": 50.0,
        "running": 2.0,
    }
    found = difference(before, after)
    assert found["generation_tokens"] == 20.0
    assert found["prefix_cache_hit_rate"] == 0.25
    assert found["running"] == 2.0
    assert found["preemptions"] is None
    assert difference(before, after, [{"running": 9.0}])["running"] == 9.0


def test_a_hit_rate_of_no_queries_is_not_known() -> None:
    reading = {"prefix_cache_queries": 100.0, "prefix_cache_hits": 40.0}
    assert difference(reading, reading)["prefix_cache_hit_rate"] is None


def test_a_counter_that_shrank_tells_nothing() -> None:
    assert difference({"prompt_tokens": 9.0}, {"prompt_tokens": 3.0})["prompt_tokens"] is None


def test_the_acceptance_comes_from_its_counters_or_from_what_the_server_says() -> None:
    before = {"draft_tokens": 0.0, "accepted_tokens": 0.0}
    after = {"draft_tokens": 8.0, "accepted_tokens": 6.0}
    assert difference(before, after)["acceptance"] == 0.75
    assert difference({"acceptance": None}, {"acceptance": 0.5})["acceptance"] == 0.5


def test_every_name_is_in_a_reading_with_a_reason_where_it_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "fetch", lambda *_, **__: VLLM)
    scraper = Scraper("http://h/metrics", "vllm")
    found = scraper.read()
    assert set(found) == set(KINDS)
    assert found["running"] == 7.0
    assert found["preemptions"] is None
    assert scraper.reasons["preemptions"] == "vllm does not report it at http://h/metrics"
    assert "running" not in scraper.reasons


@pytest.mark.parametrize(
    ("scraper", "why"),
    [
        (Scraper(), "which engine the server runs is not known"),
        (Scraper("http://h/metrics"), "which engine the server runs is not known"),
        (Scraper(None, "ollama"), "ollama has no Prometheus metrics"),
        (Scraper("http://127.0.0.1:9/metrics", "vllm"), "http://127.0.0.1:9/metrics does not answer"),
    ],
)
def test_a_reading_that_is_not_to_be_had_says_why(scraper: Scraper, why: str) -> None:
    assert set(scraper.read().values()) == {None}
    assert scraper.reasons["running"].startswith(why)


def test_a_server_that_refuses_its_metrics_says_so(answering: Callable[[dict[str, object]], str]) -> None:
    url = answering({"/metrics": 403})
    with pytest.raises(ScrapeError, match="/metrics answers with status 403"):
        scrape.scrape(f"{url}/metrics", ENGINES["vllm"].counters)


def test_a_server_is_scraped(answering: Callable[[dict[str, object]], str]) -> None:
    url = answering({"/metrics": VLLM})
    assert scrape.scrape(f"{url}/metrics", ENGINES["vllm"].counters)["running"] == 7.0
