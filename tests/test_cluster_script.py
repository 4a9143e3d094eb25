"""The Slurm script of the documentation, with stand-ins for what only a cluster has."""

import json
import os
import pathlib
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "docs" / "cluster" / "train.sbatch"

# Runs the command once per machine, as srun does, and exits with the highest code.
SRUN = """#!/bin/bash
code=0
while [[ $1 = --* ]]; do echo "option $1" >> "$CALLS"; shift; done
for task in 0 1; do
    SLURM_PROCID=$task "$@" || { last=$?; code=$((last > code ? last : code)); }
done
exit $code
"""
SCONTROL = """#!/bin/bash
echo "$@" >> "$CALLS"
if [ "$1" = show ]; then printf 'node07\\nnode12\\n'; fi
"""
PYTHON = """#!/bin/bash
echo "$TF_CONFIG" >> "$CALLS"
for argument in "$@"; do echo "argument $argument" >> "$CALLS"; done
exit "$CODE"
"""


@pytest.mark.parametrize("code", [0, 1, 130])
def test_every_machine_gets_its_place(tmp_path, code):
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "python": PYTHON}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_NODELIST": "node[07,12]",
        "SLURM_JOB_ID": "42",
        "SLURM_CPUS_PER_TASK": "32",
        "CALLS": str(tmp_path / "calls"),
        "CODE": str(code),
    }
    result = subprocess.run(
        ["bash", str(SCRIPT), "--workdir=/shared/my runs"], env=environment, check=False
    )
    assert result.returncode == code
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[1:3] == ["option --cpus-per-task=32", "option --kill-on-bad-exit=0"]
    workers = {"worker": ["node07:29500", "node12:29500"]}
    found = [json.loads(line) for line in calls if line.startswith("{")]
    assert found == [
        {"cluster": workers, "task": {"type": "worker", "index": index}} for index in (0, 1)
    ]
    arguments = [line for line in calls if line.startswith("argument")]
    assert arguments == 2 * [
        "argument train.py",
        "argument --strategy=multi_worker",
        "argument --workdir=/shared/my runs",
    ]
    assert ("requeue 42" in calls) == (code == 130)
