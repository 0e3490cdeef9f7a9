"""`l2tune fit`: the final network, trained on all training images."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

FIT_SCHEMA = 1


def fit_command(
    study: Annotated[str, Parameter(help="Name of the study")],
    /,
    *,
    one_se: Annotated[
        bool, Parameter(help="Use λ_1se, the strongest λ that is as good, not λ_best", negative=())
    ] = False,
    strength: Annotated[float | None, Parameter(name="--lambda", help="Use this λ instead")] = None,
    storage: Annotated[str, Parameter(help="Storage of the search")] = "sqlite:///l2tune.db",
    out: Annotated[str | None, Parameter(help="Folder for the network (default: runs/STUDY)")] = None,
    data_root: Annotated[str | None, Parameter(help="Where torchvision's data sets lie")] = None,
    device: Annotated[str, Parameter(help="auto (CUDA when there is one), cpu, cuda, cuda:1")] = "auto",
) -> None:
    """Train on all training images with the chosen λ, score on the test images, save model.safetensors and fit.json.

    The settings are those of the study. The saved state dict loads into the same model; the images' channels are
    normalized with the mean and standard deviation in fit.json.
    """
    import contextlib
    import json
    import math

    from l2tune.commands.results import artifacts_beside, check_folder
    from l2tune.errors import UserError
    from l2tune.penalty.strength import format_lambda, weight_decay
    from l2tune.records.tables import is_described, observations, read_study, stored_settings
    from l2tune.search.storage import load_study, open_storage
    from l2tune.settings import build
    from l2tune.tradeoff import Tradeoff

    found = load_study(open_storage(storage, must_exist=True), study)
    folder = check_folder(out or f"runs/{study}")
    if not is_described(found):
        raise UserError("was not made by l2tune", f"study {study!r}", "fit needs the settings that l2tune stores")
    if strength is not None and (one_se or not math.isfinite(strength) or strength < 0):
        raise UserError(f"{strength:g} cannot be used", "--lambda", "give one λ ≥ 0, without --one-se")
    if strength is None:
        if not len(observations(found).score):
            raise UserError("has no score yet", f"study {study!r}", "search first, or give --lambda")
        tradeoff = Tradeoff.from_study(found)
        strength = tradeoff.one_se_lambda if one_se else tradeoff.best_lambda

    stored = stored_settings(found)
    settings = build(stored | {"device": device, "data_root": data_root or stored.get("data_root")})

    from l2tune.data.sources import load
    from l2tune.models.registry import make_factory
    from l2tune.objectives.cross_validation import versions
    from l2tune.report.dashboard import keep_artifacts
    from l2tune.report.tables import write_atomically
    from l2tune.training.device import choose_device
    from l2tune.training.problem import Problem
    from l2tune.training.refit import train_on_all

    images = load(settings.data)
    if images.fingerprint != read_study(found).data.get("fingerprint"):
        raise UserError("the images have changed since the search", f"study {study!r}", "search again on these")
    print(f"training on all {len(images.labels)} training images with λ {format_lambda(strength)}", flush=True)
    problem = Problem(
        images,
        (),
        make_factory(settings.model),
        settings.training,
        settings.penalty,
        settings.data.augment,
        choose_device(settings.device),
    )
    fit = train_on_all(problem, strength, seed=settings.search.seed)

    from safetensors.torch import save

    result = {
        "schema": FIT_SCHEMA,
        "study": study,
        "lambda": strength,
        "weight_decay": weight_decay(strength),
        "penalty": settings.penalty.form,
        "train_loss": fit.train_loss,
        "train_error": fit.train_error,
        "test_loss": fit.test_loss,
        "test_error": fit.test_error,
        "train_images": len(images.labels),
        "test_images": len(images.test_labels),
        "class_names": list(images.class_names),
        "shape": list(images.shape),
        "mean": fit.mean,
        "std": fit.std,
        "seconds": fit.seconds,
        "settings": stored,
        "versions": versions(),
    }
    state = {name: tensor.contiguous() for name, tensor in fit.model.state_dict().items()}
    metadata = {"study": study, "lambda": repr(strength), "model": settings.model.name}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "model.safetensors", save(state, metadata))
    write_atomically(folder / "fit.json", json.dumps(result, indent=2, allow_nan=False).encode())
    with contextlib.suppress(Exception):  # a copy for the dashboard
        keep_artifacts(found, [folder / "model.safetensors", folder / "fit.json"], artifacts_beside(str(folder)))
    print(
        f"test loss {fit.test_loss:.4g} nats, test error {100 * fit.test_error:.3g} % "
        f"(training loss {fit.train_loss:.4g}); saved {folder / 'model.safetensors'} and {folder / 'fit.json'}"
    )
