"""The scripts that start processes, with stubs for what they start."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

from absl.testing import absltest, parameterized
import yaml

from rnnvae_jax.training import stopping

LAUNCH = pathlib.Path(__file__).parents[2] / 'launch'
SCRIPTS = 'local.sh', 'slurm.sbatch', 'tpu_vm.sh'
ARGUMENTS = ['--config=gru_vae:a folder', "--workdir=it's here"]
LIMIT = 60.0  # Seconds, on a busy machine.

# Notes its arguments and variables. Ends with the next status of its number,
# once as many processes wait as stand behind it; or waits for SIGTERM, which it
# notes, and ends with 75.
PYTHON = r"""#!/usr/bin/env bash
cd "$STUB" || exit
number=${JAX_PROCESS_ID-alone}
{
  printf '%s\0' "$@"
  printf '%s\0' "${JAX_NUM_PROCESSES-}" "${JAX_COORDINATOR_ADDRESS-}"
} >"call.$number.$(ls call.$number.* 2>/dev/null | wc -l)"
read -r status others <"statuses.$number"
sed -i 1d "statuses.$number"
if [ "$status" = wait ]; then
  trap 'echo TERM >>signals; exit 75' TERM
  touch "ready.$number"
  for _ in $(seq 600); do sleep 0.1; done
fi
until (($(ls ready.* 2>/dev/null | wc -l) >= ${others:-0})); do sleep 0.05; done
exit "$status"
"""
# Starts the tasks of a step, as many as there are.
SRUN = r"""#!/usr/bin/env bash
shift # --kill-on-bad-exit=1
trap 'kill -TERM "${tasks[@]}"' TERM
for ((i = 0; i < SLURM_NTASKS; i++)); do
  SLURM_PROCID=$i "$@" &
  tasks+=($!)
done
worst=0
for task in "${tasks[@]}"; do
  wait "$task"
  status=$?
  while kill -0 "$task" 2>/dev/null; do
    wait "$task"
    status=$?
  done
  ((status > worst)) && worst=$status
done
exit "$worst"
"""
SCONTROL = r"""#!/usr/bin/env bash
echo "$*" >>"$STUB/queue"
if [ "$1" = show ]; then printf 'node1\nnode2\n'; fi
"""
# What it would run on a worker it runs here, in a folder for that worker.
GCLOUD = r"""#!/usr/bin/env bash
case $4 in
describe) echo '10.0.0.1;10.0.0.2' ;;
ssh)
  for argument; do
    case $argument in
    --worker=all)
      for worker in 0 1; do
        gcloud "${@/--worker=all/--worker=$worker}"
      done
      exit ;;
    --worker=*) worker=${argument#*=} ;;
    --command=*) command=${argument#*=} ;;
    esac
  done
  mkdir -p "$STUB/worker$worker"
  ln -sfn "$REPOSITORY" "$STUB/worker$worker/rnnvae_jax"
  cd "$STUB/worker$worker" && exec bash -c "$command" ;;
esac
"""


class Stubs:
  """A folder in which programs stand for those that a script starts."""

  def __init__(self, folder, **statuses):
    """Statuses of the calls of each process, by its number or `alone`."""
    self.folder = pathlib.Path(folder)
    programs = {
      'python': PYTHON,
      'srun': SRUN,
      'scontrol': SCONTROL,
      'gcloud': GCLOUD,
    }
    for name, text in programs.items():
      (self.folder / name).write_text(text)
      (self.folder / name).chmod(0o755)
    for number, values in statuses.items():
      name = f'statuses.{number.removeprefix("_")}'
      (self.folder / name).write_text(''.join(f'{v}\n' for v in values))

  def start(self, script, *before, **variables):
    given = {k: v for k, v in os.environ.items() if not k.startswith('JAX_')}
    return subprocess.Popen(
      ['bash', LAUNCH / script, *before, *ARGUMENTS],
      env=given
      | {
        'PATH': f'{self.folder}:{os.environ["PATH"]}',
        'STUB': str(self.folder),
        'REPOSITORY': str(LAUNCH.parent),
        **variables,
      },
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      start_new_session=True,
    )

  def run(self, script, *before, **variables):
    """The status of the script."""
    with self.start(script, *before, **variables) as process:
      return _finish(process)

  def signalled(self, number, script, *before, wait_for, **variables):
    """The status of the script, signalled once these processes wait."""
    with self.start(script, *before, **variables) as process:
      end = time.monotonic() + LIMIT
      while not all((self.folder / f'ready.{n}').exists() for n in wait_for):
        if time.monotonic() > end or process.poll() is not None:
          os.killpg(process.pid, signal.SIGKILL)
          raise AssertionError(f'no process waits: {process.stdout.read()}')
        time.sleep(0.01)
      process.send_signal(number)
      return _finish(process)

  def calls(self, number='alone'):
    """The arguments of each call, and the number of processes and address."""
    paths = sorted(self.folder.glob(f'call.{number}.*'))
    texts = [path.read_text().split('\0')[:-1] for path in paths]
    return [(text[:-2], *text[-2:]) for text in texts]

  def read(self, name):
    return (self.folder / name).read_text().splitlines()


# Of a job on two nodes, one process each.
SLURM = {
  'SLURM_JOB_ID': '7',
  'SLURM_JOB_NODELIST': 'node[1-2]',
  'SLURM_NTASKS': '2',
}


def _finish(process):
  """The status of a script; all that it started ends at the limit."""
  try:
    process.communicate(timeout=LIMIT)
  except subprocess.TimeoutExpired:
    os.killpg(process.pid, signal.SIGKILL)
    raise
  return process.returncode


CALL = ['-m', 'rnnvae_jax.main', *ARGUMENTS]


class LocalTest(parameterized.TestCase):
  def stubs(self, **statuses):
    return Stubs(self.create_tempdir().full_path, **statuses)

  def test_status_75_starts_the_same_command_again(self):
    stubs = self.stubs(alone=[75, 75, 0])
    self.assertEqual(stubs.run('local.sh'), 0)
    self.assertEqual(stubs.calls(), 3 * [(CALL, '', '')])

  def test_any_other_status_is_the_script_s(self):
    stubs = self.stubs(alone=[75, 3, 0])
    self.assertEqual(stubs.run('local.sh'), 3)
    self.assertLen(stubs.calls(), 2)

  def test_restarts_have_a_limit(self):
    stubs = self.stubs(alone=[75, 75, 75])
    self.assertEqual(stubs.run('local.sh', RESTARTS='1'), stopping.RESUME)
    self.assertLen(stubs.calls(), 2)

  @parameterized.parameters(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
  def test_a_signal_is_passed_on_and_nothing_is_started_again(self, number):
    stubs = self.stubs(alone=['wait', 0])
    status = stubs.signalled(number, 'local.sh', wait_for=['alone'])
    self.assertEqual(status, stopping.RESUME)
    self.assertEqual(stubs.read('signals'), ['TERM'])
    self.assertLen(stubs.calls(), 1)

  def test_processes_have_numbers_and_meet_at_one_address(self):
    stubs = self.stubs(_0=['75 2', 0], _1=['wait', 0], _2=['wait', 0])
    self.assertEqual(stubs.run('local.sh', '3'), 0)
    # The one that asked to be started again has ended the others.
    self.assertEqual(stubs.read('signals'), 2 * ['TERM'])
    calls = [stubs.calls(number) for number in range(3)]
    self.assertEqual(calls[0], calls[1])
    self.assertEqual(calls[0], calls[2])
    self.assertLen(calls[0], 2)
    arguments, count, address = calls[0][0]
    self.assertEqual(arguments, CALL)
    self.assertEqual(count, '3')
    self.assertRegex(address, r'^localhost:\d+$')

  def test_a_process_that_fails_ends_the_others(self):
    stubs = self.stubs(_0=['wait'], _1=[3])
    self.assertEqual(stubs.run('local.sh', '2'), 3)
    self.assertLen(stubs.calls(0), 1)

  def test_all_processes_get_a_signal(self):
    stubs = self.stubs(_0=['wait'], _1=['wait'])
    status = stubs.signalled(signal.SIGTERM, 'local.sh', '2', wait_for=[0, 1])
    self.assertEqual(status, stopping.RESUME)
    self.assertEqual(stubs.read('signals'), 2 * ['TERM'])


class ClusterTest(parameterized.TestCase):
  def stubs(self, **statuses):
    return Stubs(self.create_tempdir().full_path, **statuses)

  def test_slurm_starts_again_what_asks_for_it(self):
    stubs = self.stubs(_0=[75, 0], _1=[75, 0])
    self.assertEqual(stubs.run('slurm.sbatch', **SLURM), 0)
    for number in range(2):
      self.assertEqual(stubs.calls(number), 2 * [(CALL, '2', 'node1:20007')])
    self.assertEqual(stubs.read('queue'), ['show hostnames node[1-2]'])

  def test_slurm_ends_with_the_status_of_a_failure(self):
    stubs = self.stubs(_0=[0], _1=[3])
    self.assertEqual(stubs.run('slurm.sbatch', **SLURM), 3)

  def test_a_slurm_job_that_is_signalled_goes_back_to_the_queue(self):
    stubs = self.stubs(_0=['wait'], _1=['wait'])
    status = stubs.signalled(
      signal.SIGTERM, 'slurm.sbatch', wait_for=[0, 1], **SLURM
    )
    self.assertEqual(status, stopping.RESUME)
    self.assertEqual(stubs.read('signals'), 2 * ['TERM'])
    self.assertEqual(stubs.read('queue')[1:], ['requeue 7'])

  def test_workers_of_a_tpu_start_themselves_again(self):
    stubs = self.stubs(_0=[75, 0], _1=[0])
    self.assertEqual(stubs.run('tpu_vm.sh', 'v4', 'zone'), 0)
    call = CALL, '2', '10.0.0.1:8476'
    self.assertEqual(stubs.calls(0), [call, call])
    self.assertEqual(stubs.calls(1), [call])

  def test_workers_of_a_tpu_get_a_signal(self):
    stubs = self.stubs(_0=['wait'], _1=['wait'])
    status = stubs.signalled(
      signal.SIGTERM, 'tpu_vm.sh', 'v4', 'zone', wait_for=[0, 1]
    )
    self.assertEqual(status, stopping.RESUME)
    self.assertEqual(stubs.read('signals'), 2 * ['TERM'])


class FilesTest(parameterized.TestCase):
  @parameterized.parameters(*SCRIPTS)
  def test_scripts_have_no_fault_that_can_be_found_unrun(self, name):
    path = str(LAUNCH / name)
    checker = ['shellcheck'] if shutil.which('shellcheck') else ['bash', '-n']
    done = subprocess.run(
      [*checker, path], capture_output=True, text=True, check=False
    )
    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

  def test_the_manifest_is_a_jobset_that_restarts_on_status_75_alone(self):
    manifest = yaml.safe_load((LAUNCH / 'kubernetes.yaml').read_text())
    self.assertEqual(manifest['apiVersion'], 'jobset.x-k8s.io/v1alpha2')
    self.assertEqual(manifest['kind'], 'JobSet')
    spec = manifest['spec']
    self.assertLessEqual(
      spec.keys(), {'network', 'failurePolicy', 'replicatedJobs'}
    )
    for rule in spec['failurePolicy']['rules']:
      self.assertRegex(
        rule['name'], r'^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$'
      )
    stops, goes_on = spec['failurePolicy']['rules']
    self.assertEqual(stops['action'], 'FailJobSet')
    self.assertEqual(stops['onJobFailureReasons'], ['PodFailurePolicy'])
    self.assertEqual(goes_on['action'], 'RestartJobSet')
    self.assertEqual(
      spec['failurePolicy']['restartStrategy'], 'BlockingRecreate'
    )
    (replicated,) = spec['replicatedJobs']
    job = replicated['template']['spec']
    self.assertEqual(job['completionMode'], 'Indexed')
    # What a policy of failures demands, and that no pod is tried again alone.
    self.assertEqual(job['template']['spec']['restartPolicy'], 'Never')
    self.assertEqual(job['backoffLimit'], 0)
    disrupted, failed = job['podFailurePolicy']['rules']
    self.assertEqual(disrupted['action'], 'Count')
    self.assertEqual(
      disrupted['onPodConditions'],
      [{'type': 'DisruptionTarget', 'status': 'True'}],
    )
    self.assertEqual(failed['action'], 'FailJob')
    (container,) = job['template']['spec']['containers']
    self.assertEqual(
      failed['onExitCodes'],
      {
        'containerName': container['name'],
        'operator': 'NotIn',
        'values': [stopping.RESUME],
      },
    )

  def test_the_manifest_s_pods_find_each_other(self):
    manifest = yaml.safe_load((LAUNCH / 'kubernetes.yaml').read_text())
    (replicated,) = manifest['spec']['replicatedJobs']
    job = replicated['template']['spec']
    pod = job['template']['spec']
    (container,) = pod['containers']
    self.assertEqual(container['command'], ['python', '-m', 'rnnvae_jax.main'])
    variables = {entry['name']: entry for entry in container['env']}
    # Values of variables are texts.
    count = variables['JAX_NUM_PROCESSES']['value']
    self.assertEqual(count, str(job['completions']))
    self.assertEqual(job['parallelism'], job['completions'])
    name = manifest['metadata']['name']
    (port,) = container['ports']
    # Of the first pod of the first job, below the JobSet's own service.
    self.assertEqual(
      variables['JAX_COORDINATOR_ADDRESS']['value'],
      f'{name}-{replicated["name"]}-0-0.{name}:{port["containerPort"]}',
    )
    self.assertTrue(manifest['spec']['network']['enableDNSHostnames'])
    self.assertIn(
      'job-completion-index',
      variables['JAX_PROCESS_ID']['valueFrom']['fieldRef']['fieldPath'],
    )
    volumes = {volume['name'] for volume in pod['volumes']}
    self.assertEqual({m['name'] for m in container['volumeMounts']}, volumes)


if __name__ == '__main__':
  absltest.main()
