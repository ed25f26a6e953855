#!/usr/bin/env bash
# Trains on this machine, in one process or several, until it is done.
#
#   launch/local.sh --config=gru_vae --workdir=runs/gru_vae
#   launch/local.sh 2 --config=gru_vae --workdir=runs/gru_vae
#
# A number before the arguments of rnnvae_jax.main says how many processes train
# the run together, 1 by default. Each of several has the GPU of its number;
# one alone drives all devices.
#
# A process that ends with status 75 asks to be started again: then all are. Any
# other status but 0 ends the others too, and is that of this script. A signal is
# passed on; then nothing is started again, and the status is 75 if the processes
# have saved and can go on.
#
#   RESTARTS   how often at most, 1000 by default
#   GRACE      seconds between the request to stop and SIGKILL, 600 by default
#   PYTHON     the interpreter, python by default
set -u
processes=1
if [[ ${1-} =~ ^[1-9][0-9]*$ ]]; then
  processes=$1
  shift
fi
restarts=${RESTARTS:-1000}
grace=${GRACE:-600}
python=${PYTHON:-python}
resume=75

pids=()
asked='' # Whether a signal has asked this script to stop.

# What runs in the background of a script ignores SIGINT, so all get SIGTERM.
stop() {
  local pid
  for pid in ${pids[@]+"${pids[@]}"}; do
    kill -TERM "$pid" 2>/dev/null
  done
}

# shellcheck disable=SC2329 # By the trap.
on_signal() {
  asked=yes
  stop
}
trap on_signal INT TERM HUP

start() {
  local i
  pids=()
  for ((i = 0; i < processes; i++)); do
    if ((processes > 1)); then
      export JAX_NUM_PROCESSES=$processes JAX_PROCESS_ID=$i
      export JAX_LOCAL_DEVICE_IDS=$i
    fi
    "$python" -m rnnvae_jax.main "$@" &
    pids+=($!)
  done
}

# Waits for all processes. Sets `result`: 0, or 75, or the status of a failure.
finish() {
  local pid status left ended='' deadline=''
  result=0
  while ((${#pids[@]})); do
    sleep 0.2 & # A signal ends the wait for it at once.
    wait $!
    left=()
    for pid in "${pids[@]}"; do
      if kill -0 "$pid" 2>/dev/null; then
        left+=("$pid")
        continue
      fi
      wait "$pid"
      status=$?
      # SIGTERM itself ends a process that has no handler yet: it can go on.
      [[ $asked ]] && ((status == 143)) && status=$resume
      # What ends because another process has ended says nothing.
      if [[ ! $ended ]] && ((status && (!result ||
        result == resume && status != resume))); then
        result=$status
      fi
    done
    pids=(${left[@]+"${left[@]}"})
    if ((result)) && [[ ! $asked$ended ]]; then
      ended=yes
      stop
    fi
    if [[ $asked$ended ]]; then
      deadline=${deadline:-$((SECONDS + grace))}
      if ((${#pids[@]} && SECONDS >= deadline)); then
        echo "$0: SIGKILL, $grace s after the request to stop" >&2
        kill -KILL "${pids[@]}" 2>/dev/null
      fi
    fi
  done
}

if ((processes > 1)); then
  port=$((20000 + $$ % 20000))
  export JAX_COORDINATOR_ADDRESS=${JAX_COORDINATOR_ADDRESS:-localhost:$port}
fi
for ((round = 0; round <= restarts; round++)); do
  start "$@"
  [[ $asked ]] && stop # It came while they were started.
  finish
  if ((result != resume)) || [[ $asked ]]; then
    exit "$result"
  fi
  echo "$0: status $resume: the same command goes on" >&2
done
echo "$0: stopped after $restarts restarts" >&2
exit "$resume"
