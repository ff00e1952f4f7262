#!/usr/bin/env bash
# @@title: @@count jobs for Slurm, each after the jobs whose files it reads. Finished stages end at
# once, so run this script again after a time limit or a failure.
set -euo pipefail
cd @@out
submit() { # NAME DEPENDENCIES OPTIONS...; reads the command line from stdin
    local name=$1 after=$2
    shift 2
    { echo '#!/usr/bin/env bash'; cat; } |
        sbatch --parsable --job-name "$name" --output "slurm-%x.log" --open-mode append \
            ${after:+--dependency=afterok:$after --kill-on-invalid-dep=yes} "$@"
}

@@stages
