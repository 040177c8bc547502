"""A Ray cluster finds what this process finds, whoever dies in the middle."""

from __future__ import annotations

import builtins
import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from ssl_pdr.curves.engine import make_plan
from ssl_pdr.curves.grid import Cell
from ssl_pdr.curves.on_ray import RayPool
from ssl_pdr.errors import ConfigError
from tests.curves.conftest import Here, MakeGrid
from tests.curves.test_local import found


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two machines of one core each, as far as Ray can tell, and a driver on a third one that has none."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'ssl-pdr[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        made.nodes = [made.add_node(num_cpus=1) for _ in range(2)]
        ray.init(made.address, log_to_driver=False, logging_level="error")
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def cells(make_grid: MakeGrid) -> list[Cell]:
    return make_plan(make_grid(seeds=(0,), steps=20)).cells


def workers(state: str = "ALIVE") -> list[int]:
    """The pids of the actors."""
    from ray.util.state import list_actors

    return [actor.pid for actor in list_actors() if actor.state == state]
