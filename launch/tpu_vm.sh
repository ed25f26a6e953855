#!/usr/bin/env bash
# Trains one run on all workers of a Cloud TPU VM, one process each, until it is
# done.
#
#   launch/tpu_vm.sh NAME ZONE --config=gru_vae:ptb --workdir=/shared/runs/ptb
#
# The repository must be in $FOLDER on each worker (rnnvae_jax in the home by
# default), with the package installed, and the folder of the run on a file
# system that all workers share. Each worker runs launch/local.sh, which starts
# its process again after status 75; since a lost process ends all with it, they
# meet again. A signal is passed on to all workers. The status is that of the
# first worker that failed.
set -u
if (($# < 2)); then
  echo "usage: $0 NAME ZONE ARGUMENTS" >&2
  exit 2
fi
name=$1 zone=$2
shift 2
folder=${FOLDER:-rnnvae_jax}
tpu=(gcloud compute tpus tpu-vm)

addresses=$("${tpu[@]}" describe "$name" --zone="$zone" \
  --format='value(networkEndpoints[].ipAddress)') || exit
IFS=';, ' read -r -a hosts <<<"$addresses"

on_worker() { # Its number, or all; a command.
  "${tpu[@]}" ssh "$name" --zone="$zone" --worker="$1" --command="$2"
}

# shellcheck disable=SC2329 # By the trap.
on_signal() {
  # Python's own signals would not pass gcloud and ssh.
  # shellcheck disable=SC2016
  on_worker all 'kill -TERM "$(cat .rnnvae_jax.pid)"' &
}
trap on_signal INT TERM HUP

printf -v arguments '%q ' "$@"
workers=()
for i in "${!hosts[@]}"; do
  on_worker "$i" "echo \$\$ >.rnnvae_jax.pid; cd $folder &&
    JAX_COORDINATOR_ADDRESS=${hosts[0]}:8476 JAX_PROCESS_ID=$i \
    JAX_NUM_PROCESSES=${#hosts[@]} exec launch/local.sh $arguments" &
  workers+=($!)
done
result=0
for worker in "${workers[@]}"; do
  while kill -0 "$worker" 2>/dev/null; do
    sleep 0.2 & # A signal ends the wait for it at once.
    wait $!
  done
  wait "$worker"
  status=$?
  ((result)) || result=$status
done
exit "$result"
