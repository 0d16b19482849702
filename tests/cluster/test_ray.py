"""Does a real Ray of several nodes run cells as the matrix needs it?"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_llmbench.errors import ClusterError
from pytest_llmbench.matrix.on_ray import RayExecutor, connect
from pytest_llmbench.matrix.ray_task import TASKS
from pytest_llmbench.results.cell import CELL_VARIABLE
from tests.cluster.conftest import ATTEMPT, ROOT, MakeTask, alive, all_outcomes, below_of
from tests.waiting import until


def test_four_devices_have_200_cells_and_never_two_at_once(
    on_cluster: RayExecutor, make_task: MakeTask, log: Path
) -> None:
    on_cluster.nodes()
    for _ in range(200):
        on_cluster.submit(make_task())
    outcomes = all_outcomes(on_cluster, 200)
    assert Counter(one.end for one in outcomes) == {"measured": 200}
    assert len({one.task.session_id for one in outcomes}) == 200
    busy: set[str] = set()
    used: Counter[str] = Counter()
    for line in log.read_text().splitlines():
        what, device, _, _ = line.split()
        assert (device in busy) is (what == "end"), line
        (busy.add if what == "begin" else busy.remove)(device)
        used[device] += what == "end"
    assert set(used) == {"gpu:0", "gpu:1", "gpu:2", "gpu:3"}
    assert used.total() == 200


def test_several_devices_are_of_one_node_and_another_gets_none_of_them(
    on_cluster: RayExecutor, make_task: MakeTask, log: Path
) -> None:
    on_cluster.submit(make_task("hold", count=3))
    until(lambda: "begin" in log.read_text())
    assert len(log.read_text().split()[1].split(",")) == 3
    assert on_cluster.free("four", 1)
    assert not on_cluster.free("four", 2)
    assert not on_cluster.free("one", 2)
    assert not on_cluster.free("unheard-of", 1)
    (outcome,) = on_cluster.stop(30)
    assert (outcome.end, outcome.reason) == ("lost", "it was told to end")


def test_a_node_with_another_version_of_an_engine_makes_other_results(
    on_cluster: RayExecutor, cluster: Any
) -> None:
    nodes = {node.id: node for node in on_cluster.nodes()}
    four, spot, other = (nodes[one] for one in cluster.ids[:3])
    assert four.digest == spot.digest != other.digest
    assert other.facts["llama-cpp-python"] == "9.9.9"
    assert (four.hardware, spot.hardware) == ({"four": 4}, {"one": 1})
    assert (four.market, spot.market) == (None, "spot")


def test_a_market_is_where_a_cell_runs(on_cluster: RayExecutor, make_task: MakeTask, cluster: Any) -> None:
    on_cluster.nodes()
    for market in ("spot", "on_demand") * 3:
        on_cluster.submit(make_task(hardware="one", market=market))
    for outcome in all_outcomes(on_cluster, 6):
        spot = outcome.task.cell.hardware.market == "spot"
        assert outcome.node == cluster.ids[1 if spot else 2]
        assert outcome.document == '{"é": 1}'.encode()


def test_a_cluster_is_reached_from_elsewhere_by_rays_client(
    cluster: Any, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    executor = connect(f"ray://127.0.0.1:{cluster.client_port}", attempt=ATTEMPT)
    try:
        assert set(cluster.ids[:3]) <= {node.id for node in executor.nodes()}
        executor.submit(make_task())
        assert all_outcomes(executor, 1)[0].document == '{"é": 1}'.encode()
    finally:
        executor.close()


def test_hardware_that_no_node_has_is_an_error_and_not_an_endless_wait(
    on_cluster: RayExecutor, make_task: MakeTask
) -> None:
    with pytest.raises(ClusterError, match="no node of the cluster has 8 x four"):
        on_cluster.submit(make_task(count=8))


def test_what_happens_to_an_attempt_says_whether_it_counts(
    on_cluster: RayExecutor, make_task: MakeTask
) -> None:
    for do in ("die", "raise"):
        on_cluster.submit(make_task(do))
    ended = {one.task.cell.suite["do"]: one for one in all_outcomes(on_cluster, 2)}
    assert ended["die"].end == "lost"
    assert ended["raise"].end == "transient"
    assert "its disk is full" in str(ended["raise"].reason)


def test_an_attempt_runs_as_on_the_node_itself_and_not_as_ray_has_its_workers_run(
    on_cluster: RayExecutor, make_task: MakeTask, log: Path
) -> None:
    on_cluster.submit(make_task("look"))
    assert all_outcomes(on_cluster, 1)[0].end == "measured"
    assert log.read_text().splitlines()[1] == f"{os.nice(0)} {os.environ.get('OMP_NUM_THREADS')} False"


def test_told_to_stop_one_that_listens_ends_itself_and_the_others_are_ended(
    on_cluster: RayExecutor, make_task: MakeTask, log: Path
) -> None:
    for do in ("hold", "deaf", "hold", "deaf", "note"):
        on_cluster.submit(make_task(do))
    until(lambda: log.read_text().count("begin") == 4)
    pids = [int(line.split()[3]) for line in log.read_text().splitlines()]
    running = [psutil.Process(pid) for pid in pids]
    outcomes = on_cluster.stop(1.0)
    assert {one.end for one in outcomes} == {"lost"}
    assert Counter(one.reason for one in outcomes)["it was told to end"] == 2
    assert len(outcomes) == 5
    until(lambda: len(alive(running)) <= 2)
    on_cluster.submit(make_task())
    assert all_outcomes(on_cluster, 1)[0].end == "measured"


def test_a_cell_of_a_node_that_is_killed_is_lost_and_can_be_done_elsewhere(
    on_cluster: RayExecutor, make_task: MakeTask, cluster: Any, log: Path
) -> None:
    numbers = [cluster.add({"pair": 1}, gpus=(gpu,)) for gpu in (6, 7)]
    on_cluster.nodes()
    lost, other = (make_task("hold", "pair") for _ in range(2))
    on_cluster.submit(lost)
    until(lambda: "begin" in log.read_text())
    on_cluster.submit(other)
    killed = cluster.ids.index(log.read_text().split()[2])
    cluster.kill(killed)
    (outcome,) = all_outcomes(on_cluster, 1)
    assert (outcome.task, outcome.end, outcome.document) == (lost, "lost", None)
    (survivor,) = on_cluster.stop(30)
    assert survivor.task == other
    (left,) = (number for number in numbers if number != killed)
    on_cluster.submit(make_task("note", "pair"))
    (again,) = all_outcomes(on_cluster, 1)
    assert (again.end, again.node) == ("measured", cluster.ids[left])


def test_a_node_that_will_be_taken_away_ends_what_it_has_and_gets_no_more(
    on_cluster: RayExecutor, make_task: MakeTask, cluster: Any, log: Path
) -> None:
    number = cluster.add({"leaving": 1}, gpus=(8,))
    assert cluster.ids[number] in [node.id for node in on_cluster.nodes()]
    on_cluster.submit(make_task("hold", "leaving"))
    until(lambda: "begin" in log.read_text())
    cluster.drain(number)
    until(lambda: cluster.ids[number] not in [node.id for node in on_cluster.nodes()])
    assert not on_cluster.free("leaving", 1)
    assert [one.reason for one in on_cluster.stop(30)] == ["it was told to end"]


@pytest.mark.usefixtures("cpus_alone")
def test_pytest_measures_a_cell_on_a_node(
    cluster: Any, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(CELL_VARIABLE, raising=False)
    cluster.add({"cpu": 1}, cpus={min(os.sched_getaffinity(0))})
    task = make_task(hardware="cpu")
    suite = {
        "version": 1,
        "defaults": {"models": ["tiny"], "backends": ["llamacpp"], "rounds": 1, "processes": 1},
        "cases": [{"name": "short", "prompt": "Hello", "max_new_tokens": 4}],
    }
    task = dataclasses.replace(task, cell=dataclasses.replace(task.cell, suite=suite))
    executor = connect(cluster.address)
    try:
        executor.submit(task)
        (outcome,) = all_outcomes(executor, 1)
    finally:
        executor.close()
    assert (outcome.end, outcome.reason) == ("measured", None), outcome.log
    assert outcome.node in cluster.ids
    assert task.session_id.encode() in (outcome.document or b"")


@pytest.mark.usefixtures("cpus_alone")
def test_every_cell_is_measured_once_whatever_is_killed(
    ray_nodes: Callable[..., Any], tmp_path: Path
) -> None:
    from matrix_kills import run

    report = run(tmp_path, cells=2, kills=2, kinds=("driver", "worker"))
    assert report.kills == {"driver": 1, "worker": 1}, report
    assert report.exits == {0: 1}, report
    assert report.held, report


def test_a_head_that_is_gone_ends_the_run_with_one_line(
    ray_nodes: Callable[..., Any], make_task: MakeTask, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = ray_nodes()
    for name, value in nodes.environment.items():
        monkeypatch.setenv(name, value)
    nodes.add({"one": 1}, gpus=(9,))
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "1")
    executor = connect(nodes.address, attempt=ATTEMPT)
    try:
        executor.submit(make_task("hold", "one"))
        until(lambda: "begin" in log.read_text())
        running = below_of(nodes.pid)
        nodes.kill_head()
        with pytest.raises(ClusterError, match=r"does not answer any more: [^\n]*$"):
            until(lambda: executor.wait(5))
        with pytest.raises(ClusterError, match="does not answer any more"):
            executor.nodes()
    finally:
        executor.close()
        nodes.close()
    until(lambda: not alive(running))


def test_nothing_is_left_of_a_ray_of_our_own_whose_driver_is_killed_and_it_listens_to_this_machine_alone(
    tmp_path: Path, make_task: MakeTask, log: Path
) -> None:
    program = (
        "import sys\n"
        "from pytest_llmbench.matrix.on_ray import connect\n"
        "from pytest_llmbench.matrix.ray_task import TASKS\n"
        f"executor = connect(None, hardware={{'cpu': 1}}, attempt={ATTEMPT!r})\n"
        "executor.nodes()\n"
        "executor.submit(TASKS.validate_json(sys.argv[1]))\n"
        "while True:\n    executor.wait(5)\n"
    )
    told = make_task("deaf", "cpu")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with (tmp_path / "out").open("wb") as out:
        driver = subprocess.Popen(
            [sys.executable, "-c", program, TASKS.dump_json(told).decode()],
            env={**os.environ, "PYTHONPATH": path},
            stdout=out,
            stderr=out,
        )
    try:
        until(lambda: "begin" in log.read_text() or driver.poll() is not None)
        assert driver.poll() is None, (tmp_path / "out").read_text()
        below = below_of(driver.pid)
        names = " ".join(" ".join(one.cmdline()) for one in below)
        assert "raylet" in names
        listening = {
            connection.laddr.ip
            for one in alive(below)
            for connection in one.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
        assert listening
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    until(lambda: not alive(below))
    assert (tmp_path / "out").read_text() == ""
