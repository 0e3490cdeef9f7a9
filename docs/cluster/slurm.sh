#!/bin/bash
#SBATCH --job-name=l2tune
#SBATCH --array=0-7            # task 0 begins the search and watches over it, each of the others trains
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=04:00:00
#SBATCH --requeue              # a task whose node was lost is started again
#SBATCH --signal=B:INT@60      # a minute before the time is over: put down what is under way
#SBATCH --output=l2tune-%A_%a.log
#
# One search by an array of tasks: sbatch docs/cluster/slurm.sh --data photos/ --image-size 64 --trials 40
# What follows the script's name goes to `l2tune search`. See docs/how-to/cluster.md.
set -euo pipefail

study=${L2TUNE_STUDY:-slurm-${SLURM_ARRAY_JOB_ID:-search}}
# On more than one node: a database server. A journal (.log) or SQLite file only where the nodes' file system locks.
export L2TUNE_STORAGE=${L2TUNE_STORAGE:?set it to the storage of the search, such as postgresql://USER@HOST/DATABASE}
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1} OMP_WAIT_POLICY=PASSIVE

if [ "$SLURM_ARRAY_TASK_ID" -eq "${SLURM_ARRAY_TASK_MIN:-0}" ]; then
    set -- search --study "$study" --workers 0 "$@"
else
    # The search may not have begun yet; whoever knows the study knows all else.
    tries=${L2TUNE_TRIES:-60} pause=${L2TUNE_PAUSE:-5}
    until l2tune list 2>/dev/null | awk -v study="$study" '$1 == study { found = 1 } END { exit !found }'; do
        [ $((tries -= 1)) -gt 0 ] || { echo "no study $study in the storage" >&2; exit 1; }
        sleep "$pause"
    done
    sleep "$pause" # it is there, but may not have said what it is about
    set -- worker "$study"
fi
exec l2tune "$@" # in place of this shell, so that Slurm's signal reaches it
