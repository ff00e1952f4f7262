#!/usr/bin/env bash
# Starts a real Slurm of one node, this machine, for tests:  start_slurm.sh FOLDER
# Everything is in FOLDER: configuration, key, sockets, state, logs. Servers listen on loopback
# only. Needs root, and Debian's slurm-wlm and munge. Afterwards: export SLURM_CONF=FOLDER/slurm.conf
# stop_slurm.sh FOLDER ends it.
set -euo pipefail

folder=$(realpath "${1:?usage: start_slurm.sh FOLDER}")
name=$(hostname -s)
mkdir -p "$folder"/{munge,state,spool}
exec >"$folder/start.log" 2>&1 </dev/null

free_ports() {
    python3 - <<'PYTHON'
import socket
probes = [socket.socket() for _ in range(2)]
for probe in probes:
    probe.bind(("127.0.0.1", 0))
print(*(probe.getsockname()[1] for probe in probes))
PYTHON
}
read -r controller node < <(free_ports)

(umask 077 && head -c 1024 /dev/urandom >"$folder/munge/key")
munged --force --num-threads=2 --key-file="$folder/munge/key" --seed-file="$folder/munge/seed" \
    --socket="$folder/munge/socket" --pid-file="$folder/munge/munged.pid" \
    --log-file="$folder/munge/munged.log"

cat >"$folder/slurm.conf" <<CONF
ClusterName=tests
SlurmctldHost=$name(127.0.0.1)
SlurmUser=root
SlurmctldPort=$controller
SlurmdPort=$node
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=30
NodeName=$name NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=tests Nodes=$name Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
export SLURM_CONF="$folder/slurm.conf"
slurmctld
slurmd

for _ in $(seq 100); do
    if [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ]; then
        exit 0
    fi
    sleep 0.2
done
echo "the node is not idle after 20 s"
sinfo || true
exit 1
