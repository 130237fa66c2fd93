#!/usr/bin/env python3
"""One point of a sweep for each task of HyperQueue, on the cores of this machine.

    hyperqueue_points.py POINTS CORES residua sweep --grid … --out DIR

`pip install hyperqueue` has the server and the worker. On a cluster the same is done by
`hq server start`, `hq worker start` or `hq alloc add slurm`, and `hq submit --array`.
"""

import os
import sys
import tempfile

from hyperqueue import Job
from hyperqueue.cluster import LocalCluster, WorkerConfig

points, cores, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
with tempfile.TemporaryDirectory() as folder, LocalCluster() as cluster:
    cluster.start_worker(WorkerConfig(cores=cores))
    client = cluster.client()
    job = Job(folder)
    for point in range(1, points + 1):
        # A task has the environment of its worker but for what is named here.
        job.program(
            [*command, "--point", str(point)], env=dict(os.environ), cwd=os.getcwd(), stdout=None, stderr=None
        )
    client.wait_for_jobs([client.submit(job)])
