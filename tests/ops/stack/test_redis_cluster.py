"""A Redis Cluster of ours, as it says of itself whether it is whole."""

from __future__ import annotations

from pathlib import Path

from ops.bench.rig.waiting import wait_until
from ops.stack.redis_cluster import running_cluster
from ops.stack.redis_server import bundled_executable

REPLACED_S = 120.0
KEY = "fraud:{p0}progress"


def test_a_cluster_is_whole_again_once_a_killed_master_follows_the_one_that_replaced_it(tmp_path: Path) -> None:
    with running_cluster(bundled_executable(), tmp_path, replicas=1) as cluster:
        killed = cluster.master_of(KEY)
        [replica] = cluster.replicas_of(killed)
        cluster.servers[killed].kill()
        assert not cluster._is_whole()
        wait_until(lambda: cluster.master_of(KEY) == replica, REPLACED_S, "the replica takes over")
        assert not cluster._is_whole()
        cluster.servers[killed].start()
        cluster.wait_until_whole()
        assert cluster.replicas_of(replica) == [killed]
