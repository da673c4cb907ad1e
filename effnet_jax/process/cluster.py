"""Whether something has started this process as one of several. Imports no JAX.

JAX can join such processes by itself, but only tries when it is told to, and fails where it finds nothing.
"""

from collections.abc import Mapping

_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")  # what JAX reads
_SLURM_STEP = "SLURM_STEP_NUM_TASKS"  # of this srun; SLURM_NTASKS may be that of the whole job
_OPEN_MPI = ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")
_TPU = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")  # as Kubernetes on Google Cloud sets them


def find(environment: Mapping[str, str]) -> str | None:
    """Returns "SLURM", "Open MPI" or "TPU" where the variables say that there are several processes, else None.

    A job of one process is none of several. TPU pods outside Kubernetes have no variable that tells: there, and on
    other clusters, the flags do.
    """
    if all(name in environment for name in _SLURM):
        return "SLURM" if _more_than_one(environment.get(_SLURM_STEP, environment["SLURM_NTASKS"])) else None
    if all(name in environment for name in _OPEN_MPI):
        return "Open MPI" if _more_than_one(environment["OMPI_COMM_WORLD_SIZE"]) else None
    hosts = next((environment[name] for name in _TPU if name in environment), "")
    return "TPU" if "," in hosts and "TPU_WORKER_ID" in environment else None


def _more_than_one(count: str) -> bool:
    return count.isdigit() and int(count) > 1
