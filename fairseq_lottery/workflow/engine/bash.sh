#!/usr/bin/env bash
# @@title: @@count stages, JOBS at a time (default @@jobs). Finished stages are skipped, so start a
# killed script again to resume it.
cd @@out || exit
: "${JOBS:=@@jobs}"
names=()
running=0
declare -A after command state
# every stage writes its end here, as "wait -n" misses one of two that end at the same time
ends=$(mktemp -u) && mkfifo -m 600 "$ends" && exec 3<>"$ends" && rm "$ends" || exit

stage() { # NAME DEPENDENCIES; reads the command line from stdin
    names+=("$1") after[$1]=$2 command[$1]=$(cat) state[$1]=waiting
}

start() { # start all stages that are ready
    local name needed
    for name in "${names[@]}"; do
        [ "${state[$name]}" = waiting ] && [ $running -lt "$JOBS" ] || continue
        for needed in ${after[$name]}; do
            [ "${state[$needed]}" = done ] || continue 2
        done
        echo "$name"
        { bash -c "${command[$name]}" 3>&-; echo "$? $name" >&3; } &
        state[$name]=running running=$((running + 1))
    done
}

run() {
    local code name failed=0
    start
    while [ $running -gt 0 ]; do
        read -r code name <&3
        running=$((running - 1))
        if [ "$code" = 0 ]; then
            state[$name]=done
        else
            state[$name]=failed failed=1
        fi
        start
    done
    return $failed
}

@@stages
run
