"""A search on a Ray cluster: what `l2tune search --ray` starts there, and what each worker does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from l2tune.errors import SearchAborted, UserError
from l2tune.importing import is_reference

if TYPE_CHECKING:
    import optuna

    from l2tune.data.images import ImageData
    from l2tune.members import EpochScores
    from l2tune.objectives.cross_validation import CrossValidationObjective
    from l2tune.search.ray_cluster import RayCluster, Share
    from l2tune.search.ray_crew import Ending, RayCrew
    from l2tune.settings import Settings


@dataclass(frozen=True)
class RayPlan:
    """A cluster that a search may use, and how.

    Attributes:
        workers: How many.
        share: What each takes of it.
    """

    cluster: RayCluster
    workers: int
    share: Share

    def crew(
        self, images: ImageData, study: optuna.Study, objective: CrossValidationObjective, say: Callable[[str], None]
    ) -> RayCrew:
        """The workers, not yet started."""
        from l2tune.search.ray_crew import RayCrew
        from l2tune.search.workers import take_over_from

        settings = objective.settings
        device = "cuda" if self.share.gpus else "cpu"
        folder = os.getcwd() if self.cluster.machines == 1 else None
        place = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        if os.environ.get("PYTHONPATH"):
            place["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, os.environ["PYTHONPATH"].split(os.pathsep)))
        say(f"{self.workers} workers on a Ray cluster of {self.cluster}, {self.share} each")
        return RayCrew(
            self.cluster,
            partial(
                work,
                storage=settings.storage,
                study=settings.study,
                patience=settings.search.storage_patience,
                folder=folder,
                device=device,
            ),
            images,
            workers=self.workers,
            share=self.share,
            environment=place,
            on_lost=partial(take_over_from, study),
            say=say,
        )


def plan_ray(settings: Settings, address: str, workers: int | None, gpus: float | None) -> RayPlan:
    """Connect to a cluster, and see that this search can use it; nothing is written.

    Args:
        address: As `connect` takes it.
        workers: How many; None for as many as there is room for.
        gpus: Of each worker.

    Raises:
        UserError: The cluster or the search does not allow it.
    """
    from l2tune.search.ray_cluster import Share, connect

    share = Share(gpus or 0.0)
    if workers == 0:
        raise UserError("no worker would train", "--workers 0 with --ray", "give a number, or leave it out")
    if share.gpus and settings.device not in ("auto", "cuda"):
        raise UserError(f"goes with GPUs, not with --device {settings.device}", "--gpus-per-worker", "use one of them")
    if settings.device not in ("auto", "cpu") and not share.gpus:
        where = f"--device {settings.device} with --ray"
        raise UserError("workers get a GPU from Ray", where, "use --gpus-per-worker 1 instead")
    cluster = connect(
        address, send_code=is_reference(settings.model.name) and not settings.model.name.startswith("timm:")
    )
    try:
        cluster.check_storage(settings.storage)
        return RayPlan(cluster, cluster.worker_count(workers, share), share)
    except BaseException:
        cluster.leave()
        raise


def work(
    images: ImageData,
    token: str,
    *,
    storage: str,
    study: str,
    patience: float,
    folder: str | None,
    device: str,
) -> Ending:
    """Join the study and search until its answer is settled; runs on the cluster.

    Args:
        images: Of the study.
        token: Of this worker.
        patience: Seconds to wait for a storage that does not answer.
        folder: To work in, so that relative paths mean what they mean to the coordinator.
        device: To train on.
    """
    from l2tune.commands.interrupts import lasting_interrupts
    from l2tune.records.workers import Worker
    from l2tune.search.failing import end_stuck
    from l2tune.search.joining import join_study
    from l2tune.search.runner import run_as_asked
    from l2tune.search.storage import open_storage

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with lasting_interrupts() as raise_if_interrupted:
            if folder is not None:
                os.chdir(folder)
            opened = open_storage(storage, must_exist=True, patience=patience)
            found, objective, _ = join_study(opened, study, images=images, device=device)

            def on_epoch(scores: Sequence[EpochScores]) -> None:
                raise_if_interrupted()

            objective.on_epoch, objective.on_stuck = on_epoch, end_stuck
            return "done", run_as_asked(found, objective, worker=Worker(token), wait=False)
    except KeyboardInterrupt:
        return "interrupted", ""
    except (UserError, SearchAborted, OSError) as error:
        return "failed", f"on {Worker(token).host}: {error}"
