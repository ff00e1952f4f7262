#!/usr/bin/env bash
# Ends what start_slurm.sh started in FOLDER, its jobs first:  stop_slurm.sh FOLDER
set -uo pipefail

folder=$(realpath "${1:?usage: stop_slurm.sh FOLDER}")
export SLURM_CONF="$folder/slurm.conf"
timeout 10 scancel --signal=KILL --full --user=root || true

for _ in $(seq 50); do
    [ -z "$(timeout 5 squeue --noheader --states=RUNNING,COMPLETING 2>/dev/null)" ] && break
    sleep 0.2
done
for file in slurmd.pid slurmctld.pid munge/munged.pid; do
    [ -f "$folder/$file" ] || continue
    pid=$(cat "$folder/$file")
    kill "$pid" 2>/dev/null || continue
    for _ in $(seq 50); do
        kill -0 "$pid" 2>/dev/null || continue 2
        sleep 0.2
    done
    kill -KILL "$pid"
done
